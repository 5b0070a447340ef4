"""Recurrent layers over whole sequences for export, as ONNX's own operator: the exporter fixes ``nn.GRU``'s length."""

from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from hypermeter.model.encoders import RecurrentEncoder


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
