"""The graph, described once as plain data.

`describe` turns options into a `Stack`: which processes run with which parameters and remappings,
and what the death of each one means. ``launch_stack`` makes launch actions of it, ``run_stack``
starts the same description without ``ros2 launch``; neither adds or leaves out anything.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from twist_bringup.camera_roles import (
    LAB_CAMERAS,
    camera_drivers,
    camera_reference,
    complete_camera_file,
    complete_reference,
)
from twist_bringup.lab_roles import (
    arm_motion,
    arm_motion_packages,
    trial_parameters,
    viewer_packages,
    viewers,
)
from twist_bringup.moveit_parameters import MoveItFiles, moveit_parameters
from twist_bringup.options import StackOptions
from twist_bringup.robot_profile import (
    DriverProfile,
    RobotProfile,
    config_folder,
    load_robot_profile,
    load_yaml,
)
from twist_nodes.ros_packages import install_ros_package

ParameterValue = bool | int | float | str | tuple[bool | int | float | str, ...]

JOINT_STATES, EE_POSE, ROBOT_STATE = "joint_states", "ee_pose", "robot_state"
_LONGEST_RECORDING = 3600.0
"""Seconds at full speed after which a recording is one that somebody forgot."""
JOINT_TRAJECTORY = "joint_trajectory_controller/joint_trajectory"
CAMERA_TOPICS = ("camera/camera/color/image_raw", "camera/camera/color/camera_info")
"""Relative names in the nodes' code; a robot profile says what they are in the graph."""


class StackError(RuntimeError):
    """The graph cannot be described or started; the message says what to do."""


@dataclass(frozen=True)
class Process:
    """One node in a process of its own.

    Attributes:
        name: node name, and prefix of its lines in the log.
        package: package that installs `executable`.
        executable: program below the package's ``lib`` folder.
        module: Python module whose ``main`` is that program, for checkouts that are not built;
            empty for programs of other projects.
        namespace: namespace of the node.
        arguments: words before the ROS arguments.
        parameters: (name, value) pairs; they win over `parameter_file`.
        parameter_file: file under ``config`` with a mapping of parameters, or empty.
        parameter_overlays: files like `parameter_file` whose values are laid over it, in order.
        params_file: ROS parameter file of the user's, which wins over everything else, or empty.
        moveit: where the robot's description, semantics, kinematics and joint limits come from,
            which are parameters of the node as well; None for none.
        remappings: (name in the code, name in the graph) pairs.
        lifecycle: whether it is a managed (lifecycle) node.
        required: whether its death ends the graph.
        finishes: whether its end is the end of the run; its exit code is then the graph's verdict.
        progress: whether its info lines are news for the person at the terminal.
        respawn: whether it is started again after it died.
        respawn_delay: seconds before that.
        stop_stage: at the end, processes of a lower stage are stopped first.
        stop_grace: seconds it has to end after the first signal before the next one is sent.
    """

    name: str
    package: str
    executable: str
    module: str = ""
    namespace: str = ""
    arguments: tuple[str, ...] = ()
    parameters: tuple[tuple[str, ParameterValue], ...] = ()
    parameter_file: str = ""
    params_file: str = ""
    parameter_overlays: tuple[str, ...] = ()
    moveit: MoveItFiles | None = None
    remappings: tuple[tuple[str, str], ...] = ()
    lifecycle: bool = False
    required: bool = True
    finishes: bool = False
    progress: bool = False
    respawn: bool = False
    respawn_delay: float = 1.0
    stop_stage: int = 1
    stop_grace: float = 5.0

    def __post_init__(self) -> None:
        if self.required and self.respawn:
            raise StackError(f"{self.name}: a process is either required or respawned, not both")

    def parameter_tree(self) -> dict[str, Any]:
        """All parameters as a nested mapping: files, then MoveIt's, then `parameters`.

        Raises:
            ProfileError: the parameter file cannot be read.
            MoveItError: the robot's description cannot be loaded.
        """
        tree = _from_files(filter(None, (self.parameter_file, *self.parameter_overlays)))
        if self.moveit is not None:
            tree.update(moveit_parameters(self.moveit))
        for name, value in self.parameters:
            branch = tree
            *path, leaf = name.split(".")
            for key in path:
                branch = branch.setdefault(key, {})
            branch[leaf] = list(value) if isinstance(value, tuple) else value
        return tree


