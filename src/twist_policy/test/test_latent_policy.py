from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from twist_policy.action_gate import ActionGate
from twist_policy.checkpoint import Checkpoint, load_checkpoint
from twist_policy.contract import PolicyContract
from twist_policy.latent_policy import LatentPolicy, PolicyError
from twist_policy.synthetic_checkpoint import SyntheticActor, write_synthetic_checkpoint

POSITION = (0.45, 0.0, 0.05)


@pytest.fixture
def checkpoint(folder: Path) -> Checkpoint:
    return load_checkpoint(folder)


@pytest.fixture
def policy(checkpoint: Checkpoint) -> LatentPolicy:
    return LatentPolicy(checkpoint)


@pytest.fixture
def frame() -> NDArray[np.uint8]:
    return np.random.default_rng(1).integers(0, 256, (480, 640, 3), dtype=np.uint8)


class RecordingStudent(torch.nn.Module):
    """Passes calls on and keeps the previous actions it was fed."""

    def __init__(self, student: torch.jit.ScriptModule) -> None:
        super().__init__()
        self.student = student
        self.fed: list[list[float]] = []

    def initial(self, batch: int) -> tuple[torch.Tensor, torch.Tensor]:
        return self.student.initial(batch)

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        self.fed.append(inputs[2][0].tolist())
        return self.student(*inputs)

    def imagine(
        self, action: torch.Tensor, h: torch.Tensor, z: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        self.fed.append(action[0].tolist())
        return self.student.imagine(action, h, z)


def test_output_has_the_contracts_sizes(
    policy: LatentPolicy, frame: NDArray[np.uint8], contract: PolicyContract
) -> None:
    output = policy.step(frame, POSITION)
    assert output.action.shape == (contract.action_size,)
    assert output.belief.shape == (contract.state_size,)
    assert output.action.dtype == output.belief.dtype == np.float64
    assert output.action[0] == 0.5
    assert np.isfinite(output.surprise)


def test_the_world_model_is_fed_what_was_committed(
    checkpoint: Checkpoint, frame: NDArray[np.uint8]
) -> None:
    student = RecordingStudent(checkpoint.student)
    policy = LatentPolicy(dataclasses.replace(checkpoint, student=student))
    policy.step(frame, POSITION)
    policy.commit([0.01, -0.005, 0.0])
    policy.step(frame, POSITION)
    policy.step(frame, POSITION)  # nothing was committed since: the arm was held
    policy.commit([0.02, 0.0, 0.0])
    policy.reset()
    policy.step(frame, POSITION)
    expected = [[0, 0, 0], [0.5, -0.25, 0], [0, 0, 0], [0, 0, 0]]
    np.testing.assert_allclose(student.fed, expected, rtol=1e-6)


def test_what_the_gate_lets_through_can_always_be_committed(
    policy: LatentPolicy, contract: PolicyContract, frame: NDArray[np.uint8]
) -> None:
    gate = ActionGate.from_contract(contract)
    measured = gate.reset(contract.home)
    rng = np.random.default_rng(0)
    for _ in range(200):
        gated = gate.step(rng.normal(0, 2, 3), measured)
        policy.commit(gated.delta)
        measured = gated.target


def test_imagining_leaves_the_filter_unchanged(
    checkpoint: Checkpoint, frame: NDArray[np.uint8]
) -> None:
    dreamer, other = LatentPolicy(checkpoint), LatentPolicy(checkpoint)
    for index in range(6):
        shown = np.roll(frame, 50 * index, axis=1) // (index + 1)
        mine, theirs = dreamer.step(shown, POSITION), other.step(shown, POSITION)
        assert mine.surprise == theirs.surprise
        np.testing.assert_array_equal(mine.belief, theirs.belief)
        dreamer.commit([0.01, 0.0, 0.0])
        other.commit([0.01, 0.0, 0.0])
        assert dreamer.imagine(4).shape == (4, dreamer.contract.state_size)
        dreamer.warm_up(5)


def test_imagination_follows_the_actor(policy: LatentPolicy, frame: NDArray[np.uint8]) -> None:
    policy.step(frame, POSITION)  # previous action zero: beliefs at their offsets
    path = policy.imagine(3)
    # The synthetic actor moves at half of the 2 cm bound.
    np.testing.assert_allclose(path[:, 0], 0.5 + 0.01, atol=1e-6)
    assert policy.imagine(0).shape == (0, policy.contract.state_size)


def test_imagined_actions_are_bounded_as_the_gate_bounds_them(
    checkpoint: Checkpoint, frame: NDArray[np.uint8]
) -> None:
    greedy = LatentPolicy(dataclasses.replace(checkpoint, actor=SyntheticActor([1.0, 1.0, 1.0])))
    greedy.step(frame, POSITION)
    # 2 cm along the diagonal; the synthetic belief shows its x.
    np.testing.assert_allclose(greedy.imagine(2)[:, 0], 0.5 + 0.02 / np.sqrt(3), atol=1e-6)


def test_the_world_model_is_fed_the_grippers_commanded_state(
    tmp_path: Path, gripper_contract: PolicyContract, frame: NDArray[np.uint8]
) -> None:
    write_synthetic_checkpoint(tmp_path / "m", gripper_contract, behaviour="hold")
    checkpoint = load_checkpoint(tmp_path / "m")
    student = RecordingStudent(checkpoint.student)
    policy = LatentPolicy(dataclasses.replace(checkpoint, student=student))
    policy.warm_up(2)
    student.fed.clear()
    policy.step(frame, POSITION)
    policy.commit([0.01, 0.0, 0.0], 1.0)
    policy.step(frame, POSITION)
    policy.step(frame, POSITION)  # nothing was committed since: held, and still closed
    policy.reset()
    policy.step(frame, POSITION)
    expected = [[0, 0, 0, -1], [0.5, 0, 0, 1], [0, 0, 0, 1], [0, 0, 0, -1]]
    np.testing.assert_allclose(student.fed, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("asked", "imagined"), [(0.3, [1.0, 1.0]), (0.1, [-1.0, -1.0]), (-0.9, [-1.0, -1.0])]
)
def test_an_imagined_gripper_is_open_or_closed(
    tmp_path: Path,
    gripper_contract: PolicyContract,
    frame: NDArray[np.uint8],
    asked: float,
    imagined: list[float],
) -> None:
    write_synthetic_checkpoint(tmp_path / "m", gripper_contract)
    checkpoint = load_checkpoint(tmp_path / "m")
    student = RecordingStudent(checkpoint.student)
    actor = SyntheticActor([1.0, 0.0, 0.0, asked])
    policy = LatentPolicy(dataclasses.replace(checkpoint, student=student, actor=actor))
    policy.step(frame, POSITION)
    policy.imagine(2)
    assert [action[3] for action in student.fed[1:]] == imagined
    policy.commit([0.0, 0.0, 0.0], 1.0)
    student.fed.clear()
    policy.imagine(1)
    assert student.fed[0][3] == (-1.0 if asked < -0.25 else 1.0)


@pytest.mark.parametrize("bad", [None, 0.5, np.nan])
def test_a_gripper_state_that_no_gate_puts_out_cannot_be_committed(
    tmp_path: Path, gripper_contract: PolicyContract, policy: LatentPolicy, bad: float | None
) -> None:
    write_synthetic_checkpoint(tmp_path / "m", gripper_contract)
    with pytest.raises(PolicyError, match="gripper_state"):
        LatentPolicy(load_checkpoint(tmp_path / "m")).commit([0.0, 0.0, 0.0], bad)
    with pytest.raises(PolicyError, match="has no gripper"):
        policy.commit([0.0, 0.0, 0.0], 1.0)


def test_the_same_inputs_give_the_same_outputs(
    checkpoint: Checkpoint, frame: NDArray[np.uint8]
) -> None:
    policy = LatentPolicy(checkpoint)
    runs = []
    for _ in range(2):
        policy.reset()
        runs.append([policy.step(frame // (i + 1), POSITION).surprise for i in range(5)])
    assert runs[0] == runs[1]
    assert len(set(runs[0])) > 1


@pytest.mark.parametrize(
    "bad",
    [
        np.zeros((240, 320, 3), np.uint8),
        np.zeros((480, 640, 4), np.uint8),
        np.zeros((480, 640), np.uint8),
        np.zeros((480, 640, 3), np.float32),
        None,
        [[0, 0, 0]],
    ],
)
def test_a_frame_of_another_camera_is_refused(policy: LatentPolicy, bad: np.ndarray) -> None:
    with pytest.raises(PolicyError, match=r"expected a uint8 rgb frame.*640x480 rgb8"):
        policy.step(bad, POSITION)


@pytest.mark.parametrize(
    "bad",
    [
        (np.nan, 0.0, 0.0),
        (np.inf, 0.0, 0.0),
        (0.0, 0.0),
        1.0,
        (1e39, 0.0, 0.0),
        None,
        ("far", "left", "up"),
    ],
)
def test_a_bad_position_is_refused(
    policy: LatentPolicy, frame: NDArray[np.uint8], bad: object
) -> None:
    with pytest.raises(PolicyError, match="ee_position must be three finite numbers"):
        policy.step(frame, bad)  # type: ignore[arg-type]


@pytest.mark.parametrize("bad", [(np.nan, 0.0, 0.0), (0.0, 0.0), (0.021, 0.0, 0.0), None])
def test_a_motion_that_was_never_allowed_cannot_be_committed(
    policy: LatentPolicy, bad: tuple[float, ...]
) -> None:
    with pytest.raises(PolicyError, match="executed_delta"):
        policy.commit(bad)


def test_nan_from_a_module_is_an_error_and_reset_recovers(
    tmp_path: Path, contract: PolicyContract, frame: NDArray[np.uint8]
) -> None:
    write_synthetic_checkpoint(tmp_path / "m", contract, behaviour="nan", nan_after=10)
    policy = LatentPolicy(load_checkpoint(tmp_path / "m"))
    policy.warm_up(30)
    for _ in range(9):
        policy.step(frame, POSITION)
    for _ in range(2):  # the latent state is not advanced by a failed step
        with pytest.raises(PolicyError, match=r"NaN or infinity \(action\).*stop the arm"):
            policy.step(frame, POSITION)
    policy.reset()
    assert np.isfinite(policy.step(frame, POSITION).action).all()


def test_a_module_that_raises_is_a_policy_error(
    checkpoint: Checkpoint, frame: NDArray[np.uint8]
) -> None:
    class Broken(torch.nn.Module):
        def forward(self, h: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("out of memory")

    policy = LatentPolicy(dataclasses.replace(checkpoint, decoder=Broken()))
    with pytest.raises(PolicyError, match="out of memory"):
        policy.step(frame, POSITION)
    with pytest.raises(PolicyError, match="out of memory"):
        policy.imagine(2)


@pytest.mark.filterwarnings("error")
def test_read_only_and_strided_frames_are_taken(
    policy: LatentPolicy, frame: NDArray[np.uint8]
) -> None:
    expected = policy.step(frame, POSITION)
    policy.reset()
    wide = np.zeros((480, 700, 3), np.uint8)
    wide[:, :640] = frame
    view = wide[:, :640]
    view.flags.writeable = False
    assert policy.step(view, POSITION).surprise == expected.surprise


def test_a_strided_position_is_taken(policy: LatentPolicy, frame: NDArray[np.uint8]) -> None:
    backwards = np.array(POSITION[::-1], np.float32)[::-1]
    action = policy.step(frame, backwards).action
    policy.reset()
    np.testing.assert_array_equal(action, policy.step(frame, POSITION).action)


def test_the_callers_frame_may_be_reused(checkpoint: Checkpoint, frame: NDArray[np.uint8]) -> None:
    policy, other = LatentPolicy(checkpoint), LatentPolicy(checkpoint)
    reused = frame.copy()
    policy.step(reused, POSITION)
    reused[:] = 0
    other.step(frame, POSITION)
    assert policy.step(frame, POSITION).surprise == other.step(frame, POSITION).surprise


def test_threads_are_set_for_the_process_or_left_alone(checkpoint: Checkpoint) -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        LatentPolicy(checkpoint, threads=None)
        assert torch.get_num_threads() == 2
        LatentPolicy(checkpoint)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
    with pytest.raises(ValueError, match="threads"):
        LatentPolicy(checkpoint, threads=0)
