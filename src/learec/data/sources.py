"""Sources: from a recipe's [data] to a raw log, whatever format it comes in; or from frames that Python holds."""

import hashlib
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from learec.config import Columns, DataConfig
from learec.data.formats import amazon, lastfm, movielens, recbole, retailrocket, yoochoose
from learec.data.raw import Events, Raw
from learec.data.tables import column_names, files_of, missing_column, readable, scan
from learec.errors import DataError

Read = Callable[[Path, Path | None], Raw]
FORMATS: Mapping[str, Read] = {
    "recbole": recbole.read,
    "movielens": movielens.read,
    "amazon": amazon.read,
    "lastfm": lastfm.read,
    "retailrocket": retailrocket.read,
    "yoochoose": yoochoose.read,
}
HASHED_ROWS = 1_000_000


@dataclass(frozen=True)
class Frames:
    """A log that Python holds: polars or pandas frames, with columns as [data.columns] names them."""

    events: Any
    items: Any | None = None


def open_source(config: DataConfig, source: Path | Frames) -> Raw:
    """The raw log that a recipe's [data] names, in a data folder or in frames. Raises DataError if it is not there."""
    if isinstance(source, Frames):
        return _from_frames(config, source)
    events = source / config.events
    items = None if config.items is None else source / config.items
    if config.format != "table":
        with readable(events):
            return FORMATS[config.format](events, items)
    paths = files_of(events)
    files = {"events file" if len(paths) == 1 else f"events file {path.name}": path for path in paths}
    tables = tuple(_events(scan(path, config.delimiter), str(path), config.columns) for path in paths)
    if items is None:
        return Raw(tables, None, "", files)
    frame = _items(scan(items, config.delimiter), str(items), config.columns.item)
    return Raw(tables, frame, str(items), {**files, "items file": items})


def source_digests(raw: Raw, source: Path | Frames) -> dict[str, str]:
    """What the raw log is, by content: sha256 by role."""
    if isinstance(source, Frames):
        frames = {"events frame": (raw.events[0].frame, raw.events[0].name), "items frame": (raw.items, raw.items_name)}
        return {role: _frame_digest(frame, name) for role, (frame, name) in frames.items() if frame is not None}
    return {role: _file_digest(path) for role, path in raw.files.items()}


def _file_digest(path: Path) -> str:
    with readable(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _frame_digest(frame: pl.LazyFrame, name: str) -> str:
    digest = hashlib.sha256()
    with readable(name):
        for piece in frame.collect_batches(chunk_size=HASHED_ROWS, maintain_order=True):
            # Parquet says nothing of what lies in memory where a value is missing; Arrow's own format does.
            piece.rechunk().write_parquet(content := io.BytesIO(), compression="uncompressed", statistics=False)
            digest.update(content.getbuffer())
    return digest.hexdigest()


def _from_frames(config: DataConfig, source: Frames) -> Raw:
    name, items_name = config.events, config.items or "items"
    with readable(name):
        events = _events(_lazy(source.events, name), name, config.columns)
    if source.items is None:
        return Raw((events,), None, "", {})
    with readable(items_name):
        items = _items(_lazy(source.items, items_name), items_name, config.columns.item)
    return Raw((events,), items, items_name, {})


def _lazy(frame: Any, name: str) -> pl.LazyFrame:
    """A frame of polars, from one of pandas too."""
    if isinstance(frame, pl.LazyFrame):
        return frame
    if isinstance(frame, pl.DataFrame):
        return frame.with_columns(_series(column.name, column.to_list()) for column in frame if column.dtype == pl.Object).lazy()
    if not type(frame).__module__.startswith("pandas") or not hasattr(frame, "columns"):
        raise DataError(f"{name}: is a {type(frame).__name__}, wanted a polars or pandas frame; make one of it")
    names = [str(column) for column in frame.columns]
    twice = next((column for column in names if names.count(column) > 1), None)
    if twice is not None:
        raise DataError(f"{name}: column {twice!r} stands {names.count(twice)} times in the frame; rename or drop all but one")
    return pl.LazyFrame([_from_pandas(column, frame.iloc[:, number]) for number, column in enumerate(names)])


def _from_pandas(name: str, values: Any) -> pl.Series:
    if getattr(values.dtype, "tz", None) is not None:
        values = values.dt.tz_convert(None)
    if isinstance(values.dtype, np.dtype) and values.dtype.kind in "biufM":
        return pl.Series(name, values.to_numpy())
    return _series(name, [None if missing else value for value, missing in zip(values, values.isna(), strict=True)])


def _series(name: str, values: list[Any]) -> pl.Series:
    """Python's values as a column; of mixed kinds, such as 1 and "1", as the text that a CSV file would have."""
    try:
        found = pl.Series(name, values, strict=True)
    except (TypeError, ValueError, OverflowError, pl.exceptions.PolarsError):
        found = pl.Series(name, dtype=pl.Object)
    if found.dtype != pl.Object:
        return found
    return pl.Series(name, [None if value is None else _text(value) for value in values], dtype=pl.String)


def _text(value: object) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _events(frame: pl.LazyFrame, name: str, columns: Columns) -> Events:
    """The mapped columns under their canonical names."""
    wanted = {
        "user": columns.user, "item": columns.item, "time": columns.time, "event": columns.event,
        "rating": columns.rating, "session": columns.session, "part": columns.split,
    }  # fmt: skip
    named = {role: column for role, column in wanted.items() if column is not None}
    for role, column in named.items():
        if column not in column_names(frame):
            raise missing_column(name, column, f"[data.columns] {'split' if role == 'part' else role}", frame)
    return Events(name, frame.select(pl.col(column).alias(role) for role, column in named.items()), named)


def _items(frame: pl.LazyFrame, name: str, item: str) -> pl.LazyFrame:
    """The item table with the items' ids in item_id; every other column is kept."""
    if item not in column_names(frame):
        raise missing_column(name, item, "the item's id", frame)
    return frame.with_columns(pl.col(item).alias("item_id"))
