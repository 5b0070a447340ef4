import errno
import functools
import hashlib
import http.server
import json
import os
import socketserver
import subprocess
import sys
import threading
import zipfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypermeter import cli
from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.core.groove import Groove
from hypermeter.core.kit import load_kit
from hypermeter.core.tracks import BASS, Track
from hypermeter.io.grooves import read_npz
from hypermeter.io.midi import read_midi, read_midi_report, to_midi_bytes, write_midi
from hypermeter.learn.download import ARCHIVES, download
from hypermeter.learn.prepare import prepare
from hypermeter.music.duplicates import bar_digests, near_duplicates

GROOVE = Path(os.environ.get("HYPERMETER_GROOVE", Path(__file__).parents[1] / "../shared/data/groove"))
HEADER = "drummer,style,bpm,beat_type,time_signature,midi_filename,split\n"


def some_groove(seed, bars=4, **options):
    hits = np.random.default_rng(seed).random((bars * 16, 10)) < 0.2
    hits[-1, 0] = True
    return Groove(hits, **options)


def write_folder(folder, count=10, bars=4):
    for number in range(count):
        write_midi(some_groove(number, bars), folder / f"{number}.mid")
    return folder


def npz_files(out):
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*.npz")}


def run(source, out, **options):
    return prepare(source, out, quiet=True, **options)


def near(groove, step=0):
    """The groove with the kick of every bar changed at one step."""
    hits = groove.hits.copy()
    hits[step::16, 0] ^= 1
    return Groove(hits)


def test_an_npz_equals_its_midi(tmp_path):
    write_midi(some_groove(1, tempo_bpm=93), tmp_path / "in" / "deep" / "a.mid")
    manifest = run(tmp_path / "in", tmp_path / "out", bars_per_phrase=2)
    expected = read_midi(tmp_path / "in" / "deep" / "a.mid")
    (record,) = manifest["files"]
    assert record["npz"] == ["train/deep-a.npz"]
    with np.load(tmp_path / "out" / record["npz"][0], allow_pickle=False) as arrays:
        assert arrays["sequence"].dtype == np.uint8
        assert arrays["velocity"].dtype == arrays["offset"].dtype == np.float32
        assert (arrays["sequence"] == expected.hits).all()
        assert (arrays["velocity"] == expected.velocity).all() and (arrays["offset"] == expected.offset).all()
        meta = json.loads(str(arrays["meta"]))
    assert meta["source"] == "deep/a.mid" and meta["split"] == "train" and meta["kit"] == "gm10"
    assert meta["tempo_bpm"] == 93 and Grid.from_dict(meta["grid"]) == Grid(bars_per_phrase=2)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 3), st.sampled_from(["gm10", "gm"]))
def test_any_groove_survives_npz(tmp_path_factory, seed, bars, kit):
    folder = tmp_path_factory.mktemp("npz")
    rng = np.random.default_rng(seed)
    hits = rng.random((bars * 16, load_kit(kit).num_voices)) < 0.3
    hits[-1, 0] = True
    groove = Groove(hits, hits * rng.integers(1, 128, hits.shape) / 127, hits * rng.uniform(-0.5, 0.49, hits.shape))
    write_midi(groove, folder / "a.mid", kit)
    run(folder / "a.mid", folder / "out", kit=kit)
    assert read_npz(folder / "out" / "train" / "a.npz") == read_midi(folder / "a.mid", kit)


def test_the_manifest_has_a_record_of_each_file(tmp_path):
    source = write_folder(tmp_path / "in", 3)
    (source / "empty.mid").write_bytes(b"")
    (source / "cut.mid").write_bytes((source / "0.mid").read_bytes()[:-20])
    (source / "notes.txt").write_text("no MIDI")
    (source / "._0.mid").write_bytes(b"a Mac's")
    write_midi(Groove(np.ones((12, 10)), grid=Grid(beats_per_bar=3)), source / "waltz.mid")
    manifest = run(source, tmp_path / "out")
    assert manifest == json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert [record["source"] for record in manifest["files"]] == ["0.mid", "1.mid", "2.mid"]
    reasons = {record["source"]: record["reason"] for record in manifest["rejects"]}
    assert list(reasons) == ["cut.mid", "empty.mid", "waltz.mid"]
    assert "truncated" in reasons["cut.mid"] and "empty file" in reasons["empty.mid"]
    assert reasons["waltz.mid"].startswith("metre 3/4 at bar 1 (120 hits), expected 4/4; ")
    record = manifest["files"][0]
    assert record["sha256"] == hashlib.sha256((source / "0.mid").read_bytes()).hexdigest()
    assert record["bars"] == 4 and record["hits"] == some_groove(0).hits.sum()
    assert sum(total["files"] for total in manifest["splits"].values()) == 3
    assert not list((tmp_path / "out").glob("*.jsonl"))


