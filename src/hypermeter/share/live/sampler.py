"""A player that samples one part at a time, with conditions that may have changed since the last one.

States are values: a part that has not sounded yet can be sampled again from the state before it with other
conditions. Random numbers belong to places in the music, so that both use the same ones.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hypermeter.core.errors import HypermeterError
from hypermeter.core.groove import Groove
from hypermeter.play.compose import TEMPO_BPM, begin_bar, feed_groove
from hypermeter.play.form import Form, sections_of
from hypermeter.play.plan import Plan
from hypermeter.play.player import Player
from hypermeter.play.request import FollowOptions
from hypermeter.play.state import Passage, PlayerState
from hypermeter.play.steering import SETTLED
from hypermeter.share.live.answering import Reply, play_answer
from hypermeter.share.live.conditions import LiveSettings
from hypermeter.share.live.hearing import Heard

MAX_ROWS = SETTLED
"""Rows of the plan that are kept: older ones have no effect any more."""


@dataclass(frozen=True)
class SamplerState:
    """State before a step.

    Args:
        inner: of the player; the plan in it is not used.
        rows: of the plan, of the bars begun, the last MAX_ROWS of them; `None` before the first.
        embedded: the last of the rows, embedded.
        owed: hits that the voices owe that made room, see `answering`.
        form: of the sections of the rows; `None` before the first row.
        bar: music of the bar so far.
    """

    inner: PlayerState
    rows: Plan | None = None
    embedded: Any = None
    owed: float = 0.0
    form: Form[PlayerState, Passage] | None = None
    bar: tuple[Passage, ...] = ()


class Sampler:
    """A player that gives one part of the music at a time.

    Args:
        player: of drums only.
        following: which voices answer what is heard, and what they do where nothing is.

    Raises:
        HypermeterError: a model with tracks.
    """

    def __init__(self, player: Player, following: FollowOptions = FollowOptions()):
        if player.tracks:
            names = ", ".join(track.name for track in player.tracks)
            raise HypermeterError(f"play: the model has tracks beside the drums ({names}); use one of drums only")
        self.player, self.following = player, following

    def begin(self, primer: Groove | None = None, tempo_bpm: float = TEMPO_BPM) -> SamplerState:
        """Return the state before the first step, or after a primer with its velocity and timing.

        Raises:
            HypermeterError: a primer of another metre or kit, or one that does not end on a bar line.
        """
        inner = self.player.initial_state(tempo_bpm)
        if primer is None:
            return SamplerState(inner)
        size = self.player.grid.steps_per_bar
        if len(primer) % size:
            raise HypermeterError(f"primer of {len(primer)} steps, expected whole bars of {size}")
        inner = feed_groove(self.player, inner, primer, tempo_bpm, "primer")
        return SamplerState(inner, Plan.free(primer.num_bars) if len(primer) else None)

    def sample(
        self,
        state: SamplerState,
        steps: int,
        settings: LiveSettings,
        row: Plan | None = None,
        tempo_bpm: float = TEMPO_BPM,
        heard: Heard | None = None,
    ) -> tuple[Passage, SamplerState]:
        """Return steps within one bar, and the state after them; the same seed gives the same music.

        Args:
            state: before them; it stays as it is.
            steps: up to the end of the bar at most.
            settings: their conditions are in `row` already.
            row: of the plan, for this bar; `None` for a model without labels.
            tempo_bpm: quarter notes a minute, which the expression depends on.
            heard: what the steps answer, as the settings have it.
        """
        player, inner = self.player, state.inner
        place = inner.position % player.grid.steps_per_bar
        assert 0 < steps <= player.grid.steps_per_bar - place
        rows, embedded = with_row(state.rows, row, is_new_bar=place == 0), state.embedded
        if rows is None:
            embedded = None
        elif embedded is None or place == 0 or not _ends_alike(rows, state.rows):
            embedded = player.network.embed(rows)[:, rows.num_bars - 1 : rows.num_bars]
        form, inner = self._begun(state, row, tempo_bpm) if place == 0 else (state.form, inner)
        inner = replace(inner, state=inner.state.with_plan(embedded))
        rules, owed = player.rules(settings, row), state.owed
        if heard is None or settings.answer == "off":
            part, after = player.play(inner, steps, rules, tempo_bpm)
        else:
            reply = Reply(player, heard, settings.answer, self.following, inner.position, owed)
            part, after = play_answer(player, inner, steps, rules, tempo_bpm, reply)
            owed = reply.owed
        bar = (*state.bar, part)
        if place + steps == player.grid.steps_per_bar:
            form, bar = form and form.play(Passage.joined(bar)), ()
        return part, SamplerState(after, rows, embedded, owed, form, bar)

    def _begun(
        self, state: SamplerState, row: Plan | None, tempo_bpm: float
    ) -> tuple[Form[PlayerState, Passage] | None, PlayerState]:
        """Return the form and the player state at the beginning of a bar."""
        form, inner, grid = state.form, state.inner, self.player.grid
        if row is None:
            return None, inner
        section = sections_of(row)
        if form is None:
            form = Form(grid.bars_per_phrase, inner.position // grid.steps_per_bar)
        form, inner = begin_bar(self.player, form, section[0] if section else 0, inner, tempo_bpm)
        return form.enter(inner), inner


def with_row(rows: Plan | None, row: Plan | None, is_new_bar: bool) -> Plan | None:
    """Return the rows and one more, which within a bar replaces the last; the last MAX_ROWS of them."""
    if row is None or rows is None:
        return row
    kept = rows.num_bars if is_new_bar else rows.num_bars - 1
    first = max(kept + 1 - MAX_ROWS, 0)
    return rows.bars(first, kept - first).then(row)


def _ends_alike(rows: Plan, others: Plan | None) -> bool:
    """Return whether the last rows of both are equal."""
    if others is None:
        return False
    return np.array_equal(rows.labels[:, -1], others.labels[:, -1]) and np.array_equal(
        rows.numbers[:, -1], others.numbers[:, -1], equal_nan=True
    )
