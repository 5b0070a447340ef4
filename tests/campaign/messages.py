"""Messages from others: OSC, and requests of the server as JSON."""

import asyncio
import copy
import json
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from .odd import ODD_TEXTS, changed, encoded, mutated
from .reader import Reader, check

_ADDRESSES = (
    "/hypermeter/tempo", "/hypermeter/temperature", "/hypermeter/seed", "/hypermeter/section", "/hypermeter/style",
    "/hypermeter/fill", "/hypermeter/bias", "/hypermeter/density", "/hypermeter/guidance", "/hypermeter/nothing",
    "/", "", "/get",
    "/hypermeter/top_p", "/*", "/tempo", "/bias/snare", "/a" * 200,
)  # fmt: skip


def _padded(content: bytes) -> bytes:
    return content + bytes(4 - len(content) % 4)


def make_osc(random: Random) -> bytes:
    """Return a packet: a message or a bundle of some, with odd tags, values and times."""
    if random.random() < 0.25:
        messages = [make_osc(random) for _ in range(random.randrange(4))]
        time = random.choice((1, 2, 2**63, random.getrandbits(64)))
        parts = [len(message).to_bytes(4, "big") + message for message in messages]
        packet = b"#bundle\0" + time.to_bytes(8, "big") + b"".join(parts)
    else:
        tags, values = ",", b""
        for _ in range(random.choice((0, 1, 1, 2, 5))):
            tag = random.choice("iiffssbTFNIhdmtr[]x")
            tags += tag
            if tag in "if" or tag in "mr":
                values += random.randbytes(4)
            elif tag in "hdt":
                values += random.randbytes(8)
            elif tag == "s":
                values += _padded(encoded(random.choice(ODD_TEXTS)).replace(b"\0", b"") or b"rock")
            elif tag == "b":
                values += random.choice((0, 4, 2**31)).to_bytes(4, "big") + b"abcd"
        packet = _padded(random.choice(_ADDRESSES).encode()) + _padded(tags.encode()) + values
    return mutated(random, packet) if random.random() < 0.3 else packet


@cache
def _osc() -> Any:
    from hypermeter.core.kit import load_kit
    from hypermeter.play.plan import Plan
    from hypermeter.share.live.conditions import LiveConditions, LiveSettings, parse_control
    from hypermeter.share.live.osc import open_osc_server
    from models import LABELS

    conditions, kit, lines = LiveConditions(LABELS, Plan.free(1)), load_kit("gm10"), []

    def control(address: str, *values: Any, delay_s: float = 0.0) -> None:
        from hypermeter.core.errors import HypermeterError

        try:
            _, changes = parse_control(address, values)
            changes.pop("tempo_bpm", None)  # which is of the clock
            settings = LiveSettings().change(**changes)
            settings.check_voices(kit)
            conditions.check(settings, ())
        except HypermeterError as error:
            lines.append(str(error))

    return open_osc_server("127.0.0.1", 0, control, lines.append), lines


def read_osc(content: bytes, folder: Path) -> None:
    from hypermeter.core.errors import HypermeterError

    server, lines = _osc()
    lines.clear()
    server.dispatcher.call_handlers_for_packet(content, ("127.0.0.1", 1))
    if lines:
        raise HypermeterError(lines[0])


_GROOVE = {"hits": {"kick": "x...x...x...x...", "snare": "....x.......x..."}, "tempo_bpm": 120}
_BODIES: tuple[tuple[str, dict[str, Any]], ...] = (
    (
        "generate",
        {
            "bars": 1,
            "seed": 1,
            "temperature": 0.9,
            "bias": {"voice_0": 1.0},
            "tempo_bpm": 120,
            "grid": {"metre": "4/4"},
        },
    ),
    ("generate", {"bars": 1, "plan": {"sections": "A:1", "density": 0.2, "style": "rock"}, "guidance": 1.5}),
    ("continue", {"groove": _GROOVE, "bars": 1, "seed": 2}),
    ("infill", {"groove": _GROOVE, "bars": [0], "particles": 2, "voices": ["voice_1"]}),
    ("vary", {"groove": _GROOVE, "amount": 0.2, "particles": 2}),
    ("humanize", {"groove": _GROOVE, "amount": 0.5}),
    ("analyse", {"groove": _GROOVE, "metrics": ["density"]}),
    ("midi/write", {"groove": _GROOVE, "swing": 0.5}),
    ("follow", {"groove": _GROOVE, "particles": 2}),
)


def make_body(random: Random) -> bytes:
    path, body = random.choice(_BODIES)
    content = json.dumps(body if random.random() < 0.05 else changed(random, body)).encode()
    if random.random() < 0.15:
        content = mutated(random, content)
    if random.random() < 0.05:
        content = random.choice(
            (b"[" * 10_000, b"9" * 10_000, b'"' + b"a" * 10**6 + b'"', b"\xff", b"", b"null", b"NaN")
        )
    return path.encode() + b"\n" + content


@cache
def _app() -> tuple[Any, Any]:
    from dataclasses import replace

    from hypermeter.core.kit import Kit, Voice
    from hypermeter.share.serve.app import make_app
    from hypermeter.share.serve.limits import Limits
    from models import player as player_of

    player = copy.deepcopy(player_of("gru"))  # tests share it
    kit = Kit(
        "mine", tuple(Voice(f"voice_{number}", (36 + number,), 36 + number) for number in range(player.num_drums))
    )
    player.network.kit = kit
    limits = replace(Limits(), bars=4, particles=4)
    return make_app({"small": player}, None, limits, hosts=("test",)), asyncio.new_event_loop()


def read_body(content: bytes, folder: Path) -> None:
    """Send a body to the application itself: no answer is that of an error inside, and each tells what to do."""
    from hypermeter.core.errors import HypermeterError

    app, loop = _app()
    path, _, body = content.partition(b"\n")
    headers = [(b"host", b"test"), (b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http",
        "query_string": b"",
        "path": f"/api/{path.decode()}", "raw_path": b"/api/" + path, "root_path": "", "headers": headers,
        "client": ("127.0.0.1", 1),
        "server": ("test", 80),
    }  # fmt: skip
    sent: list[dict[str, Any]] = []

    async def ask() -> None:
        is_told = False
        done = asyncio.Event()

        async def receive() -> dict[str, Any]:
            nonlocal is_told
            if is_told:
                await done.wait()
                return {"type": "http.disconnect"}
            is_told = True
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)
            if message["type"] == "http.response.body" and not message.get("more_body"):
                done.set()

        await app(scope, receive, send)

    loop.run_until_complete(ask())
    status = sent[0]["status"]
    answer = b"".join(message.get("body", b"") for message in sent[1:])
    check(status < 500, f"status {status}: {answer[:200]!r}")
    check(len(answer) < 10**6, f"an answer of {len(answer)} bytes")
    if status >= 400:
        raise HypermeterError(answer.decode()[:200])


def _needs(package: str):
    def needs() -> None:
        __import__(package)

    return needs


READERS = (
    Reader("osc", make_osc, read_osc, 2, _needs("pythonosc")),
    Reader("json bodies", make_body, read_body, 1, _needs("fastapi")),
)
