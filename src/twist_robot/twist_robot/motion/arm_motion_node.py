"""The arm's motions outside of an episode: home, and the reset of a trial on the lab's robot.

``~/home`` and ``~/reset`` answer when the arm stands at its target by its own joint states, or
with the reason why it does not. ``~/reset`` has the twin's interface; a person puts the objects to
where its answer says. ``~/stop`` ends a motion under way.

One thread does it all, and no callback waits: a motion is polled by a timer, and the answers are
coroutines. So no request queues behind a motion (it is refused at once), a stop is served at any
moment, and no answer of an action is lost between two threads.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import rclpy
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.executors import SingleThreadedExecutor
from rclpy.logging import get_logger
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from rclpy.task import Future
from sensor_msgs.msg import JointState
from std_srvs.srv import Trigger

from twist_msgs.srv import ResetTrial
from twist_nodes.end_signals import on_end
from twist_nodes.endpoints import subscribe_newest
from twist_nodes.parameters import ParameterError, ParameterRow, declare_parameters
from twist_nodes.timers import steady_timer
from twist_robot.motion.arrival import JointReading
from twist_robot.motion.homing import Homing, HomingRules, HomingStep
from twist_robot.motion.joint_targets import ARMS, HomeKinematics, TargetError, ready_target
from twist_robot.motion.movers import METHODS, MakeMover, MoverError, make_mover
from twist_robot.motion.stop_hold import StopHold
from twist_robot.motion.surroundings import ArmSurroundings
from twist_sim.layout import draw_layout
from twist_sim.task_card import TaskCardError, load_task_card

NODE_NAME = "arm_motion"
_POLL_PERIOD = 0.02
_SPIN_TIMEOUT = 0.1
_RULES = HomingRules()
END_GRACE = 8.0
"""Seconds after a signal in which a motion is cancelled, and is known to have ended.

