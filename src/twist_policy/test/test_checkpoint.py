"""What a checkpoint must be before it may move an arm: each way of being wrong is refused."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from twist_policy import torchscript
from twist_policy.checkpoint import (
    FORMAT_VERSION,
    CheckpointError,
    _checksum,
    load_checkpoint,
    write_checkpoint,
)
from twist_policy.contract import PolicyContract
from twist_policy.synthetic_checkpoint import (
    SyntheticActor,
    SyntheticDecoder,
    SyntheticStudent,
    write_synthetic_checkpoint,
)

FILES = ("student.ts", "actor.ts", "decoder.ts", "golden.npz", "MODEL_CARD.md")


def sign(folder: Path, change: Callable[[dict[str, Any]], None] = lambda manifest: None) -> None:
    """Makes sizes, hashes and checksum right again after tampering; the later checks remain."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    for name in FILES:
        content = (folder / name).read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        manifest["files"][name] = {"bytes": len(content), "sha256": digest}
    change(manifest)
    manifest["checksum"] = _checksum(manifest)
    path.write_text(json.dumps(manifest))


def replace(folder: Path, name: str, module: nn.Module) -> None:
    (folder / name).write_bytes(torchscript.save_bytes(torchscript.script(module)))
    sign(folder)


def test_a_written_checkpoint_loads_with_all_that_was_written(
    tmp_path: Path, contract: PolicyContract
) -> None:
    write_checkpoint(
        tmp_path / "model",
        contract=contract,
        student=torchscript.script(SyntheticStudent(contract)),
        actor=torchscript.script(SyntheticActor([0.1, 0.2, 0.3])),
        decoder=torchscript.script(SyntheticDecoder(contract)),
        training={"steps": 10, "seeds": (1, 2), 3: None},
        measured={"success": 0.93},
        model_card="# Card\n",
    )
    checkpoint = load_checkpoint(tmp_path / "model", expected_task="block_push")
    assert checkpoint.contract == contract
    assert checkpoint.training == {"steps": 10, "seeds": [1, 2], "3": None}
    assert checkpoint.measured == {"success": 0.93}
    h, z = checkpoint.student.initial(2)
    torch.testing.assert_close(checkpoint.actor(h, z), torch.tensor([[0.1, 0.2, 0.3]] * 2))
    assert sorted(p.name for p in (tmp_path / "model").iterdir()) == sorted(
        [*FILES, "manifest.json"]
    )


def test_identity_is_the_manifests_hash(folder: Path) -> None:
    digest = hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()
    assert load_checkpoint(folder).identity == f"block_push@{digest[:12]}"


def test_a_copied_checkpoint_is_the_same_checkpoint(folder: Path, tmp_path: Path) -> None:
    identity = load_checkpoint(folder).identity
    folder.rename(tmp_path / "elsewhere")
    assert load_checkpoint(str(tmp_path / "elsewhere")).identity == identity


@pytest.mark.filterwarnings("error")
def test_writing_and_loading_are_silent(tmp_path: Path, contract: PolicyContract) -> None:
    write_synthetic_checkpoint(tmp_path / "m", contract)
    load_checkpoint(tmp_path / "m")


def test_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no checkpoint folder at .*twist-train"):
        load_checkpoint(tmp_path / "nothing")


@pytest.mark.parametrize("name", ["manifest.json", *FILES])
def test_missing_file_is_refused(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match=rf"{name} is missing.*copy the checkpoint again"):
        load_checkpoint(folder)


@pytest.mark.parametrize("text", ["", "{", "\xff", '{"a": 1}', "[]", "3"])
def test_a_manifest_that_is_none_is_refused(folder: Path, text: str) -> None:
    (folder / "manifest.json").write_text(text, encoding="latin-1")
    with pytest.raises(CheckpointError, match=r"manifest\.json is not"):
        load_checkpoint(folder)


@pytest.mark.parametrize("version", [FORMAT_VERSION + 1, 0, "1", None])
def test_another_format_version_is_refused(folder: Path, version: Any) -> None:
    sign(folder, lambda manifest: manifest.update(format_version=version))
    with pytest.raises(CheckpointError, match=r"format version .* reads 1.*release that wrote it"):
        load_checkpoint(folder)


@pytest.mark.parametrize("key", ["torch", "contract", "files", "training", "measured"])
def test_a_manifest_with_a_part_missing_is_refused(folder: Path, key: str) -> None:
    sign(folder, lambda manifest: manifest.pop(key))
    with pytest.raises(CheckpointError, match=f"'{key}' is missing"):
        load_checkpoint(folder)


def test_a_hand_edited_contract_is_refused(folder: Path) -> None:
    path = folder / "manifest.json"
    text = path.read_text()
    assert '"leash": 0.03' in text
    path.write_text(text.replace('"leash": 0.03', '"leash": 0.30'))
    with pytest.raises(CheckpointError, match="changed after the export"):
        load_checkpoint(folder)


