"""Choosing the map of MIDI files by their pitches, and reporting the hits that a kit does not read."""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from hypermeter.core.errors import HypermeterError
from hypermeter.core.kit import Kit, load_kit, split_kit, with_map
from hypermeter.core.pitch_map import MAPS, instruments, load_map

PitchCounts = Mapping[int, int] | np.ndarray
"""Hits of each MIDI pitch: pitch -> hits, or an array of (128,)."""

_UNKNOWN = 1e-6
"""Probability of a pitch that a map does not have."""

_NEED = 4.0
"""Nats by which a map has to fit better than General MIDI."""

_HINT = 8.0
"""Nats that a map gains by a word of its in a name."""

_CORE = {"kick", "kick_2", "snare", "snare_rimshot", "snare_electric"}
"""Instruments of which drumming has at least one."""


@dataclass(frozen=True)
class MapFit:
    """The map that fits best.

    Args:
        map: its name, one of `MAPS`.
        left_out: hits on pitches that the map lacks, or that are no hits of a kit, such as chokes.
        total: all hits.
        scores: map -> score in nats, of all maps.
    """

    map: str
    left_out: int
    total: int
    scores: Mapping[str, float]


def best_map(pitch_counts: PitchCounts, names: Iterable[str] = ()) -> MapFit:
    """Return the map that explains pitches best.

    The score of a map is the log likelihood of the pitches: each of its instruments is played in proportion to the
    square root of its share (kits/instruments.yaml), its first pitch twice as often as its second and three times as
    often as its third, and pitches that the map lacks hardly ever. Hits of one drum are not independent: each pitch
    counts with the square root of its hits, and all pitches together as often as there are different ones. General MIDI
    is taken unless another map is better by 4 nats, and by it a kick or a snare plays; a word of the map in one of the
    names is worth 8. Of equal maps the first in `MAPS` is taken.

    Args:
        pitch_counts: hits of each pitch of the drums.
        names: names of the file and of its tracks.

    Raises:
        ValueError: an array of another shape, or a pitch outside 0-127.
    """
    counts = _array(pitch_counts)
    total = int(counts.sum())
    pitches = np.flatnonzero(counts)
    weights = np.sqrt(counts[pitches])
    weights *= len(pitches) / max(weights.sum(), 1)
    text = "\n".join(names).lower()
    scores = {}
    for name in MAPS:
        is_named = any(_has_hint(text, hint) for hint in load_map(name).hints)
        scores[name] = float(weights @ _log_probability(name)[pitches]) + _HINT * is_named
    scores["gm"] += _NEED
    best = max(MAPS, key=lambda name: scores[name])
    played = {load_map(best).instruments.get(pitch, "").partition("/")[0] for pitch in pitches.tolist()}
    if not played & _CORE:
        best = "gm"
    read = [pitch for pitch in pitches.tolist() if (instrument := load_map(best).instrument(pitch)) and instrument.gm]
    return MapFit(best, total - int(counts[read].sum()), total, scores)


def hinted_names(names: Iterable[str]) -> list[str]:
    """Return those of the names that `best_map` needs: one for each word of a map that is in one of them."""
    hints = [hint for name in MAPS for hint in load_map(name).hints]
    found: list[str] = []
    text = ""
    for name in names:
        lower = name.lower()
        if any(hint in lower and _has_hint(lower, hint) and not _has_hint(text, hint) for hint in hints):
            found.append(name)
            text += f"\n{lower}"
    return found


def _has_hint(text: str, hint: str) -> bool:
    return re.search(rf"(?<![a-z0-9]){re.escape(hint)}(?![a-z0-9])", text) is not None


def is_auto(kit: Any) -> bool:
    """Return whether a kit is a text with the map auto, which `resolve_kit` chooses."""
    return isinstance(kit, str) and split_kit(kit)[1] == "auto"


