"""The straight line: which stage makes which folder from which others, when it is up to date, and how a run walks it.

    simulate -> raw/ (only for a simulated log)
    prepare  -> log/           from the raw log and the item table
    adapt    -> environment/   from log/
    annotate -> annotations/   from log/ and environment/
    train    -> agents/NAME/seed-S/   from log/ and, where the agent reads them, annotations/
    evaluate -> results/       from log/, annotations/ and all agents
    report   -> report/        from results/ and what every stage noted
"""

import importlib.metadata
import json
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from learec.artifacts import COST, Request, building, finish_interrupted, is_current, read_manifest, request_for, require, stored_request
from learec.config import Recipe, RunOptions
from learec.errors import ArtifactError
from learec.progress import Reporter

FOLDERS = ("raw", "log", "environment", "annotations", "agents", "results", "report")


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

    def agent_folder(self, name: str, seed: int) -> Path:
        """Where one agent lies."""
        return self.options.folder / "agents" / name / f"seed-{seed}"

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

    @property
    def needs_annotations(self) -> bool:
        """Whether any agent reads annotations."""
        return any(agent.lea for agent in self.recipe.agents.values())


def check_folder(folder: Path) -> None:
    """Refuse an output folder that holds anything but artifacts of a run."""
    if folder.exists() and not folder.is_dir():
        raise ArtifactError(f"{folder}: is a file, wanted a folder for the run; name another with --folder")
    known = {*FOLDERS, *(f".{name}.{state}" for name in FOLDERS for state in ("partial", "old"))}
    foreign = sorted(path.name for path in folder.iterdir() if path.name not in known) if folder.exists() else []
    if foreign:
        raise ArtifactError(f"{folder}: holds something else ({foreign[0]}), wanted an empty folder or an earlier run; name another with --folder")


def simulate_stage(run: Run) -> bool:
    """Write the simulated log, if the recipe asks for one."""
    if run.recipe.simulate is None:
        return False
    import numpy as np  # noqa: PLC0415 (a stage imports what it needs when it runs, so that `--help` is quick)

    from learec.data.simulate import simulate  # noqa: PLC0415

    folder, config = run.folder("raw"), run.recipe.simulate
    request = request_for("raw", config, {}, seed=run.recipe.seed)
    if _up_to_date(run, folder, request, "simulate"):
        return False
    with building(folder, request, {}) as partial:
        made = simulate(config, run.recipe.seed)
        made.events.write_parquet(partial / "interactions.parquet")
        made.items.write_parquet(partial / "items.parquet")
        np.save(partial / "preferences.npy", made.preferences, allow_pickle=False)
    return True


def prepare_stage(run: Run) -> bool:
    """From files to a log."""
    from learec.data.prepare import log_request, prepare  # noqa: PLC0415

    recipe, folder = run.recipe, run.folder("log")
    if _up_to_date(run, folder, log_request(recipe.data, recipe.seed, run.data_folder), "prepare"):
        return False
    notes = prepare(recipe.data, recipe.seed, run.data_folder, folder)
    for row in notes["funnel"]:
        run.reporter.say(f"  {row['step']}: {row['events']:,} events, {row['users']:,} users, {row['items']:,} items")
    if notes["items_without_text"]:
        run.reporter.say(f"  {notes['items_without_text']:,} of {notes['items']:,} items have no text and get the mean item token")
    return True


def adapt_stage(run: Run) -> bool:
    """From a log to an environment: the only stage that trains a language model."""
    from learec.environment.adapt import adapt, environment_request  # noqa: PLC0415
    from learec.evaluation.evaluate import mean_metrics  # noqa: PLC0415

    recipe, folder = run.recipe, run.folder("environment")
    require_log(run)
    request = environment_request(recipe.environment, recipe.seed, run.digest("log", "log", "prepare"))
    if _up_to_date(run, folder, request, "adapt"):
        return False
    options = {"device": run.options.device, "reporter": run.reporter, "measure": mean_metrics}
    adapt(recipe.environment, recipe.seed, open_log(run), folder, **options)
    return True


def annotate_stage(run: Run) -> bool:
    """From an environment to one row per training step."""
    from learec.annotations.annotate import annotate, annotations_request  # noqa: PLC0415
    from learec.environment.adapt import environment_request  # noqa: PLC0415
    from learec.environment.environment import load_environment  # noqa: PLC0415

    recipe, folder = run.recipe, run.folder("annotations")
    require_log(run)
    log_digest = run.digest("log", "log", "prepare")
    wanted = environment_request(recipe.environment, recipe.seed, log_digest)
    environment_digest = require(run.folder("environment"), wanted, run.make_with("adapt")).digest
    if _up_to_date(run, folder, annotations_request(recipe.annotations, log_digest, environment_digest), "annotate"):
        return False
    environment, digest = load_environment(run.folder("environment"), run.options.device)
    notes = annotate(recipe.annotations, open_log(run), environment, digest, folder, reporter=run.reporter)
    run.reporter.say(f"  {notes['annotated_steps']:,} steps, {notes['augmented_per_step']:.1f} augmented actions each")
    return True


