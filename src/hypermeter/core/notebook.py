"""The display of a groove in a notebook, which a higher layer sets, as the core draws nothing."""

from collections.abc import Callable
from typing import Any

groove_html: Callable[[Any], str] | None = None
"""Groove -> HTML; `None` where notebooks are to print the groove instead."""
