"""Events as numbers: a log read batch by batch into flat arrays, so that memory holds these arrays and one batch of text."""

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from scipy import sparse

from learec.config import DataConfig
from learec.data.columns import Place, Times, filled_text, plain, ratings, shown
from learec.data.log import Bools, Ints, Part
from learec.data.raw import Events, Raw
from learec.data.tables import column_names, readable
from learec.errors import DataError

BATCH_ROWS = 1_000_000
CHUNK_EVENTS = 4_000_000  # events whose order is worked on at once: bounds what sorting needs beside the arrays
MAX_KINDS = 256  # a kind of event is stored as one byte
PARTS = {
    "train": Part.TRAIN, "training": Part.TRAIN, "valid": Part.VALIDATION, "validation": Part.VALIDATION,
    "val": Part.VALIDATION, "dev": Part.VALIDATION, "test": Part.TEST,
}  # fmt: skip


@dataclass
class EventArrays:
    """E events. Columns are replaced one by one, so that no second copy of all of them is ever held."""

    visits: Ints  # (E,) int32, what belongs together: a user, or one session of a user if the log has a session column
    items: Ints  # (E,) int32
    kinds: Ints  # (E,) uint8
    times: npt.NDArray[np.int64] | npt.NDArray[np.float64]  # (E,)
    parts: Ints | None  # (E,) uint8, a given split

    def __len__(self) -> int:
        """E."""
        return len(self.items)

    def take(self, chosen: Ints | Bools) -> None:
        """Keep the events of a mask, or put them in a new order."""
        for column in fields(self):
            values = getattr(self, column.name)
            if values is not None:
                setattr(self, column.name, values[chosen])


@dataclass
class Encoded:
    """What was read: events as numbers, and the names behind the numbers."""

    arrays: EventArrays
    visit_ids: pl.Series  # by number
    users: pl.Series | None  # user by visit number, where the log has a session column
    item_ids: pl.Series
    kinds: list[str]  # sorted
    have_times: bool
    are_dates: bool  # times were written as dates
    rows_read: int
    counts_read: tuple[int, int]  # users and items among all rows

    @property
    def owners(self) -> Ints | None:
        """User by visit as numbers, where the log has a session column."""
        return None if self.users is None else self.users.rank("dense").to_numpy().astype(np.int64) - 1


class Ids:
    """Numbers for names, in the order in which they are first seen."""

    def __init__(self) -> None:
        self._categories = pl.Categories.random("learec", physical=pl.UInt32)
        # polars forgets the numbers of categories that no column uses any more: this one keeps them.
        self._anchor = pl.Series([None], dtype=pl.Categorical(self._categories))

    def numbers(self, names: pl.Series) -> Ints:
        """(B,) int32."""
        codes = names.cast(pl.Categorical(self._categories)).to_physical()
        return codes.to_numpy().astype(np.int32)

    def names(self) -> pl.Series:
        """Name by number."""
        return self._categories.to_series().fill_null("").alias("name")


