"""Reading logs and item tables: formats, kinds of times and ids, and errors that name file, column and row."""

from datetime import date, datetime

import polars as pl
import pytest

from learec.config import Columns
from learec.data.sources import read_events, read_items
from learec.errors import DataError

NAMES = "user_id,item_id,timestamp\n"
DAY = 86_400  # 1970-01-02


@pytest.fixture
def csv(tmp_path):
    """Writes a CSV log and reads it."""

    def read(text: str | bytes, columns: Columns | None = None, name: str = "log.csv") -> list[tuple]:
        (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_events(tmp_path / name, columns or Columns()).rows()

    return read


@pytest.fixture
def times(tmp_path):
    """Writes a Parquet log with these times and reads them back, in the order of the times."""

    def read(values: list | pl.Series) -> list:
        n = len(values)
        pl.DataFrame({"user_id": ["u"] * n, "item_id": ["i"] * n, "timestamp": values}).write_parquet(tmp_path / "log.parquet")
        return read_events(tmp_path / "log.parquet", Columns())["time"].to_list()

    return read


def test_rows_are_sorted_by_user_and_time_and_ties_keep_the_order_of_the_file(csv):
    rows = csv(NAMES + "v,x,1\nu,b,2\nu,a,2\nu,c,-1\n")
    assert [(user, item) for user, item, _, _ in rows] == [("u", "c"), ("u", "b"), ("u", "a"), ("v", "x")]


def test_ids_in_csv_keep_their_zeros_and_lose_only_space_around_them(csv):
    assert [row[:2] for row in csv(NAMES + "007,01,1\n7, 1 ,2\n")] == [("007", "01"), ("7", "1")]


def test_numbers_as_ids_read_the_same_from_integers_and_from_floats(tmp_path):
    frame = pl.DataFrame({"user_id": [12, 13], "item_id": [7.0, 8.0], "timestamp": [1, 2]})
    frame.write_parquet(tmp_path / "log.parquet")
    assert [row[:2] for row in read_events(tmp_path / "log.parquet", Columns()).rows()] == [("12", "7"), ("13", "8")]


def test_csv_may_have_a_byte_order_mark_quotes_windows_lines_and_an_upper_case_ending(csv):
    rows = csv("\ufeff" + NAMES.replace("\n", "\r\n") + '"u, v","say ""i""",1\r\n', name="LOG.CSV")
    assert rows == [("u, v", 'say "i"', 1, "event")]


def test_a_folder_may_have_brackets_in_its_name(tmp_path):
    folder = tmp_path / "data[1] *"
    folder.mkdir()
    (folder / "log.csv").write_text(NAMES + "u,i,1\n")
    assert len(read_events(folder / "log.csv", Columns())) == 1


def test_kinds_of_events_are_read_where_a_column_is_named(csv):
    text = "who,what,when,how\nu,i,1,view\nu,j,2,buy\n"
    assert [row[3] for row in csv(text, Columns(user="who", item="what", time="when", event="how"))] == ["view", "buy"]


def test_without_a_time_column_the_rows_order_is_taken(csv):
    assert [row[:3] for row in csv("user_id,item_id\nu,z\nv,y\nu,a\n", Columns(time=None))] == [
        ("u", "z", 0),
        ("u", "a", 2),
        ("v", "y", 1),
    ]


@pytest.mark.parametrize(
    ("values", "seconds"),
    [
        (["1970-01-03", "1970-01-02"], [DAY, 2 * DAY]),
        (["1970-01-02T00:00:00Z", "1970-01-02T00:00:01Z"], [DAY, DAY + 1]),
        (["1970-01-02 02:00:00+02:00"], [DAY]),
        (["1970-01-02T00:00:00.25", "1970-01-02T00:00:00.125"], [DAY + 0.125, DAY + 0.25]),
        (["1.7e9", "16"], [16, 1_700_000_000]),
        (["1700000000123456789", "1700000000123456788"], [1700000000123456788, 1700000000123456789]),  # beyond a float
        ([9, 8], [8, 9]),
        ([-5, 5], [-5, 5]),
        ([1.75, 1.25], [1.25, 1.75]),  # a fraction of a second tells which came first
        ([2.0, 1.0], [1, 2]),
        ([date(1970, 1, 3), date(1970, 1, 2)], [DAY, 2 * DAY]),
        ([datetime(1970, 1, 2, 0, 0, 0, 500_000), datetime(1970, 1, 2)], [float(DAY), DAY + 0.5]),
        (pl.Series([datetime(1970, 1, 2, 1)]).dt.replace_time_zone("Europe/Paris"), [DAY]),
    ],
    ids=str,
)
def test_times_may_be_numbers_dates_or_iso_text(times, values, seconds):
    read = times(values)
    assert read == seconds
    assert [type(time) for time in read] == [type(second) for second in seconds]


@pytest.mark.parametrize(
    ("values", "seen"),
    [
        (["2024-01-01", "2024-13-01"], "1 times do not parse, first '2024-13-01' in row 2"),
        (["yesterday", "today"], "2 times do not parse, first 'yesterday' in row 1"),
        (["1", "", "2"], "1 times do not parse, first '' in row 2"),
        (["1", "nan"], "1 times do not parse, first 'nan' in row 2"),
        ([1, None], "1 times do not parse, first None in row 2"),
        ([1.0, float("inf")], "1 times do not parse, first inf in row 2"),
        (["2024-01-01T10:00:00", "2024-01-01T10:00:00Z"], r"first '2024-01-01T10:00:00Z' in row 2"),
        ([True], "first True in row 1"),
        ([[1]], r"first \[1\] in row 1"),
        (pl.Series([1, 2]).cast(pl.Time), r"2 times do not parse, first datetime\.time\(0, 0\) in row 1"),
        (pl.Series([2**63], dtype=pl.UInt64), "first 9223372036854775808 in row 1"),
    ],
    ids=str,
)
def test_a_time_that_does_not_parse_is_named_with_its_row(times, values, seen):
    with pytest.raises(DataError, match=rf"log\.parquet: column 'timestamp': .*{seen}; wanted numbers or ISO dates"):
        times(values)


@pytest.mark.parametrize("column", ["user_id", "item_id"])
@pytest.mark.parametrize("empty", [None, "", "  "])
def test_empty_ids_are_counted_and_the_first_row_is_named(tmp_path, column, empty):
    frame = {"user_id": ["u", "u", "u"], "item_id": ["i", "i", "i"], "timestamp": [3, 2, 1], column: ["a", empty, empty]}
    pl.DataFrame(frame).write_parquet(tmp_path / "log.parquet")
    with pytest.raises(
        DataError, match=rf"log\.parquet: column '{column}': 2 empty ids, first in row 2; fill or remove those rows"
    ):
        read_events(tmp_path / "log.parquet", Columns())


@pytest.mark.parametrize("first", [1.0, 1.5])
def test_what_pandas_makes_of_a_missing_id_is_an_empty_id(tmp_path, first):
    frame = pl.DataFrame({"user_id": ["u", "u"], "item_id": [first, float("nan")], "timestamp": [1, 2]})
    frame.write_parquet(tmp_path / "log.parquet")
    with pytest.raises(DataError, match="column 'item_id': 1 empty ids, first in row 2"):
        read_events(tmp_path / "log.parquet", Columns())


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("user,item_id,timestamp\nu,i,1\n", r"no column 'user_id' for \[data.columns\] user; columns: user, item_id, timestamp"),
        (
            "user_id;item_id;timestamp\nu;i;1\n",
            "its only column is 'user_id;item_id;timestamp', wanted columns separated by commas",
        ),
        (NAMES, "has no rows; a log needs at least one event"),
        ("", r"cannot be read \(empty CSV\), wanted UTF-8 text"),
        (NAMES + "u,i,1,9\n", "cannot be read"),
        (NAMES + '"u,i,1\n', "cannot be read"),
        (
            (NAMES + "é,i,1\n").encode("latin-1"),
            r"cannot be read \(.*utf-8.*\), wanted UTF-8 text separated by commas; write the file again",
        ),
        ((NAMES + "é,i,1\n").encode("utf-16"), "cannot be read"),
    ],
    ids=["missing column", "semicolons", "header only", "empty", "ragged", "open quote", "Latin-1", "UTF-16"],
)
def test_a_csv_that_cannot_be_used_is_one_sentence(csv, text, sentence):
    with pytest.raises(DataError, match=rf"log\.csv: {sentence}") as refused:
        csv(text)
    assert "\n" not in str(refused.value)


