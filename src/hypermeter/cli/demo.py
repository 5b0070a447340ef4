"""The whole way on one's own machine: a shipped model goes on from a primer, then a small one learns a small corpus."""

import re
import time
from importlib import resources
from pathlib import Path

from hypermeter.core.groove import Groove
from hypermeter.io.ascii import ascii_grid, read_ascii
from hypermeter.io.midi import write_midi
from hypermeter.io.notation import write_text
from hypermeter.learn.prepare import prepare
from hypermeter.learn.train import TrainConfig, train
from hypermeter.model.hierarchical import HierarchicalDrumModel, load
from hypermeter.play.compose import continue_groove
from hypermeter.share.inspection import print_metrics
from hypermeter.share.pictures import plot_groove
from hypermeter.share.sound import render_wav


def demo(out: Path = Path("demo"), model: str = "groove", bars: int = 16, max_steps: int = 60, seed: int = 0) -> None:
    """Continue a groove with the shipped model, then train a small one from a small corpus and let it play.

    Both are written as MIDI, as a picture, as sound, and as code for live coding.

    Args:
        out: folder to write.
        model: name or path of the model that continues the primer.
        bars: to generate.
        max_steps: updates of the small model.
        seed: of everything drawn by chance.

    Raises:
        HypermeterError: a model that cannot be loaded, a folder that cannot be written.
    """
    started = time.perf_counter()
    primer = read_ascii((resources.files("hypermeter") / "corpus" / "primer.txt").read_text("utf-8"))
    print(f"1. The model {model} goes on from a primer of {primer.num_bars} bars by {bars}.\n")
    made = _continue(load(model), primer, bars, seed, out / "continued")

    corpus = read_corpus()
    print(f"\n2. A small model learns from {len(corpus)} performances, in {max_steps} updates, and goes on likewise.\n")
    for name, groove in corpus.items():
        write_midi(groove, out / "corpus" / f"{name}.mid")
    prepare(out / "corpus", out / "npz", seed=seed)
    config = TrainConfig(
        npz_dir=out / "npz",
        out=out / "model",
        max_steps=max_steps,
        seq_len=256,
        step_hidden_dim=64,
        bar_hidden_dim=64,
        phrase_hidden_dim=64,
        warmup_steps=10,
        seed=seed,
    )
    train(config)
    made += _continue(load(out / "model"), primer, bars, seed, out / "learnt")

    print(f"\nWritten in {time.perf_counter() - started:.0f} s:")
    for path in made:
        print(f"  {path}")
    print(f"\nListen to {out / 'continued.wav'} and look at {out / 'continued.png'}.")


def read_corpus() -> dict[str, Groove]:
    """The performances that come with the package, each named by its style and a number."""
    grooves = {}
    for file in sorted((resources.files("hypermeter") / "corpus").iterdir(), key=lambda each: each.name):
        style = file.name.removesuffix(".txt")
        if style == "primer":
            continue
        _, *texts = re.split(r"^## .*$", file.read_text("utf-8"), flags=re.MULTILINE)
        grooves |= {f"{style}-{number}": read_ascii(text) for number, text in enumerate(texts, 1)}
    return grooves


def _continue(model: HierarchicalDrumModel, primer: Groove, bars: int, seed: int, stem: Path) -> list[Path]:
    """Writes and shows the primer and what the model makes of it."""
    groove = continue_groove(model, primer, bars, seed=seed)
    midi, picture, sound, code = (stem.with_suffix(suffix) for suffix in (".mid", ".png", ".wav", ".tidal"))
    write_midi(groove, midi)
    plot_groove(groove, picture, title="shaded: the primer", primer_steps=len(primer))
    render_wav(groove, sound)
    write_text(groove, code)
    print(ascii_grid(groove))
    print_metrics(groove)
    return [midi, picture, sound, code]
