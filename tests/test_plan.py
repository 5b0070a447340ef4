"""Plans: what people say becomes one, what was played tells one, and a model hears it bar by bar and not before."""

import math

import jaxtyping
import pytest
import torch
import torch.nn.functional as F

from hypermeter import HierarchicalDrumModel, load
from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.model.plan import (
    KINDS,
    NUMBERS,
    Plan,
    PlanEmbedding,
    bars_since_change,
    hide,
    join,
    make_plan,
    plan_of,
    rename_sections,
)
from hypermeter.music.metrics import METRICS
from hypermeter.play.plan import FILL, LETTERS

VOICES, STEPS = 3, 27
GRID = Grid(2, 2, 2)  # bars of 4 steps, phrases of 8: STEPS is 6 bars and 3 steps
BARS = 7
LABELS = {"section": list(LETTERS), "style": ["rock", "jazz"], "fill": list(FILL)}
NAMED = LABELS | {"section": ["verse", "chorus"]}
SECTION, STYLE, FILLS = (KINDS.index(kind) for kind in ("section", "style", "fill"))
ENCODERS = {"gru": {}, "lstm": {"cell": "lstm"}, "transformer": {"use_transformer": True}}
OUTPUTS = {
    "mixture": {"num_components": 3},
    "softmax": {"output": "softmax", "known": [[0, 0, 0], [1, 0, 0], [0, 1, 1]]},
}


def make(**options):
    torch.manual_seed(0)
    return HierarchicalDrumModel(VOICES, 16, 8, 8, labels=LABELS, grid=GRID, **options).eval()


def hits(batch=2, steps=STEPS):
    return (torch.rand(batch, steps, VOICES, generator=torch.Generator().manual_seed(1)) < 0.4).float()


def some_plan(batch=2, bars=BARS):
    random = torch.Generator().manual_seed(2)
    plan = Plan.free(batch, bars)
    for column, kind in enumerate(KINDS):
        plan.labels[..., column] = torch.randint(len(LABELS[kind]) + 1, (batch, bars), generator=random)
    numbers = torch.rand(batch, bars, len(NUMBERS), generator=random) * torch.tensor([100, 1, 1])
    return Plan(plan.labels, numbers + torch.tensor([60, 0, 0]))


@pytest.fixture(params=[(encoder, output) for encoder in ENCODERS for output in OUTPUTS], ids="-".join)
def model(request):
    encoder, output = request.param
    return make(**ENCODERS[encoder], **OUTPUTS[output])


@pytest.fixture
def without_shape_checks(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


# ---------------------------------------------------------------------- what people say


def column(plan, kind):
    return plan.labels[0, :, KINDS.index(kind)].tolist()


def number(plan, name):
    return plan.numbers[0, :, NUMBERS.index(name)].tolist()


def test_a_text_gives_labels_of_any_kind_and_their_bars():
    plan = make_plan(NAMED, sections="verse:2 jazz+chorus:1, fill chorus:2")
    assert column(plan, "section") == [1, 1, 2, 2, 2, 2]
    assert column(plan, "style") == [0, 0, 2, 0, 0, 0]
    assert column(plan, "fill") == [1, 1, 1, 2, 1, 1]  # where fills are asked for, the other bars are none


def test_names_take_letters_in_their_order_where_sections_have_no_names():
    plan = make_plan(LABELS, sections="intro:1 verse:2 fill:1 chorus:1 verse:1")
    assert column(plan, "section") == [1, 2, 2, 2, 3, 2]
    assert column(plan, "fill") == [1, 1, 1, 2, 1, 1]


def test_without_fills_in_the_text_they_are_left_open():
    assert column(make_plan(NAMED, sections="verse:2"), "fill") == [0, 0]


def test_labels_can_be_given_for_each_bar():
    plan = make_plan(NAMED, 3, sections=["verse", None, "chorus"], fill=[None, True, False], style="Rock")
    assert column(plan, "section") == [1, 1, 2]
    assert column(plan, "fill") == [0, 2, 1]
    assert column(plan, "style") == [1, 1, 1]


def test_a_number_is_of_all_bars_and_a_curve_is_spread_over_them():
    plan = make_plan(LABELS, 5, tempo_bpm=90.0, density=0.1, offbeat=[0.0, 1.0])
    assert number(plan, "tempo_bpm") == [90] * 5
    assert number(plan, "density") == pytest.approx([0.1] * 5)
    assert number(plan, "offbeat") == [0, 0.25, 0.5, 0.75, 1]


def test_conditions_that_are_not_set_are_open():
    plan = make_plan(LABELS, 3)
    assert not plan.labels.any() and plan.numbers.isnan().all()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sections": "verse:x"}, "label:bars"),
        ({"sections": "verse:0"}, "label:bars"),
        ({"sections": " "}, "no label"),
        ({"sections": "verse 4 chorus 4"}, "'4', expected label:bars, as in verse:4, chorus:4"),
        ({"sections": "verse=2 fill=1"}, "'verse=2', expected label:bars, as in verse:4, chorus:4"),
        ({"sections": "rok:2"}, "'rok'.* rock.*expected label:bars"),
        ({"sections": "fil:1"}, "'fil'.* fill.*expected label:bars"),
        ({"sections": "bridge:2"}, "verse, chorus, rock, jazz, beat, fill"),
        ({"sections": "verse:2", "bars": 3}, "2 bars, bars is 3"),
        ({"style": "polka"}, "rock, jazz"),
        ({"bars": 0}, "at least 1"),
        ({"bars": 3, "fill": [True]}, "expected 3"),
        ({"density": 1.5}, "from 0 to 1"),
        ({"offbeat": [0.1, math.nan]}, "from 0 to 1"),
        ({"density": []}, "from 0 to 1"),
        ({"tempo_bpm": 0.0}, "at least 1"),
    ],
)
def test_what_makes_no_plan_is_refused_in_one_line(options, words):
    with pytest.raises(HypermeterError, match=words) as error:
        make_plan(NAMED, **options)
    assert "\n" not in str(error.value)


