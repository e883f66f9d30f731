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
        early_weight: cost of having told the gripper to close above the cube; may be 0.
        press_weight: cost of having a finger on the cube's top, or just over it; may be 0.
        press_height: height of the tip over the cube's centre from which it costs nothing.
        press_beside: height up to which the fingers stand beside the cube, which costs nothing.
        press_margin: how far from the cube a finger beside its top still costs something.
        press_edge: distance inside of these over which the cost rises to all of it.
        finger_breadth: of a finger tip, across the direction in which the fingers move.
        finger_thickness: of a finger tip, along it.
    """

    success_clearance: float
    reach: float
    reach_weight: float
    grasp_weight: float
    lift_weight: float
    near_clearance: float
    near_width: float
    early_weight: float
    press_weight: float
    press_height: float
    press_beside: float
    press_margin: float
    press_edge: float
    finger_breadth: float
    finger_thickness: float

    def __post_init__(self) -> None:
        require_positive_fields(self, or_zero=("early_weight", "press_weight"))


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
        """Reaching the cube, holding it, its clearance, and soft success; less for pressing on it.

        With e the tip's distance from the cube's centre, c its clearance, held = 1 when grasped
        and near = sigmoid((c - near_clearance) / near_width) held, the reward is
        reach_weight max(1 - e/reach, 0) + grasp_weight held
        + lift_weight held min(max(c, 0)/near_clearance, 1) + near
        - early_weight early - press_weight press.

        With x, y and z the tip minus the cube's centre (the fingers move along y), w the fingers'
        distance, a the cube's half extent along x and y, b and t half a finger's breadth and
        thickness, m the press margin and s(d) = clip(d/press_edge, 0, 1), press is
        s(press_height - z) s(z - press_beside) s(a + b + m - |x|) s(a + t + m - ||y| - w/2 - t|):
        a finger is over the cube's top. Fingers that close there, and not beside the cube, also
        touch it with both pads, and the arm's whole strength is between them and the table. How
        that comes about is that the gripper is told to close on the way down, which takes it as
        long: early is s(z - press_beside) while it is told to and holds nothing.
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
            - p.early_weight * self._early(state)
            - p.press_weight * self._press(state)
        )

    def _early(self, state: NDArray[np.floating]) -> float:
        """How much the gripper closes above the cube, in [0, 1]; see `reward`."""
        p = self.parameters
        below, held, command = float(state[9]), float(state[11]), float(state[12])
        if command < 0.0:
            return 0.0
        return (1.0 - held) * self._inside(-below - p.press_beside)

    def _inside(self, distance: float) -> float:
        """How much of a cost is due so far inside of where it begins, in [0, 1]."""
        return min(max(distance / self.parameters.press_edge, 0.0), 1.0)

    def _press(self, state: NDArray[np.floating]) -> float:
        """How much a finger is over the cube's top, in [0, 1]; see `reward`."""
        p = self.parameters
        x, y, below = state[7:10].tolist()
        width, cos_4_yaw = float(state[10]), float(state[15])
        # |cos yaw| + |sin yaw|, from a yaw that is known up to quarter turns.
        extent = self._half * math.sqrt(1.0 + math.sqrt(max(1.0 - cos_4_yaw, 0.0) / 2.0))
        thickness = p.finger_thickness / 2
        beside = abs(abs(y) - width / 2 - thickness)
        return math.prod(
            map(
                self._inside,
                (
                    p.press_height + below,
                    -below - p.press_beside,
                    extent + p.finger_breadth / 2 + p.press_margin - abs(x),
                    extent + thickness + p.press_margin - beside,
                ),
            )
        )

    def success(self, state: NDArray[np.floating]) -> bool:
        """Whether the cube is at least the success clearance above the table."""
        return float(state[6]) >= self.parameters.success_clearance

    def distance(self, state: NDArray[np.floating]) -> float:
        """How much clearance is missing, metres; 0 when there is enough."""
        return max(0.0, self.parameters.success_clearance - float(state[6]))
