"""The processes of a described graph, each of which can be started, stopped and killed alone.

For measurements that do to single processes what the supervisor must not: hold them, kill them, and
start them again.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
from pathlib import Path

from twist_bringup.run_stack import child_environment, command_line
from twist_bringup.stack import Stack

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)


def _die_with_parent() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


class GraphProcesses:
    """Starts processes of a stack; used as a context, it ends all of them.

    Args:
        stack: the graph.
        folder: for logs and parameter files.
        domain_id: the graph's ROS domain.
    """

    def __init__(self, stack: Stack, folder: Path, domain_id: int) -> None:
        self._stack = stack
        self._folder = folder
        self._environment = child_environment(folder, alone=True) | {
            "ROS_DOMAIN_ID": str(domain_id)
        }
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str) -> None:
        """Starts the process `name`; its output is appended to a log file."""
        command = command_line(self._stack.process(name), self._folder / "parameters")
        with (self._folder / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_die_with_parent,
            )

    def start_all(self) -> None:
        """Starts every process of the stack."""
        for process in self._stack.processes:
            self.start(process.name)

    def pid(self, name: str) -> int:
        """The process's id."""
        return self._running[name].pid

    def send(self, name: str, number: signal.Signals) -> None:
        """Sends a signal."""
        self._running[name].send_signal(number)

    def wait(self, name: str, timeout: float = 30.0) -> int:
        """Waits for the end; returns the exit code."""
        return self._running[name].wait(timeout)

    def log_tail(self, name: str, lines: int = 5) -> str:
        """The last lines that the process said."""
        text = (self._folder / f"{name}.log").read_text(encoding="utf-8", errors="replace")
        return "\n".join(text.splitlines()[-lines:])

    def __enter__(self) -> GraphProcesses:
        return self

    def __exit__(self, *_: object) -> None:
        for number, grace in ((signal.SIGINT, 5.0), (signal.SIGKILL, 5.0)):
            for process in self._running.values():
                if process.poll() is None:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(process.pid, signal.SIGCONT)
                        process.send_signal(number)
            for process in self._running.values():
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(grace)
