"""audit: what a reader asks about a split, counted from the log alone: who and what is in which part, and how parts differ."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
from scipy import stats
from scipy.spatial.distance import jensenshannon

from learec.config import derived_seed
from learec.data.audited import Chunk, Split, chunks_of
from learec.data.caveats import LARGE_SHARE
from learec.data.events import counts_of
from learec.data.log import Ints, Part

HELD_OUT = (Part.VALIDATION, Part.TEST)
DRAWS = 5
SHARE = "share"  # columns whose name ends in it hold shares of 1


def part_table(split: Split) -> pl.DataFrame:
    """A row per part: sessions, users, items and events in it, its first and its last time."""
    rows = []
    for part in Part:
        times = split.times[split.log.parts == part]
        rows.append(
            {
                "part": part.name.lower(),
                "sessions": int((split.by_session[:, part] > 0).sum()),
                "users": int((split.by_user[:, part] > 0).sum()),
                "items": int((split.by_item[:, part] > 0).sum()),
                "events": len(times),
                "first": split.date(times.min()) if len(times) else "",
                "last": split.date(times.max()) if len(times) else "",
            }
        )
    return pl.DataFrame(rows)


def novelty_table(split: Split) -> pl.DataFrame:
    """A row per held-out part: items and users that training has not, the share of the part's events that are theirs.

    And the share of training events that are not before the part's first one, where times can be compared: above 0,
    what is learnt may know what came after.
    """
    rows = []
    for part in HELD_OUT:
        row: dict[str, Any] = {"part": part.name.lower()}
        for what, counts in (("items", split.by_item), ("users", split.by_user)):
            cold = counts[counts[:, Part.TRAIN] == 0, part]
            events = max(int(counts[:, part].sum()), 1)
            row |= {f"cold {what}": int((cold > 0).sum()), f"their {what[:-1]} {SHARE}": int(cold.sum()) / events}
        row[f"training not before {SHARE}"] = _not_before(split, part) if split.clock.is_real else None
        rows.append(row)
    return pl.DataFrame(rows)


def _not_before(split: Split, part: Part) -> float:
    times, parts = split.times, split.log.parts
    theirs, training = times[parts == part], times[parts == Part.TRAIN]
    return float((training >= theirs.min()).mean()) if len(theirs) and len(training) else 0.0


@dataclass
class Again:
    """What occurs again, by part of the later event."""

    repeats: Ints = field(default_factory=lambda: np.zeros(len(Part), dtype=np.int64))  # the session had the item before
    duplicates: Ints = field(default_factory=lambda: np.zeros(len(Part), dtype=np.int64))  # same user, item, time and kind
    ties: Ints = field(default_factory=lambda: np.zeros(len(Part), dtype=np.int64))  # the session's event before is as late
    copied: int = 0  # held-out events that are training events too: same user, item, time and kind
    first_copied: int | None = None  # step

    def table(self, split: Split) -> pl.DataFrame:
        """A row per part; before it, how many of its events a session has that has any."""
        rows = []
        for part in Part:
            events = int(split.by_session[:, part].sum())
            sessions = int((split.by_session[:, part] > 0).sum())
            row: dict[str, Any] = {"part": part.name.lower(), "per session": events / max(sessions, 1)}
            for what in ("repeats", "duplicates", "ties"):
                n = int(getattr(self, what)[part])
                row |= {what: n, f"{what[:-1]} {SHARE}": n / max(events, 1)}
            rows.append(row)
        return pl.DataFrame(rows)

    def count(self, chunk: Chunk) -> None:
        """Add a chunk's events."""
        session, parts = chunk.session_of, chunk.parts
        tied = (session[1:] == session[:-1]) & (chunk.times[1:] == chunk.times[:-1])
        self.ties += counts_of(parts[1:][tied], len(Part))
        key = chunk.split.users[chunk.sessions][session].astype(np.int64) << 32 | chunk.items
        order = np.argsort(key, kind="stable")
        key, session = key[order], session[order]
        same = key[1:] == key[:-1]
        self.repeats += counts_of(parts[order[1:]][same & (session[1:] == session[:-1])], len(Part))
        several = np.append(same, False) | np.append(False, same)  # only who has an item twice can have an event twice
        self._count_equal(chunk, order[several], key[several])

    def _count_equal(self, chunk: Chunk, rows: Ints, key: Ints) -> None:
        """Duplicates among rows of a chunk that share their user and item with another row."""
        if not len(rows):
            return
        kinds, times = chunk.split.log.sessions.events[chunk.steps[rows]], chunk.times[rows]
        order = np.lexsort((kinds, times, key))
        rows, key, kinds, times = rows[order], key[order], kinds[order], times[order]
        equal = (key[1:] == key[:-1]) & (times[1:] == times[:-1]) & (kinds[1:] == kinds[:-1])
        self.duplicates += counts_of(chunk.parts[rows[1:][equal]], len(Part))
        group = np.append(0, np.cumsum(~equal))
        training = chunk.parts[rows] == Part.TRAIN
        trained = np.zeros(group[-1] + 1, dtype=bool)
        trained[group[training]] = True
        copied = chunk.steps[rows[~training & trained[group]]]
        if len(copied):
            self.copied += len(copied)
            first = int(copied.min())
            self.first_copied = first if self.first_copied is None else min(self.first_copied, first)


