"""How near drums that follow taps come to those of the drummer whose playing was reduced to these taps.

    python benchmarks/quality/follow.py MODEL NPZ [--windows 100] [--ways exact learnt] [--reductions all] [--seed 0]

Windows of two bars (--bars; 0 for whole performances) are taken evenly from the performances of NPZ, without those that
are silent. Their drums are reduced to one voice:

- all: every onset, as loud and as late as the loudest hit of its step;
- loud: the onsets of kick and snare alone;
- loudest: of each beat the loudest step and those at most .1 softer;
- accents: the steps whose loudest hit is at least as loud as the median of the window;
- hand: all, of which a tenth is missing, and a tenth is moved by a step;
- bass: the notes of the bass, of songs that were prepared with --tracks bass, without velocity and timing.

Each reduction is followed with the voices that it is of, and measured against the drummer's own hits: F1 of all voices
(hits in common over all windows), the same with the pedal of the hi-hat counted as the closed hat ("nine"), F1 of
single voices, mean absolute error of velocity and of offset (ms) over common hits, and "heard": the F1 of the steps
with an answering voice and those with a tap. Rows beside: "nothing", the model without the taps; "one voice", a kick at
every tap. Below the table is by how much the F1 of a window differs between two ways, and from "nothing": the mean over
windows and its 95 % interval, by bootstrap over windows.

With --draws each window is followed so many times, and what these draws agree on counts, see ``play.consensus``.
"""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import tyro
from numpy.typing import NDArray

from hypermeter.core.errors import HypermeterError
from hypermeter.core.groove import Groove
from hypermeter.core.kit import Kit, load_kit
from hypermeter.core.tracks import HOLD
from hypermeter.io.grooves import read_npz
from hypermeter.play.compose import continue_groove
from hypermeter.play.follow import answering_voices, follow_groove
from hypermeter.play.loading import load_player
from hypermeter.play.request import FollowOptions, InfillOptions, SamplingOptions, Way

BARS = 2


@dataclass(frozen=True)
class Reduction:
    """Taps of a window, and how they are followed."""

    keep: Callable[[Groove, np.random.Generator], NDArray[np.bool_]]
    following: FollowOptions


def loudest_of_steps(groove: Groove) -> NDArray[np.float64]:
    """(T,), velocity of the loudest hit of each step, 0 without one."""
    return np.where(groove.hits > 0, groove.velocity, 0).max(1).astype(np.float64)


def of_beats(groove: Groove, _: np.random.Generator) -> NDArray[np.bool_]:
    loud = loudest_of_steps(groove)
    beats = loud.reshape(-1, groove.grid.steps_per_beat)
    return ((beats > 0) & (beats >= beats.max(1, keepdims=True) - 0.1)).reshape(-1)


def accents(groove: Groove, _: np.random.Generator) -> NDArray[np.bool_]:
    loud = loudest_of_steps(groove)
    return loud >= np.median(loud[loud > 0])


REDUCTIONS = {
    "all": Reduction(lambda groove, _: groove.hits.any(1), FollowOptions(("all",))),
    "loud": Reduction(lambda groove, _: groove.hits[:, :2].any(1), FollowOptions(("kick", "snare"))),
    "loudest": Reduction(of_beats, FollowOptions(("all",), "free")),
    "accents": Reduction(accents, FollowOptions(("all",), "free")),
    "hand": Reduction(lambda groove, _: groove.hits.any(1), FollowOptions(("all",), "free")),
    "bass": Reduction(lambda groove, _: groove.hits.any(1), FollowOptions(("loud",), "free")),
}


def tap(groove: Groove, name: str, random: np.random.Generator) -> Groove:
    """Return the taps of a window, on one voice."""
    counted = groove.hits[:, :2] if name == "loud" else groove.hits
    voices = counted.shape[1]
    chosen = np.where(counted > 0, groove.velocity[:, :voices], -1).argmax(1)[:, None]
    is_tap = REDUCTIONS[name].keep(groove, random)
    velocity, offset = (
        np.take_along_axis(getattr(groove, value)[:, :voices], chosen, 1)[:, 0] * is_tap
        for value in ("velocity", "offset")
    )
    if name == "hand":
        order = np.arange(len(is_tap))
        moved = is_tap & (random.random(len(is_tap)) < 0.1)
        order[moved] = (order[moved] + random.choice([-1, 1], moved.sum())).clip(0, len(is_tap) - 1)
        kept = np.flatnonzero(is_tap & (random.random(len(is_tap)) >= 0.1))
        values = np.zeros((2, len(is_tap)))
        values[:, order[kept]] = velocity[kept], offset[kept]
        velocity, offset = values
    taps = np.zeros((2, *groove.hits.shape), np.float32)
    taps[:, :, 0] = velocity, offset
    return Groove((taps[0] > 0).astype(np.uint8), *taps, groove.tempo_bpm, groove.kit, groove.grid)


