"""An environment without a language model: states and rewards from TF-IDF, the control for what text as such gives."""

from dataclasses import dataclass

import numpy as np

from learec.annotations.candidates import BLOCK, LONGEST
from learec.config import AnnotationsConfig
from learec.data.log import Floats, Ints, Log, Sessions
from learec.data.neighbours import ContentKNN
from learec.data.tfidf import fewer_directions, tfidf_vectors

STATE_SIZE = 256  # as many numbers as the language model's states have by default: a critic is as large with either


@dataclass(frozen=True)
class TextEnvironment:
    """State: the history's direction among the item texts, newer items weighing more. Reward: an item's cosine with it.

    A state is the first STATE_SIZE numbers of that direction, the cosine is in all of them.
    """

    item_vectors: Floats  # (N + 1, W) of unit length, zeros for padding and items without text
    decay: float

    @classmethod
    def of(cls, log: Log, config: AnnotationsConfig) -> "TextEnvironment":
        """From the catalog's texts. A history's items fade as in the item-kNN of the config."""
        vectors = tfidf_vectors(log.catalog.table["text"].to_list(), log.cold_items, config.tfidf_size)
        return cls(vectors, config.knn_decay)

    def annotate(self, sessions: Sessions, candidates: Ints) -> tuple[Floats, Floats, Floats]:
        """States (E, S), rewards of the logged items (E,), rewards of the candidates (E, K; item 0 for none)."""
        content = ContentKNN(self.item_vectors, self.decay)
        states = np.zeros((sessions.n_steps, min(self.item_vectors.shape[1], STATE_SIZE)), dtype=np.float32)
        rewards = np.zeros(sessions.n_steps, dtype=np.float32)
        candidate_rewards = np.zeros(candidates.shape, dtype=np.float32)
        steps = np.flatnonzero(sessions.step_of > 0)
        for start in range(0, len(steps), BLOCK):
            block = steps[start : start + BLOCK]
            profiles = content.profiles(*sessions.histories(block, LONGEST))
            states[block] = fewer_directions(profiles, STATE_SIZE)
            rewards[block] = np.einsum("ew,ew->e", profiles, self.item_vectors[sessions.items[block]])
            for place, proposed in enumerate(candidates[block].T):  # all places at once would copy K vectors for every step
                candidate_rewards[block, place] = np.einsum("ew,ew->e", profiles, self.item_vectors[proposed])
        return states, rewards, candidate_rewards
