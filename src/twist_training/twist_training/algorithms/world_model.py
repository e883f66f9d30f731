"""The teacher's world model and its loss (DreamerV2, Eq. 2, on privileged state)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from twist_policy.contract import PolicyContract
from twist_training.configuration import TeacherConfig
from twist_training.modules.batch_share import draw_rows
from twist_training.modules.distributions import balanced_kl
from twist_training.modules.networks import StateScaling, initialise, mlp
from twist_training.modules.rssm import LatentSequence, Rssm, States


@dataclass(frozen=True)
class Batch:
    """Sequences from the replay.

    Attributes:
        state: privileged state, SI units, (B, T, S).
        previous_action: executed action before each state, [-1, 1], (B, T, A).
        reward: reward received on arriving at each state, (B, T).
    """

    state: Tensor
    previous_action: Tensor
    reward: Tensor


class TeacherWorldModel(nn.Module):
    """Encoder, RSSM, state decoder and reward head over privileged state.

    Args:
        config: sizes and loss weights.
        contract: gives the state's fields and the action's size.
    """

    def __init__(self, config: TeacherConfig, contract: PolicyContract) -> None:
        super().__init__()
        self.config = config
        features = config.rssm.features
        self.scaling = StateScaling(contract)
        self.encoder = mlp(
            contract.state_size, config.encoder_width, config.encoder_layers, config.embedding
        )
        self.rssm = Rssm(config.rssm, contract.action_size, config.embedding)
        self.decoder = mlp(
            features, config.encoder_width, config.encoder_layers, contract.state_size
        )
        self.reward = mlp(features, config.head_width, config.head_layers, 1)
        initialise(self)

    def embed(self, state: Tensor) -> Tensor:
        """Embedding (..., E) of privileged state in SI units (..., S)."""
        embedding: Tensor = self.encoder(self.scaling(state))
        return embedding

    def loss(self, batch: Batch) -> tuple[Tensor, LatentSequence, dict[str, Tensor]]:
        """Negative evidence lower bound of the batch.

        -ln p(s_t | h_t, z_t) - w ln p(r_t | h_t, z_t) + beta KL[q(z_t | h_t, s_t) || p(z_t | h_t)]

        Sums over a state's numbers, means over batch and time. The state's likelihood is a Normal
        of standard deviation `observation_std`, the reward's one of unit variance, weighted by
        w = `reward_scale` (1 would be the bound itself); beta is `kl_scale`.

        Returns:
            The loss, the latent states, and each term for the log.
        """
        config = self.config
        latents = self.rssm.observe(self.embed(batch.state), batch.previous_action)
        assert latents.posterior is not None
        features = latents.features
        error = self.decoder(features).float() - self.scaling(batch.state)
        state_loss = 0.5 * (error / config.observation_std).square().sum(-1).mean()
        predicted = self.reward(features).float().squeeze(-1)
        reward_loss = 0.5 * (predicted - batch.reward).square().mean()
        kl_loss, kl = balanced_kl(
            latents.posterior,
            latents.prior,
            balance=config.kl_balance,
            free_nats=config.free_nats,
        )
        loss = state_loss + config.reward_scale * reward_loss + config.kl_scale * kl_loss
        metrics = {
            "world_model/loss": loss.detach(),
            "world_model/state": state_loss.detach(),
            "world_model/reward": reward_loss.detach(),
            "world_model/kl": kl,
        }
        return loss, latents, metrics


def choose_starts(count: int, *beliefs: States) -> list[States]:
    """`count` random latent states of a batch of sequences.

    Args:
        count: how many.
        beliefs: h (B, T, D) and z (B, T, S * C) each; the same instants are chosen in all.

    Returns:
        h and z of each: (count, D) and (count, S * C).
    """
    batch, length = beliefs[0][0].shape[:2]
    chosen = random_instants(batch, length, count, beliefs[0][0].device)
    return [(h.flatten(0, 1)[chosen], z.flatten(0, 1)[chosen]) for h, z in beliefs]


def random_instants(batch: int, length: int, count: int, device: torch.device) -> Tensor:
    """Indices into B x T flattened states: equally many distinct instants of every sequence.

    When `count` is no multiple of the batch, the last sequences give fewer.
    """
    each = -(-count // batch)
    keys = draw_rows(lambda shape: torch.rand(shape, device=device), (batch, length))
    instants = keys.argsort(-1)[:, :each] + length * torch.arange(batch, device=device)[:, None]
    return instants.flatten()[:count]
