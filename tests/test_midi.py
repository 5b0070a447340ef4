import os
from pathlib import Path

import numpy as np
import pytest
import symusic
from hypothesis import given, settings
from hypothesis import strategies as st

from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.core.groove import Groove
from hypermeter.core.kit import Kit, Voice, load_kit
from hypermeter.core.kit_choice import describe_unmapped
from hypermeter.core.read_options import ReadOptions
from hypermeter.core.strokes import Strokes
from hypermeter.io.midi import (
    MAX_BYTES,
    parse_midi,
    read_midi,
    read_midi_pieces,
    read_midi_report,
    to_midi_bytes,
    write_midi,
)

GROOVE = Path(os.environ.get("HYPERMETER_GROOVE", Path(__file__).parents[1] / "../shared/data/groove"))
END = b"\xff\x2f\x00"
KEEP = ReadOptions(shift="keep")


def vlq(number):
    out = [number & 127]
    while number := number >> 7:
        out.append(number & 127 | 128)
    return bytes(reversed(out))


def track(*events):
    """A chunk of (tick, bytes of an event); ends after the last."""
    body, now = b"", 0
    for tick, event in sorted(events, key=lambda event: event[0]):
        body, now = body + vlq(tick - now) + event, tick
    body += vlq(1) + END
    return b"MTrk" + len(body).to_bytes(4, "big") + body


def midi(*tracks, form=None, division=480):
    form = (len(tracks) > 1) if form is None else form
    header = b"".join(number.to_bytes(2, "big") for number in (form, len(tracks), division))
    return b"MThd" + (6).to_bytes(4, "big") + header + b"".join(tracks)


def hit(tick, pitch=36, velocity=100, channel=9):
    return [(tick, bytes((0x90 | channel, pitch, velocity))), (tick + 20, bytes((0x80 | channel, pitch, 0)))]


def tempo(tick, bpm):
    return (tick, b"\xff\x51\x03" + round(60e6 / bpm).to_bytes(3, "big"))


def metre(tick, beats, unit):
    return (tick, bytes((0xFF, 0x58, 4, beats, unit.bit_length() - 1, 24, 8)))


def read(content, options=KEEP, **settings):
    """The pieces of a file, on its own grid: where the hits lie is of tests/test_own_grid.py."""
    return parse_midi(content, "x.mid", options=options, **settings)[0]


def cells(groove):
    return {(int(step), int(voice)) for step, voice in np.argwhere(groove.hits)}


def test_a_note_goes_to_the_nearest_step_with_a_signed_offset():
    (piece,) = read(midi(track(*hit(0), *hit(130, 38), *hit(230, 42), *hit(300, 46))))
    assert cells(piece.groove) == {(0, 0), (1, 1), (2, 2), (3, 4)}
    offset = piece.groove.offset
    assert (offset[0, 0], offset[3, 4]) == (0, -0.5)  # Half a step late is half a step early.
    assert offset[1, 1] == pytest.approx(10 / 120) and offset[2, 2] == pytest.approx(-10 / 120)
    assert piece.groove.velocity[0, 0] == pytest.approx(100 / 127)


def test_the_length_is_a_whole_number_of_bars():
    assert len(read(midi(track(*hit(0))))[0].groove) == 16
    assert len(read(midi(track(*hit(16 * 120))))[0].groove) == 32


def test_a_note_after_the_last_bar_but_nearer_the_next_opens_a_bar():
    (piece,) = read(midi(track(*hit(0), *hit(16 * 120 - 10))))
    assert len(piece.groove) == 32 and cells(piece.groove) == {(0, 0), (16, 0)}


def test_the_loudest_in_a_cell_is_its_hit_and_the_others_are_strokes():
    (piece,) = read(midi(track(*hit(0, 38, 40), *hit(30, 38, 90), *hit(50, 40, 60))))
    assert piece.groove.hits.sum() == 1 and piece.groove.num_strokes == 3
    assert piece.groove.velocity[0, 1] == pytest.approx(90 / 127) and piece.groove.offset[0, 1] == 0.25
    strokes = Strokes([0, 0], [1, 1], [0, 50 / 120], [40 / 127, 60 / 127])
    assert np.allclose(piece.groove.strokes.table, strokes.table, equal_nan=True)


def test_of_two_equally_loud_the_first_stays():
    (piece,) = read(midi(track(*hit(10, 38), *hit(40, 38))))
    assert piece.groove.offset[0, 1] == pytest.approx(10 / 120)


