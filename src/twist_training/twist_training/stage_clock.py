"""How long each stage of a run took, over all its interruptions."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from twist_training.atomic_files import DiskError, write_atomically


class StageClock:
    """Seconds per stage, kept in ``timing.json`` of the run folder.

    Args:
        folder: the run folder.
        period: seconds after which a running stage's time is written again: what ``kill -9`` can
            lose of it.
    """

    def __init__(self, folder: Path, period: float = 30.0) -> None:
        self._path = folder / "timing.json"
        self._period = period

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds spent in each stage so far."""
        try:
            data = json.loads(self._path.read_text())
            return {str(stage): float(seconds) for stage, seconds in data.items()}
        except (FileNotFoundError, ValueError, TypeError, AttributeError):
            return {}  # a statistic; nothing depends on it

    @contextlib.contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """Adds the time spent inside to `stage`, also when it is interrupted.

        Stages are measured one at a time.
        """
        before = self.seconds
        started = time.monotonic()
        ended = threading.Event()

        def save() -> None:
            taken = before.get(stage, 0.0) + time.monotonic() - started
            with write_atomically(self._path) as file:
                file.write(json.dumps(before | {stage: taken}, indent=2).encode())

        def keep_saving() -> None:
            while not ended.wait(self._period):
                # A full disk ends the run where something is lost by it, with the reason.
                with contextlib.suppress(DiskError):
                    save()

        saver = threading.Thread(target=keep_saving, name="stage clock", daemon=True)
        saver.start()
        try:
            try:
                yield
            finally:
                ended.set()
                saver.join()
        except BaseException:
            with contextlib.suppress(DiskError):  # what ended the stage is the reason to tell
                save()
            raise
        save()
