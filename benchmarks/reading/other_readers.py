"""What another library reads of MIDI files: one path a line on standard input, one JSON object a line on output.

    python other_readers.py LIBRARY

It needs the library alone, not Hypermeter. A hit is what the library itself says is one of drums:

- mido: a note-on with a velocity above 0 on channel 10.
- pretty_midi: a note of an instrument with `is_drum`.
- miditok: a token of a drum pitch of the tokenizer REMI with programs, otherwise as it comes.
"""

import json
import sys
import warnings
from collections.abc import Callable
from typing import Any


def mido() -> Callable[[str], int]:
    """Return a function path -> hits."""
    from mido import MidiFile

    def count(path: str) -> int:
        return sum(
            message.type == "note_on" and message.velocity > 0 and message.channel == 9
            for track in MidiFile(path).tracks
            for message in track
        )

    return count


def pretty_midi() -> Callable[[str], int]:
    """Return a function path -> hits."""
    from pretty_midi import PrettyMIDI  # pyright: ignore[reportMissingImports]

    return lambda path: sum(len(part.notes) for part in PrettyMIDI(path).instruments if part.is_drum)


def miditok() -> Callable[[str], int]:
    """Return a function path -> hits."""
    from miditok import REMI, TokenizerConfig  # pyright: ignore[reportMissingImports]

    tokenizer = REMI(TokenizerConfig(use_programs=True))

    def count(path: str) -> int:
        tokens: Any = tokenizer(path)
        return sum(token.startswith("PitchDrum_") for token in tokens.tokens)

    return count


def main() -> None:
    """Read the files that standard input names."""
    warnings.simplefilter("ignore")
    count = {"mido": mido, "pretty_midi": pretty_midi, "miditok": miditok}[sys.argv[1]]()
    for line in sys.stdin:
        try:
            answer = {"opened": True, "hits": count(line.rstrip("\n"))}
        except Exception as error:  # whatever a library raises, the file is one that it does not open
            answer = {"opened": False, "hits": 0, "why": f"{type(error).__name__}: {error}"[:200]}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
