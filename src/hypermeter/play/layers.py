"""Layers of a trained model in NumPy, in single precision: linear maps, encoders, attention over bars.

States are immutable: a step returns a new one. The pieces of a batch (rows) are all at the same step.
"""

import math
import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hypermeter.play.arithmetic import constant, gelu, sigmoid_of_double

Array = NDArray[Any]
"""An array in single precision."""
Weights = Mapping[str, NDArray[Any]]
"""Arrays of a checkpoint by name."""


def part(weights: Weights, prefix: str) -> dict[str, Array]:
    """Return the arrays below `prefix` in single precision, named without the prefix."""
    start = f"{prefix}."
    return {
        name.removeprefix(start): np.asarray(array, np.float32)
        for name, array in weights.items()
        if name.startswith(start)
    }


class Linear:
    """Affine map x W + b."""

    def __init__(self, weight: Array, bias: Array | None = None):
        self.weight = np.ascontiguousarray(weight.T)
        self.bias = np.zeros(weight.shape[0], np.float32) if bias is None else bias

    @classmethod
    def of(cls, weights: Weights, prefix: str) -> "Linear":
        """Return the map of an `nn.Linear`, with or without a bias."""
        arrays = part(weights, prefix)
        return cls(arrays["weight"], arrays.get("bias"))

    def __call__(self, x: Array) -> Array:
        out = x.dot(self.weight)
        out += self.bias
        return out


class LayerNorm:
    """Normalisation to mean 0 and variance 1 over the last axis, then a gain and a bias."""

    EPSILON = constant(1e-5)

    def __init__(self, weights: Weights, prefix: str):
        arrays = part(weights, prefix)
        self.gain, self.bias = arrays["weight"], arrays["bias"]
        self.mean = np.full((len(self.gain), 1), 1 / len(self.gain), np.float32)

    def __call__(self, x: Array) -> Array:
        x = x - x.dot(self.mean)
        scale = (x * x).dot(self.mean)
        scale += self.EPSILON
        x /= np.sqrt(scale)
        x *= self.gain
        x += self.bias
        return x


class Tape:
    """An immutable sequence (rows, length, size): `append` and `select` return a new tape.

    Tapes made by `append` share one buffer, into which each element is written once. A tape copies its elements when it
    is next used if another tape has taken its next place in the buffer, or if it holds selected rows.

    Args:
        rows, size: shape of an element.
        window: number of last elements that are kept; older ones may be dropped.
        capacity: initial length of the buffer.
    """

    __slots__ = ("_buffer", "_filled", "_lock", "_rows", "_stop", "window")

    def __init__(self, rows: int, size: int, window: int, capacity: int = 4):
        self._set(window, np.empty((capacity, rows, size), np.float32), 0, [0], threading.Lock())

    def _set(self, window: int, buffer: Array, stop: int, filled: list[int], lock: Any, rows: Any = None) -> "Tape":
        self.window, self._buffer, self._stop, self._rows = window, buffer, stop, rows
        self._filled, self._lock = filled, lock
        return self

    def append(self, *parts: Array) -> "Tape":
        """Return the tape with one more element: `parts`, each (rows, columns), concatenated along the columns."""
        if self._rows is not None:
            self._copy_rows()
        with self._lock:
            is_next = self._filled[0] == self._stop < len(self._buffer)
            if is_next:
                self._filled[0] += 1
        if not is_next:
            return self.select(np.arange(self._buffer.shape[1])).append(*parts)
        start = 0
        for part in parts:
            self._buffer[self._stop, :, start : (start := start + part.shape[1])] = part
        return Tape.__new__(Tape)._set(self.window, self._buffer, self._stop + 1, self._filled, self._lock)

    @property
    def last(self) -> Array:
        """The last elements (rows, up to `window`, size) in order. It is a view: do not write into it."""
        self._copy_rows()
        return self._kept.swapaxes(0, 1)

    @property
    def _kept(self) -> Array:
        return self._buffer[max(self._stop - self.window, 0) : self._stop]

    def back(self, steps: NDArray[np.int64]) -> Array:
        """Return the elements `steps` before the next one, (rows, len(steps), size); 1 is the last element."""
        if self._rows is not None:
            self._copy_rows()
        return self._buffer.take(self._stop - steps, 0).swapaxes(0, 1)

    def select(self, rows: NDArray[np.int64]) -> "Tape":
        """Return the tape of these rows, in this order."""
        rows = rows if self._rows is None else self._rows[rows]
        return Tape.__new__(Tape)._set(self.window, self._buffer, self._stop, [], threading.Lock(), rows)

    def _copy_rows(self) -> None:
        """Copy the selected rows, if any, into a new buffer of twice their length."""
        if self._rows is None:
            return
        with self._lock:
            if self._rows is None:
                return
            length, _, size = self._kept.shape
            buffer = np.empty((max(2 * length, 4), len(self._rows), size), np.float32)
            self._kept.take(self._rows, 1, out=buffer[:length], mode="clip")  # "raise" would copy once more
            self._set(self.window, buffer, length, [length], self._lock, self._rows)
            self._rows = None  # last, as other threads read it without the lock


