"""PPO against updates that the authors' published program left: one batch, four epochs of one step each.

Before each epoch our agent is given the recorded weights; the optimizer's and the method's state is our own all the
way. Between epochs the recording computed values, returns and advantages again, as a new call of `learn` does.
"""

import ast
import pathlib

import jax
import numpy as np
import pytest
import trees
from on_policy import begun

from pliant.agents import ppo
from pliant.agents._advantage import generalized_advantages, normalized
from pliant.agents._on_policy import Extras
from pliant.core.agent import Transitions
from pliant.core.problem import Continuous, Environment, Spec
from pliant.methods import continual_backprop, l2
from pliant.networks import actor_critic

FILES = sorted((pathlib.Path(__file__).parents[1] / "golden").glob("ppo_*.npz"))
NETWORKS = ("policy", "value")
HIDDEN, INPUTS, ACTIONS, STEPS = (16, 16), 11, 3, 64
SPEC = Spec(jax.ShapeDtypeStruct((INPUTS,), np.float32), Continuous(ACTIONS))
EPOCHS = 4
CLOSE = dict(rtol=1e-5, atol=2e-6)
FINE = dict(rtol=2e-6, atol=5e-7)  # of weights, most of which an update moves by 1e-3


def load(file):
    data = dict(np.load(file, allow_pickle=False))
    return data, ast.literal_eval(str(data.pop("config")))


def parameters(data, when):
    """The recorded weights, `(out, in)`, as parameters of our network, `(in, out)`."""

    def layer(name, i):
        return {"kernel": data[f"{name}_w{i}"].T, "bias": data[f"{name}_b{i}"]}

    networks = {n: {f"Dense_{i}": layer(f"{n}_{when}", i) for i in range(len(HIDDEN) + 1)} for n in NETWORKS}
    return {**networks, "log_std": data[f"log_std_{when}"]}


def recorded_transitions(data, values):
    """What was recorded; `values` `(T,)` are those of the network that learns from it."""

    def alone(x):  # of one environment: (T, ...) -> (T, 1, ...)
        return np.asarray(x)[:, None]

    return Transitions(
        observation=alone(data["observations"][:-1]),
        action=alone(data["actions"]),
        extras=Extras(alone(data["log_probs"]), alone(values), ()),
        reward=alone(data["rewards"]),
        terminated=alone(data["dones"]),
        truncated=alone(np.zeros_like(data["dones"])),
        next_observation=alone(data["observations"][1:]),
    )


def methods_of(settings):
    """Makes the methods of a recording. Of 16 units 1.6 are due, of which the fraction is dropped."""

    def methods_for(wiring, network, updates):
        methods = (l2(settings["weight_decay"]),) if settings["weight_decay"] else ()
        if settings["replacement_rate"]:
            methods += (
                continual_backprop(
                    wiring,
                    settings["replacement_rate"],
                    maturity=settings["maturity_threshold"],
                    budget="bernoulli",
                    initializer="lecun",
                    activation=network.activation,
                    max_per_step=2,
                ),
            )
        return methods

    return methods_for


def agent_of(settings):
    b1, b2 = settings["betas"]
    config = ppo.Config(
        horizon=STEPS,
        epochs=1,
        minibatches=settings["minibatches"],
        learning_rate=settings["step_size"],
        b1=b1,
        b2=b2,
        reset_moments=False,
        discount=settings["gamma"],
        gae_lambda=settings["lam"],
        clip=settings["clip"],
        hidden_units=HIDDEN[0],
        hidden_layers=len(HIDDEN),
        activation=settings["act"].lower(),
    )
    return ppo.make(config, Environment(SPEC, 1, EPOCHS * STEPS, None, None), methods_of(settings))


def updates(data, settings):
    """Our state after each epoch, each begun with the recorded weights."""
    agent = agent_of(settings)
    network = actor_critic(SPEC, HIDDEN, settings["act"].lower())

    def learn(state, transitions, call):
        """A call of `learn`, in which the values are those of the network."""
        _, V = network.apply(state.params, data["observations"][:-1], ())[0]
        extras = transitions.extras._replace(value=V[:, None])
        return agent.learn(state, transitions._replace(extras=extras), call)[0]

    states, learn = [agent_begins(agent, settings)], jax.jit(learn)
    for k in range(EPOCHS):
        before = parameters(data, f"epoch{k - 1}" if k else "before")
        state = states[-1]._replace(params=before)
        states.append(learn(state, recorded_transitions(data, np.zeros(STEPS, np.float32)), np.int32(k)))
    return states[1:]


