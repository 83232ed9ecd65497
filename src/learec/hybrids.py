"""From the results of a run to what an exported hybrid needs: the weights that evaluate chose, item vectors, item-kNN."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from learec.annotations.table import load_annotations
from learec.artifacts import check_files, read_manifest
from learec.config import EvaluationConfig
from learec.data.ease import Explained, item_knn_by_ease
from learec.data.log import Floats, Log, load_log
from learec.data.neighbours import ContentKNN, ItemKNN, Rule
from learec.data.tfidf import fewer_directions
from learec.errors import ArtifactError, ConfigError
from learec.evaluation.evaluate import HYBRIDS_FILE, config_of
from learec.evaluation.floors import tfidf_of
from learec.evaluation.metrics import HISTORY
from learec.serving.choose import Chosen
from learec.serving.hybrid import WITHIN, Beside

MAKE_WITH = "learec evaluate RECIPE"


def beside_for(chosen: Chosen) -> Beside:
    """What evaluate measured beside this agent. Raises ConfigError if it did not, ArtifactError if something changed since."""
    run_folder = chosen.run_folder
    trained = read_manifest(chosen.trained, "agent", "learec train RECIPE")
    if "evidence" in trained.request.config:
        raise ConfigError(WITHIN.format(chosen))
    manifest = read_manifest(run_folder / "results", "results", MAKE_WITH)
    check_files(run_folder / "results", manifest, MAKE_WITH, {HYBRIDS_FILE})
    weights = json.loads((run_folder / "results" / HYBRIDS_FILE).read_text(encoding="utf-8"))
    config = config_of(manifest.request)
    named = dict(zip(config.hybrids, config.hybrid_names, strict=True))
    column = f"{named.get(chosen.name)}/{chosen.seed}"
    if column not in weights:
        raise ConfigError(
            f'export --hybrid: {chosen} was not evaluated as a hybrid; write hybrids = ["{chosen.name}"] under [evaluation] '
            f"and run `{MAKE_WITH}`"
        )
    found = weights[column]
    by_ease = "ease_regularisation" in found
    if not by_ease and "knn_shrinkage" not in found:
        told = "stale: made by an earlier version, which does not say what item-kNN a hybrid had"
        raise ArtifactError(f"{run_folder / 'results'}: {told}; refresh it with `{MAKE_WITH}`")
    log = load_log(run_folder / "log")
    parents = manifest.request.parents
    present = {"log": log.digest, f"agent {chosen}": trained.digest}
    of_model = "annotations" in parents and "tfidf_size" not in found  # TF-IDF comes from the log alone
    annotations = load_annotations(run_folder / "annotations") if of_model else None
    if annotations is not None:
        present["annotations"] = annotations.digest
    for name, digest in present.items():
        if parents.get(name) != digest:
            raise ArtifactError(f"{run_folder / 'results'}: stale: made from another {name}; refresh it with `{MAKE_WITH}`")
    vectors = _words(run_folder, log, config, found) if annotations is None else annotations.item_vectors
    if by_ease:
        texts = Explained(vectors, found["ease_text_weight"]) if "ease_text_weight" in found else None
        knn = item_knn_by_ease(
            log.training, log.catalog.n_items, found["ease_decay"], found["ease_regularisation"], texts,
            named="evaluation.ease_regularisation",
        )  # fmt: skip
    else:
        knn = ItemKNN.fit(log.training, log.catalog.n_items, found["knn_decay"], found["knn_shrinkage"])
    content = ContentKNN(vectors, found.get("text_decay", knn.decay))  # without texts nothing fades
    rule = Rule(content, knn, text_weight=found["text_weight"], knn_weight=found["knn_weight"])
    return Beside(rule, HISTORY, manifest.digest)


def _words(run_folder: Path, log: Log, config: EvaluationConfig, found: Mapping[str, float]) -> Floats:
    """Item vectors (N + 1, W) beside an agent where TF-IDF was chosen; of no numbers where items have no texts."""
    words = tfidf_of(log, max(config.tfidf_size))
    if words is None:
        return np.zeros((log.catalog.n_items + 1, 0), dtype=np.float32)
    if "tfidf_size" not in found:
        told = "stale: made by an earlier version, which does not say in how many directions it had TF-IDF"
        raise ArtifactError(f"{run_folder / 'results'}: {told}; refresh it with `{MAKE_WITH}`")
    return fewer_directions(words, int(found["tfidf_size"]))
