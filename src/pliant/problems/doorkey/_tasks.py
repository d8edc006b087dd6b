"""Reads the tasks of a curriculum: `5x5:500k,6x6:1M,8x8:2M`."""

import re

from pliant.core.clock import MOST_STEPS, Task
from pliant.core.settings import require_one_of

_UNITS = {"": 1, "k": 1_000, "M": 1_000_000}


def parse(text: str, names: tuple[str, ...]) -> tuple[Task, ...]:
    """Reads tasks.

    Args:
        text: `NAME:FRAMES` for each task, with commas between them; `FRAMES` is the last frame of the task, counted
            from the beginning of the run: `500000`, `500_000`, `500k`, `0.5M`.
        names: allowed names of tasks.

    Raises:
        ValueError: one line, if the text cannot be read, a name is not allowed, or frames do not increase.
    """
    tasks: list[Task] = []
    for part in text.split(","):
        name, colon, frames = (piece.strip() for piece in part.partition(":"))
        if not (name and colon and frames):
            raise ValueError(
                f"tasks={text!r}: {part.strip()!r} is not a task; write NAME:FRAMES, as in {names[0]}:500k"
            )
        require_one_of("task", name, names)
        until = _frames(frames)
        if until is None:
            raise ValueError(
                f"tasks={text!r}: {frames!r} is not a number of frames; write a whole number from 1 to {MOST_STEPS}, "
                "such as 500000, 500k or 2M"
            )
        if tasks and until <= tasks[-1].until:
            raise ValueError(
                f"tasks={text!r}: {name} ends at frame {until:,}, and the task before it at {tasks[-1].until:,}; "
                "frames count from the beginning of the run; write increasing numbers"
            )
        tasks.append(Task(name, until))
    return tuple(tasks)


def _frames(text: str) -> int | None:
    """The whole number in a text, if it is in the allowed range."""
    match = re.fullmatch(r"(\d[\d_]*(?:\.\d+)?)([kM]?)", text)
    if match is None:
        return None
    number = float(match[1]) * _UNITS[match[2]]
    return int(number) if number == int(number) and 1 <= number <= MOST_STEPS else None
