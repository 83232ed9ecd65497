"""The learner: networks in training and the one step that all encoders and objectives share."""

import copy

import torch
from torch import Tensor

from learec.agents.agent import Agent
from learec.agents.batches import Batch
from learec.agents.evidence import Teller
from learec.agents.full_softmax import FullActor
from learec.agents.item_product import Scratch
from learec.agents.objectives import Choose, Losses, Outputs, Values, draw_negatives, objective_for
from learec.agents.sampled import RecentBest, SampledActor
from learec.sampled_softmax import ItemSampler

SWITCHING = ("sac", "sa2c")  # objectives that change on their way


class Learner:
    """An agent in training, and the network that double Q-learning reads values from.

    That is a target network that follows slowly, or a second copy: a fair coin then chooses for each batch which of the
    two is trained and which gives values; only the first is evaluated.
    """

    def __init__(self, agents: list[Agent], sampler: ItemSampler, mask_seen: bool, teller: Teller | None = None) -> None:
        """With mask_seen, no maximum of Q is over items of the history, which could not be recommended either.

        `teller`: says what the agents' evidence is before training steps.
        """
        self.agent, self.config, self.mask_seen, self.teller = agents[0], agents[0].config, mask_seen, teller
        self.objective, self.sampler = objective_for(self.config), sampler
        self.copy = agents[1] if len(agents) > 1 else None
        frozen = self.copy is None and self.objective.needs_critic
        self.target = copy.deepcopy(self.agent).requires_grad_(False).eval() if frozen else None
        self.scratch = Scratch()
        self.recent_best = RecentBest(self.config.n_recent_best, str(agents[0].actor_bias.device))
        self.batches_done = torch.zeros((), dtype=torch.long)
        self.first_is_trained = True
        self.optimizers = optimizers_for(agents)

    def tensors(self) -> dict[str, Tensor]:
        """Everything that a checkpoint must hold, live."""
        networks = {"agent": self.agent, "copy": self.copy, "target": self.target}
        named: dict[str, Tensor] = {
            f"{role}.{name}": tensor
            for role, network in networks.items() if network is not None
            for name, tensor in network.named_parameters()
        }  # fmt: skip
        if self.agent.is_sparse:
            named["recent_best"] = self.recent_best.items
        return {**named, "batches_done": self.batches_done}

    def losses(self, batch: Batch) -> Losses:
        """One training step: encode, score, and ask the objective."""
        trained, other = self._roles()
        trained.train()
        hidden = trained(batch.items)[batch.real]  # (R, H): every prefix of every session
        acting = hidden[batch.acted]
        drawn, log_expected = self.sampler.draw() if trained.is_sparse else (None, None)
        log_prob: Choose
        if drawn is None or log_expected is None:
            told = None if self.teller is None else self.teller.told(batch.numbers)
            log_prob = FullActor(trained, acting, self.scratch, told, self._blocked(batch))
        else:
            log_prob = SampledActor(trained, acting, drawn, log_expected)
        values = None if other is None else self._values(trained, other, hidden, batch, drawn)
        return self.objective(Outputs(log_prob, values, int(self.batches_done)), batch.steps)

    def _blocked(self, batch: Batch) -> Tensor | None:
        """Items that are no alternative to the positive actions, (M, P), 0 for none: seen ones, where evidence is read.

        Items of one history are each other's neighbours: evidence speaks loudest for what cannot be recommended, and would get
        little weight for that. An encoder alone learns by itself to leave them out. What is positive always counts: an item
        that was taken again, or that a placebo drew.
        """
        if self.teller is None or not self.mask_seen:
            return None
        seen, steps = self.teller.seen(batch.numbers), batch.steps
        for positive in (steps.actions, *steps.augmented.unbind(1)):
            seen = seen.masked_fill(seen == positive[:, None], 0)
        return seen

    def _roles(self) -> tuple[Agent, Agent | None]:
        """Which network is trained on this batch, and which one gives values."""
        if self.copy is None:
            return self.agent, self.target
        return (self.agent, self.copy) if self.first_is_trained else (self.copy, self.agent)

    def _values(self, trained: Agent, other: Agent, hidden: Tensor, batch: Batch, drawn: Tensor | None) -> Values:
        """Q of all acted states, and the other network's value of the best action in each state and in the next one."""
        states = trained.critic_input(hidden, batch.states)  # (R, H)
        acted = batch.acted.nonzero()[:, 0]
        # Of a large catalog, the maximum is taken over what was drawn, what the batch's users chose, and what was best lately.
        candidates = None if drawn is None else self.recent_best.candidates(torch.cat([drawn, batch.steps.actions]))
        with torch.no_grad():
            best = trained.best_actions(states, candidates, batch.seen() if self.mask_seen else None)
            if candidates is not None:
                self.recent_best.update(best)
            other.eval()
            others = other.critic_input(other(batch.items)[batch.real], batch.states)
            value = torch.where(best > 0, other.q_at(others, best), 0)  # (R,)
            # The place after an acted one is the next place of the same window, which ends with one that did not act.
            taken = other.q_at(others[acted + 1], batch.steps.next_actions)
        acting = states[acted]
        return Values(
            q=lambda actions: trained.q_at(acting, actions),
            same=value[acted],
            next=value[acted + 1],
            next_taken=taken,
            negatives=draw_negatives(batch.steps.actions, self.config.n_negatives, self.sampler.numbers),
        )

    def prepare_step(self) -> None:
        """Toss the coin, which all processes must see alike.

        At the switch of SAC and SA2C training begins anew with an optimizer of its own, as in the authors' code.
        """
        self.first_is_trained = self.copy is None or bool(torch.rand(()) < 0.5)
        if self.config.objective in SWITCHING and self.batches_done >= self.config.switch_after:
            for optimizer in self.optimizers:
                if self.batches_done == self.config.switch_after:
                    optimizer.state.clear()
                for group in optimizer.param_groups:
                    if not group.get("of_evidence"):
                        group["lr"] = self.config.second_learning_rate

    @torch.no_grad()
    def follow(self) -> None:
        """Count the batch, and move the target network a little towards the trained one."""
        self.batches_done += 1
        if self.target is None:
            return
        for slow, fast in zip(self.target.parameters(), self.agent.parameters(), strict=True):
            if fast.grad is not None and fast.grad.is_sparse:  # rows that are not in use stay where they are
                rows = fast.grad.coalesce().indices()[0]
                slow[rows] = slow[rows].lerp(fast[rows], self.config.target_rate)
            else:
                slow.lerp_(fast, self.config.target_rate)


def optimizers_for(agents: list[Agent]) -> tuple[torch.optim.Optimizer, ...]:
    """AdamW; of a large catalog's tables, Adam that touches the rows in use alone (without weight decay)."""
    config = agents[0].config
    tables = [table for agent in agents for table in agent.tables()] if agents[0].is_sparse else []
    weights = [agent.evidence.weights for agent in agents if agent.evidence is not None]
    apart = [*tables, *weights]
    rest = [p for agent in agents for p in agent.parameters() if not any(p is other for other in apart)]
    dense = torch.optim.AdamW(rest, lr=config.learning_rate, weight_decay=config.weight_decay, fused=True)
    if weights:
        dense.add_param_group({"params": weights, "lr": config.evidence_learning_rate, "weight_decay": 0.0, "of_evidence": True})
    return (dense, torch.optim.SparseAdam(tables, lr=config.learning_rate)) if tables else (dense,)
