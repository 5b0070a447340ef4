from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from symusic import Score

from hypermeter.core.errors import HypermeterError
from hypermeter.core.groove import Groove
from hypermeter.core.kit import KITS, Kit, Voice, load_kit, split_kit, with_map
from hypermeter.core.kit_choice import best_map, describe_unmapped, is_auto, resolve_kit
from hypermeter.core.pitch_map import MAPS, instruments, load_map
from hypermeter.io.midi import read_midi, write_midi
from hypermeter.io.npz import read_shared_kit_and_grid
from hypermeter.play.compose import continue_groove, replace_bars
from hypermeter.play.loading import load_player

DEVICES = [name for name in MAPS if name != "gm"]
ROOMY = [(kit, name) for kit in ("gm10", "gm16", "magenta9") for name in MAPS]

# What the manuals and the tables of other programs say, pitch by pitch (docs/kits.md has the sources).
FACTS = """
gm 35 kick_2, gm 40 snare_electric, gm 82 shaker, gm 27 high_q, gm 87 open_surdo
xg 13 mute_surdo, xg 22 metronome_bell, xg 26 brush_sweep, xg 33 kick_2, xg 84 bell_tree
gs_brush 38 snare, gs_brush 40 brush_sweep
td17 22 hat_closed, td17 26 hat_open, td17 40 snare_rimshot, td17 47 tom_low, td17 58 tom_floor_high, td17 52 crash_2
td50 41 tom_floor_low, td50 39 tom_floor_low
alesis_nitro 23 hat_open, alesis_nitro 21 hat_open, alesis_nitro 39 tom_floor_low
dtx502 31 snare, dtx502 27 side_stick, dtx502 78 hat_open, dtx502 79 hat_closed, dtx502 59 crash_1
dtxplorer 31 snare, dtxplorer 33 kick, dtxplorer 85 hat_open
superior3 24 hat_open, superior3 50 crash_1, superior3 63 hat_closed, superior3 71 side_stick, superior3 10 hat_pedal
ezdrummer3 1 hand_clap, ezdrummer3 2 shaker, ezdrummer3 3 tambourine, ezdrummer3 52 ride
addictive2 42 side_stick, addictive2 48 hat_pedal, addictive2 60 ride, addictive2 71 tom_high, addictive2 78 choke
addictive2_brushes 29 brush_sweep, addictive2_brushes 37 snare
bfd3 24 kick, bfd3 26 snare, bfd3 38 tom_high, bfd3 75 choke
ssd5 49 choke, ssd5 50 splash, ssd5 76 hand_clap, ssd5 66 hat_closed
ggd_invasion 24 kick, ggd_invasion 61 ride_bell, ggd_modern_massive 72 ride, ggd_p4 48 hat_pedal
logic 34 snare, logic 43 tom_floor_low, logic 52 ride, logic 28 choke, logic_brushes 17 brush_sweep
hydrogen 82 hat_open, hydrogen 45 tom_high_mid, hydrogen 43 tom_low_mid
"""


@pytest.mark.parametrize("fact", FACTS.replace("\n", ",").strip(",").split(","), ids=str.strip)
def test_a_pitch_of_a_map_is_the_instrument_of_its_source(fact):
    name, pitch, instrument = fact.split()
    assert load_map(name).instruments[int(pitch)].partition("/")[0] == instrument


@pytest.mark.parametrize("name", MAPS)
def test_every_map_says_where_it_is_from_and_has_a_drum_set(name):
    pitch_map = load_map(name)
    assert all((pitch_map.title, pitch_map.version, pitch_map.source, pitch_map.unverified, pitch_map.hints))
    played = {text.partition("/")[0] for text in pitch_map.instruments.values()}
    assert {"kick", "snare", "hat_closed", "hat_open", "hat_pedal", "crash_1", "ride"} <= played


@pytest.mark.parametrize(("kit", "name"), ROOMY)
def test_every_map_reads_into_every_kit_and_back(kit, name):
    mapped = load_kit(f"{kit}:{name}")
    assert mapped.names == load_kit(kit).names and mapped.without_map == load_kit(kit)
    assert [mapped.pitch_to_voice[voice.write] for voice in mapped.voices] == list(range(mapped.num_voices))
    assert mapped.record == mapped.name and load_kit(mapped.record) == mapped == Kit.from_dict(mapped.to_dict())


