"""Evidence within an agent: what counts and texts say of a history is added to the actor's logits, with weights that are trained.

The encoder is left to learn what they do not say. Ours; LEA has no such part.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn

from learec.annotations.table import Annotations
from learec.config import AgentConfig, derived_seed
from learec.data.ease import NEAREST, Explained, item_knn_by_ease
from learec.data.log import Floats, Ints, Log, Sessions
from learec.data.neighbours import UNSEEN, ContentKNN, ItemKNN, Rule
from learec.data.other_sessions import FOLDS, Matrix, OtherSessions, as_array

PARTS = ("vectors", "starts", "neighbours", "cosines")  # of the evidence itself: texts, and a compressed sparse matrix


class Evidence(nn.Module):
    """The rule as part of an agent. Texts without numbers, or no neighbours, are the absence of one of the two."""

    def __init__(self, content: ContentKNN, knn: ItemKNN, at_start: tuple[float, float]) -> None:
        """Content's vectors may have no columns, and item-kNN no neighbours. at_start are weights of texts and counts."""
        super().__init__()
        there = torch.tensor([bool(content.vectors.shape[1]), bool(knn.similarity.nnz)])
        self.weights = nn.Parameter(torch.tensor(at_start) * there)
        self.vectors = nn.Buffer(torch.from_numpy(content.vectors), persistent=False)  # where the agent is trained
        self._rule = _Shared(Rule(content, knn, *at_start))

    @classmethod
    def of(cls, config: AgentConfig, log: Log, annotations: Annotations | None) -> "Evidence | None":
        """What an agent of this config reads; None for nothing."""
        if not config.reads_evidence:
            return None
        n_items = log.catalog.n_items
        vectors = annotations.item_vectors if annotations is not None and "content" in config.lea else np.zeros((n_items + 1, 0))
        counted = log.training if config.item_knn else log.training.select(np.zeros(log.training.n_steps, dtype=bool))
        content = ContentKNN(np.array(vectors, dtype=np.float32), config.knn_decay)
        return cls(content, item_knn_of(config, content.vectors)(counted), config.evidence_weights)

    @classmethod
    def stored(cls, config: AgentConfig, weights: Mapping[str, Tensor]) -> "Evidence | None":
        """Of a saved agent's config and weights, among which `tables` are."""
        if f"evidence.{PARTS[0]}" not in weights:
            return None
        vectors, starts, neighbours, cosines = (weights[f"evidence.{name}"].numpy() for name in PARTS)
        similarity = sparse.csr_array((cosines, neighbours, starts), shape=(len(vectors),) * 2)
        return cls(ContentKNN(vectors, config.knn_decay), ItemKNN(similarity, config.knn_decay), config.evidence_weights)

    def tables(self) -> dict[str, Tensor]:
        """What is not trained, under the names by which an agent's file has it."""
        rule = self._rule.rule
        cosines = rule.knn.similarity
        parts = (rule.content.vectors, cosines.indptr, cosines.indices, cosines.data)
        return {f"evidence.{name}": torch.from_numpy(part) for name, part in zip(PARTS, parts, strict=True)}

    def rule(self) -> Rule:
        """The same as it scores, with today's weights."""
        text_weight, knn_weight = self.weights.tolist()
        return replace(self._rule.rule, text_weight=text_weight, knn_weight=knn_weight)

    def told_weights(self) -> dict[str, float]:
        """The weights of those of the two that are there, for people."""
        named = dict(zip(("text_weight", "knn_weight"), self.weights.tolist(), strict=True))
        return {name: weight for name, weight in named.items() if weight}


@dataclass(frozen=True)
class _Shared:
    """Tables on the CPU, which nothing ever writes to: a target network's copy of an agent has the same ones."""

    rule: Rule

    def __deepcopy__(self, memo: dict[int, object]) -> "_Shared":
        return self


