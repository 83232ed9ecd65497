"""What a report's numbers allow to say, in sentences."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from learec.config import AgentConfig
from learec.evaluation.figures import number, probability, signed
from learec.evaluation.metrics import SELECTING

LEVEL = 0.05  # of the adjusted p value of a comparison
FEW_SESSIONS = 30  # under which percentile intervals are too narrow: of two equal rows on 3 sessions 28 % leave out 0, on 20 8 %
BEATS, BEHIND, ALIKE, NOT_COMPARED = "beats", "is behind", "cannot be told apart from", "was not compared with"
ONE_RUN = ", for these training runs alone: another seed might do otherwise"
CHOSEN = " (both the best on validation)"
LISTED = 3  # pairs of agents with and without annotations; more are counted
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
    return BEATS if difference > 0 else BEHIND if difference < 0 else ALIKE


def verdict(data: Json, new: str, base: str) -> Verdict:
    """From the paired comparison of both rows, either way round.

    Without one nothing is said: intervals of two rows do not know that both were measured on the same sessions, and overlap
    where a paired test is sure.
    """
    for comparison in (*data["comparisons"], *data["leads"]):
        if {comparison["new"], comparison["base"]} == {new, base}:
            sign = 1 if comparison["new"] == new else -1
            low, high = sorted((sign * comparison["low"], sign * comparison["high"]))
            difference = f"{comparison['metric']} {signed(sign * comparison['difference'])}"
            told = f"{difference} ({signed(low)} to {signed(high)}), adjusted p {probability(comparison['p_adjusted'])}"
            return Verdict(words_of(comparison, sign), told + ("" if comparison["covers_seeds"] else ONE_RUN))
    metric = headline_metric(data)
    ours, theirs = (next(row["metrics"][metric]["mean"] for row in data["rows"] if row["name"] == name) for name in (new, base))
    return Verdict(NOT_COMPARED, f"{metric} {number(ours)} and {number(theirs)}; compare in [evaluation] asks for a test")


def summary(data: Json) -> list[Markup]:
    """Sentences that say who leads, by how much, and what cannot be said. Brackets hold 95 % intervals."""
    metric = headline_metric(data)
    floor, *others = (_best(data["rows"], kind, metric) for kind in ("floor", "agent", "hybrid")) if metric else (None,)
    leading = [row for row in (*others, floor) if row is not None]
    if metric is None or not leading:
        return [Markup("Nothing was measured.")]
    sentences = [_plain_sentence(leading), *(_top_sentence(row, metric) for row in (floor, *others) if row is not None)]
    if data["leads"]:
        sentences += [_sentence(data, lead["new"], lead["base"], "the floor", CHOSEN) for lead in data["leads"]]
    elif floor is not None:
        sentences += [_sentence(data, row["name"], floor["name"], "the floor") for row in others if row is not None]
    return [*sentences, *lea_sentences(data)]


def _plain_sentence(leading: Sequence[Json]) -> Markup:
    """What the leading rows do for people, without a technical term."""
    names = [name for name in leading[0]["metrics"] if name.startswith("HR@")]
    metric = "HR@10" if "HR@10" in names else names[0]
    told = [f"{100 * row['metrics'][metric]['mean']:.1f} times with {row['name']}" for row in leading]
    k = metric.removeprefix("HR@")
    return Markup("Asked 100 times for {} recommendations, what people chose next is among them {}.").format(k, ", ".join(told))


def lea_sentences(data: Json) -> list[Markup]:
    """Whether annotations helped: agents that read them against the same agents without, and with controls in their place."""
    agents = {name: AgentConfig.model_validate(agent) for name, agent in data["recipe"].get("agents", {}).items()}
    names = [row["name"] for row in data["rows"] if row["name"] in agents]
    pairs = [(new, base) for new in names for base in names if _differs_by_lea(agents[new], agents[base])]
    if len(pairs) <= LISTED:
        return [_sentence(data, new, base, _role(agents[base])) for new, base in pairs]
    words: dict[str, list[str]] = {}
    for new, base in pairs:
        words.setdefault(_AGAINST[agents[base].placebo], []).append(verdict(data, new, base).words)
    return [_counted(against, words[against]) for against in dict.fromkeys(_AGAINST.values()) if against in words]


def _counted(against: str, words: list[str]) -> Markup:
    counts = [words.count(word) for word in (BEATS, BEHIND, ALIKE)]
    told = "Of {} pairs of an agent with annotations and {}, it beats it in {}, is behind in {}, cannot be told apart in {}"
    missing = words.count(NOT_COMPARED)
    return Markup(told).format(len(words), against, *counts) + Markup(", not compared in {}." if missing else ".").format(missing)


_NOISE = "the same with shuffled or random ones"
_AGAINST: Mapping[Any, str] = {  # by placebo
    None: "the same without", "shuffled": _NOISE, "random": _NOISE, "text": "the same with TF-IDF in the language model's place",
}  # fmt: skip


def _role(base: AgentConfig) -> str:
    return f"its {base.placebo} placebo" if base.placebo else "its base"


def _differs_by_lea(new: AgentConfig, base: AgentConfig) -> bool:
    """Whether annotations, or a control in their place, are all that distinguishes two agents."""
    if not new.lea or new.placebo:
        return False
    without = new.model_copy(update={"lea": base.lea, "seeds": base.seeds})
    return base.is_placebo_of(new) or (not base.lea and without == base)


def _top_sentence(row: Json, metric: str) -> Markup:
    cell = row["metrics"][metric]
    seeds = "" if row["kind"] == "floor" else f"; {row['seeds']} seed{'' if row['seeds'] == 1 else 's'}"
    told = f"{metric} {number(cell['mean'])} ({number(cell['low'])} to {number(cell['high'])}{seeds})"
    return Markup("The best {} is <b>{}</b> with {}.").format(row["kind"], row["name"], told)


def _sentence(data: Json, new: str, base: str, role: str, chosen: str = "") -> Markup:
    found = verdict(data, new, base)
    return Markup("<b>{}</b> {} {} <b>{}</b>{}: {}.").format(new, found.words, role, base, chosen, found.evidence)


def _best(rows: list[Json], kind: str, metric: str) -> Json | None:
    real = [row for row in rows if row["kind"] == kind and not row["is_control"]]
    finite = [row for row in real if math.isfinite(row["metrics"][metric]["mean"])]
    return max(finite, key=lambda row: row["metrics"][metric]["mean"], default=None)


def headline_metric(data: Json) -> str | None:
    """NDCG@10, or the first NDCG where the recipe cuts elsewhere; none without rows."""
    names = [name for row in data["rows"][:1] for name in row["metrics"]]
    return SELECTING if SELECTING in names else next((name for name in names if name.startswith("NDCG")), None)
