"""Rewire against the published program, recorded over three or four tasks with given changes in the place of training.

Each task begins with our parameters and our state after the task before, and has the recorded parameters after its
training. So a mistake in any stage of a task is seen in later tasks, too.
"""

import functools
import json
import pathlib
from typing import Any, NamedTuple

import hand_wired
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import trees

from pliant.continual import rewire
from pliant.continual._rewire_network import Draw
from pliant.core.clock import Clock, Task
from pliant.core.continual import Continual, DenseLayers, Update
from pliant.core.likelihood import gaussian
from pliant.networks._activations import activation_function

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"
LAYERS, MODES = range(3), range(3)
CLOCK = Clock(1)
OUR_NAMES = {"scores": "mode_scores", "z": "output_scores", "a": "input_scores"}


class Recording(NamedTuple):
    data: dict[str, np.ndarray]
    how: dict[str, Any]
    slots: int
    method: Continual

    def part(self, prefix):
        """The arrays whose names begin so, by the rest of their names."""
        prefix = f"{prefix}."
        return {key.removeprefix(prefix): value for key, value in self.data.items() if key.startswith(prefix)}


class Stage(NamedTuple):
    params: Any
    state: Any


class Played(NamedTuple):
    """What the network does on the recorded inputs at one stage of a task, as actions."""

    greedy: Any  # (modes, 6, act) along the route of a trial
    sampled: Any  # the same, with the recorded noise
    on_tasks: Any  # (tasks + 1, 6, act) greedy


class Ran(NamedTuple):
    recording: Recording
    stages: list[dict[str, Stage]]
    forwards: list[dict[str, list["Forward"]]]  # of each task, by name, of each mode
    trained: list[Played]  # with the recorded parameters after training
    finished: list[Played]


class Forward(NamedTuple):
    action: Any  # (2B, act)
    log_prob: Any  # (2B, 1)
    divergence_sum: Any  # ()
    regularizer: Any  # ()
    grad_divergence: Any  # like the parameters, and so the others
    grad_regularizer: Any
    grad_total: Any


def dense_layers(key, sizes):
    """Parameters of dense layers; only their shapes count here."""
    params = hand_wired.initializer(*sizes)(key)
    return {f"Dense_{i}": {"kernel": params[f"w{i}"], "bias": params[f"b{i}"]} for i in range(len(sizes) - 1)}


def load(name):
    data = dict(np.load(GOLDEN / f"rewire_{name}.npz", allow_pickle=False))
    how = json.loads(str(data.pop("config")))
    assert how["beta2"] == 0
    layers = DenseLayers(
        (how["obs"], *[how["hidden"]] * 3, 2 * how["act"]),
        activation_function("leaky_relu", 0.2),
        initialize=dense_layers,
        outputs=lambda numbers: tuple(jnp.split(numbers, 2, axis=1)),
        name="actor",
    )
    method = rewire(
        tuple(Task(f"{task}", task + 1) for task in range(how["n_tasks"])),
        gaussian,
        layers,
        how["k"],
        temperature=how["tau"],
        noise=how["beta"],
        dropout=how["dropout"],
        alignment_temperature=how["tau2"],
        divergence=how["divergence"],
        strength=how["coeff"],
        cycle=max(how["cycle"], 0),
        improvement=how["improvement_threshold"],
    )
    slots = how["cycle"] if how["cycle"] > 0 else how["n_tasks"]
    return Recording(data, how, slots, method)


def params_of(recording, snapshot):
    """Parameters of our network; slots to come have the head of slot 0, and an alignment that none has learned."""
    even = np.linspace(0, 1, recording.how["hidden"], dtype=np.float32)
    heads = [*range(len(snapshot["heads_b"])), *[0] * recording.slots][: recording.slots]
    return {
        "body": {f"Dense_{i}": {"kernel": snapshot[f"w{i}"].T, "bias": snapshot[f"b{i}"]} for i in LAYERS},
        "heads": {"kernel": np.swapaxes(snapshot["heads_w"], 1, 2)[heads], "bias": snapshot["heads_b"][heads]},
        "mode_scores": {f"Dense_{i}": snapshot[f"scores{i}"] for i in LAYERS},
        "output_scores": {f"Dense_{i}": snapshot.get(f"z{i}", even) for i in LAYERS},
        "input_scores": {f"Dense_{i}": snapshot.get(f"a{i}", even) for i in LAYERS if i},
    }


def gradient_of(recording, recorded, slot):
    """Recorded gradients as those of our parameters; a parameter without one has 0."""
    zeros = jax.tree.map(np.zeros_like, params_of(recording, recording.part("task1.start")))
    for name, value in recorded.items():
        if name.startswith("head"):
            assert name.startswith(f"head{slot}_")  # earlier heads have none
            zeros["heads"]["kernel" if name.endswith("w") else "bias"][slot] = value.T
        elif name[0] in "wb":
            zeros["body"][f"Dense_{name[-1]}"]["kernel" if name[0] == "w" else "bias"][...] = value.T
        else:
            zeros[OUR_NAMES[name[:-1]]][f"Dense_{name[-1]}"][...] = value
    return zeros


