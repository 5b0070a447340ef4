"""Recurrent layers for export: a cell as linear maps, for one step, and ONNX's own operator, for whole sequences.

``nn.GRU`` and ``nn.LSTM`` themselves will not do: ONNX Runtime keeps their weights out of int8, and the exporter fixes
the number of steps.
"""

from importlib import import_module
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hypermeter.model.encoders import EncoderState, RecurrentEncoder


def cell_step(encoder: RecurrentEncoder, x: Tensor, state: EncoderState) -> tuple[Tensor, EncoderState]:
    """``encoder.step`` in linear maps: x (B, input) and a state of tensors (B, layers, hidden)."""
    after: list[list[Tensor]] = []
    for layer in range(encoder.rnn.num_layers):
        before = [each[:, layer] for each in state]
        x, *new = (_gru if encoder.cell == "gru" else _lstm)(encoder.rnn, layer, x, *before)
        after.append([x, *new])
    return x, tuple(torch.stack(each, 1) for each in zip(*after, strict=True))


def _gru(rnn: nn.Module, layer: int, x: Tensor, hidden: Tensor) -> tuple[Tensor]:
    into, back = _linear(rnn, "ih", layer, x), _linear(rnn, "hh", layer, hidden)
    into_reset, into_update, into_new = into.chunk(3, -1)
    back_reset, back_update, back_new = back.chunk(3, -1)
    new = (into_new + (into_reset + back_reset).sigmoid() * back_new).tanh()
    return (new + (into_update + back_update).sigmoid() * (hidden - new),)


def _lstm(rnn: nn.Module, layer: int, x: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    gates = _linear(rnn, "ih", layer, x) + _linear(rnn, "hh", layer, hidden)
    write, keep, new, read = gates.chunk(4, -1)
    cell = keep.sigmoid() * cell + write.sigmoid() * new.tanh()
    return read.sigmoid() * cell.tanh(), cell


def _linear(rnn: nn.Module, way: str, layer: int, x: Tensor) -> Tensor:
    return F.linear(x, getattr(rnn, f"weight_{way}_l{layer}"), getattr(rnn, f"bias_{way}_l{layer}"))


# ---------------------------------------------------------------------- whole sequences


class Sequence(nn.Module):
    """A recurrent encoder over whole sequences, of any length in the graph as well."""

    def __init__(self, encoder: RecurrentEncoder):
        super().__init__()
        rnn, self.cell, self.size = encoder.rnn, encoder.cell, encoder.rnn.hidden_size
        order = {"gru": [1, 0, 2], "lstm": [0, 3, 1, 2]}[encoder.cell]  # reset, update, new; input, forget, new, output
        self.weights = nn.ParameterList()
        for layer in range(rnn.num_layers):
            into, back, *biases = (
                torch.cat([getattr(rnn, f"{name}_l{layer}").detach().chunk(len(order))[gate] for gate in order])
                for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            )
            self.weights += [into[None], back[None], torch.cat(biases)[None]]

    def forward(self, x: Tensor) -> Tensor:
        operator = torch.ops.hypermeter.gru if self.cell == "gru" else torch.ops.hypermeter.lstm
        for layer in range(len(self.weights) // 3):
            x = operator(x, *self.weights[3 * layer : 3 * layer + 3])
        return x


def _in_torch(kind: type[nn.Module], order: list[int], x: Tensor, into: Tensor, back: Tensor, bias: Tensor) -> Tensor:
    """What the operator computes."""
    rnn = kind(x.shape[-1], back.shape[-1], batch_first=True)
    parts = {"weight_ih_l0": into[0], "weight_hh_l0": back[0]}
    parts["bias_ih_l0"], parts["bias_hh_l0"] = bias[0].chunk(2)
    gates = {name: each.chunk(len(order)) for name, each in parts.items()}
    rnn.load_state_dict(
        {name: torch.cat([each[order.index(g)] for g in range(len(order))]) for name, each in gates.items()}
    )
    with torch.no_grad():
        return rnn(x)[0]


@torch.library.custom_op("hypermeter::gru", mutates_args=())
def _gru_operator(x: Tensor, into: Tensor, back: Tensor, bias: Tensor) -> Tensor:
    return _in_torch(nn.GRU, [1, 0, 2], x, into, back, bias)


@torch.library.custom_op("hypermeter::lstm", mutates_args=())
def _lstm_operator(x: Tensor, into: Tensor, back: Tensor, bias: Tensor) -> Tensor:
    return _in_torch(nn.LSTM, [0, 3, 1, 2], x, into, back, bias)


@_gru_operator.register_fake
@_lstm_operator.register_fake
def _shape(x: Tensor, into: Tensor, back: Tensor, bias: Tensor) -> Tensor:
    return x.new_empty(x.shape[0], x.shape[1], back.shape[-1])


def translations() -> dict[Any, Any]:
    """PyTorch's operators -> functions that write them in ONNX, for ``torch.onnx.export``."""
    op: Any = import_module("onnxscript").opset18

    def gru(x: Any, into: Any, back: Any, bias: Any) -> Any:
        y, _ = op.GRU(
            op.Transpose(x, perm=[1, 0, 2]), into, back, bias, hidden_size=_hidden(back), linear_before_reset=1
        )
        return op.Transpose(op.Squeeze(y, [1]), perm=[1, 0, 2])

    def lstm(x: Any, into: Any, back: Any, bias: Any) -> Any:
        y, _, _ = op.LSTM(op.Transpose(x, perm=[1, 0, 2]), into, back, bias, hidden_size=_hidden(back))
        return op.Transpose(op.Squeeze(y, [1]), perm=[1, 0, 2])

    return {torch.ops.hypermeter.gru.default: gru, torch.ops.hypermeter.lstm.default: lstm}


def _hidden(back: Any) -> int:
    return back.shape[-1]
