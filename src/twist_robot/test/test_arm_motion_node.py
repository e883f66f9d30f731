"""The node over real middleware, with a fake arm, policy and Servo in this process."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import rclpy
from geometry_msgs.msg import PoseStamped, TwistStamped
from lifecycle_msgs.msg import State
from lifecycle_msgs.srv import GetState
from motion_fakes import JOINTS, PTP, START, TRAJECTORY, ActionClient, Pending
from rclpy.clock import ClockType
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import JointState
from std_srvs.srv import SetBool, Trigger

from twist_msgs.srv import ResetTrial
from twist_robot.motion.arm_motion_node import END_GRACE, ArmMotionNode, serve
from twist_robot.motion.homing import HomingStep
from twist_robot.motion.ptp_mover import PtpMover
from twist_robot.motion.trajectory_mover import TrajectoryMover
from twist_sim.layout import draw_layout
from twist_sim.task_card import load_task_card

pytestmark = pytest.mark.slow
TIMEOUT = 30.0


class Cell(Node):
    """Joint states, the policy's state and Servo; and the fake mover's arm.

    Args:
        context: of the test.
        servo: as what Servo serves its pause: SetBool (Jazzy) or Trigger (Humble).
    """

    cancels_at_once = True

    def __init__(self, context: rclpy.Context, servo: Any = SetBool) -> None:
        super().__init__("fake_cell", context=context)
        self.positions = START.tolist()
        self.policy_state = State.PRIMARY_STATE_INACTIVE
        self.when_asked: Callable[[], None] = lambda: None
        self.paused: list[Any] = []
        self.unsure = ""
        self.arrives = True
        self.motions: list[Pending] = []
        self._states = self.create_publisher(JointState, "joint_states", 10)
        self.create_timer(0.02, self._send)
        self.create_service(GetState, "twist_policy_node/get_state", self._on_get_state)
        self.create_service(servo, "servo_node/pause_servo", self._on_pause)

    def _send(self) -> None:
        message = JointState(name=list(JOINTS), position=self.positions, velocity=[0.0] * 7)
        self._states.publish(message)

    def _on_get_state(self, request: Any, response: Any) -> Any:
        self.when_asked()
        response.current_state.id = self.policy_state
        return response

    def _on_pause(self, request: Any, response: Any) -> Any:
        self.paused.append(request)
        response.success = True
        return response

    # Mover
    def missing(self) -> str:
        return ""

    def unsettled(self, now: float) -> str:
        return self.unsure

    def start(self, request: Any, now: float) -> Pending:
        motion = Pending()
        self.motions.append(motion)
        if self.arrives:
            self.positions = list(request.target.positions)
            motion.finish("")
        else:
            motion.cancel = lambda: motion.finish("cancelled")  # type: ignore[method-assign]
        return motion


class Stand:
    def __init__(
        self, domain_id: int, servo: Any = SetBool, mover: Any = None, **parameters: Any
    ) -> None:
        self.context = rclpy.Context()
        rclpy.init(
            context=self.context,
            domain_id=domain_id,
            signal_handler_options=SignalHandlerOptions.NO,
        )
        self.cell = Cell(self.context, servo)
        self.node = ArmMotionNode(
            lambda node, values, card: (mover or self.cell, None),
            context=self.context,
            parameter_overrides=[
                Parameter(name, value=value) for name, value in parameters.items()
            ],
        )
        self._executors = []
        for node in (self.cell, self.node):
            executor = SingleThreadedExecutor(context=self.context)
            executor.add_node(node)
            threading.Thread(target=self._spin, args=(executor,), daemon=True).start()
            self._executors.append(executor)

    @staticmethod
    def _spin(executor: SingleThreadedExecutor) -> None:
        with contextlib.suppress(ExternalShutdownException):
            executor.spin()

    def ask(self, kind: Any, name: str, request: Any) -> Any:
        client = self.cell.create_client(kind, name)
        self.wait_for(client.service_is_ready)
        return client.call_async(request)

    def call(self, kind: Any, name: str, request: Any) -> Any:
        future = self.ask(kind, name, request)
        self.wait_for(future.done)
        return future.result()

    @contextlib.contextmanager
    def held_up(self) -> Iterator[None]:
        """Keeps the node's thread busy in a callback."""
        busy, go_on = threading.Event(), threading.Event()

        def hold() -> None:
            busy.set()
            go_on.wait(TIMEOUT)

        self._executors[1].create_task(hold)
        assert busy.wait(TIMEOUT)
        yield
        go_on.set()

    def wait_for(self, condition: Any) -> None:
        end = time.monotonic() + TIMEOUT
        while not condition():
            assert time.monotonic() < end
            time.sleep(0.01)

    def close(self) -> None:
        for executor in self._executors:
            executor.shutdown()
        self.node.close()
        self.node.destroy_node()
        self.cell.destroy_node()
        rclpy.try_shutdown(context=self.context)


