"""How near a humanized beat comes to the feel of another take.

    python benchmarks/quality/feel.py NPZ MODEL [--split validation] [--seed 0] [--bars 16] [--out OUT]
    python benchmarks/quality/feel.py NPZ MODEL --units-only

The distance is `hypermeter.music.feel.feel_distance`, fixed before anything was measured by it: the mean of seven
differences (lateness of the voices, swing, timing of cells, velocity of cells, spread of timing and of velocity about
the means of cells, drift of the bars), each divided by what it is on average between two training performances of
different drummers. These units are printed by --units-only: means over 1,000 pairs of performances of 8 bars and more.

Performances of 16 bars and more are cut in two, of at most 16 bars each. The beat is the second half with its hits
alone: one velocity, no offsets, no shift. The reference is its own first half, or that of another performance by the
same drummer or by another, which is drawn. Rows: the beat as it is; plain humanization; with the feel of the reference;
and the second half as the drummer played it. For the own first half also parts of the method: the model after it has
heard the reference, without the figures; the figures without having heard it; the means of the cells of the reference
without a model; and the errors of the hits, against how the drummer played the second: no part of what is matched.
Intervals are 95 % by bootstrap over performances.
"""

import json
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import tyro

from hypermeter import load_player
from hypermeter.core.errors import HypermeterError
from hypermeter.core.files import atomic_write
from hypermeter.core.groove import DEFAULT_VELOCITY, Groove
from hypermeter.io.grooves import read_npz
from hypermeter.music.feel import UNITS, Feel, differences, feel_distance
from hypermeter.play.expressing import ExpressionSampler
from hypermeter.play.feel import hear, offsets_of, step_ms_at
from hypermeter.play.humanize import check_expression, humanize
from hypermeter.play.player import Player

DRAWS = 2_000
PAIRS = 1_000

REFERENCES = ("own first half", "same drummer", "another drummer")


def performances_of(folder: Path, fewest_bars: int) -> list[tuple[str, Groove]]:
    """Return the drummers and performances of a folder of at least so many bars."""
    read = [(path.name.partition("-")[0], read_npz(path)) for path in sorted(folder.glob("*.npz"))]
    return [(drummer, groove) for drummer, groove in read if groove.num_bars >= fewest_bars and groove.hits.any()]


def units(folder: Path, seed: int) -> dict[str, float]:
    """Return the mean differences of performances of different drummers."""
    random = np.random.default_rng(seed)
    feels = [(drummer, Feel.of(groove)) for drummer, groove in performances_of(folder, 8)]
    found: dict[str, list[float]] = {name: [] for name in UNITS}
    pairs = 0
    while pairs < PAIRS:
        one, other = (feels[number] for number in random.integers(len(feels), size=2))
        if one[0] != other[0]:
            pairs += 1
            for name, value in differences(one[1], other[1]).items():
                found[name].append(value)
    return {name: float(np.nanmean(values)) for name, values in found.items()}


def flat(groove: Groove) -> Groove:
    """Return the hits alone, on the written grid."""
    arrays = {"velocity": DEFAULT_VELOCITY * groove.hits, "offset": np.zeros(groove.hits.shape)}
    return Groove(groove.hits, **arrays, tempo_bpm=groove.tempo_bpm, kit=groove.kit, grid=groove.grid)


def after_hearing(player: Player, beat: Groove, feel: Feel, seed: int) -> Groove:
    """Return the beat as the model plays it after it has heard the take, and no more."""
    sampler = ExpressionSampler(player.network.expression, 1, beat.tempo_bpm, seed, state=hear(player, feel).state)
    state, played = player.network.start(1), np.zeros((2, *beat.hits.shape), np.float32)
    for step, x in enumerate(beat.hits[:, None]):
        (played[0, step],), (played[1, step],) = sampler.play(state.features, x, step)
        if step + 1 < len(beat):
            state = player.advance(x, state)
    return replace(beat, velocity=played[0], offset=played[1])


def by_means(player: Player, beat: Groove, feel: Feel) -> Groove:
    """Return the beat with the means of the cells of a take, of the voices where it has none, without a model."""
    step_ms, place = step_ms_at(beat.tempo_bpm, feel, player), np.arange(len(beat)) % beat.grid.steps_per_bar
    count, velocity, _ = feel.cells_on(beat.grid, player.voices)
    of_voice = (np.nan_to_num(velocity) * count).sum(0) / count.sum(0).clip(1)
    usual = (of_voice * count.sum(0)).sum() / count.sum()
    velocity = np.where(count > 0, velocity, np.where(count.sum(0) > 0, of_voice, usual))
    arrays = {"velocity": velocity[place], "offset": offsets_of(feel, player, step_ms)[place].clip(-0.5, 0.49)}
    shift = float(np.clip(feel.shift_ms / step_ms, -0.5, 0.49))
    return replace(beat, shift=shift, **{name: values * beat.hits for name, values in arrays.items()})


def _have_common(one: Groove, other: Groove) -> bool:
    """Return whether a voice has hits in both."""
    return bool((one.hits.any(0) & other.hits.any(0)).any())


