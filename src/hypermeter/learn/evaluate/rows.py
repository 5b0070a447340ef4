"""The tables of the card, in Markdown: a list of lines each."""

from collections.abc import Sequence
from typing import Any

from hypermeter.music.tables import number

FORECAST_COLUMNS = {"model_bce": ".4f", "last_bce": ".4f", "model_mse": ".5f", "last_mse": ".5f"}


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(each)} |" for each in (columns, ["---"] * len(columns), *rows)]


def overview(systems: dict[str, dict[str, Any]]) -> list[str]:
    rows: list[Sequence[str]] = []
    floors_found = next((each["floors"] for each in systems.values() if "floors" in each), {})
    for name, each in floors_found.items():
        rows.append((f"floor: {name}", "-", *bits_of(each), "-", "-"))
    for name, each in systems.items():
        if "all" in each:
            step = each.get("next_step")
            accuracy = (f"{step['f1']:.3f}", f"{step['calibration_error']:.4f}") if step else ("-", "-")
            parameters = f"{each['parameters']:,}" if "parameters" in each else "-"
            rows.append((name, parameters, *bits_of(each["all"]), *accuracy))
        rows += [(f"{name}: {part}", "-", *bits_of(bits), "-", "-") for part, bits in each.get("parts", {}).items()]
    columns = ("system", "parameters", *BITS_COLUMNS, "hit F1", "calibration error")
    return table(columns, rows) if rows else []


BITS_COLUMNS = ("bits per step", "95 % interval", "mean of performances")


def bits_of(each: dict[str, float]) -> tuple[str, str, str]:
    interval = f"{each['low']:.3f} to {each['high']:.3f}"
    return f"{each['bits_per_step']:.3f}", interval, f"{each['mean_of_performances']:.3f}"


def likelihood(name: str, result: dict[str, Any]) -> list[str]:
    groups = {"all": result["all"], **result["groups"]}
    rows: list[Sequence[str]] = [
        (group, f"{each['performances']:.0f}", f"{each['steps']:.0f}", *bits_of(each)) for group, each in groups.items()
    ]
    lines = [f"## {name}", "", *table(("performances", "number", "steps", *BITS_COLUMNS), rows), ""]
    bits = result["next_step"]["voice_bits"]
    voices = [*zip(result["voices"], bits, strict=True), ("sum", sum(bits))]
    lines += [*table(("voice on its own", "bits per step"), [(voice, f"{each:.3f}") for voice, each in voices]), ""]
    rows = []
    for level, each in result["forecasts"].items():
        told = [f"{each[name]:{digits}}" for name, digits in FORECAST_COLUMNS.items()]
        rows.append((f"next {level}", *("-" if value == "nan" else value for value in told)))
    columns = ("forecast", "cross entropy a cell", "repeating the last", "squared error a cell", "repeating the last")
    step = result["next_step"]
    f1 = f"precision {step['precision']:.3f}, recall {step['recall']:.3f}, F1 {step['f1']:.3f}"
    return [*lines, *table(columns, rows), "", f"Hits one step ahead: {f1}."]


def music_rows(systems: dict[str, dict[str, Any]]) -> list[str]:
    with_music = {name: each["music"] for name, each in systems.items() if "music" in each}
    first = next(iter(with_music.values()))

    def row(name: str, each: dict[str, Any], who: str) -> tuple[str, ...]:
        profile = " ".join(f"{value:.3f}".lstrip("0") for value in each[f"{who}repetition"])
        copied = each.get(f"{who}copied")
        shares = ["-" if copied is None else f"{100 * copied:.1f} %", f"{100 * each[f'{who}distinct']:.1f} %"]
        gap, overlap = ("-", "-") if who else (f"{each['repetition_gap']:.3f}", f"{each['overlap']:.3f}")
        return (name, overlap, profile, gap, *shares, f"{each[f'{who}phrase_end']:+.3f}")

    rows = [row("people, held out", first, "human_")] + [row(name, each, "") for name, each in with_music.items()]
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


def metric_rows(name: str, music: dict[str, Any]) -> list[str]:
    keys = ("their_mean", "their_sd", "mean", "sd", "cohens_d", "overlap", "kl")
    rows = [(metric, *(number(each[key], 3) for key in keys)) for metric, each in music["metrics"].items()]
    columns = ("metric", "people: mean", "sd", f"{name}: mean", "sd", "Cohen's d", "overlap", "KL (nats)")
    return table(columns, rows)


def drift_rows(stretches: dict[str, dict[str, float]]) -> list[str]:
    names = list(next(iter(stretches.values())))
    rows = [(stretch, *(number(means[name]) for name in names)) for stretch, means in stretches.items()]
    return table(("stretch", *names), rows)
