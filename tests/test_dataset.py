"""Windows, batches, files written by others, and the errors."""

import io
import json
import zipfile

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, DistributedSampler

from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.core.kit import Kit, Voice, load_kit
from hypermeter.learn.dataset import (
    CompleteHierarchicalDrumDataset,
    collate,
    get_complete_rl_dataloader,
    read_kit_and_grid,
    read_meta,
    read_sequence,
    read_shared_kit_and_grid,
)


def random_hits(steps: int, voices: int = 3, seed: int = 0) -> np.ndarray:
    return (np.random.default_rng(seed).random((steps, voices)) < 0.3).astype(np.uint8)


def save(folder, name: str = "a.npz", sequence=None, **others):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, sequence=random_hits(100) if sequence is None else sequence, **others)
    return path


def equal(one, other) -> bool:
    """Equal items, metrics and NaN included."""
    torch.testing.assert_close(one, other, equal_nan=True, rtol=0, atol=0)
    return True


def test_an_item_has_steps_their_bar_and_phrase_means_and_metrics(tmp_path):
    hits = random_hits(64)
    save(tmp_path, sequence=hits)
    (item,) = CompleteHierarchicalDrumDataset(tmp_path)
    assert item["step"].dtype == item["bar"].dtype == item["phrase"].dtype == torch.float32
    np.testing.assert_array_equal(item["step"], hits)
    np.testing.assert_allclose(item["bar"], hits.reshape(4, 16, 3).mean(1), rtol=1e-6)
    np.testing.assert_allclose(item["phrase"], hits.mean(0, keepdims=True), rtol=1e-6)
    assert set(item["metrics"]) == {"step", "bar", "phrase", "section", "song"}
    assert item["metrics"]["bar"]["avg_hits"].shape == (4,)


def test_windows_start_on_bar_lines_and_the_last_covers_the_end(tmp_path):
    hits = random_hits(71)
    save(tmp_path, sequence=hits)
    dataset = CompleteHierarchicalDrumDataset(tmp_path, seq_len=32)
    starts = [0, 16, 32, 48]
    assert len(dataset) == len(starts)
    for item, start in zip(dataset, starts):
        np.testing.assert_array_equal(item["step"], hits[start : start + 32])
    assert len(item["step"]) == 23
    np.testing.assert_allclose(item["bar"][-1], hits[64:].mean(0), rtol=1e-6)  # a mean over 7 steps


@pytest.mark.parametrize(("steps", "hop", "starts"), [(96, 32, [0, 32, 64]), (112, 32, [0, 32, 64, 80]), (32, 16, [0])])
def test_hop_is_the_distance_of_windows(tmp_path, steps, hop, starts):
    save(tmp_path, sequence=random_hits(steps))
    dataset = CompleteHierarchicalDrumDataset(tmp_path, seq_len=32, hop=hop)
    assert dataset.windows[:, 1].tolist() == starts


@pytest.mark.parametrize("steps", [1, 5, 16, 20])
def test_a_short_file_is_one_item_of_its_own_length(tmp_path, steps):
    save(tmp_path, sequence=random_hits(steps))
    (item,) = CompleteHierarchicalDrumDataset(tmp_path)
    assert len(item["step"]) == steps
    assert len(item["bar"]) == -(-steps // 16)
    assert len(item["phrase"]) == 1


def test_subfolders_are_read_in_sorted_order_and_no_window_crosses_files(tmp_path):
    save(tmp_path, "b.npz", np.zeros((16, 2)))
    save(tmp_path, "a/deep/z.npz", np.ones((20, 2)))
    dataset = CompleteHierarchicalDrumDataset(tmp_path, seq_len=16)
    assert [path.name for path in dataset.files] == ["z.npz", "b.npz"]
    assert [item["step"].mean().item() for item in dataset] == [1, 1, 0]


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64, np.int64, bool])
def test_files_of_others_need_nothing_but_a_sequence(tmp_path, dtype):
    hits = random_hits(1000, 23)
    save(tmp_path, sequence=hits.astype(dtype))
    dataset = CompleteHierarchicalDrumDataset(tmp_path)
    np.testing.assert_array_equal(dataset[0]["step"], hits[:512])


def test_other_keys_are_not_read(tmp_path):
    save(tmp_path, meta=np.array({"an": "object"}, dtype=object), velocity=np.full((3, 3), np.nan))
    assert len(CompleteHierarchicalDrumDataset(tmp_path)) == 1


