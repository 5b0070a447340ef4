"""The generate command's parts: a groove goes on, and what does not fit is refused."""

import os

import numpy as np
import pytest
import torch

from hypermeter.compose import VELOCITY, continue_groove, generate_command
from hypermeter.grid import Grid, Groove, HypermeterError
from hypermeter.kit import Kit, Voice, load_kit
from hypermeter.midi import read_midi, write_midi
from hypermeter.model import HierarchicalDrumModel


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return HierarchicalDrumModel(10, 16, 16, 16, kit=load_kit("gm10")).eval()


@pytest.fixture
def primer():
    random = np.random.default_rng(0)
    hits = random.random((32, 10)) < 0.2
    velocity = hits * random.uniform(0.1, 1, hits.shape)
    return Groove(hits, velocity, hits * random.uniform(-0.4, 0.4, hits.shape), tempo_bpm=97.0)


def test_the_primer_stays_as_it_was_played(model, primer):
    groove = continue_groove(model, primer, 3, seed=0)
    assert len(groove) == 32 + 48
    assert groove.tempo_bpm == 97.0
    for name in ("hits", "velocity", "offset"):
        assert np.array_equal(getattr(groove, name)[:32], getattr(primer, name))
    new = groove.velocity[32:]
    assert np.array_equal(new, np.float32(VELOCITY) * groove.hits[32:])


def test_a_primer_in_another_metre_or_no_bars_are_refused(model, primer):
    with pytest.raises(HypermeterError, match="primer in 3/4, 12 steps a bar; the model plays 4/4"):
        continue_groove(model, Groove(primer.hits[:24], grid=Grid(4, 3)), 2)
    with pytest.raises(HypermeterError, match="bars is 0"):
        continue_groove(model, primer, 0)


def test_the_command_writes_midi_that_reads_back_and_a_picture(model, primer, tmp_path, capsys):
    model.save(tmp_path / "model.safetensors")
    write_midi(primer, tmp_path / "primer.mid")
    options = {"model": str(tmp_path / "model.safetensors"), "primer": tmp_path / "primer.mid", "bars": 4, "seed": 1}
    generate_command(tmp_path / "out.mid", **options)
    groove = read_midi(tmp_path / "out.mid")
    assert np.array_equal(groove.hits[:32], primer.hits)
    assert groove.hits[32:].any()
    assert (tmp_path / "out.png").stat().st_size > 1000
    assert "kick" in capsys.readouterr().out


def test_a_voice_that_the_kit_lacks_is_named(model, tmp_path):
    model.save(tmp_path / "model.safetensors")
    with pytest.raises(HypermeterError, match="no voice 'hat' in kit gm10; it has kick"):
        generate_command(tmp_path / "out.mid", str(tmp_path / "model.safetensors"), bias={"hat": 1.0})


MINE = Kit("mine", tuple(Voice(f"part{n}", (60 + n,), 60 + n) for n in range(10)))


def test_a_model_on_a_kit_of_ones_own_plays_without_the_file_of_the_kit(primer, tmp_path, capsys):
    torch.manual_seed(0)
    HierarchicalDrumModel(10, 16, 16, 16, kit=MINE).save(tmp_path / "model.safetensors")
    primer.kit = MINE
    write_midi(primer, tmp_path / "primer.mid")
    options = {"model": str(tmp_path / "model.safetensors"), "bars": 4}
    for heard in (None, tmp_path / "primer.mid"):
        generate_command(tmp_path / "out.mid", primer=heard, **options)
        assert "part9" in capsys.readouterr().out and (tmp_path / "out.png").exists()
        assert read_midi(tmp_path / "out.mid", MINE).hits.any()


def test_a_model_without_a_kit_takes_the_primers_and_alone_is_refused(primer, tmp_path):
    model = HierarchicalDrumModel(10, 16, 16, 16).eval()
    assert continue_groove(model, primer, 1, seed=0).kit == "gm10"
    with pytest.raises(HypermeterError, match="no kit in the checkpoint, .*train it with --kit"):
        continue_groove(model, None, 1)
    model.save(tmp_path / "model.safetensors")
    with pytest.raises(HypermeterError, match="no kit in the checkpoint, .*train it with --kit"):
        generate_command(tmp_path / "out.mid", str(tmp_path / "model.safetensors"))


def test_hits_of_the_primer_that_are_not_heard_are_told(model, tmp_path, capsys):
    model.save(tmp_path / "model.safetensors")
    cowbells = Groove(np.eye(48, 47), kit="gm")
    write_midi(cowbells, tmp_path / "primer.mid")
    generate_command(tmp_path / "out.mid", str(tmp_path / "model.safetensors"), tmp_path / "primer.mid", bars=1)
    lines = [line for line in capsys.readouterr().out.splitlines() if "no voice of kit gm10 reads" in line]
    assert len(lines) == 1 and "primer.mid: " in lines[0] and "pitch " in lines[0]


def test_midi_that_its_own_picture_would_overwrite_is_refused(tmp_path):
    with pytest.raises(HypermeterError, match=r"x\.png: the MIDI file would be overwritten by its own picture"):
        generate_command(tmp_path / "x.png")


def test_a_pipe_is_not_replaced_by_midi(model, tmp_path):
    model.save(tmp_path / "model.safetensors")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(HypermeterError, match="a folder, device or pipe"):
        generate_command(tmp_path / "pipe", str(tmp_path / "model.safetensors"), bars=1)
    assert (tmp_path / "pipe").is_fifo()
