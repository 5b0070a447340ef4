"""Drums that answer what is heard: by locks of unions, by a tilt of the log odds, by the velocity and timing of taps.

To follow, some voice of a set sounds at each tap, and the loudest of them has its velocity and timing. To leave room,
the voices of the set are less likely at taps. The expected hits that they gain or lose there are balanced where nothing
was played, so that they stay about as dense as they were. Each step is drawn from the model's own conditional, exactly.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hypermeter.play.expressing import ExpressionSampler, Known
from hypermeter.play.follow import answering_voices, lock_taps
from hypermeter.play.listening import Taps
from hypermeter.play.loading import kit_of
from hypermeter.play.locks import Lock, Locks
from hypermeter.play.network import State
from hypermeter.play.player import Player
from hypermeter.play.request import FollowOptions
from hypermeter.play.rules import Rules
from hypermeter.play.state import Hits, Passage, PlayerState, Single
from hypermeter.share.live.hearing import Heard

ROOM = 3.0
"""Taken off the log odds of voices where a tap of velocity 1 asks for room."""

RISE = 1.0
"""Added to them to follow, or taken off to leave room, where the energy is 1."""

BALANCE = 2.0
"""Added to the log odds of voices for each hit that they owe, or taken off for each that they had too many."""

MAX_OWED = 6.0
"""Most hits that are owed, or too many: the rest is forgotten."""


class Reply:
    """How the steps of a part are drawn.

    Args:
        player: draws them.
        heard: what they answer.
        mode: "follow" or "complement".
        following: which voices answer, and what they do between taps.
        first: number of the first step.
        owed: expected hits that the voices owe; below 0, that they had too many.
    """

    def __init__(self, player: Player, heard: Heard, mode: str, following: FollowOptions, first: int, owed: float):
        kit = kit_of(player)
        self.heard, self.first, self.owed, self.has_touch = heard, first, owed, following.touch
        self.voices = answering_voices(kit, following.answer)
        self._columns = np.zeros(player.width)
        self._columns[: player.num_drums] = self.voices
        self.follows, self.is_free, self._locks = mode == "follow", following.between == "free", None
        if self.follows:
            taps = Taps(heard.strength > 0, np.where(heard.strength > 0, heard.strength, np.nan), heard.offset)
            locks = lock_taps(taps, kit, player.width, following)
            known = locks.known[0] & heard.is_played[:, None]
            self._locks = Locks(known, locks.values[0], None if locks.some is None else locks.some[0])

    def lock(self, step: int) -> Lock | None:
        """Return the lock of a step."""
        return None if self._locks is None else self._locks.at(step - self.first, 1)

    def tilt(self, step: int, rules: Rules, state: State) -> Rules:
        """Return the rules of a step with its tilt, and count the hits that the voices owe after it."""
        heard, number = self.heard, step - self.first
        strength, lock, tilt = heard.strength[number], self.lock(step), RISE * heard.energy[number]
        if not self.follows:
            tilt = -tilt - ROOM * strength
        if lock is not None:  # that the voices sound is asked already
            tilt = 0.0
        elif not strength:
            tilt += BALANCE * self.owed
        tilted = _tilted(rules, tilt * self._columns)
        if tilted is not rules or (lock is not None and self.is_free):
            gained = self._expected(tilted, state, lock) - self._expected(rules, state)
            self.owed = min(max(self.owed - gained, -MAX_OWED), MAX_OWED)
        return tilted

    def _expected(self, rules: Rules, state: State, lock: Lock | None = None) -> float:
        """Return the expected hits of the voices in a step."""
        dist: Any = state.dist if rules.bias is None else state.dist.tilt(rules.bias)
        return float((dist if lock is None else dist.condition(*lock)).probs[0] @ self._columns)

    def touch(self, step: int) -> tuple[float, float]:
        """Return velocity and offset of the loudest answer at a step; NaN where they are the model's."""
        if not self.follows or not self.has_touch:
            return math.nan, math.nan
        return float(self.heard.velocity[step - self.first]), float(self.heard.offset[step - self.first])


def _tilted(rules: Rules, bias: NDArray[np.float64]) -> Rules:
    """Return rules with more bias; the same where there is no more."""
    if not bias.any():
        return rules
    bias = bias if rules.bias is None else rules.bias + bias
    return Rules(rules.temperature, rules.top_p, rules.guidance, rules.seed, bias)


@dataclass(frozen=True)
class AnsweringPlayer(Player):
    """A player that draws as a reply has it; without anything heard, what `Player` draws.

    Args:
        reply: of the steps that are played.
    """

    reply: Reply = field(kw_only=True)

    def draw(
        self,
        state: State,
        rules: Rules,
        uniforms: NDArray[np.float64],
        lock: Any = None,
        given: Any = None,
        position: int | None = None,
    ) -> Hits:
        """Return the next step, with its lock and tilt."""
        step = state.position if position is None else position
        rules, lock = self.reply.tilt(step, rules, state), self.reply.lock(step)
        return super().draw(state, rules, uniforms, lock, position=position)

    def _performer(self, player_state: PlayerState, tempo_bpm: float, seed: int) -> ExpressionSampler | None:
        if player_state.expression is None:
            return None
        return TouchSampler(self.reply, self.network.expression, 1, tempo_bpm, seed, state=player_state.expression)


class TouchSampler(ExpressionSampler):
    """An `ExpressionSampler` whose loudest answer has velocity and offset of the tap, and the others are not louder."""

    def __init__(self, reply: Reply, *arguments: Any, **options: Any):
        super().__init__(*arguments, **options)
        self._reply = reply

    def play(
        self, features: Single, hits: NDArray[Any], position: int, known: Known | None = None
    ) -> tuple[Single, Single]:
        """Return velocities and offsets of a step, drawn given those of its tap."""
        state, (tap_velocity, tap_offset) = self.state, self._reply.touch(position)
        drawn = super().play(features, hits, position, known)
        answers = (hits[0] > 0) & self._reply.voices
        if not answers.any() or (math.isnan(tap_velocity) and math.isnan(tap_offset)):
            return drawn
        loudest = int(np.where(answers, drawn[0][0], -1).argmax())
        velocity, offset = np.full((2, *hits.shape), np.nan)
        velocity[0, loudest] = tap_velocity
        offset[0, loudest] = max(tap_offset, 0.0) if position == 0 else tap_offset
        while True:
            self.state = state
            drawn = super().play(features, hits, position, (velocity, offset))
            louder = answers & (drawn[0][0] > np.float32(tap_velocity))
            if not louder.any():
                return drawn
            velocity[0, louder] = tap_velocity


def play_answer(
    player: Player, player_state: PlayerState, steps: int, rules: Rules, tempo_bpm: float, reply: Reply
) -> tuple[Passage, PlayerState]:
    """Return the next steps of one piece, as `Player.play` does, with a reply."""
    answering = AnsweringPlayer(player.network, player.name, player.before_step, reply=reply)
    return answering.play(player_state, steps, rules, tempo_bpm)
