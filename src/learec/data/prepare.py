"""prepare: from a raw log and an item table to a log/ artifact, with a table of what each filter left."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from learec.artifacts import MANIFEST, Request, building, partial_folder, request_for
from learec.config import DataConfig, suggest
from learec.data.catalog import catalog_of, item_table, numbers_of
from learec.data.caveats import caveats_of
from learec.data.clock import Clock, clock_of
from learec.data.columns import shown
from learec.data.events import Encoded, EventArrays, counts_of, encode, put_in_order
from learec.data.filters import Funnel, filtered, offsets_of
from learec.data.log import Ints, Part
from learec.data.raw import Raw
from learec.data.sources import Frames, open_source, source_digests
from learec.data.split import chosen_split, split_steps, steps_by_part
from learec.errors import ArtifactError, DataError


@dataclass(frozen=True)
class Prepared:
    """All that a log/ folder will hold, checked, before anything is written."""

    catalog: pl.DataFrame  # item_id, title, text, maybe category
    sessions: pl.DataFrame  # session_id, visit (as the log calls what belongs together), user
    arrays: dict[str, npt.NDArray[Any]]
    notes: dict[str, Any]


def log_request(config: DataConfig, seed: int, source: Path | Frames) -> Request:
    """What prepare is asked for: files are named by their content, not by where they lie."""
    return request_for("log", config, source_digests(open_source(config, source), source), seed=seed)


def prepare(config: DataConfig, seed: int, source: Path | Frames, folder: Path) -> dict[str, Any]:
    """Make a log/ folder from files in a data folder, or from frames. Returns its notes (funnel, counts, warnings)."""
    raw = open_source(config, source)
    before = stamps(raw)
    request = request_for("log", config, source_digests(raw, source), seed=seed)
    prepared = _read(raw, config, seed)
    check_unchanged(before, raw)
    write(prepared, request, folder)
    return prepared.notes


def write(prepared: Prepared, request: Request, folder: Path) -> None:
    """Write a log/ folder. Tables are uncompressed Arrow files, which are opened without being read."""
    try:
        with building(folder, request, prepared.notes) as partial:
            for name, table in (("catalog.arrow", prepared.catalog), ("sessions.arrow", prepared.sessions)):
                # One chunk, and strings one after another: as polars holds them, both show how many threads there were, and
                # a log must be the same on every machine.
                plain = pl.CompatLevel.oldest()
                table.rechunk().write_ipc(partial / name, compression="uncompressed", compat_level=plain)
            for name, array in prepared.arrays.items():
                np.save(partial / f"{name}.npy", array, allow_pickle=False)
    except OSError as error:  # polars and numpy do not say which file it was
        if not (partial_folder(folder) / MANIFEST).exists():  # nothing that another run could go on with
            shutil.rmtree(partial_folder(folder), ignore_errors=True)
        raise ArtifactError(
            f"{folder}: cannot be written ({error.strerror or error}); make room on the disk, or name another folder, and run "
            "again: what was there before is intact"
        ) from None


def stamps(raw: Raw) -> dict[Path, tuple[int, int] | None]:
    """Size and time of change of every file, None for one that is not there."""
    return {path: _stamp(path) for path in raw.files.values()}


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        stat = os.stat(path)
    except FileNotFoundError:
        return None
    return stat.st_size, stat.st_mtime_ns


def check_unchanged(before: dict[Path, tuple[int, int] | None], raw: Raw) -> None:
    """Refuse files that are not what they were before they were read."""
    changed = next((path for path, stamp in stamps(raw).items() if before[path] != stamp), None)
    if changed is not None:
        raise DataError(f"{changed}: changed while it was read; wait until it is written and run again")


def read(config: DataConfig, seed: int, source: Path | Frames) -> Prepared:
    """Read, check, filter, split and number. Raises DataError before anything is written."""
    return _read(open_source(config, source), config, seed)


def _read(raw: Raw, config: DataConfig, seed: int) -> Prepared:
    name = raw.events[0].name
    encoded = encode(raw, config)
    arrays = encoded.arrays
    funnel = Funnel(encoded.owners)
    funnel.add("read", encoded.rows_read, *encoded.counts_read)
    _check_kinds(encoded, config, name)
    if len(arrays) < encoded.rows_read:
        funnel.count(_kept_by(config), arrays)
    if not len(arrays):
        raise DataError(f"{name}: nothing is left of {encoded.rows_read} events ({_kept_by(config)}); change that in [data]")
    rewards = event_rewards(encoded, config, name)
    items = item_table(raw, _ids_seen(encoded), config.columns.item)
    ties = _put_in_order(encoded, config, funnel)
    clock = clock_of(arrays.times, encoded.are_dates) if encoded.have_times else Clock("order")
    sessions = filtered(arrays, config, clock.seconds_per_unit, funnel, name)
    offsets = offsets_of(sessions)
    chosen = chosen_split(config, clock)
    config = config.model_copy(update={"split": chosen})
    parts, cuts = split_steps(arrays, offsets, config, clock, seed, name)
    if config.cold_items == "drop":
        offsets, parts = _without_cold(arrays, offsets, parts, funnel)
    counts = steps_by_part(parts, len(offsets) - 1, config, name)
    kept = counts_of(arrays.items, len(encoded.item_ids)) > 0
    catalog = catalog_of(items, encoded.item_ids.filter(pl.Series(kept)), config, raw.items_name or name)
    arrays.items = numbers_of(catalog, encoded.item_ids)[arrays.items]
    table = session_table(encoded, arrays.visits[offsets[:-1]])
    notes = notes_of(arrays, catalog, table, rewards, funnel)
    notes |= {"steps_by_part": counts, "split": chosen, "cuts": cuts, "time_unit": clock.unit}
    notes["caveats"] = caveats_of(arrays, offsets, parts, table, notes, ties)
    if config.columns.split is not None and notes["split"] != "column":
        notes["caveats"].append(
            f'the split is {notes["split"]}; the column {config.columns.split!r} is read with split = "column"'
        )
    kinds = sorted(rewards)
    arrays.kinds = np.array([kinds.index(kind) if kind in rewards else 0 for kind in encoded.kinds], dtype=np.uint8)[arrays.kinds]
    return Prepared(catalog, table, {"offsets": offsets, **columns(arrays, rewards, parts)}, notes)


def _put_in_order(encoded: Encoded, config: DataConfig, funnel: Funnel) -> int:
    """Sort the events, number visits in the order of their names. Returns the ties that the order of the file decided."""
    visit_rank = rank_of(encoded.visit_ids)
    if funnel.owners is not None:
        funnel.owners = funnel.owners[np.argsort(visit_rank)]
    if config.ties == "file_order":
        return put_in_order(encoded.arrays, visit_rank, None)
    put_in_order(encoded.arrays, visit_rank, rank_of(encoded.item_ids))
    return 0


def notes_of(
    arrays: EventArrays, catalog: pl.DataFrame, sessions: pl.DataFrame, rewards: dict[str, float], funnel: Funnel
) -> dict[str, Any]:
    """Counts that every later stage and the report may ask for."""
    return {
        "funnel": funnel.steps,
        "events": sorted(rewards),
        "sessions": len(sessions),
        "items": len(catalog),
        "steps": len(arrays),
        "items_without_text": int((catalog["text"] == "").sum()),
    }


def columns(arrays: EventArrays, rewards: dict[str, float], parts: Ints) -> dict[str, npt.NDArray[Any]]:
    """The flat arrays of a log. Kinds are numbered in the order of their names; rewards say what an event of each is worth."""
    worth = np.array([rewards[kind] for kind in sorted(rewards)], dtype=np.float32)
    return {
        "items": arrays.items, "events": arrays.kinds, "rewards": worth[arrays.kinds], "times": arrays.times, "parts": parts,
    }  # fmt: skip


def session_table(encoded: Encoded, visits: Ints) -> pl.DataFrame:
    """Names of every session, given its visit (by rank): sessions of one visit are told apart by #2, #3 ..."""
    order = encoded.visit_ids.arg_sort()
    names = encoded.visit_ids.gather(order).gather(visits)
    users = names if encoded.users is None else encoded.users.gather(order).gather(visits)
    place = pl.Series(visits).to_frame("visit").select(pl.int_range(pl.len()).over("visit") + 1).to_series()
    return pl.DataFrame({"session_id": numbered(names, place), "visit": names, "user": users})


