"""Hits that stand already, played anew: what stays, what changes, and what is refused."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import symusic
import torch

from hypermeter import humanize as module
from hypermeter.expression import Expression
from hypermeter.grid import Grid, Groove, HypermeterError
from hypermeter.humanize import humanize, humanize_command
from hypermeter.kit import load_kit
from hypermeter.midi import read_midi, write_midi
from hypermeter.model import HierarchicalDrumModel

VOICES = 10


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    model = HierarchicalDrumModel(VOICES, 16, 16, 16, kit=load_kit("gm10")).eval()
    model.expression = Expression(16, VOICES, 8, 4).eval()
    return model


@pytest.fixture
def groove():
    random = np.random.default_rng(0)
    hits = random.random((40, VOICES)) < 0.3
    velocity = hits * random.uniform(0.1, 1, hits.shape)
    offset = hits * random.uniform(-0.4, 0.4, hits.shape)
    offset[0] = np.abs(offset[0])
    return Groove(hits, velocity, offset, tempo_bpm=97.0)


def alike(one, other):
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in ("hits", "velocity", "offset"))


def test_the_hits_stay_and_how_they_are_played_changes(model, groove):
    played = humanize(groove, model)
    assert np.array_equal(played.hits, groove.hits) and played.tempo_bpm == 97.0
    at = groove.hits > 0
    assert (played.velocity[at] != groove.velocity[at]).mean() > 0.9
    assert (played.offset[at] != groove.offset[at]).mean() > 0.9
    assert not played.velocity[~at].any() and not played.offset[~at].any()


def test_a_seed_gives_the_same(model, groove):
    assert alike(humanize(groove, model, seed=1), humanize(groove, model, seed=1))
    assert not alike(humanize(groove, model, seed=1), humanize(groove, model, seed=2))


@pytest.mark.parametrize("shares", [{"amount": 0.0}, {"timing": 0.0, "velocity": 0.0}])
def test_an_amount_of_nothing_gives_the_groove_back(model, groove, shares):
    assert alike(humanize(groove, model, **shares), groove)


def test_timing_and_velocity_are_told_apart(model, groove):
    louder, later = humanize(groove, model, timing=0.0), humanize(groove, model, velocity=0.0)
    assert np.array_equal(louder.offset, groove.offset) and not np.array_equal(louder.velocity, groove.velocity)
    assert np.array_equal(later.velocity, groove.velocity) and not np.array_equal(later.offset, groove.offset)


def test_half_an_amount_is_half_way(model, groove):
    half, whole = humanize(groove, model, amount=0.5, velocity=0.5), humanize(groove, model)
    assert np.allclose(half.velocity, 0.75 * groove.velocity + 0.25 * whole.velocity, atol=1e-6)
    assert np.allclose(half.offset, 0.5 * groove.offset + 0.5 * whole.offset, atol=1e-6)


def test_nothing_sounds_before_the_first_beat(model, groove):
    early = replace(groove, hits=np.ones_like(groove.hits), offset=np.full(groove.hits.shape, -0.5))
    early.velocity = np.full(groove.hits.shape, 0.5, np.float32)
    for amount in (0.1, 0.5, 1.0):
        for seed in range(5):
            played = humanize(early, model, amount, seed=seed)
            assert (played.offset[0] >= 0).all() and (played.offset[1:] < 0).any()


def test_hits_that_are_not_chosen_stay_as_they_were_played(model, groove):
    which = np.zeros(groove.hits.shape, bool)
    which[16:, :5] = True
    played = humanize(groove, model, which=which)
    assert np.array_equal(played.velocity[~which], groove.velocity[~which])
    assert np.array_equal(played.offset[~which], groove.offset[~which])
    chosen = which & (groove.hits > 0)
    assert (played.velocity[chosen] != groove.velocity[chosen]).mean() > 0.9
    assert alike(humanize(groove, model, which=np.zeros_like(which)), groove)
    with pytest.raises(HypermeterError, match=r"which of shape \(3, 10\)"):
        humanize(groove, model, which=which[:3])


def test_what_a_file_did_not_tell_is_known_once_it_is_played(model, groove):
    quantised = replace(groove, unknown=frozenset({"velocity", "offset", "tempo_bpm"}))
    assert humanize(quantised, model).unknown == {"tempo_bpm"}
    assert humanize(quantised, model, timing=0.0).unknown == {"offset", "tempo_bpm"}
    which = groove.hits * (np.arange(40) > 20)[:, None]
    assert humanize(quantised, model, which=which).unknown == quantised.unknown


def test_a_tempo_that_a_file_did_not_tell_is_not_read(model, groove):
    one, other = (replace(groove, tempo_bpm=tempo) for tempo in (60.0, 200.0))
    assert not alike(humanize(one, model), humanize(other, model))
    one, other = (replace(each, unknown=frozenset({"tempo_bpm"})) for each in (one, other))
    assert alike(humanize(one, model), humanize(other, model))


@pytest.mark.parametrize(("unknown", "is_heard"), [("offset", True), ("velocity", False)])
def test_velocities_of_hits_that_stay_are_heard_unless_they_are_unknown(model, groove, unknown, is_heard):
    which = (groove.hits > 0) & (np.arange(40) >= 16)[:, None]
    louder = replace(groove, velocity=np.where(which, groove.velocity, groove.hits))
    one, other = (
        humanize(replace(each, unknown=frozenset({unknown})), model, which=which).velocity[which]
        for each in (groove, louder)
    )
    assert np.array_equal(one, other) != is_heard


def test_a_groove_without_hits_has_nothing_to_play(model):
    assert not humanize(Groove(np.zeros((16, VOICES))), model).velocity.any()


def test_what_does_not_fit_is_refused(model, groove):
    with pytest.raises(HypermeterError, match="amount is 1.5, expected from 0"):
        humanize(groove, model, 1.5)
    with pytest.raises(HypermeterError, match="timing is nan"):
        humanize(groove, model, timing=float("nan"))
    with pytest.raises(HypermeterError, match="groove in 3/4, 12 steps a bar; the model plays 4/4"):
        humanize(Groove(groove.hits[:24], grid=Grid(4, 3)), model)
    with pytest.raises(HypermeterError, match="groove of 9 voices, expected the 10"):
        humanize(Groove(groove.hits[:, :9], kit="magenta9"), model)
    with pytest.raises(HypermeterError, match="the model plays hits only"):
        humanize(groove, HierarchicalDrumModel(VOICES, 16, 16, 16, kit=load_kit("gm10")))


# ---------------------------------------------------------------------- the command


@pytest.fixture
def path(groove, tmp_path):
    write_midi(groove, tmp_path / "in.mid")
    return tmp_path / "in.mid"


@pytest.fixture
def loaded(model, monkeypatch):
    monkeypatch.setattr(module, "load", lambda name: model)
    return model


def test_the_command_writes_the_same_hits_played_anew(loaded, path, tmp_path):
    before = read_midi(path)
    after = read_midi(humanize_command(path, tmp_path / "out.mid"))
    assert np.array_equal(after.hits, before.hits) and after.tempo_bpm == pytest.approx(97, abs=1e-3)
    assert not np.array_equal(after.velocity, before.velocity)
    assert alike(read_midi(humanize_command(path, tmp_path / "same.mid", amount=0.0)), before)
    assert path.read_bytes() != (tmp_path / "out.mid").read_bytes()
    humanize_command(path, tmp_path / "again.mid")
    assert (tmp_path / "again.mid").read_bytes() == (tmp_path / "out.mid").read_bytes()


def test_all_but_time_and_velocity_of_the_kit_stays(loaded, path, tmp_path, capsys):
    score = symusic.Score(path)
    drums = score.tracks[0]
    count = len(drums.notes)
    drums.notes.append(symusic.Note(485, 30, 54, 70))  # a tambourine, which gm10 has no voice for
    drums.notes.append(symusic.Note(40_000, 30, 36, 70))
    bass = symusic.Track("bass", 33, False)
    bass.notes.append(symusic.Note(3, 200, 40, 90))
    score.tracks.append(bass)
    score.tempos.append(symusic.Tempo(480 * 8, 140))
    score.dump_midi(tmp_path / "song.mid")
    after = symusic.Score(humanize_command(tmp_path / "song.mid", tmp_path / "out.mid"))
    notes = {track.name: track.notes for track in after.tracks}
    assert [(each.time, each.pitch, each.velocity) for each in notes["bass"]] == [(3, 40, 90)]
    assert len(notes["drums"]) == count + 2
    assert [(each.time, each.velocity) for each in notes["drums"] if each.pitch == 54] == [(485, 70)]
    assert [each.qpm for each in after.tempos] == pytest.approx([97, 140], abs=1e-3)
    assert "left as they are: 1 hits" in capsys.readouterr().out


def test_a_flam_stays_a_flam(loaded, tmp_path):
    groove = Groove(np.eye(16, VOICES))
    write_midi(groove, tmp_path / "one.mid")
    score = symusic.Score(tmp_path / "one.mid")
    (snare,) = (each for each in score.tracks[0].notes if each.pitch == 38)
    score.tracks[0].notes.append(symusic.Note(snare.time - 9, 5, 38, 40))
    score.dump_midi(tmp_path / "flam.mid")
    after = symusic.Score(humanize_command(tmp_path / "flam.mid", tmp_path / "out.mid", velocity=0.0))
    grace, main = sorted((each.time, each.velocity) for each in after.tracks[0].notes if each.pitch == 38)
    assert main[0] - grace[0] == 9 and main[0] != snare.time
    assert (grace[1], main[1]) == (40, snare.velocity)


@pytest.fixture
def snares(tmp_path):
    """A snare at each of 16 steps, the last doubled, very softly, at the far edge of its step."""
    groove = Groove(np.tile(np.arange(VOICES) == 1, (16, 1)))
    write_midi(groove, tmp_path / "snares.mid")
    score = symusic.Score(tmp_path / "snares.mid")
    step = score.ticks_per_quarter // 4
    score.tracks[0].notes.append(symusic.Note(15 * step + step // 2 - 1, 5, 38, 1))
    score.dump_midi(tmp_path / "snares.mid")
    return tmp_path / "snares.mid"


def test_notes_stay_in_their_step_and_can_be_heard(loaded, snares, tmp_path, monkeypatch):
    hits = torch.zeros(1, 16, VOICES)
    hits[..., 1] = 1
    monkeypatch.setattr(module, "perform", lambda *_, **__: (hits / 127, hits * 0.45))
    last = max(each.time for each in symusic.Score(snares).tracks[0].notes)
    after = symusic.Score(humanize_command(snares, tmp_path / "out.mid")).tracks[0].notes
    assert len(after) == 17 and max(each.time for each in after) == last
    assert {each.velocity for each in after} == {1}


def test_a_note_ends_before_the_next_of_its_pitch(loaded, snares, tmp_path, monkeypatch):
    """Late and early by turns, so that steps are a tenth as long as before; a note-off would end the next note too."""
    hits = torch.zeros(1, 16, VOICES)
    hits[..., 1] = 1
    by_turns = torch.where(torch.arange(16) % 2 == 0, 0.45, -0.45)[:, None]
    monkeypatch.setattr(module, "perform", lambda *_, **__: (hits * 0.5, hits * by_turns))
    after = symusic.Score(humanize_command(snares, tmp_path / "out.mid")).tracks[0].notes
    after = sorted(after, key=lambda each: each.time)
    step = symusic.Score(snares).ticks_per_quarter // 4
    assert after[1].time - after[0].time < 0.15 * step
    assert all(one.time + one.duration <= other.time for one, other in pairwise(after))


def test_a_drummer_that_begins_anew_does_not_repeat_himself(loaded, groove, tmp_path):
    twice = Groove(np.tile(groove.hits[:32], (2, 1)), tempo_bpm=100.0)
    write_midi(twice, tmp_path / "in.mid")
    score = symusic.Score(tmp_path / "in.mid")
    score.tempos.append(symusic.Tempo(score.ticks_per_quarter * 8, 101))
    score.dump_midi(tmp_path / "in.mid")
    notes = symusic.Score(humanize_command(tmp_path / "in.mid", tmp_path / "out.mid", timing=0.0)).tracks[0].notes
    halves = np.array([each.velocity for each in notes]).reshape(2, -1)
    assert (halves[0] == halves[1]).mean() < 0.5


def test_the_command_refuses_what_it_cannot_play(loaded, path, groove, tmp_path):
    with pytest.raises(HypermeterError, match="the file that is read"):
        humanize_command(path, path)
    with pytest.raises(HypermeterError, match="no-such.mid: cannot be read"):
        humanize_command(tmp_path / "no-such.mid", tmp_path / "out.mid")
    (tmp_path / "bad.mid").write_bytes(b"MThd, but no more")
    with pytest.raises(HypermeterError, match="bad.mid"):
        humanize_command(tmp_path / "bad.mid", tmp_path / "out.mid")
    write_midi(Groove(groove.hits[:24], grid=Grid(4, 3)), tmp_path / "waltz.mid")
    with pytest.raises(HypermeterError, match="metre 3/4"):
        humanize_command(tmp_path / "waltz.mid", tmp_path / "out.mid")
    with pytest.raises(HypermeterError, match="velocity is -1"):
        humanize_command(path, tmp_path / "out.mid", velocity=-1)
    assert not (tmp_path / "out.mid").exists()


def test_the_command_refuses_a_model_that_plays_hits_only(path, tmp_path, monkeypatch):
    model = HierarchicalDrumModel(VOICES, 16, 16, 16, kit=load_kit("gm10"))
    monkeypatch.setattr(module, "load", lambda name: model)
    with pytest.raises(HypermeterError, match="mine: the model plays hits only"):
        humanize_command(path, tmp_path / "out.mid", model="mine")
    model.kit = None
    with pytest.raises(HypermeterError, match="mine: no kit in the checkpoint"):
        humanize_command(path, tmp_path / "out.mid", model="mine")
