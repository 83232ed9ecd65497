"""Arguments and options that several commands share, and the run that they make."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from learec.config import RunOptions, load_recipe
from learec.errors import ConfigError
from learec.progress import Reporter
from learec.run import Run, check_folder
from learec.workers import process_number

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


def make_run(recipe: Path, data: Path | None, folder: Path | None, device: str, loggers: list[str] | None = None) -> Run:
    """A recipe and how it is run, checked before any work begins."""
    loaded = load_recipe(recipe)
    target = folder or Path("runs") / loaded.name
    check_folder(target)
    check_device(device)
    reporter = Reporter(Console(highlight=False, quiet=process_number() > 0))
    return Run(loaded, str(recipe), RunOptions(target, data or recipe.parent, device, tuple(loggers or ())), reporter)


def check_device(device: str) -> None:
    """Refuse a device that torch cannot use here."""
    if device == "cpu":
        return
    import torch

    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        first = str(error).splitlines()[0]
        raise ConfigError(f"--device {device}: not usable here ({first}); use --device cpu") from None
