"""What of the processes' output goes to the terminal, and how; every line goes to a file."""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import IO, TextIO

from twist_bringup.stack import Process

CONSOLE_FORMAT = "[{severity}] [{time}] [{name}]: {message}"
"""What the children's RCUTILS_CONSOLE_OUTPUT_FORMAT is set to: the lines below are parsed."""

_LINE = re.compile(r"^\[(DEBUG|INFO|WARN|ERROR|FATAL)\] \[[\d.]+\] \[[^\]]*\]: (.*)$")
_TRACEBACK = "Traceback (most recent call last):"
_COLOURS = (36, 32, 33, 35, 34, 96, 92, 95)
_TAIL = 20


class LogLines:
    """Writes every line to ``<folder>/<process>.log`` and the news to the terminal.

    News are warnings and errors of every process, with the lines that belong to them, and all
    but the debug lines of processes that report progress. A line on the terminal begins with the
    process's name, coloured on a terminal and plain elsewhere.

    Args:
        processes: those whose lines will come.
        folder: where the files go; created if missing.
        verbose: show every line.
        terminal: where the news go.
    """

    def __init__(
        self,
        processes: Iterable[Process],
        folder: Path,
        *,
        verbose: bool = False,
        terminal: TextIO | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._verbose = verbose
        self._terminal: TextIO | None = sys.stdout if terminal is None else terminal
        if isinstance(self._terminal, io.TextIOWrapper):
            # A character that the terminal's encoding lacks must not end the run.
            self._terminal.reconfigure(errors="replace")
        self._files: dict[str, IO[str]] = {}
        self._tails: dict[str, deque[tuple[str, bool]]] = {}
        self._showing: dict[str, bool] = {}
        names = [process.name for process in processes]
        self._width = max(map(len, names), default=0)
        coloured = self._terminal.isatty() and "NO_COLOR" not in os.environ
        self._colour = {
            name: _COLOURS[i % len(_COLOURS)] if coloured else 0 for i, name in enumerate(names)
        }
        for name in names:
            path = folder / f"{name}.log"
            self._files[name] = path.open("a", encoding="utf-8", buffering=1)
            self._tails[name] = deque(maxlen=_TAIL)
            self._showing[name] = False

    def line(self, process: Process, line: str) -> None:
        """Takes one line of a process's output."""
        name = process.name
        match = _LINE.match(line)
        if match:
            severity, text = match.groups()
            news = severity in ("WARN", "ERROR", "FATAL")
            news = news or (process.progress and severity == "INFO")
            shown = text if severity == "INFO" else f"{severity}: {text}"
        else:
            news = process.progress or self._showing[name] or line.startswith(_TRACEBACK)
            shown = line
        self._showing[name] = news
        self._keep(name, line)
        self._tails[name].append((line, news))
        if self._verbose:
            self._print(name, line)
        elif news:
            self._print(name, shown)

    def event(self, name: str, message: str) -> None:
        """Says what happened to a process (``name`` empty: to the run)."""
        self._keep(name, f"-- {message}")
        self._print(name, f"-- {message}")

    def say(self, message: str) -> None:
        """Prints a line of the runner itself."""
        self._write(message)

    def last_lines(self, name: str) -> list[str]:
        """The last lines of a process that were not shown, for the message about its death."""
        if self._verbose:
            return []
        return [line for line, shown in self._tails.get(name, ()) if not shown]

    def close(self) -> None:
        """Closes the files."""
        for file in self._files.values():
            with contextlib.suppress(OSError):
                file.close()

    def _keep(self, name: str, line: str) -> None:
        file = self._files.get(name)
        if file is None:
            return
        try:
            file.write(line + "\n")
        except OSError as error:
            # A full disk must not end the run: the terminal still has the news.
            del self._files[name]
            self._write(f"run_stack: {name}'s log file is cut off here: {error}")

    def _print(self, name: str, text: str) -> None:
        label = f"{name:<{self._width}} |" if name else "run_stack:"
        colour = self._colour.get(name, 0)
        self._write(f"\033[{colour}m{label}\033[0m {text}" if colour else f"{label} {text}")

    def _write(self, text: str) -> None:
        if self._terminal is None:
            return
        try:
            print(text, file=self._terminal, flush=True)
        except (OSError, ValueError):
            # The reader of a pipe went away (`| head`), or the terminal did. The run goes on.
            self._terminal = None
