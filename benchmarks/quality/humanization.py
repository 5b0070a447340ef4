"""Humanization by the protocol of GrooVAE: timing and velocity of two-bar windows, from the score alone.

    python benchmarks/quality/humanization.py MODEL NPZ [--split validation] [--seed 0] [--out OUT]

Source: Gillick, Roberts, Engel, Eck & Bamman, Learning to Groove with Inverse Sequence Transformations, ICML 2019. Each
performance of a held-out split is cut into windows of two bars, one after another; a system is given the hits of the
window and its tempo, nothing before it, and says how each hit is played. Errors are of all hits of all windows: timing
in ms, velocity from 0 to 1. The divergences are KL(people || system) in nats, of histograms over all hits: offsets in
bins of 1/32 step, velocities in bins of 1/32, with one per cent of each histogram spread evenly.

Rows: the score as it is; means of the training performances by voice and step of the bar; the model from its own past,
sampled, and the middle of its distributions; the same after the drummer's past, which no system of the paper has; and
both over whole performances, which need not be cut into windows. What is sampled errs more than a middle does, and is
nearer in distribution. Intervals are 95 % by bootstrap over performances.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from expression import Performance, means_by_place, read

from hypermeter import load_player
from hypermeter.core.errors import HypermeterError
from hypermeter.core.files import atomic_write
from hypermeter.play.expressing import ExpressionSampler
from hypermeter.play.humanize import check_expression
from hypermeter.play.player import Player

BARS = 2
BINS = 32
"""Of a step, and of the velocities."""
SPREAD = 0.01
"""Share of a histogram that is spread evenly over its bins."""
DRAWS = 2_000

Played = tuple[np.ndarray, np.ndarray]
"""Velocity and offset (T, V)."""


def windows_of(values: np.ndarray, steps: int) -> np.ndarray:
    """Return whole windows (windows, steps, V) of (T, V), one after another."""
    return values[: len(values) // steps * steps].reshape(-1, steps, values.shape[1])


def divergence(people: np.ndarray, system: np.ndarray, low: float) -> float:
    """Return KL(people || system) in nats of histograms of BINS bins from `low` to `low` + 1."""
    edges = low + np.linspace(0, 1, BINS + 1)
    shares = []
    for values in (people, system):
        counts = np.histogram(values.clip(low, low + 1), edges)[0]
        shares.append((1 - SPREAD) * counts / counts.sum() + SPREAD / BINS)
    return float((shares[0] * np.log(shares[0] / shares[1])).sum())


def after_the_drummer(
    player: Player, performance: Performance, hits: np.ndarray, seed: int, temperature: float
) -> Played:
    """Return how the model plays each step after the steps before it in the window as the drummer played them.

    Args:
        player: with expression.
        performance: its velocity, offset and tempo.
        hits: windows (B, T, V) of its hits.
        seed, temperature: of what is drawn.
    """
    steps = hits.shape[1]
    velocity, offset = (windows_of(values, steps) for values in (performance.velocity, performance.offset))
    sampler = ExpressionSampler(player.network.expression, len(hits), performance.tempo_bpm, seed, temperature)
    state, played = player.network.start(len(hits)), np.zeros((2, *hits.shape), np.float32)
    for step in range(steps):
        before = sampler.state
        played[:, :, step] = sampler.play(state.features, hits[:, step], step)
        sampler.state = before
        sampler.advance(state.features, hits[:, step], step, velocity[:, step], offset[:, step])
        if step + 1 < steps:
            state = player.advance(hits[:, step], state)
    return played[0], played[1]


@dataclass
class Row:
    """Errors and values of a system, an array of hits for each performance."""

    name: str
    offset_ms: list[np.ndarray]
    velocity: list[np.ndarray]
    offsets: list[np.ndarray]
    velocities: list[np.ndarray]

    def add(self, performance: Performance, hits: np.ndarray, people: Played, played: Played, step_ms: float) -> None:
        at = hits > 0
        self.velocities.append(played[0][at])
        self.offsets.append(played[1][at])
        self.velocity.append(np.abs(played[0] - people[0])[at])
        self.offset_ms.append(np.abs(played[1] - people[1])[at] * step_ms)

    def summary(self, people: "Row", seed: int) -> dict[str, float | list[float]]:
        """Return the errors with their intervals, and the divergences."""
        result: dict[str, float | list[float]] = {}
        for name, errors in (("offset_ms", self.offset_ms), ("velocity", self.velocity)):
            sums, counts = np.array([error.sum() for error in errors]), np.array([len(error) for error in errors])
            chosen = np.random.default_rng(seed).integers(len(errors), size=(DRAWS, len(errors)))
            result[name] = float(sums.sum() / counts.sum())
            ends = np.quantile(sums[chosen].sum(1) / counts[chosen].sum(1), (0.025, 0.975))
            result[f"{name}_95"] = [float(end) for end in ends]
        for name, low, theirs, ours in (
            ("offset_kl", -0.5, people.offsets, self.offsets),
            ("velocity_kl", 0.0, people.velocities, self.velocities),
        ):
            result[name] = divergence(np.concatenate(theirs), np.concatenate(ours), low)
        return result


def measured(player: Player, train: Sequence[Performance], held_out: Sequence[Performance], seed: int) -> list[Row]:
    """Return the rows of the table; the first is people's own."""
    size, steps = player.grid.steps_per_bar, BARS * player.grid.steps_per_bar
    means = means_by_place(list(train), size)
    fixed = float(np.median(np.concatenate([performance.velocity[performance.hits > 0] for performance in train])))
    rows: dict[str, Row] = {}

    def add(name: str, *values: object) -> None:
        rows.setdefault(name, Row(name, [], [], [], [])).add(*values)  # pyright: ignore[reportArgumentType]

    for performance in held_out:
        hits = windows_of(performance.hits, steps)
        if not hits.any():
            continue
        people = windows_of(performance.velocity, steps), windows_of(performance.offset, steps)
        step_ms = 60_000 / performance.tempo_bpm / player.grid.steps_per_quarter
        place = np.arange(steps) % size
        systems: dict[str, Played] = {
            "people": people,
            "the score, one velocity": (np.full(hits.shape, fixed), np.zeros(hits.shape)),
            "means of voice and step of the bar": tuple(np.broadcast_to(x[place], hits.shape) for x in means),
        }
        whole = performance.hits[: len(hits) * steps]
        for kind, temperature in (("sampled", 1.0), ("middle", 0.0)):
            options = {"seed": seed, "temperature": temperature}
            systems[f"own past, {kind}"] = player.perform(hits, performance.tempo_bpm, **options)
            systems[f"the drummer's past, {kind}"] = after_the_drummer(player, performance, hits, **options)
            alone = player.perform(whole, performance.tempo_bpm, **options)
            systems[f"own past, whole performances, {kind}"] = tuple(windows_of(x, steps) for x in alone)
            (velocity,), (offset,) = after_the_drummer(player, performance, whole[None], **options)
            systems[f"the drummer's past, whole performances, {kind}"] = (
                windows_of(velocity, steps),
                windows_of(offset, steps),
            )
        for name, played in systems.items():
            add(name, performance, hits, people, played, step_ms)
    if not rows:
        raise HypermeterError(f"no performance of {BARS} bars; name the folder that prepare wrote")
    return list(rows.values())


