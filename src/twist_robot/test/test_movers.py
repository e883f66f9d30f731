"""The ways of moving the arm, with action servers and a MoveIt that the test plays."""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from motion_fakes import ABOVE, HOME, JOINTS, PTP, START, TRAJECTORY, ActionClient, FakeService

from twist_robot.motion.joint_targets import arm_limits
from twist_robot.motion.motions import Motion, MotionRequest, MotionState
from twist_robot.motion.moveit_mover import MoveItMover, PlannerProcess, PlannerSettings
from twist_robot.motion.movers import MoverError, make_mover
from twist_robot.motion.ptp_mover import PtpMover
from twist_robot.motion.trajectory_mover import TrajectoryMover
from twist_sim.task_card import load_task_card

REQUEST = MotionRequest(START, ABOVE, HOME)


def follower(client: ActionClient) -> TrajectoryMover:
    return TrajectoryMover(client, TRAJECTORY, max_velocity=0.3, max_acceleration=0.5)


def test_a_trajectory_goes_through_the_waypoints_and_waits_for_its_result() -> None:
    client = ActionClient()
    motion = follower(client).start(REQUEST, 0.0)
    message = client.goals[0].trajectory
    assert tuple(message.joint_names) == JOINTS
    assert message.header.stamp.sec == 0  # starts when it is received
    assert np.allclose(message.points[0].positions, START)
    assert np.allclose(message.points[-1].positions, HOME.positions)
    assert any(np.allclose(p.positions, ABOVE.positions) for p in message.points)
    assert motion.poll(0.1) is MotionState.RUNNING
    client.accept()
    assert motion.poll(0.2) is MotionState.RUNNING
    client.finish(error_code=0, error_string="")
    assert motion.poll(3.0) is MotionState.DONE


@pytest.mark.parametrize(
    ("play", "message"),
    [
        (lambda client: client.accept(False), "rejected the goal: is its controller active"),
        (
            lambda client: (
                client.accept(),
                client.finish(6, error_code=-4, error_string="joint4 is 0.3 rad off"),
            ),
            "aborted by its server: path tolerance violated joint4 is 0.3 rad off",
        ),
        (
            lambda client: (
                client.accept(),
                client.finish(4, error_code=-5, error_string=""),
            ),
            "reported an error: goal tolerance violated",
        ),
        (
            lambda client: client.futures[-1].answer(error=RuntimeError("no memory")),
            "failed: no memory",
        ),
    ],
)
def test_a_trajectory_that_fails_says_why(play: Any, message: str) -> None:
    client = ActionClient()
    motion = follower(client).start(REQUEST, 0.0)
    play(client)
    assert motion.poll(0.1) is MotionState.FAILED
    assert message in motion.message


def test_a_missing_server_is_named() -> None:
    client = ActionClient()
    client.there = False
    assert "no action server /arm/do" in follower(client).missing()


def ptp(client: ActionClient, controller: FakeService) -> PtpMover:
    return PtpMover(
        client, PTP, max_velocity=0.3, tolerance=0.01, switch_controller=controller.switch
    )


def test_ptp_motions_run_between_the_controllers_end_and_its_return() -> None:
    client, controller = ActionClient(), FakeService()
    motion = ptp(client, controller).start(REQUEST, 0.0)
    assert controller.asked == [False]
    assert client.goals == []  # not before the controller is off
    controller.answer()
    motion.poll(0.1)
    for waypoint in (ABOVE, HOME):
        assert client.goals[-1].goal_joint_configuration == list(waypoint.positions)
        assert client.goals[-1].maximum_joint_velocities == [0.3] * 7
        client.accept()
        client.finish(target_status=SimpleNamespace(status=2), error_message="")
        assert motion.poll(1.0) is MotionState.RUNNING
    assert controller.asked == [False, True]
    controller.answer()
    assert motion.poll(2.0) is MotionState.DONE


def test_after_a_failed_or_cancelled_ptp_motion_the_controller_is_active_again() -> None:
    client, controller = ActionClient(), FakeService()
    motion = ptp(client, controller).start(REQUEST, 0.0)
    controller.answer()
    motion.poll(0.1)
    client.accept()
    client.finish(6, target_status=SimpleNamespace(status=3), error_message="joint velocity")
    assert motion.poll(0.2) is MotionState.RUNNING
    assert controller.asked == [False, True]
    controller.answer("the controller was not activated")
    assert motion.poll(0.3) is MotionState.FAILED
    assert "aborted by its server: joint velocity" in motion.message
    assert "was not activated" in motion.message
    assert len(client.goals) == 1

    motion = ptp(client, controller).start(REQUEST, 0.0)
    motion.cancel()
    controller.answer()
    motion.poll(0.1)
    assert len(client.goals) == 1  # nothing was started any more
    assert controller.asked[-1] is True
    controller.answer()
    assert motion.poll(0.2) is MotionState.FAILED
    assert motion.message == "cancelled"


