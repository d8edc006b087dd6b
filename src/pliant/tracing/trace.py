"""Finds the hidden units of a network by reading its jaxpr.

    wiring = trace(lambda params, x: model.apply(params, x), params, x)
    print(wiring.describe())
    output, features = wiring.apply(params, x)

Reading a network takes four steps:

1. `inlining` writes the nested calls of the jaxpr out.
2. `reading` walks over the equations once. Each axis of each array has a label (`labels`). The rule of each primitive
   (`rules`, `contractions`, `pieces`) makes labels equal, and notes where weights meet data (`values`).
3. A label that one weight makes and another weight reads runs over a group of hidden units: `assembly` puts the groups
   together from the notes.
4. The jaxpr gets the groups' activations as further outputs: that is the wiring's function.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.extend.core as jex
from jax.core import ShapedArray, Tracer

from pliant.core.base import Features, Params
from pliant.core.units import Group, Wiring, path_of

from .assembly import Assembly, Tap, plain
from .errors import TracingError as TracingError
from .evaluation import evaluate
from .inlining import inline
from .reading import read


def trace(apply: Callable[..., Any], params: Params, *inputs: Any, skip: bool = False) -> Wiring:
    """Finds the groups of hidden units of a network, and where their weights and activations are.

    Works on any function that JAX can trace: flax, equinox, haiku, plain functions; several networks in one function;
    batch normalization in both modes; residual streams, flattened images, joined branches, embeddings, one head per
    task; inside of `jax.shard_map`. Nothing is computed.

    A weight that is applied several times (a network called on two inputs, a layer used twice) is described by its
    first use. Units that are split and joined again in the same order (the groups of a GroupNorm, two halves) are one
    group. Units that the network pairs (the halves of a gated unit) are one unit. A single channel that is flattened
    into an image of one channel is not a group.

    Trace a recurrent network over two steps that are written out: the carry of the first step is an input of the
    second. A single step does not show which weights read the carry, so it is refused.

    Args:
        apply: `(params, *inputs) -> output`, any pytree. Close over values that are not arrays. Close over random keys,
            or pass them as inputs.
        params: a pytree of arrays or of `jax.ShapeDtypeStruct`, running statistics included.
        *inputs: pytrees of arrays or of `jax.ShapeDtypeStruct`: examples of shape and type. `wiring.apply` takes other
            batch sizes too.
        skip: whether to leave out the units that cannot be followed, instead of an error. The wiring has the other
            groups, and `wiring.skipped` the omitted weights with the reasons. If one user of a group's units cannot be
            followed, the whole group is left out, so no group lacks a weight.

    Returns:
        The wiring; its `function` is set. It can be copied, and pickled where `apply` can.

    Raises:
        TypeError: if the first argument is not a function.
        TracingError: if units pass through a primitive without a rule: `scan` and other loops over parameters,
            grouped convolutions, attention, sorting. The error names primitive and parameters. The outputs of the
            network may pass through any primitive. Or if a recurrent network is traced along one step.

    Example:
        >>> def apply(params, x):
        ...     return jax.nn.relu(x @ params["w0"]) @ params["w1"]
        >>> wiring = trace(apply, {"w0": jnp.ones((3, 5)), "w1": jnp.ones((5, 2))}, jnp.ones((1, 3)))
        >>> [reader.path for reader in wiring["w0"].outgoing]
        ['w1']
    """
    if not callable(apply):
        raise TypeError(
            f"trace got an object of type {type(apply).__name__} as the network's function; "
            "write pliant.trace(apply, params, x), the function first"
        )
    network = _Network(apply, skip)
    plan = network.read(params, inputs)
    return Wiring(plan.groups, network, skipped=plan.skipped)


@dataclasses.dataclass(frozen=True)
class _Plan:
    """The groups of a network for inputs of one shape, and how to run it with their features.

    Args:
        groups: by name.
        taps: where each feature is found, by its name.
        consts: the first inputs of the jaxpr.
        jaxpr: returns the network's outputs, and then the variables of the taps.
        structure: of the network's output.
        skipped: paths of weights whose units are left out, and why.
    """

    groups: Mapping[str, Group]
    taps: Mapping[str, Tap]
    consts: Sequence[Any]
    jaxpr: jex.ClosedJaxpr
    structure: Any
    skipped: Mapping[str, str]

    def run(self, params: Params, inputs: tuple[Any, ...]) -> tuple[Any, Features]:
        values = evaluate(self.jaxpr, *self.consts, *jax.tree.leaves((params, inputs)))
        number = self.structure.num_leaves
        features = {name: tap(array) for (name, tap), array in zip(self.taps.items(), values[number:], strict=True)}
        return jax.tree.unflatten(self.structure, values[:number]), features


class _Network:
    """The function of a traced `Wiring`; it reads the network once for each shape of its inputs."""

    def __init__(self, apply: Callable[..., Any], skip: bool):
        self._apply = apply
        self._skip = skip
        self._plans: dict[Any, _Plan] = {}
        self._first: Mapping[str, Group] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """For copies, and for other processes: programs of JAX cannot be copied, so each copy makes its plans again."""
        return {**self.__dict__, "_plans": {}}

    def __call__(self, params: Params, *inputs: Any) -> tuple[Any, Features]:
        return self.read(params, inputs).run(params, inputs)

    def read(self, params: Params, inputs: tuple[Any, ...]) -> _Plan:
        """The plan for arguments of these shapes.

        Raises:
            TracingError: if the network cannot be read, or has other groups than the first plan.
        """
        leaves, structure = jax.tree.flatten_with_path((params, inputs))
        key = (structure, tuple(_type_of(path, leaf) for path, leaf in leaves))
        if key in self._plans:
            return self._plans[key]
        paths = [path_of(path) for path, _ in jax.tree_util.tree_flatten_with_path(params)[0]]
        closed, shape = jax.make_jaxpr(self._apply, return_shape=True)(params, *inputs)
        program = inline(closed)
        notes = read(program, paths, self._skip)
        assembly = Assembly(notes)
        arguments = jax.tree.unflatten(jax.tree.structure(inputs), notes.inputs)
        assembly.leave_out_carries(arguments, jax.tree.unflatten(jax.tree.structure(shape), notes.outputs))
        groups = assembly.groups()
        variables = [tap.variable for tap in assembly.taps.values()]
        jaxpr = program.with_outputs(variables)
        plan = _Plan(groups, assembly.taps, program.consts, jaxpr, jax.tree.structure(shape), notes.skipped)
        if self._first is None:
            self._first = groups
        elif _facts(groups) != _facts(self._first):
            raise TracingError(
                "with these inputs the network has other groups of units than those it was traced with; "
                "call pliant.trace again with inputs of this shape"
            )
        # A constant that is itself being traced, by a vmap or jit around the caller, must not outlive this call.
        if not any(isinstance(const, Tracer) for const in program.consts):
            self._plans[key] = plan
        return plan


def _type_of(path: Any, leaf: Any) -> ShapedArray:
    """Shape and dtype of an argument, and the axes of a mesh along which it differs, in a `shard_map`."""
    if isinstance(leaf, jax.ShapeDtypeStruct):
        return ShapedArray(leaf.shape, leaf.dtype, weak_type=bool(leaf.weak_type))
    try:
        return jax.typeof(leaf)
    except TypeError as error:
        raise TracingError(
            f"{path_of(path[1:])!r} is a {type(leaf).__name__}, not an array; keep only arrays in parameters and "
            "inputs, as equinox.partition(model, equinox.is_array) does, and close over the rest"
        ) from error


def _facts(groups: Mapping[str, Group]) -> Any:
    """Groups as plain data, for comparison."""
    return {name: plain(group) for name, group in groups.items()}
