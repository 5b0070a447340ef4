"""Formatting numbers for tables and JSON."""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any


def number(value: float, figures: int = 4) -> str:
    """Return a number as text, rounded to significant figures; NaN is a dash."""
    return "-" if math.isnan(value) else f"{value:.{figures}g}"


def aligned(rows: Sequence[Sequence[str]], left: Collection[int] = ()) -> str:
    """Return rows of cells as lines of columns, which are on the right but for the numbers of columns in ``left``."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = enumerate(zip(row, widths, strict=True))
        text = "  ".join(cell.ljust(width) if column in left else cell.rjust(width) for column, (cell, width) in cells)
        lines.append(text.rstrip())
    return "\n".join(lines)


def to_json(value: Any) -> Any:
    """Return a value that JSON can hold: arrays and tensors become lists, numbers that are not finite `None`."""
    if isinstance(value, Mapping):
        return {key: to_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(item) for item in value]
    if hasattr(value, "tolist"):
        return to_json(value.tolist())
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    return value
