"""The loss: hand-set numbers, the shift in time, masks, and gradients."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.distributions import Bernoulli, Independent

from hypermeter.core.errors import HypermeterError
from hypermeter.core.grid import Grid
from hypermeter.core.tracks import BASS
from hypermeter.learn.dataset import collate, get_complete_rl_dataloader
from hypermeter.model.hierarchical import HierarchicalDrumModel
from hypermeter.model.losses import METRIC_TERMS, compute_loss, loss_terms
from hypermeter.music.metrics import METRICS, chunk_means


class Independently(Independent):
    """Bernoulli voices, summed over voices."""

    def __init__(self, logits: torch.Tensor) -> None:
        super().__init__(Bernoulli(logits=logits), 1)

    @property
    def probs(self) -> torch.Tensor:
        return self.base_dist.probs


def prediction(step_logits: torch.Tensor, bar_logits: torch.Tensor, phrase_logits: torch.Tensor) -> SimpleNamespace:
    """step_logits (B, T + 1, V)."""
    return SimpleNamespace(step_dist=Independently(step_logits), bar_logits=bar_logits, phrase_logits=phrase_logits)


def item(steps: int, voices: int = 3, seed: int = 0) -> dict:
    step = (torch.rand(steps, voices, generator=torch.Generator().manual_seed(seed)) < 0.4).float()
    return {"step": step, "bar": chunk_means(step, 16), "phrase": chunk_means(step, 64), "metrics": {}}


def random_prediction(batch: dict) -> SimpleNamespace:
    rows, steps, voices = batch["step"].shape
    sizes = ((rows, steps + 1, voices), batch["bar"].shape, batch["phrase"].shape)
    return prediction(*(torch.randn(size, requires_grad=True) for size in sizes))


def as_probabilities(preds: SimpleNamespace) -> tuple[torch.Tensor, ...]:
    """What a model's forward gives: position t is for step t + 1."""
    return preds.step_dist.probs[:, 1:], preds.bar_logits.sigmoid(), preds.phrase_logits.sigmoid()


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def test_an_even_prediction_costs_ln_2_a_voice():
    batch = collate([item(128)])
    preds = prediction(torch.zeros(1, 129, 3), torch.zeros(1, 8, 3), torch.zeros(1, 2, 3))
    losses = loss_terms(preds, batch)
    for name in ("step_nll", "bar", "phrase"):
        assert losses[name].item() == pytest.approx(3 * math.log(2))
    assert losses["metric"] == 0
    assert losses["loss"].item() == pytest.approx(1.2 * 3 * math.log(2))


def test_a_prediction_counts_the_first_step_and_a_tuple_begins_at_the_second():
    batch = collate([item(32)])
    preds = random_prediction(batch)
    nll = -preds.step_dist.log_prob(torch.cat([batch["step"], torch.zeros(1, 1, 3)], 1))[0]
    assert loss_terms(preds, batch)["step_nll"].item() == pytest.approx(nll[:32].mean().item(), rel=1e-5)
    actual = loss_terms(as_probabilities(preds), batch)["step_nll"]
    assert actual.item() == pytest.approx(nll[1:32].mean().item(), rel=1e-4)


def test_perfect_predictions_of_the_next_step_bar_and_phrase_cost_nothing():
    batch = collate([item(192)])

    def ahead(x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x[:, 1:], torch.full_like(x[:, :1], 0.5)], 1)

    targets = (batch["step"], batch["bar"], batch["phrase"])
    losses = loss_terms(tuple(ahead(x) for x in targets), targets, True, bar_loss="mse")
    for value in losses.values():
        assert value.item() == pytest.approx(0, abs=1e-6)
    assert loss_terms(targets, targets, bar_loss="mse")["loss"] > 0.1  # the present step in place of the next


def test_drums_have_their_weight_and_tracks_given_them_one():
    torch.manual_seed(0)
    grid = Grid(2, 2, 2)
    model = HierarchicalDrumModel(2, 8, 8, 8, grid=grid, tracks=[BASS.to_dict()]).eval()
    x = torch.zeros(2, 8, 2 + BASS.size)
    x[:, ::3, 0], x[:, ::2, 5] = 1, 1
    targets = (x, chunk_means(x, 4), chunk_means(x, 8))
    preds = model(x)
    drums = -preds.step_dist[:, :-1].voices.log_prob(x[..., :2]).mean()
    given = -preds.step_dist[:, :-1].log_prob(x).mean() - drums
    for weight in (0.0, 0.3, 1.0):
        terms = loss_terms(preds, targets, drums_weight=weight, bar_weight=0.0, phrase_weight=0.0, grid=grid)
        torch.testing.assert_close(terms["loss"], weight * drums + given)
        torch.testing.assert_close(terms["step_nll"], drums + given)