@dataclass(frozen=True)
class Stack:
    """Everything that runs.

    Attributes:
        options: what was asked for, with every default filled in.
        processes: in the order in which they are started.
        packages: packages of other projects that must be installed: (package, what to do).
    """

    options: StackOptions
    processes: tuple[Process, ...]
    packages: tuple[tuple[str, str], ...] = ()

    def process(self, name: str) -> Process:
        """The process called `name`.

        Raises:
            StackError: there is none.
        """
        for process in self.processes:
            if process.name == name:
                return process
        raise StackError(f"no process {name!r}; there are {[p.name for p in self.processes]}")

    def missing_packages(self, installed: Callable[[str], bool]) -> list[str]:
        """One line per package that is not installed, with what to do about it."""
        return [f"{name}: {cure}" for name, cure in self.packages if not installed(name)]


def complete(options: StackOptions, now: datetime | None = None) -> StackOptions:
    """Fills in the defaults that depend on the machine: checkpoint and output folder, absolute.

    Args:
        options: what was asked for.
        now: time for the output folder's name; None takes the clock.
    """
    checkpoint = Path(options.checkpoint) if options.checkpoint else _shipped(options.task)
    stamp = (now or datetime.now()).strftime("%Y%m%d-%H%M%S")
    output = Path(options.output or f"bags/{options.task}-{stamp}")
    return dataclasses.replace(
        options,
        checkpoint=str(checkpoint.expanduser().absolute()),
        output=str(output.expanduser().absolute()),
        bag=_absolute(options.bag),
        compare_with=_absolute(options.compare_with),
        camera_file=complete_camera_file(options),
        reference=complete_reference(options),
        colours=_absolute(options.colours),
        params_file=_absolute(options.params_file),
        trials=options.trial_count,
    )


def describe(options: StackOptions) -> Stack:
    """Describes the graph for `options`.

    Raises:
        StackError: the options do not go together.
        ProfileError: a configuration file is missing or malformed.
    """
    if options.resume and not options.output:
        raise StackError("resume:=true needs output:=<folder of the evaluation to go on with>")
    options = complete(options)
    _check_combination(options)
    profile = load_robot_profile(options.robot)
    processes: list[Process] = []
    packages: list[tuple[str, str]] = []
    if options.robot == "sim":
        processes.append(_robot_twin(options, profile))
    if profile.driver is not None:
        packages += _driver_packages(profile.driver)
        processes.append(_robot_state(profile, profile.driver))
    processes += camera_drivers(options)
    if options.camera_source == "realsense":
        packages.append(("realsense2_camera", install_ros_package("realsense2-camera")))
    elif options.camera_source in ("bag", "mock"):
        processes.append(_mock_camera(options))
    if options.dry_run:
        pass  # nothing is sent to Servo
    elif options.servo_source == "embedded":
        processes.append(_servo_stand_in(options, profile))
    else:
        processes.append(_moveit_servo(options, profile))
        packages.append(("moveit_servo", install_ros_package("moveit-servo")))
        packages += _moveit_packages(profile)
    processes.append(_policy_node(options, profile))
    if options.record:
        processes.append(_recorder(options, profile))
    if profile.driver is not None and not options.dry_run:
        processes.append(arm_motion(options, profile))
        packages += [
            (n, install_ros_package(n.replace("_", "-"))) for n in arm_motion_packages(profile)
        ]
    processes += viewers(options, profile)
    packages += [
        (name, install_ros_package(name.replace("_", "-"))) for name in viewer_packages(options)
    ]
    if options.trials:
        processes.append(_trial_runner(options))
    processes += camera_reference(options)
    if options.params_file:
        processes = [dataclasses.replace(p, params_file=options.params_file) for p in processes]
    return Stack(options, tuple(processes), tuple(packages))


