"""Amazon reviews as the McAuley lab publishes them: 2014, 2018 and 2023, with one review or product a line."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from learec.data.formats.items import covering
from learec.data.formats.layout import only_file, optional_file
from learec.data.formats.lines import keys_of, scan_lines
from learec.data.raw import Events, Raw
from learec.data.tables import found
from learec.data.text import clean
from learec.errors import DataError

ENDINGS = (".jsonl", ".jsonl.gz", ".json", ".json.gz")
META = "meta_"
VERSIONS = (
    {"user": "reviewerID", "item": "asin", "rating": "overall", "time": "unixReviewTime"},  # 2014 and 2018
    {"user": "user_id", "item": "parent_asin", "rating": "rating", "time": "timestamp"},  # 2023
)
# What is known of a product, by the names of 2014, 2018 and 2023: the first that a line has.
PRODUCT = {
    "item_id": ("parent_asin", "asin"),
    "title": ("title",),
    "brand": ("brand", "store"),
    "category": ("category", "categories", "main_category", "main_cat"),
    "description": ("description",),
}
# Up to 200 ids that nobody asks for; in 2014 they take most of the time to parse.
RELATED = re.compile(r"(?<='related': )\{(?:'\w+': \[[^\[\]{}]*\](?:, )?)*\}")
SCRIPT = "getTime"  # in 2018 the title of some products is a script of their page


def read(events: Path, items: Path | None) -> Raw:
    """Reviews with ratings and times (seconds; 2023: milliseconds); items with title, brand, category and description.

    Source: https://cseweb.ucsd.edu/~jmcauley/datasets.html and https://amazon-reviews-2023.github.io. `events` is a review file
    (.json or .jsonl, also gzipped) or a folder with one of them; the products lie beside it under the published name
    (Books_5.json.gz, meta_Books.json.gz). Of a product that is listed twice the first line counts; reviewed products without a
    line are in the item table, with empty text.
    """
    path = events if not found(events).is_dir() else only_file(events, _reviews_in(events), "file of reviews")
    names = _version(path)
    frame = scan_lines(path, list(names.values())).select(pl.col(key).alias(role) for role, key in names.items())
    table = Events(str(path), frame, names)
    meta = optional_file(items, path, _meta_names(path))
    if meta is None:
        return Raw((table,), None, "", {"events file": path})
    return Raw((table,), covering(_products(meta), [table]), str(meta), {"events file": path, "items file": meta})


def _reviews_in(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.name.lower().endswith(ENDINGS) and not path.name.startswith(META)]


def _meta_names(reviews: Path) -> list[str]:
    """reviews_Books_5.json.gz -> meta_Books.json.gz, or with another ending."""
    ending = max((ending for ending in ENDINGS if reviews.name.lower().endswith(ending)), key=len, default="")
    category = reviews.name[: len(reviews.name) - len(ending)].removeprefix("reviews_").removesuffix("_5")
    return [f"{META}{category}{ending}" for ending in dict.fromkeys((ending, *ENDINGS))]


def _version(path: Path) -> dict[str, str]:
    """The names of the keys, by the first lines."""
    seen = keys_of(path)
    for names in VERSIONS:
        if names["user"] in seen and names["item"] in seen:
            return names
    wanted = " or ".join(f"{names['user']} and {names['item']}" for names in VERSIONS)
    raise DataError(
        f"{path}: its lines have {', '.join(seen) or 'no keys'}, wanted {wanted}; name a file of reviews as [data] events"
    )


def _products(path: Path) -> pl.LazyFrame:
    """item_id, title, brand, category, description."""
    if not {"asin", "parent_asin"} & set(seen := keys_of(path)):
        keys = ", ".join(seen) or "no keys"
        raise DataError(f"{path}: its lines have {keys}, wanted asin or parent_asin; name the file of products as [data] items")
    rows = scan_lines(path, [key for keys in PRODUCT.values() for key in keys], ignored=RELATED)
    columns = {name: [pl.col(key) for key in keys] for name, keys in PRODUCT.items()}
    columns["category"] = [key.map_elements(_categories, return_dtype=pl.String) for key in columns["category"]]
    columns["description"] = [key.map_elements(_sentences, return_dtype=pl.String) for key in columns["description"]]
    products = rows.select(pl.coalesce(key.replace("", None) for key in keys).alias(name) for name, keys in columns.items())
    title = pl.when(~pl.col("title").str.contains(SCRIPT, literal=True)).then("title")
    return products.drop_nulls("item_id").unique("item_id", keep="first", maintain_order=True).with_columns(title=title)


def _categories(text: str) -> str:
    """[["Tools", "Drills"], ["Tools", "Gifts"]] -> Tools, Drills, Gifts."""
    return ", ".join(dict.fromkeys(_leaves(text)))


def _sentences(text: str) -> str:
    return " ".join(_leaves(text))


def _leaves(text: str) -> Iterator[str]:
    """Texts of a JSON list of any depth, or the text itself; without those that are remains of HTML."""
    try:
        value = json.loads(text) if text.startswith("[") else text
    except ValueError:
        value = text
    return (leaf.strip() for leaf in _flat(value) if clean(leaf))


def _flat(value: Any) -> Iterator[str]:
    if isinstance(value, list):
        for part in value:
            yield from _flat(part)
    elif value is not None:
        yield str(value)
