"""Figures as tables of plain text hold them. Imports nothing: the command line starts with it."""

from collections.abc import Mapping
from typing import Any


def decimals(value: float) -> str:
    """.0841: four places, without the zero that they all begin with."""
    return f"{value:.4f}".removeprefix("0")


def interval(cell: Mapping[str, Any]) -> str:
    """.0781 to .0902."""
    return f"{decimals(cell['low'])} to {decimals(cell['high'])}"