def test_a_file_that_breaks_the_reader_is_a_reject_and_the_rest_goes_on(tmp_path, monkeypatch):
    import hypermeter.learn.prepare.convert as module

    parse = module.parse_pieces

    def fail_at_one(content, where, *settings, options):
        if where == "1.mid":
            raise ZeroDivisionError("division\nby zero")
        return parse(content, where, *settings, options=options)

    monkeypatch.setattr(module, "parse_pieces", fail_at_one)
    manifest = run(write_folder(tmp_path / "in", 3), tmp_path / "out")
    assert len(manifest["files"]) == 2
    assert manifest["rejects"][0]["reason"].startswith("cannot be read (ZeroDivisionError: division by zero); ")


def test_a_kit_of_ones_own_is_kept_whole_wherever_prepare_ran(tmp_path, monkeypatch):
    write_folder(tmp_path / "in", 1)
    (tmp_path / "mine.yaml").write_text("snare: [38]\nkick: [36, 35]\n")
    monkeypatch.chdir(tmp_path)
    manifest = run(tmp_path / "in", tmp_path / "out", kit="mine.yaml")
    (tmp_path / "mine.yaml").unlink()
    with np.load(tmp_path / "out" / "train" / "0.npz", allow_pickle=False) as arrays:
        kit = load_kit(json.loads(str(arrays["meta"]))["kit"])
    assert kit.names == ("snare", "kick") and load_kit(manifest["kit"]) == kit


def test_strokes_and_unmapped_hits_are_counted(tmp_path, capsys):
    # Read in eighths, of two sixteenths one is a stroke; in magenta9 the acoustic bass drum has no voice.
    hits = np.zeros((16, 47))
    hits[:, 1] = hits[:4, 0] = 1
    write_midi(Groove(hits, kit="gm"), tmp_path / "a.mid")
    manifest = prepare(tmp_path / "a.mid", tmp_path / "out", kit="magenta9", steps_per_beat=2)
    assert manifest["unmapped"] == manifest["files"][0]["unmapped"] == {"35": 4}
    assert manifest["hits"] + manifest["strokes"] == 16 and manifest["strokes"] >= 7
    assert manifest["hits_dropped"] == manifest["files"][0]["dropped"] == 0
    assert "16 of 20 hits are kept (80.00%)" in capsys.readouterr().out
    groove = read_npz(next((tmp_path / "out").rglob("*.npz")))
    assert groove.num_strokes == 16 and len(groove.strokes) == manifest["files"][0]["strokes"]


def test_a_file_with_changes_becomes_pieces_or_a_reject(tmp_path):
    symusic = pytest.importorskip("symusic")
    score = symusic.Score.from_midi(to_midi_bytes(some_groove(0)))
    score.tempos.append(symusic.Tempo(2 * 1920, 77))
    score.dump_midi(tmp_path / "a.mid")
    (record,) = run(tmp_path / "a.mid", tmp_path / "out")["files"]
    assert record["npz"] == ["train/a.npz", "train/a-2.npz"] and record["tempo_bpm"] == [120, 77]
    with pytest.raises(HypermeterError, match="none of 1 files could be used.*tempo changes from 120 to 77"):
        run(tmp_path / "a.mid", tmp_path / "out", changes="refuse")
    assert not npz_files(tmp_path / "out")


