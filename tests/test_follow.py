"""Drums that follow taps: the answer of each tap, touch as evidence against all pieces, causality, files, errors."""

import math
import re
from itertools import product

import numpy as np
import pytest

from hypermeter.cli import main
from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.core.groove import Groove
from hypermeter.core.kit import load_kit
from hypermeter.core.parts import Parts
from hypermeter.core.read_options import ReadOptions
from hypermeter.io.midi import read_midi
from hypermeter.io.midi.taps import TAPS, Part, choose_part, read_taps
from hypermeter.model.hierarchical import HierarchicalDrumModel
from hypermeter.play.arithmetic import logsumexp
from hypermeter.play.expressing import OFFSET, VELOCITY
from hypermeter.play.follow import follow_groove, lock_taps, loud_voices
from hypermeter.play.infill import infill
from hypermeter.play.listening import Listener, Taps, _log_loudest
from hypermeter.play.loading import load_player
from hypermeter.play.locks import Locks
from hypermeter.play.request import FollowOptions, InfillOptions, PlanOptions, SamplingOptions
from test_infill import shares_of, toy

EXPRESSIVE = toy(use_expression=True)
PAIRS = np.array(list(product([0, 1], repeat=4)), np.uint8).reshape(-1, 2, 2)
"""All pieces of two steps and two voices."""
FEW = InfillOptions(8)


def taps_of(is_tap, velocity=None, offset=None):
    is_tap = np.asarray(is_tap, bool)
    values = [np.full(len(is_tap), np.nan) if told is None else np.asarray(told, float) for told in (velocity, offset)]
    return Taps(is_tap, *values)


def listener(player, taps, particles=16, seed=0, answer=None):
    voices = player.num_drums
    unknown = np.full((len(taps.is_tap), voices), np.nan)
    answer = np.ones(voices, bool) if answer is None else answer
    return Listener(player.network.expression, particles, 120.0, seed, taps, answer, (unknown, unknown))


# ---------------------------------------------------------------------- touch


def test_the_probabilities_of_all_taps_sum_to_one():
    """Over all velocities and offsets that there are, for each set of hits that may answer."""
    state = EXPRESSIVE.start(4)
    hits = np.array([[1, 0], [0, 1], [1, 1], [1, 1]], np.uint8)
    expression = EXPRESSIVE.network.expression
    dist, _ = expression.predict(state.features, hits, np.full(4, 120, np.float32), expression.start(4), 0)
    may_be = hits > 0
    may_be[3, 0] = False
    log_probs = [
        logsumexp(dist.log_weights + logsumexp(_log_loudest(dist, may_be, velocity, math.nan)))
        for velocity in VELOCITY.centre(np.arange(VELOCITY.count))
    ]
    np.testing.assert_allclose(np.exp(log_probs).sum(0), 1, atol=1e-9)
    log_probs = [
        logsumexp(dist.log_weights + logsumexp(_log_loudest(dist, may_be, math.nan, offset)))
        for offset in OFFSET.centre(np.arange(OFFSET.count))
    ]
    np.testing.assert_allclose(np.exp(log_probs).sum(0), 1, atol=1e-9)


