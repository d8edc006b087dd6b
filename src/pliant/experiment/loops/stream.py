"""The loop that brings a learner and a stream together, for one member of a population.

for each chunk of a run:
    for each slice of the chunk (one compiled call, all members):
        for each block of the slice:
            at the start of an epoch: the stream begins the epoch
            batches <- the problem draws the batches of the block at once
            state   <- the agent learns from one batch after another
            at the end of an epoch:   the splits that the learner watches are judged, and the learner ends the epoch;
                                      with the chunk, all splits are
            at the end of a task:     the learner ends the task
    metrics <- means over the chunk; splits; diagnostics on the examples that come next

With tasks, the first metrics are those of no steps: the diagnostics on the first examples of the first task.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from typing_extensions import override

from pliant.core.agent import Learner
from pliant.core.base import Array
from pliant.core.clock import Clock
from pliant.core.judgement import Judgement
from pliant.core.problem import Batch, Split, Stream
from pliant.core.seeding import learner_keys
from pliant.experiment.configuration.components import Components, Metrics
from pliant.experiment.errors import ConfigError

from .learning import if_due, zeros_like
from .plan import Form, Loop, Mode, Plan, Play, Programs, Slice
from .programs import DevicePrograms, Episodes, OfMember

_BLOCK_BYTES = 256 * 1024  # of data and random numbers, drawn ahead for one member
_BLOCK_STEPS = 1000


class Member(NamedTuple):
    agent: Any  # the learner's state
    problem: Any  # the stream's state
    diverged: Array  # () the step at which the loss was first not finite; -1: never
    judged: Judgement  # sums over the chunk so far
    splits: dict[str, Judgement]  # the last judgement of each split; zeros before the first
    previous: Any  # the learner's state before the chunk; empty without diagnostics


def begin(components: Components, seed: Array, data: Any) -> Member:
    """The member before the first step."""
    stream: Stream = components.problem
    problem_key, agent_key = learner_keys(seed)
    agent = components.agent.init(agent_key)
    nothing = zeros_like(jax.eval_shape(lambda batch: _judged(components, agent, batch), _first(stream.batches())))
    return Member(
        agent=agent,
        problem=stream.init(data, problem_key),
        diverged=jnp.full((), -1, jnp.int32),
        judged=nothing,
        splits=dict.fromkeys(_measured(components), nothing),
        previous=_of_diagnostics(components, agent),
    )


def _of_diagnostics(components: Components, agent: Any) -> Any:
    """The learner before a chunk, for diagnostics; empty without them."""
    return agent if components.diagnostics else ()


def _measured(components: Components) -> list[str]:
    """The splits that a run judges: those for its metrics, and those that the learner watches."""
    stream, watched = components.problem, components.agent.watched
    return [name for name, split in stream.splits.items() if split.tracked or name in watched]


def advance(
    components: Components, member: Member, step: Array, steps: int, data: Any, slice: Slice | None = None
) -> tuple[Member, Metrics, Episodes]:
    """Advances one member by a chunk, or by a slice of a chunk.

    Args:
        components: what to run.
        member: its state.
        step: `()`, steps before the slice; the same for all members.
        steps: the chunk's length, known when compiling. A stream with tasks takes any multiple of the block in place
            of `slice.steps`.
        data: the stream's, on the device.
        slice: blocks of the chunk; steps after the last whole block belong to that block. `None`: all.

    Returns:
        The member after the slice; the metrics of the chunk, valid at its end; and no episodes.
    """
    stream: Stream = components.problem
    learner: Learner = components.agent
    calendar, measured = stream.calendar, _measured(components)
    block = block_steps(components, steps)
    rest = 0 if stream.tasks else steps % block
    slice = slice or Slice(0, steps // block, steps)
    length = slice.steps if stream.tasks else steps
    blocks = length // block
    is_first, is_last = slice.before == 0, slice.before + slice.units == blocks

    def learn(member: Member, step: Array, length: int) -> Member:
        problem, batches = stream.draw(data, member.problem, length)
        agent, judgements = learner.learn(member.agent, batches, calendar.clock(step))
        bad = ~jnp.isfinite(judgements.loss)
        first_bad = jnp.where(bad.any(), step + 1 + jnp.argmax(bad), -1).astype(jnp.int32)
        return member._replace(
            agent=agent,
            problem=problem,
            diverged=jnp.where(member.diverged >= 0, member.diverged, first_bad),
            judged=jax.tree.map(lambda sum, new: sum + new.sum(), member.judged, judgements),
        )

    def run_block(i: Array | int, carry: tuple[Member, Array], length: int) -> tuple[Member, Array]:
        member, step = carry
        now, after = calendar.clock(step), step + length
        member = member._replace(problem=begun(stream, data, member.problem, step))
        member = learn(member, step, length)
        ends, last = calendar.ends_epoch(after), is_last & (i == slice.units - 1)
        splits = {}
        for name in measured:
            due = ends if name in learner.watched else ends & last
            judge = _judge_of(components, member, data, stream.splits[name], now)
            splits[name] = _when(due, judge, member.splits[name])
        member = member._replace(splits=splits)
        if (end_epoch := learner.end_epoch) is not None:
            watched = {name: splits[name] for name in learner.watched}
            agent = _when(ends, lambda agent: end_epoch(agent, watched, now), member.agent)
            member = member._replace(agent=agent)
        if (end_task := learner.end_task) is not None:
            latest = calendar.clock(after - 1)
            agent = _when(calendar.ends_task(after), lambda agent: end_task(agent, latest), member.agent)
            member = member._replace(agent=agent)
        return member, after

    member = member._replace(
        judged=jax.tree.map(lambda sum: jnp.where(is_first, 0, sum), member.judged),
        previous=jax.tree.map(
            lambda now, before: jnp.where(is_first, now, before),
            _of_diagnostics(components, member.agent),
            member.previous,
        ),
    )
    carry = (member, jnp.asarray(step))
    carry = jax.lax.fori_loop(0, slice.units, lambda i, carry: run_block(i, carry, block), carry)
    if rest:
        carry = jax.lax.fori_loop(0, is_last * 1, lambda i, carry: run_block(i, carry, rest), carry)
    member, step = carry

    metrics = _metrics(jax.tree.map(lambda sum: sum / length, member.judged))
    for name in measured:
        metrics |= _metrics(member.splits[name], f"{name}_")
    if components.diagnostics:
        # A rank may take longer than all slices of a chunk; before the first step there is a slice without steps.
        due = is_last | (slice.units == 0)
        diagnosed = functools.partial(_diagnosed, components, step=step, data=data)
        metrics |= if_due(due, diagnosed, member)
    return member, metrics, {}


def _diagnosed(components: Components, member: Member, step: Array, data: Any) -> Metrics:
    """The diagnostics after `step` steps, on the examples that come next."""
    stream: Stream = components.problem
    learner: Learner = components.agent
    state = begun(stream, data, member.problem, step)  # the examples that come next may be those of another epoch
    _, ahead = stream.draw(data, state, max(1, stream.probe // batch_size(stream)))
    probe = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), ahead)
    return components.measure(learner.signals(member.previous, member.agent, probe))


def begun(stream: Stream, data: Any, state: Any, step: Array) -> Any:
    """The stream's state after `step` steps, where an epoch that begins then has begun."""
    if not stream.has_epochs:
        return state
    clock = stream.calendar.clock(step)
    return _when(stream.calendar.begins_epoch(step), lambda state: stream.begin_epoch(data, state, clock), state)