def test_info_csv_gives_split_style_and_beat_or_fill(tmp_path):
    source = write_folder(tmp_path / "in", 4)
    rows = ["d,funk,90,beat,4-4,0.mid,validation", "d,jazz,90,fill,4-4,1.mid,test", "d,rock,90,beat,4-4,2.mid,mine"]
    (source / "info.csv").write_text(HEADER + "\n".join([*rows, "d,rock,90,beat,4-4,gone.mid,train"]))
    manifest = run(source, tmp_path / "out")
    assert manifest["split_by"] == "info.csv" and set(npz_files(tmp_path / "out")) == {"validation/0.npz", "test/1.npz"}
    assert (manifest["files"][0]["style"], manifest["files"][1]["beat_type"]) == ("funk", "fill")
    reasons = {record["source"]: record["reason"] for record in manifest["rejects"]}
    assert (
        "split 'mine'" in reasons["2.mid"]
        and "not in info.csv" in reasons["3.mid"]
        and "not there" in reasons["gone.mid"]
    )


def test_a_zip_gives_the_same_as_its_folder(tmp_path):
    source = write_folder(tmp_path / "in", 3)
    (source / "info.csv").write_text(HEADER + "".join(f"d,funk,90,beat,4-4,{n}.mid,train\n" for n in range(3)))
    with zipfile.ZipFile(tmp_path / "in.zip", "w") as archive:
        for path in source.iterdir():
            archive.write(path, f"groove/{path.name}")
    manifest = run(tmp_path / "in.zip", tmp_path / "zipped")
    plain = run(source, tmp_path / "plain")
    assert manifest["split_by"] == "info.csv" and manifest["splits"] == plain["splits"]
    assert [record["sha256"] for record in manifest["files"]] == [record["sha256"] for record in plain["files"]]


def test_a_plain_folder_is_split_by_file_and_seed(tmp_path):
    source = write_folder(tmp_path / "in", 20, bars=1)
    first, again, other = (run(source, tmp_path / f"out{n}", seed=seed) for n, seed in enumerate((0, 0, 1)))
    assert [first["splits"][name]["files"] for name in ("train", "validation", "test")] == [16, 2, 2]
    assert first["files"] == again["files"] and first["files"] != other["files"]


@pytest.mark.parametrize("seed", range(5))
def test_near_duplicates_never_straddle_a_split_of_a_plain_folder(tmp_path, seed):
    source = write_folder(tmp_path / "in", 10)
    for number in range(5):
        hits = some_groove(number).hits
        write_midi(near(some_groove(number)), source / f"{number}-kick.mid")
        write_midi(Groove(np.concatenate([hits[16:], hits[:16]]), tempo_bpm=99), source / f"{number}-turned.mid")
    manifest = run(source, tmp_path / "out", seed=seed)
    split_of = {record["source"]: record["split"] for record in manifest["files"]}
    assert len(manifest["near_duplicates"]) == 5 and manifest["near_duplicates_across_splits"] == 0
    for number in range(5):
        assert len({split_of[f"{number}{kind}.mid"] for kind in ("", "-kick", "-turned")}) == 1


def test_bars_that_occur_in_train_are_counted_for_the_other_splits(tmp_path):
    source = tmp_path / "in"
    one, two = some_groove(1), some_groove(2)
    write_midi(one, source / "a.mid")
    write_midi(Groove(np.concatenate([one.hits[:32], two.hits])), source / "b.mid")
    write_midi(one, source / "c.mid")
    rows = ["d,x,90,beat,4-4,a.mid,train", "d,x,90,beat,4-4,b.mid,validation", "d,x,90,beat,4-4,c.mid,test"]
    (source / "info.csv").write_text(HEADER + "\n".join(rows))
    manifest = run(source, tmp_path / "out")
    assert manifest["bars_verbatim_in_train"] == {
        "validation": {"bars": 6, "in_train": 2},
        "test": {"bars": 4, "in_train": 4},
    }
    assert manifest["near_duplicates"] == [["a.mid", "c.mid"]] and manifest["near_duplicates_across_splits"] == 1


def test_equal_bars_have_equal_digests_and_near_ones_share_one():
    hits = some_groove(0, 3).hits.copy()
    hits[16:32] = 0
    digests = bar_digests(hits, 16)
    assert digests.shape == (2, 11)
    changed = bar_digests(near(Groove(hits)).hits[:16], 16)
    assert changed[0, 0] != digests[0, 0] and set(changed[0]) & set(digests[0]) == {digests[0, 1]}
    single = np.zeros((32, 10), np.uint8)
    single[0, 0] = single[20, 1] = 1
    one, other = bar_digests(single, 16)
    assert not set(one) & set(other)