def test_pitches_without_a_voice_are_counted():
    (piece,) = read(midi(track(*hit(0), *hit(0, 54), *hit(480, 54), *hit(480, 56))))
    assert piece.unmapped == {54: 2, 56: 1} and piece.groove.hits.sum() == 1


def test_running_status_and_zero_velocity_note_offs_are_read():
    body = b"\x00\x99\x24\x64" + b"\x0a\x24\x00" + vlq(470) + b"\x26\x40" + b"\x0a\x26\x00" + b"\x00" + END
    (piece,) = read(midi(b"MTrk" + len(body).to_bytes(4, "big") + body))
    assert cells(piece.groove) == {(0, 0), (4, 1)}


def test_a_note_that_never_ends_is_still_a_hit():
    (piece,) = read(midi(track((0, b"\x99\x24\x64"), (480, b"\x99\x26\x64"))))
    assert cells(piece.groove) == {(0, 0), (4, 1)}


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 40), st.sampled_from([36, 38, 54, 127]), st.integers(0, 2)), min_size=1),
    st.sampled_from([END, b"\xff\x01\x02ok\x05" + END, b""]),
)
def test_every_note_on_comes_out_whether_or_not_it_ends(events, end):
    # 0: a note-off, 1: a note-on at velocity 0, 2: a note-on. A second track has nothing that ends.
    body, now = b"", 0
    for delta, pitch, kind in events:
        body += vlq(delta) + bytes((0x89 if kind == 0 else 0x99, pitch, 70 if kind != 1 else 0))
        now += delta
    body += b"\x00" + end if end else b""
    still_on = b"".join(b"\x00\x99\x2a\x40" for _ in events)
    chunks = [b"MTrk" + len(chunk).to_bytes(4, "big") + chunk for chunk in (body, still_on)]
    pieces, remarks = parse_midi(midi(*chunks), "x.mid")
    num_read = sum(piece.groove.num_strokes + sum(piece.unmapped.values()) for piece in pieces)
    doubles = [int(remark.split()[0]) for remark in remarks if "there twice" in remark]
    assert num_read + sum(doubles) == len(events) + sum(kind == 2 for _, _, kind in events)


def test_drums_are_read_from_channel_10_of_all_tracks_in_formats_0_and_1():
    both = [*hit(0), *hit(480, 38, channel=0)]
    one = read(midi(track(*both)))
    two = read(midi(track(tempo(0, 90)), track(*hit(480, 38, channel=0)), track(*hit(0)), track(*hit(960))))
    assert cells(one[0].groove) == {(0, 0)}
    assert cells(two[0].groove) == {(0, 0), (8, 0)} and two[0].groove.tempo_bpm == 90


def test_drum_kits_chosen_by_program_change_are_all_read():
    (piece,) = read(midi(track((0, b"\xc9\x08"), *hit(0), (240, b"\xc9\x18"), *hit(480))))
    assert cells(piece.groove) == {(0, 0), (4, 0)}


def test_a_change_of_tempo_at_a_bar_line_splits_there():
    content = midi(track(tempo(0, 100), *hit(0), *hit(1910, 38), tempo(1920, 140), *hit(2400)))
    first, second = read(content)
    assert (first.groove.tempo_bpm, second.groove.tempo_bpm) == (100, 140)
    assert (len(first.groove), second.start_tick) == (16, 1920)
    # The early note is nearer the new bar, so it is there.
    assert cells(first.groove) == {(0, 0)} and cells(second.groove) == {(0, 1), (4, 0)}
    assert second.groove.offset[0, 1] == pytest.approx(-10 / 120)


def test_a_bar_in_which_the_tempo_changes_is_left_out_and_reported():
    content = midi(track(tempo(0, 100), *hit(0), *hit(2000), tempo(2400, 140), *hit(2880), *hit(3840)))
    pieces, left_out = parse_midi(content, "x.mid")
    assert [(each.start_tick, each.groove.tempo_bpm) for each in pieces] == [(0, 100), (3840, 140)]
    assert len(left_out) == 1 and "within the bar" in left_out[0] and "2 hits" in left_out[0]


