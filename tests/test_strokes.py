"""Every stroke, the openness of the hi-hat and chokes: from MIDI to grooves, .npz and shards, and back."""

import csv
import json
import os
import pickle
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.core.groove import Groove
from hypermeter.core.read_options import ReadOptions
from hypermeter.core.strokes import Chokes, Strokes
from hypermeter.io.ascii import COUNTS, ascii_grid, read_ascii
from hypermeter.io.grooves import arrays_of_groove, read_grooves, read_npz
from hypermeter.io.midi import parse_midi, to_midi_bytes
from hypermeter.io.midi.content import load_midi
from hypermeter.io.shards import ShardWriter
from hypermeter.learn.prepare import prepare
from midi_bytes import hit, midi, track

GROOVE = Path(os.environ.get("HYPERMETER_GROOVE", Path(__file__).parents[1] / "../shared/data/groove"))
NEEDS_GROOVE = pytest.mark.skipif(not GROOVE.is_dir(), reason="needs the Groove MIDI Dataset, see CONTRIBUTING.md")
KEEP = ReadOptions(shift="keep")
SNARE, CLOSED, OPEN, CRASH = 1, 2, 4, 8


def pedal(tick, value):
    return tick, bytes([0xB9, 4, value])


def aftertouch(tick, pitch, value):
    return tick, bytes([0xA9, pitch, value])


def read(content, **settings):
    (piece,), _ = parse_midi(content, "x.mid", options=KEEP, **settings)
    return piece.groove


def hits_with_time(content):
    """The ticks and pitches of all hits, sorted."""
    return Counter(map(tuple, load_midi(content, "x.mid").drums[:2].T.tolist()))


@st.composite
def grooves(draw):
    """Grooves in which any cell has any strokes, on ticks, some at the same time; hats have an openness."""
    rng, bars = np.random.default_rng(draw(st.integers(0, 2**32 - 1))), draw(st.integers(1, 3))
    grid = draw(st.sampled_from([Grid(), Grid(3), Grid(2, 6, 4, 8), Grid(4, 5, 2)]))
    ticks = 480 / grid.steps_per_quarter
    shape = bars * grid.steps_per_bar, 10
    hits = rng.random(shape) < draw(st.floats(0.05, 0.5))
    hits[-1, 0] = True
    velocity = np.where(hits, rng.integers(64, 128, shape) / 127, 0)
    own = rng.integers(-int(ticks / 2) + 1, int(ticks / 2), shape) / ticks
    offset = np.where(hits, own, 0)
    offset[0] = np.abs(offset[0])
    step, voice = np.nonzero(hits)
    chosen = rng.integers(0, len(step), draw(st.integers(0, 20)))
    places = rng.integers(0 if bars == 1 else -int(ticks / 2) + 1, int(ticks / 2), len(chosen)) / ticks
    places = np.where(step[chosen] == 0, np.abs(places), places)
    values = rng.integers(1, 64, len(chosen)) / 127
    hat = np.isin(voice, (2, 3, 4))
    openness = np.full(shape, np.nan)
    openness[step[hat], voice[hat]] = 1 - rng.integers(0, 128, hat.sum()) / 127
    closed = np.where(hat[chosen], 1 - rng.integers(0, 128, len(chosen)) / 127, np.nan)
    strokes = Strokes(step[chosen], voice[chosen], places, values, closed)
    chokes = Chokes(rng.permutation(shape[0])[:2], [CRASH, CRASH], rng.integers(0, int(ticks / 2), 2) / ticks)
    return Groove(hits, velocity, offset, 100.0, "gm10", grid, strokes=strokes, openness=openness, chokes=chokes)


def without_ties(groove):
    """Return whether no two strokes of a voice, and no two of hats, are at one time: MIDI moves these by a tick."""
    played = groove.played
    voices = np.where(np.isin(played.voice, (2, 3, 4)), 2, played.voice)
    moments = np.stack([np.rint((played.step + played.offset) * 480 / groove.grid.steps_per_quarter), voices])
    return len(np.unique(moments, axis=1).T) == len(played)


