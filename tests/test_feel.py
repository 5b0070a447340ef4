"""Feels: what is measured of a take, how it is given to another beat, and the feels of the package."""

import math
import re
from dataclasses import replace
from pathlib import Path

import mido
import numpy as np
import pytest
import torch

from hypermeter.cli.feels import feels_command, pushes_of
from hypermeter.cli.humanize import humanize_command
from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.core.groove import Groove
from hypermeter.core.kit import load_kit
from hypermeter.core.read_options import ReadOptions
from hypermeter.core.strokes import Strokes
from hypermeter.io.midi import read_midi, write_midi
from hypermeter.model import Parts
from hypermeter.model.hierarchical import HierarchicalDrumModel
from hypermeter.model.playing import player_of
from hypermeter.music.feel import Feel, differences, feel_distance
from hypermeter.music.feel_files import feel_names, feel_text, load_feel, parse_feel
from hypermeter.play.humanize import humanize
from hypermeter.play.loading import load_player

KIT = load_kit("gm10")
KEPT = ReadOptions(shift="keep")
VOICES = KIT.num_voices
KICK, SNARE, HAT = range(3)
TRIPLETS, SIX_EIGHT, SEVEN_EIGHT = Grid(3), Grid(2, 6, beat_unit=8), Grid(2, 7, beat_unit=8)


@pytest.fixture(scope="module")
def model():
    return load_player("groove")


@pytest.fixture(scope="module")
def small():
    torch.manual_seed(0)
    return player_of(HierarchicalDrumModel(VOICES, 16, 16, 16, kit=KIT, use_expression=True).eval())


