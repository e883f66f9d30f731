"""Motions through ROS actions: sent, polled and cancelled without waiting.

A server that does not answer in time may still accept the goal, or has done so and its answer was
lost: the arm would move with nobody watching. So a motion that was given up or cancelled goes on
asking the server to cancel its goal, and counts as settled only when the server has said that the
goal was rejected, has ended, or is not known to it.
"""

from __future__ import annotations

import functools
import uuid
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from action_msgs.msg import GoalInfo
from rclpy.action.client import ClientGoalHandle

from twist_robot.motion.motions import MotionState

_SUCCEEDED, _CANCELED, _ABORTED = 4, 5, 6  # action_msgs/GoalStatus
_UNKNOWN_GOAL, _TERMINATED = 2, 3  # action_msgs/srv/CancelGoal
_ENDINGS = {_CANCELED: "cancelled by its server", _ABORTED: "aborted by its server"}
_ANSWER_TIMEOUT = 5.0
"""Seconds in which an action server has to accept or reject a goal."""
_REPEAT_PERIOD = 1.0
"""Seconds after which a cancel request that changed nothing is sent again."""


class ActionMotion:
    """One goal of an action server.

    The client's callbacks run in the thread that polls: rclpy's action client may lose the answer
    to a goal that is sent while another thread spins it.

    Args:
        client: an `rclpy.action.ActionClient`.
        goal: the goal message.
        explain: what is wrong with a result, in words; empty when it is a success.
        now: seconds on the steady clock.
    """

    def __init__(self, client: Any, goal: Any, explain: Callable[[Any], str], now: float) -> None:
        self.message = ""
        self._client = client
        self._name = getattr(client, "_action_name", "the action")
        self._explain = explain
        self._sent = now
        self._late = False
        self._handle: Any = None
        self._result: Any = None
        self._cancelled = False
        self._cancel_again_at: float | None = None
        self._ended = False
        self._over: MotionState | None = None
        self._id = GoalInfo().goal_id
        self._id.uuid = list(uuid.uuid4().bytes)
        self._goal = client.send_goal_async(goal, goal_uuid=self._id)
        # Not in `poll`: an answer counts also when nobody polls this motion any more.
        self._goal.add_done_callback(self._on_answer)

    def poll(self, now: float) -> MotionState:
        """How it stands; `message` says why it failed."""
        if self._over is None:
            self._over = self._advance(now)
        if self._over is None and self._cancelled:
            self._cancel_again(now)
        return self._over or MotionState.RUNNING

    def cancel(self) -> None:
        """Cancels the goal, also one that is accepted only later."""
        self._cancelled = True
        self._send_cancel()

    def unsettled(self, now: float) -> str:
        """What it may still do, with the cure; empty when its goal has ended for sure.

        While it may, the server is asked again and again to cancel it.
        """
        if self._ended or (self._result is not None and self._result.done()):
            return ""
        self._late = self._late or now - self._sent > _ANSWER_TIMEOUT
        if self._cancelled:
            self._cancel_again(now)
        else:
            self.cancel()
        return (
            f"{self._name} has not said that an earlier goal has ended, and the arm may still "
            "move: use the emergency stop if it does; restart the driver if this stays"
        )

    def _on_answer(self, future: Any) -> None:
        if future.exception() is not None:
            return
        self._handle = future.result()
        if not self._handle.accepted:
            self._ended = True
            return
        if self._cancelled:
            self._send_cancel()
        self._result = self._handle.get_result_async()

    def _advance(self, now: float) -> MotionState | None:
        if self._result is not None:
            return self._judge_result()
        if not self._goal.done():
            if now - self._sent <= _ANSWER_TIMEOUT:
                return None
            self._late = True
            self.cancel()
            return self._fail(
                f"{self._name} did not answer within {_ANSWER_TIMEOUT:g} s and may still move the "
                "arm: its goal is cancelled as soon as it is accepted; use the emergency stop if "
                "the arm moves"
            )
        if self._goal.exception() is not None:
            return self._fail(f"{self._name} failed: {self._goal.exception()}")
        if self._handle is None:
            return None  # the callback is about to run
        return self._fail(
            f"{self._name} rejected the goal: is its controller active, and is the arm "
            "free of errors and in the mode that executes motions?"
        )

    def _judge_result(self) -> MotionState | None:
        if not self._result.done():
            return self._fail(f"{self._name}: cancelled") if self._ended else None
        if self._result.exception() is not None:
            return self._fail(f"{self._name} failed: {self._result.exception()}")
        answer = self._result.result()
        detail = self._explain(answer.result)
        if answer.status == _SUCCEEDED and not detail:
            return MotionState.DONE
        ending = _ENDINGS.get(answer.status, f"ended with status {answer.status}")
        if answer.status == _SUCCEEDED:
            ending = "reported an error"
        return self._fail(f"{self._name}: {ending}" + (f": {detail}" if detail else ""))

    def _cancel_again(self, now: float) -> None:
        if self._cancel_again_at is not None and now < self._cancel_again_at:
            return
        if self._cancel_again_at is not None:
            self._send_cancel()
        self._cancel_again_at = now + _REPEAT_PERIOD

    def _send_cancel(self) -> None:
        # By the goal's id, which needs no answer of the server: that may be what was lost.
        handle = ClientGoalHandle(self._client, self._id, SimpleNamespace(accepted=False))
        # A cancel request may overtake a goal that was sent just before it: then the server does
        # not know the goal yet.
        sure = self._late or self._handle is not None
        answer = handle.cancel_goal_async()
        answer.add_done_callback(functools.partial(self._on_cancel_answer, sure))

    def _on_cancel_answer(self, sure: bool, future: Any) -> None:
        if future.exception() is None and sure:
            self._ended = self._ended or future.result().return_code in (_UNKNOWN_GOAL, _TERMINATED)

    def _fail(self, message: str) -> MotionState:
        self.message = message
        return MotionState.FAILED
