"""Hybrids: an agent's logits, item texts and item-kNN added up, with weights that validation chooses.

A small agent has a row of numbers for an item and forgets what counts and texts say of rare ones; both are at hand where it
serves, and cost no training. Validation also chooses whether the language model's vectors or TF-IDF's are what texts say, and
between item-kNN's cosines and CEASE's weights as what counts say. The agent alone is one of the choices, so on the targets
that choose (all of the validation part, or a sample of a large one) a hybrid is never behind it.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import cast

import numpy as np

from learec.data.ease import item_knn_by
from learec.data.log import Floats, Ints, Log
from learec.data.neighbours import ContentKNN, ItemKNN, Rule
from learec.evaluation.floors import Floor, Settings, choosing_targets
from learec.evaluation.literature import EASE
from learec.evaluation.metrics import HISTORY, Scorer, ndcg, ranks_of_each

TEXT_WEIGHTS = (0.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)  # of the cosine, against logits
KNN_WEIGHTS = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)  # of item-kNN's logarithm
EASE_BESIDE = {"rule": "cease", "tfidf_rule": "tfidf_cease", "item_knn": "ease"}  # which explains the texts that a rule reads


@dataclass(frozen=True)
class Hybrid:
    """An agent with the rule's evidence beside it."""

    agent: Scorer
    rule: Rule
    settings: Settings = field(default_factory=dict)  # that its rule was made with
    validation: float = float("nan")  # NDCG@10 that its weights reached on the targets they were chosen on

    @property
    def chosen(self) -> dict[str, float]:
        """What validation chose, with which it can be made again."""
        weights = {"text_weight": self.rule.text_weight, "knn_weight": self.rule.knn_weight}
        return {**self.settings, **weights, "validation": self.validation}

    def scores(self, histories: Ints, lengths: Ints) -> Floats:
        """Logits plus the rule, (B, N + 1)."""
        return self.agent.scores(histories, lengths) + self.rule.scores(histories, lengths)


def names_beside(floors: Collection[str]) -> list[str]:
    """The floors whose evidence may stand beside an agent: the rules of the language model and of TF-IDF, else item-kNN."""
    return [name for name in ("rule", "tfidf_rule") if name in floors] or ["item_knn"]


def rule_of(floor: Floor[Scorer]) -> Rule:
    """A floor that stands beside an agent as a rule; item-kNN is one without texts."""
    if isinstance(floor.scorer, Rule):
        return floor.scorer
    knn = cast("ItemKNN", floor.scorer)
    return Rule(ContentKNN(np.zeros((knn.similarity.shape[0], 0), dtype=np.float32), knn.decay), knn, text_weight=0.0)


def rules_beside(floors: Mapping[str, Floor[Scorer]]) -> list[Floor[Rule]]:
    """What may stand beside an agent: the floors of names_beside, and each with an EASE's weights in the place of cosines."""
    found = []
    for name in names_beside(floors):
        plain = Floor(rule_of(floors[name]), floors[name].settings)
        found.append(plain)
        ease = floors.get(EASE_BESIDE[name])
        if ease is not None:
            fitted = cast("EASE", ease.scorer)
            settings = {**ease.settings, "text_decay": plain.scorer.content.decay}
            found.append(Floor(replace(plain.scorer, knn=item_knn_by(fitted.weights, fitted.decay)), settings))
    return found


def hybrid_of(agent: Scorer, rules: Sequence[Floor[Rule]], log: Log, *, mask_seen: bool, seed: int) -> Hybrid:
    """The hybrid whose rule and weights have the best NDCG@10 on the validation part; of equal ones, the first rule's smallest.

    The rules' own weights are not read; all of them have texts or none has, and then texts get no weight.
    """
    targets = choosing_targets(log, seed)
    texts = TEXT_WEIGHTS if rules[0].scorer.content.vectors.shape[1] else TEXT_WEIGHTS[:1]
    weighted = [(text, knn) for text in texts for knn in KNN_WEIGHTS]
    tried = [
        replace(floor, scorer=replace(floor.scorer, text_weight=text, knn_weight=knn))
        for floor in rules
        for text, knn in weighted
    ]

    def each(histories: Ints, lengths: Ints) -> Iterator[Floats]:
        logits = agent.scores(histories, lengths)
        scores = np.empty_like(logits)
        for floor in rules:
            text, counts = floor.scorer.evidence(histories, lengths)
            for text_weight, knn_weight in weighted:
                np.multiply(text, np.float32(text_weight), out=scores)
                scores += logits
                scores += np.float32(knn_weight) * counts
                yield scores

    width = log.catalog.n_items + 1
    ranks = ranks_of_each(each, len(tried), width, log.sessions, targets, mask_seen=mask_seen, max_length=HISTORY)
    means = ndcg(ranks, 10).mean(axis=1) if len(targets) else np.zeros(len(tried))
    best = int(means.argmax())
    return Hybrid(agent, tried[best].scorer, tried[best].settings, float(means[best]))
