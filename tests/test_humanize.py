"""Hits that stand already, played anew: what stays, what changes, and what is refused."""

from dataclasses import replace
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import mido
import numpy as np
import pytest
import symusic
import torch

from hypermeter.cli.humanize import humanize_command
from hypermeter.core.errors import HypermeterError
from hypermeter.core.groove import Groove
from hypermeter.core.kit import load_kit
from hypermeter.core.read_options import ReadOptions
from hypermeter.core.strokes import Strokes
from hypermeter.core.swing import apply_swing
from hypermeter.io.midi import read_midi, write_midi
from hypermeter.io.midi.replay import replay_drums
from hypermeter.model.hierarchical import HierarchicalDrumModel
from hypermeter.model.playing import player_of
from hypermeter.play.humanize import humanize
from hypermeter.play.player import Player

VOICES = 10


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return player_of(HierarchicalDrumModel(VOICES, 16, 16, 16, kit=load_kit("gm10"), use_expression=True).eval())


@pytest.fixture(scope="module")
def silent():
    """A model that plays hits only."""
    return player_of(HierarchicalDrumModel(VOICES, 16, 16, 16, kit=load_kit("gm10")).eval())


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


def test_further_strokes_of_a_cell_move_and_get_louder_with_its_hit(model, groove):
    step, voice = (places[5:15] for places in np.nonzero(groove.hits))
    offset, velocity = 0.3 * groove.offset[step, voice], 0.5 * groove.velocity[step, voice]
    flams = replace(groove, strokes=Strokes(step, voice, offset, velocity), openness=np.ones(groove.hits.shape))
    played = humanize(flams, model, amount=0.1)
    assert played.strokes.step.tolist() == step.tolist() and np.array_equal(played.openness, flams.openness, True)
    moved = played.offset[step, voice] - groove.offset[step, voice]
    assert moved.any() and np.allclose(played.strokes.offset - offset, moved, atol=1e-6)
    assert np.allclose(played.strokes.velocity, 0.5 * played.velocity[step, voice], atol=1e-6)


def test_timing_and_velocity_are_separate(model, groove):
    louder, later = humanize(groove, model, timing=0.0), humanize(groove, model, velocity=0.0)
    assert np.array_equal(louder.offset, groove.offset) and not np.array_equal(louder.velocity, groove.velocity)
    assert np.array_equal(later.velocity, groove.velocity) and not np.array_equal(later.offset, groove.offset)


def test_half_an_amount_is_half_way(model, groove):
    half, whole = humanize(groove, model, amount=0.5, velocity=0.5), humanize(groove, model)
    assert np.allclose(half.velocity, 0.75 * groove.velocity + 0.25 * whole.velocity, atol=1e-6)
    assert np.allclose(half.offset, 0.5 * groove.offset + 0.5 * whole.offset, atol=1e-6)


def test_nothing_sounds_before_the_first_beat(model, groove):
    shape = groove.hits.shape
    early = replace(groove, hits=np.ones(shape), velocity=np.full(shape, 0.5), offset=np.full(shape, -0.5))
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


def test_values_that_a_file_lacks_are_known_once_they_are_played(model, groove):
    quantised = replace(groove, unknown=frozenset({"velocity", "offset", "tempo_bpm"}))
    assert humanize(quantised, model).unknown == {"tempo_bpm"}
    assert humanize(quantised, model, timing=0.0).unknown == {"offset", "tempo_bpm"}
    which = groove.hits * (np.arange(40) > 20)[:, None]
    assert humanize(quantised, model, which=which).unknown == quantised.unknown


def test_a_tempo_that_a_file_lacks_is_not_read(model, groove):
    one, other = (replace(groove, tempo_bpm=tempo) for tempo in (60.0, 200.0))
    assert not alike(humanize(one, model), humanize(other, model))
    one, other = (replace(piece, unknown=frozenset({"tempo_bpm"})) for piece in (one, other))
    assert alike(humanize(one, model), humanize(other, model))


@pytest.mark.parametrize(("unknown", "is_read"), [("offset", True), ("velocity", False)])
def test_velocities_of_hits_that_stay_are_read_unless_they_are_unknown(model, groove, unknown, is_read):
    which = (groove.hits > 0) & (np.arange(40) >= 16)[:, None]
    louder = replace(groove, velocity=np.where(which, groove.velocity, groove.hits))
    one, other = (
        humanize(replace(piece, unknown=frozenset({unknown})), model, which=which).velocity[which]
        for piece in (groove, louder)
    )
    assert np.array_equal(one, other) != is_read


