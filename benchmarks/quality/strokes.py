"""Two ways to keep every stroke: a finer grid in the bars that ask for one, or strokes beside the hit of a cell.

    python benchmarks/quality/strokes.py GROOVE

A finer grid is chosen for each bar: the coarsest on which no two strokes of a voice share a cell, or the finest. Both
ways are told in bits per stroke: what it takes to say the grid of a bar, which cells have a hit, how many strokes, and
where each is to 1/64 of a sixteenth. All probabilities are frequencies in the training files (of the grid; of a voice
at a place of the bar, drawn towards the voice; of numbers of strokes; of offsets); bits are of the validation files.
Files are in 4/4, on the player's own grid.
"""

import csv
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from hypermeter.io.midi import read_midi

BINS = 64
"""Places in a sixteenth."""
FINEST = (4, 6, 8, 12, 16, 24, 48)
"""Steps a beat of the grids."""
PULL = 8.0
"""Bars for which the density of a voice counts at each of its places."""


@dataclass
class Bar:
    """Strokes of a bar: places in 1/64 of a sixteenth from half a step before it, and voices."""

    places: np.ndarray
    voices: np.ndarray


def read_bars(root: Path) -> tuple[dict[str, list[Bar]], int]:
    """Return the bars of each split, and the number of voices."""
    bars: dict[str, list[Bar]] = defaultdict(list)
    voices = 0
    for row in csv.DictReader((root / "info.csv").read_text().splitlines()):
        if row["time_signature"] != "4-4" or not (root / row["midi_filename"]).is_file():
            continue
        groove = read_midi(root / row["midi_filename"])
        played, voices = groove.played, groove.hits.shape[1]
        places = np.floor((played.step % 16 + played.offset.astype(np.float64) + 0.5) * BINS).astype(int)
        of_bar = played.step // 16
        bars[row["split"]] += [
            Bar(places[of_bar == bar], played.voice[of_bar == bar]) for bar in range(groove.num_bars)
        ]
    return bars, voices


@dataclass
class Cells:
    """A bar on a grid: (cells, 2) step and voice, the number of strokes of each, and each stroke's offset in bins."""

    keys: np.ndarray
    counts: np.ndarray
    offsets: np.ndarray
    cell_of: np.ndarray


def cells_of(bar: Bar, steps_per_beat: int) -> Cells:
    """Return a bar on a grid, its strokes in order."""
    width = 4 * BINS // steps_per_beat
    shifted = bar.places - BINS // 2 + width // 2  # from half a step of this grid before the bar
    steps, offsets = np.floor_divide(shifted, width), shifted % width
    order = np.lexsort((offsets, bar.voices, steps))
    keys = np.stack([steps, bar.voices], 1)[order].astype(int)
    unique, cell_of, counts = np.unique(keys, axis=0, return_inverse=True, return_counts=True)
    return Cells(unique, counts, offsets[order], cell_of.ravel())


def choose(bar: Bar, finest: int) -> tuple[int, Cells]:
    """Return the coarsest grid, up to the finest, that holds each stroke in a cell of its own."""
    grids = [grid for grid in FINEST if grid <= finest]
    for grid in grids:
        cells = cells_of(bar, grid)
        if (cells.counts == 1).all():
            return grid, cells
    return grids[-1], cells_of(bar, grids[-1])


@dataclass
class Code:
    """Frequencies of training."""

    grids: Counter = field(default_factory=Counter)
    hits: dict[int, Counter] = field(default_factory=lambda: defaultdict(Counter))
    counts: dict[int, Counter] = field(default_factory=lambda: defaultdict(Counter))
    offsets: dict[tuple[int, int, int], Counter] = field(default_factory=lambda: defaultdict(Counter))

    def learn(self, grid: int, cells: Cells) -> None:
        self.grids[grid] += 1
        for (step, voice), count in zip(cells.keys.tolist(), cells.counts.tolist(), strict=True):
            self.hits[grid][step, voice] += 1
            self.counts[voice][min(count, 8)] += 1
        for key, offset in places_of(grid, cells):
            self.offsets[key][offset] += 1

    def bits(self, grid: int, cells: Cells, voices: int) -> float:
        total = -np.log2((self.grids[grid] + 1) / (self.grids.total() + len(FINEST)))
        num_steps, seen = 4 * grid + grid // 4, self.grids[grid]
        table = np.zeros((num_steps, voices))
        for (step, voice), count in self.hits[grid].items():
            table[min(step, num_steps - 1), voice] += count
        density = (table.sum(0) + 0.5) / (seen * num_steps + 1)
        chance = (table + PULL * density) / (seen + PULL)
        is_hit = np.zeros((num_steps, voices), bool)
        is_hit[np.minimum(cells.keys[:, 0], num_steps - 1), cells.keys[:, 1]] = True
        total -= np.log2(np.where(is_hit, chance, 1 - chance)).sum()
        for (_, voice), count in zip(cells.keys.tolist(), cells.counts.tolist(), strict=True):
            seen_counts = self.counts[voice]
            total -= np.log2((seen_counts[min(count, 8)] + 0.1) / (seen_counts.total() + 0.8))
        width = 4 * BINS // grid
        for key, offset in places_of(grid, cells):
            total -= np.log2((self.offsets[key][offset] + 1 / width) / (self.offsets[key].total() + 1))
        return float(total)


def places_of(grid: int, cells: Cells) -> list[tuple[tuple[int, int, int], int]]:
    """Return for each stroke what its offset depends on (grid, strokes of the cell, number among them), and that."""
    counts = cells.counts[cells.cell_of]
    first = np.searchsorted(np.sort(cells.cell_of), cells.cell_of)
    rank = np.arange(len(counts)) - first
    keys = zip([grid] * len(counts), np.minimum(counts, 4).tolist(), np.minimum(rank, 3).tolist(), strict=True)
    return list(zip(keys, cells.offsets.tolist(), strict=True))


def main() -> None:
    bars, voices = read_bars(Path(sys.argv[1]))
    every = [bar for split in bars.values() for bar in split]
    strokes = sum(len(bar.voices) for bar in every)
    print(f"{strokes:,} strokes in {len(every):,} bars")
    print(
        "| finest grid, steps a beat | bars on a finer grid than 4 | steps a bar | strokes kept without more | bits |"
    )
    print("|---|---|---|---|---|")
    for finest in FINEST:
        chosen = [choose(bar, finest) for bar in every]
        kept = sum(len(cells.counts) for _, cells in chosen) / strokes
        finer = np.mean([grid > FINEST[0] for grid, _ in chosen])
        steps = np.mean([4 * grid for grid, _ in chosen])
        code = Code()
        for bar in bars["train"]:
            code.learn(*choose(bar, finest))
        held_out = bars["validation"]
        bits = sum(code.bits(*choose(bar, finest), voices) for bar in held_out) / sum(len(b.voices) for b in held_out)
        print(f"| {finest} | {finer:.1%} | {steps:.1f} | {kept:.2%} | {bits:.3f} |")


if __name__ == "__main__":
    main()
