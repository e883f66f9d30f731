"""``twist-train sweep``: students over tasks, seeds and variants, from one file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twist_training.configuration import ConfigurationError, with_arguments
from twist_training.progress import ProgressBar
from twist_training.run_identity import RunError
from twist_training.run_lock import locked
from twist_training.storage.result_table import ResultTable
from twist_training.sweep.executors import executor_named
from twist_training.sweep.job import result_of
from twist_training.sweep.plan import (
    SHIPPED,
    StudentRun,
    Sweep,
    plan,
    read_sweep,
    to_plain,
    warm_ups,
)
from twist_training.sweep.report import results_of, write_report

KEY = ("task", "variant", "seed", "student")


@dataclass(frozen=True)
class SweepSettings:
    """Arguments of ``twist-train sweep``.

    Attributes:
        file: a sweep file; empty takes the shipped ablations of the paper's Fig. 6.
        out: the sweep's folder; the same folder and file continue it.
        data: runs to take teachers and data from, e.g. ``runs/{task}_cpu_seed{seed}``; empty
            trains them first.
        workers: runs at a time.
        executor: ``auto``, ``local`` or ``ray``.
    """

    file: str = ""
    out: str = "runs/sweep"
    data: str = ""
    workers: int = 1
    executor: str = "auto"


def main(arguments: list[str]) -> None:
    """Runs what the table lacks and writes the report.

    Raises:
        ConfigurationError: an argument or the file is wrong.
        TaskCardError: there is no such task.
        ResultTableError: the folder holds another sweep.
        RunError: a run failed; the others are done and in the table. Or this sweep runs already.
        DiskError: the folder is not writable or the disk is full.
    """
    settings = with_arguments(SweepSettings(), arguments)
    if settings.workers < 1:
        raise ConfigurationError(f"workers is {settings.workers}; use 1 or more")
    file = Path(settings.file) if settings.file else SHIPPED
    sweep, out = read_sweep(file), Path(settings.out)
    makers, students = plan(sweep, out, settings.data)
    execute = executor_named(settings.executor)
    failures: dict[Path, str] = {}
    about = _about(sweep, settings.data)
    with locked(out, "out"), ResultTable(out / "results.jsonl", about=about, key=KEY) as table:
        waiting = [run for run in students if any(row not in table for row in _keys(run))]
        needed = {run.data for run in waiting}
        unmade = [run for run in makers if run.folder in needed and result_of(run.folder) is None]
        cold = [run for run in warm_ups(waiting) if result_of(run.folder) is None]
        total = len(unmade) + len(cold) + len(waiting)
        with ProgressBar(total=total, desc="sweep", unit="run") as bar:

            def execute_all(runs: list[Any]) -> None:
                def report(number: int, result: dict[str, Any] | None, said: str) -> None:
                    run = runs[number]
                    if result is None:
                        failures[run.folder] = said
                    elif isinstance(run, StudentRun):
                        for row in _keys(run):
                            if row not in table:
                                table.add(row | result)
                    bar.update()

                execute([to_plain(run) for run in runs], settings.workers, report)

            execute_all(unmade)
            execute_all([run for run in cold if run.data not in failures])
            execute_all([run for run in waiting if not failures.keys() & {run.data, run.warm_up}])
        wanted = {table.key_of(row) for run in students for row in _keys(run)}
        rows = [row for row in table.rows if table.key_of(row) in wanted]
    results = results_of(rows, list(sweep.variants))
    if results:
        for path in write_report(out, results, _title(students)):
            print(path)
    if failures:
        raise RunError(
            f"{len(failures)} runs failed; the same command repeats them:\n"
            + "\n".join(f"{folder}: {said}" for folder, said in failures.items())
        )


def _keys(run: StudentRun) -> list[dict[str, Any]]:
    # With the folder's name, which follows task card and settings: a variant that was given others
    # since is another row.
    return [
        {"task": run.task, "variant": variant, "seed": run.seed, "student": run.folder.name}
        for variant in run.variants
    ]


def _title(students: list[StudentRun]) -> str:
    tasks = dict.fromkeys(run.task for run in students)
    # Of the students: with data=, their settings are those of the runs that it names.
    presets = dict.fromkeys(run.config.preset for run in students)
    return f"{', '.join(tasks)}, preset {', '.join(presets)}"


def _about(sweep: Sweep, data: str) -> dict[str, Any]:
    """What must not change between the rows of a table; seeds, tasks and variants may grow."""
    return {"preset": sweep.preset, "settings": list(sweep.settings), "data": data}
