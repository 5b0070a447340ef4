"""What the package is made of: digests of shipped files, licences, wheels that are the same each time, promises."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hypermeter.core import shipped
from hypermeter.core.errors import HypermeterError
from hypermeter.core.pitch_map import MAPS
from hypermeter.core.shipped import PACKAGE, SUMS, check_shipped, shipped_sums, shipped_text
from hypermeter.io.checkpoint import find_checkpoint, shipped_models
from hypermeter.music.feel_files import feel_names

ROOT = Path(__file__).parents[1]


def test_every_file_that_is_read_from_the_package_has_its_digest():
    """After a change of one of them: make sums."""
    expected = [f"weights/{name}.safetensors" for name in shipped_models()]
    expected += [f"kits/maps/{name}.yaml" for name in MAPS] + [f"feels/{name}.yaml" for name in feel_names()]
    expected += [path.relative_to(PACKAGE).as_posix() for path in (PACKAGE / "kits").glob("*.yaml")]
    expected += [path.relative_to(PACKAGE).as_posix() for path in (PACKAGE / "corpus").glob("*.txt")]
    assert set(expected) | {"share/sound/drums.json"} == set(shipped_sums())
    for name, digest in shipped_sums().items():
        assert hashlib.sha256((PACKAGE / name).read_bytes()).hexdigest() == digest, f"{name}: make sums"


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of two files."""
    (tmp_path / "kits").mkdir()
    (tmp_path / "kits" / "gm10.yaml").write_text(shipped_text("kits", "gm10.yaml"))
    monkeypatch.setattr(shipped, "PACKAGE", tmp_path)
    return tmp_path / "kits" / "gm10.yaml"


def test_a_file_that_was_changed_is_refused_in_a_line_that_says_what_to_do(package):
    shipped.check_shipped(package)
    package.write_text(package.read_text() + "\n")
    with pytest.raises(HypermeterError, match=r"gm10.yaml: not the file that was shipped.*install it again"):
        shipped.shipped_text("kits", "gm10.yaml")
    package.unlink()
    with pytest.raises(HypermeterError, match=r"gm10.yaml: missing from the package"):
        shipped.shipped_text("kits", "gm10.yaml")


def test_kits_and_weights_are_checked_where_they_are_read(monkeypatch):
    wrong = dict.fromkeys(shipped_sums(), "0" * 64)
    monkeypatch.setattr(shipped, "shipped_sums", lambda: wrong)
    with pytest.raises(HypermeterError, match=r"groove.safetensors: not the file that was shipped"):
        find_checkpoint("groove")
    with pytest.raises(HypermeterError, match=r"not the file that was shipped"):
        shipped_text("kits", "maps", "td17.yaml")


def test_a_file_of_ones_own_needs_no_digest(tmp_path):
    (tmp_path / "kit.yaml").write_text("x")
    check_shipped(tmp_path / "kit.yaml")
    assert SUMS.name == "SHA256SUMS" and SUMS.is_file()


def test_every_dependency_has_its_licence_in_the_list():
    """After a new dependency: make licences."""
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    quoted = re.search(r"\ndependencies = \[(.*?)\]\n.*?\nserve = (.*?)\n", text, re.DOTALL)
    names = re.findall(r'"([A-Za-z][\w-]*)(?:\[[^"]*\])?[^"]*"', f"{quoted[1]} {quoted[2]}")
    extras = re.search(r"\[project.optional-dependencies\]\n(.*?)\ndocs = ", text, re.DOTALL)[1]
    names += re.findall(r'"([A-Za-z][\w-]*)(?:\[[^"]*\])?[^"]*"', extras)
    listed = re.findall(r"^\| ([\w.-]+) \|", (ROOT / "docs" / "licences.md").read_text("utf-8"), re.MULTILINE)
    plain = {name.lower().replace("_", "-") for name in listed}
    wanted = {name.lower() for name in names} - {"hypermeter"}
    assert len(wanted) > 15 and not wanted - plain


def test_every_promise_of_the_threat_model_names_a_test_that_is_there():
    promises = 0
    for line in (ROOT / "docs" / "threats.md").read_text("utf-8").splitlines():
        if not line.startswith("|") or line.startswith(("|---", "| promise")):
            continue
        promises += 1
        named = re.findall(r"`(test_\w+\.py)`: ([^`|]+)", line)
        assert named, line
        for file, sentences in named:
            source = (ROOT / "tests" / file).read_text("utf-8")
            for sentence in filter(None, sentences.strip(" ;").split("; ")):
                name = "_".join(re.findall(r"[a-z0-9]+", sentence.lower()))
                assert f"def test_{name}" in source, f"{file}: {sentence}"
    assert promises > 20


@pytest.mark.slow
def test_two_builds_at_two_times_give_one_digest(tmp_path):
    pytest.importorskip("setuptools", minversion="77", reason="what builds the wheel")
    digests = []
    for number in range(2):
        source = tmp_path / f"source{number}"
        shutil.copytree(ROOT / "src", source / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        for name in ("pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(ROOT / name, source)
        for path in source.rglob("*"):
            os.utime(path, (1_700_000_000 + 1000 * number,) * 2)
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
        command += ["--wheel-dir", str(tmp_path / f"dist{number}"), str(source)]
        environment = {**os.environ, "SOURCE_DATE_EPOCH": "1700000000", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        subprocess.run(command, check=True, env=environment, cwd=tmp_path)
        (wheel,) = (tmp_path / f"dist{number}").iterdir()
        digests.append(hashlib.sha256(wheel.read_bytes()).hexdigest())
    assert digests[0] == digests[1]
