"""The acting program in NumPy does what the compiled one does, and says what it does not know."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import trees

from pliant.agents import ppo
from pliant.core.problem import Continuous, Discrete, Environment, Spec
from pliant.experiment.loops.acting import ActingInput
from pliant.experiment.loops.host.numpy_act import NotInNumPyError, NumPyAct

MEMBERS, ENVS = 2, 3


def of_members(act):
    """`act(params, key, seen, t)` for all members, as the loop asks for it."""
    return jax.vmap(
        lambda params, key, seen, values, t: act(params, jax.random.fold_in(key, t), seen), (0, 0, 0, 0, None)
    )


def both(act, params, seen, times=(0, 5)):
    """Carry and action of the compiled program and of NumPy at some times, as flat lists."""
    keys = jax.random.split(trees.key(1), MEMBERS)
    program = of_members(act)
    in_numpy = NumPyAct(program, jax.eval_shape(lambda: (params, keys, seen, {}, jnp.int32(0))), MEMBERS)
    drawn = [np.asarray(numbers) for numbers in in_numpy.draw(keys, np.int32(0), 6)]
    of_round = in_numpy.of_round(params, {})
    compiled = jax.jit(lambda t: program(params, keys, seen, {}, t)[:2])
    for t in times:
        yield trees.numpy(compiled(np.int32(t))), of_round(seen, [numbers[t] for numbers in drawn])


@pytest.mark.parametrize("action", [Continuous(2, 1.0), Discrete(4)], ids=["continuous", "discrete"])
@pytest.mark.compilations(9)  # for each member the agent's state, and both programs
def test_ppo_acts_alike(action):
    spec = Spec(jax.ShapeDtypeStruct((5,), jnp.float32), action)
    agent = ppo.make(
        ppo.Config(horizon=8, minibatches=2, hidden_units=16, activation="tanh"),
        Environment(spec, ENVS, 100, None, None),
        lambda wiring, network, updates: (),
    )
    params = jax.jit(jax.vmap(lambda key: agent.acting_params(agent.init(key))))(
        jax.random.split(trees.key(0), MEMBERS)
    )
    numbers = np.random.default_rng(0).normal(size=(MEMBERS, ENVS, 5)).astype(np.float32)
    seen = ActingInput((), numbers, np.zeros((MEMBERS, ENVS), bool))
    found = list(both(lambda params, key, seen: agent.act(params, *seen, key), params, seen))
    for (_, compiled), (_, action) in found:
        assert action.dtype == compiled.dtype
        np.testing.assert_allclose(action, compiled, atol=1e-6)
    assert not np.array_equal(found[0][1][1], found[1][1][1])  # other times, other noise


def test_a_carry_is_restarted_and_handed_on():
    def act(params, key, seen):
        carry = jnp.where(seen.is_first[:, None], 0.0, seen.carry)
        carry = jax.nn.relu(carry @ params["w"] + seen.observation)
        return carry, jnp.argmax(carry + jax.random.gumbel(key, carry.shape), -1), carry.sum()

    random = np.random.default_rng(0)
    params = {"w": random.normal(size=(MEMBERS, 4, 4)).astype(np.float32)}
    carry, observation = random.normal(size=(2, MEMBERS, ENVS, 4)).astype(np.float32)
    seen = ActingInput(carry, observation, np.array([[True, False, False], [False, True, False]]))
    for compiled, found in both(act, params, seen):
        np.testing.assert_allclose(found[0], compiled[0], atol=1e-6)
        np.testing.assert_array_equal(found[1], compiled[1])


def test_a_number_that_is_not_finite_is_no_warning():
    seen = ActingInput((), np.full((MEMBERS, ENVS, 1), np.inf, np.float32), np.zeros((MEMBERS, ENVS), bool))
    for compiled, found in both(lambda params, key, seen: ((), seen.observation * 0, ()), {}, seen, times=(0,)):
        np.testing.assert_array_equal(found[1], compiled[1])


@pytest.mark.parametrize(
    ("act", "reason"),
    [
        (lambda params, key, seen: ((), jnp.sort(seen.observation, -1), ()), "^sort$"),
        (lambda params, key, seen: ((), seen.observation @ params["w"], ()), "^3,072,000 multiplications a step$"),
        (
            lambda params, key, seen: (
                (),
                jax.random.uniform(jax.random.fold_in(key, seen.is_first.sum()), (ENVS,)),
                (),
            ),
            "^random",
        ),
    ],
)
def test_what_it_does_not_do(act, reason):
    shapes = {"w": jax.ShapeDtypeStruct((MEMBERS, 1000, 1024), jnp.float32)}
    seen = ActingInput(
        (), jax.ShapeDtypeStruct((MEMBERS, ENVS, 1000), jnp.float32), jax.ShapeDtypeStruct((MEMBERS, ENVS), bool)
    )
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), MEMBERS))
    with pytest.raises(NotInNumPyError, match=reason):
        NumPyAct(of_members(act), (shapes, keys, seen, {}, jax.ShapeDtypeStruct((), np.int32)), MEMBERS)
