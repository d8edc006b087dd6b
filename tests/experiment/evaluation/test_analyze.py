"""The analysis of a run's networks, whose numbers are computed again in NumPy from the arrays of the checkpoints."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import staged
from flax import linen as nn

from pliant import report
from pliant.core import sources
from pliant.core.clock import Task
from pliant.core.judgement import cross_entropy
from pliant.core.problem import Batch, Network, Split, Stream
from pliant.experiment.configuration.reading import from_mapping
from pliant.experiment.errors import ConfigError, StoreError
from pliant.experiment.evaluation.analyze import analyze, read_diagnostics
from pliant.experiment.evaluation.network_measures import by_class
from pliant.experiment.loops.planning import plan
from pliant.experiment.run import run
from pliant.experiment.storage.checkpoints import load_checkpoint

# Three tasks, each with two further classes of 5 images to learn from and 3 to be tested on; 4 updates each.
CLASSES, UNITS = 6, 7
TRAIN, TEST = (np.random.default_rng(0).normal(size=(CLASSES, each, 4)).astype(np.float32) for each in (5, 3))


class Module(nn.Module):
    training: bool

    @nn.compact
    def __call__(self, x):
        x = nn.BatchNorm(use_running_average=not self.training, momentum=0.5)(nn.Dense(UNITS)(x))
        return nn.Dense(CLASSES)(nn.relu(x))


def network():
    """Variables as in the networks of the package, around a module of flax."""

    def init(key):
        made = Module(False).init(key, jnp.zeros((1, 4)))
        return {"params": made["params"], "statistics": made["batch_stats"]}

    def train(variables, x):
        given = {"params": variables["params"], "batch_stats": variables["statistics"]}
        output, moved = Module(True).apply(given, x, mutable=["batch_stats"])
        return output, {**variables, "statistics": moved["batch_stats"]}

    def apply(variables, x):
        return Module(False).apply({"params": variables["params"], "batch_stats": variables["statistics"]}, x)

    return Network(init, apply, train=train)


def growing() -> Stream:
    """Classes in turn; the label of a class is the number of classes before it."""

    def begin_epoch(data, state, clock):
        return {"at": jnp.int32(0), "task": clock.task.astype(jnp.int32)}

    def draw(data, state, steps):
        label = (2 * state["task"] + (state["at"] + jnp.arange(steps)) % 2).astype(jnp.int32)
        return {**state, "at": state["at"] + steps}, Batch(data[0][label], jnp.repeat(label[:, None], 5, 1))

    def split(which, first):
        def batch(data, state, clock, i):
            label = first(clock) + i
            x = data[which][label]
            return Batch(x, jnp.full(len(x), label, jnp.int32))

        return batch

    tasks = tuple(Task(f"{k}", 4 * k) for k in (1, 2, 3))
    start = {"at": np.int32(0), "task": np.int32(0)}
    return Stream(
        lambda data, key: jax.tree.map(jnp.asarray, start), draw, cross_entropy, network(), 12, (TRAIN, TEST), tasks,
        (2, 2, 2), begin_epoch,
        {
            "test": Split(lambda clock: 2 * clock.task + 2, split(1, lambda clock: 0)),
            "next_task": Split(lambda clock: 2, split(0, lambda clock: 2 * clock.task), tracked=False),
            "previous_tasks": Split(lambda clock: 2 * clock.task, split(0, lambda clock: 0), tracked=False),
        },
    )  # fmt: skip


def planned(**fields):
    given = {"problem": sources.in_program(growing), "agent": {"name": "sgd", "learning_rate": 0.5}, "seeds": "2"}
    return plan(from_mapping({**given, "diagnostics": [], **fields}))


def specs(**settings):
    return read_diagnostics([{"name": name, **how} for name, how in settings.items()] if settings else None)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return run(planned(), tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def found(path):
    """All numbers, in evaluation mode on 7 of the 10 images of a task, and in training mode on all of them."""
    progress = []
    evaluation = analyze(path, specs(), examples=7, on_progress=lambda *now: progress.append(now))
    assert progress == [(done, 8) for done in range(9)]
    return {False: evaluation, True: analyze(path, specs(), train_mode=True)}


def weights(path, seed, step):
    """Scale, shift and running statistics of the norm, and both layers, from the arrays of a checkpoint."""
    arrays = load_checkpoint(path / "shards" / "0-1" / "checkpoints" / f"{step:012d}", {})
    leaves = [arrays[f"agent.{i:04d}"][seed] for i in range(8)]
    return dict(zip(("shift", "scale", "b0", "w0", "b1", "w1", "mean", "variance"), leaves))


def features(w, x, train_mode):
    z = x @ w["w0"] + w["b0"]
    mean, variance = (z.mean(0), z.var(0)) if train_mode else (w["mean"], w["variance"])
    return np.maximum((z - mean) / np.sqrt(variance + 1e-5) * w["scale"] + w["shift"], 0)


def measured(h):
    """Fraction of units that are active on less than 1 %, effective rank, stable rank."""
    sigma = np.linalg.svd(h, compute_uv=False)
    p = sigma / sigma.sum()
    p = p[p > 1e-9]
    return {
        "inactive_fraction": ((h != 0).mean(0) < 0.01).mean(),
        "effective_rank": np.exp(-(p * np.log(p)).sum()),
        "stable_rank": (np.cumsum(sigma) / sigma.sum() < 0.99).sum() + 1,
    }


def numbers(table, **where):
    """`{(metric, group): value}` of the rows with these values, of which there is one each."""
    for name, value in where.items():
        table = table[table[name] == value]
    assert not table.duplicated(["metric", "group"]).any()
    return dict(zip(zip(table["metric"], table["group"]), table["value"]))


@pytest.mark.parametrize("train_mode", [False, True])
@pytest.mark.parametrize("seed", [0, 1])
def test_each_checkpoint_is_measured_on_the_next_task_and_on_those_before(path, found, seed, train_mode):
    for task in range(4):
        w = weights(path, seed, 4 * task)
        at = dict(seed=seed, step=4 * task, task=task)
        wanted = {
            "next_task": TRAIN[2 * task : 2 * task + 2].reshape(-1, 4),
            "previous_tasks": TRAIN[: 2 * task].reshape(-1, 4),
        }
        for name, x in wanted.items():
            rows = numbers(found[train_mode], examples=name, **at)
            if not len(x) or task == 3:  # there are none before the first task, and no next one after the last
                assert rows == {}
                continue
            # 7 of n examples: number 0, n / 7, 2 n / 7, ..., rounded down.
            x = x if train_mode else x[[i * len(x) // 7 for i in range(7)]]
            values = measured(features(w, x, train_mode))
            groups = {"inactive_fraction": "", "effective_rank": "Dense_0", "stable_rank": "Dense_0"}
            assert {key for key in rows if key[1] or key[0] == "inactive_fraction"} == set(rows)
            for metric, value in values.items():
                np.testing.assert_allclose(rows[metric, groups[metric]], value, rtol=1e-4)
        parameters = np.concatenate([w[name].ravel() for name in ("shift", "scale", "b0", "w0", "b1", "w1")])
        rows = numbers(found[train_mode], examples="", **at)
        np.testing.assert_allclose(rows["weight_magnitude", ""], np.abs(parameters).mean(), rtol=1e-5)


@pytest.mark.parametrize("train_mode", [False, True])
def test_accuracies_of_the_classes_seen_so_far_in_the_order_of_their_introduction(path, found, train_mode):
    table = found[train_mode][found[train_mode]["seed"] == 1]
    assert numbers(table, examples="test", step=0) == {}
    for task in (1, 2, 3):
        w, right = weights(path, 1, 4 * task), []
        for label in range(2 * task):  # a batch has one class
            h = features(w, TEST[label], train_mode)
            right.append(((h @ w["w1"] + w["b1"]).argmax(1) == label).mean())
        rows = numbers(table, examples="test", step=4 * task)
        assert list(rows) == [("accuracy", ""), *(("accuracy", f"{label}") for label in range(2 * task))]
        np.testing.assert_allclose(list(rows.values()), [np.mean(right), *right], rtol=1e-5)


def test_accuracy_of_each_class_as_recorded():
    """The authors divide by 100 whatever the number of a class's examples is; ours are fractions of its examples."""
    golden = np.load(pathlib.Path(__file__).parents[2] / "golden" / "vision_metrics.npz", allow_pickle=False)
    logits, target = golden["class_logits"].reshape(-1, 100), golden["class_target"].reshape(-1).astype(np.int32)
    # Many logits are equal: the columns stay in the order of the recording, in which the first of them wins.
    correct, count = jax.jit(lambda p, y: by_class(growing(), p, y))(logits.astype(np.float32) / 8, target)
    np.testing.assert_array_equal(count, np.bincount(target, minlength=100))
    np.testing.assert_allclose(
        np.asarray(correct)[golden["class_order"]] / 100, golden["accuracy_per_class"], rtol=1e-6
    )


