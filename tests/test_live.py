"""Live play in simulated time, where a late note is a wrong number, and a little in real time."""

import math
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace

import mido
import numpy as np
import pytest
import torch
from pythonosc.osc_bundle_builder import IMMEDIATELY, OscBundleBuilder
from pythonosc.osc_message_builder import OscMessageBuilder

import hypermeter
from hypermeter import cli
from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.core.groove import Groove
from hypermeter.core.read_options import ReadOptions
from hypermeter.core.swing import apply_swing
from hypermeter.model import Parts
from hypermeter.model.hierarchical import HierarchicalDrumModel
from hypermeter.play.compose import continue_groove
from hypermeter.play.loading import load_player
from hypermeter.play.plan import KINDS, Plan, make_plan, plan_bars
from hypermeter.play.request import PlanOptions, SamplingOptions
from hypermeter.play.state import Passage
from hypermeter.share.live import (
    FollowedTempo,
    LiveConditions,
    LiveSettings,
    OwnTempo,
    RealClock,
    Sampler,
    SimulatedClock,
)
from hypermeter.share.live.conditions import CONTROLS, parse_control
from hypermeter.share.live.engine import CLOCK, CONTINUE, DROP_S, LEAD_IN_S, SONG_POSITION, START, STOP
from hypermeter.share.live.measure import LATE_S, Figures, Timing, percentile
from hypermeter.share.live.osc import open_osc_server
from hypermeter.share.live.ports import open_input, open_output, port_names
from hypermeter.share.live.process import SamplerProcess, StateHandle
from hypermeter.share.live.recording import FileSink
from hypermeter.share.live.sampler import MAX_ROWS, with_row
from live_parts import GRID, KIT, LABELS, Memory, Steady, engine_of


def expected_hats(steps, step_s, begun_s):
    return [begun_s + step_s * (step + (0 if step == 0 else 0.4 if step % 2 else -0.4)) for step in range(steps)]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    torch.manual_seed(0)
    made = HierarchicalDrumModel(
        10, 16, 16, 16, 1, kit=KIT, labels=LABELS, use_expression=True, num_components=4, parts=Parts(attention_bars=4)
    )
    with torch.no_grad():
        made.output_layer.project.bias.normal_(0, 1)
        made.plan_embedding.numbers.weight.mul_(5)
    path = tmp_path_factory.mktemp("model") / "small.safetensors"
    made.save(path)
    return path


@pytest.fixture(scope="module")
def player(checkpoint):
    return load_player(checkpoint)


# ---------------------------------------------------------------------- ten minutes


@pytest.mark.parametrize("ahead", [16, 1])
def test_no_note_of_ten_minutes_is_late_where_sampling_takes_nearly_all_the_time(ahead):
    step_s = 60 / 120 / 4
    cost_s = 0.9 * step_s * (ahead - 0.5)  # a part has to be there half a step before it begins
    sink, clock = Memory(), SimulatedClock(cost_s)
    engine = engine_of(clock, sink, num_bars=300, ahead_steps=ahead)
    timing = engine.run()
    assert clock.now() > 600
    hats = sink.times(42)
    expected = expected_hats(4800, step_s, engine.begun_s)
    assert len(hats) == len(expected)
    assert max(abs(a - b) for a, b in zip(hats, expected)) < 1e-6
    assert timing.dropped == timing.late == 0 and timing.bars == 300
    assert len(timing.costs) == 4800 // ahead and min(timing.headroom) > 0


def test_sampling_that_is_too_slow_is_reported_and_late_notes_are_left_out():
    sink, clock = Memory(), SimulatedClock(2.2)  # a bar takes 2 s
    timing = engine_of(clock, sink, num_bars=20).run()
    assert timing.dropped > 20 and timing.notes + timing.dropped == 20 * 20
    assert max(timing.lateness) <= DROP_S + 1e-9
    assert any("too slow" in line for line in timing.lines())


def test_late_notes_are_distinguished_from_slow_sampling():
    in_time = Timing(Figures([0.0, 0.02], LATE_S), headroom=Figures([1.0]))
    assert in_time.late == 1 and "other programs" in in_time.lines()[2]
    assert in_time.jitter_s == pytest.approx(0.01)
    assert "too slow" in Timing(Figures([0.0, 0.02], LATE_S), headroom=Figures([-0.1])).lines()[2]
    assert "no notes" in Timing().lines()[0] and math.isnan(Timing().jitter_s)


class TimedSampler(Sampler):
    """A sampler that adds up the steps it draws and the processor time that they take."""

    steps, cost_s = 0, 0.0

    def sample(self, state, steps, *arguments, **options):
        began = time.process_time()
        result = super().sample(state, steps, *arguments, **options)
        self.steps, self.cost_s = self.steps + steps, self.cost_s + time.process_time() - began
        return result


@pytest.mark.slow
@pytest.mark.parametrize(("ahead", "minutes"), [(16, 2), (1, 1)])
def test_a_model_plays_minutes_without_a_late_note_where_a_step_takes_a_fifth_of_its_time(player, ahead, minutes):
    conditions = LiveConditions(LABELS, make_plan(LABELS, sections="intro:4 verse:8 fill:1 chorus:8"))
    sampler, sink = TimedSampler(player), Memory()
    step_s = 0.05  # of the 0.25 s that a step lasts
    clock = SimulatedClock(step_s * ahead)
    for second in range(5, 60 * minutes, 7):
        clock.at(second, lambda second=second: engine.control("/density", 0.05 + second % 5 / 10))
        clock.at(second + 0.3, lambda second=second: engine.control("/section", "verse" if second % 2 else "bridge"))
    engine = engine_of(
        clock,
        sink,
        OwnTempo(60.0, 4),
        sampler=sampler,
        first=sampler.begin(),
        conditions=conditions,
        num_bars=15 * minutes,
        ahead_steps=ahead,
        sends_clock=True,
        settings=LiveSettings(seed=3),
    )
    timing = engine.run()
    assert clock.now() > 60 * minutes and timing.notes > 150 * minutes
    assert timing.late == timing.dropped == 0 and max(timing.lateness) < 1e-6
    assert len(sink.kind(CLOCK)) >= 60 * minutes * 24
    assert len(timing.control_delays) > 15 * minutes and max(timing.control_delays) < (8.5 if ahead == 16 else 3.0)
    assert sampler.steps >= 240 * minutes and sampler.cost_s / sampler.steps < step_s


# ---------------------------------------------------------------------- what goes out


