"""DoorKey as people see it, from states of which what the agent sees is worked out by hand."""

import gymnasium
import numpy as np
import pytest

from pliant.problems.doorkey._doorkey import CLOSED, LOCKED, OPEN, State
from pliant.problems.doorkey._views import picture, text

UP, DOWN, LEFT, RIGHT = 3, 1, 2, 0

# Colours of cells, unseen and seen: the latter are 0.3 of the way to white, rounded down.
WALLS = (110, 110, 110), (153, 153, 153)
FLOORS = (0, 0, 0), (76, 76, 76)
GOALS = (0, 170, 0), (76, 195, 76)
LOCKED_DOORS = (130, 105, 0), (167, 150, 76)
CLOSED_DOORS = (255, 220, 0), (255, 230, 76)
RED, YELLOW, BLACK = (255, 40, 40), (255, 220, 0), (0, 0, 0)
IS_SEEN = {
    color: seen for pair in (WALLS, FLOORS, GOALS, LOCKED_DOORS, CLOSED_DOORS) for seen, color in enumerate(pair)
}


def state(x, y, direction, key, door_state, carrying=0, t=12):
    """Of 5x5, where the wall is at x = 2 and the door at y = 1."""
    return State(*map(np.int32, (x, y, direction, *key, 2, 1, door_state, carrying, t, 5)))


# Facing the locked door the agent sees its own column from wall to wall, as the key hides nothing, and the wall before
# it all along, but nothing behind that.
AT_LOCKED = state(1, 1, RIGHT, (1, 2), LOCKED)
# Through the open door it sees all that is beyond: everything but the wall behind its back.
AT_OPEN = state(1, 1, RIGHT, (-1, -1), OPEN, carrying=1, t=100)
# In the open door it sees the walls at its sides, but no further ones of that column, and all that is beyond.
IN_DOOR = state(2, 1, RIGHT, (-1, -1), OPEN, carrying=1)


def cells(*rows):
    """Rows of letters as the markup: what is seen is in capitals. `#` and `=` are a wall, `.` and `_` floor."""
    meaning = {
        "#": "[#000000 on #6e6e6e]  [/]",
        "=": "[#000000 on #999999]  [/]",
        ".": "[#000000 on #000000]  [/]",
        "_": "[#000000 on #4c4c4c]  [/]",
        "g": "[#000000 on #00aa00]  [/]",
        "G": "[#000000 on #4cc34c]  [/]",
        "A": "[#ff2828 on #4c4c4c]► [/]",
        "K": "[#ffdc00 on #4c4c4c]o┬[/]",
        "L": "[#000000 on #a7964c]××[/]",
        "O": "[#ffdc00 on #4c4c4c]▌ [/]",
    }
    return ["".join(map(meaning.get, row)) for row in rows]


@pytest.mark.parametrize(
    ("shown", "rows", "last"),
    [
        (AT_LOCKED, ("#==##", "#AL.#", "#K=.#", "#_=g#", "#==##"), "step 12 of 250, carrying nothing"),
        (AT_OPEN, ("#====", "#AO_=", "#_=_=", "#_=G=", "#===="), "step 100 of 250, carrying the key"),
        (IN_DOOR, ("##===", "#.A_=", "#.=_=", "#.#G=", "###=="), "step 12 of 250, carrying the key"),
    ],
)
def test_text(shown, rows, last):
    assert text(shown) == "\n".join([*cells(*rows), last])


def ground(image, x, y):
    return tuple(image[32 * y + 4, 32 * x + 4].tolist())


def centre(image, x, y):
    return tuple(image[32 * y + 16, 32 * x + 16].tolist())


def test_picture():
    image = picture(AT_LOCKED)
    assert image.shape == (6 * 32, 5 * 32, 3) and image.dtype == np.uint8
    expected = {
        (0, 0): WALLS[0],
        (1, 0): WALLS[1],
        (1, 1): RED,
        (1, 2): YELLOW,
        (1, 3): FLOORS[1],
        (2, 1): BLACK,  # the keyhole
        (2, 2): WALLS[1],
        (3, 1): FLOORS[0],
        (3, 3): GOALS[0],
        (4, 4): WALLS[0],
    }
    assert {cell: centre(image, *cell) for cell in expected} == expected
    assert (ground(image, 1, 1), ground(image, 1, 2), ground(image, 2, 1)) == (FLOORS[1], FLOORS[1], LOCKED_DOORS[1])
    np.testing.assert_array_equal(picture(AT_LOCKED), image)


