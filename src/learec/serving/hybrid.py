"""Texts and counts as they are served: item vectors and item-kNN's cosines beside an agent, or within it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse

from learec.data.log import Floats, Ints
from learec.data.neighbours import ContentKNN, ItemKNN, Rule
from learec.data.windows import newest
from learec.errors import ArtifactError
from learec.serving.export_files import RULE, load_numbers
from learec.serving.ranker import VectorRanker, best_of_rows

WITHIN = "export --hybrid: {} was trained with texts or item-kNN within it; drop --hybrid"


@dataclass(frozen=True)
class Beside:
    """What stands beside an agent that is exported."""

    rule: Rule
    history: int  # items that it may read
    digest: str | None  # of the results in which its weights were found; None: the agent was trained with it

    @property
    def settings(self) -> dict[str, float]:
        """What an export's files do not tell."""
        rule = self.rule
        weights = {"text_weight": rule.text_weight, "knn_weight": rule.knn_weight}
        return {**weights, "decay": rule.knn.decay, "text_decay": rule.content.decay, "history": self.history}


class HybridRanker:
    """A Ranker: logits plus the rule."""

    def __init__(self, agent: VectorRanker, rule: Rule, history: int) -> None:
        """Agent and rule know the same items; the agent reads the newest of the history that the rule reads."""
        self.agent, self.rule, self.max_length = agent, rule, history
        self.n_items, self.bias = agent.n_items, agent.bias

    def top(self, items: Ints, blocked: Ints, k: int) -> tuple[Ints, Floats]:
        """(B, L), (B, P) -> (B, k), (B, k)."""
        scores = self._of_all(items)
        np.put_along_axis(scores, blocked, np.float32(-np.inf), axis=1)
        return best_of_rows(scores, k)

    def scores(self, items: Ints, candidates: list[Ints]) -> list[Floats]:
        """As in Ranker; all items are scored for it."""
        return [row[some] for row, some in zip(self._of_all(items), candidates, strict=True)]

    def _of_all(self, items: Ints) -> Floats:
        lengths = np.count_nonzero(items, axis=1)
        kept, _ = newest(items, lengths, self.agent.max_length)
        scores: Floats = self.agent.hidden(kept) @ self.agent.table.T + self.bias
        return scores + self.rule.scores(items, lengths)


def write_rule(rule: Rule, n_items: int, folder: Path) -> None:
    """Vectors and cosines of the agent's items as plain arrays, RULE."""
    if len(rule.content.vectors) != n_items + 1:
        raise ArtifactError(
            f"export: item vectors are of {len(rule.content.vectors) - 1} items, the agent's of {n_items}; "
            "run `learec annotate RECIPE`, `learec train RECIPE` and `learec evaluate RECIPE` again"
        )
    cosines = rule.knn.similarity.tocsr()
    arrays = (rule.content.vectors, cosines.indptr, cosines.indices, cosines.data)
    for name, array in zip(RULE, arrays, strict=True):
        np.save(folder / name, np.asarray(array), allow_pickle=False)


def load_rule(folder: Path, settings: dict[str, Any]) -> Rule:
    """The rule of an export, whose files must have been checked. Raises ArtifactError for arrays that do not fit."""
    vectors, starts, items, cosines = (load_numbers(folder / name, 2 if name == RULE[0] else 1) for name in RULE)
    n = len(vectors)
    try:
        similarity = sparse.csr_array((cosines, items, starts), shape=(n, n))
        similarity.check_format(full_check=True)
    except ValueError as error:
        raise ArtifactError(
            f"{folder}: its neighbours are no table of {n - 1} items ({error}); run `learec export` again"
        ) from None
    content = ContentKNN(vectors, float(settings.get("text_decay", settings["decay"])))
    knn = ItemKNN(similarity, float(settings["decay"]))
    return Rule(content, knn, float(settings["text_weight"]), float(settings["knn_weight"]))
