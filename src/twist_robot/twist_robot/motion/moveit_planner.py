"""MoveIt's planner in a process of its own: joint targets in, checked paths out.

moveit_py spins an executor of its own, holds Python's interpreter lock while it works, and may
crash when it shuts down. `twist_robot.motion.moveit_mover` starts this program, sends one JSON
object per line, and gets one per line back over a pipe of their own (libraries write to stdout what
they like).

    {"joints": [...], "positions": [...], "configuration": "ready" or ""}
    {"path": [{"time": s, "positions": [...], "velocities": [...], "accelerations": [...]}, ...]}
    {"error": "cause and cure"}
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TextIO

from twist_nodes.moveit_configuration import Description, moveit_configuration
from twist_nodes.ros_packages import install_ros_package

_OMPL = {
    "planning_plugins": ["ompl_interface/OMPLPlanner"],
    "request_adapters": [
        "default_planning_request_adapters/ResolveConstraintFrames",
        "default_planning_request_adapters/ValidateWorkspaceBounds",
        "default_planning_request_adapters/CheckStartStateBounds",
        "default_planning_request_adapters/CheckStartStateCollision",
    ],
    "response_adapters": [
        "default_planning_response_adapters/AddTimeOptimalParameterization",
        "default_planning_response_adapters/ValidateSolution",
    ],
}
"""What a planning pipeline of Jazzy needs; the FR3's file has the planners' settings alone."""


def moveit_options(settings: Mapping[str, Any]) -> dict[str, Any]:
    """moveit_cpp's parameters, beside those of the robot's MoveIt configuration.

    Args:
        settings: see `PlannerSettings`.
    """
    prefix = "/twist_moveit"
    return {
        "planning_scene_monitor_options": {
            "name": "planning_scene_monitor",
            "robot_description": "robot_description",
            "joint_state_topic": settings["joint_states"],
            "attached_collision_object_topic": f"{prefix}/attached_collision_object",
            "publish_planning_scene_topic": f"{prefix}/publish_planning_scene",
            "monitored_planning_scene_topic": f"{prefix}/monitored_planning_scene",
            "wait_for_initial_state_timeout": 10.0,
        },
        "planning_pipelines": {"pipeline_names": ["ompl"]},
        "plan_request_params": {
            "planning_pipeline": "ompl",
            "planner_id": "",
            "planning_attempts": 4,
            "planning_time": settings["planning_time"],
            "max_velocity_scaling_factor": settings["velocity_scaling"],
            "max_acceleration_scaling_factor": settings["velocity_scaling"],
        },
    }


def robot_options(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The robot's MoveIt configuration, as the planner takes it.

    Args:
        settings: see `PlannerSettings`.
    """
    urdf = _description(settings["urdf"])
    config = moveit_configuration(
        settings["moveit_config"], urdf, _description(settings["srdf"]), settings["joint_limits"]
    )
    options: dict[str, Any] = config.to_dict()
    options["ompl"] = {**_OMPL, **options["ompl"]}
    if not options.get("robot_description"):  # the builder only warns
        raise FileNotFoundError(f"no robot description in {'/'.join(urdf[:2])}")
    return options


def _description(words: str) -> Description:
    """What is written ``package/file name:=value ...``."""
    name, *arguments = shlex.split(words)
    package, _, file = name.partition("/")
    return package, file, dict(argument.split(":=", 1) for argument in arguments)


