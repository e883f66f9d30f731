"""The gripper gate: turns the actor's gripper number into gripper commands.

A gripper is slower than the policy: a command takes about a second, ten policy steps, and cannot
be changed on the way. The same class runs in the training environment and in the robot node, so
that the policy learns with exactly the delays and refusals that it will meet. It counts steps,
not seconds, so that both agree exactly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from twist_policy.action_gate import GateError
from twist_policy.contract import ContractError, PolicyContract

Command = Literal["open", "close"]

OPEN = -1.0
CLOSED = 1.0
_THRESHOLD = 0.25


@dataclass(frozen=True)
class GripperDecision:
    """What the gate decided in one step.

    Attributes:
        command: what to send to the gripper now; None for nothing.
        state: what the gripper is commanded to be after this step: ``CLOSED`` (1.0) or ``OPEN``
            (-1.0). This is the last number of the "previous action" that the world model is fed.
    """

    command: Command | None
    state: float


def asked_state(action: float, state: float) -> float:
    """What an actor output asks the gripper to be, with hysteresis around zero.

    Args:
        action: the actor's gripper number, in [-1, 1].
        state: what the gripper is commanded to be now, ``OPEN`` or ``CLOSED``.

    Returns:
        ``CLOSED`` above +0.25, ``OPEN`` below -0.25, `state` between.
    """
    if action > _THRESHOLD:
        return CLOSED
    return OPEN if action < -_THRESHOLD else state


class GripperGate:
    """Issues a command when the actor asks for a change and the last command is over.

    Args:
        command_steps: policy steps that a command takes; at least 1.
    """

    def __init__(self, command_steps: int) -> None:
        if command_steps < 1:
            raise ValueError(f"command_steps must be at least 1, found {command_steps}")
        self.command_steps = command_steps
        self.reset()

    @classmethod
    def from_contract(cls, contract: PolicyContract) -> GripperGate:
        """The gate that a checkpoint's contract asks for.

        Raises:
            ContractError: the contract has no gripper.
        """
        if contract.gripper is None:
            raise ContractError(f"task {contract.task!r} has no gripper, so no gripper gate either")
        # Without the rounding, 1.1 s / 0.1 s would be 12 steps.
        steps = round(contract.gripper.command_time / contract.control_period, 6)
        return cls(max(1, math.ceil(steps)))

    @property
    def state(self) -> float:
        """What the gripper is commanded to be: ``OPEN`` or ``CLOSED``."""
        return self._state

    @property
    def busy(self) -> bool:
        """Whether a command is under way, so that the next step cannot issue another."""
        return self._since < self.command_steps - 1

    def reset(self, *, closed: bool = False) -> None:
        """Starts an episode: the gripper is open (or closed) and no command is under way."""
        self._state = CLOSED if closed else OPEN
        self._since = self.command_steps

    def step(self, action: float) -> GripperDecision:
        """Decides on one actor output.

        Args:
            action: the actor's gripper number. Numbers beyond [-1, 1] are taken, as the action
                gate takes them.

        Raises:
            GateError: not a finite number. Nothing has changed then.
        """
        action = float(action)
        if not math.isfinite(action):
            raise GateError(f"the gripper action must be finite, found {action}")
        self._since = min(self._since + 1, self.command_steps)
        asked = asked_state(action, self._state)
        if asked == self._state or self._since < self.command_steps:
            return GripperDecision(None, self._state)
        self._state, self._since = asked, 0
        return GripperDecision("close" if asked == CLOSED else "open", asked)
