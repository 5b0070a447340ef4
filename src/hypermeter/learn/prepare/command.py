"""The ``prepare`` command: finds the files, splits them, converts them, and writes the manifest."""

import re
import time
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.core.read_options import ReadOptions

if TYPE_CHECKING:
    from hypermeter.core.kit import Kit


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
    least_grid: float = 0.0,
    most_copies: int = 0,
    options: Annotated[ReadOptions, tyro.conf.arg(name="midi")] = ReadOptions(),
    seed: int = 0,
    workers: int = 0,
    quiet: bool = False,
) -> dict[str, Any]:
    """Make a folder of .npz for training from a folder, zip or single file of MIDI.

    With an info.csv like that of the Groove MIDI Dataset, split, style and beat or fill are read from it, for the files
    of its folder. Others are split by file, .8/.1/.1, near-duplicates together. The same command continues an
    interrupted run.

    Args:
        source: folder, .zip or .mid to read.
        out: folder to write: train/, validation/, test/ and manifest.json.
        kit: gm10, gm16, magenta9, gm or a YAML file, and a map after a colon: gm10:td17, gm16:auto.
        steps_per_beat: steps in a beat of the metre.
        metre: metre to keep, as 4/4; files in another are rejected.
        bars_per_phrase: bars in a phrase.
        changes: split a file where tempo or metre change, or refuse it.
        tracks: tracks beside the drums: bass (General MIDI programs 33 to 40, counted from 1). Files without such a
            part are left out.
        sections: take the markers in the files as the names of sections.
        least_grid: least clarity of the grid on which a file is played, from 0, without any, to 1; .3 leaves out files
            without a clear grid, such as those with a wrong tempo.
        most_copies: most bars of a file with the same hits; the first ones stay, and the file is split where bars are
            cut. 0 keeps all.
        options: how the drums are found and placed on the grid.
        seed: seed of the split of files that no info.csv lists.
        workers: processes; 0, the number of cores where there are files enough.
        quiet: print nothing.

    Returns:
        The manifest.

    Raises:
        HypermeterError: an option out of its range, no MIDI at the source, a folder that cannot be written, a bad kit
            or metre. A bad file among others is a reject in the manifest.
    """
    # Imported here, so that the help is quick.
    import numpy as np

    from hypermeter.core.files import check_folder
    from hypermeter.core.kit_choice import is_auto, resolve_kit
    from hypermeter.core.limits import check_seed
    from hypermeter.core.tracks import TRACKS
    from hypermeter.learn.prepare.convert import ConversionSettings, count_pitches
    from hypermeter.learn.prepare.manifest import VERSION, clear, earlier_records, totals, write_manifest
    from hypermeter.learn.prepare.source import assign_splits, find_files
    from hypermeter.learn.prepare.workers import WorkerPool

    started = time.perf_counter()
    if unknown := set(tracks) - set(TRACKS):
        raise HypermeterError(f"tracks: no {min(unknown)!r}, expected some of {', '.join(TRACKS)}")
    if changes not in ("split", "refuse"):
        raise HypermeterError(f"changes is {changes!r}, expected split or refuse")
    if workers < 0:
        raise HypermeterError(f"workers is {workers}, expected 0 or more")
    if not 0 <= least_grid <= 1:
        raise HypermeterError(f"least_grid is {least_grid}, expected 0 to 1")
    if most_copies < 0:
        raise HypermeterError(f"most_copies is {most_copies}, expected 0 or more")
    check_seed(seed)
    check_folder(out)
    grid = Grid.of_metre(metre, steps_per_beat, bars_per_phrase)
    chosen_tracks = tuple(TRACKS[name] for name in tracks)
    chosen_kit, kit_line = resolve_kit(kit, np.zeros(128, np.int64), (), options.map)
    contents = find_files(Path(source))
    if is_auto(kit) or options.map == "auto":  # One kit for all files.
        counts, names = count_pitches(Path(source), contents.files, options)
        chosen_kit, kit_line = resolve_kit(kit, counts, names, options.map)
    options = replace(options, map=None)
    settings = ConversionSettings(
        Path(source), Path(out), chosen_kit, grid, changes, chosen_tracks, sections, least_grid, most_copies, options
    )
    header = {"version": VERSION, "kit": settings.kit.record, "grid": grid.to_dict(), "changes": changes}
    if chosen_tracks:
        header["tracks"] = [track.to_dict() for track in chosen_tracks]
    header |= {"sections": True} if sections else {}
    header |= {"least_grid": least_grid} if least_grid else {}
    header |= {"most_copies": most_copies} if most_copies else {}
    header |= {"options": asdict(options)} if options != ReadOptions() else {}
    files, rejects = contents.files, contents.rejects
    earlier, written = earlier_records(settings.out, header)
    for file in files:
        file.earlier = earlier.get(file.source)
    with WorkerPool(settings, header, len(files), workers, quiet) as pool:
        num_without_split = sum(not file.split for file in files)
        if num_without_split:
            bars = {file.record["source"]: file.bars for file in pool.run(files, "reading", write=False)}
            assign_splits(files, bars, seed)
        converted = sorted(pool.run(files, "writing", write=True), key=lambda file: file.record["source"])
    kept = [file for file in converted if "npz" in file.record]
    rejects += [file.record for file in converted if "npz" not in file.record]
    manifest = {
        **header,
        "source": str(source),
        "split_by": _split_by(num_without_split, len(files), seed),
        "tables": contents.tables,
        "files": [file.record for file in kept],
        "rejects": sorted(rejects, key=lambda record: record["source"]),
        **totals(kept),
    }
    clear(settings.out, written, {name for file in kept for name in file.record["npz"]})
    write_manifest(settings.out, manifest)
    if not kept:
        reason = rejects[0]["reason"] if rejects else "no files"
        raise HypermeterError(f"{source}: none of {len(rejects)} files could be used; the first: {reason}")
    if not quiet:
        if kit_line:
            print(kit_line)
        _print_summary(manifest, settings.kit, sum(file.skipped for file in converted), time.perf_counter() - started)
    return manifest


