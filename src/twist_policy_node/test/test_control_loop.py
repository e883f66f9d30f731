"""The control loop in simulated time: exact bounds, without ROS."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest

from twist_policy.contract import PolicyContract
from twist_policy_node.commands import (
    Command,
    CommandMode,
    CommandShaper,
    PoseCommand,
    ToolPose,
    TwistCommand,
)
from twist_policy_node.control_loop import ControlLoop, Phase
from twist_policy_node.decision import Decision, Frame
from twist_policy_node.gripper import Fingers, Goal, GripperControl, GripperLimits
from twist_policy_node.robot_watchdog import MOVE, RobotReading
from twist_policy_node.watchdogs import Fault, WatchdogLimits

DOWN = np.array([0.0, 1.0, 0.0, 0.0])
TOOL = np.array([0.0, 0.0, 0.2])
"""From the tool tip up to the IK tip, metres."""
TICK = 0.001
_STIFFNESS = 12_000.0
"""Of a position-controlled arm, N/m."""
STOP_WITHIN = 0.2
"""Seconds from the first sign of trouble to the last motion command."""


@dataclass(frozen=True)
class Output:
    action: np.ndarray
    surprise: float = 1.0
    belief: np.ndarray = field(default_factory=lambda: np.zeros(9))


class FakePolicy:
    """Moves along x; every attribute may be changed while it runs."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.action = np.array([0.5, 0.0, 0.0])
        self.surprise = 1.0
        self.duration = 0.01
        self.error: Exception | None = None
        self.committed: list[np.ndarray] = []
        self.executed: list[np.ndarray] = []
        self.gripper_states: list[float | None] = []
        self.seen: list[np.ndarray] = []

    def reset(self) -> None:
        self.committed = []
        self.executed = []

    def step(self, frame: np.ndarray, ee_position: object) -> Output:
        self.world.now += self.duration
        self.seen.append(np.asarray(ee_position))
        self.executed.append(np.zeros(3))
        if self.error is not None:
            raise self.error
        return Output(self.action, self.surprise)

    def commit(self, executed_delta: object, gripper_state: float | None = None) -> None:
        self.committed.append(np.asarray(executed_delta))
        self.executed[-1] = np.asarray(executed_delta)
        self.gripper_states.append(gripper_state)


class World:
    """Camera at 30 Hz, poses and Servo at 100 Hz, watch at 50 Hz; the arm follows its commands.

    Where there is a `wall`, the arm goes no further along x, presses on it with its stiffness, and
    tells the force at 100 Hz, with either sign.
    """

    def __init__(
        self,
        contract: PolicyContract,
        mode: CommandMode = CommandMode.POSE,
        *,
        speed: float = 1.0,
        dry_run: bool = False,
        **limits: object,
    ) -> None:
        self.now = 100.0
        self.contract = contract
        self.policy = FakePolicy(self)
        shaper = CommandShaper(contract, mode)
        shaper.limit_speed(speed)
        self.loop = ControlLoop(
            contract,
            self.policy,
            shaper,
            dataclasses.replace(WatchdogLimits(), **limits),  # type: ignore[arg-type]
            clock=lambda: self.now,
            speed=speed,
            dry_run=dry_run,
            gripper=None if contract.gripper is None else self.gripper(contract, dry_run),
        )
        self.wall: float | None = None
        self.force_sign = 1.0
        self.forces: list[float] = []
        self.rng = np.random.default_rng(0)
        self.led = np.array(contract.home)
        self.pixels: Callable[[], np.ndarray] = self.noise
        self.camera_on = self.robot_on = self.servo_on = True
        self.camera_delay = 0.01
        self.pose_change: Callable[[ToolPose], ToolPose] = lambda pose: pose
        self.status = 0
        self.decisions: list[Decision] = []
        self.commands: list[tuple[float, Command]] = []

    def gripper(self, contract: PolicyContract, dry_run: bool) -> GripperControl:
        """A gripper whose fingers are heard of always; a command is over when `goals` are told."""
        self.fingers_heard: float | None = None
        return GripperControl(
            contract,
            GripperLimits(),
            lambda: Fingers(0.08, self.fingers_heard or self.now),
            dry_run=dry_run,
        )

    @property
    def tip(self) -> np.ndarray:
        """Where the tool is; `led` is where it is commanded to be."""
        if self.wall is None:
            return self.led
        return np.array([min(self.led[0], self.wall), *self.led[1:]])

    @property
    def force(self) -> float:
        """What the arm presses with, newtons."""
        return _STIFFNESS * float(self.led[0] - self.tip[0])

    def robot(self) -> RobotReading:
        force = (self.force_sign * self.force, 0.0, 0.0)
        return RobotReading(MOVE, (), self.force, force, 1.0, self.now, self.now)

    @property
    def goals(self) -> list[Goal]:
        grips = [decision.gripper for decision in self.decisions]
        return [grip.goal for grip in grips if grip is not None and grip.goal is not None]

    def noise(self) -> np.ndarray:
        return self.rng.integers(50, 200, (120, 160, 3), dtype=np.uint8)

    def frame(self) -> Frame:
        return Frame(self.pixels(), self.now - self.camera_delay, self.now)

    def pose(self) -> ToolPose:
        return self.pose_change(ToolPose(self.tip.copy(), DOWN, self.now - 0.001, self.now))

    def start(self) -> Fault | None:
        return self.loop.start(self.frame(), self.pose(), self.now)

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        beats = {"frame": 1 / 30, "pose": 0.01, "watch": 0.02}
        due = {name: self.now + period for name, period in beats.items()}
        while self.now < end:
            self.now += TICK
            ready = [name for name, at in due.items() if at <= self.now]
            for name in ready:
                due[name] += beats[name]
            if "pose" in ready:
                if self.robot_on:
                    self.loop.pose(self.pose())
                if self.wall is not None:
                    self.loop.robot_state(self.robot())
                if self.servo_on:
                    self.loop.servo_status(self.status, "fake", self.now)
            if "frame" in ready and self.camera_on:
                decision = self.loop.frame(self.frame())
                if decision is not None:
                    self.decisions.append(decision)
            if "watch" in ready:
                self.loop.watch(self.now)
            command = self.loop.command(self.now)
            if command is not None:
                self.commands.append((self.now, command))
                if isinstance(command, PoseCommand):
                    self.led = command.position - TOOL
                else:
                    self.led = self.led + command.linear * TICK
            self.forces.append(self.force)

    def running(self) -> World:
        assert self.start() is None
        self.run(1.0)
        assert self.loop.phase is Phase.RUNNING
        assert len(self.decisions) == pytest.approx(10, abs=1)
        return self


