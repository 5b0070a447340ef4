"""Speed of rollouts on a CPU, and where the time of a step goes.

python benchmarks/speed/rollout.py [--model groove] [--threads 2] [--profile]
"""

from statistics import median
from time import perf_counter, process_time

import torch
import tyro

from hypermeter.learn.rl.rollout import rollout
from hypermeter.model.hierarchical import load

TARGET = 20_000
"""Steps per second that we want at a batch of 256."""


def main(
    model: str = "groove",
    batch_size: tuple[int, ...] = (16, 64, 256),
    bars: int = 8,
    rounds: int = 5,
    threads: int = 2,
    profile: bool = False,
) -> None:
    """Steps per second of all pieces together: median, least and greatest of the rounds.

    On a machine that does other things too, the steps a second of processor time tell more; with one thread they are
    what an idle machine would give.

    Args:
        model: what ``load`` takes.
        batch_size: pieces side by side, one figure each.
        bars: of a piece.
        rounds: beside one to warm up.
        threads: of torch.
        profile: also tell which operations the last batch size spends its time in.
    """
    torch.set_num_threads(threads)
    policy = load(model)
    generator = torch.Generator().manual_seed(0)
    steps = bars * policy.grid.steps_per_bar
    print(f"{model}, {bars} bars of {policy.grid.steps_per_bar} steps, {threads} threads; wanted {TARGET} at 256")
    for rows in batch_size:
        rates, busy = [], []
        for _ in range(rounds + 1):
            begin, begin_busy = perf_counter(), process_time()
            rollout(policy, rows, steps, generator=generator)
            rates.append(rows * steps / (perf_counter() - begin))
            busy.append(rows * steps / (process_time() - begin_busy))
        rates, busy = rates[1:], busy[1:]
        print(
            f"batch {rows:4}: {median(rates):7.0f} steps/s ({min(rates):.0f} to {max(rates):.0f}), "
            f"{median(busy):.0f} steps a second of processor time"
        )
    if profile:
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiled:
            rollout(policy, batch_size[-1], steps, generator=generator)
        print(profiled.key_averages().table(sort_by="self_cpu_time_total", row_limit=12, max_name_column_width=32))


if __name__ == "__main__":
    tyro.cli(main)
