"""Episodes of trained agents: which count, what they come to, and by whom they are played."""

import pathlib
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
import uneven

from pliant import report
from pliant.experiment.configuration.reading import from_mapping
from pliant.experiment.errors import ConfigError
from pliant.experiment.evaluation.evaluate import evaluate
from pliant.experiment.evaluation.restore import Trained, load
from pliant.experiment.loops.planning import plan
from pliant.experiment.run import run

FORMS = ("uneven", "uneven_host")
STEP_SIZES = (0.5, 0.0)
LARGE = 3e38  # twice that is more than a float32 can be: who has this step size diverges
ROUNDS = 4  # 64 steps, of 2 environments with a horizon of 8
EPISODES = 401


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    """By the form, a run of three seeds, and of the two step sizes after the one that is too large."""
    folder = tmp_path_factory.mktemp("runs")
    fields = {"seeds": "3", "sweep": {"learning_rate": [LARGE, *STEP_SIZES]}, "diagnostics": []}
    with pytest.MonkeyPatch.context() as patch:
        uneven.add(patch)
        yield {form: run(plan(from_mapping({"problem": form, **fields})), folder) for form in FORMS}


class Played(NamedTuple):
    path: pathlib.Path
    trained: Trained  # who did not diverge: three seeds of either step size
    episodes: pd.DataFrame  # 401 of each in both modes
    told: list[tuple[int, int]]  # the progress of them


@pytest.fixture(scope="module", params=FORMS)
def played(paths, request):
    path, told = paths[request.param], []
    trained = load(path)
    trained = trained.only(np.flatnonzero(trained.diverged < 0))
    episodes = evaluate(trained, episodes=EPISODES, on_progress=lambda done, total: told.append((done, total)))
    return Played(path, trained, episodes, told)


def rows(episodes, **where):
    for name, value in where.items():
        episodes = episodes[episodes[name.replace("__", ".")] == value]
    return episodes


def first(episodes, number, **where):
    """The first of each member's episodes."""
    episodes = rows(episodes, **where)
    return episodes[episodes["episode"] <= number].reset_index(drop=True)


def test_what_is_told_of_an_episode(played):
    episodes, told = played.episodes, played.told
    columns = ["seed", "agent.learning_rate", "mode", "episode", "return", "length", "terminated", "truncated"]
    assert list(episodes.columns[: len(columns)]) == columns
    assert {"number", "draw"} <= set(episodes.columns)
    assert told[0] == (0, len(episodes)) and told[-1] == (len(episodes), len(episodes))
    assert told == sorted(told)
    for _, mine in first(episodes, 4).groupby(["seed", "agent.learning_rate", "mode"]):
        assert list(mine["episode"]) == [1, 2, 3, 4]
        # The first environment has episodes of 5 steps, the second of 1: each of them plays its first two.
        assert list(mine["length"]) == [5, 1, 5, 1]
        assert list(mine["number"]) == [0, 0, 1, 1]
        assert list(mine["terminated"]) == [False, True, False, True]
        assert list(mine["truncated"]) == [True, False, True, False]


