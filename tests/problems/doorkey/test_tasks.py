import re

import pytest

from pliant.core.clock import Task
from pliant.problems.doorkey._tasks import parse

NAMES = ("5x5", "6x6", "8x8")


@pytest.mark.parametrize(
    ("text", "tasks"),
    [
        ("5x5:500k,6x6:1M,8x8:2M", [("5x5", 500_000), ("6x6", 1_000_000), ("8x8", 2_000_000)]),
        (" 8x8 : 2_000_000 , 5x5 : 3000000", [("8x8", 2_000_000), ("5x5", 3_000_000)]),
        ("5x5:0.25M,5x5:1.5M", [("5x5", 250_000), ("5x5", 1_500_000)]),
        ("6x6:1", [("6x6", 1)]),
        ("6x6:2147483647", [("6x6", 2**31 - 1)]),
    ],
)
def test_tasks_are_read_as_people_write_them(text, tasks):
    assert parse(text, NAMES) == tuple(Task(*task) for task in tasks)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", "'' is not a task; write NAME:FRAMES, as in 5x5:500k"),
        ("5x5:500k,", "'' is not a task"),
        ("5x5 500k", "'5x5 500k' is not a task"),
        (":500k", "':500k' is not a task"),
        ("5x5:", "'5x5:' is not a task"),
        ("7x7:500k", "task='7x7': write one of '5x5', '6x6', '8x8'"),
        (
            "5x5:0",
            "'0' is not a number of frames; write a whole number from 1 to 2147483647, such as 500000, 500k or 2M",
        ),
        ("5x5:-1", "'-1' is not a number of frames"),
        ("5x5:0.5", "'0.5' is not a number of frames"),
        ("5x5:500K", "'500K' is not a number of frames"),
        ("5x5:1k:2k", "'1k:2k' is not a number of frames"),
        ("5x5:2148M", "'2148M' is not a number of frames"),
        (
            "5x5:500k,6x6:500k",
            "6x6 ends at frame 500,000, and the task before it at 500,000; frames count from the beginning of the "
            "run; write increasing numbers",
        ),
    ],
)
def test_what_cannot_be_read_is_refused_in_one_line(text, error):
    with pytest.raises(ValueError, match=re.escape(error)) as caught:
        parse(text, NAMES)
    assert "\n" not in str(caught.value)