def test_groups_of_near_duplicates_need_half_of_the_bars():
    bars = {name: bar_digests(some_groove(seed, 6).hits, 16) for seed, name in enumerate("abc")}
    third = np.concatenate([bars["a"][:2], bars["b"][:4]])
    assert near_duplicates(bars | {"d": third, "e": bars["c"][:0]}) == [["b", "d"]]
    assert near_duplicates({}) == [] and near_duplicates({"a": bars["a"]}) == []
    assert near_duplicates({str(n): bars["a"] for n in range(200)}) == [sorted(map(str, range(200)))]


def test_a_second_run_writes_nothing_again(tmp_path):
    source, out = write_folder(tmp_path / "in"), tmp_path / "out"
    first = run(source, out)
    times = {path: path.stat().st_mtime_ns for path in out.rglob("*.npz")}
    assert run(source, out) == first
    assert times == {path: path.stat().st_mtime_ns for path in out.rglob("*.npz")}


def test_a_changed_a_missing_and_a_damaged_file_are_made_again(tmp_path):
    source, out = write_folder(tmp_path / "in"), tmp_path / "out"
    names = [record["npz"][0] for record in run(source, out)["files"]]
    before = npz_files(out)
    (out / names[0]).unlink()
    (out / names[1]).write_bytes(before[names[1]][:100])
    (source / "2.mid").write_bytes(to_midi_bytes(near(some_groove(2))))
    run(source, out)
    again = npz_files(out)
    assert {name for name in before if before[name] != again[name]} == {names[2]}


@pytest.mark.parametrize("name", ["manifest.json", "manifest.partial.jsonl"])
@pytest.mark.parametrize("content", ["[]", "3", "null", '{"files": 3}', '{"files": [3, {"npz": [3]}]}', "\udcff", "{"])
def test_a_manifest_of_another_form_is_ignored(tmp_path, name, content):
    source, out = write_folder(tmp_path / "in", 3), tmp_path / "out"
    first = run(source, out)
    (out / "manifest.json").unlink()
    (out / name).write_bytes(content.encode(errors="surrogateescape"))
    assert run(source, out) == first


@pytest.mark.parametrize("field", ["source", "sha256", "npz", "bars", "unmapped", "own_grid", "strokes", "bars_cut"])
def test_a_record_with_a_field_spoilt_is_prepared_anew(tmp_path, field):
    source, out = write_folder(tmp_path / "in", 3), tmp_path / "out"
    first = run(source, out)
    spoilt = json.loads((out / "manifest.json").read_text())
    for record, value in zip(spoilt["files"], (None, [3], {"x": "y"})):
        record[field] = value
    (out / "manifest.json").write_text(json.dumps(spoilt))
    assert run(source, out) == first


@pytest.mark.parametrize("full", ["manifest.json", "train/0.npz", ".prepare/0000000.records", ".prepare/plan.json"])
def test_a_full_disk_is_one_line_that_names_the_path(tmp_path, monkeypatch, full):
    replace = os.replace

    def replace_unless_full(path, target):
        if str(target).endswith(full):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace(path, target)

    monkeypatch.setattr(os, "replace", replace_unless_full)
    source = write_folder(tmp_path / "in", 3)
    (source / "info.csv").write_text(HEADER + "".join(f"d,funk,90,beat,4-4,{n}.mid,train\n" for n in range(3)))
    with pytest.raises(HypermeterError) as caught:
        run(source, tmp_path / "out")
    message = str(caught.value)
    assert str(tmp_path / "out" / full) in message and "No space left on device" in message and "\n" not in message
    assert not [path for path in tmp_path.rglob(".*") if path.name != ".prepare"]  # No part of a file is left.


def test_other_settings_leave_nothing_of_the_run_before(tmp_path):
    source, out = write_folder(tmp_path / "in"), tmp_path / "out"
    run(source, out)
    (source / "0.mid").unlink()
    run(source, out, kit="gm", seed=3)
    run(source, tmp_path / "fresh", kit="gm", seed=3)
    assert npz_files(out) == npz_files(tmp_path / "fresh")


