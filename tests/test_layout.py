"""What the source as a whole promises: who imports whom, what starts quickly, what is never named."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "hypermeter"

ORDER = [
    "__init__",
    "grid",
    "kit",
    "midi",
    "download",
    "duplicates",
    "prepare",
    "metrics",
    "dataset",
    "encoders",
    "heads",
    "losses",
    "generate",
    "model",
    "evaluate",
    "train",
    "render",
    "inspection",
    "compose",
    "demo",
    "cli",
]
"""The files in the order in which they may import each other."""

MODULES = sorted(path.stem for path in PACKAGE.glob("*.py"))

NAMES_THAT_SAY_NOTHING = {"utils", "base", "core", "manager", "managers", "helpers", "common", "misc"}


def imported(module: str) -> set[str]:
    """The package's files that a file imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse((PACKAGE / f"{module}.py").read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            names |= {f"{node.module}.{each.name}" for each in node.names}
    parts = [name.split(".") for name in names if name.split(".")[0] == "hypermeter"]
    return {part[1] for part in parts if len(part) > 1 and part[1] in MODULES}


@pytest.mark.parametrize("module", MODULES)
def test_a_file_imports_only_files_above_it(module):
    assert module in ORDER, f"{module} has no place in the order: give it one"
    above = ORDER[: ORDER.index(module)]
    assert imported(module) <= set(above)


def test_the_order_names_files_that_are_there():
    assert set(ORDER) == set(MODULES)


def test_no_file_has_a_name_that_says_nothing():
    assert not NAMES_THAT_SAY_NOTHING & {path.stem for path in PACKAGE.rglob("*")}


def test_preparing_and_loading_know_nothing_of_each_other():
    assert "prepare" not in imported("dataset")
    assert "dataset" not in imported("prepare")


def test_files_with_array_shapes_keep_their_annotations_alive():
    for path in PACKAGE.rglob("*.py"):
        text = path.read_text("utf-8")
        if "jaxtyping" in text:
            assert "from __future__ import annotations" not in text, path.name


def test_no_file_names_a_place_on_one_machine():
    listing = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    if listing.returncode:
        pytest.skip("not a git checkout")
    place = re.compile(r"/(home|root|work|Users)/\w")
    for name in listing.stdout.split():
        path = ROOT / name
        if path.suffix in (".py", ".md", ".toml", ".txt", ".yaml", ".json", "") and path.is_file():
            assert not place.search(path.read_text("utf-8", errors="ignore")), name
