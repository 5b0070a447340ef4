"""The ``export`` command: its options come without PyTorch, which it then needs."""

from pathlib import Path
from typing import Annotated

import tyro


def export_command(
    out: Annotated[Path, tyro.conf.arg(metavar="OUT")],
    model: str = "groove",
    int8: bool = False,
) -> Path:
    """Write a model as ONNX graphs, for the page and for other programs.

    Args:
        out: folder to write.
        model: groove, a .safetensors file, or a training run.
        int8: store weights in eight bits: a third of the size, a little less like the model.

    Raises:
        HypermeterError: a model that cannot be read or exported, a folder that cannot be written.
    """
    from hypermeter.core.files import check_folder
    from hypermeter.model.hierarchical import load
    from hypermeter.share.export import export

    check_folder(out)
    path = Path(model)
    name = path.stem if path.suffix == ".safetensors" else path.name
    meta = export(load(model), out, name, int8)
    for file, size in meta["files"].items():
        print(f"{file:18}{size / 1e6:6.2f} MB")
    return out