@pytest.mark.parametrize("name", MAPS)
def test_a_pitch_goes_to_the_voice_of_its_instrument(name):
    pitch_map, kit, base = load_map(name), load_kit(f"gm16:{name}"), load_kit("gm16")
    for pitch in pitch_map.instruments:
        instrument = pitch_map.instrument(pitch)
        assert instrument is not None
        gm = [pitch for pitch in instrument.gm if pitch in base.pitch_to_voice]
        assert kit.columns[pitch] == (base.pitch_to_voice[gm[0]] if gm else -1)


def test_general_midi_is_the_kit_itself():
    assert all(load_kit(f"{name}:gm") is load_kit(name) for name in KITS)
    assert with_map(load_kit("gm10:td17"), "gm") is load_kit("gm10")


def test_a_device_is_written_with_its_own_pitches():
    written = {voice.name: voice.write for voice in load_kit("gm10:addictive2").voices}
    assert written == {
        "kick": 36, "snare": 38, "closed_hat": 49, "pedal_hat": 48, "open_hat": 55, "low_tom": 65, "mid_tom": 69,
        "high_tom": 71, "crash": 77, "ride": 60,
    }  # fmt: skip
    assert load_kit("gm10:td17").voices[7].pitches == (48, 50)  # the head before the rim


def test_voices_that_a_device_lacks_take_pitches_that_it_leaves_free():
    kit, taken = load_kit("gm16:superior3"), load_map("superior3").instruments
    lacking = [voice for voice in kit.voices if not set(voice.pitches) & set(taken)]
    assert [voice.name for voice in lacking] == ["hand_clap", "cowbell", "tambourine", "shaker", "conga"]
    assert load_kit("gm16:td17").voices[11] == Voice("hand_clap", (39,), 39)  # as in General MIDI where that is free
    with pytest.raises(HypermeterError, match="gm:superior3.*6 pitches free.*gm16:superior3"):
        load_kit("gm:superior3")


def test_music_of_a_device_stays_on_it_from_midi_to_midi(tmp_path):
    hits = np.eye(16, 10, dtype=np.uint8)
    groove = Groove(hits, hits * np.float32(0.5), kit="gm10:addictive2")
    write_midi(groove, tmp_path / "ad2.mid")
    score: Any = Score(tmp_path / "ad2.mid")
    notes = score.tracks[0].notes.numpy()
    assert notes["pitch"].tolist() == [36, 38, 49, 48, 55, 65, 69, 71, 77, 60]
    again = read_midi(tmp_path / "ad2.mid", "gm10:addictive2")
    assert (again.hits == hits).all() and again.kit == "gm10:addictive2"


def test_what_a_voice_is_does_not_depend_on_the_pitch_it_is_written_with():
    mapped, plain = load_kit("gm10:bfd3"), load_kit("gm10")
    assert mapped.voices[0].write == 24
    assert (mapped.streams, mapped.cymbals, mapped.gm_pitches) == (plain.streams, plain.cymbals, plain.gm_pitches)


def test_data_of_two_devices_are_of_one_kit(tmp_path):
    paths = []
    for kit in ("gm10:td17", "gm10", "gm10:logic"):
        paths.append(tmp_path / f"{len(paths)}.npz")
        np.savez(paths[-1], sequence=np.zeros((16, 10), np.uint8), meta=f'{{"kit": "{kit}"}}')
    assert read_shared_kit_and_grid(paths)[0] == load_kit("gm10")


def test_a_kit_and_a_map_of_ones_own(tmp_path):
    kit, device = tmp_path / "mine.yaml", tmp_path / "pads.yaml"
    kit.write_text("kick: [36]\nsnare: [38, 37]\nrim: [40]\n", "utf-8")
    device.write_text("pitches: {kick: [1], snare/edge: [3], snare_rimshot: [2], choke: [4]}", "utf-8")
    mapped = load_kit(f"{kit}:{device}")
    assert mapped.name == "mine:pads" and [voice.pitches for voice in mapped.voices] == [(1,), (3,), (2,)]
    assert mapped.columns[4] == -1
    assert isinstance(mapped.record, dict) and load_kit(mapped.record) == mapped
    assert load_kit(f"{kit}:td17").voices[2].pitches == (40,)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("gm10", ("gm10", "")),
        ("auto", ("gm10", "auto")),
        ("gm16:auto", ("gm16", "auto")),
        (":td17", ("gm10", "td17")),
        (r"C:\kits\mine.yaml", (r"C:\kits\mine.yaml", "")),
        (r"C:\kits\mine.yaml:td17", (r"C:\kits\mine.yaml", "td17")),
        (r"gm10:C:\maps\pads.yaml", ("gm10", r"C:\maps\pads.yaml")),
    ],
)
def test_a_text_is_split_into_kit_and_map(text, parts):
    assert split_kit(text) == parts


