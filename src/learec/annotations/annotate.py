"""annotate: asks an environment for the state, the rewards and the augmented actions of every training step, by shards."""

from io import BytesIO
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from learec.annotations.candidates import candidate_scores, propose
from learec.annotations.table import COLUMNS
from learec.artifacts import SCRATCH, Request, building, request_for, write_bytes
from learec.config import AnnotationsConfig
from learec.data.log import Bools, Floats, Ints, Log, Sessions
from learec.data.tfidf import fewer_directions
from learec.errors import LearecError
from learec.progress import Reporter

Columns = dict[str, Ints | Floats | Bools]
EDGES = np.linspace(-4, 4, 41)
SAMPLED_SESSIONS = 500


class Environment(Protocol):
    """What annotate needs of an environment; the adapted language model is one."""

    @property
    def item_vectors(self) -> Floats:
        """Item vectors of unit length, (N + 1, W); row 0 is padding."""
        ...

    def annotate(self, sessions: Sessions, candidates: Ints) -> tuple[Floats, Floats, Floats]:
        """States (E, S), rewards of the logged items (E,), rewards of the candidates (E, K; item 0 for none).

        The numbers of a state are the first S of an item vector's.
        """
        ...


def annotations_request(config: AnnotationsConfig, log_digest: str, environment_digest: str) -> Request:
    """What annotate is asked for."""
    return request_for("annotations", config.without_words, {"log": log_digest, "environment": environment_digest})


def annotate(
    config: AnnotationsConfig, log: Log, environment: Environment, environment_digest: str, folder: Path, *, reporter: Reporter
) -> dict[str, Any]:
    """Make an annotations/ folder; a stopped run goes on after its last whole shard. Returns the notes, none without steps."""
    notes: dict[str, Any] = {}
    with building(folder, annotations_request(config, log.digest, environment_digest), notes) as partial:
        if config.steps:
            columns, told = _of_steps(config, log, environment, partial, reporter)
            notes.update(told)
        else:
            columns = _of_no_steps(log.training)
        for name, column in columns.items():
            np.save(partial / f"{name}.npy", column, allow_pickle=False)
        np.save(partial / "item_vectors.npy", environment.item_vectors, allow_pickle=False)
    return notes


def _of_steps(
    config: AnnotationsConfig, log: Log, environment: Environment, partial: Path, reporter: Reporter
) -> tuple[Columns, dict[str, Any]]:
    """The columns of all training steps, made by shards, and what is noted of them."""
    training = log.training
    (partial / SCRATCH).mkdir(exist_ok=True)
    shards = list(training.blocks(np.arange(training.n_sessions), config.shard_sessions))
    scores = None
    if config.candidates != "state":
        scores = candidate_scores(config, training, environment.item_vectors, log.catalog.n_items)
    with reporter.bar("annotating steps", training.n_steps) as advance:
        for number, sessions in enumerate(shards):
            path = partial / SCRATCH / f"{number:06d}.npz"
            steps = np.arange(training.offsets[sessions[0]], training.offsets[sessions[-1] + 1])
            if not path.exists():
                shard = _slice(training, sessions)
                candidates, their_scores = _candidates(config, scores, log, shard, steps, environment)
                states, rewards, candidate_rewards = environment.annotate(shard, candidates)
                floats = {"states": states, "rewards": rewards, "candidate_rewards": candidate_rewards}
                _write_shard(path, candidates, {**floats, "candidate_scores": their_scores})
            advance(len(steps))
    columns = _columns(partial / SCRATCH, len(shards), training, config)
    notes = _notes(columns, training)
    notes["rewards"]["random"] = _random_rewards(environment, training, columns)
    return {name: columns[name] for name in COLUMNS}, notes


def _of_no_steps(training: Sessions) -> Columns:
    """The same columns where no step was asked about."""
    nothing = np.zeros((training.n_steps, 0), dtype=np.float32)
    rewards, annotated = np.zeros(training.n_steps, dtype=np.float32), np.zeros(training.n_steps, dtype=bool)
    actions = nothing.astype(np.int32)
    values = (nothing, rewards, actions, nothing, nothing, annotated)
    return dict(zip(COLUMNS, values, strict=True))


def _slice(training: Sessions, sessions: Ints) -> Sessions:
    """Neighbouring sessions as sessions of their own."""
    first, last = training.offsets[sessions[0]], training.offsets[sessions[-1] + 1]
    offsets = training.offsets[sessions[0] : sessions[-1] + 2] - first
    return Sessions(offsets, training.items[first:last], training.events[first:last], training.rewards[first:last])


def _candidates(
    config: AnnotationsConfig, scores: Any, log: Log, shard: Sessions, steps: Ints, environment: Environment
) -> tuple[Ints, Floats]:
    """Proposals for a shard's steps and their scores, among the items of training steps."""
    if scores is None:
        none = np.zeros((shard.n_steps, 0), dtype=np.int32)
        states, _, _ = environment.annotate(shard, none)
        vectors = fewer_directions(environment.item_vectors, states.shape[1])
        return propose(lambda block: states[block] @ vectors.T, shard, config.asked, log.cold_items)
    return propose(lambda block: scores(steps[block]), shard, config.asked, log.cold_items)


