"""Training beside an earlier build and a bare GRU: updates a second, where an update's time goes, two processes.

    python benchmarks/speed/training.py NPZ --before PYTHON [--rounds 9] [--updates 2] [--out FILE.json]

NPZ is a folder that ``hypermeter prepare`` wrote, PYTHON the interpreter of an environment of its own, in which the
earlier build is installed; `player.py` has how to make one. An update is all that ``train`` does between two batches:
forward pass, loss, backward pass, clipping, AdamW and the averaged weights, with the default settings. The bare GRU is
two layers of 128, a linear layer and binary cross entropy, on the same batches, with AdamW.

All take turns in one run, each in a process of its own, on one thread. Figures are medians of the rounds, ratios are
taken round by round. On a machine that others use, seconds of the processor are the more reliable ones.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any

import tyro

from hypermeter.core.errors import HypermeterError
from hypermeter.core.files import atomic_write

WORKER = Path(__file__).with_name("training_worker.py")
BATCH_SIZE = 16


class Worker:
    """A process that makes updates when asked."""

    def __init__(self, python: Path, kind: str, npz_dir: Path, batch_size: int = BATCH_SIZE):
        self.process = subprocess.Popen(
            [python, WORKER, kind, npz_dir, str(batch_size)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment(python),
        )  # fmt: skip
        self._answer()

    def ask(self, question: str | int) -> Any:
        """Return the answer to a number of updates, or to ``parts``."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{question}\n")
        self.process.stdin.flush()
        return json.loads(self._answer())

    def close(self) -> None:
        self.process.communicate()  # closes its input, at whose end it ends

    def _answer(self) -> str:
        assert self.process.stdout is not None
        if line := self.process.stdout.readline():
            return line
        raise HypermeterError(f"{self.process.args[0]}: the process ended; its message is above")  # type: ignore[index]


def environment(python: Path) -> dict[str, str]:
    """Return the variables of a process: one thread, and an interpreter of another build finds its own packages."""
    variables = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    if python != Path(sys.executable):
        variables.pop("PYTHONPATH", None)
    return variables


def spread(values: list[float], digits: int = 2) -> str:
    return f"{median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def measure_builds(workers: dict[str, Worker], rounds: int, updates: int) -> dict[str, dict[str, list[float]]]:
    """Return ``wall`` and ``processor``: name of the worker -> seconds of an update in each round."""
    times: dict[str, dict[str, list[float]]] = {clock: {name: [] for name in workers} for clock in CLOCKS}
    for _ in range(rounds):
        for name, worker in workers.items():
            for clock, seconds in zip(CLOCKS, worker.ask(updates), strict=True):
                times[clock][name].append(seconds)
    return times


CLOCKS = ("wall", "processor")


def measure_processes(python: Path, npz_dir: Path, rounds: int) -> dict[str, Any]:
    """Return seconds of an update: of one process with half a batch, and of two with half a batch each, in turns."""
    alone = Worker(python, "model", npz_dir, BATCH_SIZE // 2)
    result: dict[str, Any] = {f"{count} {clock}": [] for count in ("one", "two") for clock in CLOCKS} | {"sum": []}
    command = [python, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", WORKER]
    for _ in range(rounds):
        for _ in range(5):
            for clock, seconds in zip(CLOCKS, alone.ask(2), strict=True):
                result[f"one {clock}"].append(seconds)
        done = subprocess.run(
            [*command, "model", npz_dir, str(BATCH_SIZE)], capture_output=True, text=True, env=environment(python)
        )
        if done.returncode:
            raise HypermeterError(f"{python}: two processes failed: {done.stderr.strip()[-300:]}")
        times, summing = json.loads(done.stdout.strip().splitlines()[-1])
        for clock, index in zip(CLOCKS, (0, 1), strict=True):
            result[f"two {clock}"] += [pair[index] for pair in times]
        result["sum"].append(summing)
    alone.close()
    return result


def builds_table(times: dict[str, dict[str, list[float]]]) -> list[str]:
    lines = ["| | updates/s, wall | updates/s, processor | of the bare GRU (processor) |", "|---|---|---|---|"]
    bare = times["processor"]["bare"]
    for name, seconds in times["processor"].items():
        wall = spread([1 / value for value in times["wall"][name]])
        rates, ratios = [1 / value for value in seconds], [b / s for b, s in zip(bare, seconds, strict=True)]
        lines.append(f"| {name} | {wall} | {spread(rates)} | {spread(ratios)} |")
    if "before" in times["wall"]:
        for clock in CLOCKS:
            pairs = zip(times[clock]["before"], times[clock]["now"], strict=True)
            lines += ["", f"now / before, by {clock}: {spread([before / now for before, now in pairs])}"]
    return lines


def parts_table(parts: dict[str, dict[str, float]]) -> list[str]:
    names = sorted(
        {name for seconds in parts.values() for name in seconds}, key=lambda name: -parts["now"].get(name, 0)
    )
    lines = [f"| ms of an update | {' | '.join(parts)} |", "|---" * (1 + len(parts)) + "|"]
    for name in names:
        lines.append(f"| {name} | {' | '.join(f'{1000 * of.get(name, 0):.1f}' for of in parts.values())} |")
    sums = " | ".join(f"{1000 * sum(of.values()):.1f}" for of in parts.values())
    return [*lines, f"| all | {sums} |"]


def main(
    npz_dir: tyro.conf.Positional[Path],
    before: Path | None = None,
    rounds: int = 9,
    updates: int = 2,
    processes: bool = True,
    out: Path = Path("bench/out/training.json"),
) -> None:
    """Measure, print Markdown, write JSON.

    Args:
        npz_dir: folder that prepare wrote.
        before: interpreter of the earlier build; left out, this build stands beside the bare GRU alone.
        rounds: of turns.
        updates: in a turn.
        processes: also compare two processes with one.
        out: file for the figures as JSON.
    """
    now = Path(sys.executable)
    pythons = ({} if before is None else {"before": before}) | {"now": now}
    workers = {name: Worker(python, "model", npz_dir) for name, python in pythons.items()}
    workers["bare"] = Worker(now, "bare", npz_dir)
    result: dict[str, Any] = {"load": os.getloadavg()[0], "times": measure_builds(workers, rounds, updates)}
    result["parts"] = {name: workers[name].ask("parts") for name in pythons}
    for worker in workers.values():
        worker.close()
    lines = [*builds_table(result["times"]), "", *parts_table(result["parts"])]
    if processes:
        pair = result["processes"] = measure_processes(now, npz_dir, max(1, rounds // 3))
        lines += ["", "| windows of a process | ms, wall | ms, processor |", "|---|---|---|"]
        for count, what in (("one", "one process"), ("two", "two processes, each")):
            cells = (spread([1000 * value for value in pair[f"{count} {clock}"]], 0) for clock in CLOCKS)
            lines.append(f"| {what}, {BATCH_SIZE // 2} | {' | '.join(cells)} |")
        for clock in CLOCKS:
            ratio = median(pair[f"one {clock}"]) / median(pair[f"two {clock}"])
            lines += ["", f"efficiency of two processes, by {clock}: {ratio:.2f}"]
        lines += ["", f"one sum of the gradient over two processes: {1000 * median(pair['sum']):.1f} ms"]
    print("\n".join([*lines, "", f"Load {result['load']:.1f} at the start."]))
    with atomic_write(out) as temporary:
        temporary.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    try:
        tyro.cli(main)
    except HypermeterError as error:
        print(f"training: {error}", file=sys.stderr)
        sys.exit(2)
