"""Motions through ROS actions: sent, polled and cancelled without waiting."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twist_robot.motion.motions import MotionState

_SUCCEEDED, _CANCELED, _ABORTED = 4, 5, 6  # action_msgs/GoalStatus
_ENDINGS = {_CANCELED: "cancelled by its server", _ABORTED: "aborted by its server"}
_ANSWER_TIMEOUT = 5.0
"""Seconds in which an action server has to accept or reject a goal."""


class ActionMotion:
    """One goal of an action server.

    Args:
        client: an `rclpy.action.ActionClient`.
        goal: the goal message.
        explain: what is wrong with a result, in words; empty when it is a success.
        now: seconds on the steady clock.
    """

    def __init__(self, client: Any, goal: Any, explain: Callable[[Any], str], now: float) -> None:
        self.message = ""
        self._name = getattr(client, "_action_name", "the action")
        self._explain = explain
        self._sent = now
        self._handle: Any = None
        self._result: Any = None
        self._cancelled = False
        self._over: MotionState | None = None
        self._goal = client.send_goal_async(goal)

    def poll(self, now: float) -> MotionState:
        """How it stands; `message` says why it failed."""
        if self._over is None:
            self._over = self._advance(now)
        return self._over or MotionState.RUNNING

    def cancel(self) -> None:
        """Cancels the goal, also one that is accepted only later."""
        self._cancelled = True
        if self._handle is not None:
            self._handle.cancel_goal_async()

    def _advance(self, now: float) -> MotionState | None:
        if self._handle is None:
            if not self._goal.done():
                if now - self._sent <= _ANSWER_TIMEOUT:
                    return None
                self.cancel()
                return self._fail(f"{self._name} did not answer within {_ANSWER_TIMEOUT:g} s")
            if self._goal.exception() is not None:
                return self._fail(f"{self._name} failed: {self._goal.exception()}")
            self._handle = self._goal.result()
            if not self._handle.accepted:
                return self._fail(
                    f"{self._name} rejected the goal: is its controller active, and is the arm "
                    "free of errors and in the mode that executes motions?"
                )
            if self._cancelled:
                self._handle.cancel_goal_async()
            self._result = self._handle.get_result_async()
        if not self._result.done():
            return None
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

    def _fail(self, message: str) -> MotionState:
        self.message = message
        return MotionState.FAILED
