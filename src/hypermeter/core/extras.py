"""Packages that only some of the work needs, and the extra of this package that installs each."""

from collections.abc import Iterator
from contextlib import contextmanager

from hypermeter.core.errors import HypermeterError

EXTRAS = (
    {"torch": "train", "lightning": "train", "tensorboard": "train", "matplotlib": "plot", "gymnasium": "rl"}
    | dict.fromkeys(("mido", "rtmidi", "pythonosc"), "live")
    | dict.fromkeys(("fastapi", "uvicorn"), "serve")
    | dict.fromkeys(("onnx", "onnxruntime", "onnxscript"), "onnx")
)
"""Package that may be missing -> the extra that installs it."""


class MissingPackageError(HypermeterError, ModuleNotFoundError):
    """A package of an extra is not installed. ``name`` is the package's."""


@contextmanager
def needs(what: str, of_torch: str = "train") -> Iterator[None]:
    """Say in one line which extra to install where an import in the block finds a package of EXTRAS missing.

    Args:
        what: needs the package; the line begins with it. Of blocks in each other the outermost says it.
        of_torch: the extra that is named where torch is missing: torch alone, or train with all that training needs.

    Raises:
        MissingPackageError: such a package is missing. One of no extra is a ``ModuleNotFoundError``, as it was.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRAS:
            raise
        extra = of_torch if package == "torch" else EXTRAS[package]
        how = f'pip install "hypermeter[{extra}]", or in its folder pip install -e ".[{extra}]"'
        raise MissingPackageError(f"{what} needs {package}; {how}", name=package) from error