def test_what_follows_a_touch_is_the_posterior_of_all_pieces_and_the_evidence_is_unbiased():
    """p(hits) p(tap | hits) of each piece, where the first step has a tap of some velocity and offset."""
    taps = taps_of([True, False], [0.9, np.nan], [0.1, np.nan])
    log_probs, touch = EXPRESSIVE.log_prob(PAIRS).sum(-1), np.full(16, -np.inf)
    expression, has = EXPRESSIVE.network.expression, PAIRS[:, 0].any(-1)
    first = PAIRS[has, 0]
    tempo, features = np.full(len(first), 120, np.float32), EXPRESSIVE.start(len(first)).features
    dist, _ = expression.predict(features, first, tempo, expression.start(len(first)), 0)
    touch[has] = logsumexp(dist.log_weights + logsumexp(_log_loudest(dist, first > 0, 0.9, 0.1)))
    wanted, without = shares_of(log_probs + touch), shares_of(np.where(has, log_probs, -np.inf))
    assert np.abs(wanted - without).max() > 0.01  # the touch tells something
    some = np.array([[True, True], [False, False]])
    locks = Locks(some & False, np.zeros((2, 2)), some)
    done = [
        infill(
            EXPRESSIVE,
            locks,
            sampling=SamplingOptions(seed=seed),
            infilling=InfillOptions(16),
            listener=listener(EXPRESSIVE, taps, seed=seed),
        )
        for seed in range(400)
    ]
    counts = np.array([[np.array_equal(made.hits, piece) for piece in PAIRS] for made in done]).mean(0)
    assert (np.abs(counts - wanted) <= 4.5 * np.sqrt(wanted * (1 - wanted) / 400) + 2 / 400).all()
    estimates, evidence = np.exp([made.log_evidence for made in done]), np.exp((log_probs + touch)[has]).sum()
    assert abs(estimates.mean() - evidence) < 4.5 * estimates.std() / math.sqrt(400)
    for made in done[:40]:
        loudest = made.velocity[0].argmax()
        assert made.velocity[0, loudest] == np.float32(0.9) and made.offset[0, loudest] == np.float32(0.1)
        assert ((made.velocity > 0) == (made.hits > 0)).all() and (made.velocity[0] <= np.float32(0.91)).all()


def rhythm(steps=12, seed=0):
    random = np.random.default_rng(seed)
    is_tap = random.random(steps) < 0.5
    is_tap[0] = True
    return taps_of(
        is_tap,
        np.where(is_tap, random.uniform(0.2, 1, steps), np.nan),
        np.where(is_tap, random.normal(0, 0.1, steps), np.nan),
    )


def locked(taps):
    some = np.repeat(taps.is_tap[:, None], 2, 1)
    return Locks(~some, np.zeros(some.shape), some)


def test_one_particle_follows_without_looking_ahead():
    whole, start = rhythm(), rhythm(seed=1)
    mixed = Taps(
        *(
            np.concatenate([getattr(one, name)[:6] for one in (whole,)] + [getattr(start, name)[6:]])
            for name in ("is_tap", "velocity", "offset")
        )
    )
    made = [
        infill(EXPRESSIVE, locked(taps), infilling=InfillOptions(1), listener=listener(EXPRESSIVE, taps, 1))
        for taps in (whole, mixed)
    ]
    for name in ("hits", "velocity", "offset"):
        first, second = (getattr(one, name) for one in made)
        assert np.array_equal(first[:6], second[:6])
    assert not np.array_equal(made[0].hits, made[1].hits)


def test_a_later_tap_weighs_on_earlier_steps_by_its_particles_alone():
    """Each particle is drawn without it: the evidence of a prefix is that of the taps of the prefix."""
    taps = rhythm(8)
    short = Taps(taps.is_tap[:5], taps.velocity[:5], taps.offset[:5])
    state = EXPRESSIVE.start(4)
    heard = [listener(EXPRESSIVE, one, 4) for one in (taps, short)]
    for one in heard:
        one.select(np.zeros(4, int))
    hits = np.random.default_rng(0).integers(0, 2, (5, 4, 2)).astype(np.uint8)
    for step, x in enumerate(hits):
        first, second = (one.hear(state.features, x, step) for one in heard)
        assert np.array_equal(first, second)
        state = EXPRESSIVE.advance(x, state)


def test_velocities_that_are_all_the_same_and_offsets_of_zero_are_unknown():
    hits = np.eye(8, 1, dtype=np.uint8) + np.eye(8, 1, -4, dtype=np.uint8)
    flat = Taps.of(Groove(hits, 0.8 * hits, 0 * hits))
    assert flat.is_tap.sum() == 2 and np.isnan(flat.velocity).all() and np.isnan(flat.offset).all()
    played = Taps.of(Groove(hits, hits * np.linspace(1, 0.2, 8)[:, None], 0.1 * hits))
    assert np.array_equal(~np.isnan(played.velocity), played.is_tap) and np.nanmax(played.offset) == pytest.approx(0.1)
    two = Groove(np.ones((2, 2)), np.array([[0.3, 0.6], [0.9, 0.5]]), np.array([[0.1, 0.2], [0.3, 0.4]]))
    assert Taps.of(two).velocity == pytest.approx([0.6, 0.9]) and Taps.of(two).offset == pytest.approx([0.2, 0.3])