@pytest.fixture
def stand(ros_domain_id: int) -> Iterator[Any]:
    stands: list[Stand] = []

    def make(**parameters: Any) -> Stand:
        stands.append(Stand(ros_domain_id, **parameters))
        return stands[-1]

    yield make
    for made in stands:
        made.close()


def test_reset_goes_home_and_tells_where_the_objects_have_to_be_put(stand: Any) -> None:
    lab = stand()
    response = lab.call(
        ResetTrial, "arm_motion/reset", ResetTrial.Request(task="block_push", seed=3, trial=7)
    )
    assert response.success, response.message
    layout = draw_layout(load_task_card("block_push"), 3, 7)
    assert tuple(response.layout.object_position) == pytest.approx(layout.object_position)
    assert tuple(response.layout.goal_position) == pytest.approx(layout.goal_position)
    assert [request.data for request in lab.cell.paused] == [True]
    assert "put the objects of trial 7 of seed 3 in place" in response.message
    other = lab.call(ResetTrial, "arm_motion/reset", ResetTrial.Request(task="knitting"))
    assert not other.success
    assert "task:=knitting" in other.message
    assert len(lab.cell.motions) == 1


def test_home_is_refused_while_the_policy_is_active_or_somebody_commands_servo(
    stand: Any,
) -> None:
    lab = stand(target="ready")
    lab.cell.policy_state = State.PRIMARY_STATE_ACTIVE
    response = lab.call(Trigger, "arm_motion/home", Trigger.Request())
    assert not response.success
    assert "ros2 lifecycle set /twist_policy_node deactivate" in response.message
    lab.cell.policy_state = State.PRIMARY_STATE_INACTIVE
    # The topic's name is what counts: control_msgs/JointJog need not be installed here.
    for kind, name in (
        (PoseStamped, "pose_target_cmds"),
        (TwistStamped, "delta_twist_cmds"),
        (JointState, "delta_joint_cmds"),
    ):
        jogger = lab.cell.create_publisher(kind, f"servo_node/{name}", 1)
        response = lab.call(Trigger, "arm_motion/home", Trigger.Request())
        assert not response.success
        assert f"fake_cell commands the arm on /servo_node/{name}" in response.message
        lab.cell.destroy_publisher(jogger)
    assert lab.cell.motions == []


def test_a_policy_that_was_deactivated_just_before_is_no_objection(stand: Any) -> None:
    lab = stand()
    client = lab.cell.create_client(Trigger, "arm_motion/home")
    lab.wait_for(client.service_is_ready)
    for delay in (0.0, 0.1, 0.2):  # seconds; the node itself asks four times a second
        lab.cell.policy_state = State.PRIMARY_STATE_ACTIVE
        refused = lab.call(Trigger, "arm_motion/home", Trigger.Request())
        assert "is active: deactivate it first" in refused.message
        time.sleep(delay)
        lab.cell.policy_state = State.PRIMARY_STATE_INACTIVE
        future = client.call_async(Trigger.Request())  # at once, as the trial runner does
        lab.wait_for(future.done)
        assert future.result().success, future.result().message


