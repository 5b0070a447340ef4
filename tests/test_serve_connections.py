"""Connections to the server by sockets: silence, halves, answers that are not read, more than there may be."""

import asyncio
import json
import socket
import threading
import time
from contextlib import contextmanager

import pytest

pytest.importorskip("fastapi", reason="the server is an extra")

from hypermeter.play.loading import load_player
from hypermeter.share.serve import Limits, make_app
from hypermeter.share.serve.command import listen
from hypermeter.share.serve.connections import Connection, Server, client_of
from hypermeter.share.serve.limits import Watch
from hypermeter.share.serve.priority import MAX_PAUSE_S, make_loop, pause

HEALTH = b"GET /api/health HTTP/1.1\r\nhost: localhost\r\n\r\n"
POST = b"POST /api/generate HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
LARGE = 40_000_000


@pytest.fixture(scope="module")
def player():
    return load_player("groove")


@contextmanager
def serving(player, page=None, **limits):
    """A server in a thread; yields its address."""
    listening, limits = listen("127.0.0.1", 0), Limits(**limits)
    server = Server(make_app({"groove": player}, page, limits, {"localhost"}), limits)
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    try:
        yield listening.getsockname()
    finally:
        server.should_exit = True
        thread.join(10)
        listening.close()
        assert not thread.is_alive()


opened = []


@pytest.fixture(autouse=True)
def closing():
    yield
    while opened:
        opened.pop().close()


def connect(address, content=b""):
    opened.append(connection := socket.create_connection(address, timeout=10))
    connection.sendall(content)
    return connection


def rest(connection):
    """All that still comes, until the server closes the connection."""
    parts = []
    try:
        while part := connection.recv(65536):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


def answer_of(connection):
    """Status, headers and JSON of an answer after which the server closes."""
    head, _, body = rest(connection).partition(b"\r\n\r\n")
    status, *headers = head.decode().split("\r\n")
    named = dict(line.lower().split(": ", 1) for line in headers)
    assert named["content-type"] == "application/json" and named["connection"] == "close"
    assert named["x-content-type-options"] == "nosniff" and int(named["content-length"]) == len(body)
    return int(status.split()[1]), named, json.loads(body)["error"]


def is_healthy(address):
    with connect(address, HEALTH) as connection:
        return connection.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_silence_ends_without_an_answer_and_half_a_head_with_one(player):
    with serving(player, header_seconds=0.3) as address:
        silent, half = connect(address), connect(address, POST)
        kept = connect(address, HEALTH)
        assert rest(silent) == b""
        status, _, error = answer_of(half)
        assert status == 408 and "within 0.3 s" in error
        assert rest(kept).count(b"HTTP/1.1") == 1


def test_a_head_that_comes_byte_by_byte_has_no_longer_time(player):
    with serving(player, header_seconds=0.4) as address, connect(address) as slow:
        started = time.monotonic()
        slow.settimeout(0.05)
        answer = b""
        for byte in HEALTH:
            slow.sendall(bytes([byte]))
            try:
                answer = slow.recv(1000)
                break
            except TimeoutError:
                pass
        assert answer.startswith(b"HTTP/1.1 408 ") and time.monotonic() - started < 5


def test_a_connection_that_is_used_again_and_again_is_kept(player):
    with serving(player, header_seconds=1.5) as address, connect(address) as kept:
        for _ in range(5):
            time.sleep(0.5)
            kept.sendall(HEALTH)
            answer = b""
            while not answer.endswith(b"}"):
                answer += kept.recv(65536) or b"closed}"
            assert answer.startswith(b"HTTP/1.1 200 ") and b"closed" not in answer


@pytest.mark.parametrize("limit", ["connections", "connections_per_client"])
@pytest.mark.parametrize("content", [b"", POST, POST + b"content-length: 9\r\n\r\n{", HEALTH])
def test_connections_that_are_held_open_shut_nobody_out(player, limit, content):
    with serving(player, **{limit: 4}, header_seconds=60, body_seconds=60) as address:
        held = [connect(address, content) for _ in range(12)]
        for _ in range(4):
            assert is_healthy(address)
        kept = 0
        for connection in held:
            connection.settimeout(0.05)
            try:
                rest(connection)
            except TimeoutError:
                kept += 1
        assert kept <= 4


def test_who_has_sent_a_part_is_told_to_try_again(player):
    with serving(player, connections=1, header_seconds=60) as address:
        half = connect(address, POST)
        time.sleep(0.1)
        assert is_healthy(address)
        status, headers, error = answer_of(half)
        assert (status, headers["retry-after"]) == (429, "1") and error.startswith("busy: ")


