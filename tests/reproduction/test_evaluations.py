"""What the trained agents of a recipe come to."""

import pandas as pd
import pytest

from pliant.report import Estimate
from pliant.report.recipe import Contrast, Evaluation, Line
from pliant.reproduction import evaluations, run_of

LINES = (
    Line("plain", {"problem": "minigrid_doorkey", "seeds": "3"}),
    Line("fast", {"problem": "minigrid_doorkey", "seeds": "3-5"}),
)


def evaluation(**settings):
    given = {
        "title": "Transfer",
        "shows": "Agents act elsewhere.",
        "lines": LINES,
        "envs": ("short", "long"),
        "episodes": 4,
        "published": {"fast": {"long": 0.5}},
        "contrasts": (Contrast("fast", "plain", "long", 0.1), Contrast("fast", "plain", "short")),
        "notes": ("A note.",),
    }
    return Evaluation(**{**given, **settings})


def played(label, env, seed, returns):
    """Episodes that succeed where there is a return; each has ten times its number of steps."""
    return [
        {"label": label, "env": env, "seed": seed, "return": r, "success": float(r > 0), "length": 10 * (i + 1)}
        for i, r in enumerate(returns)
    ]


@pytest.fixture
def episodes():
    rows = [
        *played("plain", "long", 0, [0.2, 0.0]),  # mean 0.1, half of them succeed
        *played("plain", "long", 1, [0.4, 0.2]),  # 0.3
        *played("fast", "long", 0, [0.5, 0.5]),  # 0.5: 0.4 more
        *played("fast", "long", 1, [0.5, 0.0]),  # 0.25: 0.05 less
        *[row for label in ("plain", "fast") for seed in (0, 1) for row in played(label, "short", seed, [1.0, 1.0])],
    ]
    return pd.DataFrame(rows)


def test_a_row_for_each_line_and_env(episodes):
    table = evaluations.table_of(evaluation(), episodes)
    assert table.columns[:2] == ["method", "env"]
    assert [tuple(row[:2]) for row in table.rows] == [
        ("plain", "short"), ("plain", "long"), ("fast", "short"), ("fast", "long"),
    ]  # fmt: skip
    _, _, success, mean_return, paper, length, failures = table.rows[1]
    assert isinstance(success, Estimate)
    # Seeds 0.5 and 1.0, 0.1 and 0.3, 15 and 15 steps.
    assert (success.value, mean_return.value, length.value) == pytest.approx((0.75, 0.2, 15))
    assert success.points.tolist() == [0.5, 1.0]
    assert (paper, failures) == (None, "1 of 4")
    assert (table.rows[3][4], table.rows[3][6]) == (0.5, "1 of 4")


def test_short_episodes_come_in_more_often_as_the_paper_counts():
    # Of one environment everything counts in order: returns 1 and 0 in equal parts. In many side by side the first to
    # be over are the short ones, all of which succeed.
    rows = [*played("plain", "long", 0, [1.0, 0.0]), *played("plain", "long", 1, [1.0, 0.0])]
    both = pd.DataFrame(
        [{**row, "label": line.label, "env": env} for row in rows for line in LINES for env in ("long", "short")]
    )
    for num_envs, low, high in ((1, 0.45, 0.55), (100, 0.99, 1.0)):
        table = evaluations.table_of(evaluation(side_by_side=num_envs, contrasts=()), both)
        assert table.columns[4] == "as the paper counts"
        assert all(low <= row[4].value <= high for row in table.rows)
        assert f"the first 4 episodes to end in {num_envs} environments" in table.notes[0]


def test_contrasts_go_seed_by_seed(episodes):
    _, with_claim, without, *notes = evaluations.table_of(evaluation(), episodes).notes
    # Differences of the returns 0.4 and -0.05; of the successes 0.5 and -0.5.
    assert with_claim == (
        "fast minus plain on long, seed by seed: return +0.175 (+0.400, -0.050), success +0.000 (+0.500, -0.500), a "
        "higher return in 1 of 2 seeds; the paper claims a return of +0.10."
    )
    assert without.endswith("a higher return in 0 of 2 seeds.")
    assert notes == ["A note."]


def test_returns_of_the_paper_outside_the_interval_fall_short():
    # Five seeds that are all alike on "long", where the paper has 0.5; of two seeds there is no interval.
    for seeds, sentences in ((2, 0), (5, 1)):
        rows = [row for line in LINES for seed in range(seeds) for row in played(line.label, "long", seed, [0.25])]
        found = evaluations.shortfalls_of(evaluation(), pd.DataFrame(rows))
        assert len(found) == sentences
    assert found[0].endswith("1 of 1: fast on long (paper 0.50, ours 0.25 [0.25, 0.25]).")


def test_the_agents_of_each_line_act_in_each_env(tmp_path, monkeypatch):
    class Trained:
        """The agents of a run, which the functions below hand on."""

        def __init__(self, directory, seeds, env=None):
            self.directory, self.members, self.env = directory, seeds, env

    def evaluate(trained, *, episodes, modes, on_progress):
        assert (episodes, modes) == (4, ("sampled",))
        for done in range(0, 4 * len(trained.members) + 1, 4):
            on_progress(done, 4 * len(trained.members))
        rows = [(seed, i, 1.0 if trained.env == "long" else 0.5) for seed in trained.members for i in (1, 2, 3, 4)]
        return pd.DataFrame(rows, columns=["seed", "episode", "return"]).assign(directory=trained.directory.name)

    monkeypatch.setattr(evaluations, "load", lambda directory, seeds: Trained(directory, seeds))
    monkeypatch.setattr(evaluations, "transfer", lambda of, env: Trained(of.directory, of.members, env))
    monkeypatch.setattr(evaluations, "evaluate", evaluate)
    progress = []
    directories = {run_of(line): tmp_path / line.label for line in LINES}
    episodes = evaluations.episodes_of(evaluation(), directories, lambda done, total: progress.append((done, total)))
    assert list(episodes.columns) == ["label", "env", "seed", "episode", "return", "directory"]
    # Seeds 0 to 2 of the one line, 3 to 5 of the other, four episodes in either env.
    assert (episodes["label"] == episodes["directory"]).all()
    counts = episodes.groupby(["label", "env", "seed"])["return"].agg(["count", "max"])
    assert counts.index.tolist() == [
        (label, env, seed)
        for label, seeds in (("fast", (3, 4, 5)), ("plain", (0, 1, 2)))
        for env in ("long", "short")
        for seed in seeds
    ]
    assert (counts["count"] == 4).all()
    assert counts["max"].groupby("env").max().to_dict() == {"short": 0.5, "long": 1.0}
    # The number of episodes of all: 2 lines x 2 envs x 3 seeds x 4.
    assert progress == [(12 * k + 4 * i, 48) for k in range(4) for i in range(4)]
