"""Checkpoints: a folder that is verified completely before anything in it may move an arm.

    <folder>/manifest.json   format version, contract, size and sha256 of every other file,
                             what it was trained on, what it was measured at
             student.ts      frame -> latent state       (TorchScript, as the other two)
             actor.ts        latent state -> action
             decoder.ts      latent state -> belief about the privileged state
             golden.npz      inputs and outputs that must be reproduced (`twist_policy.golden`)
             MODEL_CARD.md   for people

Each file is read once, and what was hashed is what is loaded. Hashes guard against accidents
(broken copies, mixed folders), not against an attacker: load checkpoints from people you trust.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from twist_policy import golden, torchscript
from twist_policy.contract import ContractError, PolicyContract

FORMAT_VERSION = 1

_MANIFEST = "manifest.json"
_GOLDEN = "golden.npz"
_CARD = "MODEL_CARD.md"
_MODULES = ("student.ts", "actor.ts", "decoder.ts")
_FILES = (*_MODULES, _GOLDEN, _CARD)
_EXPORT_AGAIN = "copy the checkpoint again from where it was exported, or export it again"


class CheckpointError(RuntimeError):
    """A checkpoint cannot be trusted or written; the message names cause and cure."""


@dataclass(frozen=True)
class Checkpoint:
    """A verified checkpoint.

    Attributes:
        folder: where it was read from.
        contract: what it must be run with.
        student: ``initial(batch) -> (h, z)``; ``forward(frame, ee_position, previous_action, h,
            z) -> (h, z, surprise)``; ``imagine(action, h, z) -> (h, z)``.
        actor: ``forward(h, z) -> action`` in [-1, 1].
        decoder: ``forward(h, z) -> state`` in SI units.
        training: what it was trained on, as the exporter wrote it.
        measured: what it was measured at, as the exporter wrote it.
        identity: ``task@`` and the first 12 digits of the manifest's sha256. The manifest holds
            the hash of every other file, so two checkpoints with one identity are the same.
    """

    folder: Path
    contract: PolicyContract
    student: torch.jit.ScriptModule
    actor: torch.jit.ScriptModule
    decoder: torch.jit.ScriptModule
    training: dict[str, Any]
    measured: dict[str, Any]
    identity: str


def load_checkpoint(folder: str | Path, *, expected_task: str | None = None) -> Checkpoint:
    """Reads and verifies a checkpoint. Never moves anything.

    Args:
        folder: the checkpoint's folder.
        expected_task: refuse checkpoints of other tasks; None takes any.

    Raises:
        CheckpointError: anything is missing, unreadable, altered, of another format or task, or
            does not reproduce the golden outputs.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        previous = _previous(folder)
        hint = (
            f"an interrupted write left the last whole one at {previous}; rename it back"
            if previous.is_dir()
            else "check the path, or train one with twist-train all"
        )
        raise CheckpointError(f"there is no checkpoint folder at {folder.absolute()}; {hint}")
    manifest_bytes = _read(folder, _MANIFEST)
    manifest = _parse_manifest(folder, manifest_bytes)
    try:
        contract = PolicyContract.from_dict(manifest["contract"])
    except ContractError as error:
        raise CheckpointError(
            f"{folder / _MANIFEST}: its contract is not valid ({error}); {_EXPORT_AGAIN}"
        ) from error
    if expected_task is not None and contract.task != expected_task:
        raise CheckpointError(
            f"{folder} was trained for task {contract.task!r}, but {expected_task!r} is to be run; "
            "choose a checkpoint of that task"
        )
    contents = _read_verified(folder, manifest["files"])
    modules = {name: _load_module(folder, name, contents[name]) for name in _MODULES}
    try:
        golden.verify(
            golden.GoldenData.from_bytes(contents[_GOLDEN]),
            contract,
            modules["student.ts"],
            modules["actor.ts"],
            modules["decoder.ts"],
        )
    except golden.GoldenError as error:
        raise CheckpointError(
            f"{folder}: the modules do not compute what they computed when they were exported: "
            f"{error}. Files of different checkpoints may have been mixed, or PyTorch "
            f"{torch.__version__} computes differently from {manifest['torch']}; {_EXPORT_AGAIN}"
        ) from error
    return Checkpoint(
        folder=folder,
        contract=contract,
        student=modules["student.ts"],
        actor=modules["actor.ts"],
        decoder=modules["decoder.ts"],
        training=manifest["training"],
        measured=manifest["measured"],
        identity=f"{contract.task}@{hashlib.sha256(manifest_bytes).hexdigest()[:12]}",
    )


