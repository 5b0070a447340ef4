"""Ending commands at any moment, and on a full disk: nothing half is left, and what goes on is as if it had not ended.

`make kill` calls it. Each command runs once whole; then it is ended after a random part of that time, by each signal,
and run again.
"""

import argparse
import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
ENDS_S = 20
"""Seconds in which all processes of a command have to be gone."""

FULL = 128 * 1024
"""Bytes of the disk that is full."""


@dataclass(frozen=True)
class Command:
    """A command that is ended.

    Args:
        name: of the table.
        arguments: of `hypermeter`, of the folder of what is read, and of that which is written.
        resumes: whether the same command goes on; otherwise it begins again.
        left_out: names of files that differ between equal runs, such as those with the time of day.
    """

    name: str
    arguments: Callable[[Path, Path], list[str]]
    resumes: bool = True
    left_out: tuple[str, ...] = ()


_SHORT = (
    "--max-steps 24 --batch-size 4 --evaluate-every 8 --warmup-steps 2 --seq-len 64 --accelerator cpu"
    " --step-hidden-dim 16"
)
_TRAINED = ("tensorboard", "log.csv", "curves.png", "checkpoint.pt")


def _train(devices: int) -> Callable[[Path, Path], list[str]]:
    return lambda source, out: [
        *("train", str(source / "npz"), str(out / "run")), *_SHORT.split(), "--devices", str(devices)
    ]  # fmt: skip


COMMANDS = (
    Command("prepare", lambda source, out: ["prepare", str(source / "midi"), str(out / "npz"), "--workers", "2"]),
    Command("pack", lambda source, out: ["pack", str(source / "npz"), str(out / "shards")]),
    Command("train", _train(1), left_out=_TRAINED),
    Command("train, two processes", _train(2), left_out=_TRAINED),
    Command(
        "reinforce",
        lambda source, out: [
            *(
                "reinforce",
                str(out / "run"),
                "--reward",
                str(source / "reward.yaml"),
                "--max-steps",
                "6",
                "--bars",
                "2",
            ),
            *("--batch-size", "4", "--evaluate-every", "2", "--evaluate-pieces", "4"),
        ],
        left_out=("log.csv", "checkpoint.pt"),
    ),
    Command(
        "generate", lambda source, out: ["generate", "-o", str(out / "a.mid"), "--bars", "16", "--seed", "1"], False
    ),
    Command("humanize", lambda source, out: ["humanize", str(source / "midi/0.mid"), str(out / "a.mid")], False),
)


def make_source(folder: Path) -> None:
    """Write what the commands read: MIDI, a folder of .npz, a reward."""
    from campaign.midi import samples
    from midi_bytes import beat, midi, track
    from training import write_data

    (folder / "midi").mkdir(parents=True)
    for number in range(120):
        (folder / "midi" / f"{number}.mid").write_bytes(midi(track(*beat(2 + number % 7))) if number else samples()[0])
    (folder / "npz").mkdir()
    write_data(folder / "npz")
    (folder / "reward.yaml").write_text("terms: [{metric: density, level: bar, target: 0.12, scale: 0.02}]\n")


def contents(folder: Path, left_out: tuple[str, ...] = ()) -> dict[str, bytes]:
    """Return the files below a folder, but for some names."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not set(path.relative_to(folder).parts) & set(left_out)
    }


def start(command: Command, source: Path, out: Path) -> subprocess.Popen[str]:
    """Start a command as the leader of a group of its own, which its processes belong to."""
    out.mkdir(exist_ok=True)
    arguments = [sys.executable, "-m", "hypermeter.cli", *command.arguments(source, out)]
    return subprocess.Popen(
        arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def processes_of(session: int) -> list[int]:
    """Return the processes of a session that run."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found.append(int(path.parent.name))
    return found


def end(command: Command, source: Path, out: Path, after_s: float, number: signal.Signals) -> list[str]:
    """Run a command, end it, and return what is wrong afterwards: processes that stay, or half files."""
    process, wrong = start(command, source, out), []
    time.sleep(after_s)
    process.send_signal(number)
    deadline = time.monotonic() + ENDS_S
    process.communicate(timeout=ENDS_S + 10)
    while (left := processes_of(process.pid)) and time.monotonic() < deadline:
        time.sleep(0.1)
    if left:
        wrong.append(f"{len(left)} processes stay")
        os.killpg(process.pid, signal.SIGKILL)
    return [*wrong, *half_files(out)]