def test_files_of_one_name_are_kept_apart(tmp_path):
    for number, name in enumerate(("a/b.mid", "a-b.mid", "A-B.midi")):
        write_midi(some_groove(number), tmp_path / "in" / name)
    manifest = run(tmp_path / "in", tmp_path / "out")
    assert len({record["npz"][0].lower() for record in manifest["files"]}) == 3


def test_processes_give_the_same_as_one(tmp_path):
    source = write_folder(tmp_path / "in", 70, bars=1)
    (source / "bad.mid").write_bytes(b"MThd, or so it says")
    assert run(source, tmp_path / "one", workers=1) == run(source, tmp_path / "two", workers=2)
    assert npz_files(tmp_path / "one") == npz_files(tmp_path / "two")


def test_workers_0_is_as_many_as_there_are_cores_where_processes_are_spawned(tmp_path, monkeypatch):
    """As on macOS and Windows, which start no process by a fork and tell no cores of one's own."""
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr("hypermeter.learn.prepare.run.MIN_FILES_FOR_POOL", 1)
    started = []

    def pool(workers, mp_context, initializer):
        started.append((workers, mp_context.get_start_method()))
        return ProcessPoolExecutor(workers, mp_context=mp_context, initializer=initializer)

    monkeypatch.setattr("hypermeter.learn.engines.ProcessPoolExecutor", pool)
    source = write_folder(tmp_path / "in", 40, bars=1)
    assert run(source, tmp_path / "one", workers=1) == run(source, tmp_path / "all", workers=0)
    assert started == [(2, "spawn")]


def test_all_options_are_checked_before_the_source_is_read(tmp_path):
    (tmp_path / "file").write_text("")
    for options, message in (
        ({"workers": -1}, "workers"),
        ({"seed": -1}, "seed"),
        ({"kit": "gm11"}, "gm11"),
        ({"out": tmp_path / "file" / "out"}, "cannot be written"),
    ):
        with pytest.raises(HypermeterError, match=message):
            run(tmp_path / "absent", **({"out": tmp_path / "out"} | options))
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metre": "four"}, "metre is 'four', expected beats/unit"),
        ({"metre": "4/5"}, "beat_unit"),
        ({"kit": "gm11"}, "gm11"),
        ({"changes": "skip"}, "split or refuse"),
        ({"workers": -1}, "workers"),
        ({"seed": -1}, "seed is -1"),
        ({"tracks": ("violin",)}, "violin"),
        ({"source": "absent"}, "absent: not there"),
        ({"source": "void"}, "void: no .mid files"),
        ({"source": "bad.zip"}, "bad.zip: neither"),
        ({"source": "bad.mid"}, "bad.mid: none of 1 files could be used; the first: empty file"),
        ({"out": "bad.zip"}, "bad.zip: cannot be written"),
    ],
)
def test_an_error_of_prepare_is_one_line(tmp_path, options, message):
    write_folder(tmp_path / "in", 1)
    (tmp_path / "void").mkdir()
    (tmp_path / "bad.zip").write_bytes(b"PK no")
    (tmp_path / "bad.mid").write_bytes(b"")
    source, out = (tmp_path / options.pop(key, default) for key, default in (("source", "in"), ("out", "out")))
    with pytest.raises(HypermeterError) as caught:
        run(source, out, **options)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_the_summary_is_printed(tmp_path, capsys):
    source = write_folder(tmp_path / "in", 3)
    (source / "bad.mid").write_bytes(b"")
    prepare(source, tmp_path / "out")
    printed = capsys.readouterr().out
    assert "train" in printed and "1 files rejected" in printed and "empty file" in printed


def write_doubled(path):
    """A file whose bass is doubled an octave higher, on another channel, in its first half."""
    bass = np.zeros(64, np.int16)
    bass[::4] = 40
    second = np.where(bass > 0, 52, 0)
    second[32:] = 0
    groove = some_groove(0, tracks={"bass": bass, "second": second})
    write_midi(groove, path, tracks=(BASS, Track("second", 24, 57, BASS.program, BASS.programs)))


