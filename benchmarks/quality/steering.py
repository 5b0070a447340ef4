"""How well a model follows a plan: density, off-beat share, fills and style, planned and obtained.

    python benchmarks/quality/steering.py MODEL NPZ [--pieces 200] [--guidance 0 1 2] [--seeds 3] [--out OUT]

- Density and off-beat share: pieces of eight bars, each with one value drawn from those of the training bars;
  rank correlation (Spearman) of planned and obtained, of the pieces' means and of single bars under a curve.
- Fills: pieces of 16 bars, of which some are planned as fills and the others not: area under the curve (AUC) of
  ``bar_novelty`` for telling them apart. The same measure is checked against the bars that people played and labelled
  as fills, each put in the place of a bar of a groove of the same drummer and style.
- Style: a classifier (multinomial logistic regression on mean bars and metrics of eight bars) is fitted to the training
  performances, and classifies the held-out ones and pieces that were planned in a style.
- What learning plans costs: bits per step of held-out performances without a plan, and under their whole plan.

A row of the table has the mean over seeds, and the least and the greatest.
"""

import json
import math
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import tyro
from torch import Tensor

from hypermeter import HierarchicalDrumModel, load
from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.learn.dataset import read_folder, read_meta, read_plan
from hypermeter.learn.dataset.conditions import style_of
from hypermeter.learn.evaluate import bits_per_step
from hypermeter.model.plan import KINDS, NUMBERS, Plan
from hypermeter.music.metrics import METRICS, bar_novelty, by_chunk
from hypermeter.play.plan import FILL

BARS = 8
MIN_WINDOWS = 8
"""Of a style, in training and in validation, for the classifier to know it."""
FEATURES = ("density", "syncopation", "lhl", "groove_consistency", "ioi_entropy", "co_occurrence")


