"""Drumming modelled at three levels: step, bar and phrase.

A public name is imported when it is first used, so that the command line starts without PyTorch, which only learning
needs.
"""

from importlib import import_module
from typing import Any

from hypermeter import _moved
from hypermeter.core import notebook
from hypermeter.core.extras import needs

__version__ = "0.1.0"

_HOMES = {
    "Grid": "core.grid",
    "Groove": "core.groove",
    "HypermeterError": "core.errors",
    "Kit": "core.kit",
    "load_kit": "core.kit",
    "read_midi": "io.midi",
    "write_midi": "io.midi",
    "plot": "share.pictures",
    "render_wav": "share.sound",
    "to_tidal": "io.notation",
    "from_tidal": "io.notation",
    "to_strudel": "io.notation",
    "from_strudel": "io.notation",
    "METRICS": "music.metrics",
    "Feel": "music.feel",
    "Player": "play.player",
    "load_player": "play.loading",
    "continue_groove": "play.compose",
    "fill_groove": "play.compose",
    "vary_groove": "play.compose",
    "follow_groove": "play.follow",
    "morph_grooves": "play.morph",
    "FollowOptions": "play.request",
    "draw_takes": "play.takes",
    "SamplingOptions": "play.request",
    "InfillOptions": "play.request",
    "PlanOptions": "play.request",
    "CompleteHierarchicalDrumDataset": "learn.dataset",
    "get_complete_rl_dataloader": "learn.dataset",
    "compute_loss": "model.losses",
    "HierarchicalDrumModel": "model.hierarchical",
    "load": "model.hierarchical",
    "Plan": "play.plan",
    "make_plan": "play.plan",
}
"""Public name -> module that defines it."""

_moved.install()


def _groove_html(groove: Any) -> str:
    return import_module("hypermeter.share.display").groove_html(groove)


notebook.groove_html = _groove_html


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'hypermeter' has no attribute {name!r}{_hint(name)}")
    with needs(f"hypermeter.{name}", of_torch="torch"):
        return getattr(import_module(f"hypermeter.{_HOMES[name]}"), name)


def _hint(name: str) -> str:
    """Return the end of the message about a missing attribute: the public name nearest to it, if one is near."""
    from difflib import get_close_matches  # here, as only this error is worth the time of the import

    lower = {public.lower(): public for public in _HOMES}
    nearest = get_close_matches(name.lower(), lower, 1, 0.5)
    return f"; did you mean {lower[nearest[0]]!r}?" if nearest else "; dir(hypermeter) lists the public names"


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
