"""Every setting of the pipeline as frozen dataclasses, the presets, and the command-line syntax.

Settings are written ``section.name=value`` on the command line, for example
``distillation.dynamics_from_teacher=false``. Values are checked against the field's type.
"""

from __future__ import annotations

import dataclasses
import difflib
import sys
import types
import typing
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from twist_training.modules.rssm import RssmConfig
from twist_training.validation import problems_of, problems_with_card

if TYPE_CHECKING:
    from twist_sim.task_card import TaskCard

Settings = TypeVar("Settings")
MACHINE_SETTINGS = (
    "processes",
    "threads",
    "device",
    "fused",
    "cuda_graph",
    "collection.workers",
    "evaluation.workers",
)
"""What may change when a run moves to another machine; all else makes it another run."""
_BEFORE = "before"
"""Metadata of a setting: what runs did that were started before it existed."""


class ConfigurationError(ValueError):
    """A setting is unknown or has a value of the wrong kind."""


@dataclass(frozen=True)
class TeacherConfig:
    """Teacher world model and actor-critic (DreamerV2 on privileged state)."""

    rssm: RssmConfig = field(default_factory=RssmConfig)
    encoder_width: int = 256
    """Width of the state encoder and decoder; the paper uses 512."""
    encoder_layers: int = 3
    embedding: int = 200
    head_width: int = 200
    """Width of reward head, actor and critics."""
    head_layers: int = 3
    observation_std: float = 0.1
    """Standard deviation of the state decoder's Normal, in scaled units (decimetres)."""
    reward_scale: float = 10.0
    """Weight of the reward head's loss."""
    kl_scale: float = 1.0
    kl_balance: float = 0.8
    free_nats: float = 1.0

    environments: int = 16
    """Environments stepped side by side; one gradient step per step of all of them."""
    episode_steps: int = 75
    """Length of a training episode, steps."""
    environment_steps: int = 200_000
    """Environment steps in all, with the episodes that start the replay."""
    pretrain_steps: int = 2400
    """Gradient steps before the first action; the last third trains the behaviour, too."""
    scripted_episodes: int = 0
    """Noisy scripted demonstrations that start the replay, too; 0 learns from nothing."""
    random_episodes: int = 160
    """Episodes of smooth random actions that start the replay."""
    lucky_episodes: int = field(default=500, metadata={_BEFORE: 0})
    """Episodes of random actions that start the replay, too; tried until so many moved the object,
    of which alone they are kept."""
    practice: float = 0.8
    """Share of training episodes that begin at one of the task card's practice starts; it falls
    linearly to `final_practice` over the first half of training."""
    final_practice: float = 0.2
    hindsight: float = field(default=1.0, metadata={_BEFORE: 0.0})
    """Share of the unsolved episodes that are kept once more as if the goal had been where the
    object came to rest; nothing where the task's goal is no place on the table."""
    moving: float = field(default=0.6, metadata={_BEFORE: 0.0})
    """Share of the training windows that come from episodes in which the object was moved; a
    beginner's seldom do, and how to move it is what there is to learn."""
    exploration_noise: float = 0.3
    """Largest standard deviation of the smooth noise on the actions of training episodes; each
    episode draws its own."""
    batch: int = 16
    length: int = 50
    horizon: int = 15
    imagination_starts: int = 160
    """How many of the batch x length posteriors imagination starts from."""
    model_lr: float = 6e-4
    actor_lr: float = 2e-4
    critic_lr: float = 3e-4
    final_lr: float = 0.2
    """Learning rates fall linearly to this fraction over the last half of training."""
    clip: float = 100.0
    discount: float = 0.98
    lambda_: float = 0.95
    entropy: float = 1e-3
    slow_critic_every: int = 100
    evaluate_every: int = 400
    """Gradient steps between evaluations."""
    evaluation_episodes: int = 50
    target_success: float = 0.98
    """Stop early when two evaluations in a row reach this success rate; above 1 never stops."""
    refined_steps: int = field(default=3000, metadata={_BEFORE: 0})
    """Gradient steps in which a teacher that has stopped learns on, by the rules that the task card
    has for a refinement: the replay is judged again, and new episodes are judged by them. The best
    weights are then chosen among these alone, by the episodes they solve without pressing harder
    than a real arm bears (`CONTACT_FORCE_LIMIT`). Left out where it is 0 or the card has none."""
    refined_practice: float = field(default=0.5, metadata={_BEFORE: 0.2})
    """`practice` while the refined rules count. More of it solves more from off the way from home,
    where a student ends up; it presses there as often."""

    def practice_share(self, fraction: float) -> float:
        """Share of practice starts when so much of the training, in [0, 1], is over."""
        return self.practice + (self.final_practice - self.practice) * min(1.0, 2 * fraction)


