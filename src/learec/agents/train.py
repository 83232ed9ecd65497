"""train: one loop for every encoder and objective, all positions of a batch of sessions in one forward pass."""

import copy
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from learec.agents.agent import Agent, save_agent
from learec.agents.batches import Batch, Batches, Steps
from learec.agents.evidence import Evidence, Teller, settings_of
from learec.agents.items import computed_once
from learec.agents.learner import SWITCHING, Learner
from learec.agents.objectives import Losses
from learec.annotations.controls import random, replaced, shuffled
from learec.annotations.table import Annotations
from learec.artifacts import Request, request_for
from learec.config import AgentConfig, AgentEntry, derived_seed
from learec.data.ease import MOST_ITEMS
from learec.data.log import Log
from learec.errors import ConfigError
from learec.fit import Plan, Task, fit
from learec.progress import Reporter
from learec.sampled_softmax import ItemSampler
from learec.workers import Workers

# An untrained agent ranks items of the history high, which a few dozen batches undo before they teach something better: where
# sessions are few, patience would end a training that has hardly begun.
FIRST_BATCHES = 200
Validate = Callable[[Agent], dict[str, float]]  # the first measure chooses the epoch


def agent_request(entry: AgentEntry, log_digest: str, annotations_digest: str | None, text_digest: str | None = None) -> Request:
    """What train is asked for. An agent that reads no annotation columns does not depend on annotations.

    text_digest is that of the annotations without a language model, on which placebo "text" depends too.
    """
    settings = entry.config.model_dump(mode="json", exclude={"seeds"})
    parents = {"log": log_digest}
    if entry.config.lea and annotations_digest is not None:
        parents["annotations"] = annotations_digest
    if entry.config.placebo == "text" and text_digest is not None:
        parents["text annotations"] = text_digest
    has_critic = entry.config.objective != "supervised"
    more: dict[str, Any] = {"maximum": "of unseen items"} if has_critic and entry.mask_seen else {}  # once it was of all items
    return request_for(
        "agent", settings, parents, seed=entry.seed, mask_seen=entry.mask_seen, **more, **settings_of(entry.config)
    )