def windows_of(folder: Path, number: int, bars: int = BARS, *, with_bass: bool = False) -> list[tuple[Groove, Groove]]:
    """Return so many windows, evenly of all that there are; 0 for all. Beside each is the bass as taps, or the drums.

    Args:
        folder: of .npz.
        number: of windows.
        bars: of a window; 0 for the whole performance.
        with_bass: only windows with notes of the bass.
    """
    windows = []
    for path in sorted(folder.glob("*.npz")):
        groove = read_npz(path)
        other = bass_of(path, groove) if with_bass else groove
        size = bars or max(groove.num_bars, 1)
        for bar in range(0, groove.num_bars - size + 1, size):
            window, rhythm = (part.bars(bar, bar + size) for part in (groove, other))
            if (
                (not bars or len(window) == size * groove.grid.steps_per_bar)
                and window.hits.any()
                and rhythm.hits.any()
            ):
                windows.append((window, rhythm))
    if not number or number >= len(windows):
        return windows
    return [windows[place] for place in np.linspace(0, len(windows) - 1, number).round().astype(int)]


def bass_of(path: Path, drums: Groove) -> Groove:
    """Return the notes of the bass as taps, all as loud."""
    with np.load(path, allow_pickle=False) as arrays:
        codes = arrays["track_bass"] if "track_bass" in arrays else np.zeros(len(drums), np.int16)
    taps = np.zeros((2, *drums.hits.shape), np.float32)
    taps[0, :, 0] = 0.8 * (codes > HOLD)
    return Groove((taps[0] > 0).astype(np.uint8), *taps, drums.tempo_bpm, drums.kit, drums.grid)


def f1(made: NDArray[np.uint8], own: NDArray[np.uint8]) -> float:
    """F1 of hits, of whatever shape."""
    common = float(((made > 0) & (own > 0)).sum())
    return 2 * common / max(float(made.sum()) + float(own.sum()), 1)


def scores(
    made: list[Groove], own: list[Groove], taps: list[Groove] | None = None, answer: tuple[str, ...] = ("all",)
) -> dict[str, float]:
    hits, wanted = (np.concatenate([groove.hits for groove in grooves]) for grooves in (made, own))
    kit = load_kit(own[0].kit)
    result = {"f1": f1(hits, wanted), "f1_of_windows": float(f1_of_each(made, own).mean())}
    hats = [column for column, name in enumerate(kit.names) if "hat" in name]
    result["nine"] = f1(*(as_nine_voices(part, kit) for part in (hits, wanted)))
    common = (hits > 0) & (wanted > 0)
    duration_ms = np.concatenate([np.full((len(groove), 1), groove.step_duration_s * 1000) for groove in own])
    velocity, offset = (
        np.abs(
            np.concatenate([getattr(one, name) - getattr(other, name) for one, other in zip(made, own, strict=True)])
        )
        for name in ("velocity", "offset")
    )
    errors = {"velocity_error": velocity, "offset_error": offset * duration_ms}
    for name, columns in (("kick", [0]), ("snare", [1]), ("hats", hats)):
        result[name] = f1(hits[:, columns], wanted[:, columns])
    for name, error in errors.items():
        result[name] = mean_of(error[common])
    result["heard"] = float("nan")
    if taps is not None:
        voices = answering_voices(kit, answer)
        result["heard"] = f1(hits[:, voices].any(1), np.concatenate([groove.hits.any(1) for groove in taps]))
    result["hits_per_bar"] = float(hits.sum() / sum(len(groove) / groove.grid.steps_per_bar for groove in own))
    for name, columns in (("kick", [0]), ("snare", [1]), ("hats", hats)):
        for kind, error in errors.items():
            result[f"{kind}_of_{name}"] = mean_of(error[:, columns][common[:, columns]])
    return result


