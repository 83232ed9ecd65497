"""Training: batches say what was logged, the target network is not trained, a stopped run ends like one that was not."""

import numpy as np
import pytest
import torch

from learec.agents import train as stage
from learec.agents.agent import Agent, load_agent
from learec.agents.batches import Batches
from learec.agents.learner import Learner
from learec.agents.train import train
from learec.annotations.table import Annotations
from learec.artifacts import SCRATCH, partial_folder
from learec.config import AgentConfig, AgentEntry
from learec.data.log import Sessions
from learec.data.windows import newest
from learec.sampled_softmax import ItemSampler

SMALL = {"hidden_size": 16, "n_layers": 1, "batch_size": 16, "max_length": 10}


def two_sessions():
    return Sessions(
        np.array([0, 3, 5]), np.array([1, 2, 3, 4, 5]), np.zeros(5, int), np.array([0.1, 0.2, 0.3, 0.4, 0.5], np.float32)
    )


def annotations_for(sessions, n_items=5, k=2):
    n = sessions.n_steps
    rng = np.random.default_rng(0)
    annotated = sessions.step_of > 0
    return Annotations(
        states=rng.normal(size=(n, 4)).astype(np.float32),
        rewards=rng.normal(size=n).astype(np.float32),
        augmented=np.where(annotated[:, None], rng.integers(1, n_items + 1, (n, k)), 0),
        augmented_scores=rng.normal(size=(n, k)).astype(np.float32),
        augmented_rewards=rng.normal(size=(n, k)).astype(np.float32),
        annotated=annotated,
        item_vectors=np.zeros((n_items + 1, 4), np.float32),
        digest="d",
    )


def only_batch(sessions, annotations=None, **settings):
    return Batches(sessions, annotations, AgentConfig(**{**SMALL, **settings}), "cpu").epoch(1, 0)[0]


def test_every_step_but_a_sessions_first_is_an_action_with_its_own_reward():
    steps = only_batch(two_sessions()).steps
    assert sorted(zip(steps.actions.tolist(), steps.rewards.tolist(), steps.terminal.tolist(), strict=True)) == [
        (2, pytest.approx(0.2), False), (3, pytest.approx(0.3), True), (5, pytest.approx(0.5), True),
    ]  # fmt: skip


def test_a_session_longer_than_a_window_keeps_every_action_once():
    n = 57
    sessions = Sessions(np.array([0, n]), np.arange(1, n + 1), np.zeros(n, int), np.ones(n, np.float32))
    batches = Batches(sessions, None, AgentConfig(**SMALL), "cpu").epoch(1, 0)
    actions = torch.cat([batch.steps.actions for batch in batches])
    assert sorted(actions.tolist()) == list(range(2, n + 1))
    assert sum(int(batch.steps.terminal.sum()) for batch in batches) == 1
    assert max(batch.items.shape[1] for batch in batches) == SMALL["max_length"]


@pytest.mark.parametrize(("objective", "places"), [("supervised", 3), ("snqn", 4)])
def test_the_state_after_the_last_action_is_encoded_only_where_a_loss_reads_it(objective, places):
    sessions = Sessions(np.array([0, 4]), np.arange(1, 5), np.zeros(4, int), np.ones(4, np.float32))
    [batch] = Batches(sessions, None, AgentConfig(**SMALL, objective=objective), "cpu").epoch(1, 0)
    assert batch.items.tolist() == [[1, 2, 3, 4][:places]]
    assert batch.acted.tolist() == [True, True, True, False][:places]
    assert batch.steps.actions.tolist() == [2, 3, 4]


def test_annotation_columns_arrive_at_their_own_step():
    sessions = two_sessions()
    annotations = annotations_for(sessions)
    batch = only_batch(sessions, annotations, objective="snqn", lea=("state", "reward", "augmented"), reward_mix=1.0)
    for row, action in enumerate(batch.steps.actions.tolist()):
        step = action - 1  # items are numbered by step in this log
        assert batch.steps.augmented[row].tolist() == annotations.augmented[step].tolist()
        assert batch.steps.rewards[row].item() == pytest.approx(1 / (1 + np.exp(-annotations.rewards[step])), abs=1e-6)
    # the state after reading an item is the annotation of the step that follows; after a session's last there is none
    after = dict(zip(batch.items[batch.real].tolist(), batch.states.tolist(), strict=True))
    assert after[1] == pytest.approx(annotations.states[1].tolist())
    assert after[3] == after[5] == [0.0] * 4


