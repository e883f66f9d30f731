"""An example contract and a checkpoint of tiny modules."""

from __future__ import annotations

from pathlib import Path

import pytest

from twist_policy.contract import (
    CameraModel,
    GripperSpec,
    ImageSpec,
    PolicyContract,
    StateField,
    Workspace,
)
from twist_policy.synthetic_checkpoint import write_synthetic_checkpoint


def example_contract(**changes: object) -> PolicyContract:
    """A contract like block push's; `changes` replace its fields."""
    fields: dict[str, object] = {
        "task": "block_push",
        "base_frame": "panda_link0",
        "control_period": 0.1,
        "action_size": 3,
        "action_bound": 0.02,
        "leash": 0.03,
        "workspace": Workspace((0.3, -0.3, 0.01), (0.7, 0.3, 0.3)),
        "home": (0.4, 0.0, 0.05),
        "tool_orientation": (0.0, 1.0, 0.0, 0.0),
        "tool_offset": (0.0, 0.0, 0.2),
        "episode_steps": 150,
        "camera": CameraModel(
            640, 480, 615.0, 615.0, 320.0, 240.0, (1.2, 0.0, 0.6), (1.0, 0.0, 0.0, 0.0)
        ),
        "image": ImageSpec(150, 100, 300, 64),
        "observes_ee_position": True,
        "state": (
            StateField("ee_position", "m", 3, (0.5, 0.0, 0.05), 10.0),
            StateField("object_position", "m", 3, (0.5, 0.0, 0.02), 10.0),
            StateField("goal_position", "m", 3, (0.5, 0.0, 0.0), 10.0),
        ),
    }
    return PolicyContract(**(fields | changes))  # type: ignore[arg-type]


@pytest.fixture
def contract() -> PolicyContract:
    return example_contract()


@pytest.fixture
def gripper_contract() -> PolicyContract:
    """The example contract of a task with a gripper."""
    gripper = GripperSpec(
        open_width=0.08,
        speed=0.1,
        force=40.0,
        epsilon_inner=0.01,
        epsilon_outer=0.01,
        grasp_width=0.04,
        command_time=1.0,
    )
    return example_contract(task="block_lift", action_size=4, gripper=gripper)


@pytest.fixture
def folder(tmp_path: Path, contract: PolicyContract) -> Path:
    """A valid checkpoint's folder; its policy moves forward."""
    write_synthetic_checkpoint(tmp_path / "model", contract, behaviour="forward")
    return tmp_path / "model"
