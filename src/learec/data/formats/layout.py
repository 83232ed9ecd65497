"""Where the files of a known data set lie: a folder with the published names, or files that the recipe names."""

from collections.abc import Sequence
from pathlib import Path

from learec.data.tables import found
from learec.errors import DataError


def file_in(events: Path, names: Sequence[str], layout: str) -> Path:
    """`events` itself if it is a file, else the first of the names that lies in the folder."""
    if not found(events).is_dir():
        return events
    for name in names:
        if (events / name).is_file():
            return events / name
    raise DataError(
        f"{events}: no {either(names)}, wanted a {layout} folder; name the folder that holds {_it(names)} as [data] events"
    )


def only_file(events: Path, candidates: Sequence[Path], what: str) -> Path:
    """The one candidate that lies in the folder `events`; refused if there are none or several."""
    if len(candidates) == 1:
        return candidates[0]
    seen = ", ".join(sorted(path.name for path in candidates)) or f"no {what}"
    raise DataError(f"{events}: holds {seen}, wanted one {what}; name the file itself as [data] events")


def optional_file(items: Path | None, beside: Path, names: Sequence[str]) -> Path | None:
    """The item table that the recipe names, else the first of the names that lies beside a file."""
    if items is not None:
        if found(items).is_dir():
            raise DataError(f"{items}: is a folder, wanted the item table itself; name the file as [data] items")
        return items
    return next((path for name in names if (path := beside.with_name(name)).is_file()), None)


def refuse_items(items: Path | None, layout: str) -> None:
    """For layouts whose items are known from the events alone."""
    if items is not None:
        raise DataError(f"{items}: named as item table, but {layout} has none beside its events; remove items from [data]")


def either(names: Sequence[str]) -> str:
    """a, b or c."""
    return " or ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _it(names: Sequence[str]) -> str:
    return "it" if len(names) == 1 else "them"
