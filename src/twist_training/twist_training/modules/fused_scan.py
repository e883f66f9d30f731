"""The RSSM's recurrence as one differentiable operation with a backward pass written out.

What autograd does for 50 small steps is mostly bookkeeping: a graph node per operation, weights
cast to the working precision, and a weight gradient per step that is then summed. Here the scan
stores what its backward pass needs in preallocated (T, B, ...) arrays, derivatives that do not
depend on the incoming gradient are computed for all steps at once, and every weight's gradient is
one matrix product after the scan. `Rssm`'s loops stay the reference; tests compare the two.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

aten = torch.ops.aten
_EPS = 1e-5
"""LayerNorm's, torch's default."""


@dataclass(frozen=True)
class ScanWeights:
    """Weights of one scan, matrices in the working precision.

    Attributes:
        latent: from z to the layer before the GRU, (hidden, S * C).
        cell: the GRU's joint map of [x, h], (3 D, hidden + D).
        norm_weight: LayerNorm gain of the GRU, float32, (3 D,); see `gate_norm`.
        norm_bias: LayerNorm offset of the GRU, float32, (3 D,); see `gate_norm`.
        head: from h to the hidden layer of the prior or posterior, (hidden, D).
        logits: from there to the logits, (S * C, hidden).
        logits_bias: (S * C,).
    """

    latent: Tensor
    cell: Tensor
    norm_weight: Tensor
    norm_bias: Tensor
    head: Tensor
    logits: Tensor
    logits_bias: Tensor


def gate_norm(weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """The GRU's LayerNorm, (3 D,) each, so that it puts out reset, 2 x candidate and update - 1.

    Two operations fewer in every step.
    """
    scale, shift = _gate_constants(len(weight) // 3, weight.device)
    return weight * scale, bias * scale + shift


@functools.cache
def _gate_constants(size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    scale, shift = torch.ones(3, size), torch.zeros(3, size)
    scale[1], shift[2] = 2.0, -1.0
    return scale.flatten().to(device), shift.flatten().to(device)


class ScanSteps:
    """The forward pass of a scan, one step after the other, with what its backward pass needs.

    Whoever decides the actions on the way takes the steps alone and hands them to `fused_scan`.
    Makes no graph: to be called without gradients.

    Args:
        h: deterministic state before the first step, float32, (B, D).
        z: stochastic state before the first step, float32, (B, S * C).
        noise: Gumbel noise of the samples, (T, B, S, C).
        weights: those of the scan.
    """

    def __init__(self, h: Tensor, z: Tensor, noise: Tensor, weights: ScanWeights) -> None:
        length, batch, groups, classes = noise.shape
        size, hidden = h.shape[-1], weights.latent.shape[0]
        kind, empty = weights.latent.dtype, h.new_empty
        self.weights, self.taken = weights, 0
        # The GRU's input [x, h] of every step and the z before it, in the working precision. Zeros,
        # for h is multiplied before the next x beside it is there: with bfloat16 on AMX, oneDNN
        # reads on between the rows of a strided matrix, and a NaN there times zero is one.
        self.inputs = h.new_zeros(length + 1, batch, hidden + size, dtype=kind)
        self.inputs[0, :, hidden:] = h
        self.latents = torch.zeros(length + 1, batch, groups, classes, dtype=kind, device=h.device)
        self.latents[0] = z.view(batch, groups, classes)
        self.states = empty(length + 1, batch, size)
        self.states[0] = h
        self.joints, self.normed = empty(length, batch, 3 * size), empty(length, batch, 3 * size)
        self.means, self.scales = empty(length, batch, 1), empty(length, batch, 1)
        self.gates = empty(3, length, batch, size)
        self.heads = empty(length, batch, hidden, dtype=kind)
        self.logits = empty(length, batch, groups * classes)
        self._minus_one = torch.full((), -1.0, device=h.device)
        # Views are made once: indexing costs as much as a small operation does.
        self._z = self.latents.unbind()
        self._h, self._x = self.inputs[:, :, hidden:].unbind(), self.inputs[:, :, :hidden].unbind()
        self._input, self._state = self.inputs.unbind(), self.states.unbind()
        self._gate_inputs = [
            part.unbind() for part in self.normed.view(length, batch, 3, size).unbind(2)
        ]
        self._gates = [gate.unbind() for gate in self.gates]
        self._outputs = list(
            zip(
                noise.unbind(), self.joints.unbind(), self.normed.unbind(), self.means.unbind(),
                self.scales.unbind(), self.heads.unbind(), self.logits.unbind(), strict=True,
            )
        )  # fmt: skip
        self._transposed = [
            weight.t() for weight in (weights.latent, weights.cell, weights.head, weights.logits)
        ]

    @property
    def state(self) -> tuple[Tensor, Tensor]:
        """h, float32, (B, D), and z, in the working precision, (B, S * C), after the last step."""
        return self._state[self.taken], self._z[self.taken].flatten(1)

    def step(self, from_action: Tensor, from_embedding: Tensor) -> None:
        """One more step; its inputs are `fused_scan`'s for one step: (B, hidden) or (hidden,)."""
        t, weights = self.taken, self.weights
        latent, cell, head, to_logits = self._transposed
        noise, joint, norm, mean, scale, hidden, logits = self._outputs[t]
        x = torch.addmm(from_action, self._z[t].flatten(1), latent)
        aten.elu.out(x, out=self._x[t])
        joint.copy_(torch.mm(self._input[t], cell))
        aten.native_layer_norm.out(
            joint, joint.shape[-1:], weights.norm_weight, weights.norm_bias, _EPS,
            out0=norm, out1=mean, out2=scale,
        )  # fmt: skip
        reset, candidate, update = (gate[t] for gate in self._gates)
        reset_input, candidate_input, update_input = (part[t] for part in self._gate_inputs)
        torch.sigmoid(reset_input, out=reset)
        torch.sigmoid(update_input, out=update)
        # tanh(x) = 2 sigmoid(2 x) - 1, and sigmoid is vectorised better.
        torch.mul(reset, candidate_input, out=candidate).sigmoid_()
        torch.add(self._minus_one, candidate, alpha=2.0, out=candidate)
        torch.lerp(self._state[t], candidate, update, out=self._state[t + 1])
        self._h[t + 1].copy_(self._state[t + 1])
        aten.elu.out(torch.addmm(from_embedding, self._h[t + 1], head), out=hidden)
        logits.copy_(torch.addmm(weights.logits_bias, hidden, to_logits))
        chosen = torch.add(logits.view_as(noise), noise).argmax(-1, keepdim=True)
        self._z[t + 1].scatter_(-1, chosen, 1.0)
        self.taken += 1