@dataclass
class _Reader:
    """The state of a log that is being read."""

    config: DataConfig
    times: Times
    visits: Ids = field(default_factory=Ids)
    users: Ids = field(default_factory=Ids)
    items: Ids = field(default_factory=Ids)
    kinds: Ids = field(default_factory=Ids)
    rows: int = 0
    batches: list[EventArrays] = field(default_factory=list)
    owners: list[tuple[Ints, Ints]] = field(default_factory=list)

    def table(self, table: Events) -> None:
        """Read one table to its end."""
        row = 0
        with readable(table.name):
            for batch in table.frame.collect_batches(chunk_size=BATCH_ROWS, maintain_order=True):
                rows = pl.int_range(row, row + len(batch), eager=True)
                row += len(batch)
                blank = batch.select(pl.all_horizontal(pl.all().is_null())).to_series()
                if blank.any():  # empty lines of a CSV file
                    batch, rows = batch.filter(~blank), rows.filter(~blank)
                self.batch(batch, partial(_place, table, rows))

    def batch(self, batch: pl.DataFrame, place: Callable[[str], Place]) -> None:
        """Check a batch and keep it as numbers."""
        columns = batch.columns
        users = filled_text(batch["user"], place("user"), "id")
        items = self.items.numbers(filled_text(batch["item"], place("item"), "id"))
        visits = self._visits(users, batch, place)
        times = (
            self.times.read(batch["time"], place("time")).to_numpy()
            if "time" in columns
            else np.arange(self.rows, self.rows + len(batch), dtype=np.int64)
        )
        parts = _parts(batch["part"], place("part")) if "part" in columns else None
        kept = np.ones(len(batch), dtype=bool)
        kinds = self._kinds(batch, place)
        if self.config.kinds:
            kept &= np.isin(kinds, [code for code, name in enumerate(self.kinds.names()) if name in self.config.kinds])
        if self.config.min_rating is not None and "rating" in columns:
            kept &= ratings(batch["rating"], place("rating")).to_numpy() >= self.config.min_rating
        self.rows += len(batch)
        arrays = EventArrays(visits, items, kinds, times, parts)
        if not kept.all():
            arrays.take(kept)
        self.batches.append(arrays)

    def _visits(self, users: pl.Series, batch: pl.DataFrame, place: Callable[[str], Place]) -> Ints:
        if "session" not in batch.columns:
            return self.visits.numbers(users)
        sessions = filled_text(batch["session"], place("session"), "session id")
        # User a/b in session c is not user a in session b/c.
        escaped = users.str.replace_all("%", "%25", literal=True).str.replace_all("/", "%2F", literal=True)
        visits = self.visits.numbers((escaped + "/" + sessions).alias("visit"))
        first = np.unique(visits, return_index=True)[1]
        self.owners.append((visits[first], self.users.numbers(users)[first]))
        return visits

    def _kinds(self, batch: pl.DataFrame, place: Callable[[str], Place]) -> Ints:
        if "event" not in batch.columns:
            return self.kinds.numbers(pl.repeat("event", len(batch), eager=True)).astype(np.uint8)
        codes = self.kinds.numbers(filled_text(batch["event"], place("event"), "event"))
        if codes.max(initial=0) >= MAX_KINDS:
            raise DataError(
                f"{place('event').file}: {len(self.kinds.names())} kinds of event, wanted {MAX_KINDS} at most; "
                "name another column as [data.columns] event"
            )
        return codes.astype(np.uint8)

    def owner_names(self) -> pl.Series | None:
        """User by visit, where the log has a session column."""
        if not self.owners:
            return None
        owner = np.zeros(len(self.visits.names()), dtype=np.int64)
        for visits, users in self.owners:
            owner[visits] = users
        return self.users.names()[owner]


def encode(raw: Raw, config: DataConfig) -> Encoded:
    """Read all tables of events; kinds and ratings that are not wanted are left out as they pass by."""
    if config.min_rating is not None and not any("rating" in column_names(table.frame) for table in raw.events):
        seen = f"no ratings, which min_rating = {config.min_rating:g} in [data] needs"
        raise DataError(f"{raw.events[0].name}: {seen}; drop min_rating")
    reader = _Reader(config, Times(config.time_format))
    for table in raw.events:
        reader.table(table)
    if not reader.rows:
        raise DataError(f"{raw.events[0].name}: has no rows; a log needs at least one event")
    n_users = len(reader.users.names()) if reader.owners else len(reader.visits.names())
    arrays, kinds = _joined(reader.batches), reader.kinds.names()
    # In the order of their names, so that nothing depends on which of them came first.
    arrays.kinds = (kinds.rank("ordinal").to_numpy() - 1).astype(np.uint8)[arrays.kinds]
    return Encoded(
        arrays=arrays,
        visit_ids=reader.visits.names(),
        users=reader.owner_names(),
        item_ids=reader.items.names(),
        kinds=kinds.sort().to_list(),
        have_times=all("time" in column_names(table.frame) for table in raw.events),
        are_dates=reader.times.kind == "dates",
        rows_read=reader.rows,
        counts_read=(n_users, len(reader.items.names())),
    )