def test_empty_files_are_left_out_with_one_warning(tmp_path):
    save(tmp_path, "a.npz", np.zeros((0, 3)))
    save(tmp_path, "b.npz", np.zeros((0, 3)))
    with pytest.raises(HypermeterError, match="all 2 .npz are empty"):
        CompleteHierarchicalDrumDataset(tmp_path)
    save(tmp_path, "c.npz")
    with pytest.warns(UserWarning, match="left out 2 of 3 .npz"):
        dataset = CompleteHierarchicalDrumDataset(tmp_path)
    assert len(dataset) == 1


BAD = {
    "pickled": (np.array([[{}]], dtype=object), "Python objects"),
    "nan": (np.array([[0, np.nan]]), "NaN"),
    "rank one": (np.zeros(16), r"shape \(16,\)"),
    "rank three": (np.zeros((1, 16, 3)), r"shape \(1, 16, 3\)"),
    "no voices": (np.zeros((16, 0)), r"shape \(16, 0\)"),
    "velocities": (np.array([[0, 0.5]]), "holds 0.5, expected 0 and 1; .*velocities"),
    "midi velocities": (np.array([[0, 100]]), "holds 100, expected 0 and 1"),
    "negative": (np.array([[0, -1]]), "holds -1"),
    "text": (np.array([["0", "1"]]), "type <U1"),
    "other voices": (np.zeros((16, 4)), "4 voices, expected 3 as in .*a.npz"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_sequences_are_refused_by_file_name(tmp_path, name):
    sequence, message = BAD[name]
    save(tmp_path, "a.npz")
    save(tmp_path, "bad.npz", sequence)
    with pytest.raises(HypermeterError, match=r"bad\.npz: .*" + message):
        CompleteHierarchicalDrumDataset(tmp_path)


def npy(array) -> bytes:
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04 cut short", npy(np.zeros((4, 3)))])
def test_damaged_files_are_refused_by_name(tmp_path, content):
    (tmp_path / "bad.npz").write_bytes(content)
    with pytest.raises(HypermeterError, match=r"bad\.npz: not a readable .npz \(no zip of arrays\); write it with"):
        CompleteHierarchicalDrumDataset(tmp_path)


@pytest.mark.parametrize("damage", [50, 200, 400])
def test_bytes_changed_within_an_archive_never_end_in_a_traceback(tmp_path, damage):
    np.savez_compressed(tmp_path / "a.npz", sequence=random_hits(2000))
    content = bytearray((tmp_path / "a.npz").read_bytes())
    content[damage : damage + 20] = bytes(20)
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(HypermeterError, match=r"a\.npz: "):
        read_sequence(tmp_path / "a.npz")


def test_a_member_that_is_no_array_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("sequence", "0101")
    with pytest.raises(HypermeterError, match=r"a\.npz: no key 'sequence' \(keys: none\)"):
        read_sequence(tmp_path / "a.npz")


def test_a_truncated_archive_is_refused_by_name(tmp_path):
    path = save(tmp_path, "bad.npz")
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(HypermeterError, match=r"bad\.npz: not a readable .npz"):
        CompleteHierarchicalDrumDataset(tmp_path)


def test_folders_without_sequences_are_refused(tmp_path):
    with pytest.raises(HypermeterError, match="nowhere: no such folder"):
        CompleteHierarchicalDrumDataset(tmp_path / "nowhere")
    with pytest.raises(HypermeterError, match="no .npz in it"):
        CompleteHierarchicalDrumDataset(tmp_path)
    np.savez(tmp_path / "a.npz", notes=np.zeros(3))
    with pytest.raises(HypermeterError, match=r"a\.npz: no key 'sequence' \(keys: notes\)"):
        CompleteHierarchicalDrumDataset(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"hop": 10}, "hop is 10"),
        ({"hop": 0}, "hop is 0"),
        ({"seq_len": 8}, "seq_len is 8"),
        ({"sections": [(4, 4)]}, "section"),
        ({"steps_per_bar": 0}, "expected a whole number"),
    ],
)
def test_arguments_outside_their_range_are_refused(tmp_path, arguments, message):
    save(tmp_path)
    with pytest.raises(HypermeterError, match=message):
        CompleteHierarchicalDrumDataset(tmp_path, **arguments)


