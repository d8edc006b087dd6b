"""A shard of a run: whatever happens to it, what is read is what was written."""

import contextlib
import errno
import itertools
import json
import logging
import os
import re
import resource
import shutil

import jax
import numpy as np
import pyarrow as pa
import pytest

from pliant import report
from pliant.experiment.configuration.config import digest_of
from pliant.experiment.errors import ConfigError, StoreError
from pliant.experiment.storage.checkpoints import best_checkpoint, read_checkpoint
from pliant.experiment.storage.lock import locked
from pliant.experiment.storage.metrics import write_metrics
from pliant.experiment.storage.store import Store, clear, is_finished

STEPS = 100
CONFIG = digest_of({"a": 1})
LIKE = {
    "agent.0000": jax.ShapeDtypeStruct((3, 4), np.float32),
    "agent.0001": jax.ShapeDtypeStruct((3, 0), np.float32),  # orbax knows no empty arrays
    "host.steps": jax.ShapeDtypeStruct((3, 2), np.uint32),
}


def state(step):
    return {name: np.full(x.shape, step + i, x.dtype) for i, (name, x) in enumerate(LIKE.items())}


def rows(step):
    return pa.table(
        {
            "seed": pa.array([0, 1], pa.int32()),
            "step": pa.array([step, step], pa.int64()),
            "metric": ["loss", "loss"],
            "group": ["", ""],
            "value": [float(step), step + 0.5],
        }
    )


@contextlib.contextmanager
def opened(path, kept=(), config=CONFIG):
    path.mkdir(parents=True, exist_ok=True)
    with locked(path):
        store = Store(path, STEPS, kept, config)
        store.prepare({"python": "3"})
        yield store


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    run = tmp_path_factory.mktemp("original")
    with opened(run / "shards" / "0-1") as store:
        for first in (0, 20, 40):
            store.save(first, first + 20, rows(first + 20), state(first + 20), members=2)
    (run / "config.yaml").write_text("a: 1\n")
    return run


@pytest.fixture
def path(original, tmp_path):
    """The only shard of a run, which was saved after 20, 40 and 60 of its 100 steps."""
    return shutil.copytree(original, tmp_path / "run") / "shards" / "0-1"


def load(path):
    """The run, as a report reads it."""
    return report.load(path.parent.parent)


def metrics_files(path):
    return sorted(file.name[:25] for file in (path / "metrics").iterdir())


def checkpoints(path):
    return sorted(int(folder.name) for folder in (path / "checkpoints").iterdir())


def metrics_file(path, first):
    (file,) = (path / "metrics").glob(f"{first:012d}-*")
    return file


def resumed(path):
    """The step that a run goes on from; the state is checked."""
    with opened(path) as store:
        result = store.resume(LIKE)
    if result is None:
        return None
    step, arrays = result
    assert arrays.keys() == LIKE.keys()
    for name, wanted in state(step).items():
        np.testing.assert_array_equal(arrays[name], wanted, strict=True)
    assert json.loads((path / "status.json").read_text())["step"] == step
    return step


def steps_reported(path):
    return sorted(set(load(path).metrics["step"]))


