"""The place of a step as an embedding: from its features, which serve every metre, or from a table of one phrase."""

import copy
from typing import Any, TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from hypermeter.core.grid import Grid
from hypermeter.play.places import NUM_FEATURES, place_features, table_error

HIDDEN_DIM = 64
"""Of the layer between the features of a place and its embedding."""

M = TypeVar("M", bound=nn.Module)


def with_shared_weights(module: M, **changes: Any) -> M:
    """Return a copy of a module that has the same weights, not equal ones, with other attributes."""
    copied = copy.copy(module)
    for name in ("_modules", "_buffers"):
        copied.__dict__[name] = dict(getattr(module, name))
    for name, value in changes.items():
        setattr(copied, name, value)
    return copied


class PlaceEmbedding(nn.Module):
    """Embedding of the places of a phrase from what they are, see ``play.places``.

    Args:
        dim: of an embedding.
        grid: of the phrase.
    """

    def __init__(self, dim: int, grid: Grid):
        super().__init__()
        self.inner, self.activation = nn.Linear(NUM_FEATURES, HIDDEN_DIM), nn.GELU()
        self.out = nn.Linear(HIDDEN_DIM, dim)
        self.features: Tensor
        self.register_buffer("features", _features(Grid()), persistent=False)
        with torch.no_grad():  # Initially about as large as a normal embedding, in any metre.
            self.out.weight.div_((self.table() - self.out.bias).std())
            self.out.bias.zero_()
        self.features = _features(grid)

    def table(self) -> Float[Tensor, "steps dim"]:
        """Return the embedding of each step of a phrase."""
        return self.out(self.activation(self.inner(self.features.to(self.inner.weight.dtype))))

    def forward(self, place: Int[Tensor, "*B"]) -> Float[Tensor, "*B dim"]:
        """Return the embeddings of places in the phrase."""
        return self.table()[place]

    def on(self, grid: Grid) -> "PlaceEmbedding":
        """Return the embedding of the places of another grid, with the same weights."""
        return with_shared_weights(self, features=_features(grid).to(self.features.device))


class PlaceTable(nn.Embedding):
    """Embedding of the places of a phrase of one grid, as earlier models have it: initially of step and of bar.

    Args:
        dim: of an embedding.
        grid: of the phrase.
    """

    def __init__(self, dim: int, grid: Grid):
        super().__init__(grid.steps_per_phrase, dim)
        with torch.no_grad():
            step_part = torch.randn(1, grid.steps_per_bar, dim)
            bar_part = 0.3 * torch.randn(grid.bars_per_phrase, 1, dim)
            self.weight.copy_((step_part + bar_part).flatten(0, 1))

    def on(self, grid: Grid) -> "PlaceTable":
        """Raise, as a table serves one grid.

        Raises:
            HypermeterError: always.
        """
        raise table_error(grid)


def _features(grid: Grid) -> Float[Tensor, "steps features"]:
    return torch.from_numpy(place_features(grid).copy())
