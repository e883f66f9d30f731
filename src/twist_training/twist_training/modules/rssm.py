"""Recurrent state-space model with categorical latents (DreamerV2; PlaNet, Hafner et al., 2019)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from twist_training.modules.distributions import gumbel_like, straight_through_one_hot
from twist_training.modules.fused_scan import ScanSteps, ScanWeights, fused_scan, gate_norm


@dataclass(frozen=True)
class RssmConfig:
    """Sizes of the latent state."""

    deterministic: int = 200
    """Size D of the deterministic state h (the GRU)."""
    hidden: int = 200
    """Width of the layers around the GRU."""
    groups: int = 16
    """Number S of categorical variables in the stochastic state z."""
    classes: int = 16
    """Classes C of each of them."""

    @property
    def stochastic(self) -> int:
        """Size of the flattened stochastic state, S * C."""
        return self.groups * self.classes

    @property
    def features(self) -> int:
        """Size of the latent state [h, z] that heads and actor see."""
        return self.deterministic + self.stochastic


States = tuple[Tensor, Tensor]
"""Latent states: h, (..., D), and z, (..., S * C)."""


@dataclass(frozen=True)
class LatentSequence:
    """Latent states along a batch of sequences.

    Attributes:
        deterministic: h, (B, T, D).
        stochastic: z, one-hot with straight-through gradients, flattened, (B, T, S * C).
        prior: prior logits, (B, T, S, C).
        posterior: posterior logits, (B, T, S, C); None for imagined sequences.
    """

    deterministic: Tensor
    stochastic: Tensor
    prior: Tensor
    posterior: Tensor | None

    @property
    def features(self) -> Tensor:
        """[h, z], (B, T, D + S * C)."""
        return torch.cat([self.deterministic, self.stochastic], dim=-1)

    @property
    def detached(self) -> States:
        """H and z without gradients, (B, T, D) and (B, T, S * C)."""
        return self.deterministic.detach(), self.stochastic.detach()


class LayerNormGru(nn.Module):
    """GRU cell with one LayerNorm over the joint pre-activation, as in DreamerV2.

    The update gate's bias is -1, and the reset gate acts after the linear map.
    """

    def __init__(self, inputs: int, size: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs + size, 3 * size, bias=False)
        self.norm = nn.LayerNorm(3 * size)

    def forward(self, inputs: Tensor, h: Tensor) -> Tensor:
        """Next h (B, D) from inputs (B, I) and h (B, D)."""
        joint = self.norm(self.linear(torch.cat([inputs, h], -1)).float())
        reset, candidate, update = joint.chunk(3, -1)
        candidate = torch.tanh(torch.sigmoid(reset) * candidate)
        update = torch.sigmoid(update - 1.0)
        return update * candidate + (1.0 - update) * h


class Rssm(nn.Module):
    """p(z_t | h_t), q(z_t | h_t, e_t) and h_t = f(h_{t-1}, z_{t-1}, a_{t-1}).

    Args:
        config: sizes.
        action_size: A.
        embedding_size: size E of the encoder's output e.
    """

    def __init__(self, config: RssmConfig, action_size: int, embedding_size: int) -> None:
        super().__init__()
        self.config = config
        self.fused = False
        """Run `observe` and `replay` as one operation with a written-out backward pass. The plain
        loops say what is computed; trainers switch them off."""
        self.groups, self.classes = config.groups, config.classes
        self.input = nn.Linear(config.stochastic + action_size, config.hidden)
        self.cell = LayerNormGru(config.hidden, config.deterministic)
        self.prior_hidden = nn.Linear(config.deterministic, config.hidden)
        self.prior_logits = nn.Linear(config.hidden, config.stochastic)
        self.posterior_hidden = nn.Linear(config.deterministic + embedding_size, config.hidden)
        self.posterior_logits = nn.Linear(config.hidden, config.stochastic)

    def initial(self, batch: int) -> tuple[Tensor, Tensor]:
        """Zero state (h, z) before the first observation: (batch, D), (batch, S * C)."""
        weight = self.prior_logits.weight
        return (
            weight.new_zeros(batch, self.config.deterministic),
            weight.new_zeros(batch, self.config.stochastic),
        )

    def transition(self, action: Tensor, h: Tensor, z: Tensor) -> Tensor:
        """Next deterministic state, (B, D), from the previous action (B, A), h and z."""
        return self.cell(F.elu(self.input(torch.cat([z, action], -1))), h)

    def prior(self, h: Tensor) -> Tensor:
        """Prior logits (..., S, C) of the stochastic state at h (..., D)."""
        logits = self.prior_logits(F.elu(self.prior_hidden(h))).float()
        return logits.unflatten(-1, (self.groups, self.classes))

    def posterior(self, h: Tensor, embedding: Tensor) -> Tensor:
        """Posterior logits (..., S, C) at h (..., D) given the embedding (..., E)."""
        joint = torch.cat([h, embedding.to(h.dtype)], -1)
        logits = self.posterior_logits(F.elu(self.posterior_hidden(joint))).float()
        return logits.unflatten(-1, (self.groups, self.classes))

    def observe(
        self, embedding: Tensor, previous_action: Tensor, noise: Tensor | None = None
    ) -> LatentSequence:
        """Filters sequences of observations, starting from the zero state.

        Args:
            embedding: encoded observations, (B, T, E).
            previous_action: action executed before each observation, (B, T, A).
            noise: Gumbel noise for the posterior samples, (B, T, S, C); None draws it.
        """
        batch, length = embedding.shape[:2]
        h, z = self.initial(batch)
        if noise is None:
            noise = gumbel_like(h.new_empty(batch, length, self.groups, self.classes))
        if self.fused:
            return self._observe_fused(embedding, previous_action, noise)
        # The embedding's share of the posterior's first layer does not depend on h: one matmul
        # for all steps instead of one per step.
        weight_h, weight_e = self.posterior_hidden.weight.split(
            [self.config.deterministic, embedding.shape[-1]], dim=1
        )
        from_embedding = F.linear(embedding, weight_e, self.posterior_hidden.bias)
        states, samples, posteriors = [], [], []
        for t in range(length):
            h = self.transition(previous_action[:, t], h, z)
            hidden = F.elu(from_embedding[:, t] + F.linear(h, weight_h))
            logits = self.posterior_logits(hidden).float()
            logits = logits.unflatten(-1, (self.groups, self.classes))
            z = straight_through_one_hot(logits, noise[:, t])
            states.append(h)
            samples.append(z)
            posteriors.append(logits)
        deterministic = torch.stack(states, 1)
        return LatentSequence(
            deterministic,
            torch.stack(samples, 1),
            self.prior(deterministic),
            torch.stack(posteriors, 1),
        )

    def observe_step(
        self,
        embedding: Tensor,
        previous_action: Tensor,
        h: Tensor,
        z: Tensor,
        noise: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """One filtering step: (h, z) after `embedding` (B, E); the mode when `noise` is None."""
        h = self.transition(previous_action, h, z)
        return h, straight_through_one_hot(self.posterior(h, embedding), noise)

    def replay(
        self, actions: Tensor, h: Tensor, z: Tensor, noise: Tensor | None = None
    ) -> LatentSequence:
        """Imagines along given actions, without observations.

        Args:
            actions: (B, H, A), executed from (h, z) on.
            h: starting deterministic states, (B, D).
            z: starting stochastic states, (B, S * C).
            noise: Gumbel noise for the prior samples, (B, H, S, C); None draws it.
        """
        batch, horizon = actions.shape[:2]
        if noise is None:
            noise = gumbel_like(h.new_empty(batch, horizon, self.groups, self.classes))
        if self.fused:
            return self._imagine_fused(actions, h, z, noise, None)
        states, samples, priors = [], [], []
        for t in range(horizon):
            h = self.transition(actions[:, t], h, z)
            logits = self.prior(h)
            z = straight_through_one_hot(logits, noise[:, t])
            states.append(h)
            samples.append(z)
            priors.append(logits)
        return LatentSequence(
            torch.stack(states, 1), torch.stack(samples, 1), torch.stack(priors, 1), None
        )

    def imagine(self, h: Tensor, z: Tensor, noise: Tensor) -> Imagination:
        """Imagines step by step, for actions that depend on where the last one led.

        Args:
            h: starting deterministic states, (B, D).
            z: starting stochastic states, (B, S * C).
            noise: Gumbel noise for the prior samples, (B, H, S, C).
        """
        return (FusedImagination if self.fused else Imagination)(self, h, z, noise)

    def _observe_fused(
        self, embedding: Tensor, previous_action: Tensor, noise: Tensor
    ) -> LatentSequence:
        h, z = self.initial(len(embedding))
        head, from_embedding = self.posterior_hidden.weight.split(
            [self.config.deterministic, embedding.shape[-1]], dim=1
        )
        states, logits, samples = fused_scan(
            self._from_action(previous_action),
            _time_major(F.linear(embedding, from_embedding, self.posterior_hidden.bias)),
            h,
            z,
            noise.transpose(0, 1),
            self._scan_weights(head, self.posterior_logits),
        )
        deterministic = states.transpose(0, 1).contiguous()
        return LatentSequence(
            deterministic,
            samples.transpose(0, 1),
            self.prior(deterministic),
            logits.transpose(0, 1),
        )

    def _imagine_fused(
        self, actions: Tensor, h: Tensor, z: Tensor, noise: Tensor, steps: ScanSteps | None
    ) -> LatentSequence:
        states, logits, samples = fused_scan(
            self._from_action(actions),
            _cast(self.prior_hidden.bias),
            h,
            z,
            noise.transpose(0, 1),
            self._prior_weights(),
            steps,
        )
        return LatentSequence(
            states.transpose(0, 1), samples.transpose(0, 1), logits.transpose(0, 1), None
        )

    def _prior_weights(self) -> ScanWeights:
        return self._scan_weights(self.prior_hidden.weight, self.prior_logits)

    def _from_action(self, action: Tensor) -> Tensor:
        """The action's share of the layer before the GRU, (T, B, hidden), of (B, T, A)."""
        weight = self.input.weight[:, self.config.stochastic :]
        return _time_major(F.linear(action, weight, self.input.bias))

    def _scan_weights(self, head: Tensor, logits: nn.Linear) -> ScanWeights:
        norm_weight, norm_bias = gate_norm(self.cell.norm.weight, self.cell.norm.bias)
        return ScanWeights(
            latent=_cast(self.input.weight[:, : self.config.stochastic]),
            cell=_cast(self.cell.linear.weight),
            norm_weight=norm_weight,
            norm_bias=norm_bias,
            head=_cast(head),
            logits=_cast(logits.weight),
            logits_bias=_cast(logits.bias),
        )


