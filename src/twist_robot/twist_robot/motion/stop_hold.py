"""What makes ``~/stop`` hold for the requests that were waiting when it came. No ROS in here."""

from __future__ import annotations

_LOOKS = 3
"""Looks without a request after which none can be left that was waiting.

One executor thread takes what is ready in rounds: per round at most one request of each service,
and one look of the timer. Between two looks that no request came between lies a round in which none
was waiting; the third look is for a round that was cut short.
"""
_MOST_LOOKS = 50
"""Looks after which a stop is answered although requests keep coming: 1 s, at 50 a second.

A service keeps at most 10 requests waiting (the depth of ROS's services), and at least one of them
is taken per look that saw any: whoever waited when the stop came was refused long before. Those
that still come were made after it.
"""


class StopHold:
    """Refuses requests from the moment a stop is served until its answer is sent.

    A request does not tell when it was made, but it waits in the same process as the stop: whatever
    arrived before the stop is taken in the rounds after it. The stop is answered when those are
    over, so that a request made after its answer is served like any other.

    A client that asks again after each refusal cannot keep the stop from its answer: after
    `_MOST_LOOKS` looks it is sent. What was made before the stop has been refused then as always;
    what such a client asks afterwards is served as made after the stop. Another stop starts anew.
    """

    def __init__(self) -> None:
        self._looks = 0
        self._most = 0

    @property
    def active(self) -> bool:
        """Whether requests are refused."""
        return self._looks > 0

    def stop(self) -> None:
        """A stop came."""
        self._looks = _LOOKS
        self._most = _MOST_LOOKS

    def request(self) -> None:
        """A request came: more may be waiting behind it."""
        if self.active:
            self._looks = min(_LOOKS, self._most)

    def look(self) -> None:
        """To be called by a timer of the executor that serves the requests."""
        self._most = max(0, self._most - 1)
        self._looks = max(0, min(self._looks - 1, self._most))
