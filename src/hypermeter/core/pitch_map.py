"""Maps: the instrument that each MIDI pitch of a device or a library plays."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from hypermeter.core.errors import HypermeterError
from hypermeter.core.shipped import shipped_text
from hypermeter.core.yaml_file import parse_yaml, read_text

MAPS = (
    "gm", "xg", "gs_brush", "td17", "td50", "alesis_nitro", "dtx502", "dtxplorer", "superior3", "ezdrummer3",
    "addictive2", "addictive2_brushes", "bfd3", "ssd5", "ggd_invasion", "ggd_modern_massive", "ggd_p4", "logic",
    "logic_brushes", "hydrogen",
)  # fmt: skip
"""Names of the shipped maps. `gm` is General MIDI, in which kits are defined."""

_FORM = "pitches: {snare: [38], snare/rim: [40]}"


@dataclass(frozen=True)
class Instrument:
    """An instrument that maps name.

    Args:
        gm: the General MIDI pitches that stand for it, the nearest first; none for what is no hit of a kit.
        share: how often it is played, of 1,000 hits.
    """

    gm: tuple[int, ...]
    share: float


@dataclass(frozen=True)
class PitchMap:
    """What the pitches of a device or a library play.

    Args:
        name: the name in a kit's text, as td17 in gm10:td17.
        instruments: MIDI pitch -> name of an instrument, with how it is played after a slash, as in snare/edge. The
            first pitch of an instrument is the one that is written.
        title: name of the device.
        version: version of the device and of its layout.
        source: where the pitches are from.
        unverified: what could not be verified, and what is left out.
        hints: words in names of files and tracks that speak for the device, in lower case.
    """

    name: str
    instruments: Mapping[int, str]
    title: str = ""
    version: str = ""
    source: str = ""
    unverified: str = ""
    hints: tuple[str, ...] = ()

    def instrument(self, pitch: int) -> Instrument | None:
        """Return the instrument of a pitch, however it is played; `None` where the map has none."""
        name = self.instruments.get(pitch)
        return None if name is None else instruments()[name.partition("/")[0]]

    def to_gm(self, pitch: int) -> int:
        """Return the General MIDI pitch that stands for a pitch; the pitch itself where there is none."""
        instrument = self.instrument(pitch)
        return instrument.gm[0] if instrument and instrument.gm else pitch


@lru_cache
def instruments() -> dict[str, Instrument]:
    """Return the instruments by their names, from kits/instruments.yaml."""
    text = shipped_text("kits", "instruments.yaml")
    entries = parse_yaml(text, "instruments", "kick: {gm: [36], share: 100}")
    return {name: Instrument(tuple(entry["gm"]), entry["share"]) for name, entry in entries.items()}


def load_map(name_or_path: str) -> PitchMap:
    """Return a shipped map by its name, or one from a YAML file, whose `pitches` lists the pitches of each instrument.

    Raises:
        HypermeterError: no such map or file, or a file that defines no map.
    """
    if name_or_path in MAPS:
        return _shipped(name_or_path)
    path = Path(name_or_path)
    if path.suffix.lower() not in (".yaml", ".yml"):
        raise HypermeterError(
            f"map {name_or_path}: no such map; expected auto, {', '.join(MAPS)}, or the path of a .yaml file"
        )
    return _parse_map(path.stem, read_text(path, "map"), str(path))


@lru_cache
def _shipped(name: str) -> PitchMap:
    return _parse_map(name, shipped_text("kits", "maps", f"{name}.yaml"), f"map {name}")


def _parse_map(name: str, text: str, where: str) -> PitchMap:
    entries = parse_yaml(text, where, _FORM)
    fields = {"title", "version", "source", "unverified", "names", "pitches"}
    if unknown := set(map(str, entries)) - fields:
        raise HypermeterError(f"{where}: unknown field {min(unknown)!r}, expected some of {', '.join(sorted(fields))}")
    lists = entries.get("pitches")
    if not isinstance(lists, dict) or not lists:
        raise HypermeterError(f"{where}: no pitches; write them as {_FORM}")
    by_pitch: dict[int, str] = {}
    for instrument, pitches in lists.items():
        if str(instrument).partition("/")[0] not in instruments():
            raise HypermeterError(
                f"{where}: no instrument {instrument!r}; expected some of {', '.join(instruments())}, and how it is"
                " played after a slash"
            )
        if not isinstance(pitches, list) or not pitches:
            raise HypermeterError(f"{where}: {instrument} has no list of pitches; write it as {_FORM}")
        for pitch in pitches:
            if not is_pitch(pitch):
                raise HypermeterError(f"{where}: {instrument} has pitch {pitch!r}, expected a whole number 0-127")
            if pitch in by_pitch:
                raise HypermeterError(
                    f"{where}: pitch {pitch} is in both {by_pitch[pitch]} and {instrument}; keep it in one"
                )
            by_pitch[pitch] = instrument
    title, version, source, unverified = (
        str(entries.get(field, "")).strip() for field in ("title", "version", "source", "unverified")
    )
    hints = tuple(str(hint).lower() for hint in entries.get("names") or ())
    return PitchMap(name, by_pitch, title, version, source, unverified, hints)


def is_pitch(value: Any) -> bool:
    """Return whether a value is a whole number in 0-127."""
    return type(value) is int and 0 <= value <= 127
