"""Muon for the matrices inside the model, AdamW for all other weights."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

OUTER = (
    "position_embedding", "plan_embedding", "steering", "output_layer", "bar_output", "phrase_output", "expression",
)  # fmt: skip
"""Modules of the model whose matrices are for AdamW: embeddings, outputs, and parts that are trained alone."""

UNDECAYED = ("plan_embedding",)
"""Modules without weight decay: conditions are seldom given, so that they would shrink between their uses."""


class MuonAndAdamW(torch.optim.Optimizer):
    """Muon (Jordan et al. 2024) and AdamW (Loshchilov & Hutter 2019) as one optimizer.

    Muon makes the singular values of a matrix's update about equal. Its updates are scaled to the size of AdamW's (Liu
    et al. 2025, Muon is scalable for LLM training), so that both have one learning rate and one weight decay.

    Args:
        named_weights: names in the model and its weights; those without a gradient are left out.
        learning_rate: of both.
        weight_decay: of matrices.
    """

    def __init__(self, named_weights: Iterable[tuple[str, Tensor]], learning_rate: float, weight_decay: float) -> None:
        groups: dict[str, list[Tensor]] = {"inner": [], "decayed": [], "others": []}
        for name, weights in named_weights:
            if weights.requires_grad:
                groups[_group(name, weights)].append(weights)
        decayed, others = ({"params": groups[kind]} for kind in ("decayed", "others"))
        adamw = torch.optim.AdamW(
            [decayed, others | {"weight_decay": 0.0}],
            lr=learning_rate,
            betas=(0.9, 0.98),
            weight_decay=weight_decay,
            fused=True,
        )
        self.parts: list[torch.optim.Optimizer] = [adamw]
        if groups["inner"]:
            options: dict[str, Any] = {"lr": learning_rate, "weight_decay": weight_decay}
            self.parts.append(torch.optim.Muon(groups["inner"], **options, adjust_lr_fn="match_rms_adamw"))
        self.sizes = [len(part.param_groups) for part in self.parts]
        super().__init__([group for part in self.parts for group in part.param_groups], {})

    def step(self, closure: Any = None) -> Any:
        """Update the weights, by the groups and the state of this optimizer, which a schedule or a file may change.

        Args:
            closure: computes the gradients anew, as Lightning's Trainer wants; its result is returned.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        start = 0
        for part, size in zip(self.parts, self.sizes, strict=True):
            part.param_groups, part.state = self.param_groups[start : start + size], self.state
            part.step()
            start += size
        return loss


def _group(name: str, weights: Tensor) -> str:
    """Return ``inner`` for Muon; ``decayed`` or ``others``, without weight decay, for AdamW."""
    module = name.split(".")[0]
    if weights.dim() == 2 and name.split(".")[-1].startswith("weight") and module not in OUTER:
        return "inner"
    return "decayed" if weights.dim() > 1 and module not in UNDECAYED else "others"
