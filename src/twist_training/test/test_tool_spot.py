"""The picture of where the tool tip should be seen."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from twist_policy import torchscript
from twist_sim.camera_geometry import project
from twist_sim.task_card import load_task_card
from twist_training.algorithms.distillation import Student
from twist_training.configuration import PRESETS, StudentConfig, from_dict
from twist_training.modules.networks import StateScaling, ToolSpot

CONTRACT = load_task_card("block_lift").contract(observes_ee_position=True)
TOOLS = torch.tensor([[0.45, 0.0, 0.15], [0.55, 0.1, 0.02], [0.42, -0.15, 0.10]])
"""Tool tips in sight, metres."""


def _scaled(position: Tensor) -> Tensor:
    scaling, tool = StateScaling(CONTRACT), CONTRACT.state_slice("ee_position")
    return (position - scaling.offset[tool]) * scaling.scale[tool]


def _middles(planes: Tensor) -> Tensor:
    """Centres of mass, network pixels, (N, 2): column, row."""
    pixels = torch.arange(planes.shape[-1], dtype=torch.float32)
    weights = planes[:, 0] / planes[:, 0].sum((-2, -1), keepdim=True)
    return torch.stack([weights.sum(1) @ pixels, weights.sum(2) @ pixels], -1)


def _expected() -> Tensor:
    image = CONTRACT.image
    pixels = torch.from_numpy(project(CONTRACT.camera, TOOLS.numpy())).float()
    corner = torch.tensor([image.crop_x, image.crop_y])
    return (pixels - corner) / (image.crop_size / image.size) - 0.5


def test_the_spot_is_where_the_camera_sees_the_tool() -> None:
    planes = ToolSpot(CONTRACT)(_scaled(TOOLS))
    assert planes.shape == (3, 1, CONTRACT.image.size, CONTRACT.image.size)
    torch.testing.assert_close(_middles(planes), _expected(), atol=0.05, rtol=0.0)
    assert ((planes >= 0) & (planes <= 1)).all()
    assert (planes.flatten(1).amax(1) > 0.9).all()


def test_the_spot_keeps_its_place_in_low_precision_and_as_torchscript() -> None:
    spot, position = ToolSpot(CONTRACT), _scaled(TOOLS)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = spot(position)
    torch.testing.assert_close(rounded.float(), spot(position), atol=0.01, rtol=0.0)
    assert torch.equal(torchscript.script(spot)(position), spot(position))


@pytest.mark.parametrize("position", [[0.45, 2.0, 0.1], [3.0, 0.0, 0.55]])
def test_a_tool_out_of_sight_or_behind_the_camera_has_no_spot(position: list[float]) -> None:
    planes = ToolSpot(CONTRACT)(_scaled(torch.tensor([position])))
    assert torch.isfinite(planes).all()
    assert float(planes.max()) < 1e-3


@pytest.mark.parametrize(
    ("observes", "asked", "planes"), [(True, True, 4), (True, False, 3), (False, True, 3)]
)
def test_only_a_student_that_is_given_the_position_has_the_plane(
    observes: bool, asked: bool, planes: int
) -> None:
    contract = load_task_card("block_lift").contract(observes_ee_position=observes)
    config = StudentConfig(depth=4, tool_spot=asked)
    student = Student(config, PRESETS["smoke"].teacher, contract)
    first = student.encoder.convolutions[0]
    assert isinstance(first, torch.nn.Conv2d)
    assert first.in_channels == planes
    image = torch.zeros(2, 64, 64, 3, dtype=torch.uint8)
    assert student.embed(image, torch.zeros(2, 3)).shape[0] == 2


def test_a_run_that_was_started_without_the_plane_goes_on_without() -> None:
    settings = PRESETS["cpu"].to_dict()
    assert from_dict(settings).student.tool_spot
    del settings["student"]["tool_spot"]
    assert not from_dict(settings).student.tool_spot
