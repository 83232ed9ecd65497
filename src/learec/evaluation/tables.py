"""tables.json: every row's metrics, where it gains, what it recommends, and what the comparisons that a recipe asks for found."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from learec.config import EvaluationConfig, derived_seed
from learec.data.log import Bools, Floats, Ints
from learec.evaluation.compare import Bootstrap, Estimate, Values, interval
from learec.evaluation.metrics import METRICS, reciprocal_rank
from learec.evaluation.permutation import Tested, holm, permutation_tests
from learec.evaluation.seeds import Pair, seed_luck

Json = dict[str, Any]
Names = tuple[str, str]  # of a pair of rows, the new one and its base
NO_PLACEBOS: Mapping[Names, Sequence[str]] = {}
OTHERS = {"HR": METRICS["HR"], "MRR": reciprocal_rank}  # by slice, beside the main metric


@dataclass(frozen=True)
class Row:
    """A line of the tables: a floor, or an agent with all of its seeds."""

    name: str
    kind: str  # floor, agent or hybrid
    description: str
    ranks: Sequence[Ints]  # (T,) a run
    lists: Sequence[Mapping[str, float]]  # measures of its lists, a run
    validation: Mapping[str, float]  # main metric by run
    is_control: bool = False  # a placebo
    placebo_of: str | None = None  # the row that it is a placebo of

    @property
    def covers_seeds(self) -> bool:
        """Whether what differs between its runs is known, or nothing does."""
        return self.kind == "floor" or len(self.ranks) > 1


@dataclass(frozen=True)
class Targets:
    """The targets that are measured, T of them."""

    sessions: Ints  # (T,)
    events: npt.NDArray[Any]  # (T,) kinds by name
    rewards: Floats  # (T,) what the events are worth
    slices: Mapping[str, Bools]  # (T,)

    def kinds(self) -> dict[str, Bools]:
        """Which targets are of each kind of event, most frequent first."""
        kinds, counts = np.unique(self.events, return_counts=True)
        return {str(kind): self.events == kind for kind in kinds[np.argsort(-counts, kind="stable")]}


class Tables:
    """Measures of rows on targets. Everything drawn at random follows from the recipe's seed."""

    def __init__(self, config: EvaluationConfig, seed: int, targets: Targets) -> None:
        self.config, self.targets = config, targets
        self._resampling, self._exchanging = derived_seed("bootstrap", seed), derived_seed("permutation", seed)
        self._all = Bootstrap(targets.sessions, config.resamples, self._resampling)

    def made(self, rows: Sequence[Row]) -> Json:
        """Rows and comparisons, as report.py describes them."""
        main = {row.name: [METRICS[self.metric.split("@")[0]](rank, self.cutoff) for rank in row.ranks] for row in rows}
        metrics, beyond = self._metrics(rows), self._beyond(rows)
        by_event, slices = (self.by_slice(main, masks) for masks in (self.targets.kinds(), self.targets.slices))
        covers = {row.name: row.covers_seeds for row in rows}
        return {
            "main_metric": self.metric,
            "rows": [
                {
                    "name": row.name, "kind": row.kind, "description": row.description, "seeds": len(row.ranks),
                    "is_control": row.is_control,
                    "metrics": metrics[row.name], "beyond": beyond[row.name], "by_event": by_event[row.name],
                    "slices": slices[row.name], "validation": dict(row.validation),
                    "other_by_event": self._others(row, self.targets.kinds()),
                    "other_by_slice": self._others(row, self.targets.slices),
                }
                for row in rows
            ],
            "comparisons": self.comparisons(self.config.compare, main, covers, placebos_beside(rows, self.config.compare)),
            "leads": self.comparisons(leads(rows), main, covers),
        }  # fmt: skip

    @property
    def cutoff(self) -> int:
        """Of the main metric: 10, or the first cutoff if 10 is none."""
        return 10 if 10 in self.config.cutoffs else self.config.cutoffs[0]

    @property
    def metric(self) -> str:
        """The metric that is compared and sliced."""
        return f"NDCG@{self.cutoff}"

    def by_slice(self, runs: Mapping[str, Sequence[Values]], masks: Mapping[str, Bools]) -> dict[str, Json]:
        """A metric by row and slice: n targets, mean, interval, deviation over seeds; runs hold (T,) a seed, masks are (T,).

        Sessions without a target in the slice have no part in its interval.
        """
        found: dict[str, Json] = {name: {} for name in runs}
        for part, chosen in masks.items():
            bootstrap = Bootstrap(self.targets.sessions[chosen], self.config.resamples, self._resampling)
            columns = [[run[chosen] for run in values] for values in runs.values()]
            for name, cell in zip(runs, cells(columns, bootstrap), strict=True):
                found[name][part] = {"n": int(chosen.sum()), **cell}
        return found

    def _others(self, row: Row, masks: Mapping[str, Bools]) -> dict[str, Json]:
        """Means over seeds of the metrics beside the main one: {"HR@10": {slice: mean, None without targets}, ...}."""
        found: dict[str, Json] = {}
        for name, metric in OTHERS.items():
            values = np.mean([metric(rank, self.cutoff) for rank in row.ranks], axis=0)
            found[f"{name}@{self.cutoff}"] = {
                part: float(values[chosen].mean()) if chosen.any() else None for part, chosen in masks.items()
            }
        return found

    def _metrics(self, rows: Sequence[Row]) -> dict[str, Json]:
        names = [f"{name}@{k}" for name in METRICS for k in self.config.cutoffs]
        columns = ([METRICS[m](r, k) for r in row.ranks] for row in rows for m in METRICS for k in self.config.cutoffs)
        found = iter(cells(columns, self._all))
        return {row.name: dict(zip(names, found, strict=False)) for row in rows}

    def _beyond(self, rows: Sequence[Row]) -> dict[str, Json]:
        """Reciprocal ranks, hits weighted by what their events are worth, and measures of lists, which have no interval."""
        cutoffs, k = self.config.cutoffs, self.cutoff
        reciprocal = iter(cells(([reciprocal_rank(r, k) for r in row.ranks] for row in rows for k in cutoffs), self._all))
        found: dict[str, Json] = {row.name: dict(zip((f"MRR@{k}" for k in cutoffs), reciprocal, strict=False)) for row in rows}
        if not weightless(self.targets.rewards):
            weighted = cells(
                [[METRICS["HR"](r, k) for r in row.ranks] for row in rows], self._all, self.targets.rewards.astype(float)
            )
            for row, cell in zip(rows, weighted, strict=True):
                found[row.name][f"reward HR@{k}"] = cell
        for row in rows:
            for name in row.lists[0]:
                values = [measures[name] for measures in row.lists]
                found[row.name][f"{name}@{self.config.list_length}"] = {
                    "mean": float(np.mean(values)), "low": None, "high": None, "seed_deviation": _deviation(values),
                }  # fmt: skip
        return found

    def comparisons(
        self,
        names: Sequence[Names],
        main: Mapping[str, Sequence[Values]],
        covers: Mapping[str, bool],
        placebos: Mapping[Names, Sequence[str]] = NO_PLACEBOS,
    ) -> list[Json]:
        """Difference, interval, p values and effect of pairs, adjusted for how many there are, and differences by slice.

        main has the main metric by row, (T,) a run; covers says of which rows it is known what differs between runs. Beside a
        pair stand the gains of `placebos` of its first row over the same base, with intervals: they are shown, not tested.
        """
        pairs = [Pair(np.stack(main[new]), np.stack(main[base])) for new, base in names]
        if not pairs or not len(self.targets.sessions):
            return []
        tested = permutation_tests(pairs, self._all.by_session, self.config.permutations, self._exchanging)
        adjusted = holm([found.p for found in tested])
        slices: list[Json] = [{} for _ in pairs]
        for part, chosen in self.targets.slices.items():
            bootstrap = Bootstrap(self.targets.sessions[chosen], self.config.resamples, self._resampling)
            for place, estimate in enumerate(self._differences([pair.at(chosen) for pair in pairs], bootstrap)):
                slices[place][part] = {"n": int(chosen.sum()), "sessions": bootstrap.n_sessions, **_difference(estimate)}
        estimates = self._differences(pairs, self._all)
        beside = [(pair, name) for pair in names for name in placebos.get(pair, ())]
        controls = self._differences([Pair(np.stack(main[name]), np.stack(main[base])) for (_, base), name in beside], self._all)
        told: dict[Names, list[Json]] = {pair: [] for pair in names}
        for (pair, name), estimate in zip(beside, controls, strict=True):
            known = covers[name] and covers[pair[1]]
            told[pair].append({"name": name, "seeds": len(main[name]), "covers_seeds": known, **_difference(estimate)})
        return [
            {
                "new": new, "base": base, "metric": self.metric, "n": len(self.targets.sessions),
                "seeds": len(main[new]), "base_seeds": len(main[base]),
                "covers_seeds": covers[new] and covers[base], **_difference(estimate),
                "relative": _relative(estimate, main[base]), **_told(test), "p_adjusted": p, "slices": parts,
                "placebos": told[new, base],
            }
            for (new, base), estimate, test, p, parts in zip(names, estimates, tested, adjusted, slices, strict=True)
        ]  # fmt: skip

    def _differences(self, pairs: Sequence[Pair], bootstrap: Bootstrap) -> list[Estimate]:
        """Differences of pairs with intervals that hold other sessions and, where there are several runs, other seeds."""
        if not pairs:
            return []
        means, drawn = bootstrap.draws(pair.difference for pair in pairs)
        found = []
        for pair, mean, column in zip(pairs, means, drawn.T, strict=True):
            luck = seed_luck(pair, bootstrap.by_session)
            found.append(interval(float(mean), mean + luck.added_to(column - mean, self._exchanging)))
        return found


