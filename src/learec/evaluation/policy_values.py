"""What policies would earn: estimated from the log and, of a simulated log, in truth; and how well the one tells the other.

`add` a contestant after the other, then take the `tables`; null means that a run has no such part:

    off_policy   {k, clip, effective_wanted, behaviour: {shares, log_likelihood: {model: {part: nats a step}}},
                  explained: share of the variance of validation rewards that the reward model explains, rows: [{name, seed,
                  ips, snips, dr, mean_weight: {mean, low, high}, effective, clipped}], warnings: [sentence]} | null
    rollout      {k, users, steps, exposure, rows: [{name, seed, value, listed: {mean, low, high}}], bounds: [{name, value}],
                  comparisons: [{new, base, difference, low, high}]} | null
    agreement    [{estimate, tau, low, high: other users, low_both, high_both: other users and policies, n: policies}]
    judged       [{name, seed, reward: {mean, low, high}}], by the environment
    without      {what is null or empty: why}
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from learec.annotations.annotate import Environment
from learec.config import EvaluationConfig, derived_seed
from learec.data.log import Ints, Log, Part
from learec.evaluation.agreement import Series, agreement
from learec.evaluation.behaviour import COUNTING, Behaviour
from learec.evaluation.compare import Bootstrap
from learec.evaluation.drawn import Drawn, with_interval
from learec.evaluation.environment_reward import rewards_of_lists, sampled
from learec.evaluation.listeners import Listeners
from learec.evaluation.metrics import METRICS, Ranking, Scorer
from learec.evaluation.off_policy import LEAST, ExpectedReward, Judged, JudgedSteps, default_clip, warnings
from learec.evaluation.rollout import EXPOSURE
from learec.evaluation.simulated_values import SimulatedValues
from learec.evaluation.value_table import column_name

Json = dict[str, Any]
Ratio = tuple[str, str | None]  # columns: what is measured, over what
VALUE: Ratio = ("value", "starts")
LISTED: Ratio = ("listed", "known")
JUDGED: Ratio = ("judged", "sampled")
ALWAYS = (
    "every test target is worth the same, so every policy would earn that; give kinds of events their worth in [data.rewards]"
)
OFF = "off_policy is not on in [evaluation]"
ESTIMATES: Mapping[str, Ratio] = {
    "HR": ("HR", None),
    "NDCG": ("NDCG", None),
    "clipped IPS": ("weighted", None),
    "SNIPS": ("weighted", "weight"),
    "doubly robust": ("robust", None),
    "SNIPS by true propensities": ("true weighted", "true weight"),
    "true worth of what is listed": LISTED,
    "LE reward": JUDGED,
}


@dataclass(frozen=True)
class Knowledge:
    """What may be asked beside the log; None where it is not here."""

    listeners: Listeners | None = None  # of a simulated log
    environment: Environment | None = None


@dataclass(frozen=True)
class Policy:
    """What was found of a contestant."""

    name: str
    seed: int | None
    drawn: Drawn
    judged: Judged | None
    sample: Ints  # (sample, k) its lists at the targets that an environment judges

    @property
    def told(self) -> Json:
        """Who it is."""
        return {"name": self.name, "seed": self.seed}


class PolicyValues:
    """Values of contestants on a log's test targets; nothing but their resamples is kept."""

    def __init__(self, log: Log, config: EvaluationConfig, seed: int, floors: Mapping[str, Scorer], known: Knowledge) -> None:
        """The behaviour policy is made of those of the floors that are named in COUNTING."""
        self._log, self._config, self._seed, self._known = log, config, seed, known
        self._steps = log.targets(Part.TEST)
        self._bootstrap = Bootstrap(log.sessions.session_of[self._steps], config.resamples, derived_seed("bootstrap", seed))
        self._without = _reasons(log, self._steps, config, floors, known)
        self._policies: list[Policy] = []
        self._sample = sampled(len(self._steps), config.judged_targets, derived_seed("judged", seed))
        if "off_policy" not in self._without:
            sources = {name: floors[name] for name in COUNTING}
            parts = {"validation": log.targets(Part.VALIDATION), "test": self._steps}
            self._behaviour = Behaviour.fit(sources, log.sessions, parts)
            expected = ExpectedReward.fit(log.training, log.catalog.n_items)
            clip = config.clip_weights or default_clip(len(self._steps))
            self._targets = JudgedSteps(log.sessions, self._steps, self._behaviour.probabilities("test"), expected, clip)
        if known.listeners is not None and "rollout" not in self._without:
            self._simulated = SimulatedValues(known.listeners, log, self._steps, config, seed)

    def add(self, name: str, seed: int | None, scorer: Scorer, ranking: Ranking) -> None:
        """A contestant and what it makes of the test targets: its ranks, and its list_length best items."""
        if {"off_policy", "rollout", "judged"} <= self._without.keys():
            return
        k, columns, off = self._config.list_length, {}, {}
        if "off_policy" not in self._without:
            off = self._targets.columns(ranking.best)
        if "rollout" not in self._without:
            columns = {name: metric(ranking.ranks, k) for name, metric in METRICS.items()}
            columns |= {**self._simulated.of_lists(ranking.best), **self._simulated.of_scorer(scorer)}
            columns |= self._simulated.by_true_propensities(ranking.best, self._targets.clip) if off else {}
        drawn = Drawn.of({**off, **columns}, self._bootstrap)
        judged = Judged.of(off, drawn) if off else None
        self._policies.append(Policy(name, seed, drawn, judged, ranking.best[self._sample]))

    def tables(self) -> Json:
        """All that is to stand in tables.json."""
        policies = self._policies if "judged" in self._without else self._by_environment()
        on = {name: name not in self._without for name in ("off_policy", "rollout", "judged")}
        return {
            "off_policy": self._off_policy() if on["off_policy"] else None,
            "rollout": self._rollout() if on["rollout"] else None,
            "agreement": self._agreement(policies) if on["rollout"] else [],
            "judged": [{**p.told, "reward": asdict(p.drawn.estimate(*JUDGED))} for p in policies] if on["judged"] else [],
            "without": self._without,
        }

    def _off_policy(self) -> Json:
        judged = [(policy, policy.judged) for policy in self._policies if policy.judged is not None]
        return {
            "k": self._config.list_length,
            "clip": self._targets.clip,
            "effective_wanted": LEAST,
            "behaviour": self._behaviour.told(),
            "explained": self._targets.expected.explained(self._log.sessions, self._log.targets(Part.VALIDATION)),
            "rows": [{**policy.told, **found.as_json()} for policy, found in judged],
            "warnings": warnings({column_name(policy.told): found for policy, found in judged}),
        }

    def _rollout(self) -> Json:
        rollout, bounds = self._simulated.rollout, self._simulated.bounds()
        return {
            "k": self._config.list_length,
            "users": len(rollout.plays.steps),
            "steps": rollout.n_steps,
            "exposure": EXPOSURE,
            "rows": [
                {**p.told, "value": asdict(p.drawn.estimate(*VALUE)), "listed": asdict(p.drawn.estimate(*LISTED))}
                for p in self._policies
            ],
            "bounds": [
                {"name": name, "value": asdict(Drawn.of(columns, self._bootstrap).estimate(*VALUE))}
                for name, columns in bounds.items()
            ],
            "comparisons": [self._compared(new, base) for new, base in self._config.compare],
        }

    def _compared(self, new: str, base: str) -> Json:
        """Two names' values, seeds averaged, on the same users with the same luck."""
        sides = [_series([p for p in self._policies if p.name == name], VALUE) for name in (new, base)]
        means, draws = [side.values.mean() for side in sides], [side.drawn.mean(axis=1) for side in sides]
        found = with_interval(float(means[0] - means[1]), draws[0] - draws[1])
        return {"new": new, "base": base, "difference": found.mean, "low": found.low, "high": found.high}

    def _agreement(self, policies: Sequence[Policy]) -> list[Json]:
        """Of every estimate, over the policies that it says anything of: a list without a logged item has no SNIPS."""
        k, found = self._config.list_length, []
        for name, (above, below) in ESTIMATES.items():
            if not policies or above not in policies[0].drawn.means:
                continue
            known = [policy for policy in policies if np.isfinite(policy.drawn.figure(above, below)[0])]
            if len(known) < 2:
                continue
            tau = agreement(_series(known, (above, below)), _series(known, VALUE), self._seed)
            both = {"low_both": tau.over_both.low, "high_both": tau.over_both.high}
            low, high = tau.over_users.low, tau.over_users.high
            label = f"{name}@{k}" if name in METRICS else name
            found.append({"estimate": label, "tau": tau.over_users.mean, "low": low, "high": high, **both, "n": len(known)})
        return found

    def _by_environment(self) -> list[Policy]:
        """All policies, with what the environment makes of their lists among their columns."""
        environment, lists = self._known.environment, [policy.sample for policy in self._policies]
        if environment is None or not lists:
            return self._policies
        column = np.zeros(len(self._steps))
        column[self._sample] = 1
        found = []
        for policy, rewards in zip(
            self._policies, rewards_of_lists(environment, self._log, self._steps[self._sample], lists), strict=True
        ):
            judged = np.zeros(len(self._steps))
            judged[self._sample] = rewards
            drawn = Drawn.of({"judged": judged, "sampled": column}, self._bootstrap)
            both = Drawn({**policy.drawn.means, **drawn.means}, {**policy.drawn.draws, **drawn.draws})
            found.append(replace(policy, drawn=both))
        return found


