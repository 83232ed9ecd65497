"""audit: tables that tell a split, and failure where a held-out part is known to what was learnt, in any artifact of a run."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import safe_open

from learec.annotations.table import COLUMNS
from learec.artifacts import MANIFEST, Manifest, check_files, load_array, read_manifest
from learec.data.audit_text import tell
from learec.data.audited import open_split
from learec.data.ease import GRID, Explained, ease_weights
from learec.data.log import MAKE_WITH, Bools, Floats, Ints, Log, Sessions
from learec.data.neighbours import ItemKNN, counted_together
from learec.errors import ArtifactError
from learec.progress import Reporter

TOLERANCE = 1e-3  # how far standardised rewards may be from mean 0 and standard deviation 1
EASE_TOLERANCE = 0.05  # of what an event more or less moves a weight by: about 1 / (events of the item + regularisation)
BLOCK_SESSIONS = 50_000


@dataclass
class Findings:
    """What was looked at and what was seen."""

    checked: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def audit(folder: Path, reporter: Reporter) -> bool:
    """Tell the split of a run's folder, or of a log/ folder, and what leaks; a run's later artifacts are checked too.

    Returns whether nothing leaks. Raises ArtifactError if there is no log.
    """
    of_run = (folder / "log" / MANIFEST).exists()
    log_folder = folder / "log" if of_run else folder
    manifest = read_manifest(log_folder, "log", MAKE_WITH)
    found = Findings(["log/"])
    try:
        check_files(log_folder, manifest, MAKE_WITH)
    except ArtifactError as error:
        found.failures.append(f"{error}; nothing else was looked at")
        return _verdict(found, reporter)
    split = open_split(log_folder)
    found.failures += tell(split, reporter)
    if of_run:
        check_artifacts(folder, split.log, found)
    return _verdict(found, reporter)


def _verdict(found: Findings, reporter: Reporter) -> bool:
    for note in found.notes:
        reporter.say(f"note: {note}")
    for failure in found.failures:
        reporter.say(f"LEAK: {failure}")
    if not found.failures:
        reporter.say(f"No leak in {', '.join(found.checked)}.")
    return not found.failures


def check_artifacts(folder: Path, log: Log, found: Findings) -> None:
    """Check the environment, the annotations and the agents of a run's folder, as far as they are there."""
    environment, annotations = folder / "environment", folder / "annotations"
    if environment.exists():
        _check_environment(environment, log, found)
    if annotations.exists():
        _check_annotations(annotations, log, environment / "item_vectors.npy", found)
    for agent in sorted((folder / "agents").glob("*/seed-*")):
        _check_agent(agent, log, found)


def _opened(folder: Path, kind: str, stage: str, log: Log, found: Findings) -> Manifest | None:
    """The manifest of an artifact that is whole and was made from this very log; else what is wrong is noted, and None."""
    make_with = f"learec {stage} RECIPE"
    found.checked.append(f"{folder.parent.name}/{folder.name}" if kind == "agent" else f"{folder.name}/")
    try:
        manifest = read_manifest(folder, kind, make_with)
        check_files(folder, manifest, make_with)
    except ArtifactError as error:
        found.failures.append(str(error))
        return None
    parent = manifest.request.parents.get("log")
    if parent == log.digest:
        return manifest
    if parent in log.ancestors:
        found.notes.append(f"{folder}: was made before events were appended to the log; its rows are not compared with it")
    else:
        found.failures.append(
            f"{folder}: was made from another log, which may train on these held-out steps; make it again with `{make_with}`"
        )
    return None


def _check_environment(folder: Path, log: Log, found: Findings) -> None:
    if _opened(folder, "environment", "adapt", log, found):
        for path in (folder / f"{name}.npy" for name in ("item_tokens", "item_vectors", "item_words")):
            if path.exists():  # words only where histories are read with them
                _check_rows(path, log.catalog.n_items + 1, "items and padding", "adapt", found)


