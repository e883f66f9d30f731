"""From frames and poses to commands, or to a latched stop. No ROS, no clock of its own.

Everything that happens (a frame, a pose, a status, time passing) is told to `ControlLoop`, and
`ControlLoop.command` says what Servo is to be told at a moment. Times are seconds on one steady
clock.
"""

from __future__ import annotations

import dataclasses
import enum
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from twist_policy.action_gate import ActionGate, GatedAction, GateError, step_periods
from twist_policy.contract import PolicyContract
from twist_policy_node.commands import (
    Command,
    CommandShaper,
    FloatArray,
    ToolPose,
    shortened,
)
from twist_policy_node.decision import Decision, Frame, Policy
from twist_policy_node.gripper import GripperControl, GripperStep
from twist_policy_node.pacing import DecisionPacer
from twist_policy_node.robot_watchdog import RobotReading, RobotWatchdog
from twist_policy_node.servo_watchdog import ServoWatchdog
from twist_policy_node.watchdogs import (
    BlankImageWatchdog,
    Fault,
    FrameTimingWatchdog,
    FrozenImageWatchdog,
    InferenceWatchdog,
    PoseWatchdog,
    SurpriseWatchdog,
    WatchdogLimits,
    pose_invalid,
)

_LATE_WATCH = 0.06
"""A longer gap between two watches means that this process was busy or held up itself, seconds."""
_GIVES_WAY = 1e-4
"""A target that is taken back by less is no new command, metres."""
_PAST_POSES = 512
"""Poses that are kept to go with older frames: half a second at 1 kHz."""


class Phase(enum.Enum):
    """Where the loop stands."""

    IDLE = "idle"
    RUNNING = "running"
    HOLDING = "holding"
    STOPPED = "stopped"


@dataclass
class _Step:
    """A step that is spread over several control periods.

    Attributes:
        action: what goes through the gate in each, (3,).
        gripper_state: as it was committed with the first.
        periods_left: how many are still to come.
        moved: what was commanded so far, metres, (3,).
    """

    action: FloatArray
    gripper_state: float | None
    periods_left: int
    moved: FloatArray


