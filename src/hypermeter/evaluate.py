"""The benchmark card: how well a model predicts performances that it has not seen."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import torch.nn.functional as F
import tyro
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from hypermeter.dataset import read_sequence
from hypermeter.grid import HypermeterError, atomic_write
from hypermeter.losses import level_loss
from hypermeter.metrics import chunk_means
from hypermeter.model import HierarchicalDrumModel, Prediction, load

BOOTSTRAP_DRAWS = 2_000


@torch.no_grad()
def performance_bits(
    model: HierarchicalDrumModel, sequences: Sequence[np.ndarray], batch_steps: int = 16_384
) -> np.ndarray:
    """-log2 p of each whole performance, each step given all before it.

    Args:
        model: in eval mode.
        sequences: hits (T, V) of each performance, T >= 1.
        batch_steps: most steps that run together, padding included; it does not change the result.

    Returns:
        (performances,) bits, summed over steps and voices.
    """
    bits = np.zeros(len(sequences))
    order = sorted(range(len(sequences)), key=lambda index: len(sequences[index]))
    while order:
        batch = [order.pop()]
        while order and (len(batch) + 1) * len(sequences[batch[0]]) <= batch_steps:
            batch.append(order.pop())
        rows = [torch.from_numpy(sequences[index]).float() for index in batch]
        log_prob = model.log_prob(pad_sequence(rows, batch_first=True).to(next(model.parameters()).device))
        for index, row in zip(batch, log_prob.double().cpu(), strict=True):
            bits[index] = -row[: len(sequences[index])].sum().item() / math.log(2)
    return bits


def bits_per_step(model: HierarchicalDrumModel, sequences: Sequence[np.ndarray]) -> float:
    """Bits per step, summed over voices, of all performances together (long ones weigh more)."""
    return float(performance_bits(model, sequences).sum() / sum(map(len, sequences)))


def summarize(bits: np.ndarray, steps: np.ndarray, seed: int = 0) -> dict[str, float]:
    """Bits per step with a 95 % interval by bootstrap over performances.

    Args:
        bits: (performances,) of each.
        steps: (performances,) of each.
        seed: of the bootstrap.

    Returns:
        ``bits_per_step`` (all steps together), ``low`` and ``high`` of it, ``mean_of_performances``, ``performances``,
        ``steps``.
    """
    draws = np.random.default_rng(seed).integers(len(bits), size=(BOOTSTRAP_DRAWS, len(bits)))
    low, high = np.quantile(bits[draws].sum(1) / steps[draws].sum(1), (0.025, 0.975))
    return {
        "bits_per_step": float(bits.sum() / steps.sum()),
        "low": float(low),
        "high": float(high),
        "mean_of_performances": float((bits / steps).mean()),
        "performances": len(bits),
        "steps": int(steps.sum()),
    }


@torch.no_grad()
def forecasts(model: HierarchicalDrumModel, sequences: Sequence[np.ndarray]) -> dict[str, dict[str, float]]:
    """Next bar and next phrase against repeating the last: cross entropy (nats) and squared error, a cell.

    A repeated pattern is kept within .02 to .98 for the cross entropy, as its logarithm would be infinite otherwise.
    Only whole bars and phrases that have one before them are forecast.
    """
    totals: dict[str, dict[str, float]] = {
        level: dict.fromkeys(("model_bce", "last_bce", "model_mse", "last_mse", "cells"), 0.0)
        for level in ("bar", "phrase")
    }
    for sequence in sequences:
        step = torch.from_numpy(sequence).float()[None]
        prediction: Prediction = model(step)
        for level, size, logits in (
            ("bar", model.grid.steps_per_bar, prediction.bar_logits),
            ("phrase", model.grid.steps_per_phrase, prediction.phrase_logits),
        ):
            whole = len(sequence) // size
            if whole < 2:
                continue
            patterns = chunk_means(step, size)[:, :whole]
            _add_forecast(totals[level], logits[:, :whole], patterns)
    return {
        level: {name: value / max(sums["cells"], 1) for name, value in sums.items() if name != "cells"}
        for level, sums in totals.items()
    }


def _add_forecast(sums: dict[str, float], logits: Tensor, patterns: Tensor) -> None:
    mask = torch.ones(patterns.shape[:2], dtype=torch.bool)
    chunks = patterns.shape[1] - 1
    repeated = patterns.clamp(0.02, 0.98)
    for name, preds, kind, is_logits in (
        ("model_bce", logits, "bce", True),
        ("last_bce", repeated, "bce", False),
        ("model_mse", logits, "mse", True),
        ("last_mse", patterns, "mse", False),
    ):
        sums[name] += level_loss(preds, patterns, mask, kind, is_logits).item() * chunks
    sums["cells"] += chunks * patterns.shape[2]


@torch.no_grad()
def next_step_f1(model: HierarchicalDrumModel, sequences: Sequence[np.ndarray]) -> dict[str, float]:
    """Precision, recall and F1 of hits forecast one step ahead (probability of at least one half)."""
    found = forecast = played = 0.0
    for sequence in sequences:
        step = torch.from_numpy(sequence).float()[None]
        hits = F.pad(model(step).step_preds[:, :-1] >= 0.5, (0, 0, 1, 0))
        found += (hits * step)[:, 1:].sum().item()
        forecast += hits[:, 1:].sum().item()
        played += step[:, 1:].sum().item()
    precision, recall = found / max(forecast, 1), found / max(played, 1)
    return {"precision": precision, "recall": recall, "f1": 2 * found / max(forecast + played, 1)}


def evaluate(model: HierarchicalDrumModel, npz_dir: str | Path, seed: int = 0) -> dict[str, Any]:
    """Everything the card says, as a dict that JSON can hold.

    Args:
        model: in eval mode.
        npz_dir: folder of performances that the model has not seen.
        seed: of the bootstrap.

    Raises:
        HypermeterError: no .npz there, a bad one, or another number of voices than the model's.
    """
    paths = sorted(Path(npz_dir).rglob("*.npz"))
    sequences, groups = [], []
    for path in paths:
        sequence = read_sequence(path)
        if sequence.shape[1] != model.num_drums:
            raise HypermeterError(f"{path}: {sequence.shape[1]} voices, the model has {model.num_drums}; use its kit")
        if len(sequence):
            sequences.append(sequence)
            groups.append(_groups(path))
    if not sequences:
        raise HypermeterError(f"{npz_dir}: no .npz with a step in it; make some with hypermeter prepare")
    bits, steps = performance_bits(model, sequences), np.array([len(each) for each in sequences])
    by_group: dict[str, dict[str, float]] = {}
    for group in sorted({each for members in groups for each in members}):
        rows = np.array([group in members for members in groups])
        by_group[group] = summarize(bits[rows], steps[rows], seed)
    return {
        "parameters": sum(each.numel() for each in model.parameters()),
        "all": summarize(bits, steps, seed),
        "groups": by_group,
        "forecasts": forecasts(model, sequences),
        "next_step": next_step_f1(model, sequences),
        "seed": seed,
    }


def _groups(path: Path) -> list[str]:
    """Style and beat or fill, where the file knows them."""
    with np.load(path, allow_pickle=False) as archive:
        try:
            about = json.loads(str(archive["meta"])) if "meta" in archive else {}
        except ValueError:
            about = {}
    if not isinstance(about, dict):
        return []
    style, beat_type = about.get("style"), about.get("beat_type")
    return [name for name in (beat_type, style and f"style: {str(style).split('/')[0]}") if name]


def card(name: str, result: dict[str, Any]) -> str:
    """The result as Markdown."""
    lines = [
        f"# {name}",
        "",
        "| performances | number | steps | bits per step | 95 % interval | mean of performances |",
        "|---|---|---|---|---|---|",
    ]
    for group, each in {"all": result["all"], **result["groups"]}.items():
        interval = f"{each['low']:.3f} to {each['high']:.3f}"
        lines.append(
            f"| {group} | {each['performances']} | {each['steps']} | {each['bits_per_step']:.3f} | {interval} |"
            f" {each['mean_of_performances']:.3f} |"
        )
    lines += ["", "| forecast of the next | cross entropy a cell: model, repeating | squared error: model, repeating |"]
    lines.append("|---|---|---|")
    for level, each in result["forecasts"].items():
        cross_entropy = f"{each['model_bce']:.4f}, {each['last_bce']:.4f}"
        lines.append(f"| {level} | {cross_entropy} | {each['model_mse']:.5f}, {each['last_mse']:.5f} |")
    step = result["next_step"]
    lines += ["", f"Hits one step ahead: precision {step['precision']:.3f}, recall {step['recall']:.3f}, "]
    lines[-1] += f"F1 {step['f1']:.3f}. {result['parameters']:,} parameters. Bootstrap seed {result['seed']}."
    return "\n".join(lines) + "\n"


def evaluate_command(
    model: Annotated[str, tyro.conf.arg(metavar="MODEL")],
    npz_dir: Annotated[Path, tyro.conf.arg(metavar="NPZ_DIR")],
    out: Path | None = None,
    seed: int = 0,
) -> None:
    """Print the benchmark card of a model on held-out performances.

    Bits per step are summed over voices: lower is better. Each performance is read whole, each step predicted from all
    before it.

    Args:
        model: a shipped model's name, a checkpoint, or the folder of a training run.
        npz_dir: folder of .npz, such as the validation folder that prepare wrote.
        out: where given, the card goes to OUT.md and OUT.json as well.
        seed: of the bootstrap.

    Raises:
        HypermeterError: a model or folder that does not fit.
    """
    result = evaluate(load(model), npz_dir, seed)
    text = card(f"{model} on {npz_dir.name}", result)
    print(text)
    if out is not None:
        for path, content in ((out.with_suffix(".md"), text), (out.with_suffix(".json"), json.dumps(result, indent=1))):
            with atomic_write(path) as temporary:
                temporary.write_text(content, encoding="utf-8")
            print(path)
