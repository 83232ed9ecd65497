"""Item tokens beneath the embeddings: read in training, part of the weights afterwards; and the cosine softmax."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from learec.agents.agent import Agent, load_agent
from learec.agents.batches import _weights
from learec.agents.items import computed_once
from learec.agents.train import train
from learec.annotations.annotate import annotate
from learec.annotations.table import load_annotations
from learec.annotations.text_environment import TextEnvironment
from learec.config import AgentConfig, AgentEntry, AnnotationsConfig

SMALL = {"hidden_size": 8, "n_layers": 1, "batch_size": 16, "max_length": 10}


@pytest.fixture
def annotations(small_log, tmp_path, quiet):
    config = AnnotationsConfig()
    annotate(config, small_log, TextEnvironment.of(small_log, config), "d", tmp_path / "annotations", reporter=quiet)
    return load_annotations(tmp_path / "annotations")


def with_tokens(**settings):
    torch.manual_seed(0)
    config = AgentConfig(**SMALL, lea=("items",), **settings)
    return Agent(config, 20, 0, torch.tensor([4]), torch.randn(21, 5).index_fill(0, torch.tensor([0]), 0.0))


@pytest.mark.parametrize("encoder", ["sasrec", "gru4rec", "caser", "nextitnet"])
def test_items_with_one_text_share_all_that_tokens_add_and_cold_items_stay_silent(encoder):
    torch.manual_seed(0)
    tokens = torch.randn(21, 5)
    tokens[8] = tokens[7]
    agent = Agent(
        AgentConfig(**SMALL, encoder=encoder, lea=("items",)),
        20,
        0,
        torch.tensor([4]),
        tokens.index_fill(0, torch.tensor([0]), 0.0),
    )
    rows = agent.item_embedding.weight
    assert not rows[[0, 4]].any()
    own = agent.encoder.items.parametrizations.weight.original
    torch.testing.assert_close(rows[7] - rows[8], own[7] - own[8])
    assert not torch.allclose(rows[7], own[7])
    agent(torch.tensor([[1, 2, 3]]))[..., 0].sum().backward()
    assert agent.encoder.items.parametrizations.weight[0].projection.weight.grad.any(), "the projection is trained"


def test_baking_changes_no_score_and_leaves_an_ordinary_embedding():
    agent = with_tokens()
    histories, lengths = np.array([[1, 2, 0], [3, 5, 6]]), np.array([2, 3])
    before = agent.scores(histories, lengths)
    agent.bake()
    np.testing.assert_array_equal(agent.scores(histories, lengths), before)
    plain = Agent(agent.config, 20, 0, torch.tensor([4]))
    assert plain.state_dict().keys() == agent.state_dict().keys()


def test_the_sum_is_computed_once_within_a_step_and_anew_after_a_move():
    agent = with_tokens()
    with computed_once():
        assert agent.item_embedding.weight is agent.item_embedding.weight
    before = agent.item_embedding.weight.detach().clone()
    with torch.no_grad():
        agent.encoder.items.parametrizations.weight.original[1] += 1
    assert (agent.item_embedding.weight[1] != before[1]).all()
    assert (copy.deepcopy(agent).item_embedding.weight == agent.item_embedding.weight).all()


@pytest.mark.parametrize("objective", ["supervised", "snqn"])
@pytest.mark.parametrize("cosine_scale", [None, 8.0])
def test_an_agent_with_tokens_trains_and_is_opened_without_them(small_log, annotations, tmp_path, quiet, objective, cosine_scale):
    config = AgentConfig(
        **SMALL, objective=objective, lea=("items", "augmented"), epochs=3, cosine_scale=cosine_scale, label_temperature=1.0
    )
    trained: list[Agent] = []

    def validate(agent):
        trained[:] = [agent]
        return {"none": 0.0}

    train(AgentEntry("x", 0, config), small_log, annotations, tmp_path / "agent", device="cpu", reporter=quiet, validate=validate)
    agent, _ = load_agent(tmp_path / "agent", "cpu")
    histories, lengths = small_log.sessions.histories(np.array([2, 3]), 5)
    np.testing.assert_array_equal(agent.scores(histories, lengths), trained[0].scores(histories, lengths))
    assert np.isneginf(agent.scores(histories, lengths)[:, 0]).all()


def test_under_a_cosine_softmax_no_logit_is_beyond_the_scale():
    agent = Agent(AgentConfig(**SMALL, cosine_scale=3.0), 20, 0)
    hidden = 100 * torch.randn(4, 8)
    logits = agent.logits(hidden)[:, 1:]
    assert logits.abs().max() <= 3.0 + 1e-5
    items = torch.arange(1, 21)
    torch.testing.assert_close(agent.logits_at(hidden, items), logits)
    torch.testing.assert_close(agent.logits_at(hidden, items.expand(4, -1)), logits)


def test_labels_share_their_weight_as_scores_say_and_absent_ones_get_none(annotations):
    equal = _weights(np.array([[3, 5, 0], [0, 0, 0]]), None, None)
    assert equal.tolist() == [[0.5, 0.5, 0.0], [0.0, 0.0, 0.0]]
    scored = replace(annotations, augmented_scores=np.array([[np.log(3), 0.0, 9.0], [1.0, 1.0, 1.0]], np.float32))
    shares = _weights(np.array([[3, 5, 0], [0, 0, 0]]), scored, 1.0)
    np.testing.assert_allclose(shares, [[0.75, 0.25, 0], [0, 0, 0]], atol=1e-6)
    np.testing.assert_allclose(_weights(np.array([[3, 5, 0], [0, 0, 0]]), scored, 0.5)[0], [0.9, 0.1, 0], atol=1e-6)
