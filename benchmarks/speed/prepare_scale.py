"""What `prepare` costs by the size of the corpus: time, memory of all its processes together, bytes.

    python benchmarks/speed/prepare_scale.py make GROOVE IN --copies 40       # copies, each with another tempo
    python benchmarks/speed/prepare_scale.py synthesise NPZ IN.zip --files N  # other music, from bars of NPZ
    python benchmarks/speed/prepare_scale.py measure IN OUT [--packed]        # runs prepare once, prints a line of JSON
    python benchmarks/speed/prepare_scale.py plot LINES... --out docs/img/prepare_scale.svg

Memory is the proportional set size (PSS) of the process and all below it, summed, the most of what is read ten times a
second from /proc: pages that processes share count once. The sum of resident sizes (RSS), which counts them in each, is
written too. Processor time is that of all processes, by the system's count of children that have ended.
"""

import json
import os
import resource
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

TEMPO = b"\xff\x51\x03"
"""The event of a MIDI file that sets the tempo; three bytes with microseconds a beat follow."""

SAMPLES_PER_S = 10


def make(
    source: Annotated[Path, tyro.conf.Positional], out: Annotated[Path, tyro.conf.Positional], copies: int = 40
) -> None:
    """Write copies of all MIDI files of a folder, each copy at another tempo, within 20 % of the file's own.

    Args:
        source: the files.
        out: a folder for each copy is written here. There is no info.csv in it.
        copies: how many.
    """
    files = sorted(source.rglob("*.mid"))
    for path in files:
        content = path.read_bytes()
        at = content.index(TEMPO) + len(TEMPO)
        duration_us = int.from_bytes(content[at : at + 3], "big")
        for copy in range(copies):
            factor = 0.8 + 0.4 * copy / max(copies - 1, 1)
            changed = content[:at] + round(duration_us * factor).to_bytes(3, "big") + content[at + 3 :]
            target = out / f"copy{copy:04}" / path.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(changed)
    print(f"{len(files) * copies:,} files")


