"""The benchmarks: each starts, and what is measured apart from a run is a program that JAX accepts."""

import math
import pathlib
import runpy
import sys

import jax
import numpy as np
import pytest
import trees

from pliant.experiment.loops.planning import plan
from pliant.networks import conv_net, resnet18
from pliant.tracing.inlining import inline

ALL = sorted((pathlib.Path(__file__).parents[1] / "benchmarks").glob("[!_]*.py"))


@pytest.fixture(autouse=True, scope="module")
def beside_each_other():
    """Benchmarks import files of their folder, whose names come last: one is called as the package minigrid."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [*sys.path, str(ALL[0].parent)])
        yield


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.stem)
def test_starts_and_names_what_it_measures(path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [path.name, "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(path), run_name="__main__")
    assert ended.value.code == 0
    assert "--seconds" in capsys.readouterr().out
    assert f"python benchmarks/{path.name} " in path.read_text()


@pytest.mark.parametrize("piece", ["environment", "acting", "learning"])
def test_a_round_of_each_piece_of_minigrid_returns_what_the_next_begins_with(piece):
    benchmark = runpy.run_path(str(next(path for path in ALL if path.stem == "minigrid")))
    parts = plan(benchmark["config_of"]("ppo", seeds=1, num_envs=2)).components

    def begin_and_one_round(begin_key, key):
        first, one_round = benchmark[piece](parts, begin_key)
        return first, one_round(first, key)

    first, after = jax.eval_shape(begin_and_one_round, trees.key(0), trees.key(1))
    assert jax.tree.map(lambda x: (x.shape, x.dtype), first) == jax.tree.map(lambda x: (x.shape, x.dtype), after)


@pytest.fixture(scope="module")
def images():
    return runpy.run_path(str(next(path for path in ALL if path.stem == "images")))


def test_rows_of_images_are_published_configurations_that_the_rows_compared_with_them_share(images):
    configs = {name: images["config_of"](row) for name, row in images["ROWS"].items()}
    bp, cbp = configs["conv_net"], configs["conv_net_cbp"]
    assert (bp.problem.settings, bp.agent) == ({**cbp.problem.settings, "tasks": 1}, cbp.agent)
    assert [method.name for method in cbp.methods if method not in bp.methods] == ["continual_backprop"]
    one, several = configs["permuted_2000"], configs["permuted_2000_seeds"]
    assert (len(one.seed_list), len(several.seed_list)) == (1, 4)
    assert one.problem == several.problem


def test_the_floor_of_images_counts_the_weights_of_the_network(images):
    parts = plan(images["config_of"](images["ROWS"]["permuted_2000"])).components
    params = jax.eval_shape(parts.agent.init, trees.key(0)).params
    assert sum(x.size for x in jax.tree.leaves(params) if len(x.shape) == 2) == images["WEIGHTS"]


@pytest.mark.parametrize(("row", "outputs"), [("conv_net", 2), ("resnet18", 100)])
def test_the_floor_of_images_counts_the_operations_of_an_update(images, row, outputs):
    config = images["config_of"](images["ROWS"][row])
    network = {"conv_net": conv_net, "resnet18": resnet18}[row]((32, 32, 3), outputs)
    x = np.zeros((config.problem.settings["batch_size"], 32, 32, 3), np.float32)
    params = jax.eval_shape(network.init, trees.key(0))
    program = inline(jax.make_jaxpr(network.train or network.apply)(params, x))
    operations = []
    for equation in program.equations:
        if equation.primitive.name == "conv_general_dilated":
            kernel = equation.invars[1].aval.shape  # (rows, columns, inputs, outputs)
            operations.append(2 * equation.outvars[0].aval.size * math.prod(kernel[:-1]))
        if equation.primitive.name == "dot_general":
            operations.append(2 * equation.outvars[0].aval.size * equation.invars[1].aval.shape[0])
    assert 3 * sum(operations) - operations[0] == pytest.approx(images["ROWS"][row].operations, rel=0.002)


@pytest.fixture(scope="module")
def of_sac():
    return runpy.run_path(str(next(path for path in ALL if path.stem == "sac")))


def test_a_call_of_sac_with_a_continual_method_returns_what_the_next_begins_with(of_sac):
    # A subspace has fresh critics in each task, which get further numbers.
    agent = of_sac["agent_of"]("subspace", 18, 4, 0.5)
    extras, finished = of_sac["extras_of"](agent, 18, 4), of_sac["finished"]("subspace")
    assert (extras.seen.shape, finished) == ((4, 8), 3)

    def begin(key):
        return of_sac["begun"](agent, agent.init(key), finished)

    def one_call(state, key):
        return agent.learn(state, of_sac["made_up"](key, 18, 4, extras), 0)[0]

    state = jax.eval_shape(begin, trees.key(0))
    after = jax.eval_shape(one_call, state, trees.key(1))
    assert jax.tree.map(lambda x: (x.shape, x.dtype), after) == jax.tree.map(lambda x: (x.shape, x.dtype), state)


def test_rows_of_sac_are_the_continual_methods_with_the_settings_of_the_scenario(of_sac):
    assert set(of_sac["TARGETS"]) | set(of_sac["FINISHED"]) <= set(of_sac["METHODS"])
    params = {
        row: jax.eval_shape(of_sac["agent_of"](row, 18, 4, 0.5).init, trees.key(0)).learned.params.actor
        for row in ("progressive", "rewire")
    }
    assert params["progressive"]["column"]["Dense_1"]["kernel"].shape == (96, 96)
    assert params["rewire"]["heads"]["bias"].shape == (4, 12)


@pytest.mark.parametrize("published", [False, True])
def test_bare_updates_of_sac_return_what_the_next_begin_with_and_count_as_many(of_sac, published):
    bare = of_sac["Bare"](published, observation=3, action=2, units=5, batch=4)

    def counts(key):
        state = bare.updated(bare.init(key), 6)
        return [optimizer[0].count for optimizer in state.optimizers]

    with jax.numpy_rank_promotion("allow"):  # a bias is added to a batch as it is
        first = jax.eval_shape(bare.init, trees.key(0))
        after = jax.eval_shape(lambda state: bare.updated(state, 6), first)
        found = trees.numpy(jax.jit(counts)(trees.key(0)))
    assert jax.tree.map(lambda x: (x.shape, x.dtype), after) == jax.tree.map(lambda x: (x.shape, x.dtype), first)
    assert found == ([3, 6, 3] if published else [6, 6, 6])  # of actor, critics and temperature
