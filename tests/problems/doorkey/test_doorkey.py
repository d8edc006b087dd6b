"""The rules of DoorKey, held against recorded transitions of MiniGrid and against the package itself."""

import pathlib

import jax
import numpy as np
import pytest
from minigrid.core.world_object import Key
from minigrid.envs import DoorKeyEnv
from scipy import stats

from pliant.problems.doorkey._doorkey import (
    ACTIONS,
    CLOSED,
    LOCKED,
    OPEN,
    WORDS,
    State,
    observe,
    reset,
    step,
    time_limit,
)

GOLDEN = np.load(pathlib.Path(__file__).parents[2] / "golden" / "doorkey_transitions.npz")
SIZES = (5, 6, 8, 16)
LEFT, RIGHT, FORWARD, PICK_UP, DROP, TOGGLE, DONE = range(ACTIONS)
BATCH = 1000


@jax.jit
@jax.vmap
def play(state, action):
    after, *rest = step(state, action)
    return after, observe(state), observe(after), *rest


def answer(states, actions):
    """What environments, `(n,)` each, do and show: state, images before and after, reward, terminated, truncated."""
    n, pieces = len(actions), []
    states, actions = jax.tree.map(lambda x: np.resize(x, (-(-n // BATCH) * BATCH,)), (states, actions))
    for first in range(0, n, BATCH):  # always of one length, so that it is compiled once
        pieces.append(play(*jax.tree.map(lambda x, i=first: x[i : i + BATCH], (states, actions))))
    return jax.tree.map(lambda *x: np.concatenate(x)[:n], *pieces)


def state_of(numbers, size):
    """Environments from `(n, 10)` numbers in the order of the fields, and `(n,)` sizes."""
    return State(*np.asarray(numbers, np.int32).T, np.asarray(size, np.int32))


def assert_same(recorded):
    """Puts each recorded state into our environment, steps once, and compares everything."""
    states = state_of(recorded["state_before"], recorded["size"])
    after, *images, reward, terminated, truncated = answer(states, recorded["action"].astype(np.int32))
    np.testing.assert_array_equal(np.stack(after[:-1], axis=1), recorded["state_after"])
    np.testing.assert_array_equal(after.size, recorded["size"])
    for image, name in zip(images, ("image_before", "image_after")):
        assert image.dtype == np.uint8
        np.testing.assert_array_equal(image, recorded[name])
    np.testing.assert_allclose(reward, recorded["reward"], rtol=0, atol=3e-8)
    np.testing.assert_array_equal(terminated, recorded["terminated"])
    # MiniGrid says both of who reaches the goal with the last step.
    np.testing.assert_array_equal(truncated, recorded["truncated"] & ~recorded["terminated"])


def test_recorded_transitions_of_minigrid():
    assert_same(GOLDEN)


class Played:
    """MiniGrid's environment, and its state as our numbers."""

    def __init__(self, size):
        self.environment = DoorKeyEnv(size=size)

    def reset(self, seed=None):
        image = self.environment.reset(seed=seed)[0]["image"]
        things = self.environment.grid.grid
        self.key = next(thing for thing in things if isinstance(thing, Key))
        self.door = next(thing for thing in things if thing is not None and thing.type == "door")
        return image

    def numbers(self):
        here = self.environment
        carrying = here.carrying is not None
        door = LOCKED if self.door.is_locked else OPEN if self.door.is_open else CLOSED
        key = (-1, -1) if carrying else self.key.cur_pos
        return *here.agent_pos, here.agent_dir, *key, *self.door.cur_pos, door, carrying, here.step_count


def plan(size, numbers):
    """An action that leads to the key, then through the door, and to the goal, unless something is in the way."""
    x, y, direction, key_x, key_y, door_x, door_y, door, carrying, _ = numbers
    if x < door_x and door == LOCKED and not carrying:
        (to_x, to_y), act, along_x = (key_x, key_y), PICK_UP, True
    elif x <= door_x:
        (to_x, to_y), act, along_x = (door_x + (x == door_x), door_y), FORWARD if door == OPEN else TOGGLE, False
    else:
        (to_x, to_y), act, along_x = (size - 2, size - 2), FORWARD, True
    if abs(to_x - x) + abs(to_y - y) > 1:
        act = FORWARD
    horizontal = to_x != x and (along_x or to_y == y)
    wanted = (0 if to_x > x else 2) if horizontal else (1 if to_y > y else 3)
    turn = (wanted - direction) % 4
    return act if turn == 0 else LEFT if turn == 3 else RIGHT


@pytest.fixture(scope="module")
def played():
    """Transitions of the package: planned episodes with random actions, and random ones; some with little time left."""
    random, rows = np.random.default_rng(0), []
    for size, steps in zip(SIZES, (2500, 2500, 3000, 3500)):
        game, episodes, ended = Played(size), 0, True
        for _ in range(steps):
            if ended:
                image = game.reset(seed=size if episodes == 0 else None)
                kind, episodes = episodes % 4, episodes + 1
                planned = 0 if kind == 0 else 0.65
                if kind in (0, 2):
                    game.environment.step_count = time_limit(size) - random.integers(1, 10 * size)
            if kind == 3 and tuple(game.environment.front_pos) == (size - 2, size - 2):
                game.environment.step_count = time_limit(size) - 1  # so that both ends may come at once
            before = game.numbers()
            action = plan(size, before) if random.random() < planned else random.integers(ACTIONS)
            seen, reward, terminated, truncated, _ = game.environment.step(action)
            rows.append((size, before, action, image, reward, terminated, truncated, game.numbers(), seen["image"]))
            image, ended = seen["image"], terminated or truncated
    names = ("size", "state_before", "action", "image_before", "reward", "terminated", "truncated")
    return dict(zip((*names, "state_after", "image_after"), map(np.array, zip(*rows))))


def test_transitions_of_the_package_itself(played):
    assert len(played["size"]) >= 10_000
    assert_same(played)


def test_what_was_played_has_everything_in_it(played):
    before, after = played["state_before"], played["state_after"]
    carrying, dropped = after[:, 8], before[:, 8] > after[:, 8]
    for size in SIZES:
        mine = played["size"] == size
        assert (played["terminated"] & mine).sum() >= 5 and (played["truncated"] & mine).any()
        assert set(played["action"][mine]) == set(range(ACTIONS))
        assert set(after[mine, 7]) == {OPEN, CLOSED, LOCKED}
        assert (dropped & mine).any() and (carrying[mine] == 1).any()
    assert (played["terminated"] & played["truncated"]).any()


# A room of 5x5: the wall is column 2, the door is in it at y = 1, the agent at (1, 1) looks at it with the key.
AT_THE_DOOR = (1, 1, 0, -1, -1, 2, 1, LOCKED, 1, 0)


@pytest.mark.parametrize(
    ("actions", "expected"),
    [
        # unlocked, the key kept; closed; opened; walked through
        ([TOGGLE], (1, 1, 0, -1, -1, 2, 1, OPEN, 1, 1)),
        ([TOGGLE, TOGGLE], (1, 1, 0, -1, -1, 2, 1, CLOSED, 1, 2)),
        ([TOGGLE, TOGGLE, FORWARD], (1, 1, 0, -1, -1, 2, 1, CLOSED, 1, 3)),
        ([TOGGLE, TOGGLE, TOGGLE, FORWARD], (2, 1, 0, -1, -1, 2, 1, OPEN, 1, 4)),
        # the key does not fall onto the door, open or not, nor into a wall, but into an empty cell; the agent cannot
        # enter it
        ([DROP], (1, 1, 0, -1, -1, 2, 1, LOCKED, 1, 1)),
        ([TOGGLE, DROP], (1, 1, 0, -1, -1, 2, 1, OPEN, 1, 2)),
        ([LEFT, DROP], (1, 1, 3, -1, -1, 2, 1, LOCKED, 1, 2)),
        ([RIGHT, DROP, FORWARD], (1, 1, 1, 1, 2, 2, 1, LOCKED, 0, 3)),
        ([RIGHT, DROP, PICK_UP], (1, 1, 1, -1, -1, 2, 1, LOCKED, 1, 3)),
        # without the key the door stays locked
        ([RIGHT, DROP, LEFT, TOGGLE], (1, 1, 0, 1, 2, 2, 1, LOCKED, 0, 4)),
        ([DONE, DONE], (1, 1, 0, -1, -1, 2, 1, LOCKED, 1, 2)),
    ],
)
def test_a_short_play(actions, expected):
    state = state_of([AT_THE_DOOR], [5])
    for action in actions:
        state, *_ = answer(state, np.array([action], np.int32))
    assert tuple(int(field[0]) for field in state[:-1]) == expected


@pytest.mark.parametrize("size", SIZES)
def test_time_and_reward_at_the_limit(size):
    # T = 10 n^2: 250, 360, 640, 2560. The agent is above the goal and looks at it. With its last step it gets
    # 1 - 0.9 = 0.1 and terminates; a step earlier 1 - 0.9 (T - 1) / T = 0.1 + 0.9 / T; who waits is cut short.
    T = 10 * size**2
    place = (size - 2, size - 3, 1, 1, 1, 2, 1, OPEN, 0)
    states = state_of([(*place, T - 1), (*place, T - 2), (*place, T - 1), (*place, T - 2)], [size] * 4)
    *_, reward, terminated, truncated = answer(states, np.array([FORWARD, FORWARD, DONE, DONE], np.int32))
    np.testing.assert_allclose(reward, [0.1, 0.1 + 0.9 / T, 0, 0], rtol=0, atol=3e-8)
    assert terminated.tolist() == [True, True, False, False]
    assert truncated.tolist() == [False, False, True, False]


def test_one_program_serves_all_sizes():
    traced = []

    @jax.jit
    def begin_and_step(bits, size):
        traced.append(size)
        state = reset(bits, size)
        return observe(step(state, np.int32(FORWARD))[0])

    for size in SIZES:
        assert begin_and_step(np.zeros(WORDS, np.uint32), np.int32(size)).shape == (7, 7, 3)
    assert len(traced) == 1


begin = jax.jit(jax.vmap(reset, (0, None)))


def layouts(size, count):
    """Our beginnings, `count` of them."""
    bits = np.random.default_rng(size).integers(2**32, size=(count, WORDS), dtype=np.uint32)
    return jax.tree.map(np.asarray, begin(bits, np.int32(size)))


def their_layouts(size, count):
    """Those of the package."""
    game, rows = Played(size), []
    for i in range(count):
        game.reset(seed=7 if i == 0 else None)
        rows.append(game.numbers())
    return State(*np.array(rows).T, np.full(count, size))


def likely(counts, probabilities):
    """Whether counts are such as these probabilities give, by a chi-square test."""
    possible = probabilities > 0
    assert probabilities.sum() == pytest.approx(1)
    assert counts[~possible].sum() == 0
    return stats.chisquare(counts[possible], counts.sum() * probabilities[possible]).pvalue > 1e-3


@pytest.mark.parametrize(
    ("beginnings", "size", "count"),
    [(layouts, 5, 300_000), (layouts, 6, 300_000), (layouts, 8, 300_000), (their_layouts, 5, 1500)],
)
def test_layouts_have_the_distribution_of_minigrid(beginnings, size, count):
    # For each of the n - 4 columns of the wall and n - 3 rows of the door: any of the c = (column - 1) (n - 2) cells
    # for the agent, any of 4 directions, any of the c - 1 other cells for the key.
    n, shape = size, (size, size, size, size, 4, size, size)
    probabilities = np.zeros(shape)
    for column in range(2, n - 2):
        c = (column - 1) * (n - 2)
        cells = [(x, y) for x in range(1, column) for y in range(1, n - 1)]
        for agent in cells:
            for key in cells:
                if agent != key:
                    probability = 1 / ((n - 4) * (n - 3) * c * 4 * (c - 1))
                    probabilities[(column, slice(1, n - 2), *agent, slice(None), *key)] = probability
    s = beginnings(size, count)
    places = np.ravel_multi_index((s.door_x, s.door_y, s.x, s.y, s.direction, s.key_x, s.key_y), shape)
    counts = np.bincount(places, minlength=probabilities.size)
    assert likely(counts, probabilities.reshape(-1))
    for field, value in ((s.door_state, LOCKED), (s.carrying, 0), (s.t, 0), (s.size, size)):
        assert (field == value).all()


@pytest.mark.parametrize(("beginnings", "count"), [(layouts, 300_000), (their_layouts, 1000)])
def test_layouts_of_16x16_have_the_marginals_of_minigrid(beginnings, count):
    # The wall is in one of 12 columns, the door in one of 13 rows. Under each wall the agent is in any of its 14
    # (column - 1) cells; the key, being in any but the agent's, has the same distribution.
    cells = np.zeros((16, 16))
    for column in range(2, 14):
        cells[1:column, 1:15] += 1 / 12 / (14 * (column - 1))
    s = beginnings(16, count)
    for field, values in ((s.door_x, range(2, 14)), (s.door_y, range(1, 14)), (s.direction, range(4))):
        probabilities = np.zeros(16)
        probabilities[values] = 1 / len(values)
        assert likely(np.bincount(field, minlength=16), probabilities)
    for x, y in ((s.x, s.y), (s.key_x, s.key_y)):
        assert likely(np.bincount(16 * x + y, minlength=256), cells.reshape(-1))
    # The wall and the door are drawn apart, as are the agent and where it looks.
    for a, b in ((s.door_x, s.door_y), (s.x + 16 * s.y, s.direction), (s.door_y, s.direction)):
        table = stats.contingency.crosstab(a, b).count
        assert stats.chi2_contingency(table).pvalue > 1e-3
