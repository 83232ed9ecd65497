"""prepare --append: new events, users and items join a log without renumbering what it holds, so agents stay valid."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from learec.artifacts import read_manifest
from learec.config import DataConfig, derived_seed
from learec.data.catalog import catalog_of, item_table
from learec.data.caveats import caveats_of
from learec.data.clock import Clock
from learec.data.events import Encoded, EventArrays, counts_of, encode, put_in_order
from learec.data.filters import Funnel, newest, offsets_of, repeats_in
from learec.data.log import MAKE_WITH, Bools, Ints, load_log, load_times
from learec.data.prepare import (
    Prepared,
    check_unchanged,
    columns,
    event_rewards,
    notes_of,
    numbered,
    rank_of,
    stamps,
    write,
)  # fmt: skip
from learec.data.raw import Raw
from learec.data.sources import open_source, source_digests
from learec.data.split import by_session, global_time, split_steps, steps_by_part
from learec.errors import DataError


@dataclass(frozen=True)
class Held:
    """The log as it is before events are appended."""

    catalog: pl.DataFrame
    sessions: pl.DataFrame
    arrays: EventArrays  # visits are session numbers, items are item numbers
    parts: Ints  # (E,)
    notes: dict[str, Any]
    digest: str

    @property
    def n_sessions(self) -> int:
        """S."""
        return len(self.sessions)


def append(config: DataConfig, seed: int, events: Path, items: Path | None, folder: Path) -> dict[str, Any]:
    """Extend the log in `folder` by a file in the format of its own. Returns the new notes.

    Items and sessions keep their numbers, new ones follow. Filters judge what is new by the new file alone; parts are
    those of the split over all steps (by_session: old sessions keep theirs). The old log is untouched until the new one
    is whole.
    """
    held = _held(folder)
    source = replace_events(config, events, items)
    raw = open_source(source, Path())
    before, digest = stamps(raw), source_digests(raw, Path())
    appended = [*held.notes.get("appended", []), {"file": events.name, "sha256": sorted(digest.values())}]
    if appended[-1]["sha256"] in [earlier["sha256"] for earlier in appended[:-1]]:
        raise DataError(f"{events}: was appended to {folder} already; name a file with new events")
    prepared = _extended(held, encode(raw, source), raw, config, seed)
    check_unchanged(before, raw)
    prepared.notes.update(appended=appended, ancestors=[*held.notes.get("ancestors", []), held.digest])
    write(prepared, read_manifest(folder, "log", MAKE_WITH).request, folder)
    return prepared.notes


def replace_events(config: DataConfig, events: Path, items: Path | None) -> DataConfig:
    """The config with other files."""
    return config.model_copy(update={"events": str(events), "items": None if items is None else str(items)})


def _held(folder: Path) -> Held:
    log = load_log(folder)
    sessions = log.sessions
    arrays = EventArrays(
        sessions.session_of.astype(np.int32), np.array(sessions.items), np.array(sessions.events), load_times(folder),
        np.array(log.parts),
    )  # fmt: skip
    notes = read_manifest(folder, "log", MAKE_WITH).notes
    return Held(log.catalog.table, pl.read_ipc(folder / "sessions.arrow"), arrays, np.array(log.parts), notes, log.digest)


def _extended(held: Held, encoded: Encoded, raw: Raw, config: DataConfig, seed: int) -> Prepared:
    name, clock = raw.events[0].name, Clock(held.notes["time_unit"])
    new, funnel = encoded.arrays, Funnel()
    funnel.count("log before", held.arrays)
    funnel.count("new events read", new)
    rewards = event_rewards(encoded, config, name)
    put_in_order(new, rank_of(encoded.visit_ids), None)
    names = encoded.visit_ids.sort()
    catalog, new_numbers = _numbered(held, encoded, raw, config)
    target, table = _targets(held, new, names, encoded, config, clock)
    new.items, new.visits = new_numbers[new.items], target
    kept = _not_repeated(held, new, table, config) & _core(held, new, config)
    new.take(kept)
    funnel.count("new events kept", new)
    catalog, new.items = _without_unused(held, catalog, new.items)
    table, new.visits = _without_empty(held, table, new.visits)
    kinds = sorted({*held.notes["events"], *rewards})
    both = _joined(held, new, np.array([kinds.index(kind) if kind in kinds else 0 for kind in encoded.kinds]), kinds)
    item_rank = np.arange(len(catalog) + 1, dtype=np.int32) if config.ties == "item_id" else None
    ties = put_in_order(both, np.arange(len(table), dtype=np.int32), item_rank)
    if config.max_session_events is not None:
        both.take(newest(both.visits, config.max_session_events))
    offsets = offsets_of(both.visits)
    parts, cuts = _parts(held, both, offsets, config, clock, seed)
    funnel.count("log after", both)
    worth = {kind: config.rewards.get(kind, 1.0) for kind in kinds}
    notes = notes_of(both, catalog, table, worth, funnel)
    notes |= {"steps_by_part": steps_by_part(parts, len(table), config, name), "cuts": cuts}
    notes |= {"split": held.notes["split"], "time_unit": clock.unit}
    notes["caveats"] = caveats_of(both, offsets, parts, table, notes, ties if config.ties == "file_order" else 0)
    return Prepared(catalog, table, {"offsets": offsets, **columns(both, worth, parts)}, notes)


def _numbered(held: Held, encoded: Encoded, raw: Raw, config: DataConfig) -> tuple[pl.DataFrame, Ints]:
    """The catalog with new items after the old ones, and the item number of every id of the new file."""
    known = encoded.item_ids.is_in(held.catalog["item_id"].implode())
    fresh = encoded.item_ids.filter(~known)
    rows = catalog_of(item_table(raw, fresh), fresh, config, raw.items_name or raw.events[0].name)
    catalog = pl.concat([held.catalog, rows])
    numbers = catalog.select("item_id").with_row_index("number", offset=1)
    found = encoded.item_ids.to_frame("item_id").join(numbers, on="item_id", how="left", maintain_order="left")["number"]
    return catalog, found.cast(pl.Int32).to_numpy()


def _targets(
    held: Held, new: EventArrays, names: pl.Series, encoded: Encoded, config: DataConfig, clock: Clock
) -> tuple[Ints, pl.DataFrame]:
    """Session of every new event: the last one of its visit, or a new one; and the table with new sessions at its end."""
    visits = names.gather(new.visits)
    last = held.sessions.with_row_index("session").group_by("visit").agg(pl.col("session").max(), pl.len().alias("n"))
    joined = visits.to_frame("visit").join(last, on="visit", how="left", maintain_order="left")
    old = joined["session"].fill_null(-1).cast(pl.Int64).to_numpy()
    starts = np.ones(len(new), dtype=bool)
    starts[1:] = new.visits[1:] != new.visits[:-1]
    attached = (old >= 0) & starts
    if config.session_gap is not None and clock.seconds_per_unit is not None:
        allowed = config.session_gap / clock.seconds_per_unit
        end = _last_times(held)[np.maximum(old, 0)]
        attached &= new.times - end <= allowed
        starts[1:] |= np.diff(new.times) > allowed
    opened = starts & ~attached
    session = np.where(opened, held.n_sessions + opened.cumsum() - 1, old)[np.flatnonzero(starts)][starts.cumsum() - 1]
    rows = joined.select("visit", n=pl.col("n").fill_null(0)).filter(pl.Series(opened))
    place = rows.select(pl.int_range(pl.len()).over("visit") + 1 + pl.col("n")).to_series()
    users = rows["visit"]
    if encoded.users is not None:
        users = encoded.users.gather(encoded.visit_ids.arg_sort()).gather(new.visits[opened])
    fresh = pl.DataFrame({"session_id": numbered(rows["visit"], place), "visit": rows["visit"], "user": users})
    return session.astype(np.int32), pl.concat([held.sessions, fresh])


def _last_times(held: Held) -> npt.NDArray[Any]:
    """Time of every session's last event, (S,)."""
    return held.arrays.times[offsets_of(held.arrays.visits)[1:] - 1]


