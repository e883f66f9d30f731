"""Latents and actions: samples, modes, divergences, gradients."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Categorical, Independent, Normal, kl_divergence

from twist_training.modules.distributions import (
    TruncatedNormal,
    balanced_kl,
    categorical_kl,
    gumbel_like,
    project_to_unit_ball,
    straight_through_one_hot,
)


def test_categorical_kl_agrees_with_torch() -> None:
    torch.manual_seed(0)
    p, q = torch.randn(7, 4, 5), torch.randn(7, 4, 5)
    expected = kl_divergence(
        Independent(Categorical(logits=p), 1), Independent(Categorical(logits=q), 1)
    )
    torch.testing.assert_close(categorical_kl(p, q), expected)


def test_straight_through_latent_is_one_hot_and_has_the_gradient_of_the_probabilities() -> None:
    torch.manual_seed(0)
    logits = torch.randn(3, 4, 5, requires_grad=True)
    weights = torch.randn(3, 20)
    z = straight_through_one_hot(logits, gumbel_like(logits))
    groups = z.detach().unflatten(-1, (4, 5))
    torch.testing.assert_close(groups.sum(-1), torch.ones(3, 4))
    assert set(groups.round(decimals=5).unique().tolist()) == {0.0, 1.0}
    (z * weights).sum().backward()
    straight = logits.grad
    logits.grad = None
    (logits.softmax(-1).flatten(-2) * weights).sum().backward()
    torch.testing.assert_close(straight, logits.grad)


def test_gumbel_samples_follow_the_probabilities() -> None:
    torch.manual_seed(0)
    logits = torch.tensor([[0.1, 1.0, -0.5]]).expand(20_000, 1, 3)
    frequency = straight_through_one_hot(logits, gumbel_like(logits)).mean(0)
    # 20,000 samples: a standard error of at most 0.0035.
    torch.testing.assert_close(frequency, logits[0, 0].softmax(-1), atol=0.015, rtol=0.0)


def test_kl_balancing_splits_the_gradient_and_free_nats_cut_it() -> None:
    posterior = torch.randn(6, 4, 5, requires_grad=True)
    prior = torch.randn(6, 4, 5, requires_grad=True)
    balanced_kl(posterior, prior, balance=1.0, free_nats=0.0)[0].backward()
    assert posterior.grad is None or not posterior.grad.any()
    assert prior.grad is not None
    assert prior.grad.any()
    prior.grad = None
    balanced_kl(posterior, prior, balance=0.8, free_nats=1e6)[0].backward()
    assert not prior.grad.any() if prior.grad is not None else True


def test_truncated_normal_stays_in_bounds_and_matches_monte_carlo() -> None:
    torch.manual_seed(0)
    mean, std = torch.tensor([0.8, -0.2, 0.0]), torch.tensor([0.5, 0.2, 3.0])
    distribution = TruncatedNormal(mean.expand(100_000, 3), std.expand(100_000, 3))
    samples = distribution.rsample()
    assert samples.abs().max() <= 1.0
    # Rejection sampling of the same density.
    for i in range(3):
        raw = Normal(mean[i], std[i]).sample((400_000,))
        kept = raw[raw.abs() <= 1.0]
        assert samples[:, i].mean() == pytest.approx(kept.mean().item(), abs=0.01)
        assert samples[:, i].std() == pytest.approx(kept.std().item(), abs=0.01)


def test_truncated_normal_entropy_is_minus_the_mean_log_density() -> None:
    torch.manual_seed(0)
    mean, std = torch.tensor([0.6, -0.1]), torch.tensor([0.3, 1.5])
    distribution = TruncatedNormal(mean.expand(200_000, 2), std.expand(200_000, 2))
    samples = distribution.rsample()
    normal = Normal(mean, std)
    mass = normal.cdf(torch.ones(2)) - normal.cdf(-torch.ones(2))
    estimate = -(normal.log_prob(samples) - mass.log()).sum(-1).mean()
    assert distribution.entropy()[0].item() == pytest.approx(estimate.item(), abs=0.01)


def test_unit_ball_projection_keeps_short_actions_and_the_direction_of_long_ones() -> None:
    actions = torch.tensor([[0.3, 0.4, 0.0], [1.0, 1.0, 1.0]])
    projected = project_to_unit_ball(actions)
    torch.testing.assert_close(projected[0], actions[0])
    torch.testing.assert_close(projected[1], torch.full((3,), 3.0**-0.5))
