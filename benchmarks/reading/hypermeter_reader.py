"""What Hypermeter reads of MIDI files: one path a line on standard input, one JSON object a line on standard output."""

import json
import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.core.kit_choice import resolve_kit
from hypermeter.core.read_options import ReadOptions
from hypermeter.io.midi.content import MidiFile, load_midi
from hypermeter.io.midi.read import parse_midi

KITS = ("gm10", "gm16", "gm10:auto", "gm16:auto")

STEPS = {
    "look like a drum kit": "drums alone, by pitches",
    "by name": "drums alone, by the names of tracks",
    "messages of the file": "parts that GS, XG or GM2 messages make drums",
}
"""Words of the line with which the reader reports its choice -> step of the policy."""

CHANNEL_10 = "channel 10 of General MIDI"

REFUSALS = {
    "no drum notes": "no drums were found",
    "metre": "another metre than 4/4",
    "tempo": "a tempo that changes within bars",
    "steps in": "too long",
}
"""Words of a refusal -> why a file is not read; all others are of files that cannot be opened."""

MAX_RETRIES = 3


def step_of(midi: MidiFile) -> str:
    """Return by which step of the policy the drums were found."""
    for remark in midi.remarks:
        for words, step in STEPS.items():
            if words in remark:
                return step
    return CHANNEL_10


def shares(midi: MidiFile) -> dict[str, int]:
    """Return for each kit how many hits have a voice."""
    pitches = midi.drums[1]
    counts = dict(zip(*(values.tolist() for values in np.unique(pitches, return_counts=True)), strict=True))
    kits = {name: resolve_kit(name, counts, midi.melody.names)[0] for name in KITS}
    return {name: int((kit.columns[pitches] >= 0).sum()) for name, kit in kits.items()}


def own_grid(pieces: list[Any]) -> dict[str, Any]:
    """Return how clear the grid of a file is, its kind, and its shift in steps and milliseconds."""
    grid, groove = pieces[0].own_grid, pieces[0].groove
    step_ms = 60e3 / groove.tempo_bpm / groove.grid.steps_per_quarter
    return {
        "clarity": grid.clarity,
        "grid": grid.kind,
        "shift": grid.player_shift,
        "shift_ms": grid.player_shift * step_ms,
    }


def hits_of_only_channel(content: bytes, midi: MidiFile) -> int:
    """Return the hits that --channel reads of a file without drums, if all its notes are on one channel; else 0."""
    channels = {int(channel) + 1 for channel in midi.melody.notes[5]}
    if len(channels) != 1:
        return 0
    return load_midi(content, "", ReadOptions(channel=channels.pop())).drums.shape[1]


def read_in_pieces(content: bytes, where: str) -> dict[str, Any]:
    """Return whether a file is read as pieces in 4/4, why not, and with which options, named in refusals, it is."""
    grid, options, passed, reason = Grid(), ReadOptions(), [], ""
    for _ in range(1 + MAX_RETRIES):
        try:
            pieces, _ = parse_midi(content, where, "gm16", grid, options=options)
        except HypermeterError as error:
            text = str(error)
            reason = reason or next((why for words, why in REFUSALS.items() if words in text), "no voice of the kit")
            metre = re.search(r"--metre (\d+)/(\d+)", text)
            if metre and "--metre" not in passed:
                beats, unit = map(int, metre.groups())
                grid = replace(grid, beats_per_bar=beats, beat_unit=unit)
                passed.append("--metre")
            elif "--tempo-map flatten" in text and options.tempo_map == "keep":
                options = replace(options, tempo_map="flatten")
                passed.append("--tempo-map flatten")
            else:
                return {"reason": reason, "kept_by": ""}
        else:
            return {"reason": reason, "kept_by": " ".join(passed), **own_grid(pieces)}
    return {"reason": reason, "kept_by": ""}


def read(path: str) -> dict[str, Any]:
    """Return what is read of one file."""
    content = Path(path).read_bytes()
    try:
        midi = load_midi(content, path, in_full=True)
    except HypermeterError as error:
        answer = {"opened": False, "hits": 0, "why": str(error).removeprefix(f"{path}: ")}
        if "--track" not in str(error):
            return answer
        is_read = bool(load_midi(content, path, ReadOptions(track="1")))
        return answer | {
            "reason": "several patterns in a file (MIDI format 2)",
            "kept_by": "--track" if is_read else "",
        }
    hits = midi.drums.shape[1]
    if not hits:
        return {
            "opened": True,
            "hits": 0,
            "reason": "no drums were found",
            "named": hits_of_only_channel(content, midi),
        }
    return {
        "opened": True,
        "hits": hits,
        "step": step_of(midi),
        "voiced": shares(midi),
        **read_in_pieces(content, path),
    }


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(read(line.rstrip("\n"))), flush=True)
