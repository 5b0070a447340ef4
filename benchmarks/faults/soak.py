"""A day on stage in fast time, and the server at its limits beside it.

    python benchmarks/faults/soak.py [--hours 24] [--minutes 10]

Half of the day the engine of `play` keeps its own tempo and sends a MIDI clock, the other half it follows one that
drifts, trembles, jumps, stops, and is lost and found again. All day long the MIDI output goes and comes back, settings
change, and floods of OSC messages arrive, of which most are refused. Time is simulated; the parts are those of the
model, sampled once. What is checked: no note is late or left out, every note that began ends, the output is opened
again each time, and memory is the same after the first hour and at the end. Then `misbehave.py` runs for some minutes.
"""

import os
import random
import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tyro

HOUR_S = 3600.0
COST_S = 0.05
"""Simulated time to sample a part."""

FLOOD = 2000
"""Messages of a flood, all at one moment."""


class Cable:
    """A MIDI output in place of mido's backend: counts what it gets, and knows which notes sound."""

    opened = 0

    def __init__(self, name: str, **options: Any):
        Cable.opened += 1
        self.counts: Counter = Counter()
        self.sounding: set[int] = set()

    def send(self, message: Any) -> None:
        self.counts[message.type] += 1
        if message.type == "note_on":
            self.sounding.add(message.note)
        elif message.type == "note_off":
            self.sounding.discard(message.note)
        elif message.type == "control_change" and message.control == 123:
            self.sounding.clear()

    def close(self) -> None:
        pass


@contextmanager
def one_output():
    """Let mido have one output, whose name can be taken away; yields the list of names."""
    import mido

    names = ["Synth 20:0"]
    before = {name: getattr(mido, name) for name in ("get_output_names", "open_output")}
    backend = os.environ.get("MIDO_BACKEND")
    os.environ["MIDO_BACKEND"] = "none"
    mido.get_output_names, mido.open_output, Cable.opened = lambda: names, Cable, 0
    try:
        yield names
    finally:
        for name, function in before.items():
            setattr(mido, name, function)
        os.environ.pop("MIDO_BACKEND")
        if backend is not None:
            os.environ["MIDO_BACKEND"] = backend


