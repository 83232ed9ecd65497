"""Which floors stand in a table, and that validation chooses their settings."""

import dataclasses
import itertools
import weakref

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

from learec.config import FLOORS, EvaluationConfig
from learec.data.ease import Explained
from learec.data.log import Catalog, Part, Sessions
from learec.data.neighbours import ContentKNN, Rule
from learec.data.tfidf import fewer_directions
from learec.evaluation.floors import (
    DESCRIPTIONS,
    Floor,
    OnValidation,
    choosing_targets,
    first,
    floors,
    left_out,
    n_tried,
    tfidf_of,
)
from learec.evaluation.literature import EASE
from learec.evaluation.metrics import HISTORY, ndcg, ranks
from learec.evaluation.recency import Recency

# [1, 2, 3], [2, 4], [1, 1, 4], [5]
TRAINING = Sessions(np.array([0, 3, 5, 8, 9]), np.array([1, 2, 3, 2, 4, 1, 1, 4, 5]), np.zeros(9, int), np.ones(9, np.float32))


def on(log, **given):
    return OnValidation.of(log, mask_seen=True, seed=0, **given)


def validation_of(scorer, log):
    rank = ranks(scorer, log.sessions, log.targets(Part.VALIDATION), mask_seen=True, max_length=HISTORY)
    return float(ndcg(rank, 10).mean())


def test_every_floor_that_a_recipe_may_compare_is_made_and_described():
    eye = np.eye(6, dtype=np.float32)
    found = floors(EvaluationConfig(), TRAINING, 5, eye, tfidf=eye, choose=first)
    assert found.keys() == FLOORS == DESCRIPTIONS.keys()
    for floor in found.values():
        assert floor.scorer.scores(np.array([[1, 2], [3, 0]]), np.array([2, 1])).shape == (2, 6)


def test_floors_take_their_settings_from_the_recipe():
    config = EvaluationConfig(sknn_neighbours=1, sknn_sample=2, ease_regularisation=3.0, ease_decay=0.5, recency_half_life=0.5)
    recency = Recency(np.array([1, 1, 1, 0, 0, 0.5, 0.5, 0.5, 1]), np.array([4, 3, 2, 1]))
    found = floors(config, TRAINING, 5, None, recency, choose=first)
    assert found["recent_popularity"].scorer.counts.tolist() == [0, 1 / 4 + 1 / 2 + 1 / 2, 1 / 4 + 1, 1 / 4, 1 + 1 / 2, 1 / 4]
    assert (found["v_sknn"].scorer.neighbours, found["v_sknn"].scorer.sample, found["ease"].scorer.decay) == (1, 2, 0.5)
    np.testing.assert_allclose(found["ease"].scorer.weights, EASE.fit(TRAINING, 5, 3.0, 0.5).weights)
    assert found["v_sknn"].scorer.scores(np.array([[1, 2]]), np.array([2])).tolist() == [[0, 6, 6, 6, 0, 0]]


def test_floors_without_what_they_need_are_left_out_with_the_reason():
    config = EvaluationConfig(ease_items=4)
    found = floors(config, TRAINING, 5, None, choose=first)
    reasons = left_out(config, 5, has_vectors=False, has_texts=False)
    assert found.keys() | reasons.keys() == FLOORS
    assert not found.keys() & reasons.keys()
    assert left_out(EvaluationConfig(), 20_000, has_vectors=True, has_texts=True) == {}
    told = "55,368 items are more than ease_items = 20,000 in [evaluation], and its matrix would take 12.3 GB"
    without = left_out(EvaluationConfig(), 55_368, has_vectors=True, has_texts=True)
    assert without == dict.fromkeys(("ease", "cease", "tfidf_cease"), told)


def test_words_alone_stand_in_the_tfidf_rule_and_catalogs_without_any_have_none(small_log):
    vectors = tfidf_of(small_log, 1024)
    assert vectors.shape[0] == small_log.catalog.n_items + 1
    rule = floors(EvaluationConfig(), small_log.training, small_log.catalog.n_items, None, tfidf=vectors, choose=first)[
        "tfidf_rule"
    ].scorer
    np.testing.assert_array_equal(rule.content.vectors, vectors)
    silent = Catalog(small_log.catalog.table.with_columns(text=pl.lit("")))
    assert tfidf_of(dataclasses.replace(small_log, catalog=silent), 1024) is None
    assert left_out(EvaluationConfig(), 200_000, has_vectors=True, has_texts=True)["tfidf_rule"].startswith("200,000 items")


