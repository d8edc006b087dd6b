"""Draws DoorKey: as a picture, and as text for a terminal."""

from typing import TypeAlias

import jax
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ._doorkey import CLOSED, LOCKED, OPEN, VIEW, State, observe, time_limit

Color: TypeAlias = tuple[int, int, int]

_CELL = 32  # pixels; the last row and the last column are a line between cells
_LINE, _FLOOR, _WALL, _GOAL = (48, 48, 48), (0, 0, 0), (110, 110, 110), (0, 170, 0)
_YELLOW, _DARK_YELLOW, _RED, _BLACK, _WHITE = (255, 220, 0), (130, 105, 0), (255, 40, 40), (0, 0, 0), (255, 255, 255)

_DOOR_GROUND = {OPEN: _FLOOR, CLOSED: _YELLOW, LOCKED: _DARK_YELLOW}
_DOOR_SIGN = {OPEN: ("▌ ", _YELLOW), CLOSED: ("  ", _BLACK), LOCKED: ("××", _BLACK)}

_ARROWS = "►▼◄▲"  # by the agent's direction
_AHEAD = np.array([(1, 0), (0, 1), (-1, 0), (0, -1)])  # by direction, in (x, y)
_TRIANGLE = np.array([(-10, -10), (11, 0), (-10, 10)])  # corners, in pixels ahead of the middle and to its right

_observe = jax.jit(observe)


def picture(state: State) -> np.ndarray:
    """Draws an environment. Cells in the agent's view are lighter; below are the time, and the key if it is carried.

    Args:
        state: NumPy's numbers.

    Returns:
        `(32 * (size + 1), 32 * size, 3)` uint8, RGB.
    """
    state = State(*map(int, state))
    size, seen = state.size, _seen(state)
    image = Image.new("RGB", (_CELL * size, _CELL * (size + 1)), _LINE)
    draw = ImageDraw.Draw(image)
    for x, y in np.ndindex(size, size):
        left, top = _CELL * x, _CELL * y
        draw.rectangle((left, top, left + _CELL - 2, top + _CELL - 2), _ground(state, x, y, seen))
    _draw_door(draw, _CELL * state.door_x, _CELL * state.door_y, state.door_state)
    middle = _CELL * np.array([state.x, state.y]) + _CELL // 2 - 1
    ahead, right = _AHEAD[state.direction], _AHEAD[(state.direction + 1) % 4]
    corners = middle + _TRIANGLE @ np.stack([ahead, right])
    draw.polygon([tuple(corner) for corner in corners.tolist()], _RED)

    draw.rectangle((0, _CELL * size, _CELL * size, _CELL * (size + 1)), _BLACK)
    draw.text((6, _CELL * size + 8), _time(state), _WHITE, ImageFont.load_default(14))
    key_x, key_y = (size - 1, size) if state.carrying else (state.key_x, state.key_y)
    _draw_key(draw, _CELL * key_x, _CELL * key_y)
    return np.asarray(image)


def text(state: State) -> str:
    """Draws an environment for a terminal, with rich's markup: a line for each row, two columns for each cell.

    Cells in the agent's view are lighter. A triangle is the agent, `o┬` the key. The closed door is a yellow cell, the
    locked door a darker cell with `××`, the open door a cell with a bar at its side. A green cell is the goal. The last
    line gives the time and the carried object.

    Args:
        state: NumPy's numbers.
    """
    state = State(*map(int, state))
    size, seen = state.size, _seen(state)

    def cell(x: int, y: int) -> str:
        sign, color = "  ", _BLACK
        if (x, y) == (state.x, state.y):
            sign, color = f"{_ARROWS[state.direction]} ", _RED
        elif (x, y) == (state.key_x, state.key_y):
            sign, color = "o┬", _YELLOW
        elif (x, y) == (state.door_x, state.door_y):
            sign, color = _DOOR_SIGN[state.door_state]
        ground = _ground(state, x, y, seen)
        return f"[{_hexadecimal(color)} on {_hexadecimal(ground)}]{sign}[/]"

    rows = ["".join(cell(x, y) for x in range(size)) for y in range(size)]
    carrying = "the key" if state.carrying else "nothing"
    return "\n".join([*rows, f"{_time(state)}, carrying {carrying}"])


def _seen(state: State) -> set[tuple[int, int]]:
    """The cells in the agent's view, with the agent's cell."""
    image = np.asarray(_observe(state))
    ahead, right = _AHEAD[state.direction], _AHEAD[(state.direction + 1) % 4]
    view = np.argwhere(image[..., 0] > 0)  # 0 stands for unseen cells only
    # In the view the agent is in the middle of the last row, and looks towards the first row.
    cells = np.array([state.x, state.y]) + (VIEW - 1 - view[:, 1:]) * ahead + (view[:, :1] - VIEW // 2) * right
    return set(map(tuple, cells.tolist()))


def _ground(state: State, x: int, y: int, seen: set[tuple[int, int]]) -> Color:
    last = state.size - 1
    if (x, y) == (state.door_x, state.door_y):
        color = _DOOR_GROUND[state.door_state]
    elif x in (0, state.door_x, last) or y in (0, last):
        color = _WALL
    else:
        color = _GOAL if (x, y) == (last - 1, last - 1) else _FLOOR
    # As in MiniGrid: three tenths of the way to white.
    return tuple(part + 3 * (255 - part) // 10 for part in color) if (x, y) in seen else color


def _draw_door(draw: ImageDraw.ImageDraw, left: int, top: int, door: int) -> None:
    if door == OPEN:
        draw.rectangle((left + 26, top, left + 30, top + 30), _YELLOW)
    elif door == CLOSED:
        draw.ellipse((left + 21, top + 12, left + 27, top + 18), _BLACK)
    else:  # a frame and a keyhole
        draw.rectangle((left, top, left + 30, top + 30), outline=_YELLOW, width=3)
        draw.ellipse((left + 11, top + 8, left + 19, top + 16), _BLACK)
        draw.rectangle((left + 13, top + 14, left + 17, top + 23), _BLACK)


def _draw_key(draw: ImageDraw.ImageDraw, left: int, top: int) -> None:
    draw.ellipse((left + 9, top + 3, left + 21, top + 15), outline=_YELLOW, width=4)
    draw.rectangle((left + 14, top + 15, left + 16, top + 27), _YELLOW)
    for tooth in (20, 25):
        draw.rectangle((left + 10, top + tooth, left + 13, top + tooth + 2), _YELLOW)


def _time(state: State) -> str:
    return f"step {state.t} of {time_limit(state.size)}"


def _hexadecimal(color: Color) -> str:
    return "#" + bytes(color).hex()