def given_up() -> tuple[ActionClient, FakeService, PtpMover, Motion]:
    """A PTP goal that its server has not answered within five seconds."""
    client, controller = ActionClient(), FakeService()
    mover = PtpMover(
        client,
        PTP,
        max_velocity=0.3,
        tolerance=0.01,
        switch_controller=controller.switch,
        controller="arm_controller",
    )
    motion = mover.start(REQUEST, 0.0)
    controller.answer()
    assert motion.poll(0.1) is MotionState.RUNNING
    assert motion.poll(5.2) is MotionState.RUNNING
    return client, controller, mover, motion


def test_the_controller_is_not_active_beside_a_ptp_goal_that_was_given_up() -> None:
    client, controller, mover, motion = given_up()
    client.accept()  # late: the arm moves
    for now in (5.3, 6.0, 8.0):
        assert motion.poll(now) is MotionState.RUNNING
        assert controller.asked == [False]
    assert "switch_controllers --activate arm_controller" in mover.unsettled(8.1)
    client.finish(5)
    assert motion.poll(8.15) is MotionState.RUNNING
    assert controller.asked == [False, True]
    controller.answer()
    assert motion.poll(8.2) is MotionState.FAILED
    assert "did not answer within 5 s" in motion.message
    assert "stays off" not in motion.message
    assert mover.unsettled(8.3) == ""


def test_a_controller_that_stays_off_is_named_with_the_command() -> None:
    client, controller, mover, motion = given_up()
    client.accept()
    assert motion.poll(8.3) is MotionState.FAILED
    assert controller.asked == [False]
    assert "use the emergency stop if the arm moves" in motion.message
    assert (
        "has not ended within another 3 s, so the controller arm_controller stays off: when the "
        "arm stands still, switch it on with ros2 control switch_controllers --activate "
        "arm_controller"
    ) in motion.message
    assert "arm_controller stays off" in mover.unsettled(8.4)
    client.finish(5)
    assert mover.unsettled(8.5) == ""


SETTINGS = PlannerSettings(
    moveit_config="moveit_resources_panda_moveit_config",
    urdf="moveit_resources_panda_moveit_config/config/panda.urdf.xacro",
    srdf="moveit_resources_panda_moveit_config/config/panda.srdf",
    joint_limits="/config/joint_limits_panda.yaml",
    move_group="panda_arm",
    base_frame="panda_link0",
    tip_frame="panda_link8",
    joint_states="/joint_states",
    planning_time=1.0,
    velocity_scaling=0.1,
    table_size=(1.35, 1.2, 0.04),
    table_centre=(0.275, 0.0, -0.025),
    tool_length=0.19,
    tool_radius=0.03,
    touch_links=("panda_link7",),
)
FAKE_MOVEIT = (Path(__file__).parent / "fake_moveit.py").read_text()


