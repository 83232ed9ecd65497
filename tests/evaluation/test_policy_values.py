"""What evaluate adds about the value of policies: which parts there are, why others are not, and that they fit together."""

import dataclasses
import json

import numpy as np
import pytest

from learec.config import EvaluationConfig, SimulateConfig
from learec.data.log import Part
from learec.data.simulate import simulate
from learec.evaluation.behaviour import COUNTING
from learec.evaluation.environment_reward import rewards_of_lists, sampled
from learec.evaluation.floors import first, floors
from learec.evaluation.listeners import Listeners
from learec.evaluation.metrics import HISTORY, ranking
from learec.evaluation.policy_values import Knowledge, PolicyValues
from learec.evaluation.rollout import EXPOSURE
from learec.evaluation.value_sentences import value_sentences

CONFIG = EvaluationConfig(resamples=40, off_policy=True, rollout_steps=3, list_length=5, compare=(("item_knn", "popularity"),))


class SumEnvironment:
    """Gives a candidate its number and the sum of the items before it; counts what it reads."""

    def __init__(self):
        self.read = []

    def annotate(self, sessions, candidates):
        before = np.cumsum(sessions.items) - sessions.items
        before -= np.repeat(before[sessions.offsets[:-1]], sessions.lengths)
        self.read.append(sessions)
        return None, None, np.where(candidates > 0, candidates + before[:, None], 0).astype(np.float32)


@pytest.fixture(scope="module")
def listeners(small_log, small_log_folder):
    import polars as pl

    made = simulate(SimulateConfig(listeners=60, tracks=40, mean_plays=8), seed=0)
    return Listeners.of(made.truth, small_log, pl.read_ipc(small_log_folder / "sessions.arrow")["user"])


def known(listeners=None, environment=None) -> Knowledge:
    return Knowledge(listeners, environment)


def valued(log, config, knowledge, names=COUNTING, counting=COUNTING, **more):
    made, targets = floors(CONFIG, log.training, log.catalog.n_items, None, choose=first), log.targets(Part.TEST)
    found = {name: floor.scorer for name, floor in made.items()}
    values = PolicyValues(log, config, 0, {name: found[name] for name in counting}, knowledge)
    for name in (*names, *more):
        scorer = more.get(name) or found[name]
        ranked = ranking(scorer, log.sessions, targets, mask_seen=True, max_length=HISTORY, k=config.list_length)
        values.add(name, None, scorer, ranked)
    return values.tables()


def test_a_simulated_log_gets_estimates_true_values_and_how_they_agree(small_log, listeners):
    tables = valued(small_log, CONFIG, known(listeners, SumEnvironment()))
    assert [row["name"] for row in tables["off_policy"]["rows"]] == ["popularity", "last_item", "item_knn"]
    rollout = tables["rollout"]
    assert rollout["k"] == 5 and rollout["steps"] == 3 and rollout["exposure"] == EXPOSURE
    value = {row["name"]: row["value"] for row in rollout["rows"]}
    bounds = {row["name"]: row["value"]["mean"] for row in rollout["bounds"]}
    assert bounds["at random"] < value["item_knn"]["mean"] < bounds["all-knowing"]
    assert value["item_knn"]["low"] <= value["item_knn"]["mean"] <= value["item_knn"]["high"]
    (compared,) = rollout["comparisons"]
    assert compared["difference"] == pytest.approx(value["item_knn"]["mean"] - value["popularity"]["mean"])
    assert compared["low"] <= compared["difference"] <= compared["high"]
    assert [row["estimate"] for row in tables["agreement"]] == [
        "HR@5", "NDCG@5", "clipped IPS", "SNIPS", "doubly robust", "SNIPS by true propensities", "true worth of what is listed",
    ]  # fmt: skip
    assert all(-1 <= row["tau"] <= 1 and row["n"] == 3 for row in tables["agreement"])
    assert tables["without"] == {"judged": "judged_targets is 0 in [evaluation]"}
    assert json.loads(json.dumps(tables)) == tables


def test_a_policy_of_which_an_estimate_says_nothing_does_not_silence_it_for_the_others(small_log, listeners):
    class Elsewhere:
        """Lists what no test target is."""

        def scores(self, histories, lengths):
            row = np.zeros(small_log.catalog.n_items + 1, dtype=np.float32)
            row[small_log.sessions.items[small_log.targets(Part.TEST)]] = -1
            return np.tile(row, (len(histories), 1))

    tables = valued(small_log, CONFIG, known(listeners), elsewhere=Elsewhere())
    found = {row["estimate"]: row for row in tables["agreement"]}
    assert (found["NDCG@5"]["n"], found["SNIPS"]["n"]) == (4, 3)
    without = {row["estimate"]: row for row in valued(small_log, CONFIG, known(listeners))["agreement"]}
    assert found["SNIPS"]["tau"] == without["SNIPS"]["tau"]
    assert any(
        "order 4 policies" in said and ", of 3 policies that it says anything of" in said for said in value_sentences(tables)
    )


