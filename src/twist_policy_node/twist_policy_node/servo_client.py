"""The client of MoveIt Servo: its services, command topics and status.

Nothing here waits. A service call returns a `ServiceCall` at once, which is polled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from geometry_msgs.msg import PoseStamped, TwistStamped
from rclpy.qos import QoSProfile, ReliabilityPolicy

from twist_nodes.endpoints import advertise, subscribe_newest
from twist_nodes.repeated_request import RepeatedRequest
from twist_policy_node.arming import CallState
from twist_policy_node.commands import Command, CommandMode, PoseCommand
from twist_policy_node.servo_api import SERVO_APIS, Request, ServoApi

if TYPE_CHECKING:
    from collections.abc import Callable

    from rclpy.client import Client
    from rclpy.node import Node
    from rclpy.publisher import Publisher
    from rclpy.task import Future

_TOPICS = {
    CommandMode.POSE: "servo_node/pose_target_cmds",
    CommandMode.TWIST: "servo_node/delta_twist_cmds",
}
_JOINT_TOPIC = "servo_node/delta_joint_cmds"
"""Servo's third input, on which a keyboard or joystick moves single joints; never used here."""
_REPEAT_PERIOD = 0.5
"""Seconds after which a request without an answer is sent again."""
_TYPES = {CommandMode.POSE: PoseStamped, CommandMode.TWIST: TwistStamped}
_QOS = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)


class ServiceCall:
    """A service call under way; Servo's services may be called twice without harm.

    Args:
        client: calls.
        request: what is asked.
        now: steady seconds.
        timeout: when it counts as failed, seconds from now.
    """

    def __init__(self, client: Client, request: Any, now: float, timeout: float) -> None:
        self.name = str(client.service_name)
        self.message = ""
        self._deadline = now + timeout
        self._asked = RepeatedRequest(client, request, now, _REPEAT_PERIOD, self._deadline)

    def poll(self, now: float) -> CallState:
        """How it stands; `message` says why it failed."""
        answered = self._asked.answer(now)
        if answered is not None:
            return self._judge(answered)
        if now > self._deadline:
            self.message = (
                f"{self.name} did not answer in time; is servo_node running and responsive?"
            )
            self.abandon()
            return CallState.FAILED
        return CallState.PENDING

    def abandon(self) -> None:
        """Its answer does not matter any more: it is not repeated, and never polled again."""
        self._asked.forget()

    def _judge(self, future: Future) -> CallState:
        error = future.exception()
        if error is not None:
            self.message = f"{self.name} failed: {error}"
            return CallState.FAILED
        response = future.result()
        if response is None or not response.success:
            detail = getattr(response, "message", "")
            self.message = f"{self.name} was refused by Servo" + (f": {detail}" if detail else "")
            return CallState.FAILED
        return CallState.DONE


