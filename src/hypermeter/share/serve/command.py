"""The ``serve`` command: the page and the API, on this machine."""

import ipaddress
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from hypermeter.core.errors import HypermeterError
from hypermeter.share.serve.limits import Limits, check_limit

if TYPE_CHECKING:
    from hypermeter.play.player import Player

SWITCH_S = 0.0005
"""Time until the thread of the connections gets the interpreter from one that computes: a tenth of the default."""

LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "[::1]")


def serve_command(
    host: str = "127.0.0.1",
    port: int = 8000,
    model: tuple[str, ...] = ("groove",),
    max_bars: int = Limits.bars,
    max_seconds: float = Limits.seconds,
    max_body: int = Limits.body_bytes,
    workers: int = Limits.running,
    queue: int = Limits.waiting,
) -> None:
    """Serve the page and a JSON API for generation, infill, variation and analysis.

    Args:
        host: address to listen on: 127.0.0.1 for this machine alone, 0.0.0.0 for the network.
        port: port to listen on; 0 takes a free one.
        model: names of shipped models, checkpoints, folders of training runs or of exports; the first is the default.
            Requests choose among these by name.
        max_bars: most bars of a request.
        max_seconds: longest work on a request.
        max_body: most bytes of a request.
        workers: requests that run at once.
        queue: requests that may wait; more are refused.

    Raises:
        HypermeterError: a limit out of range, a model that cannot be read, or an address that cannot be listened on.
    """
    from hypermeter.share.serve.app import make_app
    from hypermeter.share.serve.connections import Server

    for option, name, value in (
        ("max-bars", "bars", max_bars),
        ("max-seconds", "seconds", max_seconds),
        ("max-body", "body_bytes", max_body),
        ("workers", "running", workers),
        ("queue", "waiting", queue),
    ):
        check_limit(name, value, f"--{option}")
    limits = Limits(body_bytes=max_body, bars=max_bars, seconds=max_seconds, running=workers, waiting=queue)
    listening = listen(host, port)
    players, page = load_players(model), page_folder()
    app = make_app(players, page, limits, {*LOOPBACK_HOSTS, host} if is_loopback(host) else None)
    shown = f"[{host}]" if ":" in host else host
    print(f"http://{shown}:{listening.getsockname()[1]}/  plays {', '.join(players)}; Ctrl-C ends it", flush=True)
    if page is None:
        print("no page in this installation: the API alone, see /api/openapi.json", file=sys.stderr)
    sys.setswitchinterval(SWITCH_S)
    with listening, suppress(KeyboardInterrupt):  # Ctrl-C is the way to end it
        Server(app, limits).run([listening])


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket. Called first, so that a port in use is an error before models are loaded.

    Raises:
        HypermeterError: an address that cannot be listened on.
    """
    if not 0 <= port <= 65535:
        raise HypermeterError(f"port is {port}, expected 0 to 65535")
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=128)
    except (OSError, UnicodeError) as error:  # UnicodeError: not a host name
        reason = getattr(error, "strerror", None) or "not a host name"
        raise HypermeterError(
            f"{host[:64]}:{port}: cannot be listened on ({reason}); choose another --host or --port"
        ) from error


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches the address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def page_folder() -> Path | None:
    """Return the folder of the page that comes with the package; None where it was not built."""
    folder = Path(str(resources.files("hypermeter"))) / "page"
    return folder if (folder / "index.html").is_file() else None


def load_players(models: Sequence[str]) -> "dict[str, Player]":
    """Return name -> player for models as `load_player` takes them; the name is that of the file or folder.

    Raises:
        HypermeterError: a model that cannot be read, or two of one name.
    """
    from hypermeter.play.loading import load_player

    players: dict[str, Player] = {}
    for model in models:
        name = Path(model).resolve().name.removesuffix(".safetensors")[:64]  # the longest name in a request
        if name in players:
            raise HypermeterError(f"--model: two are named {name}, expected different names; rename one")
        players[name] = load_player(model)
    return players
