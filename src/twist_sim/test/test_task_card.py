"""A task card is refused, with file and key, when anything in it is missing or nonsense."""

import copy
import math
import pickle
from pathlib import Path

import pytest
import yaml

from twist_policy.contract import PolicyContract
from twist_sim.kinematics import DifferentialIk
from twist_sim.scene import PandaScene
from twist_sim.task_card import TASK_PATH, TaskCardError, available_tasks, load_task_card

SHIPPED = Path(load_task_card("block_push").source)


@pytest.fixture
def write_card(tmp_path):
    """Writes the shipped card with `value` at a dotted `key` (None deletes); returns its path."""

    def write(key: str | None = None, value: object = None) -> Path:
        data = copy.deepcopy(yaml.safe_load(SHIPPED.read_text()))
        if key is not None:
            *parents, last = key.split(".")
            section = data
            for parent in parents:
                section = section[parent]
            if value is None:
                del section[last]
            else:
                section[last] = value
        path = tmp_path / "block_push.yaml"
        path.write_text(yaml.safe_dump(data))
        return path

    return write


@pytest.mark.parametrize("task", available_tasks())
def test_every_shipped_card_loads_and_makes_a_contract_that_survives_json(task):
    for observes in (True, False):
        contract = load_task_card(task).contract(observes)
        assert contract.observes_ee_position is observes
        assert PolicyContract.from_dict(contract.to_dict()) == contract


def test_an_unknown_task_is_refused_with_the_known_ones():
    with pytest.raises(TaskCardError, match=r"unknown task 'block_psh'.*block_push"):
        load_task_card("block_psh")


def test_a_missing_file_and_broken_yaml_are_refused_by_name(tmp_path):
    with pytest.raises(TaskCardError, match=r"nowhere\.yaml"):
        load_task_card(tmp_path / "nowhere.yaml")
    broken = tmp_path / "broken.yaml"
    broken.write_text("a: [1,")
    with pytest.raises(TaskCardError, match=r"broken\.yaml is not valid YAML"):
        load_task_card(broken)
    broken.write_text("")
    with pytest.raises(TaskCardError, match=r"broken\.yaml.*expected a mapping"):
        load_task_card(broken)


def test_a_card_at_a_path_equals_the_shipped_one(write_card):
    assert load_task_card(write_card()) == load_task_card("block_push")


