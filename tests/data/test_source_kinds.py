"""Whatever a log was made from, later stages accept it: prepare and train through the command line, one kind of source each."""

from pathlib import Path

import polars as pl
import pytest
from click.testing import Result
from typer.testing import CliRunner

from learec.cli import app
from learec.config import load_recipe
from learec.data.prepare import prepare
from learec.data.sources import Frames

RECIPE = """
[data]
{data}
min_item_events = 1
split = "leave_one_out"
[agents.sasrec]
hidden_size = 8
epochs = 1
"""
EVENTS = pl.DataFrame(
    [(f"u{user}", f"i{(user + step) % 9}", step) for user in range(20) for step in range(5)],
    schema=["user_id", "item_id", "timestamp"], orient="row",
)  # fmt: skip
ITEMS = pl.DataFrame({"item_id": [f"i{item}" for item in range(9)], "title": [f"Thing {item}" for item in range(9)]})


def learec(folder: Path, stage: str) -> Result:
    """A stage of the recipe of that folder, in this process: a process each would be most of the time."""
    return CliRunner().invoke(app, [stage, str(folder / "r.toml"), "--data", str(folder), "--folder", str(folder / "runs/r")])


def one_file(folder):
    EVENTS.write_csv(folder / "log.csv")
    ITEMS.write_csv(folder / "items.csv")
    return 'events = "log.csv"\nitems = "items.csv"'


def no_item_table(folder):
    EVENTS.write_parquet(folder / "log.parquet")
    return 'events = "log.parquet"'


def parquet_folder(folder):
    (folder / "log").mkdir()
    for part in range(2):
        EVENTS[part * 50 : part * 50 + 50].write_parquet(folder / f"log/{part}.parquet")
    ITEMS.write_parquet(folder / "items.parquet")
    return 'events = "log"\nitems = "items.parquet"'


def recbole(folder):
    text = EVENTS.rename({"user_id": "user_id:token", "item_id": "item_id:token", "timestamp": "timestamp:float"})
    text.write_csv(folder / "a.inter", separator="\t")
    return 'format = "recbole"\nevents = "a.inter"'


def python_frames(folder):
    return 'events = "frame"\nitems = "items"'


@pytest.mark.parametrize("source", [one_file, no_item_table, parquet_folder, recbole, python_frames], ids=lambda f: f.__name__)
def test_a_log_of_any_source_is_trained_on(tmp_path, source):
    (tmp_path / "r.toml").write_text(RECIPE.format(data=source(tmp_path)))
    if source is python_frames:
        recipe = load_recipe(tmp_path / "r.toml")
        prepare(recipe.data, recipe.seed, Frames(EVENTS, ITEMS), tmp_path / "runs/r/log")
    else:
        done = learec(tmp_path, "prepare")
        assert done.exit_code == 0, done.output
        assert f"`learec audit {tmp_path / 'runs/r'}`" in " ".join(done.stdout.split())
    done = learec(tmp_path, "train")
    assert (done.exit_code, done.stderr) == (0, ""), (done.output, done.exception)
    assert "up to date" in learec(tmp_path, "train").stdout
