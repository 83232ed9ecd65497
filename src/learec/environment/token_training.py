"""Token training: item tokens so that the frozen language model writes the item's text after its token (LEA, item tokens)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from learec.config import EnvironmentConfig, derived_seed
from learec.data.log import Ints
from learec.environment.llm import LLM
from learec.environment.texts import TokenIds
from learec.environment.token_network import TokenNetwork
from learec.fit import Plan, Task, fit
from learec.progress import Reporter

BATCH_ITEMS = 32
NETWORK_LEARNING_RATE = 1e-3


@dataclass(frozen=True)
class TextBatch:
    """The texts of B items."""

    places: Tensor  # (B,) among the tokens that are trained
    ids: Tensor  # (B, L) text tokens, padded
    real: Tensor  # (B, L)


@dataclass(frozen=True)
class TokenTraining:
    """Trains the tokens of some items together; the language model and all other tokens stay as they are."""

    llm: LLM
    config: EnvironmentConfig
    seed: int
    folder: Path  # where checkpoints go
    reporter: Reporter

    def trained(self, tokens: Tensor, ids: TokenIds, learning_rate: float, name: str) -> Tensor:
        """Tokens (n, D), trained from the given ones, of items with these texts; `name` is that of the checkpoint."""
        learned = torch.nn.Parameter(tokens.clone())
        optimizer = torch.optim.Adam([learned], lr=learning_rate)
        self._fit({"tokens": learned}, optimizer, lambda places: learned[places], ids, f"{name}-tokens")
        return learned.detach()

    def network(self, means: Tensor, ids: TokenIds) -> TokenNetwork:
        """A network that gives tokens for placed means (n, D), trained on the texts of these items."""
        torch.manual_seed(derived_seed("token network", self.seed))
        network = TokenNetwork(means.shape[1], float(means.std())).to(means.device)
        optimizer = torch.optim.AdamW(network.parameters(), lr=NETWORK_LEARNING_RATE, weight_decay=0.1)
        self._fit(dict(network.named_parameters()), optimizer, lambda places: network(means[places]), ids, "token-network")
        return network.requires_grad_(False)

    def _fit(
        self, learner: Mapping[str, Tensor], optimizer: torch.optim.Optimizer, tokens_of: Callable[[Tensor], Tensor],
        ids: TokenIds, name: str,
    ) -> None:  # fmt: skip
        """Train so that text follows the token that `tokens_of` gives the items at some places (B,)."""

        def batches(epoch: int) -> list[TextBatch]:
            order = np.random.default_rng(derived_seed("item tokens", self.seed, epoch)).permutation(len(ids))
            starts = range(0, len(order), BATCH_ITEMS)
            return [text_batch(order[i : i + BATCH_ITEMS], ids, self.llm.causal.device) for i in starts]

        def losses(batch: TextBatch) -> dict[str, Tensor]:
            return {"text": text_loss(self.llm, tokens_of(batch.places), batch)}

        plan = Plan(self.config.item_token_epochs, None, derived_seed("item tokens", self.seed))
        task = Task(learner, (optimizer,), batches, losses, validate=dict)
        fit(task, plan, folder=self.folder, reporter=self.reporter, description=f"{name} epochs")


def text_loss(llm: LLM, tokens: Tensor, batch: TextBatch) -> Tensor:
    """Mean cross-entropy of the items' text tokens when each text follows its item's token (B, D)."""
    words = llm.embed(batch.ids)
    inputs = torch.cat([tokens.to(words.dtype)[:, None], words[:, :-1]], dim=1)
    logits = llm.causal(inputs_embeds=inputs, use_cache=False).logits  # (B, L, V): place j predicts text token j
    return functional.cross_entropy(logits[batch.real].float(), batch.ids[batch.real])


def text_batch(places: Ints, ids: TokenIds, device: torch.device) -> TextBatch:
    """The texts of the items at these places of `ids`."""
    texts = [ids[place] for place in places]
    padded = torch.zeros(len(texts), max(map(len, texts)), dtype=torch.long)
    real = torch.zeros_like(padded, dtype=torch.bool)
    for row, text in enumerate(texts):
        padded[row, : len(text)] = torch.tensor(text)
        real[row, : len(text)] = True
    return TextBatch(torch.as_tensor(places, device=device), padded.to(device), real.to(device))
