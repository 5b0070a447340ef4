"""What each part of the model is worth, and what other models reach: bits per step on held-out performances.

    python benchmarks/quality/ablations.py NPZ --group parts --seeds 3
    python benchmarks/quality/ablations.py NPZ --group choices --updates 300 --out bench/out/choices --more SONGS
    python benchmarks/quality/ablations.py NPZ --group baselines --seeds 1

Every run has the same data and number of updates. A run that has been done is not done again, so that more rows or
seeds can be added later, and two processes can share a folder where they do different rows.

A difference is that of the bits of all held-out performances, mean over the seeds that both rows have; its interval is
a bootstrap over performances and, where there are several, over seeds.

Bits do not tell whether a model knows where phrases end. So models that stream also play 64 pieces of 32 bars, of which
the table has the phrase's end: how much more the last bars of phrases break with the bars around them (``bar_novelty``)
than the other bars do, with an interval over pieces and seeds. The first line says what it is in people's playing.
"""

import json
import shutil
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal
from unittest import mock

import numpy as np
import torch
import tyro
import variants
from ngram import read

from hypermeter import HierarchicalDrumModel
from hypermeter.core.errors import HypermeterError
from hypermeter.core.files import atomic_write
from hypermeter.core.grid import Grid
from hypermeter.io.checkpoint import find_checkpoint, read_checkpoint
from hypermeter.learn.dataset import read_kit_and_grid, read_meta
from hypermeter.learn.evaluate import performance_bits
from hypermeter.learn.evaluate.music import cut, generated_pieces, phrase_end
from hypermeter.learn.train import TrainConfig, train
from hypermeter.learn.train.run import EMA_DECAY
from hypermeter.model import Parts

BASE: dict[str, Any] = {"evaluate_every": 50, "patience": 99, "learning_rate": 8e-3}


@dataclass(frozen=True)
class Row:
    """What differs from the first row.

    Args:
        what: in words.
        options: of training.
        model: its class.
        batches: function of the batches, in place of the training's own.
        ema_decay: of the averaged weights.
        bars_per_phrase: 4 is the data's.
        with_more: learn from the folder ``more`` too.
    """

    what: str
    options: dict[str, Any] = field(default_factory=dict)
    model: type[HierarchicalDrumModel] = HierarchicalDrumModel
    batches: Any = None
    ema_decay: float = EMA_DECAY
    bars_per_phrase: int = 4
    with_more: bool = False


PARTS = {
    "full": Row("the model"),
    "nophrases": Row(
        "no phrases: no input, no forecast, no place of the bar in its phrase",
        {"parts": Parts(phrase_level=False), "phrase_weight": 0.0, "hop_bars": 4},
        bars_per_phrase=1,
    ),
    "nophrase": Row("no input from the phrase level", {"parts": Parts(phrase_level=False)}),
    "nobar": Row("no input from the bar level", {"parts": Parts(bar_level=False)}),
    "nolevels": Row("no input from either level", {"parts": Parts(bar_level=False, phrase_level=False)}),
    "noatt": Row("no bar attention", {"parts": Parts(bar_attention=False)}),
    "norecall": Row("bar attention, but its hits only through the features", {"parts": Parts(recalled_hits=False)}),
    "nolook": Row("no look-back inputs", {"parts": Parts(look_back=False)}),
    "nopos": Row("no step-of-bar and bar-of-phrase embeddings", {"parts": Parts(positions=False)}),
    "sigmoid": Row("independent voices", {"output": "sigmoid"}),
}

