"""A run: a recipe, the folder it is run in, and what its artifacts tell."""

import importlib.metadata
import json
import platform
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from learec.artifacts import MANIFEST, Cost, Request, cost_of, read_manifest, request_for, require
from learec.config import AgentEntry, Recipe, RunOptions, SimulateConfig
from learec.errors import ArtifactError
from learec.progress import Reporter
from learec.workers import Workers

FOLDERS = (
    "raw", "truth", "log", "environment", "annotations", "text-annotations", "agents", "tuning", "export", "results", "report",
    "logs",
)  # fmt: skip


@dataclass(frozen=True)
class Run:
    """A recipe, where it is run, and whom to tell."""

    recipe: Recipe
    recipe_name: str  # as typed, for the commands that errors suggest
    options: RunOptions
    reporter: Reporter

    def folder(self, name: str) -> Path:
        """Where an artifact of this run lies."""
        return self.options.folder / name

    def agent_folder(self, entry: AgentEntry) -> Path:
        """Where one agent lies."""
        return self.options.folder / "agents" / entry.name / f"seed-{entry.seed}"

    def workers(self) -> Workers:
        """The processes of this command, their device, and the loggers that were asked for."""
        return Workers(self.options.device, self.options.loggers, self.folder("logs"))

    def has(self, name: str) -> bool:
        """Whether an artifact of this run is here."""
        return (self.folder(name) / MANIFEST).exists()

    @property
    def data_folder(self) -> Path:
        """Where the raw files lie."""
        return self.folder("raw") if self.recipe.simulate else self.options.data_folder

    def make_with(self, stage: str) -> str:
        """The command that makes an artifact of this run."""
        return f"learec {stage} {self.recipe_name}"

    def digest(self, name: str, kind: str, stage: str) -> str:
        """Digest of an artifact of this run."""
        return read_manifest(self.folder(name), kind, self.make_with(stage)).digest

    def needs_annotations(self, only: str | None = None) -> bool:
        """Whether any agent, or the one named, reads annotations."""
        return any(agent.lea for name, agent in self.recipe.agents.items() if only in (None, name))

    def needs_text_annotations(self, only: str | None = None) -> bool:
        """Whether any agent, or the one named, reads annotations made without a language model."""
        return any(agent.placebo == "text" for name, agent in self.recipe.agents.items() if only in (None, name))


def check_folder(folder: Path) -> None:
    """Refuse an output folder that holds anything but artifacts of a run."""
    if folder.exists() and not folder.is_dir():
        raise ArtifactError(f"{folder}: is a file, wanted a folder for the run; name another with --folder")
    known = {*FOLDERS, *(f".{name}.{state}" for name in FOLDERS for state in ("partial", "old"))}
    foreign = sorted(path.name for path in folder.iterdir() if path.name not in known) if folder.exists() else []
    if foreign:
        raise ArtifactError(
            f"{folder}: holds something else ({foreign[0]}), wanted an empty folder or an earlier run; name another with --folder"
        )


def simulation_request(name: str, simulated: SimulateConfig, seed: int) -> Request:
    """What raw/ or truth/ of a simulated log are asked for."""
    return request_for(name, simulated, {}, seed=seed)


def open_log(run: Run) -> Any:
    """The run's log, checked."""
    from learec.data.log import load_log

    return load_log(run.folder("log"))


def require_log(run: Run) -> str:
    """Digest of the log; one that was prepared with other settings is refused. The raw files need not be here any more."""
    wanted = request_for("log", run.recipe.data, {}, seed=run.recipe.seed)
    return require(run.folder("log"), wanted, run.make_with("prepare"), any_parents=True).digest


def require_annotations(run: Run, log_digest: str) -> str:
    """Digest of annotations that fit the recipe and the log. The environment they came from need not be here any more."""
    environment = require_environment(run, log_digest) if run.has("environment") else ""
    wanted = request_for("annotations", run.recipe.annotations.without_words, {"log": log_digest, "environment": environment})
    return require(run.folder("annotations"), wanted, run.make_with("annotate")).digest


def require_text_annotations(run: Run, log_digest: str) -> str:
    """Digest of annotations that were made without a language model."""
    config = run.recipe.annotations
    wanted = request_for("annotations", config.without_words, {"log": log_digest, "environment": config.text_environment})
    return require(run.folder("text-annotations"), wanted, run.make_with("annotate")).digest


