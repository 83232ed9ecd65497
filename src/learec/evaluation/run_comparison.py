"""run_comparison: several runs' results on one page, what differs between them, and whether their numbers may be compared."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from learec.artifacts import MANIFEST, Manifest, cost_of, read_manifest, write_text
from learec.errors import ArtifactError
from learec.evaluation import plots
from learec.evaluation.charts import comparisons_chart, interval_row
from learec.evaluation.figures import number
from learec.evaluation.pages import render_page
from learec.evaluation.verdicts import headline_metric, words_of

Json = Mapping[str, Any]
PLACES = ("log", "environment", "annotations", "text-annotations", "results")
GROUPS = {"log": "data", "results": "evaluation"}  # where a folder's settings stand in a recipe, if not under its name
ORDER = ("items.npy", "offsets.npy", "events.npy", "times.npy")  # of a log: who did what, in which order
SPLIT = "parts.npy"
MARK = '<meta name="generator" content="learec run comparison">'
MOST_DOTS = 60  # of the chart: beyond, the table alone is easier to read


@dataclass(frozen=True)
class ComparedRun:
    """What a run's folder tells of it."""

    name: str
    tables: Json  # results/tables.json
    manifests: Mapping[str, Manifest]  # by folder: log, results, and what else is there
    agents: Mapping[str, Json]  # settings by name
    seconds: float | None  # that all its artifacts took; None if of one it is not known

    @property
    def log(self) -> Manifest:
        """Of the log that was used."""
        return self.manifests["log"]

    @property
    def settings(self) -> dict[str, str]:
        """All settings by dotted name, such as evaluation.mask_seen."""
        groups = {GROUPS.get(place, place): manifest.request.config for place, manifest in self.manifests.items()}
        return dict(_flat({**groups, "agents": self.agents}))


def read_run(folder: Path, name: str) -> ComparedRun:
    """A run from its folder; ArtifactError says what is missing or damaged."""
    present = [place for place in PLACES if place in ("log", "results") or (folder / place / MANIFEST).exists()]
    again = "learec run RECIPE"
    manifests = {place: read_manifest(folder / place, place.removeprefix("text-"), again) for place in present}
    path = folder / "results" / "tables.json"
    try:
        tables = json.loads(path.read_text(encoding="utf-8"))
        rows = tables["rows"], tables["n_targets"]["test"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"{path}: damaged ({error!r}); delete {path.parent} and run `learec evaluate RECIPE`") from None
    if not rows[0]:
        raise ArtifactError(f"{path}: has no row, wanted measures of floors or agents; run `learec evaluate RECIPE`")
    if manifests["results"].request.parents.get("log") != manifests["log"].digest:
        raise ArtifactError(
            f"{folder / 'results'}: stale: it was made from another log; refresh it with `learec evaluate RECIPE`"
        )
    agents: dict[str, Json] = {}
    measured = sorted(one.removeprefix("agent ") for one in manifests["results"].request.parents if one.startswith("agent "))
    places = [folder / "agents" / name / f"seed-{seed}" for name, _, seed in (column.rpartition("/") for column in measured)]
    for place in (one for one in places if (one / MANIFEST).exists()):  # beside them may lie those of an earlier recipe
        agents.setdefault(place.parent.name, read_manifest(place, "agent", again).request.config)
    costs = [cost_of(one) for one in (*(folder / name for name in manifests), *places)]
    seconds = sum(cost.seconds for cost in costs if cost) if all(costs) else None
    return ComparedRun(name, tables, manifests, agents, seconds)


def runs_within(folder: Path) -> list[Path]:
    """The runs of an experiment's folder, LOG/VARIANT each; of any other path itself alone."""
    found = [manifest.parent.parent for manifest in sorted(folder.glob(f"*/*/results/{MANIFEST}"))]
    return found if found and not (folder / "log").exists() else [folder]


def run_names(folders: Sequence[Path]) -> list[str]:
    """Short names that tell folders apart: their last parts, as many as it takes."""
    parts = [folder.resolve().parts for folder in folders]
    for depth in range(1, max(map(len, parts)) + 1):
        names = ["/".join(own[-depth:]) for own in parts]
        if len(set(names)) == len(set(parts)):
            return names
    return [str(folder) for folder in folders]


def write_comparison(runs: Sequence[ComparedRun], path: Path, version: str, together: Sequence[Json] = ()) -> None:
    """Write the page; a file there that is no such page is left alone and ArtifactError raised."""
    if path.exists() and not is_comparison(path):
        raise ArtifactError(f"{path}: is something else than a comparison of runs; name another file with --out")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, render_comparison(runs, version, together))


def is_comparison(path: Path) -> bool:
    """Whether a file is such a page."""
    return path.is_file() and MARK in path.read_text(encoding="utf-8", errors="replace")


