"""Files of unknown origin: what is beyond the limits, of other types or damaged is refused in one line."""

import io
import json
import os
import stat
import zipfile

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save

from hypermeter.core.errors import MAX_MESSAGE, HypermeterError
from hypermeter.core.files import atomic_write
from hypermeter.core.forms import flag, list_of, maybe, number, one_of, record, text, whole
from hypermeter.core.grid import Grid, GridChoice
from hypermeter.core.json_text import parse_json
from hypermeter.core.kit import Kit, load_kit
from hypermeter.core.tracks import BASS
from hypermeter.core.yaml_file import parse_yaml
from hypermeter.io.grooves import read_grooves, read_npz
from hypermeter.io.midi.content import load_midi
from hypermeter.io.midi.read import parse_midi_report
from hypermeter.io.notation.mini import parse_mini
from hypermeter.io.notation.read import from_strudel
from hypermeter.io.npz import read_meta, read_sequence
from hypermeter.learn.rl import load_reward
from hypermeter.play.exported import Folder, OnnxNetwork
from hypermeter.play.loading import load_player
from midi_bytes import hit, metre, midi, sysex, track
from models import model

# ---------------------------------------------------------------------- errors


def test_a_long_message_keeps_its_beginning_and_its_end():
    message = str(HypermeterError(f"a.npz: {'x' * 10**6}; save it again"))
    assert len(message) == MAX_MESSAGE and message.startswith("a.npz: x") and message.endswith("; save it again")


def test_a_message_of_lone_surrogates_can_be_printed():
    str(HypermeterError("a \ud800 b")).encode()


# ---------------------------------------------------------------------- YAML and JSON


def test_a_date_in_yaml_is_text():
    assert parse_yaml("version: 2026-11-30\nat: 12:30", "a", "b") == {"version": "2026-11-30", "at": 750}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("kick: !!binary aGk=", "tags as tag:yaml.org,2002:binary"),
        ("kick: !mine [36]", "tags as !mine"),
        ("a: &x [36]\nb: *x", "anchors and aliases"),
        ("kick: " + "[" * 20 + "]" * 20, "nested more than 16 deep"),
        ("kick: " + "9" * 50, "a number of 50 characters"),
        ("[1, 2]: [36]", "a list or mapping as a key"),
        ("kick: [36]\nkick: [38]", "kick is there twice"),
        ("a: " + "x" * 2**17, "longer than 128 KiB"),
    ],
)
def test_yaml_of_other_than_plain_values_is_refused(tmp_path, content, reason):
    (tmp_path / "kit.yaml").write_text(content)
    with pytest.raises(HypermeterError, match=reason):
        load_kit(tmp_path / "kit.yaml")


def test_what_looks_like_a_number_and_is_none_is_text():
    assert parse_yaml("a: 0b\nb: 0x_", "a", "b") == {"a": "0b", "b": "0x_"}


@pytest.mark.parametrize("content", ["[" * 100 + "]" * 100, "[" * 100_000, "1" * 5000, " " * 101])
def test_json_beyond_the_limits_is_refused(content):
    with pytest.raises(ValueError):
        parse_json(content, 100 if content[0] == " " else 10**6)


@pytest.mark.parametrize(
    "term",
    [
        {"target": 1e300},
        {"target": 10**400},
        {"want": "more", "weight": 1e10},
        {"band": [0, 1e300]},
        {"target": 0.1, "scale": float("inf")},
    ],
)
def test_numbers_that_rewards_cannot_hold_are_refused(term, tmp_path):
    with pytest.raises(HypermeterError, match="density: .*expected"):
        load_reward({"terms": [{"metric": "density", **term}]})


def test_forms_name_the_place_of_what_does_not_fit():
    form = record({"sizes": list_of(whole(1, 9), 2)}, {"cell": one_of("gru"), "drop": maybe(number(0, 1)), "on": flag})
    form({"sizes": [1, 9], "drop": None, "on": True, "other": {}}, "config")
    for value, reason in (
        ({"sizes": [1, True]}, r"config.sizes\[1\] is True, expected a whole number from 1 to 9"),
        ({"sizes": [1, 1, 1]}, "a list of at most 2"),
        ({"sizes": [], "cell": "x" * 999}, "config.cell is 'xx.* [.]{3} .*, expected gru"),
        ({"sizes": [], "drop": float("nan")}, "config.drop is nan"),
        ({"sizes": [], "on": 1}, "config.on is 1, expected true or false"),
        ({}, "config: nothing of sizes"),
        ([], r"config is \[\], expected an object"),
    ):
        with pytest.raises(HypermeterError, match=reason):
            form(value, "config")
    with pytest.raises(HypermeterError, match="at most 3 characters"):
        text(3)("four", "name")


