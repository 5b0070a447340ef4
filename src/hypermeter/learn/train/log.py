"""The history of a run, as a table and as curves."""

import csv
import math
from pathlib import Path

from hypermeter.core.files import atomic_write


def write_log(history: list[dict[str, float]], path: Path) -> None:
    """Write the history as CSV, a row for each logged update; columns that a row lacks are empty."""
    columns = list(dict.fromkeys(name for row in history for name in row))
    with atomic_write(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(history)


def plot_curves(history: list[dict[str, float]], path: Path) -> None:
    """Draw training and held-out bits per step over updates, as PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot(xlabel="update", ylabel="bits per step")
    for name, label, scale in (
        ("step_nll", "training", 1 / math.log(2)),
        ("held_out_bits_per_step", "held out, averaged weights", 1.0),
    ):
        points = [(row["update"], row[name] * scale) for row in history if name in row]
        if points:
            axes.plot(*zip(*points, strict=True), marker=".", label=label)
    if axes.lines:
        axes.legend()
    axes.grid(alpha=0.3)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=120)
