"""The command `learec experiment`: a whole grid of agents over logs."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from learec.cli.options import DataFolder, RunFolder, check_device
from learec.cli.tables import plain
from learec.config.experiment import Experiment, load_experiment
from learec.experiment.grid import Plan, plan_of
from learec.experiment.jobs import Job, asked_for, jobs_of
from learec.progress import Reporter

INCOMPLETE = 1
SHOWN = 3  # cells that are named

app = typer.Typer()


@app.command()
def experiment(
    recipe: Annotated[Path, typer.Argument(help="the experiment, a .toml file such as recipes/paper.toml")],
    data: DataFolder = None, folder: RunFolder = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="processes at once (default: one for each device)")] = None,
    devices: Annotated[str, typer.Option(help="torch devices that they take in turn: cuda:0,cuda:1")] = "cpu",
    only: Annotated[
        list[str] | None, typer.Option(help="make these cells alone, such as 'scientific/main/sasrec-LEA*/0'; may be repeated")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say what there is to do, and do nothing")] = False,
) -> None:  # fmt: skip
    """Make every cell of a grid (logs x encoders x objectives x columns x seeds) and tables of them.

    What is up to date is left alone, a stopped experiment goes on where it was. A cell that fails is listed, the rest goes on,
    and the exit code is 1.
    """
    declared = load_experiment(recipe)
    plan = plan_of(declared)
    work = jobs_of(plan) if not only else asked_for(jobs_of(plan), only)
    reporter = Reporter(Console(highlight=False))
    _tell(declared, plan, work, reporter)
    if dry_run:
        return
    names = [name.strip() for name in devices.split(",") if name.strip()] or ["cpu"]
    for name in names:
        check_device(name)
    from learec.experiment.experiment import experiment as made
    from learec.experiment.processes import Processes
    from learec.experiment.workplace import Workplace

    workplace = Workplace(folder or Path("runs") / declared.name, data or recipe.parent, reporter)
    progress = made(declared, plan, work, workplace, Processes(jobs or len(names), names))
    for job, why in progress.failed.items():
        more = len(progress.left_out(job))
        reporter.say(f"missing: {job}: {why}{f'; {more} more jobs are left out with it' if more else ''}")
    reporter.say(f"tables: {workplace.own / 'tables.md'}, {workplace.own / 'tables.tex'}, cells.parquet and comparisons.parquet")
    if progress.failed:
        reporter.say(f"what each job printed: {workplace.own / 'logs'}; run the same command again to try the missing ones")
        raise typer.Exit(INCOMPLETE)


def _tell(declared: Experiment, plan: Plan, jobs: Mapping[str, Job], reporter: Reporter) -> None:
    """How many agents each recipe of the grid has, and which cells are asked for if not all."""
    table = Table("", "agents", "seeds", "cells", "comparisons", box=None, header_style="bold", padding=(0, 2, 0, 0))
    for run in plan.runs:
        entries = len(run.recipe.entries)
        seeds = len(declared.experiment.seeds)
        table.add_row(plain(run.name), *map(str, (len(run.cells), seeds, entries, len(run.recipe.evaluation.compare))))
    reporter.say(f"{declared.name}: {plan.n_cells} cells to train, one agent with one seed each")
    reporter.console.print(table)
    asked = [name for name, job in jobs.items() if job.stage == "train" and job.asked]
    if len(asked) < plan.n_cells:
        reporter.say(f"asked for: {len(asked)} cells, {', '.join(asked[:SHOWN])}{', ...' if len(asked) > SHOWN else ''}")
