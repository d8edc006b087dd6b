"""Borders of tasks, and evaluations of all tasks there.

Environments on the device stay in a task, or a setting `env` chooses them; others are outside of it. The agent acts on
each finished task by its mean at the end of it, see `staged`.
"""

from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
import staged
import toys
import uneven

from pliant import report
from pliant.core import registry
from pliant.core.clock import Task
from pliant.core.continual import Memory
from pliant.experiment.configuration.reading import from_mapping
from pliant.experiment.errors import ConfigError
from pliant.experiment.evaluation import task_plays, tasks, transfer
from pliant.experiment.evaluation.task_plays import TaskPlays
from pliant.experiment.evaluation.tasks import TaskEvaluations
from pliant.experiment.loops.planning import plan
from pliant.experiment.run import run

FORMS = {
    "init_task": {"init_task": True},
    "env": {},
    "host": {"backend": "host"},
}


@pytest.fixture(autouse=True, scope="module")
def toy_problems():
    with pytest.MonkeyPatch.context() as patch:
        staged.add(patch)
        patch.setattr(registry.find("problems", "staged"), "EVALUATE", ("greedy", "sampled"))
        yield


def config_of(form, agent="rememberer", **fields):
    """Two seeds and two tasks of 32 steps each, in rounds of 16."""
    problem = {"name": "staged", **FORMS[form]}
    # Outside of the device by the program that learns, which chooses the next action before a task ends.
    acting = "compiled" if form == "host" else "auto"
    given = {"acting": acting, "seeds": "2", "diagnostics": [], "record_every": 16, "evaluate_tasks": 3, "agent": agent}
    return from_mapping({"problem": problem, **given, **fields})


class Evaluated(NamedTuple):
    form: str
    path: object
    rows: pd.DataFrame
    traced: list  # whether an action was greedy, for each time that the agent was traced
    said: list  # lines of the log


@pytest.fixture(scope="module", params=FORMS)
def evaluated(request, tmp_path_factory):
    traced, module = [], registry.find("agents", "rememberer")

    def noted(*given):
        agent = staged.rememberer(*given)

        def act(*args, greedy=False):
            traced.append(greedy)
            return agent.act(*args, greedy=greedy)

        return agent._replace(act=act)

    said = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "make", noted)
        patch.setattr(tasks.logger, "info", lambda line, *values: said.append(line % values))
        path = run(plan(config_of(request.param)), tmp_path_factory.mktemp("runs"), checkpoint_every=0.0)
    return Evaluated(request.param, path, report.load(path).metrics, traced, said)


def values_of(rows, metric):
    """`{(seed, step, group): value}`."""
    rows = rows[rows["metric"] == metric]
    return dict(zip(zip(rows["seed"], rows["step"], rows["group"].astype(str)), rows["value"]))


def of_episode(length, mean):
    """The return of a greedy episode: each step has 1, the mean, and the steps before it."""
    return length * (1 + mean) + sum(range(length))


def test_each_task_is_played_before_the_first_and_after_each_by_those_who_act_on_it(evaluated):
    expected = {}
    for seed in (0, 1):
        first = uneven.initial_mean(seed)
        after_one = first + 2 * 0.5  # and before the second task begins, whose mean is greater by 100
        after_both = after_one + 100 + 2 * 0.5
        for step, short, long in [(0, first, first), (32, after_one, after_one), (64, after_one, after_both)]:
            expected[seed, step, "0/short"] = of_episode(2, short)
            expected[seed, step, "1/long"] = of_episode(4, long)
    found = values_of(evaluated.rows, "task_return")
    assert found.keys() == expected.keys()
    np.testing.assert_allclose([found[key] for key in expected], list(expected.values()), rtol=1e-6)


def test_other_facts_of_the_episodes_have_rows_too(evaluated):
    lengths = {(s, t, f"{i}/{name}"): staged.LENGTHS[name] for s in (0, 1) for t in (0, 32, 64)
               for i, name in enumerate(("short", "long"))}  # fmt: skip
    assert values_of(evaluated.rows, "task_length") == lengths
    # Every other episode of an environment is one, from the first on. Environments that stay in a task begin anew when
    # each has played an episode.
    successes = set(values_of(evaluated.rows, "task_success").values())
    np.testing.assert_allclose(list(successes), 1 if evaluated.form == "init_task" else 2 / 3)
    assert not any("terminated" in metric or "truncated" in metric for metric in set(evaluated.rows["metric"]))


