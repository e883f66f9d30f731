"""Random, malformed and adversarial sequences for the whole policy node, in virtual time.

`FuzzWorld` is camera, robot, Servo, policy, person and machine around an `OfflineNode`; each of
its methods is one event, and `fuzz_judge.Judge` watches what the node sends. `run_sequence` draws
events from a seed; the same seed gives the same sequence.
"""

from __future__ import annotations

import array
import dataclasses
import math
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from fuzz_judge import TICK_SLACK, Judge, Violation
from geometry_msgs.msg import PoseStamped, TwistStamped
from offline_node import SUCCESS, Answer, OfflineNode, VirtualTime, offline
from sensor_msgs.msg import Image, JointState

from twist_msgs.msg import RobotState
from twist_policy.action_gate import step_periods
from twist_policy.contract import (
    CameraModel,
    GripperSpec,
    ImageSpec,
    PolicyContract,
    StateField,
    Workspace,
)
from twist_policy.latent_policy import PolicyError
from twist_policy.synthetic_contract import synthetic_contract
from twist_policy_node.parameters import TABLE, default_values
from twist_policy_node.servo_messages import ServoStatus
from twist_policy_node.tool_frame import rotate, turned

WIDTH, HEIGHT = 32, 24
"""Of the camera: as small as the watchdogs can tell pictures apart in."""
FRAME_PERIOD, TICK_PERIOD = 1 / 30, 0.02
SILENCE_LIMIT = 0.2
"""Longest age of the last good frame, pose and status under a motion command, seconds."""
HALT_CODES = (-1, 2, 5, 6)
DOWN = (0.0, 1.0, 0.0, 0.0)

CONTRACT = synthetic_contract(
    leash=0.05,
    workspace=Workspace((0.3, -0.3, 0.0), (0.7, 0.3, 0.3)),
    camera=CameraModel(
        WIDTH, HEIGHT, 31.0, 31.0, 16.0, 12.0, (1.2, 0.0, 0.6), (1.0, 0.0, 0.0, 0.0)
    ),
    image=ImageSpec(4, 0, 24, 24),
    state=(StateField("ee_position", "m", 3, (0.5, 0.0, 0.05), 10.0),),
)
GRIPPER_CONTRACT = dataclasses.replace(
    CONTRACT,
    task="block_lift",
    action_size=4,
    gripper=GripperSpec(
        open_width=0.08,
        speed=0.1,
        force=20.0,
        epsilon_inner=0.02,
        epsilon_outer=0.02,
        grasp_width=0.04,
        command_time=0.6,
    ),
)

_NOISE = np.random.default_rng(0).integers(0, 256, (64, HEIGHT * WIDTH * 3), dtype=np.uint8)
_PICTURES = [array.array("B", picture.tobytes()) for picture in _NOISE]
_BLANK = {
    "black": array.array("B", bytes(HEIGHT * WIDTH * 3)),
    "white": array.array("B", b"\xff" * (HEIGHT * WIDTH * 3)),
    "plain": array.array("B", bytes((200, 30, 90)) * (HEIGHT * WIDTH)),
}
_TOOL = np.asarray(CONTRACT.tool_offset)
_BAD_NUMBERS = (math.nan, math.inf, -math.inf, 1e308, -1e308, 1e17, 5e-324)

FRAME_KINDS = (
    "good", "silent", "frozen", "repeated", "black", "white", "plain", "encoding", "size",
    "empty", "truncated", "step", "zero_stamp", "future", "old", "any_stamp", "frame_id",
)  # fmt: skip
POSE_KINDS = (
    "good", "silent", "nan", "huge", "jump", "creep", "push", "no_turn", "bad_turn", "tilt",
    "frame_id", "zero_stamp", "future", "old", "any_stamp",
)  # fmt: skip
STATUS_KINDS = ("good", "silent", "halt", "slow", "any_code")
POLICY_KINDS = (
    "random", "ahead", "large", "huge", "nan", "infinite", "raises", "shape", "surprised",
    "odd_surprise", "slow", "hangs", "imagines_nan",
)  # fmt: skip
SERVO_KINDS = ("obeys", "gone", "refuses", "late", "mute", "errs", "deaf")
GRIPPER_KINDS = ("obeys", "refuses", "mute", "fails", "late", "errs", "cancels")
ROBOT_KINDS = (
    "good", "silent", "mode", "error", "touch", "force", "nan", "nan_force", "unreached",
    "zero_stamp", "old", "any_stamp",
)  # fmt: skip
FINGER_KINDS = ("good", "silent", "nan", "one", "none")
MACHINE_KINDS = ("held_up", "suspended", "ros_clock_jump", "ros_clock_set")
PERSON_KINDS = (
    "activate", "deactivate", "reconfigure", "set_parameter", "rival", "rival_leaves", "twin",
    "interrupt",
)  # fmt: skip


