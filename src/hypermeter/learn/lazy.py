"""Packages whose names are imported when they are first used, so that a command's help needs no PyTorch."""

import ast
import inspect
import sys
from importlib import import_module
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any, ClassVar

from hypermeter.core.extras import needs


def offer(package: str, of_torch: str = "train") -> None:
    """Import the names that a package imports below ``if TYPE_CHECKING`` when they are first used.

    Where a package of an extra is missing, these names and the package's modules raise one line with the extra.

    Args:
        package: its ``__name__``.
        of_torch: the extra that errors name where torch is missing.
    """
    module = sys.modules[package]
    tree = ast.parse(inspect.getsource(module))
    blocks = [node for node in tree.body if isinstance(node, ast.If)]
    imports = [node for node in ast.walk(blocks[0]) if isinstance(node, ast.ImportFrom)]
    module.__dict__["_homes"] = {alias.name: node.module for node in imports for alias in node.names}
    module.__dict__["_of_torch"] = of_torch
    module.__class__ = _Package
    _Finder.extras[package] = of_torch
    if _Finder not in sys.meta_path:
        sys.meta_path.insert(0, _Finder)


class _Finder:
    """Find the modules of the packages that `offer` was called for; a missing package is named with its extra."""

    extras: ClassVar[dict[str, str]] = {}
    """Package -> the extra that errors name where torch is missing."""

    @classmethod
    def find_spec(cls, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        of_torch = cls.extras.get(fullname.rpartition(".")[0])
        spec = None if of_torch is None else PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.loader is None or of_torch is None:
            return None
        execute = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            with needs(fullname, of_torch):
                execute(module)

        spec.loader.exec_module = exec_module
        return spec


class _Package(ModuleType):
    _homes: dict[str, str]
    _of_torch: str

    def __getattr__(self, name: str) -> Any:
        if name not in self.__dict__["_homes"]:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        with needs(f"{self.__name__}.{name}", self.__dict__["_of_torch"]):
            return getattr(import_module(self._homes[name]), name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self._homes and isinstance(value, ModuleType):
            return  # Of a function and a module of one name, the package offers the function.
        super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted([*super().__dir__(), *self._homes])