def ranks(values: np.ndarray) -> np.ndarray:
    """From 0, the mean rank where values are equal."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts + 1) / 2)[inverse]


def spearman(one: np.ndarray, other: np.ndarray) -> float:
    """Rank correlation; pairs with NaN are left out."""
    is_defined = ~(np.isnan(one) | np.isnan(other))
    return float(np.corrcoef(ranks(one[is_defined]), ranks(other[is_defined]))[0, 1])


def area_under_curve(positive: np.ndarray, negative: np.ndarray) -> float:
    """Chance that a positive is above a negative; equal ones count half."""
    both = ranks(np.concatenate([positive, negative]))
    least = len(positive) * (len(positive) - 1) / 2
    return float((both[: len(positive)].sum() - least) / (len(positive) * len(negative)))


def play(model: HierarchicalDrumModel, plan: Plan, bars: int, seed: int, guidance: float = 0.0) -> Tensor:
    """Pieces under a plan, (B, T, V)."""
    steps = bars * model.grid.steps_per_bar
    return model.generate(None, steps, plan=plan, batch_size=plan.batch_size, seed=seed, guidance=guidance)


def obtained(hits: Tensor, name: str, grid: Grid) -> np.ndarray:
    """Of each bar, (B, bars)."""
    if name == "density":
        return by_chunk(METRICS["density"], hits, grid, grid.steps_per_bar).numpy()
    return by_chunk(METRICS["syncopation"], hits, grid, grid.steps_per_bar, weak="offbeat").numpy()


def numbers(
    model: HierarchicalDrumModel, name: str, values: np.ndarray, pieces: int, seed: int, guidance: float
) -> dict[str, float]:
    """Rank correlation of planned and obtained: of pieces with one value, and of bars of pieces with a rising curve."""
    random = np.random.default_rng(seed)
    targets = random.choice(values, pieces)
    plan = Plan.free(pieces, BARS)
    plan.numbers[..., NUMBERS.index(name)] = torch.from_numpy(targets).float()[:, None]
    of_pieces = np.nanmean(obtained(play(model, plan, BARS, seed, guidance), name, model.grid), 1)
    low, high = np.quantile(values, (0.1, 0.9))
    curve = np.linspace(low, high, BARS)
    plan.numbers[..., NUMBERS.index(name)] = torch.from_numpy(curve).float()
    of_bars = obtained(play(model, plan, BARS, seed + 1, guidance), name, model.grid)
    error = np.nanmean(np.abs(of_pieces - targets))
    flat = spearman(np.broadcast_to(curve, of_bars.shape).ravel(), of_bars.ravel())
    return {"pieces": spearman(targets, of_pieces), "bars": flat, "error": float(error)}


def fills(model: HierarchicalDrumModel, pieces: int, seed: int, guidance: float) -> float:
    """AUC of novelty for bars that were planned as fills against bars that were planned not to be."""
    random, bars = np.random.default_rng(seed), 2 * BARS
    is_fill = np.zeros((pieces, bars), bool)
    for row in is_fill:
        row[random.choice(np.arange(2, bars), 2, replace=False)] = True
    plan = Plan.free(pieces, bars)
    plan.labels[..., KINDS.index("fill")] = torch.from_numpy(1 + is_fill.astype(np.int64) * FILL.index("fill"))
    novelty = bar_novelty(play(model, plan, bars, seed, guidance), model.grid).numpy()
    return area_under_curve(novelty[is_fill], novelty[~is_fill])


def labelled_fills(folder: Path, grid: Grid, seed: int) -> tuple[float, int]:
    """AUC of novelty for labelled fills that stand in for a bar of a groove, against that bar; and how many."""
    files, sequences = read_folder(folder)
    metas = [read_meta(path) for path in files]
    size = grid.steps_per_bar
    grooves: dict[tuple[str, str], list[np.ndarray]] = {}
    last_bars = []
    for meta, hits in zip(metas, sequences, strict=True):
        group = str(meta.get("source", "")).partition("/")[0], style_of(meta)
        whole = len(hits) // size
        if meta.get("beat_type") == "beat" and whole >= BARS:
            grooves.setdefault(group, []).append(hits)
        elif meta.get("beat_type") == "fill" and whole:
            last_bars.append((group, hits[(whole - 1) * size : whole * size]))
    random = np.random.default_rng(seed)
    with_fill, without = [], []
    for group, fill in last_bars:
        if group in grooves:
            groove = grooves[group][random.integers(len(grooves[group]))]
            bar = random.integers(2, len(groove) // size - 2)
            start = max(bar - grid.bars_per_phrase, 0)
            around = torch.from_numpy(groove[start * size : (bar + 1 + grid.bars_per_phrase) * size]).float()
            place = bar - start
            without.append(bar_novelty(around, grid)[place].item())
            around[place * size : (place + 1) * size] = torch.from_numpy(fill).float()
            with_fill.append(bar_novelty(around, grid)[place].item())
    auc = area_under_curve(np.array(with_fill), np.array(without)) if with_fill else math.nan
    return auc, len(with_fill)


def features(hits: Tensor, grid: Grid) -> Tensor:
    """(B, numbers) of pieces of BARS bars: the mean bar, and metrics."""
    bars = hits.unflatten(1, (-1, grid.steps_per_bar)).mean(1).flatten(1)
    return torch.cat([bars, torch.stack([METRICS[name](hits, grid).nan_to_num(0) for name in FEATURES], -1)], -1)


def windows(folder: Path, size: int) -> tuple[Tensor, list[str]]:
    """Windows of ``size`` steps of all grooves, and their styles."""
    pieces, styles = [], []
    for path, hits in zip(*read_folder(folder), strict=True):
        meta = read_meta(path)
        if meta.get("beat_type", "beat") == "beat":
            for start in range(0, len(hits) - size + 1, size):
                pieces.append(torch.from_numpy(hits[start : start + size]).float())
                styles.append(style_of(meta))
    return torch.stack(pieces), styles


class Classifier:
    """Multinomial logistic regression, L2-regularised, each style weighing the same."""

    def __init__(self, x: Tensor, y: Tensor, classes: int, penalty: float = 3e-3):
        self.mean, self.scale = x.mean(0), x.std(0) + 0.05
        x = (x - self.mean) / self.scale
        self.weight = torch.zeros(x.shape[1] + 1, classes, requires_grad=True)
        counts = torch.bincount(y, minlength=classes).float()
        optimizer = torch.optim.LBFGS([self.weight], max_iter=200, line_search_fn="strong_wolfe")

        def loss() -> Tensor:
            optimizer.zero_grad()
            scores = x @ self.weight[:-1] + self.weight[-1]
            value = F.cross_entropy(scores, y, weight=1 / counts) + penalty * self.weight.square().sum()
            value.backward()
            return value

        optimizer.step(loss)

    def __call__(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            return (((x - self.mean) / self.scale) @ self.weight[:-1] + self.weight[-1]).argmax(-1)


class StyleJudge:
    """A classifier of styles, which is fitted to what people played; and how often it is right.

    Args:
        labels: the model's styles; those with few windows in training are left out.
        folder: with train and validation in it.
        grid: of the model.
    """

    def __init__(self, labels: Sequence[str], folder: Path, grid: Grid):
        self.grid, size = grid, BARS * grid.steps_per_bar
        (train, of_train), (test, of_test) = (windows(folder / split, size) for split in ("train", "validation"))
        counts = Counter(of_train)
        self.styles = sorted(name for name in labels if counts[name] >= MIN_WINDOWS)
        self.classify = Classifier(*self._known(train, of_train), len(self.styles))
        x, y = self._known(test, of_test)
        right = (self.classify(x) == y).float()
        self.people = {
            "styles": len(self.styles),
            "people": right.mean().item(),
            "people_by_style": torch.stack([right[y == style].mean() for style in y.unique()]).mean().item(),
            "chance": 1 / len(self.styles),
        }

    def _known(self, hits: Tensor, names: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Features and numbers of styles of the windows whose style is known."""
        rows = [row for row, name in enumerate(names) if name in self.styles]
        return features(hits[rows], self.grid), torch.tensor([self.styles.index(names[row]) for row in rows])

    def planned(self, model: HierarchicalDrumModel, pieces: int, seed: int, guidance: float) -> float:
        """Share of pieces that are taken for the style that they were planned in."""
        targets = torch.arange(len(self.styles)).repeat_interleave(-(-pieces // len(self.styles)))
        plan = Plan.free(len(targets), BARS)
        codes = torch.tensor([1 + model.labels["style"].index(name) for name in self.styles])
        plan.labels[..., KINDS.index("style")] = codes[targets][:, None]
        named = self.classify(features(play(model, plan, BARS, seed, guidance), self.grid))
        return (named == targets).float().mean().item()


@torch.no_grad()
def bits_under_plan(model: HierarchicalDrumModel, folder: Path) -> float:
    """Bits per step of performances under their whole plan."""
    bits = steps = 0.0
    for path, hits in zip(*read_folder(folder), strict=True):
        plan = read_plan(path, hits, model.grid, model.labels)
        bits -= model.log_prob(torch.from_numpy(hits).float()[None], plan=plan).sum().item() / math.log(2)
        steps += len(hits)
    return bits / steps


ROWS = {
    "density": "density of a piece: rank correlation of plan and music",
    "density_bars": "density of a bar under a rising curve, likewise",
    "offbeat": "off-beat share of a piece, likewise",
    "offbeat_bars": "off-beat share of a bar under a rising curve, likewise",
    "fills": "fills: area under the curve of `bar_novelty`",
    "style": "style: pieces that the classifier takes for the planned style",
}


def follows(
    model: HierarchicalDrumModel,
    values: dict[str, np.ndarray],
    judge: StyleJudge,
    pieces: int,
    seed: int,
    guidance: float,
) -> dict[str, float]:
    """Measures of how well pieces follow their plans, by the keys of ROWS."""
    results: dict[str, float] = {}
    for name, of_bars in values.items():
        measured = numbers(model, name, of_bars, pieces, seed, guidance)
        results |= {name: measured["pieces"], f"{name}_bars": measured["bars"], f"{name}_error": measured["error"]}
    results["fills"] = fills(model, pieces, seed, guidance)
    results["style"] = judge.planned(model, pieces, seed, guidance)
    return results


def main(
    model: tyro.conf.Positional[str],
    npz_dir: tyro.conf.Positional[Path],
    pieces: int = 200,
    guidance: tuple[float, ...] = (0.0, 1.0, 2.0),
    seeds: int = 1,
    out: Path | None = None,
) -> None:
    """Print how well a model follows plans.

    Args:
        model: its name or path.
        npz_dir: folder that prepare wrote, with train and validation.
        pieces: of each kind.
        guidance: strengths of classifier-free guidance.
        seeds: of the pieces, from 0 on.
        out: JSON to write as well.
    """
    drummer = load(model)
    if drummer.labels is None:
        raise HypermeterError(f"{model}: made without labels, so it takes no plan; train it with --use-plan")
    if seeds < 1 or pieces < 1:
        raise HypermeterError(f"seeds is {seeds} and pieces is {pieces}, expected at least 1")
    plans = [
        read_plan(p, s, drummer.grid, drummer.labels) for p, s in zip(*read_folder(npz_dir / "train"), strict=True)
    ]
    played = torch.cat([plan.numbers[0] for plan in plans]).numpy()
    held_out, values = npz_dir / "validation", {}
    for name in ("density", "offbeat"):
        of_bars = played[:, NUMBERS.index(name)]
        values[name] = of_bars[~np.isnan(of_bars) & ((of_bars > 0) | (name != "density"))]
    judge = StyleJudge(drummer.labels["style"], npz_dir, drummer.grid)
    results: dict[str, Any] = {"pieces": pieces, "seeds": seeds, "people": judge.people}
    auc, number = labelled_fills(npz_dir / "train", drummer.grid, 0)
    results |= {"labelled_fills": auc, "labelled": number}
    results["bits"] = bits_per_step(drummer, read_folder(held_out)[1])
    results["bits_under_plan"] = bits_under_plan(drummer, held_out)
    results["guidance"] = {}
    for strength in guidance:
        every = []
        for seed in range(seeds):
            every.append(follows(drummer, values, judge, pieces, seed, strength))
            print(f"guidance {strength:g}, seed {seed}: {every[-1]}", file=sys.stderr)
        results["guidance"][f"{strength:g}"] = every
        if out is not None:
            out.write_text(json.dumps(results, indent=1), encoding="utf-8")
    print("\n".join(table(results)))


def table(results: dict[str, Any]) -> list[str]:
    """The lines of the table, and what it is to be compared with."""
    columns = ["", *(f"guidance {strength}" for strength in results["guidance"])]
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for key, name in ROWS.items():
        cells = [name]
        for every in results["guidance"].values():
            of_seeds = [measured[key] for measured in every]
            spread = f" ({min(of_seeds):.3f} to {max(of_seeds):.3f})" if len(of_seeds) > 1 else ""
            cells.append(f"{sum(of_seeds) / len(of_seeds):.3f}{spread}")
        lines.append(f"| {' | '.join(cells)} |")
    people = results["people"]
    return [
        *lines,
        "",
        f"{results['pieces']} pieces a row, seeds 0 to {results['seeds'] - 1}. The classifier knows {people['styles']}"
        f" styles (chance {people['chance']:.3f}) and is right in {people['people']:.3f} of people's held-out windows"
        f" ({people['people_by_style']:.3f} by style). Labelled fills: {results['labelled_fills']:.3f}"
        f" ({results['labelled']}).",
        f"Bits per step on validation: {results['bits']:.3f} without a plan, {results['bits_under_plan']:.3f} under the"
        " plans of the performances.",
    ]


if __name__ == "__main__":
    try:
        tyro.cli(main)
    except HypermeterError as error:
        print(f"steering: {error}", file=sys.stderr)
        sys.exit(2)
