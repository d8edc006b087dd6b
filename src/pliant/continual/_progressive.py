"""Progressive neural networks (PNN): a column of layers for each task, which reads the columns before it."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pliant.core import replicas
from pliant.core.base import Array, Key, Params
from pliant.core.clock import Clock, Task
from pliant.core.continual import Continual, DenseLayers, Memory, TaskNetwork, dense_layers_for
from pliant.core.settings import Whole, require


class ProgressiveState(NamedTuple):
    """Earlier columns are no parameters: the optimizer neither reads nor writes them."""

    column: Array  # () int: of the newest task
    earlier: Params  # all columns, see `_Columns`; those from the newest on have no meaning


class Place(NamedTuple):
    """What acts beside a column."""

    column: Array  # () int: its index
    earlier: Params  # as in the state


def progressive(
    tasks: tuple[Task, ...], layers: DenseLayers | None = None, width: int = 0, published_first_column: bool = False
) -> Continual:
    r"""Progressive neural networks: each task has a column of dense layers of its own; earlier columns are frozen.

    Column $c$ reads the hidden units $h_0, h_1, \dots$ of the columns before it. With the activation $\phi$, layer $l$
    of the column is

    $$h_c^l = \phi \Big( W_c^l h_c^{l-1} + b_c^l
    + U_c^l \, \phi \big( V_c^l \, \alpha_c^l \, [h_0^{l-1}, \dots, h_{c-1}^{l-1}] \big) + u_c^l \Big),$$

    without the outer $\phi$ in the last layer, and without the lateral term in the first layer and in the first column.
    The number $\alpha_c^l$ is learned, too, and begins uniform in $[0, 1 / c]$. A column acts on its task to the bit as
    at the end of the task; on a task to come the newest column acts. Memory and time of an update grow with the square
    of the number of columns.

    Args:
        tasks: of the run; room for all columns is made at the start.
        layers: what the network in whose place the columns are is made of; agents with other networks have none.
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
    layers = dense_layers_for("progressive", layers)
    require("width", width, Whole(0))
    inputs, *hidden, outputs = layers.sizes
    sizes = (inputs, *(width or units for units in hidden), outputs)
    room = max(len(tasks), 2)  # a run of one task has room for two columns, so that no array is empty
    columns = _Columns(layers, sizes, room, published_first_column)
    shapes = jax.eval_shape(columns.nothing)

    def init(params: Params) -> ProgressiveState:
        del params
        return ProgressiveState(jnp.zeros((), jnp.int32), columns.nothing())

    def begin_task(params: Params, state: ProgressiveState, *, clock: Clock, key: Key) -> tuple[Params, Any]:
        task = jnp.asarray(clock.task, jnp.int32)
        earlier = columns.stored(state.earlier, state.column, params)
        return columns.fresh(key, task), ProgressiveState(task, earlier)

    def view(params: Params, state: ProgressiveState, task: Array | int) -> Params:
        stored = columns.column(state.earlier, jnp.minimum(task, state.column))
        return jax.tree.map(lambda old, newest: jnp.where(task < state.column, old, newest), stored, params)

    def act(
        params: Params, route: Place, carry: Any, x: Array, *, is_first: Array, key: Key, greedy: bool
    ) -> tuple[Any, Any, Array]:
        del is_first, key, greedy
        return carry, columns.apply(params, x, route), jnp.zeros((x.shape[0], 0))

    def memory(params: Params, state: ProgressiveState, tasks: Array | int) -> Memory:
        del params, state

        def of_leaf(owner: np.ndarray, leaf: Any) -> Array:
            return (owner < jnp.maximum(tasks, 1)).sum() * math.prod(leaf.shape[1:])

        stored = sum(jax.tree.leaves(jax.tree.map(of_leaf, columns.owners(shapes), shapes)))
        return Memory(stored, stored)

    network = TaskNetwork(
        columns.first,
        draw=lambda state, batch, key: Place(state.column, state.earlier),
        apply=columns.apply,
        training_route=lambda state: Place(state.column, state.earlier),
        route=lambda state, task: Place(jnp.minimum(task, state.column), state.earlier),
        act=act,
    )
    return Continual(init, network, begin_task=begin_task, view=view, per_task=True, memory=memory)


