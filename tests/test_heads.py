"""Output distributions against sums over all combinations of voices, written out."""

import itertools

import pytest
import torch

from hypermeter.core.errors import HypermeterError
from hypermeter.model.heads import (
    Mixture,
    MixtureHead,
    SoftmaxHead,
    SoftmaxWithEscape,
    combinations,
    known_combinations,
)
from hypermeter.model.heads import mixture as heads

VOICES = 3
EVERY = torch.tensor(list(itertools.product([0.0, 1.0], repeat=VOICES)))
SEEN = [[0, 0, 0], [1, 0, 0], [0, 1, 1], [1, 0, 1]]
ROWS = 5
DRAWS = 20_000


def mixture(components=4):
    weights = torch.randn(ROWS, components).log_softmax(-1)
    return Mixture(weights, 2 * torch.randn(ROWS, components, VOICES))


def softmax():
    """With an escape of about the weight of one combination."""
    scores = torch.randn(ROWS, len(SEEN) + 1)
    return SoftmaxWithEscape(scores.log_softmax(-1), torch.randn(ROWS, VOICES), torch.tensor(SEEN).float())


MAKERS = {
    "mixture": mixture,
    "sigmoid": lambda: mixture(1),
    "softmax": softmax,
    "softmax over all": lambda: SoftmaxHead(6, VOICES)(torch.randn(ROWS, 6)),
}
"""Every kind of distribution, with ROWS rows."""


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture(params=MAKERS)
def dist(request):
    return MAKERS[request.param]()


def table(dist, rows=ROWS):
    """(rows, 2 ** V): the probability of each combination, by ``log_prob`` of one at a time."""
    return torch.stack([dist.log_prob(combination.expand(rows, VOICES)).exp() for combination in EVERY], -1)


def test_combinations_are_all_of_them_once():
    assert {tuple(combination) for combination in combinations(VOICES).tolist()} == {
        tuple(combination) for combination in EVERY.tolist()
    }
    assert len(combinations(VOICES)) == 2**VOICES


def test_probabilities_of_all_combinations_sum_to_one(dist):
    torch.testing.assert_close(table(dist).sum(-1), torch.ones(ROWS))


def test_probs_are_the_marginals(dist):
    torch.testing.assert_close(dist.probs, table(dist) @ EVERY)


def test_mixture_by_hand():
    dist = Mixture(torch.tensor([0.25, 0.75]).log(), torch.tensor([[0.1, 0.5], [0.8, 0.2]]).logit())
    assert dist.log_prob(torch.tensor([1.0, 0.0])).exp().item() == pytest.approx(0.25 * 0.1 * 0.5 + 0.75 * 0.8 * 0.8)
    torch.testing.assert_close(dist.probs, torch.tensor([0.25 * 0.1 + 0.75 * 0.8, 0.25 * 0.5 + 0.75 * 0.2]))


def test_a_mixture_of_one_is_independent_voices():
    dist = mixture(1)
    x = EVERY[[0, 3, 5, 6, 7]]
    wanted = torch.distributions.Bernoulli(logits=dist.logits[:, 0]).log_prob(x).sum(-1)
    torch.testing.assert_close(dist.log_prob(x), wanted)


@pytest.mark.parametrize("rows", [1, 2, 256])
def test_likelihood_in_blocks_has_the_gradients_of_the_formula(rows, monkeypatch):
    monkeypatch.setattr(heads, "ROWS_IN_BLOCK", rows)
    weights, logits = torch.randn(2, 3, 4, dtype=torch.float64), 2 * torch.randn(2, 3, 4, VOICES, dtype=torch.float64)
    x = (torch.rand(2, 3, VOICES) < 0.5).double()
    leaves = [weights.requires_grad_(), logits.requires_grad_()]

    def log_prob(weights, logits):
        return Mixture(weights.log_softmax(-1), logits).log_prob(x)

    scores = (x[..., None, :] * logits - torch.nn.functional.softplus(logits)).sum(-1)
    expected = (weights.log_softmax(-1) + scores).logsumexp(-1)
    before, grad = logits.detach().clone(), torch.randn(2, 3, dtype=torch.float64)
    actual = log_prob(*leaves)
    torch.testing.assert_close(actual, expected)
    wanted = torch.autograd.grad(expected, leaves, grad)
    for found, right in zip(torch.autograd.grad(actual, leaves, grad), wanted, strict=True):
        torch.testing.assert_close(found, right)
    assert torch.equal(logits, before)
    assert torch.autograd.gradcheck(log_prob, leaves)


def test_likelihood_has_a_gradient_to_what_was_played_where_that_is_wanted():
    dist, x = mixture(), torch.rand(ROWS, VOICES, requires_grad=True)
    (found,) = torch.autograd.grad(dist.log_prob(x).sum(), x)
    share = (dist.log_weights + (x[:, None] * dist.logits - torch.nn.functional.softplus(dist.logits)).sum(-1)).softmax(
        -1
    )
    torch.testing.assert_close(found, (share[..., None] * dist.logits).sum(1))


