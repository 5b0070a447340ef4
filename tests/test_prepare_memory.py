"""The memory of `prepare` does not grow with the number of files."""

import tracemalloc

import pytest

from hypermeter.io import sorting
from hypermeter.io.midi import write_midi
from hypermeter.learn.prepare import manifest as manifest_module
from hypermeter.learn.prepare import plan, prepare
from test_prepare import HEADER, some_groove

FEW, MANY = 200, 1000
MAX_BYTES_PER_FILE = 150
"""More than the parent holds for a file (some 40 bytes); a record alone takes thousands."""


def write_source(folder, count, has_table):
    for number in range(count):  # Every third is a near-duplicate of another.
        write_midi(
            some_groove(number - (number % 3 == 2), bars=1, tempo_bpm=80 + number % 50), folder / f"{number}.mid"
        )
    if has_table:
        rows = (f"d,x,90,beat,4-4,{number}.mid,{('train', 'test')[number % 2]}\n" for number in range(count))
        (folder / "info.csv").write_text(HEADER + "".join(rows))
    return folder


def peak_bytes(source, out):
    """The most memory of a run in this process, beyond what is there before."""
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    prepare(source, out, workers=1, quiet=True)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak - before


@pytest.mark.parametrize("has_table", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_memory_does_not_grow_with_the_number_of_files(tmp_path, monkeypatch, has_table):
    # All that is bounded is bounded low, so that a corpus of this size reaches the bounds.
    monkeypatch.setattr(sorting, "PAIRS_PER_RUN", 2**9)
    monkeypatch.setattr(sorting, "CHARACTERS_PER_RUN", 2**16)
    monkeypatch.setattr(plan, "MAX_FILES_PER_TASK", 32)
    monkeypatch.setattr(manifest_module, "MAX_BYTES_AT_ONCE", 0)
    few, many = (write_source(tmp_path / f"in{count}", count, has_table) for count in (FEW, MANY))
    prepare(many, tmp_path / "warm", workers=1, quiet=True)  # Modules and caches are there afterwards.
    growth = peak_bytes(many, tmp_path / "many") - peak_bytes(few, tmp_path / "few")
    assert growth < (MANY - FEW) * MAX_BYTES_PER_FILE


def test_a_large_manifest_is_read_a_record_at_a_time(tmp_path, monkeypatch):
    source = write_source(tmp_path / "in", 40, has_table=False)
    (source / "bad.mid").write_bytes(b"")
    held = prepare(source, tmp_path / "out", quiet=True)
    monkeypatch.setattr(manifest_module, "MAX_BYTES_AT_ONCE", 0)
    read = manifest_module.Manifest(tmp_path / "out" / "manifest.json")
    assert read == held and list(read) == list(held) and read["near_duplicates"]
    for name in manifest_module.LISTS:
        assert list(read.items_of(name)) == list(held.items_of(name)) == held[name]
    assert read._fields["files"] is None and "000.mid" not in repr(read)
