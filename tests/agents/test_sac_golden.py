"""SAC against updates that the published program of the continual scenarios left, with its three departures.

The first state is the recorded one; from there on parameters, targets, optimizers and temperature are our own.
"""

import functools

import jax
import numpy as np
import pytest
import sac_recordings
import trees
from sac_recordings import CLOSE, Program, Recording, check_update

from pliant.agents._actor_and_critics import Both
from pliant.agents._soft_losses import Contexts
from pliant.agents._squashed_normal import SquashedNormal
from pliant.core.continual import Continual

NAMES = sorted(file.stem for file in sac_recordings.GOLDEN.glob("sac_update_*.npz"))


@functools.cache
def program():
    """One program for all recordings."""
    return Program(Recording(NAMES[0]), Continual())


@pytest.mark.parametrize("name", NAMES)
def test_updates_match_the_recorded_ones(name):
    recording = Recording(name)
    data, config = recording.data, recording.config
    assert sorted(recording.of_actor) == list(range(0, config["iterations"], config["policy_update_delay"]))
    params = Both({"actor": recording.network("before_policy_")}, recording.critics("before"))
    learned = program().begun(params, recording.critics("before", name="target"), data["f64_log_alpha_before"], ())
    for i in range(config["iterations"]):
        learned, seen = trees.numpy(
            program().update(
                recording.numbers, learned, recording.sample(i), recording.noise(i), Contexts((), ()), np.int32(i + 1)
            )
        )
        check_update(recording, i, learned, seen)
        k = recording.of_actor.get(i)
        if k is not None:
            np.testing.assert_allclose(seen["temperature"], data["temperature_used"][k], rtol=1e-6)
            gradient = {"actor": recording.network("grad_policy_", k)}
            trees.assert_close(learned.optimizer.actor.before[0], gradient, **CLOSE)
        trees.assert_close(learned.params.actor, {"actor": recording.network("after_policy_", i)}, **CLOSE)


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
