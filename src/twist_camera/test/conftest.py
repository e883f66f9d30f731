"""The camera and the checkpoint of block push."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from twist_camera.camera_file import contract_of
from twist_camera.charuco_board import BoardSpec
from twist_camera.rehearsal import Rehearsal, RehearsalFaults, real_lens, shifted_camera
from twist_camera.rigid_transform import RigidTransform
from twist_policy.camera_match import CameraIntrinsics
from twist_policy.contract import PolicyContract

sys.path.insert(0, str(Path(__file__).parent))  # for the modules beside the tests

CHECKPOINT = Path(__file__).resolve().parents[3] / "models" / "block_push"


@pytest.fixture(scope="session")
def contract() -> PolicyContract:
    return contract_of(CHECKPOINT)


@pytest.fixture(scope="session")
def lab_of(contract: PolicyContract) -> Callable[..., Rehearsal]:
    """Makes a lab whose camera stands a little beside the place trained with."""

    def make(seed: int, **faults: float) -> Rehearsal:
        model = contract.camera
        rng = np.random.default_rng([seed, 0])
        pose = RigidTransform.from_quaternion(model.position, model.orientation)
        return Rehearsal(
            BoardSpec(),
            real_lens(CameraIntrinsics.from_model(model), rng),
            shifted_camera(pose, rng, 0.05, 5.0),
            dataclasses.replace(RehearsalFaults(), **faults),
            seed,
        )

    return make
