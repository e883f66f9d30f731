"""Promises of the running node, kept over real middleware.

The exact time limits are tested in `test_control_loop`, in simulated time. Here the machine's load
counts, so limits are generous.
"""

from __future__ import annotations

import itertools
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lifecycle_msgs.msg import Transition

pytestmark = pytest.mark.slow

STOP_WITHIN = 3.0
"""The stand's limits of a second, and the delays of a busy machine, seconds."""


def last_motion(stand: Any) -> float:
    """When the last command that differs from the one before arrived (pose), or moves (twist)."""
    commands = stand.cell.commands
    moving = [
        b.at
        for a, b in itertools.pairwise(commands)
        if (np.any(a.vector != b.vector) if b.kind == "pose" else np.any(b.vector != 0))
    ]
    return max(moving, default=0.0)


def assert_stands_still_from_now_on(stand: Any) -> None:
    """The node is inactive, Servo paused, and nothing is commanded any more."""
    stand.wait_for(lambda: stand.state() == "inactive", "the node to be inactive")
    stand.wait_for(lambda: stand.cell.paused or not stand.cell.serving, "Servo paused")
    # What was sent before now may be taken later, on a busy machine.
    now = time.time_ns()
    time.sleep(0.3)  # a time in which nothing may happen cannot be awaited otherwise
    assert [sent for sent in stand.cell.commands if sent.published > now] == []
    assert [step for step in stand.cell.steps if _nanoseconds(step.publish_time) > now] == []


def _nanoseconds(stamp: Any) -> int:
    return int(stamp.sec) * 10**9 + int(stamp.nanosec)


def test_nothing_is_commanded_before_activation(stand: Any) -> None:
    stand.configured("forward")
    assert stand.state() == "inactive"
    time.sleep(0.5)
    assert stand.cell.commands == []
    assert stand.cell.pause_requests == []
    assert stand.cell.steps == []


def test_the_running_node_moves_the_arm_in_bounded_steps_and_says_what_it_does(
    stand: Any,
) -> None:
    stand.running("forward")
    stand.wait_for(lambda: len(stand.cell.steps) >= 12, "twelve steps")
    assert stand.cell.command_type == 2
    steps = stand.cell.steps[:12]
    assert [s.step for s in steps] == list(range(12))
    assert all(np.linalg.norm(s.delta) <= 0.02 + 1e-9 for s in steps)
    assert stand.cell.link8[0] > 0.45
    for step in steps:
        assert 0 < step.inference_time < step.camera_age <= step.latency
        assert step.raw_action[0] == pytest.approx(0.5)
        assert step.speed_scale == 1.0
        published = step.publish_time.sec + step.publish_time.nanosec * 1e-9
        image = step.image_stamp.sec + step.image_stamp.nanosec * 1e-9
        assert step.latency == pytest.approx(published - image, abs=0.01)
    targets = [s.vector for s in stand.cell.commands]
    assert all(np.linalg.norm(b - a) <= 0.021 for a, b in itertools.pairwise(targets))
    stand.wait_for(lambda: len(stand.cell.beliefs) >= 3, "beliefs")
    belief = max(stand.cell.beliefs, key=lambda b: len(b.imagined_ee_path))
    assert len(belief.imagined_ee_path) == len(belief.imagined_object_path) == 15
    assert belief.names[:4] == [
        "ee_position.x",
        "ee_position.y",
        "ee_position.z",
        "object_position.x",
    ]
    assert len(belief.names) == len(belief.units) == len(belief.values) == 9
    assert belief.ee_position.x == belief.values[0]


def test_at_half_speed_a_step_takes_two_control_periods_and_goes_as_far(stand: Any) -> None:
    stand.running("forward", speed=0.5)
    stand.wait_for(lambda: len(stand.cell.steps) >= 8, "eight steps")
    steps = stand.cell.steps[:8]
    assert {step.speed_scale for step in steps} == {0.5}
    assert [np.linalg.norm(step.delta) for step in steps] == pytest.approx([0.005] * 8, abs=1e-6)
    times = [s.header.stamp.sec + s.header.stamp.nanosec * 1e-9 for s in steps]
    assert float(np.median(np.diff(times))) == pytest.approx(0.2, abs=0.04)
    # The policy asks for half of its 2 cm.
    way = [step.target[0] for step in steps]
    assert np.diff(way) == pytest.approx([0.01] * 7, abs=1e-6)
    values = {v.key: v.value for v in stand.cell.policy_diagnostics[-1].values}
    assert values["speed"] == "0.5"


