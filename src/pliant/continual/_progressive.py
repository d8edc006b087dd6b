"""Progressive neural networks (PNN): a column of layers for each task, which reads the columns before it."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pliant.core.base import Array, Key, Params
from pliant.core.clock import Clock, Task
from pliant.core.continual import Continual, DenseLayers, Memory, TaskNetwork
from pliant.core.settings import AtLeast, require


class ProgressiveState(NamedTuple):
    column: Array  # () int: of the newest task


def progressive(
    tasks: tuple[Task, ...], layers: DenseLayers | None, width: int = 0, published_first_column: bool = False
) -> Continual:
    r"""Progressive neural networks: each task has a column of dense layers of its own; earlier columns are frozen.

    Column $c$ reads the hidden units $h_0, h_1, \dots$ of the columns before it. With the activation $\phi$, layer $l$
    of the column is

    $$h_c^l = \phi \Big( W_c^l h_c^{l-1} + b_c^l
    + U_c^l \, \phi \big( V_c^l \, \alpha_c^l \, [h_0^{l-1}, \dots, h_{c-1}^{l-1}] \big) + u_c^l \Big),$$

    without the outer $\phi$ in the last layer, and without the lateral term in the first layer and in the first column.
    The number $\alpha_c^l$ is learned, too, and begins uniform in $[0, 1 / c]$. A column acts on its task to the bit as
    at the end of the task; on a task to come the newest column acts.

    Args:
        tasks: of the run; room for all columns is made at the start.
        layers: what the network in whose place the columns are is made of.
        width: units of each hidden layer of a column; 0: those of the network. Published: 96 in place of 256.
        published_first_column: whether the outputs of the first column go through the activation, see below.

    Raises:
        ValueError: for a negative width, or a network of other layers.

    Differs from the authors' code: in their code the outputs of the first column go through the activation like hidden
    units, and so do means and log standard deviations of the first task; `published_first_column` does the same. They
    count a number $\alpha$ for the first layer of each later column, which has no use.

    References:
        Rusu et al., `Progressive neural networks <https://arxiv.org/abs/1606.04671>`_, 2016.
        Gaya et al., `Building a subspace of policies for scalable continual learning
        <https://arxiv.org/abs/2211.10445>`_, ICLR 2023: for SAC.

    Example:
        >>> import jax, pliant.continual
        >>> from pliant.core.clock import Task
        >>> from pliant.core.continual import DenseLayers
        >>> def initialize(key, sizes):
        ...     keys = jax.random.split(key, len(sizes) - 1)
        ...     return {
        ...         f"Dense_{i}": {"kernel": jax.random.normal(keys[i], sizes[i : i + 2]), "bias": jax.numpy.zeros(n)}
        ...         for i, n in enumerate(sizes[1:])
        ...     }
        >>> layers = DenseLayers((3, 64, 64, 2), jax.nn.relu, initialize, outputs=lambda y: y, name="policy")
        >>> method = pliant.continual.progressive((Task("moon", 1000), Task("normal", 2000)), layers, width=24)
    """
    if layers is None:
        raise ValueError(
            "progressive makes columns of dense layers, and this agent has another network; write --agent sac"
        )
    require("width", width, AtLeast(0))
    inputs, *hidden, outputs = layers.sizes
    sizes = (inputs, *(width or units for units in hidden), outputs)
    last, phi = len(sizes) - 2, layers.activation
    columns = max(len(tasks), 2)  # a run of one task has room for two, so that no array is empty

    def lateral(key: Key, column: int, layer: int) -> Params:
        """What column `column` adds to a layer: a network with one hidden layer over all columns before it."""
        layers_key, alpha_key = jax.random.split(key)
        made = layers.initialize(layers_key, (column * sizes[layer], sizes[layer], sizes[layer + 1]))
        V = made["Dense_0"]["kernel"].reshape(column, sizes[layer], sizes[layer])
        return {"alpha": jax.random.uniform(alpha_key) / column, "V": V, "U": made["Dense_1"]}

    def init(key: Key) -> Params:
        columns_key, laterals_key = jax.random.split(key)
        of_columns = jax.vmap(lambda key: layers.initialize(key, sizes))(jax.random.split(columns_key, columns))
        of_layers = {}
        for layer, layer_key in enumerate(jax.random.split(laterals_key, last), start=1):
            keys = jax.random.split(layer_key, columns - 1)
            each = [lateral(keys[column - 1], column, layer) for column in range(1, columns)]
            V = jnp.concatenate([one.pop("V") for one in each])
            of_layers[f"Dense_{layer}"] = {"V": V, **jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)}
        return {"columns": of_columns, "laterals": of_layers}

    def part(params: Params, column: Array | int, before: int) -> tuple[Params, Params]:
        """The layers of a column, and what it adds to them, with the matrices V of `before` columns."""

        def laterals(of_layer: Params) -> Params:
            V = jax.lax.dynamic_slice_in_dim(of_layer["V"], column * (column - 1) // 2, before)
            others = {"alpha": of_layer["alpha"], "U": of_layer["U"]}
            return {"V": V.reshape(-1, V.shape[-1])} | _at(others, jnp.maximum(column - 1, 0))

        of_layers = {name: laterals(of_layer) for name, of_layer in params["laterals"].items()} if before else {}
        return _at(params["columns"], column), of_layers

    def forward(own: tuple[Params, Params], x: Array, earlier: list[Array], is_later: Array | bool) -> list[Array]:
        """The units of each layer of a column, `(batch, units)`.

        Args:
            own: layers of the column, and what it adds to them.
            x: `(batch, inputs)`.
            earlier: of each hidden layer, the units of the columns before it side by side, `(batch, columns * units)`.
            is_later: `()` bool: whether there are columns before it.
        """
        units = []
        for layer in range(last + 1):
            W, U = (of_layers.get(f"Dense_{layer}") for of_layers in own)
            y = x @ W["kernel"] + W["bias"][None]
            if U is not None:
                z = phi(U["alpha"] * (earlier[layer - 1] @ U["V"]))
                y = y + jnp.where(is_later, z @ U["U"]["kernel"] + U["U"]["bias"][None], 0)
            x = y if layer == last else phi(y)
            units.append(x)
        return units

    def columns_before(params: Params, x: Array, column: Array) -> list[Array]:
        """Of each hidden layer, the units of all columns side by side; 0 from `column` on."""
        bound = _over_members(column)
        found: list[list[Array]] = []
        nothing = [jnp.zeros((x.shape[0], units), x.dtype) for units in sizes[1:-1]]
        for index in range(columns - 1):
            own, earlier = part(params, index, index), [jnp.concatenate(each, 1) for each in zip(*found)]
            units = jax.lax.cond(
                index < bound,
                lambda own=own, earlier=earlier: forward(own, x, earlier, True)[:-1],
                lambda: nothing,
            )
            found.append(units)
        there = [[jnp.where(index < column, h, 0) for h in units] for index, units in enumerate(found)]
        return [jnp.concatenate(each, 1) for each in zip(*there)]

    def apply(params: Params, x: Array, column: Array) -> Any:
        earlier = columns_before(*jax.lax.stop_gradient((params, x)), column)
        y = forward(part(params, column, columns - 1), x, earlier, column > 0)[-1]
        return layers.outputs(jnp.where(column == 0, phi(y), y) if published_first_column else y)

    def act(
        params: Params, route: Array, carry: Any, x: Array, *, is_first: Array, key: Key, greedy: bool
    ) -> tuple[Any, Any, Array]:
        del is_first, key, greedy
        return carry, apply(params, x, route), jnp.zeros((x.shape[0], 0))

    def owners(params: Params) -> Params:
        """The column to which each entry of a leaf's leading axis belongs."""
        later = np.arange(1, columns)

        def of_lateral(of_layer: Params) -> Params:
            return jax.tree.map(lambda _: later, of_layer) | {"V": np.repeat(later, later)}

        return {
            "columns": jax.tree.map(lambda _: np.arange(columns), params["columns"]),
            "laterals": {name: of_lateral(of_layer) for name, of_layer in params["laterals"].items()},
        }

    def project(params: Params, state: ProgressiveState, previous: Params) -> Params:
        def newest(owner: np.ndarray, new: Array, old: Array) -> Array:
            learns = (owner == state.column).reshape(-1, *[1] * (new.ndim - 1))
            return jnp.where(learns, new, old)

        return jax.tree.map(newest, owners(params), params, previous)

    def begin_task(params: Params, state: ProgressiveState, *, clock: Clock, key: Key) -> tuple[Params, Any]:
        del state, key
        return params, ProgressiveState(jnp.asarray(clock.task, jnp.int32))

    def memory(params: Params, state: ProgressiveState, tasks: Array | int) -> Memory:
        del state
        numbers = jax.tree.map(
            lambda owner, leaf: (owner < jnp.maximum(tasks, 1)).sum() * int(np.prod(leaf.shape[1:])),
            owners(params),
            params,
        )
        stored = sum(jax.tree.leaves(numbers))
        return Memory(stored, stored)

    network = TaskNetwork(
        init,
        draw=lambda state, batch, key: state.column,
        apply=apply,
        training_route=lambda state: state.column,
        route=lambda state, task: jnp.minimum(task, state.column),
        act=act,
    )
    return Continual(
        lambda params: ProgressiveState(jnp.zeros((), jnp.int32)),
        network,
        project=project,
        begin_task=begin_task,
        per_task=True,
        memory=memory,
    )


def _at(tree: Params, index: Array | int) -> Params:
    """Each leaf at an index of its leading axis."""
    return jax.tree.map(lambda leaf: jax.lax.dynamic_index_in_dim(leaf, index, keepdims=False), tree)


@jax.custom_batching.custom_vmap
def _over_members(column: Array) -> Array:
    """The largest column of all members under `jax.vmap`, so that columns which no member has are computed for none."""
    return column


@_over_members.def_vmap
def _(axis_size: int, in_batched: list[bool], column: Array) -> tuple[Array, bool]:
    del axis_size
    return (_over_members(column.max()) if in_batched[0] else column), False
