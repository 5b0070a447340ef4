"""Make MIDI files of given bytes: tracks of (tick, bytes of an event)."""

END = b"\xff\x2f\x00"


def vlq(number: int) -> bytes:
    out = [number & 127]
    while number := number >> 7:
        out.append(number & 127 | 128)
    return bytes(reversed(out))


def track(*events: tuple[int, bytes], name: str | bytes = "") -> bytes:
    """Return a chunk of events in the order of their ticks; it ends after the last."""
    body, now = b"", 0
    if name:
        events = (meta(0, 3, name if isinstance(name, bytes) else name.encode()), *events)
    for tick, event in sorted(events, key=lambda event: event[0]):
        body, now = body + vlq(tick - now) + event, tick
    body += vlq(1) + END
    return b"MTrk" + len(body).to_bytes(4, "big") + body


def midi(*tracks: bytes, form: int | None = None, division: int = 480) -> bytes:
    form = int(len(tracks) > 1) if form is None else form
    header = b"".join(number.to_bytes(2, "big") for number in (form, len(tracks), division))
    return b"MThd" + (6).to_bytes(4, "big") + header + b"".join(tracks)


def rmid(content: bytes) -> bytes:
    body = b"RMIDdata" + len(content).to_bytes(4, "little") + content + bytes(len(content) % 2)
    return b"RIFF" + len(body).to_bytes(4, "little") + body


def meta(tick: int, kind: int, body: bytes) -> tuple[int, bytes]:
    return tick, bytes([0xFF, kind]) + vlq(len(body)) + body


def tempo(tick: int, bpm: float) -> tuple[int, bytes]:
    return meta(tick, 0x51, round(6e7 / bpm).to_bytes(3, "big"))


def metre(tick: int, beats: int, unit: int) -> tuple[int, bytes]:
    return meta(tick, 0x58, bytes([beats, unit.bit_length() - 1, 24, 8]))


def sysex(tick: int, body: str) -> tuple[int, bytes]:
    """Return a system exclusive message: its bytes in hexadecimal between F0 and F7."""
    content = bytes.fromhex(body) + b"\xf7"
    return tick, b"\xf0" + vlq(len(content)) + content


def bank(tick: int, channel: int, number: int, program: int = 0) -> tuple[int, bytes]:
    """Return a bank and the program change that puts it in force."""
    at = channel - 1
    return tick, bytes([0xB0 | at, 0, number, 0, 0xB0 | at, 32, 0, 0, 0xC0 | at, program])


def hit(
    tick: int, pitch: int = 36, velocity: int = 100, channel: int = 10, length: int = 20
) -> list[tuple[int, bytes]]:
    at = channel - 1
    return [(tick, bytes((0x90 | at, pitch, velocity))), (tick + length, bytes((0x80 | at, pitch, 0)))]


def beat(bars: int = 2, channel: int = 10, start: int = 0, bar: int = 1920) -> list[tuple[int, bytes]]:
    """Return a rock beat of 12 hits a bar: eighths on the hi-hat, kick on 1 and 3, snare on 2 and 4."""
    events = []
    for line in range(start, start + bars * bar, bar):
        events += [event for eighth in range(8) for event in hit(line + eighth * 240, 42, 80, channel)]
        for quarter, pitch in enumerate((36, 38, 36, 38)):
            events += hit(line + quarter * 480, pitch, 100, channel)
    return events


def melody(channel: int = 1, pitches: tuple[int, ...] = (60, 62, 64, 65, 67, 69, 71, 72)) -> list[tuple[int, bytes]]:
    """Return two bars of eighths."""
    return [event for note in range(16) for event in hit(note * 240, pitches[note % 8], 90, channel, 220)]
