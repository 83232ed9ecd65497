"""Softmax over the whole catalog: log probabilities of the few actions that losses read."""

import torch
from torch import Tensor

from learec.agents.agent import Agent
from learec.agents.evidence import Told
from learec.agents.item_product import Extra, LogSumExp, Scratch, in_blocks


class FullActor:
    """log p(a | s) = f(s, a) - log sum_b exp f(s, b), the sum over all items but padding, cold and blocked ones."""

    def __init__(
        self, agent: Agent, hidden: Tensor, scratch: Scratch, told: Told | None = None, blocked: Tensor | None = None
    ) -> None:
        """Hidden (M, H), blocked (M, P). The scratch is taken until the backward pass."""
        self.agent, self.hidden, self.told = agent, hidden, told
        self.weights = None if told is None or agent.evidence is None else agent.evidence.weights
        if in_blocks(hidden):
            query, bias = agent.query(hidden), agent.possible(agent.actor_bias)
            extra = Extra(None if told is None else told.rows, blocked)
            log_sums = LogSumExp.apply(  # type: ignore[no-untyped-call]
                query, agent.actor_table, bias, scratch, self.weights, extra
            )
        else:
            logits = agent.logits(hidden).float()  # in bfloat16 a sum over many items loses its tail
            if told is not None:
                logits = logits + self._weighted(told.rows(slice(None)))
            log_sums = (logits if blocked is None else logits.scatter(1, blocked, -torch.inf)).logsumexp(1)
        self.log_sums: Tensor = log_sums

    def __call__(self, actions: Tensor) -> Tensor:
        """Actions (M,) or (M, K) that training steps have -> log probabilities of the same shape; any number for padding."""
        columns = actions.view(len(actions), -1)
        logits = self.agent.logits_at(self.hidden, columns).float()
        if self.told is not None:
            logits = logits + self._weighted(self.told.at(columns))
        return (logits - self.log_sums[:, None]).view(actions.shape)

    def _weighted(self, said: tuple[Tensor, Tensor]) -> Tensor:
        """Texts and counts added up."""
        assert self.weights is not None  # noqa: S101  (for types: there are weights where there is evidence)
        return self.weights[0] * said[0] + self.weights[1] * said[1]
