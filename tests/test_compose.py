"""The generate command's parts: a groove goes on, is filled in, varied and steered; what does not fit is refused."""

import math
import os
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import mido
import numpy as np
import pytest
import symusic
import torch

from hypermeter import cli
from hypermeter.cli.generate import generate_command
from hypermeter.cli.options import LockArguments, PlanArguments, SamplingArguments
from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.core.groove import DEFAULT_VELOCITY, Groove
from hypermeter.core.kit import Kit, Voice, load_kit
from hypermeter.core.read_options import ReadOptions
from hypermeter.core.strokes import Chokes, Strokes
from hypermeter.core.tracks import BASS, REST
from hypermeter.io.midi import read_midi, write_midi
from hypermeter.model.hierarchical import HierarchicalDrumModel
from hypermeter.model.playing import player_of
from hypermeter.play import compose
from hypermeter.play.compose import columns_of_groove, continue_groove, fill_groove, replace_bars, vary_groove
from hypermeter.play.humanize import humanize
from hypermeter.play.loading import load_player
from hypermeter.play.locks import lock_all_but, lock_voices
from hypermeter.play.plan import FILL, KINDS, NUMBERS, make_plan, plan_bars, plan_of
from hypermeter.play.request import InfillOptions, PlanOptions, SamplingOptions, check

KEEP, SHIFT = ReadOptions(shift="keep"), ("--shift", "keep")


@pytest.fixture(scope="module")
def weights():
    torch.manual_seed(0)
    return HierarchicalDrumModel(10, 16, 16, 16, kit=load_kit("gm10")).eval()


@pytest.fixture(scope="module")
def model(weights):
    return player_of(weights)


@pytest.fixture
def primer():
    random = np.random.default_rng(0)
    hits = random.random((32, 10)) < 0.2
    velocity = hits * random.uniform(0.1, 1, hits.shape)
    return Groove(hits, velocity, hits * random.uniform(-0.4, 0.4, hits.shape), tempo_bpm=97.0)


def test_the_primer_stays_as_it_was_played(model, primer):
    groove = continue_groove(model, primer, 3)
    assert len(groove) == 32 + 48
    assert groove.tempo_bpm == 97.0
    for name in ("hits", "velocity", "offset"):
        assert np.array_equal(getattr(groove, name)[:32], getattr(primer, name))
    new = groove.velocity[32:]
    assert np.array_equal(new, np.float32(DEFAULT_VELOCITY) * groove.hits[32:])


def test_no_bars_or_a_context_in_another_metre_are_refused(model, primer):
    with pytest.raises(HypermeterError, match="context in 3/4, 12 steps a bar; the model plays 4/4"):
        continue_groove(model, primer, 2, context=Groove(primer.hits[:24], grid=Grid(4, 3)))
    with pytest.raises(HypermeterError, match="bars is 0"):
        continue_groove(model, primer, 0)


def test_the_command_writes_midi_that_reads_back_and_a_picture(weights, primer, tmp_path, capsys):
    weights.save(tmp_path / "model.safetensors")
    write_midi(primer, tmp_path / "primer.mid")
    options = {"model": str(tmp_path / "model.safetensors"), "primer": tmp_path / "primer.mid", "bars": 4}
    generate_command(out=tmp_path / "out.mid", sampling=SamplingArguments(seed=1), options=KEEP, **options)
    groove = read_midi(tmp_path / "out.mid", options=KEEP)
    assert np.array_equal(groove.hits[:32], primer.hits)
    assert groove.hits[32:].any()
    assert (tmp_path / "out.svg").stat().st_size > 1000
    assert "kick" in capsys.readouterr().out


def test_a_voice_that_the_kit_lacks_is_named(weights, tmp_path):
    weights.save(tmp_path / "model.safetensors")
    with pytest.raises(HypermeterError, match="no voice 'hat' in kit gm10; it has kick"):
        generate_command(
            out=tmp_path / "out.mid",
            model=str(tmp_path / "model.safetensors"),
            sampling=SamplingArguments(bias={"hat": 1.0}),
        )


MINE = Kit("mine", tuple(Voice(f"part{n}", (60 + n,), 60 + n) for n in range(10)))


def test_a_model_on_a_custom_kit_plays_without_the_file_of_the_kit(primer, tmp_path, capsys):
    torch.manual_seed(0)
    HierarchicalDrumModel(10, 16, 16, 16, kit=MINE).save(tmp_path / "model.safetensors")
    write_midi(replace(primer, kit=MINE), tmp_path / "primer.mid")
    options = {"model": str(tmp_path / "model.safetensors"), "bars": 4}
    for primer_path in (None, tmp_path / "primer.mid"):
        generate_command(out=tmp_path / "out.mid", primer=primer_path, **options)
        assert "part9" in capsys.readouterr().out and (tmp_path / "out.svg").exists()
        assert read_midi(tmp_path / "out.mid", MINE).hits.any()


def test_a_model_without_a_kit_takes_the_primers_and_alone_is_refused(primer, tmp_path):
    weights = HierarchicalDrumModel(10, 16, 16, 16).eval()
    model = player_of(weights)
    assert continue_groove(model, primer, 1).kit == "gm10"
    with pytest.raises(HypermeterError, match="model: no kit in it, .*train it with --kit"):
        continue_groove(model, None, 1)
    weights.save(tmp_path / "model.safetensors")
    with pytest.raises(HypermeterError, match=r"model\.safetensors: no kit in it, .*train it with --kit"):
        generate_command(out=tmp_path / "out.mid", model=str(tmp_path / "model.safetensors"))


def test_hits_of_the_primer_that_are_left_out_are_reported(weights, tmp_path, capsys):
    weights.save(tmp_path / "model.safetensors")
    cowbells = Groove(np.eye(48, 47), kit="gm")
    write_midi(cowbells, tmp_path / "primer.mid")
    generate_command(tmp_path / "primer.mid", tmp_path / "out.mid", str(tmp_path / "model.safetensors"), bars=1)
    lines = [line for line in capsys.readouterr().out.splitlines() if "no voice in kit gm10" in line]
    assert len(lines) == 1 and "primer.mid: " in lines[0] and "54 tambourine" in lines[0]