def write_checkpoint(
    folder: str | Path,
    *,
    contract: PolicyContract,
    student: torch.jit.ScriptModule,
    actor: torch.jit.ScriptModule,
    decoder: torch.jit.ScriptModule,
    training: dict[str, Any],
    measured: dict[str, Any],
    model_card: str,
) -> None:
    """Writes a checkpoint and its golden data; whole or not at all.

    The folder is assembled beside its place and moved there when it is complete. A checkpoint
    that was there before is replaced; its additional files (pictures, say) are kept.

    Args:
        folder: where to write; absent, empty, or a checkpoint.
        contract: what the modules were trained with.
        student: see `Checkpoint`; deterministic.
        actor: see `Checkpoint`; deterministic.
        decoder: see `Checkpoint`; deterministic.
        training: plain JSON data: what it was trained on.
        measured: plain JSON data: what it was measured at.
        model_card: Markdown text.

    Raises:
        CheckpointError: the modules do not fit the contract, the folder holds something else, or
            it cannot be written. What was there before is unchanged then.
    """
    folder = Path(folder).expanduser().absolute()
    if folder.is_symlink():
        folder = folder.resolve()
    _require_replaceable(folder)
    contents = {
        name: torchscript.save_bytes(module)
        for name, module in zip(_MODULES, (student, actor, decoder), strict=True)
    }
    try:
        # Recorded from what a reader will load, not from the objects in memory.
        loaded = [torchscript.load_bytes(contents[name]) for name in _MODULES]
        data = golden.record(contract, *loaded)
        golden.verify(data, contract, *loaded)
    except (golden.GoldenError, torchscript.ModuleFileError) as error:
        raise CheckpointError(
            f"the modules cannot become a checkpoint: {error}; fix the export"
        ) from error
    contents[_GOLDEN] = data.to_bytes()
    contents[_CARD] = model_card.encode()
    contents[_MANIFEST] = _manifest_bytes(contract, contents, training, measured)
    _write_folder(folder, contents)


def update_records(
    folder: str | Path,
    *,
    measured: dict[str, Any] | None = None,
    model_card: str | None = None,
) -> None:
    """Replaces what a checkpoint says about itself; its modules stay the same bytes.

    For numbers that exist only after the export, such as the success through the whole graph.
    The checkpoint is verified first.

    Args:
        folder: a checkpoint.
        measured: replaces the recorded measurements; None keeps them.
        model_card: replaces the model card; None keeps it.

    Raises:
        CheckpointError: as `load_checkpoint` and `write_checkpoint`.
    """
    checkpoint = load_checkpoint(folder)
    folder = checkpoint.folder
    contents = {name: _read(folder, name) for name in _FILES}
    if model_card is not None:
        contents[_CARD] = model_card.encode()
    contents[_MANIFEST] = _manifest_bytes(
        checkpoint.contract,
        contents,
        checkpoint.training,
        checkpoint.measured if measured is None else measured,
    )
    _write_folder(folder.resolve(), contents)


def _manifest_bytes(
    contract: PolicyContract,
    contents: dict[str, bytes],
    training: dict[str, Any],
    measured: dict[str, Any],
) -> bytes:
    manifest: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "torch": str(torch.__version__),
        "contract": contract.to_dict(),
        "files": {
            name: {
                "bytes": len(contents[name]),
                "sha256": hashlib.sha256(contents[name]).hexdigest(),
            }
            for name in _FILES
        },
        "training": training,
        "measured": measured,
    }
    try:
        # As a reader will see it: tuples become lists, and keys become text.
        manifest = json.loads(json.dumps(manifest, allow_nan=False))
        manifest["checksum"] = _checksum(manifest)
        return (json.dumps(manifest, indent=2) + "\n").encode()
    except (TypeError, ValueError) as error:
        raise CheckpointError(
            f"'training' and 'measured' must be plain JSON data with finite numbers ({error})"
        ) from error


