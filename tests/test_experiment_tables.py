"""Tables of an experiment: means and deviations over seeds, marks of the tests, nothing that Markdown or LaTeX would misread."""

import dataclasses

import polars as pl
import pytest

from learec.config.experiment import load_experiment
from learec.experiment.grid import Cell, plan_of
from learec.experiment.render import latex, latex_text, markdown
from learec.experiment.results import SCHEMA, comparison_rows, groups
from learec.experiment.tables import Found, Line, Table, marks_of, tables_of

EXPERIMENT = """
[experiment]
seeds = [0, 1]
objectives = ["snqn"]
[columns.LEA]
lea = ["augmented"]
placebos = ["random"]
[logs.shop.data]
events = "shop.csv"
[ablations.augmented]
setting = "annotations.n_augmented"
values = [3, 7]
"""
CELLS = {
    cell.name: cell for cell in (Cell("sasrec", "snqn", "none"), *(Cell("sasrec", "snqn", "LEA", p) for p in (None, "random")))
}


def compared(base: str, difference: float, p: float):
    found = {"new": "sasrec-snqn-LEA", "base": base, "metric": "NDCG@10", "difference": difference, "p": p / 2, "p_adjusted": p}
    return {
        **found,
        "low": difference - 0.01,
        "high": difference + 0.01,
        "effect": 0.1,
        "seeds": 2,
        "base_seeds": 2,
        "covers_seeds": True,
    }


@pytest.mark.parametrize(
    ("against_base", "against_placebo", "marks"),
    [
        ((0.01, 0.049), (0.01, 0.049), "†‡"),
        ((0.01, 0.05), (0.01, 0.01), "‡"),
        ((0.01, 0.01), (0.01, 0.2), "†"),
        ((-0.01, 0.01), (-0.01, 0.01), "↓"),
    ],
)
def test_marks_say_what_tests_tell_apart_below_five_per_cent(against_base, against_placebo, marks):
    found = [compared("sasrec-snqn", *against_base), compared("sasrec-snqn-LEA-random", *against_placebo)]
    assert marks_of(CELLS, found)["sasrec-snqn-LEA"] == marks


def test_one_placebo_that_is_not_beaten_takes_the_mark():
    cells = {**CELLS, "sasrec-snqn-LEA-text": Cell("sasrec", "snqn", "LEA", "text")}
    found = [compared("sasrec-snqn-LEA-random", 0.01, 0.01), compared("sasrec-snqn-LEA-text", 0.01, 0.5)]
    assert marks_of(cells, found)["sasrec-snqn-LEA"] == ""
    assert marks_of(cells, found[:1])["sasrec-snqn-LEA"] == "", "nor may one be missing"


@pytest.fixture
def found(tmp_path):
    """Two seeds of two agents and a floor; the placebo has no cell that finished."""
    (tmp_path / "shop.toml").write_text(EXPERIMENT)
    plan = plan_of(load_experiment(tmp_path / "shop.toml"))
    rows = [
        ("main", "item_knn", None, 0.09),
        ("main", "sasrec-snqn", 0, 0.1), ("main", "sasrec-snqn", 1, 0.2),
        ("main", "sasrec-snqn-LEA", 0, 0.3), ("main", "sasrec-snqn-LEA", 1, 0.3),
        ("main", "sasrec-snqn-hybrid", 0, 0.5), ("main", "sasrec-snqn-hybrid", 1, 0.5),
        ("augmented-7", "sasrec-snqn-LEA", 0, 0.4),
    ]  # fmt: skip
    common = {"log": "shop", "part": "test", "event": "all", "metric": "NDCG@10", "n": 1234}
    cells = [{**common, "variant": variant, "agent": agent, "seed": seed, "value": value} for variant, agent, seed, value in rows]
    cell = {"mean": 0.0, "low": 0.05, "high": 0.15}
    names = {
        "item_knn": ("floor", 1), "sasrec-snqn": ("agent", 2), "sasrec-snqn-LEA": ("agent", 2),
        "sasrec-snqn-hybrid": ("hybrid", 2),
    }  # fmt: skip
    results = {
        "main_metric": "NDCG@10",
        "rows": [
            {"name": name, "kind": kind, "seeds": seeds, "metrics": {"NDCG@10": cell}} for name, (kind, seeds) in names.items()
        ],
        "comparisons": [compared("sasrec-snqn", 0.15, 0.001)],
    }
    return Found(plan, pl.DataFrame(cells, schema=SCHEMA), {"shop/main": results})


def test_a_log_has_floors_then_a_block_for_every_encoder_with_deviations_intervals_and_marks(found):
    table = next(tables_of(found))
    assert table.title == "shop: test part, 1,234 targets, all items ranked, seen items masked"
    assert table.heading == ("encoder", "method", "NDCG@10", "95 % of NDCG@10", "seeds")
    # .1 and .2 deviate from their mean by .05, so by sqrt(.005) as a sample.
    assert [line.cells for line in table.lines] == [
        ("floor", "item_knn", ".0900", ".0500 to .1500", ""),
        ("sasrec", "snqn", ".1500 ± .0707", ".0500 to .1500", "2"),
        ("", "snqn + LEA", ".3000 ± .0000", ".0500 to .1500", "2"),
        ("hybrid", "sasrec-snqn-hybrid", ".5000 ± .0000", ".0500 to .1500", "2"),
    ]
    assert [line.marks for line in table.lines] == ["", "", "†", ""]


