"""A model card says of its own task and run what is true of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from twist_sim.task_card import load_task_card
from twist_training.configuration import parse_arguments
from twist_training.model_card import model_card

TRAINING: dict[str, Any] = {
    "command": "twist-train all",
    "seconds": {"teacher": 60.0},
    "torch": "2",
    "precision": "float32",
    "processes": 3,
    "frames": 10,
}
RESULT = {
    **{"successes": 3, "episodes": 4, "low": 0.3, "high": 0.9, "mean_distance": 0.01},
    **{"object_error": 0.01, "surprise": 1.0, "surprise_p99": 2.0},
}
MEASURED = {"teacher": RESULT, "student_held_out": RESULT}


def _text(task: str | Path) -> str:
    config = parse_arguments([f"task={task}", "threads=2"])
    return model_card(config, TRAINING, MEASURED)


@pytest.mark.parametrize(
    ("task", "colours"),
    [
        ("block_push", "The cube is blue and the goal is red;"),
        ("block_lift", "The cube is blue;"),
    ],
)
def test_the_cards_of_the_shipped_tasks(task: str, colours: str) -> None:
    text = _text(task)
    assert text.startswith(f"# {task}\n")
    assert "Output: end-effector deltas, at most 2 cm per 0.1 s.\n" in text
    assert colours in text
    assert "student, held-out appearances, 640x480 frames" in text
    assert "float32, 3 processes of 2 threads," in text


def test_another_task_has_its_own_bound_period_camera_and_colours(tmp_path: Path) -> None:
    data = yaml.safe_load(load_task_card("block_push").source.read_text())
    data["action"]["bound"], data["control_period"] = 0.015, 0.05
    data["randomisation"] |= {"cube_hue": [100.0, 140.0], "goal_hue": 12.0}
    data["camera"] |= {"width": 600, "height": 440}
    path = tmp_path / "block_push.yaml"
    path.write_text(yaml.safe_dump(data))
    text = _text(path)
    assert text.startswith("# block_push\n")
    assert "at most 1.5 cm per 0.05 s." in text
    assert "The cube is of hue 100 to 140 degrees and the goal is of hue 0 ± 12 degrees;" in text
    assert "blue" not in text
    assert "600x440 frames" in text
