"""The fuzz of the whole node: it finds nothing in the node, and everything that is weakened.

``benchmarks/fuzz.py`` runs the same sequences in their tens of thousands.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from node_fuzz import (
    CONTRACT,
    FRAME_KINDS,
    GRIPPER_CONTRACT,
    GRIPPER_KINDS,
    MACHINE_KINDS,
    PERSON_KINDS,
    POLICY_KINDS,
    POSE_KINDS,
    ROBOT_KINDS,
    SERVO_KINDS,
    STATUS_KINDS,
    FuzzWorld,
    Tally,
    run_sequence,
)

import twist_policy.action_gate as action_gate
from twist_policy.action_gate import ActionGate, GatedAction
from twist_policy_node import sensor_inputs, watchdogs
from twist_policy_node.activation import Activation
from twist_policy_node.commands import CommandShaper, PoseCommand
from twist_policy_node.control_loop import ControlLoop
from twist_policy_node.image_decoding import ImageError
from twist_policy_node.robot_watchdog import RobotWatchdog

pytestmark = pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")

SEQUENCES = 100
"""Enough for each of the weakened nodes below to be caught; benchmarks/fuzz.py runs many more."""


def tally(sequences: int = SEQUENCES, *, until_broken: bool = False) -> Tally:
    result = Tally()
    for number in range(sequences):
        run_sequence(0, number, result)
        if until_broken and result.violations:
            break
    return result


def test_no_sequence_breaks_a_promise() -> None:
    result = tally()
    assert result.violations == []
    # Otherwise nothing was tried.
    assert result.moved > SEQUENCES * 0.7
    assert result.motions > SEQUENCES * 5
    assert len(result.faults) >= 10


class Node(RuleBasedStateMachine):
    """Hypothesis in the place of the dice: it looks for the shortest sequence that fails."""

    world: FuzzWorld | None = None

    @initialize(
        seed=st.integers(0, 2**32),
        mode=st.sampled_from(["pose", "twist"]),
        contract=st.sampled_from([CONTRACT, GRIPPER_CONTRACT]),
    )
    def begin(self, seed: int, mode: str, contract: Any) -> None:
        overrides = {"checkpoint": "models/block_push", "command_mode": mode}
        self.world = FuzzWorld(random.Random(seed), overrides, Counter(), contract)
        self.world.policy_will("random")
        self.world.person("activate")
        for _ in range(6):
            self.world.beat("good", "good", "good")

    def _do(self, event: Callable[[FuzzWorld], None]) -> None:
        assert self.world is not None
        event(self.world)

    @rule(
        frame=st.sampled_from(FRAME_KINDS),
        pose=st.sampled_from(POSE_KINDS),
        status=st.sampled_from(STATUS_KINDS),
    )
    def beat(self, frame: str, pose: str, status: str) -> None:
        self._do(lambda world: world.beat(frame, pose, status))

    @rule(beats=st.integers(1, 6))
    def good_beats(self, beats: int) -> None:
        for _ in range(beats):
            self._do(lambda world: world.beat("good", "good", "good"))

    @rule(kind=st.sampled_from(POLICY_KINDS))
    def policy(self, kind: str) -> None:
        self._do(lambda world: world.policy_will(kind))

    @rule(kind=st.sampled_from(SERVO_KINDS))
    def servo(self, kind: str) -> None:
        self._do(lambda world: world.servo_will(kind))

    @rule(kind=st.sampled_from(ROBOT_KINDS))
    def robot(self, kind: str) -> None:
        self._do(lambda world: world.robot_will(kind))

    @rule(kind=st.sampled_from(GRIPPER_KINDS))
    def gripper(self, kind: str) -> None:
        self._do(lambda world: world.gripper_will(kind))

    @rule(kind=st.sampled_from(MACHINE_KINDS))
    def machine(self, kind: str) -> None:
        self._do(lambda world: world.machine(kind))

    @rule(kind=st.sampled_from(PERSON_KINDS))
    def person(self, kind: str) -> None:
        self._do(lambda world: world.person(kind))

    @invariant()
    def nothing_is_broken(self) -> None:
        assert self.world is None or self.world.judge.broken is None

    def teardown(self) -> None:
        if self.world is not None:
            self.world.close()


TestNode = Node.TestCase
TestNode.settings = settings(
    max_examples=15,
    stateful_step_count=15,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


# A fuzz that finds nothing proves something only if it would find something. ---------------------


def _no_norm(monkeypatch: pytest.MonkeyPatch) -> None:
    step = ActionGate.step

    def stretched(self: ActionGate, action: Any, measured: Any) -> GatedAction:
        self.bound, bound = self.bound * 1.2, self.bound
        try:
            return step(self, action, measured)
        finally:
            self.bound = bound

    monkeypatch.setattr(ActionGate, "step", stretched)


def _no_leash(monkeypatch: pytest.MonkeyPatch) -> None:
    step = ActionGate.step

    def loose(self: ActionGate, action: Any, measured: Any) -> GatedAction:
        self.leash, leash = 10.0, self.leash
        try:
            return step(self, action, measured)
        finally:
            self.leash = leash

    monkeypatch.setattr(ActionGate, "step", loose)


def _the_tool_gives_way_to_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ActionGate, "feel", lambda *_: False)


def _no_workspace(monkeypatch: pytest.MonkeyPatch) -> None:
    create = ActionGate.__init__

    def unbounded(self: ActionGate, *arguments: Any) -> None:
        create(self, *arguments)
        self._lower, self._upper = np.full(3, -np.inf), np.full(3, np.inf)

    monkeypatch.setattr(ActionGate, "__init__", unbounded)


def _nothing_checks_for_nan(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(action_gate, "_finite3", lambda value, _: np.asarray(value, float))


def _stops_are_not_latched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ControlLoop, "stop", lambda *_: None)


def _commands_do_not_expire(monkeypatch: pytest.MonkeyPatch) -> None:
    create = ControlLoop.__init__

    def patient(self: ControlLoop, *arguments: Any, **keywords: Any) -> None:
        create(self, *arguments, **keywords)
        self._validity = 1e9

    monkeypatch.setattr(ControlLoop, "__init__", patient)


def _a_silent_camera_counts_as_good(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdogs.FrameTimingWatchdog, "check", lambda *_: None)
    monkeypatch.setattr(watchdogs.FrameTimingWatchdog, "frame", lambda *_: None)


def _truncated_frames_are_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Activation, "bad_frame", lambda *_: None)


def _decoding_raises_something_else(monkeypatch: pytest.MonkeyPatch) -> None:
    decode = sensor_inputs.decode_image

    def careless(*arguments: Any, **keywords: Any) -> Any:
        try:
            return decode(*arguments, **keywords)
        except ImageError as error:
            raise IndexError(str(error)) from error

    monkeypatch.setattr(sensor_inputs, "decode_image", careless)


def _poses_may_jump(monkeypatch: pytest.MonkeyPatch) -> None:
    def pose(self: watchdogs.PoseWatchdog, pose: Any, tilt: float) -> Any:
        self._last = pose
        return None

    monkeypatch.setattr(watchdogs.PoseWatchdog, "pose", pose)


def _nobody_judges_the_arms_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RobotWatchdog, "state", lambda *_: None)


def _twists_are_not_shortened(monkeypatch: pytest.MonkeyPatch) -> None:
    move = CommandShaper.move

    def fast(self: CommandShaper, *arguments: Any, **keywords: Any) -> Any:
        self.speed_limit = 10.0
        return move(self, *arguments, **keywords)

    monkeypatch.setattr(CommandShaper, "move", fast)
    monkeypatch.setattr("twist_policy_node.commands.shortened", lambda vector, _: vector)


def _a_slow_policy_turns_the_tool_upright_at_full_speed(monkeypatch: pytest.MonkeyPatch) -> None:
    limit = CommandShaper.limit_speed

    def turn_fast(self: CommandShaper, share: float) -> None:
        limit(self, share)
        self._turn_limit = 0.5

    monkeypatch.setattr(CommandShaper, "limit_speed", turn_fast)


def _pose_commands_do_not_lead_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def at_once(self: CommandShaper, target: Any, _: Any) -> Any:
        return PoseCommand(self.tool.ik_target(target), self.tool.orientation)

    monkeypatch.setattr(CommandShaper, "_lead_on", at_once)


@pytest.mark.parametrize(
    ("weaken", "found"),
    [
        (_pose_commands_do_not_lead_on, "a step of"),
        (_a_slow_policy_turns_the_tool_upright_at_full_speed, "rad"),
        (_no_norm, "a step of"),
        (_no_leash, "m away"),
        (_the_tool_gives_way_to_nothing, "it presses on"),
        (_no_workspace, "outside the workspace"),
        (_nothing_checks_for_nan, "nan"),
        (_stops_are_not_latched, "after a stop"),
        (_commands_do_not_expire, "a command is repeated"),
        (_a_silent_camera_counts_as_good, "frame"),
        (_truncated_frames_are_skipped, "after a stop"),
        (_decoding_raises_something_else, "the process dies: IndexError"),
        (_poses_may_jump, "after a stop"),
        (_nobody_judges_the_arms_state, "robot"),
        (_twists_are_not_shortened, "a twist of"),
    ],
    ids=lambda value: value.__name__.strip("_") if callable(value) else "",
)
def test_the_fuzz_finds_a_node_that_is_weakened(
    monkeypatch: pytest.MonkeyPatch, weaken: Callable[[pytest.MonkeyPatch], None], found: str
) -> None:
    weaken(monkeypatch)
    violations = tally(8 * SEQUENCES, until_broken=True).violations
    assert violations
    assert found in violations[0][1]


# One kind of trouble at a time, through the whole node. -------------------------------------------


@pytest.mark.parametrize(
    ("part", "kind", "codes"),
    [
        ("frame", "silent", "camera_silent"),
        ("frame", "frozen", "camera_frozen"),
        ("frame", "repeated", "camera_frozen camera_stale"),
        ("frame", "black", "camera_blank"),
        ("frame", "plain", "camera_blank"),
        ("frame", "encoding", "camera_format"),
        ("frame", "size", "camera_format"),
        ("frame", "empty", "camera_format"),
        ("frame", "truncated", "camera_format"),
        ("frame", "step", "camera_format"),
        ("frame", "zero_stamp", "camera_format"),
        ("frame", "frame_id", "camera_format"),
        ("frame", "future", "camera_clock"),
        ("frame", "old", "camera_stale"),
        ("frame", "any_stamp", "camera_stale camera_clock"),
        ("pose", "silent", "pose_silent"),
        ("pose", "nan", "pose_invalid"),
        ("pose", "huge", "pose_jump"),
        ("pose", "jump", "pose_jump"),
        ("pose", "push", "gate pose_jump"),
        ("pose", "no_turn", "pose_invalid"),
        ("pose", "tilt", "tool_tilt"),
        ("pose", "frame_id", "pose_invalid"),
        ("pose", "zero_stamp", "pose_invalid"),
        ("pose", "future", "pose_clock"),
        ("pose", "old", "pose_silent"),
        ("status", "silent", "servo_lost"),
        ("status", "halt", "servo_halt"),
        ("robot", "silent", "robot_silent"),
        ("robot", "mode", "robot_mode"),
        ("robot", "error", "robot_error"),
        ("robot", "force", "contact_force"),
        ("robot", "nan", "contact_force robot_invalid"),
        ("robot", "nan_force", "robot_invalid"),
        ("policy", "nan", "gate"),
        ("policy", "raises", "policy_invalid"),
        ("policy", "shape", "policy_invalid gate"),
        ("policy", "imagines_nan", "policy_invalid"),
        ("machine", "suspended", "camera_silent camera_stale pose_silent servo_lost"),
        ("person", "rival", "other_commander"),
    ],
)
def test_each_trouble_alone_stops_the_whole_node_and_says_its_code(
    part: str, kind: str, codes: str
) -> None:
    world = FuzzWorld(random.Random(0), {"checkpoint": "models/block_push"})
    kinds = dict.fromkeys(("frame", "pose", "status"), "good")
    try:
        world.policy_will("random")
        world.robot_will("good")
        world.person("activate")
        for _ in range(8):
            world.beat(**kinds)
        assert world.running
        if part in kinds:
            kinds[part] = kind
        else:
            act = {"robot": world.robot_will, "policy": world.policy_will}.get(part)
            (act or getattr(world, part))(kind)
        for _ in range(20):
            world.beat(**kinds)
        stopped = world.judge.commands
        assert not world.running
        for _ in range(5):  # good again, but nobody activates
            world.beat("good", "good", "good")
        assert world.judge.commands == stopped
        assert set(world.faults) <= set(codes.split())
        assert world.faults
    finally:
        world.close()