def agent_begins(agent, settings):
    """The agent's state, of which the weights do not matter."""
    return jax.jit(agent.init)(trees.key(0)) if settings["replacement_rate"] else begun(agent)


def test_there_are_five_recordings():
    assert [file.stem for file in FILES] == ["ppo_cbp", "ppo_l2", "ppo_ns_adam", "ppo_std", "ppo_tanh"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_values_returns_and_advantages_match_the_recorded_ones(file):
    data, settings = load(file)

    def estimate(params, observations, rewards, dones):
        V = actor_critic(SPEC, HIDDEN, settings["act"].lower()).apply(params, observations, ())[0][1]
        columns = (x[:, None] for x in (rewards, V[:-1], V[1:], dones, dones))
        A = generalized_advantages(*columns, settings["gamma"], settings["lam"])[:, 0]
        return V, A + V[:-1], normalized(A)

    names = ("observations", "rewards", "dones")
    V, returns, A = jax.jit(estimate)(parameters(data, "before"), *(data[name] for name in names))
    np.testing.assert_allclose(V, data["values"], **CLOSE)
    np.testing.assert_allclose(returns, data["returns"], **CLOSE)
    np.testing.assert_allclose(A, data["advantages"], **CLOSE)


@pytest.mark.parametrize("file", [f for f in FILES if f.stem != "ppo_cbp"], ids=lambda file: file.stem)
def test_weights_match_the_recorded_ones(file):
    data, settings = load(file)
    for k, state in enumerate(updates(data, settings)):
        jax.tree.map(
            lambda ours, theirs: np.testing.assert_allclose(ours, theirs, **FINE),
            state.params,
            parameters(data, f"epoch{k}"),
        )


def test_continual_backpropagation_matches_the_recorded_one():
    # What is random in either program is the incoming weights of the units reinitialized at the end of an epoch, and
    # these alone are left out. They do not spread: the next epoch begins with the recorded ones here as well, so that
    # its gradients, and with them Adam's moments (kept where units are reinitialized) and the utilities, are the
    # recorded ones.
    data, settings = load(next(file for file in FILES if file.stem == "ppo_cbp"))
    for k, state in enumerate(updates(data, settings)):
        (method,) = state.optimizer.after
        theirs = parameters(data, f"epoch{k}")
        np.testing.assert_allclose(state.params["log_std"], theirs["log_std"], **FINE)
        for network in NETWORKS:
            gone = []
            for i in range(len(HIDDEN)):
                age, utility = data[f"{network}_age{i}_epoch{k}"], data[f"{network}_utility{i}_epoch{k}"]
                np.testing.assert_array_equal(method.age[f"{network}/Dense_{i}"], age)
                np.testing.assert_allclose(method.utility[f"{network}/Dense_{i}"], utility, rtol=1e-5, atol=1e-8)
                gone.append(age == 0)
                # Older than one step are none at the first, and then all but those reinitialized at the step before:
                # 16, 15, 15 units, of which 0.1 is due. One goes, the rest is dropped.
                assert gone[i].sum() == (k > 0)

            for i in range(len(HIDDEN) + 1):
                ours, layer = state.params[network][f"Dense_{i}"], theirs[network][f"Dense_{i}"]
                np.testing.assert_allclose(ours["bias"], layer["bias"], **FINE)
                drawn = np.zeros(layer["kernel"].shape, bool)
                if i < len(HIDDEN):
                    drawn[:, gone[i]] = True
                    assert not np.asarray(ours["bias"])[gone[i]].any()
                np.testing.assert_allclose(np.asarray(ours["kernel"])[~drawn], layer["kernel"][~drawn], **FINE)
                for kernel in (ours["kernel"], layer["kernel"]):
                    assert (np.abs(np.asarray(kernel)[drawn]) <= np.sqrt(3 / len(kernel))).all()
                if i > 0:
                    assert not np.asarray(ours["kernel"])[gone[i - 1]].any()
