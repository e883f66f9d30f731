"""The recovery steps as requests to a driver that is not installed here: its types are fakes."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("rclpy")

from twist_robot.recovery import Recovery, RecoveryStep
from twist_robot.recovery_calls import MissingInterface, RecoveryCalls, RecoveryPlan

STEPS = tuple(RecoveryStep)
MANAGER = "/controller_manager"
BROADCASTERS = ("joint_state_broadcaster", "franka_robot_state_broadcaster")
FR3 = RecoveryPlan(
    STEPS,
    "/error_recovery",
    "action",
    "FrankaHardwareInterface",
    ("arm",),
    BROADCASTERS,
    MANAGER,
)
PANDA = RecoveryPlan(
    (STEPS[0], STEPS[1], STEPS[4]),
    "/error_recovery",
    "service",
    "",
    ("arm",),
    (),
    "/controller_manager",
)


class Answered:
    """A future that is done."""

    def __init__(self, result: Any) -> None:
        self._result = result

    def done(self) -> bool:
        return True

    def exception(self) -> None:
        return None

    def result(self) -> Any:
        return self._result

    def add_done_callback(self, callback: Any) -> None:
        callback(self)


class Driver:
    """Plays node, clients and services at once; notes what is called, in order."""

    def __init__(self) -> None:
        self.called: list[tuple[str, Any]] = []
        self.answers: dict[str, Any] = {
            "/controller_manager/switch_controller": SimpleNamespace(ok=True, message=""),
            "/controller_manager/set_hardware_component_state": SimpleNamespace(ok=True),
            "/error_recovery": SimpleNamespace(success=True, error=""),
        }
        self.action_status = 4  # succeeded

    def create_client(self, kind: Any, name: str) -> Any:
        def call(request: Any) -> Answered:
            self.called.append((name, request))
            return Answered(self.answers[name])

        return SimpleNamespace(
            srv_name=name, service_is_ready=lambda: name in self.answers, call_async=call
        )

    def action_client(self, node: Any, kind: Any, name: str) -> Any:
        def send(goal: Any, goal_uuid: Any) -> Answered:
            self.called.append((name, goal))
            result = SimpleNamespace(status=self.action_status, result=SimpleNamespace())
            return Answered(
                SimpleNamespace(accepted=True, get_result_async=lambda: Answered(result))
            )

        return SimpleNamespace(
            server_is_ready=lambda: name in self.answers,
            send_goal_async=send,
            wait_for_server=lambda: True,
        )


class Free:
    """Surroundings in which nobody commands the arm, or somebody does."""

    def __init__(self, objection: str = "", missing: str = "") -> None:
        self._objection, self._missing = objection, missing

    def ask_anew(self) -> None:
        self.asked = True

    def objection(self, now: float) -> str:
        return self._objection

    def missing(self, now: float) -> str:
        return self._missing


def request_type(**fields: Any) -> Any:
    class Kind:
        class Request(SimpleNamespace):
            def __init__(self) -> None:
                super().__init__(**fields)

        Goal = Request

    return Kind


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    types = {
        "franka_msgs.srv": {"ErrorRecovery": request_type()},
        "franka_msgs.action": {"ErrorRecovery": request_type()},
        "controller_manager_msgs.srv": {
            "SwitchController": request_type(strictness=0),
            "SetHardwareComponentState": request_type(target_state=SimpleNamespace(id=0, label="")),
        },
    }
    for name, content in types.items():
        package = name.partition(".")[0]
        monkeypatch.setitem(sys.modules, package, ModuleType(package))
        module = ModuleType(name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)
    driver = Driver()
    monkeypatch.setattr("rclpy.action.ActionClient", driver.action_client)
    return driver


def recover(driver: Driver, plan: RecoveryPlan, surroundings: Free | None = None) -> Recovery:
    """Runs a recovery to its end."""
    calls = RecoveryCalls(driver, plan, surroundings or Free(), 1.0)  # type: ignore[arg-type]
    run = Recovery(calls.steps(), 0.0, step_timeout=1.0)
    for now in (0.1, 0.2, 0.3, 0.4, 0.5, 1.5, 2.6):
        run.poll(now)
    assert run.over
    return run


def test_the_fr3_is_recovered_in_its_drivers_order(driver: Driver) -> None:
    assert not recover(driver, FR3).error
    assert [name for name, _ in driver.called] == [
        f"{MANAGER}/switch_controller",
        "/error_recovery",
        f"{MANAGER}/set_hardware_component_state",
        f"{MANAGER}/switch_controller",
        f"{MANAGER}/switch_controller",
    ]
    off, _, hardware, tell, on = [request for _, request in driver.called]
    assert (off.deactivate_controllers, off.activate_controllers, off.strictness) == (
        ["arm"],
        [],
        1,
    )
    assert (hardware.name, hardware.target_state.id) == ("FrankaHardwareInterface", 3)
    # An error switches them off as well; those that are on would be refused by a strict switch.
    assert (tell.activate_controllers, tell.deactivate_controllers, tell.strictness) == (
        list(BROADCASTERS),
        [],
        1,
    )
    assert (on.activate_controllers, on.deactivate_controllers) == (["arm"], [])
    assert (off.strictness, on.strictness) == (1, 2)  # best effort, strict


@pytest.mark.parametrize("error", ["", "No errors"])
def test_the_panda_is_recovered_by_its_service_also_when_that_knows_no_error(
    driver: Driver, error: str
) -> None:
    driver.answers["/error_recovery"] = SimpleNamespace(success=not error, error=error)
    assert not recover(driver, PANDA).error
    assert len(driver.called) == 3


def test_each_refusal_of_the_driver_ends_recovery_with_its_reason(driver: Driver) -> None:
    driver.answers["/error_recovery"] = SimpleNamespace(success=False, error="brakes locked")
    run = recover(driver, PANDA)
    assert "error recovery failed: /error_recovery: brakes locked" in run.error
    assert "not tried: activate controllers" in run.error

    driver.action_status = 6
    assert "aborted by its server" in recover(driver, FR3).error
    driver.action_status = 4

    state = SimpleNamespace(ok=False, state=SimpleNamespace(label="unconfigured"))
    driver.answers["/controller_manager/set_hardware_component_state"] = state
    assert "FrankaHardwareInterface is in state 'unconfigured'" in recover(driver, FR3).error

    switch = SimpleNamespace(ok=False, message="no such controller")
    driver.answers["/controller_manager/switch_controller"] = switch
    run = recover(driver, PANDA)
    assert "arm could not be deactivated: no such controller" in run.error


def test_a_driver_that_is_not_there_is_named(driver: Driver) -> None:
    del driver.answers["/error_recovery"]
    assert "there is no action /error_recovery" in recover(driver, FR3).error
    assert "there is no service /error_recovery" in recover(driver, PANDA).error


def test_nothing_is_asked_of_the_driver_while_somebody_commands_the_arm(driver: Driver) -> None:
    run = recover(driver, FR3, Free(objection="twist_policy_node is active: deactivate it first"))
    assert "check that nobody commands the arm failed: twist_policy_node is active" in run.error
    run = recover(driver, FR3, Free(missing="twist_policy_node does not say whether it is active"))
    assert "does not say whether it is active" in run.error
    assert driver.called == []


def test_a_missing_or_foreign_message_package_is_named(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "franka_msgs.action", ModuleType("franka_msgs.action"))
    with pytest.raises(MissingInterface, match="belongs to another driver"):
        recover(driver, FR3)
    monkeypatch.setitem(sys.modules, "controller_manager_msgs.srv", None)
    with pytest.raises(MissingInterface, match="controller_manager_msgs is not installed"):
        recover(driver, PANDA)
