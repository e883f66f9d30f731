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
    Workspace,
)
from twist_policy.synthetic_contract import synthetic_contract

sys.path.insert(0, str(Path(__file__).parent))  # for policy_node_stand


def example_contract(**changes: Any) -> PolicyContract:
    """A contract like block push's with a 160x120 camera; `changes` replace its fields."""
    fields: dict[str, Any] = {
        "leash": 0.05,
        "workspace": Workspace((0.3, -0.3, 0.0), (0.7, 0.3, 0.3)),
        "camera": CameraModel(
            160, 120, 154.0, 154.0, 80.0, 60.0, (1.2, 0.0, 0.6), (1.0, 0.0, 0.0, 0.0)
        ),
        "image": ImageSpec(20, 10, 100, 64),
    }
    return synthetic_contract(**(fields | changes))


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