@settings(max_examples=80, deadline=None)
@given(grooves())
def test_a_groove_of_many_strokes_survives_midi(groove):
    content = to_midi_bytes(groove)
    again = read(content, grid=groove.grid)
    assert hits_with_time(content).total() == again.num_strokes == groove.num_strokes
    assert (again.stroke_counts.sum(0) == groove.stroke_counts.sum(0)).all()
    if without_ties(groove):
        assert (again.hits == groove.hits).all() and (again.stroke_counts == groove.stroke_counts).all()
        for name in ("velocity", "offset", "openness"):
            assert np.allclose(getattr(again, name), getattr(groove, name), atol=1e-5, equal_nan=True)
        assert np.allclose(again.strokes.table, groove.strokes.table, atol=1e-5, equal_nan=True)
    assert np.allclose(again.chokes.table, groove.chokes.table, atol=1e-5)
    assert read(to_midi_bytes(again), grid=groove.grid) == again  # A second time changes nothing at all.


@settings(max_examples=30, deadline=None)
@given(grooves())
def test_a_groove_of_many_strokes_survives_npz_shards_and_pickling(tmp_path_factory, groove):
    folder = tmp_path_factory.mktemp("npz")
    meta = {"kit": "gm10", "grid": groove.grid.to_dict(), "tempo_bpm": groove.tempo_bpm}
    np.savez(folder / "a.npz", **arrays_of_groove(groove), meta=json.dumps(meta))
    assert read_npz(folder / "a.npz") == groove
    with ShardWriter(folder / "a.parquet") as writer:
        writer.add("b.npz", arrays_of_groove(groove), meta)
    ((_, packed, _),) = read_grooves(folder / "a.parquet")
    assert packed == groove and hash(packed) == hash(groove)
    assert pickle.loads(pickle.dumps(groove)) == groove


def test_an_npz_without_strokes_does_not_say_that_there_are_none(tmp_path):
    np.savez(tmp_path / "a.npz", sequence=np.eye(16, 10))
    groove = read_npz(tmp_path / "a.npz")
    assert "strokes" in groove.unknown and not len(groove.strokes) and np.isnan(groove.openness).all()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"strokes": np.zeros((1, 3))}, r"strokes of shape \(1, 3\), expected \(N, 5\)"),
        ({"strokes": np.array([[0, 0, 0.7, 0.5, 0.5]])}, "strokes: offset"),
        ({"strokes": np.array([[16, 0, 0, 0.5, 0.5]])}, "strokes outside its 16 steps"),
        ({"chokes": np.array([[0.5, 0, 0]])}, "chokes: step holds fractions"),
        ({"openness": np.full((16, 10), 1.5)}, "openness outside"),
        ({"openness": np.zeros((16, 9))}, "openness of shape"),
    ],
)
def test_a_bad_array_in_an_npz_is_named(tmp_path, arrays, message):
    np.savez(tmp_path / "a.npz", sequence=np.ones((16, 10)), **arrays)
    with pytest.raises(HypermeterError, match=f"a.npz: .*{message}"):
        read_npz(tmp_path / "a.npz")


def test_strokes_are_sorted_and_equal_whatever_their_order():
    one = Strokes([3, 1, 1], [0, 2, 1], [0.1, 0.2, -0.1], [0.5, 0.6, 0.7])
    two = Strokes([1, 1, 3], [1, 2, 0], [-0.1, 0.2, 0.1], [0.7, 0.6, 0.5])
    assert one == two and hash(one) == hash(two) and one.step.tolist() == [1, 1, 3]
    assert one != Chokes(one.step, one.voice, one.offset) and one != two.moved(1)
    with pytest.raises(HypermeterError, match="2 of step, 1 of voice"):
        Strokes([0, 1], [0], [0], [1])


def test_a_cell_whose_hit_is_taken_away_loses_its_strokes_and_openness():
    strokes = Strokes([0, 4], [SNARE, SNARE], [-0.2, 0.2], [0.4, 0.4])
    groove = Groove(np.ones((16, 10)), strokes=strokes, openness=np.ones((16, 10)))
    hits = groove.hits.copy()
    hits[0, SNARE] = 0
    fewer = replace(groove, hits=hits)
    assert fewer.strokes.step.tolist() == [4] and np.isnan(fewer.openness[0, SNARE]) and fewer.openness[1, 1] == 1
    assert fewer.stroke_counts[0, SNARE] == 0 and fewer.stroke_counts[4, SNARE] == 2
    assert fewer.num_strokes == 160 and "1 further strokes" in repr(fewer)


