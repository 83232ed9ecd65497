"""Tables: the main metric by kind of event, floors that are left out, and how both are printed."""

import dataclasses
import json
import shutil
from io import StringIO
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from rich.console import Console

import learec.evaluation.examples
from learec.artifacts import building, is_current, request_for
from learec.cli import tables as on_screen
from learec.config import AgentConfig, DataConfig, EvaluationConfig, Recipe, RunOptions
from learec.data.log import Part
from learec.errors import ConfigError
from learec.evaluation.evaluate import Contestant, evaluate, results_request
from learec.evaluation.examples import examples
from learec.evaluation.floors import DESCRIPTIONS, first, floors
from learec.evaluation.metrics import ranking
from learec.evaluation.permutation import holm
from learec.evaluation.slices import GROUPS
from learec.evaluation.tables import Row, Tables, Targets, leads
from learec.progress import Reporter
from learec.run import Run, costs

CONFIG = EvaluationConfig(resamples=50)


def contestants(log, config=CONFIG):
    found = floors(config, log.training, log.catalog.n_items, None, choose=first)
    return [Contestant(name, None, DESCRIPTIONS[name], floor.scorer, floor=floor) for name, floor in found.items()]


def evaluated(log, folder, quiet, config=CONFIG):
    return evaluate(
        results_request(config, 0, {}), log, None, lambda: contestants(log, config), folder / "results", reporter=quiet
    )


def with_kinds(log, kinds, names):
    """The log with other kinds of events, (E,)."""
    return dataclasses.replace(log, sessions=dataclasses.replace(log.sessions, events=kinds), event_names=names)


def test_a_metric_by_kind_of_event_by_hand():
    events, sessions = np.array(["view", "buy", "view", "view"]), np.array([0, 0, 1, 2])
    targets = Targets(sessions, events, np.ones(4, np.float32), {})
    runs = {"a": [np.array([1.0, 0.0, 0.5, 0.0])], "b": [np.array([0.0, 1.0, 0.0, 0.0]), np.array([0.0, 0.5, 0.0, 0.6])]}
    found = Tables(EvaluationConfig(resamples=100), 0, targets).by_slice(runs, targets.kinds())
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
        [
            (row["name"], row["metrics"], row["by_event"], row["slices"])
            for row in evaluated(dataclasses.replace(small_log, sessions=sessions), tmp_path / name, quiet)["rows"]
        ]
        for name, sessions in {"as_logged": small_log.sessions, "worthless": worthless, "shuffled": shuffled}.items()
    ]
    assert found[0] == found[1] == found[2]
    assert len(found[0][0][2]) == 3
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


def test_what_a_run_cost_is_told_by_stage_as_far_as_it_is_known(tmp_path):
    recipe = Recipe(name="small", data=DataConfig(events="events.csv"), agents={"sasrec": AgentConfig(seeds=(0, 1))})
    run = Run(recipe, "small.toml", RunOptions(tmp_path, tmp_path), Reporter(Console(quiet=True)))
    places = ["log", "agents/sasrec/seed-0", "agents/sasrec/seed-1", "results"]
    for number, place in enumerate(places, 1):
        with building(tmp_path / place, request_for("log", {}, {}), {}):
            pass
        (tmp_path / place / "cost.json").write_text(json.dumps({"seconds": number, "peak_mb": 10 * number}))
    told = {"prepare": (1, 10), "train": (5, 30), "evaluate": (4, 40)}
    assert costs(run) == [{"stage": stage, "seconds": s, "peak_mb": m} for stage, (s, m) in told.items()]
    (tmp_path / places[1] / "cost.json").unlink()
    assert [one["stage"] for one in costs(run)] == ["prepare", "evaluate"], "a sum without some of its parts would be no sum"
    (tmp_path / "results/cost.json").write_text("{")
    assert [one["stage"] for one in costs(run)] == ["prepare"]


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
    assert [row["name"] for row in tables["rows"]] == ["popularity", "recent_popularity", "last_item", "item_knn", "v_sknn"]
    assert "ease is left out: 40 items are more than ease_items = 30" in printed()
    assert "rule is left out: it needs item vectors" in printed()
    assert "diversity" not in printed()  # stands in no table that is printed


