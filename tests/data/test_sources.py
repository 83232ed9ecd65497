"""Sources: what a recipe's [data] names, in every kind of file, under the columns it maps, and named by its content."""

import gzip
from pathlib import Path

import polars as pl
import pytest

from learec.config import DataConfig
from learec.data.prepare import read
from learec.data.sources import open_source, source_digests
from learec.errors import DataError

ROWS = [(f"u{user}", f"i{(user + step) % 5}", 1_700_000_000 + 100 * user + step) for user in range(12) for step in range(4)]
IN_ORDER = sorted(ROWS, key=lambda row: (row[0], row[2]))
LOG = pl.DataFrame(ROWS, schema=["user_id", "item_id", "timestamp"], orient="row")
SETTINGS = {"min_item_events": 1, "min_session_events": 2}


def as_csv(path: Path) -> None:
    LOG.write_csv(path)


def as_tsv(path: Path) -> None:
    LOG.write_csv(path, separator="\t")


def as_gz(path: Path) -> None:
    path.write_bytes(gzip.compress(LOG.write_csv().encode()))


def as_tsv_gz(path: Path) -> None:
    path.write_bytes(gzip.compress(LOG.write_csv(separator="\t").encode()))


def as_parquet(path: Path) -> None:
    LOG.write_parquet(path)


def as_folder(path: Path) -> None:
    """Three files whose names sort as their rows do, one of them empty, beside files of other programs."""
    path.mkdir()
    for name, piece in {"part-0.parquet": LOG[:30], "part-1.PARQUET": LOG[:0], "part-2.parquet": LOG[30:]}.items():
        piece.write_parquet(path / name)
    for name in ("_SUCCESS", ".part-0.parquet.crc", "._part-0.parquet"):
        (path / name).write_bytes(b"not a table")


WRITERS = {
    "log.csv": as_csv, "LOG.CSV": as_csv, "log.tsv": as_tsv, "log.csv.gz": as_gz, "log.tsv.gz": as_tsv_gz,
    "log.parquet": as_parquet, "log": as_folder,
}  # fmt: skip


@pytest.mark.parametrize("name", WRITERS)
def test_every_kind_of_file_gives_the_same_log(tmp_path, name):
    WRITERS[name](tmp_path / name)
    made = read(DataConfig(events=name, **SETTINGS), 0, tmp_path)
    assert made.sessions["user"].to_list() == sorted(f"u{user}" for user in range(12))
    assert made.arrays["times"].tolist() == [time for _, _, time in IN_ORDER]
    assert made.catalog["item_id"].to_list() == ["i0", "i1", "i2", "i3", "i4"]
    assert [made.catalog["item_id"][int(number) - 1] for number in made.arrays["items"]] == [item for _, item, _ in IN_ORDER]
    assert (made.notes["split"], made.notes["time_unit"], made.notes["caveats"]) == ("global_time", "seconds", [])


def test_a_path_may_be_absolute_and_hold_what_means_something_to_a_shell_or_to_polars(tmp_path):
    folder = tmp_path / "data[1] * user_id=7"
    folder.mkdir()
    for name, write in {"log.csv": as_csv, "log.parquet": as_parquet}.items():
        write(folder / name)
        assert read(DataConfig(events=str(folder / name), **SETTINGS), 0, Path("/nowhere")).notes["steps"] == 48


def test_columns_are_found_by_the_recipes_names(tmp_path):
    (tmp_path / "log.csv").write_text("who;what;when;how;stars;visit;fold\nu;i;5;view;4.5;v1;Train\n")
    names = {
        "user": "who",
        "item": "what",
        "time": "when",
        "event": "how",
        "rating": "stars",
        "session": "visit",
        "split": "fold",
    }
    raw = open_source(DataConfig(events="log.csv", delimiter=";", columns=names), tmp_path)
    assert raw.events[0].frame.collect().to_dicts() == [
        {"user": "u", "item": "i", "time": "5", "event": "view", "rating": "4.5", "session": "v1", "part": "Train"}
    ]
    assert raw.events[0].names == {
        "user": "who", "item": "what", "time": "when", "event": "how", "rating": "stars", "session": "visit", "part": "fold",
    }  # fmt: skip
    assert raw.items is None