# ---------------------------------------------------------------------- answers


KIT = load_kit("gm10")
LOUD = loud_voices(KIT)


def test_the_loud_voices_are_kick_snare_toms_and_crash():
    assert [KIT.names[column] for column in LOUD] == ["kick", "snare", "low_tom", "mid_tom", "high_tom", "crash"]


def test_locks_of_taps_are_a_set_at_each_and_silence_between():
    taps = taps_of([True, False, True], [0.95, np.nan, 0.3])
    locks = lock_taps(taps, KIT, 10, FollowOptions())
    assert locks.some is not None
    assert np.flatnonzero(locks.some[0, 0]).tolist() == LOUD == np.flatnonzero(locks.known[0, 1]).tolist()
    assert not locks.known[0, [0, 2]].any()
    every = lock_taps(taps, KIT, 10, FollowOptions(["all"], "free"))
    assert every.some is not None and not every.known.any()
    assert np.flatnonzero(every.some[0, 0]).tolist() == LOUD and every.some[0, 2].all()  # the first is an accent
    hats = lock_taps(taps, KIT, 12, FollowOptions(["closed_hat", "ride"]))
    assert hats.some is not None and np.flatnonzero(hats.some[0, 0]).tolist() == [2, 9]


def test_what_stays_comes_before_what_the_taps_ask():
    known, values = np.zeros((2, 10), bool), np.zeros((2, 10), np.uint8)
    known[:, LOUD], values[1, 0] = True, 1
    locks = lock_taps(taps_of([True, False]), KIT, 10, FollowOptions(), Locks(known, values))
    assert locks.some is None and locks.values[0, 1, 0] == 1


@pytest.fixture(scope="module")
def player():
    return load_player("groove")


def tapped(steps=32, places=(0, 6, 8, 14, 16, 22, 24), velocity=(1.0, 0.5, 0.8), offset=0.05):
    hits = np.zeros((steps, 1), np.uint8)
    hits[list(places)] = 1
    loud = np.resize(velocity, len(places))
    values = np.zeros((2, steps, 1))
    values[0, list(places), 0], values[1, list(places), 0] = loud, offset
    return Groove(hits, *values, 100.0, TAPS)


def test_drums_sound_where_the_taps_are_with_their_touch(player):
    taps = tapped()
    groove, done = follow_groove(player, taps, SamplingOptions(seed=1), infilling=FEW)
    is_tap = taps.hits[:, 0] > 0
    assert np.array_equal(groove.hits[:, LOUD].any(1), is_tap)
    answers = np.where(groove.hits > 0, groove.velocity, 0)[:, LOUD]
    np.testing.assert_allclose(answers.max(1)[is_tap], taps.velocity[is_tap, 0], atol=1e-6)
    loudest = np.array(LOUD)[answers.argmax(1)]
    np.testing.assert_allclose(groove.offset[np.arange(32), loudest][is_tap], 0.05, atol=1e-6)
    assert groove.tempo_bpm == 100 and math.isfinite(done.log_evidence) and done.particles == 8
    again, _ = follow_groove(player, taps, SamplingOptions(seed=1), infilling=FEW)
    assert again == groove


def test_taps_on_the_grid_of_one_velocity_leave_the_touch_to_the_model(player):
    taps = tapped(velocity=(0.8,), offset=0.0)
    groove, _ = follow_groove(player, taps, infilling=FEW)
    untouched, _ = follow_groove(player, tapped(), SamplingOptions(), FollowOptions(touch=False), infilling=FEW)
    for one in (groove, untouched):
        assert len(np.unique(one.velocity[one.hits > 0])) > 3 and np.array_equal(
            one.hits[:, LOUD].any(1), taps.hits[:, 0] > 0
        )
    silent, _ = follow_groove(player, taps, infilling=FEW, expression=False)
    assert set(np.unique(silent.velocity)) <= {np.float32(0), np.float32(0.8)}


