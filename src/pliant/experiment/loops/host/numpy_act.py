"""The acting program of an agent, carried out by NumPy: for small networks XLA's start of a call takes most of a step.

The program is the agent's own `act`, traced once and divided by what its equations depend on:

    keys and time alone       random numbers: one compiled call draws them for a whole round, ahead
    parameters alone          once a round
    observations              at each step

What only learning needs, such as values and log-probabilities, is left out here, and is computed for a whole round at
once before learning.
"""

import functools
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import jax
import jax.extend.core as jex
import jax.numpy as jnp
import numpy as np

from pliant.core.base import Array
from pliant.experiment.loops.acting import ActingInput
from pliant.tracing.inlining import Program, body, inline

_Function: TypeAlias = Callable[..., np.ndarray]
_Step: TypeAlias = tuple[_Function, tuple[int, ...], int]  # function, places of its operands, place of its result

_MOST_PRODUCTS = 1_000_000  # multiplications a step of a member; larger products gain from XLA's threads


class NotInNumPyError(Exception):
    """The program has an operation that is not carried out here."""


class NumPyAct:
    """The program of a group of members.

    Args:
        act: `(params, key, seen, values, t) -> (carry, action, extras)`, of all members.
        like: shapes and types of its arguments; each but the last has a leading axis of members.
        members: of the group.

    Attributes:
        draw: `(key, first, count) -> [(count, ...)]`, compiled: the random numbers of the times from `first` on.

    Raises:
        NotInNumPyError: if an operation is unknown here, or the products are large.
    """

    def __init__(self, act: Callable[..., Any], like: tuple[Any, ...], members: int):
        closed, shapes = jax.make_jaxpr(act, return_shape=True)(*like)
        carry, action, _ = shapes
        self._results = jax.tree.structure((carry, action))
        program = inline(closed)
        outputs = program.outputs[: self._results.num_leaves]
        counts = [len(jax.tree.leaves(part)) for part in like]
        arguments = program.inputs[len(program.consts) :]
        params, key, seen, values, t = (list(part) for part in _parts(arguments, counts))

        constants = dict(zip(program.inputs, program.consts))
        random, rest = _divide(program.equations, {*key, *t, *constants})
        rest = _needed(rest, outputs)
        _check_products(rest, members)
        slow, fast = _divide(rest, {*params, *values, *constants})
        made = {variable for equation in random for variable in equation.outvars}
        self._drawn = [variable for variable in _read(rest, outputs) if variable in made or variable in {*key, *t}]
        if any(jnp.issubdtype(variable.aval.dtype, jax.dtypes.prng_key) for variable in self._drawn):
            raise NotInNumPyError("random numbers that depend on the observation")
        self.draw = jax.jit(_drawing(program, random, self._drawn, [*key, *t]), static_argnums=2)

        places: dict[Any, int] = {}
        for variable in (*constants, *params, *values, *seen, *self._drawn):
            places.setdefault(variable, len(places))
        self._slow = [_compiled(equation, places) for equation in slow]
        self._fast = [_compiled(equation, places) for equation in fast]
        self._begin = [places[variable] for variable in (*params, *values)]
        self._now = [places[variable] for variable in (*seen, *self._drawn)]
        self._constants = [(places[variable], np.asarray(value)) for variable, value in constants.items()]
        self._out = [_place(atom, places, self._constants) for atom in outputs]
        self._size = len(places)

    def of_round(self, params: Any, values: Mapping[str, Any]) -> Callable[[ActingInput, Sequence[np.ndarray]], Any]:
        """The program with the parameters of a round: `(seen, drawn) -> (carry, action)`.

        Args:
            params: the acting parameters, `(members, ...)` each.
            values: the swept values of the members.

        Returns:
            A function of the observations `(members, num_envs, ...)` and of the random numbers of a time.
        """
        memory: list[Any] = [None] * self._size
        for place, value in self._constants:
            memory[place] = value
        for place, value in zip(self._begin, jax.tree.leaves((params, values)), strict=True):
            memory[place] = np.asarray(value)
        _run(self._slow, memory)

        def act(seen: ActingInput, drawn: Sequence[np.ndarray]) -> tuple[Any, Any]:
            for place, value in zip(self._now, (*jax.tree.leaves(seen), *drawn), strict=True):
                memory[place] = value
            _run(self._fast, memory)
            return jax.tree.unflatten(self._results, [memory[place] for place in self._out])

        return act


def _parts(items: Sequence[Any], counts: Sequence[int]) -> list[Sequence[Any]]:
    ends = np.cumsum([0, *counts])
    return [items[first:last] for first, last in itertools.pairwise(ends)]


