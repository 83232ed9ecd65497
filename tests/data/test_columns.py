"""Columns: ids as text, times as numbers, ratings; whatever type they have, and named by row where they are wrong."""

from datetime import date, datetime
from decimal import Decimal
from typing import Any

import polars as pl
import pytest

from learec.data.columns import Place, Times, filled_text, ratings
from learec.errors import DataError

DAY = 86_400  # 1970-01-02


def place(n: int, first: int = 0) -> Place:
    """n rows of a file, from row `first` on."""
    return Place("log.csv", "c", pl.int_range(first, first + n, eager=True))


def text(values: Any) -> list[str]:
    column = values if isinstance(values, pl.Series) else pl.Series(values)
    return filled_text(column, place(len(column)), "id").to_list()


def times(*batches: Any) -> list[list]:
    """Batches of a column, one after the other."""
    reader, read, row = Times(), [], 0
    for batch in batches:
        column = batch if isinstance(batch, pl.Series) else pl.Series(batch)
        read.append(reader.read(column, place(len(column), row)).to_list())
        row += len(column)
    return read


@pytest.mark.parametrize(
    ("values", "ids"),
    [
        (["007", " 7 ", "7"], ["007", "7", "7"]),
        ([12, -1], ["12", "-1"]),
        ([7.0, 8.5, 1e15], ["7", "8.5", "1000000000000000"]),
        (pl.Series([7.0], dtype=pl.Float32), ["7"]),
        (pl.Series([2**64 - 1], dtype=pl.UInt64), ["18446744073709551615"]),
        ([Decimal(7)], ["7"]),
        ([True, False], ["true", "false"]),
        (pl.Series(["a", "b"], dtype=pl.Categorical), ["a", "b"]),
        (pl.Series(["a", "b"], dtype=pl.Enum(["a", "b"])), ["a", "b"]),
        ([date(2024, 1, 2)], ["2024-01-02"]),
    ],
    ids=str,
)
def test_ids_are_text_and_whole_numbers_read_the_same_from_integers_and_from_floats(values, ids):
    assert text(values) == ids


@pytest.mark.parametrize("empty", [None, "", "  "])
def test_empty_ids_are_counted_and_the_files_row_is_named(empty):
    with pytest.raises(DataError, match=r"log\.csv: column 'c': 2 empty ids, first in row 12; fill or remove those rows"):
        filled_text(pl.Series(["a", empty, "b", empty]), place(4, first=10), "id")


def test_what_pandas_makes_of_a_missing_id_is_an_empty_id():
    with pytest.raises(DataError, match="1 empty ids, first in row 2"):
        text([1.0, float("nan")])
    with pytest.raises(DataError, match="3 empty ids, first in row 1"):
        text([None, None, None])


@pytest.mark.parametrize("values", [[[1]], [{"a": 1}], [b"x"], pl.Series([1]).cast(pl.Duration)], ids=str)
def test_ids_and_ratings_of_a_type_without_text_are_refused(values):
    column = values if isinstance(values, pl.Series) else pl.Series(values)
    for read in (lambda: text(column), lambda: ratings(column, place(1))):
        with pytest.raises(DataError, match=r"log\.csv: column 'c': holds .*, wanted text or numbers; name another column"):
            read()


@pytest.mark.parametrize(
    ("values", "numbers"),
    [
        (["4", " 4.5 ", "-1e1"], [4.0, 4.5, -10.0]),
        ([1, 2], [1.0, 2.0]),
        ([0.5], [0.5]),
        ([True, False], [1.0, 0.0]),
        ([Decimal("4.5")], [4.5]),
        (pl.Series(["4"], dtype=pl.Categorical), [4.0]),
    ],
    ids=str,
)
def test_ratings_are_numbers_however_they_are_written(values, numbers):
    column = values if isinstance(values, pl.Series) else pl.Series(values)
    assert ratings(column, place(len(column))).to_list() == numbers


@pytest.mark.parametrize(
    ("values", "seen"),
    [
        ([4.0, float("nan")], "1 ratings are no numbers, first nan in row 2"),
        ([4.0, None, None], "2 ratings are no numbers, first None in row 2"),
        (["5", "five", "", "nan"], "3 ratings are no numbers, first 'five' in row 2"),
        ([float("inf")], "1 ratings are no numbers, first inf in row 1"),
        ([date(2024, 1, 1)], r"1 ratings are no numbers, first datetime\.date\(2024, 1, 1\) in row 1"),
    ],
    ids=str,
)
def test_a_rating_that_is_no_number_is_named_with_its_row(values, seen):
    with pytest.raises(DataError, match=rf"log\.csv: column 'c': {seen}; fill or remove those rows"):
        ratings(pl.Series(values), place(len(values)))


