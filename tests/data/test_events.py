"""Events as numbers: batches, rows that are left out, several tables, visits, and the order of events."""

from datetime import date
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from learec.config import DataConfig
from learec.data import events
from learec.data.events import Encoded, EventArrays, Ids, chunks, counts_of, encode, put_in_order
from learec.data.raw import Events, Raw
from learec.errors import DataError

LEAST = np.iinfo(np.int64).min  # what pandas stores for a time that is unknown


def table(name: str = "log.csv", **columns: list) -> Events:
    return Events(name, pl.LazyFrame(columns), {role: f"the {role}" for role in columns})


def encoded(*tables: Events, **settings: Any) -> Encoded:
    return encode(Raw(tables, None, "", {}), DataConfig(events="log.csv", **settings))


def names(made: Encoded) -> list[tuple[str, str]]:
    """Visit and item of every event."""
    arrays = made.arrays
    return list(zip(made.visit_ids[arrays.visits].to_list(), made.item_ids[arrays.items].to_list(), strict=True))


@pytest.fixture(params=[1, 2, 3, 1000])
def batches(request, monkeypatch):
    """Batches of so many rows."""
    monkeypatch.setattr(events, "BATCH_ROWS", request.param)


@pytest.mark.usefixtures("batches")
def test_ids_keep_their_numbers_from_batch_to_batch():
    made = encoded(table(user=["v", "u", "v", "w", "u", "v"], item=["b", "a", "b", "a", "c", "a"], time=[6, 5, 4, 3, 2, 1]))
    assert made.arrays.visits.tolist() == [0, 1, 0, 2, 1, 0]
    assert made.arrays.items.tolist() == [0, 1, 0, 1, 2, 1]
    assert (made.visit_ids.to_list(), made.item_ids.to_list()) == (["v", "u", "w"], ["b", "a", "c"])
    assert made.arrays.times.tolist() == [6, 5, 4, 3, 2, 1]
    assert (made.rows_read, made.counts_read, made.have_times, made.are_dates) == (6, (3, 3), True, False)


def test_batches_are_no_longer_than_they_may_be(monkeypatch):
    monkeypatch.setattr(events, "BATCH_ROWS", 3)
    frame = pl.LazyFrame({"user": ["u"] * 10})
    lengths = [len(batch) for batch in frame.collect_batches(chunk_size=events.BATCH_ROWS, maintain_order=True)]
    assert max(lengths) <= 3
    assert sum(lengths) == 10


@pytest.mark.usefixtures("batches")
def test_ids_that_no_batch_holds_any_more_are_not_forgotten():
    ids = Ids()
    assert ids.numbers(pl.Series(["a", "b"])).tolist() == [0, 1]
    assert ids.numbers(pl.Series(["c"])).tolist() == [2]
    assert ids.numbers(pl.Series(["b", "d", "a"])).tolist() == [1, 3, 0]
    assert ids.names().to_list() == ["a", "b", "c", "d"]


@pytest.mark.usefixtures("batches")
def test_empty_lines_are_left_out_and_counted_only_to_name_rows(tmp_path):
    (tmp_path / "log.csv").write_text("user,item,time\nu,a,1\n\n\nv,b,2\n\nw,,3\n")
    frame = pl.scan_csv(tmp_path / "log.csv", infer_schema=False)
    log = Events("log.csv", frame, {"user": "user", "item": "item", "time": "time"})
    assert encoded(Events(log.name, frame.head(5), log.names)).rows_read == 2
    with pytest.raises(DataError, match=r"log\.csv: column 'item': 1 empty ids, first in row 6; fill"):
        encoded(log)


@pytest.mark.usefixtures("batches")
def test_what_is_wrong_is_named_by_file_column_and_row_of_that_file():
    first, second = table(user=["u"] * 4, item=["a"] * 4, time=[1, 2, 3, 4]), {"user": ["u"] * 3, "item": ["a"] * 3}
    with pytest.raises(DataError, match=r"b\.csv: column 'the time': 1 times do not parse, first None in row 2"):
        encoded(first, table("b.csv", **second, time=[1, None, 3]))
    with pytest.raises(DataError, match=r"b\.csv: column 'the user': 1 empty ids, first in row 3"):
        encoded(first, table("b.csv", user=["u", "u", " "], item=["a"] * 3, time=[1, 2, 3]))
    with pytest.raises(DataError, match=r"b\.csv: column 'the rating': 1 ratings are no numbers, first 'good' in row 1"):
        encoded(
            first, table("b.csv", **second, time=[1, 2, 3], rating=["good", "1", "2"]), min_rating=1, columns={"rating": "rating"}
        )
    with pytest.raises(
        DataError, match=r"b\.csv: column 'the part': 1 parts are unknown, first 'holdout' in row 2; wanted train"
    ):
        encoded(first, table("b.csv", **second, time=[1, 2, 3], part=["test", "holdout", "train"]))


