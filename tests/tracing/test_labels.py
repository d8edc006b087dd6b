"""The algebra of labels, with numbers worked out by hand."""

import numpy as np
import pytest

from pliant.tracing.labels import (
    Atom,
    Concat,
    Mismatch,
    Product,
    atoms,
    concat,
    cut,
    fuse,
    neighbours,
    positions,
    product,
    regroup,
    resolve,
    size,
    split,
    unify,
)


def sizes(term):
    """A term's normal form as plain numbers: `("*", 2, 3)` for a product, `("+", 5, 2)` for a concat."""
    match resolve(term):
        case Atom() as atom:
            return atom.size
        case Product(factors):
            return ("*", *map(sizes, factors))
        case Concat(parts):
            return ("+", *map(sizes, parts))


# --- Terms ----------------------------------------------------------------------------------------------------------


def test_the_size_of_a_product_multiplies_and_the_size_of_a_concat_adds():
    assert size(Product((Atom(2), Concat((Atom(3), Atom(4)))))) == 2 * (3 + 4)


def test_a_product_has_no_product_inside_and_no_factor_of_one():
    a, b, c = Atom(2), Atom(3), Atom(4)
    assert product([a, Atom(1), Product((b, c))]) == Product((a, b, c))
    assert product([Atom(1), a]) is a


def test_a_product_of_ones_is_the_last_of_them():
    first, last = Atom(1), Atom(1)
    assert product([first, last]) is last
    assert size(product([])) == 1


def test_a_concat_has_no_concat_inside_and_no_empty_part():
    a, b, c = Atom(2), Atom(1), Atom(4)
    assert concat([a, Atom(0), Concat((b, c))]) == Concat((a, b, c))
    assert concat([Atom(0), a]) is a
    assert size(concat([])) == 0


def test_atoms_come_in_order_and_as_often_as_they_occur():
    a, b = Atom(2), Atom(3)
    assert list(atoms(Concat((a, Product((b, a)))))) == [a, b, a]


def test_resolve_follows_a_chain_of_bindings():
    first, second, third = Atom(6), Atom(6), Atom(6)
    unify(first, second)
    unify(second, third)
    unify(third, Product((Atom(2), Atom(3))))
    assert sizes(first) == ("*", 2, 3)
    assert resolve(first) == resolve(second) == resolve(third)


# --- unify ----------------------------------------------------------------------------------------------------------


def test_two_equal_atoms_are_one_with_the_marks_of_both():
    made, mixed = Atom(5, maker="w0"), Atom(5, coupled=True, window=True)
    unify(made, mixed)
    assert resolve(made) is resolve(mixed)
    [atom] = atoms(made)
    assert (atom.maker, atom.coupled, atom.spatial, atom.window) == ("w0", True, False, True)


def test_the_first_maker_is_kept():
    stream, reader = Atom(5, maker="stem"), Atom(5, maker="down")
    unify(reader, stream)
    assert [atom.maker for atom in atoms(reader)] == ["stem"]


def test_labels_of_different_sizes_never_agree():
    with pytest.raises(Mismatch, match=r"^5 is not 6$"):
        unify(Atom(5), Atom(6))


def test_an_atom_takes_the_factors_of_a_flattened_image_and_gives_them_its_marks():
    dense, channels = Atom(32, maker="w"), Atom(8)
    unify(dense, Product((Atom(4), channels)))
    assert sizes(dense) == ("*", 4, 8)
    assert [atom.maker for atom in atoms(dense)] == ["w", "w"]
    assert list(atoms(dense))[1] is channels


def test_products_with_other_borders_get_common_factors():
    left, right = Product((Atom(6), Atom(4))), Product((Atom(2), Atom(12)))
    unify(left, right)
    # 6 = 2 * 3 and 12 = 3 * 4: both are 2 * 3 * 4.
    assert sizes(left) == sizes(right) == ("*", 2, 3, 4)
    assert resolve(left) == resolve(right)


def test_products_without_common_factors_do_not_agree():
    with pytest.raises(Mismatch, match=r"^an axis of 3 does not split into 2 rows$"):
        unify(Product((Atom(2), Atom(3))), Product((Atom(3), Atom(2))))


