"""An agent is trained on DoorKey, and tried in MiniGrid itself: the commands as a user types them."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pliant import report
from pliant.cli import main

# Each command is planned, and compiles what acts and what is acted in.
pytestmark = pytest.mark.compilations(15)

# The agent opens the door after so many frames: 20 rounds of learning, and one on 6x6.
TASKS = "5x5:40960,6x6:43008"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The directory of a run of one seed."""
    folder = tmp_path_factory.mktemp("runs")
    words = ("run", "minigrid_doorkey/reference", "--tasks", TASKS, "--seeds", "1", "--diagnostics", "unit_age")
    more = ("--continual", "fine_tuning", "--continual.copies", "true", "--evaluate-tasks", "20")
    assert main([*words, *more, "--out", str(folder)]) == 0
    (path,) = folder.iterdir()
    return path


@pytest.fixture
def episodes(pliant, run, tmp_path):
    """`episodes(*words)`: what `pliant evaluate` writes of single episodes, and what it prints."""

    def play(*words):
        code, out, err = pliant("evaluate", run, *words, "--out", tmp_path / "episodes.csv")
        assert code == 0, err
        return pd.read_csv(tmp_path / "episodes.csv"), out

    return play


@pytest.mark.slow
def test_the_agent_does_in_minigrid_what_it_does_here(episodes):
    here, out = episodes("--env", "5x5", "--episodes", 100)
    assert "calls the mean return success rate" in out and "failures" in out
    there, _ = episodes("--env", "5x5", "--episodes", 100, "--backend", "minigrid")
    for table in (here, there):
        assert set(table["mode"]) == {"sampled"}
        assert table["success"].mean() > 0.9  # a random agent: about a tenth
        # A success of t steps is worth 1 - 0.9 t / 250, all else nothing.
        expected = table["success"] * (1 - 0.9 * table["length"] / 250)
        np.testing.assert_allclose(table["return"], expected, rtol=1e-5, atol=1e-6)
    for fact in ("return", "length", "success"):
        # Three standard errors of the difference of two means.
        margin = 3 * np.sqrt((here[fact].var() + there[fact].var()) / len(here))
        assert abs(here[fact].mean() - there[fact].mean()) <= margin


@pytest.mark.slow
def test_without_a_size_it_is_the_task_of_the_checkpoint(episodes):
    for words, size, limit in (((), "6x6", 360), (("--step", 40960), "5x5", 250)):
        table, out = episodes(*words, "--episodes", 4)
        assert size in out
        assert table["length"].max() <= limit


@pytest.mark.slow
def test_each_task_is_played_at_each_border_and_by_its_own_copy_later(run, episodes):
    rows = report.load(run).metrics
    success = rows[rows["metric"] == "task_success"].pivot(index="step", columns="group", values="value")
    assert list(success.index) == [0, 40960, 43008] and list(success.columns) == ["0/5x5", "1/6x6"]
    assert success["0/5x5"][0] < 0.5 < 0.8 < success["0/5x5"][40960]
    assert success["0/5x5"][40960] == success["0/5x5"][43008]  # the same copy, in the same episodes
    of_random = rows[rows["metric"] == "task_random_return"]
    assert set(of_random["step"]) == {0} and (of_random["value"] < 0.5).all()
    table, out = episodes("--task", "5x5", "--episodes", 20)
    assert "5x5" in out and table["success"].mean() > 0.8


@pytest.mark.slow
def test_visualize(pliant, run, tmp_path):
    code, out, _ = pliant("visualize", run, "--env", "5x5")
    assert code == 0 and "step 0 of 250, carrying nothing" in out and "success 1" in out
    code, _, _ = pliant("visualize", run, "--env", "16x16", "--gif", tmp_path / "film.gif", "--steps", 5)
    with Image.open(tmp_path / "film.gif") as film:
        assert (code, film.n_frames, film.size) == (0, 5, (512, 544 + 22))


@pytest.mark.slow
def test_another_network_is_refused(pliant, run):
    code, out, err = pliant("evaluate", run, "--env", "7x7")
    assert (code, out) == (2, "") and err.endswith("env='7x7': write one of '5x5', '6x6', '8x8', '16x16'\n")
