"""The values of policies as one table: a row per policy, a column per figure that the run has."""

from collections.abc import Iterator, Mapping
from typing import Any

Json = Mapping[str, Any]


def value_table(values: Json) -> dict[str, Any]:
    """Columns and rows from the `values` of tables.json (policy_values.py has their shape).

    {"columns": [name], "rows": [{"name", "cells": {column: {mean, low, high} | None}, "off_policy": its row | None}]}, in the
    order in which policies were met.
    """
    columns, cells, off_policy = [], dict[str, dict[str, Json]](), dict[str, Json]()
    for column, name, cell in _figures(values):
        columns.append(column)
        cells.setdefault(name, {})[column] = cell
    if values["off_policy"] is not None:
        off_policy = {column_name(row): row for row in values["off_policy"]["rows"]}
    names = list(dict.fromkeys(columns))
    rows = [
        {"name": name, "cells": {column: found.get(column) for column in names}, "off_policy": off_policy.get(name)}
        for name, found in cells.items()
    ]
    return {"columns": names, "rows": rows}


def column_name(row: Json) -> str:
    """An agent's name with its seed; a floor has none."""
    return str(row["name"]) if row["seed"] is None else f"{row['name']}/{row['seed']}"


def _figures(values: Json) -> Iterator[tuple[str, str, Json]]:
    """Column, policy and cell of every figure that is there."""
    for row in values["rollout"]["rows"] if values["rollout"] is not None else []:
        yield "true value", column_name(row), row["value"]
        yield "true worth of its lists", column_name(row), row["listed"]
    for row in values["off_policy"]["rows"] if values["off_policy"] is not None else []:
        for key, column in {"ips": "clipped IPS", "snips": "SNIPS", "dr": "doubly robust"}.items():
            yield column, column_name(row), row[key]
    for row in values["judged"]:
        yield "LE reward", column_name(row), row["reward"]
