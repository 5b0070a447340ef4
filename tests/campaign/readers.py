"""All readers that are tried."""

from . import arrays, messages, midi, notation, page, records, tables, trained, words
from .reader import Reader

READERS: tuple[Reader, ...] = tuple(
    reader
    for module in (midi, arrays, notation, records, trained, words, messages, tables, page)
    for reader in module.READERS
)