def test_notes_that_a_track_drops_are_counted_and_reported(tmp_path, capsys):
    write_doubled(tmp_path / "a.mid")
    manifest = prepare(tmp_path / "a.mid", tmp_path / "out", tracks=("bass",))
    assert manifest["notes"] == {"bass": 16} and manifest["notes_dropped"] == {"bass": 8}
    assert manifest["files"][0]["notes_dropped"] == {"bass": 8}
    assert "notes of bass: 16, and 8 dropped for a lower or equal one" in capsys.readouterr().out
    _, losses = read_midi_report(tmp_path / "a.mid", tracks=[BASS])
    assert losses == ["notes of bass dropped for a lower or equal one of the same step (8)"]
    assert read_midi_report(tmp_path / "a.mid")[1] == []


def test_a_record_without_dropped_notes_is_made_again(tmp_path):
    write_doubled(tmp_path / "a.mid")
    made = run(tmp_path / "a.mid", tmp_path / "out", tracks=("bass",))
    path = tmp_path / "out" / "manifest.json"
    manifest = json.loads(path.read_text())
    del manifest["notes_dropped"], manifest["files"][0]["notes_dropped"]
    path.write_text(json.dumps(manifest))
    assert run(tmp_path / "a.mid", tmp_path / "out", tracks=("bass",)) == made
    assert json.loads(path.read_text()) == made


def test_preparing_does_not_import_torch():
    code = "import sys, hypermeter.learn.prepare; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.slow
