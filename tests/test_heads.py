"""Output distributions against sums over all combinations of voices, written out."""

import itertools
import math

import pytest
import torch

from hypermeter.core.errors import HypermeterError
from hypermeter.core.limits import MOST_ENUMERATED_VOICES
from hypermeter.model.heads import (
    CANDIDATES,
    Mixture,
    MixtureHead,
    SoftmaxHead,
    SoftmaxWithEscape,
    combinations,
    known_combinations,
)

VOICES = 3
EVERY = torch.tensor(list(itertools.product([0.0, 1.0], repeat=VOICES)))
SEEN = [[0, 0, 0], [1, 0, 0], [0, 1, 1], [1, 0, 1]]
ROWS = 5
DRAWS = 20_000


def mixture(components=4):
    weights = torch.randn(ROWS, components).log_softmax(-1)
    return Mixture(weights, 2 * torch.randn(ROWS, components, VOICES))


def softmax(escape=None):
    """With an escape of about the weight of one combination, or of the given score."""
    scores = torch.randn(ROWS, len(SEEN) + 1)
    if escape is not None:
        scores[:, -1] = escape
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
    return torch.stack([dist.log_prob(each.expand(rows, VOICES)).exp() for each in EVERY], -1)


def assert_drawn_as(dist, wanted, **options):
    """Frequencies of DRAWS samples of row 0 lie within five standard errors of ``wanted`` (2 ** V,)."""
    many = dist[torch.zeros(DRAWS, dtype=torch.long)]
    drawn = many.sample(**options, generator=torch.Generator().manual_seed(1))
    assert drawn.shape == (DRAWS, VOICES)
    found = (drawn[:, None] == EVERY).all(-1).float().mean(0)
    assert found.sum() == pytest.approx(1)
    error = (wanted * (1 - wanted) / DRAWS).sqrt()
    assert ((found - wanted).abs() <= 5 * error + 1e-6).all()


def test_combinations_are_all_of_them_once():
    assert {tuple(each) for each in combinations(VOICES).tolist()} == {tuple(each) for each in EVERY.tolist()}
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


def test_softmax_by_hand():
    known = torch.tensor([[0.0, 0.0], [1.0, 0.0]])
    dist = SoftmaxWithEscape(torch.tensor([[0.5, 0.3, 0.2]]).log(), torch.tensor([[0.4, 0.1]]).logit(), known)
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


def test_a_tilt_is_the_renormalised_product(dist):
    bias = torch.tensor([1.5, -2.0, 0.3])
    wanted = table(dist) * (EVERY @ bias).exp()
    tilted = dist.tilt(bias)
    torch.testing.assert_close(table(tilted), wanted / wanted.sum(-1, keepdim=True))
    torch.testing.assert_close(tilted.probs, table(tilted) @ EVERY)
    torch.testing.assert_close(table(dist.tilt(torch.zeros(VOICES))), table(dist))


def test_a_condition_is_the_renormalised_part_that_agrees(dist):
    known = torch.tensor([[1, 0, 0], [0, 1, 1], [1, 1, 1], [0, 0, 0], [0, 0, 1]]).bool()
    values = torch.tensor([[1, 0, 0], [0, 1, 0], [0, 1, 0], [1, 1, 1], [0, 0, 1]]).float()
    agrees = ((values[:, None] == EVERY) | ~known[:, None]).all(-1)
    wanted = table(dist) * agrees
    conditioned = dist.condition(known, values)
    torch.testing.assert_close(table(conditioned), wanted / wanted.sum(-1, keepdim=True))
    torch.testing.assert_close(conditioned.probs, table(conditioned) @ EVERY)


