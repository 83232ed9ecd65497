"""Tables: the main metric by kind of event, floors that are left out, and how both are printed."""

import dataclasses
import json
from io import StringIO
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from learec.cli import tables as on_screen
from learec.config import EvaluationConfig
from learec.data.log import Part
from learec.errors import ConfigError
from learec.evaluation.baselines import DESCRIPTIONS, floors
from learec.evaluation.evaluate import Contestant, by_event, evaluate, results_request
from learec.progress import Reporter

CONFIG = EvaluationConfig(resamples=50)


def contestants(log, config=CONFIG):
    found = floors(config, log.training, log.catalog.n_items, None)
    return [Contestant(name, None, DESCRIPTIONS[name], scorer) for name, scorer in found.items()]


def evaluated(log, folder, quiet, config=CONFIG):
    return evaluate(results_request(config, 0, {}), log, None, contestants(log, config), folder / "results", reporter=quiet)


def with_kinds(log, kinds, names):
    """The log with other kinds of events, (E,)."""
    return dataclasses.replace(log, sessions=dataclasses.replace(log.sessions, events=kinds), event_names=names)


def test_a_metric_by_kind_of_event_by_hand():
    events = np.array(["view", "buy", "view", "view"])
    runs = {"a": [np.array([1.0, 0.0, 0.5, 0.0])], "b": [np.array([0.0, 1.0, 0.0, 0.0]), np.array([0.0, 0.5, 0.0, 0.6])]}
    found = by_event(events, np.array([0, 0, 1, 2]), runs, resamples=100, seed=0)
    assert [list(kinds) for kinds in found.values()] == [["view", "buy"]] * 2  # most frequent first
    assert (found["a"]["view"]["n"], found["a"]["buy"]["n"]) == (3, 1)
    assert found["a"]["view"]["mean"] == pytest.approx(0.5)
    assert found["b"]["view"]["mean"] == pytest.approx(0.1)
    assert found["b"]["view"]["seed_deviation"] == pytest.approx(0.2 / np.sqrt(2))
    assert found["a"]["view"]["low"] < 0.5 < found["a"]["view"]["high"]
    buy = found["b"]["buy"]
    assert (buy["low"], buy["mean"], buy["high"]) == (0.75, 0.75, 0.75)  # one session has all of them: the others play no part


def test_targets_of_all_kinds_together_are_the_main_row(small_log, tmp_path, quiet):
    tables = evaluated(small_log, tmp_path, quiet)
    targets = small_log.targets(Part.TEST)
    counts = np.bincount(small_log.sessions.events[targets], minlength=3)
    for row in tables["rows"]:
        cells = row["by_event"]
        assert {kind: cell["n"] for kind, cell in cells.items()} == dict(zip(small_log.event_names, counts, strict=True))
        whole = sum(cell["n"] * cell["mean"] for cell in cells.values()) / len(targets)
        assert whole == pytest.approx(row["metrics"]["NDCG@10"]["mean"])
    assert json.loads((tmp_path / "results/tables.json").read_text()) == tables


def test_kinds_are_told_by_the_event_column_whatever_they_are_worth(small_log, tmp_path, quiet):
    worthless = dataclasses.replace(small_log.sessions, rewards=np.zeros_like(small_log.sessions.rewards))
    shuffled = dataclasses.replace(small_log.sessions, rewards=np.random.default_rng(0).permutation(small_log.sessions.rewards))
    found = [
        evaluated(dataclasses.replace(small_log, sessions=sessions), tmp_path / name, quiet)
        for name, sessions in {"as_logged": small_log.sessions, "worthless": worthless, "shuffled": shuffled}.items()
    ]
    assert found[0] == found[1] == found[2]
    assert len(found[0]["rows"][0]["by_event"]) == 3
    targets = small_log.targets(Part.TEST)
    kinds = np.zeros_like(small_log.sessions.events)
    kinds[targets[:5]] = 1
    cells = evaluated(with_kinds(small_log, kinds, ["view", "buy"]), tmp_path / "kinds", quiet)["rows"][0]["by_event"]
    assert {kind: cell["n"] for kind, cell in cells.items()} == {"view": len(targets) - 5, "buy": 5}


def test_a_log_of_one_kind_has_the_main_row_again(small_log, tmp_path, quiet):
    log = with_kinds(small_log, np.zeros_like(small_log.sessions.events), ["event"])
    tables = evaluated(log, tmp_path, quiet)
    for row in tables["rows"]:
        assert row["by_event"] == {"event": {"n": tables["n_targets"]["test"], **row["metrics"]["NDCG@10"]}}


def test_a_comparison_with_a_floor_that_is_left_out_is_refused_before_anything_is_ranked(small_log, tmp_path, quiet):
    config = EvaluationConfig(ease_items=30, compare=(("item_knn", "ease"),))
    reason = "40 items are more than ease_items = 30 in .*; drop the pair or change that"
    with pytest.raises(ConfigError, match=f"evaluation.compare names 'ease', which is left out: {reason}"):
        evaluated(small_log, tmp_path, quiet, config)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ConfigError, match="names 'rule', which is left out: it needs item vectors, which learec annotate makes;"):
        evaluated(small_log, tmp_path, quiet, EvaluationConfig(compare=(("item_knn", "rule"),)))


@pytest.fixture
def printed(monkeypatch, tmp_path):
    """What learec evaluate prints of a results/ folder below tmp_path."""
    monkeypatch.setattr(on_screen, "costs", lambda job: [])

    def print_results(width=100):
        page = StringIO()
        recipe = SimpleNamespace(name="small", evaluation=CONFIG)
        reporter = Reporter(Console(file=page, width=width))
        on_screen.print_results(SimpleNamespace(folder=lambda name: tmp_path / name, recipe=recipe, reporter=reporter))
        return page.getvalue()

    return print_results


@pytest.mark.parametrize("width", [40, 80, 200])
def test_the_table_by_kind_is_printed_with_targets_means_and_intervals(small_log, tmp_path, quiet, printed, width):
    names = ["[red]view[/red]", "play", "like"]
    row = evaluated(with_kinds(small_log, small_log.sessions.events, names), tmp_path, quiet)["rows"][2]
    page = printed(width)
    assert "NDCG@10 by kind of event, with its 95 % interval" in page
    part = page.split("by kind of event")[1]
    for kind, cell in row["by_event"].items():
        assert kind in part and f"{cell['n']} targets" in part
        assert f"{cell['mean']:.4f}".removeprefix("0") in part
        assert f"{cell['low']:.4f} to {cell['high']:.4f}".replace("0.", ".") in part
    assert "ease" in part


def test_a_log_of_one_kind_gets_no_second_table(small_log, tmp_path, quiet, printed):
    evaluated(with_kinds(small_log, np.zeros_like(small_log.sessions.events), ["event"]), tmp_path, quiet)
    assert "by kind of event" not in printed()


def test_what_is_left_out_is_said_below_the_table(small_log, tmp_path, quiet, printed):
    tables = evaluated(small_log, tmp_path, quiet, EvaluationConfig(resamples=50, ease_items=30))
    assert [row["name"] for row in tables["rows"]] == ["popularity", "last_item", "item_knn", "v_sknn"]
    assert "ease is left out: 40 items are more than ease_items = 30" in printed()
    assert "rule is left out: it needs item vectors" in printed()
