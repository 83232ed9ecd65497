"""Examination: how well rewards tell the logged action from others, on users that no weight was learnt from.

A reward model is worth its cost only if it tells more than what needs no training, so the same pairs are also scored by the
state's similarity, the history's text, item-kNN and popularity; counts leave out the examined users. Negatives are drawn
uniformly, as often as items occur, and, harder, among the best of item-kNN and of the text's neighbours.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import rankdata, spearmanr

from learec.data.log import Bools, Floats, Ints, Log, Sessions
from learec.environment.environment import Environment
from learec.environment.negatives import Neighbours, drawn

NEGATIVES = ("uniform", "popular", "item_knn", "text")
SCORERS = ("reward", "state", "text", "item_knn", "popularity")
CALIBRATED = "popular"
BINS = 10


@dataclass(frozen=True)
class Pairs:
    """M steps with their logged action and one negative of each kind, and what everybody gives them."""

    actions: Ints  # (M, 1 + negatives), the logged one first; 0 where there is none
    scores: dict[str, Floats]  # by scorer, (M, 1 + negatives)


def examine(environment: Environment, log: Log, users: Ints, seed: int, n_steps: int | None = None) -> dict[str, Any]:
    """What `users`, session numbers that no weight was learnt from, say of the reward model; whole sessions up to `n_steps`.

    Returns pairs (how many by negative), accuracy and auc (by negative and scorer; a tie counts half), calibration (against
    popular items: what rewards say and what is seen), spread, ties and the correlation with popularity.
    """
    training = log.training
    chosen = _some(training, users, seed, n_steps)
    held_out = np.isin(training.session_of, users)
    own, others = training.select(np.isin(training.session_of, chosen)), training.select(~held_out)
    steps = np.flatnonzero(own.step_of > 0)
    if not len(steps) or not others.n_steps:
        return {}
    pairs = _pairs(environment, own, others, steps, seed)
    return {
        "steps": len(steps),
        "pairs": {kind: int(_present(pairs, kind).sum()) for kind in NEGATIVES},
        "accuracy": {kind: {name: _accuracy(*_both(pairs, kind, name)) for name in SCORERS} for kind in NEGATIVES},
        "auc": {kind: {name: area_under_curve(*_both(pairs, kind, name)) for name in SCORERS} for kind in NEGATIVES},
        "calibration": calibration(*_both(pairs, CALIBRATED, "reward")),
        "spread": float(pairs.scores["reward"][:, 0].std()),
        "ties": float(np.mean(np.equal(*_both(pairs, CALIBRATED, "reward")))),
        "popularity_correlation": _correlation(*(pairs.scores[name][pairs.actions > 0] for name in ("reward", "popularity"))),
    }


def _some(training: Sessions, users: Ints, seed: int, n_steps: int | None) -> Ints:
    """Users in random order, until they have so many steps."""
    order = np.random.default_rng([seed, 1]).permutation(users)
    if n_steps is None:
        return order
    return order[: int(np.searchsorted(np.cumsum(training.lengths[order]), n_steps)) + 1]


def _pairs(environment: Environment, own: Sessions, others: Sessions, steps: Ints, seed: int) -> Pairs:
    vectors, rng = environment.item_vectors, np.random.default_rng([seed, 2])
    neighbours = Neighbours.of(others, vectors, environment.config.decay, environment.config.history)
    actions = np.zeros((len(steps), 1 + len(NEGATIVES)), dtype=np.int64)
    actions[:, 0] = own.items[steps]
    found: dict[str, list[Floats]] = {"text": [], "item_knn": []}
    for near in neighbours.blocks(own, steps):
        here = actions[near.place]
        here[:, 1:2] = drawn(near.possible, rng)
        here[:, 2:3] = drawn(near.possible * neighbours.counts, rng)
        here[:, 3:4] = near.knn_neighbours(rng)
        here[:, 4:5] = near.text_neighbours(rng)
        for name, scores in (("text", near.text), ("item_knn", near.knn)):
            found[name].append(np.take_along_axis(scores, here, axis=1))
    asked = np.zeros((own.n_steps, len(NEGATIVES)), dtype=np.int64)
    asked[steps] = actions[:, 1:]
    states, rewards, of_negatives = environment.annotate(own, asked)
    return Pairs(
        actions,
        {
            "reward": np.column_stack([rewards, of_negatives])[steps],
            "state": np.einsum("mw,mkw->mk", states[steps], vectors[actions]),
            "popularity": neighbours.counts[actions].astype(np.float32),
            **{name: np.concatenate(parts) for name, parts in found.items()},
        },
    )


def _present(pairs: Pairs, kind: str) -> Bools:
    present: Bools = pairs.actions[:, 1 + NEGATIVES.index(kind)] > 0
    return present


def _both(pairs: Pairs, kind: str, scorer: str) -> tuple[Floats, Floats]:
    """Scores of the logged actions and of the negatives of a kind, where there is one."""
    scores, present = pairs.scores[scorer], _present(pairs, kind)
    return scores[present, 0], scores[present, 1 + NEGATIVES.index(kind)]


def _accuracy(logged: Floats, negative: Floats) -> float | None:
    return float(np.mean((logged > negative) + 0.5 * (logged == negative))) if len(logged) else None


def area_under_curve(logged: Floats, negative: Floats) -> float | None:
    """How often any logged action scores above any negative one, a tie counting half (Mann-Whitney)."""
    if not len(logged):
        return None
    ranks = rankdata(np.concatenate([logged, negative]))
    n = len(logged)
    return float((ranks[:n].sum() - n * (n + 1) / 2) / (n * len(negative)))


def calibration(logged: Floats, negative: Floats) -> list[dict[str, float]]:
    """What the rewards say and what is seen: said = sigmoid(|gap|), seen = how often the logged action is the better one.

    As many pairs in each of BINS bins, by rising `said`; a pair with equal rewards is seen half.
    """
    gap = logged.astype(np.float64) - negative
    order = np.argsort(np.abs(gap), kind="stable")
    bins = (part for part in np.array_split(order, BINS) if len(part))
    return [
        {
            "said": float(np.mean(1 / (1 + np.exp(-np.abs(gap[part]))))),
            "seen": float(np.mean((gap[part] > 0) + 0.5 * (gap[part] == 0))),
            "pairs": len(part),
        }
        for part in bins
    ]


def _correlation(left: Floats, right: Floats) -> float | None:
    """Spearman's, or None where one side is constant."""
    if len(left) < 2 or np.ptp(left) == 0 or np.ptp(right) == 0:
        return None
    return float(spearmanr(left, right).statistic)
