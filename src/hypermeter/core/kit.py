"""Drum kits: the MIDI pitches that each voice is read from, and the one it is written with."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from hypermeter.core.errors import HypermeterError

KITS = ("gm10", "magenta9", "gm")
"""Names of the shipped kits."""

_BASS_DRUMS = {35, 36}
_SKINS = {37, 38, 39, 40, 41, 43, 45, 47, 48, 50, 60, 61, 62, 63, 64, 65, 66}
_CYMBALS = {22, 26, 42, 44, 46, 49, 51, 52, 53, 55, 57, 59}

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

    Raises:
        HypermeterError: no voices; a name that occurs twice or that the ASCII grid could not read back; a pitch outside
            0-127 or of two voices; a voice whose written pitch is not one of its pitches.
    """

    name: str
    voices: tuple[Voice, ...]

    def __post_init__(self) -> None:
        where = f"kit {self.name}"
        if not self.voices:
            raise HypermeterError(f"{where}: no voices; write one a line, as {_FORM}")
        owners: dict[int, str] = {}
        for number, voice in enumerate(self.voices):
            if not re.fullmatch(r"[^\s|#]+", voice.name):
                raise HypermeterError(
                    f"{where}: a voice is named {voice.name!r}, expected no spaces, | or #, which the ASCII grid cannot"
                    " read back; rename it"
                )
            if voice.name in self.names[:number]:
                raise HypermeterError(f"{where}: two voices are named {voice.name}; rename one")
            if not voice.pitches:
                raise HypermeterError(f"{where}: {voice.name} has no pitches; write them as {_FORM}")
            for pitch in voice.pitches:
                if not _is_pitch(pitch):
                    raise HypermeterError(f"{where}: {voice.name} has pitch {pitch!r}, expected a whole number 0-127")
                if pitch in owners:
                    raise HypermeterError(
                        f"{where}: pitch {pitch} is in both {owners[pitch]} and {voice.name}; keep it in one"
                    )
                owners[pitch] = voice.name
            if voice.write not in voice.pitches:
                raise HypermeterError(f"{where}: {voice.name} writes pitch {voice.write!r}, not one of its pitches")

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

    @cached_property
    def pitch_to_voice(self) -> dict[int, int]:
        """MIDI pitch -> column of its voice."""
        return {pitch: column for column, voice in enumerate(self.voices) for pitch in voice.pitches}

    @cached_property
    def columns(self) -> np.ndarray:
        """(128,): column of the voice of each MIDI pitch, -1 where there is none."""
        return np.array([self.pitch_to_voice.get(pitch, -1) for pitch in range(128)])

    @property
    def streams(self) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        """Columns of the low (bass drums), mid (snares, toms, hand drums) and high (all other) voices."""
        low, mid, high = [], [], []
        for column, voice in enumerate(self.voices):
            (low if voice.write in _BASS_DRUMS else mid if voice.write in _SKINS else high).append(column)
        return tuple(low), tuple(mid), tuple(high)

    @property
    def cymbals(self) -> tuple[int, ...]:
        """Columns of the hi-hats and cymbals."""
        return tuple(column for column, voice in enumerate(self.voices) if voice.write in _CYMBALS)

    @property
    def record(self) -> str | dict[str, Any]:
        """The form in which files store a kit and `load_kit` takes it: the name of a shipped kit, else `to_dict`."""
        return self.name if self.name in KITS and self == _shipped(self.name) else self.to_dict()

    def to_dict(self) -> dict[str, Any]:
        voices = [{"name": v.name, "pitches": list(v.pitches), "write": v.write} for v in self.voices]
        return {"name": self.name, "voices": voices}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Kit":
        """Return the kit that `to_dict` wrote.

        Raises:
            HypermeterError: a missing field, or values that `Kit` refuses.
        """
        try:
            voices = tuple(Voice(v["name"], tuple(v["pitches"]), v["write"]) for v in values["voices"])
            return cls(values["name"], voices)
        except (KeyError, TypeError) as error:
            raise HypermeterError(f"kit: not a kit's record ({error}); expected name and voices") from error


def load_kit(kit: str | Path | Kit | Mapping[str, Any] = "gm10") -> Kit:
    """Return a kit by its name, by its record, or from a YAML file with lines `voice: {class_id: 3, pitches: [46]}`.

    `class_id` is the column; without it in any line, columns follow the order of the lines. `write` is the pitch that
    is written, the first by default. A list of pitches alone also defines a voice.

    Args:
        kit: gm10, magenta9 or gm; the path of a YAML file; a `Kit`, which is returned; or what `Kit.to_dict` returned.

    Raises:
        HypermeterError: no such kit or file, or a record or file that defines no kit.
    """
    if isinstance(kit, Kit):
        return kit
    if isinstance(kit, Mapping):
        return Kit.from_dict(kit)
    if str(kit) in KITS:
        return _shipped(str(kit))
    path = Path(kit)
    if path.suffix.lower() not in (".yaml", ".yml"):
        raise HypermeterError(f"kit {kit}: no such kit; expected {', '.join(KITS)}, or the path of a .yaml file")
    try:
        return _parse_kit(path.stem, path.read_text("utf-8"), str(path))
    except OSError as error:
        raise HypermeterError(f"{path}: the kit cannot be read ({error.strerror}); check the path") from error
    except UnicodeDecodeError as error:
        raise HypermeterError(f"{path}: the kit is not text in UTF-8; save it as UTF-8") from error


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
    path = Path(__file__).parents[1] / "kits" / f"{name}.yaml"
    return _parse_kit(name, path.read_text("utf-8"), f"kit {name}")


def _parse_kit(name: str, text: str, where: str) -> Kit:
    import yaml  # here, since most modules that import this one read no kit

    class NoDuplicates(yaml.SafeLoader):
        """Raise for a key that occurs twice: YAML keeps the last one in silence, and a voice would be lost."""

        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
            keys = [self.construct_object(key, deep=True) for key, _ in node.value]
            for number, key in enumerate(keys):
                if key in keys[:number]:
                    raise yaml.constructor.ConstructorError(None, None, f"{key} is there twice", node.start_mark)
            return super().construct_mapping(node, deep)

    try:
        entries = yaml.load(text, Loader=NoDuplicates)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" at line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "bad characters"
        raise HypermeterError(f"{where}: not YAML{line} ({problem}); expected lines as {_FORM}") from error
    if not isinstance(entries, dict) or not entries:
        raise HypermeterError(f"{where}: expected lines as {_FORM}")
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


def _is_pitch(value: object) -> bool:
    return type(value) is int and 0 <= value <= 127
