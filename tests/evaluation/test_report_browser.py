"""The report as a file in Chromium: tables sort, sessions are searched and set side by side, also on phones."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from learec.artifacts import Manifest, Request
from learec.evaluation.report import write_report
from learec.evaluation.run_comparison import ComparedRun, write_comparison

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
expect = playwright.expect

Json = dict[str, Any]
Visit = Callable[..., Any]
PHONE = {"width": 360, "height": 740}
HOSTILE = "<img src=x onerror=\"document.title='it ran'\"><script>document.title='it ran'</script>"
# The words of a column of the first results table that can be sorted, top to bottom.
HEADS = "rows => rows.map(row => row.querySelector('th').firstChild.textContent)"


@pytest.fixture
def visit(open_page: Callable[..., Any], tmp_path: Path) -> Visit:
    """Open a report from its file, which asks for no other."""

    def one(data: Any, write: Callable[[Any, Path], None] = write_report, **options: Any) -> Any:
        path = tmp_path / "page.html"
        write(data, path)
        return open_page(path.as_uri(), path.as_uri(), **options)

    return one


@pytest.fixture
def sessions(data: Json) -> Json:
    """Three sessions: Café Crème is next in the second, where only sasrec finds it; the third has a long title."""
    first = data["examples"][0]
    second, third = copy.deepcopy(first), copy.deepcopy(first)
    items = {"sasrec": [{"title": "Café Crème", "hit": True}], "sasrec-lea": [{"title": "clamp", "hit": False}]}
    second.update(session="B2", next="Café Crème", history=["mug"], recommendations=items, annotated=None)
    missed = {"sasrec": [{"title": "rasp", "hit": False}], "sasrec-lea": [{"title": HOSTILE, "hit": False}]}
    third.update(session="C3", next="x" * 90, history=["plank"], recommendations=missed, annotated=None)
    data["examples"] = [first, second, third]
    return data


def shown(page: Any) -> list[str]:
    """Ids of the sessions that are listed."""
    found = page.locator("details.session:visible summary small").all_inner_texts()
    return [text.split("session ")[1].split(",")[0] for text in found]


def test_a_click_on_a_head_sorts_its_column_and_says_so(visit: Visit, data: Json) -> None:
    data["rows"] = [{**row, "kind": "agent"} for row in data["rows"]]
    page = visit(data)
    table = page.locator("#results table").first
    head, rows = table.locator("thead th", has_text="NDCG@10"), table.locator("tbody tr:has(th[scope=row])")
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    assert rows.evaluate_all(HEADS) == ["item_knn", "sasrec-lea", "sasrec", "popularity"]
    head.get_by_role("button").press("Enter")
    assert head.get_attribute("aria-sort") == "ascending"
    assert rows.evaluate_all(HEADS) == ["popularity", "sasrec", "sasrec-lea", "item_knn"]
    first = table.locator("thead th").first
    first.get_by_role("button").press("Space")
    assert rows.evaluate_all(HEADS) == ["item_knn", "popularity", "sasrec", "sasrec-lea"]
    assert head.get_attribute("aria-sort") is None and first.get_attribute("aria-sort") == "ascending"


def test_floors_and_agents_are_sorted_each_among_themselves(visit: Visit, data: Json) -> None:
    data["rows"].reverse()
    page = visit(data)
    table = page.locator("#results table").first
    table.get_by_role("button", name="HR@10").click()
    groups = table.locator("tbody").evaluate_all(
        "bodies => bodies.map(body => [...body.rows].map(r => r.cells[0].firstChild.data))"
    )
    assert [group[1:] for group in groups] == [["item_knn", "popularity"], ["sasrec-lea", "sasrec"]]
    assert [group[0] for group in groups] == ["Floors: counts and closed forms", "Agents"]


def test_negative_differences_sort_below_positive_ones_and_missing_values_last(visit: Visit, data: Json) -> None:
    data["comparisons"][0]["p_adjusted"] = float("nan")
    page = visit(data)
    table, rows = page.locator("#comparisons table"), page.locator("#comparisons tbody tr")
    for clicks, bases in ((1, ["sasrec", "item_knn"]), (2, ["item_knn", "sasrec"])):
        for _ in range(clicks):
            table.get_by_role("button", name="difference").click()
        assert [text.split("\t")[0].split()[-1] for text in rows.all_inner_texts()] == bases
        page.reload()
    for _ in range(2):
        table.get_by_role("button", name="adjusted p").click()
        assert [text.split("\t")[0].split()[-1] for text in rows.all_inner_texts()] == ["item_knn", "sasrec"]


def test_sessions_are_found_by_title_whatever_the_accents(visit: Visit, sessions: Json) -> None:
    page = visit(sessions)
    assert shown(page) == ["A0196", "B2", "C3"]
    page.get_by_role("searchbox").fill("CAFE cre")
    assert shown(page) == ["B2"]
    assert page.locator(".match").all_inner_texts() == ["Café Crème", "✓ hit: Café Crème"]
    assert page.locator("output").inner_text() == "session 1 of 1 found"
    page.get_by_role("searchbox").fill("no such thing")
    assert shown(page) == []
    assert page.locator("output").inner_text() == "No session has such a title."
    page.get_by_role("searchbox").fill("")
    assert shown(page) == ["A0196", "B2", "C3"] and page.locator(".match").count() == 0


def test_agents_are_set_side_by_side_and_one_that_is_not_shown_is_not_searched(visit: Visit, sessions: Json) -> None:
    page = visit(sessions)
    columns = page.locator("details.session[open] [data-agent]:visible h4")
    assert columns.all_inner_texts() == ["sasrec", "sasrec-lea"]
    boxes = [column.bounding_box() for column in page.locator("details.session[open] [data-agent]").all()]
    assert boxes[0]["y"] == boxes[1]["y"] and boxes[0]["x"] + boxes[0]["width"] <= boxes[1]["x"]
    page.get_by_role("checkbox", name="sasrec", exact=True).uncheck()
    assert columns.all_inner_texts() == ["sasrec-lea"]
    page.get_by_role("searchbox").fill("rasp")
    assert shown(page) == []
    page.get_by_role("searchbox").fill("")
    page.get_by_role("checkbox", name="only sessions where").check()
    assert shown(page) == ["A0196"]
    page.get_by_role("checkbox", name="sasrec", exact=True).check()
    assert shown(page) == ["A0196", "B2"]


def test_of_many_agents_three_are_shown_first_and_all_can_be(visit: Visit, sessions: Json) -> None:
    for example in sessions["examples"]:
        example["recommendations"] = {f"agent-{number}": [{"title": "nail", "hit": False}] for number in range(6)}
    page = visit(sessions)
    columns = page.locator("details.session[open] [data-agent]:visible h4")
    assert columns.all_inner_texts() == ["agent-0", "agent-1", "agent-2"]
    page.get_by_role("checkbox", name="agent-5").check()
    assert columns.all_inner_texts() == ["agent-0", "agent-1", "agent-2", "agent-5"]


def test_next_and_previous_walk_through_the_sessions_that_were_found(visit: Visit, sessions: Json) -> None:
    page = visit(sessions)
    opened = page.locator("details.session[open] summary small")
    previous, following = (page.get_by_role("button", name=name) for name in ("Previous", "Next"))
    assert "session A0196" in opened.inner_text() and previous.is_disabled()
    following.click()
    assert "session B2" in opened.inner_text()
    assert page.locator("output").inner_text() == "session 2 of 3"
    following.click()
    assert "session C3" in opened.inner_text() and following.is_disabled()
    page.get_by_role("checkbox", name="only sessions where").check()
    assert shown(page) == ["A0196", "B2"] and "session A0196" in opened.inner_text()
    following.click()
    assert "session B2" in opened.inner_text() and following.is_disabled()
    previous.click()
    assert "session A0196" in opened.inner_text()


def test_without_script_everything_can_be_read_and_nothing_pretends_to_work(visit: Visit, sessions: Json) -> None:
    page = visit(sessions, java_script_enabled=False)
    assert page.locator("details.session").count() == 3
    assert page.locator("#browse").is_hidden() and page.locator("thead button").count() == 0
    assert page.locator("details.session").first.locator("[data-agent]:visible").count() == 2


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone_no_page_scrolls_sideways(visit: Visit, sessions: Json, scheme: str) -> None:
    page = visit(sessions, viewport=PHONE, color_scheme=scheme)
    for details in page.locator("details").all():
        details.evaluate("details => { details.open = true }")
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    paper = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    assert paper == {"light": "rgb(252, 251, 248)", "dark": "rgb(21, 24, 28)"}[scheme]


def test_markup_in_a_title_stays_text_in_a_browser(visit: Visit, sessions: Json) -> None:
    sessions["name"] = HOSTILE
    page = visit(sessions)
    page.get_by_role("searchbox").fill("onerror")
    assert shown(page) == ["C3"]
    expect(page).to_have_title(f"{HOSTILE}: learec report")


def test_the_comparison_of_runs_sorts_and_fits_a_phone(visit: Visit, data: Json) -> None:
    tables = {"rows": data["rows"], "n_targets": {"test": 8317}}
    notes = {key: data["data"][key] for key in ("sessions", "items", "steps", "split")}
    runs = []
    for name in ("a-run-with-a-rather-long-name", "other"):
        settings = {"mask_seen": True, "id": name}
        manifests = {place: Manifest(Request(place, settings, {}), {}, notes) for place in ("log", "results")}
        runs.append(ComparedRun(name, tables, manifests, {}, 60.0))
    page = visit(runs, lambda found, path: write_comparison(found, path, "0.1.0"), viewport=PHONE)
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    page.locator("#rows").get_by_role("button", name="other").click()
    assert page.locator("#rows tbody tr").evaluate_all(HEADS) == ["item_knn", "sasrec-lea", "sasrec", "popularity"]
    assert page.locator("#settings tbody tr").evaluate_all(HEADS) == ["data.id", "evaluation.id"]
