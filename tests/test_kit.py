import pytest

from hypermeter.core.errors import HypermeterError
from hypermeter.core.kit import KITS, Kit, Voice, load_kit

GROOVE_PITCHES = (22, 26, 36, 37, 38, 40, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 52, 53, 55, 57, 58, 59)


def write(tmp_path, text):
    path = tmp_path / "mine.yaml"
    path.write_text(text, "utf-8")
    return path


def test_gm10_has_its_ten_voices_in_order():
    names = "kick snare closed_hat pedal_hat open_hat low_tom mid_tom high_tom crash ride"
    assert load_kit().names == tuple(names.split())


def test_magenta9_has_exactly_the_pitches_of_groovae():
    groups = "36 | 38, 37, 40 | 42, 22, 44 | 46, 26 | 43, 58 | 47, 45 | 50, 48 | 49, 52, 55, 57 | 51, 53, 59"
    expected = [tuple(int(pitch) for pitch in group.split(",")) for group in groups.split("|")]
    assert [voice.pitches for voice in load_kit("magenta9").voices] == expected


def test_gm_has_one_voice_for_each_drum_sound():
    kit = load_kit("gm")
    assert [voice.write for voice in kit.voices] == list(range(35, 82))
    assert kit.names[kit.pitch_to_voice[39]] == "hand_clap" and kit.names[kit.pitch_to_voice[56]] == "cowbell"


@pytest.mark.parametrize("name", KITS)
def test_every_kit_reads_every_pitch_of_the_roland_module(name):
    assert set(GROOVE_PITCHES) <= set(load_kit(name).pitch_to_voice)


@pytest.mark.parametrize("name", KITS)
def test_every_voice_reads_back_the_pitch_that_it_writes(name):
    kit = load_kit(name)
    assert [kit.pitch_to_voice[voice.write] for voice in kit.voices] == list(range(kit.num_voices))
    assert Kit.from_dict(kit.to_dict()) == kit


def test_clap_has_a_home_and_tambourine_and_cowbell_are_unmapped_in_gm10():
    kit = load_kit("gm10")
    assert kit.names[kit.pitch_to_voice[39]] == "snare"
    assert not {54, 56} & set(kit.pitch_to_voice)


def test_a_users_kit_takes_its_columns_from_class_id(tmp_path):
    text = "hat: {class_id: 1, pitches: [42, 46], write: 46}\nkick: {class_id: 0, pitches: [36]}\n"
    kit = load_kit(write(tmp_path, text))
    assert kit == Kit("mine", (Voice("kick", (36,), 36), Voice("hat", (42, 46), 46)))
    assert load_kit(kit) is kit


def test_a_users_kit_without_class_id_keeps_the_order_of_its_lines(tmp_path):
    assert load_kit(write(tmp_path, "snare: [38]\nkick: [36, 35]\n")).names == ("snare", "kick")


def test_a_pitch_in_two_voices_is_an_error_that_names_both(tmp_path):
    text = "snare: {class_id: 0, pitches: [38, 40]}\nrim: {class_id: 1, pitches: [37, 40]}\n"
    with pytest.raises(HypermeterError, match="pitch 40 is in both snare and rim"):
        load_kit(write(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected lines"),
        ("- 36", "expected lines"),
        ("kick: [36", "not YAML at line"),
        ("kick: {pitches: []}", "kick has no list of pitches"),
        ("kick: 36", "kick has no list of pitches"),
        ("kick: {pitches: [128]}", "pitch 128"),
        ("kick: {pitches: [true]}", "pitch True"),
        ("kick: {pitches: [C2]}", "pitch 'C2'"),
        ("kick: {pitches: [36, 36]}", "both kick and kick"),
        ("kick: {pitches: [36], write: 38}", "writes pitch 38"),
        ("kick: {pitches: [36], note: 38}", "unknown field 'note'"),
        ("kick: {class_id: 1, pitches: [36]}", "class_id"),
        ("kick: {class_id: 0, pitches: [36]}\nsnare: {class_id: 0, pitches: [38]}", "class_id"),
        ("kick: {class_id: 0, pitches: [36]}\nsnare: [38]", "class_id"),
        ("kick: [36]\nkick: [35]", "kick is there twice"),
        ("bass drum: [36]", "'bass drum', expected no spaces"),
        ("a|b: [36]", "'a|b', expected no spaces, | or #"),
        ("'#1': [36]", "'#1', expected no spaces"),
        ("'': [36]", "named ''"),
        ("kick: [36]\n? [1, 2]\n: [35]", "not YAML"),
    ],
)
def test_a_bad_kit_is_refused_in_one_line_that_names_the_file(tmp_path, text, message):
    with pytest.raises(HypermeterError) as caught:
        load_kit(write(tmp_path, text))
    assert message in str(caught.value) and "mine" in str(caught.value) and "\n" not in str(caught.value)


def test_an_unknown_kit_and_a_missing_file_are_named(tmp_path):
    with pytest.raises(HypermeterError, match="gm11.*gm10, gm16, magenta9, gm"):
        load_kit("gm11")
    with pytest.raises(HypermeterError, match="absent.yaml"):
        load_kit(tmp_path / "absent.yaml")


def test_a_kit_that_is_not_text_is_refused(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(HypermeterError, match="UTF-8"):
        load_kit(path)


def test_a_kit_is_loaded_from_its_record(tmp_path):
    assert load_kit("gm").record == "gm" and load_kit(load_kit("gm").to_dict()).record == "gm"
    mine = load_kit(write(tmp_path, "snare: [38]\nkick: [36, 35]\n"))
    assert mine.record == mine.to_dict() and load_kit(mine.record) == mine


def test_a_kit_of_a_known_name_but_other_voices_is_recorded_whole():
    other = Kit("gm10", (Voice("kick", (36,), 36),))
    assert other.record == other.to_dict() and load_kit(other.record) == other


def test_a_file_that_has_changed_is_read_again(tmp_path):
    load_kit(write(tmp_path, "kick: [36]"))
    assert load_kit(write(tmp_path, "snare: [38]")).names == ("snare",)


def test_a_record_that_is_not_a_kit_is_refused():
    with pytest.raises(HypermeterError, match="not a kit"):
        load_kit({"name": "x", "voices": [{"name": 3, "pitches": [36], "write": 36}]})
    with pytest.raises(HypermeterError, match="not a kit"):
        Kit.from_dict({"name": "x"})
    with pytest.raises(HypermeterError, match="no voices"):
        Kit("empty", ())
