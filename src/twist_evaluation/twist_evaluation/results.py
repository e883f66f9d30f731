"""Results of an evaluation: data, summary, and the files ``results.json`` and ``results.csv``."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from twist_policy.statistics import Interval, wilson_interval

RESULTS_FILE = "results.json"
TABLE_FILE = "results.csv"
_FORMAT_VERSION = 1


class ResultsError(RuntimeError):
    """The results in a folder do not fit; the message names cause and cure."""


class Outcome(StrEnum):
    """How a trial ended."""

    SUCCESS = "success"
    FAILURE = "failure"
    ABORTED = "aborted"
    NOT_JUDGED = "not judged"


OPEN = (Outcome.ABORTED, Outcome.NOT_JUDGED)
"""Outcomes of trials that a resumed evaluation runs again."""


@dataclass(frozen=True)
class EvaluationIdentity:
    """What an evaluation is: two with the same identity may be continued by one another.

    Attributes:
        task: task card name.
        seed: (task, seed, trial) determines each layout.
        trials: how many are planned.
        episode_steps: policy steps of one episode.
        checkpoint: identity of the checkpoint; empty when not told.
        conditions: under which its trials are run, ``robot=fr3 speed=0.1 ...``; empty when not
            told.
    """

    task: str
    seed: int
    trials: int
    episode_steps: int
    checkpoint: str
    conditions: str = ""


@dataclass(frozen=True)
class TrialReport:
    """Result of one trial. NaN where nothing was measured.

    Attributes:
        trial: 0-based number.
        outcome: how it ended.
        reason: why it was aborted or not judged; empty otherwise.
        final_distance: metres between object and goal at the end.
        distance_deviation: standard deviation of that, metres, where a camera measured it.
        steps: policy steps taken.
        duration: seconds from activation to the last step.
        mean_surprise: nats, over the steps.
        p99_latency: seconds from image stamp to command, over the steps.
        judge: who judged.
        bag: folder of the bag; empty when not recorded.
        note: what else to know, e.g. dropped messages.
        picture: file with what the judge measured; empty for none.
        attempt: 1 for the first time this trial was run.
    """

    trial: int
    outcome: Outcome
    reason: str = ""
    final_distance: float = math.nan
    steps: int = 0
    duration: float = math.nan
    mean_surprise: float = math.nan
    p99_latency: float = math.nan
    judge: str = ""
    bag: str = ""
    note: str = ""
    picture: str = ""
    attempt: int = 1
    distance_deviation: float = math.nan


_FLOATS = ("final_distance", "distance_deviation", "duration", "mean_surprise", "p99_latency")


@dataclass(frozen=True)
class Tally:
    """Counts over an evaluation.

    A trial that was aborted, or that nobody judged, counts as a trial that did not succeed.
    """

    planned: int
    successes: int
    failures: int
    aborted: int
    not_judged: int = 0

    @property
    def run(self) -> int:
        """How many trials were run."""
        return self.successes + self.failures + self.aborted + self.not_judged

    @property
    def rate(self) -> Interval:
        """Success rate with its Wilson 95 % interval."""
        return wilson_interval(self.successes, self.run)


def tally(planned: int, reports: Sequence[TrialReport]) -> Tally:
    """Counts the outcomes."""
    outcomes = [report.outcome for report in reports]
    return Tally(planned, *(outcomes.count(outcome) for outcome in Outcome))


class ResultsFolder:
    """The files of an evaluation; rewritten atomically after every trial.

    Args:
        folder: created when it is not there.
        identity: of the evaluation.
        resume: whether results of the same evaluation may be continued.

    Attributes:
        identity: of the evaluation; with the conditions that are there where none are told.

    Raises:
        ResultsError: there are results already and `resume` is off, or they are another
            evaluation's, or they cannot be read, or the folder cannot be made.
    """

    def __init__(self, folder: Path, identity: EvaluationIdentity, *, resume: bool) -> None:
        self.folder = folder
        self.identity = identity
        self._reports: dict[int, TrialReport] = {}
        self._superseded: list[TrialReport] = []
        path = folder / RESULTS_FILE
        if path.exists():
            found, reports, superseded = read_all_results(path)
            if not resume:
                raise ResultsError(
                    f"{folder} holds the results of {len(reports)} trials already. Choose another "
                    "output folder, or set resume:=true to continue that evaluation."
                )
            _require_same(identity, found, path)
            self._reports = {report.trial: report for report in reports}
            self._superseded = superseded
            if not identity.conditions:
                self.identity = dataclasses.replace(identity, conditions=found.conditions)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ResultsError(
                f"{folder} cannot be made ({error.strerror or error}); choose another output folder"
            ) from None

    @property
    def reports(self) -> list[TrialReport]:
        """Every result, by trial number."""
        return [self._reports[number] for number in sorted(self._reports)]

    @property
    def superseded(self) -> list[TrialReport]:
        """Attempts that were run again, in the order in which they were made."""
        return list(self._superseded)

    def open_trials(self) -> list[int]:
        """Trials that were not judged yet; those aborted or not judged are run again."""
        return [
            number
            for number in range(self.identity.trials)
            if number not in self._reports or self._reports[number].outcome in OPEN
        ]

    def bag_folder(self, trial: int) -> Path:
        """Where the bag of a trial goes; never a folder that exists."""
        name = f"trial_{trial:03d}_{self.identity.task}_seed{self.identity.seed}"
        candidate, attempt = self.folder / name, 2
        while candidate.exists():
            candidate, attempt = self.folder / f"{name}_attempt{attempt}", attempt + 1
        return candidate

    def picture_file(self, trial: int) -> Path:
        """Where the picture of a trial's judgement goes, beside its bag; never one that exists."""
        name = f"trial_{trial:03d}_{self.identity.task}_seed{self.identity.seed}_judged"
        candidate, attempt = self.folder / f"{name}.png", 2
        while candidate.exists():
            candidate = self.folder / f"{name}_attempt{attempt}.png"
            attempt += 1
        return candidate

    def add(self, report: TrialReport) -> None:
        """Takes a result in and writes the files; an earlier attempt at the trial is kept too."""
        earlier = self._reports.get(report.trial)
        if earlier is not None:
            self._superseded.append(earlier)
            report = dataclasses.replace(report, attempt=earlier.attempt + 1)
        self._reports[report.trial] = report
        counts = tally(self.identity.trials, self.reports)
        document = {
            "format_version": _FORMAT_VERSION,
            **dataclasses.asdict(self.identity),
            "summary": {
                "successes": counts.successes,
                "failures": counts.failures,
                "aborted": counts.aborted,
                "not_judged": counts.not_judged,
                "attempts_run_again": len(self._superseded),
                "success_rate": counts.rate.estimate,
                "interval_95": [counts.rate.low, counts.rate.high],
            },
            "results": [_to_plain(report) for report in self.reports],
            "superseded": [_to_plain(report) for report in self._superseded],
        }
        _write_atomically(self.folder / RESULTS_FILE, json.dumps(document, indent=2) + "\n")
        _write_atomically(self.folder / TABLE_FILE, _table(self.reports))


