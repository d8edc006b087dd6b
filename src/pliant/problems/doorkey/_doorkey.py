"""The rules of MiniGrid's DoorKey for one environment: pure functions of a few integers, which the caller maps.

A room of `size` x `size` cells with walls around it; x grows to the right, y downwards. A second wall, the column
`door_x`, splits it; in it is a locked door. On the left are the agent and the key, in the lower right corner is the
goal. There is no array of cells: the contents of a cell follow from its coordinates, so that all sizes share one
program and cost the same.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from pliant.core.base import Array

MISSION = "use the key to open the door and then get to the goal"
ACTIONS = 7  # turn left, turn right, forward, pick up, drop, toggle, done (which does nothing)
VIEW = 7  # columns of the agent's view, and rows, beginning with its own row
WORDS = 2  # random words for a layout
OPEN, CLOSED, LOCKED = range(3)

_OWN = VIEW // 2  # the agent's column in its view
_ALL = 2**VIEW - 1  # all columns of a row of the view, as bits
_UNSEEN, _EMPTY, _WALL, _DOOR, _KEY, _GOAL = range(6)  # three bits for each cell of a row
# MiniGrid's numbers of these objects and of their colours, the first in the lowest four bits: a shift looks them up
# faster than an array.
_OBJECTS, _COLOURS = 0x854210, 0x144500


class State(NamedTuple):
    x: Array  # () int32, as all fields: the agent's column, from 1
    y: Array  # its row, from 1
    direction: Array  # of the agent: right 0, down 1, left 2, up 3
    key_x: Array  # -1: the key is not on the grid
    key_y: Array
    door_x: Array  # also the column of the wall
    door_y: Array
    door_state: Array  # open 0, closed 1, locked 2
    carrying: Array  # the key 1, nothing 0
    t: Array  # steps of the episode so far
    size: Array  # cells along a side, walls included: at least 5


def time_limit(size: Array) -> Array:
    """Steps after which an episode is truncated."""
    return 10 * size**2


def reset(bits: Array, size: Array) -> State:
    """The first state of an episode, with MiniGrid's distribution.

    The wall is in a column from 2 to size - 3. The agent is in a cell to the left of the wall and looks in one of the
    four directions. The door is in a row from 1 to size - 3, so never in the last row. The key is in another cell to
    the left of the wall. All choices are uniform up to the remainders of 32 bits: the relative error of a probability
    is at most 1e-5.

    Args:
        bits: `(WORDS,)` uint32, random.
        size: `()` int32.
    """
    rows = size - 2
    wall, rest = _digit(bits[0], size - 4)
    row, rest = _digit(rest, size - 3)
    direction, _ = _digit(rest, jnp.int32(4))
    cells = (wall + 1) * rows
    agent, rest = _digit(bits[1], cells)
    key, _ = _digit(rest, cells - 1)
    key = key + (key >= agent)  # the agent's own cell is left out
    zero = jnp.zeros_like(size)
    return State(
        x=1 + agent // rows,
        y=1 + agent % rows,
        direction=direction,
        key_x=1 + key // rows,
        key_y=1 + key % rows,
        door_x=wall + 2,
        door_y=row + 1,
        door_state=zero + LOCKED,
        carrying=zero,
        t=zero,
        size=size,
    )


def step(state: State, action: Array) -> tuple[State, Array, Array, Array]:
    r"""The state after an action.

    The agent can enter empty cells, the open door and the goal. It carries at most the key, drops it only into an empty
    cell, and keeps it when it unlocks the door. It can then close and open the door. The episode ends when the agent
    reaches the goal; at step $t$ of $T$ the reward is $1 - 0.9\, t / T$. All other rewards are 0.

    Args:
        state: before the action.
        action: `()` from 0 to below `ACTIONS`.

    Returns:
        The state after the action, the reward `()` float32, and whether the episode terminated or was truncated.

    Differs from MiniGrid: an episode that reaches the goal at its last step terminates, and is not truncated as well.
    """
    dx, dy = _heading(state.direction)
    x, y, last = state.x + dx, state.y + dy, state.size - 1  # of the cell in front

    def holds(column: Array, row: Array) -> Array:
        return (x == column) & (y == row)

    key, door = holds(state.key_x, state.key_y), holds(state.door_x, state.door_y)
    goal = holds(last - 1, last - 1)
    wall = (x == 0) | (x == last) | (y == 0) | (y == last) | ((x == state.door_x) & ~door)
    empty = ~(wall | key | door | goal)

    turned = (state.direction + (action == 1) - (action == 0)) % 4
    moves = (action == 2) & (empty | goal | (door & (state.door_state == OPEN)))
    picks = (action == 3) & key  # there is one key: if it lies in front, it is not carried
    drops = (action == 4) & empty & (state.carrying == 1)
    toggles = (action == 5) & door
    unlocked = jnp.where(state.carrying == 1, OPEN, LOCKED)
    toggled = jnp.where(state.door_state == LOCKED, unlocked, CLOSED - state.door_state)

    t, T = state.t + 1, time_limit(state.size)
    after = state._replace(
        x=jnp.where(moves, x, state.x),
        y=jnp.where(moves, y, state.y),
        direction=turned,
        key_x=jnp.where(picks, -1, jnp.where(drops, x, state.key_x)),
        key_y=jnp.where(picks, -1, jnp.where(drops, y, state.key_y)),
        door_state=jnp.where(toggles, toggled, state.door_state),
        carrying=jnp.where(picks, 1, jnp.where(drops, 0, state.carrying)),
        t=t,
    )
    terminated = moves & goal
    # Both integers are exact in float32, so that the quotient is the nearest float32 to the reward.
    reward = (10 * T - 9 * t).astype(jnp.float32) / (10 * T).astype(jnp.float32)
    return after, jnp.where(terminated, reward, 0.0), terminated, (t >= T) & ~terminated


def observe(state: State) -> Array:
    """The observation: `(7, 7, 3)` uint8 `[view x, view y, channel]`, MiniGrid's `image`.

    The agent is at (3, 6) and looks towards smaller view y. The channels are the object (unseen 0, empty 1, wall 2,
    door 4, key 5, goal 8), its colour, and the door's state. The agent's cell shows the object that it carries. Walls
    and doors that are not open hide the cells behind them.
    """
    rows = jnp.stack(_rows(state)[::-1])[None]  # (1, 7): by view y
    view_x = jnp.arange(VIEW)[:, None]
    nibble = 4 * ((rows >> 3 * view_x) & 7)
    channels = [numbers >> nibble & 15 for numbers in (_OBJECTS, _COLOURS, state.door_state << 4 * _DOOR)]
    return jnp.stack(channels, axis=-1).astype(jnp.uint8)


def _rows(state: State) -> list[Array]:
    """The objects in each row of the view, `()` with three bits for each column, from the agent's row on.

    Each row is a separate number: XLA computes separate numbers several times as fast as one array.
    """
    last = state.size - 1
    to_wall = (last - state.x, last - state.y, state.x, state.y)  # from the agent to the right, down, left, up
    ahead, right, left = (_pick(to_wall, (state.direction + turn) % 4) for turn in (0, 1, 3))
    inside = _ALL & (_ALL << jnp.maximum(_OWN + 1 - left, 0)) & (_ALL >> jnp.maximum(_OWN + 1 - right, 0))

    door_row, door_column = _in_view(state, state.door_x, state.door_y)
    door_bit = jnp.where(_is_column(door_column), 1 << jnp.clip(door_column, 0, VIEW - 1), 0)
    across = state.direction % 2 == 0  # the wall with the door is a row of the view, not a column
    places = (
        (_DOOR, door_row, door_column),
        (_KEY, *_in_view(state, state.key_x, state.key_y)),  # off the grid it is behind the outer walls, out of sight
        (_GOAL, *_in_view(state, last - 1, last - 1)),
    )

    table, marked, rows = jnp.asarray(_SIGHT), jnp.int32(1 << _OWN), []
    for row in range(VIEW):
        beside = jnp.where(across, jnp.where(row == door_row, 0, inside), inside & ~door_bit)
        transparent = jnp.where(row < ahead, beside, 0)
        transparent |= jnp.where((row == door_row) & (state.door_state == OPEN), door_bit, 0)
        entry = table[marked << VIEW | transparent]
        seen, marked = entry & (2 ** (3 * VIEW) - 1), entry >> 3 * VIEW
        for thing, its_row, column in places:
            shift = 3 * jnp.clip(column, 0, VIEW - 1)
            there = seen >> shift & 7
            shows = (row == its_row) & _is_column(column) & (there != _UNSEEN)
            seen = jnp.where(shows, seen + (thing - there << shift), seen)
        rows.append(seen)
    held = jnp.where(state.carrying == 1, _KEY, _EMPTY)
    rows[0] = rows[0] & ~(7 << 3 * _OWN) | held << 3 * _OWN
    return rows


def _sight() -> np.ndarray:
    """The visible cells of a row, and those marked in the next row: `(2**14,)` int32.

    Indices are the marked cells of the row (7 bits) and the transparent ones (7 bits). Entries are, for each column
    from the lowest three bits on, `_UNSEEN`, `_EMPTY` (transparent) or `_WALL` (not), and above them the marked cells
    of the next row. A marked transparent cell marks its neighbours and the cells behind both, in sequence from left to
    right and then from right to left, as in MiniGrid.
    """
    table = np.empty((2**VIEW, 2**VIEW), np.int32)
    for index in np.ndindex(table.shape):
        marked, transparent = ([bits >> column & 1 for column in range(VIEW)] for bits in index)
        behind = [0] * VIEW
        to_the_right = [(column, column + 1) for column in range(VIEW - 1)]
        to_the_left = [(column, column - 1) for column in range(VIEW - 1, 0, -1)]
        for column, neighbour in to_the_right + to_the_left:
            if marked[column] and transparent[column]:
                marked[neighbour] = behind[neighbour] = behind[column] = 1
        cells = [mark * (_EMPTY if clear else _WALL) for mark, clear in zip(marked, transparent)]
        seen = sum(cell << 3 * column for column, cell in enumerate(cells))
        table[index] = seen | sum(mark << column for column, mark in enumerate(behind)) << 3 * VIEW
    return table.reshape(-1)


_SIGHT = _sight()


def _in_view(state: State, x: Array, y: Array) -> tuple[Array, Array]:
    """The row of a cell of the grid, counted ahead from the agent's row, and its column; also outside of the view."""
    dx, dy = _heading(state.direction)
    x, y = x - state.x, y - state.y
    return dx * x + dy * y, _OWN + dx * y - dy * x


def _is_column(column: Array) -> Array:
    return (column >= 0) & (column < VIEW)


def _heading(direction: Array) -> tuple[Array, Array]:
    return _pick((1, 0, -1, 0), direction), _pick((0, 1, 0, -1), direction)


def _pick(four: tuple, index: Array) -> Array:
    """One of four numbers, without an array in memory."""
    return jnp.where(index < 2, jnp.where(index == 0, *four[:2]), jnp.where(index == 2, *four[2:]))


def _digit(word: Array, base: Array) -> tuple[Array, Array]:
    """The last digit of a random word, int32 from 0 to below `base`, and the word without it."""
    base = base.astype(jnp.uint32)
    return (word % base).astype(jnp.int32), word // base
