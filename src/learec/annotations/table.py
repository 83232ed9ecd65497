"""The annotations table: columns added to the log, row-aligned with its training steps. The waist of the line."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from learec.artifacts import check_files, load_array, read_manifest
from learec.data.log import Bools, Floats, Ints

MAKE_WITH = "learec annotate RECIPE"
COLUMNS = ("states", "rewards", "augmented", "augmented_rewards", "annotated")


@dataclass(frozen=True)
class Annotations:
    """What the environment says of every training step of a log (E rows, in the order of `log.training`)."""

    states: Floats  # (E, W) state in which the step's item was chosen
    rewards: Floats  # (E,) of the step's item, standardised over the annotated steps
    augmented: Ints  # (E, K) item numbers of further positive actions, 0 for none
    augmented_rewards: Floats  # (E, K) on the scale of `rewards`
    annotated: Bools  # (E,) false where a step has no history to be judged in
    item_vectors: Floats  # (N + 1, W) whitened item tokens of unit length
    digest: str

    def shuffled(self, seed: int, n_items: int) -> "Annotations":
        """A placebo of the same size: rewards and states of other steps, and random items as augmented actions.

        What remains of a gain under it is due to regularisation, not to what the environment says.
        """
        rng = np.random.default_rng(seed)
        rows = np.flatnonzero(self.annotated)
        other = np.arange(len(self.rewards))
        other[rows] = rng.permutation(rows)
        random_items = rng.integers(1, n_items + 1, self.augmented.shape)
        return replace(
            self,
            states=self.states[other],
            rewards=self.rewards[other],
            augmented=np.where(self.augmented > 0, random_items, 0),
            augmented_rewards=self.augmented_rewards[other],
        )


def load_annotations(folder: Path) -> Annotations:
    """Open an annotations/ folder after checking it; columns are memory-mapped."""
    manifest = read_manifest(folder, "annotations", MAKE_WITH)
    check_files(folder, manifest, MAKE_WITH)
    columns = {name: load_array(folder / f"{name}.npy") for name in (*COLUMNS, "item_vectors")}
    return Annotations(**columns, digest=manifest.digest)
