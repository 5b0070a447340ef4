"""The summary that `prepare` prints."""

import re
from collections import Counter
from collections.abc import Iterable

from rich.console import Console
from rich.table import Table

from hypermeter.core.kit import Kit
from hypermeter.core.kit_choice import describe_unmapped
from hypermeter.io.midi.own_grid import CLEAR, describe_shift
from hypermeter.learn.prepare.run import Outcome

MAX_COUNTED = 10_000
"""Different reasons or remarks that are counted; others beyond them are not."""


def print_summary(outcome: Outcome, kit: Kit, duration_s: float) -> None:
    """Print the totals of a run, what was left out and why, and what was chosen."""
    manifest = outcome.manifest
    console = Console()
    table = Table("split", "files", "bars", "distinct bars", "hits", "further strokes", "bars also in train")
    for split, total in manifest["splits"].items():
        same = manifest["bars_verbatim_in_train"].get(split)
        share = f"{same['in_train']} of {same['bars']}" if same and same["bars"] else ""
        table.add_row(
            split, *(f"{total[key]:,}" for key in ("files", "bars", "distinct_bars", "hits", "strokes")), share
        )
    console.print(table)
    for reason in filter(None, manifest["tables"].values()):
        console.print(f"not used: {reason}", markup=False, highlight=False)
    numbers = r" at bar \d+ \(\d+ hits\)| \(clarity [\d.]+\)|; it has .*(?=; name)"
    num_rejects, reasons = _count(re.sub(numbers, "", record["reason"]) for record in manifest.items_of("rejects"))
    console.print(f"{num_rejects} files rejected" + (":" if reasons else ""))
    for reason, count in reasons.most_common(8):
        console.print(f"  {count} x {reason}", markup=False, highlight=False)
    lines = (line for record in manifest.items_of("files") for line in record["remarks"])
    _, remarks = _count(re.sub(r"^\d+ (?=hits)", "", line) for line in lines)
    for remark, count in remarks.most_common(8):
        console.print(f"  {count} x {remark}", markup=False, highlight=False)
    kept = manifest["hits"] + manifest["strokes"]
    total = kept + sum(manifest["unmapped"].values())
    if kept:
        console.print(f"{kept:,} of {total:,} hits are kept ({kept / total:.2%})", highlight=False)
    if manifest["unmapped"]:
        counts = {int(pitch): count for pitch, count in manifest["unmapped"].items()}
        console.print(describe_unmapped(counts, kit, total), markup=False, highlight=False)
    for name, count in manifest.get("notes", {}).items():
        dropped = manifest["notes_dropped"][name]
        more = f", and {dropped:,} dropped for a lower or equal one of the same step" if dropped else ""
        console.print(f"notes of {name}: {count:,}{more}", highlight=False)
    own_grids = manifest["own_grids"]
    if own_grids["median_shift_ms"] is not None:
        console.print(
            f"the playing is {describe_shift(own_grids['median_shift_ms'])} (median of files)", highlight=False
        )
    if own_grids["unclear"]:
        text = f"{own_grids['unclear']} files have no clear grid (clarity below {CLEAR}); --least-grid {CLEAR} leaves"
        console.print(f"{text} them out", highlight=False)
    if manifest["bars_cut"]:
        copies = f"more than {manifest['most_copies']} times in their file"
        console.print(f"{manifest['bars_cut']:,} bars were cut, which are {copies}", highlight=False)
    across = manifest["near_duplicates_across_splits"]
    if across:
        console.print(f"{across} groups of near-duplicate performances lie across the splits given by info.csv")
    if outcome.num_left_out:
        console.print(f"{outcome.num_left_out} files had parts left out; see left_out in manifest.json")
    count = num_rejects + sum(total["files"] for total in manifest["splits"].values())
    again = f", {outcome.num_skipped} of them done before" if outcome.num_skipped else ""
    console.print(f"{count:,} files in {duration_s:.1f} s{again}")


def _count(texts: Iterable[str]) -> tuple[int, Counter[str]]:
    """Return how many texts there are, and how often each is there, of the first MAX_COUNTED different ones."""
    total, counts = 0, Counter()
    for text in texts:
        total += 1
        if text in counts or len(counts) < MAX_COUNTED:
            counts[text] += 1
    return total, counts
