"""prepare against a slow reference in plain Python: every setting, on small random logs, with small batches and chunks."""

import re
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import patch

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from learec.config import Columns, DataConfig, derived_seed
from learec.data import events
from learec.data.prepare import Prepared, read
from learec.data.sources import Frames
from learec.errors import DataError

SEED = 7
# Ids that sort otherwise as numbers than as text, that hold the marks that ids of sessions are made with, and no ASCII.
USERS = ["u9", "u10", "u", "u/s", "ü", "u#2", "U", "1", "01", "10", "2", "%", "u%2Fs", "-1"]
ITEMS, VISITS = ["i9", "i10", "i", "í", "z%", "i/"], ["s1", "s", "s/s"]
KINDS, PARTS = ["view", "buy", "Add"], ["train", "valid", "test"]
WORTH = {"view": 0.25, "buy": 1.0, "Add": -2.0}
START = 1_700_000_000
UNITS = {"seconds": 1, "milliseconds": 1000, "order": 0}


class Refused(Exception):
    """What the reference says where prepare must raise, with words that its sentence holds."""


@dataclass(frozen=True)
class Row:
    """One event of the log; `at` is its place in the file."""

    at: int
    user: str
    item: str
    time: Any = 0
    kind: str = "event"
    rating: float = 0.0
    visit: str | None = None
    part: str = "train"

    @property
    def group(self) -> str:
        """The name of what belongs together."""
        return self.user if self.visit is None else f"{self.user.replace('%', '%25').replace('/', '%2F')}/{self.visit}"


@dataclass
class Case:
    """A log, its settings, and how it reaches prepare."""

    rows: list[Row]
    config: dict[str, Any]
    unit: str
    items: list[str] | None
    source: str
    cuts: list[int] = field(default_factory=list)  # where a folder's files end
    dates: bool = False
    batch: int = 1000
    chunk: int = 1000

    def settings(self) -> DataConfig:
        """The recipe."""
        has = self.config["columns"]
        columns = Columns(
            **{"user": "user", "item": "item", "time": "time" if self.unit else None, **{name: name for name in has}}
        )
        names = {"frames": "log", "csv": "log.csv", "tsv": "log.tsv", "folder": "log"}
        table = None if self.items is None else "items.parquet"
        config = {key: value for key, value in self.config.items() if key != "columns"}
        return DataConfig(events=names[self.source], items=table, columns=columns, text="", title="", **config)

    def table(self) -> pl.DataFrame:
        """The log as a file would have it."""
        names = ["user", "item", *(["time"] if self.unit else []), *self.config["columns"]]
        values = {
            "user": [row.user for row in self.rows],
            "item": [row.item for row in self.rows],
            "time": [datetime.fromtimestamp(row.time, UTC) if self.dates else row.time for row in self.rows],
            "event": [row.kind for row in self.rows],
            "rating": [row.rating for row in self.rows],
            "session": [row.visit for row in self.rows],
            "split": [row.part for row in self.rows],
        }
        return pl.DataFrame({name: values[name] for name in names})

    def prepared(self, folder: Path) -> Prepared:
        """What prepare makes of it."""
        table, items = self.table(), None if self.items is None else pl.DataFrame({"item": self.items})
        if items is not None:
            items.write_parquet(folder / "items.parquet")
        if self.source == "csv":
            table.write_csv(folder / "log.csv")
        if self.source == "tsv":
            table.write_csv(folder / "log.tsv", separator="\t")
        if self.source == "folder":
            (folder / "log").mkdir()
            ends = [0, *sorted(self.cuts), len(table)]
            for number, (start, stop) in enumerate(zip(ends, ends[1:], strict=False)):
                table[start:stop].write_parquet(folder / "log" / f"{number}.parquet")
        source = Frames(table, items) if self.source == "frames" else folder
        with patch.object(events, "BATCH_ROWS", self.batch), patch.object(events, "CHUNK_EVENTS", self.chunk):
            return read(self.settings(), SEED, source)


# ---- the reference


