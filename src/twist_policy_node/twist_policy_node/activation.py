"""One activation: from arming to standing still. It connects the control loop to ROS.

An `Activation` is made when the node is activated and thrown away when it is not active any more,
so nothing of one episode can leak into the next.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from builtin_interfaces.msg import Time

from twist_policy.action_gate import step_periods
from twist_policy.checkpoint import Checkpoint
from twist_policy.latent_policy import LatentPolicy
from twist_policy_node.arming import Arming, ArmingStep
from twist_policy_node.camera_info_input import CameraInfoInput
from twist_policy_node.commands import CommandShaper, ToolPose
from twist_policy_node.control_loop import ControlLoop, Phase, policy_fault
from twist_policy_node.decision import Decision, Frame
from twist_policy_node.diagnostics import StepStatistics
from twist_policy_node.gripper import Fingers, GripperControl
from twist_policy_node.gripper_client import GripperClient
from twist_policy_node.no_servo import NoServo
from twist_policy_node.parameters import gripper_limits, watchdog_limits
from twist_policy_node.robot_state_input import RobotStateInput
from twist_policy_node.robot_watchdog import RobotReading
from twist_policy_node.sensor_inputs import CameraInput, PoseInput
from twist_policy_node.servo_client import ServiceCall, ServoClient
from twist_policy_node.step_messages import BeliefMessages, step_message
from twist_policy_node.watchdogs import Fault, pose_invalid

if TYPE_CHECKING:
    from rclpy.node import Node
    from rclpy.publisher import Publisher

_COMMANDER_CHECK_PERIOD = 0.1
"""Seconds between two looks at who else commands Servo."""
_LOOK_AROUND = 4.0
"""Seconds from the node's start after which it has heard of the others. Fast DDS announces itself
several times at once and then every 3 s; a busy machine loses the first announcements."""
_IMAGINATION_MARGIN = 0.03
"""Imagining must be over this long before the next decision, seconds."""


class Equipment:
    """What configuring makes: the policy, and its connections to camera, robot, Servo and gripper.

    Args:
        node: owns the connections.
        checkpoint: verified.
        policy: warmed up.
        shaper: makes commands.
        frame_id: name of the base frame.
        servo_api: generation of MoveIt Servo; see `twist_policy_node.servo_api`.
        service_timeout: longest answer time of Servo's services, seconds.
        dry_run: whether nothing is to be sent to Servo and gripper.
        gripper: name of the gripper; see `twist_policy_node.gripper_client.GripperClient`. It is
            used only where the contract has a gripper.
        listener: gets what camera, robot and Servo say.
    """

    def __init__(
        self,
        node: Node,
        checkpoint: Checkpoint,
        policy: LatentPolicy,
        shaper: CommandShaper,
        frame_id: str,
        servo_api: str,
        service_timeout: float,
        dry_run: bool,
        gripper: str,
        listener: Any,
    ) -> None:
        contract = checkpoint.contract
        clock = time.monotonic
        self.checkpoint = checkpoint
        self.policy = policy
        self.shaper = shaper
        self.frame_id = frame_id
        self.beliefs = BeliefMessages(contract, frame_id)
        # Half of the connections would go on telling a node that was not configured with them.
        with contextlib.ExitStack() as made:
            self.gripper: GripperClient | None = None
            if contract.gripper is not None and not dry_run:
                self.gripper = GripperClient(node, gripper, contract.gripper, clock)
                made.callback(self.gripper.destroy)
            self.camera = CameraInput(
                node, contract, clock, listener.on_frame, listener.on_bad_frame
            )
            made.callback(self.camera.destroy)
            self.camera_info = CameraInfoInput(node, contract, clock)
            made.callback(self.camera_info.destroy)
            self.pose = PoseInput(
                node, shaper.tool, frame_id, clock, listener.on_pose, listener.on_bad_pose
            )
            made.callback(self.pose.destroy)
            self.robot = RobotStateInput(node, clock, listener.on_robot_state)
            made.callback(self.robot.destroy)
            self.servo: ServoClient | NoServo = (
                NoServo(clock)
                if dry_run
                else ServoClient(
                    node,
                    shaper.mode,
                    frame_id,
                    service_timeout=service_timeout,
                    clock=clock,
                    on_status=listener.on_servo_status,
                    api=servo_api,
                )
            )
            made.callback(self.servo.destroy)
            self._made = made.pop_all()

    def destroy(self) -> None:
        """Takes all connections off the graph."""
        self._made.close()


class Activation:
    """Arming, running and stopping, once.

    Args:
        node: for time and logging.
        equipment: what configuring made.
        values: parameter values by name.
        steps: publishes ~/step.
        beliefs: publishes ~/belief.
        on_change: is called when what diagnostics say has changed.
        node_started: when the node came to be, steady seconds.
    """

    def __init__(
        self,
        node: Node,
        equipment: Equipment,
        values: Mapping[str, Any],
        *,
        steps: Publisher,
        beliefs: Publisher,
        on_change: Callable[[], None],
        node_started: float,
    ) -> None:
        now = time.monotonic()
        self._node = node
        self._equipment = equipment
        self._servo = equipment.servo
        self._values = values
        self._steps = steps
        self._beliefs = beliefs
        self._on_change = on_change
        self._began = now
        self._rivals_known = node_started + _LOOK_AROUND
        self._last_commander_check = now
        self._last_imagined = 0.0
        self._imagination_cost = 0.0
        self._engaged = False
        self.statistics = StepStatistics()
        """Timing of the steps so far."""
        self.fault: Fault | None = None
        """Why the arm was stopped, or why it never started."""
        self.over = False
        """Whether the node is to be deactivated now."""
        self._step_periods = step_periods(values["speed"])
        equipment.shaper.limit_speed(1.0 / self._step_periods)
        gripper = self._gripper_control()
        self._loop = ControlLoop(
            equipment.checkpoint.contract,
            equipment.policy,
            equipment.shaper,
            watchdog_limits(values),
            clock=time.monotonic,
            validity=values["command_validity"],
            hold_time=values["stop_hold_time"],
            speed=values["speed"],
            dry_run=values["dry_run"],
            gripper=gripper,
            robot_state_required=values["robot_state_required"],
        )
        client = equipment.gripper
        self._arming: Arming | None = Arming(
            self._servo,
            max(now, self._rivals_known),
            input_timeout=values["activation_timeout"],
            status_timeout=values["service_timeout"],
            open_gripper=(
                None
                if gripper is None or client is None
                else lambda began: gripper.opening(client.send, began)
            ),
        )
        equipment.camera.decoding = True

    def _gripper_control(self) -> GripperControl | None:
        contract, client = self._equipment.checkpoint.contract, self._equipment.gripper
        if contract.gripper is None:
            return None

        def fingers() -> Fingers | None:
            return None if client is None else client.fingers

        limits = gripper_limits(self._values)
        return GripperControl(
            contract,
            limits,
            fingers,
            dry_run=self._values["dry_run"],
            step_periods=self._step_periods,
        )

    @property
    def steps(self) -> int:
        """Policy steps so far."""
        return self._loop.steps

    @property
    def running(self) -> bool:
        """Whether arming is over."""
        return self._arming is None

    def describe(self) -> str:
        """What is going on, in words."""
        if self._arming is not None:
            return f"arming: {self._arming.step.value}"
        return self._loop.phase.value

    def tick(self) -> None:
        """Time passed; to be called at the command rate."""
        now = time.monotonic()
        if now - self._last_commander_check >= _COMMANDER_CHECK_PERIOD:
            self._last_commander_check = now
            others = self._servo.other_commanders()
            if others:
                self.stop(other_commander(others))
        if self._arming is not None:
            self._arm(self._arming, now)
            return
        self._loop.watch(now)
        command = self._loop.command(now)
        if command is not None:
            self._servo.publish(command)
        self._after_event()

    def _arm(self, arming: Arming, now: float) -> None:
        if self.over or now < self._rivals_known:
            return
        missing = self._missing(now)
        if not missing and not self._servo.is_open:
            rival = find_rival(self._node, self._servo)
            if rival is not None:
                self.stop(rival)
                return
            self._servo.open()
            return  # listeners are found by and by
        fault = arming.poll(now, missing, self._servo.heard)
        self._engaged = arming.servo_asked
        if fault is None and arming.step is ArmingStep.DONE:
            frame, pose = self._equipment.camera.frame, self._equipment.pose.pose
            if frame is None or pose is None:  # cannot be: nothing is missing
                raise RuntimeError("arming ended without a frame or a pose")
            robot = self._equipment.robot.reading
            fault = self._loop.start(frame, pose, now, robot, self._servo.heard)
            if fault is None:
                self._arming = None
                self._node.get_logger().info("running")
                self._on_change()
        if fault is not None:
            self.stop(fault)

    def _missing(self, now: float) -> list[str]:
        values = self._values
        troubles = (
            self._equipment.camera.trouble(now, values["frame_age_limit"], self._began),
            self._equipment.pose.trouble(now, values["pose_age_limit"], self._began),
            self._equipment.camera_info.trouble(
                values["camera_info_limit"],
                self._began,
                required=values["camera_info_required"],
            ),
            self._robot_trouble(now),
        )
        missing = [trouble for trouble in troubles if trouble is not None] + self._servo.missing()
        if self._equipment.gripper is not None:
            missing += self._equipment.gripper.missing(now, values["gripper_silence_limit"])
        return missing

    def _robot_trouble(self, now: float) -> str | None:
        values = self._values
        if values["dry_run"]:
            return None
        return self._equipment.robot.objection(
            self._loop.robot,
            now,
            values["robot_state_age_limit"],
            required=values["robot_state_required"],
        )

    @property
    def slowed_by(self) -> str:
        """Why Servo slows the arm now; empty while it does not."""
        return self._loop.slowed_by

    def frame(self, frame: Frame, stamp: Time) -> None:
        """A usable frame arrived, with its stamp as the camera gave it."""
        if self._arming is not None:
            return
        issued = self._loop.issued
        decision = self._loop.frame(frame)
        if decision is None and self._loop.issued > issued:
            command = self._loop.command(time.monotonic())
            if command is not None:
                self._servo.publish(command)
        if decision is not None:
            clock = self._node.get_clock()
            decided = clock.now().to_msg()
            self._servo.publish(decision.command)
            goal = None if decision.gripper is None else decision.gripper.goal
            if goal is not None and self._equipment.gripper is not None:
                self._equipment.gripper.send(goal)
            latency = time.monotonic() - frame.captured
            self._steps.publish(
                step_message(
                    decision,
                    frame_id=self._equipment.frame_id,
                    image_stamp=stamp,
                    decided=decided,
                    published=clock.now().to_msg(),
                    latency=latency,
                )
            )
            self.statistics.add(latency, decision.inference_time)
            self._publish_belief(decision, stamp)
        self._after_event()

    def _publish_belief(self, decision: Decision, stamp: Time) -> None:
        """Comes after the command, and only as far as the time until the next decision allows."""
        if self._beliefs.get_subscription_count() == 0:
            return
        now = time.monotonic()
        rate = self._values["imagination_rate"]
        due = self._loop.next_due or now
        imagined = None
        if (
            rate > 0
            and now - self._last_imagined >= 0.9 / rate
            and now + self._imagination_cost < due - _IMAGINATION_MARGIN
        ):
            try:
                imagined = self._equipment.policy.imagine(self._values["imagination_horizon"])
            except Exception as error:  # it is the network that decides, too
                self.stop(policy_fault(error))
                return
            self._last_imagined = now
            cost = time.monotonic() - now
            self._imagination_cost += 0.3 * (cost - self._imagination_cost)
        self._beliefs.publish(self._equipment.beliefs.message(decision, stamp, imagined))

    def bad_frame(self, reason: str) -> None:
        """A frame arrived that cannot be used."""
        if self._arming is None:  # while arming it is said why nothing starts, and retried
            self.stop(Fault("camera_format", reason, "then activate again"))

    def pose(self, pose: ToolPose) -> None:
        """A usable pose arrived."""
        self._loop.pose(pose)
        self._after_event()

    def bad_pose(self, reason: str) -> None:
        """A pose arrived that cannot be used."""
        if self._arming is None:
            self.stop(pose_invalid(reason))

    def robot_state(self, reading: RobotReading) -> None:
        """A state of the arm arrived."""
        command = self._loop.robot_state(reading)
        if command is not None:
            self._servo.publish(command)
            self._node.get_logger().warning(
                f"gives way: the arm feels {math.hypot(*reading.force):.0f} N "
                f"(contact_yield_force {self._values['contact_yield_force']:g} N)",
                throttle_duration_sec=1.0,
            )
        self._after_event()

    def servo_status(self, code: int, message: str, now: float) -> None:
        """A status of Servo arrived."""
        self._loop.servo_status(code, message, now)
        self._after_event()

    def stop(self, fault: Fault) -> None:
        """Stops for good. The arm is held for a moment if it was moving; then `over` is set."""
        if self._arming is not None:
            if self.fault is None:
                self.fault = fault
                self._node.get_logger().error(f"not started: {fault}")
                self._on_change()
            self.over = True
            return
        self._loop.stop(fault, time.monotonic())
        self._after_event()

    def _after_event(self) -> None:
        """Reports a fault that the loop just latched."""
        if self._arming is not None:
            return
        if self._loop.fault is not None and self.fault is None:
            self.fault = self._loop.fault
            self._node.get_logger().error(f"stopped: {self.fault}")
            self._on_change()
        self.over = self._loop.phase is Phase.STOPPED

    def end(self) -> ServiceCall | None:
        """Makes the arm stand still and pauses Servo.

        A lifecycle callback cannot be continued later, and nothing else may happen before the arm
        stands. So this waits while standing still is commanded (a tenth of a second), if that was
        not done before.

        Returns:
            The pause call under way, or None if there is nothing to pause.
        """
        self._equipment.camera.decoding = False
        self._loop.finish(time.monotonic())
        while (command := self._loop.command(time.monotonic())) is not None:
            self._servo.publish(command)
            time.sleep(1.0 / self._values["command_rate"])
        servo = self._servo
        call = None
        if self._engaged and isinstance(servo, ServoClient) and servo.can_pause:
            call = servo.pause(True)
        servo.close()
        return call


def find_rival(node: Node, servo: ServoClient | NoServo) -> Fault | None:
    """Whoever else commands the arm, or could be taken for this node."""
    others = servo.other_commanders()
    if others:
        return other_commander(others)
    name = node.get_fully_qualified_name()
    names = [f"{ns.rstrip('/')}/{n}" for n, ns in node.get_node_names_and_namespaces()]
    if names.count(name) < 2:
        return None
    return Fault(
        "duplicate_node",
        f"{names.count(name)} nodes named {name} are running",
        "stop the others (one that was killed is forgotten after 20 s), then activate again",
    )


def other_commander(others: list[str]) -> Fault:
    """The fault for a second source of Servo commands."""
    return Fault(
        "other_commander",
        f"somebody else commands Servo: {', '.join(others)}",
        "stop it (a node that was killed is forgotten after 20 s), then activate again",
    )