def _check_combination(options: StackOptions) -> None:
    if options.camera_source == "sim" and options.robot != "sim":
        raise StackError(
            f"camera:=sim shows the twin, not the {options.robot}; "
            "use camera:=realsense, or robot:=sim"
        )
    if options.camera_source in ("bag", "mock") and options.robot != "sim" and not options.dry_run:
        raise StackError(
            f"camera:={options.camera_source} does not show what the {options.robot} does; use "
            "camera:=realsense to move it, or dry_run:=true to see what the policy would do"
        )
    evaluation = [name for name in ("compare_with", "seeds", "resume") if getattr(options, name)]
    if evaluation and not options.trials:
        raise StackError(
            f"{' and '.join(f'{name}:=...' for name in evaluation)} is about trials, and none are "
            "asked for: add trials:=<how many>"
        )
    if options.seeds:
        # Imported here: the graph of one seed is described without it.
        from twist_evaluation.campaign import parse_seeds
        from twist_evaluation.evaluation_setup import SetupError

        try:
            parse_seeds(options.seeds, options.seed)
        except SetupError as error:
            raise StackError(str(error)) from None
    if options.camera_source == "bag" and not options.bag:
        raise StackError("camera:=bag needs bag:=<folder of a recorded bag with images>")
    if options.camera_source != "bag" and options.bag:
        raise StackError(f"bag:={options.bag} is only used with camera:=bag")
    if options.judge_source == "truth" and options.robot != "sim":
        raise StackError(
            "judge:=truth reads the twin's true state, and the lab has none: use judge:=camera or "
            "judge:=operator"
        )
    if options.dry_run and options.trials:
        raise StackError(
            "dry_run:=true moves nothing, so there is nothing to judge: leave trials out (or 0), "
            "and activate the policy by hand"
        )
    if options.servo_source == "embedded" and options.robot != "sim":
        raise StackError(
            "servo:=embedded is a stand-in for the twin and checks no collisions; "
            f"use servo:=moveit with robot:={options.robot}"
        )


def _robot_topics(profile: RobotProfile) -> tuple[tuple[str, str], ...]:
    """Remappings to the topics of the robot's driver, where they differ from the code's names."""
    pairs = (
        (JOINT_STATES, profile.joint_states),
        (EE_POSE, profile.ee_pose),
        (JOINT_TRAJECTORY, profile.joint_trajectory),
        (ROBOT_STATE, profile.robot_state),
    )
    return tuple((source, target) for source, target in pairs if target != f"/{source}")


def _robot_twin(options: StackOptions, profile: RobotProfile) -> Process:
    remappings = _robot_topics(profile)
    rate = 30.0
    if options.camera_source != "sim":
        # Another camera feeds the policy; the twin's view stays there to look at.
        rate = 10.0
        remappings += tuple((name, f"/robot_twin/{name}") for name in CAMERA_TOPICS)
    return Process(
        name="robot_twin",
        package="twist_sim",
        executable="robot_twin",
        module="twist_sim.ros.robot_twin",
        parameters=(
            ("task", options.task),
            ("appearance", options.appearance),
            ("seed", options.seed),
            ("camera_rate", rate),
        ),
        remappings=remappings,
        stop_stage=3,
    )


def _mock_camera(options: StackOptions) -> Process:
    return Process(
        name="mock_camera",
        package="twist_bringup",
        executable="mock_camera",
        module="twist_bringup.mock_camera",
        parameters=(("bag", options.bag),),
        stop_stage=3,
    )


