"""The report says what the numbers say, shows all of them, trusts no title, and needs nothing but itself."""

import copy
import re
from base64 import b64encode
from collections.abc import Callable
from hashlib import sha256
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from learec.evaluation.plots import Scale
from learec.evaluation.report import render_report, write_report
from learec.evaluation.verdicts import verdict

Json = dict[str, Any]
Build = Callable[..., Any]  # a fixture that makes what it is named for
SECTIONS = {"results", "comparisons", "gains", "beyond", "learning", "environment", "annotations", "sessions", "meaning", "run"}
HOSTILE = '<script>alert("x")</script> & <img src="https://evil.example/a.png">'


class Page(HTMLParser):
    """Tags with attributes, section ids, and the words of a page without those of its charts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, str] = {}
        self._open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in {"meta", "input"}:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data: str) -> None:
        if not {"svg", "style", "script"} & set(self._open):
            self.texts["all"] = self.texts.get("all", "") + data

    @property
    def sections(self) -> set[str | None]:
        return {attrs["id"] for tag, attrs in self.tags if tag == "section"}


def summary_of(html: str) -> str:
    found = re.search(r'<div class="lead">(.*?)</div>', html, re.DOTALL)
    assert found is not None
    return unescape(re.sub("<[^>]+>", "", found[1].replace("</li>", " ").replace("</p>", " "))).replace("\N{MINUS SIGN}", "-")


def test_the_page_is_well_formed_and_has_every_section(data: Json) -> None:
    page = Page(render_report(data))
    assert page.sections == SECTIONS
    assert not page._open


@pytest.mark.parametrize("place", ["next", "history", "recommendations", "action", "augmented", "session", "name", "told", "row"])
def test_markup_in_any_text_is_shown_as_text(data: Json, place: str) -> None:
    before = len(Page(render_report(data)).tags)
    example = data["examples"][0]
    changes: dict[str, Callable[[], object]] = {
        "next": lambda: example.update(next=HOSTILE),
        "history": lambda: example["history"].__setitem__(-1, HOSTILE),
        "recommendations": lambda: example["recommendations"]["sasrec"][0].update(title=HOSTILE),
        "action": lambda: example["annotated"].update(action=HOSTILE),
        "augmented": lambda: example["annotated"]["augmented"][0].update(title=HOSTILE),
        "session": lambda: example.update(session=HOSTILE),
        "name": lambda: data.update(name=HOSTILE),
        "told": lambda: data["rows"][0].update(description=HOSTILE),
        "row": lambda: data["rows"][1].update(name=HOSTILE),  # the best floor: in the summary and in charts too
    }
    changes[place]()
    page = Page(render_report(data))
    assert HOSTILE in page.texts["all"]
    assert len(page.tags) == before
    assert [tag for tag, _ in page.tags if tag in {"script", "img"}] == ["script"]  # the page's own


def test_nothing_is_fetched_and_nothing_runs_but_the_one_script_that_the_policy_names(data: Json) -> None:
    html = render_report(data)
    page = Page(html)
    for tag, attrs in page.tags:
        assert tag not in {"link", "img", "iframe", "object", "base"}
        assert not {"src", "srcset", "data", "action"} & attrs.keys()
        assert not [name for name in attrs if name.startswith("on")]
        assert (attrs.get("href") or "#").startswith("#")
    assert "url(" not in html and "@import" not in html and "://" not in html
    policy = next(attrs["content"] for tag, attrs in page.tags if attrs.get("http-equiv") == "Content-Security-Policy")
    (script,) = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    digest = b64encode(sha256(script.encode()).digest()).decode()
    allowed = f"style-src 'unsafe-inline'; script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    assert policy == f"default-src 'none'; {allowed}"


def test_links_within_the_page_lead_somewhere(data: Json) -> None:
    for absent in (None, "comparisons", "examples"):
        page = Page(render_report({**data, absent: []} if absent else data))
        assert {"#" + str(name) for name in page.sections} == {attrs["href"] for tag, attrs in page.tags if tag == "a"}


@pytest.mark.parametrize(("name", "seeds", "numbers"), [
    ("popularity", "–", ["0.0167", "0.0127–0.0207", "0.0200", "0.0334"]),
    ("item_knn", "–", ["0.0841", "0.0801–0.0881", "0.1009", "0.1682"]),
    ("sasrec", "3", ["0.0731", "0.0691–0.0771", "± 0.0004", "0.0877", "0.1462"]),
    ("sasrec-lea", "3", ["0.0812", "0.0772–0.0852", "± 0.0004", "0.0974", "0.1624"]),
])  # fmt: skip
def test_every_row_stands_in_the_table_with_its_numbers(
    data: Json, name: str, seeds: str, numbers: list[str], table_row: Build
) -> None:
    assert table_row(render_report(data), "results", name) == " ".join([name, "what", name, "is", seeds, *numbers])


def test_the_best_value_of_a_column_is_bold_and_no_other(data: Json) -> None:
    html = render_report(data).split('<section id="results"')[1].split("</section>")[0]
    assert re.findall(r'<td class="n"><b class="best">([\d.]+)</b>', html) == ["0.0841", "0.1009", "0.1682"]


def test_a_log_of_several_kinds_of_events_has_the_main_metric_by_kind(data: Json, cell: Build, table_row: Build) -> None:
    assert "By kind of event" not in render_report(data)
    for number, found in enumerate(data["rows"]):
        found["by_event"] = {"view": {"n": 8000, **cell(0.05)}, HOSTILE: {"n": 317, **cell(0.01 * number)}}
        found["other_by_event"] = {"HR@10": {"view": 0.123, HOSTILE: None}}
    html = render_report(data)
    part = html.split('id="by-event"')[1].split("</table>")[0]
    assert "8,000 targets" in part and "317 targets" in part
    assert table_row(f'<section id="by"{part}</section>', "by", "sasrec") == "sasrec 0.0500 0.0460–0.0540 0.0200 0.0160–0.0240"
    assert re.findall(r'<b class="best">([\d.]+)</b>', part) == ["0.0500", "0.0500", "0.0500", "0.0500", "0.0300"]
    assert HOSTILE in Page(html).texts["all"]
    assert "HR@10 by kind of event, means over seeds." in html and "0.1230" in html


def test_a_floor_that_is_left_out_is_named_with_the_reason(data: Json) -> None:
    data["left_out"] = {"ease": "it needs more memory"}
    assert "ease is left out: it needs more memory." in Page(render_report(data)).texts["all"]


def test_the_caption_says_how_many_targets_and_whether_seen_items_are_masked(data: Json) -> None:
    assert "8,317 targets, each ranked among all 4,344 items; items already in the history are masked" in render_report(data)
    data["evaluation"]["mask_seen"] = False
    assert "items already in the history are not masked" in render_report(data)


@pytest.mark.parametrize(("difference", "words"), [(-0.003, "is behind"), (0.003, "beats"), (0.001, "cannot be told apart from")])
def test_the_summary_follows_the_test_of_the_paired_difference(
    data: Json, difference: float, words: str, comparison: Build
) -> None:
    data["comparisons"] = [comparison("sasrec-lea", "item_knn", difference)]
    interval = f"({difference - 0.002:+.4f} to {difference + 0.002:+.4f})"
    p = f"adjusted p {data['comparisons'][0]['p_adjusted']:.4f}"
    assert f"sasrec-lea {words} the floor item_knn: NDCG@10 {difference:+.4f} {interval}, {p}." in summary_of(render_report(data))


def test_a_p_value_that_would_round_to_nothing_is_only_said_to_be_small(data: Json, table_row: Build) -> None:
    data["comparisons"][0].update(p=0.00002, p_adjusted=0.00004)
    html = render_report(data)
    assert "adjusted p <\u00a00.0001" in summary_of(html)
    assert "0.0000" not in table_row(html, "comparisons", "sasrec-lea")


def test_an_interval_that_leaves_out_0_is_not_enough_where_many_are_compared(
    data: Json, comparison: Build, table_row: Build
) -> None:
    data["comparisons"] = [{**comparison("sasrec-lea", "item_knn", 0.003), "p": 0.02, "p_adjusted": 0.06}]
    html = render_report(data)
    assert "sasrec-lea cannot be told apart from the floor item_knn" in summary_of(html)
    assert "sasrec-lea cannot be told apart from item_knn" in table_row(html, "comparisons", "sasrec-lea")
    assert 'class="strong"' not in html.split('<section id="comparisons"')[1].split("</section>")[0]


def test_a_comparison_stands_with_p_values_effect_and_seeds(data: Json, comparison: Build, table_row: Build) -> None:
    data["comparisons"] = [comparison("sasrec-lea", "item_knn", 0.003)]
    html = render_report(data)
    row_of = table_row(html, "comparisons", "sasrec-lea").replace("\N{MINUS SIGN}", "-")
    interval, shares = "+0.0010 to +0.0050", "12.0 %, 3.4 %"
    assert row_of == f"sasrec-lea beats item_knn +0.0030 +3.8&nbsp;% {interval} 0.0004 0.0008 +0.04 {shares} 3, 1"
    assert "none is below 0.000100" in html
    assert "another seed might do otherwise" not in html
    data["comparisons"][0]["covers_seeds"] = False
    assert "another seed might do otherwise" in render_report(data)


def test_the_gain_of_a_placebo_is_drawn_beneath_the_gain_and_told_in_the_table(data: Json, table_row: Build) -> None:
    assert "Dashed" not in render_report(data)
    placebo = {"name": "lea-shuffled", "seeds": 3, "covers_seeds": True, "difference": 0.0011, "low": -0.0002, "high": 0.0024}
    data["comparisons"][0]["placebos"] = [placebo]
    html = render_report(data).replace("\N{MINUS SIGN}", "-")
    part = html.split('<section id="comparisons"')[1].split("</section>")[0]
    drawn = '<g class="control"><title>lea-shuffled - sasrec: +0.0011 (-0.0002 to +0.0024)</title>'
    assert part.count(drawn) == 2  # for desktop and phone
    assert part.index("<title>sasrec-lea - sasrec:") < part.index(drawn) < part.index("<title>sasrec-lea - item_knn:")
    assert "Dashed: a placebo of the first row against the same base, not tested." in part
    told = "its placebo lea-shuffled against the same: +0.0011 (-0.0002 to +0.0024), 3 seeds"
    assert told in table_row(html, "comparisons", "sasrec-lea")
    assert "Where an agent has one seed" not in part
    data["comparisons"][0]["placebos"] = [{**placebo, "seeds": 1, "covers_seeds": False}]
    assert "Where an agent has one seed" in render_report(data)


def test_where_the_gains_are_stands_by_slice_for_pairs_and_for_rows(data: Json, table_row: Build) -> None:
    html = render_report(data)
    part = html.split('<section id="gains"')[1].split("</section>")[0]
    assert "6,000 targets" in part and "2,317 targets" in part
    # The interval of the tail holds 0, that of the head does not.
    assert re.findall(r'<b class="best">([+\d.]+)</b>', part)[:1] == ["+0.0081"]
    assert table_row(html, "gains", "sasrec-lea minus").startswith("sasrec-lea minus sasrec +0.0081 +0.0061 to +0.0101 +0.0081")
    assert table_row(html, "gains", "popularity") == "popularity 0.0367 0.0327–0.0407 0.0067 0.0027–0.0107"
    assert "nobody can hit them" not in part
    hit = part.split("HR@10 by slice, means over seeds.")[1].split("</table>")[0]
    assert "0.0501" in hit and "0.0167" in hit  # popularity's, three times its NDCG and as much
    for found in data["rows"]:
        found["slices"] = {"new item": found["slices"]["head item"], "repeated item": found["slices"]["tail item"]}
        found["other_by_slice"] = {
            metric: {"new item": by["head item"], "repeated item": by["tail item"]}
            for metric, by in found["other_by_slice"].items()
        }
    data["comparisons"] = []
    assert "nobody can hit them" in render_report(data)
    for found in data["rows"]:
        found["slices"] = {}
    assert Page(render_report(data)).sections == SECTIONS - {"comparisons", "gains"}


def test_beyond_accuracy_has_intervals_where_there_are_any_and_says_what_is_left_out(data: Json, table_row: Build) -> None:
    data["left_out"] = {"diversity": "it needs item vectors", "ease": "it needs more memory"}
    html = render_report(data)
    assert table_row(html, "beyond", "sasrec") == "sasrec 0.0365 0.0325–0.0406 0.3231 ± 0.0021 11.50 ± 0.00"
    part = html.split('<section id="beyond"')[1].split("</section>")[0]
    assert "diversity is left out: it needs item vectors." in part and "ease" not in part
    assert "diversity@k" not in part and "reward HR@k" not in part
    assert "ease is left out" in html.split('<section id="results"')[1].split("</section>")[0]


def test_a_comparison_stated_the_other_way_round_is_turned(data: Json, comparison: Build) -> None:
    data["comparisons"] = [comparison("item_knn", "sasrec-lea", 0.003)]
    assert verdict(data, "sasrec-lea", "item_knn").words == "is behind"
    assert "NDCG@10 -0.0030 (-0.0050 to -0.0010), adjusted p 0.0008" in summary_of(render_report(data))


def test_without_a_paired_comparison_nothing_is_said_of_which_is_ahead(data: Json, cell: Build) -> None:
    data["comparisons"] = []
    data["rows"][1]["metrics"]["NDCG@10"] = cell(0.0900)  # its interval is beyond the agent's
    said = summary_of(render_report(data))
    assert "sasrec-lea was not compared with the floor item_knn: NDCG@10 0.0812 and 0.0900; compare in" in said
    assert "sasrec-lea was not compared with its base sasrec" in said


def test_the_best_by_validation_meet_the_best_floor_whatever_the_recipe_compares(data: Json, comparison: Build) -> None:
    data["comparisons"] = []
    data["leads"] = [comparison("sasrec", "popularity", 0.06)]
    said = summary_of(render_report(data))
    assert "sasrec beats the floor popularity (both the best on validation): NDCG@10 +0.0600" in said
    assert "the floor item_knn" not in said


def test_what_holds_for_the_runs_at_hand_alone_is_said_where_it_is_summed_up(data: Json) -> None:
    assert "another seed might do otherwise" not in summary_of(render_report(data))
    data["comparisons"][0]["covers_seeds"] = False
    said = summary_of(render_report(data))
    assert "adjusted p 0.0008, for these training runs alone: another seed might do otherwise." in said


def test_the_summary_begins_with_what_anybody_understands(data: Json) -> None:
    said = "Asked 100 times for 10 recommendations, what people chose next is among them 16.2 times with sasrec-lea"
    assert summary_of(render_report(data)).strip().startswith(f"{said}, 16.8 times with item_knn.")


def test_where_nothing_could_be_measured_the_summary_says_so(data: Json) -> None:
    for found in data["rows"]:
        for cell in found["metrics"].values():
            cell["mean"] = float("nan")
    assert summary_of(render_report(data)).strip() == "Nothing was measured."


def test_a_placebo_leads_nothing(data: Json) -> None:
    data["rows"][-1]["is_control"] = True
    said = summary_of(render_report(data))
    assert "The best agent is sasrec with" in said and "times with sasrec," in said


def test_a_slice_of_few_sessions_is_not_coloured(data: Json) -> None:
    data["comparisons"][0]["slices"]["head item"]["sessions"] = 29
    part = render_report(data).split('<section id="gains"')[1].split("</section>")[0]
    assert '<b class="best">+0.0081</b>' not in part


def test_the_summary_says_whether_annotations_helped_even_if_they_did_not(data: Json, comparison: Build) -> None:
    assert "sasrec-lea beats its base sasrec: NDCG@10 +0.0081" in summary_of(render_report(data))
    data["comparisons"][0] = comparison("sasrec-lea", "sasrec", -0.0081)
    assert "sasrec-lea is behind its base sasrec: NDCG@10 -0.0081" in summary_of(render_report(data))


def test_many_pairs_are_counted_by_what_annotations_meet_instead_of_listed(data: Json, row: Build, comparison: Build) -> None:
    agents = data["recipe"]["agents"]
    for placebo, difference in (("random", 0.02), ("shuffled", 0.02), ("text", 0.001)):
        name = f"lea-{placebo}"
        data["rows"].append(row(name, "agent", 0.07))
        agents[name] = {**agents["sasrec-lea"], "placebo": placebo}
        data["comparisons"].append(comparison("sasrec-lea", name, difference))
    said = summary_of(render_report(data))
    of = (
        "Of {} pairs of an agent with annotations and the same {}, it beats it in {}, is behind in 0, cannot be told apart in {}."
    )
    assert of.format(1, "without", 1, 0) in said
    assert of.format(2, "with shuffled or random ones", 2, 0) in said
    assert of.format(1, "with TF-IDF in the language model's place", 0, 1) in said
    del data["comparisons"][-1]
    assert "cannot be told apart in 0, not compared in 1." in summary_of(render_report(data))


def test_only_annotations_may_distinguish_an_agent_from_its_base_and_a_placebo_is_called_one(data: Json) -> None:
    agents = data["recipe"]["agents"]
    for setting in ({"objective": "supervised"}, {"gamma": 0.0}, {"item_knn": True}):
        agents["sasrec"] = {"encoder": "sasrec", "objective": "snqn", "lea": [], "placebo": None, **setting}
        assert "base" not in summary_of(render_report(data))
    agents["sasrec"] = {**agents["sasrec-lea"], "placebo": "shuffled"}
    assert "sasrec-lea beats its shuffled placebo sasrec" in summary_of(render_report(data))


@pytest.mark.parametrize(("absent", "sections"), [
    ({"comparisons": []}, {"comparisons"}),
    ({"agent_curves": []}, {"learning"}),
    ({"environment_curves": None}, {"environment"}),
    ({"rewards": None, "annotations": None}, {"annotations"}),
    ({"examples": []}, {"sessions"}),
    ({"rows": [], "comparisons": []}, {"results", "comparisons", "gains", "beyond"}),
])  # fmt: skip
def test_what_a_run_has_not_leaves_no_empty_section(data: Json, absent: Json, sections: set[str]) -> None:
    assert Page(render_report({**data, **absent})).sections == SECTIONS - sections


def test_a_histogram_without_counts_is_left_out(data: Json) -> None:
    html = render_report(data)
    assert "random items" in html and "proposed actions" not in html
    del data["rewards"]["random"]
    assert "random items</li>" not in render_report(data)


def test_not_a_number_is_shown_as_missing_and_is_never_best(data: Json) -> None:
    nan = float("nan")
    data["rows"][1]["metrics"]["NDCG@10"] = {"mean": nan, "low": nan, "high": nan, "seed_deviation": None}
    html = render_report(data)
    assert "nan" not in re.sub(r"<[^>]*>", " ", html).split()
    assert "The best floor is popularity" in summary_of(html)


def test_only_a_simulated_log_is_called_simulated(data: Json) -> None:
    assert "simulated" not in Page(render_report(data)).texts["all"]
    data["data"]["simulated"] = True
    assert "The log is simulated." in Page(render_report(data)).texts["all"]


def test_sessions_show_hits_in_words_and_cut_long_histories(data: Json, table_row: Build) -> None:
    html = render_report(data)
    assert '<li data-title class="hit">✓ hit: drill</li>' in html and "hit: nail" not in html
    assert "found by 1 of 2 agents" in html
    assert "3 earlier" in html and '<li data-title value="4">thing 4</li>' in html and ">thing 3<" not in html
    assert table_row(html, "sessions", "vice") == "vice \N{MINUS SIGN}1.25"


def test_learning_curves_mark_the_chosen_epoch_of_every_seed(data: Json) -> None:
    html = render_report(data)
    for name in ("sasrec", "sasrec-lea"):
        for seed in (0, 1):
            assert html.count(f"<title>{name}, seed {seed}: epoch 2, 0.0700</title>") == 2  # drawn for desktop and phone


def test_an_environment_that_training_did_not_improve_is_called_so(data: Json) -> None:
    assert "did not improve" not in render_report(data)
    data["environment_curves"]["best_epoch"] = 0
    assert "training did not improve on the untrained rule" in render_report(data)


def test_rewards_stand_beside_what_needs_no_training_and_their_calibration(data: Json, table_row: Build) -> None:
    html = render_report(data)
    assert table_row(html, "environment", "reward model") == "reward model 0.6100 0.6100 0.6100 0.6100"
    assert table_row(html, "environment", "popularity") == "popularity 0.7000 0.5000 0.5200 –"
    assert "rank correlation of \N{MINUS SIGN}0.10; 1.0\u00a0% of the pairs are ties" in Page(html).texts["all"]
    # Wilson's interval of 109 of 198 is .481 to .618 and holds .52; that of 131 of 198 is .593 to .724 and does not hold .9.
    assert re.search(r'<g class="strong"><title>said 0.52: 0.5500 \(0.4809 to 0.61\d\d\)', html)
    assert re.search(r'<g class="hollow"><title>said 0.90: 0.6600 \(0.59\d\d to 0.72\d\d\)', html)


def test_an_environment_that_was_not_examined_is_shown_without(data: Json) -> None:
    assert 'id="examination"' not in render_report({**data, "examination": None})


def test_settings_and_costs_are_complete(data: Json, table_row: Build) -> None:
    html = render_report(data)
    assert table_row(html, "run", "lora rank") == "lora rank 8"
    assert table_row(html, "run", "seed") == "seed 7"
    assert table_row(html, "run", "torch") == "torch 2.13.0"
    assert table_row(html, "run", "adapt") == "adapt 15.1 min 3,310 MB"


def test_rendering_leaves_its_data_alone(data: Json) -> None:
    before = copy.deepcopy(data)
    render_report(data)
    assert data == before


def test_the_file_is_written_whole_and_nothing_beside_it(data: Json, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    write_report(data, path)
    assert path.read_text(encoding="utf-8") == render_report(data)
    assert path.read_text(encoding="utf-8").endswith("</html>")
    assert list(tmp_path.iterdir()) == [path]


def test_a_report_that_cannot_be_rendered_leaves_the_old_one(data: Json, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    write_report(data, path)
    before = path.read_bytes()
    del data["stages"][0]["seconds"]
    with pytest.raises(Exception, match="seconds"):
        write_report(data, path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("values", [(0.0, 0.0), (5.0, 5.0), (-1e-7, 3e-7), (0.0123, 0.0871), (-3.0, 1e6), (0.3, 0.9)])
def test_a_scale_holds_its_values_between_round_ticks(values: tuple[float, float]) -> None:
    scale = Scale.around(values, 100, 300)
    ticks = scale.ticks()
    assert all(100 - 1e-6 <= scale(value) <= 300 + 1e-6 for value in values)
    assert ticks[0][0] == pytest.approx(100) and ticks[-1][0] == pytest.approx(300)
    labels = [text.replace("\N{MINUS SIGN}", "-") for _, text in ticks]
    assert [scale(float(text)) for text in labels] == pytest.approx([pixel for pixel, _ in ticks], abs=1e-3)
    assert 2 <= len(set(labels)) == len(labels) <= 8


def test_a_hybrid_is_no_agent_and_has_a_heading_and_a_sentence_of_its_own(data: Json, row: Build, table_row: Build) -> None:
    data["rows"].append(row("sasrec-hybrid", "hybrid", 0.0951))
    html = render_report(data)
    assert "The best agent is sasrec-lea" in summary_of(html)
    assert "The best hybrid is sasrec-hybrid with NDCG@10 0.0951" in summary_of(html)
    assert html.index("Hybrids: an agent, item texts and item-kNN together") > html.index(">Agents<")
    assert table_row(html, "results", "sasrec-hybrid").split()[5:] != []
    del data["rows"][-1]
    assert "Hybrids:" not in render_report(data)
