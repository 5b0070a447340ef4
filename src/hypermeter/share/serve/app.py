"""The ASGI application: routes, answers and errors."""

import json
import math
import mimetypes
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, StreamingResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from hypermeter import __version__
from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import GridChoice
from hypermeter.core.groove import Groove
from hypermeter.core.read_options import ReadOptions, Shift, TempoMap
from hypermeter.io.midi import parse_midi_report, to_midi_bytes
from hypermeter.music.metrics import measure
from hypermeter.music.tables import to_json
from hypermeter.play.infill import InfillResult
from hypermeter.play.loading import kit_of
from hypermeter.play.player import Player
from hypermeter.share.serve.guard import Guard, one_line
from hypermeter.share.serve.limits import Limits, Refused, Stopped
from hypermeter.share.serve.messages import (
    AnalyseRequest,
    ContinueRequest,
    ContinueTakesRequest,
    Filled,
    FollowRequest,
    GenerateRequest,
    GenerateTakesRequest,
    GridMessage,
    Health,
    HumanizeRequest,
    InfillRequest,
    LimitsAnswer,
    Measured,
    ModelAnswer,
    ModelsAnswer,
    Played,
    Problem,
    Read,
    SampleSize,
    TakeAnswer,
    Takes,
    VaryRequest,
    WriteRequest,
    from_groove,
    on_grid,
    to_groove,
)
from hypermeter.share.serve.playing import (
    follow_request,
    humanize_request,
    infill_request,
    nonempty_groove,
    play_request,
    takes_request,
    vary_request,
)
from hypermeter.share.serve.work import FAILED, Server

LINES = "application/x-ndjson"
MIDI_TYPES = ("application/octet-stream", "audio/midi", "audio/x-midi", "audio/mid")
LEFT = 499
"""Status, for the log alone, of a request whose client left."""


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
    _add_errors(app)
    _add_queries(app, server)
    _add_playing(app, server)
    _add_midi(app, server)
    site = FastAPI(openapi_url=None)
    _add_errors(site)
    if page is not None:
        site.mount("/", PageFiles(directory=page, html=True))

    async def either(scope: Any, receive: Any, send: Any) -> None:
        is_page = scope["type"] == "http" and not f"{scope['path']}/".startswith("/api/")
        await (site if is_page else app)(scope, receive, send)

    return Guard(either, server.limits, hosts)


# ---------------------------------------------------------------------- errors


def _problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    descriptions = {
        400: "Not JSON, or a host that is not served",
        408: "The body arrived too slowly",
        413: "The body is too large",
        415: "Another content type is expected",
        422: "A value that does not fit",
        429: "Busy; Retry-After says when to try again",
        503: "Took longer than the limit",
    }
    return {status: {"model": Problem, "description": descriptions[status]} for status in statuses}


OF_BODIES = (400, 408, 413, 415, 422)
OF_WORK = (*OF_BODIES, 429, 503)


def _place(body: Any, loc: Sequence[Any]) -> str:
    """Return the path of a mistake in the body, without the names of pydantic's alternatives."""
    names = []
    for number, part in enumerate(loc, 1):
        is_item = isinstance(body, list) and isinstance(part, int) and part < len(body)
        if is_item or (isinstance(body, dict) and part in body):
            body = body[part]
        elif not (isinstance(body, dict) and number == len(loc)):  # the last is the name of a missing field
            continue
        names.append(str(part))
    return ".".join(names)


