"""Several takes at a glance: a contact sheet, and a table of metrics."""

from collections.abc import Sequence
from pathlib import Path

from hypermeter.core.files import atomic_write
from hypermeter.core.groove import Groove
from hypermeter.music.metrics import measure
from hypermeter.music.tables import aligned, number
from hypermeter.share.pictures import Layout, layout, to_svg

COLUMNS, BARS, WIDTH = 2, 4, 560
"""Pictures side by side, bars and width in pixels of each."""

MEASURES = ("density", "syncopation", "groove_consistency", "ngram_diversity", "velocity_range", "swing_ratio")
"""Metrics of the table."""


def contact_sheet(grooves: Sequence[Groove], titles: Sequence[str]) -> Layout:
    """Return the first bars of grooves side by side, row by row, each below its title."""
    sheet = Layout()
    top = 0.0
    for start in range(0, len(grooves), COLUMNS):
        height = 0.0
        row = zip(grooves[start : start + COLUMNS], titles[start : start + COLUMNS], strict=True)
        for column, (groove, title) in enumerate(row):
            one = layout(groove, title, bars=BARS, phrases_per_row=1, row_width=WIDTH)
            left = column * max(one.width, WIDTH + 140)
            sheet.width, height = max(sheet.width, left + one.width), max(height, one.height)
            for name in ("shades", "boxes", "labels"):
                moved = [item._replace(x=item.x + left, y=item.y + top) for item in getattr(one, name)]
                getattr(sheet, name).extend(moved)
            sheet.lines += [
                line._replace(x0=line.x0 + left, x1=line.x1 + left, y0=line.y0 + top, y1=line.y1 + top)
                for line in one.lines
            ]
        top += height
    sheet.height = top
    return sheet


def write_sheet(grooves: Sequence[Groove], titles: Sequence[str], path: Path) -> Path:
    """Write the contact sheet as SVG and return its path."""
    with atomic_write(path) as temporary:
        temporary.write_text(to_svg(contact_sheet(grooves, titles)), "utf-8")
    return path


def table_of_takes(rows: Sequence[Sequence[str]], grooves: Sequence[Groove]) -> str:
    """Return a table of takes: the cells of each row, then its metrics.

    Args:
        rows: of each take, and before them a row of headings.
        grooves: of each take.
    """
    measured = [measure(groove, MEASURES) for groove in grooves]
    cells = [[*rows[0], *MEASURES]]
    for row, values in zip(rows[1:], measured, strict=True):
        cells.append([*row, *(number(float(values[name]), 3) for name in MEASURES)])
    return aligned(cells)
