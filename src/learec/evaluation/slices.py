"""Slices: which targets have something in common that makes them easy or hard. Popularity is that of training steps alone."""

import numpy as np

from learec.config import EvaluationConfig
from learec.data.log import Bools, Ints, Log, Sessions

GROUPS = (
    ("new item", "repeated item"),
    ("head item", "tail item", "cold item"),
    ("short history", "long history"),
)


def slices_of(log: Log, targets: Ints, config: EvaluationConfig) -> dict[str, Bools]:
    """Which of the targets (T,) belong to each slice, (T,). A group of slices that all fall into one of them is left out.

    new, repeated: whether the history holds the item. head: one of the `head_share` of items with most training steps; of
    items that tie at the bound none is. cold: no training step has it. tail: all others. short: at most `short_history` items
    came before.
    """
    sessions, items = log.sessions, log.sessions.items[targets]
    counts = log.training_counts
    repeats = repeated(sessions)[targets]
    head = head_items(counts, config.head_share)[items]
    cold = counts[items] == 0
    short = sessions.step_of[targets] <= config.short_history
    found = dict(
        zip(
            (name for group in GROUPS for name in group),
            (~repeats, repeats, head, ~(head | cold), cold, short, ~short),
            strict=True,
        )
    )
    shown = [name for group in GROUPS if sum(bool(found[name].any()) for name in group) > 1 for name in group]
    return {name: found[name] for name in shown if found[name].any()}


def head_items(counts: Ints, share: float) -> Bools:
    """Items (N + 1,) with more training steps than the first one beyond the share; counts (N + 1,), item 0 is none."""
    known = np.sort(counts[1:][counts[1:] > 0])[::-1]
    first_out = int(share * len(known))
    found = counts > (known[first_out] if first_out < len(known) else 0)
    found[0] = False
    return found


def repeated(sessions: Sessions) -> Bools:
    """Steps (E,) whose item came before in the same session."""
    found = np.ones(sessions.n_steps, dtype=bool)
    found[np.unique(sessions.session_of << 32 | sessions.items, return_index=True)[1]] = False
    return found
