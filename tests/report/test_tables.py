import io

import numpy as np
import pytest
from rich.console import Console

from pliant.report import Estimate, Table, format_cell

NAN = float("nan")
TABLE = Table(
    "Slowly changing regression",
    ["method", "error", "paper"],
    [["backprop", Estimate(1.304, 1.262, 1.347, 100), 1.3], ["a|b [1]", Estimate(0.5, NAN, NAN, 1), None]],
    ["mean of 100 seeds"],
)


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (Estimate(0.58, 0.55, 0.61), "0.58 [0.55, 0.61]"),  # half-width 0.03: two decimals
        (Estimate(0.5803, 0.5743, 0.5863), "0.580 [0.574, 0.586]"),  # half-width 0.006: three
        (Estimate(4901.3, 4799.6, 5003.0), "4901 [4800, 5003]"),  # half-width 100: none
        (Estimate(94.649, 94.13, 95.17), "94.6 [94.1, 95.2]"),
        (Estimate(-0.02, -0.05, 0.01), "-0.02 [-0.05, 0.01]"),
        (Estimate(2.31e-6, 2.11e-6, 2.51e-6), "2.3e-06 [2.1e-06, 2.5e-06]"),
        (Estimate(2.31e7, 2.11e7, 2.51e7), "2.3e+07 [2.1e+07, 2.5e+07]"),
        (Estimate(2.0, 2.0, 2.0), "2"),  # seeds that are all alike
        (Estimate(0.123456), "0.1235"),  # one seed
        (Estimate(0.55, NAN, NAN, 2, np.array([0.52, NAN, 0.58])), "0.55 (0.52, 0.58)"),  # two, and one that diverged
        (Estimate(2.0, NAN, NAN, 2, np.array([2.0, 2.0])), "2"),
        (Estimate(NAN), "-"),
        (NAN, "-"),
        (0.123456, "0.1235"),
        (12, "12"),
        ("redo", "redo"),
        (None, ""),
    ],
)
def test_format_cell(cell, text):
    assert format_cell(cell) == text


def test_markdown():
    assert TABLE.to_markdown() == (
        "### Slowly changing regression\n"
        "\n"
        "| method   |             error | paper |\n"
        "| -------- | ----------------: | ----: |\n"
        "| backprop | 1.30 [1.26, 1.35] |   1.3 |\n"
        "| a\\|b [1] |               0.5 |       |\n"
        "\n"
        "mean of 100 seeds\n"
    )


def test_csv_keeps_all_digits():
    assert TABLE.to_csv() == (
        "method,error,error low,error high,paper\nbackprop,1.304,1.262,1.347,1.3\na|b [1],0.5,,,\n"
    )


def test_terminal_prints_brackets_as_they_are():
    console = Console(file=io.StringIO(), width=100)
    TABLE.to_terminal(console)
    text = console.file.getvalue()
    for words in ("Slowly changing regression", "1.30 [1.26, 1.35]", "a|b [1]", "mean of 100 seeds"):
        assert words in text


@pytest.mark.parametrize("width", [20, 70])
def test_terminal_breaks_no_word_and_no_number(width):
    console = Console(file=io.StringIO(), width=width)
    rows = [["both", "policy/Dense_1/kernel of both", Estimate(0.053743, 0.053729, 0.053757, 2)]]
    Table("Weights", ["network", "weights", "value"], rows).to_terminal(console)
    lines = console.file.getvalue().splitlines()
    # A word of 7 and one of 21 characters and an estimate of 29, two spaces between them and one at the end.
    rest = " of both" if width == 70 else ""
    assert f"both     policy/Dense_1/kernel{rest}  0.053743 [0.053729, 0.053757]" in [line.rstrip() for line in lines]
    assert max(map(len, lines)) == 7 + 2 + 21 + len(rest) + 2 + 29 + 1


def test_terminal_by_default_is_standard_output(capsys):
    Table("empty", ["a"], []).to_terminal()
    assert "empty" in capsys.readouterr().out


def test_a_row_has_a_cell_for_each_column():
    with pytest.raises(ValueError, match="table 't' has 2 columns, but a row of 1 cells"):
        Table("t", ["a", "b"], [[1]])


def test_width_and_fewer_columns():
    # "Slowly ..." is the title; the columns have 8, 17 and 5 characters, and two blanks between.
    assert TABLE.width == 8 + 2 + 17 + 2 + 5 + 2
    less = TABLE.without("error")
    assert (list(less.columns), [list(row) for row in less.rows]) == (
        ["method", "paper"],
        [["backprop", 1.3], ["a|b [1]", None]],
    )
