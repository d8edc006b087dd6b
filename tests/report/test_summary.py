import numpy as np
import pytest

from pliant.report import load, summary


def test_last_values_of_a_sweep(sweep):
    table = summary(load(sweep))
    assert table.title == "toy-0123abcd at step 4"
    assert table.columns == ["metric", "group", "learning rate", "last value", "seeds", "left out"]
    assert [(*row[:3], *row[4:]) for row in table.rows] == [
        ("dormant", "Dense_0", 0.01, 4, 0),
        ("dormant", "Dense_0", 0.1, 4, 0),
        ("dormant", "Dense_1", 0.01, 4, 0),
        ("dormant", "Dense_1", 0.1, 4, 0),
        ("error", "", 0.01, 4, 0),
        ("error", "", 0.1, 3, 1),
    ]
    # Last errors 3, 4, 5, 6: the middle half has mean 4.5. Of 0, 10, 20 nothing is trimmed.
    values = [float(row[3].value) for row in table.rows]
    np.testing.assert_array_equal(values, [0.5, 0.5, 0.75, 0.75, 4.5, 10.0])
    # Of four seeds there is no interval, but each of them.
    assert np.isnan(table.rows[4][3].low)
    np.testing.assert_array_equal(table.rows[4][3].points, [3, 4, 5, 6])
    assert table.notes[1:] == ["Seeds that diverged, and are left out: 1 of learning rate 0.1 (the first at step 3)."]


def test_an_unfinished_run_without_a_sweep(write_run, shard_of, rows_of):
    rows = [
        *rows_of("accuracy", {0: [0.5, 0.6], 1: [0.7, float("nan")]}),
        {"seed": 1, "step": 2, "metric": "diverged", "group": "", "value": 2.0},
    ]
    directory = write_run(rows, ends=(2,), state="running")
    file = shard_of(directory) / "status.json"
    file.write_text(file.read_text().replace('"steps": 2', '"steps": 10'))
    table = summary(load(directory))
    assert (table.title, table.columns) == ("toy-0123abcd at step 2", ["metric", "last value", "seeds", "left out"])
    assert table.notes[1:] == [
        "Unfinished: step 2 of 10.",
        "Seeds that diverged, and are left out: 1, the first at step 2.",
    ]


def test_the_last_value_is_each_seeds_own(write_run, rows_of):
    # Seed 0 was measured last at step 3, seed 1 at step 1.
    table = summary(load(write_run([*rows_of("rank", {0: [1, 2, 3], 1: [5]})], ends=(3,))))
    assert (table.title, table.columns) == ("toy-0123abcd at step 3, 2 seeds", ["metric", "last value"])
    assert float(table.rows[0][1].value) == 4.0


def test_episodes_over_the_first_and_the_last_tenth(episodes):
    table = summary(load(episodes))
    assert table.columns == ["metric", "first tenth", "last tenth", "seeds", "left out"]
    assert [(row[0], *row[3:]) for row in table.rows] == [("return", 2, 1), ("length", 2, 1), ("loss", 2, 1)]
    # The first tenth is step 1 and 2, and for seed 1 its first episode; the last is step 19 and 20, and for seed 1 its
    # last episode. Seed 2 diverged before.
    first, last = ([float(row[at].value) for row in table.rows] for at in (1, 2))
    np.testing.assert_allclose(first, [(1 + 10 + 4) / 3, (2 + 6 + 1) / 3, (1 + 3 + 5) / 3])
    np.testing.assert_allclose(last, [((7 + 9) / 2 + 30) / 2, ((6 + 1) / 2 + 11) / 2, (2 + 4) / 2])
    assert table.notes[0].startswith("First and last tenth of the run: the mean there, interquartile mean over seeds")
    assert table.notes[1] == "Seeds that diverged, and are left out: 1, the first at step 15."


def test_a_seed_that_diverges_in_the_last_tenth_is_left_out(write_run, rows_of):
    loss = {0: [*range(18), 4, 6], 1: [*range(18), 4, float("nan")]}
    table = summary(
        load(write_run([*rows_of("return", {0: [1] * 20, 1: [2] * 20}), *rows_of("loss", loss)], ends=(20,)))
    )
    assert [(row[0], float(row[2].value), row[3]) for row in table.rows] == [("return", 1.5, 2), ("loss", 5.0, 1)]


def test_a_run_without_metrics_is_refused(write_run, shard_of, rows_of):
    directory = write_run([*rows_of("error", {0: [1]})], ends=(1,), step=0)
    for file in (shard_of(directory) / "metrics").iterdir():
        file.unlink()
    with pytest.raises(ValueError, match="has not recorded any metric yet"):
        summary(load(directory))


def test_how_far_each_shard_is(write_run, rows_of):
    write_run([*rows_of("error", {2: [5]})], ends=(1, 4), step=1, state="running")
    write_run([*rows_of("error", {3: [5, 6]})], ends=(2, 4), step=2, state="running")
    table = summary(load(write_run([*rows_of("error", {0: [1, 2, 3, 4]})], ends=(4,))))
    assert table.notes[1:] == ["Unfinished: seeds 2-2 at step 1, 3-3 at step 2 of 4."]


def test_the_most_telling_rows(write_run, rows_of):
    values = {"weight_magnitude": 1, "age": 2, "loss": 3, "dormant_fraction": 4}
    rows = [
        row
        for metric, value in values.items()
        for group in ("", "Dense_0")
        for row in rows_of(metric, {(0, 0.1): [value], (0, 0.2): [value]}, group)
    ]
    run = load(write_run(rows, ends=(1,)))
    # Two swept values of each of two metrics of the whole network; there are 16 rows.
    table = summary(run, most=5)
    assert [row[:2] for row in table.rows] == [
        ("loss", 0.1), ("loss", 0.2), ("dormant_fraction", 0.1), ("dormant_fraction", 0.2),
    ]  # fmt: skip
    assert table.notes[-1] == "12 more rows: --all."
    # The first metric has all its values, however few rows are asked for.
    assert [row[0] for row in summary(run, most=1).rows] == ["loss", "loss"]
    assert len(summary(run).rows) == 16
    with pytest.raises(ValueError, match=r"^most=0: write a number of rows, at least 1, or None for all$"):
        summary(run, most=0)
