"""What the source as a whole promises: who imports whom, what starts quickly, what is never named."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "hypermeter"


def dotted(path: Path) -> str:
    """A file's name below the package; a folder's ``__init__`` has the name of the folder."""
    name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
    return name.removesuffix(".__init__")


MODULES = {dotted(path): path for path in sorted(PACKAGE.rglob("*.py"))}

NAMES_THAT_SAY_NOTHING = {"utils", "base", "manager", "managers", "helpers", "common", "misc"}


def imported(module: str) -> set[str]:
    """The package's files that a file imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {name.removeprefix("hypermeter.") for name in names if name.startswith("hypermeter.")} & set(MODULES)


def test_no_file_has_a_name_that_says_nothing():
    assert not NAMES_THAT_SAY_NOTHING & {path.stem for path in PACKAGE.rglob("*")}


def test_preparing_and_loading_know_nothing_of_each_other():
    of_prepare = {module for module in MODULES if module.startswith("learn.prepare")}
    of_dataset = {module for module in MODULES if module.startswith("learn.dataset")}
    assert of_prepare and not any(of_prepare & imported(module) for module in of_dataset)
    assert of_dataset and not any(of_dataset & imported(module) for module in of_prepare)


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
