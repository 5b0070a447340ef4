"""The ASGI application: routes, answers and errors."""

import json
import mimetypes
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response
from fastapi.responses import StreamingResponse
from fastapi.staticfiles import StaticFiles

from hypermeter import __version__
from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import GridChoice
from hypermeter.core.groove import Groove
from hypermeter.core.printed import printable
from hypermeter.core.read_options import ReadOptions, Shift, TempoMap
from hypermeter.io.midi import parse_midi_report, to_midi_bytes
from hypermeter.music.metrics import measure
from hypermeter.music.tables import to_json
from hypermeter.play.infill import InfillResult
from hypermeter.play.loading import kit_of
from hypermeter.play.player import Player
from hypermeter.share.serve.errors import OF_BODIES, OF_WORK, add_errors, problems
from hypermeter.share.serve.guard import Guard
from hypermeter.share.serve.limits import Limits, Refused
from hypermeter.share.serve.messages import (
    AnalyseRequest,
    ContinueRequest,
    Filled,
    FollowRequest,
    GenerateRequest,
    GridMessage,
    Health,
    HumanizeRequest,
    InfillRequest,
    LimitsAnswer,
    Measured,
    ModelAnswer,
    ModelsAnswer,
    Played,
    Read,
    VaryRequest,
    WriteRequest,
    from_groove,
    from_infill,
    on_grid,
    to_groove,
)
from hypermeter.share.serve.methods import OF_PAGE, answer_api, answer_options
from hypermeter.share.serve.playing import (
    follow_request,
    humanize_request,
    infill_request,
    nonempty_groove,
    play_request,
    vary_request,
)
from hypermeter.share.serve.takes import add_takes
from hypermeter.share.serve.work import Server

JSON, LINES = "application/json", "application/x-ndjson"
MIDI_TYPES = ("application/octet-stream", "audio/midi", "audio/x-midi", "audio/mid")


