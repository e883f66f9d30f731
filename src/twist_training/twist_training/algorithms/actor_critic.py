"""Behaviour learning in imagination: dynamics backpropagation, lambda-returns, slow critic.

DreamerV2 (Hafner et al., 2021), Eqs. 4 to 6, with rho = 0: the actor's gradient flows through
the world model's dynamics.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from twist_training.algorithms.world_model import TeacherWorldModel
from twist_training.configuration import TeacherConfig
from twist_training.modules.distributions import (
    TruncatedNormal,
    gumbel_like,
    project_to_unit_ball,
)
from twist_training.modules.networks import Actor, initialise, mlp
from twist_training.modules.rssm import Rssm


@dataclass(frozen=True)
class Belief:
    """What the actor takes for the latent state, where that is not the imagined world's own.

    Attributes:
        rssm: goes on from the belief with the actor's actions; nothing corrects it meanwhile.
        h: deterministic states to start from, (B, D).
        z: stochastic states to start from, (B, S * C).
    """

    rssm: Rssm
    h: Tensor
    z: Tensor


class ActorCritic(nn.Module):
    """Actor, critic and slow critic on the latent state.

    Args:
        config: sizes and schedule.
        action_size: A.
    """

    def __init__(self, config: TeacherConfig, action_size: int) -> None:
        super().__init__()
        self.config = config
        features = config.rssm.features
        self.actor = Actor(features, action_size, config.head_width, config.head_layers)
        self.critic = mlp(features, config.head_width, config.head_layers, 1)
        initialise(self)
        self.slow_critic = copy.deepcopy(self.critic).requires_grad_(False)

    def update_slow_critic(self) -> None:
        """Copies the critic into the slow critic."""
        self.slow_critic.load_state_dict(self.critic.state_dict())

    def losses(
        self, world_model: TeacherWorldModel, h: Tensor, z: Tensor, belief: Belief | None = None
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Actor and critic losses over imagined rollouts.

        Args:
            world_model: its parameters must not require gradients here (`frozen`).
            h: starting deterministic states, (B, D).
            z: starting stochastic states, (B, S * C).
            belief: what the actor sees instead; rewards and values stay those of the world.

        Returns:
            Actor loss, critic loss, and terms for the log.
        """
        config = self.config
        rssm = world_model.rssm
        scan = rssm.prior_scan()
        noise = gumbel_like(h.new_empty(len(h), config.horizon, rssm.groups, rssm.classes))
        features = [torch.cat([h, z], -1)]
        seen = features[0]
        if belief is not None:
            believed_h, believed_z = belief.h, belief.z
            believe = belief.rssm.prior_scan()
            seen = torch.cat([believed_h, believed_z], -1)
        means, stds = [], []
        for t in range(config.horizon):
            policy = self.actor(seen.detach())
            means.append(policy.mean)
            stds.append(policy.std)
            # The environment's gate does the same to the translation.
            action = project_to_unit_ball(policy.rsample())
            latents = scan(action[:, None], h, z, noise[:, t, None])
            h, z = latents.deterministic[:, 0], latents.stochastic[:, 0]
            features.append(torch.cat([h, z], -1))
            seen = features[-1]
            if belief is not None:
                with torch.no_grad():
                    expected = believe(action[:, None], believed_h, believed_z, noise[:, t, None])
                believed_h, believed_z = expected.deterministic[:, 0], expected.stochastic[:, 0]
                seen = torch.cat([believed_h, believed_z], -1)
        imagined = torch.stack(features[1:])  # (H, B, F)
        if torch.is_autocast_enabled(imagined.device.type):  # once, not in each head
            imagined = imagined.to(torch.get_autocast_dtype(imagined.device.type))
        # The reward head predicts the reward of arriving at a state.
        rewards = world_model.reward(imagined).float().squeeze(-1)
        values = self.slow_critic(imagined).float().squeeze(-1)
        returns = lambda_returns(rewards, values, discount=config.discount, lambda_=config.lambda_)
        weights = config.discount ** torch.arange(
            config.horizon, dtype=torch.float32, device=h.device
        )
        weights = weights[:, None]
        entropy = TruncatedNormal(torch.stack(means), torch.stack(stds)).entropy()
        actor_loss = -(weights * (returns + config.entropy * entropy)).mean()
        predicted = self.critic(torch.stack(features[:-1]).detach()).float().squeeze(-1)
        critic_loss = 0.5 * (weights * (predicted - returns.detach()).square()).mean()
        return (
            actor_loss,
            critic_loss,
            {
                "actor/loss": actor_loss.detach(),
                "actor/entropy": entropy.mean().detach(),
                "actor/return": returns.mean().detach(),
                "critic/loss": critic_loss.detach(),
            },
        )


def lambda_returns(rewards: Tensor, values: Tensor, *, discount: float, lambda_: float) -> Tensor:
    """V_t = r_t + gamma ((1 - lambda) v_{t+1} + lambda V_{t+1}), bootstrapped by the last value.

    Args:
        rewards: reward of arriving at state t + 1, (H, B).
        values: value of state t + 1, (H, B).
        discount: gamma.
        lambda_: 0 is one-step TD, 1 is Monte Carlo up to the horizon.

    Returns:
        (H, B): targets for states 0 to H - 1.
    """
    target = values[-1]
    targets = []
    for reward, value in zip(reversed(rewards), reversed(values), strict=True):
        target = reward + discount * ((1.0 - lambda_) * value + lambda_ * target)
        targets.append(target)
    return torch.stack(targets[::-1])
