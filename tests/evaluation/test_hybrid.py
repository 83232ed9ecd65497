"""Hybrids: what is added up, and that validation alone chooses the weights."""

import dataclasses

import numpy as np
import pytest
from scipy import sparse

from learec.data.ease import Explained, item_knn_by_ease
from learec.data.log import Part
from learec.data.neighbours import UNSEEN, ContentKNN, ItemKNN, Rule, unit_rows
from learec.evaluation.evaluate import Contestant
from learec.evaluation.floors import Floor
from learec.evaluation.hybrid import KNN_WEIGHTS, TEXT_WEIGHTS, Hybrid, hybrid_of, names_beside, rule_of, rules_beside
from learec.evaluation.literature import EASE
from learec.evaluation.metrics import ndcg, ranks


class Noise:
    """An agent that knows nothing: scores by the history's last item, the same for the same history."""

    def __init__(self, n_items, scale=1.0):
        self.table = np.random.default_rng(3).normal(0, scale, (n_items + 1, n_items + 1)).astype(np.float32)

    def scores(self, histories, lengths):
        return self.table[histories[np.arange(len(histories)), lengths - 1]]


class Oracle:
    """An agent that knows what comes next in every session where the last item tells it."""

    def __init__(self, log, part):
        self.table = np.zeros((log.catalog.n_items + 1,) * 2, dtype=np.float32)
        targets = log.targets(part)
        self.table[log.sessions.items[targets - 1], log.sessions.items[targets]] = 1

    def scores(self, histories, lengths):
        return self.table[histories[np.arange(len(histories)), lengths - 1]]


def a_rule(log, vectors=None):
    vectors = np.eye(log.catalog.n_items + 1, dtype=np.float32) if vectors is None else vectors
    knn = ItemKNN.fit(log.training, log.catalog.n_items, 0.8, 0.0)
    return Rule(ContentKNN(vectors, 0.8), knn, 4.0)


def validation(scorer, log):
    return ndcg(ranks(scorer, log.sessions, log.targets(Part.VALIDATION), mask_seen=True, max_length=200), 10).mean()


def test_scores_are_logits_and_weighted_evidence_by_hand():
    cosines = sparse.csr_array(np.array([[0, 0, 0], [0, 0, 0.5], [0, 0.5, 0]], dtype=np.float32))
    vectors = np.array([[0, 0], [1, 0], [0.6, 0.8]], dtype=np.float32)
    rule = Rule(ContentKNN(vectors, 0.8), ItemKNN(cosines, 0.8), text_weight=2.0, knn_weight=3.0)
    agent = Noise(2)
    found = Hybrid(agent, rule).scores(np.array([[1]]), np.array([1]))[0]
    wanted = agent.table[1] + [
        0 + 3 * np.log(UNSEEN), 2 * 1 + 3 * np.log(UNSEEN), 2 * 0.6 + 3 * np.log(0.5 + UNSEEN),
    ]  # fmt: skip
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_the_chosen_weights_reach_what_is_said_and_nothing_tried_is_better(small_log):
    agent, rule = Noise(small_log.catalog.n_items), a_rule(small_log)
    found = hybrid_of(agent, [Floor(rule, {})], small_log, mask_seen=True, seed=0)
    assert found.validation == pytest.approx(validation(found, small_log))
    for text in TEXT_WEIGHTS:
        for knn in KNN_WEIGHTS:
            other = Hybrid(agent, dataclasses.replace(rule, text_weight=text, knn_weight=knn))
            assert found.validation >= validation(other, small_log) - 1e-9
    assert found.validation > validation(agent, small_log)
    assert found.rule.knn_weight > 0


def test_validation_chooses_and_the_test_part_has_no_say(small_log):
    rule = a_rule(small_log)
    knows = hybrid_of(Oracle(small_log, Part.VALIDATION), [Floor(rule, {})], small_log, mask_seen=True, seed=0)
    assert knows.validation > validation(rule, small_log)
    test_items = small_log.sessions.items.copy()
    targets = small_log.targets(Part.TEST)
    test_items[targets] = np.random.default_rng(0).permutation(test_items[targets])
    other = dataclasses.replace(small_log, sessions=dataclasses.replace(small_log.sessions, items=test_items))
    agent = Noise(small_log.catalog.n_items)
    chosen = [hybrid_of(agent, [Floor(rule, {})], log, mask_seen=True, seed=0).chosen for log in (small_log, other)]
    assert chosen[0] == chosen[1]


def test_without_item_vectors_texts_have_no_weight(small_log):
    nothing = np.zeros((small_log.catalog.n_items + 1, 0), dtype=np.float32)
    found = hybrid_of(
        Noise(small_log.catalog.n_items), [Floor(a_rule(small_log, nothing), {})], small_log, mask_seen=True, seed=0
    )
    assert found.rule.text_weight == 0
    assert found.validation == pytest.approx(validation(found, small_log))