def test_a_kick_that_stays_stays_and_a_plan_is_heeded(player):
    taps, hits = tapped(), np.zeros((32, 10), np.uint8)
    hits[::4, 0] = 1
    pattern = Groove(hits, 0.7 * hits, 0 * hits, 100.0, "gm10")
    known = np.zeros(hits.shape, bool)
    known[:, 0] = True
    groove, _ = follow_groove(player, taps, pattern=pattern, locks=Locks(known, hits), infilling=FEW)
    assert np.array_equal(groove.hits[:, 0], hits[:, 0])
    assert groove.velocity[::4, 0] == pytest.approx(0.7)
    plans = [PlanOptions(density=density) for density in (0.05, 0.4)]
    few, many = (follow_groove(player, taps, plan=plan, infilling=FEW)[0].hits.sum() for plan in plans)
    assert few < many


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda player: follow_groove(player, tapped(places=())), "taps: no hits"),
        (lambda player: follow_groove(player, tapped(), following=FollowOptions(["cow"])), "answer: no voice 'cow'"),
        (lambda player: follow_groove(player, tapped(), pattern=tapped(16, (0,))), "pattern: 16 steps for taps of 32"),
        (lambda player: FollowOptions("loud"), "answer is 'loud', expected voices"),
        (lambda player: FollowOptions(between="loud"), "between is 'loud', expected silent or free"),
        (lambda player: FollowOptions(accent=2.0), "accent is 2, expected from 0 to 1"),
        (
            lambda player: infill(
                EXPRESSIVE, locked(rhythm()), np.zeros((4, 2)), listener=listener(EXPRESSIVE, rhythm())
            ),
            "taps: music before them",
        ),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(player, call, words):
    with pytest.raises(HypermeterError, match=words):
        call(player)


# ---------------------------------------------------------------------- files


def part(track=1, channel=1, name="", programs=(1,), is_drums=False, pitches=5):
    return Part(track, channel, name, programs, is_drums, pitches)


DRUMS, KEYS, FINGERED = part(1, 10, "Drums", is_drums=True), part(2, 1, "Keys"), part(3, 2, "Low", (34,))


@pytest.mark.parametrize(
    ("parts", "options", "program", "chosen"),
    [
        ([DRUMS], ReadOptions(), None, DRUMS),
        ([DRUMS, KEYS], ReadOptions(), None, KEYS),
        ([DRUMS, KEYS, FINGERED], ReadOptions(), None, FINGERED),
        ([DRUMS, KEYS, FINGERED], ReadOptions(track="keys"), None, KEYS),
        ([DRUMS, KEYS, FINGERED], ReadOptions(track="2"), None, KEYS),
        ([DRUMS, KEYS, FINGERED], ReadOptions(10), None, DRUMS),
        ([DRUMS, KEYS, FINGERED], ReadOptions(), 34, FINGERED),
        ([KEYS, part(3, 3)], ReadOptions(), None, None),
        ([KEYS, FINGERED], ReadOptions(), 50, None),
    ],
)
def test_the_rhythm_is_the_part_that_is_named_or_else_the_only_one(parts, options, program, chosen):
    if chosen is None:
        with pytest.raises(HypermeterError, match="name one by --track, --channel or --program"):
            choose_part(parts, "this file", options, program)
    else:
        assert choose_part(parts, "this file", options, program) == chosen


def bass_line(path, places=(0, 6, 8, 14, 16, 22, 24, 30), pitches=(36, 43)):
    import symusic

    score = symusic.Score(480)
    score.tempos.append(symusic.Tempo(0, 96.0))
    track = symusic.Track("Bass", 33, False)
    for number, place in enumerate(places):
        pitch = pitches[number % len(pitches)]
        track.notes.append(symusic.Note(place * 120 + 6, 100, pitch, 60 + 50 * (number % 2)))
    score.tracks.append(track)
    drums = symusic.Track("Drums", 0, True)
    drums.notes.append(symusic.Note(0, 60, 42, 90))
    score.tracks.append(drums)
    path.write_bytes(score.dumps_midi())
    return path