def test_more_names_than_letters_are_refused():
    with pytest.raises(HypermeterError, match="at most 8"):
        make_plan(LABELS, sections=" ".join(f"part{number}" for number in range(9)))


def test_a_plan_stays_as_it_is_after_its_last_bar():
    plan = make_plan(NAMED, sections="verse:1 chorus:1")
    assert column(plan.bars(1, 3), "section") == [2, 2, 2]


def test_plans_are_joined_and_numbers_averaged_over_phrases():
    plan = join(make_plan(LABELS, 2, density=0.2), make_plan(LABELS, 3, density=[0.4, 0.6]))
    assert number(plan, "density") == pytest.approx([0.2, 0.2, 0.4, 0.5, 0.6])
    assert number(plan.by_phrase(2), "density") == pytest.approx([0.2, 0.2, 0.45, 0.45, 0.6])
    assert number(plan.by_phrase(2), "offbeat") == pytest.approx([math.nan] * 5, nan_ok=True)


# ---------------------------------------------------------------------- what was played


def test_density_and_offbeat_share_are_those_of_each_bar():
    played = hits(1, 24)
    plan = plan_of(played, GRID)
    for bar in range(6):
        bar_hits = played[:, bar * 4 : bar * 4 + 4]
        assert plan.numbers[0, bar, NUMBERS.index("density")] == pytest.approx(
            METRICS["density"](bar_hits, GRID).item()
        )
        off = METRICS["syncopation"](bar_hits, GRID, weak="offbeat").item()
        assert plan.numbers[0, bar, NUMBERS.index("offbeat")].item() == pytest.approx(off, nan_ok=True)


def test_a_bar_that_breaks_the_pattern_is_a_fill():
    grid = Grid(4, 4, 4)
    bar = (torch.rand(16, 6, generator=torch.Generator().manual_seed(0)) < 0.2).float()
    other = (torch.rand(16, 6, generator=torch.Generator().manual_seed(1)) < 0.4).float()
    played = torch.stack([bar] * 7 + [other]).flatten(0, 1)[None]
    assert plan_of(played, grid).labels[0, :, FILLS].tolist() == [1] * 7 + [2]


def test_hiding_leaves_the_given_share_open():
    torch.manual_seed(0)
    plan = some_plan(4_000, 2)
    hidden = hide(plan, 0.3)
    is_open = hidden.numbers.isnan()
    assert torch.equal(is_open[:, 0], is_open[:, 1])  # a piece's, not a bar's
    assert is_open[:, 0].float().mean(0).tolist() == pytest.approx([0.3] * 3, abs=0.03)
    assert torch.equal(hidden.labels[hidden.labels > 0], plan.labels[hidden.labels > 0])
    assert not hide(plan, 1.0).labels.any() and torch.equal(hide(plan, 0.0).labels, plan.labels)


def test_sections_are_renamed_at_random_and_equal_ones_alike():
    torch.manual_seed(0)
    plan, sections = some_plan(4_000, 5), torch.tensor([0, 1, 3, 1, 8])
    plan.labels[..., SECTION] = sections
    renamed = rename_sections(plan, len(LETTERS))
    names = renamed.labels[..., SECTION]
    assert not names[:, 0].any() and torch.equal(names[:, 1], names[:, 3])
    assert len(names[:, [1, 2, 4]].unique(dim=0)) == 8 * 7 * 6  # every choice of three different letters
    counts = torch.stack([torch.bincount(column, minlength=9)[1:] for column in names[:, 1:].unbind(1)])
    assert (counts / 4_000).flatten().tolist() == pytest.approx([1 / 8] * 32, abs=0.02)
    assert torch.equal(renamed.labels[..., 1:], plan.labels[..., 1:]) and renamed.numbers is plan.numbers
    assert torch.equal(plan.labels[0, :, SECTION], sections)


