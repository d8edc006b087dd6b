import json
import os
import shutil
import sys

import numpy as np
import pandas as pd
import pytest
from event_files import assert_complete, scalars

from pliant import report


def test_every_row_of_every_member(sweep):
    report.tensorboard()(sweep)
    found = scalars(sweep)
    assert set(found) == {f"seed={seed},learning_rate={size}" for seed in range(4) for size in (0.01, 0.1)}
    assert found["seed=1,learning_rate=0.01"] == [
        *[(1, "error", 1), (2, "error", 2), (2, "dormant/Dense_0", 0), (2, "dormant/Dense_1", 0.25)],
        *[(3, "error", 3), (4, "error", 4), (4, "dormant/Dense_0", 0.5), (4, "dormant/Dense_1", 0.75)],
    ]
    np.testing.assert_equal([row for row in found["seed=3,learning_rate=0.1"] if "dormant" not in row[1]], [
        *[(1, "error", 30), (2, "error", 30), (3, "error", np.nan), (3, "diverged", 3), (4, "error", np.nan)],
    ])  # fmt: skip


def test_episodes_come_in_the_order_of_their_steps(write_run):
    # In the metrics they come environment by environment, or group by group.
    rows = [dict(seed=7, step=step, metric="return", group="", value=step) for step in (9, 4, 6, 5)]
    run = write_run(rows)
    report.tensorboard()(run)
    assert scalars(run) == {"seed=7": [(step, "return", step) for step in (4, 5, 6, 9)]}


def test_settings_of_one_name_and_values_in_full(write_run):
    settings = {"agent.rate": 10.0, "method.rate": 0.1 + 0.2}
    run = write_run([dict(seed=0, **settings, step=1, metric="error", group="", value=1)])
    report.tensorboard()(run)
    assert list(scalars(run)) == ["seed=0,agent.rate=10,method.rate=0.30000000000000004"]


def test_published_tags_stand_in_files_of_their_own(write_run):
    def row(metric, value, group="", step=5):
        return dict(seed=7, step=step, metric=metric, group=group, value=value)

    rows = [
        row("reward", 0.5),
        *[row("evaluation_return", 10, step=2), row("evaluation_return", 30), row("evaluation_success", 0.25)],
        *[row("active_fraction", 0.2, "actor/Dense_0"), row("active_fraction", 0.6, "actor/Dense_1")],
        row("active_fraction", 0.3),
        *[row("active_fraction", 0.125, "critic_0/Dense_0"), row("active_fraction", 0.375, "critic_1/Dense_0")],
        *[row("sparsity", 0.75, "actor"), row("sparsity", 0.5, "critic_0"), row("sparsity", 0.25, "critic_1")],
        *[
            row("sparsity", 0.9, "actor/Dense_0/kernel"),
            row("replay_size", 100),
            row("critic_loss", 2),
            row("n_step", 3),
        ],
    ]
    run = write_run(rows)
    report.tensorboard()(run)
    found = scalars(run)
    assert found.keys() == {"seed=7", "seed=7,tags=neuroplastic_expansion"}
    assert len(found["seed=7"]) == len(rows)
    (first, *others) = found["seed=7,tags=neuroplastic_expansion"]
    assert first == (2, "reward", 10)
    assert {step for step, *_ in others} == {5}
    assert {tag: round(value, 6) for _, tag, value in others} == {
        "reward": 30,
        "success": 0.25,
        "actor_FAU": 0.4,  # (0.2 + 0.6) / 2
        "critic_FAU": 0.25,
        "actor_sparsity": 0.75,
        "critic_sparsity": 0.375,
        "buffer_size": 100,
        "critic_loss": 2,
        "current_nstep": 3,
    }


@pytest.fixture
def half(sweep, shard_of):
    """The run after its first file of metrics, with event files; and what writes the second."""
    *_, file = sorted((shard_of(sweep) / "metrics").iterdir())
    later = file.rename(sweep / file.name)
    report.tensorboard()(sweep)
    assert {step for rows in scalars(sweep).values() for step, *_ in rows} == {1, 2}
    return sweep, lambda: later.rename(file)


def test_what_is_there_stays_and_what_comes_is_appended(half):
    run, go_on = half
    before = {file: file.read_bytes() for file in run.glob("tensorboard/*/*")}
    update = report.tensorboard()
    update(run)
    assert {file: file.read_bytes() for file in run.glob("tensorboard/*/*")} == before
    go_on()
    update(run)
    assert_complete(run)
    for file, content in before.items():
        assert file.read_bytes().startswith(content)


