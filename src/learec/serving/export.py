"""export: from a trained agent to a folder that is served without torch."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from learec.artifacts import building, is_current, read_manifest, request_for
from learec.config import derived_seed
from learec.data.log import Ints, Log
from learec.errors import ConfigError
from learec.progress import Reporter
from learec.serving.choose import Chosen
from learec.serving.export_files import INDEX
from learec.serving.folders import make_export, open_log
from learec.serving.graph import onnx_model
from learec.serving.hybrid import WITHIN, Beside, write_rule
from learec.serving.onnx_ranker import OnnxRanker
from learec.serving.ranker import Ranker, VectorRanker, padded
from learec.serving.torch_ranker import TorchRanker, open_agent

GRAPH = 1  # raised when the same agent would give another graph
LARGE = 1_000_000  # items: the product with all of them takes tens of milliseconds
HISTORIES = 1000  # of training sessions, on which a graph and an index are measured
BLOCK = 64
COMPARED = 10  # best items
TOLERANCE = 1e-4  # between scores of torch and of ONNX Runtime


def export(
    chosen: Chosen, reporter: Reporter, index: bool | None = None, index_from: int = LARGE, hybrid: Beside | None = None
) -> dict[str, Any]:
    """Make export/NAME/seed-S/ of a run: graph, item vectors, counts, and an index of the items. Returns its notes.

    Without a word about the index, there is one from `index_from` items on; a hybrid has none. An export that is up to date
    is left alone. Raises ArtifactError, or ConfigError for a model that no graph can hold.
    """
    agent, manifest = open_agent(chosen)
    if agent.evidence is not None and hybrid is not None:
        raise ConfigError(WITHIN.format(chosen))
    if agent.evidence is not None:
        hybrid = Beside(agent.evidence.rule(), agent.config.max_length, None)
    if index and hybrid is not None:
        raise ConfigError(
            "export: an index finds the best items by an agent's rows, and not with texts or item-kNN beside them; drop --index"
        )
    index = hybrid is None and agent.n_items >= index_from if index is None else index
    log = open_log(chosen, manifest.request.parents["log"])
    parents = {"agent": manifest.digest, "log": log.digest}
    settings = {"max_length": agent.config.max_length, "mask_seen": manifest.request.config["mask_seen"]}
    if hybrid is not None:
        settings["hybrid"] = hybrid.settings
        parents |= {} if hybrid.digest is None else {"results": hybrid.digest}
    request = request_for("export", settings, parents, graph=GRAPH, index=index)
    if is_current(chosen.exported, request):
        reporter.say(f"{chosen.exported}: is up to date")
        return read_manifest(chosen.exported, "export", make_export(chosen)).notes
    notes: dict[str, Any] = {"validation": chosen.validation, "n_items": agent.n_items, "hybrid": settings.get("hybrid")}
    chosen.exported.parent.mkdir(parents=True, exist_ok=True)
    with building(chosen.exported, request, notes) as partial:
        trained = TorchRanker(agent)
        _write_model(trained, log, partial)
        ranker, histories = OnnxRanker(partial, agent.config.max_length), _histories(log, agent.config.max_length)
        notes["largest_difference"] = _checked(trained, ranker, histories)
        if hybrid is not None:
            write_rule(hybrid.rule, agent.n_items, partial)
        if index:
            reporter.say(f"{chosen}: building an index of {agent.n_items:,} items")
            blocked = histories if settings["mask_seen"] else np.zeros_like(histories[:, :1])
            notes["index"] = _write_index(ranker, histories, blocked, partial / INDEX)
    return notes


def _write_model(ranker: TorchRanker, log: Log, folder: Path) -> None:
    (folder / "model.onnx").write_bytes(onnx_model(ranker.agent).SerializeToString(deterministic=True))
    np.save(folder / "table.npy", ranker.table)
    np.save(folder / "bias.npy", ranker.bias)
    np.save(folder / "counts.npy", log.training_counts)


def _checked(trained: Ranker, exported: Ranker, histories: Ints) -> float:
    """The largest difference of a score among the best 10. Versions of exporters have been wrong without a word."""
    nothing = np.zeros((BLOCK, 1), dtype=np.int64)
    difference = 0.0
    for start in range(0, len(histories), BLOCK):
        block = histories[start : start + BLOCK]
        scores = [ranker.top(block, nothing[: len(block)], min(COMPARED, ranker.n_items))[1] for ranker in (trained, exported)]
        with np.errstate(invalid="ignore"):
            apart = np.where(scores[0] == scores[1], 0.0, np.abs(scores[0] - scores[1]))  # -inf on both sides is none
        difference = float(np.maximum(difference, apart.max()))  # what is no number stays so
    if math.isnan(difference) or difference > TOLERANCE:
        raise ConfigError(
            f"export: the graph's scores differ from the agent's by up to {difference:.1e}, wanted {TOLERANCE:.0e} at most; "
            "run `pip install --upgrade 'learec[export]'`"
        )
    return difference


def _write_index(ranker: VectorRanker, histories: Ints, blocked: Ints, path: Path) -> dict[str, Any]:
    from learec.serving.index import build_index

    return build_index(ranker, histories, blocked, path)


def _histories(log: Log, max_length: int) -> Ints:
    """Whole training sessions, (B, L)."""
    some = np.flatnonzero(log.training.lengths)
    chosen = np.random.default_rng(derived_seed("export", 0)).permutation(some)[:HISTORIES]
    offsets, items = log.training.offsets, log.training.items
    return padded([items[offsets[one] : offsets[one + 1]] for one in chosen], max_length)