@pytest.mark.parametrize("steps_per_bar", [1, 2, 6, 12, 24])
def test_other_bars_work(tmp_path, steps_per_bar):
    save(tmp_path)
    item = CompleteHierarchicalDrumDataset(tmp_path, steps_per_bar=steps_per_bar, bars_per_phrase=2)[0]
    assert len(item["bar"]) == -(-100 // steps_per_bar)
    assert len(item["phrase"]) == -(-100 // (2 * steps_per_bar))


def test_metrics_follow_sections_and_threshold_or_are_left_out(tmp_path):
    save(tmp_path, sequence=np.eye(1, 16).T.repeat(2, 1) + np.eye(1, 16, 6).T.repeat(2, 1))  # hits 6 steps apart
    (item,) = CompleteHierarchicalDrumDataset(tmp_path, sections=[(0, 4), (6, 8)], fast_threshold=6)
    assert [section["avg_hits"].item() for section in item["metrics"]["section"]] == [0.5, 1]
    assert item["metrics"]["step"]["fast_patterns"].tolist() == [1, 1]
    (item,) = CompleteHierarchicalDrumDataset(tmp_path, with_metrics=False)
    assert not any(item["metrics"].values())


def test_batches_pad_to_the_longest_with_masks_and_a_list_of_metrics(tmp_path):
    save(tmp_path, "a.npz", np.ones((70, 3)))
    save(tmp_path, "b.npz", np.ones((20, 3)))
    (batch,) = get_complete_rl_dataloader(tmp_path, shuffle=False)
    assert batch["step"].shape == (2, 70, 3)
    assert batch["bar"].shape == (2, 5, 3)
    assert batch["phrase"].shape == (2, 2, 3)
    assert batch["mask"].dtype == torch.bool
    assert batch["mask"].sum(1).tolist() == [70, 20]
    assert batch["bar_mask"].tolist() == [[True] * 5, [True] * 2 + [False] * 3]
    assert batch["phrase_mask"].tolist() == [[True, True], [True, False]]
    assert torch.equal(batch["step"][..., 0] == 1, batch["mask"])
    assert [metrics["song"]["avg_hits"].item() for metrics in batch["metrics"]] == [3, 3]


def test_the_loader_gives_the_same_order_for_the_same_seed_and_another_each_epoch(tmp_path):
    save(tmp_path, sequence=random_hits(1600))

    def epochs(seed: int) -> list[torch.Tensor]:
        loader = get_complete_rl_dataloader(tmp_path, 16, batch_size=4, with_metrics=False, seed=seed)
        return [torch.cat([batch["step"] for batch in loader]) for _ in range(2)]

    one, again, other = epochs(1), epochs(1), epochs(2)
    assert equal(one, again)
    assert not torch.equal(one[0], one[1])
    assert not torch.equal(one[0], other[0])


@pytest.mark.slow
@pytest.mark.parametrize("way", ["spawn", "fork"])
def test_workers_give_what_the_process_itself_gives(tmp_path, way):
    save(tmp_path, sequence=random_hits(200))
    arguments = {"seq_len": 64, "batch_size": 4, "shuffle": False, "augment": True}
    alone = list(get_complete_rl_dataloader(tmp_path, **arguments))
    loader = get_complete_rl_dataloader(tmp_path, **arguments, num_workers=2)
    loader.multiprocessing_context = way
    assert equal(alone, list(loader))


def test_a_distributed_sampler_shares_out_all_windows(tmp_path):
    marks = np.zeros((40 * 16, 6), np.uint8)
    marks[::16] = (np.arange(40)[:, None] >> np.arange(6)) & 1  # bar number in binary
    save(tmp_path, sequence=marks)
    dataset = CompleteHierarchicalDrumDataset(tmp_path, seq_len=16, with_metrics=False)
    seen = []
    for rank in range(2):
        sampler = DistributedSampler(dataset, num_replicas=2, rank=rank)
        for batch in DataLoader(dataset, 8, sampler=sampler, collate_fn=collate):
            seen += (batch["step"][:, 0].long() << torch.arange(6)).sum(-1).tolist()
    assert sorted(seen) == list(range(40))


def test_augmentation_is_determined_by_seed_epoch_and_index(tmp_path):
    save(tmp_path, sequence=random_hits(640))
    one, same, other = (
        CompleteHierarchicalDrumDataset(tmp_path, 128, augment=True, with_metrics=False, seed=seed)
        for seed in (1, 1, 2)
    )
    assert equal(one[3], same[3])
    assert equal(one[3], one[3])
    assert not torch.equal(one[3]["step"], other[3]["step"])
    one.set_epoch(1)
    assert not torch.equal(one[3]["step"], same[3]["step"])
    same.set_epoch(1)
    assert equal(one[3], same[3])


def test_augmentation_keeps_bar_phase_and_only_silences(tmp_path):
    hits = random_hits(645, seed=3)  # the last bar is short
    save(tmp_path, sequence=hits)
    dataset = CompleteHierarchicalDrumDataset(tmp_path, 128, augment=True)
    bars = hits[:640].reshape(40, 16, 3)
    starts, kept, played = set(), 0, 0
    for item in dataset:
        augmented = item["step"].numpy()
        rolled = [np.concatenate([bars[start:], bars[:start]])[: len(augmented) // 16 + 1] for start in range(40)]
        fits = [
            s for s, rotation in enumerate(rolled) if (augmented <= rotation.reshape(-1, 3)[: len(augmented)]).all()
        ]
        (start,) = fits
        starts.add(start)
        kept += augmented.sum()
        played += rolled[start].reshape(-1, 3)[: len(augmented)].sum()
        torch.testing.assert_close(item["bar"][0], item["step"][:16].mean(0))
    assert len(starts) > 15
    assert 0.96 < kept / played < 0.995


@pytest.mark.parametrize("steps", [1, 7, 16, 17])
def test_augmentation_of_a_short_file_keeps_its_length(tmp_path, steps):
    save(tmp_path, sequence=np.ones((steps, 100)))
    (item,) = CompleteHierarchicalDrumDataset(tmp_path, augment=True)
    assert item["step"].shape == (steps, 100)
    assert item["step"].mean() > 0.9


# What a file says of itself.

MINE = Kit("mine", (Voice("boom", (36,), 36), Voice("tick", (42, 44), 42), Voice("clap", (39,), 39)))


def meta(**values) -> dict:
    return {"meta": np.array(json.dumps(values))}


def test_meta_is_an_object_and_nothing_where_there_is_none(tmp_path):
    assert read_meta(save(tmp_path)) == {}
    assert read_meta(save(tmp_path, **meta(kit="gm10", style="rock"))) == {"kit": "gm10", "style": "rock"}
    assert read_meta(save(tmp_path, **meta(style=None))) == {"style": None}


BAD_META = {
    "not JSON": ({"meta": np.array("kit: gm10")}, "meta is not JSON"),
    "pickled": ({"meta": np.array({"kit": "gm10"}, dtype=object)}, "Python objects"),
    "a list": ({"meta": np.array("[1, 2]")}, r"meta is \[1, 2\], expected an object in JSON"),
    "kit of a wrong type": (meta(kit=10), "kit in meta is 10, expected a kit's name or record"),
    "grid of a wrong type": (meta(grid="4/4"), "grid in meta is '4/4', expected an object"),
    "style of a wrong type": (meta(style=["rock"]), r"style in meta is \['rock'\], expected text"),
    "beat type of a wrong type": (meta(beat_type=1), "beat_type in meta is 1, expected text"),
}


@pytest.mark.parametrize("name", BAD_META)
def test_meta_that_cannot_be_read_is_refused_by_file_name(tmp_path, name):
    arrays, message = BAD_META[name]
    path = save(tmp_path, **arrays)
    with pytest.raises(HypermeterError, match=r"a\.npz: .*" + message):
        read_meta(path)


def test_a_kit_is_read_by_its_name_or_its_record(tmp_path):
    assert read_kit_and_grid(save(tmp_path, **meta(kit="gm10")))[0] == load_kit("gm10")
    assert read_kit_and_grid(save(tmp_path, **meta(kit=MINE.to_dict())))[0] == MINE


def test_a_kit_or_grid_that_is_missing_is_the_one_given_or_the_default(tmp_path):
    path = save(tmp_path, **meta(kit="magenta9"))
    assert read_kit_and_grid(path) == (load_kit("magenta9"), Grid())
    assert read_kit_and_grid(path, "gm10", Grid(3)) == (load_kit("magenta9"), Grid(3))
    assert read_kit_and_grid("not read again.npz", meta={"kit": "gm10"}) == (load_kit("gm10"), Grid())
    path = save(tmp_path, **meta(grid=Grid(3).to_dict()))
    assert read_kit_and_grid(path) == (None, Grid(3))
    assert read_kit_and_grid(path, "gm10") == (load_kit("gm10"), Grid(3))


def test_an_unknown_kit_or_a_bad_grid_in_meta_is_refused_by_file_name(tmp_path):
    for values, message in (({"kit": "none"}, "kit none: no such kit"), ({"grid": {"beats": 4}}, "unknown field")):
        with pytest.raises(HypermeterError, match=r"a\.npz: .*" + message):
            read_kit_and_grid(save(tmp_path, **meta(**values)))


def test_the_kit_and_grid_of_many_files_are_one(tmp_path):
    paths = [save(tmp_path, f"{name}.npz", **meta(kit="gm10", grid=Grid(3).to_dict())) for name in "ab"]
    paths.append(save(tmp_path, "c.npz", **meta(kit=load_kit("gm10").to_dict(), grid=Grid(3).to_dict())))
    assert read_shared_kit_and_grid(paths) == (load_kit("gm10"), Grid(3))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kit": "gm"}, "kit gm, expected kit gm10 as in .*a.npz; prepare all with one kit"),
        ({}, "no kit, expected kit gm10"),
        ({"kit": MINE.to_dict() | {"name": "gm10"}}, "kit gm10 of other voices, expected kit gm10"),
        (
            {"kit": "gm10", "grid": {"steps_per_beat": 3}},
            r"Grid\(steps_per_beat=3, .*as in .*a.npz; prepare all on one",
        ),
    ],
)
def test_a_file_of_another_kit_or_grid_is_named(tmp_path, values, message):
    paths = [save(tmp_path, "a.npz", **meta(kit="gm10")), save(tmp_path, "b.npz", **meta(**values))]
    with pytest.raises(HypermeterError, match=r"b\.npz: " + message):
        read_shared_kit_and_grid(paths)


def test_a_kit_given_is_that_of_files_that_name_none(tmp_path):
    paths = [save(tmp_path, "a.npz", **meta(kit="gm10")), save(tmp_path, "b.npz")]
    assert read_shared_kit_and_grid(paths, "gm10") == (load_kit("gm10"), Grid())


# Metres.


def save_in(path, grid, steps=48):
    hits = np.zeros((steps, 2), np.uint8)
    hits[::3] = 1
    np.savez(path, sequence=hits, meta=json.dumps({"grid": grid.to_dict()}))


def test_metres_of_one_length_of_bar_are_mixed_only_by_the_option(tmp_path):
    three, six = Grid.of_metre("3/4"), Grid.of_metre("6/8", 2)
    assert three.steps_per_bar == six.steps_per_bar == 12
    save_in(tmp_path / "a.npz", three)
    save_in(tmp_path / "b.npz", six)
    with pytest.raises(HypermeterError, match=r"b\.npz: 6/8, and .*a\.npz is 3/4; keep metres apart"):
        CompleteHierarchicalDrumDataset(tmp_path, steps_per_bar=12)
    with pytest.raises(HypermeterError, match="prepare all on one grid, or train and evaluate with --mix-metres"):
        read_shared_kit_and_grid(sorted(tmp_path.glob("*.npz")))
    mixed = CompleteHierarchicalDrumDataset(tmp_path, steps_per_bar=12, mix_metres=True)
    assert collate([mixed[0], mixed[1]])["bar"].shape == (2, 4, 2)
    assert read_shared_kit_and_grid(sorted(tmp_path.glob("*.npz")), mix_metres=True)[1] == three


def test_bars_of_different_lengths_are_never_mixed(tmp_path):
    save_in(tmp_path / "a.npz", Grid())
    save_in(tmp_path / "b.npz", Grid.of_metre("3/4"))
    with pytest.raises(HypermeterError, match=r"b\.npz: bars of 12 steps, expected 16; pass its steps_per_bar"):
        CompleteHierarchicalDrumDataset(tmp_path, mix_metres=True)
    with pytest.raises(HypermeterError, match="prepare all on one grid$"):
        read_shared_kit_and_grid(sorted(tmp_path.glob("*.npz")), mix_metres=True)
