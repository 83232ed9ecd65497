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

    def shuffled(self, seed: int) -> "Annotations":
        """A placebo of the same size: every annotated step gets all columns of another one, drawn at random.

        Items keep their popularity and rewards their spread; only the tie to the step is cut. What remains of a gain
        under it is due to regularisation, not to what the environment says of the step.
        """
        rows = np.flatnonzero(self.annotated)
        other = np.arange(len(self.rewards))
        other[rows] = np.random.default_rng(seed).permutation(rows)
        return replace(
            self,
            states=self.states[other],
            rewards=self.rewards[other],
            augmented=self.augmented[other],
            augmented_rewards=self.augmented_rewards[other],
        )


def load_annotations(folder: Path) -> Annotations:
    """Open an annotations/ folder after checking it; columns are memory-mapped."""
    manifest = read_manifest(folder, "annotations", MAKE_WITH)
    check_files(folder, manifest, MAKE_WITH)
    columns = {name: load_array(folder / f"{name}.npy") for name in (*COLUMNS, "item_vectors")}
    return Annotations(**columns, digest=manifest.digest)
