"""Analysis of files and folders: what is measured, what is written, what is refused."""

import csv
import json
import math
import re
import subprocess
import sys
import xml.dom.minidom
from pathlib import Path

import numpy as np
import pytest
import torch

from hypermeter.cli import main
from hypermeter.cli.demo import read_corpus
from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid, GridChoice
from hypermeter.core.groove import Groove
from hypermeter.io.ascii import ascii_grid, read_ascii
from hypermeter.io.midi import to_midi_bytes, write_midi
from hypermeter.learn.evaluate import compare_music
from hypermeter.learn.rl import Reward, Term
from hypermeter.music.metrics import METRICS, measure
from hypermeter.music.tables import to_json
from hypermeter.share.analyse import Analysis, analyse, columns, compare_pieces, levels, parse_sections

CORPUS = read_corpus()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("rock-1", "rock-2", "jazz-1", "jazz-2"):
        write_midi(CORPUS[name], tmp_path / name.partition("-")[0] / f"{name}.mid")
    return tmp_path


def test_a_file_gives_the_metrics_of_its_groove(folder):
    (piece,) = analyse("rock/rock-1.mid")
    assert piece.name == "rock-1.mid"
    expected = measure(piece.groove)
    assert set(piece.values) == set(METRICS)
    for name, value in expected.items():
        np.testing.assert_array_equal(piece.values[name], value)
    assert piece.flat["drum_density.kick"] == pytest.approx(expected["drum_density"][0].item())
    assert piece.flat["repetition_profile.2"] == pytest.approx(expected["repetition_profile"][1].item())


def test_a_bad_file_of_a_folder_is_reported_and_the_rest_goes_on(folder):
    (folder / "rock" / "bad.mid").write_bytes(b"not MIDI")
    rejects = []
    assert [piece.name for piece in analyse("rock", rejects=rejects)] == ["rock-1.mid", "rock-2.mid"]
    assert len(rejects) == 1 and "bad.mid" in rejects[0]
    with pytest.raises(HypermeterError, match=r"bad\.mid"):
        list(analyse("rock"))


@pytest.mark.parametrize("path", ["nothing.mid", "empty"])
def test_what_cannot_be_read_is_refused(folder, path):
    (folder / "empty").mkdir()
    with pytest.raises(HypermeterError):
        list(analyse(path, rejects=[]))


def test_columns_have_a_number_for_every_piece():
    groove = read_ascii("kick |x...x...x...x...|")
    one = [analysis for analysis in analyse_grooves(groove, CORPUS["rock-1"])]
    table = columns(one)
    assert all(len(values) == 2 for values in table.values())
    assert math.isnan(table["groove_consistency"][0])
    assert table["density"].tolist() == pytest.approx([4 / 160, CORPUS["rock-1"].hits.mean()])


def analyse_grooves(*grooves):
    return [Analysis(str(number), groove, measure(groove)) for number, groove in enumerate(grooves)]


def test_only_what_is_of_each_voice_has_a_column_for_each_voice():
    columns_of_rock = set(analyse_grooves(CORPUS["rock-1"])[0].flat)
    as_many_steps_as_voices = Groove(CORPUS["rock-1"].hits[:10], grid=Grid(steps_per_beat=1))
    (piece,) = analyse_grooves(as_many_steps_as_voices)
    assert piece.values["step_density"].shape == piece.values["drum_density"].shape == (10,)
    assert set(piece.flat) == columns_of_rock
    assert "drum_density.kick" in columns_of_rock


def test_a_custom_metric_without_annotation_is_of_each_voice_by_its_shape():
    METRICS["often"] = lambda hits, grid: hits.mean(-2)
    try:
        (piece,) = analyse_grooves(CORPUS["rock-1"])
        assert piece.flat["often.kick"] == pytest.approx(piece.flat["drum_density.kick"])
    finally:
        del METRICS["often"]


WANTING = {
    "velocity": {"velocity_range"},
    "offset": {"offset_ms", "swing_ratio", "timing_dfa"},
    "tempo_bpm": {"offset_ms"},
    "strokes": {"several_strokes"},
}
"""What a file may leave untold -> the metrics that want it."""


