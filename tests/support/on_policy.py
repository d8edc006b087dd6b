"""The agents that learn from their latest steps once more: in NumPy and float64, with numerical gradients.

Also what their tests share beside it: arenas that are not acted in, a network that remembers, random transitions, and
training where the answers are known.
"""

import functools
from collections.abc import Callable
from typing import Any

import environments
import jax
import jax.numpy as jnp
import numpy as np
import trees

from pliant.agents._on_policy import Extras
from pliant.core.agent import Transitions
from pliant.core.problem import ActorCritic, Continuous, Discrete, Environment, Spec
from pliant.experiment.configuration.components import Components
from pliant.experiment.loops import device as device_loop
from pliant.networks import actor_critic

INPUTS, T, E = 2, 4, 3
ACTIONS = {"continuous": Continuous(2), "discrete": Discrete(3)}

# Nearly all the time goes into compiling; without optimization it takes half of it.
QUICK = {"xla_backend_optimization_level": 0}


def no_methods(wiring, network, updates):
    del wiring, network, updates
    return ()


def arena_of(action, num_envs=E, steps=10_000, inputs=INPUTS, network=None):
    """The parts of an environment that an agent reads; there are no steps in it."""
    spec = Spec(jax.ShapeDtypeStruct((inputs,), jnp.float32), action)
    return Environment(spec, num_envs, steps, None, None, network)


def recalling(units=3) -> ActorCritic:
    """A network for three actions with a memory h: h' = tanh(x W + h R + b), from which policy and value are read."""
    shapes = {
        "see": (INPUTS, units),
        "recall": (units, units),
        "bias": (units,),
        "act": (units, 3),
        "judge": (units, 1),
    }

    def init(key):
        keys = dict(zip(shapes, jax.random.split(key, len(shapes))))
        return {name: jax.random.normal(keys[name], shape) for name, shape in shapes.items()}

    def apply(params, x, h):
        h = jnp.tanh(x @ params["see"] + h @ params["recall"] + params["bias"][None])
        return (h @ params["act"], (h @ params["judge"])[:, 0]), h

    return ActorCritic(init, apply, lambda batch: jnp.zeros((batch, units)), "tanh")


def some_transitions(action, seed, horizon=T, num_envs=E):
    """Random ones, in which episodes end in both ways. Only within an episode does one observation follow another."""
    random, shape = np.random.default_rng(seed), (horizon, num_envs)
    kind = random.choice(3, shape, p=[0.6, 0.2, 0.2])
    terminated, truncated = kind == 1, kind == 2
    seen = random.normal(size=(horizon + 1, num_envs, INPUTS))
    transfer = random.normal(size=(*shape, INPUTS))
    ended = (terminated | truncated)[..., None]
    if isinstance(action, Continuous):
        actions = random.normal(size=(*shape, action.size))
    else:
        actions = random.integers(action.n, size=shape).astype(np.int32)
    return jax.tree.map(
        lambda x: x.astype(np.float32) if x.dtype == float else x,
        Transitions(
            observation=seen[:-1],
            action=actions,
            extras=Extras(
                random.normal(-2 if isinstance(action, Continuous) else -1, 0.5, shape), random.normal(size=shape), ()
            ),
            reward=random.normal(size=shape),
            terminated=terminated,
            truncated=truncated,
            next_observation=np.where(ended, transfer, seen[1:]),
        ),
    )


def valued(params, transitions):
    """The same transitions, seen by the perceptrons with these parameters when they happened."""
    V = perceptron(in_float64(params)["value"], np.asarray(transitions.observation, float))[..., 0]
    return transitions._replace(extras=transitions.extras._replace(value=V.astype(np.float32)))