def _divide(equations: Sequence[Any], known: set[Any]) -> tuple[list[Any], list[Any]]:
    """The equations that depend on the known variables alone, and the others; both in order."""
    known, of_known, others = set(known), [], []
    for equation in equations:
        if all(isinstance(atom, jex.Literal) or atom in known for atom in equation.invars):
            known.update(equation.outvars)
            of_known.append(equation)
        else:
            others.append(equation)
    return of_known, others


def _needed(equations: Sequence[Any], outputs: Sequence[Any]) -> list[Any]:
    needed, kept = {atom for atom in outputs if not isinstance(atom, jex.Literal)}, []
    for equation in reversed(equations):
        if not needed.isdisjoint(equation.outvars):
            kept.append(equation)
            needed.update(atom for atom in equation.invars if not isinstance(atom, jex.Literal))
    return kept[::-1]


def _read(equations: Sequence[Any], outputs: Sequence[Any]) -> list[Any]:
    """The variables that are read, each once."""
    atoms = [*(atom for equation in equations for atom in equation.invars), *outputs]
    return list(dict.fromkeys(atom for atom in atoms if not isinstance(atom, jex.Literal)))


def _check_products(equations: Sequence[Any], members: int) -> None:
    products = 0
    for equation in equations:
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            left = equation.invars[0].aval.shape
            products += math.prod(equation.outvars[0].aval.shape) * math.prod(left[axis] for axis in contracted)
    if products > members * _MOST_PRODUCTS:
        raise NotInNumPyError(f"{products // members:,} multiplications a step")


def _drawing(program: Program, random: Sequence[Any], drawn: Sequence[Any], given: Sequence[Any]) -> Callable[..., Any]:
    """The function `NumPyAct.draw` of the equations `random`; `given` are key and time."""
    names = list(program.inputs[: len(program.consts)])
    jaxpr = Program((), [*names, *given], list(drawn), _needed(random, drawn), program.source).with_outputs(())
    function = jex.jaxpr_as_fun(jaxpr)

    def draw(key: Array, first: Array, count: int) -> list[Array]:
        times = first + jnp.arange(count, dtype=first.dtype)
        return jax.vmap(lambda t: function(*program.consts, key, t))(times)

    return draw


# -- equations as functions


def _run(steps: Sequence[_Step], memory: list[Any]) -> None:
    with np.errstate(all="ignore"):  # members that diverged
        for function, operands, result in steps:
            memory[result] = function(*[memory[place] for place in operands])


def _place(atom: Any, places: dict[Any, int], constants: list[tuple[int, np.ndarray]]) -> int:
    """The place of a variable; a literal gets one of its own."""
    if isinstance(atom, jex.Literal):
        place = places.setdefault(object(), len(places))
        constants.append((place, np.asarray(atom.val, atom.aval.dtype)))
        return place
    return places[atom]


def _compiled(equation: Any, places: dict[Any, int]) -> _Step:
    """An equation as a step; its literals are bound to it."""
    function = _function(equation)
    literals = {
        index: np.asarray(atom.val, atom.aval.dtype)[()]
        for index, atom in enumerate(equation.invars)
        if isinstance(atom, jex.Literal)
    }
    operands = tuple(places[atom] for atom in equation.invars if not isinstance(atom, jex.Literal))
    if literals:
        function = functools.partial(_with_literals, function, literals, len(equation.invars))
    (variable,) = equation.outvars
    return function, operands, places.setdefault(variable, len(places))


def _with_literals(function: _Function, literals: Mapping[int, Any], count: int, *operands: Any) -> np.ndarray:
    rest = iter(operands)
    return function(*[literals[index] if index in literals else next(rest) for index in range(count)])


_SAME: Mapping[str, _Function] = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "neg": np.negative, "max": np.maximum, "min": np.minimum,
    "exp": np.exp, "exp2": np.exp2, "expm1": np.expm1, "log": np.log, "log1p": np.log1p, "tanh": np.tanh, "sin": np.sin,
    "cos": np.cos, "sqrt": np.sqrt, "square": np.square, "abs": np.abs, "sign": np.sign, "floor": np.floor,
    "ceil": np.ceil, "pow": np.power, "is_finite": np.isfinite, "lt": np.less, "le": np.less_equal, "gt": np.greater,
    "ge": np.greater_equal, "eq": np.equal, "ne": np.not_equal, "and": np.bitwise_and, "or": np.bitwise_or,
    "xor": np.bitwise_xor, "not": np.invert, "copy": lambda x: x, "stop_gradient": lambda x: x,
    "logistic": lambda x: 1 / (1 + np.exp(-x)), "rsqrt": lambda x: 1 / np.sqrt(x),
    "clamp": lambda low, x, high: np.clip(x, low, high),
}  # fmt: skip
_REDUCTIONS: Mapping[str, _Function] = {
    "reduce_sum": np.sum, "reduce_max": np.max, "reduce_min": np.min, "reduce_and": np.all, "reduce_or": np.any,
}  # fmt: skip


