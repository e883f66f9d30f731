"""Categorical latents and the bounded action distribution of DreamerV2 (Hafner et al., 2021)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from twist_training.modules.batch_share import draw_rows, mean_over_shares

_SQRT2 = math.sqrt(2.0)
_LOG_SQRT_2PI_E = 0.5 * math.log(2.0 * math.pi * math.e)


def gumbel_like(logits: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Standard Gumbel noise of the shape of `logits`; argmax(logits + noise) is a sample."""
    uniform = uniform_like(logits, generator)
    # In place: fresh memory for every operation costs more than the logarithms do.
    return uniform.clamp_(1e-10, 1.0 - 1e-7).log_().neg_().log_().neg_()


def uniform_like(tensor: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Random numbers from [0, 1) of the shape of `tensor`."""
    return draw_rows(
        lambda shape: torch.rand(
            shape, dtype=tensor.dtype, device=tensor.device, generator=generator
        ),
        tensor.shape,
    )


def straight_through_one_hot(logits: Tensor, noise: Tensor | None = None) -> Tensor:
    """One-hot latents with straight-through gradients (DreamerV2, Algorithm 1).

    Args:
        logits: unnormalised log probabilities, (..., S, C).
        noise: Gumbel noise of the same shape for a sample; None takes the mode.

    Returns:
        (..., S * C): one-hot per group of C, flattened. Gradients are those of the probabilities.
    """
    scores = (logits if noise is None else logits + noise).detach()
    # Not `F.one_hot`, which looks at the values.
    one_hot = torch.zeros_like(logits).scatter_(-1, scores.argmax(-1, keepdim=True), 1.0)
    probabilities = logits.softmax(-1)
    return (one_hot + probabilities - probabilities.detach()).flatten(-2)


def categorical_kl(logits_p: Tensor, logits_q: Tensor) -> Tensor:
    """KL[p || q] of independent categoricals, summed over the groups.

    Args:
        logits_p: (..., S, C).
        logits_q: (..., S, C).

    Returns:
        (...) nats.
    """
    log_p, log_q = logits_p.log_softmax(-1), logits_q.log_softmax(-1)
    return (log_p.exp() * (log_p - log_q)).sum((-2, -1))


def balanced_kl(
    posterior: Tensor, prior: Tensor, *, balance: float, free_nats: float
) -> tuple[Tensor, Tensor]:
    """KL balancing (DreamerV2, Eq. 3): the prior learns faster than the posterior.

    Args:
        posterior: posterior logits, (..., S, C).
        prior: prior logits, (..., S, C).
        balance: share of the loss that trains the prior.
        free_nats: the batch mean below which the loss is constant.

    Returns:
        The loss (scalar) and the plain mean KL[posterior || prior] in nats (scalar, detached).
    """
    to_prior = categorical_kl(posterior.detach(), prior).mean()
    to_posterior = categorical_kl(posterior, prior.detach()).mean()
    mean = mean_over_shares(to_prior)
    loss = balance * to_prior + (1.0 - balance) * to_posterior
    # The same numbers twice, so that both terms are cut off at once.
    return torch.where(mean > free_nats, loss, free_nats), mean


class TruncatedNormal:
    """Normal distribution truncated to [-1, 1], sampled by its inverse CDF so that gradients flow.

    Args:
        mean: location before truncation, within [-1, 1], (..., A).
        std: scale before truncation, positive, (..., A).
    """

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        self.mean, self.std = mean, std
        self._alpha = (-1.0 - mean) / std
        self._beta = (1.0 - mean) / std
        self._cdf_alpha = _normal_cdf(self._alpha)
        self._mass = (_normal_cdf(self._beta) - self._cdf_alpha).clamp(min=1e-6)

    @property
    def mode(self) -> Tensor:
        """The most likely action, (..., A)."""
        return self.mean.clamp(-1.0, 1.0)

    def rsample(self, uniform: Tensor | None = None) -> Tensor:
        """A reparameterised sample, (..., A).

        Args:
            uniform: random numbers from [0, 1) to make it of, (..., A); None draws them.
        """
        if uniform is None:
            uniform = uniform_like(self.mean)
        quantile = self._cdf_alpha + uniform * self._mass
        standard = _SQRT2 * torch.erfinv((2.0 * quantile - 1.0).clamp(-1.0 + 1e-6, 1.0 - 1e-6))
        return (self.mean + self.std * standard).clamp(-1.0, 1.0)

    def entropy(self) -> Tensor:
        """Differential entropy in nats, summed over the action's numbers, (...)."""
        density_alpha, density_beta = _normal_density(self._alpha), _normal_density(self._beta)
        correction = (self._alpha * density_alpha - self._beta * density_beta) / (2.0 * self._mass)
        return (_LOG_SQRT_2PI_E + torch.log(self.std * self._mass) + correction).sum(-1)


def _normal_cdf(x: Tensor) -> Tensor:
    return 0.5 * (1.0 + torch.erf(x / _SQRT2))


def _normal_density(x: Tensor) -> Tensor:
    return torch.exp(-0.5 * x * x) / math.sqrt(2.0 * math.pi)


def project_to_unit_ball(action: Tensor) -> Tensor:
    """Scales the translation (first three numbers) to Euclidean norm at most one, as the gate does.

    Args:
        action: (..., A), A >= 3.
    """
    translation = action[..., :3]
    norm = translation.norm(dim=-1, keepdim=True).clamp(min=1.0)
    return torch.cat([translation / norm, action[..., 3:]], dim=-1)