def test_bars_and_steps_cut_strokes_and_chokes():
    strokes, chokes = Strokes([0, 16, 31], [1, 1, 1], [0, 0.1, 0.2], [0.5, 0.5, 0.5]), Chokes([20], [8], [0])
    groove = Groove(np.ones((48, 10)), strokes=strokes, chokes=chokes)
    bar = groove.bars(1, 2)
    assert bar.strokes.step.tolist() == [0, 15] and bar.chokes.step.tolist() == [4]
    assert groove.steps(17, 20).num_strokes == 30 and not len(groove.steps(17, 20).chokes)
    assert groove.bars(2, 3).strokes == Strokes()


def test_the_pedal_is_read_at_hits_of_the_hat_only():
    events = [*hit(0, 42), pedal(10, 90), *hit(120, 42), *hit(120, 38), pedal(200, 0), *hit(240, 46), *hit(250, 46, 20)]
    groove = read(midi(track(*events)))
    assert np.isnan(groove.openness[0, CLOSED]) and np.isnan(groove.openness[1, SNARE])
    assert groove.openness[1, CLOSED] == pytest.approx(1 - 90 / 127) and groove.openness[2, OPEN] == 1
    assert groove.strokes.openness.tolist() == [1]
    assert load_midi(to_midi_bytes(groove), "x").pedal.tolist() == [[120, 240], [90, 0]]


def test_a_choke_is_read_once_for_the_pads_of_a_voice_and_one_after_the_end_is_at_the_end():
    presses = [aftertouch(tick, pitch, 127) for tick in (300, 2000) for pitch in (49, 55)]
    content = midi(track(*hit(240, 49), *presses, aftertouch(310, 49, 0)))
    groove = read(content)
    assert np.allclose(groove.chokes.table, [[3, CRASH, -0.5], [15, CRASH, 0.499999]])


def test_hits_of_two_pads_of_a_voice_at_one_tick_are_two_strokes_a_tick_apart():
    groove = read(midi(track(*hit(0, 38, 90), *hit(0, 40, 60), *hit(480, 38, 80), *hit(480, 38, 70))))
    assert groove.stroke_counts[[0, 4], SNARE].tolist() == [2, 2]
    assert hits_with_time(to_midi_bytes(groove)) == Counter([(0, 38), (1, 38), (480, 38), (481, 38)])


def test_as_many_strokes_as_a_cell_has_ticks_stay_in_it():
    strokes = Strokes([1] * 119, [SNARE] * 119, [0.49] * 119, np.linspace(0.1, 0.7, 119))
    groove = Groove(np.eye(16, 10)[[0, 1] * 8], strokes=strokes)
    again = read(to_midi_bytes(groove))
    assert again.stroke_counts[1, SNARE] == 120 and again.stroke_counts.sum() == 135


def test_copies_of_a_track_are_one_and_doubles_within_a_track_are_two():
    twice = [*hit(0, 38, 90), *hit(0, 38, 60), *hit(480, 36)]
    (piece,), remarks = parse_midi(midi(track(*twice), track(*twice)), "x")
    assert remarks == ["3 hits are there twice, at the same tick; each is read once"]
    assert piece.groove.num_strokes == 3 and piece.groove.stroke_counts[0, SNARE] == 2
    assert parse_midi(midi(track(*twice)), "x")[1] == []


def recordings():
    """Return the path and the metre of each recording whose MIDI is there."""
    rows = csv.DictReader((GROOVE / "info.csv").read_text().splitlines())
    found = [(GROOVE / row["midi_filename"], row["time_signature"]) for row in rows]
    return [(path, metre) for path, metre in found if path.exists()]


def round_trip(path, metre):
    """Assert that a recording is written as it was read, within a tick, and return its hits."""
    beats, unit = map(int, metre.split("-"))
    content = path.read_bytes()
    (piece,), _ = parse_midi(content, path.name, grid=Grid.of_metre(f"{beats}/{unit}", 4 if unit == 4 else 2))
    before, after = (load_midi(one, path.name) for one in (content, to_midi_bytes(piece.groove)))
    assert piece.groove.num_strokes == before.drums.shape[1] == after.drums.shape[1], path.name
    assert np.abs(np.sort(before.drums[0]) - np.sort(after.drums[0])).max() <= 1, path.name
    hats = np.isin(before.drums[1], (22, 26, 42, 44, 46))
    if before.pedal.shape[1]:
        last = np.searchsorted(before.pedal[0], before.drums[0][hats], "right") - 1
        played = np.sort(before.pedal[1][last[last >= 0]])
        openness = piece.groove.played.openness
        assert (np.sort(np.rint(127 * (1 - openness[~np.isnan(openness)]))) == played).all(), path.name
    assert len(np.unique(before.chokes[0])) == len(piece.groove.chokes) == after.chokes.shape[1], path.name
    return piece.groove.num_strokes


