"""Formatting numbers for tables and JSON."""

import math
from collections.abc import Mapping
from typing import Any


def number(value: float, figures: int = 4) -> str:
    """Return a number as text, rounded to significant figures; NaN is a dash."""
    return "-" if math.isnan(value) else f"{value:.{figures}g}"


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