def half_files(out: Path) -> list[str]:
    """Return the files below a folder that cannot be read under their names."""
    from hypermeter.core.errors import HypermeterError
    from hypermeter.io.checkpoint import checkpoint_errors, read_checkpoint
    from hypermeter.io.midi import read_midi_pieces
    from hypermeter.io.npz import read_sequence
    from hypermeter.io.shards import describe_shard

    def read_weights(path: Path) -> None:
        with checkpoint_errors(path):
            read_checkpoint(path)

    readers = {
        ".npz": read_sequence,
        ".mid": read_midi_pieces,
        ".parquet": describe_shard,
        ".safetensors": read_weights,
    }
    wrong = []
    for path in out.rglob("*"):
        if path.is_file() and not path.name.startswith(".") and ".prepare" not in path.parts and path.suffix in readers:
            try:
                readers[path.suffix](path)
            except HypermeterError as error:
                wrong.append(str(error))
    return wrong


def finish(command: Command, source: Path, out: Path, whole: dict[str, bytes]) -> list[str]:
    """Run a command again to its end, and return what differs from a run that was not ended."""
    process = start(command, source, out)
    _, told = process.communicate()
    if process.returncode:
        return [f"it does not go on: {told.strip()[-300:]}"]
    now = contents(out, command.left_out)
    return [f"{name} differs" for name in sorted(now.keys() | whole.keys()) if now.get(name) != whole.get(name)][:3]


def fill(command: Command, source: Path, folder: Path) -> list[str]:
    """Run a command on a disk that is full; return what is wrong with what it tells and leaves.

    Raises:
        OSError: no disk can be mounted here.
    """
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={FULL}", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True).returncode:
        raise OSError("mounting needs rights that this process does not have")
    try:
        with contextlib.suppress(OSError), open(folder / "ballast", "wb", 0) as ballast:
            while ballast.write(bytes(4096)):
                pass
        process = start(command, source, folder / "out")
        _, told = process.communicate()
        lines = told.strip().splitlines()
        last = lines[-1] if lines else ""
        wrong = half_files(folder / "out")
        if process.returncode != 2 or str(folder) not in last or "Traceback" in told:
            wrong.append(f"it ends with {process.returncode} and tells {last[:200]!r}")
        return wrong
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="campaign.kill", description=__doc__)
    parser.add_argument("--seed", type=int, help="of the moments; left out, a fresh one, which is printed")
    parser.add_argument("--times", type=int, default=3, help="how often each signal is sent to each command")
    parser.add_argument("--commands", nargs="*", default=[], metavar="NAME")
    options = parser.parse_args()
    seed = secrets.randbelow(2**32) if options.seed is None else options.seed
    print(f"seed {seed}\n| command | whole, s | ended | full disk | wrong |\n|---|---|---|---|---|", flush=True)
    found = False
    for command in COMMANDS:
        if options.commands and command.name not in options.commands:
            continue
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            row, wrong = try_command(command, folder, Random(f"{seed} {command.name}"), options.times)
        found |= bool(wrong)
        print(f"| {command.name} | {row} | {len(wrong)} |", flush=True)
        for line in wrong[:10]:
            print(f"    {line}", flush=True)
    return int(found)


def try_command(command: Command, folder: Path, random: Random, times: int) -> tuple[str, list[str]]:
    """Return the cells of a row, and what was wrong."""
    source, out, wrong = folder / "source", folder / "out", []
    make_source(source)
    began = time.monotonic()
    process = start(command, source, out)
    _, told = process.communicate()
    whole_s = time.monotonic() - began
    if process.returncode:
        return f"{whole_s:.1f} | - | -", [f"the whole run ends with {process.returncode}: {told[-300:]}"]
    whole, count = contents(out, command.left_out), 0
    for number in SIGNALS * times:
        shutil.rmtree(out)
        after_s = random.uniform(0.1, 1.0) * whole_s
        problems = end(command, source, out, after_s, number)
        problems += finish(command, source, out, whole)
        wrong += [f"{number.name} after {after_s:.2f} s: {problem}" for problem in problems]
        count += 1
    try:
        problems = fill(command, source, folder / "disk")
        wrong += [f"full disk: {problem}" for problem in problems]
        disk = "wrong" if problems else "told"
    except OSError as error:
        disk = f"skipped ({error})"
    return f"{whole_s:.1f} | {count} | {disk}", wrong


if __name__ == "__main__":
    sys.exit(main())
