"""What GM, GM2, GS and XG messages make of the channels of a MIDI file: drums or a melody, and with which program."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

GM_DRUMS = 9
"""The channel of drums in General MIDI; channels count from 0 here, and from 1 in all that users see."""

_RHYTHM_BANK, _MELODY_BANK = 120, 121  # GM2
_XG_DRUM_BANKS = 126, 127


Kind = Literal["drums", "perhaps", "melody"]
"""What a channel plays; perhaps: drums if the file is meant for XG, which no message says."""


class Note(NamedTuple):
    """A note-on, in the order of tracks; `end` is -1 for a note that never ends."""

    tick: int
    track: int
    channel: int
    pitch: int
    velocity: int
    end: int = -1


class Message(NamedTuple):
    """A message that sets up channels.

    Args:
        tick: when it is sent.
        track: from 0.
        channel: from 0; of system exclusive messages 0.
        kind: bank (controller 0), program, or sysex.
        data: the value, or the bytes of a system exclusive message after its length.
    """

    tick: int
    track: int
    channel: int
    kind: Literal["bank", "program", "sysex"]
    data: int | bytes


@dataclass
class _Channels:
    """The state of a synthesiser: it begins as General MIDI has it."""

    mode: Literal["gm", "gs", "xg"] = "gm"
    part_is_drums: list[bool] = field(default_factory=lambda: [part == GM_DRUMS for part in range(16)])
    part_channels: list[int] = field(default_factory=lambda: list(range(16)))
    banks: list[int | None] = field(default_factory=lambda: [None] * 16)
    kinds: list[Kind | None] = field(default_factory=lambda: [None] * 16)  # By the bank; None: it does not decide.

    def kind(self, channel: int) -> Kind:
        by_bank = self.kinds[channel]
        if by_bank is not None:
            return by_bank
        parts = zip(self.part_is_drums, self.part_channels, strict=True)
        is_drums = any(is_drums and receives == channel for is_drums, receives in parts)
        return "drums" if is_drums else "melody"

    def set_program(self, channel: int) -> None:
        """Put the bank in force that was selected before a program change."""
        bank, kind = self.banks[channel], None
        if self.mode == "gs" or bank is None:
            kind = None  # GS keeps bank 127 for tones of the MT-32.
        elif bank in (_RHYTHM_BANK, _MELODY_BANK):
            kind = "drums" if bank == _RHYTHM_BANK else "melody"
        elif self.mode == "xg":
            kind = "drums" if bank in _XG_DRUM_BANKS else "melody"
        elif bank in _XG_DRUM_BANKS:
            kind = "perhaps"
        self.kinds[channel] = kind

    def set_part(self, part: int, is_drums: bool | None, channel: int | None) -> None:
        if is_drums is not None:
            self.part_is_drums[part] = is_drums
            if self.part_channels[part] < 16:
                self.kinds[self.part_channels[part]] = None
        if channel is not None:
            self.part_channels[part] = channel

    def receive(self, message: bytes) -> "_Channels":
        """Return the state after a system exclusive message: itself, or a new one after a reset."""
        if message[:1] == b"\x7e" and message[2:4] in (b"\x09\x01", b"\x09\x03"):
            return _Channels()
        if message[:1] == b"\x41" and message[2:4] == b"\x42\x12":
            address, values = message[4:7], message[7:-2]  # A checksum and F7 follow.
            if address == b"\x40\x00\x7f":
                return _Channels("gs")
            if address[:1] == b"\x40" and len(address) == 3 and address[1] >> 4 == 1:
                block = address[1] & 15
                part = GM_DRUMS if block == 0 else block - 1 if block < 10 else block
                at = address[2]
                self.set_part(part, _flag(values, 0x15 - at), _value(values, 0x02 - at))
        if message[:1] == b"\x43" and message[1:2] and message[1] >> 4 == 1 and message[2:3] == b"\x4c":
            address, values = message[3:6], message[6:-1]
            if address == b"\x00\x00\x7e":
                return _Channels("xg")
            if address[:1] == b"\x08" and len(address) == 3 and address[1] < 16:
                self.mode = "xg"
                at = address[2]
                self.set_part(address[1], _flag(values, 0x07 - at), _value(values, 0x04 - at))
        return self


def changes_channels(message: bytes) -> bool:
    """Return whether a system exclusive message can make the channels other than they are in General MIDI."""
    before, after = _Channels(), _Channels().receive(message)
    parts = (before.part_is_drums, before.part_channels) == (after.part_is_drums, after.part_channels)
    return not parts or after.mode == "xg"  # in which any bank counts


def _value(values: bytes, at: int) -> int | None:
    return values[at] if 0 <= at < len(values) else None


def _flag(values: bytes, at: int) -> bool | None:
    value = _value(values, at)
    return None if value is None else value > 0


class Setting(NamedTuple):
    """How a note is played: as drums or melody, and with which program, from 0."""

    kind: Kind
    program: int


def settings_of(notes: Sequence[Note], messages: Iterable[Message]) -> list[Setting]:
    """Return the setting of each note.

    Messages of a tick count before the notes of that tick, in the order of tracks. A program change holds for all
    tracks of its channel; of several at one tick, that of the note's own track counts, else the last.

    Source: GS: Roland SC-88 Pro, "use for rhythm part" and "Rx. channel"; XG: Yamaha XG specifications 2.0, "part mode"
    and "Rcv channel"; banks 120 and 121: General MIDI 2, section 2.1.
    """
    pending = sorted(messages, key=lambda message: message.tick)
    channels, at = _Channels(), 0
    kinds: list[Kind] = [channels.kind(channel) for channel in range(16)]
    programs: list[tuple[int, dict[int, int]]] = [(0, {})] * 16  # Tick, and program by track; the last comes last.
    settings = [Setting("melody", 0)] * len(notes)
    for number in sorted(range(len(notes)), key=lambda number: notes[number].tick):
        note = notes[number]
        has_news = False
        while at < len(pending) and pending[at].tick <= note.tick:
            has_news = True
            tick, track, channel, kind, data = pending[at]
            at += 1
            if isinstance(data, bytes):
                channels = channels.receive(data)
            elif kind == "bank":
                channels.banks[channel] = data
            else:
                channels.set_program(channel)
                by_track = programs[channel][1] if programs[channel][0] == tick else {}
                others = {other: program for other, program in by_track.items() if other != track}
                programs[channel] = tick, {**others, track: data}
        if has_news:
            kinds = [channels.kind(channel) for channel in range(16)]
        by_track = programs[note.channel][1]
        program = by_track.get(note.track, next(reversed(by_track.values()), 0)) if by_track else 0
        settings[number] = Setting(kinds[note.channel], program)
    return settings
