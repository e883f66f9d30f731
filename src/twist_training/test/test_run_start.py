"""What a run could only fail with hours later is refused before it begins, and written nowhere."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

from twist_sim.task_card import load_task_card
from twist_sim.textures import TextureError
from twist_training.cli import main
from twist_training.configuration import ConfigurationError, parse_arguments
from twist_training.refinement.settings import RefinementSettings
from twist_training.refinement.turns import refine
from twist_training.runners.pipeline import Pipeline
from twist_training.session import Session
from twist_training.shared_data import IMAGES
from twist_training.storage.images import progress_of

Write = Callable[..., Path]
OWN_RULES = """
from twist_sim.tasks.block_push import BlockPushRules


class Own(BlockPushRules):
    left_out = ()

    @property
    def fields(self):
        return tuple(f for f in super().fields if f.name not in self.left_out)

    def privileged_state(self, scene):
        kept = super().privileged_state(scene)
        sizes = [(f.name, f.size) for f in super().fields]
        keep = [name not in self.left_out for name, size in sizes for _ in range(size)]
        return kept[keep]

    def reward(self, state):
        return 0.0

    def distance(self, state):
        return 1.0


class NoTip(Own):
    left_out = ("ee_position",)


class NoGoal(Own):
    left_out = ("goal_position",)
"""


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes block push's card with these values in its sections; returns its path."""
    data = yaml.safe_load(load_task_card("block_push").source.read_text())

    def write(**sections: Any) -> Path:
        for name, value in sections.items():
            data[name] = data[name] | value if isinstance(value, dict) else value
        path = tmp_path / "block_push.yaml"
        path.write_text(yaml.safe_dump(data))
        return path

    return write


def _run(run: Path, *arguments: str) -> int:
    return main(["teacher", "preset=smoke", f"output={run}", *arguments])