@pytest.fixture
def world(contract: PolicyContract) -> World:
    return World(contract)


def moves(world: World, since: float) -> list[float]:
    """When, after `since`, a command asked for a motion."""
    times = []
    previous: np.ndarray | None = None
    for at, command in world.commands:
        if isinstance(command, TwistCommand):
            moving = bool(np.any(command.linear != 0))
        else:
            moving = previous is not None and bool(np.any(command.position != previous))
            previous = command.position
        if moving and at > since:
            times.append(at)
    return times


def assert_stops(world: World, code: str, since: float, within: float = STOP_WITHIN) -> None:
    world.run(2.0)
    assert world.loop.fault is not None
    assert world.loop.fault.code == code
    assert world.loop.fault.cause
    assert world.loop.fault.cure
    assert world.loop.phase is Phase.STOPPED
    late = [at for at in moves(world, since) if at > since + within + TICK]
    assert late == []
    assert [at for at, _ in world.commands if at > since + within + 0.1 + 0.02] == []


def test_nothing_is_commanded_before_the_start(world: World) -> None:
    world.run(1.0)
    assert world.commands == []
    assert world.decisions == []


def test_nothing_is_commanded_between_start_and_first_decision(world: World) -> None:
    world.start()
    assert world.loop.command(world.now) is None


def test_one_decision_per_control_period_with_the_newest_frame(world: World) -> None:
    world.start()
    world.run(10.0)
    assert len(world.decisions) == pytest.approx(100, abs=2)
    assert [d.step for d in world.decisions] == list(range(len(world.decisions)))
    for decision in world.decisions:
        assert decision.started == decision.frame.received


def test_every_command_is_within_the_bounds(world: World, contract: PolicyContract) -> None:
    world.policy.action = np.array([1.0, 1.0, -1.0])
    world.start()
    world.run(5.0)
    lower, upper = np.array(contract.workspace.lower), np.array(contract.workspace.upper)
    previous = np.array(contract.home)
    for decision in world.decisions:
        target = decision.gated.target
        assert np.linalg.norm(target - previous) <= contract.action_bound + 1e-9
        assert np.linalg.norm(target - decision.measured) <= contract.leash + 1e-9
        assert np.all(target >= lower)
        assert np.all(target <= upper)
        previous = target
    assert "workspace" in world.decisions[-1].gated.limited_by


