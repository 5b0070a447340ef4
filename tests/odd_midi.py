"""Make odd but valid MIDI files, and damaged ones, from a seed: what two readers are compared on."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from hypermeter.io.midi.events import encode_number

PITCHES = (36, 35, 38, 40, 37, 39, 42, 22, 44, 46, 26, 43, 41, 58, 47, 45, 50, 48, 49, 52, 55, 57, 51, 53, 59)
"""Pitches of the kit gm10."""
RESOLUTIONS = (24, 25, 48, 60, 72, 90, 96, 100, 111, 120, 160, 192, 240, 256, 333, 384, 479, 480, 600, 768, 960)
GM_ON, GM2_ON = b"\x7e\x7f\x09\x01\xf7", b"\x7e\x7f\x09\x03\xf7"
GS_RESET, XG_ON = b"\x41\x10\x42\x12\x40\x00\x7f\x00\x41\xf7", b"\x43\x10\x4c\x00\x00\x7e\x00\xf7"


class Event(NamedTuple):
    """An event of a track; of events at one tick, those of a lower order come first."""

    tick: int
    content: bytes
    order: int = 1


class Note(NamedTuple):
    """A note in ticks."""

    tick: int
    pitch: int
    velocity: int
    length: int = 20


@dataclass(frozen=True)
class OddFile:
    """A MIDI file, and the options that it is read with (the fields of `ReadOptions`)."""

    name: str
    content: bytes
    options: dict[str, object] = field(default_factory=dict)


@dataclass
class Track:
    """What a track is encoded from.

    Args:
        events: in any order.
        is_running: leave a status out where the one before is the same, also across meta events.
        end: tick of its end; left out, it is that of the last event.
        end_content: the event at its end.
        size: the size that its chunk states; left out, the true one.
    """

    events: list[Event] = field(default_factory=list)
    is_running: bool = False
    end: int | None = None
    end_content: bytes = b"\xff\x2f\x00"
    size: int | None = None

    def encode(self) -> bytes:
        body, tick, status = bytearray(), 0, 0
        for event in sorted(self.events, key=lambda event: (event.tick, event.order)):
            content = event.content
            body += encode_number(event.tick - tick)
            tick = event.tick
            if content[0] < 0xF0:
                content = content[1:] if self.is_running and content[0] == status else content
                status = event.content[0]
            elif content[0] != 0xFF:
                status = 0  # System exclusive events end running status.
            body += content
        if self.end_content:
            body += encode_number(max((self.end or 0) - tick, 0)) + self.end_content
        return chunk(b"MTrk", bytes(body), self.size)


@dataclass
class Song:
    """What a MIDI file is encoded from."""

    rng: np.random.Generator
    ticks_per_quarter: int
    tracks: list[Track]
    format: int = 1
    header: bytes = b""
    alien: list[bytes] = field(default_factory=list)
    is_riff: bool = False
    options: dict[str, object] = field(default_factory=dict)
    num_tracks: int | None = None

    @property
    def drums(self) -> Track:
        return self.tracks[-1]

    @property
    def bar(self) -> int:
        return 4 * self.ticks_per_quarter

    def encode(self) -> bytes:
        tracks = [track.encode() for track in self.tracks]
        count = len(tracks) if self.num_tracks is None else self.num_tracks
        values = (self.format, count, self.ticks_per_quarter)
        head = chunk(b"MThd", b"".join(value.to_bytes(2, "big") for value in values) + self.header)
        aliens = self.alien + [b""] * (len(tracks) - len(self.alien))
        midi = head + b"".join(alien + track for alien, track in zip(aliens, tracks, strict=True))
        return riff(midi) if self.is_riff else midi


# ---------------------------------------------------------------------- bytes


def chunk(kind: bytes, body: bytes, size: int | None = None) -> bytes:
    return kind + (len(body) if size is None else size).to_bytes(4, "big") + body


def riff(midi: bytes, before: bytes = b"", after: bytes = b"") -> bytes:
    """Return an RMID file: a RIFF file with MIDI in a chunk between others."""
    body = b"RMID" + before + b"data" + len(midi).to_bytes(4, "little") + midi + bytes(len(midi) % 2) + after
    return b"RIFF" + len(body).to_bytes(4, "little") + body


def meta(tick: int, kind: int, body: bytes, order: int = 0) -> Event:
    return Event(tick, bytes([0xFF, kind]) + encode_number(len(body)) + body, order)


def sysex(tick: int, body: bytes, order: int = 0, status: int = 0xF0) -> Event:
    return Event(tick, bytes([status]) + encode_number(len(body)) + body, order)


def tempo(tick: int, bpm: float) -> Event:
    return meta(tick, 0x51, round(6e7 / bpm).to_bytes(3, "big"))


def metre(tick: int, beats: int, unit: int) -> Event:
    return meta(tick, 0x58, bytes([beats, unit.bit_length() - 1, 24, 8]))


def program(tick: int, channel: int, number: int) -> Event:
    return Event(tick, bytes([0xC0 | channel - 1, number]), 0)


def control(tick: int, channel: int, number: int, value: int) -> Event:
    return Event(tick, bytes([0xB0 | channel - 1, number, value]), 0)


def play(notes: list[Note], channel: int = 10, has_offs: bool = True) -> list[Event]:
    """Return the events of notes: each ends by a note-off, or else by a note-on of velocity 0."""
    events = []
    for tick, pitch, velocity, length in notes:
        off = bytes([0x80 | channel - 1, pitch, 64]) if has_offs else bytes([0x90 | channel - 1, pitch, 0])
        events += [Event(tick, bytes([0x90 | channel - 1, pitch, velocity]), 2), Event(tick + length, off, 1)]
    return events


# ---------------------------------------------------------------------- music


def beat(rng: np.random.Generator, ticks_per_quarter: int, bars: int = 4, spread: float = 0.02) -> list[Note]:
    """Return a beat in sixteenths of kick, snare, hat and some other drums, `spread` steps about the grid."""
    notes, step = [], ticks_per_quarter / 4
    for number in range(16 * bars):
        pitches = [42] if number % 2 == 0 or rng.random() < 0.2 else []
        if number % 8 == 0 or rng.random() < 0.1:
            pitches.append(36)
        if number % 8 == 4:
            pitches.append(38)
        if rng.random() < 0.08:
            pitches.append(int(rng.choice(PITCHES)))
        for pitch in dict.fromkeys(pitches):
            tick = max(round((number + rng.normal(0, spread)) * step), 0)
            notes.append(Note(tick, pitch, int(rng.integers(1, 128)), max(int(step / 3), 1)))
    return notes


def bass_line(ticks_per_quarter: int, bars: int = 4) -> list[Note]:
    return [Note(beat * ticks_per_quarter, 33 + beat % 5, 90, ticks_per_quarter // 2) for beat in range(4 * bars)]


def plain_song(rng: np.random.Generator, **kwargs: float) -> Song:
    """Return a song of two to five bars with tempo and metre in a track of their own, or in that of the drums."""
    ticks_per_quarter = int(rng.choice(RESOLUTIONS))
    head = [tempo(0, round(float(rng.uniform(60, 200)), 3)), metre(0, 4, 4)]
    notes = play(beat(rng, ticks_per_quarter, int(rng.integers(2, 6)), **kwargs))
    if rng.random() < 0.3:
        return Song(rng, ticks_per_quarter, [Track(head + notes)], format=0)
    return Song(rng, ticks_per_quarter, [Track(head), Track(notes)])


def tick_in(song: Song, share: float | None = None) -> int:
    """Return a tick in the first two bars."""
    return int(2 * song.bar * (song.rng.random() if share is None else share))


def replay(song: Song, change: Callable[[list[Note]], list[Note]], channel: int = 10, has_offs: bool = True) -> None:
    """Play a changed beat instead of that of the drum track."""
    kept = [event for event in song.drums.events if event.content[0] == 0xFF]
    song.drums.events = kept + play(change(beat(song.rng, song.ticks_per_quarter)), channel, has_offs)


def move(notes: list[Note], ticks: Callable[[int], float]) -> list[Note]:
    return [note._replace(tick=max(round(ticks(note.tick)), 0)) for note in notes]


def move_song(song: Song, ticks: int) -> None:
    song.drums.events = [
        event._replace(tick=event.tick + ticks) if event.content[0] < 0xF0 else event for event in song.drums.events
    ]


# ---------------------------------------------------------------------- oddities, each of a plain song

Oddity = Callable[[Song], None]
ODDITIES: dict[str, Oddity] = {}


def oddity(change: Oddity) -> Oddity:
    ODDITIES[change.__name__] = change
    return change


@oddity
def sysex_first(song: Song) -> None:
    resets = (GM_ON, GM2_ON, GS_RESET, XG_ON, b"\xf7", b"", bytes(300) + b"\xf7")
    song.drums.events.append(sysex(0, resets[song.rng.integers(len(resets))], order=-1))


@oddity
def sysex_anywhere(song: Song) -> None:
    for _ in range(4):
        track = song.tracks[song.rng.integers(len(song.tracks))]
        track.events.append(sysex(tick_in(song), bytes(song.rng.integers(0, 128, 9).tolist()) + b"\xf7", order=3))


@oddity
def sysex_in_running_status(song: Song) -> None:
    song.drums.is_running = True
    sysex_anywhere(song)


@oddity
def sysex_in_packets(song: Song) -> None:
    tick = tick_in(song)
    song.drums.events.append(sysex(tick, b"\x43\x12\x00", order=3))
    song.drums.events.append(sysex(tick + 5, b"\x43\x12\x00\x43\x12\x00\xf7", order=3, status=0xF7))


@oddity
def escaped_bytes(song: Song) -> None:
    song.drums.events.append(sysex(tick_in(song), b"\xf3\x01", order=3, status=0xF7))


@oddity
def running_status(song: Song) -> None:
    song.drums.is_running = True


@oddity
def running_status_over_meta_events(song: Song) -> None:
    song.drums.is_running = True
    for kind in (1, 5, 6, 7, 0x20, 0x54, 0x59, 0x7F):
        song.drums.events.append(meta(tick_in(song), kind, b"\x00" * int(song.rng.integers(1, 200)), order=3))


@oddity
def note_ons_of_velocity_0(song: Song) -> None:
    song.drums.is_running = True
    replay(song, lambda notes: notes, has_offs=False)


@oddity
def notes_without_ends(song: Song) -> None:
    song.drums.events = [event for event in song.drums.events if event.content[0] != 0x89 or song.rng.random() < 0.4]


@oddity
def ends_without_notes(song: Song) -> None:
    for pitch in (36, 36, 99, 0, 127):
        song.drums.events.append(Event(tick_in(song), bytes([0x89, pitch, 0]), 0))


@oddity
def overlapping_notes(song: Song) -> None:
    replay(song, lambda notes: [note._replace(length=int(song.rng.integers(0, song.bar))) for note in notes])


@oddity
def notes_of_no_length(song: Song) -> None:
    replay(song, lambda notes: [note._replace(length=0) for note in notes])


@oddity
def doubled_hits(song: Song) -> None:
    replay(song, lambda notes: notes + notes[::3] + notes[::7])


@oddity
def doubled_track(song: Song) -> None:
    song.tracks.append(replace(song.drums, events=[event for event in song.drums.events if event.content[0] < 0xF0]))
    song.format = 1


@oddity
def flams(song: Song) -> None:
    replay(
        song,
        lambda notes: notes + [note._replace(tick=note.tick + 3, velocity=40) for note in notes if note.pitch == 38],
    )


@oddity
def pitches_of_no_voice(song: Song) -> None:
    replay(song, lambda notes: notes + [Note(tick_in(song), pitch, 80) for pitch in (0, 60, 60, 64, 127)])


@oddity
def pitches_of_a_device(song: Song) -> None:
    pitches = {36: 36, 38: 38, 42: 61, 46: 24, 49: 93, 51: 30, 40: 6, 44: 21}
    replay(song, lambda notes: [note._replace(pitch=pitches.get(note.pitch, note.pitch)) for note in notes])
    names = b"Drums", b"Superior Drummer 3", b"AD2 kit", b"Logic", b"hydrogen"
    song.drums.events.append(meta(0, 3, names[song.rng.integers(len(names))]))
    song.options["map"] = str(song.rng.choice(["auto", "auto", "superior3", "td17", "xg", "hydrogen", "gm"]))


@oddity
def riff_with_chunks(song: Song) -> None:
    song.is_riff = True
    song.alien = [chunk(b"XFIH", bytes(13))]


@oddity
def alien_chunks(song: Song) -> None:
    kinds = b"CASM", b"CDS ", b"FNRc", b"XFKM", b"\x00\xff\x80z"
    song.alien = [
        chunk(kinds[song.rng.integers(len(kinds))], bytes(int(song.rng.integers(0, 70)))) for _ in song.tracks
    ]


@oddity
def long_header(song: Song) -> None:
    song.header = bytes(int(song.rng.integers(1, 20)))


@oddity
def format_2_of_one_pattern(song: Song) -> None:
    song.tracks = [Track([event for track in song.tracks for event in track.events])]
    song.format = 2


@oddity
def format_2_of_two_patterns(song: Song) -> None:
    head = [tempo(0, 111), metre(0, 4, 4)]
    notes = play(beat(song.rng, song.ticks_per_quarter, 3))
    song.tracks = [Track([*(event for track in song.tracks for event in track.events)]), Track(head + notes)]
    song.format = 2


@oddity
def format_0_of_two_tracks(song: Song) -> None:
    song.format = 0


@oddity
def format_1_of_one_track(song: Song) -> None:
    song.tracks = [Track([event for track in song.tracks for event in track.events])]
    song.format = 1


@oddity
def more_tracks_announced_than_there(song: Song) -> None:
    song.num_tracks = len(song.tracks) + 2


@oddity
def fewer_tracks_announced_than_there(song: Song) -> None:
    song.tracks.append(Track(play(beat(song.rng, song.ticks_per_quarter))))
    song.num_tracks = len(song.tracks) - 1


@oddity
def empty_tracks(song: Song) -> None:
    song.tracks = [Track(), *song.tracks, Track(end_content=b"")]
    song.drums.events.append(meta(0, 3, b"empty"))
    song.format = 1


@oddity
def no_end_of_track(song: Song) -> None:
    for track in song.tracks:
        track.end_content = b""


@oddity
def bytes_after_the_end_of_track(song: Song) -> None:
    song.drums.end_content += bytes(song.rng.integers(0, 256, 7).tolist())


@oddity
def bytes_after_the_last_track(song: Song) -> None:
    song.tracks.append(Track(end_content=b"\x00" * 5, size=5))
    song.num_tracks = len(song.tracks) - 1


@oddity
def end_of_track_on_a_later_bar_line(song: Song) -> None:
    song.drums.end = int(song.rng.integers(5, 9)) * song.bar


@oddity
def end_of_track_within_a_bar(song: Song) -> None:
    song.drums.end = int(7.3 * song.bar)


@oddity
def end_of_another_track_later(song: Song) -> None:
    song.tracks[0].end = 9 * song.bar


@oddity
def no_tempo_and_no_metre(song: Song) -> None:
    for track in song.tracks:
        track.events = [event for event in track.events if event.content[0] < 0xF0]


@oddity
def tempo_off_the_first_tick(song: Song) -> None:
    song.tracks[0].events = [event for event in song.tracks[0].events if event.content[:2] != b"\xff\x51"]
    song.tracks[0].events.append(tempo(int(song.rng.integers(1, 4)), 133))


@oddity
def metre_off_the_first_tick(song: Song) -> None:
    song.tracks[0].events = [event for event in song.tracks[0].events if event.content[:2] != b"\xff\x58"]
    song.tracks[0].events.append(metre(1, 4, 4))


@oddity
def tempo_stated_again_and_again(song: Song) -> None:
    song.tracks[0].events += [tempo(tick_in(song), 120) for _ in range(5)] + [tempo(0, 120)]


@oddity
def tempo_that_wavers(song: Song) -> None:
    song.tracks[0].events += [tempo(tick_in(song), 120 + 0.3 * float(song.rng.random())) for _ in range(20)]
    song.tracks[0].events.append(Event(0, tempo(0, 120).content, order=1))


@oddity
def tempo_of_a_performance(song: Song) -> None:
    step = song.ticks_per_quarter
    song.tracks[0].events += [tempo(beat * step, 100 + 12 * float(song.rng.random())) for beat in range(1, 16)]


@oddity
def tempo_of_a_performance_flattened(song: Song) -> None:
    tempo_of_a_performance(song)
    song.options["tempo_map"] = "flatten"


@oddity
def tempo_changes_at_a_bar(song: Song) -> None:
    song.tracks[0].events.append(tempo(song.bar, 93))


@oddity
def tempo_changes_within_a_bar(song: Song) -> None:
    song.tracks[0].events.append(tempo(int(song.bar * 1.4), 93))


@oddity
def tempo_changes_near_a_bar_line(song: Song) -> None:
    song.tracks[0].events.append(tempo(max(song.bar + int(song.rng.integers(-4, 5)), 1), 93))


@oddity
def tempo_in_the_drum_track_too(song: Song) -> None:
    song.drums.events += [tempo(0, 88), tempo(0, 99)]


@oddity
def tempo_of_the_wrong_size(song: Song) -> None:
    song.tracks[0].events.append(meta(0, 0x51, b"\x07\xa1\x20\x00", order=-1))


@oddity
def tempo_of_0(song: Song) -> None:
    song.tracks[0].events.append(meta(song.bar, 0x51, bytes(3)))


@oddity
def very_fast_or_slow(song: Song) -> None:
    song.tracks[0].events.append(tempo(0, float(song.rng.choice([4, 20, 400, 999]))))


@oddity
def cut_time(song: Song) -> None:
    song.tracks[0].events.append(metre(0, 2, 2))


@oddity
def eight_eighths(song: Song) -> None:
    song.tracks[0].events.append(metre(0, 8, 8))


@oddity
def cut_time_after_a_bar(song: Song) -> None:
    song.tracks[0].events.append(metre(song.bar, 2, 2))


@oddity
def three_four(song: Song) -> None:
    song.tracks[0].events.append(metre(0, 3, 4))


@oddity
def six_eight_after_a_bar(song: Song) -> None:
    song.tracks[0].events.append(metre(song.bar, 6, 8))


@oddity
def three_four_then_four_four(song: Song) -> None:
    song.tracks[0].events += [metre(0, 3, 4), metre(3 * song.ticks_per_quarter, 4, 4)]


@oddity
def metre_changes_within_a_bar(song: Song) -> None:
    song.tracks[0].events.append(metre(int(song.bar * 1.3), 7, 8))


@oddity
def metre_of_the_wrong_size(song: Song) -> None:
    song.tracks[0].events.append(meta(0, 0x58, b"\x04\x02"))


@oddity
def metre_of_0_beats(song: Song) -> None:
    song.tracks[0].events.append(meta(0, 0x58, b"\x00\x02\x18\x08"))


@oddity
def metre_of_a_huge_unit(song: Song) -> None:
    song.tracks[0].events.append(meta(0, 0x58, bytes([4, int(song.rng.choice([31, 32, 40, 255])), 24, 8])))


@oddity
def pickup(song: Song) -> None:
    beats = int(song.rng.integers(1, 4))
    song.tracks[0].events += [metre(0, beats, 4), metre(beats * song.ticks_per_quarter, 4, 4)]
    move_song(song, beats * song.ticks_per_quarter)
    song.drums.events += play([Note((beats - 1) * song.ticks_per_quarter, 38, 99)])


@oddity
def late_start(song: Song) -> None:
    move_song(song, 3 * song.bar)


@oddity
def early_throughout(song: Song) -> None:
    shift = float(song.rng.uniform(-0.45, 0.45)) * song.ticks_per_quarter / 4
    replay(song, lambda notes: move(notes, lambda tick: song.bar + tick + shift))


@oddity
def early_throughout_but_kept(song: Song) -> None:
    early_throughout(song)
    song.options["shift"] = "keep"


@oddity
def late_from_tick_0(song: Song) -> None:
    replay(song, lambda notes: move(notes, lambda tick: tick + 0.3 * song.ticks_per_quarter / 4))


@oddity
def drifts(song: Song) -> None:
    replay(song, lambda notes: move(notes, lambda tick: song.bar + tick * 1.02))


@oddity
def no_grid(song: Song) -> None:
    replay(song, lambda notes: move(notes, lambda tick: tick + song.rng.uniform(0, 0.25) * song.ticks_per_quarter))


@oddity
def swing(song: Song) -> None:
    half = song.ticks_per_quarter // 2
    late = float(song.rng.uniform(0.05, 0.17)) * song.ticks_per_quarter
    replay(song, lambda notes: move(notes, lambda tick: tick + (late if tick % half > half // 4 else 0)))


@oddity
def triplets(song: Song) -> None:
    third = song.ticks_per_quarter / 3
    replay(song, lambda _: [Note(round(number * third), (42, 36, 38)[number % 3], 90) for number in range(48)])


@oddity
def sixteenth_triplets(song: Song) -> None:
    sixth = song.ticks_per_quarter / 6
    replay(song, lambda _: [Note(round(number * sixth), (42, 36, 38)[number % 3], 90) for number in range(96)])


@oddity
def two_clusters_half_a_step_apart(song: Song) -> None:
    step = song.ticks_per_quarter / 4
    replay(song, lambda notes: move(notes, lambda tick: tick + (step / 2 if song.rng.random() < 0.5 else 0)))


@oddity
def few_hits(song: Song) -> None:
    count = int(song.rng.integers(1, 5))
    replay(song, lambda notes: move(notes[:count], lambda tick: tick + 0.2 * song.ticks_per_quarter))


@oddity
def halfway_between_steps(song: Song) -> None:
    replay(song, lambda notes: move(notes, lambda tick: tick + song.ticks_per_quarter / 8))


@oddity
def drums_on_channel_1(song: Song) -> None:
    replay(song, lambda notes: notes, channel=1)


@oddity
def drums_on_channel_1_named(song: Song) -> None:
    replay(song, lambda notes: notes, channel=int(song.rng.integers(1, 10)))
    names = b"Drums", b"BATERIA", b"Schlagzeug", b"drum kit \xe9", b"Percussion", b"\xff\xfe"
    song.drums.events.append(meta(0, 3, names[song.rng.integers(len(names))]))


@oddity
def piano_on_channel_1(song: Song) -> None:
    scale = [60, 62, 64, 65, 67, 69, 71, 72]
    replay(song, lambda notes: [note._replace(pitch=scale[i % 8]) for i, note in enumerate(notes)], channel=1)
    song.drums.events.append(meta(0, 3, b"Piano"))


@oddity
def channel_chosen(song: Song) -> None:
    song.tracks.append(Track(play(beat(song.rng, song.ticks_per_quarter, 3), channel=5)))
    song.format, song.options["channel"] = 1, int(song.rng.choice([5, 5, 10, 7]))


@oddity
def track_chosen_by_name(song: Song) -> None:
    song.tracks.append(Track([meta(0, 3, b"Loop \xe4"), *play(beat(song.rng, song.ticks_per_quarter, 3), channel=5)]))
    song.format, song.options["track"] = 1, str(song.rng.choice(["Loop", "loop", "loop \xe4", "Loop \xe4", "nothing"]))


@oddity
def track_chosen_by_number(song: Song) -> None:
    song.tracks.append(Track(play(beat(song.rng, song.ticks_per_quarter, 3), channel=5)))
    song.format, song.options["track"] = 1, str(song.rng.choice(["1", "2", "3", "9"]))


@oddity
def channel_and_track_chosen(song: Song) -> None:
    channel_chosen(song)
    song.options["track"] = str(song.rng.choice(["1", "2", "3"]))


@oddity
def bass_and_drums(song: Song) -> None:
    song.tracks.append(Track([program(0, 2, 33), *play(bass_line(song.ticks_per_quarter), channel=2)]))
    song.tracks.reverse()
    song.format = 1


@oddity
def bass_with_its_program_in_another_track(song: Song) -> None:
    song.tracks[0].events.append(program(0, 2, 33))
    song.tracks.insert(1, Track(play(bass_line(song.ticks_per_quarter), channel=2)))
    song.format = 1


@oddity
def second_part_by_gs(song: Song) -> None:
    use_for_rhythm = b"\x41\x10\x42\x12\x40\x1b\x15\x02\x0e\xf7"  # Part 11 (block 1B) is a second drum map.
    song.tracks[0].events += [sysex(0, GS_RESET, -2), sysex(0, use_for_rhythm, -1)]
    song.tracks.append(Track(play(beat(song.rng, song.ticks_per_quarter), channel=12)))
    song.format = 1


@oddity
def second_part_by_xg_bank(song: Song) -> None:
    song.tracks[0].events.append(sysex(0, XG_ON, -2))
    head = [control(0, 11, 0, 127), control(0, 11, 32, 0), program(0, 11, 0)]
    song.tracks.append(Track(head + play(beat(song.rng, song.ticks_per_quarter), channel=11)))
    song.format = 1


@oddity
def second_part_by_xg_part_mode(song: Song) -> None:
    song.tracks[0].events += [sysex(0, XG_ON, -2), sysex(0, b"\x43\x10\x4c\x08\x04\x07\x02\xf7", -1)]
    song.tracks.append(Track(play(beat(song.rng, song.ticks_per_quarter), channel=5)))
    song.format = 1


@oddity
def second_part_by_gm2_bank(song: Song) -> None:
    song.tracks[0].events.append(sysex(0, GM2_ON, -2))
    head = [control(0, 11, 0, 120), control(0, 11, 32, 0), program(0, 11, 0)]
    song.tracks.append(Track(head + play(beat(song.rng, song.ticks_per_quarter), channel=11)))
    song.format = 1


@oddity
def bank_120_without_a_reset(song: Song) -> None:
    head = [control(0, 11, 0, 120), program(0, 11, 0)]
    song.tracks.append(Track(head + play(beat(song.rng, song.ticks_per_quarter), channel=11)))
    song.format = 1


@oddity
def channel_10_made_melodic_by_gs(song: Song) -> None:
    song.tracks[0].events += [sysex(0, GS_RESET, -2), sysex(0, b"\x41\x10\x42\x12\x40\x10\x15\x00\x1b\xf7", -1)]
    if song.rng.random() < 0.5:
        song.tracks.append(Track(play(beat(song.rng, song.ticks_per_quarter), channel=3)))
        song.tracks[0].events.append(sysex(0, b"\x41\x10\x42\x12\x40\x13\x15\x01\x17\xf7", -1))
        song.format = 1


@oddity
def channel_10_made_melodic_by_xg(song: Song) -> None:
    song.tracks[0].events += [sysex(0, XG_ON, -2), sysex(0, b"\x43\x10\x4c\x08\x09\x07\x00\xf7", -1)]


@oddity
def channel_10_made_melodic_by_gm2(song: Song) -> None:
    song.tracks[0].events += [sysex(0, GM2_ON, -2), control(0, 10, 0, 121), control(0, 10, 32, 0), program(0, 10, 24)]


@oddity
def melody_on_channel_10_by_name(song: Song) -> None:
    song.drums.events.append(meta(0, 3, b"Lead guitar"))


@oddity
def programs_of_drum_kits(song: Song) -> None:
    song.drums.events += [program(0, 10, 25), program(tick_in(song), 10, 8), control(0, 10, 0, 0)]


@oddity
def two_drum_tracks(song: Song) -> None:
    song.tracks.append(Track([meta(0, 3, b"Percussion"), *play(beat(song.rng, song.ticks_per_quarter, 6))]))
    song.format = 1


@oddity
def controllers_above_127(song: Song) -> None:
    for channel in (1, 10):
        song.tracks[0].events.append(control(tick_in(song), channel, 7, 200))
        song.tracks[0].events.append(Event(tick_in(song), bytes([0xE0 | channel - 1, 0x90, 0xC0]), 0))


@oddity
def program_above_127(song: Song) -> None:
    song.tracks[0].events.append(Event(0, bytes([0xC1, 0xB0]), 0))


@oddity
def pitch_above_127(song: Song) -> None:
    song.drums.events.append(Event(tick_in(song), bytes([0x99, 0xA4, 100]), 3))


@oddity
def velocity_above_127(song: Song) -> None:
    song.drums.events.append(Event(tick_in(song), bytes([0x99, 36, 200]), 3))


@oddity
def notes_above_127_of_another_channel(song: Song) -> None:
    song.tracks[0].events.append(Event(tick_in(song), bytes([0x93, 0xA4, 0xB0]), 3))


@oddity
def all_kinds_of_channel_events(song: Song) -> None:
    for channel in (2, 10):
        contents = b"\xa9\x24\x40", b"\xb9\x01\x40", b"\xc9\x05", b"\xd9\x40", b"\xe9\x00\x40"
        for content in contents:
            changed = bytes([content[0] & 0xF0 | channel - 1]) + content[1:]
            song.drums.events.append(Event(tick_in(song), changed, 3))
    song.drums.is_running = True


@oddity
def system_common_messages(song: Song) -> None:
    content = (b"\xf1\x05", b"\xf2\x01\x02", b"\xf3\x07", b"\xf6", b"\xf8", b"\xfe")[song.rng.integers(6)]
    song.drums.events.append(Event(tick_in(song), content, 3))


@oddity
def text_in_any_bytes(song: Song) -> None:
    for kind in range(1, 10):
        text = bytes(song.rng.integers(0, 256, 20).tolist())
        song.tracks[0].events.append(meta(tick_in(song), kind, text))
    song.drums.events.append(meta(0, 3, "ドラム".encode("shift-jis")))


@oddity
def markers_and_lyrics(song: Song) -> None:
    song.tracks[0].events += [
        meta(0, 6, b"Verse"),
        meta(song.bar, 6, b"\x04"),
        meta(song.bar, 5, b"la"),
        meta(5, 5, b""),
    ]


@oddity
def long_delta_times(song: Song) -> None:
    song.drums.events.append(meta(2**21 + 5, 1, b"far away"))


@oddity
def huge_delta_time_before_the_drums(song: Song) -> None:
    move_song(song, 2**27)


@oddity
def delta_times_of_more_bytes_than_needed(song: Song) -> None:
    song.tracks = [Track()]
    song.tracks[0].end_content = b"\x99\x24\x64\x80\x80\x60\x99\x26\x5a\x80\x81\x40\x99\x24\x50\x00\xff\x2f\x00"
    song.format = 0


@oddity
def long_delta_of_the_end(song: Song) -> None:
    song.drums.end = 2**22


@oddity
def songs_of_600_bars(song: Song) -> None:
    notes = [Note(beat * song.ticks_per_quarter, 36 + 2 * (beat % 2), 90) for beat in range(2400)]
    replay(song, lambda _: notes)


@oddity
def no_drums_at_all(song: Song) -> None:
    song.drums.events = [event for event in song.drums.events if event.content[0] == 0xFF]


@oddity
def no_events_at_all(song: Song) -> None:
    song.tracks = [Track()]


@oddity
def only_pitches_of_no_voice(song: Song) -> None:
    replay(song, lambda notes: [note._replace(pitch=70) for note in notes])


@oddity
def smpte_time(song: Song) -> None:
    song.ticks_per_quarter = 0xE728
    for track in song.tracks:
        track.events = track.events[:20]


@oddity
def no_ticks(song: Song) -> None:
    song.ticks_per_quarter = 0


@oddity
def unknown_format(song: Song) -> None:
    song.format = int(song.rng.choice([3, 100, 65535]))


def odd_files(seed: int = 0, copies: int = 3, mixtures: int = 80) -> list[OddFile]:
    """Return files with each oddity by itself, `copies` times, and files with three of them."""
    files = []
    for number, (name, change) in enumerate(ODDITIES.items()):
        for copy in range(copies):
            song = plain_song(np.random.default_rng([seed, number, copy]))
            change(song)
            files.append(OddFile(f"{name}-{copy}", song.encode(), song.options))
    names = sorted(ODDITIES)
    for number in range(mixtures):
        rng = np.random.default_rng([seed, 1000, number])
        song = plain_song(rng, spread=float(rng.choice([0, 0.05, 0.2])))
        chosen = rng.choice(names, 3, replace=False).tolist()
        for name in chosen:
            ODDITIES[name](song)
        try:
            content = song.encode()
        except (ValueError, OverflowError):  # Some do not go together.
            continue
        files.append(OddFile(f"{'+'.join(chosen)}-{number}", content, song.options))
    return files


def many_notes(count: int = 300_000) -> OddFile:
    """Return a file of so many notes."""
    events = np.zeros((count, 4), np.uint8)  # In running status: delta time, pitch, velocity, and an end.
    events[:, 0], events[:, 1] = 30, np.resize(np.array(PITCHES, np.uint8), count)
    events[:, 2] = np.resize(np.arange(1, 128, dtype=np.uint8), count)
    body = b"\x00\xff\x51\x03\x07\xa1\x20\x00\x99\x24\x00" + events[:, :3].tobytes() + b"\x00\xff\x2f\x00"
    header = b"".join(value.to_bytes(2, "big") for value in (0, 1, 480))
    return OddFile("many_notes", chunk(b"MThd", header) + chunk(b"MTrk", body))


def damaged_files(seed: int = 0, count: int = 60) -> Iterator[OddFile]:
    """Yield a short file cut at each place, files with wrong sizes, with bytes changed, and garbage."""
    rng = np.random.default_rng([seed, 2000])
    short = Song(rng, 96, [Track([tempo(0, 120), metre(0, 4, 4)]), Track(play(beat(rng, 96, 1)[:6]))])
    short.drums.events.append(sysex(100, GM_ON))
    whole = short.encode()
    for end in range(len(whole)):
        yield OddFile(f"cut-at-{end}", whole[:end])
    for at in (4, 10, whole.index(b"MTrk") + 4, whole.rindex(b"MTrk") + 4):
        for size in (0, 1, 5, 6, 7, 200, 2**16, 2**32 - 1):
            width = 2 if at == 10 else 4
            stated = (size % 256**width).to_bytes(width, "big")
            yield OddFile(f"size-{size}-at-{at}", whole[:at] + stated + whole[at + width :])
    for number in range(count):
        content = bytearray(plain_song(rng).encode())
        for _ in range(int(rng.integers(1, 4))):
            content[int(rng.integers(14, len(content)))] = int(rng.integers(256))
        yield OddFile(f"changed-{number}", bytes(content))
    for number in range(10):
        body = bytes(rng.integers(0, 256, 50).tolist())
        yield OddFile(f"garbage-{number}", body)
        yield OddFile(f"garbage-in-a-track-{number}", chunk(b"MThd", b"\0\0\0\1\0\x60") + chunk(b"MTrk", body))
    yield OddFile("empty", b"")
    yield OddFile("letter", b"Dear reader, this is no music but a letter.")
    yield OddFile("riff-of-sound", b"RIFF\x24\0\0\0WAVEfmt " + bytes(28))
    yield OddFile("riff-cut", riff(whole)[:-30])
