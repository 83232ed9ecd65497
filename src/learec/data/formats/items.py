"""Item tables of known data sets: a title in every one, and a row for every item of the events."""

from collections.abc import Iterable

import polars as pl

from learec.data.raw import Events
from learec.data.tables import column_names


def covering(items: pl.LazyFrame, events: Iterable[Events]) -> pl.LazyFrame:
    """The item table, followed by the items that only events have, in the order of their ids and with empty text.

    Published item tables leave some items out; without a row for them the whole log would be refused.
    """
    # Readers of a log strip ids: "B1 " and "B1" are one item.
    items = items.with_columns(pl.col("item_id").str.strip_chars())
    seen = pl.concat([table.frame.select(item_id=pl.col("item").str.strip_chars()) for table in events]).drop_nulls().unique()
    missing = seen.join(items.select("item_id"), on="item_id", how="anti").sort("item_id")
    return titled(pl.concat([items, missing], how="diagonal"))


def titled(items: pl.LazyFrame) -> pl.LazyFrame:
    """The item table with a column `title`, and "" wherever text is unknown."""
    if "title" not in column_names(items):
        items = items.with_columns(title=pl.lit(""))
    return items.with_columns(pl.exclude("item_id").fill_null(""))