def test_a_groove_without_hits_has_nothing_to_play(model):
    assert not humanize(Groove(np.zeros((16, VOICES))), model).velocity.any()


def test_what_does_not_fit_is_refused(model, silent, groove):
    with pytest.raises(HypermeterError, match="amount is 1.5, expected from 0"):
        humanize(groove, model, 1.5)
    with pytest.raises(HypermeterError, match="timing is nan"):
        humanize(groove, model, timing=float("nan"))
    with pytest.raises(HypermeterError, match="seed is -1"):  # whatever there is to play
        humanize(groove, model, 0.0, seed=-1)
    with pytest.raises(HypermeterError, match="temperature is nan"):
        humanize(groove, model, 0.0, temperature=float("nan"))
    with pytest.raises(HypermeterError, match="groove of 9 voices, expected the 10"):
        humanize(Groove(groove.hits[:, :9], kit="magenta9"), model)
    with pytest.raises(HypermeterError, match="the model plays hits only"):
        humanize(groove, silent)


# ---------------------------------------------------------------------- the command


@pytest.fixture
def path(groove, tmp_path):
    write_midi(groove, tmp_path / "in.mid")
    return tmp_path / "in.mid"


@pytest.fixture
def loaded(model, monkeypatch):
    monkeypatch.setattr("hypermeter.play.loading.load_player", lambda name: model)
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


def test_without_a_name_the_result_takes_a_free_one_beside_the_file(loaded, path):
    assert humanize_command(path) == path.with_name("in_humanized.mid")
    assert humanize_command(path) == path.with_name("in_humanized_2.mid")


def test_the_result_may_go_to_standard_output(loaded, path, tmp_path, capsysbinary):
    assert humanize_command(path, Path("-")) is None
    assert capsysbinary.readouterr().out == humanize_command(path, tmp_path / "out.mid").read_bytes()


def test_the_command_swings_the_drums(loaded, path, tmp_path):
    keep = ReadOptions(shift="keep")
    before = read_midi(humanize_command(path, tmp_path / "straight.mid"), options=keep)
    after = read_midi(humanize_command(path, tmp_path / "out.mid", swing=0.55), options=keep)
    assert np.array_equal(after.hits, before.hits)
    position = np.arange(len(before))[:, None] + before.offset
    expected = apply_swing(position, 0.55) - np.arange(len(before))[:, None]
    hits = (before.hits > 0) & (np.abs(expected) < 0.49)
    assert np.allclose(after.offset[hits], expected[hits], atol=0.01) and hits.sum() > 20


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
    assert [(note.time, note.pitch, note.velocity) for note in notes["bass"]] == [(3, 40, 90)]
    assert len(notes["drums"]) == count + 2
    assert [(note.time, note.velocity) for note in notes["drums"] if note.pitch == 54] == [(485, 70)]
    assert [tempo.qpm for tempo in after.tempos] == pytest.approx([97, 140], abs=1e-3)
    assert "left as they are: 1 hits" in capsys.readouterr().out


def test_a_flam_stays_a_flam(loaded, tmp_path):
    groove = Groove(np.eye(16, VOICES))
    write_midi(groove, tmp_path / "one.mid")
    score = symusic.Score(tmp_path / "one.mid")
    (snare,) = (note for note in score.tracks[0].notes if note.pitch == 38)
    score.tracks[0].notes.append(symusic.Note(snare.time - 9, 5, 38, 40))
    score.dump_midi(tmp_path / "flam.mid")
    after = symusic.Score(humanize_command(tmp_path / "flam.mid", tmp_path / "out.mid", velocity=0.0))
    grace, main = sorted((note.time, note.velocity) for note in after.tracks[0].notes if note.pitch == 38)
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


def test_notes_stay_in_their_step_and_are_audible(loaded, snares, tmp_path, monkeypatch):
    hits = np.zeros((16, VOICES), np.float32)
    hits[:, 1] = 1
    monkeypatch.setattr(Player, "perform", lambda *_, **__: (hits / 127, hits * 0.45))
    last = max(note.time for note in symusic.Score(snares).tracks[0].notes)
    after = symusic.Score(humanize_command(snares, tmp_path / "out.mid")).tracks[0].notes
    assert len(after) == 17 and max(note.time for note in after) == last
    assert {note.velocity for note in after} == {1}