@dataclass(frozen=True)
class CollectionConfig:
    """The data set D = {(s, o, a, r)} that the student is distilled on."""

    episodes: int = 2500
    """Episodes of the frozen teacher, beside the teacher's own replay."""
    episode_steps: int = 75
    action_noise: float = 0.3
    """Largest standard deviation of the temporally smooth noise added to the teacher's actions."""
    random_fraction: float = 0.05
    """Share of episodes with smooth random actions instead of the teacher's."""
    practice: float = 0.3
    """Share of episodes that begin at one of the task card's practice starts."""
    environments: int = 50
    looks: int = 1
    """Appearances rendered per state."""
    workers: int = 2
    """Rendering processes."""


@dataclass(frozen=True)
class StudentConfig:
    """The student's image encoder; its RSSM has the teacher's sizes."""

    depth: int = 16
    norm: bool = True
    """GroupNorm(1) in the CNN; the published network has none."""
    padding: int = 1
    equalise: bool = True
    """Divide every image by its mean brightness (not in the paper)."""
    observes_ee_position: bool = True
    """The measured end-effector position as a second input; false is the paper's setting."""
    tool_spot: bool = field(default=True, metadata={_BEFORE: False})
    """The measured position also as a picture: a spot where the tool tip should be seen (not in
    the paper); nothing without the measured position."""


@dataclass(frozen=True)
class DistillationConfig:
    """Teacher-student distillation, Algorithm 1 of the paper, and what was added to it."""

    length: int = 50
    """L of Eq. 3."""
    horizon: int = 15
    """H of Eq. 4."""
    batch: int = 16
    imagination_starts: int = 64
    """Posterior states from which Eq. 4's rollouts start."""
    imagination_noise: float = 0.3
    """Standard deviation of the noise added to the teacher's actions in imagination."""
    imagination_scale: float = 1.0
    """Weight of Eq. 4; 0 switches it off."""
    steps: int = 3000
    lr: float = 1e-3
    warmup_steps: int = 12_000
    """Steps of the encoder warm-up (not in the paper); 0 switches it off."""
    warmup_batch: int = 128
    warmup_lr: float = 2e-3
    embedding_scale: float = 1.0
    """Weight of the warm-up loss during distillation; 0 switches it off (the paper)."""
    dynamics_from_teacher: bool = True
    """Start from the teacher's RSSM weights (not in the paper)."""
    shared_noise: bool = True
    """Teacher and student sample their latents with the same Gumbel noise (not in the paper)."""
    student_episodes: int = 250
    """Episodes per round in which the student acts and the teacher relabels; 0 switches it off."""
    student_rounds: int = 2
    """How many such rounds; 0 switches them off."""
    clip: float = 100.0
    evaluate_every: int = 1000
    evaluation_episodes: int = 50

    @property
    def rounds(self) -> int:
        """Rounds in which the student really acts."""
        return self.student_rounds if self.student_episodes else 0


@dataclass(frozen=True)
class EvaluationConfig:
    """The numbers of the model card."""

    episodes: int = 100
    workers: int = 2
    seed: int = 100
    """Layouts and looks of the evaluation; neither training nor the choice of weights uses it."""


