"""The command line: one verb per stage, and run, demo, recommend. It reads a recipe, calls one function, prints."""

import json
import logging
import os
import sys
import warnings
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from learec import downloads_cli
from learec.config import RunOptions, load_recipe
from learec.errors import ConfigError, LearecError
from learec.line import STAGES, append_stage, train_stage, walk
from learec.progress import Reporter
from learec.run import Run, check_folder, costs

INTERRUPTED = 130
LEAKING = 1

app = typer.Typer(
    help="learec: a language model as an environment for recommenders. Start with `learec demo`.",
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None,
)  # fmt: skip

app.add_typer(downloads_cli.app, name="data")

RecipePath = Annotated[Path, typer.Argument(help="the recipe, a .toml file such as recipes/industrial.toml")]
DataFolder = Annotated[
    Path | None,
    typer.Option(
        "--data", envvar="LEAREC_DATA", help="folder that the recipe's file names are relative to (default: the recipe's own)"
    ),
]
RunFolder = Annotated[Path | None, typer.Option("--folder", help="where artifacts go (default: runs/NAME)")]
Device = Annotated[str, typer.Option(help="torch device: cpu, cuda, cuda:1")]


def _run(recipe: Path, data: Path | None, folder: Path | None, device: str) -> Run:
    loaded = load_recipe(recipe)
    target = folder or Path("runs") / loaded.name
    check_folder(target)
    _check_device(device)
    return Run(loaded, str(recipe), RunOptions(target, data or recipe.parent, device), Reporter())


def _check_device(device: str) -> None:
    if device == "cpu":
        return
    import torch

    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        first = str(error).splitlines()[0]
        raise ConfigError(f"--device {device}: not usable here ({first}); use --device cpu") from None


@app.command()
def run(recipe: RecipePath, data: DataFolder = None, folder: RunFolder = None, device: Device = "cpu") -> None:
    """Walk the whole line: prepare, adapt, annotate, train, evaluate, report.

    Stages whose inputs have not changed are left alone; a stopped run goes on where it was.
    """
    _walk(_run(recipe, data, folder, device))


def _walk(job: Run) -> None:
    made = walk(job)
    if not made:
        job.reporter.say("Nothing to do: every stage is up to date.")
    _print_results(job)


@app.command()
def demo(folder: RunFolder = None, device: Device = "cpu") -> None:
    """The whole line on a simulated music log with the embedded language model: a few minutes on a laptop."""
    recipe = Path(str(files("learec") / "demo.toml"))
    job = _run(recipe, None, folder, device)
    _walk(job)
    _print_sample(job)


@app.command()
def prepare(
    recipe: RecipePath, data: DataFolder = None, folder: RunFolder = None,
    append: Annotated[Path | None, typer.Option(help="a file of new events: extends log/, nothing in it is renumbered")] = None,
    append_items: Annotated[Path | None, typer.Option(help="with --append: an item table that holds the new items")] = None,
) -> None:  # fmt: skip
    """Read the raw log and the item table, filter, number, split: makes log/."""
    job = _run(recipe, data, folder, "cpu")
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
def adapt(recipe: RecipePath, data: DataFolder = None, folder: RunFolder = None, device: Device = "cpu") -> None:
    """Teach the language model this log, on a share of its users: makes environment/. The only stage that trains it."""
    STAGES["adapt"](_run(recipe, data, folder, device))


@app.command()
def annotate(recipe: RecipePath, data: DataFolder = None, folder: RunFolder = None, device: Device = "cpu") -> None:
    """Give every training step a state, a reward and augmented actions: makes annotations/. Needs environment/."""
    STAGES["annotate"](_run(recipe, data, folder, device))


@app.command()
def train(
    recipe: RecipePath, data: DataFolder = None, folder: RunFolder = None, device: Device = "cpu",
    agent: Annotated[str | None, typer.Option(help="only this agent of the recipe")] = None,
) -> None:  # fmt: skip
    """Train the recipe's agents: makes agents/NAME/seed-S/. Needs no language model."""
    job = _run(recipe, data, folder, device)
    if agent is not None and agent not in job.recipe.agents:
        raise ConfigError(f"--agent {agent}: no such agent in {recipe}; it has {', '.join(job.recipe.agents)}")
    train_stage(job, only=agent)


@app.command()
def evaluate(recipe: RecipePath, data: DataFolder = None, folder: RunFolder = None, device: Device = "cpu") -> None:
    """Rank all items at every validation and test step, for agents and floors: makes results/ and prints the table."""
    job = _run(recipe, data, folder, device)
    STAGES["evaluate"](job)
    _print_results(job)


@app.command()
def report(recipe: RecipePath, data: DataFolder = None, folder: RunFolder = None) -> None:
    """Write one HTML page with tables, curves and sessions with titles: makes report/report.html."""
    job = _run(recipe, data, folder, "cpu")
    STAGES["report"](job)
    job.reporter.say(f"report: {job.folder('report') / 'report.html'}")


