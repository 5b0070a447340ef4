"""The hand-written GRU layer against PyTorch's own, and against numerical differences."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from hypermeter.model import recurrence
from hypermeter.model.encoders import RecurrentEncoder
from hypermeter.model.recurrence import GRULayer

SIZES = [(1, 1, 1, 1), (7, 3, 5, 4), (33, 2, 3, 6), (12, 40, 2, 3)]
"""Steps, batch, input, hidden."""


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def layer(inputs, hidden):
    gru = nn.GRU(inputs, hidden).double()
    return gru, [gru.weight_ih_l0, gru.bias_ih_l0, gru.weight_hh_l0, gru.bias_hh_l0]


@pytest.mark.parametrize("rows", [1, 8, 512])
@pytest.mark.parametrize("sizes", SIZES)
def test_outputs_and_gradients_are_those_of_pytorch_whatever_the_blocks(sizes, rows, monkeypatch):
    monkeypatch.setattr(recurrence, "ROWS_IN_BLOCK", rows)
    steps, batch, inputs, hidden = sizes
    gru, weights = layer(inputs, hidden)
    x = torch.randn(steps, batch, inputs, dtype=torch.float64, requires_grad=True)
    expected, actual = gru(x)[0], GRULayer.apply(x, *weights)
    torch.testing.assert_close(actual, expected)
    grad = torch.randn_like(expected)
    wanted = torch.autograd.grad(expected, [x, *weights], grad)
    for found, right in zip(torch.autograd.grad(actual, [x, *weights], grad), wanted, strict=True):
        torch.testing.assert_close(found, right)


@pytest.mark.parametrize("bias_of_steps", [False, True])
def test_gradients_are_the_numerical_ones(bias_of_steps, monkeypatch):
    monkeypatch.setattr(recurrence, "ROWS_IN_BLOCK", 4)
    steps, batch, inputs, hidden = 5, 2, 3, 2
    shapes = [(steps, batch, inputs), (6, inputs), (steps, 6) if bias_of_steps else (6,), (6, hidden), (6,)]
    parts = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]
    assert torch.autograd.gradcheck(GRULayer.apply, parts)


def test_a_gradient_can_be_taken_twice_and_inputs_need_none():
    _, weights = layer(3, 4)
    output = GRULayer.apply(torch.randn(6, 2, 3, dtype=torch.float64), *weights)
    first = torch.autograd.grad(output.sum(), weights, retain_graph=True)
    torch.testing.assert_close(torch.autograd.grad(output.sum(), weights), first, rtol=0, atol=0)


@pytest.mark.parametrize("layers", [1, 2])
def test_columns_that_all_rows_share_count_as_columns_of_each_row(layers):
    encoder = RecurrentEncoder(5, 4, layers, dropout=0.0).double()
    x = torch.randn(3, 7, 3, dtype=torch.float64, requires_grad=True)
    shared = torch.randn(7, 2, dtype=torch.float64, requires_grad=True)
    whole = torch.cat([x, shared.expand(3, -1, -1)], -1)
    inputs = [x, shared, *encoder.parameters()]
    outputs = [encoder(x, shared), encoder(whole), encoder.rnn(whole)[0]]
    gradients = [torch.autograd.grad(output.square().sum(), inputs, retain_graph=True) for output in outputs]
    for output, found in zip(outputs[:2], gradients[:2], strict=True):
        torch.testing.assert_close(output, outputs[2])
        for part, right in zip(found, gradients[2], strict=True):
            torch.testing.assert_close(part, right)


def test_an_lstm_takes_shared_columns_too():
    encoder = RecurrentEncoder(5, 4, cell="lstm").eval()
    x, shared = torch.randn(3, 7, 3), torch.randn(7, 2)
    torch.testing.assert_close(encoder(x, shared), encoder(torch.cat([x, shared.expand(3, -1, -1)], -1)))


def test_layers_of_the_encoder_are_trained_with_dropout_between_them():
    encoder = RecurrentEncoder(3, 64, 2, dropout=0.5)
    x = torch.randn(2, 9, 3)
    assert not torch.equal(encoder(x), encoder(x))
    encoder.eval()
    torch.testing.assert_close(encoder(x), encoder.rnn(x)[0], atol=1e-6, rtol=0)


def test_under_autocast_pytorch_runs_the_layer():
    encoder, x = RecurrentEncoder(3, 8).eval(), torch.randn(2, 9, 3)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(encoder(x).float(), F.dropout(encoder.rnn(x)[0], 0.0).float())