def numbered(names: pl.Series, place: pl.Series) -> pl.Series:
    """Visits' names for their sessions: u, u#2, u#3 ..., with more marks where a visit's own name ends like this."""
    mark = "#"
    while names.str.contains(f"{mark}\\d+$").any():
        mark += "#"
    return pl.select(pl.when(place > 1).then(pl.format("{}{}{}", names, pl.lit(mark), place)).otherwise(names)).to_series()


def rank_of(names: pl.Series) -> Ints:
    """Place of every name in the order of all names, int32: the same whatever order they were met in."""
    return names.rank("ordinal").to_numpy().astype(np.int32) - 1


def _ids_seen(encoded: Encoded) -> pl.Series:
    return encoded.item_ids.filter(pl.Series(counts_of(encoded.arrays.items, len(encoded.item_ids)) > 0))


def _kept_by(config: DataConfig) -> str:
    kinds = [f"kinds {', '.join(config.kinds)}"] if config.kinds else []
    return "; ".join([*kinds, *([f"rating >= {config.min_rating:g}"] if config.min_rating is not None else [])])


def _check_kinds(encoded: Encoded, config: DataConfig, name: str) -> None:
    for kind in set(config.kinds) - set(encoded.kinds):
        raise DataError(f"{name}: no event of kind {kind!r}, which kinds in [data] names; {suggest(kind, set(encoded.kinds))}")


def event_rewards(encoded: Encoded, config: DataConfig, name: str) -> dict[str, float]:
    """Reward by kind of event; without a table in the recipe every event is worth 1."""
    kinds = [kind for kind, n in zip(encoded.kinds, counts_of(encoded.arrays.kinds, len(encoded.kinds)), strict=True) if n]
    if not config.rewards:
        return dict.fromkeys(kinds, 1.0)
    missing = sorted(set(kinds) - set(config.rewards))
    if missing:
        raise DataError(f"{name}: events of kind {shown(missing[0])} have no reward; add it to [data.rewards] in the recipe")
    return {kind: config.rewards[kind] for kind in kinds}


def _without_cold(arrays: EventArrays, offsets: Ints, parts: Ints, funnel: Funnel) -> tuple[Ints, Ints]:
    """Drop held-out events with items that no training step has; sessions that lose all their events go."""
    n_items = int(arrays.items.max()) + 1
    kept = (counts_of(arrays.items[parts == Part.TRAIN], n_items) > 0)[arrays.items]
    sessions = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))[kept]
    arrays.take(kept)
    funnel.count("cold items dropped", arrays)
    return offsets_of(sessions), parts[kept]
