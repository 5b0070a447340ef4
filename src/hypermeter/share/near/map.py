"""A map of a corpus: its pieces as points of a plane, those that the model hears as alike near to each other."""

import csv
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np

from hypermeter.core.errors import HypermeterError
from hypermeter.share import report
from hypermeter.share.near.index import Index, IndexedPiece
from hypermeter.share.pictures import Box, Label, Layout, Line, to_svg

Colour = Literal["auto", "style", "folder", "metre"]

PALETTE = (
    "#2563eb", "#dc2626", "#059669", "#d97706", "#7c3aed", "#0891b2",
    "#be185d", "#4d7c0f", "#92400e", "#1e3a8a", "#f472b6", "#22c55e",
)  # fmt: skip
OTHERS = "#9ca3af"
"""Colour of labels beyond the palette, and of pieces without one."""

SIZE, MARGIN, LEGEND, POINT = 720, 24, 190, 7
"""Pixels: of the plane, around it, of the legend beside it, and of a point."""


@dataclass(frozen=True, eq=False)
class CorpusMap:
    """Pieces on a plane.

    Args:
        pieces: all of the corpus.
        points: (pieces, 2), the first two principal axes of the mean features of each piece.
        explained: share of their variance on each axis.
        labels: of each piece, by which it is coloured; "" where it has none.
        kind: what the labels are.
    """

    pieces: Sequence[IndexedPiece]
    points: np.ndarray
    explained: tuple[float, float]
    labels: Sequence[str]
    kind: str


def map_corpus(index: Index, colour: Colour = "auto") -> CorpusMap:
    """Return the map of a corpus, which may be of several metres.

    Features are scaled to one variance; the axes are those of greatest variance, each pointing to where the feature
    that counts most on it is greater, so that the same corpus gives the same map.

    Args:
        index: of the corpus.
        colour: what the labels are: style of the metadata, the first folder of the path, or the metre. auto takes the
            first of these by which pieces differ.

    Raises:
        HypermeterError: fewer than three pieces, or none with a label of the kind that is asked for.
    """
    pieces = index.pieces
    if len(pieces) < 3:
        raise HypermeterError(f"{index.folder}: {len(pieces)} pieces with hits, expected three or more for a map")
    means = np.stack([piece.features.astype(np.float64).mean(0) for piece in pieces])
    spread = means.std(0)
    scaled = (means - means.mean(0)) / np.where(spread > 1e-9, spread, 1)
    places, variance, axes = np.linalg.svd(scaled, full_matrices=False)
    strongest = np.abs(axes[:2]).argmax(1)
    points = places[:, :2] * variance[:2] * np.sign(axes[[0, 1], strongest])
    shares = variance**2 / max(float((variance**2).sum()), 1e-9)
    kinds = {
        "style": [piece.style.split("-")[0].split("/")[0] for piece in pieces],
        "folder": [piece.group for piece in pieces],
        "metre": [piece.grid.metre for piece in pieces],
    }
    kind = colour
    if kind == "auto":
        kind = next((name for name, labels in kinds.items() if len(set(labels)) > 1), "metre")
    elif not any(kinds[colour]):
        raise HypermeterError(f"{index.folder}: no piece has a {colour} to colour it by; choose another --colour")
    return CorpusMap(pieces, points, (float(shares[0]), float(shares[1])), kinds[kind], kind)


