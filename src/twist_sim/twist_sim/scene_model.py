"""The Panda at its table as a MuJoCo specification: bodies, contacts, actuators, camera, light."""

from __future__ import annotations

import mujoco
import numpy as np
from numpy.typing import NDArray

from twist_sim.camera_geometry import matrix_from_quaternion, quaternion_from_matrix
from twist_sim.hand import PADS, add_hand
from twist_sim.panda import ARM_JOINTS, add_arm, panda_chain
from twist_sim.task_card import Peg, TaskCard

_DISC_THICKNESS = 0.0005
_GRASP_IMPRATIO = 10.0
_TORSIONAL_FRICTION, _ROLLING_FRICTION = 0.005, 0.0001


def build_spec(card: TaskCard) -> mujoco.MjSpec:
    """The scene as an editable specification, e.g. for adding materials before compiling.

    Named geoms: ``floor``, ``table``, ``goal``, ``cube``, ``peg``, ``robot_link0`` to
    ``robot_link7``, the invisible ``table_surface``, and ``robot_mount`` and ``peg``, or those of
    the hand (`twist_sim.hand`). Only tool, cube and table surface touch, by explicit pairs. Body
    ``goal`` has no geom where the task has no goal. Camera ``workspace``; light ``key_light``;
    site ``tool_tip``.

    Raises:
        RobotDataError: the Panda's meshes are missing.
    """
    spec = mujoco.MjSpec()
    spec.modelname = card.task
    spec.option.timestep = card.physics.timestep
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    _add_surroundings(spec, card)
    flange = add_arm(spec, visuals=True)
    flange.add_site(name="tool_tip", pos=card.tool.offset, size=(0.002, 0, 0), group=4)
    _add_actuators(spec, card)
    if card.tool.peg is not None:
        _add_peg(flange, card.tool.peg, np.array(card.tool.offset))
    else:
        add_hand(spec, flange)
    _add_object_and_goal(spec, card)
    _add_contacts(spec, card)
    _add_camera(spec, card)
    return spec


def _visual_geom(body: mujoco.MjsBody, name: str, kind: mujoco.mjtGeom, **values: object) -> None:
    body.add_geom(name=name, type=kind, contype=0, conaffinity=0, mass=0.0, **values)


def _add_surroundings(spec: mujoco.MjSpec, card: TaskCard) -> None:
    table, world = card.table, spec.worldbody
    lower, upper = np.array(table.lower), np.array(table.upper)
    centre, half = (lower + upper) / 2, (upper - lower) / 2
    _visual_geom(
        world,
        "floor",
        mujoco.mjtGeom.mjGEOM_PLANE,
        pos=(0, 0, -table.height),
        size=(5, 5, 1),
        rgba=(0.35, 0.35, 0.35, 1),
    )
    _visual_geom(
        world,
        "table",
        mujoco.mjtGeom.mjGEOM_BOX,
        pos=(*centre, -table.thickness / 2),
        size=(*half, table.thickness / 2),
        rgba=(0.55, 0.45, 0.35, 1),
    )
    # Contact with a plane is cheaper and steadier than with the table's box; the workspace keeps
    # peg and object far from the table's edge.
    _visual_geom(
        world,
        "table_surface",
        mujoco.mjtGeom.mjGEOM_PLANE,
        size=(5, 5, 1),
        rgba=(0, 0, 0, 0),
        group=3,
    )
    world.add_light(
        name="key_light",
        type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL,
        pos=(1.0, 0.5, 2.0),
        dir=(-0.3, -0.25, -1.0),
        diffuse=(0.7, 0.7, 0.7),
        ambient=(0.3, 0.3, 0.3),
        castshadow=False,
    )


