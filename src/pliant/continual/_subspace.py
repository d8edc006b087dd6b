"""A subspace of policies: the network of each task is a mixture of anchors, of which only the newest is learned."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pliant.core.base import Array, Key, Params
from pliant.core.clock import Clock, Task
from pliant.core.continual import Continual, DenseLayers, Memory, Replayed, TaskNetwork, Trial, size_of
from pliant.core.settings import AtLeast, require, require_one_of

_TINY = float(np.finfo(np.float32).tiny)


class SubspaceState(NamedTuple):
    anchors: Array  # () int: present ones, with the newest; later slots are empty
    mixtures: Array  # (tasks, slots): of each finished task
    finished: Array  # () int: finished tasks
    candidates: Array  # (candidates, slots): mixtures of the newest trial, the first half with the newest anchor


class Route(NamedTuple):
    """Which mixtures act: drawn ones, or given ones in turn."""

    drawn: Array  # () bool: whether mixtures are drawn unless the network acts greedily
    mixtures: Array  # (candidates, slots): environment i has mixture i, from the first on again
    anchors: Array  # () int: present ones


class Acting(NamedTuple):
    """The carry of the network."""

    mixtures: Array  # (num_envs, slots): that were drawn last
    timestep: Array  # (num_envs,) int: of the episode, counted from 1


def subspace(
    tasks: tuple[Task, ...],
    layers: DenseLayers | None,
    distribution: Literal["flat", "peaked"] = "flat",
    repeat: int = 100,
    candidates: int = 8,
    samples: int = 4096,
    estimations: int = 1024,
    improvement: float = 0.1,
    episodes: int = 1,
) -> Continual:
    r"""Continual subspace of policies (CSP): each task has a mixture of anchors, and may add one anchor.

    With the anchors $\theta_1, \dots, \theta_K$ and a mixture $\alpha \ge 0$, $\sum_i \alpha_i = 1$, each layer has the
    outputs

    $$\sum_{i \le K} \alpha_i (W_i x + b_i).$$

    A task begins with a new anchor $\theta_K$, the mean of the present ones; only $\theta_K$ is learned. Each input of
    an update has its own mixture

    $$\alpha \sim \mathrm{Dirichlet}(1, \dots, 1, c), \qquad c = 1 \text{ (flat) or } K^2 \text{ (peaked)}.$$

    Half of the environments act with such mixtures; the other half with mixtures from the flat distribution over the
    $K - 1$ older anchors. An environment draws at the beginning of each episode and every `repeat` steps. Critics get
    the mixture beside observation and action. Where the network acts greedily in the newest task, it acts with the mean
    of the distribution.

    After the task `samples` mixtures of all anchors and as many of the older anchors are drawn, both flat, and compared
    by the mean of the first critic's $Q(s, a, \alpha)$ over steps of the replay. Half of the candidates are the best of
    the former, half the best of the latter, and all of them play the task. With the best returns $R_K$ and $R_{K-1}$ of
    the two halves the new anchor stays if

    $$R_K > (1 + \epsilon) R_{K-1},$$

    and is removed otherwise. The best mixture of the winning half acts on the task from then on. For negative returns the rule
    is the published one, too: $R_K$ may then be lower than $R_{K-1}$ by the same fraction, and the new anchor stays. A
    task to come gets equal parts of the present anchors.

    Args:
        tasks: of the run; there is room for one anchor for each of them.
        layers: of the network.
        distribution: of the mixtures that learn.
        repeat: steps of an environment with one mixture, at least 1. Published: 20 or 100.
        candidates: mixtures that play a learned task, at least 2.
        samples: mixtures that the critic compares in each half, at least `candidates`.
        estimations: steps of the replay that each mixture is compared on, at least 1.
        improvement: $\epsilon$, at least 0.
        episodes: of each candidate, at least 1.

    Raises:
        ValueError: for a value outside its range, or for a network that is not of dense layers alone.

    Differs from the authors' code: critics have an input for each anchor that the run may need, and not only for the
    present ones, so that fresh critics have slightly smaller weights. The critic compares mixtures on `estimations`
    single steps; theirs compares them on as many pairs of successive steps. Candidates are compared by whole episodes;
    theirs by the rewards of the episode that goes on after a fixed number of steps. Their number of stored parameters
    is larger by one.

    References:
        Gaya et al., `Building a subspace of policies for scalable continual learning
        <https://arxiv.org/abs/2211.10445>`_, ICLR 2023.

    Example:
        >>> import jax, jax.numpy as jnp, pliant.continual
        >>> from pliant.core.clock import Task
        >>> from pliant.core.continual import DenseLayers
        >>> def initialize(key, sizes):
        ...     keys = jax.random.split(key, len(sizes) - 1)
        ...     return {
        ...         f"Dense_{i}": {"kernel": jax.random.normal(key, shape), "bias": jnp.zeros(shape[1])}
        ...         for i, (key, shape) in enumerate(zip(keys, zip(sizes[:-1], sizes[1:])))
        ...     }
        >>> layers = DenseLayers((3, 16, 2), jnp.tanh, initialize, lambda numbers: numbers, "actor")
        >>> method = pliant.continual.subspace((Task("moon", 1000), Task("normal", 2000)), layers)
    """
    require_one_of("distribution", distribution, ("flat", "peaked"))
    require("repeat", repeat, AtLeast(1))
    require("candidates", candidates, AtLeast(2))
    require("samples", samples, AtLeast(candidates))
    require("estimations", estimations, AtLeast(1))
    require("improvement", improvement, AtLeast(0))
    require("episodes", episodes, AtLeast(1))
    if layers is None:
        raise ValueError(
            "continual=subspace mixes the parameters of dense layers, and this agent or its network has others; write "
            "--agent sac"
        )
    slots, of_new = len(tasks), candidates // 2

    def concentration(anchors: Array) -> Array:
        return jnp.square(anchors) if distribution == "peaked" else jnp.ones_like(anchors)

    def init_network(key: Key) -> Params:
        first = layers.initialize(key, layers.sizes)
        return {layers.name: jax.tree.map(lambda x: jnp.zeros((slots, *x.shape), x.dtype).at[0].set(x), first)}

    def init(params: Params) -> SubspaceState:
        del params
        mixtures = jnp.zeros((slots, slots)).at[0, 0].set(1)  # the first task has one anchor, and no trial
        return SubspaceState(jnp.int32(1), mixtures, jnp.int32(0), jnp.zeros((candidates, slots)))

    def draw(state: SubspaceState, batch: int, key: Key) -> Array:
        return dirichlet(key, batch, slots, state.anchors, concentration(state.anchors))

    def apply(params: Params, inputs: Array, mixtures: Array) -> Any:
        x, last = inputs, len(layers.sizes) - 2
        for layer in range(last + 1):
            x = mixed(*(params[layers.name][f"Dense_{layer}"][name] for name in ("kernel", "bias")), x, mixtures)
            x = layers.activation(x) if layer < last else x
        return layers.outputs(x)

    def training_route(state: SubspaceState) -> Route:
        K, c = state.anchors, concentration(state.anchors)
        mean = jnp.where(jnp.arange(slots) == K - 1, c, jnp.arange(slots) < K) / (K - 1 + c)
        return Route(jnp.bool(True), jnp.tile(mean, (candidates, 1)), K)

    def route(state: SubspaceState, task: Array | int) -> Route:
        uniform = (jnp.arange(slots) < state.anchors) / state.anchors
        mixture = jnp.where(task < state.finished, state.mixtures[task], uniform)
        return Route(jnp.bool(False), jnp.tile(mixture, (candidates, 1)), state.anchors)

    def initial_carry(num_envs: int) -> Acting:
        return Acting(jnp.zeros((num_envs, slots)), jnp.zeros(num_envs, jnp.int32))

    def act(
        params: Params, route: Route, carry: Acting, inputs: Array, *, is_first: Array, key: Key, greedy: bool
    ) -> tuple[Acting, Any, Array]:
        num_envs = inputs.shape[0]
        mixtures = route.mixtures[np.arange(num_envs) % candidates]
        if not greedy:
            timestep, K = jnp.where(is_first, 1, carry.timestep + 1), route.anchors
            new_key, old_key = jax.random.split(key)
            of_old = num_envs // 2
            new = dirichlet(new_key, num_envs - of_old, slots, K, concentration(K))
            old = flat_dirichlet(old_key, of_old, slots, jnp.maximum(K - 1, 1))
            fresh = jnp.concatenate([new, old])
            carry = Acting(acquired(carry.mixtures, fresh, is_first, timestep, repeat), timestep)
            mixtures = jnp.where(route.drawn, carry.mixtures, mixtures)
        return carry, apply(params, inputs, mixtures), mixtures

    def project(params: Params, state: SubspaceState, previous: Params) -> Params:
        newest = state.anchors - 1
        return jax.tree.map(lambda old, new: old.at[newest].set(new[newest]), previous, params)

    def begin_task(params: Params, state: SubspaceState, *, clock: Clock, key: Key) -> tuple[Params, SubspaceState]:
        del clock, key
        K = state.anchors

        def with_mean(anchors: Array) -> Array:
            present = jnp.expand_dims(jnp.arange(slots) < K, tuple(range(1, anchors.ndim)))
            return anchors.at[K].set(jnp.where(present, anchors, 0).sum(0) / K)

        return jax.tree.map(with_mean, params), state._replace(anchors=K + 1)

    def propose(params: Params, state: SubspaceState, replayed: Replayed, key: Key) -> SubspaceState:
        del params
        new_key, old_key, key = jax.random.split(key, 3)
        drawn = jnp.stack(
            [
                flat_dirichlet(new_key, samples, slots, state.anchors),
                flat_dirichlet(old_key, samples, slots, state.anchors - 1),
            ]
        )
        steps = jax.random.split(key, estimations)
        found = best(drawn, lambda key: replayed.sample(key, 2 * samples), steps, replayed.value, candidates)
        return state._replace(candidates=found)

    def trial_route(state: SubspaceState, first: Array | int) -> Route:
        return Route(jnp.bool(False), jnp.roll(state.candidates, -first, axis=0), state.anchors)

    def choose(params: Params, state: SubspaceState, scores: Array, clock: Clock) -> tuple[Params, SubspaceState]:
        new, old = jnp.argmax(scores[:of_new]), of_new + jnp.argmax(scores[of_new:])
        stays = scores[new] > (1 + improvement) * scores[old]
        mixture = state.candidates[jnp.where(stays, new, old)]
        return params, state._replace(
            anchors=jnp.where(stays, state.anchors, state.anchors - 1),
            mixtures=state.mixtures.at[clock.task].set(mixture),
        )

    def end_task(
        params: Params, state: SubspaceState, *, inputs: Array, clock: Clock, key: Key
    ) -> tuple[Params, SubspaceState]:
        del inputs, key
        return params, state._replace(finished=jnp.asarray(clock.task + 1, jnp.int32))

    def memory(params: Params, state: SubspaceState, tasks: Array | int) -> Memory:
        parameters = state.anchors * (size_of(params) // slots)
        return Memory(parameters, parameters + state.anchors * tasks)

    network = TaskNetwork(
        init_network, draw, apply, training_route, route, act, initial_carry=initial_carry, seen=slots
    )
    return Continual(
        init,
        network,
        project=project,
        begin_task=begin_task,
        end_task=end_task,
        trial=Trial(candidates, episodes, trial_route, choose, propose),
        per_task=True,
        fresh_critics=True,
        memory=memory,
    )


@jax.custom_vjp
def mixed(kernel: Array, bias: Array, x: Array, mixtures: Array) -> Array:
    r"""A layer of a mixture for each input, $\sum_i \alpha_i (x W_i + b_i)$, `(batch, units)`.

    Gradients are with respect to `x` and to the last anchor that any mixture contains; others, and mixtures, get zeros.
    Only anchors up to this one cost time, which no form that JAX differentiates itself has together with one program
    for any number of them.

    Args:
        kernel: $W$, `(slots, inputs, units)`.
        bias: $b$, `(slots, units)`.
        x: `(batch, inputs)`.
        mixtures: $\alpha$, `(batch, slots)`.
    """

    def add(i: Array, y: Array) -> Array:
        return y + _column(mixtures, i) * (x @ kernel[i] + bias[i][None])

    return jax.lax.fori_loop(0, _acting(mixtures), add, jnp.zeros((x.shape[0], bias.shape[1]), x.dtype))


def _mixed_forward(kernel: Array, bias: Array, x: Array, mixtures: Array) -> tuple[Array, tuple[Array, ...]]:
    return mixed(kernel, bias, x, mixtures), (kernel, bias, x, mixtures)


def _mixed_backward(residuals: tuple[Array, ...], g: Array) -> tuple[Array, ...]:
    kernel, bias, x, mixtures = residuals
    acting = _acting(mixtures)

    def add(i: Array, total: Array) -> Array:
        return total + _column(mixtures, i) * (g @ kernel[i].T)

    of_x = jax.lax.fori_loop(0, acting, add, jnp.zeros_like(x))
    of_y = _column(mixtures, acting - 1) * g
    of_kernel = jnp.zeros_like(kernel).at[acting - 1].set(x.T @ of_y)
    of_bias = jnp.zeros_like(bias).at[acting - 1].set(of_y.sum(0))
    return of_kernel, of_bias, of_x, jnp.zeros_like(mixtures)


mixed.defvjp(_mixed_forward, _mixed_backward)


def _column(mixtures: Array, i: Array) -> Array:
    return jax.lax.dynamic_slice_in_dim(mixtures, i, 1, axis=1)


def _acting(mixtures: Array) -> Array:
    """`()` how many anchors there are up to the last that any mixture contains, at least 1."""
    return jnp.max(jnp.where((mixtures != 0).any(0), jnp.arange(mixtures.shape[1]), 0)) + 1


def flat_dirichlet(key: Key, rows: int, slots: int, anchors: Array) -> Array:
    """Mixtures `(rows, slots)` from the flat distribution over the first anchors, `()`; without any, zeros.

    Exponential numbers divided by their sum have this distribution.
    """
    numbers = jnp.maximum(jax.random.exponential(key, (rows, slots)), _TINY)  # one anchor's is 1, also for a 0
    numbers = jnp.where(jnp.arange(slots)[None] < anchors, numbers, 0)
    return numbers / jnp.maximum(numbers.sum(1, keepdims=True), _TINY)


def dirichlet(key: Key, rows: int, slots: int, anchors: Array, concentration: Array) -> Array:
    r"""Mixtures `(rows, slots)` from $\mathrm{Dirichlet}(1, \dots, 1, c)$ over the first anchors.

    The newest anchor's part is $\alpha_K \sim \mathrm{Beta}(c, K - 1)$; the others share the rest, independently, by
    the flat distribution. A product of independent numbers has this distribution,

    $$\alpha_K = \prod_{j < K - 1} U_j^{1 / (c + j)}, \qquad j = 0, 1, \dots,$$

    for $U^{1/c}$ is $\mathrm{Beta}(c, 1)$, and $\mathrm{Beta}(c, k)$ times $\mathrm{Beta}(c + k, 1)$ is
    $\mathrm{Beta}(c, k + 1)$. It is exact, and cheaper than the rejections of gamma numbers.

    Args:
        key: consumed.
        rows: number of mixtures.
        slots: number of slots.
        anchors: $K$, `()`, at least 1.
        concentration: $c$, `()`.
    """
    newest_key, older_key = jax.random.split(key)
    exponential = jax.random.exponential(newest_key, (rows, slots))  # -log U
    j = jnp.arange(slots)
    log_newest = -jnp.where(j < anchors - 1, 1 / (concentration + j), 0) @ exponential.T
    older = flat_dirichlet(older_key, rows, slots, anchors - 1)
    newest = jnp.where(j == anchors - 1, 1.0, 0.0)
    return -jnp.expm1(log_newest)[:, None] * older + jnp.exp(log_newest)[:, None] * newest[None]


def acquired(mixtures: Array, fresh: Array, is_first: Array, timestep: Array, repeat: int) -> Array:
    """The mixtures that environments act with, `(num_envs, slots)`.

    Args:
        mixtures: of the step before.
        fresh: drawn for this step.
        is_first: `(num_envs,)` bool: the first observation of an episode.
        timestep: `(num_envs,)` int.
        repeat: steps with one mixture.
    """
    return jnp.where((is_first | (timestep % repeat == 0))[:, None], fresh, mixtures)


def best(
    drawn: Array,
    sample: Callable[[Any], tuple[Array, Array]],
    steps: Any,
    value: Callable[[Array, Array, Array], Array],
    candidates: int,
) -> Array:
    """The mixtures with the highest mean values, `(candidates, slots)`, the best of each half first.

    Args:
        drawn: `(2, samples, slots)` mixtures; of the second half with all anchors but the newest.
        sample: gives inputs and actions of as many steps as there are mixtures, for each of `steps`.
        steps: a tree of arrays with a leading axis.
        value: see `Replayed`.
        candidates: half of them, rounded down, are of the first half.
    """
    mixtures = drawn.reshape(-1, drawn.shape[2])

    def add(total: Array, step: Any) -> tuple[Array, None]:
        return total + value(*sample(step), mixtures), None

    # In turn, because all steps at once would not fit into memory. The order by sums is the order by means.
    total, _ = jax.lax.scan(add, jnp.zeros(len(mixtures)), steps)
    halves = zip(drawn, total.reshape(2, -1), (candidates // 2, candidates - candidates // 2))
    return jnp.concatenate([mixtures[jax.lax.top_k(values, count)[1]] for mixtures, values, count in halves])