def read_results(path: Path) -> tuple[EvaluationIdentity, list[TrialReport]]:
    """Reads a ``results.json``: the last attempt at each trial.

    Raises:
        ResultsError: as `read_all_results`.
    """
    identity, reports, _ = read_all_results(path)
    return identity, reports


def read_all_results(
    path: Path,
) -> tuple[EvaluationIdentity, list[TrialReport], list[TrialReport]]:
    """Reads a ``results.json``: the last attempt at each trial, and the attempts before it.

    Raises:
        ResultsError: it is missing, damaged, or of another format version.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["format_version"] != _FORMAT_VERSION:
            raise ResultsError(
                f"{path} has format version {document['format_version']}, expected "
                f"{_FORMAT_VERSION}. Read it with the release that wrote it."
            )
        identity = EvaluationIdentity(
            **{
                field.name: document[field.name]
                for field in dataclasses.fields(EvaluationIdentity)
                if field.name != "conditions"
            },
            conditions=document.get("conditions", ""),  # not kept by earlier versions
        )
        return (
            identity,
            [_from_plain(entry) for entry in document["results"]],
            [_from_plain(entry) for entry in document.get("superseded", [])],
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ResultsError(
            f"{path} cannot be read ({type(error).__name__}: {error}). Move it away, or choose "
            "another output folder."
        ) from None


def _require_same(mine: EvaluationIdentity, found: EvaluationIdentity, path: Path) -> None:
    # More trials of the same evaluation are a continuation; fewer are not.
    differences = [
        f"{field.name}: {getattr(found, field.name)!r} there, {getattr(mine, field.name)!r} asked"
        for field in dataclasses.fields(EvaluationIdentity)
        if field.name not in ("trials", "conditions")
        and getattr(mine, field.name) != getattr(found, field.name)
    ]
    if mine.conditions and found.conditions and mine.conditions != found.conditions:
        there, asked = set(found.conditions.split()), set(mine.conditions.split())
        differences.append(
            f"conditions: {' '.join(sorted(there - asked))} there, "
            f"{' '.join(sorted(asked - there))} asked"
        )
    if mine.trials < found.trials:
        differences.append(f"trials: {found.trials} there, only {mine.trials} asked")
    if differences:
        raise ResultsError(
            f"{path} is of another evaluation ({'; '.join(differences)}). Choose another output "
            "folder."
        )


def _to_plain(report: TrialReport) -> dict[str, Any]:
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in dataclasses.asdict(report).items()
    }


def _from_plain(entry: dict[str, Any]) -> TrialReport:
    values = dict(entry)
    for name in _FLOATS:
        value = values.get(name)
        values[name] = math.nan if value is None else float(value)
    values["outcome"] = Outcome(values["outcome"])
    return TrialReport(**values)


def _table(reports: Sequence[TrialReport]) -> str:
    stream = io.StringIO()
    names = [field.name for field in dataclasses.fields(TrialReport)]
    writer = csv.DictWriter(stream, names, lineterminator="\n")
    writer.writeheader()
    for report in reports:
        writer.writerow({k: "" if v is None else v for k, v in _to_plain(report).items()})
    return stream.getvalue()


def _write_atomically(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
