"""The behaviour policy: a mixture worked out by hand, shares that are the likeliest, and no look at what it is used on."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from learec.config import EvaluationConfig
from learec.data.log import Part, Sessions
from learec.evaluation import behaviour
from learec.evaluation.behaviour import (
    AGAIN,
    ANY,
    COUNTING,
    Behaviour,
    components,
    distributions,
    fitted_shares,
    log_likelihood,
)
from learec.evaluation.floors import first, floors


def sessions_of(*rows: list[int]) -> Sessions:
    items = np.array([item for row in rows for item in row], dtype=np.int64)
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])])
    return Sessions(offsets, items, np.zeros(len(items), int), np.ones(len(items), np.float32))


class Fixed:
    """The same scores for every history."""

    def __init__(self, *scores: float) -> None:
        self.row = np.array([9.0, *scores], dtype=np.float32)  # what it says of padding must not count

    def scores(self, histories, lengths):
        return np.tile(self.row, (len(histories), 1))


def counting(log):
    found = {
        name: floor.scorer
        for name, floor in floors(EvaluationConfig(), log.training, log.catalog.n_items, None, choose=first).items()
    }
    return {name: found[name] for name in COUNTING}


def test_components_by_hand():
    sessions = sessions_of([1, 2, 3], [2, 2, 4, 2], [5, 1])
    found = components({"counts": Fixed(7, 1, 1, 3, 0)}, sessions, np.array([2, 6, 8]))
    # After 1, 2 the new item 3: no seen one, one of 3 new ones, 1 of the 4 counts that 3, 4, 5 share.
    np.testing.assert_allclose(found[0], [0, 1 / 3, 1 / 4], rtol=1e-6)
    # After 2, 2, 4 the item 2 again: its weights .8^2 + .8^1 of .8^2 + .8 + 1; it is not new.
    np.testing.assert_allclose(found[1], [(0.64 + 0.8) / 2.44, 0, 0], rtol=1e-6)
    # After 5 the item 1: 7 of 12 counts.
    np.testing.assert_allclose(found[2], [0, 1 / 4, 7 / 12], rtol=1e-6)


def test_a_source_without_evidence_or_with_scores_below_nothing_says_nothing_of_its_own():
    sessions = sessions_of([1, 2])
    found = components({"none": Fixed(5, 0, 0), "below": Fixed(0, 2, -6)}, sessions, np.array([1]))
    np.testing.assert_allclose(found[0], [0, 1 / 2, 1 / 2, 1], rtol=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.integers(1, 6), min_size=2, max_size=6), min_size=1, max_size=5), st.integers(10, 200))
def test_every_component_is_a_distribution_over_items_in_blocks_of_any_size(rows, cells):
    sessions = sessions_of(*rows)
    steps = np.flatnonzero(sessions.step_of > 0)
    sources = {"counts": Fixed(1, 2, 3, 4, 5, 0)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(behaviour, "CELLS", cells)
        found, places = components(sources, sessions, steps), []
        for block, parts in distributions(sources, sessions, steps):
            places += block.tolist()
            for number, part in enumerate(parts):
                seen = [len(set(sessions.histories(steps[[place]], 9)[0].ravel()) - {0}) for place in block]
                wanted = [float(number == 0 or n < 6) for n in seen]  # with all items seen there is no new one
                np.testing.assert_allclose(part.sum(axis=1), wanted, rtol=1e-5)
                assert not part[:, 0].any()
    assert sorted(places) == list(range(len(steps)))
    np.testing.assert_array_equal(found, components(sources, sessions, steps))


def test_shares_are_those_under_which_the_observations_are_likeliest():
    rng = np.random.default_rng(0)
    truth, n = np.array([0.6, 0.3, 0.1]), 4000
    tables = rng.dirichlet(np.full(20, 0.3), 3)
    seen = [rng.choice(20, p=tables[part]) for part in rng.choice(3, n, p=truth)]
    likelihoods = tables[:, seen].T
    found = fitted_shares(likelihoods)
    np.testing.assert_allclose(found, truth, atol=0.04)

    def loss(logits):  # a component counts one observation of its own
        shares = np.exp(logits - np.logaddexp.reduce(logits))
        return -np.log(likelihoods @ shares).sum() - np.log(shares).sum()

    slow = minimize(loss, np.zeros(3)).x
    np.testing.assert_allclose(found, np.exp(slow - np.logaddexp.reduce(slow)), atol=1e-4)


def test_a_component_that_never_fits_keeps_the_share_of_one_observation():
    found = fitted_shares(np.array([[1.0, 0.0]] * 8))
    np.testing.assert_allclose(found, [9 / 10, 1 / 10])


def fitted(log) -> Behaviour:
    parts = {"validation": log.targets(Part.VALIDATION), "test": log.targets(Part.TEST)}
    return Behaviour.fit(counting(log), log.sessions, parts)


def test_every_item_that_can_be_taken_has_a_probability(small_log):
    found = fitted(small_log)
    assert found.names == (AGAIN, ANY, *COUNTING)
    assert found.shares.sum() == pytest.approx(1)
    assert (found.probabilities("test") > 0).all()
    total = sum(
        share * part.sum(axis=1)
        for _, parts in distributions(counting(small_log), small_log.sessions, small_log.targets(Part.TEST)[:5])
        for share, part in zip(found.shares, parts, strict=True)
    )
    np.testing.assert_allclose(total, 1, rtol=1e-5)


def test_the_steps_that_it_is_used_on_change_nothing_in_it(small_log):
    test = np.asarray(small_log.parts == Part.TEST)
    items = np.where(test, 1, small_log.sessions.items)
    changed = dataclasses.replace(small_log, sessions=dataclasses.replace(small_log.sessions, items=items))
    np.testing.assert_array_equal(fitted(small_log).shares, fitted(changed).shares)


def test_knowing_more_makes_held_out_steps_likelier(small_log):
    found = fitted(small_log)
    told = found.told()
    likely = told["log_likelihood"]
    assert likely["mixture"]["validation"] > likely["popularity"]["validation"] > likely["uniform"]["validation"]
    assert likely["mixture"]["test"] == pytest.approx(np.log(found.probabilities("test")).mean())
    assert told["shares"] == dict(zip(found.names, found.shares.tolist(), strict=True))
    assert np.isnan(log_likelihood(np.zeros(0)))
