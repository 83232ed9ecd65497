"""Evidence within an agent: what counts and texts say of a history is added to the actor's logits, with weights that are trained.

A row of 64 numbers does not hold what counts and texts hold of an item that was bought five times. With both in the logits
the encoder is left to learn what they do not say. Ours; LEA has no such part.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn

from learec.annotations.table import Annotations
from learec.config import AgentConfig, derived_seed
from learec.data.log import Ints, Log
from learec.data.neighbours import DECAY, SHRINKAGE, UNSEEN, ContentKNN, ItemKNN, Rule
from learec.data.other_sessions import OtherSessions

AT_START = (4.0, 1.0)  # weights of texts and counts: those of the untrained rule
PARTS = ("vectors", "starts", "neighbours", "cosines")  # tensors of the evidence itself


class Evidence(nn.Module):
    """The rule as part of an agent. Texts without numbers, or no neighbours, are the absence of one of the two."""

    def __init__(self, vectors: Tensor, starts: Tensor, neighbours: Tensor, cosines: Tensor) -> None:
        """Item vectors (N + 1, W); item-kNN's cosines as a compressed sparse matrix (N + 1, N + 1)."""
        super().__init__()
        self.weights = nn.Parameter(torch.tensor(AT_START))
        for name, part in zip(PARTS, (vectors, starts, neighbours, cosines), strict=True):
            self.register_buffer(name, part)

    @classmethod
    def of(cls, config: AgentConfig, log: Log, annotations: Annotations | None) -> "Evidence | None":
        """What an agent of this config reads; None for nothing."""
        if not config.reads_evidence:
            return None
        n_items = log.catalog.n_items
        vectors = annotations.item_vectors if annotations is not None and "content" in config.lea else np.zeros((n_items + 1, 0))
        counted = log.training if config.item_knn else log.training.select(np.zeros(log.training.n_steps, dtype=bool))
        cosines = ItemKNN.fit(counted, n_items, DECAY, SHRINKAGE).similarity
        parts = (np.array(vectors, dtype=np.float32), cosines.indptr, cosines.indices, cosines.data)
        return cls(*(torch.as_tensor(part) for part in parts))

    @classmethod
    def stored(cls, weights: Mapping[str, Tensor]) -> "Evidence | None":
        """Of an agent's saved weights."""
        names = [f"evidence.{name}" for name in PARTS]
        return cls(*(weights[name] for name in names)) if names[0] in weights else None

    def rule(self) -> Rule:
        """The same as it scores, with today's weights."""
        vectors, starts, neighbours, cosines = (self.get_buffer(name).cpu().numpy() for name in PARTS)
        knn = ItemKNN(sparse.csr_array((cosines, neighbours, starts), shape=(len(vectors),) * 2), DECAY)
        text_weight, knn_weight = self.weights.tolist()
        return Rule(ContentKNN(vectors, DECAY), knn, text_weight, knn_weight)


@dataclass(frozen=True)
class Told:
    """What evidence says before M steps: cosines of texts, and logarithms of item-kNN's scores, 0 where it has none."""

    profiles: Tensor  # (M, W)
    vectors: Tensor  # (N + 1, W)
    counts: sparse.csr_array  # (M, N + 1)

    def rows(self, rows: slice) -> tuple[Tensor, Tensor]:
        """Both for all items, each (m, N + 1)."""
        profiles, counts = self.profiles[rows], self.counts[rows]
        dense = profiles.new_zeros(counts.shape)
        lines = np.repeat(np.arange(counts.shape[0]), np.diff(counts.indptr))
        places = torch.as_tensor(lines * counts.shape[1] + counts.indices, device=dense.device)
        dense.view(-1)[places] = torch.as_tensor(counts.data, device=dense.device)
        return profiles @ self.vectors.T, dense

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
    others: OtherSessions

    @classmethod
    def of(cls, evidence: Evidence, config: AgentConfig, log: Log, seed: int) -> "Teller":
        """For the evidence that an agent reads of this log."""
        counted = np.full(log.training.n_steps, config.item_knn)
        others = OtherSessions.of(
            log.training, counted, log.catalog.n_items,
            decay=DECAY, shrinkage=SHRINKAGE, history=config.max_length, seed=derived_seed("evidence", seed),
        )  # fmt: skip
        return cls(evidence.rule().content, evidence.get_buffer("vectors"), others)

    def told(self, steps: Ints) -> Told:
        """Before the training steps (M,)."""
        counts = self.others.scores(steps)
        counts.data = np.log1p(counts.data / np.float32(UNSEEN))  # from the logarithm of UNSEEN on: softmax does not mind
        counts.sort_indices()
        profiles = self.content.profiles(*self.others.training.histories(steps, self.others.history))
        return Told(torch.as_tensor(profiles, device=self.vectors.device), self.vectors, counts)
