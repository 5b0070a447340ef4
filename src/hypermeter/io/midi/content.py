"""The bytes of a MIDI file as its drums, melodies, tempos and metres; a symusic score as the bytes of a file."""

import re
import struct
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from hypermeter.core.errors import HypermeterError
from hypermeter.core.read_options import ReadOptions
from hypermeter.io.encodings import decode_name, decode_text
from hypermeter.io.midi.channels import Message, Note, Setting, changes_channels, settings_of
from hypermeter.io.midi.chunks import Chunks, chunks_of
from hypermeter.io.midi.drums import Choice, choose_drums, describe_parts, tracks_named
from hypermeter.io.midi.events import Event, decode_number, exclusive_messages, pair_notes, parse_events

PEDAL = 4
"""Number of the controller for the pedal of the hi-hat: 0 is open, 127 is pressed."""

_END_EVENT = b"\xff\x2f\x00"
_END = "\x04"
"""Text of the marker that stands for the end of a track, which symusic neither reads nor writes."""


@dataclass(frozen=True)
class Melody:
    """The notes of a file that are not drums, in the order of tracks; one that never ends lasts to the track's end.

    Args:
        notes: (7, N): start and end in ticks, pitches, velocities 1-127, programs, channels and tracks, from 0.
        names: of all tracks of the file, "" where one has none.
    """

    notes: np.ndarray = field(default_factory=lambda: np.zeros((7, 0), np.int64))
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class MidiFile:
    """What is read of a MIDI file.

    Args:
        ticks_per_quarter: the resolution.
        drums: (3, N): ticks, pitches and velocities 1-127, in the order of tracks; a note that several tracks have at
            one tick once.
        tempos: ticks and quarters per minute, in order.
        signatures: ticks, beats and beat units, in order.
        end: tick at which the last track ends; 0 where that is not known.
        remarks: how the drums were found, where that is not plain, and what is in the file twice.
        markers: ticks and texts, in order; of a file that is read in full.
        melody: all other notes; of a file that is read in full.
        no_drums: what the file has in place of drums, and the options that name them; "" where it has drums.
        pedal: (2, N): ticks and values 0-127 of controller 4 on the channels of the drums, in order.
        chokes: (2, N): ticks and pitches of the polyphonic aftertouch above 0 on the channels of the drums, in order.
    """

    ticks_per_quarter: int
    drums: np.ndarray
    tempos: list[tuple[int, float]]
    signatures: list[tuple[int, int, int]]
    end: int
    remarks: list[str] = field(default_factory=list)
    markers: list[tuple[int, str]] = field(default_factory=list)
    melody: Melody = Melody()
    no_drums: str = ""
    pedal: np.ndarray = field(default_factory=lambda: np.zeros((2, 0), np.int64))
    chokes: np.ndarray = field(default_factory=lambda: np.zeros((2, 0), np.int64))


def load_midi(content: bytes, where: str, options: ReadOptions = ReadOptions(), in_full: bool = False) -> MidiFile:
    """Return what is read of a MIDI file, or of one in a RIFF file.

    Args:
        content: the bytes.
        where: the name of the file in errors.
        options: how the drums are found.
        in_full: read markers and melody too, which takes longer.

    Raises:
        HypermeterError: no MIDI file in ticks per quarter, a damaged one, one of several patterns of which none is
            named, or a channel or track in `options` that has no notes.
    """
    chunks, options = _pattern(chunks_of(content, where), where, options)
    if not in_full and options.channel is None and options.track is None and _is_plain(chunks.tracks):
        midi = _by_symusic(chunks)
        if midi is not None and midi.drums.shape[1]:
            return midi
    return _by_events(chunks, where, options, in_full)