@pytest.mark.compilations(7)  # a run, and its analysis
def test_without_splits_the_numbers_are_those_of_the_run_itself(tmp_path):
    problem = {"name": "permuted_mnist", "data": "digits", "tasks": 2, "change_every": 500, "hidden_units": 8}
    names = ["effective_rank", "weight_magnitude", "dormant_fraction"]
    config = from_mapping({"problem": {**problem, "batch_size": 5}, "diagnostics": names, "record_every": 100})
    path = run(plan(config), tmp_path)
    rows = analyze(path, specs(effective_rank={"layers": "last"}, weight_magnitude={}, dormant_fraction={}))
    assert sorted(set(rows["step"])) == [0, 100, 200] and set(rows["examples"]) == {"next_task", ""}
    own = report.load(path).metrics.sort_values("step")
    for metric, group in [("effective_rank", "Dense_2"), ("weight_magnitude", ""), ("dormant_fraction", "Dense_1")]:
        mine = rows[(rows["metric"] == metric) & (rows["group"] == group)]
        theirs = own[(own["metric"] == metric) & (own["group"] == group)]
        assert list(mine["step"]) == list(theirs["step"]) == [0, 100, 200]
        np.testing.assert_allclose(mine["value"], theirs["value"], rtol=1e-5)


def test_some_checkpoints_and_seeds(path):
    rows = analyze(path, specs(weight_magnitude={}), steps=[8, 4], seeds=[1])
    assert set(rows["seed"]) == {1} and list(dict.fromkeys(rows["step"])) == [8, 4]
    with pytest.raises(ConfigError, match=r"^step=5: .* has no such checkpoint; there are: 0, 4, 8, 12$"):
        analyze(path, specs(), steps=[5])
    with pytest.raises(ConfigError, match="there is no seed 2; the run has seeds=0-1"):
        analyze(path, specs(), seeds=[2])


