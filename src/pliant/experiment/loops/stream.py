"""The loop that brings a learner and a stream together, for one member of a population.

for each chunk of a run:
    for each slice of the chunk (one compiled call, all members):
        for each block of the slice:
            batches <- the problem draws the batches of the block at once
            state   <- the agent learns from one batch after another
    metrics <- mean loss of the chunk; diagnostics on the examples that come next
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from typing_extensions import override

from pliant.core.base import Array
from pliant.core.problem import Batch, Stream
from pliant.core.seeding import learner_keys
from pliant.experiment.configuration.components import Components, Metrics
from pliant.experiment.errors import ConfigError

from .plan import Form, Loop, Mode, Plan, Play, Programs, Slice
from .programs import DevicePrograms, Episodes, OfMember

_PROBE = 1000  # examples on which diagnostics are measured
_BLOCK_BYTES = 256 * 1024  # of data and random numbers, drawn ahead for one member
_BLOCK_STEPS = 1000


class Member(NamedTuple):
    agent: Any  # the learner's state
    problem: Any  # the stream's state
    diverged: Array  # () the step at which the loss was first not finite; -1: never
    loss: Array  # () sum over the chunk so far
    previous: Any  # the learner's state before the chunk; empty without diagnostics


def begin(components: Components, seed: Array) -> Member:
    """The member before the first step."""
    problem_key, agent_key = learner_keys(seed)
    agent = components.agent.init(agent_key)
    return Member(
        agent=agent,
        problem=components.problem.init(problem_key),
        diverged=jnp.full((), -1, jnp.int32),
        loss=jnp.zeros(()),
        previous=_of_diagnostics(components, agent),
    )


def _of_diagnostics(components: Components, agent: Any) -> Any:
    """The learner before a chunk, for diagnostics; empty without them."""
    return agent if components.diagnostics else ()


def advance(
    components: Components, member: Member, step: Array, steps: int, slice: Slice | None = None
) -> tuple[Member, Metrics, Episodes]:
    """Advances one member by a chunk, or by a slice of a chunk.

    Args:
        components: what to run.
        member: its state.
        step: `()`, steps before the slice; the same for all members.
        steps: the chunk's length, known when compiling.
        slice: blocks of the chunk; steps after the last whole block belong to that block. `None`: all.

    Returns:
        The member after the slice; the metrics of the chunk, valid at its end; and no episodes.
    """
    stream, learner = components.problem, components.agent
    block = block_steps(components, steps)
    blocks, rest = divmod(steps, block)
    slice = slice or Slice(0, blocks)
    is_first, is_last = slice.before == 0, slice.before + slice.units == blocks

    def run_block(carry: tuple[Member, Array], length: int) -> tuple[Member, Array]:
        member, step = carry
        problem, batches = stream.draw(member.problem, length)
        agent, losses = learner.learn(member.agent, batches, step)
        bad = ~jnp.isfinite(losses)
        first_bad = jnp.where(bad.any(), step + 1 + jnp.argmax(bad), -1).astype(jnp.int32)
        diverged = jnp.where(member.diverged >= 0, member.diverged, first_bad)
        return Member(agent, problem, diverged, member.loss + losses.sum(), member.previous), step + length

    member = member._replace(
        loss=jnp.where(is_first, 0, member.loss),
        previous=jax.tree.map(
            lambda now, before: jnp.where(is_first, now, before),
            _of_diagnostics(components, member.agent),
            member.previous,
        ),
    )
    carry = jax.lax.fori_loop(0, slice.units, lambda _, carry: run_block(carry, block), (member, jnp.asarray(step)))
    if rest:
        carry = jax.lax.fori_loop(0, is_last * 1, lambda _, carry: run_block(carry, rest), carry)
    member = carry[0]

    metrics: Metrics = {("loss", ""): member.loss / steps}
    if components.diagnostics:
        _, ahead = stream.draw(member.problem, max(1, _PROBE // batch_size(stream)))
        probe = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), ahead)
        signals = learner.signals(member.previous, member.agent, probe)
        metrics |= components.measure(signals)
    return member, metrics, {}


def block_steps(components: Components, steps: int) -> int:
    """The number of steps whose data and random numbers are drawn at once, so that they fit into the cache."""
    one = _one_step(components.problem)
    per_step = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(one)) + components.agent.drawn_per_step
    return max(1, min(steps, _BLOCK_STEPS, _BLOCK_BYTES // per_step))


def _one_step(stream: Stream) -> Batch:
    return jax.eval_shape(lambda key: stream.draw(stream.init(key), 1)[1], jax.random.key(0))


def batch_size(stream: Stream) -> int:
    """Examples in one batch."""
    return _one_step(stream).x.shape[1]


class StreamLoop(Loop):
    """The loop of streams."""

    unit = "examples"
    has_episodes = False
    frame_seconds = 0.0

    @override
    def steps_at_once(self, components: Components) -> int:
        return 1

    @override
    def units_per_step(self, components: Components) -> int:
        return batch_size(components.problem)

    @override
    def in_short(self, components: Components, seed: Array) -> Member:
        return advance(components, begin(components, seed), jnp.int32(0), 2)[0]

    @override
    def programs(self, plan: Plan) -> Programs:
        return DevicePrograms(plan, OfMember(begin, advance, block_steps))

    @override
    def play(
        self, plan: Plan, *, mode: Mode, seed: int, host: Mapping[str, np.ndarray], form: Form | None = None
    ) -> Play:
        raise ConfigError(f"{plan.config.problem.name} is a stream of examples, without episodes")
