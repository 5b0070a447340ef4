"""Whether a learnt code of the bar to come, which the bar and phrase levels predict, tells a step level anything.

    python benchmarks/quality/codes.py MIX MODEL [--codes 64] [--out bench/out/codes]

The plan as a learnt code: bars of the training performances are grouped by k-means of their hits, and the number of its
group is the code of a bar. The model's part for plans is taught to follow codes, as it follows sections (``train --only
plan``, where each bar of the data has its code as its section). Two linear readers then learn to predict the code of a
bar, on the frozen model: one from the outputs of the bar and phrase levels, one from the features of the step level
before the first step of the bar.

The measures, which were chosen before the first run, on held-out performances, in bits per step:

1. the code as the bar and phrase levels predict it, and as the step level does: if the levels hold what the step level
   does not, the first is lower;
2. the steps given the true codes plus the code: at most the bits of the steps without codes, if the way through a code
   is worth taking (it is an upper bound of the bits of a model with the code as a latent variable).
"""

import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
import tyro
from torch import Tensor, nn

from hypermeter import HierarchicalDrumModel, load
from hypermeter.core.errors import HypermeterError
from hypermeter.core.files import atomic_write
from hypermeter.learn.dataset import read_folder, read_meta
from hypermeter.learn.train import TrainConfig, train
from hypermeter.model.plan import KINDS, Plan

ROUNDS = 40
"""Of k-means."""
READER_UPDATES, READER_RATE = 400, 3e-3


def bars_of(hits: np.ndarray, size: int) -> np.ndarray:
    """Return all bars (bars, size * V), the last one padded with silence."""
    return np.pad(hits, ((0, -len(hits) % size), (0, 0))).reshape(-1, size * hits.shape[1]).astype(np.float32)


