"""What an environment gives on users it never saw: its rewards, its state as a recommender, and its rewards over the rule's list.

    python benchmarks/environment.py RUN_FOLDER [--users 2000] [--device cuda]        (a run with log/ and environment/)

Users that neither taught nor stopped the environment, their training steps for the rewards (environment/examination.py) and their
validation targets for the rest; the test part is not looked at. There item-kNN counts the whole training part, as agents read it.
Ranking is full with seen items masked; re-ranking orders the rule's 50 best by rule + w * reward, with w chosen on
one half of the users and measured on the other. Of a simulated log (a run with truth/) also the rank correlation with the true
preference, over 50 unseen items drawn for every user after their last training step. Intervals are 95 % bootstrap
intervals over users.
Last line: JSON {"accuracy", "auc", "ndcg@10": {scorer: value}, "re_ranked": {"before", "after", "gain", "low", "high"}, "taste"}.
"""

import argparse
import json
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.stats import ConstantInputWarning, pearsonr, rankdata

from learec.config import AnnotationsConfig
from learec.data.log import Floats, Ints, Log, Part, Sessions, load_log
from learec.data.neighbours import ContentKNN, ItemKNN, Rule
from learec.environment.adapt import split_users
from learec.environment.environment import Environment, load_environment
from learec.environment.examination import NEGATIVES, SCORERS, examine
from learec.evaluation.compare import Bootstrap
from learec.evaluation.listeners import load_listeners
from learec.evaluation.metrics import ndcg

CANDIDATES, CUTOFF, BLOCK = 50, 10, 1024
WEIGHTS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 1.2, 2.0, 5.0)


def unseen_users(log: Log, environment: Environment, seed: int, n: int) -> Ints:
    """Session numbers that are in neither part of adapt's split."""
    split = split_users(log.training, environment.config, seed)
    known = [part.steps[part.steps >= 0] for part in (split.training, split.held_out)]
    free = np.setdiff1d(np.flatnonzero(log.training.lengths >= 2), log.training.session_of[np.concatenate(known)])
    return np.sort(np.random.default_rng(0).permutation(free)[:n])


def until_validation(log: Log, users: Ints) -> tuple[Sessions, Ints]:
    """Those users' steps for training and validation, and which of them are validation targets."""
    keep = np.isin(log.sessions.session_of, users) & (log.parts != Part.TEST)
    sessions = log.sessions.select(keep)
    return sessions, np.flatnonzero((log.parts[keep] == Part.VALIDATION) & (sessions.step_of > 0))


def masked(scores: Floats, sessions: Sessions, steps: Ints, cold: Ints) -> Floats:
    """Without padding, seen and cold items; a seen target is given up."""
    scores = scores.astype(np.float64)
    scores[:, 0] = scores[:, cold] = -np.inf
    scores[sessions.seen(steps)] = -np.inf
    return scores


def told(name: str, values: Floats, bootstrap: Bootstrap) -> float:
    estimate = bootstrap.estimate(values)
    print(f"  {name:34} NDCG@10 {estimate.mean:.4f} ({estimate.low:.4f} to {estimate.high:.4f})", flush=True)
    return round(estimate.mean, 4)


