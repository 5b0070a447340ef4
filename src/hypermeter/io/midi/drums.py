"""Which notes of a MIDI file are its drums: one policy for commands, Python, the server and the page.

The first of these rules that gives a note decides.

1. What the user names. A channel: its notes. A track, by its name (case and outer blanks do not count) or else by its
   number from 1: of its notes those that are drums by rule 2, or all if there is none. Both: the notes of both.
2. What General MIDI and messages of GM2, GS and XG make drums: channel 10, unless a message makes it a melody, and
   further channels that messages make drums. `channels.settings_of` follows the messages; what only a bank of XG makes
   drums, in a file without messages of XG, is drums if at least half of its notes are on pitches of a kit.
3. What its name says: the notes of tracks whose names have a word for drums (`says_drums`), without those whose
   program is pitched percussion (112 to 119 from 0); a track counts if at least half of these are at most pitch 87.
4. A file of drums alone: all notes, if they are on one channel, with program 0, and look like a drum kit by their
   pitches (`looks_like_drums`).

Notes that are the same twice, in tick and pitch, are one hit, the loudest; `content` counts them.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from hypermeter.core.errors import HypermeterError
from hypermeter.io.midi.channels import GM_DRUMS, Note, Setting

_NAMES = re.compile(
    r"\b(drums?|drum ?(kit|set|machine|s?tick)s?|perc|percussions?|batterie|bater[ií]a|schlagzeug|slagwerk|trummor"
    r"|perkusja|batteria|hi-?hats?|snares?|kick|cymbals?)\b|ドラム|パーカッション|ударные|барабан|드럼|鼓",
    re.IGNORECASE,
)
_NO_NAMES = re.compile(r"\b(steel|synth|melodic|taiko|bass) ?drums?|timpani|pedal steel", re.IGNORECASE)
"""Names with a word for drums that are of melodic or single instruments."""

_KICKS, _SNARES = {35, 36}, {37, 38, 39, 40}
_TIME = {22, 26, 42, 44, 46, 49, 51, 52, 53, 55, 57, 59}
"""Hi-hats and cymbals."""
_KIT = _KICKS | _SNARES | _TIME | {41, 43, 45, 47, 48, 50, 54, 56, 58, 69, 70, 82}
"""These, toms, tambourine, cowbell and shakers."""

_COMMON = {22, 26, 35, 36, 37, 38, 40, 42, 44, 46, 51, 53, 59}
"""Kick, snare, hi-hats and ride."""

_HIGHEST_PITCH = 87
"""Of the percussion of GM, GS and XG; charts of games have their notes above."""

_PITCHED_PERCUSSION = range(112, 120)
"""Programs from steel drums to reversed cymbals: one sound on all pitches."""


@dataclass(frozen=True)
class Choice:
    """Which notes are the drums.

    Args:
        is_drums: for each note, whether it is.
        line: what was chosen, to tell the user; empty where channel 10 or the user decided.
    """

    is_drums: list[bool]
    line: str = ""


def choose_drums(
    notes: Sequence[Note],
    settings: Sequence[Setting],
    names: Sequence[str],
    channel: int | None = None,
    track: str | None = None,
) -> Choice:
    """Return which notes are the drums; none if nothing looks like them.

    Args:
        notes: the notes of all tracks.
        settings: of each note, see `settings_of`.
        names: of each track, "" where it has none.
        channel: that the user names, from 1.
        track: that the user names.

    Raises:
        HypermeterError: a channel or track without notes. The message lists the parts of the file.
    """
    by_messages = _by_messages(notes, settings)
    if channel is not None or track is not None:
        return Choice(_named(notes, by_messages, names, channel, track))
    if any(by_messages):
        drums = [note for note, is_drums in zip(notes, by_messages, strict=True) if is_drums]
        channels = sorted({note.channel for note in drums})
        if channels == [GM_DRUMS]:
            return Choice(by_messages)
        return Choice(by_messages, f"drums are {_channels(channels)}, by GS, XG or GM2 messages of the file")
    by_name = _by_name(notes, settings, names)
    if any(by_name):
        chosen = [note for note, is_drums in zip(notes, by_name, strict=True) if is_drums]
        tracks = ", ".join(dict.fromkeys(repr(names[note.track]) for note in chosen))
        return Choice(by_name, f"no drums on channel 10; drums are {_channels(_of(chosen))}, by name: {tracks}")
    if looks_like_drums(notes, settings):
        return Choice(
            [True] * len(notes), f"no drums on channel 10; all notes, of {_channels(_of(notes))}, look like a drum kit"
        )
    return Choice([False] * len(notes))


def _named(
    notes: Sequence[Note], by_messages: Sequence[bool], names: Sequence[str], channel: int | None, track: str | None
) -> list[bool]:
    chosen = [channel is None or note.channel == channel - 1 for note in notes]
    if track is not None:
        tracks = tracks_named(track, names)
        chosen = [is_drums and note.track in tracks for is_drums, note in zip(chosen, notes, strict=True)]
        if channel is None:
            by_both = [both and one for both, one in zip(chosen, by_messages, strict=True)]
            chosen = by_both if any(by_both) else chosen
    if not any(chosen):
        what = " of ".join([f"channel {channel}"] * (channel is not None) + [f"track {track!r}"] * (track is not None))
        raise HypermeterError(f"no notes on {what}; it has {describe_parts(notes, names)}")
    return chosen


def _by_messages(notes: Sequence[Note], settings: Sequence[Setting]) -> list[bool]:
    doubtful: dict[int, list[bool]] = {}
    for note, setting in zip(notes, settings, strict=True):
        if setting.kind == "perhaps":
            doubtful.setdefault(note.channel, []).append(note.pitch in _KIT)
    drums = {channel for channel, is_in_kit in doubtful.items() if sum(is_in_kit) >= len(is_in_kit) / 2}
    return [
        setting.kind == "drums" or (setting.kind == "perhaps" and note.channel in drums)
        for note, setting in zip(notes, settings, strict=True)
    ]


def _by_name(notes: Sequence[Note], settings: Sequence[Setting], names: Sequence[str]) -> list[bool]:
    says = [says_drums(name) for name in names]
    by_name = [
        says[note.track] and setting.program not in _PITCHED_PERCUSSION
        for note, setting in zip(notes, settings, strict=True)
    ]
    counts, low = Counter[int](), Counter[int]()
    for note, is_drums in zip(notes, by_name, strict=True):
        counts[note.track] += is_drums
        low[note.track] += is_drums and note.pitch <= _HIGHEST_PITCH
    return [
        is_drums and low[note.track] >= counts[note.track] / 2 for note, is_drums in zip(notes, by_name, strict=True)
    ]


def tracks_named(track: str, names: Sequence[str]) -> set[int]:
    """Return the tracks, from 0, that a name means, or else a number from 1; none if there is no such track."""
    wanted = track.strip().casefold()
    tracks = {number for number, name in enumerate(names) if wanted and name.strip().casefold() == wanted}
    if not tracks and wanted.isdecimal() and 1 <= int(wanted) <= len(names):
        tracks = {int(wanted) - 1}
    return tracks


def says_drums(name: str) -> bool:
    """Return whether the name of a track has a word for drums."""
    return bool(_NAMES.search(name)) and not _NO_NAMES.search(name)


def looks_like_drums(notes: Sequence[Note], settings: Sequence[Setting]) -> bool:
    """Return whether notes look like a drum kit: on one channel, with program 0, and by their pitches.

    Kick, snare, and hi-hats or cymbals are there; nine tenths of the notes are on pitches of a kit, and six tenths on
    kick, snare, hi-hats and ride. Bass, guitar and piano in the same range are spread
    over all pitches, and parts with another program are melodies.
    """
    counts = Counter(note.pitch for note in notes)

    def share(pitches: set[int]) -> float:
        return sum(counts[pitch] for pitch in pitches) / max(len(notes), 1)

    return (
        len(_of(notes)) == 1
        and all(setting.program == 0 for setting in settings)
        and all(counts.keys() & family for family in (_KICKS, _SNARES, _TIME))
        and share(_KIT) >= 0.9
        and share(_COMMON) >= 0.6
    )


def describe_parts(notes: Sequence[Note], names: Sequence[str]) -> str:
    """Return the parts of a file in words, by track and channel: "track 2 'Piano' on channel 1 (120 notes)"."""
    counts = Counter((note.track, note.channel) for note in notes)
    parts = [
        f"track {track + 1}{f' {names[track]!r}' if names[track] else ''} on channel {channel + 1} ({count} notes)"
        for (track, channel), count in sorted(counts.items())
    ]
    more = f" and {len(parts) - 8} more" if len(parts) > 8 else ""
    return (", ".join(parts[:8]) + more) or "no notes"


def _of(notes: Sequence[Note]) -> list[int]:
    return sorted({note.channel for note in notes})


def _channels(channels: Sequence[int]) -> str:
    numbers = [str(channel + 1) for channel in channels]
    if len(numbers) == 1:
        return f"channel {numbers[0]}"
    return f"channels {', '.join(numbers[:-1])} and {numbers[-1]}"
