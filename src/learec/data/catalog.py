"""From an item table to a catalog: which items stay, their numbers, their titles and texts."""

import polars as pl

from learec.config import DataConfig
from learec.data.columns import Place, filled_text, shown
from learec.data.log import Ints
from learec.data.raw import Raw
from learec.data.tables import readable
from learec.data.text import render
from learec.errors import DataError


def item_table(raw: Raw, seen: pl.Series, column: str = "item_id") -> pl.DataFrame:
    """The item table with text ids, or one of the seen ids alone; refused if an id stands twice or a seen one is missing.

    `column` is what the table itself calls its ids, for errors.
    """
    if raw.items is None:
        return pl.DataFrame({"item_id": seen.sort(), "title": pl.repeat("", len(seen), dtype=pl.String, eager=True)})
    with readable(raw.items_name):
        items = raw.items.collect()
    rows = pl.int_range(len(items), eager=True)
    blank = items.select(pl.all_horizontal(pl.all().is_null())).to_series()
    if blank.any():  # empty lines of a CSV file
        items, rows = items.filter(~blank), rows.filter(~blank)
    place = Place(raw.items_name, column, rows)
    ids = filled_text(items["item_id"], place, "id")
    twice = ids.is_duplicated().arg_true()
    if len(twice):
        both = " and ".join(f"row {row + 1}" for row in rows.filter(ids == ids[twice[0]])[:2])
        raise DataError(f"{raw.items_name}: item id {shown(ids[twice[0]])} stands in {both}; keep one row per item")
    _check_known(seen, ids, raw)
    return items.with_columns(ids.alias("item_id"))


def _check_known(seen: pl.Series, ids: pl.Series, raw: Raw) -> None:
    unknown = seen.filter(~seen.is_in(ids.implode()))
    if not len(unknown):
        return
    wanted, there = _bare(unknown), _bare(ids)
    hint = "add them to the item table (an id is enough) or remove their events"
    if wanted.is_in(there.implode()).all():
        hint = f"the item table calls it {shown(ids.filter(there == wanted[0])[0])}: write the ids of both files alike"
    raise DataError(
        f"{raw.events[0].name}: {len(unknown)} items have no row in {raw.items_name}, first {shown(unknown[0])}; {hint}"
    )


def _bare(ids: pl.Series) -> pl.Series:
    """Ids without what programs add to numbers or take from them: 7.0 and 007 are 7."""
    return ids.str.strip_suffix(".0").str.strip_chars_start("0")


def catalog_of(items: pl.DataFrame, kept: pl.Series, config: DataConfig, name: str) -> pl.DataFrame:
    """Catalog rows of the kept ids: item_id, title, text, and category if the recipe names its column; in the item table's order.

    The same catalog gets the same numbers whatever the log's order.
    """
    rows = items.filter(pl.col("item_id").is_in(kept.implode()))
    texts = {"title": config.title, "text": config.text}
    if config.category_column is not None:
        texts["category"] = _template_of(config.category_column, rows, name)
    return rows.select("item_id", *(render(template, rows, name).alias(column) for column, template in texts.items()))


def _template_of(column: str, items: pl.DataFrame, name: str) -> str:
    """The template that is this column alone."""
    if column not in items.columns:
        raise DataError(
            f"{name}: no column {column!r}, which category_column in [data] names; columns: {', '.join(items.columns)}"
        )
    return f"{{{column}}}"


def numbers_of(catalog: pl.DataFrame, item_ids: pl.Series) -> Ints:
    """Item number (from 1) of every id, 0 for one that the catalog lacks; int32."""
    numbers = catalog.select("item_id").with_row_index("number", offset=1)
    joined = item_ids.to_frame("item_id").join(numbers, on="item_id", how="left", maintain_order="left")
    return joined["number"].fill_null(0).cast(pl.Int32).to_numpy()
