"""The index of a large catalog: as good as the whole product, also where much is blocked, and refused where it is not."""

import io
import json
import shutil

import faiss
import numpy as np
import pytest
from rich.console import Console

from learec.artifacts import file_digest, read_manifest
from learec.errors import ArtifactError, ConfigError
from learec.progress import Reporter
from learec.serving import index as index_module
from learec.serving.choose import choose_agent
from learec.serving.export import export
from learec.serving.index import IndexedRanker, build_index, open_index, possible_items, recall_of
from learec.serving.ranker import VectorRanker, best_of_rows
from learec.serving.recommender import Recommender

N_ITEMS, SIZE = 3000, 16


class Exact(VectorRanker):
    """The whole product; a history's first item number chooses its hidden vector."""

    def __init__(self, rng):
        centres = rng.normal(size=(60, SIZE))
        table = centres[rng.integers(60, size=N_ITEMS + 1)] + 0.4 * rng.normal(size=(N_ITEMS + 1, SIZE))
        self.table = (table * rng.lognormal(0, 0.3, size=(N_ITEMS + 1, 1))).astype(np.float32)
        self.bias = rng.normal(0, 0.3, N_ITEMS + 1).astype(np.float32)
        self.bias[[0, 5, 6, 7]] = -np.inf
        self.queries = rng.normal(size=(500, SIZE)).astype(np.float32)
        self.n_items, self.max_length, self.calls = N_ITEMS, 50, 0

    def hidden(self, items):
        return self.queries[items[:, 0]]

    def top(self, items, blocked, k):
        self.calls += 1
        scores = self.hidden(items) @ self.table.T + self.bias
        np.put_along_axis(scores, blocked, -np.inf, axis=1)
        return best_of_rows(scores, k)


@pytest.fixture
def exact(rng):
    return Exact(rng)


ALL = np.arange(500)[:, None]
NOTHING = np.zeros((500, 1), np.int64)


@pytest.fixture
def indexed(exact, tmp_path):
    build_index(exact, ALL, NOTHING, tmp_path / "items.faiss")
    exact.calls = 0
    return IndexedRanker(exact, open_index(tmp_path / "items.faiss", exact))


def test_the_index_finds_at_least_99_of_100_of_the_exact_best_without_searching_all_of_it(exact, tmp_path):
    noted = build_index(exact, ALL[:250], NOTHING[:250], tmp_path / "items.faiss")
    assert noted["recall_at_10"] >= 0.99
    assert noted["histories"] == 250
    assert 1 < noted["lists_searched"] < noted["lists"] == 46  # a list for every 64 items
    index = open_index(tmp_path / "items.faiss", exact)
    assert index.nprobe == noted["lists_searched"]
    exact.calls = 0
    numbers, _ = IndexedRanker(exact, index).top(ALL[250:], NOTHING[250:], 10)  # others than those it was measured on
    assert exact.calls == 0
    assert recall_of(numbers, exact.top(ALL[250:], NOTHING[250:], 10)[0]) >= 0.99


@pytest.mark.parametrize("k", [20, 100])
def test_more_items_are_found_as_well_as_ten(exact, indexed, k):
    assert recall_of(indexed.top(ALL, NOTHING, k)[0], exact.top(ALL, NOTHING, k)[0]) >= 0.99


def test_scores_are_those_of_the_whole_product_and_fall(exact, indexed):
    numbers, scores = indexed.top(ALL, NOTHING, 10)
    rows = np.arange(500)[:, None]
    np.testing.assert_allclose(scores, (exact.queries @ exact.table.T + exact.bias)[rows, numbers], atol=1e-4)
    assert (np.diff(scores) <= 0).all()
    assert not np.isin(numbers, [0, 5, 6, 7]).any()


def test_k_items_remain_where_the_best_ones_are_blocked(exact, tmp_path):
    blocked = exact.top(ALL, NOTHING, 40)[0]
    build_index(exact, ALL, blocked, tmp_path / "items.faiss")
    indexed = IndexedRanker(exact, open_index(tmp_path / "items.faiss", exact))
    exact.calls = 0
    numbers, scores = indexed.top(ALL, blocked, 10)
    assert exact.calls == 0
    assert np.isfinite(scores).all()
    assert not (numbers[:, :, None] == blocked[:, None, :]).any()
    assert recall_of(numbers, exact.top(ALL, blocked, 10)[0]) >= 0.99


def test_a_row_that_is_left_with_too_few_items_is_ranked_exactly(exact, indexed):
    indexed.index.nprobe = 1
    blocked = exact.top(ALL[:3], NOTHING[:3], 300)[0]  # more than the nearest list holds
    exact.calls = 0
    numbers, scores = indexed.top(ALL[:3], blocked, 10)
    assert exact.calls == 1
    wanted = exact.top(ALL[:3], blocked, 10)
    assert (numbers.tolist(), scores.tolist()) == (wanted[0].tolist(), wanted[1].tolist())