def _reasons(log: Log, steps: Ints, config: EvaluationConfig, floors: Mapping[str, Scorer], known: Knowledge) -> dict[str, str]:
    """Which parts there cannot or need not be, and why."""
    rewards, found = log.sessions.rewards[steps], {}
    if not len(steps) or not len(log.targets(Part.VALIDATION)):
        return dict.fromkeys(("off_policy", "rollout", "judged"), "it needs validation and test targets, and there are none")
    if not config.rollout_users:
        found["rollout"] = "rollout_users is 0 in [evaluation]"
    elif known.listeners is None:
        found["rollout"] = "there is no truth/ here; only a simulated log has one, and `learec prepare` makes it"
    if not config.off_policy and "rollout" in found:
        found["off_policy"] = OFF
    elif (rewards == rewards[0]).all():
        found["off_policy"] = ALWAYS
    elif missing := sorted(set(COUNTING) - floors.keys()):
        found["off_policy"] = f"the behaviour policy is made of floors, and {missing[0]} is not among them"
    if known.environment is None or not config.judged_targets:
        found["judged"] = "judged_targets is 0 in [evaluation]" if not config.judged_targets else "there is no environment/ here"
    return found


def _series(policies: Sequence[Policy], ratio: Ratio) -> Series:
    figures = [policy.drawn.figure(*ratio) for policy in policies]
    return Series(np.array([value for value, _ in figures]), np.stack([drawn for _, drawn in figures], axis=1))
