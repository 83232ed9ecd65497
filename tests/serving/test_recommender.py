"""The recommender: outside names in, outside names out, nothing of the language model needed."""

import subprocess
import sys

import pytest
import torch

from learec.agents.agent import Agent
from learec.config import AgentConfig
from learec.errors import ArtifactError, ConfigError, DataError
from learec.serving.recommender import Recommender


@pytest.fixture
def recommender(small_log):
    torch.manual_seed(0)
    return Recommender(Agent(AgentConfig(hidden_size=8), small_log.catalog.n_items, 0), small_log.catalog)


def test_recommends_k_items_with_titles_best_first(recommender):
    ids = recommender.catalog.ids
    found = recommender.recommend([ids[3], ids[5]], 7)
    assert len(found) == len({item.item_id for item in found}) == 7
    assert [item.score for item in found] == sorted((item.score for item in found), reverse=True)
    assert all(recommender.catalog.titles[recommender.catalog.numbers[item.item_id]] == item.title for item in found)


def test_items_of_the_history_are_not_recommended_unless_asked_for(recommender, small_log):
    history = recommender.catalog.ids[1:6]
    everything = small_log.catalog.n_items
    assert not {item.item_id for item in recommender.recommend(history, everything)} & set(history)
    recommender.mask_seen = False
    assert len(recommender.recommend(history, everything)) == everything


def test_more_items_than_the_catalog_holds_gives_what_there_is(recommender, small_log):
    assert len(recommender.recommend(recommender.catalog.ids[1:3], 10**9)) == small_log.catalog.n_items - 2


def test_the_order_of_the_history_matters(recommender):
    ids = recommender.catalog.ids
    assert recommender.recommend([ids[1], ids[2]], 1)[0].score != recommender.recommend([ids[2], ids[1]], 1)[0].score


def test_a_history_longer_than_the_agent_reads_is_cut_to_its_newest_items(recommender):
    ids = recommender.catalog.ids
    newest = [ids[1 + n % 20] for n in range(50)]
    assert recommender.recommend([ids[30]] * 500 + newest, 1)[0].score == pytest.approx(
        recommender.recommend(newest, 1)[0].score, abs=1e-5
    )


@pytest.mark.parametrize("history", [[], ["nobody"], [""]])
def test_an_empty_or_unknown_history_is_refused_in_a_sentence(recommender, history):
    with pytest.raises(DataError, match="history"):
        recommender.recommend(history, 3)


def test_a_close_id_is_suggested(recommender):
    close = recommender.catalog.ids[1]
    with pytest.raises(DataError, match=f"did you mean {close}"):
        recommender.recommend([close + "x"], 3)


def test_k_must_be_positive(recommender):
    with pytest.raises(ConfigError, match="at least 1"):
        recommender.recommend(recommender.catalog.ids[1:2], 0)


def test_an_agent_of_another_catalog_is_refused(small_log):
    with pytest.raises(ArtifactError, match="items"):
        Recommender(Agent(AgentConfig(hidden_size=8), small_log.catalog.n_items + 1, 0), small_log.catalog)


def test_serving_imports_no_language_model_library():
    code = (
        "import sys, learec.serving.recommender; print([m for m in ('transformers', 'peft', 'accelerate') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