def reference(case: Case) -> dict[str, Any]:
    """What prepare must give, or Refused."""
    config, rows = case.settings(), case.rows
    funnel = [_counted(rows)]
    if unknown := set(config.kinds) - {row.kind for row in rows}:
        raise Refused(f"no event of kind {sorted(unknown)[0]!r}" if len(unknown) == 1 else "no event of kind")
    rows = [row for row in rows if not config.kinds or row.kind in config.kinds]
    rows = [row for row in rows if config.min_rating is None or row.rating >= config.min_rating]
    if len(rows) < funnel[0][0]:
        funnel.append(_counted(rows))
    if not rows:
        raise Refused("nothing is left")
    kinds = sorted({row.kind for row in rows})
    if config.rewards and (missing := [kind for kind in kinds if kind not in config.rewards]):
        raise Refused(f"events of kind {missing[0]!r} have no reward")
    visits = {name: _in_order([row for row in rows if row.group == name], config) for name in {row.group for row in rows}}
    seconds_per_unit = _seconds_per_unit(case, rows)
    sessions = _sessions(visits, config, seconds_per_unit, funnel)
    sessions = _core(sessions, config)
    funnel.append(_counted([row for _, session in sessions for row in session]))
    if not sessions:
        raise Refused("nothing is left")
    parts = _parts(sessions, config, seconds_per_unit)
    if config.cold_items == "drop":
        sessions, parts = _without_cold(sessions, parts)
        funnel.append(_counted([row for _, session in sessions for row in session]))
    counts = [sum(part == number for session in parts for part in session) for number in range(3)]
    if not all(counts):
        raise Refused(f"leaves {counts} steps")
    seen = {row.item for _, session in sessions for row in session}
    catalog = sorted(seen) if case.items is None else [item for item in case.items if item in seen]
    rewards = config.rewards or dict.fromkeys(kinds, 1.0)
    return {
        "catalog": catalog,
        "funnel": funnel,
        "kinds": kinds,
        "sessions": [
            (
                name,
                session[0].user,
                [(row.item, row.kind, rewards[row.kind], row.time, part) for row, part in zip(session, of, strict=True)],
            )
            for name, (_, session), of in zip(_names(sessions), sessions, parts, strict=True)
        ],
    }


def _counted(rows: list[Row]) -> tuple[int, int, int]:
    return len(rows), len({row.user for row in rows}), len({row.item for row in rows})


def _in_order(rows: list[Row], config: DataConfig) -> list[Row]:
    """One visit by time, ties by the file or by item, kind and part; without the repeats."""
    if config.ties == "item_id":
        rows = sorted(rows, key=lambda row: (row.time, row.item, row.kind, PARTS.index(row.part)))
    else:
        rows = sorted(rows, key=lambda row: (row.time, row.at))
    kept: list[Row] = []
    for place, row in enumerate(rows):
        before = {earlier.item for earlier in rows[:place]}
        if config.repeats == "drop" and row.item in before:
            continue
        if config.repeats == "drop_neighbours" and place and rows[place - 1].item == row.item:
            continue
        kept.append(row)
    return kept


def _seconds_per_unit(case: Case, rows: list[Row]) -> float | None:
    """By the median, as a reader would say it: 1985 to 2100, in seconds or milliseconds."""
    if not case.unit:
        return None
    if case.dates:
        return 1.0
    middle = float(np.median([row.time for row in rows]))
    year = 365.2425 * 86_400
    return next((size for size in (1.0, 1e-3, 1e-6, 1e-9) if 15 * year <= middle * size <= 130 * year), None)