CHOICES = {
    "full": Row("the model"),
    "two_bars": Row("phrases of two bars", {"hop_bars": 4}, bars_per_phrase=2),
    "eight_bars": Row("phrases of eight bars", bars_per_phrase=8),
    "phraseatt": Row("self-attention over phrases", model=variants.PhraseAttention),
    "onehead": Row("bar attention of one head", model=variants.OneHead),
    "eightheads": Row("bar attention of eight heads", model=variants.EightHeads),
    "nodistance": Row("bar attention without distance", model=variants.NoDistance),
    "hits": Row("bar attention whose values are hits only", model=variants.ValuesOfHits),
    "twodeep": Row("bar attention of two layers", model=variants.TwoDeep),
    "k8": Row("mixture of 8", {"num_components": 8}),
    "k64": Row("mixture of 64", {"num_components": 64}),
    "chain": Row("voices one after the other, from the kick", model=variants.Chain),
    "backwards": Row("voices one after the other, from the cymbals", model=variants.ChainBackwards),
    "softmax": Row("softmax over the combinations seen", {"output": "softmax"}),
    "tied": Row("tied embeddings of voices", model=variants.Tied),
    "lstm": Row("LSTM cells", {"cell": "lstm"}),
    "hidden64": Row("levels of 64", {f"{level}_hidden_dim": 64 for level in ("step", "bar", "phrase")}),
    "hidden256": Row("levels of 256", {f"{level}_hidden_dim": 256 for level in ("step", "bar", "phrase")}),
    "noema": Row("last weights, not averaged", ema_decay=0.0),
    "decay0": Row("no weight decay", {"weight_decay": 0.0}),
    "dropout0": Row("no dropout", {"dropout": 0.0}),
    "dropout.5": Row("dropout .5", {"dropout": 0.5}),
    "depth": Row("stochastic depth", model=variants.StochasticDepth),
    "augment": Row("augmentation", {"augment": True}),
    "growing": Row("windows of 128, 256, then 512 steps", batches=variants.growing_batches),
    "more": Row("drums of games beside Groove", with_more=True),
}

NO_AIDS = Parts(bar_attention=False, positions=False, look_back=False)
FLAT: dict[str, Any] = {
    "parts": replace(NO_AIDS, bar_level=False, phrase_level=False), "bar_weight": 0.0, "phrase_weight": 0.0,
}  # fmt: skip
PLAIN: dict[str, Any] = {"parts": NO_AIDS}
AIDED: dict[str, Any] = {**FLAT, "parts": Parts(bar_attention=False, bar_level=False, phrase_level=False)}
FLAT_TRANSFORMER: dict[str, Any] = {**FLAT, "use_transformer": True, "num_layers": 4}


def _rates(name: str, what: str, options: dict[str, Any], rates: Sequence[str]) -> dict[str, Row]:
    return {f"{name}_{rate}": Row(f"{what}, rate {rate}", options | {"learning_rate": float(rate)}) for rate in rates}


BASELINES = {
    **_rates("flatgru", "flat GRU, mixture", FLAT, ("4e-3", "8e-3", "16e-3", "32e-3")),
    **_rates("aided", "flat GRU, mixture, positions, look-back", AIDED, ("8e-3", "16e-3", "32e-3")),
    **_rates(
        "flattr", "flat Transformer of 4 layers, mixture", FLAT_TRANSFORMER, ("1e-3", "2e-3", "4e-3", "8e-3", "16e-3")
    ),
    **_rates("plain", "step, bar and phrase GRUs, mixture", PLAIN, ("8e-3", "16e-3", "32e-3")),
    **_rates("tr", "the model with Transformers", {"use_transformer": True}, ("4e-3", "8e-3", "16e-3")),
}
"""Each at several learning rates; the best is the baseline."""

GROUPS = {"parts": PARTS, "choices": CHOICES, "baselines": BASELINES}
DRAWS = 2_000
PIECES, PIECE_BARS = 64, 32
"""That each model plays."""


