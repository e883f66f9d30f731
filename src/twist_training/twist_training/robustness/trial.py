"""One trial of an exported checkpoint in a disturbed world."""

from __future__ import annotations

import atexit
import dataclasses
import functools
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import mujoco
import numpy as np
from numpy.typing import NDArray

from twist_policy import torchscript
from twist_policy.action_gate import step_periods
from twist_policy.checkpoint import Checkpoint, load_checkpoint
from twist_policy.contract import ImageSpec
from twist_policy.latent_policy import LatentPolicy
from twist_sim.appearance import Appearance, AppearanceSampler
from twist_sim.camera_effects import apply_camera_effects
from twist_sim.env import TaskEnv
from twist_sim.rendering import CROP_SIZE, SceneRenderer
from twist_sim.task_card import TaskCard, load_task_card
from twist_training.configuration import ConfigurationError
from twist_training.robustness.disturbance import Disturbance, Textures
from twist_training.rollout import contact_force
from twist_training.run_identity import RunError

Pixels = Literal["crop", "frame"]
Image = NDArray[np.uint8]

SETTLING_STEPS = 3
"""First steps of an episode, whose surprise is not counted: the filter starts from nothing."""


def about_trials(checkpoint: Checkpoint, card: TaskCard, pixels: str) -> dict[str, str]:
    """What every trial of a table depends on; see `ResultTable`."""
    return {
        "checkpoint": checkpoint.identity,
        "task": card.task,
        "card": card.digest,
        "pixels": pixels,
    }


def pixels_named(name: str) -> Pixels:
    """How a trial is to be rendered, see `TrialWorld`.

    Raises:
        ConfigurationError: there is no such way.
    """
    if name == "crop":
        return "crop"
    if name == "frame":
        return "frame"
    raise ConfigurationError(f"pixels is {name!r}; use crop or frame")


@dataclass(frozen=True)
class TrialResult:
    """What a trial came to.

    Attributes:
        success: whether the task's rule held at the end, without a refusal of the gate.
        distance: metres between object and goal at the end.
        steps: policy steps; fewer than control periods where frames were lost.
        stopped: whether the gate ended the trial.
        surprise_mean: over the steps after the first `SETTLING_STEPS`, nats.
        surprise_max: likewise.
        surprise_start: of the very first step, when no expectation of the scene exists.
        object_error: mean distance between believed and true object, metres, both as of the
            frame that was looked at.
        goal_error: likewise of the goal; NaN without one.
        contact_force: largest of the control periods, newtons, on an arm as stiff as the simulated
            one.
    """

    success: bool
    distance: float
    steps: int
    stopped: bool
    surprise_mean: float
    surprise_max: float
    surprise_start: float
    object_error: float
    goal_error: float
    contact_force: float


@dataclass
class Trace:
    """Everything that happened in a trial, step by step.

    Attributes:
        state: true privileged state as of the frame, SI units, T x (S,).
        belief: decoded from the latent, SI units, T x (S,).
        surprise: nats.
        frames: what the camera delivered, kept only where `keep` says so, by step.
        keep: the steps whose frames are kept.
    """

    keep: frozenset[int] = frozenset()
    state: list[NDArray[np.float64]] = field(default_factory=list)
    belief: list[NDArray[np.float64]] = field(default_factory=list)
    surprise: list[float] = field(default_factory=list)
    frames: dict[int, Image] = field(default_factory=dict)


