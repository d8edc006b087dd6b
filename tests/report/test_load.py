import json
import shutil

import numpy as np
import pandas as pd
import pytest

from pliant.report import DamagedRunError, curves_of, load, summary


def files(shard):
    return sorted((shard / "metrics").iterdir())


def test_round_trip(sweep):
    run = load(sweep)
    assert run.name == "toy-0123abcd"
    assert run.config == {"problem": {"name": "toy"}}
    assert [shard.name for shard in run.shards] == ["0-3"]
    assert run.environment["jax"] == "0.10"
    assert run.status == {"state": "finished", "step": 4, "steps": 4}
    assert run.settings == ("agent.learning_rate",)
    assert run.last_step == 4
    # 8 members: 4 errors each, and 2 steps of 2 groups; one row says who diverged.
    assert len(run.metrics) == 8 * (4 + 4) + 1
    rows = run.metrics
    member = rows[(rows["seed"] == 2) & (rows["agent.learning_rate"] == 0.01) & (rows["metric"] == "error")]
    np.testing.assert_array_equal(member["step"], [1, 2, 3, 4])
    np.testing.assert_array_equal(member["value"], [2.0, 3.0, 4.0, 5.0])


def test_members(sweep):
    members = load(sweep).members
    assert list(members.columns) == ["seed", "agent.learning_rate", "diverged"]
    assert members[["seed", "agent.learning_rate"]].to_numpy().tolist() == [
        [s, v] for s in range(4) for v in (0.01, 0.1)
    ]
    assert members["diverged"].dropna().to_dict() == {7: 3.0}


def test_metrics_of_episodes(episodes):
    assert load(episodes).of_episodes == ("return", "length")


def test_as_many_rows_at_other_steps_are_not_of_episodes(write_run, rows_of):
    ended = {0: [1, 2]}
    rows = [*rows_of("return", ended, every=3), *rows_of("friction", ended, every=3), *rows_of("loss", ended, every=4)]
    assert load(write_run(rows, ends=(8,))).of_episodes == ("return", "friction")


def test_a_run_without_episodes(sweep):
    assert load(sweep).of_episodes == ()


@pytest.mark.parametrize(
    ("tasks", "begins"),
    [
        (None, {}),  # written before there were any
        ([], {}),
        ([{"name": "8x8", "until": 4}], {}),  # all of the run is one
        (
            [{"name": "5x5", "until": 1}, {"name": "6x6", "until": 3}, {"name": "5x5", "until": 4}],
            ["5x5", "6x6", "5x5"],
        ),
    ],
)
def test_where_tasks_begin(sweep, shard_of, tasks, begins):
    file = shard_of(sweep) / "status.json"
    status = json.loads(file.read_text())
    file.write_text(json.dumps(status if tasks is None else status | {"tasks": tasks}))
    assert load(sweep).tasks == dict(zip([0, 1, 3], begins))


def test_reads_categories_and_narrow_numbers_alike(write_run, write_metrics, shard_of, rows_of):
    # Another writer may store names as categories and values as float32: the report reads them as the same thing.
    directory = write_run([*rows_of("error", {0: [1, 2]})], ends=(2,))
    (file,) = files(shard_of(directory))
    frame = pd.read_parquet(file).astype({"metric": "category", "value": "float32"})
    file.unlink()
    write_metrics(shard_of(directory) / "metrics", 0, 2, frame)
    run = load(directory)
    assert run.metrics["value"].dtype == np.float64
    assert list(run.metrics["metric"]) == ["error", "error"]


def test_a_run_that_has_only_begun_has_no_rows(write_run, shard_of, rows_of):
    directory = write_run([*rows_of("error", {0: [1, 2]})], ends=(2,), state="running", step=0)
    shutil.rmtree(shard_of(directory) / "metrics")
    run = load(directory)
    assert run.metrics.empty
    assert run.last_step == 0


def test_what_was_evaluated_before_the_first_step(write_run, write_metrics, shard_of, rows_of):
    before = dict(seed=0, step=0, metric="error", group="", value=7.0)
    rows = [*rows_of("error", {0: [1, 2, 4, 6]})]
    directory = write_run(rows, ends=(2, 4))
    first, second = files(shard_of(directory))
    first.unlink()
    write_metrics(shard_of(directory) / "metrics", 0, 2, pd.DataFrame([before, *rows[:2]]))
    run = load(directory)
    assert list(zip(run.metrics["step"], run.metrics["value"])) == [(0, 7), (1, 1), (2, 2), (3, 4), (4, 6)]
    (curve,) = curves_of(run, "error")
    assert (list(curve.x), list(curve.estimate)) == ([0, 1, 2, 3, 4], [7, 1, 2, 4, 6])
    (curve,) = curves_of(run, "error", bin=2)  # (7 + 1 + 2) / 3 and (4 + 6) / 2
    np.testing.assert_allclose(curve.estimate, [10 / 3, 5])
    second.unlink()
    write_metrics(shard_of(directory) / "metrics", 2, 4, pd.DataFrame([before, *rows[2:]]))
    with pytest.raises(DamagedRunError, match="holds steps 0 to 4, which its name denies"):
        load(directory)


