"""Checkpoints without training, for tests and dry runs of the graph; never for a real arm.

The modules have the real interface and go through the real image path, but decide nothing: they
hold still, move along one direction, or fail on purpose.
"""

# No postponed annotations here: TorchScript reads the buffers' types from the classes.

from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from twist_policy import torchscript
from twist_policy.checkpoint import write_checkpoint
from twist_policy.contract import PolicyContract
from twist_policy.image_path import ImagePath

Behaviour = Literal["hold", "forward", "sway", "nan", "grip"]


class SyntheticStudent(nn.Module):
    """A latent state that remembers step count, image brightness, position and last action.

    h is (B, 8): steps since `initial`, mean colour (3), tool position (3), x of the last action.
    z is one categorical variable of 4 classes, (B, 4): the brightness quartile of the image.

    Args:
        contract: gives the image path and whether the position is observed.
    """

    zero: Tensor

    def __init__(self, contract: PolicyContract) -> None:
        super().__init__()
        self.image_path = ImagePath.from_contract(contract)
        self.observes_position = contract.observes_ee_position
        self.register_buffer("zero", torch.zeros(1))

    @torch.jit.export
    def initial(self, batch: int) -> tuple[Tensor, Tensor]:
        """State (h, z) before the first frame."""
        return self.zero.new_zeros(batch, 8), self.zero.new_zeros(batch, 4)

    def forward(
        self, frame: Tensor, ee_position: Tensor, previous_action: Tensor, h: Tensor, z: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One filter step: (h, z, surprise), surprise being the change of mean brightness."""
        colour = self.image_path(frame).mean(dim=(2, 3))
        position = ee_position if self.observes_position else torch.zeros_like(ee_position)
        change = (colour - h[:, 1:4]).abs().mean(dim=1)
        h = torch.cat([h[:, :1] + 1.0, colour, position, previous_action[:, :1]], dim=1)
        quartile = ((colour.mean(dim=1) + 0.5) * 4.0).clamp(0.0, 3.0).to(torch.int64)
        z = nn.functional.one_hot(quartile, 4).to(torch.float32)
        return h, z, change

    @torch.jit.export
    def imagine(self, action: Tensor, h: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        """One step without a frame: the last action changes, the step count does not."""
        return torch.cat([h[:, :7], action[:, :1]], dim=1), z


class SyntheticActor(nn.Module):
    """A constant action; optionally NaN from some step on, or with a gripper that comes and goes.

    Args:
        action: constant output, in [-1, 1].
        nan_after: first step count at which the output is NaN; negative for never.
        grip_every: so many steps the last number asks to open (-1), then as many to close (1),
            and so on; 0 leaves it constant.
        sways: whether the direction changes after the first step and then after every second.
    """

    action: Tensor

    def __init__(
        self,
        action: list[float],
        nan_after: int = -1,
        grip_every: int = 0,
        sways: bool = False,
    ) -> None:
        super().__init__()
        self.sways = sways
        self.nan_after = nan_after
        self.grip_every = grip_every
        self.register_buffer("action", torch.tensor(action, dtype=torch.float32))

    def forward(self, h: Tensor, z: Tensor) -> Tensor:
        """Action (B, A) at (h, z)."""
        action = self.action.expand(h.shape[0], -1)
        if self.sways:
            action = action * (1.0 - 2.0 * (torch.floor(h[:, :1] / 2.0) % 2.0))
        if self.nan_after >= 0:
            failed = (h[:, :1] >= float(self.nan_after)).expand(-1, action.shape[1])
            action = torch.where(failed, torch.full_like(action, float("nan")), action)
        if self.grip_every > 0:
            stretch = torch.floor(h[:, :1] / float(self.grip_every))
            action = torch.cat([action[:, :-1], 2.0 * (stretch % 2.0) - 1.0], dim=1)
        return action


class SyntheticDecoder(nn.Module):
    """Every field at its offset, moved by the last action's x so that imagination shows.

    Args:
        contract: gives the state's fields.
    """

    offset: Tensor

    def __init__(self, contract: PolicyContract) -> None:
        super().__init__()
        offset = [value for field in contract.state for value in field.offset]
        self.register_buffer("offset", torch.tensor(offset, dtype=torch.float32))
        self.bound = contract.action_bound

    def forward(self, h: Tensor, z: Tensor) -> Tensor:
        """State (B, state_size) at (h, z), SI units."""
        return self.offset.expand(h.shape[0], -1) + self.bound * h[:, 7:8]


def write_synthetic_checkpoint(
    folder: str | Path,
    contract: PolicyContract,
    *,
    behaviour: Behaviour = "hold",
    nan_after: int = 20,
    grip_every: int = 10,
) -> None:
    """Writes a complete, valid checkpoint of tiny modules.

    Args:
        folder: as in `write_checkpoint`.
        contract: any contract.
        behaviour: ``hold`` puts out zero actions; ``forward`` half of the bound along x;
            ``sway`` the same to and fro, so that the arm moves for ever and stays where it is;
            ``nan`` holds for `nan_after` - 1 steps of an episode and puts out NaN from then on.
            (A module that failed at once would not get past verification.) ``grip`` holds the
            arm and lets the gripper ask to close after `grip_every` steps, to open after as many
            again, and so on. The other behaviours leave a gripper open.
        nan_after: for ``nan``; more than the golden data's 8 steps.
        grip_every: for ``grip``; in steps.

    Raises:
        ValueError: unknown behaviour, or ``grip`` without a gripper.
        CheckpointError: as `write_checkpoint`.
    """
    choices = ("hold", "forward", "sway", "nan", "grip")
    if behaviour not in choices:
        raise ValueError(f"unknown behaviour {behaviour!r}; choose one of {', '.join(choices)}")
    if behaviour == "grip" and contract.gripper is None:
        raise ValueError(f"task {contract.task!r} has no gripper to grip with")
    action = [0.0] * contract.action_size
    if behaviour in ("forward", "sway"):
        action[0] = 0.5
    write_checkpoint(
        folder,
        contract=contract,
        student=torchscript.script(SyntheticStudent(contract)),
        actor=torchscript.script(
            SyntheticActor(
                action,
                nan_after if behaviour == "nan" else -1,
                grip_every if behaviour == "grip" else 0,
                behaviour == "sway",
            )
        ),
        decoder=torchscript.script(SyntheticDecoder(contract)),
        training={"synthetic": behaviour},
        measured={},
        model_card=(
            f"# Synthetic checkpoint ({behaviour})\n\n"
            "For tests and dry runs. It was not trained and solves nothing; do not put it on an "
            "arm.\n"
        ),
    )
