"""Judging episodes again, and what a refinement refuses."""

from __future__ import annotations

import copy
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from twist_sim.task_card import TaskCardError, load_task_card
from twist_sim.tasks import TaskRules
from twist_training.algorithms.world_model import Batch
from twist_training.cli import main
from twist_training.configuration import ConfigurationError, parse_arguments
from twist_training.learning_curve import read_log
from twist_training.refinement.turns import rules_with
from twist_training.rollout import make_environments, run_episodes
from twist_training.runners import teacher as teacher_stage
from twist_training.runners.teacher import train_teacher
from twist_training.runners.teacher_trainer import TeacherTrainer
from twist_training.session import Session
from twist_training.storage.episodes import Episodes, judged_again
from twist_training.teacher_policy import RandomPolicy, Teacher, TeacherPolicy

_SHORT = [
    "preset=smoke",
    "distillation.length=10",
    "teacher.environment_steps=160",
    "teacher.episode_steps=10",
    "teacher.scripted_episodes=4",
    "teacher.random_episodes=2",
    "teacher.lucky_episodes=0",
    "teacher.pretrain_steps=6",
    "teacher.environments=2",
    "teacher.batch=4",
    "teacher.length=10",
    "teacher.imagination_starts=8",
    "teacher.evaluation_episodes=2",
]
"""A teacher that learns nothing."""


def _random_episodes(task: str, count: int, steps: int, folder: Path) -> Episodes:
    session = Session(parse_arguments([f"task={task}", "preset=smoke"]), folder)
    return run_episodes(
        make_environments(session.card, count, steps),
        RandomPolicy(session, np.random.default_rng(0)),
        seed=1,
        trials=np.arange(count),
        steps=steps,
    )


@pytest.mark.parametrize("task", ["block_push", "block_lift"])
def test_episodes_judged_again_by_the_same_rules_keep_their_rewards(
    task: str, tmp_path: Path
) -> None:
    episodes = _random_episodes(task, 2, 12, tmp_path)
    again = judged_again(episodes, load_task_card(task).task_rules)
    np.testing.assert_allclose(again.reward, episodes.reward, atol=1e-4)
    assert np.ptp(again.reward) > 0.01
    np.testing.assert_array_equal(again.state, episodes.state)


def test_other_rules_give_other_rewards(tmp_path: Path) -> None:
    class Rules:
        def reward(self, state: np.ndarray) -> float:
            return float(state[0])

    episodes = _random_episodes("block_push", 1, 5, tmp_path)
    again = judged_again(episodes, Rules())  # type: ignore[arg-type]
    np.testing.assert_allclose(again.reward[:, 1:], episodes.state[:, 1:, 0])
    assert again.reward[0, 0] == 0.0


def test_a_refinement_judges_by_the_cards_refined_rules_or_by_those_it_asks_for(
    tmp_path: Path,
) -> None:
    card = load_task_card("block_push")
    episodes = _random_episodes("block_push", 1, 5, tmp_path)

    def judged(rules: TaskRules) -> np.ndarray:
        return judged_again(episodes, rules).reward

    refined = judged(rules_with(card, ""))
    np.testing.assert_array_equal(refined, judged(card.refined().task_rules))
    assert not np.allclose(refined, episodes.reward, atol=1e-3)
    as_before = ",".join(f"{name}={card.rule_parameters[name]}" for name in card.refinement)
    np.testing.assert_allclose(judged(rules_with(card, as_before)), episodes.reward, atol=1e-4)
    dearer = rules_with(card, "press_weight=4,reach_weight=0.001")
    assert not np.allclose(judged(dearer), refined, atol=1e-3)
    assert not np.allclose(judged(dearer), episodes.reward, atol=1e-3)
    assert card.task_rules is not dearer, "the card stays as it is"
    assert card.rule_parameters["press_weight"] != 4


@pytest.mark.parametrize(
    ("reward", "error", "reason"),
    [
        ("pres_weight=4", TaskCardError, "no rule parameters of block_push: .'pres_weight'"),
        ("press_weight=much", ConfigurationError, "must be a number, found 'much'"),
        ("press_weight", ConfigurationError, "must be a number, found ''"),
        ("press_weight=-1", TaskCardError, "press_weight"),
        ("press_weight=nan", TaskCardError, "press_weight"),
    ],
)
def test_a_reward_that_cannot_be_is_refused(
    reward: str, error: type[Exception], reason: str
) -> None:
    with pytest.raises(error, match=reason):
        rules_with(load_task_card("block_push"), reward)


def test_a_run_is_not_refined_into_itself(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["refine", f"run={tmp_path}", f"output={tmp_path}"]) == 2
    assert "another folder than run" in capsys.readouterr().err


