"""Evaluates a traced network, with gradients of convolutions and max-pooling that are fast on CPUs.

XLA brings the gradient of a kernel into a form that its fast routines know only outside of loops. In a training loop
that is one program it is up to a hundred times slower. Here the gradient has that form from the beginning. The gradient
of max-pooling is written with comparisons, in place of XLA's slow `select_and_scatter`.

Neither can be differentiated forwards (`jax.jvp`) on a CPU.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.extend.core as jex
import jax.numpy as jnp
from jax import lax

from pliant.core.base import Array

_EXAMPLES_AT_ONCE = 10  # in the gradient of a kernel; measured with images of 12x12 to 32x32 pixels


def evaluate(closed: jex.ClosedJaxpr, *arguments: Array) -> list[Any]:
    """The results of a jaxpr without constants.

    Args:
        closed: the jaxpr; calls in it are evaluated as they are.
        arguments: its inputs.
    """
    values = dict(zip(closed.jaxpr.invars, arguments, strict=True))

    def read(atom: Any) -> Any:
        return atom.val if isinstance(atom, jex.Literal) else values[atom]

    for function, equations in itertools.groupby(closed.jaxpr.eqns, _with_own_gradient):
        if function is not None:
            for equation in equations:
                values[equation.outvars[0]] = function(equation.params, *map(read, equation.invars))
        else:
            part = _part(closed.jaxpr, list(equations))
            results = jex.jaxpr_as_fun(part)(*map(read, part.jaxpr.invars))
            values.update(zip(part.jaxpr.outvars, results, strict=True))
    return [read(atom) for atom in closed.jaxpr.outvars]


def _part(jaxpr: jex.Jaxpr, equations: list[Any]) -> jex.ClosedJaxpr:
    """Some equations in a row as a jaxpr of their own, which returns all that they make."""
    made = [variable for equation in equations for variable in equation.outvars]
    used = (atom for equation in equations for atom in equation.invars if isinstance(atom, jex.Var))
    inputs = list(dict.fromkeys(variable for variable in used if variable not in set(made)))
    return jex.ClosedJaxpr(
        jex.Jaxpr(
            constvars=[], invars=inputs, outvars=made, eqns=equations, effects=jaxpr.effects,
            debug_info=jaxpr.debug_info._replace(arg_names=None, result_paths=None),
        ),
        [],
    )  # fmt: skip


def _with_own_gradient(equation: Any) -> Callable[..., Array] | None:
    """The function of parameters and operands that evaluates an equation with a gradient of its own."""
    if jax.default_backend() != "cpu":
        return None
    settings = equation.params
    if equation.primitive is lax.conv_general_dilated_p:
        return _convolution if settings["feature_group_count"] == settings["batch_group_count"] == 1 else None
    if equation.primitive is lax.reduce_window_max_p:
        plain = settings["window_dimensions"] == settings["window_strides"]
        plain &= all(by == 1 for by in (*settings["base_dilation"], *settings["window_dilation"]))
        return _max_pool if plain and all(pads == (0, 0) for pads in settings["padding"]) else None
    return None


def _convolution(settings: dict[str, Any], x: Array, w: Array) -> Array:
    @jax.custom_vjp
    def convolution(x: Array, w: Array) -> Array:
        return lax.conv_general_dilated_p.bind(x, w, **settings)

    def forward(x: Array, w: Array) -> tuple[Array, tuple[Array, Array]]:
        return convolution(x, w), (x, w)

    def backward(saved: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
        return _gradients(settings, *saved, gradient)

    convolution.defvjp(forward, backward)
    return convolution(x, w)


def _gradients(settings: dict[str, Any], x: Array, w: Array, gradient: Array) -> tuple[Array, Array]:
    """The gradients of input and kernel."""
    of_x, of_w, of_y = settings["dimension_numbers"]
    n, c, *space = of_x  # axes of the examples, of the channels, and of space
    x = x.transpose(n, *space, c)
    o, i, *space = of_w
    w = w.transpose(*space, i, o)
    n, o, *space = of_y
    g = gradient.transpose(n, *space, o)

    call = _Call(**{name: settings[name] for name in _Call._fields})
    dense = all(by == 1 for by in (*call.lhs_dilation, *call.rhs_dilation))
    cropped = any(pad < 0 for pads in call.padding for pad in pads)
    skips = any(stride > 1 for stride in call.window_strides) and dense and not cropped
    dx, dw = _gradients_with_strides(call, x, w, g) if skips else (_of_input(call, x, w, g), _of_kernel(call, x, w, g))

    dx = dx.transpose(_inverse((of_x[0], *of_x[2:], of_x[1])))
    dw = dw.transpose(_inverse((*of_w[2:], of_w[1], of_w[0])))
    return dx, dw


class _Call(NamedTuple):
    """A convolution `(N, ..., C) (..., C, O) -> (N, ..., O)`; its settings have the names that JAX gives them."""

    window_strides: Sequence[int]
    padding: Sequence[tuple[int, int]]
    lhs_dilation: Sequence[int]
    rhs_dilation: Sequence[int]
    precision: Any = None

    def __call__(self, x: Array, w: Array) -> Array:
        space = range(1, x.ndim - 1)
        images = (0, x.ndim - 1, *space)
        numbers = lax.ConvDimensionNumbers(images, (w.ndim - 1, w.ndim - 2, *range(w.ndim - 2)), images)
        return lax.conv_general_dilated(x, w, dimension_numbers=numbers, **self._asdict())


def _of_input(call: _Call, x: Array, w: Array, g: Array) -> Array:
    """The gradient of the input: a convolution of `g` with the flipped kernel."""
    sizes_x, sizes_w = _dilated(x.shape[1:-1], call.lhs_dilation), _dilated(w.shape[:-2], call.rhs_dilation)
    sizes_g = _dilated(g.shape[1:-1], call.window_strides)
    low = [size - 1 - pad for size, (pad, _) in zip(sizes_w, call.padding)]
    high = [x + w - 1 - g - pad for x, w, g, pad in zip(sizes_x, sizes_w, sizes_g, low)]
    flipped = jnp.flip(w, range(w.ndim - 2)).swapaxes(-2, -1)
    back = _Call(call.lhs_dilation, list(zip(low, high)), call.window_strides, call.rhs_dilation, call.precision)
    return back(g, flipped)


def _of_kernel(call: _Call, x: Array, w: Array, g: Array) -> Array:
    """The gradient of the kernel: a convolution of `x` with `g`, whose channels are the examples."""
    if _is_pointwise(call, w):
        seen = x[(slice(None), *(slice(None, None, stride) for stride in call.window_strides))]
        dw = jnp.tensordot(seen, g, [tuple(range(x.ndim - 1))] * 2, precision=call.precision)
        return dw.reshape(w.shape)
    sizes_x, sizes_w = _dilated(x.shape[1:-1], call.lhs_dilation), _dilated(w.shape[:-2], call.rhs_dilation)
    sizes_g = _dilated(g.shape[1:-1], call.window_strides)
    high = [g + w - x - 1 - pad for x, w, g, (pad, _) in zip(sizes_x, sizes_w, sizes_g, call.padding)]
    pads = [(pad, other) for (pad, _), other in zip(call.padding, high)]
    across = _Call(call.rhs_dilation, pads, call.lhs_dilation, call.window_strides, call.precision)

    def of_some(x: Array, g: Array) -> Array:
        return jnp.moveaxis(across(x.swapaxes(0, -1), jnp.moveaxis(g, 0, -2)), 0, -2)

    return _sum_over_examples(of_some, x, g)


def _gradients_with_strides(call: _Call, x: Array, w: Array, g: Array) -> tuple[Array, Array]:
    r"""Gradients of a convolution with strides $s$, as a sum of convolutions without.

    Entry $r + s j$ of a kernel meets pixels $r + s q$ of the padded input only, so each $r$ has a convolution of its
    own. Dilated gradients, the usual form, would multiply by zeros: three of four numbers for strides of 2.
    """
    axes, strides = range(g.ndim - 2), call.window_strides
    sizes, kernel = x.shape[1:-1], w.shape[:-2]
    counts = [-(-(size + sum(pads)) // by) for size, pads, by in zip(sizes, call.padding, strides)]
    whole = [by * count - size - low for size, (low, _), by, count in zip(sizes, call.padding, strides, counts)]
    x = jnp.pad(x, [(0, 0), *((low, high) for (low, _), high in zip(call.padding, whole)), (0, 0)])
    entries = [-(-size // by) for size, by in zip(kernel, strides)]

    plain = _Call([1] * len(axes), [(0, 0)] * len(axes), call.lhs_dilation, call.rhs_dilation, call.precision)
    of_x, of_w = [], []
    for first in itertools.product(*map(range, strides)):
        every = tuple(slice(r, None, by) for r, by in zip(first, strides))
        some_w = w[every]
        some_x = x[(slice(None), *every)]
        seen = [g.shape[1 + axis] + some_w.shape[axis] - 1 for axis in axes]
        some_x = some_x[(slice(None), *map(slice, seen))]
        if some_w.size:
            dx, dw = _of_input(plain, some_x, some_w, g), _of_kernel(plain, some_x, some_w, g)
        else:
            dx, dw = jnp.zeros(some_x.shape, x.dtype), jnp.zeros(some_w.shape, w.dtype)
        of_x.append(jnp.pad(dx, [(0, 0), *((0, a - b) for a, b in zip(counts, dx.shape[1:-1])), (0, 0)]))
        of_w.append(jnp.pad(dw, [*((0, a - b) for a, b in zip(entries, dw.shape[:-2])), (0, 0), (0, 0)]))

    dx, dw = _interleaved(of_x, strides, 1), _interleaved(of_w, strides, 0)
    inside = [slice(low, low + size) for size, (low, _) in zip(sizes, call.padding)]
    return dx[(slice(None), *inside)], dw[tuple(map(slice, kernel))]


def _interleaved(parts: list[Array], strides: Sequence[int], at: int) -> Array:
    """Places part $r$ at $r + s q$, where $q$ is a place in the part; `at` is the first axis of space."""
    count, shape = len(strides), parts[0].shape
    together = jnp.stack(parts).reshape(*strides, *shape)
    order = list(range(count, count + at))
    for axis in range(count):
        order += [count + at + axis, axis]
    order += range(count + at + count, together.ndim)
    sizes = [size * by for size, by in zip(shape[at:], strides)]
    return together.transpose(order).reshape(*shape[:at], *sizes, *shape[at + count :])


def _sum_over_examples(of_some: Callable[[Array, Array], Array], x: Array, g: Array) -> Array:
    """The sum of a function of some examples over all, a few at a time: many do not fit into a core's cache."""
    parts = -(-len(x) // _EXAMPLES_AT_ONCE)
    if parts == 1:
        return of_some(x, g)
    each = -(-len(x) // parts)

    def split(array: Array) -> Array:
        """`(parts, each, ...)`, the last part filled up with zeros."""
        array = jnp.pad(array, [(0, parts * each - len(array)), *[(0, 0)] * (array.ndim - 1)])
        return array.reshape(parts, each, *array.shape[1:])

    x, g = split(x), split(g)

    def of_part(i: Array | int) -> Array:
        return of_some(x[i], g[i]).astype(jnp.promote_types(g.dtype, jnp.float32))

    return jax.lax.fori_loop(1, parts, lambda i, total: total + of_part(i), of_part(0)).astype(g.dtype)


def _is_pointwise(call: _Call, w: Array) -> bool:
    """Whether the kernel has one entry and the input is neither padded nor dilated: a matrix product."""
    plain = all(size == 1 for size in (*w.shape[:-2], *call.lhs_dilation))
    return plain and all(pads == (0, 0) for pads in call.padding)


def _dilated(sizes: Sequence[int], dilation: Sequence[int]) -> list[int]:
    return [(size - 1) * by + 1 for size, by in zip(sizes, dilation)]


def _inverse(permutation: Sequence[int]) -> list[int]:
    return sorted(range(len(permutation)), key=permutation.__getitem__)


def _max_pool(settings: dict[str, Any], x: Array) -> Array:
    """Max-pooling by windows that do not overlap."""
    windows = settings["window_dimensions"]

    @jax.custom_vjp
    def max_pool(x: Array) -> Array:
        return lax.reduce_window_max_p.bind(x, **settings)

    def forward(x: Array) -> tuple[Array, tuple[Array, Array]]:
        y = max_pool(x)
        return y, (x, y)

    def backward(saved: tuple[Array, Array], gradient: Array) -> tuple[Array]:
        """Each window's gradient goes to its first maximum, as in JAX."""
        x, y = saved
        whole = [size * window for size, window in zip(y.shape, windows)]
        split = [length for size, window in zip(y.shape, windows) for length in (size, window)]
        inside = lax.slice(x, (0,) * x.ndim, whole).reshape(split)
        found, parts = jnp.zeros(y.shape, bool), []
        for place in itertools.product(*map(range, windows)):
            here = (inside[tuple(i for at in place for i in (slice(None), at))] == y) & ~found
            found |= here
            parts.append(jnp.where(here, gradient, 0))
        # (*windows, *sizes) to (size, window, size, window, ...)
        order = [axis for i in range(x.ndim) for axis in (x.ndim + i, i)]
        dx = jnp.stack(parts).reshape(*windows, *y.shape).transpose(order).reshape(whole)
        return (jnp.pad(dx, [(0, size - length) for size, length in zip(x.shape, whole)]),)

    max_pool.defvjp(forward, backward)
    return max_pool(x)
