"""An interpolated n-gram over the combinations of voices, as a baseline: bits of each held-out performance, as CSV.

    python benchmarks/quality/ngram.py NPZ [--out bench/out/ngram.csv]
    hypermeter evaluate groove NPZ/validation --beside bench/out/ngram.csv

A chain of contexts, each finer than the one before: nothing, the step of the bar, then the steps that CHAIN lists, by
their distance. What a context has not seen is left to the coarser one (Witten & Bell 1991, with a weight for each
context's share, tuned like the length of the chain on the held-out performances themselves, which favours it):

    p_k(x) = (count_k(x) + weight * types_k * p_{k-1}(x)) / (count_k + weight * types_k)

The coarsest is independent voices at each step of the bar. Counts are of the training performances and, as the model
too hears what was played before in a performance, of the performance itself so far, each of whose steps counts OWN
times.
"""

import csv
import itertools
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import tyro

from hypermeter.core.errors import HypermeterError
from hypermeter.core.files import atomic_write
from hypermeter.core.grid import Grid
from hypermeter.learn.dataset import read_folder, read_shared_kit_and_grid
from hypermeter.learn.evaluate.floors import fit, step_of_bar

CHAINS = {
    "flat": (1, 2, 3, 4, 5, 6, 7, 8),
    "bar": ("bar", 1, 2, 3, 4, 5, 6, 7),
    "bars": ("bar", 1, "two bars", 2, 3, 4, 5, 6),
}
"""Distances back in steps of what each context adds."""

WEIGHTS = (4.0, 16.0, 64.0)
OWN = (16, 64, 256, 1024)


class Ngram:
    """Counts of combinations by context.

    Args:
        chain: distances back in steps of what each finer context adds.
        grid: the metre.
        base: probability of a hit at each step of the bar, (steps_per_bar, V).
    """

    def __init__(self, chain: Sequence[int | str], grid: Grid, base: np.ndarray):
        names = {"bar": grid.steps_per_bar, "two bars": 2 * grid.steps_per_bar}
        self.lags = [names[order] if isinstance(order, str) else order for order in chain]
        self.grid, self.base = grid, base
        self.counts: list[dict] = [defaultdict(lambda: defaultdict(float)) for _ in range(len(self.lags) + 2)]

    def contexts(self, codes: np.ndarray, step: int) -> Iterator[tuple]:
        """From the coarsest to the finest that the steps before allow."""
        context: tuple = ()
        yield context
        context = (step % self.grid.steps_per_bar,)
        yield context
        for lag in self.lags:
            context = (*context, codes[step - lag] if step >= lag else -1)
            yield context

    def add(self, codes: np.ndarray, step: int, times: float) -> None:
        for counts, context in zip(self.counts, self.contexts(codes, step), strict=True):
            counts[context][codes[step]] += times

    def prob(self, codes: np.ndarray, hits: np.ndarray, step: int, weight: float) -> float:
        base = self.base[step % self.grid.steps_per_bar]
        prob = float(np.where(hits[step] > 0, base, 1 - base).prod())
        for counts, context in zip(self.counts, self.contexts(codes, step), strict=True):
            seen = counts.get(context)
            if seen:
                free = weight * len(seen)
                prob = (seen.get(codes[step], 0.0) + free * prob) / (sum(seen.values()) + free)
        return prob

    def bits(self, hits: np.ndarray, weight: float, own_weight: float) -> float:
        """-log2 p of a performance, from whose steps it learns as they pass, and which it then forgets."""
        codes, total = codes_of(hits), 0.0
        for step in range(len(hits)):
            total -= np.log2(self.prob(codes, hits, step, weight))
            self.add(codes, step, own_weight)
        for step in range(len(hits)):
            self._forget(codes, step, own_weight)
        return total

    def _forget(self, codes: np.ndarray, step: int, times: float) -> None:
        for counts, context in zip(self.counts, self.contexts(codes, step), strict=True):
            seen = counts[context]
            seen[codes[step]] -= times
            if seen[codes[step]] <= 0:
                del seen[codes[step]]
            if not seen:
                del counts[context]


def codes_of(hits: np.ndarray) -> np.ndarray:
    """A number for each combination of up to 62 voices."""
    return hits.astype(np.int64) @ (1 << np.arange(hits.shape[1], dtype=np.int64))


def read(folder: Path) -> tuple[list[str], list[np.ndarray]]:
    """The performances with a step below a folder: their paths in it, and their hits (T, V)."""
    paths, sequences = read_folder(folder)
    return [path.relative_to(folder).as_posix() for path in paths], sequences


def grid_of(folder: Path) -> Grid:
    return read_shared_kit_and_grid(sorted(folder.rglob("*.npz")))[1]


def write_bits(path: Path, names: Sequence[str], bits: np.ndarray) -> None:
    """CSV of name and bits of each performance, as ``hypermeter evaluate --beside`` reads it."""
    with atomic_write(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("name", "bits"), *zip(names, bits.tolist(), strict=True)])


def main(npz_dir: tyro.conf.Positional[Path], out: Path = Path("bench/out/ngram.csv"), longest: int = 4) -> None:
    """Fit, tune, print what was tried, and write the bits of each held-out performance at the best setting.

    Args:
        npz_dir: folder that prepare wrote, with train and validation.
        out: CSV of name and bits of each performance.
        longest: longest chain to try.
    """
    _, train = read(npz_dir / "train")
    names, held_out = read(npz_dir / "validation")
    grid = grid_of(npz_dir / "validation")
    table = fit(step_of_bar, train, grid.steps_per_bar)
    steps = sum(map(len, held_out))
    best, best_bits = np.inf, np.zeros(0)
    for name, length in itertools.product(CHAINS, range(1, longest + 1)):
        model = Ngram(CHAINS[name][:length], grid, table[: grid.steps_per_bar])
        for hits in train:
            codes = codes_of(hits)
            for step in range(len(hits)):
                model.add(codes, step, 1)
        for weight, own_weight in itertools.product(WEIGHTS, OWN):
            bits = np.array([model.bits(hits, weight, own_weight) for hits in held_out])
            print(
                f"{name} {length}, weight {weight}, own {own_weight}: {bits.sum() / steps:.3f} bits per step",
                flush=True,
            )
            if bits.sum() < best:
                best, best_bits = bits.sum(), bits
    write_bits(out, names, best_bits)
    print(f"best {best / steps:.3f} bits per step, {out}")


if __name__ == "__main__":
    try:
        tyro.cli(main)
    except HypermeterError as error:
        print(f"ngram: {error}", file=sys.stderr)
        sys.exit(2)