def test_a_note_ends_before_the_next_of_its_pitch(loaded, snares, tmp_path, monkeypatch):
    """Late and early by turns, so that steps are a tenth as long as before; a note-off would end the next note too."""
    hits = np.zeros((16, VOICES), np.float32)
    hits[:, 1] = 1
    by_turns = np.where(np.arange(16) % 2 == 0, 0.45, -0.45)[:, None]
    monkeypatch.setattr(Player, "perform", lambda *_, **__: (hits * 0.5, hits * by_turns))
    after = symusic.Score(humanize_command(snares, tmp_path / "out.mid")).tracks[0].notes
    after = sorted(after, key=lambda note: note.time)
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
    halves = np.array([note.velocity for note in notes]).reshape(2, -1)
    assert (halves[0] == halves[1]).mean() < 0.5


def test_the_command_refuses_what_it_cannot_play(loaded, path, groove, tmp_path):
    with pytest.raises(HypermeterError, match="one of the files that are read"):
        humanize_command(path, path)
    with pytest.raises(HypermeterError, match="no-such.mid: cannot be read"):
        humanize_command(tmp_path / "no-such.mid", tmp_path / "out.mid")
    (tmp_path / "bad.mid").write_bytes(b"MThd, but no more")
    with pytest.raises(HypermeterError, match="bad.mid"):
        humanize_command(tmp_path / "bad.mid", tmp_path / "out.mid")
    for option, value in (("velocity", -1), ("temperature", 11.0), ("seed", 2**53)):
        with pytest.raises(HypermeterError, match=f"{option} is {value:g}, expected|{option} is {value}, expected"):
            humanize_command(path, tmp_path / "out.mid", **{option: value})
    assert not (tmp_path / "out.mid").exists()


def test_the_command_refuses_a_model_that_plays_hits_only(path, silent, tmp_path, monkeypatch):
    monkeypatch.setattr("hypermeter.play.loading.load_player", lambda name: silent)
    with pytest.raises(HypermeterError, match="mine: the model plays hits only"):
        humanize_command(path, tmp_path / "out.mid", model="mine")
    without_kit = player_of(HierarchicalDrumModel(VOICES, 16, 16, 16).eval())
    monkeypatch.setattr("hypermeter.play.loading.load_player", lambda name: without_kit)
    with pytest.raises(HypermeterError, match="mine: no kit in it"):
        humanize_command(path, tmp_path / "out.mid", model="mine")


# ---------------------------------------------------------------------- the bytes

END = b"\x00\xff\x2f\x00"
WORDS = (
    b"\x00\xff\x02\x06(c) me"
    b"\x00\xff\x54\x05\x41\x00\x00\x00\x00"
    b"\x00\xff\x51\x03\x07\xa1\x20"
    b"\x00\xf0\x05\x7e\x7f\x09\x01\xf7"
    b"\x00\xc0\x1d"  # the program of a channel whose notes are in another track
    b"\x81\x70\xff\x06\x01A\x00\xff\x07\x03cue" + END
)
GUITAR = (
    b"\x00\x90\x40\x64\x83\x60\x40\x00\x00\xa0\x40\x11\x00\xd0\x21\x00\xc0\x1e\x00\x90\x41\x64\x83\x60\x41\x00" + END
)
DRUMS = (
    b"\x00\xff\x03\x03kit\x00\xc9\x10\x00\xb9\x04\x20"
    b"\x00\x99\x24\x64\x00\x2a\x50\x3c\x24\x00\x00\x2a\x00"  # running status
    b"\x3c\xd9\x30\x00\xa9\x2a\x31\x00\xb9\x04\x40\x00\x05\x41"
    b"\x00\x99\x26\x60\x00\xf0\x02\x01\xf7\x3c\x89\x26\x40\x00\xff\x01\x02hi"
    b"\x3c\x92\x30\x40\x00\x99\x24\x61\x14\x89\x24\x40\x28\x82\x30\x40" + END
)


def smf(*tracks, form=1):
    head = b"MThd\0\0\0\6" + b"".join(number.to_bytes(2, "big") for number in (form, len(tracks), 480))
    return head + b"".join(b"MTrk" + len(track).to_bytes(4, "big") + track for track in tracks)