def test_a_run_without_a_student_is_not_refined(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Session(parse_arguments(["preset=smoke"]), tmp_path)  # writes config.json
    assert main(["refine", f"run={tmp_path}"]) == 1
    assert "run its stage distil first" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argument", "code", "said"),
    [
        ("device=cpu", 2, "cuda_graph is true with device cpu"),
        ("threads=0", 2, "threads is 0"),
        # A graph of the run's own device is no mistake; that there is no student is.
        ("cuda_graph=true", 1, "run its stage distil first"),
    ],
)
def test_the_machines_settings_have_to_go_with_those_of_the_run(
    argument: str, code: int, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    config = parse_arguments(["preset=smoke", "device=cuda", "cuda_graph=true"])
    (run / "config.json").write_text(json.dumps(config.to_dict()))
    assert main(["refine", f"run={run}", argument]) == code
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("task", ["block_push", "block_lift"])
def test_an_actor_that_forgets_the_gripper_keeps_what_else_it_has_learned(
    task: str, tmp_path: Path
) -> None:
    session = Session(parse_arguments([f"task={task}", "preset=smoke"]), tmp_path)
    session.seed("test")
    teacher = Teacher(session)
    trainer = TeacherTrainer(teacher, session, 100)
    sizes = session.config.teacher
    batch = Batch(
        torch.randn(sizes.batch, sizes.length, session.contract.state_size),
        torch.rand(sizes.batch, sizes.length, session.contract.action_size),
        torch.randn(sizes.batch, sizes.length),
    )
    trainer.step(batch)  # so that the optimiser remembers gradients
    features = torch.randn(5, sizes.rssm.features)
    before = teacher.behaviour.actor(features)
    trainer.forget_gripper()
    after = teacher.behaviour.actor(features)
    torch.testing.assert_close(after.mode[:, :3], before.mode[:, :3], rtol=0, atol=0)
    if task == "block_lift":
        assert not torch.equal(before.mode[:, 3], torch.zeros(5))
        torch.testing.assert_close(after.mode[:, 3], torch.zeros(5))
        moments = trainer.optimizers["actor"].state[teacher.behaviour.actor.last_layer.weight]
        assert moments["exp_avg"][:3].any()
        assert not moments["exp_avg"][[3, 7]].any()
    trainer.step(batch)


def test_refined_weights_are_chosen_by_what_they_solve_without_pressing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    every, half, none = np.full(4, True), np.arange(4) < 2, np.full(4, False)
    soft, hard, mostly_hard = np.full(4, 24.0), np.full(4, 26.0), np.array([26, 26, 26, 24.0])
    by_the_cards_rules = [(none, soft), (half, soft), (half, soft), (half, soft), (every, hard)]
    by_the_refined = [(every, hard), (half, soft), (every, mostly_hard), (none, soft)]
    results = by_the_cards_rules + by_the_refined
    seen: list[dict[str, torch.Tensor]] = []

    def measured(session: Session, policy: TeacherPolicy, **_: int) -> tuple[Episodes, np.ndarray]:
        success, force = results[len(seen)]
        seen.append(copy.deepcopy(policy._teacher.state_dict()))
        episodes = _random_episodes("block_push", 4, 2, tmp_path / "other")
        return dataclasses.replace(episodes, success=success), force

    monkeypatch.setattr(teacher_stage, "measured_episodes", measured)
    settings = parse_arguments([*_SHORT, "teacher.refined_steps=40", "teacher.evaluate_every=10"])
    teacher = train_teacher(Session(settings, tmp_path / "run"))
    assert len(seen) == len(results)
    torch.testing.assert_close(dict(teacher.state_dict()), seen[6], rtol=0, atol=0)
    rows = read_log(tmp_path / "run" / "teacher.jsonl")
    log = [row for row in rows if "evaluation/gentle" in row]
    assert [row["evaluation/success"] for row in log] == [0, 0.5, 0.5, 0.5, 1, 1, 0.5, 1, 0]
    assert [row["evaluation/gentle"] for row in log] == [0, 0.5, 0.5, 0.5, 0, 0, 0.5, 0.25, 0]


def test_the_refined_rules_have_a_share_of_practice_starts_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[float] = []

    def starts(session: Session, share: float, count: int, *_: object) -> np.ndarray:
        asked.append(share)
        return np.zeros(count, bool)

    monkeypatch.setattr(teacher_stage, "practice_starts", starts)
    shares = ["teacher.practice=0.5", "teacher.final_practice=0.2", "teacher.refined_practice=0.9"]
    train_teacher(Session(parse_arguments([*_SHORT, *shares]), tmp_path))
    by_the_cards_rules = [share for share in asked if share != 0.9]
    assert by_the_cards_rules[0] == 0.5
    assert by_the_cards_rules[-1] == pytest.approx(0.2)
    assert asked[len(by_the_cards_rules) :] == [0.9] * 5  # rounds of 10 steps each


def test_a_card_without_a_refinement_leaves_the_refined_rules_out(tmp_path: Path) -> None:
    data = yaml.safe_load(load_task_card("block_push").source.read_text())
    del data["refinement"]
    plain = tmp_path / "block_push.yaml"
    plain.write_text(yaml.safe_dump(data))
    steps = []
    for card in ("block_push", plain):
        folder = tmp_path / f"run{len(steps)}"
        settings = parse_arguments([f"task={card}", *_SHORT])
        assert settings.teacher.refined_steps == 50  # a default of every preset but `paper`
        train_teacher(Session(settings, folder))
        steps.append(torch.load(folder / "teacher.pt", weights_only=False)["steps"])
    assert steps[0] == steps[1] + 50