def _check_rows(path: Path, wanted: int, what: str, stage: str, found: Findings) -> bool:
    rows = len(load_array(path))
    if rows != wanted:
        found.failures.append(
            f"{path}: has {rows:,} rows, wanted {wanted:,} ({what}); make it again with `learec {stage} RECIPE`"
        )
    return rows == wanted


def _check_annotations(folder: Path, log: Log, environment_vectors: Path, found: Findings) -> None:
    if not _opened(folder, "annotations", "annotate", log, found):
        return
    n_items, training = log.catalog.n_items, log.training
    _check_rows(folder / "item_vectors.npy", n_items + 1, "items and padding", "annotate", found)
    if environment_vectors.exists():
        ours, theirs = load_array(folder / "item_vectors.npy"), load_array(environment_vectors)
        if not np.array_equal(ours, theirs):
            found.failures.append(
                f"{folder / 'item_vectors.npy'}: differs from the environment's; make it again with `learec annotate RECIPE`"
            )
    whole = [_check_rows(folder / f"{name}.npy", training.n_steps, "training steps", "annotate", found) for name in COLUMNS]
    if all(whole):
        _check_rewards(folder, found)
        found.failures += _wrong_actions(folder / "augmented.npy", log)


def _check_rewards(folder: Path, found: Findings) -> None:
    """Rewards are standardised over the annotated training steps: another mean or spread comes from other steps."""
    annotated = np.flatnonzero(load_array(folder / "annotated.npy"))
    rewards = load_array(folder / "rewards.npy")[annotated].astype(np.float64)
    mean, deviation = (float(rewards.mean()), float(rewards.std())) if len(rewards) else (0.0, 1.0)
    if not (abs(mean) <= TOLERANCE and abs(deviation - 1) <= TOLERANCE):
        found.failures.append(
            f"{folder / 'rewards.npy'}: {len(rewards):,} annotated steps have mean {mean:.4f} and standard deviation "
            f"{deviation:.4f}, wanted 0 and 1: they were scaled over other steps; make it again with `learec annotate RECIPE`"
        )


@dataclass
class _Wrong:
    """Augmented actions that may not be."""

    what: str
    n: int = 0
    first: str = ""

    def add(self, is_wrong: Bools, augmented: Ints, log: Log, start: int) -> None:
        """Count those of a block of training steps, (M, K), that begins at step `start`."""
        n = int(is_wrong.sum())
        if n and not self.n:
            row, column = np.argwhere(is_wrong)[0].tolist()
            self.first = _action(log, start + row, int(augmented[row, column]))
        self.n += n


def _action(log: Log, step: int, item: int) -> str:
    """An augmented action of a training step as sentences call it."""
    training = log.training
    session = int(np.searchsorted(training.offsets, step, side="right")) - 1
    known = 0 < item <= log.catalog.n_items
    name = repr(log.catalog.table["item_id"][item - 1]) if known else f"number {item}"
    return f"session {log.session_ids[session]!r} step {step - training.offsets[session]} item {name}"


def _wrong_actions(path: Path, log: Log) -> list[str]:
    """Augmented actions that training does not know, that were logged in their step, or that the history had."""
    augmented, training, n = load_array(path), log.training, log.catalog.n_items
    trained = np.zeros(n + 1, dtype=bool)
    trained[training.items] = True
    unknown, logged, seen = (
        _Wrong("have no training step, so only held-out steps can tell of them"),
        _Wrong("are their step's own logged one"),
        _Wrong("are in their step's history"),
    )
    for sessions in training.blocks(np.arange(training.n_sessions), BLOCK_SESSIONS):
        start, stop = int(training.offsets[sessions[0]]), int(training.offsets[sessions[-1] + 1])
        actions = augmented[start:stop].astype(np.int64)
        some, own = actions != 0, training.items[start:stop]
        inside = (actions >= 0) & (actions <= n)
        unknown.add(some & ~(inside & trained[np.where(inside, actions, 0)]), actions, log, start)
        logged.add(some & (actions == own[:, None]), actions, log, start)
        seen.add(some & inside & _in_history(actions, training, sessions, n), actions, log, start)
    return [
        f"{path}: {wrong.n:,} augmented actions {wrong.what}, first {wrong.first}; make it again with `learec annotate RECIPE`"
        for wrong in (unknown, logged, seen)
        if wrong.n
    ]