def rmid(midi):
    body = b"RMIDdata" + len(midi).to_bytes(4, "little") + midi + bytes(len(midi) % 2) + b"LIST\4\0\0\0INFO"
    return b"RIFF" + len(body).to_bytes(4, "little") + body


def events_of(path):
    """Of each track: the messages with their ticks that are no drum notes, and those that are."""
    events = []
    for track in mido.MidiFile(path).tracks:
        ticks = np.cumsum([message.time for message in track]).tolist()
        every = [(tick, message.copy(time=0)) for tick, message in zip(ticks, track, strict=True)]
        is_drum = [event.type in ("note_on", "note_off") and event.channel == 9 for _, event in every]
        events.append(
            [
                [event for event, is_drum_event in zip(every, is_drum) if is_drum_event == which]
                for which in (False, True)
            ]
        )
    return events


SONGS = {
    "tracks": smf(WORDS, GUITAR, DRUMS),
    "one track": smf(WORDS[: -len(END)] + DRUMS, form=0),
    "foreign chunks": smf(WORDS, DRUMS).replace(b"MTrk", b"XTrk\0\0\0\4junkMTrk", 1) + b"XFIH\0\0\0\1x and more",
    "after the end": smf(WORDS, DRUMS + b"more"),
    "no end": smf(WORDS, DRUMS[: -len(END)]),
    "riff": rmid(smf(WORDS, GUITAR, DRUMS)),
}


@pytest.mark.parametrize("name", SONGS)
def test_nothing_changes_with_an_amount_of_nothing(loaded, tmp_path, name):
    (tmp_path / "song.mid").write_bytes(SONGS[name])
    out = humanize_command(tmp_path / "song.mid", tmp_path / "out.mid", amount=0.0)
    assert out.read_bytes() == SONGS[name]


@pytest.mark.parametrize("name", ["tracks", "one track"])
def test_all_events_but_drum_notes_stay_in_their_order_and_at_their_times(loaded, tmp_path, name):
    (tmp_path / "song.mid").write_bytes(SONGS[name])
    before = events_of(tmp_path / "song.mid")
    after = events_of(humanize_command(tmp_path / "song.mid", tmp_path / "out.mid"))
    assert [others for others, _ in after] == [others for others, _ in before]
    drums, played = before[-1][1], after[-1][1]
    assert sorted((message.type, message.note) for _, message in played) == sorted(
        (message.type, message.note) for _, message in drums
    )
    assert sum(event not in drums for event in played) >= 6
    if name == "tracks":
        assert (tmp_path / "out.mid").read_bytes().startswith(smf(WORDS, GUITAR, b"")[: -len(b"MTrk....")])


def test_velocities_are_changed_where_they_stand(loaded, tmp_path):
    (tmp_path / "song.mid").write_bytes(SONGS["tracks"])
    out = humanize_command(tmp_path / "song.mid", tmp_path / "out.mid", timing=0.0).read_bytes()
    changed = [at for at, (one, other) in enumerate(zip(SONGS["tracks"], out, strict=True)) if one != other]
    start = SONGS["tracks"].index(DRUMS)
    assert changed and {at - start for at in changed} <= {
        DRUMS.index(event) + 1 for event in (b"\x24\x64", b"\x2a\x50", b"\x26\x60", b"\x24\x61")
    }


@pytest.mark.parametrize("name", ["foreign chunks", "after the end", "no end", "riff"])
def test_what_is_around_the_tracks_stays(loaded, tmp_path, name):
    content = SONGS[name]
    (tmp_path / "song.mid").write_bytes(content)
    out = humanize_command(tmp_path / "song.mid", tmp_path / "out.mid").read_bytes()
    assert out != content and read_midi(tmp_path / "out.mid").hits.sum() == 4
    kept = {
        "foreign chunks": b"XFIH\0\0\0\1x and more",
        "after the end": b"more",
        "no end": b"",
        "riff": b"LIST\4\0\0\0INFO",
    }
    assert out.endswith(kept[name])
    if name == "riff":
        size = int.from_bytes(out[16:20], "little")
        assert int.from_bytes(out[4:8], "little") == len(out) - 8
        assert out[20 + size + size % 2 :] == kept[name] and rmid(out[20 : 20 + size]) == out


