"""What it is worth to choose cells on the player's own grid, and whether that grid is found where it is known.

    python benchmarks/quality/own_grid.py GROOVE [--model groove] [--sequenced FOLDER] [--out FILE.json]

GROOVE is the folder of the Groove MIDI Dataset, with info.csv. Tables:

- the players' shifts, kinds of grid and clarity in all files in 4/4;
- bits per step of a model on the validation split, by how cells are chosen: on the file's grid, after the circular mean
  of the offsets, after that of pieces with a clear grid, and on the player's own grid;
- the same bits of steps after the first phrase only, where the shift is found in the first phrase, or in the whole;
- bits where every phrase has a shift of its own, and by how much shifts of phrases differ;
- mean offset of what the model continues after primers on their own grid;
- with --sequenced: shifts of sequenced files, and of copies that are moved and played unevenly by known amounts;
- the error of shifts in synthetic pieces of every kind of grid.
"""

import csv
import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro

from hypermeter import HierarchicalDrumModel, load
from hypermeter.core.errors import HypermeterError
from hypermeter.core.groove import Groove
from hypermeter.core.kit import load_kit
from hypermeter.core.read_options import ReadOptions
from hypermeter.io.midi import MIDI_SUFFIXES
from hypermeter.io.midi.content import load_midi
from hypermeter.io.midi.own_grid import CLEAR, OwnGrid, find_own_grid
from hypermeter.music.tables import to_json
from hypermeter.play.compose import continue_groove
from hypermeter.play.loading import load_player
from hypermeter.play.request import SamplingOptions

STEPS_PER_BAR, PHRASE = 16, 64
SLOTS = {
    "sixteenths": (0, 1, 2, 3),
    "eighths": (0, 2),
    "thirty-seconds": tuple(np.arange(8) / 2),
    "sixteenth triplets": tuple(np.arange(6) * 2 / 3),
    "eighth triplets": (0, 4 / 3, 8 / 3),
}
RATIOS = 0.55, 0.6, 0.667, 0.72
JITTER_S = 0.006, 0.014


