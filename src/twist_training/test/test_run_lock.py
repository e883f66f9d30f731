"""One writer for a run folder, also after ``kill -9``: nothing that it started goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from started_processes import is_alive, wait_for

from twist_training.atomic_files import DiskError
from twist_training.cli import main
from twist_training.run_identity import RunError
from twist_training.run_lock import LOCK, locked

_HOLD = """
import sys, time
from pathlib import Path
from twist_training.run_lock import locked
with locked(Path(sys.argv[1])):
    print("locked", flush=True)
    time.sleep(1000)
"""

_ORPHANS = """
import os, sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
import test_run_lock as here
from twist_training.worker_pool import run_in_processes
if __name__ == "__main__":
    list(run_in_processes(here.say_who_and_sleep, [Path({folder!r})] * 2, 2))
"""

_SWEEP = """
import sys
from pathlib import Path
from twist_training.sweep.executors import run_locally
from twist_training.sweep.plan import Sweep, plan, to_plain
sweep = Sweep(("block_push",), (0,), "smoke", ("teacher.pretrain_steps=100000",), {"full": ()})
makers, _ = plan(sweep, Path(sys.argv[1]), "")
run_locally([to_plain(makers[0])], 1, print)
"""


def say_who_and_sleep(folder: Path) -> None:
    """A job that outlives any patience."""
    (folder / f"{os.getpid()}.worker").touch()
    time.sleep(1000)


def _is_free(folder: Path) -> bool:
    try:
        with locked(folder):
            return True
    except RunError:
        return False


def test_a_second_writer_is_told_who_the_first_is_and_a_kill_leaves_no_lock(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(tmp_path)], stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"locked\n"
        expected = f"process {holder.pid} is writing to {tmp_path}"
        with pytest.raises(RunError, match=expected), locked(tmp_path):
            pass
        assert main(["teacher", "preset=smoke", f"output={tmp_path}"]) == 1
        assert expected in capsys.readouterr().err
        for tool in ("robustness", "diagnose"):  # would count every trial twice
            assert main([tool, "checkpoint=models/block_push", f"out={tmp_path}"]) == 1
            said = capsys.readouterr().err
            assert expected in said
            assert "out=" in said
        assert os.listdir(tmp_path) == [LOCK], "nothing was written"
        holder.kill()
    with locked(tmp_path):
        assert (tmp_path / LOCK).read_text() == f"{os.getpid()}\n"


def test_processes_that_join_the_first_do_not_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with locked(tmp_path):
        monkeypatch.setenv("RANK", "1")
        with locked(tmp_path):
            pass


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DiskError, match=r"cannot write to .*file/run: Not a directory"):
        locked(tmp_path / "file" / "run").__enter__()


@pytest.mark.timeout(300)
def test_workers_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(_ORPHANS.format(tests=str(Path(__file__).parent), folder=str(tmp_path)))
    with subprocess.Popen([sys.executable, str(script)]) as parent:
        wait_for(lambda: len(list(tmp_path.glob("*.worker"))) == 2, parent)
        workers = [int(path.stem) for path in tmp_path.glob("*.worker")]
        assert all(map(is_alive, workers))
        parent.kill()
    wait_for(lambda: not any(map(is_alive, workers)))


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("kill_worker", "said"), [(False, "KeyboardInterrupt"), (True, "ended before its time")]
)
def test_an_interrupt_or_a_lost_worker_ends_the_others_whatever_they_do(
    tmp_path: Path, kill_worker: bool, said: str
) -> None:
    script = tmp_path / "parent.py"
    script.write_text(_ORPHANS.format(tests=str(Path(__file__).parent), folder=str(tmp_path)))
    with subprocess.Popen([sys.executable, str(script)], stderr=subprocess.PIPE) as parent:
        wait_for(lambda: len(list(tmp_path.glob("*.worker"))) == 2, parent)
        # The first to be started is lost: CPython's pool looks after the last one only from its
        # next result on, and nothing here ever has one.
        workers = sorted(int(path.stem) for path in tmp_path.glob("*.worker"))
        os.kill(workers[1], signal.SIGSTOP)  # one that hangs
        if kill_worker:
            os.kill(workers[0], signal.SIGKILL)
        else:
            parent.send_signal(signal.SIGINT)
        _, error = parent.communicate(timeout=60)
    assert said in error.decode()
    wait_for(lambda: not any(map(is_alive, workers)))


@pytest.mark.timeout(300)
def test_a_run_of_a_sweep_ends_with_a_sweep_that_is_killed(tmp_path: Path) -> None:
    settings = "data/block_push_seed0_*/config.json"
    with subprocess.Popen([sys.executable, "-c", _SWEEP, str(tmp_path)]) as sweep:
        wait_for(lambda: any(tmp_path.glob(settings)), sweep)  # it is at work, and has the lock
        folder = next(tmp_path.glob(settings)).parent
        with pytest.raises(RunError, match="is writing to"), locked(folder):
            pass
        job = int((folder / LOCK).read_text())
        assert job != sweep.pid
        sweep.send_signal(signal.SIGKILL)
    wait_for(lambda: not is_alive(job))
    wait_for(lambda: _is_free(folder))  # once the last of its threads has ended
