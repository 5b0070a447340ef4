"""Pieces that are played side by side on the step graph."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hypermeter.play.runtime.folder import zeros
from hypermeter.play.runtime.mixture import Mixture


class Playing:
    """Pieces that are played side by side: what the model remembers of each, and what it expects next.

    ``hear`` changes it in place; ``select`` gives a new one.

    Args:
        player: an ``OnnxPlayer``.
        rows: pieces.
        asked: (rows, bars, plan_dim) of their plans, from ``OnnxPlayer.embed``; None asks nothing.
    """

    def __init__(self, player: Any, rows: int, asked: NDArray[np.float32] | None = None):
        self.player, self.asked = player, asked
        meta = player.meta
        self.state = zeros(meta["state"], rows)
        self.memory: NDArray[np.float32] | None = None
        if meta["memory"]:
            size = meta["memory"]
            self.memory = np.zeros((rows, size["steps_per_bar"], size["window"], size["size"]), np.float32)
        self.expected: dict[str, np.ndarray] = {}
        self._run(np.zeros((rows, meta["width"]), np.float32))

    def __len__(self) -> int:
        return len(self.state["position"])

    @property
    def position(self) -> NDArray[np.int64]:
        """(rows,), steps that were heard."""
        return self.state["position"]

    @property
    def features(self) -> NDArray[np.float32]:
        """(rows, H), what the distribution of the next step is made from."""
        return self.expected["features"]

    @property
    def dist(self) -> Mixture:
        """Of the next step, under the plan."""
        return Mixture.of(self.expected["log_weights"], self.expected["logits"])

    @property
    def free(self) -> Mixture:
        """Of the next step, under no plan."""
        if "free_logits" not in self.expected:
            return self.dist
        return Mixture.of(self.expected["free_log_weights"], self.expected["free_logits"])

    def hear(self, x: NDArray[Any]) -> None:
        """Go on by a step (rows, width)."""
        self._run(np.asarray(x, np.float32))

    def _run(self, x: NDArray[np.float32]) -> None:
        position, rows = self.position, np.arange(len(self))
        size = self.player.grid.steps_per_bar
        feeds = {f"state_{name}": each for name, each in self.state.items()} | {"x": x}
        if self.memory is not None:
            feeds["memory"] = self.memory[rows, (position + 1) % size]
        if self.player.meta["plan_dim"]:
            feeds["asked"] = self._asked_at(position + 1)
        found = self.player.run_step(feeds)
        if self.memory is not None:
            heard = position >= 0  # the first call hears nothing
            bar = position // size % self.memory.shape[2]
            self.memory[rows[heard], (position % size)[heard], bar[heard]] = found["remembered"][heard]
        self.state = {name: found[f"next_{name}"] for name in self.state}
        self.expected = {name: each for name, each in found.items() if not name.startswith("next_")}

    def _asked_at(self, position: NDArray[np.int64]) -> NDArray[np.float32]:
        if self.asked is None:
            return np.zeros((len(self), self.player.meta["plan_dim"]), np.float32)
        bar = np.minimum(position // self.player.grid.steps_per_bar, self.asked.shape[1] - 1)
        return self.asked[np.arange(len(self)), bar]

    def select(self, rows: Sequence[int] | NDArray[np.int64]) -> "Playing":
        """The given rows, in that order; a row may come more than once."""
        chosen = object.__new__(Playing)
        chosen.player = self.player
        chosen.asked = None if self.asked is None else self.asked[rows]
        chosen.memory = None
        if self.memory is not None:
            chosen.memory = np.zeros((len(rows), *self.memory.shape[1:]), np.float32)
            bars = int(self.position.max()) // self.player.grid.steps_per_bar + 1  # of which there is something
            chosen.memory[:, :, :bars] = self.memory[rows, :, :bars]
        chosen.state = {name: each[rows] for name, each in self.state.items()}
        chosen.expected = {name: each[rows] for name, each in self.expected.items()}
        return chosen
