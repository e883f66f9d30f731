"""Golden data: proof that a checkpoint computes here what it computed where it was exported.

A short trajectory is recorded at export and recomputed at load. Each recomputed step starts from
the *recorded* latent state, so that a rounding difference between processors stays a rounding
difference and does not grow from step to step.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from twist_policy.contract import PolicyContract

STEPS = 8
_TILE = 16
_SEED = 20201

VALUE_TOLERANCE = 1e-3
"""For h, actions and beliefs, absolute plus relative. Float kernels differ by about 1e-6 between
processors, and the uint8 resize by one level of 255 in some pixels, which moves h by some 1e-4;
weights of another training move them by 0.1 and more."""
SURPRISE_TOLERANCE = 0.05
"""Nats, plus 2 %: a KL divergence sums over all latent variables, so it adds up their noise."""
CHANGED_LATENTS = 0.05
"""Share of the categorical latents that may fall on another class: the mode of two classes that
are equally likely up to rounding is undefined. Modules that do not belong together change most."""


class GoldenError(RuntimeError):
    """Modules do not fit the contract, or do not reproduce the golden outputs."""


@dataclass(frozen=True)
class GoldenData:
    """Inputs and outputs of `STEPS` policy steps (T) and one imagined step after each.

    Attributes:
        tiles: what the frames are made of, uint8 (T, rows, columns, 3); see `frames`.
        ee_position: measured tool-tip positions, metres, float32 (T, 3).
        previous_action: float32 (T, A), in [-1, 1].
        h: deterministic states, float32 (T + 1, D); row 0 is the initial one.
        z: stochastic states, float32 (T + 1, S * C).
        surprise: nats, float32 (T,).
        action: actor outputs at h[1:], z[1:], float32 (T, A).
        state: decoder outputs at h[1:], z[1:], SI units, float32 (T, state_size).
        imagined_h: prior step with `action` from h[1:], z[1:], float32 (T, D).
        imagined_z: its stochastic state, float32 (T, S * C).
    """

    tiles: NDArray[np.uint8]
    ee_position: NDArray[np.float32]
    previous_action: NDArray[np.float32]
    h: NDArray[np.float32]
    z: NDArray[np.float32]
    surprise: NDArray[np.float32]
    action: NDArray[np.float32]
    state: NDArray[np.float32]
    imagined_h: NDArray[np.float32]
    imagined_z: NDArray[np.float32]

    def to_bytes(self) -> bytes:
        """An ``.npz`` archive; `from_bytes` is its inverse."""
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **vars(self))
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> GoldenData:
        """Reads what `to_bytes` wrote.

        Raises:
            GoldenError: not such an archive.
        """
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as archive:
                return cls(**{name: archive[name] for name in cls.__dataclass_fields__})
        except Exception as error:  # zipfile, numpy and zlib each raise their own kinds
            raise GoldenError(f"golden data cannot be read ({error})") from error


def frames(tiles: NDArray[np.uint8], contract: PolicyContract) -> NDArray[np.uint8]:
    """Full frames, uint8 (T, height, width, 3), each tile enlarged to 16x16 pixels."""
    large = tiles.repeat(_TILE, axis=1).repeat(_TILE, axis=2)
    return np.ascontiguousarray(large[:, : contract.camera.height, : contract.camera.width])


def record(
    contract: PolicyContract,
    student: torch.jit.ScriptModule,
    actor: torch.jit.ScriptModule,
    decoder: torch.jit.ScriptModule,
) -> GoldenData:
    """Runs the modules on synthetic inputs, each step from the state that the last one left.

    Raises:
        GoldenError: the modules do not have the interface and sizes that `contract` asks for, or
            put out NaN or infinity.
    """
    rng = np.random.default_rng(_SEED)
    rows, columns = -(-contract.camera.height // _TILE), -(-contract.camera.width // _TILE)
    tiles = rng.integers(0, 256, (STEPS, rows, columns, 3), dtype=np.uint8)
    lower, upper = np.asarray(contract.workspace.lower), np.asarray(contract.workspace.upper)
    position = (lower + (upper - lower) * rng.random((STEPS, 3))).astype(np.float32)
    previous = rng.uniform(-0.5, 0.5, (STEPS, contract.action_size)).astype(np.float32)
    previous[0] = 0.0
    # A gripper's number is its commanded state: 1 closed, -1 open, and open at the start.
    previous[:, 3:] = np.where(previous[:, 3:] > 0.0, 1.0, -1.0)
    return _run(contract, student, actor, decoder, tiles, position, previous, recorded=None)


def verify(
    golden: GoldenData,
    contract: PolicyContract,
    student: torch.jit.ScriptModule,
    actor: torch.jit.ScriptModule,
    decoder: torch.jit.ScriptModule,
) -> None:
    """Recomputes the golden steps and compares.

    Raises:
        GoldenError: the modules do not have the interface and sizes that `contract` asks for, put
            out NaN or infinity, or differ from the recorded outputs by more than the tolerances
            of this file.
    """
    if not len(golden.tiles):
        raise GoldenError("golden data hold no steps; export the checkpoint anew")
    found = _run(
        contract,
        student,
        actor,
        decoder,
        golden.tiles,
        golden.ee_position,
        golden.previous_action,
        recorded=golden,
    )
    for name in ("h", "action", "state", "imagined_h"):
        _compare(
            name, getattr(found, name), getattr(golden, name), VALUE_TOLERANCE, VALUE_TOLERANCE
        )
    _compare("surprise", found.surprise, golden.surprise, SURPRISE_TOLERANCE, 0.02)
    for name in ("z", "imagined_z"):
        _compare_latents(name, getattr(found, name), getattr(golden, name))


def _run(
    contract: PolicyContract,
    student: torch.jit.ScriptModule,
    actor: torch.jit.ScriptModule,
    decoder: torch.jit.ScriptModule,
    tiles: NDArray[np.uint8],
    position: NDArray[np.float32],
    previous: NDArray[np.float32],
    recorded: GoldenData | None,
) -> GoldenData:
    """The steps; from the `recorded` latent states when given, else from its own."""
    for name, module, methods in (
        ("student.ts", student, ("initial", "forward", "imagine")),
        ("actor.ts", actor, ("forward",)),
        ("decoder.ts", decoder, ("forward",)),
    ):
        missing = [method for method in methods if not hasattr(module, method)]
        if missing:
            raise GoldenError(f"{name} has no method {missing}; the file is another kind of module")
    outputs: dict[str, list[Tensor]] = {
        name: [] for name in ("h", "z", "surprise", "action", "state", "imagined_h", "imagined_z")
    }
    with torch.inference_mode():
        try:
            h, z = student.initial(1)
            sizes: dict[str, tuple[int, ...]] = {
                "h": (1, h.shape[-1]),
                "z": (1, z.shape[-1]),
                "surprise": (1,),
                "action": (1, contract.action_size),
                "state": (1, contract.state_size),
                "imagined_h": (1, h.shape[-1]),
                "imagined_z": (1, z.shape[-1]),
            }
            _append(outputs, sizes, h=h, z=z)
            for t, frame in enumerate(frames(tiles, contract)):
                if recorded is not None:
                    h, z = _row(recorded.h, t), _row(recorded.z, t)
                h, z, surprise = student(
                    torch.from_numpy(frame)[None], _row(position, t), _row(previous, t), h, z
                )
                _append(outputs, sizes, h=h, z=z, surprise=surprise)
                if recorded is not None:
                    h, z = _row(recorded.h, t + 1), _row(recorded.z, t + 1)
                action, state = actor(h, z), decoder(h, z)
                _append(outputs, sizes, action=action, state=state)
                imagined_h, imagined_z = student.imagine(action, h, z)
                _append(outputs, sizes, imagined_h=imagined_h, imagined_z=imagined_z)
        except (RuntimeError, TypeError, ValueError, AttributeError, IndexError) as error:
            if isinstance(error, GoldenError):
                raise
            lines = [line for line in str(error).strip().splitlines() if line.strip()]
            cause = lines[-1].strip() if lines else repr(error)
            raise GoldenError(f"the modules cannot take a step together ({cause})") from error
    action_outputs = torch.cat(outputs["action"])
    if float(action_outputs.abs().max()) > 1.0 + 1e-6:
        raise GoldenError(
            f"actor.ts puts out {float(action_outputs.abs().max()):.3f}; actions lie in [-1, 1]"
        )
    return GoldenData(
        tiles=tiles,
        ee_position=position,
        previous_action=previous,
        **{name: torch.cat(rows).float().numpy() for name, rows in outputs.items()},
    )


def _row(array: NDArray[np.float32], index: int) -> Tensor:
    return torch.from_numpy(array[index : index + 1].copy())


def _append(
    outputs: dict[str, list[Tensor]], sizes: dict[str, tuple[int, ...]], **values: Tensor
) -> None:
    for name, value in values.items():
        if tuple(value.shape) != sizes[name]:
            raise GoldenError(
                f"{name} has shape {tuple(value.shape)}, the contract and the student's initial "
                f"state ask for {sizes[name]}; the modules do not belong together"
            )
        if not bool(torch.isfinite(value).all()):
            raise GoldenError(f"{name} contains NaN or infinity")
        outputs[name].append(value)


def _compare(
    name: str,
    found: NDArray[np.float32],
    expected: NDArray[np.float32],
    absolute: float,
    relative: float,
) -> None:
    if found.shape != expected.shape:
        raise GoldenError(f"{name} has shape {found.shape}, recorded was {expected.shape}")
    excess = np.abs(found - expected) - relative * np.abs(expected)
    if not float(excess.max()) <= absolute:  # so that NaN differs, too
        worst = np.unravel_index(int(excess.argmax()), excess.shape)
        raise GoldenError(
            f"{name} differs from the golden output by up to "
            f"{float(np.abs(found - expected)[worst]):.3g} (tolerance {absolute:g} + {relative:g} "
            "of the value)"
        )


def _compare_latents(name: str, found: NDArray[np.float32], expected: NDArray[np.float32]) -> None:
    if found.shape != expected.shape:
        raise GoldenError(f"{name} has shape {found.shape}, recorded was {expected.shape}")
    changed = int((~(np.abs(found - expected) <= VALUE_TOLERANCE)).sum())  # NaN differs, too
    # A latent that falls on another class changes two numbers of its one-hot vector.
    allowed = int(2 * CHANGED_LATENTS * np.count_nonzero(expected))
    if changed > allowed:
        raise GoldenError(
            f"{name} differs from the golden output in {changed} numbers (tolerance {allowed})"
        )
