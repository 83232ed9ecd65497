"""The log: a catalog of items, sessions as flat arrays with offsets, and the part of the split of every step."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from learec.artifacts import check_files, load_array, read_manifest

Ints = npt.NDArray[np.integer[Any]]
Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]

MAKE_WITH = "learec prepare RECIPE"
ARRAYS = ("offsets", "items", "events", "rewards", "parts")  # times.npy is for prepare --append and audit alone
TABLES = ("catalog.arrow", "sessions.arrow")


class Part(IntEnum):
    """What a step is used for. Stored as uint8."""

    TRAIN = 0
    VALIDATION = 1
    TEST = 2


@dataclass(frozen=True)
class Catalog:
    """Items 1..N; row i of the table is item number i + 1, and 0 is padding."""

    table: pl.DataFrame  # item_id, title, text, maybe category; of a prepared log, pages of its file that are read when looked at

    @property
    def n_items(self) -> int:
        """N."""
        return len(self.table)

    @cached_property
    def titles(self) -> list[str]:
        """Title by item number; "" for padding."""
        return ["", *self.table["title"]]

    @cached_property
    def ids(self) -> list[str]:
        """Outside name by item number; "" for padding."""
        return ["", *self.table["item_id"]]

    @cached_property
    def numbers(self) -> dict[str, int]:
        """Item number by outside name."""
        return {item_id: number for number, item_id in enumerate(self.ids) if number}

    @cached_property
    def members(self) -> dict[str, Ints]:
        """Item numbers by category, ascending, in the order of the categories' names; empty if the log has no categories."""
        if "category" not in self.table.columns:
            return {}
        named = self.table.select("category").with_row_index("number", offset=1).filter(pl.col("category") != "")
        groups = named.sort("category", "number").group_by("category", maintain_order=True).agg("number")
        return {name: np.array(numbers, dtype=np.int64) for name, numbers in groups.iter_rows()}


@dataclass(frozen=True)
class Sessions:
    """S sessions with E steps in all: session i holds steps offsets[i]:offsets[i + 1], oldest first."""

    offsets: Ints  # (S + 1,)
    items: Ints  # (E,) item numbers
    events: Ints  # (E,) index into the log's event names
    rewards: Floats  # (E,) what the event is worth

    def __post_init__(self) -> None:
        """Refuse arrays that do not belong together."""
        lengths = {len(self.items), len(self.events), len(self.rewards), int(self.offsets[-1])}
        if len(lengths) != 1:
            raise ValueError(f"columns of different lengths: {sorted(lengths)}")

    @property
    def n_sessions(self) -> int:
        """S."""
        return len(self.offsets) - 1

    @property
    def n_steps(self) -> int:
        """E."""
        return len(self.items)

    @cached_property
    def lengths(self) -> Ints:
        """Steps per session, (S,)."""
        return np.diff(self.offsets)

    @cached_property
    def session_of(self) -> Ints:
        """Session of every step, (E,)."""
        return np.repeat(np.arange(self.n_sessions), self.lengths)

    @cached_property
    def step_of(self) -> Ints:
        """Position of every step in its session, from 0, (E,)."""
        return np.arange(self.n_steps) - np.repeat(self.offsets[:-1], self.lengths)

    def histories(self, steps: Ints, max_length: int) -> tuple[Ints, Ints]:
        """What came before the given steps: items (B, L) oldest first, padded on the right with 0, and lengths (B,).

        Only the newest `max_length` items are kept; L is the longest length present, at least 1.
        """
        before = np.minimum(self.step_of[steps], max_length)
        width = max(int(before.max(initial=0)), 1)
        column = np.arange(width)
        index = (steps - before)[:, None] + column
        real = column < before[:, None]
        return np.where(real, self.items[np.where(real, index, 0)], 0).astype(np.int64), before

    def seen(self, steps: Ints) -> tuple[Ints, Ints]:
        """All that came before the given steps, however long ago: places among `steps`, and item numbers, both (P,)."""
        counts = self.step_of[steps]
        rows = np.repeat(np.arange(len(steps)), counts)
        ends = np.cumsum(counts)
        index = np.arange(len(rows)) - np.repeat(ends - counts, counts) + np.repeat(steps - counts, counts)
        return rows, self.items[index].astype(np.int64)

    def select(self, keep: Bools) -> "Sessions":
        """The steps where keep (E,) holds. Sessions keep their numbers; one may become empty."""
        counts = np.bincount(self.session_of[keep], minlength=self.n_sessions)
        offsets = np.concatenate([[0], np.cumsum(counts)])
        return Sessions(offsets, self.items[keep], self.events[keep], self.rewards[keep])

    def blocks(self, sessions: Ints, size: int) -> Iterator[Ints]:
        """The given sessions in blocks of at most `size`."""
        for start in range(0, len(sessions), size):
            yield sessions[start : start + size]


@dataclass(frozen=True)
class Log:
    """A prepared log. `training` is all that item tokens, environment, counts and agents are ever shown."""

    catalog: Catalog
    sessions: Sessions
    parts: Ints  # (E,) Part of every step
    session_ids: pl.Series  # (S,) outside names
    event_names: list[str]
    digest: str
    ancestors: tuple[str, ...] = ()  # digests of the logs that this one extends: their item numbers are its own

    @cached_property
    def training(self) -> Sessions:
        """The training steps alone: no other step is reachable from it."""
        return self.sessions.select(np.asarray(self.parts == Part.TRAIN))

    @cached_property
    def training_counts(self) -> Ints:
        """Training steps by item number, (N + 1,)."""
        return np.bincount(self.training.items, minlength=self.catalog.n_items + 1)

    @cached_property
    def cold_items(self) -> Ints:
        """Items that no training step has, ascending. What is learnt must not know of them: only their text may be used."""
        return np.flatnonzero(self.training_counts[1:] == 0) + 1

    def targets(self, part: Part) -> Ints:
        """Steps of a part that have a history, as indices into `sessions`."""
        return np.flatnonzero((self.parts == part) & (self.sessions.step_of > 0))


def load_times(folder: Path) -> npt.NDArray[Any]:
    """Times (E,) of a log/ folder's steps, after checking them; int64 or float64."""
    manifest = read_manifest(folder, "log", MAKE_WITH)
    check_files(folder, manifest, MAKE_WITH, names={"times.npy"})
    return load_array(folder / "times.npy")


def load_catalog(folder: Path) -> tuple[Catalog, tuple[str, ...]]:
    """The catalog of a log/ folder, checked and read into memory, and the digests of the log and of those that it extends."""
    manifest = read_manifest(folder, "log", MAKE_WITH)
    check_files(folder, manifest, MAKE_WITH, names={"catalog.arrow"})
    digests = (manifest.digest, *manifest.notes.get("ancestors", ()))
    return Catalog(pl.read_ipc((folder / "catalog.arrow").read_bytes())), digests


def load_log(folder: Path) -> Log:
    """Open a log/ folder after checking it."""
    manifest = read_manifest(folder, "log", MAKE_WITH)
    check_files(folder, manifest, MAKE_WITH, names={*(f"{name}.npy" for name in ARRAYS), *TABLES})
    arrays = {name: load_array(folder / f"{name}.npy") for name in ARRAYS}
    parts = arrays.pop("parts")
    catalog, sessions = (pl.read_ipc(folder / name) for name in TABLES)
    return Log(
        catalog=Catalog(catalog),
        sessions=Sessions(**arrays),
        parts=parts,
        session_ids=sessions["session_id"],
        event_names=list(manifest.notes["events"]),
        digest=manifest.digest,
        ancestors=tuple(manifest.notes.get("ancestors", ())),
    )