def test_the_policy_is_told_what_was_really_commanded(world: World) -> None:
    world.policy.action = np.array([1.0, 1.0, 0.0])
    world.start()
    world.run(2.0)
    assert len(world.policy.committed) == len(world.decisions)
    for delta, decision in zip(world.policy.committed, world.decisions, strict=True):
        np.testing.assert_array_equal(delta, decision.gated.delta)


def test_the_policy_sees_image_and_position_of_the_same_instant(world: World) -> None:
    world.camera_delay = 0.05
    tip_at = {}

    def moving(pose: ToolPose) -> ToolPose:
        tip = pose.tool_tip + np.array([0.0, 0.02 * (world.now - 100.0), 0.0])
        tip_at[pose.captured] = tip
        return dataclasses.replace(pose, tool_tip=tip)

    world.pose_change = moving
    world.start()
    world.run(1.0)
    assert len(world.decisions) > 5
    for decision, seen in zip(world.decisions[1:], world.policy.seen[1:], strict=True):
        captured = min(tip_at, key=lambda at: abs(at - decision.frame.captured))
        np.testing.assert_array_equal(seen, tip_at[captured])
        assert not np.array_equal(seen, decision.measured)  # the gate gets the newest one


def test_without_decisions_a_command_expires_by_itself(world: World) -> None:
    world.running()
    last = world.now
    world.now += 0.151  # nothing calls the loop: inference hangs
    assert world.loop.command(world.now) is None
    assert world.loop.command(last) is not None


def test_a_twist_lasts_exactly_one_control_period(contract: PolicyContract) -> None:
    world = World(contract, CommandMode.TWIST)
    world.running()
    issued = world.loop._issued

    def speed(after: float) -> float:
        command = world.loop.command(issued + after)
        assert isinstance(command, TwistCommand)
        return float(np.linalg.norm(command.linear))

    assert speed(0.0) > 0
    assert speed(0.0999) > 0
    assert speed(0.1001) == 0
    assert world.loop.command(issued + 0.1501) is None


# What can go wrong ----------------------------------------------------------------------------


def _camera_silent(world: World) -> None:
    world.camera_on = False


def _camera_late(world: World) -> None:
    world.camera_delay = 0.5


def _camera_clock(world: World) -> None:
    world.camera_delay = -0.2


def _camera_frozen(world: World) -> None:
    picture = world.noise()
    world.pixels = lambda: picture


def _camera_black(world: World) -> None:
    world.pixels = lambda: world.rng.integers(0, 3, (120, 160, 3), dtype=np.uint8)


def _camera_white(world: World) -> None:
    world.pixels = lambda: world.rng.integers(253, 256, (120, 160, 3), dtype=np.uint8)


def _camera_plain(world: World) -> None:
    colour = np.array([200, 30, 90], dtype=np.uint8)
    world.pixels = lambda: colour + world.rng.integers(0, 3, (120, 160, 3), dtype=np.uint8)


def _robot_silent(world: World) -> None:
    world.robot_on = False


def _pose_late(world: World) -> None:
    world.pose_change = lambda p: dataclasses.replace(p, captured=p.captured - 1.0)


def _pose_clock(world: World) -> None:
    world.pose_change = lambda p: dataclasses.replace(p, captured=p.captured + 1.0)


def _pose_jump(world: World) -> None:
    world.pose_change = lambda p: dataclasses.replace(
        p, tool_tip=p.tool_tip + np.array([0, 0.06, 0])
    )


def _pose_nan(world: World) -> None:
    world.pose_change = lambda p: dataclasses.replace(p, tool_tip=np.array([math.nan, 0, 0]))


def _tool_tilt(world: World) -> None:
    tilted = np.array([0.0, math.cos(0.2), math.sin(0.2), 0.0])
    world.pose_change = lambda p: dataclasses.replace(p, orientation=tilted)


def _policy_error(world: World) -> None:
    world.policy.error = RuntimeError("the policy put out NaN")


def _policy_nan(world: World) -> None:
    world.policy.action = np.array([math.nan, 0.0, 0.0])


def _servo_silent(world: World) -> None:
    world.servo_on = False


