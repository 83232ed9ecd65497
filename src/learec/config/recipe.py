"""A whole recipe, what must fit together in it, and the options of its run."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from learec.config.agents import OF_STEPS, AgentConfig, AgentEntry
from learec.config.annotations import AnnotationsConfig
from learec.config.data import DataConfig, SimulateConfig
from learec.config.environment import EnvironmentConfig
from learec.config.evaluation import FLOORS, EvaluationConfig
from learec.config.records import Name, Record, suggest
from learec.config.tune import Search, TuneConfig
from learec.errors import ConfigError

NOT_MADE = "and annotations.steps = false makes item vectors alone"


class Recipe(Record):
    """A whole run."""

    name: Name
    seed: int = 0
    simulate: SimulateConfig | None = None
    data: DataConfig
    environment: EnvironmentConfig = EnvironmentConfig()
    annotations: AnnotationsConfig = AnnotationsConfig()
    agents: Annotated[dict[Name, AgentConfig], Field(min_length=1)]
    evaluation: EvaluationConfig = EvaluationConfig()
    tune: dict[Name, TuneConfig] = Field({}, description="by agent; no stage of the line depends on it")

    @property
    def entries(self) -> list[AgentEntry]:
        """Every agent with every seed."""
        mask_seen = self.evaluation.mask_seen
        return [AgentEntry(name, seed, config, mask_seen) for name, config in self.agents.items() for seed in config.seeds]

    @model_validator(mode="after")
    def _measured_agents_exist(self) -> "Recipe":
        for name in self.evaluation.hybrids:
            if name not in self.agents:
                raise ValueError(f"evaluation.hybrids names {name!r}, which is no agent; {suggest(name, set(self.agents))}")
            if self.agents[name].reads_evidence:
                raise ValueError(f"evaluation.hybrids names {name!r}, which reads texts or item-kNN already; drop it there")
        if len(set(self.evaluation.hybrids)) < len(self.evaluation.hybrids):
            raise ValueError(f"evaluation.hybrids {list(self.evaluation.hybrids)} names one agent twice; name it once")
        if taken := {*self.evaluation.hybrid_names} & self.agents.keys():
            raise ValueError(f"agent {min(taken)!r} has the name of a hybrid; choose another name")
        known = {*self.agents, *FLOORS, *self.evaluation.hybrid_names}
        for name in (name for pair in self.evaluation.compare for name in pair):
            if name not in known:
                raise ValueError(f"evaluation.compare names {name!r}, which is no agent, floor or hybrid; {suggest(name, known)}")
        pairs = [frozenset(pair) for pair in self.evaluation.compare]
        if any(len(pair) < 2 for pair in pairs) or len(set(pairs)) < len(pairs):
            wrong = next(pair for pair in pairs if len(pair) < 2 or pairs.count(pair) > 1)
            told = f"{' and '.join(sorted(wrong))} {'alone' if len(wrong) < 2 else 'twice'}"
            raise ValueError(f"evaluation.compare names {told}, and every pair counts in Holm's correction; drop it")
        if clash := FLOORS & self.agents.keys():
            raise ValueError(f"agent {min(clash)!r} has the name of a floor; choose another name")
        return self

    @model_validator(mode="after")
    def _columns_are_made(self) -> "Recipe":
        for name, agent in self.agents.items():
            if not self.annotations.steps and (missing := sorted(OF_STEPS & {*agent.lea})):
                raise ValueError(f"agent {name!r} reads lea {', '.join(missing)}, {NOT_MADE}; drop that, or those columns")
        return self

    @model_validator(mode="after")
    def _best_are_of_more(self) -> "Recipe":
        asked = self.annotations
        if asked.keep == "best" and asked.n_proposed <= asked.n_augmented:
            raise ValueError(
                f"annotations.keep best takes {asked.n_augmented} of {asked.n_proposed} proposals, which is all of them; raise "
                'n_proposed or set keep = "all"'
            )
        return self

    @model_validator(mode="after")
    def _tuned_agents_can_be_what_is_sought(self) -> "Recipe":
        for name, tune in self.tune.items():
            if name not in self.agents:
                raise ValueError(f"[tune.{name}] is for an agent that is not there; {suggest(name, set(self.agents))}")
            for field, search in tune.search.items():
                _check_values(self.agents[name], field, search, f"tune.{name}.{field}")
                sought = [self.agents[name].replaced({field: value}) for value in search.values]
                if name in self.evaluation.hybrids and any(agent.reads_evidence for agent in sought):
                    raise ValueError(f"tune.{name}.{field} seeks an agent that evaluation.hybrids could not name; drop it there")
                if not self.annotations.steps and any(OF_STEPS & {*agent.lea} for agent in sought):
                    raise ValueError(f"tune.{name}.{field} seeks columns of steps, {NOT_MADE}; drop that, or those columns")
        return self

    def with_agent(self, name: str, config: AgentConfig) -> "Recipe":
        """The same recipe with one agent changed."""
        return self.model_copy(update={"agents": {**self.agents, name: config}})


def _check_values(agent: AgentConfig, field: str, search: Search, where: str) -> None:
    for value in search.values:
        try:
            built = getattr(agent.replaced({field: value}), field)
        except ConfigError as error:
            raise ValueError(f"{where} holds {value!r}, which the agent cannot have: {error}") from None
        if search.choices is None and isinstance(built, bool):
            raise ValueError(f"{where} is a range, and {field} is true or false; wanted a list of choices")


@dataclass(frozen=True)
class RunOptions:
    """How a recipe is run: nothing here changes what is made, and no manifest holds it."""

    folder: Path
    data_folder: Path
    device: str = "cpu"
    loggers: tuple[str, ...] = ()
