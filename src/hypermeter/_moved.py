"""Import paths of earlier versions: a module that moved is found under its old name, and each use says where it is."""

import sys
import warnings
from collections.abc import Sequence
from importlib import import_module, util
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

MOVED: dict[str, tuple[str, ...]] = {
    "grid": ("core.grid", "core.groove", "core.errors", "core.files", "core.limits"),
    "kit": ("core.kit",),
    "limits": ("core.limits",),
    "tracks": ("core.tracks",),
    "midi": ("io.midi",),
    "notation": ("io.notation",),
    "render": ("share.pictures", "io.ascii"),
    "sound": ("share.sound",),
    "display": ("share.display",),
    "download": ("learn.download",),
    "duplicates": ("music.duplicates",),
    "prepare": ("learn.prepare",),
    "metrics": ("music.metrics",),
    "compare": ("music.compare",),
    "segment": ("music.segment",),
    "plan": ("model.plan",),
    "plan_arrays": ("play.plan",),
    "dataset": ("learn.dataset", "io.npz"),
    "encoders": ("model.encoders",),
    "heads": ("model.heads",),
    "losses": ("model.losses",),
    "expression": ("model.expression",),
    "perform": ("model.perform",),
    "generate": ("model.generate",),
    "infill": ("model.infill",),
    "checkpoint": ("io.checkpoint",),
    "state": ("model.state",),
    "levels": ("model.levels",),
    "inspection": ("share.inspection",),
    "report": ("share.report",),
    "analyse": ("share.analyse",),
    "evaluate": ("learn.evaluate",),
    "train": ("learn.train",),
    "rl": ("learn.rl",),
    "humanize": ("play.humanize",),
    "compose": ("play.compose", "cli.generate"),
    "runtime": ("play.runtime",),
    "export": ("share.export",),
    "live": ("share.live",),
    "serve": ("share.serve",),
    "demo": ("cli.demo",),
}
"""Module of an earlier version, below the package -> the modules that hold its names now."""


class _Alias(ModuleType):
    """A module under its old name: it takes each name from the modules that hold it now."""

    def __init__(self, name: str, homes: Sequence[str]):
        super().__init__(name, f"Moved to {', '.join(homes)}.")
        self.__path__: list[str] = []
        self._homes = tuple(homes)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        for home in self._homes:
            module = import_module(home)
            if hasattr(module, name):
                warnings.warn(f"{self.__name__}.{name} moved to {home}.{name}", DeprecationWarning, stacklevel=2)
                return getattr(module, name)
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}; it moved to {self._homes[0]}")


class _Finder(MetaPathFinder, Loader):
    """Finds modules of MOVED, and those below them."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        package, _, rest = fullname.partition(".")
        first, _, below = rest.partition(".")
        if package != __package__ or first not in MOVED:
            return None
        homes = [f"{package}.{home}" for home in MOVED[first]]
        if below:
            homes = [f"{homes[0]}.{below}"]
            if util.find_spec(homes[0]) is None:
                return None
        return ModuleSpec(fullname, self, loader_state=homes, is_package=True)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Alias(spec.name, spec.loader_state)

    def exec_module(self, module: ModuleType) -> None:
        pass


def install() -> None:
    """Find moved modules from now on."""
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.append(_Finder())