@pytest.mark.parametrize("mode", list(CommandMode))
@pytest.mark.parametrize(
    ("trouble", "code"),
    [
        (_camera_silent, "camera_silent"),
        (_camera_late, "camera_stale"),
        (_camera_clock, "camera_clock"),
        (_camera_frozen, "camera_frozen"),
        (_camera_black, "camera_blank"),
        (_camera_white, "camera_blank"),
        (_camera_plain, "camera_blank"),
        (_robot_silent, "pose_silent"),
        (_pose_late, "pose_silent"),
        (_pose_clock, "pose_clock"),
        (_pose_jump, "pose_jump"),
        (_pose_nan, "pose_invalid"),
        (_tool_tilt, "tool_tilt"),
        (_policy_error, "policy_invalid"),
        (_policy_nan, "gate"),
        (_servo_silent, "servo_lost"),
    ],
)
def test_each_trouble_stops_the_arm_within_200_ms_and_stays_latched(
    contract: PolicyContract, mode: CommandMode, trouble: Callable[[World], None], code: str
) -> None:
    world = World(contract, mode).running()
    since = world.now
    trouble(world)
    assert_stops(world, code, since)
    # Trouble that is over does not start the arm again.
    fault, steps = world.loop.fault, world.loop.steps
    world.camera_on = world.robot_on = world.servo_on = True
    world.pixels, world.camera_delay = world.noise, 0.01
    world.pose_change = lambda pose: pose
    world.policy.error, world.policy.action = None, np.array([0.5, 0.0, 0.0])
    sent = len(world.commands)
    world.run(1.0)
    assert world.loop.fault is fault
    assert world.loop.steps == steps
    assert len(world.commands) == sent
    # A person's start does.
    assert world.start() is None
    world.run(0.5)
    assert world.loop.fault is None
    assert world.loop.steps > 2


def test_the_first_fault_is_kept(world: World) -> None:
    world.running()
    first = Fault("a", "first", "cure")
    world.loop.stop(first, world.now)
    world.loop.stop(Fault("b", "second", "cure"), world.now)
    assert world.loop.fault is first


@pytest.mark.parametrize("code", [-1, 2, 5, 6])
def test_a_halting_servo_stops_the_policy(world: World, code: int) -> None:
    world.running()
    since = world.now
    world.status = code
    assert_stops(world, "servo_halt", since, within=WatchdogLimits().servo_halt + 0.02)


@pytest.mark.parametrize("code", [1, 3, 4])
def test_a_servo_that_only_slows_down_does_not(world: World, code: int) -> None:
    world.running()
    world.status = code
    world.run(1.0)
    assert world.loop.phase is Phase.RUNNING


def test_slow_inference_stops_the_arm_after_a_few_steps(world: World) -> None:
    world.running()
    world.policy.duration = 0.09
    world.run(0.5)
    assert world.loop.fault is not None
    assert world.loop.fault.code == "inference_slow"


def test_one_slow_inference_does_not_stop_but_its_outdated_command_is_dropped(
    world: World,
) -> None:
    world.running()
    world.policy.duration = 0.16
    steps = world.loop.steps
    slow = False
    while not slow:
        world.now += 1 / 30
        before = world.now
        assert world.loop.frame(world.frame()) is None
        slow = world.now > before
    assert world.loop.steps == steps
    assert world.loop.phase is Phase.RUNNING
    assert world.loop.command(world.now) is None


def test_surprise_slows_first_and_stops_then(world: World) -> None:
    world.running()
    world.policy.surprise = 90.0  # halfway between slow and stop
    world.run(0.5)
    assert world.loop.phase is Phase.RUNNING
    assert world.decisions[-1].speed_scale == pytest.approx(0.6)
    assert world.decisions[-1].gated.delta[0] == pytest.approx(0.6 * 0.5 * 0.02)
    world.policy.surprise = 1.0
    world.run(0.3)
    assert world.decisions[-1].speed_scale == 1.0
    world.policy.surprise = 200.0
    world.run(0.6)
    assert world.loop.fault is not None
    assert world.loop.fault.code == "surprise"
    assert world.decisions[-1].speed_scale == pytest.approx(0.2)


def test_surprise_in_the_first_steps_does_not_count(world: World) -> None:
    world.policy.surprise = 1000.0
    world.start()
    world.run(0.45)
    assert world.loop.phase is Phase.RUNNING
    assert all(d.speed_scale == 1.0 for d in world.decisions)


def test_a_single_blank_frame_is_skipped_not_decided_on(world: World) -> None:
    world.running()
    pictures = iter([np.zeros((120, 160, 3), np.uint8)])
    world.pixels = lambda: next(pictures, world.noise())
    world.run(1.0)
    assert world.loop.phase is Phase.RUNNING
    assert all(d.frame.pixels.any() for d in world.decisions)


def test_an_arm_that_cannot_follow_is_not_commanded_further_than_the_leash(
    contract: PolicyContract,
) -> None:
    world = World(contract)
    blocked = np.array(contract.home)
    world.pose_change = lambda p: dataclasses.replace(p, tool_tip=blocked)
    world.policy.action = np.array([1.0, 0.0, 0.0])
    world.start()
    world.run(5.0)
    targets = np.array([d.gated.target for d in world.decisions])
    assert float(np.linalg.norm(targets - blocked, axis=1).max()) <= contract.leash + 1e-9


