"""Block push: push a cube onto a disc on the table."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from twist_policy.contract import StateField
from twist_sim.tasks.orientation import yaw_of
from twist_sim.typed_yaml import TaskCardError, parse, require_positive_fields

if TYPE_CHECKING:
    from twist_sim.task_card import TaskCard
    from twist_sim.tasks import SceneState


@dataclass(frozen=True)
class BlockPushParameters:
    """Numbers of the success rule and the reward, metres but for `floor` and the weights.

    Attributes:
        success_distance: cube-goal distance in the table plane below which it is a success.
        progress: cube-goal distance beyond the dead band at which progress is zero.
        reach: distance over which the reaching term falls to zero.
        floor: the progress term is never below minus this.
        reach_weight: weight of being at the pre-push point.
        behind: of the pre-push point behind the cube's centre as seen from the goal.
        push_height: z of the pre-push point.
        near_distance: cube-goal distance at which the soft success term is one half.
        near_width: width of that sigmoid.
        dead_band: cube-goal distance below which progress counts as complete.
        rest_weight: weight of letting go of a cube that is near the goal.
        touch: distance between tip and cube centre at which letting go counts for nothing.
        rest: distance beyond `touch` at which it counts in full.
        press_weight: cost of being on the cube, or just over or beside its top.
        press_height: height of the tip from which it costs nothing.
        press_radius: horizontal distance between tip and cube centre from which it costs nothing.
        press_floor: height up to which only being inside of `press_inside` costs something.
        press_inside: horizontal distance that is nearer than the tool can be beside the cube.
        press_edge: distance inside of these over which the cost rises to all of it.
    """

    success_distance: float
    progress: float
    reach: float
    floor: float
    reach_weight: float
    behind: float
    push_height: float
    near_distance: float
    near_width: float
    dead_band: float
    rest_weight: float
    touch: float
    rest: float
    press_weight: float
    press_height: float
    press_radius: float
    press_floor: float
    press_inside: float
    press_edge: float

    def __post_init__(self) -> None:
        require_positive_fields(self)


class BlockPushRules:
    """Privileged state, reward and success of block push.

    The state has 16 numbers: tool tip (3), cube centre (3), goal (x, y), their distance in the
    table plane, cube minus tip (3), goal minus cube (2), and sine and cosine of four times the
    cube's yaw (a cube looks the same after a quarter turn).
    """

    def __init__(self, card: TaskCard) -> None:
        self.parameters = parse(
            BlockPushParameters,
            card.rule_parameters,
            source=str(card.source),
            path="rule_parameters",
        )
        if card.layout.distance is None:
            raise TaskCardError(f"{card.source}: goal: block push needs a goal on the table")
        if card.layout.distance[0] <= self.parameters.success_distance:
            raise TaskCardError(
                f"{card.source}: layout.distance: the smallest start distance must exceed "
                f"rule_parameters.success_distance ({self.parameters.success_distance}), so that "
                f"no episode starts solved; found {card.layout.distance[0]}"
            )
        self._fields = (
            StateField("ee_position", "m", 3, (0.5, 0.0, 0.05), 10.0),
            StateField("object_position", "m", 3, (0.5, 0.0, 0.05), 10.0),
            StateField("goal_position", "m", 2, (0.5, 0.0), 10.0),
            StateField("object_goal_distance", "m", 1, (0.0,), 10.0),
            StateField("object_from_ee", "m", 3, (0.0, 0.0, 0.0), 10.0),
            StateField("goal_from_object", "m", 2, (0.0, 0.0), 10.0),
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
        gx, gy, _ = scene.goal_position.tolist()
        yaw4 = 4.0 * yaw_of(scene.object_quaternion)
        distance = math.hypot(gx - cx, gy - cy)
        return np.array(
            [
                *(ex, ey, ez, cx, cy, cz, gx, gy, distance),
                *(cx - ex, cy - ey, cz - ez, gx - cx, gy - cy, math.sin(yaw4), math.cos(yaw4)),
            ]
        )

    def reward(self, state: NDArray[np.floating]) -> float:
        """Progress of the cube, reaching, soft success, letting go; less for pressing on the cube.

        With d the cube-goal distance, e the tip's distance from the pre-push point, t its
        distance from the cube's centre and near = sigmoid((near_distance - d) / near_width), the
        reward is max(1 - max(d - dead_band, 0)/progress, -floor)
        + reach_weight (near + (1 - near) max(1 - e/reach, 0)) + near
        + rest_weight near clip((t - touch)/rest, 0, 1)
        - press_weight c(press_height - z)
          max(c(press_inside - w), c(press_radius - w) c(z - press_floor)),
        where c(x) = clip(x/press_edge, 0, 1), w is the horizontal part of t and z the tip's height.

        The rest term makes a solved episode stay solved: without it the tool goes on nudging the
        cube for the last millimetres, and a policy that sees less well pushes it out again. The
        last term keeps the tool off the cube's top, by which it can be dragged without going round
        it, but pressed with the whole strength of the arm; and from coming down close beside the
        cube, where a policy that sees less well comes down on it. Touching the cube's sides costs
        nothing, or a beginner would learn to leave it alone.
        """
        p = self.parameters
        ex, ey, ez, cx, cy, cz, gx, gy = state[:8].tolist()
        dx, dy = cx - gx, cy - gy
        distance = math.hypot(dx, dy)
        inverse = p.behind / distance if distance > 1e-6 else 0.0
        tip = math.hypot(ex - cx - dx * inverse, ey - cy - dy * inverse, ez - p.push_height)
        exponent = (distance - p.near_distance) / p.near_width
        near = 1.0 / (1.0 + math.exp(min(exponent, 60.0)))
        progress = max(1.0 - max(distance - p.dead_band, 0.0) / p.progress, -p.floor)
        reach = near + (1.0 - near) * max(1.0 - tip / p.reach, 0.0)
        aside = math.hypot(ex - cx, ey - cy)
        apart = math.hypot(aside, ez - cz)
        released = min(max((apart - p.touch) / p.rest, 0.0), 1.0)
        low, inside, close, over = (
            min(max(x / p.press_edge, 0.0), 1.0)
            for x in (
                p.press_height - ez,
                p.press_inside - aside,
                p.press_radius - aside,
                ez - p.press_floor,
            )
        )
        return (
            progress
            + p.reach_weight * reach
            + near * (1.0 + p.rest_weight * released)
            - p.press_weight * low * max(inside, close * over)
        )

    def success(self, state: NDArray[np.floating]) -> bool:
        """Whether the cube's centre is within the success distance of the goal's."""
        return self.distance(state) < self.parameters.success_distance

    def distance(self, state: NDArray[np.floating]) -> float:
        """Cube-goal distance in the table plane, metres."""
        cx, cy, _, gx, gy = state[3:8].tolist()
        return math.hypot(cx - gx, cy - gy)

    def with_goal_at_object(
        self, states: NDArray[np.floating], instant: int
    ) -> NDArray[np.floating]:
        """The states (T + 1, S) with the goal under the cube as it lies at `instant`."""
        moved = states.copy()
        goal_from_cube = states[instant, 3:5] - states[:, 3:5]
        moved[:, 6:8] = states[instant, 3:5]
        moved[:, 8] = np.hypot(*goal_from_cube.T)
        moved[:, 12:14] = goal_from_cube
        return moved
