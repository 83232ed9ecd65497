"""Frames of polars and pandas: the same log as from a file, whatever types the columns have."""

import uuid
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from learec.artifacts import read_manifest
from learec.config import DataConfig
from learec.data.log import MAKE_WITH, load_log
from learec.data.prepare import Prepared, log_request, prepare, read
from learec.data.sources import Frames
from learec.errors import DataError

START = 1_700_000_000
ROWS = [(user, (user + step) % 5, START + 100 * user + step) for user in range(12) for step in range(4)]
NAMES = ["user_id", "item_id", "timestamp"]
POLARS = pl.DataFrame(ROWS, schema=NAMES, orient="row")
PANDAS = pd.DataFrame(ROWS, columns=NAMES)
CONFIG = DataConfig(events="shop", min_item_events=1, min_session_events=2)


def prepared(events: Any, items: Any = None, **settings: Any) -> Prepared:
    return read(CONFIG.model_copy(update=settings), 0, Frames(events, items))


def users(events: Any) -> list[str]:
    return sorted(prepared(events).sessions["user"].to_list())


def with_users(values: Any) -> pd.DataFrame:
    """The log of pandas with other users."""
    return PANDAS.assign(user_id=values)


def arrow(kind: str) -> Any:
    return pd.ArrowDtype(getattr(__import__("pyarrow"), kind)())


WANTED = prepared(POLARS)
SAME = {
    "polars": POLARS,
    "lazy polars": POLARS.lazy(),
    "polars in two chunks": pl.concat([POLARS[:7], POLARS[7:]], rechunk=False),
    "polars categories": POLARS.with_columns(pl.col("item_id").cast(pl.String).cast(pl.Categorical)),
    "polars objects": POLARS.with_columns(pl.Series("item_id", POLARS["item_id"].to_list(), dtype=pl.Object)),
    "polars floats": POLARS.with_columns(pl.col("user_id", "item_id").cast(pl.Float64)),
    "pandas": PANDAS,
    "pandas with another index": PANDAS.set_index(PANDAS.index[::-1] * 3),
    "pandas floats": PANDAS.astype({"user_id": "float64", "item_id": "float32"}),
    "pandas Int64": PANDAS.astype("Int64"),
    "pandas string": PANDAS.astype({"user_id": "string", "item_id": "str"}),
    "pandas objects": PANDAS.astype({"user_id": object, "item_id": object, "timestamp": object}),
    "pandas categories": PANDAS.astype({"user_id": "category", "item_id": "category"}),
    "pandas Arrow": PANDAS.astype(arrow("int64")),
    "pandas texts in Arrow": PANDAS.astype({"user_id": "str"}).astype({"user_id": arrow("string")}),
    "pandas dates": PANDAS.assign(timestamp=pd.to_datetime(PANDAS.timestamp, unit="s")),
    "pandas dates with a zone": PANDAS.assign(
        timestamp=pd.to_datetime(PANDAS.timestamp, unit="s", utc=True).dt.tz_convert("Asia/Tokyo")
    ),
    "pandas dates as objects": PANDAS.assign(
        timestamp=pd.Series(pd.to_datetime(PANDAS.timestamp, unit="s").dt.to_pydatetime(), dtype=object)
    ),
    "pandas dates as text": PANDAS.assign(timestamp=pd.to_datetime(PANDAS.timestamp, unit="s").astype("str")),
}


@pytest.mark.parametrize("name", SAME)
def test_the_log_is_the_same_whatever_frame_holds_it(name):
    made = prepared(SAME[name])
    assert made.catalog.equals(WANTED.catalog)
    assert made.sessions.equals(WANTED.sessions)
    assert made.notes == WANTED.notes
    for array, values in WANTED.arrays.items():
        np.testing.assert_array_equal(made.arrays[array], values, err_msg=array)


def test_the_log_is_the_same_as_from_a_file(tmp_path):
    POLARS.write_csv(tmp_path / "shop.csv")
    made = read(CONFIG.model_copy(update={"events": "shop.csv"}), 0, tmp_path)
    assert made.notes == WANTED.notes
    assert made.arrays["items"].tolist() == WANTED.arrays["items"].tolist()