class ControlLoop:
    """The state machine between sensors and Servo.

    ``IDLE`` → `start` → ``RUNNING`` → a fault or `finish` → ``HOLDING`` (standing still is
    commanded) → ``STOPPED`` (nothing is commanded) → `start` again. A fault stays in `fault` until
    the next start. Only ``RUNNING`` commands motions, and each only until its expiry: when
    decisions stop coming, commands stop by themselves.

    Below full speed a step is as long as in training, and takes several control periods: each of
    them moves its share of what was decided in the first, on a fresh frame and under every watch.

    Args:
        contract: bounds and control period.
        policy: decides.
        shaper: makes commands of targets.
        limits: when to stop.
        clock: steady seconds; measures the inference.
        validity: control periods that a command counts after its decision.
        hold_time: seconds in ``HOLDING``.
        speed: share of the trained speed, in (0, 1]; see `twist_policy.action_gate.step_periods`.
        dry_run: decide, but command nothing. Each decision then starts from the measured position,
            and the policy is told that nothing was executed; Servo is not watched.
        gripper: decides about the gripper; needed if, and only if, the contract has one.
        robot_state_required: whether the arm's own state has to come; else it is watched from the
            first one on. In a dry run nobody watches it: an arm may be guided by hand then.

    Raises:
        ValueError: `speed` is out of range, or `gripper` does not fit the contract.
    """

    def __init__(
        self,
        contract: PolicyContract,
        policy: Policy,
        shaper: CommandShaper,
        limits: WatchdogLimits,
        *,
        clock: Callable[[], float],
        validity: float = 1.5,
        hold_time: float = 0.1,
        speed: float = 1.0,
        dry_run: bool = False,
        gripper: GripperControl | None = None,
        robot_state_required: bool = False,
    ) -> None:
        if (gripper is None) != (contract.gripper is None):
            raise ValueError("a gripper control is needed where the contract has a gripper")
        self._policy = policy
        self._shaper = shaper
        self._limits = limits
        self._clock = clock
        self._period = contract.control_period
        self._step_bound = contract.action_bound
        self._validity = validity * contract.control_period
        self._hold_time = hold_time
        self._step_periods = step_periods(speed)
        self._dry_run = dry_run
        self._gripper = gripper
        self._gate = ActionGate.from_contract(contract, self._step_periods, limits.contact_yield)
        self._pacer = DecisionPacer(contract.control_period)
        self._frame_timing = FrameTimingWatchdog(limits)
        self._frozen = FrozenImageWatchdog(limits)
        self._blank = BlankImageWatchdog(limits)
        self._poses = PoseWatchdog(limits)
        self._inference = InferenceWatchdog(limits)
        self._surprise = SurpriseWatchdog(limits)
        self._servo = ServoWatchdog(limits)
        self.robot = RobotWatchdog(limits, required=robot_state_required)
        """Watches the arm's own state."""
        self._past_poses: deque[ToolPose] = deque(maxlen=_PAST_POSES)
        self._clear()

    def _clear(self) -> None:
        self.phase = Phase.IDLE
        self.fault: Fault | None = None
        self.steps = 0
        self._pose: ToolPose | None = None
        self._past_poses.clear()
        self._command: Command | None = None
        self._under_way: _Step | None = None
        self._gave_way = False
        self._issued = 0.0
        self._hold_until = 0.0
        self._last_watch: float | None = None
        self._watch_put_off = False

    @property
    def next_due(self) -> float | None:
        """When the next control period falls due, seconds; None before the first."""
        return self._pacer.next_due

    @property
    def issued(self) -> float:
        """When the command that counts now was issued, seconds; 0 before the first."""
        return self._issued

    def start(
        self,
        frame: Frame,
        pose: ToolPose,
        now: float,
        robot: RobotReading | None = None,
        servo_heard: float | None = None,
    ) -> Fault | None:
        """Starts an episode at the measured pose; stays idle and returns a fault if it cannot.

        Args:
            frame: a fresh frame; the first decision is made on the one after it.
            pose: a fresh pose.
            now: seconds.
            robot: the arm's newest state, if there is one.
            servo_heard: when Servo's last status arrived, seconds; `now` when None.
        """
        self._clear()
        tilt = self._shaper.tool.tilt(pose.orientation)
        fault = self._poses.check_start(pose, tilt)
        if fault is None:
            try:
                self._gate.reset(pose.tool_tip)
                self._policy.reset()
            except GateError as error:
                fault = Fault("start_pose", str(error), "then activate again")
            except Exception as error:
                fault = policy_fault(error)
        if fault is not None:
            self.phase, self.fault = Phase.STOPPED, fault
            return fault
        self._pose = pose
        self._past_poses.append(pose)
        self._shaper.start(pose)
        self._pacer.reset()
        self._frame_timing.reset(frame.captured, frame.received)
        self._frozen.reset()
        self._blank.reset()
        self._poses.reset(pose)
        self._inference.reset()
        self._surprise.reset()
        self._servo.reset(now if servo_heard is None else servo_heard)
        self.robot.reset(robot, now)
        if self._gripper is not None:
            self._gripper.reset()
        self.phase = Phase.RUNNING
        return None

    def frame(self, frame: Frame) -> Decision | None:
        """A frame arrived; decides on it, or goes on with the last step, when that is due."""
        if self.phase is not Phase.RUNNING:
            return None
        now = frame.received
        fault = (
            self._frame_timing.frame(frame.captured, now)
            or self._frozen.frame(frame.pixels, now)
            or self._blank.frame(frame.pixels)
        )
        if fault is not None:
            self.stop(fault, now)
            return None
        if not self._pacer.frame_arrived(now) or self._blank.last_was_blank:
            return None
        fault = self._poses.check(now)
        if fault is not None or self._pose is None:
            self.stop(fault or pose_invalid("there is no end-effector pose"), now)
            return None
        self._pacer.decided(now)
        if self._under_way is not None and self._under_way.periods_left > 0:
            self._go_on(self._under_way, self._pose)
            return None
        return self._decide(frame, self._pose)

    def _decide(self, frame: Frame, pose: ToolPose) -> Decision | None:
        started = self._clock()
        try:
            output = self._policy.step(frame.pixels, self._tool_tip_at(frame.captured))
            inference_time = self._clock() - started
            fault = self._inference.step(inference_time) or self._surprise.step(output.surprise)
            if fault is not None:
                self.stop(fault, self._clock())
                return None
            if inference_time > self._validity or not self._fresh(self._clock()):
                return None  # counted as an overrun; what it would command is outdated
            scale = self._surprise.speed_scale
            if self._dry_run:
                self._gate.reset(pose.tool_tip)
                self._shaper.start(pose)
            action = np.asarray(output.action)[:3] * scale
            gated = self._gate.step(action, pose.tool_tip)
            if self._gave_way and "contact" not in gated.limited_by:
                gated = dataclasses.replace(gated, limited_by=(*gated.limited_by, "contact"))
            self._gave_way = False
            grip: GripperStep | None = None
            if self._gripper is not None:
                grip = self._gripper.step(float(output.action[3]), self._clock())
            step = _Step(
                action,
                None if grip is None else grip.state,
                self._step_periods - 1,
                np.zeros(3) if self._dry_run else gated.delta,
            )
            self._policy.commit(step.moved, step.gripper_state)
            command = self._move(gated, pose, started)
        except Exception as error:  # whatever a network can throw must stop the arm
            self.stop(_step_fault(error), self._clock())
            return None
        self._under_way = step
        decision = Decision(
            step=self.steps,
            frame=frame,
            started=started,
            inference_time=inference_time,
            output=output,
            gated=gated,
            measured=pose.tool_tip,
            speed_scale=0.0 if self._dry_run else scale / self._step_periods,
            command=command,
            gripper=grip,
        )
        self.steps += 1
        return decision

    def _go_on(self, step: _Step, pose: ToolPose) -> None:
        started = self._clock()
        step.periods_left -= 1
        if self._dry_run:
            return
        try:
            gated = self._gate.step(step.action, pose.tool_tip)
            self._commit(step, gated)
            self._move(gated, pose, started)
        except Exception as error:
            self.stop(_step_fault(error), started)

    def _move(self, gated: GatedAction, pose: ToolPose, started: float) -> Command:
        """Issues the command of one control period, which began at `started`."""
        # The period that is just over: its twist may have been followed by zero a moment ago.
        previous = self._command if started - self._issued < self._validity else None
        command = self._shaper.move(gated.target, gated.delta, pose, previous)
        self._command, self._issued = command, self._clock()
        return command

    def pose(self, pose: ToolPose) -> None:
        """An end-effector pose arrived."""
        if self.phase is not Phase.RUNNING:
            return
        fault = self._poses.pose(pose, self._shaper.tool.tilt(pose.orientation))
        if fault is not None:
            self.stop(fault, pose.received)
            return
        self._pose = pose
        self._past_poses.append(pose)
        target = self._gate.target
        if target is None or self._command is None or self._dry_run:
            return
        # The gate looks once per control period, which is long for somebody who pushes the arm.
        away = math.dist(target.tolist(), pose.tool_tip.tolist())
        if away > self._gate.leash + self._gate.bound:
            self.stop(
                Fault(
                    "gate",
                    f"the tool is {away:.3f} m away from its target (leash {self._gate.leash} m): "
                    "the arm did not follow or was moved",
                    "check the arm, move it home, then activate again",
                ),
                pose.received,
            )

    def _tool_tip_at(self, captured: float) -> FloatArray:
        """Where the tool tip was when a frame was taken, metres, (3,).

        The student was trained on images and positions of the same instant; at 0.2 m/s the newest
        position is some millimetres away from what an image that is 30 ms old shows.
        """
        nearest = min(self._past_poses, key=lambda pose: abs(pose.captured - captured))
        return nearest.tool_tip

    def servo_status(self, code: int, message: str, now: float) -> None:
        """A status of Servo arrived."""
        if self.phase is Phase.RUNNING:
            fault = self._servo.status(code, message, now)
            if fault is not None:
                self.stop(fault, now)

    def robot_state(self, reading: RobotReading) -> Command | None:
        """A state of the arm arrived.

        Returns:
            What Servo is to be told at once, because the tool gives way to what it touches; None
            where the command stays as it is.
        """
        if self.phase is not Phase.RUNNING or self._dry_run:
            return None
        fault = self.robot.state(reading)
        if fault is not None:
            self.stop(fault, reading.received)
            return None
        try:
            return self._give_way(reading)
        except Exception as error:
            self.stop(_step_fault(error), reading.received)
            return None

    def _give_way(self, reading: RobotReading) -> Command | None:
        """Changes the command that counts now, if it presses on; a control period is long."""
        step, pose, command, now = self._under_way, self._pose, self._command, reading.received
        if pose is None or not self._gate.feel(reading.force, pose.tool_tip):
            return None
        if step is None or command is None or self.command(now) is None:
            return None
        gated = self._gate.step(np.zeros(3), pose.tool_tip)
        if float(np.linalg.norm(gated.delta)) < _GIVES_WAY:
            return None
        self._gave_way = True
        self._commit(step, gated)
        self._command = self._shaper.give_way(command, gated.delta, gated.target, pose)
        return self.command(now)  # its control period may be over

    def _commit(self, step: _Step, gated: GatedAction) -> None:
        """Tells the world model that the step under way has moved by so much more.

        A tool that gives way to somebody's hand may come further than a step: that is more than a
        world model knows.
        """
        step.moved = shortened(step.moved + gated.delta, self._step_bound)
        self._policy.commit(step.moved, step.gripper_state)

    @property
    def slowed_by(self) -> str:
        """Why Servo slows the arm now; empty while it does not."""
        return self._servo.slowed_by if self.phase is Phase.RUNNING else ""

    def watch(self, now: float) -> None:
        """Time passed; to be called at the command rate."""
        if self.phase is Phase.HOLDING and now >= self._hold_until:
            self.phase = Phase.STOPPED
        if self.phase is not Phase.RUNNING:
            return
        late = self._last_watch is not None and now - self._last_watch > _LATE_WATCH
        self._last_watch = now
        self._watch_put_off = late and not self._watch_put_off
        if self._watch_put_off:
            # This process was held up: messages wait to be read that may show that all is well.
            # The next watch judges, however late it is.
            return
        fault = self._silence(now)
        if fault is None and self._gripper is not None:
            fault = self._gripper.check(now)
        if fault is not None:
            self.stop(fault, now)

    def _silence(self, now: float) -> Fault | None:
        """Whoever has not been heard of for too long."""
        fault = self._frame_timing.check(now) or self._poses.check(now)
        if fault is not None or self._dry_run:
            return fault
        return self._servo.check(now) or self.robot.check(now)

    def _fresh(self, now: float) -> bool:
        """Whether a motion may be commanded on what was last seen of camera, robot and Servo."""
        return self._silence(now) is None

    def stop(self, fault: Fault, now: float) -> None:
        """Latches a fault and stops; the first fault stays."""
        if self.phase is Phase.RUNNING:
            self.fault = fault
            self._hold(now, trust_pose=not fault.code.startswith("pose_"))

    def finish(self, now: float) -> None:
        """Stops without a fault."""
        if self.phase is Phase.RUNNING:
            self._hold(now, trust_pose=True)
        elif self.phase is Phase.IDLE:
            self.phase = Phase.STOPPED

    def _hold(self, now: float, *, trust_pose: bool) -> None:
        pose = self._pose if trust_pose and self._poses.check(now) is None else None
        self._command = self._shaper.hold(pose)
        self._hold_until = now + self._hold_time
        self.phase = Phase.HOLDING

    def command(self, now: float) -> Command | None:
        """What Servo is to be told at `now`; None for nothing."""
        if self._dry_run:
            return None
        if self.phase is Phase.HOLDING:
            return self._command if now < self._hold_until else None
        if self.phase is not Phase.RUNNING or self._command is None or not self._fresh(now):
            # `watch` may put off judging who is silent; the arm does not move on it meanwhile.
            return None
        age = now - self._issued
        if age < self._period:
            return self._command
        return self._shaper.after_step(self._command) if age < self._validity else None


def _step_fault(error: Exception) -> Fault:
    if isinstance(error, GateError):
        return Fault("gate", str(error), "then activate again")
    return policy_fault(error)


def policy_fault(error: Exception) -> Fault:
    """The fault for a policy that raised `error`."""
    return Fault(
        "policy_invalid",
        f"{type(error).__name__}: {error}",
        "if it happens again on good camera frames, use another checkpoint",
    )