def ranking(log: Log, environment: Environment, sessions: Sessions, targets: Ints) -> tuple[dict[str, Ints], tuple[Ints, Floats]]:
    """Ranks by scorer, and the rule's best items with their scores."""
    config, n_items = AnnotationsConfig(), log.catalog.n_items
    content = ContentKNN(environment.item_vectors, environment.config.decay)
    knn = ItemKNN.fit(log.training, n_items, config.knn_decay, config.knn_shrinkage)
    rule = Rule(ContentKNN(environment.item_vectors, config.knn_decay), knn, config.text_weight)
    states, _, _ = environment.annotate(sessions, np.zeros((sessions.n_steps, 0), dtype=np.int64))
    model = environment.state_model
    temperature, weight = (float(value.detach()) for value in (model.log_temperature.exp(), model.popularity_weight))
    log_popularity = weight * np.log(log.training_counts + 1.0)
    with_popularity = "state, with its popularity weight"
    scorers: dict[str, Callable[[Ints], Floats]] = {
        "skip connection alone (text)": lambda steps: content.scores(*sessions.histories(steps, environment.config.history)),
        "state": lambda steps: states[steps] @ environment.item_vectors.T,
        with_popularity: lambda steps: states[steps] @ environment.item_vectors.T / temperature + log_popularity,
        "item-kNN": lambda steps: knn.scores(*sessions.histories(steps, environment.config.history)),
        "rule": lambda steps: rule.scores(*sessions.histories(steps, environment.config.history)),
    }
    ranks: dict[str, list[Ints]] = {name: [] for name in scorers}
    best: list[tuple[Ints, Floats]] = []
    for start in range(0, len(targets), BLOCK):
        steps = targets[start : start + BLOCK]
        for name, scorer in scorers.items():
            scores = masked(scorer(steps), sessions, steps, log.cold_items)
            own = np.take_along_axis(scores, sessions.items[steps].astype(np.int64)[:, None], axis=1)
            ranks[name].append(np.where(np.isfinite(own[:, 0]), (scores >= own).sum(axis=1), n_items))
        order = np.argsort(-scores, axis=1, kind="stable")[:, :CANDIDATES]  # the rule is the last scorer
        best.append((order, np.take_along_axis(scores, order, axis=1)))
    listed = tuple(np.concatenate(parts) for parts in zip(*best, strict=True))
    return {name: np.concatenate(parts) for name, parts in ranks.items()}, (listed[0], listed[1])


def re_ranked(
    environment: Environment, sessions: Sessions, targets: Ints, listed: tuple[Ints, Floats], bootstrap: Bootstrap
) -> dict[str, float]:
    """The rule's list in the order of rule + w * reward, w from the other half of the users."""
    items, scores = listed
    asked = np.zeros((sessions.n_steps, CANDIDATES), dtype=np.int64)
    asked[targets] = np.where(np.isfinite(scores), items, 0)
    _, _, rewards = environment.annotate(sessions, asked)
    rewards = rewards[targets]
    own = items == sessions.items[targets][:, None]

    def gain(weight: float) -> Floats:
        mixed = np.where(np.isfinite(scores), scores + weight * rewards, -np.inf) if np.isfinite(weight) else rewards
        mine = np.where(own, mixed, -np.inf).max(axis=1, keepdims=True)
        return np.where(own.any(axis=1), ndcg((mixed >= mine).sum(axis=1), CUTOFF), 0.0)

    before, by_weight = gain(0.0), {weight: gain(weight) for weight in WEIGHTS}
    first = np.random.default_rng(1).random(len(targets)) < 0.5
    after, chosen = np.empty(len(targets)), []
    for half in (first, ~first):
        chosen.append(max(WEIGHTS, key=lambda weight: by_weight[weight][~half].mean()))  # noqa: B023
        after[half] = by_weight[chosen[-1]][half]
    told("rule's list as it is", before, bootstrap)
    told("rule's list by reward alone", gain(np.inf), bootstrap)
    told(f"by rule + w * reward, w {chosen}", after, bootstrap)
    gained = bootstrap.estimate(after - before)
    share = f", {gained.mean / before.mean():+.1%}" if before.any() else ""
    print(f"  re-ranking: {gained.mean:+.4f} ({gained.low:+.4f} to {gained.high:+.4f}){share}", flush=True)
    return {"before": before.mean(), "after": after.mean(), "gain": gained.mean, "low": gained.low, "high": gained.high}


