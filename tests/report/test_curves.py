import matplotlib as mpl
import numpy as np
import pytest

from pliant.report import Curve, Panel, Reference, bootstrap_interval, curves_of, load, plot

NAN = float("nan")


def curve(label, **changes):
    x = np.arange(5) * 1000
    return Curve(label, x, x / 10.0, x / 10.0 - 20, x / 10.0 + 20, np.full(5, 3), **changes)


def test_a_curve_for_each_value_of_a_setting(sweep):
    small, large = curves_of(load(sweep), "error")
    assert (small.label, large.label) == ("learning rate 0.01", "learning rate 0.1")
    np.testing.assert_array_equal(small.x, [1, 2, 3, 4])
    # Seeds 0..3 begin at their number and climb by one: the mean begins at 1.5.
    np.testing.assert_array_equal(small.estimate, [1.5, 2.5, 3.5, 4.5])
    # Of 0, 10, 20, 30, the last is left out from step 3 on.
    np.testing.assert_array_equal(large.estimate, [15.0, 15.0, 10.0, 10.0])
    np.testing.assert_array_equal(large.members, [4, 4, 3, 3])
    assert (small.diverged, small.total) == (0, 4)
    assert (large.diverged, large.total) == (1, 4)
    interval = bootstrap_interval([0.0, 10.0, 20.0])
    np.testing.assert_array_equal([large.low[3], large.high[3]], [interval.low, interval.high])


def test_bins_are_taken_member_by_member(sweep):
    small, large = curves_of(load(sweep), "error", bin=2)
    np.testing.assert_array_equal(small.x, [0, 2])
    np.testing.assert_array_equal(small.estimate, [2.0, 4.0])
    np.testing.assert_array_equal(large.estimate, [15.0, 10.0])
    (small, _) = curves_of(load(sweep), "error", bin=3)  # step 4 is a remainder
    np.testing.assert_array_equal(small.estimate, [2.5])


def test_returns_in_bins_that_end_where_they_stand(episodes):
    (curve,) = curves_of(load(episodes), "return", bin=5, edge="right")
    np.testing.assert_array_equal(curve.x, [5, 10, 15, 20])
    # Seed 0: (1 + 3) / 2, none, 5, (7 + 9) / 2. Seed 1: none, 10, none, 30. Seed 2: (4 + 6) / 2, none, 8, none.
    np.testing.assert_array_equal(curve.estimate, [(2 + 5) / 2, 10, (5 + 8) / 2, (8 + 30) / 2])
    np.testing.assert_array_equal(curve.members, [2, 1, 2, 2])
    assert (curve.diverged, curve.total) == (1, 3)
    (curve,) = curves_of(load(episodes), "return", bin=5)
    np.testing.assert_array_equal(curve.x, [0, 5, 10, 15])


def test_a_member_without_any_row_is_counted(write_run, rows_of):
    rows = [*rows_of("loss", {0: [1], 1: [2]}), *rows_of("return", {0: [5]})]
    (curve,) = curves_of(load(write_run(rows, ends=(1,))), "return")
    assert (curve.members[0], curve.total) == (1, 2)


def test_the_largest_of_a_block(sweep):
    small, _ = curves_of(load(sweep), "error", bin=2, within="max")
    # Seeds s of 0 to 3 have s, s + 1, s + 2, s + 3: the largest of two are s + 1 and s + 3.
    np.testing.assert_array_equal(small.estimate, [2.5, 4.5])


@pytest.mark.parametrize("bin", [None, 2])
def test_several_groups_of_units(sweep, bin):
    small, _ = curves_of(load(sweep), "dormant", group=("Dense_0", "Dense_1"), bin=bin)
    np.testing.assert_array_equal(small.estimate, [(0 + 0.25) / 2, (0.5 + 0.75) / 2])


def test_the_largest_mean_of_groups_and_a_group_that_is_nan(write_run, rows_of):
    first, second = {0: [9, 1, 1, NAN], 1: [0, 0, 0, 0]}, {0: [1, 2, 3, 4], 1: [0, 8, 0, 2]}
    rows = [*rows_of("change", first, "a"), *rows_of("change", second, "b"), *rows_of("change", first, "c")]
    # Seed 0: means 5, 1.5, 2, NaN, so the largest are 5 and NaN; seed 1: 0, 4, 0, 1.
    (curve,) = curves_of(load(write_run(rows, ends=(4,))), "change", group=["a", "b"], bin=2, within="max")
    np.testing.assert_array_equal(curve.estimate, [(5 + 4) / 2, 1])
    np.testing.assert_array_equal(curve.members, [2, 1])


def test_interquartile_mean_and_standard_error(sweep):
    run = load(sweep)
    # Of 0, 10, 20, 30 the outer two go; of three, none.
    np.testing.assert_array_equal(curves_of(run, "error", statistic="iqm")[1].estimate, [15.0, 15.0, 10.0, 10.0])
    large = curves_of(run, "error", band="standard_error")[1]
    # Deviations of 0, 10, 20, 30: variance 125, error sqrt(125 / 4).
    np.testing.assert_allclose(large.high[:2] - large.estimate[:2], np.sqrt(125 / 4))
    np.testing.assert_allclose(large.estimate[:2] - large.low[:2], np.sqrt(125 / 4))


def test_settings_left_out_join_the_seeds(sweep):
    (joined,) = curves_of(load(sweep), "error", by=(), label="both")
    assert joined.label == "both"
    assert joined.total == 8
    assert joined.estimate[0] == (0 + 1 + 2 + 3 + 0 + 10 + 20 + 30) / 8