class TrialWorld:
    """Environment, renderer and policy for the trials of one disturbance.

    Args:
        checkpoint: a folder.
        disturbance: of every trial.
        seed: layouts and looks are drawn from (seed, trial).
        pixels: ``frame`` renders what the robot's camera delivers, 640 x 480, and gives it to
            the checkpoint as a robot does. ``crop`` renders the policy's crop alone, at a third
            of the resolution, as the training images are, and lets the checkpoint's own image
            path resize it: a fifth of the time.
        card: the task card, when it is not the shipped one of the checkpoint's task.

    Raises:
        CheckpointError: there is no valid checkpoint.
        RunError: it was trained with another task card.
    """

    def __init__(
        self,
        checkpoint: Path,
        disturbance: Disturbance,
        *,
        seed: int,
        pixels: Pixels = "crop",
        card: TaskCard | None = None,
    ) -> None:
        self.disturbance, self.seed, self._pixels = disturbance, seed, pixels
        loaded = _checkpoint(checkpoint, "frame")
        self.contract = loaded.contract
        nominal = load_task_card(loaded.contract.task) if card is None else card
        differences = loaded.contract.differences(
            nominal.contract(loaded.contract.observes_ee_position)
        )
        if differences:
            raise RunError(
                f"{checkpoint} was trained with another task card ({'; '.join(differences)}); "
                "train it again, or evaluate it with the card it was trained with"
            )
        self.card = disturbance.card(nominal)
        self._policy = LatentPolicy(_checkpoint(checkpoint, pixels), threads=1)
        self._sampler = disturbance.sampler(self.card, seed)
        # Friction is not seen: worlds that differ in it alone share a renderer.
        seen = dataclasses.replace(disturbance, friction=None).card(nominal)
        self._renderer = _RENDERERS.get(seen, self._sampler, disturbance.textures)
        self._environment = _environment(self.card, step_periods(disturbance.speed))
        self._force = 0.0
        self._delay = _Delay(self._environment, disturbance.latency)

    def look(self, trial: int) -> Appearance:
        """What a trial looks like."""
        return self.disturbance.look(self._sampler.draw_trial(trial), self.seed, trial)

    def run(self, trial: int, trace: Trace | None = None) -> TrialResult:
        """Runs one trial to its end."""
        contract, environment, policy = self.contract, self._environment, self._policy
        look = self.look(trial)
        noise = np.random.default_rng([self.seed, trial])
        lost = self.disturbance.drops(self.seed, trial, self.card.episode_steps)
        _, info = environment.reset(options={"seed": self.seed, "trial": trial})
        policy.reset()
        self._delay.reset()
        self._force = 0.0
        environment.on_period = self._feel  # worlds share environments
        still = np.zeros(contract.action_size, np.float32)
        surprises: list[float] = []
        object_errors: list[float] = []
        goal_errors: list[float] = []
        where = contract.state_slice("object_position")
        has_goal = any(item.name == "goal_position" for item in contract.state)
        for step in range(self.card.episode_steps):
            action, decided = still, False
            if not lost[step]:
                seen = self._delay.seen()
                picture = self._picture(seen.sim_state, look, noise)
                output = policy.step(picture, seen.ee_position)
                action, decided = output.action.astype(np.float32), True
                surprises.append(output.surprise)
                error = output.belief - seen.state
                object_errors.append(float(np.linalg.norm(error[where])))
                if has_goal:
                    goal = contract.state_slice("goal_position")
                    goal_errors.append(float(np.linalg.norm(error[goal])))
                if trace is not None:
                    trace.state.append(seen.state)
                    trace.belief.append(output.belief)
                    trace.surprise.append(output.surprise)
                    if step in trace.keep:
                        trace.frames[step] = picture.copy()
            _, _, _, _, info = environment.step(action)
            self._delay.stepped()
            if info["stopped"]:  # the gate refused: on a robot the trial ends here, unsolved
                break
            if decided:
                executed = info["executed_action"]
                gripper = {"gripper_state": float(executed[3])} if len(executed) > 3 else {}
                policy.commit(executed[:3] * self.card.action.bound, **gripper)
        counted = surprises[SETTLING_STEPS:] or surprises
        return TrialResult(
            success=bool(info["success"]) and not info["stopped"],
            distance=float(info["distance"]),
            steps=len(surprises),
            stopped=bool(info["stopped"]),
            surprise_mean=float(np.mean(counted)),
            surprise_max=float(np.max(counted)),
            surprise_start=surprises[0],
            object_error=float(np.mean(object_errors)),
            goal_error=float(np.mean(goal_errors)) if goal_errors else float("nan"),
            contact_force=self._force,
        )

    def _feel(self) -> None:
        self._force = max(self._force, contact_force(self._environment))

    def _picture(
        self, sim_state: NDArray[np.float64], look: Appearance, noise: np.random.Generator
    ) -> Image:
        if self._pixels == "frame":
            return self._renderer.render_camera_image(sim_state, look, noise)
        crop = self._renderer.render_crop(sim_state, look, CROP_SIZE)
        pitch = self.card.image.crop_size / CROP_SIZE
        return apply_camera_effects(crop, look.effects, noise, pitch)