def test_a_table_without_rows_is_refused_and_one_beside_others_is_not():
    empty = Events("a.csv", pl.LazyFrame(schema={"user": pl.String, "item": pl.String, "time": pl.Date}), {})
    with pytest.raises(DataError, match=r"a\.csv: has no rows; a log needs at least one event"):
        encoded(empty)
    made = encoded(empty, table(user=["u"], item=["a"], time=[date(1970, 1, 2)]))
    assert (made.arrays.times.tolist(), made.are_dates, made.rows_read) == ([86_400], True, 1)


def test_ids_of_tables_with_other_types_are_the_same_where_their_text_is():
    made = encoded(table(user=[1, 2], item=[7, 8], time=[1, 2]), table(user=["1", "02"], item=[7.0, 8.5], time=[3, 4]))
    assert names(made) == [("1", "7"), ("2", "8"), ("1", "7"), ("02", "8.5")]


def test_without_times_the_order_of_the_rows_goes_on_from_table_to_table():
    made = encoded(table(user=["u", "v"], item=["a", "b"]), table(user=["u"], item=["c"]), columns={"time": None})
    assert made.arrays.times.tolist() == [0, 1, 2]
    assert not made.have_times


def test_whole_and_broken_times_of_two_tables_become_fractions():
    made = encoded(table(user=["u"], item=["a"], time=[1]), table(user=["u"], item=["b"], time=[0.5]))
    assert made.arrays.times.tolist() == [1.0, 0.5]


@pytest.mark.usefixtures("batches")
def test_kinds_are_numbered_by_their_names_and_only_those_that_are_wanted_stay():
    log = table(user=["u"] * 5, item=list("abcde"), time=[1, 2, 3, 4, 5], event=["view", "buy", "view", "add", "buy"])
    made = encoded(log, columns={"event": "event"})
    assert (made.kinds, made.arrays.kinds.tolist()) == (["add", "buy", "view"], [2, 1, 2, 0, 1])
    made = encoded(log, columns={"event": "event"}, kinds=("buy", "add"))
    assert [item for _, item in names(made)] == ["b", "d", "e"]
    assert (made.rows_read, made.counts_read) == (5, (1, 5))


@pytest.mark.usefixtures("batches")
def test_low_ratings_are_left_out_and_the_limit_stays():
    log = table(user=["u"] * 4, item=list("abcd"), time=[1, 2, 3, 4], rating=["5", "3.9", "4", "-1"])
    assert [item for _, item in names(encoded(log, columns={"rating": "rating"}, min_rating=4))] == ["a", "c"]


def test_a_least_rating_needs_ratings():
    log = table(user=["u"], item=["a"], time=[1])
    with pytest.raises(DataError, match=r"log\.csv: no ratings, which min_rating = 4 in \[data\] needs; drop min_rating"):
        encoded(log, format="lastfm", min_rating=4)


def test_a_column_with_more_kinds_than_a_byte_holds_is_refused():
    rows = {"user": ["u"] * 257, "item": ["a"] * 257, "time": list(range(257))}
    log = table(**rows, event=[f"kind {number}" for number in range(257)])
    with pytest.raises(
        DataError, match=r"log\.csv: 257 kinds of event, wanted 256 at most; name another column as \[data\.columns"
    ):
        encoded(log, columns={"event": "event"})
    log = table(**rows, event=[f"kind {number % 256}" for number in range(257)])
    assert len(encoded(log, columns={"event": "event"}).kinds) == 256


@pytest.mark.usefixtures("batches")
def test_a_visit_is_a_user_and_a_session_and_belongs_to_the_user():
    made = encoded(table(user=["u", "v", "u", "u"], item=list("abcd"), time=[1, 2, 3, 4], session=[1, 1, 2, 1]))
    assert names(made) == [("u/1", "a"), ("v/1", "b"), ("u/2", "c"), ("u/1", "d")]
    assert made.users is not None
    assert made.owners is not None
    assert made.users.to_list() == ["u", "v", "u"]
    assert made.owners.tolist() == [0, 1, 0]
    assert made.counts_read == (2, 4)


def test_users_and_sessions_with_slashes_are_not_mixed_up():
    made = encoded(table(user=["a/b", "a", "a%2Fb"], item=list("xyz"), time=[1, 2, 3], session=["c", "b/c", "c"]))
    assert len(set(made.arrays.visits.tolist())) == 3
    assert made.users is not None
    assert made.users[made.arrays.visits].to_list() == ["a/b", "a", "a%2Fb"]


def test_parts_have_several_names_and_are_given_only_if_every_table_has_them():
    log = table(user=["u"] * 5, item=["a"] * 5, time=[1] * 5, part=["train", " Valid ", "val", "dev", "TEST"])
    parts = encoded(log).arrays.parts
    assert parts is not None
    assert parts.tolist() == [0, 1, 1, 1, 2]
    assert encoded(log, table(user=["u"], item=["a"], time=[1])).arrays.parts is None


