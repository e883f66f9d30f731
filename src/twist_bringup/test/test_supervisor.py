"""The supervisor's promises, kept with small programs instead of nodes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from twist_bringup.stack import Process, StackError
from twist_bringup.supervisor import REPEAT_AFTER, Cause, Ending, Supervisor

# Says "up", then waits for its end; SIGINT and SIGTERM end it with code 0.
NODE = """
import signal, sys, threading
done = threading.Event()
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda *_: done.set())
print("up", flush=True)
done.wait()
print("closed", flush=True)
"""
STUBBORN = """
import signal, time
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, signal.SIG_IGN)
print("up", flush=True)
while True:
    signal.pause()
"""
# Ends at once, and leaves a child behind that listens to nobody.
PARENT = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {STUBBORN!r}], stdout=subprocess.PIPE)
child.stdout.readline()
print("child", child.pid, flush=True)
"""


def exits(code: int, text: str = "") -> str:
    return f"import sys; print({text!r}, flush=True); sys.exit({code})"


class Run:
    """One supervised run that reacts to lines as they come."""

    def __init__(self, programs: dict[Process, str]) -> None:
        self.programs = programs
        self.lines: list[tuple[str, str]] = []
        self.events: list[tuple[str, str]] = []
        self.reactions: dict[tuple[str, str], Callable[[], None]] = {}
        self.supervisor = Supervisor(
            list(programs),
            lambda process: [sys.executable, "-c", programs[process]],
            {**os.environ, "PYTHONUNBUFFERED": "1"},
            self._line,
            lambda name, message: self.events.append((name, message)),
        )

    def _line(self, process: Process, line: str) -> None:
        self.lines.append((process.name, line))
        reaction = self.reactions.pop((process.name, line), None)
        if reaction is not None:
            reaction()

    def when(self, name: str, line: str, reaction: Callable[[], None]) -> None:
        self.reactions[name, line] = reaction

    def __call__(self) -> Ending:
        return self.supervisor.run()


def process(name: str, **changes: object) -> Process:
    return Process(name=name, package="none", executable=name, **changes)  # type: ignore[arg-type]


def interrupt(number: int = signal.SIGINT) -> Callable[[], None]:
    return lambda: os.kill(os.getpid(), number)


