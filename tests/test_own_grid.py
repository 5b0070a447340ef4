"""A player's own grid: the shift that is found, its effect on cells, and that no time is lost."""

import importlib.util
import io
import sys
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.core.groove import Groove
from hypermeter.core.read_options import ReadOptions
from hypermeter.io.grooves import read_npz
from hypermeter.io.midi import read_midi, write_midi
from hypermeter.io.midi.content import load_midi
from hypermeter.io.midi.own_grid import OwnGrid, find_own_grid
from hypermeter.io.midi.read import parse_midi
from hypermeter.io.midi.write import to_midi_bytes
from hypermeter.io.notation import to_tidal
from hypermeter.io.npz import read_meta
from hypermeter.io.npz_writer import npz_bytes
from hypermeter.learn.prepare import prepare
from hypermeter.music.duplicates import runs_without_copies
from hypermeter.music.metrics import measure
from hypermeter.play.compose import continue_groove, replace_bars
from hypermeter.play.loading import load_player
from hypermeter.share.commands import inspect
from hypermeter.share.sound.mix import score_of

STEP_S = 0.125
GRIDS = {
    "sixteenths": (0, 1, 2, 3),
    "eighths": (0, 2),
    "thirty-seconds": (0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5),
    "sixteenth triplets": (0, 2 / 3, 4 / 3, 2, 8 / 3, 10 / 3),
    "eighth triplets": (0, 4 / 3, 8 / 3),
    "swung sixteenths": (0, 1.2, 2, 3.2),
    "swung eighths": (0, 2.64),
}
KINDS = dict(zip(GRIDS, ("straight", "straight", "straight", "triplet", "triplet", "swing", "swing"), strict=True))


