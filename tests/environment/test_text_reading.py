"""Text reading: item vectors from what the language model has made of the texts after some layers, for every family."""

import numpy as np
import pytest
import torch
from transformers import OPTConfig

from learec.config import EnvironmentConfig
from learec.environment.item_tokens import vector_sources
from learec.environment.llm import load_llm
from learec.environment.text_reading import read_texts
from learec.errors import ConfigError

TEXTS = ["red kite", "Big blue boat, made in 1998", "", "cup", "red kite"]


def read_one_by_one(llm, ids, n_layers):
    """Each text by itself, every layer run, with what the model itself hands out of its layers."""
    found = []
    for text in ids:
        if not text:
            found.append(torch.zeros(llm.settings.hidden_size))
            continue
        with torch.no_grad():
            told = llm.decoder(input_ids=torch.tensor([text]), use_cache=False, output_hidden_states=True)
        found.append(told.hidden_states[n_layers][0].mean(0))
    return torch.stack(found)


def test_a_text_is_the_mean_of_what_a_layer_says_of_its_tokens(family_llm):
    ids = family_llm.token_ids(TEXTS, 24)
    for slots in (1, 40, 1000):
        found = read_texts(family_llm, ids, 2, slots)
        torch.testing.assert_close(found, read_one_by_one(family_llm, ids, 2), rtol=1e-4, atol=1e-4)
    assert not found[2].any()
    torch.testing.assert_close(found[0], found[4])


def test_the_last_layer_is_read_before_any_final_norm(family_llm):
    (text,), kept = family_llm.token_ids(TEXTS[:1], 24), []
    found = read_texts(family_llm, [text], 3, 1000)
    stacks = [part for part in family_llm.decoder.modules() if isinstance(part, torch.nn.ModuleList) and len(part) == 3]
    handle = stacks[0][-1].register_forward_hook(lambda block, inputs, output: kept.append(output))
    with torch.no_grad():  # to its end: reading has left nothing behind that stops it
        family_llm.decoder(input_ids=torch.tensor([text]), use_cache=False)
    handle.remove()
    hidden = kept[0][0] if isinstance(kept[0], tuple) else kept[0]
    torch.testing.assert_close(found[0], hidden.reshape(len(text), -1).mean(0), rtol=1e-4, atol=1e-4)


def test_a_cold_item_moves_no_other_vector_not_even_by_a_rounding(family_folder, quiet):
    config = EnvironmentConfig(llm=str(family_folder("llama")), text_layers=2)
    llm = load_llm(config, "cpu")
    cold = np.array([True, False, False, False, True])
    catalogs = [
        [[], *llm.token_ids([*TEXTS[:2], "kite", last], 60)]
        for last in ("cup", "a much longer text of an item that nobody has bought")
    ]
    together = [read_texts(llm, ids, 2, 1000) for ids in catalogs]
    assert not torch.equal(together[0][:4], together[1][:4]), "padded otherwise, the same texts differ by a rounding"
    sources = [vector_sources(llm, ids, torch.zeros(5, 32), cold, config, quiet) for ids in catalogs]
    assert torch.equal(sources[0][:4], sources[1][:4])
    assert not torch.equal(sources[0][4], sources[1][4])


def test_more_layers_or_longer_texts_than_the_model_has_room_for_are_refused(family_folder):
    folder = str(family_folder("gpt2"))
    with pytest.raises(ConfigError, match="environment.text_layers = 4: gpt2 has 3 layers; lower it"):
        load_llm(EnvironmentConfig(llm=folder, text_layers=4), "cpu")
    with pytest.raises(ConfigError, match=r"max_text_tokens = 129: texts are read for item vectors .* gpt2 has 128 positions"):
        load_llm(EnvironmentConfig(llm=folder, text_layers=1, max_text_tokens=129), "cpu")


def test_hidden_vectors_may_be_wider_than_embeddings(save_model, family_folder, tmp_path, quiet):
    config = OPTConfig.from_pretrained(family_folder("opt"), word_embed_proj_dim=16, do_layer_norm_before=False)
    settings = EnvironmentConfig(llm=str(save_model(config, tmp_path)), text_layers=2)
    llm = load_llm(settings, "cpu")
    ids = llm.token_ids(TEXTS, 24)
    sources = vector_sources(llm, ids, torch.zeros(5, 16), np.zeros(5, dtype=bool), settings, quiet)
    assert sources.shape == (5, 32)
    torch.testing.assert_close(sources, read_one_by_one(llm, ids, 2), rtol=1e-4, atol=1e-4)