@pytest.mark.parametrize("tip", [[0.4, 0.0, -0.2], [math.nan, 0.0, 0.1], [0.4, 0.5, 0.1]], ids=str)
def test_a_start_outside_the_workspace_is_refused(world: World, tip: list[float]) -> None:
    world.led = np.array(tip)
    fault = world.start()
    assert fault is not None
    assert fault.cure
    world.run(1.0)
    assert world.commands == []


def test_after_a_stop_standing_still_is_commanded_and_then_nothing(world: World) -> None:
    world.running()
    tip, since = world.tip.copy(), world.now
    world.loop.finish(world.now)
    assert world.loop.phase is Phase.HOLDING
    hold = world.loop.command(world.now)
    assert isinstance(hold, PoseCommand)
    np.testing.assert_allclose(hold.position, tip + TOOL, atol=1e-9)
    world.run(1.0)
    assert world.loop.phase is Phase.STOPPED
    assert world.loop.fault is None
    assert max(at for at, _ in world.commands) <= since + 0.1 + TICK


def test_a_process_that_was_held_up_reads_waiting_messages_before_it_judges(
    world: World,
) -> None:
    world.running()
    world.now += 0.19  # the process did not run; frames, poses and statuses wait to be read
    world.loop.watch(world.now)
    world.loop.pose(world.pose())
    world.loop.servo_status(0, "", world.now)
    world.loop.frame(world.frame())
    world.now += 0.02
    world.loop.watch(world.now)
    assert world.loop.phase is Phase.RUNNING


def test_while_judging_is_put_off_no_motion_is_commanded_on_what_is_old(world: World) -> None:
    world.running()
    world.policy.duration = 0.14  # slow, but in time for its command to count
    decision = None
    while decision is None:
        world.now += 1 / 30
        world.loop.pose(world.pose())
        world.loop.servo_status(0, "", world.now)
        world.loop.watch(world.now)
        decision = world.loop.frame(world.frame())
    assert world.loop.command(world.now) is not None
    world.now = decision.frame.received + 0.21
    world.loop.watch(world.now)
    assert world.loop.fault is None
    assert world.loop.command(world.now) is None


def test_a_slow_camera_that_freezes_stops_the_arm_as_soon(world: World) -> None:
    world.running()
    picture, first = world.noise(), world.now
    while world.loop.phase is Phase.RUNNING:
        world.loop.frame(Frame(picture, world.now - 0.01, world.now))
        world.loop.pose(world.pose())
        world.loop.servo_status(0, "", world.now)
        last, world.now = world.now, world.now + 1 / 15
    assert world.loop.fault is not None
    assert world.loop.fault.code == "camera_frozen"
    assert last - first <= STOP_WITHIN


def test_an_arm_pushed_away_between_two_decisions_stops_before_the_next(world: World) -> None:
    world.running()
    decided = len(world.decisions)
    pushed = world.decisions[-1].gated.target.copy()
    for _ in range(3):
        pushed = pushed + np.array([0.0, 0.03, 0.0])
        world.led = pushed
        world.loop.pose(world.pose())
    assert world.loop.fault is not None
    assert world.loop.fault.code == "gate"
    assert len(world.decisions) == decided


def test_a_process_that_is_always_held_up_still_judges(world: World) -> None:
    world.running()
    for _ in range(2):
        world.now += 0.19
        world.loop.watch(world.now)
    assert world.loop.fault is not None


@pytest.mark.parametrize("mode", list(CommandMode))
def test_no_sequence_of_events_commands_more_than_the_bounds_or_moves_a_stopped_arm(
    contract: PolicyContract, mode: CommandMode
) -> None:
    rng = np.random.default_rng(7)
    troubles = [value for name, value in globals().items() if name.startswith("_camera_")]
    troubles += [_robot_silent, _pose_jump, _pose_nan, _policy_error, _policy_nan, _servo_silent]
    for _ in range(60):
        world = World(contract, mode)
        world.start()
        last: np.ndarray | None = None
        for _ in range(12):
            choice = rng.integers(0, 6)
            if choice == 0:
                troubles[rng.integers(len(troubles))](world)
            elif choice == 1:
                world.policy.action = rng.normal(size=3) * 3
            elif choice == 2:
                world.loop.finish(world.now)
            elif choice == 3:
                world.status = int(rng.integers(-1, 7))
            elif choice == 4:
                world.policy.duration = float(rng.uniform(0, 0.3))
            first = len(world.commands)
            was_stopped = world.loop.phase is Phase.STOPPED
            world.run(float(rng.uniform(0.01, 0.3)))
            assert not (was_stopped and len(world.commands) > first)
            for _, command in world.commands[first:]:
                if isinstance(command, TwistCommand):
                    assert np.linalg.norm(command.linear) <= 0.2 + 1e-9
                    continue
                assert np.isfinite(command.position).all()
                tip = command.position - TOOL
                assert np.all(tip >= np.array(contract.workspace.lower) - 1e-9)
                assert np.all(tip <= np.array(contract.workspace.upper) + 1e-9)
                if last is not None:
                    assert np.linalg.norm(tip - last) <= contract.leash + 1e-9
                last = tip