def play(slots, rng, hits, shift=0.0, jitter=0.08):
    """Return onsets on slots of a beat: on beats and half beats twice as often as elsewhere."""
    weights = np.where(np.isin(slots, (0, 2)), 1, 0.5)
    beats = 4 * rng.integers(0, max(hits // 6, 1), hits)
    return rng.choice(slots, hits, p=weights / weights.sum()) + beats + shift + rng.normal(0, jitter, hits)


def error(found, shift):
    """Return the distance of two shifts, which are equal if they are a step apart."""
    return abs((found - shift + 0.5) % 1 - 0.5)


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("shift", [-0.2, -0.1, 0.0, 0.15])
def test_a_shift_is_found_within_a_fiftieth_of_a_step_whatever_the_grid(name, shift):
    for seed in range(5):
        own = find_own_grid(play(GRIDS[name], np.random.default_rng(seed), 300, shift), 4, STEP_S)
        assert error(own.player_shift, shift) < 0.03
        assert own.kind == KINDS[name]
    errors = [
        error(find_own_grid(play(GRIDS[name], np.random.default_rng(seed), 300, shift), 4, STEP_S).player_shift, shift)
        for seed in range(20)
    ]
    assert np.median(errors) < 0.02


@pytest.mark.parametrize("ratio", [0.57, 0.6, 0.66, 0.72])
def test_a_swing_is_no_shift_and_its_ratio_is_found(ratio):
    rng = np.random.default_rng(0)
    sixteenths = find_own_grid(play((0, 2 * ratio, 2, 2 + 2 * ratio), rng, 400, jitter=0.06), 4, STEP_S)
    eighths = find_own_grid(play((0, 4 * ratio), rng, 400, jitter=0.06), 4, STEP_S)
    for own in (sixteenths, eighths):
        assert abs(own.player_shift) < 0.03
        assert own.kind == "swing" and own.swing == pytest.approx(ratio, abs=0.031)


def test_few_hits_move_the_grid_less_than_many():
    shifts = [abs(find_own_grid(np.arange(count) + 0.3, 4, STEP_S).shift) for count in (1, 4, 16)]
    assert shifts[0] < shifts[1] < shifts[2] and shifts[2] == pytest.approx(0.3, abs=0.03)
    assert find_own_grid(np.zeros(0), 4, STEP_S) == OwnGrid()


def test_a_drift_about_the_grid_leaves_its_mean():
    rng = np.random.default_rng(0)
    onsets = np.sort(play(GRIDS["sixteenths"], rng, 600, shift=-0.1))
    own = find_own_grid(onsets + np.linspace(-0.15, 0.15, 600), 4, STEP_S)
    assert own.kind == "straight" and error(own.shift, -0.1) < 0.03


def test_two_clusters_half_a_step_apart_do_not_turn_the_grid_over():
    rng = np.random.default_rng(0)
    onsets = np.concatenate([play((0, 1, 2, 3), rng, 300), play((0, 1, 2, 3), rng, 290, shift=0.5)])
    own = find_own_grid(onsets, 4, STEP_S)
    assert own.kind == "straight" and abs(own.shift) < 0.03


@pytest.mark.parametrize("name", GRIDS)
def test_sequenced_music_has_no_shift(name):
    onsets = (np.array(GRIDS[name]) + 4 * np.arange(16)[:, None]).ravel()
    own = find_own_grid(np.rint(onsets * 120) / 120, 4, STEP_S)  # ticks of 480 a quarter
    assert own.shift == own.player_shift == 0.0
    assert own.clarity > 0.9


def test_sequenced_music_that_is_late_as_a_whole_has_that_shift():
    own = find_own_grid(np.arange(64) + 5 / 120, 4, STEP_S)
    assert own.shift == pytest.approx(5 / 120, abs=0.002) and own.clarity > 0.99


def test_clarity_falls_with_the_spread_to_none_without_a_grid():
    rng = np.random.default_rng(0)
    clarities = [find_own_grid(play((0, 1, 2, 3), rng, 1000, jitter=sd), 4, STEP_S).clarity for sd in (0, 0.1, 0.2)]
    expected = [np.exp(-2 * np.pi**2 * sd**2) for sd in (0, 0.1, 0.2)]  # resultant of a normal distribution
    assert clarities == pytest.approx(expected, abs=0.05)
    assert find_own_grid(rng.uniform(0, 400, 2000), 4, STEP_S).clarity < 0.05


@pytest.mark.parametrize("slots", [(0, 1.48, 2, 3.48), (0, 2.48)])
def test_swung_hits_at_the_edge_of_a_cell_share_one_cell(slots):
    onsets = play(slots, np.random.default_rng(0), 400, jitter=0.05)
    own = find_own_grid(onsets, 4, STEP_S)
    late = onsets[abs(onsets % 4 - slots[-1]) < 0.2]

    def share(shift):
        return max(Counter(np.floor(late - shift + 0.5) % 4).values()) / len(late)

    assert share(own.player_shift) < 0.8 and share(own.shift) > 0.98
    assert abs(own.player_shift) < 0.03


@pytest.mark.parametrize("steps_per_beat", [1, 2, 3, 4, 6, 8])
def test_every_resolution_finds_the_shift_of_its_steps(steps_per_beat):
    rng = np.random.default_rng(0)
    onsets = rng.integers(0, 24 * steps_per_beat, 400) - 0.12 + rng.normal(0, 0.06, 400)
    own = find_own_grid(onsets, steps_per_beat, STEP_S)
    assert own.kind == "straight" and error(own.shift, -0.12) < 0.02


def test_the_grid_does_not_depend_on_the_beat_it_is_counted_from():
    onsets = play(GRIDS["swung sixteenths"], np.random.default_rng(0), 200, shift=-0.1)
    own, later = find_own_grid(onsets, 4, STEP_S), find_own_grid(onsets - 64, 4, STEP_S)
    assert (own.kind, own.swing) == (later.kind, later.swing)
    assert own.shift == pytest.approx(later.shift, abs=1e-6) and own.clarity == pytest.approx(later.clarity)


# ---------------------------------------------------------------------- in files


@st.composite
def grooves(draw):
    shift = draw(st.floats(-0.5, 0.499))
    grid = draw(st.sampled_from([Grid(), Grid(beats_per_bar=3), Grid(2, 6, beat_unit=8), Grid(3)]))
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    shape = draw(st.integers(1, 4)) * grid.steps_per_bar, 10
    hits = (rng.random(shape) < draw(st.sampled_from([0.02, 0.1, 0.3]))).astype(np.uint8)
    hits[0] = 0
    hits[5, 0] = 1
    offset = np.clip(rng.normal(0, draw(st.sampled_from([0, 0.05, 0.2])), shape), -0.5, 0.499)
    return Groove(hits, offset=offset, tempo_bpm=draw(st.sampled_from([60, 97.5, 180])), grid=grid, shift=shift)


def ticks_of(content):
    return sorted(load_midi(content, "x", ReadOptions(), in_full=False).drums[0].tolist())


@settings(max_examples=60, deadline=None)
@given(grooves())
def test_a_file_that_is_read_and_written_has_the_same_ticks(groove):
    content = to_midi_bytes(groove)
    (piece,), _ = parse_midi(content, "x", grid=groove.grid)
    again = to_midi_bytes(piece.groove)
    assert ticks_of(again) == ticks_of(content)
    assert (np.abs(piece.groove.offset) <= 0.5).all()


def test_without_finding_a_shift_cells_are_those_of_the_file():
    groove = Groove(np.eye(16, 10), offset=np.full((16, 10), -0.2))
    (found,), _ = parse_midi(to_midi_bytes(groove), "x")
    (kept,), _ = parse_midi(to_midi_bytes(groove), "x", options=ReadOptions(shift="keep"))
    assert kept.groove.shift == 0 and kept.groove.offset[2, 2] == pytest.approx(-0.2, abs=0.01)
    assert found.groove.shift == pytest.approx(-0.2, abs=0.03)
    assert found.groove.shift + found.groove.offset[2, 2] == pytest.approx(-0.2, abs=0.01)
    assert found.groove.shift_ms == pytest.approx(-25, abs=4)


def test_pieces_of_one_file_share_the_shift_and_no_hit_is_between_them():
    from symusic import Note, Score, Tempo, Track

    rng = np.random.default_rng(0)
    ticks = np.sort(rng.integers(1, 128, 200) * 120 - 36 + rng.integers(-8, 9, 200)).astype(np.int32)
    score = Score(480)
    score.tempos.extend([Tempo(0, 100), Tempo(4 * 1920, 140)])
    track = Track("drums", 0, True)
    track.notes = Note.from_numpy(ticks, *(np.full(200, value, np.int8) for value in (10, 38, 80)))
    score.tracks.append(track)
    pieces, _ = parse_midi(score.dumps_midi(), "x")
    assert len(pieces) == 2 and pieces[0].groove.shift == pieces[1].groove.shift == pytest.approx(-0.3, abs=0.03)
    assert sum(piece.groove.num_strokes for piece in pieces) == len(ticks)


def test_a_groove_is_written_at_its_shift_and_none_before_the_first_tick():
    hits = np.zeros((16, 10))
    hits[[0, 4], 0] = 1
    assert ticks_of(to_midi_bytes(Groove(hits, shift=0.25))) == [30, 510]
    assert ticks_of(to_midi_bytes(Groove(hits, shift=-0.25))) == [0, 450]
    assert ticks_of(to_midi_bytes(Groove(hits, shift=-0.5))) == [0, 420]


# ---------------------------------------------------------------------- copies of bars


def test_only_the_first_copies_of_a_bar_stay_in_runs_between_which_the_rest_is_cut():
    assert runs_without_copies("AABAAC", 2, Counter()) == [(0, 3), (5, 6)]
    assert runs_without_copies("AABAAC", 1, Counter()) == [(0, 1), (2, 3), (5, 6)]
    assert runs_without_copies("ABAB", 4, Counter()) == [(0, 4)]
    assert runs_without_copies("", 1, Counter()) == []


def test_copies_are_counted_through_all_parts_of_a_file():
    counts: Counter = Counter()
    assert runs_without_copies("AB", 1, counts) == [(0, 2)]
    assert runs_without_copies("BCA", 1, counts) == [(1, 2)]


def write_midi_folder(folder, **grooves):
    for name, groove in grooves.items():
        write_midi(groove, folder / f"{name}.mid")
    return folder


def some_bars(pattern, jitter=0.0, shift=0.0):
    """Return a groove of bars, each a random pattern that is named by a letter; "." is a rest."""
    bars = {name: np.random.default_rng(ord(name)).random((16, 10)) < 0.2 for name in set(pattern)}
    hits = np.concatenate([bars[name] & (name != ".") for name in pattern])
    offset = np.random.default_rng(0).uniform(-jitter, jitter, hits.shape)
    return Groove(hits, offset=offset.clip(-0.5, 0.499), shift=shift)


def test_prepare_keeps_the_shift_and_tells_the_grid(tmp_path):
    source = write_midi_folder(tmp_path, late=some_bars("ABCD", 0.1, 0.25))
    manifest = prepare(source, tmp_path / "out", quiet=True)
    (record,) = manifest["files"]
    groove = read_npz(tmp_path / "out" / record["npz"][0])
    assert groove == read_midi(source / "late.mid")
    assert groove.shift == record["own_grid"]["shift"] == pytest.approx(0.25, abs=0.02)
    assert record["own_grid"]["player_shift_ms"] == pytest.approx(31, abs=3)
    assert record["own_grid"]["kind"] == "straight" and record["own_grid"]["clarity"] > 0.8
    assert manifest["own_grids"] == {
        "kinds": {"straight": 1},
        "unclear": 0,
        "median_shift_ms": record["own_grid"]["player_shift_ms"],
    }


def test_files_without_a_clear_grid_are_told_and_left_out_where_asked(tmp_path, capsys):
    source = write_midi_folder(tmp_path / "in", clear=some_bars("ABCD"), unclear=some_bars("ABCD" * 4, 0.5))
    manifest = prepare(source, tmp_path / "all")
    assert [record["source"] for record in manifest["files"]] == ["clear.mid", "unclear.mid"]
    assert manifest["own_grids"]["unclear"] == 1
    assert "1 files have no clear grid" in " ".join(capsys.readouterr().out.split())
    manifest = prepare(source, tmp_path / "clear", least_grid=0.3, quiet=True)
    assert [record["source"] for record in manifest["files"]] == ["clear.mid"]
    (reject,) = manifest["rejects"]
    assert reject["source"] == "unclear.mid" and "no clear grid" in reject["reason"]
    assert "--least-grid" in reject["reason"] and manifest["least_grid"] == 0.3


def test_further_copies_of_a_bar_are_cut_and_the_file_is_split_there(tmp_path):
    source = write_midi_folder(tmp_path / "in", loop=some_bars("AABAAC....D"))
    manifest = prepare(source, tmp_path / "out", most_copies=2, quiet=True)
    (record,) = manifest["files"]
    assert len(record["npz"]) == len(record["tempo_bpm"]) == 3 and record["bars"] == 7 and record["bars_cut"] == 4
    whole = read_midi(source / "loop.mid")
    parts = [read_npz(tmp_path / "out" / name) for name in record["npz"]]
    expected = [whole.bars(0, 3), whole.bars(5, 8), whole.bars(10, 11)]
    assert parts == expected
    assert record["hits"] == sum(int(part.hits.sum()) for part in expected)
    starts = [read_meta(tmp_path / "out" / name)["start_tick"] for name in record["npz"]]
    assert starts == [0, 5 * 1920, 10 * 1920]
    assert prepare(source, tmp_path / "out", quiet=True)["files"][0]["bars"] == 11


def test_inspect_tells_the_shift_and_a_grid_that_is_not_clear(tmp_path, capsys):
    source = write_midi_folder(tmp_path, late=some_bars("ABCD", 0.1, 0.25), unclear=some_bars("ABCD" * 4, 0.5))
    prepare(source / "late.mid", tmp_path / "npz", quiet=True)
    for path in (source / "late.mid", source / "unclear.mid", tmp_path / "npz" / "train" / "late.npz"):
        inspect(path, tmp_path / "x.svg")
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith(str(tmp_path))]
    late, unclear, npz = (
        [line for line in lines if line.startswith(f"{tmp_path}/{name}")] for name in ("l", "u", "npz")
    )
    assert any("played 31 ms late throughout, straight, clarity 0." in line for line in late)
    assert any("no clear grid" in line for line in unclear) and not any("no clear grid" in line for line in late)
    assert any("played 31 ms late throughout" in line for line in npz)


def test_metrics_sound_and_notation_have_the_time_that_was_played():
    hits = np.zeros((16, 10))
    hits[[0, 8], 0] = 1
    moved, plain = Groove(hits, shift=0.25), Groove(hits, offset=hits * 0.25)
    assert measure(moved, ["offset_ms"]) == measure(plain, ["offset_ms"]) == {"offset_ms": pytest.approx(31.25)}
    assert (
        [hit.time_s for hit in score_of(moved).hits]
        == [hit.time_s for hit in score_of(plain).hits]
        == [0.03125, 1.03125]
    )
    moved_code, plain_code = (to_tidal(groove, with_timing=True).splitlines()[1:] for groove in (moved, plain))
    assert moved_code == plain_code and any("0.0312" in line for line in moved_code)
    assert ticks_of(to_midi_bytes(moved)) == ticks_of(to_midi_bytes(plain))


def test_new_bars_have_the_shift_of_the_primer():
    player = load_player("groove")
    primer = some_bars("AB", 0.05, -0.2)
    assert continue_groove(player, primer, 1).shift == pytest.approx(-0.2)
    assert continue_groove(player, primer, 1, include_primer=False).shift == pytest.approx(-0.2)
    assert continue_groove(player, None, 1, context=primer).shift == pytest.approx(-0.2)
    assert continue_groove(player, None, 1).shift == 0
    assert replace_bars(player, primer, [1])[0].shift == pytest.approx(-0.2)
    parts = []
    continue_groove(player, primer, 1, on_bar=lambda _, bar: parts.append(bar.shift))
    assert parts == [pytest.approx(-0.2)]


def test_distinct_bars_are_counted_across_the_files_of_a_split(tmp_path):
    source = write_midi_folder(tmp_path / "in", one=some_bars("AABA.D"), two=some_bars("AACC"))
    (source / "info.csv").write_text("midi_filename,split\none.mid,train\ntwo.mid,test\n")
    manifest = prepare(source, tmp_path / "out", quiet=True)
    totals = {split: (total["bars"], total["distinct_bars"]) for split, total in manifest["splits"].items()}
    assert totals == {"train": (6, 3), "validation": (0, 0), "test": (4, 2)} and manifest["distinct_bars"] == 4


@pytest.mark.parametrize("wrong", [{"least_grid": 1.5}, {"least_grid": float("nan")}, {"most_copies": -1}])
def test_prepare_refuses_numbers_out_of_range(tmp_path, wrong):
    with pytest.raises(HypermeterError, match=next(iter(wrong))):
        prepare(tmp_path, tmp_path / "out", quiet=True, **wrong)


@given(st.dictionaries(st.sampled_from("abcd"), st.sampled_from(["u1", "f4", "<U3"]), min_size=1), st.integers(0, 9))
def test_an_npz_is_what_zipfile_and_numpy_write(kinds, size):
    arrays = {name: np.arange(size).astype(kind) for name, kind in kinds.items()} | {"shift": np.array(0.25)}
    expected = io.BytesIO()
    with zipfile.ZipFile(expected, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            content = io.BytesIO()
            np.save(content, array)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), content.getvalue())
    assert npz_bytes(arrays) == expected.getvalue()