def run(
    name: str,
    row: Row,
    updates: int,
    seed: int,
    npz_dir: Path,
    held_out: list[np.ndarray],
    out: Path,
    accelerator: Literal["auto", "cpu", "cuda"] = "cpu",
) -> dict[str, Any]:
    """Train, or read what was trained before: ``bits`` of each held-out performance, ``parameters``, ``seconds``."""
    folder = out / f"{name}-{seed}"
    result = folder / "result.json"
    if result.exists():
        return json.loads(result.read_text("utf-8"))
    start = time.monotonic()
    with ExitStack() as changed:
        changed.enter_context(mock.patch("hypermeter.learn.train.run.HierarchicalDrumModel", row.model))
        changed.enter_context(mock.patch("hypermeter.learn.train.run.EMA_DECAY", row.ema_decay))
        if row.batches is not None:
            changed.enter_context(mock.patch("hypermeter.learn.train.run.batches", row.batches))
        options = BASE | {"max_steps": updates, "accelerator": accelerator} | row.options
        train(TrainConfig.of(npz_dir, folder, seed=seed, **options))
    seconds = time.monotonic() - start
    checkpoint = read_checkpoint(find_checkpoint(folder))
    config = {name: value for name, value in checkpoint.config.items() if name != "encoders"}  # a variant makes its own
    model = row.model.from_config(config, checkpoint.grid, checkpoint.kit)
    model.load_state_dict({name: torch.from_numpy(array) for name, array in checkpoint.tensors.items()})
    bits = performance_bits(model.eval(), held_out)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    record = {"bits": bits.tolist(), "parameters": parameters, "seconds": seconds}
    if row.model is HierarchicalDrumModel:
        made = generated_pieces(model, model.grid, PIECES, PIECE_BARS, seed)
        record["phrase_end"] = [phrase_end(piece, Grid()) for piece in made]
    with atomic_write(result) as temporary:
        temporary.write_text(json.dumps(record), encoding="utf-8")
    return record


def mean_and_interval(values: np.ndarray, seed: int = 0) -> tuple[float, float, float]:
    """Of (seeds, pieces), with a 95 % interval over both; what is NaN takes no part. 0 of nothing."""
    random, is_defined = np.random.default_rng(seed), ~np.isnan(values)
    seeds = random.integers(len(values), size=(DRAWS, len(values)))[:, :, None]
    pieces = random.integers(values.shape[1], size=(DRAWS, len(values), values.shape[1]))
    values = np.where(is_defined, values, 0)
    drawn = values[seeds, pieces].sum((1, 2)) / np.maximum(is_defined[seeds, pieces].sum((1, 2)), 1)
    low, high = np.quantile(drawn, (0.025, 0.975))
    return float(values.sum() / max(is_defined.sum(), 1)), low, high


def data_of(row: Row, npz_dir: Path, out: Path, more: Path | None) -> Path:
    """The folder that a row learns from: the data itself, or a copy in ``out`` with more in it or in other phrases."""
    if row.with_more and more is None:
        raise HypermeterError(f"{row.what!r} needs a folder: pass --more, or leave the row out by --rows")
    if row.bars_per_phrase == 4 and not row.with_more:
        return npz_dir
    folder = out / ("more" if row.with_more else f"phrases-{row.bars_per_phrase}")
    if folder.exists():
        return folder
    half = out / f"{folder.name}.half"
    shutil.rmtree(half, ignore_errors=True)
    for split in ("train", "validation"):
        shutil.copytree(npz_dir / split, half / split)
    for path in sorted(half.rglob("*.npz") if row.bars_per_phrase != 4 else ()):
        meta = read_meta(path)
        grid = replace(read_kit_and_grid(path, meta=meta)[1], bars_per_phrase=row.bars_per_phrase)
        with np.load(path, allow_pickle=False) as arrays:
            kept = {name: arrays[name] for name in arrays.files}
        np.savez(path, **(kept | {"meta": np.array(json.dumps(meta | {"grid": grid.to_dict()}))}))
    if row.with_more:
        assert more is not None
        for path in sorted(more.rglob("*.npz")):
            shutil.copy(path, half / "train" / path.name)
    half.rename(folder)
    return folder