def test_commands_are_sent_again_at_the_command_rate_under_fresh_stamps(stand: Any) -> None:
    stand.running("forward")
    before = len(stand.cell.commands)
    stand.wait_for(lambda: len(stand.cell.commands) >= before + 50, "fifty commands")
    sent = stand.cell.commands[before : before + 50]
    assert float(np.median(np.diff([s.at for s in sent]))) < 0.05  # a policy step takes 0.1 s
    stamps = [s.message.header.stamp for s in sent]
    numbers = [stamp.sec + stamp.nanosec * 1e-9 for stamp in stamps]
    assert all(b > a for a, b in itertools.pairwise(numbers))
    assert all(b.published > a.published > 0 for a, b in itertools.pairwise(sent))
    assert {s.message.header.frame_id for s in sent} == {"panda_link0"}


def test_deactivating_holds_the_arm_pauses_servo_and_can_be_repeated(stand: Any) -> None:
    stand.running("forward")
    for _ in range(2):
        assert stand.deactivate()
        assert_stands_still_from_now_on(stand)
        hold = stand.cell.commands[-1].vector
        assert np.linalg.norm(hold - stand.cell.link8) < 1e-6
        assert stand.cell.pause_requests[-1] is True
        stand.cell.steps.clear()
        assert stand.activate()
        stand.wait_for(lambda: len(stand.cell.steps) >= 2, "steps after activating again")
        assert stand.cell.steps[0].step == 0


FAULTS: tuple[tuple[str, str, str], ...] = (
    ("camera", "silent", "camera_silent"),
    ("camera", "frozen", "camera_frozen"),
    ("camera", "black", "camera_blank"),
    ("camera", "encoding", "camera_format"),
    ("camera", "size", "camera_format"),
    ("camera", "truncated", "camera_format"),
    ("camera", "late", "camera_stale"),
    ("robot", "silent", "pose_silent"),
    ("robot", "nan", "pose_invalid"),
    ("robot", "jump", "pose_jump"),
)


def test_a_dry_run_decides_without_servo_and_never_becomes_a_commander(stand: Any) -> None:
    stand.in_cell(stand.cell.kill_servo)
    stand.running("forward", dry_run=True)
    stand.wait_for(lambda: len(stand.cell.beliefs) >= 3, "beliefs")
    topics = [name for name, _ in stand.cell.get_topic_names_and_types()]
    assert not [name for name in topics if name.endswith(("pose_target_cmds", "twist_cmds"))]
    assert {step.speed_scale for step in stand.cell.steps} == {0.0}
    assert all(np.linalg.norm(step.delta) > 0 for step in stand.cell.steps)
    assert "dry_run" in {v.key for v in stand.cell.policy_diagnostics[-1].values}
    assert stand.deactivate()
    assert stand.cell.pause_requests == []
    assert stand.set_parameter("dry_run", False) != ""  # only at the start of the process


@pytest.mark.parametrize("mode", ["pose", "twist"])
def test_every_fault_of_camera_and_robot_stops_the_arm_and_latches(stand: Any, mode: str) -> None:
    stand.configured("forward", command_mode=mode)
    for part, trouble, code in FAULTS:
        stand.cell.link8[:] = (0.4, 0.0, 0.25)
        stand.cell.steps.clear()
        stand.cell.policy_diagnostics.clear()
        assert stand.activate(), stand.log()
        stand.wait_for(lambda: len(stand.cell.steps) >= 3, f"three steps before {trouble}")
        since = time.monotonic()
        setattr(stand.cell, part, trouble)
        status = stand.wait_for_stop(code)
        assert status.level == b"\x02"
        values = {v.key: v.value for v in status.values}
        assert values["cause"]
        assert values["cure"]
        assert_stands_still_from_now_on(stand)
        assert last_motion(stand) - since < STOP_WITHIN, f"{trouble} stopped too late"
        setattr(stand.cell, part, "ok")
        assert_stands_still_from_now_on(stand)  # trouble that is over starts nothing


def test_a_killed_servo_stops_the_policy_until_it_is_back_and_activated_again(
    stand: Any,
) -> None:
    stand.running("forward")
    stand.in_cell(stand.cell.kill_servo)
    stand.wait_for_stop("servo_lost")
    assert_stands_still_from_now_on(stand)
    stand.cell.paused = True
    stand.in_cell(stand.cell.start_servo)
    stand.cell.steps.clear()
    stand.cell.policy_diagnostics.clear()
    assert stand.activate(), stand.log()
    stand.wait_for(lambda: len(stand.cell.steps) >= 3, "steps with the new Servo")
    stand.cell.servo_status = 5
    status = stand.wait_for_stop("servo_halt")
    assert "HALT_FOR_COLLISION" in status.message
    assert_stands_still_from_now_on(stand)


