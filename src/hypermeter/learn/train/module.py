"""The model with its loss and optimiser, as a Lightning module."""

import math
from collections.abc import Sequence
from typing import Any

import lightning
import torch
from torch import Tensor, nn

from hypermeter.core.errors import HypermeterError
from hypermeter.learn.dataset.conditions import is_lettered
from hypermeter.learn.train.config import TrainConfig
from hypermeter.learn.train.optimizer import MuonAndAdamW
from hypermeter.learn.train.tapping import loud_columns, tap
from hypermeter.learn.train.vary import families_of, vary
from hypermeter.model.heads import StepDistribution
from hypermeter.model.hierarchical import HierarchicalDrumModel
from hypermeter.model.losses import loss_terms, masked_mean
from hypermeter.model.plan import Plan, hide, rename_sections

SAMPLES = 2
"""That a teacher draws of each step."""

PARTS = {"plan": ("plan_embedding", "steering"), "expression": ("expression",), "follow": ("follow",)}
"""Part that can be trained alone -> its modules in the model."""


def expression_nats(model: HierarchicalDrumModel, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """Return -log p, summed over the hits that have velocity and offset, in nats; and the number of these hits.

    Strokes and openness count where the model learns them.
    """
    assert model.expression is not None
    drums = batch["step"][..., : model.num_drums]
    velocity, offset = batch["velocity"], batch["offset"]
    with torch.no_grad():
        features = model(batch["step"]).features[:, :-1]
    dist = model.expression(features, drums, velocity, offset, batch["tempo_bpm"])
    is_played = drums * ~(velocity.isnan() | offset.isnan())
    nats = -dist.log_prob(is_played, velocity, offset).sum()
    if (articulation := model.expression.articulation) is not None:
        given = features, drums, velocity, offset, batch["articulation"], batch["tempo_bpm"]
        nats = nats - articulation.log_prob(*given).sum()
    return nats, is_played.sum()


def follow_nats(model: HierarchicalDrumModel, batch: dict[str, Any]) -> Tensor:
    """Return -log p of all steps given taps that the batch is reduced to, at random, in nats."""
    taps = tap(batch, model.num_drums, loud_columns(model.kit), model.grid)
    log_probs = model.log_prob(batch["step"], taps=taps)
    return -(log_probs * batch["mask"]).sum()


def _takes_plans(teacher: HierarchicalDrumModel, model: HierarchicalDrumModel) -> bool:
    """Return whether the teacher takes plans, with the labels of the model."""
    return teacher.labels is not None and teacher.labels == model.labels


class DrumModule(lightning.LightningModule):
    """The model with its loss and optimizer, for the loop of ``train`` or a Lightning Trainer.

    With teachers, one of them, drawn at random for each update, also samples every step given the steps before it, and
    the likelihood of the samples has the share ``teacher_weight`` of the step loss. In expectation that is the cross
    entropy with the mean of the teachers' distributions (Hinton, Vinyals & Dean 2015). A teacher with the model's
    labels is given the same plan, with the same parts hidden; for another the model is run once more without a plan. A
    teacher teaches batches on the grids that it learnt only.

    Args:
        model: to train.
        config: of the run.
        teachers: trained models, on the device of the model.

    Raises:
        HypermeterError: options that do not fit the model or the teachers.
    """

    def __init__(
        self, model: HierarchicalDrumModel, config: TrainConfig, teachers: Sequence[HierarchicalDrumModel] = ()
    ):
        super().__init__()
        self.model, self.config = model, config
        self.families = families_of(model.kit)
        if (weight := config.loss.drums_weight) != 1 and not model.tracks:
            raise HypermeterError(f"train: drums_weight is {weight}, but there is no track; leave it at 1")
        if config.only is not None:
            self.model.requires_grad_(False)
            for part in self._parts():
                part.requires_grad_(True)
        elif model.expression is not None:  # It is not in the loss, and processes wait for every gradient.
            model.expression.requires_grad_(False)
        if config.only == "plan" and not all(_takes_plans(teacher, model) for teacher in teachers):
            raise HypermeterError(
                "train: only plan with a teacher that takes no plans, or has other labels than the model; leave it out"
            )
        self.teachers = tuple(teachers)  # A tuple keeps them out of the module's parameters.

    def _parts(self) -> list[nn.Module]:
        """Return the modules that ``only`` trains."""
        assert self.config.only is not None
        parts = [getattr(self.model, name) for name in PARTS[self.config.only]]
        if None in parts:
            raise HypermeterError(f"train: only {self.config.only}, but the model has no such part")
        return parts

    def train(self, mode: bool = True) -> "DrumModule":
        """Set the mode; with ``only``, dropout is active in the trained part alone."""
        super().train(mode and self.config.only is None)
        if mode and self.config.only is not None:
            for part in self._parts():
                part.train()
        return self

    def forward(self, step_seq: Tensor) -> Any:
        return self.model(step_seq)

    def training_step(self, batch: dict[str, Any], batch_idx: int = 0) -> dict[str, Tensor]:
        model = self.model.on(batch["grid"]) if "grid" in batch else self.model
        if self.config.only == "expression":
            nats, hits = expression_nats(model, batch)
            return {"loss": nats / hits.clamp_min(1)}
        if self.config.only == "follow":
            return {"loss": follow_nats(model, batch) / batch["mask"].sum()}
        if self.config.vary:
            batch = vary(batch, self.model.num_drums, self.families)
        plan = self._sampled_plan(batch["plan"]) if "plan" in batch else None
        weights = self.config.loss
        preds = model(batch["step"], batch["bar"], batch["phrase"], plan=plan)
        terms = loss_terms(
            preds,
            batch,
            metrics=weights.metric_weight > 0,
            drums_weight=weights.drums_weight,
            bar_weight=weights.bar_weight,
            phrase_weight=weights.phrase_weight,
            metric_weight=weights.metric_weight,
            grid=model.grid,
        )
        teachers = [teacher for teacher in self.teachers if model.grid in teacher.grids]
        if teachers:
            taught = self._taught_nll(model, teachers, preds.step_dist[:, :-1], batch, plan)
            difference = weights.teacher_weight * (taught - terms["step_nll"])
            terms |= {"loss": terms["loss"] + difference, "taught_nll": taught}
        return terms

    def _sampled_plan(self, plan: Plan) -> Plan:
        """Return the plan with numbers as means over phrases in half of the rows, and with conditions hidden.

        Sections without names have letters at random.
        """
        assert self.model.labels is not None
        if is_lettered(self.model.labels):
            plan = rename_sections(plan, len(self.model.labels["section"]))
        smooth = plan.by_phrase(self.model.grid.bars_per_phrase)
        is_smooth = torch.rand(plan.batch_size, 1, 1, device=plan.numbers.device) < 0.5
        return hide(Plan(plan.labels, torch.where(is_smooth, smooth.numbers, plan.numbers)))

    def _taught_nll(
        self,
        model: HierarchicalDrumModel,
        teachers: Sequence[HierarchicalDrumModel],
        dist: StepDistribution,
        batch: dict[str, Any],
        plan: Plan | None = None,
    ) -> Tensor:
        """Return the mean negative log likelihood of samples of a teacher drawn at random, in nats per real step.

        Args:
            model: on the grid of the batch.
            teachers: those that learnt the grid.
            dist: of the model under ``plan``, for each step of the batch.
            batch: as of ``collate``.
            plan: with conditions hidden, or None.
        """
        teacher = teachers[int(torch.randint(len(teachers), ()))].on(model.grid)
        takes_plan = plan is not None and _takes_plans(teacher, self.model)
        with torch.no_grad():
            taught = teacher(batch["step"], plan=plan if takes_plan else None).step_dist[:, :-1]
        if plan is not None and not takes_plan:
            dist = model(batch["step"], batch["bar"], batch["phrase"]).step_dist[:, :-1]
        log_probs = torch.stack([dist.log_prob(taught.sample()).float() for _ in range(SAMPLES)])
        return masked_mean(-log_probs.mean(0), batch["mask"])

    def configure_optimizers(self) -> Any:
        options = self.config.optimizer
        optimizer = MuonAndAdamW(self.model.named_parameters(), options.learning_rate, options.weight_decay)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule(optimizer, self.config), "interval": "step"},
        }


def schedule(optimizer: torch.optim.Optimizer, config: TrainConfig) -> torch.optim.lr_scheduler.LambdaLR:
    """Return the schedule of the learning rate: a warm-up, then a cosine down to 2 % at the last update."""

    def factor(update: int) -> float:
        warmup = min(1.0, (update + 1) / max(config.optimizer.warmup_steps, 1))
        return warmup * (0.02 + 0.49 * (1 + math.cos(math.pi * min(update / config.max_steps, 1))))

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
