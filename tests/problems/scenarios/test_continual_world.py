"""Continual World: the published sequences, MetaWorld's tasks, their goals, and the facts of their episodes."""

import re
import sys

import numpy as np
import pytest
from films import need_opengl
from metaworld.policies import ENV_POLICY_MAP

from pliant import report
from pliant.core.clock import Task
from pliant.core.problem import Continuous
from pliant.experiment.configuration.reading import from_mapping
from pliant.experiment.loops.planning import plan
from pliant.experiment.run import run
from pliant.presets.continual_world import PRESETS
from pliant.problems.scenarios.continual_world import SCENARIOS, Config, make

SEED = np.array([[1, 2], [3, 4]], np.uint32)
GOAL = slice(36, 39)


def firsts(host, episodes, time_limit=2):
    """The first observations of some episodes, `(episodes, members, num_envs, observation)`, with still arms."""
    found = [host.reset()]
    for step in range((episodes - 1) * time_limit):
        host.send(np.zeros((*found[0].shape[:2], 4), np.float32))
        timestep = host.receive()
        assert timestep.truncated.all() == (step % time_limit == time_limit - 1)
        if timestep.truncated.all():
            found.append(timestep.observation)
    return np.array(found)


def opened(seed=SEED, after=0, **settings):
    host = make(Config(**{"tasks": "push", "time_limit": 2, **settings})).open(seed)
    if after:
        host.restore({"steps": np.full(len(seed), after)})
    return host


# -- the sequences


def test_the_published_sequences():
    ten = "hammer push-wall faucet-close push-back stick-pull handle-press-side push shelf-place window-close "
    ten = (ten + "peg-unplug-side").split()
    sixth = ["stick-pull", "peg-unplug-side", "stick-pull"]
    for scenario, names in {"cw10": ten, "cw20": 2 * ten, "t6": sixth}.items():
        environment = make(Config(scenario))
        assert environment.tasks == tuple(Task(name, 10**6 * number) for number, name in enumerate(names, 1))
        assert environment.spec.observation.shape == (39,) and environment.spec.action == Continuous(4)
        assert environment.num_envs == 1
    three = [scenario.tasks for name, scenario in SCENARIOS.items() if name.startswith("t")]
    assert len(three) == 8 and all(len(tasks) == 3 and {*tasks} <= {*ten} for tasks in three)


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"tasks": "reach, door-open"}, "reach door-open"),
        ({"tasks": "reach,push", "repeat": 2}, "reach push reach push"),
        ({"scenario": "cw20", "repeat": 1}, " ".join(SCENARIOS["cw10"].tasks)),
        ({"env": "assembly"}, "assembly"),
    ],
)
def test_other_sequences(settings, names):
    assert " ".join(task.name for task in make(Config(**settings)).tasks) == names


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scenario": "cw11"}, "unknown scenario of Continual World 'cw11'; did you mean cw10"),
        ({"tasks": "hamer,push"}, "unknown task of MetaWorld 'hamer'; did you mean hammer"),
        ({"env": "push-wal"}, "unknown task of MetaWorld 'push-wal'; did you mean push-wall"),
        ({"task_steps": 3, "num_envs": 4}, "task_steps=3 with 10 tasks and num_envs=4: write at least 4"),
    ],
)
def test_what_is_refused(settings, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        make(Config(**settings))


def test_a_missing_package_is_said_in_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "metaworld", None)
    with pytest.raises(ValueError, match=r"^problem continual_world needs metaworld: pip install -e '.\[metaworld\]'$"):
        make(Config())


def test_the_published_agent():
    assert PRESETS.keys() == SCENARIOS.keys()
    config = from_mapping(PRESETS["cw10"])
    expected = {
        "learning_rate": 1e-3, "critic_learning_rate": 1e-3, "temperature_learning_rate": 1e-3, "batch_size": 128,
        "initial_temperature": 2.7, "target_multiplier": 2.0, "update_to_data": 1.0, "buffer_size": 10**6,
        "learning_starts": 1000, "random_steps": 1000, "policy_delay": 1, "target_delay": 1, "reward_scale": 1.0,
        "actor_layers": 3, "critic_layers": 3, "hidden_units": 256, "activation": "leaky_relu", "negative_slope": 0.2,
        "truncation": "terminal", "tanh_correction": "half", "entropy_target": "batch_mean", "actor_states": "both",
    }  # fmt: skip
    assert {name: config.agent.settings[name] for name in expected} == expected
    assert config.evaluate_tasks == 10 and config.problem.settings["time_limit"] == 200


# -- goals


def test_goals_are_seen_and_drawn_from_the_seed_of_the_run():
    np.random.seed(0)
    goals = firsts(opened(), 3)[..., GOAL]
    np.random.seed(1)
    np.testing.assert_array_equal(firsts(opened(), 3)[..., GOAL], goals)
    # The goal of push is in a box, and another one in each episode of each member.
    assert len(np.unique(goals.reshape(6, 3), axis=0)) == 6
    low, high = np.float32([-0.1, 0.8, 0.01]), np.float32([0.1, 0.9, 0.02])
    assert ((low <= goals) & (goals <= high)).all() and np.ptp(goals[..., 0]) > 0.02


