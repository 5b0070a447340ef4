"""The page's reader of MIDI files reads what Python's reads: odd files and damaged ones."""

import base64
import itertools
import json
import re
import shutil
import subprocess

import numpy as np
import pytest

from browsing import ROOT
from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid, GridChoice
from hypermeter.core.groove import Groove
from hypermeter.core.kit import load_kit
from hypermeter.core.kit_choice import describe_unmapped
from hypermeter.core.read_options import ReadOptions
from hypermeter.io.midi import Piece, parse_midi, write_midi
from hypermeter.io.midi.own_grid import CLEAR
from odd_midi import OddFile, damaged_files, many_notes, odd_files

WEB = ROOT / "web"
MOST_BARS = 256
"""Bars of the longest song on the page."""
READ = """
import { readFileSync } from 'node:fs'
import { MidiError, readMidi } from './midi.mjs'
const { voices, mostBars, everyMetre, files } = JSON.parse(readFileSync(0))
const grid = { steps_per_beat: 4, beats_per_bar: 4, bars_per_phrase: 4, beat_unit: 4 }
const read = ({ content, options }) => {
    try {
        const bytes = new Uint8Array(Buffer.from(content, 'base64'))
        const { tempo_map: tempoMap, ...others } = options
        const groove = readMidi(bytes, voices, grid, mostBars, { ...others, tempoMap, everyMetre })
        const cells = [...groove.hits.keys()].filter((cell) => groove.hits[cell])
        const values = ['velocity', 'offset', 'openness'].map((name) => cells.map((cell) => groove[name][cell]))
        const strokes = [...groove.strokes].flatMap(([cell, own]) => own.map((one) => [cell, one.offset, one.velocity]))
        const inOrder = strokes.sort((a, b) => a[0] - b[0])
        const losses = groove.losses.map((line) => line.split('; ')[0])
        const [velocity, offset, openness] = values
        return { ...groove, losses, hits: cells, velocity, offset, openness, strokes: inOrder.flat() }
    } catch (error) {
        if (!(error instanceof MidiError)) return { failure: error.stack }
        return { refused: error.message }
    }
}
console.log(JSON.stringify(files.map(read)))
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """Return a function: files -> what the page reads of each, by one run of Node."""
    rolldown = WEB / "node_modules" / ".bin" / "rolldown"
    if shutil.which("node") is None or not rolldown.exists():
        pytest.skip("needs node and web/node_modules (cd web && npm ci)")
    folder = tmp_path_factory.mktemp("reader")
    bundle = [rolldown, "src/midi.ts", "--format", "esm", "--file", folder / "midi.mjs"]
    subprocess.run(bundle, cwd=WEB, check=True, capture_output=True)
    (folder / "read.mjs").write_text(READ)
    kit = load_kit("gm10")
    voices = [
        {"pitches": list(voice.pitches), "write": voice.write, "isHat": number in kit.hats}
        for number, voice in enumerate(kit.voices)
    ]

    def read(files: list[OddFile], every_metre: bool = False) -> list[dict]:
        records = [{"content": base64.b64encode(file.content).decode(), "options": file.options} for file in files]
        request = json.dumps({"voices": voices, "mostBars": MOST_BARS, "everyMetre": every_metre, "files": records})
        run = subprocess.run(["node", folder / "read.mjs"], input=request, capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
        return json.loads(run.stdout)

    return read


def python(file: OddFile, every_metre: bool = False) -> dict:
    """Return what Python reads of a file, in the form of the page's."""
    try:
        grid, options = GridChoice() if every_metre else Grid(), ReadOptions(**file.options)
        pieces, losses = parse_midi(file.content, "", grid=grid, to_end=True, options=options)
    except HypermeterError as error:
        return {"refused": str(error).removeprefix(": ")}
    piece = pieces[0]
    groove = piece.groove
    per_bar = groove.grid.steps_per_bar
    hits = groove.hits[: per_bar * MOST_BARS]
    cells = np.nonzero(hits)
    return {
        "hits": np.flatnonzero(hits).tolist(),
        "velocity": groove.velocity[cells].tolist(),
        "offset": groove.offset[cells].tolist(),
        "openness": [None if np.isnan(value) else value for value in groove.openness[cells].tolist()],
        "strokes": strokes_of_page(groove, per_bar * MOST_BARS),
        "shift": groove.shift,
        "grid": groove.grid.to_dict(),
        "tempo": groove.tempo_bpm,
        "bars": min(groove.num_bars, MOST_BARS),
        "losses": [*map(what, losses), *losses_of_page(pieces)],
    }


