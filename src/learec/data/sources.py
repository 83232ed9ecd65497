"""Reading tables as people have them: CSV and Parquet, any column names, with errors that name file, column and row."""

from pathlib import Path

import polars as pl

from learec.config import Columns
from learec.errors import DataError


def found(path: Path) -> Path:
    """The path, refused if no file lies there."""
    if not path.is_file():
        seen = "is a folder, wanted a file" if path.is_dir() else "no such file"
        raise DataError(f"{path}: {seen}; check [data] in the recipe and the data folder (--data or LEAREC_DATA)")
    return path


def read_table(path: Path) -> pl.DataFrame:
    """A CSV or Parquet file as a frame. CSV columns are all text: ids such as 007 keep their zeros."""
    kind = found(path).suffix.lower()
    if kind not in (".csv", ".parquet"):
        raise DataError(f"{path}: ends in {path.suffix or 'nothing'!r}, wanted .csv or .parquet; convert it")
    try:
        frame = pl.read_csv(path, infer_schema=False, glob=False) if kind == ".csv" else pl.read_parquet(path, glob=False)
    except (pl.exceptions.PolarsError, OSError) as error:
        first = str(error).strip().splitlines()[0]
        wanted = "UTF-8 text separated by commas" if kind == ".csv" else "a whole Parquet file"
        raise DataError(f"{path}: cannot be read ({first}), wanted {wanted}; write the file again") from None
    if kind == ".csv" and frame.width == 1 and any(mark in frame.columns[0] for mark in ";\t|"):
        raise DataError(
            f"{path}: its only column is {frame.columns[0]!r}, wanted columns separated by commas; write the file again"
        )
    return frame


def read_events(path: Path, columns: Columns) -> pl.DataFrame:
    """The log as user, item (text), time (numbers), event (text): rows sorted by user and time, ties in file order."""
    raw = read_table(path)
    wanted = {"user": columns.user, "item": columns.item, "time": columns.time, "event": columns.event}
    for role, name in wanted.items():
        if name is not None and name not in raw.columns:
            raise DataError(f"{path}: no column {name!r} for [data.columns] {role}; columns: {', '.join(raw.columns)}")
    if raw.is_empty():
        raise DataError(f"{path}: has no rows; a log needs at least one event")
    rows = pl.int_range(len(raw), eager=True)
    frame = pl.DataFrame(
        {
            "user": _filled_text(raw[columns.user], f"{path}: column {columns.user!r}", "id"),
            "item": _filled_text(raw[columns.item], f"{path}: column {columns.item!r}", "id"),
            "time": _times(raw[columns.time], f"{path}: column {columns.time!r}") if columns.time else rows,
            "event": _filled_text(raw[columns.event], f"{path}: column {columns.event!r}", "event") if columns.event else "event",
        }
    )
    return frame.sort("user", "time", maintain_order=True)


def read_items(path: Path, item_column: str) -> pl.DataFrame:
    """The item table with the items' ids, as text, in item_id; every other column is kept."""
    raw = read_table(path)
    if item_column not in raw.columns:
        raise DataError(f"{path}: no column {item_column!r} for the item's id; columns: {', '.join(raw.columns)}")
    ids = _filled_text(raw[item_column], f"{path}: column {item_column!r}", "id")
    twice = ids.is_duplicated().arg_true()
    if len(twice):
        first = ids[twice[0]]
        rows = " and ".join(f"row {row + 1}" for row in (ids == first).arg_true()[:2])
        raise DataError(f"{path}: item id {first!r} stands in {rows}; keep one row per item")
    return raw.with_columns(ids.alias("item_id"))


def _filled_text(column: pl.Series, where: str, what: str) -> pl.Series:
    """The column as text, refused if a value is null or empty. Whole numbers stored as floats lose their ".0"."""
    if column.dtype.is_nested() or column.dtype == pl.Binary:
        raise DataError(f"{where}: holds {column.dtype}, wanted text or numbers; name another column in the recipe")
    if column.dtype.is_float():  # what pandas makes of integers if one is missing
        column = column.fill_nan(None)
        whole = column.cast(pl.Int64, strict=False)
        column = whole if (whole == column).all() else column
    text = column.cast(pl.String).str.strip_chars()
    bad = (text.fill_null("") == "").arg_true()
    if len(bad):
        raise DataError(f"{where}: {len(bad)} empty {what}s, first in row {bad[0] + 1}; fill or remove those rows")
    return text


def _times(column: pl.Series, where: str) -> pl.Series:
    """Times as numbers, dates as seconds since 1970: Int64, or Float64 if some have fractions. Refused if one does not parse."""
    times = _whole_numbers(column)
    if times.null_count():
        seconds = _seconds(column)
        whole = seconds.cast(pl.Int64, strict=False)
        times = whole if (whole == seconds).all() else seconds
    bad = times.is_null().arg_true()
    if len(bad):
        raise DataError(
            f"{where}: {len(bad)} times do not parse, first {column[bad[:1]].to_list()[0]!r} in row {bad[0] + 1}; "
            "wanted numbers or ISO dates, all written alike"
        )
    return times


def _whole_numbers(column: pl.Series) -> pl.Series:
    """Integers exactly as they are (nanoseconds do not fit a float), null where there is none."""
    if column.dtype.is_integer():
        return column.cast(pl.Int64, strict=False)
    if column.dtype == pl.String:
        return column.str.strip_chars().cast(pl.Int64, strict=False)
    return pl.Series([None] * len(column), dtype=pl.Int64)


def _seconds(column: pl.Series) -> pl.Series:
    """Float64, null where there is neither a finite number nor a date."""
    if isinstance(column.dtype, pl.Date | pl.Datetime):
        return column.cast(pl.Datetime("us")).dt.epoch("us") / 1_000_000
    if column.dtype.is_numeric():
        seconds = column.cast(pl.Float64)
    elif column.dtype == pl.String:
        text = column.str.strip_chars()
        dates = text.str.to_datetime(strict=False, time_unit="us", time_zone="UTC").dt.epoch("us") / 1_000_000
        seconds = text.cast(pl.Float64, strict=False).fill_null(dates)
    else:
        return pl.Series([None] * len(column), dtype=pl.Float64)
    return seconds.set(~seconds.is_finite(), None)
