"""State loss: contrasts the state with the next action, and by a setting with what others chose after such a history."""

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from learec.config import EnvironmentConfig, derived_seed
from learec.data.filters import repeats_in
from learec.data.log import Floats, Ints, Sessions
from learec.data.neighbours import SHRINKAGE, ItemKNN
from learec.data.other_sessions import OtherSessions, as_array
from learec.environment.environment import Environment
from learec.environment.negatives import BLOCK, NegativeSampler
from learec.sampled_softmax import ItemSampler, sampled_log_probabilities

BEST = 50  # items that a soft target spreads over


@dataclass(frozen=True)
class Teacher:
    """Soft targets: item-kNN's best items after a history, as often as it scores them, by the counts of other sessions."""

    others: OtherSessions

    @classmethod
    def of(cls, training: Sessions, taught: Ints, n_items: int, config: EnvironmentConfig, seed: int) -> "Teacher":
        """From the sessions `taught`, of all training sessions."""
        counted = np.isin(training.session_of, taught)
        fit = partial(ItemKNN.fit, n_items=n_items, decay=config.decay, shrinkage=SHRINKAGE)
        return cls(OtherSessions.of(training, counted, fit, history=config.history, seed=derived_seed("soft targets", seed)))

    def targets(self, steps: Ints) -> tuple[Ints, Floats]:
        """Items (M, BEST) and their weights, which sum to 1, or to 0 where nobody else chose an item of the history."""
        width = self.others.similarity.shape[1]
        items = np.zeros((len(steps), min(BEST, width)), dtype=np.int64)
        weights = np.zeros(items.shape, dtype=np.float32)
        size = max(BLOCK // width, 1)
        for start in range(0, len(steps), size):
            here = slice(start, start + size)
            scores = as_array(self.others.scores(steps[here]))
            scores[self.others.training.seen(steps[here])] = 0
            scores[:, 0] = 0
            items[here] = np.argpartition(-scores, items.shape[1] - 1, axis=1)[:, : items.shape[1]]
            weights[here] = np.take_along_axis(scores, items[here], axis=1)
        return items, weights / np.maximum(weights.sum(axis=1, keepdims=True), 1e-12)


@dataclass(frozen=True)
class Drawn:
    """A sample of items that stands for the catalog."""

    items: Tensor  # (C,)
    log_expected: Tensor  # (C,)


class StateLoss:
    """-log softmax(logits)[action], mean over steps, with logits as StateModel.logits gives them.

    Contrasts the state with the next action against every other item (LEA, section on the state model; the softmax form is our
    reading), or above `full_softmax_items` against a sample. In a log where nobody takes an item twice, items of the history are
    no alternative (with `alternatives` "possible"): else the state learns to turn away from its own history, which ranking does
    for it anyway. With
    `soft_targets` w it is (1 - w) of that and w of the cross-entropy towards a teacher, which is ours and not LEA's; a step that
    the teacher knows nothing of keeps its action.
    """

    def __init__(
        self,
        environment: Environment,
        negatives: NegativeSampler,
        sampler: ItemSampler | None = None,
        teacher: Teacher | None = None,
    ) -> None:
        """`sampler`: draws the items that stand for the catalog; None: all do. `teacher`: gives soft targets."""
        device, training = environment.vectors.device, negatives.training
        repeats = repeats_in(training.session_of, training.items, "drop").any()
        possible = environment.config.alternatives == "possible" and not repeats
        self.training = training if possible else None  # whose histories are left out
        self.environment, self.sampler, self.teacher = environment, sampler, teacher
        self.log_popularity, self.impossible = negatives.log_popularity.to(device), negatives.impossible.to(device)

    def draw(self) -> Drawn | None:
        """A fresh sample of items, if the loss is over one."""
        return None if self.sampler is None else Drawn(*self.sampler.draw())

    def logits(self, states: Tensor, steps: Ints) -> Tensor:
        """Of the whole catalog before the training steps (M,), (M, N + 1)."""
        logits = self.environment.state_model.logits(states, self.environment.vectors, self.log_popularity, self.impossible)
        if self.training is None:
            return logits
        rows, items = (torch.as_tensor(array, device=logits.device) for array in self.training.seen(steps))
        return logits.index_put((rows, items), logits.new_tensor(-torch.inf))

    def __call__(
        self, states: Tensor, actions: Tensor, steps: Ints, drawn: Drawn | None = None, *, taught: bool = True
    ) -> Tensor:
        """States (M, W) and actions (M,) of the training steps (M,). `taught`: whether the teacher is asked, if there is one."""
        asked = actions[:, None]
        if self.teacher is None or not taught:
            return -self._log_probabilities(states, asked, steps, drawn).mean()
        items, weights = (torch.as_tensor(array, device=states.device) for array in self.teacher.targets(steps))
        found = self._log_probabilities(states, torch.cat([asked, items], dim=1), steps, drawn)
        share = self.environment.config.soft_targets * (weights.sum(1) > 0)
        # An item that the teacher does not know may be one that no state can have (-inf), and weighs nothing.
        soft = torch.where(weights > 0, weights * found[:, 1:], 0.0).sum(1)
        return -((1 - share) * found[:, 0] + share * soft).mean()

    def _log_probabilities(self, states: Tensor, items: Tensor, steps: Ints, drawn: Drawn | None) -> Tensor:
        """Of items (M, K)."""
        if drawn is None:
            return self.logits(states, steps).log_softmax(-1).gather(1, items)
        model, vectors = self.environment.state_model, self.environment.vectors
        own = model.logits_at(states, vectors, self.log_popularity, items)
        corrected = model.logits_at(states, vectors, self.log_popularity, drawn.items) - drawn.log_expected
        if self.training is not None:
            rows, seen = (torch.as_tensor(array, device=states.device) for array in self.training.seen(steps))
            width = len(vectors)
            places = torch.arange(len(states), device=states.device)[:, None] * width + drawn.items
            corrected = corrected.masked_fill(torch.isin(places, rows * width + seen), -torch.inf)
        return sampled_log_probabilities(own, items, corrected, drawn.items)
