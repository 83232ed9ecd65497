"""Columns of a log, batch by batch: ids as text, times as numbers, ratings; what is wrong is named by column and row."""

from dataclasses import dataclass
from typing import Literal

import polars as pl

from learec.errors import DataError

ISO = r"^\d{4}\D"  # other dates are ambiguous: 01/02/2024 is a day in January or in February

SHOWN = 80  # characters of a value in an error


@dataclass(frozen=True)
class Place:
    """Where a batch comes from, for errors."""

    file: str
    column: str
    rows: pl.Series  # of the batch, counted from 0 in the file

    def __str__(self) -> str:
        """As errors call it."""
        return f"{self.file}: column {self.column!r}"

    def named(self, bad: pl.Series) -> int:
        """The file's row, from 1, of the first true value of a batch."""
        return int(self.rows[int(bad.arg_true()[0])]) + 1


def filled_text(column: pl.Series, place: Place, what: str) -> pl.Series:
    """The column as text, refused if a value is null or empty. Whole numbers stored as floats lose their ".0"."""
    column = plain(column, place)
    if column.dtype.is_float():  # what pandas makes of integers if one is missing
        column = column.fill_nan(None)
        whole = column.cast(pl.Int64, strict=False)
        text = whole.cast(pl.String).zip_with(whole == column, column.cast(pl.String))
    else:
        text = column.cast(pl.String)
    text = text.str.strip_chars()
    bad = text.fill_null("") == ""
    if bad.any():
        raise DataError(f"{place}: {bad.sum()} empty {what}s, first in row {place.named(bad)}; fill or remove those rows")
    return text


def plain(column: pl.Series, place: Place) -> pl.Series:
    """The column, refused if its values are no text, numbers or points in time; categories become text."""
    kind = column.dtype
    if kind.is_nested() or kind in (pl.Binary, pl.Duration, pl.Object):
        raise DataError(f"{place}: holds {kind}, wanted text or numbers; name another column in the recipe")
    return column.cast(pl.String) if kind in (pl.Categorical, pl.Enum) else column


def ratings(column: pl.Series, place: Place) -> pl.Series:
    """Ratings as numbers, refused if one is missing or no number."""
    column = plain(column, place)
    numbers = _numbers(column.cast(pl.UInt8) if column.dtype == pl.Boolean else column)
    bad = ~numbers.is_finite().fill_null(False)
    if bad.any():
        raise DataError(
            f"{place}: {bad.sum()} ratings are no numbers, first {_value(column, bad)} in row {place.named(bad)}; "
            "fill or remove those rows"
        )
    return numbers


class Times:
    """Times of a log: whole numbers as they are, fractions as floats, dates as seconds since 1970.

    How the first batch is written, all must be; only whole numbers may be followed by fractions. With a `form`, such as
    "%d.%m.%Y %H:%M", all are text in it.
    """

    def __init__(self, form: str | None = None) -> None:
        self.form = form
        self.kind: Literal["numbers", "dates"] | None = None if form is None else "dates"

    def read(self, column: pl.Series, place: Place) -> pl.Series:
        """A batch as Int64, or Float64 if some have fractions. Refused if one does not parse."""
        found = self._parsed(column.cast(pl.String) if column.dtype in (pl.Categorical, pl.Enum) else column)
        bad = found.is_null()
        if bad.any():
            raise DataError(
                f"{place}: {bad.sum()} times do not parse, first {_value(column, bad)} in row {place.named(bad)}; "
                f"wanted {self._wanted()}"
            )
        return found

    def _wanted(self) -> str:
        if self.form is not None:
            return f"dates like time_format in [data], {self.form!r}"
        return 'numbers or ISO dates, all written alike, or time_format in [data], such as "%d.%m.%Y %H:%M"'

    def _parsed(self, column: pl.Series) -> pl.Series:
        if not len(column):
            return pl.Series([], dtype=pl.Int64)
        if self.form is not None and column.dtype == pl.String:
            return _in_form(column, self.form)
        whole = _whole_numbers(column)
        if self.kind != "dates" and not whole.null_count():
            self.kind = "numbers"
            return whole
        numbers, dates = _numbers(column), _dates(column)
        if self.kind is None:
            self.kind = "numbers" if numbers.null_count() <= dates.null_count() else "dates"
        seconds = numbers if self.kind == "numbers" else dates
        exact = seconds.cast(pl.Int64, strict=False)
        return exact if (exact == seconds).all() and not seconds.null_count() else seconds


def shown(value: object) -> str:
    """A value as errors quote it: on one line, and only the start of a long one."""
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def _value(column: pl.Series, bad: pl.Series) -> str:
    return shown(column.filter(bad)[:1].to_list()[0])


def _whole_numbers(column: pl.Series) -> pl.Series:
    """Integers exactly as they are (nanoseconds do not fit a float), null where there is none."""
    if column.dtype.is_integer():
        return column.cast(pl.Int64, strict=False)
    if column.dtype == pl.String:
        return column.str.strip_chars().cast(pl.Int64, strict=False)
    return pl.Series([None] * len(column), dtype=pl.Int64)


def _numbers(column: pl.Series) -> pl.Series:
    """Float64, null where there is no finite number."""
    if column.dtype.is_integer():
        found = column.cast(pl.Int64, strict=False).cast(pl.Float64)
    elif column.dtype.is_numeric():
        found = column.cast(pl.Float64)
    elif column.dtype == pl.String:
        found = column.str.strip_chars().cast(pl.Float64, strict=False)
    else:
        found = pl.Series([None] * len(column), dtype=pl.Float64)
    return found.set(~found.is_finite(), None)


def _in_form(column: pl.Series, form: str) -> pl.Series:
    """Seconds since 1970 as Int64, null where the text is not of this form."""
    try:
        moments = column.str.strip_chars().str.to_datetime(form, strict=False, time_unit="us")
    except pl.exceptions.PolarsError:  # a form without a time of day
        moments = column.str.strip_chars().str.to_date(form, strict=False).cast(pl.Datetime("us"))
    if moments.null_count() == len(moments):
        moments = column.str.strip_chars().str.to_date(form, strict=False).cast(pl.Datetime("us"))
    return moments.dt.replace_time_zone(None).dt.epoch("s")


def _dates(column: pl.Series) -> pl.Series:
    """Seconds since 1970 as Float64, null where there is no date."""
    if isinstance(column.dtype, pl.Date | pl.Datetime):
        return column.cast(pl.Datetime("us")).dt.epoch("us") / 1_000_000
    if column.dtype == pl.String:
        text = column.str.strip_chars()
        text = text.set(~text.str.contains(ISO), None)
        return text.str.to_datetime(strict=False, time_unit="us", time_zone="UTC").dt.epoch("us") / 1_000_000
    return pl.Series([None] * len(column), dtype=pl.Float64)
