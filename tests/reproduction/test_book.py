"""Pages of the results book, from runs that were written down by hand."""

import io
import re

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image
from toy_recipe import CONFIG, ENVIRONMENT, a_run, panels, recipe_of

from pliant.report.recipe import Evaluation, Line, Scale
from pliant.reproduction import book, compare, write_book
from pliant.reproduction.index import FrontMatter, read_front_matter
from pliant.reproduction.provenance import provenance_of

EVALUATION = Evaluation(
    title="Toys elsewhere",
    shows="How the toys act elsewhere.",
    lines=(Line("ours", CONFIG),),
    envs=("home", "away"),
    episodes=2,
    published={"ours": {"home": 0.5, "away": 2.0}},
    falls_short=("The toys are small.",),
)


def episodes():
    """Of two seeds, two in each environment; means over seeds of 0.5 at home and 0.25 away."""
    returns = {"home": [0.5, 0.5, 0.5, 0.5], "away": [0.5, 0.0, 0.5, 0.0]}
    return pd.DataFrame(
        [
            {"label": "ours", "env": env, "seed": i // 2, "return": r, "success": float(r > 0), "length": 10}
            for env, of_env in returns.items()
            for i, r in enumerate(of_env)
        ]
    )


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes the book of the toys, and gives the folder and the paths of the pages."""
    monkeypatch.setattr(book, "revision", lambda: "fedcba9876543210+")
    monkeypatch.setattr(book.time, "strftime", lambda form: "2026-11-30")

    def write():
        recipe, runs = recipe_of(
            *panels(), scale=Scale(12, 100, 2, 30), step_by_step=True, evaluations={"toy_transfer": EVALUATION}
        )
        figures = compare(recipe, runs)
        folder = tmp_path / "docs" / "results"
        command = "pliant reproduce toy --scale 0.12"
        return folder, write_book(recipe, command, runs, figures, {"toy_transfer": episodes()}, folder)

    return write


def test_a_page_of_a_figure(write):
    folder, (page, _) = write()
    assert page == folder / "toy.md"
    text = re.sub(" +", " ", page.read_text())
    assert read_front_matter(page) == FrontMatter(
        title="Toy",
        command="pliant reproduce toy --scale 0.12",
        scale="12 steps; published 100",
        seeds="2; published 30",
        date="2026-11-27",
        commit="0123456789abcdef",
        source="reproduce",
    )
    for part in (
        "# Toy\n\nHow a toy learns.\n\n![Return, Fraction](toy.png)\n\nMean over seeds, and each seed thin",
        "| Return | ours | 28 (15, 40) | 28 | 25 | 90 (80, 100) | 90 | 200 |",
        "### Step by step",
        "A note.\n",
        "## What falls short\n\n- Scaled down: 12 of the published 100 steps; 2 seeds, published 30.",
        "| command | `pliant reproduce toy --scale 0.12` |",
        "| commit | 0123456789abcdef |",
        "| date | 2026-11-27 |",
        "| wall time | 90 seconds for one run |",
        "| versions | Python 3.11.7, pliant 0.1.0, jax 0.10.2, mujoco 3.17.0 |",
        "| machine | A processor, 2 cores |",
        "| runs | `toy-sgd-0a1b2c3d` |",
        "| page | written on 2026-11-30 by fedcba9876543210+ |",
        "| rows | [toy.parquet](toy.parquet): `panel`, `method`,",
    ):
        assert part in text, part
    picture = Image.open(io.BytesIO((folder / "toy.png").read_bytes()))
    assert picture.mode == "P" and picture.width > 1000


@pytest.mark.parametrize(("most", "resolution"), [(10**9, 180), (0, 100)])
def test_a_large_picture_has_fewer_dots(monkeypatch, most, resolution):
    monkeypatch.setattr(book, "_MOST_BYTES", most)
    assert Image.open(io.BytesIO(book._png(Figure(figsize=(2, 1))))).size == (2 * resolution, resolution)


def test_rows_read_back_to_the_numbers_of_the_table(write):
    folder, _ = write()
    rows = pd.read_parquet(folder / "toy.parquet")
    last = rows[(rows["panel"] == "Return") & (rows["step"] == 12)]
    assert dict(zip(last["seed"], last["value"])) == {0: 80, 1: 100}  # 90 (80, 100)
    played = pd.read_parquet(folder / "toy_transfer.parquet")
    pd.testing.assert_frame_equal(played.astype({"return": float, "success": float}), episodes())


def test_a_page_of_an_evaluation_has_no_figure(write):
    folder, (_, page) = write()
    text = page.read_text()
    assert page == folder / "toy_transfer.md"
    assert "# Toys elsewhere\n\nHow the toys act elsewhere.\n\n## Results\n" in text
    assert "\n- The toys are small.\n" in text
    assert not (folder / "toy_transfer.png").exists()


def test_written_again_a_page_is_the_same_and_keeps_its_remarks(write):
    folder, (page, _) = write()
    page.write_text(f"{page.read_text()}\n## Remarks\n\nBy hand.\n")
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    write()
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before


def test_the_index_has_all_pages(write):
    folder, _ = write()
    lines = (folder / "index.md").read_text().splitlines()
    assert lines[-2:] == [
        "| [Toy](toy.md) | 12 steps; published 100 | 2; published 30 | `0123456` | 2026-11-27 |  |",
        "| [Toys elsewhere](toy_transfer.md) | 12 steps; published 100 | 2; published 30 | `0123456` | 2026-11-27 |  |",
    ]


def test_runs_of_two_programs_have_both_commits():
    runs = [a_run(), a_run(name="another", git="fedc+", started="2026-11-28T00:01:00+0000"), a_run()]
    provenance = provenance_of(runs)
    assert (provenance.commit, provenance.date) == ("0123456789abcdef; fedc+", "2026-11-28")
    assert (provenance.seconds, provenance.runs) == (180.0, ("toy-sgd-0a1b2c3d", "another"))


def test_what_a_run_did_not_record_is_unknown():
    run = a_run(git=None, cpu="unknown", versions={})
    assert provenance_of([run])[:2] == ("unknown", ENVIRONMENT["started"][:10])
    assert provenance_of([run]).versions == "Python 3.11.7"


def test_a_long_figure_keeps_every_kth_bin_and_the_bins_of_the_table():
    steps = np.tile(np.arange(10, 101, 10), 2)  # ten bins of two seeds
    rows = pd.DataFrame({"panel": "p", "method": "m", "measure": "y", "seed": np.repeat([0, 1], 10), "step": steps})
    assert book.thinned(rows, (), most=20) is rows
    # 20 rows are to be 7: every third bin, 10, 40, 70 and 100, and that of the paper's number.
    few = book.thinned(rows, {50}, most=7)
    assert few["step"].tolist() == [10, 40, 50, 70, 100] * 2
    assert book.thinned(rows, (), most=10)["step"].tolist() == [10, 30, 50, 70, 90, 100] * 2  # the last, too