@pytest.mark.parametrize("tick", [1, 14, 1919, 1921])
@pytest.mark.parametrize("change", ["tempo", "metre"])
def test_a_change_that_rounding_has_moved_off_the_bar_line_is_at_it(tick, change):
    events = [*hit(0), *hit(1800), *hit(1920, 38)]
    line = round(tick / 1920) * 1920
    if change == "tempo":
        pieces, left_out = parse_midi(midi(track(tempo(0, 100), tempo(tick, 140), *events)), "x.mid")
        assert [(each.start_tick, each.groove.tempo_bpm) for each in pieces][-1] == (line, 140)
    else:
        pieces, left_out = parse_midi(midi(track(metre(tick, 4, 4), *events)), "x.mid", changes="refuse")
    assert not left_out and sum(int(each.groove.hits.sum()) for each in pieces) == 3


def test_a_change_an_eighth_of_a_step_off_the_bar_line_is_within_the_bar():
    with pytest.raises(HypermeterError, match=r"within the bar at bar 1 \(1 hits\); pass --tempo-map flatten"):
        read(midi(track(tempo(0, 100), tempo(15, 140), *hit(0))))


def test_only_spans_in_the_metre_of_the_grid_are_kept():
    events = [*hit(0), metre(1920, 3, 4), *hit(1920), *hit(3360), metre(4800, 4, 4), *hit(4800, 38)]
    pieces, left_out = parse_midi(midi(track(*events)), "x.mid")
    assert [(each.start_tick, cells(each.groove)) for each in pieces] == [(0, {(0, 0)}), (4800, {(0, 1)})]
    assert left_out == ["metre 3/4 at bar 2 (2 hits), expected 4/4; pass --metre 3/4, or all"]
    (waltz,) = read(midi(track(*events)), grid=Grid(beats_per_bar=3))
    assert len(waltz.groove) == 24 and cells(waltz.groove) == {(0, 0), (12, 0)}


def test_a_bar_cut_short_by_a_change_of_metre_is_left_out():
    content = midi(track(*hit(0), *hit(2000), metre(2880, 4, 4), *hit(2880, 38)))
    pieces, left_out = parse_midi(content, "x.mid")
    assert [each.start_tick for each in pieces] == [0, 2880] and len(left_out) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (tempo(1920, 140), "tempo changes from 120 to 140 at bar 2, .*; pass --tempo-map flatten .*, or cut the file"),
        (metre(1920, 3, 4), "metre changes from 4/4 to 3/4 at bar 2"),
        (tempo(2000, 140), "changes within the bar at bar 2"),
    ],
)
def test_changes_can_be_refused(change, message):
    with pytest.raises(HypermeterError, match=f"x.mid: .*{message}"):
        read(midi(track(*hit(0), change, *hit(4000))), changes="refuse")


def test_a_change_that_changes_nothing_or_comes_after_the_last_note_is_no_change():
    events = [tempo(0, 120), metre(1920, 4, 4), tempo(2000, 120), *hit(0), *hit(2400), tempo(9600, 80)]
    (piece,) = read(midi(track(*events)), changes="refuse")
    assert len(piece.groove) == 32


@pytest.mark.parametrize(("grid", "beats", "unit", "tick"), [(Grid(2, 6, 4, 8), 6, 8, 120), (Grid(3), 4, 4, 160)])
def test_the_bars_of_other_grids_are_read(grid, beats, unit, tick):
    (piece,) = read(midi(track(metre(0, beats, unit), *hit(5 * tick))), grid=grid)
    assert len(piece.groove) == grid.steps_per_bar and cells(piece.groove) == {(5, 0)}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty file"),
        (b"garbage" * 100, "not a MIDI file"),
        (b"MThd\x00\x00", "not a MIDI file"),
        (midi(track(*hit(0)), division=0), "0 ticks per quarter"),
        (midi(track(*hit(0)), division=0xE728), "SMPTE"),
        (midi(track(*hit(0)), form=3), "format 3"),
        (midi(track(*hit(0)))[:-9], "truncated"),
        (midi(), "truncated"),
        (midi(track()), "no drum notes"),
        (midi(track(*hit(0, channel=0))), "no drum notes"),
        (midi(track(*hit(0, 56))), "no drum notes that the kit gm10 reads"),
        (
            midi(track(metre(0, 7, 8), *hit(0))),
            "metre 7/8 at bar 1 (1 hits), expected 4/4; pass --metre 7/8, or all",
        ),
        (midi(track(metre(0, 0, 4), *hit(0))), "0 beats"),
        (midi(track((0, bytes.fromhex("FF580404141808")), *hit(0))), "a beat unit that MIDI does not have at tick 0"),
        (midi(track((9, bytes.fromhex("FF580404FF1808")), *hit(0))), "a beat unit that MIDI does not have at tick 9"),
        (b"RIFF\x04\x00\x00\x00RMID", "not a MIDI file"),
        (midi(track((0, b"\xff\x51\x03\x00\x00\x00"), *hit(0))), "tempo inf"),
        (midi(track(*hit(0), *hit(200_000_000))), "steps in, expected at most"),
    ],
)
def test_a_bad_file_is_one_line_that_names_it(tmp_path, content, message):
    path = tmp_path / "bad.mid"
    path.write_bytes(content)
    for reader in (read_midi, read_midi_pieces):
        with pytest.raises(HypermeterError) as caught:
            reader(path)
        assert message in str(caught.value) and str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("junk", [b"\x00", b"\x1a" * 7, b"junk" * 10, b"MTrk\x00\x00\xff\xff"])
