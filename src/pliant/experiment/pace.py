"""Chooses the number of steps in one call, so that a run reports progress and can stop every few seconds."""

_SECONDS = 3.0  # of a slice of a chunk
_MOST_GROWTH = 10  # largest factor from one slice to the next: the time of one slice is noisy


class Pace:
    """Chooses the length of a slice by the duration of the last one. The first slice has one unit: it compiles, too."""

    def __init__(self):
        self._steps = 1

    def length(self, left: int, unit: int) -> int:
        """Steps of the next slice.

        Args:
            left: remaining steps of the chunk.
            unit: see `Programs.unit`.
        """
        units = max(1, self._steps // unit)
        return units * unit if (units + 1) * unit <= left else left

    def took(self, steps: int, seconds: float) -> None:
        """Takes the duration of a slice into account.

        Args:
            steps: of the slice.
            seconds: its duration.
        """
        self._steps = max(1, round(steps * min(_MOST_GROWTH, _SECONDS / max(seconds, 1e-9))))
