"""Text of unknown encoding, in MIDI files and tables."""

import re

_BYTE_ORDER_MARKS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16", b"\xef\xbb\xbf": "utf-8-sig"}
_NO_LATIN = re.compile(rb"[\x81-\x9f]")
"""Bytes that are no letters in Latin-1, and begin most characters in the Japanese encoding cp932."""


def decode_text(content: bytes) -> str:
    """Return text in UTF-8, or UTF-16 with a byte order mark, else in cp932 (Japanese), else in Latin-1 (cp1252)."""
    encoding = next((name for mark, name in _BYTE_ORDER_MARKS.items() if content.startswith(mark)), "utf-8")
    for name in (encoding, *(["cp932"] if _NO_LATIN.search(content) else [])):
        try:
            return content.decode(name)
        except UnicodeDecodeError:
            continue
    return content.decode("cp1252", "ignore")


def decode_name(content: bytes) -> str:
    """Return text as `decode_text`, in one line: without control characters, and blanks around it."""
    return "".join(character for character in decode_text(content) if character.isprintable()).strip()