def test_a_factor_that_a_binding_opened_is_compared_by_its_parts():
    # The same atom on both sides: it is opened into 2 * 3 by the first factor, before its second occurrence is reached.
    six = Atom(6)
    left, right = Product((six, six)), Product((Atom(2), Atom(3), Atom(2), Atom(3)))
    unify(left, right)
    assert sizes(left) == ("*", 2, 3, 2, 3)
    first, second, third, fourth = atoms(right)
    assert (first, second) == (third, fourth)


def test_concats_with_other_borders_get_common_parts():
    left, right = Concat((Atom(5), Atom(2))), Concat((Atom(3), Atom(4)))
    unify(left, right)
    # Borders after 5 and after 3: pieces of 3, 2 and 2.
    assert sizes(left) == sizes(right) == ("+", 3, 2, 2)
    assert resolve(left) == resolve(right)


@pytest.mark.parametrize("turned", [False, True])
def test_patches_read_the_same_channels_at_each_position_of_a_window(turned):
    window, channels, first, second = Atom(2), Atom(3, maker="w"), Atom(3), Atom(3)
    flat, joined = Product((window, channels)), Concat((first, second))
    unify(*((joined, flat) if turned else (flat, joined)))
    assert resolve(first) is resolve(second) is resolve(channels)
    assert window.window
    assert not next(atoms(channels)).window
    assert [atom.maker for atom in atoms(first)] == ["w"]


def test_patches_of_single_numbers_are_all_window():
    height, width = Atom(2), Atom(2)
    unify(Product((height, width)), Concat(tuple(Atom(1) for _ in range(4))))
    assert height.window
    assert width.window


# --- split and cut --------------------------------------------------------------------------------------------------


def test_an_atom_is_split_into_rows_that_keep_its_marks():
    atom = Atom(6, maker="w", coupled=True)
    rows, rest = split(atom, 2)
    assert (size(rows), size(rest)) == (2, 3)
    assert resolve(atom) == Product((rows, rest))
    assert [(part.maker, part.coupled) for part in atoms(atom)] == [("w", True), ("w", True)]


def test_a_joined_axis_is_split_into_rows_that_hold_the_same_things():
    two, four = Atom(2), Atom(4)
    rows, rest = split(Concat((two, four)), 3)
    assert (size(rows), size(rest)) == (3, 2)
    # Rows of two: the first part is one, the second part two of them.
    assert resolve(two) is resolve(rest)
    assert list(atoms(four)) == [resolve(rest)] * 2


def test_a_split_into_unequal_rows_is_a_mismatch():
    with pytest.raises(Mismatch, match=r"^an axis of 5 does not split into 2 rows$"):
        split(Atom(5), 2)


def test_an_atom_is_cut_into_parts_that_keep_its_marks():
    atom = Atom(7, maker="w")
    pieces = cut(atom, [5, 2])
    assert list(map(size, pieces)) == [5, 2]
    assert resolve(atom) == Concat(tuple(pieces))
    assert [part.maker for part in atoms(atom)] == ["w", "w"]


def test_an_axis_that_was_cut_is_cut_again_where_it_has_to_be():
    atom = Atom(7)
    cut(atom, [5, 2])
    [head, tail] = cut(atom, [6, 1])
    assert (sizes(head), sizes(tail)) == (("+", 5, 1), 1)
    assert sizes(atom) == ("+", 5, 1, 1)


def test_a_flattened_axis_is_cut_between_its_rows():
    rows, channels = Atom(4), Atom(3)
    [head, tail] = cut(Product((rows, channels)), [9, 3])
    # Rows of three: three of them, and one, which is the channels alone.
    assert sizes(head) == ("*", 3, 3)
    assert list(atoms(head))[1] is channels
    assert tail is channels
    assert sizes(rows) == ("+", 3, 1)


def test_a_cut_inside_a_row_is_a_mismatch():
    with pytest.raises(Mismatch, match=r"^a cut at 4 falls inside a row of 3$"):
        cut(Product((Atom(4), Atom(3))), [4, 8])


def test_a_cut_of_no_length_is_empty():
    atom = Atom(3)
    [nothing, everything] = cut(atom, [0, 3])
    assert size(nothing) == 0
    assert everything is atom


# --- regroup --------------------------------------------------------------------------------------------------------

W0, W1 = frozenset({("w", 0)}), frozenset({("w", 1)})


