"""A picture of a run: success and losses of teacher and student."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from twist_training.rollout import CONTACT_FORCE_LIMIT


def read_log(path: Path) -> list[dict[str, Any]]:
    """The lines of a metric log; a line cut short by a kill is left out."""
    rows = []
    if path.exists():
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                continue
            if isinstance(row, dict) and "step" in row:
                rows.append(row)
    return rows


def _series(rows: list[dict[str, Any]], name: str) -> tuple[list[float], list[float]]:
    chosen = [row for row in rows if name in row]
    return [row["step"] for row in chosen], [row[name] for row in chosen]


def draw_learning_curve(folder: Path, title: str) -> Path:
    """Draws ``learning_curve.png`` from the logs in a run folder and returns its path."""
    figure, axes = plt.subplots(2, 2, figsize=(11, 6.5), layout="constrained")
    figure.suptitle(title)
    panels = {
        "teacher": ["world_model/state", "world_model/reward", "world_model/kl"],
        "student": [
            "encoder/state",
            "eq3/deterministic",
            "eq3/prior",
            "eq3/posterior",
            "eq4/deterministic",
            "eq4/prior",
        ],
    }
    for column, (stage, losses) in enumerate(panels.items()):
        rows = read_log(folder / f"{stage}.jsonl")
        success, loss = axes[0][column], axes[1][column]
        steps, values = _series(rows, "evaluation/success")
        low, high = (_series(rows, f"evaluation/{end}")[1] for end in ("low", "high"))
        success.fill_between(steps, low, high, alpha=0.2, label="95 % interval")
        success.plot(steps, values, "o-", label="evaluation")
        steps, values = _series(rows, "evaluation/gentle")
        if steps:
            label = f"without pressing above {CONTACT_FORCE_LIMIT:.0f} N"
            success.plot(steps, values, "x--", label=label)
        success.set(title=f"{stage}: success rate", ylim=(-0.03, 1.03), xlabel="gradient steps")
        success.grid(alpha=0.3)
        success.legend(loc="lower right")
        for name in losses:
            steps, values = _series(rows, name)
            if steps:
                loss.plot(steps, values, label=name, linewidth=1.2)
        loss.set(title=f"{stage}: losses", yscale="log", xlabel="gradient steps")
        loss.grid(alpha=0.3)
        if loss.lines:
            loss.legend(fontsize=8)
    path = folder / "learning_curve.png"
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return path