def test_the_benchmark_knows_the_shifts_that_it_makes():
    path = Path(__file__).parents[1] / "benchmarks" / "quality" / "own_grid.py"
    spec = importlib.util.spec_from_file_location("benchmark_own_grid", path)
    sys.modules[spec.name] = benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    assert benchmark.synthetic(lambda _: (0, 1, 2, 3), 200, seeds=5)["largest"] < 0.05
    onsets = np.arange(256.0) + np.repeat([-0.1, 0.1, -0.1, 0.1], 64)
    piece = benchmark.Performance(onsets, np.zeros(256, int), STEP_S)
    by_hit, by_phrase = benchmark.phrase_shifts(piece, 0.0, 0)
    assert by_phrase == pytest.approx([-0.1, 0.1, -0.1, 0.1]) and by_hit == pytest.approx(onsets - np.arange(256))
    assert piece.cells(by_hit)[:, 0].all() and piece.cells(by_hit).sum() == 256
    summary = benchmark.shifts_of_players([benchmark.Performance(onsets - 0.2, piece.columns, STEP_S)])
    assert summary["early"] == 1 and summary["median ms"] == pytest.approx(-25, abs=3)


def test_triplets_of_a_beat_that_are_on_the_grid_are_clear():
    onsets = play(GRIDS["eighth triplets"], np.random.default_rng(1), 400, jitter=0.05)
    own_grid = find_own_grid(onsets, 4, STEP_S)
    assert (own_grid.kind, own_grid.player_shift) == ("triplet", 0) and own_grid.clarity > 0.8
