"""One model of every metre beside models of one metre each, which are trained here with equal care.

    hypermeter prepare FOLDER npz --metre all --steps-per-beat auto
    python benchmarks/quality/metres.py npz MODEL --metres "3/4 4" "6/8 2" --out bench/out/metres

Each specialist is trained by the settings of the command line on the performances of its metre alone, at several
learning rates, evaluated often on the held-out ones of that metre, and stopped and chosen by them, rate included, which
favours it. A run that is there is not trained again.
"""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import tyro

from hypermeter.core.errors import HypermeterError
from hypermeter.core.files import atomic_write
from hypermeter.core.grid import Grid
from hypermeter.learn.evaluate.metres import by_grid, evaluate_metres
from hypermeter.learn.train import TrainConfig, train
from hypermeter.model.hierarchical import load


def name_of(grid: Grid) -> str:
    """A grid as the command line names it: its metre, and the steps of a beat."""
    return f"{grid.metre} {grid.steps_per_beat}"


def folder_of(npz: Path, name: str, out: Path) -> Path:
    """A folder with links to the performances of one metre."""
    folder = out / name.replace("/", "_").replace(" ", "-")
    for split in ("train", "validation"):
        for grid, (files, _) in by_grid(npz / split, Grid()).items():
            if name_of(grid) == name:
                for number, path in enumerate(files):
                    link = folder / "npz" / split / f"{number}.npz"
                    link.parent.mkdir(parents=True, exist_ok=True)
                    if not link.exists():
                        link.symlink_to(Path(path).resolve())
    return folder


def main(
    npz: Annotated[Path, tyro.conf.Positional],
    model: Annotated[str, tyro.conf.Positional],
    out: Path = Path("bench/out/metres"),
    metres: tuple[str, ...] = ("4/4 4", "4/4 3", "3/4 4", "6/8 2", "5/4 4", "7/8 2", "6/4 4"),
    learning_rates: tuple[float, ...] = (4e-3, 8e-3, 1.6e-2),
    vary: bool = True,
    max_steps: int = 400,
    evaluate_every: int = 25,
    patience: int = 4,
    seed: int = 0,
) -> None:
    """Train the specialists, and print and write a table.

    Args:
        npz: folder with train and validation, in several metres.
        model: the model of all of them.
        out: runs of the specialists, table.md and table.json.
        metres: to compare, each a metre and the steps of a beat.
        learning_rates: the best is taken for each metre.
        vary, max_steps, evaluate_every, patience, seed: of the specialists' training.
    """
    shared = {
        f"{row['metre']} {row['steps_per_beat']}": row for row in evaluate_metres(load(model), npz / "validation")
    }
    rows: list[dict[str, Any]] = []
    for name in metres:
        if name not in shared:
            raise HypermeterError(f"{npz}: no held-out performance in {name}; expected some of {', '.join(shared)}")
        folder, row = folder_of(npz, name, out), {"metre": name, **shared[name]}
        row |= {"metre": name, "model": shared[name]["bits_per_step"], "model_per_beat": shared[name]["bits_per_beat"]}
        if (folder / "npz" / "train").is_dir():
            options: dict[str, Any] = {"vary": vary, "max_steps": max_steps, "seed": seed, "accelerator": "cpu"}
            options |= {"evaluate_every": evaluate_every, "patience": patience}
            runs = []
            for rate in learning_rates:
                run = folder / f"run-{rate:g}"
                train(TrainConfig.of(folder / "npz", run, learning_rate=rate, **options))
                runs.append((rate, evaluate_metres(load(run), folder / "npz" / "validation")[0]))
            rate, alone = min(runs, key=lambda found: found[1]["bits_per_step"])
            row |= {"alone": alone["bits_per_step"], "alone_per_beat": alone["bits_per_beat"], "rate": rate}
            row["rates"] = {f"{rate:g}": found["bits_per_step"] for rate, found in runs}
        rows.append(row)
    lines = [
        "| metre, steps a beat | bars | all metres: a step | per beat | one metre alone | per beat | its rate | floor |"
    ]
    lines.append("|---|---|---|---|---|---|---|---|")
    for row in rows:
        cells = [row["metre"].replace(" ", ", "), str(row["bars"])]
        keys = ("model", "model_per_beat", "alone", "alone_per_beat", "floor")
        numbers = [f"{row[key]:.3f}" if key in row else "-" for key in keys]
        cells += [*numbers[:-1], f"{row['rate']:g}" if "rate" in row else "-", numbers[-1]]
        lines.append(f"| {' | '.join(cells)} |")
    print("\n".join(lines))
    for path, text in ((out / "table.md", "\n".join(lines) + "\n"), (out / "table.json", json.dumps(rows, indent=1))):
        with atomic_write(path) as temporary:
            temporary.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    try:
        tyro.cli(main)
    except HypermeterError as error:
        print(f"metres: {error}", file=sys.stderr)
        sys.exit(2)