@pytest.mark.parametrize("options", [{}, {"temperature": 0.6}, {"top_p": 0.8}, {"temperature": 2.0, "top_p": 0.9}])
def test_known_voices_are_drawn_as_they_are_known(dist, options):
    known = torch.tensor([True, False, True]).expand(DRAWS, -1)
    values = torch.tensor([0.0, 0.0, 1.0]).expand(DRAWS, -1)
    conditioned = dist[torch.zeros(DRAWS, dtype=torch.long)].condition(known, values)
    drawn = conditioned.sample(**options, generator=torch.Generator().manual_seed(1))
    assert (drawn[:, [0, 2]] == torch.tensor([0.0, 1.0])).all()


@pytest.mark.parametrize("temperature", [0.0, 0.5, 1.0])
def test_known_voices_hold_where_no_known_combination_has_them(temperature):
    values = torch.tensor([[1.0, 1.0, 0.0]]).expand(200, -1)
    dist = softmax()[torch.zeros(200, dtype=torch.long)].condition(torch.ones(200, VOICES, dtype=torch.bool), values)
    assert torch.equal(dist.sample(temperature, generator=torch.Generator().manual_seed(1)), values)


@pytest.mark.parametrize("dist", [mixture, lambda: softmax(escape=99.0)])
def test_a_voice_that_is_known_to_be_silent_is_silent_where_the_generator_gives_zero(dist, monkeypatch):
    monkeypatch.setattr(torch, "rand", lambda shape, **_: torch.zeros(shape))
    one = dist()
    known = torch.tensor([False, True, True]).expand(ROWS, -1)
    values = torch.tensor([0.0, 0.0, 1.0]).expand(ROWS, -1)
    assert torch.equal(one.condition(known, values).draw(), torch.tensor([1.0, 0.0, 1.0]).expand(ROWS, -1))
    assert torch.equal(one.draw(), torch.ones(ROWS, VOICES))  # what may sound does


def test_samples_come_as_often_as_they_are_probable(dist):
    assert_drawn_as(dist, table(dist)[0])


def tempered(probs, temperature, top_p):
    """(2 ** V,): by a loop over the combinations, likeliest first."""
    probs = probs ** (1 / temperature)
    probs = probs / probs.sum()
    kept, mass = torch.zeros_like(probs), 0.0
    for index in sorted(range(len(probs)), key=lambda index: -probs[index]):
        if mass < top_p:
            kept[index] = probs[index]
        mass += probs[index].item()
    return kept / kept.sum()


@pytest.mark.parametrize(("temperature", "top_p"), [(0.5, 1.0), (2.0, 1.0), (1.0, 0.6), (0.7, 0.8), (1.0, 1e-6)])
@pytest.mark.parametrize("kind", ["mixture", "sigmoid", "softmax"])
def test_temperature_and_top_p_act_on_combinations(kind, temperature, top_p):
    dist = softmax(escape=-60.0) if kind == "softmax" else MAKERS[kind]()
    wanted = tempered(table(dist)[0], temperature, top_p)
    assert_drawn_as(dist, wanted, temperature=temperature, top_p=top_p)


def test_what_only_the_escape_gives_is_not_drawn_when_tempered():
    dist = softmax(escape=3.0)[torch.zeros(2_000, dtype=torch.long)]
    generator = torch.Generator().manual_seed(1)
    assert len(dist.sample(generator=generator).unique(dim=0)) == 2**VOICES
    for options in ({"temperature": 1.5}, {"top_p": 0.999}):
        drawn = dist.sample(**options, generator=generator).unique(dim=0)
        assert {tuple(each) for each in drawn.int().tolist()} == {tuple(each) for each in SEEN}


@pytest.mark.parametrize("kind", ["mixture", "sigmoid", "softmax"])
def test_temperature_zero_takes_the_likeliest_combination(kind):
    dist = softmax(escape=-60.0) if kind == "softmax" else MAKERS[kind]()
    assert torch.equal(dist.sample(0.0), EVERY[table(dist).argmax(-1)])


