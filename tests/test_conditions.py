"""What stands beside hits in the data set: plans as they would have been asked for, velocity and offset."""

import json
import math

import numpy as np
import pytest
import torch

from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.core.tracks import BASS
from hypermeter.learn.dataset import CompleteHierarchicalDrumDataset, collate, find_labels, read_plan, with_tracks
from hypermeter.learn.dataset.conditions import read_sections
from hypermeter.model.plan import KINDS, NUMBERS, plan_of
from hypermeter.play.plan import FILL, LETTERS

GRID = Grid()
STYLE, FILLS = KINDS.index("style"), KINDS.index("fill")


def part(seed, bars=4):
    return np.tile(np.random.default_rng(seed).random((16, 3)) < 0.3, (bars, 1)).astype(np.uint8)


SONG = np.concatenate([part(0), part(1), part(0), part(2)])


def write(folder, name="a.npz", hits=SONG, meta=None, **arrays):
    about = {"style": "rock/halftime", "tempo_bpm": 96.0, "beat_type": "beat"} if meta is None else meta
    np.savez(folder / name, sequence=hits, meta=json.dumps(about), **arrays)
    return folder / name


def windows(folder, **options):
    return CompleteHierarchicalDrumDataset(folder, 128, with_metrics=False, **options)


def test_the_vocabulary_is_what_the_files_name(tmp_path):
    write(tmp_path, "a.npz", section=np.array(["verse"] * 8 + ["chorus"] * 8))
    write(tmp_path, "b.npz", meta={"style": "jazz"}, section=np.array([""] * 16))
    write(tmp_path, "c.npz", meta={})
    labels = find_labels(sorted(tmp_path.glob("*")), [16] * 3)
    assert labels == {"section": ["chorus", "verse"], "style": ["jazz", "rock"], "fill": list(FILL)}


def test_sections_without_names_are_letters(tmp_path):
    path = write(tmp_path)
    labels = find_labels([path], [16])
    assert labels["section"] == list(LETTERS)
    plan = read_plan(path, SONG, GRID, labels)
    assert plan.labels[0, ::4, 0].tolist() == [1, 2, 1, 3]


def test_a_plan_is_what_was_played_and_what_the_file_tells(tmp_path):
    path = write(tmp_path, section=np.array(["verse"] * 8 + [""] * 8))
    plan = read_plan(path, SONG, GRID, find_labels([path], [16]))
    measured = plan_of(torch.from_numpy(SONG).float()[None], GRID)
    assert plan.labels[0, :, 0].tolist() == [1] * 8 + [0] * 8
    assert plan.labels[0, :, STYLE].tolist() == [1] * 16
    assert torch.equal(plan.labels[..., FILLS], measured.labels[..., FILLS])
    assert torch.equal(plan.numbers[..., 1:], measured.numbers[..., 1:])
    assert plan.numbers[..., NUMBERS.index("tempo_bpm")].unique().tolist() == [96]


def test_a_file_of_a_fill_is_one_and_what_is_unknown_is_open(tmp_path):
    path = write(tmp_path, hits=SONG[:32], meta={"beat_type": "fill", "style": "polka"})
    plan = read_plan(path, SONG[:32], GRID, {"section": [], "style": ["rock"], "fill": list(FILL)})
    assert plan.labels[0].tolist() == [[0, 0, 2]] * 2
    assert plan.numbers[..., 0].isnan().all()


def test_windows_have_the_plan_of_their_own_bars_lettered_anew(tmp_path):
    path = write(tmp_path)
    labels = find_labels([path], [16])
    items = windows(tmp_path, labels=labels, hop=64)
    whole = read_plan(path, SONG, GRID, labels)
    assert items[1]["plan"].labels[0, :, 0].tolist() == [1] * 4 + [2] * 4  # B A of the whole piece
    assert torch.equal(items[1]["plan"].numbers, whole.numbers[:, 4:12])
    assert whole.labels[0, ::4, 0].tolist() == [1, 2, 1, 3]


