"""A sweep's table of results as Markdown and as a figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from twist_policy.statistics import Interval, stratified_bootstrap
from twist_training.atomic_files import write_atomically
from twist_training.storage.result_table import Row


@dataclass(frozen=True)
class VariantResult:
    """All runs of a variant.

    Attributes:
        name: of the variant.
        scores: success rates, one list per task.
        episodes: of each evaluation.
        iqm: interquartile mean over all runs, with its stratified bootstrap interval.
        object_errors: mean distance between believed and true object, metres, of each run.
    """

    name: str
    scores: tuple[tuple[float, ...], ...]
    episodes: int
    iqm: Interval
    object_errors: tuple[float, ...]

    @property
    def runs(self) -> tuple[float, ...]:
        """All success rates."""
        return tuple(score for task in self.scores for score in task)


def results_of(rows: Sequence[Row], variants: Sequence[str]) -> list[VariantResult]:
    """Gathers the rows of a sweep, in the order of `variants`; those without a run are left out."""
    results = []
    for name in variants:
        mine = [row for row in rows if row["variant"] == name]
        if not mine:
            continue
        tasks = sorted({row["task"] for row in mine})
        scores = tuple(
            tuple(
                row["successes"] / row["episodes"]
                for row in sorted(mine, key=lambda row: row["seed"])
                if row["task"] == task
            )
            for task in tasks
        )
        results.append(
            VariantResult(
                name,
                scores,
                mine[0]["episodes"],
                stratified_bootstrap(scores),
                tuple(row["object_error"] for row in mine),
            )
        )
    return results


def write_report(folder: Path, results: Sequence[VariantResult], title: str) -> list[Path]:
    """Writes ``sweep.md``, ``sweep.png`` and ``sweep.svg``; returns their paths.

    Raises:
        DiskError: the folder is not writable or the disk is full.
    """
    paths = [folder / "sweep.md"]
    with write_atomically(paths[0]) as file:
        file.write(markdown(results, title).encode())
    with plt.rc_context({"svg.hashsalt": "twist", "svg.fonttype": "none"}):
        figure, panel = plt.subplots(figsize=(8, 1.1 + 0.5 * len(results)), layout="constrained")
        panel.use_sticky_edges = False  # no run lies on the frame
        for row, result in enumerate(results):
            low, high = 100 * result.iqm.low, 100 * result.iqm.high
            panel.barh(row, high - low, left=low, height=0.5, color="#1f5fa8", alpha=0.35)
            panel.plot([100 * result.iqm.estimate] * 2, [row - 0.25, row + 0.25], color="#1f5fa8")
            runs = 100 * np.array(result.runs)
            panel.plot(runs, np.full(len(runs), float(row)), "o", color="0.25", markersize=4)
        panel.set_yticks(range(len(results)), [result.name for result in results])
        panel.invert_yaxis()
        panel.set(xlabel="success, %: interquartile mean with 95 % interval; dots are runs")
        panel.set_title(title, fontsize=10)
        panel.grid(alpha=0.3, axis="x")
        for suffix in ("png", "svg"):
            paths.append(folder / f"sweep.{suffix}")
            with write_atomically(paths[-1]) as file:
                figure.savefig(
                    file,
                    format=suffix,
                    dpi=110,
                    metadata={"Date": None} if suffix == "svg" else None,
                )
        plt.close(figure)
    return paths


def markdown(results: Sequence[VariantResult], title: str) -> str:
    """The table of a report."""
    lines = [
        f"# {title}",
        "",
        "Success on held-out looks; interquartile mean over runs with its 95 % stratified",
        "bootstrap interval (Agarwal et al. 2021). An interval from few runs is itself uncertain.",
        "Object error: mean distance between believed and true object, lowest to highest run.",
        "",
        "| variant | IQM, % | 95 % interval | runs, % | episodes a run | object error, cm |",
        "|---|---|---|---|---|---|",
    ]
    for result in results:
        runs = ", ".join(f"{100 * score:.0f}" for score in result.runs)
        interval = (
            f"{100 * result.iqm.low:.0f} to {100 * result.iqm.high:.0f}"
            if len(result.runs) > 1
            else "- (one run)"
        )
        low, high = 100 * min(result.object_errors), 100 * max(result.object_errors)
        lines.append(
            f"| {result.name} | {100 * result.iqm.estimate:.0f} | {interval} | {runs} "
            f"| {result.episodes} | {low:.1f} to {high:.1f} |"
        )
    return "\n".join([*lines, ""])
