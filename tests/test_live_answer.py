"""Drums that answer what is played on an input, in simulated time: when, how, and the same again."""

import math
import threading
import time
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from hypermeter.core.grid import Grid
from hypermeter.core.swing import apply_swing
from hypermeter.play.follow import loud_voices
from hypermeter.play.loading import kit_of, load_player
from hypermeter.play.plan import Plan, make_plan
from hypermeter.play.request import FollowOptions, PlanOptions, SamplingOptions
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
from hypermeter.share.live.answering import MAX_OWED, Reply
from hypermeter.share.live.asking import status_line
from hypermeter.share.live.engine import CLOCK, CONTINUE, LEAD_IN_S, SONG_POSITION, START
from hypermeter.share.live.hearing import (
    BATCH,
    INPUT_TICKS_PER_QUARTER,
    MAX_WAITING,
    Ear,
    Heard,
    _without_swing,
    part_steps,
)
from hypermeter.share.live.input_file import read_input, write_input
from live_parts import GRID, Memory, Steady, engine_of

STEP_S = 60 / 120 / 4
FOLLOW, ROOM = LiveSettings(answer="follow", guidance=0.0), LiveSettings(answer="complement", guidance=0.0)


def note(velocity, pitch=60, channel=0):
    return (0x90 | channel, pitch, velocity)


class Echo(Steady):
    """A sampler that plays a kick, as loud as the tap, at every step that answers one; and keeps what it heard."""

    def __init__(self):
        self.heard = {}

    def sample(self, state, steps, settings, row=None, tempo_bpm=120.0, heard=None):
        hits, velocity = np.zeros((steps, 10), np.uint8), np.zeros((steps, 10), np.float32)
        hits[:, 0], velocity[:, 0] = heard.strength > 0, heard.strength
        for number in range(steps):
            self.heard[state + number] = heard.strength[number], heard.energy[number], bool(heard.is_played[number])
        return Passage(hits, velocity, np.zeros((steps, 10), np.float32)), state + steps


def listening(clock, sink, ahead=4, tempo=None, ear=None, **options):
    tempo = tempo or OwnTempo(120.0, 4)
    ear = ear or Ear(GRID, ahead)
    options = {"sampler": Echo(), "settings": FOLLOW} | options
    return engine_of(clock, sink, tempo, ahead_steps=ahead, ear=ear, **options)


def begun(cost_s):
    """When the first beat sounds: two parts are sampled before it."""
    return 2 * cost_s + LEAD_IN_S


# ---------------------------------------------------------------------- when


@pytest.mark.parametrize(("ahead", "cost_s"), [(4, 0.01), (4, 0.42), (1, 0.005), (1, 0.06)])
def test_every_tap_is_heard_a_bar_later_at_its_place_however_long_sampling_takes(ahead, cost_s):
    """The greatest costs leave a part just ready half a step before it begins; late would be a wrong number."""
    random = np.random.default_rng(1)
    steps = np.flatnonzero(random.random(40 * 16) < 0.3)
    lateness = random.uniform(-0.2, 0.2, len(steps)) * (steps > 0)  # of a step; too little for another one
    sink, clock = Memory(), SimulatedClock(cost_s)
    engine = listening(clock, sink, ahead, num_bars=42)
    for number, step in enumerate(steps):
        clock.at(
            begun(cost_s) + STEP_S * (step + lateness[number]),
            lambda number=number: engine.hear(note(1 + number % 127)),
        )
    timing = engine.run()
    expected = [(engine.begun_s + STEP_S * (step + 16), 1 + number % 127) for number, step in enumerate(steps)]
    assert engine.begun_s == pytest.approx(begun(cost_s)) and engine.ear.notes == len(steps) > 150
    assert [velocity for _, _, velocity in sink.notes] == [velocity for _, velocity in expected]
    assert sink.times() == pytest.approx([when for when, _ in expected], abs=1e-9)
    assert timing.late == timing.dropped == 0 and min([*timing.headroom][2:]) > 0


