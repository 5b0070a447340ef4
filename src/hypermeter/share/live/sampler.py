"""A player asked part by part: from a point and what is asked now to a part of the music and the next point.

A point is a value. A part that was drawn can be drawn again from the same point when something else is asked, as long
as it has not sounded; as random numbers belong to places in the music, it is drawn with the same ones.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from hypermeter.core.errors import HypermeterError
from hypermeter.core.groove import Groove
from hypermeter.play.compose import TEMPO_BPM, hear_groove
from hypermeter.play.moment import Moment, Part
from hypermeter.play.plan import Plan
from hypermeter.play.player import Player
from hypermeter.play.steering import SETTLED
from hypermeter.share.live.asking import Settings

MOST_ROWS = SETTLED
"""Of the plan that are remembered: what was asked longer ago is not new by any measure."""


@dataclass(frozen=True)
class Point:
    """Before a step.

    Args:
        moment: what the model remembers; its plan is not read.
        rows: what was asked of the bars begun, the last MOST_ROWS of them; `None` before the first.
        asked: the last of the rows, embedded.
    """

    moment: Moment
    rows: Plan | None = None
    asked: Any = None


class Drawer:
    """A player, asked part by part.

    Args:
        player: drums only.

    Raises:
        HypermeterError: a model with tracks.
    """

    def __init__(self, player: Player):
        if player.tracks:
            names = ", ".join(track.name for track in player.tracks)
            raise HypermeterError(f"play: the model has tracks beside the drums ({names}); use one of drums only")
        self.player = player

    def begin(self, primer: Groove | None = None, tempo_bpm: float = TEMPO_BPM) -> Point:
        """Return the point before the first step, or after a primer that was heard with its velocity and timing.

        Raises:
            HypermeterError: a primer of another metre or kit, or one that does not end on a bar line.
        """
        moment = self.player.moment(tempo_bpm)
        if primer is None:
            return Point(moment)
        size = self.player.grid.steps_per_bar
        if len(primer) % size:
            raise HypermeterError(f"primer of {len(primer)} steps, expected whole bars of {size}")
        moment = hear_groove(self.player, moment, primer, tempo_bpm, "primer")
        return Point(moment, Plan.free(primer.num_bars) if len(primer) else None)

    def draw(
        self, point: Point, steps: int, settings: Settings, row: Plan | None = None, tempo_bpm: float = TEMPO_BPM
    ) -> tuple[Part, Point]:
        """Return steps within one bar, and the point after them.

        Args:
            point: before them; it stays as it is.
            steps: up to the end of the bar at most.
            settings: of which those asked of a bar are in `row`. The same seed gives the same music.
            row: what is asked of the bar, one row; `None` for a model without labels.
            tempo_bpm: quarter notes a minute, for the expression.
        """
        player, moment = self.player, point.moment
        place = moment.position % player.grid.steps_per_bar
        assert 0 < steps <= player.grid.steps_per_bar - place
        rows, asked = grown(point.rows, row, is_new_bar=place == 0), point.asked
        if rows is None:
            asked = None
        elif asked is None or place == 0 or not _is_same(rows, point.rows):
            asked = player.network.embed(rows)[:, rows.num_bars - 1 : rows.num_bars]
        moment = Moment(moment.state.under(asked), moment.expression)
        part, after = player.play(moment, steps, player.rules(settings, row), tempo_bpm)
        return part, Point(after, rows, asked)


def grown(rows: Plan | None, row: Plan | None, is_new_bar: bool) -> Plan | None:
    """Return the rows with one more, or in the midst of a bar with another last one; the last MOST_ROWS of them."""
    if row is None:
        return None
    if rows is None:
        return row
    kept = rows.num_bars if is_new_bar else rows.num_bars - 1
    first = max(kept + 1 - MOST_ROWS, 0)
    return rows.bars(first, kept - first).then(row)


def _is_same(rows: Plan, others: Plan | None) -> bool:
    """Return whether the last row of both asks the same."""
    if others is None:
        return False
    return np.array_equal(rows.labels[:, -1], others.labels[:, -1]) and np.array_equal(
        rows.numbers[:, -1], others.numbers[:, -1], equal_nan=True
    )