class ServoClient:
    """Talks to one Servo node.

    Topics and services are relative: ``servo_node/pose_target_cmds``,
    ``servo_node/delta_twist_cmds``, ``servo_node/status``, and the services of
    `twist_policy_node.servo_api`.

    Command publishers exist only between `open` and `close`: whoever commands can be seen on the
    graph, and two commanders can find each other.

    Args:
        node: owns the clients, publishers and the subscription.
        mode: which kind of command is sent.
        frame: frame of every command.
        service_timeout: longest answer time, seconds.
        clock: steady seconds.
        on_status: is called with (code, message, steady seconds) of each status.
        api: generation of Servo; a key of `twist_policy_node.servo_api.SERVO_APIS`.
    """

    def __init__(
        self,
        node: Node,
        mode: CommandMode,
        frame: str,
        *,
        service_timeout: float,
        clock: Callable[[], float],
        on_status: Callable[[int, str, float], None],
        api: str = "jazzy",
    ) -> None:
        self._node = node
        self._mode = mode
        self._frame = frame
        self._service_timeout = service_timeout
        self._clock = clock
        self._on_status = on_status
        self._publisher: Publisher | None = None
        self._topics = [
            node.resolve_topic_name(topic) for topic in (*_TOPICS.values(), _JOINT_TOPIC)
        ]
        self._own_topic = node.resolve_topic_name(_TOPICS[mode])
        self._api: ServoApi = SERVO_APIS[api](node, mode)
        self._status = subscribe_newest(
            node, self._api.status_type, "servo_node/status", self._on_status_message
        )
        self.heard: float | None = None
        """When the last status arrived, steady seconds."""
        self.status_code: int | None = None
        """Last status code."""
        self.status_message = ""
        """Last status text."""

    def destroy(self) -> None:
        """Takes everything off the graph."""
        self.close()
        self._node.destroy_subscription(self._status)
        for client in self._api.clients:
            self._node.destroy_client(client)

    def _on_status_message(self, message: Any) -> None:
        self.heard = self._clock()
        self.status_code, self.status_message = self._api.code(message)
        self._on_status(self.status_code, self.status_message, self.heard)

    def open(self) -> None:
        """Begins to be a commander."""
        if self._publisher is None:
            self._publisher = advertise(self._node, _TYPES[self._mode], _TOPICS[self._mode], _QOS)

    def close(self) -> None:
        """Ends being a commander."""
        if self._publisher is not None:
            self._node.destroy_publisher(self._publisher)
            self._publisher = None

    @property
    def is_open(self) -> bool:
        """Whether this is a commander now."""
        return self._publisher is not None

    def missing(self) -> list[str]:
        """What of Servo is not there, in words; listeners are looked for when `is_open`."""
        missing = [
            f"service {client.service_name} is not there (is servo_node running?)"
            for client in self._api.clients
            if not client.service_is_ready()
        ]
        if self._publisher is not None and self._publisher.get_subscription_count() == 0:
            missing.append(f"nobody listens on {self._own_topic} (is servo_node running?)")
        return missing

    @property
    def can_pause(self) -> bool:
        """Whether the pause service is there."""
        return bool(self._api.pausing.service_is_ready())

    def other_commanders(self) -> list[str]:
        """Who else publishes Servo commands, as ``node on topic``; empty when nobody does."""
        others: list[str] = []
        for topic in self._topics:
            own = int(self._publisher is not None and topic == self._own_topic)
            if self._node.count_publishers(topic) <= own:
                continue
            names = [
                f"{info.node_namespace.rstrip('/')}/{info.node_name}"
                for info in self._node.get_publishers_info_by_topic(topic)
            ]
            if own and self._node.get_fully_qualified_name() in names:
                names.remove(self._node.get_fully_qualified_name())
            # Middleware learns of a publisher sooner than of its node's name.
            known = [name for name in names if "UNKNOWN" not in name]
            others += [f"{name} on {topic}" for name in known or ["another node"]]
        return others

    def switch_command_type(self) -> ServiceCall:
        """Chooses the kind of command, or starts a Servo that has to be started."""
        return self._call(self._api.begin())

    def pause(self, paused: bool) -> ServiceCall:
        """Pauses Servo (True) or lets it go (False)."""
        return self._call(self._api.pause(paused))

    def _call(self, request: Request) -> ServiceCall:
        return ServiceCall(*request, self._clock(), self._service_timeout)

    def publish(self, command: Command) -> None:
        """Sends a command under a fresh stamp; nothing when not `open`."""
        if self._publisher is None:
            return
        if isinstance(command, PoseCommand):
            pose = PoseStamped()
            p, q = pose.pose.position, pose.pose.orientation
            p.x, p.y, p.z = command.position.tolist()
            q.w, q.x, q.y, q.z = command.orientation.tolist()
            message = pose
        else:
            twist = TwistStamped()
            v, w = twist.twist.linear, twist.twist.angular
            v.x, v.y, v.z = command.linear.tolist()
            w.x, w.y, w.z = command.angular.tolist()
            message = twist
        message.header.frame_id = self._frame
        message.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(message)