def test_a_colon_in_the_path_of_a_kit_belongs_to_the_path(tmp_path):
    path = tmp_path / "a:b.yaml"
    path.write_text("kick: [36]", "utf-8")
    assert load_kit(path).names == ("kick",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pitches: {}", "no pitches"),
        ("kick: [36]", "unknown field 'kick'"),
        ("pitches: {gong: [36]}", "no instrument 'gong'"),
        ("pitches: {kick: 36}", "kick has no list"),
        ("pitches: {kick: [128]}", "pitch 128"),
        ("pitches: {kick: [36], snare: [36]}", "36 is in both kick and snare"),
        ("pitches: {kick: [36", "not YAML"),
        ("- 1", "expected lines"),
    ],
)
def test_a_bad_map_is_refused_in_one_line_that_names_the_file(tmp_path, text, message):
    path = tmp_path / "pads.yaml"
    path.write_text(text, "utf-8")
    with pytest.raises(HypermeterError, match="pads") as caught:
        load_kit(f"gm10:{path}")
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_an_unknown_map_and_auto_without_a_file_are_refused():
    with pytest.raises(HypermeterError, match="map td99: no such map.*td17"):
        load_kit("gm10:td99")
    with pytest.raises(HypermeterError, match="absent.yaml"):
        load_kit("gm10:absent.yaml")
    with pytest.raises(HypermeterError, match="gm16:auto"):
        load_kit("gm16:auto")
    with pytest.raises(HypermeterError, match="its voices are not those of gm10"):
        Kit("gm10:x", (Voice("kick", (1,), 1),), load_kit("gm10"))


def test_sixteen_voices_are_ten_and_six_more():
    ten, sixteen = load_kit("gm10"), load_kit("gm16")
    assert sixteen.names[:10] == ten.names and [voice.write for voice in sixteen.voices[:10]] == [
        voice.write for voice in ten.voices
    ]
    assert sixteen.names[10:] == ("side_stick", "hand_clap", "cowbell", "tambourine", "shaker", "conga")
    assert set(ten.pitch_to_voice) <= set(sixteen.pitch_to_voice)


def played_on(name: str) -> dict[int, int]:
    """Return hits of two bars of rock on a device: each instrument on the first pitch that the map has for it."""
    pattern = {"kick": 8, "snare": 8, "hat_closed": 24, "hat_open": 4, "hat_pedal": 4, "crash_1": 2, "ride": 8}
    first: dict[str, int] = {}
    for pitch, text in load_map(name).instruments.items():
        first.setdefault(text.partition("/")[0], pitch)
    toms = [pitch for instrument, pitch in first.items() if instrument.startswith("tom_")]
    counts = {first[instrument]: hits for instrument, hits in pattern.items()} | dict.fromkeys(toms, 3)
    return counts | {pitch: 6 for pitch in list(load_map(name).instruments)[:3]}


@pytest.mark.parametrize("name", ["dtxplorer", "addictive2", "bfd3", "ggd_modern_massive", "ggd_p4"])
def test_the_map_of_a_device_fits_best(name):
    fit = best_map(played_on(name))
    assert (fit.map, fit.left_out, fit.total) == (name, 0, sum(played_on(name).values()))
    assert fit.scores[name] == max(fit.scores.values())


def test_hat_edges_speak_for_roland_and_a_half_open_hat_for_hydrogen():
    rock = {36: 40, 38: 40, 42: 60, 46: 10, 44: 9, 43: 4, 48: 4, 49: 3, 51: 20}
    assert best_map(rock).map == "gm"
    assert best_map(rock | {22: 30, 26: 8, 40: 5, 58: 2}).map == "td17"
    hydrogen = {36: 40, 38: 40, 42: 60, 46: 10, 44: 9, 82: 12}
    assert best_map(hydrogen, ["GMRockKit"]).map == "hydrogen"


@pytest.mark.parametrize("counts", [{}, {36: 1}, {42: 3}, {91: 400}, {36: 2, 38: 2, 42: 8}, {54: 60, 70: 90}])
def test_few_hits_and_odd_ones_are_general_midi(counts):
    assert best_map(counts).map == "gm"