def placebos_beside(rows: Sequence[Row], pairs: Iterable[Names]) -> dict[Names, list[str]]:
    """By pair whose base is no placebo: the placebos of its new row, but those that are compared with that base themselves."""
    asked, controls = set(pairs), {row.name for row in rows if row.is_control}
    return {
        (new, base): [row.name for row in rows if row.placebo_of == new and (row.name, base) not in asked]
        for new, base in asked
        if base not in controls
    }


def leads(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """What a reader asks first, whatever the recipe compares: the best agent and the best hybrid against the best floor.

    Placebos lead nothing. Each is the best on validation, so that the test part has no say in which pairs are tested on it.
    """
    best = {}
    for kind in ("floor", "agent", "hybrid"):
        means = {
            row.name: float(np.mean(list(row.validation.values()))) for row in rows if row.kind == kind and not row.is_control
        }
        if any(mean > 0 for mean in means.values()):
            best[kind] = max(means, key=lambda name: means[name])
    return [(best[kind], best["floor"]) for kind in ("agent", "hybrid") if kind in best and "floor" in best]


def cells(columns: Iterable[Sequence[Values]], bootstrap: Bootstrap, weights: Values | None = None) -> list[Json]:
    """Mean and interval of the seeds' average, and the standard deviation over seeds, of columns with (T,) a seed."""
    deviations: list[float | None] = []

    def averages() -> Iterator[Values]:
        for column in columns:
            means = [float(np.average(run, weights=weights)) for run in column] if len(column[0]) else []
            deviations.append(_deviation(means))
            yield np.mean(column, axis=0)

    estimates = bootstrap.estimates(averages(), weights)
    return [{**asdict(e), "seed_deviation": d} for e, d in zip(estimates, deviations, strict=True)]


def weightless(rewards: Floats) -> str | None:
    """Why hits cannot be weighted by rewards (T,), if they cannot."""
    if not len(rewards) or not (rewards > 0).any():
        return "no target is worth anything"
    if (rewards < 0).any():
        return "some targets are worth less than nothing"
    return "all targets are worth the same, so it is HR itself" if (rewards == rewards[0]).all() else None


def _deviation(values: Sequence[float]) -> float | None:
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def _difference(estimate: Estimate) -> Json:
    return {"difference": estimate.mean, "low": estimate.low, "high": estimate.high}


def _relative(estimate: Estimate, base: Sequence[Values]) -> float | None:
    mean = float(np.mean(base))
    return estimate.mean / mean if mean else None


def _told(test: Tested) -> Json:
    told = {"p": test.p, "effect": test.effect, "better": test.better, "worse": test.worse}
    return {**told, "seed_share": test.luck.share}
