from __future__ import annotations

import contextlib
import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from twist_policy.action_gate import ActionGate, GatedAction, GateError, step_periods
from twist_policy.contract import PolicyContract, Workspace

BOUND, LEASH = 0.02, 0.03
BOX = Workspace((0.3, -0.3, 0.0), (0.7, 0.3, 0.25))
HOME = np.array([0.45, 0.0, 0.1])
# The sum of two float64 near 1 m is rounded by 1e-16 m, 1e-14 of the bound; see GatedAction.
ROUNDING = 1 + 1e-9


def started(measured: NDArray[np.float64] = HOME) -> ActionGate:
    gate = ActionGate(BOUND, LEASH, BOX)
    gate.reset(measured)
    return gate


def require_all_bounds(
    gated: GatedAction,
    previous: NDArray[np.float64],
    measured: NDArray[np.float64],
    gate: ActionGate,
    box: Workspace,
) -> None:
    assert np.all(np.isfinite(gated.target))
    assert np.all(np.isfinite(gated.delta))
    np.testing.assert_allclose(gated.delta, gated.target - previous, rtol=0, atol=0)
    assert np.linalg.norm(gated.delta) <= gate.bound * ROUNDING
    assert np.linalg.norm(gated.target - measured) <= gate.leash * ROUNDING
    assert np.all(gated.target >= box.lower)
    assert np.all(gated.target <= box.upper)


finite = st.floats(-1e6, 1e6, allow_nan=False)
components = st.one_of(
    st.floats(-1.5, 1.5), finite, st.sampled_from([0.0, -0.0, 1.0, -1.0, 5e-324])
)
actions = st.tuples(components, components, components)
motion = st.floats(-0.03, 0.03)
fractions = st.floats(0.0, 1.0)


@st.composite
def gates(draw: st.DrawFn) -> tuple[ActionGate, Workspace, NDArray[np.float64]]:
    """A gate with bounds of its own, started somewhere in its box; zero is a frequent bound."""
    edge = st.one_of(st.just(0.0), st.floats(-1.0, 1.0))
    size = st.floats(0.001, 1.0)
    lower = np.array([draw(edge) for _ in range(3)])
    upper = lower + np.array([draw(size) for _ in range(3)])
    box = Workspace(tuple(lower.tolist()), tuple(upper.tolist()))
    gate = ActionGate(draw(st.floats(0.001, 0.1)), draw(st.floats(0.001, 0.1)), box)
    start = lower + (upper - lower) * np.array([draw(fractions) for _ in range(3)])
    return gate, box, np.clip(start, lower, upper)


@settings(max_examples=500)
@given(gates(), st.lists(st.tuples(actions, st.tuples(motion, motion, motion)), max_size=15))
def test_every_step_of_any_sequence_keeps_all_bounds(
    drawn: tuple[ActionGate, Workspace, NDArray[np.float64]],
    sequence: list[tuple[tuple[float, ...], tuple[float, ...]]],
) -> None:
    gate, box, measured = drawn
    target = gate.reset(measured)
    for action, drift in sequence:
        measured = measured + np.array(drift)
        try:
            gated = gate.step(action, measured)
        except GateError:
            assert gate.target is not None
            np.testing.assert_array_equal(gate.target, target)
            continue
        require_all_bounds(gated, target, measured, gate, box)
        target = gated.target
        np.testing.assert_array_equal(gate.target, target)


@settings(max_examples=300)
@given(st.lists(st.tuples(actions, fractions), max_size=20))
def test_an_arm_that_lags_behind_in_the_box_is_never_refused(
    sequence: list[tuple[tuple[float, ...], float]],
) -> None:
    gate = started()
    measured = HOME
    for action, lag in sequence:
        previous = gate.target
        assert previous is not None
        gated = gate.step(action, measured)
        require_all_bounds(gated, previous, measured, gate, BOX)
        measured = measured + lag * (gated.target - measured)


