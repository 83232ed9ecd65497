"""What a report's numbers allow to say, in sentences."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from learec.evaluation.figures import number, signed
from learec.evaluation.metrics import SELECTING

LEVEL = 0.05  # of the adjusted p value of a comparison
Json = Mapping[str, Any]


@dataclass(frozen=True)
class Verdict:
    """How one row stands to another, and by what that was judged."""

    words: str
    evidence: str


def told_apart(comparison: Json) -> bool:
    """Whether a comparison's test, adjusted for how many there are, tells its rows apart."""
    return bool(comparison["p_adjusted"] < LEVEL)


def words_of(comparison: Json, sign: int = 1) -> str:
    """In words, what a comparison allows to say; with sign -1, read from its base's side."""
    difference = sign * comparison["difference"] if told_apart(comparison) else 0
    return _words(difference, difference)


def _words(low: float, high: float) -> str:
    """What an interval of a difference allows to say."""
    return "beats" if low > 0 else "is behind" if high < 0 else "cannot be told apart from"


def verdict(data: Json, new: str, base: str) -> Verdict:
    """From the paired comparison of both rows if there is one, either way round, else, more coarsely, from their intervals."""
    for comparison in data["comparisons"]:
        if {comparison["new"], comparison["base"]} == {new, base}:
            sign = 1 if comparison["new"] == new else -1
            low, high = sorted((sign * comparison["low"], sign * comparison["high"]))
            difference = f"{comparison['metric']} {signed(sign * comparison['difference'])}"
            told = f"{difference} ({signed(low)} to {signed(high)}), p {number(comparison['p_adjusted'])}"
            return Verdict(words_of(comparison, sign), told)
    metric = headline_metric(data)
    cells = {row["name"]: row["metrics"][metric] for row in data["rows"]}
    low, high = cells[new]["low"] - cells[base]["high"], cells[new]["high"] - cells[base]["low"]
    told = "do not overlap" if low > 0 or high < 0 else "overlap"
    return Verdict(_words(low, high), f"their {metric} intervals {told}; the recipe asks for no paired comparison")


def summary(data: Json) -> list[Markup]:
    """Sentences that say who leads, by how much, and what cannot be said. Brackets hold 95 % intervals."""
    metric = headline_metric(data)
    if metric is None:
        return [Markup("Nothing was measured.")]
    floor, *others = (_best(data["rows"], kind, metric) for kind in ("floor", "agent", "hybrid"))
    sentences = [_top_sentence(row, metric) for row in (floor, *others) if row is not None]
    if floor is not None:
        sentences += [_sentence(data, row["name"], floor["name"], "the floor") for row in others if row is not None]
    return sentences + lea_sentences(data)


def lea_sentences(data: Json) -> list[Markup]:
    """Whether annotations helped: agents that read them against those of the same encoder and objective that do not."""
    agents = data["recipe"].get("agents", {})
    names = [row["name"] for row in data["rows"] if row["name"] in agents]
    pairs = [(new, base) for new in names for base in names if _differs_by_lea(agents[new], agents[base])]
    if len(pairs) <= 3:
        return [_sentence(data, new, base, "its placebo" if agents[base].get("placebo") else "its base") for new, base in pairs]
    words = [verdict(data, new, base).words for new, base in pairs]
    told = "An agent with annotations meets one without, or with shuffled ones, in {} pairs: it beats it in {}, is behind in {}, "
    counts = [words.count(word) for word in ("beats", "is behind", "cannot be told apart from")]
    return [Markup(told + "and cannot be told apart in {}.").format(len(pairs), *counts)]


def _differs_by_lea(new: Json, base: Json) -> bool:
    if not new.get("lea") or new.get("placebo"):
        return False
    same_method = all(new.get(key) == base.get(key) for key in ("encoder", "objective", "item_knn"))
    is_base = not base.get("lea") or (base.get("placebo") and base["lea"] == new["lea"])
    return same_method and bool(is_base)


def _top_sentence(row: Json, metric: str) -> Markup:
    cell = row["metrics"][metric]
    seeds = "" if row["kind"] == "floor" else f"; {row['seeds']} seed{'' if row['seeds'] == 1 else 's'}"
    told = f"{metric} {number(cell['mean'])} ({number(cell['low'])} to {number(cell['high'])}{seeds})"
    return Markup("The best {} is <b>{}</b> with {}.").format(row["kind"], row["name"], told)


def _sentence(data: Json, new: str, base: str, role: str) -> Markup:
    found = verdict(data, new, base)
    return Markup("<b>{}</b> {} {} <b>{}</b>: {}.").format(new, found.words, role, base, found.evidence)


def _best(rows: list[Json], kind: str, metric: str) -> Json | None:
    finite = [row for row in rows if row["kind"] == kind and math.isfinite(row["metrics"][metric]["mean"])]
    return max(finite, key=lambda row: row["metrics"][metric]["mean"], default=None)


def headline_metric(data: Json) -> str | None:
    """NDCG@10, or the first NDCG where the recipe cuts elsewhere; none without rows."""
    names = [name for row in data["rows"][:1] for name in row["metrics"]]
    return SELECTING if SELECTING in names else next((name for name in names if name.startswith("NDCG")), None)
