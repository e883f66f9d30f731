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
    gumbel_like,
    project_to_unit_ball,
    uniform_like,
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
        self.action_size = action_size
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
        config, horizon = self.config, self.config.horizon
        rssm = world_model.rssm
        noise = gumbel_like(h.new_empty(len(h), horizon, rssm.groups, rssm.classes))
        uniform = uniform_like(h.new_empty(len(h), horizon, self.action_size))
        imagination = rssm.imagine(h, z, noise)
        believed = None if belief is None else belief.rssm.imagine(belief.h, belief.z, noise)
        seen, taken = [], []
        by_actor = imagination if believed is None else believed
        with torch.no_grad():
            for t in range(horizon):
                seen.append(by_actor.features)
                # The environment's gate does the same to the translation.
                action = project_to_unit_ball(self.actor(seen[-1]).rsample(uniform[:, t]))
                taken.append(action)
                imagination.step(action)
                if believed is not None:
                    believed.step(action)
        # The rollout has been taken. Gradients go back through all its actions at once, which costs
        # less than a graph of every single step.
        visited = torch.stack(seen, 1)  # (B, H, F)
        policy = self.actor(visited)
        actions = project_to_unit_ball(policy.rsample(uniform))
        # To the last bit the actions that were taken, whatever a larger batch rounds.
        actions = torch.stack(taken, 1) + (actions - actions.detach())
        imagined = imagination.latents(actions).features
        if torch.is_autocast_enabled(imagined.device.type):  # once, not in each head
            imagined = imagined.to(torch.get_autocast_dtype(imagined.device.type))
        # The reward head predicts the reward of arriving at a state.
        rewards = world_model.reward(imagined).float().squeeze(-1).t()
        values = self.slow_critic(imagined).float().squeeze(-1).t()
        returns = lambda_returns(rewards, values, discount=config.discount, lambda_=config.lambda_)
        weights = config.discount ** torch.arange(horizon, dtype=torch.float32, device=h.device)
        weights = weights[:, None]
        entropy = policy.entropy().t()
        actor_loss = -(weights * (returns + config.entropy * entropy)).mean()
        start = torch.cat([h, z], -1)[:, None].to(imagined.dtype)
        predicted = self.critic(torch.cat([start, imagined[:, :-1].detach()], 1))
        errors = predicted.float().squeeze(-1).t() - returns.detach()
        critic_loss = 0.5 * (weights * errors.square()).mean()
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
