"""Which way an agent is served: its export where there is one, else torch."""

from importlib.util import find_spec
from typing import Literal

from learec.artifacts import MANIFEST
from learec.serving.choose import Chosen
from learec.serving.folders import belongs, make_export
from learec.serving.missing import libraries_for
from learec.serving.ranker import Loaded

Backend = Literal["auto", "onnx", "torch"]


def load_ranker(chosen: Chosen, backend: Backend) -> Loaded:
    """What a recommender is made of. Raises ArtifactError, or ConfigError where a library is missing."""
    if backend == "auto":
        backend = "onnx" if _serves_export(chosen) else "torch"
    instead = "" if backend == "onnx" else f", or export the agent where it is: `{make_export(chosen)}`"
    with libraries_for(f"agent {chosen}: serving it with {backend}", instead):
        return _load_onnx(chosen) if backend == "onnx" else _load_torch(chosen)


def _load_onnx(chosen: Chosen) -> Loaded:
    from learec.serving.onnx_ranker import load_onnx

    return load_onnx(chosen)


def _load_torch(chosen: Chosen) -> Loaded:
    from learec.serving.torch_ranker import load_torch

    return load_torch(chosen)


def _serves_export(chosen: Chosen) -> bool:
    """Whether there is an export of this very agent, or nothing but one."""
    if not (chosen.exported / MANIFEST).exists():
        return False
    if not (chosen.trained / MANIFEST).exists():
        return True
    return find_spec("onnxruntime") is not None and belongs(chosen)
