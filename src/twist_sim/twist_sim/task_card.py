"""Task cards: everything that defines a task, read from YAML and checked.

A card is the single source of geometry, timing, sampling regions and the camera for the
simulator, for training and for evaluation. Units are SI, the frame is the robot base
(``panda_link0``, table top at z = 0), unless a field says otherwise.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from twist_policy.contract import (
    CameraModel,
    ContractError,
    GripperSpec,
    ImageSpec,
    PolicyContract,
    Quaternion,
    Vector3,
    Workspace,
)
from twist_sim.appearance_ranges import AppearanceError, AppearanceRanges
from twist_sim.camera_geometry import look_at_orientation
from twist_sim.typed_yaml import TaskCardError, UniqueKeyLoader, parse

if TYPE_CHECKING:
    from twist_sim.tasks import TaskRules

__all__ = [
    "CROP_SIZE",
    "TASK_PATH",
    "TaskCard",
    "TaskCardError",
    "available_tasks",
    "load_task_card",
]

TASK_PATH = "TWIST_TASK_PATH"
"""Environment variable: folders with task cards of one's own, with ``:`` between."""
CROP_SIZE = 128
"""Default edge of a rendered crop, pixels: twice the student's input, so that the resize smooths
edges, at little more cost than rendering 64 pixels. Training images are resized from it by a whole
factor."""
HAND_WIDTH = 0.08
"""Largest distance between the finger pads of the Panda's hand, metres."""
_NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]*"
_TASKS_FOLDER = Path(__file__).parent / "tasks"

Vector2 = tuple[float, float]
Range = tuple[float, float]
Joints = tuple[float, float, float, float, float, float, float]


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


def _require_positive(**values: float) -> None:
    for name, value in values.items():
        _require(value > 0, f"{name} must be positive, found {value}")


def _require_at_most(largest: float, unit: str, **values: float) -> None:
    """Refuses what nobody means: a number in another unit."""
    for name, value in values.items():
        _require(
            abs(value) <= largest,
            f"{name} must be at most {largest:g} {unit}, found {value}; is it in another unit?",
        )


def _require_range(name: str, value: Range, *, above: float) -> None:
    _require(
        above < value[0] <= value[1],
        f"{name} must be [lowest, highest] with {above} < lowest <= highest, found {list(value)}",
    )


def _require_yaw(value: Range) -> None:
    _require(value[0] <= value[1], f"yaw must be [lowest, highest], found {list(value)}")
    _require_at_most(round(2 * math.pi, 4), "radians", yaw=max(value, key=abs))


def _require_box(name: str, lower: tuple[float, ...], upper: tuple[float, ...]) -> None:
    _require(
        all(lo <= hi for lo, hi in zip(lower, upper, strict=True)),
        f"{name}_lower {list(lower)} must not exceed {name}_upper {list(upper)} on any axis",
    )


@dataclass(frozen=True)
class ActionBounds:
    """Bounds of the action gate: norm of one step and leash to the measured tip, metres."""

    bound: float
    leash: float

    def __post_init__(self) -> None:
        _require_positive(bound=self.bound, leash=self.leash)
        _require_at_most(0.2, "metres", leash=self.leash)
        _require(
            self.leash >= self.bound, f"leash {self.leash} must be at least bound {self.bound}"
        )


@dataclass(frozen=True)
class Home:
    """Start of an episode.

    Attributes:
        tool_position: of the tool tip, metres.
        tool_orientation: of ``panda_link8`` in the base frame, (w, x, y, z); held throughout.
        joints: a configuration near home that inverse kinematics starts from, radians.
    """

    tool_position: Vector3
    tool_orientation: Quaternion
    joints: Joints

    def __post_init__(self) -> None:
        norm = math.sqrt(sum(q * q for q in self.tool_orientation))
        _require(
            abs(norm - 1.0) < 1e-3, f"tool_orientation must be a unit quaternion, norm is {norm}"
        )


@dataclass(frozen=True)
class Peg:
    """A peg on a mount in place of the hand; sizes in metres."""

    radius: float
    mount_radius: float
    mount_length: float

    def __post_init__(self) -> None:
        _require_positive(
            radius=self.radius, mount_radius=self.mount_radius, mount_length=self.mount_length
        )