def test_a_group_of_units(sweep):
    (curve, _) = curves_of(load(sweep), "dormant", group="Dense_1", label="ReDo")
    assert curve.label == "ReDo learning rate 0.01"
    np.testing.assert_array_equal(curve.x, [2, 4])
    np.testing.assert_array_equal(curve.estimate, [0.25, 0.75])


def test_a_run_without_a_sweep_and_with_one_seed(write_run, rows_of):
    (curve,) = curves_of(load(write_run([*rows_of("error", {0: [1, 2]})], ends=(2,))), "error")
    assert curve.label == "toy-0123abcd"
    np.testing.assert_array_equal(curve.estimate, [1.0, 2.0])
    assert np.isnan(curve.low).all()


def test_settings_of_the_same_ending_keep_their_whole_names(write_run):
    rows = [
        {"seed": 0, "actor.width": 1.0, "critic.width": w, "step": 1, "metric": "m", "group": "", "value": w}
        for w in (2.0, 3.0)
    ]
    labels = [curve.label for curve in curves_of(load(write_run(rows, ends=(1,))), "m")]
    assert labels == ["actor.width 1, critic.width 2", "actor.width 1, critic.width 3"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"metric": "loss"}, "no metric 'loss'; it recorded: diverged, dormant, error"),
        ({"metric": "dormant"}, "'dormant' of the group ''; write group= one of: 'Dense_0', 'Dense_1'"),
        ({"metric": "error", "by": ["width"]}, "'width' was not swept in this run; it swept: agent.learning_rate"),
        ({"metric": "error", "bin": 5}, "bin=5 does not fit a run of 4 steps"),
        ({"metric": "error", "statistic": "median"}, "statistic='median' is not known; write one of: mean, iqm"),
        ({"metric": "error", "band": "range"}, "band='range' is not known; write one of: bootstrap, standard_error"),
        ({"metric": "error", "edge": "middle"}, "edge='middle' is not known; write one of: left, right"),
        ({"metric": "error", "within": "min"}, "within='min' is not known; write one of: mean, max"),
        (
            {"metric": "dormant", "group": ("Dense_0", "x")},
            "'dormant' of the group 'x'; write group= one of: 'Dense_0'",
        ),
        ({"metric": "error", "band": "standard_error", "statistic": "iqm"}, "not of 'iqm'"),
    ],
)
def test_refuses(sweep, arguments, message):
    with pytest.raises(ValueError, match=message):
        curves_of(load(sweep), **arguments)


@pytest.mark.parametrize("ending", ["", ".png", ".pdf"])
def test_plot_saves_both_kinds(tmp_path, ending):
    plot([Panel([curve("a")], "error")], tmp_path / "figures" / f"step-0.01{ending}")
    png, pdf = tmp_path / "figures" / "step-0.01.png", tmp_path / "figures" / "step-0.01.pdf"
    assert png.read_bytes().startswith(b"\x89PNG")
    assert pdf.read_bytes().startswith(b"%PDF")


def test_plot_makes_the_same_file_twice(tmp_path):
    for name in ("a", "b"):
        plot([Panel([curve("a"), curve("b")], "error")], tmp_path / name)
    for ending in (".png", ".pdf"):
        assert (tmp_path / f"a{ending}").read_bytes() == (tmp_path / f"b{ending}").read_bytes()


def test_plot_leaves_matplotlib_as_it_was(tmp_path):
    before = dict.copy(mpl.rcParams)  # not rcParams.copy(): to look at rcParams["backend"] chooses one
    plot([Panel([curve("a")], "error")], tmp_path / "figure")
    assert dict.copy(mpl.rcParams) == before


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


def test_a_label_has_one_colour_in_all_panels():
    figure = plot([Panel([curve("a"), curve("b")], "error"), Panel([curve("b")], "error")], note="4 seeds")
    left, right = figure.axes
    assert right.lines[0].get_color() == left.lines[1].get_color()
    assert figure.legends[0].get_title().get_text() == "4 seeds"


def test_many_curves_still_have_colours_of_their_own():
    figure = plot([Panel([curve(str(i)) for i in range(12)], "error")])
    assert len({tuple(line.get_color()) for line in figure.axes[0].lines}) == 12


def test_plot_draws_what_there_is():
    # A gap does not break the line; one point is a marker; an interval of one seed is no band; nothing is nothing.
    gap = Curve("gap", np.arange(3), np.array([1.0, NAN, 3.0]), np.full(3, NAN), np.full(3, NAN), np.ones(3))
    point = Curve("point", np.arange(1), np.array([1.0]), np.array([0.5]), np.array([1.5]), np.ones(1))
    none = Curve("none", np.arange(2), np.full(2, NAN), np.full(2, NAN), np.full(2, NAN), np.zeros(2))
    figure = plot([Panel([gap, point, none], "error", y_limits=(0, 4), x_limits=(0, 2))] * 4)
    assert len(figure.axes) == 4  # the two places left over in the second row are empty
    lines = figure.axes[0].lines
    np.testing.assert_array_equal(lines[0].get_ydata(), [1.0, 3.0])
    assert [line.get_marker() for line in lines] == ["", "o", ""]
    assert figure.axes[0].get_ylim() == (0, 4)


def test_plot_needs_a_panel():
    with pytest.raises(ValueError, match="plot got no panels"):
        plot([])
