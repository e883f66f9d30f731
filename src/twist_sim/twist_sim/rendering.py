"""Renders a simulator state in a given appearance.

One model holds every texture of a sampler's bank as a material; a look is chosen by switching
material numbers, colours and lights, which costs microseconds, where uploading a texture costs
milliseconds. Shadows and multisampling are off: they dominate the cost of software rendering.

The student's crop is rendered directly, through an off-centre frustum, and not cut from a full
frame: 128 x 128 pixels instead of 640 x 480.
"""

from __future__ import annotations

import weakref
from typing import Any

import mujoco
import numpy as np
from numpy.typing import ArrayLike, NDArray

from twist_policy.contract import CameraModel
from twist_sim.appearance import Appearance, AppearanceSampler, CameraJitter, Surface
from twist_sim.camera_effects import apply_camera_effects
from twist_sim.camera_geometry import matrix_from_quaternion
from twist_sim.gl_backend import RenderError, make_context, renderer_name, report_renderer
from twist_sim.hand import FINGER_JOINTS
from twist_sim.image_resize import downscale
from twist_sim.panda import ARM_JOINTS
from twist_sim.scene import SIM_STATE_SIZE, build_spec
from twist_sim.task_card import CROP_SIZE, TaskCard

__all__ = ["CROP_SIZE", "RenderError", "SceneRenderer"]

Image = NDArray[np.uint8]

_NEAR, _FAR = 0.05, 12.0
_ROBOT_REPEAT = 3.0
_PLAIN, _GLOSSY = "paint_plain", "paint_glossy"


