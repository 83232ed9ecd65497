"""Evidence within an agent: told without one's own counts, added to logits with trained weights, kept, and served."""

import dataclasses
import json
from functools import partial

import numpy as np
import polars as pl
import pytest
import torch

from learec.agents.agent import Agent, load_agent
from learec.agents.batches import Batches
from learec.agents.evidence import Evidence, Teller, settings_of
from learec.agents.full_softmax import FullActor
from learec.agents.item_product import Scratch
from learec.agents.learner import Learner, optimizers_for
from learec.agents.train import _agents, train
from learec.annotations.annotate import annotate
from learec.annotations.table import Annotations, load_annotations
from learec.annotations.text_environment import TextEnvironment
from learec.config import AgentConfig, AgentEntry, AnnotationsConfig
from learec.data import other_sessions
from learec.data.ease import Explained, item_knn_by_ease
from learec.data.log import Catalog, Log, Part, Sessions
from learec.data.neighbours import SHRINKAGE, UNSEEN, ItemKNN
from learec.data.other_sessions import FOLDS, OtherSessions, as_array
from learec.errors import ConfigError
from learec.sampled_softmax import ItemSampler

SMALL = {"hidden_size": 8, "n_layers": 1, "batch_size": 16, "max_length": 10, "dropout": 0.0}
BOTH = AgentConfig(**SMALL, item_knn=True, lea=("content",))


@pytest.fixture
def annotations(small_log, tmp_path, quiet):
    config = AnnotationsConfig()
    annotate(config, small_log, TextEnvironment.of(small_log, config), "d", tmp_path / "annotations", reporter=quiet)
    return load_annotations(tmp_path / "annotations")


def agent_of(config, log, annotations):
    torch.manual_seed(0)
    evidence = Evidence.of(config, log, annotations)
    return Agent(config, log.catalog.n_items, 0, torch.as_tensor(log.cold_items), evidence=evidence)


def sessions_of(*sessions):
    n = sum(map(len, sessions))
    items = np.array([item for session in sessions for item in session], dtype=np.int32)
    offsets = np.cumsum([0, *map(len, sessions)])
    return Sessions(offsets, items, np.zeros(n, dtype=np.int8), np.ones(n, dtype=np.float32))


BY_EASE = partial(item_knn_by_ease, n_items=8, decay=0.5, regularisation=3.0, named="x")
BY_COSINE = partial(ItemKNN.fit, n_items=8, decay=0.5, shrinkage=1.0)


@pytest.mark.parametrize(
    ("largest", "fit"), [(0, BY_COSINE), (2**20, BY_COSINE), (0, BY_EASE)], ids=["sparse", "in full", "ease"]
)
def test_a_session_is_told_the_counts_of_all_folds_but_its_own(monkeypatch, largest, fit):
    monkeypatch.setattr(other_sessions, "LARGEST", largest)
    rng = np.random.default_rng(0)
    training = sessions_of(*[rng.integers(1, 9, rng.integers(2, 7)).tolist() for _ in range(40)])
    everything = np.ones(training.n_steps, dtype=bool)
    others = OtherSessions.of(training, everything, fit, history=3, seed=1)
    steps = np.arange(training.n_steps)
    assert isinstance(others.similarity, np.ndarray) == (largest > 0)
    found = as_array(others.scores(steps))
    assert sorted(set(others.fold_of.tolist())) == list(range(FOLDS))
    for fold in range(FOLDS):
        other = training.select(others.fold_of[training.session_of] != fold)
        here = steps[others.fold_of[training.session_of] == fold]
        expected = fit(other).scores(*training.histories(here, 3))
        np.testing.assert_allclose(found[here], expected, rtol=1e-6)


