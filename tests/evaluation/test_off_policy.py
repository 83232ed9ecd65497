"""Off-policy estimates: by hand, and on a bandit whose truth is known: unbiased, consistent, with intervals that cover."""

import dataclasses

import numpy as np
import pytest

from learec.data.log import Sessions
from learec.evaluation.compare import Bootstrap
from learec.evaluation.drawn import Drawn
from learec.evaluation.off_policy import (
    LEAST,
    SHRINKAGE,
    ExpectedReward,
    Judged,
    JudgedSteps,
    default_clip,
    effective_size,
    warnings,
)

FLAT = ExpectedReward(0.5, np.zeros(6))


def sessions_of(rows: list[list[int]], rewards: list[list[float]]) -> Sessions:
    items = np.array([item for row in rows for item in row], dtype=np.int64)
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])])
    worth = np.array([reward for row in rewards for reward in row], dtype=np.float32)
    return Sessions(offsets, items, np.zeros(len(items), int), worth)


def judged(targets: JudgedSteps, best: np.ndarray, resamples: int = 200, seed: int = 0) -> Judged:
    bootstrap = Bootstrap(targets.sessions.session_of[targets.steps], resamples, seed)
    columns = targets.columns(best)
    return Judged.of(columns, Drawn.of(columns, bootstrap))


def test_all_three_estimates_by_hand():
    sessions = sessions_of([[1, 2], [1, 3], [1, 4], [1, 2]], [[0.5, 1.0], [0.5, 0.0], [0.5, 1.0], [0.5, 0.5]])
    expected = ExpectedReward(0.5, np.array([0, 0, 0.1, -0.2, 0, 0]))
    targets = JudgedSteps(sessions, np.array([1, 3, 5, 7]), np.array([0.5, 0.25, 0.1, 0.125]), expected, clip=3.0)
    best = np.array([[2, 3], [3, 5], [2, 3], [2, 0]])
    columns = targets.columns(best)
    np.testing.assert_allclose(columns["raw"], [0.5 / 0.5, 0.5 / 0.25, 0, 1 / 0.125])  # the last list holds one item
    np.testing.assert_allclose(columns["weight"], [1, 2, 0, 3])
    # Lists are expected to earn .45, .4, .45, .6; what was taken .6, .3, .5, .6.
    robust = [0.45 + 1 * (1 - 0.6), 0.4 + 2 * (0 - 0.3), 0.45, 0.6 + 3 * (0.5 - 0.6)]
    np.testing.assert_allclose(columns["robust"], robust, rtol=1e-6)
    found = judged(targets, best)
    assert found.ips.mean == pytest.approx((1 * 1 + 2 * 0 + 3 * 0.5) / 4)
    assert found.snips.mean == pytest.approx((1 * 1 + 2 * 0 + 3 * 0.5) / 6)
    assert found.dr.mean == pytest.approx(sum(robust) / 4)
    assert found.effective == pytest.approx(6**2 / (1 + 4 + 9))
    assert found.clipped == pytest.approx(1 / 3)
    assert found.mean_weight.mean == pytest.approx(11 / 4)


def test_the_reward_model_by_hand():
    training = sessions_of([[1, 2], [1]], [[1.0, 0.0], [0.5]])  # mean .5
    model = ExpectedReward.fit(training, 3)
    np.testing.assert_allclose(model.items, [0, 0.5 / (2 + SHRINKAGE), -0.5 / (1 + SHRINKAGE), 0])
    later = sessions_of([[3, 3, 1]], [[1.0, 0.8, 0.0]])
    session = (0.5 + 0.3) / (2 + SHRINKAGE)  # how far its rewards were above what was expected
    np.testing.assert_allclose(model.of(later, np.array([2]), np.array([[1, 3]])), [[0.5 + session + 0.5 / 12, 0.5 + session]])
    np.testing.assert_allclose(model.of(later, np.array([0]), np.array([[2]])), [[0.5 - 0.5 / 11]])  # nothing came before


def test_the_reward_model_reads_no_reward_of_the_step_itself_or_after_it():
    model = ExpectedReward(0.5, np.zeros(4))
    one = sessions_of([[1, 2, 3]], [[1.0, 0.0, 0.0]])
    other = sessions_of([[1, 2, 3]], [[1.0, 1.0, 1.0]])
    found = [model.of(sessions, np.array([1]), np.array([[2, 3]])) for sessions in (one, other)]
    np.testing.assert_array_equal(*found)