def test_the_likeliest_combination_need_not_be_the_likeliest_voices():
    logits = torch.tensor([[[20.0, 20.0, -20.0], [20.0, -20.0, 20.0], [-20.0, 20.0, 20.0], [-20.0, -20.0, -20.0]]])
    dist = Mixture(torch.tensor([[0.23, 0.23, 0.23, 0.31]]).log(), logits)
    assert not torch.equal((dist.probs > 0.4).float(), torch.zeros(1, VOICES))
    assert torch.equal(dist.sample(0.0), torch.zeros(1, VOICES))


def test_the_same_generator_draws_the_same(dist):
    draws = [dist.sample(temperature, 0.9, torch.Generator().manual_seed(4)) for temperature in (0.8, 0.8)]
    assert torch.equal(*draws)


@pytest.mark.parametrize(("temperature", "top_p"), [(-0.1, 1.0), (1.0, 0.0), (1.0, 1.1), (1.0, -0.5)])
def test_a_temperature_or_top_p_out_of_range_is_refused(dist, temperature, top_p):
    with pytest.raises(HypermeterError, match=f"temperature {temperature} and top_p {top_p}: expected"):
        dist.sample(temperature, top_p)


# Too many voices to enumerate.

MANY = 23


def few_of_many():
    """A mixture over 23 voices that is nearly one of three combinations, and these."""
    combos = (torch.rand(3, MANY) < 0.3).float()
    weights = torch.tensor([[0.6, 0.3, 0.1]]).log()
    return Mixture(weights, 40 * (combos[None] - 0.5)), combos


def test_many_voices_have_distinct_candidates_with_their_log_prob():
    assert MANY > MOST_ENUMERATED_VOICES
    dist = Mixture(torch.zeros(2, 1), torch.full((2, 1, MANY), -3.0))  # silence is half of the draws
    combos, log_probs = dist.candidates(torch.Generator().manual_seed(1))
    assert combos.shape == (2, CANDIDATES, MANY)
    for row in range(2):
        counted = log_probs[row] > -math.inf
        assert len(combos[row, counted].unique(dim=0)) == counted.sum() == len(combos[row].unique(dim=0))
        one = dist[torch.full((int(counted.sum()),), row)]
        torch.testing.assert_close(log_probs[row, counted], one.log_prob(combos[row, counted]))


def test_many_voices_are_tempered_by_their_combinations():
    dist, combos = few_of_many()
    assert torch.equal(dist.sample(0.0), combos[:1])
    drawn = torch.cat([dist.sample(2.0, generator=torch.Generator().manual_seed(n)) for n in range(100)])
    found = (drawn[:, None] == combos).all(-1).float().mean(0)
    wanted = torch.tensor([0.6, 0.3, 0.1]).sqrt()
    wanted = wanted / wanted.sum()
    assert ((found - wanted).abs() <= 4 * (wanted * (1 - wanted) / 100).sqrt()).all()
    assert torch.equal(dist.sample(1.0, 0.5), combos[:1])


def test_many_voices_in_a_softmax():
    combos = known_combinations((torch.rand(40, MANY) < 0.2).float())
    dist = SoftmaxHead(6, MANY, combos)(torch.randn(2, 6))
    x = torch.tensor(combos[:2]).float()
    escape = (
        torch.distributions.Bernoulli(logits=dist.logits).log_prob(x).sum(-1).exp() * dist.log_probs_known[:, -1].exp()
    )
    torch.testing.assert_close(dist.log_prob(x).exp(), dist.log_probs_known[range(2), range(2)].exp() + escape)
    assert torch.equal(dist.sample(0.0), torch.tensor(combos).float()[dist.log_probs_known[:, :-1].argmax(-1)])
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
        for temperature in (0.0, 0.5, 1.0):
            assert dist.sample(temperature).shape == (VOICES,)


def test_components_of_a_mixture_do_not_start_alike():
    dist = MixtureHead(6, VOICES, 4)(torch.zeros(1, 6))
    assert len(dist.logits[0].unique(dim=0)) == 4
    assert (dist.probs < 0.5).all()