def test_a_malformed_contract_is_refused(folder: Path) -> None:
    sign(folder, lambda manifest: manifest["contract"].pop("leash"))
    with pytest.raises(CheckpointError, match=r"contract is not valid.*\['leash'\]"):
        load_checkpoint(folder)


def test_another_task_is_refused(folder: Path) -> None:
    with pytest.raises(CheckpointError, match=r"'block_push'.*'block_lift'.*choose a checkpoint"):
        load_checkpoint(folder, expected_task="block_lift")


@pytest.mark.parametrize("name", FILES)
def test_truncated_file_is_refused(folder: Path, name: str) -> None:
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[:-10])
    with pytest.raises(CheckpointError, match=rf"{name} is not the file.*truncated"):
        load_checkpoint(folder)


@pytest.mark.parametrize("name", FILES)
def test_one_flipped_bit_is_refused(folder: Path, name: str) -> None:
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"{name} is not the file.*corrupt"):
        load_checkpoint(folder)


def test_swapped_files_are_named(folder: Path) -> None:
    actor = (folder / "actor.ts").read_bytes()
    (folder / "actor.ts").write_bytes((folder / "decoder.ts").read_bytes())
    (folder / "decoder.ts").write_bytes(actor)
    with pytest.raises(CheckpointError, match=r"actor\.ts .* content of decoder\.ts.*swapped"):
        load_checkpoint(folder)


def test_another_checkpoints_actor_is_refused(
    folder: Path, tmp_path: Path, contract: PolicyContract
) -> None:
    write_synthetic_checkpoint(tmp_path / "other", contract, behaviour="hold")
    (folder / "actor.ts").write_bytes((tmp_path / "other" / "actor.ts").read_bytes())
    with pytest.raises(CheckpointError, match=r"actor\.ts is not the file.*another checkpoint"):
        load_checkpoint(folder)
    # Even with hashes that fit, it does not compute what was recorded.
    sign(folder)
    with pytest.raises(
        CheckpointError, match=r"action differs .* by up to 0\.5 \(tolerance 0\.001"
    ):
        load_checkpoint(folder)


def test_every_listed_file_is_verified(folder: Path) -> None:
    entry = {"bytes": 3, "sha256": hashlib.sha256(b"abc").hexdigest()}
    (folder / "curve.png").write_bytes(b"abc")
    sign(folder, lambda manifest: manifest["files"].update({"curve.png": entry}))
    load_checkpoint(folder)
    (folder / "curve.png").write_bytes(b"abd")
    with pytest.raises(CheckpointError, match=r"curve\.png is not the file"):
        load_checkpoint(folder)


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname", "a/b"])
def test_a_manifest_cannot_reach_outside_its_folder(folder: Path, name: str) -> None:
    sign(folder, lambda manifest: manifest["files"].update({name: {"bytes": 0, "sha256": ""}}))
    with pytest.raises(CheckpointError, match="bad file entry"):
        load_checkpoint(folder)


def test_a_manifest_that_lists_too_little_is_refused(folder: Path) -> None:
    sign(folder, lambda manifest: manifest["files"].pop("actor.ts"))
    with pytest.raises(CheckpointError, match=r"does not list \['actor.ts'\]"):
        load_checkpoint(folder)


@pytest.mark.parametrize("name", ["student.ts", "actor.ts", "decoder.ts"])
def test_a_file_that_is_no_module_is_refused(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"no module at all")
    sign(folder)
    with pytest.raises(CheckpointError, match=rf"{name} .* no usable module.*PyTorch"):
        load_checkpoint(folder)


def test_golden_data_that_cannot_be_read_is_refused(folder: Path) -> None:
    (folder / "golden.npz").write_bytes(b"nothing")
    sign(folder)
    with pytest.raises(CheckpointError, match="golden data cannot be read"):
        load_checkpoint(folder)


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("action", lambda array: np.full_like(array, np.nan), "action differs from the golden"),
        ("imagined_z", lambda array: np.full_like(array, np.nan), "imagined_z differs from the"),
        ("tiles", lambda array: array[:0], "golden data hold no steps"),
    ],
)
def test_golden_data_that_prove_nothing_are_refused(
    folder: Path, name: str, damage: Callable[[Any], Any], message: str
) -> None:
    with np.load(folder / "golden.npz") as golden:
        arrays = dict(golden)
    arrays[name] = damage(arrays[name])
    np.savez_compressed(folder / "golden.npz", **arrays)
    sign(folder)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(folder)


