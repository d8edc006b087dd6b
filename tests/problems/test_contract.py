"""The contract of problems; a new file in `pliant.problems` is tested here without further code.

A problem is made with few environments, with what its module says in `SMALL`, and once with each of its backends.
"""

import dataclasses
import functools
import typing
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest
import trees

from pliant.core import registry
from pliant.core.problem import Continuous, Discrete, Environment, HostEnvironment, Stream, Timestep

MEMBERS, ENVIRONMENTS = 3, 2
SEEDS = (0, 1, 0)  # of the members: the last has the data of the first
STEPS = 1100  # of each environment, at the most: all have ended an episode by then
LEAST = 60  # steps that are played in any case
BATCHES, CUT = 8, 3  # of a stream, and where it is cut


class Case(NamedTuple):
    """One problem with one backend; `backend` is empty if it has no choice."""

    name: str
    backend: str

    def make(self) -> Stream | Environment | HostEnvironment:
        module = registry.find("problems", self.name)
        settings = {"num_envs": ENVIRONMENTS, "backend": self.backend, **getattr(module, "SMALL", {})}
        fields = {field.name for field in dataclasses.fields(module.Config)}
        return module.make(module.Config(**{k: v for k, v in settings.items() if k in fields}))


def cases():
    """Each problem with each of its backends, but for `auto`, which is one of the others."""
    for name in registry.names("problems"):
        hints = typing.get_type_hints(registry.find("problems", name).Config)
        backends = typing.get_args(hints["backend"]) if "backend" in hints else ("",)
        yield from (Case(name, backend) for backend in backends if backend != "auto")


made = functools.cache(Case.make)
ALL = list(cases())


def of(kind, having=None):
    """Runs a test for all problems of a kind, or those of them that have something."""
    chosen = [case for case in ALL if isinstance(made(case), kind) and (having is None or getattr(made(case), having))]
    return pytest.mark.parametrize("case", chosen, ids=lambda case: "-".join(filter(None, case)))


class Played(NamedTuple):
    """What a population met: its first observations, and the answers to all steps, on a leading axis."""

    first: np.ndarray
    answers: Timestep


def random_actions(problem: Environment | HostEnvironment) -> np.ndarray:
    """Actions of all steps; members of one seed take the same."""
    generator, space = np.random.default_rng(0), problem.spec.action
    shape = (STEPS, len(set(SEEDS)), problem.num_envs)
    if isinstance(space, Discrete):
        drawn = generator.integers(space.n, size=shape, dtype=np.int32)
    else:
        drawn = generator.uniform(-space.bound, space.bound, (*shape, space.size)).astype(np.float32)
    return drawn[:, list(SEEDS)]


@functools.cache
def played_on_device(case: Case) -> tuple[Played, Played]:
    """All members at once, and one after the other: in one program."""
    problem = made(case)

    def one(key, actions):
        state, first = problem.init(key)
        return Played(first, jax.lax.scan(problem.step, state, actions)[1])

    def both(keys, actions):
        return jax.vmap(one)(keys, actions), jax.lax.map(lambda pair: one(*pair), (keys, actions))

    actions = np.moveaxis(random_actions(problem), 0, 1)
    together, alone = trees.numpy(jax.jit(both)(trees.keys(SEEDS), actions))
    return tuple(Played(p.first, jax.tree.map(lambda x: np.moveaxis(x, 1, 0), p.answers)) for p in (together, alone))


def play(env: Any, actions: np.ndarray) -> Played:
    """Steps environments outside of the device, until each has begun another episode."""
    first, answers, ended = env.reset(), [], 0
    for action in actions:
        env.send(action)
        answers.append(env.receive())
        ended = ended + (answers[-1].terminated | answers[-1].truncated)
        if np.min(ended) and len(answers) > LEAST:
            break
    return Played(first, jax.tree.map(lambda *x: np.stack(x), *answers))


def seeds_of(*members: int) -> np.ndarray:
    """What the randomness of these members comes from, `(members, 2)` uint32."""
    return np.array([[7, SEEDS[member]] for member in members], np.uint32)


@functools.cache
def played_on_host(case: Case) -> Played:
    problem = made(case)
    env = problem.open(seeds_of(*range(MEMBERS)))
    found = play(env, random_actions(problem))
    env.close()
    return found


def of_members(found: Played, members: Any) -> Played:
    return Played(found.first[members], jax.tree.map(lambda x: x[:, members], found.answers))


