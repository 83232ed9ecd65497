"""Examples: test sessions drawn at random, with titles, for a reader to look at."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from learec.annotations.table import Annotations
from learec.config import derived_seed
from learec.data.log import Log, Part
from learec.evaluation.metrics import HISTORY, Scorer, ranking

N_EXAMPLES, N_SHOWN = 10, 5


def examples(
    log: Log, annotations: Annotations | None, scorers: Mapping[str, Scorer], mask_seen: bool, seed: int
) -> list[dict[str, Any]]:
    """History, next item, what every scorer recommends, and one annotated training step."""
    targets = log.targets(Part.TEST)
    rng = np.random.default_rng(derived_seed("examples", seed))
    steps = np.sort(rng.choice(targets, min(N_EXAMPLES, len(targets)), replace=False))
    histories, lengths = log.sessions.histories(steps, HISTORY)
    best = {
        name: ranking(scorer, log.sessions, steps, mask_seen=mask_seen, max_length=HISTORY, k=N_SHOWN).best
        for name, scorer in scorers.items()
    }
    titles = log.catalog.titles
    found = []
    for row, step in enumerate(steps):
        item = int(log.sessions.items[step])
        found.append(
            {
                "session": log.session_ids[int(log.sessions.session_of[step])],
                "history": [titles[number] for number in histories[row][: lengths[row]]],
                "next": titles[item],
                "recommendations": {
                    name: [{"title": titles[number], "hit": int(number) == item} for number in rows[row] if number]
                    for name, rows in best.items()
                },
                "annotated": _annotated_step(log, annotations, int(log.sessions.session_of[step]), rng),
            }
        )
    return found


def _annotated_step(log: Log, annotations: Annotations | None, session: int, rng: np.random.Generator) -> dict[str, Any] | None:
    """The newest annotated step of the session, or, if it has none, of a random one that has."""
    if annotations is None or not annotations.annotated.any():
        return None
    training = log.training
    steps = np.flatnonzero(annotations.annotated & (training.session_of == session))
    step = int(steps[-1]) if len(steps) else int(rng.choice(np.flatnonzero(annotations.annotated)))
    histories, lengths = training.histories(np.array([step]), HISTORY)
    titles = log.catalog.titles
    proposed = zip(annotations.augmented[step], annotations.augmented_rewards[step], strict=True)
    return {
        "session": log.session_ids[int(training.session_of[step])],
        "history": [titles[number] for number in histories[0][: lengths[0]]],
        "action": titles[int(training.items[step])],
        "reward": float(annotations.rewards[step]),
        "augmented": [{"title": titles[int(number)], "reward": float(reward)} for number, reward in proposed if number],
    }
