"""The policy contract: what training, simulation and the robot node agree on.

One typed object, written into every checkpoint's manifest by training and read back by the
simulator and the node, so that image geometry, action bounds and timing cannot drift apart.

Frames: ``panda_link0`` (the robot base, z up, table top at z = 0 in the shipped tasks) unless a
field says otherwise. Units: SI (metres, seconds, radians).
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from dataclasses import dataclass
from typing import Any

Vector3 = tuple[float, float, float]
Quaternion = tuple[float, float, float, float]
"""Unit quaternion in (w, x, y, z) order."""


class ContractError(ValueError):
    """A contract is malformed, inconsistent, or does not match the other side's."""


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ContractError(message)


def _require_finite(name: str, values: typing.Iterable[float]) -> None:
    values = tuple(values)
    _require(all(math.isfinite(v) for v in values), f"{name} must be finite, found {values}")


def _require_unit(name: str, quaternion: Quaternion) -> None:
    norm = math.hypot(*quaternion)
    _require(abs(norm - 1.0) < 1e-3, f"{name} must be a unit quaternion, its norm is {norm}")


@dataclass(frozen=True)
class Workspace:
    """Axis-aligned box that commanded tool positions stay inside.

    Every bound is a bound: 0.0 means zero metres, never "unbounded".

    Attributes:
        lower: smallest allowed (x, y, z) of the tool tip, metres, base frame.
        upper: largest allowed (x, y, z) of the tool tip, metres, base frame.
    """

    lower: Vector3
    upper: Vector3

    def __post_init__(self) -> None:
        _require_finite("workspace.lower", self.lower)
        _require_finite("workspace.upper", self.upper)
        _require(
            all(lo < hi for lo, hi in zip(self.lower, self.upper, strict=True)),
            f"workspace.lower {self.lower} must lie below workspace.upper {self.upper} "
            "on each axis",
        )