def test_where_more_is_asked_than_an_index_is_good_for_the_whole_product_answers(exact, indexed):
    numbers, _ = indexed.top(ALL[:3], NOTHING[:3], N_ITEMS)
    assert exact.calls == 1
    assert numbers.shape == (3, N_ITEMS)


def test_of_two_equal_items_the_lower_number_comes_first(exact, tmp_path):
    longest = exact.table[np.linalg.norm(exact.table, axis=1).argmax()]
    exact.table[[100, 2000]], exact.queries[0] = longest, longest
    exact.bias[[100, 2000]] = exact.bias.max() + 0.1
    build_index(exact, ALL, NOTHING, tmp_path / "items.faiss")
    numbers, _ = IndexedRanker(exact, open_index(tmp_path / "items.faiss", exact)).top(ALL[:1], NOTHING[:1], 10)
    assert numbers[0, :2].tolist() == [100, 2000]


def test_recall_is_the_share_of_the_exact_best_that_was_found():
    assert recall_of(np.array([[1, 2, 3], [7, 8, 9]]), np.array([[3, 4], [9, 8]])) == 0.75
    assert possible_items(np.array([-np.inf, 0, -np.inf, 0.5], np.float32)).tolist() == [1, 3]


def test_an_index_that_stays_below_the_recall_is_refused_and_not_written(exact, tmp_path, monkeypatch):
    monkeypatch.setattr(index_module, "AIM", 1.01)
    monkeypatch.setattr(index_module, "RECALL", 1.01)
    with pytest.raises(ConfigError, match=r"an index finds 1\.0000 of the best 10 items, wanted 1.01; use --no-index"):
        build_index(exact, ALL, NOTHING, tmp_path / "items.faiss")
    assert not (tmp_path / "items.faiss").exists()


def test_a_file_that_is_no_index_or_one_of_other_items_is_refused(exact, indexed, tmp_path):
    (tmp_path / "zip.faiss").write_bytes(b"PK\x03\x04 not an index")
    with pytest.raises(ArtifactError, match="zip.faiss: is no index"):
        open_index(tmp_path / "zip.faiss", exact)
    exact.bias[9] = -np.inf
    with pytest.raises(ArtifactError, match="holds IndexIVFFlat of 2997 vectors of 18 numbers, wanted 2996 of 18"):
        open_index(tmp_path / "items.faiss", exact)
    faiss.write_index(faiss.IndexFlatL2(18), str(tmp_path / "flat.faiss"))
    with pytest.raises(ArtifactError, match="holds IndexFlatL2 of 0 vectors"):
        open_index(tmp_path / "flat.faiss", exact)


def test_an_export_gets_an_index_from_so_many_items_on_or_where_it_is_asked_for(run_copy):
    chosen = choose_agent(run_copy, "sasrec")
    quiet = Reporter(Console(file=io.StringIO()))
    export(chosen, quiet, index_from=1)
    manifest = read_manifest(chosen.exported, "export", "")
    assert manifest.notes["index"]["recall_at_10"] >= 0.99
    assert "items.faiss" in manifest.files
    export(chosen, quiet, index=False, index_from=1)
    assert not (chosen.exported / "items.faiss").exists()


def test_a_recommender_with_an_index_answers_as_one_without(run_copy, onnx_recommender):
    export(choose_agent(run_copy, "sasrec"), Reporter(Console(file=io.StringIO())), index=True)
    indexed = Recommender.load(run_copy, "sasrec")
    assert isinstance(indexed.ranker, IndexedRanker)
    assert indexed.version != onnx_recommender.version
    names = indexed.catalog.ids
    genre = next(iter(indexed.catalog.members))
    for filters in ({}, {"exclude": names[20:25]}, {"within": genre}, {"allow": names[5:15]}):
        seen, wanted = (one.recommend(names[1:6], 5, **filters).items for one in (indexed, onnx_recommender))
        assert [item.item_id for item in seen] == [item.item_id for item in wanted]


def test_an_index_in_disguise_is_refused(run_copy):
    chosen = choose_agent(run_copy, "sasrec")
    export(chosen, Reporter(Console(file=io.StringIO())), index=True)
    (chosen.exported / "items.faiss").write_bytes(b"\x80\x04 a pickle, perhaps")
    with pytest.raises(ArtifactError, match="items.faiss: damaged"):
        Recommender.load(run_copy, "sasrec", backend="onnx")
    shutil.rmtree(run_copy / "agents")
    body = json.loads((chosen.exported / "manifest.json").read_text())
    body["files"]["items.faiss"] = file_digest(chosen.exported / "items.faiss")
    (chosen.exported / "manifest.json").write_text(json.dumps(body))
    with pytest.raises(ArtifactError, match="items.faiss: is no index"):
        Recommender.load(run_copy, "sasrec", backend="onnx")
