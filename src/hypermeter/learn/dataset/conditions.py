"""What stands beside the hits of a performance: what could have been asked for, and how the hits were played."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.core.tracks import Track, with_columns
from hypermeter.io.npz import open_npz, read_kit_and_grid, read_meta
from hypermeter.model.plan import KINDS, NUMBERS, Labels, Plan, plan_of
from hypermeter.music.segment import segment
from hypermeter.play.plan import FILL, LETTERS


def read_sections(path: Path, bars: int) -> list[str] | None:
    """The label of each bar under the key ``section`` of a .npz, "" for unknown; None where there is no such key.

    Raises:
        HypermeterError: not a .npz, or another number of labels than of bars.
    """
    with open_npz(path) as arrays:
        if "section" not in arrays:
            return None
        found = np.asarray(arrays["section"])
    if found.shape != (bars,):
        raise HypermeterError(f"{path}: section of shape {found.shape}, expected ({bars},), a label for each bar")
    if found.dtype.kind == "S":
        found = np.char.decode(found, "utf-8")
    return ["" if each == "nan" and found.dtype.kind == "f" else each for each in map(str, found.tolist())]


def find_labels(files: Sequence[Path], bars: Sequence[int]) -> Labels:
    """The vocabulary of some files: the sections that they name, or letters where they name none; and their styles.

    A style is the first word of ``style`` in the meta, up to a ``/``.
    """
    sections: Counter[str] = Counter()
    styles: Counter[str] = Counter()
    for path, length in zip(files, bars, strict=True):
        sections.update(set(read_sections(path, length) or ()) - {""})
        styles.update({_style(read_meta(path))} - {""})
    named = sorted(set(sections) - set(FILL))
    return {"section": named or list(LETTERS), "style": sorted(styles), "fill": list(FILL)}


def _style(meta: dict) -> str:
    return (meta.get("style") or "").partition("/")[0]


def read_plan(path: Path, hits: np.ndarray, grid: Grid, labels: Labels) -> Plan:
    """The plan that a performance would have fulfilled, of one piece.

    Density, off-beat share and fills are measured; all bars of a file whose meta calls it a fill are fills. Style and
    tempo are as the meta tells. Sections are those that the file names; where the vocabulary is letters, those that
    ``segment`` finds. What is not in the vocabulary is left open.
    """
    meta = read_meta(path)
    grid = read_kit_and_grid(path, grid=grid, meta=meta)[1]
    steps = torch.from_numpy(hits)
    plan = plan_of(steps[None].float(), grid)
    if meta.get("beat_type") == "fill":
        plan.labels[..., KINDS.index("fill")] = 1 + FILL.index("fill")
    if (style := _style(meta)) in labels["style"]:
        plan.labels[..., KINDS.index("style")] = 1 + list(labels["style"]).index(style)
    if tempo := meta.get("tempo_bpm"):
        plan.numbers[..., NUMBERS.index("tempo_bpm")] = float(tempo)
    named = read_sections(path, plan.num_bars)
    if named is not None:
        names = dict.fromkeys(name for name in named if name) if is_lettered(labels) else labels["section"]
        known = {name: place for place, name in enumerate(names, 1) if place <= len(labels["section"])}
        plan.labels[0, :, KINDS.index("section")] = torch.tensor([known.get(name, 0) for name in named])
    elif is_lettered(labels):
        plan.labels[0, :, KINDS.index("section")] = segment(steps, grid, len(LETTERS))
    return plan


def is_lettered(labels: Labels) -> bool:
    return tuple(labels["section"]) == LETTERS


def letter_anew(plan: Plan) -> Plan:
    """Sections numbered in the order in which they first come."""
    found, first = plan.labels[..., KINDS.index("section")], {0: 0}
    numbers = [first.setdefault(each, len(first)) for each in found.flatten().tolist()]
    found.copy_(torch.tensor(numbers).view_as(found))
    return plan


def measured_anew(plan: Plan, hits: Float[Tensor, "B T V"], grid: Grid) -> Plan:
    """The plan with density, off-beat share and fills as they are in these hits; the rest stays.

    A piece whose bars are all fills is one that is told to be a fill, and stays one.
    """
    measured, tempo, fill = plan_of(hits, grid), NUMBERS.index("tempo_bpm"), KINDS.index("fill")
    measured.numbers[..., tempo] = plan.numbers[..., tempo]
    labels = plan.labels.clone()
    if not (labels[..., fill] == 1 + FILL.index("fill")).all():
        labels[..., fill] = measured.labels[..., fill]
    return Plan(labels, measured.numbers)


def with_tracks(path: Path, hits: np.ndarray, tracks: Sequence[Track]) -> np.ndarray:
    """Hits (T, V) with the columns of each track after them; a track that the file does not have rests.

    Raises:
        HypermeterError: not a .npz, or codes that are none or not as many as steps.
    """
    if not tracks:
        return hits
    with open_npz(path) as arrays:
        keys = {track.name: f"track_{track.name}" for track in tracks}
        codes = {name: np.asarray(arrays[key]) for name, key in keys.items() if key in arrays}
    for name, each in codes.items():
        if each.shape != (len(hits),):
            found = f"{keys[name]} of shape {each.shape}"
            raise HypermeterError(f"{path}: {found}, expected ({len(hits)},), a code for each step")
    try:
        return with_columns(hits, codes, tracks)
    except HypermeterError as error:
        raise HypermeterError(f"{path}: {error}") from error


def read_expression(path: Path, hits: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Velocity in [0, 1] and offset in [-.5, .5] steps (T, V), float32, and tempo; NaN where the file does not tell.

    Raises:
        HypermeterError: not a .npz, an array of another shape than the hits, or a value at a hit outside its range.
    """
    told: list[np.ndarray] = []
    steps, voices = hits.shape
    with open_npz(path) as arrays:
        for name, low, high, hint in (
            ("velocity", 0, 1, "divide MIDI's by 127"),
            ("offset", -0.5, 0.5, "count it in steps"),
        ):
            found = arrays[name] if name in arrays else np.full((steps, voices), np.nan)
            if found.shape != (steps, voices):
                raise HypermeterError(f"{path}: {name} of shape {found.shape}, expected {(steps, voices)} as the hits")
            values = np.asarray(found, np.float32)
            wrong = (hits > 0) & ((values < low) | (values > high))
            if wrong.any():
                raise HypermeterError(
                    f"{path}: {name} {values[wrong][0]:g} at a hit, expected {low:g} to {high:g}; {hint}"
                )
            told.append(values)
    return told[0], told[1], float(read_meta(path).get("tempo_bpm") or np.nan)