def _add_errors(app: FastAPI) -> None:
    def problem(status: int, reason: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
        return JSONResponse({"error": one_line(reason)}, status, headers)

    @app.exception_handler(HypermeterError)
    async def bad_value(_: Request, error: HypermeterError) -> Response:
        return problem(422, str(error))

    @app.exception_handler(RequestValidationError)
    async def bad_request(request: Request, error: RequestValidationError) -> Response:
        first, *others = error.errors()
        # Of alternatives, such as a number or a list, the one that was followed furthest was meant.
        alternatives = [first, *(other for other in others if other["loc"][:2] == first["loc"][:2])]
        first = max(alternatives, key=lambda error: (len(error["loc"]), not error["type"].endswith("_type")))
        kind = request.headers.get("content-type", "")
        if isinstance(first.get("input"), bytes):
            return problem(415, f"content type {kind[:80]!r}, expected application/json")
        where = _place(error.body, first["loc"][1:]) or "body"
        if first["type"] == "json_invalid":
            return problem(400, f"body: not JSON ({first.get('ctx', {}).get('error', 'at ' + where)})")
        value = "" if first["type"] == "missing" else f", found {str(first.get('input'))[:40]!r}"
        return problem(422, f"{where}: {first['msg']}{value}")

    @app.exception_handler(Refused)
    async def refused(_: Request, error: Refused) -> Response:
        return problem(error.status, error.reason, error.headers)

    @app.exception_handler(Stopped)
    async def stopped(_: Request, error: Stopped) -> Response:
        return problem(LEFT, "the client left")

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        detail = str(error.detail)
        if error.status_code in (404, 405):
            detail = f"{request.method} {request.url.path}: {detail.lower()}; /api/openapi.json lists what there is"
        return problem(error.status_code, detail, error.headers)

    @app.exception_handler(Exception)
    async def failed(_: Request, error: Exception) -> Response:
        return problem(500, FAILED)


# ---------------------------------------------------------------------- routes


def _add_queries(app: FastAPI, server: Server) -> None:
    @app.get("/api/health", summary="Status of the server")
    async def health() -> Health:
        return Health(status="ok", version=__version__, running=server.slots.running, slots=server.limits.running)

    @app.get("/api/models", summary="The models and the limits")
    async def models() -> ModelsAnswer:
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
        return ModelsAnswer(models=answers, limits=LimitsAnswer(**limits))

    @app.post("/api/analyse", summary="Rhythm metrics of a groove", responses=_problems(*OF_WORK))
    async def analyse(request: Request, body: AnalyseRequest) -> Measured:
        def job(player: Player) -> dict[str, Any]:
            return to_json(measure(nonempty_groove(body.groove, on_grid(player, body.groove), server.limits)))

        return Measured(metrics=await server.work(request, body.model, job))


def _add_playing(app: FastAPI, server: Server) -> None:
    limits = server.limits
    streamed: dict[str, Any] = {
        "response_class": StreamingResponse,
        "responses": _problems(*OF_WORK)
        | {
            200: {
                "description": "A line of JSON for each bar, then one that says done, or an error",
                "content": {LINES: {}},
            }
        },
    }

    def filled(body: InfillRequest | FollowRequest, groove: Groove, done: InfillResult) -> Filled:
        sizes = SampleSize(smallest=done.smallest, mean=float(done.effective_sample_size.mean()))
        answer = {"effective_sample_size": sizes, "warning": one_line(done.warning)}
        return Filled(groove=from_groove(groove), seed=body.seed, **answer)

    async def play(request: Request, body: GenerateRequest | ContinueRequest) -> Played:
        groove = await server.work(request, body.model, lambda player: play_request(player, body, limits))
        return Played(groove=from_groove(groove), seed=body.seed)

    async def play_takes(request: Request, body: GenerateTakesRequest | ContinueTakesRequest) -> Takes:
        takes = await server.work(request, body.model, lambda player: takes_request(player, body, limits))
        answers = [
            TakeAnswer(
                groove=from_groove(take.groove),
                seed=take.seed,
                distance=None if math.isnan(take.distance) else take.distance,
            )
            for take in takes
        ]
        return Takes(takes=answers)

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

    @app.post("/api/generate", summary="Generate bars without a primer", responses=_problems(*OF_WORK))
    async def generate(request: Request, body: GenerateRequest) -> Played:
        return await play(request, body)

    @app.post("/api/continue", summary="Continue a groove", responses=_problems(*OF_WORK))
    async def go_on(request: Request, body: ContinueRequest) -> Played:
        return await play(request, body)

    @app.post("/api/generate/stream", summary="Generate bars, each sent as soon as it is ready", **streamed)
    async def generate_stream(request: Request, body: GenerateRequest) -> Response:
        return await stream(request, body)

    @app.post("/api/continue/stream", summary="Continue a groove, each bar sent as soon as it is ready", **streamed)
    async def continue_stream(request: Request, body: ContinueRequest) -> Response:
        return await stream(request, body)

    @app.post("/api/generate/takes", summary="Generate several takes that differ", responses=_problems(*OF_WORK))
    async def generate_takes(request: Request, body: GenerateTakesRequest) -> Takes:
        return await play_takes(request, body)

    @app.post("/api/continue/takes", summary="Continue a groove in several ways", responses=_problems(*OF_WORK))
    async def continue_takes(request: Request, body: ContinueTakesRequest) -> Takes:
        return await play_takes(request, body)

    @app.post("/api/infill", summary="Fill in the open cells of a groove", responses=_problems(*OF_WORK))
    async def infill(request: Request, body: InfillRequest) -> Filled:
        return filled(
            body, *await server.work(request, body.model, lambda player: infill_request(player, body, limits))
        )

    @app.post("/api/follow", summary="Drums that follow a rhythm", responses=_problems(*OF_WORK))
    async def follow(request: Request, body: FollowRequest) -> Filled:
        return filled(
            body, *await server.work(request, body.model, lambda player: follow_request(player, body, limits))
        )

    @app.post("/api/humanize", summary="Velocity and timing, with the feel of a take", responses=_problems(*OF_WORK))
    async def humanize(request: Request, body: HumanizeRequest) -> Played:
        groove = await server.work(request, body.model, lambda player: humanize_request(player, body, limits))
        return Played(groove=from_groove(groove), seed=body.seed)

    @app.post("/api/vary", summary="Vary a groove", responses=_problems(*OF_WORK))
    async def vary(request: Request, body: VaryRequest) -> Played:
        groove = await server.work(request, body.model, lambda player: vary_request(player, body, limits))
        return Played(groove=from_groove(groove), seed=body.seed)


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
        responses=_problems(*OF_WORK),
        openapi_extra={"requestBody": of_body},
    )
    async def read(
        request: Request,
        model: Annotated[str | None, Query(max_length=64)] = None,
        channel: Annotated[int | None, Query(ge=1, le=16)] = None,
        track: Annotated[str | None, Query(min_length=1, max_length=200)] = None,
        tempo_map: TempoMap = "keep",
        shift: Shift = "find",
    ) -> Read:
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

        return await server.work(request, model, job)

    @app.post(
        "/api/midi/write",
        summary="A groove as a MIDI file",
        responses=_problems(*OF_BODIES) | written,
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
