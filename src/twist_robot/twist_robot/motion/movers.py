"""Makes the mover that a node's parameters ask for, or says what is not installed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from rclpy.action import ActionClient

from twist_nodes.ros_packages import install_ros_package
from twist_robot.motion.joint_targets import arm_limits
from twist_robot.motion.motions import Motion, Mover
from twist_robot.motion.moveit_mover import MoveItMover, PlannerProcess, PlannerSettings
from twist_robot.motion.ptp_mover import PtpMover, SwitchController
from twist_robot.motion.surroundings import CALL_TIMEOUT
from twist_robot.motion.trajectory_mover import TrajectoryMover
from twist_robot.service_call import ServiceCall

if TYPE_CHECKING:
    from rclpy.node import Node

    from twist_sim.task_card import TaskCard

MakeMover = Callable[["Node", Mapping[str, Any], "TaskCard"], tuple[Mover, PlannerProcess | None]]
METHODS = ("trajectory", "moveit", "ptp")
_MOVEIT_FILES = ("moveit_config", "urdf", "srdf", "joint_limits")


class MoverError(RuntimeError):
    """A way of moving the arm is not there; the message says what to install."""


def make_mover(
    node: Node, values: Mapping[str, Any], card: TaskCard
) -> tuple[Mover, PlannerProcess | None]:
    """The mover for the parameter ``method``, and the process to be closed at the end.

    Args:
        node: owns action and service clients.
        values: parameters by name; see `twist_robot.motion.arm_motion_node.PARAMETERS`.
        card: tells the table and the tool.

    Raises:
        MoverError: messages of the driver are not installed, or a parameter is missing.
    """
    if values["method"] == "ptp":
        return _ptp(node, values), None
    action_type = _import("control_msgs.action", "FollowJointTrajectory")
    follower = TrajectoryMover(
        ActionClient(node, action_type, values["trajectory_action"]),
        action_type,
        max_velocity=values["max_velocity"],
        max_acceleration=values["max_acceleration"],
    )
    if values["method"] == "trajectory":
        return follower, None
    missing = [name for name in _MOVEIT_FILES if not values[name]]
    if missing:
        raise MoverError(
            f"method moveit needs the parameters {', '.join(missing)}; see their texts"
        )
    planner = PlannerProcess(_settings(node, values, card))
    mover = MoveItMover(
        planner,
        follower,
        limits=arm_limits(values["arm"]),
        max_velocity=values["max_velocity"],
        max_acceleration=values["max_acceleration"],
        planning_time=values["planning_time"],
    )
    return mover, planner


def _ptp(node: Node, values: Mapping[str, Any]) -> PtpMover:
    action_type = _import("franka_msgs.action", "PTPMotion")
    return PtpMover(
        ActionClient(node, action_type, values["ptp_action"]),
        action_type,
        max_velocity=values["max_velocity"],
        tolerance=values["tolerance"],
        switch_controller=(_switcher(node, values["controller"]) if values["controller"] else None),
        controller=values["controller"],
    )


def _switcher(node: Node, controller: str) -> SwitchController:
    service_type = _import("controller_manager_msgs.srv", "SwitchController")
    client = node.create_client(service_type, "controller_manager/switch_controller")

    def switch(active: bool, now: float) -> Motion:
        request = service_type.Request()
        (request.activate_controllers if active else request.deactivate_controllers).append(
            controller
        )
        request.strictness = service_type.Request.STRICT
        request.timeout.sec = 3
        word = "activated" if active else "deactivated"
        return ServiceCall(
            client,
            request,
            lambda response: "" if response.ok else f"the controller {controller} was not {word}",
            now,
            CALL_TIMEOUT,
        )

    return switch


def _settings(node: Node, values: Mapping[str, Any], card: TaskCard) -> PlannerSettings:
    table = card.table
    size = (table.upper[0] - table.lower[0], table.upper[1] - table.lower[1], table.thickness)
    centre = (
        (table.upper[0] + table.lower[0]) / 2,
        (table.upper[1] + table.lower[1]) / 2,
        # A little lower than it is: the arm is mounted on it.
        -table.thickness / 2 - 0.005,
    )
    peg = card.tool.peg
    arm = values["arm"]
    return PlannerSettings(
        **{name: values[name] for name in _MOVEIT_FILES},
        move_group=values["move_group"] or f"{arm}_arm",
        base_frame=values["base_frame"] or f"{arm}_link0",
        tip_frame=f"{arm}_link8",
        joint_states=node.resolve_topic_name("joint_states"),
        planning_time=values["planning_time"],
        velocity_scaling=values["velocity_scaling"],
        table_size=size,
        table_centre=centre,
        tool_length=0.0 if peg is None else card.tool.offset[2],
        tool_radius=0.0 if peg is None else peg.mount_radius,
        touch_links=(
            f"{arm}_link7",
            f"{arm}_link8",
            f"{arm}_hand",
            f"{arm}_leftfinger",
            f"{arm}_rightfinger",
        ),
    )


def _import(module: str, name: str) -> Any:
    try:
        return getattr(__import__(module, fromlist=[name]), name)
    except (ImportError, AttributeError) as error:
        package = module.partition(".")[0]
        raise MoverError(f"{module}.{name} is missing ({error}): {_cure(package)}") from error


def _cure(package: str) -> str:
    if package == "franka_msgs":
        return "build franka_ros2 and source its workspace; or use another method"
    return install_ros_package(package.replace("_", "-"))
