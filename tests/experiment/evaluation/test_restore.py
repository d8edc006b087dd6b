"""Reading the agents of a run, whatever has happened or is happening to it."""

import dataclasses
import logging
import re
import shutil

import jax
import numpy as np
import pytest
import uneven

from pliant.experiment.configuration.reading import from_mapping
from pliant.experiment.errors import ConfigError, StoreError
from pliant.experiment.evaluation.evaluate import evaluate
from pliant.experiment.evaluation.restore import load
from pliant.experiment.loops.planning import plan
from pliant.experiment.run import run
from pliant.experiment.storage import checkpoints

CONFIG = {"seeds": "2", "diagnostics": [], "record_every": 16}


def mapping(form):
    return {"problem": {"name": form}, "agent": {"name": "riser", "learning_rate": 0.5}, **CONFIG}


@pytest.fixture(scope="module", params=["uneven", "uneven_host"])
def original(request, tmp_path_factory):
    """A run of 64 steps, in rounds of 16, with checkpoints at the last two of them."""
    with pytest.MonkeyPatch.context() as patch:
        uneven.add(patch)
        config = from_mapping(mapping(request.param))
        yield run(plan(config), tmp_path_factory.mktemp("runs"), checkpoint_every=0.0)


@pytest.fixture
def path(original, tmp_path):
    return shutil.copytree(original, tmp_path / original.name)


def means(trained):
    """What the agents of a seed act by."""
    (mean,) = [leaf for leaf in trained.agents if leaf.dtype == np.float32]
    return mean


def after(rounds):
    return [uneven.initial_mean(seed) + 0.5 * rounds for seed in (0, 1)]


def contents(path):
    """All files, with their bytes and the times of their last change."""
    return {file: (file.stat().st_mtime_ns, file.is_file() and file.read_bytes()) for file in path.rglob("*")}


def checkpoints_of(path):
    return path / "shards" / "0-1" / "checkpoints"


def damage(path, step, file="MANIFEST.json"):
    (checkpoints_of(path) / f"{step:012d}" / file).write_text("{}")


def test_the_newest_is_the_default(path):
    trained = load(path)
    assert (trained.step, list(trained.members.seeds), list(trained.diverged)) == (64, [0, 1], [-1, -1])
    np.testing.assert_allclose(means(trained), after(4), rtol=1e-6)
    np.testing.assert_allclose(means(load(path, 64)), after(4), rtol=1e-6)


def test_another_step(path):
    trained = load(path, 48)
    assert trained.step == 48
    np.testing.assert_allclose(means(trained), after(3), rtol=1e-6)


def test_only(path):
    trained = load(path)
    other = trained.only(np.array([1]))
    assert list(other.members.seeds) == [1]
    np.testing.assert_array_equal(means(other), means(trained)[1:])
    assert {name: list(saved) for name, saved in other.host.items()} == {
        name: [saved[1]] for name, saved in trained.host.items()
    }


def test_nothing_is_changed(path):
    before = contents(path)
    evaluate(load(path), episodes=2, modes=["greedy"])
    assert contents(path) == before


def test_a_damaged_checkpoint_is_left_for_the_one_before(path, caplog):
    damage(path, 64, "_METADATA")
    before = contents(path)
    with caplog.at_level(logging.WARNING):
        assert load(path).step == 48
    folder = checkpoints_of(path) / "000000000064"
    assert f"checkpoint {folder} is damaged (_METADATA): falling back to the one before" in caplog.text
    with pytest.raises(StoreError, match=rf"^checkpoint {re.escape(str(folder))} is damaged \(_METADATA\); without a"):
        load(path, 64)
    assert contents(path) == before
    damage(path, 48)
    with pytest.raises(StoreError, match="0-1 has no good checkpoint; compute it again: pliant run "):
        load(path)


def test_an_empty_checkpoint_is_damaged(path, caplog):
    shutil.rmtree(checkpoints_of(path) / "000000000064")
    (checkpoints_of(path) / "000000000064").mkdir()
    assert load(path).step == 48
    assert "is damaged (MANIFEST.json)" in caplog.text


def test_an_unknown_step(path):
    with pytest.raises(ConfigError, match=r"^step=50: .* has no such checkpoint; there are: 48, 64$"):
        load(path, 50)


def test_a_run_without_evaluations_has_no_best(path):
    with pytest.raises(ConfigError, match=r"^step=best: .* only a run with evaluate_every, .* the steps: 48, 64$"):
        load(path, "best")


@pytest.mark.parametrize("step", [None, 16])
def test_no_checkpoint_yet(path, step):
    for left in (checkpoints_of(path)).iterdir():
        left.rename(left.with_suffix(".unfinished"))
    with pytest.raises(StoreError, match="has no checkpoint yet; wait for its first, or resume it: pliant run"):
        load(path, step)
    shutil.rmtree(checkpoints_of(path))
    with pytest.raises(StoreError, match="has no checkpoint yet"):
        load(path, step)


def test_while_the_run_goes_on(tmp_path):
    """Another process holds the lock, and has just saved."""
    found = []
    with pytest.MonkeyPatch.context() as patch:
        uneven.add(patch)
        config = from_mapping(mapping("uneven"))
        path = tmp_path / config.name

        def on_progress(done, total):
            if done > 32:  # of two seeds: one round is over, and was saved
                before = contents(path)
                found.append(load(path).step)
                assert contents(path) == before

        run(plan(config), tmp_path, checkpoint_every=0.0, on_progress=on_progress)
    assert found == [16, 32, 48]