def drums_of_tracks(content: bytes, where: str, options: ReadOptions = ReadOptions()) -> list[np.ndarray]:
    """Return for each track of a file (N,): whether each of its note-ons, in order, is a note of the drums.

    Raises:
        HypermeterError: as `load_midi`.
    """
    whole = chunks_of(content, where)
    chunks, options = _pattern(whole, where, options)
    table = table_of(chunks, where)
    settings = settings_of(table.notes, table.messages)
    is_drums = np.array(_choose(table, settings, where, options).is_drums, bool)
    tracks = np.array([note.track for note in table.notes], np.int64)
    by_track = [is_drums[tracks == number] for number in range(len(chunks.tracks))]
    if len(chunks.tracks) == len(whole.tracks):
        return by_track
    return [by_track[0] if track is chunks.tracks[0] else np.zeros(0, bool) for track in whole.tracks]


def _pattern(chunks: Chunks, where: str, options: ReadOptions) -> tuple[Chunks, ReadOptions]:
    """Return the chunks without all patterns of format 2 but the one that the options name."""
    if chunks.format < 2 or len(chunks.tracks) == 1:
        return replace(chunks, format=min(chunks.format, 1)), options
    names = table_of(chunks, where).names
    chosen = sorted(tracks_named(options.track or "", names))
    if len(chosen) != 1:
        listed = ", ".join(f"{number} {name!r}" if name else str(number) for number, name in enumerate(names, 1))
        raise HypermeterError(f"{where}: MIDI format 2 with {len(names)} patterns ({listed}); name one by --track")
    return replace(chunks, format=0, tracks=[chunks.tracks[chosen[0]]]), replace(options, track=None)


# ---------------------------------------------------------------------- by symusic, which is quick

_BANKS = re.compile(
    rb"[\xb0-\xbf](?:[\x00-\x7f]{2}[\x80-\xff]{0,3}[\x00-\x7f])*?\x00[\x78\x79\x7e\x7f]",
)
"""Controller 0, also in running status, with the value of a bank of drums or of a melody."""

_BANK_VALUE = re.compile(rb"\x00[\x78\x79\x7e\x7f]")
"""What `_BANKS` ends with, which is found sooner."""

_PROGRAMS = re.compile(rb"[\xc0-\xcf]")
_AFTERTOUCH = re.compile(rb"\xa9[\x00-\x7f]{2}")
"""What may be polyphonic aftertouch of channel 10, which symusic does not read."""

_LARGE_BEAT_UNIT = re.compile(rb"\xff\x58\x04[\x00-\xff][\x08-\xff]")


def _is_plain(tracks: list[bytes]) -> bool:
    """Return whether symusic reads tracks as they are, and channel 10 is all that it needs to know of the drums.

    It does not decode system messages, misreads some, and reads metres with a beat unit of 256 or more as others.
    """
    for track in tracks:
        if not track.endswith(_END_EVENT) or _LARGE_BEAT_UNIT.search(track) or _AFTERTOUCH.search(track):
            return False
        if _BANK_VALUE.search(track) and _BANKS.search(track) and any(map(_PROGRAMS.search, tracks)):
            return False
        messages = exclusive_messages(track)
        if messages is None or any(map(changes_channels, messages)):
            return False
    return True