@pytest.mark.parametrize(
    ("key", "value", "complaint"),
    [
        ("object.size", None, r"object: missing keys \['size'\]"),
        ("camera", None, r"missing keys \['camera'\]"),
        ("object.sise", 0.04, r"object: unknown keys \['sise'\]"),
        ("rule_parameters.reech", 0.2, r"rule_parameters: unknown keys \['reech'\]"),
        ("rule_parameters.reach", None, r"rule_parameters: missing keys \['reach'\]"),
        ("rule_parameters.near_width", 0.0, r"rule_parameters: near_width must be positive"),
        ("refinement.reech", 0.2, r"no rule parameters of block_push: \['reech'\]"),
        ("refinement.near_width", 0.0, r"rule_parameters: near_width must be positive"),
        ("refinement.press_weight", -1.0, r"rule_parameters: press_weight must"),
        ("refinement", [1], r"refinement: expected a mapping"),
        ("object.size", "big", r"object\.size: expected a number, found 'big'"),
        ("object.size", True, r"object\.size: expected a number, found True"),
        ("object.size", math.nan, r"object\.size: expected a finite number"),
        ("object.size", -0.04, r"object: size must be positive"),
        ("object.mass", [0.2, 0.1], r"object: mass must be \[lowest, highest\]"),
        ("object.friction", [0.0, 0.1], r"object: friction must be"),
        ("workspace.lower", [0.3, 0.0], r"workspace\.lower: expected 3 entries"),
        ("workspace.lower", [0.3, 0.0, "low"], r"workspace\.lower\[2\]: expected a number"),
        ("workspace.lower", [0.7, -0.24, 0.012], r"workspace: .*must lie below"),
        ("episode_steps", 12.5, r"episode_steps: expected a whole number"),
        ("episode_steps", 0, r"episode_steps must be positive"),
        ("control_period", 0.1013, r"control_period .* must be a multiple"),
        ("action.bound", 0.03, r"refuses more than 0\.02 m"),
        ("action.leash", 0.01, r"action: leash"),
        ("home.tool_position", [0.0, 0.0, 0.1], r"home .*outside the workspace"),
        ("home.tool_orientation", [0.0, 0.0, 0.0, 0.0], r"home: .*unit quaternion"),
        ("tool.offset", [0.0, 0.0, 0.05], r"tool: the tip"),
        ("physics.ramp", 1.5, r"physics: ramp"),
        ("physics.stiffness", [1.0, 2.0], r"physics\.stiffness: expected 7 entries"),
        ("layout.object_upper", [0.9, 0.16], r"layout\.object region .* inside the workspace"),
        ("layout.distance", [0.04, 0.2], r"layout\.distance: .*no episode starts solved"),
        ("camera.look_at", [1.05, 0.0, 0.0], r"camera: .*straight above or below"),
        ("camera.fx", 0.0, r"camera: focal lengths must be positive"),
        ("image.crop_x", 400, r"leaves the 640x480 frame"),
        ("image.size", 500, r"image: image\.size"),
        (
            "rules",
            "block_stack",
            r"rules: expected one of .* or module:Class, found 'block_stack'",
        ),
        ("task", "other", r"task: expected 'block_push'"),
        ("action.leash", 40.0, r"action: leash must be at most 0\.2 metres, found 40\.0"),
        ("control_period", 100.0, r"control_period must be at most 1 seconds"),
        ("object.size", 4.0, r"object: size must be at most 0\.3 metres"),
        ("object.mass", [50.0, 150.0], r"object: mass must be at most 5 kilograms"),
        ("goal.radius", 5.0, r"goal: radius must be at most 0\.5 metres"),
        ("layout.yaw", [-180.0, 180.0], r"layout: yaw must be at most 6\.2832 radians"),
        ("layout.distance", [0.5, 0.6], r"layout\.distance \[0\.5, 0\.6\] cannot be drawn"),
        ("table.upper", [0.45, 0.6], r"workspace .* must lie over the table"),
        ("physics.timestep", 10**400, r"physics\.timestep: expected a finite number"),
        ("image.size", 96, r"image\.size: expected a divisor of 128.*found 96"),
        ("randomisation", [1], r"randomisation: expected a mapping"),
        ("randomisation.exposure", [1.2, 0.8], r"randomisation\.exposure must be \[smallest"),
        ("randomisation.exposre", [0.8, 1.2], r"randomisation: unknown keys \['exposre'\]"),
        ("randomisation.cube_hue", [10.0, 255.0], r"randomisation\.cube_hue .*within 2 degrees"),
        ("randomisation.cube_hue", [100.0, 420.0], r"within 0 degrees of the goal's red"),
        ("randomisation.goal_hue", 300.0, r"randomisation\.goal_hue must be at most 120"),
        ("randomisation.cube_saturation", [60.0, 100.0], r"cube_saturation must be at most 1"),
        ("randomisation.light_elevation", [170.0, 180.0], r"light_elevation must be at most 90"),
        ("randomisation.camera_translation", 25.0, r"camera_translation must be at most 0\.3"),
        ("randomisation.ambient_share", [0.3, 0.9], r"together they must be at most 1"),
        ("randomisation.exposure", [0.0, 0.0], r"randomisation\.exposure must be above 0"),
        (
            "randomisation.texture_repeat",
            [0.0, 4.0],
            r"randomisation\.texture_repeat must be above",
        ),
    ],
)
def test_a_wrong_card_is_refused_naming_file_and_key(write_card, key, value, complaint):
    path = write_card(key, value)
    with pytest.raises(TaskCardError, match=rf"{path}.*{complaint}"):
        load_task_card(path)


@pytest.mark.parametrize(
    ("keys", "complaint"),
    [
        ({"weight": 0.0}, r"weight must be positive"),
        ({"margin": -0.01}, r"margin must not be negative"),
        ({"tool_lower": [0.2, 0.0, 0.0]}, r"tool"),
        ({"distance": [0.2, 0.1]}, r"distance"),
        ({"yaw": [0.5, -0.5]}, r"yaw must be \[lowest, highest\]"),
        ({"yaw": [0.5]}, r"yaw: expected 2 entries"),
        ({"distance": [0.9, 1.0]}, r"practice 'first': distance \[0\.9, 1\.0\] cannot be drawn"),
        ({"closed": 1}, r"closed: expected true or false"),
        ({"closed": True}, r"'first' starts with closed fingers, but the tool is no hand"),
        ({"held_height": [0.03, 0.1]}, r"'first' holds the object, but the tool is no hand"),
        ({"held_height": [0.03, 0.1], "closed": True}, r"'first': .*leave out yaw and closed"),
        ({"held_height": [0.03, 0.1], "yaw": [0.0, 0.1]}, r"'first': .*leave out yaw and closed"),
    ],
)
def test_a_wrong_practice_start_is_refused(write_card, keys, complaint):
    start = {"name": "first", "weight": 1.0, "tool_lower": [-0.1] * 3, "tool_upper": [0.1] * 3}
    path = write_card("practice", [start | keys])
    with pytest.raises(TaskCardError, match=rf"{path}.*{complaint}"):
        load_task_card(path)


