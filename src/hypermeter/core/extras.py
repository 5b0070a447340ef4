"""Optional packages, and the extra of this package that installs each of them."""

from collections.abc import Iterator
from contextlib import contextmanager

from hypermeter.core.errors import HypermeterError

EXTRAS = (
    {"torch": "train", "lightning": "train", "tensorboard": "train", "matplotlib": "plot", "gymnasium": "rl"}
    | dict.fromkeys(("mido", "rtmidi", "pythonosc"), "live")
    | dict.fromkeys(("fastapi", "uvicorn"), "serve")
    | dict.fromkeys(("onnx", "onnxruntime", "onnxscript"), "onnx")
    | dict.fromkeys(("pyarrow", "fsspec"), "shards")
    | {"ray": "ray", "s3fs": "cloud", "link": "link"}
)
"""Optional package -> the extra that installs it."""


class MissingPackageError(HypermeterError, ModuleNotFoundError):
    """An optional package is not installed; `name` is that of the package."""


@contextmanager
def needs(what: str, of_torch: str = "train") -> Iterator[None]:
    """Name the extra to install if an import in the block fails because a package of EXTRAS is missing.

    Args:
        what: what needs the package: the start of the message. Of nested blocks the outermost gives the message.
        of_torch: the extra to name for torch.

    Raises:
        MissingPackageError: a package of EXTRAS is missing. For any other package the `ModuleNotFoundError` is kept.
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
