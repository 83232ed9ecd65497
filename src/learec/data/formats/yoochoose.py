"""YooChoose, the RecSys Challenge of 2015: clicks and buys of anonymous sessions."""

from pathlib import Path

import polars as pl

from learec.data.formats.items import covering
from learec.data.formats.layout import file_in, refuse_items
from learec.data.formats.text_tables import constant_kind, without_header
from learec.data.raw import Events, Raw

CLICKS, BUYS = "yoochoose-clicks.dat", "yoochoose-buys.dat"
NAMES = {"user": "Session ID", "item": "Item ID", "time": "Timestamp", "event": "event"}
MISSING = "0"


def read(events: Path, items: Path | None) -> Raw:
    """Clicks as `view`, then buys as `purchase`; users are sessions. Items have their last known category as only text.

    Source: https://recsys.acm.org/recsys15/challenge. `events` is the folder, which must hold both files, or the clicks alone
    (buys are read where they lie beside it). The item table is derived from both files: some items are bought and never
    clicked. A category is that of the click: 1 to 12, S for a special offer, or a brand's number; 0 is a missing one.
    """
    refuse_items(items, "YooChoose")
    clicks = file_in(events, (CLICKS,), "YooChoose")
    buys = file_in(events, (BUYS,), "YooChoose") if events.is_dir() else clicks.with_name(BUYS)
    click_rows = without_header(clicks, ("user", "time", "item", "category"), ",")
    tables = [_events(clicks, click_rows, "view")]
    files = {"events file": clicks}
    if buys.is_file():
        tables.append(_events(buys, without_header(buys, ("user", "time", "item", "price", "quantity"), ","), "purchase"))
        files["buys file"] = buys
    return Raw(tuple(tables), covering(_categories(click_rows), tables), str(clicks), files)


def _events(path: Path, rows: pl.LazyFrame, kind: str) -> Events:
    time = pl.col("time").str.to_datetime("%Y-%m-%dT%H:%M:%S%.fZ", time_unit="ms", strict=False)
    return Events(str(path), rows.select("user", "item", time, constant_kind(kind)), NAMES)


def _categories(clicks: pl.LazyFrame) -> pl.LazyFrame:
    """item_id, category: that of the last click with one, the greatest of several at one time."""
    # ISO times are in order as text.
    latest = pl.col("category").sort_by("time", "category").last()
    return clicks.filter(pl.col("category") != MISSING).group_by(item_id="item").agg(latest).sort("item_id")
