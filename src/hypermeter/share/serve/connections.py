"""Connections to the server: how many there may be, how long a client may keep the server waiting, what it is told."""

import asyncio
import ipaddress
import socket
import sys
from functools import partial
from typing import Any

import h11
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import Server as Uvicorn

from hypermeter.share.serve.guard import Receive, Scope, Send, answer, answer_parts, with_security
from hypermeter.share.serve.limits import Limits, Refused

HEALTH = "/api/health"
"""Answered also where there is no room for a connection more."""

BACKLOG = 1024
"""Connections that may wait to be accepted."""

ACCEPTED_AT_ONCE = 32
"""Connections that are accepted before those that are open are read again: one that is new must not have to make room
for another before what it has sent is read."""

SWEEP_S = 0.5
"""Seconds between two looks at how long clients have kept the server waiting."""


class Connections:
    """The open connections, and who has to go if there are too many.

    A client that has sent one whole request waits for the server, and keeps its connection. All others keep the server
    waiting: those that are silent, that have sent half a request, that do not read their answer, or that send the next
    request before it. Where there are too many connections, the one of them that has done so for the longest time makes
    room for a new one. So nobody is shut out by connections that are only held open.

    Args:
        limits: `connections`, `connections_per_client`, `header_seconds` and `reading_seconds` are used.
    """

    def __init__(self, limits: Limits):
        self.limits = limits
        self._clients: dict[Connection, str] = {}
        self._sweeping: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._clients)

    def admit(self, new: "Connection") -> bool:
        """Count a new connection; return whether it may ask something, or is one too many."""
        client = client_of(new.client)
        same = [other for other, name in self._clients.items() if name == client]
        is_admitted = _make_room(same, self.limits.connections_per_client)
        is_admitted = _make_room(list(self._clients), self.limits.connections) and is_admitted
        self._clients[new] = client
        if self._sweeping is None:
            self._sweeping = new.loop.call_later(SWEEP_S, self._sweep, new.loop)
        return is_admitted

    def leave(self, connection: "Connection") -> None:
        """Count a connection no longer."""
        self._clients.pop(connection, None)

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        for connection in list(self._clients):
            connection.check(loop.time())
        self._sweeping = loop.call_later(SWEEP_S, self._sweep, loop) if self._clients else None


def _make_room(among: list["Connection"], most: int) -> bool:
    """End the connection that has kept the server waiting longest, if there are too many; return whether there is room
    for one more."""
    if len(among) < most:
        return True
    waited_for = [connection for connection in among if connection.keeps_waiting]
    if not waited_for:
        return False
    min(waited_for, key=lambda connection: connection.since).make_room()
    return True


def client_of(address: tuple[str, int] | None) -> str:
    """Return what stands for one client: an address of IPv4, or the 64 bits of a network of IPv6."""
    host = "" if address is None else address[0].partition("%")[0]
    try:
        parsed = ipaddress.ip_address(host)
    except ValueError:
        return host
    if parsed.version == 4:
        return host
    return str(parsed.ipv4_mapped or ipaddress.ip_network((int(parsed) >> 64 << 64, 64)))


def _busy(app: Any) -> Any:
    """Return what answers requests of a connection for which there is no room: those for the health alone."""

    async def answer_busy(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == HEALTH:
            await app(scope, receive, send)
        else:
            refused = Refused(429, "busy: too many connections are open; try again", 1)
            await answer(with_security(send), refused, closes=True)

    return answer_busy


class Connection(H11Protocol):
    """A connection of uvicorn that ends a client's silence, and says in JSON what was wrong with its request.

    Args:
        connections: the others, and the limits.
        options: as uvicorn gives them.
    """

    def __init__(self, connections: Connections, **options: Any):
        super().__init__(**options)
        self._connections = connections
        self.since = self.loop.time()
        """When the client began to keep the server waiting, if it does."""

    @property
    def _has_no_request(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    @property
    def _is_unread(self) -> bool:
        return self.flow.write_paused or self.transport.is_closing()

    @property
    def keeps_waiting(self) -> bool:
        """Whether the server waits for the client, and not the client for the server."""
        return self._has_no_request or self._is_unread or self.cycle.more_body or bool(self.conn.trailing_data[0])

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if not self._connections.admit(self):
            self.app = _busy(self.app)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.leave(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        if self._has_no_request and not self.conn.trailing_data[0]:
            self.since = self.loop.time()  # the first bytes of a request
        super().data_received(data)

    def on_response_complete(self) -> None:
        self.since = self.loop.time()
        if self.conn.trailing_data[0]:  # the next request was sent ahead: one connection must not keep the loop busy
            self.transport.close()
        super().on_response_complete()

    def pause_writing(self) -> None:
        self.since = self.loop.time()
        super().pause_writing()

    def check(self, now: float) -> None:
        """End the connection if the client has kept the server waiting for too long; bodies have a limit elsewhere."""
        limits, waited = self._connections.limits, now - self.since
        if self._is_unread:
            if waited > limits.reading_seconds:
                self.transport.abort()
        elif self._has_no_request and waited > limits.header_seconds:
            reason = f"request did not arrive within {limits.header_seconds:g} s; send it at once"
            self._end(Refused(408, reason))

    def make_room(self) -> None:
        """End the connection for the sake of another."""
        self._connections.leave(self)
        if self._is_unread:
            self.transport.abort()
        else:
            self._end(Refused(429, "busy: too many connections are open; send requests at once, or try again", 1))

    def _end(self, refused: Refused) -> None:
        """Close the connection; a client that has sent a part of a request is told why."""
        if not self._has_no_request:
            self.cycle.disconnected = True  # so that the application stops reading
            self.cycle.message_event.set()
        elif not self.conn.trailing_data[0] and self.conn.their_state is not h11.ERROR:
            self.transport.close()
            return
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            headers, body = answer_parts(refused, closes=True)
            headers = [*self.server_state.default_headers, *headers]
            for event in (
                h11.Response(status_code=refused.status, headers=headers),
                h11.Data(body),
                h11.EndOfMessage(),
            ):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """Say what is wrong with a request that is no HTTP; called by uvicorn while it handles the error."""
        error = sys.exc_info()[1]
        status = getattr(error, "error_status_hint", 400)
        if status == 431:
            reason = "the head of the request is too large; send less than 16 KiB before its body"
        else:
            reason = f"not HTTP/1.1 ({error or msg}); send a request as curl or a browser does"
        self._end(Refused(status, reason))


class Server(Uvicorn):
    """The server of uvicorn, with connections within limits; its `run` takes sockets that listen.

    Args:
        app: the ASGI application.
        limits: of the connections.
    """

    def __init__(self, app: Any, limits: Limits):
        config = Config(
            app,
            http=partial(Connection, Connections(limits)),  # type: ignore[arg-type]  # called as a class of it is
            loop="hypermeter.share.serve.priority:make_loop",
            ws="none",
            log_level="error",  # warnings are of clients, which are told themselves
            server_header=False,
            timeout_graceful_shutdown=3,
            backlog=ACCEPTED_AT_ONCE,
        )
        super().__init__(config)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for listening in sockets or ():
            listening.listen(BACKLOG)  # asyncio takes one number for how many wait and how many it accepts at once