def _function(equation: Any) -> _Function:
    """The function of an equation, of NumPy arrays."""
    name, params = equation.primitive.name, equation.params
    shape, dtype = equation.outvars[0].aval.shape, equation.outvars[0].aval.dtype
    inner = body(equation)
    if len(equation.outvars) != 1:
        raise NotInNumPyError(f"{name} with several results")
    if inner is not None:
        return _call(*inner)
    if name in _SAME:
        return _SAME[name]
    if name == "div" and np.issubdtype(dtype, np.floating):
        return np.divide
    if name in _REDUCTIONS:
        return functools.partial(_REDUCTIONS[name], axis=tuple(params["axes"]))
    if name == "argmax":
        (axis,) = params["axes"]
        return lambda x: np.argmax(x, axis).astype(params["index_dtype"])
    if name == "dot_general":
        return _product(equation)
    if name == "integer_pow":
        return lambda x: x ** params["y"]
    if name == "convert_element_type":
        return lambda x: np.asarray(x).astype(dtype, copy=False)
    if name == "select_n" and equation.invars[0].aval.dtype == bool and len(equation.invars) == 3:
        return lambda which, no, yes: np.where(which, yes, no)
    if name in ("reshape", "squeeze", "expand_dims"):
        return lambda x: np.reshape(x, shape)
    if name == "broadcast_in_dim":
        return _broadcast(params["broadcast_dimensions"], shape)
    if name == "transpose":
        return lambda x: np.transpose(x, params["permutation"])
    if name == "concatenate":
        return lambda *xs: np.concatenate(xs, params["dimension"])
    if name == "slice":
        strides = params["strides"] or [1] * len(shape)
        index = tuple(map(slice, params["start_indices"], params["limit_indices"], strides))
        return lambda x: x[index]
    if name == "iota":
        axis = params["dimension"]
        along = [1] * axis + [-1] + [1] * (len(shape) - axis - 1)
        return lambda: np.broadcast_to(np.arange(shape[axis], dtype=dtype).reshape(along), shape)
    raise NotInNumPyError(name)


def _call(jaxpr: Any, consts: Sequence[Any]) -> _Function:
    """A nested call with one result."""
    places = {variable: index for index, variable in enumerate((*jaxpr.invars, *jaxpr.constvars))}
    steps = [_compiled(equation, places) for equation in jaxpr.eqns]
    literals: list[tuple[int, np.ndarray]] = []
    (out,) = (_place(atom, places, literals) for atom in jaxpr.outvars)

    def call(*operands: Any) -> np.ndarray:
        memory = [*operands, *map(np.asarray, consts), *[None] * (len(places) - len(operands) - len(consts))]
        for place, value in literals:
            memory[place] = value
        _run(steps, memory)
        return memory[out]

    return call


def _broadcast(axes: Sequence[int], shape: Sequence[int]) -> _Function:
    def broadcast(x: np.ndarray) -> np.ndarray:
        thin = [1] * len(shape)
        for axis, size in zip(axes, np.shape(x)):
            thin[axis] = size
        return np.broadcast_to(np.reshape(x, thin), shape)

    return broadcast


def _product(equation: Any) -> _Function:
    """A matrix product; axes that NumPy wants elsewhere are moved."""
    (left_sums, right_sums), (left_batch, right_batch) = equation.params["dimension_numbers"]
    left, right = (atom.aval.shape for atom in equation.invars)
    left_free = [axis for axis in range(len(left)) if axis not in (*left_sums, *left_batch)]
    right_free = [axis for axis in range(len(right)) if axis not in (*right_sums, *right_batch)]
    batch = [left[axis] for axis in left_batch]
    summed = math.prod(left[axis] for axis in left_sums)
    to_left, to_right = (*left_batch, *left_free, *left_sums), (*right_batch, *right_sums, *right_free)
    shape = equation.outvars[0].aval.shape

    def product(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        x = np.transpose(x, to_left).reshape(*batch, -1, summed)
        y = np.transpose(y, to_right).reshape(*batch, summed, -1)
        return np.matmul(x, y).reshape(shape)

    return product