@pytest.mark.parametrize("values", [3, [], "x", {"name": 3, "voices": []}, {"name": "a", "voices": [{"name": 1}]}])
def test_a_kit_is_no_record_of_other_types(values):
    with pytest.raises(HypermeterError, match="not a kit's record"):
        Kit.from_dict(values)


@pytest.mark.parametrize("values", [{"steps_per_beat": True}, {"beats_per_bar": 2**40}, {3: 4}, 3])
def test_a_grid_is_no_record_of_other_types(values):
    with pytest.raises(HypermeterError, match="grid"):
        Grid.from_dict(values)


def test_bars_without_end_are_refused():
    with pytest.raises(HypermeterError, match="steps in a bar"):
        Grid(steps_per_beat=2**10, beats_per_bar=2**10)


# ---------------------------------------------------------------------- .npz


def write_npz(path, sequence, packing=zipfile.ZIP_DEFLATED, **members):
    with zipfile.ZipFile(path, "w", packing) as archive:
        for name, content in {"sequence": sequence, **members}.items():
            data = io.BytesIO()
            np.save(data, content) if isinstance(content, np.ndarray) else data.write(content)
            archive.writestr(f"{name}.npy", data.getvalue())
    return path


def npy(header):
    content = header.encode().ljust(118) + b"\n"
    return b"\x93NUMPY\1\0" + len(content).to_bytes(2, "little") + content


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '|u1', 'fortran_order': False, 'shape': (1000000000, 10), }",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (99999999999999999999,), }",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (1, 1, 1, 1, 1, 1, 1, 1, 1), }",
        "{'descr': [('a', '|u1')], 'fortran_order': False, 'shape': (1, 1), }",
        "{'descr': '|u1', 'shape': (1, 1), }",
        "[" * 60,
        "",
    ],
)
def test_a_header_of_an_array_that_is_not_there_is_refused(tmp_path, header):
    with pytest.raises(HypermeterError, match=r"a\.npz: not a readable"):
        read_sequence(write_npz(tmp_path / "a.npz", npy(header)))


def test_a_header_in_another_order_and_arrays_by_columns_are_read(tmp_path):
    content = npy('{"shape": (2, 3), "fortran_order": True, "descr": "|u1"}') + bytes([1, 0, 0, 1, 1, 1])
    assert read_sequence(write_npz(tmp_path / "a.npz", content)).tolist() == [[1, 0, 1], [0, 1, 1]]


def test_a_few_bytes_that_unpack_to_gigabytes_are_not_unpacked(tmp_path):
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("sequence.npy", "w") as member:
        member.write(npy("{'descr': '|u1', 'fortran_order': False, 'shape': (30000000, 10), }"))
        for _ in range(300):
            member.write(bytes(10**6))
    with pytest.raises(HypermeterError, match="expected at most 256"):
        read_sequence(path)


def test_a_performance_of_too_many_cells_is_refused(tmp_path):
    with pytest.raises(HypermeterError, match="cut it into pieces"):
        read_sequence(write_npz(tmp_path / "a.npz", np.zeros((2**21, 10), np.uint8)))


@pytest.mark.parametrize(
    "content", ["[" * 5000, "[" * 70 + "]" * 70, '{"tempo_bpm": ' + "9" * 5000 + "}", '{"tempo_bpm": true}']
)
def test_metadata_beyond_the_limits_is_refused(tmp_path, content):
    path = write_npz(tmp_path / "a.npz", np.zeros((16, 2), np.uint8), meta=np.array(content))
    with pytest.raises(HypermeterError, match=r"a\.npz: (meta|tempo)") as caught:
        read_meta(path)
    assert len(str(caught.value)) < 400


