"""prepare: from a raw log and an item table to a log/ artifact, with a table of what each filter left."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from learec.artifacts import Request, building, file_digest, request_for
from learec.config import DataConfig, derived_seed
from learec.data.log import Floats, Ints
from learec.data.sources import found, read_events, read_items
from learec.data.split import by_session, leave_one_out
from learec.data.text import render
from learec.errors import DataError

MAX_KINDS = 256  # a kind of event is stored as one byte


@dataclass(frozen=True)
class Prepared:
    """All that a log/ folder will hold, checked, before anything is written."""

    catalog: pl.DataFrame
    session_ids: pl.DataFrame
    arrays: dict[str, Ints | Floats]
    notes: dict[str, Any]


def log_request(config: DataConfig, seed: int, data_folder: Path) -> Request:
    """What prepare is asked for: the files are named by their content, not by where they lie."""
    parents = {}
    for role, name in (("events file", config.events), ("items file", config.items)):
        parents[role] = file_digest(found(data_folder / name))
    return request_for("log", config, parents, seed=seed)


def prepare(config: DataConfig, seed: int, data_folder: Path, folder: Path) -> dict[str, Any]:
    """Make a log/ folder from the files that the config names. Returns its notes (funnel, counts)."""
    request = log_request(config, seed, data_folder)
    prepared = read(config, seed, data_folder)
    with building(folder, request, prepared.notes) as partial:
        prepared.catalog.write_parquet(partial / "catalog.parquet")
        prepared.session_ids.write_parquet(partial / "sessions.parquet")
        for name, array in prepared.arrays.items():
            np.save(partial / f"{name}.npy", array, allow_pickle=False)
    return prepared.notes


def read(config: DataConfig, seed: int, data_folder: Path) -> Prepared:
    """Read, check, filter, number and split. Raises DataError before anything is written."""
    events_path, items_path = data_folder / config.events, data_folder / config.items
    events = read_events(events_path, config.columns)
    items = read_items(items_path, config.columns.item)
    _check_items_known(events, items, events_path, items_path)
    event_rewards = _event_rewards(events, config, events_path)
    events, funnel = _filtered(events, config, events_path)
    # Items are numbered in the item table's order: the same catalog gets the same numbers whatever the log's order.
    catalog = items.join(events.select(item_id="item").unique(), on="item_id", how="semi", maintain_order="left")
    catalog = catalog.select(
        "item_id",
        render(config.title, catalog, str(items_path)).alias("title"),
        render(config.text, catalog, str(items_path)).alias("text"),
    )
    numbers = catalog.select("item_id").with_row_index("number", offset=1)
    events = events.join(numbers, left_on="item", right_on="item_id", how="left", maintain_order="left")
    sessions = events.group_by("user", maintain_order=True).len()
    offsets = np.concatenate([[0], np.cumsum(sessions["len"].to_numpy())]).astype(np.int64)
    parts = leave_one_out(offsets) if config.split == "leave_one_out" else by_session(offsets, derived_seed("split", seed))
    counts = _steps_by_part(parts, len(sessions), config, events_path)
    names = sorted(event_rewards)
    codes = events["event"].replace_strict(names, list(range(len(names))), return_dtype=pl.UInt8).to_numpy()
    arrays: dict[str, Ints | Floats] = {
        "offsets": offsets,
        "items": events["number"].to_numpy().astype(np.int32),
        "events": codes,
        "rewards": np.array([event_rewards[name] for name in names], dtype=np.float32)[codes],
        "times": events["time"].to_numpy(),
        "parts": parts,
    }
    without_text = int((catalog["text"] == "").sum())
    notes = {
        "funnel": funnel,
        "events": names,
        "sessions": len(sessions),
        "items": len(catalog),
        "steps": len(events),
        "items_without_text": without_text,
        "steps_by_part": counts,
    }
    return Prepared(catalog, sessions.select(session_id="user"), arrays, notes)


def _check_items_known(events: pl.DataFrame, items: pl.DataFrame, events_path: Path, items_path: Path) -> None:
    unknown = events.select("item").unique(maintain_order=True).join(items, left_on="item", right_on="item_id", how="anti")
    if not unknown.is_empty():
        raise DataError(
            f"{events_path}: {len(unknown)} items have no row in {items_path}, first {unknown['item'][0]!r}; "
            "add them to the item table (an id is enough) or remove their events"
        )


def _steps_by_part(parts: Ints, n_sessions: int, config: DataConfig, path: Path) -> list[int]:
    """Steps for training, validation and test; a split that leaves one of them empty is refused."""
    counts: list[int] = np.bincount(parts, minlength=3).tolist()
    if not all(counts):
        needs = "a session of three events" if config.split == "leave_one_out" else "ten sessions"
        raise DataError(
            f"{path}: split {config.split} of {n_sessions} sessions leaves {counts} steps for training, validation and test; "
            f"it needs {needs} at least: give more events or lower min_item_events in [data]"
        )
    return counts


def _event_rewards(events: pl.DataFrame, config: DataConfig, path: Path) -> dict[str, float]:
    """Reward by event kind; without a table in the recipe every event is worth 1."""
    kinds = events["event"].unique().to_list()
    if len(kinds) > MAX_KINDS:
        raise DataError(
            f"{path}: {len(kinds)} kinds of event, wanted {MAX_KINDS} at most; name another column as [data.columns] event"
        )
    if not config.rewards:
        return dict.fromkeys(kinds, 1.0)
    missing = sorted(set(kinds) - set(config.rewards))
    if missing:
        raise DataError(f"{path}: events of kind {missing[0]!r} have no reward; add {missing[0]} to [data.rewards] in the recipe")
    return {kind: config.rewards[kind] for kind in kinds}


def _filtered(events: pl.DataFrame, config: DataConfig, path: Path) -> tuple[pl.DataFrame, list[dict[str, Any]]]:
    """The events that stay, and rows, users and items after each filter."""
    funnel = [_count("read", events)]
    if config.repeats == "drop":
        events = events.unique(["user", "item"], keep="first", maintain_order=True)
        funnel.append(_count("repeats dropped", events))
    before = -1
    while before != len(events):
        before = len(events)
        events = events.filter(pl.len().over("item") >= config.min_item_events)
        events = events.filter(pl.len().over("user") >= config.min_session_events)
    funnel.append(_count(f"core: items >= {config.min_item_events}, sessions >= {config.min_session_events}", events))
    if events.is_empty():
        raise DataError(
            f"{path}: nothing is left of {funnel[0]['events']} events when items need {config.min_item_events} events and "
            f"sessions {config.min_session_events}; lower min_item_events or min_session_events in [data]"
        )
    return events, funnel


def _count(step: str, events: pl.DataFrame) -> dict[str, Any]:
    return {"step": step, "events": len(events), "users": events["user"].n_unique(), "items": events["item"].n_unique()}
