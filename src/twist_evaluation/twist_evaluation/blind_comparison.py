"""Two checkpoints on the same layouts, in an order nobody at the robot knows.

Each layout is run twice in a row, once with either checkpoint; which comes first is shuffled, and
each comes first in half of the trials. Who watches sees run numbers. The mapping is written to
``sealed.json`` before the first run, in a form that cannot be read by accident, and the results
carry its hash: the report opens it, and notices when it was changed.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import secrets
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from twist_evaluation.evaluation_setup import SetupError, read_manifest
from twist_evaluation.results import ResultsError
from twist_evaluation.trial_plan import PlannedRun
from twist_evaluation.trial_stand import StandLost

SEALED_FILE = "sealed.json"
SEAL_PREFIX = "blind-comparison@"
"""What the results of every blind comparison have for a checkpoint begins with this."""
OPENED_FILE = "opened"
"""Left by whoever opened the mapping although runs could have been repeated."""
_FORMAT_VERSION = 1


@dataclass(frozen=True)
class Candidate:
    """One of the two.

    Attributes:
        folder: of its checkpoint.
        identity: task and hash of its manifest.
    """

    folder: str
    identity: str


@dataclass(frozen=True)
class SealedComparison:
    """What is hidden until the report.

    Attributes:
        candidates: the first and the second checkpoint, as they were given.
        orders: for each seed, for each trial, which candidate (0 or 1) is run first.
        salt: so that the hash of two alike comparisons differs, and tells nothing.
    """

    candidates: tuple[Candidate, Candidate]
    orders: dict[int, tuple[int, ...]]
    salt: str

    @classmethod
    def draw(
        cls,
        candidates: tuple[Candidate, Candidate],
        seeds: Sequence[int],
        trials: int,
        shuffle_seed: int | None = None,
    ) -> SealedComparison:
        """Draws the orders.

        Args:
            candidates: what is compared.
            seeds: of the evaluation.
            trials: layouts per seed.
            shuffle_seed: makes the orders repeatable, for those who do not watch; None draws them
                from the system's randomness.
        """
        salt = secrets.token_hex(16)
        entropy = secrets.randbits(128) if shuffle_seed is None else shuffle_seed
        generator = np.random.default_rng(entropy)
        orders = {}
        for seed in seeds:
            first = np.arange(trials) % 2
            if generator.random() < 0.5:  # of an odd number of trials either may lead one more
                first = 1 - first
            orders[seed] = tuple(int(one) for one in generator.permutation(first))
        return cls(candidates, orders, salt)

    def candidate(self, seed: int, number: int) -> int:
        """Which candidate, 0 or 1, run `number` of a seed had."""
        first = self.orders[seed][number // 2]
        return first if number % 2 == 0 else 1 - first

    def payload(self) -> bytes:
        """What is hidden, as bytes; the same comparison always gives the same."""
        document = {
            "candidates": [[one.folder, one.identity] for one in self.candidates],
            "orders": {str(seed): list(order) for seed, order in self.orders.items()},
            "salt": self.salt,
        }
        return json.dumps(document, sort_keys=True).encode()

    @property
    def seal(self) -> str:
        """What the results call the comparison: the beginning of its hash."""
        return f"{SEAL_PREFIX}{hashlib.sha256(self.payload()).hexdigest()[:12]}"


class BlindPlan:
    """The runs of one seed of a comparison: 2 n and 2 n + 1 have layout n.

    Args:
        sealed: the comparison.
        checkpoints: folders of the two; they may have been moved since the comparison was sealed.
        seed: of the evaluation.
        folder: where each run's checkpoint is linked under a name that tells nothing.
    """

    blind = True

    def __init__(
        self, sealed: SealedComparison, checkpoints: tuple[Path, Path], seed: int, folder: Path
    ) -> None:
        self._sealed = sealed
        self._checkpoints = checkpoints
        self._seed = seed
        self._folder = folder

    def run(self, number: int) -> PlannedRun:
        """Layout and checkpoint of a run; makes the link.

        Raises:
            StandLost: the link cannot be made, or would lead to another checkpoint than was sealed.
        """
        candidate = self._sealed.candidate(self._seed, number)
        checkpoint = self._checkpoints[candidate]
        self._require_sealed(checkpoint, self._sealed.candidates[candidate].identity)
        link = self._folder / f"run_{number:03d}"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            link.unlink(missing_ok=True)
            os.symlink(checkpoint.absolute(), link, target_is_directory=True)
        except OSError as error:
            raise StandLost(f"the checkpoint of a run cannot be linked: {error}") from error
        return PlannedRun(number // 2, link, f"{self._sealed.seal}/run_{number:03d}")

    def _require_sealed(self, checkpoint: Path, identity: str) -> None:
        """Which of the two it is that fails stays untold: the comparison is blind."""
        found = ""
        with contextlib.suppress(SetupError):
            found = read_manifest(checkpoint)[1]
        if found != identity:
            raise StandLost(
                "one of the two checkpoints was changed after it was sealed, or cannot be read any "
                "more; put it back and continue with resume:=true, or begin another comparison"
            )

    def clear(self) -> None:
        """Removes the links."""
        for link in self._folder.glob("run_*"):
            if link.is_symlink():
                link.unlink()


def write_sealed(sealed: SealedComparison, path: Path) -> None:
    """Writes the mapping and makes sure that it is on the disk.

    Raises:
        OSError: it cannot be written.
    """
    document = {
        "format_version": _FORMAT_VERSION,
        "note": "Which checkpoint ran when. twist-report opens it once all runs are done.",
        "seal": sealed.seal,
        "sealed": base64.b64encode(zlib.compress(sealed.payload(), 9)).decode(),
    }
    temporary = path.with_name(f".{path.name}.tmp")
    with open(temporary, "w", encoding="utf-8") as file:
        file.write(json.dumps(document, indent=2) + "\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def read_sealed(path: Path) -> SealedComparison:
    """Opens the mapping.

    Raises:
        ResultsError: it is missing or damaged, or not what was sealed.
    """
    try:
        document: Any = json.loads(path.read_text(encoding="utf-8"))
        if document["format_version"] != _FORMAT_VERSION:
            raise ValueError(f"format version {document['format_version']}")
        content = json.loads(zlib.decompress(base64.b64decode(document["sealed"])))
        first, second = (Candidate(*(str(v) for v in pair)) for pair in content["candidates"])
        orders = {
            int(seed): tuple(int(one) for one in order) for seed, order in content["orders"].items()
        }
        sealed = SealedComparison((first, second), orders, str(content["salt"]))
        seal = str(document["seal"])
    except (OSError, ValueError, KeyError, TypeError, zlib.error) as error:
        raise ResultsError(
            f"{path} cannot be read ({type(error).__name__}: {error}). Without it nobody can say "
            "which checkpoint ran when; restore it, or run the comparison again."
        ) from None
    if sealed.seal != seal:
        raise ResultsError(
            f"{path} was changed after it was sealed ({sealed.seal} inside, {seal} outside): the "
            "comparison is void. Run it again."
        )
    return sealed
