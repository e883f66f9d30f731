"""The whole policy node without middleware and in virtual time, for tests of many sequences.

`OfflineNode` is `PolicyNode` itself: its lifecycle, activation, inputs, Servo client, control loop
and gate are the real ones. Only what rclpy would do for it is done here, at once and in this
thread, and the ``time`` module that it sees is a `VirtualTime`.
"""

from __future__ import annotations

import contextlib
import functools
import sys
import time as real_time
from collections.abc import Callable, Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

from builtin_interfaces.msg import Time
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

import twist_policy_node.gripper_client as gripper_client
import twist_policy_node.lifecycle_node as node_module
from twist_policy.contract import PolicyContract
from twist_policy_node.lifecycle_node import PolicyNode

SUCCESS = TransitionCallbackReturn.SUCCESS
_NO_STATE = LifecycleState("", 0)


class VirtualTime:
    """Stands for the ``time`` module: a steady clock, and a ROS clock that can be set."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.ros_offset = 1.7e9
        """ROS time minus steady time, seconds."""

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def ros_nanoseconds(self) -> int:
        return max(0, round((self.now + self.ros_offset) * 1e9))


class _Instant:
    def __init__(self, nanoseconds: int) -> None:
        self.nanoseconds = nanoseconds

    def to_msg(self) -> Time:
        seconds, rest = divmod(self.nanoseconds, 1_000_000_000)
        return Time(sec=min(seconds, 2**31 - 1), nanosec=rest)


class _Publisher:
    def __init__(self, middleware: Middleware, topic: str) -> None:
        self.topic = topic
        self._middleware = middleware

    def publish(self, message: Any) -> None:
        if self in self._middleware.senders:
            self._middleware.graph.published(self.topic, message)

    def get_subscription_count(self) -> int:
        return int(self._middleware.graph.listens(self.topic))


class Answer:
    """A future that the graph answers when it likes."""

    def __init__(self) -> None:
        self.response: Any = None
        self.error: Exception | None = None
        self.answered = False
        self.final: bool | None = None
        """Of an action: whether this is its result."""
        self._callbacks: list[Callable[[Any], None]] = []

    def answer(self, response: Any, error: Exception | None = None) -> None:
        """The answer has come."""
        self.response, self.error, self.answered = response, error, True
        for callback in self._callbacks:
            callback(self)

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        self._callbacks.append(callback)

    def done(self) -> bool:
        return self.answered

    def result(self) -> Any:
        return self.response

    def exception(self) -> Exception | None:
        return self.error


class _Client:
    def __init__(self, middleware: Middleware, kind: Any, name: str) -> None:
        self.srv_type, self.service_name, self.srv_name = kind, name, name
        self._middleware = middleware

    def service_is_ready(self) -> bool:
        return self._middleware.graph.serves(self.service_name)

    def call_async(self, request: Any) -> Answer:
        return self._middleware.graph.called(self.service_name, request)

    def remove_pending_request(self, answer: Answer) -> None:
        self._middleware.graph.forgotten(answer)


class _ActionClient:
    """Stands for rclpy.action.ActionClient."""

    def __init__(self, middleware: Middleware, _kind: Any, name: str) -> None:
        self._middleware, self._name = middleware, name

    def destroy(self) -> None:
        pass

    def server_is_ready(self) -> bool:
        return self._middleware.graph.serves(self._name)

    def send_goal_async(self, goal: Any) -> Answer:
        return self._middleware.graph.goal_sent(self._name, goal)


class _Timer:
    def __init__(self, period: float, callback: Callable[[], None]) -> None:
        self.period, self.callback, self.cancelled = period, callback, False

    def cancel(self) -> None:
        self.cancelled = True

    def reset(self) -> None:
        self.cancelled = False


class _Log:
    """Keeps nothing: a hundred thousand sequences have much to say."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_, **__: None


