"""What makes ``~/stop`` hold for the requests that were waiting when it came. No ROS in here."""

from __future__ import annotations

_LOOKS = 3
"""Looks without a request after which none can be left that was waiting.

One executor thread takes what is ready in rounds: per round at most one request of each service,
and one look of the timer. Between two looks that no request came between lies a round in which none
was waiting; the third look is for a round that was cut short.
"""


class StopHold:
    """Refuses requests from the moment a stop is served until its answer is sent.

    A request does not tell when it was made, but it waits in the same process as the stop: whatever
    arrived before the stop is taken in the rounds after it. The stop is answered when those are
    over, so that a request made after its answer is served like any other.
    """

    def __init__(self) -> None:
        self._looks = 0

    @property
    def active(self) -> bool:
        """Whether requests are refused."""
        return self._looks > 0

    def stop(self) -> None:
        """A stop came."""
        self._looks = _LOOKS

    def request(self) -> None:
        """A request came: more may be waiting behind it."""
        if self.active:
            self._looks = _LOOKS

    def look(self) -> None:
        """To be called by a timer of the executor that serves the requests."""
        self._looks = max(0, self._looks - 1)