def test_uniform_actions_are_played_once_before_the_first_step(evaluated):
    found = values_of(evaluated.rows, "task_random_return")
    assert found.keys() == {(seed, 0, group) for seed in (0, 1) for group in ("0/short", "1/long")}
    for (_, _, group), value in found.items():  # actions from -1 to 1
        length = staged.LENGTHS[group[2:]]
        assert 0 < value < 2 * length and value != length
    assert len(set(found.values())) == 4


def test_memory_after_each_task(evaluated):
    both = {(seed, step, ""): step / 32 for seed in (0, 1) for step in (32, 64)}
    assert values_of(evaluated.rows, "parameters") == both
    assert values_of(evaluated.rows, "parameters_and_buffers") == {key: 10 * value for key, value in both.items()}


def test_a_task_ends_once_and_the_last_has_none_after_it(evaluated):
    means = values_of(evaluated.rows, "mean")
    for seed in (0, 1):
        first = uneven.initial_mean(seed)
        found = [means[seed, step, ""] - first for step in (16, 32, 48, 64)]
        np.testing.assert_allclose(found, [0.5, 1, 101.5, 102], rtol=1e-5)
    assert report.load(evaluated.path).status["tasks"] == [
        {"name": "short", "until": 32},
        {"name": "long", "until": 64},
    ]


def test_agents_act_in_a_task_from_its_first_step_as_it_began(evaluated):
    # The first episodes of the second task have four steps, each rewarded by about 100 more, with some noise.
    returns = evaluated.rows[(evaluated.rows["metric"] == "return") & (evaluated.rows["step"].between(33, 40))]
    assert len(returns) == 4 and (returns["value"] > 390).all()


def test_programs_of_evaluations_are_compiled_once_for_each_kind_of_environments(evaluated):
    # Of greedy actions and of uniform ones, for each name of a task, or for all of them.
    assert evaluated.traced.count(True) == (2 if evaluated.form == "init_task" else 4)


@pytest.mark.compilations(10)  # a whole run, and the environments of a host
def test_evaluations_change_nothing_of_the_run(evaluated, tmp_path):
    without = report.load(run(plan(config_of(evaluated.form, evaluate_tasks=0)), tmp_path)).metrics
    rows = evaluated.rows
    rows = rows[~rows["metric"].str.startswith(("task_", "parameters"))].reset_index(drop=True)
    for column in ("metric", "group"):
        rows[column], without[column] = rows[column].astype(str), without[column].astype(str)
    pd.testing.assert_frame_equal(rows, without, check_exact=True)


class Stop(Exception):
    pass


@pytest.mark.parametrize("evaluated", ["init_task"], indirect=True)
@pytest.mark.compilations(18)  # two runs, each with programs of evaluations
def test_a_run_that_stops_after_a_border_goes_on_to_the_bit(evaluated, tmp_path, caplog):
    # Progress is told before the first chunk and after each; a chunk is saved after it is told.
    calls = iter(range(3))

    def on_progress(done, total):
        if next(calls, None) is None:
            raise Stop

    with pytest.raises(Stop):
        run(plan(config_of(evaluated.form)), tmp_path, checkpoint_every=0.0, on_progress=on_progress)
    caplog.set_level("INFO")
    path = run(plan(config_of(evaluated.form)), tmp_path, checkpoint_every=0.0)
    assert "going on from step 32 of 64" in caplog.text
    pd.testing.assert_frame_equal(report.load(path).metrics, evaluated.rows, check_exact=True)


def test_the_cost_is_said_once_and_before(evaluated):
    assert evaluated.said == [
        "before training and after each of 2 tasks, 2 tasks are played for 3 episodes each (evaluate_tasks)"
    ]


class Asked:
    """Programs that are asked for numbers alone."""

    def ask(self, question, shared):
        return Memory(np.full(2, 1.0), np.full(2, 10.0))


