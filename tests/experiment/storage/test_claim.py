"""Which seeds a process computes: those that are missing, and none that another process computes."""

import json
import re
from pathlib import Path

import pytest

from pliant.experiment.errors import ConfigError, StoreError
from pliant.experiment.storage.claim import claimed
from pliant.experiment.storage.lock import locked

STEPS = 100
CONFIG = "a: 1\n"


def claim(run, seeds, **options):
    """`(finished, to do)`, each the names of shards."""
    with claimed(run, seeds, CONFIG, steps=STEPS, **options) as (finished, to_do):
        return [shard.text for shard in finished], [shard.text for shard in to_do]


def saved(run, name, step=STEPS):
    """A shard after so many steps, without metrics until it is finished, when they have no rows to be read."""
    shard = run / "shards" / name
    (shard / "metrics").mkdir(parents=True)
    (shard / "checkpoints").mkdir()
    state = "finished" if step == STEPS else "running"
    (shard / "status.json").write_text(json.dumps({"state": state, "step": step}))
    if step == STEPS:  # the first 16 digits of the SHA-256 of nothing
        (shard / "metrics" / f"{0:012d}-{STEPS:012d}-e3b0c44298fc1c14.parquet").touch()
    return shard


def test_the_seeds_of_a_new_run_are_one_shard(tmp_path):
    run = tmp_path / "runs" / "new"
    with claimed(run, [20, 0, 1], CONFIG, steps=STEPS) as (finished, to_do):
        assert (finished, [shard.text for shard in to_do]) == ([], ["0-1,20-20"])
        assert to_do[0].path.is_dir()
    assert (run / "config.yaml").read_text() == CONFIG


def test_seeds_that_are_missing_are_added(tmp_path, caplog):
    caplog.set_level("INFO")
    saved(tmp_path, "0-9")
    assert claim(tmp_path, range(20)) == (["0-9"], ["10-19"])
    assert f"{tmp_path} has seeds 0-9 already; computing seeds 10-19" in caplog.text


def test_fewer_seeds_than_there_are_need_nothing(tmp_path, caplog):
    caplog.set_level("INFO")
    saved(tmp_path, "0-19")
    assert claim(tmp_path, range(10)) == (["0-19"], [])
    assert caplog.text == ""


def test_blocks_that_overlap(tmp_path):
    saved(tmp_path, "0-9")
    saved(tmp_path, "30-39")
    assert claim(tmp_path, range(5, 35)) == (["0-9", "30-39"], ["10-29"])
    saved(tmp_path, "15-16")
    assert claim(tmp_path, range(5, 35)) == (["0-9", "15-16", "30-39"], ["10-14,17-29"])
    assert claim(tmp_path, range(5, 15)) == (["0-9"], ["10-14"])


def test_a_shard_that_was_begun_is_resumed_as_a_whole(tmp_path, caplog):
    caplog.set_level("INFO")
    saved(tmp_path, "5-14", step=40)
    assert claim(tmp_path, range(10)) == ([], ["5-14", "0-4"])
    assert f"seeds 10-14 are computed, too: {tmp_path / 'shards' / '5-14'} is one program" in caplog.text


@pytest.mark.parametrize("how", ["edited", "deleted"])
def test_a_finished_shard_with_damaged_metrics_is_named_and_computed_again_by_force_alone(tmp_path, caplog, how):
    (file,) = (saved(tmp_path, "0-9") / "metrics").iterdir()
    file.write_bytes(b"x") if how == "edited" else file.unlink()
    assert claim(tmp_path, range(10)) == (["0-9"], [])
    words = f"{file} is damaged" if how == "edited" else f"{file.parent} lacks the steps after 0"
    assert f"{words}; the other files of the finished seeds 0-9 stay as they are" in caplog.text
    assert claim(tmp_path, range(10), force=True) == ([], ["0-9"])