class _Columns(NamedTuple):
    r"""A network of columns.

    All columns together are `columns`, the layers of each column on a leading axis, and `laterals`, of each layer but
    the first the $\alpha$, `V` and `U` of the later columns. A column has a matrix $V$ for each column before it. Those
    of column 1, 2, ... follow each other on one axis, so that no number is stored that none uses.

    One column alone has the same without the leading axis, and as many matrices $V$ as the last column. It uses the
    first of them, one for each column before it; the others have gradients of 0.
    """

    layers: DenseLayers
    sizes: tuple[int, ...]  # inputs, units of each hidden layer of a column, numbers of the last layer
    room: int  # number of columns, at least 2
    published_first_column: bool

    @property
    def last(self) -> int:
        """The index of the last layer."""
        return len(self.sizes) - 2

    def first(self, key: Key) -> Params:
        """The first column, which has no use for laterals."""
        shapes = jax.eval_shape(lambda: self.fresh(key, jnp.int32(0)))["laterals"]
        laterals = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
        return {"column": self.layers.initialize(key, self.sizes), "laterals": laterals}

    def fresh(self, key: Key, column: Array) -> Params:
        """A later column before it learns."""
        layers_key, *keys = jax.random.split(key, 1 + self.last)
        laterals = {}
        for layer, layer_key in enumerate(keys, start=1):
            # One of them is taken: a key may serve all.
            each = [self.lateral(layer_key, later, layer) for later in range(1, self.room)]
            laterals[f"Dense_{layer}"] = _at(jax.tree.map(lambda *leaves: jnp.stack(leaves), *each), column - 1)
        return {"column": self.layers.initialize(layers_key, self.sizes), "laterals": laterals}

    def lateral(self, key: Key, column: int, layer: int) -> Params:
        r"""What a later column adds to a layer: $\alpha$, `U`, and the matrices V on top of each other.

        They are drawn as a network with one hidden layer, whose inputs are the units of all columns before.
        """
        layers_key, alpha_key = jax.random.split(key)
        units = self.sizes[layer]
        made = self.layers.initialize(layers_key, (column * units, units, self.sizes[layer + 1]))
        V = jnp.pad(made["Dense_0"]["kernel"], ((0, (self.room - 1 - column) * units), (0, 0)))
        return {"V": V, "alpha": jax.random.uniform(alpha_key) / column, "U": made["Dense_1"]}

    def nothing(self) -> Params:
        """All columns, with zeros."""
        one = jax.eval_shape(lambda: self.first(jax.random.key(0)))

        def zeros(count: int) -> Any:
            return lambda x: jnp.zeros((count, *x.shape), x.dtype)

        def of_lateral(lateral: Params) -> Params:
            units = lateral["V"].shape[1]
            V = jnp.zeros((self.room * (self.room - 1) // 2, units, units), lateral["V"].dtype)
            return jax.tree.map(zeros(self.room - 1), lateral) | {"V": V}

        laterals = {name: of_lateral(lateral) for name, lateral in one["laterals"].items()}
        return {"columns": jax.tree.map(zeros(self.room), one["column"]), "laterals": laterals}

    def column(self, whole: Params, column: Array) -> Params:
        """One column of all."""
        layers, laterals = self.part(whole, column, self.room - 1)
        return {"column": layers, "laterals": laterals}

    def stored(self, whole: Params, column: Array, one: Params) -> Params:
        """All columns with another one in its place.

        Its unused matrices V are written to places of later columns, and at 0 it also writes there what a first column
        has no use for. Later columns are stored after it, and write over them.
        """
        place, first = jnp.maximum(column - 1, 0), column * (column - 1) // 2

        def put(leaf: Array, value: Array, index: Array) -> Array:
            return jax.lax.dynamic_update_slice_in_dim(leaf, value, index, 0)

        def of_lateral(lateral: Params, new: Params) -> Params:
            V = put(lateral["V"], new["V"].reshape(-1, *lateral["V"].shape[1:]), first)
            return {"V": V} | {
                name: jax.tree.map(lambda leaf, x: put(leaf, x[None], place), lateral[name], new[name])
                for name in ("alpha", "U")
            }

        laterals = {name: of_lateral(each, one["laterals"][name]) for name, each in whole["laterals"].items()}
        columns = jax.tree.map(lambda leaf, x: put(leaf, x[None], column), whole["columns"], one["column"])
        return {"columns": columns, "laterals": laterals}

    def owners(self, whole: Params) -> Params:
        """The column that each entry of a leaf's leading axis belongs to."""
        later = np.arange(1, self.room)

        def of_lateral(lateral: Params) -> Params:
            return jax.tree.map(lambda _: later, lateral) | {"V": np.repeat(later, later)}

        return {
            "columns": jax.tree.map(lambda _: np.arange(self.room), whole["columns"]),
            "laterals": {name: of_lateral(lateral) for name, lateral in whole["laterals"].items()},
        }

    def apply(self, params: Params, x: Array, place: Place) -> Any:
        """The outputs of one column for `x` `(batch, inputs)`."""
        before = self.units_before(place.earlier, jax.lax.stop_gradient(x), place.column)
        *_, y = self.units_of((params["column"], params["laterals"]), x, before, place.column > 0)
        if self.published_first_column:
            y = jnp.where(place.column == 0, self.layers.activation(y), y)
        return self.layers.outputs(y)

    def units_before(self, whole: Params, x: Array, column: Array) -> list[Array]:
        """Of each hidden layer, the units of all columns but the last side by side; 0 from `column` on."""
        found: list[list[Array]] = []
        nothing = [jnp.zeros((x.shape[0], units), x.dtype) for units in self.sizes[1:-1]]
        newest = _over_members(column)
        for index in range(self.room - 1):
            part, before = self.part(whole, index, index), _side_by_side(found)

            def units(part: Any = part, before: list[Array] = before) -> list[Array]:
                return self.units_of(part, x, before)[:-1]

            found.append(replicas.cond(index < newest, units, lambda: nothing))
        return _side_by_side([[jnp.where(index < column, h, 0) for h in units] for index, units in enumerate(found)])

    def part(self, whole: Params, column: Array | int, before: int) -> tuple[Params, Params]:
        """Layers and laterals of a column, with `before` matrices V on top of each other."""

        def of_lateral(lateral: Params) -> Params:
            V = jax.lax.dynamic_slice_in_dim(lateral["V"], column * (column - 1) // 2, before)
            others = {name: lateral[name] for name in ("alpha", "U")}
            return {"V": V.reshape(-1, V.shape[-1]), **_at(others, jnp.maximum(column - 1, 0))}

        laterals = whole["laterals"] if before else {}  # the first column has none
        return _at(whole["columns"], column), {name: of_lateral(each) for name, each in laterals.items()}

    def units_of(
        self, part: tuple[Params, Params], x: Array, before: list[Array], is_later: Array | bool = True
    ) -> list[Array]:
        """The units of each layer of a column, `(batch, units)`; of the last layer before the activation.

        Args:
            part: its layers and laterals.
            x: `(batch, inputs)`.
            before: of each hidden layer, the units of the columns before it side by side, `(batch, columns * units)`.
            is_later: `()` bool: whether there are columns before it, if it has laterals.
        """
        layers, laterals = part
        phi, found = self.layers.activation, []
        for layer in range(self.last + 1):
            W, lateral = layers[f"Dense_{layer}"], laterals.get(f"Dense_{layer}")
            y = x @ W["kernel"] + W["bias"][None]
            if lateral is not None:
                U = lateral["U"]
                z = phi(lateral["alpha"] * (before[layer - 1] @ lateral["V"]))
                y = y + jnp.where(is_later, z @ U["kernel"] + U["bias"][None], 0)
            x = phi(y)
            found.append(y if layer == self.last else x)
        return found


def _at(tree: Params, index: Array | int) -> Params:
    """Each leaf at an index of its leading axis."""
    return jax.tree.map(lambda leaf: jax.lax.dynamic_index_in_dim(leaf, index, keepdims=False), tree)


def _side_by_side(units: list[list[Array]]) -> list[Array]:
    """Of each hidden layer, the units of some columns as one array `(batch, columns * units)`."""
    return [jnp.concatenate(of_layer, 1) for of_layer in zip(*units)]


@jax.custom_batching.custom_vmap
def _over_members(column: Array) -> Array:
    """The newest column of all members under `jax.vmap`.

    It is the same for all, so that a condition on it stays a branch: columns that no member has are not computed.
    """
    return column


@_over_members.def_vmap
def _(axis_size: int, in_batched: list[bool], column: Array) -> tuple[Array, bool]:
    del axis_size
    return (_over_members(column.max()) if in_batched[0] else column), False
