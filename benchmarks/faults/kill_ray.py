"""Kill a worker, the raylet or the driver of `prepare --engine ray` at random moments, and compare what is written.

    python benchmarks/faults/kill_ray.py MIDI WORK [--kills 50]

Each trial starts `prepare --engine ray` into a new folder, on a cluster of its own of two workers, and kills one of its
processes (SIGKILL) at a moment at random while it works. Where that ends the run, the same command runs again: with Ray
in every second trial, with the processes of one machine in the others. All files must have the bytes of the reference,
which the processes of one machine wrote, and no other file may be there.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Annotated

import tyro
from kill_prepare import digests, phase_of

MARK = "HYPERMETER_TRIAL"
"""Variable by which the processes of a trial are found: Ray's inherit it."""

TARGETS = ("worker", "raylet", "driver")


def kill_ray(
    source: Annotated[Path, tyro.conf.Positional],
    work: Annotated[Path, tyro.conf.Positional],
    kills: int = 50,
    seed: int = 0,
    packed: bool = False,
) -> None:
    """Kill a process of `prepare --engine ray` so many times, and compare.

    Args:
        source: what is prepared.
        work: folder for what is written; it must not exist.
        kills: how often a process is killed.
        seed: of the moments.
        packed: write shards.
    """
    rng = random.Random(seed)
    work.mkdir(parents=True)
    options = ("--packed",) if packed else ()
    if start(source, work / "reference", options).wait():
        raise SystemExit("the reference failed")
    expected = digests(work / "reference")
    duration_s = undisturbed(source, work / "undisturbed", options)
    if digests(work / "undisturbed") != expected:
        raise SystemExit("without a kill, Ray's files differ")
    print(f"{len(expected)} files; the tasks of an undisturbed run with Ray take {duration_s:.1f} s", flush=True)
    counts, differing, slowest_end_s = Counter(), 0, 0.0
    trial = done = 0
    while done < kills:
        out, target = work / f"trial{trial}", TARGETS[trial % len(TARGETS)]
        process = start(source, out, (*options, "--engine", "ray"), str(trial))
        wait_for_work(process, out)
        time.sleep(rng.uniform(0, duration_s))
        phase = phase_of(out)
        if process.poll() is None and kill(process.pid, str(trial), target, rng):
            done += 1
            counts[f"{target} killed"] += 1
            counts[phase] += 1
        code = process.wait(timeout=300)
        slowest_end_s = max(slowest_end_s, wait_for_processes(str(trial), counts))
        if code:
            counts[f"{target}: run again"] += 1
            engine = ("--engine", "ray") if trial % 2 else ()
            if start(source, out, (*options, *engine), f"{trial}-again").wait(timeout=300):
                raise SystemExit(f"{out}: the last run failed")
            wait_for_processes(f"{trial}-again", counts)
        found = digests(out)
        if found == expected:
            shutil.rmtree(out)
        else:
            differing += 1
            names = sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))
            print(f"trial {trial}: {len(names)} files differ: {', '.join(names[:5])}", flush=True)
        trial += 1
        print(json.dumps({"trials": trial, "kills": done, "differing": differing, **counts}), flush=True)
    result = {"trials": trial, "kills": done, "differing": differing, **counts, "run_s": round(duration_s, 1)}
    print(json.dumps({**result, "processes_end_after_s": round(slowest_end_s, 1)}))
    sys.exit(differing > 0)


def start(source: Path, out: Path, options: tuple[str, ...], trial: str = "none") -> "subprocess.Popen[bytes]":
    """Start `prepare` in a session of its own."""
    command = [sys.executable, "-m", "hypermeter.cli", "prepare", str(source), str(out), "--workers", "2", *options]
    environment = os.environ | {MARK: trial}
    quiet = subprocess.DEVNULL
    return subprocess.Popen(command, stdout=quiet, stderr=quiet, start_new_session=True, env=environment)


def wait_for_work(process: "subprocess.Popen[bytes]", out: Path) -> None:
    """Wait until a run has begun a task, or ended."""
    while process.poll() is None and not list((out / ".prepare").glob("*.begun")):
        time.sleep(0.01)


def undisturbed(source: Path, out: Path, options: tuple[str, ...]) -> float:
    """Run `prepare` with Ray; return the seconds from the first task to the manifest."""
    process = start(source, out, (*options, "--engine", "ray"), "undisturbed")
    wait_for_work(process, out)
    started = time.monotonic()
    while process.poll() is None and not (out / "manifest.json").exists():
        time.sleep(0.01)
    duration_s = time.monotonic() - started
    if process.wait():
        raise SystemExit("the undisturbed run with Ray failed")
    return duration_s


def processes_of(trial: str) -> dict[int, str]:
    """Return the processes of a trial: number -> command line."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environment = (folder / "environ").read_bytes().split(b"\0")
            if f"{MARK}={trial}".encode() in environment:
                found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
    return {number: command for number, command in found.items() if command}


def kill(driver: int, trial: str, target: str, rng: random.Random) -> bool:
    """Kill a process; return whether there was one."""
    names = {"worker": ("ray::_call", "ray::IDLE"), "raylet": ("raylet/raylet",)}.get(target, ())
    commands = sorted(processes_of(trial).items())
    numbers = [number for number, command in commands if any(name in command.split(" ")[0] for name in names)]
    numbers = [driver] if target == "driver" else numbers
    if not numbers:
        return False
    try:
        os.kill(rng.choice(numbers), signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def wait_for_processes(trial: str, counts: "Counter[str]") -> float:
    """Wait until no process of a trial is left; kill those that are left after a minute. Return the seconds."""
    started = time.monotonic()
    while left := processes_of(trial):
        if time.monotonic() - started > 60:
            counts["processes left after a minute"] += len(left)
            print(f"trial {trial}: left after a minute: {sorted(left.values())}", flush=True)
            for number in left:
                os.kill(number, signal.SIGKILL)
        time.sleep(0.2)
    return time.monotonic() - started


if __name__ == "__main__":
    tyro.cli(kill_ray)
