"""What methods and agents owe each other, both found by their names alone.

That an agent lets each kind of piece act, and tells it all signals, its contract shows with pieces of its own; that a
method acts, the contract of methods. So methods are only traced here under each agent, as many as possible at once,
which takes no program. `make test-all` runs all pairs.
"""

import functools

import busy
import jax
import numpy as np
import pytest
import trees
from agents_at_work import CALLS, NAMES, at_work, methods_for

from pliant.core import registry

METHODS = registry.names("methods")


def like(tree):
    return jax.tree.map(lambda x: (x.shape, x.dtype), tree)


@pytest.mark.parametrize("agent", NAMES)
@pytest.mark.parametrize("methods", busy.that_go_together(), ids=lambda names: names[-1])
def test_methods_get_all_signals_they_ask_for_and_keep_shapes(agent, methods):
    made = at_work(agent, methods_for(methods))
    member = jax.eval_shape(made.begin, np.uint32(0))
    after, rounds = jax.eval_shape(made.advance, member, np.int32(0))
    assert like(after) == like(member)
    assert all(value.shape == (CALLS,) for value in rounds.metrics.values())


@functools.cache
def learned(agent, method=None):
    """What an agent learned in the last calls of a run, and the metrics."""
    made = at_work(agent, methods_for([method] if method else []))

    def run(seed):
        member = made.begin(seed)
        for call in (0, CALLS):
            member, rounds = made.advance(member, call)
        signals = made.agent.signals(*jax.tree.map(lambda x: x[-1], (rounds.previous,)), member.agent,
                                     jax.tree.map(lambda x: x[-1], rounds.data))  # fmt: skip
        return signals["params"], rounds.metrics

    # Nearly all the time goes into compiling; without optimization it takes a third less.
    return trees.numpy(jax.jit(run, compiler_options={"xla_backend_optimization_level": 0})(np.uint32(0)))


@pytest.mark.exhaustive
@pytest.mark.parametrize("agent", NAMES)
@pytest.mark.parametrize("method", METHODS)
def test_a_method_acts_under_an_agent(agent, method):
    params, metrics = learned(agent, method)
    assert trees.finite(params) and trees.finite(metrics)
    assert trees.differs(params, learned(agent)[0], rtol=0, atol=0), busy.nothing_changed(method)
