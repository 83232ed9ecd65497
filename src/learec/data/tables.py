"""Tables as people have them: CSV, Parquet, a folder of Parquet files; opened without being read, with errors that help."""

import codecs
import csv
import gzip
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import polars as pl

from learec.data.columns import SHOWN, shown
from learec.errors import DataError

CSV, TSV, PARQUET = (".csv", ".csv.gz"), (".tsv", ".tsv.gz"), (".parquet",)
DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
SNIFFED_LINES = 20
LISTED = 30  # names of columns in an error


def found(path: Path) -> Path:
    """The path, refused if nothing lies there."""
    if not path.exists():
        raise DataError(f"{path}: no such file; check [data] in the recipe and the data folder (--data or LEAREC_DATA)")
    return path


def files_of(path: Path) -> list[Path]:
    """The file itself, or the Parquet files of a folder in the order of their names."""
    if not found(path).is_dir():
        return [path]
    files = sorted(file for file in path.iterdir() if file.name.lower().endswith(PARQUET) and not file.name.startswith("."))
    if not files:
        raise DataError(f"{path}: is a folder without .parquet files, wanted a file or a folder of Parquet; check [data] events")
    return files


def scan(path: Path, delimiter: str = ",") -> pl.LazyFrame:
    """A table, not read yet. CSV columns are all text: ids such as 007 keep their zeros."""
    kind = found(path).name.lower()
    if path.is_dir():
        raise DataError(f"{path}: is a folder, wanted a file; check [data] in the recipe and the data folder")
    if kind.endswith(PARQUET):
        with readable(path):
            frame = pl.scan_parquet(path, glob=False)
            frame.collect_schema()
        return frame
    if not kind.endswith(CSV + TSV):
        raise DataError(f"{path}: ends in {path.suffix or 'nothing'!r}, wanted .csv, .tsv or .parquet; convert it")
    separator = "\t" if kind.endswith(TSV) else delimiter
    if len(separator.encode()) > 1 or separator in '"\n\r':
        raise DataError(f"{path}: delimiter = {separator!r} in [data] cannot separate columns, wanted one ASCII mark such as ;")
    _check_header(path, separator)
    with readable(path):
        frame = pl.scan_csv(path, infer_schema=False, glob=False, separator=separator)
        frame.collect_schema()
    return frame


def column_names(frame: pl.LazyFrame) -> list[str]:
    """Names of a table's columns; only its header is read."""
    return frame.collect_schema().names()


@contextmanager
def readable(path: Path | str) -> Iterator[None]:
    """Whatever goes wrong while a file is read becomes one sentence about it."""
    try:
        yield
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, EOFError, zlib.error) as error:
        raise DataError(_unreadable(Path(path), error)) from None


def missing_column(path: Path | str, name: str, what: str, frame: pl.LazyFrame) -> DataError:
    """The error for a column that a table lacks, with where its header may be hiding."""
    seen = f"{path}: no column {name!r} for {what}; columns: {listed(column_names(frame))}"
    if str(path).lower().endswith(CSV + TSV) and Path(path).is_file():
        for number, line in enumerate(_first_lines(Path(path))[1:], 2):
            if name in next(csv.reader([line], delimiter=_likely_delimiter(line)), []):
                return DataError(f"{seen}; the header seems to be line {number}: remove the lines above it")
    return DataError(seen)


def listed(names: Sequence[str]) -> str:
    """Names of columns for an error: on one line, and not all of them if there are many."""
    first = [name if name.isprintable() and len(name) <= SHOWN else shown(name) for name in names[:LISTED]]
    return ", ".join(first) + (f" and {len(names) - LISTED} more" if len(names) > LISTED else "")


