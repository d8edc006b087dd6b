"""Episodes of trained agents: which count, what they come to, and by whom they are played."""

import numpy as np
import pytest
import uneven

from pliant import report
from pliant.experiment.configuration.reading import from_mapping
from pliant.experiment.errors import ConfigError
from pliant.experiment.evaluation.evaluate import evaluate
from pliant.experiment.evaluation.restore import load
from pliant.experiment.loops.planning import plan
from pliant.experiment.run import run

FORMS = ("uneven", "uneven_host")
STEP_SIZES = (0.5, 0.0)
ROUNDS = 4  # 64 steps, of 2 environments with a horizon of 8


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    """By the form, a run of three seeds and two step sizes."""
    folder = tmp_path_factory.mktemp("runs")
    fields = {"seeds": "3", "sweep": {"learning_rate": STEP_SIZES}, "diagnostics": []}
    with pytest.MonkeyPatch.context() as patch:
        uneven.add(patch)
        yield {form: run(plan(from_mapping({"problem": form, **fields})), folder) for form in FORMS}


@pytest.fixture(params=FORMS)
def path(paths, request):
    return paths[request.param]


def rows(episodes, **where):
    for name, value in where.items():
        episodes = episodes[episodes[name.replace("__", ".")] == value]
    return episodes


def test_what_is_told_of_an_episode(path):
    told = []
    episodes = evaluate(load(path), episodes=4, on_progress=lambda done, total: told.append((done, total)))
    columns = ["seed", "agent.learning_rate", "mode", "episode", "return", "length", "terminated", "truncated"]
    assert list(episodes.columns[: len(columns)]) == columns
    assert {"number", "draw"} <= set(episodes.columns)
    assert len(episodes) == 3 * 2 * 2 * 4
    assert told[0] == (0, 48) and told[-1] == (48, 48)
    assert told == sorted(told)
    for _, mine in episodes.groupby(["seed", "agent.learning_rate", "mode"]):
        assert list(mine["episode"]) == [1, 2, 3, 4]
        # The first environment has episodes of 5 steps, the second of 1: each of them plays its first two.
        assert list(mine["length"]) == [5, 1, 5, 1]
        assert list(mine["number"]) == [0, 0, 1, 1]
        assert list(mine["terminated"]) == [False, True, False, True]
        assert list(mine["truncated"]) == [True, False, True, False]


def test_the_number_of_episodes_is_exact(path):
    episodes = evaluate(load(path), episodes=3, modes=["greedy"])
    assert len(episodes) == 3 * 2 * 3
    assert list(rows(episodes, seed=1, agent__learning_rate=0.0)["length"]) == [5, 1, 5]
    episodes = evaluate(load(path), episodes=1, modes=["sampled"])
    assert list(episodes["length"]) == [5] * 6  # the 1 step of the second environment is over sooner, and not asked for


def test_many_episodes_take_many_steps(path):
    # 602 episodes are 301 of 5 steps, and 301 of one: more than one call of the program on the device for both.
    episodes = evaluate(load(path).only(np.array([0])), episodes=602, modes=["sampled"])
    assert list(episodes["number"]) == list(np.repeat(np.arange(301), 2))
    assert len(set(rows(episodes, length=1)["return"])) > 295  # no noise comes again


def test_greedy_returns_are_those_of_the_checkpoint(path):
    # In 5 steps the actions are mean + 0, ..., mean + 4, rewarded by 1 more: 5 (1 + mean) + 10; in one 1 + mean.
    episodes = evaluate(load(path), episodes=4, modes=["greedy"])
    for seed in range(3):
        for learning_rate in STEP_SIZES:
            mean = uneven.initial_mean(seed) + ROUNDS * learning_rate
            returns = rows(episodes, seed=seed, agent__learning_rate=learning_rate)["return"]
            np.testing.assert_allclose(returns, [15 + 5 * mean, 1 + mean] * 2, rtol=1e-5)


def test_sampled_returns_differ_by_noise(path):
    episodes = evaluate(load(path), episodes=400)
    noise = rows(episodes, mode="sampled")["return"].to_numpy() - rows(episodes, mode="greedy")["return"].to_numpy()
    noise = noise / np.sqrt(rows(episodes, mode="greedy")["length"])  # of 5 steps, or of 1: standard normal
    # 2400 numbers: the mean has a standard deviation of 0.02, the standard deviation one of 0.014.
    assert abs(noise.mean()) < 0.1
    assert abs(noise.std() - 1) < 0.07
    assert noise.nunique() > 800  # members of one seed may have the same noise, others not


def test_the_same_again(path):
    again = [evaluate(load(path), episodes=5) for _ in range(2)]
    assert again[0].equals(again[1])


def draws(episodes, **where):
    return list(rows(episodes, **where)["draw"])


def test_what_is_random_is_of_the_evaluation_alone(path):
    episodes = evaluate(load(path), episodes=6)
    one = draws(episodes, seed=0, agent__learning_rate=0.5, mode="greedy")
    assert len(set(one)) == 6
    # The same for whoever has the same seed; another for others, and for another entropy.
    assert draws(episodes, seed=0, agent__learning_rate=0.0, mode="greedy") == one
    assert draws(episodes, seed=0, agent__learning_rate=0.5, mode="sampled") == one
    alone = evaluate(load(path).only(np.array([3])), episodes=6, modes=["greedy"])
    assert draws(alone) == draws(episodes, seed=0, agent__learning_rate=0.0, mode="greedy") == one
    several = [set(draws(episodes, seed=seed)) for seed in range(3)]
    several += [set(draws(evaluate(load(path), episodes=6, seed=seed))) for seed in (1, 2)]
    metrics = report.load(path).metrics
    several.append(set(metrics[metrics["metric"] == "draw"]["value"].astype(np.float32)))
    assert len(set.union(*several)) == sum(map(len, several))


def test_a_host_takes_up_what_the_run_saved(paths):
    # The level rises with what is drawn: the numbers of a member's episodes of training, one for each step.
    trained = load(paths["uneven_host"])
    episodes = evaluate(trained, episodes=1, modes=["greedy"])
    metrics = report.load(paths["uneven_host"]).metrics
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


def test_who_diverged_is_known(tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        uneven.add(patch)
        for form in FORMS:
            # Twice 3e38 is more than a float32 can be.
            fields = {"problem": form, "seeds": "2", "sweep": {"learning_rate": [3e38, 0.5]}, "diagnostics": []}
            trained = load(run(plan(from_mapping(fields)), tmp_path))
            assert list(trained.diverged) == [32, 32, -1, -1]
            left = trained.only(np.flatnonzero(trained.diverged < 0))
            assert list(left.members.swept["agent.learning_rate"]) == [0.5, 0.5]
            assert list(evaluate(left, episodes=1)["seed"]) == [0, 1, 0, 1]


@pytest.mark.parametrize(("episodes", "chosen"), [(0, [0]), (1, [])])
def test_nothing_to_play(path, episodes, chosen):
    with pytest.raises(ConfigError, match=rf"^episodes={episodes} of {len(chosen)} members: there is nothing to play"):
        evaluate(load(path).only(np.array(chosen, int)), episodes=episodes)