def test_an_ablation_shows_the_base_the_grids_own_value_and_every_other_one(found):
    *_, ablation = tables_of(found)
    assert [line.cells for line in ablation.lines] == [
        ("none", "sasrec-snqn", ".1500 ± .0707"),
        ("3", "sasrec-snqn-LEA", ".3000 ± .0000"),
        ("7", "sasrec-snqn-LEA", ".4000"),
    ]


def test_pooled_comparisons_stand_before_the_comparisons_and_say_what_a_run_is(found):
    one = {**compared("none", 0.15, 0.001), "new": "LEA (2 agents)"}
    _, pooled, tested, _ = tables_of(dataclasses.replace(found, pooled={"shop/main": [one]}))
    assert pooled.title == "shop: over all encoders and objectives together, test part"
    assert pooled.lines[0].cells[:3] == ("LEA (2 agents)", "none", "+.1500")
    assert pooled.note.startswith("A run is the mean of one seed's agents")
    assert not tested.note.startswith("A run")
    assert (pooled.name, tested.name) == ("shop-pooled", "shop-comparisons")


def test_rows_of_tests_say_which_are_pooled(found):
    one = {**compared("none", 0.15, 0.001), "new": "LEA (2 agents)", "n": 1234}
    [planned] = [run for run in found.plan.runs if run.name == "shop/main"]
    results = {"shop/main": {"comparisons": [{**compared("sasrec", 0.2, 0.01), "n": 1234}]}}
    rows = comparison_rows([planned], results, {"shop/main": [one]})
    assert rows.select("variant", "pooled", "new", "base", "p").rows() == [
        ("main", True, "LEA (2 agents)", "none", 0.0005), ("main", False, "sasrec-snqn-LEA", "sasrec", 0.005),
    ]  # fmt: skip


def test_what_was_tested_stands_with_its_interval_and_p_values(found):
    _, tested, _ = tables_of(found)
    assert tested.title == "shop: comparisons, test part"
    assert [line.cells for line in tested.lines] == [
        ("sasrec-snqn-LEA", "sasrec-snqn", "+.1500", "+.1400 to +.1600", ".0005", ".0010", "+.10", "2, 2")
    ]
    found.results["shop/main"]["comparisons"][0]["covers_seeds"] = False
    assert list(tables_of(found))[1].lines[0].cells[-1] == "2, 2 (these runs alone)"


def test_a_value_that_is_not_there_is_a_dash(found):
    without = Found(found.plan, found.cells.filter(pl.col("variant") == "main"), found.results)
    assert list(tables_of(without))[-1].lines[-1].cells == ("7", "sasrec-snqn-LEA", "–")


def test_both_pages_hold_every_table_with_marks_only_where_tests_were(found):
    tables = list(tables_of(found))
    page, text = markdown("shop", tables, {}), latex(tables, {})
    assert "|  | snqn + LEA | .3000 ± .0000 † | .0500 to .1500 | 2 |" in page
    assert "| 7 | sasrec-snqn-LEA | .4000 |" in page
    assert text.count(r"\begin{tabular}") == 3
    assert "issing" not in page + text


def test_a_kind_of_event_that_is_called_all_is_not_taken_for_all_of_them():
    ranks = pl.DataFrame({"part": ["test"] * 4, "event": ["all", "view", "view", "view"], "sasrec/0": [1, 2, 3, 4]})
    found = {(part, event): len(chosen) for part, event, chosen in groups(ranks)}
    assert found == {
        ("validation", "all"): 0, ("validation", "all (kind)"): 0, ("validation", "view"): 0,
        ("test", "all"): 4, ("test", "all (kind)"): 1, ("test", "view"): 3,
    }  # fmt: skip


def test_markdown_and_latex_escape_what_they_would_read_as_commands():
    line = Line(("floor", r"a_b|c & 5% {x} \n", ".1 ± .2"), "†", True)
    table = Table("my log", "my_log", ("encoder", "method", "NDCG@10"), (line,), "note", 2)
    page = markdown("x", [table], {"log/main/one_cell/0": "it broke"})
    assert r"| floor | a\_b\|c & 5% {x} \\n | .1 ± .2 † |" in page
    assert r"- log/main/one\_cell/0: it broke" in page
    text = latex([table], {"one": "it\nbroke"})
    assert r"floor & a\_b\textbar{}c \& 5\% \{x\} \textbackslash{}n & .1 $\pm$ .2 \dag{} \\" in text
    assert "% missing: one: it broke\n" in text
    assert r"\label{tab:my-log}" in text
    assert r"\toprule" in text and r"\bottomrule" in text
    spelled = Line(("[2]", "<img src=x>`[a](b)`", ".1"))
    shown = Table("t", "t", ("encoder", "method", "NDCG@10"), (spelled,), "", 2)
    assert r"| \[2\] | \<img src=x\>\`\[a\](b)\` | .1 |" in markdown("<b>", [shown], {})
    assert markdown("<b>", [shown], {}).startswith(r"# \<b\>")
    assert "{[}2{]} & " in latex([shown], {}), "after \\\\ a bracket would be an argument"
    assert latex_text("~^#$") == r"\textasciitilde{}\textasciicircum{}\#\$"
