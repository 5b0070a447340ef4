"""How well `--kit auto` chooses a map: `python benchmarks/quality/pitch_maps.py GROOVE [GM ...]`.

Music that was played on a Roland TD-11 is written for every device, and each piece is read with the map that is chosen
for it and with General MIDI. Each instrument goes to the pitches that the map has for it, at random, the first most
often; of every second piece only to the first three. Pieces in the folders GM are General MIDI: what is read
otherwise there is a wrong choice. The share of wrongly read hits is by the voices of gm16; seed 0.
"""

import random
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from symusic import Score

from hypermeter.core.kit import load_kit
from hypermeter.core.kit_choice import best_map
from hypermeter.core.pitch_map import MAPS, load_map

INSTEAD = {
    "tom_high_mid": ["tom_high"],
    "tom_low": ["tom_low_mid", "tom_high_mid"],
    "tom_floor_high": ["tom_floor_low"],
    "snare_rimshot": ["snare"],
    "side_stick": ["snare"],
    "crash_2": ["crash_1"],
    "ride_bell": ["ride"],
}
"""Instruments that play where a device lacks the one of the TD-11."""


def read_counts(folder: str) -> Iterator[Counter[int]]:
    """Yield the hits of each pitch of each file: of its tracks on channel 10."""
    for path in sorted(Path(folder).rglob("*.mid")):
        counts: Counter[int] = Counter()
        score: Any = Score(path)
        for track in score.tracks:
            if track.is_drum:
                counts.update(track.notes.numpy()["pitch"].tolist())
        if counts:
            yield counts


def write_for(counts: Counter[int], name: str, num_pitches: int, rng: random.Random) -> Counter[int]:
    """Return the pitches of music of a TD-11 on another device; what that has no instrument for is left out."""
    pitches_of = defaultdict(list)
    for pitch, text in load_map(name).instruments.items():
        pitches_of[text.partition("/")[0]].append(pitch)
    written: Counter[int] = Counter()
    for pitch, hits in counts.items():
        instrument = load_map("td17").instruments[pitch].partition("/")[0]
        choices = [pitches_of[other] for other in [instrument, *INSTEAD.get(instrument, [])] if pitches_of[other]]
        if choices:
            pitches = choices[0][:num_pitches]
            weights = [1 / rank for rank in range(1, len(pitches) + 1)]
            written.update(rng.choices(pitches, weights, k=hits))
    return written


def share_read_otherwise(counts: Counter[int], name: str, truth: str) -> float:
    """Return the share of hits that two maps read as different voices."""
    first, second = load_kit(f"gm16:{name}").columns, load_kit(f"gm16:{truth}").columns
    return sum(hits for pitch, hits in counts.items() if first[pitch] != second[pitch]) / counts.total()


def print_row(truth: str, pieces: list[Counter[int]]) -> None:
    chosen = [best_map(counts).map for counts in pieces]
    wrong = [share_read_otherwise(counts, name, truth) for counts, name in zip(pieces, chosen, strict=True)]
    without = [share_read_otherwise(counts, "gm", truth) for counts in pieces]
    right = sum(name == truth for name in chosen)
    print(
        f"| {truth} | {len(pieces)} | {right / len(pieces):.0%} | {sum(wrong) / len(wrong):.1%}"
        f" | {sum(without) / len(without):.1%} |"
    )


def main(groove: str, *gm_folders: str) -> None:
    rng = random.Random(0)
    played = list(read_counts(groove))
    print("| music for | pieces | this map is chosen | hits read wrongly: auto | General MIDI |\n|---|---|---|---|---|")
    whole = []
    for name in MAPS:
        written = [write_for(counts, name, 3 if number % 2 else 128, rng) for number, counts in enumerate(played)]
        print_row(name, [counts for counts in written if counts])
        together = best_map(sum(written, Counter())).map
        whole.append((name, together))
    print("\nof a folder as a whole: " + ", ".join(f"{name} {together}" for name, together in whole))
    general = [counts for folder in gm_folders for counts in read_counts(folder)]
    if general:
        print_row("gm", general)
        lost = {
            kit: sum(hits for counts in general for pitch, hits in counts.items() if load_kit(kit).columns[pitch] < 0)
            for kit in ("gm10", "gm16", "gm")
        }
        total = sum(counts.total() for counts in general)
        print(f"\nof {total:,} hits left out: " + ", ".join(f"{kit} {hits / total:.1%}" for kit, hits in lost.items()))


if __name__ == "__main__":
    main(*sys.argv[1:])
