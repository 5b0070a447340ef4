"""The Python in the documents runs, their links lead somewhere, and their lines are at most 120 characters long."""

import contextlib
import io
import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from hypermeter.cli import COMMANDS, main
from hypermeter.cli.demo import read_corpus
from hypermeter.io.midi import write_midi
from hypermeter.learn.prepare import prepare
from hypermeter.music.metrics import METRICS

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/**/*.md"), *ROOT.glob("findings/*.md")]
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Return a folder with what the examples of the documents read: beat.mid, and a prepared folder npz."""
    corpus = read_corpus()
    write_midi(corpus["rock-1"], tmp_path / "beat.mid")
    for name in ("rock-1", "funk-1", "house-1"):
        write_midi(corpus[name], tmp_path / "midi" / f"{name}.mid")
    prepare(tmp_path / "midi", tmp_path / "npz", quiet=True)
    for split in ("train", "validation"):
        (tmp_path / "npz" / split).mkdir(exist_ok=True)
        np.savez(tmp_path / "npz" / split / "more.npz", sequence=corpus["rock-2"].hits)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def python_of(path):
    return "\n".join(re.findall(r"^```python\n(.*?)^```", path.read_text("utf-8"), re.MULTILINE | re.DOTALL))


@pytest.mark.parametrize("path", [path for path in DOCUMENTS if python_of(path)], ids=lambda path: path.name)
def test_the_python_of_a_document_runs(path, folder):
    names_before = set(METRICS)
    try:
        exec(compile(python_of(path), path.name, "exec"), {})
    finally:
        for name in set(METRICS) - names_before:
            del METRICS[name]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_between_documents_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)#:\s,]+)(?:#[^)]*)?\)", path.read_text("utf-8")):
        assert (path.parent / target).exists(), target


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_lines_of_a_document_are_at_most_120_characters_long(path):
    lines = path.read_text("utf-8").splitlines()
    too_long = [line for line in lines if len(line) > 120 and not line.startswith("|") and "](" not in line]
    assert not too_long, too_long[0]


def test_every_finding_is_in_the_table_of_the_findings():
    table = (ROOT / "findings" / "README.md").read_text("utf-8")
    assert {path.name for path in (ROOT / "findings").glob("*.sh")} == set(re.findall(r"^\| `(\S+)` \|", table, re.M))


def commands_of(path):
    """Return (command, rest of the line) of each `hypermeter COMMAND ...` in a document."""
    text = path.read_text("utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.startswith("    hypermeter ")] + re.findall(
        r"`([^`\n]+)`", text
    )
    matches = (re.match(rf"\s*hypermeter ({'|'.join(COMMANDS)})\b([^#]*)", line) for line in lines)
    return [match.groups() for match in matches if match]


@pytest.fixture(scope="module")
def options_in_help():
    """Return the options of each command, by its help."""

    @cache
    def options_of(command):
        output = io.StringIO()
        with contextlib.redirect_stdout(output), contextlib.suppress(SystemExit):
            main([command, "--help"])
        return {"--help", *re.findall(r"(--?[a-z][a-z0-9-]*)", output.getvalue())}

    return options_of


@pytest.mark.parametrize("path", [path for path in DOCUMENTS if commands_of(path)], ids=lambda path: path.name)
def test_options_in_a_document_are_options_of_the_command(path, options_in_help):
    for command, rest in commands_of(path):
        options = set(re.findall(r"(?<!\S)(--?[a-z][a-z0-9-]*)", rest))
        assert options <= options_in_help(command), f"hypermeter {command}{rest}"
