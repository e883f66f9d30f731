"""Subscriptions and publishers without rclpy's default event handlers.

rclpy gives every subscription and publisher two handlers for endpoints that do not match, and its
executor touches each of them on every wake-up. With some 300 wake-ups a second they took a tenth
of a core. What they would tell is not lost: a subscription to the newest best-effort message fits
every publisher, and the inputs tell by themselves what they do not hear.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
from rclpy.qos import QoSProfile, ReliabilityPolicy

if TYPE_CHECKING:
    from rclpy.node import Node
    from rclpy.publisher import Publisher
    from rclpy.subscription import Subscription

NEWEST = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
"""Fits reliable and best-effort publishers, and never queues old messages."""


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


def advertise(node: Node, kind: Any, topic: str, qos: QoSProfile | int) -> Publisher:
    """A publisher of `kind`."""
    return node.create_publisher(
        kind, topic, qos, event_callbacks=PublisherEventCallbacks(use_default_callbacks=False)
    )