def _not_repeated(held: Held, new: EventArrays, table: pl.DataFrame, config: DataConfig) -> Bools:
    """New events that the recipe's setting for repeats keeps, given what their visit held before."""
    if config.repeats == "keep":
        return np.ones(len(new), dtype=bool)
    old = held.arrays
    visit_of_session = table["visit"].rank("dense").to_numpy().astype(np.int32)
    visits = visit_of_session[np.concatenate([old.visits, new.visits])]
    items, times = np.concatenate([old.items, new.items]), np.concatenate([old.times, new.times])
    is_new = np.arange(len(items)) >= len(old)
    order = np.lexsort((is_new, times, visits))
    again = np.empty(len(items), dtype=bool)
    again[order] = repeats_in(visits[order], items[order], config.repeats)
    return ~again[is_new]


def _core(held: Held, new: EventArrays, config: DataConfig) -> Bools:
    """New events whose item and session are old, or have enough events in the new file."""
    kept = np.ones(len(new), dtype=bool)
    before = -1
    while before != (now := int(kept.sum())):
        before = now
        items = counts_of(new.items[kept], int(new.items.max(initial=0)) + 1) >= config.min_item_events
        kept &= items[new.items] | (new.items <= len(held.catalog))
        sessions = counts_of(new.visits[kept], int(new.visits.max(initial=0)) + 1) >= config.min_session_events
        kept &= sessions[new.visits] | (new.visits < held.n_sessions)
    return kept


