"""Arguments of the command line: a mistake is one line that names it, and the examples of the help are right."""

import os
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from hypermeter import cli
from hypermeter.cli.examples import EXAMPLES
from hypermeter.cli.parsing import parse
from hypermeter.core.errors import HypermeterError


@dataclass(frozen=True)
class Size:
    """Sizes."""

    steps: int = 3
    """How many steps."""


def command(
    out: Path,
    bars: int | None = None,
    amount: float | None = None,
    kind: Literal["gru", "lstm"] | None = None,
    bias: dict[str, float] | None = None,
    picture: bool = True,
    size: Size = Size(),
):
    """Play a few bars.

    They are written to a file.

    Args:
        out: the file that is written.
        bars: how many.
    """
    return out, bars, amount, kind, bias, picture, size


def parsed(text):
    return parse(command, shlex.split(text), "hypermeter command", ["hypermeter command a.mid"])()


def test_options_are_read_by_their_types():
    assert parsed("a.mid") == (Path("a.mid"), None, None, None, None, True, Size())
    text = "a.mid --bars 4 --amount .5 --kind lstm --bias kick 1 snare -2 --no-picture --steps 5"
    assert parsed(text) == (Path("a.mid"), 4, 0.5, "lstm", {"kick": 1.0, "snare": -2.0}, False, Size(5))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["OUT|PATH", "missing", "the file that is written"]),
        ("a.mid --bars 2.5", ["--bars", "'2.5'", "whole number"]),
        ("a.mid --bars None", ["--bars", "'None'", "whole number"]),
        ("a.mid --amount much", ["--amount", "'much'", "a number"]),
        ("a.mid --steps x", ["--steps", "'x'", "whole number"]),
        ("a.mid --bars", ["--bars", "expected a value"]),
        ("a.mid --barz 2", ["--barz", "perhaps --bars"]),
        ("a.mid b.mid", ["b.mid", "no such argument"]),
        ("a.mid --kind rnn", ["--kind", "'rnn'", "gru"]),
        ("a.mid --bias kick", ["--bias"]),
    ],
)
def test_a_mistake_is_one_line_that_names_it(text, words):
    with pytest.raises(HypermeterError) as error:
        parsed(text)
    message = str(error.value)
    assert "\n" not in message and message.endswith("see hypermeter command --help")
    for word in words:
        assert any(part in message for part in word.split("|")), (word, message)


def test_help_has_the_examples_above_the_options(capsys):
    with pytest.raises(SystemExit) as done:
        parsed("--help")
    assert done.value.code == 0
    text = capsys.readouterr().out
    places = [text.index(part) for part in ("Play a few bars", "hypermeter command a.mid", "They are", "--bars INT")]
    assert places == sorted(places)
    assert "None" not in text and "(default: 3)" in text


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_the_help_of_every_command_fits_two_screens(name):
    command = [sys.executable, "-m", "hypermeter.cli", name, "--help"]
    done = subprocess.run(command, env=os.environ | {"COLUMNS": "80"}, capture_output=True, text=True, check=True)
    assert 10 < len(done.stdout.splitlines()) <= 80


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_examples_are_read_by_their_command(name):
    assert EXAMPLES[name]
    for line in EXAMPLES[name]:
        program, command_name, *arguments = shlex.split(line)
        assert (program, command_name) == ("hypermeter", name)
        parse(cli._function(name), arguments, f"hypermeter {name}", ())


def test_bad_arguments_end_in_exit_code_2_and_one_line(capsys):
    assert cli.main(["inspect", "a.mid", "--nope", "3"]) == 2
    output = capsys.readouterr()
    assert output.out == "" and output.err.count("\n") == 1 and "--nope" in output.err
