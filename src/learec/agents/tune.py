"""tune: trials of one agent's settings, judged on validation; Optuna proposes them and ends those that fall behind."""

import io
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import fmean

import optuna
import polars as pl
import torch
from optuna.trial import TrialState
from rich.console import Console

from learec.agents.agent import Agent
from learec.agents.study import FAILED, REPEATS, Result, Sought, best_of, ended, open_study, results_of
from learec.agents.train import Validate, train
from learec.annotations.table import Annotations
from learec.artifacts import write_bytes
from learec.config import AgentEntry
from learec.data.log import Log
from learec.errors import ConfigError, LearecError
from learec.progress import Reporter

TABLE = "trials.parquet"
SCRATCH = ".trial"  # where a trial's agents are trained; nothing of it is kept
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Material:
    """What every trial trains on, and how it is judged."""

    log: Log
    annotations: Annotations | None  # None where no trial reads them
    validate: Validate
    device: str = "cpu"


def tune(sought: Sought, material: Material, folder: Path, *, minutes: float | None, reporter: Reporter) -> list[Result]:
    """Go on with the study in `folder` until it has the trials that are wanted, or no new one may begin after `minutes`.

    Makes request.json, study.journal and trials.parquet. How a trial comes out does not depend on where a study was
    stopped: the one that was on its way is trained again from its start.
    Raises ArtifactError if the study there is one of another search, agent or log.
    """
    n_trials, begun = sought.tune.trials, time.monotonic()
    request = sought.request(material.log.digest, material.annotations.digest if material.annotations else None)
    with open_study(folder, request, sought.tune) as study, reporter.bar(f"{sought.name} trials", n_trials) as advance:
        results = results_of(study, sought)
        advance(min(len(results), n_trials))
        while len(results) < n_trials and (minutes is None or time.monotonic() - begun < 60 * minutes):
            _trial(study, sought, material, folder / SCRATCH, partial(advance, 0))
            results = results_of(study, sought)
            left = None if minutes is None else max(60 * minutes - (time.monotonic() - begun), 0.0)
            reporter.say(_line(results, n_trials, left))
            advance(1)
        _write_table(results, folder / TABLE)
    return results


def _trial(study: optuna.Study, sought: Sought, material: Material, scratch: Path, tell: Tell) -> None:
    """Draw settings, train with them, and note how that ended. A kill leaves the trial without an end."""
    earlier = ended(study)
    study.sampler = sought.sampler(len(earlier))
    trial = study.ask(sought.distributions)
    for number, other in enumerate(earlier, 1):
        if other.params == trial.params:  # the same settings and seeds would train the same agents
            _repeat(study, trial, other, number)
            return
    try:
        value = _value(trial, sought, material, scratch, tell)
    except optuna.TrialPruned:
        study.tell(trial, state=TrialState.PRUNED)
    except (LearecError, torch.OutOfMemoryError) as error:
        # ConfigError: no such agent can be built. LearecError itself: a loss is no number. Others are not the settings' fault.
        if isinstance(error, LearecError) and type(error) not in (LearecError, ConfigError):
            raise
        trial.set_user_attr(FAILED, str(error).split(";")[0])  # without the advice, which is for who trains one agent
        study.tell(trial, 0.0)
    else:
        study.tell(trial, value)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _repeat(study: optuna.Study, trial: optuna.Trial, earlier: optuna.trial.FrozenTrial, number: int) -> None:
    for step, value in earlier.intermediate_values.items():
        trial.report(value, step)
    for name, told in {**earlier.user_attrs, REPEATS: number}.items():
        trial.set_user_attr(name, told)
    if earlier.state == TrialState.PRUNED:
        study.tell(trial, state=TrialState.PRUNED)
    else:
        study.tell(trial, earlier.value)


def _value(trial: optuna.Trial, sought: Sought, material: Material, scratch: Path, tell: Tell) -> float:
    """Mean over the seeds of the best epoch's validation value. The first seed is compared with earlier trials on its way."""
    config = sought.config.replaced(sought.settings(trial.params))
    shutil.rmtree(scratch, ignore_errors=True)
    watched = Watched(trial, material.validate, tell)
    validates: list[Validate] = [watched, *[material.validate] * (len(sought.seeds) - 1)]
    return fmean(
        _best_epoch(AgentEntry(sought.name, seed, config, sought.mask_seen), material, scratch, validate)
        for seed, validate in zip(sought.seeds, validates, strict=True)
    )


def _best_epoch(entry: AgentEntry, material: Material, scratch: Path, validate: Validate) -> float:
    annotations = material.annotations if entry.config.lea else None
    silent = Reporter(Console(file=io.StringIO()))
    notes = train(
        entry, material.log, annotations, scratch / f"seed-{entry.seed}",
        device=material.device, reporter=silent, validate=validate,
    )  # fmt: skip
    best: float = notes["curves"]["best"]
    return best


class Watched:
    """A `validate` that notes every epoch's value in the study and ends a trial that falls behind the others' median."""

    def __init__(self, trial: optuna.Trial, validate: Validate, tell: Tell) -> None:
        self.trial, self.validate, self.tell = trial, validate, tell
        self.epochs_done = 0

    def __call__(self, agent: Agent) -> dict[str, float]:
        """One epoch. Raises TrialPruned."""
        measures = self.validate(agent)
        value = next(iter(measures.values()))
        self.trial.report(value, self.epochs_done)
        self.tell(f"(epoch {self.epochs_done} of the next: {value:.4f})")
        if self.trial.should_prune():
            raise optuna.TrialPruned
        self.epochs_done += 1
        return measures


def _line(results: list[Result], n_trials: int, seconds_left: float | None) -> str:
    """What a trial came to, the best one so far, and how long the rest will take."""
    new, best = results[-1], best_of(results)
    outcome = f"{new.validation:.4f}" if new.outcome == "finished" else f"{new.outcome} ({new.note or f'{new.validation:.4f}'})"
    repeated = f" ({new.note})" if new.outcome == "finished" and new.note else ""
    so_far = f"best {best.validation:.4f} in trial {best.number}" if best else "none finished yet"
    left = fmean(one.seconds for one in results) * (n_trials - len(results))
    left = left if seconds_left is None else min(left, seconds_left)
    when = f"about {_duration(left)} left" if len(results) < n_trials else "done"
    settings = ", ".join(f"{name} {_short(value)}" for name, value in new.settings.items())
    return f"  trial {new.number} of {n_trials}: {outcome}{repeated}; {so_far}; {when}; {settings}"


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def _write_table(results: list[Result], path: Path) -> None:
    """One row per trial; the settings are columns."""
    told = [asdict(one) for one in results]
    rows = [row | row.pop("settings") for row in told]
    table = io.BytesIO()
    pl.DataFrame(rows, infer_schema_length=None).write_parquet(table)
    write_bytes(path, table.getvalue())
