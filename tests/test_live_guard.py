"""What must not disturb live play: floods, text that is none, ports that go, a day that does not end."""

import importlib.util
import math
import sys
import time
from pathlib import Path

import mido
import numpy as np
import pytest

from hypermeter.core.printed import printable
from hypermeter.share.live import SimulatedClock
from hypermeter.share.live.controls import MAX_WAITING, WaitingControls
from hypermeter.share.live.kept_ports import CONTINUE, KeptOutput
from hypermeter.share.live.measure import MAX_KEPT, Figures, percentile
from hypermeter.share.live.osc import open_osc_server
from hypermeter.share.live.reporting import MAX_WAITING as MAX_LINES
from hypermeter.share.live.reporting import Reporter
from live_parts import Memory, engine_of

ROOT = Path(__file__).parents[1]

# ---------------------------------------------------------------------- what is printed


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a\n b\t\r\nc", "a b c"),
        ("\x1b[2Jgone\x07\x9b31m", "\\x1b[2Jgone\\x07\\x9b31m"),
        ("\u202eevil \ud800", "\\u202eevil \\ud800"),
        ("grün – Ω 🥁", "grün – Ω 🥁"),
        (ValueError("bad"), "bad"),
    ],
)
def test_a_line_is_shown_and_not_obeyed(text, line):
    assert printable(text) == line and printable(line) == line
    printable(text).encode("utf-8")


def test_a_long_line_is_cut_and_costs_no_more_than_its_length():
    assert len(printable("x" * 10_000_000)) == 500 and printable("x" * 501).endswith("...")
    assert len(printable("\x1b" * 10_000)) == 500 and printable("y" * 30, most=10) == "yyyyyyy..."


def test_errors_of_the_command_line_reach_the_terminal_as_plain_text(capsys):
    from hypermeter import cli

    assert cli.main(["\x1b[31mred"]) == 2
    assert "\x1b" not in capsys.readouterr().err


def test_lines_are_printed_on_another_thread_and_a_flood_of_them_is_counted():
    lines = []
    reporter = Reporter(lines.append, every_s=0)
    reporter("\x1b[2Jone")
    while not lines:
        time.sleep(0.001)
    assert lines == ["\\x1b[2Jone"]
    blocked = Reporter(lambda line: time.sleep(0.5), every_s=0)  # a terminal that stands still
    started = time.process_time()
    for number in range(10_000):
        blocked(f"line {number}")
    assert blocked._left_out >= 10_000 - MAX_LINES - 2 and time.process_time() - started < 5
    reporter.close()
    assert not reporter._thread.is_alive()


def test_what_was_left_out_is_said():
    lines = []
    reporter = Reporter(lambda line: (lines.append(line), time.sleep(0.01)), every_s=0)
    for number in range(500):
        reporter(f"line {number}")
    reporter.close()
    assert any("lines more are left out" in line for line in lines) and len(lines) < 100


# ---------------------------------------------------------------------- floods of controls


def test_of_a_fader_the_last_value_counts_and_a_pad_keeps_both():
    done = []
    waiting = WaitingControls(done.append)
    for address, values in (
        ("/density", (0.1,)),
        ("/fill", (1,)),
        ("/hypermeter/density", (0.2,)),
        ("/fill", (0,)),
        ("/bias", ("kick", 1)),
        ("/bias", ("snare", 1)),
        ("/bias/ride", (1,)),
        ("/density", (0.3,)),
    ):
        if waiting.put(address, values, lambda now, change=(address, *values): done.append(change)):
            done.append("call")
    assert done == ["call"] * 6
    done.clear()
    for _ in range(6):
        waiting.call(0.0)
    pads, biases = [("/fill", 1), ("/fill", 0)], [("/bias", "kick", 1), ("/bias", "snare", 1), ("/bias/ride", 1)]
    assert done == [("/density", 0.3), *pads, *biases]


def test_more_than_may_wait_are_left_out_and_said_once():
    lines, done = [], []
    waiting = WaitingControls(lines.append)
    calls = sum(waiting.put("/fill", (1,), done.append) for _ in range(1000))
    for _ in range(calls):
        waiting.call(0.0)
    (line,) = lines
    assert calls == len(done) == MAX_WAITING and f"{1000 - MAX_WAITING} controls are left out" in line


def test_a_flood_delays_no_note_and_the_last_value_of_a_fader_is_what_sounds():
    clock, sink, lines = SimulatedClock(0.01), Memory(), []
    engine = engine_of(clock, sink, num_bars=4, report=lines.append)

    def flood():
        for number in range(5000):
            engine.control("/temperature", 1 + number / 5000)
            engine.control(f"/nothing{number}")

    clock.at(1.0, flood)
    timing = engine.run()
    assert timing.late == 0 and engine.settings.temperature == pytest.approx(1.9998)
    assert len(lines) <= MAX_WAITING + 1


# ---------------------------------------------------------------------- OSC that is none


