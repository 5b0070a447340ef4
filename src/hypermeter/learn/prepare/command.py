"""The ``prepare`` command: its options, and what they are for a run."""

import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import GridChoice
from hypermeter.core.read_options import ReadOptions


def prepare(
    source: Annotated[Path, tyro.conf.arg(metavar="SOURCE")],
    out: Annotated[Path, tyro.conf.arg(metavar="OUT")],
    kit: str = "gm10",
    steps_per_beat: int | Literal["auto"] = 4,
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
    packed: bool = False,
    engine: Literal["local", "ray"] = "local",
    address: str = "",
    quiet: bool = False,
) -> Mapping[str, Any]:
    """Make a folder of .npz for training from a folder, zip or single file of MIDI.

    With an info.csv like that of the Groove MIDI Dataset, split, style and beat or fill are read from it, for the files
    of its folder. Others are split by file, .8/.1/.1, near-duplicates together. The same command continues an
    interrupted run.

    Args:
        source: folder, .zip or .mid to read, or the address of one in an object store, as s3://bucket/folder.
        out: folder to write, or an address: train/, validation/, test/ and manifest.json.
        kit: gm10, gm16, magenta9, gm or a YAML file, and a map after a colon: gm10:td17, gm16:auto.
        steps_per_beat: steps in a beat of the metre; auto takes those that fit each file: sixteenths or triplets.
        metre: metre to keep, as 4/4, files in another are rejected; or all.
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
        packed: write shards instead of .npz, as pack makes them; needs hypermeter[shards]. For corpora of many files.
        engine: local, or ray for the machines of a Ray cluster, which have to reach SOURCE and OUT; needs
            hypermeter[ray].
        address: of the Ray cluster, as host:port, or auto; without, RAY_ADDRESS, or one is started on this machine.
        quiet: print nothing.

    Returns:
        The manifest, a mapping. The lists of a large one are read from the disk when they are asked for.

    Raises:
        HypermeterError: an option out of its range, no MIDI at the source, a folder that cannot be written, a bad kit
            or metre. A bad file among others is a reject in the manifest.
    """
    # Imported here, so that the help is quick.
    import numpy as np

    from hypermeter.core.addresses import as_address, as_path
    from hypermeter.core.files import check_folder
    from hypermeter.core.kit_choice import is_auto, resolve_kit
    from hypermeter.core.limits import check_seed
    from hypermeter.core.tracks import TRACKS
    from hypermeter.io.shards import SUFFIX, ShardWriter
    from hypermeter.learn.engines import check_engine
    from hypermeter.learn.prepare.convert import ConversionSettings
    from hypermeter.learn.prepare.folder import open_folder
    from hypermeter.learn.prepare.manifest import VERSION
    from hypermeter.learn.prepare.plan import list_source, make_plan
    from hypermeter.learn.prepare.run import choose_engine, count_all_pitches, run_plan
    from hypermeter.learn.prepare.summary import print_summary

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
    check_engine(engine, address)
    out_address = as_address(out) or str(out)
    source_address = as_address(source) or str(source)
    if as_address(out) is None:
        check_folder(out)
    choice = GridChoice.of_words(metre, steps_per_beat, bars_per_phrase)
    grid = choice if metre == "all" or steps_per_beat == "auto" else choice.grid()
    chosen_tracks = tuple(TRACKS[name] for name in tracks)
    chosen_kit, kit_line = resolve_kit(kit, np.zeros(128, np.int64), (), options.map)
    if packed:
        ShardWriter(f"check{SUFFIX}")  # Raises where a package is missing.
    folder = open_folder(out_address)
    listing = list_source(as_path(source), folder)
    with choose_engine(engine, workers, listing.num_files, address) as chosen_engine:
        if is_auto(kit) or options.map == "auto":  # One kit for all files.
            counts, names = count_all_pitches(chosen_engine, source_address, listing, options)
            chosen_kit, kit_line = resolve_kit(kit, counts, names, options.map)
        options = replace(options, map=None)
        header = {"version": VERSION, "kit": chosen_kit.record, "grid": choice.grid().to_dict(), "changes": changes}
        if chosen_tracks:
            header["tracks"] = [track.to_dict() for track in chosen_tracks]
        header |= {"every_grid": asdict(choice)} if grid is choice else {}
        header |= {"sections": True} if sections else {}
        header |= {"least_grid": least_grid} if least_grid else {}
        header |= {"most_copies": most_copies} if most_copies else {}
        header |= {"options": asdict(options)} if options != ReadOptions() else {}
        header |= {"packed": True} if packed else {}
        settings = ConversionSettings(
            source_address,
            out_address,
            chosen_kit,
            grid,
            changes,
            chosen_tracks,
            sections,
            least_grid,
            most_copies,
            options,
            packed,
        )
        plan = make_plan(listing, source_address, folder, header, seed)
        outcome = run_plan(plan, settings, header, seed, chosen_engine, quiet)
    if not quiet:
        if kit_line:
            print(kit_line)
        print_summary(outcome, chosen_kit, time.perf_counter() - started)
    return outcome.manifest
