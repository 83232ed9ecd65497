"""The commands of the line: run and demo, a verb for each stage, audit and tune."""

import importlib.metadata
import sys
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from learec.cli.options import DataFolder, Device, Loggers, RecipePath, RunFolder, make_run
from learec.cli.serving import print_sample
from learec.cli.tables import print_results
from learec.errors import ArtifactError, ConfigError
from learec.line import STAGES, add_items_stage, append_stage, train_stage, walk
from learec.progress import Reporter
from learec.run import Run
from learec.workers import n_processes, start_processes

LEAKING = 1

app = typer.Typer()


@app.command()
def run(recipe: RecipePath, data: DataFolder = None, folder: RunFolder = None, device: Device = "cpu") -> None:
    """Walk the whole line: prepare, adapt, annotate, train, evaluate, report.

    Stages whose inputs have not changed are left alone; a stopped run goes on where it was.
    """
    _walk(make_run(recipe, data, folder, device))


def _walk(job: Run) -> None:
    made = walk(job)
    if not made:
        job.reporter.say("Nothing to do: every stage is up to date.")
    print_results(job)


@app.command()
def demo(folder: RunFolder = None, device: Device = "cpu") -> None:
    """The whole line on a simulated music log with the embedded language model: a few minutes on a laptop."""
    recipe = Path(str(files("learec") / "demo.toml"))
    job = make_run(recipe, None, folder, device)
    _walk(job)
    print_sample(job)


@app.command()
def prepare(
    recipe: RecipePath, data: DataFolder = None, folder: RunFolder = None,
    append: Annotated[Path | None, typer.Option(help="a file of new events: extends log/, nothing in it is renumbered")] = None,
    append_items: Annotated[Path | None, typer.Option(help="with --append: an item table that holds the new items")] = None,
) -> None:  # fmt: skip
    """Read the raw log and the item table, filter, number, split: makes log/."""
    job = make_run(recipe, data, folder, "cpu")
    if append is not None:
        append_stage(job, append, append_items)
        return
    if append_items is not None:
        raise ConfigError("--append-items goes with --append; name the new events too, or drop it")
    STAGES["simulate"](job)
    STAGES["prepare"](job)


@app.command()
def audit(folder: Annotated[Path, typer.Argument(help="a run's folder, such as runs/industrial, or its log/")]) -> None:
    """Count what one asks about a log and its split, and look for leaks: exit code 1 if there is one."""
    from learec.leakage import audit as audited

    if not audited(folder, Reporter()):
        raise typer.Exit(LEAKING)


@app.command()
def adapt(
    recipe: RecipePath, data: DataFolder = None, folder: RunFolder = None, device: Device = "cpu", log: Loggers = None,
    add_items: Annotated[
        Path | None, typer.Option(help="a table of the items that `prepare --append` added: gives them tokens, trains no more")
    ] = None,
) -> None:  # fmt: skip
    """Teach the language model this log, on a share of its users: makes environment/. The only stage that trains it."""
    job = make_run(recipe, data, folder, device, log)
    if add_items is not None:
        add_items_stage(job, add_items)
        return
    STAGES["adapt"](job)


@app.command()
def annotate(recipe: RecipePath, data: DataFolder = None, folder: RunFolder = None, device: Device = "cpu") -> None:
    """Give every training step a state, a reward and augmented actions: makes annotations/. Needs environment/."""
    STAGES["annotate"](make_run(recipe, data, folder, device))


@app.command()
def train(
    recipe: RecipePath, data: DataFolder = None, folder: RunFolder = None, device: Device = "cpu",
    agent: Annotated[str | None, typer.Option(help="only this agent of the recipe")] = None,
    processes: Annotated[int, typer.Option(min=1, help="train with so many, each on its share of every batch")] = 1,
    log: Loggers = None,
) -> None:  # fmt: skip
    """Train the recipe's agents: makes agents/NAME/seed-S/. Needs no language model."""
    job = make_run(recipe, data, folder, device, log)
    _check_agent(job, agent)
    if processes > 1 and n_processes() == 1:
        code = start_processes(processes, [sys.executable, "-m", "learec", *sys.argv[1:]])
        raise typer.Exit(code if code >= 0 else 1)
    train_stage(job, only=agent)


def _check_agent(job: Run, agent: str | None) -> None:
    if agent is not None and agent not in job.recipe.agents:
        raise ConfigError(f"--agent {agent}: no such agent in {job.recipe_name}; it has {', '.join(job.recipe.agents)}")


