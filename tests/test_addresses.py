"""Object stores: addresses, the folder that prepare writes, sources. The store is moto's server, on this machine."""

import json
import shutil
from pathlib import Path
from urllib.request import Request, urlopen

import fsspec
import pytest

from hypermeter import HypermeterError
from hypermeter.cli import main
from hypermeter.core.addresses import as_address, as_path, is_address, open_address
from hypermeter.learn.prepare import prepare
from midi_folders import write_folder

pytest.importorskip("s3fs", reason="needs s3fs: pip install 'hypermeter[cloud]'")
moto_server = pytest.importorskip("moto.server", reason="needs moto, flask and flask-cors")


@pytest.fixture(scope="module")
def store():
    """Yield the address of a bucket on an S3 server of this machine."""
    import logging

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    urlopen(Request(f"http://{host}:{port}/moto-api/reset", method="POST")).close()  # of an earlier server here
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_DEFAULT_REGION": "us-east-1",
        }.items():
            patch.setenv(name, value)
        files, place = open_address("s3://bucket")
        files.mkdir(place)
        yield "s3://bucket"
        files.clear_instance_cache()
    server.stop()


@pytest.fixture(scope="module")
def midi(tmp_path_factory) -> Path:
    """Return a folder of 71 MIDI files: one empty, some near-duplicates, one whose name is a pattern of another's."""
    folder = write_folder(tmp_path_factory.mktemp("midi"), 70)
    shutil.copy(folder / "0.mid", folder / "[1].mid")
    return folder


def put(folder: Path, address: str) -> None:
    files, place = open_address(address)
    files.put(f"{folder}/", place, recursive=True)


def content_of(folder: Path | str) -> dict[str, bytes]:
    """Return the files of a folder or address by name; of the manifest all but the source."""
    if is_address(folder):
        files, place = open_address(str(folder))
        found = {path.removeprefix(f"{place}/"): files.cat_file(path) for path in files.find(place)}
    else:
        found = {str(path.relative_to(folder)): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}
    found["manifest.json"] = json.dumps({**json.loads(found["manifest.json"]), "source": ""}).encode()
    return found


def test_addresses_are_told_from_paths():
    assert as_address(Path("s3://bucket/a/")) == as_address("s3://bucket/a") == "s3://bucket/a"
    assert as_address("gs://b/c d#1") == "gs://b/c d#1"
    assert as_address("C:/music") is as_address("/tmp/a:/b") is as_address("npz") is None
    assert as_path("npz") == Path("npz")


def test_unknown_kinds_and_missing_packages_are_one_line():
    with pytest.raises(HypermeterError, match="xyz://a: .*expected a path, or s3://bucket/folder"):
        open_address("xyz://a")
    with pytest.raises(HypermeterError, match="az://a/b needs adlfs; pip install adlfs"):
        open_address("az://a/b")


@pytest.mark.slow
@pytest.mark.parametrize("packed", [False, True], ids=["npz", "shards"])
def test_prepare_from_and_to_a_store_writes_the_files_that_it_writes_on_the_disk(store, midi, tmp_path, packed):
    put(midi, f"{store}/midi")
    prepare(midi, tmp_path / "out", packed=packed, quiet=True, workers=1)
    manifest = prepare(Path(f"{store}/midi"), Path(f"{store}/{packed}"), packed=packed, quiet=True, workers=1)
    assert content_of(f"{store}/{packed}") == content_of(tmp_path / "out")
    assert [record["source"] for record in manifest["rejects"]] == ["empty.mid"]
    assert len(manifest["files"]) == 70


@pytest.mark.slow
def test_prepare_reads_a_zip_and_a_single_file_in_a_store(store, midi, tmp_path):
    shutil.make_archive(str(tmp_path / "up" / "midi"), "zip", midi)
    shutil.copy(midi / "0.mid", tmp_path / "up" / "one.mid")
    put(tmp_path / "up", f"{store}/up")
    prepare(f"{store}/up/midi.zip", tmp_path / "of_store", quiet=True, workers=1)
    prepare(tmp_path / "up" / "midi.zip", tmp_path / "of_disk", quiet=True, workers=1)
    assert content_of(tmp_path / "of_store") == content_of(tmp_path / "of_disk")
    assert len(prepare(f"{store}/up/one.mid", tmp_path / "one", quiet=True)["files"]) == 1