@pytest.mark.parametrize(("agent", "played"), [("riser", [0, 1]), ("rememberer", [0, 1, 2])])
def test_tasks_of_the_same_name_are_played_once_by_those_who_act_alike(agent, played, monkeypatch):
    monkeypatch.setattr(staged, "TASKS", (Task("short", 16), Task("long", 32), Task("short", 48)))
    its_plan = plan(config_of("init_task", agent, problem={"name": "staged", "init_task": True, "steps": 48}))
    found = []

    def one(evaluations, acting, programs, task, left_out):
        found.append(task)
        return {"return": np.full(2, float(task))}

    monkeypatch.setattr(TaskEvaluations, "_one", one)
    evaluations = TaskEvaluations(its_plan, plays=None)
    means = evaluations.means(Asked(), 1, np.zeros(2, bool))
    assert found == played
    returns = {group: values[0] for (metric, group), values in means.items() if metric == "task_return"}
    assert returns == {"0/short": 0, "1/long": 1, "2/short": played[-1] if agent == "rememberer" else 0}
    assert (("parameters", "") in means) == (agent == "rememberer")
    found.clear()
    evaluations.before(None)  # before the first task all agents act alike: at random, and as they are
    assert found == [0, 1, 0, 1]


class Nobody:
    """Programs without agents."""

    def acting_params(self, task):
        return np.zeros(2)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("episodes", "refused", "played_in"), [(3, 0, 3), (20, 0, 4), (1, 1, 2), (3, 3, 4)])
def test_no_more_environments_play_than_there_are_episodes_if_the_agent_allows(
    form, episodes, refused, played_in, monkeypatch
):
    its_plan = plan(config_of(form, evaluate_tasks=episodes, problem={"name": "staged", **FORMS[form], "num_envs": 4}))
    found = []

    def elsewhere(of_run, settings):
        if int(settings.get("num_envs", 4)) <= refused:
            raise ConfigError("so few environments are refused")
        return transfer.elsewhere(of_run, settings)

    def first_episodes(episodes, steps, shape, **more):
        found.append(shape)
        return {"return": np.ones((2, episodes))}

    monkeypatch.setattr(task_plays, "elsewhere", elsewhere)
    monkeypatch.setattr(task_plays, "first_episodes", first_episodes)
    evaluations = TaskEvaluations(its_plan, TaskPlays(its_plan))
    assert evaluations._one("greedy", Nobody(), 1, np.zeros(2, bool))["return"].tolist() == [1, 1]
    assert set(found) == {(2, played_in)}


@pytest.mark.compilations(10)  # a whole run, and programs of evaluations
def test_a_member_that_diverged_does_not_play_and_nobody_plays_if_all_did(tmp_path):
    # With this learning rate the mean is no number at step 32.
    sweep = {"learning_rate": [3e38, 0.5]}
    rows = report.load(run(plan(config_of("init_task", sweep=sweep)), tmp_path / "some")).metrics
    rows = rows[(rows["metric"] == "task_return") & (rows["agent.learning_rate"] > 1)]
    assert rows.groupby("step")["value"].agg(lambda values: values.isna().sum()).to_dict() == {0: 0, 32: 4, 64: 4}
    evaluations = TaskEvaluations(plan(config_of("init_task")), plays=None)
    assert evaluations.means(None, 1, np.ones(2, bool)) == {}


@pytest.mark.parametrize(
    ("problem", "message"),
    [
        ("uneven", "evaluate_tasks=3: uneven has no tasks; leave it out"),
        ({"name": "drift", "calm": 48}, "evaluate_tasks=3: drift has no environments for one of its tasks alone"),
    ],
)
def test_tasks_in_which_nobody_can_be_put_are_refused(problem, message, monkeypatch):
    toys.add_all(monkeypatch)
    agent = "riser" if problem == "uneven" else {"name": "ppo", "horizon": 8, "minibatches": 1}
    with pytest.raises(ConfigError, match=message) as error:
        plan(config_of("env", agent, problem=problem))
    assert "\n" not in str(error.value)


def test_tasks_without_a_round_of_their_own_are_refused(monkeypatch):
    monkeypatch.setattr(staged, "TASKS", (Task("short", 10), Task("long", 16), Task("short", 48)))
    message = "staged: the tasks short and long both end at step 16, because the agent learns from 16 steps at once"
    with pytest.raises(ConfigError, match=message):
        plan(config_of("env", problem={"name": "staged", "steps": 48}))


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (Task(7, 16), "staged: task 0 has the name 7; write a text, such as '7'"),
        (Task("late", 2**31), "task late ends at step 2,147,483,648, and a run has at most 2,147,483,647 steps; write"),
        (Task("half", 16.5), "task half ends at step 16.5; write a whole number, an int"),
    ],
)
def test_names_and_ends_that_no_run_can_have_are_refused(monkeypatch, task, message):
    monkeypatch.setattr(staged, "TASKS", (task, Task("last", 48)))
    with pytest.raises(ConfigError, match=message):
        plan(config_of("env", problem={"name": "staged", "steps": 48}))
