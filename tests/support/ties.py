"""Ties in recordings of continual backpropagation, which rounding decided there, put on the recorded side.

The authors' programs add a rate for each unit in floating point and take the floor, so that fifty times 0.02 is one
unit or none by chance of rounding; ours counts it as one. Dead units have equal utilities, and any can be replaced.
"""

from fractions import Fraction

import numpy as np


def of_counts(replaced: np.ndarray, age: np.ndarray, rate: float, maturity: int, rate_of: str = "mature") -> np.ndarray:
    """What to add to the units owed before each step, and to subtract after it, `(steps,)`; elsewhere we agree.

    Args:
        replaced: `(steps, units)` bool, as recorded.
        age: `(steps, units)` after each step, as recorded.
        rate, maturity, rate_of: the settings.
    """
    before = np.concatenate([np.zeros_like(age[:1]), age[:-1]])
    mature = before + 1 > maturity
    counted = mature.sum(1) if rate_of == "mature" else mature.any(1) * age.shape[1]
    owed, added = Fraction(0), np.zeros(len(age), np.float32)
    for t, (count, paid) in enumerate(zip(counted.tolist(), replaced.sum(1).tolist())):
        owed += Fraction(str(rate)) * count
        if paid != int(owed):
            assert owed == 1 and paid == 0, f"step {t}: {owed} units owed, {paid} paid"
            added[t] = -0.01
        owed -= paid
    return added


def owing(state, added, sign: int = 1):
    """A method's state with something added to the units owed, or subtracted; `added` is `{group: ()}`."""
    return state._replace(owed={name: state.owed[name] + sign * amount for name, amount in added.items()})


def little(replaced: np.ndarray, ranked: np.ndarray) -> np.ndarray:
    """What makes the dead units just alive that stayed when another dead unit went, `(steps, units)`, else 0.

    Args:
        replaced: `(steps, units)` bool, as recorded.
        ranked: `(steps, units)` the utilities by which units were chosen, as recorded.
    """
    dead = ranked == 0
    tie = (dead & replaced).any(1, keepdims=True)
    # At each tie more than at those before, which an average remembers.
    return np.where(dead & ~replaced & tie, 1e-26 * 1e2 ** tie.cumsum(0), 0.0).astype(np.float32)