@pytest.mark.slow
def test_prepare_to_a_store_again_removes_what_is_no_longer_there(store, midi, tmp_path):
    shutil.copytree(midi, tmp_path / "midi")
    prepare(tmp_path / "midi", f"{store}/again", quiet=True, workers=1)
    before = content_of(f"{store}/again")
    (tmp_path / "midi" / "0.mid").unlink()
    prepare(tmp_path / "midi", f"{store}/again", quiet=True, workers=1)
    prepare(tmp_path / "midi", tmp_path / "fresh", quiet=True, workers=1)
    assert content_of(f"{store}/again") == content_of(tmp_path / "fresh")
    assert any(name.endswith("/0.npz") for name in before)


@pytest.mark.slow
def test_a_missing_bucket_and_a_missing_source_are_one_line(store, midi, tmp_path):
    with pytest.raises(HypermeterError, match=r"s3://nowhere/.*: cannot be written \(.*check address, bucket"):
        prepare(midi, "s3://nowhere/out", quiet=True)
    with pytest.raises(HypermeterError, match="s3://bucket/nothing: not there; expected a folder"):
        prepare(f"{store}/nothing", tmp_path / "out", quiet=True)


@pytest.mark.slow
def test_shards_in_a_store_are_read_in_place(store, midi, tmp_path):
    from hypermeter.io.performances import read_folder

    prepare(midi, f"{store}/packed", packed=True, quiet=True, workers=1)
    prepare(midi, tmp_path / "npz", quiet=True, workers=1)
    of_store, of_disk = read_folder(f"{store}/packed/train"), read_folder(tmp_path / "npz" / "train")
    assert [file.name for file in of_store[0]] == [file.name for file in of_disk[0]]
    assert all((stored == loose).all() for stored, loose in zip(of_store[1], of_disk[1]))


@pytest.mark.slow
def test_evaluate_reads_shards_in_a_store_as_on_the_disk(store, midi, tmp_path):
    pytest.importorskip("torch", reason="needs PyTorch: pip install 'hypermeter[train]'")
    from hypermeter.learn.evaluate.command import evaluate_command

    for number, out in enumerate((f"{store}/evaluated", tmp_path / "evaluated")):
        prepare(midi, out, packed=True, quiet=True, workers=1)
        folder = Path(f"{out}/validation")
        evaluate_command("groove", folder, out=tmp_path / str(number), pieces=2, bars=4, long_bars=0)
    assert (tmp_path / "0.json").read_text() == (tmp_path / "1.json").read_text()
    assert '"floors"' in (tmp_path / "0.json").read_text()


def test_a_source_or_folder_that_a_machine_does_not_reach_is_one_line(tmp_path):
    from hypermeter.learn.prepare.reading import open_source
    from hypermeter.learn.prepare.tasks import PlaceTask, place_task

    with pytest.raises(HypermeterError, match="elsewhere: not there; each machine"), open_source("elsewhere", []):
        pass
    with pytest.raises(HypermeterError, match="not the folder of this run; each machine"):
        place_task(PlaceTask(0, str(tmp_path), False, b""))


def test_a_store_that_refuses_is_one_line(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise RuntimeError("no\nkeys")  # as some stores do, with errors that are none of the system's

    memory = fsspec.filesystem("memory")
    for method in ("isfile", "isdir", "find", "ls", "cat_file", "get_file", "pipe_file"):
        monkeypatch.setattr(type(memory), method, refuse)
    (tmp_path / "midi").mkdir()
    for source, out in (("memory://there/midi", tmp_path / "out"), (tmp_path / "midi", "memory://there/out")):
        with pytest.raises(HypermeterError, match=r"memory://there/.*: cannot be \w+ \(no keys\); check address"):
            prepare(source, out, quiet=True)


@pytest.mark.parametrize("command", [["prepare", ".", "never"], ["evaluate", "groove", "never"]])
def test_an_address_without_ray_is_refused(command, capsys):
    assert main([*command, "--address", "127.0.0.1:1"]) == 2
    error = capsys.readouterr().err
    assert "127.0.0.1:1" in error and "--engine ray" in error and error.count("\n") == 1