def test_commands_that_the_policy_is_just_taking_off_the_graph_are_no_objection(
    stand: Any,
) -> None:
    lab = stand()
    assert lab.call(Trigger, "arm_motion/home", Trigger.Request()).success
    policy = Node("twist_policy_node", context=lab.context)
    commands = policy.create_publisher(PoseStamped, "servo_node/pose_target_cmds", 1)
    lab.wait_for(lambda: lab.node.count_publishers("servo_node/pose_target_cmds"))

    def deactivate() -> None:
        time.sleep(0.1)  # the publisher is seen meanwhile
        if commands in policy.publishers:
            policy.destroy_publisher(commands)
            lab.wait_for(lambda: not lab.node.count_publishers("servo_node/pose_target_cmds"))

    lab.cell.when_asked = deactivate
    response = lab.call(Trigger, "arm_motion/home", Trigger.Request())
    assert response.success, response.message
    policy.destroy_node()


def test_a_servo_of_humble_is_paused_by_its_own_kind_of_service(stand: Any) -> None:
    lab = stand(servo=Trigger, target="ready")
    response = lab.call(Trigger, "arm_motion/home", Trigger.Request())
    assert response.success, response.message
    assert [type(request).__qualname__ for request in lab.cell.paused] == ["Trigger_Request"]


def test_stop_ends_a_motion_and_a_policy_that_is_activated_does_too(stand: Any) -> None:
    lab = stand()
    lab.cell.arrives = False
    future = lab.ask(Trigger, "arm_motion/home", Trigger.Request())
    lab.wait_for(lambda: len(lab.cell.motions) == 1)
    answer = lab.call(Trigger, "arm_motion/stop", Trigger.Request())
    assert answer.message == "the motion is being cancelled"
    lab.wait_for(future.done)
    assert future.result().message == "stopped by ~/stop"
    future = lab.ask(Trigger, "arm_motion/home", Trigger.Request())
    lab.wait_for(lambda: len(lab.cell.motions) == 2)
    lab.cell.policy_state = State.PRIMARY_STATE_ACTIVE
    lab.wait_for(future.done)
    assert "is active: deactivate it first" in future.result().message
    assert len(lab.cell.motions) == 2


def test_a_request_while_the_arm_moves_is_refused_at_once_and_not_queued(stand: Any) -> None:
    lab = stand()
    lab.cell.arrives = False
    first = lab.ask(Trigger, "arm_motion/home", Trigger.Request())
    lab.wait_for(lambda: len(lab.cell.motions) == 1)
    for kind, name, request in (
        (Trigger, "arm_motion/home", Trigger.Request()),
        (ResetTrial, "arm_motion/reset", ResetTrial.Request(task="block_push")),
    ):
        response = lab.call(kind, name, request)
        assert not response.success
        assert "is on its way to home of block_push already" in response.message
    assert not first.done()
    lab.call(Trigger, "arm_motion/stop", Trigger.Request())
    lab.wait_for(first.done)
    assert first.result().message == "stopped by ~/stop"
    assert len(lab.cell.motions) == 1


def test_what_was_asked_before_a_stop_is_refused_and_what_is_asked_after_it_is_served(
    stand: Any,
) -> None:
    lab = stand()
    lab.cell.arrives = False
    homes = [lab.cell.create_client(Trigger, "arm_motion/home") for _ in range(4)]
    reset = lab.cell.create_client(ResetTrial, "arm_motion/reset")
    stop = lab.cell.create_client(Trigger, "arm_motion/stop")
    for client in (*homes, reset, stop):
        lab.wait_for(client.service_is_ready)
    taken = lab.node._hold.request

    def take_slowly() -> None:
        time.sleep(0.03)  # longer than the period of the node's timer, which runs in between
        taken()

    lab.node._hold.request = take_slowly
    with lab.held_up():  # everything arrives while the node is busy, the stop last
        waiting = [client.call_async(Trigger.Request()) for client in homes * 2]
        waiting.append(reset.call_async(ResetTrial.Request(task="block_push")))
        time.sleep(0.1)
        stopped = stop.call_async(Trigger.Request())
        time.sleep(0.1)
    lab.wait_for(stopped.done)
    started = len(lab.cell.motions)
    lab.cell.arrives = True
    after = lab.call(Trigger, "arm_motion/home", Trigger.Request())
    assert after.success, after.message
    assert len(lab.cell.motions) == started + 1
    for future in waiting:
        lab.wait_for(future.done)
        assert not future.result().success
        assert "~/stop" in future.result().message
    assert started == 0