def synthesise(
    npz: Annotated[Path, tyro.conf.Positional],
    out: Annotated[Path, tyro.conf.Positional],
    files: int = 10_000,
    near: float = 0.1,
    seed: int = 0,
) -> None:
    """Write a zip of MIDI files of 4 to 12 bars each.

    The bars of a file are of one performance, in its order, from a place at random; its voices are exchanged, and a
    tenth of the hits is given to another voice. Some files are near-duplicates of the one before: it in another tempo,
    with other velocities and one hit of another voice.

    Args:
        npz: folder of .npz, of which the bars are taken.
        out: the zip.
        files: how many to write.
        near: share of near-duplicates.
        seed: of all choices.
    """
    from hypermeter.core.kit import load_kit
    from hypermeter.io.npz import read_sequence

    rng = np.random.default_rng(seed)
    pitches = np.array([voice.write for voice in load_kit("gm10").voices])
    pieces = [hits for path in sorted(npz.rglob("*.npz")) if len(hits := read_sequence(path)) >= 12 * 16]
    cells = [np.nonzero(hits) for hits in pieces]
    steps = voices = np.zeros(0, np.int64)
    with zipfile.ZipFile(out, "w") as archive:
        for number in range(files):
            if number and rng.random() < near:
                voices = voices.copy()
                voices[rng.integers(len(voices))] = rng.integers(10)
            else:
                chosen, num_bars = rng.integers(len(pieces)), rng.integers(4, 13)
                start = rng.integers(len(pieces[chosen]) // 16 - num_bars + 1) * 16
                all_steps, all_voices = cells[chosen]
                first, last = np.searchsorted(all_steps, [start, start + 16 * num_bars])
                steps, voices = all_steps[first:last] - start, rng.permutation(10)[all_voices[first:last]]
                if not len(steps):
                    steps = voices = np.zeros(1, np.int64)
                is_changed = rng.random(len(voices)) < 0.1
                voices[is_changed] = rng.integers(0, 10, len(voices))[is_changed]
            content = midi_of(steps, pitches[voices], rng)
            archive.writestr(zipfile.ZipInfo(f"{number // 1000:04}/{number:07}.mid"), content)
    print(f"{files:,} files, {out.stat().st_size / 1e6:,.0f} MB")


def midi_of(steps: np.ndarray, pitches: np.ndarray, rng: np.random.Generator) -> bytes:
    """Return a MIDI file of hits in order, in 4/4, at a tempo and with velocities and offsets at random."""
    ticks = steps * 120 + rng.integers(0, 12, len(steps))
    ticks.sort()
    deltas = np.diff(ticks, prepend=0)
    events = np.empty((len(steps), 5), np.uint8)
    events[:, 0], events[:, 1] = 0x80 | deltas >> 7, deltas & 0x7F
    events[:, 2], events[:, 3], events[:, 4] = 0x99, pitches, rng.integers(20, 128, len(steps))
    tempo_us = int(60e6 / rng.integers(80, 160)).to_bytes(3, "big")
    track = b"\0" + TEMPO + tempo_us + events.tobytes() + b"\0\xff\x2f\0"
    return b"MThd\0\0\0\6\0\0\0\1\1\xe0MTrk" + len(track).to_bytes(4, "big") + track


def measure(
    source: Annotated[Path, tyro.conf.Positional],
    out: Annotated[Path, tyro.conf.Positional],
    packed: bool = False,
    workers: int = 2,
    python: str = sys.executable,
    label: str = "",
    keep: bool = False,
) -> None:
    """Run prepare once, in a process of its own, and print what it took as a line of JSON.

    Args:
        source: what is prepared.
        out: where to; it must not exist.
        packed: write shards.
        workers: processes.
        python: interpreter of the environment whose prepare is measured.
        label: a name for the line.
        keep: keep what was written.
    """
    if out.exists():
        raise SystemExit(f"{out}: exists; measure into a new folder")
    command = [python, "-m", "hypermeter.cli", "prepare", str(source), str(out), "--workers", str(workers)]
    command += ["--packed"] if packed else []
    started, peak_pss, peak_rss = time.perf_counter(), 0.0, 0.0
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            pss, rss = memory_mb(process.pid)
            peak_pss, peak_rss = max(peak_pss, pss), max(peak_rss, rss)
            time.sleep(1 / SAMPLES_PER_S)
    wall_s = time.perf_counter() - started
    if process.returncode:
        raise SystemExit(f"prepare ended with {process.returncode}")
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = usage.ru_utime + usage.ru_stime
    counts = {"npz": 0, "parquet": 0, "json": 0}
    for path in out.rglob("*"):
        if path.is_file():
            counts[path.suffix[1:]] = counts.get(path.suffix[1:], 0) + path.stat().st_size
    with (out / "manifest.json").open(encoding="utf-8") as manifest:
        num_files = sum(line.startswith('  {"source"') for line in manifest)
    if not keep:
        shutil.rmtree(out)
    row = {
        "label": label,
        "files": num_files,
        "packed": packed,
        "workers": workers,
        "wall_s": round(wall_s, 1),
        "cpu_s": round(cpu_s, 1),
        "files_per_s": round(num_files / wall_s),
        "files_per_cpu_s": round(num_files / cpu_s),
        "peak_pss_mb": round(peak_pss),
        "peak_rss_mb": round(peak_rss),
        "written_mb": {kind: round(size / 1e6, 1) for kind, size in counts.items() if size},
        "load": [round(value, 1) for value in os.getloadavg()],
    }
    print(json.dumps(row), flush=True)


def memory_mb(process: int) -> tuple[float, float]:
    """Return the PSS and RSS of a process and all below it, summed, in MB."""
    below, left = [], [process]
    while left:
        number = left.pop()
        below.append(number)
        try:
            left += map(int, Path(f"/proc/{number}/task/{number}/children").read_text().split())
        except OSError:
            continue
    pss = rss = 0
    for number in below:
        try:
            lines = Path(f"/proc/{number}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        for line in lines:
            pss += int(line.split()[1]) if line.startswith("Pss:") else 0
            rss += int(line.split()[1]) if line.startswith("Rss:") else 0
    return pss / 1000, rss / 1000


def plot(lines: Annotated[tuple[Path, ...], tyro.conf.Positional], out: Path) -> None:
    """Draw memory and time by the number of files.

    Args:
        lines: files with the lines that `measure` printed; each label is a curve.
        out: the picture.
    """
    import matplotlib.pyplot as plt

    rows = [json.loads(line) for path in lines for line in path.read_text().splitlines() if line.startswith("{")]
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6))
    for label in dict.fromkeys(row["label"] for row in rows):
        chosen = sorted((row for row in rows if row["label"] == label), key=lambda row: row["files"])
        files = [row["files"] for row in chosen]
        for axis, key in zip(axes, ("peak_pss_mb", "cpu_s"), strict=True):
            axis.plot(files, [row[key] for row in chosen], "o-", label=label)
    for axis, title in zip(axes, ("peak memory, all processes (MB)", "processor time (s)"), strict=True):
        axis.set(xscale="log", yscale="log", xlabel="files", title=title)
        axis.grid(alpha=0.3)
    axes[0].legend(frameon=False)
    figure.tight_layout()
    figure.savefig(out)


if __name__ == "__main__":
    tyro.extras.subcommand_cli_from_dict({f.__name__: f for f in (make, synthesise, measure, plot)})
