"""The edits of a task in the model file of a robot, which every package that simulates can load."""

import os
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Mapping
from typing import Any

import gymnasium.envs.mujoco
import mujoco

from pliant.problems.mujoco._gymnasium import quiet

from ._mujoco_robots import Part
from ._tasks import Change

_ASSETS = os.path.join(os.path.dirname(gymnasium.envs.mujoco.__file__), "assets")
_PLACED_BY = ("fromto", "axisangle")  # attributes of a geom that its position and quaternion replace


def edited(file: str, parts: Mapping[str, Part], change: Change) -> str:
    """The model of a task as MJCF text.

    Edits are made in the numbers of the compiled model, and all numbers that they may touch are written out: so masses
    do not follow from shapes, and do not have to add up to the total that the file asks for. What MuJoCo derives from
    these numbers, such as inverse weights, it computes when it compiles the text. Without a change the compiled text is
    the plain model, bit for bit.

    Args:
        file: name of the plain model among gymnasium's.
        parts: of the robot, by name.
        change: the task. The factor of the friction is squared: MuJoCo gives a contact the larger of two equal
            coefficients, the published engine their product.
    """
    path = os.path.join(_ASSETS, file)
    with quiet():
        model = mujoco.MjModel.from_xml_path(path)
    model.opt.gravity *= change.gravity
    model.geom_friction[:, 0] *= change.friction**2
    for name, factor in change.parts.items():
        part = parts[name]
        model.body_mass[[model.geom(shape).bodyid.item() for shape in part.bodies]] *= factor
        for shape in part.shapes:
            _scale_radius(model.geom(shape), factor)
    return _text(path, model)


def _scale_radius(geom: Any, factor: float) -> None:
    """Scales the radius of a sphere or capsule; the center of a sphere stays, and so do the tips of a capsule."""
    radius = geom.size[0]
    geom.size[0] *= factor
    if geom.type == mujoco.mjtGeom.mjGEOM_CAPSULE:
        geom.size[1] -= geom.size[0] - radius  # half the length of the cylinder, without the caps


def _text(path: str, model: mujoco.MjModel) -> str:
    """A model file with the numbers of a compiled model."""
    root = ElementTree.parse(path).getroot()
    compiler, option, world = (_only(root, tag) for tag in ("compiler", "option", "worldbody"))
    compiler.set("inertiafromgeom", "false")
    compiler.attrib.pop("settotalmass", None)
    option.set("gravity", _numbers(model.opt.gravity))
    for number, body in enumerate(world.iter("body"), 1):  # body 0 is the world
        inertial = {
            "mass": _numbers(model.body_mass[number : number + 1]),
            "pos": _numbers(model.body_ipos[number]),
            "quat": _numbers(model.body_iquat[number]),
            "diaginertia": _numbers(model.body_inertia[number]),
        }
        ElementTree.SubElement(body, "inertial", inertial)
    for element in world.iter("geom"):
        geom = model.geom(element.attrib["name"])
        for name in _PLACED_BY:
            element.attrib.pop(name, None)
        for name in ("pos", "quat", "size", "friction"):
            element.set(name, _numbers(getattr(geom, name)))
    return ElementTree.tostring(root, "unicode")


def _only(root: ElementTree.Element, tag: str) -> ElementTree.Element:
    (element,) = root.iterfind(tag)
    return element


def _numbers(values: Iterable[float]) -> str:
    """Numbers as text, from which the same numbers are read."""
    return " ".join(repr(float(value)) for value in values)