class Imagination:
    """A rollout of the prior whose actions are decided on the way; made by `Rssm.imagine`.

    Attributes:
        h: deterministic states after the steps so far, (B, D).
        z: stochastic states after them, (B, S * C).
    """

    def __init__(self, rssm: Rssm, h: Tensor, z: Tensor, noise: Tensor) -> None:
        self._rssm, self._start, self._noise = rssm, (h, z), noise
        self._taken = 0
        self.h, self.z = h.detach(), z.detach()

    @property
    def features(self) -> Tensor:
        """[h, z] after the steps so far, (B, D + S * C)."""
        return torch.cat([self.h, self.z.to(self.h.dtype)], dim=-1)

    @torch.no_grad()
    def step(self, action: Tensor) -> None:
        """One more step with `action`, (B, A), without gradients."""
        self.h = self._rssm.transition(action, self.h, self.z)
        logits = self._rssm.prior(self.h)
        self.z = straight_through_one_hot(logits, self._noise[:, self._taken])
        self._taken += 1

    def latents(self, actions: Tensor) -> LatentSequence:
        """The whole rollout, as `Rssm.replay` of it: with gradients to the actions and weights.

        Args:
            actions: those that were taken, (B, H, A), H of the noise.
        """
        return self._rssm.replay(actions, *self._start, self._noise)