def beat(bars=8, grid=Grid(), tempo_bpm=100.0, **changes):
    """Hats on each half beat, kick on one, snare in the middle of the bar, as text has them."""
    size = grid.steps_per_bar
    hits = np.zeros((size, VOICES), np.uint8)
    hits[:: max(grid.steps_per_beat // 2, 1), HAT] = 1
    hits[0, KICK] = hits[size // 2, SNARE] = hits[size - 1, SNARE] = 1
    return Groove(np.tile(hits, (bars, 1)), tempo_bpm=tempo_bpm, grid=grid, **changes)


def take(bars=8, seed=0, late=(0.02, 0.12, -0.05), loud=(0.9, 0.6, 0.3), spread=0.02, **options):
    """A beat in which voices are late and loud by constants, with deviations."""
    groove, random = beat(bars, **options), np.random.default_rng(seed)
    at, rest = groove.hits, [0.0] * (VOICES - 3)
    offset = at * (np.array([*late, *rest]) + spread * random.standard_normal(at.shape))
    velocity = at * (np.array([*loud, *rest]) + 2 * spread * random.standard_normal(at.shape))
    return replace(groove, offset=offset.clip(-0.4, 0.4), velocity=velocity.clip(0, 1))


def alike(one, other):
    return one.shift == other.shift and all(
        np.array_equal(getattr(one, name), getattr(other, name)) for name in ("hits", "velocity", "offset")
    )


# ---------------------------------------------------------------------- what is measured


def test_the_figures_of_a_take_by_hand():
    groove = take(4, spread=0.0)
    feel = Feel.of(replace(groove, shift=0.1), "mine")
    step_ms = 150.0
    assert feel.step_ms == step_ms and feel.bars == 4 and feel.shift_ms == pytest.approx(0.1 * step_ms)
    assert feel.count[0].tolist()[:3] == [4, 0, 4] and feel.count[8, SNARE] == 4
    assert feel.velocity[0, KICK] == pytest.approx(0.9) and math.isnan(feel.velocity[1, KICK])
    assert feel.voice_ms[:3] == pytest.approx(step_ms * (0.1 + np.array([0.02, 0.12, -0.05])))
    assert np.isnan(feel.voice_ms[3:]).all()
    assert feel.spread_ms[:3] == pytest.approx([0, 0, 0], abs=1e-4) and feel.drift_ms == pytest.approx(0, abs=1e-4)
    uneven = replace(groove, velocity=np.where(np.arange(64)[:, None] < 32, 0.5, 0.7) * groove.hits)
    assert Feel.of(uneven).velocity_spread[KICK] == pytest.approx(np.std([0.5, 0.5, 0.7, 0.7], ddof=1))
    late = np.where(np.arange(64)[:, None] < 32, 0.1, -0.1) * groove.hits
    assert Feel.of(replace(groove, offset=late)).drift_ms == pytest.approx(15 * math.sqrt(4 / 3), rel=1e-5)


def test_swing_is_told_from_the_lateness_of_voices():
    groove = beat(4)
    hits = groove.hits.copy()
    hits[:, HAT] = 1
    late = np.where(np.arange(64) % 2, 0.2, 0.0)[:, None] + np.array([0.0, 0.1, 0.05, *[0] * 7])
    feel = Feel.of(replace(groove, hits=hits, offset=hits * late))
    assert feel.swing["steps"] == pytest.approx(0.6, abs=0.02) and feel.swing["halves of beats"] == pytest.approx(
        0.5, abs=0.01
    )
    # The second snare of the bar is on a step that is late, but the snare is not later for that.
    assert feel.late[:3] == pytest.approx([0, 0.1, 0.05], abs=1e-3)
    assert Feel.of(beat(4, TRIPLETS)).swing == {} and set(Feel.of(beat(4, SIX_EIGHT)).swing) == {"halves of beats"}


def test_the_distance_is_0_of_the_same_and_grows_with_what_differs():
    one = Feel.of(take())
    assert feel_distance(one, one) == 0 and all(
        value == 0 or math.isnan(value) for value in differences(one, one).values()
    )
    later = differences(one, Feel.of(replace(take(), shift=0.1)))
    assert later["shift"] == pytest.approx(15) and later["timing"] == later["accent"] == 0
    louder = differences(one, Feel.of(take(loud=(0.8, 0.5, 0.2))))
    assert louder["accent"] == pytest.approx(0.1, abs=1e-3) and louder["shift"] == 0
    wider = differences(one, Feel.of(take(spread=0.04)))
    assert wider["timing spread"] == pytest.approx(math.log(2), abs=0.01)
    assert feel_distance(one, Feel.of(take(seed=1))) < 0.15 < feel_distance(one, Feel.of(take(late=(0, 0, 0.3))))
    other = Feel.of(take(grid=TRIPLETS))
    assert feel_distance(one, other) == pytest.approx(feel_distance(other, one), rel=1e-6)
    cowbell = np.zeros((64, VOICES))
    cowbell[::4, 9] = 1
    assert math.isnan(differences(one, Feel.of(Groove(cowbell)))["shift"])


# ---------------------------------------------------------------------- what is given


def test_the_figures_of_the_take_are_those_of_the_result_and_the_hits_stay(model):
    feel = Feel.of(replace(take(16, seed=3), shift=-0.1))
    flat = beat(16, strokes=Strokes([8], [SNARE], [-0.3], [0.2]))
    plain, like = humanize(flat, model, seed=1), humanize(flat, model, seed=1, like=feel)
    assert np.array_equal(like.hits, flat.hits) and not like.velocity[flat.hits == 0].any()
    ours = Feel.of(like)
    assert ours.voice_ms[:3] == pytest.approx(feel.voice_ms[:3], abs=2.5)
    assert ours.velocity[0, :3:2] == pytest.approx(feel.velocity[0, :3:2], abs=0.05)
    assert feel_distance(feel, ours) < feel_distance(feel, Feel.of(plain)) / 3
    assert like.shift == pytest.approx(-0.1) and plain.shift == 0
    moved = like.offset[8, SNARE] - flat.offset[8, SNARE]
    assert like.strokes.offset[0] == pytest.approx(max(-0.3 + moved, -0.5), abs=1e-6)


def test_one_seed_is_one_result(small):
    options = {"like": take(), "timing": 0.7, "velocity": 0.4}
    assert alike(humanize(beat(), small, seed=4, **options), humanize(beat(), small, seed=4, **options))
    assert not alike(humanize(beat(), small, seed=4, **options), humanize(beat(), small, seed=5, **options))


def test_strengths_of_0_are_plain_and_those_between_are_between(small):
    plain, whole = humanize(beat(), small, seed=2), humanize(beat(), small, seed=2, like=take())
    assert alike(humanize(beat(), small, seed=2, like=take(), timing=0.0, velocity=0.0), plain)
    half = humanize(beat(), small, seed=2, like=take(), timing=0.5, velocity=0.25)
    at = plain.hits > 0
    at[0] = False  # where nothing is early
    assert half.velocity[at] == pytest.approx(0.75 * plain.velocity[at] + 0.25 * whole.velocity[at], abs=1e-6)
    assert half.offset[at] == pytest.approx((plain.offset[at] + whole.offset[at]) / 2, abs=1e-6)
    timing = humanize(beat(), small, seed=2, like=take(), velocity=0.0)
    assert np.array_equal(timing.velocity, plain.velocity) and np.array_equal(timing.offset, whole.offset)


def test_what_is_kept_stays(small):
    groove = take(seed=8)
    kept = humanize(groove, small, like="drummer-1", keep=["velocity"])
    assert np.array_equal(kept.velocity, groove.velocity) and not np.array_equal(kept.offset, groove.offset)
    kept = humanize(replace(groove, shift=0.05), small, like="drummer-1", keep=["timing"])
    assert np.array_equal(kept.offset, groove.offset) and kept.shift == 0.05
    assert alike(humanize(groove, small, like="drummer-1", keep=["timing", "velocity"]), groove)
    assert alike(humanize(groove, small, 0.0, like="drummer-1"), groove)


def test_what_comes_later_does_not_change_how_it_was_played_before(small):
    """Neither the beat's later hits nor their number: the take is heard before, and what is played is heard so far."""
    one = beat(8)
    hits = one.hits.copy()
    hits[70:] = np.roll(hits[70:], 3, 0)
    hits[90:, 5] = 1
    changed, shorter = replace(one, hits=hits), one.steps(0, 70)
    first, other, cut = (humanize(groove, small, seed=6, like=take()) for groove in (one, changed, shorter))
    for name in ("velocity", "offset"):
        assert np.array_equal(getattr(first, name)[:70], getattr(other, name)[:70])
        assert np.array_equal(getattr(first, name)[:70], getattr(cut, name))
    assert not np.array_equal(first.offset[70:], other.offset[70:])


def test_the_take_is_heard_by_the_model(small):
    """Beside its figures: without it, the same figures are played in another way."""
    feel = Feel.of(take())
    deaf = replace(feel, take=None)
    assert not alike(humanize(beat(), small, like=feel), humanize(beat(), small, like=deaf))


@pytest.mark.parametrize("grid", [TRIPLETS, SIX_EIGHT, SEVEN_EIGHT, Grid(4, 3)], ids=str)
def test_takes_and_beats_of_every_metre_and_grid(model, grid):
    there, here = beat(8, grid), beat(8)
    for groove, like in ((there, take(8)), (here, take(8, grid=grid)), (there, take(8, grid=grid))):
        played = humanize(groove, model, like=like, seed=1)
        assert np.array_equal(played.hits, groove.hits) and played.grid == groove.grid
        plain = humanize(groove, model, seed=1)
        late = [differences(Feel.of(like), Feel.of(one))["shift"] for one in (played, plain)]
        assert late[0] < late[1]


def test_a_take_in_a_metre_that_a_model_does_not_play_is_refused():
    parts = Parts(place_table=True)
    table = HierarchicalDrumModel(VOICES, 16, 16, 16, kit=KIT, use_expression=True, parts=parts).eval()
    with pytest.raises(HypermeterError, match="a table of one grid, which does not serve 7/8"):
        humanize(beat(), player_of(table), like=take(grid=SEVEN_EIGHT))


def test_short_takes_takes_of_other_kits_and_tempos_and_what_a_take_does_not_tell(model):
    short = take(1).steps(0, 10)
    assert humanize(beat(), model, like=short).velocity.any()
    names = load_kit("gm16").names
    hits = np.zeros((64, len(names)))
    hits[::4, names.index("snare")] = 1
    other = Groove(hits, hits * 0.5, hits * 0.1, kit="gm16")
    assert humanize(beat(), model, like=other).velocity.any()
    fast = humanize(beat(16, tempo_bpm=150.0), model, like=take(16))  # 15 ms of a step of 100 ms
    late_ms = (fast.offset + fast.shift)[fast.hits[:, SNARE] > 0, SNARE].mean() * 100
    assert late_ms == pytest.approx(0.12 * 150, abs=4)
    plain = humanize(beat(), model)
    flat = replace(take(), unknown=frozenset({"offset"}))
    assert np.array_equal(humanize(beat(), model, like=flat).offset, plain.offset)
    assert not np.array_equal(humanize(beat(), model, like=flat).velocity, plain.velocity)


def test_of_some_hits_only_the_others_stay_where_they_are(small):
    groove, which = take(seed=9), np.zeros((128, VOICES), bool)
    which[:, SNARE] = True
    like = replace(take(late=(0.1, 0.1, 0.1)), shift=0.2)
    played = humanize(groove, small, which=which, like=like)
    assert played.shift == 0 and np.array_equal(played.offset[:, HAT], groove.offset[:, HAT])
    assert played.offset[groove.hits[:, SNARE] > 0, SNARE].mean() == pytest.approx(0.3, abs=0.05)


@pytest.mark.parametrize("temperature", [0.0, 0.5, 2.0])
def test_the_temperature_goes_on_to_count(model, temperature):
    played, learnt = (humanize(beat(16), model, like=take(16), temperature=value) for value in (temperature, 1.0))
    spread, usual = (np.nanmean(Feel.of(groove).spread_ms) for groove in (played, learnt))
    assert (spread > usual) if temperature > 1 else (spread < usual)


def test_a_push_is_early_and_what_is_laid_back_is_late(small):
    groove = take()
    plain, pushed = humanize(groove, small), humanize(groove, small, push={"snare": 8.0, "closed_hat": -3.0})
    at = groove.hits > 0
    at[0] = False
    late_ms = (pushed.offset - plain.offset) * 150
    assert late_ms[at[:, SNARE], SNARE] == pytest.approx(-8.0, abs=1e-4)
    assert late_ms[at[:, HAT], HAT] == pytest.approx(3.0, abs=1e-4) and not late_ms[:, KICK].any()
    alone = humanize(groove, small, 0.0, push={"snare": 8.0})
    assert np.array_equal(alone.velocity, groove.velocity) and np.array_equal(
        alone.offset[:, HAT], groove.offset[:, HAT]
    )
    assert (humanize(beat(), small, 0.0, push={"kick": 8.0}).offset[0] == 0).all()  # not before the music begins


def test_no_hit_of_the_first_step_is_early_though_the_take_is(small):
    early = replace(take(late=(-0.2, -0.2, -0.2)), shift=-0.3)
    for seed in range(3):
        played = humanize(beat(), small, like=early, seed=seed)
        assert (played.offset[0][played.hits[0] > 0] + played.shift >= -1e-6).all() and played.shift < -0.2


# ---------------------------------------------------------------------- what is refused


def test_what_gives_no_feel_is_refused_in_one_line(small):
    cowbell = np.zeros((16, VOICES))
    cowbell[0, 9] = 1
    for like, reason in (
        (Groove(np.zeros((16, VOICES))), "like: no hits in it"),
        (Groove(cowbell), "like: it has hits of ride, the beat of kick, snare, closed_hat; expected a voice in common"),
        (replace(take(), unknown=frozenset({"velocity", "offset"})), "neither velocity nor timing"),
        ("laid bakc", "laid bakc: no such feel; did you mean laid-back?"),
        ("polka", "no such feel; expected one of laid-back, pushed"),
    ):
        with pytest.raises(HypermeterError, match=re.escape(reason)):
            humanize(beat(), small, like=like)
    with pytest.raises(HypermeterError, match="push: no voice 'cow'"):
        humanize(beat(), small, push={"cow": 1.0})
    with pytest.raises(HypermeterError, match=r"push: snare by 80 ms, expected at most half a step, 75 ms at 100 bpm"):
        humanize(beat(), small, push={"snare": 80.0})
    with pytest.raises(HypermeterError, match="push: snare by nan"):
        humanize(beat(), small, push={"snare": math.nan})
    with pytest.raises(HypermeterError, match="keep: 'hits', expected timing or velocity"):
        humanize(beat(), small, keep=["hits"])


# ---------------------------------------------------------------------- the feels of the package


def test_feels_of_the_package_load_and_are_what_their_names_say(model):
    names = feel_names()
    assert names[:5] == ("laid-back", "pushed", "shuffled", "straight", "swung")
    assert names[5:] == tuple(f"drummer-{number}" for number in range(1, 11))
    assert load_feel("Drummer 7") is load_feel("drummer-7")
    plain = humanize(beat(16), model)
    late = {name: Feel.of(humanize(beat(16), model, like=name)) for name in names[:5]}
    assert late["laid-back"].voice_ms[SNARE] > 8 > -5 > late["pushed"].voice_ms[SNARE]
    assert late["laid-back"].voice_ms[SNARE] > late["laid-back"].voice_ms[KICK]
    assert late["shuffled"].swing["halves of beats"] == pytest.approx(0.6, abs=0.02)
    assert late["straight"].swing["halves of beats"] == pytest.approx(0.5, abs=0.02)
    assert np.array_equal(humanize(beat(16), model, like="straight").velocity, plain.velocity)


def test_a_feel_is_written_and_read_back():
    feel = load_feel("drummer-7")
    again = parse_feel(feel_text(feel, notes=("a note",)), "drummer-7", "here")
    for name in ("count", "velocity", "offset", "spread_ms", "velocity_spread"):
        assert np.allclose(getattr(feel, name), getattr(again, name), equal_nan=True), name
    assert (again.shift_ms, again.drift_ms, again.grid, again.about) == (
        feel.shift_ms, feel.drift_ms, feel.grid, feel.about
    )  # fmt: skip
    for text, reason in (
        ("about: x", "here: 'metre'; expected metre"),
        (feel_text(feel).replace("gm10", "magenta9"), "here: no voice 'pedal_hat' in kit magenta9"),
        (feel_text(feel).replace("velocity: [", "velocity: [0.5, ", 1), "kick has 17 numbers of velocity"),
    ):
        with pytest.raises(HypermeterError, match=re.escape(reason)):
            parse_feel(text, "x", "here")


def test_the_mean_of_takes_weighs_them_by_their_hits():
    one, other = take(4, late=(0.0, 0.0, 0.0), spread=0.0), take(12, late=(0.1, 0.1, 0.1), spread=0.0)
    feel = Feel.of_many([one, other], "both")
    assert feel.take is None and feel.bars == 16 and feel.offset[0, KICK] == pytest.approx(0.075)
    assert feel.spread_ms[KICK] == pytest.approx(0, abs=1e-4)  # within takes
    with pytest.raises(HypermeterError, match="2 grids and 1 kits"):
        Feel.of_many([one, beat(4, TRIPLETS)], "both")


# ---------------------------------------------------------------------- from the command line


@pytest.fixture
def files(tmp_path):
    write_midi(beat(), tmp_path / "beat.mid")
    write_midi(replace(take(), shift=0.15), tmp_path / "take.mid")
    return tmp_path


def test_the_command_plays_like_a_file_or_a_name(files, capsys):
    path, out = files / "beat.mid", files / "out.mid"
    plain = read_midi(humanize_command(path, out), options=KEPT)
    like = read_midi(humanize_command(path, out, like=str(files / "take.mid")), options=KEPT)
    assert np.array_equal(like.hits, plain.hits)
    late_ms = (like.shift + like.offset[like.hits[:, SNARE] > 0, SNARE].mean()) * 150
    assert late_ms == pytest.approx((0.15 + 0.12) * 150, abs=5)
    told = re.search(r"distance from the feel of .*take.mid: (\S+) before, (\S+) after", capsys.readouterr().out)
    assert float(told[2]) < float(told[1])
    zero = humanize_command(path, out, like="drummer 7", timing=0.0, velocity=0.0).read_bytes()
    assert zero == humanize_command(path, files / "plain.mid").read_bytes()
    options = {"push": {"snare": "6ms"}, "lay_back": {"closed_hat": "3"}}
    pushed = read_midi(humanize_command(path, out, amount=0.0, **options), options=KEPT)
    at = pushed.hits > 0
    assert (pushed.offset + pushed.shift)[at[:, SNARE], SNARE] * 150 == pytest.approx(-6, abs=1.0)
    assert (pushed.offset + pushed.shift)[at[:, HAT], HAT] * 150 == pytest.approx(3, abs=1.0)


def test_of_a_file_in_two_tempos_a_stretch_without_voices_of_the_take_is_played_plainly(files):
    """The first stretch has the snare of the take, the second the ride alone."""
    song = mido.MidiFile(ticks_per_beat=480)
    events = [(0, mido.MetaMessage("set_tempo", tempo=600_000)), (3840, mido.MetaMessage("set_tempo", tempo=500_000))]
    for number in range(16):
        pitch = 38 if number < 8 else 51
        for kind, later in (("note_on", 0), ("note_off", 60)):
            events.append((480 * number + later, mido.Message(kind, channel=9, note=pitch, velocity=90)))
    song.tracks.append(mido.MidiTrack())
    before = 0
    for tick, message in sorted(events, key=lambda event: event[0]):
        song.tracks[0].append(message.copy(time=tick - before))
        before = tick
    song.save(files / "song.mid")
    write_midi(replace(beat(), velocity=0.3 * beat().hits), files / "soft.mid")
    plain = humanize_command(files / "song.mid", files / "plain.mid")
    like = humanize_command(files / "song.mid", files / "like.mid", like=str(files / "soft.mid"))
    loud = [[note.velocity for note in mido.MidiFile(path) if note.type == "note_on"] for path in (plain, like)]
    assert loud[0][8:] == loud[1][8:] and loud[0][:8] != loud[1][:8]


def test_the_command_refuses_in_one_line(files):
    path, out = files / "beat.mid", files / "out.mid"
    (files / "bad.mid").write_bytes(b"MThd")
    for options, reason in (
        ({"like": "drumer-7"}, "--like drumer-7: no such feel or file; did you mean drummer-7?"),
        ({"like": str(files / "none.mid")}, "none.mid"),
        ({"like": str(files / "bad.mid")}, "bad.mid"),
        ({"push": {"snare": "soon"}}, "--push snare soon: expected a time in ms, as snare 8ms"),
        ({"push": {}}, "--push with nothing after it"),
        ({"push": {"snare": "1"}, "lay_back": {"snare": "2"}}, "--push and --lay-back snare: expected one of them"),
        ({"push": {"snare": "90ms"}}, "push: snare by 90 ms, expected at most half a step"),
    ):
        with pytest.raises(HypermeterError, match=re.escape(reason)):
            humanize_command(path, out, **options)
    with pytest.raises(HypermeterError):
        humanize_command(path, files / "take.mid", like=str(files / "take.mid"))
    assert not out.exists() and pushes_of({"snare": "8ms"}, {"kick": ".5 ms"}) == {"snare": 8.0, "kick": -0.5}


def test_feels_are_listed_with_their_figures_and_distances(files, capsys):
    feels_command()
    listed = capsys.readouterr().out
    assert all(name in listed for name in feel_names()) and "60/50" in listed
    feels_command(files / "take.mid")
    first = capsys.readouterr().out.splitlines()[1]
    assert "take.mid" in first and "+40" in first  # the snare


def test_data_files_hold_figures_of_training_alone_with_their_licence():
    folder = Path(__file__).parents[1] / "src" / "hypermeter" / "feels"
    for path in folder.glob("drummer-*.yaml"):
        head = path.read_text("utf-8")[:400]
        assert "CC BY 4.0" in head and "training split" in head