def _when(due: Array, change: Callable[[Any], Any], state: Any) -> Any:
    """The changed state where a change is due; all members have the same clock, so this is one branch for all."""
    return jax.lax.cond(due, change, lambda state: state, state)


def _judged(components: Components, agent: Any, batch: Batch) -> Judgement:
    return components.problem.judge(components.agent.predict(agent, batch.x), batch.y)


def _judge_of(components: Components, member: Member, data: Any, split: Split, clock: Clock) -> Callable[[Any], Any]:
    """`judgement -> judgement`: the mean over the batches of a split, whatever the judgement before was."""

    def judge(before: Judgement) -> Judgement:
        count = split.batches(clock)

        def add(i: Array, sums: Judgement) -> Judgement:
            batch = split.batch(data, member.problem, clock, i)
            return jax.tree.map(jnp.add, sums, _judged(components, member.agent, batch))

        sums = jax.lax.fori_loop(0, count, add, zeros_like(before))
        return jax.tree.map(lambda sum: sum / count, sums)

    return judge


def _metrics(judgement: Judgement, prefix: str = "") -> Metrics:
    return {(f"{prefix}{name}", ""): value for name, value in {"loss": judgement.loss, **judgement.metrics}.items()}


def _first(batches: Batch) -> Batch:
    """The shapes of one batch, from those of several."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), batches)


def block_steps(components: Components, steps: int) -> int:
    """The number of steps whose data and random numbers are drawn at once, so that they fit into the cache.

    In a stream with tasks, all epochs are multiples of it, and it does not depend on the steps of a chunk.
    """
    stream, learner = components.problem, components.agent
    per_step = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(stream.batches())) + learner.drawn_per_step
    most = max(1, min(_BLOCK_STEPS, _BLOCK_BYTES // per_step))
    if not stream.tasks:
        return min(steps, most)
    unit = stream.calendar.unit
    return max(steps for steps in range(1, most + 1) if unit % steps == 0)


def batch_size(stream: Stream) -> int:
    """Examples in one batch."""
    return stream.batches().x.shape[1]


def _program(components: Components, steps: int) -> int:
    """The length of the chunks for which a program is compiled: in streams with tasks one program serves all."""
    return block_steps(components, steps) if components.problem.tasks else steps


def _at_the_end(components: Components, step: int, metrics: Metrics) -> Metrics:
    """The metrics of a chunk that ends after `step` steps: splits are judged at the ends of epochs."""
    if not components.problem.splits or components.problem.calendar.is_end_of_epoch(step):
        return metrics
    prefixes = tuple(f"{name}_" for name in _measured(components))
    return {(metric, group): value for (metric, group), value in metrics.items() if not metric.startswith(prefixes)}


def _at_the_start(components: Components, metrics: Metrics) -> Metrics:
    """The diagnostics before the first task, as there are some before each other task."""
    return {(metric, group): value for (metric, group), value in metrics.items() if metric in components.diagnostics}


class StreamLoop(Loop):
    """The loop of streams."""

    unit = "examples"
    has_episodes = False
    frame_seconds = 0.0

    @override
    def steps_at_once(self, components: Components) -> int:
        return block_steps(components, 1) if components.problem.tasks else 1

    @override
    def units_per_step(self, components: Components) -> int:
        return batch_size(components.problem)

    @override
    def shared(self, problem: Any) -> Any:
        return problem.data

    @override
    def in_short(self, components: Components, seed: Array, shared: Any) -> Member:
        steps = 2 * self.steps_at_once(components)
        return advance(components, begin(components, seed, shared), jnp.int32(0), steps, shared)[0]

    @override
    def programs(self, plan: Plan) -> Programs:
        at_the_start = _at_the_start if plan.problem.tasks and plan.components.diagnostics else None
        return DevicePrograms(plan, OfMember(begin, advance, block_steps, _program, _at_the_end, at_the_start))

    @override
    def play(
        self, plan: Plan, *, mode: Mode, seed: int, host: Mapping[str, np.ndarray], form: Form | None = None
    ) -> Play:
        raise ConfigError(f"{plan.config.problem.name} is a stream of examples, without episodes")
