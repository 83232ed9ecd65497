"""Caveats: what a reader should know of a log is said with its share, and nothing is said of a log without blemish."""

from typing import Any

import polars as pl
import pytest

from learec.config import DataConfig
from learec.data.prepare import Prepared, read
from learec.data.sources import Frames

START = 1_700_000_000
SETTINGS = {"events": "log", "min_item_events": 1, "min_session_events": 2}
# 20 users with 5 events each over 5 items, no two at one time.
GOOD = [(f"u{user:02}", f"i{(user + step) % 5}", START + 100 * user + step) for user in range(20) for step in range(5)]


def prepared(rows: list[tuple], **settings: Any) -> Prepared:
    frame = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")
    return read(DataConfig(**{**SETTINGS, **settings}), 0, Frames(frame))


def caveats(rows: list[tuple], **settings: Any) -> list[str]:
    return list(prepared(rows, **settings).notes["caveats"])


def moved(rows: list[tuple], by: int, times: int = 1) -> list[tuple]:
    return [(user, item, (time + by) * times) for user, item, time in rows]


def test_nothing_is_said_of_a_log_without_blemish():
    assert caveats(GOOD) == []
    assert caveats(GOOD, split="by_session") == []


@pytest.mark.parametrize(("times", "unit"), [(1000, "milliseconds"), (10**6, "microseconds"), (10**9, "nanoseconds")])
def test_times_in_another_unit_than_seconds_are_told(times, unit):
    assert caveats(moved(GOOD, 0, times)) == [f"times are {unit} since 1970"]


def test_negative_times_are_counted():
    rows = [("u00", "i0", -1), ("u01", "i0", -(2**63)), *GOOD]
    assert caveats(rows) == ["2 events have a negative time: before 1970, or a mark for an unknown one"]


def test_leave_one_out_leaks_time_unless_times_are_a_mere_order():
    leak = "leave_one_out lets users' training steps be later than others' test steps; global_time does not"
    assert caveats(GOOD, split="leave_one_out") == [leak]
    assert caveats(moved(GOOD, -START)) == []
    assert prepared(moved(GOOD, -START)).notes["split"] == "leave_one_out"


def test_ties_are_told_with_their_share_of_the_events_that_are_left():
    # Of u00's five events the second to the fourth are at one time: 2 of 100 events share it with the one before.
    rows = [(user, item, START + 1 if user == "u00" and 0 < time - START < 4 else time) for user, item, time in GOOD]
    sentence = (
        "2.0% of the events have the same user and time as the one before; they are in the file's order, so another order of its "
        'rows gives another split (ties = "item_id" in [data] makes it independent)'
    )
    assert caveats(rows) == [sentence]
    assert caveats(rows, ties="item_id") == []
    # A crowd of tied events that a filter leaves out is no part of the share.
    assert caveats([*rows, *[("short", f"x{number}", START) for number in range(300)]], min_item_events=2) == [sentence]
    assert caveats([*GOOD, *[("short", f"x{number}", START) for number in range(300)]], min_item_events=2) == []


def test_events_of_one_time_in_two_sessions_are_no_tie():
    # Every user's last event is at the time of the next user's first.
    rows = [(f"u{user:02}", f"i{(user + step) % 5}", START + 4 * user + step) for user in range(20) for step in range(5)]
    assert caveats(rows, split="by_session") == []
    rows[3] = (*rows[3][:2], START + 2)
    assert caveats(rows, split="by_session")[0].startswith("1.0% of the events have the same user and time as the one before")


def test_without_times_there_are_no_ties():
    assert caveats(GOOD, columns={"time": None}) == []


def test_cold_items_are_told_with_their_share_of_the_held_out_steps():
    # The last two of 100 events are of a new item: 2 of the 20 held-out steps (10 for validation, 10 for test).
    rows = [*GOOD[:-2], *[(user, "new", time) for user, _, time in GOOD[-2:]]]
    assert caveats(rows) == [
        '1 items have no training step: 10.0% of the held-out steps, which only their text can predict (cold_items = "drop" in '
        "[data] leaves them out)"
    ]
    assert caveats(rows, cold_items="drop") == []
    assert len(prepared(rows, cold_items="drop").catalog) == 5


def test_a_user_with_much_of_the_log_is_told():
    rows = [*GOOD, *[("robot", f"i{number % 5}", START + number) for number in range(100)]]
    assert "user 'robot' has 50% of all events: a robot, or a default id?" in caveats(rows, ties="item_id")
    few = [row for row in rows if row[0] in ("robot", "u00", "u01", "u02")]
    assert caveats(few, ties="item_id", split="by_session", held_out=0.3) == []  # of four users one has much by nature


def test_a_user_with_much_of_the_log_is_told_over_all_its_sessions():
    rows = [*GOOD, *[("robot", f"i{number % 5}", START + 1000 * number + step) for number in range(10) for step in range(2)]]
    assert [words for words in caveats(rows, session_gap=500) if "user" in words] == [
        "user 'robot' has 17% of all events: a robot, or a default id?"
    ]


def test_a_very_long_session_is_told():
    rows = [*GOOD, *[("long", f"i{number % 5}", START + 10 * number) for number in range(10_001)]]
    told = "session 'long' has 10,001 events (max_session_events in [data] keeps the newest)"
    assert told in caveats(rows)
    assert not [words for words in caveats(rows, max_session_events=50) if "session" in words]
