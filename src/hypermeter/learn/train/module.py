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
"""Matrices without weight decay: what is asked is seldom known, so that they would shrink between its uses."""


PARTS = {"plan": ("plan_embedding", "steering"), "expression": ("expression",)}
"""What can be trained alone -> names in the model."""


def expression_nats(model: HierarchicalDrumModel, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """-log p of the velocities and offsets of all hits whose file tells them, and how many hits that are."""
    assert model.expression is not None
    drums = batch["step"][..., : model.num_drums]
    velocity, offset = batch["velocity"], batch["offset"]
    with torch.no_grad():
        features = model(batch["step"]).features[:, :-1]
    dist = model.expression(features, drums, velocity, offset, batch["tempo_bpm"])
    told = drums * ~(velocity.isnan() | offset.isnan())
    return -dist.log_prob(told, velocity, offset).sum(), told.sum()


def _hears_plans(teacher: HierarchicalDrumModel, model: HierarchicalDrumModel) -> bool:
    """Whether the teacher takes plans, and reads the same in them as the model."""
    return teacher.labels is not None and teacher.labels == model.labels


class DrumModule(lightning.LightningModule):
    """The model with its loss and optimiser; runs under the loop of ``train`` and under a Lightning Trainer.

    With teachers, each of them also draws every step given what was played before it, and the likelihood of the draws
    takes ``teacher_weight`` of the step's loss. On average that is the cross entropy with the mean of the teachers'
    distributions (Hinton, Vinyals & Dean 2015). Teacher and model hear the same: the same plan, with the same parts
    hidden, where the teacher takes plans with the model's labels; otherwise none, for which the model is run once more.

    Raises:
        HypermeterError: settings that do not fit the model or the teachers.
    """

    def __init__(
        self, model: HierarchicalDrumModel, config: TrainConfig, teachers: Sequence[HierarchicalDrumModel] = ()
    ):
        super().__init__()
        self.model, self.config = model, config
        if config.drums_weight != 1 and not model.tracks:
            raise HypermeterError(f"train: drums_weight is {config.drums_weight}, but there is no track; leave it at 1")
        if config.only is not None:
            self.model.requires_grad_(False)
            for part in self._parts():
                part.requires_grad_(True)
        elif model.expression is not None:  # it has no part in the loss, and processes wait for every gradient
            model.expression.requires_grad_(False)
        if config.only == "plan" and not all(_hears_plans(teacher, model) for teacher in teachers):
            raise HypermeterError(
                "train: only plan with a teacher that takes no plans, or has other labels than the model; leave it out"
            )
        self.teachers = tuple(teachers)  # in a tuple they are no part of the module: not trained, not saved

    def _parts(self) -> list[nn.Module]:
        """What is trained where not all is."""
        assert self.config.only is not None
        parts = [getattr(self.model, name) for name in PARTS[self.config.only]]
        if None in parts:
            raise HypermeterError(f"train: only {self.config.only}, but the model has no such part")
        return parts

    def train(self, mode: bool = True) -> "DrumModule":
        """Drop-out is for what is trained."""
        super().train(mode and self.config.only is None)
        if mode and self.config.only is not None:
            for part in self._parts():
                part.train()
        return self

    def forward(self, step_seq: Tensor) -> Any:
        return self.model(step_seq)

    def training_step(self, batch: dict[str, Any], batch_idx: int = 0) -> dict[str, Tensor]:
        if self.config.only == "expression":
            nats, hits = expression_nats(self.model, batch)
            return {"loss": nats / hits.clamp_min(1)}
        plan = None
        if "plan" in batch:
            plan = self._plan(batch["plan"])
        preds = self.model(batch["step"], batch["bar"], batch["phrase"], plan=plan)
        terms = loss_terms(
            preds,
            batch,
            metrics=self.config.metric_weight > 0,
            drums_weight=self.config.drums_weight,
            bar_weight=self.config.bar_weight,
            phrase_weight=self.config.phrase_weight,
            metric_weight=self.config.metric_weight,
            grid=self.model.grid,
        )
        if self.teachers:
            taught = self._taught_nll(preds.step_dist[:, :-1], batch, plan)
            difference = self.config.teacher_weight * (taught - terms["step_nll"])
            terms |= {"loss": terms["loss"] + difference, "taught_nll": taught}
        return terms

    def _plan(self, plan: Plan) -> Plan:
        """What is asked in this update: in half of the windows the numbers of phrases, not of bars; parts hidden."""
        smooth = plan.by_phrase(self.model.grid.bars_per_phrase)
        is_smooth = torch.rand(plan.batch_size, 1, 1, device=plan.numbers.device) < 0.5
        return hide(Plan(plan.labels, torch.where(is_smooth, smooth.numbers, plan.numbers)))

    def _taught_nll(self, dist: StepDistribution, batch: dict[str, Any], plan: Plan | None = None) -> Tensor:
        """Nats per real step of what the teachers draw.

        Args:
            dist: of the model that hears ``plan``, for each step of the batch.
            batch: as of ``collate``.
            plan: what is asked, in part hidden; None, nothing.
        """
        free = dist
        if plan is not None and not all(_hears_plans(teacher, self.model) for teacher in self.teachers):
            free = self.model(batch["step"], batch["bar"], batch["phrase"]).step_dist[:, :-1]
        losses = []
        for teacher in self.teachers:
            hears = plan is not None and _hears_plans(teacher, self.model)
            with torch.no_grad():
                drawn = teacher(batch["step"], plan=plan if hears else None).step_dist[:, :-1].sample()
            log_probs = (dist if hears else free).log_prob(drawn)
            losses.append(masked_mean(-log_probs.float(), batch["mask"]))
        return torch.stack(losses).mean()

    def configure_optimizers(self) -> Any:
        config = self.config
        decayed, free = [], []
        for name, each in self.named_parameters():
            if not each.requires_grad:
                continue
            is_decayed = each.dim() > 1 and not name.startswith(UNDECAYED)
            (decayed if is_decayed else free).append(each)
        groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": free, "weight_decay": 0.0}]
        optimizer = torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, 0.98))

        def share(update: int) -> float:
            warm = min(1.0, (update + 1) / max(config.warmup_steps, 1))
            return warm * (0.02 + 0.49 * (1 + math.cos(math.pi * min(update / config.max_steps, 1))))

        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, share)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
