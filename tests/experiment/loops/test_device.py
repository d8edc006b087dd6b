import jax
import numpy as np
import pytest
import toys
import trees

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


@pytest.mark.parametrize(("steps", "filled_up"), [(12, 12), (13, 24), (24, 24), (25, 36)])
def test_a_run_has_whole_rounds(steps, filled_up):
    components = parts_of(steps)
    its_plan = Plan(None, None, components.problem, DeviceLoop(), components)
    assert (its_plan.steps_at_once, its_plan.steps) == (12, filled_up)


def test_a_member_begins_with_keys_of_its_own_for_problem_and_agent():
    components = parts_of()

    @jax.jit
    def begun(seed):
        agent_key = jax.random.split(jax.random.split(jax.random.key(seed))[1])[0]
        keys = (toys.acting_key(seed), agent_key)
        return device_loop.begin(components, seed), components.problem.init(toys.problem_key(seed)), keys

    member, problem, keys = begun(7)
    carry, observation, is_first = member.episodes.seen
    trees.assert_equal((member.problem, observation), problem)
    trees.assert_equal((member.acting_key, member.agent.key), keys)
    trees.assert_equal((carry, is_first), (np.full(3, -5, np.int32), np.ones(3, bool)))
    assert member.diverged == -1


def test_stretches_may_be_cut_between_any_rounds(cut):
    [(whole, metrics, episodes)] = run(parts_of(), 24)
    [(_, *first), (member, *second)] = cut
    trees.assert_equal(member._replace(averages=None), whole._replace(averages=None))
    trees.assert_equal(episodes, jax.tree.map(lambda *pieces: np.concatenate(pieces), first[1], second[1]))
    assert episodes["ended"].shape == (8, 3) and np.sum(episodes["ended"]) >= 3
    for name, value in metrics.items():
        np.testing.assert_allclose(value, np.mean([first[0][name], second[0][name]]), rtol=1e-5)


def test_diagnostics_see_the_last_round_the_policy_of_it_and_the_agent_after_it(cut):
    def diagnostic(*, previous, now, transitions):
        return {"": {"previous": previous, "now": now, "transitions": transitions}}

    [(_, metrics, _)] = run(parts_of(diagnostics={"it": diagnostic, "none": lambda **signals: {}}), 24)
    assert set(metrics) == {("it", ""), ("reward", ""), ("rewards", ""), ("calls", "")}
    before, after = (member.agent for member, *_ in cut)
    trees.assert_equal(metrics["it", ""], {"previous": before.rewards, "now": after, "transitions": after.last})


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
    assert jax.jit(learning.first_not_finite)(Transitions(**arrays, **unread)) == expected


def test_whole_numbers_are_finite():
    seen = np.zeros((3, 2, 2, 2), np.uint8)
    unread = dict.fromkeys(("action", "extras", "terminated", "truncated"))
    transitions = Transitions(seen, reward=np.zeros((3, 2)), next_observation=seen, **unread)
    assert jax.jit(learning.first_not_finite)(transitions) == -1
