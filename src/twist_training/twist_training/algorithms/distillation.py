"""Teacher-student world-model distillation: Eq. 3 and Eq. 4 of TWIST (Yamada et al., 2023)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from twist_policy.contract import PolicyContract
from twist_training.algorithms.world_model import TeacherWorldModel, random_instants
from twist_training.configuration import StudentConfig, TeacherConfig
from twist_training.modules.batch_share import draw_rows
from twist_training.modules.distributions import (
    categorical_kl,
    gumbel_like,
    project_to_unit_ball,
)
from twist_training.modules.networks import (
    Actor,
    ImageEncoder,
    StateScaling,
    ToolSpot,
    initialise,
)
from twist_training.modules.rssm import LatentSequence, Rssm


class Student(nn.Module):
    """Image encoder and RSSM; its latent state is what the teacher's actor acts on.

    Args:
        config: the encoder.
        teacher: the RSSM's sizes, which are the teacher's.
        contract: image size, action size, the state's fields.
    """

    def __init__(
        self, config: StudentConfig, teacher: TeacherConfig, contract: PolicyContract
    ) -> None:
        super().__init__()
        self.scaling = StateScaling(contract)
        self._ee_slice = contract.state_slice("ee_position")
        self.encoder = ImageEncoder(
            config.depth,
            teacher.embedding,
            image_size=contract.image.size,
            norm=config.norm,
            padding=config.padding,
            position_size=3 if contract.observes_ee_position else 0,
            state_size=contract.state_size,
            equalise=config.equalise,
            tool_spot=ToolSpot(contract)
            if config.tool_spot and contract.observes_ee_position
            else None,
        )
        self.rssm = Rssm(teacher.rssm, contract.action_size, teacher.embedding)
        initialise(self)

    def scale_position(self, ee_position: Tensor) -> Tensor:
        """Measured tool-tip position (N, 3), metres, as the encoder takes it."""
        scale, offset = self.scaling.scale[self._ee_slice], self.scaling.offset[self._ee_slice]
        scaled: Tensor = (ee_position - offset) * scale
        return scaled

    def features(self, image: Tensor, ee_position: Tensor) -> Tensor:
        """Encoder features (N, F).

        Args:
            image: (N, W, W, 3) uint8, cropped and resized by the contract's image path.
            ee_position: metres, (N, 3); ignored when the contract does not use it.
        """
        # One pass over the pixels: x / 255 - 0.5.
        scaled = torch.add(
            torch.full((), -0.5, device=image.device),
            image.permute(0, 3, 1, 2).float(),
            alpha=1.0 / 255.0,
        )
        return self.encoder.features(scaled, self.scale_position(ee_position))

    def embed(self, image: Tensor, ee_position: Tensor) -> Tensor:
        """Embedding (N, E) of images (N, W, W, 3) uint8 and positions (N, 3), metres."""
        embedding: Tensor = self.encoder.embedding(self.features(image, ee_position))
        return embedding


@dataclass(frozen=True)
class DistillationTerms:
    """The terms of Eq. 3 (or Eq. 4, without posterior), means over batch and time, in nats."""

    deterministic: Tensor
    prior: Tensor
    posterior: Tensor | None

    @property
    def total(self) -> Tensor:
        """Their unweighted sum, as in the paper."""
        total = self.deterministic + self.prior
        return total if self.posterior is None else total + self.posterior


def distillation_terms(teacher: LatentSequence, student: LatentSequence) -> DistillationTerms:
    """||h_T - h_S||^2 + KL[prior_S || prior_T] + KL[posterior_S || posterior_T] (Eq. 3).

    For imagined sequences, which have no posterior, this is Eq. 4.
    """
    posterior = None
    if student.posterior is not None and teacher.posterior is not None:
        posterior = categorical_kl(student.posterior, teacher.posterior).mean()
    difference = teacher.deterministic - student.deterministic
    return DistillationTerms(
        deterministic=difference.square().sum(-1).mean(),
        prior=categorical_kl(student.prior, teacher.prior).mean(),
        posterior=posterior,
    )


@torch.no_grad()
def imagine_with_noise(
    teacher: TeacherWorldModel,
    actor: Actor,
    h: Tensor,
    z: Tensor,
    *,
    horizon: int,
    action_noise: float,
    latent_noise: Tensor,
) -> tuple[LatentSequence, Tensor]:
    """The teacher's side of Eq. 4: its policy with noise added to the actions, imagined.

    Args:
        teacher: frozen world model.
        actor: frozen actor.
        h: starting deterministic states, (B, D).
        z: starting stochastic states, (B, S * C).
        horizon: H.
        action_noise: standard deviation of the Gaussian noise on the actions.
        latent_noise: Gumbel noise of the prior samples, (B, H, S, C).

    Returns:
        The imagined states and the actions taken, (B, H, A).
    """
    imagination = teacher.rssm.imagine(h, z, latent_noise)
    actions: list[Tensor] = []
    for _ in range(horizon):
        action = actor(imagination.features).rsample()
        noise = draw_rows(lambda shape: torch.randn(shape, device=h.device), action.shape)
        action = (action + action_noise * noise).clamp(-1.0, 1.0)
        action = project_to_unit_ball(action)
        imagination.step(action)
        actions.append(action)
    taken = torch.stack(actions, 1)
    return imagination.latents(taken), taken


@dataclass(frozen=True)
class StudentBatch:
    """Sequences of what the student sees and what the teacher knows about them.

    Attributes:
        state: privileged state, SI units, (B, L, S).
        previous_action: executed action before each state, (B, L, A).
        image: uint8, (B, L, W, W, 3).
        ee_position: measured tool tip, metres, (B, L, 3).
    """

    state: Tensor
    previous_action: Tensor
    image: Tensor
    ee_position: Tensor


def distillation_loss(
    teacher: TeacherWorldModel,
    actor: Actor,
    student: Student,
    batch: StudentBatch,
    *,
    horizon: int,
    imagination_starts: int,
    imagination_noise: float,
    imagination_scale: float,
    embedding_scale: float,
    shared_noise: bool,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Eq. 3 over the batch plus Eq. 4 over rollouts imagined from it (Algorithm 1).

    Returns:
        The loss and every term for the log.
    """
    groups = (student.rssm.groups, student.rssm.classes)
    size, length = batch.state.shape[:2]
    noise = gumbel_like(batch.state.new_empty(size, length, *groups))
    with torch.no_grad():
        target_embedding = teacher.embed(batch.state)
        teacher_latents = teacher.rssm.observe(target_embedding, batch.previous_action, noise)
    features = student.features(batch.image.flatten(0, 1), batch.ee_position.flatten(0, 1))
    embedding = student.encoder.embedding(features).unflatten(0, (size, length))
    student_latents = student.rssm.observe(
        embedding, batch.previous_action, noise if shared_noise else None
    )
    eq3 = distillation_terms(teacher_latents, student_latents)
    assert eq3.posterior is not None
    loss = eq3.total
    metrics = {
        "eq3/deterministic": eq3.deterministic.detach(),
        "eq3/prior": eq3.prior.detach(),
        "eq3/posterior": eq3.posterior.detach(),
    }
    if imagination_scale > 0.0:
        chosen = random_instants(size, length, imagination_starts, noise.device)

        def start(sequence: Tensor) -> Tensor:
            return sequence.flatten(0, 1)[chosen]

        latent_noise = gumbel_like(noise.new_empty(len(chosen), horizon, *groups))
        imagined, actions = imagine_with_noise(
            teacher,
            actor,
            start(teacher_latents.deterministic),
            start(teacher_latents.stochastic),
            horizon=horizon,
            action_noise=imagination_noise,
            latent_noise=latent_noise,
        )
        replayed = student.rssm.replay(
            actions,
            start(student_latents.deterministic),
            start(student_latents.stochastic),
            latent_noise if shared_noise else None,
        )
        eq4 = distillation_terms(imagined, replayed)
        loss = loss + imagination_scale * eq4.total
        metrics["eq4/deterministic"] = eq4.deterministic.detach()
        metrics["eq4/prior"] = eq4.prior.detach()
    if embedding_scale > 0.0:
        warmup, more = encoder_loss(
            student,
            features,
            target_embedding.flatten(0, 1),
            teacher.scaling(batch.state).flatten(0, 1),
        )
        loss = loss + embedding_scale * warmup
        metrics |= more
    return loss, metrics


def encoder_loss(
    student: Student, features: Tensor, embedding: Tensor, state: Tensor
) -> tuple[Tensor, dict[str, Tensor]]:
    """The warm-up: regress the teacher's embedding and the scaled state, frame by frame.

    Not in the paper; see ``embedding_scale`` and ``warmup_steps``.

    Args:
        student: its heads are trained.
        features: encoder features, (N, F).
        embedding: the teacher's embedding of the true state, (N, E).
        state: scaled privileged state, (N, S).
    """
    embedding_loss = F.mse_loss(student.encoder.embedding(features).float(), embedding.float())
    error = (student.encoder.state(features).float() - state).square()
    state_loss = error.sum(-1).mean()
    return embedding_loss * embedding.shape[-1] / 10.0 + state_loss, {
        "encoder/embedding": embedding_loss.detach(),
        "encoder/state": state_loss.detach(),
    }
