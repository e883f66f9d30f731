"""The ChArUco board: a chessboard with markers, so that parts of it can be told apart.

Board frame: origin at the outer corner of the first square (top left of the print), x to the right
along the print, y down, z into the paper. It is OpenCV's.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Image = NDArray[np.uint8]

DICTIONARY = "DICT_4X4_50"
CORNERS_NEEDED = 8
"""Fewest corners in a picture that is used."""
_MODULES = 6
"""Edge of a marker in modules: four of code, one of border on each side."""


class BoardError(ValueError):
    """A board that cannot be made or does not fit; the message says what to change."""


@dataclass(frozen=True)
class BoardSpec:
    """Which board.

    Attributes:
        columns: squares along x.
        rows: squares along y.
        square: edge of a square, metres.
        marker: edge of a marker, metres.
    """

    columns: int = 7
    rows: int = 5
    square: float = 0.035
    marker: float = 0.026

    def __post_init__(self) -> None:
        if self.columns < 3 or self.rows < 3 or self.columns * self.rows > 100:
            raise BoardError(
                f"a board has at least 3 x 3 and at most 100 squares, found {self.columns} x "
                f"{self.rows}"
            )
        if not 0 < self.marker < 0.9 * self.square < 0.9:
            raise BoardError(
                f"markers ({self.marker} m) must be smaller than 0.9 of the squares "
                f"({self.square} m), in metres"
            )

    @property
    def name(self) -> str:
        """For file names and titles, with the sizes that a print has to have."""
        return (
            f"charuco_{self.columns}x{self.rows}_square{self.square * 1000:g}mm"
            f"_marker{self.marker * 1000:g}mm"
        )

    @property
    def size(self) -> tuple[float, float]:
        """Width and height, metres."""
        return self.columns * self.square, self.rows * self.square

    @property
    def corners(self) -> Array:
        """Inner corners by their number, board frame, metres, shape (N, 3)."""
        x, y = np.meshgrid(np.arange(1, self.columns), np.arange(1, self.rows))
        plane = np.stack([x.ravel(), y.ravel(), np.zeros(x.size)], axis=1)
        return np.asarray(plane * self.square, dtype=np.float64)

    def scaled(self, square: float) -> BoardSpec:
        """The same board, printed so that a square has another edge, metres."""
        return BoardSpec(self.columns, self.rows, square, self.marker * square / self.square)

    def too_little(self, numbers: NDArray[np.int64]) -> str:
        """Why these corners do not give the board's pose; empty when they do.

        Corners of one row, or of one column, lie on a line, and a board can turn about it unseen.
        """
        if len(numbers) < CORNERS_NEEDED:
            return f"{len(numbers)} corners are seen, {CORNERS_NEEDED} are needed"
        rows, columns = np.divmod(numbers, self.columns - 1)
        for name, lines in (("row", rows), ("column", columns)):
            if (np.bincount(lines) >= 2).sum() < 2:
                return (
                    f"the {len(numbers)} corners seen lie in one {name}, two rows and two columns "
                    "with two corners or more are needed"
                )
        return ""

    def black_rectangles(self) -> list[tuple[float, float, float, float]]:
        """What is black: (x, y, width, height) in the board frame, metres."""
        rectangles = []
        dictionary = cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, DICTIONARY))
        margin, module = (self.square - self.marker) / 2, self.marker / _MODULES
        number = 0
        for row in range(self.rows):
            for column in range(self.columns):
                x, y = column * self.square, row * self.square
                if (row + column) % 2 == 0:
                    rectangles.append((x, y, self.square, self.square))
                    continue
                bits = cv2.aruco.generateImageMarker(dictionary, number, _MODULES)
                number += 1
                for i, line in enumerate(bits):
                    for start, stop in _black_runs(line):
                        rectangles.append(
                            (
                                x + margin + start * module,
                                y + margin + i * module,
                                (stop - start) * module,
                                module,
                            )
                        )
        return rectangles

    def to_dict(self) -> dict[str, Any]:
        """Plain data for YAML."""
        return asdict(self)


def _black_runs(line: NDArray[np.uint8]) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[255], line, [255]]).astype(int)))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]


@dataclass(frozen=True, eq=False)
class Detection:
    """The corners of a board in one picture.

    Attributes:
        numbers: which corners, shape (N,), int.
        pixels: where, (column, row) with pixel centres at whole numbers, shape (N, 2).
    """

    numbers: NDArray[np.int64]
    pixels: Array


class BoardDetector:
    """Finds a board's corners in pictures, with sub-pixel accuracy.

    Args:
        spec: which board.
    """

    def __init__(self, spec: BoardSpec) -> None:
        self.spec = spec
        board = cv2.aruco.CharucoBoard(
            (spec.columns, spec.rows),
            spec.square,
            spec.marker,
            cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, DICTIONARY)),
        )
        parameters = cv2.aruco.DetectorParameters()
        parameters.cornerRefinementMethod = cv2.aruco.CORNER_REFINE_SUBPIX
        charuco = cv2.aruco.CharucoParameters()
        charuco.tryRefineMarkers = True
        self._detector = cv2.aruco.CharucoDetector(board, charuco, parameters)

    def detect(self, image: Image) -> Detection:
        """Finds the corners; none at all is an empty detection.

        Args:
            image: RGB, (H, W, 3), uint8.
        """
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        pixels, numbers, _, _ = self._detector.detectBoard(grey)
        if pixels is None or numbers is None or len(numbers) == 0:
            return Detection(np.zeros(0, np.int64), np.zeros((0, 2)))
        return Detection(
            np.asarray(numbers).reshape(-1).astype(np.int64),
            np.asarray(pixels, dtype=np.float64).reshape(-1, 2),
        )
