"""Causal sequence encoders: ``forward`` takes a whole sequence; ``init_state`` and ``step``, one element at a time.

A state is a tuple of tensors whose first axis is the batch. ``step`` never writes into the state that it is given, so
states can be kept, forked and compared. Both ways give the same outputs.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.model.dropout import Dropout, dropout
from hypermeter.model.places import with_shared_weights
from hypermeter.model.recurrence import GRULayer

EncoderState = tuple[Tensor, ...]


class RecurrentEncoder(nn.Module):
    """Stacked GRU or LSTM layers with dropout between them.

    Args:
        input_dim: size of an element.
        hidden_dim: size of an output.
        num_layers: stacked layers.
        dropout: between layers, in [0, 1).
        cell: ``gru`` or ``lstm``.

    Raises:
        HypermeterError: ``cell`` is neither.
    """

    def __init__(self, input_dim: int, hidden_dim: int, num_layers: int = 2, dropout: float = 0.1, cell: str = "gru"):
        super().__init__()
        if cell not in ("gru", "lstm"):
            raise HypermeterError(f"encoder: cell is {cell!r}, expected gru or lstm")
        layers = {"gru": nn.GRU, "lstm": nn.LSTM}[cell]
        self.cell = cell
        between = dropout if num_layers > 1 else 0.0
        self.rnn = layers(input_dim, hidden_dim, num_layers, batch_first=True, dropout=between)

    def forward(
        self, x: Float[Tensor, "B T input"], shared: Float[Tensor, "T shared"] | None = None
    ) -> Float[Tensor, "B T hidden"]:
        """Return the outputs.

        Args:
            x: elements.
            shared: where given, the last columns of all elements, which are the same in all rows.
        """
        is_plain = x.device.type == "cpu" and not (torch.is_autocast_enabled("cpu") or torch.compiler.is_compiling())
        if self.cell != "gru" or not is_plain:
            return self.rnn(x if shared is None else torch.cat([x, shared.expand(len(x), -1, -1)], -1))[0]
        own, x = x.shape[-1], x.transpose(0, 1)
        for layer in range(self.rnn.num_layers):
            if layer:
                x = dropout(x, self.rnn.dropout, self.training)
            weight, bias, *of_state = self._weights(layer)
            if layer == 0 and shared is not None:
                weight, bias = weight[:, :own], F.linear(shared, weight[:, own:], bias)
            x = GRULayer.apply(x, weight, bias, *of_state)
        return x.transpose(0, 1)

    def _weights(self, layer: int) -> list[Tensor]:
        """Return the weight and bias of the input and those of the state."""
        return [getattr(self.rnn, f"{kind}_{of}_l{layer}") for of in ("ih", "hh") for kind in ("weight", "bias")]

    def init_state(self, batch_size: int) -> EncoderState:
        zeros = next(self.parameters()).new_zeros(batch_size, self.rnn.num_layers, self.rnn.hidden_size)
        return (zeros,) if self.cell == "gru" else (zeros, zeros)

    def step(self, x: Float[Tensor, "B input"], state: EncoderState) -> tuple[Float[Tensor, "B hidden"], EncoderState]:
        # Single cells, not `self.rnn`: they are quicker, and ONNX Runtime keeps its recurrent layers out of int8.
        next_states: list[tuple[Tensor, ...]] = []
        for layer in range(self.rnn.num_layers):
            if layer:
                x = F.dropout(x, self.rnn.dropout, self.training)
            hidden, *cell = (tensor[:, layer] for tensor in state)
            weights = [getattr(self.rnn, f"{kind}_{of}_l{layer}") for kind in ("weight", "bias") for of in ("ih", "hh")]
            after = torch.lstm_cell(x, (hidden, *cell), *weights) if cell else (torch.gru_cell(x, hidden, *weights),)
            next_states.append(after)
            x = after[0]
        return x, tuple(torch.stack(layers, 1) for layers in zip(*next_states, strict=True))


def rotate(x: Float[Tensor, "B heads T size"], position: Int[Tensor, "#B T"]) -> Float[Tensor, "B heads T size"]:
    """Rotary position embedding (Su et al. 2021, RoFormer, equation 34)."""
    half = x.shape[-1] // 2
    frequency = 10_000.0 ** (-torch.arange(half, device=x.device, dtype=torch.float32) / half)
    angle = position[:, None, :, None].float() * frequency  # in bfloat16 it would be off by radians far into a piece
    cos, sin, (a, b) = angle.cos().to(x.dtype), angle.sin().to(x.dtype), x.split(half, -1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], -1)


INIT_SCALE = 0.1
"""Factor on the initial weights of a Transformer layer's two output projections."""


