"""What an evaluation is about, gathered from the task card and the checkpoint before it starts."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from twist_policy.contract import CameraModel, ContractError, PolicyContract
from twist_sim.task_card import TaskCard, TaskCardError, load_task_card


class SetupError(RuntimeError):
    """The evaluation cannot be what was asked for; the message names cause and cure."""


@dataclass(frozen=True)
class EvaluationSetup:
    """What the trials of an evaluation have in common.

    Attributes:
        task: task card name.
        episode_steps: policy steps of one episode.
        checkpoint: identity, as in `twist_policy.checkpoint.Checkpoint`; empty when not told.
        custom_data: for every bag: ``scene`` (goal radius, object size, workspace) and
            ``camera`` (intrinsics and pose of the contract), as JSON.
        card: the task card.
        camera: of the contract.
    """

    task: str
    episode_steps: int
    checkpoint: str
    custom_data: dict[str, str]
    card: TaskCard
    camera: CameraModel


def evaluation_setup(
    task: str, checkpoint: Path | None, episode_steps: int | None = None
) -> EvaluationSetup:
    """Reads card and manifest. The checkpoint's files are verified by the policy node, not here.

    Args:
        task: task card name.
        checkpoint: folder of the checkpoint that the policy node runs, or None.
        episode_steps: overrides the contract's.

    Raises:
        SetupError: the task is unknown, or the checkpoint is unreadable or of another task.
    """
    try:
        card = load_task_card(task)
        contract = card.contract(observes_ee_position=False)
    except TaskCardError as error:
        raise SetupError(str(error)) from None
    identity = ""
    if checkpoint is not None:
        contract, identity = read_manifest(checkpoint)
        if contract.task != card.task:
            raise SetupError(
                f"{checkpoint} is a checkpoint of task {contract.task!r}, the evaluation is of "
                f"{card.task!r}. Give the checkpoint of that task, or set task:={contract.task}."
            )
    return EvaluationSetup(
        card.task,
        episode_steps or contract.episode_steps,
        identity,
        {
            "scene": json.dumps(_scene(card, contract)),
            "camera": json.dumps(dataclasses.asdict(contract.camera)),
        },
        card,
        contract.camera,
    )


def _scene(card: TaskCard, contract: PolicyContract) -> dict[str, object]:
    return {
        "goal_radius": 0.0 if card.goal is None else card.goal.radius,
        "object_size": card.object.size,
        "workspace_lower": contract.workspace.lower,
        "workspace_upper": contract.workspace.upper,
    }


def read_manifest(folder: Path) -> tuple[PolicyContract, str]:
    """Contract and identity of the checkpoint in a folder.

    Raises:
        SetupError: there is none.
    """
    path = folder / "manifest.json"
    try:
        content = path.read_bytes()
        contract = PolicyContract.from_dict(json.loads(content)["contract"])
    except (OSError, ValueError, KeyError, TypeError, ContractError) as error:
        raise SetupError(
            f"{path} cannot be read ({type(error).__name__}: {error}). Give the folder of an "
            "exported checkpoint, e.g. models/block_push."
        ) from None
    return contract, f"{contract.task}@{hashlib.sha256(content).hexdigest()[:12]}"
