"""A service request that is sent again until one of its answers arrives."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rclpy.client import Client
    from rclpy.task import Future


class RepeatedRequest:
    """One question to a server, asked as often as it takes.

    Middleware may lose the answer of a server that was found but has not found its client yet. Only
    for requests that may be made twice without harm. Nothing here waits: poll `answer`.

    Args:
        client: calls.
        request: what is asked.
        now: seconds on the caller's clock; it is sent at once.
        period: seconds after which it is sent again.
        until: when it is not sent any more, on that clock.
    """

    def __init__(
        self,
        client: Client,
        request: Any,
        now: float,
        period: float,
        until: float = math.inf,
    ) -> None:
        self._client, self._request = client, request
        self._period, self._until = period, until
        self._futures: list[Future] = []
        self._send(now)

    def answer(self, now: float) -> Future | None:
        """The first answer there is, and forgets the others; None, and asks again, without one."""
        answered = next((future for future in self._futures if future.done()), None)
        if answered is not None:
            self._futures.remove(answered)
            self.forget()
            self._futures = [answered]
        elif self._repeat_at <= now <= self._until:
            self._send(now)
        return answered

    def forget(self) -> None:
        """Waits for no answer any more; not to be polled again."""
        for future in self._futures:
            self._client.remove_pending_request(future)
        self._futures = []

    def _send(self, now: float) -> None:
        self._futures.append(self._client.call_async(self._request))
        self._repeat_at = now + self._period
