"""Off-policy estimates: what a policy would earn per step, from steps that others chose: clipped IPS, SNIPS, doubly robust.

The policy that is judged shows one of an agent's first k items, each as likely as the others. That is what is served, it needs no
temperature, and so agents whose scores live on different scales (counts, cosines, logits) are judged as the same kind of policy.
docs/off_policy.md says what has to hold for the figures to mean anything.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import sqrt
from typing import Any

import numpy as np

from learec.data.log import Ints, Sessions
from learec.evaluation.compare import Estimate, Values
from learec.evaluation.drawn import Drawn

SHRINKAGE = 10.0  # rewards of the overall mean that an item, and a session, starts with
LEAST = 100  # effective sample size below which an estimate is not to be trusted


@dataclass(frozen=True)
class ExpectedReward:
    """Reward of an item in a session: mean + what the item deviates + what the session has deviated so far, both shrunk.

    The reward model of the doubly robust estimate, fitted on training steps alone; of a session it reads the rewards before
    the step, as anyone who serves could.
    """

    mean: float
    items: Values  # (N + 1,) deviations

    @classmethod
    def fit(cls, training: Sessions, n_items: int) -> "ExpectedReward":
        """From training steps."""
        mean = float(training.rewards.mean(dtype=np.float64)) if training.n_steps else 0.0
        counts = np.bincount(training.items, minlength=n_items + 1)
        sums = np.bincount(training.items, weights=training.rewards - mean, minlength=n_items + 1)
        return cls(mean, sums / (counts + SHRINKAGE))

    def of(self, sessions: Sessions, steps: Ints, items: Ints) -> Values:
        """Of items (T, k) at steps (T,), (T, k)."""
        left = sessions.rewards - self.mean - self.items[sessions.items]
        before = np.append(0, np.cumsum(left, dtype=np.float64))
        counts = sessions.step_of[steps]
        session = (before[steps] - before[steps - counts]) / (counts + SHRINKAGE)
        found: Values = self.mean + session[:, None] + self.items[items]
        return found

    def explained(self, sessions: Sessions, steps: Ints) -> float:
        """Share of the variance of the steps' rewards that it explains: below 0 if their mean is better, NaN if all are equal."""
        rewards = np.asarray(sessions.rewards[steps], dtype=np.float64)
        error = rewards - self.of(sessions, steps, sessions.items[steps][:, None])[:, 0]
        return float(1 - np.square(error).mean() / rewards.var()) if len(steps) and rewards.var() > 0 else float("nan")


@dataclass(frozen=True)
class JudgedSteps:
    """T logged steps on which policies are judged."""

    sessions: Sessions
    steps: Ints  # (T,)
    propensities: Values  # (T,) with which the behaviour policy takes the steps' own items
    expected: ExpectedReward
    clip: float

    def columns(self, best: Ints) -> dict[str, Values]:
        """Of a policy with lists (T, k), 0 where one has ended: what estimates are means of, (T,) each.

        raw: weights pi / b; weight: clipped; weighted: weight * reward; robust: what the doubly robust estimate adds up. Where a
        list is empty nothing is shown and nothing is earned.
        """
        items, rewards = self.sessions.items[self.steps], np.asarray(self.sessions.rewards[self.steps], dtype=np.float64)
        shown = best > 0
        raw = probabilities(best, items) / self.propensities
        weight = np.minimum(raw, self.clip)
        expected = np.where(shown, self.expected.of(self.sessions, self.steps, best), 0)
        direct = expected.sum(axis=1) / np.maximum(shown.sum(axis=1), 1)
        own = self.expected.of(self.sessions, self.steps, items[:, None])[:, 0]
        robust = direct + weight * (rewards - own)
        return {"raw": raw, "weight": weight, "weighted": weight * rewards, "robust": robust}


def probabilities(best: Ints, items: Ints) -> Values:
    """Pi of the items (T,) under a policy that shows one of a list (T, k), each as likely; 0 where a list has ended."""
    shown: Values = (best == items[:, None]).any(axis=1) / np.maximum((best > 0).sum(axis=1), 1)
    return shown


def default_clip(n_targets: int) -> float:
    """Square root of the number of targets: bias and variance both fall as they grow (Ionides, J. Comp. Graph. Stat. 2008)."""
    return max(sqrt(n_targets), 1.0)


@dataclass(frozen=True)
class Judged:
    """What the log says a policy would earn per step."""

    ips: Estimate  # mean of weight * reward
    snips: Estimate  # the same, divided by the mean weight
    dr: Estimate  # doubly robust
    effective: float  # sample size: targets of equal weight that would tell as much
    clipped: float  # share of the weights above 0
    mean_weight: Estimate  # before clipping; about 1 if the behaviour policy is right

    @classmethod
    def of(cls, columns: Mapping[str, Values], drawn: Drawn) -> "Judged":
        """From the columns of `JudgedSteps.columns` and what a bootstrap drew of them."""
        used = columns["raw"] > 0
        return cls(
            ips=drawn.estimate("weighted"),
            snips=drawn.estimate("weighted", "weight"),
            dr=drawn.estimate("robust"),
            effective=effective_size(columns["weight"]),
            clipped=float((columns["weight"] < columns["raw"]).sum() / max(used.sum(), 1)),
            mean_weight=drawn.estimate("raw"),
        )

    def as_json(self) -> dict[str, Any]:
        """For tables.json; NaN where nothing can be said."""
        told = {name: asdict(getattr(self, name)) for name in ("ips", "snips", "dr", "mean_weight")}
        return {**told, "effective": self.effective, "clipped": self.clipped}

    @property
    def is_thin(self) -> bool:
        """Whether too few targets speak for it."""
        return self.effective < LEAST

    @property
    def is_off(self) -> bool:
        """Whether its weights cannot be those of the behaviour policy: their mean is not 1."""
        return not self.mean_weight.low <= 1 <= self.mean_weight.high


def warnings(judged: Mapping[str, Judged]) -> list[str]:
    """Which of the policies not to believe, and why: a sentence for each reason."""
    thin = [f"{name} ({found.effective:.0f})" for name, found in judged.items() if found.is_thin]
    off = [f"{name} ({found.mean_weight.mean:.2f})" for name, found in judged.items() if found.is_off and not found.is_thin]
    found = []
    if thin:
        found.append(
            f"{', '.join(thin)}: estimated from an effective sample of fewer than {LEAST} targets; do not rank by it, and use a "
            "longer log or longer lists (list_length)"
        )
    if off:
        found.append(
            f"{', '.join(off)}: the weights' mean is not 1, so the behaviour policy misjudges how often these items are taken; "
            "read SNIPS rather than IPS, and neither as more than a hint"
        )
    return found


def effective_size(weights: Values) -> float:
    """Kish's effective sample size: (sum of weights)^2 / sum of squares; 0 without weights."""
    squares = float(np.square(weights).sum())
    return float(weights.sum()) ** 2 / squares if squares else 0.0
