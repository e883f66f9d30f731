"""The recovery steps as calls of a driver's services and actions."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lifecycle_msgs.msg import State

from twist_nodes.ros_packages import install_ros_package
from twist_robot.motion.action_motion import ActionMotion
from twist_robot.motion.motions import FailedMotion, Motion, MotionState
from twist_robot.motion.surroundings import ArmSurroundings
from twist_robot.recovery import RecoveryStep
from twist_robot.service_call import ServiceCall

if TYPE_CHECKING:
    from rclpy.node import Node

_ACTIVE = "active"
_BEST_EFFORT, _STRICT = 1, 2  # controller_manager_msgs/srv/SwitchController


@dataclass(frozen=True)
class RecoveryPlan:
    """What a robot's driver needs, in its order.

    Attributes:
        steps: in order.
        error_recovery: name of the action (``franka_ros2``) or service (``multipanda``).
        kind: ``action`` or ``service``.
        hardware_component: ros2_control's name of the arm's hardware.
        controllers: controllers that must be active afterwards.
        broadcasters: controllers that tell the arm's state, active afterwards where they exist.
        controller_manager: name of the controller manager's node.
    """

    steps: tuple[RecoveryStep, ...]
    error_recovery: str
    kind: str
    hardware_component: str
    controllers: tuple[str, ...]
    broadcasters: tuple[str, ...]
    controller_manager: str

    @property
    def ends_silence(self) -> bool:
        """Whether it makes a driver speak whose broadcasters an error has switched off."""
        return RecoveryStep.ACTIVATE_BROADCASTERS in self.steps


class MissingInterface(RuntimeError):
    """A message package of the driver is not installed."""


def interface(package: str, kind: str, name: str, cure: str) -> Any:
    """A message, service or action type that is only there beside the driver.

    Args:
        package: ROS package.
        kind: ``msg``, ``srv`` or ``action``.
        name: the type.
        cure: what to do when it is missing.

    Raises:
        MissingInterface: the package, or the type in it, is not there.
    """
    try:
        return getattr(importlib.import_module(f"{package}.{kind}"), name)
    except ImportError as error:
        raise MissingInterface(f"{package} is not installed ({error}); {cure}") from error
    except AttributeError as error:
        raise MissingInterface(
            f"the installed {package} has no {kind} {name}: it belongs to another driver; {cure}"
        ) from error


class RecoveryCalls:
    """Makes the calls of a `RecoveryPlan`.

    Args:
        node: owns the clients.
        plan: what to call.
        surroundings: who else could move the arm: nobody may.
        timeout: seconds a service may take.

    Raises:
        MissingInterface: a message package of the driver is not installed.
    """

    def __init__(
        self, node: Node, plan: RecoveryPlan, surroundings: ArmSurroundings, timeout: float
    ) -> None:
        self._plan = plan
        self._timeout = timeout
        self._node = node
        self._surroundings = surroundings
        self._starts: dict[RecoveryStep, Callable[[float], Motion]] = {}
        for step in plan.steps:
            self._starts[step] = getattr(self, f"_make_{step.value}")()

    def steps(self) -> list[tuple[str, Callable[[float], Motion]]]:
        """The policy's check, then the plan's steps, as `twist_robot.recovery.Recovery` wants."""
        named = [(step.value.replace("_", " "), self._starts[step]) for step in self._plan.steps]
        return [
            ("check that nobody commands the arm", lambda now: _NobodyElse(self._surroundings)),
            *named,
        ]

    def _make_error_recovery(self) -> Callable[[float], Motion]:
        name = self._plan.error_recovery
        cure = "source the robot driver's workspace"
        if self._plan.kind == "action":
            from rclpy.action import ActionClient

            action_type = interface("franka_msgs", "action", "ErrorRecovery", cure)
            action = ActionClient(self._node, action_type, name)

            def start(now: float) -> Motion:
                if not action.server_is_ready():
                    return FailedMotion(f"there is no action {name}; is the driver running?")
                return ActionMotion(action, action_type.Goal(), lambda result: "", now)

            return start
        service_type = interface("franka_msgs", "srv", "ErrorRecovery", cure)
        client = self._node.create_client(service_type, name)

        def explain(answer: Any) -> str:
            # The driver refuses when it has latched no error; what the arm says is checked below.
            if answer.success or answer.error == "No errors":
                return ""
            return answer.error or "refused without a reason"

        return lambda now: ServiceCall(client, service_type.Request(), explain, now, self._timeout)

    def _make_activate_hardware(self) -> Callable[[float], Motion]:
        service_type = self._manager_type("SetHardwareComponentState")
        client = self._manager_client(service_type, "set_hardware_component_state")
        request = service_type.Request()
        request.name = self._plan.hardware_component
        request.target_state.id = State.PRIMARY_STATE_ACTIVE
        request.target_state.label = _ACTIVE

        def explain(answer: Any) -> str:
            return "" if answer.ok else f"{request.name} is in state {answer.state.label!r}"

        return lambda now: ServiceCall(client, request, explain, now, self._timeout)

    def _make_deactivate_controllers(self) -> Callable[[float], Motion]:
        # The hardware's failure may have deactivated them already: best effort.
        return self._switch([], self._plan.controllers, _BEST_EFFORT)

    def _make_activate_broadcasters(self) -> Callable[[float], Motion]:
        # Those that are active already stay so; a strict switch would refuse them.
        return self._switch(self._plan.broadcasters, [], _BEST_EFFORT)

    def _make_activate_controllers(self) -> Callable[[float], Motion]:
        return self._switch(self._plan.controllers, [], _STRICT)

    def _switch(
        self, activate: Sequence[str], deactivate: Sequence[str], strictness: int
    ) -> Callable[[float], Motion]:
        service_type = self._manager_type("SwitchController")
        client = self._manager_client(service_type, "switch_controller")
        request = service_type.Request()
        request.activate_controllers = list(activate)
        request.deactivate_controllers = list(deactivate)
        request.strictness = strictness

        def explain(answer: Any) -> str:
            verb = "activated" if activate else "deactivated"
            names = ", ".join([*activate, *deactivate])
            detail = getattr(answer, "message", "")
            return (
                ""
                if answer.ok
                else f"{names} could not be {verb}"
                + (
                    f": {detail}"
                    if detail
                    else "; `ros2 control list_controllers` shows their states"
                )
            )

        return lambda now: ServiceCall(client, request, explain, now, self._timeout)

    def _manager_type(self, name: str) -> Any:
        cure = install_ros_package("controller-manager-msgs")
        return interface("controller_manager_msgs", "srv", name, cure)

    def _manager_client(self, service_type: Any, service: str) -> Any:
        return self._node.create_client(service_type, f"{self._plan.controller_manager}/{service}")


class _NobodyElse:
    """Done when it is known that nobody else could move the arm."""

    def __init__(self, surroundings: ArmSurroundings) -> None:
        self.message = ""
        self._surroundings = surroundings
        surroundings.ask_anew()

    def poll(self, now: float) -> MotionState:
        """How it stands."""
        self.message = self._surroundings.objection(now)
        if self.message:
            return MotionState.FAILED
        self.message = self._surroundings.missing(now)
        return MotionState.RUNNING if self.message else MotionState.DONE

    def cancel(self) -> None:
        """Nothing is under way."""