def test_a_truncated_parquet_file_is_refused(tmp_path):
    path = tmp_path / "log.parquet"
    pl.DataFrame({"user_id": ["u"], "item_id": ["i"], "timestamp": [1]}).write_parquet(path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(
        DataError, match=r"log\.parquet: cannot be read \(.*\), wanted a whole Parquet file; write the file again"
    ):
        read_events(path, Columns())


def test_a_file_with_another_ending_none_or_a_folder_is_refused(tmp_path):
    (tmp_path / "log.tsv").write_text(NAMES)
    (tmp_path / "log.csv").mkdir()
    with pytest.raises(DataError, match=r"ends in '\.tsv', wanted \.csv or \.parquet; convert it"):
        read_events(tmp_path / "log.tsv", Columns())
    with pytest.raises(DataError, match="is a folder, wanted a file; check"):
        read_events(tmp_path / "log.csv", Columns())
    with pytest.raises(DataError, match=r"none\.csv: no such file; check \[data\] in the recipe and the data folder"):
        read_events(tmp_path / "none.csv", Columns())


def test_an_item_table_keeps_its_columns_whatever_they_are_called(tmp_path):
    pl.DataFrame({"asin": [5, 6], "row": ["a", "b"], "item": ["c", "d"]}).write_parquet(tmp_path / "items.parquet")
    assert read_items(tmp_path / "items.parquet", "asin").to_dict(as_series=False) == {
        "asin": [5, 6], "row": ["a", "b"], "item": ["c", "d"], "item_id": ["5", "6"],
    }  # fmt: skip


def test_an_item_that_stands_twice_is_named_with_both_rows(tmp_path):
    (tmp_path / "items.csv").write_text("item_id,title\na,x\nb,y\nc,z\nb,y\nb,w\na,x\n")
    with pytest.raises(DataError, match=r"items\.csv: item id 'a' stands in row 1 and row 6; keep one row per item"):
        read_items(tmp_path / "items.csv", "item_id")


def test_an_item_table_without_the_id_column_is_refused(tmp_path):
    (tmp_path / "items.csv").write_text("sku,title\na,x\n")
    with pytest.raises(DataError, match=r"items\.csv: no column 'item_id' for the item's id; columns: sku, title"):
        read_items(tmp_path / "items.csv", "item_id")
