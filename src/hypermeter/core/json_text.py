"""Reading JSON that others wrote: within limits, and with one kind of error."""

import json
from typing import Any

MAX_DEPTH = 64
"""Lists and objects within each other. The records of the package have fewer than 10."""


def parse_json(text: str | bytes, max_size: int) -> Any:
    """Return the value of a JSON text.

    Args:
        text: the JSON, in UTF-8 where it is bytes.
        max_size: characters or bytes of the longest text that is read.

    Raises:
        ValueError: no JSON, a longer text, or lists and objects nested more than `MAX_DEPTH` deep.
    """
    if len(text) > max_size:
        raise ValueError(f"longer than {max_size:,} characters")
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError(f"nested more than {MAX_DEPTH} deep") from None
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [
            inner
            for outer in level
            if isinstance(outer, list | dict)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, list | dict)
        ]
        if not level:
            return value
    raise ValueError(f"nested more than {MAX_DEPTH} deep")
