"""The bits of any system on held-out performances, in the CSV that ``hypermeter evaluate`` takes.

    python benchmarks/quality/referee.py SYSTEM.py NPZ/validation --out theirs.csv
    hypermeter evaluate groove NPZ/validation --beside theirs.csv

SYSTEM.py is the system, or calls it. It has one of these functions, of hits (steps, voices) of 0 and 1:

- ``bits(hits)``: -log2 of the probability of each step given all before it, (steps,).
- ``next_step(past)``: of the step after ``past``, the probability of a hit of each voice by itself, (voices,); or steps
  that the system draws, (draws, voices) of 0 and 1, for a system that only writes music.

and, if it learns, ``fit(sequences)``, which is called first with the hits of each performance of the folder ``train``
beside the held-out one.

The probability of a step of which ``n`` steps were drawn is (times it was drawn + q) / (n + 1), where q is its
probability with voices by themselves, (hits + 1/2) / (n + 1) each. This is a distribution, so that its bits are honest;
they fall towards those of the system as n grows.

``bits`` is refused if it looks ahead (the bits of a step change with the steps after it), or if the probabilities of
all combinations of voices in a step do not sum to 1, at some places of some performances.
"""

import importlib.util
import sys
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import tyro
from ngram import read, write_bits

from hypermeter.core.errors import HypermeterError

TOLERANCE = 1e-3
"""In bits and in sums of probabilities."""
MOST_VOICES = 12
"""Up to which all combinations of a step are summed."""
EARLY = 32
"""Steps of which one is chosen for the sum over combinations."""


def load_system(path: Path) -> ModuleType:
    """Return a system's module.

    Raises:
        HypermeterError: no such file, or none of the functions in it.
    """
    if not path.is_file():
        raise HypermeterError(f"{path}: no such file; name a Python file with bits(hits) or next_step(past)")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.parent.resolve()))
    spec.loader.exec_module(module)
    if not (hasattr(module, "bits") or hasattr(module, "next_step")):
        raise HypermeterError(f"{path}: neither bits nor next_step in it; define one of them")
    return module


def bits_of_step(x: np.ndarray, answer: Any, where: str) -> float:
    """Return -log2 of the probability of a step (V,) by what ``next_step`` answered.

    Raises:
        HypermeterError: an answer of another shape, values out of range, or a step that is impossible.
    """
    values = np.asarray(answer, float)
    if values.shape[-1:] != x.shape or values.ndim not in (1, 2) or not len(values):
        expected = f"({len(x)},) probabilities or (draws, {len(x)}) steps"
        raise HypermeterError(f"{where}: next_step gave shape {values.shape}, expected {expected}")
    if values.ndim == 2:
        if not ((values == 0) | (values == 1)).all():
            raise HypermeterError(
                f"{where}: next_step drew values other than 0 and 1; for probabilities give ({len(x)},)"
            )
        number = len(values) + 1
        shares = (values.sum(0) + 0.5) / number
        alone = np.where(x > 0, shares, 1 - shares).prod()
        return float(-np.log2(((values == x).all(1).sum() + alone) / number))
    if not ((values >= 0) & (values <= 1)).all():
        raise HypermeterError(f"{where}: next_step gave a probability outside of [0, 1]")
    probability = np.where(x > 0, values, 1 - values).prod()
    if not probability > 0:
        raise HypermeterError(f"{where}: a step that was played has probability 0; keep all above 0 and below 1")
    return float(-np.log2(probability))


def bits_by_steps(next_step: Callable[[np.ndarray], Any]) -> Callable[[np.ndarray, str], np.ndarray]:
    """Return a function of hits and their name that asks ``next_step`` for each step in turn."""

    def bits(hits: np.ndarray, name: str) -> np.ndarray:
        return np.array(
            [bits_of_step(x, next_step(hits[:step]), f"{name}, step {step}") for step, x in enumerate(hits)]
        )

    return bits


