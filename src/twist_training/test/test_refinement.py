"""Judging episodes again, and what a refinement refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from twist_sim.task_card import load_task_card
from twist_training.cli import main
from twist_training.configuration import parse_arguments
from twist_training.refinement import judged_again
from twist_training.rollout import make_environments, run_episodes
from twist_training.session import Session
from twist_training.teacher_policy import RandomPolicy


@pytest.mark.parametrize("task", ["block_push", "block_lift"])
def test_episodes_judged_again_by_the_same_rules_keep_their_rewards(
    task: str, tmp_path: Path
) -> None:
    card = load_task_card(task)
    session = Session(parse_arguments([f"task={task}", "preset=smoke"]), tmp_path)
    episodes = run_episodes(
        make_environments(card, 2, 12),
        RandomPolicy(session, np.random.default_rng(0)),
        seed=1,
        trials=np.arange(2),
        steps=12,
    )
    again = judged_again(episodes, card.task_rules)
    np.testing.assert_allclose(again.reward, episodes.reward, atol=1e-4)
    assert np.ptp(again.reward) > 0.01
    np.testing.assert_array_equal(again.state, episodes.state)


def test_other_rules_give_other_rewards(tmp_path: Path) -> None:
    class Rules:
        def reward(self, state: np.ndarray) -> float:
            return float(state[0])

    card = load_task_card("block_push")
    session = Session(parse_arguments(["preset=smoke"]), tmp_path)
    episodes = run_episodes(
        make_environments(card, 1, 5),
        RandomPolicy(session, np.random.default_rng(0)),
        seed=1,
        trials=np.arange(1),
        steps=5,
    )
    again = judged_again(episodes, Rules())  # type: ignore[arg-type]
    np.testing.assert_allclose(again.reward[:, 1:], episodes.state[:, 1:, 0])
    assert again.reward[0, 0] == 0.0


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "run is missing"),
        (["run=/nowhere"], 1, "is not a run folder"),
        (["run={empty}", "steps=0"], 2, "steps must be 1 or more"),
        (["run={empty}", "output={empty}"], 2, "another folder than run"),
        (["run={empty}", "step=3"], 2, "step"),
    ],
)
def test_a_refinement_that_cannot_be_says_why(
    arguments: list[str],
    code: int,
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    filled = [argument.format(empty=tmp_path) for argument in arguments]
    assert main(["refine", *filled]) == code
    assert message in capsys.readouterr().err


def test_a_run_without_a_student_is_not_refined(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Session(parse_arguments(["preset=smoke"]), tmp_path)  # writes config.json
    assert main(["refine", f"run={tmp_path}"]) == 1
    assert "run its stage distil first" in capsys.readouterr().err
