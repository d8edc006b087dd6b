"""Labels of array axes, and how they are made equal: the algebra behind `tracing`.

A label is a term. An `Atom` is an axis with a size and no parts. A `Product` is an axis flattened from several axes
(`H * W * C`, row-major). A `Concat` is an axis joined from several axes, end to end. `unify(a, b)` states that two axes
run over the same units. It binds atoms to terms, so that `resolve` of either gives the same label afterwards:

    unify(Atom(512), Product((Atom(4), Atom(4), Atom(32))))    # a dense layer reads a flattened image
    unify(Atom(7), Concat((Atom(5), Atom(2))))                 # a dense layer reads two branches

Labels depend neither on jaxprs nor on weights. An atom carries eight marks through all bindings.
"""

import dataclasses
import itertools
import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from jaxtyping import Int

from .errors import TracingError


class Mismatch(ValueError):
    """Two labels cannot run over the same units: `(2, 3)` against `(3, 2)`."""


@dataclasses.dataclass(eq=False)
class Atom:
    """A label without parts, until it is bound to another term.

    Args:
        size: the length of the axis.
        maker: path of the weight that computes the units along this axis; `None` for batch, space and inputs.
        coupled: whether a reduction over this axis mixes the units along it.
        spatial: whether a window slides along this axis, so that it has no units.
        samples: whether the inputs have samples along this axis (a batch, moments, tokens), so that it has no units,
            although a weight may mix them.
        window: whether this axis runs over the entries of a window, as in a convolution written as products over
            patches.
        squares: whether the entry along this axis is a mean of squares, in an array stacked from statistics.
        output: whether this axis is one of the network's only output, so that its units are not hidden.
        slices: for an axis without units, the labels of slices of it, by their bounds.
        refusal: the error to raise if units lie along this axis, because not all that uses them can be followed.
        bound: the term that this atom is equal to.
    """

    size: int
    maker: str | None = None
    coupled: bool = False
    spatial: bool = False
    samples: bool = False
    window: bool = False
    squares: bool = False
    output: bool = False
    slices: "dict[tuple[int, int], Atom]" = dataclasses.field(default_factory=dict)
    refusal: TracingError | None = None
    bound: "Term | None" = None

    def mark(self, other: "Atom") -> None:
        """Adds the marks of another atom."""
        self.maker = self.maker or other.maker
        self.coupled |= other.coupled
        self.spatial |= other.spatial
        self.samples |= other.samples
        self.window |= other.window
        self.squares |= other.squares
        self.output |= other.output
        self.refusal = self.refusal or other.refusal

    def part(self, size: int) -> "Atom":
        """A new atom of another size with the same marks."""
        return dataclasses.replace(self, size=size, slices={}, bound=None)


@dataclasses.dataclass(frozen=True)
class Product:
    factors: tuple["Term", ...]


@dataclasses.dataclass(frozen=True)
class Concat:
    parts: tuple["Term", ...]


Term = Atom | Product | Concat
Origin = frozenset[tuple[str, int]]  # the axes of parameter leaves, (path, axis), that an axis stems from
Positions = Int[np.ndarray, "positions units"]  # which entries of an axis belong to each unit


def size(term: Term) -> int:
    """The length of the axis."""
    match term:
        case Atom():
            return term.size
        case Product(factors):
            return math.prod(map(size, factors))
        case Concat(parts):
            return sum(map(size, parts))


def atoms(term: Term) -> Iterator[Atom]:
    """The unbound atoms of a term in their order, as often as they occur."""
    match resolve(term):
        case Atom() as atom:
            yield atom
        case Product(inner) | Concat(inner):
            yield from itertools.chain.from_iterable(map(atoms, inner))


