"""An example contract with a small camera, checkpoints of tiny modules, a stand for the node."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from twist_policy.contract import (
    CameraModel,
    GripperSpec,
    ImageSpec,
    PolicyContract,
    StateField,
    Workspace,
)

sys.path.insert(0, str(Path(__file__).parent))  # for policy_node_stand


def example_contract(**changes: object) -> PolicyContract:
    """A contract like block push's with a 160x120 camera; `changes` replace its fields."""
    fields: dict[str, object] = {
        "task": "block_push",
        "base_frame": "panda_link0",
        "control_period": 0.1,
        "action_size": 3,
        "action_bound": 0.02,
        "leash": 0.05,
        "workspace": Workspace((0.3, -0.3, 0.0), (0.7, 0.3, 0.3)),
        "home": (0.4, 0.0, 0.05),
        "tool_orientation": (0.0, 1.0, 0.0, 0.0),
        "tool_offset": (0.0, 0.0, 0.2),
        "episode_steps": 150,
        "camera": CameraModel(
            160, 120, 154.0, 154.0, 80.0, 60.0, (1.2, 0.0, 0.6), (1.0, 0.0, 0.0, 0.0)
        ),
        "image": ImageSpec(20, 10, 100, 64),
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


@pytest.fixture(scope="session")
def gripper_contract() -> PolicyContract:
    """The example contract of a task with a gripper, whose commands take 0.3 s."""
    gripper = GripperSpec(
        open_width=0.08,
        speed=0.1,
        force=40.0,
        epsilon_inner=0.01,
        epsilon_outer=0.012,
        grasp_width=0.04,
        command_time=0.3,
    )
    return example_contract(task="block_lift", action_size=4, gripper=gripper)


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Gives the folder of a synthetic checkpoint with that behaviour, written once."""
    from twist_policy.synthetic_checkpoint import write_synthetic_checkpoint

    folder = tmp_path_factory.mktemp("checkpoints")

    def write(behaviour: str) -> Path:
        path = folder / behaviour
        if not path.exists():
            write_synthetic_checkpoint(path, example_contract(), behaviour=behaviour)  # type: ignore[arg-type]
        return path

    return write


@pytest.fixture
def stand(ros_domain_id: int, checkpoints: Callable[[str], Path]) -> Iterator[Any]:
    """A running node between a fake camera, robot and Servo; see `policy_node_stand.NodeStand`."""
    from policy_node_stand import NodeStand  # needs rclpy, which the other tests do without

    stand = NodeStand(example_contract(), checkpoints, ros_domain_id)
    yield stand
    stand.close()