def test_the_share_of_variance_explained_by_hand():
    sessions = sessions_of([[1], [2], [3], [3]], [[1.0], [0.0], [1.0], [0.0]])
    steps = np.arange(4)
    assert ExpectedReward(0.5, np.array([0, 0.5, -0.5, 0])).explained(sessions, steps) == pytest.approx(0.5)
    assert FLAT.explained(sessions, steps) == pytest.approx(0)
    alike = dataclasses.replace(sessions, rewards=np.ones(4, np.float32))
    assert np.isnan(FLAT.explained(alike, steps))


def test_an_empty_list_earns_nothing():
    sessions = sessions_of([[1, 2]], [[1.0, 1.0]])
    targets = JudgedSteps(sessions, np.array([1]), np.array([0.5]), FLAT, clip=9.0)
    assert {name: column.tolist() for name, column in targets.columns(np.array([[0, 0]])).items()} == {
        "raw": [0], "weight": [0], "weighted": [0], "robust": [0],
    }  # fmt: skip
    found = judged(targets, np.array([[0, 0]]))
    assert found.effective == 0 and np.isnan(found.snips.mean) and found.clipped == 0


def test_effective_size_is_the_number_of_equal_weights_and_1_where_one_has_all():
    assert effective_size(np.full(7, 3.0)) == pytest.approx(7)
    assert effective_size(np.array([5.0, 0, 0])) == pytest.approx(1)
    assert effective_size(np.zeros(3)) == 0
    assert (default_clip(400), default_clip(0)) == (20, 1)


# A bandit: six contexts, five actions, the chances of the logging policy and the means of the rewards known.
CONTEXTS, ACTIONS = 6, 5
CHANCES = np.random.default_rng(1).dirichlet(np.ones(ACTIONS), CONTEXTS) * 0.8 + 0.2 / ACTIONS
MEANS = np.random.default_rng(2).uniform(0.1, 0.9, (CONTEXTS, ACTIONS))
LISTS = np.array([np.random.default_rng(3 + c).choice(ACTIONS, 2, replace=False) for c in range(CONTEXTS)])
VALUE = float(np.take_along_axis(MEANS, LISTS, axis=1).mean())


def drawn_log(n: int, rng: np.random.Generator, expected: ExpectedReward = FLAT, chances: np.ndarray = CHANCES) -> tuple:
    """N sessions of two steps, the context (items 1 to 6) and the action (7 to 11); and the lists shown to them."""
    context = rng.integers(CONTEXTS, size=n)
    action = (rng.random(n)[:, None] > CHANCES[context].cumsum(axis=1)[:, :-1]).sum(axis=1)
    items = np.stack([context + 1, action + CONTEXTS + 1], axis=1).ravel()
    rewards = np.stack([np.full(n, 0.5), rng.random(n) < MEANS[context, action]], axis=1).ravel().astype(np.float32)
    sessions = Sessions(2 * np.arange(n + 1), items, np.zeros(2 * n, int), rewards)
    targets = JudgedSteps(sessions, 2 * np.arange(n) + 1, chances[context, action], expected, clip=1e9)
    return targets, LISTS[context] + CONTEXTS + 1


NO_MODEL = ExpectedReward(0.5, np.zeros(CONTEXTS + ACTIONS + 1))


def means_of(estimates: list[Judged]) -> dict[str, np.ndarray]:
    return {name: np.array([getattr(found, name).mean for found in estimates]) for name in ("ips", "snips", "dr")}


def test_ips_and_dr_are_unbiased_on_a_bandit_and_snips_nearly():
    rng = np.random.default_rng(0)
    found = means_of([judged(*drawn_log(200, rng, NO_MODEL), resamples=2) for _ in range(1500)])
    for name in ("ips", "dr"):
        assert abs(found[name].mean() - VALUE) < 3.5 * found[name].std() / np.sqrt(1500), name
    assert abs(found["snips"].mean() - VALUE) < 0.01
    assert found["dr"].std() < found["ips"].std()  # a model, even a flat one, takes variance away


