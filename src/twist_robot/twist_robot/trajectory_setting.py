"""The trajectory controller's setting without which it rejects everything that Servo sends.

Servo's trajectories end with the velocity that the arm has there. The controller's default refuses
such a trajectory; the parameter may be changed while it runs, and a driver that is started again
has the default again. So it is looked at again and again, and set where needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import GetParameters, SetParameters

if TYPE_CHECKING:
    from rclpy.node import Node

SETTING = "allow_nonzero_velocity_at_trajectory_end"
_PERIOD = 2.0
_WARN_PERIOD = 10.0


class TrajectorySetting:
    """Keeps `SETTING` of one controller true.

    Args:
        node: owns the clients.
        controller: name of the controller's node.
    """

    def __init__(self, node: Node, controller: str) -> None:
        self._node = node
        self._controller = controller
        self._get = node.create_client(GetParameters, f"/{controller}/get_parameters")
        self._set = node.create_client(SetParameters, f"/{controller}/set_parameters")
        self._asked: Any = None
        self._changed: Any = None
        self.accepted = False
        """Whether the controller was last seen to accept Servo's output."""
        node.create_timer(_PERIOD, self.look)

    def look(self) -> None:
        """Takes the answers that are there, and asks again."""
        if self._changed is not None and self._changed.done():
            self._judge_change(self._changed)
            self._changed = None
        if self._asked is not None and self._asked.done():
            self._judge(self._asked)
            self._asked = None
        if self._asked is None and self._changed is None and self._get.service_is_ready():
            self._asked = self._get.call_async(GetParameters.Request(names=[SETTING]))

    def _judge(self, future: Any) -> None:
        answer = None if future.exception() is not None else future.result()
        values = [] if answer is None else answer.values
        self.accepted = bool(values) and values[0].bool_value
        if self.accepted or not values:
            return
        if values[0].type != ParameterType.PARAMETER_BOOL:
            self._complain(f"/{self._controller} has no parameter {SETTING}")
            return
        wanted = ParameterValue(type=ParameterType.PARAMETER_BOOL, bool_value=True)
        request = SetParameters.Request(parameters=[Parameter(name=SETTING, value=wanted)])
        self._changed = self._set.call_async(request)

    def _judge_change(self, future: Any) -> None:
        error = future.exception()
        reason = str(error) if error is not None else future.result().results[0].reason
        if error is not None or not future.result().results[0].successful:
            self._complain(f"/{self._controller} keeps {SETTING} false ({reason})")
        else:
            self._node.get_logger().info(f"set {SETTING} of /{self._controller} to true")

    def _complain(self, what: str) -> None:
        self._node.get_logger().error(
            f"{what}: it rejects what Servo sends, and the arm will not move; set it to true in "
            "the file that the driver starts the controller with",
            throttle_duration_sec=_WARN_PERIOD,
        )
