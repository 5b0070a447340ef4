"""Encoders: one element at a time or all at once, nothing from later, no further back than the window."""

import math

import pytest
import torch

from hypermeter.core.errors import HypermeterError
from hypermeter.model.encoders import BarAttention, RecurrentEncoder, TransformerEncoder, rotate

MAKERS = {
    "gru": lambda: RecurrentEncoder(3, 8),
    "one gru": lambda: RecurrentEncoder(3, 8, 1),
    "lstm": lambda: RecurrentEncoder(3, 8, cell="lstm"),
    "transformer": lambda: TransformerEncoder(3, 8, num_heads=2),
    "window of four": lambda: TransformerEncoder(3, 8, num_heads=2, window=4),
    "window of one": lambda: TransformerEncoder(3, 8, num_heads=2, window=1),
}


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture(params=MAKERS)
def encoder(request):
    return MAKERS[request.param]().eval()


def stream(encoder, x):
    """Outputs of ``step`` on all of x, and the state after it."""
    state, outputs = encoder.init_state(len(x)), []
    for element in x.unbind(1):
        output, state = encoder.step(element, state)
        outputs.append(output)
    return torch.stack(outputs, 1), state


def reach(function, steps, size):
    """(steps, steps): whether output t has a gradient to input s. Row t of the batch asks for output t."""
    leaf = torch.randn(1, steps, size).repeat(steps, 1, 1).requires_grad_()
    outputs = function(leaf)
    now = torch.arange(steps)
    (outputs[now, now] @ torch.randn(outputs.shape[-1])).sum().backward()
    return leaf.grad.abs().sum(-1) != 0


def test_step_equals_forward(encoder):
    x = torch.randn(2, 13, 3)
    torch.testing.assert_close(stream(encoder, x)[0], encoder(x), atol=1e-5, rtol=0)


def test_rows_of_a_batch_may_stand_at_different_positions(encoder):
    x = torch.randn(2, 13, 3)
    states = [stream(encoder, x[:1, :7])[1], stream(encoder, x[1:, :2])[1]]
    state = tuple(torch.cat(parts) for parts in zip(*states))
    outputs = encoder(x)
    for later in range(6):
        output, state = encoder.step(torch.stack([x[0, 7 + later], x[1, 2 + later]]), state)
        wanted = torch.stack([outputs[0, 7 + later], outputs[1, 2 + later]])
        torch.testing.assert_close(output, wanted, atol=1e-5, rtol=0)


def test_outputs_of_a_prefix_are_the_prefix_of_the_outputs(encoder):
    x = torch.randn(2, 13, 3)
    for steps in (1, 4, 12):
        torch.testing.assert_close(encoder(x[:, :steps]), encoder(x)[:, :steps], atol=1e-6, rtol=0)


@torch.no_grad()
def test_one_position_stands_for_all_rows(attention):
    states, played = attention_input(10)
    memory = attention.init_memory(2)
    for step in range(10):
        one, of_rows = torch.tensor([step]), torch.full((2,), step)
        recalled = [attention.recall(states[:, step], position, memory[0]) for position in (one, of_rows)]
        torch.testing.assert_close(together(recalled[0]), together(recalled[1]))
        element = attention.element(states[:, step], played[:, step])
        memories = [attention.remember(element, position, memory) for position in (one, of_rows)]
        assert all(torch.equal(*columns) for columns in zip(*memories, strict=True))
        memory = memories[0]


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_dropout_between_recurrent_layers_acts_one_step_at_a_time_too(cell):
    encoder, x = RecurrentEncoder(3, 8, 2, 0.5, cell), torch.randn(2, 3)
    first, second = (encoder.step(x, encoder.init_state(2)) for _ in range(2))
    assert torch.equal(first[1][0][:, 0], second[1][0][:, 0])  # the lower layer has nothing before it to drop
    assert not torch.equal(first[0], second[0])


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_a_recurrent_output_has_a_gradient_to_all_before_it_and_none_after(cell):
    has_gradient = reach(RecurrentEncoder(3, 8, cell=cell).eval(), 13, 3)
    assert torch.equal(has_gradient, torch.ones(13, 13, dtype=torch.bool).tril())


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("window", [1, 4, 256])
@pytest.mark.parametrize("way", ["forward", "step"])
def test_a_transformer_output_has_a_gradient_to_its_window_in_each_layer_and_to_nothing_else(layers, window, way):
    encoder = TransformerEncoder(3, 8, layers, num_heads=2, window=window).eval()
    has_gradient = reach(encoder if way == "forward" else lambda x: stream(encoder, x)[0], 13, 3)
    age = torch.arange(13)[:, None] - torch.arange(13)
    assert torch.equal(has_gradient, (age >= 0) & (age <= layers * (window - 1)))