@dataclass
class Performance:
    """Hits of a file in sixteenths: onsets (N,), columns (N,), and the duration of a step in seconds."""

    onsets: np.ndarray
    columns: np.ndarray
    step_s: float
    split: str = ""

    def own_grid(self, before: float = np.inf) -> OwnGrid:
        """Return the grid of the hits before a step."""
        return find_own_grid(self.onsets[self.onsets < before], 4, self.step_s)

    def cells(self, shift: Any = 0.0) -> np.ndarray:
        """Return hits (T, V) after one shift, or one for each hit."""
        steps = np.floor(self.onsets - shift + 0.5).astype(int).clip(0)
        hits = np.zeros(((steps.max() // STEPS_PER_BAR + 1) * STEPS_PER_BAR, load_kit("gm10").num_voices), np.float32)
        hits[steps, self.columns] = 1
        return hits


def read_performance(path: Path, split: str = "") -> Performance:
    """Return the hits of a MIDI file that gm10 reads, at its first tempo."""
    midi = load_midi(path.read_bytes(), str(path), ReadOptions(), in_full=False)
    ticks, pitches, _ = midi.drums
    columns = load_kit("gm10").columns[pitches]
    is_read = columns >= 0
    tempo = midi.tempos[0][1] if len(midi.tempos) else 120.0
    return Performance(ticks[is_read] / (midi.ticks_per_quarter / 4), columns[is_read], 15 / tempo, split)


def read_groove_dataset(folder: Path) -> list[Performance]:
    """Return the performances in 4/4, in the order of info.csv."""
    with (folder / "info.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["time_signature"] == "4-4"]
    paths = [(folder / row["midi_filename"], row["split"]) for row in rows]
    return [read_performance(path, split) for path, split in paths if path.exists()]


def circular_mean(onsets: np.ndarray) -> tuple[float, float]:
    """Return the circular mean of the offsets in steps, and their resultant."""
    mean = np.exp(2j * np.pi * onsets).mean()
    return float(np.angle(mean)) / (2 * np.pi), float(abs(mean))


class Bits:
    """Bits of steps by a model; equal hits are computed once."""

    def __init__(self, model: HierarchicalDrumModel) -> None:
        self.model, self.known = model, {}

    @torch.no_grad()
    def of(self, hits: np.ndarray) -> np.ndarray:
        """Return the bits of each step, (T,)."""
        key = hits.tobytes()
        if key not in self.known:
            self.known[key] = -self.model.log_prob(torch.from_numpy(hits)[None])[0].numpy() / np.log(2)
        return self.known[key]

    def per_step(self, pieces: list[Performance], shifts: list[Any], first: int = 0) -> float:
        """Return the bits per step of pieces, of all steps from `first` on."""
        bits = [self.of(piece.cells(shift))[first:] for piece, shift in zip(pieces, shifts, strict=True)]
        return float(np.concatenate(bits).mean())


def phrase_shifts(piece: Performance, shift: float, prior_hits: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the shift of each hit's phrase, (N,), and of each phrase: circular means, drawn to the piece's shift."""
    phrases = np.floor((piece.onsets - shift + 0.5) / PHRASE).astype(int).clip(0)
    turns = np.exp(2j * np.pi * (piece.onsets - shift))
    sums = np.bincount(phrases, turns.real) + 1j * np.bincount(phrases, turns.imag)
    moved = shift + np.angle(sums + prior_hits) / (2 * np.pi)
    return moved[phrases], moved


def shifts_of_players(pieces: list[Performance]) -> dict[str, Any]:
    grids = [piece.own_grid() for piece in pieces]
    ms = np.array([grid.player_shift * piece.step_s * 1000 for grid, piece in zip(grids, pieces, strict=True)])
    clarity = np.array([grid.clarity for grid in grids])
    resultant = np.array([circular_mean(piece.onsets)[1] for piece in pieces])
    clear = ms[clarity >= CLEAR]
    return {
        "files": len(pieces),
        "unclear": int((clarity < CLEAR).sum()),
        "resultant of sixteenths below .3": int((resultant < 0.3).sum()),
        "kinds": dict(Counter(grid.kind for grid in grids)),
        "cells moved further": sum(grid.shift != grid.player_shift for grid in grids),
        "median ms": float(np.median(clear)),
        "early": float((clear < 0).mean()),
        "more than 10 ms": float((abs(clear) > 10).mean()),
        "more than 20 ms": float((abs(clear) > 20).mean()),
        "more than a tenth of a step": int(sum(abs(grid.player_shift) > 0.1 for grid in grids)),
    }


def bits_by_cells(bits: Bits, pieces: list[Performance]) -> dict[str, float]:
    circular = [circular_mean(piece.onsets) for piece in pieces]
    grids = [piece.own_grid() for piece in pieces]
    raw = [0.0] * len(pieces)
    per_step = {
        "grid of the file": bits.per_step(pieces, raw),
        "circular mean": bits.per_step(pieces, [mean for mean, _ in circular]),
        "circular mean, clear pieces": bits.per_step(pieces, [mean * (r > 0.3) for mean, r in circular]),
        "own grid, not moved further": bits.per_step(pieces, [grid.player_shift for grid in grids]),
        "own grid": bits.per_step(pieces, [grid.shift for grid in grids]),
    }
    for prior_hits in (8, 32):
        moved = [phrase_shifts(piece, grid.shift, prior_hits)[0] for piece, grid in zip(pieces, grids, strict=True)]
        per_step[f"own grid of each phrase (prior of {prior_hits} hits)"] = bits.per_step(pieces, moved)
    return per_step


def causal_bits(bits: Bits, pieces: list[Performance]) -> dict[str, float]:
    """Return bits of the steps after the first phrase of pieces that have some, by where the shift is found."""
    long = [piece for piece in pieces if piece.onsets.max() >= PHRASE + 0.5 and piece.onsets.min() < PHRASE - 1]
    return {
        "pieces": len(long),
        "grid of the file": bits.per_step(long, [0.0] * len(long), PHRASE),
        "shift of the first phrase": bits.per_step(long, [p.own_grid(PHRASE - 0.5).shift for p in long], PHRASE),
        "shift of the whole piece": bits.per_step(long, [p.own_grid().shift for p in long], PHRASE),
    }


def drift(pieces: list[Performance]) -> dict[str, float]:
    """Return how much the shifts of phrases differ within pieces of four phrases and more, as standard deviations."""
    long = [piece for piece in pieces if piece.onsets.max() > 4 * PHRASE]
    spreads = []
    for piece in long:
        steps = phrase_shifts(piece, piece.own_grid().shift, 32)[1].std()
        spreads.append((steps, steps * piece.step_s * 1000))
    median, high = np.median(spreads, 0), np.quantile(spreads, 0.9, axis=0)
    return {"pieces": len(long), "steps": median[0], "ms": median[1], "steps, 90 %": high[0], "ms, 90 %": high[1]}


def continued(model: str, pieces: list[Performance], bars: int = 4) -> dict[str, float]:
    """Return the mean offset in ms of primers of four bars on both grids, and of what the model plays after them."""
    player, shares = load_player(model), {}
    for name in ("file", "own"):
        before, after = [], []
        for seed, piece in enumerate(pieces):
            shift = piece.own_grid().shift if name == "own" else 0.0
            cells = piece.cells(shift)[:PHRASE]
            if len(cells) < PHRASE or not cells.any():
                continue
            offset = np.zeros(cells.shape)
            steps = np.floor(piece.onsets - shift + 0.5).astype(int).clip(0)
            inside = steps < PHRASE
            rest = (piece.onsets - shift - steps).clip(-0.5, 0.499)
            offset[steps[inside], piece.columns[inside]] = rest[inside]
            primer = Groove(cells, offset=offset, tempo_bpm=15 / piece.step_s, shift=shift)
            new = continue_groove(player, primer, bars, SamplingOptions(seed=seed), include_primer=False)
            for groove, means in ((primer, before), (new, after)):
                if groove.hits.any():
                    means.append((groove.offset[groove.hits > 0].mean() + shift) * piece.step_s * 1000)
        shares |= {f"primer, grid of the {name}": np.mean(before), f"new bars, grid of the {name}": np.mean(after)}
    return shares


def errors(estimates: list[float], true: list[float]) -> dict[str, float]:
    off = abs((np.array(estimates) - np.array(true) + 0.5) % 1 - 0.5)
    return {
        "median": float(np.median(off)),
        "90 %": float(np.quantile(off, 0.9)),
        "largest": float(off.max()),
        "more than .2": float((off > 0.2).mean()),
    }


def sequenced_shifts(folder: Path, seed: int = 0) -> dict[str, Any]:
    """Return shifts of sequenced files, and errors in copies moved by up to a quarter step, with a jitter of 10 ms."""
    rng, shifts, estimates, true = np.random.default_rng(seed), [], [], []
    for path in sorted(path for path in folder.rglob("*") if path.suffix.lower() in MIDI_SUFFIXES):
        try:
            piece = read_performance(path)
        except HypermeterError:
            continue
        if len(piece.onsets) < 8:
            continue
        shifts.append(piece.own_grid().shift)
        true.append(rng.uniform(-0.25, 0.25))
        moved = piece.onsets + true[-1] + rng.normal(0, 0.010 / piece.step_s, len(piece.onsets))
        estimates.append(find_own_grid(moved, 4, piece.step_s).player_shift)
    return {"files": len(shifts), "with a shift": int(np.count_nonzero(shifts))} | errors(estimates, true)


def synthetic(
    slots: Callable[[np.random.Generator], tuple[float, ...]], hits: int, seeds: int = 200
) -> dict[str, float]:
    """Return errors in pieces of random patterns, shifts (15 ms), tempos and jitter (6 to 14 ms)."""
    estimates, true = [], []
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        step_s = rng.uniform(0.09, 0.18)
        places = np.array(slots(rng))
        true.append(float(np.clip(rng.normal(0, 0.015 / step_s), -0.3, 0.3)))
        weights = np.where(np.isin(places, (0, 2)), 1, rng.uniform(0.2, 1, len(places)))
        onsets = rng.choice(places, hits, p=weights / weights.sum()) + 4 * rng.integers(0, max(1, hits // 6), hits)
        onsets = onsets + true[-1] + rng.normal(0, rng.uniform(*JITTER_S) / step_s, hits)
        estimates.append(find_own_grid(onsets, 4, step_s).player_shift)
    return errors(estimates, true)


def print_table(title: str, values: dict[str, Any]) -> None:
    print(f"\n### {title}\n")
    for name, value in values.items():
        print(f"- {name}: {f'{value:.4f}' if isinstance(value, float) else value}")


def main(
    groove: tyro.conf.Positional[Path],
    model: str = "groove",
    sequenced: Path | None = None,
    out: Path | None = None,
) -> None:
    """Print tables, and write them as JSON.

    Args:
        groove: folder of the Groove MIDI Dataset.
        model: whose bits are measured.
        sequenced: folder of MIDI from a sequencer.
        out: JSON file to write.
    """
    pieces = read_groove_dataset(groove)
    validation = [piece for piece in pieces if piece.split == "validation"]
    bits = Bits(load(model))
    started = time.process_time()
    for piece in pieces:
        piece.own_grid()
    tables: dict[str, dict[str, Any]] = {
        "Time": {"us a file": (time.process_time() - started) / len(pieces) * 1e6},
        "Players' shifts, all files": shifts_of_players(pieces),
        "Players' shifts, validation": shifts_of_players(validation),
        "Bits per step by the choice of cells": bits_by_cells(bits, validation),
        "Bits per step after the first phrase": causal_bits(bits, validation),
        "Drift between phrases": drift(pieces),
        "Mean offset in ms": continued(model, [piece for piece in validation if piece.onsets.max() > PHRASE]),
    }
    if sequenced is not None:
        tables["Sequenced files"] = sequenced_shifts(sequenced)
    kinds: dict[str, Any] = {name: lambda _, places=places: places for name, places in SLOTS.items()}
    kinds["swung sixteenths"] = lambda rng: (0, 2 * (r := rng.choice(RATIOS)), 2, 2 + 2 * r)
    kinds["swung eighths"] = lambda rng: (0, 4 * rng.choice(RATIOS))
    for name, slots in kinds.items():
        for hits in (6, 24, 60, 400):
            tables[f"Error in steps, {name}, {hits} hits"] = synthetic(slots, hits)
    for title, values in tables.items():
        print_table(title, values)
    if out is not None:
        out.write_text(json.dumps(to_json(tables), indent=1) + "\n")


if __name__ == "__main__":
    tyro.cli(main)
