"""The `search` and `map` commands: grooves of a folder that are near, and all of them on a plane."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from hypermeter.core.errors import HypermeterError
from hypermeter.core.read_options import ReadOptions

if TYPE_CHECKING:
    from hypermeter.play.player import Player
    from hypermeter.share.near import Index, Match


def search_command(
    file: Annotated[Path, tyro.conf.arg(metavar="BEAT")],
    folder: Annotated[Path | None, tyro.conf.Positional, tyro.conf.arg(metavar="[FOLDER]")] = None,
    index: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None,
    most: Annotated[int, tyro.conf.arg(metavar="N")] = 10,
    by: Literal["bar", "piece"] = "bar",
    bars: str | None = None,
    json: bool = False,
    model: str = "groove",
    options: Annotated[ReadOptions, tyro.conf.arg(name="midi")] = ReadOptions(),
) -> None:
    """Find the grooves of a folder that are nearest to one.

    How the model hears a bar, how loud its hits are and which cells have one count alike. A distance of 0 is the same,
    1 is that of two bars of the folder at random. Pieces on another grid, or in another metre, are not compared.

    Args:
        file: MIDI, .npz, or text; if it is in the folder, it is passed over there.
        folder: with MIDI, .npz or shards, in it or below. Files that cannot be read are left out and counted.
        index: file that keeps what was read of the folder. If it is there, files that are as they were are not read
            again; without a folder it is searched as it is.
        most: matches.
        by: bar finds the passage of each piece that is nearest, bar by bar; piece compares whole pieces.
        bars: of the file to search for, as 3 or 5-8; all if left out.
        json: whether to print JSON.
        model: a shipped model, a checkpoint or a run.
        options: how the drums of MIDI are found and placed on the grid.

    Raises:
        HypermeterError: a file that cannot be read, a folder without any that can, a number that does not fit.
    """
    from dataclasses import replace

    from hypermeter.cli.material import on_grid_of, read_groove
    from hypermeter.io.grooves import read_npz
    from hypermeter.play.loading import kit_of, load_player
    from hypermeter.share.near import search

    if most < 1:
        raise HypermeterError(f"--most is {most}, expected at least 1")
    player = replace(load_player(model), name=model)
    if file.suffix.lower() == ".npz":
        groove = read_npz(file, kit_of(player))
    else:
        with _to_stderr(json):
            player, known = on_grid_of(player, [file], None, None, kit_of(player), options)
            groove = read_groove(file, player, kit_of(player), options, known)
    if bars is not None:
        groove = groove.bars(*_bars_named(bars, groove.num_bars, file))
    with _to_stderr(json):
        corpus = _index_of(folder, index, player, options)
        own = _own_name(file, Path(corpus.folder))
        if own in corpus.files:
            print(f"{file} is in the folder, and passed over")
    matches = search(corpus, player, groove, most, by, own)
    if json:
        print(_json(matches, by))
        return
    print(_table(matches))


def map_command(
    folder: Annotated[Path | None, tyro.conf.Positional, tyro.conf.arg(metavar="[FOLDER]")] = None,
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("map.svg"),
    index: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None,
    colour: Literal["auto", "style", "folder", "metre"] = "auto",
    model: str = "groove",
    options: Annotated[ReadOptions, tyro.conf.arg(name="midi")] = ReadOptions(),
) -> Path:
    """Draw the grooves of a folder as points, those that are alike near to each other.

    The plane is that of the greatest variance (principal axes) of how the model hears the bars of a piece.

    Args:
        folder: with MIDI, .npz or shards, in it or below. Files that cannot be read are left out and counted.
        out: picture to write, .svg; or .html, a page. Both name the piece that is pointed at. Or .csv, the points.
        index: as of search.
        colour: of points: style and folder are those of the pieces; auto takes the first by which they differ.
        model: a shipped model, a checkpoint or a run.
        options: how the drums of MIDI are found and placed on the grid.

    Raises:
        HypermeterError: a folder with fewer than three pieces, a path that cannot be written.
    """
    from dataclasses import replace

    from hypermeter.core.files import atomic_write, check_out
    from hypermeter.play.loading import load_player
    from hypermeter.share.near.map import draw_map, map_corpus, map_section, write_points
    from hypermeter.share.pictures import to_svg
    from hypermeter.share.report import page

    check_out(out, (".svg", ".html", ".csv"), [index])
    player = replace(load_player(model), name=model)
    corpus = map_corpus(_index_of(folder, index, player, options), colour)
    title = f"Map of {(folder or Path(index or '.')).resolve().name}"
    with atomic_write(out) as temporary:
        if out.suffix.lower() == ".csv":
            write_points(corpus, temporary)
        elif out.suffix.lower() == ".html":
            temporary.write_text(page(title, [map_section(corpus, title)]), "utf-8")
        else:
            temporary.write_text(to_svg(draw_map(corpus, title), what=title), "utf-8")
    return out


# ---------------------------------------------------------------------- indexes


def _index_of(folder: Path | None, path: Path | None, player: "Player", options: ReadOptions) -> "Index":
    """Return the index of a folder, or of a file; the file is written anew where the folder has changed.

    Prints what was read and what was left out.
    """
    from hypermeter.share.near import build_index, read_index, write_index

    if folder is None and path is None:
        raise HypermeterError("no folder to search, expected one, or --index with a file that was written before")
    if folder is None:
        assert path is not None
        index = read_index(path)
        if not index.is_of(player):
            raise HypermeterError(
                f"{path}: made with another model than {player.name}; pass its --model, or the folder"
            )
        if changed := index.changed():
            print(f"{path}: {index.folder} has changed since, {len(changed)} of its files; name it to read them")
        _tell(index, index.folder)
        return index
    known = read_index(path) if path is not None and path.is_file() else None
    if known is not None and (not known.is_of(player, options) or known.folder != str(folder.resolve())):
        print(f"{path}: of another model, folder or way to read it; it is made again")
        known = None
    index = build_index(folder, player, options, known, _watch(folder))
    if path is not None:
        before = {} if known is None else known.files
        read = sum(index.files.get(file) != stamp for file, stamp in before.items() if file in index.files)
        new, gone = len(index.files.keys() - before.keys()), len(before.keys() - index.files.keys())
        if known is None or read or new or gone:
            write_index(index, path)
            print(f"{path}: {new} files new, {read} changed, {gone} gone, {len(index.files) - new - read} as they were")
    _tell(index, str(folder))
    return index


def _tell(index: "Index", folder: str) -> None:
    print(f"{folder}: {index.num_bars:,} bars with hits in {len(index.pieces):,} pieces")
    if index.rejects:
        first = next(iter(index.rejects.values()))
        print(f"left out {len(index.rejects)} of {len(index.files)} files; the first: {first}")


def _watch(folder: Path):
    """Return a function that shows a progress bar while files are read, if there are many."""

    def watch(files: Iterable[str], number: int) -> Iterator[str]:
        import sys

        from rich.console import Console
        from rich.markup import escape
        from rich.progress import track

        console = Console(file=sys.stderr)
        yield from track(files, f"reading {escape(folder.name)}", number, console=console, transient=True)

    return watch


def _bars_named(text: str, num_bars: int, file: Path) -> tuple[int, int]:
    """Return the first bar, from 0, and the one after the last of a text as 3 or 5-8, from 1."""
    from hypermeter.cli.options import span_of_bars

    first, last = span_of_bars(text, f"--bars {text}, expected a bar as 3 or bars as 5-8")
    if not 1 <= first <= last <= num_bars:
        raise HypermeterError(f"--bars {text}, expected bars from 1 to {num_bars}, those of {file}")
    return first - 1, last


def _own_name(file: Path, folder: Path) -> str:
    """Return the path of a file relative to a folder that it is in, else ""."""
    resolved = file.resolve()
    return resolved.relative_to(folder).as_posix() if resolved.is_relative_to(folder) else ""


def _to_stderr(is_json: bool):
    """Return a context in which text that is printed goes to standard error, where JSON goes to standard output."""
    import sys
    from contextlib import nullcontext, redirect_stdout

    return redirect_stdout(sys.stderr) if is_json else nullcontext()


# ---------------------------------------------------------------------- results


def _table(matches: "list[Match]") -> str:
    """Return a table of matches; text is on the left, numbers are on the right."""
    from hypermeter.music.tables import aligned

    rows = [["distance", "hits", "bars", "bpm", "style", "piece", "alike"]]
    for match in matches:
        first, last = (bar + 1 for bar in match.bars)
        place = f"{first}-{last}" if last > first else str(first)
        numbers = [f"{match.distance:.3f}", f"{match.hits:.2f}", place, f"{match.piece.tempo_bpm:.0f}"]
        rows.append([*numbers, match.piece.style or "-", match.piece.name, match.alike])
    return aligned(rows, left=range(4, 7))


def _json(matches: "list[Match]", by: str) -> str:
    from hypermeter.music.tables import to_json

    found = [
        {
            "piece": match.piece.name,
            "file": match.piece.file,
            "bars": [bar + 1 for bar in match.bars],
            "distance": match.distance,
            "hits": match.hits,
            "voices": match.voices,
            "tempo_bpm": match.piece.tempo_bpm,
            "style": match.piece.style or None,
        }
        for match in matches
    ]
    return json.dumps(to_json({"by": by, "matches": found}), indent=1)