def test_bar_loss_by_hand_in_both_kinds():
    bar = torch.tensor([[[0.0], [0.5], [1.0]]])
    targets = (torch.zeros(1, 48, 1), bar, torch.zeros(1, 1, 1))
    preds = (torch.full((1, 48, 1), 0.5), torch.tensor([[[0.5], [0.8], [0.3]]]), torch.zeros(1, 1, 1))
    assert loss_terms(preds, targets, bar_loss="mse")["bar"].item() == pytest.approx((0 + 0.04) / 2)
    assert loss_terms(preds, targets)["bar"].item() == pytest.approx((math.log(2) - math.log(0.8)) / 2)
    with pytest.raises(HypermeterError, match="bar_loss is 'mae'"):
        loss_terms(preds, targets, bar_loss="mae")


@pytest.mark.parametrize("bar_loss", ["bce", "mse"])
def test_logits_and_probabilities_of_bars_cost_the_same(bar_loss):
    batch = collate([item(200), item(90, seed=1)])
    preds = random_prediction(batch)
    one, other = (
        loss_terms(preds, batch, bar_loss=bar_loss),
        loss_terms(as_probabilities(preds), batch, bar_loss=bar_loss),
    )
    for name in ("bar", "phrase"):
        torch.testing.assert_close(one[name], other[name])


@pytest.mark.parametrize("plain", [True, False])
def test_a_padded_batch_costs_the_weighted_mean_of_its_items(plain):
    items = [item(200), item(75, seed=1), item(16, seed=2)]
    batch = collate(items)
    preds = random_prediction(batch)
    if not plain:
        preds.bar_logits.data[~batch["bar_mask"]] = 1e4
    whole = loss_terms(as_probabilities(preds) if plain else preds, batch, True)
    sums, counts = dict.fromkeys(whole, 0.0), dict.fromkeys(whole, 0)
    for row, piece in enumerate(items):
        steps, bars, phrases = (len(piece[level]) for level in ("step", "bar", "phrase"))
        alone = prediction(
            preds.step_dist.base_dist.logits[row : row + 1, : steps + 1],
            preds.bar_logits[row : row + 1, :bars],
            preds.phrase_logits[row : row + 1, :phrases],
        )
        losses = loss_terms(as_probabilities(alone) if plain else alone, collate([piece]))
        for name, count in (("step_nll", steps - plain), ("bar", bars - 1), ("phrase", phrases - 1)):
            sums[name] += losses[name].item() * count
            counts[name] += count
    for name in ("step_nll", "bar", "phrase"):
        assert whole[name].item() == pytest.approx(sums[name] / counts[name], rel=1e-4)


@pytest.mark.parametrize("term", METRIC_TERMS)
def test_padding_changes_no_metric_term(term):
    batch = collate([item(75)])
    preds = random_prediction(batch)
    losses = loss_terms(preds, batch, (term,))
    longer = collate([item(75), item(200)])
    longer = {name: value[:1] for name, value in longer.items()}
    logits = torch.cat([preds.step_dist.base_dist.logits, torch.randn(1, 125, 3)], 1)
    padded = loss_terms(prediction(logits, torch.randn(1, 13, 3), torch.randn(1, 4, 3)), longer, (term,))
    torch.testing.assert_close(padded["metric"], losses["metric"])


def test_what_stands_in_padding_neither_costs_nor_has_a_gradient():
    batch = collate([item(70), item(20, seed=1)])
    preds = random_prediction(batch)
    logits = preds.step_dist.base_dist.logits
    loss_terms(preds, batch, True)["loss"].backward()
    for grad, mask in ((logits.grad[:, :-1], batch["mask"]), (preds.bar_logits.grad[:, :-1], batch["bar_mask"][:, 1:])):
        assert grad.isfinite().all()
        assert (grad[~mask] == 0).all()
        assert (grad[mask] != 0).all()


def test_a_mask_alone_gives_the_real_bars():
    batch = collate([item(200), item(33, seed=1)])
    preds = random_prediction(batch)
    bare = {name: batch[name] for name in ("step", "bar", "phrase", "mask")}
    for name, value in loss_terms(preds, batch).items():
        torch.testing.assert_close(loss_terms(preds, bare)[name], value)