def test_a_refined_card_differs_in_the_rule_parameters_that_its_refinement_names(write_card):
    card = load_task_card("block_push")
    refined = card.refined()
    changed = {
        name: value
        for name, value in refined.rule_parameters.items()
        if value != card.rule_parameters[name]
    }
    assert changed == card.refinement != {}
    assert refined.source == card.source
    assert card.refined(press_weight=7.0).rule_parameters["press_weight"] == 7.0
    with pytest.raises(TaskCardError, match=r"no rule parameters of block_push: \['pres'\]"):
        card.refined(pres=1.0)
    without = load_task_card(write_card("refinement"))
    assert without.refined().rule_parameters == without.rule_parameters


def test_cards_travel_to_worker_processes():
    card = load_task_card("block_push")
    assert pickle.loads(pickle.dumps(card)) == card


def test_the_privileged_state_is_scaled_to_decimetres_around_the_workspace():
    contract = load_task_card("block_push").contract(False)
    assert contract.state_size == 16
    for field in contract.state:
        assert field.scale == (10.0 if field.unit == "m" else 0.5)
    assert contract.state[0].offset == (0.5, 0.0, 0.05)


@pytest.mark.parametrize(
    ("keys", "complaint"),
    [
        ({"held_height": [0.5, 0.6]}, r"held_height \[0\.5, 0\.6\] reaches above the workspace"),
        ({"open_width": 8.0}, r"open_width must be above object\.size 0\.04 and at most 0\.08"),
        ({"open_width": 0.04}, r"open_width must be above object\.size 0\.04.*found 0\.04"),
    ],
)
def test_what_the_hand_cannot_do_is_refused(tmp_path, keys, complaint):
    data = yaml.safe_load(load_task_card("block_lift").source.read_text())
    if "held_height" in keys:
        data["practice"][0] |= keys
    else:
        data["tool"]["hand"]["gripper"] |= keys | {"grasp_width": 0.03}
    path = tmp_path / "block_lift.yaml"
    path.write_text(yaml.safe_dump(data))
    with pytest.raises(TaskCardError, match=complaint):
        load_task_card(path)


def test_a_key_that_is_there_twice_is_refused_with_its_line(tmp_path):
    text = load_task_card("block_push").source.read_text()
    path = tmp_path / "block_push.yaml"
    path.write_text(text.replace("  timestep: 0.005", "  timestep: 0.01\n  timestep: 0.005"))
    with pytest.raises(TaskCardError, match=r"(?s)the key 'timestep' is there twice.*line \d+"):
        load_task_card(path)


def test_numbers_may_be_written_as_1e_4(tmp_path):
    text = load_task_card("block_push").source.read_text()
    path = tmp_path / "block_push.yaml"
    path.write_text(text.replace("ik_damping: 0.0001", "ik_damping: 1e-4"))
    assert load_task_card(path).physics.ik_damping == 0.0001


def test_joints_and_poses_that_the_arm_does_not_have_are_refused(write_card):
    card = load_task_card(write_card("home.joints", [0.0, -3.3, 0.0, -146.0, 0.0, 142.8, 45.0]))
    with pytest.raises(TaskCardError, match=r"home\.joints: joint 2 must be within .* radians"):
        DifferentialIk.from_card(card)
    upwards = load_task_card(write_card("home.tool_orientation", [1.0, 0.0, 0.0, 0.0]))
    with pytest.raises(TaskCardError, match=r"home: no joint positions found"):
        PandaScene(upwards)


def test_a_file_whose_name_is_no_name_of_a_task_is_no_task(tmp_path, monkeypatch):
    (tmp_path / "block_push (copy).yaml").write_text("")
    monkeypatch.setenv(TASK_PATH, str(tmp_path))
    assert available_tasks() == ["block_lift", "block_push"]
