"""Several takes of a request that differ: the same for every request that draws music."""

import math
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from fastapi import FastAPI, Request, Response
from pydantic import Field

from hypermeter.core.groove import Groove
from hypermeter.core.printed import printable
from hypermeter.play.infill import InfillResult
from hypermeter.play.player import Player
from hypermeter.play.takes import draw_takes
from hypermeter.share.serve.errors import OF_WORK, problems
from hypermeter.share.serve.limits import Limits
from hypermeter.share.serve.messages import (
    ContinueRequest,
    FollowRequest,
    GenerateRequest,
    HumanizeRequest,
    InfillRequest,
    Message,
    Played,
    SampleSize,
    VaryRequest,
    from_groove,
    from_infill,
)
from hypermeter.share.serve.playing import (
    follow_request,
    humanize_request,
    infill_request,
    play_request,
    vary_request,
)
from hypermeter.share.serve.work import Server


class Several(Message):
    """Number of takes, of four times as many that are drawn with successive seeds; see `play.takes`."""

    seed: int  # with the bounds of the request
    variations: Annotated[int, Field(ge=1, le=16)] = 4


class GenerateTakesRequest(GenerateRequest, Several):
    """As `GenerateRequest`, so many times."""


class ContinueTakesRequest(ContinueRequest, Several):
    """As `ContinueRequest`, so many times."""


class InfillTakesRequest(InfillRequest, Several):
    """As `InfillRequest`, so many times."""


class VaryTakesRequest(VaryRequest, Several):
    """As `VaryRequest`, so many times."""


class FollowTakesRequest(FollowRequest, Several):
    """As `FollowRequest`, so many times."""


class HumanizeTakesRequest(HumanizeRequest, Several):
    """As `HumanizeRequest`, so many times."""


class TakeAnswer(Played):
    """One of several takes.

    `distance` is from the nearest other, null of one alone; `effective_sample_size` is null where nothing was filled
    in.
    """

    distance: float | None
    effective_sample_size: SampleSize | None
    warning: str


class Takes(Message):
    """Takes that differ, the first with the seed of the request."""

    takes: list[TakeAnswer]


Asked = TypeVar("Asked", bound=Several)
Drawn = Groove | tuple[Groove, InfillResult]


def takes_request(
    player: Player, request: Asked, limits: Limits, play: Callable[[Player, Asked, Limits], Drawn]
) -> Takes:
    """Return takes of a request that differ, each of its own seed; see `play.takes`.

    Args:
        player: of the request.
        request: with `variations`, and a seed.
        limits: of the server.
        play: the music of the request, with the infill where there is one.

    Raises:
        HypermeterError: as `play`.
    """
    infills: dict[int, InfillResult] = {}

    def draw(seed: int) -> Groove:
        drawn = play(player, request.model_copy(update={"seed": seed}), limits)
        if isinstance(drawn, Groove):
            return drawn
        groove, infills[seed] = drawn
        return groove

    answers = []
    for take in draw_takes(draw, request.variations, request.seed):
        infill = infills.get(take.seed)
        answers.append(
            TakeAnswer(
                groove=from_groove(take.groove),
                seed=take.seed,
                distance=None if math.isnan(take.distance) else take.distance,
                effective_sample_size=None if infill is None else from_infill(infill),
                warning="" if infill is None else printable(infill.warning),
            )
        )
    return Takes(takes=answers)


def add_takes(app: FastAPI, server: Server) -> None:
    """Add a route for the takes of each request that draws."""
    declared: dict[str, Any] = {"response_model": Takes, "responses": problems(*OF_WORK)}

    async def takes(
        request: Request, model: str | None, body: Asked, play: Callable[[Player, Asked, Limits], Drawn]
    ) -> Response:
        return await server.answer(request, model, lambda player: takes_request(player, body, server.limits, play))

    @app.post("/api/generate/takes", summary="Generate several takes that differ", **declared)
    async def generate_takes(request: Request, body: GenerateTakesRequest) -> Response:
        return await takes(request, body.model, body, play_request)

    @app.post("/api/continue/takes", summary="Continue a groove in several ways", **declared)
    async def continue_takes(request: Request, body: ContinueTakesRequest) -> Response:
        return await takes(request, body.model, body, play_request)

    @app.post("/api/infill/takes", summary="Fill in the open cells in several ways", **declared)
    async def infill_takes(request: Request, body: InfillTakesRequest) -> Response:
        return await takes(request, body.model, body, infill_request)

    @app.post("/api/vary/takes", summary="Vary a groove in several ways", **declared)
    async def vary_takes(request: Request, body: VaryTakesRequest) -> Response:
        return await takes(request, body.model, body, vary_request)

    @app.post("/api/follow/takes", summary="Several drums that follow a rhythm", **declared)
    async def follow_takes(request: Request, body: FollowTakesRequest) -> Response:
        return await takes(request, body.model, body, follow_request)

    @app.post("/api/humanize/takes", summary="Play a groove's hits in several ways", **declared)
    async def humanize_takes(request: Request, body: HumanizeTakesRequest) -> Response:
        return await takes(request, body.model, body, humanize_request)