def _write_shard(path: Path, candidates: Ints, floats: dict[str, Floats]) -> None:
    if not all(np.isfinite(column).all() for column in floats.values()):
        raise LearecError(
            f"{path}: the environment gave a state or reward that is not a finite number; "
            'use dtype = "float32" in [environment] and run adapt again'
        )
    buffer = BytesIO()
    np.savez(buffer, allow_pickle=False, candidates=candidates, **floats)
    write_bytes(path, buffer.getvalue())


def _columns(folder: Path, n_shards: int, training: Sessions, config: AnnotationsConfig) -> Columns:
    """All shards joined, rewards standardised, and candidates kept or dropped by their reward."""
    shards = []
    for number in range(n_shards):
        with np.load(folder / f"{number:06d}.npz", allow_pickle=False) as shard:
            shards.append({name: shard[name] for name in shard.files})
    raw = {name: np.concatenate([shard[name] for shard in shards]) for name in shards[0]}
    annotated = training.step_of > 0
    observed = raw["rewards"][annotated]
    mean, deviation = float(observed.mean()), float(observed.std())
    if not deviation > 1e-6 * max(abs(mean), 1e-6):
        raise LearecError(
            f"{folder}: the environment gives every step the same reward ({mean:.4g}), which teaches nothing; "
            "train it longer or on more users ([environment] epochs, users)"
        )
    rewards = np.where(annotated, (raw["rewards"] - mean) / deviation, 0).astype(np.float32)
    proposed = raw["candidates"] > 0
    theirs = np.where(proposed, (raw["candidate_rewards"] - mean) / deviation, 0).astype(np.float32)
    kept = _kept(config, rewards, theirs, proposed)
    augmented = {"augmented": raw["candidates"], "augmented_scores": raw["candidate_scores"], "augmented_rewards": theirs}
    if config.keep == "best":  # as many columns as are kept, still in the order of the proposals
        order = np.argsort(~kept, axis=1, kind="stable")[:, : config.n_augmented]
        augmented = {name: np.take_along_axis(column, order, axis=1) for name, column in augmented.items()}
        kept = np.take_along_axis(kept, order, axis=1)
    return {
        "states": raw["states"],
        "rewards": rewards,
        **{name: np.where(kept, column, 0).astype(column.dtype) for name, column in augmented.items()},
        "annotated": annotated,
        "proposed_rewards": theirs,
        "raw_rewards": raw["rewards"],
    }


def _kept(config: AnnotationsConfig, rewards: Floats, theirs: Floats, proposed: Bools) -> Bools:
    """Which proposals (E, asked) stay, by their standardised rewards and those of the logged actions (E,)."""
    if config.keep == "all":
        return proposed
    if config.keep == "margin":
        within: Bools = proposed & (theirs >= rewards[:, None] - config.margin)
        return within
    order = np.argsort(np.where(proposed, -theirs, np.inf), axis=1, kind="stable")  # of equal rewards the better proposal
    kept = np.zeros(proposed.shape, dtype=bool)
    np.put_along_axis(kept, order[:, : config.n_augmented], True, axis=1)
    return kept & proposed


def _notes(columns: dict[str, Any], training: Sessions) -> dict[str, Any]:
    """What a reader of the report asks: how many actions were kept, and how rewards are spread."""
    annotated = columns["annotated"]
    asked = int(annotated.sum())
    proposed = columns["proposed_rewards"][annotated]
    return {
        "annotated_steps": asked,
        "augmented_per_step": float((columns["augmented"] > 0).sum() / max(asked, 1)),
        "rewards": {
            "edges": EDGES.tolist(),
            "observed": _histogram(columns["rewards"][annotated]),
            "proposed": _histogram(proposed[proposed != 0]),
        },
        "later_items_among_augmented": _later_share(columns["augmented"], training),
    }


def _histogram(rewards: Floats) -> list[int]:
    """Counts by EDGES; what lies beyond counts in the outermost bins."""
    counts: list[int] = np.histogram(np.clip(rewards, EDGES[0], EDGES[-1]), EDGES)[0].tolist()
    return counts


def _random_rewards(environment: Environment, training: Sessions, columns: dict[str, Any]) -> list[int]:
    """Histogram of what training items drawn uniformly would be worth in the first sessions, on the standardised scale."""
    shard = _slice(training, np.arange(min(SAMPLED_SESSIONS, training.n_sessions)))
    rng = np.random.default_rng(0)
    asked = columns["annotated"][: shard.n_steps]
    items = np.where(asked[:, None], rng.choice(np.unique(training.items), (shard.n_steps, 1)), 0)
    _, _, rewards = environment.annotate(shard, items)
    observed = columns["raw_rewards"][columns["annotated"]]
    return _histogram((rewards[asked, 0] - observed.mean()) / observed.std())


def _later_share(augmented: Ints, training: Sessions) -> float:
    """Share of augmented actions that the same session takes later in its training part.

    Optimistic: item-kNN has counted those very sessions.
    """
    width = int(max(training.items.max(), augmented.max())) + 1
    known = training.session_of * width + training.items
    proposed = training.session_of[:, None] * width + augmented
    present = augmented > 0
    return float(np.isin(proposed[present], known).mean()) if present.any() else 0.0
