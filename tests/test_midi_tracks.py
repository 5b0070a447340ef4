"""Tracks and sections in MIDI files: what is written is read again, and what people wrote is read as they meant it."""

import numpy as np
import pytest
import symusic
from hypothesis import given, settings
from hypothesis import strategies as st

from hypermeter import cli
from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.core.groove import Groove
from hypermeter.core.tracks import BASS, HOLD, REST, TRACKS, Track
from hypermeter.io.midi import parse_midi, read_midi, read_midi_report, to_midi_bytes, write_midi
from hypermeter.io.midi.melody import section_name
from hypermeter.learn.prepare import prepare

LEAD = Track("lead", 60, 84, 80, (80, 87))
KICKS = np.zeros((32, 10), np.uint8)
KICKS[::4, 0] = 1


def file_of(notes, path, drums=32, markers=(), program=33):
    """A MIDI file of quarter-note kicks and the notes (step, length in steps, pitch) of a bass, 120 ticks a step."""
    score = symusic.Score(480)
    kit, bass = symusic.Track("drums", 0, True), symusic.Track("bass", program, False)
    for step in range(0, drums, 4):
        kit.notes.append(symusic.Note(step * 120, 60, 36, 100))
    for step, length, pitch in notes:
        bass.notes.append(symusic.Note(round(step * 120), round(length * 120), pitch, 90))
    score.tracks.append(kit)
    score.tracks.append(bass)
    for time, text in markers:
        score.markers.append(symusic.TextMeta(time, text))
    path.write_bytes(score.dumps_midi())
    return path


def bass_of(path, **options):
    return read_midi(path, tracks=[BASS], **options).tracks["bass"].tolist()


@settings(deadline=None, max_examples=50)
@given(st.lists(st.sampled_from([REST, HOLD, HOLD, 24, 40, 57]), min_size=32, max_size=32))
def test_codes_survive_midi(codes):
    codes = BASS.decode(BASS.encode(np.array(codes)))  # without holds of nothing
    groove = Groove(KICKS, tracks={"bass": codes})
    if codes.any():
        ((piece,), left_out) = parse_midi(to_midi_bytes(groove), "it", tracks=[BASS])
        assert not left_out
        assert np.array_equal(piece.groove.tracks["bass"], codes) and np.array_equal(piece.groove.hits, KICKS)


@pytest.mark.parametrize("grid", [Grid(), Grid(3), Grid(2, 6, 4, 8), Grid(7, 5)])
@pytest.mark.parametrize("seed", range(5))
def test_several_tracks_survive_on_any_grid_each_with_its_program(grid, seed):
    random = np.random.default_rng(seed)
    steps = 2 * grid.steps_per_bar
    hits = random.random((steps, 10)) < 0.1
    hits[-1, 0] = True  # A file does not say how long the silence after its last hit is.
    tracks = {
        each.name: each.decode(each.encode(random.choice([each.lowest, each.highest, HOLD, HOLD, REST], steps)))
        for each in (BASS, LEAD)
    }
    content = to_midi_bytes(Groove(hits, grid=grid, tracks=tracks), tracks=(BASS, LEAD))
    ((piece,), _) = parse_midi(content, "it", grid=grid, tracks=(BASS, LEAD))
    assert piece.groove.tracks.keys() == tracks.keys()
    assert all(np.array_equal(piece.groove.tracks[name], codes) for name, codes in tracks.items())
    programs = {track.name: track.program for track in symusic.Score.from_midi(content).tracks if not track.is_drum}
    assert programs == {"bass": BASS.program, "lead": LEAD.program}


def test_lengths_become_holds_up_to_the_next_note(tmp_path):
    path = file_of([(0, 2, 40), (4, 0.3, 41), (8, 9, 43), (12, 1.4, 45)], tmp_path / "a.mid")
    expected = [40, 1, 0, 0, 41, 0, 0, 0, 43, 1, 1, 1, 45] + [0] * 19
    assert bass_of(path) == expected


def test_a_note_goes_to_the_nearest_step_and_of_several_the_lowest_stays(tmp_path):
    path = file_of([(3.6, 1, 40), (4.2, 1, 36), (8, 4, 52), (8, 2, 38)], tmp_path / "a.mid")
    found = bass_of(path)
    assert found[4] == 36 and found[8:12] == [38, 1, 0, 0] and not any(found[:4])


def test_other_programs_and_channel_10_are_no_bass(tmp_path):
    path = file_of([(0, 4, 40)], tmp_path / "a.mid", program=0)
    with pytest.raises(HypermeterError, match="no notes of bass at bar 1"):
        read_midi(path, tracks=[BASS])
    assert read_midi(path).tracks == {}


def test_pitches_out_of_range_are_moved_by_octaves(tmp_path):
    assert bass_of(file_of([(0, 1, 20), (4, 1, 70)], tmp_path / "a.mid"))[:5] == [32, 0, 0, 0, 46]


def test_the_track_is_as_long_as_the_drums(tmp_path):
    found = bass_of(file_of([(0, 200, 40), (100, 1, 41)], tmp_path / "a.mid", drums=16))
    assert found == [40] + [1] * 15


