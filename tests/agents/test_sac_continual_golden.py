"""SAC with continual methods that change its network or its updates, against what the published program left.

The first state is the recorded one; from there on all is our own. Routes, noise and batches are the recorded ones.
"""

import functools

import jax
import numpy as np
import pytest
import trees
from sac_recordings import CLOSE, HOW, Program, Recording, check_update

import pliant.continual
from pliant.agents._actor_and_critics import Both
from pliant.agents._soft_losses import Contexts
from pliant.continual._packnet import PackNetState
from pliant.continual._rewire import RewireState
from pliant.continual._rewire_network import Draw
from pliant.continual._subspace import Mixed, SubspaceState
from pliant.core.clock import Task
from pliant.core.likelihood import gaussian
from pliant.networks import normal_actor_layers

TASKS = tuple(Task(f"{k}", 100 * (k + 1)) for k in range(3))


def layers_of(recording):
    return normal_actor_layers(recording.inputs, recording.actions, recording.hidden, *HOW)


def updates(recording, program, learned, contexts, extras=lambda i: (), finetunes=False):
    """Makes the recorded updates; yields the number of each, of the actor's update, and the state after it."""
    for i in range(recording.config["iterations"]):
        learned, seen = trees.numpy(
            program.update(
                recording.numbers, learned, recording.sample(i, extras(i)), recording.noise(i), contexts(i),
                np.int32(i + 1), finetunes=finetunes,
            )
        )  # fmt: skip
        check_update(recording, i, learned, seen)
        yield i, recording.of_actor.get(i), learned


def started(recording, program, mu, kept):
    params = Both(mu, recording.critics("before"))
    target = recording.critics("before", name="target")
    return program.begun(params, target, recording.data["f64_log_alpha_before"], kept)


def of_states(array, k):
    """What is recorded for the states of an actor's update, or zeros where there is none: `(states, ...)`."""
    one = np.zeros_like(array[0]) if k is None else array[k]
    return one.reshape(-1, *one.shape[2:])


# PackNet


def packnet_of(recording):
    def initialize(key):
        return {"actor": recording.network("trained_")}

    return pliant.continual.packnet(TASKS, initialize, finetune=100)


@functools.cache
def packnet_program():
    """One program for both recordings."""
    recording = Recording("packnet_finetune_delay_2_4")
    return Program(recording, packnet_of(recording))


@pytest.mark.parametrize("name", ["packnet_finetune_delay_2_4", "packnet_finetune_delay_4_2"])
def test_packnet_fine_tunes_its_own_weights(name):
    recording, program = Recording(name), packnet_program()
    owners, previous = recording.network("owner_"), recording.network("previous_")
    task = recording.config["task"]

    def projected(weights):
        """Theirs are put back before a forward pass, and ours after an update."""
        return {"actor": jax.tree.map(
            lambda w, owner, old: np.select([owner == task, owner >= 0], [w, old], 0), weights, owners, previous
        )}  # fmt: skip

    owned = {"actor": jax.tree.map(lambda owner: owner.astype(np.int8), owners)}
    kept = PackNetState(owned, np.int32(task), np.array(True))
    learned = started(recording, program, projected(recording.network("before_policy_")), kept)
    for i, _, after in updates(recording, program, learned, lambda i: Contexts((), ()), finetunes=True):
        trees.assert_close(after.params.actor, projected(recording.network("after_policy_", i)), **CLOSE)
        last = after
    if recording.config["iterations"] % recording.config["policy_update_delay"]:
        # They stored the network after one more update than is recorded, and here that is none of the actor.
        trees.assert_close(last.params.actor, {"actor": recording.network("final_")}, **CLOSE)
    earlier = jax.tree.map(lambda owner: (owner >= 0) & (owner < task), owners)
    for ours, theirs, is_earlier in zip(*map(jax.tree.leaves, (last.params.actor, previous, earlier))):
        np.testing.assert_array_equal(ours[is_earlier], theirs[is_earlier])


# A subspace of policies