def test_one_bad_file_does_not_end_the_reading_of_a_folder(tmp_path):
    write_npz(tmp_path / "good.npz", np.ones((16, 2), np.uint8))
    write_npz(tmp_path / "bad.npz", npy("{'descr': '|u1', 'fortran_order': False, 'shape': (1000000000, 10), }"))
    write_npz(tmp_path / "deep.npz", np.ones((16, 2), np.uint8), meta=np.array("[" * 50_000))
    rejects = []
    assert [name for name, *_ in read_grooves(tmp_path, rejects=rejects)] == ["good.npz"]
    assert len(rejects) == 2 and all(len(reason) < 500 for reason in rejects)


def test_what_numpy_writes_is_read_as_numpy_reads_it(tmp_path):
    hits = (np.arange(48).reshape(16, 3) % 2).astype(np.float64)
    np.savez_compressed(tmp_path / "a.npz", sequence=np.asfortranarray(hits), velocity=hits * 0.5)
    groove = read_npz(tmp_path / "a.npz")
    assert np.array_equal(groove.hits, hits) and np.array_equal(groove.velocity, hits * 0.5)


# ---------------------------------------------------------------------- models


@pytest.fixture
def checkpoint(tmp_path):
    """Write a checkpoint with other metadata or tensors."""
    model("gru").save(tmp_path / "whole.safetensors")
    with safe_open(tmp_path / "whole.safetensors", framework="numpy") as file:
        metadata = json.loads(file.metadata()["hypermeter"])
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118

    def write(config=(), **others):
        changed = metadata | {"config": metadata["config"] | dict(config)}
        content = save(tensors | others, metadata={"hypermeter": json.dumps(changed)})
        (tmp_path / "a.safetensors").write_bytes(content)
        return tmp_path / "a.safetensors"

    return write


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_refused_by_name(checkpoint, value):
    path = checkpoint(**{"feature_norm.bias": np.full(16, value, np.float32)})
    with pytest.raises(HypermeterError, match="weights feature_norm.bias are not all finite"):
        load_player(path)


@pytest.mark.parametrize(
    "config",
    [
        {"num_drums": "3"},
        {"num_layers": 2.0},
        {"dropout": None},
        {"labels": ["A"]},
        {"tracks": 3},
        {"cell": ["gru"]},
        {"known": "x"},
        {"grids": {}},
        {"step_hidden_dim": 2**40},
        {"use_expression": 1},
    ],
)
def test_a_configuration_of_other_types_is_refused_by_its_field(checkpoint, config):
    with pytest.raises(HypermeterError, match=f"a.safetensors.*metadata.config.{next(iter(config))} is"):
        load_player(checkpoint(config))


def test_a_model_whose_parts_do_not_fit_is_refused_where_it_is_loaded(checkpoint):
    path = checkpoint(**{"bar_attention.distance_bias": np.zeros((4, 0), np.float32)})
    with pytest.raises(HypermeterError, match="not a readable Hypermeter checkpoint"):
        load_player(path)


META = {
    "format": 1, "name": "a", "num_drums": 1, "width": 1, "tracks": [], "plan_dim": 0, "labels": None, "kinds": [],
    "kit": {"name": "mine", "voices": [{"name": "v", "pitches": [36], "write": 36}]},
    "memory": None, "expression": None,
    "grid": {"steps_per_beat": 4, "beats_per_bar": 4, "bars_per_phrase": 4, "beat_unit": 4},
    "state": [{"name": "hidden", "shape": [2], "dtype": "float32"}],
}  # fmt: skip


@pytest.mark.parametrize("field", [name for name in META if name not in ("labels", "memory", "expression", "format")])
@pytest.mark.parametrize("value", ["x", 3, -1, [3], {"a": 1}, 1e300, True])
def test_a_description_of_an_export_of_other_types_is_refused(tmp_path, field, value):
    if (field, value) in (("name", "x"), ("plan_dim", 3)):
        return
    (tmp_path / "meta.json").write_text(json.dumps(META | {field: value}))
    with pytest.raises(HypermeterError) as caught:
        OnnxNetwork(Folder.read(tmp_path))
    assert "step.onnx" not in str(caught.value), "what comes after the description"


# ---------------------------------------------------------------------- notation and MIDI


@pytest.mark.parametrize("is_strudel", [False, True])
def test_copies_are_counted_before_they_are_made(is_strudel):
    with pytest.raises(HypermeterError, match="more than 16384 steps with their copies"):
        parse_mini("bd!4096 " * 5, "a", rotates_right=is_strudel)