# ---------------------------------------------------------------------- encoders


class Recurrent:
    """Stacked GRU or LSTM layers. The state is a tuple of arrays (rows, hidden): one per GRU layer, two per LSTM layer.

    Args:
        weights: arrays of the checkpoint.
        prefix: prefix of the names of the encoder's arrays.
        cell: "gru" or "lstm".
    """

    def __init__(self, weights: Weights, prefix: str, cell: str = "gru"):
        arrays = part(weights, f"{prefix}.rnn")
        self.cell = cell
        self.num_layers = sum(name.startswith("weight_ih") for name in arrays)
        self.size = arrays["weight_hh_l0"].shape[1]
        self.into, self.back = [], []
        # a gate is 1 / (1 + exp(-x)), the half of 1 + tanh(x / 2): the factors of x go into the maps
        factors = {"gru": (0.5, 0.5, 1), "lstm": (0.5, 0.5, 1, 0.5)}[cell]
        factor = np.repeat(np.array(factors, np.float32), self.size)
        for layer in range(self.num_layers):
            for maps, direction in ((self.into, "ih"), (self.back, "hh")):
                weight, bias = arrays[f"weight_{direction}_l{layer}"], arrays[f"bias_{direction}_l{layer}"]
                maps.append(Linear(weight * factor[:, None], bias * factor))
            # both biases are added at once, except that of the GRU's candidate state, which a gate multiplies
            both = 4 * self.size if cell == "lstm" else 2 * self.size
            self.into[-1].bias[:both] += self.back[-1].bias[:both]
        self.input_weight = self.into[0].weight
        self.new_bias = [back.bias[2 * self.size :].copy() for back in self.back]

    def init_state(self, rows: int) -> tuple[Any, ...]:
        """Return the state before the first element."""
        zeros = np.zeros((rows, self.size), np.float32)
        return (zeros,) * (self.num_layers * (1 if self.cell == "gru" else 2))

    def step(self, x: Array, state: tuple[Any, ...], position: int) -> tuple[Array, tuple[Any, ...]]:
        """Return the output (rows, hidden) and the state after an element (rows, input)."""
        return self.step_from(self.into[0](x), state, position)

    def step_from(self, into: Array, state: tuple[Any, ...], position: int) -> tuple[Array, tuple[Any, ...]]:
        """Do the same as `step`, given the first layer's input map of the element."""
        after: list[Array] = []
        for layer in range(self.num_layers):
            if layer:
                into = self.into[layer](after[-1] if self.cell == "gru" else after[-2])
            after += self._gru(layer, into, state[layer]) if self.cell == "gru" else self._lstm(layer, into, state)
        return after[-1] if self.cell == "gru" else after[-2], tuple(after)

    def _gru(self, layer: int, into: Array, hidden: Array) -> list[Array]:
        size = self.size
        back = hidden.dot(self.back[layer].weight)
        gates = sigmoid_of_double(into[:, : 2 * size] + back[:, : 2 * size])
        new = back[:, 2 * size :] + self.new_bias[layer]
        new *= gates[:, :size]
        new += into[:, 2 * size :]
        np.tanh(new, out=new)
        kept = hidden - new
        kept *= gates[:, size:]
        new += kept
        return [new]

    def _lstm(self, layer: int, into: Array, state: tuple[Any, ...]) -> list[Array]:
        hidden, cell = state[2 * layer], state[2 * layer + 1]
        write, keep, new, read = np.split(into + hidden.dot(self.back[layer].weight), 4, 1)
        write, keep, read = map(sigmoid_of_double, (write, keep, read))
        cell = keep * cell + write * np.tanh(new)
        return [read * np.tanh(cell), cell]