def test_every_note_ends_before_the_next_of_its_pitch_begins():
    sink = Memory()
    engine_of(SimulatedClock(0.01), sink, num_bars=4).run()
    for pitch in (36, 42):
        events = [message[0] & 0xF0 for _, message in sink.sent if message[0] < 0xB0 and message[1] == pitch]
        assert events == [0x90, 0x80] * (len(events) // 2)


def test_the_clock_that_is_sent_has_24_ticks_a_quarter_between_start_and_stop():
    sink = Memory()
    engine = engine_of(SimulatedClock(0.01), sink, tempo=OwnTempo(100.0, 4), num_bars=2, sends_clock=True)
    engine.run()
    assert sink.sent[0][1] == (START,) and sink.sent[-1][1] == (STOP,)
    ticks = [when for when, _ in sink.kind(CLOCK)]
    assert ticks[0] == pytest.approx(engine.begun_s, abs=1e-9) and len(ticks) in (192, 193)
    assert np.allclose(np.diff(ticks), 60 / 100 / 24, atol=1e-9)
    first_note = sink.times()[0]
    kinds = [message[0] for _, message in sink.sent]
    assert first_note == pytest.approx(ticks[0]) and kinds.index(CLOCK) < kinds.index(0x99)


def test_an_interrupt_ends_all_notes_and_stops_the_clock():
    sink, clock = Memory(), SimulatedClock(0.01)

    def interrupt():
        raise KeyboardInterrupt

    clock.at(3.3, interrupt)
    with pytest.raises(KeyboardInterrupt):
        engine_of(clock, sink, sends_clock=True).run()
    assert clock.now() == pytest.approx(3.3)
    sounding = set()
    for _, message in sink.sent:
        if message[0] & 0xF0 == 0x90:
            sounding.add(message[1])
        elif message[0] & 0xF0 == 0x80:
            sounding.discard(message[1])
    assert not sounding and [message for _, message in sink.sent[-2:]] == [(0xB9, 123, 0), (STOP,)]


def test_an_error_while_sampling_ends_the_music_and_is_raised():
    class Broken(Steady):
        def sample(self, state, *rest, **options):
            if state == 48:
                raise HypermeterError("broken")
            return super().sample(state, *rest, **options)

    sink = Memory()
    with pytest.raises(HypermeterError, match="broken"):
        engine_of(SimulatedClock(0.01), sink, sampler=Broken()).run()
    assert sink.sent[-1][1] == (0xB9, 123, 0)


def test_channel_and_velocity_are_those_of_the_options():
    sink = Memory()
    engine_of(SimulatedClock(0.01), sink, num_bars=1, channel=3, settings=LiveSettings(density=1.0)).run()
    assert {message[0] for _, message in sink.sent} == {0x92, 0x82, 0xB2} and {
        velocity for _, _, velocity in sink.notes
    } == {127}


def test_swing_moves_the_second_half_of_each_pair_and_keeps_the_order():
    assert [apply_swing(step, 0.5, 2) for step in (-0.4, 0, 0.7, 1, 2.2)] == pytest.approx([-0.4, 0, 0.7, 1, 2.2])
    assert [apply_swing(step, 2 / 3, 2) for step in range(5)] == pytest.approx([0, 4 / 3, 2, 2 + 4 / 3, 4])
    assert [apply_swing(step, 0.75, 4) for step in range(5)] == pytest.approx([0, 1.5, 3, 3.5, 4])
    places = np.linspace(-3, 9, 500)
    assert (np.diff([apply_swing(place, 0.8, 2) for place in places]) > 0).all()
    assert all(apply_swing(place, 0.8, 2) >= place - 1e-9 for place in places)  # never earlier than drawn for


# ---------------------------------------------------------------------- controls


def velocity_of_bars(sink, begun_s, bars, bar_s=2.0):
    """Return the velocities of the kicks of each bar."""
    velocities = [set() for _ in range(bars)]
    for when, pitch, velocity in sink.notes:
        if pitch == 36:
            velocities[int((when - begun_s + 1e-6) / bar_s)].add(velocity)
    return velocities


def test_a_control_sounds_from_the_next_bar_on_also_if_that_was_sampled_before():
    sink, clock = Memory(), SimulatedClock(0.1)
    engine = engine_of(clock, sink, num_bars=5, conditions=LiveConditions(LABELS, Plan.free(1)))
    clock.at(0.1 + LEAD_IN_S + 2.0 * 1 + 1.2, lambda: engine.control("/hypermeter/density", 1.0))
    timing = engine.run()
    soft, loud = {64}, {127}
    assert velocity_of_bars(sink, engine.begun_s, 5) == [soft, soft, loud, loud, loud]
    assert timing.redrawn == 1 and next(iter(timing.control_delays)) < 1.0 and timing.late == 0


def test_a_control_that_comes_too_late_for_the_next_bar_sounds_from_the_one_after():
    sink, clock = Memory(), SimulatedClock(0.1)
    engine = engine_of(clock, sink, num_bars=5, conditions=LiveConditions(LABELS, Plan.free(1)))
    clock.at(0.2 + LEAD_IN_S + 2.0 * 2 - 0.15, lambda: engine.control("/density", 1.0))
    timing = engine.run()
    assert velocity_of_bars(sink, engine.begun_s, 5) == [{64}, {64}, {64}, {127}, {127}]
    assert timing.late == timing.dropped == 0


def test_a_step_ahead_a_control_sounds_within_three_steps():
    sink, clock = Memory(), SimulatedClock(0.01)
    engine = engine_of(clock, sink, num_bars=3, conditions=LiveConditions(LABELS, Plan.free(1)), ahead_steps=1)
    clock.at(3.0, lambda: engine.control("/density", 1.0))
    engine.run()
    loud = min(when for when, _, velocity in sink.notes if velocity == 127)
    assert 3.0 < loud < 3.0 + 3 * 0.125
    assert all(velocity == 127 for when, _, velocity in sink.notes if when >= loud)


def test_a_fill_is_planned_for_one_bar_and_then_for_none():
    fills_at = []

    class Listening(Steady):
        def sample(self, state, steps, settings, row=None, tempo_bpm=120.0):
            fills_at.append((state // 16, int(row.labels[0, 0, KINDS.index("fill")])))
            return super().sample(state, steps, settings, row, tempo_bpm)

    clock = SimulatedClock(0.1)
    engine = engine_of(
        clock, Memory(), num_bars=6, conditions=LiveConditions(LABELS, Plan.free(1)), sampler=Listening()
    )
    clock.at(3.0, lambda: engine.control("/fill", 1))
    clock.at(8.5, lambda: engine.control("/fill"))
    engine.run()
    assert dict(fills_at) == {0: 0, 1: 0, 2: 2, 3: 1, 4: 1, 5: 0}


class FillSampler(Steady):
    """Keeps the label of a fill (0 open, 1 none, 2 a fill) of each bar, as it was sampled last."""

    def __init__(self):
        self.fills = {}

    def sample(self, state, steps, settings, row=None, tempo_bpm=120.0):
        self.fills[state // 16] = int(row.labels[0, 0, KINDS.index("fill")])
        return super().sample(state, steps, settings, row, tempo_bpm)


@pytest.mark.parametrize("ahead", [16, 1])
@pytest.mark.parametrize("released_s", [3.0, 3.1, 5.0, 7.5])  # at once, soon, in the fill, after it
def test_a_pad_that_is_let_go_does_not_take_its_fill_back(released_s, ahead):
    clock, sampler = SimulatedClock(0.005), FillSampler()
    engine = engine_of(
        clock, Memory(), num_bars=6, conditions=LiveConditions(LABELS, Plan.free(1)), sampler=sampler, ahead_steps=ahead
    )
    clock.at(3.0, lambda: engine.control("/fill", 1.0))
    clock.at(released_s, lambda: engine.control("/fill", 0.0))
    engine.run()
    assert sampler.fills == ({0: 0, 1: 0, 2: 2} if ahead == 16 else {0: 0, 1: 2, 2: 1}) | {3: 1, 4: 1, 5: 1}


def test_a_fill_that_was_not_played_is_called_off_without_a_value_and_each_press_plays_one():
    clock, sampler = SimulatedClock(0.05), FillSampler()
    engine = engine_of(clock, Memory(), num_bars=8, conditions=LiveConditions(LABELS, Plan.free(1)), sampler=sampler)
    for when, *values in ((3.0, 1), (3.5,), (5.0, 1), (5.1, 0), (9.0, 1), (9.1, 0)):
        clock.at(when, lambda values=values: engine.control("/fill", *values))
    engine.run()
    assert sampler.fills == {0: 0, 1: 0, 2: 0, 3: 2, 4: 1, 5: 2, 6: 1, 7: 1}


def test_a_section_pad_that_is_let_go_leaves_its_section():
    clock = SimulatedClock(0.05)
    engine = engine_of(clock, Memory(), num_bars=4, conditions=LiveConditions(LABELS, Plan.free(1)))
    clock.at(1.0, lambda: engine.control("/section/verse", 1))
    clock.at(1.1, lambda: engine.control("/section/verse", 0))
    engine.run()
    assert engine.settings.section == "verse" and engine.settings.version == 1 and engine.sections == ["verse"]


def test_a_change_of_tempo_moves_notes_that_were_sampled_before():
    sink, clock = Memory(), SimulatedClock(0.05)
    engine = engine_of(clock, sink, num_bars=3)
    clock.at(0.1 + LEAD_IN_S + 1.0, lambda: engine.control("/tempo", 60))
    engine.run()
    kicks = [when - engine.begun_s for when in sink.times(36)]
    assert kicks == pytest.approx([0, 0.5, *(1.0 + second for second in range(10))])


def test_a_refused_control_is_reported_in_a_line_and_changes_nothing():
    lines, clock = [], SimulatedClock(0.01)
    engine = engine_of(clock, Memory(), num_bars=2, report=lines.append)
    for number, (address, *values) in enumerate(
        [
            ("/nothing", 1),
            ("/temperature", "hot"),
            ("/temperature", -1),
            ("/temperature", float("nan")),
            ("/temperature",),
            ("/density", 0.3),
            ("/bias", "gong", 1.0),
            ("/bias", "kick", 1e9),
            ("/swing", 0.2),
            ("/tempo", 1e6),
            ("/section", "two words"),
            ("/top_p", 0),
        ]
    ):
        clock.at(0.5 + number / 100, lambda address=address, values=values: engine.control(address, *values))
    timing = engine.run()
    assert len(lines) == 12 and all("\n" not in line and len(line) < 200 for line in lines)
    assert "no such control" in lines[0] and "without labels" in lines[5] and "no voice 'gong'" in lines[6]
    assert engine.settings == LiveSettings() and timing.redrawn == 0 and engine.tempo.tempo_bpm == 120


def test_every_control_has_a_place_in_the_settings():
    for name in CONTROLS:
        examples = {"bias": ("kick", 1.0), "section": ("verse",), "style": ("rock",), "fill": (1,), "answer": ("off",)}
        control, change = parse_control(f"/{name}", examples.get(name, (0.5,)))
        assert control == name and (set(change) <= set(vars(LiveSettings())) or name == "tempo")


@pytest.fixture
def osc():
    """A server of OSC: what it passed on, what it reported, and a function that sends it packets."""
    got, lines = [], []
    server = open_osc_server(
        "127.0.0.1", 0, lambda address, *values, **options: got.append((address, *values, options)), lines.append
    )
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    def send(*packets, until=1):
        for packet in packets:
            client.sendto(packet, server.server_address)
        deadline = time.monotonic() + 5
        while len(got) < until and time.monotonic() < deadline:
            time.sleep(0.005)
        return got, lines

    yield send
    client.close()
    server.shutdown()
    server.server_close()


def osc_message(address, *values):
    builder = OscMessageBuilder(address)
    for value in values:
        builder.add_arg(value)
    return builder.build()


def osc_bundle(ahead_s, *contents):
    """A bundle that is dated so many seconds from now; `None` is at once."""
    builder = OscBundleBuilder(IMMEDIATELY if ahead_s is None else time.time() + ahead_s)
    for content in contents:
        builder.add_content(content)
    return builder.build()


def test_osc_messages_reach_the_engine_in_their_order(osc):
    packets = [osc_message("/density", 0.25), osc_message("/hypermeter/section", "verse"), osc_message("/fill")]
    got, lines = osc(*(packet.dgram for packet in packets), until=3)
    assert got == [("/density", 0.25, {}), ("/hypermeter/section", "verse", {}), ("/fill", {})] and not lines


def test_a_bundle_that_is_dated_ahead_holds_up_nothing(osc):
    """Of 3 s ahead, a clock that is wrong, all is taken at once; of up to a second the engine waits, not the server."""
    later = osc_bundle(0.5, osc_message("/offbeat", 0.5), osc_bundle(None, osc_message("/swing", 0.6)))
    dated = [osc_bundle(3, osc_message("/density", 0.5)), osc_bundle(-3, osc_message("/tempo", 90)), later]
    started = time.monotonic()
    got, lines = osc(*(bundle.dgram for bundle in [*dated, dated[0]]), osc_message("/fill", 1).dgram, until=6)
    assert time.monotonic() - started < 0.4
    assert [message[:2] for message in got if not message[-1]] == [
        ("/density", 0.5),
        ("/tempo", 90),
        ("/swing", pytest.approx(0.6)),
        ("/density", 0.5),
        ("/fill", 1),
    ]
    ((address, value, options),) = [message for message in got if message[-1]]
    assert (address, value) == ("/offbeat", 0.5) and 0.1 < options["delay_s"] <= 0.5
    (line,) = lines  # of two bundles
    assert "127.0.0.1: dated 3.0 s ahead, more than 1 s: taken at once" in line


def test_what_is_no_osc_is_reported_once_and_holds_up_nothing(osc):
    broken = b"/density\0\0\0\0,\xb3\0\0"  # python-osc raises an error of its own, none of Python's, at no text
    got, lines = osc(b"no OSC at all", b"", broken, b"#bundle\0\0\0", osc_message("/fill", 1).dgram)
    assert got == [("/fill", 1, {})] and len(lines) == 1 and "no OSC" in lines[0]


def test_a_control_that_is_dated_ahead_waits_in_the_engine_and_others_do_not():
    clock, order = SimulatedClock(0.01), []
    engine = engine_of(clock, Memory(), num_bars=4, report=order.append)
    for delay_s, name in ((0.5, "/late"), (0.0, "/first"), (0.5, "/later"), (0.2, "/second")):
        clock.at(1.0, lambda delay_s=delay_s, name=name: engine.control(name, delay_s=delay_s))
    clock.at(1.1, lambda: order.append("1.1"))
    clock.at(1.4, lambda: order.append("1.4"))
    clock.at(1.5000001, lambda: order.append("1.5"))
    engine.run()
    assert [line.split(":")[0].removeprefix("OSC ") for line in order] == [
        "/first",
        "1.1",
        "/second",
        "1.4",
        "/late",
        "/later",
        "1.5",
    ]


@pytest.mark.parametrize(
    ("address", "values", "change"),
    [
        ("/fill", (1,), {"fill": True}),
        ("/fill", (0.2,), {"fill": True}),  # how hard a pad was hit
        ("/fill", (127,), {"fill": True}),
        ("/fill", (True,), {"fill": True}),
        ("/fill", (0.0,), {"fill": False}),
        ("/fill", (), {"fill": None}),
        ("/section/verse", (1,), {"section": "verse"}),
        ("/hypermeter/section/rock+bridge", (), {"section": "rock+bridge"}),
        ("/style/funk", (0.7,), {"style": "funk"}),
        ("/style/funk", (0,), {}),
        ("/bias/ride", (-3,), {"bias": {"ride": -3.0}}),
        ("/bias", ("ride", -3), {"bias": {"ride": -3.0}}),
        ("/bias/ride", (0,), {"bias": {"ride": 0.0}}),  # a fader, whose 0 is a value
    ],
)
def test_pads_and_faders_that_send_a_number_alone_reach_every_control(address, values, change):
    assert parse_control(address, values)[1] == change


@pytest.mark.parametrize(
    ("address", "values", "words"),
    [
        ("/fill", (-1,), "1 for a fill"),
        ("/fill", (math.nan,), "1 for a fill"),
        ("/fill", ("yes",), "1 for a fill"),
        ("/density/high", (1,), "no such control"),
        ("/section/verse", ("loud",), "expected a label"),
        ("/section/verse", (1, 2), "expected a label"),
        ("/bias/ride", (), "expected a voice and a number"),
        ("/bias", (), "expected a voice and a number"),
    ],
)
def test_controls_that_are_no_such_thing_are_refused(address, values, words):
    with pytest.raises(HypermeterError, match=words):
        parse_control(address, values)


# ---------------------------------------------------------------------- conditions: a plan that grows row by row


def test_a_row_is_the_scripts_but_for_what_was_changed():
    script = make_plan(LABELS, sections="intro:2 verse:2", style="rock", density=0.2, tempo_bpm=100.0)
    conditions = LiveConditions(LABELS, script, "intro:2 verse:2")
    row = conditions.row(3, LiveSettings(), (), None, 100.0)
    assert (row.labels == script.labels[:, 3:]).all() and (row.numbers[..., :2] == script.numbers[:, 3:, :2]).all()
    row = conditions.row(9, LiveSettings(style="jazz", density=0.4), (), True, 90.0)  # after its end the script stays
    assert row.labels[0, 0].tolist() == [2, 2, 2] and row.numbers[0, 0, :2].tolist() == pytest.approx([90, 0.4])


def test_sections_that_are_set_while_playing_keep_their_letters():
    conditions = LiveConditions(LABELS, make_plan(LABELS, sections="intro:2 verse:2"), "intro:2 verse:2")

    def section(name, seen):
        return int(conditions.row(0, LiveSettings(section=name), seen, None, 120.0).labels[0, 0, 0])

    assert section("verse", ()) == 2 and section("bridge", ()) == 3 and section("outro", ("bridge",)) == 4
    assert section("bridge", ("bridge", "outro")) == 3 and section("intro", ("bridge",)) == 1
    row = conditions.row(3, LiveSettings(section="jazz"), (), None, 120.0)  # a style: the section stays the script's
    assert row.labels[0, 0].tolist()[:2] == [2, 2]


def test_only_a_beginning_from_silence_is_planned_as_no_fill(player):
    fill = KINDS.index("fill")
    begun = LiveConditions.of(player, PlanOptions(style="jazz"), 2, 90.0)
    rows = [begun.row(bar, LiveSettings(), (), None, 90.0) for bar in range(4)]
    assert [row.labels[0, 0, fill] for row in rows] == [1, 1, 0, 0]  # what stays after the script is open
    assert {row.labels[0, 0, KINDS.index("style")] for row in rows} == {2} and begun.has_conditions
    after = LiveConditions.of(player, PlanOptions(sections=["verse", None, "fill"]), 3, 90.0, primer_bars=5)
    rows = [after.row(bar, LiveSettings(), (), None, 90.0) for bar in range(5)]
    assert [row.labels[0, 0, fill] for row in rows] == [1, 1, 2, 2, 2]  # as was wished
    assert (
        after.script_sections == "verse fill" and not LiveConditions.of(player, PlanOptions(), 4, 90.0).has_conditions
    )


def test_the_script_ends_in_one_line_where_the_model_knows_no_such_thing():
    with pytest.raises(HypermeterError, match="no 'polka' in the model"):
        LiveConditions(LABELS, Plan.free(1)).check(LiveSettings(style="polka"), ())


def rows_of(plan):
    return [plan.bars(bar, 1) for bar in range(plan.num_bars)]


FREE = LiveSettings(guidance=0.0)
MUSIC = ("hits", "velocity", "offset")


def joined(parts):
    return Passage(*(np.concatenate([getattr(part, name) for part in parts]) for name in MUSIC))


def sampled(sampler, rows, sizes, settings=FREE, first=None):
    """Return bars, sampled one after the other in parts of the given sizes, as one part."""
    point, parts = first or sampler.begin(), []
    for row in rows:
        for size in sizes:
            part, point = sampler.sample(point, size, settings, row)
            parts.append(part)
    return joined(parts)


def same(one, other):
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in MUSIC)


PRIMER = Groove(
    np.random.default_rng(0).random((32, 10)) < 0.2,
    velocity=np.random.default_rng(1).random((32, 10)),
    tempo_bpm=93.7,
    kit=KIT,
)
WISHES = {
    "nothing": PlanOptions(),
    "a style": PlanOptions(style="jazz"),
    "a song": PlanOptions(sections="intro:2 rock+verse:3 fill:1", density=[0.1, 0.4], offbeat=0.3),
}


@pytest.mark.parametrize("wishes", WISHES.values(), ids=WISHES)
@pytest.mark.parametrize("primer", [None, PRIMER], ids=["silence", "primer"])
@pytest.mark.parametrize("ahead", [16, 1])
def test_what_is_played_is_what_generate_writes(player, wishes, primer, ahead):
    tempo_bpm, heard = (93.7, 2) if primer is not None else (81.3, 0)
    sampling = SamplingOptions(temperature=0.9, bias={"kick": 1.0}, guidance=2.0, seed=2**40 + 5)
    written = continue_groove(player, primer, 6, sampling, plan=wishes, tempo_bpm=tempo_bpm, include_primer=False)
    conditions = LiveConditions.of(player, wishes, 6, tempo_bpm, heard)
    parts, sampler = {}, Sampler(player)

    class Keeping:
        def sample(self, state, *rest):
            part, after = sampler.sample(state, *rest)
            parts[state.inner.position] = part
            return part, after

    sink, clock = Memory(), SimulatedClock(0.01)
    settings = LiveSettings(**vars(sampling))
    engine = engine_of(
        clock,
        sink,
        OwnTempo(tempo_bpm, 4),
        conditions=conditions,
        sampler=Keeping(),
        first=sampler.begin(primer, tempo_bpm),
        settings=settings,
        num_bars=6,
        ahead_steps=ahead,
    )
    engine.run()
    assert same(joined([parts[position] for position in sorted(parts)]), written) and written.hits.any()
    kit = player.kit
    velocity = {
        kit.voices[voice].write: [
            int(np.clip(np.rint(127 * value), 1, 127)) for value in written.velocity[:, voice] if value
        ]
        for voice in range(10)
    }
    sent = {pitch: [loudness for _, other, loudness in sink.notes if other == pitch] for pitch in velocity}
    assert sent == velocity


def test_a_plan_given_row_by_row_plays_as_the_plan_at_once(player):
    plan = make_plan(LABELS, sections="intro:2 verse:3 intro:1", style="rock", density=[0.1, 0.4])
    whole = player.generate(96, sampling=SamplingOptions(seed=5, guidance=0.0), plan=plan)[0]
    part = sampled(Sampler(player), rows_of(plan), [16], LiveSettings(seed=5, guidance=0.0))
    assert (part.hits == whole).all() and part.hits.any()


def test_bars_and_steps_give_the_same_music(player):
    plan = make_plan(LABELS, sections="intro:1 verse:2", density=0.3)
    bars, steps = (sampled(Sampler(player), rows_of(plan), sizes, LiveSettings(seed=1)) for sizes in ([16], [1] * 16))
    assert same(bars, steps)
    assert ((bars.velocity > 0) == (bars.hits > 0)).all() and (bars.offset[bars.hits == 0] == 0).all()
    assert (bars.offset[0] >= 0).all() and np.abs(bars.offset).max() <= 0.5


def test_a_state_stays_as_it_is_so_that_a_part_can_be_sampled_again(player):
    sampler, row, settings = Sampler(player), Plan.free(1), LiveSettings(seed=2)
    _, point = sampler.sample(sampler.begin(), 16, settings, row)
    one, after = sampler.sample(point, 16, settings, row)
    sampler.sample(point, 16, LiveSettings(temperature=5.0), row)
    sampler.sample(after, 16, settings, row)
    again, _ = sampler.sample(point, 16, settings, row)
    assert same(one, again)


def test_another_temperature_samples_with_the_same_random_numbers(player):
    sampler = Sampler(player)
    one, other = (
        sampled(sampler, [Plan.free(1)], [16], LiveSettings(temperature=temperature))
        for temperature in (1.0, 1.0 - 1e-9)
    )
    assert (one.hits != other.hits).mean() < 0.5  # drawn from the mixture, and from the list of its combinations
    near, nearer = (
        sampled(sampler, [Plan.free(1)], [16], LiveSettings(temperature=temperature))
        for temperature in (0.9, 0.9 - 1e-9)
    )
    assert same(near, nearer)


def test_guidance_and_bias_are_those_of_generate(player):
    plan = make_plan(LABELS, 3, style="jazz", density=0.4)
    sampling = SamplingOptions(bias={"kick": 2.0}, guidance=2.0)
    whole = player.generate(48, sampling=sampling, plan=plan)[0]
    part = sampled(Sampler(player), rows_of(plan), [16], LiveSettings(**vars(sampling)))
    assert (part.hits == whole).all()
    never = sampled(Sampler(player), rows_of(plan), [16], LiveSettings(bias={"kick": -100.0, "snare": 100.0}))
    assert not never.hits[:, 0].any() and never.hits[:, 1].all()


@pytest.mark.parametrize("parts", [[16], [4, 8, 4]])
def test_sections_differ_and_return_as_in_generate(player, parts):
    plan = make_plan(LABELS, 22, sections="intro:8 verse:6 intro:8")
    whole = player.generate(22 * 16, sampling=SamplingOptions(guidance=1.0), plan=plan)[0]
    played = sampled(Sampler(player), rows_of(plan), parts, LiveSettings(guidance=1.0))
    assert (played.hits == whole).all()


def test_a_tempo_alone_does_not_guide(player):
    tempo_only, dense = make_plan(LABELS, 2, tempo_bpm=90.0), make_plan(LABELS, 2, tempo_bpm=90.0, density=0.6)
    for plan, is_guided in ((tempo_only, False), (dense, True)):
        guided, free = (
            sampled(Sampler(player), rows_of(plan), [16], settings) for settings in (LiveSettings(guidance=9.0), FREE)
        )
        assert (guided.hits != free.hits).any() == is_guided


def test_a_plan_of_the_tempo_alone_does_not_guide_until_a_condition_is_set():
    begun = plan_bars(LABELS, PlanOptions(), 4, grid=GRID, tempo_bpm=90.0)
    conditions, settings = LiveConditions(LABELS, begun, has_conditions=False), LiveSettings(guidance=2.0)
    assert begun.asks and conditions.guided(settings).guidance == 0
    assert conditions.guided(settings.change(fill=False)).guidance == 2
    assert conditions.guided(settings.change(density=0.5)).version == 1
    assert LiveConditions(LABELS, begun).guided(settings).guidance == 2


def test_the_number_of_rows_that_are_kept_is_bounded(player):
    row, rows = make_plan(LABELS, 1, style="rock"), None
    for _ in range(200):
        rows = with_row(rows, row, is_new_bar=True)
    assert rows.num_bars == MAX_ROWS
    whole = player.network.embed(row.then(*[row] * 199))[:, 199]
    assert np.allclose(player.network.embed(rows)[:, MAX_ROWS - 1], whole, atol=1e-6)


def test_within_a_bar_a_new_row_replaces_its_row():
    one, other = make_plan(LABELS, 1, style="rock"), make_plan(LABELS, 1, style="jazz")
    rows = with_row(with_row(None, one, True), one, True)
    assert with_row(rows, other, True).labels[0, :, 1].tolist() == [1, 1, 2]
    assert with_row(rows, other, False).labels[0, :, 1].tolist() == [1, 2]
    assert with_row(with_row(None, one, True), other, False).labels[0, :, 1].tolist() == [2]
    assert with_row(Plan.free(3), one, True).labels[0, :, 1].tolist() == [0, 0, 0, 1]


def test_a_change_within_a_bar_sounds_from_there_on(player):
    calm, wild = make_plan(LABELS, 1, density=0.0, tempo_bpm=90.0), make_plan(LABELS, 1, density=0.9, tempo_bpm=90.0)
    sampler, settings = Sampler(player), LiveSettings(guidance=3.0)
    _, point = sampler.sample(sampler.begin(), 8, settings, calm)
    parts = [sampler.sample(point, 8, settings, row)[0] for row in (calm, wild)]
    assert parts[0].hits.sum() < parts[1].hits.sum()


def test_a_primer_that_does_not_fit_is_refused(player):
    sampler = Sampler(player)
    with pytest.raises(HypermeterError, match="whole bars"):
        sampler.begin(Groove(PRIMER.hits[:20], kit=KIT))
    with pytest.raises(HypermeterError, match="primer: 9 voices"):
        sampler.begin(Groove(PRIMER.hits[:, :9]))
    assert sampler.begin(Groove(PRIMER.hits[:0], kit=KIT)).rows is None


def test_velocity_and_timing_follow_those_of_the_primer(player):
    hits = np.ones((64, 10), np.uint8)
    sampler, states = Sampler(player), []
    for velocity in (0.1, 0.9):
        primer = Groove(hits, velocity=np.full(hits.shape, velocity), kit=KIT)
        states.append(sampler.begin(primer).inner.expression.sums)
    assert not np.allclose(*states)


def test_a_sampler_in_a_process_of_its_own_gives_the_same_music_and_keeps_what_is_held(player, checkpoint):
    plan = make_plan(LABELS, sections="intro:1 verse:2", density=0.3)
    settings = LiveSettings(bias={"kick": 1.0}, seed=7)
    here, there = Sampler(player), SamplerProcess(str(checkpoint), PRIMER)
    try:
        first = there.first()
        one = sampled(here, rows_of(plan), [16], settings, here.begin(PRIMER))
        assert same(one, sampled(there, rows_of(plan), [16], settings, first))
        assert same(one, sampled(there, rows_of(plan), [1] * 16, settings, first))
        there._process.terminate()
        there._process.join()
        with pytest.raises(HypermeterError, match="the process that samples has ended"):
            sampled(there, rows_of(plan), [16], settings, first)
    finally:
        there.close()


def test_a_handle_that_dies_while_others_are_released_is_released_too():
    class Racing(list):
        """A list to which a handle is added right after every access."""

        def __getitem__(self, key):
            item = super().__getitem__(key)
            self.append(99)
            return item

        def pop(self):
            item = super().pop()
            if item != 99:
                self.append(99)
            return item

    class Connection:
        def send(self, message):
            self.sent = message

        def recv(self):
            return "part", 5

    sampler = SamplerProcess.__new__(SamplerProcess)
    sampler._connection, sampler._released = Connection(), Racing([3])
    _, handle = sampler.sample(StateHandle(4), 16, LiveSettings())
    assert sorted([*sampler._connection.sent[-1], *list(sampler._released)]) == [3, 99] and handle.number == 5


def test_a_model_that_the_process_cannot_load_is_an_error_here(tmp_path):
    sampler = SamplerProcess(str(tmp_path / "none.safetensors"))
    try:
        with pytest.raises(HypermeterError, match=r"none.safetensors"):
            sampler.first()
    finally:
        sampler.close()


def test_a_model_with_tracks_is_refused(tmp_path):
    from hypermeter.core.tracks import BASS

    model = HierarchicalDrumModel(10, 16, 16, 16, 1, kit=KIT, tracks=[BASS.to_dict()])
    model.save(tmp_path / "bass.safetensors")
    with pytest.raises(HypermeterError, match="tracks beside the drums .bass."):
        Sampler(load_player(tmp_path / "bass.safetensors"))


# ---------------------------------------------------------------------- following a clock


def send_ticks(clock, engine, start_s, ticks, tick_s, jitter_s=0.0, seed=0):
    noise = random.Random(seed)
    for number in range(ticks):
        when = start_s + number * tick_s + noise.uniform(0, jitter_s)
        clock.at(when, lambda: engine.receive((CLOCK,)))


def follower(clock, sink, **options):
    return engine_of(clock, sink, tempo=FollowedTempo(120.0, GRID.steps_per_quarter), **options)


def test_notes_follow_the_ticks_of_a_master():
    sink, clock = Memory(), SimulatedClock(0.1)
    engine = follower(clock, sink, num_bars=4)
    tick_s = 60 / 93 / 24
    clock.at(1.0, lambda: engine.receive((START,)))
    send_ticks(clock, engine, 1.01, 4 * 96 + 30, tick_s)
    timing = engine.run()
    expected = expected_hats(64, 6 * tick_s, 1.01)
    hats = sink.times(42)
    assert len(hats) == 64 and timing.dropped == 0
    assert max(abs(a - b) for a, b in zip(hats[6:], expected[6:])) < 1e-6  # once the tempo is known
    assert max(abs(a - b) for a, b in zip(hats, expected)) < 0.02
    assert engine.tempo.tempo_bpm == pytest.approx(93, abs=0.01)


def test_jitter_of_the_ticks_is_smoothed():
    sink, clock = Memory(), SimulatedClock(0.1)
    engine = follower(clock, sink, num_bars=16)
    tick_s, jitter_s = 60 / 120 / 24, 0.004
    send_ticks(clock, engine, 0.0, 96, tick_s, jitter_s, seed=1)  # a master that ticks before it starts
    clock.at(96 * tick_s - 0.001, lambda: engine.receive((START,)))
    send_ticks(clock, engine, 96 * tick_s, 16 * 96 + 30, tick_s, jitter_s, seed=2)
    engine.run()
    expected = expected_hats(256, 6 * tick_s, 96 * tick_s + jitter_s / 2)
    errors = np.array(sink.times(42)) - expected
    assert len(errors) == 256 and errors.std() < 0.0008 and abs(errors.mean()) < 0.0005  # the ticks' own is 1.15 ms


def test_a_change_of_the_masters_tempo_is_followed_within_a_beat():
    sink, clock = Memory(), SimulatedClock(0.1)
    engine = follower(clock, sink, num_bars=8)
    clock.at(1.0, lambda: engine.receive((START,)))
    send_ticks(clock, engine, 1.01, 4 * 96, 60 / 120 / 24)
    turn = 1.01 + 4 * 96 * 60 / 120 / 24
    send_ticks(clock, engine, turn, 4 * 96 + 30, 60 / 80 / 24)
    engine.run()
    kicks = sink.times(36)
    expected = [1.01 + 0.5 * beat for beat in range(16)] + [turn + 0.75 * beat for beat in range(16)]
    errors = np.abs(np.array(kicks) - expected)
    assert errors.max() < 0.02 and errors[18:].max() < 1e-6


def test_ticks_that_are_held_up_and_come_together_change_no_tempo():
    sink, clock = Memory(), SimulatedClock(0.1)
    engine = follower(clock, sink, num_bars=8)
    tick_s, rng = 60 / 120 / 24, random.Random(3)
    clock.at(1.0, lambda: engine.receive((START,)))
    held = 0.0
    tempos = []
    for number in range(8 * 96 + 30):
        when = 1.01 + number * tick_s
        if when > held and number > 48 and rng.random() < 0.02:
            held = when + rng.uniform(0.02, 0.12)  # all until then come at once
        clock.at(max(when, held) + 1e-5 * number / 1000, lambda: engine.receive((CLOCK,)))
        clock.at(max(when, held) + 1e-4, lambda: tempos.append(engine.tempo.tempo_bpm))
    engine.run()
    assert max(abs(tempo - 120) for tempo in tempos[10:]) < 12
    errors = np.array(sink.times(36)) - (1.01 + 0.5 * np.arange(32))
    assert np.median(np.abs(errors)) < 0.003 and errors.max() < 0.13


def test_stop_ends_the_notes_and_continue_goes_on_where_it_was():
    sink, clock = Memory(), SimulatedClock(0.1)
    engine = follower(clock, sink, num_bars=4)
    tick_s = 60 / 120 / 24
    clock.at(1.0, lambda: engine.receive((START,)))
    send_ticks(clock, engine, 1.01, 121, tick_s)  # up to step 20
    stopped = 1.01 + 120 * tick_s + 0.001
    clock.at(stopped, lambda: engine.receive((STOP,)))
    send_ticks(clock, engine, stopped + 1, 48, tick_s)  # it ticks on while it stands still
    clock.at(stopped + 5, lambda: engine.receive((CONTINUE,)))
    send_ticks(clock, engine, stopped + 5.001, 4 * 96, tick_s)
    engine.run()
    assert not [when for when, _ in sink.kind(0x90) if stopped < when < stopped + 5]
    hats = sink.times(42)
    assert len(hats) == 64  # none lost, none twice
    ends = [when for when, _ in sink.kind(0x80)]
    assert not [when for when in ends if stopped + 1e-9 < when < stopped + 5]
    after = [when for when in hats if when > stopped + 5]
    expected = [stopped + 5.001 - tick_s + 6 * tick_s * (step - 20) for step in (21.4, 21.6, 23.4, 23.6)]
    assert after[:4] == pytest.approx(expected, abs=1e-3)


def test_start_begins_again_with_the_same_bars():
    sink, clock = Memory(), SimulatedClock(0.5)

    class Counting(Steady):
        def sample(self, state, steps, settings, row=None, tempo_bpm=120.0):
            return super().sample(state, steps, replace(settings, density=(state // 16 + 1) / 127), row, tempo_bpm)

    engine = follower(clock, sink, num_bars=4, sampler=Counting())
    tick_s = 60 / 120 / 24
    for start in (2.0, 8.5):  # the second in the midst of bar 4
        clock.at(start, lambda: engine.receive((START,)))
        send_ticks(clock, engine, start + 0.01, 310 if start == 2.0 else 4 * 96 + 30, tick_s)
    engine.run()
    kicks = [velocity for _, pitch, velocity in sink.notes if pitch == 36]
    assert kicks[-16:] == [1] * 4 + [2] * 4 + [3] * 4 + [4] * 4
    assert kicks[:12] == [1] * 4 + [2] * 4 + [3] * 4 and engine.timing.dropped == 0


def test_song_position_leads_to_another_bar_and_the_bar_that_was_left_is_forgotten():
    sink, clock, bars = Memory(), SimulatedClock(0.1), []

    class Listening(Steady):
        def sample(self, state, steps, settings, row=None, tempo_bpm=120.0):
            bars.append((state // 16, round(float(row.numbers[0, 0, 1]), 2)))
            return super().sample(state, steps, settings, row, tempo_bpm)

    conditions = LiveConditions(LABELS, make_plan(LABELS, 20, density=[0.0, 0.95]))  # bar b of the song asks for b / 20
    engine = follower(clock, sink, num_bars=13, sampler=Listening(), conditions=conditions)
    tick_s = 60 / 120 / 24
    clock.at(1.0, lambda: engine.receive((START,)))
    send_ticks(clock, engine, 1.01, 2 * 96 + 50, tick_s)
    clock.at(7.0, lambda: engine.receive((STOP,)))
    clock.at(7.1, lambda: engine.receive((SONG_POSITION, 10 * 16 % 128, 10 * 16 // 128)))
    clock.at(8.0, lambda: engine.receive((CONTINUE,)))
    send_ticks(clock, engine, 8.01, 3 * 96 + 30, tick_s)
    engine.run()
    assert bars[:4] == [(0, 0.0), (1, 0.05), (2, 0.1), (3, 0.15)]
    assert bars[4:] == [(2, 0.5), (3, 0.55), (4, 0.6)]  # its third bar again, as bar 11 of the song
    kicks = [when for when in sink.times(36) if when > 7]
    assert kicks == pytest.approx([8.01 + 0.5 * beat for beat in range(12)], abs=0.02)


def test_a_song_position_within_a_bar_waits_for_the_next():
    sink, clock = Memory(), SimulatedClock(0.05)
    engine = follower(clock, sink, num_bars=4)
    tick_s = 60 / 120 / 24
    clock.at(0.5, lambda: engine.receive((SONG_POSITION, 20, 0)))
    clock.at(1.0, lambda: engine.receive((CONTINUE,)))
    send_ticks(clock, engine, 1.01, 3 * 96, tick_s)
    engine.run()
    assert sink.times(36)[0] == pytest.approx(1.01 + 12 * 6 * tick_s, abs=0.02)  # step 32


TICK_S = 60 / 120 / 24


def send_at(clock, engine, when, *messages):
    for message in messages:
        clock.at(when, lambda message=message: engine.receive(message))


def song_position(bar):
    return (SONG_POSITION, bar * 16 % 128, bar * 16 // 128)


@pytest.mark.parametrize("cost_s", [0.06, 0.5])  # of a part
@pytest.mark.parametrize("ahead", [16, 1])
@pytest.mark.parametrize("bar", [1, 2, 40])
def test_song_position_and_continue_at_once_keep_the_downbeat(bar, ahead, cost_s):
    sink, clock = Memory(), SimulatedClock(cost_s * ahead / 16)
    engine = follower(clock, sink, num_bars=bar + 2, ahead_steps=ahead)
    send_at(clock, engine, 5.0, song_position(bar), (CONTINUE,))
    send_ticks(clock, engine, 5.001, 96 * 2 + 30, TICK_S)
    timing = engine.run()
    assert sink.times(36) == pytest.approx([5.001 + 0.5 * beat for beat in range(8)], abs=0.01)
    assert len(sink.times(42)) == 32 and timing.dropped == 0


@pytest.mark.parametrize("ahead", [16, 1])
@pytest.mark.parametrize(
    "messages", [[song_position(1)], [song_position(1), (CONTINUE,)], [(STOP,), song_position(1), (CONTINUE,)]]
)
def test_a_loop_of_the_master_keeps_every_downbeat(messages, ahead):
    """Two bars of three again and again, from bar 2; some masters stop for the jump, others tell the position alone."""
    sink, clock = Memory(), SimulatedClock(0.06 * ahead / 16)
    engine = follower(clock, sink, ahead_steps=ahead)
    send_at(clock, engine, 1.0, (START,))
    send_ticks(clock, engine, 1.01, 96 * 9, TICK_S)
    for turn in range(3):
        send_at(clock, engine, 1.009 + (3 + 2 * turn) * 96 * TICK_S, *messages)
    clock.at(1.01 + 9 * 96 * TICK_S - 0.06, engine.end)
    timing = engine.run()
    assert sink.times(36) == pytest.approx([1.01 + 0.5 * beat for beat in range(36)], abs=0.01)
    assert len(sink.times(42)) == 36 * 4 and timing.dropped == 0 and timing.bars == 9


def test_where_there_is_time_a_jump_plays_under_the_plan_of_its_bar_and_otherwise_the_bar_that_was_ready():
    velocities = {}
    for wait_s in (0.0, 0.2):
        sink, clock = Memory(), SimulatedClock(0.06)
        conditions = LiveConditions(LABELS, make_plan(LABELS, 20, density=[0.0, 0.95]))

        class Planned(Steady):
            def sample(self, state, steps, settings, row=None, tempo_bpm=120.0):
                density = float(row.numbers[0, 0, 1])  # b / 20 in bar b of the song
                return super().sample(state, steps, replace(settings, density=density), row, tempo_bpm)

        engine = follower(clock, sink, num_bars=12, sampler=Planned(), conditions=conditions)
        send_at(clock, engine, 5.0, song_position(10))
        send_at(clock, engine, 5.0 + wait_s, (CONTINUE,))
        send_ticks(clock, engine, 5.001 + wait_s, 96 * 2 + 30, TICK_S)
        engine.run()
        velocities[wait_s] = [velocity for _, pitch, velocity in sink.notes if pitch == 36]
    assert velocities == {0.0: [1] * 4 + [70] * 4, 0.2: [64] * 4 + [70] * 4}


@pytest.mark.parametrize("messages", [[(STOP,), (START,)], [(START,)], [(STOP,), song_position(0), (CONTINUE,)]])
def test_start_at_once_keeps_the_downbeat(messages):
    sink, clock = Memory(), SimulatedClock(0.5)
    engine = follower(clock, sink, num_bars=4)
    send_at(clock, engine, 1.0, (START,))
    send_ticks(clock, engine, 1.01, 300, TICK_S)
    again = 1.01 + 300 * TICK_S
    send_at(clock, engine, again - 0.001, *messages)
    send_ticks(clock, engine, again, 4 * 96 + 30, TICK_S)
    timing = engine.run()
    after = [when for when in sink.times(36) if when >= again]
    assert after == pytest.approx([again + 0.5 * beat for beat in range(16)], abs=0.01) and timing.dropped == 0


def test_a_position_just_behind_plays_its_hits_again_and_one_just_ahead_leaves_out_what_is_before_it():
    for ticks, position, expected in ((195, 32, 8), (188, 32, 8)):  # at step 32.5, and at 31.3
        sink, clock = Memory(), SimulatedClock(0.06)
        engine = follower(clock, sink, num_bars=4)
        send_at(clock, engine, 1.0, (START,))
        send_ticks(clock, engine, 1.01, ticks, TICK_S)
        send_at(clock, engine, 6.0, (STOP,))
        send_at(clock, engine, 7.0, (SONG_POSITION, position, 0), (CONTINUE,))
        send_ticks(clock, engine, 7.001, 2 * 96 + 30, TICK_S)
        engine.run()
        kicks, hats = ([when for when in sink.times(pitch) if when > 7] for pitch in (36, 42))
        assert kicks == pytest.approx([7.001 + 0.5 * beat for beat in range(expected)], abs=0.01)
        assert len(hats) == 32 and min(np.diff(hats)) > 0.02  # none of those before it in a lump with the first


def test_continue_while_it_plays_and_positions_without_a_clock_do_no_harm():
    sink, clock = Memory(), SimulatedClock(0.06)
    engine = follower(clock, sink, num_bars=3)
    send_at(clock, engine, 0.5, song_position(7), song_position(3), song_position(0))
    send_at(clock, engine, 1.0, (START,))
    send_ticks(clock, engine, 1.01, 3 * 96 + 30, TICK_S)
    for number in range(40):
        send_at(clock, engine, 1.02 + 0.1 * number, (CONTINUE,))
    timing = engine.run()
    errors = np.array(sink.times(42)) - expected_hats(48, 6 * TICK_S, 1.01)
    assert np.abs(errors[6:]).max() < 1e-6 and timing.dropped == 0


def test_a_fill_that_is_left_by_a_jump_does_not_stand_in_for_another_bar():
    class Counted(FillSampler):
        """Every fill is a bar of kicks alone."""

        def sample(self, state, steps, settings, row=None, tempo_bpm=120.0):
            part, after = super().sample(state, steps, settings, row, tempo_bpm)
            if self.fills[state // 16] == 2:
                part.hits[:, 2] = 0
            return part, after

    sink, clock = Memory(), SimulatedClock(0.06)
    engine = follower(clock, sink, sampler=Counted(), conditions=LiveConditions(LABELS, Plan.free(1)))
    send_at(clock, engine, 1.0, (START,))
    send_ticks(clock, engine, 1.01, 96 * 4, TICK_S)
    clock.at(1.5, lambda: engine.control("/fill", 1))
    jump = 1.009 + (96 + 48) * TICK_S  # in the middle of the fill
    send_at(clock, engine, jump, song_position(8))
    clock.at(1.01 + 96 * 4 * TICK_S - 0.01, engine.end)
    engine.run()
    hats = np.array(sink.times(42))
    assert not ((hats > 3.0) & (hats < jump)).any() and ((hats > jump) & (hats < jump + 1.94)).sum() == 16


def test_a_master_that_falls_silent_stops_the_music():
    sink, clock = Memory(), SimulatedClock(0.05)
    engine = follower(clock, sink)
    clock.at(1.0, lambda: engine.receive((START,)))
    send_ticks(clock, engine, 1.01, 100, 60 / 120 / 24)
    clock.at(60.0, engine.end)
    engine.run()
    last = 1.01 + 99 * 60 / 120 / 24
    assert last - 0.2 < max(sink.times()) < last + 2 * 60 / 120 / 24


def test_messages_of_other_kinds_have_no_effect():
    sink, clock = Memory(), SimulatedClock(0.05)
    engine = follower(clock, sink)
    for number, message in enumerate([(0x90, 36, 100), (0xF0, 1, 2, 0xF7), (0xFE,), (SONG_POSITION,), (CLOCK,)]):
        clock.at(0.1 * number + 0.5, lambda message=message: engine.receive(message))
    clock.at(5.0, engine.end)
    assert engine.run().notes == 0


def test_a_part_that_has_passed_while_it_was_sampled_again_stays_as_it_was():
    class Silent(Steady):
        def sample(self, state, steps, settings, row=None, tempo_bpm=120.0):
            part, after = super().sample(state, steps, settings, row, tempo_bpm)
            part.hits[:] = 0
            return part, after

    clock = SimulatedClock(lambda took_s: 1.0 if clock.now() > 0.4 else 0.01)
    engine = follower(clock, Memory(), sampler=Silent(), ahead_steps=1, conditions=LiveConditions(LABELS, Plan.free(1)))
    clock.at(0.5, lambda: engine.control("/density", 1.0))  # the first step is drawn again until 1.5
    clock.at(0.6, lambda: engine.receive((START,)))
    send_ticks(clock, engine, 0.61, 96, 60 / 120 / 24)
    clock.at(4.0, engine.end)
    timing = engine.run()
    assert timing.redrawn == 0 and len(timing.costs) == 5


@pytest.mark.parametrize("control_s", [0.9, 3.0, 4.0005])  # drawn again until it stands still; then; as it goes on
def test_no_note_of_a_part_that_has_begun_is_made_up_for_after_a_stop(control_s):
    class Late(Steady):
        """A kick at step 12; with a density set, at every beat."""

        def sample(self, state, steps, settings, row=None, tempo_bpm=120.0):
            part, after = super().sample(state, steps, settings, row, tempo_bpm)
            part.hits[:, 2] = 0
            part.hits[: 12 if settings.density is None else 0] = 0
            return part, after

    sink, clock = Memory(), SimulatedClock(lambda took_s: 2.0 if 0.8 < clock.now() < 1.0 else 0.05)
    engine = follower(clock, sink, num_bars=2, sampler=Late(), conditions=LiveConditions(LABELS, Plan.free(1)))
    tick_s = 60 / 120 / 24
    clock.at(1.0, lambda: engine.receive((START,)))
    send_ticks(clock, engine, 1.01, 49, tick_s)  # up to step 8
    clock.at(2.02, lambda: engine.receive((STOP,)))
    clock.at(control_s, lambda: engine.control("/density", 1.0))
    clock.at(4.0, lambda: engine.receive((CONTINUE,)))
    send_ticks(clock, engine, 4.2, 2 * 96, tick_s)
    engine.run()
    assert sink.times(36)[0] == pytest.approx(4.2 + 23 * tick_s, abs=0.01)
    assert len(sink.times(36)) == 5 and [velocity for _, _, velocity in sink.notes] == [64, *[127] * 4]


@pytest.mark.parametrize(("control_s", "fills"), [(1.5, [1, 1, 1]), (5.5, [2, 1, 1])])
def test_a_fill_that_was_played_is_not_played_again_after_a_jump(control_s, fills):
    fills_at = []

    class Listening(Steady):
        def sample(self, state, steps, settings, row=None, tempo_bpm=120.0):
            fills_at.append((clock.now(), int(row.labels[0, 0, KINDS.index("fill")])))
            return super().sample(state, steps, settings, row, tempo_bpm)

    clock = SimulatedClock(0.1)
    engine = follower(clock, Memory(), num_bars=4, sampler=Listening(), conditions=LiveConditions(LABELS, Plan.free(1)))
    tick_s = 60 / 120 / 24
    clock.at(control_s, lambda: engine.control("/fill", 1))  # of bar 1, which is played, or of bar 3, which is not
    clock.at(1.0, lambda: engine.receive((START,)))
    send_ticks(clock, engine, 1.01, 2 * 96 + 50, tick_s)
    clock.at(7.0, lambda: engine.receive((STOP,)))
    clock.at(7.1, lambda: engine.receive((SONG_POSITION, 16, 0)))  # back to bar 1
    clock.at(8.0, lambda: engine.receive((CONTINUE,)))
    send_ticks(clock, engine, 8.01, 3 * 96 + 30, tick_s)
    engine.run()
    assert [fill for when, fill in fills_at if when < 7].count(2) == 1
    assert [fill for when, fill in fills_at if when > 7] == fills


def test_own_tempo_gives_position_and_time_that_are_each_others_inverse():
    tempo = OwnTempo(90.0, 4)
    assert tempo.position(5.0) == -math.inf and tempo.time_of(3) == math.inf
    tempo.start(2.0)
    for step in (-0.5, 0, 7.25, 100):
        assert tempo.position(tempo.time_of(step)) == pytest.approx(step)
    tempo.change_tempo(180.0, 4.0)
    assert tempo.position(4.0) == pytest.approx(2.0 / (60 / 90 / 4))
    assert tempo.time_of(tempo.position(4.0) + 1) == pytest.approx(4.0 + 60 / 180 / 4)


# ---------------------------------------------------------------------- real time, ports and the command


def test_in_real_time_notes_go_out_when_they_are_due():
    sink = Memory()
    engine = engine_of(RealClock(), sink, num_bars=2, tempo=OwnTempo(200.0, 4))
    started = time.perf_counter()
    timing = engine.run()
    assert 2.4 < time.perf_counter() - started < 6
    assert timing.notes == 40
    hats = sink.times(42)
    errors = np.abs(np.array(hats) - expected_hats(32, 60 / 200 / 4, engine.begun_s))
    assert np.median(errors) < 0.01 and percentile(timing.lateness, 50) < 0.01  # loosely: the machine is shared


def test_one_player_follows_the_clock_of_another_in_real_time():
    led, leads = Memory(), Memory()
    follows = engine_of(RealClock(), led, FollowedTempo(100.0, 4))

    class Cord(Memory):
        def send(self, message, when):
            leads.send(message, when)
            if message[0] >= 0xF8:
                follows.receive(message)

    master = engine_of(RealClock(), Cord(), OwnTempo(180.0, 4), num_bars=2, sends_clock=True)
    thread = threading.Thread(target=follows.run)
    thread.start()
    time.sleep(0.3)
    master.run()
    follows.end()
    thread.join(10)
    assert not thread.is_alive()
    pairs = list(zip(led.times(42), leads.times(42)))
    assert 30 <= len(pairs) <= 32
    assert np.median([abs(one - other) for one, other in pairs]) < 0.01  # loosely: the machine is shared
    assert follows.tempo.tempo_bpm == pytest.approx(180, rel=0.05)


def test_a_real_clock_is_woken_from_another_thread_and_works_beside():
    clock, got = RealClock(), []
    threading.Timer(0.1, clock.wake).start()
    started = clock.now()
    clock.wait(math.inf)
    assert 0.05 < clock.now() - started < 2
    clock.work(lambda: 1 / 0, lambda *result: got.append(result))
    clock.work(lambda: threading.current_thread().name, lambda *result: got.append(result))
    deadline = clock.now() + 5
    while len(got) < 2 and clock.now() < deadline:
        clock.wait(clock.now() + 0.5)
    clock.close()
    assert isinstance(got[0][1], ZeroDivisionError) and got[1][0] == "hypermeter-worker_0"


def test_a_file_holds_what_was_sent_at_its_time(tmp_path):
    tempo = OwnTempo(120.0, GRID.steps_per_quarter)
    sink = FileSink(tmp_path / "out.mid", GRID, tempo)
    engine_of(SimulatedClock(0.01), sink, tempo, num_bars=2).run()
    sink.close()
    groove = hypermeter.read_midi(tmp_path / "out.mid", options=ReadOptions(shift="keep"))
    assert groove.hits.shape == (32, 10) and groove.hits[:, 2].all() and groove.hits[::4, 0].all()
    assert groove.offset[1::2, 2] == pytest.approx(0.4, abs=0.01) and groove.tempo_bpm == 120
    assert groove.velocity[0, 2] == pytest.approx(64 / 127)


def test_a_file_has_the_channel_and_the_time_of_each_message(tmp_path):
    grid = Grid(steps_per_beat=2, beats_per_bar=6, beat_unit=8)
    tempo = OwnTempo(90.0, grid.steps_per_quarter)
    tempo.start(0.5)
    sink = FileSink(tmp_path / "out.mid", grid, tempo)
    for when, *message in [
        (1, 0xFA),
        (1, 0x92, 36, 100),
        (1.05, 0x82, 36, 0),
        (1.05, 0x92, 36, 50),
        (1.5, 0x82, 36, 0),
    ]:
        sink.send(tuple(message), when)
    sink.close()
    midi = mido.MidiFile(tmp_path / "out.mid")
    metas = {message.type: message for message in midi if message.is_meta}
    assert metas["set_tempo"].tempo == round(6e7 / 90)
    assert (metas["time_signature"].numerator, metas["time_signature"].denominator) == (6, 8)
    now, events = 0.0, []
    for message in midi:
        now += message.time
        events += [] if message.is_meta else [(now, message.channel, message.type, message.velocity)]
    assert [event[1:] for event in events] == [
        (2, "note_on", 100),
        (2, "note_off", 0),
        (2, "note_on", 50),
        (2, "note_off", 0),
    ]
    assert [event[0] for event in events] == pytest.approx([0.5, 0.55, 0.55, 1.0], abs=0.001)


class Backbeat(Steady):
    """A snare on the second and fourth beat, and nothing on the first."""

    def sample(self, state, steps, settings, row=None, tempo_bpm=120.0):
        hits = np.zeros((steps, 10), np.uint8)
        hits[[step for step in range(steps) if (state + step) % 8 == 4], 1] = 1
        return Passage(hits, hits * np.float32(0.5), np.zeros((steps, 10), np.float32)), state + steps


def file_of_follower(path, plan, **options):
    """Return ticks of notes, tempos and the number of bars of a file, of a player that follows what `plan` sends."""
    tempo, clock = FollowedTempo(120.0, GRID.steps_per_quarter), SimulatedClock(0.02)
    sink = FileSink(path, GRID, tempo)
    engine = engine_of(clock, sink, tempo, sampler=Backbeat(), **options)
    plan(clock, engine)
    sink.num_bars = engine.run().bars
    sink.close()
    (track,) = mido.MidiFile(path).tracks
    now, notes, tempos = 0, [], []
    for message in track:
        now += message.time
        notes += [now] if message.type == "note_on" else []
        tempos += [(now, mido.tempo2bpm(message.tempo))] if message.type == "set_tempo" else []
    return notes, tempos, now / 1920


@pytest.mark.parametrize("jitter_s", [0.0, 0.003])
def test_a_file_of_a_followed_clock_has_its_beats_and_its_tempo(tmp_path, jitter_s):
    def plan(clock, engine):
        send_at(clock, engine, 1.0, (START,))
        send_ticks(clock, engine, 1.01, 4 * 96 + 30, 60 / 93 / 24, jitter_s)

    notes, tempos, bars = file_of_follower(tmp_path / "out.mid", plan, num_bars=4)
    assert notes == pytest.approx([480 + 960 * beat for beat in range(8)], abs=1 if not jitter_s else 6) and bars == 4
    assert tempos[0][0] == 0 and all(bpm == pytest.approx(93, rel=0.02) for _, bpm in tempos)
    assert len(tempos) == 1 or jitter_s


def test_a_file_of_a_followed_clock_has_its_changes_of_tempo(tmp_path):
    def plan(clock, engine):
        send_at(clock, engine, 1.0, (START,))
        send_ticks(clock, engine, 1.01, 2 * 96, 60 / 120 / 24)
        send_ticks(clock, engine, 1.01 + 4, 2 * 96 + 30, 60 / 100 / 24)

    notes, tempos, bars = file_of_follower(tmp_path / "out.mid", plan, num_bars=4)
    assert notes == pytest.approx([480 + 960 * beat for beat in range(8)], abs=12) and bars == 4
    assert tempos[0] == (0, pytest.approx(120, abs=0.1)) and tempos[-1][1] == pytest.approx(100, abs=0.5)
    assert all(3840 - 480 <= tick <= 3840 + 960 for tick, _ in tempos[1:])


def test_a_file_of_a_followed_clock_leaves_out_pauses_and_goes_on_at_a_bar_line_after_a_start(tmp_path):
    def plan(clock, engine):
        send_at(clock, engine, 1.0, (START,))
        send_ticks(clock, engine, 1.01, 60, TICK_S)  # up to the third beat of bar 1
        send_at(clock, engine, 3.0, (STOP,))
        send_at(clock, engine, 9.0, (CONTINUE,))
        send_ticks(clock, engine, 9.01, 100, TICK_S)  # up to the third beat of bar 2
        send_at(clock, engine, 12.0, (STOP,))
        send_at(clock, engine, 13.0, (START,))
        send_ticks(clock, engine, 13.01, 96, TICK_S)
        send_at(clock, engine, 16.0, (STOP,), song_position(9), (CONTINUE,))
        send_ticks(clock, engine, 16.01, 90, TICK_S)
        clock.at(19.0, engine.end)

    notes, tempos, bars = file_of_follower(tmp_path / "out.mid", plan)
    assert notes == pytest.approx([480, 1440, 2400, 4320, 5280, 6240, 7200], abs=15) and bars == 4
    assert all(bpm == pytest.approx(120, rel=0.02) for _, bpm in tempos)


class Cable:
    """A virtual loopback in place of mido's backend: what goes into its output comes out of its input."""

    def __init__(self, name, callback=None, **_):
        self.callback, self.got, self.is_closed = callback, [], False
        Cable.last = self

    def send(self, message):
        self.got.append(message)

    def close(self):
        self.is_closed = True


@pytest.fixture
def cables(monkeypatch):
    monkeypatch.setenv("MIDO_BACKEND", "none")
    for kind in ("output", "input"):
        monkeypatch.setattr(mido, f"get_{kind}_names", lambda kind=kind: [f"Synth {kind}", "Other A", "Other B"])
        monkeypatch.setattr(mido, f"open_{kind}", Cable)


def test_ports_are_found_by_a_part_of_their_name(cables):
    sink = open_output("synth")
    sink.send((0x99, 36, 100), 0.0)
    assert Cable.last.got == [mido.Message("note_on", channel=9, note=36, velocity=100)]
    sink.close()
    assert Cable.last.is_closed
    got = []
    open_input("Synth input", got.append)
    Cable.last.callback(mido.Message("songpos", pos=300))
    assert got == [(SONG_POSITION, 300 % 128, 300 // 128)] and "Synth input" in port_names("input")
    with pytest.raises(
        HypermeterError, match="no MIDI output; outputs are: Synth output, Other A, Other B; name virtual"
    ):
        open_output("drum machine")
    with pytest.raises(HypermeterError, match="more than one MIDI output"):
        open_output("other")


@pytest.mark.parametrize(("option", "opening"), [("play", open_output), ("--follow", open_input)])
def test_without_midi_the_option_that_names_a_port_is_named(monkeypatch, option, opening):
    monkeypatch.setattr("hypermeter.share.live.ports._has_midi", lambda: False)
    with pytest.raises(HypermeterError, match=f"^{option} virtual: no MIDI"):
        opening("virtual", *[print] * (option == "--follow"))


def test_a_port_that_goes_away_ends_in_one_line(cables, monkeypatch):
    sink = open_output("synth")
    monkeypatch.setattr(Cable, "send", lambda self, message: 1 / 0)
    with pytest.raises(HypermeterError, match="the MIDI port is gone"):
        engine_of(SimulatedClock(0.01), sink, num_bars=2).run()


def test_a_file_ends_with_its_last_bar_and_has_the_tempos_that_were_set(tmp_path):
    class Sparse(Steady):
        """A kick at every beat."""

        def sample(self, state, steps, settings, row=None, tempo_bpm=120.0):
            part, after = super().sample(state, steps, settings, row, tempo_bpm)
            part.hits[:, 2] = 0
            return part, after

    tempo, clock = OwnTempo(120.0, GRID.steps_per_quarter), SimulatedClock(0.01)
    sink = FileSink(tmp_path / "out.mid", GRID, tempo)
    engine = engine_of(clock, sink, tempo, num_bars=3, sampler=Sparse())
    clock.at(3.0, lambda: engine.control("/tempo", 60))
    clock.at(5.0, lambda: engine.control("/tempo", 90))
    sink.num_bars = engine.run().bars
    sink.close()
    (track,) = mido.MidiFile(tmp_path / "out.mid").tracks
    now, ticks, tempos = 0, [], []
    for message in track:
        now += message.time
        ticks += [now] * (message.type == "note_on")
        if message.type == "set_tempo":
            tempos.append(round(mido.tempo2bpm(message.tempo)))
    assert ticks == list(range(0, 12 * 480, 480)) and now == 3 * 4 * 480 and tempos == [120, 60, 90]


def test_half_a_tick_is_rounded_as_generate_does(tmp_path):
    tempo = OwnTempo(94.0, GRID.steps_per_quarter)
    tempo.start(0.3)
    sink = FileSink(tmp_path / "out.mid", GRID, tempo)
    steps = np.arange(1, 65) - 0.0625  # 7.5 ticks early
    for step in steps:
        sink.send((0x99, 36, 100), tempo.time_of(float(step)))
    sink.close()
    (track,) = mido.MidiFile(tmp_path / "out.mid").tracks
    ticks = np.cumsum([message.time for message in track if message.type in ("note_on", "set_tempo")])[1:]
    assert ticks.tolist() == np.rint(120 * steps).tolist()


def refused(capsys, *arguments):
    assert cli.main(["play", *map(str, arguments)]) == 2
    out, err = capsys.readouterr()
    assert not out and err.count("\n") == 1 and "Traceback" not in err
    return err


def test_without_a_port_one_line_lists_those_there_are(capsys, cables, monkeypatch):
    assert "outputs are: Synth output, Other A, Other B" in refused(capsys)
    monkeypatch.setattr(mido, "get_output_names", list)
    assert "there are no outputs; name virtual" in refused(capsys)


def test_what_cannot_be_played_is_refused_before_the_model_is_loaded(capsys, tmp_path):
    out = tmp_path / "x.mid"
    assert "bars is 0" in refused(capsys, out, "--bars", 0)
    assert "needs no clock" in refused(capsys, out, "--bars", 1, "--send-clock")
    assert "osc: 'nine'" in refused(capsys, out, "--bars", 1, "--osc", "nine")
    assert "tempo_bpm is 5" in refused(capsys, out, "--tempo-bpm", 5)
    assert "channel is 17" in refused(capsys, out, "--channel", 17)
    assert "expected one" in refused(capsys, "synth", "--send-clock", "--follow", "x")
    assert "--simulate needs --bars" in refused(capsys, out, "--simulate")
    assert "expected a file" in refused(capsys, "synth", "--simulate", "--bars", 1)
    assert "swing is 0.3" in refused(capsys, out, "--swing", 0.3, "--bars", 1)
    assert "no voice 'gong'" in refused(capsys, out, "--bias", "gong", 1, "--bars", 1)
    assert not out.exists()


def test_a_primer_is_not_played_over(capsys, tmp_path):
    song = tmp_path / "song.mid"
    hypermeter.write_midi(hypermeter.Groove(np.eye(16, 10)), song)
    before = song.read_bytes()
    message = refused(capsys, song, "--primer", song, "--bars", 1, "--simulate")
    assert "song.mid: one of the files that are read" in message
    assert song.read_bytes() == before


def test_the_command_plays_into_a_file_in_simulated_time(capsys, tmp_path):
    out = tmp_path / "out.mid"
    arguments = ["--bars", "4", "--simulate", "--style", "funk", "--seed", "6"]
    assert cli.main(["play", str(out), *arguments]) == 0
    printed = capsys.readouterr().out
    assert "notes in 4 bars" in printed and "0 left out" in printed and "latency of notes" in printed
    groove = hypermeter.read_midi(out, options=ReadOptions(shift="keep"))
    written = continue_groove(load_player("groove"), None, 4, SamplingOptions(seed=6), plan=PlanOptions(style="funk"))
    assert np.array_equal(groove.hits, written.hits) and written.hits.sum() > 20
    assert np.abs(groove.velocity - written.velocity).max() < 1 / 127
    assert np.abs(groove.offset - written.offset).max() < 1 / 120  # ticks of a step


def test_every_note_of_a_file_is_on_the_channel_of_the_options(tmp_path, capsys):
    ten, three = tmp_path / "ten.mid", tmp_path / "three.mid"
    for out, options in ((ten, []), (three, ["--channel", "3"])):
        assert cli.main(["play", str(out), "--bars", "2", "--simulate", "--seed", "4", *options]) == 0
    notes = {}
    for out in (ten, three):
        (track,) = mido.MidiFile(out).tracks
        messages = [message for message in track if not message.is_meta]
        notes[out] = [(message.type, message.time, message.note, message.velocity) for message in messages]
        assert {message.channel for message in messages} == {2 if out == three else 9} and len(messages) > 20
    assert notes[ten] == notes[three]


def test_a_start_that_fails_leaves_the_file_that_is_there(capsys, tmp_path):
    out = tmp_path / "take.mid"
    out.write_bytes(b"the best take")
    assert "cannot be opened" in refused(capsys, out, "--bars", 1, "--simulate", "--osc", 99999)
    assert out.read_bytes() == b"the best take"


def test_if_sampling_fails_the_file_has_what_was_played_at_its_place(capsys, tmp_path, monkeypatch):
    class Broken(Steady):
        def __init__(self, player, following):
            pass

        def begin(self, primer, tempo_bpm):
            return 0

        def sample(self, state, steps, settings, row=None, tempo_bpm=120.0):
            if state == 48:
                raise HypermeterError("broken")
            part, after = super().sample(state, steps, settings, row, tempo_bpm)
            part.hits[:4] = 0
            return part, after

    monkeypatch.setattr("hypermeter.share.live.Sampler", Broken)
    out = tmp_path / "out.mid"
    assert "broken" in refused(capsys, out, "--bars", 4, "--simulate")
    midi = mido.MidiFile(out)
    events, now = [], 0
    for message in midi.tracks[-1]:
        now += message.time
        events += [now] * (message.type == "note_on" and message.velocity > 0)
    assert events[0] == pytest.approx(3.6 * midi.ticks_per_beat / 4, abs=1)


@pytest.mark.slow
def test_ctrl_c_ends_the_command_and_keeps_what_was_played(tmp_path):
    out = tmp_path / "out.mid"
    command = [sys.executable, "-m", "hypermeter.cli", "play", str(out), "--osc", "0"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a job in the background may ignore it
    ) as playing:
        try:
            assert "OSC on 127.0.0.1:" in playing.stderr.readline()
            time.sleep(4)
            playing.send_signal(signal.SIGINT)
            printed, err = playing.communicate(timeout=60)
        finally:
            playing.kill()
    assert playing.returncode == 0 and not err and "jitter" in printed
    assert hypermeter.read_midi(out).hits.sum() > 5
