"""Runs side by side: what they share and how they differ is told, and whether their numbers may be compared."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from learec.artifacts import MANIFEST, building, read_manifest, request_for
from learec.cli import app
from learec.errors import ArtifactError
from learec.evaluation.run_comparison import (
    comparable_groups,
    differing_settings,
    read_run,
    render_comparison,
    run_names,
    shared_metric,
    warnings,
    write_comparison,
)

Json = dict[str, Any]
Make = Callable[..., Path]
Build = Callable[..., Any]
NOTES = {"sessions": 8317, "items": 4344, "steps": 58492, "split": "leave_one_out"}


@pytest.fixture
def make(tmp_path: Path, row: Callable[[str, str, float], Json]) -> Make:
    """Folders as runs leave them; `log` and `parts` stand for what was logged and how it was split."""

    def one(
        name: str, rows: dict[str, float] | None = None, *, log: bytes = b"log", parts: bytes = b"parts", **settings: Any
    ) -> Path:
        folder = tmp_path / "runs" / name
        evaluation = {"mask_seen": settings.get("mask_seen", True), "cutoffs": settings.get("cutoffs", [2, 10])}
        found = rows or {"item_knn": 0.0841, "sasrec": 0.0731}
        told = [row(name, "floor" if name == "item_knn" else "agent", value) for name, value in found.items()]
        tables = {"rows": told, "n_targets": {"test": 8317}}
        places: list[tuple[str, str, Json, dict[str, bytes], Json]] = [
            ("log", "log", {"min_item_events": 5, "columns": {"user": "u"}}, {"items.npy": log, "parts.npy": parts}, NOTES),
            ("agents/sasrec/seed-0", "agent", {"gamma": settings.get("gamma", 0.5)}, {}, {}),
            ("results", "results", evaluation, {"tables.json": json.dumps(tables).encode()}, {}),
        ]
        for place, kind, config, contents, notes in places:
            parents = {}
            if kind == "results":
                agent = read_manifest(folder / "agents/sasrec/seed-0", "agent", "").digest
                parents = {"log": read_manifest(folder / "log", "log", "").digest, "agent sasrec/0": agent}
            with building(folder / place, request_for(kind, config, parents), notes) as partial:
                for file, content in contents.items():
                    (partial / file).write_bytes(content)
        return folder

    return one


def opened(*folders: Path) -> list[Any]:
    return [read_run(folder, folder.name) for folder in folders]


def test_what_column_sets_are_worth_over_all_agents_stands_before_the_rows(
    make: Make, table_row: Callable[[str, str, str], str]
) -> None:
    found = {"metric": "NDCG@10", "n": 8317, "covers_seeds": True, "placebos": [], "seeds": 3}
    gain = {**found, "new": "LEA (6 agents)", "base": "none", "difference": 0.0178, "low": 0.0151, "high": 0.0205}
    level = {**found, "new": "LEA (6 agents)", "base": "LEA (text)", "difference": -0.0006, "low": -0.0016, "high": 0.0003}
    together = [{**gain, "p": 0.00002, "p_adjusted": 0.0001}, {**level, "p": 0.2, "p_adjusted": 0.4}]
    html = render_comparison(opened(make("plain")), "0.1.0", together)
    assert table_row(html, "together", "LEA (6 agents) beats none").endswith("+0.0178 +0.0151 to +0.0205 &lt; 0.0001 0.0001 3")
    assert 'LEA (6 agents) <span class="quiet">cannot be told apart from</span> LEA (text)' in html
    assert html.index('id="together"') < html.index('id="rows"')
    assert html.count("<title>LEA (6 agents) \N{MINUS SIGN} none: +0.0178 (+0.0151 to +0.0205)</title>") == 2
    assert 'id="together"' not in render_comparison(opened(make("plain")), "0.1.0")
    assert "another seed might do otherwise" not in html
    alone = [{**one, "covers_seeds": False} for one in together]
    assert "another seed might do otherwise" in render_comparison(opened(make("plain")), "0.1.0", alone)


def test_shared_rows_stand_side_by_side_and_others_are_named(make: Make, table_row: Callable[[str, str, str], str]) -> None:
    runs = opened(make("plain"), make("wide", {"item_knn": 0.0841, "sasrec": 0.0812, "gru4rec": 0.07}))
    html = render_comparison(runs, "0.1.0")
    found = "sasrec 0.0731 0.0691–0.0771 ± 0.0004 0.0812 0.0772–0.0852 ± 0.0004"
    assert table_row(html, "rows", "sasrec") == found
    assert "Only in wide: gru4rec." in html and "Only in plain" not in html
    assert html.count("<title>sasrec, wide: 0.0812 (0.0772 to 0.0852)</title>") == 2  # drawn for desktop and phone
    assert "must not be compared" not in html


def test_only_settings_that_differ_are_shown_and_an_agent_that_is_missing_is_no_difference(make: Make) -> None:
    plain, other = opened(make("plain"), make("other", gamma=0.9))
    assert differing_settings([plain, other]) == [("agents.sasrec.gamma", ["0.5", "0.9"])]
    assert differing_settings([plain, plain]) == []
    alone = make("alone")
    for path in sorted((alone / "agents").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    assert differing_settings([plain, *opened(alone)]) == []


def test_agents_of_an_earlier_recipe_have_no_part_in_a_run(make: Make) -> None:
    folder = make("plain")
    with building(folder / "agents/old/seed-0", request_for("agent", {"gamma": 0.1}, {}), {}):
        pass
    (folder / "agents/old/seed-0" / MANIFEST).write_text("{")
    (run,) = opened(folder)
    assert list(run.agents) == ["sasrec"]


def test_the_minutes_of_a_run_are_the_sum_of_all_its_artifacts_or_are_not_known(make: Make, table_row: Build) -> None:
    folder = make("plain")
    for number, cost in enumerate(sorted(folder.rglob("cost.json"))):
        cost.write_text(json.dumps({"seconds": 60.0 * (number + 1), "peak_mb": 100}))
    assert [run.seconds for run in opened(folder)] == [60.0 + 120.0 + 180.0]
    (folder / "agents/sasrec/seed-0/cost.json").unlink()
    (run,) = opened(folder)
    assert run.seconds is None
    assert table_row(render_comparison([run], "0.1.0"), "runs", "plain").endswith("–")


def test_a_part_that_a_run_has_not_is_one_row(make: Make) -> None:
    adapted = make("adapted")
    with building(adapted / "environment", request_for("environment", {"lora_rank": 8, "epochs": 1}, {}), {}):
        pass
    assert differing_settings(opened(make("plain"), adapted)) == [("environment", [None, "there"])]


def test_results_of_another_log_than_the_folders_are_refused(make: Make, tmp_path: Path) -> None:
    folder, other = make("plain"), make("other", log=b"another")
    (folder / "log").rename(tmp_path / "old")
    (other / "log").rename(folder / "log")
    with pytest.raises(ArtifactError, match="stale: it was made from another log"):
        read_run(folder, "plain")


@pytest.mark.parametrize(("settings", "sentence"), [
    ({"log": b"another"}, "other was made from another log than plain (8,317 sessions, 4,344 items, 58,492 steps against"),
    ({"parts": b"another"}, "other splits the log otherwise than plain"),
    ({"mask_seen": False}, "other ranks items that were seen otherwise than plain: mask_seen is false"),
])  # fmt: skip
def test_numbers_that_must_not_be_compared_are_said_to_be_so(make: Make, settings: Json, sentence: str) -> None:
    runs = opened(make("plain"), make("other", **settings), make("twin", **settings))
    assert warnings(runs)[0].startswith(sentence) and len(warnings(runs)) == 2
    assert comparable_groups(runs) == [["plain"], ["other", "twin"]]
    html = render_comparison(runs, "0.1.0")
    assert "must not be compared" in html and "Comparable with each other: other, twin." in html
    assert warnings(runs[:1]) == [] and warnings(runs[1:]) == []


def test_the_metric_is_one_that_all_runs_have(make: Make) -> None:
    runs = opened(make("plain"), make("other"))
    assert shared_metric(runs) == "NDCG@10"
    for row in runs[1].tables["rows"]:
        row["metrics"]["NDCG@20"] = row["metrics"].pop("NDCG@10")
    assert shared_metric(runs) is None
    assert "The runs share no NDCG: their cutoffs differ." in render_comparison(runs, "0.1.0")


def test_names_are_as_long_as_it_takes_to_tell_runs_apart() -> None:
    assert run_names([Path("/a/runs/x"), Path("/a/runs/y")]) == ["x", "y"]
    assert run_names([Path("/a/runs/x"), Path("/b/runs/x")]) == ["a/runs/x", "b/runs/x"]


def test_markup_in_a_runs_name_is_shown_as_text(make: Make) -> None:
    runs = [read_run(make("plain"), "<b>x</b>"), *opened(make("other", log=b"another"))]
    html = render_comparison(runs, "0.1.0")
    assert "<b>x" not in html and "&lt;b&gt;x&lt;/b&gt;" in html


def test_a_page_is_written_again_but_never_over_something_else(make: Make, tmp_path: Path) -> None:
    runs, path = opened(make("plain")), tmp_path / "somewhere" / "page.html"
    write_comparison(runs, path, "0.1.0")
    write_comparison(runs, path, "0.2.0")
    assert "learec 0.2.0" in path.read_text(encoding="utf-8")
    path.write_text("my notes", encoding="utf-8")
    with pytest.raises(ArtifactError, match="something else"):
        write_comparison(runs, path, "0.1.0")
    assert path.read_text(encoding="utf-8") == "my notes"


def test_damaged_results_are_named(make: Make) -> None:
    folder = make("plain")
    (folder / "results" / "tables.json").write_text("{", encoding="utf-8")
    with pytest.raises(ArtifactError, match=r"tables\.json: damaged"):
        read_run(folder, "plain")


@pytest.fixture
def report(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    monkeypatch.chdir(tmp_path)
    yield lambda *arguments: CliRunner().invoke(app, ["report", *map(str, arguments)])


def test_the_command_compares_what_has_results_and_can_be_given_its_own_page(make: Make, report: Callable[..., Any]) -> None:
    plain, _ = make("plain"), make("other", parts=b"another")
    (plain.parent / "begun").mkdir()
    for _ in range(2):  # the second time, runs/* names the page too
        found = report(*sorted(Path("runs").iterdir()))
        assert found.exit_code == 0
        assert (
            "Left out: runs/begun/log: no log here" in found.output
            and "comparison of 2 runs: runs/comparison.html" in found.output
        )
        assert "Not comparable:" in found.output
    assert "2 runs side by side" in Path("runs/comparison.html").read_text(encoding="utf-8")


def test_the_command_takes_one_recipe_or_run_folders_and_no_mixture(make: Make, report: Callable[..., Any]) -> None:
    plain, recipe = make("plain"), Path("a.toml")
    recipe.write_text("", encoding="utf-8")
    for arguments in ([plain, recipe], [recipe, recipe.absolute()], [recipe, "--out", "x.html"], [plain, "--folder", "x"]):
        found = report(*arguments)
        assert found.exit_code != 0 and not Path("runs/comparison.html").exists()
