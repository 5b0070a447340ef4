"""Named feels: the YAML files of the package, of figures only."""

import json
import math
from collections.abc import Mapping
from difflib import get_close_matches
from functools import lru_cache
from importlib import resources
from typing import Any

import numpy as np

from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.core.groove import Groove
from hypermeter.core.kit import Kit, load_kit
from hypermeter.core.shipped import shipped_text
from hypermeter.core.yaml_file import parse_yaml
from hypermeter.music.feel import Cells, Feel

USUAL = 0.5
"""Share of the bars from which a cell belongs to the bar by which a named feel primes a model."""

_FORM = "snare: {hits: [0, 0, 0, 0, 1, ...], velocity: [...], offset: [...], spread_ms: 8}"


@lru_cache(maxsize=1)
def feel_names() -> tuple[str, ...]:
    """Return the names of the feels of the package: those by hand, then the drummers by number."""
    found = [file.name.removesuffix(".yaml") for file in (resources.files("hypermeter") / "feels").iterdir()]
    names = [name for name in found if not name.startswith(("_", "."))]
    return tuple(sorted(names, key=lambda name: (name[-1].isdigit(), len(name) * name[-1].isdigit(), name)))


def load_feel(name: str) -> Feel:
    """Return a feel of the package.

    Args:
        name: one of `feel_names`; case counts for nothing, and a space is a hyphen.

    Raises:
        HypermeterError: no feel of that name; the message names the nearest, or all.
    """
    plain = _plain(name)
    if plain not in feel_names():
        raise HypermeterError(f"{name}: no such feel{advice_for(plain)}")
    return _load(plain)


@lru_cache(maxsize=64)
def _load(name: str) -> Feel:
    text = shipped_text("feels", f"{name}.yaml")
    return parse_feel(text, name, f"feel {name}")


def is_feel(name: str) -> bool:
    """Return whether `load_feel` knows a name."""
    return _plain(name) in feel_names()


def _plain(name: str) -> str:
    return "-".join(name.lower().replace("_", " ").replace("-", " ").split())


def advice_for(name: str) -> str:
    """Return what to say after a name that no feel has."""
    near = get_close_matches(name, feel_names(), 1, 0.5)
    return f"; did you mean {near[0]}?" if near else f"; expected one of {', '.join(feel_names())}"


def parse_feel(text: str, name: str, where: str) -> Feel:
    """Return the feel that a YAML text holds.

    Args:
        text: the YAML, see `feel_text`.
        name: of the feel.
        where: for errors.

    Raises:
        HypermeterError: no YAML, or numbers that do not fit.
    """
    fields = parse_yaml(text, where, _FORM)
    try:
        grid = Grid.of_metre(str(fields["metre"]), fields["steps_per_beat"])
        kit = load_kit(str(fields["kit"]))
        voices: Mapping[str, Mapping[str, Any]] = fields["voices"]
        for voice in voices:
            kit.column_of(voice, where)
        voices = {voice: voices.get(voice, {}) for voice in kit.names}
        bars = float(fields["bars"])
        count, velocity, offset = (_columns(voices, key, grid.steps_per_bar) for key in ("hits", "velocity", "offset"))
        spreads = [
            np.array([float(voice.get(key, math.nan)) for voice in voices.values()])
            for key in ("velocity_spread", "spread_ms")
        ]
        shift_ms, drift_ms = float(fields.get("shift_ms", 0)), float(fields.get("drift_ms", math.nan))
        tempo_bpm, about = float(fields["tempo_bpm"]), str(fields.get("about", ""))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise HypermeterError(f"{where}: {error}; expected metre, tempo_bpm, bars and voices, as {_FORM}") from error
    count = np.nan_to_num(count)
    velocity, offset = (np.where(count > 0, values, np.nan) for values in (velocity, offset))
    take = _usual_bar(count, velocity, offset, grid, tempo_bpm, kit)
    return Feel(
        name,
        kit.names,
        grid,
        tempo_bpm,
        bars,
        count * bars,
        velocity,
        offset,
        shift_ms,
        spreads[0],
        spreads[1],
        drift_ms,
        take,
        about,
    )


def _columns(voices: Mapping[str, Mapping[str, Any]], key: str, size: int) -> Cells:
    """Return the numbers of all voices, (size, V), NaN where one has none."""
    columns = []
    for name, voice in voices.items():
        values = voice.get(key, [math.nan] * size)
        if len(values) != size:
            raise ValueError(f"{name} has {len(values)} numbers of {key}, the bar {size} steps")
        columns.append([math.nan if value is None else float(value) for value in values])
    return np.array(columns).T


def _usual_bar(share: Cells, velocity: Cells, offset: Cells, grid: Grid, tempo_bpm: float, kit: Kit) -> Groove | None:
    """Return a bar of the cells that sound in most bars, as loud and as late as their means; `None` without such."""
    hits = (share >= USUAL) & ~np.isnan(velocity) & ~np.isnan(offset)
    if not hits.any():
        return None
    loudness, lateness = (np.where(hits, values, 0) for values in (velocity, offset))
    return Groove(hits, loudness, lateness, tempo_bpm, kit, grid)


def feel_text(feel: Feel, kit: str = "gm10", notes: tuple[str, ...] = ()) -> str:
    """Return a feel as YAML, without its take.

    Args:
        feel: of the voices of the kit.
        kit: the name of a kit of the package.
        notes: lines of comment at the top.
    """
    lines = [*(f"# {note}" for note in notes), f"about: {json.dumps(feel.about)}"]
    lines += [f"kit: {kit}", f"metre: {feel.grid.metre}", f"steps_per_beat: {feel.grid.steps_per_beat}"]
    lines += [f"tempo_bpm: {feel.tempo_bpm:.1f}", f"bars: {feel.bars:g}", f"shift_ms: {feel.shift_ms:.2f}"]
    if not math.isnan(feel.drift_ms):
        lines.append(f"drift_ms: {feel.drift_ms:.2f}")
    lines.append("voices:")
    for column, voice in enumerate(feel.voices):
        if not feel.count[:, column].any():
            continue
        lines.append(f"  {voice}:")
        means = {"hits": feel.count / feel.bars, "velocity": feel.velocity, "offset": feel.offset}
        for key, cells in means.items():
            if not np.isnan(cells[:, column]).all():
                numbers = ("null" if math.isnan(x) else f"{round(x, 3):g}" for x in cells[:, column].tolist())
                lines.append(f"    {key}: [{', '.join(numbers)}]")
        for key, spread in (("velocity_spread", feel.velocity_spread), ("spread_ms", feel.spread_ms)):
            if not math.isnan(spread[column]):
                lines.append(f"    {key}: {spread[column]:.3g}")
    return "\n".join(lines) + "\n"