def test_a_stop_is_answered_also_when_nothing_moves(stand: Any) -> None:
    lab = stand()
    answer = lab.call(Trigger, "arm_motion/stop", Trigger.Request())
    assert (answer.success, answer.message) == (True, "no motion is under way")


def test_a_stop_does_not_say_that_all_is_well_while_a_goal_that_was_given_up_may_move_the_arm(
    stand: Any,
) -> None:
    lab = stand()
    lab.cell.unsure = "/arm/do has not said that an earlier goal has ended"
    answer = lab.call(Trigger, "arm_motion/stop", Trigger.Request())
    assert (answer.success, answer.message) == (False, lab.cell.unsure)
    lab.cell.unsure = ""
    answer = lab.call(Trigger, "arm_motion/stop", Trigger.Request())
    assert (answer.success, answer.message) == (True, "no motion is under way")


def home_that_ignores_a_cancel(lab: Any) -> Any:
    """Asks for the motion home, under way at a server that does not end it when asked to."""
    lab.cell.arrives = False
    home = lab.ask(Trigger, "arm_motion/home", Trigger.Request())
    lab.wait_for(lambda: len(lab.cell.motions) == 1)
    lab.cell.motions[0].cancel = lambda: None
    lab.cell.unsure = "/arm/do has not said that an earlier goal has ended"
    return home


def test_a_second_stop_says_when_the_first_has_not_ended_the_motion(stand: Any) -> None:
    lab = stand()
    future = home_that_ignores_a_cancel(lab)
    answer = lab.call(Trigger, "arm_motion/stop", Trigger.Request())
    assert (answer.success, answer.message) == (True, "the motion is being cancelled")
    answer = lab.call(Trigger, "arm_motion/stop", Trigger.Request())
    assert (answer.success, answer.message) == (False, lab.cell.unsure)
    lab.cell.motions[0].finish("cancelled by its server")
    lab.wait_for(future.done)


@pytest.mark.parametrize("held", [True, False])
def test_a_stop_while_the_arm_should_arrive_is_answered_when_it_is_held(
    stand: Any, held: bool
) -> None:
    client = ActionClient()
    mover = TrajectoryMover(client, TRAJECTORY, max_velocity=0.3, max_acceleration=0.5)
    lab = stand(mover=mover, arrival_timeout=TIMEOUT)
    home = lab.ask(Trigger, "arm_motion/home", Trigger.Request())
    lab.wait_for(lambda: len(client.goals) == 1)
    client.accept()
    client.finish(error_code=0, error_string="")  # but something blocks the arm
    lab.wait_for(lambda: lab.node._homing.step is HomingStep.ARRIVAL)
    stop = lab.ask(Trigger, "arm_motion/stop", Trigger.Request())
    lab.wait_for(lambda: len(client.goals) == 2)
    if held:
        client.accept()
        time.sleep(0.3)  # a stop with nothing to wait for is answered after three looks, 0.06 s
        assert not stop.done()
        client.finish(error_code=0, error_string="")
    else:
        client.accept(False)
    lab.wait_for(stop.done)
    lab.wait_for(home.done)
    assert client.cancels == []
    answer = stop.result()
    if held:
        assert (answer.success, answer.message) == (True, "the arm is held where it stands")
        assert home.result().message == "stopped by ~/stop"
    else:
        assert not answer.success
        assert "could not be held where it stands" in answer.message
        assert "use the emergency stop" in answer.message


