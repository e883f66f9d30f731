"""The trajectory controller's setting without which it rejects everything that Servo sends.

Servo's trajectories end with the velocity that the arm has there. The controller's default refuses
such a trajectory; the parameter may be changed while it runs, and a driver that is started again
has the default again. So it is looked at again and again, and set where needed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import GetParameters, SetParameters

from twist_nodes.timers import steady_timer

if TYPE_CHECKING:
    from rclpy.node import Node

SETTING = "allow_nonzero_velocity_at_trajectory_end"
_PERIOD = 2.0
_WARN_PERIOD = 10.0
_PATIENCE = 3
"""Looks after which a request without an answer is given up."""


@dataclass
class _Call:
    """A request under way: whose, its answer, who takes that, and how often it was looked for."""

    client: Any
    future: Any
    judge: Callable[[Any], None]
    looks: int = 0


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
        self._call: _Call | None = None
        steady_timer(node, _PERIOD, self.look)

    def look(self) -> None:
        """Takes the answer that is there, and asks again; to be called every `_PERIOD`."""
        call, self._call = self._call, None
        if call is not None and not call.future.done():
            call.looks += 1
            if call.looks < _PATIENCE:
                self._call = call
                return
            # The controller died before it answered, or the answer was lost.
            call.client.remove_pending_request(call.future)
        elif call is not None:
            call.judge(call.future)
        if self._call is None and self._get.service_is_ready():
            self._ask(self._get, GetParameters.Request(names=[SETTING]), self._judge)

    def _ask(self, client: Any, request: Any, judge: Callable[[Any], None]) -> None:
        self._call = _Call(client, client.call_async(request), judge)

    def _judge(self, future: Any) -> None:
        answer = None if future.exception() is not None else future.result()
        values = [] if answer is None else answer.values
        if not values or values[0].bool_value:
            return
        if values[0].type != ParameterType.PARAMETER_BOOL:
            self._complain(f"/{self._controller} has no parameter {SETTING}")
            return
        wanted = ParameterValue(type=ParameterType.PARAMETER_BOOL, bool_value=True)
        request = SetParameters.Request(parameters=[Parameter(name=SETTING, value=wanted)])
        self._ask(self._set, request, self._judge_change)

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