def make_app(
    players: Mapping[str, Player],
    page: Path | None = None,
    limits: Limits | None = None,
    hosts: Collection[str] | None = None,
) -> Guard:
    """Return the ASGI application.

    Args:
        players: name -> model; the first is the default.
        page: folder to serve at /; None serves the API alone.
        limits: of requests; left out, the defaults.
        hosts: see ``Guard``.

    Raises:
        HypermeterError: no models, one without a kit, or one with tracks.
    """
    server = Server(players, limits or Limits())

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        server.threads.shutdown(wait=False, cancel_futures=True)

    app = FastAPI(
        title="Hypermeter",
        version=__version__,
        summary="Drumming: generated, continued, filled in, varied, measured.",
        openapi_url="/api/openapi.json",
        docs_url=None,  # its page would load scripts from elsewhere
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.server = server
    add_errors(app)
    _add_queries(app, server)
    _add_playing(app, server)
    add_takes(app, server)
    _add_midi(app, server)
    site = FastAPI(openapi_url=None)
    add_errors(site)
    if page is not None:
        site.mount("/", PageFiles(directory=page, html=True))

    async def either(scope: Any, receive: Any, send: Any) -> None:
        is_page = scope["type"] == "http" and not f"{scope['path']}/".startswith("/api/")
        if not is_page:
            await answer_api(app, scope, receive, send)
        elif scope["method"] == "OPTIONS" and page is not None:
            await answer_options(OF_PAGE, send)
        else:
            await site(scope, receive, send)

    return Guard(either, server.limits, hosts)


def _add_queries(app: FastAPI, server: Server) -> None:
    @app.get("/api/health", summary="Status of the server")
    async def health() -> Health:
        return Health(status="ok", version=__version__, running=server.slots.running, slots=server.limits.running)

    listed = _listed(server)

    @app.get("/api/models", summary="The models and the limits", response_model=ModelsAnswer)
    async def models() -> Response:
        return Response(listed, media_type=JSON)

    @app.post(
        "/api/analyse", summary="Rhythm metrics of a groove", response_model=Measured, responses=problems(*OF_WORK)
    )
    async def analyse(request: Request, body: AnalyseRequest) -> Response:
        def job(player: Player) -> Measured:
            groove = nonempty_groove(body.groove, on_grid(player, body.groove), server.limits)
            return Measured(metrics=to_json(measure(groove)))

        return await server.answer(request, body.model, job)


def _listed(server: Server) -> str:
    """Return the JSON of the models and limits."""
    answers = [
        ModelAnswer(
            name=name,
            voices=list(kit_of(player).names),
            pitches=[list(voice.pitches) for voice in kit_of(player).voices],
            grid=GridMessage.model_validate(player.grid.to_dict()),
            grids=[GridMessage.model_validate(grid.to_dict()) for grid in player.grids],
            every_metre=isinstance(player.grid_choice, GridChoice),
            labels={kind: list(names) for kind, names in player.labels.items()} if player.labels else None,
            has_expression=player.has_expression,
        )
        for name, player in server.players.items()
    ]
    limits = {name: getattr(server.limits, name) for name in LimitsAnswer.model_fields}
    return ModelsAnswer(models=answers, limits=LimitsAnswer(**limits)).model_dump_json()


def _add_playing(app: FastAPI, server: Server) -> None:
    limits, of_work = server.limits, problems(*OF_WORK)
    streamed: dict[str, Any] = {
        "response_class": StreamingResponse,
        "responses": of_work
        | {
            200: {
                "description": "A line of JSON for each bar, then one that says done, or an error",
                "content": {LINES: {}},
            }
        },
    }

    def filled(body: InfillRequest | FollowRequest, groove: Groove, done: InfillResult) -> Filled:
        sizes, warning = from_infill(done), printable(done.warning)
        return Filled(groove=from_groove(groove), seed=body.seed, effective_sample_size=sizes, warning=warning)

    def played(body: Any, groove: Groove) -> Played:
        return Played(groove=from_groove(groove), seed=body.seed)

    async def play(request: Request, body: GenerateRequest | ContinueRequest) -> Response:
        return await server.answer(request, body.model, lambda player: played(body, play_request(player, body, limits)))

    async def stream(request: Request, body: GenerateRequest | ContinueRequest) -> Response:
        def job(player: Player, send: Callable[[dict], None]) -> dict:
            def on_bar(bar: int, groove: Groove) -> None:
                send({"bar": bar, "groove": from_groove(groove).model_dump()})

            play_request(player, body, limits, on_bar)
            return {"done": True, "bars": body.bars, "seed": body.seed}

        lines = server.lines(request, body.model, job)
        first = await anext(lines)
        if "error" in first:  # an error before the first bar is answered with its status
            await lines.aclose()
            raise Refused(first["status"], first["error"])
        return StreamingResponse(_after(first, lines), media_type=LINES)

    @app.post("/api/generate", summary="Generate bars without a primer", response_model=Played, responses=of_work)
    async def generate(request: Request, body: GenerateRequest) -> Response:
        return await play(request, body)

    @app.post("/api/continue", summary="Continue a groove", response_model=Played, responses=of_work)
    async def go_on(request: Request, body: ContinueRequest) -> Response:
        return await play(request, body)

    @app.post("/api/generate/stream", summary="Generate bars, each sent as soon as it is ready", **streamed)
    async def generate_stream(request: Request, body: GenerateRequest) -> Response:
        return await stream(request, body)

    @app.post("/api/continue/stream", summary="Continue a groove, each bar sent as soon as it is ready", **streamed)
    async def continue_stream(request: Request, body: ContinueRequest) -> Response:
        return await stream(request, body)

    @app.post("/api/infill", summary="Fill in the open cells of a groove", response_model=Filled, responses=of_work)
    async def infill(request: Request, body: InfillRequest) -> Response:
        return await server.answer(
            request, body.model, lambda player: filled(body, *infill_request(player, body, limits))
        )

    @app.post("/api/follow", summary="Drums that follow a rhythm", response_model=Filled, responses=of_work)
    async def follow(request: Request, body: FollowRequest) -> Response:
        return await server.answer(
            request, body.model, lambda player: filled(body, *follow_request(player, body, limits))
        )

    @app.post(
        "/api/humanize",
        summary="Velocity and timing, with the feel of a take",
        response_model=Played,
        responses=of_work,
    )
    async def humanize(request: Request, body: HumanizeRequest) -> Response:
        return await server.answer(
            request, body.model, lambda player: played(body, humanize_request(player, body, limits))
        )

    @app.post("/api/vary", summary="Vary a groove", response_model=Played, responses=of_work)
    async def vary(request: Request, body: VaryRequest) -> Response:
        return await server.answer(request, body.model, lambda player: played(body, vary_request(player, body, limits)))


async def _after(first: dict, lines: AsyncGenerator[dict]) -> AsyncIterator[bytes]:
    """Yield the first line and the others as JSON."""
    try:
        yield _line(first)
        async for line in lines:
            yield _line(line)
    finally:
        await lines.aclose()


def _line(values: dict) -> bytes:
    values.pop("status", None)  # the status is sent already
    return json.dumps(values, separators=(",", ":")).encode() + b"\n"


def _add_midi(app: FastAPI, server: Server) -> None:
    midi = {"schema": {"type": "string", "format": "binary"}}
    of_body = {"required": True, "content": {kind: midi for kind in MIDI_TYPES[:2]}}
    written = {200: {"description": "A MIDI file", "content": {"audio/midi": midi}}}

    @app.post(
        "/api/midi/read",
        summary="The groove in a MIDI file",
        response_model=Read,
        responses=problems(*OF_WORK),
        openapi_extra={"requestBody": of_body},
    )
    async def read(
        request: Request,
        model: Annotated[str | None, Query(max_length=64)] = None,
        channel: Annotated[int | None, Query(ge=1, le=16)] = None,
        track: Annotated[str | None, Query(min_length=1, max_length=200)] = None,
        tempo_map: TempoMap = "keep",
        shift: Shift = "find",
    ) -> Response:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind not in MIDI_TYPES:
            raise Refused(415, f"content type {kind[:80]!r}, expected one of {', '.join(MIDI_TYPES)}")
        content = await request.body()
        options = ReadOptions(channel, track, tempo_map, shift)

        def job(player: Player) -> Read:
            pieces, losses = parse_midi_report(
                content, "MIDI", kit_of(player), player.grid_choice, "refuse", to_end=True, options=options
            )
            groove = replace(pieces[0].groove, kit=kit_of(player))
            if groove.num_bars > server.limits.bars:
                raise HypermeterError(f"MIDI: {groove.num_bars} bars, expected at most {server.limits.bars}")
            return Read(groove=from_groove(groove), losses=losses)

        return await server.answer(request, model, job)

    @app.post(
        "/api/midi/write",
        summary="A groove as a MIDI file",
        responses=problems(*OF_BODIES) | written,
        response_class=Response,
    )
    async def write(body: WriteRequest) -> Response:
        player = on_grid(server.player(body.model), body.groove)
        groove = to_groove(body.groove, player, server.limits.bars)
        return Response(to_midi_bytes(groove), media_type="audio/midi")


class PageFiles(StaticFiles):
    """The page's files, with the media types that browsers want of modules and WebAssembly; caches revalidate."""

    def file_response(self, full_path: Any, *arguments: Any, **options: Any) -> Response:
        response = super().file_response(full_path, *arguments, **options)
        if response.status_code == 200:
            response.headers["content-type"] = type_of(Path(full_path))
        response.headers["cache-control"] = "no-cache"
        return response


TYPES = {
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".wasm": "application/wasm",
    ".onnx": "application/octet-stream",
    ".json": "application/json",
    ".gz": "application/gzip",
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
    ".txt": "text/plain; charset=utf-8",
}


def type_of(path: Path) -> str:
    """Return the media type of a file, the same on every system."""
    return TYPES.get(path.suffix.lower()) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