class Middleware(LifecycleNode):
    """What `PolicyNode` gets from rclpy. It comes before LifecycleNode in the order of classes.

    Args:
        graph: the world outside: `published`, `listens`, `serves`, `called`, `forgotten`,
            `goal_sent`, `rivals` (names of other commanders), `twins` (nodes of the same name).
        time: the clocks.
        overrides: parameters given at the start.
    """

    graph: Any
    virtual_time: VirtualTime
    overrides: dict[str, Any]

    def __init__(self, name: str, **_: Any) -> None:
        # Deliberately not LifecycleNode's: no rcl node comes to be.
        self._name = name
        self._parameter_overrides = {
            key: SimpleNamespace(value=value) for key, value in self.overrides.items()
        }
        self._declared: dict[str, Any] = {}
        self._checks: list[Callable[[Any], Any]] = []
        self.senders: list[_Publisher] = []
        self.receivers: dict[str, Callable[[Any], None]] = {}
        self.beats: list[_Timer] = []
        self.lifecycle = "unconfigured"
        self.lifecycle_errors: list[Exception] = []
        """What lifecycle callbacks raised; rclpy goes on with `on_error`."""
        self._service_change_state = SimpleNamespace(callback=None)
        self._state_machine = SimpleNamespace(current_state=(0, ""))

    def __repr__(self) -> str:
        return f"OfflineNode({self.lifecycle})"

    # The graph.

    def resolve_topic_name(self, topic: str, **_: Any) -> str:
        return topic if topic.startswith("/") else f"/{topic.replace('~', self._name)}"

    resolve_service_name = resolve_topic_name

    def create_publisher(self, _kind: Any, topic: str, *_: Any, **__: Any) -> _Publisher:
        publisher = _Publisher(self, self.resolve_topic_name(topic))
        self.senders.append(publisher)
        return publisher

    def destroy_publisher(self, publisher: _Publisher) -> bool:
        self.senders.remove(publisher)
        return True

    def create_subscription(
        self, _kind: Any, topic: str, callback: Callable[[Any], None], *_: Any, **__: Any
    ) -> Any:
        name = self.resolve_topic_name(topic)
        self.receivers[name] = callback
        return SimpleNamespace(topic_name=name)

    def destroy_subscription(self, subscription: Any) -> bool:
        return self.receivers.pop(subscription.topic_name, None) is not None

    def create_client(self, kind: Any, name: str, *_: Any, **__: Any) -> _Client:
        return _Client(self, kind, self.resolve_topic_name(name))

    def destroy_client(self, _client: _Client) -> bool:
        return True

    def create_timer(
        self, period: float, callback: Callable[[], None], *_: Any, **__: Any
    ) -> _Timer:
        timer = _Timer(period, callback)
        self.beats.append(timer)
        return timer

    def count_publishers(self, topic: str) -> int:
        own = sum(publisher.topic == topic for publisher in self.senders)
        return own + sum("servo_node" in topic for _ in self.graph.rivals)

    def count_subscribers(self, topic: str) -> int:
        return int(self.graph.listens(topic))

    def get_publishers_info_by_topic(self, topic: str, **_: Any) -> list[Any]:
        own = [self._name for publisher in self.senders if publisher.topic == topic]
        names = own + (self.graph.rivals if "servo_node" in topic else [])
        return [SimpleNamespace(node_namespace="/", node_name=name) for name in names]

    def get_node_names_and_namespaces(self) -> list[tuple[str, str]]:
        return [(name, "/") for name in (self._name, *self.graph.twins)]

    def get_fully_qualified_name(self) -> str:
        return f"/{self._name}"

    def get_name(self) -> str:
        return self._name

    def get_logger(self) -> Any:
        return _Log()

    def get_clock(self) -> Any:
        return SimpleNamespace(now=lambda: _Instant(self.virtual_time.ros_nanoseconds()))

    # Parameters.

    def declare_parameter(self, name: str, value: Any, *_: Any, **__: Any) -> None:
        given = self._parameter_overrides.get(name)
        self._declared[name] = value if given is None else given.value

    def has_parameter(self, name: str) -> bool:
        return name in self._declared

    def get_parameter(self, name: str) -> Any:
        return SimpleNamespace(value=self._declared[name])

    def add_on_set_parameters_callback(self, callback: Callable[[Any], Any]) -> None:
        self._checks.append(callback)

    def try_set(self, name: str, value: Any) -> bool:
        """What ``ros2 param set`` does."""
        change = SimpleNamespace(name=name, value=value)
        if not all(check([change]).successful for check in self._checks):
            return False
        self._declared[name] = value
        return True

    # Lifecycle.

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        return SUCCESS

    on_activate = on_deactivate = on_cleanup = on_shutdown = on_error = on_configure

    def _change(self, start: str, callback: Any, end: str) -> TransitionCallbackReturn:
        if self.lifecycle != start:
            raise RuntimeError(f"no such transition in state {self.lifecycle}")
        try:
            result = callback(_NO_STATE)
        except Exception as error:  # as rclpy does
            self.lifecycle_errors.append(error)
            result = TransitionCallbackReturn.ERROR
        if result == SUCCESS:
            self.lifecycle = end
        elif result == TransitionCallbackReturn.ERROR:
            self.on_error(_NO_STATE)
            self.lifecycle = "unconfigured"
        return result

    def trigger_configure(self) -> TransitionCallbackReturn:
        return self._change("unconfigured", self.on_configure, "inactive")

    def trigger_activate(self) -> TransitionCallbackReturn:
        return self._change("inactive", self.on_activate, "active")

    def trigger_deactivate(self) -> TransitionCallbackReturn:
        return self._change("active", self.on_deactivate, "inactive")

    def trigger_cleanup(self) -> TransitionCallbackReturn:
        return self._change("inactive", self.on_cleanup, "unconfigured")

    def trigger_shutdown(self) -> TransitionCallbackReturn:
        return self._change(self.lifecycle, self.on_shutdown, "finalized")