def product(factors: Iterable[Term]) -> Term:
    """The axis flattened from several, in normal form: no product inside, no factor of size 1."""
    resolved = [resolve(factor) for factor in factors]
    flat = [inner for term in resolved for inner in (term.factors if isinstance(term, Product) else (term,))]
    kept = [term for term in flat if size(term) != 1]
    if not kept:
        return flat[-1] if flat else Atom(1)
    return kept[0] if len(kept) == 1 else Product(tuple(kept))


def concat(parts: Iterable[Term]) -> Term:
    """The axis joined from several, in normal form: no concat inside, no part of size 0."""
    resolved = [resolve(part) for part in parts]
    flat = [inner for term in resolved for inner in (term.parts if isinstance(term, Concat) else (term,))]
    kept = [term for term in flat if size(term) != 0]
    if not kept:
        return Atom(0)
    return kept[0] if len(kept) == 1 else Concat(tuple(kept))


def resolve(term: Term) -> Term:
    """The normal form of a term, with each bound atom replaced by its term."""
    match term:
        case Atom(bound=None):
            return term
        case Atom():
            term.bound = resolve(term.bound)  # pyright: ignore[reportArgumentType]
            return term.bound
        case Product(factors):
            return product(factors)
        case Concat(parts):
            return concat(parts)


def _bind(atom: Atom, term: Term) -> None:
    for inner in atoms(term):
        inner.mark(atom)
    atom.bound = term
    made = any(inner.maker for inner in atoms(term))
    for (start, stop), part in atom.slices.items():
        if made:  # the slices are of these units
            unify(part, cut(term, [start, stop - start, size(term) - stop])[1])
        elif isinstance(term, Atom):
            unify(part, term.slices.setdefault((start, stop), part))


def unify(a: Term, b: Term) -> None:
    """Makes two labels equal.

    Raises:
        Mismatch: if their sizes differ, or they are flattened from axes that do not fit.
    """
    a, b = resolve(a), resolve(b)
    if a == b:
        return
    if size(a) != size(b):
        raise Mismatch(f"{size(a)} is not {size(b)}")
    match a, b:
        case Atom(), _:
            _bind(a, b)
        case _, Atom():
            _bind(b, a)
        case Product(), Product():
            _unify_products(a, b)
        case Concat(), Concat():
            ends = sorted({*itertools.accumulate(map(size, a.parts)), *itertools.accumulate(map(size, b.parts))})
            lengths = np.diff([0, *ends]).tolist()
            for left, right in zip(cut(a, lengths), cut(b, lengths), strict=True):
                unify(left, right)
        case Product(), Concat():
            _unify_product_with_concat(a, b)
        case Concat(), Product():
            _unify_product_with_concat(b, a)


def _pop_factor(queue: list[Term]) -> Atom | Concat:
    """Takes the next factor of a flattened axis; a binding may have split it into several."""
    first = resolve(queue.pop(0))
    if isinstance(first, Product):
        queue[:0] = first.factors
        return _pop_factor(queue)
    return first


def _unify_products(a: Product, b: Product) -> None:
    left, right = list(a.factors), list(b.factors)
    while left and right:
        first, second = _pop_factor(left), _pop_factor(right)
        common = min(size(first), size(second))
        if size(first) > common:
            first, rest = split(first, common)
            left.insert(0, rest)
        if size(second) > common:
            second, rest = split(second, common)
            right.insert(0, rest)
        unify(first, second)


def _unify_product_with_concat(flat: Product, joined: Concat) -> None:
    """`(positions, C)` flattened is `C` joined `positions` times: so a convolution over patches reads channels."""
    if all(size(part) == 1 for part in joined.parts) and not any(atom.maker for atom in atoms(joined)):
        for atom in atoms(flat):
            atom.window = True
        return
    first, rest = flat.factors[0], product(flat.factors[1:])
    if isinstance(first, Atom):
        first.window = True
    for piece in cut(joined, [size(rest)] * size(first)):
        unify(rest, piece)


