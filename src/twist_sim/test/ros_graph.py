"""A ROS graph of one test: nodes in one thread, in a domain of their own."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy

BEST_EFFORT = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)


class RosGraph:
    """Creates nodes and spins them until something is true."""

    def __init__(self, domain_id: int) -> None:
        self.context = rclpy.Context()
        rclpy.init(context=self.context, domain_id=domain_id)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.nodes: list[Node] = []
        self.peer = self.add(Node("peer", context=self.context))

    def add(self, node: Node) -> Node:
        self.nodes.append(node)
        self.executor.add_node(node)
        return node

    def start(self, kind: Callable[..., Node], **parameters: Any) -> Node:
        overrides = [Parameter(name, value=value) for name, value in parameters.items()]
        return self.add(kind(context=self.context, parameter_overrides=overrides))

    def listen(self, kind: Any, topic: str, qos: QoSProfile | int = 10) -> list[Any]:
        """A list that fills with the topic's messages while the graph spins."""
        messages: list[Any] = []
        self.peer.create_subscription(kind, topic, messages.append, qos)
        return messages

    def now(self) -> Any:
        return self.peer.get_clock().now()

    def spin_until(self, condition: Callable[[], object], timeout: float = 20.0) -> None:
        end = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < end, "what was awaited did not happen"
            self.executor.spin_once(timeout_sec=0.05)

    def call(self, kind: Any, name: str, request: Any) -> Any:
        client = self.peer.create_client(kind, name)
        self.spin_until(client.service_is_ready)
        future = client.call_async(request)
        self.spin_until(future.done)
        return future.result()

    def close(self) -> None:
        for node in self.nodes:
            if hasattr(node, "close"):
                node.close()
            node.destroy_node()
        self.executor.shutdown()
        rclpy.try_shutdown(context=self.context)
