"""Layers of a trained model over NumPy arrays, in single precision: linear maps, encoders, attention over bars.

A state is a value: a step gives a new one and leaves the old as it was. Rows are pieces side by side, all at the same
step.
"""

import math
import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hypermeter.play.arithmetic import gelu, one_over_one_plus_exp

Array = NDArray[Any]
"""In single precision."""
Weights = Mapping[str, NDArray[Any]]
"""Names of a checkpoint -> arrays."""


def part(weights: Weights, prefix: str) -> dict[str, Array]:
    """Return the weights of a module, by their names below it, in single precision."""
    start = f"{prefix}."
    return {
        name.removeprefix(start): np.asarray(array, np.float32)
        for name, array in weights.items()
        if name.startswith(start)
    }


class Linear:
    """x W + b."""

    def __init__(self, weight: Array, bias: Array | None = None):
        self.weight = np.ascontiguousarray(weight.T)
        self.bias = np.zeros(weight.shape[0], np.float32) if bias is None else bias

    @classmethod
    def of(cls, weights: Weights, prefix: str) -> "Linear":
        """Read a `nn.Linear`, with its bias or without."""
        own = part(weights, prefix)
        return cls(own["weight"], own.get("bias"))

    def __call__(self, x: Array) -> Array:
        out = x.dot(self.weight)
        out += self.bias
        return out


class LayerNorm:
    """Mean 0 and variance 1 over the last axis, then a gain and a bias."""

    def __init__(self, weights: Weights, prefix: str, epsilon: float = 1e-5):
        own = part(weights, prefix)
        self.gain, self.bias, self.epsilon = own["weight"], own["bias"], np.float32(epsilon)
        self.mean = np.full((len(self.gain), 1), 1 / len(self.gain), np.float32)

    def __call__(self, x: Array) -> Array:
        x = x - x.dot(self.mean)
        scale = (x * x).dot(self.mean)
        scale += self.epsilon
        x /= np.sqrt(scale)
        x *= self.gain
        x += self.bias
        return x


class Tape:
    """What was appended step by step, (rows, length, size), as a value: `append` gives a longer one.

    Tapes that grow from one another share a buffer, into which each place is written once. Where two grow from the
    same tape, the second has a copy.

    Args:
        rows, size: of what is appended.
        window: elements at the end that are kept; older ones may be forgotten.
    """

    __slots__ = ("_buffer", "_filled", "_lock", "_stop", "window")

    def __init__(self, rows: int, size: int, window: int, capacity: int = 4):
        self.window = window
        self._buffer = np.empty((rows, capacity, size), np.float32)
        self._stop, self._filled, self._lock = 0, [0], threading.Lock()

    @classmethod
    def _over(cls, buffer: Array, stop: int, window: int) -> "Tape":
        tape = cls.__new__(cls)
        tape.window, tape._buffer, tape._stop = window, buffer, stop
        tape._filled, tape._lock = [stop], threading.Lock()
        return tape

    def append(self, x: Array) -> "Tape":
        """Return the tape with one more element (rows, size)."""
        with self._lock:
            is_next = self._filled[0] == self._stop < self._buffer.shape[1]
            if is_next:
                self._filled[0] += 1
        if not is_next:
            return self._copy(self._buffer[:, max(self._stop - self.window, 0) : self._stop]).append(x)
        self._buffer[:, self._stop] = x
        longer = Tape.__new__(Tape)
        longer.window, longer._buffer, longer._stop = self.window, self._buffer, self._stop + 1
        longer._filled, longer._lock = self._filled, self._lock
        return longer

    def _copy(self, kept: Array) -> "Tape":
        """Return a tape of its own, with room for as much again."""
        rows, length, size = kept.shape
        buffer = np.empty((rows, max(2 * length, 4), size), np.float32)
        buffer[:, :length] = kept
        return Tape._over(buffer, length, self.window)

    @property
    def last(self) -> Array:
        """The last elements, up to `window` of them, the latest at the end; not to be written into."""
        return self._buffer[:, max(self._stop - self.window, 0) : self._stop]

    def select(self, rows: NDArray[np.int64]) -> "Tape":
        """Return the given rows, in that order."""
        kept = self.last
        _, length, size = kept.shape
        buffer = np.empty((len(rows), max(2 * length, 4), size), np.float32)
        for place, row in enumerate(rows):  # each is one block of memory, copied once
            buffer[place, :length] = kept[row]
        return Tape._over(buffer, length, self.window)


