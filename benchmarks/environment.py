"""What an environment gives on users it never saw: its rewards, its state as a recommender, and its rewards over the rule's list.

    python benchmarks/environment.py RUN_FOLDER [--users 2000] [--held-out] [--device cuda]   (a run with log/ and environment/)

Users that neither taught nor stopped the environment, their training steps for the rewards (environment/examination.py) and their
validation targets for the rest; the test part is not looked at. With --held-out they are the users that adapt held out: its
epoch was chosen on their training steps, of their validation targets it saw nothing, and they are the same whatever share of
users it learnt from. Of an environment with soft targets no others are unseen. There item-kNN counts the whole training part, as
agents read it. Ranking is full with seen items masked; "calibrated" adds popularity with the weight that was fitted to the skip
connection alone, or to the state; re-ranking orders the rule's 50 best by rule + w * reward, with w chosen on one half of the
users and measured on the other. Of a simulated log (a run with truth/) also the rank correlation with the true preference, over
50 unseen items drawn for every user after their last training step. Intervals are 95 % bootstrap intervals over users.
Last line: JSON {"accuracy", "auc", "ndcg@10", "hr@10": {scorer: value}, "gain": {"state" and "calibrated": that of the state
over the skip connection, with "low", "high" and "share"}, "re_ranked": {"before", "after", "gain", "low", "high"}, "taste"}.
"""

import argparse
import json
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.stats import ConstantInputWarning, pearsonr, rankdata

from learec.config import AnnotationsConfig, derived_seed
from learec.data.log import Floats, Ints, Log, Part, Sessions, load_log
from learec.data.neighbours import ContentKNN, ItemKNN, Rule
from learec.environment.adapt import split_users
from learec.environment.calibrate import calibrate
from learec.environment.environment import Environment, load_environment
from learec.environment.examination import NEGATIVES, SCORERS, examine
from learec.environment.negatives import NegativeSampler
from learec.environment.pairs import pair_batches
from learec.environment.state_loss import StateLoss
from learec.evaluation.compare import Bootstrap
from learec.evaluation.listeners import load_listeners
from learec.evaluation.metrics import hit_rate, ndcg

CANDIDATES, CUTOFF, BLOCK = 50, 10, 1024
TEXT, STATE = "skip connection alone (text)", "state"
WEIGHTS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 1.2, 2.0, 5.0)


def unseen_users(log: Log, environment: Environment, seed: int, n: int, held_out: bool = False) -> Ints:
    """Session numbers that are in neither part of adapt's split, or in its held-out part."""
    split = split_users(log.training, environment.config, seed)
    if held_out:
        return split.held_out_users[:n]
    free = np.setdiff1d(np.flatnonzero(log.training.lengths >= 2), np.union1d(split.training_users, split.held_out_users))
    if environment.config.soft_targets or not len(free):
        raise SystemExit("the environment has learnt from all users but those held out; measure on these with --held-out")
    return np.sort(np.random.default_rng(0).permutation(free)[:n])


def untrained(log: Log, environment: Environment, seed: int) -> tuple[float, float]:
    """Temperature and popularity weight of the skip connection alone, fitted as adapt does before it trains."""
    config, device = environment.config, environment.vectors.device
    fresh = Environment(environment.llm, config, environment.item_tokens, environment.vectors, environment.words).to(device)
    sampler = NegativeSampler(log.training, log.catalog.n_items, config)
    windows, seeds = split_users(log.training, config, seed).training, derived_seed("calibrate", seed)
    batches = pair_batches(windows, sampler, fresh.widths, config.token_budget, seeds, shuffle=True)
    calibrate(fresh, batches, StateLoss(fresh, sampler))
    return scalars(fresh)


def scalars(environment: Environment) -> tuple[float, float]:
    model = environment.state_model
    return float(model.log_temperature.detach().exp()), float(model.popularity_weight.detach())


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


def told(name: str, values: Floats, bootstrap: Bootstrap, what: str = "NDCG@10") -> float:
    estimate = bootstrap.estimate(values)
    print(f"  {name:34} {what} {estimate.mean:.4f} ({estimate.low:.4f} to {estimate.high:.4f})", flush=True)
    return round(estimate.mean, 4)


