"""An arm state as the messages that the rest of the graph reads."""

from __future__ import annotations

from geometry_msgs.msg import Pose, PoseStamped

from twist_msgs.msg import RobotState
from twist_robot.arm_state import ArmState
from twist_robot.rigid import FloatArray, quaternion_of


def state_message(state: ArmState, *, robot: str, frame: str) -> RobotState:
    """The state as `RobotState`.

    Args:
        state: the arm.
        robot: name of the robot profile.
        frame: name of the base frame.
    """
    message = RobotState()
    message.header.stamp.sec, message.header.stamp.nanosec = state.stamp
    message.header.frame_id = frame
    message.robot = robot
    message.mode = int(state.mode)
    message.errors = list(state.errors)
    message.last_motion_errors = list(state.last_motion_errors)
    _fill(message.o_t_ee, state.ee)
    _fill(message.o_t_f, state.flange)
    force, torque = message.external_wrench.force, message.external_wrench.torque
    force.x, force.y, force.z = state.force.tolist()
    torque.x, torque.y, torque.z = state.torque.tolist()
    message.contact_force = state.contact_force
    message.contact = list(state.contact)
    message.collision = list(state.collision)
    message.command_success_rate = state.success_rate
    return message


def flange_message(state: ArmState, *, frame: str) -> PoseStamped:
    """The flange's pose as the policy node's ``ee_pose``.

    Args:
        state: the arm.
        frame: name of the base frame.
    """
    message = PoseStamped()
    message.header.stamp.sec, message.header.stamp.nanosec = state.stamp
    message.header.frame_id = frame
    _fill(message.pose, state.flange)
    return message


def _fill(pose: Pose, transform: FloatArray) -> None:
    p, q = pose.position, pose.orientation
    p.x, p.y, p.z = transform[:3, 3].tolist()
    q.w, q.x, q.y, q.z = quaternion_of(transform).tolist()