def strokes_of_page(groove: Groove, most_steps: int) -> list[float]:
    """Return cell, offset and velocity of the further strokes of so many steps."""
    strokes, voices = groove.strokes, groove.hits.shape[1]
    rows = zip(strokes.step, strokes.voice, strokes.offset, strokes.velocity, strict=True)
    kept = [(int(step) * voices + int(voice), *values) for step, voice, *values in rows if step < most_steps]
    return [float(value) for row in sorted(kept, key=lambda row: row[0]) for value in row]


def losses_of_page(pieces: list[Piece]) -> list[str]:
    """Return what the page says of the pieces: it opens the first, and of that as much as a song holds."""
    piece, others = pieces[0], sum(other.groove.num_bars for other in pieces[1:])
    total = piece.groove.num_strokes + sum(piece.unmapped.values())
    unmapped = what(describe_unmapped(piece.unmapped, load_kit(piece.groove.kit), total))
    late = int(piece.groove.hits[piece.groove.grid.steps_per_bar * MOST_BARS :].sum())
    return [
        *[f"{others} bars after a change of tempo or metre"] * bool(others),
        *[unmapped] * bool(unmapped),
        *[f"{late} hits after bar {MOST_BARS}"] * bool(late),
        *["no clear grid: hits are anywhere between the steps"] * (piece.own_grid.clarity < CLEAR),
    ]


def what(line: str) -> str:
    """Return what a line says, in the words of the page, without what it advises."""
    line = re.sub(r"kit gm10\S* \((.*) fits best\) leaves", r"the pitches of \1 fit best and leave", line)
    return re.sub(r"\b(the )?kit gm10\S*", "this kit", line.split("; ")[0])


def difference(page: dict, python: dict) -> str:
    """Return in words what differs, or nothing."""
    if "failure" in page:
        return page["failure"]
    if "refused" in page or "refused" in python:
        reasons = [what(str(record.get("refused"))) for record in (page, python)]
        return "" if reasons[0] == reasons[1] else f"refused: page {reasons[0]!r}, Python {reasons[1]!r}"
    if len(page["strokes"]) != len(python["strokes"]) or page["openness"].count(None) != python["openness"].count(None):
        return f"strokes or openness: page {str(page['strokes'])[:400]}, Python {str(python['strokes'])[:400]}"
    for record in (page, python):
        record["openness"] = [-1 if value is None else value for value in record["openness"]]
    for name in ("grid", "bars", "tempo", "hits", "losses"):
        if page[name] != python[name]:
            return f"{name}: page {str(page[name])[:400]}, Python {str(python[name])[:400]}"
    for name in ("shift", "velocity", "offset", "openness", "strokes"):
        if (gap := np.abs(np.subtract(page[name], python[name])).max(initial=0)) > 2e-6:  # six decimals
            return f"{name}: {gap}"
    return ""


def differences(page, files: list[OddFile], every_metre: bool = False) -> dict[str, str]:
    pairs = zip(files, page(files, every_metre), strict=True)
    differences = {file.name: difference(read, python(file, every_metre)) for file, read in pairs}
    return {name: what for name, what in differences.items() if what}


def test_odd_files_are_read_as_python_reads_them(page):
    assert differences(page, odd_files()) == {}


def test_damaged_files_are_read_or_refused_as_python_does(page):
    assert differences(page, list(damaged_files())) == {}


def test_many_notes_are_read(page):
    assert differences(page, [many_notes()]) == {}


METRES = ("4/4", "3/4", "2/4", "5/4", "7/4", "6/8", "7/8", "12/8", "9/8", "3/16", "2/2")


def files_in_metres(folder) -> list[OddFile]:
    """Return files in many metres, played on sixteenths and triplets, straight, swung and late."""
    rng, files = np.random.default_rng(5), []
    for metre, per_quarter, late in itertools.product(METRES, (4, 3, 6), (0.0, 0.15)):
        grid = GridChoice(metre).grid(steps_per_quarter=per_quarter)
        hits = (rng.random((6 * grid.steps_per_bar, 10)) < 0.2).astype(np.uint8)
        offset = np.where(hits, rng.normal(late, 0.05, hits.shape).clip(-0.5, 0.49), 0)
        groove = Groove(hits, velocity=0.7 * hits, offset=offset, tempo_bpm=97.0, kit=load_kit("gm10"), grid=grid)
        path = folder / "one.mid"
        write_midi(groove, path)
        name = f"{metre} {per_quarter} {late}"
        files += [OddFile(name, path.read_bytes()), OddFile(f"{name} kept", path.read_bytes(), {"shift": "keep"})]
    return files


def test_every_metre_is_read_as_python_reads_it(page, tmp_path):
    files = files_in_metres(tmp_path)
    grids = {python(file, True)["grid"]["steps_per_beat"] for file in files}
    assert len(grids) > 3
    assert differences(page, files, every_metre=True) == {}


def test_odd_files_are_read_in_their_own_metre_as_python_reads_them(page):
    assert differences(page, odd_files(), every_metre=True) == {}
