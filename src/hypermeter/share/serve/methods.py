"""HEAD and OPTIONS for every address: the headers of GET without its body, and the methods that there are."""

from collections.abc import MutableMapping
from typing import Any

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.routing import Match

from hypermeter.share.serve.guard import Receive, Scope, Send

OF_PAGE = ("GET", "HEAD", "OPTIONS")
"""Methods of the page's files."""


def methods_of(app: FastAPI, path: str) -> tuple[str, ...]:
    """Return the methods of an address of the API, in order; none if there is no such address."""
    scope = {"type": "http", "path": path, "root_path": "", "headers": []}
    found = set()
    for route in app.routes:
        methods = getattr(route, "methods", None) or ()
        if any(route.matches({**scope, "method": method})[0] is Match.FULL for method in methods):
            found |= set(methods)
    return tuple(sorted(found | {"OPTIONS"} | ({"HEAD"} if "GET" in found else set()))) if found else ()


async def answer_api(app: FastAPI, scope: Scope, receive: Receive, send: Send) -> None:
    """Let an application answer, and HEAD and OPTIONS too."""
    if scope["type"] == "http":
        methods = methods_of(app, scope["path"])
        if scope["method"] == "OPTIONS" and methods:
            await answer_options(methods, send)
            return
        if scope["method"] == "HEAD" and "GET" in methods:
            scope, send = {**scope, "method": "GET"}, _without_body(send)
    await app(scope, receive, send)


async def answer_options(methods: tuple[str, ...], send: Send) -> None:
    """Say which methods there are; without headers of CORS, so that a browser sends nothing more to another site."""
    headers = [(b"allow", ", ".join(methods).encode())]
    await send({"type": "http.response.start", "status": 204, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


def with_allowed(error: HTTPException, methods: tuple[str, ...]) -> dict[str, str]:
    """Return the headers of an error, with all methods that there are where one is not."""
    headers = dict(error.headers or {})
    return headers | {"Allow": ", ".join(methods)} if error.status_code == 405 and methods else headers


def _without_body(send: Send) -> Send:
    async def send_head(message: MutableMapping[str, Any]) -> None:
        await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

    return send_head
