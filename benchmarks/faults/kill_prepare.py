"""Kill `prepare` at random moments, let it go on, and compare what it writes with a run that was not killed.

    python benchmarks/faults/kill_prepare.py MIDI WORK [--kills 50] [-- options of prepare]

Each trial starts `prepare` into a new folder, kills it with all its processes (SIGKILL) after a time at random, and
starts it again, up to three times; then a run ends undisturbed. All files must have the bytes of the reference, and no
other file may be there. The parent alone is killed in every second trial: its workers have to end by themselves.
"""

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

import tyro


def kill_prepare(
    source: Annotated[Path, tyro.conf.Positional],
    work: Annotated[Path, tyro.conf.Positional],
    options: Annotated[tuple[str, ...], tyro.conf.Positional] = (),
    kills: int = 50,
    seed: int = 0,
) -> None:
    """Kill `prepare` so many times, and compare.

    Args:
        source: what is prepared.
        work: folder for what is written; it must not exist.
        options: further options of `prepare`, after --.
        kills: how often it is killed.
        seed: of the moments.
    """
    rng = random.Random(seed)
    work.mkdir(parents=True)
    started = time.perf_counter()
    start(source, work / "reference", options).wait()
    duration_s = time.perf_counter() - started
    expected = digests(work / "reference")
    print(f"{len(expected)} files in {duration_s:.1f} s", flush=True)
    done = trials = differing = 0
    phases: dict[str, int] = {}
    while done < kills:
        out = work / f"trial{trials}"
        for _ in range(min(rng.randint(1, 3), kills - done)):
            process = start(source, out, options)
            time.sleep(rng.uniform(0, duration_s))
            if process.poll() is None:
                if trials % 2:
                    process.kill()
                else:
                    os.killpg(process.pid, signal.SIGKILL)
                done += 1
                phase = phase_of(out)
                phases[phase] = phases.get(phase, 0) + 1
            process.wait()
        wait_for_group(process.pid)
        if start(source, out, options).wait():
            raise SystemExit(f"{out}: the last run failed")
        found = digests(out)
        if found != expected:
            differing += 1
            names = sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))
            print(f"trial {trials}: {len(names)} files differ: {', '.join(names[:5])}", flush=True)
        else:
            shutil.rmtree(out)
        trials += 1
    result = {"kills": done, "trials": trials, "differing": differing, "killed_in": phases, "run_s": duration_s}
    print(json.dumps(result))
    sys.exit(differing > 0)


def start(source: Path, out: Path, options: tuple[str, ...]) -> "subprocess.Popen[bytes]":
    """Start `prepare` in a group of processes of its own."""
    command = [sys.executable, "-m", "hypermeter.cli", "prepare", str(source), str(out), "--workers", "2", *options]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)


def wait_for_group(group: int) -> None:
    """Wait until no process of a group is left; give up after half a minute."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    raise SystemExit(f"processes of group {group} have not ended")


def phase_of(out: Path) -> str:
    """Return how far a run was."""
    if (out / "manifest.json").exists():
        return "after the manifest"
    if not (out / ".prepare" / "plan.json").exists():
        return "listing"
    if not list((out / ".prepare").glob("*.begun")):
        return "before the first task"
    placed = next(out.glob("*/[!.]*.npz"), None) or next(out.glob("*/[!.]*.parquet"), None)
    return "writing" if placed else "converting"


def digests(folder: Path) -> dict[str, str]:
    """Return the path of each file below a folder, with its SHA-256."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


if __name__ == "__main__":
    tyro.cli(kill_prepare)
