"""Files of YAML: kits, maps, controls, feels, rewards."""

from functools import cache
from importlib import resources
from pathlib import Path
from random import Random
from typing import Any

import yaml

from .odd import ODD_TEXTS, changed, encoded, odd_value, text_mutated
from .reader import Reader

_SIGNS = (
    ":", "- ", "[", "]", "{", "}", ",", "\n", "\n  ", "&a ", "*a", "!!python/none ", "!x ", "!!binary ", "? ", "| ",
    "> ", "# ",
    "2026-11-30", "12:30:45", "0b1", "0x_", "1_000", ".inf", "-.nan", "<<: ", "=", "---\n", "%YAML 3.0\n", "'", '"',
    "\t", "~",
    "[" * 100, "{a: " * 30, "9" * 100, "yes", "\\x", "0o7", "+.5e9",
)  # fmt: skip
_REWARDS: tuple[dict[str, Any], ...] = (
    {"terms": [{"metric": "density", "level": "bar", "target": 0.12, "scale": 0.02, "weight": 1}], "normalise": True},
    {"terms": [{"metric": "lhl", "want": "more", "undefined": -1, "voices": ["kick", "snare"]}]},
    {"terms": [{"metric": "groove_consistency", "level": "phrase", "band": [0.9, 0.97], "scale": 0.05}]},
    {"terms": [], "style": {"folder": "nowhere", "level": "bar", "metrics": ["avg_hits"]}},
)
_CONTROLS = ({"cc 64": "fill", "cc 1": "temperature", "note 36": "style/rock", "program 3": "section/A"},)


@cache
def _shipped(folder: str) -> tuple[str, ...]:
    files = (resources.files("hypermeter") / folder).iterdir()
    return tuple(sorted(file.read_text("utf-8") for file in files if file.name.endswith(".yaml")))


def _text(random: Random, texts: tuple[str, ...]) -> bytes:
    """Return one of some texts with other values in its tree, or with other signs."""
    text = random.choice(texts)
    if random.random() < 0.5:
        return encoded(text_mutated(random, text, _SIGNS))
    value = changed(random, yaml.safe_load(text)) if random.random() < 0.9 else odd_value(random)
    try:
        return encoded(yaml.safe_dump(value, sort_keys=False, allow_unicode=True))
    except Exception:  # such as surrogates, which YAML has not
        return encoded(f"{random.choice(ODD_TEXTS)}: {random.choice(ODD_TEXTS)}\n")


def _dumped(values: tuple[dict[str, Any], ...]) -> tuple[str, ...]:
    return tuple(yaml.safe_dump(value) for value in values)


def _written(content: bytes, folder: Path) -> Path:
    path = folder / "a.yaml"
    path.write_bytes(content)
    return path


def read_kit(content: bytes, folder: Path) -> None:
    from hypermeter.core.kit import load_kit

    kit = load_kit(_written(content, folder))
    load_kit(kit.to_dict())
    assert kit.record and kit.streams and kit.columns.shape == (128,)


def read_map(content: bytes, folder: Path) -> None:
    from hypermeter.core.kit import load_kit

    load_kit(f"gm10:{_written(content, folder)}")


def read_controls(content: bytes, folder: Path) -> None:
    from hypermeter.share.live.control_map import read_map as read

    read(_written(content, folder))


def read_feel(content: bytes, folder: Path) -> None:
    from hypermeter.core.yaml_file import read_text
    from hypermeter.music.feel_files import parse_feel

    parse_feel(read_text(_written(content, folder), "feel"), "a", "feel a")


def read_reward(content: bytes, folder: Path) -> None:
    import torch

    from hypermeter.core.grid import Grid
    from hypermeter.core.kit import load_kit
    from hypermeter.learn.rl import load_reward

    reward = load_reward(_written(content, folder), kit=load_kit("gm10"))
    paid = reward(torch.zeros(1, 64, 10), Grid())
    assert paid.isfinite().all(), "a reward that is not finite"


READERS = (
    Reader("kit", lambda random: _text(random, _shipped("kits")), read_kit),
    Reader("map", lambda random: _text(random, _shipped("kits/maps")[:6]), read_map, 0.5),
    Reader("controls", lambda random: _text(random, _dumped(_CONTROLS)), read_controls, 0.5),
    Reader("feel", lambda random: _text(random, _shipped("feels")[:3]), read_feel, 0.4),
    Reader("reward", lambda random: _text(random, _dumped(_REWARDS)), read_reward),
)
