"""Every checkpoint under models/ is whole, and of the task that its folder names."""

from __future__ import annotations

from pathlib import Path

import pytest

from twist_policy.checkpoint import load_checkpoint

ROOT = Path(__file__).resolve().parent.parent
MODELS = sorted(path.parent for path in (ROOT / "models").glob("*/manifest.json"))


def test_there_is_a_checkpoint_for_each_task_of_the_readme() -> None:
    assert {"block_lift", "block_push"} <= {folder.name for folder in MODELS}


@pytest.mark.parametrize("folder", MODELS, ids=lambda folder: folder.name)
def test_a_shipped_checkpoint_is_whole(folder: Path) -> None:
    images_alone = folder.name.endswith("_images")
    task = folder.name.removesuffix("_images")
    checkpoint = load_checkpoint(folder, expected_task=task)
    assert checkpoint.contract.observes_ee_position is not images_alone
    assert checkpoint.measured["student_held_out"]["episodes"] >= 100