class FusedImagination(Imagination):
    """The same with the steps of the fused scan, which do not have to be taken again."""

    @torch.no_grad()
    def __init__(self, rssm: Rssm, h: Tensor, z: Tensor, noise: Tensor) -> None:
        super().__init__(rssm, h, z, noise)
        self._steps = ScanSteps(self.h, self.z, noise.transpose(0, 1), rssm._prior_weights())
        self._bias = _cast(rssm.prior_hidden.bias)

    @torch.no_grad()
    def step(self, action: Tensor) -> None:
        """One more step with `action`, (B, A), without gradients."""
        self._steps.step(self._rssm._from_action(action[:, None])[0], self._bias)
        self.h, self.z = self._steps.state

    def latents(self, actions: Tensor) -> LatentSequence:
        """The whole rollout, as `Rssm.replay` of it: with gradients to the actions and weights.

        Args:
            actions: those that were taken, (B, H, A), H of the noise.
        """
        return self._rssm._imagine_fused(actions, *self._start, self._noise, self._steps)


def _cast(weight: Tensor) -> Tensor:
    """`weight` in the precision that autocast computes in; itself without autocast."""
    device = weight.device.type
    if not torch.is_autocast_enabled(device):
        return weight
    return weight.to(torch.get_autocast_dtype(device))


def _time_major(sequence: Tensor) -> Tensor:
    return sequence.transpose(0, 1).contiguous()