def test_of_many_targets_as_many_are_asked_as_the_bound_says_and_the_seed_says_which(small_log, monkeypatch):
    monkeypatch.setattr("learec.evaluation.floors.MOST_TARGETS", 20)
    asked = []

    class Counted(Noise):
        def scores(self, histories, lengths):
            asked[-1].extend(map(tuple, histories.tolist()))
            return super().scores(histories, lengths)

    for seed in (1, 1, 2):
        asked.append([])
        hybrid_of(Counted(small_log.catalog.n_items), [Floor(a_rule(small_log), {})], small_log, mask_seen=True, seed=seed)
    first, same, other = ([[item for item in row if item] for row in rows] for rows in asked)
    assert len(first) == 20 < len(small_log.targets(Part.VALIDATION))
    assert first == same != other


def test_a_hybrid_is_a_row_of_its_own_kind(small_log):
    rule = a_rule(small_log)
    agent = Noise(small_log.catalog.n_items)
    kinds = [Contestant("a", seed, "", scorer).kind for seed, scorer in ((None, rule), (0, agent), (0, Hybrid(agent, rule)))]
    assert kinds == ["floor", "agent", "hybrid"]


def test_beside_an_agent_may_stand_the_rules_of_the_model_and_of_words_else_counts_alone(small_log):
    rule = a_rule(small_log)
    counts = Floor(rule.knn, {})
    floors = {"popularity": Floor(None, {}), "item_knn": counts, "tfidf_rule": Floor(rule, {}), "rule": Floor(rule, {})}
    for names in (["rule", "tfidf_rule"], ["tfidf_rule"], ["item_knn"]):
        assert names_beside(floors) == names
        del floors[names[0]]
    assert rule_of(Floor(rule, {})) is rule
    alone = rule_of(counts)
    assert (alone.knn, alone.content.vectors.shape) == (rule.knn, (small_log.catalog.n_items + 1, 0))


def test_an_ease_may_stand_in_the_place_of_cosines_and_validation_says_whether(small_log):
    rule, n_items = a_rule(small_log), small_log.catalog.n_items
    of_rule = {"knn_decay": 0.8, "knn_shrinkage": 0.0, "text_decay": 0.8, "text_weight": 4.0}
    fitted = EASE.fit(small_log.training, n_items, 5.0, 0.7, Explained(rule.content.vectors, 2.0))
    of_ease = {"ease_regularisation": 5.0, "ease_text_weight": 2.0, "ease_decay": 0.7}
    floors = {"item_knn": Floor(rule.knn, {}), "tfidf_rule": Floor(rule, of_rule), "tfidf_cease": Floor(fitted, of_ease)}
    [plain, other] = rules_beside(floors)
    assert (plain.scorer, plain.settings) == (rule, of_rule)
    assert other.settings == {**of_ease, "text_decay": 0.8}
    assert other.scorer.content is rule.content
    expected = item_knn_by_ease(small_log.training, n_items, 0.7, 5.0, Explained(rule.content.vectors, 2.0), named="x")
    np.testing.assert_array_equal(other.scorer.knn.similarity.toarray(), expected.similarity.toarray())
    agent = Noise(n_items)
    alone = [hybrid_of(agent, [one], small_log, mask_seen=True, seed=0) for one in (plain, other)]
    both = hybrid_of(agent, [plain, other], small_log, mask_seen=True, seed=0)
    best = max(alone, key=lambda one: one.validation)
    assert alone[0].validation != alone[1].validation
    assert both.chosen == best.chosen
    assert both.rule.knn is best.rule.knn
    assert rules_beside({name: floors[name] for name in ("item_knn", "tfidf_rule")}) == [plain]


def test_validation_chooses_whose_texts_stand_beside_an_agent(small_log):
    rule, n_items = a_rule(small_log), small_log.catalog.n_items
    speaking = ContentKNN(unit_rows(rule.knn.similarity.toarray()), rule.content.decay)
    rule = dataclasses.replace(
        rule, content=speaking, knn=dataclasses.replace(rule.knn, similarity=sparse.csr_array((n_items + 1,) * 2))
    )
    silent = dataclasses.replace(rule, content=ContentKNN(np.roll(speaking.vectors, 5, axis=0), speaking.decay))
    floors = {"rule": Floor(silent, {"knn_decay": 0.8}), "tfidf_rule": Floor(rule, {"knn_decay": 0.8, "tfidf_size": 9})}
    both = rules_beside(floors)
    assert [one.scorer for one in both] == [silent, rule]
    agent = Noise(n_items)
    alone = [hybrid_of(agent, [one], small_log, mask_seen=True, seed=0) for one in both]
    assert alone[1].validation > alone[0].validation
    assert hybrid_of(agent, both, small_log, mask_seen=True, seed=0).chosen == alone[1].chosen


def test_beside_counts_alone_stands_ease_without_texts(small_log):
    knn = a_rule(small_log).knn
    fitted = EASE.fit(small_log.training, small_log.catalog.n_items, 5.0, 0.7)
    floors = {"item_knn": Floor(knn, {}), "ease": Floor(fitted, {"ease_regularisation": 5.0, "ease_decay": 0.7})}
    assert [one.scorer.content.vectors.shape[1] for one in rules_beside(floors)] == [0, 0]
    assert rules_beside(floors)[1].scorer.knn.decay == 0.7
