"""MoveIt Servo's services and status in its two generations, behind one interface.

| | Jazzy | Humble |
|---|---|---|
| begin | ``switch_command_type`` ServoCommandType | ``start_servo`` Trigger |
| pause, go on | ``pause_servo`` SetBool | ``pause_servo``, ``unpause_servo`` Trigger |
| status | moveit_msgs/ServoStatus | std_msgs/Int8, other numbers |
| commands | poses and twists | twists alone |
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from std_msgs.msg import Int8
from std_srvs.srv import SetBool, Trigger

from twist_policy_node.commands import CommandMode
from twist_policy_node.servo_messages import ServoCommandType, ServoStatus
from twist_policy_node.servo_watchdog import servo_code

if TYPE_CHECKING:
    from rclpy.client import Client
    from rclpy.node import Node

Request = tuple["Client", Any]
"""A service's client and what it is asked."""

_HUMBLE_CODES: Mapping[int, int] = {-1: -1, 0: 0, 1: 1, 2: 2, 3: 4, 4: 5, 5: 6, 6: 3}
"""Humble's status codes to Jazzy's."""
_UNKNOWN_CODE = 100
"""Stands for a code that Humble does not document; nobody knows it, so it counts as a halt."""


class ServoApi(Protocol):
    """What a generation of Servo understands.

    Attributes:
        clients: of all its services that are used.
        pausing: the client that pauses.
        status_type: message of ``servo_node/status``.
    """

    clients: tuple[Client, ...]
    pausing: Client
    status_type: Any

    def begin(self) -> Request:
        """Chooses the kind of command, or starts Servo."""

    def pause(self, paused: bool) -> Request:
        """Pauses Servo (True) or lets it go (False)."""

    def code(self, message: Any) -> tuple[int, str]:
        """A status as (code of Jazzy, text)."""


class JazzyServo:
    """MoveIt 2 of Jazzy and later.

    Args:
        node: owns the clients.
        mode: which kind of command is sent.
    """

    status_type = ServoStatus

    def __init__(self, node: Node, mode: CommandMode) -> None:
        kinds = ServoCommandType.Request
        self._kind = kinds.POSE if mode is CommandMode.POSE else kinds.TWIST
        self._switch = node.create_client(ServoCommandType, "servo_node/switch_command_type")
        self.pausing = node.create_client(SetBool, "servo_node/pause_servo")
        self.clients = (self._switch, self.pausing)

    def begin(self) -> Request:
        """Chooses the kind of command."""
        request = ServoCommandType.Request()
        request.command_type = self._kind
        return self._switch, request

    def pause(self, paused: bool) -> Request:
        """Pauses Servo (True) or lets it go (False)."""
        return self.pausing, SetBool.Request(data=paused)

    def code(self, message: ServoStatus) -> tuple[int, str]:
        """A status as (code, text)."""
        return int(message.code), message.message


class HumbleServo:
    """MoveIt 2 of Humble.

    Args:
        node: owns the clients.
        mode: which kind of command is sent; this Servo knows twists alone.

    Raises:
        ValueError: poses are to be sent.
    """

    status_type = Int8

    def __init__(self, node: Node, mode: CommandMode) -> None:
        if mode is not CommandMode.TWIST:
            raise ValueError("MoveIt Servo of Humble takes no poses; set command_mode to twist")
        self._start = node.create_client(Trigger, "servo_node/start_servo")
        self._go_on = node.create_client(Trigger, "servo_node/unpause_servo")
        self.pausing = node.create_client(Trigger, "servo_node/pause_servo")
        self.clients = (self._start, self._go_on, self.pausing)

    def begin(self) -> Request:
        """Starts Servo, which does not start by itself; again and again is harmless."""
        return self._start, Trigger.Request()

    def pause(self, paused: bool) -> Request:
        """Pauses Servo (True) or lets it go (False)."""
        return (self.pausing if paused else self._go_on), Trigger.Request()

    def code(self, message: Int8) -> tuple[int, str]:
        """A status as (code of Jazzy, text)."""
        code = _HUMBLE_CODES.get(int(message.data), _UNKNOWN_CODE)
        text = servo_code(code).name if code != _UNKNOWN_CODE else f"Humble's code {message.data}"
        return code, text


SERVO_APIS: Mapping[str, type[JazzyServo] | type[HumbleServo]] = {
    "jazzy": JazzyServo,
    "humble": HumbleServo,
}
"""The generations by the value of parameter ``servo_api``."""