@settings(max_examples=300)
@given(st.tuples(st.floats(-1, 1), st.floats(-1, 1), st.floats(-1, 1)))
def test_a_request_within_all_bounds_is_taken_as_it_is(action: tuple[float, ...]) -> None:
    scaled = np.array(action) / max(1.0, np.linalg.norm(action)) * 0.999
    gated = started().step(scaled, HOME)
    np.testing.assert_array_equal(gated.target, HOME + scaled * BOUND)
    assert gated.limited_by == ()


def test_the_euclidean_norm_is_bounded_and_the_direction_kept() -> None:
    gated = started().step([1.0, 1.0, -1.0], HOME)
    np.testing.assert_allclose(gated.delta, BOUND / math.sqrt(3) * np.array([1, 1, -1]), rtol=1e-12)
    assert gated.limited_by == ("norm",)


@pytest.mark.parametrize("size", [1e3, 1e150, 1e300, 1.7e308])
def test_an_enormous_action_keeps_its_direction(size: float) -> None:
    gated = started().step([size, 0.0, 0.0], HOME)
    np.testing.assert_allclose(gated.delta, [BOUND, 0.0, 0.0], rtol=1e-9)


def test_a_blocked_arm_does_not_wind_up() -> None:
    gate = started()
    for _ in range(500):
        gated = gate.step([1.0, 0.0, 0.0], HOME)
        assert np.linalg.norm(gated.target - HOME) <= LEASH * ROUNDING
    assert gated.limited_by == ("leash",)
    # What was pushed against for 500 steps is taken back within two.
    gate.step([-1.0, 0.0, 0.0], HOME)
    assert gate.step([-1.0, 0.0, 0.0], HOME).target[0] < HOME[0]


def test_the_edge_of_the_box_is_slid_along() -> None:
    corner = np.array([BOX.upper[0], 0.0, 0.1])
    gated = started(corner).step([0.6, 0.6, 0.0], corner)
    np.testing.assert_allclose(gated.delta, [0.0, 0.012, 0.0], atol=1e-12)
    assert gated.limited_by == ("workspace",)


def test_zero_is_a_bound_and_not_unbounded() -> None:
    box = Workspace((-0.5, -0.5, 0.0), (0.5, 0.0, 0.5))
    gate = ActionGate(BOUND, LEASH, box)
    measured = gate.reset([0.0, -0.01, 0.01])
    for _ in range(10):
        gated = gate.step([0.0, 1.0, -1.0], measured)
        measured = gated.target
    assert measured[1] == 0.0
    assert measured[2] == 0.0


axes = st.tuples(st.floats(-1, 1), st.floats(-1, 1), st.floats(-1, 1)).filter(
    lambda axis: np.linalg.norm(axis) > 0.1
)


@settings(max_examples=500)
@given(
    st.lists(st.tuples(actions, st.tuples(motion, motion, motion)), max_size=8),
    axes,
    st.sampled_from([1.0, -1.0]),
    actions,
)
def test_what_presses_never_presses_more_where_the_arm_feels_it(
    before: list[tuple[tuple[float, ...], tuple[float, ...]]],
    axis: tuple[float, ...],
    sign: float,
    action: tuple[float, ...],
) -> None:
    gate = ActionGate(BOUND, LEASH, Workspace((-9.0,) * 3, (9.0,) * 3), contact_yield=10.0)
    measured = target = gate.reset(HOME)
    for earlier, drift in before:
        measured = measured + 0.3 * np.array(drift)
        with contextlib.suppress(GateError):
            target = gate.step(earlier, measured).target
    along = np.array(axis) / np.linalg.norm(axis)
    pressed = float((target - measured) @ along)
    try:
        gate.feel(sign * 11.0 * along, measured)
        gated = gate.step(action, measured)
    except GateError:
        return
    require_all_bounds(gated, target, measured, gate, Workspace((-9.0,) * 3, (9.0,) * 3))
    presses = float((gated.target - measured) @ along)
    further = presses * np.sign(pressed) if abs(pressed) > 1e-3 else abs(presses)
    assert further <= abs(pressed) + 1e-9


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_tool_gives_way_to_a_contact_and_may_leave_it(sign: float) -> None:
    def pressing() -> ActionGate:
        gate = ActionGate(BOUND, LEASH, BOX, contact_yield=10.0)
        gate.reset(HOME)
        gate.step([0.0, 0.0, -0.5], HOME)  # it is in the way 1 cm above the target
        return gate

    felt = np.array([0.0, 0.0, sign * 11.0])
    gate = pressing()
    assert gate.feel(felt, HOME)
    gated = gate.step([0.3, 0.0, -0.5], HOME)
    np.testing.assert_allclose(gated.target, HOME + BOUND * np.array([0.3, 0.0, 0.0]), atol=1e-12)
    assert gated.limited_by == ("contact",)
    for force in ([], [0.9 * felt], [felt, 0.9 * felt]):
        gate = pressing()
        felt_enough = [gate.feel(newtons, HOME) for newtons in force]
        assert not any(felt_enough[-1:])
        gated = gate.step([0.3, 0.0, -0.5], HOME)
        np.testing.assert_allclose(
            gated.target, HOME + BOUND * np.array([0.3, 0.0, -1.0]), atol=1e-12
        )
        assert gated.limited_by == ()
    gate = pressing()
    gate.feel(felt, HOME)
    gated = gate.step([0.0, 0.0, 0.8], HOME)
    np.testing.assert_allclose(gated.target, HOME + BOUND * np.array([0.0, 0.0, 0.3]), atol=1e-12)
    assert gated.limited_by == ()


