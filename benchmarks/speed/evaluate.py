"""The whole card of `hypermeter evaluate` beside an earlier build: time, and whether the figures are the same.

    python benchmarks/speed/evaluate.py NPZ/validation --before PYTHON [--model groove] [--rounds 5] [--out FILE.json]

PYTHON is the interpreter of an environment of its own, in which the earlier build is installed, see ``player.py``. Both
builds take turns, each command in a process of its own on one thread; a ratio is the earlier build's figure over this
one's, round by round.
"""

import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import tyro

from hypermeter.core.errors import HypermeterError
from hypermeter.core.files import atomic_write

sys.path.insert(0, str(Path(__file__).parent))
from player import COMMAND, run

TARGET = 3.0
"""Least times faster that we want."""


def numbers(card: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], float]]:
    """Yield the path and the value of each number of a card."""
    if isinstance(card, dict | list):
        for key, value in card.items() if isinstance(card, dict) else enumerate(card):
            yield from numbers(value, (*path, str(key)))
    elif isinstance(card, int | float):
        yield path, float(card)


def differences(before: Any, now: Any) -> dict[str, float]:
    """Return the greatest relative difference of two cards by part, of the numbers that both have."""
    others, greatest = dict(numbers(before)), {}
    for path, value in numbers(now):
        if path in others:
            difference = abs(value - others[path]) / max(abs(value), abs(others[path]), 1e-9)
            greatest[path[1]] = max(greatest.get(path[1], 0.0), difference)
    return greatest


def main(
    npz_dir: tyro.conf.Positional[Path],
    before: Path,
    now: Path = Path(sys.executable),
    model: str = "groove",
    rounds: int = 5,
    out: Path | None = None,
) -> None:
    """Print and keep the figures of both builds, their ratios, and the differences of their cards.

    Args:
        npz_dir: of held-out performances, with ``train`` beside it.
        before: interpreter of the earlier build's environment.
        now: of this build's; left out, the one that runs.
        model: a shipped model's name, or a checkpoint that both read.
        rounds: turns of each build.
        out: JSON file that keeps all figures.
    """
    used: dict[str, list[dict[str, float]]] = {"before": [], "now": []}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(rounds):
            for side, python in (("before", before), ("now", now)):
                card = str(Path(folder, side))
                used[side].append(run(python, ["-c", COMMAND, "evaluate", model, str(npz_dir), "--out", card])[1])
        cards = [json.loads(Path(folder, f"{side}.json").read_text("utf-8")) for side in used]
    print(f"| evaluate {model} | before | now | ratio, round by round | wanted |\n|---|---|---|---|---|")
    for name in ("wall_s", "busy_s", "peak_mb"):
        first, second = ([figures[name] for figures in side] for side in used.values())
        shown = [f"{median(values):.3g} ({min(values):.3g} to {max(values):.3g})" for values in (first, second)]
        ratios = [above / below for above, below in zip(first, second, strict=True)]
        wanted = "" if name == "peak_mb" else f"{TARGET:g}"
        ratio = f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        print(f"| {name} | {shown[0]} | {shown[1]} | {ratio} | {wanted} |")
    of_parts = differences(*cards)
    parts = ", ".join(f"{name} {difference:.1g}" for name, difference in of_parts.items())
    print(f"\nGreatest relative difference of the cards: {parts}")
    if out is not None:
        with atomic_write(out) as temporary:
            temporary.write_text(json.dumps(used | {"differences": of_parts}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    try:
        tyro.cli(main)
    except HypermeterError as error:
        print(f"evaluate: {error}", file=sys.stderr)
        sys.exit(2)
