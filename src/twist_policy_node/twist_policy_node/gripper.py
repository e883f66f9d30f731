"""What the gripper is told, and how it stands. No ROS, no clock of its own.

The gripper is open before the first step. From then on `twist_policy.gripper_gate` decides about
commands as in training, one at a time. A grasp that closes on nothing is reported and goes on
being the policy's business; a gripper that is gone, refuses, fails to open or takes too long is a
fault.

A stop of the arm leaves a command that is under way alone: it ends by itself within about a
second, with the fingers where they were commanded, force-limited by the gripper. A cancelled
grasp would drop a cube that is half lifted, and a cancelled opening would leave the fingers
anywhere. What is held stays held until the next activation, which opens the gripper.
"""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Callable
from dataclasses import dataclass

from twist_policy.contract import PolicyContract
from twist_policy.gripper_gate import OPEN, Command, GripperGate
from twist_policy_node.arming import CallState
from twist_policy_node.watchdogs import Fault

OPEN_TOLERANCE = 0.005
"""How much narrower than its open width an open gripper may be measured, metres."""

_CURE = "check the gripper and its driver (home it after a fault), then activate again"


class GripperResult(enum.Enum):
    """How the last command stands."""

    NONE = ""
    RUNNING = "running"
    SUCCESS = "success"
    FAILED = "failed"


_MOST_OPENINGS = 5
"""Openings in a row that fail before the gripper counts as broken; each takes half a second."""


@dataclass(frozen=True)
class GripperLimits:
    """When a gripper counts as broken. Seconds.

    Attributes:
        answer: longest time until a command is accepted.
        command: longest time until a command is over.
        silence: longest time without the fingers' positions.
    """

    answer: float = 0.5
    command: float = 3.0
    silence: float = 0.5


@dataclass(frozen=True)
class Fingers:
    """The fingers as measured.

    Attributes:
        width: distance between them, metres.
        received: when that was heard, steady seconds.
    """

    width: float
    received: float


class Goal:
    """One command on its way; whoever sends it tells it what the gripper says.

    Args:
        command: ``open`` or ``close``.
        sent: steady seconds.
        speed: share of the contract's speed of the fingers.
    """

    def __init__(self, command: Command, sent: float, speed: float = 1.0) -> None:
        self.command = command
        self.sent = sent
        self.speed = speed
        self.accepted = False
        self.over = False
        self.success = False
        self.error = ""
        """What is wrong with the gripper, in its words; a grasp of nothing is no error."""

    def refuse(self, reason: str) -> None:
        """The gripper does not take the command, or broke off."""
        self.over, self.error = True, reason

    def end(self, success: bool, error: str) -> None:
        """The command is over.

        Args:
            success: as in the result of Franka's actions.
            error: as in the result of Franka's actions: an exception of the driver.
        """
        self.over, self.success, self.error = True, success, "" if success else error

    @property
    def opened_in_vain(self) -> bool:
        """Whether this was to open the gripper and did not."""
        return self.over and self.command == "open" and not self.success and not self.error

    @property
    def result(self) -> GripperResult:
        """How it stands."""
        if not self.over:
            return GripperResult.RUNNING
        return GripperResult.SUCCESS if self.success else GripperResult.FAILED

    def check(self, now: float, limits: GripperLimits) -> Fault | None:
        """What is wrong with it at `now`, if anything."""
        name = "opening the gripper" if self.command == "open" else "grasping"
        age = now - self.sent
        if self.over:
            if self.error:
                return Fault("gripper_refused", f"{name} failed: {self.error}", _CURE)
        elif age > limits.command:
            return Fault(
                "gripper_late",
                f"{name} is not over after {age:.1f} s ({limits.command:g} s)",
                _CURE,
            )
        elif not self.accepted and age > limits.answer:
            return Fault(
                "gripper_lost", f"no answer to {name} for {age:.2f} s ({limits.answer} s)", _CURE
            )
        return None


@dataclass(frozen=True)
class GripperStep:
    """The gripper's part of a policy step.

    Attributes:
        action: the actor's gripper number.
        state: commanded state after this step, 1.0 closed, -1.0 open.
        goal: what is to be sent now; None for nothing.
        result: how the last command stands.
        width: measured distance between the fingers, metres; NaN when unknown.
    """

    action: float
    state: float
    goal: Goal | None
    result: GripperResult
    width: float


