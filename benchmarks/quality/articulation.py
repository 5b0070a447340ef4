"""How many strokes a model plays in a cell, and how open its hi-hat is, beside people.

    python benchmarks/quality/articulation.py NPZ MODEL [--seed 0] [--pieces 10]

People are the validation performances. The model plays their hits, with their velocity and offset, and pieces of 32
bars of its own.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import tyro

from hypermeter.core.groove import Groove
from hypermeter.core.strokes import NO_STROKES
from hypermeter.io.grooves import read_npz
from hypermeter.play.compose import continue_groove
from hypermeter.play.humanize import articulate
from hypermeter.play.loading import kit_of, load_player
from hypermeter.play.request import SamplingOptions


def row(name: str, grooves: list[Groove], hats: tuple[int, ...], snare: int) -> str:
    """Return a row of the table."""
    counts = np.concatenate([groove.stroke_counts[groove.hits > 0] for groove in grooves])
    of_snare = np.concatenate([groove.stroke_counts[:, snare][groove.hits[:, snare] > 0] for groove in grooves])
    shares = [
        (counts > 1).mean(),
        (counts == 2).mean(),
        (counts == 3).mean(),
        (counts > 3).mean(),
        (of_snare > 1).mean(),
    ]
    cells = [(groove.strokes.step, groove.strokes.voice) for groove in grooves]
    distance = np.concatenate([g.strokes.offset - g.offset[cell] for g, cell in zip(grooves, cells, strict=True)])
    ratio = np.concatenate([g.strokes.velocity / g.velocity[cell] for g, cell in zip(grooves, cells, strict=True)])
    openness = np.concatenate([groove.openness[:, hats[-1]] for groove in grooves])
    quartiles = np.nanpercentile(openness, [25, 50, 75])
    values = [*(f"{share:.2%}" for share in shares), f"{(distance < 0).mean():.0%}", f"{np.median(abs(distance)):.2f}"]
    values += [f"{np.median(ratio):.2f}", " ".join(f"{value:.2f}" for value in quartiles)]
    return f"| {name} | {len(counts):,} | {' | '.join(values)} |"


def main(npz: Path, model: str, /, seed: int = 0, pieces: int = 10) -> None:
    player = load_player(model)
    kit = kit_of(player)
    hats, snare = kit.hats, kit.names.index("snare")
    people = [read_npz(path) for path in sorted((npz / "validation").rglob("*.npz"))]
    bare = [replace(groove, strokes=NO_STROKES) for groove in people]
    same = [articulate(groove, player, seed, groove.hits > 0) for groove in bare]
    own = [continue_groove(player, None, 32, SamplingOptions(seed=seed + number)) for number in range(pieces)]
    print("| | hits | several strokes | 2 | 3 | 4 and more | snare | before the hit | distance | ratio | open hat |")
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for name, grooves in (("people", people), ("the same hits", same), ("pieces of its own", own)):
        print(row(name, grooves, hats, snare))


if __name__ == "__main__":
    tyro.cli(main)