def train_stage(run: Run, only: str | None = None) -> bool:
    """Every agent of the recipe, every seed."""
    from learec.agents.train import agent_request, train  # noqa: PLC0415
    from learec.annotations.table import load_annotations  # noqa: PLC0415
    from learec.data.log import Part  # noqa: PLC0415
    from learec.evaluation.evaluate import mean_metrics, measured_ranks  # noqa: PLC0415

    require_log(run)
    log_digest = run.digest("log", "log", "prepare")
    annotations_digest = _annotations_digest(run, log_digest) if run.needs_annotations else None
    log = open_log(run)
    mask_seen = run.recipe.evaluation.mask_seen
    made = False
    jobs = [(name, config, seed) for name, config in run.recipe.agents.items() for seed in config.seeds if only in (None, name)]
    for number, (name, config, seed) in enumerate(jobs, 1):
        folder = run.agent_folder(name, seed)
        request = agent_request(config, seed, log_digest, annotations_digest if config.lea else None)
        if _up_to_date(run, folder, request, f"train {name} seed {seed}"):
            continue
        annotations = load_annotations(run.folder("annotations")) if config.lea else None
        train(
            config, seed, log, annotations, folder, name=f"{name}.{seed} ({number} of {len(jobs)})",
            device=run.options.device, reporter=run.reporter,
            validate=lambda agent: mean_metrics(measured_ranks(agent, log, Part.VALIDATION, mask_seen)),
        )  # fmt: skip
        made = True
    return made


def evaluate_stage(run: Run) -> bool:
    """Ranks, tables and examples of all agents and floors."""
    from learec.agents.agent import load_agent  # noqa: PLC0415
    from learec.agents.train import agent_request  # noqa: PLC0415
    from learec.annotations.table import load_annotations  # noqa: PLC0415
    from learec.evaluation.baselines import DESCRIPTIONS, floors  # noqa: PLC0415
    from learec.evaluation.evaluate import Contestant, evaluate, results_request  # noqa: PLC0415

    recipe, folder = run.recipe, run.folder("results")
    require_log(run)
    log_digest = run.digest("log", "log", "prepare")
    annotations_digest = _annotations_digest(run, log_digest) if _has(run, "annotations") or run.needs_annotations else None
    parents = {"log": log_digest, **({"annotations": annotations_digest} if annotations_digest else {})}
    agents = [(name, config, seed) for name, config in recipe.agents.items() for seed in config.seeds]
    for name, config, seed in agents:
        wanted = agent_request(config, seed, log_digest, annotations_digest if config.lea else None)
        parents[f"agent {name}/{seed}"] = require(run.agent_folder(name, seed), wanted, run.make_with("train")).digest
    if _up_to_date(run, folder, results_request(recipe.evaluation, recipe.seed, parents), "evaluate"):
        return False
    log = open_log(run)
    annotations = load_annotations(run.folder("annotations")) if annotations_digest else None
    vectors = annotations.item_vectors if annotations else None
    found = floors(recipe.evaluation, log.training, log.catalog.n_items, vectors)
    contestants = [Contestant(name, None, DESCRIPTIONS[name], scorer) for name, scorer in found.items()]
    for name, config, seed in agents:
        told = ", ".join([config.encoder, config.objective, *([f"lea: {' + '.join(config.lea)}"] if config.lea else [])])
        agent, _ = load_agent(run.agent_folder(name, seed), run.options.device)
        contestants.append(Contestant(name, seed, told + (", shuffled (placebo)" if config.placebo else ""), agent))
    evaluate(recipe.evaluation, recipe.seed, log, annotations, contestants, parents, folder, reporter=run.reporter)
    return True


def report_stage(run: Run) -> bool:
    """The page that shows it all."""
    from learec.evaluation.report import write_report  # noqa: PLC0415

    folder = run.folder("report")
    request = request_for("report", {"name": run.recipe.name}, {"results": run.digest("results", "results", "evaluate")})
    if _up_to_date(run, folder, request, "report"):
        return False
    with building(folder, request, {}) as partial:
        write_report(report_data(run), partial / "report.html")
    return True


