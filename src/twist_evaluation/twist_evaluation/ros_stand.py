"""The stand over the ROS graph: services, topics and diagnostics of the other nodes.

The trial logic blocks in the main thread; an executor in a second thread serves the callbacks.
Both meet in queues that are safe to use from a signal handler, so that Ctrl-C ends any wait.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.srv import SetParameters
from rclpy.client import Client
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.time import Time
from std_srvs.srv import Trigger

from twist_evaluation.bag_writer import BagError, add_custom_data
from twist_evaluation.interruptible_wait import InterruptibleWait
from twist_evaluation.judge import WorldState
from twist_evaluation.results import EvaluationIdentity, Tally, TrialReport
from twist_evaluation.trial_publisher import TrialPublisher
from twist_evaluation.trial_stand import (
    Interrupted,
    ObjectLayout,
    StandLost,
    StepSample,
    TrialAborted,
)
from twist_msgs.msg import GroundTruth, PolicyStep
from twist_msgs.srv import ResetTrial, StartRecording, StopRecording

_RECORDER_SILENCE = 5.0  # seconds; it publishes diagnostics every second
_ASK_AGAIN = 1.0  # seconds without an answer after which a question is put again
_STOP_TIMEOUT = 35.0  # seconds; closing writes what waits for the disk, which may take 30 s
_LAST_WORD = 2.0  # seconds for what is asked once more when a call was given up
_BEST_EFFORT = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)


@dataclass(frozen=True)
class StandNames:
    """Relative names of the other parts; all can be remapped.

    Attributes:
        policy: the policy node.
        recorder: the recorder node.
        reset_service: who puts robot and objects in place. A service ``stop`` (std_srvs/Trigger)
            beside it, where there is one, ends a motion that nobody waits for any more.
        ground_truth: topic of the true state.
        home_service: std_srvs/Trigger that moves the arm home; empty where nothing does. Stopped
            like the reset.
    """

    policy: str = "twist_policy_node"
    recorder: str = "recorder"
    reset_service: str = "robot_twin/reset"
    ground_truth: str = "robot_twin/ground_truth"
    home_service: str = ""


@dataclass(frozen=True)
class StandTimeouts:
    """How long the parts may take, seconds.

    Attributes:
        ready: until every part answers, before the first trial.
        service: for ordinary service calls; also until parts answer before later trials.
        configure: for the policy to load, verify and warm up.
        reset: for the reset; on a lab robot a person does it.
    """

    ready: float = 60.0
    service: float = 10.0
    configure: float = 60.0
    reset: float = 30.0


@dataclass(frozen=True)
class _Fault:
    reason: str


class RosStand:
    """Implements `twist_evaluation.trial_stand.TrialStand`.

    Args:
        node: to create services and topics on; another thread must spin it.
        identity: of the evaluation.
        names: of the other parts.
        timeouts: for the other parts.
        record: whether the recorder is needed.

    Attributes:
        place: has a person put the objects in place and returns a note; None where the reset has.
        wait: every wait of the main thread; `interrupt` ends it.
    """

    def __init__(
        self,
        node: Node,
        identity: EvaluationIdentity,
        names: StandNames,
        timeouts: StandTimeouts,
        *,
        record: bool,
    ) -> None:
        self._node = node
        self._identity = identity
        self._names = names
        self._timeouts = timeouts
        self._record = record
        self._was_ready = False
        self._wait = self.wait = InterruptibleWait()
        self.place: Callable[[int, ObjectLayout], str] | None = None
        self._loaded: Path | None = None
        self._events: SimpleQueue[Any] = SimpleQueue()
        self._steps_since: Time | None = None
        self._faults_since: Time | None = None
        self._policy_trouble = ""
        self._recorder_heard = 0.0
        self._recording = False
        self._start_unanswered = False
        self._truth: WorldState | None = None

        policy = names.policy
        self._change_state = node.create_client(ChangeState, f"{policy}/change_state")
        self._set_parameters = node.create_client(SetParameters, f"{policy}/set_parameters")
        # Last of the policy's: middleware makes endpoints known in order, so that a policy which
        # has answered this client has found the others, and loses no answer of theirs.
        self._get_state = node.create_client(GetState, f"{policy}/get_state")
        self._reset = node.create_client(ResetTrial, names.reset_service)
        self._home = node.create_client(Trigger, names.home_service) if names.home_service else None
        self._stop_reset = self._stop_beside(names.reset_service)
        self._stop_home = self._stop_beside(names.home_service) if names.home_service else None
        self._start = node.create_client(StartRecording, f"{names.recorder}/start_recording")
        self._stop = node.create_client(StopRecording, f"{names.recorder}/stop_recording")
        node.create_subscription(PolicyStep, f"{policy}/step", self._on_step, 50)
        node.create_subscription(
            GroundTruth, names.ground_truth, self._on_ground_truth, _BEST_EFFORT
        )
        node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 50)
        self._publisher = TrialPublisher(node)

    # What other threads and signal handlers call.

    def interrupt(self, reason: str) -> None:
        """Makes the current or the next wait raise `Interrupted`, once. Signal-safe."""
        self._wait.interrupt(reason)

    def ground_truth(self) -> WorldState | None:
        """The last true state received."""
        return self._truth

    def clock(self) -> float:
        """The clock of message stamps, seconds."""
        return float(self._node.get_clock().now().nanoseconds) / 1e9

    def _on_step(self, message: PolicyStep) -> None:
        since = self._steps_since
        if since is not None and Time.from_msg(message.header.stamp) >= since:
            self._events.put(
                StepSample(
                    int(message.step),
                    float(message.surprise),
                    float(message.latency),
                    float(message.speed_scale),
                )
            )

    def _on_ground_truth(self, message: GroundTruth) -> None:
        stamp = Time.from_msg(message.header.stamp).nanoseconds / 1e9
        self._truth = WorldState(stamp, float(message.distance), bool(message.success))

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            part = status.name.lstrip("/")
            trouble = status.message if status.level >= DiagnosticStatus.ERROR else ""
            if part == f"{_base_name(self._names.policy)}: policy":
                cure = next((entry.value for entry in status.values if entry.key == "cure"), "")
                self._policy_trouble = f"{trouble}. {cure}" if trouble and cure else trouble
                trouble = self._policy_trouble and f"policy {self._policy_trouble}"
            elif part == f"{_base_name(self._names.recorder)}: recording":
                self._recorder_heard = time.monotonic()
                trouble = trouble and f"recorder: {trouble}"
            else:
                continue
            since = self._faults_since
            if trouble and since is not None and Time.from_msg(message.header.stamp) >= since:
                self._events.put(_Fault(trouble))

    # The ports.

    def now(self) -> float:
        """Monotonic seconds."""
        return time.monotonic()

    def settle(self, seconds: float) -> None:
        """Waits."""
        self._wait.pause(seconds)

    def wait_until_ready(self) -> None:
        """Waits until every needed service is offered and the policy answers."""
        needed = {
            f"policy node ({self._get_state.srv_name})": self._get_state,
            f"reset ({self._reset.srv_name})": self._reset,
        }
        if self._home is not None:
            needed[f"home ({self._home.srv_name})"] = self._home
        if self._record:
            needed[f"recorder ({self._start.srv_name})"] = self._start
        timeout = self._timeouts.service if self._was_ready else self._timeouts.ready
        deadline = time.monotonic() + timeout
        while missing := [name for name, client in needed.items() if not client.service_is_ready()]:
            if time.monotonic() > deadline:
                raise StandLost(
                    f"no answer within {timeout:g} s from: {', '.join(missing)}. Start it, or "
                    "check its name, ROS_DOMAIN_ID and log"
                )
            self.settle(0.1)
        try:
            self._policy_state()
        except TrialAborted as error:
            raise StandLost(str(error)) from None
        self._was_ready = True

    def begin(self, identity: EvaluationIdentity) -> None:
        """From now on the trials are of this evaluation."""
        self._identity = identity

    def check_camera(self, service: str) -> str:
        """Asks whether the camera stands where it stood when its reference view was stored.

        Args:
            service: std_srvs/Trigger that compares the live view with the stored one.

        Returns:
            What was found.

        Raises:
            StandLost: the camera was moved, or nobody answers.
        """
        client = self._node.create_client(Trigger, service)
        deadline = time.monotonic() + self._timeouts.ready
        while not client.service_is_ready():
            if time.monotonic() > deadline:
                raise StandLost(
                    f"nobody offers {client.srv_name}, which compares the camera's view with the "
                    "stored one; start camera_reference, or set reference_service to nothing"
                )
            self.settle(0.1)
        try:
            response = self._wait.call(
                client, Trigger.Request(), self._timeouts.service, repeat_after=_ASK_AGAIN
            )
        except TrialAborted as error:
            raise StandLost(str(error)) from None
        if not response.success:
            raise StandLost(f"the camera's view is not the stored one: {response.message}")
        return str(response.message)

    def prepare_policy(self, checkpoint: Path | None = None, label: str = "") -> None:
        """Configures or deactivates the policy as needed, with another checkpoint where asked."""
        state = self._policy_state()
        if checkpoint is not None and checkpoint != self._loaded:
            if state == State.PRIMARY_STATE_ACTIVE:
                self._transition(Transition.TRANSITION_DEACTIVATE, self._timeouts.service)
            if state in (State.PRIMARY_STATE_ACTIVE, State.PRIMARY_STATE_INACTIVE):
                self._transition(Transition.TRANSITION_CLEANUP, self._timeouts.service)
            self._choose_checkpoint(checkpoint, label)
            state = self._policy_state()
        if state == State.PRIMARY_STATE_ACTIVE:
            self._transition(Transition.TRANSITION_DEACTIVATE, self._timeouts.service)
        elif state == State.PRIMARY_STATE_UNCONFIGURED:
            try:
                self._transition(Transition.TRANSITION_CONFIGURE, self._timeouts.configure)
            except TrialAborted as error:
                raise StandLost(f"{error}. Its log tells why") from None
        elif state == State.PRIMARY_STATE_FINALIZED:
            raise StandLost(f"{self._names.policy} is finalized; start it again")

    def reset(self, task: str, seed: int, trial: int) -> ObjectLayout:
        """Calls the reset service."""
        request = ResetTrial.Request(task=task, seed=seed, trial=trial)
        response = self._move(self._reset, request, self._stop_reset)
        if not response.success:
            raise TrialAborted(f"reset refused: {response.message}")
        layout = response.layout
        return ObjectLayout(
            tuple(float(v) for v in layout.object_position),  # type: ignore[arg-type]
            float(layout.object_yaw),
            tuple(float(v) for v in layout.goal_position),  # type: ignore[arg-type]
        )

    def place_objects(self, trial: int, layout: ObjectLayout) -> str:
        """Asks the person who places them, where there is one."""
        return self.place(trial, layout) if self.place is not None else ""

    def clear_view(self) -> None:
        """Calls the home service, where there is one."""
        if self._home is None:
            return
        response = self._move(self._home, Trigger.Request(), self._stop_home)
        if not response.success:
            raise TrialAborted(f"the arm did not go home to clear the view: {response.message}")

    def announce(self, trial: int, layout: ObjectLayout) -> None:
        """Publishes ``~/trial``."""
        self._publisher.announce(self._identity, trial, layout)

    def start_recording(self, folder: Path, custom_data: Mapping[str, str]) -> None:
        """Calls the recorder."""
        request = StartRecording.Request(
            path=str(folder.absolute()),
            keys=list(custom_data),
            values=list(custom_data.values()),
        )
        if self._start_unanswered:
            self._end_unanswered(self._timeouts.service)
        self._start_unanswered = True
        try:
            response = self._wait.call(self._start, request, self._timeouts.service)
        except (TrialAborted, Interrupted):
            with contextlib.suppress(TrialAborted):
                self._end_unanswered(_LAST_WORD)
            raise
        self._start_unanswered = False
        if not response.success:
            raise TrialAborted(f"recorder: {response.message}")
        self._recorder_heard = time.monotonic()
        self._recording = True

    def stop_recording(self, custom_data: Mapping[str, str]) -> str:
        """Calls the recorder."""
        request = StopRecording.Request(keys=list(custom_data), values=list(custom_data.values()))
        self._recording = False
        timeout = 1.0 if self._recorder_is_silent() else _STOP_TIMEOUT
        response = self._wait.call(self._stop, request, timeout)
        if not response.success:
            raise TrialAborted(f"recorder: {response.message}")
        return str(response.message)

    def complete_recording(self, folder: Path, custom_data: Mapping[str, str]) -> None:
        """Writes into the closed bag's metadata."""
        try:
            add_custom_data(folder, custom_data)
        except (BagError, OSError) as error:
            raise TrialAborted(f"the bag does not tell how its trial ended: {error}") from error

    def activate(self) -> None:
        """Activates the policy; steps from now on count."""
        self._forget_events()
        self._steps_since = self._node.get_clock().now()
        self._transition(Transition.TRANSITION_ACTIVATE, self._timeouts.service)
        self._faults_since = self._node.get_clock().now()

    def deactivate(self) -> None:
        """Deactivates the policy if it is active."""
        self._steps_since = self._faults_since = None
        if self._policy_state() == State.PRIMARY_STATE_ACTIVE:
            self._transition(Transition.TRANSITION_DEACTIVATE, self._timeouts.service)

    def next_step(self, timeout: float) -> StepSample:
        """Waits for ``~/step``, or for a fault in the diagnostics."""
        event = self._wait.item(self._events, timeout)
        if self._recording and self._recorder_is_silent():
            raise TrialAborted(
                f"nothing heard of {self._names.recorder} for {_RECORDER_SILENCE:g} s: its process "
                "is dead, or hangs. `twist-recover` saves what it wrote"
            )
        if isinstance(event, StepSample):
            return event
        if isinstance(event, _Fault):
            raise TrialAborted(event.reason)
        raise TrialAborted(self._explain_silence(timeout))

    def publish_result(self, report: TrialReport) -> None:
        """Publishes ``~/result``."""
        self._publisher.result(self._identity, report)

    def publish_summary(self, counts: Tally, finished: bool) -> None:
        """Publishes ``~/summary``."""
        self._publisher.summary(self._identity, counts, finished)

    # What the ports are made of.

    def _forget_events(self) -> None:
        with contextlib.suppress(Empty):
            while True:
                self._events.get_nowait()

    def _stop_beside(self, service: str) -> Client:
        """Calls the service ``stop`` of the node that `service` is of."""
        arm, _, _ = self._node.resolve_service_name(service).rpartition("/")
        return self._node.create_client(Trigger, f"{arm}/stop")

    def _end_unanswered(self, timeout: float) -> None:
        """Ends what a start that got no answer may have begun, or may begin only now.

        It would go on alone, and every later start be refused. The recorder serves this after that
        start also when nobody waits for its answer any more; only then may another start follow.
        """
        ending = {"outcome": "aborted", "reason": "the answer to its start came too late"}
        request = StopRecording.Request(keys=list(ending), values=list(ending.values()))
        self._wait.call(self._stop, request, timeout)  # refused where nothing was begun
        self._start_unanswered = False

    def _move(self, client: Client, request: Any, stop: Client | None) -> Any:
        """Calls who moves the arm, and has it stopped when nobody waits for its end any more."""
        try:
            return self._wait.call(client, request, self._timeouts.reset)
        except (TrialAborted, Interrupted) as error:
            trouble = self._stop_arm(stop)
            if trouble:
                raise type(error)(f"{error}; {trouble}") from None
            raise

    def _stop_arm(self, stop: Client | None) -> str:
        """Asks for a stop where that is served; returns why the arm may still move, in words."""
        if stop is None or not stop.service_is_ready():
            return ""
        try:
            response = self._wait.call(stop, Trigger.Request(), _LAST_WORD)
        except TrialAborted:
            return f"{stop.srv_name} did not answer: use the emergency stop if the arm moves"
        return "" if response.success else f"{stop.srv_name}: {response.message}"

    def _policy_state(self) -> int:
        response = self._wait.call(
            self._get_state, GetState.Request(), self._timeouts.service, repeat_after=_ASK_AGAIN
        )
        return int(response.current_state.id)

    def _choose_checkpoint(self, checkpoint: Path, label: str) -> None:
        self._loaded = None
        request = SetParameters.Request(
            parameters=[
                Parameter("checkpoint", value=str(checkpoint)).to_parameter_msg(),
                Parameter("checkpoint_label", value=label).to_parameter_msg(),
            ]
        )
        response = self._wait.call(self._set_parameters, request, self._timeouts.service)
        refused = [result.reason for result in response.results if not result.successful]
        if refused:
            raise StandLost(f"{self._names.policy} takes no other checkpoint: {refused[0]}")
        self._loaded = checkpoint

    def _transition(self, transition: int, timeout: float) -> None:
        request = ChangeState.Request(transition=Transition(id=transition))
        if not self._wait.call(self._change_state, request, timeout).success:
            verb = {
                Transition.TRANSITION_CONFIGURE: "be configured",
                Transition.TRANSITION_ACTIVATE: "be activated",
                Transition.TRANSITION_DEACTIVATE: "be deactivated",
                Transition.TRANSITION_CLEANUP: "forget its checkpoint",
            }[transition]
            self.settle(0.3)  # the node tells the cause in its diagnostics, just after refusing
            detail = f": {self._policy_trouble}" if self._policy_trouble else "; its log tells why"
            raise TrialAborted(f"{self._names.policy} refused to {verb}{detail}")

    def _recorder_is_silent(self) -> bool:
        return time.monotonic() - self._recorder_heard > _RECORDER_SILENCE

    def _explain_silence(self, timeout: float) -> str:
        silence = f"no step from {self._names.policy} for {timeout:g} s"
        try:
            response = self._wait.call(self._get_state, GetState.Request(), 1.0)
        except TrialAborted:
            return f"{silence}, and it does not answer: its process is dead or hangs"
        label = response.current_state.label
        if label != "active":
            return f"{silence}: it left the active state (now {label}); its log tells why"
        return f"{silence}, although it is active: no new camera frames, or the machine is too slow"


def _base_name(name: str) -> str:
    return name.rstrip("/").rpartition("/")[2]
