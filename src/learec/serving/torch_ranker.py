"""Ranking with torch: what every other way to rank is compared with."""

import torch
from safetensors import SafetensorError

from learec.agents.agent import Agent, load_agent
from learec.artifacts import MANIFEST, Manifest, read_manifest
from learec.data.log import Floats, Ints
from learec.errors import ArtifactError
from learec.serving.choose import Chosen
from learec.serving.folders import MAKE_AGENT, check_inside, open_catalog, open_log, served
from learec.serving.hybrid import HybridRanker
from learec.serving.ranker import Loaded, Ranker, VectorRanker, best_of_rows


class TorchRanker(VectorRanker):
    """An agent as it was trained, without the evidence within it."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent.eval()
        self.n_items, self.max_length = agent.n_items, agent.config.max_length
        with torch.no_grad():
            self.table: Floats = agent.actor_table.numpy()
            self.bias: Floats = agent.possible(agent.actor_bias).numpy()

    @torch.inference_mode()
    def hidden(self, items: Ints) -> Floats:
        """(B, L) -> (B, H)."""
        return self.agent.query(self._last(items)).numpy()

    @torch.inference_mode()
    def top(self, items: Ints, blocked: Ints, k: int) -> tuple[Ints, Floats]:
        """(B, L), (B, P) -> (B, k), (B, k)."""
        scores = self.agent.logits(self._last(items)).scatter_(1, torch.as_tensor(blocked), -torch.inf).numpy()
        return best_of_rows(scores, k)

    def _last(self, items: Ints) -> torch.Tensor:
        rows = torch.as_tensor(items)
        last = rows.count_nonzero(1) - 1
        return self.agent(rows)[torch.arange(len(rows)), last]


def load_torch(chosen: Chosen) -> Loaded:
    """An agent as it was trained."""
    agent, manifest = open_agent(chosen)
    counts = open_log(chosen, manifest.request.parents["log"]).training_counts
    ranker: Ranker = TorchRanker(agent)
    if agent.evidence is not None:
        ranker = HybridRanker(TorchRanker(agent), agent.evidence.rule(), agent.config.max_length)
    return ranker, open_catalog(chosen, manifest.request.parents["log"]), served(chosen, manifest, counts)


def open_agent(chosen: Chosen) -> tuple[Agent, Manifest]:
    """A trained agent. Raises ArtifactError for what is none, or lies outside of the run's folder."""
    check_inside(chosen, chosen.trained, [MANIFEST])
    check_inside(chosen, chosen.trained, read_manifest(chosen.trained, "agent", MAKE_AGENT).files)
    try:
        return load_agent(chosen.trained, "cpu")
    except (SafetensorError, RuntimeError, KeyError) as error:  # of files that are as the manifest says, but no such weights
        reason = " ".join(str(error).split())[:200]
        raise ArtifactError(f"{chosen.trained}: holds no weights of this agent ({reason}); run `{MAKE_AGENT}`") from None