def carry(params, transitions, before):
    """The same transitions, seen by `recalling` with these parameters.

    Args:
        params: of the network.
        transitions: what happened.
        before: `(num_envs, units)`, what is remembered when they begin.

    Returns:
        The transitions, and what is remembered after them.
    """
    w, now, V, carry = in_float64(params), np.asarray(before, float), [], []
    ended = np.asarray(transitions.terminated | transitions.truncated)
    for t, x in enumerate(np.asarray(transitions.observation, float)):
        carry.append(now)
        (_, V_t), now = recall(w, x, now)
        V.append(V_t)
        now = np.where(ended[t][:, None], 0, now)
    extras = transitions.extras._replace(value=np.array(V, np.float32), carry=np.array(carry, np.float32))
    return transitions._replace(extras=extras), now


def begun(agent, seed=0):
    """An agent's state before its first update by Adam or RMSprop, with random weights, made without a program."""
    state, key = jax.eval_shape(agent.init, trees.key(0)), trees.key(seed)
    optimizer = jax.tree.map(lambda x: key if x.dtype == key.dtype else np.zeros(x.shape, x.dtype), state.optimizer)
    return state._replace(params=trees.random_like(state.params, seed, scale=0.5), optimizer=optimizer)


def in_float64(tree):
    return jax.tree.map(lambda x: np.asarray(x, float if x.dtype == jnp.float32 else None), tree)


def assert_close(a, b, rtol=1e-5, atol=5e-6):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol, atol), a, b)


# Networks: (params, observation, memory) -> ((outputs, V), memory).


def perceptron(layers, x):
    for i in range(len(layers)):
        x = x @ layers[f"Dense_{i}"]["kernel"] + layers[f"Dense_{i}"]["bias"]
        x = np.tanh(x) if i < len(layers) - 1 else x
    return x


def perceptrons(params, x, carry):
    outputs, V = perceptron(params["policy"], x), perceptron(params["value"], x)[:, 0]
    return ((outputs, params["log_std"]) if "log_std" in params else outputs, V), carry


def recall(params, x, h):
    h = np.tanh(x @ params["see"] + h @ params["recall"] + params["bias"])
    return (h @ params["act"], (h @ params["judge"])[:, 0]), h


def log_probability_and_entropy(outputs, action):
    if isinstance(outputs, tuple):
        mean, log_std = outputs
        std = np.exp(log_std)
        density = np.exp(-0.5 * ((action - mean) / std) ** 2) / (std * np.sqrt(2 * np.pi))
        return np.log(density).sum(1), np.full(len(action), np.log(std * np.sqrt(2 * np.pi * np.e)).sum())
    p = np.exp(outputs) / np.exp(outputs).sum(1, keepdims=True)
    return np.log(p[np.arange(len(action)), action]), -(p * np.log(p)).sum(1)


# Losses: (log probability now, at the time, advantage) -> the mean loss of the policy, and metrics.


def clipped(clip):
    """The loss of PPO."""

    def loss(log_p, old_log_p, A):
        rho = np.exp(log_p - old_log_p)
        objective = np.minimum(rho * A, np.clip(rho, 1 - clip, 1 + clip) * A)
        return -objective.mean(), {"clipped_fraction": (np.abs(rho - 1) > clip).mean()}

    return loss


def unclipped(log_p, old_log_p, A):
    """The loss of A2C."""
    del old_log_p
    return -(log_p * A).mean(), {}


# Optimizers: gradient -> how the weights change.


def adam(config, updates):
    """Adam, whose step size falls to zero within so many updates if the configuration says so."""
    m, v, count = 0.0, 0.0, 0

    def change(gradient):
        nonlocal m, v, count
        falling = 1 - count / updates if config.schedule == "linear" else 1
        count += 1
        m = config.b1 * m + (1 - config.b1) * gradient
        v = config.b2 * v + (1 - config.b2) * gradient**2
        m_hat, v_hat = m / (1 - config.b1**count), v / (1 - config.b2**count)
        return -config.learning_rate * falling * m_hat / (np.sqrt(v_hat) + config.eps)

    return change


def rmsprop(config):
    """RMSprop as PyTorch has it: epsilon is added to the root, and the mean of squares is not corrected."""
    v = 0.0

    def change(gradient):
        nonlocal v
        v = config.decay * v + (1 - config.decay) * gradient**2
        return -config.learning_rate * gradient / (np.sqrt(v) + config.eps)

    return change


