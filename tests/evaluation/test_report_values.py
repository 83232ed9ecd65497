"""The report on what a policy is worth: every figure stands where it belongs, and what is missing is named with its reason."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from learec.evaluation.report import render_report
from learec.evaluation.value_table import value_table

Json = dict[str, Any]
TableRow = Callable[[str, str, str], str]


def interval(mean: float) -> Json:
    return {"mean": mean, "low": mean - 0.01, "high": mean + 0.02}


def off_policy_row(name: str, seed: int | None, effective: float) -> Json:
    told = {"name": name, "seed": seed, "effective": effective, "clipped": 0.125, "mean_weight": interval(1.0)}
    return {**told, "ips": interval(0.31), "snips": interval(0.32), "dr": interval(0.33)}


@pytest.fixture
def values() -> Json:
    rollout: dict[str, Any] = {
        "k": 10, "users": 400, "steps": 8, "exposure": 0.5, "comparisons": [],
        "rows": [
            {"name": "popularity", "seed": None, "value": interval(0.41), "listed": interval(0.21)},
            {"name": "sasrec", "seed": 0, "value": interval(0.57), "listed": interval(0.27)},
        ],
        "bounds": [{"name": "at random", "value": interval(0.30)}, {"name": "all-knowing", "value": interval(0.95)}],
    }  # fmt: skip
    agreed = {"estimate": "SNIPS", "tau": 0.6, "low": 0.2, "high": 0.8, "low_both": -0.1, "high_both": 0.9, "n": 2}
    rows = [off_policy_row("popularity", None, 1234.4), off_policy_row("sasrec", 0, 56.0)]
    off = {"k": 10, "clip": 39.3, "effective_wanted": 100, "explained": 0.07, "rows": rows, "warnings": ["sasrec/0 (56): thin"]}
    without = {"judged": "judged_targets is 0 in [evaluation]"}
    return {"off_policy": off, "rollout": rollout, "agreement": [agreed], "judged": [], "without": without}


def section(html: str) -> str:
    return html.split('<section id="values"')[1].split("</section>")[0]


def test_a_run_without_values_has_no_such_section(data: Json, values: Json) -> None:
    assert "What a policy is worth" not in render_report(data)
    html = render_report({**data, "values": values})
    assert html.count("What a policy is worth") == 2  # the link to it, and its head
    assert '<a href="#values">' in html and '<section id="values"' in html


def test_every_policy_stands_with_its_true_value_and_its_estimates(data: Json, values: Json, table_row: TableRow) -> None:
    html = render_report({**data, "values": values})
    true = "0.5700 0.5600 to 0.5900 0.2700 0.2600 to 0.2900"
    estimated = "0.3100 0.3000 to 0.3300 0.3200 0.3100 to 0.3400 0.3300 0.3200 to 0.3500"
    assert table_row(html, "values", "sasrec/0") == f"sasrec/0 {true} {estimated} 56 too small 12.5 %"
    heads = re.findall(r"<th scope=.col..*?>(.*?)</th>", section(html).split("</thead>")[0])
    estimates = ["clipped IPS", "SNIPS", "doubly robust", "effective sample", "clipped"]
    assert heads == ["policy", "true value", "true worth of its lists", *estimates]
    assert table_row(html, "values", "popularity").endswith("1,234 12.5 %")


def test_sentences_agreement_and_reasons_are_in_words(data: Json, values: Json, table_row: TableRow) -> None:
    html = render_report({**data, "values": values})
    assert "sasrec/0 earns most, 0.5700 (0.5600 to 0.5900); at random 0.3000, all-knowing 0.9500." in section(html)
    assert "Off-policy estimates of sasrec/0 (56): thin." in section(html)
    assert table_row(html, "values", "SNIPS") == "SNIPS +0.60 +0.20 to +0.80 \N{MINUS SIGN}0.10 to +0.90 2"
    assert "Rewards by the environment are left out: judged_targets is 0 in [evaluation]." in section(html)


def test_the_chart_has_policies_and_bounds_best_first(data: Json, values: Json) -> None:
    part = section(render_report({**data, "values": values}))
    places = [part.index(f"<title>{name}: ") for name in ("all-knowing", "sasrec/0", "popularity", "at random")]
    assert places == sorted(places)
    assert part.count('class="strong"') == 2  # one agent, drawn for desktop and phone


def test_parts_that_a_run_has_not_leave_their_reason_and_nothing_else(data: Json, values: Json) -> None:
    reasons = {"off_policy": "all is worth the same", "rollout": "there is no truth/ here", "judged": "judged_targets is 0"}
    html = render_report({**data, "values": {**dict.fromkeys(values), "agreement": [], "judged": [], "without": reasons}})
    assert "<table" not in section(html) and "<svg" not in section(html)
    assert "True values by rollout are left out: there is no truth/ here." in section(html)


def test_a_policy_that_only_some_figures_know_has_gaps(values: Json) -> None:
    judged = [{"name": "popularity", "seed": None, "reward": interval(-0.5)}]
    table = value_table({**values, "off_policy": None, "judged": judged})
    assert table["columns"] == ["true value", "true worth of its lists", "LE reward"]
    assert [row["cells"]["LE reward"] for row in table["rows"]] == [interval(-0.5), None]
    assert [row["off_policy"] for row in table["rows"]] == [None, None]
