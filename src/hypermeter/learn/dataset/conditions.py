"""Plans, tracks and expression of performances in .npz."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.core.groove import Groove
from hypermeter.core.strokes import NO_STROKES, Strokes
from hypermeter.core.tracks import Track, with_columns
from hypermeter.io.npz import File, open_npz, read_kit_and_grid, read_meta
from hypermeter.model.plan import KINDS, NUMBERS, Labels, Plan, plan_of
from hypermeter.music.segment import segment
from hypermeter.play.plan import FILL, LETTERS


def read_sections(path: File, bars: int) -> list[str] | None:
    """Return the section label of each bar of a .npz, "" for unknown; None without the key ``section``.

    Raises:
        HypermeterError: not a .npz, or another number of labels than of bars.
    """
    with open_npz(path) as arrays:
        if "section" not in arrays:
            return None
        labels = np.asarray(arrays["section"])
    if labels.shape != (bars,):
        raise HypermeterError(f"{path}: section of shape {labels.shape}, expected ({bars},), a label for each bar")
    if labels.dtype.kind == "S":
        labels = np.char.decode(labels, "utf-8")
    return ["" if label == "nan" and labels.dtype.kind == "f" else label for label in map(str, labels.tolist())]


def find_labels(files: Sequence[File], bars: Sequence[int]) -> Labels:
    """Return the vocabulary of files: their sections, or letters if they name none; and their styles.

    A style is ``style`` of the meta up to a ``/``.
    """
    sections: Counter[str] = Counter()
    styles: Counter[str] = Counter()
    for path, length in zip(files, bars, strict=True):
        sections.update(set(read_sections(path, length) or ()) - {""})
        styles.update({style_of(read_meta(path))} - {""})
    named = sorted(set(sections) - set(FILL))
    return {"section": named or list(LETTERS), "style": sorted(styles), "fill": list(FILL)}


def style_of(meta: dict) -> str:
    """Return the style in metadata up to a ``/``, or "" without one."""
    return (meta.get("style") or "").partition("/")[0]


def read_plan(path: File, hits: np.ndarray, grid: Grid, labels: Labels) -> Plan:
    """Return the plan that a performance fulfils, of one row.

    Density, off-beat share and fills are measured; all bars of a file whose meta has ``beat_type`` fill are fills.
    Style and tempo are from the meta; sections from the file or, if the vocabulary is letters, from ``segment``. Labels
    that are not in the vocabulary are left open.
    """
    meta = read_meta(path)
    grid = read_kit_and_grid(path, grid=grid, meta=meta)[1]
    steps = torch.from_numpy(hits)
    plan = plan_of(steps[None].float(), grid)
    if meta.get("beat_type") == "fill":
        plan.labels[..., KINDS.index("fill")] = 1 + FILL.index("fill")
    if (style := style_of(meta)) in labels["style"]:
        plan.labels[..., KINDS.index("style")] = 1 + list(labels["style"]).index(style)
    if tempo := meta.get("tempo_bpm"):
        plan.numbers[..., NUMBERS.index("tempo_bpm")] = float(tempo)
    sections = read_sections(path, plan.num_bars)
    if sections is not None:
        names = dict.fromkeys(name for name in sections if name) if is_lettered(labels) else labels["section"]
        numbers = {name: number for number, name in enumerate(names, 1) if number <= len(labels["section"])}
        plan.labels[0, :, KINDS.index("section")] = torch.tensor([numbers.get(name, 0) for name in sections])
    elif is_lettered(labels):
        plan.labels[0, :, KINDS.index("section")] = segment(steps, grid, len(LETTERS))
    return plan


def is_lettered(labels: Labels) -> bool:
    return tuple(labels["section"]) == LETTERS


def letter_anew(plan: Plan) -> Plan:
    """Number the plan's sections anew, in place, in the order in which they first come."""
    sections, new = plan.labels[..., KINDS.index("section")], {0: 0}
    numbers = [new.setdefault(section, len(new)) for section in sections.flatten().tolist()]
    sections.copy_(torch.tensor(numbers).view_as(sections))
    return plan


