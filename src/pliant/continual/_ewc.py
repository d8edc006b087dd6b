"""Elastic weight consolidation (EWC): a pull on the parameters that mattered to earlier tasks."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from pliant.core.base import Array, Params
from pliant.core.continual import Continual
from pliant.core.likelihood import Likelihood, gaussian

from ._importance import anchored_by_importance

_FISHER_FLOOR = 1e-5  # of the information from one input


def ewc(
    apply: Callable[[Params, Array], Any],
    likelihood: Likelihood,
    strength: float = 1.0,
    samples: int = 1024,
    decay: float = 1.0,
    published_outputs: bool = False,
) -> Continual:
    r"""Elastic weight consolidation: a penalty on the distance to the parameters at the end of the task before.

    With these parameters $\theta^*$ the penalty is

    $$\lambda \sum_i F_i (\theta_i - \theta_i^*)^2, \qquad F \leftarrow \gamma F + \overline{\max(F(x), 10^{-5})},$$

    with the diagonal $F(x)$ of the Fisher information for one input $x$, see `likelihood`; for a policy with mean
    $\mu$ and standard deviation $\sigma$ of each action

    $$F_i(x) = \sum_d \frac{(\partial \mu_d / \partial \theta_i)^2 + 2 (\partial \sigma_d / \partial \theta_i)^2}
    {\sigma_d^2 + 10^{-6}}.$$

    Args:
        apply: `(params, inputs) -> outputs` of the network.
        likelihood: of the outputs.
        strength: $\lambda$, at least 0. Published: 0.01 to 10000, see the scenarios.
        samples: inputs of each task that $F$ is measured on, at least 1.
        decay: $\gamma$ in [0, 1]; 1: the sum over all tasks; below 1: online EWC.
        published_outputs: whether a policy's outputs are read as in the authors' code, see below.

    Raises:
        ValueError: for a value outside its range, or for `published_outputs` of another network than a policy of means
            and standard deviations.

    Differs from the authors' code: their loop over outputs ends at half of them. It takes the first half of the means
    for means and the second half for log standard deviations; the real standard deviations, and an odd mean at the
    end, do not count. `published_outputs` does the same.

    References:
        Kirkpatrick et al., `Overcoming catastrophic forgetting in neural networks <https://arxiv.org/abs/1612.00796>`_,
        PNAS 2017. Schwarz et al., `Progress & Compress <https://arxiv.org/abs/1805.06370>`_, ICML 2018: online EWC.
        Wolczyk et al., `Continual World <https://arxiv.org/abs/2105.10919>`_, NeurIPS 2021: for SAC.

    Example:
        >>> import pliant.continual
        >>> from pliant.core.likelihood import categorical
        >>> def apply(params, x):
        ...     return x @ params["w"]
        >>> method = pliant.continual.ewc(apply, categorical, strength=100.0)
    """
    if published_outputs and likelihood is not gaussian:
        raise ValueError(
            "published_outputs=true is for policies of means and standard deviations, and this network has other "
            "outputs; leave it out"
        )

    def statistics(params: Params, x: Array) -> tuple[Array, Array]:
        """What the Fisher information is of, `(k,)`, and the weights, for one input."""
        outputs = apply(params, x[None])
        if published_outputs:
            mean, _ = outputs
            half = mean.shape[1] // 2
            outputs = mean[:, :half], mean[:, half : 2 * half]
        v, w = likelihood(outputs)
        return v[0], w[0]

    def fisher(params: Params, x: Array) -> Params:
        """The information from one input."""
        v, gradients, w = jax.vjp(lambda theta: statistics(theta, x), params, has_aux=True)
        rows = jax.vmap(lambda one: gradients(one)[0])(jnp.eye(v.size, dtype=v.dtype))
        return jax.tree.map(lambda rows: jnp.maximum(jnp.tensordot(w, rows**2, 1), _FISHER_FLOOR), rows)

    return anchored_by_importance(fisher, strength, samples, decay)
