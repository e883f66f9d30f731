"""A task of one's own needs a card and rules (state, reward, success), and no change elsewhere."""

import pickle
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

import twist_sim
from twist_sim.env import TaskEnv
from twist_sim.task_card import TASK_PATH, TaskCardError, available_tasks, load_task_card

RULES = '''
import numpy as np
from twist_policy.contract import StateField


class ReachRules:
    """The tool tip goes to the cube."""

    def __init__(self, card):
        self.limit = card.rule_parameters["limit"]
        self.fields = (
            StateField("ee_position", "m", 3, (0.5, 0.0, 0.05), 10.0),
            StateField("object_position", "m", 3, (0.5, 0.0, 0.05), 10.0),
        )

    def privileged_state(self, scene):
        return np.concatenate([scene.tool_position, scene.object_position])

    def distance(self, state):
        return float(np.linalg.norm(state[:3] - state[3:]))

    def reward(self, state):
        return -self.distance(state)

    def success(self, state):
        return self.distance(state) < self.limit
'''


@pytest.fixture
def card_file(tmp_path, monkeypatch):
    (tmp_path / "reach_rules.py").write_text(RULES)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "reach_rules", raising=False)
    data = yaml.safe_load(load_task_card("block_lift").source.read_text())
    data |= {"task": "reach", "rules": "reach_rules:ReachRules", "rule_parameters": {"limit": 0.06}}
    del data["practice"], data["refinement"]
    path = tmp_path / "reach.yaml"
    path.write_text(yaml.safe_dump(data))
    return path


def test_a_card_and_rules_of_ones_own_make_an_environment(card_file):
    env = TaskEnv(str(card_file))
    state, info = env.reset(seed=2)
    assert state.shape == (6,)
    assert not info["success"]
    for _ in range(40):
        way = (state[3:] + np.array([0.0, 0.0, 0.05]) - state[:3]) / 0.02
        action = np.append(way / max(1.0, np.linalg.norm(way)), -1.0).astype(np.float32)
        state, reward, _, _, info = env.step(action)
    assert info["success"]
    assert reward == pytest.approx(-info["distance"])


def test_a_card_of_ones_own_is_known_by_its_name_like_the_shipped_ones(card_file, monkeypatch):
    with pytest.raises(
        TaskCardError, match=r"unknown task 'reach'.*put its folder into TWIST_TASK"
    ):
        load_task_card("reach")
    shipped = load_task_card("block_push")
    # A copy of a shipped card does not take its place.
    (card_file.parent / "block_push.yaml").write_text(shipped.source.read_text())
    monkeypatch.setenv(TASK_PATH, f"/no/such/folder:{card_file.parent}")
    assert available_tasks() == ["block_lift", "block_push", "reach"]
    assert load_task_card("reach").source == card_file
    assert load_task_card("block_push").source == shipped.source


def test_rules_beside_the_card_go_to_other_processes_with_it(card_file):
    card = load_task_card(card_file)
    assert card.task_rules.limit == 0.06
    assert pickle.loads(pickle.dumps(card)).task_rules.limit == 0.06


def test_two_modules_of_one_name_are_not_mistaken_for_one_another(card_file, tmp_path):
    load_task_card(card_file)
    other = tmp_path / "other"
    other.mkdir()
    for name in ("reach.yaml", "reach_rules.py"):
        (other / name).write_text((tmp_path / name).read_text())
    with pytest.raises(TaskCardError, match="two modules have the name reach_rules"):
        load_task_card(other / "reach.yaml")


def test_rules_that_cannot_be_imported_are_named(card_file):
    text = card_file.read_text().replace("reach_rules:ReachRules", "no_such_module:Rules")
    card_file.write_text(text)
    with pytest.raises(TaskCardError, match=r"rules: cannot import 'no_such_module:Rules'"):
        load_task_card(card_file)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda text: text + "\ndef (", "cannot import 'reach_rules:ReachRules': SyntaxError"),
        (lambda text: text.replace('["limit"]', '["limits"]'), "does not take this card: KeyError"),
    ],
)
def test_rules_with_a_mistake_are_named_with_the_card(card_file, damage, told):
    rules = card_file.parent / "reach_rules.py"
    rules.write_text(damage(rules.read_text()))
    with pytest.raises(TaskCardError, match=told) as caught:
        load_task_card(card_file)
    assert str(caught.value).startswith(str(card_file))


def test_practice_is_refused_where_the_card_has_none(card_file):
    with pytest.raises(ValueError, match="no practice starts"):
        TaskEnv(str(card_file)).reset(options={"practice": True})


def test_no_code_asks_which_task_it_is():
    source = Path(twist_sim.__file__).parents[2]
    asks = re.compile(r"task\s*(==|!=|in)\s*[\"'(\[{]|==\s*[\"']block_")
    found = [
        f"{path.relative_to(source)}:{number}: {line.strip()}"
        for path in source.glob("*/*/**/*.py")
        if "test" not in path.relative_to(source).parts
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if asks.search(line)
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("right", "wrong", "told"),
    [
        (
            "def distance",
            "def distances",
            "reward of .*: AttributeError: .*no attribute 'distance'",
        ),
        (
            "scene.object_position])",
            "scene.object_position, [1.0]])",
            "privileged_state of .*6 num",
        ),
        ("np.concatenate([scene.tool_position, scene.object_position])", "[0.0] * 6", "found list"),
        ("return -self.distance(state)", "return -state[:1]", "reward of .*expected a finite numb"),
        ("return -self.distance(state)", "return float('nan')", "reward of .*found nan"),
        ("return self.distance(state) <", "self.distance(state) <", "success of .*found None"),
    ],
)
def test_rules_that_answer_wrongly_are_refused_with_the_card(card_file, right, wrong, told):
    rules = card_file.parent / "reach_rules.py"
    assert right in rules.read_text()
    rules.write_text(rules.read_text().replace(right, wrong))
    with pytest.raises(TaskCardError, match=told) as caught:
        load_task_card(card_file)
    assert str(caught.value).startswith(str(card_file))


def test_a_reward_that_is_no_number_later_stops_the_episode(card_file):
    rules = card_file.parent / "reach_rules.py"
    away = "return -self.distance(state) if state[2] < 0.17 else np.float64('nan')"
    rules.write_text(rules.read_text().replace("return -self.distance(state)", away))
    env = TaskEnv(str(card_file))
    env.reset(seed=0)
    up = np.array([0.0, 0.0, 1.0, -1.0], np.float32)
    assert env.step(up / 2)[1] < 0.0
    env.step(up / 2)
    with pytest.raises(TaskCardError, match="give a reward of nan for the state"):
        env.step(up)
