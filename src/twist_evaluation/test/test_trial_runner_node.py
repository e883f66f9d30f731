"""The real trial runner and recorder, over real middleware, among fake robot and policy."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rosbags.highlevel import AnyReader

from twist_evaluation.bag_recovery import recover_bag
from twist_evaluation.bag_writer import read_metadata
from twist_evaluation.comparison import main as main_compare
from twist_evaluation.report import make_report

pytestmark = pytest.mark.realtime
rclpy = pytest.importorskip("rclpy")
pytest.importorskip("twist_msgs.msg")

from builtin_interfaces.msg import Time  # noqa: E402
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue  # noqa: E402
from rclpy.context import Context  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn  # noqa: E402
from sensor_msgs.msg import Image  # noqa: E402
from std_srvs.srv import Trigger  # noqa: E402

from twist_msgs.msg import GroundTruth, PolicyStep  # noqa: E402
from twist_msgs.srv import ResetTrial  # noqa: E402

STEPS = 5


class FakeStand(LifecycleNode):
    """Policy and robot twin in one: steps at 50 Hz while active; the cube obeys `distances`."""

    def __init__(self, context: Context) -> None:
        super().__init__("twist_policy_node", context=context)
        self.distances = [0.02, 0.02, 0.02]
        self.latch_in_trial: int | None = None
        self.silent_in_trial: int | None = None
        self.refuse_reset = ""
        self.activations = 0
        self.deactivations = 0
        self.trial = -1
        self.count = 0
        self.stepping = False
        self.solved = False
        self.padding: list[str] = []
        self.picture: Any = None
        self.impossible_stamps = False
        self.homed = 0
        self.loaded: list[tuple[str, str]] = []
        self.declare_parameter("checkpoint", "")
        self.declare_parameter("checkpoint_label", "")
        self.images = self.create_publisher(Image, "/camera/camera/color/image_raw", 5)
        self.create_service(Trigger, "/robot_twin/home", self.home)
        self.steps = self.create_publisher(PolicyStep, "~/step", 10)
        self.truth = self.create_publisher(GroundTruth, "/robot_twin/ground_truth", 10)
        self.diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self.create_service(ResetTrial, "/robot_twin/reset", self.reset)
        self.create_timer(0.02, self.tick)

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        names = ("checkpoint", "checkpoint_label")
        folder, label = (self.get_parameter(name).value for name in names)
        self.loaded.append((str(Path(folder).resolve()), label))
        return TransitionCallbackReturn.SUCCESS

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self.activations += 1
        self.count = 0
        self.stepping = True
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        self.deactivations += 1
        self.stepping = False
        return super().on_deactivate(state)

    def reset(self, request: Any, response: Any) -> Any:
        self.trial = request.trial
        self.solved = False
        response.success = not self.refuse_reset
        response.message = self.refuse_reset
        return response

    def home(self, request: Any, response: Any) -> Any:
        assert not self.stepping
        self.homed += 1
        response.success = True
        return response

    def tick(self) -> None:
        now = self.get_clock().now().to_msg()
        if self.picture is not None:
            self.picture.header.stamp = now
            self.images.publish(self.picture)
        if self.trial >= 0:
            distance = self.distances[self.trial] if self.solved else 0.15
            truth = GroundTruth(distance=distance, success=distance < 0.05)
            truth.header.stamp = Time(sec=-1) if self.impossible_stamps and self.stepping else now
            self.truth.publish(truth)
        if not self.stepping:
            return
        if self.trial == self.silent_in_trial and self.count >= 2:
            return
        if self.trial == self.latch_in_trial and self.count >= 2:
            self.stepping = False
            status = DiagnosticStatus(
                name="twist_policy_node: policy",
                level=DiagnosticStatus.ERROR,
                message="stopped: the camera froze",
                values=[KeyValue(key="cure", value="check its cable")],
            )
            message = DiagnosticArray(status=[status])
            message.header.stamp = now
            self.diagnostics.publish(message)
            return
        step = PolicyStep(step=self.count, surprise=1.0, latency=0.03, limited_by=self.padding)
        step.header.stamp = now
        self.steps.publish(step)
        self.count += 1
        self.solved = self.count >= STEPS


@pytest.fixture
def stand(ros_domain_id: int) -> Iterator[FakeStand]:
    context = Context()
    rclpy.init(context=context, domain_id=ros_domain_id)
    node = FakeStand(context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    thread = threading.Thread(target=executor.spin, daemon=True)
    thread.start()
    yield node
    executor.shutdown()
    thread.join(5)
    node.destroy_node()
    rclpy.shutdown(context=context)


def _start(module: str, folder: Path, /, **parameters: Any) -> subprocess.Popen[str]:
    words = [sys.executable, "-m", f"twist_evaluation.{module}", "--ros-args"]
    for key, value in parameters.items():
        words += ["-p", f"{key}:={value}"]
    return subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=folder
    )


@pytest.fixture
def recorder(ros_domain_id: int, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    process = _start(
        "recorder_node",
        tmp_path,
        minimum_free_megabytes=1,
        required_topics="['twist_policy_node/step']",
    )
    yield process
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)


def _run(folder: Path, /, **parameters: Any) -> tuple[int, str]:
    defaults = {"trials": 3, "output": str(folder / "run"), "episode_steps": STEPS}
    process = _start("trial_runner_node", folder, **{**defaults, **parameters})
    try:
        text, _ = process.communicate(timeout=90)
    finally:
        process.kill()
    print(text)
    return process.returncode, text


def _results(output: Path) -> dict[str, Any]:
    return json.loads((output / "run" / "results.json").read_text())


def test_trials_run_to_judgement_are_reported_recorded_and_end_with_exit_code_0(
    stand: FakeStand, recorder: subprocess.Popen[str], tmp_path: Path
) -> None:
    stand.distances[1] = 0.08

    code, text = _run(tmp_path)

    assert code == 0
    assert "trial 2/3  FAILURE" in text
    assert "success 2/3 = 67%" in text
    results = _results(tmp_path)
    assert [r["outcome"] for r in results["results"]] == ["success", "failure", "success"]
    assert results["results"][1]["final_distance"] == pytest.approx(0.08)
    assert [r["steps"] for r in results["results"]] == [STEPS] * 3
    assert stand.activations == stand.deactivations == 3
    bags = sorted((tmp_path / "run").glob("trial_*"))
    assert [bag.name for bag in bags] == [f"trial_{i:03d}_block_push_seed0" for i in range(3)]
    custom = read_metadata(bags[1])["custom_data"]
    assert custom["outcome"] == "failure"
    assert custom["trial"] == "1"
    assert custom["steps"] == str(STEPS)
    assert float(custom["final_distance"]) == pytest.approx(0.08)
    with AnyReader([bags[0]]) as reader:
        counts = {c.topic: c.msgcount for c in reader.connections}
    assert counts["/twist_policy_node/step"] >= STEPS
    assert counts["/robot_twin/ground_truth"] > 0
    assert counts["/trial_runner/trial"] == 1


def test_latched_stop_of_the_policy_aborts_the_trial_with_its_cause_and_the_next_one_runs(
    stand: FakeStand, tmp_path: Path
) -> None:
    stand.latch_in_trial = 0

    code, text = _run(tmp_path, record=False, trials=2)

    assert code == 1
    assert "the camera froze. check its cable" in text
    assert [r["outcome"] for r in _results(tmp_path)["results"]] == ["aborted", "success"]


def test_policy_that_falls_silent_aborts_the_trial(stand: FakeStand, tmp_path: Path) -> None:
    stand.silent_in_trial = 0

    code, text = _run(tmp_path, record=False, trials=1, step_timeout=0.5)

    assert code == 1
    assert "no step from twist_policy_node for 0.5 s" in text
    assert stand.deactivations == 1


def test_refused_reset_aborts_each_trial_and_ends_after_three(
    stand: FakeStand, tmp_path: Path
) -> None:
    stand.refuse_reset = "the arm is not enabled; enable it"
    stand.distances = [0.02] * 5

    code, text = _run(tmp_path, record=False, trials=5)

    assert code == 1
    assert "reset refused: the arm is not enabled; enable it" in text
    assert "3 trials in a row were aborted" in text
    assert stand.activations == 0


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (signal.SIGINT, "interrupted by a person"),
        (signal.SIGTERM, "told to stop (SIGTERM), as when another process of the graph has died"),
    ],
)
def test_interrupt_stops_the_arm_closes_the_bag_and_keeps_the_results(
    stand: FakeStand,
    recorder: subprocess.Popen[str],
    tmp_path: Path,
    number: int,
    reason: str,
) -> None:
    process = _start(
        "trial_runner_node",
        tmp_path,
        trials=2,
        output=str(tmp_path / "run"),
        episode_steps=100000,
        first_step_timeout=30.0,
    )
    deadline = time.monotonic() + 60
    while stand.count < 5 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(number)
    text, _ = process.communicate(timeout=30)

    assert process.returncode == 130, text
    assert not stand.stepping
    assert reason in text
    (bag,) = (tmp_path / "run").glob("trial_*")
    assert read_metadata(bag)["custom_data"]["outcome"] == "aborted"
    assert _results(tmp_path)["results"][0]["reason"] == reason


def test_an_error_in_a_callback_ends_the_evaluation_with_its_reason_and_stops_the_arm(
    stand: FakeStand, tmp_path: Path
) -> None:
    stand.impossible_stamps = True
    code, text = _run(tmp_path, record=False, trials=1, episode_steps=100000)

    assert code == 1
    assert not stand.stepping
    assert "ValueError" in _results(tmp_path)["results"][0]["reason"]
    assert "interrupted by a person" not in text


def test_missing_nodes_are_named_and_the_exit_code_tells(
    ros_domain_id: int, tmp_path: Path
) -> None:
    code, text = _run(
        tmp_path,
        ready_timeout=1.0,
        policy_node="no_policy",
        reset_service="no_robot/reset",
        recorder_node="no_recorder",
    )

    assert code == 1
    for name in ("no_policy/get_state", "no_robot/reset", "no_recorder/start_recording"):
        assert name in text


@pytest.mark.parametrize(
    ("parameter", "value", "expected"),
    [
        ("task", "juggle", "juggle"),
        ("checkpoint", "/nowhere", "/nowhere/manifest.json"),
        ("trials", 0, "trials"),
    ],
)
def test_wrong_arguments_are_named_and_exit_with_2(
    ros_domain_id: int, tmp_path: Path, parameter: str, value: Any, expected: str
) -> None:
    code, text = _run(tmp_path, **{parameter: value})

    assert code == 2
    assert expected in text


def test_recorder_that_is_told_to_end_closes_its_bag(
    stand: FakeStand, recorder: subprocess.Popen[str], tmp_path: Path
) -> None:
    runner = _start(
        "trial_runner_node", tmp_path, output=str(tmp_path / "run"), episode_steps=100000
    )
    try:
        deadline = time.monotonic() + 60
        while stand.count < 20 and time.monotonic() < deadline:
            time.sleep(0.02)
        recorder.send_signal(signal.SIGTERM)
        recorder.communicate(timeout=20)
    finally:
        runner.kill()
        runner.communicate()

    assert recorder.returncode == 0
    (bag,) = (tmp_path / "run").glob("trial_*")
    custom = read_metadata(bag)["custom_data"]
    assert custom["reason"] == "the recorder was stopped"
    with AnyReader([bag]) as reader:
        assert {c.topic: c.msgcount for c in reader.connections}["/twist_policy_node/step"] >= 10
    assert not list(bag.glob(".*")), os.listdir(bag)


def test_killed_recorder_aborts_the_trial_stops_the_arm_and_its_bag_can_be_recovered(
    stand: FakeStand, recorder: subprocess.Popen[str], tmp_path: Path
) -> None:
    stand.padding = ["x" * 50_000]  # a chunk reaches the disk when it holds 1 MiB
    runner = _start(
        "trial_runner_node",
        tmp_path,
        output=str(tmp_path / "run"),
        episode_steps=100000,
        service_timeout=1.0,
    )
    try:
        deadline = time.monotonic() + 60
        while stand.count < 60 and time.monotonic() < deadline:
            time.sleep(0.02)
        recorder.kill()
        recorder.communicate()
        text, _ = runner.communicate(timeout=60)
    finally:
        runner.kill()

    assert runner.returncode == 1, text
    assert "nothing heard of recorder" in text
    assert not stand.stepping
    bag = sorted((tmp_path / "run").glob("trial_*"))[0]
    assert recover_bag(bag).topics["/twist_policy_node/step"] >= 10
    assert read_metadata(bag)["custom_data"]["outcome"] == "aborted"


def _picture() -> Image:
    """The twin's camera looking at a cube 3 cm beside the goal."""
    from twist_sim.appearance import AppearanceSampler, nominal_appearance
    from twist_sim.gl_backend import RenderError
    from twist_sim.layout import Layout
    from twist_sim.rendering import SceneRenderer
    from twist_sim.scene import PandaScene
    from twist_sim.task_card import load_task_card

    card = load_task_card("block_push")
    scene = PandaScene(card)
    scene.reset(Layout((0.5, 0.03, 0.02), 0.4, (0.5, 0.0, 0.0)))
    try:
        with SceneRenderer(card, AppearanceSampler(card, "held_out", 0)) as renderer:
            frame = renderer.render_frame(scene.get_state(), nominal_appearance())
    except RenderError as error:
        pytest.skip(str(error))
    image = Image(height=480, width=640, encoding="rgb8", step=1920)
    image.data.frombytes(frame.tobytes())
    return image


