"""Drumming modelled at three levels: step, bar and phrase.

The names below are imported when they are first used, so that the command line starts without torch. Functions that
share their module's name are found there: ``from hypermeter.generate import generate``.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "Grid": "grid",
    "Groove": "grid",
    "HypermeterError": "grid",
    "Kit": "kit",
    "load_kit": "kit",
    "read_midi": "midi",
    "write_midi": "midi",
    "plot": "render",
    "render_wav": "sound",
    "to_tidal": "notation",
    "from_tidal": "notation",
    "to_strudel": "notation",
    "from_strudel": "notation",
    "METRICS": "metrics",
    "CompleteHierarchicalDrumDataset": "dataset",
    "get_complete_rl_dataloader": "dataset",
    "compute_loss": "losses",
    "HierarchicalDrumModel": "model",
    "load": "model",
    "Plan": "plan",
    "make_plan": "plan",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'hypermeter' has no attribute {name!r}")
    return getattr(import_module(f"hypermeter.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
