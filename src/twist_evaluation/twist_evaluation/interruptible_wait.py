"""Waiting that a signal handler can end.

Only queues that are safe to use from a signal handler are waited on: a handler runs in the main
thread, between two instructions of the very wait it has to end.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any

from rclpy.client import Client
from rclpy.task import Future

from twist_evaluation.trial_stand import Interrupted, TrialAborted

_WAKE = object()


class InterruptibleWait:
    """Waits of one thread, each of which `interrupt` ends."""

    def __init__(self) -> None:
        self._interruption: str | None = None
        self._idle: SimpleQueue[Any] = SimpleQueue()
        self._waiting_on = self._idle

    def interrupt(self, reason: str) -> None:
        """Makes the current or the next wait raise `Interrupted(reason)`, once. Signal-safe."""
        self._interruption = reason
        self._waiting_on.put(_WAKE)

    def item(self, queue: SimpleQueue[Any], timeout: float) -> Any:
        """Returns the next item of `queue`, or None when none came within `timeout` seconds.

        Raises:
            Interrupted: `interrupt` was called.
        """
        self._waiting_on = queue
        try:
            item = None
            if self._interruption is None:
                with contextlib.suppress(Empty):
                    item = queue.get(timeout=max(0.0, timeout))
            if (reason := self._interruption) is not None:
                self._interruption = None
                raise Interrupted(reason)
            return None if item is _WAKE else item
        finally:
            self._waiting_on = self._idle

    def pause(self, seconds: float) -> None:
        """Sleeps.

        Raises:
            Interrupted: `interrupt` was called.
        """
        deadline = time.monotonic() + seconds
        nothing: SimpleQueue[Any] = SimpleQueue()
        while (left := deadline - time.monotonic()) > 0:
            self.item(nothing, left)

    def call(
        self, client: Client, request: Any, timeout: float, *, repeat_after: float | None = None
    ) -> Any:
        """Calls a service that another thread's executor serves, and returns the response.

        Args:
            client: of the service.
            request: what is asked.
            timeout: longest time until the answer, seconds.
            repeat_after: asks again whenever no answer came for so long, seconds. Middleware loses
                the answer of a server that was found but has not found its client yet. Only for
                requests that may be served twice without harm; None asks once.

        Raises:
            Interrupted: `interrupt` was called.
            TrialAborted: no answer within `timeout` seconds, or the call failed.
        """
        reply: SimpleQueue[Any] = SimpleQueue()
        deadline = time.monotonic() + timeout
        futures: list[Future] = []
        try:
            response = None
            while response is None and (left := deadline - time.monotonic()) > 0:
                future = client.call_async(request)
                future.add_done_callback(_deliver(reply))
                futures.append(future)
                response = self.item(reply, min(left, repeat_after or left))
        finally:
            for future in futures:
                client.remove_pending_request(future)
        if response is None:
            raise TrialAborted(
                f"{client.srv_name} did not answer within {timeout:g} s: its process is dead, or "
                "hangs; its log tells"
            )
        if isinstance(response, Exception):
            raise TrialAborted(f"{client.srv_name} failed: {response}")
        return response


def _deliver(reply: SimpleQueue[Any]) -> Callable[[Any], None]:
    def put(future: Any) -> None:
        error = future.exception()
        reply.put(error if error is not None else future.result())

    return put
