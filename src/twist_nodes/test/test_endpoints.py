"""Subscriptions to the newest message, and publishers, without rclpy's default event handlers."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("rclpy")

from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from std_msgs.msg import String

from twist_nodes.endpoints import LATCHED, NEWEST, advertise, subscribe_newest
from twist_nodes.spinning import spinning

MakeNode = Callable[..., Node]


class Ear:
    """Keeps the last message and tells that one came."""

    def __init__(self) -> None:
        self.message: Any = None
        self._came = threading.Event()

    def __call__(self, message: Any) -> None:
        self.message = message
        self._came.set()

    def hears(self, again: Callable[[], None] = lambda: None) -> bool:
        """Whether something comes within some seconds of calling `again`."""
        for _ in range(200):
            again()
            if self._came.wait(0.1):
                return True
        return False


@pytest.mark.parametrize("reliability", [ReliabilityPolicy.RELIABLE, ReliabilityPolicy.BEST_EFFORT])
def test_the_newest_message_comes_from_any_publisher(
    make_node: MakeNode, reliability: ReliabilityPolicy
) -> None:
    node, ear = make_node(), Ear()
    subscribe_newest(node, String, "said", ear)
    publisher = advertise(node, String, "said", QoSProfile(depth=1, reliability=reliability))
    with spinning(node):
        assert ear.hears(lambda: publisher.publish(String(data="hello")))
    assert ear.message.data == "hello"


def test_a_raw_message_comes_as_its_bytes(make_node: MakeNode) -> None:
    node, ear = make_node(), Ear()
    subscribe_newest(node, String, "said", ear, raw=True)
    publisher = advertise(node, String, "said", 10)
    with spinning(node):
        assert ear.hears(lambda: publisher.publish(String(data="hello")))
    assert isinstance(ear.message, bytes)
    assert deserialize_message(ear.message, String).data == "hello"


def test_a_slow_reader_gets_the_newest_message_only(make_node: MakeNode) -> None:
    assert NEWEST.depth == 1
    node, ear = make_node(), Ear()
    subscription = subscribe_newest(node, String, "said", ear)
    publisher = advertise(node, String, "said", 10)
    with spinning(node):
        assert ear.hears(lambda: publisher.publish(String(data="first")))
    for number in range(5):
        publisher.publish(String(data=str(number)))
    with subscription.handle:
        taken = subscription.handle.take_message(String, False)
        assert taken[0].data == "4"
        assert subscription.handle.take_message(String, False) is None


def test_a_latched_message_reaches_who_comes_later(make_node: MakeNode) -> None:
    node, ear = make_node(), Ear()
    advertise(node, String, "said", LATCHED).publish(String(data="before"))
    node.create_subscription(String, "said", ear, LATCHED)
    with spinning(node):
        assert ear.hears()
    assert ear.message.data == "before"


def test_the_executor_has_no_event_handlers_to_look_at(make_node: MakeNode) -> None:
    node = make_node()
    assert subscribe_newest(node, String, "said", print).event_handlers == []
    assert advertise(node, String, "said", 1).event_handlers == []