@pytest.mark.parametrize(
    ("values", "seconds"),
    [
        (["1970-01-03", "1970-01-02"], [2 * DAY, DAY]),
        (["1970/01/02"], [DAY]),
        (["1970-01-02T00:00:00Z", "1970-01-02T00:00:01Z"], [DAY, DAY + 1]),
        (["1970-01-02 02:00:00+02:00"], [DAY]),
        (["1970-01-02T00:00:00.25", "1970-01-02T00:00:00.125"], [DAY + 0.25, DAY + 0.125]),
        (["1.7e9", "16"], [1_700_000_000, 16]),
        ([" 16 "], [16]),
        (["1700000000123456789", "1700000000123456788"], [1700000000123456789, 1700000000123456788]),  # beyond a float
        ([9, 8], [9, 8]),
        ([-5, 5], [-5, 5]),
        ([1.75, 1.25], [1.75, 1.25]),  # a fraction of a second tells which came first
        ([2.0, 1.0], [2, 1]),
        ([Decimal("1.5")], [1.5]),
        ([date(1970, 1, 3), date(1970, 1, 2)], [2 * DAY, DAY]),
        ([datetime(1970, 1, 2, 0, 0, 0, 500_000), datetime(1970, 1, 2)], [DAY + 0.5, float(DAY)]),
        (pl.Series([datetime(1970, 1, 2, 1)]).dt.replace_time_zone("Europe/Paris"), [DAY]),
        (pl.Series([datetime(1970, 1, 2)], dtype=pl.Datetime("ns")), [DAY]),
        (pl.Series(["1970-01-02"], dtype=pl.Categorical), [DAY]),
        (pl.Series([2**63 - 1], dtype=pl.UInt64), [2**63 - 1]),
    ],
    ids=str,
)
def test_times_may_be_numbers_dates_or_iso_text(values, seconds):
    read = times(values)[0]
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
        ([1e19], r"1 times do not parse, first 1e\+19 in row 1"),
        (["2024-01-01T10:00:00", "2024-01-01T10:00:00Z"], "first '2024-01-01T10:00:00Z' in row 2"),
        ([True], "first True in row 1"),
        ([[1]], r"first \[1\] in row 1"),
        (pl.Series([1, 2]).cast(pl.Time), r"2 times do not parse, first datetime\.time\(0, 0\) in row 1"),
        (pl.Series([2**63], dtype=pl.UInt64), "first 9223372036854775808 in row 1"),
        (["9" * 40], "first '9{40}' in row 1"),
    ],
    ids=str,
)
def test_a_time_that_does_not_parse_is_named_with_its_row(values, seen):
    with pytest.raises(DataError, match=rf"log\.csv: column 'c': .*{seen}; wanted numbers or ISO dates, all written alike"):
        times(values)


@pytest.mark.parametrize("written", ["01/02/2024", "1.2.2024", "02-01-2024", "12/31/2024"])
def test_a_date_that_may_be_two_days_is_refused_and_not_guessed(written):
    with pytest.raises(DataError, match=r"first '.*' in row 1; wanted numbers or ISO dates"):
        times([written])


def test_batches_must_be_written_alike_and_the_row_is_counted_through_the_file():
    with pytest.raises(DataError, match="1 times do not parse, first '2024-01-01' in row 4"):
        times(["1", "2"], ["3", "2024-01-01"])
    with pytest.raises(DataError, match="2 times do not parse, first '3' in row 2"):
        times(["2024-01-01"], ["3", "4"])


def test_whole_numbers_may_be_followed_by_fractions_and_the_other_way_round():
    assert times([1, 2], [2.5], [3]) == [[1, 2], [2.5], [3]]
    assert times(["1.5"], ["2"]) == [[1.5], [2]]


@pytest.mark.parametrize("rest", [["2024-01-01"], pl.Series([date(2024, 1, 1)]), ["1"]], ids=str)
def test_a_batch_without_rows_says_nothing_of_how_times_are_written(rest):
    empty = pl.Series([], dtype=rest.dtype if isinstance(rest, pl.Series) else pl.String)
    assert times(empty, rest, empty)[1:] == [*times(rest), []]


def test_times_in_a_form_of_their_own_are_read_and_one_that_is_not_is_named():
    place = Place("log.csv", "when", pl.int_range(2, eager=True))
    times = Times("%d.%m.%Y %H:%M").read(pl.Series(["03.02.1970 10:15", " 01.01.1970 00:01"]), place)
    assert times.to_list() == [33 * 86_400 + 10 * 3600 + 15 * 60, 60]
    assert Times("%d.%m.%Y").read(pl.Series(["02.01.1970", "01.01.1970"]), place).to_list() == [86_400, 0]
    with pytest.raises(DataError, match=r"first '1970-01-01' in row 2; wanted dates like time_format in \[data\], '%d.%m.%Y'"):
        Times("%d.%m.%Y").read(pl.Series(["02.01.1970", "1970-01-01"]), place)
