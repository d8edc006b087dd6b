"""An agent that keeps what it saw, in both loops: one whose state is large, and changes a little at each step."""

import contextlib

import jax
import numpy as np
import pytest
import toys

from pliant.experiment.configuration.reading import from_mapping
from pliant.experiment.errors import ConfigError
from pliant.experiment.loops import device as device_loop
from pliant.experiment.loops import planning
from pliant.experiment.loops.learning import zero_transitions
from pliant.experiment.loops.planning import plan, plans, unchecked_plan
from pliant.experiment.loops.population import MemberMap, layout
from pliant.experiment.loops.saving import agents_in

SMALL = {
    "name": "td3", "learning_starts": 12, "buffer_size": 60, "batch_size": 8, "update_to_data": 0.5, "hidden_units": 4,
    "actor_layers": 1, "critic_layers": 1, "learning_rate": 0.01, "n_step": 2,
}  # fmt: skip


def drift(form, **fields):
    name = {"device": "drift", "host": "drift_host"}[form]
    problem = {"name": name, "num_envs": 2, "time_limit": 4}
    return from_mapping({"problem": problem, "agent": SMALL, "diagnostics": [], "seeds": "2", **fields})


FORMS = ("device", "host")


@pytest.fixture(scope="module")
def programs(toy_parts):
    """In both forms, programs of an agent with a method that draws at random, and with diagnostics."""
    method = {"name": "continual_backprop", "replacement_rate": 0.2, "maturity": 2, "max_per_step": 2}
    fields = {"methods": [method], "diagnostics": ["unit_age", "weight_change", "sparsity"]}
    with contextlib.ExitStack() as stack:
        yield {form: stack.enter_context(contextlib.closing(toys.programs_of(drift(form, **fields)))) for form in FORMS}


def two_chunks(programs):
    programs.begin()
    return [programs.advance(step, 24) for step in (0, 24)]


@pytest.mark.compilations(12)  # the programs of both forms, which two more tests use
def test_learners_cannot_tell_where_their_environments_are(programs):
    there, here = two_chunks(programs["device"]), two_chunks(programs["host"])
    for a, b in zip(there, here, strict=True):
        assert a.metrics.keys() == b.metrics.keys() >= {
            ("unit_age", "actor/Dense_0"), ("unit_age", "critic_1/Dense_0"),
            ("sparsity", "actor"), ("sparsity", "critic_1"), ("n_step", ""),
        }  # fmt: skip
        for key, values in a.metrics.items():
            np.testing.assert_allclose(values, b.metrics[key], rtol=1e-3, atol=1e-5, err_msg=str(key))
    for a, b in zip(*(agents_in(programs[form].save()).states for form in FORMS), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)
    assert here[1].metrics["critic_loss", ""].all() and (here[1].metrics["replay_size", ""] > 30).all()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.compilations(8)  # where no test before it has made some of its programs
def test_all_that_was_learned_and_kept_is_restored(form, programs):
    made = programs[form]
    made.begin()
    made.advance(0, 24)
    saved = made.save()
    results = []
    if form == "device":  # nothing else goes on than what was saved: as if it had never stopped
        results.append((made.advance(24, 24).metrics, made.save()))
    for _ in range(2):
        made.restore(saved, 24)
        results.append((made.advance(24, 24).metrics, made.save()))
        results[-1][1].pop("host.resets", None)
    for result in results[1:]:
        jax.tree.map(np.testing.assert_array_equal, result, results[0])


def test_who_learns_after_each_step_acts_in_the_same_call(programs, monkeypatch):
    acted_alone, compiled = [], programs["host"]._groups[0]._programs
    act = compiled.act
    monkeypatch.setattr(compiled, "act", lambda *given: acted_alone.append(given[-1]) or act(*given))
    two_chunks(programs["host"])
    assert acted_alone == [0]  # before anything was learned


@pytest.mark.parametrize(("form", "members"), [("host", 1), ("device", 2)])
def test_what_is_kept_is_not_copied(form, members, toy_parts):
    # A million rows of 5 numbers, 20 MB, are written to in place; but from JAX 0.12 on XLA may copy one array of them
    # whose last axis is 1, here the 4 MB of observations, between two layouts that are the same in memory.
    copied = 1_000_000 if jax.__version_info__ < (0, 12) else 4_100_000
    jax.config.update("jax_disable_most_optimizations", False)
    agent = {**SMALL, "buffer_size": 1_000_000}
    try:
        components = toys.components_of(drift(form, agent=agent))
        if form == "host":
            member = jax.eval_shape(lambda: (components.agent.init(jax.random.key(0)), zero_transitions(components)))
            function = components.agent.learn
        else:
            member = jax.eval_shape(lambda: (device_loop.begin(components, 0),))
            function = lambda member, step: device_loop.advance(components, member, step, 24)  # noqa: E731
        members_of = jax.tree.map(lambda x: jax.ShapeDtypeStruct((members, *x.shape), x.dtype), member)
        lowered = MemberMap(layout(members, "vmap", 1)).jit(function, donate=True).lower(*members_of, np.int32(0))
        assert lowered.compile().memory_analysis().temp_size_in_bytes < copied
    finally:
        jax.config.update("jax_disable_most_optimizations", True)


@pytest.mark.parametrize(
    ("settings", "one_after_another"),
    [
        ({"buffer_size": 10}, False),
        ({"buffer_size": 50_000}, False),
        ({"buffer_size": 5_000_000}, False),
        ({"buffer_size": 600, "hidden_units": 300, "critic_layers": 2, "batch_size": 500}, True),  # most is the network
    ],
)
def test_members_advance_at_once_where_copying_them_would_take_long(settings, one_after_another, toy_parts):
    its_plan = unchecked_plan(drift("host", agent={**SMALL, **settings}))
    assert its_plan.seed_axis == ("map" if one_after_another else "vmap")


def test_a_population_larger_than_memory_is_refused_before_it_is_made(toy_parts, monkeypatch):
    monkeypatch.setattr(planning, "available_memory", lambda: 100_000)
    plan(drift("device", seeds="10"))
    many = drift("device", seeds="99")
    for begin in (plan, plans):
        with pytest.raises(
            ConfigError, match=r"^the agents of 99 members take 0.0 GiB of memory, .* write fewer seeds"
        ) as e:
            begin(many)
        assert "\n" not in str(e.value)