class Lucky:
    """Scores that depend on the seed alone, and the same for every history."""

    def __init__(self, n_items, seed):
        self.row = np.random.default_rng(seed).normal(size=n_items + 1).astype(np.float32)

    def scores(self, histories, lengths):
        return np.tile(self.row, (len(histories), 1))


@pytest.fixture
def compared(small_log, tmp_path, quiet):
    """Tables of floors and of two agents by luck, one with three seeds and one with one."""
    pairs = (("several", "popularity"), ("one", "popularity"), ("several", "item_knn"), ("item_knn", "popularity"))
    config = EvaluationConfig(resamples=50, permutations=499, compare=pairs)
    agents = [Contestant("several", seed, "luck", Lucky(small_log.catalog.n_items, seed)) for seed in range(3)]
    agents.append(Contestant("one", 7, "luck", Lucky(small_log.catalog.n_items, 7)))
    found = [*contestants(small_log, config), *agents]
    return evaluate(results_request(config, 0, {}), small_log, None, lambda: found, tmp_path / "results", reporter=quiet)


def test_the_best_agent_on_validation_meets_the_best_floor_on_validation_asked_or_not(compared):
    validation = {row["name"]: np.mean(list(row["validation"].values())) for row in compared["rows"]}
    agents = {"several", "one"}
    best = [max(names, key=lambda name: validation[name]) for names in (agents, validation.keys() - agents)]
    (lead,) = compared["leads"]
    assert [lead["new"], lead["base"]] == best
    assert lead["p_adjusted"] == lead["p"]
    assert all(one["slices"]["head item"]["sessions"] > 0 for one in (lead, *compared["comparisons"]))


def test_a_placebo_that_is_the_best_on_validation_leads_nothing():
    def row(name, kind, validation, is_control=False):
        return Row(name, kind, "", [np.ones(1)], [{}], {f"{name}/0": validation}, is_control)

    rows = [row("rule", "floor", 0.3), row("agent", "agent", 0.4), row("placebo", "agent", 0.5, True)]
    assert leads(rows) == [("agent", "rule")]
    assert leads([row("rule", "floor", 0.0), row("agent", "agent", 0.0)]) == [], "nothing was validated"


def test_the_gain_of_a_placebo_over_the_same_base_stands_beside_a_comparison_and_is_no_test(small_log, tmp_path, quiet, printed):
    n_items = small_log.catalog.n_items
    agents = [Contestant("plain", seed, "", Lucky(n_items, seed)) for seed in range(2)]
    agents += [Contestant("real", seed, "", Lucky(n_items, 10 + seed)) for seed in range(2)]
    agents += [Contestant("noise", 0, "", Lucky(n_items, 20), True, "real")]

    def compared(*pairs):
        config = EvaluationConfig(resamples=50, permutations=499, compare=pairs)
        found = [*contestants(small_log, config), *agents]
        shutil.rmtree(tmp_path / "results", ignore_errors=True)
        request = results_request(config, 0, {})
        return evaluate(request, small_log, None, lambda: found, tmp_path / "results", reporter=quiet)["comparisons"]

    shown = compared(("real", "plain"), ("real", "noise"), ("real", "popularity"), ("plain", "popularity"))
    lines = printed(200).splitlines()
    tested = compared(("noise", "plain"), ("noise", "popularity"), ("real", "plain"))
    names = "name", "seeds", "covers_seeds", "difference", "low", "high"
    wanted = [[dict(zip(names, ("noise", 1, False, *(one[key] for key in names[3:])), strict=True))] for one in tested[:2]]
    assert [one["placebos"] for one in shown] == [wanted[0], [], wanted[1], []]
    place = next(number for number, line in enumerate(lines) if line.startswith("real against plain: "))
    gain, low, high = (f"{wanted[0][0][key]:+.4f}" for key in names[3:])
    assert lines[place + 1] == f"  its placebo noise against the same: {gain} ({low} to {high}), not tested"
    assert [one["placebos"] for one in tested] == [[], [], []], "where it is compared itself it is not shown once more"