def test_an_arm_that_reports_trouble_is_not_moved_and_stops_while_it_moves(stand: Any) -> None:
    from twist_msgs.msg import RobotState

    stand.cell.arm = RobotState(mode=RobotState.GUIDING, command_success_rate=1.0)
    limits = {"robot_state_age_limit": 0.9, "activation_timeout": 3.0}
    stand.configured("forward", robot_state_required=True, **limits)
    assert stand.activate(), stand.log()
    stand.wait_for_stop("not_ready")
    stand.wait_for(lambda: stand.state() == "inactive", "the refusal")
    assert "let go of the guiding button" in stand.log()
    assert stand.cell.commands == []
    for trouble, code in (
        ({"mode": RobotState.REFLEX, "errors": ["cartesian_reflex"]}, "robot_error"),
        ({"mode": RobotState.USER_STOPPED}, "robot_mode"),
        ({"mode": RobotState.MOVE, "contact_force": 80.0}, "contact_force"),
        (None, "robot_silent"),
    ):
        stand.cell.arm = RobotState(mode=RobotState.MOVE, command_success_rate=1.0)
        stand.cell.steps.clear()
        stand.cell.policy_diagnostics.clear()
        assert stand.activate(), stand.log()
        stand.wait_for(lambda: len(stand.cell.steps) >= 3, "steps")
        stand.cell.arm = trouble and RobotState(command_success_rate=1.0, **trouble)
        stand.wait_for_stop(code)
        assert_stands_still_from_now_on(stand)


def test_nan_from_a_module_stops_the_arm(stand: Any) -> None:
    stand.running("nan")
    status = stand.wait_for_stop("policy_invalid")
    assert "NaN" in status.message
    assert_stands_still_from_now_on(stand)
    assert all(np.isfinite(s.vector).all() for s in stand.cell.commands)


def test_a_second_policy_node_refuses_and_the_first_goes_on(stand: Any) -> None:
    stand.running("forward")
    stand.configured("hold", name="second_policy_node")
    stand.activate("second_policy_node")  # fails at once where the first is already known

    def second_said_why() -> bool:
        lines = stand.log().splitlines()
        return any("[second_policy_node]" in x and "somebody else commands" in x for x in lines)

    stand.wait_for(second_said_why, "the reason")
    stand.wait_for(lambda: stand.state("second_policy_node") == "inactive", "it to be inactive")
    assert not stand.activate("second_policy_node"), stand.log()
    assert re.search(
        "(/twist_policy_node|another node) on /servo_node/pose_target_cmds", stand.log()
    )
    assert stand.state() == "active"
    steps = len(stand.cell.steps)
    stand.wait_for(lambda: len(stand.cell.steps) > steps + 3, "the first to go on")


def test_of_two_nodes_of_one_name_at_most_one_moves_the_arm(stand: Any) -> None:
    stand.configured("forward")
    stand.start("forward")
    stand.wait_for(lambda: stand.cell.get_node_names().count("twist_policy_node") == 2, "two nodes")
    stand.change_state(Transition.TRANSITION_CONFIGURE)  # reaches both, one of them can
    stand.wait_for(lambda: stand.log().count("configured block_push") == 2, "both configured")
    stand.activate()
    # Both refuse where each has heard of the other. Middleware may tell one of them late: it
    # starts, and the other one sees its commands.
    reasons = ("2 nodes named /twist_policy_node", "somebody else commands Servo")
    stand.wait_for(lambda: any(reason in stand.log() for reason in reasons), "a reason")
    time.sleep(1.0)
    running = stand.log().count("[twist_policy_node]: running")
    assert running <= 1, stand.log()
    if not running:
        assert stand.cell.commands == []


def test_a_foreign_commander_stops_the_running_node(stand: Any) -> None:
    from geometry_msgs.msg import TwistStamped

    stand.running("forward")
    stand.in_cell(
        lambda: setattr(
            stand.cell,
            "foreign",
            stand.cell.create_publisher(TwistStamped, "servo_node/delta_twist_cmds", 1),
        )
    )
    status = stand.wait_for_stop("other_commander")
    assert "on /servo_node/delta_twist_cmds" in status.message
    assert_stands_still_from_now_on(stand)


@pytest.mark.parametrize(
    ("prepare", "expected"),
    [
        (lambda cell: setattr(cell, "camera", "silent"), "no camera frame on /image_raw"),
        (lambda cell: setattr(cell, "camera", "encoding"), "'mono8'"),
        (lambda cell: setattr(cell, "robot", "silent"), "no end-effector pose on /ee_pose"),
        # A service that is gone may still be known to the middleware: then it does not answer.
        (lambda cell: cell.kill_servo(), "/servo_node/switch_command_type "),
        (lambda cell: setattr(cell, "refuse_pause", True), "/servo_node/pause_servo was refused"),
        (lambda cell: setattr(cell, "servo_talks", False), "sent no status"),
    ],
    ids=["camera", "encoding", "robot", "servo", "pause", "status"],
)
def test_activation_without_what_it_needs_names_it_and_moves_nothing(
    stand: Any, prepare: Callable[[Any], None], expected: str
) -> None:
    stand.in_cell(lambda: prepare(stand.cell))
    stand.configured("forward", activation_timeout=3.0, service_timeout=1.0)
    assert stand.activate(), stand.log()
    stand.wait_for(lambda: expected in stand.log(), f"the log to say {expected!r}")
    stand.wait_for(lambda: stand.state() == "inactive", "the node to be inactive")
    assert stand.cell.commands == []
    assert stand.cell.steps == []


