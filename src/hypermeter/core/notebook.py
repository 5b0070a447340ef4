"""What a notebook shows of a groove. The core draws nothing: a layer above puts its function here."""

from collections.abc import Callable
from typing import Any

groove_html: Callable[[Any], str] | None = None
"""A groove -> HTML. None: notebooks print the groove instead."""