def _servo_stand_in(options: StackOptions, profile: RobotProfile) -> Process:
    return Process(
        name="servo_node",
        package="twist_sim",
        executable="servo_stand_in",
        module="twist_sim.ros.servo_stand_in",
        parameters=(
            ("task", options.task),
            *_servo_values(options.command_mode),
            ("moveit_servo.joint_topic", profile.joint_states),
            ("moveit_servo.command_out_topic", profile.joint_trajectory),
        ),
        stop_stage=2,
    )


_OF_SERVO = (
    "publish_period",
    "incoming_command_timeout",
    "scale.linear",
    "scale.rotational",
    "lower_singularity_threshold",
    "hard_stop_singularity_threshold",
)
"""Parameters of the lab's Servo that the stand-in has, too."""


def _servo_values(command_mode: str) -> list[tuple[str, ParameterValue]]:
    """The lab's values of `_OF_SERVO`."""
    tree = _from_files(("servo_common.yaml", f"servo_{command_mode}.yaml"))
    values: list[tuple[str, ParameterValue]] = []
    for name in (f"moveit_servo.{name}" for name in _OF_SERVO):
        branch: Any = tree
        for key in name.split("."):
            branch = branch[key]
        values.append((name, branch))
    return values


def _moveit_servo(options: StackOptions, profile: RobotProfile) -> Process:
    primary = profile.planning_scene == "servo"
    scene = "/planning_scene" if primary else "/monitored_planning_scene"
    return Process(
        name="servo_node",
        package="moveit_servo",
        executable="servo_node",
        parameter_file="servo_common.yaml",
        parameter_overlays=(profile.servo_parameters, f"servo_{options.command_mode}.yaml"),
        moveit=MoveItFiles(profile.moveit_config, profile.urdf, profile.srdf, profile.joint_limits),
        parameters=(
            ("moveit_servo.joint_topic", profile.joint_states),
            ("moveit_servo.command_out_topic", profile.joint_trajectory),
            ("moveit_servo.is_primary_planning_scene_monitor", primary),
            ("moveit_servo.monitored_planning_scene_topic", scene),
        ),
        # It ends when it hears no joint states at its start, and whenever it crashes. The policy
        # notices and stays stopped; once Servo is back, a person activates again.
        required=False,
        respawn=True,
        respawn_delay=2.0,
        stop_stage=2,
    )


def _robot_state(profile: RobotProfile, driver: DriverProfile) -> Process:
    recovery = profile.recovery
    steps: tuple[tuple[str, ParameterValue], ...] = (("recovery_steps", ""),)
    if recovery is not None:
        steps = (
            ("recovery_steps", " ".join(recovery.steps)),
            ("recovery_kind", recovery.kind),
            ("error_recovery", recovery.name),
            ("hardware_component", recovery.hardware_component),
            ("broadcasters", " ".join(recovery.broadcasters)),
        )
    return Process(
        name="robot_state",
        package="twist_robot",
        executable="robot_state",
        module="twist_robot.robot_state_node",
        parameters=(
            ("robot", profile.name),
            ("driver", driver.kind),
            ("base_frame", profile.base_frame),
            ("controllers", profile.trajectory_controller),
            ("servo_controller", profile.trajectory_controller),
            *steps,
        ),
        remappings=(("driver_state", driver.state), *_robot_topics(profile)),
        stop_stage=3,
    )


def _driver_packages(driver: DriverProfile) -> list[tuple[str, str]]:
    cure = f"build {driver.source}, source it, and start it first: {driver.start}"
    return [(driver.package, cure), ("franka_msgs", cure)]


def _moveit_packages(profile: RobotProfile) -> list[tuple[str, str]]:
    names = (profile.moveit_config, profile.urdf.package, profile.srdf.package)
    source = profile.driver.source if profile.driver is not None else ""
    return [
        (
            name,
            install_ros_package(name.replace("_", "-"))
            if name.startswith("moveit_resources_")
            else f"build {source} with its dependencies",
        )
        for name in dict.fromkeys(names)
    ]


