"""Augmented actions: how often they are what the session really took later, by who proposes them and who keeps them.

    python benchmarks/augmentation.py RUN_FOLDER [--sessions 600] [--k 3]        (a run with log/ and environment/)

For training steps of a sample of users that neither taught nor stopped the environment, each source proposes 4 k unseen
actions. Kept are its k best, the k with the highest reward, or of its k best those whose reward is at most a standard deviation
below the logged action's (annotate's margin). later: share of the kept ones that are the session's validation item, which no
training part holds; sessions: share of the sessions of which any step has it; distinct: share of the catalog that is kept at all.
Random and popular items are there for comparison. Last line: JSON {source: {filter: {"kept", "later", "sessions", "distinct"}}}.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from environment import unseen_users
from learec.annotations.candidates import candidate_scores, propose
from learec.config import AnnotationsConfig
from learec.data.log import Bools, Floats, Ints, Log, Part, Sessions, load_log
from learec.environment.environment import Environment, load_environment

SOURCES = ("rule", "item_knn", "item_tokens", "state", "popular", "random")
MARGIN = 1.0


def proposals(source: str, log: Log, environment: Environment, own: Sessions, steps: Ints, n: int) -> Ints:
    """(E, n) of the sample's steps; `steps` are their numbers in the training part."""
    n_items, rng = log.catalog.n_items, np.random.default_rng(0)
    if source == "state":
        states, _, _ = environment.annotate(own, np.zeros((own.n_steps, 0), dtype=np.int64))
        return propose(lambda block: states[block] @ environment.item_vectors.T, own, n, log.cold_items)[0]
    if source == "popular":
        counts = log.training_counts.astype(np.float32)
        return propose(lambda block: np.tile(counts, (len(block), 1)), own, n, log.cold_items)[0]
    if source == "random":
        return propose(lambda block: rng.random((len(block), n_items + 1), dtype=np.float32), own, n, log.cold_items)[0]
    scores = candidate_scores(AnnotationsConfig(candidates=source), log.training, environment.item_vectors, n_items)
    return propose(lambda block: scores(steps[block]), own, n, log.cold_items)[0]


def filters(candidates: Ints, rewards: Floats, logged: Floats, k: int) -> dict[str, Bools]:
    """Which of the proposals (E, 4 k) are kept, by filter."""
    first = np.broadcast_to(np.arange(candidates.shape[1]) < k, candidates.shape) & (candidates > 0)
    order = np.argsort(np.argsort(-np.where(candidates > 0, rewards, -np.inf), axis=1, kind="stable"), axis=1)
    return {
        "k best": first,
        "k best by reward": (order < k) & (candidates > 0),
        "margin": first & (rewards >= logged[:, None] - MARGIN * logged.std()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--sessions", type=int, default=600)
    parser.add_argument("--k", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    asked = parser.parse_args()
    log, environment = load_log(asked.run / "log"), load_environment(asked.run / "environment", asked.device)
    users = unseen_users(log, environment, 0, asked.sessions)
    keep = np.isin(log.training.session_of, users)
    own, steps = log.training.select(keep), np.flatnonzero(keep)
    later = np.zeros(own.n_sessions, dtype=np.int64)
    hidden = log.targets(Part.VALIDATION)
    later[log.sessions.session_of[hidden]] = log.sessions.items[hidden]
    real = own.step_of > 0
    found: dict[str, dict[str, dict[str, float]]] = {}
    for source in SOURCES:
        candidates = proposals(source, log, environment, own, steps, 4 * asked.k)
        _, logged, rewards = environment.annotate(own, candidates)
        hit = (candidates == later[own.session_of][:, None]) & (candidates > 0)
        found[source] = {}
        for name, kept in filters(candidates[real], rewards[real], logged[real], asked.k).items():
            hits = hit[real] & kept
            told = {
                "kept": round(float(kept.sum(1).mean()), 2),
                "later": round(float(hits.sum() / max(kept.sum(), 1)), 4),
                "sessions": round(len(np.unique(own.session_of[real][hits.any(1)])) / len(users), 4),
                "distinct": round(len(np.unique(candidates[real][kept])) / log.catalog.n_items, 3),
            }
            found[source][name] = told
            print(f"{source:12} {name:18} {told}", flush=True)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
