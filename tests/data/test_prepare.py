"""prepare: filters, numbers, rewards and what is refused, on logs small enough to check by hand."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from learec.artifacts import check_files, read_manifest
from learec.config import Columns, DataConfig
from learec.data.log import MAKE_WITH, load_log
from learec.data.prepare import log_request, prepare, read
from learec.errors import DataError

CONFIG = {"events": "log.csv", "items": "items.csv", "min_item_events": 1, "min_session_events": 2}
# (user, item, time, kind); times are out of order on purpose
LOG = [
    ("u", "b", 2, "view"),
    ("u", "a", 1, "view"),
    ("u", "b", 3, "buy"),
    ("v", "c", 1, "view"),
    ("v", "a", 2, "buy"),
    ("v", "b", 3, "view"),
    ("w", "a", 1, "view"),
    ("w", "d", 2, "view"),
]
ITEMS = [("d", "Dee"), ("c", "Cee"), ("b", ""), ("a", "Ay"), ("z", "never seen")]


def write(folder, log=LOG, items=ITEMS):
    frame = pl.DataFrame(log, schema=["user_id", "item_id", "timestamp", "kind"], orient="row")
    frame.write_csv(folder / "log.csv")
    pl.DataFrame(items, schema=["item_id", "title"], orient="row").write_csv(folder / "items.csv")


@pytest.fixture
def prepared(tmp_path):
    """Reads the log above, or another, with some settings changed."""

    def make(log=LOG, items=ITEMS, **settings):
        write(tmp_path, log, items)
        return read(DataConfig(**{**CONFIG, **settings}), 0, tmp_path)

    return make


def sessions_of(prepared) -> dict[str, list[str]]:
    """Item ids by user, in order."""
    ids = ["", *prepared.catalog["item_id"]]
    rows = np.split(prepared.arrays["items"], prepared.arrays["offsets"][1:-1])
    return {user: [ids[number] for number in row] for user, row in zip(prepared.session_ids["session_id"], rows, strict=True)}


def test_sessions_are_in_order_of_time_and_items_numbered_by_the_item_table(prepared):
    made = prepared()
    assert made.catalog.rows() == [("d", "Dee", "Dee"), ("c", "Cee", "Cee"), ("b", "", ""), ("a", "Ay", "Ay")]
    assert made.arrays["offsets"].tolist() == [0, 3, 6, 8]
    assert made.arrays["items"].tolist() == [4, 3, 3, 2, 4, 3, 4, 1]  # u: a b b, v: c a b, w: a d
    assert made.arrays["times"].tolist() == [1, 2, 3, 1, 2, 3, 1, 2]
    assert made.notes == {
        "funnel": [
            {"step": "read", "events": 8, "users": 3, "items": 4},
            {"step": "core: items >= 1, sessions >= 2", "events": 8, "users": 3, "items": 4},
        ],
        "events": ["event"], "sessions": 3, "items": 4, "steps": 8, "items_without_text": 1, "steps_by_part": [4, 2, 2],
    }  # fmt: skip


def test_the_core_is_filtered_until_nothing_changes(prepared):
    # c and d have one event: without d, w has one event left; without w, a has two and stays.
    made = prepared(min_item_events=2)
    assert sessions_of(made) == {"u": ["a", "b", "b"], "v": ["a", "b"]}
    assert made.notes["funnel"][-1] == {"step": "core: items >= 2, sessions >= 2", "events": 5, "users": 2, "items": 2}


def test_a_repeat_that_is_dropped_is_the_later_one_and_does_not_count_for_the_core(prepared):
    visits = {"u": "xqrrzx", "v": "xqzr", "w": "xqz"}
    log = [(user, item, time, "view") for user, items in visits.items() for time, item in enumerate(items)]
    items = [(item, "") for item in "qrxz"]
    kept, dropped = (prepared(log, items, repeats=repeats, min_item_events=3) for repeats in ("keep", "drop"))
    assert sessions_of(kept) == {"u": list("xqrrzx"), "v": list("xqzr"), "w": list("xqz")}
    assert sessions_of(dropped) == {"u": list("xqz"), "v": list("xqz"), "w": list("xqz")}  # r came from two users only
    assert [(row["step"], row["events"]) for row in dropped.notes["funnel"][:2]] == [("read", 13), ("repeats dropped", 11)]


def test_rewards_are_looked_up_by_the_kind_of_event(prepared):
    made = prepared(columns=Columns(event="kind"), rewards={"view": 0.25, "buy": 1.0, "return": -1.0})
    assert made.notes["events"] == ["buy", "view"]
    assert made.arrays["events"].tolist() == [1, 1, 0, 1, 0, 1, 1, 1]
    assert made.arrays["rewards"].tolist() == [0.25, 0.25, 1.0, 0.25, 1.0, 0.25, 0.25, 0.25]


def test_without_a_table_of_rewards_every_event_is_worth_one(prepared):
    made = prepared(columns=Columns(event="kind"))
    assert made.notes["events"] == ["buy", "view"]
    assert made.arrays["rewards"].tolist() == [1.0] * 8


def test_a_kind_without_a_reward_is_refused_with_the_key_to_add(prepared):
    with pytest.raises(
        DataError, match=r"log\.csv: events of kind 'buy' have no reward; add buy to \[data\.rewards\] in the recipe"
    ):
        prepared(columns=Columns(event="kind"), rewards={"view": 0.25})


def test_a_column_with_more_kinds_than_a_byte_holds_is_refused(prepared):
    log = [("u", "a", time, f"kind {time}") for time in range(257)]
    with pytest.raises(DataError, match=r"log\.csv: 257 kinds of event, wanted 256 at most; name another column"):
        prepared(log, columns=Columns(event="kind"))
    assert len(prepared(log[1:], columns=Columns(event="kind")).notes["events"]) == 256


def test_items_without_a_row_are_counted_and_the_first_is_named(prepared):
    with pytest.raises(DataError, match=r"log\.csv: 2 items have no row in .*items\.csv, first 'b'; add them to the item table"):
        prepared(items=[("a", "Ay"), ("d", "Dee")])


def test_a_filter_that_leaves_nothing_is_refused_with_the_settings_to_lower(prepared):
    with pytest.raises(
        DataError, match=r"nothing is left of 8 events when items need 9 events and sessions 2; lower min_item_events"
    ):
        prepared(min_item_events=9)


def test_a_split_that_leaves_nothing_to_test_on_is_refused(prepared):
    pairs = [(user, item, time, "view") for user in "uvw" for time, item in enumerate("ab")]
    with pytest.raises(
        DataError, match=r"split leave_one_out of 3 sessions leaves \[6, 0, 0\] steps .* a session of three events"
    ):
        prepared(pairs)
    with pytest.raises(DataError, match=r"split by_session of 3 sessions leaves \[8, 0, 0\] steps .* ten sessions"):
        prepared(split="by_session")


def test_a_prepared_log_is_read_back_as_it_was_made(tmp_path):
    write(tmp_path)
    config = DataConfig(**CONFIG)
    notes = prepare(config, 0, tmp_path, tmp_path / "log")
    manifest = read_manifest(tmp_path / "log", "log", MAKE_WITH)
    check_files(tmp_path / "log", manifest, MAKE_WITH)
    assert manifest.request == log_request(config, 0, tmp_path)
    assert manifest.notes == notes
    log = load_log(tmp_path / "log")
    assert log.sessions.items.tolist() == [4, 3, 3, 2, 4, 3, 4, 1]
    assert log.session_ids.to_list() == ["u", "v", "w"]
    assert log.catalog.numbers == {"d": 1, "c": 2, "b": 3, "a": 4}


def test_a_log_that_is_refused_leaves_nothing_on_disk(tmp_path):
    write(tmp_path, items=[("a", "Ay")])
    with pytest.raises(DataError):
        prepare(DataConfig(**CONFIG), 0, tmp_path, tmp_path / "run" / "log")
    assert not (tmp_path / "run").exists()


def test_the_request_names_files_by_content_and_not_by_place(tmp_path):
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
        write(tmp_path / name)
    here, there = (log_request(DataConfig(**CONFIG), 0, tmp_path / name) for name in ("here", "there"))
    assert here == there
    write(tmp_path / "there", LOG[:-1])
    assert log_request(DataConfig(**CONFIG), 0, tmp_path / "there").parents["events file"] != here.parents["events file"]


LOGS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 7)), min_size=12, max_size=60)


@settings(max_examples=40, deadline=None)
@given(pairs=LOGS, seed=st.integers(0, 99), repeats=st.sampled_from(["keep", "drop"]))
def test_the_order_of_the_rows_does_not_matter_where_times_differ(tmp_path_factory, pairs, seed, repeats):
    log = [(f"u{user}", f"i{item}", time, "view") for time, (user, item) in enumerate(pairs)]
    items = [(f"i{item}", "") for item in range(8)]
    made = []
    for rows in (log, [log[row] for row in np.random.default_rng(seed).permutation(len(log))]):
        folder = tmp_path_factory.mktemp("shuffled")
        write(folder, rows, items)
        try:
            made.append(read(DataConfig(**{**CONFIG, "repeats": repeats}), 0, folder))
        except DataError as error:  # too little left: then for both orders
            made.append(str(error).split(": ", 1)[1])
    if isinstance(made[0], str):
        assert made[0] == made[1]
        return
    assert made[0].catalog.equals(made[1].catalog)
    assert made[0].notes == made[1].notes
    for name, array in made[0].arrays.items():
        np.testing.assert_array_equal(array, made[1].arrays[name], err_msg=name)


@settings(max_examples=40, deadline=None)
@given(pairs=LOGS, k=st.integers(1, 4), m=st.integers(2, 4))
def test_every_item_and_session_that_is_kept_has_enough_events(tmp_path_factory, pairs, k, m):
    folder = tmp_path_factory.mktemp("core")
    write(
        folder,
        [(f"u{user}", f"i{item}", time, "view") for time, (user, item) in enumerate(pairs)],
        [(f"i{n}", "") for n in range(8)],
    )
    try:
        made = read(DataConfig(**{**CONFIG, "min_item_events": k, "min_session_events": m}), 0, folder)
    except DataError as error:
        assert "nothing is left" in str(error) or "leaves" in str(error)
        return
    assert np.bincount(made.arrays["items"])[1:].min() >= k
    assert len(np.bincount(made.arrays["items"])) == len(made.catalog) + 1, "numbers run from 1 to N"
    assert np.diff(made.arrays["offsets"]).min() >= m
