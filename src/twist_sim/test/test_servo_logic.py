import numpy as np
import pytest

from twist_sim.ros.cartesian import rotation_error
from twist_sim.ros.servo_interface import (
    CommandRejected,
    CommandType,
    PoseCommand,
    StatusCode,
    TwistCommand,
)
from twist_sim.ros.servo_logic import JointLimits, ServoConfig, ServoLogic

PERIOD = 0.01
FRAME = "panda_link0"


class Gantry:
    """Three sliding axes and a wrist near its zero: the tip's velocity is the joints' velocity.

    `sixth` scales the last axis, so that the Jacobian's condition number can be chosen by q[0].
    """

    def __init__(self, sixth=lambda q: 1.0):
        self.sixth = sixth

    def tip_pose(self, q):
        return q[:3].copy(), np.eye(3)

    def tip_jacobian(self, q):
        return np.diag([self.sixth(q), 1.0, 1.0, 1.0, 1.0, 1.0])


LIMITS = JointLimits(
    lower=np.full(6, -1.0),
    upper=np.full(6, 1.0),
    velocity=np.full(6, 2.0),
    acceleration=np.full(6, 10.0),
)


def make(kind=CommandType.POSE, kinematics=None, start=None, **config):
    settled = {"linear_scale": 0.4, "acceleration_scale": 1.0, "joint_limit_margin": 0.1}
    logic = ServoLogic(ServoConfig(**(settled | config)), kinematics or Gantry(), LIMITS)
    if kind is not None:
        assert logic.switch_command_type(kind)
    logic.update_joint_state(np.zeros(6) if start is None else np.asarray(start, float))
    return logic


def pose(stamp, x=0.0, y=0.0, z=0.0):
    return PoseCommand(stamp, np.array([x, y, z]), np.eye(3))


def twist(stamp, x=0.0, y=0.0, z=0.0):
    return TwistCommand(stamp, np.array([x, y, z]), np.zeros(3))


def run(logic, seconds, start=100.0, command=None):
    """Ticks with a command renewed at 50 Hz; returns (final time, ticks)."""
    ticks = []
    for i in range(round(seconds / PERIOD)):
        now = start + i * PERIOD
        if command is not None and i % 2 == 0:
            logic.accept(FRAME, command(now))
        ticks.append(logic.tick(now))
    return start + seconds, ticks


def positions(ticks):
    return np.array([t.positions for t in ticks if t.positions is not None])


def test_a_pose_target_is_reached_and_held():
    logic = make()
    _, ticks = run(logic, 0.5, command=lambda t: pose(t, 0.02, -0.01, 0.01))
    np.testing.assert_allclose(ticks[-1].positions[:3], [0.02, -0.01, 0.01], atol=1e-5)
    assert all(t.status == StatusCode.NO_WARNING for t in ticks)


def test_two_centimetres_are_nearly_done_within_one_control_period():
    logic = make()
    _, ticks = run(logic, 0.1, command=lambda t: pose(t, 0.02))
    assert 0.02 - ticks[-1].positions[0] < 0.004


@pytest.mark.parametrize("offered", [pose, twist])
def test_velocity_and_acceleration_limits_hold_on_every_tick(offered):
    kind = CommandType.POSE if offered is pose else CommandType.TWIST
    logic = make(kind, linear_acceleration=100.0)
    rng = np.random.default_rng(0)
    track, now = [np.zeros(6)], 100.0
    for _ in range(40):
        goal = rng.uniform(-0.5, 0.5, 3)
        now, ticks = run(logic, 0.1, now, lambda t, goal=goal: offered(t, *goal))
        track.extend(positions(ticks))
    velocity = np.diff(track, axis=0) / PERIOD
    acceleration = np.diff(velocity, axis=0, prepend=np.zeros((1, 6))) / PERIOD
    assert np.linalg.norm(velocity[:, :3], axis=1).max() <= 0.4 * np.sqrt(1.0 + 1e-6)
    assert (np.abs(acceleration) <= LIMITS.acceleration * (1 + 1e-6)).all()


def test_a_command_counts_until_its_stamp_is_too_old_and_the_arm_then_halts_smoothly():
    logic = make(CommandType.TWIST)
    logic.accept(FRAME, twist(100.0, 0.2))
    ticks = [logic.tick(100.0 + i * PERIOD) for i in range(40)]
    moving = [i for i, t in enumerate(ticks) if t.positions is not None]
    track = positions(ticks)
    speed = np.diff(track[:, 0]) / PERIOD
    assert speed.max() == pytest.approx(0.2, rel=1e-3)
    assert moving[-1] <= 15  # 0.1 s of command, 0.02 s to brake, and no output afterwards
    assert (np.diff(speed)[5:] <= 1e-9).all()  # it only gets slower
    assert np.abs(np.diff(speed)).max() <= 10.0 * PERIOD + 1e-9
    assert track[-1, 0] < 0.2 * 0.1 + 0.005


@pytest.mark.parametrize("stamp", [0.0, 99.8, 12.5, 250.0])
def test_a_stamp_of_zero_or_of_another_clock_means_no_motion(stamp):
    logic = make()
    logic.accept(FRAME, pose(stamp, 0.02))
    ticks = [logic.tick(100.0 + i * PERIOD) for i in range(20)]
    assert all(t.positions is None for t in ticks)


def test_commands_before_a_command_type_is_chosen_do_nothing_and_say_why():
    logic = make(kind=None)
    with pytest.raises(CommandRejected, match="switch_command_type"):
        logic.accept(FRAME, pose(100.0, 0.02))
    assert logic.tick(100.0).positions is None


def test_commands_of_the_other_kind_do_nothing_and_say_why():
    logic = make(CommandType.TWIST)
    with pytest.raises(CommandRejected, match="command type is TWIST"):
        logic.accept(FRAME, pose(100.0, 0.02))
    assert logic.tick(100.0).positions is None


