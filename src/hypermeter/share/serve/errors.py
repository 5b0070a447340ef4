"""Refusals as one line of JSON: what routes declare of them, and what answers them."""

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from hypermeter.core.errors import HypermeterError
from hypermeter.core.printed import printable
from hypermeter.share.serve.limits import Refused, Stopped
from hypermeter.share.serve.messages import Problem
from hypermeter.share.serve.methods import OF_PAGE, methods_of, with_allowed
from hypermeter.share.serve.work import FAILED

LEFT = 499
"""Status, for the log alone, of a request whose client left."""


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the refusals with these statuses, as the schema of a route declares them."""
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


def add_errors(app: FastAPI) -> None:
    """Answer every error of an application by its status and one line."""

    def problem(status: int, reason: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
        return JSONResponse({"error": printable(reason)}, status, headers)

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
        is_api = f"{request.url.path}/".startswith("/api/")
        methods = methods_of(app, request.url.path) if is_api else OF_PAGE
        return problem(error.status_code, detail, with_allowed(error, methods))

    @app.exception_handler(Exception)
    async def failed(_: Request, error: Exception) -> Response:
        return problem(500, FAILED)