@pytest.mark.parametrize("name", ["x.png", "x.wav", "x"])
def test_a_result_that_is_named_as_something_else_is_refused(tmp_path, name):
    with pytest.raises(HypermeterError, match=rf"{name}: expected a name that ends in .mid or"):
        generate_command(out=tmp_path / name)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes, which Windows lacks")
def test_a_pipe_is_not_replaced_by_midi(weights, tmp_path):
    weights.save(tmp_path / "model.safetensors")
    os.mkfifo(tmp_path / "pipe.mid")
    with pytest.raises(HypermeterError, match="a folder, device or pipe"):
        generate_command(out=tmp_path / "pipe.mid", model=str(tmp_path / "model.safetensors"), bars=1)
    assert (tmp_path / "pipe.mid").is_fifo()


# ---------------------------------------------------------------------- around what is kept

LABELS = {"section": ["intro", "verse", "chorus"], "style": ["rock", "jazz"], "fill": list(FILL)}
SMALL = {"infilling": InfillOptions(4)}


@pytest.fixture(scope="module")
def asking_weights():
    torch.manual_seed(0)
    return HierarchicalDrumModel(10, 16, 16, 16, kit=load_kit("gm10"), labels=LABELS).eval()


@pytest.fixture(scope="module")
def asking(asking_weights):
    return player_of(asking_weights, "asking")


@pytest.fixture
def folder(weights, asking_weights, primer, tmp_path, monkeypatch):
    """model.safetensors, asking.safetensors (with labels), primer.mid (two bars) and song.mid (five)."""
    monkeypatch.chdir(tmp_path)
    weights.save("model.safetensors")
    asking_weights.save("asking.safetensors")
    write_midi(primer, "primer.mid")
    hits = np.random.default_rng(1).random((80, 10)) < 0.2
    write_midi(Groove(hits, np.where(hits, 0.4, 0), tempo_bpm=101.0), "song.mid")
    return tmp_path


def run(*arguments):
    """The command, as typed; then what it wrote."""
    # The grooves here are random, so any shift that is found in them is chance.
    assert cli.main(["generate", "--out", "out.mid", "--no-picture", *SHIFT, *map(str, arguments)]) == 0
    return read_midi("out.mid", options=KEEP)


def refused(capsys, *arguments, out="out.mid"):
    """The one line of the refusal."""
    assert cli.main(["generate", "--out", out, "--no-picture", *map(str, arguments)]) == 2
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1 and "Traceback" not in printed
    return printed


MODEL = ("--model", "model.safetensors")
ASKING = ("--model", "asking.safetensors")


def test_a_filled_groove_keeps_what_is_locked_as_it_was_played(model, primer):
    hits = columns_of_groove(model, primer)
    groove, done = fill_groove(model, primer, lock_voices(hits, [0, 1]), **SMALL)
    for name in ("hits", "velocity", "offset"):
        assert np.array_equal(getattr(groove, name)[:, :2], getattr(primer, name)[:, :2])
    assert not np.array_equal(groove.hits[:, 2:], primer.hits[:, 2:])
    assert groove.tempo_bpm == 97.0 and done.hits.shape == (32, 10)
    replaced, _ = fill_groove(model, primer, lock_all_but(hits, [1], model.grid), **SMALL)
    assert np.array_equal(replaced.velocity[:16], primer.velocity[:16])
    assert not np.array_equal(replaced.hits[16:], primer.hits[16:])


def test_a_variation_of_strength_zero_is_the_groove_as_it_was_played(model, primer):
    same, _ = vary_groove(model, primer, 0.0)
    other, _ = vary_groove(model, primer, 1.0)
    for name in ("hits", "velocity", "offset"):
        assert np.array_equal(getattr(same, name), getattr(primer, name))
    assert not np.array_equal(other.hits, primer.hits) and len(other) == len(primer)


@pytest.fixture
def flams(primer):
    """The primer with a further stroke of each hit, an openness of each, and a choke in each bar."""
    step, voice = np.nonzero(primer.hits)
    strokes = Strokes(step, voice, np.full(len(step), -0.3), np.full(len(step), 0.2))
    openness = np.random.default_rng(1).random(primer.hits.shape)
    return replace(primer, strokes=strokes, openness=openness, chokes=Chokes([8, 24], [8, 8], [0, 0]))


def test_music_that_goes_on_keeps_the_strokes_of_what_was_there(model, flams):
    groove = continue_groove(model, flams, 2)
    assert groove.bars(0, 2).strokes == flams.strokes and groove.chokes == flams.chokes
    assert np.array_equal(groove.openness[:32], flams.openness, True)
    whole = compose.join_grooves(flams, flams)
    assert whole.bars(2, 4).strokes == whole.bars(0, 2).strokes == flams.strokes and len(whole.chokes) == 4


def test_a_cell_that_is_locked_keeps_its_strokes_and_one_that_goes_loses_them(model, flams):
    groove, _ = replace_bars(model, flams, [1], keep=[2], infilling=InfillOptions(particles=2))
    assert groove.bars(0, 1).strokes == flams.bars(0, 1).strokes
    before, after = flams.stroke_counts, groove.stroke_counts
    assert (after[:, 2] == before[:, 2]).all() and before[16:, 2].max() == 2
    assert (after[(before == 0) & (groove.hits > 0)] == 1).all() and (after[groove.hits == 0] == 0).all()


def test_the_command_keeps_the_strokes_of_a_lock(folder, flams):
    write_midi(flams, "flams.mid")
    run(*MODEL, "--lock", "flams.mid", "--keep", "snare", "ride", "--particles", 4)
    before, after = read_midi("flams.mid", options=KEEP), read_midi("out.mid", options=KEEP)
    for voice in (1, 9):
        assert (after.stroke_counts[:, voice] == before.stroke_counts[:, voice]).all()
    assert before.stroke_counts[:, [1, 9]].max() == 2