@dataclass
class Row:
    """Distances, differences in their units, and errors of hits of a system, one for each performance."""

    distances: list[float] = field(default_factory=list)
    parts: list[list[float]] = field(default_factory=list)
    errors: list[tuple[float, float]] = field(default_factory=list)

    def add(self, reference: Feel, played: Groove, people: Groove | None) -> None:
        feel = Feel.of(played)
        self.distances.append(feel_distance(reference, feel))
        self.parts.append([value / UNITS[name] for name, value in differences(reference, feel).items()])
        if people is not None:
            at, late = people.hits > 0, (groove.offset + groove.shift for groove in (played, people))
            error_ms = np.abs(np.subtract(*late))[at].mean() * people.step_duration_s * 1000
            self.errors.append((float(error_ms), float(np.abs(played.velocity - people.velocity)[at].mean())))


def share(ours: Row, plain: Row, seed: int) -> tuple[float, float, float]:
    """Return the mean distance of a system over that of another, with its interval."""
    pairs = np.array([ours.distances, plain.distances])
    chosen = np.random.default_rng(seed).integers(pairs.shape[1], size=(DRAWS, pairs.shape[1]))
    drawn = pairs[:, chosen].mean(2)
    low, high = np.quantile(drawn[0] / drawn[1], (0.025, 0.975))
    return float(pairs[0].mean() / pairs[1].mean()), float(low), float(high)


def measured(player: Player, performances: list[tuple[str, Groove]], bars: int, seed: int) -> dict[str, dict[str, Row]]:
    """Return the rows of each kind of reference."""
    random, found = np.random.default_rng(seed), {}
    halves = []
    for drummer, groove in performances:
        half = min(groove.num_bars // 2, bars)
        halves.append((drummer, groove.bars(0, half), groove.bars(half, 2 * half)))
    for number, (drummer, _, people) in enumerate(halves):
        others = [place for place in range(len(halves)) if place != number and _have_common(halves[place][1], people)]
        same = [place for place in others if halves[place][0] == drummer]
        another = [place for place in others if halves[place][0] != drummer]
        beat = flat(people)
        plain = humanize(beat, player, seed=seed)
        for kind, places in zip(REFERENCES, ([number], same, another), strict=True):
            if not places or not _have_common(halves[places[0]][1], people):
                continue
            reference = Feel.of(halves[random.choice(places)][1])
            like = humanize(beat, player, seed=seed, like=reference)
            systems = {
                "the hits, one velocity": beat,
                "plain humanization": plain,
                "with the feel of the reference": like,
            }
            if kind == REFERENCES[0]:
                deaf = replace(reference, take=None)
                systems |= {
                    "the reference heard, no figures": after_hearing(player, beat, reference, seed),
                    "figures, the reference not heard": humanize(beat, player, seed=seed, like=deaf),
                    "means of cells, no model": by_means(player, beat, reference),
                }
            systems["the drummer"] = people
            if not all(np.array_equal(played.hits, beat.hits) for played in systems.values()):
                raise HypermeterError("the hits have changed")
            for name, played in systems.items():
                is_own = kind == REFERENCES[0]
                found.setdefault(kind, {}).setdefault(name, Row()).add(reference, played, people if is_own else None)
        print(f"\r{number + 1} of {len(halves)}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return found


def main(
    npz_dir: tyro.conf.Positional[Path],
    model: tyro.conf.Positional[str],
    split: str = "validation",
    seed: int = 0,
    bars: int = 16,
    units_only: tyro.conf.FlagCreatePairsOff[bool] = False,
    out: Path | None = None,
) -> None:
    """Print tables.

    Args:
        npz_dir: folder with train and the split in it.
        model: its name or path.
        split: that is judged.
        seed: of what is drawn, and of the bootstrap.
        bars: most bars of a half.
        units_only: print the units of the distance, of train, and no more.
        out: JSON to write as well.
    """
    if units_only:
        print("\n".join(f"{name}: {value:.3g}" for name, value in units(npz_dir / "train", seed).items()))
        return
    player = load_player(model)
    check_expression(player)
    performances = performances_of(npz_dir / split, 16)
    if not performances:
        raise HypermeterError(f"{npz_dir / split}: no performance of 16 bars; name the folder that prepare wrote")
    print(f"{len(performances)} performances of {npz_dir / split}, halves of at most {bars} bars; seed {seed}")
    found, written = measured(player, performances, bars, seed), {}
    for kind, rows in found.items():
        count = len(rows["the drummer"].distances)
        print(f"\nReference: {kind}, {count} beats\n")
        columns = ["", "distance", "share of plain (95 %)", *UNITS]
        columns += ["timing MAE, ms", "velocity MAE"] if kind == REFERENCES[0] else []
        print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
        for name, row in rows.items():
            middle, low, high = share(row, rows["plain humanization"], seed)
            cells = [f"{np.mean(row.distances):.2f}", f"{middle:.2f} ({low:.2f} to {high:.2f})"]
            cells += [f"{value:.2f}" for value in np.nanmean(row.parts, 0)]
            if row.errors:
                error_ms, error = np.mean(row.errors, 0)
                cells += [f"{error_ms:.1f}", f"{error:.3f}"]
            print(f"| {name} | {' | '.join(cells)} |")
            written.setdefault(kind, {})[name] = {"distances": row.distances, "share": [middle, low, high]}
    if out is not None:
        with atomic_write(out) as temporary:
            temporary.write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    try:
        tyro.cli(main)
    except HypermeterError as error:
        print(f"feel: {error}", file=sys.stderr)
        sys.exit(2)
