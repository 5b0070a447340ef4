"""What GM, GM2, GS and XG messages make of the channels of a MIDI file: drums or a melody, and with which program."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

GM_DRUMS = 9
"""The channel of drums in General MIDI; channels count from 0 here, and from 1 in all that users see."""

_RHYTHM_BANK, _MELODY_BANK = 120, 121  # GM2
_XG_DRUM_BANKS = 126, 127


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

    is_gs: bool = False
    part_is_drums: list[bool] = field(default_factory=lambda: [part == GM_DRUMS for part in range(16)])
    part_channels: list[int] = field(default_factory=lambda: list(range(16)))
    banks: list[int] = field(default_factory=lambda: [0] * 16)
    bank_is_drums: list[bool | None] = field(default_factory=lambda: [None] * 16)  # None: the bank does not decide.

    def is_drums(self, channel: int) -> bool:
        by_bank = self.bank_is_drums[channel]
        if by_bank is not None:
            return by_bank
        parts = zip(self.part_is_drums, self.part_channels, strict=True)
        return any(is_drums and receives == channel for is_drums, receives in parts)

    def set_program(self, channel: int) -> None:
        """Put the bank in force that was selected before a program change."""
        bank = self.banks[channel]
        by_bank = {_RHYTHM_BANK: True, _MELODY_BANK: False, **dict.fromkeys(_XG_DRUM_BANKS, True)}
        self.bank_is_drums[channel] = None if self.is_gs else by_bank.get(bank)

    def set_part(self, part: int, is_drums: bool | None, channel: int | None) -> None:
        if is_drums is not None:
            self.part_is_drums[part] = is_drums
            if self.part_channels[part] < 16:
                self.bank_is_drums[self.part_channels[part]] = None
        if channel is not None:
            self.part_channels[part] = channel

    def receive(self, message: bytes) -> "_Channels":
        """Return the state after a system exclusive message: itself, or a new one after a reset."""
        if message[:1] == b"\x7e" and message[2:4] in (b"\x09\x01", b"\x09\x03"):
            return _Channels()
        if message[:1] == b"\x41" and message[2:4] == b"\x42\x12":
            address, values = message[4:7], message[7:-2]  # A checksum and F7 follow.
            if address == b"\x40\x00\x7f":
                return _Channels(is_gs=True)
            if address[:1] == b"\x40" and len(address) == 3 and address[1] >> 4 == 1:
                block = address[1] & 15
                part = GM_DRUMS if block == 0 else block - 1 if block < 10 else block
                at = address[2]
                self.set_part(part, _flag(values, 0x15 - at), _value(values, 0x02 - at))
        if message[:1] == b"\x43" and message[1:2] and message[1] >> 4 == 1 and message[2:3] == b"\x4c":
            address, values = message[3:6], message[6:-1]
            if address == b"\x00\x00\x7e":
                return _Channels()
            if address[:1] == b"\x08" and len(address) == 3 and address[1] < 16:
                at = address[2]
                self.set_part(address[1], _flag(values, 0x07 - at), _value(values, 0x04 - at))
        return self


def _value(values: bytes, at: int) -> int | None:
    return values[at] if 0 <= at < len(values) else None


def _flag(values: bytes, at: int) -> bool | None:
    value = _value(values, at)
    return None if value is None else value > 0


class Setting(NamedTuple):
    """How a note is played: as drums or not, and with which program, from 0."""

    is_drums: bool
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
    programs: list[tuple[int, dict[int, int]]] = [(0, {})] * 16  # Tick, and program by track; the last comes last.
    settings = [Setting(False, 0)] * len(notes)
    for number in sorted(range(len(notes)), key=lambda number: notes[number].tick):
        note = notes[number]
        while at < len(pending) and pending[at].tick <= note.tick:
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
        by_track = programs[note.channel][1]
        program = by_track.get(note.track, next(reversed(by_track.values()), 0))
        settings[number] = Setting(channels.is_drums(note.channel), program)
    return settings
