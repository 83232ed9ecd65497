"""The jobs of an experiment: a process for every stage of every recipe and every cell, and what each of them waits for."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Literal

from learec.config import AgentEntry, Recipe
from learec.errors import ConfigError
from learec.experiment.grid import MAIN, Plan, Planned

JobStage = Literal["prepare", "share", "adapt", "annotate", "train", "evaluate"]


@dataclass(frozen=True)
class Job:
    """One piece of work on one recipe."""

    run: Planned
    stage: JobStage
    needs: tuple[str, ...] = ()  # names of jobs that must have been done
    after: tuple[str, ...] = ()  # and of jobs that must be over, one way or another
    entry: AgentEntry | None = None  # of a training
    asked: bool = True  # whether it is to be made if it is not there

    @property
    def name(self) -> str:
        """What it is called among the others, also the name of its log file."""
        return name_of(self.run, self.entry.column if self.entry else self.stage)


def name_of(run: Planned, what: str) -> str:
    """The name of a recipe's job."""
    return f"{run.name}/{what}"


def reads_annotations(recipe: Recipe) -> bool:
    """Whether any agent does, so that there must be an environment."""
    return any(agent.lea for agent in recipe.agents.values())


def shared_folders(run: Planned, main: Planned) -> tuple[str, ...]:
    """What a variant takes from the log's main recipe, because it would make the same."""
    same = run.recipe.environment == main.recipe.environment
    return ("raw", "truth", "log", *(("environment",) if same else ()))


def jobs_of(plan: Plan) -> dict[str, Job]:
    """All jobs by name, each behind those that it waits for."""
    mains = {run.log: run for run in plan.runs if run.variant == MAIN}
    return {job.name: job for run in plan.runs for job in _jobs_of_run(run, mains[run.log])}


def _jobs_of_run(run: Planned, main: Planned) -> Iterator[Job]:
    stages = list(_stages(run, main))
    yield from stages
    last, log = stages[-1].name, stages[0].name
    # Seed by seed: whoever stops halfway has all agents with some of the seeds.
    entries = sorted(run.recipe.entries, key=lambda entry: entry.config.seeds.index(entry.seed))
    cells = [Job(run, "train", (last if entry.config.lea else log,), entry=entry) for entry in entries]
    yield from cells
    yield Job(run, "evaluate", (log,), (last, *(cell.name for cell in cells)))


def _stages(run: Planned, main: Planned) -> Iterator[Job]:
    """From the log to the annotations; of a log whose agents read none, the log alone."""
    if run is main:
        yield Job(run, "prepare")
        if reads_annotations(run.recipe):
            yield Job(run, "adapt", (name_of(run, "prepare"),))
            yield Job(run, "annotate", (name_of(run, "adapt"),))
        return
    if "environment" in shared_folders(run, main):
        yield Job(run, "share", (name_of(main, "prepare"), name_of(main, "adapt")))
        yield Job(run, "annotate", (name_of(run, "share"),))
    else:
        yield Job(run, "share", (name_of(main, "prepare"),))
        yield Job(run, "adapt", (name_of(run, "share"),))
        yield Job(run, "annotate", (name_of(run, "adapt"),))


def asked_for(jobs: Mapping[str, Job], patterns: Sequence[str]) -> dict[str, Job]:
    """The same jobs, of which those are asked for that make the cells named by shell patterns, and all that they need.

    Raises ConfigError for a pattern that names none.
    """
    cells = [name for name, job in jobs.items() if job.stage == "train"]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in cells):
            raise ConfigError(f"--only {pattern!r}: names no cell; a cell's name is LOG/main/AGENT/SEED, such as {cells[0]}")
    asked = {name for name in cells if any(fnmatchcase(name, pattern) for pattern in patterns)}
    asked |= {name for name, job in jobs.items() if job.stage == "evaluate" and asked & set(job.after)}
    for name in reversed(list(jobs)):  # each stands behind those that it waits for
        if name in asked:
            asked |= set(jobs[name].needs)
    return {name: job if name in asked else _unasked(job) for name, job in jobs.items()}


def _unasked(job: Job) -> Job:
    """A cell that lies there from an earlier call can stand in the tables though what its annotations came from is gone."""
    if job.stage != "train":
        return replace(job, asked=False)
    log = name_of(job.run, "prepare" if job.run.variant == MAIN else "share")
    return replace(job, asked=False, needs=(log,), after=job.needs)
