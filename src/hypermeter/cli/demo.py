"""The `demo` command: a shipped model continues a primer, then a small model learns from a small corpus."""

import re
import sys
import time
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from hypermeter.core.shipped import shipped_text

if TYPE_CHECKING:
    from hypermeter.core.groove import Groove


def demo(
    out: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="[OUT]")] = Path("demo"),
    model: str = "groove",
    bars: int = 16,
    max_steps: int = 60,
    seed: int = 0,
) -> None:
    """Continue a groove with the shipped model, then train a small model on a small corpus and let it play.

    Both write MIDI, sound, code for live coding and a picture. Training needs the extra `train`; without it, the second
    half is left out.

    Args:
        out: folder to write.
        model: name or path of the model that continues the primer.
        bars: new bars.
        max_steps: updates of the small model.
        seed: of all random choices.

    Raises:
        HypermeterError: a model that cannot be loaded, a folder that cannot be written, a number out of its bounds.
    """
    from hypermeter.core.extras import MissingPackageError, needs
    from hypermeter.io.ascii import read_ascii
    from hypermeter.play.request import check

    check("bars", bars)
    check("seed", seed)
    started = time.perf_counter()
    primer = read_ascii(shipped_text("corpus", "primer.txt"))
    print(f"1. The model {model} continues a primer of {primer.num_bars} bars by {bars}.\n")
    written: list[Path] = []
    try:
        written += _continue(model, primer, bars, seed, out / "continued")
        try:
            with needs("2. A small model that learns"):
                _learn(out, max_steps, seed)
        except MissingPackageError as error:
            print(f"\n{error}")
        else:
            written += _continue(out / "model", primer, bars, seed, out / "learnt")
    except KeyboardInterrupt:
        print(f"interrupted: {', '.join(map(str, written)) or 'nothing'} is written", file=sys.stderr)
        raise
    print(f"\nWritten in {time.perf_counter() - started:.0f} s:")
    for path in written:
        print(f"  {path}")
    print(f"\nListen to {out / 'continued.wav'} and look at {out / 'continued.svg'}.")


def read_corpus() -> "dict[str, Groove]":
    """Return the performances that come with the package, each named by its style and a number."""
    from hypermeter.io.ascii import read_ascii

    grooves = {}
    for file in sorted((resources.files("hypermeter") / "corpus").iterdir(), key=lambda file: file.name):
        style = file.name.removesuffix(".txt")
        if style == "primer":
            continue
        _, *texts = re.split(r"^## .*$", shipped_text("corpus", file.name), flags=re.MULTILINE)
        grooves |= {f"{style}-{number}": read_ascii(text) for number, text in enumerate(texts, 1)}
    return grooves


def _learn(out: Path, max_steps: int, seed: int) -> None:
    """Write the corpus and train a small model on it, whose run is the folder `model` in `out`."""
    from hypermeter.io.midi import write_midi
    from hypermeter.learn.prepare import prepare
    from hypermeter.learn.train import TrainConfig, train
    from hypermeter.learn.train.config import ModelOptions, OptimizerOptions

    corpus = read_corpus()
    print(f"\n2. A small model learns from {len(corpus)} performances, in {max_steps} updates, and continues it too.\n")
    for name, groove in corpus.items():
        write_midi(groove, out / "corpus" / f"{name}.mid")
    prepare(out / "corpus", out / "npz", seed=seed)
    options = {"model": ModelOptions(64, 64, 64), "optimizer": OptimizerOptions(warmup_steps=10)}
    config = TrainConfig(out / "npz", out / "model", max_steps=max_steps, seq_len=256, seed=seed, **options)
    train(config)


def _continue(model: str | Path, primer: "Groove", bars: int, seed: int, stem: Path) -> list[Path]:
    """Write and show how a model continues the primer; return the files."""
    from hypermeter.io.ascii import ascii_grid
    from hypermeter.io.midi import write_midi
    from hypermeter.io.notation import write_text
    from hypermeter.play.compose import continue_groove
    from hypermeter.play.loading import load_player
    from hypermeter.play.request import SamplingOptions
    from hypermeter.share.inspection import print_metrics
    from hypermeter.share.pictures import show_picture
    from hypermeter.share.sound import render_wav

    groove = continue_groove(load_player(model), primer, bars, SamplingOptions(seed=seed))
    midi, picture, sound, code = (stem.with_suffix(suffix) for suffix in (".mid", ".svg", ".wav", ".tidal"))
    write_midi(groove, midi)
    render_wav(groove, sound)
    write_text(groove, code)
    print(ascii_grid(groove))
    print_metrics(groove)
    show_picture(groove, picture, title=midi.name, primer_steps=len(primer))
    return [midi, picture, sound, code]
