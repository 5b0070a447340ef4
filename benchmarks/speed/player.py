"""The playing engine beside an earlier build: steps, infill, whole commands, memory, help, size of the installation.

    python benchmarks/speed/player.py --before PYTHON [--primer beat.mid] [--rounds 5] [--out FILE.json]

PYTHON is the interpreter of an environment of its own, in which the earlier build is installed. Both builds take turns
in one run, each in a process of its own, on one thread; a figure is the median of the rounds, with the least and the
greatest. Busy is processor time. A ratio is the earlier build's figure over this one's.

To make such an environment from this repository, of the build before the engine:

    git archive 7e0e957 | tar -x -C BEFORE && python -m venv BEFORE/.venv
    BEFORE/.venv/bin/pip install -c BEFORE/constraints.txt torch
    BEFORE/.venv/bin/pip install -c BEFORE/constraints.txt -e "BEFORE[train,serve,live,onnx]"
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter

import tyro

from hypermeter.core.errors import HypermeterError
from hypermeter.core.files import atomic_write

BATCHES = {1: 600, 64: 96, 256: 48}
"""Pieces side by side -> steps that are timed."""

BARS, PARTICLES = 16, 64

STEPS_BEFORE = """
import json, sys, torch, hypermeter
from time import process_time
torch.set_num_threads(1)
model, generator, times = hypermeter.load("groove"), torch.Generator(), {}
with torch.no_grad():
    for batch, steps in json.loads(sys.argv[1]).items():
        state = model.init_state(int(batch))
        for is_timed in (False, True):
            begin = process_time()
            for _ in range(steps):
                state = model.advance(model.predict(state).sample(1.0, 1.0, generator), state)
            times[batch] = (process_time() - begin) / steps
print(json.dumps(times))
"""

STEPS_NOW = """
import json, sys
from time import process_time
from hypermeter.play.loading import load_player
player, times = load_player("groove"), {}
for batch, steps in json.loads(sys.argv[1]).items():
    music = player.stream(rows=int(batch))
    for is_timed in (False, True):
        begin = process_time()
        for _ in range(steps):
            next(music)
        times[batch] = (process_time() - begin) / steps
print(json.dumps(times))
"""

INFILL_BEFORE = """
import json, sys, torch, hypermeter
from time import process_time
from hypermeter.generate import generate
from hypermeter.infill import infill, lock_voices
torch.set_num_threads(1)
bars, particles = json.loads(sys.argv[1])
model = hypermeter.load("groove")
locks = lock_voices(generate(model, length=16 * bars, seed=1), [0, 1])
begin = process_time()
infill(model, locks, particles=particles, seed=0)
print(json.dumps({"infill": process_time() - begin}))
"""

INFILL_NOW = """
import json, sys
from time import process_time
from hypermeter.play.infill import infill
from hypermeter.play.locks import lock_voices
from hypermeter.play.loading import load_player
from hypermeter.play.request import SamplingOptions, InfillOptions
bars, particles = json.loads(sys.argv[1])
player = load_player("groove")
locks = lock_voices(player.generate(16 * bars, None, SamplingOptions(seed=1))[0], [0, 1])
begin = process_time()
infill(player, locks, None, SamplingOptions(seed=0), infilling=InfillOptions(particles))
print(json.dumps({"infill": process_time() - begin}))
"""


NEW_COMMANDS = ("pack", "unpack")
"""Commands that the earlier build does not have."""

COMMAND = "import sys; from hypermeter.cli import main; sys.exit(main())"


def run(python: Path, arguments: list[str]) -> tuple[str, dict[str, float]]:
    """Run an interpreter; return what it prints, and its wall time (s), processor time (s) and peak memory (MB)."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    if python != Path(sys.executable):  # PYTHONPATH would put this build in the place of the one that is installed
        environment.pop("PYTHONPATH", None)
    begin, before = perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    measured = (
        "import os, resource, subprocess, sys\n"
        "done = subprocess.run(sys.argv[1:], capture_output=True, text=True)\n"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)\n"
        "sys.stdout.write(done.stdout)\nsys.stderr.write(done.stderr)\nsys.exit(done.returncode)\n"
    )  # the peak of one child: that of this process's children is of all that there ever were
    done = subprocess.run(
        [sys.executable, "-S", "-c", measured, str(python), *arguments], capture_output=True, text=True, env=environment
    )
    wall, after = perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise HypermeterError(f"{python}: {' '.join(arguments)[:60]} failed: {done.stderr.strip()[-200:]}")
    peak, _, printed = done.stdout.partition("\n")
    busy = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return printed, {"wall_s": wall, "busy_s": busy, "peak_mb": int(peak) / 1024}


