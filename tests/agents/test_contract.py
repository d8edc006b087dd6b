"""The contract of agents; a new file in `pliant.agents` is tested here without further code.

An agent learns with one piece of each kind that a method may consist of: a gradient piece, a surgery, and a topology,
in a tuple. They leave marks in the weights, so that one compiled program shows whether all of them acted.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import trees
from agents_at_work import ADVANCES, CALLS, NAMES, OF_STREAM, at_work

from pliant.core import registry
from pliant.core.base import Edit, Surgery, Topology
from pliant.core.timing import each_task
from pliant.core.units import leaves
from pliant.methods import head_reset
from pliant.surgery.resets import head

MARK = 0.5
IN_ENVIRONMENTS = [name for name in NAMES if registry.find("agents", name).LEARNS_FROM == "environment"]


def changed(tree, index, function):
    """The tree with one of its leaves changed."""
    leaves, structure = jax.tree.flatten(tree)
    leaves[index] = function(leaves[index])
    return structure.unflatten(leaves)


class Marking:
    """Makes a gradient piece that keeps the last leaf as it is, a surgery that sets the first to a half, and a topology
    without the second. They keep the signals of the last update.
    """

    def __init__(self):
        self.announced, self.networks = set(), {}

    def __call__(self, wiring, network, updates):
        leaves, _ = jax.tree_util.tree_flatten_with_path(jax.eval_shape(network.init, trees.key(0)))
        self.networks[tuple(wiring)] = [path for path, _ in leaves]
        self.announced.add(updates)

        def seen(*, clock, features, **signals):
            assert set(features) == set(wiring)
            return {"step": clock.update, "steps_before": clock.step}

        def nothing(params):
            return {"step": jnp.int32(0), "steps_before": jnp.int32(0)}

        def still(grads, state, params=None, **signals):
            return changed(grads, -1, jnp.zeros_like), seen(**signals)

        def mark(params, state, *, random, **signals):
            return Edit(changed(params, 0, lambda x: jnp.full_like(x, MARK))), seen(**signals)

        def without(params):
            return changed(params, 1, jnp.zeros_like)

        topology = Topology(
            lambda params: (),
            lambda params, state: without(params),
            lambda grads, params, state, *, random, features, **signals: (grads, False, state),
            lambda params, state, *, random, features, **signals: (Edit(without(params)), state),
        )
        return (optax.GradientTransformationExtraArgs(nothing, still), Surgery(nothing, mark)), topology


class Ran:
    """A member from its beginning to the end of its run, and the programs that brought it there."""

    def __init__(self, name):
        self.marking = Marking()
        self.made = at_work(name, self.marking)
        self.begin, self.advance = jax.jit(self.made.begin), jax.jit(self.made.advance)
        self.members, self.rounds = [self.begin(np.uint32(3))], []
        for number in range(ADVANCES):
            member, rounds = self.advance(self.members[-1], np.int32(number * CALLS))
            self.members.append(member)
            self.rounds.append(rounds)

    def signals(self, member):
        last = jax.tree.map(lambda x: x[-1], self.rounds[-1])
        return self.made.agent.signals(last.previous, member.agent, last.data)


@functools.cache
def run_of(name):
    return Ran(name)


@pytest.fixture(scope="module", params=NAMES)
def ran(request):
    return run_of(request.param)


def like(tree):
    return jax.tree.map(lambda x: (x.shape, x.dtype), tree)


def test_learning_is_compiled_once(ran):
    # However many calls were before, and whether the member is a new one or one that learned.
    assert ran.begin._cache_size() == ran.advance._cache_size() == 1
    for member in ran.members:
        assert like(member) == like(ran.members[0])


def test_whatever_is_learned_and_recorded_is_finite(ran):
    assert trees.finite([member.agent for member in ran.members])
    for rounds in ran.rounds:
        assert trees.finite(rounds.metrics) and rounds.metrics
        for name, values in rounds.metrics.items():
            assert values.shape == (CALLS,) and values.dtype == np.float32, name


def test_it_makes_as_many_updates_as_it_announces(ran):
    made = [int(last) for _, last in optax.tree.get_all_with_path(ran.members[-1].agent, "step")]
    assert {max(made)} == ran.marking.announced
    before = [int(last) for _, last in optax.tree.get_all_with_path(ran.members[-1].agent, "steps_before")]
    assert 0 < max(before) < ran.made.problem.steps


def test_each_kind_of_piece_acts_and_a_topology_does_from_the_beginning(ran):
    def params_of(*members):
        return [ran.signals(member)["params"] for member in members]

    begun, ended = (
        dict(jax.tree_util.tree_flatten_with_path(trees.numpy(params))[0])
        for params in jax.jit(params_of)(ran.members[0], ran.members[-1])
    )
    for first, second, *_, last in ran.marking.networks.values():
        assert (begun[first] != MARK).any() and (ended[first] == MARK).all()
        assert not begun[second].any() and not ended[second].any()
        np.testing.assert_array_equal(ended[last], begun[last])
    learned = set(begun) - {
        path for first, second, *_, last in ran.marking.networks.values() for path in (first, second, last)
    }
    assert any((begun[path] != ended[path]).any() for path in learned)


def test_a_member_is_all_that_a_run_goes_on_from(ran):
    # The member in the middle, put into NumPy's arrays and back as a checkpoint does, ends as the one that went on.
    def restored(x):
        is_key = jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key)
        return jax.random.wrap_key_data(np.asarray(jax.random.key_data(x))) if is_key else np.array(x)

    member, rounds = ran.advance(jax.tree.map(restored, ran.members[1]), np.int32(CALLS))
    assert trees.same(member, ran.members[2]) and trees.same(rounds, ran.rounds[1])


def test_a_population_learns_as_its_members_do_alone(ran):
    begun = [ran.members[0], ran.begin(np.uint32(4))]
    together, _ = jax.jit(lambda *members: jax.vmap(ran.made.advance, (0, None))(stack(*members), 0))(*begun)
    other, _ = ran.advance(begun[1], np.int32(0))
    for i, alone in enumerate((ran.members[1], other)):
        trees.assert_close(trees.at(together, i), alone, rtol=1e-3, atol=1e-4)
    assert trees.differs(other, ran.members[1])


def stack(*members):
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *members)


def test_signals_are_those_that_diagnostics_need(ran):
    signals = jax.eval_shape(ran.signals, ran.members[-1])
    assert set(signals) == {"params", "previous_params", "features", "grads", "method_state"}
    for name in ("previous_params", "grads"):
        assert like(signals[name]) == like(signals["params"])
    assert set(signals["features"]) == {name for names in ran.marking.networks for name in names}
    assert all(x.ndim == 2 for x in signals["features"].values())


# Tasks

TASKS = 4
ROWS = 4 * OF_STREAM * CALLS * ADVANCES  # more than there are updates


def resetting_heads(wiring, network, updates):
    """Sets the head to zero for each task, and keeps of each update its task, its number there, the largest weight of
    the head, and the largest gradient of the layers before it.
    """
    hidden = {slot.path for group in wiring.values() for slot in group.incoming}

    def largest(tree, paths):
        return jnp.stack([jnp.abs(leaves(tree)[path]).max() for path in sorted(paths)]).max()

    def keep(grads, state, params=None, *, clock, features, **signals):
        row = jnp.stack([clock.task, clock.task_update, largest(params, head(wiring)), largest(grads, hidden)])
        return grads, {"record": jnp.concatenate([state["record"][1:], row[None]])}

    keeper = optax.GradientTransformationExtraArgs(lambda params: {"record": jnp.zeros((ROWS, 4))}, keep)
    return each_task(head_reset(wiring, network.init)), keeper


@pytest.mark.parametrize("name", NAMES)
def test_a_method_can_act_before_the_first_update_of_each_task_and_only_there(name):
    made = at_work(name, resetting_heads, TASKS)

    def run(seed):
        # One after another by a loop: less to compile.
        member, _ = jax.lax.scan(
            lambda member, number: (made.advance(member, number * CALLS)[0], None),
            made.begin(seed),
            jnp.arange(ADVANCES, dtype=np.int32),
        )
        return [record for _, record in optax.tree.get_all_with_path(member.agent, "record")]

    # A seed of a stream whose targets after the borders are not 0, the prediction of a head of zeros.
    records = trees.numpy(jax.jit(run, compiler_options={"xla_backend_optimization_level": 0})(np.uint32(8)))
    assert records
    for record in records:
        task, number, weight, gradient = record[record[:, 1] > 0].T
        begins = np.diff(task, prepend=-1) > 0
        assert begins.sum() >= 2 and task[-1] == TASKS - 1
        np.testing.assert_array_equal(number == 1, begins)
        # Nothing flows through a head of zeros: it is reset before the gradient is taken.
        np.testing.assert_array_equal(weight == 0, begins)
        np.testing.assert_array_equal(gradient == 0, begins)


# In environments


def acting_in(ran, member):
    """What acting needs, but for the key."""
    return ran.made.agent.acting_params(member.agent), *member.acting


@pytest.mark.parametrize("name", IN_ENVIRONMENTS)
def test_actions_have_the_shapes_that_the_problem_takes(name):
    ran = run_of(name)
    agent, (_, carry, observation, _) = ran.made.agent, acting_in(ran, ran.members[-1])
    for greedy in (False, True):
        act = functools.partial(agent.act, greedy=greedy)
        after, action, extras = jax.eval_shape(
            lambda member, act=act: act(*acting_in(ran, member), trees.key(0)), ran.members[-1]
        )
        assert like(after) == like(carry) == like(jax.eval_shape(lambda: agent.initial_carry(2)))
        assert (action.shape, action.dtype) == ((2, ran.made.problem.spec.action.size), np.float32)
        assert all(x.shape[0] == len(observation) for x in jax.tree.leaves(extras))


@pytest.mark.parametrize("name", IN_ENVIRONMENTS)
def test_greedy_actions_do_not_depend_on_the_key_and_others_do(name):
    ran = run_of(name)

    def act(member, keys):
        return [
            jax.vmap(lambda key, greedy=greedy: ran.made.agent.act(*acting_in(ran, member), key, greedy=greedy)[1])(
                keys
            )
            for greedy in (False, True)
        ]

    sampled, greedy = trees.numpy(jax.jit(act)(ran.members[-1], trees.keys([0, 1])))
    assert (sampled[0] != sampled[1]).any()
    np.testing.assert_array_equal(greedy[0], greedy[1])
