"""What a source hands to prepare: tables of events and of items, named for error messages, and not read yet."""

from dataclasses import dataclass
from pathlib import Path

import polars as pl

OPTIONAL = ("time", "event", "rating", "session", "part")  # beside user and item, which every table of events has


@dataclass(frozen=True)
class Events:
    """One table of events in the order of its file: columns user, item, and those of OPTIONAL that the source has.

    Ids may be text or whole numbers. `time` may be whole numbers, fractions, dates, or text of one of these. Without it
    the rows' order is the order. `session` cuts a user's events, `part` is a given split (train, valid, test).
    """

    name: str  # the file, as errors call it
    frame: pl.LazyFrame
    names: dict[str, str]  # canonical name -> the column's name in the file, for errors; itself if it is not there


@dataclass(frozen=True)
class Raw:
    """A log as a source found it."""

    events: tuple[Events, ...]  # one after the other
    items: pl.LazyFrame | None  # item_id and any columns for templates; None: the items are those of the events
    items_name: str  # the item table, as errors call it
    files: dict[str, Path]  # every file read, by the name that the log's manifest calls it
