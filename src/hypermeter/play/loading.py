"""Players from files: a shipped model, a checkpoint, a training run, an exported folder."""

from pathlib import Path

from hypermeter.core.errors import HypermeterError
from hypermeter.core.kit import Kit
from hypermeter.io.checkpoint import checkpoint_errors, find_checkpoint, read_checkpoint, shipped_models
from hypermeter.play.network import NumpyNetwork
from hypermeter.play.player import Player


def load_player(name_or_path: str | Path, kit: str | None = None) -> Player:
    """Return the player of a model: of a shipped name, a checkpoint, a training run, or an exported folder.

    Args:
        name_or_path: as for `hypermeter.load`; or a folder that `hypermeter export` wrote, which ONNX Runtime plays.
        kit: where given, the name of the kit that the model must have.

    Raises:
        HypermeterError: not there, damaged, or of another kit.
    """
    name = Path(name_or_path).name.removesuffix(".safetensors")
    folder = Path(name_or_path)
    is_shipped = isinstance(name_or_path, str) and name_or_path in shipped_models()
    if (folder / "meta.json").is_file() and not is_shipped:
        from hypermeter.play.exported import OnnxNetwork

        return Player(OnnxNetwork.read(folder, kit), name)
    path = find_checkpoint(name_or_path)
    with checkpoint_errors(path):
        network = NumpyNetwork(read_checkpoint(path, kit))
    return Player(network, name)


def kit_of(player: Player) -> Kit:
    """Return the kit of a player.

    Raises:
        HypermeterError: it has none.
    """
    if player.kit is None:
        raise HypermeterError(f"{player.name}: no kit in it, so its voices have no pitches; train it with --kit")
    return player.kit
