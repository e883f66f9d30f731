"""Starts processes, watches them, and ends all of them, whatever happens.

One thread, one loop over file descriptors: lines of the children, signals and deaths arrive as
events; nothing is polled. Children live in sessions of their own, so that the terminal's Ctrl-C
reaches the supervisor alone, which then stops them in their order. The kernel kills them if the
supervisor itself is killed.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from types import FrameType

from twist_bringup.stack import Process, StackError
from twist_nodes.end_signals import heeded

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)
_ESCALATION = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
_CLEAN_CODES = (0, -signal.SIGINT, -signal.SIGTERM, 128 + signal.SIGINT, 128 + signal.SIGTERM)
TERMINATE_GRACE = 2.0
"""Seconds between SIGTERM and SIGKILL."""
RETRY_DELAY = 1.0
"""Seconds at least between two attempts to start a process again that could not be started."""
REPEAT_AFTER = 0.5
"""Seconds after a stop signal in which another one is the same one: `timeout` and other wrappers
send it to the process and to its group."""


class Cause(Enum):
    """Why a run ended."""

    FINISHED = "finished"
    DIED = "died"
    SIGNALLED = "signalled"


@dataclass(frozen=True)
class Ending:
    """How a run ended.

    Attributes:
        cause: what ended it.
        process: the process that finished or died; empty after a signal.
        code: its exit code (minus the signal's number if a signal ended it), or the number of the
            signal that the supervisor received.
        forced: names of the processes that had to be killed with SIGKILL at the end.
    """

    cause: Cause
    process: str
    code: int
    forced: tuple[str, ...] = ()


@dataclass
class _Child:
    process: Process
    popen: subprocess.Popen[bytes]
    partial: bytes = b""
    sent: int = 0
    """How many signals of the escalation it was sent."""


@dataclass
class _State:
    ending: Ending | None = None
    stages: list[int] = field(default_factory=list)
    """Stop stages that are not over, the current one first; empty while running."""
    escalate_at: float = float("inf")
    signalled_at: float = float("-inf")
    """When the last stop signal came."""
    respawn: list[tuple[float, Process]] = field(default_factory=list)
    forced: list[str] = field(default_factory=list)


class Supervisor:
    """Runs a set of processes until one of them ends the run.

    Args:
        processes: what to start, in this order.
        command_of: command line of a process.
        environment: environment of the children.
        on_line: called with (process, line without its end) for every line of output.
        on_event: called with (process name or "", message) when something happened to a process.

    A stop begins with SIGINT, as a person's Ctrl-C does; after the death of a required process it
    begins with SIGTERM, so that the others can tell the two apart.
    """

    def __init__(
        self,
        processes: Sequence[Process],
        command_of: Callable[[Process], list[str]],
        environment: Mapping[str, str],
        on_line: Callable[[Process, str], None],
        on_event: Callable[[str, str], None],
    ) -> None:
        self._processes = tuple(processes)
        self._command_of = command_of
        self._environment = dict(environment)
        self._on_line = on_line
        self._on_event = on_event
        self._children: dict[str, _Child] = {}
        self._state = _State()
        self._selector = selectors.DefaultSelector()
        self._pending_signals: list[int] = []

    def run(self) -> Ending:
        """Starts everything, and returns when no child is left.

        Must be called from the main thread: it takes over the stop signals meanwhile.

        Raises:
            StackError: a process could not be started; those already started were stopped.
        """
        read_end, write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        previous_fd = signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
        handled = (*heeded(), signal.SIGCHLD)
        previous = {number: signal.signal(number, self._on_signal) for number in handled}
        self._selector.register(read_end, selectors.EVENT_READ, None)
        failure: StackError | None = None
        try:
            try:
                for process in self._processes:
                    self._start(process)
                    if self._pending_signals:
                        break
            except StackError as error:
                failure = error
                self._begin_stop(Ending(Cause.DIED, process.name, -1))
            self._loop(read_end)
        finally:
            self._kill_all()
            self._selector.unregister(read_end)
            self._selector.close()
            signal.set_wakeup_fd(previous_fd)
            for number, handler in previous.items():
                signal.signal(number, handler)
            os.close(read_end)
            os.close(write_end)
        if failure is not None:
            raise failure
        assert self._state.ending is not None
        ending = self._state.ending
        return Ending(ending.cause, ending.process, ending.code, tuple(self._state.forced))

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if number != signal.SIGCHLD:
            self._pending_signals.append(number)

    def _loop(self, wakeup: int) -> None:
        while self._children or (self._state.ending is None and self._state.respawn):
            for key, _ in self._selector.select(self._seconds_to_next_deadline()):
                if key.fileobj == wakeup:
                    with contextlib.suppress(BlockingIOError):
                        while os.read(wakeup, 4096):
                            pass
                else:
                    self._read(key.data)
            while self._pending_signals:
                self._take_signal(self._pending_signals.pop(0))
            self._reap()
            self._take_deadlines()
        if self._state.ending is None:
            self._state.ending = Ending(Cause.FINISHED, "", 0)

    def _seconds_to_next_deadline(self) -> float | None:
        state = self._state
        deadlines = [state.escalate_at, *(at for at, _ in state.respawn)]
        nearest = min(deadlines)
        return None if nearest == float("inf") else max(0.0, nearest - time.monotonic())

    # Starting.

    def _start(self, process: Process) -> None:
        supervisor = os.getpid()

        def die_with_supervisor() -> None:
            _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() != supervisor:  # it died before the line above
                os.kill(os.getpid(), signal.SIGKILL)

        command = self._command_of(process)
        try:
            popen = subprocess.Popen(
                command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=die_with_supervisor,
            )
        except OSError as error:
            raise StackError(f"cannot start {process.name} ({command[0]}): {error}") from error
        assert popen.stdout is not None
        os.set_blocking(popen.stdout.fileno(), False)
        child = _Child(process, popen)
        self._children[process.name] = child
        self._selector.register(popen.stdout, selectors.EVENT_READ, child)

    # Output.

    def _read(self, child: _Child) -> None:
        stream = child.popen.stdout
        assert stream is not None
        try:
            data = os.read(stream.fileno(), 65536)
        except BlockingIOError:
            return
        if not data:
            self._close(child)
            return
        *lines, child.partial = (child.partial + data).split(b"\n")
        for line in lines:
            self._on_line(child.process, line.decode("utf-8", "replace").rstrip("\r"))

    def _close(self, child: _Child) -> None:
        stream = child.popen.stdout
        if stream is None or stream.closed:
            return
        if child.partial:
            self._on_line(child.process, child.partial.decode("utf-8", "replace"))
            child.partial = b""
        self._selector.unregister(stream)
        stream.close()

    def _drain(self, child: _Child) -> None:
        """Reads what a dead child left in its pipe, without waiting for others that hold it."""
        stream = child.popen.stdout
        while stream is not None and not stream.closed:
            if stream not in {k.fileobj for k, _ in self._selector.select(0)}:
                break
            self._read(child)
        self._close(child)

    # Deaths.

    def _reap(self) -> None:
        for name, child in list(self._children.items()):
            flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
            if os.waitid(os.P_PID, child.popen.pid, flags) is None:
                continue
            # Before the process is reaped its group cannot be another's: end what it left behind.
            _signal_group(child, signal.SIGKILL)
            code = child.popen.wait()
            self._drain(child)
            del self._children[name]
            self._on_death(child.process, code)

    def _on_death(self, process: Process, code: int) -> None:
        state = self._state
        if state.stages:
            if code not in _CLEAN_CODES:
                self._on_event(process.name, f"ended with {describe_code(code)} while stopping")
            self._advance()
            return
        if process.finishes:
            self._begin_stop(Ending(Cause.FINISHED, process.name, code))
        elif process.respawn:
            self._on_event(
                process.name,
                f"ended with {describe_code(code)}; "
                f"starting it again in {process.respawn_delay:g} s",
            )
            state.respawn.append((time.monotonic() + process.respawn_delay, process))
        elif not process.required:
            self._on_event(process.name, f"ended with {describe_code(code)}; it is not required")
        else:
            self._on_event(process.name, f"died with {describe_code(code)}; stopping the others")
            self._begin_stop(Ending(Cause.DIED, process.name, code))

    # Stopping.

    def _take_signal(self, number: int) -> None:
        now = time.monotonic()
        repeated = now - self._state.signalled_at > REPEAT_AFTER
        self._state.signalled_at = now
        if self._state.stages:
            if repeated:
                self._escalate(f"{signal.Signals(number).name} again")
            return
        self._on_event("", f"{signal.Signals(number).name}: stopping")
        self._begin_stop(Ending(Cause.SIGNALLED, "", number))

    def _take_deadlines(self) -> None:
        state, now = self._state, time.monotonic()
        if now >= state.escalate_at:
            self._escalate("it did not end in time")
        for item in [item for item in state.respawn if item[0] <= now]:
            state.respawn.remove(item)
            self._start_again(item[1])

    def _start_again(self, process: Process) -> None:
        """What cannot be started now (a full disk, a program being rebuilt) may be later."""
        try:
            self._start(process)
        except StackError as error:
            delay = max(process.respawn_delay, RETRY_DELAY)
            self._on_event(process.name, f"{error}; trying again in {delay:g} s")
            self._state.respawn.append((time.monotonic() + delay, process))

    def _begin_stop(self, ending: Ending) -> None:
        state = self._state
        state.ending = ending
        state.respawn.clear()
        state.stages = sorted({p.stop_stage for p in self._processes})
        self._signal_stage()

    def _stage_children(self) -> list[_Child]:
        stages = self._state.stages
        return [c for c in self._children.values() if stages and c.process.stop_stage == stages[0]]

    def _advance(self) -> None:
        """Goes to the next stage once the current one has no living child."""
        if self._state.stages and not self._stage_children():
            self._signal_stage()

    def _signal_stage(self) -> None:
        state = self._state
        while len(state.stages) > 1 and not self._stage_children():
            state.stages.pop(0)
        members = self._stage_children()
        for child in members:
            self._send_next(child)
        grace = max((child.process.stop_grace for child in members), default=0.0)
        state.escalate_at = time.monotonic() + grace if members else float("inf")

    def _escalate(self, why: str) -> None:
        for child in self._stage_children():
            number = self._send_next(child)
            self._on_event(child.process.name, f"{number.name} sent: {why}")
            if number == signal.SIGKILL and child.process.name not in self._state.forced:
                self._state.forced.append(child.process.name)
        self._state.escalate_at = time.monotonic() + TERMINATE_GRACE

    def _send_next(self, child: _Child) -> signal.Signals:
        ending = self._state.ending
        if child.sent == 0 and ending is not None and ending.cause is Cause.DIED:
            child.sent = 1
        number = _ESCALATION[min(child.sent, len(_ESCALATION) - 1)]
        child.sent += 1
        _signal_group(child, number)
        return number

    def _kill_all(self) -> None:
        """The last resort when the loop itself failed: nothing survives."""
        for child in self._children.values():
            _signal_group(child, signal.SIGKILL)
            child.popen.wait()
            if child.popen.stdout is not None:
                child.popen.stdout.close()
        self._children.clear()


def describe_code(code: int) -> str:
    """An exit code in words."""
    if code >= 0:
        return f"exit code {code}"
    with contextlib.suppress(ValueError):
        return signal.Signals(-code).name
    return f"signal {-code}"


def _signal_group(child: _Child, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.popen.pid, number)