class SceneRenderer:
    """Draws pictures of one task's scene. Belongs to the thread and process that made it.

    Args:
        card: the task.
        sampler: whose textures the appearances refer to.

    Raises:
        RenderError: no GL backend works.
        RobotDataError: the Panda's meshes are missing.
    """

    def __init__(self, card: TaskCard, sampler: AppearanceSampler) -> None:
        self._camera = card.camera.model()
        self._image = card.image
        self._camera_rotation = matrix_from_quaternion(self._camera.orientation)
        self._model = _build_render_model(card, sampler)
        self._data = mujoco.MjData(self._model)
        self._index_scene(card, len(sampler.textures), len(sampler.object_textures))
        self._scene = mujoco.MjvScene(self._model, maxgeom=self._model.ngeom + 8)
        for flag in (
            mujoco.mjtRndFlag.mjRND_SHADOW,
            mujoco.mjtRndFlag.mjRND_REFLECTION,
            mujoco.mjtRndFlag.mjRND_SKYBOX,
            mujoco.mjtRndFlag.mjRND_HAZE,
        ):
            self._scene.flags[flag] = 0
        self._options = mujoco.MjvOption()
        self._view = mujoco.MjvCamera()
        self._buffer = (CROP_SIZE, CROP_SIZE)
        self._gl = make_context(*self._buffer)
        self._context = mujoco.MjrContext(self._model, mujoco.mjtFontScale.mjFONTSCALE_100)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        # Also runs when the interpreter ends, while the GL library can still free things.
        self._free = weakref.finalize(self, _free, self._gl, self._context)
        self.gl_renderer = renderer_name()
        """Name of the GL renderer in use."""
        report_renderer(self.gl_renderer)

    def close(self) -> None:
        """Frees the GL context; the renderer cannot be used afterwards. May be called twice."""
        self._free()

    def __enter__(self) -> SceneRenderer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def render_frame(self, sim_state: ArrayLike, appearance: Appearance) -> Image:
        """The full camera frame, without camera effects.

        Args:
            sim_state: `PandaScene.get_state`, shape (SIM_STATE_SIZE,).
            appearance: the look.

        Returns:
            (H, W, 3) uint8 RGB; 480 x 640 for the shipped tasks.

        Raises:
            RenderError: the state is not SIM_STATE_SIZE finite numbers, or the renderer is closed.
        """
        width, height = self._camera.width, self._camera.height
        self._paint(sim_state, appearance)
        return self._draw(appearance.camera, (0, 0, width, height), width, height)

    def render_crop(
        self, sim_state: ArrayLike, appearance: Appearance, out_size: int = CROP_SIZE
    ) -> Image:
        """The student's crop of the camera frame, without camera effects.

        Args:
            sim_state: `PandaScene.get_state`, shape (SIM_STATE_SIZE,).
            appearance: the look.
            out_size: edge of the result, pixels.

        Returns:
            (out_size, out_size, 3) uint8 RGB.

        Raises:
            RenderError: the state is not SIM_STATE_SIZE finite numbers, or the renderer is closed.
        """
        image = self._image
        window = (image.crop_x, image.crop_y, image.crop_size, image.crop_size)
        self._paint(sim_state, appearance)
        return self._draw(appearance.camera, window, out_size, out_size)

    def render_camera_image(
        self, sim_state: ArrayLike, appearance: Appearance, rng: np.random.Generator
    ) -> Image:
        """The full frame as the camera delivers it: `render_frame` with camera effects."""
        frame = self.render_frame(sim_state, appearance)
        return apply_camera_effects(frame, appearance.effects, rng)

    def render_training_image(
        self,
        sim_state: ArrayLike,
        appearance: Appearance,
        rng: np.random.Generator,
        render_size: int = CROP_SIZE,
    ) -> Image:
        """What the student's own preprocessing would make of `render_camera_image`, for less.

        Args:
            sim_state: `PandaScene.get_state`, shape (SIM_STATE_SIZE,).
            appearance: the look.
            rng: source of the camera's noise.
            render_size: edge that is rendered, a multiple of the contract's ``image.size``.

        Returns:
            (size, size, 3) uint8 RGB, size = ``image.size``.
        """
        crop = self.render_crop(sim_state, appearance, render_size)
        pitch = self._image.crop_size / render_size
        noisy = apply_camera_effects(crop, appearance.effects, rng, pitch)
        return downscale(noisy, self._image.size)

    def _index_scene(self, card: TaskCard, textures: int, object_textures: int) -> None:
        """Looks up every number that painting needs, once."""
        model = self._model
        geoms = {model.geom(i).name: i for i in range(model.ngeom)}
        self._geoms = {n: geoms[n] for n in ("table", "floor", "cube")}
        # A hand is painted as a part of the robot, and not every task has a goal on the table.
        self._geoms |= {n: geoms[n] for n in ("peg", "goal") if n in geoms}
        self._robot = np.array([i for n, i in sorted(geoms.items()) if n.startswith("robot_")])
        self._plain = int(model.material(_PLAIN).id)
        self._glossy = int(model.material(_GLOSSY).id)
        self._surface_materials = np.array(
            [model.material(f"surface_{i}").id for i in range(textures)]
        )
        self._object_materials = np.array(
            [model.material(f"object_{i}").id for i in range(object_textures)]
        )
        arm = int(model.joint(ARM_JOINTS[0]).qposadr[0])
        cube = int(model.joint("cube").qposadr[0])
        self._qpos = np.concatenate([arm + np.arange(7), cube + np.arange(7)])
        self._fingers = [
            int(model.joint(name).qposadr[0]) for name in FINGER_JOINTS if card.tool.hand
        ]
        self._goal = int(model.body("goal").mocapid[0])
        self._key, self._fill = int(model.light("key_light").id), int(model.light("fill").id)
        self._table_lower = np.array(card.table.lower)
        self._table_upper = np.array(card.table.upper)

    def _paint(self, sim_state: ArrayLike, appearance: Appearance) -> None:
        """Brings state and look into MuJoCo's abstract scene."""
        if not self._free.alive:
            raise RenderError("this renderer was closed; make a new SceneRenderer")
        state = np.asarray(sim_state, dtype=np.float64)
        if state.shape != (SIM_STATE_SIZE,) or not np.isfinite(state).all():
            raise RenderError(
                f"a simulator state has {SIM_STATE_SIZE} finite numbers (PandaScene.get_state), "
                f"found shape {state.shape}: {state.tolist()}"
            )
        # Some microseconds; another renderer of this process may have taken the thread's context.
        self._gl.make_current()
        model, data = self._model, self._data
        data.qpos[self._qpos] = state[:14]
        data.mocap_pos[self._goal, :2] = state[14:16]
        data.qpos[self._fingers] = state[16 : 16 + len(self._fingers)]
        for name in ("table", "floor"):
            self._set_surface(self._geoms[name], getattr(appearance, name), 1.0)
        for name in self._geoms.keys() & {"peg", "cube", "goal"}:
            surface: Surface = getattr(appearance, name)
            geom = self._geoms[name]
            model.geom_matid[geom] = self._material(surface, self._object_materials)
            model.geom_rgba[geom, :3] = surface.colour
        self._set_surface(self._robot, appearance.robot, _ROBOT_REPEAT)
        tones = np.resize(appearance.robot_tones, len(self._robot))
        model.geom_rgba[self._robot, :3] = np.outer(tones, appearance.robot.colour)
        near, far, right, left = appearance.table_margins
        lower = self._table_lower + np.array([near, left])
        upper = self._table_upper - np.array([far, right])
        table = self._geoms["table"]
        model.geom_pos[table, :2] = (lower + upper) / 2
        model.geom_size[table, :2] = (upper - lower) / 2
        lighting = appearance.lighting
        model.light_dir[self._key], model.light_dir[self._fill] = (
            lighting.key_direction,
            lighting.fill_direction,
        )
        model.light_diffuse[self._key], model.light_diffuse[self._fill] = (
            lighting.key,
            lighting.fill,
        )
        model.light_ambient[self._key] = lighting.ambient
        mujoco.mj_kinematics(model, data)
        mujoco.mj_camlight(model, data)
        mujoco.mjv_updateScene(
            model,
            data,
            self._options,
            None,
            self._view,
            mujoco.mjtCatBit.mjCAT_ALL.value,
            self._scene,
        )

    def _material(self, surface: Surface, bank: NDArray[np.int_]) -> int:
        if surface.texture is None:
            return self._glossy if surface.glossy else self._plain
        return int(bank[surface.texture])

    def _set_surface(
        self, geoms: int | NDArray[np.int_], surface: Surface, repeat_factor: float
    ) -> None:
        material = self._material(surface, self._surface_materials)
        self._model.geom_matid[geoms] = material
        self._model.geom_rgba[geoms, :3] = surface.colour
        if surface.texture is not None:
            self._context.mat_texrepeat[2 * material : 2 * material + 2] = (
                surface.repeat * repeat_factor
            )

    def _draw(
        self, jitter: CameraJitter, window: tuple[int, int, int, int], width: int, height: int
    ) -> Image:
        """Renders `window` (left, top, width, height; full-frame pixels) at width x height."""
        if width > self._buffer[0] or height > self._buffer[1]:
            self._buffer = (max(width, self._buffer[0]), max(height, self._buffer[1]))
            mujoco.mjr_resizeOffscreen(*self._buffer, self._context)
            mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        self._aim(jitter, window)
        viewport = mujoco.MjrRect(0, 0, width, height)
        mujoco.mjr_render(viewport, self._scene, self._context)
        pixels = np.empty((height, width, 3), dtype=np.uint8)
        mujoco.mjr_readPixels(pixels, None, viewport, self._context)
        return np.ascontiguousarray(pixels[::-1])

    def _aim(self, jitter: CameraJitter, window: tuple[int, int, int, int]) -> None:
        """Points MuJoCo's GL camera through a window of the (disturbed) pinhole camera."""
        camera: CameraModel = self._camera
        turn = np.empty(9)
        quaternion = np.empty(4)
        vector = np.asarray(jitter.rotation, dtype=np.float64)
        angle = float(np.linalg.norm(vector))
        mujoco.mju_axisAngle2Quat(quaternion, vector / max(angle, 1e-12), angle)
        mujoco.mju_quat2Mat(turn, quaternion)
        rotation = self._camera_rotation @ turn.reshape(3, 3)
        position = np.asarray(camera.position) + self._camera_rotation @ jitter.translation
        left, top, width, height = window
        scale_x = _NEAR / (camera.fx * jitter.focal_scale)
        scale_y = _NEAR / (camera.fy * jitter.focal_scale)
        for view in self._scene.camera:
            view.pos[:] = position
            view.forward[:] = rotation[:, 2]
            view.up[:] = -rotation[:, 1]
            view.orthographic = 0
            view.frustum_near, view.frustum_far = _NEAR, _FAR
            view.frustum_center = (left + width / 2 - camera.cx) * scale_x
            view.frustum_width = width / 2 * scale_x
            view.frustum_top = (camera.cy - top) * scale_y
            view.frustum_bottom = (camera.cy - top - height) * scale_y


