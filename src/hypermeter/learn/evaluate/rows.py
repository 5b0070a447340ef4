"""The tables of the card, in Markdown: a list of lines each."""

from collections.abc import Sequence
from typing import Any

from hypermeter.music.tables import number

FORECAST_COLUMNS = {"model_bce": ".4f", "last_bce": ".4f", "model_mse": ".5f", "last_mse": ".5f"}


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (columns, ["---"] * len(columns), *rows)]


def overview(systems: dict[str, dict[str, Any]]) -> list[str]:
    floors = next((result["floors"] for result in systems.values() if "floors" in result), {})
    rows: list[Sequence[str]] = [(f"floor: {name}", "-", *bits_of(bits), "-", "-") for name, bits in floors.items()]
    for name, result in systems.items():
        if "all" in result:
            step = result.get("next_step")
            accuracy = (f"{step['f1']:.3f}", f"{step['calibration_error']:.4f}") if step else ("-", "-")
            parameters = f"{result['parameters']:,}" if "parameters" in result else "-"
            rows.append((name, parameters, *bits_of(result["all"]), *accuracy))
        rows += [(f"{name}: {part}", "-", *bits_of(bits), "-", "-") for part, bits in result.get("parts", {}).items()]
    columns = ("system", "parameters", *BITS_COLUMNS, "hit F1", "calibration error")
    return table(columns, rows) if rows else []


BITS_COLUMNS = ("bits per step", "95 % interval", "mean of performances")


def bits_of(summary: dict[str, float]) -> tuple[str, str, str]:
    interval = f"{summary['low']:.3f} to {summary['high']:.3f}"
    return f"{summary['bits_per_step']:.3f}", interval, f"{summary['mean_of_performances']:.3f}"


def likelihood(name: str, result: dict[str, Any]) -> list[str]:
    groups = {"all": result["all"], **result["groups"]}
    rows: list[Sequence[str]] = [
        (group, f"{bits['performances']:.0f}", f"{bits['steps']:.0f}", *bits_of(bits)) for group, bits in groups.items()
    ]
    lines = [f"## {name}", "", *table(("performances", "number", "steps", *BITS_COLUMNS), rows), ""]
    step = result["next_step"]
    voices = [*zip(result["voices"], step["voice_bits"], strict=True), ("sum", sum(step["voice_bits"]))]
    lines += [*table(("voice on its own", "bits per step"), [(voice, f"{bits:.3f}") for voice, bits in voices]), ""]
    rows = []
    for level, errors in result["forecasts"].items():
        cells = [f"{errors[name]:{digits}}" for name, digits in FORECAST_COLUMNS.items()]
        rows.append((f"next {level}", *("-" if cell == "nan" else cell for cell in cells)))
    columns = ("forecast", "cross entropy a cell", "repeating the last", "squared error a cell", "repeating the last")
    f1 = f"precision {step['precision']:.3f}, recall {step['recall']:.3f}, F1 {step['f1']:.3f}"
    return [*lines, *table(columns, rows), "", f"Hits one step ahead: {f1}."]


def music_rows(systems: dict[str, dict[str, Any]]) -> list[str]:
    with_music = {name: result["music"] for name, result in systems.items() if "music" in result}
    first = next(iter(with_music.values()))

    def row(name: str, music: dict[str, Any], prefix: str) -> tuple[str, ...]:
        profile = " ".join(f"{value:.3f}".lstrip("0") for value in music[f"{prefix}repetition"])
        copied = music.get(f"{prefix}copied")
        shares = ["-" if copied is None else f"{100 * copied:.1f} %", f"{100 * music[f'{prefix}distinct']:.1f} %"]
        gap, overlap = ("-", "-") if prefix else (f"{music['repetition_gap']:.3f}", f"{music['overlap']:.3f}")
        return (name, overlap, profile, gap, *shares, f"{music[f'{prefix}phrase_end']:+.3f}")

    rows = [row("people, held out", first, "human_")] + [row(name, music, "") for name, music in with_music.items()]
    columns = (
        "music of",
        "mean overlap",
        "repetition, 1 to 8 bars back",
        "greatest gap",
        "bars copied",
        "bars distinct",
        "phrase's end",
    )
    return table(columns, rows)


def keeping_rows(systems: dict[str, dict[str, Any]]) -> list[str]:
    """Return the table of ``keeping``, after an empty line; nothing where no system has it."""
    measured = {name: music for name, result in systems.items() if "keeping" in (music := result.get("music", {}))}
    if not measured:
        return []
    people = next(iter(measured.values()))["human_keeping"]
    means = {"people, held out": people} | {name: music["keeping"] for name, music in measured.items()}
    rows = [(name, *(number(value, 3) for value in values.values())) for name, values in means.items()]
    return ["", *table(("beat-keeping of", *(name.replace("_", " ") for name in people)), rows)]


def stroke_rows(systems: dict[str, dict[str, Any]]) -> list[str]:
    """Return the table of the hits with several strokes, after an empty line; nothing where no system has it.

    It has the voices with enough hits of people and of each system.
    """
    measured = {name: music for name, result in systems.items() if "strokes" in (music := result.get("music", {}))}
    if not measured:
        return []
    people = next(iter(measured.values()))["human_strokes"]
    shares = {"people, held out": people} | {name: music["strokes"] for name, music in measured.items()}
    voices = [name for name in people["voices"] if all(name in share["voices"] for share in shares.values())]
    rows = [
        (name, f"{share['hits']:,}", *(f"{100 * value:.2f} %" for value in (share["share"], *of_voices)))
        for name, share in shares.items()
        for of_voices in [[share["voices"][voice] for voice in voices]]
    ]
    return ["", *table(("several strokes of", "hits", "all", *voices), rows)]


def metric_rows(name: str, music: dict[str, Any]) -> list[str]:
    keys = ("their_mean", "their_sd", "mean", "sd", "cohens_d", "overlap", "kl")
    rows = [(metric, *(number(values[key], 3) for key in keys)) for metric, values in music["metrics"].items()]
    columns = ("metric", "people: mean", "sd", f"{name}: mean", "sd", "Cohen's d", "overlap", "KL (nats)")
    return table(columns, rows)


def drift_rows(stretches: dict[str, dict[str, float]]) -> list[str]:
    names = list(next(iter(stretches.values())))
    rows = [(stretch, *(number(means[name]) for name in names)) for stretch, means in stretches.items()]
    return table(("stretch", *names), rows)
