"""How long each stage of a run took, over all its interruptions."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path

from twist_training.atomic_files import write_atomically


class StageClock:
    """Seconds per stage, kept in ``timing.json`` of the run folder."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "timing.json"

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds spent in each stage so far."""
        try:
            data: dict[str, float] = json.loads(self._path.read_text())
            return data
        except (FileNotFoundError, json.JSONDecodeError):
            return {}

    @contextlib.contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """Adds the time spent inside to `stage`, also when it is interrupted."""
        started = time.monotonic()
        try:
            yield
        finally:
            seconds = self.seconds
            seconds[stage] = seconds.get(stage, 0.0) + time.monotonic() - started
            with write_atomically(self._path) as file:
                file.write(json.dumps(seconds, indent=2).encode())