@dataclass(frozen=True)
class _Seen:
    """What a frame shows: simulator state, tool tip (metres) and privileged state of one time."""

    sim_state: NDArray[np.float64]
    ee_position: NDArray[np.float64]
    state: NDArray[np.float64]


class _Delay:
    """Remembers what the world was like `latency` ago, to the nearest simulation substep.

    Before an episode the arm stands still at home, so a frame from before it shows its start.
    """

    def __init__(self, environment: TaskEnv, latency: float) -> None:
        self._scene, self._rules = environment.scene, environment.rules
        substeps = round(latency / environment.card.physics.timestep)
        per_step = environment.card.substeps * environment.step_periods
        self._steps, self._back = divmod(substeps, per_step)
        self._at = per_step - self._back
        self._count = 0
        self._past: deque[_Seen] = deque(maxlen=self._steps + 1)

    def reset(self) -> None:
        """An episode began."""
        # The scene may have served another world before.
        self._scene.on_substep = self._substep if self._back else None
        self._count = 0
        self._past.clear()
        self._past.extend([self._now()] * (self._steps + 1))

    def _substep(self) -> None:
        self._count += 1
        if self._count == self._at:
            mujoco.mj_kinematics(self._scene.model, self._scene.data)
            self._past.append(self._now())

    def stepped(self) -> None:
        """A step is over."""
        self._count = 0
        if not self._back:
            self._past.append(self._now())

    def _now(self) -> _Seen:
        return _Seen(
            self._scene.get_state(),
            self._scene.tool_position,
            self._rules.privileged_state(self._scene),
        )

    def seen(self) -> _Seen:
        """What the newest frame shows."""
        return self._past[0]


# A process runs trials of many worlds: what they share is made once. TorchScript alone takes its
# first steps slowly, and again for every copy.
@functools.cache
def _checkpoint(folder: Path, pixels: Pixels) -> Checkpoint:
    if pixels == "crop":
        return _with_crop(_checkpoint(folder, "frame"))
    return load_checkpoint(folder)


@functools.lru_cache(maxsize=4)
def _environment(card: TaskCard, step_periods: int) -> TaskEnv:
    return TaskEnv(card, step_periods=step_periods)


def _with_crop(checkpoint: Checkpoint) -> Checkpoint:
    """The same policy behind a camera that delivers the crop alone, `CROP_SIZE` pixels wide.

    The image path inside the checkpoint stays the same code; what it cuts out of a frame is all
    of it then. The modules are copied: the checkpoint itself keeps its camera.
    """
    contract = checkpoint.contract
    image = ImageSpec(crop_x=0, crop_y=0, crop_size=CROP_SIZE, size=contract.image.size)
    camera = dataclasses.replace(contract.camera, width=CROP_SIZE, height=CROP_SIZE)
    student = torchscript.load_bytes(torchscript.save_bytes(checkpoint.student))
    path = student.image_path
    path.width, path.height = CROP_SIZE, CROP_SIZE
    path.crop_x, path.crop_y, path.crop_size = 0, 0, CROP_SIZE
    return dataclasses.replace(
        checkpoint,
        student=student,
        contract=dataclasses.replace(contract, camera=camera, image=image),
    )


class _Renderers:
    """This process's renderer; one at a time, since each holds every texture of its bank."""

    def __init__(self) -> None:
        self._key: tuple[TaskCard, Textures] | None = None
        self._renderer: SceneRenderer | None = None

    def get(self, card: TaskCard, sampler: AppearanceSampler, textures: Textures) -> SceneRenderer:
        """The renderer of a card and a bank of textures; closes the one before."""
        if self._renderer is None or self._key != (card, textures):
            first = self._key is None
            self.close()
            self._key, self._renderer = (card, textures), SceneRenderer(card, sampler)
            if first:
                # Only now: the GL library lets go of its display when the interpreter ends, and
                # what was registered last is called first.
                atexit.register(self.close)
        return self._renderer

    def close(self) -> None:
        """Frees the GL context."""
        if self._renderer is not None:
            self._renderer.close()
        self._renderer = None


_RENDERERS = _Renderers()
