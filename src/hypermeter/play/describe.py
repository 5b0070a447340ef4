"""Describing bars by a model: the mean of its features while it hears a bar for the second time."""

import numpy as np
from jaxtyping import Float32, UInt8

from hypermeter.play.player import Player

ROWS = 512
"""Bars that are heard side by side."""

PASSES = 2
"""Times that each bar is heard; its features are those of the last, when the model knows what is to come."""


def describe_bars(player: Player, bars: UInt8[np.ndarray, "N S V"]) -> Float32[np.ndarray, "N H"]:
    """Return the mean of the model's features over the steps of each bar, which it hears twice from silence.

    Args:
        player: on the grid of the bars.
        bars: hits of the voices; tracks are silent.
    """
    parts = [np.zeros((0, player.start(1).features.shape[1]), np.float32)]
    silence = player.width - bars.shape[2]
    for start in range(0, len(bars), ROWS):
        rows = np.pad(bars[start : start + ROWS], ((0, 0), (0, 0), (0, silence)))
        state, total = player.start(len(rows)), np.zeros((len(rows), parts[0].shape[1]), np.float32)
        for time in range(PASSES):
            for x in rows.swapaxes(0, 1):
                if time == PASSES - 1:
                    total += state.features
                state = player.advance(x, state)
        parts.append(total / np.float32(bars.shape[1]))
    return np.concatenate(parts)