def _split_by(num_without_split: int, num_files: int, seed: int) -> str:
    if num_without_split == num_files:
        return f"seed {seed}"
    return f"info.csv, and seed {seed} for {num_without_split} files" if num_without_split else "info.csv"


def _print_summary(manifest: dict[str, Any], kit: "Kit", num_skipped: int, duration_s: float) -> None:
    from rich.console import Console
    from rich.table import Table

    from hypermeter.core.kit_choice import describe_unmapped
    from hypermeter.io.midi.own_grid import CLEAR, describe_shift

    console = Console()
    table = Table("split", "files", "bars", "distinct bars", "hits", "dropped", "bars also in train")
    for split, total in manifest["splits"].items():
        same = manifest["bars_verbatim_in_train"].get(split)
        share = f"{same['in_train']} of {same['bars']}" if same and same["bars"] else ""
        table.add_row(
            split, *(f"{total[key]:,}" for key in ("files", "bars", "distinct_bars", "hits", "dropped")), share
        )
    console.print(table)
    for reason in filter(None, manifest["tables"].values()):
        console.print(f"not used: {reason}", markup=False, highlight=False)
    numbers = r" at bar \d+ \(\d+ hits\)| \(clarity [\d.]+\)|; it has .*(?=; name)"
    reasons = Counter(re.sub(numbers, "", record["reason"]) for record in manifest["rejects"])
    console.print(f"{len(manifest['rejects'])} files rejected" + (":" if reasons else ""))
    for reason, count in reasons.most_common(8):
        console.print(f"  {count} x {reason}", markup=False, highlight=False)
    remarks = Counter(re.sub(r"^\d+ (?=hits)", "", line) for file in manifest["files"] for line in file["remarks"])
    for remark, count in remarks.most_common(8):
        console.print(f"  {count} x {remark}", markup=False, highlight=False)
    if manifest["unmapped"]:
        counts = {int(pitch): count for pitch, count in manifest["unmapped"].items()}
        total = manifest["hits"] + manifest["hits_dropped"] + sum(counts.values())
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
    if left_out := sum(bool(record["left_out"]) for record in manifest["files"]):
        console.print(f"{left_out} files had parts left out; see left_out in manifest.json")
    count = len(manifest["files"]) + len(manifest["rejects"])
    again = f", {num_skipped} of them done before" if num_skipped else ""
    console.print(f"{count:,} files in {duration_s:.1f} s{again}")
