"""What reinforcement buys and what it costs: five rewards, each algorithm, several seeds; a table and a picture.

    python benchmarks/quality/reinforcement.py NPZ OUT [--seeds 3] [--algorithms ppo grpo] [--rewards density]
    python benchmarks/quality/reinforcement.py NPZ OUT --unconstrained

Each run is one of ``hypermeter reinforce`` from the shipped model, with KL_BUDGET as its budget and MIN_DIVERSITY as
its least diversity; the best weights within both are judged on pieces of seeds that no run has seen. What is done is
in OUT and is not done again, so that the command may be stopped, and continued with more.

``--unconstrained`` is the report on over-optimisation: no divergence is paid for, nothing stops the run, and the last
weights are judged: what they play when only the reward counts.
"""

import json
import math
import shutil
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
import yaml

from hypermeter import HierarchicalDrumModel, load
from hypermeter.core.errors import HypermeterError
from hypermeter.core.files import atomic_write
from hypermeter.learn.dataset import read_folder, read_meta
from hypermeter.learn.evaluate import bits_per_step
from hypermeter.learn.evaluate.music import repetition
from hypermeter.learn.rl.config import ReinforceConfig
from hypermeter.learn.rl.learners import describe_rollout
from hypermeter.learn.rl.reinforce import reinforce
from hypermeter.learn.rl.reward_files import load_reward
from hypermeter.learn.rl.rewards import Reward
from hypermeter.learn.rl.rollout import rollout
from hypermeter.music.metrics import METRICS, by_chunk

BARS = 8
PIECES = 256
FRESH_SEED = 1_000_000
KL_BUDGET = 0.1
MIN_DIVERSITY = 0.8

REWARDS: dict[str, dict[str, Any]] = {
    "density": {"terms": [{"metric": "avg_hits", "level": "bar", "target": 1.6, "scale": 0.5}]},
    "lhl": {"terms": [{"metric": "lhl", "level": "bar", "want": "more"}]},
    "entropy": {"terms": [{"metric": "ioi_entropy", "level": "bar", "band": [1.0, 1.5], "scale": 0.25}]},
    "consistency": {"terms": [{"metric": "groove_consistency", "level": "phrase", "want": "more", "scale": 0.02}]},
    "jazz": {"style": {"folder": "jazz", "level": "phrase", "weight": 4}},
}
"""Name -> the YAML of a reward. Half a hit a step more than the shipped model plays; syncopation up; more varied
intervals; bars of a phrase more alike; the metrics of people's jazz."""

UNCONSTRAINED_UPDATES = 80

OPTIONS: dict[str, dict[str, Any]] = {
    "ppo": {"updates": 24},
    "grpo": {"updates": 24},
    "reinforce": {"updates": 40, "learning_rate": 3e-4},
    "psi": {"updates": 24, "learning_rate": 3e-5},
}
"""Of each algorithm, found on the density reward with seed 0."""


def jazz_of(npz: Path, out: Path) -> Path:
    """A folder of the performances in ``npz`` whose style is jazz."""
    folder = out / "jazz"
    if not folder.exists():
        paths = [path for path in sorted(npz.glob("*.npz")) if str(read_meta(path).get("style", "")).startswith("jazz")]
        if not paths:
            raise HypermeterError(f"{npz}: no performance in the style jazz; prepare the Groove MIDI Dataset")
        folder.mkdir(parents=True)
        for path in paths:
            shutil.copy(path, folder / path.name)
    return folder


def write_reward(name: str, npz: Path, out: Path) -> Path:
    record = json.loads(json.dumps(REWARDS[name]))
    if "style" in record:
        record["style"]["folder"] = str(jazz_of(npz, out))
    path = out / f"{name}.yaml"
    with atomic_write(path) as temporary:
        temporary.write_text(yaml.safe_dump(record), "utf-8")
    return path


def quantity(reward: Reward, hits: torch.Tensor, model: HierarchicalDrumModel) -> np.ndarray:
    """(pieces,): the mean of what is rewarded, of each piece; of several terms, minus the mean distance in spreads."""
    values = [term.values(hits, model.grid) for term in reward.terms]
    if len(values) > 1:
        apart = [(value - term.target).abs() / term.scale for value, term in zip(values, reward.terms, strict=True)]
        return -torch.stack([difference.nanmean(1) for difference in apart]).nanmean(0).numpy()
    return values[0].nanmean(1).numpy()


