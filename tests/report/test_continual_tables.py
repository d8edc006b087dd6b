import numpy as np
import pytest

from pliant import report

# Of each task: before training, after `moon`, after `ice`.
TUNED = {0: [[-2, 6, 2], [0, 0, 10]], 1: [[-2, 10, 6], [0, 0, 6]]}
SCRATCH = {0: [[-2, 6, 6], [0, 0, 3]], 1: [[-2, 6, 6], [0, 0, 5]]}


@pytest.fixture
def tuned(write_sequence):
    # Training returns 1 in each episode, but 5 in the second half of `ice` of seed 1.
    episodes = {0: {10: 1, 40: 1, 60: 1, 90: 1}, 1: {10: 1, 40: 1, 60: 1, 90: 5}}
    return write_sequence("tuned", TUNED, episodes=episodes, config={"continual": {"name": "fine_tuning"}})


@pytest.fixture
def scratch(write_sequence):
    return write_sequence(
        "scratch", SCRATCH, stored=((10, 10), (20, 20)), config={"continual": {"name": "from_scratch"}}
    )


def cells(table, row=0):
    """The values of the cells of a row, of estimates those of the seeds."""
    return {
        column: list(cell.points) if isinstance(cell, report.Estimate) else cell
        for column, cell in zip(table.columns, table.rows[row], strict=True)
    }


def test_one_run_without_a_reference(tuned):
    (table,) = report.continual_tables([tuned])
    assert table.title == "return, 2 tasks"
    assert cells(table) == {
        "seeds": 2,
        "performance": [6, 6],  # (2 + 10) / 2, (6 + 6) / 2
        "forgetting": [-2, -2],  # (2 - 6) / 2, (6 - 10) / 2
        "parameters": 10,
        "with buffers": 30,
        "policies": [3, 3],
    }
    assert np.isnan(table.rows[0][1].low)  # two seeds have no interval


def test_a_reference_adds_transfer_and_normalized_numbers(tuned, scratch):
    raw, normalized = report.continual_tables([tuned, scratch], scratch)
    assert [row[0] for row in raw.rows] == ["fine tuning", "from scratch"]
    # The reference has 6 and 4. Seed 0 has 6 and 10: (0 + 6) / 2. Seed 1 has 10 and 6: (4 + 2) / 2.
    assert cells(raw)["forward transfer"] == [3, 3]
    assert "transfer of curves" not in raw.columns
    assert [cells(raw, row)["policies"] for row in (0, 1)] == [[3, 3], [2, 2]]
    # Random actions have -2 and 0: the scale is 8 and 4.
    found = cells(normalized)
    assert found["performance"] == [(4 / 8 + 10 / 4) / 2, (8 / 8 + 6 / 4) / 2]
    assert found["forgetting"] == [-4 / 8 / 2, -4 / 8 / 2]
    assert found["forward transfer"] == [(0 + 6 / 4) / 2, (4 / 8 + 2 / 4) / 2]
    # Curves of the reference: 3 / 8 and 1 / 4. Those of the run are alike, but the last, (1 + 5) / 2 / 4.
    assert found["transfer of curves"] == [0, (3 / 4 - 1 / 4) / (1 - 1 / 4) / 2]
    of_reference = cells(normalized, 1)
    assert of_reference["performance"] == [(1 + 3 / 4) / 2, (1 + 5 / 4) / 2]
    assert any("0 is the measured return of random actions, 1 the return of scratch" in n for n in normalized.notes)


def test_steps_in_trials_stand_beside_those_of_training(tuned, write_sequence):
    # The second seed diverged in the second task, and no candidate of it played.
    trials = {0: {51: 8, 100: 24}, 1: {51: 8, 100: 0}}
    table, *_ = report.continual_tables([write_sequence("rewired", TUNED, trials=trials), tuned], labels=["a", "b"])
    assert [cells(table, row)["steps of training"] for row in (0, 1)] == [100, 100]
    assert [cells(table, row)["steps in trials"] for row in (0, 1)] == [[32, 8], 0]
    assert any(note.startswith("Steps in trials: those that candidates") for note in table.notes)


def test_tasks_that_the_reference_has_not_learned_are_left_out(tuned, write_sequence):
    reference = write_sequence("bad", SCRATCH, random=(6.0, 0.0))
    _, normalized = report.continual_tables([tuned], reference)
    assert cells(normalized)["performance"] == [10 / 4, 6 / 4]
    assert "Left out, since the reference is not above random actions there: 1 moon." in normalized.notes


def test_curves_without_room_are_left_out_of_their_transfer(tuned, write_sequence):
    fast = write_sequence("fast", SCRATCH, episodes={seed: {10: 6, 60: 1} for seed in (0, 1)})
    _, normalized = report.continual_tables([tuned], fast)
    assert cells(normalized)["transfer of curves"] == [0, (3 / 4 - 1 / 4) / (1 - 1 / 4)]
    assert "Left out of the transfer of curves, since no curve is below 1: 1 moon." in normalized.notes


