"""The Panda arm as a MuJoCo specification, from the URDF and low-poly meshes of a PyPI package."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from pathlib import Path

import mujoco
import numpy as np
from numpy.typing import NDArray

ARM_JOINTS = tuple(f"panda_joint{index}" for index in range(1, 8))
FLANGE = "panda_link8"

_PACKAGE = "example-robot-data"
_URDF = "robots/panda_description/urdf/panda.urdf"
_MESHES = "robots/panda_description/meshes/collision"
_ARMATURE = 0.1  # reflected rotor inertia, kg m^2, as in MuJoCo Menagerie's Panda
_JOINT_DAMPING = 1.0  # N m s/rad, as in MuJoCo Menagerie's Panda


class RobotDataError(RuntimeError):
    """The Panda's description is missing or not what this package was written for."""


@dataclass(frozen=True)
class Link:
    """One link: name, mass (kg), centre of mass (m), inertia about it, collision mesh."""

    name: str
    mass: float
    centre: tuple[float, ...]
    inertia: tuple[float, ...]
    mesh: Path | None


@dataclass(frozen=True)
class ArmJoint:
    """One joint: origin in the parent link (m, rad), limits (rad, N m); fixed without an axis."""

    name: str
    child: str
    position: tuple[float, ...]
    rpy: tuple[float, ...]
    axis: tuple[float, ...] | None
    limits: tuple[float, float]
    effort: float


@lru_cache(maxsize=1)
def robot_data_folder() -> Path:
    """Where the package `example-robot-data` keeps its files.

    Raises:
        RobotDataError: the package is not installed or holds no Panda.
    """
    try:
        files = metadata.files(_PACKAGE) or []
    except metadata.PackageNotFoundError as error:
        raise RobotDataError(
            f"the Panda's meshes come from the PyPI package {_PACKAGE!r}, which is not installed; "
            f"run: pip install {_PACKAGE}"
        ) from error
    for file in files:
        if file.as_posix().endswith(_URDF):
            urdf = Path(str(file.locate())).resolve()
            if urdf.is_file():
                return urdf.parents[3]
    raise RobotDataError(
        f"the installed package {_PACKAGE!r} {metadata.version(_PACKAGE)} does not hold {_URDF}; "
        f"run: pip install --force-reinstall {_PACKAGE}"
    )


@lru_cache(maxsize=1)
def panda_chain() -> tuple[dict[str, Link], tuple[ArmJoint, ...]]:
    """Links by name, and the joints from the base to the flange in order.

    Raises:
        RobotDataError: the URDF is missing or does not hold the expected chain.
    """
    folder = robot_data_folder()
    root = ElementTree.parse(folder / _URDF).getroot()
    joints = {joint.get("name"): joint for joint in root.iter("joint")}
    chain = []
    for name in (*ARM_JOINTS, "panda_joint8"):
        if name not in joints:
            raise RobotDataError(f"{folder / _URDF} has no joint {name!r}")
        chain.append(_read_joint(joints[name]))
    links = {link.name: link for link in (_read_link(e, folder) for e in root.iter("link"))}
    return links, tuple(chain)


def _numbers(text: str | None, default: str = "0 0 0") -> tuple[float, ...]:
    return tuple(float(part) for part in (text or default).split())


def _read_joint(element: ElementTree.Element) -> ArmJoint:
    origin, axis, limit = element.find("origin"), element.find("axis"), element.find("limit")
    child = element.find("child")
    if origin is None or child is None:
        raise RobotDataError(f"{_URDF}: joint {element.get('name')!r} has no origin or no child")
    revolute = element.get("type") == "revolute" and axis is not None and limit is not None
    return ArmJoint(
        name=element.get("name", ""),
        child=child.get("link", ""),
        position=_numbers(origin.get("xyz")),
        rpy=_numbers(origin.get("rpy")),
        axis=_numbers(axis.get("xyz")) if revolute and axis is not None else None,
        limits=(float(limit.get("lower", 0)), float(limit.get("upper", 0)))
        if limit is not None
        else (0.0, 0.0),
        effort=float(limit.get("effort", 0)) if limit is not None else 0.0,
    )