@pytest.mark.parametrize("role", ["user", "item", "time", "event", "rating", "session", "split"])
def test_a_mapped_column_that_is_not_there_is_named_with_its_role(tmp_path, role):
    as_csv(tmp_path / "log.csv")
    wanted = rf"log\.csv: no column 'no such' for \[data\.columns\] {role}; columns: user_id, item_id, timestamp$"
    with pytest.raises(DataError, match=wanted):
        open_source(DataConfig(events="log.csv", columns={role: "no such"}), tmp_path)


def test_one_column_may_have_two_roles(tmp_path):
    """Where there are sessions and no users."""
    as_csv(tmp_path / "log.csv")
    made = read(DataConfig(events="log.csv", columns={"session": "user_id"}, **SETTINGS), 0, tmp_path)
    assert made.sessions.row(0, named=True) == {"session_id": "u0/u0", "visit": "u0/u0", "user": "u0"}


def test_an_item_table_keeps_its_columns_and_its_ids_are_called_item_id(tmp_path):
    as_csv(tmp_path / "log.csv")
    pl.DataFrame({"asin": [5, 6], "row": ["a", "b"], "item": ["c", "d"]}).write_parquet(tmp_path / "items.parquet")
    pl.DataFrame({"user_id": ["u"], "asin": ["5"], "timestamp": [1]}).write_parquet(tmp_path / "log.parquet")
    raw = open_source(DataConfig(events="log.parquet", items="items.parquet", columns={"item": "asin"}), tmp_path)
    assert raw.items is not None
    assert raw.items.collect().to_dict(as_series=False) == {
        "asin": [5, 6], "row": ["a", "b"], "item": ["c", "d"], "item_id": [5, 6],
    }  # fmt: skip


def test_an_item_table_without_the_id_column_is_refused(tmp_path):
    as_csv(tmp_path / "log.csv")
    (tmp_path / "items.csv").write_text("sku,title\na,x\n")
    with pytest.raises(DataError, match=r"items\.csv: no column 'item_id' for the item's id; columns: sku, title"):
        open_source(DataConfig(events="log.csv", items="items.csv"), tmp_path)


def test_an_item_table_may_not_be_a_folder_and_a_folder_without_parquet_is_no_log(tmp_path):
    as_csv(tmp_path / "log.csv")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "log.csv").touch()
    with pytest.raises(DataError, match=r"folder: is a folder, wanted a file; check \[data\]"):
        open_source(DataConfig(events="log.csv", items="folder"), tmp_path)
    with pytest.raises(DataError, match=r"folder: is a folder without \.parquet files, wanted a file or a folder of Parquet"):
        open_source(DataConfig(events="folder"), tmp_path)


def test_a_file_that_is_not_there_is_named_with_where_to_look(tmp_path):
    with pytest.raises(DataError, match=r"none\.csv: no such file; check \[data\] in the recipe and the data folder \(--data"):
        open_source(DataConfig(events="none.csv"), tmp_path)


def test_sources_are_named_by_their_content_file_by_file(tmp_path):
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
        as_folder(tmp_path / name / "log")
    config = DataConfig(events="log")
    here, there = (source_digests(open_source(config, tmp_path / name), tmp_path / name) for name in ("here", "there"))
    assert list(here) == ["events file part-0.parquet", "events file part-1.PARQUET", "events file part-2.parquet"]
    assert here == there
    LOG[:29].write_parquet(tmp_path / "there" / "log" / "part-0.parquet")
    changed = source_digests(open_source(config, tmp_path / "there"), tmp_path / "there")
    assert [name for name in here if here[name] != changed[name]] == ["events file part-0.parquet"]


def test_a_table_of_items_is_a_source_too(tmp_path):
    as_csv(tmp_path / "log.csv")
    (tmp_path / "items.csv").write_text("item_id\ni0\n")
    raw = open_source(DataConfig(events="log.csv", items="items.csv"), tmp_path)
    assert sorted(source_digests(raw, tmp_path)) == ["events file", "items file"]
    assert raw.items_name.endswith("items.csv")
