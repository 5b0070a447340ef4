"""The answers of the readers as tables."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from statistics import median
from typing import Any

from hypermeter.io.midi.own_grid import CLEAR

READERS = {"hypermeter": "Hypermeter", "mido": "mido", "pretty_midi": "pretty_midi", "miditok": "MidiTok"}
DRUMS_ALONE = ("drums alone", "rhythms tapped on two pads")
WITHOUT_KIT = ("classical music, piano and melodies", "charts of rhythm games")

Row = dict[str, Any]


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """Return a table in Markdown."""
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return lines + ["| " + " | ".join(map(str, row)) + " |" for row in rows]


def percent(part: float, whole: float) -> str:
    """Return a share in words; "-" of nothing."""
    return f"{100 * part / whole:.1f} %" if whole else "-"


def by_kind(files: Sequence[Row]) -> dict[str, list[Row]]:
    """Return kind -> its files, and those of all kinds of the corpus last."""
    kinds: dict[str, list[Row]] = {}
    for row in files:
        kinds.setdefault(row["kind"], []).append(row)
    corpus = [row for row in files if row["kind"] != row["source"]]
    beside = {kind: rows for kind, rows in kinds.items() if rows[0]["kind"] == rows[0]["source"]}
    return {kind: rows for kind, rows in kinds.items() if kind not in beside} | {"**all**": corpus} | beside


def reading_table(files: Sequence[Row]) -> list[str]:
    """Return how many files each reader opens, and in how many it finds a drum hit."""

    def count(rows: Sequence[Row], holds: Callable[[Row], bool]) -> list[int]:
        return [sum(holds(row[name]) for row in rows) for name in READERS]

    rows = []
    for kind, of_kind in by_kind(files).items():
        opened = count(of_kind, lambda answer: answer["opened"])
        drums = count(of_kind, lambda answer: answer["hits"] > 0)
        cells = [f"{hits} of {files_opened}" for hits, files_opened in zip(drums, opened, strict=True)]
        rows.append([kind, len(of_kind), *cells])
    return table(["kind", "files", *READERS.values()], rows)


def step_table(files: Sequence[Row]) -> list[str]:
    """Return how many files and hits each step of the policy reads."""
    of_corpus = [row for row in files if row["kind"] != row["source"]]
    groups: dict[str, list[Row]] = {}
    for row in of_corpus:
        if step := row["hypermeter"].get("step"):
            groups.setdefault(step, []).append(row)
    rows = [
        [
            step,
            len(group),
            f"{sum(row['hypermeter']['hits'] for row in group):,}",
            f"{sum(row['mido']['hits'] for row in group):,}",
            sum(row["kind"] in WITHOUT_KIT for row in group),
        ]
        for step, group in sorted(groups.items(), key=lambda item: -len(item[1]))
    ]
    named = [row["hypermeter"]["named"] for row in of_corpus if row["kind"] in DRUMS_ALONE and named_hits(row)]
    rows.append(
        ["none of these, but by `--channel`, of files that are drums alone", len(named), f"{sum(named):,}", 0, 0]
    )
    header = ["the drums are found by", "files", "hits", "of these, mido", "of the files, classical music or charts"]
    return table(header, rows)


def named_hits(row: Row) -> int:
    """Return the hits of a file in which no drums were found that --channel reads."""
    return row["hypermeter"].get("named", 0)


def refusal_table(files: Sequence[Row]) -> list[str]:
    """Return why files of the corpus are not read in 4/4, and how many the option named in the refusal keeps."""
    answers = [row["hypermeter"] for row in files if row["kind"] != row["source"]]
    reasons = Counter(answer.get("reason") or ("" if answer["opened"] else "not opened") for answer in answers)
    kept = Counter(answer["reason"] for answer in answers if answer.get("kept_by"))
    rows = [[reason, count, kept[reason] or "-"] for reason, count in reasons.most_common() if reason]
    return table(["not read in 4/4 because of", "files", "read with the option that the message names"], rows)


def kit_table(files: Sequence[Row]) -> list[str]:
    """Return which share of the hits no voice of a kit reads."""
    kits = ("gm10", "gm16", "gm10:auto", "gm16:auto")
    rows = []
    for kind, of_kind in by_kind([row for row in files if row["hypermeter"].get("voiced")]).items():
        answers = [row["hypermeter"] for row in of_kind]
        hits = sum(answer["hits"] for answer in answers)
        lost = [percent(hits - sum(answer["voiced"][kit] for answer in answers), hits) for kit in kits]
        rows.append([kind, len(of_kind), f"{hits:,}", *lost])
    return table(["hits without a voice", "files", "hits", *kits], rows)


def grid_table(files: Sequence[Row]) -> list[str]:
    """Return how many files have a clear grid, of which kind it is, and how far players are from it."""
    rows = []
    for kind, of_kind in by_kind([row for row in files if "clarity" in row["hypermeter"]]).items():
        answers = [row["hypermeter"] for row in of_kind]
        clear = [answer for answer in answers if answer["clarity"] >= CLEAR]
        kinds = Counter(answer["grid"] for answer in clear)
        shifted = [answer for answer in clear if answer["shift"]]
        middle = f"{median(answer['shift_ms'] for answer in shifted):+.0f} ms" if shifted else "-"
        cells = [percent(kinds[name], len(clear)) for name in ("straight", "triplet", "swing")]
        rows.append(
            [kind, len(of_kind), percent(len(clear), len(of_kind)), *cells, percent(len(shifted), len(clear)), middle]
        )
    header = ["kind", "files", f"clear grid (at least {CLEAR:g})", "straight", "triplet", "swing", "shifted", "by"]
    return table(header, rows)


def markdown(result: dict[str, Any]) -> str:
    """Return all tables."""
    files = result["files"]
    names = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    parts = [
        ["Files with a drum hit, of those that are opened:", "", *reading_table(files)],
        ["Hypermeter's policy, step by step, on the corpus:", "", *step_table(files)],
        refusal_table(files),
        kit_table(files),
        grid_table(files),
        [f"Beside Hypermeter: {names}."],
    ]
    return "\n\n".join("\n".join(part) for part in parts)