def render_comparison(runs: Sequence[ComparedRun], version: str, together: Sequence[Json] = ()) -> str:
    """One page: warnings, the rows that runs share with their intervals, and what differs in settings.

    `together` are comparisons of the first run's agents over all encoders and objectives, which stand before its rows.
    """
    metric = shared_metric(runs)
    cells = {run.name: {row["name"]: row["metrics"].get(metric) for row in run.tables["rows"]} for run in runs}
    names = list(dict.fromkeys(name for own in cells.values() for name in own))
    shared = [name for name in names if sum(name in own for own in cells.values()) > 1 or len(runs) == 1]
    values = {
        "version": version, "mark": Markup(MARK), "metric": metric, "runs": runs,  # noqa: S704 (a constant of this file)
        "warnings": warnings(runs), "groups": comparable_groups(runs), "shared": shared, "cells": cells,
        "differing": differing_settings(runs),
        "alone": {run.name: [name for name in cells[run.name] if name not in shared] for run in runs},
        "chart": _chart(runs, shared, cells, metric),
        "together": together, "together_chart": comparisons_chart(together), "words_of": words_of,
    }  # fmt: skip
    return render_page("comparison", values)


def shared_metric(runs: Sequence[ComparedRun]) -> str | None:
    """The first run's headline metric if all runs have it, else the first NDCG that they share; None if there is none."""
    found = [list(run.tables["rows"][0]["metrics"]) for run in runs]
    wanted = [headline_metric({"rows": runs[0].tables["rows"]}), *(name for name in found[0] if name.startswith("NDCG"))]
    return next((name for name in wanted if name and all(name in own for own in found)), None)


def warnings(runs: Sequence[ComparedRun]) -> list[str]:
    """Sentences on why numbers of the runs must not be set against each other; none where they may."""
    first, found = runs[0], []
    for run in runs[1:]:
        logs = [[side.log.files.get(name) for name in ORDER] for side in (first, run)]
        if logs[0] != logs[1]:
            found.append(f"{run.name} was made from another log than {first.name} ({_size(run)} against {_size(first)}).")
        elif first.log.files.get(SPLIT) != run.log.files.get(SPLIT):
            found.append(f"{run.name} splits the log otherwise than {first.name}: its test targets are others.")
        masks = [side.settings.get("evaluation.mask_seen") for side in (first, run)]
        if masks[0] != masks[1]:
            found.append(f"{run.name} ranks items that were seen otherwise than {first.name}: mask_seen is {masks[1]}.")
    return found


def comparable_groups(runs: Sequence[ComparedRun]) -> list[list[str]]:
    """Names of runs whose numbers may be set against each other: nothing in `warnings` tells them apart."""
    groups: list[list[ComparedRun]] = []
    for run in runs:
        own = next((group for group in groups if not warnings([group[0], run])), None)
        if own is None:
            groups.append([run])
        else:
            own.append(run)
    return [[run.name for run in group] for group in groups]


def differing_settings(runs: Sequence[ComparedRun]) -> list[tuple[str, list[str | None]]]:
    """Settings that are not the same in all runs, with each run's value; None where a run has none.

    A part that a run has not, such as environment, is one row. An agent that it has not is none: the results tell that.
    """
    settings = [run.settings for run in runs]
    parts = [{_part(name) for name in own} for own in settings]
    found: dict[str, list[str | None]] = {}
    for name in dict.fromkeys(name for own in settings for name in own):
        part = _part(name)
        if not part.startswith("agents.") and any(part not in own for own in parts):
            found[part] = ["there" if part in own else None for own in parts]
        if len({own.get(name) for own, has in zip(settings, parts, strict=True) if part in has}) > 1:
            found[name] = [own.get(name) for own in settings]
    return list(found.items())


def _part(name: str) -> str:
    """agents.sasrec.gamma -> agents.sasrec, evaluation.mask_seen -> evaluation."""
    return ".".join(name.split(".")[: 2 if name.startswith("agents.") else 1])


def _chart(runs: Sequence[ComparedRun], shared: Sequence[str], cells: Json, metric: str | None) -> Markup:
    """A dot for every shared row in every run, rows together; agents are filled."""
    kinds = {row["name"]: row["kind"] for run in runs for row in run.tables["rows"]}
    found = [(name, run.name, cells[run.name].get(name)) for name in shared for run in runs]
    dots = [
        interval_row(f"{name}, {run}", cell["mean"], cell, number, kinds[name] != "floor") for name, run, cell in found if cell
    ]
    return plots.interval_plot(dots, f"{metric} with 95\u00a0% interval by run") if len(dots) <= MOST_DOTS else plots.NONE


def _size(run: ComparedRun) -> str:
    notes = run.log.notes
    return ", ".join(f"{notes[name]:,} {name}" for name in ("sessions", "items", "steps") if name in notes)


def _flat(value: Json, above: str = "") -> Iterator[tuple[str, str]]:
    for key, inner in value.items():
        name = f"{above}.{key}" if above else key
        if isinstance(inner, Mapping):
            yield from _flat(inner, name)
        else:
            yield name, inner if isinstance(inner, str) else json.dumps(inner)