@pytest.mark.skipif(not GROOVE.is_dir(), reason="the Groove MIDI Dataset is not there")
def test_groove_keeps_its_official_split_and_all_its_hits(tmp_path):
    manifest = run(GROOVE, tmp_path, kit="gm10")
    assert manifest["splits"]["train"]["files"] == 887 and manifest["splits"]["validation"]["files"] == 122
    assert manifest["unmapped"] == {} and not any(record["left_out"] for record in manifest["files"])
    assert all("metre" in record["reason"] for record in manifest["rejects"])


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves ranges, as the public server does, and keeps the log of them."""

    asked: list[str | None] = []

    def do_GET(self):
        range_header = self.headers.get("Range")
        self.asked.append(range_header)
        path = Path(self.translate_path(self.path))
        if not path.exists():
            self.send_error(404)
            return
        content = path.read_bytes()
        start = int(range_header[6:-1]) if range_header else 0
        if start >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if range_header else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start:])

    def log_message(self, *_):
        pass


@pytest.fixture
def served(tmp_path):
    """(address of an archive, its path, its SHA-256)."""
    folder = tmp_path / "served"
    folder.mkdir()
    with zipfile.ZipFile(folder / "groove.zip", "w") as archive:
        archive.writestr("groove/info.csv", HEADER + "d,funk,90,beat,4-4,a.mid,train\n")
        archive.writestr("groove/a.mid", to_midi_bytes(some_groove(0)))
    Handler.asked = []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=folder))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    path = folder / "groove.zip"
    yield f"http://127.0.0.1:{server.server_port}/groove.zip", path, hashlib.sha256(path.read_bytes()).hexdigest()
    server.shutdown()
    server.server_close()
    thread.join()


def test_an_archive_is_fetched_checked_unpacked_and_prepared(tmp_path, served):
    url, _, sha256 = served
    folder = download("groove", tmp_path / "data", url, sha256)
    assert folder == tmp_path / "data" / "groove" and (folder / "info.csv").exists()
    assert len(run(folder, tmp_path / "out")["files"]) == 1
    assert download("groove", tmp_path / "data", url, sha256) == folder and len(Handler.asked) == 1
    assert os.listdir(tmp_path / "data") == ["groove"]


@pytest.mark.parametrize("part", [0, 40, None])
def test_an_interrupted_fetch_requests_the_rest(tmp_path, served, part):
    url, path, sha256 = served
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / ".groove.zip.part").write_bytes(path.read_bytes()[:part])
    download("groove", tmp_path / "data", url, sha256)
    size = part if part is not None else path.stat().st_size
    assert Handler.asked == [f"bytes={size}-" if size else None]


def test_an_archive_of_another_sha256_is_refused_and_removed(tmp_path, served):
    url, path, _ = served
    with pytest.raises(HypermeterError, match=f"sha256 .*expected {ARCHIVES['groove'][1]}"):
        download("groove", tmp_path / "data", url)
    assert not list((tmp_path / "data").iterdir())
    with pytest.raises(HypermeterError, match="sha256"):
        download("groove", tmp_path / "data", from_file=path)
    assert path.exists()


def test_an_archive_that_is_here_is_not_fetched(tmp_path, served):
    _, path, sha256 = served
    assert (download("groove", tmp_path / "data", sha256=sha256, from_file=path) / "a.mid").exists()
    assert path.exists() and not Handler.asked


@pytest.mark.parametrize("name", ["../evil.mid", "/evil.mid", "groove/../../evil.mid", "..\\evil.mid", "C:/evil.mid"])
def test_an_archive_that_would_write_outside_its_folder_is_refused(tmp_path, name):
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        archive.writestr(name, b"")
    sha256 = hashlib.sha256((tmp_path / "evil.zip").read_bytes()).hexdigest()
    with pytest.raises(HypermeterError, match="outside its folder"):
        download("groove", tmp_path / "data", sha256=sha256, from_file=tmp_path / "evil.zip")
    assert not list((tmp_path / "data").iterdir())


def test_a_damaged_archive_is_refused(tmp_path):
    (tmp_path / "bad.zip").write_bytes(b"PK")
    sha256 = hashlib.sha256(b"PK").hexdigest()
    with pytest.raises(HypermeterError, match="bad.zip: damaged"):
        download("groove", tmp_path / "data", sha256=sha256, from_file=tmp_path / "bad.zip")


def test_an_error_of_download_is_one_line_that_names_the_address(tmp_path, served):
    url, _, sha256 = served
    with pytest.raises(HypermeterError, match="absent.zip: the server answered 404"):
        download("groove", tmp_path, url.replace("groove", "absent"), sha256)
    with pytest.raises(HypermeterError, match="127.0.0.1:9/x.zip: cannot be fetched"):
        download("groove", tmp_path, "http://127.0.0.1:9/x.zip", sha256)
    with pytest.raises(HypermeterError, match="jazz: unknown; expected groove"):
        download("jazz", tmp_path)
    with pytest.raises(HypermeterError, match="plain folder name"):
        download("../x", tmp_path, url, sha256)
    with pytest.raises(HypermeterError, match="absent"):
        download("groove", tmp_path, from_file=tmp_path / "absent")
    with pytest.raises(HypermeterError, match="sha256 is 'ab', expected 64"):
        download("groove", tmp_path, url, "ab")
    (tmp_path / "file").write_text("")
    requests = len(Handler.asked)
    with pytest.raises(HypermeterError, match="file/data.* cannot be written"):
        download("groove", tmp_path / "file" / "data", url, sha256)
    assert len(Handler.asked) == requests


def test_the_archive_that_is_here_is_named_by_from_on_the_command_line(tmp_path, served, capsys):
    _, path, sha256 = served
    archive = ["--from", str(path), "--sha256", sha256]
    assert cli.main(["download", "groove", "--out", str(tmp_path / "data"), *archive]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'data' / 'groove'}\n" and not Handler.asked


def test_an_address_that_is_none_is_one_line(tmp_path):
    for url in ("http://host/a b.zip", "host.zip"):
        with pytest.raises(HypermeterError, match=f"{url}: cannot be fetched .*--from") as caught:
            download("groove", tmp_path, url)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"HTTP/1.0 200 OK\r\nContent-Length: 9\r\n\r\nPK", "cut off after 2 of 9 bytes; run again"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nPK", "cannot be fetched \\(IncompleteRead"),
        (b"what?\r\n", "cannot be fetched \\(BadStatusLine"),
        (b"", "cannot be fetched \\(RemoteDisconnected"),
    ],
)
def test_a_broken_answer_of_the_server_is_one_line(tmp_path, answer, message):
    class Broken(socketserver.StreamRequestHandler):
        def handle(self):
            while self.rfile.readline().strip():
                pass
            self.wfile.write(answer)

    with socketserver.TCPServer(("127.0.0.1", 0), Broken) as server:
        thread = threading.Thread(target=server.handle_request, daemon=True)
        thread.start()
        with pytest.raises(HypermeterError, match=message) as caught:
            download("groove", tmp_path, f"http://127.0.0.1:{server.server_address[1]}/groove.zip")
        thread.join()
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_there_already_is_not_touched(tmp_path, served):
    url, _, sha256 = served
    (tmp_path / "groove").mkdir()
    with pytest.raises(HypermeterError, match="already there"):
        download("groove", tmp_path, url, sha256)
