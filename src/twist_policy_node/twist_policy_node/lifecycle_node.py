"""The policy node: a managed node that looks, decides and commands Servo.

This file holds the lifecycle and the diagnostics; `twist_policy_node.activation` holds what happens
while active, `twist_policy_node.control_loop` decides and knows when to stop. Everything runs in
one thread, on a single-threaded executor, and no callback waits for another.
"""

from __future__ import annotations

import functools
import gc
import time
import traceback
from collections.abc import Callable
from typing import Any, TypeVar

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from twist_msgs.msg import Belief, PolicyStep
from twist_nodes.endpoints import advertise
from twist_nodes.timers import steady_timer
from twist_policy.action_gate import step_periods
from twist_policy.checkpoint import CheckpointError, load_checkpoint
from twist_policy.latent_policy import LatentPolicy, PolicyError
from twist_policy_node.activation import Activation, Equipment, find_rival
from twist_policy_node.arming import CallState
from twist_policy_node.commands import CommandMode, CommandShaper, ToolPose
from twist_policy_node.decision import Frame
from twist_policy_node.diagnostics import (
    Health,
    diagnostic_message,
    input_health,
    policy_health,
)
from twist_policy_node.gripper_client import GripperClient
from twist_policy_node.parameter_declaration import NodeParameters
from twist_policy_node.parameters import ParameterError, check_together
from twist_policy_node.robot_watchdog import RobotReading
from twist_policy_node.servo_client import ServiceCall
from twist_policy_node.watchdogs import Fault

NODE_NAME = "twist_policy_node"

_Callback = TypeVar("_Callback", bound=Callable[..., None])


def _stops_on_error(callback: _Callback) -> _Callback:
    """Any exception in a callback stops the arm; it never ends the process with the arm moving."""

    @functools.wraps(callback)
    def guarded(self: PolicyNode, *arguments: Any) -> None:
        try:
            callback(self, *arguments)
        except Exception as error:
            self.get_logger().error(traceback.format_exc())
            self.stop_after_error(error)

    return guarded  # type: ignore[return-value]