def taste(run: Path, log: Log, environment: Environment, users: Ints) -> dict[str, float]:
    """Mean over users of Spearman's correlation with the true preference, by scorer; nothing without the truth."""
    if not (run / "truth").exists():
        return {}
    listeners, rng = load_listeners(run / "truth", run / "log", log), np.random.default_rng(2)
    theirs = np.isin(log.training.session_of, users)
    own, others = log.training.select(theirs), log.training.select(~theirs)
    last = own.offsets[1:][own.lengths > 0] - 1
    rows = listeners.listener_of[np.unique(log.training.session_of[theirs])]
    known = (rows >= 0) & (own.step_of[last] > 0)
    last, rows = last[known], rows[known]
    histories, lengths = own.histories(last, environment.config.history)
    items = np.zeros((len(last), CANDIDATES), dtype=np.int64)
    for line, seen in zip(items, histories, strict=True):
        free = np.setdiff1d(np.flatnonzero((log.training_counts > 0) & (listeners.track_of >= 0)), seen)
        line[:] = rng.choice(free, CANDIDATES, replace=False)
    true = np.take_along_axis(listeners.truth.preferences(rows), listeners.track_of[items], axis=1)
    asked = np.zeros((own.n_steps, CANDIDATES), dtype=np.int64)
    asked[last] = items
    states, _, rewards = environment.annotate(own, asked)
    config, vectors = AnnotationsConfig(), environment.item_vectors
    knn = ItemKNN.fit(others, log.catalog.n_items, config.knn_decay, config.knn_shrinkage)
    scorers = {
        "reward": rewards[last],
        "state": np.einsum("nw,nkw->nk", states[last], vectors[items]),
        "text": np.take_along_axis(ContentKNN(vectors, environment.config.decay).scores(histories, lengths), items, axis=1),
        "item_knn": np.take_along_axis(knn.scores(histories, lengths), items, axis=1),
        "popularity": np.bincount(others.items, minlength=log.catalog.n_items + 1)[items],
    }
    bootstrap, found = Bootstrap(np.arange(len(last)), 2000, 0), {}
    print(f"{len(last)} listeners, rank correlation with the true preference")
    for name, scores in scorers.items():
        with warnings.catch_warnings(action="ignore", category=ConstantInputWarning):
            correlation = pearsonr(rankdata(scores, axis=1), rankdata(true, axis=1), axis=1).statistic
        estimate = bootstrap.estimate(np.nan_to_num(correlation))  # 0 where all scores are equal
        print(f"  {name:12} {estimate.mean:+.3f} ({estimate.low:+.3f} to {estimate.high:+.3f})", flush=True)
        found[name] = round(estimate.mean, 4)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--users", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0, help="the recipe's")
    parser.add_argument("--device", default="cpu")
    asked = parser.parse_args()
    log, environment = load_log(asked.run / "log"), load_environment(asked.run / "environment", asked.device)
    users = unseen_users(log, environment, asked.seed, asked.users)
    examined = examine(environment, log, users, asked.seed)
    print(f"{len(users)} users, {examined['steps']} training steps; pairs {examined['pairs']}")
    for scorer in SCORERS:
        row = [f"{examined[what][kind][scorer]:.4f}" for what in ("accuracy", "auc") for kind in NEGATIVES]
        print(f"  {scorer:12}", *row, flush=True)
    print(f"  ties {examined['ties']:.4f}, rank correlation with popularity {examined['popularity_correlation']:+.3f}")
    for one in examined["calibration"]:
        print(f"  said {one['said']:.3f} seen {one['seen']:.3f} ({one['pairs']} pairs)")
    sessions, targets = until_validation(log, users)
    ranks, listed = ranking(log, environment, sessions, targets)
    print(f"{len(targets)} validation targets")
    bootstrap = Bootstrap(sessions.session_of[targets], 2000, 0)
    found = {name: told(name, ndcg(own, CUTOFF), bootstrap) for name, own in ranks.items()}
    mixed = re_ranked(environment, sessions, targets, listed, bootstrap)
    mixed = {name: round(float(value), 4) for name, value in mixed.items()}
    liked = taste(asked.run, log, environment, users)
    told_all = {"accuracy": examined["accuracy"], "auc": examined["auc"], "ndcg@10": found, "re_ranked": mixed, "taste": liked}
    print(json.dumps(told_all))


if __name__ == "__main__":
    main()
