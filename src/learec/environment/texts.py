"""Texts: the items' texts as token ids, and which items have one."""

from dataclasses import dataclass

import numpy as np

from learec.data.log import Bools, Log

TokenIds = list[list[int]]  # by item, in the order of the catalog


@dataclass(frozen=True)
class Texts:
    """Which items have a text, and which of them may shape what all items share: those of training steps. Both (N + 1,)."""

    present: Bools
    shaping: Bools


def texts_of(ids: TokenIds, log: Log) -> Texts:
    """The texts of a log's whole catalog."""
    present = np.array([False, *(len(text) > 0 for text in ids)])
    trained = np.ones(len(present), dtype=bool)
    trained[log.cold_items] = False
    return Texts(present, present & trained)