def as_nine_voices(hits: NDArray[np.uint8], kit: Kit) -> NDArray[np.bool_]:
    """Return hits (T, V) with the pedal of the hi-hat counted as the closed hat, as in the nine voices of GrooVAE."""
    merged = hits > 0
    if {"pedal_hat", "closed_hat"} <= set(kit.names):
        pedal, closed = kit.names.index("pedal_hat"), kit.names.index("closed_hat")
        merged[:, closed] |= merged[:, pedal]
        merged = np.delete(merged, pedal, 1)
    return merged


def mean_of(values: NDArray[np.float32]) -> float:
    return float(values.mean()) if len(values) else float("nan")


def f1_of_each(made: list[Groove], own: list[Groove]) -> NDArray[np.float64]:
    return np.array([f1(one.hits, other.hits) for one, other in zip(made, own, strict=True)])


def interval(differences: NDArray[np.float64], seed: int) -> tuple[float, float, float]:
    """Return the mean of paired differences and its 95 % interval, by 10,000 draws of the windows."""
    random = np.random.default_rng(seed)
    means = differences[random.integers(len(differences), size=(10_000, len(differences)))].mean(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(differences.mean()), float(low), float(high)


SHOWN = 11
"""Columns that are printed; all are in the JSON."""


def main(
    model: tyro.conf.Positional[str],
    npz: tyro.conf.Positional[Path],
    windows: int = 100,
    reductions: tuple[str, ...] = tuple(name for name in REDUCTIONS if name != "bass"),
    ways: tuple[Way, ...] = ("exact",),
    bars: int = BARS,
    particles: int = InfillOptions.particles,
    temperature: float = 1.0,
    draws: int = 1,
    touch: bool = True,
    accent: float = FollowOptions.accent,
    baselines: bool = True,
    seed: int = 0,
    out: Path | None = None,
) -> None:
    """Print a table of scores, and write it as JSON."""
    player, begun = load_player(model), time.process_time()
    pairs = windows_of(npz, windows, bars, with_bass="bass" in reductions)
    if not pairs:
        raise HypermeterError(
            f"{npz}: no windows of {bars} bars with drums and taps, expected some; prepare it for this"
        )
    own = [drums for drums, _ in pairs]
    player, rows = player.on_grid_of(own[0]), {}
    if baselines:
        rows["nothing"] = [
            continue_groove(
                player, None, groove.num_bars, SamplingOptions(seed=seed + number), tempo_bpm=groove.tempo_bpm
            ).steps(0, len(groove))
            for number, groove in enumerate(own)
        ]
    table = {name: scores(made, own) for name, made in rows.items()}
    for name in reductions:
        reduction, random = REDUCTIONS[name], np.random.default_rng(seed)
        taps = [rhythm if name == "bass" else tap(groove, name, random) for groove, rhythm in pairs]
        for way in ways:
            following = replace(reduction.following, touch=touch, accent=accent, way=way, draws=draws)
            made = []
            for number, rhythm in enumerate(taps):
                if not rhythm.hits.any():
                    made.append(rhythm)
                    continue
                options = {"following": following, "infilling": InfillOptions(particles)}
                made.append(
                    follow_groove(player, rhythm, SamplingOptions(temperature, seed=seed + number), **options)[0]
                )
            row = name if len(ways) == 1 else f"{name}, {way}"
            rows[row], table[row] = made, scores(made, own, taps, following.answer)
        if name == "all" and baselines:
            rows["one voice"], table["one voice"] = taps, scores(taps, own)
    columns = list(next(iter(table.values())))[:SHOWN]
    print(f"{len(own)} windows, {time.process_time() - begun:.0f} s of one core")
    print(" | ".join(["", *columns]))
    for name, row in table.items():
        print(" | ".join([name, *(f"{row[column]:.3f}" for column in columns)]))
    differences = {}
    each = {name: f1_of_each(made, own) for name, made in rows.items()}
    for name in reductions:
        compared = [(f"{name}, {way}", f"{name}, {ways[0]}") for way in ways[1:]]
        compared += [(row, "nothing") for row in rows if row.split(",")[0] == name and "nothing" in rows]
        for one, other in compared:
            differences[f"{one} - {other}"] = interval(each[one] - each[other], seed)
    for name, (mean, low, high) in differences.items():
        print(f"{name}: {mean:+.3f} ({low:+.3f} to {high:+.3f})")
    if out is not None:
        record = {"windows": len(own), "rows": table, "differences": differences}
        out.write_text(json.dumps(record, indent=1), "utf-8")


if __name__ == "__main__":
    try:
        tyro.cli(main)
    except HypermeterError as error:
        sys.exit(str(error))