def test_recalled_hits_add_to_the_logits_of_their_voice_alone():
    head = MixtureHead(6, VOICES, 4, num_recalled=2)
    head.repeat.data.normal_()
    features, recalled = torch.randn(5, 6), torch.rand(5, 2, VOICES)
    added = head(features, recalled).logits - head(features, torch.zeros_like(recalled)).logits
    torch.testing.assert_close(added, torch.einsum("nrv,krv->nkv", recalled, head.repeat), atol=1e-5, rtol=0)


def test_softmax_by_hand():
    listed = torch.tensor([[0.0, 0.0], [1.0, 0.0]])
    dist = SoftmaxWithEscape(torch.tensor([[0.5, 0.3, 0.2]]).log(), torch.tensor([[0.4, 0.1]]).logit(), listed)
    for x, wanted in (
        ([0.0, 0.0], 0.5 + 0.2 * 0.6 * 0.9),
        ([1.0, 0.0], 0.3 + 0.2 * 0.4 * 0.9),
        ([0.0, 1.0], 0.2 * 0.6 * 0.1),
        ([1.0, 1.0], 0.2 * 0.4 * 0.1),
    ):
        assert dist.log_prob(torch.tensor([x])).exp().item() == pytest.approx(wanted)
    torch.testing.assert_close(dist.probs, torch.tensor([[0.3 + 0.2 * 0.4, 0.2 * 0.1]]))


def test_the_order_of_the_known_combinations_does_not_matter():
    dist, order = softmax(), torch.tensor([2, 0, 3, 1])
    other = SoftmaxWithEscape(dist.log_probs_known[:, [*order, 4]], dist.logits, dist.known[order])
    torch.testing.assert_close(table(other), table(dist))


def test_samples_come_as_often_as_they_are_probable(dist):
    """Frequencies of DRAWS samples of row 0 lie within five standard errors."""
    wanted, many = table(dist)[0], dist[torch.zeros(DRAWS, dtype=torch.long)]
    drawn, again = (many.sample(torch.Generator().manual_seed(1)) for _ in range(2))
    assert drawn.shape == (DRAWS, VOICES) and torch.equal(drawn, again)
    frequencies = (drawn[:, None] == EVERY).all(-1).float().mean(0)
    assert frequencies.sum() == pytest.approx(1)
    error = (wanted * (1 - wanted) / DRAWS).sqrt()
    assert ((frequencies - wanted).abs() <= 5 * error + 1e-6).all()


# Too many voices to enumerate.

MANY = 23


def test_many_voices_in_a_softmax():
    combos = known_combinations((torch.rand(40, MANY) < 0.2).float())
    dist = SoftmaxHead(6, MANY, combos)(torch.randn(2, 6))
    x = torch.tensor(combos[:2]).float()
    escape = (
        torch.distributions.Bernoulli(logits=dist.logits).log_prob(x).sum(-1).exp() * dist.log_probs_known[:, -1].exp()
    )
    torch.testing.assert_close(dist.log_prob(x).exp(), dist.log_probs_known[range(2), range(2)].exp() + escape)
    with pytest.raises(HypermeterError, match="softmax over 23 voices: give the combinations in use as known="):
        SoftmaxHead(6, MANY)


# Heads.


@pytest.mark.parametrize("head", [MixtureHead(6, VOICES, 5), SoftmaxHead(6, VOICES, SEEN)])
def test_a_head_gives_a_distribution_for_each_row_of_features(head):
    features = torch.randn(2, 7, 6)
    dist = head(features)
    x = (torch.rand(2, 7, VOICES) < 0.5).float()
    assert dist.log_prob(x).shape == (2, 7)
    assert dist.probs.shape == dist.sample().shape == (2, 7, VOICES)
    torch.testing.assert_close(dist[1, 3:].log_prob(x[1, 3:]), head(features[1, 3:]).log_prob(x[1, 3:]))
    dist.log_prob(x).sum().backward()
    assert head.project.weight.grad.abs().sum() > 0


def test_one_step_without_a_batch_can_be_drawn():
    for dist in (MixtureHead(6, VOICES)(torch.randn(6)), SoftmaxHead(6, VOICES, SEEN)(torch.randn(6))):
        assert dist.sample().shape == (VOICES,)


def test_components_of_a_mixture_do_not_start_alike():
    dist = MixtureHead(6, VOICES, 4)(torch.zeros(1, 6))
    assert len(dist.logits[0].unique(dim=0)) == 4
    assert (dist.probs < 0.5).all()


def test_known_combinations_are_the_distinct_ones():
    hits = torch.tensor([[[1.0, 0.0], [0.0, 0.0]], [[1.0, 0.0], [1.0, 1.0]]])
    assert sorted(known_combinations(hits)) == [[0, 0], [1, 0], [1, 1]]


@pytest.mark.parametrize("listed", [[[0, 0, 0], [1, 0, 0], [0, 0, 0]], [[0, 0, 1, 0, 1, 1]], [[0, 0, 2]], []])
def test_known_combinations_that_are_not_distinct_ones_of_the_voices_are_refused(listed):
    with pytest.raises(HypermeterError, match="known"):
        SoftmaxHead(6, VOICES, listed)


