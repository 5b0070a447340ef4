"""The ``export`` command: its options come without PyTorch, which its ONNX graphs need."""

from pathlib import Path
from typing import Annotated, Literal

import tyro


def export_command(
    out: Annotated[Path, tyro.conf.arg(metavar="OUT")],
    model: str = "groove",
    format: Literal["onnx", "page"] = "onnx",
    int8: bool = False,
) -> Path:
    """Write a model as ONNX graphs for other programs, or for the page.

    Args:
        out: folder to write; of a page, its folder model.
        model: a shipped model, a .safetensors file, or a training run.
        format: onnx, or page: the weights as the page's own engine reads them, without PyTorch.
        int8: store weights of ONNX graphs in eight bits: about a third of the size, a little less like the model.

    Raises:
        HypermeterError: a model that cannot be read or exported, a folder that cannot be written, int8 for the page.
    """
    from hypermeter.core.errors import HypermeterError
    from hypermeter.core.files import check_folder

    check_folder(out)
    if format == "page":
        from hypermeter.share.page_model import export_page_model

        if int8:
            raise HypermeterError("int8 is of ONNX graphs; leave it out with --format page")
        export_page_model(model, out)
        files = {path.name: path.stat().st_size for path in sorted(out.iterdir())}
    else:
        from hypermeter.io.checkpoint import name_of_model
        from hypermeter.model.hierarchical import load
        from hypermeter.share.export import export

        files = export(load(model), out, name_of_model(model), int8)["files"]
    for file, size in files.items():
        print(f"{file:18}{size / 1e6:6.2f} MB")
    return out
