"""The model card that goes with a checkpoint."""

from __future__ import annotations

from typing import Any

from twist_policy.statistics import ratio_of_rates
from twist_sim.appearance_ranges import AppearanceRanges
from twist_sim.task_card import TaskCard, load_task_card
from twist_training.configuration import TrainingConfig
from twist_training.rollout import CONTACT_FORCE_LIMIT


def model_card(config: TrainingConfig, training: dict[str, Any], measured: dict[str, Any]) -> str:
    """Markdown: what the checkpoint is, how it was made, what it was measured at.

    Args:
        config: the run's settings.
        training: the manifest's training record.
        measured: the manifest's measurements; empty before the evaluation.
    """
    seconds: dict[str, float] = training["seconds"]
    minutes = "\n".join(f"| {name} | {value / 60:.1f} |" for name, value in seconds.items())
    inputs = "the image" + (
        " and the measured end-effector position" if config.student.observes_ee_position else ""
    )
    card = load_task_card(config.task)
    return f"""# {card.task}

A TWIST policy (teacher-student world model distillation; Yamada et al., 2023) for task
`{card.task}`. Input: {inputs}. Output: end-effector deltas, at most \
{100 * card.action.bound:g} cm per {card.control_period:g} s.

![learning curve](learning_curve.png)

## Made by

```
{training["command"]}
```

PyTorch {training["torch"]}, {training["precision"]}, {training["processes"]} processes of \
{config.threads} threads,
{training["frames"]:,} rendered training frames.

| stage | minutes |
|---|---|
{minutes}
| **all** | **{sum(seconds.values()) / 60:.1f}** |

## Measured

{_measurements(measured, card)}

## Limits

Trained in simulation only, for the camera pose and the workspace in `manifest.json`. \
{_colours(card)};
other colours were not trained. The numbers above are from simulation and say nothing certain about
a real robot: see the surprise and the belief before you trust it.
"""


def _colours(card: TaskCard) -> str:
    """Which colours cube and goal had in training."""
    ranges, usual = AppearanceRanges.from_mapping(card.randomisation), AppearanceRanges()
    low, high = ranges.cube_hue
    blue = usual.cube_hue[0] <= low and high <= usual.cube_hue[1]
    colours = "The cube is " + ("blue" if blue else f"of hue {low:g} to {high:g} degrees")
    if card.goal is not None:
        red = ranges.goal_hue <= usual.goal_hue
        colours += " and the goal is " + (
            "red" if red else f"of hue 0 ± {ranges.goal_hue:g} degrees"
        )
    return colours


def student_over_teacher(measured: dict[str, Any]) -> str:
    """The student's success as a share of the teacher's, with its interval."""
    student, teacher = measured["student_held_out"], measured["teacher"]
    if not teacher["successes"]:
        return "not defined, the teacher solved no episode"
    ratio = ratio_of_rates(
        student["successes"], student["episodes"], teacher["successes"], teacher["episodes"]
    )
    return f"{ratio.estimate:.2f} (95 % interval {ratio.low:.2f} to {ratio.high:.2f})"


def _measurements(measured: dict[str, Any], card: TaskCard) -> str:
    if not measured:
        return "Not evaluated yet: run `twist-train evaluate` with the settings above."
    rows = [
        "| who | success | 95 % interval (Wilson) | mean final distance |",
        "|---|---|---|---|",
    ]
    names = {
        "teacher": "teacher, privileged state",
        "student_held_out": "student, held-out appearances, "
        f"{card.camera.width}x{card.camera.height} frames",
    }
    for key, name in names.items():
        result = measured[key]
        rows.append(
            f"| {name} | {result['successes']}/{result['episodes']} "
            f"| {100 * result['low']:.0f} to {100 * result['high']:.0f} % "
            f"| {100 * result['mean_distance']:.1f} cm |"
        )
    student = measured["student_held_out"]
    rows.append(f"\nStudent / teacher: {student_over_teacher(measured)}.")
    rows.append(
        f"\nMean error of the believed object position: {100 * student['object_error']:.1f} cm; "
        f"surprise: {student['surprise']:.1f} nats on average, "
        f"{student['surprise_p99']:.0f} at the 99th percentile."
    )
    for key, who in (("student_held_out", "student"), ("teacher", "teacher")):
        result = measured[key]
        if "pressed" in result:  # checkpoints that were evaluated before do not say
            rows.append(
                f"\nLargest contact force of the {who}'s episodes, on an arm as stiff as the twin: "
                f"median {result['force_median']:.0f} N, {result['force_largest']:.0f} N at most, "
                f"above {CONTACT_FORCE_LIMIT:.0f} N in {result['pressed']:.0f} of "
                f"{result['episodes']}."
            )
    return "\n".join(rows)
