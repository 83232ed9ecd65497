"""Packing must be exact: what the packed pass says is what one prompt per (history, action) says."""

import numpy as np
import pytest
import torch

from learec.config import EnvironmentConfig
from learec.data.log import Sessions
from learec.data.windows import Windows, windows_of
from learec.environment.environment import Environment
from learec.environment.llm import load_llm
from learec.environment.packing import pack

N_ITEMS = 25
ONE_SLOT = np.array([0, *[1] * N_ITEMS])


def environment_of(llm, **settings):
    """An environment whose heads are not zero, so that nothing is equal by chance. Items have 0 to history_text_tokens words."""
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randn(N_ITEMS + 1, llm.embeddings.shape[1], generator=generator) * llm.embeddings.float().std()
    vectors = torch.nn.functional.normalize(torch.randn(N_ITEMS + 1, 8, generator=generator), dim=1)
    tokens[0] = vectors[0] = 0
    config = EnvironmentConfig(**settings)
    words = np.full((N_ITEMS + 1, config.history_text_tokens), -1)
    for item in range(1, N_ITEMS + 1):
        n_words = item % (config.history_text_tokens + 1)
        words[item, :n_words] = (item + 7 * np.arange(n_words)) % len(llm.embeddings)
    environment = Environment(llm, config, tokens, vectors, words)
    for linear in (environment.state_model.projection, environment.reward_model.head):
        torch.nn.init.normal_(linear.weight, generator=generator)
    return environment.eval()


def sessions_of(*lengths, seed=0):
    rng = np.random.default_rng(seed)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    items = rng.integers(1, N_ITEMS + 1, offsets[-1]).astype(np.int32)
    return Sessions(offsets, items, np.zeros(len(items), np.uint8), np.ones(len(items), np.float32))


@torch.no_grad()
def one_prompt(environment, history, action):
    """State and reward from a prompt of its own: plain causal attention, no mask, no position ids."""
    items, read = torch.tensor([*history, action]), [environment.prompt]
    for item in items:
        words = environment.words[item]
        read += [environment.llm.embed(torch.as_tensor(words[words >= 0])), environment.item_tokens[item][None]]
    hidden = environment.decoder(inputs_embeds=torch.cat(read)[None]).last_hidden_state[0].float()
    everything = Windows(items.numpy()[None], np.arange(len(items))[None], np.ones((1, len(items)), bool))
    skip = environment.state_model.skip(everything, environment.vectors)[0, -1]
    state = environment.state_model(hidden[-1 - int(environment.widths[action])], skip)
    return state.numpy(), environment.reward_model(hidden[-1], state @ environment.vectors[action]).item()


def assert_packed_equals_prompts(environment, sessions, candidates):
    states, rewards, candidate_rewards = environment.annotate(sessions, candidates)
    for step in range(sessions.n_steps):
        first = sessions.offsets[sessions.session_of[step]]
        history = sessions.items[first:step].tolist()
        state, reward = one_prompt(environment, history, int(sessions.items[step]))
        np.testing.assert_allclose(states[step], state, atol=1e-4)
        assert rewards[step] == pytest.approx(reward, abs=1e-4)
        for place, action in enumerate(candidates[step]):
            if action:
                assert candidate_rewards[step, place] == pytest.approx(one_prompt(environment, history, int(action))[1], abs=1e-4)


def test_packed_results_equal_one_prompt_at_a_time_in_every_family(family_llm, rng):
    sessions = sessions_of(5, 1, 9, 2, 7)
    candidates = rng.integers(0, N_ITEMS + 1, (sessions.n_steps, 3))  # 0: a step with fewer candidates
    assert_packed_equals_prompts(environment_of(family_llm), sessions, candidates)


def test_packed_results_equal_one_prompt_at_a_time_where_items_are_read_with_words(family_llm, rng):
    sessions = sessions_of(5, 1, 6, 2)
    candidates = rng.integers(0, N_ITEMS + 1, (sessions.n_steps, 3))
    environment = environment_of(family_llm, history_text_tokens=3, history=20, prompt="ab")
    assert set(environment.widths[1:]) == {1, 2, 3, 4}
    assert_packed_equals_prompts(environment, sessions, candidates)


def test_packed_results_equal_one_prompt_at_a_time_in_many_small_batches(llama_llm, rng):
    sessions = sessions_of(5, 1, 9, 2, 7)
    candidates = rng.integers(0, N_ITEMS + 1, (sessions.n_steps, 3))
    assert_packed_equals_prompts(environment_of(llama_llm, token_budget=64), sessions, candidates)


def test_packed_results_equal_one_prompt_at_a_time_with_the_embedded_model(rng):
    environment = environment_of(load_llm(EnvironmentConfig(), "cpu"))
    sessions = sessions_of(4, 3)
    assert_packed_equals_prompts(environment, sessions, rng.integers(1, N_ITEMS + 1, (sessions.n_steps, 2)))


def test_the_other_sessions_of_a_row_do_not_matter(family_llm):
    environment = environment_of(family_llm)
    together, alone = sessions_of(5, 6), sessions_of(5, 6).select(np.arange(11) < 5)
    none = np.zeros((11, 0), dtype=int)
    assert (
        len(pack(windows_of(together, np.arange(2), 50), np.zeros((2, 6, 0), int), ONE_SLOT, 4, 64).items) == 1
    )  # they share a row
    np.testing.assert_allclose(environment.annotate(together, none)[0][:5], environment.annotate(alone, none[:5])[0], atol=1e-6)


def test_a_long_session_is_read_in_windows_that_keep_at_least_half_a_history(llama_llm):
    environment = environment_of(llama_llm, history=6)
    sessions = sessions_of(20)
    states, rewards, _ = environment.annotate(sessions, np.zeros((20, 0), dtype=int))
    # step 7 is answered by the window that starts at step 3: it has seen items 3 to 6
    state, reward = one_prompt(environment, sessions.items[3:7].tolist(), int(sessions.items[7]))
    np.testing.assert_allclose(states[7], state, atol=1e-4)
    assert rewards[7] == pytest.approx(reward, abs=1e-4)
    assert (np.abs(states).sum(1) > 0).all()


def test_rows_waste_little_and_no_slot_is_used_twice():
    sessions = sessions_of(*range(2, 30))
    windows = windows_of(sessions, np.arange(28), 50)
    candidates = np.where(windows.steps[..., None] >= 0, 1, 0) * np.ones((1, 1, 2), dtype=int)
    packed = pack(windows, candidates, ONE_SLOT, 3, 256)
    used = np.concatenate([packed.trunk[windows.steps >= 0], packed.leaves[candidates > 0]])
    assert len(np.unique(used)) == len(used) == 3 * sessions.n_steps
    assert len(used) / packed.items.size > 0.8


def test_a_padding_item_is_in_no_slot():
    sessions = sessions_of(3, 5)
    windows = windows_of(sessions, np.arange(2), 50)
    packed = pack(windows, np.zeros((2, 5, 1), dtype=int), ONE_SLOT, 2, 32)
    assert (packed.items > 0).sum() == sessions.n_steps
    assert not packed.mask[packed.items == 0][:, packed.items[0] > 0].any()