@pytest.mark.parametrize("full", [0.0, 1.0], ids=["in full", "sparse"])
def test_what_is_told_of_chosen_items_is_what_is_told_of_all(small_log, annotations, monkeypatch, full):
    monkeypatch.setattr(other_sessions, "FULL", full)
    teller = Teller.of(Evidence.of(BOTH, small_log, annotations), BOTH, small_log, 0)
    told = teller.told(np.arange(20, 60))
    texts, counts = told.rows(slice(0, 40))
    items = torch.randint(0, small_log.catalog.n_items + 1, (40, 7))
    for whole, some in zip((texts, counts), told.at(items), strict=True):
        torch.testing.assert_close(some, whole.gather(1, items))
    np.testing.assert_allclose(counts, np.log(as_array(teller.others.scores(np.arange(20, 60))) / UNSEEN + 1), rtol=1e-5)
    histories = small_log.training.histories(np.arange(20, 60), BOTH.max_length)
    np.testing.assert_allclose(texts, teller.content.scores(*histories), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(told.rows(slice(5, 9))[1], counts[5:9])
    assert counts.any()
    assert texts.any()


@pytest.mark.parametrize("autocast", [False, True], ids=["in blocks", "in one product"])
def test_log_probabilities_and_gradients_are_those_of_the_sum_of_all_three(small_log, annotations, autocast):
    agent = agent_of(BOTH, small_log, annotations).eval()
    steps, hidden = np.arange(20, 60), torch.randn(40, 8, requires_grad=True)
    told = Teller.of(agent.evidence, BOTH, small_log, 0).told(steps)
    blocked = torch.randint(1, small_log.catalog.n_items + 1, (40, 3))
    warm = torch.as_tensor(np.setdiff1d(np.arange(1, small_log.catalog.n_items + 1), small_log.cold_items))
    actions = warm[torch.randint(0, len(warm), (40, 4))]
    actions = torch.where((actions[:, :, None] == blocked[:, None]).any(2), warm[0], actions)
    blocked = torch.where(blocked == warm[0], 0, blocked)
    trained = [hidden, agent.evidence.weights, agent.item_embedding.weight, agent.actor_bias]
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        found = FullActor(agent, hidden, Scratch(), told, blocked)(actions)
        mine = torch.autograd.grad(found.sum(), trained)
    texts, counts = told.rows(slice(None))
    whole = agent.logits(hidden) + agent.evidence.weights[0] * texts + agent.evidence.weights[1] * counts
    expected = whole.scatter(1, blocked, -torch.inf).log_softmax(1).gather(1, actions)
    theirs = torch.autograd.grad(expected.sum(), trained)
    within = {"rtol": 0.05, "atol": 0.15} if autocast else {"rtol": 1e-4, "atol": 1e-4}
    torch.testing.assert_close(found, expected, **within)
    for one, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one, other, **within)


@pytest.mark.parametrize(("decay", "shrinkage"), [(0.8, SHRINKAGE), (0.5, 3.0)])
def test_an_agent_that_has_learnt_nothing_ranks_as_the_rule_does_where_its_rows_say_nothing(
    small_log, annotations, decay, shrinkage
):
    asked = BOTH.replaced({"knn_decay": decay, "knn_shrinkage": shrinkage, "evidence_weights": (2.0, 3.0)})
    agent = agent_of(asked, small_log, annotations)
    torch.nn.init.zeros_(agent.item_embedding.weight)
    histories, lengths = small_log.training.histories(np.arange(1, 40), 10)
    rule = agent.evidence.rule()
    assert (rule.text_weight, rule.knn_weight, rule.content.decay, rule.knn.decay) == (*asked.evidence_weights, decay, decay)
    expected, found = rule.scores(histories, lengths), agent.scores(histories, lengths)
    possible = np.isfinite(found)
    np.testing.assert_allclose(found[possible], expected[possible], rtol=1e-5)
    assert not possible[:, [0, *small_log.cold_items]].any()
    similarity = ItemKNN.fit(small_log.training, small_log.catalog.n_items, decay, shrinkage).similarity
    np.testing.assert_array_equal(rule.knn.similarity.toarray(), similarity.toarray())
    stored = Evidence.stored(asked, agent.evidence.tables()).rule()
    np.testing.assert_array_equal(stored.scores(histories, lengths), expected)