def item_knn_of(config: AgentConfig, vectors: Floats) -> Callable[[Sessions], ItemKNN]:
    """How an agent of this config counts, given the vectors (N + 1, W) of its texts."""
    n_items = len(vectors) - 1
    if config.knn_similarity == "ease":
        texts = Explained(vectors, config.ease_text_weight) if config.ease_text_weight else None
        return partial(
            item_knn_by_ease, n_items=n_items, decay=config.knn_decay, regularisation=config.ease_regularisation, texts=texts,
            named="an agent's ease_regularisation",
        )  # fmt: skip
    return partial(ItemKNN.fit, n_items=n_items, decay=config.knn_decay, shrinkage=config.knn_shrinkage)


def settings_of(config: AgentConfig) -> dict[str, dict[str, float]]:
    """What an agent's request says of evidence beside its config; nothing for an agent that reads none."""
    if not config.reads_evidence:
        return {}
    if config.knn_similarity == "ease":
        of_texts = {"text_weight": config.ease_text_weight} if config.ease_text_weight else {}
        counting = {"regularisation": config.ease_regularisation, **of_texts, "nearest": NEAREST}
    else:
        counting = {"shrinkage": config.knn_shrinkage}
    return {"evidence": {"decay": config.knn_decay, **counting, "unseen": UNSEEN, "folds": FOLDS}}


@dataclass(frozen=True)
class Told:
    """What evidence says before M steps: cosines of texts, and logarithms of item-kNN's scores, 0 where it has none."""

    profiles: Tensor  # (M, W)
    vectors: Tensor  # (N + 1, W)
    columns: Tensor  # (W, N + 1): the same, each column's numbers on end
    counts: Matrix  # (M, N + 1)

    def rows(self, rows: slice) -> tuple[Tensor, Tensor]:
        """Both for all items, each (m, N + 1)."""
        profiles, counts = self.profiles[rows], self.counts[rows]
        return profiles @ self.columns, torch.as_tensor(as_array(counts), device=profiles.device)

    def at(self, items: Tensor) -> tuple[Tensor, Tensor]:
        """Both for some items (M, K), each (M, K)."""
        texts = torch.einsum("mkw,mw->mk", self.vectors[items], self.profiles)
        lines = np.repeat(np.arange(len(items)), items.shape[1])
        counts = self.counts[lines, items.cpu().numpy().ravel()]
        return texts, torch.as_tensor(np.asarray(counts), device=items.device).view(items.shape)


@dataclass(frozen=True)
class Teller:
    """What evidence says before training steps. Of counts, a session is told those of other sessions."""

    content: ContentKNN
    vectors: Tensor  # the same, on the device that trains
    columns: Tensor  # and on end by column: a tall table is multiplied 1.2 times as fast so
    others: OtherSessions

    @classmethod
    def of(cls, evidence: Evidence, config: AgentConfig, log: Log, seed: int) -> "Teller":
        """For the evidence that an agent reads of this log."""
        counted = np.full(log.training.n_steps, config.item_knn)
        others = OtherSessions.of(
            log.training, counted, item_knn_of(config, evidence.rule().content.vectors),
            history=config.max_length, seed=derived_seed("evidence", seed),
        )  # fmt: skip
        return cls(evidence.rule().content, evidence.vectors, evidence.vectors.T.contiguous(), others)

    def seen(self, steps: Ints) -> Tensor:
        """The items before the training steps (M,), however long ago, (M, P); 0 where there are no more."""
        rows, items = self.others.training.seen(steps)
        places = np.arange(len(rows)) - np.searchsorted(rows, rows)
        found = np.zeros((len(steps), places.max(initial=0) + 1), dtype=np.int64)
        found[rows, places] = items
        return torch.as_tensor(found, device=self.vectors.device)

    def told(self, steps: Ints) -> Told:
        """Before the training steps (M,)."""
        counts = self.others.scores(steps)
        numbers = counts if isinstance(counts, np.ndarray) else counts.data
        np.log1p(numbers / np.float32(UNSEEN), out=numbers)  # from the logarithm of UNSEEN on: softmax does not mind
        profiles = self.content.profiles(*self.others.training.histories(steps, self.others.history))
        return Told(torch.as_tensor(profiles, device=self.vectors.device), self.vectors, self.columns, counts)