def gained(new: Ints, old: Ints, bootstrap: Bootstrap) -> dict[str, float]:
    """What one ranking has over another, in NDCG@10."""
    estimate, before = bootstrap.estimate(ndcg(new, CUTOFF) - ndcg(old, CUTOFF)), ndcg(old, CUTOFF).mean()
    found = {"gain": estimate.mean, "low": estimate.low, "high": estimate.high, "share": estimate.mean / max(before, 1e-12)}
    return {name: round(float(value), 4) for name, value in found.items()}


def ranking(
    log: Log, environment: Environment, sessions: Sessions, targets: Ints, seed: int
) -> tuple[dict[str, Ints], tuple[Ints, Floats]]:
    """Ranks by scorer, and the rule's best items with their scores."""
    config, n_items = AnnotationsConfig(), log.catalog.n_items
    content = ContentKNN(environment.item_vectors, environment.config.decay)
    knn = ItemKNN.fit(log.training, n_items, config.knn_decay, config.knn_shrinkage)
    rule = Rule(ContentKNN(environment.item_vectors, config.knn_decay), knn, config.text_weight)
    states, _, _ = environment.annotate(sessions, np.zeros((sessions.n_steps, 0), dtype=np.int64))
    log_popularity = np.log(log.training_counts + 1.0)

    def text(steps: Ints) -> Floats:
        return content.scores(*sessions.histories(steps, environment.config.history))

    def state(steps: Ints) -> Floats:
        return states[steps] @ environment.item_vectors.T

    def calibrated(scorer: Callable[[Ints], Floats], temperature: float, weight: float) -> Callable[[Ints], Floats]:
        return lambda steps: scorer(steps) / temperature + weight * log_popularity

    scorers: dict[str, Callable[[Ints], Floats]] = {
        TEXT: text,
        STATE: state,
        f"{TEXT}, calibrated": calibrated(text, *untrained(log, environment, seed)),
        f"{STATE}, calibrated": calibrated(state, *scalars(environment)),
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
    parser.add_argument("--held-out", action="store_true", help="the users that adapt held out")
    parser.add_argument("--seed", type=int, default=0, help="the recipe's")
    parser.add_argument("--device", default="cpu")
    asked = parser.parse_args()
    log, environment = load_log(asked.run / "log"), load_environment(asked.run / "environment", asked.device)
    users = unseen_users(log, environment, asked.seed, asked.users, asked.held_out)
    examined = examine(environment, log, users, asked.seed)
    print(f"{len(users)} users, {examined['steps']} training steps; pairs {examined['pairs']}")
    for scorer in SCORERS:
        row = [f"{examined[what][kind][scorer]:.4f}" for what in ("accuracy", "auc") for kind in NEGATIVES]
        print(f"  {scorer:12}", *row, flush=True)
    print(f"  ties {examined['ties']:.4f}, rank correlation with popularity {examined['popularity_correlation']:+.3f}")
    for one in examined["calibration"]:
        print(f"  said {one['said']:.3f} seen {one['seen']:.3f} ({one['pairs']} pairs)")
    sessions, targets = until_validation(log, users)
    ranks, listed = ranking(log, environment, sessions, targets, asked.seed)
    print(f"{len(targets)} validation targets")
    bootstrap = Bootstrap(sessions.session_of[targets], 2000, 0)
    found = {name: told(name, ndcg(own, CUTOFF), bootstrap) for name, own in ranks.items()}
    hits = {name: told(name, hit_rate(own, CUTOFF), bootstrap, "HR@10") for name, own in ranks.items()}
    gains = {
        "state": gained(ranks[STATE], ranks[TEXT], bootstrap),
        "calibrated": gained(ranks[f"{STATE}, calibrated"], ranks[f"{TEXT}, calibrated"], bootstrap),
    }
    print(f"  the state over the skip connection: {gains}", flush=True)
    mixed = re_ranked(environment, sessions, targets, listed, bootstrap)
    mixed = {name: round(float(value), 4) for name, value in mixed.items()}
    liked = taste(asked.run, log, environment, users)
    told_all = {"ndcg@10": found, "hr@10": hits, "gain": gains, "re_ranked": mixed, "taste": liked}
    print(json.dumps({"accuracy": examined["accuracy"], "auc": examined["auc"], **told_all}))


if __name__ == "__main__":
    main()