class Loop:
    """A sampler that plays the same bars again and again; its state is the number of the step."""

    def __init__(self, bars: int):
        from hypermeter.play.loading import load_player
        from hypermeter.share.live import LiveSettings, Sampler

        player = load_player("groove")
        sampler, self.grid = Sampler(player), player.grid
        self.kit, state, self._bars = player.kit, sampler.begin(None, 120.0), []
        for _ in range(bars):
            passage, state = sampler.sample(state, self.grid.steps_per_bar, LiveSettings(), None, 120.0)
            self._bars.append(passage)

    def sample(self, state: int, steps: int, *_: Any) -> tuple[Any, int]:
        return self._bars[state // steps % len(self._bars)], state + steps


class Master:
    """A MIDI clock that drifts and trembles, and is lost, stopped, moved and found again."""

    def __init__(self, engine: Any, clock: Any, rng: random.Random):
        self.engine, self.clock, self.rng = engine, clock, rng
        self.bpm, self.counts = 90.0, Counter()

    def begin(self) -> None:
        self.engine.receive((0xFA,))
        self._tick(self.clock.now())

    def _tick(self, when: float) -> None:
        self.bpm = min(max(self.bpm * (1 + self.rng.gauss(0, 1e-5)), 60), 140)
        due = when + 60 / self.bpm / 24
        chance = self.rng.random()
        if chance < 2e-5:  # the cable is pulled, for a while
            self.counts["losses of the clock"] += 1
            due += self.rng.uniform(1, 60)
        elif chance < 6e-5:
            self.counts["jumps"] += 1
            bar = self.rng.randrange(1000)
            self.engine.receive((0xF2, 16 * bar % 128, 16 * bar // 128))
        elif chance < 8e-5:
            self.counts["stops"] += 1
            self.engine.receive((0xFC,))
            self.clock.at(due + self.rng.uniform(0, 5), lambda: self.engine.receive((0xFB,)))
        self.clock.at(due + abs(self.rng.gauss(0, 0.0005)), lambda: self._arrive(due))

    def _arrive(self, due: float) -> None:
        self.engine.receive((0xF8,))
        self._tick(due)


def flood(engine: Any, rng: random.Random) -> None:
    """Send many messages at one moment: faders, pads, nonsense, and what would act on a terminal."""
    for _ in range(FLOOD):
        kind = rng.randrange(5)
        if kind == 0:
            engine.control("/density", rng.random())
        elif kind == 1:
            engine.control("/fill", rng.randrange(2))
        elif kind == 2:
            engine.control("/bias", "kick", rng.uniform(-1, 1))
        elif kind == 3:
            engine.control(f"/nothing{rng.random()}", "\x1b[2J" * 50)
        else:
            engine.control("/section", f"s{rng.randrange(1000)}")


def half_a_day(hours: float, seed: int, follows: bool, loop: Loop, memory_mb: list[float]) -> dict[str, Any]:
    """Play for so many simulated hours, and return what is counted."""
    from hypermeter.play.loading import load_player
    from hypermeter.play.request import PlanOptions
    from hypermeter.share.live import Engine, FollowedTempo, LiveConditions, OwnTempo, SimulatedClock
    from hypermeter.share.live.kept_ports import KeptOutput

    rng, clock = random.Random(seed), SimulatedClock(COST_S)
    counts: Counter = Counter()

    def report(line: str) -> None:
        counts["lines"] += 1

    with one_output() as names:
        output = KeptOutput("synth", report, every_s=1e6)
        tempo = (FollowedTempo if follows else OwnTempo)(120.0, loop.grid.steps_per_quarter)
        conditions = LiveConditions.of(load_player("groove"), PlanOptions(), 1, 120.0)
        engine = Engine(
            loop, 0, conditions, loop.kit, loop.grid, output, clock, tempo,
            ahead_steps=loop.grid.steps_per_bar, sends_clock=not follows, report=report,
        )  # fmt: skip
        master = Master(engine, clock, rng)

        def lose() -> None:
            counts["losses of the output"] += 1
            names.clear()
            output.look()
            clock.at(clock.now() + rng.uniform(1, 300), find)

        def find() -> None:
            names.append(f"Synth {rng.randrange(128)}:0")
            output.look()
            clock.at(clock.now() + rng.expovariate(1 / 1200), lose)

        def change() -> None:
            counts["changes"] += 1
            engine.control(*rng.choice([("/density", rng.random()), ("/fill", 1), ("/style", "funk"), ("/style",)]))
            if not follows:
                engine.control("/tempo", rng.uniform(60, 180))
            clock.at(clock.now() + rng.expovariate(1 / 20), change)

        def overflow() -> None:
            counts["floods"] += 1
            flood(engine, rng)
            clock.at(clock.now() + rng.expovariate(1 / 600), overflow)

        def hourly() -> None:
            memory_mb.append(resident_mb())
            clock.at(clock.now() + HOUR_S / 4, hourly)

        for action, first_s in ((lose, 60), (change, 10), (overflow, 30), (hourly, HOUR_S / 4)):
            clock.at(min(first_s, hours * HOUR_S / 2), action)
        clock.at(hours * HOUR_S, engine.end)
        if follows:
            clock.at(1.0, master.begin)
        timing = engine.run()
        sounding = len(output._port.sounding) if names else 0
        output.close()
    return {
        "follows": follows, "hours": hours, "bars": timing.bars, "notes": timing.notes, "late": timing.late,
        "left out": timing.dropped, "latest ms": 1e3 * timing.lateness.greatest, "sounding": sounding,
        "opened": Cable.opened, "is open": bool(names), **counts, **master.counts,
    }  # fmt: skip


def resident_mb() -> float:
    """Return the memory of this process in MB, on Linux."""
    with open("/proc/self/status", encoding="utf-8") as status:
        return next(int(line.split()[1]) / 1000 for line in status if line.startswith("VmRSS"))


def faults_of(counts: dict[str, Any]) -> list[str]:
    """Return what is wrong with a half of the day."""
    found = [f"{counts[name]} {name}" for name in ("late", "left out", "sounding") if counts[name]]
    expected = 1 + counts["losses of the output"] - (not counts["is open"])
    if counts["opened"] != expected:
        found.append(f"the output was opened {counts['opened']} times, expected {expected}")
    return found


def soak(hours: float = 24.0, minutes: float = 10.0, clients: int = 1000, seed: int = 0) -> None:
    """Play for a day in fast time, then let clients misbehave.

    Args:
        hours: simulated hours of playing, half of them after a clock that is followed.
        minutes: real minutes of the server at its limits; 0 leaves it out.
        clients: that misbehave.
        seed: of all that happens.
    """
    loop, faults = Loop(64), []
    for follows in (False, True):
        memory_mb: list[float] = []
        started = time.process_time()
        counts = half_a_day(hours / 2, seed, follows, loop, memory_mb)
        print(", ".join(f"{name} {value:.6g}" for name, value in counts.items()), flush=True)
        if memory_mb:
            shown = " ".join(f"{megabytes:.1f}" for megabytes in memory_mb)
            print(f"memory each quarter of an hour, MB: {shown}; processor time {time.process_time() - started:.0f} s")
            settled = memory_mb[min(4, len(memory_mb) - 1) :]
            if max(settled) - settled[0] > 2:
                faults.append(f"memory grew by {max(settled) - settled[0]:.1f} MB after the first hour")
        faults += faults_of(counts)
    if minutes:
        script = Path(__file__).with_name("misbehave.py")
        options = ["--seconds", str(60 * minutes), "--clients", str(clients), "--memory-every-s", "60"]
        subprocess.run([sys.executable, str(script), *options], check=True)
    print("; ".join(faults) or "no note late or left out, all that began ended, memory flat")
    if faults:
        raise SystemExit(1)


if __name__ == "__main__":
    tyro.cli(soak)