def flat(x):
    """Without the axis of the two states of a transition."""
    return x.reshape(-1, x.shape[-1])


def draw_of(recording, record, mode, slot):
    """What a recorded forward pass drew."""

    def dropout(name):
        return tuple(map(flat, record[name])) if recording.how["dropout"] else ()

    uniforms = tuple(record["uniforms"])
    other = np.int32(record["other_mode"])
    return Draw(np.int32(slot), np.int32(mode), other, uniforms, dropout("dropout"), dropout("dropout_other"))


def sampled(outputs, noise):
    """Actions and log probabilities, with half of the correction for the squashing, as published."""
    mean, log_std = outputs[0], jnp.clip(outputs[1], -20, 2)
    u = mean + jnp.exp(log_std) * noise
    normal = -0.5 * ((u - mean) / (jnp.exp(log_std) + 1e-8)) ** 2 - log_std - 0.5 * np.log(2 * np.pi)
    return jnp.tanh(u), (normal - (2 * np.log(2) - u - jax.nn.softplus(-2 * u))).sum(1, keepdims=True)


def forward(recording, params, state, inputs, draw, noise, upstream):
    method, divergence = recording.method, recording.how["divergence"]

    def terms(params):
        outputs = method.network.apply(params, inputs, draw)
        update = Update(CLOCK, inputs, outputs, draw)
        action, log_prob = sampled(outputs, noise)
        divergence_sum = method.penalty(params, state._replace(finished=0), update) / divergence
        regularizer = method.penalty(params, state, update)
        total = (action * upstream).mean() + 0.3 * log_prob.mean() + regularizer
        return (divergence_sum, regularizer, total), (action, log_prob)

    (divergence_sum, regularizer, _), pull, (action, log_prob) = jax.vjp(terms, params, has_aux=True)
    grads = [pull(tuple(jnp.eye(3)[i]))[0] for i in range(3)]
    return Forward(action, log_prob, divergence_sum, regularizer, *grads)


def play(recording, params, state, inputs, eval_inputs, noise):
    method, tasks = recording.method, recording.how["n_tasks"]

    def act(route, inputs):
        is_first = jnp.zeros(len(inputs), bool)
        return method.network.act(params, route, (), inputs, is_first=is_first, key=jax.random.key(0), greedy=True)[1]

    def of_mode(mode, noise):
        # One environment at a time, for environments play the modes in turn.
        outputs = jax.vmap(lambda x: act(method.trial.route(state, mode), x[None]))(inputs)
        outputs = jax.tree.map(lambda x: x[:, 0], outputs)
        return jnp.tanh(outputs[0]), sampled(outputs, noise)[0]

    greedy, random = jax.vmap(of_mode)(jnp.arange(3), noise)
    on_tasks = jax.vmap(lambda task: jnp.tanh(act(method.network.route(state, task), eval_inputs)[0]))
    return Played(greedy, random, on_tasks(jnp.arange(tasks + 1)))


@pytest.fixture(scope="module", params=["cycle2_noise", "cycle2_dropout", "nocycle_dropout"])
def ran(request):
    recording = load(request.param)
    method, part = recording.method, recording.part
    begin = jax.jit(lambda *now: method.begin_task(*now, clock=CLOCK, key=jax.random.key(0)))
    choose = jax.jit(
        lambda params, state, scores: method.trial.choose(
            params, method.trial.standing(state, scores[0]), scores[1:], CLOCK
        )
    )
    end = jax.jit(lambda *now: method.end_task(*now, inputs=jnp.zeros((0, 5)), clock=CLOCK, key=jax.random.key(0)))
    run_forward = jax.jit(functools.partial(forward, recording))
    run_play = jax.jit(functools.partial(play, recording))

    def forwards(task, name, params, state):
        found, given = [], part(f"task{task}.{name}")
        for mode in MODES:
            record = part(f"task{task}.{name}.mode{mode}")
            draw = draw_of(recording, record, mode, task % recording.slots)
            found.append(
                run_forward(
                    params, state, flat(given["obs"]), draw, flat(record["noise"]), flat(given["upstream_action"])
                )
            )
        return trees.numpy(found)

    def played(task, params, state):
        given = part(f"task{task}.acquisition")
        noise = np.stack([given[f"mode{mode}.noise"] for mode in MODES])
        return trees.numpy(run_play(params, state, given["obs"], recording.data["eval_obs"], noise))

    ran = Ran(recording, [], [], [], [])
    now = params_of(recording, part("task0.start"))
    now = now, jax.jit(method.init)(now)
    for task in range(recording.how["n_tasks"]):
        now = begin(*now) if task else now
        stages = {"start": now}
        found = {"forward": forwards(task, "forward", *now)}
        now = params_of(recording, part(f"task{task}.trained")), now[1]
        found["forward_trained"] = forwards(task, "forward_trained", *now)
        ran.trained.append(played(task, *now))
        now = choose(*now, recording.data[f"task{task}.evaluation_scores"]) if task else now
        stages["selected"] = now
        now = end(*now)
        stages["finished"] = now
        ran.finished.append(played(task, *now))
        ran.stages.append({name: Stage(*trees.numpy(stage)) for name, stage in stages.items()})
        ran.forwards.append(found)
    return ran


