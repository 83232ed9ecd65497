"""Which floors stand in a table, and that validation chooses their settings."""

import dataclasses

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

from learec.config import FLOORS, EvaluationConfig
from learec.data.log import Catalog, Part, Sessions
from learec.evaluation.floors import DESCRIPTIONS, Floor, OnValidation, first, floors, left_out, n_tried, tfidf_of
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
    found = floors(EvaluationConfig(), TRAINING, 5, eye, tfidf=eye)
    assert found.keys() == FLOORS == DESCRIPTIONS.keys()
    for floor in found.values():
        assert floor.scorer.scores(np.array([[1, 2], [3, 0]]), np.array([2, 1])).shape == (2, 6)


def test_floors_take_their_settings_from_the_recipe():
    config = EvaluationConfig(sknn_neighbours=1, sknn_sample=2, ease_regularisation=3.0, ease_decay=0.5, recency_half_life=0.5)
    recency = Recency(np.array([1, 1, 1, 0, 0, 0.5, 0.5, 0.5, 1]), np.array([4, 3, 2, 1]))
    found = floors(config, TRAINING, 5, None, recency)
    assert found["recent_popularity"].scorer.counts.tolist() == [0, 1 / 4 + 1 / 2 + 1 / 2, 1 / 4 + 1, 1 / 4, 1 + 1 / 2, 1 / 4]
    assert (found["v_sknn"].scorer.neighbours, found["v_sknn"].scorer.sample, found["ease"].scorer.decay) == (1, 2, 0.5)
    np.testing.assert_allclose(found["ease"].scorer.weights, EASE.fit(TRAINING, 5, 3.0, 0.5).weights)
    assert found["v_sknn"].scorer.scores(np.array([[1, 2]]), np.array([2])).tolist() == [[0, 6, 6, 6, 0, 0]]


def test_floors_without_what_they_need_are_left_out_with_the_reason():
    config = EvaluationConfig(ease_items=4)
    found = floors(config, TRAINING, 5, None)
    reasons = left_out(config, 5, has_vectors=False, has_texts=False)
    assert found.keys() | reasons.keys() == FLOORS
    assert not found.keys() & reasons.keys()
    assert left_out(EvaluationConfig(), 20_000, has_vectors=True, has_texts=True) == {}
    assert left_out(EvaluationConfig(), 55_368, has_vectors=True, has_texts=True) == {
        "ease": "55,368 items are more than ease_items = 20,000 in [evaluation], and its matrix would take 12.3 GB"
    }


def test_words_alone_stand_in_the_tfidf_rule_and_catalogs_without_any_have_none(small_log):
    vectors = tfidf_of(small_log)
    assert vectors.shape[0] == small_log.catalog.n_items + 1
    rule = floors(EvaluationConfig(), small_log.training, small_log.catalog.n_items, None, tfidf=vectors)["tfidf_rule"].scorer
    np.testing.assert_array_equal(rule.content.vectors, vectors)
    silent = Catalog(small_log.catalog.table.with_columns(text=pl.lit("")))
    assert tfidf_of(dataclasses.replace(small_log, catalog=silent)) is None
    assert left_out(EvaluationConfig(), 200_000, has_vectors=True, has_texts=True)["tfidf_rule"].startswith("200,000 items")


def test_of_several_settings_validation_chooses_for_every_floor_by_itself(small_log):
    tried = []
    config, n_items, words = EvaluationConfig(), small_log.catalog.n_items, tfidf_of(small_log)
    chosen = floors(
        config, small_log.training, n_items, words, tfidf=words, choose=on(small_log, advance=lambda: tried.append(1))
    )
    assert len(tried) == n_tried(config, n_items, has_vectors=True, has_texts=True)
    for name, fields in (("item_knn", ["knn_decay", "knn_shrinkage"]), ("ease", ["ease_regularisation", "ease_decay"])):
        by_hand = {}
        for one in getattr(config, fields[0]):
            for other in getattr(config, fields[1]):
                alone = floors(EvaluationConfig(**{fields[0]: one, fields[1]: other}), small_log.training, n_items, None)[name]
                by_hand[one, other] = validation_of(alone.scorer, small_log)
        found = chosen[name]
        assert found.validation == max(by_hand.values()) == by_hand[tuple(found.settings[field] for field in fields)]
        assert (found.tried, len(set(by_hand.values())) > 1) == (len(by_hand), True)
    rule = chosen["rule"]
    assert rule.scorer.knn is chosen["item_knn"].scorer
    assert rule.scorer.content.decay == chosen["item_knn"].settings["knn_decay"]
    assert rule.validation == max(
        validation_of(dataclasses.replace(rule.scorer, text_weight=weight), small_log) for weight in config.text_weight
    )


def test_the_first_stands_where_validation_cannot_tell(small_log):
    scorers = [floors(EvaluationConfig(), small_log.training, small_log.catalog.n_items, None)["popularity"].scorer] * 3
    candidates = [({"number": float(number)}, scorer) for number, scorer in enumerate(scorers)]
    assert on(small_log)(candidates).settings == first(candidates).settings == {"number": 0.0}
    no_targets = dataclasses.replace(small_log, parts=np.full_like(small_log.parts, Part.TRAIN))
    assert on(no_targets)(candidates).settings == {"number": 0.0}
    only = on(small_log)(candidates[1:2])
    assert (only.settings, only.tried, only.validation) == ({"number": 1.0}, 1, None)
    with pytest.raises(ValueError, match="no candidates"):
        on(small_log)([])


def test_a_floor_tells_its_settings_and_of_how_many_they_are_the_best(small_log):
    assert Floor(None, {}).told == ""
    assert Floor(None, {"knn_decay": 0.8, "knn_shrinkage": 20.0}).told == " (knn_decay 0.8, knn_shrinkage 20)"
    assert Floor(None, {"text_weight": 2.0}, 5, 0.1).told == " (text_weight 2, the best of 5 on validation)"


def test_a_recipe_may_write_one_value_or_several_that_differ():
    assert EvaluationConfig(knn_decay=0.5, text_weight=[1, 2]).model_dump(include={"knn_decay", "text_weight"}) == {
        "knn_decay": (0.5,),
        "text_weight": (1.0, 2.0),
    }
    for wrong in ([], [1, 1.0], [0], "much"):
        with pytest.raises(ValidationError):
            EvaluationConfig(text_weight=wrong)
