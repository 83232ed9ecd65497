"""Item texts: a template over the item table's columns, with empty fields dropped and remains of HTML cleaned."""

import html
import re
import string

import polars as pl

from learec.errors import ConfigError, DataError

_TAG = re.compile(r"<[^<>]{0,200}>")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\ufeff\s]+")


def clean(value: str) -> str:
    """One line of plain text: entities resolved, tags and control characters out, runs of white space single."""
    return _UNPRINTABLE.sub(" ", _TAG.sub(" ", html.unescape(value))).strip()


def render(template: str, items: pl.DataFrame, where: str) -> pl.Series:
    """The template filled in for every row, (N,) of str.

    A field that is empty takes the words before it along: "{title} by {brand}, in {category}" without a brand gives
    "Drill, in Tools", without a title "Bosch, in Tools".
    """
    fields, tail = _parse(template)
    for _, name in fields:
        if name not in items.columns:
            raise DataError(
                f"{where}: no column {name!r}, which the template {template!r} names; columns: {', '.join(items.columns)}"
            )
        if (kind := items[name].dtype).is_nested() or kind == pl.Binary:
            raise DataError(
                f"{where}: column {name!r} holds {kind}, wanted text or numbers; name another column in the template {template!r}"
            )
    text = pl.lit("")
    for number, (lead, name) in enumerate(fields):
        value = pl.col(name)
        # Words before the very first field belong to the text as such; other leads only join two present fields.
        joint = pl.lit(lead) if number == 0 else pl.when(text != "").then(pl.lit(lead)).otherwise(pl.lit(""))
        text = pl.when(value != "").then(pl.concat_str(text, joint, value)).otherwise(text)
    text = pl.when(text != "").then(pl.concat_str(text, pl.lit(tail))).otherwise(text)
    names = list(dict.fromkeys(name for _, name in fields))
    cleaned = items.select(
        pl.col(name).cast(pl.String).fill_null("").map_elements(clean, return_dtype=pl.String) for name in names
    )
    return cleaned.select(text.alias("text")).to_series() if names else pl.Series("text", [tail] * len(items))


def _parse(template: str) -> tuple[list[tuple[str, str]], str]:
    """[(words before the field, field)], words after the last one."""
    fields: list[tuple[str, str]] = []
    tail = ""
    try:
        for words, name, spec, conversion in string.Formatter().parse(template):
            tail += words
            if name is None:  # the end, or an escaped brace
                continue
            if not name or spec or conversion:
                raise ValueError(f"{{{name}}} must be a plain column name")
            fields.append((tail, name))
            tail = ""
    except ValueError as error:
        raise ConfigError(f"template {template!r}: {error}; write columns as {{title}}") from None
    return fields, tail
