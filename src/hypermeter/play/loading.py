"""Players from files: a shipped model, a checkpoint, a training run, an exported folder."""

from pathlib import Path

import numpy as np

from hypermeter.core.errors import HypermeterError, shorten
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

        player = Player(OnnxNetwork.read(folder, kit), name)
        try:
            _try(player)
        except HypermeterError:
            raise
        except Exception as error:  # the exceptions of ONNX Runtime have no common base class
            reason = shorten(str(error).partition("\n")[0] or type(error).__name__, 200)
            raise HypermeterError(f"{folder}: its graphs do not run ({reason}); export the model again") from error
        return player
    path = find_checkpoint(name_or_path)
    with checkpoint_errors(path):
        player = Player(NumpyNetwork(read_checkpoint(path, kit)), name)
        _try(player)
    return player


def _try(player: Player) -> None:
    """Play a bar and a step, so that a model whose parts do not fit each other is refused where it is loaded."""
    network = player.network
    state, silence = network.start(1), np.zeros((1, network.width), np.float32)
    for _ in range(network.grid.steps_per_bar + 1):
        state = network.advance(silence, state)
    probs = state.dist.probs
    if probs.shape != (1, network.width) or not np.isfinite(probs).all():
        raise ValueError(f"a step of shape {probs.shape[1:]}, expected ({network.width},) of finite numbers")
    if network.expression is not None:
        network.expression.start(1)


def kit_of(player: Player) -> Kit:
    """Return the kit of a player.

    Raises:
        HypermeterError: it has none.
    """
    if player.kit is None:
        raise HypermeterError(f"{player.name}: no kit in it, so its voices have no pitches; train it with --kit")
    return player.kit