@pytest.mark.parametrize("missing", [(), ("velocity",), ("offset",), ("tempo_bpm",), tuple(WANTING)], ids=str)
def test_values_that_a_file_lacks_are_undefined_and_not_measured_from_defaults(folder, missing):
    save_eighths("a.npz", missing)
    (piece,) = analyse("a.npz")
    undefined = {name for name in set().union(*WANTING.values()) if math.isnan(piece.flat[name])}
    assert undefined == set().union(*(WANTING[name] for name in missing))
    assert np.isnan(levels(piece.groove)["bar"]["velocity_range"]).all() == ("velocity" in missing)


def save_eighths(path, missing):
    random = np.random.default_rng(0)
    hits = (random.random((256, 10)) < 0.4).astype(np.uint8)
    hits[::2, 4] = 1
    hits[1::2] = 0
    expression = {"velocity": random.random(hits.shape), "offset": random.random(hits.shape) * 0.2}
    expression["strokes"] = np.zeros((0, 5))
    meta = {"kit": "gm10"} | ({} if "tempo_bpm" in missing else {"tempo_bpm": 90})
    arrays = {name: values for name, values in expression.items() if name not in missing}
    np.savez(path, sequence=hits, meta=np.array(json.dumps(meta)), **arrays)


def test_analyse_and_inspect_show_the_same_and_a_dash_for_what_a_file_does_not_tell(folder, capsys):
    save_eighths("a.npz", {"velocity", "offset"})
    shown = []
    for command in ("analyse", "inspect"):
        assert main([command, "a.npz"]) == 0
        shown.append(dict(re.findall(r"\b([a-z_]+) [ │]+(-|-?[\d.]+)\s", capsys.readouterr().out)))
    assert shown[0].items() <= shown[1].items()  # inspect has a table of voices as well
    assert {name for name, value in shown[0].items() if value == "-"} == WANTING["velocity"] | WANTING["offset"]
    assert len(shown[0]) > 20


def test_a_style_differs_from_another_and_not_from_itself(folder):
    rock, jazz = list(analyse("rock")), list(analyse("jazz"))
    same = compare_pieces(rock, rock)
    assert all(comparison["cohens_d"] == 0 for comparison in same.values() if not math.isnan(comparison["cohens_d"]))
    apart = compare_pieces(rock, jazz)
    assert set(apart) == set(same)
    assert apart["drum_density.ride"]["mean"] < apart["drum_density.ride"]["their_mean"]


def test_levels_measure_each_bar_and_phrase_on_its_own():
    groove = CORPUS["rock-1"]
    tables = levels(groove, {"opening": (0, 2)})
    assert set(tables) == {"step", "bar", "phrase", "section", "song"}
    bar = slice(16, 32)
    assert tables["bar"]["avg_hits"][1].item() == pytest.approx(groove.hits[bar].sum() / 16)
    assert tables["bar"]["lhl"].shape == (groove.num_bars,)
    assert tables["section"]["opening"]["avg_hits"].item() == pytest.approx(groove.hits[:32].sum() / 32)


def test_levels_are_the_metrics_of_each_chunk_alone():
    random = np.random.default_rng(0)
    shape = (16 * 6 + 5, 10)  # the last bar and the last phrase are short
    hits = random.random(shape) < random.random((shape[0], 1)) * 0.6
    groove = Groove(hits, random.random(shape), random.random(shape) - 0.5, tempo_bpm=97)
    tables = levels(groove)
    scalars = [name for name, value in measure(groove).items() if value.ndim == 0]
    for level, size in (("bar", 16), ("phrase", 64)):
        for name in scalars:
            alone = []
            for start in range(0, len(groove), size):
                part = slice(start, start + size)
                chunk = Groove(groove.hits[part], groove.velocity[part], groove.offset[part], 97)
                alone.append(measure(chunk, [name])[name])
            np.testing.assert_allclose(
                tables[level][name], np.stack(alone), rtol=1e-5, atol=1e-6, err_msg=f"{level} {name}"
            )