@dataclass(frozen=True)
class TrainingConfig:
    """One run of the pipeline.

    Attributes:
        task: name of a task card.
        preset: which preset the settings started from.
        seed: seeds everything.
        processes: processes that share each batch on this machine's processor, at most one for
            each of its cores; torchrun decides for itself.
        threads: PyTorch threads of each process.
        device: ``cpu`` or ``cuda``.
        precision: ``float32``, ``bfloat16`` (autocast) or ``auto`` (bfloat16 where the
            processor computes it natively).
        fused: scan the RSSM with written-out gradients instead of autograd's; the same numbers
            to rounding, in less time.
        cuda_graph: record forward and backward passes as CUDA graphs; with ``device=cuda``, in
            one process.
        textures: folder of your own images added to the training textures; empty for none.
    """

    task: str = "block_push"
    preset: str = "cpu"
    seed: int = 0
    processes: int = 2
    threads: int = 1
    device: str = "cpu"
    precision: str = "auto"
    fused: bool = True
    cuda_graph: bool = False
    textures: str = ""
    teacher: TeacherConfig = field(default_factory=TeacherConfig)
    collection: CollectionConfig = field(default_factory=CollectionConfig)
    student: StudentConfig = field(default_factory=StudentConfig)
    distillation: DistillationConfig = field(default_factory=DistillationConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return dataclasses.asdict(self)


# "paper" has the paper's sizes, steps, student and distillation. Of its teacher the paper says
# little beyond DreamerV2, and some settings are those of "cpu" all the same (DreamerV2's in
# brackets):
#   teacher.entropy=1e-3 (1e-4), teacher.reward_scale=10 (1), teacher.observation_std=0.1 (1)
#   Adam without weight decay (1e-6)
#   one gradient step for 16 environment steps, one of each environment (for 5)
#   practice starts in training and in collection, hindsight, lucky episodes, windows in which the
#   object moves (none of them): teacher.practice, final_practice, refined_practice, hindsight,
#   lucky_episodes, moving and collection.practice, each 0 to switch it off
PRESETS: dict[str, TrainingConfig] = {
    "smoke": TrainingConfig(
        preset="smoke",
        processes=1,
        teacher=TeacherConfig(
            rssm=RssmConfig(deterministic=64, hidden=64, groups=8, classes=8),
            encoder_width=64,
            embedding=64,
            head_width=64,
            episode_steps=50,
            environment_steps=3_200,
            pretrain_steps=20,
            environments=8,
            random_episodes=16,
            lucky_episodes=8,
            batch=8,
            length=25,
            imagination_starts=32,
            refined_steps=50,
            evaluate_every=120,
            evaluation_episodes=8,
        ),
        collection=CollectionConfig(episodes=24, episode_steps=50, environments=8),
        student=StudentConfig(depth=4),
        distillation=DistillationConfig(
            length=25,
            batch=4,
            imagination_starts=16,
            steps=60,
            warmup_steps=150,
            warmup_batch=32,
            student_episodes=8,
            student_rounds=1,
            evaluate_every=60,
            evaluation_episodes=4,
        ),
        evaluation=EvaluationConfig(episodes=4),
    ),
    "cpu": TrainingConfig(preset="cpu"),
    "paper": TrainingConfig(
        preset="paper",
        device="cuda",
        processes=1,
        threads=8,
        teacher=TeacherConfig(
            rssm=RssmConfig(deterministic=600, hidden=600, groups=32, classes=32),
            encoder_width=512,
            embedding=512,
            head_width=400,
            head_layers=4,
            environment_steps=500_000,
            imagination_starts=800,
            model_lr=3e-4,
            actor_lr=8e-5,
            critic_lr=8e-5,
            discount=0.99,
            evaluate_every=4000,
            evaluation_episodes=100,
            target_success=1.01,
            refined_steps=0,
        ),
        collection=CollectionConfig(episodes=6000, workers=8, looks=2),
        student=StudentConfig(
            depth=48,
            norm=False,
            padding=0,
            equalise=False,
            observes_ee_position=False,
            tool_spot=False,
        ),
        distillation=DistillationConfig(
            steps=60_000,
            imagination_starts=800,
            warmup_steps=0,
            embedding_scale=0.0,
            lr=3e-4,
            dynamics_from_teacher=False,
            shared_noise=False,
            student_episodes=0,
            student_rounds=0,
            evaluate_every=5000,
            evaluation_episodes=100,
        ),
    ),
}


def parse_arguments(arguments: list[str], also: Iterable[str] = ()) -> TrainingConfig:
    """Builds a configuration from ``name=value`` arguments, on top of the chosen preset.

    Args:
        arguments: of the command line.
        also: names that the command takes besides, for the hint at an unknown one.

    Raises:
        ConfigurationError: unknown preset or setting, or a value that cannot be.
    """
    pairs = _pairs(arguments)
    preset = pairs.pop("preset", "cpu")
    if preset not in PRESETS:
        raise ConfigurationError(f"unknown preset {preset!r}; choose from {sorted(PRESETS)}")
    config = PRESETS[preset]
    for name, value in pairs.items():
        config = _replace(config, name.split("."), value, name, also)
    validate(config)
    return config


def validate(config: TrainingConfig) -> None:
    """Refuses settings that a run could only fail with later.

    Raises:
        ConfigurationError: names all of them.
    """
    if problems := problems_of(config):
        raise ConfigurationError("; ".join(problems))


def validate_for(config: TrainingConfig, card: TaskCard) -> None:
    """Refuses settings that a run of this task could only fail with later.

    Raises:
        ConfigurationError: names all of them.
    """
    if problems := list(problems_with_card(config, card)):
        raise ConfigurationError("; ".join(problems))


def with_arguments(settings: Settings, arguments: list[str], also: Iterable[str] = ()) -> Settings:
    """A frozen dataclass of settings, with ``name=value`` arguments put in.

    Args:
        settings: the defaults.
        arguments: of the command line.
        also: names that the command takes besides, for the hint at an unknown one.

    Raises:
        ConfigurationError: an unknown setting, or a value of the wrong kind.
    """
    for name, value in _pairs(arguments).items():
        settings = _replace(settings, name.split("."), value, name, also)
    return settings


def run_script(main: Callable[[], None], doc: str | None) -> None:
    """Runs a script with arguments like ours; `-h` prints `doc`, and wrong settings end it.

    Raises:
        SystemExit: a setting is wrong; it says which.
    """
    if {"-h", "--help"} & set(sys.argv[1:]):
        print(doc)
        return
    try:
        main()
    except ConfigurationError as error:
        raise SystemExit(str(error)) from None


def split_arguments(arguments: list[str], own: dict[str, str]) -> tuple[dict[str, str], list[str]]:
    """A script's own ``name=value`` arguments, with `own` as defaults, and all the others."""
    values, others = dict(own), []
    for argument in arguments:
        name, _, value = argument.partition("=")
        if name in own:
            values[name] = value
        else:
            others.append(argument)
    return values, others


def _pairs(arguments: list[str]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for argument in arguments:
        name, separator, value = argument.partition("=")
        if not separator:
            raise ConfigurationError(f"expected name=value, found {argument!r}, for example seed=1")
        if name in pairs:
            raise ConfigurationError(f"{name} is given twice: {pairs[name]!r} and {value!r}")
        pairs[name] = value
    return pairs


def from_dict(data: dict[str, Any]) -> TrainingConfig:
    """The inverse of `TrainingConfig.to_dict`.

    Settings that are missing came after the data were written: they get what was done then.

    Raises:
        ConfigurationError: the data are not those of a configuration.
    """
    try:
        return typing.cast(TrainingConfig, _from_dict(TrainingConfig, data))
    except (TypeError, KeyError, AttributeError) as error:
        raise ConfigurationError(f"not a training configuration: {error}") from error


def _from_dict(kind: Any, data: dict[str, Any]) -> Any:
    hints = typing.get_type_hints(kind)
    before = {
        item.name: item.metadata[_BEFORE]
        for item in dataclasses.fields(kind)
        if _BEFORE in item.metadata
    }
    return kind(
        **before
        | {
            name: _from_dict(hints[name], value) if dataclasses.is_dataclass(hints[name]) else value
            for name, value in data.items()
        }
    )


def _replace(
    config: Any, path: list[str], value: str, full_name: str, also: Iterable[str] = ()
) -> Any:
    hints = typing.get_type_hints(type(config))
    name = path[0]
    if name not in hints:
        known = sorted({*hints, *also})
        near = difflib.get_close_matches(name, known, 1)
        suggestion = f"; did you mean {near[0]!r}?" if near else f"; known: {known}"
        raise ConfigurationError(f"unknown setting {full_name!r}{suggestion}")
    current = getattr(config, name)
    if dataclasses.is_dataclass(current):
        if len(path) == 1:
            raise ConfigurationError(
                f"{full_name!r} is a group of settings; name one of them, e.g. "
                f"{full_name}.{dataclasses.fields(current)[0].name}=..."
            )
        return dataclasses.replace(config, **{name: _replace(current, path[1:], value, full_name)})
    if len(path) > 1:
        raise ConfigurationError(f"unknown setting {full_name!r}: {name!r} has no parts")
    return dataclasses.replace(config, **{name: _convert(hints[name], value, full_name)})


def _convert(kind: Any, value: str, name: str) -> Any:
    assert not isinstance(kind, types.UnionType)
    try:
        if kind is bool:
            return {"true": True, "false": False}[value.lower()]
        if kind is int:
            return int(value.replace("_", ""))
        return kind(value)
    except (KeyError, ValueError):
        expected = "true or false" if kind is bool else f"a value of type {kind.__name__}"
        raise ConfigurationError(f"{name}: expected {expected}, found {value!r}") from None
