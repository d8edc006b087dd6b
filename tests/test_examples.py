"""Each example, at a smaller size: it runs without a warning, learns, and reinitializes units."""

import pathlib
import re
import runpy
import sys

import jax
import pytest

import pliant

ALL = sorted((pathlib.Path(__file__).parents[1] / "examples").glob("*.py"))
EXAMPLES = [path for path in ALL if "pliant.trace(" in path.read_text()]  # in a loop of one's own
PLASTIC = re.compile(r"task (\d+): loss ([\d.]+) -> ([\d.]+) \((\d+) units reinitialized\)")
COMPARED = re.compile(r"task (\d+): loss ([\d.]+) plain, ([\d.]+) plastic \((\d+) units reinitialized\)")


def printed(path, tasks, steps, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [str(path), "--tasks", str(tasks), "--steps", str(steps)])
    # Examples are written as users write: a bias is added to a batch as it is.
    with jax.numpy_rank_promotion("allow"):
        runpy.run_path(str(path), run_name="__main__")
    return capsys.readouterr().out


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_are_short_and_say_how_to_run_them(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 60
    assert f"Usage:\n    python examples/{path.name} [--tasks " in text
    lines = [int(number) for number in re.findall(r"# line (\d)\b", text)]
    assert lines == list(range(1, len(lines) + 1)) and len(lines) <= 4


@pytest.mark.compilations(60)  # examples are written as users write, who initialize a network without compiling
@pytest.mark.parametrize("path", EXAMPLES[1:], ids=lambda path: path.stem)
def test_learns_task_after_task(path, monkeypatch, capsys):
    output = printed(path, 2, 120, monkeypatch, capsys)
    assert output.startswith("group ")
    tasks = [tuple(map(float, line)) for line in PLASTIC.findall(output)]
    assert [number for number, *_ in tasks] == [1, 2]
    for _, first, last, _ in tasks:
        assert last < first / 3
    assert 0 < tasks[-1][-1] < 40


@pytest.mark.compilations(30)  # as above
def test_the_plain_network_loses_what_the_plastic_one_keeps(monkeypatch, capsys):
    output = printed(EXAMPLES[0], 20, 200, monkeypatch, capsys)
    tasks = [tuple(map(float, line)) for line in COMPARED.findall(output)]
    assert len(tasks) == 20
    _, plain, plastic, _ = tasks[0]
    assert plain < 0.2 and plastic < 0.2
    # Two hidden layers of 32 units: at most 0.032 units each a step.
    _, plain, plastic, replaced = tasks[-1]
    assert plain > 1 and plastic < 0.2 and 150 < replaced <= 2 * 0.032 * 20 * 200


@pytest.mark.compilations(10)  # a run of PPO in MiniGrid, and a loop with one of its agents
def test_a_run_from_python_has_metrics_and_an_agent(monkeypatch, capsys, tmp_path):
    path = next(path for path in ALL if path.stem.endswith("run_from_python"))
    monkeypatch.setattr(sys, "argv", [str(path), "--steps", "256", "--seeds", "1", "--folder", str(tmp_path)])
    runpy.run_path(str(path), run_name="__main__")
    output = capsys.readouterr().out
    [run] = tmp_path.iterdir()
    assert output.startswith(f"{run}: ") and "dormant_fraction" in output
    assert re.search(r"^seed 0 after 256 steps: reward \d\.\d\d in 100 steps$", output, re.MULTILINE)


@pytest.mark.compilations(10)  # a run of the suite
def test_your_own_data_is_a_function_of_less_than_ten_lines(tmp_path):
    path = next(path for path in ALL if path.stem.endswith("your_own_data"))
    code = [line for line in path.read_text().partition("def ")[2].splitlines() if line.strip()]
    assert len(code) < 10
    problem = {"name": f"{path}:digit_pairs", "epochs": 10}
    agent = {"optimizer": "adam", "learning_rate": 0.003}
    run = pliant.run(problem=problem, agent=agent, diagnostics=[], seeds=1, folder=tmp_path)
    assert run.path.name.startswith("digit_pairs-")
    last = run.metrics[run.metrics["step"] == run.metrics["step"].max()].set_index("metric")["value"]
    assert last["accuracy"] > 0.8 and last["test_accuracy"] > 0.8
