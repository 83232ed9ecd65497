"""Whitening: from item tokens, or what is read in texts, to item vectors, whose dot product is a meaningful similarity."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from learec.data.log import Bools, Floats
from learec.data.neighbours import unit_rows
from learec.environment.texts import Texts

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Whitening:
    """Centre and directions that were fitted to some items, and hold for any other's."""

    centre: Doubles  # (D,)
    basis: Doubles  # (D, W)

    @classmethod
    def fit(cls, sources: Floats, texts: Texts, size: int) -> "Whitening":
        """Of the items that may shape what all share. W = min(size, D, those items - 1).

        Token embeddings of a language model share a few strong directions that say nothing about an item; principal
        components scaled to equal variance remove them.
        """
        rows = np.flatnonzero(texts.shaping)
        width = sources.shape[1]
        size = max(min(size, width, len(rows) - 1), 1)
        if len(rows) < 2:
            return cls(np.zeros(width), np.zeros((width, size)))
        centre = sources[rows].mean(0, dtype=np.float64)
        centred = sources[rows] - centre
        values, directions = np.linalg.eigh(centred.T @ centred / len(rows))
        values, directions = values[::-1][:size], directions[:, ::-1][:, :size]
        # Directions without variance are noise of the factorisation, not of the items.
        kept = values > 1e-10 * values[0]
        return cls(centre, np.where(kept, directions / np.sqrt(np.where(kept, values, 1)), 0))

    def vectors(self, sources: Floats, present: Bools) -> Floats:
        """Sources (n, D) -> vectors (n, W) of unit length; zero for items without text."""
        vectors = np.zeros((len(sources), self.basis.shape[1]), dtype=np.float32)
        if self.basis.any():
            vectors[present] = unit_rows((sources[present] - self.centre) @ self.basis)
        return vectors


def whitened(sources: Floats, texts: Texts, size: int) -> Floats:
    """Item vectors (N + 1, W) of sources (N + 1, D): centred, whitened, of unit length; zero for items without text."""
    return Whitening.fit(sources, texts, size).vectors(sources, texts.present)
