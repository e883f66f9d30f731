"""Episodes that are run for training and evaluation count as they would on the robot."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from twist_sim.scene import PandaScene
from twist_training.configuration import parse_arguments
from twist_training.rollout import Float, Observation, make_environments, run_episodes
from twist_training.session import Session


class StandStill:
    """Asks for nothing, but has an environment's arm knocked away at a step."""

    def __init__(self, scene: PandaScene, at: int) -> None:
        self._scene, self._at, self._step = scene, at, 0

    def reset(self, trials: np.ndarray) -> None:
        """Nothing to forget."""

    def act(self, observation: Observation) -> Float:
        if self._step == self._at:
            self._scene.data.qpos[0] += 0.5
            self._scene.step_joint_targets(self._scene.joint_positions)
        self._step += 1
        return np.zeros((len(observation.state), 3), np.float32)


def test_an_episode_in_which_the_robot_would_have_stopped_is_no_success(tmp_path: Path) -> None:
    session = Session(parse_arguments(["preset=smoke"]), tmp_path)
    environments = make_environments(session.card, 2, 6)
    for environment in environments:
        environment.rules.success = lambda state: True  # type: ignore[method-assign]
    knocked = environments[1].scene
    episodes = run_episodes(
        environments, StandStill(knocked, at=2), seed=1, trials=np.arange(2), steps=6
    )
    assert episodes.success.tolist() == [True, False]
