"""The ``serve`` command: the page and the API, on this machine."""

import gzip
import ipaddress
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Sequence
from contextlib import suppress
from importlib import resources
from pathlib import Path

from hypermeter.core.errors import HypermeterError
from hypermeter.play.runtime import OnnxPlayer
from hypermeter.share.serve.app import make_app
from hypermeter.share.serve.limits import Limits, check_limit

LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "[::1]")
SHIPPED = "groove"


def serve_command(
    host: str = "127.0.0.1",
    port: int = 8000,
    model: tuple[str, ...] = (SHIPPED,),
    max_bars: int = Limits.bars,
    max_seconds: float = Limits.seconds,
    max_body: int = Limits.body_bytes,
    workers: int = Limits.running,
    queue: int = Limits.waiting,
) -> None:
    """Serve the page and a JSON API for generation, infill, variation and analysis.

    Args:
        host: address to listen on. 127.0.0.1 is reached from this machine alone; 0.0.0.0 from all that can reach it.
        port: 0 takes a free one.
        model: shipped models' names, checkpoints, folders of training runs or of exports; the first is the default.
            Requests choose among these by name.
        max_bars: of a request.
        max_seconds: that a request may be worked on.
        max_body: bytes of a request.
        workers: requests that are worked on at once.
        queue: requests that wait; more are refused.

    Raises:
        HypermeterError: a limit out of range, a model that cannot be read, or an address that cannot be listened on.
    """
    import uvicorn

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the temporary folder is removed
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
    with tempfile.TemporaryDirectory(prefix="hypermeter-") as folder:
        players = load_players(model, Path(folder))
        page = page_folder()
        hosts = {*LOOPBACK_HOSTS, host} if is_loopback(host) else None
        app = make_app(players, page, limits, hosts)
        config = uvicorn.Config(
            app, log_level="warning", server_header=False, timeout_graceful_shutdown=3, limit_concurrency=256
        )
        shown = f"[{host}]" if ":" in host else host
        print(f"http://{shown}:{listening.getsockname()[1]}/  plays {', '.join(players)}; Ctrl-C ends it", flush=True)
        if page is None:
            print("no page in this installation: the API alone, see /api/openapi.json", file=sys.stderr)
        with listening, suppress(KeyboardInterrupt):  # how one ends it
            uvicorn.Server(config).run([listening])


def listen(host: str, port: int) -> socket.socket:
    """A socket on that address, so that a port that is taken is told before anything is loaded.

    Raises:
        HypermeterError: it cannot be listened on.
    """
    if not 0 <= port <= 65535:
        raise HypermeterError(f"port is {port}, expected 0 to 65535")
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=128)
    except (OSError, UnicodeError) as error:  # a name of a host may be none
        reason = getattr(error, "strerror", None) or "no name of a host"
        raise HypermeterError(
            f"{host[:64]}:{port}: cannot be listened on ({reason}); choose another --host or --port"
        ) from error


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches it."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def page_folder() -> Path | None:
    """The page that comes with the package; None where it was not built."""
    folder = Path(str(resources.files("hypermeter"))) / "page"
    return folder if (folder / "index.html").is_file() else None


def load_players(models: Sequence[str], folder: Path) -> dict[str, OnnxPlayer]:
    """A player for each model, by its name.

    Args:
        models: as ``serve_command`` takes them.
        folder: where checkpoints are exported to.

    Raises:
        HypermeterError: one cannot be read or exported, or two have one name.
    """
    players: dict[str, OnnxPlayer] = {}
    for number, model in enumerate(models):
        name = _name_of(model)
        if name in players:
            raise HypermeterError(f"--model: two are named {name}, expected different names; rename one")
        players[name] = OnnxPlayer.load(_exported(model, folder / str(number)))
    return players


def _exported(model: str, folder: Path) -> Path:
    """The folder of an export: the model itself, the one that the page ships, or one that is made now."""
    if (Path(model) / "meta.json").is_file() and (Path(model) / "step.onnx").is_file():
        return Path(model)
    page = page_folder()
    if model == SHIPPED and page is not None and (page / "model" / "meta.json").is_file():
        _unpack(page / "model", folder)
        return folder
    from hypermeter.model.hierarchical import load
    from hypermeter.share.export.command import export

    drummer = load(model)
    export(drummer, folder, _name_of(model), forward=False)
    print(f"{model}: exported for ONNX Runtime", file=sys.stderr)
    return folder


def _name_of(model: str) -> str:
    """By which it is asked for: of the file or the folder, cut to what a request may say."""
    return Path(model).resolve().name.removesuffix(".safetensors")[:64]


def _unpack(page_model: Path, folder: Path) -> None:
    """The page's model, whose graphs are packed."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in page_model.iterdir():
        if path.suffix == ".gz":
            try:
                (folder / path.stem).write_bytes(gzip.decompress(path.read_bytes()))
            except (OSError, EOFError) as error:
                raise HypermeterError(f"{path}: damaged ({error}); install the package again") from error
        else:
            (folder / path.name).write_bytes(path.read_bytes())
