"""The ``prepare`` command: finds the files, splits them, converts them, and writes the manifest."""

import re
import time
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from hypermeter.core.errors import HypermeterError
from hypermeter.core.files import atomic_write
from hypermeter.core.grid import Grid
from hypermeter.core.kit import load_kit
from hypermeter.core.tracks import TRACKS


def prepare(
    source: Annotated[Path, tyro.conf.arg(metavar="SOURCE")],
    out: Annotated[Path, tyro.conf.arg(metavar="OUT")],
    kit: str = "gm10",
    steps_per_beat: int = 4,
    metre: str = "4/4",
    bars_per_phrase: int = 4,
    changes: Literal["split", "refuse"] = "split",
    tracks: tuple[str, ...] = (),
    sections: bool = False,
    seed: int = 0,
    workers: int = 0,
    quiet: bool = False,
) -> dict[str, Any]:
    """Make a folder of .npz for training from a folder, zip or single file of MIDI.

    With an info.csv as the Groove MIDI Dataset has it, split, style and beat or fill are read there. Other folders are
    split by file, .8/.1/.1, near-duplicates together. Run again, it goes on where it stopped.

    Args:
        source: folder, .zip or .mid to read.
        out: folder to write: train/, validation/, test/ and manifest.json.
        kit: gm10, magenta9, gm, or the path of a YAML file.
        steps_per_beat: steps in a beat of the metre.
        metre: the metre to keep, as 4/4; files in another are rejected.
        bars_per_phrase: bars in a phrase.
        changes: split a file where tempo or metre change, or refuse it.
        tracks: to keep beside the drums: bass (General MIDI programs 33 to 40, counted from 1). What has no such part
            is left out.
        sections: take the markers in the files as the names of sections.
        seed: of the split of a plain folder.
        workers: processes; 0 takes the number of cores where there are files enough.
        quiet: print nothing.

    Returns:
        The manifest.

    Raises:
        HypermeterError: nothing to read at the source, a folder that cannot be written, a bad kit or metre. A bad file
            among others is a reject in the manifest.
    """
    # Imported here, so that the help comes at once.
    from hypermeter.learn.prepare.convert import Job
    from hypermeter.learn.prepare.crew import Crew
    from hypermeter.learn.prepare.manifest import (
        MANIFEST,
        PARTIAL,
        VERSION,
        clear,
        earlier_records,
        one_record_a_line,
        totals,
    )
    from hypermeter.learn.prepare.source import assign_splits, find_files

    started = time.perf_counter()
    if unknown := set(tracks) - set(TRACKS):
        raise HypermeterError(f"tracks: no {min(unknown)!r}, expected some of {', '.join(TRACKS)}")
    grid = Grid.of_metre(metre, steps_per_beat, bars_per_phrase)
    melodies = tuple(TRACKS[name] for name in tracks)
    job = Job(Path(source), Path(out), load_kit(kit), grid, changes, melodies, sections)
    if changes not in ("split", "refuse"):
        raise HypermeterError(f"changes is {changes!r}, expected split or refuse")
    settings = {"version": VERSION, "kit": job.kit.record, "grid": job.grid.to_dict(), "changes": changes}
    if melodies:
        settings["tracks"] = [each.to_dict() for each in melodies]
    if sections:
        settings["sections"] = True
    files, is_split, rejects = find_files(job.source)
    earlier, leftovers = earlier_records(job.out, settings)
    for each in files:
        each.known = earlier.get(each.source)
    with Crew(job, settings, len(files), workers, quiet) as crew:
        if not is_split:
            bars = {}
            for outcome in crew.run(files, "reading", write=False):
                bars[outcome.record["source"]] = outcome.bars
            assign_splits(files, bars, seed)
        outcomes = sorted(crew.run(files, "writing", write=True), key=lambda each: each.record["source"])
    records = [each.record for each in outcomes]
    kept = [each for each in outcomes if "npz" in each.record]
    rejects += [each for each in records if "npz" not in each]
    manifest = {
        **settings,
        "source": str(source),
        "split_by": "info.csv" if is_split else f"seed {seed}",
        "files": [each.record for each in kept],
        "rejects": sorted(rejects, key=lambda each: each["source"]),
        **totals(kept),
    }
    clear(job.out, leftovers, {name for each in kept for name in each.record["npz"]})
    with atomic_write(job.out / MANIFEST) as temporary:
        temporary.write_text(one_record_a_line(manifest), "utf-8")
    (job.out / PARTIAL).unlink(missing_ok=True)
    if not kept:
        reason = rejects[0]["reason"] if rejects else "no files"
        raise HypermeterError(f"{source}: none of {len(rejects)} files could be used; the first: {reason}")
    if not quiet:
        _summarize(manifest, sum(each.skipped for each in outcomes), time.perf_counter() - started)
    return manifest


def _summarize(manifest: dict[str, Any], num_skipped: int, duration_s: float) -> None:
    from rich.console import Console
    from rich.table import Table

    from hypermeter.learn.prepare.manifest import MANIFEST

    console = Console()
    table = Table("split", "files", "bars", "hits", "dropped", "bars also in train")
    for split, total in manifest["splits"].items():
        same = manifest["bars_verbatim_in_train"].get(split)
        share = f"{same['in_train']} of {same['bars']}" if same and same["bars"] else ""
        table.add_row(split, *(f"{total[key]:,}" for key in ("files", "bars", "hits", "dropped")), share)
    console.print(table)
    reasons = Counter(re.sub(r" at bar \d+ \(\d+ hits\)", "", each["reason"]) for each in manifest["rejects"])
    console.print(f"{len(manifest['rejects'])} files rejected" + (":" if reasons else ""))
    for reason, count in reasons.most_common(8):
        console.print(f"  {count} x {reason}", markup=False, highlight=False)
    if manifest["unmapped"]:
        told = ", ".join(f"{pitch}: {count:,}" for pitch, count in manifest["unmapped"].items())
        console.print(f"hits that no voice of the kit reads, by pitch: {told}", highlight=False)
    for name, count in manifest.get("notes", {}).items():
        dropped = manifest["notes_dropped"][name]
        more = f", and {dropped:,} dropped for a lower or equal one of the same step" if dropped else ""
        console.print(f"notes of {name}: {count:,}{more}", highlight=False)
    across = manifest["near_duplicates_across_splits"]
    if across:
        console.print(f"{across} groups of near-duplicate performances lie across the splits given by info.csv")
    left_out = sum(bool(each["left_out"]) for each in manifest["files"])
    if left_out:
        console.print(f"{left_out} files had parts left out; see left_out in {MANIFEST}")
    count = len(manifest["files"]) + len(manifest["rejects"])
    again = f", {num_skipped} of them done before" if num_skipped else ""
    console.print(f"{count:,} files in {duration_s:.1f} s{again}")
