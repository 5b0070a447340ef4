import copy
import json
import pickle
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hypermeter.core import notebook
from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.core.groove import Groove
from hypermeter.core.kit import Kit, load_kit
from hypermeter.io.grooves import arrays_of_groove, read_npz

ARRAYS = ("hits", "velocity", "offset", "sections")


def full(**changes):
    """A groove with every part."""
    hits = np.random.default_rng(0).integers(0, 2, (32, 10))
    parts = {
        "hits": hits,
        "velocity": hits * 0.5,
        "offset": hits * 0.25,
        "tempo_bpm": 97.5,
        "kit": "gm10",
        "grid": Grid(),
        "sections": ["verse", "fill"],
        "unknown": {"offset"},
        "tracks": {"bass": np.full(32, 40)},
        "shift": -0.125,
    }
    return Groove(**parts | changes)


def test_a_groove_fills_in_velocity_and_offset():
    groove = Groove(np.eye(4))
    assert groove.hits.dtype == np.uint8 and groove.velocity.dtype == groove.offset.dtype == np.float32
    assert np.allclose(groove.velocity, 0.8 * np.eye(4)) and not groove.offset.any()


def test_the_last_bar_may_be_short():
    groove = Groove(np.zeros((17, 2)), tempo_bpm=90)
    assert len(groove) == 17 and groove.num_bars == 2
    assert groove.step_duration_s == pytest.approx(60 / 90 / 4)


@pytest.mark.parametrize(
    "wrong",
    [
        {"hits": np.full((4, 2), 2)},
        {"hits": np.zeros(4)},
        {"velocity": np.zeros((3, 2))},
        {"velocity": np.full((4, 2), 1.5)},
        {"velocity": np.full((4, 2), np.nan)},
        {"offset": np.full((4, 2), 0.75)},
        {"shift": 0.5},
        {"shift": -0.51},
        {"shift": float("nan")},
        {"tempo_bpm": 0.0},
        {"tempo_bpm": float("nan")},
        {"tempo_bpm": float("inf")},
    ],
)
def test_a_groove_refuses_what_is_out_of_range(wrong):
    with pytest.raises(HypermeterError, match="groove"):
        Groove(**{"hits": np.zeros((4, 2)), **wrong})


def test_a_groove_carries_a_kit_itself_as_well_as_its_name():
    kit = load_kit("magenta9")
    assert Groove(np.zeros((4, 9)), kit=kit).kit is kit


@pytest.mark.parametrize("name", ["my bass", "a|b", ""])
def test_a_track_whose_name_is_no_word_is_refused(name):
    with pytest.raises(HypermeterError, match="groove: a track is named .*, expected a word"):
        Groove(np.zeros((16, 10)), tracks={name: np.zeros(16, np.int16)})


def test_nothing_of_a_groove_can_be_set():
    groove = full()
    for name in (*ARRAYS, "tempo_bpm", "kit", "grid", "unknown", "tracks"):
        with pytest.raises(FrozenInstanceError):
            setattr(groove, name, getattr(groove, name))


@pytest.mark.parametrize(
    "again", [full(), replace(full()), copy.copy(full()), copy.deepcopy(full()), pickle.loads(pickle.dumps(full()))]
)
def test_nothing_can_be_written_into_a_groove_or_a_copy_of_it(again):
    assert again == full() and hash(again) == hash(full())
    for name in ARRAYS:
        with pytest.raises(ValueError, match="read-only"):
            getattr(again, name)[0] = 0
    with pytest.raises(ValueError, match="read-only"):
        again.tracks["bass"][0] = 0
    with pytest.raises(TypeError, match="item assignment"):
        again.tracks["lead"] = again.tracks["bass"]


def test_what_a_groove_was_made_of_stays_its_makers():
    arrays = {name: np.zeros((16, 10), kind) for name, kind in zip(ARRAYS, ("u1", "f4", "f4"))}
    sections, tracks = np.array(["verse"]), {"bass": np.zeros(16, np.int16)}
    groove = Groove(**arrays, sections=sections, tracks=tracks)
    before = copy.deepcopy(groove)
    for array in (*arrays.values(), tracks["bass"]):
        array[0] = 1
    sections[0], tracks["lead"] = "fill", tracks["bass"]
    assert groove == before


