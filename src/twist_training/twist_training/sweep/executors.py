"""Where the runs of a sweep run: local processes, or Ray where it is installed."""

from __future__ import annotations

import concurrent.futures
import importlib
import importlib.util
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from twist_training.atomic_files import DiskError, write_atomically
from twist_training.configuration import ConfigurationError
from twist_training.run_identity import RunError
from twist_training.sweep.job import result_of, run_job

Plain = dict[str, Any]
Report = Callable[[int, Plain | None, str], None]
"""Called with the number of a job, its result (None: it failed), and what it said last."""

_LAST_LINES = 15


def executor_named(name: str) -> Callable[[Sequence[Plain], int, Report], None]:
    """``local``, ``ray``, or ``auto``: Ray where it is installed.

    Raises:
        ConfigurationError: there is no such executor, or Ray is not installed.
    """
    installed = importlib.util.find_spec("ray") is not None
    if name == "auto":
        return run_on_ray if installed else run_locally
    if name == "local":
        return run_locally
    if name != "ray":
        raise ConfigurationError(f"executor is {name!r}; use auto, local or ray")
    if not installed:
        raise ConfigurationError(
            "executor=ray, but Ray is not installed: pip install ray, or use executor=local"
        )
    return run_on_ray


def run_locally(jobs: Sequence[Plain], workers: int, report: Report) -> None:
    """Runs each job in a process of its own, `workers` at a time.

    A job that fails does not stop the others. Ctrl-C ends all of them, and so does the end of this
    process; they continue from their last checkpoints when they are started again. Each writes
    ``job.log`` into its run folder.
    """
    running: set[subprocess.Popen[bytes]] = set()
    lock = threading.Lock()
    stopped = False

    def run(job: Plain) -> tuple[Plain | None, str]:
        try:
            return run_in_folder(job, Path(job["folder"]))
        except (OSError, DiskError) as error:
            return None, str(error)

    def run_in_folder(job: Plain, folder: Path) -> tuple[Plain | None, str]:
        folder.mkdir(parents=True, exist_ok=True)
        with write_atomically(folder / "job.json") as file:
            file.write(json.dumps(job).encode())
        arguments = [str(folder / "job.json"), str(os.getpid())]
        with open(folder / "job.log", "ab") as log:
            with lock:
                if stopped:
                    return None, "not started"
                process = subprocess.Popen(
                    [sys.executable, "-m", "twist_training.sweep.job", *arguments],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )
                running.add(process)
            code = process.wait()
            with lock:
                running.discard(process)
        if code == 0:
            return result_of(folder), ""
        said = (folder / "job.log").read_text(encoding="utf-8", errors="replace").splitlines()
        return None, f"exit code {code}\n" + "\n".join(said[-_LAST_LINES:])

    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        futures = {pool.submit(run, job): number for number, job in enumerate(jobs)}
        try:
            for future in concurrent.futures.as_completed(futures):
                report(futures[future], *future.result())
        except BaseException:
            with lock:
                stopped = True
                for process in running:
                    process.terminate()
            pool.shutdown(cancel_futures=True)
            raise


def run_on_ray(jobs: Sequence[Plain], workers: int, report: Report) -> None:
    """Runs each job as a Ray task with one CPU, on whatever cluster there is.

    Connects to the cluster that ``RAY_ADDRESS`` names, or starts one on this machine with
    `workers` CPUs. Run folders must be on storage that all its machines share. Ray's usage
    reports are off unless RAY_USAGE_STATS_ENABLED=1 is set.

    Raises:
        RunError: Ray did not start, or the cluster cannot be reached.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray: Any = importlib.import_module("ray")
    if not ray.is_initialized():
        # A cluster has its own number of CPUs; a local one is made with ours.
        local = {"num_cpus": workers, "include_dashboard": False}
        try:
            ray.init(log_to_driver=False, **({} if os.environ.get("RAY_ADDRESS") else local))
        except Exception as error:  # Ray raises bare exceptions here
            raise RunError(
                f"Ray could not be started or reached ({error}); check RAY_ADDRESS, or use "
                "executor=local"
            ) from error
    task = ray.remote(run_job)
    pending = {task.options(num_cpus=1).remote(job): number for number, job in enumerate(jobs)}
    try:
        while pending:
            (done, *_), _ = ray.wait(list(pending), num_returns=1)
            number = pending.pop(done)
            try:
                report(number, ray.get(done), "")
            except ray.exceptions.RayError as error:
                report(number, None, str(error))
    finally:
        for reference in pending:
            ray.cancel(reference)