@app.command()
def recommend(
    run_folder: Annotated[Path, typer.Argument(help="a run's folder, such as runs/industrial")],
    history: Annotated[str, typer.Option(help="item ids, oldest first, separated by commas")],
    k: Annotated[int, typer.Option("-k", help="how many items")] = 10,
    agent: Annotated[str | None, typer.Option(help="NAME or NAME/SEED (default: the best one on validation)")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Recommend items after a history: ids, titles, scores. Needs log/ and an agent only, no language model."""
    from learec.serving.recommender import Recommender, choose_agent

    chosen = choose_agent(run_folder, agent)
    recommender = Recommender.load(chosen, run_folder / "log")
    ids = [part.strip() for part in history.split(",") if part.strip()]
    found = recommender.recommend(ids, k)
    if as_json:
        typer.echo(json.dumps([vars(item) for item in found], ensure_ascii=False))
        return
    console = Console(highlight=False)
    console.print(f"agent {chosen.relative_to(run_folder / 'agents')}, after:", markup=False)
    for item_id in ids:
        console.print(f"  {recommender.catalog.titles[recommender.catalog.numbers[item_id]]}", markup=False)
    table = Table("", "id", "title", "score", box=None, header_style="dim")
    for place, item in enumerate(found, 1):
        table.add_row(str(place), _plain(item.item_id), _plain(item.title), f"{item.score:.3f}")
    console.print(table)


def _plain(text: str) -> str:
    """Text from a catalog must not be read as rich markup."""
    return text.replace("[", r"\[")


def _print_results(job: Run) -> None:
    tables: dict[str, Any] = json.loads((job.folder("results") / "tables.json").read_text(encoding="utf-8"))
    config = job.recipe.evaluation
    seen = "seen items masked" if config.mask_seen else "seen items not masked"
    console = job.reporter.console
    title = f"{job.recipe.name}: test part, {tables['n_targets']['test']:,} targets, full ranking; {seen}"
    job.reporter.say(f"\n{title}")
    table = Table(box=None, header_style="bold", padding=(0, 1, 0, 0))
    metrics = list(tables["rows"][0]["metrics"])
    main = tables["main_metric"]
    for heading in ("", *metrics, "95 % of", "seeds"):
        heading = f"{heading} {main}" if heading == "95 % of" else heading
        table.add_column(heading.replace("NDCG", "N").replace("HR", "H") if console.width < 100 else heading, no_wrap=True)
    for row in tables["rows"]:
        cells = [_decimals(row["metrics"][name]["mean"]) for name in metrics]
        interval = f"{_decimals(row['metrics'][main]['low'])} to {_decimals(row['metrics'][main]['high'])}"
        table.add_row(row["name"], *cells, interval, str(row["seeds"]) if row["kind"] == "agent" else "")
    console.print(table)
    for pair in tables["comparisons"]:
        interval = f"({pair['low']:+.4f} to {pair['high']:+.4f})"
        job.reporter.say(f"{pair['new']} against {pair['base']}: {pair['metric']} {pair['difference']:+.4f} {interval}")
    if tables["unreachable"]:
        job.reporter.say(
            f"{tables['unreachable']:.1%} of the targets repeat an item of the history, which is masked: nobody can hit them "
            "(drop repeats in [data], or set mask_seen = false)"
        )
    minutes = ", ".join(f"{cost['stage']} {cost['seconds'] / 60:.1f}" for cost in costs(job))
    job.reporter.say(f"minutes: {minutes}")
    if (job.folder("report") / "report.html").exists():
        job.reporter.say(f"report: {job.folder('report') / 'report.html'}")


def _decimals(value: float) -> str:
    """.0841: four places, without the zero that they all begin with."""
    return f"{value:.4f}".removeprefix("0")


def _print_sample(job: Run) -> None:
    """Five recommendations for the newest history of a test session, chosen by the recipe's seed."""
    from learec.data.log import Part, load_log

    log = load_log(job.folder("log"))
    targets = log.targets(Part.TEST)
    step = targets[job.recipe.seed % len(targets)]
    histories, lengths = log.sessions.histories(targets[targets == step], 4)
    ids = ",".join(log.catalog.ids[number] for number in histories[0][: lengths[0]])
    recommend(job.options.folder, ids, 5)


def main() -> None:
    """Entry point: a LearecError is one line on standard error and exit code 2, never a traceback."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    warnings.filterwarnings("ignore", category=FutureWarning)
    logging.getLogger("transformers").setLevel(logging.ERROR)
    try:
        app()
    except LearecError as error:
        print("error:", " ".join(str(error).split()), file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        print(f"error: {error.filename or 'disk'}: {error.strerror or error}; earlier artifacts are intact", file=sys.stderr)
        sys.exit(2)
    except SystemExit as done:
        if done.code == INTERRUPTED:  # typer turns Ctrl-C into it
            print("stopped; run the same command again to go on", file=sys.stderr)
        raise