def test_picture_of_doors_and_of_what_is_carried():
    closed, opened, passing = picture(AT_OPEN._replace(door_state=np.int32(CLOSED))), picture(AT_OPEN), picture(IN_DOOR)
    assert (centre(closed, 2, 1), ground(closed, 2, 1)) == (CLOSED_DOORS[1], CLOSED_DOORS[1])
    assert (centre(opened, 2, 1), ground(opened, 2, 1)) == (FLOORS[1], FLOORS[1])
    assert (centre(passing, 2, 1), ground(passing, 2, 1)) == (RED, FLOORS[1])
    for image in (opened, passing):
        assert tuple(image[32 + 16, 2 * 32 + 28].tolist()) == YELLOW  # the leaf
        assert centre(image, 1, 2) in FLOORS  # no key there
        assert centre(image, 4, 5) == YELLOW  # but in the strip below
    assert centre(picture(AT_LOCKED), 4, 5) == BLACK


def test_picture_shows_the_time():
    strip = picture(AT_LOCKED)[5 * 32 :]
    assert (strip == 255).all(-1).any()
    for number in (13, 21):
        later = picture(AT_LOCKED._replace(t=np.int32(number)))
        assert (later[5 * 32 :] != strip).any()
        np.testing.assert_array_equal(later[: 5 * 32], picture(AT_LOCKED)[: 5 * 32])


@pytest.mark.parametrize(
    ("direction", "arrow", "ahead"),
    [(RIGHT, "►", (1, 0)), (DOWN, "▼", (0, 1)), (LEFT, "◄", (-1, 0)), (UP, "▲", (0, -1))],
)
def test_where_the_agent_faces(direction, arrow, ahead):
    shown = AT_LOCKED._replace(direction=np.int32(direction))
    assert f"[#ff2828 on #4c4c4c]{arrow} [/]" in text(shown).splitlines()[1]
    y, x = np.nonzero((picture(shown)[32:64, 32:64] == RED).all(-1))
    # Ahead the triangle comes to a point; behind it is wide.
    forward = (x - 15) * ahead[0] + (y - 15) * ahead[1]
    aside = (x - 15) * ahead[1] + (y - 15) * ahead[0]
    assert forward.min() == -10 and forward.max() == 11
    assert set(aside[forward == 11]) == {0} and set(aside[forward == -10]) == set(range(-10, 11))


@pytest.mark.parametrize("size", [5, 6, 8, 16])
def test_the_cells_that_the_agent_sees_are_those_that_minigrid_highlights(size):
    environment = gymnasium.make(f"minigrid:MiniGrid-DoorKey-{size}x{size}-v0", disable_env_checker=True).unwrapped
    rng = np.random.default_rng(size)
    for number in range(15):
        environment.reset(seed=number)
        contents = {where: environment.grid.get(*where) for where in np.ndindex(size, size)}
        places = {cell.type: where for where, cell in contents.items() if cell}
        door, door_state = contents[places["door"]], number % 3
        door.is_open, door.is_locked = door_state == OPEN, door_state == LOCKED
        agent = rng.choice([where for where, cell in contents.items() if not cell or cell.can_overlap()])
        direction = rng.integers(4)
        environment.agent_pos, environment.agent_dir = agent, direction

        theirs = environment.get_frame(True, 8) != environment.get_frame(False, 8)  # 8 pixels a cell
        theirs = theirs.reshape(size, 8, size, 8, 3).any((1, 3, 4))
        shown = (*agent, direction, *places["key"], *places["door"], door_state, 0, 0, size)
        image = picture(State(*map(np.int32, shown)))
        ours = [[IS_SEEN[ground(image, x, y)] for x in range(size)] for y in range(size)]
        np.testing.assert_array_equal(np.array(ours, bool), theirs)