def difference(ours: np.ndarray, reference: np.ndarray, steps: np.ndarray, seed: int = 0) -> tuple[float, float, float]:
    """Of bits per step, with its 95 % interval: arrays are (seeds, performances)."""
    apart = ours - reference
    random = np.random.default_rng(seed)
    seeds = random.integers(len(apart), size=(DRAWS, len(apart)))
    performances = random.integers(apart.shape[1], size=(DRAWS, apart.shape[1]))
    drawn = apart[seeds[:, :, None], performances[:, None]].mean(1).sum(1) / steps[performances].sum(1)
    low, high = np.quantile(drawn, (0.025, 0.975))
    return apart.mean(0).sum() / steps.sum(), low, high


def table(rows: dict[str, Row], results: dict[str, list[dict[str, Any]]], steps: np.ndarray) -> str:
    """Rows as Markdown; those that have been run, in their order. The first is what differences are from."""
    lines = [
        "| | bits per step | spread over seeds | more than the first row (95 %) | phrase's end (95 %) | parameters"
        " | minutes a run |",
        "|---|---|---|---|---|---|---|",
    ]
    reference: np.ndarray | None = None
    for name, runs in results.items():
        bits = np.array([run["bits"] for run in runs])
        per_step = bits.sum(1) / steps.sum()
        spread = f"{per_step.min():.3f} to {per_step.max():.3f}" if len(runs) > 1 else "one seed"
        apart = "-"
        if reference is None:
            reference = bits
        else:
            both = min(len(bits), len(reference))
            mean, low, high = difference(bits[:both], reference[:both], steps)
            apart = f"{mean:+.3f} ({low:+.3f} to {high:+.3f})"
        ends = "-"
        if "phrase_end" in runs[0]:
            mean, low, high = mean_and_interval(np.array([run["phrase_end"] for run in runs]))
            ends = f"{mean:+.3f} ({low:+.3f} to {high:+.3f})"
        minutes = np.median([run["seconds"] for run in runs]) / 60
        cells = (
            rows[name].what,
            f"{per_step.mean():.3f}",
            spread,
            apart,
            ends,
            f"{runs[0]['parameters']:,}",
            f"{minutes:.1f}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main(
    npz_dir: tyro.conf.Positional[Path],
    out: Path = Path("bench/out/ablations"),
    group: Literal["parts", "choices", "baselines"] = "parts",
    rows: tuple[str, ...] = (),
    seeds: int = 3,
    updates: int = 600,
    more: Path | None = None,
    accelerator: Literal["auto", "cpu", "cuda"] = "cpu",
) -> None:
    """Train what is missing, then print the table.

    Args:
        npz_dir: folder that prepare wrote, with train and validation.
        out: folder of the runs.
        group: parts, choices, or baselines.
        rows: names of some of its rows; left out, all.
        seeds: of each row, from 0 on.
        updates: of each run. A folder of runs holds those of one number.
        more: folder of other drums that prepare wrote, for the row that learns from more.
        accelerator: cpu, cuda or auto.
    """
    wanted = GROUPS[group]
    if unknown := set(rows) - set(wanted):
        raise HypermeterError(f"no row {min(unknown)!r}, expected some of {', '.join(wanted)}")
    held_out = read(npz_dir / "validation")[1]
    steps = np.array([len(performance) for performance in held_out])
    names = [name for name in wanted if not rows or name in rows]
    data = {name: data_of(wanted[name], npz_dir, out, more) for name in names}
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for seed in range(seeds):
        for name in names:
            results[name].append(run(name, wanted[name], updates, seed, data[name], held_out, out, accelerator))
    ends = np.array([[phrase_end(piece, Grid()) for piece in cut(held_out, Grid(), PIECE_BARS)]])
    print("Phrase's end in the held-out performances: {:+.3f} ({:+.3f} to {:+.3f})\n".format(*mean_and_interval(ends)))
    print(table(wanted, results, steps))


if __name__ == "__main__":
    try:
        tyro.cli(main)
    except HypermeterError as error:
        print(f"ablations: {error}", file=sys.stderr)
        sys.exit(2)