def judge(
    policy: HierarchicalDrumModel, reference: HierarchicalDrumModel, reward: Reward, held_out: Sequence[np.ndarray]
) -> dict[str, Any]:
    """What a model plays from silence on fresh seeds, and what it thinks of people's."""
    generator = torch.Generator().manual_seed(FRESH_SEED)
    steps = BARS * policy.grid.steps_per_bar
    played = rollout(policy, PIECES, steps, generator=generator)
    record: dict[str, Any] = describe_rollout(policy, reference, reward, played)
    of_pieces = quantity(reward, played.hits, policy)
    record["quantity"], record["quantity_sd"] = float(np.nanmean(of_pieces)), float(np.nanstd(of_pieces))
    record["repetition"] = repetition([piece.numpy() for piece in played.hits], policy.grid)
    record["held_out"] = bits_per_step(policy, held_out)
    record["metrics"] = {
        name: by_chunk(METRICS[name], played.hits, policy.grid, policy.grid.steps_per_bar).nanmean().item()
        for name in ("avg_hits", "lhl", "ioi_entropy", "co_occurrence", "evenness", "transitions")
    }
    record["share_of_hits"] = (played.hits.sum((0, 1)) / played.hits.sum()).tolist()
    return record


def curve(run: Path) -> list[tuple[float, float]]:
    """(KL, reward) of each evaluation of a run."""
    header, *rows = (run / "log.csv").read_text("utf-8").splitlines()
    names = header.split(",")
    kl, reward = names.index("eval_kl"), names.index("eval_reward")
    cells = [row.split(",") for row in rows]
    return [(float(row[kl]), float(row[reward])) for row in cells if row[kl]]


def do(name: str, algorithm: str, seed: int, npz: Path, out: Path, unconstrained: bool) -> dict[str, Any]:
    """One run and its evaluation, or the stored one."""
    kind = "unconstrained" if unconstrained else "runs"
    run = out / kind / f"{name}-{algorithm}-{seed}"
    result = run / "judged.json"
    if result.exists():
        return json.loads(result.read_text("utf-8"))
    options = dict(OPTIONS[algorithm])
    limits: dict[str, Any] = {"kl_budget": KL_BUDGET, "least_diversity": MIN_DIVERSITY, "evaluate_every": 4}
    if unconstrained:
        limits = {"kl_budget": 1e6, "least_diversity": 0.0, "kl_weight": 0.0, "evaluate_every": 20}
        options["updates"] = UNCONSTRAINED_UPDATES
    validation = npz / "validation"
    config = ReinforceConfig(
        run,
        reward=write_reward(name, npz / "train", out),
        algorithm=algorithm,
        seed=seed,
        held_out=validation,
        **options,
        **limits,
    )
    reinforce(config)
    reference = load(config.model)
    reward = load_reward(config.reward, reference.grid, reference.kit)
    held_out = read_folder(validation)[1]
    weights = run / ("last.safetensors" if unconstrained else "best.safetensors")
    record = judge(load(weights), reference, reward, held_out)
    record |= {"reward_name": name, "algorithm": algorithm, "seed": seed, "curve": curve(run)}
    with atomic_write(result) as temporary:
        temporary.write_text(json.dumps(record), "utf-8")
    return record


def start(name: str, npz: Path, out: Path) -> dict[str, Any]:
    """The same of the shipped model."""
    result = out / "start" / f"{name}.json"
    if result.exists():
        return json.loads(result.read_text("utf-8"))
    model = load("groove")
    reward = load_reward(write_reward(name, npz / "train", out), model.grid, model.kit)
    record = judge(model, model, reward, read_folder(npz / "validation")[1])
    result.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(result) as temporary:
        temporary.write_text(json.dumps(record), "utf-8")
    return record


def gains(name: str, runs: list[dict[str, Any]], before: dict[str, Any]) -> str:
    """What of the wish was had by the runs, least and most: of a target, how much of the gap; of others, the rise in
    standard deviations of the shipped model's pieces."""
    if name == "density":
        gap = REWARDS[name]["terms"][0]["target"] - before["quantity"]
        shares = [1 - abs(before["quantity"] + gap - run["quantity"]) / abs(gap) for run in runs]
        return f"{100 * min(shares):.0f} % to {100 * max(shares):.0f} % of the gap"
    shares = [(run["quantity"] - before["quantity"]) / before["quantity_sd"] for run in runs]
    return f"{min(shares):+.1f} to {max(shares):+.1f} SD"


def table(records: list[dict[str, Any]], before: dict[str, dict[str, Any]]) -> str:
    """Means over seeds; of what was wished for, KL and distinct bars also the least and the most."""
    lines = [
        "| reward | algorithm | reward of a piece | the metric, and its change | KL | held-out bits "
        "| distinct bars | repetition |",
        "|---|---|---|---|---|---|---|---|",
    ]
    groups: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for run in records:
        groups[run["reward_name"], run["algorithm"]].append(run)
    for name, first in before.items():
        lines.append(
            f"| {name} | shipped model | {first['reward']:.2f} | {first['quantity']:.3f} | 0 | {first['held_out']:.3f} "
            f"| {100 * first['distinct_bars']:.0f} % | {np.nanmean(first['repetition']):.2f} |"
        )
        for (of, algorithm), runs in groups.items():
            if of != name:
                continue
            mean = {
                key: float(np.mean([np.nanmean(run[key]) for run in runs]))
                for key in ("reward", "quantity", "kl", "held_out", "repetition", "distinct_bars")
            }
            kl, bars = ([run[key] for run in runs] for key in ("kl", "distinct_bars"))
            lines.append(
                f"| | `{algorithm}` | {mean['reward']:.2f} | {mean['quantity']:.3f}, {gains(name, runs, first)} "
                f"| {mean['kl']:.3f} ({min(kl):.3f} to {max(kl):.3f}) | {mean['held_out']:.3f} "
                f"| {100 * mean['distinct_bars']:.0f} % ({100 * min(bars):.0f} % to {100 * max(bars):.0f} %) "
                f"| {mean['repetition']:.2f} |"
            )
    return "\n".join(lines)