class GripperControl:
    """The gripper during one activation: open first, then what the policy asks for.

    Fingers that are pressed onto something do not open until the arm has lifted them: an opening
    that failed is sent again, a few times in a row, unless the policy asks for something else.

    Args:
        contract: has a gripper.
        limits: when it counts as broken.
        fingers: gives the last measurement; None before the first.
        dry_run: decide nothing and expect nothing: the gripper counts as open.
        step_periods: control periods that a step of the policy takes. The fingers are so much
            slower, too: a policy that has learned to come down while they close comes down as far.

    Raises:
        ContractError: the contract has no gripper.
    """

    def __init__(
        self,
        contract: PolicyContract,
        limits: GripperLimits,
        fingers: Callable[[], Fingers | None],
        *,
        dry_run: bool = False,
        step_periods: int = 1,
    ) -> None:
        self._gate = GripperGate.from_contract(contract)
        assert contract.gripper is not None
        self._speed = 1.0 / step_periods
        self._opening_limits = limits
        longer = (step_periods - 1) * contract.gripper.command_time
        self._limits = dataclasses.replace(limits, command=limits.command + longer)
        self._fingers = fingers
        self._dry_run = dry_run
        self._goal: Goal | None = None
        self._in_vain = 0
        self._open_width = contract.gripper.open_width

    def reset(self) -> None:
        """Starts an episode with an open gripper."""
        self._gate.reset()
        self._goal = None
        self._in_vain = 0

    def step(self, action: float, now: float) -> GripperStep:
        """Decides on one actor output.

        A gripper that is slower than in training keeps the policy waiting: what it asks for
        meanwhile counts as asking for nothing, and the world model is told so.

        Args:
            action: the actor's gripper number.
            now: steady seconds.

        Raises:
            GateError: not a finite number.
        """
        goal: Goal | None = None
        state = OPEN
        if not self._dry_run:
            busy = self._goal is not None and not self._goal.over
            decision = self._gate.step(0.0 * action if busy else action)
            state = decision.state
            if decision.command is not None:
                self._in_vain = 0
                goal = self._goal = Goal(decision.command, now, self._speed)
            elif self._goal is not None and self._goal.opened_in_vain:
                self._in_vain += 1
                goal = self._goal = Goal("open", now, self._speed)
        return GripperStep(action, state, goal, self.result, self.width)

    @property
    def result(self) -> GripperResult:
        """How the last command stands."""
        return GripperResult.NONE if self._goal is None else self._goal.result

    @property
    def width(self) -> float:
        """Measured distance between the fingers, metres; NaN when unknown."""
        fingers = self._fingers()
        return math.nan if fingers is None else fingers.width

    def check(self, now: float) -> Fault | None:
        """What is wrong with the gripper at `now`, if anything."""
        if self._dry_run:
            return None
        if self._goal is not None:
            fault = self._goal.check(now, self._limits)
            if fault is not None:
                return fault
            if self._goal.opened_in_vain and self._in_vain >= _MOST_OPENINGS - 1:
                return Fault(
                    "gripper_failed", f"the gripper did not open {_MOST_OPENINGS} times", _CURE
                )
        fingers = self._fingers()
        silence = math.inf if fingers is None else now - fingers.received
        if silence > self._limits.silence:
            return Fault(
                "gripper_lost",
                f"no positions of the fingers for {silence:.2f} s (limit {self._limits.silence} s)",
                _CURE,
            )
        return None

    def opening(self, send: Callable[[Goal], None], now: float) -> Opening:
        """Begins to open the gripper, before the first step, at the contract's speed."""
        return Opening(self._open_width, self._opening_limits, self._fingers, send, now)


class Opening:
    """Opening the gripper, polled like a service call.

    Done when the gripper says so and its fingers are measured at the open width. Middleware may
    lose an answer while both sides are still getting to know each other, so an unanswered command
    is sent again: opening twice does no harm.

    Args:
        width: open width, metres.
        limits: how long it may take.
        fingers: gives the last measurement.
        send: sends a command.
        now: steady seconds.
    """

    name = "opening the gripper"

    def __init__(
        self,
        width: float,
        limits: GripperLimits,
        fingers: Callable[[], Fingers | None],
        send: Callable[[Goal], None],
        now: float,
    ) -> None:
        self.message = ""
        self._width = width
        self._limits = limits
        self._fingers = fingers
        self._send = send
        self._deadline = now + limits.command
        self._goals: list[Goal] = []
        self._send_again(now)

    def _send_again(self, now: float) -> None:
        self._goals.append(Goal("open", now))
        self._send(self._goals[-1])

    def poll(self, now: float) -> CallState:
        """How it stands; `message` says why it failed."""
        answered = next((goal for goal in self._goals if goal.accepted or goal.over), None)
        if answered is not None and answered.over and not answered.success:
            return self._fail(f"the gripper did not open: {answered.error or 'no success'}")
        fingers = self._fingers()
        width = math.nan if fingers is None else fingers.width
        opened = answered is not None and answered.over
        if opened and width >= self._width - OPEN_TOLERANCE:
            return CallState.DONE
        if now > self._deadline:
            limit = self._limits.command
            if opened:
                return self._fail(
                    f"the gripper says that it is open, but its fingers are {width:.3f} m apart "
                    f"({self._width:.3f} m expected); something blocks them, or it needs homing"
                )
            said = "did not answer" if answered is None else "was not open"
            return self._fail(f"the gripper {said} within {limit} s; is its driver running?")
        if answered is None and now - self._goals[-1].sent > self._limits.answer:
            self._send_again(now)
        return CallState.PENDING

    def _fail(self, message: str) -> CallState:
        self.message = message
        return CallState.FAILED