@pytest.mark.parametrize("mode", list(CommandMode))
def test_at_a_tenth_of_the_speed_a_step_takes_ten_periods_and_is_as_long(
    contract: PolicyContract, mode: CommandMode
) -> None:
    world = World(contract, mode, speed=0.1)
    world.policy.action = np.array([-1.0, 1.0, 1.0])  # longer than the bound allows
    world.start()
    world.run(4.05)
    bound = contract.action_bound
    assert [decision.step for decision in world.decisions] == [0, 1, 2, 3, 4]
    decided = np.diff([decision.started for decision in world.decisions])
    assert decided == pytest.approx(10 * contract.control_period, abs=0.04)
    assert {decision.speed_scale for decision in world.decisions} == {0.1}
    # The world model is told all that was really commanded since it decided.
    told = [float(np.linalg.norm(moved)) for moved in world.policy.committed]
    assert told[:40] == pytest.approx([0.1 * bound * n for n in range(1, 11)] * 4, rel=1e-6)
    if mode is CommandMode.TWIST:
        speeds = [float(np.linalg.norm(c.linear)) for _, c in world.commands]  # type: ignore[union-attr]
        assert max(speeds) <= 0.1 * bound / contract.control_period * (1 + 1e-9)
    else:
        targets = np.array([c.position for _, c in world.commands])  # type: ignore[union-attr]
        steps = np.linalg.norm(np.diff(targets, axis=0), axis=1)
        assert max(steps) == pytest.approx(0.1 * bound)  # used, and never exceeded


def test_a_slow_step_stops_in_the_middle_like_any_other(contract: PolicyContract) -> None:
    world = World(contract, speed=0.1)
    world.policy.action = np.array([1.0, 0.0, 0.0])
    world.start()
    world.run(1.4)
    assert len(world.decisions) == 2  # in the midst of the second
    world.camera_on = False
    assert_stops(world, "camera_silent", world.now)
    assert len(world.decisions) == 2
    world.camera_on = True
    assert world.start() is None
    world.run(0.1)
    assert len(world.decisions) == 3  # nothing is left of the old step
    assert float(np.linalg.norm(world.policy.committed[-1])) < 0.2 * contract.action_bound


def test_an_arm_that_is_held_back_in_the_middle_of_a_slow_step_stops_it(
    contract: PolicyContract,
) -> None:
    world = World(contract, speed=0.1)
    world.policy.action = np.array([1.0, 0.0, 0.0])
    world.start()
    world.run(0.5)
    away = np.zeros(3)
    world.pose_change = lambda pose: dataclasses.replace(pose, tool_tip=pose.tool_tip - away)
    for away[1] in (0.6 * contract.leash, 1.2 * contract.leash):  # too slowly for a jump
        assert world.loop.phase is Phase.RUNNING
        world.run(0.1)
    assert world.loop.fault is not None
    assert world.loop.fault.code == "gate"
    assert len(world.decisions) == 1


@pytest.mark.parametrize("speed", [0.0, -0.1, 1.01, math.nan])
def test_a_speed_beyond_the_contract_is_refused(contract: PolicyContract, speed: float) -> None:
    with pytest.raises(ValueError, match="share of the trained one"):
        World(contract, speed=speed)


def test_a_dry_run_decides_but_commands_nothing_and_needs_no_servo(
    contract: PolicyContract,
) -> None:
    world = World(contract, dry_run=True)
    world.servo_on = False
    world.start()
    world.run(3.0)
    assert world.loop.phase is Phase.RUNNING
    assert len(world.decisions) >= 29
    assert world.commands == []
    assert not np.any(world.policy.committed)
    for decision in world.decisions:  # what would be commanded from where the arm is
        assert decision.speed_scale == 0.0
        assert np.allclose(decision.gated.target, world.tip + decision.gated.delta)
        assert float(np.linalg.norm(decision.gated.delta)) > 0
    world.camera_on = False  # a dry run shows the watchdogs at work
    world.run(0.5)
    assert world.loop.fault is not None
    assert world.loop.fault.code == "camera_silent"
    assert world.commands == []


