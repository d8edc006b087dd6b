import numpy as np
import pytest

from pliant.core.clock import Clock
from pliant.problems.images._pixels import whole


@pytest.mark.parametrize(("examples", "batches"), [(10_000, 10), (297, 1), (18_800, 20), (1201, 1201)])
def test_a_set_comes_in_few_batches_of_equal_size_that_have_each_example_once(examples, batches):
    # 10 x 1000, 1 x 297, 20 x 940, and a prime number above 1000.
    split = whole(examples, lambda data, state, which: which)
    assert split.batches(Clock(1)) == batches
    if batches == 1:
        np.testing.assert_array_equal(split.batch((), (), Clock(1), 0), np.arange(examples))