def test_known_combinations_are_the_distinct_ones():
    hits = torch.tensor([[[1.0, 0.0], [0.0, 0.0]], [[1.0, 0.0], [1.0, 1.0]]])
    assert sorted(known_combinations(hits)) == [[0, 0], [1, 0], [1, 1]]


@pytest.mark.parametrize("known", [[[0, 0, 0], [1, 0, 0], [0, 0, 0]], [[0, 0, 1, 0, 1, 1]], [[0, 0, 2]], []])
def test_known_combinations_that_are_not_distinct_ones_of_the_voices_are_refused(known):
    with pytest.raises(HypermeterError, match="known"):
        SoftmaxHead(6, VOICES, known)


def test_a_head_learns_after_combinations_were_listed_in_inference_mode():
    combinations.cache_clear()
    with torch.inference_mode():
        mixture().candidates()
    SoftmaxHead(6, VOICES)(torch.randn(2, 6)).probs.sum().backward()
    log_probs = MixtureHead(6, VOICES)(torch.randn(2, 6)).candidates()[1]
    log_probs.sum().backward()
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


def test_the_voices_alone_have_the_tracks_summed_out():
    whole, voices = all_probs(tracked()), tracked().voices
    for pattern in itertools.product((0.0, 1.0), repeat=2):
        of_it = (TRACKED[:, :2] == torch.tensor(pattern)).all(-1)
        found = voices.log_prob(torch.tensor(pattern)).exp()
        torch.testing.assert_close(found, whole[of_it].sum(), atol=1e-5, rtol=0)


KNOWN = {
    "a voice": ([1, 0, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0, 0]),
    "a whole track": ([0, 0, 1, 1, 1, 0, 0], [0, 0, 0, 1, 0, 0, 0]),
    "rests": ([0, 0, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0, 0]),
    "some columns silent": ([0, 1, 0, 1, 0, 1, 0], [0, 0, 0, 0, 0, 0, 0]),
    "one column": ([0, 0, 1, 0, 0, 0, 0], [0, 0, 1, 0, 0, 0, 0]),
    "all": ([1, 1, 1, 1, 1, 1, 1], [0, 1, 0, 0, 1, 1, 0]),
    "nothing": ([0, 0, 0, 0, 0, 0, 0], [1, 0, 0, 1, 0, 0, 0]),
}
"""What is known of a step: which columns, and their values."""


