"""How many steps are made at once, so that a run can be asked, and asked to stop, every few seconds."""

_SECONDS = 3.0  # that a slice of a chunk is to last
_MOST_GROWTH = 10  # times as many steps as the last slice: its time may have been a lucky one


class Pace:
    """Chooses the slices of chunks by the time that the last one took. The first has one unit: it compiles, too."""

    def __init__(self):
        self._steps = 1

    def length(self, left: int, unit: int) -> int:
        """Steps of the next slice.

        Args:
            left: steps of the chunk that are left.
            unit: steps that cannot be cut; what is left beyond a multiple of it belongs to the last unit.
        """
        units = max(1, self._steps // unit)
        return units * unit if (units + 1) * unit <= left else left

    def took(self, steps: int, seconds: float) -> None:
        """Learns from a slice.

        Args:
            steps: that it had.
            seconds: for which it lasted.
        """
        self._steps = max(1, round(steps * min(_MOST_GROWTH, _SECONDS / max(seconds, 1e-9))))
