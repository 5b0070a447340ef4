"""The model with its loss and optimiser, as a Lightning module."""

import math
from collections.abc import Sequence
from typing import Any

import lightning
import torch
from torch import Tensor, nn

from hypermeter.core.errors import HypermeterError
from hypermeter.learn.train.config import TrainConfig
from hypermeter.model.heads import StepDistribution
from hypermeter.model.hierarchical import HierarchicalDrumModel
from hypermeter.model.losses import loss_terms, masked_mean
from hypermeter.model.plan import Plan, hide

UNDECAYED = ("model.plan_embedding.",)
"""Matrices without weight decay: conditions are seldom given, so that they would shrink between their uses."""

PARTS = {"plan": ("plan_embedding", "steering"), "expression": ("expression",)}
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


def _takes_plans(teacher: HierarchicalDrumModel, model: HierarchicalDrumModel) -> bool:
    """Return whether the teacher takes plans, with the labels of the model."""
    return teacher.labels is not None and teacher.labels == model.labels


class DrumModule(lightning.LightningModule):
    """The model with its loss and optimizer, for the loop of ``train`` or a Lightning Trainer.

    With teachers, each also samples every step given the steps before it, and the likelihood of the samples has the
    share ``teacher_weight`` of the step loss. In expectation that is the cross entropy with the mean of the teachers'
    distributions (Hinton, Vinyals & Dean 2015). A teacher with the model's labels is given the same plan, with the same
    parts hidden; for the others the model is run once more without a plan.

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
        if self.teachers:
            taught = self._taught_nll(model, preds.step_dist[:, :-1], batch, plan)
            difference = weights.teacher_weight * (taught - terms["step_nll"])
            terms |= {"loss": terms["loss"] + difference, "taught_nll": taught}
        return terms

    def _sampled_plan(self, plan: Plan) -> Plan:
        """Return the plan with numbers as means over phrases in half of the rows, and with conditions hidden."""
        smooth = plan.by_phrase(self.model.grid.bars_per_phrase)
        is_smooth = torch.rand(plan.batch_size, 1, 1, device=plan.numbers.device) < 0.5
        return hide(Plan(plan.labels, torch.where(is_smooth, smooth.numbers, plan.numbers)))

    def _taught_nll(
        self,
        model: HierarchicalDrumModel,
        dist: StepDistribution,
        batch: dict[str, Any],
        plan: Plan | None = None,
    ) -> Tensor:
        """Return the mean negative log likelihood of the teachers' samples, in nats per real step.

        Args:
            model: on the grid of the batch.
            dist: of the model under ``plan``, for each step of the batch.
            batch: as of ``collate``.
            plan: with conditions hidden, or None.
        """
        free = dist
        if plan is not None and not all(_takes_plans(teacher, self.model) for teacher in self.teachers):
            free = model(batch["step"], batch["bar"], batch["phrase"]).step_dist[:, :-1]
        losses = []
        for teacher in self.teachers:
            takes_plan = plan is not None and _takes_plans(teacher, self.model)
            with torch.no_grad():
                samples = (
                    teacher.on(model.grid)(batch["step"], plan=plan if takes_plan else None).step_dist[:, :-1].sample()
                )
            log_probs = (dist if takes_plan else free).log_prob(samples)
            losses.append(masked_mean(-log_probs.float(), batch["mask"]))
        return torch.stack(losses).mean()

    def configure_optimizers(self) -> Any:
        options, updates = self.config.optimizer, self.config.max_steps
        decayed, others = [], []
        for name, weights in self.named_parameters():
            if weights.requires_grad:
                is_decayed = weights.dim() > 1 and not name.startswith(UNDECAYED)
                (decayed if is_decayed else others).append(weights)
        groups = [{"params": decayed, "weight_decay": options.weight_decay}, {"params": others, "weight_decay": 0.0}]
        optimizer = torch.optim.AdamW(groups, lr=options.learning_rate, betas=(0.9, 0.98), fused=True)

        def factor(update: int) -> float:
            warmup = min(1.0, (update + 1) / max(options.warmup_steps, 1))
            return warmup * (0.02 + 0.49 * (1 + math.cos(math.pi * min(update / updates, 1))))

        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
