"""`pliant compare` and `pliant runs`."""

import pathlib

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