def resolve_kit(
    kit: str | Path | Kit | Mapping[str, Any],
    pitch_counts: PitchCounts,
    names: Iterable[str] = (),
    map_name: str | None = None,
) -> tuple[Kit, str | None]:
    """Return a kit, with the best map if that is asked for, and then a line that reports the choice.

    Args:
        kit: an argument of `load_kit`, or a text with the map auto: auto, gm16:auto.
        pitch_counts, names: as in `best_map`.
        map_name: a map in place of the kit's: auto, or an argument of `with_map`.

    Raises:
        HypermeterError: as `load_kit`.
    """
    if isinstance(kit, str) and is_auto(kit):
        kit, map_name = split_kit(kit)[0], map_name or "auto"
    if map_name != "auto":
        return load_kit(kit) if map_name is None else with_map(load_kit(kit), map_name), None
    fit = best_map(pitch_counts, names)
    chosen = with_map(load_kit(kit), fit.map)
    left_out = int(_array(pitch_counts)[chosen.columns < 0].sum())
    title = load_map(fit.map).title
    return chosen, f"kit {chosen.name} ({title} fits best) leaves out {left_out:,} of {fit.total:,} hits"


def describe_unmapped(counts: Mapping[int, int], kit: Kit, total: int | None = None) -> str:
    """Return one line about hits that no voice of a kit reads: how many, which, and which kit has more; "" without any.

    Args:
        counts: MIDI pitch -> hits that no voice reads.
        kit: the kit.
        total: all hits, read or not; left out, no share is given.
    """
    lost = sum(counts.values())
    if not lost:
        return ""
    _, _, map_name = kit.name.partition(":")
    names = load_map(map_name if map_name in MAPS else "gm").instruments
    parts = [
        f"{pitch} {names.get(pitch, 'unknown').replace('_', ' ')}: {count:,}"
        for pitch, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    ]
    more = f" and {len(parts) - 6} pitches more" if len(parts) > 6 else ""
    of_all = f" of {total:,} ({lost / total:.1%})" if total else ""
    line = f"{lost:,}{of_all} hits have no voice in kit {kit.name} ({', '.join(parts[:6])}{more})"
    suffix = f":{map_name}" if map_name in MAPS else ""
    reads = {
        name: sum(count for pitch, count in counts.items() if load_kit(name + suffix).columns[pitch] >= 0)
        for name in ("gm16", "gm")
        if name != kit.without_map.name and (name, suffix) not in _too_large()
    }
    best = max(reads, key=lambda name: reads[name], default="")
    if not best or not reads[best]:
        return line
    if "gm16" in reads and 2 * reads["gm16"] > reads[best]:  # fewer voices that read nearly as much
        best = "gm16"
    return f"{line}; --kit {best}{suffix} reads {reads[best]:,} of them"


@lru_cache
def _too_large() -> frozenset[tuple[str, str]]:
    """Return the kits with the maps that leave too few pitches for their voices."""
    refused = set()
    for name in MAPS:
        try:
            load_kit(f"gm:{name}")
        except HypermeterError:
            refused.add(("gm", f":{name}"))
    return frozenset(refused)


@lru_cache
def _log_probability(map_name: str) -> np.ndarray:
    """Return the logarithm of the probability of each pitch in a map, (128,)."""
    pitch_map = load_map(map_name)
    pitches_of: dict[str, list[int]] = {}
    for pitch, name in pitch_map.instruments.items():
        pitches_of.setdefault(name.partition("/")[0], []).append(pitch)
    played = {instrument: math.sqrt(instruments()[instrument].share) for instrument in pitches_of}
    result = np.full(128, math.log(_UNKNOWN))
    for instrument, pitches in pitches_of.items():
        harmonic = sum(1 / rank for rank in range(1, len(pitches) + 1))
        for rank, pitch in enumerate(pitches, 1):
            result[pitch] = math.log(played[instrument] / sum(played.values()) / rank / harmonic)
    return result


def _array(pitch_counts: PitchCounts) -> np.ndarray:
    """Return hits of each pitch as an array of (128,)."""
    if isinstance(pitch_counts, Mapping):
        counts = np.zeros(128, np.int64)
        for pitch, count in pitch_counts.items():
            if not 0 <= pitch <= 127:
                raise ValueError(f"pitch {pitch}, expected 0-127")
            counts[pitch] = count
        return counts
    if np.shape(pitch_counts) != (128,):
        raise ValueError(f"pitch_counts of shape {np.shape(pitch_counts)}, expected (128,)")
    return np.asarray(pitch_counts)
