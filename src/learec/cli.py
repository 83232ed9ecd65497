"""The command line: one verb per stage, and run, demo, recommend. It reads a recipe, calls one function, prints."""

import json
import logging
import os
import sys
import warnings
from collections.abc import Iterator
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
from learec.workers import n_processes, process_number, start_processes

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
Loggers = Annotated[
    list[str] | None,
    typer.Option("--log", help="also write losses and validation measures for: tensorboard, mlflow; into logs/ of the folder"),
]


@app.callback()
def check_processes(context: typer.Context) -> None:
    """Several processes only train; any other command would do its work, and write its files, once for each of them."""
    if n_processes() > 1 and context.invoked_subcommand != "train":
        raise ConfigError(
            f"learec {context.invoked_subcommand}: runs in one process, and {n_processes()} were started; only `learec train` "
            "uses several, so start this one without a launcher"
        )


def _run(recipe: Path, data: Path | None, folder: Path | None, device: str, loggers: list[str] | None = None) -> Run:
    loaded = load_recipe(recipe)
    target = folder or Path("runs") / loaded.name
    check_folder(target)
    _check_device(device)
    reporter = Reporter(Console(highlight=False, quiet=process_number() > 0))
    return Run(loaded, str(recipe), RunOptions(target, data or recipe.parent, device, tuple(loggers or ())), reporter)


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
def adapt(
    recipe: RecipePath, data: DataFolder = None, folder: RunFolder = None, device: Device = "cpu", log: Loggers = None
) -> None:
    """Teach the language model this log, on a share of its users: makes environment/. The only stage that trains it."""
    STAGES["adapt"](_run(recipe, data, folder, device, log))


@app.command()
def annotate(recipe: RecipePath, data: DataFolder = None, folder: RunFolder = None, device: Device = "cpu") -> None:
    """Give every training step a state, a reward and augmented actions: makes annotations/. Needs environment/."""
    STAGES["annotate"](_run(recipe, data, folder, device))


@app.command()
def train(
    recipe: RecipePath, data: DataFolder = None, folder: RunFolder = None, device: Device = "cpu",
    agent: Annotated[str | None, typer.Option(help="only this agent of the recipe")] = None,
    processes: Annotated[int, typer.Option(min=1, help="train with so many, each on its share of every batch")] = 1,
    log: Loggers = None,
) -> None:  # fmt: skip
    """Train the recipe's agents: makes agents/NAME/seed-S/. Needs no language model."""
    job = _run(recipe, data, folder, device, log)
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

    job = _run(recipe, data, folder, device)
    _check_agent(job, agent)
    tune_stage(job, agent, trials, minutes)


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
        table.add_row(row["name"], *cells, _interval(row["metrics"][main]), str(row["seeds"]) if row["kind"] == "agent" else "")
    console.print(table)
    for name, reason in tables["left_out"].items():
        job.reporter.say(f"{name} is left out: {reason}")
    if len(tables["rows"][0]["by_event"]) > 1:
        job.reporter.say(f"\n{main} by kind of event, with its 95 % interval")
        for part in _event_tables(tables["rows"], console.width):
            console.print(part)
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


def _event_tables(rows: list[dict[str, Any]], width: int) -> Iterator[Table]:
    """A column for every kind of event among the test targets, the interval under its value; as many side by side as fit."""
    kinds = list(rows[0]["by_event"])
    names = max(len(row["name"]) for row in rows)
    fit = max((width - names - 2) // (max(len(".0000 to .0000"), *map(len, kinds)) + 2), 1)
    for start in range(0, len(kinds), fit):
        table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
        table.add_column("", no_wrap=True, min_width=names)
        for kind in kinds[start : start + fit]:
            table.add_column(f"{_plain(kind)}\n{rows[0]['by_event'][kind]['n']:,} targets")
        for row in rows:
            cells = [row["by_event"][kind] for kind in kinds[start : start + fit]]
            table.add_row(row["name"], *(f"{_decimals(cell['mean'])}\n{_interval(cell)}" for cell in cells))
        yield table


def _interval(cell: dict[str, float]) -> str:
    return f"{_decimals(cell['low'])} to {_decimals(cell['high'])}"


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
    warnings.filterwarnings("ignore", category=SyntaxWarning)  # of damaged lines in Python's notation (data/formats/lines)
    logging.getLogger("transformers").setLevel(logging.ERROR)
    try:
        app()
    except LearecError as error:
        if process_number() == 0:  # it is the same for all
            print("error:", " ".join(str(error).split()), file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        print(f"error: {error.filename or 'disk'}: {error.strerror or error}; earlier artifacts are intact", file=sys.stderr)
        sys.exit(2)
    except SystemExit as done:
        if done.code == INTERRUPTED:  # typer turns Ctrl-C into it
            print("stopped; run the same command again to go on", file=sys.stderr)
        raise
