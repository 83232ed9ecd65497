"""Pairs: sampled actions are ones the user has not taken, as often as the setting says; users held out stay out."""

import numpy as np
import pytest
import torch

from learec.config import EnvironmentConfig
from learec.data.log import Sessions
from learec.data.windows import windows_of
from learec.environment import negatives
from learec.environment.adapt import split_users
from learec.environment.adapters import lora_targets
from learec.environment.negatives import NegativeSampler, Neighbours
from learec.environment.pairs import pair_batches
from learec.environment.reward_model import RewardModel, listwise_loss, reward_loss
from learec.environment.standardise import Standardise
from learec.environment.state_model import StateModel


def sessions_of(*rows):
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])])
    items = np.concatenate(rows)
    return Sessions(offsets, items, np.zeros(len(items), int), np.ones(len(items), np.float32))


def test_negatives_are_items_that_the_user_never_took():
    training = sessions_of([1, 2, 3, 4], [5, 6, 1])
    windows = windows_of(training, np.arange(2), 10)
    sampler = NegativeSampler(training, 6, EnvironmentConfig(n_negatives=40, negatives="uniform"))
    negatives = sampler.sample(windows, 0)
    assert set(np.unique(negatives[0])) <= {0, 5, 6}
    assert set(np.unique(negatives[1])) <= {0, 2, 3, 4}
    assert not negatives[:, 0].any()  # a session's first step has no history to be judged in


def test_popular_negatives_follow_the_counts_of_training_events():
    training = sessions_of([1, 1, 1, 2], [3, 4])
    sampler = NegativeSampler(training, 4, EnvironmentConfig(n_negatives=3000, negatives="popular"))
    drawn = sampler.sample(windows_of(training, np.array([1]), 10), 0)[0, 1]
    counts = np.bincount(drawn, minlength=5)
    assert 2.5 < counts[1] / counts[2] < 3.6


def test_hard_negatives_are_popular_items_and_both_kinds_of_neighbours_that_the_user_never_took(monkeypatch):
    """Of the step (1 -> 2): 9 is popular, 3 was chosen with 1 by others, and 5 has the text of 1."""
    monkeypatch.setattr(negatives, "NEIGHBOURS", 1)
    training = sessions_of([1, 2], [1, 3], [1, 3], [5, 6], *[[9, 8]] * 40)
    vectors = np.eye(10, dtype=np.float32)
    vectors[0], vectors[5] = 0, vectors[1]
    settings = EnvironmentConfig(n_negatives=3000, negatives="neighbours")
    sampler = NegativeSampler(training, 9, settings, Neighbours.of(training, vectors, settings.decay, settings.history))
    drawn = sampler.sample(windows_of(training, np.array([0]), 10), 0)
    assert not drawn[0, 0].any()
    shares = np.bincount(drawn[0, 1], minlength=10) / 3000
    assert shares[[1, 2]].tolist() == [0, 0]
    assert shares[3] == pytest.approx(1 / 3 + 2 / 86 / 3, abs=0.04)
    assert shares[5] == pytest.approx(1 / 3 + 1 / 86 / 3, abs=0.04)
    assert shares[[8, 9]].sum() == pytest.approx(80 / 86 / 3, abs=0.04)
    np.testing.assert_array_equal(drawn, sampler.sample(windows_of(training, np.array([0]), 10), 0))


def test_listwise_loss_by_hand_and_pairwise_with_one_negative():
    positive, negative = torch.tensor([1.0, 0.0]), torch.tensor([[0.0, 2.0], [9.0, 0.0]])
    present = torch.tensor([[True, True], [False, True]])
    first = -np.log(np.exp(1) / (np.exp(1) + 1 + np.exp(2)))
    assert listwise_loss(positive, negative, present).item() == pytest.approx((first + np.log(2)) / 2)
    one = (positive, negative[:, :1], torch.ones(2, 1, dtype=torch.bool))
    torch.testing.assert_close(listwise_loss(*one), reward_loss(*one))


def test_users_held_out_are_never_trained_on():
    training = sessions_of(*[[1, 2, 3]] * 100)
    split = split_users(training, EnvironmentConfig(users=0.3, held_out_users=50), 0)
    used, held_out = (set(training.session_of[part.steps[part.steps >= 0]]) for part in (split.training, split.held_out))
    assert not used & held_out
    assert (len(used), len(held_out)) == (30, 50)


