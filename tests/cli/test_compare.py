"""`pliant compare` and `pliant runs`."""

import pathlib
import re

import pytest

P = "slowly_changing_regression"

pytestmark = pytest.mark.usefixtures("counts")


def test_runs_are_listed_and_compared(pliant):
    for words in ((), ("--method", "redo")):
        assert pliant("run", P, "--examples", 20, "--record-every", 5, "--seeds", 5, *words)[0] == 0
    names = sorted((path.name for path in pathlib.Path("runs").iterdir()), reverse=True)
    code, out, _ = pliant("runs")
    assert code == 0 and all(name in out for name in names) and out.count("finished") == 2
    code, out, _ = pliant("compare", *(f"runs/{name}" for name in names), "--out", "both")
    # The same seeds count alike in both runs.
    assert code == 0 and "loss of 2 settings" in out and "figure: both/loss.png" in out
    assert pathlib.Path("both", "loss.csv").read_text().splitlines()[2].split(",")[5:8] == ["0.0", "0.0", "0.0"]


@pytest.mark.parametrize(("width", "left_out"), [(80, ""), (60, "seeds"), (40, "settings")])
def test_runs_are_listed_in_one_line_each_however_narrow_the_terminal(pliant, monkeypatch, width, left_out):
    name = "slowly_changing_regression-continual_backprop+shrink_and_perturb-"
    for number in range(2):
        path = pathlib.Path("runs", f"{name}{number}a2b3c4d")
        path.mkdir(parents=True)
        (path / "config.yaml").write_text(f"problem: {{name: toy, a_long_setting: {number}, another_long: {number}}}\n")
    assert name in pliant("runs")[1]  # whole in a file or a pipe
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("COLUMNS", str(width))
    lines = [re.sub("\x1b.*?m", "", line).rstrip() for line in pliant("runs")[1].splitlines()]
    assert max(map(len, lines)) <= width
    assert [line.split()[0][-8:] for line in lines if "…" in line] == ["0a2b3c4d", "1a2b3c4d"]
    assert len(lines) == 7  # title, head and rule, two runs, with a blank line after the title and the runs
    assert not left_out or left_out not in lines[2]


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("the following arguments are required: RUN", ("compare",)),
        ("there is no directory nowhere", ("compare", "nowhere", "nowhere")),
        ("there is no folder runs; a run makes one: pliant run PROBLEM", ("runs",)),
        ("there is no folder mine", ("runs", "mine")),
    ],
)
def test_what_is_not_there_is_said_in_one_line(refuses, message, words):
    refuses(message, *words)
