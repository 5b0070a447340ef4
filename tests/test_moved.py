"""Import paths of version 0.1 from before its files stood in layers.

``names_of_version_0_1.txt`` has its modules and their public names, a line each. Where a name moves on, MOVED and
RENAMED of ``_moved.py`` follow; a name that nothing does any more goes into GONE there, with the reason.
"""

import re
import subprocess
import sys
import warnings
from importlib import import_module
from pathlib import Path

import pytest

import hypermeter
from hypermeter._moved import GONE, MOVED, RENAMED

LINES = Path(__file__).with_name("names_of_version_0_1.txt").read_text("utf-8").splitlines()
NAMES = {module: names.split() for module, _, names in (line.partition(": ") for line in LINES)}
STAYED = {"cli", "model"}
"""Modules at the path that they had."""


def place(path):
    """What is at a dotted path."""
    module, _, name = path.rpartition(".")
    return getattr(import_module(module), name)


@pytest.mark.parametrize("module", NAMES)
def test_every_name_of_a_module_that_moved_is_found_and_one_warning_tells_its_new_path(module):
    old_module = import_module(f"hypermeter.{module}")
    missing = []
    for name in NAMES[module]:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            value = getattr(old_module, name, missing)
        if value is missing:
            missing.append(name)
        elif module not in STAYED:
            (warning,) = caught
            old, new = str(warning.message).split(" moved to ")
            assert old == f"hypermeter.{module}.{name}" and place(new) is value
    assert missing == [name for name in NAMES[module] if f"{module}.{name}" in GONE]


def test_renamed_and_removed_names_existed_in_version_0_1():
    assert {*RENAMED, *GONE} <= {f"{module}.{name}" for module, names in NAMES.items() for name in names}
    assert {*MOVED} <= {*NAMES} and all(GONE.values())


def test_an_import_warns_once_at_the_line_that_imports():
    with pytest.warns(DeprecationWarning) as warned:
        from hypermeter.grid import Grid
    assert [warning.filename for warning in warned] == [__file__] and Grid is hypermeter.Grid
    with pytest.warns(DeprecationWarning) as warned:
        assert import_module("hypermeter.grid").Grid is Grid
    assert [warning.filename for warning in warned] == [__file__]


@pytest.mark.parametrize(
    ("line", "extra"),
    [
        ("from hypermeter.export import export", "onnx"),
        ("from hypermeter.encoders import RecurrentEncoder", "torch"),
        ("import hypermeter.share.export", "onnx"),
        ("import hypermeter.learn.rl.rollout", "rl"),
        ("from hypermeter.learn.train import run", "train"),
        ("import hypermeter.learn.evaluate.likelihood", "train"),
    ],
)
def test_an_import_that_needs_a_missing_torch_names_the_extra(line, extra):
    code = f"""
import sys
sys.modules["torch"] = None
try:
    {line}
except ModuleNotFoundError as error:
    print(type(error).__name__, error)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.startswith("MissingPackageError hypermeter.")
    assert "needs torch" in result.stdout and f"hypermeter[{extra}]" in result.stdout and result.stdout.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "hint"), [("read_mdi", "did you mean 'read_midi'"), ("metrics", "'METRICS'"), ("nope", "dir(hypermeter)")]
)
def test_a_missing_attribute_of_the_package_is_answered_with_the_nearest_public_name(name, hint, monkeypatch):
    monkeypatch.delitem(vars(hypermeter), name, raising=False)  # an old module that another test has imported
    with pytest.raises(AttributeError, match=rf"'hypermeter' has no attribute '{name}'; .*{re.escape(hint)}"):
        getattr(hypermeter, name)


def test_importing_the_package_imports_none_of_the_heavy_modules():
    code = "import sys, hypermeter; print(*{'numpy', 'importlib.abc', 'yaml', 'symusic', 'torch'} & {*sys.modules})"
    result = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path += {sys.path}; {code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.split() == []


@pytest.mark.parametrize("module", ["midi.nothing", "midi.read.nothing", "compose.nothing", "nothing"])
def test_a_module_that_never_was_is_not_found(module):
    with pytest.raises(ModuleNotFoundError, match="nothing"):
        import_module(f"hypermeter.{module}")
    assert f"hypermeter.{module}" not in sys.modules


def test_a_name_that_never_was_is_not_found():
    with pytest.raises(
        AttributeError, match=r"'hypermeter.midi' has no attribute 'nothing'; it moved to hypermeter.io.midi"
    ):
        import_module("hypermeter.midi").nothing  # noqa: B018


def test_importing_a_name_that_is_gone_says_what_to_use_instead():
    for old, instead in GONE.items():
        module, _, name = f"hypermeter.{old}".rpartition(".")
        if old.partition(".")[0] in MOVED:
            with pytest.raises(ImportError) as refused:
                exec(f"from {module} import {name}")
            assert str(refused.value).endswith(f"; {instead}")
