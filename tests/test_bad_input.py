"""Bad input through the real command line: exit code 2, one sentence on standard error, and nothing on disk is touched."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest

MAIN = "from learec.cli import main; main()"
RECIPE = """
name = "small"
[data]
events = "log.csv"
items = "items.csv"
min_item_events = 2
[environment]
llm = "."
[agent]
hidden_size = 8
epochs = 1
[agents.sasrec]
"""


def learec(folder: Path, *arguments: str, before: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "60"}  # a narrow terminal must not break the sentence
    command = [sys.executable, "-c", before + MAIN, *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)


def contents(folder: Path) -> dict[str, bytes] | None:
    """Every file of a folder; None if there is no folder."""
    if not folder.exists():
        return None
    files = [folder] if folder.is_file() else [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def raw(tmp_path_factory) -> Path:
    """A recipe, a log of 20 users with 6 events each over 10 items, and the item table."""
    folder = tmp_path_factory.mktemp("raw")
    rows = [f"u{user},i{(user * 3 + step * step) % 10},{1000 * user + step}" for user in range(20) for step in range(6)]
    (folder / "log.csv").write_text("\n".join(["user_id,item_id,timestamp", *rows]) + "\n")
    (folder / "items.csv").write_text("\n".join(["item_id,title", *(f"i{item},Thing {item}" for item in range(10))]) + "\n")
    (folder / "small.toml").write_text(RECIPE)
    return folder


@pytest.fixture(scope="module")
def trained(raw, tmp_path_factory) -> Path:
    """The same after prepare and train."""
    folder = shutil.copytree(raw, tmp_path_factory.mktemp("trained") / "work")
    for stage in ("prepare", "train"):
        done = learec(folder, stage, "small.toml")
        assert done.returncode == 0, done.stderr
    return folder


Break = Callable[[Path], object]


@dataclass(frozen=True)
class Case:
    """How input is broken, what is then run, and what the sentence must say."""

    breaks: Break
    run: tuple[str, ...]
    says: tuple[str, ...]
    before: str = ""  # Python that runs before the command line


def edited(name: str, old: str, new: str) -> Break:
    """A file with some of its text replaced; the text must be there."""

    def edit(folder: Path) -> None:
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new, 1))

    return edit


def recipe(old: str, new: str) -> Break:
    return edited("small.toml", old, new)


def truncated_parquet(folder: Path) -> None:
    pl.read_csv(folder / "log.csv").write_parquet(folder / "log.parquet")
    data = (folder / "log.parquet").read_bytes()
    (folder / "log.parquet").write_bytes(data[: len(data) // 2])
    recipe("log.csv", "log.parquet")(folder)


def null_ids(folder: Path) -> None:
    frame = pl.read_csv(folder / "log.csv").with_row_index("n")
    frame.with_columns(pl.when(pl.col("n") >= 118).then(None).otherwise("user_id").alias("user_id")).write_parquet(
        folder / "log.parquet"
    )
    recipe("log.csv", "log.parquet")(folder)


def filled_folder(folder: Path) -> None:
    (folder / "runs/small").mkdir(parents=True)
    (folder / "runs/small/thesis.txt").write_text("years of work")


def filled_stage_folder(folder: Path) -> None:
    (folder / "runs/small/log").mkdir(parents=True)
    (folder / "runs/small/log/thesis.txt").write_text("years of work")


def flipped_byte(folder: Path) -> None:
    path = folder / "runs/small/log/items.npy"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def nothing(_folder: Path) -> None:
    pass


PREPARE, TRAIN, ADAPT = (("prepare", "small.toml"), ("train", "small.toml"), ("adapt", "small.toml"))
RAW = {
    "missing file": Case(lambda folder: (folder / "log.csv").unlink(), PREPARE, ("log.csv: no such file", "--data")),
    "truncated Parquet": Case(
        truncated_parquet, PREPARE, ("log.parquet: cannot be read", "a whole Parquet file", "write the file again")
    ),
    "column not in the file": Case(
        recipe("[environment]", 'columns = { time = "when" }\n[environment]'),
        PREPARE,
        ("log.csv: no column 'when' for [data.columns] time", "columns: user_id, item_id, timestamp"),
    ),
    "empty id": Case(
        edited("log.csv", "\nu0,i1,", "\nu0,,"), PREPARE, ("log.csv: column 'item_id': 1 empty ids, first in row 2",)
    ),
    "null ids": Case(null_ids, PREPARE, ("log.parquet: column 'user_id': 2 empty ids, first in row 119", "fill or remove")),
    "time": Case(
        edited("log.csv", ",1000\n", ",soon\n"),
        PREPARE,
        ("log.csv: column 'timestamp': 1 times do not parse, first 'soon' in row 7", "numbers or ISO dates"),
    ),
    "items without a row": Case(
        edited("items.csv", "i3,Thing 3\ni4,Thing 4\n", ""),
        PREPARE,
        ("log.csv: 2 items have no row in", "items.csv, first 'i4'", "add them to the item table"),
    ),
    "nothing left": Case(
        recipe("min_item_events = 2", "min_item_events = 500"),
        PREPARE,
        ("log.csv: nothing is left of 120 events", "lower min_item_events"),
    ),
    "unknown key": Case(recipe("[environment]", "[enviroment]"), PREPARE, ("small.toml: unknown key enviroment", "environment?")),
    "out of range": Case(
        recipe("epochs = 1", "epochs = 0"), PREPARE, ("small.toml: agent.epochs = 0:", "greater than or equal to 1", "change it")
    ),
    "no recipe": Case(nothing, ("prepare", "none.toml"), ("none.toml: no such recipe", "pass the path")),
    "folder of something else": Case(filled_folder, PREPARE, ("runs/small: holds something else (thesis.txt)", "--folder")),
    "stage's folder of something else": Case(
        filled_stage_folder, PREPARE, ("runs/small/log: holds something that learec did not write", "name another folder")
    ),
    "file in place of the folder": Case(nothing, (*PREPARE, "--folder", "log.csv"), ("log.csv: is a file", "--folder")),
    "stage before": Case(nothing, TRAIN, ("runs/small/log: no log here", "make it with `learec prepare small.toml`")),
    "no run to recommend from": Case(
        nothing, ("recommend", "runs/small", "--history", "i1"), ("runs/small: no trained agent here", "learec run RECIPE")
    ),
}
TRAINED = {
    "no such language model": Case(
        recipe('llm = "."', 'llm = "/no/such/folder"'),
        ADAPT,
        ("environment.llm = '/no/such/folder': no such folder", "'smollm2'"),
    ),
    "transformers missing": Case(
        nothing, ADAPT, ("need transformers", "pip install 'learec[adapt]'"), "import sys; sys.modules['transformers'] = None; "
    ),
    "stale log": Case(
        recipe("min_item_events = 2", "min_item_events = 3"),
        TRAIN,
        ("runs/small/log: stale: min_item_events was 2 and is now 3", "refresh it with `learec prepare small.toml`"),
    ),
    "damaged log": Case(flipped_byte, TRAIN, ("runs/small/log/items.npy: damaged", "learec prepare")),
    "unknown item": Case(
        nothing,
        ("recommend", "runs/small", "--history", "i1,i77"),
        ("unknown item id 'i77' in the history", "10 items", "did you mean i7?"),
    ),
    "empty history": Case(
        nothing, ("recommend", "runs/small", "--history", ","), ("the history is empty", "at least one item id")
    ),
    "unknown agent": Case(
        nothing, ("recommend", "runs/small", "--history", "i1", "--agent", "gru"), ("--agent gru: no such agent", "sasrec/0")
    ),
    "device": Case(nothing, (*TRAIN, "--device", "abacus"), ("--device abacus: not usable here", "use --device cpu")),
}


def refused(folder: Path, case: Case) -> None:
    case.breaks(folder)
    runs = [folder / "runs", folder / "log.csv"]
    before = [contents(path) for path in runs]
    done = learec(folder, *case.run, before=case.before)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1, "one sentence"
    for words in case.says:
        assert words in done.stderr
    assert [contents(path) for path in runs] == before


@pytest.mark.parametrize("case", RAW.values(), ids=RAW)
def test_before_a_run_bad_input_is_one_sentence_and_no_folder(raw, tmp_path, case):
    refused(shutil.copytree(raw, tmp_path / "work"), case)


@pytest.mark.parametrize("case", TRAINED.values(), ids=TRAINED)
def test_in_a_run_bad_input_is_one_sentence_and_the_folder_stays_as_it_is(trained, tmp_path, case):
    refused(shutil.copytree(trained, tmp_path / "work"), case)


def test_the_log_that_the_cases_break_is_good(trained):
    done = learec(trained, "recommend", "runs/small", "--history", "i1,i2", "-k", "3", "--json")
    assert (done.returncode, done.stderr) == (0, "")
