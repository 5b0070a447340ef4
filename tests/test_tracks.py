"""Tracks: codes to columns and back, and a model that plays drums and a track together."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hypermeter import CompleteHierarchicalDrumDataset, HierarchicalDrumModel, load
from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.core.tracks import BASS, HOLD, REST, Track, track_groups
from hypermeter.io.midi.melody import codes_of
from hypermeter.model.plan import KINDS, NUMBERS, plan_of
from hypermeter.play.plan import FILL

SMALL = Track("bass", 36, 48, 33, (32, 39))
GRID = Grid(2, 2, 2)
VOICES, STEPS = 2, 21


@given(st.lists(st.sampled_from([REST, HOLD, 36, 40, 48]), max_size=40))
def test_columns_give_the_codes_back_but_for_a_hold_of_nothing(codes):
    columns = SMALL.encode(np.array(codes, np.int64))
    assert columns.shape == (len(codes), SMALL.size) and columns.sum(-1).max(initial=0) <= 1
    expected, sounds = [], False
    for code in codes:
        expected.append(REST if code == HOLD and not sounds else code)
        sounds = code != REST and (code != HOLD or sounds)
    assert SMALL.decode(columns).tolist() == expected


def test_a_pitch_out_of_range_moves_by_octaves_into_it():
    assert SMALL.into_range(np.array([36, 48, 35, 49, 20, 70])).tolist() == [36, 48, 47, 37, 44, 46]
    assert SMALL.decode(SMALL.encode(np.array([24, 60]))).tolist() == [36, 48]


def test_transposing_moves_notes_and_nothing_else():
    codes = np.array([36, HOLD, REST, 40, 48, HOLD])
    up = SMALL.decode(SMALL.transpose(SMALL.encode(codes), 2))
    assert up.tolist() == [38, HOLD, REST, 42, 38, HOLD]  # 50 is out of range
    down = SMALL.decode(SMALL.transpose(SMALL.encode(codes), -5))
    assert down.tolist() == [43, HOLD, REST, 47, 43, HOLD]
    assert np.array_equal(SMALL.transpose(SMALL.encode(codes), 0), SMALL.encode(codes))


def test_augmentation_transposes_a_track_by_one_interval_and_keeps_its_rhythm(tmp_path):
    codes = np.array([40, HOLD, REST, 43] * 16)
    np.savez(tmp_path / "a.npz", sequence=np.ones((64, VOICES), np.uint8), track_bass=codes)
    dataset = CompleteHierarchicalDrumDataset(tmp_path, 64, 64, 1, augment=True, tracks=[BASS], with_metrics=False)
    seen = set()
    for epoch in range(150):
        dataset.set_epoch(epoch)
        transposed = BASS.decode(dataset[0]["step"].numpy()[:, VOICES:])
        interval = int(transposed[0]) - 40
        seen.add(interval)
        assert transposed.tolist() == [code + interval if code > HOLD else code for code in codes.tolist()]
    assert seen == set(range(-5, 7))


def test_augmentation_hides_drums_beside_a_track_and_nowhere_else(tmp_path):
    """Voices are exchanged in half of the windows, and any number of them falls silent: each in two of three."""
    drums = np.zeros((64, VOICES), np.uint8)
    drums[:, 0], drums[::2, 1] = 1, 1
    np.savez(tmp_path / "a.npz", sequence=drums, track_bass=np.array([40, HOLD, REST, 43] * 16))
    hits = {}
    for tracks in ((BASS,), ()):
        dataset = CompleteHierarchicalDrumDataset(tmp_path, 64, 64, 1, augment=True, tracks=tracks, with_metrics=False)
        measured = []
        for epoch in range(400):
            dataset.set_epoch(epoch)
            measured.append(dataset[0]["step"][:, :VOICES].sum(0))
        hits[bool(tracks)] = torch.stack(measured)
    is_busy = hits[True] > 40  # as the first voice is
    is_sounding = hits[True] > 0
    assert (hits[False] > torch.tensor([40, 20])).all() and (hits[False][:, 1] < 40).all()
    assert 0.4 < is_busy[is_sounding].float().mean() < 0.6
    assert 0.27 < is_sounding.float().mean() < 0.4
    assert 0.14 < is_sounding.all(1).float().mean() < 0.26  # together, more often than each by itself would give


def test_the_plan_of_hidden_drums_is_measured_in_what_is_left(tmp_path):
    random = np.random.default_rng(0)
    for name in "ab":
        drums = (random.random((96, VOICES)) < 0.5).astype(np.uint8)
        np.savez(tmp_path / f"{name}.npz", sequence=drums, track_bass=np.full(96, 40))
    labels = {"section": [], "style": [], "fill": list(FILL)}
    options = {"tracks": (BASS,), "labels": labels, "with_metrics": False, "with_expression": True}
    dataset = CompleteHierarchicalDrumDataset(tmp_path, 64, 16, 4, augment=True, **options)
    densities = set()
    for epoch in range(8):
        dataset.set_epoch(epoch)
        item = dataset[0]
        measured = plan_of(item["step"][None, :, :VOICES], Grid())
        assert torch.equal(item["plan"].labels, measured.labels)
        torch.testing.assert_close(item["plan"].numbers, measured.numbers, equal_nan=True)
        densities.add(round(item["plan"].numbers[0, :, NUMBERS.index("density")].mean().item(), 2))
    assert len(densities) > 3


@pytest.mark.parametrize("beat_type", ["beat", "fill"])
def test_the_plan_of_hidden_drums_is_measured_on_the_grid_of_the_file(tmp_path, beat_type):
    grid = Grid.of_metre("3/4")  # of 12 steps, which could be four beats of three
    drums = (np.random.default_rng(0).random((96, VOICES)) < 0.5).astype(np.uint8)
    meta = json.dumps({"grid": grid.to_dict(), "beat_type": beat_type})
    np.savez(tmp_path / "a.npz", sequence=drums, track_bass=np.full(96, 40), meta=np.array(meta))
    labels = {"section": [], "style": [], "fill": list(FILL)}
    options = {"tracks": (BASS,), "labels": labels, "with_metrics": False, "with_expression": True}
    item = CompleteHierarchicalDrumDataset(tmp_path, 96, 12, 4, augment=True, **options)[0]
    measured = plan_of(item["step"][None, :, :VOICES], grid)
    torch.testing.assert_close(item["plan"].numbers, measured.numbers, equal_nan=True)
    is_fill = item["plan"].labels[..., KINDS.index("fill")] == 1 + FILL.index("fill")
    assert is_fill.all() if beat_type == "fill" else not is_fill.all()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"name": "my bass"}, "expected a word"),
        ({"lowest": 0}, "within 2 to 127"),
        ({"highest": 40}, "an octave or more"),
        ({"programs": (39, 32)}, "expected 0 to 127"),
    ],
)
def test_a_track_that_cannot_be_is_refused_in_one_line(values, words):
    with pytest.raises(HypermeterError, match=words):
        Track(**SMALL.__dict__ | values)


def test_codes_that_are_none_are_refused_in_one_line():
    for codes in (np.array([0.5]), np.array([[1]]), np.array([128])):
        with pytest.raises(HypermeterError, match="0 to 127"):
            SMALL.encode(codes)


def test_a_record_gives_the_track_back():
    assert Track.from_dict(BASS.to_dict()) == BASS
    with pytest.raises(HypermeterError, match="expected name"):
        Track.from_dict({"name": "bass"})
    for wrong in ({"programs": 5}, {"programs": [1]}, {"lowest": "C2"}, {"name": 3}):
        with pytest.raises(HypermeterError, match="not a track's record"):
            Track.from_dict(BASS.to_dict() | wrong)


# ---------------------------------------------------------------------- from notes


def test_of_notes_on_one_step_the_lowest_in_the_file_stays_and_the_others_are_counted():
    notes = np.array([[0, 10, 480, 480, 1900], [240, 130, 720, 960, 2000], [20, 40, 47, 47, 40]])
    codes, dropped = codes_of(notes, 0, 120, 16, SMALL)
    assert codes.tolist() == [44, 1, 0, 0, 47, 1] + [0] * 10  # 20 is lower than 40, though it moves above it
    assert dropped == 2  # the note after the stretch is another's


# ---------------------------------------------------------------------- in a model


def make(**options):
    torch.manual_seed(0)
    return HierarchicalDrumModel(VOICES, 16, 8, 8, tracks=[SMALL.to_dict()], grid=GRID, **options).eval()


def steps(batch=2, length=STEPS, seed=1):
    """Drums and bass as a model hears them."""
    random = np.random.default_rng(seed)
    drums = random.random((batch, length, VOICES)) < 0.4
    bass = np.stack([SMALL.encode(random.choice([REST, HOLD, 36, 43, 45], length)) for _ in range(batch)])
    return torch.from_numpy(np.concatenate([drums, bass], -1)).float()


@pytest.fixture(params=[False, True], ids=["recurrent", "transformer"])
def model(request):
    return make(use_transformer=request.param)


def test_a_models_columns_are_its_voices_and_those_of_its_tracks():
    assert track_groups(VOICES, (SMALL, BASS)) == ((2, 16), (16, 51))
    assert make().width == VOICES + SMALL.size
    assert make()(steps()).step_preds.shape == (2, STEPS, VOICES + SMALL.size)


def test_no_output_has_a_gradient_to_later_drums_or_bass(model):
    leaf = steps(1).repeat(STEPS, 1, 1).requires_grad_()
    now = torch.arange(STEPS)
    (model(leaf).step_preds[now, now] @ torch.rand(model.width)).sum().backward()
    for columns in (slice(0, VOICES), slice(VOICES, None)):
        has_gradient = leaf.grad[..., columns].abs().sum(-1) != 0
        assert torch.equal(has_gradient, torch.ones(STEPS, STEPS, dtype=torch.bool).tril())


def test_step_equals_forward_with_a_track(model):
    played = steps()
    whole, state = model.log_prob(played), model.init_state(2)
    for t, x in enumerate(played.unbind(1)):
        torch.testing.assert_close(model.predict(state).log_prob(x), whole[:, t], atol=1e-5, rtol=0)
        state = model.advance(x, state)


def test_log_prob_of_a_prefix_is_the_prefix_of_log_prob_with_a_track(model):
    played = steps()
    whole = model.log_prob(played)
    for length in (1, 4, 5, 9, 16):
        torch.testing.assert_close(model.log_prob(played[:, :length]), whole[:, :length], atol=1e-5, rtol=0)


def test_what_is_played_has_at_most_one_note_at_a_time(model):
    for temperature in (1.0, 0.7, 0.0):
        made = model.generate(None, 40, temperature, batch_size=3, seed=0)
        assert made.shape == (3, 40, model.width)
        assert made[..., VOICES:].sum(-1).max() <= 1


def test_a_saved_model_knows_its_tracks(tmp_path):
    make().save(tmp_path / "model.safetensors")
    again = load(tmp_path / "model.safetensors")
    assert again.tracks == (SMALL,)
    assert torch.equal(again.log_prob(steps()), make().log_prob(steps()))


def test_a_softmax_has_no_tracks():
    with pytest.raises(HypermeterError, match="a softmax has no tracks"):
        make(output="softmax", known=[[0, 0], [1, 0]])


def test_a_note_that_sounds_before_may_go_on():
    columns = SMALL.encode(np.array([HOLD, HOLD, REST, HOLD, 40]))
    assert SMALL.decode(columns, is_sounding=True).tolist() == [HOLD, HOLD, REST, REST, 40]
    assert SMALL.decode(columns).tolist() == [REST, REST, REST, REST, 40]