@pytest.mark.parametrize("mode", ["pose", "twist"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_the_arm_pauses_servo_and_ends_with_code_0(
    stand: Any, mode: str, number: int
) -> None:
    process = stand.start("forward", command_mode=mode)
    assert stand.change_state(Transition.TRANSITION_CONFIGURE)
    assert stand.activate(), stand.log()
    stand.wait_for(lambda: len(stand.cell.steps) >= 3, "three steps")
    assert stand.signal(process, number) == 0, stand.log()
    assert stand.cell.paused
    last = stand.cell.commands[-1].vector
    still = stand.cell.link8 if mode == "pose" else np.zeros(3)
    np.testing.assert_allclose(last, still, atol=1e-6)
    assert "Traceback" not in stand.log()


def test_a_servo_that_does_not_answer_at_the_end_is_told_of(stand: Any) -> None:
    process = stand.start("forward")
    assert stand.change_state(Transition.TRANSITION_CONFIGURE)
    assert stand.activate(), stand.log()
    stand.wait_for(lambda: len(stand.cell.steps) >= 3, "three steps")
    stand.cell.pause_takes = 1.5
    assert stand.signal(process, signal.SIGINT) == 0, stand.log()
    assert "Servo did not answer within 0.5 s that it is paused" in stand.log()


@pytest.mark.parametrize("delay", [0.3, 0.8, 1.5, 2.5])
def test_a_signal_while_starting_ends_with_code_0(stand: Any, delay: float) -> None:
    process = stand.start("forward", autostart=True)
    time.sleep(delay)  # any moment is meant
    code = stand.signal(process, signal.SIGINT)
    # Before Python runs the first line of ours, the signal ends the interpreter as usual.
    assert code == 0 or (delay < 1.0 and code in (-signal.SIGINT, 1)), stand.log()


def test_an_unusable_checkpoint_is_refused_and_the_arm_stays_disabled(
    stand: Any, tmp_path: Path, checkpoints: Callable[[str], Path]
) -> None:
    stand.start("forward", checkpoint=tmp_path / "nothing")
    configure = Transition.TRANSITION_CONFIGURE
    assert not stand.change_state(configure)
    assert stand.state() == "unconfigured"
    stand.wait_for_stop("configure")
    assert "there is no checkpoint folder" in stand.log()
    assert not stand.activate()  # not possible; the node survives the request
    stand.set_parameter("checkpoint", str(checkpoints("forward")))
    stand.set_parameter("task", "block_lift")
    assert not stand.change_state(configure)
    assert "'block_lift'" in stand.log()
    stand.set_parameter("task", "block_push")
    assert stand.change_state(configure)
    assert stand.cell.commands == []
    assert stand.cell.pause_requests == []


def test_impossible_transitions_and_changes_while_active_are_refused_without_harm(
    stand: Any,
) -> None:
    stand.running("hold")
    assert not stand.activate()
    assert not stand.change_state(Transition.TRANSITION_CONFIGURE)
    assert "while the node is active" in stand.set_parameter("frame_age_limit", 1.0)
    assert stand.set_parameter("command_rate", 60.0)  # read-only
    assert stand.state() == "active"
    assert stand.deactivate()
    assert not stand.deactivate()
    assert stand.set_parameter("frame_age_limit", 1.0) == ""
    assert "surprise_slow" in stand.set_parameter("surprise_slow", 500.0)
    assert stand.activate(), stand.log()
    assert stand.change_state(Transition.TRANSITION_ACTIVE_SHUTDOWN)
    stand.wait_for(lambda: stand.cell.paused, "Servo paused")


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"command_rate": "5.0"}, "within 20.0..200.0"),
        ({"command_rate": "50"}, "write 50.0"),
        ({"command_mode": "jog"}, "pose, twist"),
        ({"surprise_slow": "500.0"}, "surprise_stop"),
        ({"frame_age_limt": "0.5"}, "did you mean frame_age_limit?"),
    ],
)
def test_a_bad_parameter_ends_the_process_with_code_1_and_says_why(
    stand: Any, parameters: dict[str, str], expected: str
) -> None:
    process = stand.start("forward", **parameters)
    assert process.wait(40) == 1
    stand.wait_for_log(expected)
    assert "Traceback" not in stand.log()


def test_autostart_needs_nobody(stand: Any) -> None:
    stand.start("forward", autostart=True)
    stand.wait_for(lambda: len(stand.cell.steps) >= 3, "three steps")