def _by_symusic(chunks: Chunks) -> MidiFile | None:
    """Return what is read of a file whose drums are on channel 10; `None` if symusic may not read it as it is."""
    import symusic  # here and below, since it takes a tenth of a second

    score: Any  # The type annotations of symusic lack some attributes.
    header = struct.pack(">4sIHHh", b"MThd", 6, chunks.format, len(chunks.tracks), chunks.ticks_per_quarter)
    try:
        # symusic drops notes that never end. One note-off for each pitch shows whether there are any.
        score = symusic.Score.from_midi(
            header + b"".join(_with_note_offs(track, _ONE_NOTE_OFF_PER_PITCH) for track in chunks.tracks)
        )
        notes = _drum_notes(score)
        if (notes[3] >= _MAX_DELTA_TICKS).any():
            enough = (
                _note_offs(np.bincount(np.frombuffer(track, np.uint8), minlength=128)[:128]) for track in chunks.tracks
            )
            score = symusic.Score.from_midi(header + b"".join(map(_with_note_offs, chunks.tracks, enough)))
            notes = _drum_notes(score)
    except (RuntimeError, ValueError):
        return None
    tempos = [(event.time, event.qpm) for event in score.tempos]
    signatures = [(event.time, event.numerator, event.denominator) for event in score.time_signatures]
    if any(len(events) > 16 and len({event[0] for event in events}) < len(events) for events in (tempos, signatures)):
        return None  # Of so many, symusic does not keep the order of those at one tick.
    ends = [marker.time for marker in score.markers if marker.text == _END]
    if len(ends) < len(chunks.tracks):
        return None  # An event that is cut off has swallowed the end of its track.
    drums, doubles = _without_copies(notes[:3], notes[4])
    if doubles and any(b"\xc9" in track for track in chunks.tracks):
        return None  # At a change of program symusic begins another track: they may be two strokes of one.
    remarks = [*chunks.remarks, *doubles]
    return MidiFile(
        chunks.ticks_per_quarter, drums, tempos, signatures, max(ends), remarks, pedal=_in_order(_pedal(score))
    )


def _note_offs(counts: np.ndarray) -> bytes:
    """Return note-offs on channel 10, `counts` of each pitch, after `_MAX_DELTA_TICKS`, and the end of the track.

    Each ends one note. As many as the byte of the pitch occurs in a track are enough.
    """
    events = np.zeros((counts.sum(), 3), np.uint8)  # In running status: delta time, pitch, velocity.
    events[:, 1] = np.repeat(np.arange(128, dtype=np.uint8), counts)
    return b"\xff\xff\x7f\x89" + events.tobytes()[1:] + b"\x00" + _END_EVENT


_MAX_DELTA_TICKS = 2**21 - 1  # The largest delta time of three bytes; no drum note is that long.
_END_MARKER = b"\xff\x06\x01" + _END.encode()
_ONE_NOTE_OFF_PER_PITCH = _note_offs(np.ones(128, np.int64))


def _with_note_offs(track: bytes, note_offs: bytes) -> bytes:
    """Return the chunk of a track with its end replaced by a marker and `note_offs`."""
    body = track[:-3] + _END_MARKER + note_offs  # The marker follows the delta time of the end.
    return b"MTrk" + len(body).to_bytes(4, "big") + body


def _drum_notes(score: Any) -> np.ndarray:
    """Return (5, N): times in ticks, pitches, velocities 0-127, durations and tracks of notes of channel 10."""
    tracks = [track.notes.numpy() for track in score.tracks if track.is_drum]
    keys = "time", "pitch", "velocity", "duration"
    numbers = [np.full(len(notes["time"]), number) for number, notes in enumerate(tracks)]
    columns = [*([notes[key] for notes in tracks] for key in keys), numbers]
    return np.array([np.concatenate([np.zeros(0, np.int64), *column]) for column in columns])


def _pedal(score: Any) -> np.ndarray:
    """Return (2, N): times in ticks and values of controller 4 on channel 10, in the order of tracks."""
    tracks = [track.controls.numpy() for track in score.tracks if track.is_drum]
    parts = [np.array([controls[key][controls["number"] == PEDAL] for key in ("time", "value")]) for controls in tracks]
    return np.concatenate([np.zeros((2, 0), np.int64), *parts], 1)


def _in_order(events: np.ndarray) -> np.ndarray:
    """Return events (2, N) in the order of their ticks, and those of one tick in that of their tracks."""
    return events[:, np.argsort(events[0], kind="stable")]


