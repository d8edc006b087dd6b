"""CSP against four tasks of the published program, with its random numbers: learning, acting, the search, the choice.

The network of each task is given; anchors and mixtures are padded with zeros to room for four.
"""

import json
import pathlib
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import trees

from pliant.continual import _subspace as steps
from pliant.continual import subspace
from pliant.core.clock import Clock, Task
from pliant.core.continual import DenseLayers

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"
TASKS, LAYERS, REPEAT = 4, 4, 3


def activation(x):
    return jax.nn.leaky_relu(x, 0.2)


class Recording(NamedTuple):
    settings: dict
    tasks: list[dict]  # arrays by name


def load(name):
    data = dict(np.load(GOLDEN / f"csp_{name}.npz", allow_pickle=False))
    settings, tasks = json.loads(str(data.pop("config"))), [{} for _ in range(TASKS)]
    for key, value in data.items():
        task, _, what = key.partition(".")
        tasks[int(task.removeprefix("task"))][what] = value
    return Recording(settings, tasks)


def padded(x, axis):
    """With zeros up to the number of tasks along an axis."""
    return np.pad(x, [(0, TASKS - x.shape[axis] if i == axis % x.ndim else 0) for i in range(x.ndim)])


def anchors(task, stage):
    """The anchors in a task's arrays at a stage: `(out, in)` kernels as `(in, out)`."""
    layers = {
        f"Dense_{i}": {
            "kernel": padded(task[f"{stage}.w{i}"].swapaxes(1, 2), 0),
            "bias": padded(task[f"{stage}.b{i}"], 0),
        }
        for i in range(LAYERS)
    }
    return {"actor": layers}


def critic(task, number):
    """Layers of a critic, of which the first has inputs for four anchors."""
    weights = [task[f"critic{number}_w{i}"].T for i in range(LAYERS)]
    weights[0] = np.pad(weights[0], [(0, TASKS - task["alphas"].shape[2]), (0, 0)])
    return [(w, task[f"critic{number}_b{i}"]) for i, w in enumerate(weights)]


def value(layers, *inputs):
    x = jnp.concatenate(inputs, axis=-1)
    for w, b in layers[:-1]:
        x = activation(x @ w + b[None])
    w, b = layers[-1]
    return (x @ w + b[None])[:, 0]


def sampled(outputs, noise):
    """Actions and log probabilities of the published policy."""
    mean, log_std = outputs
    std = jnp.exp(jnp.clip(log_std, -20, 2))
    u = mean + std * noise
    log_p = -0.5 * noise**2 - jnp.log(std) - 0.5 * jnp.log(2 * jnp.pi)
    return jnp.tanh(u), (log_p - (2 * jnp.log(2.0) - u - jax.nn.softplus(-2 * u))).sum(1)


def method_of(settings):
    sizes = (settings["obs"], *[settings["hidden"]] * (LAYERS - 1), 2 * settings["act"])
    return subspace(
        tuple(Task(f"{k}", k + 1) for k in range(TASKS)),
        DenseLayers(sizes, activation, None, lambda numbers: tuple(jnp.split(numbers, 2, axis=1)), "actor"),
        distribution=settings["dist_type"],
        repeat=settings["repeat_alpha"],
        candidates=settings["n_rollouts"],
        samples=settings["n_samples"],
        improvement=settings["improvement_threshold"],
    )


def of_task(task):
    """What the program of a task gets, in shapes that are the same for all tasks that have a search."""

    def rows(name):
        """Both slots, one after the other."""
        return task[name].reshape(-1, task[name].shape[-1])

    learning = {name: rows(name) for name in ("obs", "noise", "upstream_action")}
    learning["mixtures"] = padded(rows("alphas"), 1)
    draws = np.concatenate([padded(task[f"acq_draw_{which}"], 2) for which in ("new", "old")], axis=1)
    acting = {name: task[f"acq_{name}"] for name in ("obs", "noise", "done", "timestep")} | {"draws": draws}
    given = {"learning": learning, "acting": acting, "critics": [critic(task, 1), critic(task, 2)]}
    if "search_obs" in task:
        drawn = np.stack([padded(task[f"search_candidates_{which}"], 1) for which in ("new", "old")])
        # (2 halves, estimations, 2 slots, mixtures, numbers) -> (steps, mixtures of both halves, numbers)
        both = {
            name: np.moveaxis(task[f"search_{name}"], 0, 2).reshape(-1, 2 * drawn.shape[1], task[name].shape[-1])
            for name in ("obs", "action")
        }
        given["search"] = {"drawn": drawn, "steps": both, "obs": task["search_rollout_obs"]}
        given["search"]["scores"] = task["search_cumulated"][-1]
    return given