def test_the_newest_anchor_of_a_subspace_learns():
    recording = Recording("csp_sac_peaked")
    data, anchors = recording.data, 3
    program = Program(recording, pliant.continual.subspace(TASKS, layers_of(recording), distribution="peaked"))

    def anchor(number, when, at=...):
        return {"actor": recording.network(f"{when}_policy_anchor{number}_", at)}

    newest, older = np.int32(anchors - 1), trees.stacked([anchor(k, "before") for k in range(anchors)])
    kept = SubspaceState(
        older, newest, np.int32(anchors), np.zeros((3, anchors), np.float32), np.int32(2),
        np.zeros((8, anchors), np.float32),
    )  # fmt: skip

    def contexts(i):
        mixtures = data["critic_alphas"][i, 1], of_states(data["actor_alphas"], recording.of_actor.get(i))
        return Contexts(*(Mixed(each, older, newest) for each in mixtures))

    learned = started(recording, program, anchor(newest, "before"), kept)
    for i, k, after in updates(recording, program, learned, contexts, lambda i: data["batch_alphas"][i, 0]):
        if k is not None:
            gradient = {"actor": recording.network(f"grad_policy_anchor{newest}_", k)}
            trees.assert_close(after.optimizer.actor.before[0], gradient, **CLOSE)
        trees.assert_close(after.params.actor, anchor(newest, "after", i), **CLOSE)
        for number in range(newest):
            trees.assert_equal(trees.at(after.continual.older, number), anchor(number, "after", i))


# Rewire


def rewired(data, prefix, at=...):
    """The recorded parameters of the actor."""

    def of_layers(name, layers=range(3)):
        return {f"Dense_{layer}": data[f"{prefix}{name}{layer}"][at] for layer in layers}

    heads = {
        ours: np.stack([data[f"{prefix}head{slot}_{theirs}"][at].swapaxes(-1, axis) for slot in range(2)])
        for ours, theirs, axis in (("kernel", "w", -2), ("bias", "b", -1))
    }
    body = {
        f"Dense_{layer}": {
            "kernel": data[f"{prefix}w{layer}"][at].swapaxes(-1, -2), "bias": data[f"{prefix}b{layer}"][at],
        }
        for layer in range(3)
    }  # fmt: skip
    return {
        "body": body, "heads": heads, "mode_scores": of_layers("scores"), "output_scores": of_layers("z"),
        "input_scores": of_layers("a", (1, 2)),
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["noise", "dropout"])
def test_wirings_weights_and_one_head_learn(kind):
    recording = Recording(f"rewire_sac_{kind}")
    data, config = recording.data, recording.config
    continual = pliant.continual.rewire(
        TASKS, gaussian, layers_of(recording), modes=config["k"], temperature=config["tau"], noise=config["beta"],
        alignment_temperature=config["tau2"], divergence=config["divergence"], strength=config["coeff"], cycle=2,
    )  # fmt: skip
    program = Program(recording, continual)
    before = rewired(data, "before_policy_")
    anchor = {
        f"Dense_{layer}": {"kernel": data[f"anchor_w{layer}"].T, "bias": data[f"anchor_b{layer}"]} for layer in range(3)
    }
    wirings = tuple(np.stack([order, order]).astype(np.int32) for order in data["cached_wirings"])
    head = jax.tree.map(lambda heads: heads[1], before["heads"])
    kept = RewireState(anchor, wirings, head, np.int32(1), np.array(True), data["selected_mode"], np.float32(0))

    def dropout(name, at):
        return () if kind == "noise" else tuple(data[name][at])

    def draw(i):
        k, slot = recording.of_actor.get(i), np.int32(1)
        of_target = Draw(
            slot, data["critic_mode"][i], data["critic_other_mode"][i], tuple(data["critic_uniforms"][i]),
            dropout("critic_dropout", np.s_[i, :, 1]), dropout("critic_dropout_other", np.s_[i, :, 1]),
        )  # fmt: skip
        k = 0 if k is None else k  # of an update without the actor it does not matter
        states = lambda factors: tuple(x.reshape(-1, x.shape[-1]) for x in factors)  # noqa: E731
        of_actor = Draw(
            slot, data["actor_mode"][k], data["actor_other_mode"][k], tuple(data["actor_uniforms"][k]),
            states(dropout("actor_dropout", k)), states(dropout("actor_dropout_other", k)),
        )  # fmt: skip
        return Contexts(of_target, of_actor)

    learned = started(recording, program, before, kept)
    for i, k, after in updates(recording, program, learned, draw):
        if k is not None:
            gradient = after.optimizer.actor.before[0]
            zeros = {name: np.zeros_like(data[name.replace("grad", "before")])[None].repeat(k + 1, 0)
                     for name in ("grad_policy_head0_w", "grad_policy_head0_b")}  # fmt: skip
            theirs = rewired(data | zeros, "grad_policy_", k)
            trees.assert_close(gradient, theirs, rtol=1e-5, atol=1e-4)
        trees.assert_close(after.params.actor, rewired(data, "after_policy_", i), **CLOSE)
        trees.assert_equal(
            jax.tree.map(lambda x: x[0], after.params.actor["heads"]),
            jax.tree.map(lambda x: x[0], before["heads"]),
        )