def test_what_a_kill_left_is_cut_off_and_written_again_as_it_was(half):
    run, go_on = half
    index = (run / "tensorboard" / "written.json").read_bytes()
    go_on()
    report.tensorboard()(run)
    whole = {file: file.read_bytes() for file in run.glob("tensorboard/*/*")}
    # Killed before it could tell how far it was: files have grown, one of them not to its end, one of them by more.
    (run / "tensorboard" / "written.json").write_bytes(index)
    first, second, *_ = whole
    os.truncate(first, len(whole[first]) - 5)
    second.write_bytes(whole[second] + b"more")
    report.tensorboard()(run)
    assert {file: file.read_bytes() for file in run.glob("tensorboard/*/*")} == whole
    assert_complete(run)


def test_shards_grow_in_any_order(write_run, write_metrics, rows_of):
    later = [*rows_of("error", {0: [1, 2]})]
    run = write_run(later[:1], ends=(1,), step=1, state="running")
    write_run([*rows_of("error", {1: [3]})], ends=(1,))
    report.tensorboard()(run)
    before = {file: file.read_bytes() for file in run.glob("tensorboard/*/*")}
    write_metrics(run / "shards" / "0-0" / "metrics", 1, 2, pd.DataFrame(later[1:]))
    write_run([*rows_of("error", {2: [4]})], ends=(1,))
    report.tensorboard()(run)
    assert_complete(run)
    assert scalars(run) == {
        "seed=0": [(1, "error", 1), (2, "error", 2)],
        "seed=1": [(1, "error", 3)],
        "seed=2": [(1, "error", 4)],
    }
    assert all(file.read_bytes().startswith(content) for file, content in before.items())


def test_a_damaged_shard_stops_no_other(write_run, rows_of, caplog):
    run = write_run([*rows_of("error", {0: [1]})], ends=(1,))
    write_run([*rows_of("error", {1: [2]})], ends=(1,))
    (file,) = (run / "shards" / "0-0" / "metrics").iterdir()
    content = file.read_bytes()
    file.write_bytes(content[:-7])
    report.tensorboard()(run)
    assert f"event files lack a shard: {file} is damaged" in caplog.text
    assert scalars(run) == {"seed=1": [(1, "error", 2)]}
    file.rename(file.with_name("copy.parquet"))
    report.tensorboard()(run)
    assert "copy.parquet is not named" in caplog.text
    assert scalars(run) == {"seed=1": [(1, "error", 2)]}
    (file.parent / "copy.parquet").unlink()
    file.write_bytes(content)
    report.tensorboard()(run)
    assert_complete(run)


@pytest.mark.parametrize("lost", ["index", "file", "end", "whole"])
def test_what_is_lost_is_written_again(sweep, lost):
    report.tensorboard()(sweep)
    file = next(sweep.glob("tensorboard/*/*"))
    {
        "index": lambda: (sweep / "tensorboard" / "written.json").write_text(""),
        "file": file.unlink,
        "end": lambda: os.truncate(file, 100),
        "whole": lambda: shutil.rmtree(sweep / "tensorboard"),
    }[lost]()
    report.tensorboard()(sweep)
    assert_complete(sweep)


def test_metrics_that_were_computed_again(half, shard_of, write_metrics, rows_of):
    # As after `--force`, or where a file was damaged: the first is another, and a member is not there any more.
    run, _ = half
    shard = shard_of(run)
    for file in (shard / "metrics").iterdir():
        file.unlink()
    frame = pd.DataFrame(list(rows_of("error", {(0, 0.01): [5, 6]})))
    write_metrics(shard / "metrics", 0, 2, frame)
    (shard / "status.json").write_text(json.dumps({"state": "running", "step": 2, "steps": 4}))
    report.tensorboard()(run)
    assert scalars(run) == {"seed=0,learning_rate=0.01": [(1, "error", 5), (2, "error", 6)]}


def test_without_the_package_there_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX.proto.event_pb2", None)
    with pytest.raises(ValueError) as error:
        report.tensorboard()
    assert str(error.value) == "event files need tensorboardX; write pip install -e '.[tensorboard]'"


def test_a_system_without_flock_gets_its_event_files(sweep, monkeypatch):
    monkeypatch.setattr(sys.modules["pliant.report.tensorboard"], "fcntl", None)
    report.tensorboard()(sweep)
    assert_complete(sweep)
