"""The flags of XLA that a run sets for convolutions."""

import pytest

from pliant.experiment.devices import with_fast_convolutions

OURS = "--xla_cpu_experimental_ynn_fusion_type=-individual_convolution"
THEIRS = "--xla_cpu_experimental_ynn_fusion_type=-reduce"


@pytest.mark.parametrize(
    ("flags", "version", "expected"),
    [
        ("", (0, 10, 2), OURS),
        ("--xla_dump_to=here", (0, 11, 0), f"--xla_dump_to=here {OURS}"),
        ("", (0, 12, 0, 1), OURS),
        (THEIRS, (0, 10, 2), THEIRS),
        ("", (0, 13, 0), ""),
    ],
    ids=["none", "others", "newer", "the user's choice", "a version that may not know the flag"],
)
def test_flags_choose_convolutions_unless_the_user_does_or_xla_may_not_know_them(flags, version, expected):
    assert with_fast_convolutions(flags, version) == expected
