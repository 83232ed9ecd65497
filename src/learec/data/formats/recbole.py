"""RecBole's atomic files: NAME.inter and NAME.item, separated by tabs, with a header of `name:type` fields."""

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from learec.data.formats.items import covering, titled
from learec.data.formats.layout import only_file, optional_file
from learec.data.formats.text_tables import first_row, without_header
from learec.data.raw import Events, Raw
from learec.data.tables import found, listed
from learec.errors import DataError

ROLES = {
    "user": ("user_id", "session_id"),
    "item": ("item_id",),
    "session": ("session_id",),
    "time": ("timestamp",),
    "rating": ("rating",),
    "event": ("event", "event_type", "behavior", "behaviour", "behavior_type", "behaviour_type", "action", "action_type"),
}
TITLES = ("title", "movie_title", "book_title", "product_title", "item_name", "movie_name", "app_name", "track_name", "name")
MISSING = "nan"  # what RecBole's conversion tools write for a missing value


def read(events: Path, items: Path | None) -> Raw:
    """Interactions; items with all their columns under their bare names, and a title.

    Source: https://recbole.io/docs/user_guide/data/atomic_files.html. `events` is the .inter file or a folder with one of them;
    the .item file of the same name lies beside it. A log of sessions without users has its sessions as users.
    Differs: types in the header are not used (all columns are text), quotes are text, as RecBole's own tools write them.
    """
    path = events if not found(events).is_dir() else only_file(events, list(events.glob("*.inter")), ".inter file")
    header = _header(path)
    names = _roles(path, header)
    frame = _scan(path, header).select(pl.col(name).alias(role) for role, name in names.items())
    table = Events(str(path), frame, names)
    item_file = optional_file(items, path, (path.with_suffix(".item").name,))
    if item_file is None:
        return Raw((table,), None, "", {"events file": path})
    return Raw((table,), covering(_items(item_file), [table]), str(item_file), {"events file": path, "items file": item_file})


def _header(path: Path) -> list[str]:
    """Bare names of the columns."""
    return [field.split(":")[0].strip() for field in first_row(path, "\t", quoted=False)]


def _scan(path: Path, header: Sequence[str]) -> pl.LazyFrame:
    return without_header(path, header, "\t", skip=1, missing=MISSING)


def _roles(path: Path, header: Sequence[str]) -> dict[str, str]:
    """{user: user_id, ...} for what the file has."""
    names = {role: name for role, known in ROLES.items() if (name := next((name for name in known if name in header), None))}
    if "user" not in names or "item" not in names:
        raise DataError(
            f"{path}: columns {listed(header) or 'none'}, wanted item_id and user_id or session_id, separated by tabs; "
            "rename them in the header"
        )
    if names.get("session") == names["user"]:
        del names["session"]
    return names


def _items(path: Path) -> pl.LazyFrame:
    header = _header(path)
    if "item_id" not in header:
        raise DataError(f"{path}: columns {listed(header) or 'none'}, wanted item_id, separated by tabs; rename it in the header")
    frame = _scan(path, header)
    title = next((name for name in TITLES if name in header), None)
    return titled(frame if title is None else frame.with_columns(title=title))
