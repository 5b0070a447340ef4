"""The optimizer of training: Muon and AdamW as one."""

import copy

import pytest
import torch

from hypermeter import HierarchicalDrumModel
from hypermeter.learn.train.optimizer import MuonAndAdamW, orthogonal
from hypermeter.model.expression import Expression

LABELS = {"section": ["A"], "style": ["jazz"], "fill": ["beat", "fill"]}


def small_model(**options):
    torch.manual_seed(0)
    return HierarchicalDrumModel(3, 8, 8, 8, num_components=2, dropout=0.0, **options)


def learn(model, optimizer, updates):
    hits = (torch.rand(2, 64, 3, generator=torch.Generator().manual_seed(1)) < 0.3).float()
    for _ in range(updates):
        optimizer.zero_grad()
        (-model.log_prob(hits).mean()).backward()
        optimizer.step()


def names_in(optimizer, model):
    """The names of the weights in each part of the optimizer: AdamW with decay, without, and Muon."""
    name_of = {weights: name for name, weights in model.named_parameters()}
    return [{name_of[weights] for weights in group["params"]} for group in optimizer.param_groups]


def test_matrices_inside_the_model_are_for_muon_and_all_others_for_adamw():
    model = small_model(labels=LABELS, use_expression=True)
    decayed, others, inner = names_in(MuonAndAdamW(model.named_parameters(), 1e-2, 0.1), model)
    assert {
        "step_rnn.rnn.weight_ih_l0",
        "step_rnn.rnn.weight_hh_l1",
        "bar_attention.query.weight",
        "mix.weight",
    } < inner
    outer = {"position_embedding.out.weight", "output_layer.project.weight", "bar_output.weight"}
    assert all(dict(model.named_parameters())[name].dim() == 2 for name in inner)
    assert outer < decayed
    assert {"bar_attention.null_key", "output_layer.repeat"} < decayed
    assert all(dict(model.named_parameters())[name].dim() == 1 or "plan_embedding" in name for name in others)
    assert any("plan_embedding" in name for name in others) and "mix.bias" in others
    assert not any(name.startswith(("expression.", "steering.", "plan_embedding.")) for name in inner)
    assert decayed | others | inner == {name for name, _ in model.named_parameters()}


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="PyTorch before 2.9 has no Muon to compare with")
def test_a_step_is_that_of_muon_and_of_adamw_by_themselves(monkeypatch):
    monkeypatch.setattr(torch.Tensor, "bfloat16", torch.Tensor.float)  # in which PyTorch's Muon computes
    model = small_model()
    other = copy.deepcopy(model)
    ours = MuonAndAdamW(model.named_parameters(), 1e-2, 0.1)
    decayed, others, inner = (
        [dict(other.named_parameters())[name] for name in sorted(names)] for names in names_in(ours, model)
    )
    adamw = torch.optim.AdamW(
        [{"params": decayed}, {"params": others, "weight_decay": 0.0}], lr=1e-2, betas=(0.9, 0.98), weight_decay=0.1
    )
    muon = torch.optim.Muon(inner, lr=1e-2, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    learn(model, ours, 3)
    hits = (torch.rand(2, 64, 3, generator=torch.Generator().manual_seed(1)) < 0.3).float()
    for _ in range(3):
        other.zero_grad()
        (-other.log_prob(hits).mean()).backward()
        muon.step()
        adamw.step()
    for (name, weights), theirs in zip(model.named_parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(weights, theirs, msg=name, atol=1e-4, rtol=0)


@pytest.mark.parametrize("shape", [(3, 24, 8), (2, 8, 24), (1, 16, 16)])
def test_orthogonal_matrices_have_singular_values_of_about_one_and_the_same_vectors(shape):
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    left, values, right = torch.linalg.svd(matrices, full_matrices=False)
    result = left.mT @ orthogonal(matrices) @ right.mT
    scaled = values / torch.linalg.matrix_norm(matrices)[:, None]
    for _ in range(5):  # The same polynomial of the singular values alone.
        scaled = 3.4445 * scaled - 4.775 * scaled**3 + 2.0315 * scaled**5
    torch.testing.assert_close(result, torch.diag_embed(scaled), atol=1e-4, rtol=0)
    assert ((scaled > 0.6) & (scaled < 1.3))[values > 0.1 * values.max()].all()
    assert torch.equal(orthogonal(torch.zeros(shape)), torch.zeros(shape))


def test_an_optimizer_continues_from_its_state():
    model = small_model()
    optimizer = MuonAndAdamW(model.named_parameters(), 1e-2, 0.1)
    learn(model, optimizer, 2)
    other = copy.deepcopy(model)
    resumed = MuonAndAdamW(other.named_parameters(), 0.5, 0.0)  # Rate and decay are of the state.
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    learn(model, optimizer, 2)
    learn(other, resumed, 2)
    for weights, theirs in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(weights, theirs)


def test_a_closure_computes_the_gradients_of_a_step():
    model = small_model()
    optimizer = MuonAndAdamW(model.named_parameters(), 1e-2, 0.0)
    hits = torch.zeros(1, 16, 3)

    def closure():
        loss = -model.log_prob(hits).mean()
        loss.backward()
        return loss

    inside, outside = model.mix.weight, model.output_layer.project.weight
    before = inside.clone(), outside.clone()
    with torch.no_grad():
        assert optimizer.step(closure) > 0
    assert not torch.equal(inside, before[0]) and not torch.equal(outside, before[1])


def test_a_schedule_changes_the_rate_of_both_parts():
    model = small_model()
    optimizer = MuonAndAdamW(model.named_parameters(), 1e-2, 0.0)
    torch.optim.lr_scheduler.LambdaLR(optimizer, lambda update: 0.0)
    before = copy.deepcopy(model.state_dict())
    learn(model, optimizer, 1)
    assert all(torch.equal(weights, before[name]) for name, weights in model.state_dict().items())


def test_weights_without_a_gradient_stay_as_they_are():
    model = small_model(use_expression=True).requires_grad_(False)
    assert isinstance(model.expression, Expression)
    model.expression.requires_grad_(True)
    optimizer = MuonAndAdamW(model.named_parameters(), 1e-2, 0.1)
    trained = {weights for group in optimizer.param_groups for weights in group["params"]}
    assert trained == {*model.expression.parameters()}
