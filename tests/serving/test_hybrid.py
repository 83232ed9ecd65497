"""A hybrid that is served: ranks as it did where it was measured, and damaged parts are refused."""

import json

import numpy as np
import pytest
from rich.console import Console

from learec.agents.train import train
from learec.artifacts import MANIFEST, file_digest, read_manifest
from learec.config import AgentConfig, AgentEntry
from learec.data.log import load_log
from learec.data.neighbours import ContentKNN, ItemKNN, Rule, unit_rows
from learec.errors import ArtifactError, ConfigError
from learec.evaluation.hybrid import Hybrid
from learec.hybrids import beside_for
from learec.line import validation_of
from learec.progress import Reporter
from learec.serving.choose import choose_agent
from learec.serving.export import export
from learec.serving.hybrid import Beside
from learec.serving.models import Models
from learec.serving.recommender import Query, Recommender
from learec.serving.torch_ranker import open_agent

QUIET = Reporter(Console(quiet=True))


def a_rule(log, width=8):
    vectors = unit_rows(np.random.default_rng(0).normal(size=(log.catalog.n_items + 1, width)))
    vectors[0] = 0
    return Rule(ContentKNN(vectors, 0.4), ItemKNN.fit(log.training, log.catalog.n_items, 0.7, 1.0), 3.0, 0.5)


def evidence(run_folder, **more):
    return Beside(a_rule(load_log(run_folder / "log"), **more), 30, "d1")


@pytest.fixture
def hybrid_run(run_copy):
    """A run whose agent sasrec is exported as a hybrid."""
    export(choose_agent(run_copy, "sasrec"), QUIET, hybrid=evidence(run_copy))
    return run_copy


@pytest.mark.parametrize("width", [8, 0], ids=["texts", "no texts"])
def test_served_scores_are_those_of_evaluation(run_copy, width, rng):
    chosen = choose_agent(run_copy, "sasrec")
    export(chosen, QUIET, hybrid=evidence(run_copy, width=width))
    served = Recommender.load(run_copy, "sasrec", backend="onnx")
    log = load_log(run_copy / "log")
    scorer = Hybrid(open_agent(chosen)[0], a_rule(log, width))
    names = log.catalog.ids
    for _ in range(200):
        numbers = rng.integers(1, log.catalog.n_items + 1, rng.integers(1, 28))  # the agent itself reads 12 of them
        scores = scorer.scores(numbers[None], np.array([len(numbers)]))[0]
        scores[[0, *numbers]] = -np.inf
        answer = served.recommend([names[number] for number in numbers], 5)
        assert [item.score for item in answer.items] == pytest.approx(np.sort(scores)[::-1][:5].tolist(), abs=1e-4)
        some = [names[number] for number in range(1, 9)]
        among = served.recommend([names[number] for number in numbers], 8, allow=some)
        found = {item.item_id: item.score for item in among.items}
        assert found == {name: pytest.approx(scores[i + 1], abs=1e-4) for i, name in enumerate(some) if scores[i + 1] > -np.inf}


@pytest.fixture
def run_with_evidence(run_copy):
    """A run whose agent `told` was trained with item-kNN within it, and is exported."""
    log = load_log(run_copy / "log")
    config = AgentConfig(hidden_size=16, epochs=3, batch_size=16, max_length=12, item_knn=True)
    train(
        AgentEntry("told", 0, config), log, None, run_copy / "agents/told/seed-0", device="cpu", reporter=QUIET,
        validate=validation_of(log, True),
    )  # fmt: skip
    export(choose_agent(run_copy, "told"), QUIET)
    return run_copy


@pytest.mark.parametrize("backend", ["torch", "onnx"])
def test_an_agent_with_evidence_within_is_served_as_it_was_measured(run_with_evidence, backend, rng):
    served = Recommender.load(run_with_evidence, "told", backend=backend)
    log, agent = load_log(run_with_evidence / "log"), open_agent(choose_agent(run_with_evidence, "told"))[0]
    rule = agent.evidence.rule()
    names, differs = log.catalog.ids, 0
    for _ in range(100):
        numbers = rng.integers(1, log.catalog.n_items + 1, rng.integers(1, 28))
        scores = agent.scores(numbers[None], np.array([len(numbers)]))[0]
        differs += np.unique(rule.scores(numbers[None], np.array([len(numbers)]))).size > 1
        scores[[0, *numbers]] = -np.inf
        answer = served.recommend([names[number] for number in numbers], 5)
        assert [item.score for item in answer.items] == pytest.approx(np.sort(scores)[::-1][:5].tolist(), abs=1e-4)
    assert differs, "counts say something"


