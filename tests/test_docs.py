"""The Python in the documents runs, their links lead somewhere, and their lines are at most 120 characters long."""

import re
from pathlib import Path

import numpy as np
import pytest

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
