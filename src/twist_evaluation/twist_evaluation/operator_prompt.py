"""Asking a person. There is never a default answer: silence is no answer.

The trial logic asks through the `Operator` port. `TerminalOperator` is for a process that has a
terminal of its own; under ``ros2 launch`` or ``run_stack`` no node has one, and `ros_operator` asks
through the graph, where the node ``operator_console`` shows the question in a terminal of its own.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import termios
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, Protocol, TextIO

_END = object()
_HANDED_OVER = 0.05
"""Seconds in which the reading thread passes on what it has read."""


@dataclass(frozen=True)
class Question:
    """What is asked.

    Attributes:
        text: the question.
        answers: each key that may be typed, to what it means.
        picture: file to look at; empty for none.
    """

    text: str
    answers: Mapping[str, str]
    picture: str = ""

    def lines(self) -> list[str]:
        """The question as a person reads it."""
        shown = [f"picture: {self.picture}"] if self.picture else []
        keys = [f"  {key}  {meaning}" for key, meaning in self.answers.items()]
        return [self.text, *shown, *keys]


@dataclass(frozen=True)
class NoAnswer:
    """Nobody answered, and why."""

    reason: str


class Operator(Protocol):
    """A person who can be asked."""

    def ask(self, question: Question) -> str | NoAnswer:
        """Waits for one of the question's keys.

        Raises:
            Interrupted: the evaluation is to end.
        """

    def tell(self, text: str) -> None:
        """Says something that needs no answer."""


class TerminalOperator:
    """Asks at this process's terminal.

    It is read from the beginning on: what is typed while nothing is asked is no answer later.

    Args:
        wait: returns the next item of a queue, as `InterruptibleWait.item`; a reading thread puts
            the lines there, so that a signal ends the wait.
        source: where lines come from; standard input when None.
        say: prints a line.
    """

    def __init__(
        self,
        wait: Callable[[SimpleQueue[Any], float], Any],
        source: TextIO | None = None,
        say: Callable[[str], None] = print,
    ) -> None:
        self._wait = wait
        self._source = sys.stdin if source is None else source
        self._say = say
        self._lines: SimpleQueue[Any] = SimpleQueue()
        self._ended = False
        threading.Thread(target=self._read, name="terminal", daemon=True).start()

    def tell(self, text: str) -> None:
        """Prints."""
        self._say(text)

    def ask(self, question: Question) -> str | NoAnswer:
        """Prints the question and reads until one of its keys is typed, or the input ends."""
        self._forget_what_was_typed()
        for line in question.lines():
            self._say(line)
        while not self._ended:
            typed = self._wait(self._lines, 3600.0)
            if typed is _END:
                self._ended = True
            elif typed is not None:
                key = str(typed).strip().lower()
                if key in question.answers:
                    return key
                self._say(f"{key!r} is none of {', '.join(question.answers)}; there is no default")
        return NoAnswer("the terminal was closed")

    def _forget_what_was_typed(self) -> None:
        """What was typed before a question is no answer to it, nor is the beginning of one."""
        if self._source.isatty():
            with contextlib.suppress(termios.error):  # gone; the reading thread ends, too
                termios.tcflush(self._source.fileno(), termios.TCIFLUSH)
        time.sleep(_HANDED_OVER)
        while not self._lines.empty():
            self._ended |= self._lines.get() is _END

    def _read(self) -> None:
        read_lines(self._source, self._lines, _END)


def read_lines(source: TextIO, lines: SimpleQueue[Any], end: object) -> None:
    """Puts the lines of `source` into `lines`, and `end` after them, however they end.

    A byte that is no text is a wrong answer, not the end of all answers.
    """
    try:
        if isinstance(source, io.TextIOWrapper):
            source.reconfigure(errors="replace")
        for line in source:
            lines.put(line)
    finally:
        lines.put(end)


class NobodyThere:
    """Stands in where there is no person to ask."""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def tell(self, text: str) -> None:
        """Nobody hears it."""

    def ask(self, question: Question) -> NoAnswer:
        """Nobody answers."""
        return NoAnswer(self._reason)


def has_terminal() -> bool:
    """Whether a person can type to this process."""
    try:
        return sys.stdin is not None and sys.stdin.isatty() and os.getpgrp() == os.tcgetpgrp(0)
    except (OSError, ValueError):
        return False
