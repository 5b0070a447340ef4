"""Form: what the sections of a plan begin from."""

import numpy as np
import pytest

from hypermeter import load_player
from hypermeter.core.grid import Grid
from hypermeter.music.beat_keeping import section_likeness
from hypermeter.play.compose import continue_groove
from hypermeter.play.form import Form, Start, sections_of
from hypermeter.play.plan import Plan, plan_bars
from hypermeter.play.request import PlanOptions, SamplingOptions

SONG = "intro:4 verse:8 fill:1 chorus:5 verse:8 chorus:4"
BARS = 30


def begun(sections, phrase=4):
    """Return what each bar begins from, of bars named by their numbers, whose states are the bars that were heard."""
    form, state, found = Form(phrase), (), []
    for bar, section in enumerate(sections):
        form, start = form.turn(section, state)
        if start is not None:
            state = (start.state or ()) + start.bars
        found.append(state)
        form = form.enter(state).play(bar)
        state = (*state, bar)
    return found


def heard(*spans):
    return tuple(bar for start, stop in spans for bar in range(start, stop))


def test_a_new_section_hears_the_last_phrase_or_two_and_one_that_returns_goes_on_from_where_it_was():
    found = begun([1] * 8 + [2] * 8 + [1] * 4 + [2] * 4 + [3] * 2)
    assert found[7] == heard((0, 7)) and found[8] == found[8][:8] == heard((0, 8)), "two phrases are all of it here"
    assert found[16] == heard((0, 8)) and found[19] == heard((0, 8), (16, 19))
    assert found[20] == heard((0, 16)) and found[24] == heard((16, 24)), "the last two phrases of the piece"


def test_bars_keep_their_place_in_the_phrase():
    sections = [1] * 9 + [2] * 9 + [1] * 9 + [3] * 8 + [2] * 5
    for bar, state in enumerate(begun(sections)):
        assert (bar - len(state)) % 4 == 0, bar
    assert begun(sections)[9] == heard((4, 9)), "a bar that begins within a phrase, and a phrase before"
    assert begun(sections)[18] == heard((0, 6)), "the same place of a phrase, the last time that it came"


@pytest.mark.parametrize(
    "sections",
    [[0] * 8 + [1] * 8, [1] * 16, [1, 1, 2, 2, 1, 1], [1] * 4 + [2] * 4, [0] * 12],
    ids=["after music without sections", "one section", "short ones", "one phrase before", "none"],
)
def test_what_has_no_form_goes_on_from_all_that_was_heard(sections):
    assert begun(sections) == [heard((0, bar)) for bar in range(len(sections))]


def test_a_short_section_does_not_take_the_place_of_its_long_time():
    sections = [1] * 8 + [2] * 6 + [1] * 2 + [2] * 8 + [1] * 4
    assert begun(sections)[24] == heard((0, 8))


def test_a_section_returns_after_bars_without_one():
    assert begun([1] * 8 + [0] * 4 + [1] * 4)[12] == heard((0, 8))


def test_rows_that_differ_have_no_form():
    rows = Plan.free(4, 2)
    assert sections_of(rows) == [] and sections_of(None) == []
    rows.labels[:, :, 0] = [1, 1, 2, 2]
    assert sections_of(rows) == [1, 1, 2, 2]
    rows.labels[1, 3, 0] = 1
    assert sections_of(rows) == []


@pytest.fixture(scope="module")
def player():
    return load_player("groove")


def planned(player, sections=SONG, bars=BARS):
    return plan_bars(
        player.labels, PlanOptions(sections=sections, style="rock"), bars, grid=player.grid, tempo_bpm=120.0
    )


def test_hits_are_those_of_music_with_velocity_and_of_each_row(player):
    sampling, plan = SamplingOptions(seed=3), planned(player)
    groove = continue_groove(player, None, BARS, sampling, plan=PlanOptions(sections=SONG, style="rock"))
    hits = player.generate(16 * BARS, None, sampling, plan=plan)
    assert np.array_equal(groove.hits, hits[0])
    assert np.array_equal(player.generate(16 * BARS, None, sampling, plan=plan, rows=2)[0], hits[0])
    bare = continue_groove(
        player, None, BARS, sampling, plan=PlanOptions(sections=SONG, style="rock"), expression=False
    )
    assert np.array_equal(bare.hits, hits[0])


def test_a_section_returns_as_the_model_continues_it(player):
    """Bar 18 returns to the verse of bars 4 to 12, at the place of bar 10: so it is drawn from what was heard then."""
    plan, sampling = planned(player), SamplingOptions(seed=5)
    hits = player.generate(16 * BARS, None, sampling, plan=plan)[0]
    rules = player.rules(sampling, plan)
    state = player.consume(hits[: 10 * 16], player.start(1, plan))
    state = state.with_plan(state.plan[:, 8:])
    uniforms = rules.stream(1, player.width)
    for step in range(18 * 16, 26 * 16):
        x = player.draw(state, rules, uniforms.at(step), position=step)
        assert np.array_equal(x[0], hits[step])
        state = player.advance(x, state)


def test_earlier_music_does_not_depend_on_sections_to_come(player):
    sampling = SamplingOptions(seed=1)
    one = player.generate(16 * 16, None, sampling, plan=planned(player, "A:8 B:8", 16))[0]
    other = player.generate(16 * 12, None, sampling, plan=planned(player, "A:8 B:4", 12))[0]
    assert np.array_equal(one[: 12 * 16], other)


def test_sections_return_more_alike_than_without_form(player, monkeypatch):
    plan = "A:8 B:8 A:8 B:8"
    names = [name for name in "ABAB" for _ in range(8)]

    def likeness():
        played = [
            player.generate(16 * 32, None, SamplingOptions(seed=seed), plan=planned(player, plan, 32))[0]
            for seed in range(4)
        ]
        found = [section_likeness(hits, Grid(), names) for hits in played]
        return np.mean([float(one.returns) - float(one.others) for one in found])

    with_form = likeness()
    monkeypatch.setattr("hypermeter.play.player.sections_of", lambda plan: [])
    assert with_form > likeness()


def test_a_start_is_a_value():
    assert Start(None) == Start(None, ())
