"""A robustness measurement as a Markdown table and as one figure."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes

from twist_policy.statistics import Interval
from twist_training.atomic_files import write_atomically
from twist_training.robustness.summary import Curve, Point, Summary
from twist_training.rollout import CONTACT_FORCE_LIMIT

_SUCCESS, _SURPRISE = "#1f5fa8", "#c4661f"


def write_report(folder: Path, summary: Summary, title: str) -> list[Path]:
    """Writes ``robustness.md``, ``robustness.png`` and ``robustness.svg``; returns their paths.

    Raises:
        DiskError: the folder is not writable or the disk is full.
    """
    paths = [folder / "robustness.md"]
    with write_atomically(paths[0]) as file:
        file.write(markdown(summary, title).encode())
    figure = _figure(summary, title)
    for suffix in ("png", "svg"):
        paths.append(folder / f"robustness.{suffix}")
        with write_atomically(paths[-1]) as file:
            # Without a date the same numbers give the same file.
            figure.savefig(
                file, format=suffix, dpi=110, metadata={"Date": None} if suffix == "svg" else None
            )
    plt.close(figure)
    return paths


def markdown(summary: Summary, title: str) -> str:
    """The tables of a report."""
    lines = [
        f"# {title}",
        "",
        "Success with Wilson's 95 % interval; *lost* against the nominal world on the same",
        "trials, in points (Newcombe's paired interval); surprise in nats, mean and largest of a",
        "trial, averaged over the trials; AUROC of the mean surprise for telling these trials from",
        "nominal ones. Bold: the interval excludes chance. Levels with * lie outside what was",
        f"trained. Above {CONTACT_FORCE_LIMIT:.0f} N: trials with a contact force that would stop",
        "a Franka arm set up as in its profile, were that as stiff as the simulated one.",
        "",
    ]
    head = (
        "success | interval, % | lost, points | surprise | largest | AUROC | object error, cm "
        f"| above {CONTACT_FORCE_LIMIT:.0f} N |",
        "---|---|---|---|---|---|---|---|",
    )
    for curve in summary.curves:
        lines += [f"### {curve.factor.axis}", "", f"| | {head[0]}", f"|---|{head[1]}"]
        lines += [f"| {_label(point)} | {_row(point)}" for point in curve.points]
        if not np.isnan(curve.detection.estimate):
            lines += ["", f"All untrained levels: AUROC {_interval(curve.detection, 2)}."]
        lines.append("")
    lines += [
        "### Does surprise rise before success falls?",
        "",
        "The first level, on the way out of what was trained, at which an interval excludes",
        "chance; few trials show little.",
        "",
        "| factor | way out of what was trained | surprise tells from | success falls from | |",
        "|---|---|---|---|---|",
        *(
            f"| {item.factor} | {item.direction} | {item.surprised_at or '-'} "
            f"| {item.failing_at or '-'} | {item.verdict} |"
            for item in summary.lead_times
        ),
        "",
        f"Nominal: {_successes(summary.nominal)}; surprise "
        f"{_interval(summary.nominal.surprise, 1)} nats.",
        "",
        f"All factors pooled: AUROC {_interval(summary.pooled, 2)} with the mean surprise of a "
        f"trial, {_interval(summary.pooled_largest, 2)} with its largest. Telling failed trials "
        f"from solved ones over all worlds: {_interval(summary.failures, 2)}.",
        "",
    ]
    return "\n".join(lines)


def _label(point: Point) -> str:
    return point.level.label + ("" if point.level.trained else " *")


def _successes(point: Point) -> str:
    return f"{round(point.success.estimate * point.trials)}/{point.trials}"


def _row(point: Point) -> str:
    rate = point.success
    lost = f"{100 * point.lost.estimate:+.0f}"
    detection = f"{point.detection.estimate:.2f}"
    return (
        f"{_successes(point)} "
        f"| {100 * rate.low:.0f} to {100 * rate.high:.0f} "
        f"| {f'**{lost}**' if point.lost.low > 0 else lost} "
        f"| {point.surprise.estimate:.1f} | {point.largest_surprise.estimate:.0f} "
        f"| {f'**{detection}**' if point.detection.low > 0.5 else detection} "
        f"| {100 * point.object_error:.1f} "
        f"| {'-' if point.pressed is None else point.pressed} |"
    )


def _interval(value: Interval, digits: int) -> str:
    return (
        f"{value.estimate:.{digits}f} (95 % interval {value.low:.{digits}f} to "
        f"{value.high:.{digits}f})"
    )


def _figure(summary: Summary, title: str) -> plt.Figure:
    columns = 2
    rows = -(-len(summary.curves) // columns)
    with plt.rc_context({"svg.hashsalt": "twist", "svg.fonttype": "none", "font.size": 9}):
        figure, axes = plt.subplots(
            rows, columns, figsize=(10, 2.6 * rows), layout="constrained", squeeze=False
        )
        figure.suptitle(title)
        highest = max(
            [
                summary.nominal.surprise.high,
                *(p.surprise.high for c in summary.curves for p in c.points),
            ]
        )
        handles: dict[str, Artist] = {}
        for index, panel in enumerate(axes.flat):
            if index < len(summary.curves):
                handles |= _draw(panel, summary.curves[index], summary.nominal, highest)
            else:
                panel.set_visible(False)
        figure.legend(
            handles.values(), handles.keys(), loc="outside lower center", ncols=4, fontsize=8
        )
    return figure


def _draw(panel: Axes, curve: Curve, nominal: Point, highest: float) -> dict[str, Artist]:
    """Draws one curve; returns what there is to explain, by its name."""
    points = curve.points
    x = np.arange(len(points)) if curve.factor.named else np.array([p.level.value for p in points])
    beside = panel.twinx()
    trained = [value for value, point in zip(x, points, strict=True) if point.level.trained]
    step = 0.5 * float(np.diff(x).min()) if len(x) > 1 else 0.5
    if trained and curve.factor.named:
        panel.axvspan(min(trained) - 0.5, max(trained) + 0.5, color="0.92", label="trained")
    elif trained:
        narrow = 0.1 * step if min(trained) == max(trained) else 0.0
        panel.axvspan(min(trained) - narrow, max(trained) + narrow, color="0.92", label="trained")
    panel.axhline(
        100 * nominal.success.estimate,
        color=_SUCCESS,
        linewidth=0.8,
        linestyle=":",
        label="nominal",
    )
    line = "none" if curve.factor.named else "-"
    _with_bars(panel, x, [p.success for p in points], 100.0, _SUCCESS, "o", line, "success")
    _with_bars(
        beside, x + 0.06 * step, [p.surprise for p in points], 1.0, _SURPRISE, "s", line, "surprise"
    )
    panel.set(xlabel=curve.factor.axis, ylabel="success, %", ylim=(-3, 103))
    panel.yaxis.label.set_color(_SUCCESS)
    beside.set(ylabel="surprise, nats", ylim=(0, 1.08 * highest))
    beside.yaxis.label.set_color(_SURPRISE)
    panel.set_xticks(x, [p.level.label for p in points])
    panel.grid(alpha=0.25)
    smallest = min(p.trials for p in points)
    most = max(p.trials for p in points)
    count = f"{most}" if smallest == most else f"{smallest} to {most}"
    panel.set_title(f"n = {count} a point", fontsize=8, loc="right")
    if not np.isnan(curve.detection.estimate):
        panel.set_title(f"AUROC {curve.detection.estimate:.2f}", fontsize=8, loc="left")
    both = (panel.get_legend_handles_labels(), beside.get_legend_handles_labels())
    return {
        name: handle for handles, names in both for handle, name in zip(handles, names, strict=True)
    }


def _with_bars(
    panel: Axes,
    x: np.ndarray,
    values: list[Interval],
    scale: float,
    colour: str,
    marker: str,
    line: str,
    label: str,
) -> None:
    middle = scale * np.array([v.estimate for v in values])
    below = middle - scale * np.array([v.low for v in values])
    above = scale * np.array([v.high for v in values]) - middle
    panel.errorbar(
        x,
        middle,
        np.maximum(0.0, [below, above]),
        color=colour,
        marker=marker,
        markersize=4,
        linestyle=line,
        linewidth=1.4,
        elinewidth=0.9,
        capsize=2,
        label=label,
    )
