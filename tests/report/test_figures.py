import dataclasses

import matplotlib as mpl
import numpy as np
import pytest

from pliant.report import Curve, Panel, Reference, plot

NAN = float("nan")


def curve(label, **changes):
    x = np.arange(5) * 1000
    return Curve(label, x, x / 10.0, x / 10.0 - 20, x / 10.0 + 20, np.full(5, 3), **changes)


def test_plot_saves_both_kinds_and_the_same_each_time(tmp_path):
    before = dict.copy(mpl.rcParams)  # not rcParams.copy(): to look at rcParams["backend"] chooses one
    saved = []
    for name in ("a/step-0.01", "b/step-0.01.png", "c/step-0.01.pdf"):
        file = tmp_path / name
        plot([Panel([curve("a"), curve("b")], "error")], file)
        saved.append({file.name: file.read_bytes() for file in file.parent.iterdir()})
    assert saved[0] == saved[1] == saved[2]
    assert saved[0].keys() == {"step-0.01.png", "step-0.01.pdf"}
    assert saved[0]["step-0.01.png"].startswith(b"\x89PNG")
    assert saved[0]["step-0.01.pdf"].startswith(b"%PDF")
    assert dict.copy(mpl.rcParams) == before  # matplotlib is left as it was


def test_plot_draws_curves_bands_and_references():
    references = [Reference("paper", 100.0), Reference("paper", [0, 100], x=[0, 1000], of="b")]
    figure = plot([Panel([curve("a"), curve("b", diverged=1, total=3)], "error (%)", "examples", "ReLU", references)])
    (axis,) = figure.axes
    assert (axis.get_xlabel(), axis.get_ylabel(), axis.get_title("left")) == ("examples", "error (%)", "ReLU")
    first, second, dashed, markers = axis.lines
    assert len(axis.collections) == 2  # the bands
    np.testing.assert_array_equal(first.get_ydata(), [0, 100, 200, 300, 400])
    assert set(dashed.get_ydata()) == {100.0}
    assert markers.get_color() == second.get_color() != first.get_color()
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["a", "b (1 of 3 diverged)", "paper"]


def test_plot_marks_where_something_else_begins():
    marks = {0: "5x5", 2500: "6x6"}
    figure = plot([Panel([curve("a")], "return", marks=marks), Panel([curve("a")], "return")])
    marked, plain = figure.axes
    assert [list(line.get_xdata()) for line in marked.lines[1:]] == [[0, 0], [2500, 2500]]
    assert [(text.get_text(), text.xy) for text in marked.texts] == [("5x5", (0, 0)), ("6x6", (2500, 0))]
    assert len(plain.lines) == 1 and not plain.texts
    # They are no curves: the legend does not speak of them, and the panel is as wide as without.
    assert not figure.legends and marked.get_xlim() == pytest.approx(plain.get_xlim())


def test_long_names_of_tasks_stand_upright():
    short, long = ({0: "5x5", 2500: "6x6"}, {0: "carry_stuff_hugegravity", 2500: "defective_module_rainfall"})
    figure = plot([Panel([curve("a")], "return", marks=marks) for marks in (short, long)])
    assert [[text.get_rotation() for text in axis.texts] for axis in figure.axes] == [[0, 0], [90, 90]]


def test_a_label_has_one_colour_in_all_panels():
    figure = plot([Panel([curve("a"), curve("b")], "error"), Panel([curve("b")], "error")], note="4 seeds")
    left, right = figure.axes
    assert right.lines[0].get_color() == left.lines[1].get_color()
    assert figure.legends[0].get_title().get_text() == "4 seeds"


def test_many_curves_still_have_colours_of_their_own():
    figure = plot([Panel([curve(str(i)) for i in range(12)], "error")])
    assert len({tuple(line.get_color()) for line in figure.axes[0].lines}) == 12


def test_plot_draws_what_there_is():
    # A gap does not break the line; few points have markers; an interval of one seed is no band; nothing is nothing.
    gap = Curve(
        "gap", np.arange(15), np.array([1.0, NAN, *[3.0] * 13]), np.full(15, NAN), np.full(15, NAN), np.ones(15)
    )
    point = Curve("point", np.arange(1), np.array([1.0]), np.array([0.5]), np.array([1.5]), np.ones(1))
    none = Curve("none", np.arange(2), np.full(2, NAN), np.full(2, NAN), np.full(2, NAN), np.zeros(2))
    figure = plot([Panel([gap, point, none], "error", y_limits=(0, 4), x_limits=(0, 2))] * 4)
    assert len(figure.axes) == 4  # the two places left over in the second row are empty
    lines = figure.axes[0].lines
    np.testing.assert_array_equal(lines[0].get_ydata(), [1.0, *[3.0] * 13])
    assert [line.get_marker() for line in lines] == ["", "o", "o"]
    assert figure.axes[0].get_ylim() == (0, 4)


def test_without_an_interval_each_seed_has_a_thin_line():
    each = np.array([[1.0, 2.0], [3.0, 4.0]])
    few = Curve("few", np.arange(2), each.mean(0), np.full(2, NAN), np.full(2, NAN), np.full(2, 2), total=2, each=each)
    mean, *thin = plot([Panel([few], "error")]).axes[0].lines
    np.testing.assert_array_equal([line.get_ydata() for line in thin], each)
    assert all(line.get_linewidth() < mean.get_linewidth() for line in thin)
    many = dataclasses.replace(few, low=each[0], high=each[1])
    assert len(plot([Panel([many], "error")]).axes[0].lines) == 1


def test_plot_needs_a_panel():
    with pytest.raises(ValueError, match="plot got no panels"):
        plot([])
