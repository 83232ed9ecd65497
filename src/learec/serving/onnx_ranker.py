"""Ranking with ONNX Runtime: what is served. Needs neither torch nor the agent's folder, only the files of an export."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from learec.artifacts import MANIFEST, check_files, read_manifest
from learec.data.log import Floats, Ints
from learec.errors import ArtifactError
from learec.serving.choose import Chosen
from learec.serving.export_files import FILES, INDEX, OPTIONAL, load_numbers
from learec.serving.folders import belongs, check_inside, make_export, open_catalog, served
from learec.serving.ranker import Loaded, Ranker, VectorRanker

# One thread for one call: histories are short, so a second thread would wait more than it works, and spin while it waits.
# Several calls at a time use several cores.
THREADS = 1
Outputs = list[npt.NDArray[Any]]
WORTH_A_CALL = 64  # places of padding that a further call of the graph costs as much as


class OnnxRanker(VectorRanker):
    """An exported graph (graph.py)."""

    def __init__(self, folder: Path, max_length: int) -> None:
        """The files must have been checked against their manifest."""
        self.max_length = max_length
        self.table, self.bias = load_table(folder)
        self.n_items = len(self.bias) - 1
        self._session = open_graph(folder / "model.onnx")

    def hidden(self, items: Ints) -> Floats:
        """(B, L) -> (B, H)."""
        nothing = np.zeros((len(items), 1), dtype=np.int64)
        return self._in_groups(items, lambda rows, kept: self._run(["hidden"], kept, nothing[rows], 0))[0]

    def top(self, items: Ints, blocked: Ints, k: int) -> tuple[Ints, Floats]:
        """(B, L), (B, P) -> (B, k), (B, k)."""
        outputs = ["numbers", "scores"]
        numbers, scores = self._in_groups(items, lambda rows, kept: self._run(outputs, kept, blocked[rows], k))
        return numbers, scores

    def _in_groups(self, items: Ints, run: Callable[[Ints, Ints], Outputs]) -> Outputs:
        """Outputs for all rows, from one call for each group of rows of like length."""
        lengths = np.count_nonzero(items, axis=1)
        groups = groups_of_like_length(lengths)
        parts = [run(rows, items[rows, : max(1, lengths[rows].max())]) for rows in groups]
        places = np.argsort(np.concatenate(groups))
        return [np.concatenate(output)[places] for output in zip(*parts, strict=True)]

    def _run(self, outputs: list[str], items: Ints, blocked: Ints, k: int) -> Outputs:
        found: Outputs = self._session.run(outputs, {"items": items, "blocked": blocked, "k": np.array([k])})
        return found


def load_onnx(chosen: Chosen) -> Loaded:
    """An agent as export made it. Of the log, only the catalog is read."""
    folder, make_with = chosen.exported, make_export(chosen)
    check_inside(chosen, folder, [MANIFEST])
    manifest = read_manifest(folder, "export", make_with)
    if not belongs(chosen):
        raise ArtifactError(f"{folder}: stale: the agent was trained again since; refresh it with `{make_with}`")
    names = FILES | (OPTIONAL & manifest.files.keys())
    check_inside(chosen, folder, names)
    check_files(folder, manifest, make_with, names)
    exact = OnnxRanker(folder, int(manifest.request.config["max_length"]))
    ranker: Ranker = exact
    if INDEX in names:
        from learec.serving.index import IndexedRanker, open_index

        ranker = IndexedRanker(exact, open_index(folder / INDEX, exact))
    if hybrid := manifest.request.config.get("hybrid"):
        from learec.serving.hybrid import HybridRanker, load_rule

        ranker = HybridRanker(exact, load_rule(folder, hybrid), int(hybrid["history"]))
    catalog = open_catalog(chosen, manifest.request.parents["log"])
    return ranker, catalog, served(chosen, manifest, load_numbers(folder / "counts.npy", 1))


def groups_of_like_length(lengths: Ints) -> list[Ints]:
    """Rows in groups, shorter ones first, cut where padding every row to its group's longest is worth a further call."""
    order = np.argsort(lengths, kind="stable")
    return [order[start:stop] for start, stop in _cut(lengths[order], 0)]


def _cut(ascending: Ints, start: int) -> list[tuple[int, int]]:
    """Bounds of the groups of (B,) lengths in ascending order."""
    n = len(ascending)
    padding_saved = np.arange(1, n) * (ascending[-1] - ascending[:-1])
    if n < 2 or padding_saved.max() < WORTH_A_CALL:
        return [(start, start + n)]
    cut = int(padding_saved.argmax()) + 1
    return _cut(ascending[:cut], start) + _cut(ascending[cut:], start + cut)


def load_table(folder: Path) -> tuple[Floats, Floats]:
    """What hidden vectors are multiplied with, (N + 1, H), and the bias (N + 1,)."""
    table, bias = load_numbers(folder / "table.npy", 2), load_numbers(folder / "bias.npy", 1)
    if len(table) != len(bias):
        raise ArtifactError(f"{folder}: holds {len(table)} rows and {len(bias)} biases; delete it and run `learec export` again")
    return table, bias


def open_graph(path: Path) -> onnxruntime.InferenceSession:
    """A session on one file that holds all of the graph. Raises ArtifactError for anything else."""
    content = path.read_bytes()
    # Weights in other files are named by an entry "location"; a graph of ours has none, so no other file is ever read.
    if b"location" in content:
        raise ArtifactError(f"{path}: names weights outside of its file; delete {path.parent} and run `learec export` again")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = THREADS
    options.log_severity_level = 4  # what it complains of is raised too
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its classes have no base of their own
        reason = " ".join(str(error).split())[:200]
        raise ArtifactError(
            f"{path}: is no ONNX graph that can be run ({reason}); delete {path.parent} and run `learec export`"
        ) from None
    _check_names(path, "inputs", [value.name for value in session.get_inputs()], ["items", "blocked", "k"])
    _check_names(path, "outputs", [value.name for value in session.get_outputs()], ["numbers", "scores", "hidden"])
    return session


def _check_names(path: Path, what: str, seen: Sequence[str], wanted: Sequence[str]) -> None:
    if list(seen) != list(wanted):
        raise ArtifactError(f"{path}: has {what} {', '.join(seen)}, wanted {', '.join(wanted)}; run `learec export` again")
