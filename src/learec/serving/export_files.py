"""The files of an export, and how its arrays are read."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from learec.errors import ArtifactError

FILES = frozenset({"model.onnx", "table.npy", "bias.npy", "counts.npy"})
INDEX = "items.faiss"
RULE = ("vectors.npy", "neighbours-starts.npy", "neighbours-items.npy", "neighbours-cosines.npy")  # of a hybrid
OPTIONAL = frozenset({INDEX, *RULE})


def load_numbers(path: Path, dimensions: int) -> npt.NDArray[Any]:
    """An array in memory: a file that is overwritten while it is served changes nothing.

    Raises ArtifactError for a pickle, an archive, or any other thing that is no plain array.
    """
    try:
        found = np.array(np.lib.format.open_memmap(path, mode="r"))
    except ValueError as error:
        reason = " ".join(str(error).split())[:200]
        raise ArtifactError(f"{path}: is no array ({reason}); delete {path.parent} and run `learec export` again") from None
    if found.ndim != dimensions or found.dtype.kind not in "if":
        seen = f"{found.ndim} dimensions of {found.dtype}"
        raise ArtifactError(
            f"{path}: has {seen}, wanted {dimensions} of numbers; delete {path.parent} and run `learec export` again"
        )
    return found