@dataclass(frozen=True)
class CameraModel:
    """Pinhole camera the policy was trained with.

    Attributes:
        width: full frame width, pixels.
        height: full frame height, pixels.
        fx: focal length along x, pixels.
        fy: focal length along y, pixels.
        cx: principal point x, pixels from the left edge.
        cy: principal point y, pixels from the top edge.
        position: optical centre in the base frame, metres.
        orientation: rotation from the optical frame (x right, y down, z forward; REP 103) to
            the base frame, (w, x, y, z).
    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    position: Vector3
    orientation: Quaternion

    def __post_init__(self) -> None:
        _require(
            self.width > 0 and self.height > 0, f"camera size {self.width}x{self.height} is empty"
        )
        _require_finite("camera intrinsics", (self.fx, self.fy, self.cx, self.cy))
        _require_finite("camera.position", self.position)
        _require(
            self.fx > 0 and self.fy > 0, f"focal lengths must be positive: {self.fx}, {self.fy}"
        )
        _require_unit("camera.orientation", self.orientation)


@dataclass(frozen=True)
class ImageSpec:
    """What the student cuts out of a full frame and looks at.

    Attributes:
        crop_x: left edge of the square crop in the full frame, pixels.
        crop_y: top edge of the square crop in the full frame, pixels.
        crop_size: edge of the square crop in the full frame, pixels.
        size: edge of the square network input after an area-correct resize, pixels.
    """

    crop_x: int
    crop_y: int
    crop_size: int
    size: int

    def __post_init__(self) -> None:
        _require(self.crop_x >= 0 and self.crop_y >= 0, "the crop must start inside the frame")
        _require(
            0 < self.size <= self.crop_size,
            f"image.size {self.size} must be in 1..crop_size ({self.crop_size})",
        )


@dataclass(frozen=True)
class StateField:
    """One named group of numbers in the privileged (decoded) state.

    Attributes:
        name: e.g. ``ee_position``.
        unit: ``m``, ``rad`` or ``1`` (dimensionless).
        size: how many numbers.
        offset: what is subtracted from each number before scaling, in ``unit``.
        scale: what the offset-free number is multiplied by before a network sees it.
    """

    name: str
    unit: str
    size: int
    offset: tuple[float, ...]
    scale: float

    def __post_init__(self) -> None:
        _require(self.size > 0, f"state field {self.name!r} is empty")
        _require(
            len(self.offset) == self.size,
            f"state field {self.name!r} has {self.size} numbers but {len(self.offset)} offsets",
        )
        _require_finite(f"offset of state field {self.name!r}", self.offset)
        _require(
            math.isfinite(self.scale) and self.scale > 0,
            f"state field {self.name!r} needs a positive, finite scale, found {self.scale}",
        )


@dataclass(frozen=True)
class GripperSpec:
    """What the policy's gripper commands mean, in the terms of the Franka gripper's actions.

    To close is a grasp: the fingers close to `grasp_width` or until they meet something, and the
    grasp succeeded when they stopped within ``grasp_width - epsilon_inner`` and
    ``grasp_width + epsilon_outer``. To open is a move to `open_width`.

    Attributes:
        open_width: distance between the fingers when open, metres.
        speed: closing and opening speed (change of the width), metres per second.
        force: grasping force, newtons.
        epsilon_inner: how much narrower than `grasp_width` a grasp may end, metres.
        epsilon_outer: how much wider than `grasp_width` a grasp may end, metres.
        grasp_width: width of what is grasped, metres.
        command_time: how long a command takes, seconds; no other is sent meanwhile.
    """

    open_width: float
    speed: float
    force: float
    epsilon_inner: float
    epsilon_outer: float
    grasp_width: float
    command_time: float

    def __post_init__(self) -> None:
        for name in ("open_width", "speed", "force", "command_time"):
            value = getattr(self, name)
            _require(
                math.isfinite(value) and value > 0,
                f"gripper.{name} must be positive and finite, found {value}",
            )
        for name in ("epsilon_inner", "epsilon_outer", "grasp_width"):
            value = getattr(self, name)
            _require(
                math.isfinite(value) and value >= 0,
                f"gripper.{name} must be finite and not negative, found {value}",
            )
        _require(
            self.grasp_width < self.open_width,
            f"gripper.grasp_width {self.grasp_width} m must be smaller than open_width "
            f"{self.open_width} m",
        )


@dataclass(frozen=True)
class PolicyContract:
    """Everything two sides must agree on before an arm may move.

    Attributes:
        task: task card name, e.g. ``block_push``.
        base_frame: frame of every position and delta.
        control_period: seconds between two policy steps.
        action_size: how many numbers the actor puts out: the translation (3), and with a gripper
            one more, which asks to close it when positive and to open it when negative.
        action_bound: largest Euclidean norm of one commanded translation, metres.
        leash: largest distance between commanded and measured tool position, metres.
        workspace: box for commanded tool positions.
        home: tool-tip position at the start of an episode, metres.
        tool_orientation: orientation of the tool frame in the base frame, held during an
            episode, (w, x, y, z).
        tool_offset: tool tip in the frame of the IK tip (``panda_link8``), metres.
        episode_steps: policy steps per episode.
        camera: camera trained with.
        image: crop and network input size.
        observes_ee_position: whether the measured tool-tip position is a second student input;
            False is the paper's setting (images alone).
        state: fields of the privileged state that the decoder puts out, in order.
        gripper: what the gripper's commands mean; None for a task that leaves it alone.
    """

    task: str
    base_frame: str
    control_period: float
    action_size: int
    action_bound: float
    leash: float
    workspace: Workspace
    home: Vector3
    tool_orientation: Quaternion
    tool_offset: Vector3
    episode_steps: int
    camera: CameraModel
    image: ImageSpec
    observes_ee_position: bool
    state: tuple[StateField, ...]
    gripper: GripperSpec | None = None

    def __post_init__(self) -> None:
        _require(bool(self.task), "contract.task is empty")
        for name in ("control_period", "action_bound", "leash"):
            value = getattr(self, name)
            _require(
                math.isfinite(value) and value > 0,
                f"contract.{name} must be positive and finite, found {value}",
            )
        expected = 3 if self.gripper is None else 4
        _require(
            self.action_size == expected,
            f"action_size must be {expected} {'without' if self.gripper is None else 'with'} a "
            f"gripper, found {self.action_size}",
        )
        _require(self.episode_steps > 0, "contract.episode_steps must be positive")
        _require(
            self.action_bound <= 0.02 + 1e-9,
            f"contract.action_bound is {self.action_bound} m; this stack refuses more than 0.02 m",
        )
        _require_finite("contract.tool_offset", self.tool_offset)
        _require_unit("contract.tool_orientation", self.tool_orientation)
        _require(
            all(
                lo <= x <= hi
                for lo, x, hi in zip(
                    self.workspace.lower, self.home, self.workspace.upper, strict=True
                )
            ),
            f"contract.home {self.home} lies outside the workspace",
        )
        _require(
            self.image.crop_x + self.image.crop_size <= self.camera.width
            and self.image.crop_y + self.image.crop_size <= self.camera.height,
            f"the crop ({self.image}) leaves the {self.camera.width}x{self.camera.height} frame",
        )
        names = [field.name for field in self.state]
        _require(bool(names), "contract.state has no fields; the decoder needs at least one")
        _require(len(set(names)) == len(names), f"state field names repeat: {names}")

    @property
    def state_size(self) -> int:
        """Total count of numbers in the privileged state."""
        return sum(field.size for field in self.state)

    def state_slice(self, name: str) -> slice:
        """Where field `name` lies in a state vector.

        Raises:
            ContractError: the contract has no such field.
        """
        start = 0
        for field in self.state:
            if field.name == name:
                return slice(start, start + field.size)
            start += field.size
        raise ContractError(
            f"no state field {name!r}; the contract has {[f.name for f in self.state]}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; `from_dict` is its inverse.

        An absent gripper is left out, so that such a contract reads the same as one written
        before there were grippers.
        """
        data = dataclasses.asdict(self)
        if self.gripper is None:
            del data["gripper"]
        return data

    @classmethod
    def from_dict(cls, data: Any) -> PolicyContract:
        """Builds a contract from plain data, as read from a manifest.

        Fields that have a default may be missing.

        Raises:
            ContractError: a field is missing, unknown, of a wrong type, or inconsistent.
        """
        return typing.cast(PolicyContract, _build(cls, data, "contract"))

    def differences(self, other: PolicyContract) -> list[str]:
        """Human-readable ``field: mine != theirs`` lines; empty when the contracts agree."""
        mine, theirs = _flatten(self.to_dict()), _flatten(other.to_dict())
        return [
            f"{key}: {mine.get(key)!r} != {theirs.get(key)!r}"
            for key in sorted(mine.keys() | theirs.keys())
            if mine.get(key) != theirs.get(key)
        ]