def again_in(split: Split) -> Again:
    """Repeats, duplicates and ties of all events."""
    found = Again()
    for chunk in chunks_of(split):
        found.count(chunk)
    return found


@dataclass(frozen=True)
class Shift:
    """How far the test part's popularity is from training's."""

    distance: float  # Jensen-Shannon distance of the shares of events, base 2: 0 is equal, 1 is no item in common
    by_chance: float  # what a test part of the same size has if it is drawn from training's shares: mean of DRAWS
    spearman: float  # rank correlation over the items of either part; NaN where one has all counts equal


def popularity_shift(split: Split) -> Shift:
    """Training against test, over the items that one of them has."""
    training, test = split.by_item[:, Part.TRAIN], split.by_item[:, Part.TEST]
    either = (training > 0) | (test > 0)
    training, test = training[either], test[either]
    rng = np.random.default_rng(derived_seed("popularity shift"))
    drawn = rng.multinomial(int(test.sum()), training / training.sum(), size=DRAWS)
    by_chance = float(np.mean([jensenshannon(training, draw, base=2) for draw in drawn]))
    constant = len(training) < 2 or training.min() == training.max() or test.min() == test.max()
    spearman = float("nan") if constant else float(stats.spearmanr(training, test).statistic)
    return Shift(float(jensenshannon(training, test, base=2)), by_chance, spearman)


def in_several(counts: Ints) -> int:
    """How many rows of counts by part have events in more than one part."""
    return int(((counts > 0).sum(axis=1) > 1).sum())


def limits(split: Split, again: Again) -> list[str]:
    """What the split does not protect from, one sentence each."""
    config, found = split.config, []
    if split.name != "global_time":
        found += _time_limits(split)
    ties = int(again.ties.sum()) / max(split.log.sessions.n_steps, 1)
    if ties >= LARGE_SHARE and config.get("ties") == "file_order":
        found.append(
            f"{ties:.1%} of the events are as late as the one before in their session: their order is the file's, and what "
            'follows what may be how the file was written (ties = "item_id" in [data] orders them by item)'
        )
    least = {"items": config.get("min_item_events", 1), "sessions": config.get("min_session_events", 1)}
    if core := " and ".join(f"{what} with fewer than {n} events" for what, n in least.items() if n > 1):
        found.append(f"{core} were left out, counted over all parts: held-out events had a say in what there is")
    if config.get("cold_items") == "drop":
        found.append("held-out events with items that training has not were left out: the task is easier than it was in life")
    return found


def _time_limits(split: Split) -> list[str]:
    if not split.clock.is_real:
        return [f"times are a mere order: whether {split.name} trains on what came after a test event cannot be seen"]
    late = _not_before(split, Part.TEST)
    if not late:
        return []
    return [
        f"{split.name} leaks the future across users: {late:.1%} of the training events are not before the first test event "
        '(split = "global_time" in [data] cuts all users at one time)'
    ]
