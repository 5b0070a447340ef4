"""How near drums that follow taps come to those of the drummer whose playing was reduced to these taps.

    python benchmarks/quality/follow.py MODEL NPZ [--windows 100] [--reductions all loud] [--takes 1] [--seed 0]

Windows of two bars are taken evenly from the performances of NPZ, without those that are silent. Their drums are
reduced to one voice:

- all: every onset, as loud and as late as the loudest hit of its step;
- loud: the onsets of kick and snare alone;
- loudest: of each beat the loudest step and those at most .1 softer;
- accents: the steps whose loudest hit is at least as loud as the median of the window;
- hand: all, of which a tenth is missing, and a tenth is moved by a step.

Each reduction is followed with the voices that it is of, and measured against the drummer's own hits: F1 of all voices
(hits in common over all windows), of single voices, mean absolute error of velocity and of offset over common hits.
Rows beside: "nothing", the model without the taps; "one voice", a kick at every tap.

With --takes each window is followed so many times, and the most typical of these counts: the one from which the others
differ least.
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
from hypermeter.core.kit import load_kit
from hypermeter.io.grooves import read_npz
from hypermeter.play.compose import continue_groove
from hypermeter.play.follow import follow_groove
from hypermeter.play.loading import load_player
from hypermeter.play.request import FollowOptions, InfillOptions, SamplingOptions
from hypermeter.play.takes import most_typical

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


def windows_of(folder: Path, number: int) -> list[Groove]:
    """Return so many windows, evenly of all that there are; 0 for all."""
    windows = []
    for path in sorted(folder.glob("*.npz")):
        groove = read_npz(path)
        for bar in range(0, groove.num_bars - BARS + 1, BARS):
            window = groove.bars(bar, bar + BARS)
            if len(window) == BARS * groove.grid.steps_per_bar and window.hits.any():
                windows.append(window)
    if not number or number >= len(windows):
        return windows
    return [windows[place] for place in np.linspace(0, len(windows) - 1, number).round().astype(int)]


def f1(made: NDArray[np.uint8], own: NDArray[np.uint8]) -> float:
    """F1 of hits, of whatever shape."""
    common = float(((made > 0) & (own > 0)).sum())
    return 2 * common / max(float(made.sum()) + float(own.sum()), 1)


def scores(made: list[Groove], own: list[Groove]) -> dict[str, float]:
    hits, wanted = (np.stack([groove.hits for groove in grooves]) for grooves in (made, own))
    names = load_kit(own[0].kit).names
    result = {
        "f1": f1(hits, wanted),
        "f1_of_windows": float(np.mean([f1(*pair) for pair in zip(hits, wanted, strict=True)])),
    }
    hats = [column for column, name in enumerate(names) if "hat" in name]
    for name, columns in (("kick", [0]), ("snare", [1]), ("hats", hats)):
        result[name] = f1(hits[..., columns], wanted[..., columns])
    common = (hits > 0) & (wanted > 0)
    for name in ("velocity", "offset"):
        first, second = (np.stack([getattr(groove, name) for groove in grooves]) for grooves in (made, own))
        errors = np.abs(first - second)
        if name == "offset":
            durations = np.array([groove.step_duration_s * 1000 for groove in own])[:, None, None]
            errors = errors * durations
        result[f"{name}_error"] = float(errors[common].mean()) if common.any() else float("nan")
    result["hits_per_window"] = float(hits.sum() / len(hits))
    return result


def main(
    model: tyro.conf.Positional[str],
    npz: tyro.conf.Positional[Path],
    windows: int = 100,
    reductions: tuple[str, ...] = tuple(REDUCTIONS),
    particles: int = InfillOptions.particles,
    temperature: float = 1.0,
    takes: int = 1,
    touch: bool = True,
    accent: float = FollowOptions.accent,
    baselines: bool = True,
    seed: int = 0,
    out: Path | None = None,
) -> None:
    """Print a table of scores, and write it as JSON."""
    player, own, rows, begun = load_player(model), windows_of(npz, windows), {}, time.process_time()
    player = player.on_grid_of(own[0])
    if baselines:
        rows["nothing"] = [
            continue_groove(player, None, BARS, SamplingOptions(seed=seed + number), tempo_bpm=groove.tempo_bpm)
            for number, groove in enumerate(own)
        ]
    for name in reductions:
        reduction, random = REDUCTIONS[name], np.random.default_rng(seed)
        taps = [tap(groove, name, random) for groove in own]
        following = replace(reduction.following, touch=touch, accent=accent)
        rows[name] = []
        for number, rhythm in enumerate(taps):
            if not rhythm.hits.any():
                rows[name].append(rhythm)
                continue
            options = {"following": following, "infilling": InfillOptions(particles)}
            seeds = range(seed + number, seed + number + takes * len(own), len(own))
            made = [
                follow_groove(player, rhythm, SamplingOptions(temperature, seed=one), **options)[0] for one in seeds
            ]
            rows[name].append(made[most_typical(made)])
        if name == "all" and baselines:
            rows["one voice"] = taps
    table = {name: scores(made, own) for name, made in rows.items()}
    columns = list(next(iter(table.values())))
    print(f"{len(own)} windows, {time.process_time() - begun:.0f} s of one core")
    print(" | ".join(["", *columns]))
    for name, row in table.items():
        print(" | ".join([name, *(f"{row[column]:.3f}" for column in columns)]))
    if out is not None:
        out.write_text(json.dumps({"windows": len(own), "rows": table}, indent=1), "utf-8")


if __name__ == "__main__":
    try:
        tyro.cli(main)
    except HypermeterError as error:
        sys.exit(str(error))
