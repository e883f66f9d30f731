"""Logs of a run that was interrupted read like those of one that was not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from twist_training.atomic_files import DiskError
from twist_training.configuration import parse_arguments
from twist_training.session import MetricLog, Session


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return Session(parse_arguments(["preset=smoke", "processes=1"]), tmp_path)


def _log(session: Session, resumed_from: int, steps: dict[int, float]) -> None:
    with MetricLog(session, "teacher", resumed_from) as log:
        for step, value in steps.items():
            log.write(step, loss=value)


def _rows(session: Session) -> list[tuple[int, float]]:
    lines = (session.folder / "teacher.jsonl").read_text().splitlines()
    return [(row["step"], row["loss"]) for row in map(json.loads, lines)]


def test_rows_beyond_the_step_that_a_run_goes_on_from_are_dropped(session: Session) -> None:
    _log(session, 0, {100: 1.0, 200: 2.0, 300: 3.0, 400: 4.0})
    with (session.folder / "teacher.jsonl").open("a") as file:
        file.write('{"step": 100, "lo')  # a kill
    _log(session, 200, {300: 30.0})
    assert _rows(session) == [(100, 1.0), (200, 2.0), (300, 30.0)]
    events = EventAccumulator(str(session.folder / "tensorboard" / "teacher"))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("loss")] == _rows(session)


def test_training_that_begins_anew_has_a_new_log(session: Session) -> None:
    _log(session, 0, {0: 1.0, 100: 2.0})
    _log(session, 0, {100: 3.0})
    assert _rows(session) == [(100, 3.0)]


def test_a_full_disk_under_a_log_is_said_with_its_reason(session: Session) -> None:
    (session.folder / "teacher.jsonl").symlink_to("/dev/full")
    with (
        pytest.raises(DiskError, match=r"teacher\.jsonl: No space left on device.*free space"),
        MetricLog(session, "teacher", 0) as log,
    ):
        log.write(1, loss=1.0)
