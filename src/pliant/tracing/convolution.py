"""Convolutions that are fast on CPUs, with their gradients.

XLA's routine is slow for some convolutions, which are computed in other forms here:

* A kernel's gradient is a convolution that the routine knows only outside of loops. In a training loop that is one
  program it is up to a hundred times slower. Here it has the form that the routine knows from the beginning.
* The gradients of a convolution with strides multiply by zeros. Here they are sums of convolutions without strides.
* With few input channels the routine moves more than it computes. Here it computes some pixels at once.

Measured with the routine of Eigen, on the networks of continual ImageNet and incremental CIFAR-100.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from pliant.core.base import Array

_FEW_CHANNELS, _PIXELS_AT_ONCE = 4, 4
_EXAMPLES_AT_ONCE, _BYTES_AT_ONCE = 10, 3 * 10**6  # in the gradient of a kernel


def convolution(settings: dict[str, Any], x: Array, w: Array) -> Array:
    """A convolution without groups.

    Args:
        settings: parameters of JAX's primitive.
        x: the input.
        w: the kernel.
    """
    compute = _of_few_channels if _has_few_channels(settings, x, w) else _as_it_is

    @jax.custom_vjp
    def convolved(x: Array, w: Array) -> Array:
        return compute(settings, x, w)

    def forward(x: Array, w: Array) -> tuple[Array, tuple[Array, Array]]:
        return convolved(x, w), (x, w)

    def backward(saved: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
        return _gradients(settings, *saved, gradient)

    convolved.defvjp(forward, backward)
    return convolved(x, w)


def _as_it_is(settings: dict[str, Any], x: Array, w: Array) -> Array:
    return lax.conv_general_dilated_p.bind(x, w, **settings)


def _has_few_channels(settings: dict[str, Any], x: Array, w: Array) -> bool:
    """Whether `_of_few_channels` computes the convolution, and faster."""
    of_x, of_w, _ = settings["dimension_numbers"]
    if len(of_x) == 2 or x.shape[of_x[1]] > _FEW_CHANNELS or w.shape[of_w[-1]] < 3:
        return False
    plain = all(by == 1 for name in ("window_strides", "lhs_dilation", "rhs_dilation") for by in settings[name])
    pixels = x.shape[of_x[-1]] + sum(settings["padding"][-1]) - w.shape[of_w[-1]] + 1
    return plain and pixels % _PIXELS_AT_ONCE == 0


def _of_few_channels(settings: dict[str, Any], x: Array, w: Array) -> Array:
    """Computes neighbouring pixels as channels of one, by a wide kernel that has the kernel at as many places."""
    _, of_w, of_y = settings["dimension_numbers"]
    count = _PIXELS_AT_ONCE
    shifts = [[(i, count - 1 - i) if axis == of_w[-1] else (0, 0) for axis in range(w.ndim)] for i in range(count)]
    wide = jnp.concatenate([jnp.pad(w, shift) for shift in shifts], of_w[0])
    y = _as_it_is({**settings, "window_strides": (*settings["window_strides"][:-1], count)}, x, wide)
    channels, last = of_y[1], of_y[-1]
    y = y.reshape(*y.shape[:channels], count, -1, *y.shape[channels + 1 :])
    y = jnp.moveaxis(y, channels, last + 1)
    return y.reshape(*y.shape[:last], -1, *y.shape[last + 2 :])


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

    at_once = min(_EXAMPLES_AT_ONCE, int(_BYTES_AT_ONCE / (x[0].nbytes + g[0].nbytes)))
    # A kernel that is larger than these examples would be read and written for each part.
    return _sum_over_examples(of_some, x, g, len(x) if w.nbytes > _BYTES_AT_ONCE else max(1, at_once))


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


def _sum_over_examples(of_some: Callable[[Array, Array], Array], x: Array, g: Array, at_once: int) -> Array:
    """The sum of a function of some examples over all, a few at a time: many do not fit into a core's cache."""
    parts = -(-len(x) // at_once)
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
