"""The command line: one verb per stage, and run, demo, recommend. A command reads a recipe, calls one function, prints."""

import logging
import os
import sys
import warnings

import typer

from learec.cli import data, experiment, line, serving
from learec.errors import ConfigError, LearecError
from learec.workers import n_processes, process_number

INTERRUPTED = 130

app = typer.Typer(
    help="learec: a language model as an environment for recommenders. Start with `learec demo`.",
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None,
)  # fmt: skip

app.add_typer(line.app)  # without a name: its commands are commands of learec
app.add_typer(serving.app)
app.add_typer(experiment.app)
app.add_typer(data.app, name="data")


@app.callback()
def check_processes(context: typer.Context) -> None:
    """Several processes only train; any other command would do its work, and write its files, once for each of them."""
    if n_processes() > 1 and context.invoked_subcommand != "train":
        raise ConfigError(
            f"learec {context.invoked_subcommand}: runs in one process, and {n_processes()} were started; only `learec train` "
            "uses several, so start this one without a launcher"
        )


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
