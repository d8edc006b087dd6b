"""Several sequences of tasks in one table, from numbers that were written down by hand."""

import numpy as np
import pandas as pd
import pytest
from toy_recipe import panels, recipe_of

from pliant.report.recipe import Line, Scale, SequenceSpec
from pliant.report.scores import Scores
from pliant.reproduction import Part, overview, write_overview
from pliant.reproduction.comparison import Figure, compare
from pliant.reproduction.index import read_front_matter
from pliant.reproduction.sequences import MethodNumbers, SequenceFigure

NAN = np.nan
LINE = Line("ours", {"problem": "toy"})


def numbers(performance, forgetting=(0, 0), policies=(1, 1), trial_steps=(0, 0)):
    """Two seeds of a method, whose transfer follows from the others."""
    performance, forgetting = np.array(performance, float), np.array(forgetting, float)
    scores = Scores(performance, forgetting, performance - forgetting - 1)
    return MethodNumbers(np.array([0, 1]), scores, np.array(policies, float), np.array(trial_steps, float))


def part(name, methods, published, falls_short, scale):
    """A recipe of the figure `toy_NAME`, with the numbers of its methods."""
    spec = SequenceSpec((LINE,), LINE, published=published)
    recipe, runs = recipe_of(*panels(), title=f"Toys: {name}", scale=scale)
    figure = compare(recipe, runs)["toy"]
    sequence = SequenceFigure([], "", [], pd.DataFrame(), (), methods)
    figure = Figure(**{**figure._asdict(), "sequence": sequence, "falls_short": falls_short})
    recipe = recipe_of(*panels(), title=f"Toys: {name}", scale=scale, sequences={f"toy_{name}": spec})[0]
    return Part(recipe, runs, {f"toy_{name}": figure})


@pytest.fixture
def parts():
    """Two sequences of tasks; the second seed of PackNet diverged in the second."""
    of_a = {
        "FT": numbers([0.5, 0.7], [-0.5, -0.1]),
        "SAC-N": numbers([1, 1], policies=[2, 2]),
        "Rewire": numbers([1.5, 0.9], policies=[1.5, 2.5], trial_steps=[30, 34]),
    }
    of_b = {"FT": numbers([0.25, 0.75]), "PackNet": numbers([0.5, NAN])}
    published = {"FT": 0.75, "SAC-N": 1.0, "CSP": 1.25}
    return {
        "a": part("a", of_a, published, ("Short.", "Of a alone."), Scale(10, 100, 2, 2)),
        "b": part("b", of_b, {}, ("Short.",), Scale(10, 200, 2, 2)),
    }


def test_tables_are_methods_by_sequences(parts):
    performance, forgetting, transfer, memory, trials, order = overview(parts)
    assert performance.title == "normalized performance"
    assert performance.columns == ["method", "a", "paper", "b"]
    assert [[*row] for row in performance.rows[:3]] == [
        ["FT", 0.6, 0.75, 0.5],
        ["SAC-N", 1.0, 1.0, None],
        ["Rewire", 1.2, None, None],
    ]
    assert [*performance.rows[3]] == ["PackNet", None, None, 0.5]  # of the seed that is left
    assert [row[1] for row in forgetting.rows] == [-0.3, 0, 0, None]
    assert [row[1] for row in transfer.rows] == [-0.1, 0, 0.2, None]  # performance - 1 - forgetting
    assert [row[1] for row in memory.rows] == [1, 2, 2, None]
    assert trials.rows == [("Rewire", 32, None)]
    assert order.rows == [["a", "SAC-N 1.00, FT 0.60", "SAC-N 1.00, FT 0.75"]]


def test_tables_that_have_nothing_to_say_are_left_out(parts):
    assert [table.title for table in overview({"b": parts["b"]})] == [
        "normalized performance",
        "forgetting",
        "forward transfer",
        "memory",
    ]


def test_a_recipe_without_a_sequence_is_refused(parts):
    recipe, runs = recipe_of(*panels())
    with pytest.raises(ValueError, match="Toy has no sequence of tasks; leave it out"):
        overview({**parts, "toy": Part(recipe, runs, compare(recipe, runs))})


def test_the_page(parts, tmp_path):
    page = write_overview("toy_all", "pliant reproduce toy --scenario all", parts, tmp_path)
    text, said = page.read_text(), read_front_matter(page)
    assert (said.title, said.scale) == (
        "Toys: 2 sequences of tasks",
        "10 steps; published 100 / 10 steps; published 200",
    )
    assert "[a](toy_a.md), [b](toy_b.md)." in text and "### Order of methods" in text
    assert "## What falls short\n\n- Short.\n- a: Of a alone.\n\n" in text
    assert "| command | `pliant reproduce toy --scenario all` |" in text
    assert "[Toys: 2 sequences of tasks](toy_all.md)" in (tmp_path / "index.md").read_text()
    rows = pd.read_parquet(tmp_path / "toy_all.parquet")
    of_rewire = rows[(rows["method"] == "Rewire") & (rows["measure"] == "steps in trials")]
    assert of_rewire[["panel", "seed", "value"]].to_numpy().tolist() == [["a", 0, 30], ["a", 1, 34]]
