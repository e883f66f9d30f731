"""Subscriptions to the newest message, and publishers, without rclpy's default event handlers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("rclpy")

from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from std_msgs.msg import Empty, String

from twist_nodes.endpoints import LATCHED, NEWEST, advertise, subscribe_newest, unheard
from twist_nodes.spinning import spinning, spinning_node

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


def _until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 20.0
    while not condition():
        assert time.monotonic() < deadline, "the awaited did not come about"
        time.sleep(0.01)


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


@pytest.mark.parametrize(
    ("kind", "publisher_qos", "expected"),
    [
        (String, QoSProfile(depth=1), 0),
        (String, QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT), 1),
        (Empty, QoSProfile(depth=1), 1),
    ],
)
def test_publishers_that_a_subscription_cannot_hear_are_counted(
    make_node: MakeNode, kind: Any, publisher_qos: QoSProfile, expected: int
) -> None:
    node = make_node()
    subscription = node.create_subscription(String, "said", print, QoSProfile(depth=1))
    # A participant of its own: one alone cannot have two types of a topic.
    with spinning_node("speaker", node.context.get_domain_id()) as speaker:
        advertise(speaker, kind, "said", publisher_qos)
        _until(lambda: node.count_publishers("/said") and unheard(node, subscription) == expected)


def test_the_executor_has_no_event_handlers_to_look_at(make_node: MakeNode) -> None:
    node = make_node()
    assert subscribe_newest(node, String, "said", print).event_handlers == []
    assert advertise(node, String, "said", 1).event_handlers == []
