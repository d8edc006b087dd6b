"""What the tests of the agents with a replay share: arenas, random transitions, critics and Adam in NumPy."""

import environments
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import trees
from on_policy import QUICK, arena_of, in_float64, no_methods, numerical_gradient

from pliant.core.agent import Transitions
from pliant.core.problem import Continuous, Discrete
from pliant.experiment.configuration.components import Components
from pliant.experiment.loops import device as device_loop

INPUTS, ACTIONS, E = 2, 2, 2
NUMBERS = jax.ShapeDtypeStruct((2,), np.float32)  # of an observation, and of an action
ARENA = arena_of(Continuous(ACTIONS), E, inputs=INPUTS)


def compiled(function):
    return jax.jit(function, compiler_options=QUICK)


def some_transitions(extras_of, seed, T=1):
    """Random ones of two environments, in which episodes end in both ways.

    Args:
        extras_of: of `is_first`, `(T, E)`, and of a source of normal numbers, `shape -> (T, E, *shape)`.
        seed: of the random numbers.
        T: steps of each environment.
    """
    random = np.random.default_rng(seed)

    def normal(*shape):
        return random.normal(size=(T, E, *shape)).astype(np.float32)

    kind = random.choice(3, (T, E), p=[0.6, 0.2, 0.2])
    extras = extras_of(random.random((T, E)) < 0.4, normal)
    action, terminated, truncated = np.tanh(normal(ACTIONS)), kind == 1, kind == 2
    return Transitions(normal(INPUTS), action, extras, normal(), terminated, truncated, normal(INPUTS))


def merged(both):
    return both.actor | both.critics


def begun(agent):
    return compiled(agent.init)(trees.key(0))


def layers_of(params):
    return [params[f"Dense_{i}"] for i in range(sum(name.startswith("Dense") for name in params))]


def perceptron(params, x, activation):
    *hidden, last = layers_of(params)
    for layer in hidden:
        x = activation(x @ layer["kernel"] + layer["bias"])
    return x @ last["kernel"] + last["bias"]


def rectifier(x):
    return np.maximum(x, 0)


def critic(params, x, activities=None, activation=rectifier):
    *hidden, last = layers_of(params)
    for i, layer in enumerate(hidden):
        x = x @ layer["kernel"] + layer["bias"]
        if "LayerNorm" in params and i == len(hidden) - 1:
            x = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5)
            x = x * params["LayerNorm"]["scale"] + params["LayerNorm"]["bias"]
        x = activation(x)
        if activities is not None:
            activities.append(x > 0)
    return (x @ last["kernel"] + last["bias"])[:, 0]


class Adam:
    """Adam, with numerical gradients."""

    def __init__(self, learning_rate, config):
        self.m, self.v, self.t, self._learning_rate, self._config = 0.0, 0.0, 0, learning_rate, config

    def step(self, loss, params):
        """The parameters after a step down the loss, a function of them."""
        leaves, structure = jax.tree.flatten(params)
        ends = np.cumsum([np.size(leaf) for leaf in leaves])[:-1]
        w = np.concatenate([np.ravel(leaf) for leaf in leaves])

        def tree(w):
            return structure.unflatten([x.reshape(np.shape(leaf)) for x, leaf in zip(np.split(w, ends), leaves)])

        g, config = numerical_gradient(lambda w: loss(tree(w)), w), self._config
        self.t += 1
        self.m = config.b1 * self.m + (1 - config.b1) * g
        self.v = config.b2 * self.v + (1 - config.b2) * g**2
        root = np.sqrt(self.v / (1 - config.b2**self.t)) + config.eps
        return tree(w - self._learning_rate * self.m / (1 - config.b1**self.t) / root)


def refusals(name):
    """What an agent of this name refuses: settings, an environment, and a part of the message."""
    return [
        ({}, arena_of(Discrete(3)), f"{name} needs continuous actions, and this problem has 3 discrete ones"),
        ({}, ARENA._replace(network=object()), f"{name} makes its own networks, but this problem brings a network"),
        ({"n_step": 30}, ARENA, "buffer_size=40 is too small for returns of 30 steps"),
    ]


def assert_refuses_in_one_line(make, config, environment, message):
    with pytest.raises(ValueError) as error:
        make(config, environment, no_methods)
    assert message in str(error.value) and "; write " in str(error.value) and "\n" not in str(error.value)


def train(make, act, environment, config, *seen, steps, time_limit=2**30):
    """Of three seeds: the actions where a number is seen, and what the first critic says of them.

    Args:
        make: of the agent.
        act: `(params, x) -> actions` in NumPy, of all networks' params.
        environment: of one number and one action.
        config: of the agent.
        seen: the numbers.
        steps: of each environment.
        time_limit: of an episode.
    """
    environment = environments.auto_reset(environment, steps, num_envs=4, time_limit=time_limit)
    parts = Components(environment, make(config, environment, no_methods), {})

    def run(seed):
        return device_loop.advance(parts, device_loop.begin(parts, seed), jnp.int32(0), steps)[0]

    members = trees.numpy(compiled(lambda seeds: jax.lax.map(run, seeds))(np.arange(3)))
    assert (members.diverged == -1).all()
    x, answers = np.array(seen, float)[:, None], []
    for seed in range(3):
        params = in_float64(trees.at(merged(members.agent.learned.params), seed))
        action = act(params, x)
        answers.append((action, critic(params["critic_0"], np.concatenate([x, action], 1))[:, None]))
    return np.moveaxis(answers, 0, 1)[..., 0]
