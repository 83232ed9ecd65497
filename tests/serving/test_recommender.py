"""The recommender: outside names in, outside names out, the same from torch and from ONNX Runtime."""

import re
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from learec.data.log import Catalog
from learec.errors import ArtifactError, ConfigError, DataError
from learec.serving.choose import agents_of, choose_agent
from learec.serving.ranker import Served, VectorRanker, best, padded
from learec.serving.recommender import Query, Recommender


class ByNumber(VectorRanker):
    """A ranker that prefers high numbers, but the last item seen most of all; item 2 is cold. Every score can be told by hand."""

    n_items, max_length = 6, 3
    table = np.arange(7, dtype=np.float32)[:, None]
    bias = np.array([-np.inf, 0, -np.inf, 0, 0, 0, 0], dtype=np.float32)
    passes = 0

    def hidden(self, items):
        self.passes += 1
        return np.ones((len(items), 1), dtype=np.float32)

    def top(self, items, blocked, k):
        self.passes += 1
        scores = np.tile(self.table[:, 0] + self.bias, (len(items), 1))
        last = items[np.arange(len(items)), np.count_nonzero(items, axis=1) - 1]
        scores[np.arange(len(items)), last] = 9
        np.put_along_axis(scores, blocked, -np.inf, axis=1)
        numbers = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        return numbers, np.take_along_axis(scores, numbers, axis=1)


def by_number(mask_seen=True, counts=(0, 5, 9, 5, 1, 7, 0), categories=("x", "x", "x", "y", "y", "")):
    table = pl.DataFrame({"item_id": list("abcdefg"), "title": list("ABCDEFG"), "category": [*categories, "new"]})
    return Recommender(ByNumber(), Catalog(table), Served("a/0", "v", mask_seen, np.array(counts)))


def ids(answer):
    return [item.item_id for item in answer.items]


def test_items_of_the_history_cold_items_and_excluded_ones_are_not_recommended():
    answer = by_number().recommend(["a", "f"], exclude=["e", "nobody"])
    assert [(item.item_id, item.title, item.score) for item in answer.items] == [("d", "D", 4.0), ("c", "C", 3.0)]
    assert (answer.unknown, answer.fallback) == ((), False)


def test_seen_items_are_recommended_where_training_did_not_mask_them():
    assert ids(by_number(mask_seen=False).recommend(["a", "c"], 2)) == ["c", "f"]


def test_unknown_items_and_those_that_joined_after_training_are_ignored_and_named_once_in_their_order():
    answer = by_number().recommend(["zoo", "g", "c", "zoo", ""], 2)
    assert answer.unknown == ("zoo", "g", "")
    assert ids(answer) == ids(by_number().recommend(["c"], 2)) == ["f", "e"]
    assert not answer.fallback


@pytest.mark.parametrize("history", [[], ["zoo"], ["g"]])
def test_without_a_known_item_the_most_popular_items_of_training_answer(history):
    answer = by_number().recommend(history, 3)
    assert answer.fallback
    # b (9 steps) is impossible for the model; a and c have 5 each, and a the lower number.
    assert [(item.item_id, item.score) for item in answer.items] == [("e", 7.0), ("a", 5.0), ("c", 5.0)]


def test_the_fallback_answers_under_the_same_filters():
    recommender = by_number()
    assert ids(recommender.recommend([], within="x")) == ["a", "c"]
    assert ids(recommender.recommend([], exclude=["e", "a"], k=2)) == ["c", "d"]
    assert ids(recommender.recommend([], allow=["f", "d"])) == ["d", "f"]


def test_allow_and_within_narrow_what_is_recommended_and_both_must_hold():
    recommender = by_number()
    assert ids(recommender.recommend(["f"], allow=["a", "d", "b", "zoo", "g"])) == ["d", "a"]
    assert ids(recommender.recommend(["f"], within="x")) == ["c", "a"]
    assert ids(recommender.recommend(["f"], within="x", allow=["d", "a"])) == ["a"]
    assert ids(recommender.recommend(["f"], allow=[])) == []