def _sessions(visits: dict[str, list[Row]], config: DataConfig, unit: float | None, funnel: list) -> list[tuple[str, list[Row]]]:
    """Visits in the order of their names, cut at gaps, shortened to their newest events."""
    everything = [row for rows in visits.values() for row in rows]
    if config.repeats != "keep":
        funnel.append(_counted(everything))
    if config.session_gap is None:
        sessions = [(name, visits[name]) for name in sorted(visits)]
    elif unit is None:
        raise Refused("session_gap needs real times")
    else:
        sessions = [(name, piece) for name in sorted(visits) for piece in _pieces(visits[name], config.session_gap / unit)]
        funnel.append(_counted(everything))
    if config.max_session_events is not None:
        sessions = [(name, session[-config.max_session_events :]) for name, session in sessions]
        funnel.append(_counted([row for _, session in sessions for row in session]))
    return sessions


def _pieces(rows: list[Row], gap: float) -> list[list[Row]]:
    pieces = [[rows[0]]]
    for before, row in zip(rows, rows[1:], strict=False):
        if row.time - before.time > gap:
            pieces.append([])
        pieces[-1].append(row)
    return pieces


def _core(sessions: list[tuple[str, list[Row]]], config: DataConfig) -> list[tuple[str, list[Row]]]:
    """Items first, then sessions; again until nothing changes."""
    while True:
        counts = Counter(row.item for _, session in sessions for row in session)
        kept = [(name, [row for row in session if counts[row.item] >= config.min_item_events]) for name, session in sessions]
        kept = [(name, session) for name, session in kept if len(session) >= config.min_session_events]
        if config.core == "once" or kept == sessions:
            return kept
        sessions = kept


def _parts(sessions: list[tuple[str, list[Row]]], config: DataConfig, unit: float | None) -> list[list[int]]:
    split = config.split or ("leave_one_out" if unit is None else "global_time")
    lengths = [len(session) for _, session in sessions]
    if split == "leave_one_out":
        return [[0] * n if n < 3 else [*[0] * (n - 2), 1, 2] for n in lengths]
    rng = np.random.default_rng(derived_seed("split", SEED))
    if split == "by_session":
        share, order = int(len(sessions) * config.held_out + 1e-9), rng.permutation(len(sessions)).tolist()
        part = {**dict.fromkeys(order[share : 2 * share], 1), **dict.fromkeys(order[:share], 2)}
        return [[part.get(number, 0)] * n for number, n in enumerate(lengths)]
    if split == "global_time":
        if unit is None:
            raise Refused("global_time needs real times")
        times = sorted(row.time for _, session in sessions for row in session)
        first, second = times[int(len(times) * (1 - 2 * config.held_out))], times[int(len(times) * (1 - config.held_out))]
        return [[int(row.time >= first) + int(row.time >= second) for row in session] for _, session in sessions]
    return _given([[PARTS.index(row.part) for row in session] for _, session in sessions], config, rng)


def _given(parts: list[list[int]], config: DataConfig, rng: np.random.Generator) -> list[list[int]]:
    """A given split; without a validation part, the training steps just before test steps, or training sessions."""
    if any(1 in session for session in parts):
        return parts
    before_test = [[now == 0 and after == 2 for now, after in zip(session, [*session[1:], 0], strict=True)] for session in parts]
    if any(any(session) for session in before_test):
        return [[1 if turn else part for part, turn in zip(*pair, strict=True)] for pair in zip(parts, before_test, strict=True)]
    training = [number for number, session in enumerate(parts) if set(session) == {0}]
    chosen = rng.permutation(training)[: int(len(training) * config.held_out)].tolist()
    return [[1] * len(session) if number in chosen else session for number, session in enumerate(parts)]


def _without_cold(sessions: list[tuple[str, list[Row]]], parts: list[list[int]]) -> tuple[list, list]:
    warm = {
        row.item
        for (_, session), of in zip(sessions, parts, strict=True)
        for row, part in zip(session, of, strict=True)
        if part == 0
    }
    kept = [
        (name, [(row, part) for row, part in zip(session, of, strict=True) if row.item in warm])
        for (name, session), of in zip(sessions, parts, strict=True)
    ]  # fmt: skip
    kept = [(name, pairs) for name, pairs in kept if pairs]
    return [(name, [row for row, _ in pairs]) for name, pairs in kept], [[part for _, part in pairs] for _, pairs in kept]