@pytest.mark.parametrize("asked", [None, 20])
def test_a_checkpoint_that_is_dropped_while_it_is_read(tmp_path, monkeypatch, caplog, asked):
    """Two newer ones come between the look at the directory and the reading."""
    path, like = tmp_path / "run", {"agent.0000": jax.ShapeDtypeStruct((3,), np.float32)}
    look, looked_at = checkpoints._damage, []

    def slowly(folder):
        looked_at.append(int(folder.name))
        if len(looked_at) == 1:
            for step in (40, 60):
                checkpoints.write_checkpoint(path, step, {"agent.0000": np.full(3, step, np.float32)})
            checkpoints.drop_checkpoints(path, [])
        return look(folder)

    checkpoints.write_checkpoint(path, 20, {"agent.0000": np.full(3, 20, np.float32)})
    monkeypatch.setattr(checkpoints, "_damage", slowly)
    if asked is None:
        step, arrays = checkpoints.read_checkpoint(path, like)
        assert (step, list(arrays["agent.0000"]), looked_at) == (60, [60, 60, 60], [20, 60])
    else:
        with pytest.raises(ConfigError, match=r"^step=20: .* there are: 40, 60$"):
            checkpoints.read_checkpoint(path, like, asked)
    assert caplog.text == ""


def test_a_checkpoint_of_another_shape(path):
    (path / "shards" / "0-1").rename(path / "shards" / "0-2")  # three seeds, which it never had
    with pytest.raises(StoreError, match="written by another version of the program"):
        load(path)


def test_what_is_no_run_of_an_arena(tmp_path, path):
    with pytest.raises(ConfigError, match=r"nowhere is not a run: it has no config.yaml; give the path of a run"):
        load(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match=r"config.yaml is not a run: it has no config.yaml"):
        load(path / "config.yaml")
    (path / "config.yaml").write_text("problem: slowly_changing_regression\n")
    with pytest.raises(
        ConfigError, match="a run of slowly_changing_regression, a stream of examples, without episodes"
    ):
        load(path)
    (path / "config.yaml").write_text("problem: slowly_changing_regresion\n")
    with pytest.raises(ConfigError, match=r"config.yaml: unknown problem 'slowly_changing_regresion'; did you mean"):
        load(path)


# Runs of several shards.


@pytest.fixture(scope="module")
def extended(tmp_path_factory):
    """The same run, whose host saves a state, and one whose seeds were added by two commands; both sweep a number."""
    with pytest.MonkeyPatch.context() as patch:
        uneven.add(patch)
        config = from_mapping({**mapping("uneven_host"), "seeds": "3", "sweep": {"learning_rate": [0.5, 0.25]}})
        whole, added = tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("added")
        run(plan(dataclasses.replace(config, seeds="1-1")), added, checkpoint_every=0.0)
        yield run(plan(config), whole, checkpoint_every=0.0), run(plan(config), added, checkpoint_every=0.0)


def test_the_members_of_all_shards_are_those_of_one_run(extended):
    whole, added = map(load, extended)
    assert sorted(shard.name for shard in (extended[1] / "shards").iterdir()) == ["0-0,2-2", "1-1"]
    assert (added.step, added.config.seed_list) == (whole.step, whole.config.seed_list) == (64, (0, 1, 2))
    np.testing.assert_array_equal(added.members.seeds, [0, 1, 2, 0, 1, 2])
    np.testing.assert_array_equal(added.members.swept["agent.learning_rate"], [0.5] * 3 + [0.25] * 3)
    np.testing.assert_array_equal(added.diverged, whole.diverged)
    assert [leaf.dtype for leaf in added.agents] == [leaf.dtype for leaf in whole.agents]
    np.testing.assert_allclose(means(added), means(whole), rtol=1e-6)
    assert added.host.keys() == whole.host.keys()
    for name, saved in added.host.items():
        np.testing.assert_array_equal(saved, whole.host[name])


def test_some_seeds_of_all_shards(extended):
    _, path = extended
    trained = load(path, seeds=[2, 1])
    assert list(trained.members.seeds) == [1, 2, 1, 2]
    np.testing.assert_array_equal(means(trained), means(load(path))[[1, 2, 4, 5]])
    with pytest.raises(ConfigError, match=r"^seeds=2-3: there is no seed 3; the run has seeds=0-2$"):
        load(path, seeds=[2, 3])


def test_shards_act_together_at_one_step(extended, tmp_path):
    path = shutil.copytree(extended[1], tmp_path / "run")
    newest = path / "shards" / "1-1" / "checkpoints" / "000000000064"
    (newest / "MANIFEST.json").write_text("{}")
    assert load(path).step == 48  # the newest that all have
    shutil.rmtree(path / "shards" / "0-0,2-2" / "checkpoints" / "000000000048")
    message = (
        r"has seeds 0-0,2-2 at step 64, 1-1 at step 48: agents act together at one step; choose some with --seeds$"
    )
    with pytest.raises(ConfigError, match=message):
        load(path)
    assert load(path, seeds=[0, 2]).step == 64
