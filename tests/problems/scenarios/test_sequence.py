import re

import pytest

from pliant.core.clock import Task
from pliant.problems.scenarios._sequence import Settings, environment, sequence
from pliant.problems.scenarios._tasks import SCENARIOS, TASKS, random_change


def settings(**others):
    return Settings(**{"num_envs": 4, "task_steps": 10} | others)


def test_a_published_scenario():
    tasks, changes = sequence("halfcheetah", Settings(scenario="compositionality"))
    once = ("tinyfoot", "moon", "carry_stuff_hugegravity", "tinyfoot_moon")
    # 7,812 steps of 128 environments each.
    assert tasks == tuple(Task(name, 999_936 * number) for number, name in enumerate(2 * once, 1))
    assert changes == tuple(TASKS["halfcheetah"][name] for name in 2 * once)


def test_tasks_last_whole_steps_of_all_environments():
    tasks, _ = sequence("ant", settings(scenario="robustness", repeat=1))
    assert [task.until for task in tasks] == [8, 16, 24, 32]


@pytest.mark.parametrize(
    ("others", "names"),
    [
        ({"tasks": "moon, normal"}, "moon normal"),
        ({"tasks": "moon,normal", "repeat": 2}, "moon normal moon normal"),
        ({"scenario": "random", "length": 3}, "random_0 random_1 random_2"),
        ({"scenario": "random", "length": 2, "repeat": 2}, "random_0 random_1 random_0 random_1"),
        ({"repeat": 1}, "normal hugefoot rainfall moon"),
        ({"env": "disabled_hard1"}, "disabled_hard1"),
    ],
)
def test_other_sequences(others, names):
    tasks, changes = sequence("ant", settings(**others))
    assert " ".join(task.name for task in tasks) == names
    for task, change in zip(tasks, changes):
        index = re.fullmatch(r"random_(\d+)", task.name)
        assert change == (random_change("ant", 0, int(index[1])) if index else TASKS["ant"][task.name])


def test_one_task_lasts_as_long_as_the_sequence():
    (task,), (change,) = sequence("ant", settings(env="random_7", draw=5))
    assert task == Task("random_7", 8 * 8) and change == random_change("ant", 5, 7)


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ({"scenario": "forgeting"}, "unknown scenario of ant 'forgeting'; did you mean forgetting?"),
        ({"tasks": "mon,normal"}, "unknown task of ant 'mon'; did you mean moon?"),
        ({"env": "tinyfoot"}, "unknown task of ant 'tinyfoot'; there are: normal, hugefoot, moon"),
        ({"task_steps": 3}, "task_steps=3 with 8 tasks and num_envs=4: write at least 4, and at most 268435455"),
        ({"task_steps": 10**9}, "task_steps=1000000000 with 8 tasks and num_envs=4: write at least 4, and at most"),
        ({"engine": "mjx"}, "engine='mjx': write one of 'mujoco', 'v1'"),
    ],
)
def test_what_is_refused(others, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        environment("ant", settings(**others))


@pytest.mark.parametrize("domain", SCENARIOS)
def test_random_is_no_name_of_a_scenario_or_a_task(domain):
    names = [*SCENARIOS[domain], *TASKS[domain]]
    assert not [name for name in names if name.startswith("random")]