def test_with_all_users_a_fifth_is_still_held_out():
    split = split_users(sessions_of(*[[1, 2]] * 100), EnvironmentConfig(users=1.0), 0)
    assert (len(split.training.items), len(split.held_out.items)) == (80, 20)


def test_batches_hold_every_window_once_within_the_budget():
    training = sessions_of(*[[1, 2, 3, 4, 5][: 2 + n % 4] for n in range(40)])
    sampler = NegativeSampler(training, 9, EnvironmentConfig())
    widths = np.array([0, 1, 1, 1, 1, 1, 1, 1, 1, 1])
    batches = pair_batches(windows_of(training, np.arange(40), 10), sampler, widths, 30, 0, shuffle=True)
    steps = np.concatenate([batch.windows.steps[batch.windows.steps >= 0] for batch in batches])
    assert sorted(steps) == list(range(training.n_steps))
    assert all((batch.windows.lengths.sum() + (batch.negatives > 0).sum()) <= 30 for batch in batches)


def test_before_training_the_state_is_the_content_rule_and_the_reward_its_similarity():
    hidden, skip = torch.randn(5, 7), torch.nn.functional.normalize(torch.randn(5, 4), dim=-1)
    torch.testing.assert_close(StateModel(7, 4, 0.8)(hidden, skip), skip)
    model = RewardModel(7)
    torch.testing.assert_close(model(hidden, torch.arange(5.0)), model.scale * torch.arange(5.0))


def test_the_skip_connection_is_a_decayed_sum_of_what_came_before():
    training = sessions_of([1, 2, 1])
    vectors = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    skip = StateModel(3, 2, 0.5).skip(windows_of(training, np.array([0]), 10), vectors)[0]
    wanted = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.5, 1.0]])
    torch.testing.assert_close(skip, torch.nn.functional.normalize(wanted, dim=-1))


def test_padding_is_no_possible_action_of_the_state_model():
    logits = StateModel(3, 2, 0.5).logits(torch.ones(1, 2), torch.ones(4, 2), torch.zeros(4), torch.tensor([0]))
    assert logits[0, 0] == -torch.inf and torch.isfinite(logits[0, 1:]).all()


def test_reward_loss_by_hand():
    # differences 0 and ln 3: -log sigmoid = ln 2 and ln(4/3)
    loss = reward_loss(torch.tensor([1.0, np.log(3)]), torch.tensor([[1.0, 9.0], [0.0, 9.0]]), torch.tensor([[True, False]] * 2))
    assert abs(loss.item() - (np.log(2) + np.log(4 / 3)) / 2) < 1e-6


def test_standardised_hidden_vectors_have_about_unit_length_and_no_mean():
    sample = torch.randn(4000, 16) * torch.logspace(0, 3, 16) + 50
    standardise = Standardise(16)
    standardise.measure(sample)
    out = standardise(sample)
    assert out.mean(0).abs().max() < 1e-4
    assert abs(out.norm(dim=1).pow(2).mean().item() - 1) < 1e-3


def test_only_the_last_layers_are_adapted():
    from transformers import LlamaConfig, LlamaModel

    config = LlamaConfig(
        vocab_size=9, hidden_size=8, intermediate_size=8, num_hidden_layers=4, num_attention_heads=2, num_key_value_heads=1
    )
    names = lora_targets(LlamaModel(config), 1)
    assert len(names) == 7 and all(name.startswith("layers.3.") for name in names)
    assert len(lora_targets(LlamaModel(config), 99)) == 28


def test_a_share_that_rounds_to_nobody_still_trains_on_somebody():
    for n_sessions, share in ((2, 0.2), (400, 0.001)):
        split = split_users(sessions_of(*[[1, 2]] * n_sessions), EnvironmentConfig(users=share), 0)
        assert len(split.training.items) >= 1 and len(split.held_out.items) >= 1


def test_a_missing_negative_leaves_the_others_of_its_step():
    whole = reward_loss(torch.tensor([1.0]), torch.tensor([[0.0]]), torch.tensor([[True]]))
    masked = reward_loss(torch.tensor([1.0]), torch.tensor([[0.0, 50.0]]), torch.tensor([[True, False]]))
    assert masked == whole


def test_a_history_without_text_has_a_bounded_gradient():
    model = StateModel(6, 4, 0.8)
    model(torch.randn(3, 6), torch.zeros(3, 4)).sum().backward()
    assert model.projection.weight.grad.abs().max() < 1e4