def pid_exists(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until_gone(pids: list[int], seconds: float = 10.0) -> list[int]:
    end = time.monotonic() + seconds
    while time.monotonic() < end and any(map(pid_exists, pids)):
        time.sleep(0.02)
    return [pid for pid in pids if pid_exists(pid)]


@pytest.mark.parametrize("code", [0, 1, 7])
def test_the_finishing_process_decides_the_ending_and_the_others_are_closed(code: int) -> None:
    run = Run({process("node"): NODE, process("trials", finishes=True): exits(code)})
    ending = run()
    assert (ending.cause, ending.process, ending.code) == (Cause.FINISHED, "trials", code)
    assert ("node", "closed") in run.lines or ("node", "up") not in run.lines
    assert ending.forced == ()


def test_death_of_a_required_process_ends_the_run_and_names_it() -> None:
    run = Run({process("node"): NODE, process("robot"): exits(3, "last words")})
    ending = run()
    assert ending == Ending(Cause.DIED, "robot", 3)
    assert ("robot", "last words") in run.lines
    assert any(name == "robot" and "exit code 3" in message for name, message in run.events)


def test_a_required_process_that_ends_with_code_zero_has_died_as_well() -> None:
    assert Run({process("node"): NODE, process("robot"): exits(0)})().cause is Cause.DIED


def test_after_a_death_the_others_get_sigterm_and_after_ctrl_c_sigint() -> None:
    tells = (
        "import signal, sys\n"
        "for n in (signal.SIGINT, signal.SIGTERM):\n"
        "    signal.signal(n, lambda n, _: (print('got', n, flush=True), sys.exit(0)))\n"
        "print('up', flush=True)\n"
        "signal.pause()\n"
    )
    fragile = process("robot")
    run = Run({process("node"): tells, fragile: NODE})
    run.when("node", "up", lambda: run.supervisor._children["robot"].popen.kill())
    assert run() == Ending(Cause.DIED, "robot", -signal.SIGKILL)
    assert ("node", f"got {int(signal.SIGTERM)}") in run.lines
    run = Run({process("node"): tells})
    run.when("node", "up", interrupt())
    assert run().cause is Cause.SIGNALLED
    assert ("node", f"got {int(signal.SIGINT)}") in run.lines


def test_death_of_a_process_that_is_not_required_changes_nothing() -> None:
    trials = process("trials", finishes=True)
    waiter = "import time; time.sleep(1.0)"
    run = Run({process("viewer", required=False): exits(1), trials: waiter})
    assert run() == Ending(Cause.FINISHED, "trials", 0)
    assert any(name == "viewer" for name, _ in run.events)


def test_a_process_that_cannot_be_started_again_is_tried_until_it_can(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("twist_bringup.supervisor.RETRY_DELAY", 0.1)
    servo = process("servo", required=False, respawn=True, respawn_delay=0.1)
    node = process("node", required=True)
    run = Run({servo: exits(1, "once"), node: NODE})
    starts: list[str] = []

    def command_of(asked: Process) -> list[str]:
        starts.append(asked.name)
        gone = starts.count("servo") in (2, 3)
        program = "/no/such/program" if gone else sys.executable
        if starts.count("servo") == 4:
            run.when("servo", "back", lambda: os.kill(os.getpid(), signal.SIGINT))
            return [program, "-c", exits(0, "back")]
        return [program, "-c", run.programs[asked]]

    run.supervisor._command_of = command_of
    ending = run()
    assert ending.cause is Cause.SIGNALLED, "the run goes on while Servo cannot be started"
    told = [message for name, message in run.events if "cannot start servo" in message]
    assert len(told) == 2
    assert all("trying again in 0.1 s" in message for message in told)


def test_a_respawned_process_comes_back() -> None:
    servo = process("servo", required=False, respawn=True, respawn_delay=0.1)
    run = Run({servo: exits(1, "started"), process("node"): NODE})
    count = iter(range(3))

    def started_again() -> None:
        if next(count) < 2:
            run.when("servo", "started", started_again)
        else:
            interrupt()()

    run.when("servo", "started", started_again)
    assert run().cause is Cause.SIGNALLED
    assert [line for line in run.lines if line == ("servo", "started")] == [
        ("servo", "started")
    ] * 3


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_stop_signal_ends_every_process_cleanly(number: int) -> None:
    run = Run({process("a"): NODE, process("b"): NODE})
    run.when("b", "up", interrupt(number))
    ending = run()
    assert (ending.cause, ending.code, ending.forced) == (Cause.SIGNALLED, number, ())
    assert ("b", "closed") in run.lines


def test_under_nohup_the_terminal_may_go_away() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        run = Run({process("a"): NODE, process("b", finishes=True): exits(0, "done")})
        run.when("b", "done", interrupt(signal.SIGHUP))
        assert run().cause is Cause.FINISHED
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_background_jobs_ignored_sigint_still_ends_the_run() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        run = Run({process("a"): NODE})
        run.when("a", "up", interrupt(signal.SIGINT))
        assert run().cause is Cause.SIGNALLED
    finally:
        signal.signal(signal.SIGINT, before)


def test_lower_stages_have_closed_before_higher_ones_are_asked() -> None:
    first, second = process("first", stop_stage=0), process("second", stop_stage=2)
    run = Run({second: NODE, first: NODE})
    seen: set[str] = set()

    def up(name: str) -> None:
        seen.add(name)
        if len(seen) == 2:
            interrupt()()

    run.when("first", "up", lambda: up("first"))
    run.when("second", "up", lambda: up("second"))
    run()
    closed = [name for name, line in run.lines if line == "closed"]
    assert closed == ["first", "second"]


def test_a_process_that_ignores_signals_is_killed_after_its_grace() -> None:
    stubborn = process("stubborn", stop_grace=0.2)
    run = Run({stubborn: STUBBORN})
    run.when("stubborn", "up", interrupt())
    started = time.monotonic()
    ending = run()
    assert ending.forced == ("stubborn",)
    assert time.monotonic() - started < 10.0


def test_repeated_ctrl_c_does_not_wait_for_the_grace() -> None:
    stubborn = process("stubborn", stop_grace=60.0)
    run = Run({stubborn: STUBBORN})

    def thrice() -> None:
        interrupt()()
        for count in (1, 2):
            threading.Timer(count * 1.5 * REPEAT_AFTER, interrupt()).start()

    run.when("stubborn", "up", thrice)
    started = time.monotonic()
    assert run().forced == ("stubborn",)
    assert time.monotonic() - started < 20.0


def test_a_signal_that_a_wrapper_sends_twice_counts_once() -> None:
    slow = NODE.replace("done.wait()", "done.wait(); import time; time.sleep(0.3)")
    run = Run({process("slow"): slow})

    def twice() -> None:
        interrupt()()
        interrupt()()

    run.when("slow", "up", twice)
    assert run().forced == ()
    assert not any("SIGTERM" in message for _, message in run.events)


def test_what_a_dead_process_started_does_not_survive_it() -> None:
    run = Run({process("parent"): PARENT})
    assert run().cause is Cause.DIED
    pids = [int(line.split()[1]) for _, line in run.lines]
    assert len(pids) == 1
    assert wait_until_gone(pids) == []


def test_the_last_unfinished_line_is_not_lost() -> None:
    run = Run({process("trials", finishes=True): "print('no newline', end='')"})
    run()
    assert run.lines == [("trials", "no newline")]


def test_a_program_that_cannot_start_stops_those_already_running() -> None:
    node, missing = process("node"), process("missing")
    lines: list[str] = []

    def command(item: Process) -> list[str]:
        return ["/does/not/exist"] if item is missing else [sys.executable, "-c", NODE]

    supervisor = Supervisor(
        [node, missing], command, dict(os.environ), lambda _, line: lines.append(line), print
    )
    with pytest.raises(StackError, match="cannot start missing"):
        supervisor.run()
    assert supervisor._children == {}


def test_the_callers_signal_handlers_are_back_afterwards() -> None:
    before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)}
    Run({process("trials", finishes=True): exits(0)})()
    assert {n: signal.getsignal(n) for n in before} == before


