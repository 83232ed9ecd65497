"""The annotations table: columns added to the log, row-aligned with its training steps. The waist of the line."""

from dataclasses import dataclass
from pathlib import Path

from learec.artifacts import check_files, load_array, read_manifest
from learec.data.log import Bools, Floats, Ints

MAKE_WITH = "learec annotate RECIPE"
COLUMNS = ("states", "rewards", "augmented", "augmented_scores", "augmented_rewards", "annotated")


@dataclass(frozen=True)
class Annotations:
    """What the environment says of every training step of a log (E rows, in the order of `log.training`)."""

    states: Floats  # (E, W) state in which the step's item was chosen
    rewards: Floats  # (E,) of the step's item, standardised over the annotated steps
    augmented: Ints  # (E, K) item numbers of further positive actions, 0 for none
    augmented_scores: Floats  # (E, K) by which their source proposed them (of the rule, a logarithm); 0 for none
    augmented_rewards: Floats  # (E, K) on the scale of `rewards`
    annotated: Bools  # (E,) false where a step has no history to be judged in
    item_vectors: Floats  # (N + 1, W) of unit length
    digest: str
    text: "Annotations | None" = None  # the same steps' columns without a language model, where placebo "text" asks for them


def load_annotations(folder: Path, text_folder: Path | None = None) -> Annotations:
    """Open an annotations/ folder, and with it one made without a language model, after checking; columns are memory-mapped."""
    manifest = read_manifest(folder, "annotations", MAKE_WITH)
    check_files(folder, manifest, MAKE_WITH)
    columns = {name: load_array(folder / f"{name}.npy") for name in (*COLUMNS, "item_vectors")}
    text = None if text_folder is None else load_annotations(text_folder)
    return Annotations(**columns, digest=manifest.digest, text=text)
