"""What an evaluation's files tell beyond its bags: attempts run again, and the comparison."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from twist_evaluation.blind_comparison import SEALED_FILE
from twist_evaluation.comparison import Comparison, compare_blind
from twist_evaluation.results import RESULTS_FILE, ResultsError, TrialReport, read_all_results


@dataclass(frozen=True)
class Evidence:
    """Beside the bags.

    Attributes:
        again: attempts that were run again, and are not counted.
        comparison: of two checkpoints, once every run is made.
        sealed: why a comparison is not shown; empty when there is none, or it is shown.
        unreadable: results that cannot be read, and why.
    """

    again: tuple[TrialReport, ...] = ()
    comparison: Comparison | None = None
    sealed: str = ""
    unreadable: tuple[str, ...] = ()

    def is_superseded(self, bag: Path) -> bool:
        """Whether a bag is of an attempt that was run again."""
        return any(report.bag and Path(report.bag).name == bag.name for report in self.again)


def read_evidence(folder: Path) -> Evidence:
    """Reads results and comparison of an evaluation's folder, and of its seeds' folders."""
    again: list[TrialReport] = []
    unreadable = []
    for place in (folder, *sorted(folder.glob("seed*"))):
        if (place / RESULTS_FILE).exists():
            try:
                again += read_all_results(place / RESULTS_FILE)[2]
            except ResultsError as error:
                unreadable.append(str(error))
    comparison, sealed = None, ""
    if (folder / SEALED_FILE).exists():
        try:
            comparison = compare_blind(folder)
        except ResultsError as error:
            sealed = str(error)
    return Evidence(tuple(again), comparison, sealed, tuple(unreadable))
