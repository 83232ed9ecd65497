"""Large catalogs: the sampled softmax estimates the full one, and only rows in use are touched."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
import torch

from learec.agents.agent import Agent, load_agent
from learec.agents.batches import Batches
from learec.agents.learner import Learner
from learec.agents.sampled import RecentBest, SampledActor
from learec.agents.train import train
from learec.config import AgentConfig, AgentEntry
from learec.data.log import Catalog
from learec.fit import Plan, Task, step
from learec.sampled_softmax import ItemSampler

LARGE = {"hidden_size": 16, "n_layers": 1, "batch_size": 16, "max_length": 10, "full_softmax_items": 1, "n_sampled": 24}


@pytest.fixture
def agent():
    torch.manual_seed(0)
    agent = Agent(AgentConfig(**LARGE), 30, 0)
    with torch.no_grad():
        agent.encoder.items.weight.normal_()
        agent.actor_bias.normal_()
    return agent


def test_items_are_drawn_as_their_counts_say_and_none_that_was_never_chosen():
    sampler = ItemSampler(np.array([1, 1, 1, 1, 3]), 10_000, "cpu")
    drawn, log_expected = sampler.draw()
    assert set(drawn.tolist()) == {1, 3}
    assert (drawn == 1).sum() / (drawn == 3).sum() == pytest.approx(4**0.75, rel=0.1)
    assert log_expected[drawn == 1][0].exp() == pytest.approx(10_000 * 4**0.75 / (4**0.75 + 1), rel=1e-4)


def test_the_sampled_log_probability_estimates_the_full_one(agent):
    hidden = torch.randn(6, 16)
    actions = torch.tensor([1, 5, 9, 20, 30, 2])
    full = agent.logits(hidden).log_softmax(-1).gather(1, actions[:, None])[:, 0]
    sampler = ItemSampler(np.arange(1, 31), 20_000, "cpu")
    sampled = SampledActor(agent, hidden, *sampler.draw())(actions)
    torch.testing.assert_close(sampled, full, atol=0.1, rtol=0.02)


def test_several_actions_of_a_step_are_each_a_softmax_of_their_own(agent):
    hidden = torch.randn(2, 16)
    actor = SampledActor(agent, hidden, *ItemSampler(np.arange(1, 31), 8, "cpu").draw())
    actions = torch.tensor([[1, 2], [3, 4]])
    together = actor(actions)
    torch.testing.assert_close(together[:, 1], actor(actions[:, 1]))
    assert actor(torch.zeros(2, 0, dtype=torch.long)).shape == (2, 0)


def test_a_draw_that_hits_the_action_is_left_out(agent):
    hidden = torch.randn(1, 16)
    drawn = torch.tensor([7, 7, 8])
    value = SampledActor(agent, hidden, drawn, torch.zeros(3))(torch.tensor([7]))
    logits = agent.logits(hidden)[0]
    assert value.item() == pytest.approx((logits[7] - torch.logaddexp(logits[7], logits[8])).item(), abs=1e-5)


def test_the_newest_maxima_come_first_and_the_oldest_are_forgotten():
    recent = RecentBest(3, "cpu")
    assert recent.candidates(torch.tensor([9, 4, 9])).tolist() == [4, 9]
    recent.update(torch.tensor([7, 5, 7]))
    assert recent.items.tolist() == [7, 5, 0], "7 was the best of two states"
    recent.update(torch.tensor([7, 2]))
    assert recent.items.tolist() == [2, 7, 5]
    recent.update(torch.tensor([8, 1]))
    assert recent.items.tolist() == [1, 8, 2]
    assert recent.candidates(torch.tensor([8, 3])).tolist() == [1, 2, 3, 8]


def test_with_recent_maxima_as_candidates_the_sampled_maximum_climbs_to_that_of_the_whole_catalog(agent):
    critic = Agent(AgentConfig(**LARGE, objective="sqn"), 3000, 0)
    states = torch.randn(40, 16)
    whole = critic.q_at(states, critic.best_actions(states))
    recent, sampler = RecentBest(64, "cpu"), ItemSampler(np.arange(1, 3001), 64, "cpu")
    gaps = []
    for _ in range(300):
        best = critic.best_actions(states, recent.candidates(sampler.draw()[0]))
        recent.update(best)
        gaps.append((whole - critic.q_at(states, best)).mean().item())
    assert gaps[0] > 0.2
    assert gaps[-1] < 0.01


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("objective", ["supervised", "snqn", "sa2c"])
@pytest.mark.parametrize("cosine_scale", [None, 8.0])
def test_training_over_a_sample_leaves_padding_and_cold_items_silent(small_log, tmp_path, quiet, objective, tied, cosine_scale):
    table = small_log.catalog.table
    small_log = replace(small_log, catalog=Catalog(pl.concat([table, table[:1].with_columns(item_id=pl.lit("of no step"))])))
    own = {"epochs": 6, "switch_after": 10, "learning_rate": 0.01, "cosine_scale": cosine_scale}
    config = AgentConfig(**LARGE, **own, objective=objective, tied=tied)
    entry = AgentEntry("x", 0, config)
    options = {"device": "cpu", "reporter": quiet, "validate": lambda agent: {"none": 0.0}}
    notes = train(entry, small_log, None, tmp_path / "agent", **options)
    losses = [epoch["ce"] for epoch in notes["curves"]["losses"][1:]]
    if objective == "supervised" and cosine_scale is None:
        assert losses[-1] < losses[0]
    trained, _ = load_agent(tmp_path / "agent", "cpu")
    assert trained.is_sparse
    assert not trained.encoder.items.weight[0].any()
    assert len(trained.cold_items)
    assert not trained.encoder.items.weight[trained.cold_items].any()


@pytest.mark.parametrize("cosine_scale", [None, 8.0])
def test_a_step_moves_the_rows_of_items_that_were_read_chosen_or_drawn_and_no_others(small_log, monkeypatch, cosine_scale):
    config = AgentConfig(**{**LARGE, "n_sampled": 4, "batch_size": 2}, cosine_scale=cosine_scale)
    learner = Learner([Agent(config, small_log.catalog.n_items, 0)], ItemSampler(small_log.training.items, 4, "cpu"), True)
    drawn = []
    plain = learner.sampler.draw
    monkeypatch.setattr(learner.sampler, "draw", lambda: (drawn.append(plain()), drawn[-1])[1])
    before = learner.agent.item_embedding.weight.detach().clone()
    batch = Batches(small_log.training, None, config, "cpu").epoch(1, 0)[0]
    task = Task(learner.tensors(), learner.optimizers, lambda epoch: [batch], learner.losses, lambda: {})
    step(task, batch, Plan(1, None, 0), (1, 0))
    moved = set((learner.agent.item_embedding.weight != before).any(1).nonzero()[:, 0].tolist())
    used = set(batch.items.flatten().tolist()) | set(batch.steps.actions.tolist()) | set(drawn[0][0].tolist())
    assert moved == used - {0}
    assert len(used) < small_log.catalog.n_items
