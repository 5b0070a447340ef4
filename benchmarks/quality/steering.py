"""How well a model follows a plan: density, off-beat share, fills and style, planned and obtained.

    python benchmarks/quality/steering.py MODEL NPZ [--pieces 200] [--guidance 0]

- Density and off-beat share: pieces of eight bars, each with one value drawn from those of the training bars;
  rank correlation (Spearman) of planned and obtained, of the pieces' means and of single bars under a curve.
- Fills: pieces of 16 bars, of which some are planned as fills and the others not: area under the curve (AUC) of
  ``bar_novelty`` for telling them apart. The same measure is checked against the bars that people played and labelled
  as fills, each put in the place of a bar of a groove of the same drummer and style.
- Style: a classifier (multinomial logistic regression on mean bars and metrics of eight bars) is fitted to the training
  performances, and classifies the held-out ones and pieces that were planned in a style.
- What learning plans costs: bits per step of held-out performances without a plan, and under their whole plan.
"""

import json
import math
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
import tyro
from torch import Tensor

from hypermeter import HierarchicalDrumModel, load
from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.learn.dataset import read_folder, read_meta, read_plan
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
        group = str(meta["source"]).partition("/")[0], str(meta["style"]).partition("/")[0]
        whole = len(hits) // size
        if meta["beat_type"] == "beat" and whole >= BARS:
            grooves.setdefault(group, []).append(hits)
        elif meta["beat_type"] == "fill" and whole:
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
    return area_under_curve(np.array(with_fill), np.array(without)), len(with_fill)


def features(hits: Tensor, grid: Grid) -> Tensor:
    """(B, numbers) of pieces of BARS bars: the mean bar, and metrics."""
    bars = hits.unflatten(1, (-1, grid.steps_per_bar)).mean(1).flatten(1)
    return torch.cat([bars, torch.stack([METRICS[name](hits, grid).nan_to_num(0) for name in FEATURES], -1)], -1)


def windows(folder: Path, size: int) -> tuple[Tensor, list[str]]:
    """Windows of ``size`` steps of all grooves, and their styles."""
    pieces, styles = [], []
    for path, hits in zip(*read_folder(folder), strict=True):
        meta = read_meta(path)
        if meta["beat_type"] == "beat":
            for start in range(0, len(hits) - size + 1, size):
                pieces.append(torch.from_numpy(hits[start : start + size]).float())
                styles.append(str(meta["style"]).partition("/")[0])
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


def styles(model: HierarchicalDrumModel, folder: Path, pieces: int, seed: int, guidance: float) -> dict[str, float]:
    """How often the classifier names the style: of held-out people, and of pieces that were planned in it."""
    size = BARS * model.grid.steps_per_bar
    (train, of_train), (test, of_test) = (windows(folder / split, size) for split in ("train", "validation"))
    style_names = [name for name, count in Counter(of_train).most_common() if count >= MIN_WINDOWS]
    style_names = sorted(name for name in style_names if name in model.labels["style"])
    place = {name: number for number, name in enumerate(style_names)}

    def with_styles(hits: Tensor, names: Sequence[str]) -> tuple[Tensor, Tensor]:
        rows = [row for row, name in enumerate(names) if name in place]
        return features(hits[rows], model.grid), torch.tensor([place[names[row]] for row in rows])

    classify = Classifier(*with_styles(train, of_train), len(style_names))
    x, y = with_styles(test, of_test)
    targets = torch.arange(len(style_names)).repeat_interleave(-(-pieces // len(style_names)))
    plan = Plan.free(len(targets), BARS)
    codes = torch.tensor([1 + model.labels["style"].index(name) for name in style_names])
    plan.labels[..., KINDS.index("style")] = codes[targets][:, None]
    named = classify(features(play(model, plan, BARS, seed, guidance), model.grid))
    right = (classify(x) == y).float()
    return {
        "styles": len(style_names),
        "people": right.mean().item(),
        "people_by_style": torch.stack([right[y == style].mean() for style in y.unique()]).mean().item(),
        "planned": (named == targets).float().mean().item(),
        "chance": 1 / len(style_names),
    }


@torch.no_grad()
def bits_under_plan(model: HierarchicalDrumModel, folder: Path) -> float:
    """Bits per step of performances under their whole plan."""
    bits = steps = 0.0
    for path, hits in zip(*read_folder(folder), strict=True):
        plan = read_plan(path, hits, model.grid, model.labels)
        bits -= model.log_prob(torch.from_numpy(hits).float()[None], plan=plan).sum().item() / math.log(2)
        steps += len(hits)
    return bits / steps


def main(
    model: tyro.conf.Positional[str],
    npz_dir: tyro.conf.Positional[Path],
    pieces: int = 200,
    guidance: float = 0.0,
    seed: int = 0,
    out: Path | None = None,
) -> None:
    """Print how well a model follows plans.

    Args:
        model: its name or path.
        npz_dir: folder that prepare wrote, with train and validation.
        pieces: of each kind.
        guidance: strength of classifier-free guidance.
        seed: of the pieces.
        out: JSON to write as well.
    """
    drummer = load(model)
    if drummer.labels is None:
        raise HypermeterError(f"{model}: made without labels, so it takes no plan; train it with --use-plan")
    plans = [
        read_plan(p, s, drummer.grid, drummer.labels) for p, s in zip(*read_folder(npz_dir / "train"), strict=True)
    ]
    played = torch.cat([plan.numbers[0] for plan in plans]).numpy()
    held_out = npz_dir / "validation"
    results: dict[str, dict[str, float] | float] = {}
    for name in ("density", "offbeat"):
        values = played[:, NUMBERS.index(name)]
        values = values[~np.isnan(values)]
        if name == "density":
            values = values[values > 0]
        results[name] = numbers(drummer, name, values, pieces, seed, guidance)
    results["fills"] = fills(drummer, pieces, seed, guidance)
    results["labelled_fills"], results["labelled"] = labelled_fills(npz_dir / "train", drummer.grid, seed)
    results["style"] = styles(drummer, npz_dir, pieces, seed, guidance)
    results["bits"] = bits_per_step(drummer, read_folder(held_out)[1])
    results["bits_under_plan"] = bits_under_plan(drummer, held_out)
    print(json.dumps(results, indent=1))
    if out is not None:
        out.write_text(json.dumps(results, indent=1), encoding="utf-8")


if __name__ == "__main__":
    try:
        tyro.cli(main)
    except HypermeterError as error:
        print(f"steering: {error}", file=sys.stderr)
        sys.exit(2)