def test_a_window_hears_what_is_in_it_wherever_it_stands():
    encoder = TransformerEncoder(3, 8, 1, num_heads=2, window=4).eval()
    x = torch.randn(2, 40, 3)
    torch.testing.assert_close(encoder(x)[:, -1], encoder(x[:, -4:])[:, -1], atol=1e-5, rtol=0)


def test_the_order_within_a_window_matters():
    encoder = TransformerEncoder(3, 8, 1, num_heads=2).eval()
    x = torch.randn(1, 5, 3)
    assert not torch.allclose(encoder(x)[:, -1], encoder(x[:, [1, 0, 2, 3, 4]])[:, -1], atol=1e-4)


def test_a_state_is_batch_first_and_keeps_its_size(encoder):
    state = encoder.init_state(5)
    assert all(len(tensor) == 5 for tensor in state)
    assert all((tensor == 0).all() for tensor in state)
    after = stream(encoder, torch.randn(5, 13, 3))[1]
    assert [tensor.shape for tensor in after] == [tensor.shape for tensor in state]


def test_step_does_not_write_into_its_state(encoder):
    x = torch.randn(2, 13, 3)
    state = stream(encoder, x[:, :6])[1]
    before = [tensor.clone() for tensor in state]
    first, after = encoder.step(x[:, 6], state)
    encoder.step(x[:, 7], after)
    assert all(torch.equal(*pair) for pair in zip(before, state))
    assert torch.equal(encoder.step(x[:, 6], state)[0], first)


@pytest.mark.parametrize("name", ["gru", "lstm", "transformer"])
def test_dropout_acts_in_training_only(name):
    encoder, x = MAKERS[name](), torch.randn(2, 13, 3)
    assert not torch.equal(encoder(x), encoder(x))
    encoder.eval()
    assert torch.equal(encoder(x), encoder(x))


def test_rotation_keeps_lengths_and_depends_on_distances_only():
    q, k = torch.randn(2, 1, 1, 1, 8)

    def score(at_q, at_k):
        return (rotate(q, torch.tensor([[at_q]])) * rotate(k, torch.tensor([[at_k]]))).sum()

    assert torch.equal(rotate(q, torch.tensor([[0]])), q)
    torch.testing.assert_close(rotate(q, torch.tensor([[9]])).norm(), q.norm())
    torch.testing.assert_close(score(5, 2), score(105, 102), atol=1e-4, rtol=0)
    assert (score(5, 2) - score(5, 3)).abs() > 1e-3


def test_a_size_that_the_heads_do_not_divide_is_refused():
    with pytest.raises(HypermeterError, match="hidden_dim is 12, expected a multiple of 8 for 4 heads"):
        TransformerEncoder(3, 12)
    with pytest.raises(HypermeterError, match="hidden_dim is 10, expected a multiple of 4 for 4 heads"):
        BarAttention(10, 3)


# Bar attention: 3 steps a bar, 4 bars in the window.


@pytest.fixture
def attention():
    attention = BarAttention(8, 2, steps_per_bar=3, num_heads=2, window=4).eval()
    with torch.no_grad():  # none of these is zero once trained
        for parameter in (attention.null_key, attention.null_value, attention.distance_bias):
            parameter.normal_()
    return attention


def attention_input(steps, batch=2):
    return torch.randn(batch, steps, 8), (torch.rand(batch, steps, 2) < 0.4).float()


def same_step_of_earlier_bars(steps, window=4):
    """(steps, steps)"""
    age = torch.arange(steps)[:, None] - torch.arange(steps)
    return (age > 0) & (age % 3 == 0) & (age <= 3 * window)


def together(recalled):
    """The state and the hits in one tensor, (*B, 8 + 2 heads x 2 voices)."""
    return torch.cat([recalled.state, recalled.hits.flatten(-2)], -1)


def recall_all(attention, states, played):
    memory, outputs = attention.init_memory(len(states)), []
    for step in range(states.shape[1]):
        position = torch.full((len(states),), step)
        outputs.append(together(attention.recall(states[:, step], position, memory[0])))
        memory = attention.remember(attention.element(states[:, step], played[:, step]), position, memory)
    return torch.stack(outputs, 1)