@dataclass(frozen=True)
class Hand:
    """The Panda's hand with its two fingers.

    Attributes:
        gripper: the gripper commands that a policy may give, as the contract states them.
        latency: seconds between a gripper command and the fingers' first motion.
    """

    gripper: GripperSpec
    latency: float

    def __post_init__(self) -> None:
        _require(
            0.0 <= self.latency < self.gripper.command_time,
            f"latency must be in [0, gripper.command_time), found {self.latency}",
        )


@dataclass(frozen=True)
class Tool:
    """What the flange carries: a peg or the hand; the tip in the ``panda_link8`` frame, metres."""

    offset: Vector3
    peg: Peg | None = None
    hand: Hand | None = None

    def __post_init__(self) -> None:
        _require(
            (self.peg is None) != (self.hand is None),
            "a tool is either a peg or a hand; give exactly one of the keys peg and hand",
        )
        if self.peg is not None:
            _require(
                self.offset[2] > self.peg.mount_length + 2 * self.peg.radius,
                f"the tip at offset z {self.offset[2]} must lie beyond the mount "
                f"({self.peg.mount_length})",
            )


@dataclass(frozen=True)
class Physics:
    """Simulation, arm actuation and inverse kinematics; see the card for each unit."""

    timestep: float
    ramp: float
    stiffness: Joints
    damping_ratio: float
    ik_damping: float
    ik_iterations: int
    ik_home_pull: float
    tool_friction: float

    def __post_init__(self) -> None:
        _require_positive(
            timestep=self.timestep,
            stiffness=min(self.stiffness),
            damping_ratio=self.damping_ratio,
            ik_damping=self.ik_damping,
            ik_iterations=self.ik_iterations,
            tool_friction=self.tool_friction,
        )
        _require(0 < self.ramp <= 1, f"ramp must be in (0, 1], found {self.ramp}")
        _require(
            0 <= self.ik_home_pull < 1, f"ik_home_pull must be in [0, 1), found {self.ik_home_pull}"
        )


@dataclass(frozen=True)
class Table:
    """A box whose top is z = 0: corners in x and y, thickness, height over the floor, metres."""

    lower: Vector2
    upper: Vector2
    thickness: float
    height: float

    def __post_init__(self) -> None:
        _require(
            self.lower[0] < self.upper[0] and self.lower[1] < self.upper[1],
            f"lower {self.lower} must lie below upper {self.upper} on each axis",
        )
        _require_positive(thickness=self.thickness, height=self.height)


@dataclass(frozen=True)
class ObjectModel:
    """A cube: edge (metres), and per-episode ranges of mass (kg) and sliding friction."""

    size: float
    mass: Range
    friction: Range

    def __post_init__(self) -> None:
        _require_positive(size=self.size)
        _require_at_most(0.3, "metres", size=self.size)
        _require_range("mass", self.mass, above=0.0)
        _require_at_most(5.0, "kilograms", mass=self.mass[1])
        _require_range("friction", self.friction, above=0.0)


@dataclass(frozen=True)
class GoalModel:
    """A disc on the table: radius, metres."""

    radius: float

    def __post_init__(self) -> None:
        _require_positive(radius=self.radius)
        _require_at_most(0.5, "metres", radius=self.radius)


@dataclass(frozen=True)
class LayoutRegions:
    """Where episodes start: corners (x, y) of the sampling regions, metres; yaw, radians.

    The goal's region and the start distance are left out where a task has no goal on the table.
    """

    object_lower: Vector2
    object_upper: Vector2
    yaw: Range
    goal_lower: Vector2 | None = None
    goal_upper: Vector2 | None = None
    distance: Range | None = None

    def __post_init__(self) -> None:
        _require_box("object", self.object_lower, self.object_upper)
        given = [self.goal_lower is None, self.goal_upper is None, self.distance is None]
        _require(
            all(given) or not any(given),
            "goal_lower, goal_upper and distance are given together or not at all",
        )
        if self.goal_lower is not None and self.goal_upper is not None:
            _require_box("goal", self.goal_lower, self.goal_upper)
        if self.distance is not None:
            _require_range("distance", self.distance, above=0.0)
        _require_yaw(self.yaw)

    def reachable_distances(self, margin: float = 0.0) -> Range:
        """Smallest and largest distance between an object and a goal that can be drawn, metres.

        Args:
            margin: how far beyond its region the object may lie, metres.
        """
        assert self.goal_lower is not None
        assert self.goal_upper is not None
        gaps, spans = [], []
        for axis in (0, 1):
            lower, upper = self.object_lower[axis] - margin, self.object_upper[axis] + margin
            goal_lower, goal_upper = self.goal_lower[axis], self.goal_upper[axis]
            gaps.append(max(goal_lower - upper, lower - goal_upper, 0.0))
            spans.append(max(goal_upper - lower, upper - goal_lower))
        return math.hypot(*gaps), math.hypot(*spans)


