"""Which notes of a MIDI file are its drums."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypermeter.core.errors import HypermeterError
from hypermeter.core.read_options import ReadOptions
from hypermeter.core.tracks import BASS
from hypermeter.io.midi import content as midi_content
from hypermeter.io.midi import parse_midi, parse_midi_report
from hypermeter.io.midi.chunks import chunks_of
from hypermeter.io.midi.content import load_midi
from hypermeter.io.midi.drums import says_drums
from hypermeter.io.midi.events import exclusive_messages, parse_events
from hypermeter.io.midi.instruments import instruments_of
from hypermeter.io.midi.replay import replay_drums
from hypermeter.io.midi.swing import swing_midi
from midi_bytes import bank, beat, hit, melody, metre, midi, sysex, tempo, track

HITS_A_BAR = 12
GS_RESET, XG_ON = "41 10 42 12 40 00 7F 00 41", "43 10 4C 00 00 7E 00"
GM_ON, GM2_ON = "7E 7F 09 01", "7E 7F 09 03"


def gs_part(block, is_drums, at="15"):
    return f"41 10 42 12 40 1{block} {at} {is_drums:02X} 00"


def xg_part(part, value, at="07"):
    return f"43 10 4C 08 {part - 1:02X} {at} {value:02X}"


def drums(content, **options):
    """Channel -> hits, if notes of each channel have their own velocity: see `marked`."""
    file = load_midi(content, "x.mid", ReadOptions(**options))
    values, counts = np.unique(file.drums[2], return_counts=True)
    return dict(zip(values.tolist(), counts.tolist(), strict=True))


def marked(channel, ticks=(0, 480)):
    """Hits whose velocity is their channel, on a pitch that no other channel has."""
    pitch = {1: 36, 2: 38, 10: 42, 11: 46, 15: 49}[channel]
    return [event for tick in ticks for event in hit(tick, pitch, channel, channel)]


@pytest.mark.parametrize(
    ("messages", "channels"),
    [
        ([], {10}),
        ([sysex(0, gs_part("A", 2))], {10, 11}),
        ([sysex(0, gs_part("0", 0))], set()),
        ([sysex(0, gs_part("0", 0)), sysex(0, gs_part("1", 1))], {1}),
        ([sysex(0, gs_part("A", 1)), sysex(0, gs_part("A", 0))], {10}),
        ([sysex(0, gs_part("A", 1)), sysex(0, gs_part("A", 14, "02"))], {10, 15}),
        ([sysex(0, gs_part("0", 16, "02"))], set()),
        ([sysex(0, "41 10 42 12 40 1A 13 00 01 02 00 00")], {10, 11}),  # several bytes from address 13 on
        ([sysex(0, gs_part("A", 1)), sysex(0, GS_RESET)], {10}),
        ([sysex(0, gs_part("A", 1)), sysex(0, GM_ON)], {10}),
        ([sysex(0, gs_part("A", 1)), sysex(0, GM2_ON)], {10}),
        ([sysex(0, xg_part(11, 1))], {10, 11}),
        ([sysex(0, xg_part(10, 0))], set()),
        ([sysex(0, xg_part(11, 1)), sysex(0, XG_ON)], {10}),
        ([sysex(0, xg_part(11, 3)), sysex(0, xg_part(11, 0, "04"))], {1, 10}),
        ([sysex(0, "43 10 4C 08 0A 07")], {10}),  # cut off before its value
        ([bank(0, 11, 120)], {10, 11}),
        ([bank(0, 10, 121)], set()),
        ([bank(0, 10, 121), bank(0, 10, 120)], {10}),
        ([bank(0, 10, 0)], {10}),  # a bank that GM does not have leaves channel 10 as it is
        ([sysex(0, XG_ON), bank(0, 11, 127)], {10, 11}),
        ([sysex(0, XG_ON), bank(0, 11, 126)], {10, 11}),
        ([sysex(0, XG_ON), bank(0, 11, 127), bank(0, 11, 0)], {10}),
        ([sysex(0, XG_ON), bank(0, 10, 0)], set()),  # in XG the bank makes it a melody
        ([sysex(0, xg_part(11, 2)), bank(0, 11, 0)], {10}),
        ([sysex(0, GS_RESET), bank(0, 11, 127)], {10}),  # tones of the MT-32
        ([bank(0, 11, 127)], {10, 11}),  # pitches of a kit, so it is for XG
        ([(0, b"\xba\x00\x78")], {10}),  # a bank without a program change
    ],
)
def test_messages_of_gs_xg_and_gm2_say_which_channels_are_drums(messages, channels):
    notes = [event for channel in (1, 10, 11, 15) for event in marked(channel)]
    for tracks in ([track(*messages, *notes)], [track(*messages), track(*notes)], [track(*notes), track(*messages)]):
        assert drums(midi(*tracks)) == dict.fromkeys(sorted(channels), 2)


def test_what_a_message_says_holds_from_its_tick_on():
    content = midi(track(*marked(11, (0, 480, 960)), *marked(10), sysex(480, gs_part("A", 1)), bank(960, 10, 121)))
    assert drums(content) == {10: 2, 11: 2}


def test_a_bank_of_xg_without_a_message_of_xg_is_believed_if_the_pitches_are_of_a_kit():
    tune = [event for tick, pitch in enumerate((72, 76, 79, 84)) for event in hit(480 * tick, pitch, 11, 11)]
    assert drums(midi(track(bank(0, 11, 127), *tune, *marked(10)))) == {10: 2}
    assert drums(midi(track(sysex(0, XG_ON), bank(0, 11, 127), *tune, *marked(10)))) == {10: 2, 11: 4}


def test_more_drums_than_channel_10_are_told_in_one_line():
    content = midi(track(sysex(0, gs_part("A", 1)), *beat(1), *beat(1, channel=11, start=1920)))
    pieces, remarks = parse_midi(content, "x.mid")
    assert pieces[0].groove.hits.sum() == 2 * HITS_A_BAR
    assert remarks == ["drums are channels 10 and 11, by GS, XG or GM2 messages of the file"]
    assert parse_midi(midi(track(*beat(1))), "x.mid")[1] == []


def test_hits_that_are_there_twice_are_one_the_loudest_and_told():
    twice = [*hit(0, 36, 50), *hit(480, 38, 60)]
    content = midi(track(*twice), track(*hit(0, 36, 90), *hit(480, 38, 40), *hit(960, 42)))
    (piece,), remarks = parse_midi(content, "x.mid")
    assert remarks == ["2 hits are there twice, at the same tick; each is read once"]
    assert piece.groove.hits.sum() == piece.groove.num_strokes == 3
    assert piece.groove.velocity[[0, 4], [0, 1]] * 127 == pytest.approx([90, 60])


def test_a_file_of_drums_alone_is_found_by_its_pitches():
    (piece,), remarks = parse_midi(midi(track(*beat(2, channel=1), name="Piano")), "x.mid")
    assert piece.groove.hits.sum() == 2 * HITS_A_BAR
    assert remarks == ["no drums on channel 10; all notes, of channel 1, look like a drum kit"]


C_MAJOR_LOW = (36, 38, 40, 41, 43, 45, 47, 48)
"""A scale of a bass, on pitches of a kit."""


@pytest.mark.parametrize(
    "events",
    [
        melody(),
        melody(pitches=C_MAJOR_LOW),
        melody(pitches=(43, 45, 47, 36, 38, 40, 42, 43)),  # G major, with a kick, two snares and a hi-hat
        [*beat(2, channel=1), *melody(2)],  # more than a kit
        [(0, b"\xc0\x21"), *beat(2, channel=1)],  # program 34 is a bass
        [*hit(0, 36, channel=1), *hit(960, 36, channel=1)],  # a kick alone
    ],
)
def test_a_melody_is_not_read_as_drums(events):
    with pytest.raises(HypermeterError, match=r"no drum notes on channel 10; it has track 1 on channel 1 .* --track"):
        parse_midi(midi(track(*events)), "x.mid")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        *(
            (name, True)
            for name in ("Drums", "DRUM KIT", "Drumset 1", "Live Perc.", "Schlagzeug", "Batería", "ドラム", "Hi-Hat")
        ),
        *(
            (name, False)
            for name in ("Steel Drums", "That Way", "Kicking Horse", "Percussive Organ", "Melodic Drum", "")
        ),
    ],
)
def test_names_that_say_drums(name, says):
    assert says_drums(name) == says


def test_a_track_whose_name_says_drums_is_found_in_a_song():
    tune, kit = track(*melody(1), name="Lead"), track(*hit(0, 36, channel=2), *hit(480, 60, channel=2), name="Drum Kit")
    (piece,), remarks = parse_midi(midi(tune, kit), "x.mid")
    assert piece.groove.hits.sum() == 1 and piece.unmapped == {60: 1}
    assert remarks == ["no drums on channel 10; drums are channel 2, by name: 'Drum Kit'"]
    for other in (
        track(*melody(3, (96, 97, 98, 99, 100, 96, 97, 98)), name="PART DRUMS"),
        track((0, b"\xc2\x75"), *melody(3), name="Tribal Drums"),
    ):  # notes of a game; program melodic tom
        with pytest.raises(HypermeterError, match="no drum notes"):
            parse_midi(midi(tune, other), "x.mid")


def song():
    """Drums on channel 10 and on 2, a tune on 1, in tracks that have names."""
    return midi(
        track(*marked(1), name="Tune"),
        track(*marked(2), *marked(10), name="Drums"),
        track(*marked(2), name="More"),
    )


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {10: 2}),
        ({"channel": 2}, {2: 2}),
        ({"channel": 1}, {1: 2}),
        ({"track": "drums "}, {10: 2}),  # of a track, those that are drums
        ({"track": "2"}, {10: 2}),
        ({"track": "More"}, {2: 2}),
        ({"track": "1"}, {1: 2}),
        ({"track": "Drums", "channel": 2}, {2: 2}),
    ],
)
def test_a_channel_or_track_that_is_named_is_taken(options, expected):
    assert drums(song(), **options) == expected


@pytest.mark.parametrize(
    "options", [{"channel": 5}, {"track": "Bongos"}, {"track": "9"}, {"track": " "}, {"track": "1", "channel": 10}]
)
def test_a_channel_or_track_without_notes_is_refused_with_those_there_are(options):
    with pytest.raises(HypermeterError, match=r"x.mid: no notes on .*; it has track 1 'Tune' on channel 1 \(2 notes\)"):
        load_midi(song(), "x.mid", ReadOptions(**options))


def test_options_out_of_range_are_refused():
    for options, message in (({"channel": 17}, "channel is 17"), ({"tempo_map": "x"}, "tempo_map is 'x'")):
        with pytest.raises(HypermeterError, match=message):
            ReadOptions(**options)


def test_a_program_holds_for_all_tracks_of_its_channel():
    notes = [event for tick in range(4) for event in hit(480 * tick, 40, channel=3, length=400)]
    head, line = track((0, b"\xc2\x21")), track(*notes)
    for tracks in ((head, track(*beat(1)), line), (line, track(*beat(1)), head)):
        content = midi(*tracks)
        (piece,), _ = parse_midi(content, "x.mid", tracks=[BASS])
        assert (piece.groove.tracks["bass"] == 40).sum() == 4
        assert instruments_of(content, "x.mid", [BASS]) == {"bass": (2, 33)}


def test_of_programs_at_one_tick_that_of_the_notes_own_track_counts():
    bass = track((0, b"\xc0\x21"), *hit(0, 40, channel=1, length=400))
    piano = track((0, b"\xc0\x00"), *hit(0, 60, channel=1, length=400))
    for tracks in ((bass, piano), (piano, bass)):
        notes = load_midi(midi(*tracks, track(*beat(1))), "x.mid", in_full=True).melody.notes
        assert sorted(zip(notes[2].tolist(), notes[4].tolist(), strict=True)) == [(40, 33), (60, 0)]


def test_a_bass_on_channel_10_is_a_melody_that_is_written_elsewhere():
    content = midi(track(bank(0, 10, 121, 33), *hit(0, 40), *beat(1, channel=1), name="Drums"))
    assert instruments_of(content, "x.mid", [BASS]) == {}


@pytest.mark.parametrize(("options", "channel"), [({}, 1), ({"channel": 2}, 2), ({"track": "b"}, 2)])
def test_the_drums_that_reading_chose_are_played_anew(options, channel):
    tracks = [track(*beat(1, channel=1), name="Drums"), track(*beat(1, channel=2), name="b")]

    def later(ticks, _, velocities):
        return ticks + 5, velocities - 7

    before, after = midi(*tracks), replay_drums(midi(*tracks), "x.mid", later, ReadOptions(**options))
    for number in (1, 2):
        was, now = (load_midi(content, "x.mid", ReadOptions(channel=number)).drums for content in (before, after))
        moved = 5 if number == channel else 0
        assert sorted(now[0]) == sorted(was[0] + moved) and now[2].max() == was[2].max() - (7 if moved else 0)


def test_swing_keeps_the_messages_that_make_drums():
    content = midi(track(sysex(0, gs_part("A", 1)), *marked(11, (0, 120, 240)), *marked(10)))
    swung = swing_midi(content, "x.mid", 0.6)
    assert drums(swung) == {10: 2, 11: 3}
    assert sorted(load_midi(swung, "x.mid").drums[0][:3].tolist()) != [0, 120, 240]


@pytest.mark.parametrize("status", [0xA0, 0xB0, 0xE0, 0xEF])
def test_swing_moves_notes_alone(status):
    message = bytes((status, 36, 70))
    swung = swing_midi(midi(track((120, message), *hit(120))), "x.mid", 0.6)
    (start,) = load_midi(swung, "x.mid").drums[0].tolist()
    events, _ = parse_events(swung[22:])
    assert start > 120 and [event.tick for event in events if event.status == status] == [120]


def test_format_2_is_one_pattern_or_the_one_that_is_named():
    one, two = track(*marked(10), name="A"), track(*marked(10, (0,)), name="B")
    assert drums(midi(one, form=2)) == {10: 2}
    for name, count in (("A", 2), ("b", 1), ("2", 1)):
        assert drums(midi(one, two, form=2), track=name) == {10: count}
    with pytest.raises(HypermeterError, match=r"format 2 with 2 patterns \(1 'A', 2 'B'\); name one by --track"):
        load_midi(midi(one, two, form=2), "x.mid")
    moved = replay_drums(midi(one, two, form=2), "x.mid", lambda t, _, v: (t + 9, v), ReadOptions(track="B"))
    assert load_midi(moved, "x.mid", ReadOptions(track="A")).drums[0].tolist() == [0, 480]
    assert load_midi(moved, "x.mid", ReadOptions(track="B")).drums[0].tolist() == [9]


@pytest.mark.parametrize(
    "event", [b"\xb0\x07\xa8", b"\xc0\xa8", b"\xe0\xff\x10", b"\x80\xa8\x00", b"\x90\xa8\x40", b"\x90\x28\xc0"]
)
def test_a_data_byte_above_127_on_another_channel_does_not_cost_the_drums(event):
    assert drums(midi(track((0, event), *marked(10)))) == {10: 2}


def test_a_velocity_above_127_is_the_loudest():
    assert load_midi(midi(track((0, b"\x99\x24\xf0"), *hit(480))), "x.mid").drums[2].tolist() == [127, 100]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Trömmel".encode(), "Trömmel"),
        ("Trömmel".encode("latin-1"), "Trömmel"),
        ("ドラム".encode("cp932"), "ドラム"),
        (b"Drums\0\0", "Drums"),
        (b"\xff\xfe" + "Drums".encode("utf-16-le"), "Drums"),
    ],
)
def test_names_are_read_in_the_encodings_that_files_have(name, expected):
    assert load_midi(midi(track(*beat(1), name=name)), "x.mid", in_full=True).melody.names == (expected,)


def test_fewer_tracks_than_the_header_says_are_told():
    content = midi(track(*beat(1)), track(*beat(1)))
    half = content[: content.rindex(b"MTrk")]
    assert parse_midi(half, "x.mid")[1] == ["the header announces 2 tracks, the file has 1"]


EVENTS = st.one_of(
    st.tuples(st.integers(0, 4000), st.integers(1, 127), st.integers(1, 127)).map(lambda note: hit(*note)),
    st.tuples(st.integers(0, 4000), st.integers(60, 200)).map(lambda change: [tempo(*change)]),
    st.sampled_from([[metre(0, 3, 4)], [metre(1920, 4, 4)], [(0, b"\xc9\x08")], melody(2), [(7, b"\x99\x24\x40")]]),
)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.lists(EVENTS, min_size=1, max_size=8), min_size=1, max_size=3))
def test_the_walk_reads_what_symusic_does(tracks):
    content = midi(*(track(*(event for events in parts for event in events)) for parts in tracks))
    chunks = chunks_of(content, "x.mid")
    quick, walked = midi_content._by_symusic(chunks), midi_content._by_events(chunks, "x.mid", ReadOptions())
    if quick is None or not quick.drums.shape[1]:
        return
    assert [sorted(file.drums.T.tolist()) for file in (quick, walked)] == [sorted(walked.drums.T.tolist())] * 2
    assert (quick.signatures, quick.end) == (walked.signatures, walked.end)
    assert np.allclose(quick.tempos, walked.tempos, rtol=1e-6)


def test_the_report_of_bytes_is_that_of_a_file(tmp_path: Path):
    from hypermeter.io.midi import read_midi_report

    content = midi(track(*beat(1, channel=1), *hit(0, 56, channel=1)))
    (tmp_path / "a.mid").write_bytes(content)
    lines = read_midi_report(tmp_path / "a.mid")[1]
    assert lines == parse_midi_report(content, "a.mid")[1] and "look like a drum kit" in lines[0]


def test_a_message_counts_from_its_tick_on_in_all_tracks():
    first = track(sysex(960, gs_part("0", 0)), *marked(10, (1920,)))
    assert drums(midi(first, track(*marked(10, (0, 480))))) == {10: 2}


def test_messages_behind_events_of_every_length_are_found():
    events = [(0, bytes((0xC0, 5))), *hit(0, channel=1), sysex(30, GM_ON), *hit(480, channel=1), sysex(960, GS_RESET)]
    events.insert(1, (0, bytes((0x80, 60, 0))))
    assert exclusive_messages(track(*events)[8:]) == [bytes.fromhex(text) + b"\xf7" for text in (GM_ON, GS_RESET)]


def test_few_parts_are_listed_whole():
    with pytest.raises(HypermeterError, match="track 1 on channel 1 .*track 2 on channel 2") as error:
        parse_midi(midi(track(*melody(1)), track(*melody(2))), "x.mid")
    assert "more" not in str(error.value)
