"""The player: lengths, seeds, primers of any length, plans, states that go on, and what does not fit."""

import math
from itertools import islice

import numpy as np
import pytest

from hypermeter.core.errors import HypermeterError
from hypermeter.core.kit import load_kit
from hypermeter.play.loading import kit_of, load_player
from hypermeter.play.locks import Locks, lock_ending
from hypermeter.play.plan import Plan, make_plan
from hypermeter.play.request import SamplingOptions
from hypermeter.play.state import PlayerState
from models import LABELS, MODELS, PLANNED, make, music, player
from test_play_distribution import all_steps, assert_drawn_as, table

PRIMER = music("gru", 13)
PLAN = make_plan(LABELS, sections="verse:4 chorus:8", style="jazz", density=0.4)
ENCODERS = ("gru", "transformer")


@pytest.fixture(params=ENCODERS)
def made(request):
    return player(request.param)


def seeded(seed, **options):
    return SamplingOptions(seed=seed, **options)


# ---------------------------------------------------------------------- lengths, seeds, primers


def test_new_steps_come_back_without_the_primer(made):
    new = made.generate(30, PRIMER)
    assert new.shape == (2, 30, 3) and new.dtype == np.uint8 and set(np.unique(new)) == {0, 1}
    assert made.generate(0, PRIMER).shape == (2, 0, 3)
    assert made.generate(5, rows=3).shape == (3, 5, 3) and made.generate(5, PRIMER[0]).shape == (1, 5, 3)


def test_the_same_seed_gives_the_same_music_and_another_seed_other_music(made):
    first, again, other = (made.generate(60, PRIMER, seeded(seed)) for seed in (1, 1, 2))
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    none = [made.generate(60, PRIMER, seeded(None)) for _ in range(2)]
    assert not np.array_equal(*none)


def test_a_longer_piece_begins_as_the_shorter_one(made):
    assert np.array_equal(made.generate(64, PRIMER, seeded(4))[:, :20], made.generate(20, PRIMER, seeded(4)))


@pytest.mark.parametrize("name", MODELS)
def test_rows_do_not_depend_on_how_many_there_are(name):
    many = player(name).generate(20, rows=4, sampling=seeded(5))
    assert np.array_equal(player(name).generate(20, sampling=seeded(5)), many[:1])
    assert not np.array_equal(many[0], many[1])


def test_a_context_is_a_longer_primer(made):
    whole = made.generate(30, PRIMER)
    assert np.array_equal(made.generate(30, PRIMER[:, 6:], context=PRIMER[:, :6]), whole)
    assert np.array_equal(made.generate(30, context=PRIMER), whole)
    one = made.generate(20, context=PRIMER[0], rows=3)
    assert np.array_equal(one, made.generate(20, context=np.repeat(PRIMER[:1], 3, 0)))


def test_a_stream_gives_what_generate_gives(made):
    new = made.generate(25, PRIMER, seeded(2))
    assert np.array_equal(np.stack(list(islice(made.stream(PRIMER, seeded(2)), 25)), 1), new)


@pytest.mark.parametrize("name", MODELS)
def test_a_state_stands_for_the_music_that_made_it(name):
    """Numbers are those of the position, so that music in parts, or again from a kept state, is the same."""
    made, primer = player(name), music(name, 13)
    plan = PLAN if name in PLANNED else None
    whole = made.generate(25, primer, seeded(2), plan=plan)
    state = made.consume(primer[:, 6:], made.consume(primer[:, :6], made.start(2, plan)))
    for _ in range(2):
        assert np.array_equal(made.generate(25, sampling=seeded(2), plan=plan, state=state), whole)
    later = made.consume(whole[:, :10], state)
    assert np.array_equal(made.generate(15, sampling=seeded(2), plan=plan, state=later), whole[:, 10:])
    assert np.array_equal(made.generate(15, whole[:, :10], seeded(2), plan=plan, state=state), whole[:, 10:])


