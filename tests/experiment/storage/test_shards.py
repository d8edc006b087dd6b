"""The shards of a run, and how they are named."""

import pytest

from pliant.experiment.configuration.seeds import read_seeds
from pliant.experiment.errors import StoreError
from pliant.experiment.storage.shards import blocks, seeds_text, shards_of


def saved(run, name):
    (run / "shards" / name).mkdir(parents=True)
    (run / "shards" / name / "status.json").write_text("{}")


@pytest.mark.parametrize(
    ("seeds", "text"),
    [
        ([0], "0-0"),
        (range(10), "0-9"),
        ([20, 3, 1, 2], "1-3,20-20"),
        ([2**31 - 1, 0], "0-0,2147483647-2147483647"),
    ],
)
def test_seeds_as_ranges_which_the_command_line_takes(seeds, text):
    assert seeds_text(seeds) == text
    assert read_seeds(text) == tuple(sorted(seeds))


def test_one_block_holds_all_seeds(tmp_path):
    (block,) = blocks(tmp_path, [20, 0, 1])
    assert (block.path, block.seeds, block.text) == (tmp_path / "shards" / "0-1,20-20", (0, 1, 20), "0-1,20-20")
    assert blocks(tmp_path, []) == []


def test_the_name_of_a_block_fits_a_file_system(tmp_path):
    # Ten ranges of 21 letters and nine commas are 219 letters; more ranges are another block.
    seeds = range(10**9, 10**9 + 50, 2)
    parts = blocks(tmp_path, seeds)
    assert [len(part.seeds) for part in parts] == [10, 10, 5]
    assert [seed for part in parts for seed in part.seeds] == list(seeds)
    assert max(len(part.text) for part in parts) <= 255


def test_the_shards_of_a_run(tmp_path):
    for name in ("10-19", "9-9", "0-8,30-30"):
        saved(tmp_path, name)
    (tmp_path / "shards" / "40-49" / "metrics").mkdir(parents=True)  # nothing was saved there yet
    (tmp_path / "shards" / ".DS_Store").write_text("x")
    saved(tmp_path, "old")
    assert [shard.text for shard in shards_of(tmp_path)] == ["0-8,30-30", "9-9", "10-19"]
    assert shards_of(tmp_path)[0].seeds == (*range(9), 30)
    assert shards_of(tmp_path / "nowhere") == []


def test_two_shards_with_the_same_seed(tmp_path):
    # As if the results of two machines had been put together.
    saved(tmp_path, "0-9")
    saved(tmp_path, "5-5,20-29")
    with pytest.raises(
        StoreError, match=r"0-9 and \S+5-5,20-29 both hold seed 5; move one of the two out of \S+shards"
    ):
        shards_of(tmp_path)
