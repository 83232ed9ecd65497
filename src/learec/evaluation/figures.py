"""Figures as the report prints them."""

import math

from learec.evaluation import plots


def number(value: float | None, decimals: int = 4) -> str:
    """Print a fixed number of decimals; a dash for what is missing."""
    return "\N{EN DASH}" if value is None or not math.isfinite(value) else plots.signless_zero(f"{value:.{decimals}f}")


def signed(value: float | None, decimals: int = 4) -> str:
    """Print a difference: with its sign."""
    told = number(value, decimals)
    return f"+{told}" if value is not None and value > 0 and told.strip("0.") else told


def probability(value: float | None) -> str:
    """Print a p value: what would round to nothing is only said to be small."""
    return "<\u00a00.0001" if value is not None and value < 0.00005 else number(value)


def share(value: float) -> str:
    """Print a share as per cent; a dash for what is not a number."""
    return f"{100 * value:.1f}\u00a0%" if math.isfinite(value) else "\N{EN DASH}"


def duration(seconds: float) -> str:
    """Seconds below a minute, else minutes."""
    return f"{seconds:.1f}\u00a0s" if seconds < 60 else f"{seconds / 60:,.1f}\u00a0min"
