"""From a configuration to parts: what can be said of any method of any problem."""

import functools

import jax
import numpy as np
import optax
import pytest
import toys

import pliant.methods
from pliant.core import registry, units
from pliant.core.timing import RestartState
from pliant.experiment.configuration.reading import from_mapping
from pliant.experiment.errors import ConfigError
from pliant.experiment.loops.learning import metric_names
from pliant.experiment.loops.planning import plans, unchecked_plan
from pliant.methods import redo

pytestmark = pytest.mark.usefixtures("toy_parts")

GROUPS = ("policy/Dense_0", "policy/Dense_1", "value/Dense_0", "value/Dense_1")


def drift(*methods, calm=0):
    """A run of PPO, whose network has two hidden layers for the policy and two for the value."""
    problem = {"name": "drift", "num_envs": 2, "calm": calm}
    agent = {"name": "ppo", "horizon": 6, "minibatches": 2, "hidden_units": 4}
    return from_mapping({"problem": problem, "agent": agent, "methods": methods})


def groups_of(config):
    """The groups that the first method that counts ages works on."""
    state = jax.eval_shape(toys.components_of(config).agent.init, jax.random.key(0))
    return tuple(optax.tree.get(state.optimizer.after, "age"))


@pytest.mark.parametrize(
    ("only", "groups"),
    [
        ("", GROUPS),
        ("value/Dense_1", ("value/Dense_1",)),
        (" policy/Dense_1 ,value/Dense_1", ("policy/Dense_1", "value/Dense_1")),
        ("value/*", ("value/Dense_0", "value/Dense_1")),
        ("*/Dense_1, policy/*", ("policy/Dense_0", "policy/Dense_1", "value/Dense_1")),
        ("v*_[01],value/Dense_1", ("value/Dense_0", "value/Dense_1")),
    ],
)
def test_a_method_works_on_the_groups_that_are_named(only, groups):
    assert groups_of(drift({"name": "continual_backprop", "groups": only})) == groups


def test_the_other_methods_keep_all_groups():
    both = drift({"name": "redo", "groups": "value/Dense_0"}, "continual_backprop")
    assert groups_of(both) == GROUPS


def test_beginning_and_learning_are_traced_once_in_several_programs(monkeypatch):
    agents, traced = registry.find("agents", "ppo"), []

    def make(*given):
        agent = make_ppo(*given)

        def told(name, function):
            return lambda *given: traced.append(name) or function(*given)

        return agent._replace(init=told("init", agent.init), learn=told("learn", agent.learn))

    make_ppo = agents.make
    monkeypatch.setattr(agents, "make", make)
    components = toys.components_of(drift())
    jax.eval_shape(jax.vmap(components.agent.init), jax.random.split(jax.random.key(0)))
    for _ in range(2):
        assert "value_loss" in metric_names(components)
    assert traced == ["init", "learn"]


def drift_td3(*methods):
    agent = {"name": "td3", "hidden_units": 4, "buffer_size": 10}
    return from_mapping({"problem": "drift", "agent": agent, "methods": methods})


@pytest.mark.parametrize(
    ("agent", "initializers"),
    [
        ({"name": "ppo", "horizon": 6, "minibatches": 2, "initializer": "xavier"}, ["xavier"]),
        ({"name": "td3"}, ["default", "default"]),
    ],
)
def test_methods_are_told_the_initializer_of_each_network(monkeypatch, agent, initializers):
    seen = []

    @functools.wraps(redo)
    def spy(wiring, **settings):
        seen.append(wiring.initializer)
        return redo(wiring, **settings)

    monkeypatch.setattr(pliant.methods, "redo", spy)
    toys.components_of(from_mapping({"problem": "drift", "agent": {**agent, "hidden_units": 4}, "methods": ["redo"]}))
    assert seen == initializers


GROWING = {"name": "neuroplastic_expansion", "initial_sparsity": 0.4, "final_sparsity": 0.2}


def test_each_network_has_a_method_of_its_own():
    actor = {"name": "static_sparse", "groups": "actor/*", "sparsity": 0.4}
    critics = {**GROWING, "name": f"{GROWING['name']}@critics", "groups": "critic_*/*", "initial_sparsity": 0.3}
    state = jax.eval_shape(toys.components_of(drift_td3(actor, critics)).agent.init, jax.random.key(0))
    for network, layers in ("actor", 3), ("critic", 8):
        (topology,) = getattr(state.learned.optimizer, "actor" if network == "actor" else "critics").after
        assert len(topology.mask) == layers and all(path.startswith(network) for path in topology.mask)


