"""The model: three proofs that nothing leaks from later, two ways of running it, states, files.

The proofs hold for every encoder with every output, with the bar attention and without: no gradient to anything later,
``step`` equals ``forward``, ``log_prob`` of a prefix is the prefix of ``log_prob``.
"""

import inspect
import itertools
import json
import math
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace

import jaxtyping
import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn.parallel import scatter_gather
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten, treespec_dumps, treespec_loads

import hypermeter
from hypermeter import HierarchicalDrumModel, load
from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.core.kit import load_kit
from hypermeter.model import Parts
from hypermeter.model.encoders import RecurrentEncoder, TransformerEncoder
from hypermeter.model.expression import Expression
from hypermeter.model.losses import compute_loss
from hypermeter.model.plan import Plan, make_plan
from hypermeter.model.state import Prediction, Probabilities, State
from hypermeter.music.metrics import chunk_means

VOICES, STEPS = 3, 27
GRID = Grid(2, 2, 2)  # bars of 4 steps, phrases of 8: STEPS is 6 bars and 3 steps, 3 phrases and a part
SEEN = [[0, 0, 0], [1, 0, 0], [0, 1, 1], [1, 0, 1]]
ENCODERS = {"gru": {}, "lstm": {"cell": "lstm"}, "transformer": {"use_transformer": True}}
OUTPUTS = {
    "mixture": {"output": "mixture", "num_components": 3},
    "sigmoid": {"output": "sigmoid"},
    "softmax": {"output": "softmax", "known": SEEN},
}
VARIANTS = {
    f"{encoder}-{output}{'' if attends else '-without attention'}": {
        **ENCODERS[encoder],
        **OUTPUTS[output],
        "parts": Parts(bar_attention=attends),
    }
    for encoder, output, attends in itertools.product(ENCODERS, OUTPUTS, (True, False))
}
ABLATIONS = {
    "no positions": {"parts": Parts(positions=False)},
    "no bar level": {"parts": Parts(bar_level=False)},
    "no phrase level": {"parts": Parts(phrase_level=False)},
    "no look-back": {"parts": Parts(look_back=False)},
    "no recalled hits": {"parts": Parts(recalled_hits=False)},
    "nothing above": {"parts": Parts(bar_level=False, phrase_level=False, bar_attention=False)},
}
SHORT = {"attention_window": 5, "attention_bars": 3}
METRES = {
    "3/4": Grid(4, 3),
    "6/8": Grid(2, 6, beat_unit=8),
    "24 steps": Grid(6, 4, 2),
    "a bar a phrase": Grid(2, 2, 1),
    "a step a bar": Grid(1, 1, 3),
}


def consume(model, x, state=None):
    """The state after the hits."""
    state = model.init_state(len(x)) if state is None else state
    for step_hits in x.unbind(1):
        state = model.advance(step_hits, state)
    return state


def make(num_drums=VOICES, grid=GRID, seed=0, **options):
    """A small model in eval mode; the parts that start at zero are moved from it."""
    torch.manual_seed(seed)
    windows = {name: options.pop(name) for name in SHORT if name in options}
    parts = replace(options.pop("parts", Parts()), **windows)
    model = HierarchicalDrumModel(num_drums, 16, 8, 8, grid=grid, parts=parts, **options).eval()
    if model.bar_attention is not None:
        with torch.no_grad():
            model.bar_attention.null_key.normal_()
            model.bar_attention.null_value.normal_()
    return model


def hits(batch=2, steps=STEPS, voices=VOICES, seed=1):
    return (torch.rand(batch, steps, voices, generator=torch.Generator().manual_seed(seed)) < 0.4).float()


@pytest.fixture(params=VARIANTS)
def model(request):
    return make(**VARIANTS[request.param])