def split(term: Atom | Concat, head: int) -> tuple[Term, Term]:
    """Splits a label as a row-major reshape to `(head, size / head)` does.

    Raises:
        Mismatch: if `head` does not divide the size, or the rows of a joined axis do not run over the same units.
    """
    if size(term) % head:
        raise Mismatch(f"an axis of {size(term)} does not split into {head} rows")
    if isinstance(term, Concat):
        pair = Atom(head), Atom(size(term) // head)
        unify(Product(pair), term)
    else:
        pair = term.part(head), term.part(term.size // head)
        _bind(term, Product(pair))
    return pair


def cut(term: Term, lengths: Sequence[int]) -> list[Term]:
    """Cuts a label into consecutive pieces, as slices do.

    Raises:
        Mismatch: if a cut falls inside one row of a flattened axis.
    """
    pieces, rest = [], [term]
    for length in lengths:
        taken = []
        while length:
            first = resolve(rest.pop(0))
            if isinstance(first, Concat):
                rest[:0] = first.parts
                continue
            if size(first) > length:
                first, tail = _sever(first, length)
                rest.insert(0, tail)
            taken.append(first)
            length -= size(first)
        pieces.append(concat(taken))
    return pieces


def _sever(term: Atom | Product, length: int) -> tuple[Term, Term]:
    if isinstance(term, Atom):
        pair = term.part(length), term.part(term.size - length)
        _bind(term, Concat(pair))
        return pair
    first, rest = term.factors[0], product(term.factors[1:])
    rows, remainder = divmod(length, size(rest))
    if remainder:
        raise Mismatch(f"a cut at {length} falls inside a row of {size(rest)}")
    head, tail = cut(first, [rows, size(first) - rows])
    return product((head, rest)), product((tail, rest))


def of_slices(term: Term) -> Term:
    """The label with those of its slices, where an axis was cut into consecutive ones; gaps have fresh labels."""
    match resolve(term):
        case Atom() as whole if whole.slices:
            parts, reached = [], 0
            for (start, stop), part in sorted(whole.slices.items(), key=lambda item: item[0]):
                if start >= reached:
                    parts += [Atom(start - reached), part]
                    reached = stop
            return concat([*parts, Atom(whole.size - reached)])
        case Product(inner):
            return product(map(of_slices, inner))
        case Concat(inner):
            return concat(map(of_slices, inner))
        case other:
            return other


def regroup(axes: Sequence[tuple[Term, Origin]], shape: Sequence[int]) -> tuple[list[tuple[Term, Origin]], list[Term]]:
    """The labels of a row-major reshape.

    Axes of size 1 are paired from the right; further ones are added or dropped. Where the sizes do not divide, the new
    axes have fresh labels, and the old labels are lost.

    Args:
        axes: label and origin of each axis.
        shape: the new shape.

    Returns:
        Label and origin of each new axis, and the lost labels.
    """
    fresh: list[tuple[Term, Origin]] = [(Atom(length), frozenset()) for length in shape]
    old_ones, new_ones = ([k for k, n in enumerate(sizes) if n == 1] for sizes in (_sizes(axes), shape))
    for old, new in zip(reversed(old_ones), reversed(new_ones), strict=False):
        fresh[new] = axes[old]
    lost: list[Term] = []
    for old, new in _segments(_sizes(axes), shape):
        try:
            pieces = _redistribute([axes[k] for k in old], [shape[k] for k in new])
        except Mismatch:
            lost.extend(axes[k][0] for k in old)
        else:
            for k, piece in zip(new, pieces, strict=True):
                fresh[k] = piece
    return fresh, lost


def _sizes(axes: Sequence[tuple[Term, Origin]]) -> list[int]:
    return [size(term) for term, _ in axes]


def _segments(old: Sequence[int], new: Sequence[int]) -> Iterator[tuple[list[int], list[int]]]:
    """The shortest runs of old and new axes with the same number of entries, without the axes of size 1."""
    olds, news = ([k for k, n in enumerate(sizes) if n != 1] for sizes in (old, new))
    while olds and news:
        left, right = [olds.pop(0)], [news.pop(0)]
        while (before := math.prod(old[k] for k in left)) != (after := math.prod(new[k] for k in right)):
            if before < after:
                left.append(olds.pop(0))
            else:
                right.append(news.pop(0))
        yield left, right


def _redistribute(axes: Sequence[tuple[Term, Origin]], shape: Sequence[int]) -> list[tuple[Term, Origin]]:
    queue = list(axes)
    pieces = []
    for length in shape:
        factors, origins = [], frozenset()
        while length > 1:
            (term, origin), *queue = queue
            term = resolve(term)
            if isinstance(term, Product):
                queue[:0] = [(factor, origin) for factor in term.factors]
                continue
            if size(term) > length:
                term, rest = split(term, length)
                queue.insert(0, (rest, origin))
            if length % size(term):
                raise Mismatch(f"rows of {size(term)} do not fill an axis of {length}")
            length //= size(term)
            factors.append(term)
            origins |= origin
        pieces.append((product(factors), origins))
    return pieces


def positions(term: Term, atom: Atom) -> Positions | None:
    """Which entries of an axis belong to each unit of an atom.

    Returns:
        `(positions, size(atom))`, or `None` where the axis does not contain the atom.

    Raises:
        Mismatch: if the axis is flattened from the atom and itself, so that an entry belongs to two units.
    """
    match resolve(term):
        case Atom() as leaf:
            return np.arange(leaf.size)[None] if leaf is atom else None
        case Concat(parts):
            starts = itertools.accumulate(map(size, parts), initial=0)
            found = [(start, positions(part, atom)) for start, part in zip(starts, parts, strict=False)]
            found = [start + entries for start, entries in found if entries is not None]
            return np.concatenate(found) if found else None
        case Product(factors):
            found = [(k, positions(factor, atom)) for k, factor in enumerate(factors)]
            found = [(k, entries) for k, entries in found if entries is not None]
            if not found:
                return None
            if len(found) > 1:
                raise Mismatch("an axis flattened from the same units twice")
            [(k, entries)] = found
            before = math.prod(map(size, factors[:k]))
            after = math.prod(map(size, factors[k + 1 :]))
            outer, inner = np.arange(before)[:, None, None, None], np.arange(after)[:, None]
            return ((outer * size(factors[k]) + entries[:, None]) * after + inner).reshape(-1, atom.size)


def neighbours(term: Term) -> Iterator[tuple[type, Atom, Atom]]:
    """The pairs of atoms that stand side by side in a flattened or joined axis."""
    match resolve(term):
        case Product(inner) | Concat(inner) as whole:
            for a, b in itertools.pairwise(inner):
                if isinstance(a, Atom) and isinstance(b, Atom):
                    yield type(whole), a, b
            yield from itertools.chain.from_iterable(map(neighbours, inner))
        case Atom():
            pass


def flattened(term: Term) -> Iterator[tuple[Atom, ...]]:
    """The atoms of each flattened axis in a term."""
    match resolve(term):
        case Product() as whole:
            yield tuple(atoms(whole))
        case Concat(parts):
            yield from itertools.chain.from_iterable(map(flattened, parts))
        case Atom():
            pass


def fuse(term: Term, pair: tuple[type, Atom, Atom], atom: Atom) -> Term:
    """The term with `atom` in the place of a pair of neighbours."""
    kind, first, second = pair
    match resolve(term):
        case Atom() as leaf:
            return leaf
        case Product(inner) | Concat(inner) as whole:
            items: list[Term] = [fuse(item, pair, atom) for item in inner]
            if isinstance(whole, kind):
                for k in reversed(range(len(items) - 1)):
                    if items[k] is first and items[k + 1] is second:
                        items[k : k + 2] = [atom]
            return product(items) if isinstance(whole, Product) else concat(items)
