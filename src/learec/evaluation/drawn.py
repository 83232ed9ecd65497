"""Figures of one policy that are means over targets, or one mean divided by another, with their intervals over sessions."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from learec.evaluation.compare import NOTHING, Bootstrap, Estimate, Values, interval


@dataclass(frozen=True)
class Drawn:
    """Columns by name: their means over T targets, and the same with sessions resampled, (resamples,)."""

    means: Mapping[str, float]
    draws: Mapping[str, Values]

    @classmethod
    def of(cls, columns: Mapping[str, Values], bootstrap: Bootstrap) -> "Drawn":
        """Of columns (T,); what one bootstrap draws is paired, for columns and for policies."""
        means, draws = bootstrap.draws(columns.values())
        return cls(dict(zip(columns, means.tolist(), strict=True)), dict(zip(columns, draws.T, strict=True)))

    def figure(self, above: str, below: str | None = None) -> tuple[float, Values]:
        """A column's mean, or one by another, and its draws; NaN where nothing is below."""
        if below is None:
            return self.means[above], self.draws[above]
        with np.errstate(divide="ignore", invalid="ignore"):
            value, drawn = np.divide(self.means[above], self.means[below]), self.draws[above] / self.draws[below]
        return float(value) if self.means[below] else float("nan"), np.where(np.isfinite(drawn), drawn, np.nan)

    def estimate(self, above: str, below: str | None = None) -> Estimate:
        """The same with its interval."""
        return with_interval(*self.figure(above, below))


def with_interval(value: float, drawn: Values) -> Estimate:
    """A figure and the percentiles of those of its draws that are numbers."""
    known = drawn[np.isfinite(drawn)]
    return interval(value, known) if np.isfinite(value) and len(known) else NOTHING
