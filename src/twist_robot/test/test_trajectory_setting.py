"""The watch over the trajectory controller's setting goes on whatever answer is lost."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from motion_fakes import Future

pytest.importorskip("rclpy")

from rcl_interfaces.msg import ParameterType

from twist_robot.trajectory_setting import SETTING, TrajectorySetting


class Controller:
    """Plays node, clients and services; answers what the test tells it to."""

    def __init__(self) -> None:
        self.value = False
        self.silent = False
        self.asked: list[str] = []
        self.pending: list[Future] = []

    def create_client(self, kind: Any, name: str) -> Any:
        def call(request: Any) -> Future:
            self.asked.append(name.rpartition("/")[2])
            future = Future()
            self.pending.append(future)
            if not self.silent:
                future.answer(self._answer(request))
            return future

        return SimpleNamespace(
            service_is_ready=lambda: True,
            call_async=call,
            remove_pending_request=self.pending.remove,
        )

    def _answer(self, request: Any) -> Any:
        if hasattr(request, "names"):
            assert request.names == [SETTING]
            value = SimpleNamespace(type=ParameterType.PARAMETER_BOOL, bool_value=self.value)
            return SimpleNamespace(values=[value])
        self.value = request.parameters[0].value.bool_value
        return SimpleNamespace(results=[SimpleNamespace(successful=True, reason="")])

    def create_timer(self, period: float, callback: Any, clock: Any) -> None: ...

    def get_logger(self) -> Any:
        return SimpleNamespace(info=lambda *_: None, error=lambda *_, **__: None)


def look(setting: TrajectorySetting, times: int) -> None:
    for _ in range(times):
        setting.look()


def test_a_lost_answer_does_not_end_the_watch_nor_pile_up() -> None:
    controller = Controller()
    setting = TrajectorySetting(controller, "jtc")  # type: ignore[arg-type]
    controller.silent = True  # the driver dies before it answers
    look(setting, 300)  # ten minutes
    assert len(controller.asked) >= 90
    assert len(controller.pending) == 1
    controller.silent = False  # it was started again
    look(setting, 6)
    assert controller.value


def test_a_lost_answer_to_the_change_does_not_end_the_watch() -> None:
    controller = Controller()
    setting = TrajectorySetting(controller, "jtc")  # type: ignore[arg-type]
    look(setting, 1)
    controller.silent = True
    look(setting, 1)
    assert controller.asked == ["get_parameters", "set_parameters"]
    controller.silent = False
    look(setting, 6)
    assert controller.value
    controller.value = False  # started again, with the default
    look(setting, 3)
    assert controller.value
