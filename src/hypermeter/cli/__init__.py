"""The command line: one dict of command name -> function. A module is imported once its command is chosen."""

import ast
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from hypermeter import __version__

COMMANDS = {
    "download": "hypermeter.learn.download:download",
    "prepare": "hypermeter.learn.prepare.command:prepare",
    "pack": "hypermeter.cli.pack:pack",
    "unpack": "hypermeter.cli.pack:unpack",
    "train": "hypermeter.learn.train.command:train_command",
    "reinforce": "hypermeter.learn.rl.command:reinforce_command",
    "generate": "hypermeter.cli.generate:generate_command",
    "follow": "hypermeter.cli.follow:follow_command",
    "morph": "hypermeter.cli.morph:morph_command",
    "play": "hypermeter.cli.play:play_command",
    "humanize": "hypermeter.cli.humanize:humanize_command",
    "feels": "hypermeter.cli.feels:feels_command",
    "evaluate": "hypermeter.learn.evaluate.command:evaluate_command",
    "inspect": "hypermeter.share.commands:inspect",
    "analyse": "hypermeter.share.commands:analyse_command",
    "search": "hypermeter.cli.search:search_command",
    "map": "hypermeter.cli.search:map_command",
    "render": "hypermeter.share.commands:render_command",
    "export": "hypermeter.cli.export:export_command",
    "serve": "hypermeter.share.serve.command:serve_command",
    "demo": "hypermeter.cli.demo:demo",
}
"""Command -> module:function, in the order of use. The functions are the Python API too."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and give the exit code: 0 done, 2 bad input (one line on stderr), 130 interrupted, 143 ended.

    SIGTERM ends a command as Ctrl-C does: it cleans up, and says in a line what was written.
    """
    # Before NumPy is imported: a step's matrices are small, and OpenBLAS on all cores takes several times as long.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    name, *rest = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    while name == "--plugin":
        if len(rest) < 2:
            return _refuse("--plugin: expected a Python file, then a command, as in --plugin my.py analyse beat.mid")
        try:
            _run_file(Path(rest[0]))
        except Exception as error:  # the file is the user's own, and may raise anything
            return _refuse(f"{rest[0]}: cannot be run as a plugin ({type(error).__name__}: {error}); mend it first")
        name, *rest = rest[1:]
    if name in ("-h", "--help"):
        print(_help())
        return 0
    if name == "--version":
        print(__version__)
        return 0
    if name not in COMMANDS:
        return _refuse(f"{name}: no such command; expected one of {', '.join(COMMANDS)}")
    try:
        with _ending_by_sigterm():
            return _run(name, rest)
    except Ended:
        return 143
    except KeyboardInterrupt:
        return 130


class Ended(KeyboardInterrupt):
    """The process was told by SIGTERM to end."""


@contextmanager
def _ending_by_sigterm() -> Iterator[None]:
    """Raise `Ended` in the block at SIGTERM; commands that have a handler of their own keep it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(*_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # Once is enough: what cleans up is not interrupted.
        raise Ended

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _run(name: str, arguments: Sequence[str]) -> int:
    from hypermeter.core.errors import HypermeterError
    from hypermeter.core.extras import needs

    try:
        from hypermeter.cli.examples import EXAMPLES
        from hypermeter.cli.parsing import parse

        with needs(name):
            result = parse(_function(name), arguments, f"hypermeter {name}", EXAMPLES[name])()
        if isinstance(result, Path):
            print(result)
        sys.stdout.flush()
    except HypermeterError as error:
        return _refuse(str(error))
    except BrokenPipeError:  # The reader, as in `| head`, has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        return _refuse(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    return 0


def _run_file(path: Path) -> None:
    """Run the user's Python file, which registers metrics and the like, as a module of its own.

    Dataclasses and pickle look their module up in ``sys.modules``. Its name there is the path, which no import
    statement can ask for; a dot in it would be taken for a package.
    """
    spec = spec_from_file_location(f"plugin:{path.resolve()}".replace(".", "_"), path)
    if spec is None or spec.loader is None:
        raise ImportError("expected a file that ends in .py")
    sys.modules[spec.name] = module = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[spec.name]
        raise


def _function(name: str) -> Callable[..., Any]:
    module, _, function = COMMANDS[name].partition(":")
    return getattr(import_module(module), function)


def _refuse(reason: str) -> int:
    from hypermeter.core.printed import printable

    print(f"hypermeter: {printable(reason, 2000)}", file=sys.stderr)
    return 2


def _help() -> str:
    width = max(map(len, COMMANDS)) + 2
    lines = [f"  {name:{width}}{_first_line(target)}" for name, target in COMMANDS.items()]
    return "\n".join(
        [
            "usage: hypermeter COMMAND ...",
            "",
            "Drumming modelled at three levels: step, bar and phrase.",
            "",
            *lines,
            "",
            "hypermeter COMMAND --help tells a command's options; hypermeter --version, the version.",
            "hypermeter --plugin FILE.py COMMAND ... runs a file of yours first, with metrics of your own.",
        ]
    )


def _first_line(target: str) -> str:
    """Of the function's docstring, read from its file: to import it would take seconds."""
    module, _, function = target.partition(":")
    tree = ast.parse(Path(__file__).parents[1].joinpath(*module.split(".")[1:]).with_suffix(".py").read_text("utf-8"))
    nodes = (node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == function)
    return (ast.get_docstring(next(nodes)) or "").partition("\n")[0]