@NEEDS_GROOVE
def test_recordings_are_written_with_every_stroke():
    rows = recordings()[::40]
    assert sum(round_trip(*recording) for recording in rows) > 5000


@pytest.mark.slow
@NEEDS_GROOVE
def test_all_recordings_are_written_with_every_stroke():
    assert sum(round_trip(*recording) for recording in recordings()) == 402_418


@NEEDS_GROOVE
def test_prepare_keeps_every_hit_of_recordings(tmp_path):
    folder = GROOVE / "drummer5" / "session2"
    manifest = prepare(folder, tmp_path / "out")
    stored = sum(read_npz(path).num_strokes for path in (tmp_path / "out").rglob("*.npz"))
    notes = sum(load_midi((folder / record["source"]).read_bytes(), "x").drums.shape[1] for record in manifest["files"])
    assert stored == notes == manifest["hits"] + manifest["strokes"] and manifest["hits_dropped"] == 0


# ---------------------------------------------------------------------- text


def counts_beside(groove):
    """Return how many strokes are before and after the hit of each cell."""
    strokes = groove.strokes
    is_after = (strokes.offset >= groove.offset[strokes.step, strokes.voice]).tolist()
    return Counter(zip(strokes.step.tolist(), strokes.voice.tolist(), is_after, strict=True))


@settings(deadline=None, max_examples=30)
@given(grooves())
def test_text_loses_no_stroke(groove):
    text = ascii_grid(groove)
    again = read_ascii(text, groove.kit)
    assert counts_beside(again) == counts_beside(groove) and np.array_equal(again.hits, groove.hits)
    assert ascii_grid(again) == text
    (piece,), _ = parse_midi(to_midi_bytes(again), "x.mid", groove.kit, groove.grid, to_end=True, options=KEEP)
    assert piece.groove.num_strokes == again.num_strokes  # and MIDI of the text loses none either


def test_strokes_in_text_stand_below_their_voice_in_the_phrases_that_have_them():
    hits = np.zeros((16 * 5, 10))
    hits[[0, 4, 70], SNARE] = 1
    strokes = Strokes([0, 4, 4, 4], [SNARE] * 4, [-0.2, -0.1, 0.1, 0.2], [0.3] * 4)
    first, last = ascii_grid(Groove(hits, strokes=strokes)).split("\n\n")[1:]
    assert first.splitlines() == [
        "snare        |x...x...........|................|................|................|",
        "snare-before |1...1...........|................|................|................|",
        "snare-after  |....2...........|................|................|................|",
    ]
    assert last.splitlines() == ["snare        |......x.........|"]
    read = read_ascii("snare |x...x...|\nsnare-before |....1...|\nsnare-after |3.......|", grid=Grid(2))
    assert read.strokes.offset.tolist() == pytest.approx([0.125, 0.25, 0.375, -0.25])


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("snare-after |.1......|", "strokes of snare at step 2 beside no hit"),
        ("snare-after |X.......|", "symbol 'X', expected a number or letter of how many strokes or a dot"),
        ("snare-before |1...|", "bars of snare-before '1...', expected as long as snare"),
        ("bell-before |1.......|", "bell"),
    ],
)
def test_strokes_in_text_that_belong_to_nothing_are_refused(row, reason):
    with pytest.raises(HypermeterError, match=reason):
        read_ascii(f"snare |x...x...|\n{row}", grid=Grid(2))


def test_more_strokes_than_a_sign_can_tell_are_refused():
    many = len(COUNTS)
    strokes = Strokes([0] * many, [0] * many, np.linspace(0.01, 0.4, many), [0.5] * many)
    with pytest.raises(HypermeterError, match="36 strokes beside a hit, expected at most 35"):
        ascii_grid(Groove(np.eye(16, 10), strokes=strokes))