def _flatten(data: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(data, dict):
        pairs = [(f"{prefix}.{k}" if prefix else str(k), v) for k, v in data.items()]
    elif isinstance(data, (list, tuple)):
        pairs = [(f"{prefix}[{i}]", v) for i, v in enumerate(data)]
    else:
        return {prefix: data}
    return {key: value for path, v in pairs for key, value in _flatten(v, path).items()}


def _build(hint: Any, data: Any, path: str) -> Any:
    """Checks `data` (parsed JSON) against the type `hint` and converts it, naming the path."""
    origin = typing.get_origin(hint)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        if not isinstance(data, dict):
            raise ContractError(f"{path}: expected an object, found {type(data).__name__}")
        hints = typing.get_type_hints(hint)
        optional = {
            field.name
            for field in dataclasses.fields(hint)
            if field.default is not dataclasses.MISSING
        }
        missing, unknown = hints.keys() - optional - data.keys(), data.keys() - hints.keys()
        if missing or unknown:
            raise ContractError(
                f"{path}: missing fields {sorted(missing)}, unknown fields {sorted(unknown)}"
            )
        return hint(
            **{
                name: _build(hints[name], data[name], f"{path}.{name}")
                for name in hints.keys() & data.keys()
            }
        )
    if origin is types.UnionType:  # "T | None" is the only union here
        (wanted,) = (arg for arg in typing.get_args(hint) if arg is not types.NoneType)
        return None if data is None else _build(wanted, data, path)
    if origin is tuple:
        if not isinstance(data, (list, tuple)):
            raise ContractError(f"{path}: expected a list, found {type(data).__name__}")
        args = typing.get_args(hint)
        if len(args) == 2 and args[1] is Ellipsis:
            args = (args[0],) * len(data)
        if len(args) != len(data):
            raise ContractError(f"{path}: expected {len(args)} entries, found {len(data)}")
        return tuple(
            _build(arg, item, f"{path}[{i}]")
            for i, (arg, item) in enumerate(zip(args, data, strict=True))
        )
    if isinstance(hint, types.GenericAlias):  # pragma: no cover - no such field today
        raise ContractError(f"{path}: unsupported type {hint}")
    if hint is float and isinstance(data, int) and not isinstance(data, bool):
        _require(abs(data) < 2**53, f"{path}: {data} is too large")
        return float(data)
    if not isinstance(data, hint) or (isinstance(data, bool) and hint is not bool):
        raise ContractError(f"{path}: expected {hint.__name__}, found {data!r}")
    return data