def test_a_stop_of_the_drivers_own_motion_asks_for_the_emergency_stop_until_that_is_over(
    stand: Any,
) -> None:
    client = ActionClient()  # takes no cancel while the arm moves, as franka_ros2
    mover = PtpMover(client, PTP, max_velocity=0.3, tolerance=0.01, switch_controller=None)
    lab = stand(mover=mover, lift=False)
    home = lab.ask(Trigger, "arm_motion/home", Trigger.Request())
    lab.wait_for(lambda: len(client.goals) == 1)
    client.accept()
    for _ in range(2):
        answer = lab.call(Trigger, "arm_motion/stop", Trigger.Request())
        assert not answer.success
        assert "use the emergency stop" in answer.message
        assert "takes a cancel only when its own motion is over" in answer.message
    client.finish(5)
    lab.wait_for(home.done)
    assert lab.call(Trigger, "arm_motion/stop", Trigger.Request()).success


def test_nothing_moves_while_an_earlier_goal_is_not_known_to_have_ended(stand: Any) -> None:
    lab = stand(input_timeout=0.5)
    time.sleep(2.0)  # a new node looks around first
    lab.cell.unsure = "/arm/do has not said that an earlier goal has ended"
    response = lab.call(Trigger, "arm_motion/home", Trigger.Request())
    assert not response.success
    assert response.message.startswith("after 0.5 s: /arm/do has not said")
    assert lab.cell.motions == []


def test_an_exception_of_the_mover_is_an_answer_and_the_motion_is_cancelled(stand: Any) -> None:
    lab = stand()
    lab.cell.arrives = False
    future = lab.ask(Trigger, "arm_motion/home", Trigger.Request())
    lab.wait_for(lambda: len(lab.cell.motions) == 1)
    motion = lab.cell.motions[0]
    cancelled: list[bool] = []
    motion.cancel = lambda: cancelled.append(True)

    def broken(now: float) -> Any:
        raise RuntimeError("bad handle")

    motion.poll = broken
    lab.wait_for(future.done)
    assert "RuntimeError: bad handle; use the emergency stop" in future.result().message
    assert cancelled == [True]
    lab.cell.arrives = True
    assert lab.call(Trigger, "arm_motion/home", Trigger.Request()).success


def test_every_timer_follows_the_steady_clock(stand: Any) -> None:
    lab = stand()
    timers = list(lab.node.timers)
    assert len(timers) == 2  # the motion's, and the surroundings'
    assert {timer.clock.clock_type for timer in timers} == {ClockType.STEADY_TIME}


def test_a_signal_cancels_the_motion_and_answers_before_the_end(stand: Any) -> None:
    lab = stand()
    lab.cell.arrives = False
    future = lab.ask(Trigger, "arm_motion/home", Trigger.Request())
    lab.wait_for(lambda: len(lab.cell.motions) == 1)
    assert lab.node.busy
    lab.node.end("this node was told to end")
    lab.wait_for(future.done)
    assert future.result().message == "this node was told to end"
    lab.wait_for(lambda: not lab.node.busy)
    assert not lab.call(Trigger, "arm_motion/home", Trigger.Request()).success


def test_a_stop_beside_the_signal_is_answered_before_the_end_and_is_no_alarm(stand: Any) -> None:
    lab = stand()
    home = home_that_ignores_a_cancel(lab)
    lab.node.end("this node was told to end")
    lab.wait_for(lambda: lab.node._homing.step is HomingStep.STOPPING)
    answer = lab.call(Trigger, "arm_motion/stop", Trigger.Request())
    assert (answer.success, answer.message) == (True, "the motion is being cancelled")
    stop = lab.ask(Trigger, "arm_motion/stop", Trigger.Request())
    lab.wait_for(lambda: lab.node._hold.active)
    lab.cell.unsure = ""
    lab.cell.motions[0].finish("cancelled by its server")
    lab.wait_for(home.done)
    lab.wait_for(lambda: not lab.node.busy)
    lab._executors[1].shutdown()  # as `serve` ends then
    lab.wait_for(stop.done)
    assert stop.result().success


_GIVEN_UP = """
import functools, pathlib, sys
from types import SimpleNamespace
from twist_robot.motion import arm_motion_node

ended = pathlib.Path(sys.argv.pop())
mover = SimpleNamespace(unsettled=lambda now: "" if ended.exists() else "a goal is unsettled")
node = functools.partial(arm_motion_node.ArmMotionNode, lambda *_: (mover, None))
arm_motion_node.ArmMotionNode = node
raise SystemExit(arm_motion_node.main())
"""