def test_what_follows_the_last_track_announced_is_ignored(junk):
    (piece,) = read(midi(track(*hit(0)), track(*hit(480, 38))) + junk)
    assert cells(piece.groove) == {(0, 0), (4, 1)}


def test_a_chunk_that_is_no_track_is_passed_over():
    first, second = track(*hit(0)), b"XFIH\x00\x00\x00\x02hi" + track(*hit(480, 38))
    content = midi(first, second)
    (piece,) = read(content)
    assert cells(piece.groove) == {(0, 0), (4, 1)}


def test_midi_in_riff_is_read():
    inner = midi(track(*hit(0), *hit(480, 38)))
    body = b"RMIDdata" + len(inner).to_bytes(4, "little") + inner + b"LIST\x04\x00\x00\x00INFO"
    (piece,) = read(b"RIFF" + len(body).to_bytes(4, "little") + body)
    assert cells(piece.groove) == {(0, 0), (4, 1)}


def test_the_report_lists_what_of_a_file_is_in_no_groove(tmp_path):
    path = tmp_path / "a.mid"
    path.write_bytes(midi(track(*hit(0), *hit(20, 36, 50), *hit(0, 54), *hit(480, 56), metre(1920, 3, 4), *hit(1920))))
    pieces, losses = read_midi_report(path)
    assert len(pieces) == 1 and losses == [
        "metre 3/4 at bar 2 (1 hits), expected 4/4; pass --metre 3/4, or all",
        describe_unmapped({54: 1, 56: 1}, load_kit("gm10"), 4),
    ]
    path.write_bytes(midi(track(*hit(0))))
    assert read_midi_report(path)[1] == []


def test_a_groove_keeps_the_kit_that_it_was_read_with():
    own = Kit("gm10", (Voice("boom", (36,), 36),))
    for kit in (own, own.to_dict()):
        (piece,) = read(midi(track(*hit(0))), kit=kit)
        assert piece.groove.kit == own
        assert cells(read(to_midi_bytes(piece.groove), kit=kit)[0].groove) == {(0, 0)}
    assert read(midi(track(*hit(0))), kit=load_kit("gm"))[0].groove.kit == "gm"


def test_a_missing_file_and_a_huge_one_are_named(tmp_path):
    with pytest.raises(HypermeterError, match="absent.mid: cannot be read"):
        read_midi(tmp_path / "absent.mid")
    with (tmp_path / "huge.mid").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(HypermeterError, match="huge.mid: larger"):
        read_midi(tmp_path / "huge.mid")


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60), st.integers(0, 70), st.integers(0, 255))
def test_damaged_bytes_raise_only_an_error_that_names_the_file(tail, at, byte):
    whole = bytearray(midi(track(tempo(0, 100), *hit(0), *hit(480, 38), *hit(960))))
    whole[at % len(whole)] = byte
    for content in (bytes(whole), bytes(whole[:at]) + tail, midi(b"MTrk" + len(tail).to_bytes(4, "big") + tail)):
        try:
            parse_midi(content, "x.mid")
        except HypermeterError as error:
            assert "x.mid" in str(error)


