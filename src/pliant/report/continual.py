r"""Numbers of continual learning: average performance, forgetting and forward transfer, as pure functions.

$R_{t,s}$ is the return on task $t$ after training on the tasks up to $s$, for $N$ tasks. An array of returns has the
axes `(..., tasks, stages)`; the axes before are members, most often seeds. If a return that counts is NaN, so is the
result.
"""

import numpy as np
from numpy.typing import ArrayLike


def normalized(returns: ArrayLike, random: ArrayLike, reference: ArrayLike) -> np.ndarray:
    r"""Returns on a scale on which random actions have 0 and a reference has 1.

    $$\hat R_{t,s} = \frac{R_{t,s} - R^{\text{random}}_t}{R^{\text{reference}}_t - R^{\text{random}}_t}$$

    Args:
        returns: $R$, `(..., tasks, stages)`.
        random: $R^{\text{random}}$ `(tasks,)`, the return of random actions.
        reference: $R^{\text{reference}}$ `(tasks,)`, of agents that learn each task by itself, after that task.

    Returns:
        $\hat R$, of the shape of `returns`; NaN on a task whose reference equals random actions.

    References:
        Gaya et al., `Building a subspace of policies for scalable continual learning
        <https://arxiv.org/abs/2211.10445>`_, ICLR 2023.
    """
    random, reference = np.asarray(random, float), np.asarray(reference, float)
    scale = np.where(reference == random, np.nan, reference - random)
    return (np.asarray(returns, float) - random[:, None]) / scale[:, None]


def aggregate(returns: ArrayLike) -> np.ndarray:
    r"""The mean over all tasks at each stage, $\frac 1 N \sum_t R_{t,s}$, tasks of later stages included.

    Args:
        returns: $R$, `(..., tasks, stages)`.

    Returns:
        `(..., stages)`.
    """
    return np.asarray(returns, float).mean(-2)


def average_performance(returns: ArrayLike, where: ArrayLike = True) -> np.ndarray:
    r"""The mean over tasks after the last of them, $\frac 1 N \sum_t R_{t,N}$.

    Args:
        returns: $R$ or $\hat R$, `(..., tasks, stages)`.
        where: `(tasks,)` bool, the tasks that count.

    Returns:
        `(...)`.

    Example:
        >>> average_performance([[3.0, 1.0], [0.0, 5.0]])  # the first task fell from 3 to 1
        array(3.)
    """
    return _mean(np.asarray(returns, float)[..., -1], where)


def forgetting(returns: ArrayLike, where: ArrayLike = True) -> np.ndarray:
    r"""The mean change from the end of a task to the end of the last task; below 0 a task was forgotten.

    $$\frac 1 N \sum_t (R_{t,N} - R_{t,t})$$

    Args:
        returns: $R$ or $\hat R$, `(..., tasks, stages)`; stage $t$ is the end of task $t$.
        where: `(tasks,)` bool, the tasks that count.

    Returns:
        `(...)`. The last task adds 0. Continual World has the other sign: above 0 a task was forgotten.

    Example:
        >>> forgetting([[3.0, 1.0], [0.0, 5.0]])
        array(-1.)

    References:
        Gaya et al., `Building a subspace of policies for scalable continual learning
        <https://arxiv.org/abs/2211.10445>`_, ICLR 2023.
        Wołczyk et al., `Continual World: a robotic benchmark for continual reinforcement learning
        <https://arxiv.org/abs/2105.10919>`_, NeurIPS 2021.
    """
    returns = np.asarray(returns, float)
    return _mean(returns[..., -1] - learned(returns), where)