def fused_scan(
    from_action: Tensor,
    from_embedding: Tensor,
    h: Tensor,
    z: Tensor,
    noise: Tensor,
    weights: ScanWeights,
    steps: ScanSteps | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Filters (with the posterior's weights) or imagines (with the prior's) T steps.

    Args:
        from_action: the action's share of the layer before the GRU, bias included, (T, B, hidden).
        from_embedding: the embedding's share of the head's hidden layer, bias included,
            (T, B, hidden); the bias alone, (hidden,), for the prior.
        h: deterministic state before the first step, float32, (B, D).
        z: stochastic state before the first step, float32, (B, S * C).
        noise: Gumbel noise of the samples, (T, B, S, C).
        weights: those of the scan.
        steps: the scan's steps where they have all been taken, with the same arguments.

    Returns:
        h (T, B, D), logits (T, B, S, C) and z (T, B, S * C) after each step, float32. z has the
        straight-through gradient.
    """
    result: tuple[Tensor, Tensor, Tensor] = _Scan.apply(  # type: ignore[no-untyped-call]
        from_action,
        from_embedding,
        h,
        z,
        noise,
        weights.latent,
        weights.cell,
        weights.norm_weight,
        weights.norm_bias,
        weights.head,
        weights.logits,
        weights.logits_bias,
        steps,
    )
    return result


class _Scan(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        from_action: Tensor,
        from_embedding: Tensor,
        h: Tensor,
        z: Tensor,
        noise: Tensor,
        latent: Tensor,
        cell: Tensor,
        norm_weight: Tensor,
        norm_bias: Tensor,
        head: Tensor,
        logits_weight: Tensor,
        logits_bias: Tensor,
        steps: ScanSteps | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        ctx.shared = from_embedding.dim() == 1
        if steps is None:
            weights = ScanWeights(
                latent, cell, norm_weight, norm_bias, head, logits_weight, logits_bias
            )
            steps = ScanSteps(h, z, noise, weights)
            for t, action in enumerate(from_action.unbind()):
                steps.step(action, from_embedding if ctx.shared else from_embedding[t])
        ctx.save_for_backward(
            steps.inputs, steps.latents, steps.states, steps.joints, steps.normed, steps.means,
            steps.scales, steps.gates, steps.heads, steps.logits,
            latent, cell, norm_weight, norm_bias, head, logits_weight,
        )  # fmt: skip
        return (
            steps.states[1:].clone(),
            steps.logits.view(noise.shape).clone(),
            steps.latents[1:].flatten(2).to(steps.states.dtype, copy=True),
        )

    @staticmethod
    def backward(  # type: ignore[override]
        ctx: Any, grad_states: Tensor, grad_logits: Tensor, grad_latents: Tensor
    ) -> tuple[Tensor | None, ...]:
        (
            inputs, latents, states, joints, normed, means, scales, gates, heads, logits,
            latent, cell, norm_weight, norm_bias, head, logits_weight,
        ) = ctx.saved_tensors  # fmt: skip
        length, batch, size = grad_states.shape
        hidden, kind = latent.shape[0], latent.dtype
        # Everything that the incoming gradient only multiplies, for all steps at once.
        probabilities = logits.view_as(grad_logits).softmax(-1)
        reset, candidate, update = gates
        keep = 1.0 - update
        through = 0.5 * update * (1.0 - candidate.square()) * reset
        factors = torch.stack(
            [
                through * normed[..., size : 2 * size] * (1.0 - reset),
                through,
                (candidate - states[:-1]) * update * keep,
            ],
            dim=2,
        )
        empty = grad_states.new_empty
        to_logits = empty(length, batch, logits_weight.shape[0], dtype=kind)
        to_heads = empty(length, batch, hidden, dtype=kind)
        to_normed = empty(length, batch, 3 * size)
        to_joints = empty(length, batch, 3 * size, dtype=kind)
        to_inputs = empty(length, batch, hidden, dtype=kind)
        grad_h = torch.zeros_like(states[0])
        grad_z = torch.zeros_like(heads[0, :, :1]).expand(batch, logits_weight.shape[0])
        x_slots = inputs[:-1, :, :hidden].unbind()
        steps = zip(
            grad_latents.unbind(), grad_logits.unbind(), grad_states.unbind(),
            probabilities.unbind(), factors.unbind(), keep.unbind(), x_slots,
            heads.unbind(), joints.unbind(), means.unbind(), scales.unbind(),
            to_logits.unbind(), to_heads.unbind(), to_normed.unbind(), to_joints.unbind(),
            to_inputs.unbind(), strict=True,
        )  # fmt: skip
        for (
            from_z, from_logits, from_h, probability, factor, kept, x, head_output, joint, mean,
            scale, to_logit, to_head, to_norm, to_joint, to_input,
        ) in reversed(list(steps)):  # fmt: skip
            sampled = aten._softmax_backward_data(
                (from_z + grad_z).view_as(probability), probability, -1, probability.dtype
            )
            torch.add(sampled, from_logits, out=to_logit.view_as(sampled))
            aten.elu_backward.grad_input(
                torch.mm(to_logit, logits_weight), 1.0, 1.0, 1.0, True, head_output,
                grad_input=to_head,
            )  # fmt: skip
            grad_h = (grad_h + from_h).add_(torch.mm(to_head, head))
            torch.mul(grad_h[:, None], factor, out=to_norm.view(factor.shape))
            to_joint.copy_(
                aten.native_layer_norm_backward(
                    to_norm, joint, (3 * size,), mean, scale, norm_weight, norm_bias,
                    (True, False, False),
                )[0]
            )  # fmt: skip
            grad_input = torch.mm(to_joint, cell)
            grad_h = grad_h.mul_(kept).add_(grad_input[:, hidden:])
            aten.elu_backward.grad_input(
                grad_input[:, :hidden], 1.0, 1.0, 1.0, True, x, grad_input=to_input
            )
            grad_z = torch.mm(to_input, latent)
        needs = ctx.needs_input_grad
        grads: list[Tensor | None] = [None] * 13
        grads[0], grads[2] = to_inputs, grad_h
        grads[3] = grad_z.to(states.dtype) if needs[3] else None
        if needs[1]:
            grads[1] = to_heads.sum((0, 1)) if ctx.shared else to_heads
        if needs[5]:
            grads[5] = _weight_gradient(to_inputs, latents[:-1].flatten(2))
        if needs[6]:
            grads[6] = _weight_gradient(to_joints, inputs[:-1])
        if needs[7]:
            _, grads[7], grads[8] = aten.native_layer_norm_backward(
                to_normed, joints, (3 * size,), means, scales, norm_weight, norm_bias,
                (False, True, True),
            )  # fmt: skip
        if needs[9]:
            grads[9] = _weight_gradient(to_heads, inputs[1:, :, hidden:])
        if needs[10]:
            grads[10] = _weight_gradient(to_logits, heads)
            grads[11] = to_logits.sum((0, 1))
        return tuple(grads)


def _weight_gradient(grad_output: Tensor, inputs: Tensor) -> Tensor:
    """Sum over steps and batch of the outer products: (T, B, O), (T, B, I) -> (O, I)."""
    return grad_output.flatten(0, 1).t() @ inputs.reshape(-1, inputs.shape[-1])