STAGES: Mapping[str, Callable[[Run], bool]] = {
    "simulate": simulate_stage,
    "prepare": prepare_stage,
    "adapt": adapt_stage,
    "annotate": annotate_stage,
    "train": train_stage,
    "evaluate": evaluate_stage,
    "report": report_stage,
}


def walk(run: Run) -> bool:
    """All stages in order; each makes what is missing or stale and leaves the rest. Returns whether any made anything."""
    stages = {name: stage for name, stage in STAGES.items() if name != "simulate" or run.recipe.simulate}
    made = False
    for number, (name, stage) in enumerate(stages.items(), 1):
        run.reporter.say(f"[{number} of {len(stages)}] {name}")
        made |= stage(run)
    return made


def open_log(run: Run) -> Any:
    """The run's log, checked."""
    from learec.data.log import load_log  # noqa: PLC0415

    return load_log(run.folder("log"))


def require_log(run: Run) -> None:
    """Refuse a log that was prepared with other settings. The raw files need not be here any more."""
    parents = {"events file": "", "items file": ""}
    wanted = request_for("log", run.recipe.data, parents, seed=run.recipe.seed)
    require(run.folder("log"), wanted, run.make_with("prepare"))


def report_data(run: Run) -> dict[str, Any]:
    """Everything the report shows, gathered from results/ and from what the stages noted. The shape is in report.py."""
    recipe = run.recipe
    log_notes = _notes(run, "log")
    environment, annotations = _notes(run, "environment"), _notes(run, "annotations")
    tables = json.loads((run.folder("results") / "tables.json").read_text(encoding="utf-8"))
    agents = [(name, seed) for name, config in recipe.agents.items() for seed in config.seeds]
    return {
        "name": recipe.name,
        "version": importlib.metadata.version("learec"),
        "data": {**{key: log_notes[key] for key in ("sessions", "items", "steps", "steps_by_part", "funnel", "items_without_text")},
                 "split": recipe.data.split, "simulated": recipe.simulate is not None},
        "evaluation": {**recipe.evaluation.model_dump(mode="json"), "n_targets": tables["n_targets"]},
        "rows": tables["rows"],
        "comparisons": tables["comparisons"],
        "agent_curves": [
            {"name": name, "seed": seed, **_notes(run, str(run.agent_folder(name, seed).relative_to(run.options.folder)))["curves"]}
            for name, seed in agents
        ],
        "environment_curves": environment.get("curves"),
        "rewards": annotations.get("rewards"),
        "annotations": {key: value for key, value in annotations.items() if key != "rewards"} or None,
        "examples": json.loads((run.folder("results") / "examples.json").read_text(encoding="utf-8")),
        "stages": costs(run),
        "recipe": recipe.model_dump(mode="json"),
        "versions": {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in ("torch", "polars", "numpy")}},
    }  # fmt: skip


def costs(run: Run) -> list[dict[str, Any]]:
    """Seconds and peak memory by stage; all agents count as one stage."""
    places = {"simulate": "raw", "prepare": "log", "adapt": "environment", "annotate": "annotations", "evaluate": "results"}
    found = [{"stage": stage, **_cost(run.folder(name))} for stage, name in places.items() if (run.folder(name) / COST).exists()]
    agents = [_cost(run.agent_folder(name, seed)) for name, config in run.recipe.agents.items() for seed in config.seeds]
    trained = {"stage": "train", "seconds": sum(c["seconds"] for c in agents), "peak_mb": max(c["peak_mb"] for c in agents)}
    return [*found[:-1], trained, *found[-1:]]


def _cost(folder: Path) -> dict[str, float]:
    cost: dict[str, float] = json.loads((folder / COST).read_text(encoding="utf-8"))
    return cost


def _notes(run: Run, name: str) -> dict[str, Any]:
    """What a stage noted; nothing if its folder is not here."""
    folder = run.folder(name)
    return json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["notes"] if _has(run, name) else {}


def _has(run: Run, name: str) -> bool:
    return (run.folder(name) / "manifest.json").exists()


def _annotations_digest(run: Run, log_digest: str) -> str:
    """Digest of annotations that fit the recipe and the log. The environment they came from need not be here any more."""
    environment = run.digest("environment", "environment", "adapt") if _has(run, "environment") else ""
    wanted = request_for("annotations", run.recipe.annotations, {"log": log_digest, "environment": environment})
    return require(run.folder("annotations"), wanted, run.make_with("annotate")).digest


def _up_to_date(run: Run, folder: Path, request: Request, stage: str) -> bool:
    finish_interrupted(folder)
    if is_current(folder, request):
        run.reporter.say(f"  {stage}: up to date")
        return True
    if (folder / "manifest.json").exists():
        run.reporter.say(f"  {stage}: made again, because {request.difference(stored_request(folder))}")
    return False
