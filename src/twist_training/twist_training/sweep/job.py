"""One run of a sweep in a process of its own: ``python -m twist_training.sweep.job JOB.json``."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Any

from twist_training.atomic_files import write_atomically
from twist_training.configuration import from_dict
from twist_training.shared_data import take_data_from, take_encoder_from

RESULT = "result.json"


def is_done(folder: Path) -> bool:
    """Whether the job of a run folder has come to its end."""
    return (folder / RESULT).exists()


def run_job(job: dict[str, Any]) -> dict[str, Any]:
    """Runs a job of `plan.to_plain`, or what is left of it, and returns its result.

    A job of kind ``data`` is a teacher with its episodes and images, ``warm_up`` the encoder
    warm-up that several students begin with; their results are empty. A ``student`` is distilled,
    exported, and evaluated as a robot would run it.
    """
    from twist_training.runners.distil import warm_up_encoder
    from twist_training.runners.evaluate import evaluate_checkpoint
    from twist_training.runners.pipeline import Pipeline

    config, folder = from_dict(job["config"]), Path(job["folder"])
    result = folder / RESULT
    if is_done(folder):
        done: dict[str, Any] = json.loads(result.read_text())
        return done
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
            episodes=evaluation.episodes,
            seed=evaluation.seed,
            workers=evaluation.workers,
        ).to_dict()
        found["distil_seconds"] = round(pipeline.clock.seconds.get("distil", 0.0), 1)
    with write_atomically(result) as file:
        file.write(json.dumps(found).encode())
    return found


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        run_job(json.loads(Path(sys.argv[1]).read_text()))
    except KeyboardInterrupt:
        sys.exit(130)
