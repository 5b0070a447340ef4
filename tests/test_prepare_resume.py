"""A run of `prepare` that was cut off goes on, and ends with the bytes of one that was not."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hypermeter.io.midi import write_midi
from hypermeter.learn.prepare import prepare
from hypermeter.learn.prepare import run as module
from hypermeter.learn.prepare.plan import MIN_FILES_PER_TASK
from test_prepare import HEADER, some_groove

COUNT = 2 * MIN_FILES_PER_TASK + 6  # files in three tasks


def write_source(folder, has_table):
    for number in range(COUNT):
        write_midi(some_groove(number % 60, bars=1, tempo_bpm=100 + number % 3), folder / f"{number:03}.mid")
    (folder / "031.mid").write_bytes(b"no MIDI")
    if has_table:
        rows = (f"d,x,90,beat,4-4,{n:03}.mid,{('train', 'test')[n % 2]}\n" for n in range(COUNT))
        (folder / "info.csv").write_text(HEADER + "".join(rows))
    return folder


def contents(out):
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*") if path.is_file()}


class Cut(Exception):
    """Stands for the end of a process."""


def cut_off(monkeypatch, function, after, writes_before=9):
    """Let a run end after so many tasks of a function, and within the next."""
    task, done = getattr(module, function), []

    def run(value):
        if len(done) == after:
            write, writes = os.replace, []

            def replace(path, target):
                writes.append(target)
                if len(writes) > writes_before:
                    raise Cut
                write(path, target)

            monkeypatch.setattr(os, "replace", replace)
        done.append(value)
        return task(value)

    monkeypatch.setattr(module, function, run)


@pytest.mark.parametrize("has_table", [False, True])
@pytest.mark.parametrize(("function", "after"), [("convert_task", 0), ("convert_task", 2), ("place_task", 1)])
def test_a_run_that_was_cut_off_ends_with_the_same_bytes(tmp_path, has_table, function, after):
    if has_table and function == "place_task":
        pytest.skip("with a table, all are in place at once")
    source = write_source(tmp_path / "in", has_table)
    prepare(source, tmp_path / "whole", workers=1, quiet=True)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Cut):
        cut_off(patch, function, after)
        prepare(source, tmp_path / "out", workers=1, quiet=True)
    assert not (tmp_path / "out" / "manifest.json").exists()
    done = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / ".prepare").glob("*.records")}
    assert len(done) >= after
    prepare(source, tmp_path / "out", workers=1, quiet=True)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_tasks_that_have_ended_are_not_done_again(tmp_path, monkeypatch):
    source = write_source(tmp_path / "in", has_table=True)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Cut):
        cut_off(patch, "convert_task", 2)
        prepare(source, tmp_path / "out", workers=1, quiet=True)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*/[!.]*.npz")}
    prepare(source, tmp_path / "out", workers=1, quiet=True)
    after = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("*/*.npz")}
    first_two = [path for path in before if int(path.stem) < 2 * MIN_FILES_PER_TASK]
    assert len(first_two) == 2 * MIN_FILES_PER_TASK - 1 and len(after) == COUNT - 1
    assert all(before[path] == after[path] for path in first_two)


@pytest.mark.parametrize("change", ["source", "npz", "records", "bars"])
@pytest.mark.parametrize("has_table", [False, True])
def test_what_changed_since_a_run_was_cut_off_is_done_again(tmp_path, change, has_table):
    source, out = write_source(tmp_path / "in", has_table), tmp_path / "out"
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Cut):
        cut_off(patch, "convert_task", 2)
        prepare(source, out, workers=1, quiet=True)
    if change == "source":
        write_midi(some_groove(99, bars=2), source / "003.mid")
    elif change == "npz":
        path = next((out / "train").glob("*.npz"), out / ".prepare" / "0000000.loose")
        path.write_bytes(path.read_bytes()[:-300])
    else:
        (out / ".prepare" / f"0000001.{change}").unlink()
    prepare(source, out, workers=1, quiet=True)
    prepare(source, tmp_path / "whole", workers=1, quiet=True)
    assert contents(out) == contents(tmp_path / "whole")


@pytest.mark.parametrize("has_table", [False, True])
def test_nothing_of_an_unfinished_run_with_other_settings_or_files_is_left(tmp_path, has_table):
    source, out = write_source(tmp_path / "in", has_table), tmp_path / "out"
    for options in ({"kit": "gm"}, {"seed": 5}):
        with pytest.MonkeyPatch.context() as patch, pytest.raises(Cut):
            cut_off(patch, "convert_task", 1)
            prepare(source, out, workers=1, quiet=True, **options)
        for path in sorted(source.glob("*.mid"))[:20]:
            path.unlink()
    prepare(source, out, workers=1, quiet=True)
    prepare(source, tmp_path / "whole", workers=1, quiet=True)
    assert contents(out) == contents(tmp_path / "whole")


def test_files_that_came_since_a_run_was_cut_off_leave_the_others_as_they_are(tmp_path):
    source, out = write_source(tmp_path / "in", has_table=True), tmp_path / "out"
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Cut):
        cut_off(patch, "convert_task", 2)
        prepare(source, out, workers=1, quiet=True)
    kept = {
        path: path.stat().st_mtime_ns for path in out.glob("*/[!.]*.npz") if int(path.stem) < 2 * MIN_FILES_PER_TASK
    }
    write_midi(some_groove(99), source / "000a.mid")
    with (source / "info.csv").open("a") as table:
        table.write("d,x,90,beat,4-4,000a.mid,train\n")
    prepare(source, out, workers=1, quiet=True)
    assert (out / "train" / "000a.npz").exists()
    assert kept.items() <= {path: path.stat().st_mtime_ns for path in out.glob("*/*.npz")}.items()


def test_parts_of_files_that_a_killed_process_left_are_removed(tmp_path):
    source = write_source(tmp_path / "in", has_table=True)
    (tmp_path / "out" / "train").mkdir(parents=True)
    (tmp_path / "out" / "train" / ".007.npz.123").write_bytes(b"PK")
    prepare(source, tmp_path / "out", quiet=True)
    assert not list((tmp_path / "out").rglob(".*"))


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_workers_end_with_their_parent_and_the_run_can_go_on(tmp_path):
    source = write_source(tmp_path / "in", has_table=False)
    code = (
        "import sys, time, os\nfrom hypermeter.learn.prepare import run, prepare\n"
        "def wait(task):\n    open(sys.argv[2] + f'.{os.getpid()}', 'w').close()\n    time.sleep(600)\n"
        "run.convert_task = wait\nprepare(sys.argv[1], sys.argv[2], workers=2, quiet=True)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, str(source), str(tmp_path / "out")])
    deadline = time.monotonic() + 60
    while len(workers := [int(path.suffix[1:]) for path in tmp_path.glob("out.*")]) < 2:
        assert time.monotonic() < deadline and parent.poll() is None
        time.sleep(0.05)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    while any(is_running(worker) for worker in workers):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    prepare(source, tmp_path / "out", workers=2, quiet=True)
    prepare(source, tmp_path / "whole", workers=1, quiet=True)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def is_running(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{process}/stat")
    return not status.exists() or status.read_text().rpartition(")")[2].split()[0] != "Z"


def test_a_manifest_in_another_form_is_read_too(tmp_path):
    source, out = write_source(tmp_path / "in", has_table=True), tmp_path / "out"
    manifest = prepare(source, out, quiet=True)
    times = {path: path.stat().st_mtime_ns for path in out.rglob("*.npz")}
    for indent in (None, 2):
        (out / "manifest.json").write_text(json.dumps(dict(manifest), indent=indent))
        assert prepare(source, out, quiet=True) == manifest
    assert times == {path: path.stat().st_mtime_ns for path in out.rglob("*.npz")}


def test_files_that_no_table_lists_move_when_their_split_changes(tmp_path):
    source, out = write_source(tmp_path / "in", has_table=False), tmp_path / "out"
    prepare(source, out, quiet=True)
    prepare(source, out, quiet=True, seed=4)
    prepare(source, tmp_path / "whole", quiet=True, seed=4)
    assert contents(out) == contents(tmp_path / "whole")
