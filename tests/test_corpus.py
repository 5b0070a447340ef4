"""A corpus from .npz, from shards and from both: read once, in bounded memory, in the same order."""

import itertools
import json
import os
import pickle
import shutil
import subprocess
import sys
from collections import Counter

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from hypermeter.cli.pack import pack
from hypermeter.core.errors import HypermeterError
from hypermeter.core.tracks import TRACKS
from hypermeter.io.performances import performance_files, read_folder
from hypermeter.io.shards import DamagedShardError, ShardWriter
from hypermeter.learn.dataset import (
    CompleteHierarchicalDrumDataset,
    Corpus,
    EpochOrder,
    batches,
    collate,
    get_complete_rl_dataloader,
    load_ahead,
    read_meta,
)
from hypermeter.learn.evaluate import evaluate
from hypermeter.learn.rl.reward_files import style_terms
from hypermeter.learn.train import train
from hypermeter.learn.train.material import read_material, read_material_once
from hypermeter.model.hierarchical import HierarchicalDrumModel
from training import config_of, corpus, write_data

pq = pytest.importorskip("pyarrow.parquet")


def write(folder, number=40, steps=112, voices=3):
    """Performances of different lengths, with all that a data set can read, in folders."""
    random = np.random.default_rng(0)
    for index in range(number):
        length = steps - 5 * (index % 7)
        hits = (random.random((length, voices)) < 0.3).astype(np.uint8)
        path = folder / f"{'abc'[index % 3]}" / f"{index}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(
            path,
            sequence=hits,
            velocity=hits.astype(np.float32) / 2,
            offset=hits.astype(np.float32) / 4,
            track_bass=random.integers(0, 60, length).astype(np.int16),
            section=np.array(["verse", "chorus"] * 20)[: -(-length // 16)],
            meta=json.dumps({"style": f"rock/{index}", "tempo_bpm": 90.0 + index}),
        )
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """The same performances loose, packed, and one folder packed with the others loose."""
    folder = tmp_path_factory.mktemp("corpora")
    loose = write(folder / "loose")
    pack(loose, folder / "packed", quiet=True)
    shutil.copytree(loose, folder / "mixed")
    shutil.rmtree(folder / "mixed" / "b")
    pack(loose / "b", folder / "mixed" / "b", quiet=True)
    return [loose, folder / "packed", folder / "mixed"]


OPTIONS = {"tracks": [TRACKS["bass"]], "with_expression": True}


def dataset_of(folder, held_bytes=None, **options):
    found = Corpus(folder, **OPTIONS, with_sections=True, held_bytes=held_bytes)
    assert found.is_held is (held_bytes is None)
    options = {"seq_len": 64, "augment": True, "with_metrics": False, **options}
    return CompleteHierarchicalDrumDataset(found, labels=found.labels(), **OPTIONS, **options)


def equal(one, other) -> bool:
    torch.testing.assert_close(one, other, equal_nan=True, rtol=0, atol=0)
    return True


@pytest.mark.parametrize("held_bytes", [None, 0])
def test_batches_are_the_same_from_npz_from_shards_and_from_both(folders, held_bytes):
    loose, *others = (list(itertools.islice(batches(dataset_of(folder, held_bytes), 8), 30)) for folder in folders)
    assert all(equal(loose, other) for other in others)


def test_windows_are_the_same_whether_the_corpus_is_held_or_not(folders):
    for folder in folders:
        held, read = dataset_of(folder), dataset_of(folder, held_bytes=0)
        np.testing.assert_array_equal(held.windows, read.windows)
        assert equal([*held], [*read])
        np.testing.assert_array_equal(held.distinct_steps(), np.unique(read.packed, axis=0))
        assert held.labels == read.labels


def test_files_come_in_the_order_of_their_paths(folders):
    names = [[file.relative_to(folder).as_posix() for file in performance_files(folder)] for folder in folders]
    assert names[0] == [path.relative_to(folders[0]).as_posix() for path in sorted(folders[0].rglob("*.npz"))]
    assert names[0] == names[1] == names[2]
    (files, hits), *others = map(read_folder, folders)
    for other_files, other_hits in others:
        assert [read_meta(file) for file in other_files] == [read_meta(file) for file in files]
        assert all(np.array_equal(*pair) for pair in zip(hits, other_hits))


def test_a_performance_in_two_places_is_refused(tmp_path, folders):
    shutil.copytree(folders[2], tmp_path / "twice")
    shutil.copy(folders[0] / "b" / "1.npz", tmp_path / "twice" / "b")
    with pytest.raises(HypermeterError, match=r"twice: b/1\.npz is in a \.npz and in .*00000\.parquet; remove one"):
        Corpus(tmp_path / "twice")


# Damage.


def damage(path, where):
    content = bytearray(path.read_bytes())
    metadata = pq.read_metadata(path)
    column = metadata.row_group(0).column(metadata.schema.names.index("sequence"))
    content[-20 if where == "footer" else column.data_page_offset + column.total_compressed_size // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("place", ["footer", "page"])
def test_a_damaged_shard_among_others_is_left_out_with_its_name(tmp_path, folders, place):
    for name in "abc":
        pack(folders[0] / name, tmp_path / name, quiet=True)
    damage(tmp_path / "b" / "00000.parquet", place)
    with pytest.warns(UserWarning, match=r"left out .*b/00000\.parquet: damaged or no shard"):
        found = Corpus(tmp_path)
    assert {file.relative_to(tmp_path).parts[0] for file in found.files} == {"a", "c"}
    assert len(found) == len(list(folders[0].glob("[ac]/*")))


@pytest.mark.parametrize("place", ["footer", "page"])
def test_a_damaged_shard_alone_is_an_error(tmp_path, folders, place):
    pack(folders[0] / "a", tmp_path, quiet=True)
    damage(tmp_path / "00000.parquet", place)
    with pytest.raises(DamagedShardError, match=r"00000\.parquet: damaged or no shard of performances .*; pack or"):
        Corpus(tmp_path)


# Read once.


def test_each_file_is_opened_once_when_a_run_begins(tmp_path, monkeypatch):
    data, opened = write_data(tmp_path), Counter()

    def counting(path, *arguments):
        opened[path] += 1
        return open(path, *arguments)

    monkeypatch.setattr("hypermeter.io.npz.open", counting, raising=False)
    material = read_material(config_of(data, tmp_path / "run", use_plan=True))
    material.fingerprint()
    next(batches(material.dataset, 4))
    assert opened == dict.fromkeys(data.rglob("*.npz"), 1)


class OneOfTwo:
    """A Fabric of two processes: what the first sends, the second receives."""

    sent: list = []

    def __init__(self, rank: int) -> None:
        self.is_global_zero = rank == 0

    def broadcast(self, value):
        if self.is_global_zero:
            self.sent.append(pickle.dumps(value))
        return pickle.loads(self.sent.pop() if not self.is_global_zero else self.sent[-1])


@pytest.mark.parametrize("held_bytes", [1 << 20, 0])
def test_several_processes_read_the_corpus_once(tmp_path, folders, monkeypatch, held_bytes):
    monkeypatch.setattr("hypermeter.learn.dataset.corpus.HELD_BYTES", held_bytes)
    config = config_of(folders[1], tmp_path)
    first = read_material_once(OneOfTwo(0), config)
    monkeypatch.setattr("hypermeter.learn.dataset.corpus.Corpus.__init__", None)
    second = read_material_once(OneOfTwo(1), config)
    assert equal([*first.dataset], [*second.dataset])
    assert first.fingerprint() == second.fingerprint()


def test_an_error_in_reading_is_raised_in_all_processes(tmp_path):
    for rank in range(2):
        with pytest.raises(HypermeterError, match="nowhere: no such folder"):
            read_material_once(OneOfTwo(rank), config_of(tmp_path / "nowhere", tmp_path / "run"))


@pytest.mark.slow
def test_workers_share_a_corpus_that_is_not_held(folders):
    dataset = dataset_of(folders[1], held_bytes=0)
    alone = [batch["step"] for batch in DataLoader(dataset, 8, collate_fn=collate)]
    for way in ("fork", "spawn"):
        loader = DataLoader(dataset, 8, collate_fn=collate, num_workers=2, multiprocessing_context=way)
        assert equal(alone, [batch["step"] for batch in loader])


READS_A_LARGE_CORPUS = """
import re, sys
from pathlib import Path
from hypermeter.learn.dataset import CompleteHierarchicalDrumDataset, EpochOrder, collate, corpus, loader
import pyarrow.parquet
folder, held, cache = sys.argv[1], *map(int, sys.argv[2:])
corpus.HELD_BYTES, loader.BLOCK_BYTES = held, cache // 4
from hypermeter.learn.dataset import windows
corpus.CACHE_BYTES = windows.CACHE_BYTES = cache
peak = lambda: int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024
before = peak()
dataset = CompleteHierarchicalDrumDataset(folder, with_metrics=False, hop=512)
order = EpochOrder(dataset, 16)
total = sum(len(dataset.__getitems__(order.batch(number).tolist())) for number in range(order.num_batches))
print(peak() - before, total, sum(len(dataset.performance(file).hits) for file in range(len(dataset.files))))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
def test_memory_stays_below_a_bound_that_the_corpus_exceeds(tmp_path):
    random, number, steps, voices = np.random.default_rng(0), 256, 8192, 64  # 134 MB
    for shard in range(4):
        with ShardWriter(tmp_path / "packed" / f"{shard}.parquet") as writer:
            for index in range(number // 4):
                hits = random.integers(0, 2, (steps, voices), np.uint8)
                writer.add(f"{shard}-{index:02}.npz", {"sequence": hits})
                (tmp_path / "loose").mkdir(exist_ok=True)
                np.savez(tmp_path / "loose" / f"{shard}-{index:02}.npz", sequence=hits)
    grown = {}
    for folder, held, cache in (("packed", 0, 16), ("loose", 0, 16), ("packed", 1024, 16)):
        arguments = [str(tmp_path / folder), str(held << 20), str(cache << 20)]
        result = subprocess.run(
            [sys.executable, "-c", READS_A_LARGE_CORPUS, *arguments], capture_output=True, text=True, env=os.environ
        )
        assert result.returncode == 0, result.stderr
        grown[folder, held], windows, total = map(float, result.stdout.split())
        assert (windows, total) == (number * 16, number * steps)
    assert grown["packed", 1024] > 134  # held: the corpus does exceed the bound
    assert max(grown["packed", 0], grown["loose", 0]) < 100


def test_a_corpus_is_held_up_to_the_stated_bytes(folders):
    sizes = [1024 + array.size for array in read_folder(folders[0])[1]]
    for folder in folders:
        assert Corpus(folder, held_bytes=sum(sizes)).is_held
        assert not Corpus(folder, held_bytes=sum(sizes) - 1).is_held


# Orders.


@pytest.mark.parametrize("processes", [1, 2, 3])
@pytest.mark.parametrize("held_bytes", [None, 0])
def test_an_epoch_has_every_window_once(folders, monkeypatch, held_bytes, processes):
    monkeypatch.setattr("hypermeter.learn.dataset.loader.BLOCK_BYTES", 60_000)
    dataset = dataset_of(folders[1], held_bytes)
    orders = [EpochOrder(dataset, processes, 1, 2, rank, processes) for rank in range(processes)]
    found = [order.batch(number).tolist() for number in range(orders[0].num_batches) for order in orders]
    counts = Counter(itertools.chain(*found))
    assert set(counts.values()) == {1}
    assert len(dataset) - len(counts) < processes
    assert [*counts] != sorted(counts)
    other = EpochOrder(dataset, 1, 1, 3)
    assert [other.batch(number).item() for number in range(len(dataset))] != [*counts]


def test_each_group_of_a_corpus_that_is_not_held_is_read_once_an_epoch(folders, monkeypatch):
    monkeypatch.setattr("hypermeter.learn.dataset.loader.BLOCK_BYTES", 60_000)
    dataset, read = dataset_of(folders[1], held_bytes=0), Counter()
    original = Corpus._read_group

    def counting(self, group):
        read[group] += 1
        return original(self, group)

    monkeypatch.setattr(Corpus, "_read_group", counting)
    dataset.corpus._cache.max_bytes = dataset._cache.max_bytes = 240_000
    order = EpochOrder(dataset, 1)
    for number in range(len(dataset)):
        dataset.__getitems__(order.batch(number).tolist())
    assert read == dict.fromkeys(range(-(-len(dataset.corpus) // 16)), 1)


def test_the_loader_of_a_corpus_that_is_not_held_has_another_order_each_epoch(folders, monkeypatch):
    monkeypatch.setattr("hypermeter.learn.dataset.corpus.HELD_BYTES", 0)

    def epochs(seed: int) -> list[torch.Tensor]:
        loader = get_complete_rl_dataloader(folders[1], 16, batch_size=8, with_metrics=False, seed=seed)
        return [torch.cat([batch["step"].flatten(1) for batch in loader]) for _ in range(2)]

    (one, second), again, other = epochs(1), epochs(1), epochs(2)
    assert equal([one, second], again)
    assert not torch.equal(one, second) and not torch.equal(one, other[0])
    assert sorted(one.tolist()) == sorted(second.tolist())


@pytest.mark.parametrize("held_bytes", [None, 0])
def test_batches_continue_from_any_update(folders, held_bytes):
    dataset, again = dataset_of(folders[1], held_bytes), dataset_of(folders[1], held_bytes)
    per_epoch = len(dataset) // 8
    for rank in range(2):
        whole = list(itertools.islice(batches(dataset, 8, 5, 0, rank, 2), per_epoch + 3))
        for first in (1, per_epoch - 1, per_epoch + 1):
            part = list(itertools.islice(batches(again, 8, 5, first, rank, 2), 2))
            assert equal(part, whole[first : first + 2])


def test_batches_are_loaded_ahead_in_their_order_and_errors_arrive():
    def numbers():
        yield from range(10)
        raise ZeroDivisionError

    loaded = load_ahead(numbers())
    assert list(itertools.islice(loaded, 10)) == list(range(10))
    with pytest.raises(ZeroDivisionError):
        next(loaded)
    assert list(load_ahead(iter(range(3)))) == [0, 1, 2]
    endless = load_ahead(itertools.count())
    assert next(endless) == 0
    endless.close()


# Runs.


def weights(folder) -> bytes:
    return (folder / "last.safetensors").read_bytes()


def test_a_run_on_shards_is_the_run_on_npz_and_continues_it(tmp_path):
    (tmp_path / "npz").mkdir()
    data = write_data(tmp_path / "npz")
    pack(data, tmp_path / "shards", quiet=True)
    train(config_of(data, tmp_path / "one"))
    train(config_of(tmp_path / "shards", tmp_path / "two"))
    assert weights(tmp_path / "one") == weights(tmp_path / "two")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hypermeter.learn.train.run._Run._any_is_stopping", lambda run, _: run.update == 4)
        with pytest.raises(KeyboardInterrupt):
            train(config_of(data, tmp_path / "three"))
    train(config_of(tmp_path / "shards", tmp_path / "three"))
    assert weights(tmp_path / "one") == weights(tmp_path / "three")


@pytest.mark.parametrize("output", ["mixture", "softmax"])
def test_a_run_on_a_corpus_that_is_not_held_is_the_same_from_both_forms(tmp_path, monkeypatch, output):
    (tmp_path / "npz").mkdir()
    data = write_data(tmp_path / "npz")
    pack(data, tmp_path / "shards", quiet=True)
    monkeypatch.setattr("hypermeter.learn.dataset.corpus.HELD_BYTES", 0)
    options = {"output": output, "use_plan": True}
    for name, folder in (("one", data), ("two", tmp_path / "shards")):
        train(config_of(folder, tmp_path / name, **options))
    assert weights(tmp_path / "one") == weights(tmp_path / "two")


def test_models_and_styles_are_measured_on_shards_as_on_npz(tmp_path):
    data, model = corpus(tmp_path / "npz"), HierarchicalDrumModel(3, 8, 8, 8, num_components=2).eval()
    pack(data, tmp_path / "shards", quiet=True)
    for measured in (
        lambda folder: evaluate(model, folder / "validation", pieces=0),
        lambda folder: style_terms(folder / "train", model.grid),
    ):
        assert str(measured(data)) == str(measured(tmp_path / "shards"))


def test_corpora_at_addresses_are_read_in_place(tmp_path):
    folder = corpus(tmp_path / "npz", voices=3)
    for split in ("train", "validation"):
        with ShardWriter(f"memory://corpora/first/{split}/0.parquet") as writer:
            for path in (folder / split).glob("*.npz"):
                with np.load(path) as arrays:
                    writer.add(path.name, {"sequence": arrays["sequence"]}, str(arrays["meta"]))
    there, here = Corpus("memory://corpora/first"), Corpus(folder)
    assert [file.below for file in there.files] == ["0.npz", "0.npz"]
    assert there.digest == here.digest
    config = config_of(folder, tmp_path / "run")
    material = read_material(config.replace(npz_dir=type(folder)("memory://corpora/first")))
    assert material.fingerprint() == read_material(config).fingerprint()
    with pytest.raises(HypermeterError, match=r"memory://corpora/second: no \.npz in it or below, nor a shard"):
        Corpus("memory://corpora/second")
