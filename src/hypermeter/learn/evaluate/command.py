"""The ``evaluate`` command: one or more systems on held-out performances, as a card in Markdown and JSON."""

import json
from pathlib import Path
from typing import Annotated, Any

import tyro

from hypermeter.core.files import atomic_write
from hypermeter.io.checkpoint import shipped_models

PIECES = 64
BARS = 32
LONG_BARS = 256


def evaluate_command(
    model: Annotated[str, tyro.conf.arg(metavar="MODEL")],
    npz_dir: Annotated[Path, tyro.conf.arg(metavar="NPZ_DIR")],
    beside: tuple[str, ...] = (),
    out: Path | None = None,
    seed: int = 0,
    pieces: int = PIECES,
    bars: int = BARS,
    long_bars: int = LONG_BARS,
    temperature: float = 1.0,
    mix_metres: bool = False,
) -> None:
    """Print the benchmark card of a model on held-out performances.

    Bits per step are summed over voices, and tracks where the model has them: lower is better. Each performance is
    read whole, each step predicted from all before it. Then the model plays, and its music is compared with people's.

    Args:
        model: a shipped model's name, a checkpoint, or the folder of a training run. Of some other system: a folder of
            MIDI or .npz that it wrote, of which the music is judged, or a CSV of the bits that each performance costs
            it, with the columns name (the path below NPZ_DIR) and bits.
        npz_dir: folder of .npz, such as the validation folder that prepare wrote, with train beside it.
        beside: more of the same, each a row in the tables that compare systems.
        out: where given, the card goes to OUT.md and OUT.json as well.
        seed: of the bootstrap and of the music.
        pieces: that a model plays; 0 leaves out the music.
        bars: of each; for the comparison they are cut to lengths as people's pieces have them.
        long_bars: of the pieces that tell whether it drifts; 0 leaves that out.
        temperature: at which models play, at least 0.
        mix_metres: take performances in several metres whose bars have as many steps, such as 3/4 and 6/8 in
            sixteenths, as if all were in the model's, as train does.

    Raises:
        HypermeterError: a model, folder or file that does not fit, or a number out of range.
    """
    from hypermeter.learn.evaluate.card import card, check_numbers, evaluate, evaluate_bits, evaluate_music
    from hypermeter.model.hierarchical import load
    from hypermeter.music.tables import to_json

    check_numbers(seed, pieces, bars, long_bars, temperature)
    systems: dict[str, dict[str, Any]] = {}
    for name in (model, *beside):
        if _is_music(name):
            systems[name] = evaluate_music(name, npz_dir, bars=bars, seed=seed, mix_metres=mix_metres)
        elif Path(name).suffix == ".csv":
            systems[name] = evaluate_bits(name, npz_dir, seed, mix_metres=mix_metres)
        else:
            options: dict[str, Any] = {"pieces": pieces, "bars": bars, "temperature": temperature}
            options |= {"long_bars": 0 if systems else long_bars, "mix_metres": mix_metres}
            systems[name] = evaluate(load(name), npz_dir, seed, **options)
        for reason in systems[name].get("rejects", ()):
            print(f"left out: {reason}")
    text = card(f"{model} on {npz_dir.name}", systems)
    print(text)
    if out is not None:
        content = json.dumps(to_json(systems), indent=1) + "\n"
        for path, each in ((out.with_suffix(".md"), text), (out.with_suffix(".json"), content)):
            with atomic_write(path) as temporary:
                temporary.write_text(each, encoding="utf-8")
            print(path)


def _is_music(name: str) -> bool:
    """A folder without weights is music."""
    return name not in shipped_models() and Path(name).is_dir() and not any(Path(name).glob("*.safetensors"))
