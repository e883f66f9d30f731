"""The latent policy: camera frames in, actions out, and what the policy believes it sees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from twist_policy.checkpoint import Checkpoint
from twist_policy.gripper_gate import CLOSED, OPEN, asked_state

_WARM_UP_EPISODE = 4
Number = TypeVar("Number", np.float32, np.float64)


class PolicyError(RuntimeError):
    """The policy cannot act on this input, or its modules failed; the caller stops the arm."""


@dataclass(frozen=True)
class PolicyOutput:
    """One decision.

    Attributes:
        action: raw actor output, float64 (A,), in [-1, 1]; not bounded by the gate yet.
        surprise: KL divergence of the posterior from the prior, nats: how much the frame
            contradicts what the world model expected.
        belief: decoded privileged state, float64 (state_size,), SI units, base frame.
    """

    action: NDArray[np.float64]
    surprise: float
    belief: NDArray[np.float64]


class LatentPolicy:
    """Filters the latent state from frames and lets the actor act on it.

    One cycle is `step`, then bounding the action, then `commit` with the motion that was really
    commanded: the world model is fed executed actions, not wishes. A `step` without a `commit`
    since the last one means that nothing was commanded: the previous translation is zero, and a
    gripper is as it was commanded before. An episode starts with the gripper open.

    A step that raises leaves the latent state as it was, and so do `imagine` and `warm_up`.
    Not thread-safe: call it from one thread, or one mutually exclusive callback group.

    Args:
        checkpoint: verified modules and their contract.
        threads: PyTorch's threads for one operation. This is a setting of the whole process
            (``torch.set_num_threads``); None leaves it alone. One thread is fastest and steadiest
            for a single frame, and leaves the other cores to the rest of the graph.
    """

    def __init__(self, checkpoint: Checkpoint, threads: int | None = 1) -> None:
        if threads is not None:
            if threads < 1:
                raise ValueError(f"threads must be at least 1, found {threads}")
            torch.set_num_threads(threads)
        self.contract = checkpoint.contract
        self.identity = checkpoint.identity
        self._student = checkpoint.student
        self._actor = checkpoint.actor
        self._decoder = checkpoint.decoder
        camera = self.contract.camera
        self._frame = torch.empty((1, camera.height, camera.width, 3), dtype=torch.uint8)
        # The same memory, as the array that frames are copied into.
        self._frame_array: NDArray[np.uint8] = self._frame.numpy()[0]
        self.reset()

    def reset(self) -> None:
        """Starts an episode: initial latent state, no previous motion, an open gripper."""
        with torch.inference_mode():
            self._h, self._z = self._student.initial(1)
        self._gripper_state = OPEN
        self._previous_action = self._action((0.0, 0.0, 0.0))

    def step(self, frame: NDArray[np.uint8], ee_position: ArrayLike) -> PolicyOutput:
        """One filter step and one decision.

        Args:
            frame: rgb camera frame, uint8 (height, width, 3); strided and read-only arrays are
                fine. It is copied.
            ee_position: measured tool-tip position, metres, base frame, (3,). It must be finite
                even where the contract does not observe it.

        Raises:
            PolicyError: an input of a wrong shape, type or value, or a module that fails or puts
                out NaN or infinity. The latent state is unchanged then.
        """
        if (
            not isinstance(frame, np.ndarray)
            or frame.shape != self._frame_array.shape
            or frame.dtype != np.uint8
        ):
            kind, shape = getattr(frame, "dtype", type(frame).__name__), np.shape(frame)
            raise PolicyError(
                f"expected a uint8 rgb frame of shape {self._frame_array.shape}, found "
                f"{kind} {shape}; set the camera to "
                f"{self.contract.camera.width}x{self.contract.camera.height} rgb8"
            )
        position = _in_metres("ee_position", ee_position, np.float32)
        np.copyto(self._frame_array, frame)
        with torch.inference_mode():
            try:
                h, z, surprise = self._student(
                    self._frame,
                    torch.from_numpy(position)[None],
                    self._previous_action,
                    self._h,
                    self._z,
                )
                action, belief = self._actor(h, z), self._decoder(h, z)
            except RuntimeError as error:
                raise PolicyError(f"the policy's modules failed: {error}") from error
            _require_finite(h=h, z=z, surprise=surprise, action=action, belief=belief)
            self._h, self._z = h, z
            self._previous_action = self._action((0.0, 0.0, 0.0))
        return PolicyOutput(_to_array(action[0]), float(surprise[0]), _to_array(belief[0]))

    def commit(self, executed_delta: ArrayLike, gripper_state: float | None = None) -> None:
        """Tells the world model what was really commanded after the last `step`.

        May be repeated while a step goes on: what is told last counts.

        Args:
            executed_delta: commanded translation, metres, base frame, (3,); zeros when the arm
                was held.
            gripper_state: the gripper gate's state, 1.0 for closed and -1.0 for open. Needed
                when the contract has a gripper, refused when it has none.

        Raises:
            PolicyError: not three finite numbers, a longer translation than the contract allows,
                or a gripper state that does not fit. Nothing is committed then.
        """
        delta = _in_metres("executed_delta", executed_delta, np.float64)
        bound = self.contract.action_bound
        norm = float(np.linalg.norm(delta))
        if norm > bound * (1 + 1e-6):
            raise PolicyError(
                f"executed_delta is {norm:.4f} m long, the contract's bound is {bound} m; "
                "commit the delta that the action gate returned"
            )
        if (gripper_state is None) != (self.contract.gripper is None):
            raise PolicyError(
                f"task {self.contract.task!r} has "
                + ("no gripper" if self.contract.gripper is None else "a gripper")
                + f", but gripper_state is {gripper_state}; commit the gripper gate's state where "
                "there is a gripper, and none where there is not"
            )
        if gripper_state is not None:
            if gripper_state not in (OPEN, CLOSED):
                raise PolicyError(
                    f"gripper_state must be {OPEN} (open) or {CLOSED} (closed), found "
                    f"{gripper_state}; commit the gripper gate's state"
                )
            self._gripper_state = float(gripper_state)
        self._previous_action = self._action(delta / bound)

    def imagine(self, horizon: int = 15) -> NDArray[np.float64]:
        """The path ahead as the world model expects it when the actor goes on acting.

        Imagined actions are bounded as in free space: a translation by its norm, and the gripper
        becomes what the actor asks for, with the gripper gate's hysteresis but without its wait
        for the last command.

        Args:
            horizon: how many control periods.

        Returns:
            Decoded states after 1..horizon steps, float64 (horizon, state_size), SI units.

        Raises:
            PolicyError: a module fails or puts out NaN or infinity.
        """
        beliefs = []
        with torch.inference_mode():
            h, z = self._h, self._z
            try:
                gripper_state = self._gripper_state
                for _ in range(horizon):
                    action = self._actor(h, z)
                    if self.contract.gripper is not None:
                        gripper_state = asked_state(float(action[0, 3]), gripper_state)
                    h, z = self._student.imagine(_bounded(action, gripper_state), h, z)
                    beliefs.append(self._decoder(h, z))
            except RuntimeError as error:
                raise PolicyError(f"the policy's modules failed: {error}") from error
            if not beliefs:
                return np.zeros((0, self.contract.state_size))
            path = torch.cat(beliefs)
            _require_finite(imagined_belief=path)
        return _to_array(path)

    def warm_up(self, steps: int = 12) -> None:
        """Runs all modules on blank and noisy frames, so that the first real step is not slow.

        TorchScript observes the first calls of a module and compiles then; afterwards a step
        takes its usual time. The latent state is unchanged.

        Args:
            steps: how many policy steps.

        Raises:
            PolicyError: as `step`.
        """
        kept = self._h, self._z, self._previous_action, self._gripper_state
        gripper_state = None if self.contract.gripper is None else OPEN
        noise = np.random.default_rng(0).integers(0, 256, self._frame_array.shape, np.uint8)
        home = np.asarray(self.contract.home)
        try:
            for index in range(steps):
                if index % _WARM_UP_EPISODE == 0:
                    self.reset()
                self.step(noise if index % 2 else np.zeros_like(noise), home)
                self.commit(np.zeros(3), gripper_state)
                self.imagine(2)
        finally:
            self._h, self._z, self._previous_action, self._gripper_state = kept

    def _action(self, translation: ArrayLike) -> Tensor:
        """(1, A): a translation over the action bound, and the gripper's state if there is one."""
        action = torch.full((1, self.contract.action_size), self._gripper_state)
        action[0, :3] = torch.from_numpy(np.asarray(translation, dtype=np.float32))
        return action