@pytest.fixture
def without_shape_checks(monkeypatch):
    """As users run it: the check of annotations in these tests would come first."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


def tensors(value):
    """All tensors of nested tuples, or of a state and its start."""
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, tuple):
        return [tensor for item in value for tensor in tensors(item)]
    return (
        [] if value is None else [tensor for field in fields(value) for tensor in tensors(getattr(value, field.name))]
    )


def assert_same_state(one, other):
    for a, b in zip(tensors(one), tensors(other), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=0)


# ---------------------------------------------------------------------- first proof: no gradient to anything later

LEVELS = ("step", "bar", "phrase")


def inputs_of(step, grid=GRID):
    return [step, chunk_means(step, grid.steps_per_bar), chunk_means(step, grid.steps_per_phrase)]


def reach(model, level, steps=STEPS):
    """Which inputs the outputs of a level have a gradient to: outputs x steps, outputs x bars, outputs x phrases.

    The three inputs are leaves of their own. Row n of the batch asks for output n, so that one backward pass does.
    """
    rows = [steps, -(-steps // model.grid.steps_per_bar), -(-steps // model.grid.steps_per_phrase)][level]
    leaves = [inputs.repeat(rows, 1, 1).requires_grad_() for inputs in inputs_of(hits(1, steps), model.grid)]
    return reached(model(*leaves), level, leaves)


def reach_of_steps_alone(model, level, steps=STEPS):
    """As ``reach``, with bars and phrases computed from the steps: outputs x steps."""
    rows = [steps, -(-steps // model.grid.steps_per_bar), -(-steps // model.grid.steps_per_phrase)][level]
    leaf = hits(1, steps).repeat(rows, 1, 1).requires_grad_()
    return reached(model(leaf), level, [leaf])[0]


def reached(prediction, level, leaves):
    output = tuple(prediction)[level]
    now = torch.arange(len(output))
    (output[now, now] @ torch.rand(output.shape[-1])).sum().backward()
    return [torch.zeros(x.shape[:2]) != 0 if x.grad is None else x.grad.abs().sum(-1) != 0 for x in leaves]


def ended(level, grid=GRID, steps=STEPS):
    """What each output may see, by the rule: outputs x steps, outputs x bars, outputs x phrases.

    Output n stands where element n of its level has ended; a chunk that is short has ended where the piece has.
    """
    sizes = [1, grid.steps_per_bar, grid.steps_per_phrase]

    def whole(size):
        return torch.arange(size, steps + size, size)

    here = whole(sizes[level])[:, None]
    return [whole(size)[None] <= here for size in sizes]


@pytest.mark.parametrize("level", range(3), ids=LEVELS)
def test_outputs_have_a_gradient_to_all_that_has_ended_and_to_nothing_later(model, level):
    allowed = ended(level)
    reaches, of_steps_alone = reach(model, level), reach_of_steps_alone(model, level)
    assert not any(
        (has_gradient & ~may).any() for has_gradient, may in zip([*reaches, of_steps_alone], [*allowed, allowed[0]])
    )
    assert all(
        torch.equal(has_gradient, may) for has_gradient, may in zip([*reaches, of_steps_alone], [*allowed, allowed[0]])
    )


def test_log_prob_has_no_gradient_to_later_steps(model):
    leaf = hits(1).repeat(STEPS, 1, 1).requires_grad_()
    now = torch.arange(STEPS)
    model.log_prob(leaf)[now, now].sum().backward()
    has_gradient = leaf.grad.abs().sum(-1) != 0
    assert not has_gradient.triu(1).any()
    assert torch.equal(has_gradient.tril(-1), torch.ones(STEPS, STEPS, dtype=torch.bool).tril(-1))


@pytest.mark.parametrize("options", [*ABLATIONS.values(), SHORT | {"use_transformer": True}], ids=[*ABLATIONS, "short"])
@pytest.mark.parametrize("level", range(3), ids=LEVELS)
def test_nothing_leaks_when_a_part_is_left_out(options, level):
    model = make(**options)
    for has_gradient, allowed in zip(reach(model, level), ended(level)):
        assert not (has_gradient & ~allowed).any()


@pytest.mark.parametrize("grid", METRES.values(), ids=METRES)
@pytest.mark.parametrize("level", range(3), ids=LEVELS)
def test_nothing_leaks_in_other_metres(grid, level):
    steps = 2 * grid.steps_per_phrase + grid.steps_per_bar + max(grid.steps_per_bar // 2, 1)
    for has_gradient, allowed in zip(reach(make(grid=grid), level, steps), ended(level, grid, steps)):
        assert torch.equal(has_gradient, allowed)


# Encoders that see one element only leave one way to what is further back, so that each way can be seen alone.
ALONE = {"use_transformer": True, "attention_window": 1}
NOTHING = Parts(bar_level=False, phrase_level=False, bar_attention=False, look_back=False)


def test_the_look_back_reaches_its_place_and_what_followed_one_two_and_four_bars_ago():
    has_gradient = reach(make(**ALONE, parts=replace(NOTHING, look_back=True)), 0)[0]
    age = torch.arange(STEPS)[:, None] + 1 - torch.arange(STEPS)  # of step s, for the step t + 1 that is predicted
    seen = {bars * 4 - step for bars in (1, 2, 4) for step in range(4)}
    assert torch.equal(has_gradient, torch.isin(age, torch.tensor(sorted(seen | {1}))))


def test_the_bar_attention_reaches_the_same_step_of_earlier_bars():
    has_gradient = reach(make(**ALONE, attention_bars=4, parts=replace(NOTHING, bar_attention=True)), 0)[0]
    age = torch.arange(STEPS)[:, None] + 1 - torch.arange(STEPS)  # of step s, for the step t + 1 that is predicted
    played = (age > 0) & (age % 4 == 0) & (age <= 16)
    before_it = (age > 1) & (age % 4 == 1) & (age <= 17)  # the state before a step has seen the step before
    assert torch.equal(has_gradient, (age == 1) | played | before_it)


@pytest.mark.parametrize(("part", "size"), [("bar_level", 4), ("phrase_level", 8)])
def test_the_levels_above_reach_the_last_chunk_that_has_ended(part, size):
    model = make(**ALONE, parts=replace(NOTHING, **{part: True}))
    now, then = torch.arange(STEPS)[:, None], torch.arange(STEPS)
    chunk = (now + 1) // size - 1
    is_same_step = now == then
    # Summed states and patterns, both of steps. Of a phrase's bars only whole ones count.
    assert torch.equal(reach_of_steps_alone(model, 0), is_same_step | (then // size == chunk))
    level = 1 if size == 4 else 2
    assert torch.equal(reach(model, 0)[level], torch.arange(-(-STEPS // size)) == chunk)


class Backwards(RecurrentEncoder):
    """Runs from the end to the beginning."""

    def forward(self, x):
        return super().forward(x.flip(1)).flip(1)


@pytest.mark.parametrize("part", ["step_rnn", "bar_rnn", "phrase_rnn"])
def test_the_proof_finds_a_leak(part):
    model = make()
    rnn = getattr(model, part).rnn
    setattr(model, part, Backwards(rnn.input_size, rnn.hidden_size, 1))
    assert any((has_gradient & ~allowed).any() for has_gradient, allowed in zip(reach(model, 0), ended(0)))
    prefix = model.log_prob(hits(steps=20))
    assert not torch.allclose(prefix, model.log_prob(hits(steps=STEPS))[:, :20], atol=1e-5)


# ---------------------------------------------------------------------- second proof: step equals forward


def assert_streams_as_forward(model, x):
    state, dist = model.init_state(len(x)), model(x).step_dist
    first = model.predict(state)
    torch.testing.assert_close(first.probs, dist[:, 0].probs, atol=1e-5, rtol=0)
    for position, step_hits in enumerate(x.unbind(1)):
        after, state = model.step(step_hits, state)
        torch.testing.assert_close(after.probs, dist[:, position + 1].probs, atol=1e-5, rtol=0)
        for played in (torch.zeros_like(step_hits), torch.ones_like(step_hits), step_hits):
            wanted = dist[:, position + 1].log_prob(played)
            torch.testing.assert_close(after.log_prob(played), wanted, atol=1e-5, rtol=1e-5)
    assert state.position.tolist() == [x.shape[1]] * len(x)


@torch.no_grad()
def test_step_equals_forward(model):
    assert_streams_as_forward(model, hits())


@torch.no_grad()
@pytest.mark.parametrize("variant", [name for name in VARIANTS if "mixture" in name])
def test_step_equals_forward_beyond_the_windows(variant):
    assert_streams_as_forward(make(**VARIANTS[variant], **SHORT), hits())


@torch.no_grad()
@pytest.mark.parametrize("options", ABLATIONS.values(), ids=ABLATIONS)
def test_step_equals_forward_when_a_part_is_left_out(options):
    assert_streams_as_forward(make(**options), hits())


@torch.no_grad()
@pytest.mark.parametrize("grid", METRES.values(), ids=METRES)
def test_step_equals_forward_in_other_metres(grid):
    steps = grid.steps_per_phrase + grid.steps_per_bar + max(grid.steps_per_bar // 2, 1)
    assert_streams_as_forward(make(grid=grid), hits(steps=steps))


@torch.no_grad()
def test_step_equals_forward_with_23_voices():
    assert_streams_as_forward(make(23), hits(voices=23))


@torch.no_grad()
def test_rows_that_begin_again_in_a_batch_play_as_they_do_alone(model):
    x, begins = hits(3), [0, 5, 16]  # in the same bar as the others, in a bar, on a phrase
    wanted = [model(x[row : row + 1, begin:]).step_dist.probs[0] for row, begin in enumerate(begins)]
    state = model.init_state(3)
    for position, step_hits in enumerate(x.unbind(1)):
        state = state.reset(torch.tensor([position > 0 and position == begin for begin in begins]))
        dist, state = model.step(step_hits, state)
        for row, begin in enumerate(begins):
            if position >= begin:
                torch.testing.assert_close(dist.probs[row], wanted[row][position - begin + 1], atol=1e-5, rtol=0)


@pytest.mark.slow
@torch.no_grad()
@pytest.mark.parametrize("grid", [GRID, *METRES.values()], ids=["2/4", *METRES])
@pytest.mark.parametrize("encoder", ENCODERS)
def test_a_place_that_is_given_changes_nothing(encoder, grid):
    model = make(grid=grid, **ENCODERS[encoder], **SHORT, labels={"style": ["rock"]})
    x = hits(steps=2 * grid.steps_per_phrase + 3)
    plan = Plan.free(2, 3)
    plan.labels[0, 1] = torch.tensor([0, 1, 0])
    for bar_plan in (None, plan):
        with_place = without_place = model.init_state(2, bar_plan)
        for place, step in enumerate(x.unbind(1)):
            first, other = model.predict(with_place, place=place), model.predict(without_place)
            torch.testing.assert_close(first.log_prob(step), other.log_prob(step), atol=1e-5, rtol=0)
            torch.testing.assert_close(
                model.features(with_place, place=place), model.features(without_place), atol=1e-5, rtol=0
            )
            dist, with_place = model.step(step, with_place, place=place)
            other, without_place = model.step(step, without_place)
            torch.testing.assert_close(dist.probs, other.probs, atol=1e-5, rtol=0)
            assert_same_state(with_place, without_place)


def state_of(model, steps_played):
    """Rows after so many steps each, 0 for the beginning."""
    state = model.init_state(len(steps_played))
    for place, x in enumerate(hits(len(steps_played), max(steps_played) or 1).unbind(1)):
        state = model.advance(x, state).reset(
            torch.tensor([place + 1 == max(steps_played) - number for number in steps_played])
        )
    return state


@pytest.mark.slow
@torch.no_grad()
@pytest.mark.parametrize("variant", [name for name in VARIANTS if "mixture" in name])
def test_a_step_makes_no_choice_by_a_value(variant, without_shape_checks):
    """Traced with tensors that have no values, for any number of rows, it runs on: nothing waits for the device."""
    model = make(**VARIANTS[variant], **SHORT)

    rows = [3, 7, 0, 4, 9, 8, 1]  # 7 is no other size in the model, and stands for any number
    parts, structure = tree_flatten(state_of(model, rows).parts())

    def traced(x, *flat):
        dist, after = model.step(x, State(**tree_unflatten(list(flat), structure)))
        return [dist.log_weights, dist.logits, *tree_leaves(after.parts())]

    graph = make_fx(traced, tracing_mode="symbolic", _allow_non_fake_inputs=True)(hits(7)[:, 0], *parts)
    x, others = hits(4)[:, 1], state_of(model, [3, 7, 8, 0])
    flat = tree_leaves(others.parts())
    for actual, wanted in zip(graph(x, *flat), traced(x, *flat), strict=True):
        torch.testing.assert_close(actual, wanted)


# ---------------------------------------------------------------------- third proof: a prefix, and likelihoods


@torch.no_grad()
def test_log_prob_of_a_prefix_is_the_prefix_of_log_prob(model):
    x = hits()
    whole = model.log_prob(x)
    assert whole.shape == (2, STEPS)
    assert (whole < 0).all()
    for steps in (1, 3, 4, 8, 18, 24):
        torch.testing.assert_close(model.log_prob(x[:, :steps]), whole[:, :steps], atol=1e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("steps", [1, 6, 9])
def test_probabilities_of_all_combinations_at_a_step_sum_to_one(model, steps):
    every = torch.tensor(list(itertools.product([0.0, 1.0], repeat=VOICES)))
    x = torch.cat([hits(1, steps - 1).expand(8, -1, -1), every[:, None]], 1)
    assert model.log_prob(x)[:, -1].exp().sum().item() == pytest.approx(1, abs=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("output", OUTPUTS)
def test_probabilities_of_all_sequences_sum_to_one(output):
    model = make(2, Grid(2, 1, 1), **OUTPUTS[output] | ({"known": [[0, 0], [1, 0]]} if output == "softmax" else {}))
    every = torch.tensor(list(itertools.product([0.0, 1.0], repeat=10))).unflatten(1, (5, 2))
    assert model.log_prob(every).sum(-1).exp().sum().item() == pytest.approx(1, abs=1e-4)


@torch.no_grad()
def test_log_prob_is_that_of_predict_before_each_step(model):
    x = hits()
    state, log_probs = model.init_state(2), []
    for step_hits in x.unbind(1):
        log_probs.append(model.predict(state).log_prob(step_hits))
        state = model.advance(step_hits, state)
    torch.testing.assert_close(torch.stack(log_probs, 1), model.log_prob(x), atol=1e-5, rtol=1e-5)


# ---------------------------------------------------------------------- the contract


def test_the_signature_is_the_contract():
    parameters = inspect.signature(HierarchicalDrumModel).parameters
    positional = {name: item.default for name, item in parameters.items() if item.kind is item.POSITIONAL_OR_KEYWORD}
    assert positional == {
        "num_drums": inspect.Parameter.empty,
        "step_hidden_dim": 128,
        "bar_hidden_dim": 128,
        "phrase_hidden_dim": 128,
        "num_layers": 2,
        "dropout": 0.1,
        "use_transformer": False,
    }
    further = {name: item for name, item in parameters.items() if name not in positional}
    assert further.pop("unknown").kind is inspect.Parameter.VAR_KEYWORD  # refused, with a hint
    assert all(parameter.kind is parameter.KEYWORD_ONLY for parameter in further.values()) and len(further) <= 11
    assert list(inspect.signature(HierarchicalDrumModel.forward).parameters)[1:] == [
        "step_seq",
        "bar_seq",
        "phrase_seq",
        "sections",
        "plan",
        "taps",
    ]


@pytest.mark.parametrize(("options", "kind"), [({}, RecurrentEncoder), ({"use_transformer": True}, TransformerEncoder)])
def test_the_parts_have_their_names(options, kind):
    model = HierarchicalDrumModel(9, **options)
    assert all(isinstance(encoder, kind) for encoder in (model.step_rnn, model.bar_rnn, model.phrase_rnn))
    for name in ("step_to_bar", "bar_to_phrase", "output_layer", "activation"):
        assert isinstance(getattr(model, name), torch.nn.Module)
    assert model.grid == Grid()
    assert model.kit is None


def test_forward_unpacks_into_probabilities_of_steps_bars_and_phrases(model):
    step_preds, bar_preds, phrase_preds = model(hits())
    assert step_preds.shape == (2, STEPS, VOICES)
    assert bar_preds.shape == (2, 7, VOICES)
    assert phrase_preds.shape == (2, 4, VOICES)
    assert all(((probs > 0) & (probs < 1)).all() for probs in (step_preds, bar_preds, phrase_preds))


def test_a_prediction_takes_what_a_tuple_takes():
    prediction = make()(hits())
    whole = tuple(prediction)
    assert len(prediction) == 3
    for index in (0, 1, 2, -1):
        assert torch.equal(prediction[index], whole[index])
    for part in (slice(2), slice(1, None), slice(None, None, 2)):
        assert all(torch.equal(*pair) for pair in zip(prediction[part], whole[part], strict=True))
    with pytest.raises(IndexError):
        prediction[3]


@pytest.mark.parametrize("output", OUTPUTS)
def test_a_prediction_is_a_pytree_of_its_tensors(output):
    prediction = make(**OUTPUTS[output])(hits())
    leaves, structure = tree_flatten(prediction)
    assert all(isinstance(leaf, torch.Tensor) for leaf in leaves)
    again = tree_unflatten(leaves, structure)
    assert isinstance(again, Prediction) and torch.equal(
        again.step_dist.log_prob(hits(steps=STEPS + 1)), (prediction.step_dist.log_prob(hits(steps=STEPS + 1)))
    )
    assert treespec_loads(treespec_dumps(structure)) == structure


@torch.no_grad()
@pytest.mark.filterwarnings("ignore:The tensor attributes")  # of torch's own recurrent layers
@pytest.mark.parametrize("output", ["mixture", "softmax"])
def test_a_model_is_exported_by_torch_and_its_program_gives_a_prediction(output, without_shape_checks):
    model, x = make(**OUTPUTS[output]), hits()
    prediction = torch.export.export(model, (x,)).module()(x)
    assert isinstance(prediction, Prediction)
    for part, expected in zip(prediction, model(x), strict=True):
        torch.testing.assert_close(part, expected)
    following = hits(steps=STEPS + 1)
    torch.testing.assert_close(prediction.step_dist.log_prob(following), model(x).step_dist.log_prob(following))


def test_predictions_of_several_devices_are_gathered_as_probabilities_by_name(monkeypatch):
    model, x = make(), hits(4)
    concatenate = SimpleNamespace(apply=lambda device, axis, *parts: torch.cat(parts, axis))
    monkeypatch.setattr(scatter_gather, "Gather", concatenate)  # torch's own takes no tensors on the CPU
    gathered = scatter_gather.gather([model(part) for part in x.split(2)], "cpu")
    assert type(gathered) is Probabilities and gathered.bar_preds is gathered[1]
    for part, expected in zip(gathered, model(x), strict=True):
        torch.testing.assert_close(part, expected)
    assert compute_loss(gathered, tuple(inputs_of(x)), grid=GRID).isfinite()


def test_step_preds_at_t_are_the_marginals_of_the_next_step(model):
    prediction = model(hits())
    torch.testing.assert_close(prediction.step_preds, prediction.step_dist.probs[:, 1:])


@torch.no_grad()
def test_means_of_bars_and_phrases_that_are_left_out_are_computed(model):
    x = hits()
    for given in (inputs_of(x), inputs_of(x)[:2]):
        for one, other in zip(model(x), model(*given), strict=True):
            torch.testing.assert_close(one, other)
    other = model(x, 1 - inputs_of(x)[1])
    assert not torch.allclose(other.step_preds, model(x).step_preds, atol=1e-4)


def test_hits_of_any_number_type_give_the_same():
    model, x = make(), hits()
    with torch.no_grad():
        for kind in (torch.float64, torch.float16):
            torch.testing.assert_close(model.log_prob(x.to(kind)), model.log_prob(x))
            given = [inputs.to(kind) for inputs in inputs_of(x)]
            torch.testing.assert_close(model(*given).step_preds, model(x).step_preds, atol=1e-3, rtol=0)


@pytest.mark.parametrize("steps", [1, 3, 4, 5, 8, 9])
def test_pieces_of_any_length_are_predicted(steps):
    step_preds, bar_preds, phrase_preds = make()(hits(steps=steps))
    assert (step_preds.shape[1], bar_preds.shape[1], phrase_preds.shape[1]) == (steps, -(-steps // 4), -(-steps // 8))


def test_compute_loss_is_on_the_grid_of_the_model():
    model, x = make(), hits()
    loss = model.compute_loss(model(x), tuple(inputs_of(x)), True)
    torch.testing.assert_close(loss, compute_loss(model(x), tuple(inputs_of(x)), True, grid=GRID))
    assert loss != compute_loss(model(x), tuple(inputs_of(x)), True)


def test_every_parameter_learns(model):
    x = hits()
    model.compute_loss(model(x), tuple(inputs_of(x))).backward()
    still = {name for name, parameter in model.named_parameters() if parameter.grad is None or not parameter.grad.any()}
    assert still == set()


def test_the_same_seed_gives_the_same_model_and_another_seed_another():
    x = hits()
    with torch.no_grad():
        first, again, other = (make(seed=seed).log_prob(x) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other, atol=1e-3)


@torch.no_grad()
@pytest.mark.parametrize("encoder", ENCODERS)
def test_dropout_acts_in_training_only(encoder):
    model, x = make(**ENCODERS[encoder], dropout=0.5), hits()
    assert torch.equal(model.log_prob(x), model.log_prob(x))
    state = consume(model, x)
    assert torch.equal(model.predict(state).probs, model.predict(state).probs)
    model.train()
    assert not torch.allclose(model.log_prob(x), model.log_prob(x), atol=1e-4)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([torch.zeros(2, 9, 4)], r"step_seq of shape (2, 9, 4), expected (batch, "),
        ([torch.zeros(2, 0, 3)], r"step_seq of shape (2, 0, 3), expected (batch, "),
        ([torch.zeros(9, 3)], r"step_seq of shape (9, 3), expected (batch, "),
        ([torch.zeros(3)], r"step_seq of shape (3,), expected (batch, "),
        ([torch.zeros(2, 9, 3), torch.zeros(2, 2, 3)], r"bar_seq of shape (2, 2, 3), expected ("),
        ([torch.zeros(2, 9, 3), torch.zeros(1, 3, 3)], r"bar_seq of shape (1, 3, 3), expected ("),
        ([torch.zeros(2, 9, 3), torch.zeros(2, 3, 4)], r"bar_seq of shape (2, 3, 4), expected ("),
        ([torch.zeros(2, 9, 3), None, torch.zeros(2, 3, 3)], r"phrase_seq of shape (2, 3, 3), expected ("),
    ],
)
def test_a_shape_that_does_not_fit_is_refused_in_one_line(given, words, without_shape_checks):
    with pytest.raises(HypermeterError) as raised:
        make()(*given)
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_step_that_does_not_fit_the_state_is_refused_in_one_line():
    model = make()
    for x in (torch.zeros(3, VOICES), torch.zeros(2, VOICES + 1)):
        with pytest.raises(HypermeterError, match=r"step: x of shape \(.*\), expected \(2, 3\)"):
            model.step(x, model.init_state(2))


def test_sections_are_refused_as_there_are_none(without_shape_checks):
    with pytest.raises(HypermeterError, match="sections given"):
        make()(hits(), sections=torch.zeros(2, 7))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"output": "gaussian"}, "output is 'gaussian', expected mixture, sigmoid or softmax"),
        ({"cell": "rnn"}, "cell is 'rnn', expected gru or lstm"),
        ({"step_hidden_dim": 18}, "hidden_dim is 18, expected a multiple of 4 for 4 heads"),
        ({"use_transformer": True, "bar_hidden_dim": 12}, "hidden_dim is 12, expected a multiple of 8 for 4 heads"),
        ({"output": "softmax", "num_drums": 23}, "softmax over 23 voices"),
        ({"kit": load_kit("gm10")}, "3 drums, kit gm10 has 10"),
    ],
)
def test_options_that_do_not_fit_are_refused_in_one_line(options, words):
    with pytest.raises(HypermeterError, match=words):
        HierarchicalDrumModel(**{"num_drums": VOICES} | options)


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("num_component", "did you mean num_components"),
        ("use_positions", r"pass parts=Parts\(positions=...\)"),
        ("attention_bars", r"pass parts=Parts\(attention_bars=...\)"),
        ("colour", "expected some of num_drums"),
    ],
)
def test_an_unknown_argument_is_named_with_the_model_and_what_to_write(name, advice):
    with pytest.raises(HypermeterError, match=rf"HierarchicalDrumModel: no argument {name}\b.*{advice}"):
        HierarchicalDrumModel(VOICES, **{name: 1})


@torch.no_grad()
def test_a_plan_of_arrays_conditions_a_model_as_one_of_tensors():
    labels = {"style": ["rock", "jazz"]}
    model, x = make(labels=labels), hits()
    plan = hypermeter.make_plan(model.labels, 7, style="jazz", density=0.3)
    assert type(plan) is hypermeter.Plan and isinstance(plan.labels, np.ndarray)
    expected = model(x, plan=make_plan(model.labels, 7, style="jazz", density=0.3)).step_preds
    assert torch.equal(model(x, plan=plan).step_preds, expected)
    assert torch.equal(
        model.init_state(2, plan).plan, model.init_state(2, make_plan(model.labels, 7, style="jazz", density=0.3)).plan
    )


# ---------------------------------------------------------------------- states


@torch.no_grad()
@pytest.mark.parametrize("encoder", ENCODERS)
def test_a_step_leaves_the_old_state_as_it_was(encoder):
    model, x = make(**ENCODERS[encoder], **SHORT), hits()
    state = model.init_state(2)
    for step_hits in x.unbind(1):  # over ends of bars and phrases
        before = [tensor.clone() for tensor in tensors(state)]
        _, after = model.step(step_hits, state)
        assert all(torch.equal(*pair) for pair in zip(before, tensors(state), strict=True))
        state = after


@torch.no_grad()
@pytest.mark.parametrize("encoder", ENCODERS)
def test_a_state_can_be_forked(encoder):
    model, x = make(**ENCODERS[encoder]), hits(3)
    state = consume(model, x[:, :11])
    first, second = (hits(3, 12, seed=seed) for seed in (2, 3))
    ends = [consume(model, continuation, state) for continuation in (first, second, first)]
    assert_same_state(ends[0], ends[2])
    for end, continuation in zip(ends, (first, second)):
        wanted = model(torch.cat([x[:, :11], continuation], 1)).step_preds[:, -1]
        torch.testing.assert_close(model.predict(end).probs, wanted, atol=1e-5, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("encoder", ENCODERS)
def test_selected_rows_play_on_as_these_rows(encoder):
    model, x = make(**ENCODERS[encoder]), hits(3)
    rows = torch.tensor([2, 0, 0, 1])
    state = consume(model, x[:, :11]).select(rows)
    on = hits(4, 12, seed=2)
    wanted = model(torch.cat([x[rows, :11], on], 1)).step_preds[:, -1]
    torch.testing.assert_close(model.predict(consume(model, on, state)).probs, wanted, atol=1e-5, rtol=0)
    assert_same_state(state.reset(torch.ones(4, dtype=torch.bool)), model.init_state(4))


@torch.no_grad()
@pytest.mark.parametrize("encoder", ENCODERS)
def test_reset_takes_the_given_rows_to_the_beginning_and_no_others(encoder):
    model = make(**ENCODERS[encoder])
    state = consume(model, hits(3))
    mask = torch.tensor([False, True, False])
    after, before = state.reset(mask), [tensor.clone() for tensor in tensors(state)]
    assert after.position.tolist() == [STEPS, 0, STEPS]
    kept = torch.tensor([0, 2])
    assert_same_state(after.select(kept), state.select(kept))
    assert_same_state(after.select(torch.tensor([1])), model.init_state(1))
    assert all(torch.equal(*pair) for pair in zip(before, tensors(state), strict=True))
    assert_same_state(state.reset(torch.zeros(3, dtype=torch.bool)), state)


@torch.no_grad()
@pytest.mark.parametrize("encoder", ENCODERS)
def test_a_state_does_not_grow(encoder):
    model = make(**ENCODERS[encoder], **SHORT)
    sizes = [
        [tensor.shape for tensor in tensors(state)]
        for state in (model.init_state(2), consume(model, hits(2, 4 * STEPS)))
    ]
    assert sizes[0] == sizes[1]


@torch.no_grad()
def test_a_custom_encoder_takes_a_place_at_any_level():
    class Latest(torch.nn.Module):
        """Returns its last input."""

        def __init__(self, input_dim, hidden_dim):
            super().__init__()
            self.project = torch.nn.Linear(input_dim, hidden_dim)

        def forward(self, x):
            return self.project(x)

        def init_state(self, batch_size):
            return ()

        def step(self, x, state):
            return self.project(x), state

    model = make()
    for part in ("step_rnn", "bar_rnn", "phrase_rnn"):
        rnn = getattr(model, part).rnn
        setattr(model, part, Latest(rnn.input_size, rnn.hidden_size))
    assert_streams_as_forward(model, hits())


# ---------------------------------------------------------------------- files

FILED = {
    "gru": {},
    "lstm": {"cell": "lstm", "output": "sigmoid", "parts": Parts(bar_attention=False)},
    "transformer": {"use_transformer": True, "output": "softmax", **SHORT},
    "ablated": {"parts": Parts(positions=False, bar_level=False, phrase_level=False), "num_components": 2},
}


@torch.no_grad()
@pytest.mark.parametrize("options", FILED.values(), ids=FILED)
def test_a_saved_model_is_loaded_as_it_was(options, tmp_path):
    combinations = {"known": [[0] * 10, [1] + [0] * 9]} if options.get("output") == "softmax" else {}
    model = make(10, Grid(2, 6, 2, 8), kit=load_kit("gm10"), **options, **combinations)
    model.train().save(tmp_path / "a.safetensors")
    loaded = load(tmp_path / "a.safetensors")
    assert not loaded.training
    assert (loaded.config, loaded.grid, loaded.kit) == (model.config, model.grid, model.kit)
    x = hits(steps=30, voices=10)
    for one, other in zip(model.eval()(x), loaded(x), strict=True):
        assert torch.equal(one, other)
    assert torch.equal(model.log_prob(x), loaded.log_prob(x))
    assert torch.equal(model.generate(x, 20, seed=1), loaded.generate(x, 20, seed=1))


def test_an_expression_that_is_assigned_afterwards_is_played_and_saved(tmp_path):
    torch.manual_seed(0)
    model = make()
    assert model.player().network.expression is None
    model.expression = Expression(16, VOICES, steps_per_bar=GRID.steps_per_bar)
    assert model.player().network.expression is not None
    model.save(tmp_path / "a.safetensors")
    loaded = load(tmp_path / "a.safetensors").expression
    assert torch.equal(loaded.out.bias, model.expression.out.bias)
    model.expression = None
    assert model.player().network.expression is None


@torch.no_grad()
def test_a_checkpoint_without_the_options_of_parts_has_all_of_them(tmp_path):
    model = make()
    options = {name: value for name, value in model.config.items() if not name.startswith("use_")}
    earlier = HierarchicalDrumModel.from_config(options, GRID, None).config
    assert earlier == model.config | {"use_place_table": True}  # as all had, before there were other places
    with_look_back = HierarchicalDrumModel.from_config(options | {"use_positions": False}, GRID, None)
    assert with_look_back.position_embedding is None and with_look_back.look_back


class LeakyEncoder(torch.nn.Module):
    """The example of CONTRIBUTING.md."""

    def __init__(self, input_dim, hidden_dim):
        super().__init__()
        self.embed = torch.nn.Linear(input_dim, hidden_dim)
        self.keep = torch.nn.Parameter(torch.zeros(hidden_dim))

    def init_state(self, batch_size):
        return (torch.zeros(batch_size, self.embed.out_features),)

    def step(self, x, state):
        keep = self.keep.sigmoid()
        mean = keep * state[0] + (1 - keep) * self.embed(x)
        return mean, (mean,)

    def forward(self, x):
        state, outputs = self.init_state(len(x)), []
        for element in x.unbind(1):
            output, state = self.step(element, state)
            outputs.append(output)
        return torch.stack(outputs, 1)


@torch.no_grad()
def test_a_model_with_a_custom_encoder_is_loaded_with_it(tmp_path):
    model, path, x = make(), tmp_path / "a.safetensors", hits()
    model.bar_rnn = LeakyEncoder(8, 8)
    assert_streams_as_forward(model, x)
    for _ in range(2):  # what was loaded is saved alike
        model.save(path)
        loaded = load(path, encoders={"bar_rnn": LeakyEncoder(8, 8)})
        assert torch.equal(loaded.log_prob(x), model.log_prob(x))
        assert loaded.config == model.config
        model = loaded


def test_a_custom_encoder_that_is_not_given_is_named(tmp_path):
    model, path = make(), tmp_path / "a.safetensors"
    model.save(path)
    with pytest.raises(HypermeterError, match=r"encoders given for bar_rnn, where .* leave them out"):
        load(path, encoders={"bar_rnn": LeakyEncoder(8, 8)})
    model.bar_rnn, model.phrase_rnn = LeakyEncoder(8, 8), RecurrentEncoder(8, 8, 3)
    model.save(path)
    words = r"bar_rnn is a LeakyEncoder, .* load it with encoders=\{'bar_rnn': LeakyEncoder\(\.\.\.\), 'phrase_rnn'"
    with pytest.raises(HypermeterError, match=words):
        load(path)
    with pytest.raises(HypermeterError, match="a.safetensors: phrase_rnn is a RecurrentEncoder"):
        load(path, encoders={"bar_rnn": LeakyEncoder(8, 8)})
    with pytest.raises(HypermeterError, match="not a readable Hypermeter checkpoint"):
        load(path, encoders={"bar_rnn": LeakyEncoder(8, 8), "phrase_rnn": RecurrentEncoder(8, 8, 2)})


def test_a_model_without_a_kit_is_loaded_without(tmp_path):
    make().save(tmp_path / "a.safetensors")
    assert load(str(tmp_path / "a.safetensors")).kit is None


def test_notes_are_kept_in_the_file(tmp_path):
    make().save(tmp_path / "a.safetensors", {"seed": 3, "bits_per_step": 1.5})
    with safe_open(tmp_path / "a.safetensors", framework="pt") as file:
        about = json.loads(file.metadata()["hypermeter"])
    assert about["notes"] == {"seed": 3, "bits_per_step": 1.5}


def test_a_run_gives_its_best_weights_and_its_last_before_there_are_any(tmp_path):
    with pytest.raises(HypermeterError, match="no checkpoint there"):
        load(tmp_path)
    for name, seed in (("last", 1), ("best", 2)):
        model = make(seed=seed)
        model.save(tmp_path / f"{name}.safetensors")
        assert torch.equal(load(tmp_path).mix.weight, model.mix.weight)


def test_another_kit_is_refused(tmp_path):
    path = tmp_path / "a.safetensors"
    make(10, kit=load_kit("gm10")).save(path)
    assert load(path, kit="gm10").kit == load_kit("gm10")
    with pytest.raises(HypermeterError, match="kit gm10 in the checkpoint, expected kit magenta9"):
        load(path, kit="magenta9")
    make().save(path)
    with pytest.raises(HypermeterError, match="no kit in the checkpoint, expected kit gm10"):
        load(path, kit="gm10")


def damaged(path, damage):
    """Damage the checkpoint at path."""
    with safe_open(path, framework="pt") as file:
        about = file.metadata()["hypermeter"]
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if damage == "cut off":
        path.write_bytes(path.read_bytes()[:-100])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "text":
        path.write_text("kick: x---x---")
    elif damage == "of another program":
        save_file(weights, path)
    elif damage == "of an unknown option":
        save_file(weights, path, {"hypermeter": about.replace('"cell"', '"cells"')})
    elif damage == "of another size":
        save_file(weights, path, {"hypermeter": about.replace('"num_layers": 2', '"num_layers": 3')})
    elif damage == "not JSON":
        save_file(weights, path, {"hypermeter": about[:-1]})
    elif damage == "a weight short":
        weights.pop("mix.weight")
        save_file(weights, path, {"hypermeter": about})


@pytest.mark.parametrize(
    "damage",
    [
        "cut off",
        "empty",
        "text",
        "of another program",
        "of an unknown option",
        "of another size",
        "not JSON",
        "a weight short",
    ],
)
def test_a_damaged_file_is_refused_in_one_line(damage, tmp_path):
    path = tmp_path / "a.safetensors"
    make().save(path)
    load(path)
    damaged(path, damage)
    with pytest.raises(HypermeterError, match="not a readable Hypermeter checkpoint") as raised:
        load(path)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_an_unknown_name_is_refused_with_those_that_exist(tmp_path):
    with pytest.raises(HypermeterError, match=r"polka: no such checkpoint; give a .safetensors file, a run, or \["):
        load("polka")
    with pytest.raises(HypermeterError, match="no checkpoint there"):
        load(tmp_path / "none.safetensors")


@pytest.mark.parametrize("value", [0.5, 2.0, math.nan])
def test_likelihoods_of_what_is_no_hit_are_refused(value):
    model = HierarchicalDrumModel(4, 8, 8, 8).eval()
    with pytest.raises(HypermeterError, match="step_seq: values other than 0 and 1"):
        model.log_prob(torch.full((1, 4, 4), value))


def test_a_path_is_a_run_and_a_name_the_shipped_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    HierarchicalDrumModel(3, 8, 8, 8).save(tmp_path / "groove" / "best.safetensors")
    assert load(Path("groove")).num_drums == load("./groove").num_drums == 3
    with pytest.warns(UserWarning, match=r"groove is the shipped model; the run in the folder is \./groove"):
        assert load("groove").num_drums == 10