def test_every_query_of_a_batch_keeps_its_own_k_and_filters_and_one_pass_serves_those_that_are_alike():
    recommender = by_number()
    queries = [
        Query(("a",), 1), Query((), 2), Query(("f", "c"), 5, exclude=("e",)),
        Query(("c",), within="y"), Query(("a",), allow=("c",)),
    ]  # fmt: skip
    answers = recommender.answer(queries)
    assert [ids(answer) for answer in answers] == [["f"], ["e", "a"], ["d", "a"], ["e", "d"], ["c"]]
    assert recommender.ranker.passes == 2
    assert recommender.answer([]) == []


def test_a_category_that_the_catalog_lacks_is_refused_with_the_one_that_is_meant():
    with pytest.raises(DataError, match="within = 'xx': no such category in the catalog; did you mean x?"):
        by_number().recommend(["a"], within="xx")


def test_a_log_without_categories_says_how_to_get_them():
    catalog = Catalog(pl.DataFrame({"item_id": list("abcdef"), "title": list("ABCDEF")}))
    recommender = Recommender(ByNumber(), catalog, Served("a/0", "v", True, np.ones(7, int)))
    with pytest.raises(DataError, match="within = 'x': the log knows no categories; .* category_column in"):
        recommender.recommend(["a"], within="x")


def test_a_category_whose_items_the_model_does_not_know_gives_nothing():
    assert ids(by_number().recommend(["a"], within="new")) == []


def test_k_must_be_positive():
    with pytest.raises(ConfigError, match="k = 0: must be at least 1"):
        by_number().recommend(["a"], 0)


def test_an_agent_of_another_catalog_is_refused():
    with pytest.raises(ArtifactError, match="knows 6 items and the log's catalog 2"):
        Recommender(ByNumber(), Catalog(pl.DataFrame({"item_id": ["a", "b"], "title": ["", ""]})), None)


def test_the_best_of_equal_scores_come_in_the_order_of_their_places():
    scores = np.array([1.0, 3.0, 2.0, 3.0, -np.inf, 2.0, 2.0])
    assert best(scores, 4).tolist() == [1, 3, 2, 5]
    assert best(scores, 100).tolist() == [1, 3, 2, 5, 6, 0]
    assert best(scores[:0], 3).tolist() == []


def test_rows_are_padded_on_the_right_and_cut_to_their_newest():
    assert padded([np.array([1, 2, 3, 4]), np.array([5])], 3).tolist() == [[2, 3, 4], [5, 0, 0]]
    assert padded([np.array([], dtype=int)]).tolist() == [[0]]


def test_a_trained_agent_recommends_with_titles_best_first(recommender):
    names = recommender.catalog.ids
    found = recommender.recommend([names[3], names[5]], 7).items
    assert len({item.item_id for item in found} - {names[3], names[5]}) == 7
    assert [item.score for item in found] == sorted((item.score for item in found), reverse=True)
    assert all(recommender.catalog.titles[recommender.catalog.numbers[item.item_id]] == item.title for item in found)


def test_more_items_than_the_catalog_holds_gives_all_that_are_possible(recommender):
    possible = np.isfinite(recommender.ranker.bias).sum()
    history = [
        name for name in recommender.catalog.ids[1:] if np.isfinite(recommender.ranker.bias[recommender.catalog.numbers[name]])
    ]
    assert len(recommender.recommend(history[:2], 10**9).items) == possible - 2


def test_the_order_of_the_history_matters(recommender):
    one, two = recommender.catalog.ids[1:3]
    assert recommender.recommend([one, two], 1).items[0].score != recommender.recommend([two, one], 1).items[0].score


def test_a_history_longer_than_the_agent_reads_is_cut_to_its_newest_items(recommender):
    names = recommender.catalog.ids
    newest = [names[1 + n % 20] for n in range(12)]
    long, short = recommender.recommend([names[30]] * 5000 + newest, 1), recommender.recommend(newest, 1, exclude=[names[30]])
    assert long.items[0].score == pytest.approx(short.items[0].score, abs=1e-5)
    assert ids(long) == ids(short)