@pytest.mark.parametrize(
    ("section", "complaint"),
    [
        ({"randomisation": {"exposure": [1.2, 0.8]}}, "randomisation.exposure must be [smallest"),
        ({"randomisation": {"exposre": [0.8, 1.2]}}, "unknown keys ['exposre']"),
        ({"image": {"size": 96}}, "image.size: expected a divisor of 128"),
    ],
)
def test_a_card_that_cannot_be_rendered_is_refused_before_the_teacher_learns(
    section: dict[str, Any],
    complaint: str,
    write: Write,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    card, run = write(**section), tmp_path / "run"
    assert _run(run, f"task={card}") == 2
    said = capsys.readouterr().err
    assert complaint in said
    assert str(card) in said
    assert not (run / "task_card.json").exists()


def test_a_folder_of_textures_that_is_not_there_is_refused_before_the_teacher_learns(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, missing = tmp_path / "run", tmp_path / "nowhere"
    assert _run(run, f"textures={missing}") == 2
    assert f"the textures folder {missing} is not a folder" in capsys.readouterr().err
    # Nothing says that these are the run's settings: with the right folder it begins.
    textures = tmp_path / "textures"
    textures.mkdir()
    assert _run(run, f"textures={textures}") == 2
    assert "holds no readable image" in capsys.readouterr().err
    assert cv2.imwrite(str(textures / "a.png"), np.zeros((8, 8, 3), np.uint8))
    Pipeline(parse_arguments(["preset=smoke", f"textures={textures}"]), run, run / "checkpoint")


def test_a_folder_of_textures_is_no_longer_needed_once_every_picture_is_there(
    tmp_path: Path,
) -> None:
    config = parse_arguments(["preset=smoke", f"textures={tmp_path / 'gone'}"])
    assert config.distillation.rounds == 1
    for name in IMAGES:
        np.save(tmp_path / name, np.ones((20, 1), np.uint8))
        progress_of(tmp_path / name).write_text('{"rendered": [0, 16]}')
    with pytest.raises(TextureError):  # the student has yet to act
        Pipeline(config, tmp_path, tmp_path / "checkpoint")
    (tmp_path / "student_0.npz").touch()
    Pipeline(config, tmp_path, tmp_path / "checkpoint")


def test_windows_that_do_not_fit_into_the_students_own_episodes_are_refused(
    write: Write, tmp_path: Path
) -> None:
    config = parse_arguments([f"task={write(episode_steps=25)}", "preset=smoke"])
    assert config.distillation.length == 25
    Session(config, tmp_path / "fits")
    write(episode_steps=24)
    run = tmp_path / "run"
    with pytest.raises(ConfigurationError, match=r"distillation\.length 25 .* the 24 steps"):
        Session(config, run)
    assert not run.exists()
    alone = dataclasses.replace(config.distillation, student_rounds=0)
    Session(dataclasses.replace(config, distillation=alone), run)


def test_images_that_are_too_small_for_the_convolutions_are_refused(
    write: Write, tmp_path: Path
) -> None:
    arguments = [f"task={write(image={'size': 32})}", "preset=smoke"]
    Session(parse_arguments(arguments), tmp_path / "fits")
    with pytest.raises(ConfigurationError, match=r"student\.padding 0 leaves nothing .*size 32"):
        Session(parse_arguments([*arguments, "student.padding=0"]), tmp_path / "run")


@pytest.mark.parametrize(
    ("sections", "settings", "told"),
    [
        ({}, ["teacher.scripted_episodes=4"], r"nothing is scripted .* use teacher\.scripted_ep"),
        ({}, [], ""),
        ({"home": {"joints": [0, -3, 0, -146, 0, 143, 45]}}, [], r"joints: joint 2 .* radians"),
        ({"home": {"tool_orientation": [1, 0, 0, 0]}}, [], r"home: no joint positions found"),
        ({"workspace": {"upper": [0.95, 0.22, 0.25]}}, [], r"workspace: no joint positions found"),
        ({"rules": "tip_rules:NoTip"}, [], r"needs a field ee_position of 3 numbers"),
        ({"rules": "tip_rules:NoGoal"}, [], r"needs a field goal_position of 2 numbers"),
    ],
)
def test_a_task_that_training_cannot_do_is_refused_before_it_begins(
    write: Write,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    sections: dict[str, Any],
    settings: list[str],
    told: str,
) -> None:
    (tmp_path / "tip_rules.py").write_text(OWN_RULES)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "tip_rules", raising=False)
    card = write(**({"rules": "tip_rules:Own"} | sections))
    run = tmp_path / "run"
    config = parse_arguments([f"task={card}", "preset=smoke", *settings])
    if not told:
        Session(config, run)  # a task of one's own trains by the presets as they are
        return
    with pytest.raises(ConfigurationError, match=told):
        Session(config, run)
    assert not run.exists()


def test_a_refinement_whose_windows_do_not_fit_is_refused_before_it_begins(
    write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    short = ["preset=smoke", "teacher.length=30", "teacher.episode_steps=50"]
    alone = ["distillation.student_rounds=0"]
    Session(parse_arguments([f"task={write(episode_steps=29)}", *short, *alone]), run)
    command = ["refine", f"run={run}"]
    for turns in (["rounds=1"], ["rounds=0", "last=student"]):
        assert main([*command, *turns]) == 2
        assert f"teacher.length of {run} is 30, longer than" in capsys.readouterr().err
    assert main([*command, "rounds=0"]) == 1  # no episodes of the student's: nothing to fit into
    assert "run its stage distil first" in capsys.readouterr().err
    (run / "student_0.npz").touch()
    assert main([*command, "rounds=0"]) == 2


def test_a_refinement_needs_its_textures_only_where_the_student_is_to_act(tmp_path: Path) -> None:
    config = parse_arguments(["preset=smoke", f"textures={tmp_path / 'gone'}"])
    session = Session(config, tmp_path)
    session.save("teacher.pt", {"finished": True, "best": {}})
    session.save("student.pt", {"finished": True, "student": {}})
    settings = RefinementSettings(run=str(tmp_path))
    with pytest.raises(TextureError):
        refine(session, tmp_path, settings)
    with pytest.raises(RuntimeError, match="Missing key"):  # it begins, with these empty weights
        refine(session, tmp_path, dataclasses.replace(settings, rounds=0))