def annotation_digests(run: Run, log_digest: str, with_model: bool, only: str | None = None) -> tuple[str | None, str | None]:
    """Digests of the annotations of the language model, where they are asked for, and of those without one."""
    return (
        require_annotations(run, log_digest) if with_model else None,
        require_text_annotations(run, log_digest) if run.needs_text_annotations(only) else None,
    )


def require_environment(run: Run, log_digest: str) -> str:
    """Digest of an environment that fits the recipe and the log."""
    parents = {"log": log_digest, "language model": ""}
    wanted = request_for("environment", run.recipe.environment, parents, seed=run.recipe.seed)
    return require(run.folder("environment"), wanted, run.make_with("adapt")).digest


def report_data(run: Run) -> dict[str, Any]:
    """Everything the report shows, gathered from results/ and from what the stages noted. The shape is in report.py."""
    recipe, results = run.recipe, run.folder("results")
    log, environment, annotations = (_notes(run.folder(name)) for name in ("log", "environment", "annotations"))
    shown = ("sessions", "items", "steps", "steps_by_part", "funnel", "items_without_text")
    tables = json.loads((results / "tables.json").read_text(encoding="utf-8"))
    curves = [{"name": entry.name, "seed": entry.seed, **_notes(run.agent_folder(entry))["curves"]} for entry in recipe.entries]
    versions = {"python": platform.python_version(), **_versions(), **_language_model(run)}
    return {
        "name": recipe.name,
        "version": importlib.metadata.version("learec"),
        "data": {**{key: log[key] for key in shown}, "split": log["split"], "simulated": recipe.simulate is not None},
        "evaluation": {**recipe.evaluation.model_dump(mode="json"), "n_targets": tables["n_targets"]},
        "rows": tables["rows"],
        "comparisons": tables["comparisons"],
        "leads": tables["leads"],
        "left_out": tables["left_out"],
        "values": tables.get("values"),
        "agent_curves": curves,
        "environment_curves": environment.get("curves"),
        "examination": environment.get("examination") or None,
        "rewards": annotations.get("rewards"),
        "annotations": {key: value for key, value in annotations.items() if key != "rewards"} or None,
        "examples": json.loads((results / "examples.json").read_text(encoding="utf-8")),
        "stages": costs(run),
        "recipe": recipe.model_dump(mode="json", exclude={"tune"}),
        "versions": versions,
    }


def _versions() -> dict[str, str]:
    """Of the packages that computed, as far as they are installed."""
    found = {}
    for name in ("torch", "polars", "numpy", "scipy", "transformers", "peft"):
        with suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def _language_model(run: Run) -> dict[str, str]:
    """Which weights the environment was made from."""
    if not run.has("environment"):
        return {}
    parents = read_manifest(run.folder("environment"), "environment", run.make_with("adapt")).request.parents
    return {"language model": parents["language model"]}


def costs(run: Run) -> list[dict[str, Any]]:
    """Seconds and peak memory by stage, as far as they are known; all agents count as one stage."""
    places = {
        "simulate": "raw", "prepare": "log", "adapt": "environment", "annotate": "annotations",
        "annotate, TF-IDF": "text-annotations", "evaluate": "results",
    }  # fmt: skip
    taken = {stage: cost_of(run.folder(name)) for stage, name in places.items() if run.has(name)}
    evaluated = taken.pop("evaluate", None)
    agents = [cost_of(run.agent_folder(entry)) for entry in run.recipe.entries]
    known = [cost for cost in agents if cost is not None]
    # A sum without some of its parts would be no sum.
    trained = Cost(sum(c.seconds for c in known), max(c.peak_mb for c in known)) if known and len(known) == len(agents) else None
    found = {**taken, "train": trained, "evaluate": evaluated}
    return [{"stage": stage, **asdict(cost)} for stage, cost in found.items() if cost is not None]


def _notes(folder: Path) -> dict[str, Any]:
    """What a stage noted; nothing if its folder is not here."""
    path = folder / MANIFEST
    notes: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["notes"] if path.exists() else {}
    return notes