def test_switching_drops_the_command_of_the_other_kind():
    logic = make(CommandType.TWIST)
    logic.accept(FRAME, twist(100.0, 0.2))
    assert logic.switch_command_type(CommandType.POSE)
    assert logic.tick(100.0).positions is None


@pytest.mark.parametrize("kind", [CommandType.JOINT_JOG, 3, -1])
def test_kinds_that_are_not_offered_are_refused_and_the_old_one_stays(kind):
    logic = make()
    assert not logic.switch_command_type(kind)
    assert logic.command_type == CommandType.POSE


def test_paused_means_no_status_and_no_motion():
    logic = make()
    logic.accept(FRAME, pose(100.0, 0.02))
    logic.set_paused(True)
    assert logic.tick(100.0) is None
    logic.set_paused(False)
    assert logic.tick(100.01).positions is None, "a command from before the pause still counts"


def test_it_starts_unpaused_and_reports_status_while_idle():
    tick = make().tick(100.0)
    assert tick.status == StatusCode.NO_WARNING
    assert tick.positions is None


def test_after_a_pause_motion_starts_from_the_measured_joints():
    logic = make()
    now, _ = run(logic, 0.3, command=lambda t: pose(t, 0.05))
    logic.set_paused(True)
    logic.update_joint_state(np.full(6, -0.3))
    logic.set_paused(False)
    logic.accept(FRAME, pose(now, -0.3, -0.3, -0.3))
    np.testing.assert_allclose(logic.tick(now).positions, np.full(6, -0.3), atol=1e-3)


@pytest.mark.parametrize(
    ("frame", "command", "complaint"),
    [
        ("camera", pose(100.0, 0.1), "camera"),
        ("", pose(100.0, 0.1), "frame"),
        (FRAME, pose(100.0, np.nan), "not finite"),
        (FRAME, pose(100.0, np.inf), "not finite"),
    ],
)
def test_a_bad_command_is_invalid_and_never_moves_the_arm(frame, command, complaint):
    logic = make()
    with pytest.raises(CommandRejected, match=complaint):
        logic.accept(frame, command)
    tick = logic.tick(100.0)
    assert tick.positions is None
    assert tick.status == StatusCode.INVALID
    logic.accept(FRAME, pose(100.01, 0.01))
    assert logic.tick(100.01).status == StatusCode.NO_WARNING


@pytest.mark.parametrize("bad", [np.full(6, np.nan), np.zeros(5)])
def test_bad_joint_states_are_refused(bad):
    logic = make()
    with pytest.raises(CommandRejected, match="joint positions"):
        logic.update_joint_state(bad)


def test_no_motion_before_the_first_joint_state():
    logic = ServoLogic(ServoConfig(), Gantry(), LIMITS)
    logic.switch_command_type(CommandType.POSE)
    logic.accept(FRAME, pose(100.0, 0.02))
    assert logic.tick(100.0).positions is None


def test_a_joint_bound_halts_before_the_margin_and_lets_the_arm_go_back():
    logic = make(CommandType.TWIST, start=[0.85, 0, 0, 0, 0, 0])
    now, ticks = run(logic, 1.0, command=lambda t: twist(t, 0.4))
    assert ticks[-1].status == StatusCode.JOINT_BOUND
    assert positions(ticks)[:, 0].max() <= 0.9 + 1e-9
    _, ticks = run(logic, 0.2, now, lambda t: twist(t, -0.2))
    assert ticks[-1].status == StatusCode.NO_WARNING
    assert ticks[-1].positions[0] < 0.88


def test_near_a_singularity_it_slows_down_then_halts_and_reports():
    # The condition number grows from 10 at q0 = 0 to beyond the hard stop of 30.
    arm = Gantry(lambda q: 1.0 / (10.0 + 200.0 * q[0]))
    logic = make(CommandType.TWIST, kinematics=arm)
    seen, now = [], 100.0
    for _ in range(20):
        now, ticks = run(logic, 0.1, now, lambda t: twist(t, 0.02))
        seen.extend(t.status for t in ticks)
    assert StatusCode.DECELERATE_FOR_APPROACHING_SINGULARITY in seen
    assert float(1 / arm.sixth(positions(ticks)[-1])) <= 30.5


def test_away_from_a_singularity_the_arm_may_leave():
    arm = Gantry(lambda q: 1.0 / (31.0 + 200.0 * q[0]))
    logic = make(CommandType.TWIST, kinematics=arm)
    now, ticks = run(logic, 0.1, command=lambda t: twist(t, 0.02))
    assert ticks[-1].status == StatusCode.HALT_FOR_SINGULARITY
    _, ticks = run(logic, 0.3, now, lambda t: twist(t, -0.02))
    assert StatusCode.DECELERATE_FOR_LEAVING_SINGULARITY in [t.status for t in ticks]
    assert ticks[-1].positions[0] < -0.01


def test_twists_above_the_scale_are_clamped_in_norm():
    logic = make(CommandType.TWIST, linear_scale=0.1)
    _, ticks = run(logic, 0.5, command=lambda t: twist(t, 3.0, 4.0))
    np.testing.assert_allclose(ticks[-1].velocities[:2], [0.06, 0.08], rtol=1e-6)


def test_orientation_is_closed_too():
    target = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    np.testing.assert_allclose(rotation_error(target, np.eye(3)), [0, 0, np.pi / 2])


@pytest.mark.parametrize(
    "bad", [{"publish_period": 0.0}, {"linear_scale": -1.0}, {"hard_stop_singularity_threshold": 1}]
)
def test_impossible_parameters_are_refused_by_name(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        ServoConfig(**bad)
