"""One run of a sweep in a process of its own.

``python -m twist_training.sweep.job JOB.json PARENT``, where PARENT is the sweep's process number.
"""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Any

from twist_training.atomic_files import write_atomically
from twist_training.configuration import from_dict
from twist_training.run_lock import locked
from twist_training.shared_data import take_data_from, take_encoder_from
from twist_training.worker_pool import end_with_parent

RESULT = "result.json"


def result_of(folder: Path) -> dict[str, Any] | None:
    """What the job of a run folder has come to; None before its end, or if it cannot be read."""
    try:
        result = json.loads((folder / RESULT).read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    return result if isinstance(result, dict) else None


def run_job(job: dict[str, Any]) -> dict[str, Any]:
    """Runs a job of `plan.to_plain`, or what is left of it, and returns its result.

    A job of kind ``data`` is a teacher with its episodes and images, ``warm_up`` the encoder
    warm-up that several students begin with; their results are empty. A ``student`` is distilled,
    exported, and evaluated as a robot would run it.

    Raises:
        RunError: another process is at it, or what it needs is not there.
        DiskError: the disk is full.
    """
    folder = Path(job["folder"])
    with locked(folder):
        result = result_of(folder)
        if result is None:
            result = _run(job, folder)
            with write_atomically(folder / RESULT) as file:
                file.write(json.dumps(result).encode())
        return result


def _run(job: dict[str, Any], folder: Path) -> dict[str, Any]:
    from twist_training.runners.distil import warm_up_encoder
    from twist_training.runners.evaluate import evaluate_checkpoint
    from twist_training.runners.pipeline import Pipeline

    config = from_dict(job["config"])
    found: dict[str, Any] = {}
    if job["kind"] != "data":
        take_data_from(Path(job["data"]), config, folder)
    if job["kind"] == "student" and job["warm_up"]:
        take_encoder_from(Path(job["warm_up"]), config, folder)
    pipeline = Pipeline(config, folder, folder / "checkpoint")
    if job["kind"] == "data":
        for stage in ("teacher", "collect", "render"):
            pipeline.run(stage)
    elif job["kind"] == "warm_up":
        warm_up_encoder(pipeline.session, pipeline.teacher(), pipeline.data())
    else:
        for stage in ("distil", "export"):
            pipeline.run(stage)
        evaluation = config.evaluation
        found = evaluate_checkpoint(
            folder / "checkpoint",
            task=config.task,
            episodes=evaluation.episodes,
            seed=evaluation.seed,
            workers=evaluation.workers,
        ).to_dict()
        found["distil_seconds"] = round(pipeline.clock.seconds.get("distil", 0.0), 1)
    return found


if __name__ == "__main__":
    end_with_parent(int(sys.argv[2]))
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        run_job(json.loads(Path(sys.argv[1]).read_text()))
    except KeyboardInterrupt:
        sys.exit(130)
