"""The commands that use trained agents: recommend, export, serve."""

import difflib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from learec.cli.tables import plain
from learec.errors import ConfigError
from learec.progress import Reporter
from learec.run import Run

if TYPE_CHECKING:
    from learec.data.log import Catalog

app = typer.Typer()


@app.command()
def recommend(
    run_folder: Annotated[Path, typer.Argument(help="a run's folder, such as runs/industrial")],
    history: Annotated[str, typer.Option(help="item ids, oldest first, separated by commas")],
    k: Annotated[int, typer.Option("-k", help="how many items")] = 10,
    agent: Annotated[str | None, typer.Option(help="NAME or NAME/SEED (default: the best one on validation)")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Recommend items after a history: ids, titles, scores. Needs log/ and an agent only, no language model."""
    from learec.serving.recommender import Recommender

    recommender = Recommender.load(run_folder, agent)
    ids = [part.strip() for part in history.split(",") if part.strip()]
    answer = recommender.recommend(ids, k)
    if answer.unknown:
        typer.echo(f"warning: {_unknown(answer.unknown, recommender.catalog)}", err=True)
    if as_json:
        typer.echo(json.dumps([vars(item) for item in answer.items], ensure_ascii=False))
        return
    console = Console(highlight=False)
    console.print(f"agent {recommender.name}, {'most popular items' if answer.fallback else 'after'}:", markup=False)
    for item_id in ids:
        if item_id not in answer.unknown:
            console.print(f"  {recommender.catalog.titles[recommender.catalog.numbers[item_id]]}", markup=False)
    table = Table("", "id", "title", "score", box=None, header_style="dim")
    for place, item in enumerate(answer.items, 1):
        table.add_row(str(place), plain(item.item_id), plain(item.title), f"{item.score:.3f}")
    console.print(table)


def _unknown(ids: tuple[str, ...], catalog: "Catalog") -> str:
    """What is ignored of a history, and what may have been meant."""
    first = ids[0]
    close = difflib.get_close_matches(first, catalog.numbers, n=1)
    if first in catalog.numbers:
        hint = "it joined the log after this agent was trained, run `learec train RECIPE`"
    else:
        hint = f"did you mean {close[0]}?" if close else f"ids look like {catalog.ids[1]}"
    return f"{len(ids)} unknown item ids are ignored, first {first!r}: {hint}"


@app.command()
def export(
    run_folder: Annotated[Path, typer.Argument(help="a run's folder, such as runs/industrial")],
    onnx: Annotated[bool, typer.Option("--onnx", help="as an ONNX graph; there is no other form yet")] = True,
    agent: Annotated[str | None, typer.Option(help="NAME or NAME/SEED (default: the best one on validation)")] = None,
    every: Annotated[bool, typer.Option("--all", help="every agent of the run, to serve them side by side")] = False,
    index: Annotated[
        bool | None, typer.Option(help="find items by a FAISS index (default: from --index-from items on)", show_default=False)
    ] = None,
    index_from: Annotated[int, typer.Option(min=1, help="items from which a catalog gets an index by itself")] = 1_000_000,
    hybrid: Annotated[
        bool, typer.Option("--hybrid", help="with item texts and counts beside it, as `learec evaluate` measured NAME-hybrid")
    ] = False,
) -> None:
    """Make export/NAME/seed-S/: an agent that is served without torch. Needs log/ and the agent."""
    from learec.serving.choose import agents_of, choose_agent
    from learec.serving.missing import libraries_for

    if every and agent is not None:
        raise ConfigError("--all exports every agent of the run; drop it, or drop --agent")
    reporter = Reporter()
    with libraries_for("learec export"):
        from learec.hybrids import beside_for
        from learec.serving.export import export as exported

        for chosen in agents_of(run_folder).values() if every else [choose_agent(run_folder, agent)]:
            notes = exported(chosen, reporter, index, index_from, beside_for(chosen) if hybrid else None)
            told = _measured(notes.get("index")) + _weighed(notes.get("hybrid"))
            reporter.say(f"{chosen}: {chosen.exported}, {_megabytes(chosen.exported):.1f} MB{told}")


def _megabytes(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.iterdir()) / 1e6


def _weighed(settings: dict[str, float] | None) -> str:
    if settings is None:
        return ""
    return f"; logits + {settings['text_weight']:g} x text cosine + {settings['knn_weight']:g} x log counts"


def _measured(index: dict[str, float] | None) -> str:
    if index is None:
        return ""
    return f"; index: recall@10 {index['recall_at_10']:.4f} against exact, over {index['histories']:,} histories"


@app.command()
def serve(  # noqa: PLR0913 (its options)
    run_folder: Annotated[Path, typer.Argument(help="a run's folder, such as runs/industrial")],
    host: Annotated[str, typer.Option(help="address to listen at; 0.0.0.0 is every one of this machine")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free one, which is printed")] = 8000,
    agents: Annotated[
        str | None,
        typer.Option(
            help="NAME/SEED or NAME, separated by commas, the first is the default one (default: the best on validation, and one "
            "seed of each other agent)",
            show_default=False,
        ),
    ] = None,
    histories: Annotated[
        str | None, typer.Option(help="keep users' events: path of an SQLite file, or redis://HOST:PORT/0", show_default=False)
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option(help="file with a token that requests must show (or set LEAREC_TOKEN)", show_default=False)
    ] = None,
    max_waiting: Annotated[
        int, typer.Option(min=256, help="histories that may wait for the model; more are answered with 503")
    ] = 8192,
    reload_seconds: Annotated[
        float, typer.Option(min=0, help="look for new versions of the agents so often (0: on SIGHUP alone)")
    ] = 5.0,
) -> None:
    """Answer over HTTP, with a page at / to try it and the API at /docs. Needs log/ and agents or their exports only."""
    from learec.serving.missing import libraries_for

    with libraries_for("learec serve"):
        from learec.serving.server import ServeOptions, read_token
        from learec.serving.server import serve as served

    named = tuple(name.strip() for name in (agents or "").split(",") if name.strip())
    token = read_token(token_file, os.environ.get("LEAREC_TOKEN"))
    options = ServeOptions(run_folder, host, port, named, histories, token, max_waiting, reload_seconds)
    served(options, typer.echo)


@app.command()
def doctor(as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False) -> None:
    """Say what is installed, on which devices, what the caches hold, and what is missing with the command that brings it."""
    from learec.doctor import as_text, diagnosis

    found = diagnosis()
    typer.echo(json.dumps(found, indent=2) if as_json else as_text(found))


def print_sample(job: Run) -> None:
    """Five recommendations for the newest history of a test session, chosen by the recipe's seed."""
    from learec.data.log import Part, load_log

    log = load_log(job.folder("log"))
    targets = log.targets(Part.TEST)
    step = targets[job.recipe.seed % len(targets)]
    histories, lengths = log.sessions.histories(targets[targets == step], 4)
    ids = ",".join(log.catalog.ids[number] for number in histories[0][: lengths[0]])
    recommend(job.options.folder, ids, 5)