def test_of_several_settings_validation_chooses_for_every_floor_by_itself(small_log):
    tried = []
    config, n_items, words = EvaluationConfig(), small_log.catalog.n_items, tfidf_of(small_log, 1024)
    chosen = floors(
        config, small_log.training, n_items, words, tfidf=words, choose=on(small_log, advance=lambda: tried.append(1))
    )
    assert len(tried) == n_tried(config, n_items, has_vectors=True, tfidf=words)
    settings = {
        "recent_popularity": ["recency_half_life"],
        "item_knn": ["knn_decay", "knn_shrinkage"],
        "v_sknn": ["sknn_neighbours", "sknn_sample"],
        "ease": ["ease_regularisation", "ease_decay"],
        "content_knn": ["knn_decay"],
    }
    for name, fields in settings.items():
        by_hand = {}
        for values in itertools.product(*(getattr(config, field) for field in fields)):
            alone = EvaluationConfig(**dict(zip(fields, values, strict=True)))
            made = floors(alone, small_log.training, n_items, words, choose=first)
            by_hand[values] = validation_of(made[name].scorer, small_log)
        found = chosen[name]
        assert found.validation == max(by_hand.values()) == by_hand[tuple(found.settings[field] for field in fields)]
        assert found.tried == len(by_hand)
        assert list(by_hand)[list(by_hand.values()).index(found.validation)] == tuple(found.settings.values())


def test_the_rules_read_the_chosen_counts_and_choose_how_they_read_texts(small_log):
    config, words = EvaluationConfig(tfidf_size=(9, 3)), tfidf_of(small_log, 9)
    chosen = floors(config, small_log.training, small_log.catalog.n_items, None, tfidf=words, choose=on(small_log))
    rule, counted = chosen["tfidf_rule"], chosen["item_knn"]
    assert rule.scorer.knn is counted.scorer
    size = rule.scorer.content.vectors.shape[1]
    assert rule.settings == {
        **counted.settings, "tfidf_size": size, "text_decay": rule.scorer.content.decay, "text_weight": rule.scorer.text_weight,
    }  # fmt: skip
    by_hand = {
        (size, decay, weight): validation_of(Rule(ContentKNN(vectors, decay), counted.scorer, weight), small_log)
        for size, vectors in ((9, words), (3, fewer_directions(words, 3)))
        for decay in config.knn_decay
        for weight in config.text_weight
    }
    best = by_hand[size, rule.settings["text_decay"], rule.settings["text_weight"]]
    assert rule.validation == best == max(by_hand.values())
    assert (rule.tried, {size for size, *_ in by_hand}) == (len(by_hand), {9, 3})
    assert max(value for (size, *_), value in by_hand.items() if size == 9) != max(
        value for (size, *_), value in by_hand.items() if size == 3
    )
    assert chosen["tfidf_cease"].settings["tfidf_size"] == size


def test_where_texts_have_fewer_directions_than_were_asked_for_no_size_is_ranked_twice(small_log):
    config, words = EvaluationConfig(tfidf_size=(1024, 512, 3)), tfidf_of(small_log, 1024)
    assert words.shape[1] < 512
    chosen = floors(config, small_log.training, small_log.catalog.n_items, None, tfidf=words, choose=on(small_log))["tfidf_rule"]
    assert chosen.tried == 2 * len(config.knn_decay) * len(config.text_weight)
    assert chosen.settings["tfidf_size"] in (words.shape[1], 3)


def test_cease_has_the_chosen_regularisation_and_chooses_how_much_texts_weigh(small_log):
    config, words = EvaluationConfig(ease_decay=(0.9, 0.7), tfidf_size=1024), tfidf_of(small_log, 1024)
    log, n_items = small_log, small_log.catalog.n_items
    chosen = floors(config, log.training, n_items, words[:, :4], tfidf=words, choose=on(log))
    regularisation = chosen["ease"].settings["ease_regularisation"]
    for name, vectors in (("cease", words[:, :4]), ("tfidf_cease", words)):
        by_hand = {
            (weight, decay): EASE.fit(log.training, n_items, regularisation, decay, Explained(vectors, weight))
            for weight in config.ease_text_weight
            for decay in config.ease_decay
        }
        found = chosen[name]
        values = {settings: validation_of(scorer, log) for settings, scorer in by_hand.items()}
        assert (found.validation, found.tried) == (max(values.values()), 6)
        settings = found.settings["ease_text_weight"], found.settings["ease_decay"]
        assert (values[settings], found.settings["ease_regularisation"]) == (found.validation, regularisation)
        np.testing.assert_array_equal(found.scorer.weights, by_hand[settings].weights)