def test_a_contact_that_is_felt_on_stays_on_its_side_until_it_is_left() -> None:
    gate = ActionGate(BOUND, LEASH, BOX, contact_yield=10.0)
    gate.reset(HOME)
    gate.step([0.0, 0.0, -0.5], HOME)
    felt = np.array([0.0, 0.0, 11.0])
    for force in (felt, felt, -felt):  # its target is taken back, and it presses still
        gate.feel(force, HOME)
        assert gate.step([0.0, 0.0, -0.5], HOME).target[2] == pytest.approx(HOME[2])
    for up in (0.3, 0.6):  # it presses for a while when it leaves
        gate.feel(felt, HOME)
        assert gate.step([0.0, 0.0, 0.3], HOME).target[2] == pytest.approx(HOME[2] + up * BOUND)
    gate.reset(HOME)
    gate.feel(felt, HOME)
    for up in (0.5, -0.5):  # nothing tells on which side it is
        assert gate.step([0.0, 0.0, up], HOME).target[2] == pytest.approx(HOME[2])


def test_a_force_that_is_no_force_is_refused() -> None:
    gate = ActionGate(BOUND, LEASH, BOX, contact_yield=10.0)
    with pytest.raises(GateError, match="reset"):
        gate.feel([0.0, 0.0, 20.0], HOME)
    before = gate.reset(HOME)
    for force in ([math.nan, 0.0, 0.0], [math.inf, 0.0, 0.0], [20.0]):
        with pytest.raises(GateError, match="force must be"):
            gate.feel(force, HOME)
    np.testing.assert_array_equal(gate.target, before)
    for nothing in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match="contact_yield must be above 0 N"):
            ActionGate(BOUND, LEASH, BOX, contact_yield=nothing)


@pytest.mark.parametrize(("bound", "leash"), [(0.0, LEASH), (BOUND, 0.0), (-1.0, LEASH)])
def test_a_gate_without_room_to_move_cannot_be_made(bound: float, leash: float) -> None:
    with pytest.raises(ValueError, match="positive"):
        ActionGate(bound, leash, BOX)