def test_a_plan_beside_a_state_takes_the_place_of_its_own():
    made, other = player("gru"), make_plan(LABELS, 3, density=0.9)
    state = made.consume(PRIMER, made.start(2, PLAN))
    wanted = made.generate(20, PRIMER, seeded(1, guidance=0.0), plan=other)
    assert np.array_equal(made.generate(20, sampling=seeded(1, guidance=0.0), state=state, plan=other), wanted)
    kept = made.generate(20, PRIMER, seeded(1, guidance=0.0), plan=PLAN)
    assert np.array_equal(made.generate(20, sampling=seeded(1, guidance=0.0), state=state), kept)


@pytest.mark.parametrize("name", ["gru", "softmax", "tracks"])
def test_steps_are_drawn_from_the_models_own_distribution(name):
    rows, made, primer = 8000, player(name), music(name, 6, rows=1)
    dist = made.consume(primer, made.start(1)).dist
    draws = made.generate(1, primer[0], rows=rows)[:, 0]
    if name == "tracks":
        assert np.abs(draws.mean(0) - dist.probs[0]).max() < 5 * 0.5 / math.sqrt(rows)
        assert (draws[:, 3:].sum(-1) <= 1).all()
    else:
        assert_drawn_as(draws, all_steps(dist), table(dist)[0])


# ---------------------------------------------------------------------- how steps are drawn


def test_temperature_zero_plays_the_likeliest_combination_each_time(made):
    new, state = made.generate(12, PRIMER, SamplingOptions(0.0)), made.consume(PRIMER, made.start(2))
    for x in new.swapaxes(0, 1):
        combos, log_probs = state.dist.candidates()
        assert np.array_equal(x, combos[log_probs.argmax(-1)])
        state = made.advance(x, state)


def test_a_bias_makes_its_voice_busier_and_no_other_silent(made):
    plain, biased = (
        made.generate(60, rows=8, sampling=SamplingOptions(bias=bias)).mean((0, 1)) for bias in ({}, {"0": 3.0})
    )
    assert biased[0] > plain[0] + 0.1 and (biased[1:] > 0).all()
    never, always = (made.generate(20, sampling=SamplingOptions(bias={"0": bias}))[..., 0] for bias in (-100.0, 100.0))
    assert not never.any() and always.all()


def test_a_small_top_p_is_less_varied(made):
    few, all_of_them = (made.generate(60, rows=4, sampling=SamplingOptions(top_p=top_p)) for top_p in (0.3, 1.0))
    assert len(np.unique(few.reshape(-1, 3), axis=0)) < len(np.unique(all_of_them.reshape(-1, 3), axis=0))


def test_a_track_plays_one_note_at_a_time():
    for temperature in (1.0, 0.7, 0.0):
        new = player("tracks").generate(40, rows=3, sampling=SamplingOptions(temperature))
        assert new[..., 3:].sum(-1).max() <= 1 and new.shape == (3, 40, player("tracks").width)


def test_two_notes_of_a_track_in_a_step_are_refused():
    chord = np.zeros((4, player("tracks").width), np.uint8)
    chord[1, [5, 9]] = 1
    with pytest.raises(HypermeterError, match=r"hits: two notes of bass in a step"):
        player("tracks").log_prob(chord)


# ---------------------------------------------------------------------- plans, guidance, locks


def test_a_plan_changes_the_music_and_counts_from_the_first_bar_of_context_and_primer():
    plain, planned = (player("gru").generate(60, PRIMER, plan=plan) for plan in (None, PLAN))
    assert not np.array_equal(plain, planned)
    assert np.array_equal(player("gru").generate(60, PRIMER[:, 5:], context=PRIMER[:, :5], plan=PLAN), planned)


@pytest.mark.parametrize("name", ["gru", "softmax"])
def test_more_guidance_goes_further_towards_the_plan(name):
    """How much better the plan explains what is played grows with guidance."""

    def gain(guidance):
        new = player(name).generate(32, rows=24, sampling=SamplingOptions(guidance=guidance), plan=PLAN)
        return (player(name).log_prob(new, PLAN) - player(name).log_prob(new)).mean()

    gains = [gain(guidance) for guidance in (0.0, 2.0, 10.0)]
    assert gains[0] < gains[1] < gains[2]


