"""What the server does for a request: grooves in, grooves out, on ONNX Runtime."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from hypermeter.core.errors import HypermeterError
from hypermeter.core.groove import DEFAULT_VELOCITY, Groove
from hypermeter.play.runtime import Expressing, OnnxPlayer, Streams
from hypermeter.share.serve.limits import Limits, Watch
from hypermeter.share.serve.messages import (
    ContinueRequest,
    GenerateRequest,
    InfillRequest,
    Options,
    VaryRequest,
    cells_of,
    columns_named,
    kit_of,
    to_groove,
    to_plan,
)


class Watched(OnnxPlayer):
    """A player that asks before every step whether it may go on; it shares the other's sessions."""

    watch: Watch

    @classmethod
    def of(cls, player: OnnxPlayer, watch: Watch) -> "Watched":
        watched = cls(player.folder)
        vars(watched).update(vars(player))
        vars(watched)["watch"] = watch
        return watched

    def run_step(self, feeds: dict[str, np.ndarray]) -> dict[str, Any]:
        self.watch.check()
        return super().run_step(feeds)


def played_bars(player: OnnxPlayer, request: GenerateRequest | ContinueRequest, limits: Limits) -> Iterator[Groove]:
    """The new bars, each as soon as it is played: as ``OnnxPlayer.generate`` and ``perform`` do it.

    Raises:
        HypermeterError: what does not fit.
    """
    if request.bars > limits.bars:
        raise HypermeterError(f"bars is {request.bars}, expected at most {limits.bars}")
    heard, tempo_bpm = None, request.tempo_bpm if isinstance(request, GenerateRequest) else 0.0
    if isinstance(request, ContinueRequest):
        heard = to_groove(request.groove, player, limits.bars)
        tempo_bpm = heard.tempo_bpm
        _refuse_broken_bars(heard, "groove")
    kit, size = kit_of(player), player.grid.steps_per_bar
    plan = to_plan(request.plan, player, request.bars, 0 if heard is None else heard.num_bars)
    rules = player.rules(plan=plan, guidance=request.guidance, **_drawing(request, player))
    streams, playing = Streams(request.seed), player.begin(1, plan=plan)
    expressing = None
    if request.expression and player.has_expression:
        expressing = Expressing(player, 1, tempo_bpm, request.seed)
    if heard is not None:
        for hits, velocity, offset in zip(heard.hits, heard.velocity, heard.offset, strict=True):
            if expressing is not None:
                expressing.play(
                    playing.features, hits[None], (velocity[None].astype(float), offset[None].astype(float))
                )
            playing.hear(hits[None])
    for bar in range(request.bars):
        hits = np.zeros((size, player.num_drums), np.uint8)
        velocity, offset = np.zeros((2, size, player.num_drums), np.float32)
        for step in range(size):
            uniforms = streams.uniforms(rules.num_uniforms(player.num_drums))
            x = rules.draw(playing.dist, playing.free if rules.guidance else None, uniforms)
            hits[step], velocity[step] = x[0], DEFAULT_VELOCITY * x[0]
            if expressing is not None:
                (velocity[step],), (offset[step],) = expressing.play(playing.features, x)
            if (bar, step) != (request.bars - 1, size - 1):
                playing.hear(x)
        yield Groove(hits, velocity, offset, tempo_bpm, kit, player.grid)


def joined(bars: Iterator[Groove]) -> Groove:
    """Bars as one groove."""
    parts = list(bars)
    arrays = {name: np.concatenate([getattr(each, name) for each in parts]) for name in ("hits", "velocity", "offset")}
    return replace(parts[0], **arrays)


def filled(player: OnnxPlayer, request: InfillRequest, limits: Limits) -> tuple[Groove, Any]:
    """The groove around its known cells, and the infill that tells how well the particles stood for it."""
    _refuse_particles(request.particles, limits)
    pattern = to_groove(request.groove, player, limits.bars)
    context = None if request.context is None else to_groove(request.context, player, limits.bars, "context")
    if context is not None:
        _refuse_broken_bars(context, "context")
    rows = cells_of(request.known, "known")
    if rows.shape != (len(request.groove.hits), len(pattern)):
        raise HypermeterError("known: of another shape than groove.hits, expected 0 or 1 for each cell")
    known = np.ones(pattern.hits.shape, bool)  # voices that are not sent stay silent
    names = request.groove.voices or kit_of(player).names
    known[:, columns_named(names, kit_of(player), "groove.voices")] = rows.T > 0
    if not len(pattern):
        raise HypermeterError("groove: no steps in it, expected at least one")
    plan = to_plan(request.plan, player, pattern.num_bars, 0 if context is None else context.num_bars)
    done = player.infill(
        known,
        pattern.hits,
        context=None if context is None else context.hits,
        particles=request.particles,
        horizon_bars=request.horizon_bars,
        plan=plan,
        guidance=request.guidance,
        seed=request.seed,
        **_drawing(request, player),
    )
    return _performed(player, pattern, done.hits, request, context), done


def varied(player: OnnxPlayer, request: VaryRequest, limits: Limits) -> Groove:
    """The groove with a share of it drawn anew."""
    _refuse_particles(request.particles, limits)
    groove = to_groove(request.groove, player, limits.bars)
    if not len(groove):
        raise HypermeterError("groove: no steps in it, expected at least one")
    plan = to_plan(request.plan, player, groove.num_bars)
    hits = player.vary(
        groove.hits,
        request.strength,
        keep=columns_named(request.keep, kit_of(player), "keep"),
        plan=plan,
        guidance=0.0 if plan is None else request.guidance,
        particles=request.particles,
        seed=request.seed,
        **_drawing(request, player),
    )
    return _performed(player, groove, hits, request)


def _performed(
    player: OnnxPlayer, pattern: Groove, hits: np.ndarray, request: Options, context: Groove | None = None
) -> Groove:
    """New hits with the model's expression; hits that were there keep their own."""
    stays = (pattern.hits > 0) & (hits > 0)
    velocity, offset = np.where(stays, pattern.velocity, DEFAULT_VELOCITY * hits), np.where(stays, pattern.offset, 0)
    if request.expression and player.has_expression and ((hits > 0) & ~stays).any():
        known = [np.where(stays, getattr(pattern, name), np.nan) for name in ("velocity", "offset")]
        whole, first = hits, 0
        if context is not None:
            first = len(context)
            whole = np.concatenate([context.hits, hits])
            heard = (context.velocity, context.offset)
            known = [np.concatenate([before, own]) for before, own in zip(heard, known, strict=True)]
        played = player.perform(whole, pattern.tempo_bpm, seed=request.seed, known=(known[0], known[1]))
        velocity, offset = (each[first:] for each in played)
    return replace(pattern, hits=hits, velocity=velocity, offset=offset)


def _drawing(request: Options, player: OnnxPlayer) -> dict[str, Any]:
    """How steps are drawn, as ``OnnxPlayer.stream`` takes it."""
    bias = None
    if request.bias:
        kit = kit_of(player)
        bias = np.zeros(player.num_drums)
        bias[columns_named(list(request.bias), kit, "bias")] = list(request.bias.values())
    return {"temperature": request.temperature, "top_p": request.top_p, "voice_bias": bias}


def _refuse_broken_bars(groove: Groove, what: str) -> None:
    if len(groove) % groove.grid.steps_per_bar:
        raise HypermeterError(f"{what}: {len(groove)} steps, expected whole bars of {groove.grid.steps_per_bar}")


def _refuse_particles(particles: int, limits: Limits) -> None:
    if particles > limits.particles:
        raise HypermeterError(f"particles is {particles}, expected at most {limits.particles}")
