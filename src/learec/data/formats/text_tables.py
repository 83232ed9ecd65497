"""Text tables whose columns are known: with a header, or without. Every column is text, and null where nothing stands."""

import csv
import gzip
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, cast

import polars as pl

from learec.data.tables import column_names, missing_column, readable, scan

GZIP = b"\x1f\x8b"
FIRST_BYTES = 65_536


def with_header(path: Path, names: Mapping[str, str]) -> pl.LazyFrame:
    """A CSV file's columns under new names, {new: in the file}. Raises DataError if one is missing."""
    frame = scan(path)
    seen = column_names(frame)
    for new, name in names.items():
        if name not in seen:
            raise missing_column(path, name, new, frame)
    return frame.select(pl.col(name).alias(new) for new, name in names.items())


def without_header(
    path: Path, names: Sequence[str], separator: str, quote: str | None = None, skip: int = 0, missing: str | None = None
) -> pl.LazyFrame:
    """A file without a header, or after `skip` lines, as these columns. Without `quote`, quote characters are text."""
    schema = dict.fromkeys(names, pl.String)
    return pl.scan_csv(
        path,
        has_header=False,
        schema=schema,
        separator=separator,
        quote_char=quote,
        skip_lines=skip,
        null_values=missing,
        glob=False,
    )


def first_row(path: Path, separator: str = ",", quoted: bool = True) -> list[str]:
    """The fields of the first line, empty for an empty file."""
    with readable(path), opened(path) as file:
        start = file.read(FIRST_BYTES).decode("utf-8-sig", errors="replace")
    if quoted:
        return next(csv.reader(io.StringIO(start, newline=""), delimiter=separator), [])
    line = start.split("\n")[0].removesuffix("\r")
    return line.split(separator) if line else []


def opened(path: Path) -> BinaryIO:
    """A file's bytes, unpacked if they are gzipped, whatever the file is called."""
    with path.open("rb") as file:
        packed = file.read(2) == GZIP
    return cast(BinaryIO, gzip.open(path)) if packed else path.open("rb")


def constant_kind(kind: str) -> pl.Expr:
    """The column `event` of a table whose events are all of one kind; null in an empty line, which stays empty throughout."""
    return pl.when(pl.col("user").is_not_null()).then(pl.lit(kind)).alias("event")
