"""The Servo stand-in: MoveIt Servo's interface for machines without MoveIt.

Same topics, services, time-outs, status codes and failure modes as ``moveit_servo``'s
``servo_node`` (Jazzy, 2.12), as far as the policy node can tell; the behaviour is in
`twist_sim.ros.servo_logic`.
"""

from __future__ import annotations

import time
from array import array
from typing import Any

import numpy as np
from geometry_msgs.msg import PoseStamped, TwistStamped
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_srvs.srv import SetBool
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from twist_nodes.endpoints import advertise, subscribe_newest
from twist_nodes.node_process import FatalNodeError, run_node
from twist_nodes.parameters import ParameterRow, declare_parameters
from twist_nodes.timers import steady_timer
from twist_sim.ros.cartesian import rotation_from_quaternion
from twist_sim.ros.panda_arm import PandaArm
from twist_sim.ros.servo_interface import (
    STATUS_MESSAGES,
    CommandRejected,
    CommandType,
    PoseCommand,
    ServoTick,
    StatusCode,
    TwistCommand,
)
from twist_sim.ros.servo_logic import ServoConfig, ServoLogic
from twist_sim.ros.servo_messages import ServoCommandType, ServoStatus
from twist_sim.task_card import load_task_card

NODE_NAME = "servo_node"
_WARN_PERIOD = 2.0
"""Seconds between two log lines of the same kind."""

_DEFAULTS = ServoConfig()
PARAMETERS = (
    ParameterRow(
        "task", "block_push", "Task card whose arm is moved (its joint limits and geometry)."
    ),
    ParameterRow(
        "moveit_servo.publish_period",
        _DEFAULTS.publish_period,
        "Seconds between two joint trajectories.",
        (0.002, 0.1),
    ),
    ParameterRow(
        "moveit_servo.incoming_command_timeout",
        _DEFAULTS.incoming_command_timeout,
        "Seconds after its header stamp that a command counts.",
        (0.01, 2.0),
    ),
    ParameterRow(
        "moveit_servo.scale.linear",
        _DEFAULTS.linear_scale,
        "Largest linear speed of the IK tip, m/s.",
        (0.001, 2.0),
    ),
    ParameterRow(
        "moveit_servo.scale.rotational",
        _DEFAULTS.rotational_scale,
        "Largest angular speed of the IK tip, rad/s.",
        (0.001, 3.0),
    ),
    ParameterRow(
        "moveit_servo.joint_limit_margin",
        _DEFAULTS.joint_limit_margin,
        "Distance kept from the joints' position limits, radians.",
        (0.0, 0.5),
    ),
    ParameterRow(
        "acceleration_scale",
        _DEFAULTS.acceleration_scale,
        "Factor on the Panda's joint acceleration limits for set points; 1 moves as softly as a "
        "smoothing plugin with the datasheet's limits, and tracks less closely.",
        (0.1, 10.0),
    ),
    ParameterRow(
        "moveit_servo.lower_singularity_threshold",
        _DEFAULTS.lower_singularity_threshold,
        "Condition number of the Jacobian above which an approach is slowed down.",
        (1.0, 1000.0),
    ),
    ParameterRow(
        "moveit_servo.hard_stop_singularity_threshold",
        _DEFAULTS.hard_stop_singularity_threshold,
        "Condition number of the Jacobian at which an approach is stopped.",
        (1.0, 1000.0),
    ),
    ParameterRow("moveit_servo.joint_topic", "joint_states", "Topic of the measured joint states."),
    ParameterRow(
        "moveit_servo.command_out_topic",
        "joint_trajectory_controller/joint_trajectory",
        "Topic of the joint trajectories for the robot.",
    ),
    ParameterRow(
        "joint_state_timeout",
        5.0,
        "Seconds without joint states after which the process ends (exit code 1), as MoveIt "
        "Servo's does; to be started again by whoever supervises it.",
        (0.1, 600.0),
    ),
)


