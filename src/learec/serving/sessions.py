"""Real sessions to try a model on: those whose end was held out for the test."""

import random
from dataclasses import dataclass

import numpy as np
import polars as pl

from learec.data.log import Catalog, Ints, Log, Part

MOST = 10_000  # sessions that are kept to draw from
SHOWN = 50  # items of one, before its first such step and from there on


@dataclass(frozen=True)
class Shown:
    """One of them, in item numbers."""

    name: str
    history: Ints
    following: Ints


class TestSessions:
    """Sessions with a step of the test part that has a history. They are copied: the log's files may change afterwards."""

    __test__ = False  # pytest takes it for a test by its name

    def __init__(self, log: Log, catalog: Catalog) -> None:
        """The catalog is the log's, in memory."""
        offsets, items = np.asarray(log.sessions.offsets), log.sessions.items
        steps = log.targets(Part.TEST)
        sessions, places = np.unique(log.sessions.session_of[steps], return_index=True)
        pairs = list(zip(sessions.tolist(), steps[places].tolist(), strict=True))
        drawn = random.Random(0).sample(pairs, min(MOST, len(pairs)))  # noqa: S311
        self._table = catalog.table
        self._shown = [
            Shown(
                log.session_ids[session],
                np.array(items[max(offsets[session], first - SHOWN) : first]),
                np.array(items[first : min(offsets[session + 1], first + SHOWN)]),
            )
            for session, first in drawn
        ]

    def __len__(self) -> int:
        """How many there are to draw from."""
        return len(self._shown)

    def draw(self, chance: random.Random) -> tuple[str, pl.DataFrame, pl.DataFrame]:
        """One of them: its name, the items before its first test step with a history, and from there on, as catalog rows."""
        shown = chance.choice(self._shown)
        return shown.name, self._table[shown.history - 1], self._table[shown.following - 1]