def program(method):
    """Everything of one task, `(anchors at its end, state, given, index, key) -> found`."""
    network, trial = method.network, method.trial

    def greedy(params, route, obs):
        carry, first = network.initial_carry(len(obs)), jnp.zeros(len(obs), bool)
        _, (mean, _), seen = network.act(params, route, carry, obs, is_first=first, key=None, greedy=True)
        return jnp.tanh(mean), seen

    def learned(params, mixed, critics, given):
        def loss(params):
            outputs = network.apply(params, given["obs"], mixed._replace(mixtures=given["mixtures"]))
            action, log_p = sampled(outputs, given["noise"])
            Q = [value(critic, given["obs"], action, given["mixtures"]) for critic in critics]
            smallest = jnp.minimum(*Q).mean()
            return (action * given["upstream_action"]).mean() + 0.3 * log_p.mean() - smallest, (action, log_p, *Q)

        grads, found = jax.grad(loss, has_aux=True)(params)
        return dict(zip(("action", "log_prob", "q1", "q2"), found)), grads

    def acted(params, mixed, given):
        def step(mixtures, now):
            mixtures = steps.acquired(mixtures, now["draws"], now["done"], now["timestep"], REPEAT)
            outputs = network.apply(params, now["obs"], mixed._replace(mixtures=mixtures))
            action, _ = sampled(outputs, now["noise"])
            return mixtures, (mixtures, action)

        return jax.lax.scan(step, jnp.zeros_like(given["draws"][0]), given)[1]

    def searched(given, critic):
        def sample(step):
            return step["obs"], step["action"]

        def Q(*inputs):
            return value(critic, *inputs)

        return steps.best(given["drawn"], sample, given["steps"], Q, trial.candidates)

    def run(recorded, state, given, index, key):
        found, clock, state = {}, Clock(1, task=index), state._replace(older=recorded)
        params, mixed = jax.tree.map(lambda x: x[state.newest], recorded), network.training_route(state).mixed
        found["learned"], found["grads"] = learned(params, mixed, given["critics"], given["learning"])
        found["acted"] = acted(params, mixed, given["acting"])
        if "search" in given:
            state = state._replace(candidates=searched(given["search"], given["critics"][0]))
            route = trial.route(state, 0)
            found["candidates"] = state.candidates
            found["played"] = jax.lax.map(lambda obs: greedy(params, route, obs), given["search"]["obs"])
            params, state = trial.choose(params, state, given["search"]["scores"], clock)
        params, state = method.end_task(params, state, inputs=(), clock=clock, key=key)
        of_tasks, obs = jnp.arange(TASKS + 1), given["learning"]["obs"][: given["learning"]["obs"].shape[0] // 2]
        found["evaluated"] = jax.lax.map(lambda task: greedy(params, network.route(state, task), obs), of_tasks)
        found["memory"], found["state"] = method.memory(params, state, index + 1), state
        found["next"] = method.begin_task(params, state, clock=clock, key=key)
        return found

    return jax.jit(run)


@pytest.fixture(scope="module", params=["flat", "peaked"])
def found(request):
    """The recording, and for each task what our program makes of what was recorded at its start."""
    recording = load(request.param)
    assert recording.settings["repeat_alpha"] == REPEAT
    method = method_of(recording.settings)
    run = program(method)
    first = trees.at(anchors(recording.tasks[0], "start"), 0)
    state, everything = trees.numpy(jax.jit(method.init)(first)), []
    for index, task in enumerate(recording.tasks):
        given = of_task(task), np.int32(index), trees.key(0)
        ours = trees.numpy(run(anchors(task, "trained"), state, *given))
        everything.append((task, ours, state))
        _, state = ours["next"]
    return recording.settings, everything


def close(ours, recorded, scale=1.0, what=""):
    np.testing.assert_allclose(ours, recorded, rtol=3e-6, atol=3e-6 * scale, err_msg=what)


def test_the_newest_anchor_of_a_mixture_learns_as_recorded(found):
    for task, ours, state in found[1]:
        batch = ours["learned"]
        close(batch["action"], task["action"].reshape(batch["action"].shape))
        close(batch["log_prob"], task["log_prob"].ravel(), scale=10)
        for Q in ("q1", "q2"):
            close(batch[Q], task[Q].ravel())
        assert task["start.trainable"].nonzero()[0].item() == state.newest
        for i in range(LAYERS):
            layer = ours["grads"]["actor"][f"Dense_{i}"]
            for name, recorded in (
                ("kernel", task[f"grad_new_anchor_w{i}"].T),
                ("bias", task[f"grad_new_anchor_b{i}"]),
            ):
                close(layer[name], recorded, scale=np.abs(recorded).max(), what=f"{name} {i}")


def test_environments_draw_at_the_same_steps(found):
    for task, ours, _ in found[1]:
        mixtures, action = ours["acted"]
        np.testing.assert_array_equal(mixtures, padded(task["acq_alphas"], 2))
        close(action, task["acq_action"])


def test_the_search_finds_the_same_candidates_and_they_act_as_recorded(found):
    settings, everything = found
    for task, ours, _ in everything[1:]:
        np.testing.assert_array_equal(ours["candidates"], padded(task["search_rollout_alphas"], 1))
        action, seen = ours["played"]
        np.testing.assert_array_equal(seen[0], ours["candidates"])
        close(action, task["search_rollout_action"])
        assert task["n_interactions_charged"] == settings["n_validation_steps"] * len(ours["candidates"])


def test_the_choice_the_stored_mixtures_and_the_next_anchor_are_the_recorded_ones(found):
    _, everything = found
    for index, (task, ours, before) in enumerate(everything):
        state = ours["state"]
        assert state.anchors == task["n_anchors_end"] == before.anchors - (not task["kept_anchor"])
        stored = padded(task["end.stored_alphas"], 1)
        np.testing.assert_array_equal(state.mixtures[: index + 1], stored)
        np.testing.assert_array_equal(state.mixtures[index], padded(task["best_alpha"], 0))
        K = state.anchors
        assert ours["memory"].parameters == task["n_parameters"] - 1  # theirs counts one more
        assert ours["memory"].parameters_and_buffers == ours["memory"].parameters + K * (index + 1)
        if index + 1 < TASKS:
            params, after = ours["next"]
            recorded = anchors(everything[index + 1][0], "start")
            trees.assert_equal(trees.at(after.older, slice(K)), trees.at(recorded, slice(K)))
            trees.assert_close(params, trees.at(recorded, K), rtol=1e-6, atol=1e-7)


def test_each_task_is_played_by_its_mixture_and_a_task_to_come_by_all_anchors(found):
    for index, (task, ours, _) in enumerate(found[1]):
        action, seen = ours["evaluated"]
        for other in range(index + 2):
            mixture = padded(task[f"eval_alpha{other}"], 0)
            close(seen[other], np.broadcast_to(mixture, seen[other].shape))
            close(action[other], task[f"eval_action{other}"])


def test_the_recordings_have_all_that_may_come_of_a_trial():
    flat, peaked = (load(name).tasks[1:] for name in ("flat", "peaked"))
    assert [bool(task["kept_anchor"]) for task in flat] == [True, True, False]
    assert [bool(task["kept_anchor"]) for task in peaked] == [True, False, False]
    assert peaked[2]["search_cumulated"][-1].max() < 0