def test_guidance_counts_only_where_more_than_the_tempo_is_set():
    for plan in (None, Plan.free(4), make_plan(LABELS, 4, tempo_bpm=90)):
        one, other = (player("gru").generate(20, sampling=SamplingOptions(guidance=g), plan=plan) for g in (0.0, 20.0))
        assert np.array_equal(one, other)
    one, other = (player("gru").generate(20, sampling=SamplingOptions(guidance=g), plan=PLAN) for g in (0.0, 20.0))
    assert not np.array_equal(one, other)


LOCKS = Locks(np.random.default_rng(2).random((20, 3)) < 0.4, music("gru", 20, rows=1, seed=4)[0])


@pytest.mark.parametrize(
    "sampling",
    [
        SamplingOptions(),
        SamplingOptions(0.0),
        SamplingOptions(3.0, 0.2),
        SamplingOptions(bias={"0": 100.0}),
        SamplingOptions(guidance=4.0),
    ],
)
def test_locked_cells_come_out_as_they_are(made, sampling):
    new = made.generate(30, PRIMER, sampling, locks=LOCKS, plan=PLAN)
    assert ((new[:, :20] == LOCKS.values) | ~LOCKS.known).all()


def test_locks_of_later_steps_do_not_change_the_draws_before_them(made):
    later = Locks(LOCKS.known[0] & (np.arange(20) >= 12)[:, None], LOCKS.values[0])
    plain, locked = (made.generate(30, PRIMER, locks=locks) for locks in (None, later))
    assert np.array_equal(plain[:, :12], locked[:, :12]) and not np.array_equal(plain, locked)
    assert np.array_equal(made.generate(9, PRIMER, locks=lock_ending(5, PRIMER[0, :0])), made.generate(9, PRIMER))


# ---------------------------------------------------------------------- music part by part


@pytest.mark.parametrize("name", ["gru", "triplets of 3/4", "tracks", "lstm"])
def test_music_in_parts_of_any_length_is_the_music_at_once_with_velocity_and_timing(name):
    made = player(name)
    rules = made.rules(SamplingOptions(0.9, seed=6), PLAN)
    start = made.initial_state(100.0, PLAN)
    whole, end = made.play(start, 24, rules, 100.0)
    parts, moment = [], start
    for steps in (1, 7, 0, 12, 4):
        part, moment = made.play(moment, steps, rules, 100.0)
        parts.append(part)
        assert isinstance(moment, PlayerState)
    for field in ("hits", "velocity", "offset"):
        assert np.array_equal(np.concatenate([getattr(part, field) for part in parts]), getattr(whole, field))
    assert moment.position == end.position == 24 and start.position == 0
    assert np.array_equal(whole.hits, made.generate(24, sampling=SamplingOptions(0.9, seed=6), plan=PLAN)[0])
    if made.has_expression:
        velocity, offset = made.perform(whole.hits, 100.0, seed=6)
        assert np.allclose(whole.velocity, velocity, atol=1e-6) and np.allclose(whole.offset, offset, atol=1e-6)
        fed = made.feed(start, whole.hits[:9], whole.velocity[:9], whole.offset[:9], 100.0)
        rest, _ = made.play(fed, 15, rules, 100.0)
        assert np.array_equal(rest.velocity, whole.velocity[9:]) and np.array_equal(rest.hits, whole.hits[9:])
    else:
        assert set(np.unique(whole.velocity)) <= {0.0, np.float32(0.75), np.float32(0.8)} and not whole.offset.any()


def test_work_that_is_watched_can_be_ended():
    steps = []

    def before():
        if len(steps) == 3:
            raise KeyboardInterrupt
        steps.append(0)

    with pytest.raises(KeyboardInterrupt):
        player("gru").watched(before).generate(10)
    assert len(steps) == 3