def _names(sessions: list[tuple[str, list[Row]]]) -> list[str]:
    """u, u#2, u#3 for the sessions of one visit; u##2 if a visit is called like the second session of another."""
    mark = "#"
    while any(re.search(rf"{mark}\d+$", name) for name, _ in sessions):
        mark += "#"
    return [
        name if place == 1 else f"{name}{mark}{place}"
        for name, group in groupby(name for name, _ in sessions)
        for place, _ in enumerate(group, 1)
    ]


def told(prepared: Prepared) -> dict[str, Any]:
    """A prepared log in the words of the reference."""
    arrays, bounds = prepared.arrays, prepared.arrays["offsets"].tolist()
    ids, kinds = ["", *prepared.catalog["item_id"]], prepared.notes["events"]
    steps = [
        (ids[item], kinds[event], reward, time, part)
        for item, event, reward, time, part in zip(
            *(arrays[name].tolist() for name in ("items", "events", "rewards", "times", "parts")), strict=True
        )
    ]
    return {
        "catalog": ids[1:],
        "funnel": [(row["events"], row["users"], row["items"]) for row in prepared.notes["funnel"]],
        "kinds": kinds,
        "sessions": [
            (name, user, steps[start:stop])
            for name, user, start, stop in zip(
                prepared.sessions["session_id"], prepared.sessions["user"], bounds, bounds[1:], strict=False
            )
        ],
    }