def measured_anew(plan: Plan, hits: Float[Tensor, "B T V"], grid: Grid) -> Plan:
    """Return the plan with density, off-beat share and fills measured in these hits.

    A plan whose bars are all fills is of a file that is a fill, and stays so.
    """
    measured, tempo, fill = plan_of(hits, grid), NUMBERS.index("tempo_bpm"), KINDS.index("fill")
    measured.numbers[..., tempo] = plan.numbers[..., tempo]
    labels = plan.labels.clone()
    if not (labels[..., fill] == 1 + FILL.index("fill")).all():
        labels[..., fill] = measured.labels[..., fill]
    return Plan(labels, measured.numbers)


def with_tracks(path: File, hits: np.ndarray, tracks: Sequence[Track]) -> np.ndarray:
    """Return hits (T, V) with the columns of each track after them; a track that the file lacks rests.

    Raises:
        HypermeterError: not a .npz, or invalid codes, or another number of codes than of steps.
    """
    if not tracks:
        return hits
    with open_npz(path) as arrays:
        keys = {track.name: f"track_{track.name}" for track in tracks}
        codes = {name: np.asarray(arrays[key]) for name, key in keys.items() if key in arrays}
    for name, array in codes.items():
        if array.shape != (len(hits),):
            raise HypermeterError(
                f"{path}: {keys[name]} of shape {array.shape}, expected ({len(hits)},), a code for each step"
            )
    try:
        return with_columns(hits, codes, tracks)
    except HypermeterError as error:
        raise HypermeterError(f"{path}: {error}") from error


def read_strokes(path: File, hits: np.ndarray) -> tuple[Strokes | None, np.ndarray | None]:
    """Return the further strokes, and the openness (T, V) float32 of the hi-hat; `None` for what the file lacks.

    Raises:
        HypermeterError: not a .npz, or values outside their ranges or of another shape.
    """
    with open_npz(path) as arrays:
        values = {name: np.asarray(arrays[name]) for name in ("strokes", "openness") if name in arrays}
    try:
        strokes = Strokes.of_table(values["strokes"]) if "strokes" in values else None
        groove = Groove(hits, strokes=NO_STROKES if strokes is None else strokes)
        groove = replace(groove, openness=values["openness"]) if "openness" in values else groove
    except HypermeterError as error:
        raise HypermeterError(f"{path}: {str(error).removeprefix('groove: ')}; prepare it again") from error
    return None if strokes is None else groove.strokes, groove.openness if "openness" in values else None


def read_expression(path: File, hits: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Return velocity in [0, 1] and offset in [-.5, .5] steps, (T, V) float32, and tempo; NaN where unknown.

    Raises:
        HypermeterError: not a .npz, an array of another shape than the hits, or a value at a hit outside its range.
    """
    expression: list[np.ndarray] = []
    steps, voices = hits.shape
    with open_npz(path) as arrays:
        for name, low, high, hint in (
            ("velocity", 0, 1, "divide MIDI's by 127"),
            ("offset", -0.5, 0.5, "count it in steps"),
        ):
            array = arrays[name] if name in arrays else np.full((steps, voices), np.nan)
            if array.shape != (steps, voices):
                raise HypermeterError(f"{path}: {name} of shape {array.shape}, expected {(steps, voices)} as the hits")
            values = np.asarray(array, np.float32)
            wrong = (hits > 0) & ((values < low) | (values > high))
            if wrong.any():
                raise HypermeterError(
                    f"{path}: {name} {values[wrong][0]:g} at a hit, expected {low:g} to {high:g}; {hint}"
                )
            expression.append(values)
    return expression[0], expression[1], float(read_meta(path).get("tempo_bpm") or np.nan)
