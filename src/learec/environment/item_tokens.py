"""Item tokens: one input vector per item for the language model, the mean of its text's embeddings or trained from there."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from learec.config import EnvironmentConfig, derived_seed
from learec.data.log import Bools, Floats, Ints, Log
from learec.environment.item_space import ItemSpace, TokenSpace
from learec.environment.llm import LLM
from learec.environment.text_reading import read_texts
from learec.environment.texts import Texts, TokenIds, texts_of
from learec.environment.token_network import TokenNetwork
from learec.environment.token_training import TokenTraining
from learec.environment.whitening import Whitening
from learec.progress import Reporter

TOKENS, VECTORS = "item_tokens.npy", "item_vectors.npy"
WORDS = "item_words.npy"  # only where histories are read with words of the items' texts


@dataclass(frozen=True)
class ItemTokens:
    """Tokens and vectors of a catalog, and what new ones would be made with."""

    tokens: Tensor  # (N + 1, D) float32, row 0 (padding) is zero
    vectors: Floats  # (N + 1, W)
    texts: Texts
    space: ItemSpace
    words: Ints | None  # (N + 1, n) ids of the text tokens that are read before an item's own, -1 where there are no more

    def save(self, folder: Path) -> None:
        """Write them into an environment's folder."""
        np.save(folder / TOKENS, self.tokens.cpu().numpy(), allow_pickle=False)
        np.save(folder / VECTORS, self.vectors, allow_pickle=False)
        self.space.save(folder)
        if self.words is not None:
            np.save(folder / WORDS, self.words, allow_pickle=False)


def make_item_tokens(llm: LLM, log: Log, config: EnvironmentConfig, seed: int, folder: Path, reporter: Reporter) -> ItemTokens:
    """Tokens of a log's catalog. `folder` is where the training of tokens keeps its checkpoints."""
    ids = llm.token_ids(log.catalog.table["text"].to_list(), config.max_text_tokens)
    texts, training = texts_of(ids, log), TokenTraining(llm, config, seed, folder, reporter)
    # On the CPU: sums by index are in no fixed order on a GPU, and a resumed run must find the same tokens.
    embeddings = llm.embeddings.cpu()
    means = pooled([[], *ids], embeddings)
    space = TokenSpace.fit(means, texts, embeddings.float().norm(dim=1).mean())
    tokens = space.placed(means, texts.present, derived_seed("id tokens", seed)).to(llm.causal.device)
    tokens[0] = 0
    network = None
    if config.item_tokens == "trained" and log.catalog.n_items > config.trained_token_items:
        network = _network(training, tokens, ids, texts)
        tokens[texts.present] = network.tokens(tokens[texts.present])
    elif config.item_tokens == "trained":
        # Cold items come by themselves: what the others become does not depend on them.
        for name, rows in (("item", texts.shaping), ("cold-item", texts.present & ~texts.shaping)):
            _train(training, tokens, [[], *ids], rows, space, name)
    sources = vector_sources(llm, [[], *ids], tokens, ~texts.shaping, config, reporter)
    found = ItemSpace(space, network, Whitening.fit(sources.numpy(), texts, config.whitened_size))
    return ItemTokens(tokens, found.vectors(sources, texts.present), texts, found, words_of([[], *ids], config))


def vector_sources(llm: LLM, ids: TokenIds, tokens: Tensor, cold: Bools, config: EnvironmentConfig, reporter: Reporter) -> Tensor:
    """What item vectors are made of by whitening, (n, D) on the CPU: item tokens, or what the model reads in the texts.

    Cold items' texts are read by themselves: in a batch with others they would move those by a rounding.
    """
    if not config.text_layers:
        return tokens.cpu()
    sources = torch.zeros(len(ids), llm.settings.hidden_size)
    with reporter.bar("reading texts", len(ids)) as advance:
        for rows in (np.flatnonzero(~cold), np.flatnonzero(cold)):
            texts = [ids[row] for row in rows]
            advance(sum(not text for text in texts))
            sources[rows] = read_texts(llm, texts, config.text_layers, config.token_budget, advance)
    return sources


def words_of(ids: TokenIds, config: EnvironmentConfig) -> Ints | None:
    """The first tokens of each text that the recipe has histories read with, (n, history_text_tokens); None for none."""
    if not config.history_text_tokens:
        return None
    words = np.full((len(ids), config.history_text_tokens), -1, dtype=np.int32)
    for row, text in zip(words, ids, strict=True):
        row[: len(text)] = text[: len(row)]
    return words


def new_item_tokens(
    training: TokenTraining, texts: list[str], space: ItemSpace, n_before: int, cold: Bools
) -> dict[str, npt.NDArray[Any]]:
    """By file: tokens (n, D), vectors (n, W) and words of items that join the n_before others, made as those were.

    Those of cold items (n,) are trained by themselves: what the others become does not depend on them.
    """
    llm, config = training.llm, training.config
    ids = llm.token_ids(texts, config.max_text_tokens)
    present = np.array([len(text) > 0 for text in ids], dtype=bool)
    means = pooled(ids, llm.embeddings.cpu())
    tokens = space.tokens.placed(means, present, derived_seed("id tokens", training.seed, n_before))
    if space.network is not None:
        tokens[present] = space.network.tokens(tokens[present])
    elif config.item_tokens == "trained":
        tokens = tokens.to(llm.causal.device)
        for name, rows in (("added-item", present & ~cold), ("added-cold-item", present & cold)):
            _train(training, tokens, ids, rows, space.tokens, name)
    words = words_of(ids, config)
    sources = vector_sources(llm, ids, tokens, cold, config, training.reporter)
    found = {TOKENS: tokens.cpu().numpy(), VECTORS: space.vectors(sources, present)}
    return found if words is None else {**found, WORDS: words}


def pooled(ids: Sequence[list[int]], embeddings: Tensor) -> Tensor:
    """The mean of each text's token embeddings, (n, D) float32; zero for an empty text."""
    lengths = torch.tensor([len(text) for text in ids], dtype=torch.long)
    flat = torch.tensor([token for text in ids for token in text], dtype=torch.long)
    sums = torch.zeros(len(ids), embeddings.shape[1])
    sums.index_add_(0, torch.repeat_interleave(torch.arange(len(ids)), lengths), embeddings[flat].float())
    return sums / lengths[:, None].clamp(min=1)


def _train(training: TokenTraining, tokens: Tensor, ids: TokenIds, rows: Bools, space: TokenSpace, name: str) -> None:
    """Train the tokens of some rows in place; tokens (n, D), ids and rows are aligned."""
    places = np.flatnonzero(rows)
    if len(places):
        tokens[places] = training.trained(tokens[places], [ids[place] for place in places], _learning_rate(space), name)


def _network(training: TokenTraining, tokens: Tensor, ids: TokenIds, texts: Texts) -> TokenNetwork:
    """A network that learns from the texts of some items of training steps."""
    rng = np.random.default_rng(derived_seed("token sample", training.seed))
    sample = np.sort(rng.permutation(np.flatnonzero(texts.shaping))[: training.config.token_sample])
    return training.network(tokens[sample], [ids[number - 1] for number in sample])


def _learning_rate(space: TokenSpace) -> float:
    """Of trained tokens, by the size of their coordinates."""
    return 0.1 * float(space.deviation)
