"""SAC against updates that the published program of the continual scenarios left, with its three departures.

The first state is the recorded one; from there on parameters, targets, optimizers and temperature are our own. Batches
and noise are the recorded ones.
"""

import ast
import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import trees

from pliant.agents import _actor_and_critics as actor_and_critics
from pliant.agents import _soft_losses as soft_losses
from pliant.agents import sac
from pliant.agents._actor_and_critics import Both
from pliant.agents._off_policy import Schedule
from pliant.agents._replay import Sample
from pliant.agents._squashed_normal import SquashedNormal
from pliant.core.clock import Calendar
from pliant.core.continual import Continual, without_context
from pliant.networks import critic_ensemble, normal_actor

FILES = sorted((pathlib.Path(__file__).parents[1] / "golden").glob("sac_update_*.npz"))
OBSERVATION, ACTION, HIDDEN, BATCH = 5, 3, (16, 16, 16), 8
QUICK = {"xla_backend_optimization_level": 0}
CLOSE = dict(rtol=1e-5, atol=1e-5)
# Setting -> name in the recording; they go to the program as arguments, so that one program serves all recordings.
NUMBERS = {
    "learning_rate": "lr_policy", "critic_learning_rate": "lr_q", "temperature_learning_rate": "lr_alpha",
    "discount": "gamma", "tau": "tau", "initial_temperature": "init_temperature", "reward_scale": "reward_scaling",
    "policy_delay": "policy_update_delay", "target_delay": "target_update_delay",
    "target_multiplier": "target_multiplier",
}  # fmt: skip


def keeping_gradients(wiring, network, updates):
    """A gradient piece whose state is the latest gradient."""
    del wiring, network, updates
    zeros = functools.partial(jax.tree.map, jnp.zeros_like)
    return (optax.GradientTransformationExtraArgs(zeros, lambda grads, state, params=None, **signals: (grads, grads)),)


def parts(config):
    """Networks, learners, and the optimizer of the temperature."""
    how = "leaky_relu", 0.2
    networks = Both(
        normal_actor(OBSERVATION, ACTION, HIDDEN, *how),
        critic_ensemble(OBSERVATION + ACTION, HIDDEN, 2, False, *how),
    )
    learners = actor_and_critics.learners(
        config, networks, Both(OBSERVATION, OBSERVATION + ACTION), Both(keeping_gradients, keeping_gradients), 100,
        Both(config.learning_rate, config.critic_learning_rate),
    )  # fmt: skip
    return networks, learners, optax.adam(config.temperature_learning_rate)


@functools.partial(jax.jit, compiler_options=QUICK)
def update(numbers, learned, sample, noise, number):
    """The state after an update, and what is recorded beside it."""
    config = sac.Config(
        **numbers, batch_size=BATCH, activation="leaky_relu", negative_slope=0.2,
        tanh_correction="half", entropy_target="batch_mean", truncation="terminal", actor_states="both",
    )  # fmt: skip
    networks, (wiring, tx, _), temperature_tx = parts(config)
    actor = without_context(networks.actor.init, networks.actor.apply)
    losses = soft_losses.Losses(config, actor, networks.critics, wiring, -config.target_multiplier * ACTION, 1.0)
    clock = functools.partial(Schedule(1, 4, 2, 8, 1000).clock, Calendar(), 8)
    after, metrics = sac.update_of(config, losses, tx, temperature_tx, clock, Continual(), config.target_delay)(
        learned, (sample, noise, soft_losses.Contexts((), ())), number
    )
    alpha, mu = jnp.exp(learned.temperature.log), learned.params.actor
    y, next_log_p = losses.targets(mu, learned.target, alpha, sample, noise.target)
    actor_loss, (_, log_p, _) = losses.of_actor(mu, after.params.critics, alpha, sample, noise.actor)
    return after, {
        **metrics, "y": y, "next_log_p": next_log_p, "actor_loss": actor_loss, "log_p": log_p,
        "temperature_loss": losses.of_temperature(learned.temperature.log, sample, log_p),
    }  # fmt: skip


def begun(data):
    """The recorded state before the first update; optimizers begin with zeros."""
    params, target = recorded(data, "before")
    log_alpha = data["f64_log_alpha_before"].astype(np.float32)
    _, (_, tx, _), temperature_tx = parts(sac.Config(batch_size=BATCH))
    optimizer = jax.eval_shape(lambda: Both(*(one.init(of) for one, of in zip(tx, params))))
    of_temperature = jax.eval_shape(lambda: temperature_tx.init(log_alpha))
    zeros = functools.partial(jax.tree.map, lambda like: np.zeros(like.shape, like.dtype))
    return sac.Learned(
        params, target, zeros(optimizer), sac.Temperature(log_alpha, zeros(of_temperature)), (), trees.key(0)
    )