def _place(table: Events, rows: pl.Series, name: str) -> Place:
    return Place(table.name, table.names.get(name, name), rows)


def _joined(batches: list[EventArrays]) -> EventArrays:
    """All batches in one, column by column, each batch's column given back at once."""

    def column(name: str) -> Any:
        pieces = [getattr(batch, name) for batch in batches]
        for batch in batches:
            setattr(batch, name, None)
        # A table without the column beside one with it: its events have no part of their own, so nothing is given.
        return None if any(piece is None for piece in pieces) else np.concatenate(pieces)

    return EventArrays(*(column(field.name) for field in fields(EventArrays)))


def _parts(column: pl.Series, place: Place) -> Ints:
    """A given split as Part numbers."""
    text = plain(column, place).cast(pl.String).str.strip_chars().str.to_lowercase()
    found = text.replace_strict(list(PARTS), [int(part) for part in PARTS.values()], default=None, return_dtype=pl.UInt8)
    bad = found.is_null()
    if bad.any():
        seen = shown(column.filter(bad)[0])
        raise DataError(
            f"{place}: {bad.sum()} parts are unknown, first {seen} in row {place.named(bad)}; wanted {', '.join(PARTS)}"
        )
    return found.to_numpy()


def put_in_order(arrays: EventArrays, visit_rank: Ints, item_rank: Ints | None) -> int:
    """Sort events by visit (by its rank) and time. Returns how many share their visit and time with the one before.

    Ties keep their order, or are ordered by item, kind and part where item_rank is given.
    """
    arrays.visits = visit_rank[arrays.visits]
    order = _grouped(arrays.visits, len(visit_rank))
    visits, times = arrays.visits[order], arrays.times[order]
    ties = 0
    for start, stop in chunks(visits):
        rows = slice(start, stop)
        same = visits[rows][1:] == visits[rows][:-1]
        now = times[rows]
        if item_rank is not None or bool((same & (now[1:] < now[:-1])).any()):
            keys = [now, visits[rows]]
            if item_rank is not None:
                given = [] if arrays.parts is None else [arrays.parts[order[rows]]]
                keys = [*given, arrays.kinds[order[rows]], item_rank[arrays.items[order[rows]]], *keys]
            inside = np.lexsort(keys)
            order[rows] = order[rows][inside]
            now = now[inside]
        ties += int((same & (now[1:] == now[:-1])).sum())
    del visits, times
    arrays.take(order)
    return ties


def chunks(visits: Ints) -> list[tuple[int, int]]:
    """Stretches of about CHUNK_EVENTS sorted events that never cut a visit."""
    bounds = [0]
    while bounds[-1] < len(visits):
        at = bounds[-1] + CHUNK_EVENTS
        bounds.append(len(visits) if at >= len(visits) else int(np.searchsorted(visits, visits[at], side="left")))
        if bounds[-1] == bounds[-2]:  # one visit is longer than a chunk
            bounds[-1] = int(np.searchsorted(visits, visits[at], side="right"))
    return list(zip(bounds[:-1], bounds[1:], strict=True))


def _grouped(keys: Ints, n_keys: int) -> Ints:
    """Stable order by a small integer key: a counting sort, which is what turning rows into columns is."""
    n = len(keys)
    matrix = sparse.csr_array((np.ones(n, dtype=bool), keys, np.arange(n + 1)), shape=(n, n_keys))
    return matrix.tocsc().indices


def counts_of(numbers: Ints, n: int) -> Ints:
    """How often each number occurs, (n,); bincount by pieces, because it widens what it is given."""
    total = np.zeros(n, dtype=np.int64)
    for start in range(0, len(numbers), CHUNK_EVENTS):
        total += np.bincount(numbers[start : start + CHUNK_EVENTS], minlength=n)
    return total