def test_columns_that_the_recipe_does_not_name_are_not_used():
    sessions = two_sessions()
    batch = only_batch(sessions, annotations_for(sessions), objective="snqn", lea=("reward",), reward_mix=0.0)
    assert batch.states is None
    assert batch.steps.augmented.shape[1] == 0
    assert sorted(batch.steps.rewards.tolist()) == pytest.approx([0.2, 0.3, 0.5])


def learner_and_batch(small_log, copies=1, mask_seen=True, **settings):
    config = AgentConfig(**{**SMALL, "objective": "snqn", **settings})
    batches = Batches(small_log.training, None, config, "cpu")
    torch.manual_seed(0)
    agents = [Agent(config, small_log.catalog.n_items, 0, torch.tensor([2, 5])) for _ in range(copies)]
    return Learner(agents, ItemSampler(small_log.training.items, 8, "cpu"), mask_seen), batches.epoch(1, 0)[0]


def test_gradients_reach_encoder_actor_and_critic_but_not_the_target_network(small_log):
    learner, batch = learner_and_batch(small_log)
    torch.stack(list(learner.losses(batch).values())).sum().backward()
    silent = [name for name, tensor in learner.agent.named_parameters() if tensor.grad is None]
    assert silent == []
    assert all(tensor.grad is None for tensor in learner.target.parameters())


def test_the_target_network_follows_slowly(small_log):
    learner, _ = learner_and_batch(small_log, target_rate=0.25)
    before = learner.target.actor_bias.clone()
    with torch.no_grad():
        learner.agent.actor_bias += 4.0
    learner.follow()
    torch.testing.assert_close(learner.target.actor_bias, before + 1.0)


def test_values_come_from_the_target_network_at_the_action_the_trained_one_likes_best(small_log):
    learner, batch = learner_and_batch(small_log, dropout=0.0, mask_seen=False)
    with torch.no_grad():
        learner.agent.critic.bias[7] = 100.0  # the trained network likes item 7 best, everywhere
        learner.target.critic.weight.zero_()
        learner.target.critic.bias.copy_(torch.arange(len(learner.target.critic.bias)))
        hidden = learner.agent(batch.items)[batch.real]
        values = learner._values(learner.agent, learner.target, hidden, batch, None)
    assert values.same.unique().tolist() == values.next.unique().tolist() == [7.0]


def values_with_favourite(learner, batch, favourite, drawn=None):
    """Where one item is by far the best for the trained network, and for the target worth 9, all others 0."""
    with torch.no_grad():
        learner.agent.critic.bias[favourite] = 1e6
        learner.target.critic.weight.zero_()
        learner.target.critic.bias.zero_()
        learner.target.critic.bias[favourite] = 9.0
        return learner._values(learner.agent, learner.target, learner.agent(batch.items)[batch.real], batch, drawn)


@pytest.mark.parametrize("impossible", [0, 2, 5])
def test_the_bootstrap_never_picks_padding_nor_a_cold_item(small_log, impossible):
    values = values_with_favourite(*learner_and_batch(small_log, dropout=0.0), impossible)
    assert values.same.max() == values.next.max() == 0


@pytest.mark.parametrize("full", [True, False], ids=["full", "sampled"])
@pytest.mark.parametrize("mask_seen", [True, False])
def test_the_bootstrap_picks_an_item_of_the_history_only_where_it_could_be_recommended(small_log, mask_seen, full):
    n_items = small_log.catalog.n_items
    sizes = {"full_softmax_items": n_items if full else n_items - 1, "n_sampled": 8}
    learner, batch = learner_and_batch(small_log, dropout=0.0, mask_seen=mask_seen, **sizes)
    favourite = int(batch.items[0, 0])
    values = values_with_favourite(learner, batch, favourite, None if full else torch.arange(1, n_items + 1))
    seen = (batch.seen() == favourite).any(1)
    acted = batch.acted.nonzero()[:, 0]
    assert 0 < int(seen.sum()) < len(seen)
    for value, places in ((values.same, acted), (values.next, acted + 1)):
        assert value.tolist() == [0.0 if mask_seen and hit else 9.0 for hit in seen[places].tolist()]


def test_where_every_item_was_seen_there_is_no_best_one():
    agent = Agent(AgentConfig(**{**SMALL, "objective": "snqn"}), 3, 0, torch.tensor([2]))
    hidden, seen = torch.zeros(2, SMALL["hidden_size"]), torch.tensor([[1, 3], [3, 0]])
    assert agent.best_actions(hidden, seen=seen).tolist() == [0, 1]
    assert agent.best_actions(hidden, torch.tensor([1, 3]), seen).tolist() == [0, 1]


