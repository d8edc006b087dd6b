"""The suite from Python: the same runs as of the command line, and agents that act in anybody's loop."""

import re

import numpy as np
import pytest
import uneven

import pliant
from pliant.experiment.configuration.config import from_mapping
from pliant.experiment.errors import ConfigError

FIELDS = {"problem": "uneven", "agent": {"name": "riser", "learning_rate": 0.5}, "diagnostics": [], "record_every": 16}


@pytest.fixture(scope="module", autouse=True)
def findable():
    with pytest.MonkeyPatch.context() as patch:
        uneven.add(patch)
        yield


@pytest.fixture(scope="module")
def run(findable, tmp_path_factory):
    """Four rounds of 16 steps: the mean of each seed has grown by 4 x 0.5."""
    return pliant.run(FIELDS, seeds=2, folder=tmp_path_factory.mktemp("runs"))


def mean_of(seed):
    return uneven.initial_mean(seed) + 2.0


def test_a_run_has_the_name_and_the_rows_of_the_command(run):
    assert run.path.name == from_mapping({**FIELDS, "seeds": "2"}).name
    assert run.config["agent"] == {"name": "riser", "horizon": 8, "learning_rate": 0.5}
    assert set(run.metrics["seed"]) == {0, 1} and run.metrics["step"].max() == 64
    np.testing.assert_allclose([curve.estimate[-1] for curve in run.curves("mean")], np.mean([mean_of(0), mean_of(1)]))
    assert "mean" in {row[0] for row in run.summary().rows}


def test_a_finished_run_is_found_and_not_run_again(run):
    reports = []
    again = pliant.run(from_mapping({**FIELDS, "seeds": "2"}), folder=run.path.parent, on_progress=reports.append)
    assert again.path == run.path and reports == []


@pytest.mark.parametrize("seed", [0, 1])
def test_an_agent_keeps_its_carry_until_it_is_reset(run, seed):
    # Greedily the riser acts by its mean, and by 1 more for each step of the episode so far.
    agent = pliant.load(run.path).agent(seed=seed)
    assert (agent.step, agent.seed) == (64, seed)
    acted = [agent.act([0.0]) for _ in range(3)]
    np.testing.assert_allclose(acted, [[mean_of(seed) + t] for t in range(3)], rtol=1e-6)
    agent.reset()
    np.testing.assert_allclose(agent.act([0.0]), [mean_of(seed)], rtol=1e-6)


def test_an_agent_acts_on_a_batch(run):
    actions = run.agent().act(np.zeros((5, 1)))
    np.testing.assert_allclose(actions, np.full((5, 1), mean_of(0)), rtol=1e-6)


def test_sampled_actions_differ(run):
    agent = run.agent()
    assert len({float(agent.act([0.0], mode="sampled")[0]) for _ in range(3)}) == 3


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda run: pliant.run("unevn"), "unknown problem 'unevn'; did you mean uneven"),
        (lambda run: pliant.run("hopper/cpb"), "unknown preset of hopper 'cpb'; did you mean cbp?"),
        (lambda run: pliant.run("uneven", sedes=3), "unknown field of a configuration 'sedes'; did you mean seeds"),
        (lambda run: pliant.run(), "a configuration needs a problem: write problem: {name: ...}"),
        (
            lambda run: pliant.run(FIELDS, sweep={"problem.num_envs": [1, 2]}),
            "sweep of problem.num_envs: each value needs a run of its own; call pliant.run for each of the 2",
        ),
        (lambda run: run.agent(seed=7), "there is no seed 7"),
        (lambda run: run.agent(step="best"), "has no best checkpoint"),
        (lambda run: run.agent(where={"agent.learning_rate": 1}), "unknown swept setting 'agent.learning_rate'"),
        (
            lambda run: run.agent().act([0.0, 1.0, 2.0]),
            "observation of shape (3,): the agent was built for (1,)",
        ),
        (lambda run: pliant.load(run.path / "no"), "; give the path of a run"),
    ],
)
def test_refuses_in_one_line(run, call, message):
    with pytest.raises((ConfigError, ValueError), match=re.escape(message)) as error:
        call(run)
    assert "\n" not in str(error.value)