def test_an_agent_that_counts_by_ease_has_its_weights_and_says_so(small_log, annotations):
    asked = BOTH.replaced({"knn_similarity": "ease", "ease_regularisation": 7.0})
    evidence = agent_of(asked, small_log, annotations).evidence
    expected = item_knn_by_ease(small_log.training, small_log.catalog.n_items, 0.8, 7.0, named="x").similarity
    assert expected.nnz
    np.testing.assert_array_equal(evidence.rule().knn.similarity.toarray(), expected.toarray())
    histories = small_log.training.histories(np.arange(1, 40), 10)
    stored = Evidence.stored(asked, evidence.tables()).rule()
    np.testing.assert_array_equal(stored.scores(*histories), evidence.rule().scores(*histories))
    assert settings_of(asked)["evidence"]["regularisation"] == 7.0
    assert "shrinkage" not in settings_of(asked)["evidence"]
    assert "regularisation" not in settings_of(BOTH)["evidence"]


@pytest.mark.parametrize("placebo", [None, "text"])
def test_an_agent_that_counts_by_cease_explains_the_texts_that_it_reads(small_log, annotations, placebo):
    texts = {"knn_similarity": "ease", "ease_regularisation": 7.0, "ease_text_weight": 5.0}
    asked = BOTH.replaced(texts if placebo is None else {**texts, "placebo": placebo})
    vectors = np.roll(annotations.item_vectors, 1, axis=1)  # the caller gives a placebo's in their place
    given = annotations if placebo is None else dataclasses.replace(annotations, item_vectors=vectors)
    evidence = agent_of(asked, small_log, given).evidence
    n_items = small_log.catalog.n_items
    explained = Explained(np.array(given.item_vectors, dtype=np.float32), 5.0)
    expected = item_knn_by_ease(small_log.training, n_items, 0.8, 7.0, explained, named="x").similarity
    np.testing.assert_array_equal(evidence.rule().knn.similarity.toarray(), expected.toarray())
    without = item_knn_by_ease(small_log.training, n_items, 0.8, 7.0, named="x").similarity
    assert abs(expected - without).max() > 0.01
    others = Teller.of(evidence, asked, small_log, 0).others
    part = small_log.training.select(others.fold_of[small_log.training.session_of] != 0)
    of_first = as_array(others.similarity[: n_items + 1])
    np.testing.assert_array_equal(of_first, item_knn_by_ease(part, n_items, 0.8, 7.0, explained, named="x").similarity.toarray())
    assert settings_of(asked)["evidence"]["text_weight"] == 5.0
    with pytest.raises(ConfigError, match="ease_text_weight is of the texts that lea content reads"):
        asked.replaced({"knn_similarity": "cosine"})


def test_ease_without_item_knn_and_ease_of_too_many_items_are_refused(small_log, tmp_path, quiet, monkeypatch):
    with pytest.raises(ConfigError, match="knn_similarity ease says how item_knn counts, and item_knn is off"):
        AgentConfig(**SMALL).replaced({"knn_similarity": "ease"})
    monkeypatch.setattr("learec.agents.train.MOST_ITEMS", 5)
    config = AgentConfig(**SMALL, item_knn=True, knn_similarity="ease")
    with pytest.raises(ConfigError, match=r"agent a: knn_similarity has 'ease', whose matrix .* 5 at most; leave it at 'cosine'"):
        train(
            AgentEntry("a", 0, config), small_log, None, tmp_path / "a", device="cpu", reporter=quiet,
            validate=lambda agent: {"NDCG@10": 0.0},
        )  # fmt: skip