@dataclass(frozen=True)
class Output:
    """What a policy puts out."""

    action: Any
    surprise: float
    belief: np.ndarray = field(default_factory=lambda: np.zeros(3))


class FuzzPolicy:
    """Puts out what the fuzz says."""

    def __init__(self, time: VirtualTime, size: int) -> None:
        self.time = time
        self.next: Callable[[], tuple[Any, float, float]] = lambda: (np.zeros(size), 1.0, 0.005)
        self.imagines_nan = False

    def reset(self) -> None:
        pass

    def warm_up(self, *_: Any) -> None:
        pass

    def step(self, _frame: Any, _position: Any) -> Output:
        action, surprise, duration = self.next()
        self.time.now += duration
        if isinstance(action, Exception):
            raise action
        return Output(action, surprise)

    def commit(self, *_: Any) -> None:
        pass

    def imagine(self, horizon: int = 15) -> np.ndarray:
        if self.imagines_nan:
            raise PolicyError("the imagined state holds NaN")
        return np.zeros((horizon, 3))


class FuzzWorld:
    """Everything around one node.

    Args:
        rng: draws what an event leaves open.
        overrides: the node's parameters.
        counts: counts the events by kind.
        contract: of the checkpoint.
    """

    def __init__(
        self,
        rng: random.Random,
        overrides: dict[str, Any],
        counts: Counter[str] | None = None,
        contract: PolicyContract = CONTRACT,
    ) -> None:
        self.rng = rng
        self.contract = contract
        self.counts = Counter() if counts is None else counts
        self.time = VirtualTime()
        self.policy = FuzzPolicy(self.time, contract.action_size)
        self.rivals: list[str] = []
        self.twins: list[str] = []
        self.servo = self.gripper = "obeys"
        self.fingers = "good"
        self.robot: str | None = None
        self.contact_axis = np.array([0.0, 0.0, 1.0])
        """What kind of state the arm tells of itself; None where nobody does."""
        self.blocked = False
        """Whether something stands in the arm's way."""
        self.paused = True
        self.tip = np.asarray(CONTRACT.home)
        self.faults: Counter[str] = Counter()
        self._context = offline(self.time, contract, self.policy)
        self._context.__enter__()
        self.node = OfflineNode(self, self.time, overrides)
        self.values = default_values() | overrides
        self._begin_anywhere()
        self.judge = self._new_judge()
        self._pending: list[tuple[float, Answer, str, Any]] = []
        self._identical = self._blank = self._frames_seen = 0
        self._last_picture = 0
        self._last_sent: Any = None
        self._frame_id = "camera"
        self._opened_in_vain = self._opening = False
        self._halted_since: float | None = None
        self._fault_seen: Any = None
        self._last_stamp = Time()
        self._twist = self._spin = np.zeros(3)
        self._twist_until = 0.0
        self._rival_since = math.inf
        self._running_since = 0.0
        self.time.now += 5.0  # the node has looked around by now
        self._call(self.node.trigger_configure)

    def _begin_anywhere(self) -> None:
        """Somebody may have guided the arm: the tool leans, or is beside the workspace."""
        rng = self.rng
        self.turn = np.array(DOWN)
        if rng.random() < 0.15:
            lean = rng.uniform(0.0, 0.95 * self.values["tool_tilt_limit"])
            axis = np.array([rng.gauss(0.0, 1.0) for _ in range(3)])
            self.turn = turned(self.turn, lean * axis / np.linalg.norm(axis))
        if rng.random() < 0.15:
            box, axis = CONTRACT.workspace, rng.randrange(3)
            side = rng.choice((1.0, -1.0))
            edge = (box.upper if side > 0 else box.lower)[axis]
            self.tip = self.tip.copy()
            self.tip[axis] = edge + side * rng.uniform(0.0, 0.95 * CONTRACT.leash)

    def close(self) -> None:
        self._context.__exit__(None, None, None)

    def _new_judge(self) -> Judge:
        values = self.values
        slack = TICK_SLACK
        self._yields_above = float(values["contact_yield_force"])
        return Judge(
            CONTRACT,
            silence={
                "frame": max(SILENCE_LIMIT, values["frame_interval_limit"] + slack),
                "pose": max(SILENCE_LIMIT, values["pose_age_limit"] + slack),
                "status": max(SILENCE_LIMIT, values["servo_silence_limit"] + slack),
            },
            validity=values["command_validity"] * CONTRACT.control_period,
            hold_time=values["stop_hold_time"],
            twist=values["command_mode"] == "twist",
            frame=values["base_frame"] or CONTRACT.base_frame,
            command_time=0.0 if self.contract.gripper is None else 0.6,
            step_periods=step_periods(values["speed"]),
        )

    # The graph's side.

    def published(self, topic: str, message: Any) -> None:
        if topic.endswith(("pose_target_cmds", "delta_twist_cmds")):
            self._note_fault()
            self.judge.command(message, self.time.now, self.time.ros_nanoseconds())
            if not self.paused and self.servo != "deaf":
                self._move(message)
        elif topic.endswith("/step"):
            self.judge.step(message, self.time.now)

    def goal_sent(self, name: str, goal: Any) -> Answer:
        answer = Answer()
        self._note_fault()
        # One that failed may be sent again as soon as it is over, and only an opening.
        opening = "move" in name and (not self.running or self._opened_in_vain)
        self._opened_in_vain, self._opening = False, "move" in name
        self.judge.gripper_goal(self.time.now, opening=opening)
        delay = {"late": self.rng.uniform(0.0, 3.0), "mute": math.inf}.get(self.gripper, 0.01)
        self._pending.append((self.time.now + delay, answer, name, goal))
        return answer

    def listens(self, topic: str) -> bool:
        return self.servo not in ("gone", "deaf") or "servo_node" not in topic

    def serves(self, name: str) -> bool:
        return self.servo != "gone" or "servo" not in name

    def called(self, name: str, request: Any) -> Answer:
        answer = Answer()
        delay = {"late": self.rng.uniform(0.0, 3.0), "mute": math.inf}.get(self.servo, 0.0)
        self._pending.append((self.time.now + delay, answer, name, request))
        return answer

    def forgotten(self, answer: Answer) -> None:
        self._pending = [entry for entry in self._pending if entry[1] is not answer]

    def _answer(self) -> None:
        due = [entry for entry in self._pending if entry[0] <= self.time.now]
        for entry in due:
            _, answer, name, request = entry
            self._pending.remove(entry)
            if "gripper" in name:
                self._call(self._answer_goal, answer)
            elif self.servo in ("gone", "mute"):
                continue
            elif self.servo == "errs":
                answer.answer(None, RuntimeError("the service failed"))
            elif self.rng.random() < 0.02:
                answer.answer(None)
            else:
                accepted = self.servo != "refuses"
                answer.answer(SimpleNamespace(success=accepted, message=""))
                if accepted and "pause" in name:
                    self.paused = getattr(request, "data", self.paused)

    def _answer_goal(self, answer: Answer) -> None:
        """The gripper accepts or refuses a command, and later tells what became of it."""
        if self.gripper == "errs":
            answer.answer(None, RuntimeError("the gripper is gone"))
            return
        if answer.final is not None:
            status = {"cancels": 5, "fails": 6}.get(self.gripper, 4)
            result = SimpleNamespace(
                success=self.gripper != "fails" and self.rng.random() < 0.9,
                error=self.rng.choice(("", "", "", "libfranka: boom")),
            )
            self._opened_in_vain = self._opening and not (status == 4 and result.success)
            answer.answer(SimpleNamespace(status=status, result=result))
            return
        result_answer = Answer()
        result_answer.final = True
        accepted = self.gripper != "refuses"
        answer.answer(SimpleNamespace(accepted=accepted, get_result_async=lambda: result_answer))
        if accepted and self.gripper != "mute":
            due = self.time.now + self.rng.uniform(0.02, 0.6)
            self._pending.append((due, result_answer, "gripper", None))

    def _move(self, message: Any) -> None:
        if isinstance(message, TwistStamped):
            v, w = message.twist.linear, message.twist.angular
            self._spin = np.array([w.x, w.y, w.z])
            swing = np.cross(self._spin, rotate(self.turn, _TOOL))
            self._twist = np.array([v.x, v.y, v.z]) + swing
            self._twist_until = self.time.now + 0.1
        elif isinstance(message, PoseStamped):
            p, q = message.pose.position, message.pose.orientation
            turn = np.array([q.w, q.x, q.y, q.z])
            way = np.array([p.x, p.y, p.z]) + rotate(turn, _TOOL) - self.tip
            self.turn = self.turn if self.blocked else turn
            length = float(np.linalg.norm(way))
            # As fast as Servo lets it, in the time until the next command.
            reach = 0.0 if self.blocked else 0.005
            self.tip = self.tip + way * min(1.0, reach / max(length, 1e-9))

    def _call(self, action: Callable[..., Any], *arguments: Any) -> Any:
        """Runs a callback of the node as its executor would: an exception ends the process."""
        try:
            return action(*arguments)
        except Violation:
            raise
        except Exception as error:
            raise Violation(f"the process dies: {type(error).__name__}: {error}") from error
        finally:
            self._note_fault()
            self.judge.settle()
            if self.judge.broken is not None:
                raise self.judge.broken
            for error in self.node.lifecycle_errors:
                raise Violation(f"a transition raises {type(error).__name__}: {error}") from error

    def _note_fault(self) -> None:
        """What the node itself says of its state."""
        activation = self.node._activation
        if activation is None:
            self._fault_seen = None
            if self.node.lifecycle != "active":
                self.judge.deactivated()
            return
        if activation.fault is not None and activation.fault is not self._fault_seen:
            self._fault_seen = activation.fault
            self.faults[activation.fault.code] += 1
        if not activation.running:
            self._running_since = self.time.now
        if activation._loop.phase.value in ("holding", "stopped") and activation.running:
            self.judge.must_stop("the node said so", self.time.now)

    @property
    def running(self) -> bool:
        """Whether the node moves the arm."""
        activation = self.node._activation
        return activation is not None and activation.running

    def _now_stamp(self, age: float = 0.0) -> Time:
        nanoseconds = max(0, self.time.ros_nanoseconds() - round(age * 1e9))
        return Time(
            sec=min(nanoseconds // 1_000_000_000, 2**31 - 1), nanosec=nanoseconds % 1_000_000_000
        )

    def _stamp(self, kind: str) -> tuple[Time, bool]:
        """A stamp of that kind, and whether it is good."""
        rng, values = self.rng, self.values
        if kind == "zero_stamp":
            return Time(), False
        if kind == "future":
            return self._now_stamp(-values["clock_tolerance"] - rng.uniform(0.01, 5.0)), False
        if kind == "old":
            age = max(values["frame_age_limit"], values["pose_age_limit"])
            return self._now_stamp(age + rng.choice((0.01, 1.0, 1e5))), False
        if kind == "any_stamp":
            return Time(sec=rng.randint(-(2**31), 10**8), nanosec=rng.randint(0, 2**32 - 1)), False
        return self._now_stamp(rng.uniform(0.0, 0.02)), True

    # Events.

    def tick(self, seconds: float = TICK_PERIOD) -> None:
        """Time passes and the node's timer fires."""
        self.time.now += seconds
        if self.time.now < self._twist_until and not (self.paused or self.blocked):
            self.tip = self.tip + self._twist * min(seconds, 0.1)
            self.turn = turned(self.turn, self._spin * min(seconds, 0.1))
        self._answer()
        moving = self.running and not self.values["dry_run"]
        if self.time.now > self._rival_since + 0.1 + 2 * TICK_SLACK and moving:
            self.judge.must_stop("a rival commands", self.time.now)
        self._call(self.node.fire, self.node.tick_timer)

    def frame(self, kind: str) -> None:
        """A camera frame."""
        self.counts[f"frame {kind}"] += 1
        if kind == "silent":
            return
        rng = self.rng
        stamp, good = self._stamp(kind)
        borne = False
        if kind == "repeated":
            stamp = self._last_stamp
            age = self.time.ros_nanoseconds() * 1e-9 - stamp.sec - stamp.nanosec * 1e-9
            good = 0 <= age < 0.19
            values = self.values
            # After a jump of the clock it may be neither new enough nor too old to be borne.
            borne = -values["clock_tolerance"] - 1e-6 <= age <= values["frame_age_limit"] + 1e-6
        if kind not in ("frozen", "repeated"):
            self._last_picture = (self._last_picture + rng.randint(1, 63)) % 64
        message = Image(
            height=HEIGHT,
            width=WIDTH,
            encoding="rgb8",
            step=WIDTH * 3,
            data=_BLANK.get(kind, _PICTURES[self._last_picture]),
        )
        message.header.stamp = self._last_stamp = stamp
        message.header.frame_id = self._frame_id
        if kind == "encoding":
            message.encoding = rng.choice(("mono8", "", "RGB8", "bayer_rggb8", "16UC1", "x" * 999))
            good = False
        elif kind == "size":
            message.width, message.height = rng.choice(
                ((WIDTH * 2, HEIGHT * 2), (HEIGHT, WIDTH), (0, 0), (2**32 - 1, 2**32 - 1))
            )
            good = False
        elif kind == "empty":
            message.data = array.array("B")
            good = False
        elif kind == "truncated":
            message.data = message.data[: rng.randint(0, len(message.data) - 1)]
            good = False
        elif kind == "step":
            message.step = rng.choice((0, 1, WIDTH * 3 - 1, WIDTH * 3 + 1, 2**31, 2**32 - 1))
            good = False
        elif kind == "frame_id":
            message.header.frame_id = rng.choice(("", "other_camera", "/" * 50))
            good = False
        picture = _BLANK.get(kind, _PICTURES[self._last_picture])
        identical, self._last_sent = picture is self._last_sent, picture
        blank = kind in _BLANK
        running = self.running
        self._blank = self._blank + 1 if running and good and blank else 0
        # What was seen while arming does not count.
        again = running and self._frames_seen > 0 and good and identical
        self._identical = self._identical + 1 if again else 1
        self._frames_seen = self._frames_seen + 1 if running else 0
        if good:
            self.judge.good("frame", self.time.now)
        elif running and not borne:
            self.judge.must_stop(f"frame {kind}", self.time.now)
        if running and self._identical >= self.values["frozen_frame_limit"]:
            self.judge.must_stop("frozen", self.time.now)
        if running and self._blank >= self.values["blank_frame_limit"]:
            self.judge.must_stop("blank", self.time.now)
        self._call(self.node.deliver, "/image_raw", message)

    def pose(self, kind: str) -> None:
        """A measured end-effector pose."""
        self.counts[f"pose {kind}"] += 1
        if kind == "silent":
            return
        rng = self.rng
        stamp, good = self._stamp(kind)
        message = PoseStamped()
        message.header.stamp = stamp
        message.header.frame_id = self.values["base_frame"] or CONTRACT.base_frame
        if kind == "creep":
            self.tip = self.tip + np.array([rng.uniform(-0.01, 0.01) for _ in range(3)])
        elif kind == "push":
            self.tip = self.tip + np.array([0.0, 0.045, 0.0])
        turn = self.turn
        if kind == "tilt":
            angle = self.values["tool_tilt_limit"] + rng.uniform(0.01, 1.0)
            turn = np.array([0.0, math.cos(angle / 2), math.sin(angle / 2), 0.0])
            good = angle > math.pi  # cannot be: then it is no tilt
        position = self.tip - rotate(turn, _TOOL)
        seen = self.judge.last.get("pose")
        if kind == "jump":
            # One that is told again, or before the start, is no jump: the last pose decides below.
            position = position + np.array([0.0, 0.0, self.values["pose_jump_limit"] * 2 + 0.2])
        elif kind in ("nan", "huge"):
            bad = rng.choice(_BAD_NUMBERS[:3] if kind == "nan" else _BAD_NUMBERS[3:6])
            position[rng.randrange(3)] = bad
            good = False
        elif kind == "no_turn":
            turn, good = np.zeros(4), False
        elif kind == "bad_turn":
            turn = np.array([rng.choice((*_BAD_NUMBERS, 2.0)) for _ in range(4)])
            good = False
        elif kind == "frame_id":
            message.header.frame_id = rng.choice(("", "world", "panda_link8", "/"))
            good = False
        p, q = message.pose.position, message.pose.orientation
        p.x, p.y, p.z = position.tolist()
        q.w, q.x, q.y, q.z = turn.tolist()
        if good:
            tip = position + rotate(turn, _TOOL)
            if seen is not None and seen.tip is not None and self.running:
                jump = float(np.linalg.norm(tip - seen.tip))
                good = jump <= self.values["pose_jump_limit"]
            if good:
                self.judge.good("pose", self.time.now, tip)
        if not good and self.running:
            self.judge.must_stop(f"pose {kind}", self.time.now)
        self._call(self.node.deliver, "/ee_pose", message)

    def status(self, kind: str) -> None:
        """A status of Servo; none while it is paused or gone."""
        self.counts[f"status {kind}"] += 1
        if kind == "silent" or self.paused or self.servo == "gone":
            return
        code = {"good": 0, "halt": self.rng.choice(HALT_CODES), "slow": self.rng.choice((1, 3, 4))}
        value = code.get(kind, self.rng.randint(-128, 127))
        halted = value in HALT_CODES
        now = self.time.now
        self._halted_since = (self._halted_since or now) if halted else None
        self.judge.good("status", now)
        moving = self.running and not self.values["dry_run"]
        if halted and moving and now - self._running_since > 0.1:
            since = max(self._halted_since or now, self._running_since + 0.1)
            if now - since > self.values["servo_halt_limit"] + 2 * FRAME_PERIOD:
                self.judge.must_stop("halted", now)
        self._call(self.node.deliver, "/servo_node/status", ServoStatus(code=value, message="fuzz"))

    def policy_will(self, kind: str) -> None:
        """What the networks put out from now on."""
        self.counts[f"policy {kind}"] += 1
        rng = self.rng

        size = self.contract.action_size

        def numbers(scale: float) -> np.ndarray:
            return np.array([rng.uniform(-scale, scale) for _ in range(size)])

        def put_out() -> tuple[Any, float, float]:
            action: Any = numbers(1.0)
            surprise, duration = 1.0, 0.005
            if kind == "ahead":
                action[:] = 0.9
            elif kind == "large":
                action = numbers(50.0)
            elif kind == "huge":
                action = numbers(1e308)
            elif kind in ("nan", "infinite"):
                action[rng.randrange(size)] = math.nan if kind == "nan" else math.inf
            elif kind == "raises":
                action = rng.choice((RuntimeError("no"), ValueError(""), MemoryError(), OSError()))
            elif kind == "shape":
                action = rng.choice((np.zeros(2), np.zeros((3, 3)), np.zeros(0), 1.0, None, "x"))
            elif kind == "surprised":
                surprise = rng.uniform(50.0, 500.0)
            elif kind == "odd_surprise":
                surprise = rng.choice((math.nan, math.inf, -math.inf, -5.0, 1e300))
            elif kind == "slow":
                duration = rng.uniform(0.05, 0.2)
            elif kind == "hangs":
                duration = rng.uniform(0.2, 5.0)
            if kind in ("nan", "infinite", "raises") and not self.values["dry_run"]:
                self.judge.must_stop(f"policy {kind}", self.time.now)
            return action, surprise, duration

        self.policy.next = put_out
        self.policy.imagines_nan = kind == "imagines_nan"

    def servo_will(self, kind: str) -> None:
        """How Servo behaves from now on."""
        self.counts[f"servo {kind}"] += 1
        self.servo = kind
        if kind == "gone":
            self.paused = True  # when it is back it is a new process, and idle

    def gripper_will(self, kind: str) -> None:
        """How the gripper behaves from now on."""
        self.counts[f"gripper {kind}"] += 1
        self.gripper = kind

    def fingers_will(self, kind: str) -> None:
        """What the gripper says of its fingers from now on."""
        self.counts[f"fingers {kind}"] += 1
        self.fingers = kind

    def _send_fingers(self) -> None:
        position = {"nan": [math.nan, 0.0], "one": [0.04], "none": []}.get(
            self.fingers, [0.04, 0.04]
        )
        if self.fingers != "silent":
            message = JointState(position=position)
            self._call(self.node.deliver, "/franka_gripper/joint_states", message)

    def robot_will(self, kind: str) -> None:
        """What the arm says of itself from now on."""
        axis = np.array([self.rng.gauss(0.0, 1.0) for _ in range(3)])
        self.contact_axis = axis / np.linalg.norm(axis)
        self.counts[f"robot {kind}"] += 1
        self.robot = kind

    def _send_robot_state(self, kind: str) -> None:
        if kind == "silent":
            return
        rng = self.rng
        stamp, good = self._stamp(kind)
        force = np.zeros(3)
        message = RobotState(mode=RobotState.MOVE, command_success_rate=1.0)
        message.header.stamp = stamp
        if kind == "mode":
            message.mode = rng.choice((0, 1, 3, 4, 5, 6, 7, 255))
        elif kind == "error":
            message.errors = [rng.choice(("", "joint_reflex", "x" * 99))]
        elif kind == "touch":
            # Less than stops the arm.
            force = rng.choice((1.0, -1.0)) * rng.uniform(1.0, 29.0) * self.contact_axis
            message.contact_force = float(np.linalg.norm(force))
            wrench = message.external_wrench.force
            wrench.x, wrench.y, wrench.z = force.tolist()
        elif kind == "force":
            message.contact_force = rng.choice((30.1, 1e9, math.inf))
        elif kind == "nan":
            message.contact_force = rng.choice((math.nan, 0.0))
            message.command_success_rate = rng.choice((math.nan, math.inf))
        elif kind == "nan_force":
            message.external_wrench.force.y = rng.choice((math.nan, math.inf))
        elif kind == "unreached":
            message.command_success_rate = rng.uniform(-1.0, 0.79)
        if kind in ("mode", "error", "force", "nan", "nan_force"):
            good = False
            if self.running and not self.values["dry_run"]:
                self.judge.must_stop(f"robot {kind}", self.time.now)
        if good:
            self.judge.good("robot", self.time.now)
            self.judge.watch("robot", SILENCE_LIMIT + TICK_SLACK)
        self.judge.feels(force, self._yields_above)
        self._call(self.node.deliver, "/robot_state", message)

    def machine(self, kind: str) -> None:
        """The computer or its clock misbehaves."""
        self.counts[f"machine {kind}"] += 1
        rng = self.rng
        if kind == "held_up":
            self.tick(rng.uniform(0.03, 0.3))
        elif kind == "suspended":
            self.tick(rng.uniform(0.5, 1e5))
        elif kind == "ros_clock_jump":
            self.time.ros_offset += rng.uniform(-2.0, 2.0)
        else:
            self.time.ros_offset = rng.choice((0.0, 1.7e9, 2.1e9)) - self.time.now + 1e4

    def person(self, kind: str) -> None:
        """Somebody asks the node for something, whether it makes sense or not."""
        self.counts[f"person {kind}"] += 1
        node = self.node
        if kind == "activate":
            self._activate()
        elif kind in ("deactivate", "reconfigure"):
            self.judge.must_stop(kind, self.time.now)
            self._refusable(node.trigger_deactivate)
            if kind == "reconfigure":
                self._refusable(node.trigger_cleanup)
                self._refusable(node.trigger_configure)
        elif kind == "set_parameter":
            name, value = self.rng.choice(tuple(_parameter_values(self.rng)))
            if self._call(node.try_set, name, value):
                self.values[name] = value
        elif kind == "rival":
            self.rivals, self._rival_since = ["rival"], self.time.now
        elif kind == "rival_leaves":
            self._no_rivals()
        elif kind == "twin":
            self.twins = ["twist_policy_node"]
        else:
            self.judge.must_stop("a signal", self.time.now)
            self._call(node.stand_still)
            node.lifecycle = "inactive" if node.lifecycle == "active" else node.lifecycle

    def _no_rivals(self) -> None:
        self.rivals, self.twins, self._rival_since = [], [], math.inf

    def _activate(self) -> None:
        if self.node.lifecycle == "unconfigured":
            self._refusable(self.node.trigger_configure)
        if self.node.lifecycle != "inactive":
            self._refusable(self.node.trigger_activate)
            return
        self.judge = self._new_judge()
        self._halted_since = None
        self.judge.activated()
        if self._call(self.node.trigger_activate) != SUCCESS:
            self.judge.deactivated()

    def _refusable(self, transition: Callable[[], Any]) -> None:
        """A transition that the present state may not have."""
        try:
            self._call(transition)
        except Violation as refusal:
            if "no such transition" not in str(refusal):
                raise

    def beat(self, frame: str, pose: str, status: str) -> None:
        """One camera period of everyday life, with these kinds of inputs."""
        self.pose(pose)
        self.tick(0.013)
        if self.contract.gripper is not None:
            self._send_fingers()
        if self.robot is not None:
            self._send_robot_state(self.robot)
        self.frame(frame)
        self.status(status)
        self.tick(FRAME_PERIOD - 0.013)


def _parameter_values(rng: random.Random) -> Any:
    """Pairs of a parameter that may change and a value, sensible or not."""
    for row in TABLE:
        if row.read_only:
            continue
        yield row.name, rng.choice((math.nan, -1.0, 10**9, "x", None, True, row.default))
        if isinstance(row.default, float) and row.minimum is not None and row.maximum is not None:
            yield row.name, rng.uniform(row.minimum, row.maximum)


def random_overrides(rng: random.Random) -> dict[str, Any]:
    """Parameters of a node: mostly the defaults, as in everyday life."""
    overrides: dict[str, Any] = {"checkpoint": "models/block_push"}
    overrides["command_mode"] = rng.choice(("pose", "twist"))
    if rng.random() < 0.05:
        overrides["dry_run"] = True
    if rng.random() < 0.2:
        overrides["speed"] = rng.choice((0.1, 0.5, rng.uniform(0.01, 1.0)))
    if rng.random() < 0.2:
        for name, low, high in (
            ("frame_interval_limit", 0.05, 1.0),
            ("pose_age_limit", 0.05, 1.0),
            ("servo_silence_limit", 0.05, 1.0),
            ("command_validity", 1.0, 3.0),
            ("stop_hold_time", 0.04, 0.5),
            ("pose_jump_limit", 0.005, 0.5),
        ):
            overrides[name] = rng.uniform(low, high)
    return overrides


@dataclass
class Tally:
    """What a number of sequences came to."""

    sequences: int = 0
    commands: int = 0
    motions: int = 0
    moved: int = 0
    """Sequences in which the arm was moved."""
    events: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    """Stops, by the code that the node gave."""
    violations: list[tuple[int, str]] = field(default_factory=list)
    """(number of the sequence, what it broke)."""


def run_sequence(seed: int, number: int, tally: Tally) -> None:
    """Runs sequence `number` of `seed`; notes what it broke, and does not raise."""
    rng = random.Random(f"{seed}/{number}")
    world: FuzzWorld | None = None
    tally.sequences += 1
    try:
        contract = GRIPPER_CONTRACT if rng.random() < 0.15 else CONTRACT
        world = FuzzWorld(rng, random_overrides(rng), tally.events, contract)
        _play(world, rng)
    except Violation as violation:
        tally.violations.append((number, str(violation)))
    finally:
        if world is not None:
            tally.commands += world.judge.commands
            tally.motions += world.judge.motions
            tally.moved += world.judge.motions > 0
            tally.faults += world.faults
            world.close()


def _play(world: FuzzWorld, rng: random.Random) -> None:
    """A person activates, the arm moves; then comes what the dice say, and what follows."""
    if rng.random() < 0.1:  # before anybody activates
        for _ in range(3):
            world.beat("good", "good", "good")
        if rng.random() < 0.5:
            _event(world, rng)
    world.policy_will(rng.choice(("random", "random", "large", "ahead")))
    world.robot = "good" if rng.random() < 0.5 else None
    world.blocked = rng.random() < 0.2
    world.counts["arm blocked"] += world.blocked
    if world.robot is not None and rng.random() < (0.7 if world.blocked else 0.1):
        world.robot_will("touch")
    world.person("activate")
    for _ in range(rng.randint(5, 12) + 12 * world.blocked):
        world.beat("good", "good", "good")
    for _ in range(rng.randint(1, 3)):
        frame, pose, status = _event(world, rng)
        for _ in range(rng.choice((1, 1, 2, 4, 7))):
            world.beat(frame, pose, status)
    # Trouble that is over must not start the arm again.
    for _ in range(rng.randint(0, 4)):
        world.beat("good", "good", "good")
    if rng.random() < 0.3:
        world.person("rival_leaves")
        world.servo_will("obeys")
        world.robot = world.robot and "good"
        world.policy_will("random")
        world.person("activate")
        for _ in range(rng.randint(3, 9)):
            world.beat("good", "good", "good")


def _event(world: FuzzWorld, rng: random.Random) -> tuple[str, str, str]:
    """One thing goes wrong; returns the kinds of frame, pose and status from now on."""
    frame = pose = status = "good"
    dice = rng.random()
    if dice < 0.25:
        frame = rng.choice(FRAME_KINDS)
    elif dice < 0.48:
        pose = rng.choice(POSE_KINDS)
    elif dice < 0.58:
        status = rng.choice(STATUS_KINDS)
    elif dice < 0.62:
        world.robot_will(rng.choice(ROBOT_KINDS))
    elif dice < 0.72:
        world.policy_will(rng.choice(POLICY_KINDS))
    elif dice < 0.74 and world.contract.gripper is not None:
        world.gripper_will(rng.choice(GRIPPER_KINDS))
        world.fingers_will(rng.choice(FINGER_KINDS))
    elif dice < 0.78:
        world.servo_will(rng.choice(SERVO_KINDS))
    elif dice < 0.86:
        world.machine(rng.choice(MACHINE_KINDS))
    elif dice < 0.95:
        world.person(rng.choice(PERSON_KINDS))
    else:  # everything at once
        frame, pose = rng.choice(FRAME_KINDS), rng.choice(POSE_KINDS)
        status = rng.choice(STATUS_KINDS)
        world.machine(rng.choice(MACHINE_KINDS))
    return frame, pose, status
