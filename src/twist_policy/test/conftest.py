"""An example contract and a checkpoint of tiny modules."""

from __future__ import annotations

from pathlib import Path

import pytest

from twist_policy.contract import (
    GripperSpec,
    PolicyContract,
)
from twist_policy.synthetic_checkpoint import write_synthetic_checkpoint
from twist_policy.synthetic_contract import synthetic_contract


@pytest.fixture
def contract() -> PolicyContract:
    return synthetic_contract()


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
    return synthetic_contract(task="block_lift", action_size=4, gripper=gripper)


@pytest.fixture
def folder(tmp_path: Path, contract: PolicyContract) -> Path:
    """A valid checkpoint's folder; its policy moves forward."""
    write_synthetic_checkpoint(tmp_path / "model", contract, behaviour="forward")
    return tmp_path / "model"
