"""`generate` of a model in PyTorch: tensors in and out of the engine, which draws; models of one's own play too."""

import copy
import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.model.heads import Mixture
from hypermeter.model.plan import Plan, make_plan
from hypermeter.model.playing import StreamingModel, generate, player_of
from hypermeter.play.infill import infill
from hypermeter.play.locks import lock_voices
from hypermeter.play.plan import make_plan as make_arrays
from hypermeter.play.request import InfillOptions, SamplingOptions
from models import LABELS, model, music, player

PRIMER = torch.from_numpy(music("gru", 13)).float()
PLAN = make_plan(LABELS, sections="verse:4 chorus:8", style="jazz", density=0.4)
ARRAYS = make_arrays(LABELS, sections="verse:4 chorus:8", style="jazz", density=0.4)


@pytest.fixture(params=["gru", "transformer", "softmax"])
def net(request):
    return model(request.param)


def test_the_result_is_the_primer_and_length_steps_more(net):
    made = generate(net, PRIMER, 30)
    assert made.shape == (2, 43, 3) and made.dtype == PRIMER.dtype
    assert torch.equal(made[:, :13], PRIMER) and set(made.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(generate(net, PRIMER, 30, include_primer=False), made[:, 13:])
    assert torch.equal(generate(net, PRIMER, 0), PRIMER)


def test_any_length_of_any_number_of_pieces_from_nothing(net):
    assert generate(net, length=5, batch_size=3).shape == (3, 5, 3)
    assert generate(net, length=0, batch_size=3).shape == (3, 0, 3)
    assert generate(net, PRIMER[:1], 4, batch_size=3).shape == (3, 17, 3)


def test_it_plays_what_the_player_plays(net):
    wanted = net.player().generate(20, PRIMER.numpy(), SamplingOptions(0.8, seed=3))
    assert np.array_equal(net.generate(PRIMER, 20, 0.8, seed=3)[:, 13:], wanted)
    context = net.generate(PRIMER[:, 6:], 20, 0.8, seed=3, context=PRIMER[:, :6])
    assert np.array_equal(context[:, 7:], wanted)


def test_a_player_keeps_the_weights_that_the_model_had(net):
    net, hits = copy.deepcopy(net), PRIMER.numpy()
    before = net.player()
    wanted = before.log_prob(hits)
    with torch.no_grad():
        for weights in net.parameters():
            weights.mul_(0.5)
    assert np.array_equal(before.log_prob(hits), wanted)
    assert np.abs(net.player().log_prob(hits) - wanted).max() > 0.01


def test_every_option_is_that_of_the_player():
    locks = lock_voices(PRIMER[0].numpy(), [1])
    made = model("gru").generate(
        length=13, plan=PLAN, guidance=2.0, top_p=0.9, voice_bias=[1.0, 0.0, -1.0], locks=locks, seed=7, batch_size=2
    )
    sampling = SamplingOptions(1.0, 0.9, {"0": 1.0, "2": -1.0}, 2.0, 7)
    wanted = player("gru").generate(13, sampling=sampling, plan=ARRAYS, locks=locks, rows=2)
    assert np.array_equal(made, wanted) and torch.equal(made[..., 1], PRIMER[:1, :, 1].expand(2, -1))


def test_the_global_seed_is_neither_read_nor_moved(net):
    torch.manual_seed(5)
    first = generate(net, PRIMER, 20, seed=1)
    after = torch.rand(1)
    torch.manual_seed(5)
    assert torch.equal(torch.rand(1), after) and torch.equal(generate(net, PRIMER, 20, seed=1), first)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"temperature": -1.0}, "temperature is -1"),
        ({"top_p": 0.0}, "top_p is 0"),
        ({"voice_bias": [math.inf, 0.0, 0.0]}, "bias of 0 is inf, expected from -100 to 100"),
        ({"voice_bias": [1.0]}, "voice_bias of 1 values, expected 3, one a voice"),
        ({"seed": -1}, "seed is -1, expected a whole number"),
        ({"length": -1}, "length is -1"),
        ({"guidance": -1.0}, "guidance is -1, expected from 0 to 100"),
        ({"start_seq": torch.full((1, 4, 3), 0.5)}, "primer: values other than 0 and 1"),
        ({"start_seq": torch.full((1, 4, 3), math.nan)}, "primer: values other than 0 and 1"),
        ({"context": torch.full((1, 4, 3), 2.0)}, "context: values other than 0 and 1"),
        ({"start_seq": torch.zeros(1, 4, 9)}, r"primer of shape \(1, 4, 9\), expected \(batch, steps, 3 voices\)"),
        ({"plan": Plan.free(3, 2)}, "expected both"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(options, words):
    with pytest.raises(HypermeterError, match=words):
        generate(model("gru"), **{"length": 2} | options)


# ---------------------------------------------------------------------- a model of one's own


@dataclass
class Count:
    """How often each voice was hit so far."""

    hits: torch.Tensor

    def select(self, rows):
        return Count(self.hits[rows])


class Urn:
    """The more often a voice was hit, the likelier it is hit: all that can be asked of it is known by hand."""

    num_drums, grid = 2, Grid(1, 2, 2)

    def init_state(self, batch_size):
        return Count(torch.zeros(batch_size, 2))

    def predict(self, state):
        probs = ((1 + state.hits) / (3 + state.hits.sum(-1, keepdim=True))).clamp(0.05, 0.95)
        return Mixture(torch.zeros(len(probs), 1), probs.logit()[:, None])

    def advance(self, x, state):
        return Count(state.hits + x)


def test_a_custom_model_plays_by_its_steps():
    assert isinstance(Urn(), StreamingModel)
    played = player_of(Urn(), "urn")
    hits = np.array([[1, 0], [1, 0], [0, 1]], np.uint8)
    wanted = [(1 / 3) * (2 / 3), (2 / 4) * (3 / 4), (2 / 5) * (1 / 5)]
    np.testing.assert_allclose(np.exp(played.log_prob(hits)), wanted, rtol=1e-5)
    made = generate(Urn(), torch.ones(1, 3, 2), 5, batch_size=4, seed=1)
    assert made.shape == (4, 8, 2) and len(made.unique(dim=0)) > 1
    done = infill(played, lock_voices(made[0].numpy(), [0]), infilling=InfillOptions(8))
    assert np.array_equal(done.hits[:, 0], made[0, :, 0])
    with pytest.raises(HypermeterError, match="made without labels"):
        generate(Urn(), length=2, plan=PLAN)