def _add_peg(flange: mujoco.MjsBody, peg: Peg, offset: NDArray[np.float64]) -> None:
    _visual_geom(
        flange,
        "robot_mount",
        mujoco.mjtGeom.mjGEOM_CYLINDER,
        fromto=(0, 0, 0, *offset / offset[2] * peg.mount_length),
        size=(peg.mount_radius, 0, 0),
        rgba=(0.3, 0.3, 0.3, 1),
    )
    # A capsule ends a radius beyond its segment: the tip is exactly at the offset.
    end = offset - np.array([0.0, 0.0, peg.radius])
    _visual_geom(
        flange,
        "peg",
        mujoco.mjtGeom.mjGEOM_CAPSULE,
        fromto=(*offset / offset[2] * peg.mount_length, *end),
        size=(peg.radius, 0, 0),
        rgba=(0.15, 0.15, 0.15, 1),
    )


def _add_object_and_goal(spec: mujoco.MjSpec, card: TaskCard) -> None:
    half = card.object.size / 2
    cube = spec.worldbody.add_body(name="cube", pos=(0.5, 0.1, half))
    cube.add_freejoint(name="cube")
    cube.add_geom(
        name="cube",
        type=mujoco.mjtGeom.mjGEOM_BOX,
        size=(half, half, half),
        mass=sum(card.object.mass) / 2,
        contype=0,
        conaffinity=0,
        rgba=(0.9, 0.75, 0.1, 1),
    )
    goal = spec.worldbody.add_body(name="goal", pos=(0.5, -0.1, 0), mocap=True)
    if card.goal is None:
        return
    _visual_geom(
        goal,
        "goal",
        mujoco.mjtGeom.mjGEOM_CYLINDER,
        pos=(0, 0, _DISC_THICKNESS / 2),
        size=(card.goal.radius, _DISC_THICKNESS / 2, 0),
        rgba=(0.8, 0.1, 0.1, 1),
    )


def _add_contacts(spec: mujoco.MjSpec, card: TaskCard) -> None:
    sliding, tool = sum(card.object.friction) / 2, card.physics.tool_friction
    touching = ("peg",) if card.tool.hand is None else PADS
    pairs = [("cube_table", "table_surface", "cube", sliding)]
    for part in touching:
        pairs.append((f"cube_{part}", part, "cube", tool))
        pairs.append((f"{part}_table", "table_surface", part, tool))
    if card.tool.hand is not None:
        # Without these, soft contacts let a held object creep out of the hand within seconds.
        spec.option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
        spec.option.impratio = _GRASP_IMPRATIO
    for name, first, second, friction in pairs:
        spec.add_pair(
            name=name,
            geomname1=first,
            geomname2=second,
            condim=4 if first in PADS else 3,
            friction=(
                *(friction, friction, _TORSIONAL_FRICTION),
                *(_ROLLING_FRICTION, _ROLLING_FRICTION),
            ),
        )


def _add_actuators(spec: mujoco.MjSpec, card: TaskCard) -> None:
    efforts = {joint.name: joint.effort for joint in panda_chain()[1]}
    for name, stiffness in zip(ARM_JOINTS, card.physics.stiffness, strict=True):
        actuator = spec.add_actuator(
            name=name,
            target=name,
            trntype=mujoco.mjtTrn.mjTRN_JOINT,
            forcelimited=True,
            forcerange=(-efforts[name], efforts[name]),
        )
        actuator.set_to_position(kp=stiffness, kv=stiffness * card.physics.damping_ratio)


def _add_camera(spec: mujoco.MjSpec, card: TaskCard) -> None:
    model = card.camera.model()
    # MuJoCo cameras look along -z with y up; optical frames look along +z with y down.
    rotation = matrix_from_quaternion(model.orientation) @ np.diag([1.0, -1.0, -1.0])
    spec.worldbody.add_camera(
        name="workspace",
        pos=model.position,
        quat=quaternion_from_matrix(rotation),
        resolution=(model.width, model.height),
        focal_pixel=(model.fx, model.fy),
        principal_pixel=(model.width / 2 - model.cx, model.height / 2 - model.cy),
        # The size only sets the scale between pixels and metres of the sensor.
        sensor_size=(model.width * 3e-6, model.height * 3e-6),
    )
    spec.visual.global_.offwidth = max(spec.visual.global_.offwidth, model.width)
    spec.visual.global_.offheight = max(spec.visual.global_.offheight, model.height)