def test_texts_and_counts_are_not_put_beside_an_agent_that_has_them_within(run_with_evidence):
    with pytest.raises(ConfigError, match="trained with texts or item-kNN within it; drop --hybrid"):
        export(choose_agent(run_with_evidence, "told"), QUIET, hybrid=evidence(run_with_evidence))
    with pytest.raises(ConfigError, match="trained with texts or item-kNN within it; drop --hybrid"):
        beside_for(choose_agent(run_with_evidence, "told"))
    with pytest.raises(ConfigError, match="drop --index"):
        export(choose_agent(run_with_evidence, "told"), QUIET, True)
    manifest = read_manifest(run_with_evidence / "export/told/seed-0", "export", "")
    assert set(manifest.request.parents) == {"agent", "log"}


def test_many_queries_at_once_get_the_answers_of_each_alone(hybrid_run, rng):
    served = Recommender.load(hybrid_run, "sasrec", backend="onnx")
    names = np.array(served.catalog.ids[1:])
    queries = [Query(tuple(rng.choice(names, rng.integers(0, 20))), int(rng.integers(1, 9))) for _ in range(60)]
    for one, query in zip(served.answer(queries), queries, strict=True):
        alone = served.answer([query])[0]
        assert [item.item_id for item in one.items] == [item.item_id for item in alone.items]
        assert [item.score for item in one.items] == pytest.approx([item.score for item in alone.items], abs=1e-4)


def test_a_server_takes_it_up_beside_others_and_its_version_is_its_own(run_copy):
    models = Models(run_copy, ["sasrec", "untied"])
    plain = models.now.find("sasrec").version
    export(choose_agent(run_copy, "sasrec"), QUIET, hybrid=evidence(run_copy))
    assert [one.name for one in models.refresh()] == ["sasrec/0"]
    assert models.now.find("sasrec").version != plain
    export(choose_agent(run_copy, "sasrec"), QUIET)  # and back
    models.refresh()
    assert models.now.find("sasrec").version == plain


def test_an_export_that_is_up_to_date_is_left_alone_and_other_weights_are_not(hybrid_run):
    manifest = hybrid_run / "export/sasrec/seed-0" / MANIFEST
    before = manifest.stat().st_mtime_ns
    export(choose_agent(hybrid_run, "sasrec"), QUIET, hybrid=evidence(hybrid_run))
    assert manifest.stat().st_mtime_ns == before
    export(choose_agent(hybrid_run, "sasrec"), QUIET, hybrid=Beside(evidence(hybrid_run).rule, 30, "d2"))
    assert manifest.stat().st_mtime_ns != before


def test_what_does_not_go_together_is_refused(run_copy):
    chosen, known = choose_agent(run_copy, "sasrec"), evidence(run_copy)
    with pytest.raises(ConfigError, match="an index finds the best items by an agent's rows"):
        export(chosen, QUIET, True, hybrid=known)
    fewer = Rule(ContentKNN(known.rule.content.vectors[:-3], 0.7), known.rule.knn, 1.0)
    with pytest.raises(ArtifactError, match="item vectors are of"):
        export(chosen, QUIET, hybrid=Beside(fewer, 30, "d"))


def test_damaged_neighbours_are_refused_in_words(hybrid_run):
    folder = hybrid_run / "export/sasrec/seed-0"
    items = np.load(folder / "neighbours-items.npy")
    items[0] = 10_000
    np.save(folder / "neighbours-items.npy", items)
    with pytest.raises(ArtifactError, match="sha256"):
        Recommender.load(hybrid_run, "sasrec", backend="onnx")
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["files"]["neighbours-items.npy"] = file_digest(folder / "neighbours-items.npy")
    (folder / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError, match="its neighbours are no table of"):
        Recommender.load(hybrid_run, "sasrec", backend="onnx")