def test_a_span_has_the_notes_that_start_in_it(tmp_path):
    path = file_of([(0, 4, 40), (16, 4, 43)], tmp_path / "a.mid")
    score = symusic.Score(path)
    score.tempos.append(symusic.Tempo(0, 100))
    score.tempos.append(symusic.Tempo(16 * 120, 140))
    score.dump_midi(path)
    pieces, _ = read_midi_report(path, tracks=[BASS])
    assert [piece.groove.tracks["bass"][:5].tolist() for piece in pieces] == [[40, 1, 1, 1, 0], [43, 1, 1, 1, 0]]


def test_files_with_drums_alone_are_written_as_before():
    groove = Groove(KICKS)
    score = symusic.Score.from_midi(to_midi_bytes(groove))
    assert [track.is_drum for track in score.tracks] == [True] and not score.markers


# ---------------------------------------------------------------------- sections


def test_markers_are_read_as_sections_on_request(tmp_path):
    markers = [(0, "Intro"), (16 * 120 - 30, "Verse 1")]
    path = file_of([], tmp_path / "a.mid", markers=markers)
    assert read_midi(path, with_sections=True).sections.tolist() == ["intro", "verse"]
    assert read_midi(path).sections is None


def test_bars_before_the_first_marker_have_no_section(tmp_path):
    path = file_of([], tmp_path / "a.mid", markers=[(16 * 120, "chorus")])
    assert read_midi(path, with_sections=True).sections.tolist() == ["", "chorus"]


def test_sections_that_are_written_are_read_again(tmp_path):
    groove = Groove(np.tile(KICKS, (2, 1)), sections=np.array(["", "verse", "", "pre-chorus"]))
    write_midi(groove, tmp_path / "a.mid")
    assert read_midi(tmp_path / "a.mid", with_sections=True).sections.tolist() == groove.sections.tolist()


@pytest.mark.parametrize(
    ("text", "name"), [("Verse 2", "verse"), (" CHORUS.", "chorus"), ("pre chorus", "pre-chorus"), ("B", "b")]
)
def test_a_marker_is_a_name_in_small_letters_without_its_number(text, name):
    assert section_name(text) == name


def test_a_groove_refuses_tracks_and_sections_of_another_length_and_codes_that_are_none():
    assert Groove(KICKS, tracks={"bass": [REST] * 32}).tracks["bass"].dtype == np.int16
    with pytest.raises(HypermeterError, match="track bass of shape"):
        Groove(KICKS, tracks={"bass": np.zeros(3, np.int16)})
    for codes in (np.zeros(32), np.full(32, 128), np.full(32, -1)):
        with pytest.raises(HypermeterError, match="track bass of .*, expected whole numbers from 0 to 127"):
            Groove(KICKS, tracks={"bass": codes})
    with pytest.raises(HypermeterError, match="3 sections"):
        Groove(KICKS, sections=np.array(["a", "b", "c"]))


# ---------------------------------------------------------------------- prepare


