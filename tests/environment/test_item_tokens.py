"""Item tokens: means of text embeddings that tell items apart, and training that makes the model write the text."""

import numpy as np
import torch

from learec.config import EnvironmentConfig
from learec.data.log import Catalog
from learec.environment.item_tokens import _text_batch, make_item_tokens, mean_tokens, text_loss, whitened
from learec.environment.llm import load_llm

EMBEDDINGS = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [3.0, 4.0]])


def test_tokens_are_centred_means_of_the_length_of_vocabulary_embeddings():
    tokens = mean_tokens([[0, 1], [3]], EMBEDDINGS)
    # means (.5, .5) and (3, 4), centre (1.75, 2.25), remainders -+(1.25, 1.75); mean length (1 + 1 + sqrt 2 + 5) / 4
    wanted = (2 + 2**0.5 + 5) / 4
    np.testing.assert_allclose(tokens[1:].norm(dim=1), [wanted, wanted], rtol=1e-5)
    np.testing.assert_allclose(tokens[1], -tokens[2], rtol=1e-5)
    assert tokens[0].tolist() == [0, 0]


def test_an_item_without_text_is_the_average_item():
    assert mean_tokens([[0], [], [1]], EMBEDDINGS)[2].tolist() == [0, 0]


def test_whitened_vectors_are_of_unit_length_uncorrelated_and_zero_without_text():
    rng = np.random.default_rng(0)
    tokens = (rng.normal(size=(200, 6)) @ rng.normal(size=(6, 6)) + 10).astype(np.float32)
    has_text = np.ones(200, bool)
    has_text[[0, 7]] = False
    vectors = whitened(tokens, has_text, 6)
    np.testing.assert_allclose(np.linalg.norm(vectors[has_text], axis=1), 1, rtol=1e-5)
    assert not vectors[[0, 7]].any()
    spread = np.corrcoef(vectors[has_text].T)
    assert np.abs(spread - np.eye(6)).max() < 0.2


def test_fewer_items_than_directions_still_gives_vectors():
    assert whitened(np.eye(4, 8, dtype=np.float32), np.array([False, True, True, True]), 256).shape == (4, 2)


def test_trained_tokens_make_the_frozen_model_write_the_text_better_than_the_mean(tiny_items, tmp_path, quiet):
    catalog = Catalog(tiny_items.with_columns(text="title"))
    settings = {"item_tokens": "trained", "item_token_epochs": 40}
    llm = load_llm(EnvironmentConfig(), "cpu")
    texts = llm.token_ids(tiny_items["title"].to_list(), 16)
    before = mean_tokens(texts, llm.embeddings)
    after = make_item_tokens(llm, catalog, EnvironmentConfig(**settings), 0, tmp_path, quiet)
    batch = _text_batch(np.array([1, 2, 3]), texts, torch.device("cpu"))
    with torch.no_grad():
        loss_before, loss_after = (text_loss(llm, tokens[1:4], batch).item() for tokens in (before, after))
        shuffled = text_loss(llm, after[[3, 1, 2]], batch).item()
    assert loss_after < loss_before - 0.3
    assert loss_after < shuffled - 0.3
    assert all(not tensor.requires_grad for tensor in llm.causal.parameters())
