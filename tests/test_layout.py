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
    "limits",
    "kit",
    "tracks",
    "midi.bars",
    "midi.content",
    "midi.events",
    "midi.melody",
    "midi.read",
    "midi.write",
    "midi",
    "render",
    "notation.pattern",
    "notation.mini",
    "notation.names",
    "notation.write",
    "notation.read",
    "notation.files",
    "notation",
    "sound.drums",
    "sound.mix",
    "sound.wav",
    "sound.font",
    "sound.render",
    "sound",
    "display",
    "download",
    "duplicates",
    "prepare.source",
    "prepare.convert",
    "prepare.manifest",
    "prepare.crew",
    "prepare.command",
    "prepare",
    "metrics.onsets",
    "metrics.density",
    "metrics.intervals",
    "metrics.syncopation",
    "metrics.repetition",
    "metrics.shape",
    "metrics.timing",
    "metrics.report",
    "metrics.window",
    "metrics",
    "compare",
    "segment",
    "plan_arrays",
    "plan",
    "dataset.archive",
    "dataset.conditions",
    "dataset.windows",
    "dataset",
    "encoders",
    "heads.combinations",
    "heads.draw",
    "heads.mixture",
    "heads.softmax",
    "heads",
    "losses",
    "expression",
    "perform",
    "generate",
    "infill",
    "checkpoint",
    "state",
    "levels",
    "model",
    "inspection",
    "report",
    "analyse",
    "evaluate.likelihood",
    "evaluate.floors",
    "evaluate.music",
    "evaluate.rows",
    "evaluate.card",
    "evaluate",
    "train.config",
    "train.module",
    "train.material",
    "train.resume",
    "train.log",
    "train.run",
    "train.command",
    "train",
    "rl.rewards",
    "rl.env",
    "rl.rollout",
    "rl.divergence",
    "rl.policy_gradient",
    "rl.action_values",
    "rl.q_learning",
    "rl.config",
    "rl.learners",
    "rl.reinforce",
    "rl",
    "humanize",
    "asked",
    "compose.grooves",
    "compose.command",
    "compose",
    "runtime.rng",
    "runtime.mixture",
    "runtime.folder",
    "runtime.plan",
    "runtime.playing",
    "runtime.expression",
    "runtime.infill",
    "runtime.player",
    "runtime",
    "export.write",
    "export.recurrent",
    "export.graphs",
    "export.whole",
    "export.int8",
    "export.command",
    "export",
    "live.clock",
    "live.position",
    "live.measure",
    "live.asking",
    "live.drawing",
    "live.process",
    "live.parts",
    "live.engine",
    "live.ports",
    "live.command",
    "live",
    "serve.limits",
    "serve.guard",
    "serve.messages",
    "serve.playing",
    "serve.work",
    "serve.app",
    "serve.command",
    "serve",
    "demo",
    "cli",
]
"""The files in the order in which they may import each other."""


def dotted(path: Path) -> str:
    """A file's name below the package; a folder's ``__init__`` has the name of the folder."""
    name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
    return name.removesuffix(".__init__")


MODULES = {dotted(path): path for path in sorted(PACKAGE.rglob("*.py"))}

NAMES_THAT_SAY_NOTHING = {"utils", "base", "core", "manager", "managers", "helpers", "common", "misc"}


def imported(module: str) -> set[str]:
    """The package's files that a file imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import"
            names |= {node.module, *(f"{node.module}.{each.name}" for each in node.names)}
    return {name.removeprefix("hypermeter.") for name in names if name.startswith("hypermeter.")} & set(MODULES)


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
    of_prepare = {module for module in MODULES if module.split(".")[0] == "prepare"}
    of_dataset = {module for module in MODULES if module.split(".")[0] == "dataset"}
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
