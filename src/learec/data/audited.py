"""A log under audit: with its times and users, and with its events by users in chunks that fit in memory."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from learec.artifacts import read_manifest
from learec.data.clock import Clock
from learec.data.events import Ids, chunks, counts_of
from learec.data.log import MAKE_WITH, Ints, Log, Part, load_log, load_times
from learec.errors import ArtifactError


@dataclass(frozen=True)
class Split:
    """A log with what only an audit reads of it: times, users, what prepare was asked for and what it noted."""

    log: Log
    times: npt.NDArray[Any]  # (E,)
    users: Ints  # (S,) number of every session's user
    config: dict[str, Any]
    notes: dict[str, Any]

    @property
    def name(self) -> str:
        """The split's own name."""
        return str(self.notes["split"])

    @property
    def clock(self) -> Clock:
        """How to read the times."""
        return Clock(self.notes["time_unit"])

    @cached_property
    def by_session(self) -> Ints:
        """Events of every session by part, (S, 3)."""
        offsets = self.log.sessions.offsets
        counts = np.zeros((len(offsets) - 1, len(Part)), dtype=np.int64)
        filled = np.flatnonzero(np.diff(offsets))  # reduceat gives an empty stretch its neighbour's event
        for part in Part:
            counts[filled, part] = np.add.reduceat(self.log.parts == part, offsets[filled], dtype=np.int64)
        return counts

    @cached_property
    def by_user(self) -> Ints:
        """Events of every user by part, (U, 3)."""
        counts = [np.bincount(self.users, weights=column) for column in self.by_session.T]
        return np.stack(counts, axis=1).astype(np.int64)

    @cached_property
    def by_item(self) -> Ints:
        """Events of every item by part, (N + 1, 3); row 0 is padding."""
        items, n = self.log.sessions.items, self.log.catalog.n_items + 1
        return np.stack([counts_of(items[self.log.parts == part], n) for part in Part], axis=1)

    def date(self, time: float) -> str:
        """A time as a day, or as it is where times are only an order."""
        size = self.clock.seconds_per_unit
        return f"{time:g}" if size is None else f"{datetime.fromtimestamp(time * size, UTC):%Y-%m-%d}"

    def event(self, step: int) -> str:
        """A step as sentences call it: its session, its place there from 0, its item."""
        sessions = self.log.sessions
        session = int(np.searchsorted(sessions.offsets, step, side="right")) - 1
        item = self.log.catalog.table["item_id"][int(sessions.items[step]) - 1]
        return f"session {self.log.session_ids[session]!r} step {step - sessions.offsets[session]} item {item!r}"


def open_split(folder: Path) -> Split:
    """Open a log/ folder for an audit, after checking it."""
    manifest = read_manifest(folder, "log", MAKE_WITH)
    if "times.npy" not in manifest.files:
        raise ArtifactError(f"{folder}: holds no times.npy, which an audit reads; make the log again with `{MAKE_WITH}`")
    log = load_log(folder)
    users = Ids().numbers(pl.read_ipc(folder / "sessions.arrow", columns=["user"])["user"])
    return Split(log, load_times(folder), users, manifest.request.config, manifest.notes)


@dataclass(frozen=True)
class Chunk:
    """Whole users: all events of all sessions of each, user after user. Columns are gathered when they are asked for."""

    split: Split
    sessions: Ints  # (C,) session numbers
    steps: Ints  # (M,) indices into the log

    @cached_property
    def session_of(self) -> Ints:
        """Which of `sessions` each event belongs to, (M,)."""
        return np.repeat(np.arange(len(self.sessions)), self.split.log.sessions.lengths[self.sessions])

    @property
    def place_of(self) -> Ints:
        """Position of every event in its session, (M,)."""
        return self.steps - self.split.log.sessions.offsets[self.sessions][self.session_of]

    @cached_property
    def items(self) -> Ints:
        """Items, (M,)."""
        return self.split.log.sessions.items[self.steps]

    @cached_property
    def times(self) -> npt.NDArray[Any]:
        """Times, (M,)."""
        return self.split.times[self.steps]

    @cached_property
    def parts(self) -> Ints:
        """Parts, (M,)."""
        return self.split.log.parts[self.steps]


def chunks_of(split: Split) -> Iterator[Chunk]:
    """All events by users: what one user has in several sessions is in one chunk."""
    order = np.argsort(split.users, kind="stable")
    lengths = split.log.sessions.lengths[order]
    ends = np.cumsum(lengths)
    for start, stop in chunks(np.repeat(split.users[order], lengths)):
        first, last = np.searchsorted(ends, start, side="right"), np.searchsorted(ends, stop, side="left") + 1
        yield Chunk(split, order[first:last], steps_of(split.log.sessions.offsets, order[first:last]))


def steps_of(offsets: Ints, sessions: Ints) -> Ints:
    """All steps of the given sessions, one session after the other, (M,)."""
    starts, lengths = offsets[sessions], offsets[sessions + 1] - offsets[sessions]
    return np.repeat(starts - (np.cumsum(lengths) - lengths), lengths) + np.arange(int(lengths.sum()))
