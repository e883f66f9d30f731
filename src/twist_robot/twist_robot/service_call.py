"""A service call that is sent, polled and forgotten without waiting."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twist_robot.motion.motions import MotionState


class ServiceCall:
    """One call of a service, as one of the motions that can be polled.

    It is sent once: these services act, and acting twice is not the same as once.

    Args:
        client: an `rclpy` service client.
        request: what is asked.
        explain: what is wrong with an answer, in words; empty when it is a success.
        now: seconds on the steady clock.
        timeout: seconds until the service must have answered.
    """

    def __init__(
        self,
        client: Any,
        request: Any,
        explain: Callable[[Any], str],
        now: float,
        timeout: float,
    ) -> None:
        self.message = ""
        self._client = client
        self._request = request
        self._explain = explain
        self._deadline = now + timeout
        self._timeout = timeout
        self._future: Any = None

    def poll(self, now: float) -> MotionState:
        """How it stands; `message` says why it failed."""
        name = self._client.srv_name
        if self._future is None:
            if self._client.service_is_ready():
                self._future = self._client.call_async(self._request)
                return MotionState.RUNNING
            if now <= self._deadline:
                return MotionState.RUNNING
            self.message = f"there is no service {name}; is the driver running?"
            return MotionState.FAILED
        if self._future.done():
            return self._judge(name)
        if now <= self._deadline:
            return MotionState.RUNNING
        self.cancel()
        self.message = f"{name} did not answer within {self._timeout:g} s"
        return MotionState.FAILED

    def cancel(self) -> None:
        """Its answer does not matter any more; what it started cannot be taken back."""
        if self._future is not None:
            self._client.remove_pending_request(self._future)

    def _judge(self, name: str) -> MotionState:
        error = self._future.exception()
        detail = str(error) if error is not None else self._explain(self._future.result())
        if not detail:
            return MotionState.DONE
        self.message = f"{name}: {detail}"
        return MotionState.FAILED
