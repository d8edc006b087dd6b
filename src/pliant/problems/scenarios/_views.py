"""Draws the robots of the old engine from the side."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pliant.core.base import Array
from pliant.core.problem import Views

from ._brax import load

_WIDTH, _HEIGHT, _FLOOR = 480, 288, 256  # pixels
_SCALE = 100  # pixels a metre
_SKY, _GROUND, _MARK, _INK = (235, 240, 245), (170, 175, 180), (120, 125, 130), (20, 20, 20)
_NEAR, _FAR = np.array((225, 120, 60)), np.array((120, 60, 40))


class Shapes(NamedTuple):
    """The capsules of a robot."""

    body: np.ndarray  # (n,) index of the body that each belongs to
    ends: np.ndarray  # (n, 2, 3) centres of the two caps in the body's frame, m
    radius: np.ndarray  # (n,) m


class Scene(NamedTuple):
    pos: Array  # (bodies, 3) m
    rot: Array  # (bodies, 4)
    velocity: Array  # (3,) of the torso, m/s
    task: Array  # () index


def views(configs: Sequence[Any], names: Sequence[str]) -> Views:
    """How to draw the first environment.

    Args:
        configs: the engine's configuration of each task.
        names: of the tasks.
    """
    shapes = [shapes_of(config) for config in configs]

    def scene(state: Any) -> Scene:
        bodies = jax.tree.map(lambda x: x[0], state.bodies)
        return Scene(bodies.pos, bodies.rot, bodies.vel[0], state.task)

    def picture(scene: Scene) -> np.ndarray:
        task = int(scene.task)
        return _picture(scene, shapes[task], _caption(scene, names[task]))

    return Views(scene, picture, lambda scene: _caption(scene, names[int(scene.task)]))


def shapes_of(config: Any) -> Shapes:
    """The capsules of a robot in the engine's configuration; planes are left out."""
    math, array = load("math"), load("physics.base").vec_to_arr
    found = [
        (index, array(shape.position), math.euler_to_quat(array(shape.rotation)), shape.capsule)
        for index, body in enumerate(config.bodies)
        for shape in body.colliders
        if shape.HasField("capsule")
    ]
    ends = [
        [centre + end * (capsule.length / 2 - capsule.radius) * _rotated(np.eye(3)[2], rotation) for end in (-1, 1)]
        for _, centre, rotation, capsule in found
    ]
    return Shapes(np.array([f[0] for f in found]), np.array(ends), np.array([f[3].radius for f in found]))


def _rotated(vector: np.ndarray, quaternion: np.ndarray) -> np.ndarray:
    """Vectors `(..., 3)` rotated by quaternions `(..., 4)`."""
    real, imaginary = quaternion[..., :1], quaternion[..., 1:]
    twice = 2 * np.cross(imaginary, vector)
    return vector + real * twice + np.cross(imaginary, twice)


def _picture(scene: Scene, shapes: Shapes, caption: str) -> np.ndarray:
    """The side view `(288, 480, 3)` uint8; the camera stays beside the torso, and the floor has a mark each metre."""
    pos, rot = (np.asarray(x, float)[shapes.body, None] for x in (scene.pos, scene.rot))
    ends = pos + _rotated(shapes.ends, rot)  # (n, 2, 3)
    image = Image.new("RGB", (_WIDTH, _HEIGHT), _SKY)
    draw = ImageDraw.Draw(image)
    middle = float(scene.pos[0, 0])
    draw.rectangle((0, _FLOOR, _WIDTH, _HEIGHT), _GROUND)
    for metre in range(int(np.floor(middle)) - 3, int(np.ceil(middle)) + 4):
        x = _WIDTH / 2 + _SCALE * (metre - middle)
        draw.line((x, _FLOOR, x, _HEIGHT), _MARK, 2)
        draw.text((x + 4, _FLOOR + 12), str(metre), _MARK, ImageFont.load_default(12))
    # The camera is at the robot's right, where y is negative; a metre of depth spans the colours.
    nearness = np.clip(0.5 - (ends[..., 1].mean(1) - scene.pos[0, 1]), 0, 1)
    for shape in np.argsort(nearness, kind="stable"):
        color = tuple((_FAR + nearness[shape] * (_NEAR - _FAR)).astype(int).tolist())
        radius = _SCALE * shapes.radius[shape]
        points = [(_WIDTH / 2 + _SCALE * (x - middle), _FLOOR - _SCALE * z) for x, _, z in ends[shape]]
        draw.line(points, color, max(round(2 * radius), 1))
        for x, y in points:
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), color)
    draw.text((8, 8), caption, _INK, ImageFont.load_default(14))
    return np.asarray(image)


def _caption(scene: Scene, name: str) -> str:
    x, _, z = np.asarray(scene.pos, float)[0]
    return f"{name}: {x:.1f} m forward, {float(scene.velocity[0]):.1f} m/s, torso at {z:.2f} m"
