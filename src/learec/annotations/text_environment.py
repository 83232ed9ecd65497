"""An environment without a language model: states and rewards from TF-IDF, the control for what text as such gives."""

from dataclasses import dataclass

import numpy as np

from learec.annotations.candidates import BLOCK, LONGEST
from learec.data.log import Floats, Ints, Log, Sessions
from learec.data.neighbours import ContentKNN
from learec.data.tfidf import tfidf_vectors


@dataclass(frozen=True)
class TextEnvironment:
    """State: the history's direction among the item texts, newer items weighing more. Reward: an item's cosine with it."""

    item_vectors: Floats  # (N + 1, W) of unit length, zeros for padding and items without text
    decay: float

    @classmethod
    def of(cls, log: Log, decay: float) -> "TextEnvironment":
        """From the catalog's texts. decay: weight of a history's items by step of age, as in item-kNN."""
        return cls(tfidf_vectors(log.catalog.table["text"].to_list(), log.cold_items), decay)

    def annotate(self, sessions: Sessions, candidates: Ints) -> tuple[Floats, Floats, Floats]:
        """States (E, W), rewards of the logged items (E,), rewards of the candidates (E, K; item 0 for none)."""
        content = ContentKNN(self.item_vectors, self.decay)
        states = np.zeros((sessions.n_steps, self.item_vectors.shape[1]), dtype=np.float32)
        steps = np.flatnonzero(sessions.step_of > 0)
        for start in range(0, len(steps), BLOCK):
            block = steps[start : start + BLOCK]
            states[block] = content.profiles(*sessions.histories(block, LONGEST))
        rewards = np.einsum("ew,ew->e", states, self.item_vectors[sessions.items])
        return states, rewards, np.einsum("ew,ekw->ek", states, self.item_vectors[candidates])