def assert_close(found, recorded, what, rtol, atol):
    """Within an absolute tolerance, and one relative to the largest number of a leaf."""

    def compare(path, found, recorded):
        tolerance = atol + rtol * np.abs(recorded).max()
        message = f"{what} {jax.tree_util.keystr(path)}"
        np.testing.assert_allclose(found, recorded, rtol=0, atol=tolerance, err_msg=message)

    jax.tree_util.tree_map_with_path(compare, found, recorded)


def test_each_stage_of_each_task_is_the_recorded_one(ran):
    rolled_back = 0
    for task, stages in enumerate(ran.stages):
        for name, (params, state) in stages.items():
            snapshot, what = ran.recording.part(f"task{task}.{name}"), f"task {task} {name}"
            recorded, heads = params_of(ran.recording, snapshot), len(snapshot["heads_b"])
            params = params | {"heads": trees.at(params["heads"], slice(heads))}  # of the slots so far
            recorded = recorded | {"heads": trees.at(recorded["heads"], slice(heads))}
            assert_close(params, recorded, what, rtol=0, atol=1e-7)
            assert state.mode == snapshot["selected_mode"] and state.finished == snapshot["completed"]
            for i in LAYERS:
                stored = snapshot.get(f"wirings{i}", np.zeros((0, 10), np.int32))
                assert len(stored) == min(int(state.finished), ran.recording.slots)
                np.testing.assert_array_equal(state.wirings[i][: len(stored)], stored, err_msg=f"{what} wiring {i}")
                if task or name == "finished":
                    np.testing.assert_array_equal(state.anchor[f"Dense_{i}"]["kernel"], snapshot[f"anchor_w{i}"].T)
                    np.testing.assert_array_equal(state.anchor[f"Dense_{i}"]["bias"], snapshot[f"anchor_b{i}"])
            if task:
                np.testing.assert_array_equal(state.head_before["kernel"], snapshot["head_backup_w"].T)
                np.testing.assert_array_equal(state.head_before["bias"], snapshot["head_backup_b"])
        scores = ran.recording.data[f"task{task}.evaluation_scores"]
        rolled_back += len(scores) and scores[1:].max() < scores[0]
    assert rolled_back


def test_forward_passes_and_gradients_are_the_recorded_ones(ran):
    for task, forwards in enumerate(ran.forwards):
        slot = task % ran.recording.slots
        for name, by_mode in forwards.items():
            for mode, found in enumerate(by_mode):
                what = f"task {task} {name} mode {mode}"
                record = ran.recording.part(f"task{task}.{name}.mode{mode}")
                np.testing.assert_allclose(found.action, flat(record["action"]), atol=2e-6, err_msg=what)
                np.testing.assert_allclose(found.log_prob, flat(record["log_prob"]), atol=1e-5, err_msg=what)
                np.testing.assert_allclose(found.divergence_sum, record["divergence_sum"], rtol=1e-5, err_msg=what)
                np.testing.assert_allclose(found.regularizer, record["regularizer"], rtol=1e-5, err_msg=what)
                for kind in ("grad_divergence", "grad_regularizer", "grad_total"):
                    recorded = ran.recording.part(f"task{task}.{name}.mode{mode}.{kind}")
                    # Where weights are at the anchor, the gradient of the alignment is the rounding of a permutation.
                    atol = 0 if kind == "grad_divergence" else 1e-6 * ran.recording.how["coeff"]
                    recorded = gradient_of(ran.recording, recorded, slot)
                    assert_close(getattr(found, kind), recorded, f"{what} {kind}", rtol=1e-5, atol=atol)


def test_actions_are_the_recorded_ones(ran):
    for task, (trained, finished) in enumerate(zip(ran.trained, ran.finished)):
        for mode in MODES:
            record = ran.recording.part(f"task{task}.acquisition.mode{mode}")
            np.testing.assert_allclose(trained.greedy[mode], record["eval_action"], atol=2e-6)
            if not ran.recording.how["dropout"]:
                np.testing.assert_allclose(trained.sampled[mode], record["action"], atol=2e-6)
        recorded = ran.recording.data[f"task{task}.eval_action"]
        np.testing.assert_allclose(finished.on_tasks, recorded, atol=2e-6, err_msg=f"after task {task}")


def test_memory_is_the_recorded_one(ran):
    tasks = np.arange(ran.recording.how["n_tasks"])
    found = jax.jit(lambda tasks: ran.recording.method.memory(*ran.stages[0]["start"], tasks))(tasks + 1)
    recorded = [ran.recording.data[f"task{task}.n_parameters"] for task in tasks]
    np.testing.assert_array_equal(found.parameters_and_buffers, recorded)