def draw_map(corpus: CorpusMap, title: str) -> Layout:
    """Return the picture of a map, with a legend of its labels from the most frequent on.

    Of each point the file is shown where it is pointed at.
    """
    counts = Counter(corpus.labels)
    order = sorted((label for label in counts if label), key=lambda label: (-counts[label], label))
    colours = dict(zip(order, PALETTE, strict=False))
    top = MARGIN + 44
    picture = Layout(2 * MARGIN + SIZE + LEGEND, top + SIZE + MARGIN)
    count = f"{len(corpus.pieces)} pieces, coloured by {corpus.kind}"
    explained = " and ".join(f"{share:.0%}" for share in corpus.explained)
    picture.labels += [
        Label(MARGIN, MARGIN + 12, title, 15, is_bold=True),
        Label(MARGIN, MARGIN + 30, f"{count}; the axes hold {explained} of the variance", opacity=0.7),
    ]
    left, right, bottom = MARGIN, MARGIN + SIZE, top + SIZE
    frame = (
        (left, top, right, top),
        (left, bottom, right, bottom),
        (left, top, left, bottom),
        (right, top, right, bottom),
    )
    picture.lines += [Line(*side, 1, 0.3) for side in frame]
    low, high = corpus.points.min(0), corpus.points.max(0)
    scale = (SIZE - 4 * POINT) / max(float((high - low).max()), 1e-9)
    middle = np.array([MARGIN + SIZE / 2, top + SIZE / 2])
    places = middle + (corpus.points - (low + high) / 2) * scale * [1, -1]
    for piece, label, (x, y) in zip(corpus.pieces, corpus.labels, places.tolist(), strict=True):
        bars = f"{len(piece.bars)} bar{'s' * (len(piece.bars) != 1)}"
        facts = [piece.name, label, f"{piece.tempo_bpm:g} bpm", piece.grid.metre, bars]
        colour = colours.get(label, OTHERS)
        box = Box(x - POINT / 2, y - POINT / 2, POINT, POINT, colour, 0.75, POINT / 2, ", ".join(filter(None, facts)))
        picture.boxes.append(box)
    entries = [(label, colours[label], counts[label]) for label in order[: len(PALETTE)]]
    if others := sum(counts.values()) - sum(number for *_, number in entries):
        entries.append(("others" if order[len(PALETTE) :] else f"no {corpus.kind}", OTHERS, others))
    x = 2 * MARGIN + SIZE
    for row, (label, colour, number) in enumerate(entries):
        y = top + 20 * row + 8
        picture.boxes.append(Box(x, y - POINT / 2, POINT, POINT, colour, 0.9, POINT / 2))
        picture.labels.append(Label(x + 14, y + 4, f"{label[:20]} ({number})"))
    return picture


MAX_ROWS = 1_000
"""Most pieces in the table of a page."""


def columns_of(kind: str) -> list[str]:
    """Return the names of the columns of `rows_of`; `kind` is what the labels are."""
    return ["name", "x", "y", kind, "tempo_bpm", "metre", "bars"]


def rows_of(corpus: CorpusMap) -> Iterator[list[str]]:
    """Yield a row for each piece: name, place on both axes, label, tempo, metre, bars."""
    for piece, label, (x, y) in zip(corpus.pieces, corpus.labels, corpus.points.tolist(), strict=True):
        yield [
            piece.name, f"{x:.4f}", f"{y:.4f}", label, f"{piece.tempo_bpm:g}", piece.grid.metre, str(len(piece.bars))
        ]  # fmt: skip


def map_section(corpus: CorpusMap, what: str) -> str:
    """Return the picture of a map for a page, with its places as a table for those who do not see it.

    Args:
        corpus: the map.
        what: it shows, in words.
    """
    drawing = to_svg(draw_map(corpus, ""), what=f"{what}; the table after it has all places")
    rows = list(islice(rows_of(corpus), MAX_ROWS))
    left = len(corpus.pieces) - len(rows)
    note = f'<p class="note">{left} more are in the CSV file of the command map.</p>' if left else ""
    places = report.table(columns_of(corpus.kind), rows)
    summary = f"<summary>The places of {len(rows)} pieces as a table</summary>"
    return f"<figure>{drawing}</figure><details>{summary}{places}{note}</details>"


def write_points(corpus: CorpusMap, path: Path) -> None:
    """Write the places of a map as CSV, a row for each piece; see `rows_of`."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns_of(corpus.kind), *rows_of(corpus)])