def test_levels_of_less_than_a_bar_are_those_of_the_piece():
    groove = Groove(CORPUS["rock-1"].hits[:7])
    tables, whole = levels(groove), measure(groove)
    for level in ("bar", "phrase"):
        np.testing.assert_array_equal(tables[level]["velocity_range"], whole["velocity_range"][None])
        assert np.isnan(tables[level]["timing_dfa"]).all()


def test_sections_are_named_bars_one_after_another():
    assert parse_sections("intro:4 verse:8 intro:2", 14) == {"intro": (0, 4), "verse": (4, 12), "intro 2": (12, 14)}
    assert parse_sections("intro, verse:2", 3) == {"intro": (0, 1), "verse": (1, 3)}
    for wrong in ("", "intro:", ":4", "intro:0", "intro:x", "intro 4", "intro=4"):
        with pytest.raises(HypermeterError, match="expected label:bars"):
            parse_sections(wrong, 99)
    with pytest.raises(HypermeterError, match="5 bars in 'a:5', the piece has 4"):
        parse_sections("a:5", 4)


def test_json_has_null_where_a_number_is_undefined():
    record = to_json({"a": torch.tensor([1.0, math.nan]), "b": [math.inf, 2], "c": np.float64(0.5), "d": "x"})
    assert record == {"a": [1.0, None], "b": [None, 2], "c": 0.5, "d": "x"}
    json.dumps(record, allow_nan=False)


