"""Rewire: all tasks share the weights, and each kind of task has an order of the units and a head of its own."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from pliant.core.base import Array, Key, Params
from pliant.core.clock import Clock, Task
from pliant.core.continual import Continual, DenseLayers, Memory, TaskNetwork, Trial, Update, dense_layers_for, size_of
from pliant.core.likelihood import LOG_STD_RANGE, Likelihood, gaussian
from pliant.core.settings import AtLeast, FromUpTo, Whole, require
from pliant.surgery.soft_sort import evenly_spaced, ranks

from ._rewire_network import RewiredNetwork, Route

_OTHER_MEAN_RANGE = (-20.0, 20.0)


class RewireState(NamedTuple):
    anchor: Params  # the hidden layers at the end of the newest finished task
    wirings: tuple[Array, ...]  # (slots, units) int32 of each hidden layer: orders of the units in finished tasks
    head_before: Params  # the head of the newest task, before that task
    finished: Array  # () int32: finished tasks
    learns: Array  # () bool: whether the next task has begun
    mode: Array  # () int32: the selected one
    score_before: Array  # () mean return in the newest task, before the network learned it


def rewire(
    tasks: tuple[Task, ...],
    likelihood: Likelihood,
    layers: DenseLayers | None = None,
    modes: int = 3,
    temperature: float = 1.0,
    noise: float = 0.1,
    dropout: float = 0.1,
    alignment_temperature: float = 0.1,
    divergence: float = 1e-5,
    strength: float = 100.0,
    cycle: int = 0,
    episodes: int = 128,
    improvement: float = 0.0,
) -> Continual:
    r"""Rewire: the units of each hidden layer are put into an order that the network learns for each task.

    Between the linear map of a hidden layer and its activation the units are sorted by scores. Each of $k$ modes has
    scores $s_m$ of its own. An update draws a mode $m$ and another mode $m'$. With Gumbel noise $g$, and the
    straight-through gradient of SoftSort, layer $l$ is

    $$h_l = \phi(P_l (W_l h_{l-1} + b_l)), \qquad P_l = \mathrm{SoftSort}_\tau(s_{l,m} + \beta g).$$

    The divergence pulls the modes together. From the second task on, the alignment pulls the weights to the anchor
    $\bar W, \bar b$, the weights at the end of the task before, whose units have learned permutations $Z$ and $A$:

    $$\lambda_d \sum \left[ (\mu - \mu')^2 + (\log \sigma - \log \sigma')^2 \right], \qquad
    c \sum_l \left[ \|W_l - Z_l^\top \bar W_l A_l\|^2 + \|b_l - Z_l^\top \bar b_l\|^2 \right] - \text{constant}.$$

    The first sum is over all inputs of the update and all outputs. After a task each mode plays it. If the best mean
    return is below the return before the task, weights and wiring are put back. The order of the best mode is stored
    for the task, and the orders of earlier tasks follow the permutations.

    Args:
        tasks: of the run.
        likelihood: of the outputs.
        layers: of the network, which this method replaces.
        modes: $k$, orders of the units that are learned at once.
        temperature: $\tau$, of the gradients of the scores. Published: 0.1 and 1, see the scenarios.
        noise: $\beta$, at least 0, the factor of the Gumbel noise. Published: 0 and 0.1.
        dropout: in [0, 1), the probability that a unit drops out in updates and in the actions of training. It acts
            where `noise` is 0, and otherwise not at all.
        alignment_temperature: $\tau$ of the permutations $Z$ and $A$.
        divergence: $\lambda_d$, at least 0. Published: 1e-6 for the humanoid.
        strength: $c$, at least 0. Published: 0 to 100.
        cycle: after how many tasks $n$ their kinds repeat: task $t$ uses the head and the order of task $t - n$ again.
            0: each task has its own. No other method is told that tasks repeat.
        episodes: that each mode plays after a task, at least. Published: 1280.
        improvement: at least 0, the part of the return before the task by which the best mode must be above it.

    Raises:
        ValueError: for a value outside its range, or an agent without a network of dense layers.

    Differs from the authors' code: scores that are equal keep their order, where theirs gives two units one place. With
    `cycle` 1 the only head goes on learning; theirs is frozen. The trial has `episodes`; theirs has 10 of each of 128
    environments, and neither counts as training.

    References:
        Sun and Mu, Rewiring neurons in non-stationary environments, NeurIPS 2023.

    Example:
        >>> import pliant.continual
        >>> from pliant.core.likelihood import unit_normal
        >>> def initialize(key, sizes):
        ...     pairs = enumerate(zip(sizes, sizes[1:]))
        ...     return {f"Dense_{i}": {"kernel": jnp.ones((n, m)), "bias": jnp.zeros(m)} for i, (n, m) in pairs}
        >>> layers = DenseLayers((3, 8, 8, 2), jnp.tanh, initialize, lambda numbers: numbers, "actor")
        >>> tasks = (Task("moon", 1000), Task("normal", 2000))
        >>> method = pliant.continual.rewire(tasks, unit_normal, layers, modes=2)
        >>> params = jax.eval_shape(method.network.init, jax.random.key(0))
        >>> params["mode_scores"]["Dense_1"].shape, params["heads"]["kernel"].shape
        ((2, 8), (2, 8, 2))
    """
    require("modes", modes, Whole(1))
    require("temperature", temperature, AtLeast(1e-6))
    require("noise", noise, AtLeast(0))
    require("dropout", dropout, FromUpTo(0, 1))
    require("alignment_temperature", alignment_temperature, AtLeast(1e-6))
    require("divergence", divergence, AtLeast(0))
    require("strength", strength, AtLeast(0))
    require("cycle", cycle, AtLeast(0))
    require("episodes", episodes, Whole(1))
    require("improvement", improvement, AtLeast(0))
    layers = dense_layers_for("rewire", layers)
    slots = min(cycle, len(tasks)) if cycle else len(tasks)
    network = RewiredNetwork(layers, modes, slots, temperature, noise, dropout)

    def init(params: Params) -> RewireState:
        wirings = tuple(jnp.tile(jnp.arange(units, dtype=jnp.int32), (slots, 1)) for units in network.units)
        head = _head_of(params, jnp.int32(0))
        count, score = jnp.zeros((), jnp.int32), jnp.zeros((), jnp.float32)
        return RewireState(jax.tree.map(jnp.array, params["body"]), wirings, head, count, jnp.array(True), count, score)

    def slot_of(state: RewireState) -> Array:
        """The slot of the first task that is not finished."""
        return state.finished % slots

    def scores_of(state: RewireState, slot: Array) -> Params:
        """Mode scores that all keep the stored order of a slot."""
        order = [wiring[slot] for wiring in state.wirings]
        return {name: evenly_spaced(jnp.argsort(of)) for name, of in zip(network.hidden, order)}

    def all_modes(scores: Params) -> Params:
        return jax.tree.map(lambda one: jnp.tile(one[None], (modes, 1)), scores)

    def penalty(params: Params, state: RewireState, update: Update) -> Array:
        others = network.apply_other(params, update.inputs, update.context)
        pulled = _distance(likelihood, update.outputs, others)
        aligned = network.alignment(params, state.anchor, alignment_temperature)
        return divergence * pulled + jnp.where(state.finished > 0, strength * aligned, 0.0)

    def project(params: Params, state: RewireState, previous: Params) -> Params:
        return params | {"heads": _with_head(previous, slot_of(state), _head_of(params, slot_of(state)))}

    def begin_task(params: Params, state: RewireState, *, clock: Clock, key: Key) -> tuple[Params, RewireState]:
        del clock, key
        slot = slot_of(state)
        returns = state.finished >= slots  # to a slot
        head = _head_of(params, jnp.where(returns, slot, (state.finished - 1) % slots))
        stored = all_modes(scores_of(state, slot))
        kept = jax.tree.map(lambda scores: evenly_spaced(ranks(scores)), params["mode_scores"])
        scores = jax.tree.map(lambda stored, kept: jnp.where(returns, stored, kept), stored, kept)
        params = params | {"heads": _with_head(params, slot, head), "mode_scores": scores}
        return params, state._replace(head_before=head, learns=jnp.array(True))

    def standing(state: RewireState, score: Array) -> RewireState:
        return state._replace(score_before=jnp.asarray(score, jnp.float32))

    def choose(params: Params, state: RewireState, scores: Array, clock: Clock) -> tuple[Params, RewireState]:
        """The best mode; or the network before the task, with the wiring of the slot or of the task before."""
        del clock
        slot = slot_of(state)
        before = jnp.where(state.finished >= slots, slot, state.finished - 1)
        outputs, inputs = network.even_scores()
        old = {
            "body": state.anchor,
            "heads": _with_head(params, slot, state.head_before),
            "mode_scores": all_modes(scores_of(state, before)),
            "output_scores": outputs,
            "input_scores": inputs,
        }
        is_worse = scores.max() < state.score_before * (1 + improvement)
        params = jax.tree.map(lambda old, new: jnp.where(is_worse, old, new), old, params)
        return params, state._replace(mode=jnp.argmax(scores).astype(jnp.int32))

    def end_task(
        params: Params, state: RewireState, *, inputs: Array, clock: Clock, key: Key
    ) -> tuple[Params, RewireState]:
        """Stored wirings follow the permutations of the anchor; then the task's own wiring is stored as it is."""
        del inputs, clock, key
        wirings, selected = [], {}
        for name, above, wiring in zip(network.hidden, (*network.hidden[1:], ""), state.wirings):
            wiring = jnp.argsort(params["output_scores"][name])[wiring]
            if above:
                wiring = wiring[:, ranks(params["input_scores"][above])]
            selected[name] = params["mode_scores"][name][state.mode]
            wirings.append(wiring.at[slot_of(state)].set(jnp.argsort(selected[name])))
        output_scores, input_scores = network.even_scores()
        after = state._replace(
            anchor=params["body"], wirings=tuple(wirings), finished=state.finished + 1, learns=jnp.array(False)
        )
        scores = {"output_scores": output_scores, "input_scores": input_scores, "mode_scores": all_modes(selected)}
        return params | scores, after

    def route_of_modes(state: RewireState, mode: Array, stride: int, learns: bool) -> Route:
        unused = tuple(wiring[0] for wiring in state.wirings)
        return Route(slot_of(state), jnp.array(False), unused, mode, jnp.int32(stride), jnp.array(learns))

    def training_route(state: RewireState) -> Route:
        return route_of_modes(state, state.mode, stride=0, learns=True)

    def trial_route(state: RewireState, first: Array | int) -> Route:
        return route_of_modes(state, jnp.asarray(first, jnp.int32), stride=1, learns=False)

    def route(state: RewireState, task: Array | int) -> Route:
        """The stored wiring of a task; of a task to come, that of its slot, or of the newest slot.

        The task that is being learned has the selected mode.
        """
        newest = route_of_modes(state, state.mode, stride=0, learns=False)
        slot = jnp.minimum(task % slots if cycle else task, state.finished - 1)
        stored = newest._replace(
            slot=slot, is_stored=jnp.array(True), wiring=tuple(wiring[slot] for wiring in state.wirings)
        )
        is_newest = state.learns & ((task == state.finished) | (state.finished == 0))
        return jax.tree.map(lambda newest, stored: jnp.where(is_newest, newest, stored), newest, stored)

    def memory(params: Params, state: RewireState, tasks: Array | int) -> Memory:
        del state
        used = jnp.clip(tasks, 1, slots)
        head = size_of(params["heads"]) // slots
        acting = size_of(params["body"]) + used * (head + sum(network.units))
        beside = sum(size_of(params[name]) for name in ("body", "mode_scores", "output_scores", "input_scores"))
        return Memory(acting, acting + beside + jnp.where(jnp.asarray(tasks) > 1, head, 0))

    return Continual(
        init,
        network=TaskNetwork(
            network.init,
            draw=lambda state, batch, key: network.draw(slot_of(state), batch, key),
            apply=network.apply,
            training_route=training_route,
            route=route,
            act=network.act,
        ),
        penalty=penalty,
        project=project,
        begin_task=begin_task,
        end_task=end_task,
        trial=Trial(modes, episodes, trial_route, choose, standing=standing),
        per_task=True,
        memory=memory,
    )


def _head_of(params: Params, slot: Array) -> Params:
    return jax.tree.map(lambda heads: heads[slot], params["heads"])


def _with_head(params: Params, slot: Array, head: Params) -> Params:
    """The heads, with another one in a slot."""
    return jax.tree.map(lambda heads, one: heads.at[slot].set(one), params["heads"], head)


def _distance(likelihood: Likelihood, outputs: Any, others: Any) -> Array:
    """The sum of squares between the outputs of two modes, of which normal numbers are clipped."""
    if likelihood is gaussian:
        (mean, log_std), (other_mean, other_log_std) = outputs, others
        outputs = mean, jnp.clip(log_std, *LOG_STD_RANGE)
        others = jnp.clip(other_mean, *_OTHER_MEAN_RANGE), jnp.clip(other_log_std, *LOG_STD_RANGE)
    squares = jax.tree.map(lambda y, other: ((y - other) ** 2).sum(), outputs, others)
    return sum(jax.tree.leaves(squares), jnp.zeros(()))
