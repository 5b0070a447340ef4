"""The package without extras: small, and without PyTorch."""

from importlib import import_module, metadata
from importlib.util import find_spec

import pytest
from packaging.requirements import Requirement

import hypermeter

MOST_MB = 150


def core_packages():
    """The names of what is installed with the package where no extra is asked for, without the package itself."""
    packages, waiting = set(), ["hypermeter"]
    while waiting:
        name = waiting.pop()
        for line in metadata.requires(name) or []:
            requirement = Requirement(line)
            needed = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
            if needed and requirement.name not in packages:
                packages.add(requirement.name)
                waiting.append(requirement.name)
    return packages


def test_the_core_needs_no_torch_and_at_most_150_mb():
    names = core_packages()
    assert "numpy" in names and "torch" not in names
    files = [file.locate() for name in names for file in metadata.files(name) or []]
    assert sum(path.stat().st_size for path in files if path.is_file()) < MOST_MB * 1e6


needs_no_torch = pytest.mark.skipif(find_spec("torch") is not None, reason="PyTorch is installed; run make test-player")


@needs_no_torch
@pytest.mark.parametrize("name", ["hypermeter.model", "hypermeter.model.heads", "hypermeter.learn.dataset"])
def test_a_module_that_needs_torch_says_what_to_install(name):
    with pytest.raises(ImportError, match=r'needs torch; pip install "hypermeter\[torch\]"') as error:
        import_module(name)
    assert isinstance(error.value, hypermeter.HypermeterError) and error.value.name == "torch"


@needs_no_torch
@pytest.mark.parametrize("name", ["HierarchicalDrumModel", "CompleteHierarchicalDrumDataset", "compute_loss"])
def test_a_name_that_needs_torch_says_what_to_install(name):
    with pytest.raises(ImportError, match=rf'hypermeter\.{name} needs torch; pip install "hypermeter\[torch\]"'):
        getattr(hypermeter, name)


@needs_no_torch
@pytest.mark.parametrize(
    ("package", "name", "extra"),
    [("train", "train", "train"), ("rl", "Reward", "rl"), ("evaluate", "evaluate", "train")],
)
def test_what_learns_says_what_to_install(package, name, extra):
    with pytest.raises(ImportError, match=rf'needs torch; pip install "hypermeter\[{extra}\]"'):
        getattr(import_module(f"hypermeter.learn.{package}"), name)