def test_an_unfinished_run_has_unknown_numbers(write_sequence, scratch):
    half = {0: [[-2, 6], [0, 0]], 1: [[-2, 6], [0, 0]]}
    run = write_sequence(
        "half", half, stored=((10, 10),), episodes={0: {10: 1}, 1: {9: 1}}, ends=(50,), steps=100, state="running"
    )
    raw, normalized = report.continual_tables([run], scratch)
    assert np.isnan([raw.rows[0][at].value for at in (1, 2, 3)]).all()
    assert cells(raw)["parameters"] == 10
    assert "Unfinished: half, step 50 of 100." in normalized.notes
    # Of an unfinished reference the finished tasks count.
    _, normalized = report.continual_tables([scratch], run)
    assert cells(normalized)["performance"] == [1, 1]
    assert "Left out, since the reference is not above random actions there: 2 ice." in normalized.notes


def test_a_seed_that_diverged_is_left_out(write_sequence):
    run = write_sequence("lost", {0: TUNED[0], 1: [[-2, 6, np.nan], [0, 0, np.nan]]}, diverged={1: 75})
    (table,) = report.continual_tables([run])
    assert table.notes[-1] == "Left out: 1 diverged members of lost."
    assert (table.rows[0][1].value, table.rows[0][1].members) == (6, 1)


@pytest.mark.parametrize(("fact", "title"), [("success", "success"), ("success_last", "success at the last step")])
def test_successes_have_a_table_of_their_own(fact, title, write_run, sequence_rows, rows_of):
    def write(name, of_ice):
        rows = [*sequence_rows(("a", "b"), {0: [[0, 0.5, 0.25], [0, 0, of_ice]]}, 50, f"task_{fact}")]
        rows += sequence_rows(("a", "b"), {0: [[0, 5, 2], [0, 0, 4]]}, 50)
        rows += sequence_rows(("a", "b"), {0: [[0], [0]]}, 50, "task_random_return")
        return report.load(write_run([*rows, *rows_of(fact, {0: [0, 0.5, 0, of_ice]}, every=25)], name=name))

    _, success, _ = report.continual_tables([write("good", 1.0)], write("fair", 0.5))
    assert success.title == f"{title}, 2 tasks"
    # Areas: 0.25 and 0.5 against 0.25 and 0.25, so a third of the room above the second curve.
    assert cells(success) == {
        "seeds": 1,
        "performance": [0.625],
        "forgetting": [-0.125],
        "forward transfer": [0.25],
        "transfer of curves": [pytest.approx((0.5 - 0.25) / 0.75 / 2)],
    }


def test_swept_values_have_rows_of_their_own(write_run, sequence_rows):
    rows = [
        {**row, "agent.learning_rate": rate, "value": row["value"] * rate}
        for rate in (0.5, 2.0)
        for row in sequence_rows(("moon", "ice"), TUNED, 50)
    ]
    run = report.load(write_run(rows))
    (table,) = report.continual_tables([run])
    assert [row[0] for row in table.rows] == ["learning rate 0.5", "learning rate 2"]
    assert [cells(table, row)["performance"] for row in (0, 1)] == [[3, 3], [12, 12]]
    assert "policies" not in table.columns  # there are no rows of memory
    with pytest.raises(ValueError, match=r"swept agent.learning_rate; write a reference without swept settings"):
        report.continual_tables([run], run)


def test_runs_that_do_not_fit_are_refused(tuned, scratch, write_run, sequence_rows, write_sequence, sweep):
    with pytest.raises(ValueError, match="toy-0123abcd has no task_return; leave it out, or run it with"):
        report.continual_tables([tuned], report.load(sweep))
    other = report.load(write_run([*sequence_rows(("sun", "ice"), SCRATCH, 50)], name="other"))
    message = r"tuned learned toy \(moon, ice\), and other toy \(sun, ice\); write runs on the same tasks"
    with pytest.raises(ValueError, match=message):
        report.continual_tables([tuned], other)
    far = write_sequence("far", SCRATCH, config={"problem": {"name": "far"}})
    with pytest.raises(ValueError, match=r"tuned learned toy \(moon, ice\), and far far \(moon, ice\)"):
        report.continual_tables([tuned, far])
    without = report.load(write_run([*sequence_rows(("moon", "ice"), SCRATCH, 50)], name="without"))
    with pytest.raises(ValueError, match="without has no task_random_return, the return of random actions"):
        report.continual_tables([tuned], without)


def test_a_reference_with_other_settings_of_the_problem_is_named(tuned, write_sequence):
    longer = write_sequence("longer", SCRATCH, config={"problem": {"name": "toy", "engine": "v1"}})
    here = write_sequence("here", TUNED, config={"problem": {"name": "toy", "engine": "mujoco"}})
    raw, _ = report.continual_tables([here], longer)
    assert "The runs differ in settings of the problem; the reference has engine=v1." in raw.notes
