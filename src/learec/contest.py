"""Beside the line: who is measured in evaluate, what that is asked of, and what only evaluate may know."""

from typing import Any

from learec.artifacts import Request, require
from learec.config import AgentConfig
from learec.run import Run, annotation_digests, require_environment, require_log, simulation_request


def results_request_of(run: Run) -> Request:
    """What evaluate is asked for: every agent of the recipe, each one current."""
    from learec.agents.train import agent_request
    from learec.evaluation.evaluate import results_request

    log_digest = require_log(run)
    digests = annotation_digests(run, log_digest, run.has("annotations") or run.needs_annotations())
    annotations_digest = digests[0]
    parents = {"log": log_digest, **({"annotations": annotations_digest} if annotations_digest else {})}
    for entry in run.recipe.entries:
        wanted = agent_request(entry, log_digest, *digests)
        parents[f"agent {entry.column}"] = require(run.agent_folder(entry), wanted, run.make_with("train")).digest
    return results_request(run.recipe.evaluation, run.recipe.seed, {**parents, **_known_digests(run, log_digest)})


def _known_digests(run: Run, log_digest: str) -> dict[str, str]:
    """Digests of what only evaluate may ask, as far as it is here and asked for."""
    found, evaluation = {}, run.recipe.evaluation
    if run.recipe.simulate and run.has("truth") and evaluation.rollout_users:
        wanted = simulation_request("truth", run.recipe.simulate, run.recipe.seed)
        found["truth"] = require(run.folder("truth"), wanted, run.make_with("prepare")).digest
    if evaluation.judged_targets and run.has("environment"):
        found["environment"] = require_environment(run, log_digest)
    return found


def known_of(run: Run, log: Any, request: Request) -> Any:
    """What only evaluate may ask: the truth of a simulated log, and the environment where it is to judge lists."""
    from learec.evaluation.listeners import load_listeners
    from learec.evaluation.policy_values import Knowledge

    listeners = load_listeners(run.folder("truth"), run.folder("log"), log) if "truth" in request.parents else None
    if "environment" not in request.parents:
        return Knowledge(listeners)
    from learec.environment.environment import load_environment

    return Knowledge(listeners, load_environment(run.folder("environment"), run.options.device))


def contestants_of(run: Run, log: Any, annotations: Any) -> list[Any]:
    """All floors, all agents and the hybrids that the recipe asks for, ready to score."""
    from learec.agents.agent import load_agent
    from learec.evaluation.evaluate import Contestant
    from learec.evaluation.floors import DESCRIPTIONS, tfidf_of
    from learec.evaluation.hybrid import rules_beside

    vectors, tfidf = annotations.item_vectors if annotations else None, tfidf_of(log, max(run.recipe.evaluation.tfidf_size))
    found = _floors(run, log, vectors, tfidf)
    contestants = [
        Contestant(name, None, DESCRIPTIONS[name] + floor.told, floor.scorer, floor=floor) for name, floor in found.items()
    ]
    for entry in run.recipe.entries:
        config = entry.config
        counts = _told_counts(config.knn_similarity == "ease", bool(config.ease_text_weight))
        parts = [config.encoder, config.objective, *([counts] if config.item_knn else [])]
        told = ", ".join([*parts, *([f"lea: {' + '.join(config.lea)}"] if config.lea else [])])
        agent, _ = load_agent(run.agent_folder(entry), run.options.device)
        real = next((name for name, other in run.recipe.agents.items() if config.is_placebo_of(other)), None)
        told += _told_placebo(config)
        contestants.append(Contestant(entry.name, entry.seed, told, agent, config.placebo is not None, real))
    rules = rules_beside(found) if run.recipe.evaluation.hybrids else []
    return [*contestants, *_hybrids(run, log, rules, contestants)]


def _floors(run: Run, log: Any, vectors: Any, tfidf: Any) -> dict[str, Any]:
    """All floors, with the settings that validation chooses."""
    from learec.evaluation.floors import OnValidation, floors, n_tried
    from learec.evaluation.recency import recency

    config, n_items = run.recipe.evaluation, log.catalog.n_items
    total = n_tried(config, n_items, has_vectors=vectors is not None, tfidf=tfidf)
    with run.reporter.bar("settings of floors", total) as advance:
        choose = OnValidation.of(log, mask_seen=config.mask_seen, seed=run.recipe.seed, advance=advance)
        return floors(config, log.training, n_items, vectors, recency(run.folder("log"), log), tfidf, choose=choose)


def _hybrids(run: Run, log: Any, rules: Any, contestants: list[Any]) -> list[Any]:
    """Agents with item texts and item-kNN beside them, weighted on validation."""
    from learec.evaluation.evaluate import Contestant
    from learec.evaluation.hybrid import hybrid_of

    config, found = run.recipe.evaluation, []
    names = dict(zip(config.hybrids, config.hybrid_names, strict=True))
    for name, new in names.items():
        for base in (one for one in contestants if one.name == name):
            hybrid = hybrid_of(base.scorer, rules, log, mask_seen=config.mask_seen, seed=run.recipe.seed)
            counts = _told_counts("ease_decay" in hybrid.settings, "ease_text_weight" in hybrid.settings)
            texts = "TF-IDF of item texts" if "tfidf_size" in hybrid.settings else "item texts"
            told = f"{name} + {texts} + {counts}, chosen and weighted on validation"
            found.append(Contestant(new, base.seed, told, hybrid, base.is_control, names.get(base.placebo_of)))
    return found


def _told_counts(by_ease: bool, explains_texts: bool) -> str:
    return f"item_knn by {'CEASE' if explains_texts else 'EASE'}'s weights" if by_ease else "item_knn"


def _told_placebo(config: AgentConfig) -> str:
    part = " + ".join(config.replaced_columns) if config.replaced_columns != config.lea else ""
    return f", {' '.join([part, config.placebo]).strip()} (placebo)" if config.placebo else ""
