"""What others have written, as a terminal can show it."""

import unicodedata

MOST = 500
"""Characters of a line."""

UNSEEN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
"""Categories of Unicode that act on a terminal or cannot be seen: controls, directions, halves of pairs."""


def printable(text: object, most: int = MOST) -> str:
    """Return a text as one line that a terminal shows and does not obey.

    Every line that may hold something from outside (a message, a name, a value that was refused) goes through this
    function before it is printed, logged or sent.

    Args:
        text: what `str` makes a text of.
        most: characters; a longer text is cut, and ends in dots.

    Returns:
        Words with a space between them; controls as \\x1b, and other characters that cannot be seen as \\u202e.
    """
    whole = str(text)[: 4 * most]
    line = " ".join(whole.split())
    if not line.isprintable():
        line = "".join(_escaped(character) for character in line)
    return line if len(line) <= most else line[: most - 3] + "..."


def _escaped(character: str) -> str:
    if unicodedata.category(character) not in UNSEEN:
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
