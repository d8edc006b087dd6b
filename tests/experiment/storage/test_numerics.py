"""What changes the numbers of a run is recorded, and compared when the run is resumed or gets more seeds."""

import json
import os
import sys

import counting
import jax
import numpy as np
import pytest

import pliant
from pliant import report
from pliant.experiment.configuration.build import make_problem
from pliant.experiment.configuration.reading import from_mapping
from pliant.experiment.environment import data_digest, environment
from pliant.experiment.errors import StoreError
from pliant.experiment.run import run
from pliant.experiment.storage.numerics import amended, check_numerics


@pytest.fixture
def shard(tmp_path):
    """`shard(environment)`: the directory of a shard that was computed there."""

    def make(environment):
        (tmp_path / "environment.json").write_text(json.dumps(environment))
        return tmp_path

    return make


def test_settings_of_jax_are_recorded():
    here = environment()
    assert here["platform"] == "cpu"
    assert here["xla_flags"] == os.environ.get("XLA_FLAGS", "")
    assert here["numerics"]["jax_enable_x64"] is False
    assert here["numerics"]["jax_default_matmul_precision"] is None
    assert set(here["numerics"]) > {"jax_default_prng_impl", "jax_threefry_partitionable"}


@pytest.mark.parametrize(
    ("name", "before", "now"),
    [("jax_enable_x64", False, True), ("jax_default_matmul_precision", None, "highest")],
)
def test_another_precision_is_refused(shard, name, before, now):
    path = shard({"numerics": {name: before}})
    check_numerics([path], {"numerics": {name: before}})
    with pytest.raises(StoreError) as error:
        check_numerics([path], {"numerics": {name: now}})
    assert f"computed with {name}={before}, and this process has {name}={now}" in str(error.value)
    assert f"set {name.upper()}={before}" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("before", [{}, {"numerics": 3}, {"numerics": {"of_another_version": 1}}])
def test_what_was_not_recorded_is_not_compared(shard, before):
    check_numerics([shard(before)], {"numerics": {"jax_enable_x64": True}})


def test_a_run_does_not_mix_precisions(tmp_path):
    def counted(seeds):
        config = from_mapping({"problem": "slowly_changing_regression", "seeds": seeds})
        return counting.counting(config, 10)

    path = run(counted("0-1"), tmp_path)
    with jax.enable_x64(True):
        run(counted("0-1"), tmp_path)  # finished: nothing is computed
        with pytest.raises(StoreError, match="jax_enable_x64=False, and this process has jax_enable_x64=True"):
            run(counted("0-3"), tmp_path)
    run(counted("0-3"), tmp_path)
    assert [shard.name for shard in report.load(path).shards] == ["0-1", "2-3"]


def test_a_run_does_not_mix_data(tmp_path, monkeypatch):
    def counted(data, seeds):
        monkeypatch.setattr(sys.modules["pliant.experiment.run"], "environment", lambda problem: {"data": data})
        config = from_mapping({"problem": "slowly_changing_regression", "seeds": seeds})
        return counting.counting(config, 10)

    path = run(counted("a", "0-1"), tmp_path)
    run(counted("b", "0-1"), tmp_path)  # finished: nothing is computed
    with pytest.raises(StoreError, match="computed with other data than the problem has now; put the old files back"):
        run(counted("b", "0-3"), tmp_path)
    run(counted("a", "0-3"), tmp_path)
    assert [shard.name for shard in report.load(path).shards] == ["0-1", "2-3"]


def test_the_digest_of_data_has_their_values_types_and_shapes():
    x, y = np.arange(24, dtype=np.float32).reshape(12, 2), np.arange(12) % 2

    def digest(x):
        return data_digest(pliant.stream_of(x, y, batch_size=2))

    assert digest(x) == digest(x.copy()) == environment(pliant.stream_of(x, y, batch_size=2))["data"]
    assert len({digest(x), digest(x + 1), digest(x.reshape(12, 1, 2)), digest(x.astype(np.uint8))}) == 4
    assert data_digest(make_problem(from_mapping({"problem": "slowly_changing_regression"}))) is None


def test_other_packages_and_platforms_are_recorded_and_logged(caplog):
    first = {"versions": {"jax": "1", "numpy": "2"}, "platform": "cpu", "command": ["pliant"]}
    assert amended({}, first) == first
    assert amended(first, {**first, "command": ["other"]}) == first
    second = {**first, "versions": {"jax": "3", "numpy": "2", "envpool": "1"}}
    twice = amended(first, second)
    assert twice == {**first, "resumed": [second]}
    assert "resumed with jax 3 instead of 1: from here on numbers may differ in their last digits" in caplog.text
    assert amended(twice, second) == twice  # it is compared with the latest
    assert amended(twice, {**second, "platform": "gpu"})["resumed"][1]["platform"] == "gpu"
    assert "resumed with platform gpu instead of cpu" in caplog.text
    flags = {**first, "xla_flags": ""}
    assert amended(first, flags) == first  # not recorded before
    assert amended(flags, {**flags, "xla_flags": "--a=b"})["resumed"][0]["xla_flags"] == "--a=b"
    assert "resumed with xla_flags --a=b instead of none" in caplog.text
