"""The arenas of the tests keep the contract, and are the same on the device and outside of it."""

import environments
import jax
import numpy as np
import trees

from pliant.core.problem import Continuous, Discrete

MEMBERS, ENVIRONMENTS, TIME_LIMIT, STEPS = 2, 3, 6, 40
KEYS = trees.keys(range(MEMBERS))


def test_host_and_device_are_the_same_and_keep_the_contract():
    environment = environments.auto_reset(environments.drifting(Continuous(2)), STEPS, ENVIRONMENTS, TIME_LIMIT)
    actions = np.random.default_rng(0).normal(size=(STEPS, MEMBERS, ENVIRONMENTS, 2)).astype(np.float32)
    state, first = jax.jit(jax.vmap(environment.init))(KEYS)
    _, device = jax.jit(lambda state, actions: jax.lax.scan(jax.vmap(environment.step), state, actions))(state, actions)

    host = environments.as_host(environment).open(np.asarray(jax.random.key_data(KEYS)))
    np.testing.assert_array_equal(host.reset(), first)
    answers = []
    for action_now in actions:
        host.send(action_now)
        answers.append(host.receive())
    answers = jax.tree.map(lambda *x: np.stack(x), *answers)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), answers, device)

    terminated, truncated = answers.terminated, answers.truncated
    ended = terminated | truncated
    assert terminated.any() and truncated.any() and not (terminated & truncated).any()
    same = (answers.observation == answers.final_observation)[..., 0]
    np.testing.assert_array_equal(same, ~ended)
    # Each episode has steps of its own up to the limit, and wind of its own.
    for member in range(MEMBERS):
        for e in range(ENVIRONMENTS):
            ends = np.flatnonzero(ended[:, member, e])
            lengths = np.diff(ends, prepend=-1)
            np.testing.assert_array_equal(lengths[truncated[ends, member, e]], TIME_LIMIT)
            assert lengths.max() <= TIME_LIMIT
            wind = answers.info["wind"][ends, member, e]
            assert len(set(wind.tolist())) == len(ends)


def test_a_host_that_was_restored_begins_other_episodes():
    environment = environments.auto_reset(environments.drifting(Continuous(2)), STEPS, ENVIRONMENTS, TIME_LIMIT)
    seed = np.asarray(jax.random.key_data(KEYS))
    host = environments.as_host(environment).open(seed)
    first, second = host.reset(), host.reset()
    assert (first != second).all()
    resumed = environments.as_host(environment).open(seed)
    resumed.restore({"resets": np.array([1, 1])})
    np.testing.assert_array_equal(resumed.reset(), second)


def test_a_film_shows_one_environment():
    environment = environments.auto_reset(environments.drifting(Discrete(3)), STEPS, ENVIRONMENTS, TIME_LIMIT)
    film = environments.as_host(environment).render(np.asarray(jax.random.key_data(KEYS))[0])
    first = film.reset()
    assert first.shape == (1, 1, 1)
    image = film.draw()
    film.send(np.full((1, 1), 2, np.int32))
    answer = film.receive()
    assert answer.reward.shape == (1, 1) and answer.observation.shape == (1, 1, 1)
    assert image.shape == (16, 16, 3) and image.dtype == np.uint8
    assert (film.draw() > image).all() == bool((answer.observation > first).all())
