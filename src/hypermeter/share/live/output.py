"""Notes on one MIDI channel: each ends before the next of its pitch begins."""

from typing import Protocol

NOTE_ON, NOTE_OFF, CONTROL_CHANGE = 0x90, 0x80, 0xB0
ALL_NOTES_OFF = 123


class Sink(Protocol):
    """Takes MIDI messages, as bytes."""

    def send(self, message: tuple[int, ...], when: float) -> None: ...


class Sinks:
    """Several sinks, each of which gets all messages."""

    def __init__(self, *sinks: Sink):
        self._sinks = sinks

    def send(self, message: tuple[int, ...], when: float) -> None:
        for sink in self._sinks:
            sink.send(message, when)


class NoteOutput:
    """Sends notes, and remembers which of them sound.

    Args:
        sink: takes the messages.
        channel: MIDI channel, from 1 to 16.
    """

    def __init__(self, sink: Sink, channel: int):
        self._sink, self._channel = sink, channel - 1
        self.ends: dict[int, float] = {}
        """Pitch -> time at which its note ends, of the notes that sound."""

    def play(self, pitch: int, velocity: int, now: float, until: float) -> None:
        """Begin a note."""
        if pitch in self.ends:
            self._end(pitch, now)
        self.ends[pitch] = until
        self._sink.send((NOTE_ON | self._channel, pitch, velocity), now)

    def end_due(self, now: float) -> None:
        """End the notes whose time has come."""
        for pitch in [pitch for pitch, until in self.ends.items() if until <= now]:
            self._end(pitch, now)

    def silence(self, now: float) -> None:
        """End all notes that sound."""
        for pitch in list(self.ends):
            self._end(pitch, now)

    def close(self, now: float) -> None:
        """End all notes, also those that a receiver may have missed the end of."""
        self.silence(now)
        self._sink.send((CONTROL_CHANGE | self._channel, ALL_NOTES_OFF, 0), now)

    def _end(self, pitch: int, now: float) -> None:
        del self.ends[pitch]
        self._sink.send((NOTE_OFF | self._channel, pitch, 0), now)
