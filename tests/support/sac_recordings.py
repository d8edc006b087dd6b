"""Recordings of updates of the published soft actor-critic, as the arguments of ours.

Three departures of the published program are on. Batches and noise are the recorded ones.
"""

import ast
import functools
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import trees

from pliant.agents import _actor_and_critics as actor_and_critics
from pliant.agents import _soft_losses as soft_losses
from pliant.agents import sac
from pliant.agents._actor_and_critics import Both
from pliant.agents._off_policy import Schedule
from pliant.agents._replay import Sample
from pliant.core.clock import Calendar
from pliant.core.continual import Continual, TaskNetwork, without_context
from pliant.networks import critic_ensemble, normal_actor

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"
QUICK = {"xla_backend_optimization_level": 0}
CLOSE = dict(rtol=1e-5, atol=1e-5)
HOW = "leaky_relu", 0.2
# Setting -> names in the recordings; the numbers go to the program as arguments, so that one serves all recordings.
NUMBERS = {
    "learning_rate": "lr_policy", "critic_learning_rate": "lr_q", "temperature_learning_rate": "lr_alpha",
    "discount": "gamma", "tau": "tau_target tau", "initial_temperature": "init_temperature",
    "reward_scale": "reward_scaling", "policy_delay": "policy_update_delay", "target_delay": "target_update_delay",
    "target_multiplier": "target_multiplier",
}  # fmt: skip


class Recording:
    """A file of recorded updates.

    Args:
        name: of the file.
    """

    def __init__(self, name: str):
        self.data: dict[str, Any] = dict(np.load(GOLDEN / f"{name}.npz", allow_pickle=False))
        self.config = ast.literal_eval(str(self.data["config"]))
        self.inputs, self.actions = self.config["obs"], self.config["act"]
        self.hidden, self.batch = (self.config["hidden"],) * 3, self.config["batch"]
        self.of_actor = {int(i): k for k, i in enumerate(self.data["actor_iterations"])}

    @property
    def numbers(self) -> dict[str, np.ndarray]:
        """The settings of SAC."""
        found = {name: next(self.config[theirs] for theirs in names.split() if theirs in self.config)
                 for name, names in NUMBERS.items()}  # fmt: skip
        return {name: np.asarray(x, np.int32 if "delay" in name else np.float32) for name, x in found.items()}

    def network(self, prefix: str, at: Any = ...) -> dict[str, Any]:
        """The recorded weights, `(out, in)`, of a network with parameters `(in, out)`."""
        data, layers = self.data, range(len(self.hidden) + 1)
        return {
            f"Dense_{i}": {"kernel": data[f"{prefix}w{i}"][at].swapaxes(-1, -2), "bias": data[f"{prefix}b{i}"][at]}
            for i in layers
        }

    def critics(self, when: str, at: Any = ..., name: str = "critic") -> dict[str, Any]:
        """The recorded critics, or targets."""
        return {f"critic_{k}": self.network(f"{when}_{name}{k + 1}_", at) for k in range(2)}

    def sample(self, i: int, extras: Any = ()) -> Sample:
        """The batch of an update."""
        data, done = self.data, self.data["batch_done"][i, 1]
        observation, weight = data["batch_env_obs"][i], np.ones(self.batch, np.float32)
        discount = np.float32(self.config["gamma"] * (1 - done))
        return Sample(
            observation[0], data["batch_action"][i, 0], data["batch_reward"][i, 1], discount, observation[1], weight,
            extras,
        )  # fmt: skip

    def noise(self, i: int) -> soft_losses.Noise:
        """The noise of an update; zeros for an actor that does not learn in it."""
        k, shape = self.of_actor.get(i), (2 * self.batch, self.actions)
        of_states = np.zeros(shape, np.float32) if k is None else self.data["actor_noise"][k].reshape(shape)
        return soft_losses.Noise(self.data["critic_noise"][i, 1], of_states)


def keeping_gradients(wiring: Any, network: Any, updates: int) -> tuple[Any, ...]:
    """A gradient piece whose state is the latest gradient."""
    del wiring, network, updates
    zeros = functools.partial(jax.tree.map, jnp.zeros_like)
    return (optax.GradientTransformationExtraArgs(zeros, lambda grads, state, params=None, **signals: (grads, grads)),)


