"""Retailrocket's shop log as published on Kaggle: events.csv, item properties in two parts, category_tree.csv."""

from pathlib import Path

import polars as pl

from learec.data.formats.items import covering
from learec.data.formats.layout import file_in
from learec.data.formats.text_tables import with_header
from learec.data.raw import Events, Raw
from learec.data.tables import found

NAMES = {"user": "visitorid", "item": "itemid", "event": "event", "time": "timestamp"}
PROPERTIES = ("item_properties_part1.csv", "item_properties_part2.csv")
TREE = "category_tree.csv"


def read(events: Path, items: Path | None) -> Raw:
    """Views, addtocarts and transactions in milliseconds; items with their latest category and its parent, all of them numbers.

    Source: https://www.kaggle.com/datasets/retailrocket/ecommerce-dataset. `events` is the folder or events.csv, `items` a
    folder with the properties or one file of them. Other properties than categoryid are hashed and left out, `available` too.
    Items without properties are in the item table, with empty text.
    """
    path = file_in(events, ("events.csv",), "Retailrocket")
    table = Events(str(path), with_header(path, NAMES), NAMES)
    parts = _properties(path, items)
    if not parts:
        return Raw((table,), None, "", {"events file": path})
    files = {"events file": path, **{f"items file {part.name}": part for part in parts}}
    catalog = covering(_categories(parts), [table])
    if (tree := parts[0].with_name(TREE)).is_file():
        files["categories file"] = tree
        catalog = catalog.join(_parents(tree), on="category", how="left", maintain_order="left")
        catalog = catalog.with_columns(pl.col("parent_category").fill_null(""))
    return Raw((table,), catalog, str(parts[0]), files)


def _properties(events: Path, items: Path | None) -> list[Path]:
    if items is not None and not found(items).is_dir():
        return [items]
    folder = items or events.parent
    return [folder / name for name in PROPERTIES if (folder / name).is_file()]


def _categories(parts: list[Path]) -> pl.LazyFrame:
    """item_id, category: the last one that was recorded, the greatest of several at one time."""
    names = {"item_id": "itemid", "time": "timestamp", "property": "property", "category": "value"}
    rows = pl.concat([with_header(part, names) for part in parts]).filter(pl.col("property") == "categoryid")
    latest = pl.col("category").sort_by(pl.col("time").cast(pl.Int64), "category").last()
    return rows.group_by("item_id").agg(latest).sort("item_id")


def _parents(path: Path) -> pl.LazyFrame:
    tree = with_header(path, {"category": "categoryid", "parent_category": "parentid"})
    return tree.unique("category", keep="first", maintain_order=True)
