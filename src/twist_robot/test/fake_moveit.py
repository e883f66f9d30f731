"""What the planner's process takes for MoveIt; the variable FAKE_MOVEIT says how it behaves."""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

PLAY = json.loads(os.environ.get("FAKE_MOVEIT", "{}"))


def log(text: str) -> None:
    print("chatter of a C++ library")  # on stdout, where answers must not be
    with open(PLAY["log"], "a", encoding="utf-8") as file:
        file.write(text + "\n")


class RobotState:
    def __init__(self, model: Any) -> None:
        self.joint_positions: dict[str, float] = {}

    def update(self) -> None: ...


class _Component:
    def set_start_state_to_current_state(self) -> None: ...

    def set_goal_state(self, robot_state: RobotState | None = None, **names: str) -> None:
        assert robot_state is not None
        self.goal = robot_state.joint_positions

    def plan(self) -> Any:
        if PLAY.get("hang"):
            time.sleep(600)
        if PLAY.get("exit"):
            os._exit(3)
        if "error" in PLAY:
            raise RuntimeError(PLAY["error"])
        return _Plan(self.goal)


class _Plan:
    def __init__(self, goal: dict[str, float]) -> None:
        self.error_code = SimpleNamespace(val=PLAY.get("code", 1))
        names = sorted(goal, reverse=True)  # MoveIt has an order of its own
        end = dict(zip(sorted(goal), PLAY.get("end", [goal[n] for n in sorted(goal)]), strict=True))
        start = dict(zip(sorted(goal), PLAY["start"], strict=True))
        states = [start, end]
        if "middle" in PLAY:
            states.insert(1, dict(zip(sorted(goal), PLAY["middle"], strict=True)))
        points = [
            SimpleNamespace(
                positions=[state[name] for name in names],
                velocities=[0.0] * 7,
                accelerations=[0.0] * 7,
                time_from_start=SimpleNamespace(sec=second, nanosec=0),
            )
            for second, state in enumerate(states)
        ]
        message = SimpleNamespace(
            joint_trajectory=SimpleNamespace(joint_names=names, points=points)
        )
        self.trajectory = SimpleNamespace(get_robot_trajectory_msg=lambda: message)

    def __bool__(self) -> bool:
        return bool(self.error_code.val == 1)


class _Scene:
    current_state = SimpleNamespace(update=lambda: None)

    def apply_collision_object(self, thing: Any) -> None:
        p = thing.primitive_poses[0].position
        size = list(thing.primitives[0].dimensions)
        log(f"box {size} at ({p.x}, {p.y}, {p.z}) in {thing.header.frame_id}")

    def process_attached_collision_object(self, thing: Any) -> None:
        log(f"cylinder {list(thing.object.primitives[0].dimensions)} on {thing.link_name}")


class MoveItPy:
    def __init__(self, node_name: str, config_dict: dict[str, Any]) -> None:
        log(f"velocity {config_dict['plan_request_params']['max_velocity_scaling_factor']}")
        log(f"planner {config_dict['ompl']['planning_plugins']}")

    def get_planning_component(self, name: str) -> _Component:
        log(f"group {name}")
        return _Component()

    def get_robot_model(self) -> None: ...

    def get_planning_scene_monitor(self) -> Any:
        @contextmanager
        def read_write() -> Any:
            yield _Scene()

        return SimpleNamespace(read_write=read_write)


def get_package_share_directory(package: str) -> str:
    return f"/share/{package}"


class MoveItConfigsBuilder:
    """With the demands of the real one, of a package like the FR3's, which has few files."""

    def __init__(self, name: str, package_name: str) -> None:
        log(f"builder {name} {package_name}")
        self._name = name
        self._given = {"kinematics"}
        self._pipelines = ["ompl", "pilz_industrial_motion_planner"]

    def _note(self, what: str, file_path: str, mappings: dict[str, str] | None = None) -> Any:
        log(f"{what} {file_path} {mappings}")
        self._given.add(what)
        return self

    def robot_description(self, file_path: str, mappings: dict[str, str]) -> Any:
        return self._note("urdf", file_path, mappings)

    def robot_description_semantic(self, file_path: str, mappings: dict[str, str]) -> Any:
        return self._note("srdf", file_path, mappings)

    def robot_description_kinematics(self, file_path: str) -> Any:
        return self._note("kinematics", file_path)

    def joint_limits(self, file_path: str) -> Any:
        return self._note("limits", file_path)

    def planning_pipelines(self, pipelines: list[str]) -> Any:
        self._pipelines = pipelines
        return self

    def to_moveit_configs(self) -> Any:
        missing = {"urdf", "srdf", "limits"} - self._given
        if missing or self._pipelines != ["ompl"]:
            raise FileNotFoundError(f"{missing or 'config/pilz_cartesian_limits.yaml'}")
        if self._name not in ("fr3", "panda"):
            raise RuntimeError("Unable to guess which parameter file to load")
        found = {"robot_description": "<robot/>", "ompl": {"planner_configs": {}}}
        return SimpleNamespace(to_dict=lambda: found)


class _Message(SimpleNamespace):
    ADD = b"0"
    BOX, CYLINDER = 1, 3

    def __init__(self, **fields: Any) -> None:
        super().__init__(
            **{
                "header": SimpleNamespace(frame_id=""),
                "primitives": [],
                "primitive_poses": [],
                **fields,
            }
        )


class CollisionObject(_Message): ...


class SolidPrimitive(_Message): ...


class AttachedCollisionObject(_Message):
    def __init__(self, **fields: Any) -> None:
        super().__init__(object=CollisionObject(), **fields)


assert "rclpy" not in sys.modules  # the planner's process needs no node of ours
