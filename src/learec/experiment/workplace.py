"""Where an experiment lies, and its hands: what of it is there already, and how a job is started."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from learec.artifacts import MANIFEST, cost_of, finish_interrupted, is_current, write_text
from learec.config import AgentEntry, Recipe, RunOptions
from learec.contest import results_request_of
from learec.data.log import load_catalog
from learec.errors import ArtifactError
from learec.evaluation.floors import has_texts, left_out
from learec.experiment.grid import MAIN, Plan, Planned
from learec.experiment.jobs import Job, name_of, shared_folders
from learec.experiment.processes import DEVICE, Processes
from learec.experiment.schedule import DONE, Progress
from learec.progress import Reporter
from learec.run import (
    Run,
    annotation_digests,
    check_folder,
    require_annotations,
    require_environment,
    require_log,
    require_text_annotations,
    simulation_request,
)
from learec.toml_text import toml_text

OWN = "experiment"  # folder of what is not one recipe's


@dataclass(frozen=True)
class Workplace:
    """Folders of an experiment: LOG/VARIANT/ is an ordinary run, experiment/ holds recipes, log files and tables."""

    folder: Path
    data_folder: Path
    reporter: Reporter

    @property
    def own(self) -> Path:
        """What is not one recipe's."""
        return self.folder / OWN

    def recipe_path(self, planned: Planned, ending: str = "") -> Path:
        """Where a recipe of the grid is written, to be used with any other command."""
        return self.own / "recipes" / planned.log / f"{planned.variant}{ending}.toml"

    def run_folder(self, planned: Planned) -> Path:
        """Where it is run."""
        return self.folder / planned.log / planned.variant

    def run(self, planned: Planned) -> Run:
        """A recipe of the grid as an ordinary run."""
        options = RunOptions(self.run_folder(planned), self._data(planned))
        return Run(planned.recipe, f"{self.recipe_path(planned)} --folder {options.folder}", options, self.reporter)

    def _data(self, planned: Planned) -> Path:
        return self.run_folder(planned) / "raw" if planned.recipe.simulate else self.data_folder

    def log_file(self, job: Job) -> Path:
        """What a job's process prints."""
        return self.own / "logs" / f"{job.name}.txt"

    def arguments(self, job: Job, recipe: Path) -> list[str]:
        """Of a job's process."""
        cell = [job.entry.name, str(job.entry.seed)] if job.entry else []
        return [str(recipe), str(self.run_folder(job.run)), str(self._data(job.run)), DEVICE, job.stage, *cell]

    def set_up(self, plan: Plan) -> None:
        """Check every folder and write every recipe."""
        for planned in plan.runs:
            check_folder(self.run_folder(planned))
            self.recipe_path(planned).parent.mkdir(parents=True, exist_ok=True)
            _write_recipe(self.recipe_path(planned), planned.recipe)

    def measurable(self, planned: Planned, there: list[AgentEntry]) -> Recipe:
        """The recipe of the cells that are there, without comparisons that they or this log cannot answer.

        Of cells that read no annotations there may be none, and then no floor that needs item vectors.
        """
        recipe = only(planned.recipe, there)
        run = replace(self.run(planned), recipe=recipe)
        catalog, _ = load_catalog(run.folder("log"))
        has_vectors = run.has("annotations") or run.needs_annotations()
        absent = left_out(recipe.evaluation, catalog.n_items, has_vectors, has_texts(catalog))
        return recipe.model_copy(update={"evaluation": recipe.evaluation.among(recipe.agents, absent)})

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Alone in this folder: two at once would write into each other's unfinished agents."""
        self.own.mkdir(parents=True, exist_ok=True)
        with (self.own / "lock").open("a+", encoding="ascii") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                raise ArtifactError(
                    f"{self.folder}: learec experiment works here (process {file.read().strip()}); wait for it, or stop it"
                ) from None
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            yield


def _write_recipe(path: Path, recipe: Recipe) -> None:
    write_text(path, toml_text(recipe.model_dump(mode="json", exclude_unset=True, exclude_none=True)))


def only(recipe: Recipe, entries: list[AgentEntry]) -> Recipe:
    """A recipe with some of its agents' seeds, and the comparisons that can then be made."""
    seeds: dict[str, tuple[int, ...]] = {}
    for entry in entries:
        seeds[entry.name] = (*seeds.get(entry.name, ()), entry.seed)
    agents = {name: recipe.agents[name].replaced({"seeds": found}) for name, found in seeds.items()}
    return recipe.model_copy(update={"agents": agents, "evaluation": recipe.evaluation.among(agents)})


