"""What a reader of a prepared log should know before trusting numbers made from it: one sentence each."""

from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from learec.data.events import EventArrays, counts_of
from learec.data.log import Ints, Part

LARGE_SHARE = 0.1
LONG_SESSION = 10_000


def caveats_of(
    arrays: EventArrays, offsets: Ints, parts: Ints, sessions: pl.DataFrame, notes: dict[str, Any], ties: int
) -> list[str]:
    """Sentences about times, ties, the split, cold items, and sessions that are out of proportion.

    `ties` is 0 where the order of events of one time does not depend on the file's.
    """
    found = []
    if notes["time_unit"] not in ("seconds", "order"):
        found.append(f"times are {notes['time_unit']} since 1970")
    negative = int((arrays.times < 0).sum())
    if negative:
        found.append(f"{negative:,} events have a negative time: before 1970, or a mark for an unknown one")
    if tied := _tied(arrays.times, offsets) if ties else 0:
        found.append(
            f"{tied / len(arrays):.1%} of the events have the same user and time as the one before; they are in the file's "
            'order, so another order of its rows gives another split (ties = "item_id" in [data] makes it independent)'
        )
    if notes["split"] == "leave_one_out" and notes["time_unit"] != "order":
        found.append("leave_one_out lets users' training steps be later than others' test steps; global_time does not")
    found += _cold(arrays.items, parts)
    return found + _lopsided(offsets, sessions)


def _tied(times: npt.NDArray[np.number], offsets: Ints) -> int:
    """How many events share session and time with the one before."""
    same = times[1:] == times[:-1]
    same[offsets[1:-1] - 1] = False
    return int(same.sum())


def _cold(items: Ints, parts: Ints) -> list[str]:
    n_items = int(items.max()) + 1
    cold = counts_of(items[parts == Part.TRAIN], n_items) == 0
    held_out = parts != Part.TRAIN
    steps = int(cold[items[held_out]].sum())
    if not steps:
        return []
    n_cold = int((cold & (counts_of(items, n_items) > 0)).sum())
    return [
        f"{n_cold:,} items have no training step: {steps / int(held_out.sum()):.1%} of the held-out steps, which only their "
        'text can predict (cold_items = "drop" in [data] leaves them out)'
    ]


def _lopsided(offsets: Ints, sessions: pl.DataFrame) -> list[str]:
    lengths = np.diff(offsets)
    users = sessions.select("user", n=pl.Series(lengths)).group_by("user").agg(pl.col("n").sum()).sort("n", "user").tail(1)
    found = []
    if len(sessions) > 1 / LARGE_SHARE and users["n"][0] > LARGE_SHARE * offsets[-1]:
        found.append(f"user {users['user'][0]!r} has {users['n'][0] / offsets[-1]:.0%} of all events: a robot, or a default id?")
    if lengths.max() > LONG_SESSION:
        longest = sessions["session_id"][int(lengths.argmax())]
        found.append(f"session {longest!r} has {lengths.max():,} events (max_session_events in [data] keeps the newest)")
    return found