def _checksum(manifest: dict[str, Any]) -> str:
    """The sha256 of everything in the manifest but the checksum itself."""
    rest = {key: value for key, value in manifest.items() if key != "checksum"}
    canonical = json.dumps(rest, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _parse_manifest(folder: Path, data: bytes) -> dict[str, Any]:
    path = folder / _MANIFEST
    try:
        manifest = json.loads(data)
    except ValueError as error:
        raise CheckpointError(f"{path} is not valid JSON ({error}); {_EXPORT_AGAIN}") from error
    if not isinstance(manifest, dict) or "format_version" not in manifest:
        raise CheckpointError(f"{path} is not a checkpoint manifest; check the path")
    version = manifest["format_version"]
    if version != FORMAT_VERSION:
        raise CheckpointError(
            f"{path} has format version {version!r}, this twist_policy reads {FORMAT_VERSION}; "
            "use the twist_policy release that wrote it, or export the checkpoint again"
        )
    for key, kind in {
        "torch": str,
        "contract": dict,
        "files": dict,
        "training": dict,
        "measured": dict,
        "checksum": str,
    }.items():
        if not isinstance(manifest.get(key), kind):
            raise CheckpointError(
                f"{path}: {key!r} is missing or not a JSON "
                f"{'object' if kind is dict else 'string'}; {_EXPORT_AGAIN}"
            )
    try:
        unaltered = _checksum(manifest) == manifest["checksum"]
    except ValueError:  # NaN or infinity, which the exporter never writes
        unaltered = False
    if not unaltered:
        raise CheckpointError(
            f"{path} was changed after the export (its checksum does not match): contract, hashes "
            f"and measurements cannot be edited by hand; {_EXPORT_AGAIN}"
        )
    return manifest


def _read_verified(folder: Path, entries: dict[str, Any]) -> dict[str, bytes]:
    """The content of every file of the manifest, each checked against its size and hash."""
    if missing := [name for name in _FILES if name not in entries]:
        raise CheckpointError(f"{folder / _MANIFEST} does not list {missing}; {_EXPORT_AGAIN}")
    contents: dict[str, bytes] = {}
    for name, entry in entries.items():
        if Path(name).name != name or not isinstance(entry, dict):
            raise CheckpointError(f"{folder / _MANIFEST}: bad file entry {name!r}; {_EXPORT_AGAIN}")
        content = _read(folder, name)
        digest = hashlib.sha256(content).hexdigest()
        if digest != entry.get("sha256"):
            twin = [
                other
                for other, twin_entry in entries.items()
                if isinstance(twin_entry, dict) and twin_entry.get("sha256") == digest
            ]
            if twin:
                cause = f"it has the content of {twin[0]}: the files were swapped"
            elif len(content) != entry.get("bytes"):
                cause = (
                    f"it has {len(content)} bytes instead of {entry.get('bytes')}: "
                    "the copy is truncated, or it is another checkpoint's file"
                )
            else:
                cause = "its sha256 differs: it is corrupt, or another checkpoint's file"
            raise CheckpointError(
                f"{folder / name} is not the file that the manifest lists; {cause}; {_EXPORT_AGAIN}"
            )
        contents[name] = content
    return contents


def _read(folder: Path, name: str) -> bytes:
    try:
        return (folder / name).read_bytes()
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{folder / name} is missing, so {folder} is not a complete checkpoint; {_EXPORT_AGAIN}"
        ) from error
    except OSError as error:
        raise CheckpointError(
            f"{folder / name} cannot be read ({error.strerror or error}); make it readable for "
            "this user (chmod -R u+rX) or check the disk"
        ) from error


def _load_module(folder: Path, name: str, content: bytes) -> torch.jit.ScriptModule:
    try:
        return torchscript.load_bytes(content)
    except torchscript.ModuleFileError as error:
        raise CheckpointError(
            f"{folder / name} has the listed hash but is no usable module: {error}; "
            "install the PyTorch version it was exported with, or export it again"
        ) from error


def _require_replaceable(folder: Path) -> None:
    """Refuses to overwrite anything but a checkpoint."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise CheckpointError(f"{folder} is a file; choose another folder for the checkpoint")
    if not any(folder.iterdir()):
        return
    with contextlib.suppress(OSError, ValueError):
        if "format_version" in json.loads((folder / _MANIFEST).read_bytes()):
            return
    raise CheckpointError(
        f"{folder} holds files but no checkpoint, and will not be overwritten; choose another "
        "folder or empty it first"
    )


@contextlib.contextmanager
def _explained_write_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CheckpointError(
            f"cannot write the checkpoint {folder} ({error.strerror or error}); what was there "
            "before is unchanged; free space or choose another folder, then export again"
        ) from error


def _write_durably(path: Path, content: bytes) -> None:
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _copy_additional_files(source: Path, target: Path) -> None:
    for path in source.iterdir():
        if path.name in (*_FILES, _MANIFEST):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.copytree(path, target / path.name, symlinks=True)
        else:
            shutil.copy2(path, target / path.name, follow_symlinks=False)


def _previous(folder: Path) -> Path:
    """Where a checkpoint stays for the moment between the two renames of a replacement."""
    return folder.with_name(f".{folder.name}.previous")


def _write_folder(folder: Path, contents: dict[str, bytes]) -> None:
    """Makes or replaces `folder` with these files, and the additional ones that it has.

    Raises:
        CheckpointError: it cannot be written; what was there before is unchanged.
    """
    # Always the same name: what a killed writer left is not left over.
    temporary = folder.with_name(f".{folder.name}.partial")
    with _explained_write_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        try:
            if folder.is_dir():
                _copy_additional_files(folder, temporary)
            for name, content in contents.items():  # the manifest comes last
                _write_durably(temporary / name, content)
            temporary.chmod(0o755)
            _replace_folder(temporary, folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _replace_folder(new: Path, folder: Path) -> None:
    """Moves `new` to `folder`; a folder that was there is put back when that fails."""
    if not folder.exists():
        os.rename(new, folder)
        return
    previous = _previous(folder)
    shutil.rmtree(previous, ignore_errors=True)
    os.rename(folder, previous)
    try:
        os.rename(new, folder)
    except BaseException:
        if not folder.exists():
            os.rename(previous, folder)
        raise
    shutil.rmtree(previous, ignore_errors=True)
