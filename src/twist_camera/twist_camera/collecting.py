"""The guided collection of calibration views: what to ask for, and which views are worth keeping.

No ROS and no terminal in here: `Lab` is both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from twist_camera.calibration import Sample, coverage
from twist_camera.calibration_checks import CalibrationRules
from twist_camera.charuco_board import BoardDetector, BoardSpec, Detection, Image
from twist_camera.hand_eye import turning
from twist_camera.rigid_transform import RigidTransform
from twist_camera.session import Session
from twist_policy.contract import Vector3

_SAME_POSITION, _SAME_ANGLE = 0.03, np.radians(5.0)
"""Two poses nearer than both tell nothing new."""
_TOUCHES_NEEDED = 4
_HIGH = CalibrationRules().height
"""A touched point so far above or below the table is worth a word, metres."""


class LabError(RuntimeError):
    """Camera or robot do not say what is needed; the message says what to do."""


class Quit(Exception):
    """The person at the terminal wants no more."""


class Lab(Protocol):
    """Camera, robot and the person in front of them."""

    def picture(self) -> Image:
        """A picture that was taken after the call, RGB. Raises: LabError."""

    def pose(self) -> RigidTransform:
        """Pose of the end effector, standing still. Raises: LabError."""

    def ask(self, question: str) -> str:
        """What the person types. Raises: Quit."""

    def say(self, text: str) -> None:
        """Shows a line."""


@dataclass(frozen=True)
class Progress:
    """What a session on the gripper still needs.

    Attributes:
        views: kept so far.
        needed: that many.
        turns: turning of the gripper about its first and second axis, root mean square, degrees.
        covered: share of the picture in which corners were seen.
    """

    views: int
    needed: int
    turns: tuple[float, float]
    covered: float

    def __str__(self) -> str:
        return (
            f"{self.views} of {self.needed} views; turned {self.turns[0]:.0f} and "
            f"{self.turns[1]:.0f} degrees about two axes, corners in {self.covered:.0%} of the "
            "picture"
        )


def collect_on_hand(lab: Lab, session: Session, views: int, rules: CalibrationRules) -> int:
    """Asks for views of a board on the gripper until there are enough.

    Args:
        lab: camera, robot and person.
        session: gets the views.
        views: how many.
        rules: what a calibration needs.

    Returns:
        How many views the session has.
    """
    detector = BoardDetector(session.spec)
    kept: list[tuple[Detection, RigidTransform]] = [
        (sample.detection, sample.base_to_ee)
        for sample in session.samples()
        if sample.base_to_ee is not None
    ]
    lab.say(
        "Fix the board to the gripper so that it cannot move. For each view move the arm (guide it "
        "by hand, or jog it), tilt the board by 20 to 30 degrees, another way each time, all of it "
        "in the picture; let go; then press Enter. q ends."
    )
    try:
        while len(kept) < views:
            lab.ask(f"view {len(kept) + 1} of {views}: Enter when the arm stands ")
            try:
                pose = lab.pose()
                image = lab.picture()
                moved = pose.distance_to(lab.pose())
            except LabError as error:
                lab.say(f"  not taken: {error}")
                continue
            found = detector.detect(image)
            reason = refuse(session.spec, found, pose, moved, kept)
            if reason:
                lab.say(f"  not taken: {reason}")
                continue
            session.add(image, pose)
            kept.append((found, pose))
            lab.say(f"  {len(found.numbers)} corners. {progress(session, kept, views)}")
    except Quit:
        lab.say("ended")
    if kept:
        now = progress(session, kept, views)
        if now.turns[1] < rules.turn and len(kept) > 2:
            lab.say(f"tilt more about a second axis ({rules.turn:g} degrees are needed): {now}")
    return len(kept)


def refuse(
    spec: BoardSpec,
    found: Detection,
    pose: RigidTransform,
    moved: tuple[float, float],
    kept: list[tuple[Detection, RigidTransform]],
) -> str:
    """Why a view is not worth keeping; empty when it is."""
    lacking = spec.too_little(found.numbers)
    if lacking:
        return f"{lacking}: bring all of the board into the picture, nearer, without glare"
    if moved[0] > 0.0005 or moved[1] > np.radians(0.1):
        return f"the arm moved by {moved[0] * 1000:.1f} mm meanwhile; let it stand"
    for number, (_, other) in enumerate(kept):
        distance, angle = pose.distance_to(other)
        if distance < _SAME_POSITION and angle < _SAME_ANGLE:
            return f"nearly the same as view {number + 1}; move and tilt the board more"
    return ""


def progress(
    session: Session, kept: list[tuple[Detection, RigidTransform]], views: int
) -> Progress:
    """What there is so far."""
    samples = [Sample("", found, pose) for found, pose in kept]
    first, second = np.degrees(turning([pose for _, pose in kept]))
    return Progress(
        len(kept), views, (float(first), float(second)), coverage(samples, session.intrinsics)
    )


def collect_on_table(lab: Lab, session: Session, placements: int, tool_offset: Vector3) -> int:
    """Asks for placements of a board on the table, its corners touched by the tool tip.

    Args:
        lab: camera, robot and person.
        session: gets the views.
        placements: how many.
        tool_offset: tool tip in the end-effector frame, metres.

    Returns:
        How many placements the session has.
    """
    detector = BoardDetector(session.spec)
    count = session.count
    columns = session.spec.columns - 1
    last = len(session.spec.corners) - 1
    lab.say(
        "Lay the board flat on the table. Guide the tool tip to an inner corner of the board "
        "(where four squares meet), type its number (the number above plus the number to the left) "
        f"and press Enter; four corners or more, as far apart as possible, such as 0, "
        f"{columns - 1}, {last - columns + 1} and {last}. Then d for done. q ends."
    )
    try:
        while count < placements:
            touched = _touches(lab, session, count, placements, tool_offset)
            lab.ask("  move the arm out of the picture of the board; Enter takes the picture ")
            try:
                image = lab.picture()
            except LabError as error:
                lab.say(f"  not taken: {error}")
                continue
            found = detector.detect(image)
            lacking = session.spec.too_little(found.numbers)
            if lacking:
                lab.say(f"  not taken: {lacking}; lay the board where the camera sees all of it")
                continue
            # Not the count: a placement may have been taken out of the session.
            session.add(image, None, session.next_placement, tuple(touched))
            count += 1
            lab.say(f"  {len(found.numbers)} corners seen, {len(touched)} touched")
    except Quit:
        lab.say("ended")
    return count


def _touches(
    lab: Lab, session: Session, count: int, placements: int, tool_offset: Vector3
) -> list[tuple[int, Vector3]]:
    touched: dict[int, Vector3] = {}
    last = len(session.spec.corners) - 1
    while True:
        answer = lab.ask(
            f"placement {count + 1} of {placements}, {len(touched)} touched: number, or d "
        ).strip()
        if answer == "d":
            if len(touched) >= _TOUCHES_NEEDED:
                return list(touched.items())
            lab.say(f"  {_TOUCHES_NEEDED} touched corners are needed")
            continue
        if not answer.isdigit() or int(answer) > last:
            lab.say(f"  corners have the numbers 0 to {last}")
            continue
        try:
            tip = lab.pose().apply(np.asarray(tool_offset))
        except LabError as error:
            lab.say(f"  not taken: {error}")
            continue
        touched[int(answer)] = (float(tip[0]), float(tip[1]), float(tip[2]))
        lab.say(f"  corner {answer} at {tip[0]:.4f}, {tip[1]:.4f}, {tip[2]:.4f} m")
        if abs(tip[2]) > _HIGH:
            lab.say(
                f"  that is {abs(tip[2]) * 1000:.0f} mm {'above' if tip[2] > 0 else 'below'} the "
                "table (z = 0): if the board is thinner, the tool's offset (--tool-offset) is wrong"
            )