# ---------------------------------------------------------------------- what does not fit


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"length": -1}, "length is -1, expected 0 steps or more"),
        ({"rows": 0}, "rows is 0, expected at least 1"),
        ({"primer": np.zeros((4, 9))}, r"primer of shape \(4, 9\), expected \(steps, 3\)"),
        ({"primer": np.zeros(4)}, r"primer of shape \(4,\)"),
        ({"primer": np.full((4, 3), 0.5)}, "primer: values other than 0 and 1"),
        ({"primer": np.full((4, 3), math.nan)}, "primer: values other than 0 and 1"),
        ({"context": np.full((4, 3), 2)}, "context: values other than 0 and 1"),
        ({"context": np.zeros((3, 4, 3)), "primer": PRIMER}, r"primer of shape \(2, 13, 3\), .* each of 3 rows"),
        ({"sampling": SamplingOptions(bias={"cowbell": 1.0})}, "bias: no voice 'cowbell' in the model; it has 0, 1, 2"),
        ({"locks": Locks(np.ones((3, 2, 3)), np.ones((3, 2, 3)))}, "locks: 3 rows of 3 columns, expected 1 or 1"),
        ({"locks": Locks(np.ones((2, 4)), np.ones((2, 4)))}, "locks: 1 rows of 4 columns"),
        ({"plan": Plan.free(2, rows=3)}, r"plan: labels \(3, 2, 3\)"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(options, words):
    with pytest.raises(HypermeterError, match=words) as error:
        player("gru").generate(**{"length": 2} | options)
    assert "\n" not in str(error.value)


def test_parts_that_do_not_fit_are_refused_in_one_line():
    made = player("gru")
    moment, rules = made.initial_state(100.0), made.rules(SamplingOptions())
    with pytest.raises(HypermeterError, match="steps is -1"):
        made.play(moment, -1, rules, 100.0)
    with pytest.raises(HypermeterError, match=r"velocity or offset of shape \(3, 3\), expected \(4, 3\)"):
        made.feed(moment, PRIMER[0, :4], np.zeros((3, 3)), np.zeros((4, 3)), 100.0)
    with pytest.raises(HypermeterError, match="a state of 2 rows, expected 3"):
        made.generate(2, state=made.start(2), rows=3)


# ---------------------------------------------------------------------- files


def test_a_saved_model_plays_as_it_did(tmp_path):
    kit = load_kit("gm10")
    saved = make(10, kit=kit, labels=LABELS, use_expression=True)
    saved.save(tmp_path / "best.safetensors")
    before = saved.player().generate(20, sampling=seeded(3))
    for path in (tmp_path, tmp_path / "best.safetensors", str(tmp_path / "best.safetensors")):
        loaded = load_player(path)
        assert np.array_equal(loaded.generate(20, sampling=seeded(3)), before)
        assert loaded.kit == kit == kit_of(loaded) and loaded.voices == kit.names and loaded.grid == saved.grid
        assert loaded.labels == saved.labels and loaded.has_expression
    assert load_player(tmp_path / "best.safetensors").name == "best"
    assert load_player(tmp_path, kit="gm10").num_drums == 10
    with pytest.raises(HypermeterError, match="kit gm10 in the checkpoint, expected kit gm"):
        load_player(tmp_path, kit="gm")
    with pytest.raises(HypermeterError, match="no kit in it, so its voices have no pitches; train it with --kit"):
        kit_of(player("gru"))


def test_a_shipped_name_comes_before_a_folder_of_that_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "groove").mkdir()
    (tmp_path / "groove" / "meta.json").write_text("{}")
    shipped = load_player("groove")
    assert shipped.name == "groove" and shipped.kit == load_kit("gm10")
    with pytest.raises(HypermeterError, match="format None, expected 1"):
        load_player(tmp_path / "groove")


@pytest.mark.parametrize(
    ("name", "words"),
    [("nowhere", "nowhere: no such checkpoint"), ("empty", "no checkpoint there"), ("bad.safetensors", "bad")],
)
def test_what_is_no_model_is_refused_in_one_line(tmp_path, monkeypatch, name, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.safetensors").write_bytes(b"nothing")
    with pytest.raises(HypermeterError, match=words) as error:
        load_player(name)
    assert "\n" not in str(error.value)
