"""Large catalogs: one small network gives every item its token from its text; few items are trained, none is special."""

import numpy as np
import polars as pl
import pytest
import torch

from learec.config import EnvironmentConfig
from learec.data.log import Catalog, Log, Sessions
from learec.environment.item_tokens import make_item_tokens
from learec.environment.token_network import TokenNetwork
from learec.environment.token_training import TokenTraining, text_batch, text_loss

N_ITEMS = 300
COLD = N_ITEMS  # the last item has no training step
WORDS = ["red", "blue", "old", "big", "drill", "saw", "kite", "boat", "lamp", "cup", "bag", "hat"]


def log_of(last_text):
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(WORDS, 3)) for _ in range(N_ITEMS)]
    texts[6], texts[-1] = "", last_text
    catalog = Catalog(pl.DataFrame({"item_id": [str(number) for number in range(N_ITEMS)], "title": texts, "text": texts}))
    items = np.arange(1, N_ITEMS)
    sessions = Sessions(np.array([0, len(items)]), items, np.zeros(len(items), np.uint8), np.ones(len(items), np.float32))
    return Log(catalog, sessions, np.zeros(len(items), np.uint8), pl.Series(["u"]), ["event"], "digest")


def config_of(**settings):
    return EnvironmentConfig(
        **{"item_tokens": "trained", "trained_token_items": 250, "token_sample": 100, "item_token_epochs": 1, **settings}
    )


def test_before_training_the_network_gives_the_mean():
    means = torch.randn(3, 8)
    torch.testing.assert_close(TokenNetwork(8, 0.5).tokens(means), means)


def test_beyond_the_bound_every_token_is_the_networks_and_below_it_there_is_none(llama_llm, tmp_path, quiet):
    means = make_item_tokens(llama_llm, log_of("red hat"), config_of(item_tokens="mean"), 0, tmp_path / "a", quiet)
    found = make_item_tokens(llama_llm, log_of("red hat"), config_of(), 0, tmp_path / "b", quiet)
    present = found.texts.present
    assert present.sum() == N_ITEMS - 1
    torch.testing.assert_close(found.tokens[present], found.space.network.tokens(means.tokens[present]))
    assert (found.tokens[present] - means.tokens[present]).abs().max() > 1e-3
    torch.testing.assert_close(found.tokens[7], means.tokens[7])  # without text there is nothing to read
    few = make_item_tokens(llama_llm, log_of("red hat"), config_of(trained_token_items=N_ITEMS), 0, tmp_path / "c", quiet)
    assert few.space.network is None and means.space.network is None


def test_only_the_sample_is_trained_on_and_never_a_cold_item(llama_llm, tmp_path, quiet, monkeypatch):
    seen = []
    plain = TokenTraining.network
    monkeypatch.setattr(TokenTraining, "network", lambda self, means, ids: seen.append(ids) or plain(self, means, ids))
    one, other = (
        make_item_tokens(llama_llm, log_of(text), config_of(token_sample=N_ITEMS), 0, tmp_path / text, quiet)
        for text in ("red hat", "big old lamp")
    )
    assert [len(ids) for ids in seen] == [N_ITEMS - 2] * 2, "neither the item without text nor the cold one"
    assert seen[0] == seen[1]
    assert torch.equal(one.tokens[:COLD], other.tokens[:COLD])
    assert not torch.equal(one.tokens[COLD], other.tokens[COLD])
    make_item_tokens(llama_llm, log_of("red hat"), config_of(), 0, tmp_path / "sample", quiet)
    assert len(seen[2]) == 100


def test_the_network_makes_the_model_write_texts_that_it_was_not_trained_on_better_than_their_means(llama_llm, tmp_path, quiet):
    log, config = log_of("red hat"), config_of(item_token_epochs=6)
    ids = llama_llm.token_ids(log.catalog.table["text"].to_list(), 64)
    seen = {}
    plain = TokenTraining.network
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TokenTraining, "network", lambda self, means, ids: seen.update(ids=ids) or plain(self, means, ids))
        found = make_item_tokens(llama_llm, log, config, 0, tmp_path / "a", quiet)
    means = make_item_tokens(llama_llm, log, config_of(item_tokens="mean"), 0, tmp_path / "b", quiet)
    unseen = np.array([place for place, text in enumerate(ids) if text and text not in seen["ids"]])
    batch = text_batch(unseen, ids, torch.device("cpu"))
    with torch.no_grad():
        before, after = (text_loss(llama_llm, made.tokens[unseen + 1], batch).item() for made in (means, found))
    assert after < before - 0.05