def test_an_answer_does_not_depend_on_what_else_is_in_the_batch(recommender):
    names = recommender.catalog.ids
    queries = [Query(tuple(names[1 + (7 * n) % 30 : 2 + (11 * n) % 40]), 1 + n % 9) for n in range(64)]
    for together, query in zip(recommender.answer(queries), queries, strict=True):
        alone = recommender.answer([query])[0]
        assert ids(together) == ids(alone)
        assert [item.score for item in together.items] == pytest.approx([item.score for item in alone.items], abs=1e-4)


def test_within_a_category_only_its_items_come_and_their_scores_are_those_of_the_whole_ranking(recommender):
    names = recommender.catalog.ids
    whole = {item.item_id: item.score for item in recommender.recommend(names[1:4], 10**9).items}
    genre, members = next(iter(recommender.catalog.members.items()))
    found = recommender.recommend(names[1:4], 10**9, within=genre).items
    assert {item.item_id for item in found} == whole.keys() & {names[number] for number in members}
    assert [item.score for item in found] == pytest.approx([whole[item.item_id] for item in found], abs=1e-4)


def test_name_and_version_say_what_is_served(served_run, exported_run, torch_recommender, onnx_recommender):
    assert torch_recommender.name == onnx_recommender.name == "sasrec/0"
    versions = {Recommender.load(run, agent).version for run in (served_run, exported_run) for agent in ("sasrec/0", "untied")}
    assert len(versions) == 4
    assert torch_recommender.version in versions


def test_the_agent_asked_for_is_chosen_and_else_the_best_on_validation(served_run):
    agents = agents_of(served_run)
    assert list(agents) == ["sasrec/0", "untied/0"]
    assert choose_agent(served_run, "untied") == choose_agent(served_run, "untied/0") == agents["untied/0"]
    assert choose_agent(served_run, None).validation == max(agent.validation for agent in agents.values())
    with pytest.raises(ConfigError, match="--agent nobody: no such agent in .*; it has sasrec/0, untied/0"):
        choose_agent(served_run, "nobody")


def test_a_run_without_agents_is_refused(tmp_path):
    with pytest.raises(ArtifactError, match="no trained agent here"):
        Recommender.load(tmp_path)


def test_the_log_of_another_run_is_refused(run_copy, small_log_folder):
    shutil.rmtree(run_copy / "log")
    shutil.copytree(small_log_folder, run_copy / "log")
    for backend in ("torch", "onnx"):
        with pytest.raises(ArtifactError, match="is not the log that the agent was trained on"):
            Recommender.load(run_copy, "sasrec", backend=backend)


@pytest.mark.parametrize("backend", ["torch", "onnx"])
def test_what_is_served_is_in_memory_files_may_be_cut_short_meanwhile(run_copy, backend):
    served = Recommender.load(run_copy, "sasrec", backend=backend)
    for path in [path for path in run_copy.rglob("*") if path.is_file()]:
        path.write_bytes(b"")  # a mapped page of a file that has become shorter would end the process
    names = served.catalog.ids
    genre = next(iter(served.catalog.members))
    assert all(served.recommend(names[1:4], 3, **filters).items for filters in ({}, {"allow": names[9:20]}, {"within": genre}))
    assert served.recommend([], 3).fallback


def test_the_page_on_serving_runs_as_printed(served_run, tmp_path, monkeypatch):
    page = (Path(__file__).parents[2] / "docs/serving.md").read_text(encoding="utf-8")
    block = re.search(r"```python\n(.*?)```", page, flags=re.DOTALL)[1]
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/shop").symlink_to(served_run)
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(block, names)
    assert len(names["answer"].items) == 5
    assert [len(answer.items) for answer in names["answers"]] == [3, 0]