def regrouped(lengths, shape):
    """What `regroup` makes of axes of a leaf `w`: sizes and origins of the new axes, and sizes of the lost."""
    axes = [(Atom(length), frozenset({("w", k)})) for k, length in enumerate(lengths)]
    new, lost = regroup(axes, shape)
    return [sizes(term) for term, _ in new], [{k for _, k in origin} for _, origin in new], list(map(sizes, lost))


@pytest.mark.parametrize(
    ("lengths", "shape", "terms", "origins"),
    [
        ((4, 6), (24,), [("*", 4, 6)], [{0, 1}]),
        ((4, 6), (2, 2, 6), [2, 2, 6], [{0}, {0}, {1}]),
        # 8 = 4 * 2, of which 2 is the head of 6 = 2 * 3.
        ((4, 6), (8, 3), [("*", 4, 2), 3], [{0, 1}, {1}]),
        ((4, 6, 5), (24, 5), [("*", 4, 6), 5], [{0, 1}, {2}]),
        ((4, 6), (4, 1, 6), [4, 1, 6], [{0}, set(), {1}]),
        ((1, 5, 1), (5, 1), [5, 1], [{1}, {2}]),  # axes of size 1 are paired from the right
    ],
)
def test_a_reshape_keeps_what_each_part_stems_from(lengths, shape, terms, origins):
    assert regrouped(lengths, shape) == (terms, origins, [])


def test_a_reshape_whose_sizes_do_not_divide_loses_only_the_axes_concerned():
    # 4 * 6 to 3 * 8: no factor fits. The 5 beside them stays.
    assert regrouped((4, 6, 5), (3, 8, 5)) == ([3, 8, 5], [set(), set(), {2}], [4, 6])


def test_a_reshape_there_and_back_gives_the_same_labels():
    image = [(Atom(4), W0), (Atom(3), W1)]
    [flat], _ = regroup(image, (12,))
    back, lost = regroup([flat], (4, 3))
    assert [resolve(term) for term, _ in back] == [term for term, _ in image]
    assert lost == []


# --- Where units lie ------------------------------------------------------------------------------------------------


def test_positions_in_an_axis_of_the_units_alone():
    units = Atom(3)
    np.testing.assert_array_equal(positions(units, units), [[0, 1, 2]])
    assert positions(Atom(3), units) is None


def test_positions_in_a_joined_axis_start_after_the_parts_before():
    units = Atom(2)
    np.testing.assert_array_equal(positions(Concat((units, Atom(3), units)), units), [[0, 1], [5, 6]])


def test_positions_in_a_flattened_axis():
    units = Atom(3)
    np.testing.assert_array_equal(positions(Product((Atom(2), units)), units), [[0, 1, 2], [3, 4, 5]])
    # Units first: unit i owns the entries 2 i and 2 i + 1.
    np.testing.assert_array_equal(positions(Product((units, Atom(2))), units), [[0, 2, 4], [1, 3, 5]])
    assert positions(Product((Atom(2), Atom(3))), units) is None


def test_positions_in_rows_that_are_joined_themselves():
    units = Atom(2)
    rows = Product((Atom(2), Concat((Atom(1), units))))  # two rows of three, the units behind the first entry
    np.testing.assert_array_equal(positions(rows, units), [[1, 2], [4, 5]])


def test_units_flattened_with_themselves_have_no_positions():
    units = Atom(3)
    with pytest.raises(Mismatch, match="the same units twice"):
        positions(Product((units, units)), units)


def test_neighbours_are_pairs_of_atoms_side_by_side():
    a, b, c, d = Atom(2), Atom(3), Atom(4), Atom(5)
    assert list(neighbours(Product((a, b, Concat((c, d)))))) == [(Product, a, b), (Concat, c, d)]
    assert list(neighbours(a)) == []


def test_fuse_puts_one_atom_in_the_place_of_each_such_pair():
    a, b, c, whole = Atom(2), Atom(3), Atom(4), Atom(5)
    assert fuse(Concat((a, b, c, a, b)), (Concat, a, b), whole) == Concat((whole, c, whole))
    assert fuse(Product((c, Concat((a, b)))), (Concat, a, b), whole) == Product((c, whole))
    assert fuse(Concat((a, b)), (Concat, a, b), whole) is whole


def test_fuse_leaves_other_neighbours_alone():
    a, b, whole = Atom(2), Atom(3), Atom(6)
    assert fuse(Concat((a, b)), (Product, a, b), whole) == Concat((a, b))
    assert fuse(Product((b, a)), (Product, a, b), whole) == Product((b, a))