More than homing waits for a cancelled motion (5 s), so that its answer is sent; less than the
launch's time until the next signal (`stop_grace` in twist_bringup's ``lab_roles``, 10 s).
"""

PARAMETERS = (
    ParameterRow("task", "block_push", "Task card: a shipped one's name, or a YAML file's path."),
    ParameterRow("arm", "panda", "Whose joint names and limits count.", choices=ARMS),
    ParameterRow(
        "method",
        "trajectory",
        "How the arm is moved: trajectory (straight in joint space, by the trajectory controller), "
        "moveit (planned around table and tool), or ptp (the FR3 driver's own motion).",
        choices=METHODS,
    ),
    ParameterRow(
        "target", "home", "home of the task, or the arm's ready posture.", choices=("home", "ready")
    ),
    ParameterRow(
        "trajectory_action",
        "joint_trajectory_controller/follow_joint_trajectory",
        "FollowJointTrajectory action of the arm's controller.",
    ),
    ParameterRow("ptp_action", "action_server/ptp_motion", "PTPMotion action of the FR3 driver."),
    ParameterRow(
        "controller",
        "",
        "Controller that is deactivated during a ptp motion and activated after it; empty: none.",
    ),
    ParameterRow("policy_node", "twist_policy_node", "Name of the policy node."),
    ParameterRow("max_velocity", 0.3, "Largest joint velocity, rad/s.", (0.01, 1.0)),
    ParameterRow("max_acceleration", 0.5, "Largest joint acceleration, rad/s^2.", (0.05, 5.0)),
    ParameterRow("attempts", _RULES.attempts, "How often a motion is tried.", (1, 10)),
    ParameterRow(
        "tolerance", _RULES.tolerance, "Radians per joint within which it arrived.", (0.001, 0.1)
    ),
    ParameterRow("motion_timeout", _RULES.motion_timeout, "Seconds per motion.", (1.0, 600.0)),
    ParameterRow(
        "arrival_timeout", _RULES.arrival_timeout, "Seconds until the arm stands.", (0.5, 60.0)
    ),
    ParameterRow(
        "input_timeout",
        _RULES.input_timeout,
        "Seconds until joint states and the motion server are there; MoveIt needs some ten.",
        (0.5, 120.0),
    ),
    ParameterRow("lift", _RULES.lift, "First go straight up to the home height."),
    ParameterRow("moveit_config", "", "MoveIt configuration package, for method moveit."),
    ParameterRow(
        "urdf",
        "",
        "The robot, for method moveit: package/file of its share folder, then xacro arguments "
        "(name:=value), separated by spaces.",
    ),
    ParameterRow("srdf", "", "Its planning groups, for method moveit; written like urdf."),
    ParameterRow("joint_limits", "", "YAML file with joint limits, for method moveit."),
    ParameterRow("move_group", "", "Planning group; empty: <arm>_arm."),
    ParameterRow("base_frame", "", "Frame of the table; empty: <arm>_link0."),
    ParameterRow("planning_time", 5.0, "Seconds MoveIt may plan.", (0.1, 60.0)),
    ParameterRow(
        "velocity_scaling", 0.1, "Share of the arm's limits that MoveIt plans with.", (0.01, 1.0)
    ),
)


class ArmMotionNode(Node):
    """Serves ``~/home``, ``~/reset`` and ``~/stop``; to be spun by one thread.

    Args:
        make: makes the mover; replaced in tests.
        options: of `rclpy.node.Node`.

    Raises:
        ParameterError: a parameter is not usable.
        TaskCardError: the task card is unknown or wrong.
        TargetError: the target is out of the arm's reach.
        MoverError: what the method needs is not installed.
    """

    def __init__(self, make: MakeMover = make_mover, **options: Any) -> None:
        super().__init__(NODE_NAME, **options)
        values = declare_parameters(self, PARAMETERS)
        self._card = load_task_card(values["task"])
        kinematics = HomeKinematics(self._card, values["arm"])
        self._lifted = kinematics.lifted
        self._target = (
            ready_target(values["arm"]) if values["target"] == "ready" else kinematics.home
        )
        self._rules = HomingRules(
            attempts=values["attempts"],
            tolerance=values["tolerance"],
            motion_timeout=values["motion_timeout"],
            arrival_timeout=values["arrival_timeout"],
            input_timeout=values["input_timeout"],
            lift=values["lift"],
        )
        self._reading: JointReading | None = None
        self._homing: Homing | None = None
        self._step: HomingStep | None = None
        self._over = Future()
        self._hold = StopHold()
        self._released = Future()
        self._owed = 0
        self._ending = ""
        self._mover, self._planner = make(self, values, self._card)
        self._surroundings = ArmSurroundings(self, values["policy_node"])
        subscribe_newest(self, JointState, "joint_states", self._on_joint_state)
        self._timer = steady_timer(self, _POLL_PERIOD, self._on_timer)
        # Their answers are waited for, while the other callbacks have to run.
        group = ReentrantCallbackGroup()
        self.create_service(Trigger, "~/home", self._on_home, callback_group=group)
        self.create_service(ResetTrial, "~/reset", self._on_reset, callback_group=group)
        self.create_service(Trigger, "~/stop", self._on_stop, callback_group=group)
        self.get_logger().info(
            f"ready: {values['arm']} to {self._target.name} by {values['method']}, at most "
            f"{values['max_velocity']:g} rad/s"
        )

    @property
    def busy(self) -> bool:
        """Whether the arm moves or may still move, or somebody waits for an answer."""
        return self._owed > 0 or bool(self.unsettled())

    def unsettled(self) -> str:
        """What a goal that was given up may still do, with the cure; empty when nothing.

        It is cancelled again and again by that: not to be asked while a motion is wanted.
        """
        try:
            return self._mover.unsettled(time.monotonic())
        except Exception as error:  # would end this process, and the cancelling with it
            return f"{type(error).__name__}: {error}; use the emergency stop if the arm moves"

    def end(self, reason: str) -> None:
        """Cancels a motion under way and refuses new ones; signal-safe."""
        self._ending = reason

    def close(self) -> None:
        """Ends what this node started."""
        if self._planner is not None:
            self._planner.close()

    # Motion -------------------------------------------------------------------------------------

    def _on_joint_state(self, message: JointState) -> None:
        self._reading = JointReading.from_lists(
            time.monotonic(), message.name, message.position, message.velocity
        )

    async def _go(self) -> str:
        """Moves to the target; returns what went wrong, in words, or nothing."""
        refusal = self._refusal()
        if refusal:
            self.get_logger().error(f"refused: {refusal}")
            return refusal
        self._surroundings.ask_anew()
        homing = Homing(
            self._target,
            self._lifted,
            self._mover,
            self._surroundings,
            self._rules,
            time.monotonic(),
        )
        self._homing, self._step, over = homing, None, Future()
        self._over = over
        self._wake()
        self._owed += 1
        try:
            await over
        finally:
            self._owed -= 1
        if homing.error:
            self.get_logger().error(homing.error)
        return homing.error

    def _refusal(self) -> str:
        if self._ending:
            return self._ending
        if self._hold.active:
            return "~/stop came while this request was waiting; ask again if the arm may move"
        if self._homing is not None:
            return (
                f"the arm is on its way to {self._target.name} already: wait for the answer to "
                "that request, or call ~/stop"
            )
        return ""

    def _on_timer(self) -> None:
        self._hold.look()
        holding = self._homing is not None and self._homing.step is HomingStep.HOLDING
        if not (self._hold.active or holding or self._released.done()):
            # In here nothing new can have started that this would cancel. What holds the arm where
            # it stands is a goal, too, and has to end by itself.
            self._released.set_result(self.unsettled())
        if self._homing is not None:
            self._carry_on(self._homing)
        elif not self._hold.active and not self.unsettled():
            self._timer.cancel()

    def _wake(self) -> None:
        # A timer that runs is left alone: requests in quick succession must not put it off.
        if self._timer.is_canceled():
            self._timer.reset()

    def _guarded(self, homing: Homing, act: Callable[[Homing], None]) -> None:
        try:
            act(homing)
        except Exception as error:
            # An exception would end this process, and leave a motion alone.
            homing.abandon(f"{type(error).__name__}: {error}")

    def _poll(self, homing: Homing) -> None:
        if self._ending:
            homing.stop(self._ending)
        if self._reading is not None:
            homing.joint_state(self._reading)
        homing.poll(time.monotonic())

    def _carry_on(self, homing: Homing) -> None:
        self._guarded(homing, self._poll)
        if homing.step is not self._step:
            self._step = homing.step
            self.get_logger().info(f"{self._target.name}: {homing.step.value}")
        if homing.over:
            self._homing = None
            self._over.set_result(None)

    # Services -----------------------------------------------------------------------------------

    async def _on_home(
        self, request: Trigger.Request, response: Trigger.Response
    ) -> Trigger.Response:
        self._hold.request()
        trouble = await self._go()
        response.success = not trouble
        response.message = trouble or f"the arm is at {self._target.name}"
        return response

    async def _on_reset(
        self, request: ResetTrial.Request, response: ResetTrial.Response
    ) -> ResetTrial.Response:
        self._hold.request()
        if request.task != self._card.task:
            response.message = (
                f"this node knows the task {self._card.task!r}, not {request.task!r}; start it "
                f"with task:={request.task}"
            )
            return response
        try:
            layout = draw_layout(self._card, request.seed, request.trial)
        except ValueError as error:
            response.message = str(error)
            return response
        response.layout.object_position = list(layout.object_position)
        response.layout.object_yaw = layout.object_yaw
        response.layout.goal_position = list(layout.goal_position)
        trouble = await self._go()
        response.success = not trouble
        response.message = trouble or (
            f"the arm is at {self._target.name}; now put the objects of trial {request.trial} of "
            f"seed {request.seed} in place"
        )
        return response

    async def _on_stop(
        self, request: Trigger.Request, response: Trigger.Response
    ) -> Trigger.Response:
        homing = self._homing
        # A node that was told to end cancels by itself. At Ctrl-C the trial runner asks for a stop
        # as well, and is told the same.
        ending = bool(self._ending) and homing is not None and homing.step is HomingStep.STOPPING
        cancelling = homing is not None and (homing.moving or ending)
        cancelling = cancelling and self._mover.cancels_at_once
        if homing is not None:
            self._guarded(homing, lambda homing: homing.stop("stopped by ~/stop"))
        self._hold.stop()
        if self._released.done():
            self._released = Future()
        self._wake()
        holding = homing is not None and homing.step is HomingStep.HOLDING
        # The arm is being stopped; the answer waits until what was asked before it is refused.
        self._owed += 1
        try:
            unsettled = await self._released
        finally:
            self._owed -= 1
        cancelling = cancelling and homing is not None and not homing.over
        # A motion that is cancelled now has time to end; what was given up before, had it.
        trouble = "" if cancelling else unsettled or _alarm(homing)
        response.success = not trouble
        if trouble or homing is None:
            response.message = trouble or "no motion is under way"
        elif holding:
            response.message = "the arm is held where it stands"
        else:
            response.message = "the motion is being cancelled"
        return response


def _alarm(homing: Homing | None) -> str:
    """What a homing that has ended says of an arm that may still move."""
    alarmed = homing is not None and homing.over and "emergency stop" in homing.error
    return homing.error if homing is not None and alarmed else ""


def serve(
    node: ArmMotionNode,
    executor: SingleThreadedExecutor,
    ended: threading.Event,
    grace: float = END_GRACE,
) -> None:
    """Serves until `ended`, and then until the arm is known to stand.

    Args:
        node: was added to `executor`.
        executor: spun by this thread.
        ended: set by a signal.
        grace: seconds after which it ends although the arm may still move; it says so.
    """
    while not ended.is_set():
        executor.spin_once(timeout_sec=_SPIN_TIMEOUT)
    deadline = time.monotonic() + grace
    while node.busy:
        if time.monotonic() > deadline:
            trouble = node.unsettled() or "use the emergency stop if the arm moves"
            node.get_logger().fatal(
                f"{grace:g} s after it was told to end, this node ends, and with it the cancelling "
                f"of an earlier motion: {trouble}"
            )
            return
        executor.spin_once(timeout_sec=_SPIN_TIMEOUT)


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of the ``arm_motion`` executable; 0 after a signal, 1 when it cannot start."""
    ended = threading.Event()
    node: ArmMotionNode | None = None

    def on_signal(*_: object) -> None:
        ended.set()
        if node is not None:
            node.end("this node was told to end")

    on_end(on_signal)
    rclpy.init(
        args=list(arguments) if arguments is not None else sys.argv,
        signal_handler_options=SignalHandlerOptions.NO,
    )
    try:
        node = ArmMotionNode()
    except (ParameterError, TaskCardError, TargetError, MoverError) as error:
        get_logger(NODE_NAME).fatal(str(error))
        rclpy.try_shutdown()
        return 1
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        serve(node, executor, ended)
    finally:
        node.close()
        node.destroy_node()
        executor.shutdown()
        rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