class MoveItPlanner:
    """Plans with moveit_py, around the table and with the tool on the flange.

    Args:
        settings: see `PlannerSettings`.

    Raises:
        ImportError: MoveIt is not installed.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        from moveit.core.robot_state import RobotState
        from moveit.planning import MoveItPy

        config = {**robot_options(settings), **moveit_options(settings)}
        self._state_type = RobotState
        self._group = settings["move_group"]
        self._moveit = MoveItPy(node_name="twist_moveit", config_dict=config)
        self._component = self._moveit.get_planning_component(self._group)
        self._add_scene(settings)

    def _add_scene(self, settings: Mapping[str, Any]) -> None:
        from geometry_msgs.msg import Pose
        from moveit_msgs.msg import AttachedCollisionObject, CollisionObject
        from shape_msgs.msg import SolidPrimitive

        table = CollisionObject(id="table", operation=CollisionObject.ADD)
        table.header.frame_id = settings["base_frame"]
        size, centre = settings["table_size"], settings["table_centre"]
        table.primitives.append(SolidPrimitive(type=SolidPrimitive.BOX, dimensions=list(size)))
        pose = Pose()
        pose.position.x, pose.position.y, pose.position.z = centre
        pose.orientation.w = 1.0
        table.primitive_poses.append(pose)

        tool = AttachedCollisionObject(link_name=settings["tip_frame"])
        tool.object.id = "tool"
        tool.object.operation = CollisionObject.ADD
        tool.object.header.frame_id = settings["tip_frame"]
        length, radius = settings["tool_length"], settings["tool_radius"]
        tool.object.primitives.append(
            SolidPrimitive(type=SolidPrimitive.CYLINDER, dimensions=[length, radius])
        )
        pose = Pose()
        pose.position.z = length / 2
        pose.orientation.w = 1.0
        tool.object.primitive_poses.append(pose)
        tool.touch_links = list(settings["touch_links"])

        with self._moveit.get_planning_scene_monitor().read_write() as scene:
            scene.apply_collision_object(table)
            if length > 0:
                scene.process_attached_collision_object(tool)
            scene.current_state.update()

    def plan(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Plans from where the arm is to the request's target; returns the answer object."""
        component = self._component
        component.set_start_state_to_current_state()
        if request["configuration"]:
            component.set_goal_state(configuration_name=request["configuration"])
        else:
            goal = self._state_type(self._moveit.get_robot_model())
            goal.joint_positions = dict(zip(request["joints"], request["positions"], strict=True))
            goal.update()
            component.set_goal_state(robot_state=goal)
        result = component.plan()
        if not result:
            code = getattr(getattr(result, "error_code", None), "val", "unknown")
            return {
                "error": f"MoveIt found no way (error code {code}): is the arm in collision with "
                "itself or the table, or the tool too low? Move it up by hand and try again"
            }
        trajectory = result.trajectory.get_robot_trajectory_msg().joint_trajectory
        order = [list(trajectory.joint_names).index(joint) for joint in request["joints"]]
        return {
            "path": [
                {
                    "time": point.time_from_start.sec + point.time_from_start.nanosec * 1e-9,
                    "positions": [float(point.positions[i]) for i in order],
                    "velocities": [float(point.velocities[i]) for i in order],
                    "accelerations": [float(point.accelerations[i]) for i in order],
                }
                for point in trajectory.points
            ]
        }


def serve(
    requests: Sequence[str] | TextIO,
    answers: TextIO,
    create: Callable[[], MoveItPlanner],
) -> int:
    """Answers requests until there are no more.

    Args:
        requests: lines.
        answers: where lines go.
        create: makes the planner.

    Returns:
        Exit code: 1 when the planner cannot be made.
    """

    def answer(data: Mapping[str, Any]) -> None:
        answers.write(json.dumps(data) + "\n")
        answers.flush()

    try:
        planner = create()
    except ImportError as error:
        cure = install_ros_package("moveit-py")
        answer({"error": f"MoveIt's Python interface is not installed ({error}): {cure}"})
        return 1
    except Exception as error:  # whatever MoveIt's configuration can throw is an answer
        answer({"error": f"MoveIt could not be started: {type(error).__name__}: {error}"})
        return 1
    answer({"ready": True})
    for line in requests:
        number = {}
        try:
            request = json.loads(line)
            number = {"number": request["number"]}
            answer({**planner.plan(request), **number})
        except Exception as error:
            answer({"error": f"MoveIt failed: {type(error).__name__}: {error}", **number})
    return 0


def main() -> None:
    """``python -m twist_robot.motion.moveit_planner SETTINGS_JSON ANSWER_FD``."""
    settings = json.loads(sys.argv[1])
    answers = os.fdopen(int(sys.argv[2]), "w", encoding="utf-8")
    code = 1
    with contextlib.suppress(BrokenPipeError):
        code = serve(sys.stdin, answers, lambda: MoveItPlanner(settings))
    # MoveIt's own end may hang or crash; everything has been said.
    os._exit(code)


if __name__ == "__main__":
    main()