def played(case: Case) -> Played:
    return played_on_host(case) if isinstance(made(case), HostEnvironment) else played_on_device(case)[0]


# --- Streams --------------------------------------------------------------------------------------------------------


@functools.cache
def drawn(case: Case):
    """Batches of all members: at once and cut, all members at once and one after the other: in one program."""
    problem = made(case)

    def one(data, key):
        state = problem.begin_epoch(data, problem.init(data, key), problem.calendar.clock(0))
        whole = problem.draw(data, state, BATCHES)[1]
        state, begin = problem.draw(data, state, CUT)
        return whole, (begin, problem.draw(data, state, BATCHES - CUT)[1])

    @jax.jit
    def program(data, keys):
        return jax.vmap(one, (None, 0))(data, keys), jax.lax.map(lambda key: one(data, key), keys)

    return trees.numpy(program(problem.data, trees.keys(SEEDS)))


@of(Stream)
def test_how_a_stream_is_cut_does_not_change_it(case):
    (whole, (begin, rest)), _ = drawn(case)
    trees.assert_equal(whole, jax.tree.map(lambda a, b: np.concatenate([a, b], 1), begin, rest))


@of(Stream)
def test_a_stream_has_the_data_of_its_seed(case):
    (together, _), (alone, _) = drawn(case)
    trees.assert_close(together, alone)
    one, other, same = (trees.at(together, member) for member in range(MEMBERS))
    assert trees.same(one, same) and trees.differs(one, other)
    assert trees.finite(together)


@of(Stream)
def test_a_stream_goes_on_from_each_state_with_one_program(case):
    problem = made(case)
    before = jax.eval_shape(problem.init, problem.data, trees.key(0))
    clock = problem.calendar.clock(0)
    begun = jax.eval_shape(problem.begin_epoch, problem.data, before, clock)
    after, _ = jax.eval_shape(lambda data, state: problem.draw(data, state, BATCHES), problem.data, before)
    for state in (begun, after):
        assert jax.tree.map(lambda x: (x.shape, x.dtype), before) == jax.tree.map(lambda x: (x.shape, x.dtype), state)


@of(Stream)
def test_the_network_of_a_stream_fits_its_batches(case):
    problem, batch = made(case), trees.at(drawn(case)[0][0], (0, 0))
    params = jax.eval_shape(problem.network.init, trees.key(0))
    outputs = jax.eval_shape(problem.network.apply, params, batch.x)
    judgement = jax.eval_shape(problem.judge, outputs, batch.y)
    assert problem.steps >= 1 and len(batch.x) == len(jax.tree.leaves(batch.y)[0]) == len(outputs)
    assert all(leaf.shape == () and leaf.dtype == np.float32 for leaf in jax.tree.leaves(judgement))


@of(Stream)
def test_the_tasks_of_a_stream_end_with_the_run(case):
    tasks, steps, calendar = made(case).tasks, made(case).steps, made(case).calendar
    if tasks:
        assert tasks[-1].until == steps and (calendar.ends > calendar.starts).all()
        assert ((calendar.ends - calendar.starts) % calendar.epochs == 0).all()


# --- Environments ---------------------------------------------------------------------------------------------------

acting = of(Environment | HostEnvironment)
on_device, on_host = of(Environment), of(HostEnvironment)


@acting
def test_shapes_and_types_are_as_the_spec_says(case):
    problem, (first, answers) = made(case), played(case)
    shape, dtype = problem.spec.observation.shape, problem.spec.observation.dtype
    E, T = problem.num_envs, len(answers.reward)
    assert (first.shape, first.dtype) == ((MEMBERS, E, *shape), dtype)
    for observation in (answers.observation, answers.final_observation):
        assert (observation.shape, observation.dtype) == ((T, MEMBERS, E, *shape), dtype)
    for array, dtype in [(answers.reward, np.float32), (answers.terminated, bool), (answers.truncated, bool)]:
        assert (array.shape, array.dtype) == ((T, MEMBERS, E), dtype)
    assert all(array.shape == (T, MEMBERS, E) for array in answers.info.values())
    assert trees.finite((first, answers))
    assert problem.steps >= 1
    action = problem.spec.action
    assert action.n >= 2 if isinstance(action, Discrete) else action.size >= 1 and action.bound > 0


@acting
def test_an_episode_terminates_or_is_truncated_but_never_both(case):
    _, answers = played(case)
    ended = answers.terminated | answers.truncated
    assert not (answers.terminated & answers.truncated).any()
    assert ended.any(0).all(), f"no end in {STEPS} steps: say in SMALL what makes episodes shorter"