def forward_transfer(returns: ArrayLike, reference: ArrayLike, where: ArrayLike = True) -> np.ndarray:
    r"""The mean advantage at the end of a task over agents that learn each task by itself, as in CSP.

    $$\frac 1 N \sum_t (R_{t,t} - R^{\text{reference}}_t)$$

    Average performance is the mean reference, plus forward transfer, plus forgetting.

    Args:
        returns: $R$ or $\hat R$, `(..., tasks, stages)`.
        reference: $R^{\text{reference}}$ `(tasks,)`; 1 for $\hat R$.
        where: `(tasks,)` bool, the tasks that count.

    Returns:
        `(...)`; above 0 earlier tasks helped.

    Example:
        >>> forward_transfer([[3.0, 1.0], [0.0, 5.0]], [3.0, 4.0])
        array(0.5)

    References:
        Gaya et al., `Building a subspace of policies for scalable continual learning
        <https://arxiv.org/abs/2211.10445>`_, ICLR 2023.
    """
    return _mean(learned(returns) - np.asarray(reference, float), where)


def forward_transfer_of_curves(areas: ArrayLike, reference: ArrayLike, where: ArrayLike = True) -> np.ndarray:
    r"""The mean part of the room above the reference's learning curves that is used, as in Continual World.

    $$\frac 1 N \sum_t \frac{A_t - A^{\text{reference}}_t}{1 - A^{\text{reference}}_t}$$

    Args:
        areas: $A$ `(..., tasks)`, of the learning curve of each task, as of `area_under_curve`; the largest value is 1,
            as of a success rate.
        reference: $A^{\text{reference}}$ `(tasks,)`, of agents that learn each task by itself; below 1.
        where: `(tasks,)` bool, the tasks that count.

    Returns:
        `(...)`; above 0 earlier tasks helped, and 1 would be a task that is solved from its first step.

    Example:
        >>> forward_transfer_of_curves([0.75, 0.5], [0.5, 0.5])  # half of the room above the first curve, nothing
        array(0.25)

    References:
        Wołczyk et al., `Continual World: a robotic benchmark for continual reinforcement learning
        <https://arxiv.org/abs/2105.10919>`_, NeurIPS 2021.
    """
    reference = np.asarray(reference, float)
    return _mean((np.asarray(areas, float) - reference) / np.where(reference == 1, np.nan, 1 - reference), where)


def area_under_curve(curves: ArrayLike) -> np.ndarray:
    """The mean over the points of a curve, which are equally far apart.

    Args:
        curves: `(..., points)`; a point that is NaN, such as a block of steps in which no episode ended, is left out.

    Returns:
        `(...)`, NaN for a curve without points.
    """
    curves = np.asarray(curves, float)
    seen = np.isfinite(curves)
    with np.errstate(invalid="ignore"):  # 0 / 0 without points gives the desired NaN
        return np.where(seen, curves, 0.0).sum(-1) / seen.sum(-1)


def matrix_of_curves(curves: ArrayLike, points: int = 5) -> np.ndarray:
    """The matrix of returns or success rates at the ends of tasks, as means over the last points of curves.

    Args:
        curves: `(..., tasks, points)`, on every task over the whole sequence; all tasks have the same number of points.
        points: at the end of a task, over which its mean is taken; published: 5.

    Returns:
        `(..., tasks, stages)`, for `average_performance` and `forgetting`.
    """
    curves = np.asarray(curves, float)
    tasks, each = curves.shape[-2], curves.shape[-1] // curves.shape[-2]
    return curves.reshape(*curves.shape[:-1], tasks, each)[..., -points:].mean(-1)


def learned(returns: ArrayLike) -> np.ndarray:
    """The returns at the ends of their tasks, $R_{t,t}$.

    Args:
        returns: $R$, `(..., tasks, stages)`.

    Returns:
        `(..., tasks)`.
    """
    return np.diagonal(np.asarray(returns, float), axis1=-2, axis2=-1)


def _mean(values: np.ndarray, where: ArrayLike) -> np.ndarray:
    """The mean over the tasks that count, the last axis; NaN if there are none."""
    where = np.broadcast_to(where, values.shape[-1:])
    return np.asarray(values[..., where].mean(-1) if where.any() else np.full(values.shape[:-1], np.nan))