def test_a_name_decides_between_maps_that_fit_alike():
    brushes = {36: 20, 38: 40, 40: 40, 44: 20, 51: 30}
    assert best_map(brushes).map == "gm" and best_map(brushes, ["Brush Kit"]).map == "gs_brush"


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.integers(0, 127), st.integers(1, 500), max_size=20), st.randoms())
def test_the_choice_is_the_same_for_any_order_and_counts_every_hit(counts, random):
    items = list(counts.items())
    random.shuffle(items)
    fit, array = best_map(dict(items)), np.bincount(list(counts), list(counts.values()), 128).astype(np.int64)
    assert fit.map == best_map(array).map and fit.total == sum(counts.values())
    read = {pitch for pitch, text in load_map(fit.map).instruments.items() if instruments()[text.partition("/")[0]].gm}
    left_out = sum(hits for pitch, hits in counts.items() if pitch not in read)
    assert fit.left_out == left_out


def test_counts_of_another_shape_are_refused():
    with pytest.raises(ValueError, match="shape"):
        best_map(np.zeros(127))
    with pytest.raises(ValueError, match="pitch 128"):
        best_map({128: 1})


def test_auto_is_resolved_with_a_line_and_other_kits_without():
    counts = played_on("bfd3") | {3: 2}
    kit, line = resolve_kit("gm16:auto", counts)
    assert kit == load_kit("gm16:bfd3") and is_auto("gm16:auto") and not is_auto("gm16") and not is_auto(kit)
    assert line == f"kit gm16:bfd3 (BFD3 fits best) leaves out 2 of {sum(counts.values())} hits"
    assert resolve_kit("gm10:td17", counts) == (load_kit("gm10:td17"), None)
    assert resolve_kit(load_kit("gm16"), counts, map_name="auto")[0] == load_kit("gm16:bfd3")
    assert resolve_kit(load_kit("gm16"), counts, map_name="td17") == (load_kit("gm16:td17"), None)
    assert resolve_kit("auto", {36: 4}) == (
        load_kit("gm10"),
        "kit gm10 (General MIDI fits best) leaves out 0 of 4 hits",
    )


def test_unmapped_hits_are_told_with_names_share_and_the_kit_that_reads_them():
    told = describe_unmapped({54: 30, 70: 60, 81: 10}, load_kit("gm10"), 1000)
    assert told == (
        "100 of 1,000 (10.0%) hits have no voice in kit gm10 (70 maracas: 60, 54 tambourine: 30, 81 open triangle: 10);"
        " --kit gm16 reads 90 of them"
    )
    assert describe_unmapped({81: 10}, load_kit("gm10")) == (
        "10 hits have no voice in kit gm10 (81 open triangle: 10); --kit gm reads 10 of them"
    )
    assert describe_unmapped({3: 10}, load_kit("gm16")) == "10 hits have no voice in kit gm16 (3 unknown: 10)"
    assert describe_unmapped({}, load_kit("gm10")) == ""
    assert "choke" in describe_unmapped({78: 4}, load_kit("gm10:addictive2"))
    assert "--kit gm16:ezdrummer3" in describe_unmapped({3: 4}, load_kit("gm10:ezdrummer3"))
    many = describe_unmapped(dict.fromkeys(range(10), 1), load_kit("gm10"))
    assert "and 4 pitches more" in many


def test_instruments_have_a_share_and_pitches_that_general_midi_has():
    for name, instrument in instruments().items():
        assert instrument.share > 0 and all(27 <= pitch <= 87 for pitch in instrument.gm), name


def test_music_for_a_device_goes_on_with_the_pitches_of_the_device():
    player = load_player("groove")
    hits = np.zeros((16, 10), np.uint8)
    hits[::4, 0] = 1
    primer = Groove(hits, hits * np.float32(0.7), kit="gm10:addictive2")
    assert continue_groove(player, primer, 1).kit == "gm10:addictive2"
    assert replace_bars(player, primer, [0])[0].kit == "gm10:addictive2"
    assert load_kit(continue_groove(player, replace(primer, kit="gm10"), 1).kit) == load_kit("gm10")


def test_the_document_names_every_map_with_its_source():
    text = " ".join((Path(__file__).parents[1] / "docs" / "kits.md").read_text("utf-8").split())
    for name in MAPS:
        pitch_map = load_map(name)
        assert f"**`{name}`**: {pitch_map.version}; {len(pitch_map.instruments)} pitches." in text
        assert f"Source: {pitch_map.source} Not verified: {pitch_map.unverified}" in text
