"""Who else could move the arm: the policy, other commanders of Servo, and Servo itself."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

from lifecycle_msgs.msg import State
from lifecycle_msgs.srv import GetState
from rclpy.node import NodeNameNonExistentError
from std_srvs.srv import SetBool, Trigger

from twist_nodes.timers import steady_timer
from twist_robot.motion.motions import FailedMotion, Motion
from twist_robot.service_call import ServiceCall

if TYPE_CHECKING:
    from rclpy.node import Node

COMMAND_TOPICS = (
    "servo_node/pose_target_cmds",
    "servo_node/delta_twist_cmds",
    "servo_node/delta_joint_cmds",
)
"""Whoever publishes these moves the arm; the policy node does so only while it is active."""
_LOOK_AROUND = 2.0
"""Seconds that a new node takes to hear of the others."""
_STATE_AGE = 2.0
"""Seconds that the policy's state counts."""
_ASK_PERIOD = 0.25
_SET_BOOL, _TRIGGER = "std_srvs/srv/SetBool", "std_srvs/srv/Trigger"
CALL_TIMEOUT = 5.0
"""Seconds in which Servo and the controller manager have to answer."""
_ACTIVE = {
    State.PRIMARY_STATE_ACTIVE: "active",
    State.TRANSITION_STATE_ACTIVATING: "being activated",
    State.TRANSITION_STATE_DEACTIVATING: "being deactivated",
}


class ArmSurroundings:
    """Watches the policy and Servo on the graph.

    Args:
        node: owns the clients and is spun by whoever asks.
        policy_node: name of the policy node.
    """

    def __init__(self, node: Node, policy_node: str) -> None:
        self._node = node
        self._policy = policy_node
        self._born = time.monotonic()
        self._get_state = node.create_client(GetState, f"{policy_node}/get_state")
        self._pause_name = node.resolve_service_name("servo_node/pause_servo")
        self._pauses: dict[str, tuple[Any, Any]] = {}
        self._topics = [node.resolve_topic_name(topic) for topic in COMMAND_TOPICS]
        self._state: tuple[int, float] | None = None
        self._asked: tuple[Any, float] | None = None
        steady_timer(node, _ASK_PERIOD, self._ask)

    def ask_anew(self) -> None:
        """Forgets what the policy's state was: what counts is its state from now on.

        To be called when a motion is asked for: whoever deactivates the policy asks at once, and a
        state from before would be an objection. Until the answer it is `missing`.
        """
        if self._asked is not None:
            self._get_state.remove_pending_request(self._asked[0])
        self._state = self._asked = None
        self._ask()

    def _ask(self) -> None:
        now = time.monotonic()
        self._take_answer()
        if self._asked is not None:
            future, since = self._asked
            if now - since < _STATE_AGE:
                return
            self._get_state.remove_pending_request(future)
            self._asked = None
        if self._get_state.service_is_ready():
            self._asked = (self._get_state.call_async(GetState.Request()), now)

    def _take_answer(self) -> None:
        if self._asked is not None and self._asked[0].done():
            future, since = self._asked
            self._asked = None
            if future.exception() is None:
                self._state = (int(future.result().current_state.id), since)

    def _known_state(self, now: float) -> int | None:
        """The policy's state, unless it is unknown or too old to count."""
        self._take_answer()
        if self._state is None or now - self._state[1] > _STATE_AGE:
            return None
        return self._state[0]

    def missing(self, now: float) -> str:
        """Says so while the graph, or the policy's state, is not known yet."""
        if now - self._born < _LOOK_AROUND:
            return "this node has just started and does not know the others yet"
        if self._get_state.service_is_ready() and self._known_state(now) is None:
            return f"{self._policy} does not say whether it is active; is it hanging?"
        return ""

    def objection(self, now: float) -> str:
        """The policy is active, or somebody commands Servo."""
        state = self._known_state(now)
        label = _ACTIVE.get(state) if state is not None else None
        if label is not None:
            return (
                f"{self._policy} is {label}: deactivate it first "
                f"(ros2 lifecycle set /{self._policy} deactivate)"
            )
        asked = state is None and self._get_state.service_is_ready()
        for topic in self._topics:
            if self._node.count_publishers(topic) > 0:
                names = {info.node_name for info in self._node.get_publishers_info_by_topic(topic)}
                if asked and names == {self._policy.rpartition("/")[2]}:
                    # It takes its commands off the graph when it is deactivated, which may be
                    # heard of a moment after the answer to that: its own answer tells.
                    continue
                return (
                    f"{', '.join(sorted(names)) or 'another node'} commands the arm on {topic}: "
                    "stop it first (a node that was killed is forgotten after 20 s)"
                )
        return ""

    def pause_servo(self, now: float) -> Motion | None:
        """Pauses Servo, so that it does not hold against the motion."""
        kinds = self._pause_kinds()
        if not kinds:
            return None
        kind = min(kinds)
        if kind not in (_SET_BOOL, _TRIGGER) or len(kinds) > 1:
            return FailedMotion(
                f"{self._pause_name} is served as {', '.join(sorted(kinds))}; expected is one "
                f"Servo, with {_SET_BOOL} (Jazzy) or {_TRIGGER} (Humble): stop the other node"
            )
        client, request = self._pause_call(kind)
        return ServiceCall(
            client,
            request,
            lambda response: "" if response.success else response.message or "refused",
            now,
            CALL_TIMEOUT,
        )

    def _pause_kinds(self) -> set[str]:
        """As what Servo serves its pause.

        Its nodes are asked: by the service's name alone, the clients of other nodes count as well.
        """
        kinds: set[str] = set()
        for name, namespace in self._node.get_node_names_and_namespaces():
            # A node may end while one looks.
            with contextlib.suppress(NodeNameNonExistentError):
                served = self._node.get_service_names_and_types_by_node(name, namespace)
                kinds.update(*(types for service, types in served if service == self._pause_name))
        return kinds

    def _pause_call(self, kind: str) -> tuple[Any, Any]:
        # Made when it is known which is right: the middleware refuses a second type for a name.
        if kind not in self._pauses:
            if kind == _SET_BOOL:
                jazzy = self._node.create_client(SetBool, "servo_node/pause_servo")
                self._pauses[kind] = (jazzy, SetBool.Request(data=True))
            else:
                humble = self._node.create_client(Trigger, "servo_node/pause_servo")
                self._pauses[kind] = (humble, Trigger.Request())
        return self._pauses[kind]