@pytest.mark.parametrize("column", [[None], [[1]], [b"x"], [1]], ids=str)
def test_a_part_that_is_no_name_of_one_is_refused(column):
    with pytest.raises(DataError, match="column 'the part': (1 parts are unknown, first .* in row 1|holds .*, wanted text)"):
        encoded(table(user=["u"], item=["a"], time=[1], part=column))


# ---- order


def arrays_of(visits: list[int], items: list[int], times: list, kinds: list[int] | None = None) -> EventArrays:
    return EventArrays(
        np.array(visits, dtype=np.int32), np.array(items, dtype=np.int32),
        np.array(kinds or [0] * len(items), dtype=np.uint8), np.array(times), None,
    )  # fmt: skip


@pytest.fixture(params=[1, 2, 3, 1000])
def small_chunks(request, monkeypatch):
    """Chunks of about so many events."""
    monkeypatch.setattr(events, "CHUNK_EVENTS", request.param)


@pytest.mark.usefixtures("small_chunks")
def test_events_are_sorted_by_the_rank_of_their_visit_and_by_time_and_ties_keep_their_order():
    arrays = arrays_of([0, 1, 0, 1, 0, 0], [1, 2, 3, 4, 5, 6], [5, 1, 2, 0, 5, 5])
    assert put_in_order(arrays, np.array([1, 0], dtype=np.int32), None) == 2
    assert arrays.visits.tolist() == [0, 0, 1, 1, 1, 1]
    assert arrays.items.tolist() == [4, 2, 3, 1, 5, 6]
    assert arrays.times.tolist() == [0, 1, 2, 5, 5, 5]


@pytest.mark.usefixtures("small_chunks")
def test_ties_may_be_ordered_by_the_rank_of_their_item_and_then_by_kind():
    arrays = arrays_of([0] * 5, [0, 1, 2, 1, 0], [7, 7, 7, 7, 6], [0, 1, 0, 0, 0])
    put_in_order(arrays, np.array([0], dtype=np.int32), np.array([2, 1, 0], dtype=np.int32))
    assert arrays.times.tolist() == [6, 7, 7, 7, 7]
    assert arrays.items.tolist() == [0, 2, 1, 1, 0]
    assert arrays.kinds.tolist() == [0, 0, 0, 1, 0]


@pytest.mark.usefixtures("small_chunks")
def test_events_that_differ_in_their_given_part_alone_are_in_the_order_of_the_parts():
    arrays = arrays_of([0] * 3, [0] * 3, [7] * 3)
    arrays.parts = np.array([2, 0, 1], dtype=np.uint8)
    put_in_order(arrays, np.array([0], dtype=np.int32), np.array([0], dtype=np.int32))
    assert arrays.parts.tolist() == [0, 1, 2]


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("times", [[1_700_000_000_000_000_000, LEAST], [2**63 - 1, LEAST], [1.5, -1e300]], ids=str)
def test_times_that_are_further_apart_than_an_integer_can_say_are_sorted(times):
    arrays = arrays_of([0, 0], [1, 2], times)
    put_in_order(arrays, np.array([0], dtype=np.int32), None)
    assert arrays.items.tolist() == [2, 1]


@settings(deadline=None)
@given(
    log=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 9)), max_size=60),
    chunk=st.integers(1, 20),
    seed=st.integers(0, 99),
)
def test_order_is_that_of_a_stable_sort_whatever_the_chunks(log, chunk, seed):
    rank = np.random.default_rng(seed).permutation(6).astype(np.int32)
    arrays = arrays_of([visit for visit, _ in log], list(range(len(log))), [time for _, time in log])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(events, "CHUNK_EVENTS", chunk)
        ties = put_in_order(arrays, rank, None)
    wanted = sorted(range(len(log)), key=lambda at: (rank[log[at][0]], log[at][1]))
    assert arrays.items.tolist() == wanted
    assert ties == sum(log[before] == log[after] for before, after in zip(wanted, wanted[1:], strict=False))


@settings(deadline=None)
@given(lengths=st.lists(st.integers(1, 9), max_size=20), chunk=st.integers(1, 12))
def test_chunks_cover_all_events_once_and_never_cut_a_visit(lengths, chunk):
    visits = np.repeat(np.arange(len(lengths)), lengths)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(events, "CHUNK_EVENTS", chunk)
        found = chunks(visits)
    assert [event for start, stop in found for event in range(start, stop)] == list(range(len(visits)))
    assert all(len(visits) in (start, stop) or visits[stop - 1] != visits[stop] for start, stop in found)
    longest = max(lengths, default=0)
    assert all(stop - start <= max(chunk, longest) for start, stop in found)


@settings(deadline=None)
@given(numbers=st.lists(st.integers(0, 5), max_size=40), chunk=st.integers(1, 7))
def test_counts_are_those_of_all_pieces(numbers, chunk):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(events, "CHUNK_EVENTS", chunk)
        assert counts_of(np.array(numbers, dtype=np.int32), 6).tolist() == [numbers.count(number) for number in range(6)]