@pytest.mark.parametrize("placebo", [None, "random"])
def test_seen_items_are_no_alternative_but_a_positive_action_always_is(placebo):
    """Sessions longer than a window, with repeats, and augmented actions that a placebo drew among seen items."""
    rng = np.random.default_rng(0)
    training = sessions_of(*[rng.integers(1, 9, rng.integers(2, 30)).tolist() for _ in range(30)])
    log = a_log(training, 8)
    config = AgentConfig(**SMALL, item_knn=True, lea=("augmented",) if placebo else ())
    agent = agent_of(config, log, None)
    learner = Learner([agent], ItemSampler(training.items, 8, "cpu"), True, Teller.of(agent.evidence, config, log, 0))
    n_free = 0
    for batch in Batches(training, drawn_annotations(training, 8) if placebo else None, config, "cpu").epoch(0, 0):
        blocked = learner._blocked(batch)
        for row, number in enumerate(batch.numbers.tolist()):
            start = training.offsets[training.session_of[number]]
            before = set(training.items[start:number].tolist())
            positive = {int(training.items[number]), *batch.steps.augmented[row].tolist()}
            n_free += bool(before & positive)
            assert set(blocked[row].tolist()) - {0} == before - positive
        told = learner.teller.told(batch.numbers)
        log_prob = FullActor(agent, torch.randn(len(batch.numbers), 8), Scratch(), told, blocked)
        assert log_prob(torch.cat([batch.steps.actions[:, None], batch.steps.augmented], 1).clamp(min=1)).max() <= 1e-5 or placebo
        learner.losses(batch)["ce"].backward()
    assert n_free > 20, "items were taken again"
    learner.mask_seen = False
    assert learner._blocked(batch) is None


def test_what_is_blocked_reaches_the_loss():
    training = sessions_of(*[[1, 2, 3, 4]] * 12)
    config = AgentConfig(**SMALL, item_knn=True)
    log = a_log(training, 4)
    agent = agent_of(config, log, None)
    teller = Teller.of(agent.evidence, config, log, 0)
    batch = Batches(training, None, config, "cpu").epoch(0, 0)[0]
    losses = [
        Learner([agent], ItemSampler(training.items, 4, "cpu"), mask_seen, teller).losses(batch)["ce"].item()
        for mask_seen in (True, False)
    ]
    assert losses[0] < losses[1] - 0.1, "fewer alternatives"


def a_log(training, n_items):
    table = pl.DataFrame({"item_id": [str(n) for n in range(1, n_items + 1)], "title": [""] * n_items, "text": [""] * n_items})
    ids = pl.Series([str(n) for n in range(training.n_sessions)])
    return Log(Catalog(table), training, np.full(training.n_steps, Part.TRAIN, np.uint8), ids, ["event"], "digest")


def drawn_annotations(training, n_items):
    rng, n = np.random.default_rng(1), training.n_steps
    return Annotations(
        states=np.zeros((n, 2), np.float32), rewards=np.zeros(n, np.float32),
        augmented=rng.integers(1, n_items + 1, (n, 2)).astype(np.int32), augmented_scores=np.zeros((n, 2), np.float32),
        augmented_rewards=np.zeros((n, 2), np.float32), annotated=np.ones(n, bool),
        item_vectors=np.eye(n_items + 1, dtype=np.float32), digest="d",
    )  # fmt: skip


def test_parts_of_a_batch_keep_the_numbers_of_their_steps(small_log, annotations):
    batch = Batches(small_log.training, annotations, BOTH, "cpu").epoch(0, 0)[0]
    parts = [batch.part(process, 3) for process in range(3)]
    assert sorted(np.concatenate([part.numbers for part in parts]).tolist()) == sorted(batch.numbers.tolist())
    for part in parts:
        assert small_log.training.items[part.numbers].tolist() == part.steps.actions.tolist()


def test_weights_of_evidence_have_a_learning_rate_of_their_own_and_keep_it(small_log, annotations):
    config = AgentConfig(**SMALL, item_knn=True, lea=("content",), objective="sa2c", switch_after=1)
    agents = [agent_of(config, small_log, annotations)]
    [optimizer] = optimizers_for(agents)
    learner = Learner(agents, ItemSampler(small_log.training.items, 8, "cpu"), True)
    learner.batches_done += 5
    learner.prepare_step()
    rates = {id(p): group["lr"] for group in learner.optimizers[0].param_groups for p in group["params"]}
    assert rates[id(agents[0].evidence.weights)] == config.evidence_learning_rate
    assert rates[id(agents[0].actor_bias)] == config.second_learning_rate
    held = [p for group in optimizer.param_groups for p in group["params"]]
    assert len({id(p) for p in held}) == len(held) == len(list(agents[0].parameters())), "every parameter once"


