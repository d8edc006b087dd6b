"""What continual methods are for: on two tasks of permuted digits the first is known better after the second."""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pliant.agents import sgd
from pliant.core import registry
from pliant.problems.images import permuted_mnist

CONFIG = permuted_mnist.Config(
    data="digits", tasks=2, change_every=4000, batch_size=16, hidden_units=32, hidden_layers=1
)
STREAM = permuted_mnist.make(CONFIG)
STEPS = CONFIG.change_every // CONFIG.batch_size
SETTINGS = {
    "l2_anchor": {"strength": 0.03},
    "ewc": {"strength": 2.0, "samples": 128},
    "mas": {"strength": 0.01, "samples": 128},
    "si": {"strength": 0.5},
    "a_gem": {"capacity": 256, "batch_size": 64},
    "lwf": {"strength": 0.3},
    "replay": {"strength": 1.0, "capacity": 256, "batch_size": 32},
}


def no_methods(wiring, network, updates):
    del wiring, network, updates
    return ()


@functools.cache
def accuracies(name):
    """`(seeds, task of the network, task of the images)`: of the network after each of the two tasks, on each."""

    def continual_for(**context):
        method = registry.find("continual", name)
        known = context | {"tasks": STREAM.tasks} | SETTINGS.get(name, {})
        return method(**{key: value for key, value in known.items() if key in inspect.signature(method).parameters})

    learner = sgd.make(sgd.Config(learning_rate=0.1), STREAM, no_methods, continual_for)

    def run(seed, data):
        problem_key, agent_key = jax.random.split(jax.random.key(seed))
        problem, state, pixels, networks = STREAM.init(data, problem_key), learner.init(agent_key), [], []
        for task in range(2):
            clock = STREAM.calendar.clock(task * STEPS)
            problem = STREAM.begin_epoch(data, problem, clock)
            pixels.append(problem.pixels)
            problem, batches = STREAM.draw(data, problem, STEPS)
            state, _ = learner.learn(state, batches, clock)
            state = learner.end_task(state, STREAM.calendar.clock((task + 1) * STEPS - 1))
            networks.append(state)

        def accuracy(state, pixels):
            predicted = learner.predict(state, data.x[:, pixels].astype(jnp.float32) / 255).argmax(-1)
            return (predicted == data.y).mean()

        return jnp.stack([jnp.stack([accuracy(state, images) for images in pixels]) for state in networks])

    return np.asarray(jax.jit(jax.vmap(run, (0, None)))(np.arange(2), STREAM.data))


def test_fine_tuning_learns_both_tasks_and_forgets_the_first():
    found = accuracies("fine_tuning")
    assert (found[:, 0, 0] > 0.9).all() and (found[:, 1, 1] > 0.9).all()
    assert (found[:, 1, 0] < found[:, 0, 0] - 0.15).all()


@pytest.mark.parametrize("name", SETTINGS)
def test_a_method_remembers_the_first_task_and_learns_the_second(name):
    found, fine_tuned = accuracies(name), accuracies("fine_tuning")
    np.testing.assert_allclose(found[:, 0], fine_tuned[:, 0], atol=1e-6)  # the first task is learned as without
    assert (found[:, 1, 0] > fine_tuned[:, 1, 0] + 0.05).all()
    assert (found[:, 1, 1] > 0.85).all()


def test_from_scratch_remembers_and_transfers_nothing():
    found = accuracies("from_scratch")
    assert (found[:, 1, 0] < 0.3).all() and (found[:, 1, 1] > 0.9).all()
