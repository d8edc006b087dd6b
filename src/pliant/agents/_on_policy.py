"""What agents share that learn from their latest steps alone: acting, advantages, sequences and minibatches.

for each step:
    memory <- nothing, where an episode begins
    action, value, memory <- the network, of what is seen and of the memory
for each call of `learn`, after `horizon` steps of all environments:
    advantages, returns <- generalized advantage estimation
    for each epoch:
        for each minibatch of sequences in random order:
            loss, features <- the network along the sequences, from the memory at their beginning
            params         <- methods and optimizer (gradients, features)

The gradient of the loss runs back through the memory to the beginning of the sequence and no further.
"""

import dataclasses
from collections.abc import Callable
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax

from pliant.core.agent import Agent, MethodsFor, Transitions
from pliant.core.base import Activation, Array, Features, Initializer, Key, Params, plastic
from pliant.core.problem import ActorCritic, Continuous, Environment, HostEnvironment
from pliant.core.settings import AtLeast, Between
from pliant.networks import actor_critic
from pliant.tracing.trace import trace

from ._advantage import generalized_advantages
from ._distributions import distribution

_PROBE = 1000  # last observations of a horizon on which diagnostics are measured, as published
_FOLLOWED = 2  # steps of a sequence that are traced: the second shows who reads what the first remembered

Metrics: TypeAlias = dict[str, Array]

# (log probability of the actions now, that at the time, advantage), `(samples,)` each -> loss of each, and metrics
PolicyLoss: TypeAlias = Callable[[Array, Array, Array], tuple[Array, Metrics]]


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of all of these agents; the defaults are those of torch-ac."""

    horizon: Annotated[int, AtLeast(1)] = 128
    """Steps that each environment takes between two rounds of learning."""
    recurrence: Annotated[int, AtLeast(1)] = 1
    """Length of the sequences along which a network with a memory learns (steps); 1 for a network without."""
    learning_rate: Annotated[float, AtLeast(0)] = 1e-3
    """Step size of the optimizer."""
    eps: Annotated[float, AtLeast(0)] = 1e-8
    """What the optimizer adds to the root of the mean of squared gradients."""
    reset_moments: bool = False
    """Whether the optimizer forgets its moments of weights that a method made anew."""
    discount: Annotated[float, Between(0, 1)] = 0.99
    """Discount per step."""
    gae_lambda: Annotated[float, Between(0, 1)] = 0.95
    """Lambda of generalized advantage estimation."""
    value_coefficient: Annotated[float, AtLeast(0)] = 0.5
    """Weight of the mean squared error of the values."""
    entropy_coefficient: Annotated[float, AtLeast(0)] = 0.01
    """Weight of the policy's entropy, which is to be high."""
    max_gradient_norm: Annotated[float, AtLeast(0)] = 0.5
    """Norm to which longer gradients are scaled down, before any method acts on them; 0: none."""
    normalize_advantages: Literal["round", "minibatch", "none"] = "none"
    """Over what advantages are shifted and scaled to mean 0 and (unbiased) standard deviation 1."""
    truncation: Literal["terminal", "bootstrap"] = "terminal"
    """Whether nothing comes after a time limit, as published, or the value of the observation there."""
    hidden_units: Annotated[int, AtLeast(1)] = 64
    """Units of each hidden layer, of policy and value network; not where the problem brings a network."""
    hidden_layers: Annotated[int, AtLeast(0)] = 2
    """Hidden layers of each network."""
    activation: Activation = "tanh"
    """Nonlinearity."""
    initializer: Initializer = "lecun"
    """Initializer of all weights, those of the output layers included."""


class State(NamedTuple):
    params: Params
    optimizer: Any  # PlasticState: the optimizer's and the methods'


class Extras(NamedTuple):
    """What acting tells learning; leading axes `(horizon, num_envs)` there."""

    log_prob: Array  # of the action
    value: Array  # of the observation
    carry: Any  # with which it was seen