class Transformer:
    """A causal Transformer with rotary positions and a sliding window. Its state is one tape per layer.

    Args:
        weights: arrays of the checkpoint.
        prefix: prefix of the names of the encoder's arrays.
        window: in each layer, an element attends to itself and to the window - 1 elements before it.
        num_heads: number of attention heads.
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
        """Return the output (rows, hidden) and the state after element `position`, (rows, input)."""
        return self.step_from(self.embed(x), state, position)

    def step_from(self, into: Array, state: tuple[Any, ...], position: int) -> tuple[Array, tuple[Any, ...]]:
        """Do the same as `step`, given the input map of the element."""
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
        rotation = np.cos(angle), np.sin(angle)
        query, key = (
            self._turned(vector, gain, rotation) for vector, gain in zip((query, key), self.gains, strict=True)
        )
        tape = tape.append(key.reshape(rows, -1), value.reshape(rows, -1))
        keys, values = tape.last.reshape(rows, -1, 2, heads, size).transpose(2, 0, 3, 1, 4)
        weights = softmax((keys @ query[..., None])[..., 0] / np.float32(math.sqrt(size)))
        attended = (weights[:, :, None] @ values).reshape(rows, -1)
        x = x + self.out(attended)
        return x + self.feed[1](gelu(self.feed[0](self.feed_norm(x)))), tape

    def _turned(self, vector: Array, gain: Array, turn: tuple[Array, Array]) -> Array:
        """Return a query or key with RMS norm and gain, rotated by its position (Su et al. 2021, equation 34)."""
        epsilon = np.finfo(np.float32).eps
        vector = vector / np.sqrt(np.square(vector).mean(-1, keepdims=True) + epsilon) * gain
        first, second = np.split(vector, 2, -1)
        cos, sin = turn
        return np.concatenate([first * cos - second * sin, first * sin + second * cos], -1)


def softmax(x: Array) -> Array:
    """Return the softmax over the last axis."""
    x = np.exp(x - x.max(-1, keepdims=True))
    x /= x.sum(-1, keepdims=True)
    return x


# ---------------------------------------------------------------------- attention over bars


class BarAttention:
    """Attention from a step to the same step of earlier bars.

    The memory of each step of the bar is a tape with one element per bar: key, value and hits, concatenated.

    Args:
        weights: arrays of the checkpoint.
        prefix: prefix of the names of the attention's arrays.
        width: columns of a step.
        window: number of earlier bars that it attends to.
    """

    def __init__(self, weights: Weights, prefix: str, width: int, window: int):
        arrays = part(weights, prefix)
        self.num_heads, head_size = arrays["null_key"].shape
        self.hidden, self.width, self.window = arrays["query.weight"].shape[0], width, window
        blocks = np.repeat(np.eye(self.num_heads, dtype=np.float32), head_size, 1)  # (heads, hidden): its columns
        query, query_bias = (arrays[f"query.{name}"] / math.sqrt(head_size) for name in ("weight", "bias"))
        null_key, null_value = (blocks * arrays[f"null_{name}"].reshape(-1) for name in ("key", "value"))
        key, value = arrays["key.weight"], arrays["value.weight"]
        # one map of the state to its query, its key, its part of the value and its scores with the null keys; with a
        # multiple of 16 columns, OpenBLAS gives a row the same bits in batches of 16 and more
        unused = np.zeros((-(3 * self.hidden + self.num_heads) % 16, self.hidden))
        maps = [query, key, value[:, : self.hidden], null_key @ query, unused]
        biases = [query_bias, arrays["key.bias"], arrays["value.bias"], null_key @ query_bias, unused[:, 0]]
        self.of_state = Linear(*(np.concatenate(parts).astype(np.float32) for parts in (maps, biases)))
        self.of_played = np.ascontiguousarray(value[:, self.hidden :].T)
        out = np.concatenate([arrays["out.weight"], arrays["out.weight"] @ null_value.T], 1)
        self.out = Linear(out.astype(np.float32), arrays["out.bias"])
        self.bias = np.ascontiguousarray(arrays["distance_bias"][:, ::-1])  # (heads, window), the most recent bar last

    def new_tape(self, rows: int) -> Tape:
        """Return the empty memory of a step of the bar, with room for a window; unused pages take no memory."""
        return Tape(rows, 2 * self.hidden + self.width, self.window, self.window)

    def remember(self, of_state: Array, played: Array, tape: Tape) -> Tape:
        """Return the memory with one more bar: what `of_state` maps the state before a step to, and the step."""
        value = played.dot(self.of_played)
        value += of_state[:, 2 * self.hidden : 3 * self.hidden]
        return tape.append(of_state[:, self.hidden : 2 * self.hidden], value, played)

    def recall(self, of_state: Array, tape: Tape) -> tuple[Array, Array]:
        """Return the attention's output (rows, hidden), and the hits averaged by its weights (rows, heads, width)."""
        rows, hidden, heads, memory = len(of_state), self.hidden, self.num_heads, tape.last
        bars = memory.shape[1]
        # each head's part of the query in a row of its own, so that one product gives the scores of all heads
        query = np.zeros((rows, heads * heads, hidden // heads), np.float32)
        query[:, :: heads + 1] = of_state[:, :hidden].reshape(rows, heads, -1)
        query = query.reshape(rows, heads, hidden)
        scores = np.empty((1 + bars, rows, heads), np.float32)  # NumPy is faster along a first axis than a short last
        scores[0] = of_state[:, 3 * hidden : 3 * hidden + heads]
        np.matmul(memory[..., :hidden], query.swapaxes(1, 2), out=scores[1:].swapaxes(0, 1))
        scores[1:] += self.bias.T[self.window - bars :, None]
        scores -= np.maximum.reduce(scores, 0)
        np.exp(scores, out=scores)
        scores /= np.add.reduce(scores.transpose(1, 2, 0).copy(), -1)  # along a last axis the sum is in pairs
        read = scores[1:].transpose(1, 2, 0) @ memory[..., hidden:]
        state = np.empty((rows, hidden + heads), np.float32)
        of_heads = read[..., :hidden].reshape(rows, heads, heads, -1).diagonal(0, 1, 2)
        state[:, :hidden].reshape(rows, heads, -1)[:] = of_heads.swapaxes(1, 2)
        state[:, hidden:] = scores[0]
        return self.out(state), read[..., hidden:]