@app.command()
def tune(
    recipe: RecipePath,
    agent: Annotated[str, typer.Option(help="the agent whose settings are searched; the recipe needs a table [tune.AGENT]")],
    trials: Annotated[int | None, typer.Option(min=1, help="how many in all (default: the recipe's, else 30)")] = None,
    minutes: Annotated[float | None, typer.Option(min=0, help="no new trial begins after so many; run again to go on")] = None,
    data: DataFolder = None, folder: RunFolder = None, device: Device = "cpu",
) -> None:  # fmt: skip
    """Search good settings for one agent of the recipe: makes tuning/AGENT/ with winner.toml, a recipe to run.

    Needs log/ (see prepare), and annotations/ if the agent reads them. The recipe says what to try:

    \b
      [tune.sasrec]                                    # for [agents.sasrec]
      trials = 30
      dropout = [0.2, 0.3, 0.5]                        # one of these
      n_layers = { low = 1, high = 3 }                 # a whole number, both ends included
      learning_rate = { low = 1e-4, high = 1e-2, log = true }

    A trial trains the agent with one choice of settings and is worth its best NDCG@10 on the validation part; the test
    part is not looked at. The first ten are drawn at random, later ones near the best so far, and one that falls behind
    the others is ended early (pruned). A stopped search goes on where it was. tuning/AGENT/trials.parquet has all trials.
    """  # noqa: D301  (\b keeps the lines of the example apart)
    from learec.tuning import tune_stage

    job = make_run(recipe, data, folder, device)
    _check_agent(job, agent)
    tune_stage(job, agent, trials, minutes)


@app.command()
def evaluate(recipe: RecipePath, data: DataFolder = None, folder: RunFolder = None, device: Device = "cpu") -> None:
    """Rank all items at every validation and test step, for agents and floors: makes results/ and prints the table."""
    job = make_run(recipe, data, folder, device)
    STAGES["evaluate"](job)
    print_results(job)


@app.command()
def report(
    made_of: Annotated[
        list[Path], typer.Argument(metavar="RECIPE | RUN_FOLDERS", help="a recipe, or folders of runs to compare, such as runs/*")
    ],
    data: DataFolder = None, folder: RunFolder = None,
    out: Annotated[Path | None, typer.Option(help="with run folders: the page (default: runs/comparison.html)")] = None,
) -> None:  # fmt: skip
    """Write one HTML page with tables, curves and sessions with titles: makes report/report.html.

    Given folders of runs instead of a recipe, writes one page that sets the runs side by side.
    """
    folders = [path for path in made_of if path.is_dir()]
    if folders:
        if folder is not None:
            raise ConfigError("--folder goes with a recipe; name where the comparison of runs goes with --out")
        _compare_runs(made_of, out or Path("runs/comparison.html"))
        return
    if len(made_of) > 1 or out is not None:
        seen = f"{len(made_of)} files" if len(made_of) > 1 else "--out and a recipe"
        raise ConfigError(f"{made_of[0]}: got {seen}, wanted one recipe, or folders of runs to compare such as runs/*")
    job = make_run(made_of[0], data, folder, "cpu")
    STAGES["report"](job)
    job.reporter.say(f"report: {job.folder('report') / 'report.html'}")


def _compare_runs(given: list[Path], out: Path) -> None:
    """Compare those of the folders that have results; the page itself is no run, and runs/* names it too."""
    from learec.evaluation.run_comparison import read_run, run_names, runs_within, warnings, write_comparison

    reporter, given = Reporter(), [path for path in dict.fromkeys(given) if path.resolve() != out.resolve()]
    given = [run for path in given for run in runs_within(path)]
    if files_given := [path for path in given if not path.is_dir()]:
        raise ConfigError(f"{files_given[0]}: is no folder, wanted folders of runs only, or one recipe only")
    runs = []
    for path, name in zip(given, run_names(given), strict=True):
        try:
            runs.append(read_run(path, name))
        except ArtifactError as error:
            reporter.say(f"Left out: {error}")
    if not runs:
        raise ArtifactError(f"{given[0]}: no run with results is here; make one with `learec run RECIPE`")
    write_comparison(runs, out, importlib.metadata.version("learec"))
    for sentence in warnings(runs):
        reporter.say(f"Not comparable: {sentence}")
    reporter.say(f"comparison of {len(runs)} runs: {out}")