def test_two_topologies_in_one_network_have_layers_of_their_own():
    def both(policy, value):
        names = [f"{GROWING['name']}@{label}" for label in ("policy", "value")]
        growing = {**GROWING, "period": 2, "rate": 0.5}
        return drift({**growing, "name": names[0], "groups": policy}, {**growing, "name": names[1], "groups": value})

    agent = toys.components_of(both("policy/*", "value/*")).agent
    state = jax.jit(agent.init)(jax.random.key(0))
    masks, params = jax.device_get(([topology.mask for topology in state.optimizer.after], state.params))
    layers = [[f"{network}/Dense_{i}/kernel" for i in range(3)] for network in ("policy", "value")]
    assert [sorted(mask) for mask in masks] == layers
    for mask in masks:  # each has 40 % missing, of 4 * 4 and some more weights, and what is missing is 0
        missing = sum(int((~there).sum()) for there in mask.values()) / sum(there.size for there in mask.values())
        assert missing == pytest.approx(0.4, abs=0.05)
    by_path = units.leaves(params)
    assert all(not by_path[path][~there].any() for mask in masks for path, there in mask.items())
    with pytest.raises(ConfigError) as error:
        toys.components_of(both("*/Dense_0", "value/Dense_1"))
    assert str(error.value) == (
        "neuroplastic_expansion@policy and neuroplastic_expansion@value both mask the weights of "
        "value/Dense_1/kernel; write groups that have no layer in common"
    )
    # Methods that are no topologies may share what they like.
    toys.components_of(drift("redo", {"name": "redo@seldom", "period": 5000}))


def test_of_several_networks_a_method_works_on_those_that_are_named():
    def td3(only):
        return drift_td3({"name": "redo", "groups": only})

    components = toys.components_of(td3("critic_0/Dense_2,critic_1/Dense_0"))
    state = jax.eval_shape(components.agent.init, jax.random.key(0))
    assert state.learned.optimizer.actor.after == ()
    (method,) = state.learned.optimizer.critics.after
    assert tuple(optax.tree.get(method, "replaced")) == ("critic_0/Dense_2", "critic_1/Dense_0")
    features = dict.fromkeys(("actor/Dense_0", "critic_0/Dense_0", "critic_1/Dense_2"), np.ones((2, 4), np.float32))
    with pytest.raises(ValueError, match=r"features has no 'actor/Dense_1'; it has: actor/Dense_0, critic_0/Dense_0"):
        jax.jit(components.diagnostics["dormant_fraction"])(features=features)
    with pytest.raises(
        ConfigError, match=r"no group 'value' in this wiring; it has: actor/Dense_0, .*critic_1/Dense_2$"
    ):
        toys.components_of(td3("actor/Dense_0,value"))
    with pytest.raises(ConfigError, match=r"no group 'critic/\*' in this wiring; it has: actor/Dense_0, .*"):
        toys.components_of(td3("actor/*,critic/*"))


def test_the_state_of_a_method_is_kept_unless_it_is_to_forget():
    def state_of(on_new_task):
        config = drift({"name": "redo", "on_new_task": on_new_task}, calm=30)
        (state,) = jax.eval_shape(toys.components_of(config).agent.init, jax.random.key(0)).optimizer.after
        return state

    assert isinstance(state_of("reset"), RestartState)
    assert jax.tree.structure(state_of("reset").inner) == jax.tree.structure(state_of("keep"))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            lambda: drift({"name": "redo", "groups": "value/Dense_0,values"}),
            f"no group 'values' in this wiring; it has: {', '.join(GROUPS)}",
        ),
        (lambda: drift({"name": "redo", "groups": ","}), "no group '' in this wiring; it has: policy/Dense_0, "),
        (
            lambda: drift({"name": "l2", "on_new_task": "reset"}),
            "l2.on_new_task=reset: drift has no tasks; leave on_new_task out",
        ),
        (
            lambda: from_mapping(
                {"problem": "slowly_changing_regression", "methods": [{"name": "redo", "on_new_task": "reset"}]}
            ),
            "redo.on_new_task=reset: slowly_changing_regression has no tasks; leave on_new_task out",
        ),
        (
            lambda: drift({"name": "l2", "on_new_task": "act"}, calm=30),
            "l2.on_new_task=act: each_task takes a surgery, such as head_reset or shrink_and_perturb",
        ),
        (
            lambda: from_mapping(
                {
                    "problem": {"name": "permuted_mnist", "data": "digits"},
                    "methods": [{"name": "redo", "on_new_task": "act"}],
                }
            ),
            "redo.on_new_task=act: a method that needs the features of a batch acts after updates",
        ),
    ],
    ids=["unknown group", "no name", "environment", "stream", "act by gradients", "act on features"],
)
def test_refuses_in_one_line(config, message):
    with pytest.raises(ConfigError) as error:
        plans(config())
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("calm", "tasks"), [(0, []), (30, [("calm", 36), ("windy", 96)]), (36, [("calm", 36), ("windy", 96)])]
)
def test_tasks_are_filled_up_to_whole_rounds(calm, tasks):
    # Rounds of 6 times 2 environments.
    assert list(unchecked_plan(drift(calm=calm)).tasks) == tasks


def test_a_stream_of_one_kind_has_no_tasks():
    assert unchecked_plan(from_mapping({"problem": "slowly_changing_regression"})).tasks == ()
