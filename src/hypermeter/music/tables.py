"""Numbers as people and other programs read them."""

import math
from collections.abc import Mapping
from typing import Any


def number(value: float, figures: int = 4) -> str:
    """Rounded to significant figures, a dash where undefined."""
    return "-" if math.isnan(value) else f"{value:.{figures}g}"


def to_json(value: Any) -> Any:
    """Arrays and tensors as lists, undefined and infinite numbers as null."""
    if isinstance(value, Mapping):
        return {key: to_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(item) for item in value]
    if hasattr(value, "tolist"):
        return to_json(value.tolist())
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    return value