def test_the_number_of_episodes_is_exact(played):
    episodes = played.episodes
    assert len(episodes) == 3 * 2 * 2 * EPISODES
    mine = rows(episodes, seed=1, agent__learning_rate=0.0, mode="greedy")
    assert list(mine["length"]) == [5, 1] * (EPISODES // 2) + [5]
    episodes = evaluate(played.trained, episodes=1, modes=["sampled"])
    assert list(episodes["length"]) == [5] * 6  # the 1 step of the second environment is over sooner, and not asked for


def test_many_episodes_take_many_steps(played):
    # 602 episodes are 301 of 5 steps, and 301 of one: more than one call of the program on the device for both.
    episodes = evaluate(played.trained.only(np.array([0])), episodes=602, modes=["sampled"])
    assert list(episodes["number"]) == list(np.repeat(np.arange(301), 2))
    assert len(set(rows(episodes, length=1)["return"])) > 295  # no noise comes again


def test_greedy_returns_are_those_of_the_checkpoint(played):
    # In 5 steps the actions are mean + 0, ..., mean + 4, rewarded by 1 more: 5 (1 + mean) + 10; in one 1 + mean.
    episodes = first(played.episodes, 4, mode="greedy")
    for seed in range(3):
        for learning_rate in STEP_SIZES:
            mean = uneven.initial_mean(seed) + ROUNDS * learning_rate
            returns = rows(episodes, seed=seed, agent__learning_rate=learning_rate)["return"]
            np.testing.assert_allclose(returns, [15 + 5 * mean, 1 + mean] * 2, rtol=1e-5)


def test_sampled_returns_differ_by_noise(played):
    episodes = first(played.episodes, 400)
    noise = rows(episodes, mode="sampled")["return"].to_numpy() - rows(episodes, mode="greedy")["return"].to_numpy()
    noise = noise / np.sqrt(rows(episodes, mode="greedy")["length"])  # of 5 steps, or of 1: standard normal
    # 2400 numbers: the mean has a standard deviation of 0.02, the standard deviation one of 0.014.
    assert abs(noise.mean()) < 0.1
    assert abs(noise.std() - 1) < 0.07
    assert noise.nunique() > 800  # members of one seed may have the same noise, others not


def test_the_same_again(played):
    again = evaluate(played.trained, episodes=5, modes=["sampled"])
    assert again.equals(first(played.episodes, 5, mode="sampled"))


def draws(episodes, **where):
    return list(rows(episodes, **where)["draw"])


def test_what_is_random_is_of_the_seed_alone(played):
    episodes = first(played.episodes, 6)
    one = draws(episodes, seed=0, agent__learning_rate=0.5, mode="greedy")
    assert len(set(one)) == 6
    # The same for whoever has the same seed, in either mode, and without the others.
    assert draws(episodes, seed=0, agent__learning_rate=0.0, mode="greedy") == one
    assert draws(episodes, seed=0, agent__learning_rate=0.5, mode="sampled") == one
    alone = evaluate(played.trained.only(np.array([3])), episodes=6, modes=["greedy"])
    assert alone["agent.learning_rate"].unique() == 0.0
    assert draws(alone) == one


def test_what_is_random_differs_by_seed_and_evaluation_and_from_the_run(played):
    several = [set(draws(first(played.episodes, 6), seed=seed)) for seed in range(3)]
    several += [set(draws(evaluate(played.trained, episodes=6, modes=["greedy"], seed=seed))) for seed in (1, 2)]
    metrics = report.load(played.path).metrics
    several.append(set(metrics[metrics["metric"] == "draw"]["value"].astype(np.float32)))
    assert len(set.union(*several)) == sum(map(len, several))


@pytest.mark.parametrize("played", ["uneven_host"], indirect=True)
def test_a_host_takes_up_what_the_run_saved(played):
    # The level rises with what is drawn: the numbers of a member's episodes of training, one for each step.
    trained, episodes = played.trained, first(played.episodes, 1, mode="greedy")
    metrics = report.load(played.path).metrics
    for seed in range(3):
        mine = rows(metrics, seed=seed, agent__learning_rate=0.5)
        # Of the 32 steps of an environment 32 episodes ended in the second; of the first 6, and 2 steps of the next.
        assert (mine["metric"] == "draw").sum() == 32 + 6
        ends, drawn = (mine[mine["metric"] == name]["value"].to_numpy() for name in ("length", "draw"))
        known = (ends * drawn).sum()
        level = trained.host["level"][trained.members.seeds == seed]
        assert level[0] == level[1]
        assert known < level[0] < known + 2
        # In its first episode of 5 steps the member draws 5 times, in the other environment 5 times, too; the level is
        # told as it is before the last of them.
        mine = rows(episodes, seed=seed, agent__learning_rate=0.5)
        assert level[0] + 4 * mine["draw"].item() < mine["level"].item() < level[0] + 4 * mine["draw"].item() + 4


def test_who_diverged_is_known(played):
    assert list(load(played.path).diverged) == [32] * 3 + [-1] * 6
    assert list(played.trained.members.swept["agent.learning_rate"]) == [0.5] * 3 + [0.0] * 3
    assert list(first(played.episodes, 1, mode="greedy")["seed"]) == [0, 1, 2, 0, 1, 2]


@pytest.mark.parametrize(("episodes", "chosen"), [(0, [0]), (1, [])])
def test_nothing_to_play(played, episodes, chosen):
    with pytest.raises(ConfigError, match=rf"^episodes={episodes} of {len(chosen)} members: there is nothing to play"):
        evaluate(played.trained.only(np.array(chosen, int)), episodes=episodes)