def test_prepare_keeps_tracks_and_sections_and_leaves_out_what_has_none(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    file_of([(0, 4, 40)], source / "a.mid", markers=[(0, "verse")])
    file_of([], source / "b.mid")
    manifest = prepare(source, tmp_path / "npz", tracks=("bass",), sections=True, quiet=True)
    assert [each["source"] for each in manifest["files"]] == ["a.mid"]
    assert "no notes of bass" in manifest["rejects"][0]["reason"]
    assert manifest["notes"] == manifest["files"][0]["notes"] == {"bass": 1}
    with np.load(next((tmp_path / "npz").rglob("*.npz"))) as arrays:
        assert arrays["track_bass"].tolist()[:5] == [40, 1, 1, 1, 0]
        assert arrays["section"].tolist() == ["verse"] * 2
    manifest = prepare(source, tmp_path / "npz", quiet=True)  # other settings: nothing is taken for done
    assert len(manifest["files"]) == 2 and not {"tracks", "sections", "notes"} & manifest.keys()
    with np.load(next((tmp_path / "npz").rglob("a.npz"))) as arrays:
        assert set(arrays.files) == {"sequence", "velocity", "offset", "shift", "strokes", "meta"}


def test_other_tracks_leave_nothing_of_the_run_before_and_the_same_do_nothing_again(tmp_path):
    file_of([(0, 4, 40)], tmp_path / "a.mid")
    manifests, times = [], []
    for tracks in ((), ("bass",), ("bass",), ()):
        manifests.append(prepare(tmp_path / "a.mid", tmp_path / "npz", tracks=tracks, quiet=True))
        (path,) = (tmp_path / "npz").rglob("*.npz")
        with np.load(path) as arrays:
            assert ("track_bass" in arrays) == bool(tracks)
        times.append(path.stat().st_mtime_ns)
    assert manifests[1] == manifests[2] and times[1] == times[2] and manifests[0] == manifests[3]


def test_the_summary_tells_the_notes_of_a_track(tmp_path, capsys):
    prepare(file_of([(0, 4, 40), (8, 4, 43)], tmp_path / "a.mid"), tmp_path / "npz", tracks=("bass",))
    assert "notes of bass: 2\n" in capsys.readouterr().out


def test_inspect_shows_the_tracks_that_play_of_a_midi_file_and_of_its_npz(tmp_path, capsys):
    path = file_of([(0, 4, 40)], tmp_path / "a.mid")
    prepare(path, tmp_path / "npz", tracks=("bass",), quiet=True)
    for each in (path, next((tmp_path / "npz").rglob("*.npz"))):
        assert cli.main(["inspect", str(each), "--out", str(tmp_path / "a.png")]) == 0
        assert "bass        |E---............|................|\n" in capsys.readouterr().out
    assert cli.main(["inspect", str(file_of([], path)), "--out", str(tmp_path / "a.png")]) == 0
    assert "bass" not in capsys.readouterr().out


def test_inspect_refuses_invalid_codes_in_one_line(tmp_path, capsys):
    np.savez(tmp_path / "a.npz", sequence=KICKS, track_bass=np.full(32, "C2"))
    assert cli.main(["inspect", str(tmp_path / "a.npz")]) == 2
    assert "a.npz: groove: track bass of <U2, expected whole numbers" in capsys.readouterr().err


def test_prepare_refuses_a_track_that_it_does_not_know(tmp_path):
    with pytest.raises(HypermeterError, match=f"expected some of {', '.join(TRACKS)}"):
        prepare(tmp_path, tmp_path / "npz", tracks=("viola",))


def test_a_grid_of_triplets_reads_them(tmp_path):
    path = file_of([(0, 16 / 12, 40), (16 / 12, 16 / 12, 43)], tmp_path / "a.mid", drums=16)
    assert read_midi(path, grid=Grid(3), tracks=[BASS]).tracks["bass"].tolist()[:3] == [40, 43, 0]


# ---------------------------------------------------------------------- files in which a part may rest


def read_resting(path, **options):
    return read_midi_report(path, tracks=[BASS], may_rest=True, **options)


def test_with_may_rest_a_bass_alone_is_read_as_far_as_it_sounds(tmp_path):
    path = file_of([(0, 2, 40), (18, 4, 43)], tmp_path / "a.mid", drums=0)
    ((piece,), losses) = read_resting(path)
    assert not losses and len(piece.groove) == 32 and not piece.groove.hits.any()
    assert piece.groove.tracks["bass"][[0, 1, 2, 18, 21, 22]].tolist() == [40, HOLD, REST, 43, HOLD, REST]
    ((drums,), losses) = read_resting(file_of([], tmp_path / "b.mid"))
    assert not losses and drums.groove.hits.any() and not drums.groove.tracks["bass"].any()
    with pytest.raises(HypermeterError, match="no notes of bass"):
        read_resting(file_of([], tmp_path / "c.mid", drums=0))


def test_with_may_rest_spans_left_out_are_reported(tmp_path):
    path = file_of([(0, 2, 40)], tmp_path / "a.mid", drums=0)
    score = symusic.Score(path)
    score.time_signatures.append(symusic.TimeSignature(0, 3, 4))
    path.write_bytes(score.dumps_midi())
    with pytest.raises(HypermeterError, match="metre 3/4"):
        read_resting(path)
    score = symusic.Score(file_of([(0, 2_000_000, 40)], tmp_path / "b.mid", drums=0))
    (tmp_path / "b.mid").write_bytes(score.dumps_midi())
    with pytest.raises(HypermeterError, match="steps in, expected at most"):
        read_resting(tmp_path / "b.mid")


def test_a_note_just_before_a_change_of_tempo_belongs_to_the_span_after_it(tmp_path):
    path = file_of([(0, 2, 40), (15.75, 2, 43)], tmp_path / "a.mid", drums=0)
    score = symusic.Score(path)
    score.tempos.append(symusic.Tempo(0, 120))
    score.tempos.append(symusic.Tempo(16 * 120, 90))
    path.write_bytes(score.dumps_midi())
    pieces, losses = read_resting(path)
    assert not losses and [piece.groove.tracks["bass"][0] for piece in pieces] == [40, 43]


def test_a_written_file_has_the_programs_of_the_tracks_that_are_given(tmp_path):
    groove = Groove(KICKS, tracks={"bass": np.full(32, 40)})
    write_midi(groove, tmp_path / "a.mid", tracks=[Track("bass", 28, 55, 38, (32, 39))])
    assert {track.program for track in symusic.Score(tmp_path / "a.mid").tracks if not track.is_drum} == {38}


def test_with_may_rest_a_span_whose_only_note_begins_on_its_last_step_stays(tmp_path):
    path = file_of([(15, 1, 40)], tmp_path / "a.mid", drums=0)
    score = symusic.Score(path)
    score.tempos = [symusic.Tempo(0, 100), symusic.Tempo(1920, 120)]
    score.tracks[0].notes.append(symusic.Note(1920, 60, 36, 100))
    path.write_bytes(score.dumps_midi())
    assert [piece.groove.tempo_bpm for piece in read_resting(path)[0]] == [100, 120]
