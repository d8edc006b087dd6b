"""Continual methods beside plasticity methods: each pair of kinds is refused, or works.

That methods and agents fit each other in pairs, other files show. Here a run has one of each: under SAC it is traced,
and where both change the same weights it is run.
"""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import trees
from agents_at_work import CALLS, OF_STREAM, at_work, methods_for

from pliant.core import registry
from pliant.core.clock import Clock

TASKS = 2
KINDS = {"gradient": "l2", "surgery": "continual_backprop", "topology": "neuroplastic_expansion"}
CONTINUAL_KINDS = {
    "copies": "from_scratch",
    "penalty": "ewc",
    "gradients": "a_gem",
    "path": "si",
    "weights": "packnet",
    "network": "progressive",
}
REFUSED = {
    ("weights", "topology"): "both decide which weights there are",
    **{("network", kind): "replaces the network" for kind in KINDS},
}
SMALL = {"samples": 4, "capacity": 4, "batch_size": 2}


def small(name, **settings):
    """Makes a continual method for a run of two tasks, and notes what it made."""
    method, made = registry.find("continual", name), []

    def continual_for(**context):
        given = {**context, "tasks": TASKS * [None], **SMALL, **settings}
        wanted = inspect.signature(method).parameters
        made.append(method(**{key: value for key, value in given.items() if key in wanted}))
        return made[-1]

    return continual_for, made


def at_work_with(monkeypatch, agent, continual_for, method):
    module = registry.find("agents", agent)
    make = module.make
    with monkeypatch.context() as patch:
        patch.setattr(module, "make", lambda *given, **more: make(*given, **more, continual_for=continual_for))
        return at_work(agent, methods_for([method]), TASKS)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("continual", CONTINUAL_KINDS)
def test_a_pair_is_refused_in_one_line_or_keeps_its_shapes(continual, kind, monkeypatch):
    continual_for, _ = small(CONTINUAL_KINDS[continual], finetune=2)
    if (message := REFUSED.get((continual, kind))) is not None:
        with pytest.raises(ValueError, match=message) as refusal:
            at_work_with(monkeypatch, "sac", continual_for, KINDS[kind])
        assert "\n" not in str(refusal.value) and "leave out" in str(refusal.value)
        return
    made = at_work_with(monkeypatch, "sac", continual_for, KINDS[kind])
    clock = Clock(np.int32(8), np.int32(8), np.int32(0), np.int32(4))

    def through_a_border(member):
        member, _ = made.advance(member, 0)
        return member._replace(agent=made.agent.end_task(member.agent, clock))

    member = jax.eval_shape(made.begin, np.uint32(0))
    after = jax.eval_shape(through_a_border, member)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), after) == jax.tree.map(lambda x: (x.shape, x.dtype), member)


def test_a_surgery_leaves_the_weights_of_earlier_tasks_to_the_bit(monkeypatch):
    # Continual backprop replaces a fifth of the units every second step; of a unit it draws the free weights alone.
    continual_for, packnets = small("packnet", finetune=0, prune=0.5)
    made = at_work_with(monkeypatch, "sgd", continual_for, "continual_backprop")
    border = Clock(*(np.int32(CALLS * OF_STREAM),) * 2, np.int32(0), np.int32(CALLS * OF_STREAM))

    def run(seed):
        [packnet] = packnets
        member, _ = made.advance(made.begin(seed), 0)
        agent = made.agent.end_task(member.agent, border)
        member, _ = made.advance(member._replace(agent=agent), CALLS)
        first, second = (packnet.view(x.params, x.continual, jnp.int32(0)) for x in (agent, member.agent))
        return first, second, agent.params, member.agent.params, agent.continual.owners

    first, second, before, after, owners = trees.numpy(jax.jit(run)(np.uint32(0)))
    trees.assert_equal(second, first)
    assert any(leaf.any() for leaf in jax.tree.leaves(first))
    free = [owner < 0 for owner in jax.tree.leaves(owners)]
    old, new = (
        np.concatenate([leaf[is_free] for leaf, is_free in zip(jax.tree.leaves(params), free)])
        for params in (before, after)
    )
    assert len(old) and not old.any() and new.any()
