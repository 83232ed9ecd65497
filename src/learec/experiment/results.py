"""cells.parquet, a row for every log, agent, seed, part, kind of event and metric, and comparisons.parquet, for every test."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from io import BytesIO
from pathlib import Path
from typing import Any

import polars as pl

from learec.artifacts import cost_of, read_manifest, write_bytes
from learec.config import FLOORS
from learec.evaluation.evaluate import named_metrics
from learec.evaluation.metrics import reciprocal_rank
from learec.experiment.grid import Planned
from learec.experiment.workplace import Workplace

TARGET = ("part", "session", "step", "item", "event")  # columns of ranks.parquet that are no ranks
ALL_EVENTS = "all"
SCHEMA = {
    "log": pl.String, "variant": pl.String, "kind": pl.String, "agent": pl.String, "encoder": pl.String, "objective": pl.String,
    "columns": pl.String, "placebo": pl.String, "seed": pl.Int64, "part": pl.String, "event": pl.String, "metric": pl.String,
    "value": pl.Float64, "n": pl.Int64, "seconds": pl.Float64, "peak_mb": pl.Float64, "digest": pl.String,
}  # fmt: skip
TESTED = {
    "log": pl.String, "variant": pl.String, "pooled": pl.Boolean, "new": pl.String, "base": pl.String, "metric": pl.String,
    "difference": pl.Float64, "low": pl.Float64, "high": pl.Float64, "p": pl.Float64, "p_adjusted": pl.Float64,
    "effect": pl.Float64, "seeds": pl.Int64, "base_seeds": pl.Int64, "covers_seeds": pl.Boolean, "n": pl.Int64,
}  # fmt: skip
Json = Mapping[str, Any]


def gather(workplace: Workplace, evaluated: Sequence[Planned]) -> pl.DataFrame:
    """Of all recipes whose results are there; a mean over targets each, `n` of them.

    Floors have no seed, floors and hybrids no cost or digest; an agent's cost may be lost.
    """
    frames = [pl.DataFrame(list(_rows(workplace, planned)), schema=SCHEMA) for planned in evaluated]
    return pl.concat([pl.DataFrame(schema=SCHEMA), *frames])


def comparison_rows(
    evaluated: Sequence[Planned], results: Mapping[str, Json], pooled: Mapping[str, Sequence[Json]]
) -> pl.DataFrame:
    """Every comparison of evaluated recipes as tables.json has it; those over all encoders and objectives are `pooled`."""
    rows = [
        {**one, "log": planned.log, "variant": planned.variant, "pooled": together}
        for planned in evaluated
        for together, found in ((True, pooled.get(planned.name, ())), (False, results[planned.name]["comparisons"]))
        for one in found
    ]
    return pl.DataFrame([{name: row[name] for name in TESTED} for row in rows], schema=TESTED)


def save(table: pl.DataFrame, path: Path) -> None:
    """Write it so that a reader sees all of it or none."""
    buffer = BytesIO()
    table.write_parquet(buffer)
    write_bytes(path, buffer.getvalue())


def read_ranks(workplace: Workplace, planned: Planned) -> pl.DataFrame:
    """What evaluate ranked for a recipe: a line for every target, a column for every floor and run."""
    return pl.read_parquet(workplace.run_folder(planned) / "results" / "ranks.parquet")


def _rows(workplace: Workplace, planned: Planned) -> Iterator[dict[str, Any]]:
    ranks = read_ranks(workplace, planned)
    for column in (name for name in ranks.columns if name not in TARGET):
        about = _about(workplace, planned, column)
        for part, event, chosen in groups(ranks):
            rank, cutoffs = chosen[column].to_numpy(), planned.recipe.evaluation.cutoffs
            found = {**named_metrics(rank, cutoffs), **{f"MRR@{k}": reciprocal_rank(rank, k) for k in cutoffs}}
            for metric, values in found.items():
                value = float(values.mean()) if len(values) else None
                yield {**about, "part": part, "event": event, "metric": metric, "value": value, "n": len(values)}


def groups(ranks: pl.DataFrame) -> Iterator[tuple[str, str, pl.DataFrame]]:
    """Lines of ranks by part and kind of event, and of all kinds together first."""
    kinds = ranks["event"].unique().sort().to_list()
    for part in ("validation", "test"):
        of_part = ranks.filter(part=part)
        yield part, ALL_EVENTS, of_part
        if len(kinds) > 1:
            yield from ((part, _told(kind), of_part.filter(event=kind)) for kind in kinds)


def _told(kind: str) -> str:
    """A kind of event that is itself called as all of them are must not be taken for them."""
    return f"{kind} (kind)" if kind == ALL_EVENTS else kind


def _about(workplace: Workplace, planned: Planned, column: str) -> dict[str, Any]:
    """Who a column of ranks is, and what it cost."""
    where = {"log": planned.log, "variant": planned.variant}
    if column in FLOORS:
        return {**where, "kind": "floor", "agent": column}
    name, _, seed = column.rpartition("/")
    if name in planned.recipe.evaluation.hybrid_names:
        return {**where, "kind": "hybrid", "agent": name, "seed": int(seed)}
    cell = planned.cells[name]
    folder = workplace.run_folder(planned) / "agents" / name / f"seed-{seed}"
    cost = cost_of(folder)
    return {
        **where, "kind": "agent", "agent": name, "encoder": cell.encoder, "objective": cell.objective, "columns": cell.columns,
        "placebo": cell.placebo, "seed": int(seed), **(asdict(cost) if cost else {}),
        "digest": read_manifest(folder, "agent", "learec experiment").digest,
    }  # fmt: skip