def _without_unused(held: Held, catalog: pl.DataFrame, items: Ints) -> tuple[pl.DataFrame, Ints]:
    """The catalog without new items that lost their events, and the events' items renumbered to it."""
    used = np.arange(len(catalog) + 1) <= len(held.catalog)
    used[items] = True
    return catalog.filter(pl.Series(used[1:])), (used.cumsum() - 1)[items].astype(np.int32)


def _without_empty(held: Held, table: pl.DataFrame, sessions: Ints) -> tuple[pl.DataFrame, Ints]:
    """The session table without new sessions that lost their events, and the events' sessions renumbered to it."""
    used = np.arange(len(table)) < held.n_sessions
    used[sessions] = True
    return table.filter(pl.Series(used)), (used.cumsum() - 1)[sessions].astype(np.int32)


def _joined(held: Held, new: EventArrays, new_kinds: Ints, kinds: list[str]) -> EventArrays:
    old = held.arrays
    old_kinds = np.array([kinds.index(kind) for kind in held.notes["events"]], dtype=np.uint8)
    parts = None if new.parts is None or old.parts is None else np.concatenate([old.parts, new.parts])
    return EventArrays(
        np.concatenate([old.visits, new.visits]),
        np.concatenate([old.items, new.items]),
        np.concatenate([old_kinds[old.kinds], new_kinds.astype(np.uint8)[new.kinds]]),
        np.concatenate([old.times, new.times]),
        parts,
    )


def _parts(held: Held, both: EventArrays, offsets: Ints, config: DataConfig, clock: Clock, seed: int) -> tuple[Ints, list[float]]:
    """The split over all steps. Where it is drawn by session, old sessions keep their part and new ones draw theirs."""
    chosen = replace_split(config, held.notes["split"])
    if chosen.split == "global_time":
        return global_time(both.times, config.held_out, held.notes["cuts"])
    if chosen.split != "by_session":
        return split_steps(both, offsets, chosen, clock, seed, str(held.notes["split"]))
    part_of_session = held.parts[offsets_of(held.arrays.visits)[:-1]]
    kept = np.repeat(part_of_session, np.diff(offsets[: held.n_sessions + 1]))
    fresh = offsets[held.n_sessions :] - offsets[held.n_sessions]
    return np.concatenate([kept, by_session(fresh, derived_seed("split", seed, held.digest), config.held_out)]), []


def replace_split(config: DataConfig, split: str) -> DataConfig:
    """The config with the split that the log was made with, chosen or by default."""
    return config.model_copy(update={"split": split})