def test_many_changes_of_metre_are_read_as_few_are():
    """Each span looks at what is near it; the hits are those of a file without the others."""
    changes = [metre(bar * 960, 2 if bar % 2 else 4, 4 if bar % 2 else 8) for bar in range(40)]
    hits = [event for eighth in range(160) for event in hit(eighth * 240, 36 + 2 * (eighth % 2))]
    pieces, _ = parse_midi_report(midi(track(*changes, *hits)), "a.mid", grid=GridChoice(), may_rest=True)
    assert sum(piece.groove.num_strokes for piece in pieces) == 160


def test_running_status_after_a_system_message_loses_no_hit():
    body = b"\0\x99\x24\x64" + b"\x60" + sysex(0, "43 10")[1] + b"\x60\x26\x64" + b"\x60\x24\x64" + b"\0\xff\x2f\0"
    content = midi(b"MTrk" + len(body).to_bytes(4, "big") + body)
    (piece,), _ = parse_midi_report(content, "a.mid")
    assert piece.groove.num_strokes == 3


def test_hits_without_ends_stay_where_bytes_follow_the_end_of_their_track():
    ons = b"".join(bytes([0x70 * (at > 0), 0x99, 36 + at % 2, 100]) for at in range(6))
    for rest in (b"", b"\0\0", b"\0\xff\x2f\0", b"\0\x99\x2a\x50\0\xff\x2f\0"):
        body = ons + b"\1\xff\x2f\0" + rest
        (piece,), _ = parse_midi_report(midi(b"MTrk" + len(body).to_bytes(4, "big") + body), "a.mid")
        assert piece.groove.num_strokes == 6, rest


# ---------------------------------------------------------------------- writing


def test_a_file_that_is_replaced_keeps_its_mode(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("before")
    path.chmod(0o604)
    with atomic_write(path) as temporary:
        temporary.write_text("after")
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == ("after", 0o604)


def test_no_link_leads_to_a_temporary_file(tmp_path, monkeypatch):
    (tmp_path / "secret").write_text("mine")
    monkeypatch.setattr("secrets.token_hex", lambda size: "0")
    (tmp_path / f".a.{os.getpid()}-0.txt").symlink_to(tmp_path / "secret")
    with pytest.raises(HypermeterError, match="cannot be written"), atomic_write(tmp_path / "a.txt") as temporary:
        temporary.write_text("theirs")
    assert (tmp_path / "secret").read_text() == "mine" and not (tmp_path / "a.txt").exists()


def test_a_file_and_its_folder_are_on_the_disk_around_the_rename(tmp_path, monkeypatch):
    order = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda number: (order.append("fsync"), fsync(number)))
    monkeypatch.setattr(os, "replace", lambda one, other: (order.append("rename"), replace(one, other)))
    with atomic_write(tmp_path / "a.txt") as temporary:
        temporary.write_text("a")
    assert order == ["fsync", "rename", "fsync"]


def test_a_long_name_is_written_and_its_leftovers_are_found(tmp_path):
    path = tmp_path / ("é" * 120 + ".txt")
    with atomic_write(path) as temporary:
        temporary.write_text("a")
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_notes_of_a_bass_that_never_end_last_to_the_end_of_its_track_and_are_counted():
    bass = [(480 * at, bytes([0x90, 36 + at, 90])) for at in range(4)]
    program = (0, bytes([0xC0, 33]))
    content = midi(track(program, *bass, name="bass"), track(*hit(0), *hit(1900)))
    (piece,), lines = parse_midi_report(content, "a.mid", tracks=[BASS])
    assert (piece.groove.tracks["bass"] > 1).sum() == 4
    assert any(line.startswith("4 notes beside the drums never end") for line in lines)


def test_sounds_of_patterns_within_each_other_are_counted_before_they_are_placed():
    with pytest.raises(HypermeterError, match="too many sounds"):
        from_strudel('s("bd*1000").fast(1)', bars=1000)


def test_two_strokes_at_one_tick_are_two_where_the_program_changes_between_them():
    program = (0, bytes([0xC9, 8]))
    midi_file = load_midi(midi(track(hit(0)[0], program, hit(0)[0], *hit(480))), "a.mid")
    assert midi_file.drums.shape[1] == 3 and not midi_file.remarks
