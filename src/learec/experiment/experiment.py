"""learec experiment: the grid is planned, its jobs are worked off, and what came of it is written as tables."""

import importlib.metadata
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from learec.artifacts import write_text
from learec.config.experiment import Experiment
from learec.evaluation.run_comparison import is_comparison, read_run, write_comparison
from learec.experiment.board import Board
from learec.experiment.grid import MAIN, Plan, Planned
from learec.experiment.jobs import Job, name_of
from learec.experiment.pooled import pooled_comparisons
from learec.experiment.processes import Processes
from learec.experiment.render import latex, markdown
from learec.experiment.results import Json, comparison_rows, gather, read_ranks, save
from learec.experiment.schedule import DONE, Progress, work_off
from learec.experiment.tables import Found, tables_of
from learec.experiment.workplace import LocalHands, Workplace


def experiment(declared: Experiment, plan: Plan, jobs: Mapping[str, Job], workplace: Workplace, processes: Processes) -> Progress:
    """Make what is missing or stale of the jobs asked for, then the Parquet files and tables of all that is there.

    Raises ArtifactError if another one is at work in the same folder, or if a folder holds something else.
    """
    with workplace.locked():
        workplace.set_up(plan)
        progress = Progress(jobs)
        board = Board(progress, processes.n, workplace.reporter)
        with board.shown():
            work_off(progress, LocalHands(workplace, plan, progress, processes), board.told)
        _write_tables(declared, plan, workplace, progress)
    return progress


def _write_tables(declared: Experiment, plan: Plan, workplace: Workplace, progress: Progress) -> None:
    evaluated = [run for run in plan.runs if progress.states[name_of(run, "evaluate")] in DONE]
    cells = gather(workplace, evaluated)
    save(cells, workplace.own / "cells.parquet")
    pooled = {run.name: pooled_comparisons(run, read_ranks(workplace, run)) for run in evaluated if run.variant == MAIN}
    results = {run.name: _results(workplace, run) for run in evaluated}
    save(comparison_rows(evaluated, results, pooled), workplace.own / "comparisons.parquet")
    found = Found(plan, cells, results, pooled)
    tables = list(tables_of(found))
    write_text(workplace.own / "tables.md", markdown(declared.name, tables, progress.missing))
    write_text(workplace.own / "tables.tex", latex(tables, progress.missing))
    write_pages(workplace, evaluated, pooled)


def write_pages(workplace: Workplace, evaluated: Sequence[Planned], pooled: Mapping[str, Sequence[Json]]) -> None:
    """A page for each log. Those of an earlier call that tell what is no longer so go."""
    logs = dict.fromkeys(run.log for run in evaluated)
    written = {write_log_page(workplace, [run for run in evaluated if run.log == log], pooled) for log in logs}
    for path in set(workplace.own.glob("*.html")) - written:
        if is_comparison(path):
            path.unlink()


def write_log_page(workplace: Workplace, evaluated: list[Planned], pooled: Mapping[str, Sequence[Json]]) -> Path | None:
    """A log's page: what column sets are worth over all its agents, and its recipe and ablations side by side.

    Of a log that has neither there is none.
    """
    together = next((pooled[run.name] for run in evaluated if run.variant == MAIN and run.name in pooled), ())
    if len(evaluated) == 1 and not together:
        return None
    runs = [read_run(workplace.run_folder(run), run.variant) for run in evaluated]
    path = workplace.own / f"{evaluated[0].log}.html"
    write_comparison(runs, path, importlib.metadata.version("learec"), together)
    return path


def _results(workplace: Workplace, planned: Planned) -> Json:
    path: Path = workplace.run_folder(planned) / "results" / "tables.json"
    found: Json = json.loads(path.read_text(encoding="utf-8"))
    return found