def test_metrics_may_be_ahead_of_the_status(write_run, rows_of):
    # Killed between the two writes: step 2 is done, though the status still says 1.
    assert load(write_run([*rows_of("error", {0: [1, 2]})], ends=(1, 2), step=1, state="running")).last_step == 2


def test_names_a_broken_config(sweep):
    (sweep / "config.yaml").write_text("problem: [")
    with pytest.raises(DamagedRunError, match=r"config.yaml cannot be read"):
        load(sweep)
    (sweep / "config.yaml").write_text("")
    with pytest.raises(DamagedRunError, match=r"config.yaml does not hold a mapping"):
        load(sweep)


def test_a_config_cannot_run_code(sweep):
    (sweep / "config.yaml").write_text("seeds: !!python/object/apply:os.getcwd []")
    with pytest.raises(DamagedRunError, match=r"config.yaml cannot be read"):
        load(sweep)


def test_what_is_no_run_is_refused(sweep, tmp_path):
    with pytest.raises(ValueError, match=r"there is no directory .*nowhere"):
        load(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"holds 1: give one of them, such as .*toy-0123abcd"):
        load(sweep.parent)
    with pytest.raises(ValueError, match=r"is not a run: it has no config.yaml"):
        load(sweep / "shards")


def test_the_rows_of_all_shards(write_run, rows_of):
    # Seeds 0 and 1 are finished; seeds 2, 3 and 5 are at step 1 of 2.
    write_run([*rows_of("error", {2: [5], 3: [6], 5: [7]})], ends=(1, 2), seeds="2-3,5-5", step=1, state="running")
    directory = write_run([*rows_of("error", {0: [1, 2], 1: [3, 4]})], ends=(2,))
    run = load(directory)
    assert [shard.name for shard in run.shards] == ["0-1", "2-3,5-5"]
    assert list(run.members["seed"]) == [0, 1, 2, 3, 5]
    assert (run.status, run.last_step) == ({"state": "running", "step": 1, "steps": 2}, 2)
    (curve,) = curves_of(run, "error")
    np.testing.assert_allclose(curve.estimate, [(1 + 3 + 5 + 6 + 7) / 5, (2 + 4) / 2])
    assert list(curve.members) == [5, 2]
    assert run.damaged == ()


def test_some_seeds_alone(write_run, rows_of):
    write_run([*rows_of("error", {2: [5, 6]})], ends=(2,), step=1, state="running")
    directory = write_run([*rows_of("error", {0: [1, 2], 1: [3, 4]})], ends=(2,))
    run = load(directory, seeds=[1])
    assert (list(run.metrics["seed"]), list(run.metrics["value"])) == ([1, 1], [3, 4])
    assert run.status["state"] == "finished"  # whatever other shards are
    with pytest.raises(ValueError, match=r"toy-0123abcd has no seed 4; it has those of 0-1 and 2-2$"):
        load(directory, seeds=[1, 4])


def test_members_and_seconds_are_those_of_all_shards(write_run, rows_of):
    for seed in (0, 1):
        directory = write_run([*rows_of("error", {seed: [1]})], ends=(1,))
        file = directory / "shards" / f"{seed}-{seed}" / "status.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"members": 1, "seconds": 1.5}))
    status = load(directory).status
    assert (status["state"], status["members"], status["seconds"]) == ("finished", 2, 3.0)


def test_a_damaged_shard_is_named_and_the_others_are_read(write_run, rows_of, caplog):
    write_run([*rows_of("error", {1: [3, 4]})], ends=(2,))
    directory = write_run([*rows_of("error", {0: [1, 2]})], ends=(2,))
    (file,) = files(directory / "shards" / "0-0")
    file.write_bytes(file.read_bytes()[:-7])
    run = load(directory)
    assert list(run.members["seed"]) == [1]
    (damage,) = run.damaged
    assert f"{file} is damaged" in damage
    assert f"left out: {damage}" in caplog.text
    assert any("Left out, since it is damaged" in note and file.name in note for note in summary(run).notes)
    with pytest.raises(DamagedRunError, match=f"{file.name} is damaged"):  # these seeds were asked for
        load(directory, seeds=[0, 1])
    (file,) = files(directory / "shards" / "1-1")
    file.unlink()
    with pytest.raises(DamagedRunError, match=r"0-0/metrics/\S+ is damaged"):  # there is no other
        load(directory)