@pytest.mark.parametrize(
    "changes",
    [
        {"hits": np.zeros((32, 10))},
        {"velocity": np.full((32, 10), 0.25)},
        {"offset": np.zeros((32, 10))},
        {"tempo_bpm": 98.0},
        {"shift": 0.0},
        {"kit": load_kit("gm10").from_dict({**load_kit("gm10").to_dict(), "name": "mine"})},
        {"grid": Grid(bars_per_phrase=2)},
        {"sections": None},
        {"sections": ["verse", "verse"]},
        {"unknown": frozenset()},
        {"tracks": {}},
        {"tracks": {"bass": np.full(32, 41)}},
        {"tracks": {"lead": np.full(32, 40)}},
        {"tracks": {"bass": np.full(32, 40), "lead": np.full(32, 40)}},
    ],
    ids=lambda changes: "-".join(changes),
)
def test_grooves_differ_where_one_part_does(changes):
    assert full(**changes) != full() and replace(full(), **changes) == full(**changes)
    assert len({full(), full(), full(**changes)}) == 2


def test_a_groove_equals_no_other_kind_of_thing():
    assert (
        full() != full().hits.tolist()
        and full() != "groove"
        and full() != full(hits=np.zeros((16, 10)), velocity=None, offset=None, sections=None, tracks={})
    )


def test_kits_are_equal_by_their_voices_however_they_are_named():
    of_itself = load_kit("gm10")
    assert full(kit=of_itself) == full() == full(kit=of_itself.to_dict())
    assert isinstance(full(kit=of_itself.to_dict()).kit, Kit)
    assert full(kit=Path("gone.yaml")) == full(kit=Path("gone.yaml")) != full()


def test_a_groove_is_printed_in_one_short_line():
    beside = "sections verse fill, tracks bass, unknown offset"
    hits = full().hits.sum()
    assert repr(full()) == f"<Groove: 2 bars of 4/4, 97.5 bpm, 10 voices of gm10, {hits} hits, shift -19 ms, {beside}>"
    kit = load_kit("magenta9")
    assert (
        repr(Groove(np.zeros((17, 9)), kit=kit))
        == "<Groove: 2 bars of 4/4 (17 steps), 120 bpm, 9 voices of magenta9, 0 hits>"
    )


def test_a_shift_is_in_steps_and_in_ms_of_the_tempo():
    assert Groove(np.zeros((4, 2))).shift == Groove(np.zeros((4, 2))).shift_ms == 0
    assert Groove(np.zeros((4, 2)), tempo_bpm=100, shift=-0.25).shift_ms == pytest.approx(-37.5)


def test_bars_of_a_groove_have_all_its_parts():
    groove = full()
    second = groove.bars(1, 2)
    assert len(second) == 16 and second.sections.tolist() == ["fill"] and len(second.tracks["bass"]) == 16
    assert np.array_equal(second.hits, groove.hits[16:]) and np.array_equal(second.offset, groove.offset[16:])
    assert (second.shift, second.tempo_bpm, second.unknown) == (groove.shift, groove.tempo_bpm, groove.unknown)
    assert groove.bars(0, 2) == groove and len(groove.bars(1, 1)) == 0


def test_a_notebook_prints_the_groove_where_nothing_draws_it(monkeypatch):
    assert "<svg" in full()._repr_html_()
    monkeypatch.setattr(notebook, "groove_html", None)
    assert full()._repr_html_() is None


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(["gm10", "gm", Kit.from_dict(load_kit("magenta9").to_dict() | {"name": "mine"})]),
    st.sampled_from([Grid(), Grid(3), Grid(2, 6, 4, 8), Grid(4, 5, 2)]),
    st.floats(20, 400),
    st.integers(0, 40),
    st.integers(0, 2**32 - 1),
)
def test_a_groove_survives_npz_with_its_kit_grid_and_tempo(tmp_path_factory, kit, grid, tempo_bpm, steps, seed):
    rng, kit = np.random.default_rng(seed), load_kit(kit)
    hits = rng.random((steps, kit.num_voices)) < 0.3
    groove = Groove(hits, rng.random(hits.shape), rng.uniform(-0.5, 0.49, hits.shape), tempo_bpm, kit, grid)
    path = tmp_path_factory.mktemp("npz") / "a.npz"
    meta = {"kit": kit.record, "grid": grid.to_dict(), "tempo_bpm": tempo_bpm}
    np.savez(path, **arrays_of_groove(groove), meta=json.dumps(meta))
    assert read_npz(path) == groove