def replayed(track, play):
    """Of a track once it is played: each note event's tick, whether it is on, and pitch; of others tick and type."""
    content = replay_drums(smf(track, form=0), "x.mid", play)
    assert content[22:].endswith(END[1:])
    file, tick, events = mido.MidiFile(file=BytesIO(content)), 0, []
    for message in file.tracks[0]:
        tick += message.time
        if message.type in ("note_on", "note_off"):
            events.append((tick, message.type == "note_on" and message.velocity > 0, message.note))
        else:
            events.append((tick, message.type))
    return events


def shifted(*by):
    return lambda ticks, _, velocities: (ticks + np.array(by), velocities)


@pytest.mark.parametrize(
    ("by", "ticks"),
    [
        ((10, 0, 0), [10, 60, 100, 150, 200, 250, 300]),
        ((0, -60, 0), [0, 40, 40, 90, 200, 250, 300]),
        ((0, 99, 0), [0, 50, 199, 200, 200, 250, 300]),
        ((0, 0, 90), [0, 50, 100, 150, 290, 300, 300]),
        ((0, 0, 120), [0, 50, 100, 150, 320, 321, 321]),
    ],
)
def test_ends_go_along_with_their_notes_to_the_next_of_their_pitch_or_the_end_of_the_track(by, ticks):
    track = b"\x00\x99\x24\x40\x32\x24\x00\x32\x24\x40\x32\x24\x00\x32\x24\x40\x32\x24\x00\x32\xff\x2f\x00"
    events = replayed(track, shifted(*by))
    assert [event[0] for event in events] == ticks
    assert [event[1] for event in events] == [True, False, True, False, True, False, "end_of_track"]


def test_a_moved_note_is_after_what_else_is_at_its_tick_and_its_end_before():
    track = b"\x00\xc9\x10\x05\x99\x24\x40\x05\xb9\x04\x20\x00\x99\x26\x40\x05\x24\x00\x05\x26\x00" + END
    ticks, kinds = zip(*(event[:2] for event in replayed(track, shifted(-5, 0))[:4]), strict=True)
    assert ticks == (0, 0, 10, 10) and kinds == ("program_change", True, False, "control_change")


def test_notes_that_overlapped_or_never_ended_stay_so_unless_they_move():
    overlap = b"\x00\x99\x24\x40\x32\x24\x40\x32\x24\x00\x32\x24\x00\x00\x26\x40\x32\x26\x00" + END
    events = replayed(overlap, shifted(0, 0, 20))
    assert events[:4] == [(0, True, 36), (50, True, 36), (100, False, 36), (150, False, 36)]
    moved = [(0, True, 36), (60, False, 36), (60, True, 36), (150, True, 38), (160, False, 36)]
    assert replayed(overlap, shifted(0, 10, 0))[:5] == moved
    never = b"\x00\x99\x24\x40\x32\x24\x40\x32\x24\x00\x32\x24\x40\x32\x24\x00" + END
    assert [event[:2] for event in replayed(never, shifted(5, 5, 5))[:-1]] == list(
        zip((5, 55, 105, 155, 200), (True, True, False, True, False))
    )


def test_two_notes_at_once_both_keep_their_length():
    track = b"\x00\x99\x24\x40\x00\x24\x50\x32\x24\x00\x00\x24\x00\x32\xff\x2f\x00"
    assert [event[0] for event in replayed(track, shifted(7, 7))] == [7, 7, 57, 57, 100]


@pytest.mark.parametrize(
    ("track", "what"),
    [
        (b"\x00\x99\x24", "cut off"),
        (b"\x00\x99\x24\x40\x81", "cut off"),
        (b"\x00\x24\x40\x00\x99\x24\x40" + END, "cut off"),
        (b"\x00\x99\x24\x40\x00\xf0\x7f\xf7" + END, "cut off"),
        (b"\x08\x99\x24\x40\xff\xff\xff\x7f\xff\x2f\x00", "further from"),
    ],
)
def test_damaged_events_are_refused(track, what):
    with pytest.raises(HypermeterError, match=f"x.mid: damaged MIDI file .an event is {what}"):
        replay_drums(smf(track), "x.mid", lambda ticks, _, velocities: (ticks - 1, velocities))


def test_a_cut_off_track_of_a_riff_file_is_refused():
    content = rmid(smf(DRUMS))
    content = content[:16] + (30).to_bytes(4, "little") + content[20:]
    with pytest.raises(HypermeterError, match="truncated"):
        replay_drums(content, "x.mid", shifted(0))