def test_the_command_writes_a_table_csv_json_and_a_report_that_needs_nothing_else(folder, capsys):
    assert main(["analyse", "rock/rock-1.mid", "--sections", "a:1 b:2"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("syncopation") == 2 and " a " in printed  # of the whole, and of the sections
    out = folder / "rock-1-analysis"
    result = json.loads((out / "metrics.json").read_text())
    assert set(result["levels"]["section"]) == {"a", "b"}
    assert set(result["pieces"][0]["metrics"]) == set(METRICS)
    (row,) = csv.DictReader((out / "metrics.csv").read_text().splitlines())
    assert float(row["density"]) == pytest.approx(CORPUS["rock-1"].hits.mean(), rel=1e-5)
    page = (out / "report.html").read_text()
    assert page.count("<svg") == page.count("</svg>") == 2
    assert not re.search(r"(src|href)=\"(https?:)?//", page)
    for drawing in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
        xml.dom.minidom.parseString(drawing)


@pytest.mark.slow
def test_the_same_folder_gives_the_same_report(folder):
    for out in ("one", "two"):
        assert main(["analyse", "rock", "--out", out]) == 0
    for name in ("report.html", "metrics.csv", "metrics.json"):
        assert (folder / "one" / name).read_bytes() == (folder / "two" / name).read_bytes()


def test_two_folders_are_compared(folder, capsys):
    assert main(["analyse", "rock", "--against", "jazz", "--out", "both", "--pictures", "0"]) == 0
    assert "rock: 2 pieces against 2" in capsys.readouterr().out
    result = json.loads((folder / "both" / "metrics.json").read_text())
    assert result["against"]["pieces"] == 2
    assert result["against"]["comparison"]["density"]["n"] == 2
    assert "2 more pieces" in (folder / "both" / "report.html").read_text()


@pytest.mark.slow
def test_folders_of_one_name_are_distinguished_by_their_paths(folder, capsys):
    for name in ("rock", "jazz"):
        (folder / name / "train").mkdir()
        for path in (folder / name).glob("*.mid"):
            path.rename(folder / name / "train" / path.name)
    assert main(["analyse", "rock/train", "--against", "jazz/train", "--pictures", "0"]) == 0
    assert "rock/train: 2 pieces against 2" in capsys.readouterr().out
    page = (folder / "train-analysis" / "report.html").read_text()
    assert "Rhythm analysis: rock/train against jazz/train<" in page
    assert page.count(">rock/train<") == page.count(">jazz/train<") == 1  # in the legend of the distributions


def test_a_dot_is_the_folder_it_stands_for(folder, capsys, monkeypatch):
    monkeypatch.chdir(folder / "rock")
    Path("rock-2.mid").unlink()
    assert main(["analyse", ".", "--pictures", "0"]) == 0
    assert "rock: 1 piece" in capsys.readouterr().out
    assert "Rhythm analysis: rock<" in (folder / "rock" / "rock-analysis" / "report.html").read_text()


def test_bad_input_is_one_line_and_exit_code_two(folder, capsys):
    for arguments in (["nothing"], ["rock", "--sections", "a:1"], ["rock/rock-1.mid", "--sections", "a:"]):
        assert main(["analyse", *arguments]) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_custom_metric_is_in_every_table(folder, capsys):
    plugin = folder / "mine.py"
    plugin.write_text(
        "from hypermeter import METRICS\n\n\n"
        'def crowded(hits, grid):\n    """Share of steps with three hits or more."""\n'
        "    return (hits.sum(-1) > 2).float().mean(-1)\n\n\n"
        'METRICS["crowded"] = crowded\n'
    )
    try:
        assert main(["--plugin", str(plugin), "analyse", "rock"]) == 0
    finally:
        del METRICS["crowded"]
    assert "crowded" in capsys.readouterr().out
    assert "Share of steps with three hits or more." in (folder / "rock-analysis" / "report.html").read_text()
    assert "crowded" in (folder / "rock-analysis" / "metrics.csv").read_text().splitlines()[0]


@pytest.mark.parametrize("text", [None, "import nowhere_to_be_found", "1 / 0", "]"])
def test_a_plugin_that_cannot_run_is_one_line_and_exit_code_two(folder, capsys, text):
    plugin = folder / "mine.py"
    if text is not None:
        plugin.write_text(text)
    assert main(["--plugin", str(plugin), "analyse", "rock"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "mine.py: cannot be run as a plugin" in line
    assert main(["--plugin", str(plugin)]) == 2


def test_a_metric_gets_numbers_that_can_be_averaged_and_subtracted_everywhere():
    METRICS["change"] = lambda hits, grid: (hits[..., 1:, :] - hits[..., :-1, :]).abs().mean((-2, -1))
    try:
        groove = CORPUS["rock-1"]
        expected = np.abs(np.diff(groove.hits.astype(float), axis=0)).mean()
        assert measure(groove, ["change"])["change"].item() == pytest.approx(expected)
        assert compare_music([groove.hits] * 2, [groove.hits], groove.grid)["metrics"]["change"]["mean"] == (
            pytest.approx(expected)
        )
        worth = Reward([Term("change", "piece", want="more")])(torch.tensor(groove.hits)[None], groove.grid)
        assert worth.sum().item() == pytest.approx(expected)
    finally:
        del METRICS["change"]


def test_a_file_without_steps_and_a_name_with_brackets_are_reported(folder, capsys):
    np.savez(folder / "rock" / "empty[red].npz", sequence=np.zeros((0, 10), np.uint8))
    assert main(["analyse", "rock"]) == 0
    assert "empty[red].npz: no steps in it" in capsys.readouterr().out
    assert main(["analyse", "rock/empty[red].npz"]) == 2


def test_unknown_voices_have_no_polyphonic_syncopation(folder):
    np.savez(folder / "plain.npz", sequence=(np.arange(640).reshape(64, 10) % 7 == 0).astype(np.uint8))
    (piece,) = analyse("plain.npz")
    assert math.isnan(piece.flat["witek"])
    assert not math.isnan(piece.flat["lhl"])


def test_text_is_analysed_as_the_midi_that_it_is(folder):
    Path("rock.txt").write_text(ascii_grid(CORPUS["rock-1"]))
    (text,), (midi,) = analyse("rock.txt"), analyse("rock/rock-1.mid")
    assert text.flat["lhl"] == midi.flat["lhl"] and text.flat["density"] == midi.flat["density"]


def test_fewer_pictures_than_none_are_refused(folder, capsys):
    assert main(["analyse", "rock", "--pictures", "-1"]) == 2
    assert "pictures is -1, expected at least 0" in capsys.readouterr().err


def test_pieces_of_different_kits_or_without_a_grid_in_common_are_not_compared(folder, capsys):
    np.savez(folder / "plain.npz", sequence=np.ones((64, 3), np.uint8))
    assert main(["analyse", "rock", "--against", "plain.npz"]) == 2
    assert "of different kits" in capsys.readouterr().err
    write_midi(beat(WALTZ), "waltz.mid")
    assert main(["analyse", "rock", "--against", "waltz.mid"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "no grid in common (4/4 in sixteenths and 3/4 in sixteenths)" in line


WALTZ, SHUFFLE, TWELVE = Grid(beats_per_bar=3), Grid(3), Grid(2, 12, 4, 8)


def beat(grid, bars=4):
    """Return a kick on each first step, hats on all steps and a snare between, on a grid."""
    hits = np.zeros((grid.steps_per_bar * bars, 10), np.uint8)
    hits[:: grid.steps_per_bar, 0] = hits[:, 3] = 1
    hits[int(grid.steps_per_quarter) :: 2 * int(grid.steps_per_quarter), 1] = 1
    return Groove(hits, grid=grid)


@pytest.fixture
def metres(folder):
    """A folder of two rock beats, a waltz, a shuffle, a song in 12/8, one that changes its metre, and a bad file."""
    for name, grid in (("waltz", WALTZ), ("shuffle", SHUFFLE), ("twelve", TWELVE)):
        write_midi(beat(grid), folder / "rock" / f"{name}.mid")
    (folder / "rock" / "changes.mid").write_bytes(to_midi_bytes([beat(Grid()), beat(WALTZ, 8)]))
    (folder / "rock" / "bad.mid").write_bytes(b"not MIDI")
    return folder


def test_pieces_are_read_in_their_own_metre_on_the_grid_that_fits(metres):
    read = {piece.name: piece.groove for piece in analyse("rock", rejects=[])}
    grids = {name: groove.grid.description for name, groove in read.items()}
    assert grids == {
        "changes.mid #1": "4/4 in sixteenths",
        "changes.mid #2": "3/4 in sixteenths",
        "rock-1.mid": "4/4 in sixteenths",
        "rock-2.mid": "4/4 in sixteenths",
        "shuffle.mid": "4/4 in triplets of eighths",
        "twelve.mid": "12/8 in sixteenths",
        "waltz.mid": "3/4 in sixteenths",
    }
    for name, grid in (("waltz", WALTZ), ("shuffle", SHUFFLE), ("twelve", TWELVE)):
        np.testing.assert_array_equal(read[f"{name}.mid"].hits, beat(grid).hits)


def test_a_metre_that_is_named_leaves_out_the_others(metres):
    rejects = []
    choice = GridChoice.of_words("3/4", 4, 4)
    assert [piece.name for piece in analyse("rock", grid=choice, rejects=rejects)] == ["changes.mid", "waltz.mid"]
    assert len(rejects) == 5 and all(name in " ".join(rejects) for name in ("bad.mid", "shuffle.mid", "rock-1.mid"))


def test_a_folder_of_many_metres_has_a_table_for_each_grid_and_one_of_what_depends_on_none(metres, capsys):
    assert main(["analyse", "rock"]) == 0
    printed = capsys.readouterr().out
    title, *tables = printed.split("rock: ")[1:]
    assert title.startswith("7 pieces; every grid") and "offset_ms" in title and "density" not in title
    assert [table.splitlines()[0] for table in tables] == [
        "3 pieces; 4/4 in sixteenths",
        "2 pieces; 3/4 in sixteenths",
        "1 piece; 4/4 in triplets of eighths",
        "1 piece; 12/8 in sixteenths",
    ]
    assert all("density" in table and "offset_ms" not in table for table in tables)
    assert "left out: rock/bad.mid" in printed
    out = metres / "rock-analysis"
    rows = {row["name"]: row for row in csv.DictReader((out / "metrics.csv").read_text().splitlines())}
    assert (rows["twelve.mid"]["metre"], rows["twelve.mid"]["steps_per_beat"]) == ("12/8", "2")
    page = (out / "report.html").read_text()
    for grid in ("every grid", "4/4 in sixteenths", "3/4 in sixteenths", "12/8 in sixteenths"):
        assert f"<h2>{grid}</h2>" in page
    assert page.count("4 bars of 12/8 in sixteenths") == 1  # of its picture


def test_folders_of_many_metres_are_compared_on_each_grid_that_both_have(metres, capsys):
    write_midi(beat(WALTZ), metres / "jazz" / "waltz.mid")
    write_midi(beat(Grid(2, 7, 4, 8)), metres / "jazz" / "seven.mid")
    assert main(["analyse", "rock", "--against", "jazz", "--pictures", "0"]) == 0
    printed = capsys.readouterr().out
    assert "jazz: pieces of 7/8 in sixteenths are in the table of every grid only" in printed
    against = json.loads((metres / "rock-analysis" / "metrics.json").read_text())["against"]
    assert set(against["comparison"]) == {"velocity_range", "several_strokes", "npvi", "timing_dfa", "offset_ms"}
    assert {title: (both["pieces"], both["their_pieces"]) for title, both in against["by_grid"].items()} == {
        "4/4 in sixteenths": (3, 2),
        "3/4 in sixteenths": (2, 1),
    }
    of_waltzes = against["by_grid"]["3/4 in sixteenths"]["comparison"]
    assert of_waltzes["density"]["n"] == 2 and of_waltzes["density"]["their_n"] == 1


def test_what_is_inspected_is_told_with_its_metre_and_its_grid(metres, capsys):
    assert main(["inspect", "rock/twelve.mid"]) == 0
    assert capsys.readouterr().out.startswith("4 bars of 12/8 in sixteenths\n")
    assert main(["inspect", "rock/shuffle.mid"]) == 0
    assert capsys.readouterr().out.startswith("4 bars of 4/4 in triplets of eighths\n")
    assert main(["inspect", "rock/changes.mid"]) == 0
    printed = capsys.readouterr().out
    assert "4 bars of 4/4 in sixteenths" in printed and "8 bars of 3/4 in sixteenths" in printed
    assert Path("changes.svg").exists() and "8 bars of 3/4" in Path("changes-2.svg").read_text()


def test_code_without_a_header_is_read_on_the_first_steps_that_fit(folder):
    Path("shuffle.tidal").write_text('d1 $ s "bd hh*3 sn*3 hh*3"')
    (piece,) = analyse("shuffle.tidal")
    assert piece.groove.grid == SHUFFLE and piece.groove.hits.sum() == 10
    Path("odd.tidal").write_text('d1 $ s "bd*5"')
    with pytest.raises(HypermeterError, match="odd.tidal"):
        list(analyse("odd.tidal"))


WITHOUT_TORCH = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torch":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocked())
from hypermeter.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "made"),
    [
        (["inspect", "rock/rock-1.mid"], "rock-1.svg"),
        (["inspect", "eighths.npz"], "eighths.svg"),
        (["analyse", "rock"], "rock-analysis/report.html"),
        (["analyse", "rock/rock-1.mid", "--sections", "a:1 b:1"], "rock-1-analysis/report.html"),
        (["analyse", "rock", "--against", "jazz"], "rock-analysis/metrics.json"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_files_are_inspected_and_analysed_where_torch_cannot_be_imported(folder, arguments, made):
    save_eighths("eighths.npz", ())
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "syncopation" in done.stdout
    assert (folder / made).stat().st_size


def test_inspecting_a_file_does_not_import_torch(folder):
    code = "import sys; from hypermeter.cli import main; main(sys.argv[1:]); print('torch' in sys.modules)"
    arguments = [sys.executable, "-c", code, "inspect", "rock/rock-1.mid"]
    printed = subprocess.run(arguments, capture_output=True, text=True, check=True).stdout
    assert printed.splitlines()[-1] == "False"
