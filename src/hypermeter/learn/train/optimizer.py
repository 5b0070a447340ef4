"""Muon for the matrices inside the model, AdamW for all other weights."""

import math
from collections.abc import Iterable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

OUTER = (
    "position_embedding", "plan_embedding", "steering", "output_layer", "bar_output", "phrase_output", "expression",
)  # fmt: skip
"""Modules of the model whose matrices are for AdamW: embeddings, outputs, and parts that are trained alone."""

UNDECAYED = ("plan_embedding",)
"""Modules without weight decay: conditions are seldom given, so that they would shrink between their uses."""


MOMENTUM = 0.95
"""Of Muon, whose steps are ahead of it (Nesterov)."""

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Coefficients of x, x^3 and x^5, by which Muon brings singular values near 1 (Jordan et al. 2024)."""

ITERATIONS = 5
"""Of Newton-Schulz."""


class MuonAndAdamW(torch.optim.Optimizer):
    """Muon (Jordan et al. 2024) and AdamW (Loshchilov & Hutter 2019) as one optimizer.

    Muon makes the singular values of a matrix's update about equal. Its updates are scaled to the size of AdamW's (Liu
    et al. 2025, Muon is scalable for LLM training), so that both have one learning rate and one weight decay. PyTorch's
    Muon computes in bfloat16, one matrix after another; here it is float32, and matrices of one shape together.

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
        self.adamw = torch.optim.AdamW(
            [decayed, others | {"weight_decay": 0.0}],
            lr=learning_rate,
            betas=(0.9, 0.98),
            weight_decay=weight_decay,
            fused=True,
        )
        inner = {"params": groups["inner"], "lr": learning_rate, "weight_decay": weight_decay}
        super().__init__([*self.adamw.param_groups, *([inner] if groups["inner"] else [])], {})

    def step(self, closure: Any = None) -> Any:
        """Update the weights, by the groups and the state of this optimizer, which a schedule or a file may change.

        Args:
            closure: computes the gradients anew, as Lightning's Trainer wants; its result is returned.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self.adamw.param_groups, self.adamw.state = self.param_groups[:2], self.state
        self.adamw.step()
        for group in self.param_groups[2:]:
            self._step_inner(group)
        return loss

    @torch.no_grad()
    def _step_inner(self, group: dict[str, Any]) -> None:
        """Update the matrices inside the model by Muon."""
        by_shape: dict[torch.Size, list[tuple[Tensor, Tensor]]] = {}
        for weights in group["params"]:
            if weights.grad is not None:
                by_shape.setdefault(weights.shape, []).append((weights, weights.grad))
        for shape, pairs in by_shape.items():
            momenta = [self._momentum(weights).lerp_(gradient, 1 - MOMENTUM) for weights, gradient in pairs]
            gradients = torch.stack([gradient for _, gradient in pairs])
            updates = orthogonal(gradients.lerp_(torch.stack(momenta), MOMENTUM))
            size = group["lr"] * 0.2 * math.sqrt(max(shape))
            for (weights, _), update in zip(pairs, updates, strict=True):
                weights.mul_(1 - group["lr"] * group["weight_decay"]).add_(update, alpha=-size)

    def _momentum(self, weights: Tensor) -> Tensor:
        state = self.state[weights]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(weights)
        return state["momentum_buffer"]


def orthogonal(matrices: Float[Tensor, "count rows columns"]) -> Float[Tensor, "count rows columns"]:
    """Return matrices with the same singular vectors, and singular values of about 1 (.7 to 1.2; tiny ones less)."""
    is_tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if is_tall else matrices
    x = x / torch.linalg.matrix_norm(x, keepdim=True).clamp_min(1e-7)
    a, b, c = NEWTON_SCHULZ
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if is_tall else x


def _group(name: str, weights: Tensor) -> str:
    """Return ``inner`` for Muon; ``decayed`` or ``others``, without weight decay, for AdamW."""
    module = name.split(".")[0]
    if weights.dim() == 2 and name.split(".")[-1].startswith("weight") and module not in OUTER:
        return "inner"
    return "decayed" if weights.dim() > 1 and module not in UNDECAYED else "others"
