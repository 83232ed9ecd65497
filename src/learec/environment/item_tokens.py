"""Item tokens: one input vector per item for the language model, and their whitened form for similarities."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from learec.config import EnvironmentConfig, derived_seed
from learec.data.log import Bools, Floats, Ints, Log
from learec.data.neighbours import unit_rows
from learec.environment.llm import LLM
from learec.fit import Plan, Task, fit
from learec.progress import Reporter

BATCH_ITEMS = 32


@dataclass(frozen=True)
class Texts:
    """Which items have a text, and which of them may shape what all items share: those of training steps. Both (N + 1,)."""

    present: Bools
    shaping: Bools


def make_item_tokens(
    llm: LLM, log: Log, config: EnvironmentConfig, seed: int, folder: Path, reporter: Reporter
) -> tuple[Tensor, Texts]:
    """Item tokens (N + 1, D), float32, row 0 (padding) zero, and who has a text."""
    ids = llm.token_ids(log.catalog.table["text"].to_list(), config.max_text_tokens)
    present = np.array([False, *(len(text) > 0 for text in ids)])
    trained = np.ones(len(present), dtype=bool)
    trained[log.cold_items] = False
    texts = Texts(present, present & trained)
    # On the CPU: sums by index are in no fixed order on a GPU, and a resumed run must find the same tokens.
    tokens = mean_tokens(ids, llm.embeddings.cpu(), texts, derived_seed("id tokens", seed)).to(llm.embeddings.device)
    if config.item_tokens == "trained":
        tokens = _TokenTraining(llm, ids, config, seed, folder, reporter).train(tokens, texts)
    return tokens, texts


def mean_tokens(ids: Sequence[list[int]], embeddings: Tensor, texts: Texts, seed: int) -> Tensor:
    """The mean of each text's token embeddings, centred over items and scaled to a vocabulary embedding's length.

    Means of many embeddings point in much the same direction for every item and are shorter than an embedding; what tells
    items apart is the remainder. Without centring and scaling the language model hardly sees it: see
    docs/environment.md. An item without text gets a random direction of that length: it can be told from others, and that is
    all. Centre and scale are those of training steps' items. (N + 1, D), row 0 is zero.
    """
    lengths = [len(text) for text in ids]
    flat = torch.tensor([token for text in ids for token in text], dtype=torch.long, device=embeddings.device)
    owner = torch.repeat_interleave(torch.arange(1, len(ids) + 1), torch.tensor(lengths)).to(embeddings.device)
    vocabulary = embeddings.float()
    sums = torch.zeros(len(ids) + 1, vocabulary.shape[1], device=embeddings.device)
    sums.index_add_(0, owner, vocabulary[flat])
    means = sums / torch.tensor([0, *lengths], device=embeddings.device)[:, None].clamp(min=1)
    length = vocabulary.norm(dim=1).mean()
    if texts.shaping.any():
        means -= means[texts.shaping].mean(0)
        means *= length / means[texts.shaping].norm(dim=1).mean().clamp(min=1e-6)
    without = np.flatnonzero(~texts.present)
    generator = torch.Generator().manual_seed(seed)
    directions = torch.randn(len(without), vocabulary.shape[1], generator=generator).to(embeddings.device)
    means[without] = functional.normalize(directions, dim=1) * length
    means[0] = 0
    return means


def whitened(tokens: Floats, texts: Texts, size: int) -> Floats:
    """Item vectors (N + 1, W) whose dot product is a meaningful similarity: centred, whitened, of unit length.

    Token embeddings of a language model share a few strong directions that say nothing about an item; principal
    components scaled to equal variance remove them. They are those of training steps' items. Items without text are zero.
    W = min(size, D, those items - 1).
    """
    rows = np.flatnonzero(texts.shaping)
    size = max(min(size, tokens.shape[1], len(rows) - 1), 1)
    vectors = np.zeros((len(tokens), size), dtype=np.float32)
    if len(rows) > 1:
        centre = tokens[rows].mean(0, dtype=np.float64)
        centred = tokens[rows] - centre
        values, directions = np.linalg.eigh(centred.T @ centred / len(rows))
        values, directions = values[::-1][:size], directions[:, ::-1][:, :size]
        # Directions without variance are noise of the factorisation, not of the items.
        kept = values > 1e-10 * values[0]
        basis = np.where(kept, directions / np.sqrt(np.where(kept, values, 1)), 0)
        vectors[texts.present] = unit_rows((tokens[texts.present] - centre) @ basis)
    return vectors


@dataclass(frozen=True)
class _TextBatch:
    places: Tensor  # (B,) among the tokens that are trained
    ids: Tensor  # (B, L) text tokens, padded
    real: Tensor  # (B, L)


@dataclass(frozen=True)
class _TokenTraining:
    """Item tokens trained, from given ones, so that the frozen model writes the item's text after its token."""

    llm: LLM
    ids: Sequence[list[int]]
    config: EnvironmentConfig
    seed: int
    folder: Path
    reporter: Reporter

    def train(self, tokens: Tensor, texts: Texts) -> Tensor:
        """All tokens of items with text. Cold items come by themselves: what the others become does not depend on them."""
        learning_rate = 0.1 * float(tokens[texts.shaping].std()) if texts.shaping.any() else 0.0
        tokens = tokens.clone()
        for name, rows in (("item", texts.shaping), ("cold-item", texts.present & ~texts.shaping)):
            numbers = np.flatnonzero(rows)
            if len(numbers):
                tokens[numbers] = self._trained(tokens[numbers], numbers, learning_rate, name)
        return tokens

    def _trained(self, tokens: Tensor, numbers: Ints, learning_rate: float, name: str) -> Tensor:
        """Tokens (n, D) of the items with these numbers."""
        learned = torch.nn.Parameter(tokens)
        optimizer = torch.optim.Adam([learned], lr=learning_rate)

        def batches(epoch: int) -> list[_TextBatch]:
            order = np.random.default_rng(derived_seed("item tokens", self.seed, epoch)).permutation(len(numbers))
            starts = range(0, len(order), BATCH_ITEMS)
            return [_text_batch(order[i : i + BATCH_ITEMS], numbers, self.ids, tokens.device) for i in starts]

        def losses(batch: _TextBatch) -> dict[str, Tensor]:
            return {"text": text_loss(self.llm, learned[batch.places], batch)}

        plan = Plan(self.config.item_token_epochs, None, derived_seed("item tokens", self.seed))
        task = Task({"tokens": learned}, (optimizer,), batches, losses, validate=dict)
        fit(task, plan, folder=self.folder, reporter=self.reporter, description=f"{name}-tokens epochs")
        return learned.detach()


def text_loss(llm: LLM, tokens: Tensor, batch: _TextBatch) -> Tensor:
    """Mean cross-entropy of the items' text tokens when each text follows its item's token (B, D)."""
    words = llm.causal.get_input_embeddings()(batch.ids)
    inputs = torch.cat([tokens.to(words.dtype)[:, None], words[:, :-1]], dim=1)
    logits = llm.causal(inputs_embeds=inputs, use_cache=False).logits  # (B, L, V): place j predicts text token j
    return functional.cross_entropy(logits[batch.real].float(), batch.ids[batch.real])


def _text_batch(places: Ints, numbers: Ints, ids: Sequence[list[int]], device: torch.device) -> _TextBatch:
    """The texts of the items numbers[places]."""
    texts = [ids[number - 1] for number in numbers[places]]
    padded = torch.zeros(len(texts), max(map(len, texts)), dtype=torch.long)
    real = torch.zeros_like(padded, dtype=torch.bool)
    for row, text in enumerate(texts):
        padded[row, : len(text)] = torch.tensor(text)
        real[row, : len(text)] = True
    return _TextBatch(torch.as_tensor(places, device=device), padded.to(device), real.to(device))