def _without_copies(drums: np.ndarray, tracks: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Return drums (3, N) with the loudest of notes that several tracks have at one tick, and a line if there are any.

    Two notes of one track at one tick are two strokes: a drummer's pads record them so.
    """
    keys = drums[0] * 128 + drums[1]
    ordered = np.sort(keys, kind="stable")  # which is quick where they are nearly in order
    if not (tracks != tracks[:1]).any() or not (ordered[1:] == ordered[:-1]).any():
        return drums, []
    order = np.lexsort((-drums[2], tracks, keys))
    same = np.stack([keys, tracks])[:, order]
    starts = np.flatnonzero(np.append(True, (same[:, 1:] != same[:, :-1]).any(0)))
    rank = np.empty(len(keys), np.int64)  # Of a note among those of its tick, pitch and track.
    rank[order] = np.arange(len(keys)) - np.repeat(starts, np.diff(starts, append=len(keys)))
    order = np.lexsort((-drums[2], rank, keys))
    same = np.stack([keys, rank])[:, order]
    is_copy = np.append(False, (same[:, 1:] == same[:, :-1]).all(0))
    count = int(is_copy.sum())
    line = f"{count} hits are there twice, at the same tick; each is read once"
    return np.delete(drums, order[is_copy], 1), [line] * bool(count)


# ---------------------------------------------------------------------- by its events


@dataclass(frozen=True)
class EventTable:
    """The events of all tracks, in the order of tracks."""

    notes: list[Note]
    messages: list[Message]
    names: list[str]
    metas: list[tuple[int, int, bytes]]  # Tick, type and content of tempos, metres and markers.
    pedal: list[tuple[int, int, int]]  # Tick, channel and value of controller 4.
    chokes: list[tuple[int, int, int]]  # Tick, channel and pitch of polyphonic aftertouch.
    ends: list[int]  # Of each track.

    @property
    def end(self) -> int:
        return max(self.ends)


def table_of(chunks: Chunks, where: str) -> EventTable:
    """Return the table of a file; data bytes above 127 are no damage: velocities become 127, other events are left out.

    Raises:
        HypermeterError: an event that is cut off.
    """
    table = EventTable([], [], [], [], [], [], [])
    try:
        for number, track in enumerate(chunks.tracks):
            events, _ = parse_events(track)
            table.notes.extend(_notes(events, number))
            table.names.append("")
            for event in events:
                if event.status & 0xF0 in (0xA0, 0xB0, 0xC0) or event.content[0] >= 0xF0:
                    _add(table, event, number)
            table.ends.append(events[-1].tick if events else 0)
    except IndexError as error:
        raise HypermeterError(f"{where}: damaged MIDI file (an event is cut off); get a whole copy") from error
    return table


def _notes(events: list[Event], track: int) -> list[Note]:
    notes = []
    ons, offs = pair_notes(events)
    for on, off in zip(ons.tolist(), offs.tolist(), strict=True):
        tick, status, content = events[on]
        end = events[off].tick if off >= 0 else -1
        notes.append(Note(tick, track, status & 15, content[-2], min(content[-1], 127), end))
    return notes


def _add(table: EventTable, event: Event, track: int) -> None:
    """Add an event that is no note to the table, if the reader needs it."""
    tick, status, content = event
    channel = status & 15
    if status & 0xF0 == 0xC0 and content[-1] < 128:
        table.messages.append(Message(tick, track, channel, "program", content[-1]))
    elif status & 0xF0 == 0xB0 and content[-2] == 0 and content[-1] < 128:
        table.messages.append(Message(tick, track, channel, "bank", content[-1]))
    elif status & 0xF0 == 0xB0 and content[-2] == PEDAL and content[-1] < 128:
        table.pedal.append((tick, channel, content[-1]))
    elif status & 0xF0 == 0xA0 and content[-2] < 128 and content[-1] > 0:
        table.chokes.append((tick, channel, content[-2]))
    elif content[0] == 0xF0:
        table.messages.append(Message(tick, track, 0, "sysex", content[decode_number(content, 1)[1] :]))
    elif content[0] == 0xFF and content[1] in (0x03, 0x06, 0x51, 0x58):
        body = content[decode_number(content, 2)[1] :]
        if content[1] != 0x03:
            table.metas.append((tick, content[1], body))
        elif not table.names[-1]:
            table.names[-1] = decode_name(body)


def _choose(table: EventTable, settings: list[Setting], where: str, options: ReadOptions) -> Choice:
    try:
        return choose_drums(table.notes, settings, table.names, options.channel, options.track)
    except HypermeterError as error:
        raise HypermeterError(f"{where}: {error}") from None


def _by_events(chunks: Chunks, where: str, options: ReadOptions, in_full: bool = True) -> MidiFile:
    """Return what is read of a file by the walk through its events, in full."""
    table = table_of(chunks, where)
    settings = settings_of(table.notes, table.messages)
    choice = _choose(table, settings, where, options)
    drums = [note for note, is_drums in zip(table.notes, choice.is_drums, strict=True) if is_drums]
    arrays = np.array([(note.tick, note.pitch, note.velocity) for note in drums], np.int64).reshape(-1, 3).T
    played = zip(table.notes, settings, choice.is_drums, strict=True)
    others = [(note, setting) for note, setting, is_drums in played if not is_drums]
    melody = [
        (note.tick, _end_of(note, table), note.pitch, note.velocity, setting.program, note.channel, note.track)
        for note, setting in others
    ]
    endless = sum(note.end < 0 for note, _ in others)
    line = f"{endless} notes beside the drums never end: each lasts to the end of its track"
    once, doubles = _without_copies(arrays, np.array([note.track for note in drums], np.int64))
    channels = {note.channel for note in drums}
    pedal, chokes = (
        np.array([event[::2] for event in events if event[1] in channels], np.int64).reshape(-1, 2).T
        for events in (table.pedal, table.chokes)
    )
    metas = sorted(table.metas, key=lambda meta: meta[0])
    return MidiFile(
        chunks.ticks_per_quarter,
        once,
        [(tick, _tempo(body)) for tick, kind, body in metas if kind == 0x51 and len(body) >= 3],
        [(tick, body[0], _beat_unit(body[1])) for tick, kind, body in metas if kind == 0x58 and len(body) >= 2],
        table.end,
        [*chunks.remarks, *([choice.line] if choice.line else []), *doubles, *[line] * (in_full and endless > 0)],
        [(tick, decode_text(body)) for tick, kind, body in metas if kind == 0x06],
        Melody(np.array(melody, np.int64).reshape(-1, 7).T, tuple(table.names)),
        "" if drums else f"it has {describe_parts(table.notes, table.names)}",
        _in_order(pedal),
        _in_order(chokes),
    )


def _end_of(note: Note, table: EventTable) -> int:
    return note.end if note.end >= 0 else table.ends[note.track]


def _tempo(body: bytes) -> float:
    microseconds = int.from_bytes(body[:3], "big")
    return 6e7 / microseconds if microseconds else float("inf")


def _beat_unit(power: int) -> int:
    return 1 << power if power < 8 else 0


# ---------------------------------------------------------------------- to bytes


def dump_score(score: Any, end: int) -> bytes:
    """Return a score as a MIDI file whose first track ends at the tick `end`, after all events of that track."""
    import symusic

    if end == 0:
        return score.dumps_midi()
    score.markers.append(symusic.TextMeta(end, _END))
    midi = score.dumps_midi()
    size = int.from_bytes(midi[18:22], "big")
    track = midi[22 : 22 + size].removesuffix(_END_MARKER + b"\x01" + _END_EVENT) + _END_EVENT
    others = re.sub(rb"\x01(\xff\x2f\x00)(?=MTrk|\Z)", b"\0\\1", midi[22 + size :])  # symusic ends a tick too late
    return midi[:18] + len(track).to_bytes(4, "big") + track + others
