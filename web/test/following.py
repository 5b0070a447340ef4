"""Writes ``following.json``: clocks as they arrive, and what `hypermeter play` makes of each message."""

import json
import math
import random
from pathlib import Path
from typing import Any

from hypermeter.share.live.engine import CLOCK, CONTINUE, SONG_POSITION, START, STOP
from hypermeter.share.live.position import TICKS_PER_SONG_POSITION, FollowedTempo

PLACE = Path(__file__).with_suffix(".json")
EVERY = 5
"""Ticks between those after which it is told."""


def ticks(count, tempo_bpm: Any, start=0.0, jitter_s=0.0, seed=0, late=()):
    """Return ticks of a tempo, or of a function of their number, with jitter, and some that are late by (number, s)."""
    drawn, when, found = random.Random(seed), start, []
    delays = dict(late)
    for number in range(count):
        found.append((when + drawn.uniform(-jitter_s, jitter_s) + delays.get(number, 0.0), [CLOCK]))
        bpm: Any = tempo_bpm(number) if callable(tempo_bpm) else tempo_bpm
        when += 60 / bpm / 24
    return found


def song_position(sixteenths):
    return [SONG_POSITION, sixteenths % 128, sixteenths // 128]


def clocks():
    """Return name -> grid's steps in a quarter, and the messages with their times."""
    begin = [(0.0, [START])]
    after = 60 / 120 / 24
    pause = [*ticks(100, 120, 0.01), (2.2, [STOP])]
    return {
        "steady": (4, begin + ticks(200, 120, 0.01)),
        "jitter of 2 ms": (4, begin + ticks(300, 97, 0.01, 0.002, 1)),
        "triplets": (3, begin + ticks(150, 140, 0.01, 0.001, 2)),
        "sixths": (6, begin + ticks(150, 88, 0.01, 0.001, 3)),
        "a jump of the tempo": (4, begin + ticks(240, lambda number: 120 if number < 100 else 90, 0.01, 0.0005, 4)),
        "half the tempo": (4, begin + ticks(240, lambda number: 160 if number < 100 else 80, 0.01)),
        "slowly faster": (4, begin + ticks(400, lambda number: 100 + number / 10, 0.01, 0.001, 5)),
        "single late ticks": (4, begin + ticks(200, 120, 0.01, 0.0003, 6, [(60, 0.012), (61, 0.004), (120, 0.015)])),
        "ticks in a bunch": (
            4,
            begin + ticks(200, 120, 0.01, 0.0, 7, [(n, (105 - n) * after) for n in range(95, 105)]),
        ),
        "ticks before start": (4, [*ticks(50, 110, 0.0, 0.001, 8), (1.16, [START]), *ticks(100, 110, 1.17, 0.001, 9)]),
        "a clock that is lost": (4, begin + ticks(80, 120, 0.01) + ticks(80, 100, 4.0)),
        "stop and continue": (4, begin + pause + ticks(40, 120, 2.21) + [(3.2, [CONTINUE])] + ticks(60, 120, 3.21)),
        "stop and start": (4, begin + pause + [(2.5, [START])] + ticks(60, 120, 2.51)),
        "a song position": (
            4,
            begin + pause + [(2.4, song_position(64)), (2.41, [CONTINUE])] + ticks(60, 120, 2.42),
        ),
        "several positions": (
            3,
            [(0.0, song_position(8)), (0.1, song_position(300)), (0.2, [CONTINUE]), *ticks(60, 120, 0.21)],
        ),
        "a loop": (4, begin + ticks(96, 120, 0.01) + [(2.005, song_position(0))] + ticks(96, 120, 2.01)),
        "continue while it plays": (4, begin + ticks(50, 120, 0.01) + [(1.049, [CONTINUE])] + ticks(50, 120, 1.0517)),
    }


def told(value):
    return None if not math.isfinite(value) else round(value, 7)


def followed(steps_per_quarter, messages):
    """Return what the tempo tells after some messages: their place, tempo, next step, positions, times of steps."""
    tempo, found = FollowedTempo(100.0, steps_per_quarter), []
    for place, (when, message) in enumerate(messages):
        if message[0] == CLOCK:
            tempo.tick(when)
        elif message[0] == START:
            tempo.start()
        elif message[0] == CONTINUE:
            tempo.resume()
        elif message[0] == STOP:
            tempo.stop()
        else:
            sixteenths = message[1] + 128 * message[2]
            tempo.jump(sixteenths * TICKS_PER_SONG_POSITION * tempo.steps_per_tick)
        if message[0] == CLOCK and place % EVERY:
            continue
        step = math.floor(tempo.next_step)
        found.append(
            [
                place,
                told(tempo.tempo_bpm),
                told(tempo.next_step),
                told(tempo.position(when + 0.004)),
                told(tempo.position(when + 1.0)),
                told(tempo.time_of(step)),
                told(tempo.time_of(tempo.next_step + 0.05)),
            ]
        )
    return found


def record():
    """Return the clocks with what they tell."""
    found = []
    for name, (steps_per_quarter, messages) in clocks().items():
        rounded = [[round(when, 6), message] for when, message in messages]
        found.append({"name": name, "steps_per_quarter": steps_per_quarter, "messages": rounded})
        found[-1]["told"] = followed(steps_per_quarter, rounded)
    return found


if __name__ == "__main__":
    lines = ",\n".join(json.dumps(clock, separators=(",", ":")) for clock in record())
    PLACE.write_text(f"[\n{lines}\n]\n")