class LocalHands:
    """Jobs as processes on this machine."""

    def __init__(self, workplace: Workplace, plan: Plan, progress: Progress, processes: Processes) -> None:
        self.processes = processes
        self._workplace, self._progress = workplace, progress
        self._mains = {planned.log: planned for planned in plan.runs if planned.variant == MAIN}

    def kept(self, job: Job) -> float | None:
        """As in Hands. Shares what a variant has in common with the main recipe, which takes no process."""
        if job.stage == "share":
            main = self._mains[job.run.log]
            folders = self._workplace.run_folder(main), self._workplace.run_folder(job.run)
            names = shared_folders(job.run, main)
            if not job.asked:
                return 0.0 if all(_has_same(*folders, name) for name in names) else None
            share(*folders, names)
            return 0.0
        run = self._workplace.run(job.run)
        if job.entry is not None:
            if not agent_is_current(run, job.entry):
                return None
            cost = cost_of(run.agent_folder(job.entry))
            return cost.seconds if cost else 0.0
        if job.stage in ("adapt", "annotate"):
            return 0.0 if _is_annotated(run) else None
        if not job.asked:  # a log that nobody asked for stays in the tables
            return 0.0 if self._is_made(job) else None
        # prepare reads the raw files, evaluate the recipe of finished cells, and both say themselves if it is the same
        return None

    def _is_made(self, job: Job) -> bool:
        """Whether an earlier call has prepared a log, or evaluated the cells that are there, as the recipe says today."""
        there = self._workplace.run(job.run)
        if job.stage == "prepare":
            finish_interrupted(there.folder("log"))
            return _is_raw_current(there) and bool(require_log(there))
        found = replace(there, recipe=self._measurable(job.run))
        finish_interrupted(found.folder("results"))
        return is_current(found.folder("results"), results_request_of(found))

    def start(self, job: Job) -> None:
        """As in Hands."""
        path = self._finished(job.run) if job.stage == "evaluate" else self._workplace.recipe_path(job.run)
        self.processes.start(job.name, self._workplace.arguments(job, path), self._workplace.log_file(job))

    def _finished(self, planned: Planned) -> Path:
        """The recipe of the cells that are there."""
        path = self._workplace.recipe_path(planned, ".finished")
        found = self._measurable(planned)
        if len(found.entries) == len(planned.recipe.entries) and found.evaluation == planned.recipe.evaluation:
            path.unlink(missing_ok=True)
            return self._workplace.recipe_path(planned)
        _write_recipe(path, found)
        return path

    def _measurable(self, planned: Planned) -> Recipe:
        return self._workplace.measurable(planned, self._there(planned))

    def _there(self, planned: Planned) -> list[AgentEntry]:
        return [one for one in planned.recipe.entries if self._progress.states[name_of(planned, one.column)] in DONE]


def agent_is_current(run: Run, entry: AgentEntry) -> bool:
    """Whether an agent lies there as the recipe wants it, made from the log and annotations that are there."""
    from learec.agents.train import agent_request

    log = require_log(run)
    digests = annotation_digests(run, log, bool(entry.config.lea), entry.name)
    finish_interrupted(run.agent_folder(entry))
    return is_current(run.agent_folder(entry), agent_request(entry, log, *digests))


def _is_annotated(run: Run) -> bool:
    """Whether annotate has nothing to do."""
    with suppress(ArtifactError):
        log = require_log(run)
        require_environment(run, log)
        require_annotations(run, log)
        if run.needs_text_annotations():
            require_text_annotations(run, log)
        return True
    return False


def _is_raw_current(run: Run) -> bool:
    """Whether the raw files are those of the recipe's simulation, which a log's own request does not name; True without one."""
    simulated = run.recipe.simulate
    return simulated is None or is_current(run.folder("raw"), simulation_request("raw", simulated, run.recipe.seed))


def share(source: Path, target: Path, names: tuple[str, ...]) -> None:
    """Give a run the artifacts of another one, by hard links: no file of an artifact is ever written to."""
    target.mkdir(parents=True, exist_ok=True)
    for name in names:
        original, copy = source / name, target / name
        if _has_same(source, target, name):
            continue
        beside = target / f".{name}.old"  # a name that a stopped run may leave behind
        shutil.rmtree(beside, ignore_errors=True)
        shutil.copytree(original, beside, copy_function=_linked)
        shutil.rmtree(copy, ignore_errors=True)
        beside.rename(copy)


def _linked(source: str, target: str) -> None:
    """A hard link, or a copy where the file system has none."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _has_same(source: Path, target: Path, name: str) -> bool:
    """Whether a run has shared an artifact already, if there is one."""
    return not (source / name / MANIFEST).exists() or _is_same(source / name / MANIFEST, target / name / MANIFEST)


def _is_same(one: Path, other: Path) -> bool:
    return other.exists() and one.read_bytes() == other.read_bytes()
