"""The error that bad input raises."""

from typing import Any

MAX_MESSAGE = 1000
"""Characters of the longest message. Input stands in messages, and may be of any length."""


class HypermeterError(Exception):
    """Bad input. The message is one line: what is wrong, where, what was expected, what to do.

    Of one that is longer than `MAX_MESSAGE`, the middle is left out. What no encoding can write stands as an escape.
    """

    def __init__(self, message: object = "", **of_base: Any) -> None:
        line = str(message).encode("utf-8", "backslashreplace").decode()
        super().__init__(shorten(line, MAX_MESSAGE), **of_base)


def shorten(text: str, size: int) -> str:
    """Return a text of at most `size` characters, which is at least 5: of a longer one the middle is left out."""
    if len(text) <= size:
        return text
    end = (size - 5) // 2
    return f"{text[: size - 5 - end]} ... {text[len(text) - end :]}"