def _read_link(element: ElementTree.Element, folder: Path) -> Link:
    inertial = element.find("inertial")
    mass = 0.0
    centre: tuple[float, ...] = (0.0,) * 3
    inertia: tuple[float, ...] = (0.0,) * 6
    if inertial is not None:
        mass_tag, origin, tensor = (inertial.find(k) for k in ("mass", "origin", "inertia"))
        mass = float(mass_tag.get("value", 0)) if mass_tag is not None else 0.0
        centre = _numbers(origin.get("xyz")) if origin is not None else centre
        if tensor is not None:
            order = ("ixx", "iyy", "izz", "ixy", "ixz", "iyz")
            inertia = tuple(float(tensor.get(key, 0)) for key in order)
    mesh = element.find("collision/geometry/mesh")
    file = None
    if mesh is not None:
        name = mesh.get("filename", "").removeprefix("package://example-robot-data/")
        file = folder / name
    return Link(element.get("name", ""), mass, centre, inertia, file)


def add_arm(
    spec: mujoco.MjSpec, *, visuals: bool, gravity_compensation: bool = True
) -> mujoco.MjsBody:
    """Adds the arm, based at the world's origin, and returns the flange's body.

    Args:
        spec: the specification to extend. Joints are named as in the URDF.
        visuals: whether to add the meshes, as contact-free geoms ``robot_link0`` to
            ``robot_link7``.
        gravity_compensation: whether the arm's own weight is cancelled, as the real
            controller does.

    Raises:
        RobotDataError: the robot's description is missing.
    """
    links, joints = panda_chain()
    spec.compiler.degree = False
    spec.compiler.balanceinertia = True
    body = spec.worldbody
    if visuals:
        _add_mesh(spec, body, links["panda_link0"])
    for joint in joints:
        body = body.add_body(
            name=joint.child, pos=joint.position, quat=_quaternion_from_rpy(joint.rpy)
        )
        body.gravcomp = 1.0 if gravity_compensation else 0.0
        link = links[joint.child]
        if joint.axis is not None:
            body.mass = link.mass
            body.ipos = link.centre
            body.fullinertia = link.inertia
            body.explicitinertial = True
            body.add_joint(
                name=joint.name,
                type=mujoco.mjtJoint.mjJNT_HINGE,
                axis=joint.axis,
                range=joint.limits,
                limited=True,
                armature=_ARMATURE,
                damping=_JOINT_DAMPING,
            )
        if visuals:
            _add_mesh(spec, body, link)
    return body


def add_link_mesh(spec: mujoco.MjSpec, body: mujoco.MjsBody, mesh: str, name: str) -> None:
    """Adds one of the Panda's collision meshes, e.g. ``hand``, as a contact-free geom `name`.

    Raises:
        RobotDataError: the mesh is missing.
    """
    _add_mesh_file(spec, body, robot_data_folder() / _MESHES / f"{mesh}.stl", name)


def _add_mesh(spec: mujoco.MjSpec, body: mujoco.MjsBody, link: Link) -> None:
    if link.mesh is not None:
        _add_mesh_file(spec, body, link.mesh, "robot_" + link.name.removeprefix("panda_"))


def _add_mesh_file(spec: mujoco.MjSpec, body: mujoco.MjsBody, file: Path, name: str) -> None:
    if not file.is_file():
        raise RobotDataError(
            f"the mesh {file} is missing; run: pip install --force-reinstall {_PACKAGE}"
        )
    # Shell inertia: the meshes are visual, and some are not closed volumes.
    spec.add_mesh(name=name, file=str(file), inertia=mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL)
    body.add_geom(
        name=name,
        type=mujoco.mjtGeom.mjGEOM_MESH,
        meshname=name,
        contype=0,
        conaffinity=0,
        mass=0.0,
        rgba=(0.92, 0.92, 0.92, 1.0),
    )


def _quaternion_from_rpy(rpy: tuple[float, ...]) -> NDArray[np.float64]:
    """URDF fixed-axis roll, pitch, yaw to (w, x, y, z)."""
    quaternion = np.array([1.0, 0.0, 0.0, 0.0])
    for angle, axis in zip(reversed(rpy), ((0, 0, 1), (0, 1, 0), (1, 0, 0)), strict=True):
        turn, product = np.zeros(4), np.zeros(4)
        mujoco.mju_axisAngle2Quat(turn, np.array(axis, dtype=np.float64), angle)
        mujoco.mju_mulQuat(product, quaternion, turn)
        quaternion = product
    return quaternion