# ---- random logs and settings


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Any log with any settings that go together."""
    has = draw(st.sets(st.sampled_from(["event", "rating", "session", "split"])))
    unit = draw(st.sampled_from(["seconds", "seconds", "milliseconds", "order", ""]))
    rows = _rows(draw(st.randoms(use_true_random=True)), unit, has)
    source = draw(st.sampled_from(["frames", "frames", "csv", "tsv", "folder"]))
    config = {
        "columns": sorted(has),
        "ties": draw(st.sampled_from(["file_order", "item_id"])),
        "repeats": draw(st.sampled_from(["keep", "drop", "drop_neighbours"])),
        "session_gap": draw(st.sampled_from([None, None, None, 0.5, 1, 5, 100, 100]))
        if unit in ("seconds", "milliseconds")
        else None,
        "max_session_events": draw(st.sampled_from([None, None, 2, 5])),
        "min_item_events": draw(st.sampled_from([1, 1, 1, 2, 3])),
        "min_session_events": draw(st.sampled_from([2, 2, 2, 3])),
        "core": draw(st.sampled_from(["iterated", "once"])),
        "split": draw(st.sampled_from(["column"] if "split" in has else [None, "leave_one_out", "by_session", "global_time"])),
        "held_out": draw(st.sampled_from([0.1, 0.2, 0.3, 0.3])),
        "cold_items": draw(st.sampled_from(["keep", "drop"])),
        "kinds": draw(st.sampled_from([(), (), (), ("view", "buy")])) if "event" in has else (),
        "rewards": draw(st.sampled_from([{}, WORTH, WORTH, WORTH, {"view": 0.5}])) if "event" in has else {},
        "min_rating": draw(st.sampled_from([None, None, 1, 2.5])) if "rating" in has else None,
    }
    return Case(
        rows,
        config,
        unit,
        draw(st.sampled_from([None, ITEMS, ITEMS[::-1]])),
        source,
        cuts=draw(st.lists(st.integers(0, len(rows)), max_size=2)),
        dates=unit == "seconds" and source in ("frames", "folder") and draw(st.booleans()),
        batch=draw(st.sampled_from([3, 10, 1000])),
        chunk=draw(st.sampled_from([1, 4, 20, 1000])),
    )


def _rows(rng: Random, unit: str, has: set[str]) -> list[Row]:
    """Events of few or many users; times over a short or a long while, so that there are ties or none."""
    n = rng.choice([rng.randint(1, 12), *[rng.randint(30, 80)] * 5])
    users, items = (
        rng.sample(USERS, rng.choice([2, 5] if "session" in has else [3, 7, len(USERS)])),
        rng.sample(ITEMS, rng.randint(2, len(ITEMS))),
    )
    span = rng.choice([3, 30, 1000])
    parts = rng.sample(PARTS, rng.choice([2, 3, 3]))
    given = rng.choice(["by user", "by time", "by time", "anyhow"])
    by_user = {user: rng.choice(parts) for user in users}
    rows = []
    for at in range(n):
        user, moment = rng.choice(users), rng.randint(0, span)
        time = (
            at
            if not unit
            else moment - 1
            if unit == "order"
            else (START + moment) * UNITS[unit] + rng.choice([0, 0, UNITS[unit] // 4])
        )
        by_time = parts[min(moment * len(parts) // (span + 1), len(parts) - 1)]
        part = {"by user": by_user[user], "by time": by_time, "anyhow": rng.choice(parts)}[given]
        rows.append(
            Row(
                at,
                user,
                rng.choice(items),
                time,
                rng.choice(KINDS) if "event" in has else "event",
                rng.choice([0.0, 1.0, 2.5, 5.0]) if "rating" in has else 0.0,
                rng.choice(VISITS) if "session" in has else None,
                part if "split" in has else "train",
            )
        )
    return rows


def outcome(case: Case, folder: Path) -> dict[str, Any] | str:
    """What prepare makes of a case: the log, or its sentence."""
    try:
        return told(case.prepared(folder))
    except DataError as error:
        return str(error)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(case=cases())
def test_prepare_does_what_the_slow_reference_does(tmp_path_factory, case):
    found = outcome(case, tmp_path_factory.mktemp("case"))
    try:
        wanted = reference(case)
    except Refused as refusal:
        assert isinstance(found, str), f"wanted a refusal: {refusal}"
        assert str(refusal) in found
    else:
        assert found == wanted


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(case=cases(), shuffle=st.randoms(use_true_random=False))
def test_where_ties_are_ordered_by_item_the_rows_order_does_not_matter(tmp_path_factory, case, shuffle):
    assume(case.unit)
    case.config["ties"] = "item_id"
    shuffled = Case(**{**vars(case), "rows": shuffle.sample(case.rows, len(case.rows))})
    made = [_made(one, tmp_path_factory.mktemp("case")) for one in (case, shuffled)]
    if isinstance(made[0], str):
        assert made[0] == made[1]
        return
    assert made[0].catalog.equals(made[1].catalog)
    assert made[0].sessions.equals(made[1].sessions)
    assert made[0].notes == made[1].notes
    for name, array in made[0].arrays.items():
        np.testing.assert_array_equal(array, made[1].arrays[name], err_msg=name)


def _made(case: Case, folder: Path) -> Prepared | str:
    try:
        return case.prepared(folder)
    except DataError as error:
        return str(error).split(": ", 1)[1]


@pytest.mark.parametrize("source", ["frames", "csv", "tsv", "folder"])
def test_a_log_that_uses_every_setting_at_once_is_prepared(tmp_path, source):
    """So that the comparison above cannot come down to refusals alone."""
    rows = [
        Row(at, f"u{at % 12}", ITEMS[at * 7 % 5], START + at * 3, KINDS[at % 3], at % 4, VISITS[at % 2], PARTS[min(at // 80, 2)])
        for at in range(200)
    ]
    config = {
        "columns": ["event", "rating", "session", "split"], "ties": "item_id", "repeats": "drop_neighbours", "session_gap": 500,
        "max_session_events": 5, "min_item_events": 2, "min_session_events": 2, "core": "iterated", "split": "global_time",
        "held_out": 0.2, "cold_items": "drop", "kinds": ("view", "buy"), "rewards": {"view": 0.5, "buy": 1.0}, "min_rating": 1,
    }  # fmt: skip
    case = Case(rows, config, "seconds", ITEMS, source, cuts=[60, 60, 130], batch=17, chunk=9)
    assert told(case.prepared(tmp_path)) == reference(case)