def test_examples_show_the_lists_that_are_ranked(small_log, monkeypatch):
    """Also where a history is longer than what is read of it, and where scores are no numbers."""
    monkeypatch.setattr(learec.evaluation.examples, "HISTORY", 2)
    targets = small_log.targets(Part.TEST)
    monkeypatch.setattr(learec.evaluation.examples, "N_EXAMPLES", len(targets))
    scorers = {"luck": Lucky(small_log.catalog.n_items, 0), "broken": Broken()}
    sessions, titles = small_log.sessions, small_log.catalog.titles
    n_longer = 0
    for step, found in zip(targets, examples(small_log, None, scorers, True, 0), strict=True):
        before = {titles[item] for item in sessions.items[step - sessions.step_of[step] : step]}
        n_longer += len(before) > 2
        listed = [one["title"] for one in found["recommendations"]["luck"]]
        assert len(listed) == 5 and not before & set(listed)
        assert found["recommendations"]["broken"] == []
    assert n_longer


class Broken:
    def scores(self, histories, lengths):
        return np.full((len(histories), 41), np.nan, dtype=np.float32)


def test_comparisons_have_p_values_effects_and_what_their_seeds_tell(compared):
    pairs = compared["comparisons"]
    assert [pair["covers_seeds"] for pair in pairs] == [True, False, True, True]
    assert [(pair["seeds"], pair["base_seeds"]) for pair in pairs] == [(3, 1), (1, 1), (3, 1), (1, 1)]
    assert [pair["seed_share"] > 0 for pair in pairs] == [True, False, True, False]
    assert [pair["p_adjusted"] for pair in pairs] == holm([pair["p"] for pair in pairs])
    means = {row["name"]: row["metrics"]["NDCG@10"]["mean"] for row in compared["rows"]}
    for pair in pairs:
        assert 1 / 500 <= pair["p"] <= 1
        assert pair["difference"] == pytest.approx(means[pair["new"]] - means[pair["base"]])
        assert pair["relative"] == pytest.approx(pair["difference"] / means[pair["base"]])
        assert pair["low"] <= pair["difference"] <= pair["high"]
        assert 0 <= pair["better"] + pair["worse"] <= 1


def test_slices_of_a_group_add_up_to_the_whole(compared):
    n = compared["n_targets"]["test"]
    for entry, value in [(row, "mean") for row in compared["rows"]] + [(pair, "difference") for pair in compared["comparisons"]]:
        whole = entry["metrics"]["NDCG@10"]["mean"] if value == "mean" else entry["difference"]
        for group in GROUPS:
            cells = [entry["slices"][name] for name in group if name in entry["slices"]]
            assert sum(cell["n"] for cell in cells) in (0, n)
            assert not cells or sum(cell["n"] * cell[value] for cell in cells) / n == pytest.approx(whole)
    assert compared["rows"][0]["slices"].keys() >= {"head item", "tail item"}
    for row in compared["rows"]:
        wholes = {"HR@10": row["metrics"]["HR@10"]["mean"], "MRR@10": row["beyond"]["MRR@10"]["mean"]}
        assert row["other_by_slice"].keys() == row["other_by_event"].keys() == wholes.keys()
        for metric, whole in wholes.items():
            by = row["other_by_slice"][metric]
            parts = [row["slices"][name]["n"] * (by[name] or 0) for name in GROUPS[1] if name in by]
            assert sum(parts) / n == pytest.approx(whole)


def test_beyond_accuracy_has_what_lists_tell_and_says_what_is_left_out(compared):
    cells = {row["name"]: row["beyond"] for row in compared["rows"]}
    assert list(cells["popularity"]) == [
        "MRR@5", "MRR@10", "MRR@20", "reward HR@10", "coverage@10", "Gini@10", "novelty@10", "popularity lift@10"
    ]  # fmt: skip
    assert cells["popularity"]["popularity lift@10"]["mean"] > cells["several"]["popularity lift@10"]["mean"]
    assert cells["several"]["coverage@10"]["seed_deviation"] is not None
    assert cells["one"]["MRR@10"]["seed_deviation"] is None and cells["one"]["MRR@10"]["low"] is not None
    assert compared["left_out"]["diversity"].startswith("it needs item vectors")


