"""Reading tables as people have them: CSV and Parquet, any column names, with errors that name file, column and row."""

from pathlib import Path

import polars as pl

from learec.config import Columns
from learec.errors import DataError


def read_table(path: Path) -> pl.DataFrame:
    """A CSV or Parquet file as a frame. CSV columns are all text: ids such as 007 keep their zeros."""
    if not path.exists():
        raise DataError(f"{path}: no such file; check the recipe's [data] and the data folder (--data or LEAREC_DATA)")
    try:
        if path.suffix == ".csv":
            return pl.read_csv(path, infer_schema=False)
        if path.suffix == ".parquet":
            return pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        first = str(error).strip().splitlines()[0]
        raise DataError(f"{path}: cannot be read as {path.suffix[1:]} ({first}); write the file again") from None
    raise DataError(f"{path}: ends in {path.suffix or 'nothing'!r}, wanted .csv or .parquet; convert it")


def read_events(path: Path, columns: Columns) -> pl.DataFrame:
    """The log as user, item (text), time (Int64), event (text): rows sorted by user and time, ties in file order."""
    raw = read_table(path)
    wanted = {"user": columns.user, "item": columns.item, "time": columns.time, "event": columns.event}
    named = {role: name for role, name in wanted.items() if name is not None}
    for role, name in named.items():
        if name not in raw.columns:
            raise DataError(f"{path}: no column {name!r} for [data.columns] {role}; columns: {', '.join(raw.columns)}")
    frame = raw.select(pl.col(name).alias(role) for role, name in named.items()).with_row_index("row")
    for role in ("user", "item"):
        frame = frame.with_columns(_filled_text(frame, role, f"{path}: column {named[role]!r}"))
    time = _times(frame, f"{path}: column {columns.time!r}") if columns.time else pl.col("row").cast(pl.Int64).alias("time")
    event = _filled_text(frame, "event", f"{path}: column {columns.event!r}") if columns.event else pl.lit("event").alias("event")
    frame = frame.with_columns(time, event)
    if frame.is_empty():
        raise DataError(f"{path}: has no rows; a log needs at least one event")
    return frame.sort("user", "time", "row").select("user", "item", "time", "event")


def read_items(path: Path, item_column: str) -> pl.DataFrame:
    """The item table with its id column renamed to item_id and as text; every other column is kept."""
    raw = read_table(path)
    if item_column not in raw.columns:
        raise DataError(f"{path}: no column {item_column!r} for the item's id; columns: {', '.join(raw.columns)}")
    frame = raw.with_row_index("row").rename({item_column: "item"})
    frame = frame.with_columns(_filled_text(frame, "item", f"{path}: column {item_column!r}"))
    twice = frame.filter(pl.col("item").is_duplicated())
    if not twice.is_empty():
        raise DataError(f"{path}: item id {twice['item'][0]!r} stands in {_rows(twice.head(2))}; keep one row per item")
    return frame.drop("row").rename({"item": "item_id"})


def _filled_text(frame: pl.DataFrame, role: str, where: str) -> pl.Series:
    """The column as text, refused if a value is null or empty."""
    column = frame[role]
    if column.dtype.is_nested():
        raise DataError(f"{where}: holds {column.dtype}, wanted text or numbers; name another column in the recipe")
    text = column.cast(pl.String).str.strip_chars()
    bad = frame.filter(text.is_null() | (text == ""))
    if not bad.is_empty():
        kind = "event" if role == "event" else "id"
        raise DataError(f"{where}: {len(bad)} empty {kind}s, first in {_rows(bad.head(1))}; fill or remove those rows")
    return text


def _times(frame: pl.DataFrame, where: str) -> pl.Series:
    """Times as Int64: whole numbers as they are, dates and text as seconds since 1970. Refused if one does not parse."""
    column = frame["time"]
    times = _as_whole_numbers(column)
    bad = frame.filter(times.is_null())
    if not bad.is_empty():
        seen = bad["time"][0]
        raise DataError(f"{where}: {len(bad)} times do not parse, first {seen!r} in {_rows(bad.head(1))}; wanted numbers or ISO dates")
    return times.alias("time")


def _as_whole_numbers(column: pl.Series) -> pl.Series:
    if column.dtype.is_temporal():
        return column.cast(pl.Datetime("us"), strict=False).dt.epoch("s")
    if column.dtype.is_numeric():
        return column.cast(pl.Int64, strict=False)
    text = column.cast(pl.String).str.strip_chars()
    number = text.cast(pl.Float64, strict=False).cast(pl.Int64, strict=False)
    dates = text.str.to_datetime(strict=False, time_unit="us", time_zone="UTC").dt.epoch("s")
    return number.fill_null(dates)


def _rows(frame: pl.DataFrame) -> str:
    """Rows as a person counts them in the data, the first after the header being 1."""
    return " and ".join(f"row {row + 1}" for row in frame["row"])