def test_text_that_is_not_utf8_and_handlers_that_fail_end_in_a_line(capfd):
    import socket

    lines, got = [], []

    def control(address, *values, **options):
        got.append(address)
        if address == "/fails":
            raise ValueError("\x1b[2J")

    server = open_osc_server("127.0.0.1", 0, control, lambda line: lines.append(printable(line)))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        for packet in (b"/st\xffyle\0\0,\0\0\0", b"/fails\0\0,\0\0\0", b"#bundle\0" + bytes(12), b"/fill\0\0\0,\0\0\0"):
            udp.sendto(packet, server.server_address)
        deadline = time.monotonic() + 10
        while "/fill" not in got and time.monotonic() < deadline:
            time.sleep(0.01)
    server.shutdown()
    server.server_close()
    assert got == ["/fails", "/fill"]
    assert len(lines) == 2 and "no OSC" in lines[0] and "cannot be used (\\x1b[2J)" in lines[1]
    assert capfd.readouterr().err == ""


# ---------------------------------------------------------------------- an output that goes and comes back


class Output:
    opened = []

    def __init__(self, name, **options):
        self.name, self.got, self.is_closed = name, [], False
        Output.opened.append(self)

    def send(self, message):
        if self.is_closed:
            raise OSError("closed")
        self.got.append(message)

    def close(self):
        self.is_closed = True

    @property
    def types(self):
        return [message.type for message in self.got]


@pytest.fixture
def outputs(monkeypatch):
    """The names of the outputs that there are, to change."""
    names = ["Synth 20:0"]
    Output.opened = []
    monkeypatch.setenv("MIDO_BACKEND", "none")
    monkeypatch.setattr(mido, "get_output_names", lambda: names)
    monkeypatch.setattr(mido, "open_output", Output)
    return names


def test_an_output_that_goes_is_opened_again_and_the_music_goes_on(outputs):
    lines = []
    kept = KeptOutput("synth", lines.append, every_s=1e6)
    clock = SimulatedClock(0.01)
    engine = engine_of(clock, kept, num_bars=8, sends_clock=True)

    def go():
        outputs.clear()
        kept.look()

    def come():
        outputs.append("Synth 28:0")
        kept.look()

    clock.at(3.0, go)
    clock.at(9.01, come)
    timing = engine.run()
    kept.close()
    assert timing.bars == 8 and timing.late == 0
    before, after = Output.opened
    assert before.is_closed and "note_on" in before.types and after.name == "Synth 28:0"
    assert [line.split(": ")[1] for line in lines] == [
        "the MIDI output is gone; it is opened again when it is back",
        "the MIDI output is back",
    ]
    clocks = after.types.index("continue")
    assert after.types[clocks - 1 : clocks + 2] == ["songpos", "continue", "clock"]
    ticks = round((9.01 - engine.begun_s) / (60 / 120 / 24))
    position = after.got[clocks - 1].pos
    assert 6 * position - ticks in range(7)
    assert next(message for message in after.got if message.type == "control_change").control == 123


def test_an_output_that_fails_while_it_sends_is_gone_until_it_is_back(outputs):
    lines = []
    kept = KeptOutput("synth", lines.append, every_s=1e6)
    Output.opened[0].close()
    for _ in range(3):
        kept.send((0x99, 36, 100), 0.0)
    assert len(lines) == 1
    kept.look()
    kept.send((0x99, 38, 100), 0.0)
    kept.close()
    assert Output.opened[1].types == ["control_change", "note_on"] and len(lines) == 2
    assert "start" not in Output.opened[1].types and CONTINUE == 0xFB


# ---------------------------------------------------------------------- a day


def test_figures_of_a_day_take_no_more_memory_than_those_of_an_hour():
    values = np.random.default_rng(0).normal(0, 1, 5 * MAX_KEPT)
    figures = Figures(values, limit=1.0)
    assert len(figures) == len(values) and len(list(figures)) <= MAX_KEPT
    assert figures.above == (values > 1).sum() and (figures.least, figures.greatest) == (values.min(), values.max())
    assert figures.deviation == pytest.approx(values.std())
    assert percentile(figures, 50) == pytest.approx(np.median(values), abs=0.05)
    assert math.isnan(Figures().deviation) and not Figures() and list(Figures([1.0, 2.0])) == [1.0, 2.0]


@pytest.mark.parametrize("follows", [False, True])
def test_six_minutes_on_stage(follows):
    """A short round of `make soak`."""
    spec = importlib.util.spec_from_file_location("soak", ROOT / "benchmarks" / "faults" / "soak.py")
    sys.modules["soak"] = soak = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(soak)
    counts = soak.half_a_day(0.1, 3, follows, soak.Loop(4), [])
    assert soak.faults_of(counts) == []
    assert counts["notes"] > 500 and counts["floods"] and counts["losses of the output"] and counts["lines"]
    assert soak.faults_of({**counts, "late": 1, "opened": 9}) == [
        "1 late",
        f"the output was opened 9 times, expected {counts['opened']}",
    ]
