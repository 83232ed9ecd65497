"""item-kNN for training: what counts say of a history once the session that it comes from is left out of them."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from learec.data.log import Bools, Floats, Ints, Sessions
from learec.data.neighbours import ItemKNN, history_matrix

FOLDS = 5
FULL = 1 / 3  # of the pairs of items are neighbours: from there on a plain array takes less memory, and a fifth of the time
LARGEST = 2**26  # numbers of such an array
Matrix = sparse.csr_array | Floats


@dataclass(frozen=True)
class OtherSessions:
    """Sessions are dealt into folds; one is told the counts of all folds but its own.

    Were a session's own next action among the counts, they would know it, and whoever learns from them would learn to trust
    them too much.
    """

    training: Sessions
    similarity: Matrix  # (FOLDS * (N + 1), N + 1): item-kNN's similarities without a fold, one fold after the other
    fold_of: Ints  # (sessions,)
    decay: float
    history: int

    @classmethod
    def of(
        cls, training: Sessions, counted: Bools, fit: Callable[[Sessions], ItemKNN], *, history: int, seed: int
    ) -> "OtherSessions":
        """Of the training steps that are `counted` (E,), as `fit` counts. Whoever asks reads `history` items at most."""
        fold_of = np.random.default_rng(seed).permutation(training.n_sessions) % FOLDS
        kept = [training.select(counted & (fold_of[training.session_of] != fold)) for fold in range(FOLDS)]
        counts = [fit(part) for part in kept]
        similarity = sparse.csr_array(sparse.vstack([one.similarity for one in counts]))
        n_numbers = similarity.shape[0] * similarity.shape[1]
        full = n_numbers <= LARGEST and similarity.nnz > FULL * n_numbers
        return cls(training, similarity.toarray() if full else similarity, fold_of, counts[0].decay, history)

    def scores(self, steps: Ints) -> Matrix:
        """item-kNN's scores before the training steps (M,), (M, N + 1); an array where most items are neighbours."""
        rows, width = self.similarity.shape
        first_rows = self.fold_of[self.training.session_of[steps]] * width
        histories, lengths = self.training.histories(steps, self.history)
        scores: Matrix = history_matrix(histories + first_rows[:, None], lengths, self.decay, rows) @ self.similarity
        return scores


def as_array(matrix: Matrix) -> Floats:
    """The same in full."""
    return matrix if isinstance(matrix, np.ndarray) else matrix.toarray()
