"""The robot state adapter: one state for both Franka drivers, and the way out of an error.

Publishes ``robot_state`` and the flange's pose as ``ee_pose``; ``~/recover`` clears its errors.
The drivers send up to a thousand large messages a second. They are taken as bytes, and only the
newest is decoded, at the rate of this node.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from typing import Any

from geometry_msgs.msg import PoseStamped
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node
from rclpy.serialization import deserialize_message
from rclpy.task import Future
from sensor_msgs.msg import JointState

from twist_msgs.msg import RobotState
from twist_msgs.srv import RecoverRobot
from twist_nodes.endpoints import advertise, subscribe_newest
from twist_nodes.node_process import run_node
from twist_nodes.parameters import ParameterError, ParameterRow, declare_parameters
from twist_nodes.timers import steady_timer
from twist_robot.arm_state import DRIVERS, ArmState, StateError
from twist_robot.joint_watch import SILENT, JointWatch
from twist_robot.motion.motions import Motion
from twist_robot.motion.surroundings import ArmSurroundings
from twist_robot.recovery import Health, HealthCheck, Recovery, RecoveryStep, objection
from twist_robot.recovery_calls import RecoveryCalls, RecoveryPlan, interface
from twist_robot.state_messages import flange_message, state_message
from twist_robot.trajectory_setting import TrajectorySetting

NODE_NAME = "robot_state"
_RECOVERY_PERIOD = 0.02
_STATE_AGE = 1.0
"""Seconds; an older state says nothing about now."""
_WARN_PERIOD, _SILENCE_PERIOD = 2.0, 10.0
_DISCOVERY = 2.0
"""Seconds that a new node gives the driver to be heard."""

PARAMETERS = (
    ParameterRow("robot", "panda", "Name of the robot profile, passed on in the messages."),
    ParameterRow("driver", "multipanda", "Whose messages are read.", choices=tuple(DRIVERS)),
    ParameterRow("base_frame", "panda_link0", "Frame of the poses, as the policy node wants it."),
    ParameterRow("rate", 100.0, "Messages per second at most.", (10.0, 1000.0)),
    ParameterRow(
        "joint_state_limit",
        0.2,
        f"Seconds without joint states after which the state has the error {SILENT}.",
        (0.02, 2.0),
    ),
    ParameterRow("policy_node", "twist_policy_node", "Name of the policy node."),
    ParameterRow(
        "recovery_steps",
        "deactivate_controllers error_recovery activate_controllers",
        "Steps of a recovery in order, separated by spaces; empty: no recovery is offered.",
    ),
    ParameterRow(
        "recovery_kind", "service", "What error_recovery is.", choices=("service", "action")
    ),
    ParameterRow(
        "error_recovery",
        "/panda_error_recovery_service_server/error_recovery",
        "Name of the driver's error recovery.",
    ),
    ParameterRow("hardware_component", "", "ros2_control's name of the arm's hardware."),
    ParameterRow(
        "controllers",
        "joint_trajectory_controller",
        "Controllers that are active after a recovery, separated by spaces.",
    ),
    ParameterRow(
        "broadcasters",
        "",
        "Controllers that tell the arm's state, activated by activate_broadcasters, separated by "
        "spaces.",
    ),
    ParameterRow(
        "servo_controller",
        "",
        "Trajectory controller that is told to accept Servo's output; empty: none.",
    ),
    ParameterRow("controller_manager", "/controller_manager", "Name of the controller manager."),
    ParameterRow("step_timeout", 10.0, "Seconds a step of a recovery may take.", (0.5, 120.0)),
)


class RobotStateNode(Node):
    """See the module's text.

    Args:
        options: of `rclpy.node.Node`.

    Raises:
        ParameterError: a parameter is not usable.
        MissingInterface: the driver's message packages are not installed.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(NODE_NAME, **options)
        self._values = values = declare_parameters(self, PARAMETERS)
        driver = DRIVERS[values["driver"]]
        self._type = interface(
            "franka_msgs", "msg", driver.message, f"source the workspace of {driver.source} first"
        )
        self._convert = driver.convert
        self._recoveries = 0
        self._recovery: tuple[Recovery, Future] | None = None
        self._newest: bytes | None = None
        self._state: ArmState | None = None
        self._heard = 0.0
        rate = float(values["rate"])
        self._joints = JointWatch(
            round(rate * values["joint_state_limit"]), round(rate * _DISCOVERY)
        )
        self._calls: RecoveryCalls | None = None
        self._recovery_plan = plan = _plan(values)
        if plan.steps:
            surroundings = ArmSurroundings(self, values["policy_node"])
            self._calls = RecoveryCalls(self, plan, surroundings, values["step_timeout"])
        if values["servo_controller"]:
            TrajectorySetting(self, values["servo_controller"])
        self._states = advertise(self, RobotState, "robot_state", 10)
        self._poses = advertise(self, PoseStamped, "ee_pose", 10)
        subscribe_newest(self, self._type, "driver_state", self._on_bytes, raw=True)
        self._joint_states = subscribe_newest(
            self, JointState, "joint_states", lambda _: self._joints.heard(), raw=True
        )
        steady_timer(self, 1.0 / rate, self._on_timer)
        self._recovery_timer = steady_timer(self, _RECOVERY_PERIOD, self._on_recovery_timer)
        self._recovery_timer.cancel()
        # While its answer is awaited, the other callbacks have to run; a second request is refused.
        group = ReentrantCallbackGroup()
        self.create_service(RecoverRobot, "~/recover", self._on_recover, callback_group=group)
        self.get_logger().info(
            f"reads {driver.message} on {self.resolve_topic_name('driver_state')}, "
            f"recovers by: {values['recovery_steps'] or 'nothing'}"
        )

    # State --------------------------------------------------------------------------------------

    def _on_bytes(self, message: bytes) -> None:
        self._newest = message

    def _on_timer(self) -> None:
        self._joints.look()
        data, self._newest = self._newest, None
        if data is None:
            self._complain_of_silence()
            return
        try:
            state = self._convert(deserialize_message(data, self._type))
        except StateError as error:
            # Nothing is passed on: whoever needs the state finds that it has stopped.
            self.get_logger().error(
                f"the driver's state is unusable: {error}", throttle_duration_sec=_WARN_PERIOD
            )
            return
        if self._joints.silent:
            self._complain_of_joints()
            state = dataclasses.replace(state, errors=(*state.errors, SILENT))
        self._state, self._heard = state, time.monotonic()
        frame = self._values["base_frame"]
        self._states.publish(state_message(state, robot=self._values["robot"], frame=frame))
        self._poses.publish(flange_message(state, frame=frame))

    def _complain_of_silence(self) -> None:
        age = time.monotonic() - self._heard
        if self._state is not None and age > _STATE_AGE:
            self.get_logger().error(
                f"the driver's state was heard {age:.0f} s ago: after an error of the arm recover "
                "it (~/recover), else start the driver again",
                throttle_duration_sec=_SILENCE_PERIOD,
            )

    def _complain_of_joints(self) -> None:
        self.get_logger().error(
            f"no joint states on {self._joint_states.topic_name} for "
            f"{self._values['joint_state_limit']:g} s: Servo would go on without them, so the "
            "policy has to stop; is their publisher active (ros2 control list_controllers)?",
            throttle_duration_sec=_WARN_PERIOD,
        )

    def _health(self) -> Health | None:
        if self._state is None:
            return None
        return Health(self._state.mode, self._state.errors, time.monotonic() - self._heard)

    # Recovery -----------------------------------------------------------------------------------

    async def _on_recover(
        self, request: RecoverRobot.Request, response: RecoverRobot.Response
    ) -> RecoverRobot.Response:
        response.message = self._refusal()
        response.recoveries = self._recoveries
        if response.message:
            self.get_logger().error(f"no recovery: {response.message}")
            return response
        assert self._calls is not None
        self._recoveries += 1
        response.recoveries = self._recoveries
        self.get_logger().warning(
            f"recovery {self._recoveries} of robot {self._values['robot']}: {self._words()}"
        )
        now, timeout = time.monotonic(), float(self._values["step_timeout"])

        def check(now: float) -> Motion:
            return HealthCheck(self._health, now, 0.8 * timeout, _STATE_AGE)

        steps = [*self._calls.steps(), ("check the arm's state", check)]
        recovery, done = Recovery(steps, now, timeout), Future()
        self._recovery = (recovery, done)
        self._recovery_timer.reset()
        await done
        response.steps = recovery.lines
        response.success = not recovery.error
        response.message = recovery.error or f"recovered: {self._words()}"
        if response.success:
            self.get_logger().info(response.message)
        else:
            self.get_logger().error(response.message)
        return response

    def _refusal(self) -> str:
        if self._calls is None:
            return f"there is nothing to recover on robot {self._values['robot']}"
        if self._recovery is not None:
            return "a recovery is under way"
        ends_silence = self._recovery_plan.ends_silence
        return objection(self._health(), _STATE_AGE, ends_silence=ends_silence)

    def _words(self) -> str:
        health = self._health()
        return health.words if health is not None else "state unknown"

    def _on_recovery_timer(self) -> None:
        if self._recovery is None:
            self._recovery_timer.cancel()
            return
        recovery, done = self._recovery
        try:
            recovery.poll(time.monotonic())
        except Exception as error:
            # A request that is never answered would block every later one.
            recovery.error = f"{type(error).__name__}: {error}"
        if recovery.over:
            self._recovery = None
            self._recovery_timer.cancel()
            done.set_result(None)


def _plan(values: dict[str, Any]) -> RecoveryPlan:
    known = {step.value: step for step in RecoveryStep}
    words = values["recovery_steps"].split()
    unknown = [word for word in words if word not in known]
    if unknown:
        raise ParameterError(
            f"parameter recovery_steps names {unknown}; there are {', '.join(known)}"
        )
    return RecoveryPlan(
        steps=tuple(known[word] for word in words),
        error_recovery=values["error_recovery"],
        kind=values["recovery_kind"],
        hardware_component=values["hardware_component"],
        controllers=tuple(values["controllers"].split()),
        broadcasters=tuple(values["broadcasters"].split()),
        controller_manager=values["controller_manager"].rstrip("/"),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of the ``robot_state`` executable."""
    return run_node(NODE_NAME, RobotStateNode, arguments)


if __name__ == "__main__":
    raise SystemExit(main())