def test_the_same_seed_gives_the_same_tables(small_log, listeners):
    first, again = (valued(small_log, CONFIG, known(listeners)) for _ in range(2))
    assert first == again


def test_a_log_with_no_truth_gets_off_policy_estimates_if_they_are_asked_for(small_log):
    tables = valued(small_log, CONFIG, known())
    assert tables["off_policy"]["k"] == 5 and tables["rollout"] is None and tables["agreement"] == []
    assert tables["without"]["rollout"].startswith("there is no truth/ here; only a simulated log has one")
    off = valued(small_log, CONFIG.model_copy(update={"off_policy": False}), known())
    assert off["off_policy"] is None and off["without"]["off_policy"] == "off_policy is not on in [evaluation]"


def test_where_every_step_is_worth_the_same_no_estimate_pretends_to_tell_policies_apart(small_log, listeners):
    alike = dataclasses.replace(small_log.sessions, rewards=np.ones_like(small_log.sessions.rewards))
    log = dataclasses.replace(small_log, sessions=alike)
    tables = valued(log, CONFIG, known(listeners))
    assert tables["off_policy"] is None
    assert tables["without"]["off_policy"].startswith("every test target is worth the same")
    assert [row["estimate"] for row in tables["agreement"]] == ["HR@5", "NDCG@5", "true worth of what is listed"]


def test_a_behaviour_policy_without_its_floors_is_left_out_with_the_reason(small_log, listeners):
    tables = valued(small_log, CONFIG, known(listeners), counting=("popularity", "item_knn"))
    assert tables["off_policy"] is None and tables["rollout"] is not None
    assert tables["without"]["off_policy"] == "the behaviour policy is made of floors, and last_item is not among them"


def test_rollouts_can_be_switched_off(small_log, listeners):
    tables = valued(small_log, CONFIG.model_copy(update={"rollout_users": 0}), known(listeners))
    assert tables["rollout"] is None and tables["without"]["rollout"] == "rollout_users is 0 in [evaluation]"


def test_nothing_is_valued_where_there_is_nothing_to_value(small_log, listeners):
    log = dataclasses.replace(small_log, parts=np.zeros_like(small_log.parts))
    tables = valued(log, CONFIG, known(listeners))
    assert tables["off_policy"] is tables["rollout"] is None
    assert tables["without"]["rollout"] == "it needs validation and test targets, and there are none"


def test_the_environment_judges_lists_by_hand(small_log):
    targets = small_log.targets(Part.TEST)[:3]
    environment = SumEnvironment()
    lists = [np.array([[1, 2], [3, 0], [0, 0]]), np.array([[2, 5], [3, 4], [6, 7]])]
    found = rewards_of_lists(environment, small_log, targets, lists)
    before = [small_log.sessions.items[step - small_log.sessions.step_of[step] : step].sum() for step in targets]
    np.testing.assert_allclose(found[0], [before[0] + 1.5, before[1] + 3, 0])
    np.testing.assert_allclose(found[1], [before[0] + 3.5, before[1] + 3.5, before[2] + 6.5])
    (read,) = environment.read  # all policies in one pass, and nothing after the targets
    assert read.n_sessions == len(np.unique(small_log.sessions.session_of[targets]))
    assert read.n_steps <= small_log.sessions.step_of[targets].sum() + 3


def test_the_environments_judgement_stands_among_the_estimates(small_log, listeners):
    config = CONFIG.model_copy(update={"judged_targets": 4})
    environment = SumEnvironment()
    tables = valued(small_log, config, known(listeners, environment))
    assert tables["agreement"][-1]["estimate"] == "LE reward"
    assert [row["name"] for row in tables["judged"]] == ["popularity", "last_item", "item_knn"]
    assert len(environment.read) == 1 and tables["without"] == {}
    absent = valued(small_log, config, known(listeners))
    assert absent["without"]["judged"] == "there is no environment/ here"


def test_a_sample_of_targets_is_ascending_without_repeats_and_everything_if_there_is_no_more():
    found = sampled(100, 10, 0)
    assert len(set(found)) == 10 and (np.diff(found) > 0).all() and found.max() < 100
    assert sampled(5, 10, 0).tolist() == [0, 1, 2, 3, 4]


def test_values_in_words(small_log, listeners):
    tables = valued(small_log, CONFIG, known(listeners))
    best, compared, agreed, *warned = value_sentences(tables)
    value = {row["name"]: row["value"] for row in tables["rollout"]["rows"]}
    first = max(value, key=lambda name: value[name]["mean"])
    assert f"{first} earns most, {value[first]['mean']:.4f} (" in best and "lists of 5 each" in best
    assert compared.startswith("item_knn against popularity: reward per list +")
    assert "order 3 policies" in agreed and f"HR@5 {tables['agreement'][0]['tau']:.2f} (" in agreed
    assert warned == [f"Off-policy estimates of {told}." for told in tables["off_policy"]["warnings"]] != []
    off = valued(small_log, CONFIG.model_copy(update={"off_policy": False}), known())
    assert value_sentences(off) == []