@dataclass(frozen=True)
class PracticeStart:
    """A start of an episode near the task's end, or where a mistake leads; for training only.

    Attributes:
        name: what it shows.
        weight: how often it is drawn, relative to the other ones.
        tool_lower: smallest tool tip minus object centre (x, y, z), metres; x points from the
            object to the goal, or along the base's x where there is no goal, and z is up.
        tool_upper: the largest.
        distance: between object and goal centres at the start; None keeps the layout's.
        held_height: range of the object's height when it starts held by the hand; None: it lies
            on the table.
        margin: how far beyond the layout's region the object may lie, metres; it stays inside the
            workspace.
        yaw: range of the object's yaw, radians; None keeps the layout's. Not of a held object.
        closed: whether the hand starts closed, with nothing between its fingers.
    """

    name: str
    weight: float
    tool_lower: Vector3
    tool_upper: Vector3
    distance: Range | None = None
    held_height: Range | None = None
    margin: float = 0.0
    yaw: Range | None = None
    closed: bool = False

    def __post_init__(self) -> None:
        _require_positive(weight=self.weight)
        _require(self.margin >= 0.0, f"margin must not be negative, found {self.margin}")
        _require_box("tool", self.tool_lower, self.tool_upper)
        for name, value in (("distance", self.distance), ("held_height", self.held_height)):
            if value is not None:
                _require_range(name, value, above=0.0)
        if self.yaw is not None:
            _require_yaw(self.yaw)
        _require(
            self.held_height is None or (self.yaw is None and not self.closed),
            f"{self.name!r}: with held_height the fingers hold the object, along its sides; leave "
            "out yaw and closed",
        )


@dataclass(frozen=True)
class Camera:
    """Pinhole camera: size and intrinsics in pixels, pose by two points, metres."""

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    position: Vector3
    look_at: Vector3

    def __post_init__(self) -> None:
        self.model()

    def model(self) -> CameraModel:
        """The same camera as the policy contract states it."""
        return CameraModel(
            width=self.width,
            height=self.height,
            fx=self.fx,
            fy=self.fy,
            cx=self.cx,
            cy=self.cy,
            position=self.position,
            orientation=look_at_orientation(self.position, self.look_at),
        )