@pytest.fixture
def gate(monkeypatch):
    """Work waits before it."""
    is_open, check = threading.Event(), Watch.check

    def checked(watch):
        assert is_open.wait(20)
        check(watch)

    monkeypatch.setattr(Watch, "check", checked)
    yield is_open
    is_open.set()


def test_where_all_wait_for_the_server_one_more_is_refused_in_json_and_health_is_not(player, gate):
    body = b'content-length: 10\r\nconnection: close\r\n\r\n{"bars":1}'
    with serving(player, connections=3, waiting=9) as address:
        works = [connect(address, POST + body) for _ in range(3)]
        time.sleep(0.3)
        status, headers, error = answer_of(connect(address, POST + body))
        assert (status, headers["retry-after"]) == (429, "1") and "too many connections" in error
        assert is_healthy(address)
        gate.set()
        assert all(rest(work).startswith(b"HTTP/1.1 200 ") for work in works)


def test_who_does_not_read_the_answer_is_let_go(player, tmp_path):
    (tmp_path / "index.html").write_bytes(b"x" * LARGE)
    with serving(player, tmp_path, reading_seconds=0.5) as address:
        opened.append(lazy := socket.socket())
        lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        lazy.settimeout(10)
        lazy.connect(address)
        page = HEALTH.replace(b"/api/health", b"/").replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n")
        lazy.sendall(page)
        time.sleep(2)
        assert is_healthy(address)
        assert len(rest(lazy)) < LARGE
        assert len(rest(connect(address, page))) > LARGE


@pytest.mark.parametrize(
    ("content", "status", "words"),
    [
        (b"hello\r\n\r\n", 400, "send a request as curl or a browser does"),
        (b"\x16\x03\x01\x00\x05hello\r\n\r\n", 400, "not HTTP/1.1"),
        (b"GET / HTTP/1.1\r\nhost: localhost\r\nx: " + b"y" * 70_000, 431, "less than 16 KiB"),
        (POST + b"content-length: -1\r\n\r\n", 400, "Content-Length"),
        (POST + b"transfer-encoding: gzip\r\n\r\n", 501, "Transfer-Encoding"),
        (POST + b"transfer-encoding: chunked\r\n\r\nzz\r\n", 400, "not HTTP/1.1"),
    ],
)
def test_what_is_no_http_is_answered_in_json_and_says_what_to_do(player, capfd, content, status, words):
    with serving(player) as address:
        found, _, error = answer_of(connect(address, content))
        assert found == status and words in error and "\n" not in error
        assert is_healthy(address)
    assert capfd.readouterr().err == ""


def test_requests_that_are_sent_ahead_are_not_taken(player):
    with serving(player) as address:
        assert rest(connect(address, HEALTH * 3)).count(b"HTTP/1.1 200 ") <= 1
        assert is_healthy(address)


def test_an_upgrade_is_answered_as_any_request(player, capfd):
    asked = HEALTH.replace(b"\r\n\r\n", b"\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n")
    with serving(player) as address, connect(address, asked) as connection:
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
    assert capfd.readouterr().err == ""


def test_computation_pauses_while_the_loop_has_something_to_do_and_not_for_ever():
    paused_s = {}

    def compute(name, steps=5):
        started = time.monotonic()
        for _ in range(steps):
            pause()
        paused_s[name] = time.monotonic() - started

    async def main():
        thread = threading.Thread(target=compute, args=("busy",))
        thread.start()
        while thread.is_alive():  # without giving control to the loop
            time.sleep(0.001)
        await asyncio.to_thread(compute, "idle")

    loop = make_loop()
    loop.run_until_complete(main())
    loop.close()
    compute("none")
    assert paused_s["busy"] >= 5 * MAX_PAUSE_S * 0.9
    assert max(paused_s["idle"], paused_s["none"]) < paused_s["busy"]


def test_a_client_is_an_address_or_a_network_of_ipv6():
    assert client_of(("192.0.2.1", 1)) == client_of(("192.0.2.1", 2)) == client_of(("::ffff:192.0.2.1", 1, 0, 0))
    assert client_of(("2001:db8::1", 1)) == client_of(("2001:db8::2:3", 1)) != client_of(("2001:db8:0:1::1", 1))
    assert client_of(("fe80::1%eth0", 1)) == client_of(("fe80::2", 1)) and client_of(None) == ""


def test_the_parts_of_uvicorn_that_are_built_on_are_there():
    from uvicorn.protocols.http.h11_impl import H11Protocol

    for name in ("send_400_response", "on_response_complete", "pause_writing", "data_received", "connection_lost"):
        assert getattr(Connection, name) is not getattr(H11Protocol, name)