def installed_mb(python: Path) -> float:
    """Return the size of an interpreter's site-packages, in MB."""
    printed, _ = run(python, ["-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])"])
    folder = Path(printed.strip())
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink()) / 1e6


def main(
    before: Path,
    now: Path = Path(sys.executable),
    player: Path | None = None,
    primer: Path | None = None,
    rounds: int = 5,
    out: Path | None = None,
) -> None:
    """Print and keep the figures of both builds and their ratios.

    Args:
        before: interpreter of the earlier build's environment.
        now: of this build's; left out, the one that runs.
        player: of an environment for playing, in which this build is installed without extras; its size is told.
        primer: MIDI file that `generate` goes on from; left out, one that this build writes.
        rounds: turns of each build.
        out: JSON file that keeps all figures.
    """
    figures: dict[str, dict[str, list[float]]] = {}

    def note(name: str, side: str, value: float) -> None:
        figures.setdefault(name, {}).setdefault(side, []).append(value)

    with tempfile.TemporaryDirectory() as folder:
        beat = primer or Path(folder) / "beat.mid"
        if primer is None:
            run(now, ["-c", COMMAND, "generate", "--out", str(beat), "--bars", "4", "--no-picture"])
        sides = {"before": (before, STEPS_BEFORE, INFILL_BEFORE), "now": (now, STEPS_NOW, INFILL_NOW)}
        for _ in range(rounds):
            for side, (python, steps, infill) in sides.items():
                printed, _ = run(python, ["-c", steps, json.dumps(BATCHES)])
                for batch, seconds in json.loads(printed).items():
                    note(f"step and draw, batch {batch}, busy ms", side, 1e3 * seconds)
                printed, _ = run(python, ["-c", infill, json.dumps([BARS, PARTICLES])])
                note(f"infill, {PARTICLES} particles, {BARS} bars, busy s", side, json.loads(printed)["infill"])
                for options in ([], ["--no-picture"]):
                    target = str(Path(folder) / f"{side}.mid")
                    files = [target, "--primer", str(beat)] if side == "before" else [str(beat), "--out", target]
                    arguments = ["-c", COMMAND, "generate", *files, "--bars", str(BARS), *options]
                    _, used = run(python, arguments)
                    for name, value in used.items():
                        note(f"generate {' '.join(options)}: {name}".replace(" :", ":"), side, value)
                _, used = run(python, ["-c", COMMAND, "inspect", str(beat), "--out", str(Path(folder) / "beat.png")])
                note("inspect: busy_s", side, used["busy_s"])
        names, _ = run(now, ["-c", "from hypermeter.cli import COMMANDS; print(*COMMANDS)"])
        for name in [name for name in names.split() if name not in NEW_COMMANDS]:
            for side, (python, *_) in sides.items():
                note(f"{name} --help: busy_s", side, run(python, ["-c", COMMAND, name, "--help"])[1]["busy_s"])
    for side, python in (("before", before), ("now", player or now)):
        note("site-packages, MB" if player else "site-packages of everything, MB", side, installed_mb(python))
    print(f"{'':38}{'before':>26}{'now':>26}{'ratio':>8}")
    for name, sides_of in figures.items():
        shown = [f"{median(values):.3g} ({min(values):.3g} to {max(values):.3g})" for values in sides_of.values()]
        print(f"{name:38}{shown[0]:>26}{shown[1]:>26}{median(sides_of['before']) / median(sides_of['now']):8.2f}")
    if out is not None:
        with atomic_write(out) as temporary:
            temporary.write_text(json.dumps(figures, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    tyro.cli(main)