def bits_of_whole(bits: Callable[[np.ndarray], Any]) -> Callable[[np.ndarray, str], np.ndarray]:
    """Return a function of hits and their name that checks the shape and the values of ``bits``."""

    def checked(hits: np.ndarray, name: str) -> np.ndarray:
        values = np.asarray(bits(hits), float)
        if values.shape != (len(hits),):
            raise HypermeterError(f"{name}: bits of shape {values.shape}, expected ({len(hits)},), one for each step")
        if not ((values >= -TOLERANCE) & (values < np.inf)).all():
            raise HypermeterError(
                f"{name}: bits that are negative, infinite or no number; expected -log2 p of each step"
            )
        return values

    return checked


def check_looks_back(bits: Callable[[np.ndarray, str], np.ndarray], hits: np.ndarray, step: int, name: str) -> None:
    """Raise if the bits of the steps up to ``step`` change with what comes after it."""
    other = hits.copy()
    other[step + 1 :] = 1 - other[step + 1 :]
    before = bits(hits, name)[: step + 1]
    for what, changed in (("other steps after it", other), ("no steps after it", hits[: step + 1])):
        difference = np.abs(bits(changed, name)[: step + 1] - before).max()
        if difference > TOLERANCE:
            raise HypermeterError(
                f"{name}: the bits of steps up to {step} change by {difference:.3g} with {what}; predict a step from"
                " those before it alone"
            )


def check_sums_to_one(bits: Callable[[np.ndarray, str], np.ndarray], hits: np.ndarray, step: int, name: str) -> None:
    """Raise if the probabilities of all combinations of voices in a step do not sum to 1."""
    total = 0.0
    for combination in product((0, 1), repeat=hits.shape[1]):
        total += 2.0 ** -bits(np.concatenate([hits[:step], [combination]]).astype(hits.dtype), name)[step]
    if abs(total - 1) > TOLERANCE:
        raise HypermeterError(f"{name}, step {step}: all combinations of voices have {total:.4g} in sum, expected 1")


def judge(
    system: ModuleType, names: Sequence[str], held_out: Sequence[np.ndarray], checks: int, seed: int
) -> np.ndarray:
    """Return the bits of each performance, and check ``checks`` places.

    Raises:
        HypermeterError: an answer that does not fit, bits that look ahead or are of no distribution.
    """
    is_whole = hasattr(system, "bits")
    bits = bits_of_whole(system.bits) if is_whole else bits_by_steps(system.next_step)
    random = np.random.default_rng(seed)
    for _ in range(checks if is_whole else 0):
        number = int(random.integers(len(held_out)))
        hits, name = held_out[number], names[number]
        check_looks_back(bits, hits, int(random.integers(len(hits))), name)
        if hits.shape[1] <= MOST_VOICES:
            check_sums_to_one(bits, hits, int(random.integers(min(len(hits), EARLY))), name)
    totals = []
    for number, (name, hits) in enumerate(zip(names, held_out, strict=True), 1):
        totals.append(bits(hits, name).sum())
        print(f"{number} of {len(names)}: {name}, {totals[-1] / len(hits):.3f} bits per step", file=sys.stderr)
    return np.array(totals)


def main(
    system: tyro.conf.Positional[Path],
    npz_dir: tyro.conf.Positional[Path],
    out: Path = Path("theirs.csv"),
    checks: int = 2,
    seed: int = 0,
) -> None:
    """Write the bits of each held-out performance, and print bits per step.

    Args:
        system: Python file with ``bits`` or ``next_step``.
        npz_dir: folder of held-out performances.
        out: CSV of name and bits of each performance.
        checks: places at which ``bits`` is checked.
        seed: of these places.
    """
    module = load_system(system)
    names, held_out = read(npz_dir)
    if hasattr(module, "fit"):
        train = npz_dir.parent / "train"
        if not train.is_dir():
            raise HypermeterError(f"{system}: fit in it, but no {train} to learn from; put it beside {npz_dir}")
        module.fit(read(train)[1])
    bits = judge(module, names, held_out, checks, seed)
    write_bits(out, names, bits)
    print(f"{bits.sum() / sum(map(len, held_out)):.3f} bits per step, {out}")


if __name__ == "__main__":
    try:
        tyro.cli(main)
    except HypermeterError as error:
        print(f"referee: {error}", file=sys.stderr)
        sys.exit(2)
