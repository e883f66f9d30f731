"""Notices a camera that stops, or that delivers the same picture again under fresh stamps."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_STRIDE = 7
"""Of the pixels that are compared; a real sensor's noise differs in nearly all of them."""


class ArrivalWatch:
    """Watches one stream.

    Args:
        silence: longest time without a new frame, seconds.
        frozen: identical frames, or frames without progress of number and stamp, in a row.
    """

    def __init__(self, silence: float = 0.5, frozen: int = 5) -> None:
        self._silence = silence
        self._frozen = frozen
        self._forget()

    def _forget(self) -> None:
        self._arrival: float | None = None
        self._number: int | None = None
        self._device: tuple[str, float] | None = None
        self._sample: NDArray[np.uint8] | None = None
        self._stuck = 0
        self._same = 0

    def begin(self, now: float) -> None:
        """The stream was started; `now` in steady seconds."""
        self._forget()
        self._arrival = now

    def frame(
        self, number: int, domain: str, device: float, pixels: NDArray[np.uint8], now: float
    ) -> str | None:
        """A frame arrived.

        Args:
            number: the camera's count.
            domain: clock of its stamp.
            device: its stamp in that clock, milliseconds.
            pixels: (H, W, 3).
            now: steady seconds.

        Returns:
            What is wrong, in words; None when nothing is.
        """
        self._arrival = now
        progress = (
            self._number is None
            or self._device is None
            or (number != self._number and (domain, device) != self._device)
        )
        self._number, self._device = number, (domain, device)
        self._stuck = 0 if progress else self._stuck + 1
        if self._stuck + 1 >= self._frozen:
            return f"{self._stuck + 1} frames in a row have the same number or stamp ({number})"
        sample = np.ascontiguousarray(pixels[::_STRIDE, ::_STRIDE])
        equal = self._sample is not None and bool(np.array_equal(sample, self._sample))
        self._sample, self._same = sample, (self._same + 1 if equal else 0)
        if self._same + 1 >= self._frozen:
            return f"{self._same + 1} frames in a row are the same picture: the stream is frozen"
        return None

    def silence(self, now: float) -> str | None:
        """What is wrong when no frame came, in words; None when it is not yet too long."""
        if self._arrival is None or now - self._arrival <= self._silence:
            return None
        return f"no frame for {now - self._arrival:.2f} s (limit {self._silence:g} s)"
