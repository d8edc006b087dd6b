import numpy as np
import pytest

from pliant.report import HeatMap, plot_heat_maps

NAN = np.nan


def heat_map(values, **changes):
    values = np.array(values, float)
    names = [[f"{kind}{index}" for index in range(length)] for kind, length in zip("rc", values.shape)]
    return HeatMap(values, *names, **{"title": "a", "quantity": "return", **changes})


def test_numbers_stand_in_their_cells():
    figure = plot_heat_maps([heat_map([[-0.001, 0.5], [NAN, 2.25]], framed=[(0, 1)], x_label="tasks learned")])
    axis, bar = figure.axes
    texts = {text.get_position(): text.get_text() for text in axis.texts}  # (column, row)
    assert texts == {(0, 0): "0.00", (1, 0): "0.50", (1, 1): "2.25"}
    assert [tick.get_text() for tick in axis.get_yticklabels()] == ["r0", "r1"]
    assert [tick.get_text() for tick in axis.get_xticklabels()] == ["c0", "c1"]
    assert (axis.get_title("left"), axis.get_xlabel(), bar.get_ylabel()) == ("a", "tasks learned", "return")
    (frame,) = axis.patches
    assert frame.get_xy() == (0.5, -0.5)
    assert np.ma.getmaskarray(axis.images[0].get_array())[1, 0]


@pytest.mark.parametrize(("largest", "text"), [(999.6, "1000"), (99.96, "100.0"), (9.996, "10.00")])
def test_a_number_has_about_four_digits(largest, text):
    figure = plot_heat_maps([heat_map([[largest]])])
    assert figure.axes[0].texts[0].get_text() == text


def test_one_quantity_has_one_scale_of_colours():
    maps = [heat_map([[0, 1]]), heat_map([[2, 4]]), heat_map([[NAN, NAN]], quantity="success")]
    figure = plot_heat_maps(maps, note="mean over seeds")
    limits = [axis.images[0].get_clim() for axis in figure.axes if axis.images]
    assert limits == [(0, 4), (0, 4), (0, 1)]


def test_many_tasks_have_colours_without_numbers():
    figure = plot_heat_maps([heat_map(np.eye(100))])
    axis = figure.axes[0]
    assert not axis.texts and [tick.get_text() for tick in axis.get_yticklabels()][:2] == ["r0", "r4"]
    assert figure.get_figheight() < 8


def test_the_same_numbers_give_the_same_files(tmp_path):
    for name in ("a", "b"):
        plot_heat_maps([heat_map([[1, 2]])], tmp_path / f"{name}.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert (tmp_path / "a.pdf").read_bytes() == (tmp_path / "b.pdf").read_bytes()
