"""The catalog: which rows of the item table stay, their order and numbers, and ids that do not match the log's."""

from pathlib import Path

import polars as pl
import pytest

from learec.config import DataConfig
from learec.data.catalog import catalog_of, item_table, numbers_of
from learec.data.raw import Events, Raw
from learec.errors import DataError

CONFIG = DataConfig(events="log.csv", title="{name}", text="{name} by {maker}")


def raw(items: dict[str, list] | None) -> Raw:
    table = None if items is None else pl.LazyFrame(items)
    return Raw((Events("log.csv", pl.LazyFrame(), {}),), table, "" if items is None else "items.csv", {})


def seen(*ids: str) -> pl.Series:
    return pl.Series(ids, dtype=pl.String)


def test_items_are_numbered_in_the_order_of_the_item_table_and_unseen_ones_left_out():
    items = item_table(
        raw({"item_id": ["d", "c", "z", "a"], "name": ["Dee", None, "Zed", "Ay"], "maker": ["X", "Y", "Z", None]}), seen()
    )
    catalog = catalog_of(items, seen("a", "c", "d"), CONFIG, "items.csv")
    assert catalog.rows() == [("d", "Dee", "Dee by X"), ("c", "", "Y"), ("a", "Ay", "Ay")]
    assert numbers_of(catalog, seen("a", "unknown", "d", "a")).tolist() == [3, 0, 1, 3]
    assert numbers_of(catalog, seen("a")).dtype == "int32"


def test_without_an_item_table_items_are_those_of_the_log_in_the_order_of_their_ids():
    items = item_table(raw(None), seen("i2", "i10", "i1"))
    assert catalog_of(items, seen("i2", "i10"), DataConfig(events="log.csv"), "log.csv").rows() == [
        ("i10", "", ""),
        ("i2", "", ""),
    ]


def test_the_column_that_the_recipe_names_becomes_the_category_cleaned_and_empty_where_missing():
    items = item_table(
        raw({"item_id": ["a", "b", "c"], "name": ["Ay", "Bee", "Cee"], "dept": ["Tools &amp; co", None, " Tea "]}), seen()
    )
    config = DataConfig(events="log.csv", title="{name}", text="{name}", category_column="dept")
    assert catalog_of(items, seen("a", "b", "c"), config, "items.csv")["category"].to_list() == ["Tools & co", "", "Tea"]


def test_a_category_column_that_the_item_table_lacks_is_refused():
    items = item_table(raw({"item_id": ["a"], "name": ["Ay"]}), seen("a"))
    config = DataConfig(events="log.csv", title="{name}", text="{name}", category_column="dept")
    with pytest.raises(
        DataError, match=r"items\.csv: no column 'dept', which category_column in \[data\] names; columns: item_id"
    ):
        catalog_of(items, seen("a"), config, "items.csv")


def test_without_a_category_column_a_recipe_asks_for_the_same_log_as_before_there_was_one():
    assert "category_column" not in CONFIG.model_dump(mode="json")
    assert CONFIG.model_copy(update={"category_column": "dept"}).model_dump(mode="json")["category_column"] == "dept"


def test_numbers_as_ids_are_text():
    assert item_table(raw({"item_id": [1.0, 2.5]}), seen("1", "2.5"))["item_id"].to_list() == ["1", "2.5"]


def test_an_item_that_stands_twice_is_named_with_both_rows():
    items = {"item_id": ["a", "b", "c", "b", " b", "a"]}
    with pytest.raises(DataError, match=r"items\.csv: item id 'a' stands in row 1 and row 6; keep one row per item"):
        item_table(raw(items), seen())
    with pytest.raises(DataError, match="item id '1' stands in row 1 and row 2"):
        item_table(raw({"item_id": ["1", " 1"]}), seen())


def test_an_item_without_an_id_is_named_by_the_tables_own_column_and_row():
    with pytest.raises(DataError, match=r"items\.csv: column 'sku': 1 empty ids, first in row 2; fill or remove those rows"):
        item_table(raw({"item_id": ["a", None], "name": ["Ay", "Bee"]}), seen(), "sku")


def test_blank_lines_of_an_item_table_are_left_out_and_counted_only_to_name_rows(tmp_path):
    path = tmp_path / "items.csv"
    path.write_text("item_id,name\na,Ay\n\nb,Bee\n\n\na,Again\n")
    table = pl.scan_csv(path, infer_schema=False)
    items = Raw((Events("log.csv", pl.LazyFrame(), {}),), table.head(4), "items.csv", {})
    assert item_table(items, seen("a", "b"))["name"].to_list() == ["Ay", "Bee"]
    with pytest.raises(DataError, match="item id 'a' stands in row 1 and row 6"):
        item_table(Raw(items.events, table, "items.csv", {}), seen())


@pytest.mark.parametrize("column", [[[1]], [b"a"], [{"a": 1}]], ids=str)
def test_ids_that_are_no_text_are_refused(column):
    with pytest.raises(DataError, match=r"items\.csv: column 'item_id': holds .*, wanted text or numbers; name another column"):
        item_table(raw({"item_id": column}), seen())


@pytest.mark.parametrize("column", [[[1]], [b"a"], [{"a": 1}]], ids=str)
def test_a_column_without_text_is_refused_only_if_a_template_names_it(column):
    items = item_table(raw({"item_id": ["a"], "name": ["Ay"], "maker": column}), seen("a"))
    assert catalog_of(items, seen("a"), CONFIG.model_copy(update={"text": "{name}"}), "items.csv").rows() == [("a", "Ay", "Ay")]
    with pytest.raises(DataError, match=r"items\.csv: column 'maker' holds .*, wanted text or numbers"):
        catalog_of(items, seen("a"), CONFIG, "items.csv")


def test_items_without_a_row_are_counted_and_the_first_is_named():
    with pytest.raises(DataError, match=r"log\.csv: 2 items have no row in items\.csv, first 'x'; add them to the item table"):
        item_table(raw({"item_id": ["a"]}), seen("a", "x", "y"))


@pytest.mark.parametrize(
    ("ours", "theirs"), [("1.0", "1"), ("1", "1.0"), ("7", "007"), ("007", "7")], ids=lambda pair: pair.replace(".", " dot ")
)
def test_ids_that_are_written_otherwise_in_the_item_table_are_recognised(ours, theirs):
    sentence = rf"log\.csv: 1 items have no row in items\.csv, first '{ours}'; the item table calls it '{theirs}': write the ids"
    with pytest.raises(DataError, match=sentence):
        item_table(raw({"item_id": ["a", theirs]}), seen("a", ours))


def test_a_damaged_item_table_is_one_sentence(tmp_path):
    path = Path(tmp_path) / "items.csv"
    path.write_bytes(b"item_id,name\na,\xe9\n")
    broken = Raw((Events("log.csv", pl.LazyFrame(), {}),), pl.scan_csv(path, infer_schema=False), str(path), {})
    with pytest.raises(DataError, match=r"items\.csv: cannot be read \(line 2 holds the byte 0xe9, which is not UTF-8\)"):
        item_table(broken, seen())