def test_what_a_place_has_seen_is_its_window_up_to_itself():
    sessions = Sessions(np.array([0, 3]), np.array([4, 2, 3]), np.zeros(3, int), np.ones(3, np.float32))
    [batch] = Batches(sessions, None, AgentConfig(**SMALL, objective="snqn"), "cpu").epoch(1, 0)
    assert batch.seen().tolist() == [[4, 0, 0], [4, 2, 0], [4, 2, 3]]


def run_training(small_log, folder, quiet, validate, **settings):
    config = AgentConfig(**{**SMALL, "objective": "snqn", "epochs": 4, **settings})
    entry = AgentEntry("x", 0, config)
    return train(entry, small_log, None, folder, device="cpu", reporter=quiet, validate=validate)


class StoppedHereError(Exception):
    """Stands for a kill: nothing after it runs."""


def test_a_stopped_training_ends_with_the_same_weights_as_one_that_was_not(small_log, tmp_path, quiet):
    def validate(agent):
        return {"score": -float(agent.actor_bias.detach().square().sum())}

    calls = 0

    def stopping(agent):
        nonlocal calls
        calls += 1
        if calls == 3:
            raise StoppedHereError
        return validate(agent)

    run_training(small_log, tmp_path / "whole", quiet, validate)
    with pytest.raises(StoppedHereError):
        run_training(small_log, tmp_path / "stopped", quiet, stopping)
    assert list((partial_folder(tmp_path / "stopped") / SCRATCH).iterdir())
    run_training(small_log, tmp_path / "stopped", quiet, validate)
    assert (tmp_path / "whole/agent.safetensors").read_bytes() == (tmp_path / "stopped/agent.safetensors").read_bytes()


def test_the_best_epoch_is_kept_not_the_last(small_log, tmp_path, quiet):
    scores = iter([0.0, 0.5, 0.9, 0.2, 0.1])
    seen = []

    def validate(agent):
        seen.append(agent.actor_bias.detach().clone())
        return {"score": next(scores)}

    notes = run_training(small_log, tmp_path / "agent", quiet, validate)
    assert notes["curves"]["best_epoch"] == 2
    torch.testing.assert_close(load_agent(tmp_path / "agent", "cpu")[0].actor_bias.detach(), seen[2])


def test_training_stops_when_patience_is_over(small_log, tmp_path, quiet, monkeypatch):
    monkeypatch.setattr(stage, "FIRST_BATCHES", 0)
    notes = run_training(small_log, tmp_path / "agent", quiet, lambda agent: {"score": 0.0}, epochs=50, patience=2)
    assert len(notes["curves"]["measures"]) == 3


