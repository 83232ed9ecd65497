"""The commands `learec data list` and `learec data get`: which public logs there are, and fetching one."""

import difflib
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from learec.data.downloads import DATASETS, Dataset, download
from learec.errors import ConfigError
from learec.progress import Reporter

NOT_PUBLISHED = "not published"

app = typer.Typer(help="Public logs that learec can read: list them, get one.", no_args_is_help=True, rich_markup_mode=None)


@app.command("list")
def list_datasets() -> None:
    """What there is: size, licence, where from, and which `format` of [data] in a recipe reads it."""
    console = Console(highlight=False)
    if not console.is_terminal:
        for dataset in DATASETS.values():
            typer.echo("\t".join((dataset.name, dataset.about, *_facts(dataset).values())))
        return
    table = Table("name", "what it is, terms, where from", box=box.SIMPLE_HEAD, show_lines=True)
    for dataset in DATASETS.values():
        facts = _facts(dataset)
        short = f"size {facts['size']}, checksum {facts['checksum']}; format {facts['format']}"
        lines = (dataset.about, short, facts["get"], facts["licence"], dataset.page)
        table.add_row(Text(dataset.name, style="bold", no_wrap=True), Text("\n".join(lines), overflow="fold"))
    console.print(table)


@app.command("get")
def get(
    name: Annotated[str, typer.Argument(help="one of those that `learec data list` names")],
    to: Annotated[Path | None, typer.Option("--to", help="folder for the files (default: data/NAME)")] = None,
) -> None:
    """Fetch a log's files, check them, unpack them. A stopped download goes on where it was; what is there is left alone."""
    if name not in DATASETS:
        close = difflib.get_close_matches(name, DATASETS, n=1)
        raise ConfigError(f"unknown data set {name!r}; {f'did you mean {close[0]}?' if close else 'see `learec data list`'}")
    dataset, reporter = DATASETS[name], Reporter()
    place = download(dataset, to or Path("data") / name, reporter)
    reporter.say(f'{name} is ready: in [data] of a recipe format = "{dataset.format}" and events = ".", run with --data {place}')
    reporter.say(f"licence: {dataset.licence} ({dataset.page})")


def _facts(dataset: Dataset) -> dict[str, str]:
    kinds = {file.digest.split(":")[0] if file.digest else NOT_PUBLISHED for file in dataset.files}
    by_hand = f"by hand (its host wants a login): {', '.join(dataset.by_hand)}"
    return {
        "size": dataset.size or NOT_PUBLISHED,
        "licence": dataset.licence,
        "from": " ".join([dataset.page, *(file.url for file in dataset.files)]),
        "format": dataset.format,
        "checksum": " ".join(sorted(kinds)) or NOT_PUBLISHED,
        "get": by_hand if dataset.by_hand else f"learec data get {dataset.name}",
    }