def test_estimates_come_to_the_truth_as_the_log_grows():
    rng = np.random.default_rng(0)
    errors = {}
    for n in (100, 10_000):
        found = means_of([judged(*drawn_log(n, rng, NO_MODEL), resamples=2) for _ in range(60)])
        errors[n] = {name: float(np.sqrt(np.square(values - VALUE).mean())) for name, values in found.items()}
    for name in ("ips", "snips", "dr"):
        assert errors[10_000][name] < 0.02 < errors[100][name], name
        assert errors[100][name] / errors[10_000][name] == pytest.approx(10, rel=0.4), name  # as the root of n


def test_wrong_propensities_mislead_ips_but_not_dr_with_the_right_reward_model():
    """Rewards that hang on the action alone, so that the model can be right."""
    rng = np.random.default_rng(0)
    by_action = MEANS.mean(axis=0)
    right = ExpectedReward(0.5, np.concatenate([np.zeros(CONTEXTS + 1), by_action - 0.5]))
    flat = np.full_like(CHANCES, 1 / ACTIONS)
    targets, best = drawn_log(40_000, rng, right, flat)
    action = targets.sessions.items[targets.steps] - CONTEXTS - 1
    rewards = targets.sessions.rewards.copy()
    rewards[targets.steps] = rng.random(40_000) < by_action[action]
    targets = dataclasses.replace(targets, sessions=dataclasses.replace(targets.sessions, rewards=rewards))
    found, value = judged(targets, best), float(by_action[LISTS].mean())
    assert abs(found.dr.mean - value) < 0.01
    assert abs(found.ips.mean - value) > 0.05
    assert not found.mean_weight.low <= 1 <= found.mean_weight.high  # which their mean weight tells


@pytest.mark.parametrize("name", ["ips", "snips", "dr"])
def test_intervals_cover_the_truth_about_95_times_in_100(name):
    rng = np.random.default_rng(0)
    runs = 400
    found = [getattr(judged(*drawn_log(300, rng, NO_MODEL), resamples=300, seed=seed), name) for seed in range(runs)]
    covered = np.mean([estimate.low <= VALUE <= estimate.high for estimate in found])
    assert 0.91 <= covered <= 0.98  # 0.95 within three and a half standard errors


def test_steps_of_one_session_are_no_independent_witnesses():
    """Ten copies of every target in its session give the interval of one, not one of a third of its width."""
    rng = np.random.default_rng(0)
    targets, best = drawn_log(200, rng, NO_MODEL)
    once, columns = judged(targets, best, 500), targets.columns(best)
    repeated = {name: np.repeat(column, 10) for name, column in columns.items()}
    many = Judged.of(repeated, Drawn.of(repeated, Bootstrap(np.repeat(np.arange(200), 10), 500, 0)))
    assert many.snips.high - many.snips.low == pytest.approx(once.snips.high - once.snips.low, rel=1e-6)


def test_clipping_bounds_every_weight_and_lowers_ips():
    targets, best = drawn_log(500, np.random.default_rng(0), NO_MODEL)
    clipped = dataclasses.replace(targets, clip=1.5)
    assert clipped.columns(best)["weight"].max() == 1.5
    before, after = judged(targets, best), judged(clipped, best)
    assert after.ips.mean < before.ips.mean and 0 < after.clipped < 1 and before.clipped == 0
    assert after.effective > before.effective


def test_a_small_effective_sample_and_weights_whose_mean_is_not_1_are_warned_of_in_a_sentence_each():
    few, many = (judged(*drawn_log(n, np.random.default_rng(0), NO_MODEL)) for n in (60, 5000))
    targets, best = drawn_log(5000, np.random.default_rng(0), NO_MODEL)
    off = judged(dataclasses.replace(targets, propensities=targets.propensities / 2), best)
    assert few.effective < LEAST < many.effective
    assert warnings({"good": many}) == []
    thin, wrong = warnings({"good": many, "small": few, "off": off, "tiny": few})
    assert thin.startswith(f"small ({few.effective:.0f}), tiny ({few.effective:.0f}): estimated from an effective sample of")
    assert f"fewer than {LEAST} targets" in thin
    assert wrong.startswith("off (1.93): the weights' mean is not 1")


def test_json_holds_every_figure():
    targets, best = drawn_log(100, np.random.default_rng(0), NO_MODEL)
    told = judged(targets, best).as_json()
    assert told.keys() == {"ips", "snips", "dr", "mean_weight", "effective", "clipped"}
    assert told["snips"].keys() == {"mean", "low", "high"}