def train(
    entry: AgentEntry,
    log: Log,
    annotations: Annotations | None,
    folder: Path,
    *,
    device: str | Workers,
    reporter: Reporter,
    validate: Validate,
) -> dict[str, Any]:
    """Train one agent with one seed and make its folder. `annotations` is None where `config.lea` is empty.

    `device` is one's name, or the processes that train together.
    """
    config, seed = entry.config, entry.seed
    workers = Workers(device) if isinstance(device, str) else device
    check_catalog(entry, log.catalog.n_items, workers)
    request = agent_request(entry, log.digest, *digests_of(annotations))
    if annotations is not None:
        annotations = _with_placebo(entry, annotations, log)
    batches = Batches(log.training, annotations, config, workers.device)
    torch.manual_seed(derived_seed("agent", seed))
    agents = _agents(config, log, batches.state_size, annotations, workers.device)
    teller = None if agents[0].evidence is None else Teller.of(agents[0].evidence, config, log, seed)
    learner = Learner(agents, ItemSampler(log.training.items, config.n_sampled, workers.device), entry.mask_seen, teller)

    def losses(batch: Batch) -> Losses:
        with workers.autocast(config.precision), computed_once():
            return learner.losses(batch)

    task = Task(
        learner=learner.tensors(),
        optimizers=learner.optimizers,
        batches=lambda epoch: batches.epoch(epoch, seed),
        losses=losses,
        validate=lambda: validate(learner.agent),
        before_step=learner.prepare_step,
        after_step=learner.follow,
        share=share,
    )
    first = max(FIRST_BATCHES, config.switch_after if config.objective in SWITCHING else 0)
    plan = Plan(config.epochs, config.patience, derived_seed("agent", seed), -(-first // batches.per_epoch))
    notes: dict[str, Any] = {"n_items": log.catalog.n_items, "state_size": batches.state_size}
    description, settings = f"{entry.column} epochs, at most", request.config
    with workers.building(folder, request, notes) as partial, workers.logging(entry.column, settings) as told:
        curves = fit(task, plan, folder=partial, reporter=reporter, description=description, workers=workers, log=told)
        notes["curves"] = asdict(curves)
        learner.agent.bake()
        if learner.agent.evidence is not None:
            notes["evidence"] = learner.agent.evidence.told_weights()
        if workers.is_main:
            save_agent(learner.agent, partial)
    return notes


def digests_of(annotations: Annotations | None) -> tuple[str | None, str | None]:
    """Of the annotations and of those without a language model that came with them."""
    if annotations is None:
        return None, None
    return annotations.digest, annotations.text.digest if annotations.text else None


def _with_placebo(entry: AgentEntry, annotations: Annotations, log: Log) -> Annotations:
    columns, seed = entry.config.replaced_columns, derived_seed("placebo", entry.seed)
    if entry.config.placebo == "shuffled":
        return shuffled(annotations, columns, log.training.items, seed)
    if entry.config.placebo == "random":
        return random(annotations, columns, log.training.items, seed)
    if entry.config.placebo == "text":
        if annotations.text is None:
            raise ConfigError(
                f"agent {entry.name}: placebo text needs annotations made without a language model, and there are none; "
                "run `learec annotate RECIPE`"
            )
        return replaced(annotations, columns, annotations.text)
    return annotations


def share(batch: Batch, process: int, n: int) -> tuple[Batch, Callable[[str], float]]:
    """A process's rows of a batch, and what its mean of a named loss weighs in the mean over the whole batch.

    Losses on augmented actions are means over the steps that have some, all others over all steps.
    """
    if process >= len(batch.items):  # it has no row: it reads the first one, which weighs nothing
        return batch.part(0, len(batch.items)), lambda name: 0.0
    part = batch.part(process, n)

    def counted(name: str, steps: Steps) -> int:
        return int((steps.augmented > 0).any(1).sum()) if name.startswith("augmented") else len(steps.actions)

    return part, lambda name: counted(name, part.steps) / max(counted(name, batch.steps), 1)


def check_catalog(entry: AgentEntry, n_items: int, workers: Workers) -> None:
    """Raise ConfigError for an agent that so large a catalog cannot have."""
    limit = entry.config.full_softmax_items
    if "items" in entry.config.lea and n_items > limit:
        raise ConfigError(
            f"agent {entry.name}: lea names items, which computes all item embeddings at every step, and {n_items:,} items are "
            f"more than full_softmax_items = {limit:,}; drop it from lea"
        )
    if entry.config.reads_evidence and n_items > limit:
        raise ConfigError(
            f"agent {entry.name}: item_knn and content are added to the logits of all items, and {n_items:,} items are more than "
            f"full_softmax_items = {limit:,}; drop them, or name the agent in hybrids of [evaluation]"
        )
    if entry.config.knn_similarity == "ease" and n_items > MOST_ITEMS:
        raise ConfigError(
            f"agent {entry.name}: knn_similarity has 'ease', whose matrix would take {4 * (n_items + 1) ** 2 / 1e9:.1f} GB for "
            f"{n_items:,} items, {MOST_ITEMS:,} at most; leave it at 'cosine'"
        )
    if workers.n > 1 and n_items > limit:
        raise ConfigError(
            f"agent {entry.name}: {n_items:,} items are more than full_softmax_items = {limit:,}, and so large a catalog is "
            f"trained in one process, not {workers.n}; start one"
        )


def _agents(config: AgentConfig, log: Log, state_size: int, annotations: Annotations | None, device: str) -> list[Agent]:
    """The agent, and the second copy that published double Q-learning swaps it with."""
    n = 2 if config.double_q == "copies" and config.objective != "supervised" else 1
    cold, tokens = torch.as_tensor(log.cold_items), None
    if "items" in config.lea and annotations is not None:
        tokens = torch.tensor(np.asarray(annotations.item_vectors))
    evidence = Evidence.of(config, log, annotations)  # copies have weights of their own, and the same tables
    return [Agent(config, log.catalog.n_items, state_size, cold, tokens, copy.deepcopy(evidence)).to(device) for _ in range(n)]
