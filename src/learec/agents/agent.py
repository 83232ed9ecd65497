"""The agent: encoder, actor head and critic head; what is trained, saved, evaluated and served."""

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from learec.agents.evidence import Evidence
from learec.agents.item_product import best_items
from learec.agents.items import bake, computed_once, put_tokens_beneath, unit
from learec.artifacts import Manifest, check_files, read_manifest
from learec.config import AgentConfig
from learec.data.log import Floats, Ints
from learec.data.windows import newest
from learec.models import ENCODERS

MAKE_WITH = "learec train RECIPE"
WEIGHTS = "agent.safetensors"


class Agent(nn.Module):
    """Ranks by the actor: hidden times the encoder's item embeddings (tied), or a table of its own (untied), plus a bias.

    The critic has its own table. The environment's state, if there is one, is added to the critic's input only, so
    that the actor can serve without a language model. Logits are without the evidence, if there is any; scores are with it.
    """

    def __init__(
        self,
        config: AgentConfig,
        n_items: int,
        state_size: int,
        cold_items: Tensor | None = None,
        tokens: Tensor | None = None,
        evidence: Evidence | None = None,
    ) -> None:
        """state_size 0: the critic reads no state of the environment. Without an RL objective there is no critic.

        tokens (N + 1, W) go beneath the item embeddings until `bake`.

        cold_items are those that no training step has: they enter no loss, no maximum and no ranking, so that nothing
        of the held-out parts, not even that an item exists, reaches what is learnt.
        """
        super().__init__()
        self.config, self.n_items, self.state_size = config, n_items, state_size
        self.encoder = ENCODERS[config.encoder](
            n_items, config.hidden_size, config.n_layers, config.n_heads, config.dropout, config.max_length
        )
        self.evidence = evidence
        self.cold_items = nn.Buffer(torch.zeros(0, dtype=torch.long) if cold_items is None else cold_items)
        self.actor = None if config.tied else nn.Embedding(n_items + 1, config.hidden_size)
        self.actor_bias = nn.Parameter(torch.zeros(n_items + 1))
        items = self.item_embedding
        with torch.no_grad():
            items.weight[self.cold_items] = 0  # in a history they say nothing
        items.sparse = self.is_sparse
        if tokens is not None:
            put_tokens_beneath(items, tokens.index_fill(0, self.cold_items, 0.0))
        has_critic = config.objective != "supervised"
        self.critic = nn.Linear(config.hidden_size, n_items + 1) if has_critic else None
        self.state_projection = nn.Linear(state_size, config.hidden_size) if has_critic and state_size else None

    def forward(self, items: Tensor) -> Tensor:
        """Items (B, L), padded on the right with 0 -> hidden (B, L, H)."""
        hidden: Tensor = self.encoder(items)
        return hidden

    def logits(self, hidden: Tensor) -> Tensor:
        """Actor: (M, H) -> (M, N + 1). Padding and cold items are impossible."""
        return torch.addmm(self.possible(self.actor_bias), self.query(hidden), self.actor_table.T)

    def logits_at(self, hidden: Tensor, items: Tensor) -> Tensor:
        """Actor's logits of some items alone: hidden (M, H), items (C,) for all rows -> (M, C), or (M, K) -> (M, K)."""
        rows = self._as_scored(functional.embedding(items, self._own_table, sparse=self.is_sparse))
        bias = self.actor_bias[items]
        query = self.query(hidden)
        if items.dim() == 1:
            return torch.addmm(bias, query, rows.T)
        return torch.bmm(rows, query[:, :, None])[:, :, 0] + bias

    def critic_input(self, hidden: Tensor, states: Tensor | None) -> Tensor:
        """Hidden (M, H) with the environment's states (M, W) added, if the critic reads them."""
        if self.state_projection is None or states is None:
            return hidden
        projected: Tensor = self.state_projection(states)
        return hidden + projected

    def best_actions(self, critic_input: Tensor, candidates: Tensor | None = None, seen: Tensor | None = None) -> Tensor:
        """Argmax of Q(s, .) of (M, H) over all items but padding and cold ones, or over ascending candidates (C,): (M,).

        Where seen items cannot be recommended, `seen` (M, P) are none of them; 0 where none is left.
        """
        critic = self._required_critic()
        if candidates is None:
            return best_items(critic_input, critic.weight, self.possible(critic.bias), seen)
        values = torch.addmm(critic.bias[candidates], critic_input, critic.weight[candidates].T)
        if seen is not None:
            places = torch.searchsorted(candidates, seen).clamp(max=len(candidates) - 1)
            hits = candidates[places] == seen
            values.scatter_reduce_(1, places, torch.where(hits, -torch.inf, torch.inf), "amin")
        return torch.where(values.amax(1) > -torch.inf, candidates[values.argmax(1)], 0)

    def q_at(self, critic_input: Tensor, actions: Tensor) -> Tensor:
        """Q(s, a) of (M, H) for actions (M,) or (M, K): dot products with the actions' rows instead of all of them."""
        critic = self._required_critic()
        rows = functional.embedding(actions.view(len(actions), -1), critic.weight, sparse=self.is_sparse)  # (M, K, H)
        chosen = torch.bmm(rows, critic_input[:, :, None])[:, :, 0]
        return (chosen + critic.bias[actions.view(len(actions), -1)]).view(actions.shape)

    @property
    def item_embedding(self) -> nn.Embedding:
        """The encoder's."""
        items = self.encoder.get_submodule("items")
        assert isinstance(items, nn.Embedding)  # noqa: S101  (for types: every encoder has it)
        return items

    def query(self, hidden: Tensor) -> Tensor:
        """What the actor multiplies item rows with, (M, H): hidden, or of its direction `cosine_scale` times."""
        return hidden if self.config.cosine_scale is None else self.config.cosine_scale * unit(hidden)

    @property
    def actor_table(self) -> Tensor:
        """Item rows that the actor multiplies with, (N + 1, H); of unit length under a cosine softmax."""
        return self._as_scored(self._own_table)

    @property
    def _own_table(self) -> Tensor:
        return self.item_embedding.weight if self.actor is None else self.actor.weight

    def _as_scored(self, rows: Tensor) -> Tensor:
        return rows if self.config.cosine_scale is None else unit(rows)

    @property
    def is_sparse(self) -> bool:
        """Whether the catalog is so large that only rows in use get gradients, and the softmax is over a sample."""
        return self.n_items > self.config.full_softmax_items

    def tables(self) -> list[Tensor]:
        """The parameters with a row per item and hidden unit."""
        found: list[Tensor] = [self.item_embedding.weight]
        found += [] if self.actor is None else [self.actor.weight]
        return found + ([] if self.critic is None else [self.critic.weight])

    def possible(self, bias: Tensor) -> Tensor:
        """A bias (N + 1,) by which padding and cold items are impossible."""
        return bias.index_fill(0, torch.cat([self.cold_items.new_zeros(1), self.cold_items]), -torch.inf)

    def _required_critic(self) -> nn.Linear:
        if self.critic is None:
            raise ValueError("this agent has no critic: its objective is supervised")
        return self.critic

    @torch.inference_mode()
    def scores(self, histories: Ints, lengths: Ints) -> Floats:
        """Actor's scores for histories (B, L), padded on the right, of the given lengths: (B, N + 1)."""
        self.eval()
        kept, lengths = newest(histories, lengths, self.config.max_length)
        items = torch.as_tensor(kept, device=self.actor_bias.device)
        last = torch.as_tensor(lengths - 1, device=items.device).clamp(min=0)
        with computed_once():
            hidden = self(items)[torch.arange(len(items), device=items.device), last]
            scores: Floats = self.logits(hidden).cpu().numpy()
        return scores if self.evidence is None else scores + self.evidence.rule().scores(kept, lengths)

    def bake(self) -> None:
        """Make what was computed from item tokens part of the weights."""
        bake(self.item_embedding)


def save_agent(agent: Agent, folder: Path) -> None:
    """Weights as safetensors; the config is in the manifest."""
    tensors = {**agent.state_dict(), **({} if agent.evidence is None else agent.evidence.tables())}
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / WEIGHTS)


def load_agent(folder: Path, device: str) -> tuple[Agent, Manifest]:
    """Open one agent's folder after checking it."""
    manifest = read_manifest(folder, "agent", MAKE_WITH)
    check_files(folder, manifest, MAKE_WITH)
    settings = manifest.request.config
    config = AgentConfig(**{key: value for key, value in settings.items() if key in AgentConfig.model_fields})
    weights = load_file(folder / WEIGHTS)
    sizes = manifest.notes["n_items"], manifest.notes["state_size"]
    evidence = Evidence.stored(config, weights)
    agent = Agent(config, *sizes, weights["cold_items"], evidence=evidence)
    tables = set() if evidence is None else evidence.tables().keys()
    agent.load_state_dict({name: tensor for name, tensor in weights.items() if name not in tables})
    return agent.to(device).eval(), manifest