def _free(gl: Any, context: Any) -> None:
    gl.make_current()
    context.free()
    gl.free()


def _draw_last(spec: mujoco.MjSpec, names: tuple[str, ...]) -> None:
    """Moves geoms of the world into a last body, so that they are drawn last, in this order.

    What is hidden behind something drawn before is discarded by its depth and costs nothing: a
    quarter of the time of a picture.
    """
    surroundings = spec.worldbody.add_body(name="surroundings")
    for name in names:
        old = spec.geom(name)
        kind, position, size = old.type, old.pos.copy(), old.size.copy()
        spec.delete(old)
        surroundings.add_geom(
            name=name, type=kind, pos=position, size=size, contype=0, conaffinity=0
        )


def _build_render_model(card: TaskCard, sampler: AppearanceSampler) -> Any:
    """The scene with one material per texture, lights to be set per picture, and no extras."""
    spec = build_spec(card)
    _draw_last(spec, ("table", "floor"))
    for prefix, bank in (("surface", sampler.textures), ("object", sampler.object_textures)):
        edge = bank.pixels.shape[1]
        for index in range(len(bank)):
            name = f"{prefix}_{index}"
            spec.add_texture(
                name=name,
                type=mujoco.mjtTexture.mjTEXTURE_2D,
                width=edge,
                height=edge,
                nchannel=3,
                builtin=mujoco.mjtBuiltin.mjBUILTIN_FLAT,
            )
            material = spec.add_material(
                name=name, texuniform=True, texrepeat=(12, 12), specular=0.05, shininess=0.3
            )
            material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = name
    spec.add_material(name=_PLAIN, specular=0.0, shininess=0.1)
    spec.add_material(name=_GLOSSY, specular=0.3, shininess=0.6)
    spec.light("key_light").type = mujoco.mjtLightType.mjLIGHT_DIRECTIONAL
    spec.worldbody.add_light(
        name="fill", type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL, castshadow=False
    )
    for light in spec.lights:
        light.castshadow = False
        light.specular = (0.3, 0.3, 0.3)
        light.ambient = (0.0, 0.0, 0.0)
    spec.visual.headlight.active = 0
    spec.visual.quality.offsamples = 0
    spec.visual.quality.shadowsize = 0
    spec.visual.quality.numslices, spec.visual.quality.numstacks = 20, 6
    spec.visual.global_.offwidth = CROP_SIZE
    spec.visual.global_.offheight = CROP_SIZE
    model = spec.compile()
    # Written after compiling: a specification takes pixels as a list of numbers, which is slow.
    for prefix, bank in (("surface", sampler.textures), ("object", sampler.object_textures)):
        for index, pixels in enumerate(bank.pixels):
            start = int(model.texture(f"{prefix}_{index}").adr[0])
            model.tex_data[start : start + pixels.size] = pixels.reshape(-1)
    return model
