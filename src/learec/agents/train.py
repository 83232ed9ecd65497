"""train: one loop for every encoder and objective, all positions of a batch of sessions in one forward pass."""

import copy
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from learec.agents.agent import Agent, save_agent
from learec.agents.batches import Batch, Batches
from learec.agents.objectives import Losses, Objective, Outputs, Values, objective_for
from learec.annotations.table import Annotations
from learec.artifacts import Request, building, request_for
from learec.config import AgentEntry, derived_seed
from learec.data.log import Log
from learec.fit import Plan, Task, fit
from learec.progress import Reporter

Validate = Callable[[Agent], dict[str, float]]  # the first measure chooses the epoch


def agent_request(entry: AgentEntry, log_digest: str, annotations_digest: str | None) -> Request:
    """What train is asked for. An agent that reads no annotation columns does not depend on annotations."""
    settings = entry.config.model_dump(mode="json", exclude={"seeds"})
    parents = {"log": log_digest}
    if entry.config.lea and annotations_digest is not None:
        parents["annotations"] = annotations_digest
    return request_for("agent", settings, parents, seed=entry.seed, mask_seen=entry.mask_seen)


def train(
    entry: AgentEntry,
    log: Log,
    annotations: Annotations | None,
    folder: Path,
    *,
    device: str,
    reporter: Reporter,
    validate: Validate,
) -> dict[str, Any]:
    """Train one agent with one seed and make its folder. `annotations` is None where `config.lea` is empty."""
    config, seed = entry.config, entry.seed
    request = agent_request(entry, log.digest, annotations.digest if annotations else None)
    if annotations is not None and config.placebo:
        annotations = annotations.shuffled(derived_seed("placebo", seed))
    batches = Batches(log.training, annotations, config, device)
    torch.manual_seed(derived_seed("agent", seed))
    agent = Agent(config, log.catalog.n_items, batches.state_size, torch.as_tensor(log.cold_items)).to(device)
    learner = Learner(agent, objective_for(config), torch.unique(torch.as_tensor(log.training.items, device=device).long()))
    optimizer = torch.optim.AdamW(learner.agent.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    task = Task(
        learner=learner.tensors(),
        optimizer=optimizer,
        batches=lambda epoch: batches.epoch(epoch, seed),
        losses=learner.losses,
        validate=lambda: validate(learner.agent),
        after_step=learner.follow,
    )
    plan = Plan(config.epochs, config.patience, derived_seed("agent", seed))
    notes: dict[str, Any] = {"n_items": log.catalog.n_items, "state_size": batches.state_size}
    with building(folder, request, notes) as partial:
        curves = fit(task, plan, folder=partial, reporter=reporter, description=f"{entry.column} epochs, at most")
        notes["curves"] = asdict(curves)
        save_agent(learner.agent, partial)
    return notes


class Learner:
    """An agent in training: the trained network, and the target network that double Q-learning reads values from."""

    def __init__(self, agent: Agent, objective: Objective, trained_items: Tensor) -> None:
        """trained_items are those of training steps, ascending: negatives are drawn from them."""
        self.agent, self.objective, self.trained_items = agent, objective, trained_items
        self.target = copy.deepcopy(agent).requires_grad_(False).eval() if objective.needs_critic else None

    def tensors(self) -> dict[str, Tensor]:
        """Everything that a checkpoint must hold, live."""
        named: dict[str, Tensor] = {f"agent.{name}": tensor for name, tensor in self.agent.named_parameters()}
        if self.target is not None:
            named |= {f"target.{name}": tensor for name, tensor in self.target.named_parameters()}
        return named

    def losses(self, batch: Batch) -> Losses:
        """One training step: encode, score, and ask the objective."""
        self.agent.train()
        hidden = self.agent(batch.items)[batch.real]  # (R, H): every prefix of every session
        log_probs = self.agent.logits(hidden[batch.acted]).log_softmax(-1)
        return self.objective(Outputs(log_probs, self._values(hidden, batch)), batch.steps)

    def _values(self, hidden: Tensor, batch: Batch) -> Values | None:
        """Q of all acted states, and the target network's value of the best action in each state and in the next one."""
        if self.target is None:
            return None
        states = self.agent.critic_input(hidden, batch.states)  # (R, H)
        acted = batch.acted.nonzero()[:, 0]
        with torch.no_grad():
            best = self.agent.best_actions(states)
            target_hidden = self.target(batch.items)[batch.real]
            value = self.target.q_at(self.target.critic_input(target_hidden, batch.states), best)  # (R,)
        acting = states[acted]
        # The place after an acted one is the next place of the same window: a window ends with a place that did not act.
        return Values(self.trained_items, lambda actions: self.agent.q_at(acting, actions), value[acted], value[acted + 1])

    @torch.no_grad()
    def follow(self) -> None:
        """Move the target network a little towards the trained one."""
        if self.target is not None:
            for slow, fast in zip(self.target.parameters(), self.agent.parameters(), strict=True):
                slow.lerp_(fast, self.agent.config.target_rate)
