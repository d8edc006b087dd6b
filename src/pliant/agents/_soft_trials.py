"""Trials of continual methods for soft actor-critic: candidates play a learned task, and one is chosen."""

from collections.abc import Callable

from pliant.core.agent import Trials
from pliant.core.base import Array
from pliant.core.clock import Clock
from pliant.core.continual import Replayed, Trial

from ._soft_updates import ActingParams, State, changed, keyed


def trials_of(trial: Trial, replayed: Callable[[State], Replayed]) -> Trials:
    """The trial of a continual method, for the whole agent.

    Args:
        trial: of the actor.
        replayed: `state -> Replayed`: steps of the newest task and their values.
    """

    def propose(state: State, clock: Clock) -> State:
        del clock
        state, key = keyed(state)
        now = state.learned
        kept = trial.propose(now.params.actor, now.continual, replayed(state), key)
        return state._replace(learned=now._replace(continual=kept))

    def acting_params(state: State, first: Array) -> ActingParams:
        return ActingParams(state.learned.params, trial.route(state.learned.continual, first), state.steps)

    def choose(state: State, scores: Array, clock: Clock) -> State:
        return changed(state, trial.choose, scores=scores, clock=clock)

    def standing(state: State, score: Array) -> State:
        assert trial.standing is not None
        kept = trial.standing(state.learned.continual, score)
        return state._replace(learned=state.learned._replace(continual=kept))

    return Trials(
        trial.candidates, trial.episodes, propose, acting_params, choose, standing if trial.standing else None
    )