def test_frames_are_prepared_into_a_folder_like_files(tmp_path):
    items = pl.DataFrame({"item_id": range(5), "title": list("abcde")})
    notes = prepare(CONFIG, 0, Frames(POLARS, items), tmp_path / "log")
    assert load_log(tmp_path / "log").catalog.titles == ["", "a", "b", "c", "d", "e"]
    manifest = read_manifest(tmp_path / "log", "log", MAKE_WITH)
    assert manifest.notes == notes
    assert manifest.request == log_request(CONFIG, 0, Frames(POLARS.lazy(), items))
    assert sorted(manifest.request.parents) == ["events frame", "items frame"]


@pytest.mark.parametrize("kind", [object, "string", "str", "category"])
def test_one_user_may_be_written_as_a_number_and_as_a_text(kind):
    mixed = [str(user) if at % 2 else user for at, (user, _, _) in enumerate(ROWS)]
    assert users(with_users(pd.Series(mixed, dtype=object).astype(kind))) == sorted(map(str, range(12)))


def test_whole_floats_among_texts_and_integers_are_the_same_user():
    ways = [lambda user: user, str, float, np.float64, np.int32]
    mixed = [ways[at % 5](user) for at, (user, _, _) in enumerate(ROWS)]
    assert users(with_users(pd.Series(mixed, dtype=object))) == sorted(map(str, range(12)))


def test_items_of_the_log_and_of_the_item_table_may_differ_in_type():
    items = pd.DataFrame({"item_id": ["0", 1, 2.0, "3", 4], "title": ["a", None, float("nan"), pd.NA, 5]})
    assert prepared(PANDAS, items).catalog.rows() == [
        ("0", "a", "a"),
        ("1", "", ""),
        ("2", "", ""),
        ("3", "", ""),
        ("4", "5", "5"),
    ]


@pytest.mark.parametrize(
    "column",
    [
        PANDAS.user_id.astype("Int64").where(PANDAS.index != 3),
        PANDAS.user_id.astype("string").where(PANDAS.index != 3),
        PANDAS.user_id.astype("str").where(PANDAS.index != 3),
        PANDAS.user_id.astype("float").where(PANDAS.index != 3),
        PANDAS.user_id.astype(object).where(PANDAS.index != 3, None),
        PANDAS.user_id.astype("category").where(PANDAS.index != 3),
        PANDAS.user_id.astype(arrow("int64")).where(PANDAS.index != 3),
    ],
    ids=lambda column: str(column.dtype),
)
def test_a_missing_id_is_named_with_its_row_however_pandas_stores_it(column):
    with pytest.raises(DataError, match=r"shop: column 'user_id': 1 empty ids, first in row 4; fill or remove those rows"):
        prepared(with_users(column))


def test_a_missing_time_is_named_with_its_row():
    times = pd.to_datetime(PANDAS.timestamp, unit="s").where(PANDAS.index != 3)
    for column in (times, times.dt.tz_localize("UTC"), PANDAS.timestamp.astype("Int64").where(PANDAS.index != 3)):
        with pytest.raises(DataError, match="column 'timestamp': 1 times do not parse, first None in row 4; wanted numbers"):
            prepared(PANDAS.assign(timestamp=column))


@pytest.mark.parametrize(
    ("values", "kind"),
    [([[1]] * 48, "List"), ([b"x"] * 48, "Binary"), ([{"a": 1}] * 48, "Struct"), ([pd.Timedelta(1)] * 48, "Duration")],
)
def test_ids_that_are_no_text_are_refused(values, kind):
    with pytest.raises(DataError, match=rf"shop: column 'user_id': holds {kind}.*, wanted text or numbers; name another column"):
        prepared(with_users(pd.Series(values, dtype=object)))
    with pytest.raises(DataError, match=rf"column 'user_id': holds {kind}"):
        prepared(POLARS.with_columns(pl.Series("user_id", values)))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (uuid.UUID(int=7), "00000000-0000-0000-0000-000000000007"),
        (Decimal("7"), "7"),
        (date(2024, 1, 2), "2024-01-02"),
        (2**70, str(2**70)),
    ],
)
def test_other_objects_are_their_text(value, text):
    values = [value if user == 0 else user for user, _, _ in ROWS]
    assert text in users(with_users(pd.Series(values, dtype=object)))


def test_columns_that_are_not_asked_for_may_hold_anything():
    odd = PANDAS.assign(a=[[1]] * 48, b=[object()] * 48, c=np.arange(48) * 1j)
    assert prepared(odd).notes == WANTED.notes