def test_a_process_that_is_told_to_end_stays_until_its_last_goal_has_ended(
    ros_domain_id: int, tmp_path: Path
) -> None:
    ended = tmp_path / "the goal has ended"
    with subprocess.Popen(
        [sys.executable, "-c", _GIVEN_UP, str(ended)],
        stderr=subprocess.PIPE,
        text=True,
        env=dict(os.environ),
    ) as process:
        assert process.stderr is not None
        assert any("ready: panda to home" in line for line in process.stderr)
        process.send_signal(signal.SIGTERM)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(2.0)
        ended.touch()
        assert process.wait(5.0) == 0
        assert "emergency stop" not in process.stderr.read()


def test_a_process_that_is_told_to_end_does_not_stay_for_ever_and_asks_for_the_emergency_stop(
    ros_domain_id: int, capfd: pytest.CaptureFixture[str]
) -> None:
    context = rclpy.Context()
    rclpy.init(
        context=context, domain_id=ros_domain_id, signal_handler_options=SignalHandlerOptions.NO
    )
    asked: list[float] = []

    def unsettled(now: float) -> str:
        asked.append(now)
        return "an earlier goal may still move the arm: use the emergency stop if it does"

    mover: Any = SimpleNamespace(unsettled=unsettled)
    node = ArmMotionNode(lambda *_: (mover, None), context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    ended = threading.Event()
    ended.set()
    serve(node, executor, ended, grace=0.5)
    assert asked[-1] - asked[0] >= 0.4
    assert "use the emergency stop if it does" in capfd.readouterr().err
    executor.shutdown()
    node.destroy_node()
    rclpy.try_shutdown(context=context)


def test_the_time_to_end_fits_between_homings_own_and_the_launchs() -> None:
    roles = pytest.importorskip("twist_bringup.lab_roles")
    profile = SimpleNamespace(
        name="fr3", home="trajectory", trajectory_controller="arm", joint_states="joint_states"
    )
    process = roles.arm_motion(SimpleNamespace(task="block_push", trials=0), profile)
    assert 5.0 < END_GRACE <= process.stop_grace - 1.0


@pytest.mark.parametrize(
    ("parameter", "complaint"),
    [
        ("method:=teleport", "trajectory, moveit, ptp"),
        ("arm:=ur5", "panda, fr3"),
        ("task:=knit_a_jumper", "known tasks"),
    ],
)
def test_a_wrong_parameter_ends_the_start_with_one_clear_message(
    ros_domain_id: int, parameter: str, complaint: str
) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "twist_robot.motion.arm_motion_node",
            "--ros-args",
            "-p",
            parameter,
        ],
        capture_output=True,
        text=True,
        timeout=60,
        env=dict(os.environ),
        check=False,
    )
    assert done.returncode == 1
    assert complaint in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_a_real_trajectory_action_moves_the_arm_home(ros_domain_id: int) -> None:
    action = pytest.importorskip(
        "control_msgs.action", reason="needs control_msgs, which comes with a ROS installation"
    ).FollowJointTrajectory
    from rclpy.action import ActionServer

    context = rclpy.Context()
    rclpy.init(
        context=context, domain_id=ros_domain_id, signal_handler_options=SignalHandlerOptions.NO
    )
    cell = Cell(context)

    def execute(goal: Any) -> Any:
        cell.positions = list(goal.request.trajectory.points[-1].positions)
        goal.succeed()
        return action.Result()

    ActionServer(
        cell,
        action,
        "joint_trajectory_controller/follow_joint_trajectory",
        execute_callback=execute,
    )
    lab = Stand.__new__(Stand)
    lab.context, lab.cell = context, cell
    lab.node = ArmMotionNode(context=context)
    lab._executors = []
    for node in (cell, lab.node):
        executor = SingleThreadedExecutor(context=context)
        executor.add_node(node)
        threading.Thread(target=Stand._spin, args=(executor,), daemon=True).start()
        lab._executors.append(executor)
    try:
        response = lab.call(Trigger, "arm_motion/home", Trigger.Request())
        assert response.success, response.message
    finally:
        lab.close()