# ---------------------------------------------------------------------- encoders


class Recurrent:
    """Stacked GRU or LSTM layers. A state is a tuple of arrays (rows, hidden): one or two of each layer.

    Args:
        weights: of a checkpoint.
        prefix: of the encoder in it.
        cell: gru or lstm.
    """

    def __init__(self, weights: Weights, prefix: str, cell: str = "gru"):
        own = part(weights, f"{prefix}.rnn")
        self.cell = cell
        self.num_layers = sum(name.startswith("weight_ih") for name in own)
        self.size = own["weight_hh_l0"].shape[1]
        self.into, self.back = [], []
        # a gate is 1 / (1 + exp(-x)), and tanh(x) = 2 / (1 + exp(-2 x)) - 1: the factors of x go into the maps
        factors = {"gru": (-1, -1, -2), "lstm": (-1, -1, -2, -1)}[cell]
        factor = np.repeat(np.array(factors, np.float32), self.size)
        for layer in range(self.num_layers):
            for maps, way in ((self.into, "ih"), (self.back, "hh")):
                weight, bias = own[f"weight_{way}_l{layer}"], own[f"bias_{way}_l{layer}"]
                maps.append(Linear(weight * factor[:, None], bias * factor))
            if cell == "lstm":
                self.into[-1].bias = self.into[-1].bias + self.back[-1].bias
        self.input_weight = self.into[0].weight

    def init_state(self, rows: int) -> tuple[Any, ...]:
        """Return the state before the first element."""
        zeros = np.zeros((rows, self.size), np.float32)
        return (zeros,) * (self.num_layers * (1 if self.cell == "gru" else 2))

    def step(self, x: Array, state: tuple[Any, ...], position: int) -> tuple[Array, tuple[Any, ...]]:
        """Hear an element (rows, input); return the output (rows, hidden) and the new state."""
        return self.step_from(self.into[0](x), state, position)

    def step_from(self, into: Array, state: tuple[Any, ...], position: int) -> tuple[Array, tuple[Any, ...]]:
        """As `step`, of what the first layer's input map made of the element; `into` is written over."""
        after: list[Array] = []
        for layer in range(self.num_layers):
            if layer:
                into = self.into[layer](after[-1] if self.cell == "gru" else after[-2])
            after += self._gru(layer, into, state[layer]) if self.cell == "gru" else self._lstm(layer, into, state)
        return after[-1] if self.cell == "gru" else after[-2], tuple(after)

    def _gru(self, layer: int, into: Array, hidden: Array) -> list[Array]:
        back, size = self.back[layer](hidden), self.size
        gates = into[:, : 2 * size]
        gates += back[:, : 2 * size]
        gates = one_over_one_plus_exp(gates)
        new = gates[:, :size] * back[:, 2 * size :]
        new += into[:, 2 * size :]
        new = one_over_one_plus_exp(new)
        new *= np.float32(2)
        new -= np.float32(1)
        kept = hidden - new
        kept *= gates[:, size:]
        new += kept
        return [new]

    def _lstm(self, layer: int, into: Array, state: tuple[Any, ...]) -> list[Array]:
        hidden, cell = state[2 * layer], state[2 * layer + 1]
        gates = one_over_one_plus_exp(into + hidden.dot(self.back[layer].weight))
        write, keep, new, read = np.split(gates, 4, 1)
        cell = keep * cell + write * (np.float32(2) * new - np.float32(1))
        return [read * np.tanh(cell), cell]


