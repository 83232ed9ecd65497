"""The study that tune keeps on disk: what is sought, how every trial ended, and going on where a stopped study was."""

import fcntl
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial, TrialState
from pydantic_core import to_jsonable_python

from learec.artifacts import REQUEST, Request, request_for, write_text
from learec.config import AgentConfig, Search, TuneConfig, derived_seed
from learec.errors import ArtifactError

JOURNAL = "study.journal"
FAILED, REPEATS = "failed", "repeats"  # what a trial may note beside its value
ENDED = (TrialState.COMPLETE, TrialState.PRUNED)

optuna.logging.set_verbosity(optuna.logging.WARNING)


@dataclass(frozen=True)
class Sought:
    """One agent, the settings that are tried on it, and what else the outcome of a trial depends on."""

    name: str
    config: AgentConfig
    tune: TuneConfig
    seed: int
    mask_seen: bool

    @property
    def seeds(self) -> tuple[int, ...]:
        """What each trial trains."""
        return self.tune.seeds or self.config.seeds[:1]

    def request(self, log_digest: str, annotations_digest: str | None) -> Request:
        """What the study answers. How many trials there are is no part of it: more of them go on with the same study."""
        base = self.config.model_dump(mode="json", exclude={"preset", "seeds", *self.tune.search})
        search = self.tune.model_dump(mode="json", exclude={"trials", "seeds"})
        parents = {"log": log_digest, **({"annotations": annotations_digest} if annotations_digest else {})}
        return request_for(
            "tuning", {**base, **search}, parents, seed=self.seed, trained_seeds=list(self.seeds), mask_seen=self.mask_seen
        )

    @cached_property
    def distributions(self) -> dict[str, BaseDistribution]:
        """What Optuna draws from. Choices are JSON text, for it keeps neither lists nor the order of numbers."""
        return {field: self._distribution(field, search) for field, search in self.tune.search.items()}

    def _distribution(self, field: str, search: Search) -> BaseDistribution:
        values = [to_jsonable_python(getattr(self.config.replaced({field: value}), field)) for value in search.values]
        if search.choices is not None:
            return CategoricalDistribution([json.dumps(value) for value in values])
        kind = IntDistribution if isinstance(values[0], int) else FloatDistribution
        return kind(low=values[0], high=values[1], log=search.log)

    def settings(self, drawn: Mapping[str, Any]) -> dict[str, Any]:
        """Settings of the agent from what Optuna drew."""
        return {
            field: drawn[field] if search.choices is None else json.loads(drawn[field])
            for field, search in self.tune.search.items()
            if field in drawn
        }

    def sampler(self, n_ended: int) -> optuna.samplers.BaseSampler:
        """Who proposes the next trial: from the trials that ended and their number alone, so a stop changes nothing."""
        seed = derived_seed("tune", self.seed, n_ended) % 2**32
        return optuna.samplers.TPESampler(n_startup_trials=self.tune.startup_trials, seed=seed)


@dataclass(frozen=True)
class Result:
    """How one trial ended."""

    number: int  # from 1
    outcome: str  # finished, pruned or failed
    validation: float  # of a finished trial the mean of its seeds, of a pruned one its best epoch's
    epochs_done: int
    seconds: float
    note: str  # why it failed, or which trial it repeats
    settings: dict[str, Any]


def results_of(study: optuna.Study, sought: Sought) -> list[Result]:
    """All trials that ended, in order."""
    return [_result(number, trial, sought) for number, trial in enumerate(ended(study), 1)]


def ended(study: optuna.Study) -> list[FrozenTrial]:
    """What counts: trials that were not stopped on their way."""
    return study.get_trials(deepcopy=False, states=ENDED)


def _result(number: int, trial: FrozenTrial, sought: Sought) -> Result:
    pruned, failed, repeats = trial.state == TrialState.PRUNED, trial.user_attrs.get(FAILED), trial.user_attrs.get(REPEATS)
    return Result(
        number=number,
        outcome="failed" if failed else "pruned" if pruned else "finished",
        validation=max(trial.intermediate_values.values()) if pruned else float(trial.value or 0.0),
        epochs_done=max(len(trial.intermediate_values) - 1, 0),  # the first is measured before training
        seconds=trial.duration.total_seconds() if trial.duration else 0.0,
        note=failed or (f"repeats trial {repeats}" if repeats else ""),
        settings=sought.settings(trial.params),
    )


def best_of(results: list[Result]) -> Result | None:
    """The finished trial with the best validation value; the first of equal ones."""
    return max((one for one in results if one.outcome == "finished"), key=lambda one: one.validation, default=None)


@contextmanager
def open_study(folder: Path, request: Request, tune: TuneConfig) -> Iterator[optuna.Study]:
    """The study in a folder, begun or gone on with; no other process may have it meanwhile.

    Raises ArtifactError if the folder's study answers another request: its trials cannot be compared with new ones.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / JOURNAL).open("ab") as journal:
        _hold(journal, folder)
        _refuse_another(folder, request)
        yield _resumed(folder, tune)


def _hold(journal: BinaryIO, folder: Path) -> None:
    try:
        fcntl.flock(journal, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ArtifactError(f"{folder}: another `learec tune` is at work on this study; wait until it ends or stop it") from None


def _refuse_another(folder: Path, request: Request) -> None:
    path = folder / REQUEST
    if not path.exists():
        write_text(path, request.as_json())
    stored = json.loads(path.read_text(encoding="utf-8"))
    if stored != json.loads(request.as_json()):
        reason = request.difference(Request(stored["kind"], stored["config"], stored["parents"]))
        raise ArtifactError(
            f"{folder}: holds a study whose trials cannot be mixed with new ones, because {reason}; "
            f"set that back in the recipe, or delete {folder} to begin anew"
        )


def _resumed(folder: Path, tune: TuneConfig) -> optuna.Study:
    """The study, without what a kill may have left: half a line, Optuna's lock, a trial that nobody trains any more."""
    journal = (folder / JOURNAL).resolve()
    whole = journal.read_bytes().rfind(b"\n") + 1
    with journal.open("r+b") as file:
        file.truncate(whole)
    lock = JournalFileOpenLock(str(journal))
    journal.with_name(journal.name + ".lock").unlink(missing_ok=True)
    try:
        study = optuna.create_study(
            storage=optuna.storages.JournalStorage(JournalFileBackend(str(journal), lock)),
            study_name="tune",
            direction="maximize",
            pruner=optuna.pruners.MedianPruner(tune.startup_trials, tune.warmup_epochs),
            load_if_exists=True,
        )
    except (ValueError, KeyError) as error:
        raise ArtifactError(f"{folder / JOURNAL}: damaged ({error!r}); delete {folder} to begin anew") from None
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
    return study
