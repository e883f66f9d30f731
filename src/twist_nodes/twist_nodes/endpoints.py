"""Subscriptions and publishers without rclpy's default event handlers, and their QoS.

rclpy gives every subscription and publisher two handlers for endpoints that do not match, and its
executor touches each of them on every wake-up. In the policy node, with some 300 wake-ups a second,
they took a tenth of a core, in the recorder a fifth. What they would tell is not lost: a
subscription to the newest best-effort message fits every publisher, whoever needs an input tells
what it does not hear, and a subscriber that does not fit a publisher is told so on its own side.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

if TYPE_CHECKING:
    from rclpy.node import Node
    from rclpy.publisher import Publisher
    from rclpy.subscription import Subscription

NEWEST = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
"""Fits reliable and best-effort publishers, and never queues old messages."""
LATCHED = QoSProfile(
    depth=1,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)
"""The last message also reaches who subscribes after it was sent."""


def subscribe_newest(
    node: Node, kind: Any, topic: str, callback: Callable[[Any], None], *, raw: bool = False
) -> Subscription:
    """Calls `callback` with the newest message of type `kind`; with its bytes when `raw`."""
    return node.create_subscription(
        kind,
        topic,
        callback,
        NEWEST,
        event_callbacks=SubscriptionEventCallbacks(use_default_callbacks=False),
        raw=raw,
    )


def unheard(node: Node, subscription: Subscription) -> int:
    """How many publishers of its topic a subscription does not hear: another type, or QoS.

    A publisher that is just being discovered counts as well, for a moment.
    """
    publishers = node.count_publishers(subscription.topic_name)
    return max(0, publishers - subscription.get_publisher_count())


def advertise(node: Node, kind: Any, topic: str, qos: QoSProfile | int) -> Publisher:
    """A publisher of `kind` on `topic`."""
    return node.create_publisher(
        kind, topic, qos, event_callbacks=PublisherEventCallbacks(use_default_callbacks=False)
    )
