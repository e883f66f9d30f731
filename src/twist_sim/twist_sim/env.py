"""The Gymnasium environment of a task: privileged state in, bounded tool translations out."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import register
from numpy.typing import NDArray

from twist_policy.action_gate import ActionGate, GateError
from twist_policy.gripper_gate import Command, GripperGate
from twist_sim.layout import draw_dynamics, draw_layout, draw_practice
from twist_sim.scene import PandaScene
from twist_sim.task_card import TaskCard, TaskCardError, available_tasks, load_task_card


def environment_id(task: str) -> str:
    """Gymnasium's name of a shipped task, e.g. ``twist/BlockPush-v0`` for ``block_push``."""
    return f"twist/{task.title().replace('_', '')}-v0"


Observation = NDArray[np.float32]


class TaskEnv(gymnasium.Env[Observation, NDArray[np.float32]]):
    """One task card as an environment.

    Observation: the privileged state in SI units, float32, shape (state_size,); names, offsets
    and scales are ``card.contract(...).state``. Action: tool translation in [-1, 1]^3; times the
    card's action bound, metres, it passes the same `ActionGate` as on the robot. With a hand, a
    fourth number in [-1, 1] asks to open or close it, through the robot's `GripperGate`. Episodes
    never terminate; they are truncated after `episode_steps`, or earlier when the gate refuses
    (the arm is held back too far from its target), as the robot would stop.

    A reset draws object, goal, mass and friction from (task, seed, trial). ``reset(seed=s)``
    starts at trial 0 of seed s; each further ``reset()`` is the next trial; ``options`` may name
    ``seed`` and ``trial`` directly, and ``practice``: True for one of the card's easier starts.
    Environments with the same seed have the same episodes: give those of a vector different ones.

    The info of `reset` and `step` holds:

    - ``sim_state``: float32 (SIM_STATE_SIZE,), enough to render the step later;
    - ``executed_action``: float32 (action_size,), the translation really commanded over the
      action bound and, with a hand, what it is commanded to be: 1 closed, -1 open;
    - ``success``: bool, whether the task's success rule holds now;
    - ``distance``: float, object to goal as the rule counts it, metres;
    - ``ee_position``: float32 (3,), tool tip, metres, base frame;
    - ``trial`` and ``seed``: int, what the episode was drawn from;
    - ``stopped``: str, why the gate ended the episode, or empty.

    Args:
        card: a task card, its name, or the path of its file.
        seed: seed of the first reset when it gives none.
        episode_steps: steps until truncation; the card's when None.
        step_periods: control periods that a step is spread over, each with its share of the
            translation: the robot node's `speed`.

    Raises:
        TaskCardError: the card is unknown or wrong.
        ValueError: `seed` is negative, or `episode_steps` or `step_periods` not positive.
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 - as Gymnasium declares it

    def __init__(
        self,
        card: TaskCard | str = "block_push",
        seed: int = 0,
        episode_steps: int | None = None,
        step_periods: int = 1,
    ) -> None:
        self.card = card if isinstance(card, TaskCard) else load_task_card(card)
        self.rules = self.card.task_rules
        self.contract = self.card.contract(observes_ee_position=False)
        self.episode_steps = self.card.episode_steps if episode_steps is None else episode_steps
        if self.episode_steps <= 0:
            raise ValueError(f"episode_steps must be positive, found {episode_steps}")
        if step_periods <= 0:
            raise ValueError(f"step_periods must be positive, found {step_periods}")
        if seed < 0:
            raise ValueError(f"seed must not be negative, found {seed}")
        self.scene = PandaScene(self.card)
        self.observation_space = gymnasium.spaces.Box(
            -np.inf, np.inf, (self.contract.state_size,), np.float32
        )
        self.action_space = gymnasium.spaces.Box(
            -1.0, 1.0, (self.contract.action_size,), np.float32
        )
        self.step_periods = step_periods
        self.on_period: Callable[[], None] | None = None
        """Called at the end of every control period."""
        self._gate = ActionGate.from_contract(self.contract, step_periods)
        self._gripper = (
            None if self.contract.gripper is None else GripperGate.from_contract(self.contract)
        )
        self._seed = seed
        self._trial = -1
        self._step = 0

    def reset(
        self, *, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Starts a trial; see the class for how it is chosen.

        Raises:
            ValueError: `options` has an unknown key or a negative number, or asks for practice
                that the card does not describe. The next `reset` is what it would have been.
            TypeError: seed or trial is no whole number.
        """
        super().reset(seed=seed)
        options = dict(options or {})
        unknown = options.keys() - {"seed", "trial", "practice"}
        if unknown:
            raise ValueError(
                f"reset options may be 'seed', 'trial' and 'practice', found {sorted(unknown)}"
            )
        last_seed, last_trial = (self._seed, self._trial) if seed is None else (seed, -1)
        seed = operator.index(options.get("seed", last_seed))
        trial = operator.index(options.get("trial", last_trial + 1))
        dynamics = draw_dynamics(self.card, seed, trial)
        if options.get("practice", False):
            practice = draw_practice(self.card, seed, trial)
            self.scene.reset(practice.layout, dynamics)
            self.scene.place_tool(practice.tool_position, fingers=practice.fingers)
        else:
            self.scene.reset(draw_layout(self.card, seed, trial), dynamics)
        self._seed, self._trial = seed, trial
        self._gate.reset(self.scene.tool_position)
        if self._gripper is not None:
            self._gripper.reset(closed=self.scene.gripper_closed)
        self._step = 0
        state = self.rules.privileged_state(self.scene)
        return state.astype(np.float32), self._info(state, np.zeros(3))

    def step(
        self, action: NDArray[np.float32]
    ) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Moves the tool by one step, which takes `step_periods` control periods.

        Raises:
            ValueError: the action is not `action_size` finite numbers.
            TaskCardError: the rules' reward is no finite number.
            RuntimeError: `reset` was never called.
        """
        values = np.asarray(action, dtype=np.float64)
        if values.shape != self.action_space.shape or not np.isfinite(values).all():
            raise ValueError(
                f"an action has {self.contract.action_size} finite numbers in [-1, 1], found "
                f"{values.tolist()}; check the policy for NaN"
            )
        target = self._gate.target
        if target is None:
            raise RuntimeError("the environment has no episode yet; call reset() before step()")
        stopped, moved = "", np.zeros(3)
        for period in range(self.step_periods):
            try:
                gated = self._gate.step(values[:3], self.scene.tool_position)
                target, moved = gated.target, moved + gated.delta
                if self._gripper is not None and period == 0:
                    command = self._gripper.step(float(values[3])).command
                    if command is not None:
                        self._command_gripper(command)
            except GateError as error:
                stopped = str(error)
            self.scene.apply_target(target)
            if self.on_period is not None:
                self.on_period()
            if stopped:
                break
        self._step += 1
        state = self.rules.privileged_state(self.scene)
        truncated = bool(stopped) or self._step >= self.episode_steps
        info = self._info(state, moved, stopped)
        seen = state.astype(np.float32)
        # Of what is seen, so that a stored episode can be judged again to the bit.
        reward = self.rules.reward(seen)
        if not math.isfinite(reward):
            raise TaskCardError(
                f"{self.card.source}: the rules {self.card.rules!r} give a reward of {reward} for "
                f"the state {seen.tolist()}; it must be finite in every state"
            )
        return seen, reward, False, truncated, info

    def _command_gripper(self, command: Command) -> None:
        gripper = self.contract.gripper
        assert gripper is not None
        speed = gripper.speed / self.step_periods
        self.scene.command_gripper(close=command == "close", speed=speed)

    def _info(
        self, state: NDArray[np.float64], delta: NDArray[np.float64], stopped: str = ""
    ) -> dict[str, Any]:
        executed = delta / self.card.action.bound
        if self._gripper is not None:
            executed = np.append(executed, self._gripper.state)
        return {
            "sim_state": self.scene.get_state().astype(np.float32),
            "executed_action": executed.astype(np.float32),
            "success": self.rules.success(state),
            "distance": self.rules.distance(state),
            "ee_position": self.scene.tool_position.astype(np.float32),
            "trial": self._trial,
            "seed": self._seed,
            "stopped": stopped,
        }


for _task in available_tasks():
    if environment_id(_task) not in gymnasium.registry:
        register(
            id=environment_id(_task), entry_point="twist_sim.env:TaskEnv", kwargs={"card": _task}
        )
