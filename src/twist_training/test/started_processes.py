"""What tests ask of the processes that they start."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def wait_for(found: Callable[[], bool], process: subprocess.Popen[Any] | None = None) -> None:
    """Waits two minutes at most, and while `process` is there."""
    deadline = time.monotonic() + 120.0
    while not found():
        assert process is None or process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_alive(pid: int) -> bool:
    """Whether a process is there and has not ended."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"  # ended, and waits for someone to take note