# ---------------------------------------------------------------------- nothing leaks


def reach_of_plan(model, level):
    """Which bars of the plan each output of a level has a gradient to, through the numbers: outputs x bars."""
    rows = [STEPS, -(-STEPS // 4), -(-STEPS // 8)][level]
    plan = some_plan(1, BARS + 2).select(torch.zeros(rows, dtype=torch.long))
    leaf = plan.numbers.clone().requires_grad_()
    output = tuple(model(hits(1).repeat(rows, 1, 1), plan=Plan(plan.labels, leaf)))[level]
    now = torch.arange(rows)
    (output[now, now] @ torch.rand(VOICES)).sum().backward()
    return leaf.grad.abs().sum(-1) != 0


@pytest.mark.parametrize(("level", "size"), [(0, 4), (1, 1), (2, 0.5)], ids=["step", "bar", "phrase"])
def test_outputs_have_a_gradient_to_the_plan_of_the_bar_that_they_are_for_and_to_no_other(model, level, size):
    has_gradient = reach_of_plan(model, level)
    bar_of = (
        (torch.arange(len(has_gradient)) + 1) / size
    ).long()  # of step t + 1, bar k + 1, the first of phrase k + 1
    assert torch.equal(has_gradient, torch.arange(BARS + 2) == bar_of[:, None])


def test_step_equals_forward_under_a_plan(model):
    played, plan = hits(), some_plan()
    whole = model(played, plan=plan)
    state = model.init_state(2, plan)
    for t, x in enumerate(played.unbind(1)):
        expected = whole.step_dist[:, t]
        torch.testing.assert_close(model.predict(state).log_prob(x), expected.log_prob(x), atol=1e-5, rtol=0)
        torch.testing.assert_close(model.features(state), whole.features[:, t], atol=1e-5, rtol=0)
        state = model.advance(x, state)


@pytest.mark.slow
def test_a_plan_of_one_bar_acts_as_one_that_is_written_out(model):
    """How new a style is fades after the last bar that the plan tells, too."""
    played = hits(2, 40 * GRID.steps_per_bar)
    short = make_plan(LABELS, 1, sections="A:1", style="rock")
    whole, brief = (model(played, plan=plan) for plan in (short.bars(0, 41), short))
    following = F.pad(played, (0, 0, 0, 1))
    torch.testing.assert_close(brief.step_dist.log_prob(following), whole.step_dist.log_prob(following))
    assert not torch.allclose(model.init_state(1, short).plan[:, 0], model.init_state(1, short).plan[:, 3])
    state = model.init_state(2, short)
    for t, x in enumerate(played.unbind(1)):
        torch.testing.assert_close(
            model.predict(state).log_prob(x), whole.step_dist[:, t].log_prob(x), atol=1e-4, rtol=0
        )
        state = model.advance(x, state)


def test_log_prob_of_a_prefix_is_the_prefix_of_log_prob_whatever_is_planned_later(model):
    played, plan = hits(), some_plan()
    whole = model.log_prob(played, plan=plan)
    for steps in (1, 4, 5, 8, 14, STEPS):
        prefix = model.log_prob(played[:, :steps], plan=plan.bars(0, -(-steps // 4)))
        torch.testing.assert_close(prefix, whole[:, :steps], atol=1e-5, rtol=0)


@pytest.mark.parametrize("kind", range(len(KINDS)), ids=KINDS)
def test_each_kind_of_label_has_an_effect(kind):
    model, plan = make(), some_plan()
    other = Plan(plan.labels.clone(), plan.numbers)
    other.labels[..., kind] = (other.labels[..., kind] + 1) % 3
    assert not torch.allclose(model.log_prob(hits(), plan=plan), model.log_prob(hits(), plan=other))


@pytest.mark.parametrize("name", NUMBERS)
def test_each_number_has_an_effect_and_open_is_not_zero(name):
    model, plan = make(), some_plan()
    values = []
    for value in (math.nan, 0.0 if name != "tempo_bpm" else 120.0, 0.5 if name != "tempo_bpm" else 90.0):
        numbers = plan.numbers.clone()
        numbers[..., NUMBERS.index(name)] = value
        values.append(model.log_prob(hits(), plan=Plan(plan.labels, numbers)))
    assert all(amount.isfinite().all() for amount in values)
    assert not any(torch.allclose(values[one], values[other]) for one, other in ((0, 1), (1, 2), (0, 2)))


def test_sections_alone_are_a_plan_with_the_rest_open():
    model, sections = make(), torch.tensor([[1, 1, 2, 2, 0, 3, 1]] * 2)
    plan = Plan.free(2, 7)
    plan.labels[..., SECTION] = sections
    assert torch.equal(model.log_prob(hits(), sections=sections), model.log_prob(hits(), plan=plan))


def test_no_plan_is_one_that_leaves_all_open_and_one_row_is_for_all():
    model = make()
    assert torch.equal(model.log_prob(hits()), model.log_prob(hits(), plan=Plan.free(1, 3)))


def test_a_model_without_a_plan_plays_as_it_would_without_labels():
    with_labels, without = make(), HierarchicalDrumModel(VOICES, 16, 8, 8, grid=GRID).eval()
    without.load_state_dict({name: with_labels.state_dict()[name] for name in without.state_dict()})
    for one, other in zip(with_labels(hits()), without(hits()), strict=True):
        assert torch.equal(one, other)
    half = some_plan()
    half.labels[:, 3:], half.numbers[:, 3:] = 0, math.nan
    actual = with_labels.log_prob(hits(), plan=half)
    assert torch.equal(actual[:, 12:], without.log_prob(hits())[:, 12:])
    assert not torch.allclose(actual[:, :12], without.log_prob(hits())[:, :12])


def test_rows_that_are_selected_and_reset_keep_their_own_plan():
    model, played, plan = make(), hits(), some_plan()
    state = model.init_state(2, plan)
    for x in played[:, :6].unbind(1):
        state = model.advance(x, state)
    state = state.select(torch.tensor([1, 0])).reset(torch.tensor([True, False]))
    expected = model(played, plan=plan).step_dist
    dist = model.predict(state)
    torch.testing.assert_close(dist.probs[0], expected[1, 0].probs, atol=1e-5, rtol=0)
    torch.testing.assert_close(dist.probs[1], expected[0, 6].probs, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("conditions", "words"),
    [
        ({"plan": some_plan(3)}, "3 rows"),
        ({"plan": Plan.free(2, 0)}, "0 bars"),
        ({"plan": Plan(some_plan().labels + 9, some_plan().numbers)}, "outside the vocabulary"),
        ({"plan": some_plan(), "sections": torch.zeros(2, 7, dtype=torch.long)}, "expected one"),
    ],
)
def test_a_plan_that_does_not_fit_is_refused_in_one_line(conditions, words, without_shape_checks):
    with pytest.raises(HypermeterError, match=words):
        make().log_prob(hits(), **conditions)


def test_a_model_without_labels_takes_no_plan():
    model = HierarchicalDrumModel(VOICES, 16, 8, 8, grid=GRID)
    for conditions in ({"plan": some_plan()}, {"sections": torch.zeros(2, 7, dtype=torch.long)}):
        with pytest.raises(HypermeterError, match="made without labels"):
            model(hits(), **conditions)


def test_a_saved_model_knows_its_labels(tmp_path):
    model = make()
    model.save(tmp_path / "model.safetensors")
    again = load(tmp_path / "model.safetensors")
    assert again.labels == LABELS
    assert torch.equal(again.log_prob(hits(), plan=some_plan()), model.log_prob(hits(), plan=some_plan()))


def test_every_part_of_the_embedding_learns():
    embedding = PlanEmbedding(LABELS, VOICES)
    embedding(some_plan(8)).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in embedding.parameters())


def test_bars_since_a_change_begin_anew_where_section_or_style_do():
    plan = Plan.free(1, 6)
    plan.labels[0, 2:, STYLE] = 1
    plan.labels[0, 4:, FILLS] = 2
    plan.labels[0, 5:, SECTION] = 1
    assert bars_since_change(plan).tolist() == [[0, 1, 0, 1, 2, 0]]


def test_letters_are_names_like_others_where_sections_have_no_names():
    assert column(make_plan(LABELS, sections="A:1 verse:1 a:1"), "section") == [1, 2, 1]
    assert column(make_plan(LABELS, sections="B:1 A:1"), "section") == [1, 2]  # what comes first is the first letter


def test_a_text_of_more_bars_than_anyone_plays_is_refused_before_it_is_read_out():
    for text in (
        "verse:99999999999999999999",
        "verse:200000000",
        "verse:6000 chorus:6000",
        "verse:00",
        "verse:2 chorus:0",
    ):
        with pytest.raises(HypermeterError, match="sections: ") as caught:
            make_plan({"section": list(LETTERS)}, sections=text)
        assert len(str(caught.value)) < 200


@pytest.mark.parametrize("text", ["rok:2", "fil:1", "verse:1 Rocks:1"])
def test_a_misspelt_label_is_no_name_of_a_section(text):
    with pytest.raises(HypermeterError, match="did you mean"):
        make_plan({"section": list(LETTERS), "style": ["rock"], "fill": ["beat", "fill"]}, sections=text)