def picture(records: list[dict[str, Any]], path: Path) -> None:
    """Reward against KL: one panel a reward, one colour an algorithm, one line a seed."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    names = [name for name in REWARDS if any(run["reward_name"] == name for run in records)]
    figure, axes = plt.subplots(1, len(names), figsize=(3.4 * len(names), 3.2), squeeze=False, layout="constrained")
    colours = dict(zip(OPTIONS, ("tab:blue", "tab:orange", "tab:green", "tab:red"), strict=True))
    for axis, name in zip(axes[0], names, strict=True):
        labelled = set()
        for run in records:
            if run["reward_name"] == name:
                algorithm = run["algorithm"]
                label = None if algorithm in labelled else algorithm
                labelled.add(algorithm)
                axis.plot(*np.array(run["curve"]).T, ".-", color=colours[algorithm], label=label, lw=1, ms=4)
        axis.set_title(name)
        axis.set_xlabel("KL, nats per step")
        axis.axvline(KL_BUDGET, color="0.7", lw=0.8, ls="--")
        axis.spines[["top", "right"]].set_visible(False)
    axes[0][0].set_ylabel("reward of a piece")
    axes[0][0].legend(frameon=False)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def hacking(records: list[dict[str, Any]], before: dict[str, dict[str, Any]], voices: Sequence[str]) -> str:
    """What an unconstrained run collapses to."""
    lines = [
        "| reward | algorithm | reward of a piece | KL | entropy | distinct bars | held-out bits | hits "
        "| most played |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for run in records:
        first, shares = before[run["reward_name"]], np.array(run["share_of_hits"])
        most = ", ".join(f"{voices[v]} {100 * shares[v]:.0f} %" for v in np.argsort(-shares)[:3])
        lines.append(
            f"| {run['reward_name']} | `{run['algorithm']}` | {first['reward']:.2f} to {run['reward']:.2f} "
            f"| {run['kl']:.2f} | {run['entropy']:.2f} | {100 * run['distinct_bars']:.0f} % "
            f"| {run['held_out']:.2f} | {run['hits']:.2f} | {most} |"
        )
    return "\n".join(lines)


def main(
    npz: tyro.conf.Positional[Path],
    out: tyro.conf.Positional[Path],
    seeds: int = 3,
    rewards: tuple[str, ...] = tuple(REWARDS),
    algorithms: tuple[str, ...] = ("ppo", "grpo", "reinforce", "psi"),
    unconstrained: bool = False,
) -> None:
    """Print a table of Markdown, and save a picture.

    Args:
        npz: folder with train/ (for the style) and validation/ (held out).
        out: folder of runs and results; what is done there is not done again.
        seeds: runs of each kind, from seed 0.
        rewards: which, of REWARDS.
        algorithms: which, of OPTIONS.
        unconstrained: the report on over-optimisation in place of the table.
    """
    if unconstrained:  # psi has no values without a price on divergence
        algorithms = tuple(algorithm for algorithm in algorithms if algorithm != "psi")
    for chosen, allowed in ((rewards, REWARDS), (algorithms, OPTIONS)):
        if unknown := set(chosen) - set(allowed):
            raise HypermeterError(f"{min(unknown)}: expected some of {', '.join(allowed)}")
    out.mkdir(parents=True, exist_ok=True)
    before = {name: start(name, npz, out) for name in rewards}
    records = [
        do(name, algorithm, seed, npz, out, unconstrained)
        for seed in range(seeds)
        for algorithm in algorithms
        for name in rewards
    ]
    if unconstrained:
        kit = load("groove").kit
        assert kit is not None
        print(hacking(records, before, [voice.name for voice in kit.voices]))
    else:
        print(table(records, before))
        picture(records, out / "reward_against_kl.png")
        print(f"\n{out / 'reward_against_kl.png'}")
    if any(not math.isfinite(record["reward"]) for record in records):
        raise HypermeterError(f"{out}: a reward is not a finite number")


if __name__ == "__main__":
    try:
        tyro.cli(main)
    except HypermeterError as error:
        print(f"reinforcement: {error}", file=sys.stderr)
        sys.exit(2)
