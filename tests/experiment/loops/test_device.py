import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toys

from pliant.core.agent import Transitions
from pliant.experiment.configuration.components import Components
from pliant.experiment.loops import device as device_loop
from pliant.experiment.loops import learning
from pliant.experiment.loops.device import DeviceLoop
from pliant.experiment.loops.plan import Plan

pytestmark = pytest.mark.usefixtures("toy_parts")


def parts_of(steps=24, pull=0.5, diagnostics=None):
    """A watcher among drifting environments: three of them, rounds of 4 times."""
    environment = toys.drift(toys.Drift(steps, num_envs=3, time_limit=5))
    return Components(environment, toys.watcher(toys.Watcher(4, pull), environment, None), diagnostics or {})


def run(components, *stretches):
    """What there is after each stretch: the member, and the metrics and the episodes of the stretch."""
    member, step, results = jax.jit(lambda seed: device_loop.begin(components, seed))(0), 0, []
    advance = jax.jit(
        lambda member, step, steps: device_loop.advance(components, member, step, steps), static_argnums=2
    )
    for steps in stretches:
        results.append(advance(member, np.int32(step), steps))
        member, step = results[-1][0], step + steps
    assert advance._cache_size() == len(set(stretches))  # compiled once for each length
    return results


@pytest.fixture(scope="module")
def cut(toy_parts):
    """A run of two stretches."""
    return run(parts_of(), 12, 12)


def assert_same(a, b):
    jax.tree.map(np.testing.assert_array_equal, *(jax.tree.map(plain, tree) for tree in (a, b)))


def plain(x):
    return jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x


@pytest.mark.parametrize(("steps", "filled_up"), [(12, 12), (13, 24), (24, 24), (25, 36)])
def test_a_run_has_whole_rounds(steps, filled_up):
    components = parts_of(steps)
    its_plan = Plan(None, None, components.problem, DeviceLoop(), components)
    assert (its_plan.steps_at_once, its_plan.steps) == (12, filled_up)


def test_a_member_begins_with_keys_of_its_own_for_problem_and_agent():
    components = parts_of()
    member = device_loop.begin(components, 7)
    assert_same(member.problem, components.problem.init(toys.problem_key(7))[0])
    assert_same(member.episodes.seen.observation, components.problem.init(toys.problem_key(7))[1])
    assert_same(member.acting_key, toys.acting_key(7))
    assert_same(member.agent.key, jax.random.split(jax.random.split(jax.random.key(7))[1])[0])
    carry, _, is_first = member.episodes.seen
    assert_same((carry, is_first), (np.full(3, -5, np.int32), np.ones(3, bool)))
    assert member.diverged == -1


def test_stretches_may_be_cut_between_any_rounds(cut):
    [(whole, metrics, episodes)] = run(parts_of(), 24)
    [(_, *first), (member, *second)] = cut
    assert_same(member._replace(averages=None), whole._replace(averages=None))
    assert_same(episodes, jax.tree.map(lambda *pieces: jnp.concatenate(pieces), first[1], second[1]))
    assert episodes["ended"].shape == (8, 3) and episodes["ended"].sum() >= 3
    for name, value in metrics.items():
        np.testing.assert_allclose(value, (first[0][name] + second[0][name]) / 2, rtol=1e-5)


def test_diagnostics_see_the_last_round_the_policy_of_it_and_the_agent_after_it(cut):
    def diagnostic(*, previous, now, transitions):
        return {"": {"previous": previous, "now": now, "transitions": transitions}}

    [(_, metrics, _)] = run(parts_of(diagnostics={"it": diagnostic, "none": lambda **signals: {}}), 24)
    assert set(metrics) == {("it", ""), ("reward", ""), ("rewards", ""), ("calls", "")}
    before, after = (member.agent for member, *_ in cut)
    assert_same(metrics["it", ""], {"previous": before.rewards, "now": after, "transitions": after.last})


@pytest.mark.parametrize(
    ("bad", "expected"),
    [
        ({}, -1),
        ({"reward": (0, 0)}, 0),
        ({"reward": (1, 1)}, 3),  # of 3 times and 2 environments
        ({"observation": (2, 0, 1, 1), "reward": (2, 1)}, 4),
        ({"next_observation": (0, 1, 0, 1), "observation": (1, 1, 0, 1)}, 1),
    ],
)
@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_the_first_step_that_is_not_finite(bad, expected, number):
    images = np.zeros((3, 2, 2, 2))
    arrays = {"observation": images, "next_observation": images.copy(), "reward": np.zeros((3, 2))}
    for name, where in bad.items():
        arrays[name][where] = number
    unread = dict.fromkeys(("action", "extras", "terminated", "truncated"))
    assert learning.first_not_finite(Transitions(**arrays, **unread)) == expected


def test_whole_numbers_are_finite():
    seen = np.zeros((3, 2, 2, 2), np.uint8)
    unread = dict.fromkeys(("action", "extras", "terminated", "truncated"))
    assert learning.first_not_finite(Transitions(seen, reward=np.zeros((3, 2)), next_observation=seen, **unread)) == -1
