"""Hybrids: an agent's logits, item texts and item-kNN added up, with weights that validation chooses.

A small agent has a row of numbers for an item and forgets what counts and texts say of rare ones; both are at hand where it
serves, and cost no training. The agent alone is one of the choices, so on the validation part a hybrid is never behind it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import cast

import numpy as np

from learec.data.log import Floats, Ints, Log
from learec.data.neighbours import ContentKNN, ItemKNN, Rule
from learec.evaluation.floors import Floor, choosing_targets
from learec.evaluation.metrics import HISTORY, Scorer, ndcg, ranks_of_each

TEXT_WEIGHTS = (0.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)  # of the cosine, against logits
KNN_WEIGHTS = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)  # of item-kNN's logarithm


@dataclass(frozen=True)
class Hybrid:
    """An agent with the rule's evidence beside it."""

    agent: Scorer
    rule: Rule
    validation: float = float("nan")  # NDCG@10 that its weights reached on the targets they were chosen on

    @property
    def weights(self) -> dict[str, float]:
        """What validation chose; with the settings of its rule it can be made again."""
        rule = self.rule
        return {"text_weight": rule.text_weight, "knn_weight": rule.knn_weight, "validation": self.validation}

    def scores(self, histories: Ints, lengths: Ints) -> Floats:
        """Logits plus the rule, (B, N + 1)."""
        return self.agent.scores(histories, lengths) + self.rule.scores(histories, lengths)


def floor_beside(floors: Mapping[str, Floor[Scorer]]) -> Floor[Scorer]:
    """The floor whose evidence stands beside an agent: the rule, else that of TF-IDF, else item-kNN alone."""
    return next(floors[name] for name in ("rule", "tfidf_rule", "item_knn") if name in floors)


def rule_of(floor: Floor[Scorer]) -> Rule:
    """A floor_beside as a rule; item-kNN is one without texts."""
    if isinstance(floor.scorer, Rule):
        return floor.scorer
    knn = cast("ItemKNN", floor.scorer)
    return Rule(ContentKNN(np.zeros((knn.similarity.shape[0], 0), dtype=np.float32), knn.decay), knn, text_weight=0.0)


def hybrid_of(agent: Scorer, rule: Rule, log: Log, *, mask_seen: bool, seed: int) -> Hybrid:
    """The hybrid whose weights have the best NDCG@10 on the validation part; of equal ones, that with the smaller weights.

    The rule's own weights are not read. Texts get no weight where its vectors have no numbers.
    """
    targets = choosing_targets(log, seed)
    texts = TEXT_WEIGHTS if rule.content.vectors.shape[1] else TEXT_WEIGHTS[:1]
    tried = [replace(rule, text_weight=text, knn_weight=knn) for text in texts for knn in KNN_WEIGHTS]

    def each(histories: Ints, lengths: Ints) -> Iterator[Floats]:
        logits, (text, counts) = agent.scores(histories, lengths), rule.evidence(histories, lengths)
        scores = np.empty_like(logits)
        for one in tried:
            np.multiply(text, np.float32(one.text_weight), out=scores)
            scores += logits
            scores += np.float32(one.knn_weight) * counts
            yield scores

    width = log.catalog.n_items + 1
    ranks = ranks_of_each(each, len(tried), width, log.sessions, targets, mask_seen=mask_seen, max_length=HISTORY)
    means = ndcg(ranks, 10).mean(axis=1) if len(targets) else np.zeros(len(tried))
    best = int(means.argmax())
    return Hybrid(agent, tried[best], float(means[best]))