# The gripper ----------------------------------------------------------------------------------


@pytest.fixture
def gripping(gripper_contract: PolicyContract) -> World:
    world = World(gripper_contract)
    world.policy.action = np.array([0.0, 0.0, 0.0, 1.0])
    return world


def test_the_policy_is_told_what_the_gripper_is_commanded_to_be(gripping: World) -> None:
    gripping.start()
    gripping.run(0.25)
    assert [goal.command for goal in gripping.goals] == ["close"]
    gripping.goals[0].end(True, "")
    gripping.policy.action = np.array([0.0, 0.0, 0.0, -1.0])
    gripping.run(0.6)
    assert [goal.command for goal in gripping.goals] == ["close", "open"]
    states = [decision.gripper.state for decision in gripping.decisions]
    assert gripping.policy.gripper_states == states
    assert states[0] == 1.0
    assert states[-1] == -1.0


def test_a_policy_without_a_gripper_is_told_nothing_about_one(world: World) -> None:
    world.running()
    assert set(world.policy.gripper_states) == {None}
    assert all(decision.gripper is None for decision in world.decisions)


@pytest.mark.parametrize(
    ("trouble", "code", "within"),
    [
        ("refuses", "gripper_refused", 0.0),
        ("late", "gripper_late", 3.0),
        ("deaf", "gripper_lost", 0.5),
        ("silent", "gripper_lost", 0.5),
        ("never opens", "gripper_failed", 0.0),
    ],
)
def test_a_broken_gripper_stops_the_arm(
    gripping: World, trouble: str, code: str, within: float
) -> None:
    gripping.start()
    gripping.run(0.25)
    gripping.policy.action = np.array([0.5, 0.0, 0.0, 1.0])
    goal = gripping.goals[0]
    goal.accepted = trouble != "deaf"
    if trouble == "refuses":
        goal.refuse("no connection")
    elif trouble == "silent":
        gripping.fingers_heard = gripping.now
    elif trouble == "never opens":
        goal.end(True, "")
        gripping.policy.action = np.array([0.5, 0.0, 0.0, -1.0])
        for attempt in range(1, 6):
            gripping.run(0.4)
            assert gripping.loop.phase is Phase.RUNNING
            gripping.goals[attempt].end(False, "")
    since = gripping.now if trouble != "late" else goal.sent
    if trouble == "deaf":
        since = goal.sent
    gripping.run(within)
    assert_stops(gripping, code, since, within + 0.05)


def test_an_opening_that_failed_is_tried_again_unless_the_policy_wants_to_close(
    gripping: World,
) -> None:
    gripping.start()
    gripping.run(0.25)
    gripping.goals[0].end(True, "")
    gripping.policy.action = np.array([0.0, 0.0, 0.0, -1.0])
    gripping.run(0.4)
    gripping.goals[1].end(False, "")
    gripping.run(0.2)
    assert [goal.command for goal in gripping.goals] == ["close", "open", "open"]
    gripping.policy.action = np.array([0.0, 0.0, 0.0, 1.0])
    gripping.goals[2].end(False, "")
    gripping.run(0.4)
    assert [goal.command for goal in gripping.goals] == ["close", "open", "open", "close"]
    assert gripping.loop.phase is Phase.RUNNING


def test_a_grasp_of_nothing_is_the_policys_business(gripping: World) -> None:
    gripping.start()
    gripping.run(0.25)
    gripping.goals[0].end(False, "")
    gripping.run(1.0)
    assert gripping.loop.phase is Phase.RUNNING
    assert gripping.decisions[-1].gripper.result.value == "failed"


def test_a_stopped_arm_gets_no_gripper_command(gripping: World) -> None:
    gripping.start()
    gripping.loop.stop(Fault("test", "stopped", "start"), gripping.now)
    gripping.run(1.0)
    assert gripping.goals == []


def test_a_dry_run_leaves_the_gripper_alone(gripper_contract: PolicyContract) -> None:
    world = World(gripper_contract, dry_run=True)
    world.policy.action = np.array([0.5, 0.0, 0.0, 1.0])
    world.fingers_heard = 1.0
    world.start()
    world.run(2.0)
    assert world.loop.phase is Phase.RUNNING
    assert world.goals == []
    assert set(world.policy.gripper_states) == {-1.0}
    assert world.decisions[-1].gripper.action == 1.0


