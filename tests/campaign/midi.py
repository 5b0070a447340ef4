"""MIDI files, with what writes them again."""

from functools import cache
from pathlib import Path
from random import Random

from midi_bytes import END, beat, hit, melody, meta, metre, midi, rmid, sysex, tempo, track, vlq

from .odd import ODD_BYTES, ODD_NUMBERS, mutated
from .reader import Reader, check


@cache
def samples() -> tuple[bytes, ...]:
    """Valid files: of one track, of several, with changes, running status, and no ends of notes."""
    running = b"".join(vlq(120 if at else 0) + bytes([0x99] * (not at) + [36 + at % 3, 90]) for at in range(16))
    bare = b"\x00" + running[1:] + b"\x00" + END
    silent = b"MTrk" + len(bare).to_bytes(4, "big") + bare
    return (
        midi(track(tempo(0, 120), metre(0, 4, 4), *beat(2))),
        midi(track(tempo(0, 90), name="song"), track(*melody(), name="bass"), track(*beat(2), name="drums")),
        midi(track(tempo(0, 90), tempo(1920, 140), metre(0, 4, 4), metre(1920, 3, 4), *beat(3))),
        midi(silent),
        midi(track(sysex(0, "43 10 4c 00 00 7e 00"), *beat(1, channel=10), *beat(1, channel=11))),
        rmid(midi(track(*beat(1)))),
        midi(track(*beat(1), name="one"), track(*beat(1), name="two"), form=2),
    )


def make(random: Random) -> bytes:
    if random.random() < 0.5:
        return mutated(random, random.choice(samples()), samples())
    return midi(
        *(_track(random) for _ in range(random.choice((1, 1, 2, 3)))),
        division=random.choice((480,) * 20 + (96, 1, 24, 32767, 0)),
    )


def _track(random: Random) -> bytes:
    """Return a chunk by the grammar of MIDI, with events in running status, odd lengths, and often no end."""
    body, status = b"", 0
    for _ in range(random.randrange(60)):
        body += vlq(random.choice((0, 1, 60, 120, 240, 480) * 20 + (2**20, 2**27)))
        kind = random.randrange(12)
        if kind < 6:
            wanted = random.choice((0x99, 0x99, 0x99, 0x89, 0x90, 0x80, 0xB9, 0xA9, 0xC9, 0xE0))
            size = 1 if 0xC0 <= wanted < 0xE0 else 2
            is_running = (status == wanted and random.random() < 0.7) or (status and random.random() < 0.02)
            size = size if not is_running else 1 if 0xC0 <= status < 0xE0 else 2
            body += b"" if is_running else bytes([wanted])
            status = status if is_running else wanted
            body += bytes(random.choice((36, 38, 42, 46, 4, 0, 100, 127)) for _ in range(size))
        elif kind == 6:
            content = bytes(random.randrange(128) for _ in range(random.randrange(6))) + b"\xf7" * random.randrange(2)
            body += random.choice((b"\xf0", b"\xf7")) + vlq(len(content)) + content
        elif kind == 7:
            size = random.choice((0, 1, 2, 3, 4, 5))
            content = bytes(random.choice((*ODD_BYTES, 4, 2, 24, 8)) for _ in range(size))
            body += bytes([0xFF, random.choice((0x51, 0x58, 0x06, 0x03, 0x59, 0x7F, 0x21))]) + vlq(size) + content
        elif kind == 8:
            body += meta(0, random.choice((3, 6)), random.choice((b"drums", b"verse", b"\x04", b"\xff\xfe", b"")))[1]
        elif kind == 9 and random.random() < 0.2:
            body += bytes([random.choice((0xF1, 0xF2, 0xF3, 0xF6, 0xF8, 0xFA, 0xFE))])
        elif kind == 10 and random.random() < 0.3:
            body += END
        else:
            body += b"".join(event for _, event in hit(0, random.choice((36, 38, 42)))[:1])
            status = 0x99
    body += b"\x00" + END if random.random() < 0.8 else b""
    size = len(body) if random.random() < 0.97 else random.choice(ODD_NUMBERS) % 2**32
    return b"MTrk" + size.to_bytes(4, "big") + body


def read(content: bytes, folder: Path) -> None:
    """Read a file; what symusic reads is what the walk through its events reads, and what is written again."""
    import numpy as np

    from hypermeter.core.errors import HypermeterError
    from hypermeter.core.grid import GridChoice
    from hypermeter.core.tracks import TRACKS
    from hypermeter.io.midi.content import drums_of_tracks, load_midi
    from hypermeter.io.midi.read import parse_midi_report
    from hypermeter.io.midi.replay import replay_drums

    midi_file, in_full = load_midi(content, "a.mid"), load_midi(content, "a.mid", in_full=True)
    for name in ("drums", "pedal"):
        one, other = getattr(midi_file, name), getattr(in_full, name)
        same = np.array_equal(one[:, np.lexsort(one)], other[:, np.lexsort(other)])
        check(same, f"{name} of {one.shape} by symusic, of {other.shape} by the walk")
    check(midi_file.end == in_full.end, f"end {midi_file.end} by symusic, {in_full.end} by the walk")
    places = drums_of_tracks(content, "a.mid")
    count = sum(int(is_drums.sum()) for is_drums in places)
    copies = sum("are there twice" in line for line in in_full.remarks)
    is_same = count == in_full.drums.shape[1] or (copies and count > in_full.drums.shape[1])
    check(is_same, f"{in_full.drums.shape[1]} hits are read, {count} are written again")
    same = replay_drums(content, "a.mid", lambda ticks, _, velocities: (ticks, velocities))
    check(same == content, "a file whose hits stay is written as another")
    softer = replay_drums(content, "a.mid", lambda ticks, _, velocities: (ticks, np.maximum(velocities - 1, 1)))
    after = load_midi(softer, "a.mid", in_full=True).drums
    is_same = copies or np.array_equal(np.unique(after[0]), np.unique(in_full.drums[0]))
    check(is_same, f"{after.shape[1]} hits after velocities were written, {in_full.drums.shape[1]} before")
    for options in ({}, {"grid": GridChoice(), "tracks": list(TRACKS.values()), "with_sections": True}):
        try:
            parse_midi_report(content, "a.mid", may_rest=True, **options)
        except HypermeterError:
            if options:
                raise


READERS = (Reader("midi", make, read, 3),)