def test_a_rotated_window_takes_plan_and_expression_along(tmp_path):
    velocity = np.random.default_rng(0).random(SONG.shape).astype(np.float32)
    path = write(tmp_path, velocity=velocity, offset=velocity / 4)
    labels = find_labels([path], [16])
    whole = read_plan(path, SONG, GRID, labels)
    item = windows(tmp_path, labels=labels, with_expression=True, augment=True)[3]
    first = int(np.flatnonzero((velocity == item["velocity"][0].numpy()).all(1))[0])
    bars = (first // 16 + np.arange(8)) % 16
    assert torch.equal(item["plan"].numbers, whole.numbers[:, bars])
    assert np.array_equal(item["offset"].numpy(), np.roll(velocity / 4, -first, 0)[:128])


def test_expression_is_read_where_a_file_has_it(tmp_path):
    velocity = np.full(SONG.shape, 0.5, np.float16)
    write(tmp_path, "a.npz", velocity=velocity, offset=np.full(SONG.shape, -0.25))
    write(tmp_path, "b.npz", meta={})
    with_values, without_values = (windows(tmp_path, with_expression=True, hop=256)[index] for index in (0, 2))
    assert with_values["velocity"].unique().tolist() == [0.5] and with_values["offset"].unique().tolist() == [-0.25]
    assert with_values["tempo_bpm"] == 96 and without_values["tempo_bpm"].isnan()
    assert without_values["velocity"].isnan().all() and without_values["offset"].isnan().all()


def test_items_have_nothing_beside_by_default(tmp_path):
    write(tmp_path)
    assert set(windows(tmp_path)[0]) == {"step", "bar", "phrase", "metrics"}


def test_a_batch_pads_plans_with_what_is_open(tmp_path):
    path = write(tmp_path, "a.npz")
    write(tmp_path, "b.npz", hits=SONG[:40])
    items = windows(tmp_path, labels=find_labels([path], [16]), with_expression=True, hop=256)
    batch = collate([items[0], items[len(items) - 1]])
    assert batch["plan"].labels.shape == (2, 8, 3) and batch["plan"].numbers.shape == (2, 8, 3)
    assert not batch["plan"].labels[1, 3:].any() and batch["plan"].numbers[1, 3:].isnan().all()
    assert batch["plan"].numbers[1, :3, 1].isfinite().all()
    assert batch["velocity"].shape == batch["step"].shape and batch["tempo_bpm"].tolist() == [96, 96]


@pytest.mark.parametrize(
    ("arrays", "words"),
    [({"section": np.array(["a"] * 5)}, "expected \\(16,\\)"), ({"velocity": np.zeros((3, 3))}, "as the hits")],
)
def test_arrays_of_other_lengths_are_refused_in_one_line(arrays, words, tmp_path):
    path = write(tmp_path, **arrays)
    with pytest.raises(HypermeterError, match=words):
        windows(tmp_path, labels=find_labels([path], [16]), with_expression=True)


def test_density_is_of_bars_of_the_files_own_metre(tmp_path):
    hits = np.zeros((24, 2), np.uint8)
    hits[3] = 1  # in 6/8 on no beat of two steps, in 3/4 of four steps neither
    hits[2, 0] = 1
    grid = Grid(2, 6, beat_unit=8)
    path = write(tmp_path, hits=hits, meta={"grid": grid.to_dict()})
    plan = read_plan(path, hits, Grid(4, 3), find_labels([path], [2]))
    assert plan.numbers[0, 0, NUMBERS.index("offbeat")].item() == pytest.approx(2 / 3)
    assert math.isnan(plan.numbers[0, 1, NUMBERS.index("offbeat")])


def test_tracks_follow_the_voices_and_rest_where_a_file_has_none(tmp_path):
    codes = np.array([0, 40, 1, 1] * 16, np.int16)
    write(tmp_path, "a.npz", hits=SONG[:64], track_bass=codes)
    write(tmp_path, "b.npz", hits=SONG[64:128])
    dataset = CompleteHierarchicalDrumDataset(tmp_path, 64, tracks=[BASS])
    assert dataset.num_drums == 3 and dataset.packed.shape[1] == 3 + BASS.size
    assert np.array_equal(BASS.decode(dataset[0]["step"][:, 3:].numpy()), codes)
    assert np.array_equal(dataset[0]["step"][:, :3].numpy(), SONG[:64])
    assert not dataset[1]["step"][:, 3:].any()
    assert dataset[0]["bar"].shape == (4, 3 + BASS.size)
    drums = CompleteHierarchicalDrumDataset(tmp_path, 64)[0]["metrics"]
    assert all(torch.equal(dataset[0]["metrics"]["song"][name], value) for name, value in drums["song"].items())


def test_a_track_of_another_length_or_of_no_codes_is_refused_in_one_line(tmp_path):
    path = write(tmp_path, track_bass=np.zeros(3, np.int16))
    with pytest.raises(HypermeterError, match="a code for each step"):
        with_tracks(path, SONG, [BASS])
    path = write(tmp_path, track_bass=np.full(len(SONG), 0.5))
    with pytest.raises(HypermeterError, match=r"a\.npz: track bass"):
        with_tracks(path, SONG, [BASS])


@pytest.mark.parametrize(("name", "value"), [("velocity", 100.0), ("offset", 0.7)])
def test_expression_out_of_its_range_is_refused_in_one_line(name, value, tmp_path):
    write(tmp_path, **{name: np.full(SONG.shape, value)})
    with pytest.raises(HypermeterError, match=f"{name} {value:g} at a hit"):
        windows(tmp_path, with_expression=True)


@pytest.mark.parametrize("tempo", ["120 bpm", [120], -120, 0])
def test_a_tempo_that_is_none_is_refused_in_one_line(tempo, tmp_path):
    path = write(tmp_path, meta={"tempo_bpm": tempo})
    with pytest.raises(HypermeterError, match="expected a number above 0"):
        find_labels([path], [16])


def test_sections_as_bytes_and_numbers_are_text(tmp_path):
    for values, expected in (
        (np.array([b"verse"] * 16), ["verse"] * 16),
        (np.arange(16), [str(number) for number in range(16)]),
        (np.full(16, np.nan), [""] * 16),
    ):
        assert read_sections(write(tmp_path, section=values), 16) == expected


def test_named_sections_take_letters_where_the_vocabulary_is_letters(tmp_path):
    path = write(tmp_path, section=np.array(["solo"] * 4 + [""] * 4 + ["verse"] * 4 + ["solo"] * 4))
    plan = read_plan(path, SONG, GRID, {"section": list(LETTERS), "style": [], "fill": list(FILL)})
    assert plan.labels[0, ::4, 0].tolist() == [1, 0, 2, 1]
