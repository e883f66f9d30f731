"""What an evaluation's files tell beyond its bags: results, attempts run again, the comparison.

Where there are results they say how trials ended, whatever a bag says: a trial can end without a
bag, and a bag can be left without a result.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from twist_evaluation.blind_comparison import SEALED_FILE
from twist_evaluation.comparison import Comparison, compare_blind
from twist_evaluation.results import (
    RESULTS_FILE,
    EvaluationIdentity,
    ResultsError,
    TrialReport,
    read_all_results,
)
from twist_evaluation.trial_record import TrialRecord

_NO_RESULT = "not counted: the evaluation was ended before this trial had a result"


@dataclass(frozen=True)
class Evidence:
    """Beside the bags.

    Attributes:
        identities: of the evaluations, one for each seed.
        results: of the last attempt at each trial.
        folders: those whose results these are.
        again: attempts that were run again, and are not counted.
        comparison: of two checkpoints, once every run is made.
        sealed: why a comparison is not shown; empty when there is none, or it is shown.
        unreadable: results that cannot be read, and why.
    """

    identities: tuple[EvaluationIdentity, ...] = ()
    results: tuple[TrialReport, ...] = ()
    folders: tuple[Path, ...] = ()
    again: tuple[TrialReport, ...] = ()
    comparison: Comparison | None = None
    sealed: str = ""
    unreadable: tuple[str, ...] = ()

    def is_superseded(self, bag: Path) -> bool:
        """Whether a bag is of an attempt that was run again."""
        return any(_is_of(report, bag) for report in self.again)

    def judged(self, record: TrialRecord) -> TrialRecord:
        """The record with the outcome that the results have for it, or without one."""
        if record.folder.parent not in self.folders:
            return record
        for report in self.results:
            if _is_of(report, record.folder):
                told = {
                    "outcome": str(report.outcome),
                    "reason": report.reason,
                    "judge": report.judge,
                    "picture": Path(report.picture).name,
                }
                return replace(
                    record,
                    outcome=report.outcome,
                    final_distance=report.final_distance,
                    custom_data={**record.custom_data, **told},
                )
        data = {**record.custom_data, "outcome": "", "reason": _NO_RESULT}
        return replace(record, outcome=None, custom_data=data)

    def without_bag(self, records: Sequence[TrialRecord]) -> list[TrialReport]:
        """Results of trials that no bag shows."""
        return [
            report
            for report in self.results
            if not any(_is_of(report, record.folder) for record in records)
        ]


def _is_of(report: TrialReport, bag: Path) -> bool:
    # By name: the folder may have been moved since.
    return bool(report.bag) and Path(report.bag).name == bag.name


def read_evidence(folder: Path) -> Evidence:
    """Reads results and comparison of an evaluation's folder, and of its seeds' folders."""
    identities: list[EvaluationIdentity] = []
    results: list[TrialReport] = []
    again: list[TrialReport] = []
    folders, unreadable = [], []
    for place in (folder, *sorted(folder.glob("seed*"))):
        if (place / RESULTS_FILE).exists():
            try:
                identity, current, superseded = read_all_results(place / RESULTS_FILE)
                identities.append(identity)
                results += current
                again += superseded
                folders.append(place)
            except ResultsError as error:
                unreadable.append(str(error))
    comparison, sealed = None, ""
    if (folder / SEALED_FILE).exists():
        try:
            comparison = compare_blind(folder)
        except ResultsError as error:
            sealed = str(error)
    return Evidence(
        tuple(identities),
        tuple(results),
        tuple(folders),
        tuple(again),
        comparison,
        sealed,
        tuple(unreadable),
    )