class Transformer:
    """A causal Transformer with rotary positions and a sliding window. A state is a tape of keys and values a layer.

    Args:
        weights: of a checkpoint.
        prefix: of the encoder in it.
        window: an element sees itself and window - 1 before it, in each layer.
        num_heads: attention heads.
    """

    def __init__(self, weights: Weights, prefix: str, window: int, num_heads: int = 4):
        self.window, self.num_heads = window, num_heads
        self.embed, self.norm = Linear.of(weights, f"{prefix}.embed"), LayerNorm(weights, f"{prefix}.norm")
        self.size = self.embed.weight.shape[1]
        numbers = {name.split(".")[2] for name in weights if name.startswith(f"{prefix}.layers.")}
        self.layers = [_Layer(weights, f"{prefix}.layers.{number}", num_heads) for number in sorted(numbers, key=int)]
        self.input_weight = self.embed.weight

    def init_state(self, rows: int) -> tuple[Any, ...]:
        """Return the state before the first element."""
        return tuple(Tape(rows, 2 * self.size, self.window) for _ in self.layers)

    def step(self, x: Array, state: tuple[Any, ...], position: int) -> tuple[Array, tuple[Any, ...]]:
        """Hear an element (rows, input) after `position` others; return the output (rows, hidden) and the new state."""
        return self.step_from(self.embed(x), state, position)

    def step_from(self, into: Array, state: tuple[Any, ...], position: int) -> tuple[Array, tuple[Any, ...]]:
        """As `step`, of what the input map made of the element."""
        x, after = into, []
        for layer, tape in zip(self.layers, state, strict=True):
            x, tape = layer.step(x, tape, position)
            after.append(tape)
        return self.norm(x), tuple(after)


class _Layer:
    def __init__(self, weights: Weights, prefix: str, num_heads: int):
        self.attention_norm = LayerNorm(weights, f"{prefix}.attention_norm")
        self.feed_norm = LayerNorm(weights, f"{prefix}.feed_norm")
        self.qkv, self.out = Linear.of(weights, f"{prefix}.qkv"), Linear.of(weights, f"{prefix}.out")
        self.feed = Linear.of(weights, f"{prefix}.feed.0"), Linear.of(weights, f"{prefix}.feed.3")
        gains = part(weights, prefix)
        self.gains = gains["query_gain"], gains["key_gain"]
        self.num_heads, self.head_size = num_heads, len(self.gains[0])
        half = self.head_size // 2
        self.frequency = (10_000.0 ** (-np.arange(half, dtype=np.float32) / half)).astype(np.float32)

    def step(self, x: Array, tape: Tape, position: int) -> tuple[Array, Tape]:
        rows, heads, size = len(x), self.num_heads, self.head_size
        query, key, value = self.qkv(self.attention_norm(x)).reshape(rows, 3, heads, size).swapaxes(0, 1)
        angle = np.float32(position) * self.frequency
        turn = np.cos(angle), np.sin(angle)
        query, key = (self._turned(vector, gain, turn) for vector, gain in zip((query, key), self.gains, strict=True))
        tape = tape.append(np.concatenate([key.reshape(rows, -1), value.reshape(rows, -1)], 1))
        keys, values = tape.last.reshape(rows, -1, 2, heads, size).transpose(2, 0, 3, 1, 4)
        weights = softmax((keys @ query[..., None])[..., 0] / np.float32(math.sqrt(size)))
        attended = (weights[:, :, None] @ values).reshape(rows, -1)
        x = x + self.out(attended)
        return x + self.feed[1](gelu(self.feed[0](self.feed_norm(x)))), tape

    def _turned(self, vector: Array, gain: Array, turn: tuple[Array, Array]) -> Array:
        """Bring a query or key to one length, and rotate it by its position (Su et al. 2021, equation 34)."""
        epsilon = np.finfo(np.float32).eps
        vector = vector / np.sqrt(np.square(vector).mean(-1, keepdims=True) + epsilon) * gain
        first, second = np.split(vector, 2, -1)
        cos, sin = turn
        return np.concatenate([first * cos - second * sin, first * sin + second * cos], -1)