def test_a_context_counts_and_is_not_in_the_result(model, primer):
    halves = [Groove(primer.hits[part]) for part in (slice(0, 16), slice(16, 32))]
    plain = continue_groove(model, primer, 2, include_primer=False)
    made = continue_groove(model, halves[1], 2, context=halves[0], include_primer=False)
    assert np.array_equal(made.hits, plain.hits) and len(made) == 32


def test_the_command_keeps_named_voices_of_a_file_and_writes_the_others(folder, capsys):
    song = read_midi("song.mid", options=KEEP)
    made = run(*MODEL, "--lock", "song.mid", "--keep", "kick", "snare", "--particles", 4)
    assert len(made) == 80 and made.tempo_bpm == 101.0
    assert np.array_equal(made.hits[:, :2], song.hits[:, :2])
    assert np.array_equal(made.velocity[:, :2], song.velocity[:, :2])
    assert not np.array_equal(made.hits[:, 2:], song.hits[:, 2:])
    assert "effective sample size" in capsys.readouterr().out


def test_bars_after_the_end_of_what_is_locked_are_free(folder):
    song = read_midi("song.mid", options=KEEP)
    made = run(*MODEL, "--lock", "song.mid", "--bars", 7, "--particles", 4)
    assert np.array_equal(made.hits[:80], song.hits)
    assert made.hits[80:].any() and 80 < len(made) <= 7 * 16


def test_a_lock_lies_on_the_new_bars_after_the_primer(folder):
    made, primer, song = (
        run(*MODEL, "--primer", "primer.mid", "--lock", "song.mid"),
        *map(partial(read_midi, options=KEEP), FILES),
    )
    assert np.array_equal(made.hits, np.concatenate([primer.hits, song.hits]))


FILES = ("primer.mid", "song.mid")


def test_the_command_replaces_bars_in_their_place(folder):
    song = read_midi("song.mid", options=KEEP)
    made = run(*MODEL, "--primer", "song.mid", "--replace", "2", "4-5", "--keep", "kick", "--particles", 4)
    changed = (made.hits != song.hits[: len(made)]).reshape(-1, 16, 10).any((1, 2))
    assert changed.tolist() == [False, True, False, True, True]
    assert np.array_equal(made.hits[:, 0], song.hits[: len(made), 0])


def test_the_command_leads_to_an_ending(folder):
    made = run(*MODEL, "--primer", "primer.mid", "--bars", 2, "--ending", "song.mid", "--particles", 4)
    primer, song = map(partial(read_midi, options=KEEP), FILES)
    assert len(made) == 32 + 32 + 80
    assert np.array_equal(made.hits[:32], primer.hits) and np.array_equal(made.hits[64:], song.hits)
    assert made.hits[32:64].any()


def test_the_command_varies_by_strength(folder):
    song = read_midi("song.mid", options=KEEP)
    assert np.array_equal(run(*MODEL, "--primer", "song.mid", "--vary", 0).hits, song.hits)
    made = run(*MODEL, "--primer", "song.mid", "--vary", 0.5, "--keep", "snare", "--particles", 4).hits
    assert np.array_equal(made[:, 1], song.hits[: len(made), 1]) and not np.array_equal(made, song.hits[: len(made)])


def test_the_command_hears_a_context(folder):
    plain, after = run(*MODEL, "--bars", 3), run(*MODEL, "--bars", 3, "--context", "song.mid")
    assert len(after) <= 48 and not np.array_equal(plain.hits, after.hits)
    assert after.tempo_bpm == 101.0


# ---------------------------------------------------------------------- the same as in Python, and without PyTorch


def alike(one, other):
    """Whether two grooves are the same music, as MIDI can tell it."""
    write_midi(one, "one.mid")
    write_midi(other, "other.mid")
    return Path("one.mid").read_bytes() == Path("other.mid").read_bytes()


def test_the_command_plays_what_python_does(folder):
    player, (primer, song) = load_player("groove"), map(partial(read_midi, options=KEEP), FILES)
    sampling = SamplingOptions(0.9, 0.95, {"ride": 1.0}, 2.0, seed=5)
    typed = ("--temperature", 0.9, "--top-p", 0.95, "--bias", "ride", 1, "--guidance", 2, "--seed", 5)
    wishes, flags = PlanOptions(style="funk", density=[0.1, 0.2]), ("--style", "funk", "--density", "0.1,0.2")
    oracle = continue_groove(player, primer, 3, sampling, plan=wishes, context=song)
    assert alike(run("--primer", "primer.mid", "--context", "song.mid", "--bars", 3, *flags, *typed), oracle)
    alone = continue_groove(player, None, 2, SamplingOptions(seed=7), tempo_bpm=90.0)
    assert alike(run("--bars", 2, "--seed", 7, "--tempo-bpm", 90), alone)
    options = {"plan": wishes, "infilling": InfillOptions(8), "keep": [0]}
    replaced, _ = replace_bars(player, song, [1, 3], sampling, **options)
    around = ("--primer", "song.mid", "--keep", "kick", "--particles", 8)
    assert alike(run(*around, "--replace", 2, 4, *flags, *typed), replaced)
    varied, _ = vary_groove(player, song, 0.5, SamplingOptions(seed=5), keep=[0], infilling=InfillOptions(8))
    assert alike(run(*around, "--vary", 0.5, "--seed", 5), varied)


WITHOUT_TORCH = """
import sys


class Blocked:
    def find_spec(self, name, *_):
        if name.partition(".")[0] in ("torch", "lightning"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


sys.meta_path.insert(0, Blocked())
from hypermeter.cli import main

for line in sys.stdin:
    assert main(line.split()) == 0, line
"""