def test_a_gripper_that_is_not_in_the_contract_is_refused(
    contract: PolicyContract, gripper_contract: PolicyContract
) -> None:
    control = GripperControl(gripper_contract, GripperLimits(), lambda: None)
    world = World(contract)
    for wrong, gripper in ((contract, control), (gripper_contract, None)):
        with pytest.raises(ValueError, match="gripper"):
            ControlLoop(
                wrong,
                world.policy,
                CommandShaper(wrong, CommandMode.POSE),
                WatchdogLimits(),
                clock=lambda: 0.0,
                gripper=gripper,
            )


def _runs_into_a_wall(
    contract: PolicyContract, mode: CommandMode, force_sign: float = 1.0, **limits: float
) -> World:
    world = World(contract, mode, contact_force=1e4, **limits)
    world.wall, world.force_sign = contract.home[0] + 0.025, force_sign
    world.policy.action = np.array([0.5, 0.1, 0.0])
    assert world.start() is None
    world.run(1.0)
    assert world.loop.phase is Phase.RUNNING
    assert max(world.forces) > 15.0
    return world


def _share_above(world: World, newtons: float) -> float:
    return float(np.mean(np.array(world.forces[-500:]) > newtons))


@pytest.mark.parametrize("force_sign", [1.0, -1.0])
@pytest.mark.parametrize("mode", CommandMode)
def test_the_tool_gives_way_to_what_it_touches(
    contract: PolicyContract, mode: CommandMode, force_sign: float
) -> None:
    stubborn = _runs_into_a_wall(contract, mode, contact_yield=1e4)
    assert max(stubborn.forces) > 200.0
    assert _share_above(stubborn, 20.0) == 1.0
    assert not any("contact" in decision.gated.limited_by for decision in stubborn.decisions)
    world = _runs_into_a_wall(contract, mode, force_sign)
    # It is told of the contact 10 ms later at most, and tries anew 10 times a second.
    assert _share_above(world, 20.0) <= 0.15
    assert max(world.forces) <= max(stubborn.forces) / 2 + 1.0
    assert "contact" in world.decisions[-1].gated.limited_by
    # Beside the contact it goes on as before, and out of it at once.
    assert world.tip[1] == pytest.approx(stubborn.tip[1], abs=2e-3)
    world.policy.action = np.array([-0.5, 0.0, 0.0])
    world.run(0.3)
    assert world.wall is not None
    assert world.tip[0] < world.wall - 0.01


@pytest.mark.parametrize("mode", CommandMode)
def test_the_world_model_is_told_what_was_left_of_a_step_that_gave_way(
    contract: PolicyContract, mode: CommandMode
) -> None:
    world = _runs_into_a_wall(contract, mode)
    moved = world.decisions[-1].gated.target - np.array(contract.home)
    later = world.policy.executed[-1] - world.decisions[-1].gated.delta
    np.testing.assert_allclose(np.sum(world.policy.executed, axis=0) - later, moved, atol=1e-3)
    assert np.linalg.norm(world.policy.executed, axis=1).max() <= contract.action_bound * (1 + 1e-9)


def test_a_hand_that_pushes_a_slow_tool_further_than_a_step_is_no_fault(
    contract: PolicyContract, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(contract, speed=0.5)
    world.policy.action = np.array([0.0, 1.0, 0.0])
    world.wall = 9.0  # far away; somebody's hand is what the arm feels

    def push(pose: ToolPose) -> ToolPose:
        world.led = world.led + np.array([0.0, 0.002, 0.0])
        return dataclasses.replace(pose, tool_tip=world.led)

    def felt() -> RobotReading:
        return RobotReading(MOVE, (), 20.0, (0.0, 20.0, 0.0), 1.0, world.now, world.now)

    assert world.start() is None
    world.run(0.3)
    monkeypatch.setattr(world, "pose_change", push)
    monkeypatch.setattr(world, "robot", felt)
    world.run(0.6)  # 12 cm in three steps
    assert world.loop.fault is None
    lengths = np.linalg.norm(world.policy.committed, axis=1)  # a policy refuses longer ones
    assert lengths.max() == pytest.approx(contract.action_bound, rel=1e-9)


def test_a_dry_run_gives_way_to_nothing(contract: PolicyContract) -> None:
    world = World(contract, dry_run=True)
    world.wall = contract.home[0] - 0.01
    world.start()
    world.run(0.5)
    assert world.decisions
    assert not any("contact" in decision.gated.limited_by for decision in world.decisions)
    assert world.commands == []
