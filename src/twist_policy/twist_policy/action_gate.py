"""The action gate: the last thing between a network's output and a motion.

The same class runs in the training environment and in the robot node, so that the policy learns
with exactly the bounds it will meet.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from twist_policy.contract import PolicyContract, Workspace

_PROJECTION_ROUNDS = 200
_CLEAR = 1e-3
"""A target that is nearer to the tool does not tell on which side of it the contact is, metres."""


def step_periods(speed: float) -> int:
    """Control periods that a step takes at a share `speed` of the trained speed: rounded up.

    A slow step is as long as a fast one, and takes longer: between two of its decisions the policy
    sees as much happen as it did in training.

    Raises:
        ValueError: not within (0, 1].
    """
    if not 0.0 < speed <= 1.0:
        raise ValueError(f"speed is a share of the trained one in (0, 1], found {speed}")
    return math.ceil(round(1.0 / speed, 6))


class GateError(RuntimeError):
    """An action cannot be made safe; the caller must stop the arm."""


@dataclass(frozen=True)
class GatedAction:
    """What the gate lets through.

    Attributes:
        target: commanded tool-tip position, metres, base frame, shape (3,).
        delta: ``target`` minus the previous target, metres, shape (3,); its norm is within the
            bound, up to the rounding of the addition (relative 1e-9 at most). Divided by the
            bound, this is the "previous action" the world model is fed.
        limited_by: which rules changed the request, a subset of
            ``("norm", "contact", "leash", "workspace")``.
    """

    target: NDArray[np.float64]
    delta: NDArray[np.float64]
    limited_by: tuple[str, ...]


class ActionGate:
    """Turns actor outputs into tool-tip targets that respect every bound at once.

    A target must lie in the intersection of three convex sets: the ball of radius `bound` around
    the previous target, the ball of radius `leash` around the measured position, and the
    workspace box. The requested target is taken when it lies in all of them; otherwise a point of
    the intersection near it is found by cyclic projection (von Neumann; Bregman 1965). When the
    intersection is empty, or thinner than about a millimetre (the arm was pushed or jumped away),
    the gate refuses.

    Every returned target lies in the box exactly, and in both balls up to the rounding of float64
    (relative 1e-9 of the radius at most). Actions beyond [-1, 1] are shortened, not refused.

    A position-controlled arm presses with its stiffness times the way from where it is to its
    target. So where it is said to `feel` more than `contact_yield`, a step first takes back what of
    that way lies along the force: the tool gives way, and only a request that leads out of the
    contact still moves it along that axis.

    Args:
        bound: largest Euclidean norm of one step, metres.
        leash: largest distance between target and measured position, metres.
        workspace: box for targets.
        contact_yield: external force above which the tool gives way, newtons.
    """

    def __init__(
        self,
        bound: float,
        leash: float,
        workspace: Workspace,
        contact_yield: float = math.inf,
    ) -> None:
        if not (np.isfinite(bound) and bound > 0 and np.isfinite(leash) and leash > 0):
            raise ValueError(f"bound and leash must be positive and finite, found {bound}, {leash}")
        if not contact_yield > 0:
            raise ValueError(f"contact_yield must be above 0 N, found {contact_yield}")
        self.bound = float(bound)
        self.leash = float(leash)
        self.contact_yield = float(contact_yield)
        self._lower = np.asarray(workspace.lower, dtype=np.float64)
        self._upper = np.asarray(workspace.upper, dtype=np.float64)
        self._target: NDArray[np.float64] | None = None
        self._contact: NDArray[np.float64] | None = None
        """From the tool to what it touches, (3,), a direction; None where it feels nothing."""
        self._side_is_known = False

    @classmethod
    def from_contract(
        cls, contract: PolicyContract, step_periods: int = 1, contact_yield: float = math.inf
    ) -> ActionGate:
        """The gate that a checkpoint's contract asks for.

        Args:
            contract: bounds.
            step_periods: control periods that a step of the policy is spread over: the same action
                is put through the gate in each, and moves so much less.
            contact_yield: external force above which the tool gives way, newtons.
        """
        bound = contract.action_bound / step_periods
        return cls(bound, contract.leash, contract.workspace, contact_yield)

    @property
    def target(self) -> NDArray[np.float64] | None:
        """The last commanded position, metres, shape (3,); None before `reset`."""
        return None if self._target is None else self._target.copy()

    def reset(self, measured: ArrayLike) -> NDArray[np.float64]:
        """Starts from where the tool is now and returns that position as the first target.

        The measured position is moved into the workspace box when it lies outside by no more
        than the leash, so that an arm resting at the edge can start.

        Raises:
            GateError: not three finite numbers, or further outside the box than the leash.
        """
        position = _finite3(measured, "measured tool position")
        target = np.clip(position, self._lower, self._upper)
        distance = _norm(target - position)
        if distance > self.leash:
            raise GateError(
                f"the tool at {_format(position)} is {distance:.3f} m outside the workspace "
                f"{_format(self._lower)}..{_format(self._upper)} (leash {self.leash} m); "
                "move the arm home before starting"
            )
        self._target, self._contact, self._side_is_known = target, None, False
        return target.copy()

    def feel(self, force: ArrayLike, measured: ArrayLike) -> bool:
        """Notes what the arm feels; it counts for every step until something else is felt.

        The contact is on the side of the tool on which its target is when the arm first feels it,
        and stays there while it does: an arm presses on for a moment when it begins to leave, and
        one that follows velocities also with its target taken back. While that side cannot be told,
        nothing moves along the force in either direction.

        Args:
            force: external force on the arm, newtons, base frame, shape (3,). Its sign does not
                matter, in which drivers differ.
            measured: measured tool-tip position, metres, base frame, shape (3,).

        Returns:
            Whether the tool has to give way.

        Raises:
            GateError: `reset` was not called, or an input is not three finite numbers.
        """
        vector = _finite3(force, "force")
        position = _finite3(measured, "measured tool position")
        if self._target is None:
            raise GateError("the gate has no starting position; call reset(measured) first")
        strength = _norm(vector)
        if not strength > self.contact_yield:
            self._contact, self._side_is_known = None, False
            return False
        axis = vector / strength
        towards = float((self._target - position) @ axis)
        if self._contact is not None and self._side_is_known:
            towards = float(self._contact @ axis)
        else:
            self._side_is_known = abs(towards) > _CLEAR
        self._contact = math.copysign(1.0, towards) * axis
        return True

    def step(self, action: ArrayLike, measured: ArrayLike) -> GatedAction:
        """Bounds one actor output.

        Args:
            action: actor output in [-1, 1], shape (3,); times `bound` it is the requested delta.
            measured: measured tool-tip position, metres, base frame, shape (3,).

        Raises:
            GateError: `reset` was not called, an input is not finite, or no target satisfies
                all bounds. The stored target is unchanged then.
        """
        if self._target is None:
            raise GateError("the gate has no starting position; call reset(measured) first")
        request = _finite3(action, "action") * self.bound
        position = _finite3(measured, "measured tool position")
        previous = self._target
        limited: list[str] = []

        norm = _norm(request)
        if norm > self.bound:
            request = request * (self.bound / norm)
            limited.append("norm")
        target = previous + request
        if (apart := self._out_of_contact(target, position)) is not None:
            target = _into_ball(apart, previous, self.bound * (1 - 1e-6))
            limited.append("contact")
        if _norm(target - position) > self.leash:
            limited.append("leash")
        if bool(np.any(target < self._lower) or np.any(target > self._upper)):
            limited.append("workspace")
        if "leash" in limited or "workspace" in limited:
            target = self._project(target, previous, position)

        self._target = target
        return GatedAction(target.copy(), target - previous, tuple(limited))

    def _out_of_contact(
        self, target: NDArray[np.float64], measured: NDArray[np.float64]
    ) -> NDArray[np.float64] | None:
        """`target` without what presses on; None where nothing does."""
        if self._contact is None:
            return None
        asked = float((target - measured) @ self._contact)
        if self._side_is_known and asked <= 0.0:
            return None  # it asks to leave
        return target - asked * self._contact

    def _project(
        self,
        target: NDArray[np.float64],
        previous: NDArray[np.float64],
        measured: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """A point of the three sets' intersection near `target`; raises GateError if none."""
        # Shrunk balls: cyclic projection converges to the boundary from outside, and the result
        # must satisfy the true bounds exactly. The box is projected on last, so it holds exactly.
        leash, bound = self.leash * (1 - 1e-6), self.bound * (1 - 1e-6)
        apart = _norm(previous - measured) > self.leash + self.bound
        for _ in range(0 if apart else _PROJECTION_ROUNDS):
            target = _into_ball(target, measured, leash)
            target = _into_ball(target, previous, bound)
            target = np.clip(target, self._lower, self._upper)
            if _norm(target - measured) <= self.leash and _norm(target - previous) <= self.bound:
                return target
        raise GateError(
            f"no target within {self.bound} m of the last target {_format(previous)} and within "
            f"the leash of {self.leash} m of the measured tool position {_format(measured)} lies "
            "in the workspace: the arm did not follow or was moved; stop, check it, move it home"
        )


def _norm(vector: NDArray[np.float64]) -> float:
    """Euclidean norm; does not overflow, unlike a sum of squares."""
    return math.hypot(*vector.tolist())


def _into_ball(
    point: NDArray[np.float64], centre: NDArray[np.float64], radius: float
) -> NDArray[np.float64]:
    offset = point - centre
    distance = _norm(offset)
    return point if distance <= radius else centre + offset * (radius / distance)


def _finite3(value: ArrayLike, name: str) -> NDArray[np.float64]:
    array = np.asarray(value, dtype=np.float64)
    if array.shape != (3,):
        raise GateError(f"{name} must be three numbers, found shape {array.shape}")
    if not bool(np.all(np.isfinite(array))):
        raise GateError(f"{name} must be finite, found {array.tolist()}")
    return array


def _format(vector: NDArray[np.float64]) -> str:
    return "(" + ", ".join(f"{v:.3f}" for v in vector) + ")"