GRIDS = st.sampled_from([Grid(), Grid(3), Grid(2, 6, 4, 8), Grid(beats_per_bar=7, beat_unit=8), Grid(7, 5)])


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(["gm10", "magenta9", "gm"]), GRIDS, st.integers(1, 4), st.floats(0, 0.4), st.integers(0, 2**32 - 1)
)
def test_a_groove_survives_midi_within_a_tick(kit, grid, bars, density, seed):
    rng = np.random.default_rng(seed)
    shape = bars * grid.steps_per_bar, load_kit(kit).num_voices
    hits = rng.random(shape) < density
    hits[-1, 0] = True  # A file does not say how long the silence after its last note is.
    velocity = np.where(hits, rng.integers(1, 128, shape) / 127, 0)
    offset = np.where(hits, np.minimum(rng.uniform(-0.5, 0.5, shape), 0.49999), 0)
    offset[0] = np.abs(offset[0])
    tempo_bpm = float(rng.integers(40, 300))
    groove = Groove(hits, velocity, offset, tempo_bpm, kit, grid)
    (again,) = read(to_midi_bytes(groove), kit=kit, grid=grid)
    assert (again.groove.hits == groove.hits).all() and not len(again.groove.strokes) and not again.unmapped
    assert np.allclose(again.groove.velocity, groove.velocity, atol=1e-6)
    tick = grid.steps_per_quarter / 480
    assert np.abs(again.groove.offset - groove.offset).max() <= tick + 1e-6
    assert (again.groove.tempo_bpm, again.groove.kit, again.groove.grid) == (tempo_bpm, kit, grid)
    # A second time changes nothing at all.
    (third,) = read(to_midi_bytes(again.groove), kit=kit, grid=grid)
    assert (third.groove.offset == again.groove.offset).all()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([(4, 4), (3, 4), (6, 8)]), st.sampled_from([90, 117, 140]), st.integers(1, 3)),
        min_size=1,
        max_size=5,
    ),
    st.integers(0, 2**32 - 1),
)
def test_the_spans_of_a_tempo_map_in_several_metres_are_read_as_they_were_written(spans, seed):
    rng, events, expected, start = np.random.default_rng(seed), [], [], 0
    for signature, bpm, bars in spans:
        bars = bars if events else max(bars, 2)  # One short bar at the start would be a pickup.
        size = 16 * signature[0] // signature[1]
        hits = rng.random((bars * size, 2)) < 0.3
        hits[::size, 0] = True  # A span without hits is left out, and one is as long as its hits.
        events += [tempo(start, bpm), metre(start, *signature)]
        for step, column in np.argwhere(hits).tolist():
            tick = start + 120 * step + int(rng.integers(-50, 50))
            events += hit(max(tick, 0), (36, 38)[column])
        if expected and expected[-1][:2] == (signature, bpm):
            *same, hits_before = expected.pop()
            expected.append((*same, np.concatenate([hits_before, hits])))
        else:
            expected.append((signature, bpm, start, hits))
        start += 120 * len(hits)
    for beats, unit in {signature for signature, *_ in expected}:
        grid = Grid(steps_per_beat=16 // unit, beats_per_bar=beats, beat_unit=unit)
        pieces = read(midi(track(*events)), grid=grid)
        of_metre = [span[1:] for span in expected if span[0] == (beats, unit)]
        assert [(piece.groove.tempo_bpm, piece.start_tick) for piece in pieces] == [span[:2] for span in of_metre]
        for piece, (*_, hits) in zip(pieces, of_metre, strict=True):
            assert (piece.groove.hits[:, :2] == hits).all() and piece.groove.hits.sum() == hits.sum()


def test_a_hit_before_time_zero_is_written_at_zero(tmp_path):
    write_midi(Groove(np.eye(10), offset=np.full((10, 10), -0.4)), tmp_path / "a.mid")
    groove = read_midi(tmp_path / "a.mid", options=KEEP)
    assert cells(groove) == {(step, step) for step in range(10)}
    assert groove.offset[0, 0] == 0 and groove.offset[1, 1] == pytest.approx(-0.4)


def test_a_groove_without_hits_can_be_written(tmp_path):
    write_midi(Groove(np.zeros((16, 10))), tmp_path / "a.mid")
    with pytest.raises(HypermeterError, match="no drum notes"):
        read_midi(tmp_path / "a.mid")


@pytest.mark.parametrize(
    ("groove", "message"),
    [
        (Groove(np.zeros((4, 3))), "3 voices, but kit gm10 has 10"),
        (Groove(np.zeros((4, 10)), tempo_bpm=1), "tempo_bpm is 1, expected 3.6 to 1e6"),
        (Groove(np.zeros((4, 10)), tempo_bpm=1e7), r"tempo_bpm is 1e\+07, expected 3.6 to 1e6"),
        (Groove(np.zeros((4, 10)), grid=Grid(480)), "480 steps a quarter"),
        (Groove(np.zeros((4, 10)), grid=Grid(beats_per_bar=300)), "metre 300/4"),
    ],
)
def test_values_that_midi_cannot_hold_are_refused(tmp_path, groove, message):
    with pytest.raises(HypermeterError, match=message):
        write_midi(groove, tmp_path / "a.mid")
    assert not list(tmp_path.iterdir())


def test_an_unknown_value_of_changes_is_refused():
    with pytest.raises(HypermeterError, match="split or refuse"):
        read(midi(track(*hit(0))), changes="ignore")


@pytest.mark.skipif(not GROOVE.is_dir(), reason="the Groove MIDI Dataset is not there")
@pytest.mark.parametrize("kit", ["gm10", "magenta9", "gm"])
def test_no_hit_of_groove_is_unmapped_and_a_round_trip_keeps_all(kit):
    paths = sorted(GROOVE.rglob("*_4-4.mid"))[::10]
    assert paths
    for path in paths:
        for piece in read_midi_pieces(path, kit, options=KEEP):
            assert not piece.unmapped
            (again,) = read(to_midi_bytes(piece.groove), kit=kit)
            length = len(again.groove)
            assert not piece.groove.hits[length:].any()
            assert (again.groove.hits == piece.groove.hits[:length]).all()
            assert np.allclose(again.groove.velocity, piece.groove.velocity[:length], atol=1e-6)
            early = np.minimum(piece.groove.offset[0], 0)  # Before time zero, in a piece cut out of a file.
            expected = piece.groove.offset[:length].copy()
            expected[0] -= early
            assert np.abs(again.groove.offset - expected).max() <= 4 / 480 + 1e-6


@pytest.mark.parametrize("per_beat", [1, 4, 6, 11, 13, 29])
@pytest.mark.parametrize("metre", ["4/4", "7/8"])
def test_silent_bars_at_the_end_are_written_and_read_back(tmp_path, per_beat, metre):
    grid = Grid.of_metre(metre, per_beat)
    for bars in (1, 5, 11):
        hits = np.zeros((bars * grid.steps_per_bar, 10), np.uint8)
        hits[0, 0] = 1
        write_midi(Groove(hits, grid=grid), tmp_path / "x.mid")
        assert np.array_equal(read_midi(tmp_path / "x.mid", grid=grid).hits, hits)


@pytest.mark.parametrize("bars", [0, 1, 3])
def test_a_track_ends_once_with_the_last_bar_and_has_no_marker_there(bars):
    hits = np.zeros((16 * bars, 10), np.uint8)
    hits[:-1:5, 0] = 1
    content = to_midi_bytes(Groove(hits, tracks={"bass": np.full(16 * bars, 40, np.int16)}))
    score = symusic.Score.from_midi(content)
    assert content.count(END) == content.count(b"MTrk") and content.endswith(END)
    assert not score.markers


def test_a_bar_that_is_begun_is_written_as_a_whole(tmp_path):
    hits = np.zeros((40, 10), np.uint8)
    hits[0, 0] = 1
    write_midi(Groove(hits), tmp_path / "x.mid")
    assert read_midi(tmp_path / "x.mid").num_bars == 3


@pytest.mark.parametrize("change", [tempo(3840, 90), metre(3840, 3, 4)])
def test_silence_after_a_change_is_not_of_the_bars_before_it(change):
    content = midi(track(*hit(0), change, (5 * 1920 - 1, b"\xff\x01\x00")))
    assert read(content, to_end=True)[0].groove.num_bars == 2


@pytest.mark.parametrize("after", [b"\x00", b"\x00\x00\x00", b"\x00" + END])
def test_bytes_after_the_end_of_a_track_do_no_harm(after):
    body = b"".join(vlq(0) + event for _, event in hit(0)) + vlq(1) + END + after
    content = midi(b"MTrk" + len(body).to_bytes(4, "big") + body)
    assert read(content, to_end=True)[0].groove.hits.sum() == 1


@pytest.mark.parametrize(("end", "bars"), [(3 * 1920, 3), (3 * 1920 - 1, 1), (1920 // 2, 1), (1920 * 10**5, 1)])
def test_a_file_that_ends_on_a_bar_line_is_as_long_only_where_that_is_asked_for(end, bars):
    content = midi(track(*hit(0), (end - 1, b"\xff\x01\x00")))  # a track ends a tick after its last event
    assert read(content, to_end=True)[0].groove.num_bars == bars
    assert read(content)[0].groove.num_bars == 1
