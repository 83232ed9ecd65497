"""Nearest-neighbour evidence from training sessions and item vectors: floors in evaluation, candidates for annotations.

Every class has `scores(histories (B, L), lengths (B,)) -> (B, N + 1) float32`, higher is better; nothing is trained.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse

from learec.data.log import Floats, Ints, Sessions

UNSEEN = 1e-2  # stands for an item-kNN score of zero under a logarithm
SHRINKAGE = 20.0  # of item-kNN's cosines: few counts, little trust. 20 to 80 are level on amazon_scientific (docs/results.md)


def recency_weights(lengths: Ints, width: int, decay: float) -> Floats:
    """Decay ** age for every place of a padded history, (B, L); the newest item has age 0, padding has weight 0."""
    age = lengths[:, None] - 1 - np.arange(width)
    return np.where(age >= 0, decay ** np.maximum(age, 0), 0).astype(np.float32)


def history_matrix(histories: Ints, lengths: Ints, decay: float, width: int) -> sparse.csr_array:
    """Recency weights of a history's items in their columns, (B, width)."""
    weights = recency_weights(lengths, histories.shape[1], decay)
    rows = np.repeat(np.arange(len(histories)), histories.shape[1])
    return sparse.csr_array((weights.ravel(), (rows, histories.ravel())), shape=(len(histories), width))


def counted_together(training: Sessions, n_items: int) -> sparse.csr_array:
    """In how many sessions two items are, (N + 1, N + 1); on the diagonal, in how many an item is."""
    seen = binary(training.session_of, training, n_items)
    return (seen.T @ seen).tocsr()


def binary(rows: Ints, training: Sessions, n_items: int) -> sparse.csr_array:
    """Which row of all (E,) training steps has which item, (S, N + 1) float32 of ones."""
    ones = np.ones(training.n_steps, dtype=np.float32)
    seen = sparse.csr_array((ones, (rows, training.items)), shape=(training.n_sessions, n_items + 1))
    seen.data[:] = 1  # a repeated item counts once; csr_array has summed its duplicates
    return seen


@dataclass(frozen=True)
class ItemKNN:
    """Items bought by the same users: sum over the history of decay ** age * cosine(item, candidate).

    The cosine is between columns of the binary session x item matrix, shrunk towards zero where counts are small:
    together(i, j) / (sqrt(n_i * n_j) + shrinkage). Two items that two users share by chance would otherwise be the
    nearest of neighbours. An item is no neighbour of itself.
    """

    similarity: sparse.csr_array  # (N + 1, N + 1)
    decay: float

    @classmethod
    def fit(cls, training: Sessions, n_items: int, decay: float, shrinkage: float) -> "ItemKNN":
        """Count co-occurrences in training sessions."""
        return cls.of_counts(counted_together(training, n_items), decay, shrinkage)

    @classmethod
    def of_counts(cls, together: sparse.csr_array, decay: float, shrinkage: float) -> "ItemKNN":
        """From what counted_together found."""
        root = np.sqrt(together.diagonal())
        pairs = together.tocoo()
        apart = pairs.row != pairs.col
        rows, columns = pairs.row[apart], pairs.col[apart]
        cosine = pairs.data[apart] / (root[rows] * root[columns] + shrinkage)
        return cls(sparse.csr_array((cosine.astype(np.float32), (rows, columns)), shape=together.shape), decay)

    def scores(self, histories: Ints, lengths: Ints) -> Floats:
        """Evidence for every item, (B, N + 1)."""
        history = history_matrix(histories, lengths, self.decay, self.similarity.shape[0])
        return (history @ self.similarity).toarray()


@dataclass(frozen=True)
class ContentKNN:
    """Items whose vectors point where the history's do: cosine(sum of decay ** age * vector, candidate's vector)."""

    vectors: Floats  # (N + 1, W) of unit length, zeros for padding and for items without text
    decay: float

    def profiles(self, histories: Ints, lengths: Ints) -> Floats:
        """The history's direction, (B, W), of unit length (zero where nothing is known)."""
        history = history_matrix(histories, lengths, self.decay, len(self.vectors))
        return unit_rows(history @ self.vectors)

    def scores(self, histories: Ints, lengths: Ints) -> Floats:
        """Cosine with every item, (B, N + 1)."""
        return self.profiles(histories, lengths) @ self.vectors.T


@dataclass(frozen=True)
class Rule:
    """The untrained rule: text_weight * content cosine + knn_weight * log item-kNN. Either evidence alone is not enough."""

    content: ContentKNN
    knn: ItemKNN
    text_weight: float
    knn_weight: float = 1.0

    def scores(self, histories: Ints, lengths: Ints) -> Floats:
        """Product of experts in logarithms, (B, N + 1)."""
        text, counts = self.evidence(histories, lengths)
        return self.text_weight * text + self.knn_weight * counts

    def evidence(self, histories: Ints, lengths: Ints) -> tuple[Floats, Floats]:
        """Content cosine and the logarithm of item-kNN, each (B, N + 1)."""
        return self.content.scores(histories, lengths), np.log(self.knn.scores(histories, lengths) + UNSEEN)


def unit_rows(rows: npt.NDArray[np.floating]) -> Floats:
    """Rows divided by their length; a row of zeros stays zero."""
    return (rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-12)).astype(np.float32)