def test_a_bass_is_read_with_its_velocities_and_timing(tmp_path):
    read = read_taps(bass_line(tmp_path / "song.mid"))
    assert np.flatnonzero(read.groove.hits[:, 0]).tolist() == [0, 6, 8, 14, 16, 22, 24, 30]
    assert read.groove.velocity[[0, 6], 0] == pytest.approx([60 / 127, 110 / 127])
    assert read.groove.tempo_bpm == 96 and not read.is_on_one_pitch
    assert read.remarks == ["the rhythm is track 1 'Bass' on channel 1"] or "Bass" in read.remarks[0]


def test_the_command_writes_drums_and_a_picture(tmp_path, capsys):
    out = tmp_path / "out.mid"
    path = bass_line(tmp_path / "song.mid", pitches=(40,))
    assert main(["follow", str(path), str(out), "--particles", "4", "--style", "funk"]) == 0
    assert "effective sample size" in capsys.readouterr().out and out.with_suffix(".svg").exists()
    groove = read_midi(out)
    assert np.flatnonzero(groove.hits[:, LOUD].any(1)).tolist() == [0, 6, 8, 14, 16, 22, 24, 30]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--track", "Flute"], "no such part to follow in .*'Bass'"),
        (["--answer", "cow"], "answer: no voice 'cow'"),
        (["--keep", "kick"], "--keep without voices or without --lock"),
        (["--program", "0"], "--program is 0"),
        (["--sections", "verse:8"], "sections: 8 bars, and 2 in"),
        (["--accent", "3"], "accent is 3"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_two(tmp_path, capsys, options, words):
    path = bass_line(tmp_path / "song.mid")
    assert main(["follow", str(path), str(tmp_path / "out.mid"), *options]) == 2
    error = capsys.readouterr().err
    assert re.search(words, error) and error.count("\n") == 1
    assert not (tmp_path / "out.mid").exists()


def taps_in_six(path):
    import symusic

    score = symusic.Score(480)
    score.time_signatures.append(symusic.TimeSignature(0, 6, 8))
    track = symusic.Track("Taps", 0, False)
    for place, velocity in zip((0, 3, 4, 6, 9, 11), (110, 60, 70, 100, 80, 50)):
        track.notes.append(symusic.Note(place * 120, 60, 60, velocity))
    score.tracks.append(track)
    path.write_bytes(score.dumps_midi())
    return path


def test_a_model_of_every_metre_follows_in_the_metre_of_the_file(tmp_path, capsys):
    path, out = taps_in_six(tmp_path / "six.mid"), tmp_path / "out.mid"
    options = ["--particles", "4", "--no-picture"]
    assert main(["follow", str(path), str(out), *options]) == 0
    groove = read_midi(out, grid=Grid.of_metre("6/8", steps_per_beat=2))
    assert np.flatnonzero(groove.hits[:, LOUD].any(1)).tolist() == [0, 3, 4, 6, 9, 11]
    capsys.readouterr()
    path_of_table = tmp_path / "table.safetensors"
    HierarchicalDrumModel(10, 8, 8, 8, kit=load_kit("gm10"), parts=Parts(place_table=True)).save(path_of_table)
    table = ["--model", str(path_of_table)]
    for more, words in ((table, "metre 6/8 .* pass --model groove"), (["--metre", "4/4", *options], "metre 6/8")):
        assert main(["follow", str(path), str(out), *more]) == 2
        error = capsys.readouterr().err
        assert re.search(words, error) and error.count("\n") == 1


def test_a_file_without_notes_is_refused_in_one_line(tmp_path, capsys):
    import symusic

    score = symusic.Score(480)
    score.tempos.append(symusic.Tempo(0, 100.0))
    score.tracks.append(symusic.Track("Taps", 0, False))
    (tmp_path / "empty.mid").write_bytes(score.dumps_midi())
    assert main(["follow", str(tmp_path / "empty.mid"), str(tmp_path / "out.mid")]) == 2
    assert "no notes in it" in capsys.readouterr().err