def test_a_resumed_run_has_other_goals_in_the_task_where_it_was():
    # Tasks of 6 steps; after 8 steps the second has begun.
    settings = {"tasks": "push,push-back", "task_steps": 6}
    resumed, again = (firsts(opened(after=8, **settings), 2) for _ in range(2))
    np.testing.assert_array_equal(resumed, again)
    assert (resumed[..., 37] < 0.75).all()  # the goal of push-back is nearer
    assert (resumed[0] != firsts(opened(env="push-back"), 1)[0])[..., GOAL].any(-1).all()


def test_members_of_several_environments_have_goals_of_their_own():
    goals = firsts(opened(num_envs=2), 1)[0, ..., GOAL]
    assert len(np.unique(goals.reshape(4, 3), axis=0)) == 4
    np.testing.assert_array_equal(firsts(opened(SEED[1:], num_envs=2), 1)[0, ..., GOAL], goals[1:])


# -- observations


def test_a_one_hot_number_for_each_kind_of_task():
    settings = {"tasks": "push,reach,push", "one_hot": True, "task_steps": 2}
    assert make(Config(**settings)).spec.observation.shape == (41,)
    one_hot = firsts(opened(**settings), 4)[:, 0, 0, 39:]
    np.testing.assert_array_equal(one_hot, [[1, 0], [0, 1], [1, 0], [1, 0]])
    alone, foreign = (firsts(opened(env=name, **settings), 2)[:, 0, 0, 39:] for name in ("reach", "door-open"))
    np.testing.assert_array_equal(alone, [[0, 1], [0, 1]])  # evaluations of a task see what training sees
    np.testing.assert_array_equal(foreign, np.zeros((2, 2)))
    plain, with_numbers = (firsts(opened(one_hot=switch), 2)[..., :39] for switch in (False, True))
    np.testing.assert_array_equal(plain, with_numbers)


# -- successes


@pytest.mark.filterwarnings("ignore:Constant:UserWarning")  # the policy pushes harder than it can
def test_success_at_any_step_and_at_the_last():
    # The policy that comes with MetaWorld presses the handle, and lets it go.
    policy, host = ENV_POLICY_MAP["handle-press-side-v3"](), opened(SEED[:1], tasks="handle-press-side", time_limit=120)
    observation, ever, last = host.reset(), [], []
    for _ in range(121):
        host.send(np.clip(policy.get_action(observation[0, 0].astype(float)), -1, 1)[None, None])
        step = host.receive()
        observation = step.observation
        ever.append(float(step.info["success"][0, 0]))
        last.append(float(step.info["success_last"][0, 0]))
    begun = last.index(1.0)
    assert 0 < begun < 60 and last[119] == 0.0
    assert ever == [0.0] * begun + [1.0] * (120 - begun) + [0.0]  # the last is of the next episode


@pytest.mark.compilations(20)  # a run, and its evaluations
def test_a_run_records_both_successes_of_all_tasks_at_each_border(tmp_path):
    config = from_mapping(
        {
            "problem": {"name": "continual_world", "tasks": "reach,push", "task_steps": 12, "time_limit": 4},
            "agent": {
                "name": "sac", "learning_starts": 4, "random_steps": 4, "batch_size": 4, "hidden_units": 4,
                "buffer_size": 16,
            },
            "continual": {"name": "ewc", "samples": 4},
            "evaluate_tasks": 2,
            "diagnostics": [],
        }
    )  # fmt: skip
    rows = report.load(run(plan(config), tmp_path)).metrics
    for fact in ("success", "success_last"):
        (episodes,) = (rows[rows["metric"] == fact],)
        assert episodes["step"].tolist() == [4, 8, 12, 16, 20, 24] and episodes["value"].isin([0, 1]).all()
        of_tasks = rows[rows["metric"] == f"task_{fact}"]
        assert sorted(zip(of_tasks["step"], of_tasks["group"])) == [
            (step, task) for step in (0, 12, 24) for task in ("0/reach", "1/push")
        ]
    assert (rows.loc[rows["metric"] == "task_length", "value"] == 4).all()


def test_a_film_shows_the_arm_upright(monkeypatch):
    need_opengl(monkeypatch)
    film = make(Config(tasks="push")).render(SEED[0])
    film.reset()
    frame = film.draw().astype(float)
    film.close()
    assert frame.shape == (480, 480, 3)
    wood = (frame[..., 0] - frame[..., 2] > 20) & (frame[..., 0] < 190)  # table and arm
    assert wood[240:].sum() > 2 * wood[:240].sum() > 0  # the table is below the middle