def _bounded(action: Tensor, gripper_state: float) -> Tensor:
    """What the gates let through of (1, A) in free space: a translation norm of at most 1.

    A fourth number becomes `gripper_state`.
    """
    norm = action[:, :3].norm(dim=-1, keepdim=True).clamp(min=1.0)
    return torch.cat([action[:, :3] / norm, torch.full_like(action[:, 3:], gripper_state)], dim=-1)


def _to_array(values: Tensor) -> NDArray[np.float64]:
    array: NDArray[np.float64] = values.to(torch.float64).numpy().copy()
    return array


def _in_metres(name: str, value: ArrayLike, kind: type[Number]) -> NDArray[Number]:
    """A copy of three numbers that are finite in this precision.

    Raises:
        PolicyError: they are not.
    """
    try:
        numbers = np.array(value, dtype=kind)
    except (TypeError, ValueError):
        numbers = np.empty(0, kind)
    if numbers.shape != (3,) or not bool(np.isfinite(numbers).all()):
        raise PolicyError(f"{name} must be three finite numbers in metres, found {value!r}")
    return numbers


def _require_finite(**values: Tensor) -> None:
    for name, value in values.items():
        if not bool(torch.isfinite(value).all()):
            raise PolicyError(
                f"the policy put out NaN or infinity ({name}); stop the arm. If it happens again "
                "on valid frames, the checkpoint is unusable: train or choose another"
            )