@pytest.mark.parametrize("objective", ["supervised", "snqn"])
@pytest.mark.parametrize("encoder", ["sasrec", "gru4rec"])
def test_a_trained_agent_moves_its_weights_and_scores_the_same_when_opened_again(
    small_log, annotations, tmp_path, quiet, objective, encoder
):
    config = replace_config(BOTH, objective=objective, encoder=encoder, epochs=2)
    measured = []

    def validate(agent):
        histories = small_log.training.histories(np.arange(1, 30), 10)
        measured.append(agent.scores(*histories))
        return {"NDCG@10": float(len(measured))}  # the last epoch is the best one

    train(AgentEntry("a", 0, config), small_log, annotations, tmp_path / "a", device="cpu", reporter=quiet, validate=validate)
    agent, manifest = load_agent(tmp_path / "a", "cpu")
    assert agent.evidence.weights.tolist() != list(config.evidence_weights)
    assert [manifest.notes["evidence"][name] for name in ("text_weight", "knn_weight")] == agent.evidence.weights.tolist()
    np.testing.assert_array_equal(agent.scores(*small_log.training.histories(np.arange(1, 30), 10)), measured[-1])
    assert manifest.request.config["item_knn"] is True


def replace_config(config, **settings):
    return config.replaced(settings)


def test_counts_alone_need_no_annotations_and_an_agent_without_evidence_asks_for_what_it_did(small_log, tmp_path, quiet):
    config = AgentConfig(**SMALL, item_knn=True, epochs=1)
    train(
        AgentEntry("a", 0, config), small_log, None, tmp_path / "a", device="cpu", reporter=quiet,
        validate=lambda agent: {"NDCG@10": 0.0},
    )  # fmt: skip
    agent, _ = load_agent(tmp_path / "a", "cpu")
    assert agent.evidence.rule().content.vectors.shape[1] == 0
    assert agent.evidence.rule().knn.similarity.nnz
    asked = AgentConfig(**SMALL).model_dump(mode="json")
    assert "item_knn" not in asked
    assert "evidence_learning_rate" not in asked


def test_text_alone_has_no_neighbours(small_log, annotations):
    evidence = Evidence.of(AgentConfig(**SMALL, lea=("content",)), small_log, annotations)
    assert evidence.rule().knn.similarity.nnz == 0
    assert evidence.rule().content.vectors.shape == annotations.item_vectors.shape
    assert Evidence.of(AgentConfig(**SMALL, lea=("items",)), small_log, annotations) is None


def test_a_catalog_whose_softmax_is_sampled_is_refused(small_log, tmp_path, quiet):
    config = AgentConfig(**SMALL, item_knn=True, full_softmax_items=5)
    with pytest.raises(ConfigError, match="item_knn and content are added to the logits of all items"):
        train(
            AgentEntry("a", 0, config), small_log, None, tmp_path / "a", device="cpu", reporter=quiet,
            validate=lambda agent: {"NDCG@10": 0.0},
        )  # fmt: skip


def test_a_placebo_of_one_of_two_columns_that_share_vectors_is_refused():
    with pytest.raises(ValueError, match="read the same item vectors"):
        AgentConfig(lea=("items", "content"), placebo="text", placebo_columns=("content",))
    assert AgentConfig(lea=("items", "content"), placebo="text").replaced_columns == ("items", "content")


def test_weights_are_among_what_a_checkpoint_holds(small_log, annotations):
    learner = Learner([agent_of(BOTH, small_log, annotations)], ItemSampler(small_log.training.items, 8, "cpu"), True)
    assert "agent.evidence.weights" in learner.tensors()
    assert json.dumps(sorted(learner.tensors())).count("evidence") == 1, "what is not trained is not written at every epoch"


def test_two_copies_and_a_target_share_the_tables_and_not_the_weights(small_log, annotations):
    config = BOTH.replaced({"objective": "sqn", "double_q": "copies"})
    first, second = _agents(config, small_log, 0, annotations, "cpu")
    assert first.evidence.rule().knn is second.evidence.rule().knn
    assert first.evidence.weights is not second.evidence.weights
    agent = agent_of(BOTH.replaced({"objective": "sqn"}), small_log, annotations)
    learner = Learner([agent], ItemSampler(small_log.training.items, 8, "cpu"), True)
    assert learner.target.evidence.rule().knn is agent.evidence.rule().knn
