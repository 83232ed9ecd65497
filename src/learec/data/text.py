"""Item texts: a template over the item table's columns, with empty fields dropped and remains of HTML cleaned."""

import html
import re
import string

import polars as pl

from learec.errors import ConfigError, DataError

# Tags, and what language models take for the start or end of a turn: <|im_start|>, </s>, <<SYS>>, [INST].
_TAG = re.compile(r"<<\s*/?\w{1,20}\s*>>|<[^<>]{0,200}>|\[/?(?:INST|SYS|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS)\]")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\ufeff\s]+")
_SUSPECT = r"[&<\[\x00-\x1f\x7f-\x{9f}\x{200b}-\x{200f}\x{2028}-\x{202e}\x{feff}]|\s\s|^\s|\s$|[^\S ]"  # clean may change it
_ESCAPED_TIMES = 3  # shops export what was escaped already: &amp;amp;
_OPENERS, _CLOSERS = "([{«", ")]}»"


def clean(value: str) -> str:
    """One line of plain text: entities resolved, tags, prompt marks and control characters out, white space single."""
    for _ in range(_ESCAPED_TIMES):
        value, before = html.unescape(value), value
        if value == before:
            break
    return _UNPRINTABLE.sub(" ", _TAG.sub(" ", value)).strip()


def render(template: str, items: pl.DataFrame, where: str) -> pl.Series:
    """The template filled in for every row, (N,) of str.

    A field that is empty takes the words before it along: "{title} by {brand}, in {category}" without a brand gives
    "Drill, in Tools", without a title "Bosch, in Tools". A bracket that closes behind a field goes with it: "{title}
    ({year})" without a year is "Drill".
    """
    fields, tail = _parse(template)
    for _, name, _ in fields:
        if name not in items.columns:
            raise DataError(
                f"{where}: no column {name!r}, which the template {template!r} names; columns: {', '.join(items.columns)}"
            )
        if (kind := _words(items[name]).dtype).is_nested() or kind in (pl.Binary, pl.Duration, pl.Object):
            raise DataError(
                f"{where}: column {name!r} holds {kind}, wanted text or numbers; name another column in the template {template!r}"
            )
    text = pl.lit("")
    for number, (lead, name, closer) in enumerate(fields):
        value = pl.col(name)
        # Words before the very first field belong to the text as such; other leads only join two present fields.
        joined = pl.lit(True) if number == 0 else text != ""
        joint = pl.when(joined).then(pl.lit(lead)).otherwise(pl.lit(""))
        alone = "" if any(mark in lead for mark in _OPENERS) else closer
        end = pl.when(joined).then(pl.lit(closer)).otherwise(pl.lit(alone))
        text = pl.when(value != "").then(pl.concat_str(text, joint, value, end)).otherwise(text)
    text = pl.when(text != "").then(pl.concat_str(text, pl.lit(tail))).otherwise(text)
    names = list(dict.fromkeys(name for _, name, _ in fields))
    cleaned = items.select(_cleaned(_words(items[name]).cast(pl.String).fill_null("")) for name in names)
    return cleaned.select(text.alias("text")).to_series() if names else pl.Series("text", [tail] * len(items))


def _words(values: pl.Series) -> pl.Series:
    """Lists of words (genres, tags) as one text each: "a, b"."""
    if values.dtype == pl.List(pl.String):
        return values.list.eval(pl.element().drop_nulls()).list.join(", ")
    return values


def _cleaned(values: pl.Series) -> pl.Series:
    """Every value cleaned; most need none, and Python sees the others only."""
    suspect = values.str.contains(_SUSPECT)
    if not suspect.any():
        return values
    return values.scatter(suspect.arg_true(), values.filter(suspect).map_elements(clean, return_dtype=pl.String))


def _parse(template: str) -> tuple[list[tuple[str, str, str]], str]:
    """[(words before the field, field, brackets that close behind it)], words after the last one."""
    fields: list[tuple[str, str, str]] = []
    tail = ""
    try:
        for words, name, spec, conversion in string.Formatter().parse(template):
            tail += words
            if fields and not fields[-1][2] and (rest := tail.lstrip(_CLOSERS)) != tail:
                fields[-1] = (*fields[-1][:2], tail[: len(tail) - len(rest)])
                tail = rest
            if name is None:  # the end, or an escaped brace
                continue
            if not name or spec or conversion:
                raise ValueError(f"{{{name}}} must be a plain column name")
            fields.append((tail, name, ""))
            tail = ""
    except ValueError as error:
        raise ConfigError(f"template {template!r}: {error}; write columns as {{title}}") from None
    return fields, tail