def standardized(A):
    return (A - A.mean()) / np.sqrt(((A - A.mean()) ** 2).sum() / (len(A) - 1))


def advantages(transitions, next_V, config):
    """Of each step, `(horizon, num_envs)`."""
    V = transitions.extras.value
    A = np.zeros(V.shape)
    for e in range(V.shape[1]):
        follows = 0.0
        for t in reversed(range(V.shape[0])):
            cut = transitions.truncated[t, e]
            future = 0 if transitions.terminated[t, e] or (cut and config.truncation == "terminal") else next_V[t, e]
            follows = 0 if transitions.terminated[t, e] or cut else follows
            error = transitions.reward[t, e] + config.discount * future - V[t, e]
            A[t, e] = follows = error + config.discount * config.gae_lambda * follows
    return A


def numerical_gradient(function, w, step=1e-6):
    return np.array([(function(w + d) - function(w - d)) / (2 * step) for d in step * np.eye(len(w))])


class Reference:
    """Learns as an agent should, from the same batches.

    Args:
        params: what the agent begins with.
        network: of those above.
        config: the agent's settings; those that it does not have are off.
        policy_loss, optimizer: of those above.
        weight_decay: that of the method `l2`.
    """

    def __init__(self, params, network, config, policy_loss, optimizer, weight_decay=0.0):
        leaves, self._structure = jax.tree.flatten(params)
        self._shapes = [np.shape(leaf) for leaf in leaves]
        self._w = np.concatenate([np.asarray(leaf, float).reshape(-1) for leaf in leaves])
        self._network, self._config = network, config
        self._policy_loss, self._optimizer, self._weight_decay = policy_loss, optimizer, weight_decay

    def params(self, w=None):
        sizes = [int(np.prod(shape)) for shape in self._shapes]
        pieces = np.split(self._w if w is None else w, np.cumsum(sizes)[:-1])
        return self._structure.unflatten([piece.reshape(shape) for piece, shape in zip(pieces, self._shapes)])

    def learn(self, transitions, orders):
        """One round; `orders` are the samples with which the sequences of each minibatch begin. Returns the metrics."""
        self._environments = transitions.reward.shape[1]
        samples, self._memory = self._samples(transitions)
        metrics = []
        for first in orders:
            _, of_parts, carries = self._along(self.params(), samples, first)
            gradient = numerical_gradient(
                lambda w, first=first: self._along(self.params(w), samples, first)[0], self._w
            )  # fmt: skip
            norm = np.sqrt((gradient**2).sum())
            if self._config.max_gradient_norm:
                of_parts["gradient_norm"] = norm
                gradient = gradient * min(1, self._config.max_gradient_norm / norm)
            metrics.append(of_parts)
            self._w = self._w + self._optimizer(gradient + self._weight_decay * self._w)
            for step, carry in enumerate(carries[:-1], 1):
                self._memory[first + step * self._environments] = carry
        others = {"value": transitions.extras.value.mean()}
        if transitions.action.ndim == 3:
            others["action_magnitude"] = np.abs(transitions.action).mean()
        return {name: np.mean([one[name] for one in metrics]) for name in metrics[0]} | others

    def _samples(self, transitions):
        """What the losses need of all samples, and what is remembered before each of them; no memory has no units."""
        size = transitions.reward.size
        carry = (
            np.reshape(transitions.extras.carry, (size, -1)) if len(transitions.extras.carry) else np.zeros((size, 0))
        )
        x, following = (x.reshape(size, -1) for x in (transitions.observation, transitions.next_observation))
        _, after = self._network(self.params(), x, carry)
        next_V = self._network(self.params(), following, after)[0][1]
        A = advantages(transitions, next_V.reshape(transitions.reward.shape), self._config)
        returns, A = (A + transitions.extras.value).reshape(-1), A.reshape(-1)
        if self._config.normalize_advantages == "round":
            A = standardized(A)
        ended = transitions.terminated | transitions.truncated
        action = transitions.action.reshape(size, *transitions.action.shape[2:])
        extras = transitions.extras
        rest = action, extras.log_prob.reshape(-1), extras.value.reshape(-1), returns, A, ended.reshape(-1)
        return (x, *rest), carry.copy()

    def _along(self, params, samples, first):
        """The loss along sequences, what it is made of, and what is remembered after each step."""
        config, totals, parts, carries = self._config, [], [], []
        recurrence = config.recurrence
        steps = [[x[first + step * self._environments] for x in samples] for step in range(recurrence)]
        everything = np.concatenate([A for *_, A, _ in steps])
        carry = self._memory[first]
        for x, action, old_log_p, old_V, returns, A, ended in steps:
            if config.normalize_advantages == "minibatch":
                A = (A - everything.mean()) / everything.std(ddof=1)
            (outputs, V), carry = self._network(params, x, carry)
            carry = np.where(ended[:, None], 0, carry)
            carries.append(carry)
            log_p, H = log_probability_and_entropy(outputs, action)
            of_policy, others = self._policy_loss(log_p, old_log_p, A)
            squared = (returns - V) ** 2
            value_clip = getattr(config, "value_clip", 0)
            if value_clip:
                moved = np.clip(V, old_V - value_clip, old_V + value_clip)
                squared = np.maximum(squared, (returns - moved) ** 2)
            part = {"policy_loss": of_policy, "value_loss": squared.mean(), "entropy": H.mean(), **others}
            totals.append(
                of_policy + config.value_coefficient * part["value_loss"] - config.entropy_coefficient * part["entropy"]
            )
            parts.append(part)
        return np.mean(totals), {name: np.mean([part[name] for part in parts]) for name in parts[0]}, carries


