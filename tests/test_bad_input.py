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


def rewritten(name: str, change: Callable[[str], str | bytes]) -> Break:
    """A file with its whole text changed."""

    def rewrite(folder: Path) -> None:
        changed = change((folder / name).read_text())
        (folder / name).write_bytes(changed if isinstance(changed, bytes) else changed.encode())

    return rewrite


def with_column(name: str, first: object, other: object) -> Callable[[str], str]:
    """The log with one more column, whose first value differs."""

    def change(text: str) -> str:
        header, *rows = text.splitlines()
        return "\n".join([f"{header},{name}", f"{rows[0]},{first}", *(f"{row},{other}" for row in rows[1:])]) + "\n"

    return change


def both(*breaks: Break) -> Break:
    def all_of_them(folder: Path) -> None:
        for one in breaks:
            one(folder)

    return all_of_them


def nested_ids(folder: Path) -> None:
    frame = pl.read_csv(folder / "log.csv")
    frame.with_columns(pl.concat_list("item_id")).write_parquet(folder / "log.parquet")
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
    "wrong delimiter": Case(
        rewritten("log.csv", lambda text: text.replace(",", ";")),
        PREPARE,
        ("log.csv: its only column is 'user_id;item_id;timestamp', wanted columns separated by commas", 'set delimiter = ";" in'),
    ),
    "delimiter of a recipe that is none": Case(
        recipe("[environment]", "delimiter = 'é'\n[environment]"),
        PREPARE,
        ("log.csv: delimiter = 'é' in [data] cannot separate",),
    ),
    "wrong encoding": Case(
        rewritten("log.csv", lambda text: text.replace("u3,", "é3,", 1).encode("latin-1")),
        PREPARE,
        ("log.csv: cannot be read (line 20 holds the byte 0xe9, which is not UTF-8)", "convert it, for example with `iconv"),
    ),
    "UTF-16": Case(
        rewritten("items.csv", lambda text: text.encode("utf-16")), PREPARE, ("items.csv: cannot be read (it is UTF-16)", "iconv")
    ),
    "header in line 3": Case(
        rewritten("log.csv", lambda text: "Report of a shop\n\n" + text),
        PREPARE,
        ("log.csv: no column 'user_id' for [data.columns] user", "the header seems to be line 3: remove the lines above it"),
    ),
    "column twice": Case(
        edited("log.csv", "user_id,item_id,", "user_id,user_id,"),
        PREPARE,
        ("log.csv: column 'user_id' stands 2 times in the header; rename or remove all but one",),
    ),
    "empty file": Case(rewritten("log.csv", lambda text: ""), PREPARE, ("log.csv: cannot be read (empty CSV)", "write the file")),
    "header alone": Case(
        rewritten("log.csv", lambda text: text.split("\n")[0]), PREPARE, ("log.csv: has no rows; a log needs at least one event",)
    ),
    "line with too many fields": Case(
        edited("log.csv", ",1000\n", ",1000,7\n"), PREPARE, ("log.csv: cannot be read (", "the same columns in every line")
    ),
    "ids 1.0 against 1": Case(
        both(
            rewritten("log.csv", lambda text: text.replace(",i1,", ",1.0,")),
            edited("items.csv", "\ni1,", "\n1,"),
        ),
        PREPARE,
        (
            "log.csv: 1 items have no row in",
            "items.csv, first '1.0'; the item table calls it '1': write the ids of both files alike",
        ),
    ),
    "rating that is none": Case(
        both(
            rewritten("log.csv", with_column("stars", "nan", 4)),
            recipe("[environment]", 'min_rating = 3\ncolumns = { rating = "stars" }\n[environment]'),
        ),
        PREPARE,
        ("log.csv: column 'stars': 1 ratings are no numbers, first 'nan' in row 1; fill or remove those rows",),
    ),
    "kind of event without a reward": Case(
        both(
            rewritten("log.csv", with_column("kind", "return", "buy")),
            recipe("[environment]", 'rewards = { buy = 1.0 }\ncolumns = { event = "kind" }\n[environment]'),
        ),
        PREPARE,
        ("log.csv: events of kind 'return' have no reward; add it to [data.rewards] in the recipe",),
    ),
    "kind of event that is not there": Case(
        both(
            rewritten("log.csv", with_column("kind", "view", "buy")),
            recipe("[environment]", 'kinds = ["purchase", "view"]\ncolumns = { event = "kind" }\n[environment]'),
        ),
        PREPARE,
        ("log.csv: no event of kind 'purchase', which kinds in [data] names; known: buy, view",),
    ),
    "date that may be two days": Case(
        edited("log.csv", ",1000\n", ",01/02/2024\n"),
        PREPARE,
        ("log.csv: column 'timestamp': 1 times do not parse, first '01/02/2024' in row 7", "numbers or ISO dates"),
    ),
    "lists as ids": Case(
        nested_ids, PREPARE, ("log.parquet: column 'item_id': holds List(String), wanted text or numbers; name another column",)
    ),
    "split by a time that is an order": Case(
        recipe("[environment]", 'split = "global_time"\n[environment]'),
        PREPARE,
        ("log.csv: split global_time needs real times", 'set split = "leave_one_out" in [data]'),
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
    "unknown agent": Case(
        nothing, ("recommend", "runs/small", "--history", "i1", "--agent", "gru"), ("--agent gru: no such agent", "sasrec/0")
    ),
    "last agent not for so large a catalog": Case(
        recipe(
            "[agents.sasrec]",
            "[agents.sasrec]\n[agents.new]\nepochs = 2\n[agents.late]\nitem_knn = true\nknn_similarity = 'ease'",
        ),
        TRAIN,
        ("agent late: knn_similarity has 'ease', whose matrix would take", "10 items, 5 at most; leave it at 'cosine'"),
        "import learec.agents.train; learec.agents.train.MOST_ITEMS = 5; ",
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


def good(folder: Path, change: Callable[[str], str] = str, **settings: str) -> subprocess.CompletedProcess[str]:
    """prepare, of a changed log, that must succeed."""
    rewritten("log.csv", change)(folder)
    for key, value in settings.items():
        recipe("[environment]", f"{key} = {value}\n[environment]")(folder)
    done = learec(folder, *PREPARE)
    assert (done.returncode, done.stderr) == (0, "")
    return done


def retimed(time: Callable[[int], object]) -> Callable[[str], str]:
    """The log with other times."""

    def change(text: str) -> str:
        header, *rows = text.splitlines()
        split = [row.rsplit(",", 1) for row in rows]
        return "\n".join([header, *(f"{ids},{time(int(old))}" for ids, old in split)]) + "\n"

    return change


def told(done: subprocess.CompletedProcess[str]) -> str:
    """What was printed, without the line ends of a narrow terminal."""
    return " ".join(done.stdout.split())


def test_milliseconds_are_recognised_and_told(raw, tmp_path):
    done = good(shutil.copytree(raw, tmp_path / "work"), retimed(lambda old: 1_700_000_000_000 + old))
    assert "split global_time: " in told(done)
    assert "note: times are milliseconds since 1970" in told(done)


def test_negative_times_are_told(raw, tmp_path):
    done = good(shutil.copytree(raw, tmp_path / "work"), retimed(lambda old: 1_700_000_000 + old if old else -1))
    assert "note: 1 events have a negative time: before 1970, or a mark for an unknown one" in told(done)


def test_blank_lines_quotes_a_byte_order_mark_and_windows_lines_change_nothing(raw, trained, tmp_path):
    def awkward(text: str) -> str:
        header, *rows = text.splitlines()
        quoted = [",".join(f'"{field}"' for field in row.split(",")) for row in rows]
        return "\ufeff" + "\r\n".join([header, "", *quoted[:50], "", "", *quoted[50:], "", ""])

    folder = shutil.copytree(raw, tmp_path / "work")
    good(folder, awkward)
    for name in ("items.npy", "offsets.npy", "parts.npy", "times.npy", "catalog.arrow", "sessions.arrow"):
        assert (folder / "runs/small/log" / name).read_bytes() == (trained / "runs/small/log" / name).read_bytes()


def test_a_log_that_grows_while_it_is_read_is_refused(raw, tmp_path):
    folder = shutil.copytree(raw, tmp_path / "work")
    before = (
        "import learec.data.prepare as stage; encode = stage.encode; "
        "stage.encode = lambda *given: (open('log.csv', 'a').write('u0,i1,9\\n'), encode(*given))[1]; "
    )
    done = learec(folder, *PREPARE, before=before)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "log.csv: changed while it was read; wait until it is written and run again" in done.stderr
    assert not (folder / "runs").exists()


def full(done: subprocess.CompletedProcess[str]) -> None:
    """What a disk without room must look like."""
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert "runs/small/log: cannot be written (" in done.stderr
    assert "make room on the disk, or name another folder, and run again: what was there before is intact" in done.stderr


LIMITED = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({0}, {0})); "


@pytest.mark.parametrize("limit", [10, 600])
def test_a_file_that_may_not_grow_is_one_sentence_and_the_log_before_stays_usable(trained, tmp_path, limit):
    folder = shutil.copytree(trained, tmp_path / "work")
    recipe("min_item_events = 2", "min_item_events = 3")(folder)
    before = contents(folder / "runs")
    full(learec(folder, *PREPARE, before=LIMITED.format(limit)))
    assert contents(folder / "runs") == before
    recipe("min_item_events = 3", "min_item_events = 2")(folder)
    assert learec(folder, *TRAIN).returncode == 0


def on_a_small_disk(folder: Path, room: int) -> subprocess.CompletedProcess[str]:
    """prepare, with the run's folder on a disk of its own with so many bytes of room; skipped where none can be made."""
    script = """
        set -e
        cp -r runs kept && mount -t tmpfs -o size=1m tmpfs runs && cp -r kept/. runs
        head -c $(( $(df -B1 --output=avail runs | tail -1) - $1 )) /dev/zero > runs/filler || true
        shift
        status=0; "$@" || status=$?
        cp -r runs/small after
        exit $status
    """
    if subprocess.run(["unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    command = ["unshare", "-rm", "sh", "-c", script, "sh", str(room), sys.executable, "-c", MAIN, *PREPARE]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, env={**os.environ, "COLUMNS": "60"})


@pytest.mark.parametrize("room", [0, 8192])
def test_a_full_disk_is_one_sentence_and_the_log_before_stays_usable(trained, tmp_path, room):
    folder = shutil.copytree(trained, tmp_path / "work")
    recipe("min_item_events = 2", "min_item_events = 3")(folder)
    full(on_a_small_disk(folder, room))
    before, after = contents(folder / "runs/small"), contents(folder / "after")
    assert before is not None
    assert after is not None
    assert list(after.values()) == list(before.values())
