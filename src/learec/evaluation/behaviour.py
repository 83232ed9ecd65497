"""The behaviour policy: with what probability a logged user takes which item next; what off-policy estimates divide by."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from learec.data.log import Floats, Ints, Sessions
from learec.data.windows import batches_by_budget
from learec.evaluation.compare import Values
from learec.evaluation.metrics import HISTORY, Scorer

COUNTING = ("popularity", "last_item", "item_knn")  # floors whose scores are counts: nothing below 0, in proportion to evidence
AGAIN, ANY = "again", "any new item"
DECAY, LEAST = 0.8, 1e-3  # of the weight of a seen item by its age, and the least such weight
ROUNDS, STILL = 1000, 1e-9  # of EM at most; change of the shares below which it has arrived
CELLS = 8_000_000  # probabilities in memory at once


@dataclass(frozen=True)
class Behaviour:
    """b(a | history) = sum of shares * components, each a distribution over the items; the sources' scores are their counts.

    Components: AGAIN (items of the history, newer ones more), ANY (uniform over the items that are not in it), and each source's
    scores over those items, divided by their sum (ANY where that is 0). Every item that can be taken has a probability above 0.
    """

    names: tuple[str, ...]  # of the components
    shares: Values  # (components,) that add up to 1
    likelihoods: Mapping[str, Values]  # by part: what each component says of the items of its steps, (T, components)

    @classmethod
    def fit(cls, sources: Mapping[str, Scorer], sessions: Sessions, parts: Mapping[str, Ints]) -> "Behaviour":
        """Shares under which the steps (T,) of the first part are likeliest; sources are fitted on training steps.

        The first part is to be the validation steps, which the sources have not counted. No other part has a say in anything.
        """
        likelihoods = {part: components(sources, sessions, steps) for part, steps in parts.items()}
        return cls((AGAIN, ANY, *sources), fitted_shares(next(iter(likelihoods.values()))), likelihoods)

    def probabilities(self, part: str) -> Values:
        """Of the items of a part's steps given what came before them, (T,)."""
        return self.likelihoods[part] @ self.shares

    def told(self) -> dict[str, object]:
        """Its shares, and how likely it makes the steps of each part, beside popularity alone and no knowledge at all.

        The shares of all three are fitted on the first part; the others are held out from everything.
        """
        first = next(iter(self.likelihoods.values()))
        kept = {"mixture": self.names, "popularity": (AGAIN, ANY, "popularity"), "uniform": (AGAIN, ANY)}
        found: dict[str, dict[str, float]] = {}
        for name, names in kept.items():
            chosen = [place for place, known in enumerate(self.names) if known in names]
            shares = fitted_shares(first[:, chosen])
            found[name] = {part: log_likelihood(rows[:, chosen] @ shares) for part, rows in self.likelihoods.items()}
        return {"shares": dict(zip(self.names, self.shares.tolist(), strict=True)), "log_likelihood": found}


def fitted_shares(likelihoods: Values) -> Values:
    """Shares (C,) of a mixture, given what each component says of each observation (T, C): EM, from equal shares.

    Every component counts one observation of its own, so that no share, and then no probability, becomes 0.
    """
    n, width = likelihoods.shape
    shares = np.full(width, 1 / width)
    for _ in range(ROUNDS):
        joint = likelihoods * shares
        owed = (joint / joint.sum(axis=1, keepdims=True)).sum(axis=0)
        before, shares = shares, (owed + 1) / (n + width)
        if np.abs(shares - before).max() < STILL:
            break
    return shares


def log_likelihood(probabilities: Values) -> float:
    """Mean logarithm, in nats a step; NaN without steps."""
    return float(np.log(probabilities).mean()) if len(probabilities) else float("nan")


def components(sources: Mapping[str, Scorer], sessions: Sessions, steps: Ints) -> Values:
    """What each component says of the steps' own items, (T, components)."""
    found = np.zeros((len(steps), 2 + len(sources)))
    for places, rows in distributions(sources, sessions, steps):
        items = sessions.items[steps[places]].astype(np.int64)
        found[places] = np.stack([row[np.arange(len(items)), items] for row in rows], axis=1)
    return found


def distributions(sources: Mapping[str, Scorer], sessions: Sessions, steps: Ints) -> Iterator[tuple[Ints, Sequence[Floats]]]:
    """Block by block: places among the steps, and every component as a distribution over the items, (B, N + 1)."""
    if not len(steps):
        return
    # One history tells how many items there are; rows of a block are alike in length, so that little is padded.
    width = _any_scores(sources, sessions, steps[:1]).shape[1]
    order = np.argsort(sessions.step_of[steps], kind="stable")
    sizes = (2 + len(sources)) * width + sessions.step_of[steps]
    for places in batches_by_budget(sizes, order, CELLS):
        yield places, _block(sources, sessions, steps[places], width)


def _any_scores(sources: Mapping[str, Scorer], sessions: Sessions, steps: Ints) -> Floats:
    return next(iter(sources.values())).scores(*sessions.histories(steps, HISTORY))


def _block(sources: Mapping[str, Scorer], sessions: Sessions, steps: Ints, width: int) -> list[Floats]:
    rows, items = sessions.seen(steps)
    new = np.ones((len(steps), width), dtype=np.float32)
    new[:, 0] = 0
    new[rows, items] = 0
    anything = _proportional(new, new)
    histories = sessions.histories(steps, HISTORY)
    found = [_again(rows, items, sessions.step_of[steps], width), anything]
    return found + [_proportional(np.maximum(source.scores(*histories), 0) * new, anything) for source in sources.values()]


def _again(rows: Ints, items: Ints, counts: Ints, width: int) -> Floats:
    """Over the items seen: weights by age, the newest 0; an item that was seen often has the sum of its weights."""
    age = np.repeat(np.cumsum(counts), counts) - 1 - np.arange(len(rows))
    weights = np.maximum(DECAY**age, LEAST)
    weight = np.bincount(rows * width + items, weights=weights, minlength=len(counts) * width).reshape(len(counts), width)
    return _proportional(weight.astype(np.float32), np.zeros_like(weight, dtype=np.float32))


def _proportional(evidence: Floats, otherwise: Floats) -> Floats:
    """Rows that add up to 1; those without evidence are `otherwise`."""
    total = evidence.sum(axis=1, keepdims=True, dtype=np.float64)
    rows: Floats = np.where(total > 0, evidence / np.where(total > 0, total, 1), otherwise).astype(np.float32)
    return rows
