"""Item tokens: one input vector per item for the language model, and their whitened form for similarities."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from learec.config import EnvironmentConfig, derived_seed
from learec.data.log import Catalog, Floats, Ints
from learec.data.neighbours import unit_rows
from learec.environment.llm import LLM
from learec.fit import Plan, Task, fit
from learec.progress import Reporter

BATCH_ITEMS = 32


def make_item_tokens(
    llm: LLM, catalog: Catalog, config: EnvironmentConfig, seed: int, folder: Path, reporter: Reporter
) -> Tensor:
    """Item tokens (N + 1, D), float32; row 0 (padding) is zero."""
    texts = llm.token_ids(catalog.table["text"].to_list(), config.max_text_tokens)
    # On the CPU: sums by index are in no fixed order on a GPU, and a resumed run must find the same tokens.
    tokens = mean_tokens(texts, llm.embeddings.cpu()).to(llm.embeddings.device)
    if config.item_tokens == "trained":
        tokens = _train_tokens(llm, tokens, texts, config, seed, folder, reporter)
    return tokens


def mean_tokens(texts: Sequence[list[int]], embeddings: Tensor) -> Tensor:
    """The mean of each text's token embeddings, centred over items and scaled to a vocabulary embedding's length.

    Means of many embeddings point in much the same direction for every item and are shorter than an embedding; what tells
    items apart is the remainder. Without centring and scaling the language model hardly sees it: see
    docs/environment.md. An item without text gets zeros, the average item. (N + 1, D), row 0 is zero.
    """
    lengths = [len(text) for text in texts]
    flat = torch.tensor([token for text in texts for token in text], dtype=torch.long, device=embeddings.device)
    owner = torch.repeat_interleave(torch.arange(1, len(texts) + 1), torch.tensor(lengths)).to(embeddings.device)
    vocabulary = embeddings.float()
    sums = torch.zeros(len(texts) + 1, vocabulary.shape[1], device=embeddings.device)
    sums.index_add_(0, owner, vocabulary[flat])
    counts = torch.tensor([0, *lengths], device=embeddings.device)[:, None]
    means = sums / counts.clamp(min=1)
    has_text = counts[:, 0] > 0
    if has_text.any():
        means[has_text] -= means[has_text].mean(0)
        means *= vocabulary.norm(dim=1).mean() / means[has_text].norm(dim=1).mean().clamp(min=1e-6)
    means[~has_text] = 0
    return means


def whitened(tokens: Floats, has_text: Ints, size: int) -> Floats:
    """Item vectors (N + 1, W) whose dot product is a meaningful similarity: centred, whitened, of unit length.

    Token embeddings of a language model share a few strong directions that say nothing about an item; principal
    components scaled to equal variance remove them. W = min(size, D, items - 1). Items without text stay zero.
    """
    rows = np.flatnonzero(has_text)
    size = max(min(size, tokens.shape[1], len(rows) - 1), 1)
    vectors = np.zeros((len(tokens), size), dtype=np.float32)
    if len(rows) > 1:
        centred = tokens[rows] - tokens[rows].mean(0)
        left, values, _ = np.linalg.svd(centred, full_matrices=False)
        # Directions without variance are noise of the factorisation, not of the items.
        kept = values[:size] > 1e-5 * values[0]
        vectors[rows] = unit_rows(np.where(kept, left[:, :size], 0) * np.sqrt(len(rows)))
    return vectors


@dataclass(frozen=True)
class _TextBatch:
    items: Tensor  # (B,)
    ids: Tensor  # (B, L) text tokens, padded
    real: Tensor  # (B, L)


def _train_tokens(
    llm: LLM, tokens: Tensor, texts: Sequence[list[int]], config: EnvironmentConfig, seed: int, folder: Path, reporter: Reporter
) -> Tensor:
    """Item tokens trained, from the given ones, so that the frozen model writes the item's text after its token."""
    learned = torch.nn.Parameter(tokens.clone())
    optimizer = torch.optim.Adam([learned], lr=0.1 * float(tokens[1:].std()))
    rows = np.array([number + 1 for number, text in enumerate(texts) if text])

    def batches(epoch: int) -> list[_TextBatch]:
        order = np.random.default_rng(derived_seed("item tokens", seed, epoch)).permutation(rows)
        return [_text_batch(order[i : i + BATCH_ITEMS], texts, tokens.device) for i in range(0, len(order), BATCH_ITEMS)]

    def losses(batch: _TextBatch) -> dict[str, Tensor]:
        return {"text": text_loss(llm, learned[batch.items], batch)}

    plan = Plan(config.item_token_epochs, None, derived_seed("item tokens", seed))
    task = Task({"tokens": learned}, optimizer, batches, losses, validate=dict)
    fit(task, plan, folder=folder, reporter=reporter, description="item tokens epochs")
    return learned.detach()


def text_loss(llm: LLM, tokens: Tensor, batch: _TextBatch) -> Tensor:
    """Mean cross-entropy of the items' text tokens when each text follows its item's token (B, D)."""
    words = llm.causal.get_input_embeddings()(batch.ids)
    inputs = torch.cat([tokens.to(words.dtype)[:, None], words[:, :-1]], dim=1)
    logits = llm.causal(inputs_embeds=inputs, use_cache=False).logits  # (B, L, V): place j predicts text token j
    return functional.cross_entropy(logits[batch.real].float(), batch.ids[batch.real])


def _text_batch(items: Ints, texts: Sequence[list[int]], device: torch.device) -> _TextBatch:
    width = max(len(texts[item - 1]) for item in items)
    ids = torch.zeros(len(items), width, dtype=torch.long)
    real = torch.zeros(len(items), width, dtype=torch.bool)
    for row, item in enumerate(items):
        ids[row, : len(texts[item - 1])] = torch.tensor(texts[item - 1])
        real[row, : len(texts[item - 1])] = True
    return _TextBatch(torch.as_tensor(items, device=device), ids.to(device), real.to(device))
