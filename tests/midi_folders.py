"""Folders of MIDI files for tests."""

from pathlib import Path

import numpy as np

from hypermeter import Groove, load_kit, write_midi


def write_folder(folder: Path, num_files: int) -> Path:
    """Write MIDI files of four bars, each second one a copy of the one before with another tempo, and an empty one.

    Returns:
        The folder, which has `num_files` files.
    """
    rng = np.random.default_rng(0)
    hits = np.zeros((64, 10), np.uint8)
    for number in range(num_files - 1):
        if number % 2 == 0:
            hits = (rng.random((64, 10)) < 0.15).astype(np.uint8)
        path = (
            folder / f"{number}.mid"
            if number % 3
            else folder / "part" / f"{number}.mid"
            if number
            else folder / "0.mid"
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        write_midi(Groove(hits, kit=load_kit("gm10"), tempo_bpm=90.0 + number), path)
    (folder / "empty.mid").write_bytes(b"")
    return folder
