"""Whether a search finds what it should: other bars of the same performance, and performances that are nearly equal.

    python benchmarks/quality/near.py MODEL NPZ/validation NPZ/train [--queries 500] [--seed 0]

Queries are bars that are drawn at random from the performances of the first folder of at least eight bars; searched are
all bars of both folders, on the grid of most. For each query bar the other bars of its performance should come before
those of other performances:

- AUC: the chance that a bar of the same performance is nearer than one of another; the mean over queries;
- MRR: one over the rank of the nearest bar of the same performance among the bars of all others;
- the same over bars whose hits are not those of the query;
- style: the share of the ten nearest bars of other performances that are of the style of the query.

Rows are the parts of a place, alone and together, and "metrics": all METRICS of a bar that are of hits and velocity,
each scaled to one variance.

Then, of the pieces that have near-duplicates (`music.duplicates`), how many have one as the nearest piece, or among the
ten nearest, `--by piece`; and the time of a search among at least 100,000 bars, as which the bars of both folders are
repeated.
"""

import sys
import time
from collections import Counter
from dataclasses import replace
from inspect import signature
from pathlib import Path

import numpy as np
import tyro

from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.core.kit import Kit
from hypermeter.music.duplicates import bar_digests, near_duplicates
from hypermeter.music.metrics import METRICS, in_numpy
from hypermeter.play.loading import kit_of, load_player
from hypermeter.share.near import Space, build_index
from hypermeter.share.near.search import PARTS, on_one_grid

OF_HITS = {"hits", "grid", "streams", "cymbals", "velocity", "voices"}
"""Arguments of metrics for which the bars of an index have values."""


def metrics_of(velocity: np.ndarray, grid: Grid, kit: Kit) -> np.ndarray:
    """Return the metrics (N, columns) of bars (N, S, V), each of one variance; NaN is the mean."""
    known = {"streams": kit.streams, "cymbals": kit.cymbals, "velocity": velocity.astype(np.float32) / 255}
    columns = []
    for metric in METRICS.values():
        names = signature(metric).parameters
        required = {name for name, one in names.items() if one.default is one.empty}
        if required <= OF_HITS:
            options = {name: value for name, value in known.items() if name in names}
            columns.append(
                in_numpy(metric, (velocity > 0).astype(np.float32), grid, **options).reshape(len(velocity), -1)
            )
    table = np.concatenate(columns, 1).astype(np.float64)
    table = table[:, ~np.isnan(table).all(0)]
    mean, spread = np.nanmean(table, 0), np.nanstd(table, 0)
    return np.nan_to_num((table - mean) / np.where(spread > 1e-9, spread, 1)).astype(np.float32)


def score(
    places: np.ndarray, piece: np.ndarray, style: np.ndarray, cells: np.ndarray, queries: np.ndarray
) -> list[float]:
    """Return AUC, MRR, both of bars of other hits, and the share of the style."""
    square, rows = (places**2).sum(1), []
    for query in queries:
        distance = square - 2 * places @ places[query]
        is_own, other = piece == piece[query], np.sort(distance[piece != piece[query]])
        is_own[query] = False
        row = []
        for is_wanted in (is_own, is_own & (cells != cells[query]).any(1)):
            wanted = distance[is_wanted]
            before = (np.searchsorted(other, wanted, "left") + np.searchsorted(other, wanted, "right")) / 2
            row += [1 - before.mean() / len(other), 1 / (1 + before.min())] if len(wanted) else [np.nan, np.nan]
        nearest = np.argsort(np.where(piece == piece[query], np.inf, distance), kind="stable")[:10]
        rows.append([*row, (style[nearest] == style[query]).mean()])
    return np.nanmean(rows, 0).tolist()


def share_of_duplicates(space: Space) -> tuple[int, float, float]:
    """Return how many pieces have near-duplicates, and the share with one as the nearest, or among the ten nearest."""
    digests = {
        str(number): bar_digests((piece.velocity.reshape(-1, piece.velocity.shape[2]) > 0), piece.velocity.shape[1])
        for number, piece in enumerate(space.pieces)
    }
    found = []
    for group in near_duplicates(digests):
        members = [int(name) for name in group]
        for number in members:
            distance = np.square(space.means - space.means[number]).sum(1)
            distance[number] = np.inf
            is_duplicate = np.isin(np.argsort(distance, kind="stable")[:10], members)
            found.append((is_duplicate[0], is_duplicate.any()))
    nearest, of_ten = np.mean(found, 0).tolist() if found else (float("nan"), float("nan"))
    return len(found), nearest, of_ten


def main(
    model: tyro.conf.Positional[str],
    held_out: tyro.conf.Positional[Path],
    others: tyro.conf.Positional[Path],
    queries: int = 500,
    seed: int = 0,
) -> None:
    """Print the table and the figures."""
    player, random = load_player(model), np.random.default_rng(seed)
    begun = time.process_time()
    first, second = build_index(held_out, player), build_index(others, player)
    seconds = time.process_time() - begun
    grid = Counter(piece.grid for piece in first.pieces for _ in piece.bars).most_common(1)[0][0]
    num_held_out = len(on_one_grid(first, grid))
    index = replace(first, pieces=[*on_one_grid(first, grid), *on_one_grid(second, grid)])
    print(f"{index.num_bars} bars of {len(index.pieces)} pieces, read in {seconds:.0f} s of one core")
    space = Space(index.pieces)
    piece = np.repeat(np.arange(len(index.pieces)), space.counts)
    style = np.array([one.style.split("/")[0] for one in index.pieces])[piece]
    cells = (space.velocity > 0).reshape(len(space), -1)
    candidates = np.flatnonzero((space.counts[piece] >= 8) & (piece < num_held_out))
    chosen = np.sort(random.choice(candidates, min(queries, len(candidates)), replace=False))
    print(f"{len(chosen)} queries\nplaces | AUC | MRR | AUC, other hits | MRR, other hits | style")
    rows = {"metrics": metrics_of(space.velocity, grid, kit_of(player))}
    for parts in (*([part] for part in PARTS), ["velocity", "hits"], list(PARTS)):
        own = Space(index.pieces, parts)
        rows[" + ".join(parts)] = own.place(own.features, own.velocity)
    for name, places in rows.items():
        print(" | ".join([name, *(f"{value:.3f}" for value in score(places, piece, style, cells, chosen))]))
    number, nearest, of_ten = share_of_duplicates(space)
    print(
        f"near-duplicates: of {number} pieces {nearest:.3f} have one as the nearest, {of_ten:.3f} among the ten nearest"
    )
    times = -(-100_000 // index.num_bars)
    begun = time.process_time()
    many = Space(list(index.pieces) * times)
    query = space.place(space.features[chosen[:4]], space.velocity[chosen[:4]])
    many.passages(query)
    first_search = time.process_time() - begun
    begun = time.process_time()
    many.passages(query)
    print(f"{len(many)} bars: {first_search:.2f} s of one core for the first search of 4 bars,", end=" ")
    print(f"{time.process_time() - begun:.2f} s for the next")


if __name__ == "__main__":
    try:
        tyro.cli(main)
    except HypermeterError as error:
        sys.exit(str(error))