@dataclass(frozen=True)
class TaskCard:
    """One task. The YAML card of the same structure documents every key.

    Attributes:
        rule_parameters: plain data for the task's rules, validated by them.
        refinement: those of them that are others for a behaviour which has learned the task; see
            `refined`.
        randomisation: plain data for the appearance sampler, validated by `AppearanceRanges`.
        source: the file the card was read from.
    """

    task: str
    rules: str
    base_frame: str
    control_period: float
    episode_steps: int
    action: ActionBounds
    workspace: Workspace
    home: Home
    tool: Tool
    physics: Physics
    table: Table
    object: ObjectModel
    layout: LayoutRegions
    camera: Camera
    image: ImageSpec
    rule_parameters: Mapping[str, Any] = field(hash=False)
    randomisation: Mapping[str, Any] = field(hash=False)
    goal: GoalModel | None = None
    practice: tuple[PracticeStart, ...] = ()
    refinement: Mapping[str, Any] = field(hash=False, default_factory=dict)
    source: Path = field(init=False, compare=False, default=Path())

    def __post_init__(self) -> None:
        _require_positive(control_period=self.control_period, episode_steps=self.episode_steps)
        _require_at_most(1.0, "seconds", control_period=self.control_period)
        _require(
            re.fullmatch(_NAME, self.task) is not None,
            f"task must be letters, digits, '_', '-' and '.', found {self.task!r}",
        )
        substeps = self.control_period / self.physics.timestep
        _require(
            abs(substeps - round(substeps)) < 1e-6 and substeps >= 1,
            f"control_period {self.control_period} must be a multiple of physics.timestep "
            f"{self.physics.timestep}",
        )
        _require(
            (self.goal is None) == (self.layout.goal_lower is None),
            "goal and layout.goal_lower, goal_upper, distance are given together or not at all",
        )
        for start in self.practice:
            _require(
                self.goal is not None or start.distance is None,
                f"practice {start.name!r} has a distance, but the task has no goal",
            )
            _require(
                self.tool.hand is not None or start.held_height is None,
                f"practice {start.name!r} holds the object, but the tool is no hand",
            )
            _require(
                self.tool.hand is not None or not start.closed,
                f"practice {start.name!r} starts with closed fingers, but the tool is no hand",
            )
            _require(
                start.held_height is None or start.held_height[1] <= self.workspace.upper[2],
                f"practice {start.name!r}: held_height {list(start.held_height or ())} reaches "
                f"above the workspace, whose top is {self.workspace.upper[2]}",
            )
        self._check_distances()
        if self.tool.hand is not None:
            width = self.tool.hand.gripper.open_width
            _require(
                self.object.size < width <= HAND_WIDTH,
                f"tool.hand.gripper.open_width must be above object.size {self.object.size} and at "
                f"most {HAND_WIDTH} (metres), as far as the Panda's hand opens; found {width}",
            )
        _require(
            all(
                self.table.lower[axis] <= self.workspace.lower[axis]
                and self.workspace.upper[axis] <= self.table.upper[axis]
                for axis in (0, 1)
            ),
            f"the workspace {list(self.workspace.lower)}..{list(self.workspace.upper)} must lie "
            f"over the table {list(self.table.lower)}..{list(self.table.upper)}, whose edge is "
            "only drawn: nothing would fall",
        )
        for kind in ("object", "goal"):
            lower = getattr(self.layout, f"{kind}_lower")
            upper = getattr(self.layout, f"{kind}_upper")
            if lower is None:
                continue
            _require(
                all(
                    self.workspace.lower[axis] <= lower[axis]
                    and upper[axis] <= self.workspace.upper[axis]
                    for axis in (0, 1)
                ),
                f"layout.{kind} region {list(lower)}..{list(upper)} must lie inside the workspace "
                f"{list(self.workspace.lower)}..{list(self.workspace.upper)}",
            )

    def _check_distances(self) -> None:
        """Refuses start distances that object and goal cannot have from one another."""
        wanted = [("layout.distance", self.layout.distance, 0.0)] + [
            (f"practice {start.name!r}: distance", start.distance, start.margin)
            for start in self.practice
        ]
        for name, distance, margin in wanted:
            if distance is None:
                continue
            nearest, farthest = self.layout.reachable_distances(margin)
            _require(
                distance[0] <= farthest and nearest <= distance[1],
                f"{name} {list(distance)} cannot be drawn: by the layout's regions, object and "
                f"goal are {nearest:.3g} to {farthest:.3g} m apart",
            )

    @property
    def substeps(self) -> int:
        """Simulation substeps per control period."""
        return round(self.control_period / self.physics.timestep)

    @cached_property
    def task_rules(self) -> TaskRules:
        """What judges this task: privileged state, reward and success.

        Raises:
            TaskCardError: the rules are unknown or refuse the card's rule_parameters.
        """
        from twist_sim.tasks import make_rules  # rules read cards: importing here breaks the cycle

        return make_rules(self)

    def refined(self, **parameters: float) -> TaskCard:
        """The card as it judges a behaviour that has learned the task.

        Args:
            **parameters: rule parameters that are others than the card's `refinement` says.

        Raises:
            TaskCardError: the card has no such rule parameter.
        """
        changed = {**self.refinement, **parameters}
        if unknown := sorted(changed.keys() - self.rule_parameters.keys()):
            raise TaskCardError(
                f"{self.source}: no rule parameters of {self.task}: {unknown}; known: "
                f"{sorted(self.rule_parameters)}"
            )
        card = dataclasses.replace(self, rule_parameters={**self.rule_parameters, **changed})
        object.__setattr__(card, "source", self.source)
        return card

    def to_dict(self) -> dict[str, Any]:
        """The card as JSON has it, without `source`: lists, numbers, text, null and objects."""
        data = dataclasses.asdict(self)
        del data["source"]
        plain: dict[str, Any] = json.loads(json.dumps(data))
        return plain

    @property
    def digest(self) -> str:
        """Short checksum of what the card says; how its file says it does not matter."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()[:12]

    def contract(self, observes_ee_position: bool) -> PolicyContract:
        """What a policy for this task has to agree on with simulator and robot.

        Args:
            observes_ee_position: whether the measured tool-tip position is a second input.
        """
        return PolicyContract(
            task=self.task,
            base_frame=self.base_frame,
            control_period=self.control_period,
            action_size=3 if self.tool.hand is None else 4,
            action_bound=self.action.bound,
            leash=self.action.leash,
            workspace=self.workspace,
            home=self.home.tool_position,
            tool_orientation=self.home.tool_orientation,
            tool_offset=self.tool.offset,
            episode_steps=self.episode_steps,
            camera=self.camera.model(),
            image=self.image,
            observes_ee_position=observes_ee_position,
            state=self.task_rules.fields,
            gripper=None if self.tool.hand is None else self.tool.hand.gripper,
        )


def available_tasks() -> list[str]:
    """Names of the shipped task cards and of those on ``TWIST_TASK_PATH``, sorted."""
    return sorted(_cards())


def _cards() -> dict[str, Path]:
    """Every card by its task's name; one's own do not replace shipped ones."""
    own = [
        Path(word).expanduser() for word in os.environ.get(TASK_PATH, "").split(os.pathsep) if word
    ]
    return {
        path.stem: path
        for folder in (*reversed(own), _TASKS_FOLDER)
        for path in folder.glob("*.yaml")
        if re.fullmatch(_NAME, path.stem)  # not "my_task (copy).yaml"
    }


def load_task_card(name_or_path: str | Path) -> TaskCard:
    """Reads and checks a task card.

    Args:
        name_or_path: name of a card, e.g. ``block_push``, or path of a YAML file. Names are those
            of the shipped cards and of the cards in the folders of ``TWIST_TASK_PATH``.

    Raises:
        TaskCardError: the task is unknown, or the card unreadable, incomplete or inconsistent.
    """
    from twist_sim.tasks import check_rules  # rules read cards: importing above makes a cycle

    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml"):
        cards = _cards()
        if str(name_or_path) not in cards:
            raise TaskCardError(
                f"unknown task {str(name_or_path)!r}; known tasks: {', '.join(sorted(cards))}. "
                f"For a card of your own, put its folder into {TASK_PATH}"
            )
        path = cards[str(name_or_path)]
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), UniqueKeyLoader)
    except OSError as error:
        raise TaskCardError(f"cannot read the task card {path}: {error}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise TaskCardError(f"{path} is not valid YAML: {error}") from error
    card = parse(TaskCard, data, source=str(path))
    object.__setattr__(card, "source", path)
    if card.task != path.stem:
        raise TaskCardError(
            f"{path}: task: expected {path.stem!r} (the file name), found {card.task!r}"
        )
    card.refined().task_rules  # noqa: B018 - refuses parameters that its rules do not take
    check_rules(card)
    try:
        card.contract(observes_ee_position=False)  # refuses cards no policy could be made for
        AppearanceRanges.from_mapping(card.randomisation)
    except (ContractError, AppearanceError) as error:
        raise TaskCardError(f"{path}: {error}") from error
    if CROP_SIZE % card.image.size:
        raise TaskCardError(
            f"{path}: image.size: expected a divisor of {CROP_SIZE}, the edge at which training "
            f"images are rendered, found {card.image.size}; use {CROP_SIZE // 2} or {CROP_SIZE}"
        )
    return card
