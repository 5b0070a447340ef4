"""Grooves of a corpus that are near: an index of a folder, a search in it, and a map of it."""

from hypermeter.share.near.index import Index, IndexedPiece, build_index, read_index, write_index
from hypermeter.share.near.search import Match, Space, search