class PolicyNode(LifecycleNode):
    """See the package's README.

    Args:
        options: of `rclpy.node.Node`.

    Raises:
        ParameterError: a parameter is not usable.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(NODE_NAME, **options)
        self._started = time.monotonic()
        self._activation: Activation | None = None
        self._equipment: Equipment | None = None
        self._fault: Fault | None = None
        self._pause_call: ServiceCall | None = None
        self._table = NodeParameters(self, lambda: self._activation is not None)
        self._values = values = self._table.values()
        self._steps = advertise(self, PolicyStep, "~/step", 10)
        self._beliefs = advertise(self, Belief, "~/belief", 10)
        self._diagnostics = advertise(self, DiagnosticArray, "/diagnostics", 10)
        self._tick_timer = steady_timer(self, 1.0 / values["command_rate"], self._on_tick)
        self._tick_timer.cancel()
        steady_timer(self, 1.0 / values["diagnostics_rate"], self._on_diagnostics_timer)
        self._refuse_impossible_transitions()
        if values["autostart"]:
            self._autostart_timer = steady_timer(self, 0.0, self._on_autostart)

    def _refuse_impossible_transitions(self) -> None:
        # rclpy raises out of the executor, which ends the process, when it is asked for a
        # transition that the present state does not have (deactivate, sent to a node that just
        # stopped by itself).
        service = self._service_change_state
        change_state = service.callback

        def guarded(request: Any, response: Any) -> Any:
            try:
                return change_state(request, response)
            except Exception as error:
                self.get_logger().warning(
                    f"transition {request.transition.id} {request.transition.label!r} is not "
                    f"possible in state {self._state_machine.current_state[1]!r} ({error})"
                )
                response.success = False
                return response

        service.callback = guarded

    # Lifecycle ---------------------------------------------------------------------------------

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Loads, verifies and warms up the checkpoint; nothing moves, Servo is not touched."""
        try:
            self._equipment = self._configure()
        except (CheckpointError, ParameterError, PolicyError) as error:
            return self._refuse(Fault("configure", str(error), "then configure again"))
        except Exception as error:
            self.get_logger().error(traceback.format_exc())
            return self._refuse(
                Fault("configure", f"{type(error).__name__}: {error}", "see the log")
            )
        self._fault = None
        self._publish_diagnostics()
        return super().on_configure(state)

    def _configure(self) -> Equipment:
        values = self._values = self._table.values()
        if not values["checkpoint"]:
            raise ParameterError(
                "parameter checkpoint is empty; set it to a checkpoint's folder, such as "
                "models/block_push"
            )
        checkpoint = load_checkpoint(values["checkpoint"], expected_task=values["task"] or None)
        contract = checkpoint.contract
        check_together(values, contract)
        policy = LatentPolicy(checkpoint, threads=values["inference_threads"])
        policy.warm_up(values["warm_up_steps"])
        shaper = CommandShaper(
            contract,
            CommandMode(values["command_mode"]),
            position_gain=values["twist_position_gain"],
            orientation_gain=values["twist_orientation_gain"],
            lag=values["twist_lag"],
        )
        equipment = Equipment(
            self,
            checkpoint,
            policy,
            shaper,
            values["base_frame"] or contract.base_frame,
            values["servo_api"],
            values["service_timeout"],
            values["dry_run"],
            values["gripper"],
            self,
        )
        # What was loaded stays: keeping it out of garbage collection avoids pauses while moving.
        gc.collect()
        gc.freeze()
        self.get_logger().info(
            f"configured {values['checkpoint_label'] or checkpoint.identity}: "
            f"{1 / contract.control_period:.0f} Hz, steps of at "
            f"most {contract.action_bound} m, {shaper.mode.value} commands, camera "
            f"{equipment.camera.topic}" + (", dry run: nothing is commanded" * values["dry_run"])
        )
        return equipment

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Begins arming; motion starts once camera, robot and Servo are there."""
        try:
            if self._equipment is None:
                raise RuntimeError("the node is inactive but not configured")
            fault = find_rival(self, self._equipment.servo)
            if fault is not None:
                return self._refuse(fault)
            self._values = self._table.values()
            check_together(self._values, self._equipment.checkpoint.contract)
            self._fault = None
            self._abandon_pause()  # repeated now, it would pause Servo under the moving arm
            self._activation = Activation(
                self,
                self._equipment,
                self._values,
                steps=self._steps,
                beliefs=self._beliefs,
                on_change=self._publish_diagnostics,
                node_started=self._started,
            )
        except Exception as error:
            self.get_logger().error(traceback.format_exc())
            return self._refuse(
                Fault("activate", f"{type(error).__name__}: {error}", "see the log")
            )
        self._tick_timer.reset()
        self.get_logger().info("arming")
        self._publish_diagnostics()
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stops the arm, pauses Servo and stays so until somebody activates again."""
        self.stand_still()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Forgets the checkpoint."""
        self._release()
        self._fault = None
        self._publish_diagnostics()
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stops the arm from any state."""
        self.stand_still()
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stops the arm; the node is unconfigured afterwards."""
        self.stand_still()
        self._release()
        return TransitionCallbackReturn.SUCCESS

    def _refuse(self, fault: Fault) -> TransitionCallbackReturn:
        self._fault = fault
        self.get_logger().error(str(fault))
        self._publish_diagnostics()
        return TransitionCallbackReturn.FAILURE

    def _release(self) -> None:
        self._abandon_pause()
        if self._equipment is not None:
            self._equipment.destroy()
            self._equipment = None
            gc.unfreeze()

    def stand_still(self) -> None:
        """Ends the activation: standing still is commanded, then Servo is paused."""
        activation, self._activation = self._activation, None
        if activation is None:
            return
        self._tick_timer.cancel()
        self._pause_call = activation.end()
        self._fault = activation.fault
        self.get_logger().info(f"inactive after {activation.steps} steps")
        self._publish_diagnostics()

    @property
    def pausing(self) -> bool:
        """Whether Servo still has to confirm that it is paused."""
        if self._pause_call is None:
            return False
        state = self._pause_call.poll(time.monotonic())
        if state is CallState.PENDING:
            return True
        if state is CallState.FAILED:
            self.get_logger().error(
                f"Servo did not confirm that it is paused: {self._pause_call.message}"
            )
        self._pause_call = None
        return False

    def _abandon_pause(self) -> None:
        if self._pause_call is not None:
            self._pause_call.abandon()
            self._pause_call = None

    def _on_autostart(self) -> None:
        self._autostart_timer.cancel()
        if self.trigger_configure() == TransitionCallbackReturn.SUCCESS:
            self.trigger_activate()

    # Events ------------------------------------------------------------------------------------

    @_stops_on_error
    def _on_tick(self) -> None:
        if self._activation is not None:
            self._activation.tick()
            self._deactivate_if_over()

    @_stops_on_error
    def on_frame(self, frame: Frame, stamp: Time) -> None:
        """A usable frame arrived."""
        if self._activation is not None:
            self._activation.frame(frame, stamp)

    @_stops_on_error
    def on_bad_frame(self, reason: str) -> None:
        """An unusable frame arrived."""
        if self._activation is not None:
            self._activation.bad_frame(reason)

    @_stops_on_error
    def on_pose(self, pose: ToolPose) -> None:
        """A usable pose arrived."""
        if self._activation is not None:
            self._activation.pose(pose)

    @_stops_on_error
    def on_bad_pose(self, reason: str) -> None:
        """An unusable pose arrived."""
        if self._activation is not None:
            self._activation.bad_pose(reason)

    @_stops_on_error
    def on_robot_state(self, reading: RobotReading) -> None:
        """A state of the arm arrived."""
        if self._activation is not None:
            self._activation.robot_state(reading)

    @_stops_on_error
    def on_servo_status(self, code: int, message: str, now: float) -> None:
        """A status of Servo arrived."""
        if self._activation is not None:
            self._activation.servo_status(code, message, now)

    def stop_after_error(self, error: Exception) -> None:
        """Stops the arm because a callback failed."""
        if self._activation is not None:
            self._activation.stop(
                Fault(
                    "internal_error",
                    f"the policy node failed: {type(error).__name__}: {error}",
                    "report it with the log, then activate again",
                )
            )

    def _deactivate_if_over(self) -> None:
        if self._activation is not None and self._activation.over:
            self.trigger_deactivate()

    # Diagnostics -------------------------------------------------------------------------------

    @_stops_on_error
    def _on_diagnostics_timer(self) -> None:
        _ = self.pausing  # logs a pause that was not confirmed
        self._publish_diagnostics()

    def _publish_diagnostics(self) -> None:
        activation, equipment = self._activation, self._equipment
        now = time.monotonic()
        fault = activation.fault if activation is not None else self._fault
        if activation is None:
            state, values = ("inactive" if equipment is not None else "unconfigured"), {}
        else:
            state = activation.describe()
            values = {"steps": str(activation.steps)} | activation.statistics.values()
        values |= {"speed": f"{1 / step_periods(self._values['speed']):g}"}
        if self._values["dry_run"]:
            values |= {"dry_run": "true: nothing is commanded"}
        health = [policy_health(state, fault, values)]
        if equipment is not None:
            moving = activation is not None and activation.running
            camera, pose, servo = equipment.camera, equipment.pose, equipment.servo
            camera_trouble = camera.trouble(now, self._values["frame_age_limit"])
            pose_trouble = pose.trouble(now, self._values["pose_age_limit"])
            servo_trouble = "; ".join(servo.missing()) if activation is not None else None
            if not servo_trouble and activation is not None and activation.slowed_by:
                servo_trouble = f"Servo slows the arm: {activation.slowed_by}"
            servo_age = None if servo.heard is None else now - servo.heard
            arm_trouble = equipment.robot.said(now, self._values["robot_state_age_limit"])
            health += [
                input_health("camera", camera_trouble, needed=moving, age=camera.age(now)),
                input_health("robot", pose_trouble, needed=moving, age=pose.age(now)),
                input_health("servo", servo_trouble or None, needed=moving, age=servo_age),
                input_health("arm", arm_trouble, needed=moving, age=equipment.robot.age(now)),
            ]
            if equipment.gripper is not None:
                health.append(self._gripper_health(equipment.gripper, now, needed=moving))
        identity = ""
        if equipment is not None:
            identity = self._values["checkpoint_label"] or equipment.checkpoint.identity
        message = diagnostic_message(self.get_name(), identity, health)
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)

    def _gripper_health(self, gripper: GripperClient, now: float, *, needed: bool) -> Health:
        trouble = "; ".join(gripper.missing(now, self._values["gripper_silence_limit"]))
        age = None if gripper.fingers is None else now - gripper.fingers.received
        return input_health("gripper", trouble or None, needed=needed, age=age)
