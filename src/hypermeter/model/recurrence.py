"""A GRU layer for training on a CPU, with its backward pass written out.

For each step t, with the products of the inputs a = W x + b, and the state h before the step, h_0 = 0:

    r = sigmoid(a_r + U_r h)            z = sigmoid(a_z + U_z h)
    c = U_n h + d                       n = tanh(a_n + r c)
    h' = (1 - z) n + z h

PyTorch's layer on a CPU records several operations for each step, and its backward pass multiplies matrices of one step
at a time. Here the loop contains what depends on the step before and nothing else. Given the gradient g of h', those of
the gates before their nonlinearity are g times factors that are known before the loop runs:

    of a_n: s = (1 - z) (1 - n^2)       of c: s r
    of a_r: s c r (1 - r)               of a_z: (h - n) z (1 - z)

and the gradient of h is g z plus the product of U with those of (U_r h, U_z h, c). So a step backwards takes three
operations, and the gradients of the weights are sums over many steps, each one product of large matrices. Steps are
taken in blocks, so that a block's intermediate values stay in the cache.
"""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

aten = torch.ops.aten

ROWS_IN_BLOCK = 512
"""Steps of a block, over all rows of a batch."""


class GRULayer(torch.autograd.Function):
    """``apply(x, weight_in, bias_in, weight, bias)`` is a layer of ``torch.nn.GRU`` from a state of zeros.

    Args:
        x: (T, B, input).
        weight_in, bias_in: (3 * hidden, input) and (3 * hidden,), for reset, update and new state, as of ``nn.GRU``; or
            a bias for each step, (T, 3 * hidden).
        weight, bias: (3 * hidden, hidden) and (3 * hidden,), likewise, of the state.

    Returns:
        (T, B, hidden).
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Float[Tensor, "T B input"],
        weight_in: Float[Tensor, "gates input"],
        bias_in: Float[Tensor, "*T gates"],
        weight: Float[Tensor, "gates hidden"],
        bias: Float[Tensor, " gates"],
    ) -> Float[Tensor, "T B hidden"]:
        (steps, batch, _), (size, hidden) = x.shape, weight.shape
        has_bias_of_steps = bias_in.dim() == 2
        gates, new = x.new_empty(steps, batch, size), x.new_empty(steps, batch, hidden)
        states = x.new_empty(steps + 1, batch, hidden)
        states[0] = 0
        state, bias_new = states[0], bias[2 * hidden :]
        bias_in = (bias_in + F.pad(bias[: 2 * hidden], (0, hidden))).expand(steps, size)[:, None]
        columns_in, columns = weight_in.t(), weight.t().contiguous()
        for block in _blocks(steps, batch):
            a = gates[block]
            torch.mm(x[block].flatten(0, 1), columns_in, out=a.view(-1, size))
            a += bias_in[block]
            n = new[block].copy_(a[..., 2 * hidden :])
            a[..., 2 * hidden :] = bias_new
            reset, update, candidate = a.split(hidden, -1)
            parts = (a, a[..., : 2 * hidden], reset, update, candidate, n, states[1:][block])
            for a_t, reset_update, r, z, c, n_t, after in zip(*(part.unbind(0) for part in parts), strict=True):
                a_t.addmm_(state, columns)
                reset_update.sigmoid_()
                n_t.addcmul_(r, c).tanh_()
                state = torch.lerp(n_t, state, z, out=after)
        ctx.has_bias_of_steps = has_bias_of_steps
        ctx.save_for_backward(x, weight_in, weight, gates, new, states)
        return states[1:]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Float[Tensor, "T B hidden"]) -> tuple[Tensor | None, ...]:  # pyright: ignore
        x, weight_in, weight, gates, new, states = ctx.saved_tensors
        (steps, batch, size), hidden = gates.shape, weight.shape[1]
        blocks = _blocks(steps, batch)
        length = blocks[0].stop
        grad_x = x.new_empty(x.shape) if ctx.needs_input_grad[0] else None
        grad_in, grad_weight = torch.zeros_like(weight_in), torch.zeros_like(weight)
        grad_bias_in, grad_bias = x.new_zeros(steps, size), x.new_zeros(size)
        by_gate = x.new_empty(length, batch, 3, hidden)
        factors = torch.empty_like(by_gate)
        by_state = x.new_zeros(length + 1, batch, hidden)  # of the states before each step, and after the last
        buffers = (by_state[:-1], by_state[1:], by_state[1:, :, None], factors, by_gate, by_gate.flatten(2))
        steps_back = [*zip(*(buffer.unbind(0) for buffer in buffers), strict=True)]
        for block in reversed(blocks):
            count = block.stop - block.start
            (r, z, c), n, before = gates[block].split(hidden, -1), new[block], states[:-1][block]
            f, d = factors[:count], by_gate[:count]
            s = aten.tanh_backward(1 - z, n)
            torch.mul(s, r, out=f[:, :, 2])
            aten.sigmoid_backward(s * c, r, grad_input=f[:, :, 0])
            aten.sigmoid_backward(before - n, z, grad_input=f[:, :, 1])

            carried = by_state[0] + grad[block.stop - 1]
            by_state[1:count] = grad[block.start : block.stop - 1]
            by_state[count], by_state[0] = carried, 0
            for (g_before, g, g_wide, f_t, d_t, d_flat), z_t in reversed([*zip(steps_back, z.unbind(0), strict=False)]):
                torch.mul(g_wide, f_t, out=d_t)
                g_before.addcmul_(g, z_t).addmm_(d_flat, weight)

            flat = d.view(-1, size)
            grad_weight.addmm_(flat.t(), before.flatten(0, 1))
            grad_bias[2 * hidden :] += d[:, :, 2].sum((0, 1))
            torch.mul(by_state[1 : count + 1], s, out=d[:, :, 2])
            torch.sum(d.flatten(2), 1, out=grad_bias_in[block])
            grad_in.addmm_(flat.t(), x[block].flatten(0, 1))
            if grad_x is not None:
                torch.mm(flat, weight_in, out=grad_x[block].view(-1, x.shape[2]))
        grad_bias[: 2 * hidden] = grad_bias_in[:, : 2 * hidden].sum(0)
        if not ctx.has_bias_of_steps:
            grad_bias_in = grad_bias_in.sum(0)
        return grad_x, grad_in, grad_bias_in, grad_weight, grad_bias


def _blocks(steps: int, batch: int) -> list[slice]:
    """Return the blocks of steps, in their order."""
    length = max(1, min(steps, ROWS_IN_BLOCK // max(batch, 1)))
    return [slice(start, min(start + length, steps)) for start in range(0, steps, length)]