def test_camera_measures_and_the_operator_at_the_console_decides(
    stand: FakeStand, tmp_path: Path
) -> None:
    stand.picture = _picture()
    # Solved from the start, as the camera sees it: the camera looks before the trial as well.
    code, text = _run(
        tmp_path, record=False, trials=1, judge="camera", home_service="robot_twin/home"
    )
    assert code == 1
    assert "the success rule holds already at the start" in text

    console = subprocess.Popen(
        [sys.executable, "-m", "twist_evaluation.operator_console"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert console.stdin is not None
    assert console.stdout is not None

    def answer() -> None:
        """A wrong key, then what the camera did not say."""
        for line in console.stdout:  # type: ignore[union-attr]
            if line.startswith("  n  "):
                console.stdin.write("yes\nf\n")  # type: ignore[union-attr]
                console.stdin.flush()  # type: ignore[union-attr]

    answering = threading.Thread(target=answer, daemon=True)
    answering.start()
    try:
        code, text = _run(tmp_path, record=False, trials=1, judge="operator", resume=True)
    finally:
        console.stdin.close()
        console.wait(30)
    assert code == 0
    assert "trial 1/1  FAILURE" in text
    document = _results(tmp_path)
    assert [r["judge"] for r in document["results"]] == ["operator"]
    assert [r["outcome"] for r in document["superseded"]] == ["aborted"]
    assert document["results"][0]["attempt"] == 2


def test_trial_that_nobody_judges_is_recorded_as_that_with_what_the_camera_saw(
    stand: FakeStand, tmp_path: Path
) -> None:
    # The ground truth says success; nobody is there to say so.
    code, text = _run(tmp_path, record=False, trials=1, judge="operator", console_timeout=1.0)

    assert code == 1
    assert "NOT JUDGED" in text
    assert "operator_console" in text
    result = _results(tmp_path)["results"][0]
    assert result["outcome"] == "not judged"
    assert "no console to answer in for 1 s" in result["reason"]
    assert _results(tmp_path)["summary"]["successes"] == 0


def test_two_checkpoints_are_compared_blindly_over_two_seeds(
    stand: FakeStand, recorder: subprocess.Popen[str], tmp_path: Path
) -> None:
    from twist_policy.synthetic_checkpoint import write_synthetic_checkpoint
    from twist_sim.task_card import load_task_card

    contract = load_task_card("block_push").contract(observes_ee_position=False)
    write_synthetic_checkpoint(tmp_path / "alpha", contract, behaviour="hold")
    write_synthetic_checkpoint(tmp_path / "omega", contract, behaviour="forward")
    code, text = _run(
        tmp_path,
        trials=2,
        seeds="'3,4'",
        checkpoint=str(tmp_path / "alpha"),
        compare_with=str(tmp_path / "omega"),
    )

    assert code == 0
    for part in ("alpha", "omega", contract.task + "@"):
        assert part not in text.replace(str(tmp_path), "")
    folders = [Path(folder).name for folder, _ in stand.loaded[-8:]]
    assert sorted(folders) == ["alpha"] * 4 + ["omega"] * 4
    assert all(set(folders[i : i + 2]) == {"alpha", "omega"} for i in range(0, 8, 2))
    assert all(label.startswith("blind-comparison@") for _, label in stand.loaded[-8:])
    bag = next((tmp_path / "run" / "seed3").glob("trial_001*"))
    custom = read_metadata(bag)["custom_data"]
    assert custom["checkpoint"].endswith("/run_001")
    assert custom["layout_trial"] == "0"
    assert main_compare([str(tmp_path / "run")]) == 0
    report = make_report(tmp_path / "run", tmp_path / "page", video=False)
    assert len(report.records) == 8
    page = report.page.read_text()
    assert "exact McNemar test  p = 1" in page
    assert "alpha" in page
