"""Prints a ChArUco board as a PDF of true scale, with rulers to check the print by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twist_camera.charuco_board import BoardError, BoardSpec

PAPERS = {"a4": (297.0, 210.0), "a3": (420.0, 297.0), "a2": (594.0, 420.0)}
"""Landscape, millimetres."""
_MARGIN = 7.0
"""Printers leave so much of the paper white, millimetres."""
_FOOT = 17.0
"""Below the board, for the ruler and the text, millimetres."""
_RULER = 100.0


def write_board_pdf(spec: BoardSpec, path: Path, paper: str = "a4") -> None:
    """Writes one page.

    Args:
        spec: the board.
        path: of the PDF; its folder is made.
        paper: one of `PAPERS`.

    Raises:
        BoardError: the board does not fit onto the paper.
    """
    from matplotlib.backends.backend_pdf import FigureCanvasPdf, PdfPages

    figure = board_figure(spec, paper)
    FigureCanvasPdf(figure)
    path.parent.mkdir(parents=True, exist_ok=True)
    with PdfPages(path, metadata={"Title": spec.name, "CreationDate": None}) as pdf:
        pdf.savefig(figure)


def board_figure(spec: BoardSpec, paper: str) -> Any:
    """The page as a matplotlib figure of the paper's size.

    Raises:
        BoardError: the board does not fit onto the paper.
    """
    # Imported here: only printing needs it, and it takes a second.
    from matplotlib.collections import PolyCollection
    from matplotlib.figure import Figure

    page_width, page_height = PAPERS[paper]
    width, height = (edge * 1000 for edge in spec.size)
    room = page_width - 2 * _MARGIN - 6, page_height - 2 * _MARGIN - _FOOT
    if width > room[0] or height > room[1]:
        raise BoardError(
            f"the board is {width:.0f} x {height:.0f} mm, {paper} has room for {room[0]:.0f} x "
            f"{room[1]:.0f} mm; take smaller squares (--square-mm), fewer of them, or larger paper "
            f"(--paper, one of {', '.join(PAPERS)})"
        )
    figure = Figure(figsize=(page_width / 25.4, page_height / 25.4))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, page_width)
    axes.set_ylim(page_height, 0)  # y down, as in the board frame
    axes.axis("off")
    left, top = (page_width - width) / 2, _MARGIN + 3
    squares = [
        [
            (left + x * 1000, top + y * 1000),
            (left + (x + w) * 1000, top + y * 1000),
            (left + (x + w) * 1000, top + (y + h) * 1000),
            (left + x * 1000, top + (y + h) * 1000),
        ]
        for x, y, w, h in spec.black_rectangles()
    ]
    axes.add_collection(PolyCollection(squares, facecolors="black", edgecolors="none"))
    _number_corners(axes, spec, left, top)
    _rulers(axes, left, top + height + 5, top)
    axes.text(
        left + _RULER + 12,
        top + height + 4,
        f"{spec.name}\nPrint at 100 % (actual size), glue onto a flat, stiff plate. Then measure "
        "both rulers: each is 100.0 mm;\nif not, measure a square and tell its size with "
        "--square-mm and --marker-mm. Number of an inner corner: top + left.",
        fontsize=6,
        va="top",
    )
    return figure


def _number_corners(axes: Any, spec: BoardSpec, left: float, top: float) -> None:
    square = spec.square * 1000
    for column in range(spec.columns - 1):
        axes.text(left + (column + 1) * square, top - 1, str(column), fontsize=6, ha="center")
    for row in range(spec.rows - 1):
        number = row * (spec.columns - 1)
        axes.text(
            left - 1.5, top + (row + 1) * square, str(number), fontsize=6, ha="right", va="center"
        )


def _rulers(axes: Any, left: float, foot: float, top: float) -> None:
    style = {"color": "black", "linewidth": 0.5, "solid_capstyle": "butt"}
    axes.plot([left, left + _RULER], [foot, foot], **style)
    axes.plot([left - 6, left - 6], [top, top + _RULER], **style)
    for tick in range(0, int(_RULER) + 1, 10):
        axes.plot([left + tick] * 2, [foot, foot + (3 if tick % 50 == 0 else 1.5)], **style)
        length = 2.0 if tick % 50 == 0 else 1.2
        axes.plot([left - 6 - length, left - 6], [top + tick] * 2, **style)
    axes.text(left, foot + 5.5, "0", fontsize=6, ha="center")
    axes.text(left + _RULER, foot + 5.5, "100 mm", fontsize=6, ha="center")