@pytest.fixture
def fake_moveit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Modules named as MoveIt's, for the planner's process; `plan` decides about each plan."""
    modules = {
        "moveit/planning.py": "from fake_moveit import MoveItPy",
        "moveit/core/robot_state.py": "from fake_moveit import RobotState",
        "moveit_configs_utils.py": "from fake_moveit import MoveItConfigsBuilder",
        "ament_index_python/packages.py": "from fake_moveit import get_package_share_directory",
        "moveit_msgs/msg.py": "from fake_moveit import AttachedCollisionObject, CollisionObject",
        "shape_msgs/msg.py": "from fake_moveit import SolidPrimitive",
        "fake_moveit.py": FAKE_MOVEIT,
    }
    for name, text in modules.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        for folder in path.relative_to(tmp_path).parents:
            if folder.name:
                (tmp_path / folder / "__init__.py").touch()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    planners: list[PlannerProcess] = []

    def start(settings: PlannerSettings = SETTINGS, **play: Any) -> PlannerProcess:
        monkeypatch.setenv("FAKE_MOVEIT", json.dumps({"log": str(tmp_path / "log"), **play}))
        planners.append(PlannerProcess(settings))
        return planners[-1]

    start.log = tmp_path / "log"  # type: ignore[attr-defined]
    yield start
    for planner in planners:
        planner.close()


def moveit(planner: PlannerProcess, client: ActionClient) -> MoveItMover:
    return MoveItMover(
        planner,
        follower(client),
        limits=arm_limits("panda"),
        max_velocity=0.3,
        max_acceleration=0.5,
        planning_time=1.0,
    )


def until(condition: Any, timeout: float = 20.0) -> None:
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def moveit_when_ready(planner: PlannerProcess, client: ActionClient) -> MoveItMover:
    mover = moveit(planner, client)
    until(lambda: mover.missing() == "")
    return mover


def over(motion: Any, now: float = 0.0) -> MotionState:
    until(lambda: motion.poll(now) is not MotionState.RUNNING)
    return motion.poll(now)


def test_moveit_plans_around_table_and_tool_after_the_lift_and_its_plan_is_followed(
    fake_moveit: Any,
) -> None:
    client = ActionClient()
    planner = fake_moveit(start=list(ABOVE.positions))
    mover = moveit_when_ready(planner, client)
    motion = mover.start(REQUEST, 0.0)
    assert np.allclose(client.goals[0].trajectory.points[-1].positions, ABOVE.positions)
    client.accept()
    client.finish(error_code=0, error_string="")
    until(lambda: motion.poll(0.0) is MotionState.RUNNING and len(client.goals) == 2)
    planned = client.goals[1].trajectory
    assert tuple(planned.joint_names) == JOINTS  # MoveIt named them in another order
    assert np.allclose(planned.points[-1].positions, HOME.positions)
    # The fake's plan takes a second for 0.3 rad; it is followed at 0.3 rad/s at most.
    times = [p.time_from_start.sec + p.time_from_start.nanosec * 1e-9 for p in planned.points]
    assert times[-1] == pytest.approx(1.875 * 0.3 / 0.3, rel=1e-3)
    client.accept()
    client.finish(error_code=0, error_string="")
    assert over(motion) is MotionState.DONE
    log = fake_moveit.log.read_text()
    assert "box [1.35, 1.2, 0.04] at (0.275, 0.0, -0.025) in panda_link0" in log
    assert "cylinder [0.19, 0.03] on panda_link8" in log
    assert "velocity 0.1" in log


def test_moveit_is_given_the_fr3s_description_which_its_moveit_package_lacks(
    fake_moveit: Any,
) -> None:
    fr3 = dataclasses.replace(
        SETTINGS,
        moveit_config="franka_fr3_moveit_config",
        urdf="franka_description/robots/fr3/fr3.urdf.xacro hand:=true",
        srdf="franka_description/robots/fr3/fr3.srdf.xacro hand:=true",
        joint_limits="/config/joint_limits_fr3.yaml",
        move_group="fr3_arm",
    )
    planner = fake_moveit(fr3)
    until(lambda: "is still starting" not in planner.trouble())
    assert planner.trouble() == ""
    log = fake_moveit.log.read_text()
    folder = "/share/franka_description/robots/fr3"
    assert "builder fr3 franka_fr3_moveit_config" in log
    assert f"urdf {folder}/fr3.urdf.xacro {{'hand': 'true'}}" in log
    assert f"srdf {folder}/fr3.srdf.xacro {{'hand': 'true'}}" in log
    assert "limits /config/joint_limits_fr3.yaml" in log
    assert "planner ['ompl_interface/OMPLPlanner']" in log  # the FR3's file does not name one
    assert "group fr3_arm" in log


def test_method_moveit_names_the_parameters_that_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    action = SimpleNamespace(FollowJointTrajectory=TRAJECTORY)
    monkeypatch.setitem(sys.modules, "control_msgs.action", action)
    monkeypatch.setattr("twist_robot.motion.movers.ActionClient", lambda *_: ActionClient())
    values = {
        "method": "moveit",
        "trajectory_action": "/arm/do",
        "max_velocity": 0.3,
        "max_acceleration": 0.5,
        "moveit_config": "franka_fr3_moveit_config",
        "urdf": "",
        "srdf": "p/f.srdf",
        "joint_limits": "",
    }
    with pytest.raises(MoverError, match="method moveit needs the parameters urdf, joint_limits"):
        make_mover(None, values, load_task_card("block_push"))  # type: ignore[arg-type]


def test_what_moveit_planned_is_sent_from_where_the_arm_stands_within_both_limits(
    fake_moveit: Any,
) -> None:
    client = ActionClient()
    seen = START + 0.01  # MoveIt's own reading of the joint states
    mover = moveit_when_ready(
        fake_moveit(start=seen.tolist(), middle=(START + 0.02).tolist()), client
    )
    motion = mover.start(MotionRequest(START, None, HOME), 0.0)
    until(lambda: motion.poll(0.0) is MotionState.RUNNING and len(client.goals) == 1)
    points = client.goals[0].trajectory.points
    assert len(points) == 4
    assert list(points[0].positions) == START.tolist()
    times = [p.time_from_start.sec + p.time_from_start.nanosec * 1e-9 for p in points]
    assert times[0] == 0
    # From rest to rest the largest acceleration is 10 / sqrt 3 of way / time^2.
    for before, after, begin, end in zip(points, points[1:], times, times[1:], strict=False):
        way = float(np.max(np.abs(np.subtract(after.positions, before.positions))))
        assert 1.875 * way / (end - begin) <= 0.3 * 1.001
        assert 10 / np.sqrt(3) * way / (end - begin) ** 2 <= 0.5 * 1.001


@pytest.mark.parametrize(
    ("play", "message"),
    [
        ({"code": -1}, "MoveIt found no way (error code -1)"),
        ({"error": "planner died"}, "MoveIt failed: RuntimeError: planner died"),
        ({"start": [0.0] * 7}, "MoveIt planned from elsewhere"),
        ({"end": [0.0] * 7}, "away from home of block_push"),
        ({"middle": [9.0] * 7}, "to 9.000 rad, which the arm allows from"),
        ({"exit": True}, "MoveIt's process ended"),
    ],
)
def test_a_plan_that_fails_or_makes_no_sense_is_not_followed(
    fake_moveit: Any, play: dict[str, Any], message: str
) -> None:
    client = ActionClient()
    mover = moveit_when_ready(fake_moveit(**{"start": START.tolist(), **play}), client)
    motion = mover.start(MotionRequest(START, None, HOME), 0.0)
    assert over(motion) is MotionState.FAILED
    assert message in motion.message
    assert client.goals == []


def test_a_planner_that_hangs_is_given_up_and_a_cancelled_plan_not_followed(
    fake_moveit: Any,
) -> None:
    client = ActionClient()
    mover = moveit_when_ready(fake_moveit(start=START.tolist(), hang=True), client)
    motion = mover.start(MotionRequest(START, None, HOME), 0.0)
    assert motion.poll(20.0) is MotionState.RUNNING
    assert motion.poll(21.1) is MotionState.FAILED
    assert "no answer in time" in motion.message

    mover = moveit_when_ready(fake_moveit(start=START.tolist()), client)
    motion = mover.start(MotionRequest(START, None, HOME), 0.0)
    motion.cancel()
    assert over(motion) is MotionState.FAILED
    assert client.goals == []


def test_a_plan_that_is_cancelled_is_over_at_once_and_its_answer_is_nobody_elses(
    fake_moveit: Any,
) -> None:
    client = ActionClient()
    mover = moveit_when_ready(fake_moveit(start=START.tolist(), hang=True), client)
    motion = mover.start(MotionRequest(START, None, HOME), 0.0)
    motion.cancel()
    assert motion.poll(0.1) is MotionState.FAILED
    assert motion.message == "cancelled"

    mover = moveit_when_ready(fake_moveit(start=START.tolist()), client)
    mover.start(MotionRequest(START, None, HOME), 0.0).cancel()
    motion = mover.start(MotionRequest(START, None, ABOVE), 0.0)
    until(lambda: motion.poll(0.1) is not MotionState.RUNNING or bool(client.goals))
    (goal,) = client.goals
    assert list(goal.trajectory.points[-1].positions) == pytest.approx(ABOVE.positions)


def test_an_arm_is_held_by_a_goal_where_it_stands() -> None:
    client = ActionClient()
    mover = TrajectoryMover(client, TRAJECTORY, max_velocity=0.3, max_acceleration=0.5)
    mover.hold(HOME, 0.0)
    (goal,) = client.goals
    (point,) = goal.trajectory.points
    assert list(goal.trajectory.joint_names) == list(HOME.joints)
    assert list(point.positions) == pytest.approx(HOME.positions)
    assert not any(point.velocities)
    assert (point.time_from_start.sec, point.time_from_start.nanosec) == (0, 500_000_000)


def test_without_moveit_the_planner_says_what_to_install() -> None:
    planner = PlannerProcess(SETTINGS)
    try:
        until(lambda: "is still starting" not in planner.trouble())
        assert "ros-jazzy-moveit-py" in planner.trouble()
    finally:
        planner.close()


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("trajectory", r"control_msgs\.action.*install ROS 2 and ros-jazzy-control-msgs"),
        ("ptp", r"franka_msgs\.action.*build franka_ros2"),
    ],
)
def test_missing_messages_are_named_with_what_to_install(
    monkeypatch: pytest.MonkeyPatch, method: str, message: str
) -> None:
    monkeypatch.delenv("ROS_DISTRO", raising=False)
    for name in ("control_msgs", "control_msgs.action", "franka_msgs", "franka_msgs.action"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MoverError, match=message):
        make_mover(None, {"method": method}, load_task_card("block_push"))  # type: ignore[arg-type]