@pytest.mark.parametrize("steps", [1, 16])
@pytest.mark.parametrize("plain", [True, False])
def test_terms_with_nothing_to_predict_are_zero(steps, plain):
    batch = collate([item(steps)])
    preds = random_prediction(batch)
    losses = loss_terms(as_probabilities(preds) if plain else preds, batch, True)
    assert losses["bar"] == losses["phrase"] == 0
    assert all(value.isfinite() for value in losses.values())
    losses["loss"].backward()
    assert preds.step_dist.base_dist.logits.grad.isfinite().all()


def test_silence_and_certain_predictions_stay_finite():
    batch = collate([item(64)])
    for step in (torch.zeros(1, 64, 3), batch["step"]):
        probs = torch.zeros(1, 64, 3, requires_grad=True)
        targets = (step, batch["bar"], batch["phrase"])
        losses = loss_terms((probs, batch["bar"], batch["phrase"]), targets, True)
        losses["loss"].backward()
        assert losses["loss"].isfinite()
        assert probs.grad.isfinite().all()


@pytest.mark.parametrize("term", METRIC_TERMS)
def test_each_metric_term_has_a_gradient_and_is_least_at_the_target(term):
    batch = collate([item(64), item(64, seed=1)])
    preds = random_prediction(batch)
    losses = loss_terms(preds, batch, (term,), step_weight=0.0, bar_weight=0.0, phrase_weight=0.0, metric_weight=2.0)
    assert losses["metric"] > 0
    assert losses["loss"].item() == pytest.approx(2 * losses["metric"].item())
    losses["loss"].backward()
    assert (preds.step_dist.base_dist.logits.grad[:, :-1].abs().sum((1, 2)) > 0).all()
    exact = torch.cat([(batch["step"] - 0.5) * 100, torch.zeros(2, 1, 3)], 1)
    exact = prediction(exact, batch["bar"], batch["phrase"])
    assert loss_terms(exact, batch, (term,))["metric"].item() == pytest.approx(0, abs=1e-6)


def test_metrics_are_chosen_by_true_by_name_or_by_the_batch(tmp_path):
    np.savez(tmp_path / "a.npz", sequence=item(64)["step"].numpy())
    (batch,) = get_complete_rl_dataloader(tmp_path)
    preds = random_prediction(batch)
    values = [loss_terms(preds, batch, metrics)["metric"] for metrics in (True, tuple(METRIC_TERMS), batch["metrics"])]
    assert values[0] == values[1] == values[2] > 0
    assert loss_terms(preds, batch, "density")["metric"] == loss_terms(preds, batch, ["density"])["metric"] > 0
    assert loss_terms(preds, batch, False)["metric"] == loss_terms(preds, batch, ())["metric"] == 0
    with pytest.raises(HypermeterError, match="no term 'swing'"):
        loss_terms(preds, batch, ("swing",))


def test_predictions_of_another_shape_are_refused():
    batch = collate([item(32)])
    step_preds, bar_preds, phrase_preds = as_probabilities(random_prediction(batch))
    with pytest.raises(HypermeterError, match=r"step predictions of shape \(1, 31, 3\), targets of \(1, 32, 3\)"):
        loss_terms((step_preds[:, 1:], bar_preds, phrase_preds), batch)


@pytest.mark.parametrize(
    ("term", "metric"),
    [("density", "drum_density"), ("offbeat", "syncopation"), ("ioi_hist", "ioi_hist"), ("ioi_mean", "ioi_mean")],
)
def test_a_metric_that_was_replaced_is_the_one_that_the_loss_takes(term, metric, monkeypatch):
    batch, probs = collate([item(32), item(32, seed=1)]), torch.full((2, 32, 3), 0.4)
    preds = (probs, batch["bar"], batch["phrase"])
    before, original = loss_terms(preds, batch, [term])["metric"], METRICS[metric]
    monkeypatch.setitem(METRICS, metric, lambda hits, grid, **options: 10 * original(hits, grid, **options))
    torch.testing.assert_close(loss_terms(preds, batch, [term])["metric"], 100 * before)


def test_a_mask_alone_shows_that_a_bar_on_whose_line_the_piece_ends_is_padding():
    batch = collate([item(200), item(32, seed=1)])
    bare = {name: batch[name] for name in ("step", "bar", "phrase", "mask")}
    preds = random_prediction(batch)
    torch.testing.assert_close(loss_terms(preds, bare)["bar"], loss_terms(preds, batch)["bar"])


def test_the_training_loss_is_the_sum_of_the_terms_with_a_weight():
    batch = collate([item(64)])
    preds = random_prediction(batch)
    terms = loss_terms(preds, batch, ["density"], metric_weight=3.0)
    torch.testing.assert_close(compute_loss(preds, batch, ["density"], metric_weight=3.0), terms["loss"])
    assert terms["loss"] > compute_loss(preds, batch)
