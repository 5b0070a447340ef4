"""How likely the grooves on the way from one to another are, beside those of a random order of changes and a crossfade.

    python benchmarks/quality/morph.py MODEL NPZ [--pairs 100] [--bars 2] [--steps 5] [--beam 256] [--seed 0]

Of each performance of NPZ that is long enough, the bars in its middle are a groove; pairs of two performances on one
grid are drawn at random. For each pair and way, the bits per step by the model of the first groove, of those between,
and of the second, each heard from silence:

- morph: `play.morph.morph_hits`;
- random order: in each bar as many hits go and come, which ones is drawn;
- crossfade: the velocities of both, faded; a hit is what is at least .4 loud.

Printed are means over pairs; the middle groove less the mean of both ends, with a 95 % interval; the share of pairs
whose middle is at most as unlikely as the less likely end; the mean number of hits of the middle, as a share of that of
the ends.
"""

import sys
import time
from pathlib import Path

import numpy as np
import tyro

from hypermeter.core.errors import HypermeterError
from hypermeter.core.groove import Groove
from hypermeter.io.grooves import read_npz
from hypermeter.io.performances import performance_files
from hypermeter.play.loading import load_player
from hypermeter.play.morph import BEAM, morph_hits

THRESHOLD = 0.4
"""Least velocity of a hit of a crossfade."""


def grooves_of(folder: Path, bars: int) -> list[Groove]:
    """Return the bars in the middle of each performance that has them, without those with a silent bar."""
    found = []
    for file in performance_files(folder):
        groove = read_npz(file)
        size = groove.grid.steps_per_bar
        whole = len(groove) // size
        if whole >= bars + 2:  # Without the first and the last bar, which begin and end.
            middle = groove.bars((whole - bars) // 2, (whole - bars) // 2 + bars)
            if middle.hits.reshape(bars, -1).any(1).all():
                found.append(middle)
    return found


def in_random_order(first: Groove, second: Groove, steps: int, random: np.random.Generator) -> np.ndarray:
    """Return hits (steps, T, V) of a way on which as many cells change as on that of `morph_hits`."""
    way = np.repeat(first.hits[None], steps, 0)
    size = first.grid.steps_per_bar
    for start in range(0, len(first), size):
        for one, other in ((first.hits, second.hits), (second.hits, first.hits)):
            cells = random.permutation(np.argwhere(one[start : start + size] > other[start : start + size]))
            for number in range(steps):
                step, voice = cells[: int((number + 1) / (steps + 1) * len(cells) + 0.5)].T
                way[number, start + step, voice] = second.hits[start + step, voice]
    return way


def crossfaded(first: Groove, second: Groove, steps: int) -> np.ndarray:
    """Return hits (steps, T, V) that are loud enough in a crossfade."""
    loud = [groove.velocity * groove.hits for groove in (first, second)]
    shares = np.arange(1, steps + 1)[:, None, None] / (steps + 1)
    return ((1 - shares) * loud[0] + shares * loud[1] >= THRESHOLD).astype(np.uint8)


def main(
    model: tyro.conf.Positional[str],
    npz: tyro.conf.Positional[Path],
    pairs: int = 100,
    bars: int = 2,
    steps: int = 5,
    beam: int = BEAM,
    seed: int = 0,
) -> None:
    """Print a table."""
    player, random = load_player(model), np.random.default_rng(seed)
    grooves = grooves_of(npz, bars)
    player = player.on_grid_of(grooves[0])
    grooves = [groove for groove in grooves if groove.grid == grooves[0].grid]
    ways: dict[str, list[np.ndarray]] = {"morph": [], "random order": [], "crossfade": []}
    seconds = 0.0
    for _ in range(pairs):
        one, other = random.choice(len(grooves), 2, replace=False)
        first, second = grooves[one], grooves[other]
        begun = time.process_time()
        made = morph_hits(player, first.hits, second.hits, steps, beam)
        seconds += time.process_time() - begun
        drawn = in_random_order(first, second, steps, random)
        for name, between in (
            ("morph", made),
            ("random order", drawn),
            ("crossfade", crossfaded(first, second, steps)),
        ):
            ways[name].append(np.stack([first.hits, *between, second.hits]))
    differs = np.mean([(way[0] != way[-1]).sum() for way in ways["morph"]])
    print(
        f"{pairs} pairs of {len(grooves)} grooves of {bars} bars, which differ in {differs:.1f} cells in the mean;",
        end=" ",
    )
    print(f"{seconds / pairs:.2f} s of one core for a morph")
    places = ["first", *(str(number) for number in range(1, steps + 1)), "second"]
    print(" | ".join(["way", *places, "middle - ends", "95 %", "at most the worse end", "hits"]))
    middle = (steps + 1) // 2
    for name, stack in ways.items():
        hits = np.stack(stack)
        for before, after in zip(hits[:, :-1].swapaxes(0, 1), hits[:, 1:].swapaxes(0, 1), strict=True):
            second = hits[:, -1]
            assert name == "crossfade" or not ((before == second) & (after != second)).any()
        bits = -np.stack([player.log_prob(way).mean(-1) for way in hits]) / np.log(2)
        ends = bits[:, [0, -1]]
        gain = bits[:, middle] - ends.mean(1)
        interval = 1.96 * gain.std(ddof=1) / np.sqrt(pairs)
        counts = hits.sum((2, 3))
        cells = [f"{value:.3f}" for value in bits.mean(0)]
        cells += [f"{gain.mean():+.3f}", f"± {interval:.3f}", f"{(bits[:, middle] <= ends.max(1)).mean():.2f}"]
        print(" | ".join([name, *cells, f"{(2 * counts[:, middle] / counts[:, [0, -1]].sum(1)).mean():.2f}"]))


if __name__ == "__main__":
    try:
        tyro.cli(main)
    except HypermeterError as error:
        sys.exit(str(error))
