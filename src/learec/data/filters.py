"""Filters over sorted events, and the funnel: how many events, users and items each of them left."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from learec.config import DataConfig
from learec.data.events import EventArrays, chunks, counts_of
from learec.data.log import Bools, Ints
from learec.errors import DataError


@dataclass
class Funnel:
    """Counts after each step."""

    owners: Ints | None = None  # user by visit, where the log has a session column; without one, a visit is a user
    steps: list[dict[str, Any]] = field(default_factory=list)

    def count(self, step: str, arrays: EventArrays) -> None:
        """One more row, counted over what is left."""
        users = np.flatnonzero(counts_of(arrays.visits, int(arrays.visits.max(initial=0)) + 1))
        if self.owners is not None:
            users = np.unique(self.owners[users])
        items = counts_of(arrays.items, int(arrays.items.max(initial=0)) + 1)
        self.add(step, len(arrays), len(users), int((items > 0).sum()))

    def add(self, step: str, events: int, users: int, items: int) -> None:
        """One more row."""
        self.steps.append({"step": step, "events": events, "users": users, "items": items})


def filtered(arrays: EventArrays, config: DataConfig, seconds_per_unit: float | None, funnel: Funnel, name: str) -> Ints:
    """Drop repeats, cut sessions, keep the core. Returns the session number of every event that is left, (E,) int32."""
    if config.repeats != "keep":
        arrays.take(~repeats_in(arrays.visits, arrays.items, config.repeats))
        funnel.count("repeats dropped" if config.repeats == "drop" else "neighbouring repeats dropped", arrays)
    sessions = _sessions(arrays, config, seconds_per_unit, name)
    if config.session_gap is not None:
        funnel.count(f"cut into {int(sessions[-1]) + 1 if len(sessions) else 0:,} sessions", arrays)
    if config.max_session_events is not None:
        kept = newest(sessions, config.max_session_events)
        arrays.take(kept)
        sessions = sessions[kept]
        funnel.count(f"sessions' newest {config.max_session_events} events", arrays)
    kept = _core(arrays.items, sessions, config)
    if not kept.all():
        arrays.take(kept)
        sessions = sessions[kept]
    once = ", once" if config.core == "once" else ""
    funnel.count(f"core: items >= {config.min_item_events}, sessions >= {config.min_session_events}{once}", arrays)
    if not len(arrays):
        raise DataError(
            f"{name}: nothing is left of {funnel.steps[0]['events']} events when items need {config.min_item_events} events and "
            f"sessions {config.min_session_events}; lower min_item_events or min_session_events in [data]"
        )
    return starts_of(sessions).cumsum(dtype=np.int32) - 1


def starts_of(groups: Ints) -> Bools:
    """Where a new group begins among sorted events, (E,)."""
    starts = np.ones(len(groups), dtype=bool)
    np.not_equal(groups[1:], groups[:-1], out=starts[1:])
    return starts


def offsets_of(groups: Ints) -> Ints:
    """Where each group of sorted events begins, and where the last one ends, (S + 1,)."""
    return np.append(np.flatnonzero(starts_of(groups)), len(groups)).astype(np.int64)


def repeats_in(visits: Ints, items: Ints, which: str) -> Bools:
    """Sorted events whose item the visit has had before ("drop"), or has had just before ("drop_neighbours")."""
    again = np.zeros(len(items), dtype=bool)
    if which == "drop_neighbours":
        again[1:] = (items[1:] == items[:-1]) & ~starts_of(visits)[1:]
        return again
    for start, stop in chunks(visits):
        key = visits[start:stop].astype(np.int64) << 32 | items[start:stop]
        again[start:stop] = True
        again[start + np.unique(key, return_index=True)[1]] = False
    return again


def _sessions(arrays: EventArrays, config: DataConfig, seconds_per_unit: float | None, name: str) -> Ints:
    """Session number of every event: one per visit, and a new one after every gap."""
    starts = starts_of(arrays.visits)
    if config.session_gap is not None:
        if seconds_per_unit is None:
            raise DataError(
                f"{name}: session_gap needs real times, and the time column holds an order or nothing; "
                "drop session_gap in [data] or name another column as [data.columns] time"
            )
        steps = np.diff(arrays.times)
        if steps.dtype == np.int64:  # a mark for "unknown" such as the least integer is further away than an integer can say
            steps = steps.view(np.uint64)
        starts[1:] |= steps > config.session_gap / seconds_per_unit
    return starts.cumsum(dtype=np.int32) - 1


def newest(sessions: Ints, n: int) -> Bools:
    """The last n events of every session, (E,)."""
    ends = offsets_of(sessions)[1:]
    return np.repeat(ends, np.diff(ends, prepend=0)) - np.arange(len(sessions)) <= n


def _core(items: Ints, sessions: Ints, config: DataConfig) -> Bools:
    """Events of items and sessions that have enough of them: until nothing changes, or items first and sessions once."""
    n_items, n_sessions = int(items.max(initial=-1)) + 1, int(sessions.max(initial=-1)) + 1
    kept = np.ones(len(items), dtype=bool)
    before = -1
    while before != (now := int(kept.sum())):
        before = now
        kept &= (counts_of(items[kept], n_items) >= config.min_item_events)[items]
        kept &= (counts_of(sessions[kept], n_sessions) >= config.min_session_events)[sessions]
        if config.core == "once":
            break
    return kept
