"""The three modules of a checkpoint, as TorchScript: student, actor, decoder.

Deterministic: latents are modes, the actor's action is its mode.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from twist_policy import torchscript
from twist_policy.contract import PolicyContract
from twist_policy.image_path import ImagePath
from twist_training.algorithms.distillation import Student
from twist_training.algorithms.world_model import TeacherWorldModel
from twist_training.modules.networks import Actor


class DeployedStudent(nn.Module):
    """Camera frame -> latent state, one filtering step.

    Args:
        student: trained student.
        contract: image path and inputs.
    """

    if TYPE_CHECKING:  # TorchScript cannot read postponed annotations of attributes
        ee_offset: Tensor
        ee_scale: Tensor

    def __init__(self, student: Student, contract: PolicyContract) -> None:
        super().__init__()
        self.image_path = ImagePath.from_contract(contract)
        self.encoder = student.encoder
        self.rssm = student.rssm
        self.deterministic = student.rssm.config.deterministic
        self.stochastic = student.rssm.config.stochastic
        ee_slice = contract.state_slice("ee_position")
        self.register_buffer("ee_offset", student.scaling.offset[ee_slice].clone())
        self.register_buffer("ee_scale", student.scaling.scale[ee_slice].clone())

    @torch.jit.export
    def initial(self, batch: int) -> tuple[Tensor, Tensor]:
        """Zero state: h (batch, D), z (batch, S * C)."""
        return torch.zeros(batch, self.deterministic), torch.zeros(batch, self.stochastic)

    def forward(
        self, frame: Tensor, ee_position: Tensor, previous_action: Tensor, h: Tensor, z: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One step of the filter.

        Args:
            frame: camera frame, uint8 rgb, (B, height, width, 3).
            ee_position: measured tool tip, metres, (B, 3).
            previous_action: executed delta / action bound, (B, A).
            h: deterministic state, (B, D).
            z: stochastic state, (B, S * C).

        Returns:
            h, z, and the surprise KL[posterior || prior] in nats, (B,).
        """
        image = self.image_path(frame)
        features = self.encoder.features(image, (ee_position - self.ee_offset) * self.ee_scale)
        embedding = self.encoder.embedding(features)
        h = self.rssm.transition(previous_action, h, z)
        prior = self.rssm.prior(h).log_softmax(-1)
        posterior = self.rssm.posterior(h, embedding).log_softmax(-1)
        surprise = (posterior.exp() * (posterior - prior)).sum((-2, -1))
        return h, _mode(posterior), surprise

    @torch.jit.export
    def imagine(self, action: Tensor, h: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """One prior step: (h, z) after `action` (B, A), without a frame."""
        h = self.rssm.transition(action, h, z)
        return h, _mode(self.rssm.prior(h))


class DeployedActor(nn.Module):
    """Latent state -> most likely action in [-1, 1]."""

    def __init__(self, actor: Actor) -> None:
        super().__init__()
        self.network = actor.network

    def forward(self, h: Tensor, z: Tensor) -> Tensor:
        """Action (B, A) at h (B, D), z (B, S * C)."""
        mean, _ = self.network(torch.cat([h, z], -1)).chunk(2, -1)
        return torch.tanh(mean)


class DeployedDecoder(nn.Module):
    """Latent state -> belief about the privileged state, SI units."""

    if TYPE_CHECKING:
        offset: Tensor
        scale: Tensor

    def __init__(self, world_model: TeacherWorldModel) -> None:
        super().__init__()
        self.decoder = world_model.decoder
        self.register_buffer("offset", world_model.scaling.offset.clone())
        self.register_buffer("scale", world_model.scaling.scale.clone())

    def forward(self, h: Tensor, z: Tensor) -> Tensor:
        """State (B, S) at h (B, D), z (B, S * C)."""
        scaled: Tensor = self.decoder(torch.cat([h, z], -1))
        return scaled / self.scale + self.offset


def _mode(logits: Tensor) -> Tensor:
    one_hot = F.one_hot(logits.argmax(-1), logits.shape[-1])
    return one_hot.to(logits.dtype).flatten(-2)


def script_modules(
    student: Student, actor: Actor, world_model: TeacherWorldModel, contract: PolicyContract
) -> tuple[torch.jit.ScriptModule, torch.jit.ScriptModule, torch.jit.ScriptModule]:
    """Student, actor and decoder as TorchScript on the CPU, in evaluation mode."""
    modules = (
        DeployedStudent(student, contract),
        DeployedActor(actor),
        DeployedDecoder(world_model),
    )
    scripted = []
    for module in modules:
        module = copy.deepcopy(module).cpu().eval()
        module.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        scripted.append(torchscript.script(module.requires_grad_(False)))
    return scripted[0], scripted[1], scripted[2]
