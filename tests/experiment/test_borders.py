"""What agents do between two tasks: candidates play, further updates follow, and the task ends.

The agent's action is a number of its own. In a trial it is greater by 10 for each candidate, so that returns can be
told beforehand: an episode of `long` has 4 steps, and each is rewarded by 1 more than its action. There are two
environments and three candidates of two episodes each: three plays, of candidates 0 and 1, then 2 and 0, then 1 and 2.
"""

import contextlib
import types
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest
import staged
import toys
import uneven

from pliant.core.agent import Agent, Finetuning, Trials
from pliant.core.clock import Clock
from pliant.experiment.borders import Borders
from pliant.experiment.configuration.reading import from_mapping
from pliant.experiment.evaluation.task_plays import TaskPlays
from pliant.experiment.loops.planning import plan

CANDIDATES, EPISODES = 3, 2
FORMS = {"device": {"init_task": True}, "host": {"backend": "host"}}


class Chooser(NamedTuple):
    mean: Any  # the action
    scores: Any  # (candidates,) of the newest trial
    standing: Any  # the return before the task
    did: Any  # (8,) codes of what was done, the newest last


def did(state, code):
    return state._replace(did=jnp.concatenate([state.did[1:], jnp.asarray(code, jnp.int32)[None]]))


def chooser(config, environment, methods_for):
    def rows(value):
        return jnp.broadcast_to(value, CANDIDATES)

    def init(key):
        return Chooser(jnp.float32(0.5), jnp.zeros(CANDIDATES), jnp.zeros(()), jnp.zeros(8, jnp.int32))

    def act(acting_params, carry, observation, is_first, key, *, greedy=False):
        action = acting_params[np.arange(len(observation)) % CANDIDATES]
        return carry, jnp.where(greedy, action, -99.0)[:, None], {}

    def learn(state, transitions, calls):
        return state, {"mean": state.mean}

    trials = Trials(
        CANDIDATES,
        EPISODES,
        propose=lambda state, clock: did(state._replace(mean=state.mean + 1), 1),
        acting_params=lambda state, first: state.mean + 10.0 * ((first + jnp.arange(CANDIDATES)) % CANDIDATES),
        choose=lambda state, scores, clock: did(state._replace(scores=scores), 2),
        standing=lambda state, score: did(state._replace(standing=score), 6),
    )
    finetuning = Finetuning(
        4, 2, begin=lambda state, clock: did(state, 3), learn=lambda state, first, clock: did(state, 100 + first)
    )
    return Agent(
        8, init, lambda state: rows(state.mean), lambda E: (), act, learn, lambda *given: {},
        end_task=lambda state, clock: did(state, 4),
        begin_task=lambda state, clock: did(state, 5),
        trials=trials,
        finetuning=finetuning,
    )  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def toy_problems():
    with pytest.MonkeyPatch.context() as patch:
        staged.add(patch)
        toys.add(patch, "agents", "chooser", LEARNS_FROM="environment", Config=uneven.Riser, make=chooser)
        yield


@pytest.mark.compilations(15)  # a program for each of the things that happen at a border, and a play
@pytest.mark.parametrize("form", FORMS)
def test_candidates_play_updates_follow_and_the_task_ends(form):
    problem = {"name": "staged", **FORMS[form]}
    given = {"seeds": "2", "diagnostics": [], "acting": "compiled", "agent": "chooser"}
    its_plan = plan(from_mapping({"problem": problem, **given}))
    nobody = np.zeros(2, bool)
    clock = Clock(np.int32(0), np.int32(64), np.int32(1), np.int32(0), np.int32(0))
    with (
        contextlib.closing(its_plan.loop.programs(its_plan)) as programs,
        contextlib.closing(TaskPlays(its_plan)) as plays,
    ):
        programs.begin()
        borders = Borders(its_plan, programs, plays)
        begun = borders.begin(clock, nobody)
        ended = borders.end(clock, nobody)
        saved = Chooser(*(programs.save()[f"agent.{number:04d}"] for number in range(len(Chooser._fields))))
    # Before the task it plays as it is, and then it proposes 1 more.
    np.testing.assert_allclose(saved.standing, [4 * 1.5] * 2)
    np.testing.assert_allclose(saved.scores, [[4 * (1 + 1.5 + 10 * c) for c in range(3)]] * 2)
    assert saved.did.tolist() == [[5, 6, 1, 2, 3, 101, 103, 4]] * 2
    assert {name: steps.tolist() for (name, _), steps in begun.items()} == {"trial_steps": [4 * EPISODES] * 2}
    assert {name: steps.tolist() for (name, _), steps in ended.items()} == {"trial_steps": [4 * 3 * EPISODES] * 2}


def test_no_trial_follows_on_the_first_task_and_members_that_diverged_do_not_play(monkeypatch):
    its_plan = plan(from_mapping({"problem": {"name": "staged"}, "seeds": "2", "diagnostics": [], "agent": "chooser"}))
    changes = []

    class Noted:
        def change(self, change, shared, own=()):
            changes.append((change.__name__.strip("_"), own))

        def ask(self, question, shared):
            return np.zeros((2, CANDIDATES))

    borders = Borders(its_plan, Noted(), TaskPlays(its_plan))
    assert borders.end(Clock(0, task=np.int32(0)), np.zeros(2, bool)) == {}
    assert [name for name, _ in changes] == ["begin_finetuning", "finetune", "finetune", "end_task"]
    changes.clear()
    means = borders.end(Clock(0, task=np.int32(1)), np.ones(2, bool))
    assert means["trial_steps", ""].tolist() == [0, 0]
    names, given = zip(*changes)
    assert names[:2] == ("propose", "choose") and given[1].shape == (2, CANDIDATES)


PLAYS = {True: [(0, 1), (1, 1), (2, 1), (0, 1), (1, 1), (2, 1)], False: [(0, 2), (1, 2), (2, 2)]}


@pytest.mark.parametrize("on_device", PLAYS)
def test_no_candidate_plays_an_episode_twice(on_device):
    """There is one environment. On the device each play has other first states; elsewhere all plays begin alike."""
    its_plan = plan(from_mapping({"problem": {"name": "staged"}, "seeds": "2", "diagnostics": [], "agent": "chooser"}))
    played, given = [], {}

    def episodes(acting, candidate, task, left_out, episodes, batch):
        played.append((int(candidate), episodes))
        return {"return": np.full((2, episodes), 10.0 * candidate), "length": np.ones((2, episodes))}

    class Noted:
        def change(self, change, shared, own=()):
            given[change.__name__] = own

        def ask(self, question, shared):
            return shared

    plays: Any = types.SimpleNamespace(on_device=on_device, at_once=1, episodes=episodes)
    means = Borders(its_plan, Noted(), plays).end(Clock(0, task=np.int32(1)), np.zeros(2, bool))
    assert played == PLAYS[on_device]
    assert given["_choose"].tolist() == [[0, 10, 20]] * 2
    assert means["trial_steps", ""].tolist() == [CANDIDATES * EPISODES] * 2
