"""Import paths of version 0.1 from before its files stood in layers.

``names_of_version_0_1.txt`` has its modules and their public names, a line each. Where a name moves on, MOVED and
RENAMED of ``_moved.py`` follow; a name that nothing does any more goes into GONE there, with the reason.
"""

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
def test_every_name_of_a_module_that_moved_is_found_and_says_where_it_is_now(module):
    found = import_module(f"hypermeter.{module}")
    missing = []
    for name in NAMES[module]:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            value = getattr(found, name, missing)
        if value is missing:
            missing.append(name)
        elif module not in STAYED:
            (said,) = {str(each.message) for each in caught}
            old, new = said.split(" moved to ")
            assert old == f"hypermeter.{module}.{name}" and place(new) is value
    assert missing == [name for name in NAMES[module] if f"{module}.{name}" in GONE]


def test_what_is_renamed_or_gone_was_there():
    assert {*RENAMED, *GONE} <= {f"{module}.{name}" for module, names in NAMES.items() for name in names}
    assert {*MOVED} <= {*NAMES} and all(GONE.values())


def test_the_warning_is_of_the_line_that_imports():
    with pytest.warns(DeprecationWarning) as warned:
        from hypermeter.grid import Grid
    assert warned[0].filename == __file__ and Grid is hypermeter.Grid
    with pytest.warns(DeprecationWarning) as warned:
        assert import_module("hypermeter.grid").Grid is Grid
    assert warned[0].filename == __file__


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