def test_a_head_learns_after_combinations_were_listed_in_inference_mode():
    combinations.cache_clear()
    with torch.inference_mode():
        combinations(VOICES)
    SoftmaxHead(6, VOICES)(torch.randn(2, 6)).probs.sum().backward()
    combinations.cache_clear()


@pytest.mark.parametrize("head", [MixtureHead(6, VOICES, 5, num_recalled=2), SoftmaxHead(6, VOICES, SEEN, 2)])
def test_a_recalled_hit_makes_its_voice_likelier_and_leaves_a_distribution(head):
    combos = combinations(VOICES)
    features, recalled = torch.randn(1, 6).expand(len(combos), 6), torch.zeros(len(combos), 2, VOICES)
    before = head(features, recalled)
    recalled[:, 1, 0] = 1
    after = head(features, recalled)
    assert after.probs[0, 0] > before.probs[0, 0]
    assert after.log_prob(combos).exp().sum().item() == pytest.approx(1, abs=1e-5)
    torch.testing.assert_close(head(features).probs, before.probs)  # nothing recalled is the same as no hits


# ---------------------------------------------------------------------- tracks: columns of which at most one is 1

GROUPS = ((2, 5), (5, 7))
TRACKED = torch.tensor(
    [
        [*voices, *first, *second]
        for voices in itertools.product((0.0, 1.0), repeat=2)
        for first in ([0.0] * 3, *torch.eye(3).tolist())
        for second in ([0.0] * 2, *torch.eye(2).tolist())
    ]
)
"""All that two voices and two tracks can play on a step."""


def tracked(rows=None, seed=0):
    generator = torch.Generator().manual_seed(seed)
    mixture = Mixture(
        torch.randn(3, generator=generator).log_softmax(-1), 2 * torch.randn(3, 7, generator=generator), GROUPS
    )
    return mixture if rows is None else rows_of(mixture, rows)


def rows_of(mixture, rows):
    return Mixture(mixture.log_weights.expand(rows, -1), mixture.logits.expand(rows, -1, -1), mixture.groups)


def all_probs(mixture):
    return rows_of(mixture, len(TRACKED)).log_prob(TRACKED).exp()


def test_probabilities_of_all_that_voices_and_tracks_can_play_sum_to_one():
    assert all_probs(tracked()).sum().item() == pytest.approx(1, abs=1e-5)


def test_a_voice_is_a_track_of_one_column():
    plain = Mixture(tracked().log_weights, tracked().logits)
    as_tracks = Mixture(plain.log_weights, plain.logits, tuple((column, column + 1) for column in range(7)))
    x = torch.tensor([1.0, 0, 1, 1, 0, 0, 1])
    torch.testing.assert_close(as_tracks.log_prob(x), plain.log_prob(x))
    torch.testing.assert_close(as_tracks.probs, plain.probs)


def test_marginals_of_columns_are_exact():
    torch.testing.assert_close(all_probs(tracked()) @ TRACKED, tracked().probs, atol=1e-5, rtol=0)


def test_voices_and_tracks_alone_have_the_others_summed_out():
    whole = all_probs(tracked())
    for start, stop in ((0, 2), (0, 5), (2, 7), (5, 7)):
        alone = tracked().only(start, stop)
        for pattern in TRACKED[:, start:stop].unique(dim=0):
            of_it = (TRACKED[:, start:stop] == pattern).all(-1)
            torch.testing.assert_close(alone.log_prob(pattern).exp(), whole[of_it].sum(), atol=1e-5, rtol=0)
    torch.testing.assert_close(tracked().voices.probs, tracked().probs[:2])


def test_draws_with_tracks_have_the_probabilities_of_the_mixture():
    drawn = tracked(40_000).sample(torch.Generator().manual_seed(0))
    counts = (drawn[:, None] == TRACKED).all(-1).float()
    assert counts.sum(-1).min() == 1  # never two columns of a track
    torch.testing.assert_close(counts.mean(0), all_probs(tracked()), atol=0.01, rtol=0)


def test_voices_without_tracks_are_computed_to_the_bit_as_without_any_code_for_tracks():
    rows, softplus = 500, torch.nn.functional.softplus  # of few rows, sums in another order may round alike
    dist = Mixture(torch.randn(rows, 8).log_softmax(-1), 2 * torch.randn(rows, 8, 10))
    x = (torch.rand(rows, 10) < 0.4).float()
    scores = (dist.logits @ x[..., None])[..., 0] - softplus(dist.logits).sum(-1)
    assert torch.equal(dist.log_prob(x), (dist.log_weights + scores).logsumexp(-1))


def test_a_head_with_tracks_learns_what_goes_together():
    torch.manual_seed(0)
    head = MixtureHead(4, 5, 8, groups=((2, 5),))
    x = torch.tensor([[1.0, 0, 0, 1, 0], [0, 1, 0, 0, 0]]).repeat(32, 1)
    optimizer = torch.optim.Adam(head.parameters(), 0.05)
    for _ in range(150):
        loss = -head(torch.ones(64, 4)).log_prob(x).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.75  # one bit is .693 nats: either of two steps, and nothing between
