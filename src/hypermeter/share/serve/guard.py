"""Checks before the application: host, size and duration of a body; and security headers of every answer."""

import json
from collections.abc import Awaitable, Callable, Collection, Iterable, MutableMapping
from typing import Any

import anyio

from hypermeter.core.printed import printable
from hypermeter.share.serve.limits import Limits, Refused

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Header = tuple[bytes, bytes]

HEADERS = {
    "content-security-policy": (
        "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self' data: blob:; "
        "media-src 'self' data: blob:; connect-src 'self' data: blob:; worker-src 'self' blob:; object-src 'none'; "
        "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-embedder-policy": "require-corp",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=(), midi=(self)",
}
"""Headers of every answer: nothing is loaded from other hosts, and no other site may frame, read or embed it."""


class Guard:
    """An ASGI application around another.

    Args:
        app: the inner application.
        limits: of bodies.
        hosts: allowed names in Host headers, upper or lower case; None allows any. A server on the loopback interface
            checks them, because another site could point a name of its own there (DNS rebinding).
    """

    def __init__(self, app: Any, limits: Limits, hosts: Collection[str] | None = None):
        self.app, self.limits = app, limits
        self.hosts = None if hosts is None else {host.lower() for host in hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        send = with_security(send)
        try:
            self._check_host(scope)
            body = await self._read(scope, receive)
        except Refused as refused:
            await answer(send, refused)
            return
        if body is None:  # the client left before all of it had arrived
            return
        messages = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive_body() -> MutableMapping[str, Any]:
            return messages.pop() if messages else await receive()

        await self.app(scope, receive_body, send)

    def _check_host(self, scope: Scope) -> None:
        if self.hosts is None:
            return
        host = _header(scope, b"host")
        name = host if host.endswith("]") else host.rsplit(":", 1)[0]
        if name.lower() not in self.hosts:
            expected = ", ".join(sorted(self.hosts))
            raise Refused(400, f"host {name[:80]!r} is not served here; expected one of {expected}")

    async def _read(self, scope: Scope, receive: Receive) -> bytes | None:
        length, most = _header(scope, b"content-length"), self.limits.body_bytes
        too_large = Refused(413, f"body larger than {most} bytes; send less")
        if length.isdecimal() and int(length[:20]) > most:
            raise too_large
        parts, size = [], 0
        try:
            with anyio.fail_after(self.limits.body_seconds):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return None
                    parts.append(message.get("body", b""))
                    size += len(parts[-1])
                    if size > most:
                        raise too_large
                    if not message.get("more_body", False):
                        return b"".join(parts)
        except TimeoutError:
            reason = f"body did not arrive within {self.limits.body_seconds:g} s; send it at once"
            raise Refused(408, reason) from None


def with_security(send: Send) -> Send:
    """Return `send` that adds HEADERS to an answer, but for those that it has."""

    async def send_with_headers(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": _secured(message.get("headers", []))}
        await send(message)

    return send_with_headers


def _secured(headers: Iterable[Header]) -> list[Header]:
    headers = list(headers)
    present = {name.lower() for name, _ in headers}
    pairs = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
    return headers + [(name, value) for name, value in pairs if name not in present]


async def answer(send: Send, refused: Refused, closes: bool = False) -> None:
    """Send a refusal as JSON; see `answer_parts`."""
    headers, body = answer_parts(refused, closes)
    await send({"type": "http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def answer_parts(refused: Refused, closes: bool = False) -> tuple[list[Header], bytes]:
    """Return the headers and the JSON of a refusal.

    Args:
        refused: what is wrong.
        closes: whether the connection is closed after it; it is after a body that was not read to its end.
    """
    body = json.dumps({"error": printable(refused.reason)}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    headers += [(name.lower().encode(), value.encode()) for name, value in refused.headers.items()]
    if closes or refused.status in (408, 413):
        headers.append((b"connection", b"close"))
    return _secured(headers), body


def _header(scope: Scope, name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), "")
