"""Which joint trajectories the simulated robot follows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]


class TrajectoryRejected(ValueError):
    """A joint trajectory is not followed; the message says why."""


@dataclass(frozen=True)
class JointCommandRules:
    """What a joint trajectory has to fulfil.

    Attributes:
        joint_names: the arm's joints; a trajectory names exactly these, in any order.
        lower, upper: position limits, radians, shape (n,).
        max_age: largest age of the trajectory's end, seconds.
    """

    joint_names: tuple[str, ...]
    lower: FloatArray
    upper: FloatArray
    max_age: float = 0.5

    def check(
        self,
        names: Sequence[str],
        positions: Sequence[float] | None,
        *,
        stamp: float,
        duration: float,
        now: float,
        not_before: float,
    ) -> FloatArray:
        """The joint positions to go to, in the arm's joint order.

        Args:
            names: joints as the trajectory orders them.
            positions: of its last point, radians; None when it has no point.
            stamp: header stamp, seconds; 0 means "starts now", as for ROS controllers.
            duration: ``time_from_start`` of the last point, seconds.
            now: present time, seconds.
            not_before: stamps older than this belong to an episode before the last reset.

        Raises:
            TrajectoryRejected: it cannot or must not be followed.
        """
        if positions is None:
            raise TrajectoryRejected("a joint trajectory without points is ignored")
        if len(positions) != len(names) or sorted(names) != sorted(self.joint_names):
            raise TrajectoryRejected(
                f"a joint trajectory for {list(names)} with {len(positions)} positions is "
                f"ignored; expected one position for each of {list(self.joint_names)}"
            )
        if stamp != 0.0:
            if stamp < not_before:
                raise TrajectoryRejected("a joint trajectory from before the reset is ignored")
            age = now - stamp - duration
            if not -self.max_age <= age <= self.max_age:
                raise TrajectoryRejected(
                    f"a joint trajectory whose end is {age:.3f} s old is ignored (limit "
                    f"{self.max_age} s); check the sender's clock and the load of the machine"
                )
        order = [list(names).index(name) for name in self.joint_names]
        values = np.array(positions, dtype=np.float64)[order]
        if not np.isfinite(values).all():
            raise TrajectoryRejected(
                f"a joint trajectory with positions {values.tolist()} is ignored: not finite"
            )
        outside = (values < self.lower) | (values > self.upper)
        if bool(outside.any()):
            index = int(np.argmax(outside))
            raise TrajectoryRejected(
                f"a joint trajectory is ignored: {self.joint_names[index]} = {values[index]:.3f} "
                f"rad is outside {self.lower[index]:.3f}..{self.upper[index]:.3f}"
            )
        return values