@acting
def test_an_environment_begins_its_next_episode_by_itself(case):
    _, answers = played(case)
    ended = answers.terminated | answers.truncated
    goes_on = answers.observation == answers.final_observation
    goes_on = goes_on.all(tuple(range(3, goes_on.ndim)))
    assert goes_on[~ended].all()
    assert not goes_on[ended].all()  # a first observation may look like a last one, but not always


@acting
def test_the_time_limit_is_one_number(case):
    # Lengths of episodes: the differences between the steps at which an environment ended.
    _, answers = played(case)
    lengths, cut_short = [], set()
    for place in np.ndindex(answers.reward.shape[1:]):
        terminated, truncated = (ends[:, *place] for ends in (answers.terminated, answers.truncated))
        ends = np.flatnonzero(terminated | truncated)
        mine = np.diff(ends, prepend=-1)
        lengths.extend(mine)
        cut_short |= set(mine[truncated[ends]].tolist())
    assert len(cut_short) <= 1
    assert not cut_short or max(lengths) == min(cut_short)


@acting
def test_what_happens_is_a_matter_of_the_seed(case):
    one, other, same = (of_members(played(case), member) for member in range(MEMBERS))
    assert trees.same(one, same) and trees.differs(one.answers.observation, other.answers.observation)


@on_device
def test_members_at_once_are_members_one_after_the_other(case):
    together, alone = played_on_device(case)
    trees.assert_close(together, alone)


@of(Environment, having="render")
def test_what_is_seen_of_an_environment_is_a_picture_and_a_text(case):
    problem = made(case)
    scene = trees.numpy(jax.jit(lambda key: problem.render.scene(problem.init(key)[0]))(trees.key(0)))
    picture = problem.render.picture(scene)
    assert picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[-1] == 3
    assert isinstance(problem.render.text(scene), str)


@on_host
def test_a_member_does_not_depend_on_the_others(case):
    problem, together = made(case), of_members(played(case), slice(1, 2))
    env = problem.open(seeds_of(1))
    alone = play(env, random_actions(problem)[:LEAST, 1:2])
    env.close()
    trees.assert_equal(alone, together._replace(answers=jax.tree.map(lambda x: x[:LEAST], together.answers)))


@on_host
def test_what_is_saved_goes_on_with_other_episodes(case):
    problem, members = made(case), seeds_of(0, 1)
    actions = random_actions(problem)[:5, :2]
    env = problem.open(members)
    first = play(env, actions).first
    saved = env.save()
    assert saved and all(len(value) == len(members) for value in saved.values())
    assert trees.differs(env.reset(), first)  # neither do environments that go on repeat themselves
    env.close()
    resumed = []
    for _ in range(2):
        env = problem.open(members)
        env.restore(saved)
        assert trees.same(env.save(), saved)
        resumed.append(play(env, actions))
        env.close()
    assert trees.same(*resumed)
    assert trees.differs(resumed[0].first, first)


@on_host
def test_a_reset_gives_up_what_is_in_flight(case):
    problem = made(case)
    actions = random_actions(problem)[:5, :2]
    env = problem.open(seeds_of(0, 1))
    env.reset()
    env.send(actions[0])
    found = play(env, actions)  # begins with a reset
    assert found.first.shape[:2] == (2, problem.num_envs) and trees.finite(found)
    env.send(actions[0])
    env.close()  # so does closing


@of(Environment | HostEnvironment, having="tasks")
def test_tasks_are_in_order_and_end_with_the_run(case):
    ends = [task.until for task in made(case).tasks]
    assert ends == sorted(set(ends)) and ends[-1] == made(case).steps


@of(Environment | HostEnvironment, having="network")
def test_the_network_of_an_environment_fits_its_spec(case):
    problem = made(case)
    E, action = problem.num_envs, problem.spec.action
    observation = jax.ShapeDtypeStruct((E, *problem.spec.observation.shape), problem.spec.observation.dtype)
    params = jax.eval_shape(problem.network.init, trees.key(0))
    carry = jax.eval_shape(lambda: problem.network.initial_carry(E))
    (outputs, values), following = jax.eval_shape(problem.network.apply, params, observation, carry)
    assert values.shape == (E,)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), carry) == jax.tree.map(lambda x: (x.shape, x.dtype), following)
    if isinstance(action, Continuous):
        assert [x.shape for x in outputs] == [(E, action.size), (action.size,)]
    else:
        assert outputs.shape == (E, action.n)