def _check_header(path: Path, delimiter: str) -> None:
    """Refuse a first line that is no text, that stands twice for one column, or that another mark separates."""
    with readable(path):
        lines = [line for line in _first_lines(path) if line]
    if not lines:
        return  # polars says that it is empty
    header = lines[0]
    if ("\0" in header or "\ufffd" in header) and (encoding := _wrong_encoding(path)):
        raise DataError(_not_utf8(path, encoding))
    if "\r" in header:
        raise DataError(f"{path}: its lines end in carriage returns alone, wanted line feeds; convert it with `tr '\\r' '\\n'`")
    names = next(csv.reader([header], delimiter=delimiter), [])
    if len(names) == 1:
        _check_delimiter(path, names[0], lines, delimiter)
    twice = next((name for name in names if name and names.count(name) > 1), None)
    if twice is not None:
        raise DataError(
            f"{path}: column {shown(twice)} stands {names.count(twice)} times in the header; rename or remove all but one"
        )


def _check_delimiter(path: Path, only: str, lines: Sequence[str], delimiter: str) -> None:
    """Refuse a table whose first two lines are separated by another mark; a lone first line with one may be a title."""
    likely = _likely_delimiter(lines[0])
    count = lines[0].count(likely)
    if likely == delimiter or not count or (len(lines) > 1 and lines[1].count(likely) < count):
        return
    advice = [f"set delimiter = {_toml(likely)} in [data]"] if likely != "," or delimiter != "\t" else []
    if path.name.lower().endswith(TSV):
        advice.insert(0, "name it .csv instead of .tsv")
    raise DataError(
        f"{path}: its only column is {shown(only)}, wanted columns separated by {DELIMITERS.get(delimiter, repr(delimiter))}; "
        f"they seem to be separated by {DELIMITERS[likely]}: {' and '.join(advice)}"
    )


def _likely_delimiter(line: str) -> str:
    return max(DELIMITERS, key=line.count)


def _toml(mark: str) -> str:
    return '"\\t"' if mark == "\t" else f'"{mark}"'


def _first_lines(path: Path) -> list[str]:
    """The first lines of a text file as far as they can be read."""
    with _opened(path) as file:
        start = file.read(65_536)
    # Not splitlines: it takes characters for line ends that polars does not.
    return [line.removesuffix("\r") for line in start.decode("utf-8-sig", errors="replace").split("\n")[:SNIFFED_LINES]]


def _opened(path: Path) -> BinaryIO:
    return gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb")  # type: ignore[return-value]


def _unreadable(path: Path, error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    first = lines[0] if lines else type(error).__name__
    first = first if len(first) <= 2 * SHOWN else f"{first[: 2 * SHOWN]}..."
    if path.is_dir():
        return f"{path}: cannot be read ({first}), wanted whole files of the format that [data] names; write them again"
    if path.name.lower().endswith(PARQUET):
        return f"{path}: cannot be read ({first}), wanted a whole Parquet file; write the file again"
    encoding = _wrong_encoding(path)
    if encoding:
        return _not_utf8(path, encoding)
    return f"{path}: cannot be read ({first}), wanted UTF-8 text with the same columns in every line; write the file again"


def _not_utf8(path: Path, encoding: str) -> str:
    convert = f"`iconv -f cp1252 -t utf-8 {path.name} > new.csv`"
    return f"{path}: cannot be read ({encoding}), wanted UTF-8 text; convert it, for example with {convert}"


def _wrong_encoding(path: Path) -> str:
    """What is wrong with a file that is not UTF-8, by line; nothing if it is UTF-8 or not there."""
    try:
        with _opened(path) as file:
            if file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
                return "it is UTF-16"
            file.seek(0)
            for number, line in enumerate(file, 1):
                if number == 1 and b"\0" in line:
                    return "its first line holds zero bytes, as UTF-16 does"
                try:
                    line.decode("utf-8")
                except UnicodeDecodeError as error:
                    return f"line {number} holds the byte 0x{line[error.start]:02x}, which is not UTF-8"
    except (OSError, EOFError, zlib.error):
        pass
    return ""