@pytest.mark.parametrize("name", KNOWN)
def test_conditioning_with_tracks_is_the_rule_of_bayes(name):
    known, values = (torch.tensor(each) for each in KNOWN[name])
    agrees = ((values == TRACKED) | ~known.bool()).all(-1)
    expected = all_probs(tracked()) * agrees
    conditioned = tracked().condition(known.bool(), values.float())
    torch.testing.assert_close(all_probs(conditioned), expected / expected.sum(), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", KNOWN)
def test_the_probability_of_some_columns_has_the_others_summed_out(name):
    known, values = (torch.tensor(each) for each in KNOWN[name])
    agrees = ((values == TRACKED) | ~known.bool()).all(-1)
    found = tracked().log_prob_of(values.float(), known.bool()).exp()
    torch.testing.assert_close(found, all_probs(tracked())[agrees].sum(), atol=1e-5, rtol=0)


def test_a_track_given_the_voices_is_all_less_the_voices():
    rows, is_voice = rows_of(tracked(), len(TRACKED)), torch.arange(7) < 2
    of_voices = rows.log_prob_of(TRACKED, is_voice)
    torch.testing.assert_close(of_voices, rows.voices.log_prob(TRACKED[:, :2]))
    given_them = rows.condition(is_voice.expand(TRACKED.shape), TRACKED)
    torch.testing.assert_close(rows.log_prob(TRACKED) - of_voices, given_them.log_prob(TRACKED), atol=1e-4, rtol=0)


def test_tilting_with_tracks_is_exact():
    bias = torch.tensor([1.0, -2, 0.5, 0, 3, -1, 2])
    expected = all_probs(tracked()) * (TRACKED @ bias).exp()
    torch.testing.assert_close(all_probs(tracked().tilt(bias)), expected / expected.sum(), atol=1e-5, rtol=0)


def test_draws_with_tracks_have_the_probabilities_of_the_mixture():
    drawn = tracked(40_000).draw(torch.Generator().manual_seed(0))
    counts = (drawn[:, None] == TRACKED).all(-1).float()
    assert counts.sum(-1).min() == 1  # never two columns of a track
    torch.testing.assert_close(counts.mean(0), all_probs(tracked()), atol=0.01, rtol=0)


@pytest.mark.parametrize(("temperature", "top_p"), [(0.5, 1.0), (1.0, 0.7), (1.5, 0.8)])
def test_tempered_samples_with_tracks_go_from_voices_to_tracks(temperature, top_p):
    drawn = tracked(40_000).sample(temperature, top_p, torch.Generator().manual_seed(0))
    whole = all_probs(tracked())
    expected = torch.ones(len(TRACKED))
    for row, x in enumerate(TRACKED):
        for start, stop in ((0, 2), *GROUPS):  # each part given those before it
            before = (TRACKED[:, :start] == x[:start]).all(-1)
            patterns = TRACKED[before][:, start:stop].unique(dim=0)
            has = before & (TRACKED[:, start:stop] == patterns[:, None]).all(-1)
            shares = tempered(has.float() @ whole / whole[before].sum(), temperature, top_p)
            expected[row] *= shares[(patterns == x[start:stop]).all(-1)].item()
    counts = (drawn[:, None] == TRACKED).all(-1).float().mean(0)
    torch.testing.assert_close(counts, expected, atol=0.01, rtol=0)


def test_ten_voices_and_a_bass_are_each_the_likeliest_at_temperature_0():
    voices, groups = 10, ((10, 46),)
    dist = Mixture(torch.randn(20, 8).log_softmax(-1), 2 * torch.randn(20, 8, 46) - 2, groups)
    found = dist.sample(0.0)
    combos = combinations(voices)
    likeliest = combos[torch.stack([dist.voices.log_prob(each.expand(20, -1)) for each in combos]).argmax(0)]
    assert torch.equal(found[:, :voices], likeliest)
    notes = torch.cat([torch.zeros(1, 36), torch.eye(36)])
    given_them = [dist.log_prob(torch.cat([likeliest, each.expand(20, -1)], -1)) for each in notes]
    assert torch.equal(found[:, voices:], notes[torch.stack(given_them).argmax(0)])
    for temperature, top_p in ((1.0, 1.0), (0.8, 0.9), (2.0, 1.0)):
        drawn = dist.sample(temperature, top_p, torch.Generator().manual_seed(1))
        assert drawn.shape == (20, 46) and drawn[:, voices:].sum(-1).max() <= 1


def test_voices_without_tracks_are_computed_to_the_bit_as_without_any_code_for_tracks():
    rows, softplus = 500, torch.nn.functional.softplus  # of few rows, sums in another order may round alike
    dist = Mixture(torch.randn(rows, 8).log_softmax(-1), 2 * torch.randn(rows, 8, 10))
    x, bias = (torch.rand(rows, 10) < 0.4).float(), torch.randn(10)
    scores = (dist.logits @ x[..., None])[..., 0] - softplus(dist.logits).sum(-1)
    assert torch.equal(dist.log_prob(x), (dist.log_weights + scores).logsumexp(-1))
    gain = (softplus(dist.logits + bias) - softplus(dist.logits)).sum(-1)
    assert torch.equal(dist.tilt(bias).log_weights, (dist.log_weights + gain).log_softmax(-1))


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
