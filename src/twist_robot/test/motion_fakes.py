"""An arm in simulated time, and stand-ins for action clients and their messages."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from twist_robot.motion.arrival import JointReading
from twist_robot.motion.homing import Homing, HomingRules
from twist_robot.motion.joint_targets import JointTarget, joint_names
from twist_robot.motion.motions import Motion, MotionRequest, MotionState

JOINTS = joint_names("panda")
START = np.array([0.3, -0.2, 0.1, -2.2, 0.0, 2.0, 0.8])
HOME = JointTarget("home of block_push", JOINTS, (0.0, -0.05, 0.0, -2.5, 0.0, 2.4, 0.7))
ABOVE = JointTarget("above", JOINTS, (0.3, -0.3, 0.1, -2.3, 0.0, 2.1, 0.8))


class Future:
    """Like rclpy's, answered by the test."""

    def __init__(self) -> None:
        self._result: Any = None
        self._error: Exception | None = None
        self._done = False
        self._callbacks: list[Callable[[Any], None]] = []

    def answer(self, result: Any = None, error: Exception | None = None) -> None:
        self._result, self._error, self._done = result, error, True
        for callback in self._callbacks:
            callback(self)

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        self._callbacks.append(callback)
        if self._done:
            callback(self)

    def done(self) -> bool:
        return self._done

    def result(self) -> Any:
        return self._result

    def exception(self) -> Exception | None:
        return self._error


class GoalHandle:
    def __init__(self, accepted: bool) -> None:
        self.accepted = accepted
        self.result = Future()

    def get_result_async(self) -> Future:
        return self.result


class ActionClient:
    """Goals wait until the test accepts, rejects or finishes them; so do cancel requests."""

    _action_name = "/arm/do"

    def __init__(self) -> None:
        self.there = True
        self.goals: list[Any] = []
        self.ids: list[bytes] = []
        self.futures: list[Future] = []
        self.handles: list[GoalHandle] = []
        self.cancels: list[tuple[bytes, Future]] = []

    def server_is_ready(self) -> bool:
        return self.there

    def send_goal_async(self, goal: Any, goal_uuid: Any) -> Future:
        self.ids.append(bytes(goal_uuid.uuid))
        self.futures.append(Future())
        self.goals.append(goal)  # last: a test in another thread goes on then
        return self.futures[-1]

    def _cancel_goal_async(self, handle: Any) -> Future:
        self.cancels.append((bytes(handle.goal_id.uuid), Future()))
        return self.cancels[-1][1]

    def accept(self, accepted: bool = True) -> None:
        self.handles.append(GoalHandle(accepted))
        self.futures[-1].answer(self.handles[-1])

    def finish(self, status: int = 4, **result: Any) -> None:
        answer = SimpleNamespace(status=status, result=SimpleNamespace(**result))
        self.handles[-1].result.answer(answer)

    def answer_cancel(self, return_code: int) -> None:
        """0: it is being cancelled, 1: refused, 2: no such goal, 3: it has ended."""
        self.cancels[-1][1].answer(SimpleNamespace(return_code=return_code))


TRAJECTORY = SimpleNamespace(Goal=SimpleNamespace)
PTP = SimpleNamespace(Goal=SimpleNamespace)


class FakeMotion:
    """Takes a second; then the arm is where it was sent, or the motion failed."""

    def __init__(self, stand: Stand, request: MotionRequest) -> None:
        self.message = stand.failures.pop(0) if stand.failures else ""
        self._stand = stand
        self._request = request
        self._end = stand.now + stand.duration
        self.cancelled_at: float | None = None

    def poll(self, now: float) -> MotionState:
        if self.cancelled_at is not None:
            over = now >= self.cancelled_at + self._stand.cancel_takes
            return MotionState.FAILED if over else MotionState.RUNNING
        if now < self._end:
            return MotionState.RUNNING
        if self.message:
            return MotionState.FAILED
        target = self._stand.ends_at
        self._stand.positions = self._request.target.array() if target is None else target
        return MotionState.DONE

    def cancel(self) -> None:
        self.cancelled_at = self._stand.now


class Granted:
    def __init__(self, message: str = "") -> None:
        self.message = message

    def poll(self, now: float) -> MotionState:
        return MotionState.FAILED if self.message else MotionState.DONE

    def cancel(self) -> None: ...


class Stand:
    """Mover, surroundings and arm around one `Homing`; every attribute may be changed."""

    cancels_at_once = True

    def __init__(self, lifted: Callable[[list[float]], JointTarget | None], **rules: Any) -> None:
        self.now = 100.0
        self.positions: np.ndarray = START.copy()
        self.joint_states_on = True
        self.duration = 1.0
        self.cancel_takes = 0.3
        self.failures: list[str] = []
        self.ends_at: np.ndarray | None = None
        self.no_mover = ""
        self.unknown = ""
        self.problem = ""
        self.unsure = ""
        self.servo: str | None = ""
        self.servo_paused = 0
        self.motions: list[FakeMotion] = []
        self.held: list[tuple[float, ...]] = []
        self.holding: Motion | None = Granted()
        self.requests: list[MotionRequest] = []
        self.homing = Homing(HOME, lifted, self, self, HomingRules(**rules), self.now)

    # Mover
    def missing(self, now: float | None = None) -> str:
        return self.no_mover if now is None else self.unknown

    def start(self, request: MotionRequest, now: float) -> Motion:
        self.requests.append(request)
        self.motions.append(FakeMotion(self, request))
        return self.motions[-1]

    def hold(self, where: JointTarget, now: float) -> Motion | None:
        self.held.append(where.positions)
        return self.holding

    def unsettled(self, now: float) -> str:
        return self.unsure

    # Surroundings
    def objection(self, now: float) -> str:
        return self.problem

    def pause_servo(self, now: float) -> Motion | None:
        if self.servo is None:
            return None
        self.servo_paused += 1
        return Granted(self.servo)

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds / 0.02)):
            self.now += 0.02
            if self.joint_states_on:
                names, positions = list(JOINTS), self.positions.tolist()
                self.homing.joint_state(
                    JointReading.from_lists(self.now, names, positions, [0.0] * 7)
                )
            self.homing.poll(self.now)


class FakeService:
    """Switches a controller; answers when the test says so."""

    def __init__(self) -> None:
        self.asked: list[bool] = []
        self.calls: list[Pending] = []

    def switch(self, active: bool, now: float) -> Motion:
        self.asked.append(active)
        self.calls.append(Pending())
        return self.calls[-1]

    def answer(self, message: str = "") -> None:
        self.calls[-1].finish(message)


class Pending:
    def __init__(self) -> None:
        self.message = ""
        self._state = MotionState.RUNNING

    def finish(self, message: str) -> None:
        self.message = message
        self._state = MotionState.FAILED if message else MotionState.DONE

    def poll(self, now: float) -> MotionState:
        return self._state

    def cancel(self) -> None: ...
