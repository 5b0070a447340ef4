"""The HTML report of an analysis: one file that contains its pictures as vectors, fit for a paper."""

import html
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from hypermeter.core.groove import Groove
from hypermeter.core.kit import load_kit
from hypermeter.music.metrics import METRICS, bar_similarity, in_numpy
from hypermeter.share.pictures import layout, to_svg

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STYLE = """
:root { color-scheme: light dark; --line: #8886; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
h1, h2 { line-height: 1.2; } h2 { margin-top: 2.5rem; border-top: 1px solid var(--line); padding-top: 1rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .15rem .7rem; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child, td.text { text-align: left; }
figure { margin: 1rem 0; background: #fff; border-radius: 4px; } figure svg { width: 100%; height: auto; }
.scroll { overflow-x: auto; } summary { cursor: pointer; } .note { opacity: .75; }
"""


def page(title: str, sections: Iterable[str]) -> str:
    """Return an HTML page that needs no other file."""
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head>'
        f"<body><h1>{html.escape(title)}</h1>\n" + "\n".join(sections) + "\n</body></html>\n"
    )


def heading(text: str, note: str = "") -> str:
    return f"<h2>{html.escape(text)}</h2>" + (f'<p class="note">{html.escape(note)}</p>' if note else "")


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{html.escape(name)}</th>" for name in columns)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def picture(figure: "Figure", label: str) -> str:
    """Return a figure as SVG, for the page."""
    from matplotlib import rc_context

    text = io.StringIO()
    with rc_context({"svg.hashsalt": label, "svg.fonttype": "none"}):  # the same input gives the same file
        figure.savefig(text, format="svg", metadata={"Date": None})
    drawing = text.getvalue()
    return f'<figure role="img" aria-label="{html.escape(label)}">{drawing[drawing.index("<svg") :]}</figure>'


def definitions(names: Iterable[str]) -> str:
    """Return a table of the metrics, each with the first paragraph of its docstring."""
    lines = {name: (METRICS[name].__doc__ or "").strip().partition("\n\n")[0].removeprefix("Return ") for name in names}
    return table(("metric", "what it is"), [(name, " ".join(text.split())) for name, text in lines.items()])


def draw_analysis(groove: Groove) -> "Figure":
    """Draw density, inter-onset intervals, self-similarity of bars, repetition profile, and syncopation of each bar."""
    from matplotlib.figure import Figure

    grid, kit = groove.grid, load_kit(groove.kit)
    hits = groove.hits
    figure = Figure((13, 7), layout="constrained")
    axes = figure.subplot_mosaic([["density", "density", "similarity"], ["ioi", "repetition", "syncopation"]])
    bars = np.arange(groove.num_bars) + 1

    axis = axes["density"]
    counts = in_numpy(METRICS["step_density"], hits, grid) * hits.shape[-1]
    axis.plot(np.arange(len(counts)) / grid.steps_per_bar + 1, counts, linewidth=0.4, color="0.6", label="step")
    for size, label, width in ((grid.steps_per_bar, "bar", 1.2), (grid.steps_per_phrase, "phrase", 2.2)):
        means = in_numpy(METRICS["avg_hits"], hits, grid, size)
        start = np.arange(len(means) + 1) * size / grid.steps_per_bar + 1
        axis.stairs(means, np.minimum(start, len(hits) / grid.steps_per_bar + 1), linewidth=width, label=label)
    axis.set(title="Density", xlabel="bar", ylabel="hits a step", xlim=(1, max(len(hits) / grid.steps_per_bar + 1, 2)))
    axis.legend(ncols=3, fontsize=8, frameon=False)

    axis = axes["similarity"]
    similarity = bar_similarity(hits, grid)
    if len(similarity):
        extent = (0.5, len(similarity) + 0.5, len(similarity) + 0.5, 0.5)
        image = axis.imshow(
            similarity, vmin=min(similarity.min(), 0.9), vmax=1, cmap="magma", extent=extent, rasterized=True
        )
        figure.colorbar(image, ax=axis, shrink=0.8, label="agreement")
    axis.set(title="Self-similarity of bars", xlabel="bar", ylabel="bar")

    axis = axes["ioi"]
    histogram = np.nan_to_num(in_numpy(METRICS["ioi_hist"], hits, grid))
    base = np.zeros(histogram.shape[1])
    for column in np.flatnonzero(histogram.sum(1)):
        axis.bar(np.arange(len(base)) + 1, histogram[column], bottom=base, width=0.9, label=kit.names[column])
        base = base + histogram[column]
    axis.set(title="Inter-onset intervals", xlabel="steps", ylabel="intervals", xlim=(0.4, len(base) + 0.6))
    if base.any():
        axis.legend(fontsize=7, frameon=False)

    axis = axes["repetition"]
    profile = in_numpy(METRICS["repetition_profile"], hits, grid)
    axis.plot(np.arange(len(profile)) + 1, profile, marker="o")
    axis.set(title="Repetition profile", xlabel="bars back", ylabel="F1 of the hits", ylim=(0, 1.02))
    axis.set_xlim(0.5, len(profile) + 0.5)

    axis = axes["syncopation"]
    streams = kit.streams
    polyphonic = in_numpy(METRICS["witek"], hits, grid, grid.steps_per_bar, streams=streams)
    drums = (*streams[0], *streams[1])
    monophonic = in_numpy(METRICS["lhl"], hits, grid, grid.steps_per_bar, voices=drums)
    axis.plot(bars, polyphonic, marker=".", drawstyle="steps-mid", label="Witek, three streams")
    axis.plot(bars, monophonic, marker=".", drawstyle="steps-mid", label="LHL, drums without cymbals")
    axis.set(title="Syncopation of each bar", xlabel="bar", xlim=(0.5, max(len(bars), 1) + 0.5))
    axis.set_ylim(top=1.25 * axis.get_ylim()[1])
    axis.legend(fontsize=8, frameon=False, loc="upper right")
    return figure


def draw_distributions(*sets_of_pieces: Mapping[str, np.ndarray], labels: Sequence[str]) -> "Figure":
    """Draw a histogram for each metric of the first set of pieces, with the other sets on the same bins."""
    from matplotlib.figure import Figure

    names = [name for name, values in sets_of_pieces[0].items() if np.isfinite(values).sum() > 1]
    columns = 5
    rows = max(-(-len(names) // columns), 1)
    figure = Figure((13, 1.9 * rows), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axis, name in zip(axes, names, strict=False):
        sets = [pieces.get(name, np.zeros(0)) for pieces in sets_of_pieces]
        sets = [values[np.isfinite(values)] for values in sets]
        every = np.concatenate(sets)
        low, high = float(every.min()), float(every.max())
        if high - low <= 1e-9 * max(abs(low), abs(high), 1):  # equal but for rounding: no room for bins between them
            low, high = low - 0.5, high + 0.5
        bins = np.histogram_bin_edges(every, 24, (low, high))
        for values, label in zip(sets, labels, strict=True):
            weights = np.full(len(values), 1 / max(len(values), 1))
            axis.hist(values, bins, weights=weights, alpha=0.6, label=label)
        axis.set_title(name, fontsize=9)
        axis.tick_params(labelsize=7)
    for axis in axes[len(names) :]:
        axis.set_axis_off()
    if len(labels) > 1 and names:
        figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside upper right", ncols=2, fontsize=8)
    return figure


def piece_section(name: str, groove: Groove) -> str:
    """Return the pictures of one piece, under its name."""
    grid = f"<figure>{to_svg(layout(groove))}</figure>"
    return "\n".join((heading(name), grid, picture(draw_analysis(groove), f"{name}: analysis")))