# A supervisor in a process of its own, which prints the pids of its children.
SUPERVISOR = f"""
import os, sys
from twist_bringup.stack import Process
from twist_bringup.supervisor import Supervisor
node = {NODE!r}.replace('print("up"', 'import os; print("pid", os.getpid()')
programs = [Process(name=n, package="p", executable=n) for n in ("a", "b", "c")]
print("supervisor", flush=True)
ending = Supervisor(
    programs, lambda p: [sys.executable, "-c", node], dict(os.environ),
    lambda p, line: print(line, flush=True), lambda *words: None,
).run()
sys.exit(128 + ending.code)
"""


def start_supervisor() -> subprocess.Popen[str]:
    root = Path(__file__).resolve().parents[1]
    path = os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
        start_new_session=True,
    )


def read_pids(running: subprocess.Popen[str], count: int) -> list[int]:
    assert running.stdout is not None
    pids: list[int] = []
    while len(pids) < count:
        line = running.stdout.readline()
        assert line, "the supervisor ended before its children were up"
        if line.startswith("pid"):
            pids.append(int(line.split()[1]))
    return pids


def test_children_do_not_survive_a_killed_supervisor() -> None:
    running = start_supervisor()
    pids = read_pids(running, 3)
    running.kill()
    running.wait()
    assert wait_until_gone(pids) == []


def test_ctrl_c_of_the_terminal_reaches_the_supervisor_alone() -> None:
    running = start_supervisor()
    pids = read_pids(running, 3)
    assert all(os.getpgid(pid) != running.pid for pid in pids)
    os.killpg(running.pid, signal.SIGINT)  # what a terminal does
    assert running.wait(30) == 128 + signal.SIGINT
    assert wait_until_gone(pids) == []


@pytest.mark.parametrize("delay", [0.0, 0.005, 0.02, 0.05, 0.1])
def test_ctrl_c_at_any_moment_of_the_start_leaves_nothing_behind(delay: float) -> None:
    running = start_supervisor()
    assert running.stdout is not None
    assert running.stdout.readline() == "supervisor\n"
    time.sleep(delay)  # the moment itself is what is varied here
    running.send_signal(signal.SIGINT)
    output, _ = running.communicate(timeout=30)
    pids = [int(line.split()[1]) for line in output.splitlines() if line.startswith("pid")]
    assert running.returncode in (130, -signal.SIGINT, 1)
    assert wait_until_gone(pids) == []
