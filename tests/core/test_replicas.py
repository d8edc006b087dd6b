"""Networks that several devices train together, each on a part of the batch."""

import functools

import hand_wired
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import trees

import pliant
from pliant.core import replicas

SIZES = (3, 6, 2)
WIRING = hand_wired.mlp(*SIZES)
X = trees.normal(1, 8, 3) * np.repeat([1, -2], 4)[:, None].astype(np.float32)  # other data on each device
Y = trees.normal(2, 8, 2)


def trained(axis_name, x, y, params):
    """The network after two steps on the data, of which each device sees a part."""
    tx = pliant.plastic(optax.sgd(0.1), pliant.redo(WIRING, 0.5, period=1), axis_name=axis_name)

    def average(tree):
        return tree if axis_name is None else jax.lax.pmean(tree, axis_name)

    def loss(params):
        y_hat, features = WIRING.apply(params, x)
        return average(jnp.mean((y_hat - y) ** 2)), features

    state = tx.init(params)
    for _ in range(2):
        grads, features = jax.grad(loss, has_aux=True)(params)
        updates, state = tx.update(average(grads), state, params, features=features)
        params = optax.apply_updates(params, updates)
    return params


@functools.cache
def alone():
    return trees.numpy(jax.jit(lambda params: trained(None, X, Y, params))(hand_wired.params(*SIZES)))


def step(x, y, params):
    return trained("devices", x, y, params)


def test_devices_that_see_parts_of_a_batch_learn_as_one_that_sees_it_all():
    # JAX itself refuses networks that differ between devices, where they are returned as one.
    mesh, P = jax.sharding.Mesh(jax.devices(), "devices"), jax.sharding.PartitionSpec
    spread = jax.shard_map(step, mesh=mesh, in_specs=(P("devices"), P("devices"), P()), out_specs=P())
    params = hand_wired.params(*SIZES)
    trees.assert_close(jax.jit(spread)(X, Y, params), alone())
    # More than the gradient changed it: a unit is fresh, with zero outgoing weights before the last gradient.
    assert trees.differs(alone(), params)


def test_features_that_differ_between_devices_are_refused_without_the_name_of_the_axis():
    def step(x, params):
        tx = pliant.plastic(optax.sgd(0.1), pliant.redo(WIRING))
        return tx.update(params, tx.init(params), params, features=WIRING.apply(params, x)[1])

    mesh, P = jax.sharding.Mesh(jax.devices(), "devices"), jax.sharding.PartitionSpec
    params = hand_wired.params(*SIZES)
    with pytest.raises(ValueError, match=r"^the features differ along the mesh axis 'devices'.* axis_name='devices'\)"):
        jax.eval_shape(jax.shard_map(step, mesh=mesh, in_specs=(P("devices"), P()), out_specs=P()), X, params)


def test_networks_that_differ_between_devices_may_have_features_that_differ():
    def check(x):
        replicas.require_axis_name({"h": x}, [np.ones(2), 2 * x])  # a leaf that differs is enough
        return x

    mesh, P = jax.sharding.Mesh(jax.devices(), "devices"), jax.sharding.PartitionSpec
    jax.eval_shape(jax.shard_map(check, mesh=mesh, in_specs=P("devices"), out_specs=P("devices")), X)


def test_networks_of_their_own_on_each_device_learn_as_members_of_a_population():
    # Each method acts at one of the two steps. Both branches are checked, and one alone depends on the network.
    methods = (
        pliant.every(2, pliant.redo(WIRING, 0.5, period=1)),
        pliant.until(1, pliant.l2_init(0.1)),
        pliant.neuroplastic_expansion(WIRING, period=2),
    )
    tx = pliant.plastic(optax.sgd(0.1), *methods)

    def step(x, params, state):
        def loss(params):
            y_hat, features = WIRING.apply(params, x)
            return jnp.mean(y_hat**2), features

        grads, features = jax.grad(loss, has_aux=True)(params)
        return tx.step(grads, state, params, features=features)

    def on_device(*parts):
        return jax.tree.map(lambda leaf: leaf[None], step(*jax.tree.map(lambda leaf: leaf[0], parts)))

    def twice(program):
        now, program = start, jax.jit(program)
        for _ in range(2):
            now = trees.numpy(program(X.reshape(2, 4, 3), *now))
        return now

    own = jax.tree.map(lambda leaf: np.stack([leaf, -leaf]), hand_wired.params(*SIZES))
    start = own, trees.numpy(jax.jit(jax.vmap(tx.init))(own))
    mesh, P = jax.sharding.Mesh(jax.devices(), "devices"), jax.sharding.PartitionSpec
    params, state = twice(jax.shard_map(on_device, mesh=mesh, in_specs=P("devices"), out_specs=P("devices")))
    trees.assert_close((params, state), twice(jax.vmap(step)))
    assert (pliant.replacements(state)["w0"] > 0).all() and state.after[-1].topology_steps.tolist() == [1, 1]


def test_copies_of_a_network_stay_equal_where_jax_does_not_check_it():
    spread = jax.pmap(step, axis_name="devices", in_axes=(0, 0, None))
    copies = trees.numpy(spread(X.reshape(2, 4, 3), Y.reshape(2, 4, 2), hand_wired.params(*SIZES)))
    trees.assert_equal(trees.at(copies, 0), trees.at(copies, 1))
    trees.assert_close(trees.at(copies, 0), alone())


@pytest.mark.parametrize("axis_name", [3, ("data", 1)])
def test_what_is_no_name_of_an_axis_is_refused(axis_name):
    with pytest.raises(TypeError, match=r"^axis_name=.*: write the name of a mapped axis, such as 'devices', or a"):
        replicas.require_names(axis_name)