@pytest.mark.parametrize(
    ("frame", "sentence"),
    [
        (POLARS.rename({"user_id": "uid"}), r"no column 'user_id' for \[data\.columns\] user; columns: uid, item_id, timestamp"),
        (PANDAS.set_index("user_id"), r"no column 'user_id' for \[data\.columns\] user; columns: item_id, timestamp"),
        (PANDAS[:0], "has no rows; a log needs at least one event"),
        (POLARS[:0], "has no rows; a log needs at least one event"),
        (PANDAS.set_axis(["user_id", "user_id", "x"], axis=1), "column 'user_id' stands 2 times in the frame; rename or drop"),
        ({"user_id": [1]}, "is a dict, wanted a polars or pandas frame; make one of it"),
        (np.zeros((2, 3)), "is a ndarray, wanted a polars or pandas frame; make one of it"),
        (None, "is a NoneType, wanted a polars or pandas frame"),
        (PANDAS.user_id, "is a Series, wanted a polars or pandas frame"),
        (POLARS.lazy().select(pl.col("nothing")), r"cannot be read \("),
        (POLARS.lazy().with_columns(pl.col("user_id").cast(pl.String).str.to_integer(base=2)), r"cannot be read \("),
    ],
    ids=[
        "missing column", "in the index", "empty pandas", "empty polars", "duplicated columns", "dict", "array", "none", "series",
        "lazy frame with a wrong plan", "lazy frame that fails",
    ],
)  # fmt: skip
def test_a_frame_that_cannot_be_used_is_one_sentence(frame, sentence):
    with pytest.raises(DataError, match=f"^shop: {sentence}") as refused:
        prepared(frame)
    assert len(str(refused.value).splitlines()) == 1


def test_a_lazy_frame_that_fails_is_one_sentence_when_it_is_hashed_too():
    failing = POLARS.lazy().with_columns(pl.col("user_id").cast(pl.String).str.to_integer(base=2))
    with pytest.raises(DataError, match=r"^shop: cannot be read \("):
        log_request(CONFIG, 0, Frames(failing))


def test_the_name_of_the_recipe_stands_for_the_frame_though_no_such_file_is_there():
    config = CONFIG.model_copy(update={"events": "no/such/file.csv", "items": "none.csv"})
    with pytest.raises(DataError, match=r"no/such/file\.csv: no column 'user_id'"):
        read(config, 0, Frames(POLARS.drop("user_id")))
    with pytest.raises(DataError, match=r"none\.csv: no column 'item_id' for the item's id; columns: sku"):
        read(config, 0, Frames(POLARS, pl.DataFrame({"sku": [1]})))


def digest(frame: Any) -> str:
    return log_request(CONFIG, 0, Frames(frame)).parents["events frame"]


@settings(deadline=None)
@given(
    texts=st.lists(st.one_of(st.none(), st.text(max_size=30)), min_size=2, max_size=30),
    cut=st.integers(0, 30),
    seed=st.integers(0, 9),
)
def test_equal_frames_have_equal_digests_however_they_came_about(texts, cut, seed):
    n = len(texts)
    frame = pl.DataFrame(
        {"user_id": texts, "item_id": range(n), "timestamp": [datetime(2024, 1, 1) if text else None for text in texts]},
        schema_overrides={"user_id": pl.String, "timestamp": pl.Datetime("us")},
    )
    order = np.random.default_rng(seed).permutation(n)
    others = [
        pl.concat([frame[:cut], frame[cut:]], rechunk=False),
        pl.concat([frame.reverse(), frame, frame])[n : 2 * n],
        frame[order.tolist()][np.argsort(order).tolist()],
        pl.concat([frame.with_columns(kept=True), frame.with_columns(kept=False)])
        .sample(fraction=1.0, shuffle=True, seed=seed)
        .filter("kept")
        .sort("item_id")
        .drop("kept"),
        frame.lazy(),
        frame.with_columns(other=pl.lit(1)),  # a column that the recipe does not name
    ]
    assert {digest(other) for other in others} == {digest(frame)}
    changed = frame.with_columns(pl.col("item_id") + (pl.col("item_id") == n - 1))
    assert digest(changed) != digest(frame)
