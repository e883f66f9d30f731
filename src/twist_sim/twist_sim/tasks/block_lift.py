"""Block lift: grasp a cube and hold it above the table."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from twist_policy.contract import StateField
from twist_sim.tasks.orientation import yaw_of
from twist_sim.typed_yaml import parse, require_positive_fields

if TYPE_CHECKING:
    from twist_sim.task_card import TaskCard
    from twist_sim.tasks import SceneState


@dataclass(frozen=True)
class BlockLiftParameters:
    """Numbers of the success rule and the reward; metres unless they are weights.

    Attributes:
        success_clearance: smallest clearance between cube and table that is a success.
        reach: distance from the cube's centre at which the reaching term is zero.
        reach_weight: weight of having the tool tip at the cube's centre.
        grasp_weight: weight of having the cube between closed fingers.
        lift_weight: weight of the clearance, in units of `near_clearance`.
        near_clearance: clearance at which the soft success term is one half.
        near_width: width of that sigmoid.
    """

    success_clearance: float
    reach: float
    reach_weight: float
    grasp_weight: float
    lift_weight: float
    near_clearance: float
    near_width: float

    def __post_init__(self) -> None:
        require_positive_fields(self)


class BlockLiftRules:
    """Privileged state, reward and success of block lift.

    The state has 16 numbers: tool tip (3), cube centre (3), the cube's clearance over the table,
    cube minus tip (3), distance between the finger pads, whether the cube is grasped, whether the
    gripper was told to close (1) or open (-1), how much of that command's time is left, and sine
    and cosine of four times the cube's yaw (a cube looks the same after a quarter turn).
    """

    def __init__(self, card: TaskCard) -> None:
        self.parameters = parse(
            BlockLiftParameters,
            card.rule_parameters,
            source=str(card.source),
            path="rule_parameters",
        )
        self._half = card.object.size / 2
        self._fields = (
            StateField("ee_position", "m", 3, (0.5, 0.0, 0.08), 10.0),
            StateField("object_position", "m", 3, (0.5, 0.0, 0.05), 10.0),
            StateField("object_clearance", "m", 1, (0.05,), 10.0),
            StateField("object_from_ee", "m", 3, (0.0, 0.0, 0.0), 10.0),
            StateField("finger_width", "m", 1, (0.04,), 25.0),
            StateField("grasped", "1", 1, (0.5,), 1.0),
            StateField("gripper_command", "1", 1, (0.0,), 0.5),
            StateField("gripper_busy", "1", 1, (0.5,), 1.0),
            StateField("object_yaw_sin_cos_4", "1", 2, (0.0, 0.0), 0.5),
        )

    @property
    def fields(self) -> tuple[StateField, ...]:
        """The groups of numbers in the privileged state, in order."""
        return self._fields

    def privileged_state(self, scene: SceneState) -> NDArray[np.float64]:
        """The state the teacher sees, SI units, shape (16,)."""
        ex, ey, ez = scene.tool_position.tolist()
        cx, cy, cz = scene.object_position.tolist()
        yaw4 = 4.0 * yaw_of(scene.object_quaternion)
        return np.array(
            [
                *(ex, ey, ez, cx, cy, cz, cz - self._half, cx - ex, cy - ey, cz - ez),
                *(scene.finger_width, float(scene.grasped)),
                *(1.0 if scene.gripper_closed else -1.0, scene.gripper_busy),
                *(math.sin(yaw4), math.cos(yaw4)),
            ]
        )

    def reward(self, state: NDArray[np.floating]) -> float:
        """Reaching the cube, holding it, its clearance, and soft success.

        With e the tip's distance from the cube's centre, c its clearance, held = 1 when grasped
        and near = sigmoid((c - near_clearance) / near_width) held, the reward is
        reach_weight max(1 - e/reach, 0) + grasp_weight held
        + lift_weight held min(max(c, 0)/near_clearance, 1) + near.
        """
        p = self.parameters
        clearance, held = float(state[6]), float(state[11])
        tip = math.hypot(*state[7:10].tolist())
        near = held / (1.0 + math.exp(min((p.near_clearance - clearance) / p.near_width, 60.0)))
        raised = min(max(clearance, 0.0) / p.near_clearance, 1.0)
        return (
            p.reach_weight * max(1.0 - tip / p.reach, 0.0)
            + held * (p.grasp_weight + p.lift_weight * raised)
            + near
        )

    def success(self, state: NDArray[np.floating]) -> bool:
        """Whether the cube is at least the success clearance above the table."""
        return float(state[6]) >= self.parameters.success_clearance

    def distance(self, state: NDArray[np.floating]) -> float:
        """How much clearance is missing, metres; 0 when there is enough."""
        return max(0.0, self.parameters.success_clearance - float(state[6]))