class Program:
    """Our updates of recordings of one size.

    Args:
        recording: one of them.
        continual: the continual method.
    """

    def __init__(self, recording: Recording, continual: Continual):
        self._inputs, self._actions, self._hidden = recording.inputs, recording.actions, recording.hidden
        self._batch, self._continual = recording.batch, continual
        plain = normal_actor(self._inputs, self._actions, self._hidden, *HOW)
        self.actor: TaskNetwork = continual.network or without_context(plain.init, plain.apply)
        self._plain = None if continual.network else plain
        self.update = jax.jit(self._update, static_argnames="finetunes", compiler_options=QUICK)

    def _parts(self, config: sac.Config) -> tuple[Any, ...]:
        """Critics, learners, and the optimizer of the temperature."""
        seen = self._inputs + self._actions + self.actor.seen
        critics = critic_ensemble(seen, self._hidden, 2, False, *HOW)
        learners = actor_and_critics.learners(
            config, Both(self._plain, critics), Both(self._inputs, seen), Both(keeping_gradients, keeping_gradients),
            100, Both(config.learning_rate, config.critic_learning_rate),
        )  # fmt: skip
        return critics, learners, optax.adam(config.temperature_learning_rate)

    def begun(self, params: Both, target: Any, log_alpha: Any, kept: Any) -> sac.Learned:
        """The state before the first update; optimizers begin with zeros."""
        _, (_, tx, _), temperature_tx = self._parts(sac.Config(batch_size=self._batch))
        log_alpha = log_alpha.astype(np.float32)
        optimizer = jax.eval_shape(lambda: Both(*(one.init(of) for one, of in zip(tx, params))))
        of_temperature = jax.eval_shape(lambda: temperature_tx.init(log_alpha))
        zeros = functools.partial(jax.tree.map, lambda like: np.zeros(like.shape, like.dtype))
        temperature = sac.Temperature(log_alpha, zeros(of_temperature))
        return sac.Learned(params, target, zeros(optimizer), temperature, kept, trees.key(0))

    def _update(self, numbers, learned, sample, noise, contexts, number, *, finetunes=False):
        """The state after an update, and what is recorded beside it."""
        config = sac.Config(
            **numbers, batch_size=self._batch, activation="leaky_relu", negative_slope=0.2,
            tanh_correction="half", entropy_target="batch_mean", truncation="terminal", actor_states="both",
        )  # fmt: skip
        critics, (wiring, tx, _), temperature_tx = self._parts(config)
        actor = self.actor._replace(draw=lambda kept, batch, recorded: recorded)
        losses = soft_losses.Losses(config, actor, critics, wiring, -config.target_multiplier * self._actions, 1.0)
        clock = functools.partial(Schedule(1, 4, 2, 8, 1000).clock, Calendar(), 8)
        delay = sac.lcm(config.policy_delay, config.target_delay) if finetunes else config.target_delay
        update = sac.update_of(config, losses, tx, temperature_tx, clock, self._continual, delay)
        after, metrics = update(learned, (sample, noise, contexts), number)
        alpha, mu = jnp.exp(learned.temperature.log), learned.params.actor
        y, next_log_p = losses.targets(mu, learned.target, alpha, sample, noise.target, contexts.target)
        actor_loss, (_, log_p, _) = losses.of_actor(
            mu, after.params.critics, alpha, sample, noise.actor, contexts.actor
        )
        return after, {
            **metrics, "y": y, "next_log_p": next_log_p, "actor_loss": actor_loss, "log_p": log_p,
            "temperature_loss": losses.of_temperature(learned.temperature.log, sample, log_p),
        }  # fmt: skip


def check_update(recording: Recording, i: int, learned: sac.Learned, seen: Any) -> None:
    """Compares critics, targets, temperature and what is recorded of an update with ours."""
    data, k = recording.data, recording.of_actor.get(i)
    if "td_target" in data:
        # One entry for each pair of a sample (second) and of a log probability (first); their mean is the target.
        np.testing.assert_allclose(seen["y"], data["td_target"][i, 0].mean(0), **CLOSE)
        np.testing.assert_allclose(seen["next_log_p"], data["critic_log_prob"][i, 1, :, 0], **CLOSE)
        # The recorded loss of each critic is larger by a constant: the spread of the targets about that mean.
        spread = data["td_target"][i, 0].var(0).mean()
        theirs = data["loss_td1"][i] + data["loss_td2"][i]
        np.testing.assert_allclose(seen["critic_loss"] + 2 * spread, theirs, rtol=1e-5)
    if "grad_critic1_w0" in data:
        gradient = {f"critic_{c}": recording.network(f"grad_critic{c + 1}_", i) for c in range(2)}
        trees.assert_close(learned.optimizer.critics.before[0], gradient, rtol=1e-5, atol=5e-5)
    if k is not None:
        np.testing.assert_allclose(seen["temperature_loss"], data["loss_entropy"][k], rtol=1e-5)
    if k is not None and "actor_log_prob" in data:
        log_p = data["actor_log_prob"][k].ravel()
        np.testing.assert_allclose(seen["log_p"], log_p, **CLOSE)
        entropy_term = seen["temperature"] * log_p.mean()
        np.testing.assert_allclose(seen["actor_loss"], entropy_term - data["loss_q_policy"][k], **CLOSE)
    trees.assert_close(learned.params.critics, recording.critics("after", i), **CLOSE)
    trees.assert_close(learned.target, recording.critics("after", i, "target"), **CLOSE)
    np.testing.assert_allclose(learned.temperature.log, data["f64_log_alpha_after"][i], rtol=1e-5)