def test_with_an_environment_lists_have_a_diversity(small_log, tmp_path, quiet, rng):
    vectors = rng.normal(size=(small_log.catalog.n_items + 1, 4)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    annotations = SimpleNamespace(item_vectors=vectors, annotated=np.zeros(small_log.training.n_steps, bool))
    config = EvaluationConfig(resamples=50, list_length=3)
    tables = evaluate(
        results_request(config, 0, {}),
        small_log,
        annotations,
        lambda: contestants(small_log),
        tmp_path / "results",
        reporter=quiet,
    )
    lists = ranking(contestants(small_log)[0].scorer, small_log.sessions, small_log.targets(Part.TEST),
                    mask_seen=True, max_length=50, k=3).best  # fmt: skip
    pairs = [1 - vectors[row] @ vectors[row].T for row in lists]
    expected = np.mean([pair[np.triu_indices(3, 1)].mean() for pair in pairs])
    assert tables["rows"][0]["beyond"]["diversity@3"]["mean"] == pytest.approx(expected, rel=1e-5)
    assert "diversity" not in tables["left_out"]


def test_hits_are_weighted_by_what_events_are_worth(small_log, tmp_path, quiet):
    rewards = np.zeros_like(small_log.sessions.rewards)
    targets = small_log.targets(Part.TEST)
    rewards[targets[:10]] = 2.0
    log = dataclasses.replace(small_log, sessions=dataclasses.replace(small_log.sessions, rewards=rewards))
    evaluated(log, tmp_path / "weighted", quiet)
    table = pl.read_parquet(tmp_path / "weighted/results/ranks.parquet").filter(pl.col("part") == "test")
    tables = json.loads((tmp_path / "weighted/results/tables.json").read_text())
    cell = next(row for row in tables["rows"] if row["name"] == "item_knn")["beyond"]["reward HR@10"]
    assert cell["mean"] == pytest.approx((table["item_knn"].to_numpy()[:10] <= 10).mean())


def test_where_all_is_worth_the_same_hits_are_not_weighted(small_log, tmp_path, quiet):
    rewards = np.full(small_log.sessions.n_steps, 0.5)
    log = dataclasses.replace(small_log, sessions=dataclasses.replace(small_log.sessions, rewards=rewards))
    tables = evaluated(log, tmp_path, quiet)
    assert tables["left_out"]["reward HR@10"] == "all targets are worth the same, so it is HR itself"
    assert "reward HR@10" not in tables["rows"][0]["beyond"]


def test_the_p_value_of_every_comparison_is_printed(compared, printed):
    page = printed(200)
    for pair in compared["comparisons"]:
        p = f"p {pair['p']:.4f} (adjusted {pair['p_adjusted']:.4f})".replace("0.", ".")
        assert f"{pair['new']} against {pair['base']}: NDCG@10 {pair['difference']:+.4f} (" in page
        assert f"), {p}\n" in page
    assert "p values and intervals of an agent with one seed hold for that training run alone\n" in page


def test_a_log_without_validation_targets_is_measured_with_settings_as_they_come_first(small_log, tmp_path, quiet):
    parts = np.where(small_log.parts == Part.VALIDATION, Part.TRAIN, small_log.parts)
    log = dataclasses.replace(small_log, parts=parts)
    tables = evaluated(log, tmp_path, quiet)
    assert tables["n_targets"]["validation"] == 0 and tables["n_targets"]["test"] > 0
    assert set(pl.read_parquet(tmp_path / "results/ranks.parquet")["part"]) == {"test"}


def test_results_made_with_fewer_settings_are_made_again(small_log, tmp_path, quiet):
    request = results_request(CONFIG, 0, {})
    older = {name: value for name, value in request.config.items() if name not in {"permutations", "head_share"}}
    evaluated(small_log, tmp_path, quiet)
    assert is_current(tmp_path / "results", request)
    assert not is_current(tmp_path / "results", dataclasses.replace(request, config=older))