@pytest.mark.slow
def test_generate_humanize_and_the_first_half_of_the_demo_need_no_torch(folder):
    small = "--particles 2 --no-picture"
    lines = (
        "generate --out plain.mid --bars 1 --no-picture",
        f"generate --out lock.mid --lock primer.mid --keep kick {small}",
        f"generate primer.mid --out replace.mid --replace 2 {small}",
        f"generate primer.mid -o vary.mid --vary 0.3 {small}",
        f"generate --out ending.mid --bars 1 --ending primer.mid {small}",
        "generate -o sections.mid --sections rock+verse:1,fill:1 --density primer.mid --no-picture",
        "humanize primer.mid humanized.mid",
        "demo demo --bars 1",
    )
    command = [sys.executable, "-c", WITHOUT_TORCH]
    done = subprocess.run(command, input="\n".join(lines), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ("plain", "lock", "replace", "vary", "ending", "sections", "humanized", "demo/continued"):
        assert read_midi(f"{name}.mid").hits.any(), name
    assert 'learns needs torch; pip install "hypermeter[train]"' in done.stdout


# ---------------------------------------------------------------------- plans


@pytest.fixture
def plans(monkeypatch):
    """The plans that music is drawn under."""
    made = []
    for name in ("infill", "vary"):
        plain = getattr(compose, name)
        monkeypatch.setattr(compose, name, lambda *a, plain=plain, **k: (made.append(k["plan"]), plain(*a, **k))[1])
    monkeypatch.setattr(compose, "plan_bars", lambda *a, **k: made.append(plan_bars(*a, **k)) or made[-1])
    return made


DENSITY, OFFBEAT, TEMPO = (NUMBERS.index(name) for name in ("density", "offbeat", "tempo_bpm"))


def values_of(plan, name):
    """Values of a plan in each bar, by the name of a label or a number."""
    if name in KINDS:
        return plan.labels[0, :, KINDS.index(name)].tolist()
    return pytest.approx(plan.numbers[0, :, NUMBERS.index(name)].tolist(), nan_ok=True, rel=1e-6)


def test_a_plan_of_new_bars_counts_from_the_first_bar_of_the_primer(asking, primer, plans):
    wishes = PlanOptions("verse:2 fill:1 chorus:1", "jazz", density=[0.1, 0.4])
    continue_groove(asking, primer, 4, plan=wishes)
    (plan,) = plans
    assert values_of(plan, "density") == [math.nan] * 2 + [0.1, 0.2, 0.3, 0.4]
    assert values_of(plan, "tempo_bpm") == [math.nan] * 2 + [97] * 4
    assert values_of(plan, "section") == [0, 0, 2, 2, 2, 3] and values_of(plan, "fill") == [0, 0, 1, 1, 2, 1]
    assert values_of(plan, "style") == [0, 0, 2, 2, 2, 2]


def test_a_curve_is_taken_from_a_file_again_and_again(asking, folder):
    song = plan_of(read_midi("song.mid", options=KEEP).hits, asking.grid).numbers[0]
    for bars, expected in ((None, 5), (7, 7)):
        wishes, number = PlanArguments(density="song.mid", offbeat="song.mid").of_bars(bars, asking, read_midi)
        assert number == expected
        for name, column in (("density", DENSITY), ("offbeat", OFFBEAT)):
            np.testing.assert_allclose(getattr(wishes, name), np.resize(song[:, column], number), rtol=1e-6)


def test_conditions_give_the_number_of_bars(asking):
    for options, expected in (({"sections": "verse:2 fill:1"}, 3), ({"density": ".1,.2"}, 16), ({}, 16)):
        assert PlanArguments(**options).of_bars(None, asking, read_midi)[1] == expected
    assert PlanArguments(density=".1,.2").of_bars(4, asking, read_midi) == (PlanOptions(density=[0.1, 0.2]), 4)


def test_a_plan_of_replaced_bars_leaves_the_others_as_measured(asking, folder, plans):
    song = read_midi("song.mid", options=KEEP)
    wishes = PlanOptions(["chorus", None], density=0.9)
    replace_bars(asking, song, [1, 3], plan=wishes, context=song, **SMALL)
    plan = plans[-1]
    measured = plan_of(song.hits, asking.grid).numbers[0, :, DENSITY]
    kept = np.where([False, True, False, True, False], 0.9, measured).tolist()
    assert values_of(plan, "density") == [math.nan] * 5 + kept
    assert values_of(plan, "section") == [0] * 5 + [0, 3, 0, 3, 0]
    assert values_of(plan, "tempo_bpm") == [math.nan] * 5 + [101] * 5
    assert values_of(plan, "offbeat") == [math.nan] * 10 and not any(values_of(plan, "style"))


def test_an_ending_is_planned_as_measured_in_the_conditions_of_the_bars_before_it(asking, folder, plans):
    end = read_midi("song.mid", options=KEEP)
    run(*ASKING, "--bars", 2, "--density", 0.3, "--ending", "song.mid", "--particles", 4)
    measured = plan_of(end.hits, asking.grid)
    plan = plans[-1]
    assert values_of(plan, "density") == [0.3, 0.3, *measured.numbers[0, :, DENSITY].tolist()]
    assert values_of(plan, "offbeat") == [math.nan] * 7 and values_of(plan, "tempo_bpm") == [101] * 7
    assert values_of(plan, "fill") == [
        1,
        1,
        *measured.labels[0, :, KINDS.index("fill")].tolist(),
    ]  # as it begins from silence


def test_a_variation_is_planned_as_its_groove_is_measured_at_its_tempo(asking, folder, plans):
    song = read_midi("song.mid", options=KEEP)
    vary_groove(asking, song, 0.5, **SMALL)
    (plan,), measured = plans, plan_of(song.hits, asking.grid)
    assert np.array_equal(plan.labels, measured.labels)
    assert np.array_equal(plan.numbers[..., [DENSITY, OFFBEAT]], measured.numbers[..., [DENSITY, OFFBEAT]])
    assert (plan.numbers[..., TEMPO] == 101).all()


def test_a_variation_follows_the_options_of_a_plan_or_a_plan(asking, folder, plans):
    song = read_midi("song.mid", options=KEEP)
    vary_groove(asking, song, 0.5, plan=PlanOptions("chorus:5", density=0.2), context=song, **SMALL)
    made = plans[-1]
    assert values_of(made, "section") == [0] * 5 + [3] * 5 and values_of(made, "density") == [math.nan] * 5 + [0.2] * 5
    assert values_of(made, "offbeat") == [math.nan] * 10 and values_of(made, "tempo_bpm") == [math.nan] * 5 + [101] * 5
    vary_groove(asking, song, 0.5, plan=made, context=song, **SMALL)
    assert plans[-1] is made


def test_a_model_without_labels_takes_no_plan(model, primer, plans):
    with pytest.raises(HypermeterError, match="density: .* without labels"):
        vary_groove(model, primer, 0.5, plan=PlanOptions(density=0.2))
    vary_groove(model, primer, 0.5, **SMALL)
    replace_bars(model, primer, [0], **SMALL)
    assert not any(plans)


def test_the_sections_of_the_command_give_the_bars(folder):
    made = run(*ASKING, "--sections", "intro:1 verse:2 fill:1", "--density", "0.2", "--guidance", 3)
    plain = run(*ASKING, "--sections", "intro:1 verse:2 fill:1", "--density", "0.2")
    assert 48 < len(made) <= 64 and 48 < len(plain) <= 64
    assert not np.array_equal(made.hits[: len(plain)], plain.hits[: len(made)])


def test_a_bar_that_is_filled_can_be_planned(folder):
    made = run(*ASKING, "--primer", "song.mid", "--replace", 3, "--sections", "fill:1", "--particles", 4)
    song = read_midi("song.mid", options=KEEP).hits
    assert np.array_equal(made.hits[:32], song[:32]) and not np.array_equal(made.hits[32:48], song[32:48])


def test_python_takes_a_plan(asking, primer):
    plan = make_plan(LABELS, 4, style="rock", density=0.3)
    plain, planned = (continue_groove(asking, primer, 2, plan=options) for options in (None, plan))
    assert not np.array_equal(plain.hits, planned.hits)


def test_the_help_tells_every_option(capsys):
    with pytest.raises(SystemExit):
        cli.main(["generate", "--help"])
    text = capsys.readouterr().out
    for option in (
        *("primer", "bars", "context", "sections", "style", "density", "offbeat", "guidance", "lock", "keep"),
        *("replace", "ending", "vary", "particles", "seconds", "swing"),
    ):
        assert f"--{option} " in text, option
    assert "chorus:8" in text and "--keep kick snare" in text


def test_a_file_without_hits_has_no_curve_of_hits_off_the_beat(asking):
    with pytest.raises(HypermeterError, match=r"offbeat: no hits in empty\.mid"):
        PlanArguments(offbeat="empty.mid").of_bars(4, asking, lambda path: Groove(np.zeros((32, 10))))


@pytest.mark.parametrize(
    "arguments",
    [
        ("--bars", 2, "--tempo-bpm", 200),
        ("--primer", "song.mid", "--bars", 2),
        ("--primer", "song.mid", "--replace", 3, "--particles", 4),
    ],
)
def test_without_conditions_there_is_no_guidance(folder, arguments):
    plain, free = (run(*ASKING, *arguments, *more) for more in ((), ("--guidance", 0)))
    assert np.array_equal(plain.hits, free.hits)
    guided, as_learnt = (run(*ASKING, *arguments, "--density", 0.4, *more) for more in ((), ("--guidance", 0)))
    assert not np.array_equal(guided.hits, as_learnt.hits)


# ---------------------------------------------------------------------- with velocity and timing of its own


@pytest.fixture(scope="module")
def expressive():
    torch.manual_seed(0)
    return player_of(HierarchicalDrumModel(10, 16, 16, 16, kit=load_kit("gm10"), use_expression=True).eval())


def test_new_hits_are_played_after_the_music_before_and_the_primer_stays(expressive, primer):
    groove, plain = (continue_groove(expressive, primer, 2, expression=include) for include in (True, False))
    assert np.array_equal(groove.hits, plain.hits)
    assert np.array_equal(groove.velocity[:32], primer.velocity) and np.array_equal(groove.offset[:32], primer.offset)
    new = groove.hits[32:] > 0
    assert (plain.velocity[32:][new] == np.float32(DEFAULT_VELOCITY)).all() and not plain.offset[32:].any()
    is_new = np.arange(64)[:, None] * (groove.hits > 0) >= 32
    oracle = humanize(plain, expressive, seed=0, which=is_new)
    np.testing.assert_allclose(groove.velocity, oracle.velocity, atol=1e-6)
    np.testing.assert_allclose(groove.offset[32:], oracle.offset[32:], atol=1e-6)
    alone = continue_groove(expressive, primer, 2, include_primer=False)
    assert np.array_equal(alone.velocity, groove.velocity[32:])


def test_hits_that_stay_keep_velocity_and_timing_beside_new_ones_that_are_played(expressive, primer):
    hits = columns_of_groove(expressive, primer)
    filled, _ = fill_groove(expressive, primer, lock_voices(hits, [0, 1]), context=primer, **SMALL)
    varied, _ = vary_groove(expressive, primer, 0.5, **SMALL)
    for groove in (filled, varied):
        stays, new = (groove.hits > 0) & (primer.hits > 0), (groove.hits > 0) & (primer.hits == 0)
        assert np.array_equal(groove.velocity[stays], primer.velocity[stays])
        assert np.array_equal(groove.offset[stays], primer.offset[stays])
        assert new.any() and (groove.velocity[new] != np.float32(DEFAULT_VELOCITY)).any()


# ---------------------------------------------------------------------- each draw tells nothing of another


def correlation(pairs):
    """That of the pairs of all voices, each voice's about its own means: (r, number of pairs)."""
    one, other = (np.concatenate([pair[side] - np.mean(pair[side]) for pair in pairs]) for side in (0, 1))
    return np.corrcoef(one, other)[0, 1], len(one)


@pytest.mark.slow
def test_how_loud_a_hit_is_does_not_hang_on_what_was_drawn_before_it(expressive):
    bars = [continue_groove(expressive, None, 1, SamplingOptions(seed=seed)) for seed in range(300)]
    hits, velocity = (np.stack([getattr(groove, name)[:4] for groove in bars]) for name in ("hits", "velocity"))
    sounds = [hits[:, 3, voice] > 0 for voice in range(10)]
    r, number = correlation([(hits[at, 0, v].astype(float), velocity[at, 3, v]) for v, at in enumerate(sounds)])
    assert number > 500 and abs(r) < 0.15


def test_which_beats_are_varied_is_independent_of_what_is_drawn_in_them():
    torch.manual_seed(0)
    independent = player_of(HierarchicalDrumModel(10, 16, 16, 16, kit=load_kit("gm10"), output="sigmoid").eval())
    beat = Groove(np.ones((4, 10)))  # where every cell is a hit, a voice that is drawn anew shows
    variations = [
        vary_groove(independent, beat, 0.5, SamplingOptions(seed=seed), infilling=InfillOptions(1))[0]
        for seed in range(300)
    ]
    hits = np.stack([groove.hits for groove in variations])
    is_varied = (hits == 0).any(1)
    assert 4.5 < is_varied.sum(1).mean() <= 5
    pairs = [(hits[at, 0, v].astype(float), is_varied[at, v - 1].astype(float)) for v, at in enumerate(is_varied.T)]
    r, number = correlation(pairs)
    assert number > 1200 and abs(r) < 0.1


# ---------------------------------------------------------------------- tracks beside the drums


def test_a_model_with_a_bass_writes_it_to_drums_that_stay(primer, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    weights = HierarchicalDrumModel(10, 16, 16, 16, kit=load_kit("gm10"), tracks=[BASS.to_dict()]).eval()
    weights.save("bass.safetensors")
    write_midi(primer, "primer.mid")
    generate_command(
        out=tmp_path / "out.mid",
        model="bass.safetensors",
        locks=LockArguments(lock=tmp_path / "primer.mid", particles=4),
        options=KEEP,
    )
    made = read_midi("out.mid", tracks=[BASS], options=KEEP)
    sounding = primer.hits.any(0)
    assert np.array_equal(made.hits[:, sounding], primer.hits[:, sounding])
    assert made.tracks["bass"].any()
    longer = continue_groove(player_of(weights), primer, 1)
    assert (longer.tracks["bass"][:32] == REST).all() and len(longer.tracks["bass"]) == 48
    generate_command(
        out=tmp_path / "again.mid",
        model="bass.safetensors",
        locks=LockArguments(lock=tmp_path / "out.mid", keep=("bass",)),
    )
    again = read_midi("again.mid", tracks=[BASS], options=KEEP)
    assert np.array_equal(again.tracks["bass"], made.tracks["bass"][: len(again)])
    assert not np.array_equal(again.hits, made.hits[: len(again)])


def test_a_bass_without_drums_is_a_lock_that_drums_are_written_to(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    HierarchicalDrumModel(10, 16, 16, 16, kit=load_kit("gm10"), tracks=[BASS.to_dict()]).eval().save("bass.safetensors")
    codes = np.array([40, 1, 0, 43] * 8)
    write_midi(Groove(np.zeros((32, 10)), tracks={"bass": codes}), "bass.mid")
    with pytest.raises(HypermeterError, match="no drum notes"):
        read_midi("bass.mid")
    generate_command(
        out=tmp_path / "out.mid", model="bass.safetensors", locks=LockArguments(lock=tmp_path / "bass.mid", particles=4)
    )
    made = read_midi("out.mid", tracks=[BASS], options=KEEP)
    assert made.hits.any() and np.array_equal(made.tracks["bass"], codes[: len(made)])


def test_an_ending_without_a_bass_leaves_it_free(primer, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    HierarchicalDrumModel(10, 16, 16, 16, kit=load_kit("gm10"), tracks=[BASS.to_dict()]).eval().save("bass.safetensors")
    write_midi(primer, "end.mid")
    locks = LockArguments(ending=tmp_path / "end.mid", particles=4)
    generate_command(out=tmp_path / "out.mid", model="bass.safetensors", bars=1, locks=locks, picture=False)
    made = read_midi("out.mid", tracks=[BASS], options=KEEP)
    assert np.array_equal(made.hits[16:48], primer.hits) and (made.tracks["bass"][16:48] != REST).any()


# ---------------------------------------------------------------------- sections


def sections_of(path="out.mid"):
    return read_midi(path, with_sections=True).sections.tolist()


def test_the_names_of_sections_that_a_file_has_stay(folder):
    song = replace(read_midi("song.mid", options=KEEP), sections=["verse"] * 3 + ["fill", "chorus"])
    primer = replace(read_midi("primer.mid", options=KEEP), sections=["a", "b"])
    write_midi(song, "named.mid")
    write_midi(primer, "named-too.mid")
    named = ("--primer", "named.mid", "--particles", 4)
    run(*ASKING, *named[:2], "--sections", "intro:2")
    assert sections_of() == ["verse"] * 3 + ["fill", "chorus", "intro", "intro"]
    run(*ASKING, *named, "--replace", "2-3", "--sections", "intro:1 jazz:1")
    assert sections_of() == ["verse", "intro", "verse", "fill", "chorus"]
    run(*MODEL, *named, "--vary", 0.1)
    assert sections_of() == song.sections.tolist()
    run(*MODEL, *named, "--bars", 1, "--ending", "named-too.mid")
    assert sections_of() == [*song.sections, "", "a", "b"]
    run(*ASKING, "--lock", "named-too.mid", "--bars", 3)
    assert sections_of() == ["a", "b", ""]


def test_planned_sections_are_markers_of_the_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_midi(Groove(np.tile(np.eye(8, 10), (4, 1))), "primer.mid")
    plan = PlanArguments(sections="rock+intro:1 verse:2 fill:1")
    generate_command(out=tmp_path / "out.mid", primer=tmp_path / "primer.mid", plan=plan, picture=False)
    markers = [(marker.time // 1920, marker.text) for marker in symusic.Score("out.mid").markers]
    assert markers == [(2, "intro"), (3, "verse"), (5, "fill")]


# ---------------------------------------------------------------------- files, streams and names of results


def last_line(capsys, *arguments):
    """The last line that the command prints, the name of its result."""
    assert cli.main(["generate", *MODEL, "--no-picture", *map(str, arguments)]) == 0
    return capsys.readouterr().out.splitlines()[-1]


def test_the_primer_is_the_argument_and_a_result_without_a_name_takes_a_free_one(folder, capsys):
    Path("songs").mkdir()
    Path("song.mid").rename("songs/song.mid")
    assert last_line(capsys, "songs/song.mid", "--bars", 1) == "songs/song_continued.mid"
    first = Path("songs/song_continued.mid").read_bytes()
    assert last_line(capsys, "songs/song.mid", "--bars", 2) == "songs/song_continued_2.mid"
    assert Path("songs/song_continued.mid").read_bytes() == first
    assert last_line(capsys, "songs/song.mid", "--vary", 0.1, "--particles", 2) == "songs/song_varied.mid"
    assert last_line(capsys, "--bars", 1) == "generated.mid"
    assert last_line(capsys, "--lock", "songs/song.mid", "--particles", 2) == "songs/song_filled.mid"


def test_the_form_of_earlier_versions_is_distinguished_from_the_form_now(folder, capsys):
    for out in ("new.mid", "song.mid"):
        assert cli.main(["generate", out, "--primer", "primer.mid"]) == 2
        printed = capsys.readouterr().err
        assert printed.count("\n") == 1 and f"--out {out}" in printed
    assert cli.main(["generate", "new.mid"]) == 2
    assert "no such primer" in capsys.readouterr().err and not Path("new.mid").exists()


def test_midi_comes_from_standard_input_and_goes_to_standard_output(folder):
    command = [sys.executable, "-m", "hypermeter.cli", "generate", "-", *MODEL, "--bars", "1", "-o", "-", *SHIFT]
    done = subprocess.run(command, input=Path("primer.mid").read_bytes(), capture_output=True, check=True)
    assert b"kick" in done.stderr and not list(folder.glob("*.svg"))
    run(*MODEL, "primer.mid", "--bars", 1)
    assert done.stdout == Path("out.mid").read_bytes()


def test_swing_of_text_is_refused(folder, capsys):
    assert "--swing beside out.tidal" in refused(capsys, *MODEL, "--swing", 0.6, out="out.tidal")


def test_seconds_give_whole_bars(folder):
    for seconds, bars in ((0.1, 1), (9, 4), (9.5, 4)):  # at 101 bpm a bar is 2.38 s long
        generate_command(
            Path("song.mid"), Path("out.mid"), MODEL[1], seconds=seconds, include_primer=False, picture=False
        )
        assert read_midi("out.mid").num_bars == bars


def test_a_primer_is_played_at_the_tempo_that_is_given(folder):
    song = read_midi("song.mid", options=KEEP)
    made = run(*MODEL, "song.mid", "--tempo-bpm", 140, "--bars", 1)
    assert made.tempo_bpm == pytest.approx(140, abs=1e-3)
    assert np.array_equal(made.hits[:80], song.hits) and np.array_equal(made.offset[:80], song.offset)


def test_swing_delays_every_second_step(folder):
    straight, swung = (run(*MODEL, "--bars", 2, *more) for more in ((), ("--swing", 0.6)))
    assert straight.hits.any() and np.array_equal(swung.hits, straight.hits) and not straight.offset.any()
    assert swung.offset[1::2][swung.hits[1::2] > 0] == pytest.approx(0.2)
    assert not swung.offset[::2].any()


@pytest.mark.parametrize("when", ["playing", "drawing"])
def test_an_interrupt_says_what_is_written(folder, capsys, monkeypatch, when):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    place = "play.compose.continue_groove" if when == "playing" else "share.pictures.show_picture"
    monkeypatch.setattr(f"hypermeter.{place}", interrupt)
    assert cli.main(["generate", *MODEL, "--bars", "1", "--out", "out.mid"]) == 130
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1 and ("nothing is written" in printed) == (when == "playing")
    assert Path("out.mid").exists() == ("out.mid" in printed) == (when == "drawing")


def test_a_bass_that_stays_keeps_its_length_channel_and_program(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    HierarchicalDrumModel(10, 16, 16, 16, kit=load_kit("gm10"), tracks=[BASS.to_dict()]).eval().save("bass.safetensors")
    song, bass = mido.MidiFile(), mido.MidiTrack([mido.Message("program_change", channel=3, program=34)])
    for pitch in (36, 38, 40, 41):
        bass += [
            mido.Message("note_on", channel=3, note=pitch, time=0),
            mido.Message("note_off", channel=3, note=pitch, time=480),
        ]
    song.tracks.append(bass)
    song.save("bass.mid")
    assert (
        cli.main(["generate", "--model", "bass.safetensors", "--lock", "bass.mid", "--particles", "2", "-o", "out.mid"])
        == 0
    )
    _, track = mido.MidiFile("out.mid").tracks
    assert {message.channel for message in track if not message.is_meta} == {3}
    assert [message.program for message in track if message.type == "program_change"] == [34]
    assert sum(message.time for message in track) == 4 * 480


def test_a_lock_of_a_bass_says_which_model_plays_to_it(folder, capsys):
    write_midi(Groove(np.zeros((16, 10)), tracks={"bass": np.array([40, *[1] * 15])}), "bass.mid")
    message = refused(capsys, *MODEL, "--lock", "bass.mid")
    assert "no drums on channel 10" in message and "bass" in message and "--model" in message


# ---------------------------------------------------------------------- what cannot be meant


@pytest.mark.parametrize("option", ["--primer", "--context", "--lock", "--ending", "--density", "--offbeat"])
def test_a_song_that_is_read_is_not_overwritten(folder, capsys, option):
    before = Path("song.mid").read_bytes()
    assert "song.mid: one of the files that are read" in refused(capsys, *ASKING, option, "song.mid", out="song.mid")
    assert Path("song.mid").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--replace", "1"], "--replace without a primer"),
        (["--vary", "0.5"], "--vary without a primer"),
        (["--primer", "song.mid", "--replace", "1", "--vary", "0.5"], "--replace beside --vary"),
        (["--primer", "song.mid", "--replace", "1", "--bars", "4"], "--bars beside --replace"),
        (["--primer", "song.mid", "--vary", "1", "--lock", "song.mid"], "--lock beside --vary"),
        (["--primer", "song.mid", "--replace", "1", "--ending", "song.mid"], "--ending beside --replace"),
        (["--primer", "song.mid", "--vary", "1", "--no-include-primer"], "--no-include-primer beside --vary"),
        (["--primer", "song.mid", "--vary", "1", "--density", "0.1"], "--density beside --vary"),
        (["--primer", "song.mid", "--vary", "1.5"], "vary is 1.5, expected from 0 to 1"),
        (["--primer", "song.mid", "--replace", "6"], "replace: 6, expected bars from 1 to 5"),
        (["--primer", "song.mid", "--replace", "3-2"], "replace: 3-2 ends before it begins, expected 2-3"),
        (["--primer", "song.mid", "--replace", "x"], "replace: 'x', expected a bar as 7 or bars as 9-10"),
        (["--keep", "kick"], "--keep without music"),
        (["--lock", "song.mid", "--keep", "hat"], "keep: no voice 'hat' in kit gm10; it has kick"),
        (["--lock", "none.mid"], "none.mid: cannot be read"),
        (["--lock", "song.mid", "--particles", "0"], "particles is 0, expected a whole number from 1 to"),
        (["--particles", "0"], "particles is 0, expected a whole number from 1 to"),
        (["--primer", "song.mid", "--replace"], "--replace with nothing after it, expected bars, as 7 9-10"),
        (["--bias"], "--bias with nothing after it, expected voices and numbers, as closed_hat 1 ride -2"),
        (["--lock", "song.mid", "--keep"], "--keep with nothing after it, expected voices, as kick snare"),
        (["--lock", "song.mid", "--bars", "4"], "lock: 5 bars for 4 new ones; ask for more bars, or shorten it"),
        (["--temperature", "10.5"], "temperature is 10.5, expected from 0 to 10"),
        (["--seed", str(2**53)], f"seed is {2**53}, expected a whole number from 0 to {2**53 - 1}"),
        (["--bars", "0"], "bars is 0, expected a whole number from 1 to 10000"),
        (["--bars", "99999999"], "bars is 99999999, expected a whole number from 1 to 10000"),
        (["--particles", "8"], "--particles with nothing locked"),
        (["--primer", "song.mid", "--tempo-bpm", "1000"], "tempo_bpm is 1000"),
        (["--primer", "song.mid", "--vary", "1", "--seconds", "4"], "--seconds beside --vary"),
        (["--bars", "4", "--seconds", "4"], "--bars beside --seconds"),
        (["--seconds", "-1"], "seconds is -1"),
        (["--seconds", "inf"], "seconds is inf"),
        (["--swing", "0.9"], "swing is 0.9"),
        (["none.mid"], "none.mid: no such primer"),
        (["--style", "jazz"], "--style: model.safetensors was made without labels"),
        (["--sections", "verse:2", "--guidance", "1"], "--sections: model.safetensors was made without labels"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_line(folder, capsys, arguments, words):
    assert words in refused(capsys, *MODEL, *arguments)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--style", "polka"], "style: no 'polka' in the model; it has rock, jazz"),
        (["--sections", "bridge:2"], "no label 'bridge' in the model; it has intro, verse, chorus"),
        (["--sections", "verse:2", "--bars", "3"], "sections: 2 bars, bars is 3: expected the same\n"),
        (["--primer", "song.mid", "--replace", "2", "4", "--sections", "verse:1 fill:2"], "3 bars, and 2 to replace"),
        (["--density", "busy"], "density: 'busy', expected a number"),
        (["--density", "2"], "density is"),
        (["--offbeat", "none.mid"], "none.mid: cannot be read"),
        (["--density", "0.1", "--guidance", "-1"], "guidance is -1, expected from 0 to 100"),
    ],
)
def test_a_plan_that_cannot_be_followed_is_refused_in_one_line(folder, capsys, arguments, words):
    assert words in refused(capsys, *ASKING, *arguments)


def test_a_lock_in_another_metre_is_refused_by_its_name(folder, capsys):
    write_midi(Groove(np.eye(24, 10), grid=Grid(4, 3)), "waltz.mid")
    assert "waltz.mid: metre 3/4" in (said := refused(capsys, *MODEL, "--lock", "waltz.mid", "--metre", "4/4"))
    assert "use files in one metre, without --metre" in said


def test_a_groove_that_cannot_be_filled_is_refused_before_sampling(model, primer):
    locks = lock_voices(columns_of_groove(model, primer), [0])
    nine = Groove(np.zeros((32, 9)), kit="magenta9")
    for pattern, locked, options, words in (
        (Groove(primer.hits[:16]), locks, {}, "locks: 32 steps for a pattern of 16"),
        (nine, locks, {}, "pattern: 9 voices, expected 10"),
        (primer, locks, {"planned_bars": [2]}, "planned_bars: 2, expected bars from 0 to 1"),
    ):
        with pytest.raises(HypermeterError, match=words):
            fill_groove(model, pattern, locked, **SMALL, **options)


def test_what_is_no_groove_is_refused_in_one_line(asking):
    with pytest.raises(HypermeterError, match="primer is 'beat.mid', expected a Groove; .*read_midi"):
        continue_groove(asking, "beat.mid", 1)


def test_guidance_without_conditions_changes_nothing(asking):
    first, second = (continue_groove(asking, None, 2, SamplingOptions(guidance=guidance)) for guidance in (0.0, 2.0))
    assert first == second


def test_an_error_names_the_option_as_it_was_given():
    with pytest.raises(HypermeterError, match="^--vary is 1.3, expected from 0 to 1$"):
        check("strength", 1.3, "--vary")