@pytest.mark.parametrize("bound", [math.nan, math.inf])
def test_an_unbounded_gate_cannot_be_made(bound: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        ActionGate(bound, LEASH, BOX)
    with pytest.raises(ValueError, match="finite"):
        ActionGate(BOUND, bound, BOX)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("position", [0, 1, 2])
def test_nan_and_infinity_are_refused_and_change_nothing(bad: float, position: int) -> None:
    gate = started()
    before = gate.step([0.5, 0.0, 0.0], HOME).target
    broken = [0.0, 0.0, 0.0]
    broken[position] = bad
    with pytest.raises(GateError, match="action must be finite"):
        gate.step(broken, HOME)
    with pytest.raises(GateError, match="measured tool position must be finite"):
        gate.step([0.0, 0.0, 0.0], HOME + np.array(broken))
    np.testing.assert_array_equal(gate.target, before)
    with pytest.raises(GateError, match="must be finite"):
        gate.reset(HOME + np.array(broken))
    np.testing.assert_array_equal(gate.target, before)


@pytest.mark.parametrize("action", [[0.0, 0.0], [[0.0, 0.0, 0.0]], 0.0, [0.0] * 4])
def test_a_wrong_shape_is_refused(action: object) -> None:
    with pytest.raises(GateError, match="three numbers"):
        started().step(action, HOME)  # type: ignore[arg-type]


def test_an_arm_that_was_moved_away_is_refused_and_the_target_stays() -> None:
    gate = started()
    before = gate.target
    with pytest.raises(GateError, match=r"did not follow or was moved.*home"):
        gate.step([0.0, 0.0, 0.0], HOME + np.array([0.0, 0.0, BOUND + LEASH + 0.001]))
    np.testing.assert_array_equal(gate.target, before)


def test_an_arm_outside_the_box_within_the_leash_is_led_back() -> None:
    outside = np.array([BOX.upper[0] + 0.9 * LEASH, 0.0, 0.1])
    gate = ActionGate(BOUND, LEASH, BOX)
    assert gate.reset(outside)[0] == BOX.upper[0]
    assert gate.step([1.0, 0.0, 0.0], outside).target[0] <= BOX.upper[0]


def test_starting_far_outside_the_box_is_refused() -> None:
    with pytest.raises(GateError, match=r"outside the workspace.*home"):
        ActionGate(BOUND, LEASH, BOX).reset([BOX.upper[0] + 2 * LEASH, 0.0, 0.1])


def test_a_step_before_reset_is_refused() -> None:
    gate = ActionGate(BOUND, LEASH, BOX)
    assert gate.target is None
    with pytest.raises(GateError, match="reset"):
        gate.step([0.0, 0.0, 0.0], HOME)


def test_results_are_copies_that_cannot_move_the_gate() -> None:
    gate = started()
    gated = gate.step([0.1, 0.0, 0.0], HOME)
    expected = gated.target.copy()
    gated.target[:] = 9.0
    np.testing.assert_array_equal(gate.target, expected)


def test_the_gate_of_a_contract_has_its_bounds(contract: PolicyContract) -> None:
    gate = ActionGate.from_contract(contract)
    assert (gate.bound, gate.leash) == (contract.action_bound, contract.leash)
    with pytest.raises(GateError, match="outside the workspace"):
        gate.reset(np.array(contract.workspace.upper) + contract.leash)


@pytest.mark.parametrize(
    ("speed", "periods"),
    [(1.0, 1), (0.75, 2), (0.5, 2), (0.34, 3), (1 / 3, 3), (0.1, 10), (0.01, 100)],
)
def test_a_slow_step_is_spread_over_periods_and_as_long(
    contract: PolicyContract, speed: float, periods: int
) -> None:
    assert step_periods(speed) == periods
    gate = ActionGate.from_contract(contract, periods)
    start = gate.reset(contract.home)
    target = start
    for _ in range(periods):
        gated = gate.step([0.6, 0.0, 0.0], target)
        assert np.linalg.norm(gated.target - target) <= speed * contract.action_bound * (1 + 1e-9)
        target = gated.target
    np.testing.assert_allclose(target - start, [0.6 * contract.action_bound, 0.0, 0.0], atol=1e-12)


@pytest.mark.parametrize("speed", [0.0, -0.1, 1.01, math.nan])
def test_a_speed_that_is_no_share_is_refused(speed: float) -> None:
    with pytest.raises(ValueError, match=r"in \(0, 1\], found"):
        step_periods(speed)


def test_the_gate_costs_little_even_when_it_refuses() -> None:
    gate = started()
    away = HOME + np.array([0.0, 0.0, (BOUND + LEASH) * 0.9999])
    start = time.process_time()
    for _ in range(20):
        with contextlib.suppress(GateError):
            gate.step([0.3, -1.0, -1.0], away)
        gate.reset(HOME)
    # 200 rounds of projection at most: about 5 ms; 20 ms leave room for a slow machine.
    assert (time.process_time() - start) / 20 < 0.02