class Samples(NamedTuple):
    """What the losses need; leading axis of samples, or `(steps, sequences)`."""

    observation: Array
    is_first: Array  # bool: the first observation of an episode
    action: Array
    log_prob: Array  # of the action, when it was taken
    value: Array  # when the action was taken
    returns: Array
    advantage: Array


def make(
    config: Config,
    environment: Environment | HostEnvironment,
    optimizer: Callable[[int], optax.GradientTransformation],
    policy_loss: PolicyLoss,
    methods_for: MethodsFor,
    *,
    epochs: int = 1,
    minibatches: int = 1,
    alternate: bool = False,
    value_clip: float = 0.0,
) -> Agent:
    r"""Makes an agent whose loss is, with its policy loss $L_\pi$,

    $$L = \overline{L_\pi} + c_v \overline{(R - V)^2} - c_e \overline{H}.$$

    Args:
        config: numbers may be traced.
        environment: where to act.
        optimizer: made for the number of updates of a whole run.
        policy_loss: what is to be small, sample by sample.
        methods_for: makes the plasticity methods.
        epochs, minibatches: passes over a round, and pieces of a pass.
        alternate: whether every second pass cuts sequences elsewhere, leaving out one of each environment.
        value_clip: how far a value may move from the old one before its error counts in full; 0: any distance.

    Raises:
        ValueError: if the pieces of a round do not come out even, the run is shorter than a round, the network
            remembers and sequences are single steps, or the other way round, or the configuration describes a network
            where the arena brings one.
    """
    T, E, r = config.horizon, environment.num_envs, config.recurrence
    network = _network_for(environment, config)
    _check(config, minibatches, alternate, network, environment)
    samples = T * E
    sequences = samples // minibatches // r  # of a minibatch
    cycle = (False, True) if alternate else (False,)  # which of the epochs leave out and shift
    of_cycle = [-(-_starts(T, E, r, shifted).size // sequences) for shifted in cycle]
    shifts = [cycle[epoch % len(cycle)] for epoch in range(epochs)]
    updates = sum(of_cycle[shifted] for shifted in shifts)
    rounds = -(-environment.steps // samples)

    followed = min(r, _FOLLOWED)

    def follow(params: Params, observations: tuple[Array, ...], is_first: tuple[Array, ...], carry: Any) -> Any:
        """The first steps of sequences: what the network says at each, and what it remembers after each."""
        answers, carries = [], []
        for step, observation in enumerate(observations):
            if step:
                carry = _forget(carry, is_first[step - 1])
            answer, carry = network.apply(params, observation, carry)
            answers.append(answer)
            carries.append(carry)
        return answers, carries

    some_key = jax.random.key(0)
    params_shape = jax.eval_shape(network.init, some_key)
    seen = jax.ShapeDtypeStruct((sequences, *environment.spec.observation.shape), environment.spec.observation.dtype)
    begin = jax.ShapeDtypeStruct((sequences,), jnp.bool)
    carry = jax.eval_shape(lambda: network.initial_carry(sequences))
    wiring = trace(follow, params_shape, (seen,) * followed, (begin,) * (followed - 1), carry)

    def transformation(key: Key):
        methods = methods_for(wiring, network, rounds * updates)
        return plastic(optimizer(rounds * updates), *methods, key=key, reset_moments=config.reset_moments)

    tx = transformation(some_key)

    def init(key: Key) -> State:
        params_key, methods_key = jax.random.split(key)
        params = tx.prepare(network.init(params_key))
        return State(params, transformation(methods_key).init(params))

    def act(policy: Params, carry: Any, observation: Array, is_first: Array, key: Key, *, greedy: bool = False):
        before = _forget(carry, is_first)
        (outputs, V), carry = network.apply(policy, observation, before)
        pi = distribution(environment.spec.action, outputs)
        action = pi.mode() if greedy else pi.sample(key)
        return carry, action, Extras(pi.log_prob(action), V, before)

    def judge(answer: tuple[Any, Array], batch: Samples) -> tuple[Array, Metrics]:
        """The loss of one step of sequences."""
        outputs, V = answer
        pi = distribution(environment.spec.action, outputs)
        losses, metrics = policy_loss(pi.log_prob(batch.action), batch.log_prob, batch.advantage)
        of_policy, H = losses.mean(), pi.entropy().mean()
        of_value = _squared_errors(V, batch, value_clip).mean()
        total = of_policy + config.value_coefficient * of_value - config.entropy_coefficient * H
        return total, {"policy_loss": of_policy, "value_loss": of_value, "entropy": H, **metrics}

    def loss(params: Params, batch: Samples, carry: Any) -> tuple[Array, tuple[Features, Metrics, Any]]:
        """The mean over the steps of sequences; `batch` has leading axes `(recurrence, sequences)`.

        Returns:
            The loss, and the features of the steps that were traced, the metrics, and what was remembered after each
            step but the last, `(recurrence - 1, sequences, ...)`.
        """
        if config.normalize_advantages == "minibatch":
            batch = batch._replace(advantage=_normalized(batch.advantage))
        of_step = [jax.tree.map(lambda x, i=i: x[i], batch) for i in range(followed)]
        observations, is_first = [one.observation for one in of_step], [one.is_first for one in of_step[1:]]
        (answers, carries), features = wiring.apply(params, tuple(observations), tuple(is_first), carry)
        judged = [judge(answer, one) for answer, one in zip(answers, of_step)]
        judged = jax.tree.map(lambda *of_steps: jnp.stack(of_steps), *judged)

        def further(carry: Any, one: Samples) -> Any:
            answer, carry = network.apply(params, one.observation, _forget(carry, one.is_first))
            return carry, (judge(answer, one), carry)

        carries = jax.tree.map(lambda *of_steps: jnp.stack(of_steps), *carries)
        if r > followed:
            last = jax.tree.map(lambda x: x[-1], carries)
            _, others = jax.lax.scan(further, last, jax.tree.map(lambda x: x[followed:], batch))
            judged, carries = jax.tree.map(lambda *x: jnp.concatenate(x), (judged, carries), others)
        total, metrics = jax.tree.map(lambda x: x.mean(0), judged)
        return total, (features, metrics, jax.tree.map(lambda x: x[:-1], carries))

    def prepare(params: Params, transitions: Transitions) -> Samples:
        """Advantages and returns; all samples on one axis."""
        V, ended = transitions.extras.value, transitions.terminated | transitions.truncated

        def next_values(these: Transitions) -> Array:
            """Of what followed, with what was remembered by then."""
            seen = these.observation, these.extras.carry, these.next_observation
            observation, carry, following = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), seen)
            if jax.tree.leaves(carry):
                _, carry = network.apply(params, observation, carry)
            return network.apply(params, following, carry)[0][1].reshape(-1, E)

        if config.truncation == "bootstrap":
            next_V, terminated = next_values(transitions), transitions.terminated
        else:  # within an episode what followed is what was acted upon next: only the last is new
            last = jax.tree.map(lambda x: x[-1:], transitions)
            next_V, terminated = jnp.concatenate([V[1:], next_values(last)]), ended
        A = generalized_advantages(transitions.reward, V, next_V, terminated, ended, config.discount, config.gae_lambda)
        returns = A + V
        if config.normalize_advantages == "round":
            A = _normalized(A)
        # Whether the first is one does not matter: the memory at the beginning of a sequence knows it.
        is_first = jnp.concatenate([ended[:1], ended[:-1]])
        extras = transitions.extras
        batch = Samples(transitions.observation, is_first, transitions.action, extras.log_prob, V, returns, A)
        return jax.tree.map(lambda x: x.reshape(samples, *x.shape[2:]), batch)

    def along(first: Array) -> Array:
        """The samples of sequences, `(recurrence, sequences)`, that begin with these."""
        return first[None] + E * np.arange(r)[:, None]

    def learn(state: State, transitions: Transitions, calls: Array) -> tuple[State, Metrics]:
        batch = prepare(state.params, transitions)
        carry = jax.tree.map(lambda x: x.reshape(samples, *x.shape[2:]), transitions.extras.carry)
        key, *keys = jax.random.split(state.optimizer.key, 1 + epochs)
        state = state._replace(optimizer=state.optimizer._replace(key=key))

        def update(carry: tuple[State, Any], this: tuple[Array, Any, Array]) -> tuple[tuple[State, Any], Metrics]:
            (state, carry), (first, draw, number) = carry, this
            rows = along(first)
            minibatch, before = jax.tree.map(lambda x: x[rows], batch), jax.tree.map(lambda x: x[first], carry)
            grads, (features, metrics, after) = jax.grad(loss, has_aux=True)(state.params, minibatch, before)
            if config.max_gradient_norm > 0:
                norm = optax.tree.norm(grads)
                grads = jax.tree.map(lambda g: g * jnp.minimum(1, config.max_gradient_norm / norm), grads)
                metrics["gradient_norm"] = norm
            new = tx.step(
                grads, state.optimizer, state.params,
                random=draw, step=number, steps_before=calls * samples, features=features,
            )  # fmt: skip
            if r > 1:  # sequences of the next epoch may begin in the middle of these
                after = _forget(after, minibatch.is_first[1:])
                carry = jax.tree.map(lambda x, now: x.at[rows[1:]].set(now), carry, after)
            return (State(*new), carry), metrics

        def passes(carry: Any, keys: Key, number: Array, shifts: tuple[bool, ...]) -> tuple[Any, Metrics]:
            """As many epochs as there are shifts; the last minibatch of all may be smaller than the others."""
            firsts, draws, rest = [], [], None
            for key, shifted in zip(keys, shifts):
                order_key, draw_key = jax.random.split(key)
                starts = _starts(T, E, r, shifted)
                order = jax.random.permutation(order_key, starts.size)
                order = order if (starts == np.arange(starts.size)).all() else jnp.asarray(starts)[order]
                whole = starts.size // sequences
                firsts.append(order[: whole * sequences].reshape(whole, sequences))
                rest = order[whole * sequences :]
                draws.append(tx.draw(draw_key, state.params, of_cycle[shifted]))
            first, draw = jax.tree.map(lambda *x: jnp.concatenate(x), *zip(firsts, draws))
            whole = first.shape[0]
            minibatches = (first, jax.tree.map(lambda x: x[:whole], draw), number + 1 + jnp.arange(whole))
            carry, metrics = jax.lax.scan(update, carry, minibatches)
            if rest is not None and rest.size:
                last = jax.tree.map(lambda x: x[whole], draw)
                carry, of_rest = update(carry, (rest, last, number + 1 + whole))
                metrics = jax.tree.map(lambda x, y: jnp.append(x, y), metrics, of_rest)
            return carry, metrics

        keys, each, number = jnp.stack(keys), len(cycle), calls * updates
        cycles = epochs // each
        of_cycles = jax.tree.map(lambda x: x[: cycles * each].reshape(cycles, each), keys)
        carry, metrics = jax.lax.scan(
            lambda carry, this: passes(carry, *this, shifts=cycle),
            (state, carry),
            (of_cycles, number + sum(of_cycle) * jnp.arange(cycles)),
        )
        metrics = jax.tree.map(jnp.ravel, metrics)
        if epochs % each:
            number = number + sum(of_cycle) * cycles
            carry, others = passes(carry, keys[cycles * each :], number, tuple(shifts[cycles * each :]))
            metrics = jax.tree.map(lambda x, y: jnp.concatenate([x, y]), metrics, others)
        metrics = jax.tree.map(jnp.mean, metrics) | {"value": transitions.extras.value.mean()}
        if isinstance(environment.spec.action, Continuous):
            metrics["action_magnitude"] = jnp.abs(transitions.action).mean()
        return carry[0], metrics

    def signals(previous: Params, state: State, transitions: Transitions) -> dict[str, Any]:
        first = _starts(T, E, r, False)[-max(1, _PROBE // r) :]
        batch = jax.tree.map(lambda x: x[along(first)], prepare(previous, transitions))
        carry = jax.tree.map(lambda x: x.reshape(samples, *x.shape[2:])[first], transitions.extras.carry)
        grads, (features, _, _) = jax.grad(loss, has_aux=True)(previous, batch, carry)
        return {
            "params": state.params,
            "previous_params": previous,
            "features": features,
            "grads": grads,
            "method_state": state.optimizer,
        }

    return Agent(
        horizon=T,
        init=init,
        policy=lambda state: state.params,
        initial_carry=network.initial_carry,
        act=act,
        learn=learn,
        signals=signals,
    )


def _check(
    config: Config, minibatches: int, alternate: bool, network: ActorCritic, environment: Environment | HostEnvironment
) -> None:
    """Refuses what does not come out even, where sizes are concerned."""
    T, E, r = config.horizon, environment.num_envs, config.recurrence
    samples = T * E
    of_round = f"(horizon={T} x num_envs={E})"
    if samples % minibatches:
        raise ValueError(
            f"minibatches={minibatches} do not divide the {samples} samples of a round {of_round}; "
            f"write a divisor of {samples}"
        )
    if environment.steps < samples:
        raise ValueError(
            f"steps={environment.steps} are fewer than the {samples} of one round {of_round}; "
            f"write at least {samples} steps, or a shorter horizon"
        )
    remembers = bool(jax.tree.leaves(jax.eval_shape(lambda: network.initial_carry(1))))
    if remembers != (r > 1):
        what = "remembers, which it learns along 2 steps or more" if remembers else "remembers nothing"
        raise ValueError(f"recurrence={r}: this network {what}; write recurrence={4 if remembers else 1}")
    if T % r or samples // minibatches % r:
        raise ValueError(
            f"recurrence={r} divides not both horizon={T} and the {samples // minibatches} samples of a "
            f"minibatch; write a common divisor"
        )
    if alternate and 2 * r > T:
        raise ValueError(f"alternate=true leaves out a sequence: write a horizon of at least {2 * r}, not {T}")


def _starts(T: int, E: int, r: int, shifted: bool) -> np.ndarray:
    """The samples with which sequences begin; `shifted` by half, so that one less fits in."""
    t = np.arange(0, T, r)
    t = t[:-1] + r // 2 if shifted else t
    return (E * t[:, None] + np.arange(E)[None]).reshape(-1)


def _forget(carry: Any, is_first: Array) -> Any:
    """Nothing is remembered of other episodes; `is_first` has the leading axes of the memory."""
    return jax.tree.map(
        lambda x: jnp.where(is_first.reshape(is_first.shape + (1,) * (x.ndim - is_first.ndim)), 0, x), carry
    )


def _normalized(A: Array) -> Array:
    """Advantages with mean 0 and standard deviation 1; if all are equal they are only shifted."""
    std = A.std(ddof=1)
    return (A - A.mean()) / jnp.where(std > 0, std, 1)


def _squared_errors(V: Array, batch: Samples, clip: float | Array) -> Array:
    errors = (batch.returns - V) ** 2
    if clip > 0:
        near = batch.value + jnp.clip(V - batch.value, -clip, clip)
        return jnp.maximum(errors, (batch.returns - near) ** 2)
    return errors


def _network_for(environment: Environment | HostEnvironment, config: Config) -> ActorCritic:
    """The arena's own network, or two perceptrons as the configuration has them.

    Raises:
        ValueError: if the configuration wants another network than the arena's.
    """
    if environment.network is None:
        hidden = (config.hidden_units,) * config.hidden_layers
        return actor_critic(environment.spec, hidden, config.activation, config.initializer)
    usual = type(config)()
    for name in ("hidden_units", "hidden_layers", "activation", "initializer"):
        if getattr(config, name) != getattr(usual, name):
            raise ValueError(f"{name}={getattr(config, name)}: this problem brings its own network; leave {name} out")
    return environment.network