def test_patience_does_not_end_a_training_within_its_first_batches(small_log, tmp_path, quiet, monkeypatch):
    """Of few sessions, epochs have few batches, and the untrained agent may well be the best of the first ones."""
    monkeypatch.setattr(stage, "FIRST_BATCHES", 21)
    settings = {"batch_size": 8, "epochs": 50, "patience": 2}
    per_epoch = Batches(small_log.training, None, AgentConfig(**{**SMALL, "batch_size": 8}), "cpu").per_epoch
    assert per_epoch < 21
    notes = run_training(small_log, tmp_path / "agent", quiet, lambda agent: {"score": 0.0}, **settings)
    assert len(notes["curves"]["measures"]) - 1 == -(-21 // per_epoch) + 2


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_checkpoint(small_log, tmp_path, quiet):
    from learec.errors import LearecError

    with pytest.raises(LearecError, match="loss '.*' is .* in epoch .*learning_rate"):
        run_training(small_log, tmp_path / "agent", quiet, lambda agent: {"score": 0.0}, learning_rate=1e30, epochs=9, patience=9)
    assert list((partial_folder(tmp_path / "agent") / SCRATCH).iterdir())


def test_scores_of_an_agent_do_not_depend_on_the_padding_or_the_other_rows(small_log, tmp_path, quiet):
    run_training(small_log, tmp_path / "agent", quiet, lambda agent: {"score": 0.0}, epochs=1)
    agent, _ = load_agent(tmp_path / "agent", "cpu")
    alone = agent.scores(np.array([[3, 1, 2]]), np.array([3]))
    padded = agent.scores(np.array([[3, 1, 2, 0, 0], [5, 4, 3, 2, 1]]), np.array([3, 5]))
    np.testing.assert_allclose(alone[0], padded[0], atol=1e-5)


def test_only_the_newest_items_of_a_long_history_are_kept():
    kept, lengths = newest(np.array([[1, 2, 3, 4, 5], [6, 7, 0, 0, 0]]), np.array([5, 2]), 3)
    assert kept.tolist() == [[3, 4, 5], [6, 7, 0]]
    assert lengths.tolist() == [3, 2]


def test_a_log_without_any_action_to_learn_from_is_refused():
    from learec.errors import DataError

    sessions = Sessions(np.array([0, 1, 2]), np.array([1, 2]), np.zeros(2, int), np.ones(2, np.float32))
    with pytest.raises(DataError, match="min_session_events"):
        Batches(sessions, None, AgentConfig(**SMALL), "cpu")


OBJECTIVES = ["supervised", "sqn", "eval", "sac", "snqn", "sa2c"]


@pytest.mark.parametrize("double_q", ["target", "copies"])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_objective_trains_and_a_run_stopped_within_an_epoch_ends_with_the_same_bytes(
    small_log, tmp_path, quiet, monkeypatch, objective, double_q
):
    settings = {"objective": objective, "double_q": double_q, "switch_after": 4, "epochs": 3, "tied": False, "batch_size": 8}

    def validate(agent):
        return {"score": -float(agent.actor_bias.detach().square().sum())}

    run_training(small_log, tmp_path / "whole", quiet, validate, **settings)
    monkeypatch.setattr("learec.fit.CHECKPOINT_SECONDS", -1.0)  # after every batch
    steps, losses = 0, Learner.losses

    def stopping(self, batch):
        nonlocal steps
        steps += 1
        if steps == 7:  # of more than five batches an epoch: past the switch, within an epoch
            raise StoppedHereError
        return losses(self, batch)

    monkeypatch.setattr(Learner, "losses", stopping)
    with pytest.raises(StoppedHereError):
        run_training(small_log, tmp_path / "stopped", quiet, validate, **settings)
    monkeypatch.setattr(Learner, "losses", losses)
    run_training(small_log, tmp_path / "stopped", quiet, validate, **settings)
    assert (tmp_path / "whole/agent.safetensors").read_bytes() == (tmp_path / "stopped/agent.safetensors").read_bytes()
    assert (tmp_path / "whole/manifest.json").read_bytes() == (tmp_path / "stopped/manifest.json").read_bytes()


def test_of_two_copies_a_coin_chooses_which_is_trained_and_only_that_one_gets_gradients(small_log):
    learner, batch = learner_and_batch(small_log, copies=2)
    trained = {"agent": 0, "copy": 0}
    for seed in range(40):
        torch.manual_seed(seed)
        learner.agent.zero_grad(), learner.copy.zero_grad()
        learner.prepare_step()
        torch.stack(list(learner.losses(batch).values())).sum().backward()
        reached = {name for name in trained if getattr(learner, name).actor_bias.grad is not None}
        assert len(reached) == 1
        trained[reached.pop()] += 1
    assert min(trained.values()) >= 10


def test_at_the_switch_the_optimizer_begins_anew_with_its_own_rate(small_log):
    learner, batch = learner_and_batch(small_log, objective="sa2c", switch_after=2, second_learning_rate=0.25)
    for done in range(3):
        learner.prepare_step()
        assert learner.optimizers[0].param_groups[0]["lr"] == (0.25 if done == 2 else 1e-3)
        assert bool(learner.optimizers[0].state) == (done == 1)
        torch.stack(list(learner.losses(batch).values())).sum().backward()
        learner.optimizers[0].step()
        learner.follow()


def test_patience_does_not_end_a_training_before_its_objective_has_changed(small_log, tmp_path, quiet, monkeypatch):
    monkeypatch.setattr(stage, "FIRST_BATCHES", 0)
    settings = {"objective": "sac", "switch_after": 30, "batch_size": 8, "epochs": 50, "patience": 2}
    notes = run_training(small_log, tmp_path / "agent", quiet, lambda agent: {"score": 0.0}, **settings)
    per_epoch = Batches(small_log.training, None, AgentConfig(**{**SMALL, "batch_size": 8}), "cpu").per_epoch
    assert len(notes["curves"]["measures"]) - 1 == -(-30 // per_epoch) + 2


def test_an_untied_actor_has_a_table_of_its_own(small_log, tmp_path, quiet):
    run_training(small_log, tmp_path / "agent", quiet, lambda agent: {"score": 0.0}, epochs=1, tied=False)
    agent, _ = load_agent(tmp_path / "agent", "cpu")
    assert agent.actor_table is agent.actor.weight
    assert agent.actor_table.shape == agent.encoder.items.weight.shape
