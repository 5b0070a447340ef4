"""The generate command's parts: a groove goes on, and what does not fit is refused."""

import numpy as np
import pytest
import torch

from hypermeter.compose import VELOCITY, continue_groove, generate_command
from hypermeter.grid import Grid, Groove, HypermeterError
from hypermeter.kit import load_kit
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
