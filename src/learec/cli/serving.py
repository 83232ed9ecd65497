"""The commands that use trained agents: recommend."""

import difflib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from learec.cli.tables import plain
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


def print_sample(job: Run) -> None:
    """Five recommendations for the newest history of a test session, chosen by the recipe's seed."""
    from learec.data.log import Part, load_log

    log = load_log(job.folder("log"))
    targets = log.targets(Part.TEST)
    step = targets[job.recipe.seed % len(targets)]
    histories, lengths = log.sessions.histories(targets[targets == step], 4)
    ids = ",".join(log.catalog.ids[number] for number in histories[0][: lengths[0]])
    recommend(job.options.folder, ids, 5)