def _policy_node(options: StackOptions, profile: RobotProfile) -> Process:
    return Process(
        name="twist_policy_node",
        package="twist_policy_node",
        executable="policy_node",
        module="twist_policy_node.policy_node",
        parameters=(
            ("checkpoint", options.checkpoint),
            ("task", options.task),
            ("command_mode", options.command_mode),
            ("speed", options.speed),
            ("dry_run", options.dry_run),
            ("camera_info_required", options.camera_source in LAB_CAMERAS),
            ("base_frame", profile.base_frame),
            ("gripper", profile.gripper),
            ("robot_state_required", profile.driver is not None),
            ("contact_force_limit", profile.contact_force_limit),
        ),
        remappings=(
            ("image_raw", f"/{CAMERA_TOPICS[0]}"),
            ("camera_info", f"/{CAMERA_TOPICS[1]}"),
            *_robot_topics(profile),
        ),
        lifecycle=True,
        stop_stage=1,
        # While it loads its networks a signal waits.
        stop_grace=15.0,
    )


def _recorder(options: StackOptions, profile: RobotProfile) -> Process:
    # A recording that nobody stops is closed after this time: no trial may come near it.
    longest = (_LONGEST_RECORDING + options.episode_steps) / options.speed
    return Process(
        name="recorder",
        package="twist_evaluation",
        executable="recorder",
        module="twist_evaluation.recorder_node",
        parameters=(("maximum_duration", min(longest, 86_400.0)),),
        remappings=_robot_topics(profile),
        stop_stage=2,
        stop_grace=10.0,
    )


def _trial_runner(options: StackOptions) -> Process:
    return Process(
        name="trial_runner",
        package="twist_evaluation",
        executable="trial_runner",
        module="twist_evaluation.trial_runner_node",
        parameters=(
            ("task", options.task),
            ("trials", options.trials),
            ("seed", options.seed),
            ("record", options.record),
            ("output", options.output),
            ("checkpoint", options.checkpoint),
            ("episode_steps", options.episode_steps),
            ("resume", options.resume),
            ("seeds", options.seeds),
            ("compare_with", options.compare_with),
            ("conditions", _conditions(options)),
            *trial_parameters(options),
            ("reference_service", "camera_reference/check" if options.reference else ""),
            # More than the policy takes to give up arming: its message names what is missing.
            ("first_step_timeout", 10.0),
            ("step_timeout", 2.0 / options.speed),
        ),
        finishes=True,
        progress=True,
        stop_stage=0,
        # It asks the policy to stop and the recorder to close the bag; either may be the dead one.
        stop_grace=15.0,
    )


def _conditions(options: StackOptions) -> str:
    """What a trial's result depends on, beside task, layout and checkpoint."""
    told = {
        "robot": options.robot,
        "camera": options.camera_source,
        "servo": options.servo_source,
        "command_mode": options.command_mode,
        "speed": f"{options.speed:g}",
        "appearance": options.appearance,
        "judge": options.judge_source,
    }
    return " ".join(f"{name}={value}" for name, value in told.items())


def _absolute(path: str) -> str:
    return str(Path(path).expanduser().absolute()) if path else ""


def _shipped(task: str) -> Path:
    """``models/<task>`` below the current folder or below a folder that holds this package."""
    here = Path.cwd() / "models" / task
    for folder in (Path.cwd(), *Path(__file__).resolve().parents):
        candidate = folder / "models" / task
        if candidate.is_dir():
            return candidate
    return here


def _from_files(files: Iterable[str]) -> dict[str, Any]:
    """The mappings in files below ``config``, each laid over those before it."""
    tree: dict[str, Any] = {}
    for file in files:
        _lay_over(tree, load_yaml(config_folder() / file))
    return tree


def _lay_over(tree: dict[str, Any], overlay: Mapping[str, Any]) -> None:
    """Puts the values of a nested mapping into another one."""
    for key, value in overlay.items():
        if isinstance(value, Mapping):
            _lay_over(tree.setdefault(key, {}), value)
        else:
            tree[key] = value
