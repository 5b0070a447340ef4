"""Drum kits: the MIDI pitches that each voice is read from, and the one it is written with.

The pitches of a kit are those of General MIDI; a map (`core.pitch_map`) puts those of a device in their place.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from hypermeter.core.errors import HypermeterError, shorten
from hypermeter.core.pitch_map import MAPS, instruments, is_pitch, load_map
from hypermeter.core.shipped import shipped_text
from hypermeter.core.yaml_file import parse_yaml, read_text

KITS = ("gm10", "gm16", "magenta9", "gm")
"""Names of the shipped kits."""

_BASS_DRUMS = {35, 36}
_SKINS = {37, 38, 39, 40, 41, 43, 45, 47, 48, 50, 60, 61, 62, 63, 64, 65, 66}
_HATS = {22, 26, 42, 44, 46}
_CYMBALS = {22, 26, 42, 44, 46, 49, 51, 52, 53, 55, 57, 59}

MAX_NAME = 100
"""Characters of the longest name of a kit or voice."""

_FORM = "snare: {class_id: 1, pitches: [38, 40]}"


@dataclass(frozen=True)
class Voice:
    """A voice: one column of a groove.

    Args:
        name: the name, without spaces, | and #.
        pitches: MIDI pitches in 0-127 that are read as this voice.
        write: the one of them with which it is written.
    """

    name: str
    pitches: tuple[int, ...]
    write: int


@dataclass(frozen=True)
class Kit:
    """Voices in the order of a groove's columns.

    Args:
        name: the name; of a kit with a map, as gm10:td17.
        voices: the voices.
        base: of a kit with a map, the kit without it.

    Raises:
        HypermeterError: no voices; a name that occurs twice or that the ASCII grid could not read back; a pitch outside
            0-127 or of two voices; a voice whose written pitch is not one of its pitches.
    """

    name: str
    voices: tuple[Voice, ...]
    base: "Kit | None" = None

    def __post_init__(self) -> None:
        where = f"kit {self.name}"
        if len(self.name) > MAX_NAME:
            raise HypermeterError(f"{where[:60]}: a name of {len(self.name)} characters, expected at most {MAX_NAME}")
        if not self.voices:
            raise HypermeterError(f"{where}: no voices; write one a line, as {_FORM}")
        if len(self.voices) > 128:  # of which each has a pitch
            raise HypermeterError(f"{where}: {len(self.voices)} voices, expected at most 128")
        owners: dict[int, str] = {}
        for number, voice in enumerate(self.voices):
            if not re.fullmatch(r"[^\s|#]+", voice.name) or len(voice.name) > MAX_NAME:
                raise HypermeterError(
                    f"{where}: a voice is named {shorten(voice.name, 60)!r}, expected no spaces, | or #, which the"
                    f" ASCII grid cannot read back, and at most {MAX_NAME} characters; rename it"
                )
            if voice.name in self.names[:number]:
                raise HypermeterError(f"{where}: two voices are named {voice.name}; rename one")
            if not voice.pitches:
                raise HypermeterError(f"{where}: {voice.name} has no pitches; write them as {_FORM}")
            for pitch in voice.pitches:
                if not is_pitch(pitch):
                    raise HypermeterError(f"{where}: {voice.name} has pitch {pitch!r}, expected a whole number 0-127")
                if pitch in owners:
                    raise HypermeterError(
                        f"{where}: pitch {pitch} is in both {owners[pitch]} and {voice.name}; keep it in one"
                    )
                owners[pitch] = voice.name
            if voice.write not in voice.pitches:
                raise HypermeterError(f"{where}: {voice.name} writes pitch {voice.write!r}, not one of its pitches")
        if self.base is not None and self.base.names != self.names:
            raise HypermeterError(f"{where}: its voices are not those of {self.base.name}; make it by load_kit")

    @property
    def num_voices(self) -> int:
        return len(self.voices)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(voice.name for voice in self.voices)

    def column_of(self, voice: str, where: str, others: Sequence[str] = ()) -> int:
        """Return the column of a voice.

        Args:
            voice: its name.
            where: the start of the message, such as the name of the option.
            others: names that are also allowed there, for the message.

        Raises:
            HypermeterError: no voice of that name.
        """
        if voice not in self.names:
            expected = ", ".join([*self.names, *others])
            raise HypermeterError(f"{where}: no voice {voice!r} in kit {self.name}; it has {expected}")
        return self.names.index(voice)

    @property
    def without_map(self) -> "Kit":
        """The kit without its map. Kits of models and data are the same kit where these are equal."""
        return self.base or self

    @property
    def gm_pitches(self) -> tuple[int, ...]:
        """The General MIDI pitch of each voice, which says what it is; it is written with `Voice.write`."""
        return tuple(voice.write for voice in self.without_map.voices)

    @cached_property
    def pitch_to_voice(self) -> dict[int, int]:
        """MIDI pitch -> column of its voice."""
        return {pitch: column for column, voice in enumerate(self.voices) for pitch in voice.pitches}

    @cached_property
    def columns(self) -> np.ndarray:
        """(128,): column of the voice of each MIDI pitch, -1 where there is none."""
        return np.array([self.pitch_to_voice.get(pitch, -1) for pitch in range(128)])

    @cached_property
    def hats(self) -> tuple[int, ...]:
        """Columns of the voices of the hi-hat: closed, with the foot, and open."""
        return tuple(column for column, pitch in enumerate(self.gm_pitches) if pitch in _HATS)

    @property
    def streams(self) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        """Columns of the low (bass drums), mid (snares, toms, hand drums) and high (all other) voices."""
        low, mid, high = [], [], []
        for column, pitch in enumerate(self.gm_pitches):
            (low if pitch in _BASS_DRUMS else mid if pitch in _SKINS else high).append(column)
        return tuple(low), tuple(mid), tuple(high)

    @property
    def cymbals(self) -> tuple[int, ...]:
        """Columns of the hi-hats and cymbals."""
        return tuple(column for column, pitch in enumerate(self.gm_pitches) if pitch in _CYMBALS)

    @property
    def record(self) -> str | dict[str, Any]:
        """The form in which files store a kit and `load_kit` takes it.

        The name of a shipped kit, also with a shipped map, as gm10:td17; else `to_dict`.
        """
        return self.name if self._is_shipped else self.to_dict()

    @cached_property
    def _is_shipped(self) -> bool:
        kit, _, pitch_map = self.name.partition(":")
        return kit in KITS and pitch_map in ("", *MAPS) and self == load_kit(self.name)

    def to_dict(self) -> dict[str, Any]:
        voices = [{"name": v.name, "pitches": list(v.pitches), "write": v.write} for v in self.voices]
        base = {} if self.base is None else {"base": self.base.record}
        return {"name": self.name, "voices": voices, **base}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Kit":
        """Return the kit that `to_dict` wrote.

        Raises:
            HypermeterError: a missing field, or values that `Kit` refuses.
        """
        if not isinstance(values, Mapping):
            raise HypermeterError("kit: not a kit's record; expected name and voices")
        try:
            name, voices = values["name"], values["voices"]
            if not isinstance(name, str) or not all(isinstance(voice["name"], str) for voice in voices):
                raise TypeError("a name that is no text")
            base = load_kit(values["base"]) if "base" in values else None
            return cls(name, tuple(Voice(v["name"], tuple(v["pitches"]), v["write"]) for v in voices), base)
        except (KeyError, TypeError) as error:
            raise HypermeterError(f"kit: not a kit's record ({error}); expected name and voices") from error


def load_kit(kit: str | Path | Kit | Mapping[str, Any] = "gm10") -> Kit:
    """Return a kit by its text, by its record, or from a YAML file with lines `voice: {class_id: 3, pitches: [46]}`.

    `class_id` is the column; without it in any line, columns follow the order of the lines. `write` is the pitch that
    is written, the first by default. A list of pitches alone also defines a voice.

    A text is KIT or KIT:MAP. KIT is one of `KITS`, or the path of a YAML file; MAP is one of `MAPS`, or the path of a
    YAML file (`load_map`). A kit with a map reads and writes the pitches of the map's device.

    Args:
        kit: a text; a `Kit`, which is returned; or what `Kit.to_dict` returned.

    Raises:
        HypermeterError: no such kit, map or file, a record or file that defines no kit, or the map auto, which only
            `resolve_kit` chooses.
    """
    if isinstance(kit, Kit):
        return kit
    if isinstance(kit, Mapping):
        return Kit.from_dict(kit)
    kit, pitch_map = split_kit(str(kit))
    if pitch_map == "auto":
        raise HypermeterError(f"kit {kit}:auto: the map can be chosen only for MIDI files; name one, as {kit}:td17")
    return with_map(_load_base(kit), pitch_map or "gm")


def split_kit(text: str) -> tuple[str, str]:
    """Return KIT and MAP of the text of a kit; no map is "", and auto alone is the map of gm10.

    The colon after the letter of a Windows drive belongs to the path, and one in the path of a file that is there too.
    """
    if text == "auto":
        return "gm10", "auto"
    if text.lower().endswith((".yaml", ".yml")) and Path(text).is_file():
        return text, ""
    kit, pitch_map = re.fullmatch(r"((?:[A-Za-z]:(?=[\\/]))?[^:]*):?(.*)", text, re.DOTALL).groups()  # type: ignore[union-attr]
    return kit or "gm10", pitch_map


def _load_base(kit: str) -> Kit:
    if kit in KITS:
        return _shipped(kit)
    path = Path(kit)
    if path.suffix.lower() not in (".yaml", ".yml"):
        raise HypermeterError(f"kit {kit}: no such kit; expected {', '.join(KITS)}, or the path of a .yaml file")
    return _parse_kit(path.stem, read_text(path, "kit"), str(path))


def with_map(kit: Kit, map_name: str) -> Kit:
    """Return a kit that reads and writes the pitches of a map; with gm, the kit without a map.

    A pitch belongs to the voice that reads the first General MIDI pitch of its instrument that the kit reads. A voice
    is written with the pitch of the instrument that its own written pitch is, else of the first of its other pitches
    that the map has. A voice that the map lacks keeps its pitches where the map leaves them free, else a free one.

    Args:
        kit: the kit; a map that it has is left out.
        map_name: one of `MAPS`, or the path of a YAML file.

    Raises:
        HypermeterError: as `load_map`; too few free pitches for the voices that the map lacks.
    """
    kit = kit.without_map
    if map_name == "gm":
        return kit
    pitch_map = load_map(map_name)
    ranked: list[list[tuple[int, int]]] = [[] for _ in kit.voices]
    for pitch, name in pitch_map.instruments.items():
        gm = next((gm for gm in instruments()[name.partition("/")[0]].gm if gm in kit.pitch_to_voice), None)
        if gm is not None:
            voice = kit.voices[column := kit.pitch_to_voice[gm]]
            ranked[column].append((-1 if gm == voice.write else voice.pitches.index(gm), pitch))
    free = [pitch for pitch in range(128) if pitch not in pitch_map.instruments]
    voices = []
    for voice, pairs in zip(kit.voices, ranked, strict=True):
        pitches = tuple(pitch for _, pitch in sorted(pairs, key=lambda pair: pair[0]))
        own = sorted((pitch for pitch in voice.pitches if pitch in free), key=lambda pitch: pitch != voice.write)
        voices.append((voice.name, pitches or tuple(own)))
    unused = [pitch for pitch in free if pitch not in kit.pitch_to_voice]
    lacking = sum(not pitches for _, pitches in voices)
    if lacking > len(unused):
        names = [name for name, pitches in voices if not pitches]
        raise HypermeterError(
            f"kit {kit.name}:{pitch_map.name}: the map has no {', '.join(names[:3])} and {lacking - 3} more voices, and"
            f" leaves {len(unused)} pitches free for them; take gm10:{pitch_map.name} or gm16:{pitch_map.name}"
        )
    placed = tuple(Voice(name, pitches or (unused.pop(),), 0) for name, pitches in voices)
    written = tuple(Voice(voice.name, voice.pitches, voice.pitches[0]) for voice in placed)
    return Kit(f"{kit.name}:{pitch_map.name}", written, kit)


def check_voices(kit: Kit, num_voices: int) -> None:
    """Raise if a groove has another number of voices than its kit.

    Raises:
        HypermeterError: the numbers differ.
    """
    if num_voices != kit.num_voices:
        raise HypermeterError(
            f"groove of {num_voices} voices, but kit {kit.name} has {kit.num_voices}; name its own kit"
        )


@lru_cache
def _shipped(name: str) -> Kit:
    return _parse_kit(name, shipped_text("kits", f"{name}.yaml"), f"kit {name}")


def _parse_kit(name: str, text: str, where: str) -> Kit:
    entries = parse_yaml(text, where, _FORM)
    columns, voices = [], []
    for voice_name, entry in entries.items():
        entry = {"pitches": entry} if isinstance(entry, list) else entry
        if not isinstance(entry, dict) or not isinstance(entry.get("pitches"), list) or not entry["pitches"]:
            raise HypermeterError(f"{where}: {voice_name} has no list of pitches; write it as {_FORM}")
        unknown = set(entry) - {"class_id", "pitches", "write"}
        if unknown:
            raise HypermeterError(f"{where}: {voice_name} has unknown field {min(map(str, unknown))!r}; {_FORM}")
        columns.append(entry.get("class_id"))
        pitches = tuple(entry["pitches"])
        write: Any = entry.get("write", pitches[0])
        voices.append(Voice(str(voice_name), pitches, write))
    if any(column is not None for column in columns):
        if any(type(column) is not int for column in columns) or sorted(columns) != list(range(len(columns))):
            raise HypermeterError(
                f"{where}: class_id are {columns}, expected each of 0 to {len(columns) - 1} once, or none at all"
            )
        voices = [voice for _, voice in sorted(zip(columns, voices, strict=True), key=lambda pair: pair[0])]
    return Kit(name, tuple(voices))