def orders_of(key, config, horizon=T, num_envs=E):
    """The samples with which the sequences of each minibatch begin, as the agent with this key will take them.

    They are numbered as in torch-ac, where the steps of an environment are consecutive.
    """
    orders, samples, firsts = [], horizon * num_envs, []
    epochs, minibatches = getattr(config, "epochs", 1), getattr(config, "minibatches", 1)
    for epoch in range(epochs):
        first = np.arange(0, samples, config.recurrence)
        if getattr(config, "alternate", False) and epoch % 2:
            first = first[(first + config.recurrence) % horizon != 0] + config.recurrence // 2
        first = np.sort(num_envs * (first % horizon) + first // horizon)  # the steps of a time stand together
        firsts.append(first)
    size = samples // minibatches // config.recurrence
    for first, places in zip(firsts, shuffled(key, tuple(map(len, firsts)))):
        order = first[np.asarray(places)]
        orders.extend(order[i : i + size] for i in range(0, len(order), size))
    return orders


@functools.partial(jax.jit, static_argnums=1)
def shuffled(key, sizes):
    """Places in random order, so many for each epoch, as the agent with this key draws them."""
    keys = jax.random.split(key, 1 + len(sizes))[1:]
    return [jax.random.permutation(jax.random.split(key)[0], size) for key, size in zip(keys, sizes)]


def train(make: Callable[..., Any], config, environment, *seen, seeds=3, rounds=25, time_limit=None):
    """What the policy's network and the value's say after training where a number is seen, `(seeds, numbers, ...)`."""
    steps = rounds * config.horizon * 8
    environment = environments.auto_reset(environment, steps, num_envs=8, time_limit=time_limit or steps)
    parts = Components(environment, make(config, environment, no_methods), {})
    network = actor_critic(environment.spec, (config.hidden_units,), config.activation)

    def run(seed):
        member, *_ = device_loop.advance(parts, device_loop.begin(parts, seed), jnp.int32(0), steps)
        return network.apply(member.agent.params, np.array(seen, np.float32)[:, None], ())[0], member.diverged

    # One member after another compiles the fastest.
    (outputs, V), diverged = jax.jit(lambda seeds: jax.lax.map(run, seeds), compiler_options=QUICK)(np.arange(seeds))
    assert (np.asarray(diverged) == -1).all()
    return trees.numpy((outputs, V))