def damage(file, how):
    data = file.read_bytes()
    if how == "truncated":
        file.write_bytes(data[: len(data) // 2])
    elif how == "emptied":
        file.write_bytes(b"")
    elif how == "edited":
        file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    elif how == "deleted":
        file.unlink()


def array_file(checkpoint):
    """A file that holds numbers."""
    return max((checkpoint / "d").iterdir(), key=lambda file: file.stat().st_size)


def test_goes_on_from_the_last_save(path):
    assert steps_reported(path) == [20, 40, 60]
    assert resumed(path) == 60
    assert resumed(path) == 60
    assert steps_reported(path) == [20, 40, 60]


def test_only_the_last_two_checkpoints_are_kept(path):
    assert checkpoints(path) == [40, 60]


@pytest.fixture
def kept(tmp_path):
    """A shard that was saved after 20, 40, 60 and 80 steps, of which 20 is to stay."""
    path = tmp_path / "kept" / "shards" / "0-1"
    path.mkdir(parents=True)
    (tmp_path / "kept" / "config.yaml").write_text("a: 1\n")
    with opened(path, kept=[20]) as store:
        for first in (0, 20, 40, 60):
            store.save(first, first + 20, rows(first + 20), state(first + 20), members=2)
    return path


def test_some_checkpoints_stay_among_later_ones(kept):
    assert checkpoints(kept) == [20, 60, 80]
    assert read_checkpoint(kept, LIKE, 20)[0] == 20
    assert read_checkpoint(kept, LIKE)[0] == 80
    assert resumed(kept) == 80


def test_the_state_before_the_first_step_is_resumed_like_others_and_stays(tmp_path):
    path = tmp_path / "run"
    with opened(path, kept=[0]) as store:
        store.begin(state(0))
        assert checkpoints(path) == [0] and store.status == {}
        step, arrays = store.resume(LIKE)
        assert step == 0 and store.status == {}
        np.testing.assert_array_equal(arrays["agent.0000"], state(0)["agent.0000"])
        for first in (0, 20, 40):
            store.save(first, first + 20, rows(first + 20), state(first + 20), members=2)
    assert checkpoints(path) == [0, 40, 60]


def test_the_best_stays_until_another_is_better(tmp_path):
    path = tmp_path / "run"
    with opened(path) as store:
        for first, best in [(0, 20), (20, 20), (40, 20), (60, 20)]:
            store.save(first, first + 20, rows(first + 20), state(first + 20), best)
        assert (checkpoints(path), store.status["best"], best_checkpoint(path)) == ([20, 60, 80], 20, 20)
        store.save(80, 90, rows(90), state(90), 90)
        assert (checkpoints(path), best_checkpoint(path)) == ([80, 90], 90)
    shutil.rmtree(path / "checkpoints" / "000000000090")
    message = f"^step=best: {path} has no best checkpoint, but only a run with evaluate_every, .* the steps: 80$"
    with pytest.raises(ConfigError, match=message):
        best_checkpoint(path)


def test_killed_before_it_could_say_which_is_the_best(tmp_path, monkeypatch):
    path = tmp_path / "run"

    def kill(*args):
        raise KeyboardInterrupt

    with opened(path) as store:
        for first in (0, 20, 40):
            store.save(first, first + 20, rows(first + 20), state(first + 20), 20)
        monkeypatch.setattr(store, "_write_status", kill)
        with pytest.raises(KeyboardInterrupt):
            store.save(60, 80, rows(80), state(80), 80)
    assert best_checkpoint(path) == 20  # and it is still there
    assert resumed(path) == 80
    assert best_checkpoint(path) == 20


def test_the_rows_of_a_metric_from_all_files(path):
    with opened(path) as store:
        steps, values = store.read("loss")
        assert (steps.tolist(), values.tolist()) == ([20, 20, 40, 40, 60, 60], [20, 20.5, 40, 40.5, 60, 60.5])
        assert [x.tolist() for x in store.read("return")] == [[], []]
        clear(path)
        assert [x.tolist() for x in store.read("loss")] == [[], []]


def test_goes_back_to_one_that_stayed(kept):
    for step in (60, 80):
        damage(array_file(kept / "checkpoints" / f"{step:012d}"), "truncated")
    assert read_checkpoint(kept, LIKE)[0] == 20
    assert resumed(kept) == 20
    assert steps_reported(kept) == [20]
    with opened(kept, kept=[20]) as store:
        for first in (20, 40, 60):
            store.save(first, first + 20, rows(first + 20), state(first + 20), members=2)
    assert checkpoints(kept) == [20, 60, 80]


def test_a_checkpoint_that_stayed_and_is_damaged(kept):
    damage(array_file(kept / "checkpoints" / "000000000020"), "edited")
    message = "000000000020 is damaged .*; without a step the newest good one is taken"
    with pytest.raises(StoreError, match=message):
        read_checkpoint(kept, LIKE, 20)
    assert read_checkpoint(kept, LIKE)[0] == 80
    for step in (60, 80):
        damage(array_file(kept / "checkpoints" / f"{step:012d}"), "edited")
    with pytest.raises(StoreError, match=r"has no good checkpoint; compute it again: pliant run .*kept$"):
        read_checkpoint(kept, LIKE)


def test_a_new_directory_has_nothing_to_go_on_from(tmp_path):
    assert resumed(tmp_path / "new") is None


def aside(path):
    """What was set aside of a shard, by its path there."""
    folder = path.parent.parent / "damaged" / path.name
    found = [*folder.glob("*"), *folder.glob("*/*")]
    return sorted(str(one.relative_to(folder)) for one in found if one.name not in ("metrics", "checkpoints"))


def test_finished(path):
    with opened(path) as store:
        assert not is_finished(path)
        store.save(60, STEPS, rows(STEPS), state(STEPS))
        assert is_finished(path)
        assert store.status == {"state": "finished", "step": STEPS, "steps": STEPS}


def test_clear_deletes_what_is_of_a_shard_and_nothing_else(path):
    (path / "checkpoints" / "mine").mkdir()
    clear(path)
    assert metrics_files(path) == []
    assert [folder.name for folder in (path / "checkpoints").iterdir()] == ["mine"]
    assert resumed(path) is None


def test_a_foreign_folder_among_the_checkpoints_is_set_aside(path, caplog):
    notes = path / "checkpoints" / "before the fix" / "notes.txt"
    notes.parent.mkdir()
    notes.write_text("mine")
    assert resumed(path) == 60
    assert (
        path.parent.parent / "damaged" / "0-1" / "checkpoints" / "before the fix" / "notes.txt"
    ).read_text() == "mine"
    assert f"{notes.parent} is no checkpoint: set aside in {path.parent.parent}/damaged/0-1/checkpoints" in caplog.text


def test_what_was_set_aside_before_stays(path):
    for number in ("", ".2", ".3"):
        damage(path / "status.json", "truncated")
        content = (path / "status.json").read_text()
        assert resumed(path) == 60
        assert (path.parent.parent / "damaged" / "0-1" / f"status.json{number}").read_text() == content


def test_what_was_not_finished_is_dropped(path):
    # As if killed after the metrics of steps 60 to 80, while its checkpoint was being written.
    (path / "metrics" / "000000000080-000000000100-0000000000000000.parquet.unfinished").write_bytes(b"half")
    write_metrics(path, 60, 80, rows(80))
    shutil.copytree(path / "checkpoints" / "000000000060", path / "checkpoints" / "000000000080.unfinished")
    shutil.copytree(path / "checkpoints" / "000000000060", path / "checkpoints" / "000000000080.unfinished.orbax-tmp")
    (beyond,) = (path / "metrics").glob("000000000060-*.parquet")
    assert resumed(path) == 60
    assert checkpoints(path) == [40, 60]
    assert metrics_files(path) == [f"{first:012d}-{first + 20:012d}" for first in (0, 20, 40)]
    assert aside(path) == [f"metrics/{beyond.name}"]  # it is whole, and nobody's to delete
    with opened(path) as store:
        store.save(60, 80, rows(80), state(80))
    assert steps_reported(path) == [20, 40, 60, 80]


@pytest.mark.parametrize("how", ["truncated", "emptied", "edited", "deleted"])
@pytest.mark.parametrize(("first", "left"), [(40, 40), (20, None)])
def test_a_damaged_file_of_metrics_is_named_and_run_again(path, how, first, left, caplog):
    file = metrics_file(path, first)
    damage(file, how)
    with pytest.raises(report.DamagedRunError, match=re.escape(str(file if how != "deleted" else path / "metrics"))):
        load(path)
    names = {one.name for one in (path / "metrics").iterdir()}
    with caplog.at_level(logging.WARNING):
        assert resumed(path) == left  # of the checkpoints only 40 and 60 are left
    assert (f"{file} is damaged: set aside" in caplog.text) == (how != "deleted")
    assert "checkpoint" in caplog.text
    steps = [60] if left == 40 else [40, 60]
    lost = names - {one.name for one in (path / "metrics").iterdir()}
    assert aside(path) == sorted([*(f"checkpoints/{step:012d}" for step in steps), *(f"metrics/{one}" for one in lost)])
    assert "lacks metrics before it" in caplog.text
    if left is not None:
        assert steps_reported(path) == [20, 40]


@pytest.mark.parametrize("how", ["truncated", "emptied", "edited", "deleted"])
@pytest.mark.parametrize("which", ["array", "_METADATA", "manifest.ocdbt", "MANIFEST.json"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_taken(path, how, which, caplog):
    folder = path / "checkpoints" / "000000000060"
    file = array_file(folder) if which == "array" else folder / which
    damage(file, how)
    beyond = metrics_file(path, 40)
    with caplog.at_level(logging.WARNING):
        assert resumed(path) == 40
    assert f"{folder} is damaged ({file.relative_to(folder)}): set aside" in caplog.text
    assert checkpoints(path) == [40]
    assert {"checkpoints/000000000060", f"metrics/{beyond.name}"} == set(aside(path))
    assert steps_reported(path) == [20, 40]  # the metrics of the steps that are run again are gone


def test_a_file_that_a_checkpoint_did_not_have_is_damage(path, caplog):
    (path / "checkpoints" / "000000000060" / "extra").write_text("x")
    assert resumed(path) == 40
    assert "is damaged (extra)" in caplog.text


@pytest.mark.parametrize("manifest", ["{}", "[]", "null"])
def test_a_manifest_that_says_nothing_is_damage(path, manifest, caplog):
    (path / "checkpoints" / "000000000060" / "MANIFEST.json").write_text(manifest)
    assert resumed(path) == 40
    assert "is damaged (MANIFEST.json)" in caplog.text


def test_two_damaged_checkpoints_leave_the_beginning(path, caplog):
    for step in (40, 60):
        damage(array_file(path / "checkpoints" / f"{step:012d}"), "truncated")
    assert resumed(path) is None
    assert caplog.text.count("is damaged") == 2
    assert metrics_files(path) == checkpoints(path) == []
    assert not (path / "status.json").exists()


def test_a_stray_file_is_left_alone(path):
    (path / "checkpoints" / ".DS_Store").write_text("x")
    (path / "metrics" / ".DS_Store").write_text("x")
    assert resumed(path) == 60
    assert (path / "checkpoints" / ".DS_Store").exists()


def test_a_state_of_another_shape(path):
    other = LIKE | {"agent.0000": jax.ShapeDtypeStruct((3, 5), np.float32)}
    with opened(path) as store, pytest.raises(StoreError, match="written by another version of the program"):
        store.resume(other)
    with opened(path) as store, pytest.raises(StoreError, match="written by another version of the program"):
        store.resume({"agent.0000": LIKE["agent.0000"]})  # of which there is more
    with opened(path) as store, pytest.raises(StoreError, match="written by another version of the program"):
        store.resume(LIKE | {"host.level": LIKE["host.steps"]})  # of which there is less
    assert resumed(path) == 60


@pytest.mark.parametrize("how", ["truncated", "emptied", "edited", "deleted"])
@pytest.mark.parametrize("file", ["status.json", "environment.json"])
def test_damaged_words_about_a_shard_are_written_again(path, file, how):
    damage(path / file, how)
    if how != "deleted":
        with pytest.raises(report.DamagedRunError, match=re.escape(str(path / file))):
            load(path)
    assert resumed(path) == 60
    loaded = load(path)
    assert loaded.environment == {"python": "3"}
    assert loaded.status["steps"] == STEPS


def test_a_shard_that_is_not_held_any_more(path):
    with opened(path) as store:
        (path / "owner.json").write_text('{"host": "elsewhere", "pid": 7}')
        with pytest.raises(
            StoreError, match=rf"^another process \(pid 7 on elsewhere\) has taken over {path}; what was saved stays"
        ):
            store.save(60, 80, rows(80), state(80))
    assert load(path).last_step == 60  # nothing was written
    assert (path / "owner.json").exists()  # it is another's
    (path / "owner.json").unlink()
    assert resumed(path) == 60


def test_a_full_disk_wherever_it_strikes(path, tmp_path, monkeypatch):
    """Every file is synchronized when it is written, and so is its folder: each time the disk may be full."""
    fsync, outcomes = os.fsync, []
    for strikes_at in itertools.count():
        run = shutil.copytree(path.parent.parent, tmp_path / f"{strikes_at}") / "shards" / "0-1"
        good = itertools.repeat(None, strikes_at)

        def failing(descriptor, good=good):
            if next(good, "full") == "full":
                raise OSError(errno.ENOSPC, "No space left on device")
            fsync(descriptor)

        error = None
        with opened(run) as store, monkeypatch.context() as patched:
            patched.setattr(os, "fsync", failing)
            try:
                store.save(60, 80, rows(80), state(80))
            except StoreError as raised:
                error = str(raised)
        assert steps_reported(run)[:3] == [20, 40, 60]
        outcomes.append(resumed(run))
        assert steps_reported(run) == list(range(20, outcomes[-1] + 1, 20))
        if error is None:
            break
        assert error == f"cannot write {run}: No space left on device; what was saved before can still be read"
    # Whether the new checkpoint counts is decided in one moment.
    assert outcomes == sorted(outcomes)
    assert set(outcomes) == {60, 80}


def test_a_disk_that_fills_while_a_checkpoint_is_written(path, caplog):
    """A limit on the size of files stands for the end of the disk: it stops the checkpoint, which orbax writes."""
    large = {"agent.0000": np.random.default_rng(0).random((1000, 1000))}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with opened(path) as store:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, limits[1]))
        try:
            with pytest.raises(StoreError, match=f"^cannot write {path}: File too large; what was saved before"):
                store.save(60, 80, rows(80), large)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not caplog.records  # no tracebacks of orbax's threads
    assert checkpoints(path) == [40, 60]  # nothing unfinished is left to fill the disk
    assert resumed(path) == 60


def test_a_report_of_an_edited_configuration_is_refused(path):
    file = path.parent.parent / "config.yaml"
    file.write_text("a: 1\nseeds: 0-9\n")  # seeds are no part of it
    assert load(path).last_step == 60
    file.write_text("a: 2\n")
    message = rf"{metrics_file(path, 0)} belongs to another configuration: {file} was edited or replaced; undo that$"
    with pytest.raises(report.DamagedRunError, match=message):
        load(path)


def test_a_checkpoint_of_another_configuration_is_not_read(path, caplog):
    other = digest_of({"a": 2})
    assert read_checkpoint(path, LIKE, config=CONFIG)[0] == 60
    message = "000000000060 belongs to another configuration: .*/config.yaml was edited or replaced; undo that$"
    for step in (None, 60):
        with pytest.raises(StoreError, match=message):
            read_checkpoint(path, LIKE, step, other)
    with opened(path, config=other) as store:
        assert store.resume(LIKE) is None
    assert {"checkpoints/000000000040", "checkpoints/000000000060"} < set(aside(path))


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("status.json", {"state": "finished", "step": "60", "steps": STEPS}),
        ("status.json", {"state": ["finished"], "step": 60, "steps": STEPS}),
        ("status.json", {"state": "running", "step": 60, "steps": STEPS, "seconds": "long"}),
        ("status.json", {"state": "running", "step": 60, "steps": STEPS, "tasks": 3}),
        ("environment.json", {"python": "3", "versions": ["jax"]}),
    ],
)
def test_words_about_a_shard_of_other_types_are_damage(path, file, content):
    (path / file).write_text(json.dumps(content))
    with pytest.raises(report.DamagedRunError, match=rf"^{re.escape(str(path / file))} has \w+=.*, it was edited; "):
        load(path)
    assert resumed(path) == 60
    assert aside(path) == [file]


def test_rows_without_a_step_are_damage(path):
    metrics_file(path, 40).unlink()
    write_metrics(path, 40, 60, rows(60).set_column(1, "step", pa.array([None, 60])), CONFIG)
    with pytest.raises(report.DamagedRunError, match="has rows without a step, it was edited"):
        load(path)


def test_what_computes_the_checkpoints_of_a_finished_run_is_force(path):
    with opened(path) as store:
        store.save(60, STEPS, rows(STEPS), state(STEPS))
    for folder in (path / "checkpoints").iterdir():
        damage(folder / "MANIFEST.json", "deleted")
    with pytest.raises(
        StoreError, match=rf"no good checkpoint; compute it again: pliant run {path.parent.parent} --force$"
    ):
        read_checkpoint(path, LIKE)
    shutil.rmtree(path / "checkpoints")
    with pytest.raises(StoreError, match=rf"no checkpoint yet; .* resume it: pliant run {path.parent.parent} --force$"):
        read_checkpoint(path, LIKE)