class TransformerLayer(nn.Module):
    """Pre-norm self-attention over a sliding window, and a feed-forward part.

    Queries and keys are normalised (Henry et al. 2020) and output projections are scaled by INIT_SCALE, so that the
    layer is stable at the learning rate of a recurrent one.
    """

    def __init__(self, dim: int, num_heads: int, dropout: float):
        super().__init__()
        self.num_heads = num_heads
        self.attention_norm, self.feed_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        back = nn.Linear(4 * dim, dim)
        self.feed = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Dropout(dropout), back)
        self.drop = nn.Dropout(dropout)
        self.query_gain, self.key_gain = (nn.Parameter(torch.ones(dim // num_heads)) for _ in range(2))
        with torch.no_grad():
            for layer in (self.out, back):
                layer.weight.mul_(INIT_SCALE)

    def project(self, x: Float[Tensor, "B T dim"], position: Int[Tensor, "#B T"]) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries, keys and values (B, heads, T, size), the first two normalised and rotated."""
        q, k, v = self.qkv(self.attention_norm(x)).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        q = F.rms_norm(q, q.shape[-1:]) * self.query_gain
        k = F.rms_norm(k, k.shape[-1:]) * self.key_gain
        return rotate(q, position), rotate(k, position), v

    def finish(self, x: Float[Tensor, "B T dim"], attended: Tensor) -> Float[Tensor, "B T dim"]:
        x = x + self.drop(self.out(attended.transpose(1, 2).flatten(-2)))
        return x + self.drop(self.feed(self.feed_norm(x)))


class TransformerEncoder(nn.Module):
    """Causal Transformer with rotary positions and a sliding window; ``step`` keeps the window's keys and values.

    Args:
        input_dim: size of an element.
        hidden_dim: size of an output, a multiple of twice ``num_heads``.
        num_layers: layers.
        dropout: on attention and feed-forward outputs.
        num_heads: attention heads.
        window: an element attends to itself and the window - 1 before it, in each layer.

    Raises:
        HypermeterError: ``hidden_dim`` is no such multiple.
    """

    def __init__(
        self,
        input_dim: int,
        hidden_dim: int,
        num_layers: int = 2,
        dropout: float = 0.1,
        num_heads: int = 4,
        window: int = 256,
    ):
        super().__init__()
        if hidden_dim % (2 * num_heads):
            raise HypermeterError(
                f"transformer: hidden_dim is {hidden_dim}, expected a multiple of {2 * num_heads} for {num_heads} heads"
            )
        self.window, self.hidden_dim, self.num_heads = window, hidden_dim, num_heads
        self.embed = nn.Linear(input_dim, hidden_dim)
        self.layers: list[TransformerLayer] = nn.ModuleList(  # type: ignore[assignment]
            TransformerLayer(hidden_dim, num_heads, dropout) for _ in range(num_layers)
        )
        self.norm = nn.LayerNorm(hidden_dim)

    def forward(self, x: Float[Tensor, "B T input"]) -> Float[Tensor, "B T hidden"]:
        position = torch.arange(x.shape[1], device=x.device)
        mask = None
        if x.shape[1] > self.window:
            age = position[:, None] - position[None]
            mask = (age >= 0) & (age < self.window)
        x = self.embed(x)
        for layer in self.layers:
            q, k, v = layer.project(x, position[None])
            x = layer.finish(x, F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None))
        return self.norm(x)

    def init_state(self, batch_size: int) -> EncoderState:
        """Return the position (B,), then each layer's keys and values (B, heads, window - 1, size) of past elements."""
        like = self.embed.weight
        heads = self.num_heads
        empty = like.new_zeros(batch_size, heads, self.window - 1, self.hidden_dim // heads)
        position = torch.zeros(batch_size, dtype=torch.long, device=like.device)
        return (position, *([empty] * (2 * len(self.layers))))

    def step(self, x: Float[Tensor, "B input"], state: EncoderState) -> tuple[Float[Tensor, "B hidden"], EncoderState]:
        position, *caches = state
        ages = torch.arange(self.window - 1, -1, -1, device=x.device)
        mask = (ages <= position[:, None])[:, None, None]
        x, next_caches = self.embed(x)[:, None], []
        for layer, past_k, past_v in zip(self.layers, caches[::2], caches[1::2], strict=True):
            q, k, v = layer.project(x, position[:, None])
            k, v = torch.cat([past_k, k], 2), torch.cat([past_v, v], 2)
            next_caches += [k[:, :, 1:], v[:, :, 1:]]
            x = layer.finish(x, F.scaled_dot_product_attention(q, k, v, attn_mask=mask))
        return self.norm(x)[:, 0], (position + 1, *next_caches)


BarMemory = tuple[Tensor, ...]
"""Past keys, values and hits: a column for each step of the bar, (B, window, 2 * hidden + V).

The first column is of the current step of the bar, the second of the next step, and so on, so that rows at different
steps use the same column. Row r of a column is of the bar whose number is r modulo the window. A new element replaces a
row of a copy of the first column, which then becomes the last; the other columns are shared between states.
"""


class AttentionOutput(NamedTuple):
    """Output of the bar attention.

    Args:
        state: projected values: of states and hits of earlier bars.
        hits: for each head, the hits of earlier bars at this step, weighted by its attention; in [0, 1].
    """

    state: Float[Tensor, "*B hidden"]
    hits: Float[Tensor, "*B heads V"]


class BarAttention(nn.Module):
    """Attention from step i of a bar to step i of all earlier bars in a window.

    The query is of the state before step i of bar b; keys are of the states before step i of bars b - 1, b - 2, ...,
    and values of these states and the hits of step i. There is a learnt bias by distance in bars, and a null key for
    "no earlier bar". The output is a state and the attended hits themselves.

    Args:
        hidden_dim: size of a state, a multiple of ``num_heads``.
        num_drums: columns of a step's hits.
        steps_per_bar: steps in a bar.
        num_heads: attention heads.
        window: bars that it attends to.
        dropout: on the output state.

    Raises:
        HypermeterError: ``hidden_dim`` is no such multiple.
    """

    def __init__(
        self,
        hidden_dim: int,
        num_drums: int,
        steps_per_bar: int = 16,
        num_heads: int = 4,
        window: int = 32,
        dropout: float = 0.1,
    ):
        super().__init__()
        if hidden_dim % num_heads:
            raise HypermeterError(
                f"bar attention: hidden_dim is {hidden_dim}, expected a multiple of {num_heads} for {num_heads} heads"
            )
        self.steps_per_bar, self.num_heads, self.window = steps_per_bar, num_heads, window
        self.query, self.key = nn.Linear(hidden_dim, hidden_dim), nn.Linear(hidden_dim, hidden_dim)
        self.value = nn.Linear(hidden_dim + num_drums, hidden_dim)
        self.out = nn.Linear(hidden_dim, hidden_dim)
        self.null_key = nn.Parameter(torch.zeros(num_heads, hidden_dim // num_heads))
        self.null_value = nn.Parameter(torch.zeros(num_heads, hidden_dim // num_heads))
        self.distance_bias = nn.Parameter(-0.1 * torch.arange(window).float().repeat(num_heads, 1))
        self.drop = Dropout(dropout)
        self._scale = 1 / math.sqrt(hidden_dim // num_heads)

    def on(self, grid: Grid) -> "BarAttention":
        """Return the attention between the bars of another grid, with the same weights."""
        return with_shared_weights(self, steps_per_bar=grid.steps_per_bar)

    @property
    def memory_size(self) -> int:
        """Size of a step's element of the memory."""
        return self.value.in_features + self.key.out_features

    def keys_and_values(
        self, states: Float[Tensor, "*B hidden"], played: Float[Tensor, "*B V"]
    ) -> tuple[Float[Tensor, "*B hidden"], Float[Tensor, "*B hidden"]]:
        """Return the keys and values of steps, given the states before them and their hits."""
        return self.key(states), self.value(torch.cat([states, played], -1))

    def element(self, states: Float[Tensor, "*B hidden"], played: Float[Tensor, "*B V"]) -> Float[Tensor, "*B keys"]:
        """Return the memory's elements of steps: their keys, values and hits."""
        return torch.cat([*self.keys_and_values(states, played), played], -1)

    def _bias(self, distance: Int[Tensor, "*S"], seen: Bool[Tensor, "*S"]) -> Float[Tensor, "heads *S"]:  # noqa: F821
        """Return the bias by distance in bars (1 is the bar before), -inf where not ``seen``."""
        bias = self.distance_bias[:, (distance - 1).clamp(0, self.window - 1)]
        return bias.masked_fill(~(seen & (distance >= 1) & (distance <= self.window)), -math.inf)

    def forward(self, states: Float[Tensor, "B T hidden"], played: Float[Tensor, "B T V"]) -> AttentionOutput:
        """Attend from each step, given the states before the steps and the hits of the steps (for later bars only)."""
        steps, batch, heads = states.shape[1], states.shape[0], self.num_heads
        bars = -(-steps // self.steps_per_bar)
        columns, hidden = self.steps_per_bar * batch, self.key.out_features

        def by_bar(x: Tensor) -> Tensor:  # (bars, columns, size): a column is a step of the bar in a row of the batch
            x = F.pad(x.transpose(0, 1), (0, 0, 0, 0, 0, bars * self.steps_per_bar - steps))
            return x.reshape(bars, columns, -1)

        def by_head(x: Tensor) -> Tensor:  # (columns * heads, bars, size), without a copy
            return x.view(len(x), columns * heads, -1).transpose(0, 1)

        states, played = by_bar(states), by_bar(played)
        q = F.linear(states, self.query.weight * self._scale, self.query.bias * self._scale)
        k, v = self.keys_and_values(states, played)
        k = torch.cat([k, self.null_key.view(1, 1, hidden).expand(1, columns, hidden)])
        v = torch.cat([v, self.null_value.view(1, 1, hidden).expand(1, columns, hidden)])
        distance = torch.arange(bars, device=states.device)
        distance = distance[:, None] - distance
        bias = F.pad(self._bias(distance, torch.ones_like(distance, dtype=torch.bool)), (0, 1))
        scores = torch.bmm(by_head(q), by_head(k).transpose(1, 2)).view(columns, heads, bars, bars + 1)
        weights = (scores + bias).softmax(-1)
        state = torch.bmm(weights.flatten(0, 1), by_head(v)).view(columns, heads, bars, -1)
        state = self.drop(self.out(state.permute(2, 0, 1, 3).reshape(bars, columns, hidden)))
        played = F.pad(played, (0, 0, 0, 0, 0, 1))  # the null key has no hits
        hits = torch.bmm(weights.flatten(1, 2), played.transpose(0, 1)).view(columns, heads, bars, -1)

        def by_row(x: Tensor) -> Tensor:
            return x.unflatten(1, (self.steps_per_bar, batch)).flatten(0, 1)[:steps].transpose(0, 1)

        return AttentionOutput(by_row(state), by_row(hits.permute(2, 0, 1, 3)))

    def init_memory(self, batch_size: int) -> BarMemory:
        empty = self.key.weight.new_zeros(batch_size, self.window, self.memory_size)
        return (empty,) * self.steps_per_bar

    def remember(self, element: Float[Tensor, "B keys"], position: Int[Tensor, " #B"], memory: BarMemory) -> BarMemory:
        """Return the memory at step ``position`` + 1.

        Args:
            element: of the state before step ``position`` and the hits of that step.
            position: number of the step; one for all rows, or one for each.
            memory: at step ``position``.
        """
        column, *others = memory
        rows = torch.arange(column.shape[0], device=column.device)
        slot = position // self.steps_per_bar % self.window
        return (*others, column.index_put((rows, slot), element))

    def recall(
        self, state: Float[Tensor, "B hidden"], position: Int[Tensor, " #B"], column: Float[Tensor, "B window keys"]
    ) -> AttentionOutput:
        """Return what ``forward`` gives at step ``position``.

        Args:
            state: before that step.
            position: number of the step; one for all rows, or one for each.
            column: of the memory at that step, the first.
        """
        bar = (position // self.steps_per_bar)[:, None]
        distance = (bar - 1 - torch.arange(self.window, device=state.device)) % self.window + 1
        bias = self._bias(distance, distance <= bar).transpose(0, 1)
        heads, hidden = self.num_heads, self.key.out_features
        q = self.query(state).unflatten(-1, (heads, -1)) * self._scale
        # Each head's query is padded with zeros to all heads, so that keys and values are read in place, not copied.
        padded = (q[:, None] * torch.eye(heads, dtype=q.dtype, device=q.device)[..., None]).flatten(2)
        null_score = (q * self.null_key).sum(-1, keepdim=True)
        weights = torch.cat([null_score, padded @ column[..., :hidden].transpose(1, 2) + bias], -1).softmax(-1)
        attended = weights[..., 1:] @ column[..., hidden:]
        values = attended[..., :hidden].unflatten(-1, (heads, -1)).diagonal(dim1=1, dim2=2).transpose(1, 2)
        values = values + weights[..., :1] * self.null_value
        return AttentionOutput(self.drop(self.out(values.flatten(1))), attended[..., hidden:])
