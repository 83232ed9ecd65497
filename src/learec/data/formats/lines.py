"""Files with one record a line, as JSON or as Python literals, gzipped or not: a table of the keys that are wanted.

Values are text whatever they were (a list is its JSON), and null where a line lacks the key: lines of one file differ in
their keys, and in the types of one key.
"""

import ast
import glob
import json
import re
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any

import polars as pl
from polars.io.plugins import register_io_source

from learec.data.formats.text_tables import opened
from learec.data.tables import readable
from learec.errors import DataError

BATCH_LINES = 100_000
SAMPLE_LINES = 100


def keys_of(path: Path) -> list[str]:
    """Keys of the first lines, in the order in which they are met."""
    return list(dict.fromkeys(chain.from_iterable(record for _, record in islice(_records(path), SAMPLE_LINES))))


def scan_lines(path: Path, keys: Sequence[str], ignored: re.Pattern[str] | None = None) -> pl.LazyFrame:
    """The wanted keys as columns of text, not read yet. What `ignored` matches in a Python literal is read as None."""
    schema = dict.fromkeys(keys, pl.String)
    if _is_json(path):
        # Five times as fast as json.loads, and gzipped files are unpacked piece by piece.
        return pl.scan_ndjson(glob.escape(str(path)), schema=schema)
    return register_io_source(partial(_batches, path, tuple(keys), ignored), schema=schema, is_pure=True)


def _is_json(path: Path) -> bool:
    """Whether the first record is strict JSON; if not, it is a Python literal."""
    with readable(path), opened(path) as file:
        first = next((line for line in file if line.strip()), b"")
    try:
        json.loads(first)
    except ValueError:
        return False
    return True


def _batches(
    path: Path,
    keys: tuple[str, ...],
    ignored: re.Pattern[str] | None,
    columns: list[str] | None,
    predicate: pl.Expr | None,
    n_rows: int | None,
    _: int | None,
) -> Iterator[pl.DataFrame]:
    """Batches of rows, with what polars wants of them."""
    wanted = keys if columns is None else tuple(columns)
    schema = dict.fromkeys(wanted, pl.String)
    records = islice(_records(path, ignored), n_rows)
    while rows := [tuple(_text(record.get(key)) for key in wanted) for _, record in islice(records, BATCH_LINES)]:
        frame = pl.DataFrame(rows, schema=schema, orient="row")
        yield frame if predicate is None else frame.filter(predicate)


def _records(path: Path, ignored: re.Pattern[str] | None = None) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line number and record, without empty lines."""
    with readable(path), opened(path) as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield number, _record(line, path, number, ignored)


def _record(line: bytes, path: Path, number: int, ignored: re.Pattern[str] | None) -> dict[str, Any]:
    record = _parsed(line, ignored)
    if not isinstance(record, dict):
        seen = line[:40].decode("utf-8", errors="replace").strip()
        raise DataError(f"{path}: line {number} starts {seen!r}, wanted one whole JSON object a line; download the file again")
    return record


def _parsed(line: bytes, ignored: re.Pattern[str] | None) -> Any:
    """The value of a line, None if it has none."""
    try:
        return json.loads(line)
    except ValueError:
        pass
    try:
        text = line.decode("utf-8").strip()
        return ast.literal_eval(text if ignored is None else ignored.sub("None", text))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)
