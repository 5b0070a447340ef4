"""The ``evaluate`` command: one or more systems on held-out performances, as a card in Markdown and JSON."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

if TYPE_CHECKING:
    from hypermeter.learn.engines import Engine
    from hypermeter.learn.evaluate.card import CardOptions, Evaluation
    from hypermeter.learn.evaluate.held_out import Shared

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
    engine: Literal["local", "ray"] = "local",
    address: str = "",
) -> None:
    """Print the benchmark card of a model on held-out performances.

    Bits per step are summed over voices, and tracks where the model has them: lower is better. Each performance is
    read as a whole, each step predicted from all before it. Then the model generates music, which is compared with
    people's.

    Args:
        model: a shipped model's name, a checkpoint, or the folder of a training run. Of another system: a folder of
            MIDI or .npz that it wrote, whose music is compared, or a CSV of the bits that each performance costs it,
            with the columns name (the path below NPZ_DIR) and bits.
        npz_dir: folder of .npz, such as the validation folder that prepare wrote, with train beside it.
        beside: further systems, each a row in the tables that compare them.
        out: also write the card to OUT.md and OUT.json.
        seed: seed of the bootstrap and of the music.
        pieces: pieces that a model generates; 0 leaves out the music.
        bars: bars of each; for the comparison they are cut to lengths distributed as those of people's pieces.
        long_bars: bars of the pieces that show drift; 0 leaves that out.
        temperature: temperature of the generated music, at least 0.
        mix_metres: take performances in several metres. The card is of those whose bars have as many steps as the
            model's; tables have the bits and the music in each metre, for a model that plays them all.
        engine: local, or ray for the machines of a Ray cluster; needs hypermeter[ray].
        address: of the Ray cluster, as host:port, or auto; without, RAY_ADDRESS, or one is started on this machine.

    Raises:
        HypermeterError: a model, folder or file that does not fit, or a number out of range; before anything is
            computed.
    """
    import json
    from contextlib import nullcontext
    from dataclasses import replace

    from hypermeter.core.files import atomic_write, check_folder
    from hypermeter.learn.engines import IN_PROCESS, check_engine, open_engine
    from hypermeter.learn.evaluate.card import CardOptions, card
    from hypermeter.learn.evaluate.held_out import Shared
    from hypermeter.music.tables import to_json

    check_engine(engine, address)
    options = CardOptions(seed, pieces, bars, long_bars, temperature, mix_metres)
    if out is not None:
        check_folder(out.parent)
    shared = Shared()
    with open_engine("ray", 0, address) if engine == "ray" else nullcontext(IN_PROCESS) as chosen:
        evaluations = {model: _evaluation(model, npz_dir, options, shared, chosen)}
        for name in beside:
            evaluations[name] = _evaluation(name, npz_dir, replace(options, long_bars=0), shared, chosen)
        systems = {name: evaluation() for name, evaluation in evaluations.items()}
    for result in systems.values():
        for reason in result.get("rejects", ()):
            print(f"left out: {reason}")
    text = card(f"{model} on {npz_dir.name}", systems)
    print(text)
    if out is not None:
        content = json.dumps(to_json(systems), indent=1) + "\n"
        for path, page in ((out.with_suffix(".md"), text), (out.with_suffix(".json"), content)):
            with atomic_write(path) as temporary:
                temporary.write_text(page, encoding="utf-8")
            print(path)


def _evaluation(name: str, npz_dir: Path, options: "CardOptions", shared: "Shared", engine: "Engine") -> "Evaluation":
    """Read and check a system: a folder without weights is music, a CSV is bits, all else a model."""
    from hypermeter.io.checkpoint import shipped_models
    from hypermeter.learn.evaluate.card import evaluate_bits, model_evaluation, music_evaluation
    from hypermeter.model.hierarchical import load

    path = Path(name)
    if name not in shipped_models() and path.is_dir() and not any(path.glob("*.safetensors")):
        return music_evaluation(name, npz_dir, options, shared=shared)
    if path.suffix == ".csv":
        result = evaluate_bits(name, npz_dir, options.seed, mix_metres=options.mix_metres)
        return lambda: result
    return model_evaluation(load(name), npz_dir, options, shared, engine)
