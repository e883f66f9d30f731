"""Nodes that are spun beside the caller's own work."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable

import pytest

pytest.importorskip("rclpy")

from rclpy.node import Node
from std_msgs.msg import String

from twist_nodes.spinning import spinning, spinning_node

MakeNode = Callable[..., Node]


def test_a_node_is_spun_as_long_as_the_context_lasts_and_stays(make_node: MakeNode) -> None:
    node, called = make_node(), threading.Event()
    node.create_timer(0.01, called.set)
    with spinning(node):
        assert called.wait(20.0)
        assert "tested executor" in [thread.name for thread in threading.enumerate()]
    called.clear()
    assert "tested executor" not in [thread.name for thread in threading.enumerate()]
    assert not called.wait(0.2)
    with spinning(node):
        assert called.wait(20.0)


def test_a_node_is_not_spun_any_more_after_an_error(make_node: MakeNode) -> None:
    with pytest.raises(ZeroDivisionError), spinning(make_node()):
        raise ZeroDivisionError
    assert "tested executor" not in [thread.name for thread in threading.enumerate()]


def test_an_error_in_a_callback_ends_what_the_caller_waits_for_and_is_raised(
    make_node: MakeNode,
) -> None:
    node, later = make_node(), threading.Event()

    def fail() -> None:
        failing.cancel()
        raise ValueError("a callback failed")

    def wait_for_ever() -> None:
        try:
            time.sleep(60.0)
        except KeyboardInterrupt:  # as by Ctrl-C
            # What is needed to come to an end is still served.
            assert isinstance(spun.error, ValueError)
            node.create_timer(0.01, later.set)
            assert later.wait(20.0)
            raise

    failing = node.create_timer(0.01, fail)
    with pytest.raises(ValueError, match="a callback failed"), spinning(node) as spun:
        wait_for_ever()
    assert later.is_set()


def test_beside_another_threads_work_an_error_in_a_callback_is_raised_at_the_end(
    make_node: MakeNode,
) -> None:
    node, raised = make_node(), []

    def work() -> None:
        failing = node.create_timer(0.01, lambda: [failing.cancel(), 1 / 0])
        try:
            with spinning(node) as spun:
                while spun.error is None:
                    time.sleep(0.01)
        except ZeroDivisionError as error:
            raised.append(error)

    worker = threading.Thread(target=work)
    worker.start()
    worker.join(20.0)
    assert len(raised) == 1


def test_spinning_survives_the_end_of_its_context(make_node: MakeNode) -> None:
    node = make_node()
    with spinning(node):
        node.context.try_shutdown()


def test_somebody_who_is_no_node_hears_by_one_of_his_own(make_node: MakeNode) -> None:
    talker, heard = make_node("talker"), threading.Event()
    publisher = talker.create_publisher(String, "said", 1)
    with spinning_node("listener") as node:
        assert node.get_name() == "listener"
        assert node.context is not talker.context
        node.create_subscription(String, "said", lambda _: heard.set(), 1)
        for _ in range(200):
            publisher.publish(String(data="x"))
            if heard.wait(0.1):
                break
        assert heard.is_set()
    assert not node.context.ok()


def test_the_node_of_ones_own_goes_also_after_an_error(ros_domain_id: int) -> None:
    context = contextlib.ExitStack()
    node = context.enter_context(spinning_node("listener"))

    def fail() -> None:
        with context:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not node.context.ok()
