"""Reading the agents of a run, whatever has happened or is happening to it."""

import logging
import re
import shutil

import jax
import numpy as np
import pytest
import uneven

from pliant.experiment.configuration.config import from_mapping
from pliant.experiment.errors import ConfigError, StoreError
from pliant.experiment.evaluation.evaluate import evaluate
from pliant.experiment.evaluation.restore import load
from pliant.experiment.run import run
from pliant.experiment.storage import checkpoints
from pliant.experiment.storage.store import Store

CONFIG = {"seeds": "2", "diagnostics": [], "record_every": 16}


def mapping(form):
    return {"problem": {"name": form}, "agent": {"name": "riser", "learning_rate": 0.5}, **CONFIG}


@pytest.fixture(scope="module", params=["uneven", "uneven_host"])
def original(request, tmp_path_factory):
    """A run of 64 steps, in rounds of 16, with checkpoints at the last two of them."""
    with pytest.MonkeyPatch.context() as patch:
        uneven.add(patch)
        config = from_mapping(mapping(request.param))
        yield run(config, tmp_path_factory.mktemp("runs"), checkpoint_every=0.0)


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


def damage(path, step, file="MANIFEST.json"):
    (path / "checkpoints" / f"{step:012d}" / file).write_text("{}")


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
    evaluate(load(path), episodes=2)
    assert contents(path) == before


def test_a_damaged_checkpoint_is_left_for_the_one_before(path, caplog):
    damage(path, 64, "_METADATA")
    before = contents(path)
    with caplog.at_level(logging.WARNING):
        assert load(path).step == 48
    folder = path / "checkpoints" / "000000000064"
    assert f"checkpoint {folder} is damaged (_METADATA): falling back to the one before" in caplog.text
    with pytest.raises(StoreError, match=rf"^checkpoint {re.escape(str(folder))} is damaged \(_METADATA\); without a"):
        load(path, 64)
    assert contents(path) == before
    damage(path, 48)
    with pytest.raises(StoreError, match=f"^{re.escape(str(path))} has no good checkpoint; pliant run .* makes it"):
        load(path)


def test_an_empty_checkpoint_is_damaged(path, caplog):
    shutil.rmtree(path / "checkpoints" / "000000000064")
    (path / "checkpoints" / "000000000064").mkdir()
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
    for left in (path / "checkpoints").iterdir():
        left.rename(left.with_suffix(".unfinished"))
    with pytest.raises(StoreError, match="has no checkpoint yet; wait for its first, or go on with pliant run"):
        load(path, step)
    shutil.rmtree(path / "checkpoints")
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

        run(config, tmp_path, checkpoint_every=0.0, on_progress=on_progress)
    assert found == [16, 32, 48]


@pytest.mark.parametrize("asked", [None, 20])
def test_a_checkpoint_that_is_dropped_while_it_is_read(tmp_path, monkeypatch, caplog, asked):
    """Two newer ones come between the look at the directory and the reading."""
    path, like = tmp_path / "run", [jax.ShapeDtypeStruct((3,), np.float32)]
    writer = Store(path, 100)
    look, looked_at = checkpoints._damage, []

    def slowly(folder):
        looked_at.append(int(folder.name))
        if len(looked_at) == 1:
            for step in (40, 60):
                checkpoints.write_checkpoint(writer.path, step, [np.full(3, step, np.float32)])
            checkpoints.drop_checkpoints(path, [])
        return look(folder)

    with writer.locked("a: 1\n", {}):
        checkpoints.write_checkpoint(writer.path, 20, [np.full(3, 20, np.float32)])
        monkeypatch.setattr(checkpoints, "_damage", slowly)
        if asked is None:
            step, (array,) = checkpoints.read_checkpoint(path, like)
            assert (step, list(array), looked_at) == (60, [60, 60, 60], [20, 60])
        else:
            with pytest.raises(ConfigError, match=r"^step=20: .* there are: 40, 60$"):
                checkpoints.read_checkpoint(path, like, asked)
    assert caplog.text == ""


def test_a_checkpoint_of_another_shape(path):
    text = (path / "config.yaml").read_text()
    (path / "config.yaml").write_text(text.replace("seeds: '2'", "seeds: '3'"))
    with pytest.raises(StoreError, match="written by another version of the program"):
        load(path)


def test_what_is_no_run_of_an_arena(tmp_path, path):
    with pytest.raises(ConfigError, match=r"nowhere is not a run: it has no config.yaml; give the path of a run"):
        load(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match=r"config.yaml is not a run: it has no config.yaml"):
        load(path / "config.yaml")
    (path / "config.yaml").write_text("problem: slowly_changing_regression\n")
    with pytest.raises(ConfigError, match="a run of slowly_changing_regression, a stream of examples, in which there"):
        load(path)
    (path / "config.yaml").write_text("problem: slowly_changing_regresion\n")
    with pytest.raises(ConfigError, match=r"config.yaml: unknown problem 'slowly_changing_regresion'; did you mean"):
        load(path)