def _in_history(actions: Ints, training: Sessions, sessions: Ints, n_items: int) -> Bools:
    """Whether an earlier step of the same session has the action, for neighbouring sessions: (M, K)."""
    lengths = training.lengths[sessions]
    start = int(training.offsets[sessions[0]])
    session = np.repeat(np.arange(len(sessions)), lengths) * (n_items + 1)
    if not len(session):
        return np.zeros(actions.shape, dtype=bool)
    known, first = np.unique(session + training.items[start : start + len(session)], return_index=True)
    wanted = session[:, None] + actions
    at = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
    return (known[at] == wanted) & (first[at] < np.arange(len(session))[:, None])


def _check_agent(folder: Path, log: Log, found: Findings) -> None:
    """An agent must have been trained without the items that this log's training steps lack."""
    manifest = _opened(folder, "agent", "train", log, found)
    if manifest is None:
        return
    cold = _tensor(folder, manifest, "cold_items")
    if cold is None:
        found.notes.append(f"{folder}: does not say which items it was trained without; train it again to have that checked")
    elif not np.array_equal(cold, log.cold_items):
        differing = np.setxor1d(cold, log.cold_items)
        found.failures.append(
            f"{folder}: was trained without {len(cold):,} items and the training steps lack {len(log.cold_items):,}, first "
            f"difference item number {differing[0] if len(differing) else 0}; make it again with `learec train RECIPE`"
        )
    _check_counts(folder, manifest, log, found)


def _check_counts(folder: Path, manifest: Manifest, log: Log, found: Findings) -> None:
    """Counts within an agent must be those of the training steps alone."""
    names = ("starts", "neighbours", "cosines")
    held = [_tensor(folder, manifest, f"evidence.{name}") for name in names]
    if any(part is None for part in held) or not len(np.asarray(held[-1])):
        return
    asked = manifest.request.config["evidence"]
    vectors = np.asarray(_tensor(folder, manifest, "evidence.vectors"))
    if not _are_those_of(log, asked, vectors, *map(np.asarray, held)):
        found.failures.append(
            f"{folder}: its item-kNN is not that of the training steps, so it may know held-out ones; make it again with "
            "`learec train RECIPE`"
        )


def _are_those_of(
    log: Log, asked: Mapping[str, float], vectors: Floats, starts: Ints, neighbours: Ints, similarity: Floats
) -> bool:
    """Whether an agent's item-kNN is what it asked for, of the training steps."""
    if "regularisation" in asked:  # another machine rounds otherwise, and so may keep another neighbour of the same weight
        together = counted_together(log.training, log.catalog.n_items)
        texts = Explained(vectors, asked["text_weight"]) if "text_weight" in asked else None
        weights = ease_weights(together, asked["regularisation"], "an agent's ease_regularisation", texts)
        if len(starts) != len(weights) + 1:
            return False
        items = np.repeat(np.arange(len(weights)), np.diff(starts))
        moved = 1 / (together.diagonal()[neighbours] + asked["regularisation"])
        rounding = np.finfo(np.float32).eps * float(together.sum(axis=1).max()) / asked["regularisation"]
        tolerance = EASE_TOLERANCE * moved + 0.1 * rounding + 1 / GRID
        return bool((np.abs(similarity - weights[items, neighbours]) <= tolerance).all())
    counted = ItemKNN.fit(log.training, log.catalog.n_items, asked["decay"], asked["shrinkage"]).similarity
    expected = (counted.indptr, counted.indices, counted.data)
    return all(map(np.array_equal, (starts, neighbours, similarity), expected))


def _tensor(folder: Path, manifest: Manifest, name: str) -> npt.NDArray[Any] | None:
    """A tensor among an artifact's weights."""
    for file in sorted(manifest.files):
        if file.endswith(".safetensors"):
            with safe_open(folder / file, framework="numpy") as weights:
                if name in weights.keys():  # noqa: SIM118  not a mapping
                    return np.asarray(weights.get_tensor(name))
    return None
