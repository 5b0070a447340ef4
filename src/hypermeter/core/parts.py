"""Parts of the model, for training, checkpoints and playing alike."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Parts:
    """Parts that a model may lack, and how far back its attention reaches, for ablations.

    Checkpoints hold the fields by the names of `options`.

    Args:
        bar_attention: attention to the same step of earlier bars.
        recalled_hits: the hits that the bar attention reads change the output's log odds directly.
        positions: step-of-bar and bar-of-phrase embeddings.
        look_back: inputs of the step level from LOOK_BACK_BARS ago, at its step of the bar and just after it.
        bar_level: the bar level's output at the step level. The bar forecast is made in any case.
        phrase_level: likewise for phrases.
        attention_bars: window of the bar attention, in bars, at least 1.
        attention_window: window of Transformer encoders, in elements of their level, at least 1.
        place_table: positions from a table of the steps of one phrase, as earlier models have them, which serve one
            grid; not from what the places are, which serves all.
    """

    bar_attention: bool = True
    recalled_hits: bool = True
    positions: bool = True
    look_back: bool = True
    bar_level: bool = True
    phrase_level: bool = True
    attention_bars: int = 32
    attention_window: int = 256
    place_table: bool = False

    def options(self) -> dict[str, Any]:
        """Return the fields by the names that checkpoints have for them: `use_` before those of parts."""
        return {option_name(name): value for name, value in vars(self).items()}

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> "Parts":
        """Return the parts of a checkpoint's options; a field that they lack has its default.

        Checkpoints of earlier models do not name their table of places.
        """
        names = {name: option_name(name) for name in vars(cls())}
        options = {option_name("place_table"): True} | dict(options)
        return cls(**{name: options[option] for name, option in names.items() if option in options})


def describe_part(option: str) -> str | None:
    """Return what to write in place of `use_look_back=...` and the like; `None` for another option."""
    names = [name for name in vars(Parts()) if option_name(name) == option]
    return f"pass parts=Parts({names[0]}=...), of hypermeter.model" if names else None


def option_name(name: str) -> str:
    """Return the name that checkpoints have for a field of `Parts`."""
    return name if name.startswith("attention_") else f"use_{name}"