def network(data, prefix, at=...):
    """The recorded weights, `(out, in)`, of a network with parameters `(in, out)`."""
    layers = range(len(HIDDEN) + 1)
    return {
        f"Dense_{i}": {"kernel": data[f"{prefix}_w{i}"][at].swapaxes(-1, -2), "bias": data[f"{prefix}_b{i}"][at]}
        for i in layers
    }


def recorded(data, when, at=...):
    """The recorded parameters, and those of the targets."""
    critics, target = (
        {f"critic_{k}": network(data, f"{when}_{name}{k + 1}", at) for k in range(2)} for name in ("critic", "target")
    )
    return Both({"actor": network(data, f"{when}_policy", at)}, critics), target


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_updates_match_the_recorded_ones(file):
    data = dict(np.load(file, allow_pickle=False))
    config = ast.literal_eval(str(data["config"]))
    numbers = {name: np.asarray(config[theirs], np.int32 if "delay" in name else np.float32)
               for name, theirs in NUMBERS.items()}  # fmt: skip
    learned = begun(data)
    of_actor = {int(i): k for k, i in enumerate(data["actor_iterations"])}
    assert sorted(of_actor) == list(range(0, config["iterations"], config["policy_update_delay"]))
    for i in range(config["iterations"]):
        observation, done = data["batch_env_obs"][i], data["batch_done"][i, 1]
        sample = Sample(
            observation[0], data["batch_action"][i, 0], data["batch_reward"][i, 1],
            np.float32(config["gamma"] * (1 - done)), observation[1], np.ones(BATCH, np.float32),
        )  # fmt: skip
        k = of_actor.get(i)
        of_states = np.zeros((2 * BATCH, ACTION), np.float32) if k is None else data["actor_noise"][k]
        noise = soft_losses.Noise(data["critic_noise"][i, 1], of_states.reshape(2 * BATCH, ACTION))
        learned, seen = update(numbers, learned, sample, noise, np.int32(i + 1))
        learned, seen = trees.numpy((learned, seen))

        # One entry for each pair of a sample (second) and of a log probability (first); their mean is the target.
        np.testing.assert_allclose(seen["y"], data["td_target"][i, 0].mean(0), **CLOSE)
        np.testing.assert_allclose(seen["next_log_p"], data["critic_log_prob"][i, 1, :, 0], **CLOSE)
        # The recorded loss of each critic is larger by a constant: the spread of the targets about that mean.
        spread = data["td_target"][i, 0].var(0).mean()
        theirs = data["loss_td1"][i] + data["loss_td2"][i]
        np.testing.assert_allclose(seen["critic_loss"] + 2 * spread, theirs, rtol=1e-5)
        gradient = {f"critic_{c}": network(data, f"grad_critic{c + 1}", i) for c in range(2)}
        trees.assert_close(learned.optimizer.critics.before[0], gradient, rtol=1e-5, atol=5e-5)

        if k is not None:
            np.testing.assert_allclose(seen["temperature"], data["temperature_used"][k], rtol=1e-6)
            log_p = data["actor_log_prob"][k].ravel()
            np.testing.assert_allclose(seen["log_p"], log_p, **CLOSE)
            entropy_term = data["temperature_used"][k] * log_p.mean()
            np.testing.assert_allclose(seen["actor_loss"], entropy_term - data["loss_q_policy"][k], **CLOSE)
            np.testing.assert_allclose(seen["temperature_loss"], data["loss_entropy"][k], rtol=1e-5)
            gradient = {"actor": network(data, "grad_policy", k)}
            trees.assert_close(learned.optimizer.actor.before[0], gradient, **CLOSE)

        params, target = recorded(data, "after", i)
        trees.assert_close(learned.params, params, **CLOSE)
        trees.assert_close(learned.target, target, **CLOSE)
        np.testing.assert_allclose(learned.temperature.log, data["f64_log_alpha_after"][i], rtol=1e-5)


# What the recordings rest on, with numbers by hand.


def density(u, mean, log_std, correction):
    """Of tanh u, by the noise that leads to it."""
    noise = (u - mean) / np.exp(np.clip(log_std, -20, 2))
    return jax.jit(lambda *of: SquashedNormal(*of).sample(noise, correction))(mean, log_std)


@pytest.mark.parametrize(("correction", "log_p"), [("full", 0.0), ("half", -np.log(2))])
def test_the_density_in_the_middle(correction, log_p):
    # u = 0 with mean 0 and deviation 1: log N = -log(2 pi) / 2, and tanh has slope 1, whose logarithm is 0. As
    # published, log 2 is subtracted.
    zero = np.zeros((1, 1), np.float32)
    a, ours = density(zero, zero, zero, correction)
    assert a == 0
    np.testing.assert_allclose(ours, -0.5 * np.log(2 * np.pi) + log_p, rtol=1e-6)