def softmax(x: Array) -> Array:
    """Return shares over the last axis."""
    x = np.exp(x - x.max(-1, keepdims=True))
    x /= x.sum(-1, keepdims=True)
    return x


# ---------------------------------------------------------------------- attention over bars


class BarAttention:
    """Attention from a step of the bar to the same step of earlier bars.

    The memory of a step of the bar is a tape whose elements are keys, values and what was played, one a bar.

    Args:
        weights: of a checkpoint.
        prefix: of the attention in it.
        width: columns of a step.
        window: bars that can be seen.
    """

    def __init__(self, weights: Weights, prefix: str, width: int, window: int):
        own = part(weights, prefix)
        self.num_heads, head_size = own["null_key"].shape
        self.hidden, self.width, self.window = own["query.weight"].shape[0], width, window
        self.size = 2 * self.hidden + width
        scale = np.float32(1 / math.sqrt(head_size))
        key, value = own["key.weight"], own["value.weight"]
        # of a state: its query, and what it adds to the key and the value that it is remembered by
        self.of_state = Linear(
            np.concatenate([own["query.weight"] * scale, key, value[:, : self.hidden]]),
            np.concatenate([own["query.bias"] * scale, own["key.bias"], own["value.bias"]]),
        )
        self.of_played = np.ascontiguousarray(value[:, self.hidden :].T)
        self.blocks = np.repeat(np.eye(self.num_heads, dtype=np.float32), head_size, 1)  # (heads, hidden)
        self.null_key, self.null_value = own["null_key"].reshape(-1), own["null_value"].reshape(-1)
        self.out = Linear(own["out.weight"], own["out.bias"])
        self.bias = np.ascontiguousarray(own["distance_bias"][:, ::-1])  # (heads, window), the latest bar last

    def new_tape(self, rows: int) -> Tape:
        """Return the empty memory of a step of the bar."""
        return Tape(rows, self.size, self.window)

    def remember(self, of_state: Array, played: Array, tape: Tape) -> Tape:
        """Return the memory with what stood before a step, as `of_state` gives it, and what was played there."""
        element = np.empty((len(played), self.size), np.float32)
        element[:, : 2 * self.hidden] = of_state[:, self.hidden :]
        element[:, self.hidden : 2 * self.hidden] += played.dot(self.of_played)
        element[:, 2 * self.hidden :] = played
        return tape.append(element)

    def recall(self, of_state: Array, tape: Tape) -> tuple[Array, Array]:
        """Return what is read of earlier bars: a state (rows, hidden), and hits (rows, heads, width)."""
        heads, hidden = self.num_heads, self.hidden
        memory = tape.last
        bars = memory.shape[1]
        query = of_state[:, None, :hidden] * self.blocks  # (rows, heads, hidden), each head's own part
        scores = np.empty((len(of_state), heads, bars + 1), np.float32)
        scores[..., 0] = query @ self.null_key
        if bars:
            np.matmul(query, memory[..., :hidden].swapaxes(1, 2), out=scores[..., 1:])
            scores[..., 1:] += self.bias[:, self.window - bars :]
        scores -= np.maximum.reduce(scores, -1, keepdims=True)
        np.exp(scores, out=scores)
        scores /= np.add.reduce(scores, -1, keepdims=True)
        read = scores[..., 1:] @ memory[..., hidden:] if bars else np.zeros((*scores.shape[:2], hidden + self.width))
        state = read[..., :hidden] + scores[..., :1] * self.null_value
        state *= self.blocks
        return self.out(np.add.reduce(state, 1)), np.ascontiguousarray(read[..., hidden:], np.float32)
