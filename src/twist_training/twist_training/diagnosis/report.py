"""A diagnosis as Markdown, as a figure, and as the pictures of its worst episodes."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import mujoco
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from twist_policy.contract import CameraModel, PolicyContract
from twist_sim.camera_geometry import matrix_from_quaternion, project, quaternion_from_matrix
from twist_training.atomic_files import write_atomically
from twist_training.diagnosis.analysis import CAMERA, Diagnosis
from twist_training.diagnosis.episodes import Episode

_SOLVED, _FAILED = "#1f5fa8", "#c4661f"
_MARKS = {"ee_position": "tab:green", "object_position": "tab:cyan", "goal_position": "gold"}
_SHOWN = 14


def write_report(
    folder: Path,
    diagnosis: Diagnosis,
    episodes: Sequence[Episode],
    contract: PolicyContract,
    *,
    title: str,
    worst: int,
) -> list[Path]:
    """Writes ``diagnosis.md``, ``diagnosis.png`` and ``worst.png``; returns their paths.

    Raises:
        DiskError: the folder is not writable or the disk is full.
    """
    paths = [folder / "diagnosis.md", folder / "diagnosis.png", folder / "worst.png"]
    with write_atomically(paths[0]) as file:
        file.write(markdown(diagnosis, title).encode())
    for path, figure in (
        (paths[1], _overview(diagnosis, title)),
        (paths[2], _sheet(episodes, contract, worst)),
    ):
        with write_atomically(path) as file:
            figure.savefig(file, format="png", dpi=100)
        plt.close(figure)
    return paths


def markdown(diagnosis: Diagnosis, title: str) -> str:
    """The tables of a report."""
    done = diagnosis.behaviour
    failed = done.episodes - round(done.success.estimate * done.episodes)
    lines = [
        f"# {title}",
        "",
        f"{done.episodes - failed} of {done.episodes} episodes solved (95 % interval "
        f"{100 * done.success.low:.0f} to {100 * done.success.high:.0f} %).",
        "",
        f"- The goal was reached at some moment in {done.reached:.0%} of the episodes (median step "
        f"{done.first_reached:.0f}), and left again in {done.left:.0%}.",
        f"- After it was reached, the tool moved {100 * done.tool_after:.2f} cm per step (median), "
        f"and the object {100 * done.object_after:.1f} cm in all.",
        f"- Failed: {failed}; of these the object was never touched in {done.failed_untouched}, "
        f"the goal was reached and left in {done.failed_left}, other {done.failed_other}.",
        "",
        "## Error of the belief",
        "",
        "Lengths in cm. Bias: standard deviation, between episodes, of an episode's mean error;",
        "flicker: what changes within an episode; camera: share of the bias' variance that camera",
        "position, rotation and focal length explain linearly (adjusted R squared).",
        "",
        "| | RMS solved | RMS failed | bias | flicker | camera |",
        "|---|---|---|---|---|---|",
        *(
            f"| {c.name} | {_number(c.solved)} | {_number(c.failed)} | {_number(c.bias)} "
            f"| {_number(c.flicker)} | {_number(c.camera)} |"
            for c in diagnosis.coordinates
        ),
        "",
        "## What goes with it",
        "",
        "Spearman's rank correlation of a look's parameters. A single parameter exceeds "
        f"{diagnosis.chance:.2f} by chance once in 20; with {len(diagnosis.correlations)} of them, "
        "expect one or two.",
        "",
        "| parameter | final distance | object error | surprise |",
        "|---|---|---|---|",
        *(
            f"| {c.name} | {c.distance:+.2f} | {c.object_error:+.2f} | {c.surprise:+.2f} |"
            for c in diagnosis.correlations
        ),
        "",
    ]
    return "\n".join(lines)


def _number(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.2f}"


def _overview(diagnosis: Diagnosis, title: str) -> Figure:
    figure, axes = plt.subplots(2, 2, figsize=(12, 9), layout="constrained")
    figure.suptitle(title)
    _draw_coordinates(axes[0][0], diagnosis)
    _draw_time(axes[0][1], diagnosis)
    _draw_correlations(axes[1][0], diagnosis)
    panel = axes[1][1]
    panel.plot(100 * diagnosis.object_errors, 100 * diagnosis.distances, ".", color=_SOLVED)
    panel.set(
        xlabel="mean error of the believed object, cm",
        ylabel="final distance, cm",
        title="Belief and outcome, one point an episode",
    )
    panel.grid(alpha=0.3)
    return figure


def _draw_coordinates(panel: Axes, diagnosis: Diagnosis) -> None:
    rows = np.arange(len(diagnosis.coordinates))
    for offset, name, colour in ((-0.2, "solved", _SOLVED), (0.2, "failed", _FAILED)):
        values = [getattr(c, name) for c in diagnosis.coordinates]
        panel.barh(rows + offset, np.nan_to_num(values), 0.38, color=colour, label=name)
    panel.set_yticks(rows, [c.name for c in diagnosis.coordinates], fontsize=8)
    panel.invert_yaxis()
    panel.set(xlabel="RMS error, cm (lengths)", title="Belief, by coordinate")
    panel.grid(alpha=0.3, axis="x")
    panel.legend()


def _draw_time(panel: Axes, diagnosis: Diagnosis) -> None:
    for name, colour in (("solved", _SOLVED), ("failed", _FAILED)):
        values = diagnosis.error_by_time[name]
        if len(values):
            panel.plot(100 * values, color=colour, label=name)
    panel.set(xlabel="policy step", ylabel="cm", title="Error of the believed object")
    panel.set_ylim(bottom=0)
    panel.grid(alpha=0.3)
    panel.legend()


def _draw_correlations(panel: Axes, diagnosis: Diagnosis) -> None:
    shown = diagnosis.correlations[:_SHOWN]
    rows = np.arange(len(shown))
    panel.barh(rows - 0.2, [c.distance for c in shown], 0.38, color=_FAILED, label="final distance")
    panel.barh(rows + 0.2, [c.object_error for c in shown], 0.38, color="0.5", label="object error")
    panel.axvspan(-diagnosis.chance, diagnosis.chance, color="0.92", zorder=0, label="chance, 95 %")
    panel.set_yticks(rows, [c.name for c in shown], fontsize=8)
    panel.invert_yaxis()
    panel.set(xlabel="Spearman's rho", title="Look and outcome")
    panel.legend(fontsize=8)


def _sheet(episodes: Sequence[Episode], contract: PolicyContract, worst: int) -> Figure:
    """The episodes that ended farthest from their goals: a cross is true, a ring is believed."""
    chosen = sorted(episodes, key=lambda episode: (episode.success, -episode.distance))[:worst]
    columns = max(len(episode.frame_steps) for episode in chosen)
    figure, axes = plt.subplots(
        len(chosen),
        columns,
        figsize=(2.3 * columns, 2.45 * len(chosen)),
        layout="constrained",
        squeeze=False,
    )
    for row, episode in zip(axes, chosen, strict=True):
        camera = _camera_of(contract.camera, episode.parameters)
        for panel in row:
            panel.axis("off")
        for panel, step, frame in zip(row, episode.frame_steps, episode.frames, strict=False):
            _draw_frame(panel, frame, episode, int(step), camera, contract)
        row[0].set_title(
            f"trial {episode.trial}, {100 * episode.distance:.0f} cm", fontsize=8, loc="left"
        )
    return figure


def _draw_frame(
    panel: Axes,
    frame: np.ndarray,
    episode: Episode,
    step: int,
    camera: CameraModel,
    contract: PolicyContract,
) -> None:
    image = contract.image
    if frame.shape[0] != frame.shape[1]:  # a full frame: show what the policy cuts out of it
        frame = frame[
            image.crop_y : image.crop_y + image.crop_size,
            image.crop_x : image.crop_x + image.crop_size,
        ]
    scale = frame.shape[0] / image.crop_size
    panel.imshow(frame)
    panel.set_title(f"step {step}", fontsize=7, loc="right")
    fields = {item.name for item in contract.state}
    row = min(step, len(episode.state) - 1)
    for name, colour in _MARKS.items():
        if name not in fields:
            continue
        for values, marker in ((episode.state[row], "+"), (episode.belief[row], "o")):
            point = np.zeros(3)
            found = values[contract.state_slice(name)]
            point[: len(found)] = found
            pixel = (project(camera, point) - (image.crop_x, image.crop_y)) * scale - 0.5
            panel.plot(*pixel, marker, color=colour, fillstyle="none", markersize=7, clip_on=True)
    panel.set(xlim=(-0.5, frame.shape[1] - 0.5), ylim=(frame.shape[0] - 0.5, -0.5))


def _camera_of(camera: CameraModel, parameters: dict[str, float]) -> CameraModel:
    """The camera where it stood in an episode, so that true positions fall on what is seen."""
    values = np.array([parameters[name] for name in CAMERA])
    rotation = matrix_from_quaternion(camera.orientation)
    vector, turn, quaternion = np.radians(values[3:6]), np.empty(9), np.empty(4)
    angle = float(np.linalg.norm(vector))
    mujoco.mju_axisAngle2Quat(quaternion, vector / max(angle, 1e-12), angle)
    mujoco.mju_quat2Mat(turn, quaternion)
    x, y, z = (np.asarray(camera.position) + rotation @ values[:3] / 100.0).tolist()
    return dataclasses.replace(
        camera,
        fx=camera.fx * values[6],
        fy=camera.fy * values[6],
        position=(x, y, z),
        orientation=quaternion_from_matrix(rotation @ turn.reshape(3, 3)),
    )
