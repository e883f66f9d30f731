from __future__ import annotations

import copy
import dataclasses
import json
import math
from typing import Any

import pytest

from twist_policy.contract import ContractError, PolicyContract, StateField, Workspace


def test_contract_survives_json(contract: PolicyContract) -> None:
    text = json.dumps(contract.to_dict())
    assert PolicyContract.from_dict(json.loads(text)) == contract


def test_state_slices_tile_the_state_in_order(contract: PolicyContract) -> None:
    covered = [
        index
        for field in contract.state
        for index in range(contract.state_size)[contract.state_slice(field.name)]
    ]
    assert covered == list(range(contract.state_size))


def test_unknown_state_field_is_refused_with_the_known_ones(contract: PolicyContract) -> None:
    with pytest.raises(ContractError, match=r"lid_angle.*object_position"):
        contract.state_slice("lid_angle")


def test_differences_name_the_field_and_both_values(contract: PolicyContract) -> None:
    other = dataclasses.replace(contract, leash=0.05)
    assert contract.differences(other) == ["leash: 0.03 != 0.05"]
    assert contract.differences(contract) == []


def _with(data: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    data = copy.deepcopy(data)
    *parents, last = path.split(".")
    node = data
    for key in parents:
        node = node[int(key)] if isinstance(node, list) else node[key]
    if value is KeyError:
        del node[last]
    else:
        node[last] = value
    return data


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("task", "", "task is empty"),
        ("task", 3, r"contract\.task: expected str"),
        ("task", KeyError, r"missing fields \['task'\]"),
        ("speed", 1.0, r"unknown fields \['speed'\]"),
        ("action_bound", 0.0, "must be positive"),
        ("action_bound", math.nan, "must be positive and finite"),
        ("action_bound", 0.5, "refuses more than"),
        ("action_bound", True, "expected float"),
        ("action_size", 2, "must be 3 without a gripper"),
        ("action_size", 4, "must be 3 without a gripper"),
        ("action_size", 3.0, "expected int"),
        ("leash", -1.0, "must be positive"),
        ("control_period", math.inf, "must be positive and finite"),
        ("control_period", 10**400, "too large"),
        ("episode_steps", 0, "must be positive"),
        ("home", [9.0, 0.0, 0.0], "outside the workspace"),
        ("home", [0.4, 0.0], "expected 3 entries"),
        ("home", [math.nan, 0.0, 0.1], "outside the workspace"),
        ("tool_orientation", [0.0, 0.0, 0.0, 0.0], "unit quaternion"),
        ("tool_offset", [0.0, math.nan, 0.0], "finite"),
        ("workspace", [], r"contract\.workspace: expected an object"),
        ("workspace.lower", [0.9, -0.3, 0.0], "must lie below"),
        ("camera.fx", 0.0, "focal"),
        ("camera.cx", math.nan, "finite"),
        ("camera.width", 0, "empty"),
        ("camera.orientation", [math.nan, 0.0, 0.0, 0.0], "unit quaternion"),
        ("image.crop_x", 600, "leaves the 640x480 frame"),
        ("image.crop_y", -1, "inside the frame"),
        ("image.size", 0, "image.size"),
        ("image.size", 301, "image.size"),
        ("state", [], "no fields"),
        ("observes_ee_position", 1, "expected bool"),
    ],
)
def test_malformed_contract_is_refused(
    contract: PolicyContract, path: str, value: Any, message: str
) -> None:
    data = json.loads(json.dumps(contract.to_dict()))
    with pytest.raises(ContractError, match=message):
        PolicyContract.from_dict(_with(data, path, value))


def test_a_gripper_survives_json(gripper_contract: PolicyContract) -> None:
    text = json.dumps(gripper_contract.to_dict())
    assert PolicyContract.from_dict(json.loads(text)) == gripper_contract


def test_a_contract_without_a_gripper_reads_as_before_there_were_grippers(
    contract: PolicyContract, gripper_contract: PolicyContract
) -> None:
    data = contract.to_dict()
    assert "gripper" not in data
    assert PolicyContract.from_dict(data | {"gripper": None}) == contract
    lift = dataclasses.replace(contract, action_size=4, gripper=gripper_contract.gripper)
    assert "gripper.force: None != 40.0" in contract.differences(lift)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("action_size", 3, "must be 4 with a gripper"),
        ("gripper", [], r"contract\.gripper: expected an object"),
        ("gripper.force", KeyError, r"contract\.gripper: missing fields \['force'\]"),
        ("gripper.force", 0.0, r"gripper\.force must be positive"),
        ("gripper.speed", math.nan, r"gripper\.speed must be positive"),
        ("gripper.command_time", math.inf, r"gripper\.command_time must be positive"),
        ("gripper.epsilon_inner", -0.01, r"gripper\.epsilon_inner must be finite and not negative"),
        ("gripper.grasp_width", 0.08, r"grasp_width 0\.08 m must be smaller than open_width"),
    ],
)
def test_a_malformed_gripper_is_refused(
    gripper_contract: PolicyContract, path: str, value: Any, message: str
) -> None:
    with pytest.raises(ContractError, match=message):
        PolicyContract.from_dict(_with(gripper_contract.to_dict(), path, value))


@pytest.mark.parametrize("data", [None, [], "contract", 3])
def test_anything_but_an_object_is_refused(data: Any) -> None:
    with pytest.raises(ContractError, match="expected an object"):
        PolicyContract.from_dict(data)


def test_repeated_state_fields_are_refused(contract: PolicyContract) -> None:
    with pytest.raises(ContractError, match="repeat"):
        dataclasses.replace(contract, state=(contract.state[0], contract.state[0]))


@pytest.mark.parametrize(
    ("size", "offset", "scale"),
    [
        (0, (), 1.0),
        (2, (0.0,), 1.0),
        (1, (math.nan,), 1.0),
        (1, (0.0,), 0.0),
        (1, (0.0,), math.inf),
    ],
)
def test_bad_state_field_is_refused(size: int, offset: tuple[float, ...], scale: float) -> None:
    with pytest.raises(ContractError):
        StateField("yaw", "rad", size, offset, scale)


def test_zero_is_a_bound_of_the_workspace() -> None:
    assert Workspace((-1.0, 0.0, 0.0), (0.0, 1.0, 1.0)).upper[0] == 0.0
    with pytest.raises(ContractError, match="must lie below"):
        Workspace((0.0, 0.0, 0.0), (0.0, 1.0, 1.0))