def popularities(log):
    scorer = floors(EvaluationConfig(), log.training, log.catalog.n_items, None, choose=first)["popularity"].scorer
    return [({"number": float(number)}, scorer) for number in range(3)]


def test_the_first_stands_where_validation_cannot_tell_and_says_so_where_it_was_not_asked(small_log):
    candidates = popularities(small_log)
    level = on(small_log)(candidates)
    assert (level.settings, level.tried) == ({"number": 0.0}, 3)
    no_targets = dataclasses.replace(small_log, parts=np.full_like(small_log.parts, Part.TRAIN))
    advanced = []
    for chosen in (
        on(no_targets, advance=lambda: advanced.append(1))(candidates),
        on(small_log, advance=lambda: advanced.append(1))(candidates[:1]),
        first(candidates),
    ):
        assert (chosen.settings, chosen.tried, chosen.validation) == ({"number": 0.0}, 1, None)
    assert len(advanced) == 2


def test_validation_chooses_on_as_many_targets_as_the_bounds_say_and_masks_as_the_recipe_does(small_log, monkeypatch):
    scorer = popularities(small_log)[0][1]
    free = OnValidation.of(small_log, mask_seen=False, seed=0)([({}, scorer)] * 2).validation
    rank = ranks(scorer, small_log.sessions, small_log.targets(Part.VALIDATION), mask_seen=False, max_length=HISTORY)
    assert free == float(ndcg(rank, 10).mean()) != on(small_log)([({}, scorer)] * 2).validation
    assert len(choosing_targets(small_log, 0)) == len(small_log.targets(Part.VALIDATION))
    monkeypatch.setattr("learec.evaluation.floors.MOST_TARGETS", 20)
    assert len(set(choosing_targets(small_log, 0))) == 20
    monkeypatch.setattr("learec.evaluation.floors.FEWEST_TARGETS", 5)
    monkeypatch.setattr("learec.evaluation.floors.MOST_SCORES", 10 * small_log.catalog.n_items)
    assert len(choosing_targets(small_log, 0)) == 10


@pytest.mark.parametrize("words", [False, True])
def test_no_more_matrices_of_ease_are_held_than_are_chosen_and_two_while_one_is(small_log, words):
    gone, held = [], []

    def fit(*given):
        weights = np.zeros((small_log.catalog.n_items + 1,) * 2, np.float32)
        weakref.finalize(weights, gone.append, 1)
        held.append(len(held) + 1 - len(gone))
        return EASE(weights, given[3])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EASE, "fit", fit)
        texts = tfidf_of(small_log, 1024) if words else None
        floors(EvaluationConfig(), small_log.training, small_log.catalog.n_items, None, tfidf=texts, choose=on(small_log))
    assert held == ([1, 2, 2, 2, 3, 3] if words else [1, 2, 2])


def test_a_floor_tells_its_settings_and_of_how_many_they_are_the_best(small_log):
    assert Floor(None, {}).told == ""
    assert Floor(None, {"knn_decay": 0.8, "knn_shrinkage": 20.0}).told == " (knn_decay 0.8, knn_shrinkage 20)"
    assert Floor(None, {"text_weight": 2.0}, 5, 0.1).told == " (text_weight 2, the best of 5 on validation)"


def test_a_recipe_may_write_one_value_or_several_that_differ():
    assert EvaluationConfig(knn_decay=0.5, text_weight=[1, 2]).model_dump(include={"knn_decay", "text_weight"}) == {
        "knn_decay": (0.5,),
        "text_weight": (1.0, 2.0),
    }
    for wrong, told in ([], "has no value"), ([1, 1.0], "has a value twice"), ([0], "greater than 0"), ("much", "valid number"):
        with pytest.raises(ValidationError, match=told):
            EvaluationConfig(text_weight=wrong)