def test_a_shard_that_a_kill_left_empty_binds_nobody(tmp_path):
    # Somebody began a thousand seeds, saw that it takes too long, and begins ten.
    empty = tmp_path / "shards" / "0-999"
    (empty / "metrics").mkdir(parents=True)
    (empty / "environment.json").write_text("{}")
    assert claim(tmp_path, range(10)) == ([], ["0-9"])
    assert not empty.exists()
    (empty / "notes").mkdir(parents=True)  # what is not ours stays, and is in nobody's way
    assert claim(tmp_path, range(10)) == ([], ["0-9"])
    assert (empty / "notes").exists()


def test_no_seed_is_computed_by_two(tmp_path):
    with claimed(tmp_path, range(10), CONFIG, steps=STEPS):
        assert claim(tmp_path, range(10, 20)) == ([], ["10-19"])  # others may be computed meanwhile
        shard = re.escape(str(tmp_path / "shards" / "0-9"))
        with pytest.raises(StoreError, match=rf"^another process \(pid \d+\) is working on {shard}$"):
            claim(tmp_path, range(5, 15))
    assert claim(tmp_path, range(5, 15)) == ([], ["5-14"])


def test_nothing_is_held_after_a_refusal(tmp_path):
    saved(tmp_path, "0-9", step=40)
    with locked(saved(tmp_path, "10-19", step=40)), pytest.raises(StoreError, match="is working on"):
        claim(tmp_path, range(20))
    assert claim(tmp_path, range(20)) == ([], ["0-9", "10-19"])


def test_force_deletes_the_results_of_these_seeds(tmp_path):
    for name in ("0-4", "5-9", "20-29"):
        saved(tmp_path, name)
    assert claim(tmp_path, range(10), force=True) == ([], ["0-9"])
    assert sorted(shard.name for shard in (tmp_path / "shards").iterdir()) == ["0-9", "20-29"]
    assert not (tmp_path / "shards" / "0-9" / "status.json").exists()


def test_force_leaves_what_is_not_of_a_shard(tmp_path):
    note = saved(tmp_path, "0-4") / "notes.txt"
    note.write_text("mine")
    assert claim(tmp_path, range(10), force=True) == ([], ["0-9"])
    assert note.read_text() == "mine"
    assert not (note.parent / "status.json").exists()


def test_force_never_deletes_the_results_of_seeds_that_nobody_named(tmp_path):
    for name in ("0-9", "10-14"):
        saved(tmp_path, name)
    message = f"--force for seeds 5-12: {tmp_path}/shards/0-9 holds other seeds, too, .*; write --seeds 0-14$"
    with pytest.raises(ConfigError, match=message):
        claim(tmp_path, range(5, 13), force=True)
    assert claim(tmp_path, range(15)) == (["0-9", "10-14"], [])


def test_force_spares_a_shard_that_is_at_work(tmp_path):
    status = saved(tmp_path, "0-9", step=40) / "status.json"
    with locked(status.parent), pytest.raises(StoreError, match="is working on"):
        claim(tmp_path, range(10), force=True)
    assert status.exists()


@pytest.mark.parametrize("content", ["", "a: ", "a: 2\n"])
def test_a_configuration_that_is_not_the_runs_is_named(tmp_path, content):
    claim(tmp_path, [0])
    (tmp_path / "config.yaml").write_text(content)
    with pytest.raises(StoreError, match=rf"^{re.escape(str(tmp_path))}/config.yaml was edited or cut short"):
        claim(tmp_path, [0])
    (tmp_path / "config.yaml").unlink()
    claim(tmp_path, [0])
    assert (tmp_path / "config.yaml").read_text() == CONFIG


def test_a_directory_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file" / "run", tmp_path / "file", Path("/proc/run")):  # not even by root
        with pytest.raises(StoreError, match=f"^cannot write {path}: ") as error:
            claim(path, [0])
        assert "\n" not in str(error.value)
