"""Softmax over the whole catalog: log probabilities of the few actions that losses read."""

from torch import Tensor

from learec.agents.agent import Agent
from learec.agents.item_product import LogSumExp, Scratch, in_blocks


class FullActor:
    """log p(a | s) = f(s, a) - log sum_b exp f(s, b), the sum over all items but padding and cold ones."""

    def __init__(self, agent: Agent, hidden: Tensor, scratch: Scratch) -> None:
        """Hidden (M, H). The scratch is taken until the backward pass."""
        self.agent, self.hidden = agent, hidden
        if in_blocks(hidden):
            query, bias = agent.query(hidden), agent.possible(agent.actor_bias)
            log_sums = LogSumExp.apply(query, agent.actor_table, bias, scratch)  # type: ignore[no-untyped-call]
        else:
            log_sums = agent.logits(hidden).float().logsumexp(1)  # in bfloat16 a sum over many items loses its tail
        self.log_sums: Tensor = log_sums

    def __call__(self, actions: Tensor) -> Tensor:
        """Actions (M,) or (M, K) that training steps have -> log probabilities of the same shape; any number for padding."""
        columns = actions.view(len(actions), -1)
        log_probs = self.agent.logits_at(self.hidden, columns).float() - self.log_sums[:, None]
        return log_probs.view(actions.shape)
