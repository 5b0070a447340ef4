"""A rhythm in a MIDI file: taps on any pitch, a bass, a guitar, a melody, as a groove of one voice."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid, GridChoice
from hypermeter.core.groove import Groove
from hypermeter.core.kit import Kit, Voice
from hypermeter.core.read_options import ReadOptions
from hypermeter.io.midi.channels import settings_of
from hypermeter.io.midi.chunks import chunks_of
from hypermeter.io.midi.content import table_of
from hypermeter.io.midi.drums import describe_parts
from hypermeter.io.midi.read import parse_pieces, read_content

TAPS = Kit("taps", (Voice("tap", tuple(range(128)), 76),))
"""One voice for all pitches."""

BASSES = range(33, 41)
"""Programs of basses, from 1."""


@dataclass(frozen=True)
class Part:
    """The notes of one track on one channel.

    Args:
        track, channel: from 1.
        name: of the track.
        programs: from 1, of its notes.
        is_drums: whether its notes are drums.
        pitches: how many its notes have.
    """

    track: int
    channel: int
    name: str
    programs: tuple[int, ...]
    is_drums: bool
    pitches: int

    @property
    def is_bass(self) -> bool:
        """Whether its program is of a bass, or its name says so."""
        return not self.is_drums and (set(self.programs) <= set(BASSES) or "bass" in self.name.lower())


@dataclass(frozen=True)
class Rhythm:
    """The taps of a file.

    Args:
        groove: of one voice, the loudest note of each step.
        is_on_one_pitch: whether all notes of the part are on one pitch.
        remarks: a line for each choice in reading the file.
    """

    groove: Groove
    is_on_one_pitch: bool
    remarks: list[str]


def parts_of(content: bytes, where: str) -> tuple[list[Part], str]:
    """Return the parts of a MIDI file that have notes, in order, and a line that lists them.

    Raises:
        HypermeterError: no readable MIDI file.
    """
    table = table_of(chunks_of(content, where), where)
    settings = settings_of(table.notes, table.messages)
    pitches: dict[tuple[int, int], Counter[int]] = {}
    programs: dict[tuple[int, int], set[int]] = {}
    drums: Counter[tuple[int, int]] = Counter()
    for note, setting in zip(table.notes, settings, strict=True):
        key = note.track, note.channel
        pitches.setdefault(key, Counter())[note.pitch] += 1
        programs.setdefault(key, set()).add(setting.program + 1)
        drums[key] += setting.kind != "melody"
    parts = [
        Part(
            track + 1,
            channel + 1,
            table.names[track],
            tuple(sorted(programs[track, channel])),
            drums[track, channel] * 2 >= counts.total(),
            len(counts),
        )
        for (track, channel), counts in sorted(pitches.items())
    ]
    return parts, describe_parts(table.notes, table.names)


def choose_part(
    parts: Sequence[Part], described: str, options: ReadOptions = ReadOptions(), program: int | None = None
) -> Part:
    """Return the part that is the rhythm.

    The one that channel, track and program name; else the only one, the only one that is not drums, or the only bass.

    Args:
        parts: of the file.
        described: the same in words, for the message.
        options: the channel or track.
        program: from 1, as General MIDI counts.

    Raises:
        HypermeterError: no such part, or several.
    """
    wanted = (options.track or "").strip().casefold()
    by_name = [part for part in parts if part.name.strip().casefold() == wanted]
    of_track = by_name or [part for part in parts if str(part.track) == wanted]
    chosen = [
        part
        for part in parts
        if (options.channel in (None, part.channel))
        and (not wanted or part in of_track)
        and (program is None or program in part.programs)
    ]
    for narrower in ([part for part in chosen if not part.is_drums], [part for part in chosen if part.is_bass]):
        if len(chosen) != 1 and narrower:
            chosen = narrower
    if not parts:
        raise HypermeterError("no notes in it, expected a rhythm; choose another file")
    if len(chosen) != 1:
        which = "no such part" if not chosen else f"{len(chosen)} parts"
        raise HypermeterError(f"{which} to follow in {described}; name one by --track, --channel or --program")
    return chosen[0]


def read_taps(
    path: str | Path,
    grid: Grid | GridChoice | None = None,
    options: ReadOptions = ReadOptions(),
    program: int | None = None,
) -> Rhythm:
    """Return the rhythm in a MIDI file in one metre and tempo; of several notes on a step the loudest.

    Args:
        path: the file, or - for standard input.
        grid: the metre and its steps, or a choice of them. Default: 4/4 in sixteenths.
        options: the channel or track, and how notes are placed on the grid.
        program: General MIDI program of the rhythm, from 1.

    Raises:
        HypermeterError: no readable MIDI file, no part or several that may be the rhythm, another metre than that of
            `grid`, or metre or tempo that change.
    """
    return parse_taps(read_content(Path(path)), str(path), grid, options, program)


def parse_taps(
    content: bytes,
    where: str,
    grid: Grid | GridChoice | None = None,
    options: ReadOptions = ReadOptions(),
    program: int | None = None,
) -> Rhythm:
    """Return the rhythm in the bytes of a MIDI file; `where` names it in errors. For the rest see `read_taps`."""
    parts, described = parts_of(content, where)
    try:
        part = choose_part(parts, described, options, program)
    except HypermeterError as error:
        raise HypermeterError(f"{where}: {error}") from None
    is_only = len(parts) == 1
    named = replace(options, channel=part.channel, track=str(part.track), map=None)
    reading = parse_pieces(content, where, TAPS, grid, "refuse", with_sections=True, to_end=True, options=named)
    name = f" {part.name!r}" if part.name else ""
    line = f"the rhythm is track {part.track}{name} on channel {part.channel}"
    remarks = [*([] if is_only else [line]), *reading.remarks]
    return Rhythm(reading.pieces[0].groove, part.pitches == 1, remarks)
