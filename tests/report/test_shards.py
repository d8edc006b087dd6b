"""Shards that are damaged, or are none."""

import json
import shutil

import pandas as pd
import pytest

from pliant.report import DamagedRunError, load


def files(shard):
    return sorted((shard / "metrics").iterdir())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda frame: frame.drop(columns="value"), "has no column 'value'"),
        (lambda frame: frame.assign(value="high"), "is no table of metrics"),
        (lambda frame: frame.assign(width=1.0), "differ in their columns"),
    ],
)
def test_notices_files_that_are_whole_but_wrong(write_run, write_metrics, shard_of, rows_of, change, message):
    directory = write_run([*rows_of("error", {0: [1, 2]})], ends=(1, 2))
    file = files(shard_of(directory))[1]
    frame = pd.read_parquet(file)
    file.unlink()
    write_metrics(shard_of(directory) / "metrics", 1, 2, change(frame))
    with pytest.raises(DamagedRunError, match=message):
        load(directory)


def test_an_unfinished_file_is_left_alone(sweep, shard_of):
    (shard_of(sweep) / "metrics" / ".000000000004-000000000006.parquet.tmp").write_bytes(b"PAR1")
    assert load(sweep).last_step == 4


def test_names_a_truncated_file(sweep, shard_of):
    file = files(shard_of(sweep))[1]
    file.write_bytes(file.read_bytes()[:-7])
    with pytest.raises(DamagedRunError, match=rf"{file.name} is damaged.*run the same command again"):
        load(sweep)


def test_names_an_edited_file(sweep, shard_of):
    file = files(shard_of(sweep))[0]
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(DamagedRunError, match=rf"{file.name} is damaged.*run the same command again"):
        load(sweep)


@pytest.mark.parametrize(("index", "message"), [(0, "lacks the steps 0 to 2"), (1, "lacks the steps 2 to 4")])
def test_notices_a_missing_file(sweep, shard_of, index, message):
    files(shard_of(sweep))[index].unlink()
    with pytest.raises(DamagedRunError, match=f"{message}.*run the same command again"):
        load(sweep)


def test_notices_a_lost_metrics_folder(sweep, shard_of):
    shutil.rmtree(shard_of(sweep) / "metrics")
    with pytest.raises(DamagedRunError, match="lacks the steps 0 to 4"):
        load(sweep)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("copy.parquet", "is not named <first>-<last>-<sha>.parquet"),
        ("000000000002-000000000006-{sha}.parquet", "overlaps the file before it"),
        ("000000000004-000000000006-{sha}.parquet", "holds steps 3 to 4, which its name denies"),
    ],
)
def test_notices_a_copy_under_another_name(sweep, shard_of, name, message):
    file = files(shard_of(sweep))[1]
    shutil.copy(file, file.with_name(name.format(sha=file.stem[-16:])))
    with pytest.raises(DamagedRunError, match=message):
        load(sweep)


@pytest.mark.parametrize("file", ["environment.json", "status.json"])
def test_names_a_missing_or_broken_file(sweep, shard_of, file):
    (shard_of(sweep) / file).write_text('{"state": "runn')
    with pytest.raises(DamagedRunError, match=f"{file} cannot be read"):
        load(sweep)
    (shard_of(sweep) / file).unlink()
    with pytest.raises(DamagedRunError, match=f"{file} is missing"):
        load(sweep)


def test_a_status_without_a_step_is_damaged(sweep, shard_of):
    (shard_of(sweep) / "status.json").write_text(json.dumps({"state": "finished"}))
    with pytest.raises(DamagedRunError, match="does not say at which step"):
        load(sweep)


def test_a_shard_under_another_name(write_run, rows_of):
    directory = write_run([*rows_of("error", {0: [1], 1: [2]})], ends=(1,), seeds="0-0")
    with pytest.raises(DamagedRunError, match="0-0 has rows of seed 1, which its name denies"):
        load(directory)


def test_two_shards_with_the_same_seed(write_run, rows_of):
    # As if the results of two machines had been put together.
    write_run([*rows_of("error", {2: [1]})], ends=(1,), seeds="2-4")
    directory = write_run([*rows_of("error", {0: [1], 2: [1]})], ends=(1,))
    with pytest.raises(ValueError, match=r"0-2 and \S+2-4 both hold seed 2; move one of the two out of \S+shards$"):
        load(directory)


def test_what_is_no_shard_is_left_alone(write_run, rows_of):
    directory = write_run([*rows_of("error", {0: [1]})], ends=(1,))
    (directory / "shards" / "notes").mkdir()
    (directory / "shards" / ".DS_Store").write_text("x")
    (directory / "shards" / "1-9").mkdir()  # a process has just begun there
    assert [shard.name for shard in load(directory).shards] == ["0-0"]
