"""A subspace of policies: the network of each task is a mixture of anchors, of which only the newest is learned."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pliant.core.base import Array, Key, Params
from pliant.core.clock import Clock, Task
from pliant.core.continual import (
    Continual,
    DenseLayers,
    Memory,
    Replayed,
    TaskNetwork,
    Trial,
    dense_layers_for,
    size_of,
)
from pliant.core.settings import AtLeast, Whole, require, require_one_of

_TINY = float(np.finfo(np.float32).tiny)


class SubspaceState(NamedTuple):
    older: Params  # (slots, ...) each: the anchors before the newest one, which is in the parameters
    newest: Array  # () int: slot of the newest anchor, also if it was removed; all slots before it are present
    anchors: Array  # () int: present ones
    mixtures: Array  # (tasks, slots): of each finished task
    finished: Array  # () int: finished tasks
    candidates: Array  # (candidates, slots): mixtures of the newest trial, the first half with the newest anchor


class Mixed(NamedTuple):
    """The context: what acts beside the newest anchor."""

    mixtures: Array  # (batch, slots)
    older: Params  # (slots, ...) each
    newest: Array  # () int


class Route(NamedTuple):
    """Which mixtures act: drawn ones, or given ones in turn."""

    drawn: Array  # () bool: whether mixtures are drawn unless the network acts greedily
    anchors: Array  # () int: present ones
    mixed: Mixed  # mixtures (candidates, slots): environment i has mixture i, from the first on again


class Acting(NamedTuple):
    """The carry of the network."""

    mixtures: Array  # (num_envs, slots): that were drawn last
    timestep: Array  # (num_envs,) int: of the episode, counted from 1


def subspace(
    tasks: tuple[Task, ...],
    layers: DenseLayers | None = None,
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

    Half of the environments, rounded up, act with such mixtures; the others with mixtures from the flat distribution
    over the $K - 1$ older anchors. An environment draws at the beginning of each episode and every `repeat` steps.
    Critics get the mixture beside observation and action. Where the network acts greedily in the newest task, it acts
    with the mean of the distribution.

    After the task `samples` mixtures of all anchors and as many of the older anchors are drawn, both flat, and compared
    by the mean of the first critic's $Q(s, a, \alpha)$ over steps of the replay. Half of the candidates are the best of
    the former, half the best of the latter, and all of them play the task. With the best returns $R_K$ and $R_{K-1}$ of
    the two halves the new anchor stays if

    $$R_K > (1 + \epsilon) R_{K-1},$$

    and is removed otherwise. The best mixture of the winning half acts on the task from then on. For negative returns
    the rule is the published one, too: $R_K$ may then be lower than $R_{K-1}$ by the same fraction, and the new anchor
    stays. A task to come gets equal parts of the present anchors.

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
    require("repeat", repeat, Whole(1))
    require("candidates", candidates, Whole(2))
    require("samples", samples, Whole(candidates))
    require("estimations", estimations, Whole(1))
    require("improvement", improvement, AtLeast(0))
    require("episodes", episodes, Whole(1))
    layers = dense_layers_for("subspace", layers)
    slots, of_new = len(tasks), candidates // 2

    def concentration(anchors: Array) -> Array:
        return jnp.square(anchors) if distribution == "peaked" else jnp.ones_like(anchors)

    def init_network(key: Key) -> Params:
        return {layers.name: layers.initialize(key, layers.sizes)}

    def init(params: Params) -> SubspaceState:
        older = jax.tree.map(lambda x: jnp.zeros((slots, *x.shape), x.dtype), params)
        mixtures = jnp.zeros((slots, slots)).at[0, 0].set(1)  # the first task has one anchor, and no trial
        candidate = jnp.zeros((candidates, slots))
        return SubspaceState(older, jnp.int32(0), jnp.int32(1), mixtures, jnp.int32(0), candidate)

    def draw(state: SubspaceState, batch: int, key: Key) -> Mixed:
        mixtures = dirichlet(key, batch, slots, state.anchors, concentration(state.anchors))
        return Mixed(mixtures, state.older, state.newest)

    def apply(params: Params, inputs: Array, mixed: Mixed) -> Any:
        newest, older = params[layers.name], mixed.older[layers.name]
        alpha = _column(mixed.mixtures, mixed.newest)
        x, last = inputs, len(layers.sizes) - 2
        for layer in range(last + 1):
            W, b = (newest[f"Dense_{layer}"][name] for name in ("kernel", "bias"))
            x = alpha * (x @ W + b[None]) + older_layer(older[f"Dense_{layer}"], mixed.newest, x, mixed.mixtures)
            x = layers.activation(x) if layer < last else x
        return layers.outputs(x)

    def along(state: SubspaceState, mixtures: Array, drawn: bool = False) -> Route:
        return Route(jnp.bool(drawn), state.anchors, Mixed(mixtures, state.older, state.newest))

    def training_route(state: SubspaceState) -> Route:
        K, c = state.anchors, concentration(state.anchors)
        mean = jnp.where(jnp.arange(slots) == K - 1, c, jnp.arange(slots) < K) / (K - 1 + c)
        return along(state, jnp.tile(mean, (candidates, 1)), drawn=True)

    def route(state: SubspaceState, task: Array | int) -> Route:
        uniform = (jnp.arange(slots) < state.anchors) / state.anchors
        mixture = jnp.where(task < state.finished, state.mixtures[task], uniform)
        return along(state, jnp.tile(mixture, (candidates, 1)))

    def initial_carry(num_envs: int) -> Acting:
        return Acting(jnp.zeros((num_envs, slots)), jnp.zeros(num_envs, jnp.int32))

    def act(
        params: Params, route: Route, carry: Acting, inputs: Array, *, is_first: Array, key: Key, greedy: bool
    ) -> tuple[Acting, Any, Array]:
        num_envs = inputs.shape[0]
        mixtures = route.mixed.mixtures[np.arange(num_envs) % candidates]
        if not greedy:
            timestep, K = jnp.where(is_first, 1, carry.timestep + 1), route.anchors
            new_key, old_key = jax.random.split(key)
            of_old = num_envs // 2
            new = dirichlet(new_key, num_envs - of_old, slots, K, concentration(K))
            old = flat_dirichlet(old_key, of_old, slots, jnp.maximum(K - 1, 1))
            fresh = jnp.concatenate([new, old])
            carry = Acting(acquired(carry.mixtures, fresh, is_first, timestep, repeat), timestep)
            mixtures = jnp.where(route.drawn, carry.mixtures, mixtures)
        return carry, apply(params, inputs, route.mixed._replace(mixtures=mixtures)), mixtures

    def begin_task(params: Params, state: SubspaceState, *, clock: Clock, key: Key) -> tuple[Params, SubspaceState]:
        del clock, key
        K = state.anchors

        def mean(anchors: Array) -> Array:
            present = jnp.expand_dims(jnp.arange(slots) < K, tuple(range(1, anchors.ndim)))
            return jnp.where(present, anchors, 0).sum(0) / K

        # A removed anchor is stored, too, in the slot of the next one.
        older = jax.tree.map(lambda anchors, one: anchors.at[state.newest].set(one), state.older, params)
        return jax.tree.map(mean, older), state._replace(older=older, newest=K, anchors=K + 1)

    def propose(params: Params, state: SubspaceState, replayed: Replayed, key: Key) -> SubspaceState:
        del params
        new_key, old_key, key = jax.random.split(key, 3)
        new = flat_dirichlet(new_key, samples, slots, state.anchors)
        old = flat_dirichlet(old_key, samples, slots, state.anchors - 1)
        steps = jax.random.split(key, estimations)
        found = best(
            jnp.stack([new, old]), lambda key: replayed.sample(key, 2 * samples), steps, replayed.value, candidates
        )
        return state._replace(candidates=found)

    def trial_route(state: SubspaceState, first: Array | int) -> Route:
        return along(state, jnp.roll(state.candidates, -first, axis=0))

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
        parameters = state.anchors * size_of(params)
        return Memory(parameters, parameters + state.anchors * tasks)

    network = TaskNetwork(
        init_network,
        draw,
        apply,
        training_route,
        route,
        act,
        initial_carry=initial_carry,
        seen=slots,
        seen_of=lambda mixed: mixed.mixtures,
    )
    return Continual(
        init,
        network,
        begin_task=begin_task,
        end_task=end_task,
        trial=Trial(candidates, episodes, trial_route, choose, propose),
        per_task=True,
        fresh_critics=True,
        memory=memory,
    )


@jax.custom_vjp
def older_layer(layer: Params, older: Array, x: Array, mixtures: Array) -> Array:
    r"""The part of the older anchors in a layer, $\sum_{i < n} \alpha_i (x W_i + b_i)$, `(batch, units)`.

    Only present anchors cost time, in one program for any number of them. JAX itself has no gradients of such a loop;
    here they are with respect to `x` alone.

    Args:
        layer: $W$ `(slots, inputs, units)` and $b$ `(slots, units)`.
        older: $n$, `()` int.
        x: `(batch, inputs)`.
        mixtures: $\alpha$, `(batch, slots)`.
    """
    W, b = layer["kernel"], layer["bias"]

    def add(i: Array, y: Array) -> Array:
        return y + _column(mixtures, i) * (x @ W[i] + b[i][None])

    return jax.lax.fori_loop(0, older, add, jnp.zeros((x.shape[0], b.shape[1]), x.dtype))


def _older_forward(layer: Params, older: Array, x: Array, mixtures: Array) -> tuple[Array, Any]:
    return older_layer(layer, older, x, mixtures), (layer["kernel"], older, mixtures)


def _older_backward(residuals: Any, g: Array) -> tuple[None, None, Array, None]:
    W, older, mixtures = residuals

    def add(i: Array, of_x: Array) -> Array:
        return of_x + _column(mixtures, i) * (g @ W[i].T)

    return None, None, jax.lax.fori_loop(0, older, add, jnp.zeros((g.shape[0], W.shape[1]), g.dtype)), None


older_layer.defvjp(_older_forward, _older_backward)


def _column(mixtures: Array, i: Array) -> Array:
    return jax.lax.dynamic_slice_in_dim(mixtures, i, 1, axis=1)


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