def nearest(bars: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Return the number of the nearest centre of each bar."""
    return ((centres**2).sum(1) - 2 * bars @ centres.T).argmin(1)


def find_centres(bars: np.ndarray, number: int, seed: int) -> np.ndarray:
    """Return centres (number, cells) by k-means from random bars; an empty group begins anew at a random bar."""
    random = np.random.default_rng(seed)
    distinct = np.unique(bars, axis=0)
    centres = distinct[random.choice(len(distinct), number, replace=False)]
    for _ in range(ROUNDS):
        group = nearest(bars, centres)
        centres = np.stack(
            [
                bars[group == k].mean(0) if (group == k).any() else bars[random.integers(len(bars))]
                for k in range(number)
            ]
        )
    return centres


def write_coded(npz_dir: Path, out: Path, centres: np.ndarray, size: int) -> None:
    """Write the data with the code of each bar as its section."""
    for split in ("train", "validation"):
        (out / split).mkdir(parents=True, exist_ok=True)
        for path, hits in zip(*read_folder(npz_dir / split), strict=True):
            with np.load(str(path), allow_pickle=False) as arrays:
                kept = {name: arrays[name] for name in arrays.files if name != "section"}
            names = np.array([f"c{code:03d}" for code in nearest(bars_of(hits, size), centres)])
            np.savez(out / split / Path(str(path)).name, **kept, section=names)


@torch.no_grad()
def inputs_of(
    model: HierarchicalDrumModel, performances: Sequence[np.ndarray], centres: np.ndarray
) -> tuple[Tensor, Tensor, Tensor]:
    """Return what stands before each bar but the first: outputs of the levels, features of the step level; its code."""
    size, phrase = model.grid.steps_per_bar, model.grid.bars_per_phrase
    levels, features, codes = [], [], []
    caught: dict[str, Tensor] = {}
    hooks = [
        getattr(model, name).register_forward_hook(lambda _module, _in, out, name=name: caught.update({name: out}))
        for name in ("bar_rnn", "phrase_rnn")
    ]
    for hits in performances:
        if len(hits) <= size:
            continue
        found = model(torch.from_numpy(hits).float()[None]).features[0]
        code = nearest(bars_of(hits, size), centres)
        bars, phrases = caught["bar_rnn"][0], F.pad(caught["phrase_rnn"][0], (0, 0, 1, 0))
        bar = torch.arange(1, len(code))
        levels.append(torch.cat([bars[bar - 1], phrases[bar // phrase]], -1))
        features.append(found[bar * size])
        codes.append(torch.from_numpy(code[1:]))
    for hook in hooks:
        hook.remove()
    return torch.cat(levels), torch.cat(features), torch.cat(codes)


def read(train_x: Tensor, train_y: Tensor, test_x: Tensor, test_y: Tensor, number: int, seed: int) -> float:
    """Return the best held-out cross entropy in bits a code of a linear reader, over its training."""
    torch.manual_seed(seed)
    mean, scale = train_x.mean(0), train_x.std(0) + 1e-3
    train_x, test_x = (train_x - mean) / scale, (test_x - mean) / scale
    reader = nn.Linear(train_x.shape[1], number)
    optimizer = torch.optim.AdamW(reader.parameters(), lr=READER_RATE, weight_decay=0.1)
    best = math.inf
    for update in range(READER_UPDATES):
        loss = F.cross_entropy(reader(train_x), train_y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if update % 10 == 9:
            with torch.no_grad():
                best = min(best, F.cross_entropy(reader(test_x), test_y).item() / math.log(2))
    return best


@torch.no_grad()
def bits(model: HierarchicalDrumModel, performances: Sequence[np.ndarray], centres: np.ndarray | None) -> float:
    """Return the bits of the steps after the first bar of each performance, under the true codes or without."""
    size, total = model.grid.steps_per_bar, 0.0
    for hits in performances:
        plan = None
        if centres is not None:
            assert model.labels is not None
            names = [f"c{code:03d}" for code in nearest(bars_of(hits, size), centres)]
            plan = Plan.free(1, len(names))
            known = list(model.labels["section"])
            plan.labels[0, :, KINDS.index("section")] = torch.tensor(
                [1 + known.index(name) if name in known else 0 for name in names]
            )
        total -= model.log_prob(torch.from_numpy(hits).float()[None], plan=plan)[0, size:].sum().item()
    return total / math.log(2)


def main(
    npz_dir: tyro.conf.Positional[Path],
    model: tyro.conf.Positional[str],
    out: Path = Path("bench/out/codes"),
    codes: tuple[int, ...] = (16, 64),
    updates: int = 400,
    seed: int = 0,
) -> None:
    """Print a table.

    Args:
        npz_dir: folder that prepare wrote, in one metre, with train and validation.
        model: without labels (the codes are its first).
        out: folder of the coded data, the runs and results.json.
        codes: numbers of codes.
        updates: of the part for plans.
        seed: of all random numbers.
    """
    drummer = load(model)
    if drummer.labels is not None:
        raise HypermeterError(f"{model}: it has labels already; name a model that was made without")
    size = drummer.grid.steps_per_bar
    (names, played), (_, held_out) = (read_folder(npz_dir / split) for split in ("train", "validation"))
    by_source: dict[str, np.ndarray] = {}  # a performance that is in the data twice counts once
    for name, hits in zip(names, played, strict=True):
        by_source.setdefault(str(read_meta(name).get("source", name)), hits)
    train_hits = list(by_source.values())
    steps = sum(max(len(hits) - size, 0) for hits in held_out)
    free, results = bits(drummer, held_out, None) / steps, {}
    print(
        f"{len(held_out)} performances, {steps} steps after their first bars; without codes {free:.3f} bits per step\n"
    )
    print("| codes | steps given the codes | code by bar and phrase levels | code by the step level | both together |")
    print("|---|---|---|---|---|")
    for number in codes:
        centres = find_centres(np.concatenate([bars_of(hits, size) for hits in train_hits]), number, seed)
        folder = out / f"codes-{number}"
        if not (folder / "npz").is_dir():
            write_coded(npz_dir, folder / "half", centres, size)
            (folder / "half").rename(folder / "npz")
        options = {"max_steps": updates, "evaluate_every": updates // 2, "learning_rate": 5e-3, "dropout": 0.2}
        options |= {"seq_len": 128, "batch_size": 64, "use_plan": True, "init": model, "only": "plan", "seed": seed}
        train(TrainConfig.of(folder / "npz", folder / "run", accelerator="cpu", **options))
        given = bits(load(folder / "run"), held_out, centres) / steps
        (*train_x, train_y), (*test_x, test_y) = (inputs_of(drummer, hits, centres) for hits in (train_hits, held_out))
        by_levels, by_steps = (
            read(one, train_y, other, test_y, number, seed) * len(test_y) / steps
            for one, other in zip(train_x, test_x, strict=True)
        )
        both = given + min(by_levels, by_steps)
        print(f"| {number} | {given:.3f} | {by_levels:.3f} | {by_steps:.3f} | {both:.3f} |", flush=True)
        results[number] = {"given": given, "by_levels": by_levels, "by_steps": by_steps, "free": free}
        with atomic_write(out / "results.json") as temporary:
            temporary.write_text(json.dumps(results, indent=1), encoding="utf-8")


if __name__ == "__main__":
    try:
        tyro.cli(main)
    except HypermeterError as error:
        print(f"codes: {error}", file=sys.stderr)
        sys.exit(2)
