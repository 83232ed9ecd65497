"""What a log's times are: seconds, milliseconds ... since 1970, or a mere order."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

UNITS = {"seconds": 1.0, "milliseconds": 1e-3, "microseconds": 1e-6, "nanoseconds": 1e-9}
YEAR = 31_556_952.0
EARLIEST, LATEST = 15 * YEAR, 130 * YEAR  # 1985 to 2100: when logs were written
SAMPLE = 100_000


@dataclass(frozen=True)
class Clock:
    """How to read the times of a log."""

    unit: str  # of UNITS, or "order": they only say which came first

    @property
    def seconds_per_unit(self) -> float | None:
        """None for an order."""
        return UNITS.get(self.unit)

    @property
    def is_real(self) -> bool:
        """Whether times can be compared between users."""
        return self.unit in UNITS


def clock_of(times: npt.NDArray[np.number], are_dates: bool) -> Clock:
    """Guessed from the median: dates are seconds, and numbers are what puts them between 1985 and 2100."""
    if are_dates:
        return Clock("seconds")
    sample = times[:: max(len(times) // SAMPLE, 1)]
    middle = float(np.median(sample)) if len(sample) else 0.0
    return Clock(next((unit for unit, size in UNITS.items() if EARLIEST <= middle * size <= LATEST), "order"))
