"""Lines that a person reads while an evaluation runs. Plain text: they go through a pipe."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from twist_evaluation.results import (
    OPEN,
    RESULTS_FILE,
    EvaluationIdentity,
    Tally,
    TrialReport,
)
from twist_policy.statistics import percentile


def heading(identity: EvaluationIdentity, output: Path, open_trials: int) -> str:
    """What is about to be run."""
    checkpoint = f"   checkpoint {identity.checkpoint}" if identity.checkpoint else ""
    done = identity.trials - open_trials
    resumed = f" ({done} of them judged before)" if done else ""
    return (
        f"{identity.task}   {identity.trials} trials{resumed} of {identity.episode_steps} steps"
        f"   seed {identity.seed}{checkpoint}\nresults in {output}"
    )


def trial_line(report: TrialReport, counts: Tally) -> str:
    """One trial, aligned with the lines of the others."""
    width = len(str(counts.planned))
    line = f"trial {report.trial + 1:>{width}}/{counts.planned}  {report.outcome.upper():<7}"
    if report.steps:
        cells = (
            (report.final_distance * 100, "{:5.1f} cm", " " * 8),
            (report.steps, "{:4d} steps", ""),
            (report.duration, "{:5.1f} s", " " * 7),
            (report.mean_surprise, "surprise {:4.1f}", " " * 13),
            (report.p99_latency * 1000, "p99 {:3.0f} ms", " " * 10),
        )
        line += "".join(
            "  " + (form.format(value) if math.isfinite(value) else missing)
            for value, form, missing in cells
        )
    line += f"   so far {counts.successes}/{counts.run}"
    if report.reason:
        line += f"\n{'':>{8 + 2 * width}}{report.reason}"
    if report.note:
        line += f"\n{'':>{8 + 2 * width}}note: {report.note}"
    return line


def success(counts: Tally) -> str:
    """The success rate with its interval."""
    rate = counts.rate
    return (
        f"success {counts.successes}/{counts.run} = {rate.estimate:.0%}"
        f"   95 % interval {rate.low:.0%} to {rate.high:.0%} (Wilson)"
    )


def closing(
    counts: Tally,
    reports: tuple[TrialReport, ...],
    reason: str,
    output: Path,
    recorded: bool,
    folders: Sequence[Path],
) -> str:
    """The summary at the end.

    Args:
        counts: over all trials.
        reports: of all trials.
        reason: why it ended early; empty when it did not.
        output: folder of the evaluation.
        recorded: whether there are bags.
        folders: of the results, one for each seed.
    """
    judged = [r for r in reports if r.outcome not in OPEN]
    lines = [""]
    if counts.run:
        lines.append(success(counts))
        unjudged = f"   not judged {counts.not_judged}" if counts.not_judged else ""
        lines.append(f"failures {counts.failures}   aborted {counts.aborted}{unjudged}")
    if judged:
        lines.append(
            f"median final distance {_median(r.final_distance for r in judged) * 100:.1f} cm"
            f"   mean surprise {_mean(r.mean_surprise for r in judged):.2f} nats"
            f"   worst trial's p99 latency {_worst(r.p99_latency for r in judged) * 1000:.0f} ms"
        )
    again = sum(report.attempt - 1 for report in reports)
    if again:
        lines.append(f"earlier attempts that were run again: {again}; results.json keeps them")
    if counts.run < counts.planned or reason:
        lines.append(
            f"ended early after {counts.run} of {counts.planned} trials: {reason or 'see above'}"
        )
        lines.append(f"continue with the same arguments and resume:=true output:={output}")
    files = [folder / RESULTS_FILE for folder in folders]
    lines += [f"results {path}" for path in files if path.exists()]
    if recorded and counts.run:
        lines.append(f"report  twist-report {output}")
    return "\n".join(lines)


def _finite(values: Iterable[float]) -> list[float]:
    return [value for value in values if math.isfinite(value)]


def _median(values: Iterable[float]) -> float:
    return percentile(_finite(values), 50)


def _mean(values: Iterable[float]) -> float:
    numbers = _finite(values)
    return sum(numbers) / len(numbers) if numbers else math.nan


def _worst(values: Iterable[float]) -> float:
    return max(_finite(values), default=math.nan)