def main(
    model: tyro.conf.Positional[str],
    npz_dir: tyro.conf.Positional[Path],
    split: str = "validation",
    seed: int = 0,
    out: Path | None = None,
) -> None:
    """Print a table.

    Args:
        model: its name or path.
        npz_dir: folder with train and the split in it.
        split: that is judged.
        seed: of what is drawn, and of the bootstrap.
        out: JSON to write as well.
    """
    player = load_player(model)
    check_expression(player)
    people, *rows = measured(player, read(npz_dir / "train"), read(npz_dir / split), seed)
    number = sum(map(len, people.offsets))
    what = f"{len(people.offsets)} performances of {npz_dir / split}, {number} hits"
    print(f"{what} in windows of {BARS} bars; seed {seed}\n")
    columns = ["", "timing MAE, ms (95 %)", "velocity MAE (95 %)", "timing KL", "velocity KL"]
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    summaries = {row.name: row.summary(people, seed) for row in rows}
    for name, values in summaries.items():
        cells = [name]
        for kind, digits in (("offset_ms", 1), ("velocity", 3)):
            low, high = values[f"{kind}_95"]  # pyright: ignore[reportGeneralTypeIssues]
            cells.append(f"{values[kind]:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})")
        print(f"| {' | '.join([*cells, *(f'{values[kind]:.3f}' for kind in ('offset_kl', 'velocity_kl'))])} |")
    if out is not None:
        with atomic_write(out) as temporary:
            temporary.write_text(json.dumps(summaries, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    try:
        tyro.cli(main)
    except HypermeterError as error:
        print(f"humanization: {error}", file=sys.stderr)
        sys.exit(2)