def test_members_that_diverged_are_left_out(tmp_path):
    path = run(planned(sweep={"learning_rate": [0.5, 1e30]}), tmp_path)
    rows = analyze(path, specs(weight_magnitude={}), seeds=[0])
    assert set(rows[rows["agent.learning_rate"] == 1e30]["step"]) == {0}
    assert set(rows[rows["agent.learning_rate"] == 0.5]["step"]) == {0, 4, 8, 12}
    assert not rows["value"].isna().any()


def test_what_cannot_be_measured_is_refused(path, tmp_path):
    with pytest.raises(ConfigError, match="diagnostics=weight_change: it compares two times of a run; leave it out"):
        analyze(path, specs(weight_change={}))
    with pytest.raises(ConfigError, match=r"nowhere is not a run: it has no config.yaml"):
        analyze(tmp_path / "nowhere", specs())
    (tmp_path / "config.yaml").write_text("problem: {name: permuted_mnist, data: digits, hidden_units: 4}\n")
    with pytest.raises(StoreError, match="has no checkpoint yet; wait for its first, or resume it: pliant run "):
        analyze(tmp_path, specs())


def test_runs_in_environments_are_refused(tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        staged.add(patch)
        (tmp_path / "config.yaml").write_text("problem: uneven\nagent: riser\n")
        with pytest.raises(
            ConfigError, match="is a run of uneven, whose agents act in environments, and not of a stream"
        ):
            analyze(tmp_path, specs())


def test_a_network_without_running_statistics_has_one_mode(tmp_path):
    problem = {"name": "permuted_mnist", "data": "digits", "tasks": 1, "change_every": 10, "hidden_units": 4}
    path = run(plan(from_mapping({"problem": problem, "diagnostics": []})), tmp_path)
    with pytest.raises(ConfigError, match="--train-mode: the network of permuted_mnist has no running statistics"):
        analyze(path, specs(), train_mode=True)