@pytest.mark.parametrize("steps", [1, 3, 10, 28])
def test_bar_attention_recalls_what_forward_gives(attention, steps):
    states, played = attention_input(steps)
    out = together(attention(states, played))
    assert out.shape == (2, steps, 8 + 4)
    torch.testing.assert_close(recall_all(attention, states, played), out, atol=1e-5, rtol=0)


def test_bar_attention_recalls_for_rows_at_different_positions(attention):
    states, played = attention_input(28)
    out, ahead = together(attention(states, played)), 7
    memory = attention.init_memory(2)
    for step in range(-ahead, 28 - ahead):  # the second row begins `ahead` steps late
        row = torch.arange(2) if step >= 0 else torch.arange(1)
        at = torch.tensor([step + ahead, step])[row]
        part = tuple(tensor[row] for tensor in memory)
        recalled = together(attention.recall(states[row, at], at, part[0]))
        torch.testing.assert_close(recalled, out[row, at], atol=1e-5, rtol=0)
        part = attention.remember(attention.element(states[row, at], played[row, at]), at, part)
        memory = tuple(torch.cat([new, old[len(row) :]]) for new, old in zip(part, memory))


def test_bar_attention_equals_the_same_sum_in_loops(attention):
    states, played = attention_input(14, batch=1)
    out = attention(states, played)
    for step in range(14):
        earlier = [s for s in range(step) if same_step_of_earlier_bars(14)[step, s]]
        heads = []
        for head in range(2):
            part = slice(4 * head, 4 * head + 4)
            q = attention.query(states[0, step])[part]
            scores = [q @ attention.null_key[head] / 2]
            values = [attention.null_value[head]]
            for s in earlier:
                bias = attention.distance_bias[head, (step - s) // 3 - 1]
                scores.append(q @ attention.key(states[0, s])[part] / math.sqrt(4) + bias)
                values.append(attention.value(torch.cat([states[0, s], played[0, s]]))[part])
            weights = torch.stack(scores).softmax(0)
            heads.append(weights @ torch.stack(values))
            hits = sum((weight * played[0, s] for weight, s in zip(weights[1:], earlier)), torch.zeros(2))
            torch.testing.assert_close(out.hits[0, step, head], hits, atol=1e-5, rtol=0)
        torch.testing.assert_close(attention.out(torch.cat(heads)), out.state[0, step], atol=1e-5, rtol=0)


def test_bar_attention_sees_only_the_same_step_of_the_earlier_bars_in_its_window(attention):
    states, played = attention_input(28, batch=1)
    seen = same_step_of_earlier_bars(28)
    assert torch.equal(reach(lambda x: together(attention(states.expand(28, -1, -1), x)), 28, 2), seen)
    is_same_step = torch.diag(seen.any(1))  # a query counts once there is something to choose from
    assert torch.equal(reach(lambda x: together(attention(x, played.expand(28, -1, -1))), 28, 8), seen | is_same_step)


def test_in_the_first_bar_there_is_nothing_but_the_null_value(attention):
    states, played = attention_input(3)
    recalled = attention(states, played)
    torch.testing.assert_close(recalled.state, attention.out(attention.null_value.flatten()).expand(2, 3, 8))
    assert (recalled.hits == 0).all()


def test_the_bias_is_by_distance_in_bars(attention):
    states, played = attention_input(18)
    with torch.no_grad():
        attention.distance_bias.zero_()[:, 1] = 1e4
    out = attention(states, played)
    two_bars_before = attention.out(attention.value(torch.cat([states, played], -1)))[:, :12]
    torch.testing.assert_close(out.state[:, 6:], two_bars_before, atol=1e-5, rtol=0)
    torch.testing.assert_close(out.hits[:, 6:], played[:, :12, None].expand(-1, -1, 2, -1), atol=1e-5, rtol=0)


def test_bar_attention_remembers_in_a_new_memory(attention):
    states, played = attention_input(4)
    position = torch.tensor([2, 5])
    old = attention.init_memory(2)
    new = attention.remember(attention.element(states[:, 0], played[:, 0]), position, old)
    assert all((tensor == 0).all() for tensor in old)
    assert any((tensor != 0).any() for tensor in new)
    assert [tensor.shape for tensor in new] == [tensor.shape for tensor in old]
