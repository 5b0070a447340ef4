"""What the tests of live play share: a sink that remembers, a steady sampler, an engine, a small model."""

import numpy as np

from hypermeter.core.grid import Grid
from hypermeter.core.kit import load_kit
from hypermeter.play.plan import Plan
from hypermeter.play.state import Passage
from hypermeter.share.live import Engine, LiveConditions, OwnTempo

GRID = Grid()
KIT = load_kit("gm10")
LABELS = {"section": list("ABCDEFGH"), "style": ["rock", "jazz"], "fill": ["beat", "fill"]}
NO_CONDITIONS = LiveConditions(None, Plan.free(0))


class Memory:
    """A sink that keeps what it was sent, and when."""

    def __init__(self):
        self.sent = []

    def send(self, message, when):
        self.sent.append((when, message))

    def kind(self, status):
        return [
            (when, message) for when, message in self.sent if message[0] & (0xF0 if status < 0xF0 else 0xFF) == status
        ]

    @property
    def notes(self):
        return [(when, message[1], message[2]) for when, message in self.kind(0x90)]

    def times(self, pitch=None):
        return [when for when, other, _ in self.notes if pitch in (None, other)]


class Steady:
    """A sampler: the hat at every step, early and late by turns, the kick at every beat; density is velocity."""

    def sample(self, state, steps, settings, row=None, tempo_bpm=120.0, heard=None):
        hits, offset = np.zeros((steps, 10), np.uint8), np.zeros((steps, 10), np.float32)
        for step in range(steps):
            hits[step, 2] = 1
            offset[step, 2] = 0.4 if (state + step) % 2 else -0.4
            hits[step, 0] = (state + step) % 4 == 0
        if state == 0:
            offset[0] = 0
        velocity = hits * np.float32(0.5 if settings.density is None else settings.density)
        return Passage(hits, velocity, offset), state + steps


def engine_of(clock, sink, tempo=None, **options):
    tempo = tempo or OwnTempo(120.0, GRID.steps_per_quarter)
    options = {"conditions": NO_CONDITIONS, "kit": KIT, "grid": GRID, "sampler": Steady(), "first": 0} | options
    return Engine(sink=sink, clock=clock, tempo=tempo, **options)