class ServoStandIn(Node):
    """Takes pose or twist commands for the IK tip and sends joint trajectories."""

    def __init__(self, **node_options: Any) -> None:
        super().__init__(NODE_NAME, **node_options)
        values = declare_parameters(self, PARAMETERS)
        self._arm = PandaArm(load_task_card(values["task"]))
        config = ServoConfig(
            planning_frame=self._arm.base_frame,
            publish_period=values["moveit_servo.publish_period"],
            incoming_command_timeout=values["moveit_servo.incoming_command_timeout"],
            linear_scale=values["moveit_servo.scale.linear"],
            rotational_scale=values["moveit_servo.scale.rotational"],
            joint_limit_margin=values["moveit_servo.joint_limit_margin"],
            acceleration_scale=values["acceleration_scale"],
            lower_singularity_threshold=values["moveit_servo.lower_singularity_threshold"],
            hard_stop_singularity_threshold=values["moveit_servo.hard_stop_singularity_threshold"],
        )
        self._logic = ServoLogic(config, self._arm, self._arm.limits, self._arm.posture)
        self._joint_state_timeout = float(values["joint_state_timeout"])
        self._last_joint_state = time.monotonic()
        self._last_status = StatusCode.NO_WARNING
        self._joint_order: tuple[list[str], list[int]] | None = None

        self._joint_states = subscribe_newest(
            self, JointState, values["moveit_servo.joint_topic"], self._on_joint_state
        )
        subscribe_newest(self, PoseStamped, "~/pose_target_cmds", self._on_pose)
        subscribe_newest(self, TwistStamped, "~/delta_twist_cmds", self._on_twist)
        self._trajectories = advertise(
            self, JointTrajectory, values["moveit_servo.command_out_topic"], 10
        )
        self._statuses = advertise(self, ServoStatus, "~/status", 10)
        self.create_service(ServoCommandType, "~/switch_command_type", self._on_switch_command_type)
        self.create_service(SetBool, "~/pause_servo", self._on_pause)
        steady_timer(self, config.publish_period, self._on_timer)
        self.get_logger().info(
            f"ready: {1 / config.publish_period:.0f} Hz, commands count for "
            f"{config.incoming_command_timeout} s after their stamp; choose a command type with "
            "~/switch_command_type"
        )

    def _seconds(self) -> float:
        return self.get_clock().now().nanoseconds * 1e-9

    def _warn(self, message: str) -> None:
        self.get_logger().warning(message, throttle_duration_sec=_WARN_PERIOD)

    def _on_joint_state(self, message: JointState) -> None:
        names = message.name
        if self._joint_order is None or self._joint_order[0] != names:
            missing = [name for name in self._arm.joint_names if name not in names]
            if missing:
                self._warn(
                    f"joint states lack {missing} (found {list(names)}); check the topic and the "
                    "robot's joint names"
                )
                return
            self._joint_order = (list(names), [names.index(n) for n in self._arm.joint_names])
        if len(message.position) != len(names):
            self._warn(
                f"joint states name {len(names)} joints but hold {len(message.position)} positions"
            )
            return
        positions = np.array(message.position, dtype=np.float64)[self._joint_order[1]]
        try:
            self._logic.update_joint_state(positions)
        except CommandRejected as error:
            self._warn(str(error))
            return
        self._last_joint_state = time.monotonic()

    def _on_pose(self, message: PoseStamped) -> None:
        p, q = message.pose.position, message.pose.orientation
        try:
            rotation = rotation_from_quaternion(q.x, q.y, q.z, q.w)
        except ValueError as error:
            rotation = np.full((3, 3), np.nan)
            self._warn(str(error))
        self._accept(
            message.header.frame_id,
            PoseCommand(_stamp(message), np.array([p.x, p.y, p.z]), rotation),
        )

    def _on_twist(self, message: TwistStamped) -> None:
        v, w = message.twist.linear, message.twist.angular
        self._accept(
            message.header.frame_id,
            TwistCommand(_stamp(message), np.array([v.x, v.y, v.z]), np.array([w.x, w.y, w.z])),
        )

    def _accept(self, frame: str, command: PoseCommand | TwistCommand) -> None:
        try:
            self._logic.accept(frame, command)
        except CommandRejected as error:
            self._warn(str(error))

    def _on_switch_command_type(
        self, request: ServoCommandType.Request, response: ServoCommandType.Response
    ) -> ServoCommandType.Response:
        response.success = self._logic.switch_command_type(request.command_type)
        if response.success:
            self.get_logger().info(f"command type: {CommandType(request.command_type).name}")
        else:
            self.get_logger().error(
                f"command type {request.command_type} is not offered; choose TWIST (1) or POSE (2)"
            )
        return response

    def _on_pause(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        self._logic.set_paused(request.data)
        response.success = True
        response.message = "Servo paused" if request.data else "Servo unpaused"
        self.get_logger().info(response.message)
        return response

    def _on_timer(self) -> None:
        if time.monotonic() - self._last_joint_state > self._joint_state_timeout:
            raise FatalNodeError(
                f"no valid joint state for {self._joint_state_timeout} s on "
                f"{self._joint_states.topic_name}: is the robot running?"
            )
        tick = self._logic.tick(self._seconds())
        if tick is None:
            return
        self._statuses.publish(
            ServoStatus(code=int(tick.status), message=STATUS_MESSAGES[tick.status])
        )
        if tick.status != self._last_status:
            self._last_status = tick.status
            if tick.status != StatusCode.NO_WARNING:
                self._warn(STATUS_MESSAGES[tick.status])
        self._send(tick)

    def _send(self, tick: ServoTick) -> None:
        if tick.positions is None or tick.velocities is None:
            return
        point = JointTrajectoryPoint()
        point.positions = array("d", tick.positions.tobytes())
        point.velocities = array("d", tick.velocities.tobytes())
        point.time_from_start.nanosec = round(self._logic.config.publish_period * 1e9)
        message = JointTrajectory()
        message.header.stamp = self.get_clock().now().to_msg()
        message.header.frame_id = self._logic.config.planning_frame
        message.joint_names = self._arm.joint_names
        message.points = [point]
        self._trajectories.publish(message)


def _stamp(message: PoseStamped | TwistStamped) -> float:
    return message.header.stamp.sec + message.header.stamp.nanosec * 1e-9


def main(arguments: list[str] | None = None) -> int:
    """Entry point of the ``servo_stand_in`` executable."""
    return run_node(NODE_NAME, ServoStandIn, arguments)


if __name__ == "__main__":
    raise SystemExit(main())
