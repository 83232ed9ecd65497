"""Figures as tables of plain text hold them. Imports nothing: the command line starts with it."""

from collections.abc import Mapping
from typing import Any


def decimals(value: float, places: int = 4) -> str:
    """.0841: without the zero that they all begin with."""
    return f"{value:.{places}f}".removeprefix("0")


def signed(value: float, places: int = 4) -> str:
    """+.0841."""
    return f"{'-' if value < 0 else '+'}{decimals(abs(value), places)}"


def probability(value: float) -> str:
    """.0312: a p value; what would round to nothing is only said to be small."""
    return "<.0001" if value < 0.00005 else decimals(value)


def interval(cell: Mapping[str, Any]) -> str:
    """.0781 to .0902."""
    return f"{decimals(cell['low'])} to {decimals(cell['high'])}"