@pytest.mark.parametrize("place", [0.0, 0.3, 0.5, 0.999])
def test_a_step_ahead_a_tap_tilts_what_sounds_at_most_two_steps_after_it(place):
    clock = SimulatedClock(0.05)
    engine = listening(clock, Memory(), 1, num_bars=4)
    clock.at(begun(0.05) + STEP_S * (20 + place), lambda: engine.hear(note(100)))
    engine.run()
    first = min(step for step, (_, energy, _) in engine.sampler.heard.items() if energy > 0)
    assert 20 + place < first <= 20 + place + 2 + 1e-3
    energies = [engine.sampler.heard[step][1] for step in range(first, 60)]
    assert 0.2 < energies[0] <= 1 and min(energies) < 0  # it ebbs, and a pause is less than what was played of late


def test_a_beat_ahead_nothing_but_the_bar_before_counts():
    clock = SimulatedClock(0.05)
    engine = listening(clock, Memory(), 4, num_bars=4)
    clock.at(3.0, lambda: engine.hear(note(100)))
    engine.run()
    assert not any(energy for _, energy, _ in engine.sampler.heard.values())


@pytest.mark.parametrize(
    ("metre", "ahead", "part", "lag"),
    [
        ("4/4", "bar", 4, 16),
        ("4/4", "step", 1, 16),
        ("7/8", "bar", 2, 14),
        ("6/8", "bar", 2, 12),
        ("2/4", "bar", 4, 8),
        ("1/4", "bar", 1, 4),
    ],
)
def test_a_part_is_short_enough_to_be_sampled_after_what_it_answers(metre, ahead, part, lag):
    beats, unit = map(int, metre.split("/"))
    grid = Grid(steps_per_beat=16 // unit, beats_per_bar=beats, beat_unit=unit)
    assert part_steps(grid, ahead) == part and Ear(grid, part).lag_steps == lag


def test_a_followed_clock_gives_the_places_of_taps_and_a_jump_forgets_them():
    sink, clock = Memory(), SimulatedClock(0.05)
    engine = listening(clock, sink, 4, FollowedTempo(120.0, 4))
    tick_s = 60 / 120 / 24
    clock.at(1.0, lambda: engine.receive((START,)))
    for tick in range(96 * 4):
        clock.at(1.01 + tick * tick_s, lambda: engine.receive((CLOCK,)))
    for step in (3, 6, 27, 30):  # two in bar 1, two in bar 2
        clock.at(1.01 + step * 6 * tick_s + 0.01, lambda: engine.hear(note(90)))
    line = 1.009 + 2 * 96 * tick_s  # at the end of bar 2 the master jumps to bar 9
    clock.at(line, lambda: engine.receive((SONG_POSITION, 0, 1)))
    clock.at(line, lambda: engine.receive((CONTINUE,)))
    clock.at(1.01 + 96 * 4 * tick_s - 0.06, engine.end)
    engine.run()
    assert sink.times() == pytest.approx([1.01 + step * 6 * tick_s for step in (19, 22)], abs=0.01)


def test_taps_before_the_first_beat_and_messages_of_other_kinds_are_not_heard():
    clock = SimulatedClock(0.05)
    engine = listening(clock, Memory(), 4, num_bars=3)
    for when, message in (
        (0.01, note(90)),  # nothing plays yet
        (0.15, note(90)),  # more than half a step before the first beat
        (1.0, (0x90, 60, 0)),  # the end of a note
        (1.0, (0x80, 60, 64)),
        (1.0, (0xB0, 64, 127)),  # no map
        (1.0, (0xF8,)),
        (1.0, (0xF0, 1, 2, 0xF7)),
    ):
        clock.at(when, lambda message=message: engine.hear(message))
    engine.run()
    assert engine.ear.notes == 0


# ---------------------------------------------------------------------- floods, notes that stick


def test_of_a_flood_what_can_be_taken_waits_and_the_rest_is_counted():
    ear = Ear(GRID, 4)
    for number in range(10_000):
        ear.put(1.0, note(1 + number % 127))
    assert ear.lost == 10_000 - MAX_WAITING and ear.is_behind
    tempo = OwnTempo(120.0, 4)
    tempo.start(0.0)
    ear.take(1.0, tempo, 0.5, lambda *_: None)
    assert ear.notes == BATCH  # between two looks at the notes that are due
    for _ in range(MAX_WAITING // BATCH - 1):
        ear.take(1.0, tempo, 0.5, lambda *_: None)
    assert not ear.is_behind and ear.notes == MAX_WAITING
    assert ear.lines() == [f"heard {MAX_WAITING} notes; {ear.lost} messages came too fast and were left out"]


def test_ten_thousand_notes_leave_no_more_behind_than_a_few():
    ear, tempo = Ear(GRID, 1), OwnTempo(120.0, 4)
    tempo.start(0.0)
    for number in range(10_000):  # over 625 bars
        ear.put(number * STEP_S, note(1 + number % 127))
        ear.take(number * STEP_S, tempo, 0.5, lambda *_: None)
    kept = len(ear._taps) + len(ear._recent) + len(ear._lateness) + len(ear._strengths) + len(ear._inbox)
    assert ear.notes == 10_000 and kept < 300 and not ear.recorded


def test_a_flood_in_real_time_delays_no_note():
    """Loosely, as the machine is shared: without bounds the flood alone takes a hundred milliseconds at once."""
    sink = Memory()
    engine = listening(RealClock(), sink, 4, OwnTempo(200.0, 4), num_bars=4)
    stop = threading.Event()

    def flood():
        for number in range(10_000):
            if stop.is_set():
                return
            engine.hear(note(1 + number % 127))
            if number % 50 == 0:
                time.sleep(0.0005)

    thread = threading.Timer(0.5, flood)
    thread.start()
    try:
        timing = engine.run()
    finally:
        stop.set()
        thread.join(10)
    assert engine.ear.notes + engine.ear.lost >= 5_000 and timing.notes > 0
    assert np.median(timing.lateness) < 0.05


def test_notes_that_never_end_are_heard_like_others_and_no_drum_is_stuck():
    sent = []
    for ends in (True, False):
        sink, clock = Memory(), SimulatedClock(0.02)
        engine = listening(clock, sink, 4, num_bars=6)
        for number in range(30):
            when = begun(0.02) + 0.25 * number
            clock.at(when + 0.01, partial(engine.hear, note(60 + number, number)))
            if ends:
                clock.at(when + 0.1, partial(engine.hear, (0x80, number, 0)))
        engine.run()
        sent.append(sink.sent)
        starts, stops = len(sink.kind(0x90)), len(sink.kind(0x80))
        assert starts == stops == 30
    assert sent[0] == sent[1]


# ---------------------------------------------------------------------- what is heard of taps


def ear_of(*taps, ahead=4, swing=0.5):
    """An ear that heard taps: position in steps, and velocity in [0, 127]."""
    ear, tempo = Ear(GRID, ahead), OwnTempo(120.0, 4)
    tempo.start(0.0)
    for position, velocity in taps:
        ear.put(position * STEP_S, note(velocity))
        ear.take(position * STEP_S, tempo, swing, lambda *_: None)
    return ear


def test_of_several_notes_on_a_step_the_loudest_counts():
    heard = ear_of((4.0, 50), (4.2, 90), (4.3, 70), (6.1, 30)).heard(16, 16)
    assert np.flatnonzero(heard.strength).tolist() == [4, 6]
    assert heard.strength[[4, 6]] == pytest.approx([90 / 127, 30 / 127])
    assert heard.velocity[4] == heard.strength[4] and heard.offset[4] == pytest.approx(0.2, abs=1e-3)
    assert np.isnan(heard.velocity[5]) and np.isnan(heard.offset[5])
    assert np.flatnonzero(heard.is_played).tolist() == list(range(4, 16))


def test_velocities_that_are_the_same_and_offsets_on_the_grid_tell_nothing():
    heard = ear_of((0.0, 64), (4.0, 64), (8.0, 64)).heard(16, 16)
    assert np.isnan(heard.velocity).all() and np.isnan(heard.offset).all()
    assert heard.strength[[0, 4, 8]] == pytest.approx([64 / 127] * 3)


def test_a_steady_lateness_is_no_feel_and_moves_no_tap_to_another_step():
    """From speakers to ears to hands it takes a while; answered as it is, drums and player would come ever later."""
    random = np.random.default_rng(0)
    late = [2.0 * number + 0.3 + float(random.normal(0, 0.1)) for number in range(48)]
    ear = ear_of(*((position, 40 + number) for number, position in enumerate(late)))
    heard = ear.heard(96, 16)
    assert np.flatnonzero(heard.strength).tolist() == list(range(0, 16, 2))
    assert abs(np.nanmean(heard.offset)) < 0.12 and np.nanstd(heard.offset) > 0.03  # what is left is his own


def test_with_swing_a_tap_counts_for_the_place_that_it_swings_to():
    for pair in (2, 4):
        for swing in (0.5, 0.6, 2 / 3, 0.8):
            places = np.linspace(0, 12, 97)
            back = [_without_swing(float(place), swing, pair) for place in apply_swing(places, swing, pair)]
            assert back == pytest.approx(places)
    heard = ear_of((3.55, 100), (4.5, 90), swing=0.8).heard(16, 16)  # the second of a pair at 1.6 of 2
    assert np.flatnonzero(heard.strength).tolist() == [3, 4] and heard.offset[3] == pytest.approx(-0.031, abs=1e-3)


# ---------------------------------------------------------------------- how it is answered


@pytest.fixture(scope="module")
def player():
    return load_player("groove")


PATTERN = [0, 3, 6, 10, 12]


def heard_of(start, steps, strength=0.8, pattern=PATTERN, energy=0.0, offset=math.nan):
    at = np.isin(np.arange(start, start + steps) % 16, pattern)
    known = np.where(at, strength, np.nan)
    return Heard(
        np.where(at, strength, 0.0),
        known,
        np.where(at, offset, np.nan),
        np.full(steps, len(pattern) > 0),
        np.full(steps, energy),
    )


def played(player, settings, bars=4, steps=4, following=FollowOptions(between="free"), hear=heard_of, row=None):
    sampler, row = Sampler(player, following), row or make_plan(player.labels, 1, style="rock", tempo_bpm=120.0)
    state, parts = sampler.begin(), []
    for start in range(0, bars * 16, steps):
        part, state = sampler.sample(state, steps, settings, row, 120.0, hear(start, steps))
        parts.append(part)
    return Passage.joined(parts), state


def loud(player):
    return loud_voices(kit_of(player))


def test_at_every_tap_a_loud_voice_sounds_and_the_loudest_has_its_velocity_and_timing(player):
    music, _ = played(player, FOLLOW, hear=lambda *place: heard_of(*place, strength=0.6, offset=0.25))
    at = np.isin(np.arange(64) % 16, PATTERN)
    assert music.hits[at][:, loud(player)].any(1).all()
    velocity, offset = music.velocity[at][:, loud(player)], music.offset[at][:, loud(player)]
    assert velocity.max(1) == pytest.approx(np.full(at.sum(), 0.6))
    assert (np.isclose(velocity, 0.6) & (offset == 0.25)).any(1).all()
    assert (np.ptp(music.velocity[~at][music.hits[~at] > 0]) > 0.3) and music.hits[~at].any()


def test_the_first_step_is_not_played_early(player):
    music, _ = played(player, FOLLOW, 1, hear=lambda *place: heard_of(*place, offset=-0.4))
    assert (music.offset[0] >= 0).all() and music.offset.min() == pytest.approx(-0.4)


@pytest.mark.parametrize("settings", [FOLLOW, ROOM, replace(FOLLOW, answer="off"), replace(FOLLOW, guidance=1.0)])
def test_where_nothing_is_played_the_music_is_that_without_an_input(player, settings):
    music, _ = played(player, settings, hear=lambda *place: heard_of(*place, pattern=[]))
    free, _ = played(player, settings, hear=lambda *place: None)
    assert all(np.array_equal(getattr(music, name), getattr(free, name)) for name in ("hits", "velocity", "offset"))
    assert free.hits.sum() > 30


@pytest.mark.parametrize("settings", [FOLLOW, ROOM, replace(ROOM, guidance=1.0, temperature=0.9)])
def test_parts_of_a_beat_and_of_a_step_answer_alike(player, settings):
    beats, steps = (played(player, settings, steps=size)[0] for size in (4, 1))
    assert all(np.array_equal(getattr(beats, name), getattr(steps, name)) for name in ("hits", "velocity", "offset"))


def test_between_taps_the_voices_are_silent_if_so_asked_and_the_others_are_not(player):
    at = np.isin(np.arange(8 * 16) % 16, PATTERN)
    others, others_sound = [voice for voice in range(10) if voice not in loud(player)], []
    for seed in range(4):
        music, _ = played(player, replace(FOLLOW, seed=seed), 8, following=FollowOptions(between="silent"))
        assert not music.hits[~at][:, loud(player)].any()
        others_sound.append(music.hits[~at][:, others].any())
    assert sum(others_sound) >= 2

    def stopped(start, steps):
        return replace(heard_of(start, steps, pattern=[]), is_played=np.zeros(steps, bool))

    resting, _ = played(player, FOLLOW, following=FollowOptions(between="silent"), hear=stopped)
    free, _ = played(player, FOLLOW, hear=lambda *place: None)
    assert np.array_equal(resting.hits, free.hits)  # who does not play at all asks for nothing


def test_voices_that_answer_are_those_of_the_options(player):
    music, _ = played(player, FOLLOW, following=FollowOptions(("ride",), between="free"))
    ride = kit_of(player).names.index("ride")
    assert music.hits[np.isin(np.arange(64) % 16, PATTERN), ride].all()


def test_room_is_left_where_somebody_plays_the_pulse_goes_on_and_the_drums_stay_as_dense(player):
    """Over seeds: hits of loud voices at taps fall to less than half, and in all by less than a fifth."""
    at = np.isin(np.arange(8 * 16) % 16, PATTERN)
    counts = {name: np.zeros(3) for name in ("free", "room")}
    for seed in range(6):
        for name, settings in (("free", replace(ROOM, answer="off")), ("room", ROOM)):
            hits = played(player, replace(settings, seed=seed), 8)[0].hits
            few = hits[:, loud(player)]
            counts[name] += few[at].sum(), few.sum(), np.delete(hits, loud(player), 1)[at].sum()
    free, room = counts["free"], counts["room"]
    assert 0 < room[0] < free[0] / 2
    assert 0.8 * free[1] < room[1] < 1.2 * free[1]
    assert room[2] > 0.7 * free[2]  # hats and cymbals at taps


def test_following_adds_hits_at_taps_and_the_drums_stay_as_dense(player):
    at = np.isin(np.arange(8 * 16) % 16, PATTERN)
    counts = {name: np.zeros(2) for name in ("free", "follow")}
    for seed in range(6):
        for name, settings in (("free", replace(FOLLOW, answer="off")), ("follow", FOLLOW)):
            few = played(player, replace(settings, seed=seed), 8)[0].hits[:, loud(player)]
            counts[name] += few[at].sum(), few.sum()
    assert counts["follow"][0] > 1.3 * counts["free"][0]
    assert 0.8 * counts["free"][1] < counts["follow"][1] < 1.2 * counts["free"][1]


def test_energy_raises_the_voices_that_follow_and_lowers_those_that_leave_room_and_is_owed(player):
    rules, state = player.rules(SamplingOptions()), player.initial_state(120.0).state
    plain = float(state.dist.probs[0, loud(player)].sum())
    for mode, sign in (("follow", 1), ("complement", -1)):
        for energy in (-0.8, 0.8):
            heard = heard_of(0, 4, pattern=[], energy=energy)
            reply = Reply(player, heard, mode, FollowOptions(between="free"), 0, 0.0)
            tilted = reply.tilt(0, rules, state)
            expected = float(state.dist.tilt(tilted.bias).probs[0, loud(player)].sum())
            assert (expected - plain) * energy * sign > 0.05
            assert reply.owed == pytest.approx(plain - expected)


def test_what_is_owed_is_bounded_and_paid_back_after_the_taps(player):
    everywhere = list(range(16))
    _, state = played(player, ROOM, 4, hear=lambda *place: heard_of(*place, strength=1.0, pattern=everywhere))
    assert 2 < state.owed <= MAX_OWED
    sampler = Sampler(player)
    for start in range(64, 96, 4):
        _, state = sampler.sample(state, 4, ROOM, Plan.free(1), 120.0, heard_of(start, 4, pattern=[]))
    assert abs(state.owed) < 1.5


# ---------------------------------------------------------------------- while it plays, and again


def test_a_control_changes_how_it_is_answered_while_it_plays(player):
    lines, clock, sink = [], SimulatedClock(0.01), Memory()
    sampler = Sampler(player, FollowOptions(between="silent"))
    rock = LiveConditions.of(player, PlanOptions(style="rock"), 8, 120.0)
    options = {"sampler": sampler, "first": sampler.begin(), "conditions": rock}
    engine = listening(clock, sink, 4, num_bars=8, report=lines.append, **options)
    for bar in range(8):
        clock.at(begun(0.01) + 2 * bar + 0.5, lambda: engine.hear(note(100)))
    clock.at(begun(0.01) + 8.0, lambda: engine.control("/answer/off", 1))
    clock.at(begun(0.01) + 9.0, lambda: engine.control("/answer", "louder"))
    engine.run()
    pitches = {kit_of(player).voices[voice].write for voice in loud(player)}
    bars = [int((when - begun(0.01) + 0.06) / 2) for when, pitch, _ in sink.notes if pitch in pitches]
    answered, free = ([bars.count(bar) for bar in range(first, first + 3)] for first in (1, 5))
    assert max(answered) <= 4 and sum(free) > 8 and sum(free) > sum(answered)
    assert lines == ["answer: 'louder', expected follow, complement or off"]
    assert "answer off (8 notes)" in status_line(engine)


def test_without_an_input_an_answer_is_refused_in_a_line():
    lines, clock = [], SimulatedClock(0.01)
    engine = engine_of(clock, Memory(), num_bars=1, report=lines.append)
    clock.at(0.5, lambda: engine.control("/answer", "follow"))
    engine.run()
    assert lines == ["answer: nothing is listened to; start with --listen PORT"] and "answer" not in status_line(engine)


def music_of(player, ahead, cost_s, source=(), taps=(), is_recording=False, settings=FOLLOW):
    """Return the notes of eight bars after a first beat at 0, and the ear."""
    sampler, sink, clock = Sampler(player, FollowOptions(between="free")), Memory(), SimulatedClock(cost_s)
    ear = Ear(GRID, ahead, source=source, is_recording=is_recording)
    conditions = LiveConditions(player.labels, Plan.free(1))
    options = {"sampler": sampler, "first": sampler.begin(), "conditions": conditions, "settings": settings}
    engine = listening(clock, sink, ahead, ear=ear, num_bars=8, **options)
    for when, message in taps:
        clock.at(begun(cost_s) + when, lambda message=message: engine.hear(message))
    engine.run()
    return [(round(when - engine.begun_s, 9), *rest) for when, *rest in sink.notes], ear


@pytest.mark.parametrize("settings", [FOLLOW, ROOM], ids=["follow", "complement"])
@pytest.mark.parametrize("ahead", [4, 1])
def test_the_same_seed_and_recorded_input_give_the_same_music_however_long_sampling_takes(
    player, tmp_path, ahead, settings
):
    random = np.random.default_rng(ahead)
    taps = [(float(when), note(int(random.integers(30, 127)))) for when in np.sort(random.uniform(0, 15, 70))]
    taps.append((3.21, (0xB0, 64, 127)))  # mapped to nothing: recorded all the same
    live, ear = music_of(player, ahead, 0.013, taps=taps, is_recording=True, settings=settings)
    write_input(tmp_path / "in.mid", ear.recorded, GRID, 120.0)
    source = read_input(tmp_path / "in.mid")
    assert source == ear.recorded and len(source) == 71
    again, heard = music_of(player, ahead, 0.05, source, settings=settings)
    assert again == live and len(live) > 40 and heard.notes == 70
    other, _ = music_of(player, ahead, 0.05, source[::2], settings=settings)
    assert other != live


def test_input_at_the_moment_of_a_request_counts_the_same_played_and_recorded(player):
    """A tap on the very step at which a later one is sampled, by ticks: no rounding decides."""
    ticks = INPUT_TICKS_PER_QUARTER // 4
    taps = [(step * STEP_S, note(60 + step)) for step in range(0, 60, 3)]
    live, ear = music_of(player, 1, 0.02, taps=taps, is_recording=True)
    assert [at for at, _ in ear.recorded] == [step * ticks for step in range(0, 60, 3)]
    assert music_of(player, 1, 0.02, ear.recorded)[0] == live