class OfflineNode(PolicyNode, Middleware):
    """The policy node, see this module's docstring.

    Args:
        graph: the world outside.
        time: the clocks.
        overrides: parameters given at the start.
    """

    def __init__(self, graph: Any, time: VirtualTime, overrides: dict[str, Any]) -> None:
        self.graph, self.virtual_time, self.overrides = graph, time, overrides
        super().__init__()

    def deliver(self, topic: str, message: Any) -> None:
        """A message arrives."""
        callback = self.receivers.get(topic)
        if callback is not None:
            callback(message)

    def fire(self, timer: _Timer) -> None:
        """A timer is due."""
        if not timer.cancelled:
            timer.callback()

    @property
    def tick_timer(self) -> _Timer:
        timer: Any = self._tick_timer
        return timer  # type: ignore[no-any-return]


@functools.cache
def _timed_modules() -> list[ModuleType]:
    """The node's modules that look at the time."""
    return [
        module
        for name, module in list(sys.modules.items())
        if name.startswith("twist_policy_node.") and getattr(module, "time", None) is real_time
    ]


@contextlib.contextmanager
def offline(time: VirtualTime, contract: PolicyContract, policy: Any) -> Iterator[None]:
    """Gives the node's modules virtual time, and `policy` instead of a checkpoint's.

    Args:
        time: the clocks.
        contract: the checkpoint's.
        policy: has LatentPolicy's methods.
    """
    patched: list[tuple[Any, str, Any]] = []

    def patch(module: Any, name: str, value: Any) -> None:
        patched.append((module, name, getattr(module, name)))
        setattr(module, name, value)

    for module in _timed_modules():
        patch(module, "time", time)
    checkpoint = SimpleNamespace(contract=contract, identity="offline")
    patch(gripper_client, "ActionClient", _ActionClient)
    patch(node_module, "load_checkpoint", lambda *_, **__: checkpoint)
    patch(node_module, "LatentPolicy", lambda *_, **__: policy)
    # Collecting garbage at every configuration costs more than everything else here.
    patch(node_module, "gc", SimpleNamespace(collect=lambda: 0, freeze=int, unfreeze=int))
    try:
        yield
    finally:
        for module, name, value in reversed(patched):
            setattr(module, name, value)
