"""What the policy decides on and what comes of it: a frame, the policy's output, a decision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from twist_policy.action_gate import GatedAction
from twist_policy_node.commands import Command, FloatArray
from twist_policy_node.gripper import GripperStep


class Output(Protocol):
    """One output of the policy; see `twist_policy.latent_policy.PolicyOutput`."""

    @property
    def action(self) -> FloatArray:
        """Raw action (A,)."""

    @property
    def surprise(self) -> float:
        """Nats."""

    @property
    def belief(self) -> FloatArray:
        """Decoded state (state_size,)."""


class Policy(Protocol):
    """What the loop needs of a policy; see `twist_policy.latent_policy.LatentPolicy`."""

    def reset(self) -> None:
        """Starts an episode."""

    def step(self, frame: NDArray[np.uint8], ee_position: ArrayLike) -> Output:
        """One filter step and one decision."""

    def commit(self, executed_delta: ArrayLike, gripper_state: float | None = None) -> None:
        """Tells what was commanded."""


@dataclass(frozen=True)
class Frame:
    """A decoded camera frame.

    Attributes:
        pixels: rgb, uint8 (H, W, 3).
        captured: when it was taken, seconds on the steady clock.
        received: when it arrived, seconds on the steady clock.
    """

    pixels: NDArray[np.uint8]
    captured: float
    received: float


@dataclass(frozen=True)
class Decision:
    """One step of the policy.

    Attributes:
        step: 0-based count since the start.
        frame: what it was decided on.
        started: when the policy step began, seconds.
        inference_time: seconds spent in the networks.
        output: what the policy put out.
        gated: what the action gate made of it, in the step's first control period.
        measured: tool tip at the decision, metres, base frame, (3,).
        speed_scale: share of the trained speed with which it is executed, after `speed` and
            surprise; 0 in a dry run.
        command: what Servo is told first.
        gripper: the gripper's part; None for a policy that leaves it alone.
    """

    step: int
    frame: Frame
    started: float
    inference_time: float
    output: Output
    gated: GatedAction
    measured: FloatArray
    speed_scale: float
    command: Command
    gripper: GripperStep | None