@pytest.mark.parametrize("name", ["manifest.json", "student.ts"])
def test_unreadable_file_is_refused(
    folder: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Not by chmod: the superuser, as in a container, reads everything.
    read_bytes = Path.read_bytes

    def refuse(path: Path) -> bytes:
        if path.name == name:
            raise PermissionError(13, os.strerror(13), str(path))
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(CheckpointError, match=rf"{name} cannot be read.*chmod"):
        load_checkpoint(folder)


class PlainModule(nn.Module):
    """Has a forward, but none of the student's other methods."""

    def forward(self, h: Tensor, z: Tensor) -> Tensor:
        return h


class WideActor(nn.Module):
    """One action number too many."""

    def forward(self, h: Tensor, z: Tensor) -> Tensor:
        return torch.zeros(h.shape[0], 4)


class LoudActor(nn.Module):
    """Actions outside [-1, 1]."""

    def forward(self, h: Tensor, z: Tensor) -> Tensor:
        return torch.full((h.shape[0], 3), 1.5)


class PickyActor(nn.Module):
    """Expects a latent state of another size."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(99, 3)

    def forward(self, h: Tensor, z: Tensor) -> Tensor:
        return self.layer(h)


class OneInput(nn.Module):
    """Takes one input where two are passed."""

    def forward(self, h: Tensor) -> Tensor:
        return h


@pytest.mark.parametrize(
    ("name", "module", "message"),
    [
        ("student.ts", PlainModule(), r"student\.ts has no method \['initial', 'imagine'\]"),
        ("actor.ts", WideActor(), r"action has shape \(1, 4\).*\(1, 3\)"),
        ("actor.ts", LoudActor(), r"puts out 1\.500.*\[-1, 1\]"),
        ("actor.ts", PickyActor(), "cannot take a step together"),
        ("actor.ts", OneInput(), "cannot take a step together"),
        ("decoder.ts", PlainModule(), r"state has shape \(1, 8\).*\(1, 9\)"),
        ("actor.ts", SyntheticActor([0.5, 0.0, 0.0], nan_after=3), "action contains NaN"),
        ("actor.ts", SyntheticActor([0.49, 0.0, 0.0]), r"action differs.*0\.01"),
    ],
)
def test_a_module_that_does_not_fit_is_refused_by_reader_and_writer(
    folder: Path, contract: PolicyContract, name: str, module: nn.Module, message: str
) -> None:
    whole = load_checkpoint(folder)
    replace(folder, name, module)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(folder)
    if "differs" in message:  # a fine module, but another one: only a reader can tell
        return
    modules = {"student": whole.student, "actor": whole.actor, "decoder": whole.decoder}
    modules[name.removesuffix(".ts")] = torchscript.script(module)
    with pytest.raises(CheckpointError, match=message):
        write_checkpoint(
            folder.with_name("new"),
            contract=contract,
            **modules,
            training={},
            measured={},
            model_card="",
        )
    assert not folder.with_name("new").exists()


def test_a_student_of_another_crop_is_refused(folder: Path, contract: PolicyContract) -> None:
    image = dataclasses.replace(contract.image, crop_x=contract.image.crop_x + 40)
    replace(folder, "student.ts", SyntheticStudent(dataclasses.replace(contract, image=image)))
    with pytest.raises(CheckpointError, match="h differs from the golden output"):
        load_checkpoint(folder)


class ShiftedStudent(nn.Module):
    """Computes the same h, but other latents or another surprise."""

    def __init__(self, contract: PolicyContract, classes: int, nats: float) -> None:
        super().__init__()
        self.student = SyntheticStudent(contract)
        self.classes, self.nats = classes, nats

    @torch.jit.export
    def initial(self, batch: int) -> tuple[Tensor, Tensor]:
        return self.student.initial(batch)

    @torch.jit.export
    def imagine(self, action: Tensor, h: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
        return self.student.imagine(action, h, z)

    def forward(
        self, frame: Tensor, ee_position: Tensor, previous_action: Tensor, h: Tensor, z: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        h, z, surprise = self.student(frame, ee_position, previous_action, h, z)
        return h, z.roll(self.classes, 1), surprise + self.nats


@pytest.mark.parametrize(
    ("classes", "nats", "message"),
    [(1, 0.0, r"z differs .* in \d+ numbers"), (0, 0.5, r"surprise differs .* by up to 0\.5")],
)
def test_other_latents_or_another_surprise_are_refused(
    folder: Path, contract: PolicyContract, classes: int, nats: float, message: str
) -> None:
    replace(folder, "student.ts", ShiftedStudent(contract, classes, nats))
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(folder)


def test_rounding_differences_between_processors_are_accepted(
    folder: Path, contract: PolicyContract
) -> None:
    replace(folder, "actor.ts", SyntheticActor([0.5 + 1e-4, 0.0, 0.0]))
    load_checkpoint(folder)
