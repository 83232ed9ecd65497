"""The recommender: an agent and a catalog, from outside names to outside names. No language model, no training code."""

import difflib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from learec.agents.agent import Agent, load_agent
from learec.data.log import Catalog, load_log
from learec.errors import ArtifactError, ConfigError, DataError


@dataclass(frozen=True)
class Recommendation:
    """One recommended item."""

    item_id: str
    title: str
    score: float


class Recommender:
    """Recommends from a history alone: users need not have been in the log."""

    def __init__(self, agent: Agent, catalog: Catalog, mask_seen: bool = True) -> None:
        """The catalog must be the one that the agent was trained on, or extend it."""
        if agent.n_items > catalog.n_items:
            raise ArtifactError(
                f"the agent knows {agent.n_items} items and the log's catalog {catalog.n_items}; run `learec train RECIPE` again"
            )
        self.agent, self.catalog, self.mask_seen = agent, catalog, mask_seen

    @classmethod
    def load(cls, agent_folder: Path, log_folder: Path) -> "Recommender":
        """From the folders of an agent and of the log it was trained on. Seen items are masked as they were in training."""
        agent, manifest = load_agent(agent_folder, "cpu")
        log = load_log(log_folder)
        if manifest.request.parents["log"] not in (log.digest, *log.ancestors):
            raise ArtifactError(f"{agent_folder}: was trained on another log than {log_folder}; run `learec train RECIPE`")
        return cls(agent, log.catalog, bool(manifest.request.config["mask_seen"]))

    def recommend(self, history: Sequence[str], k: int = 10) -> list[Recommendation]:
        """The k best items after a history of item ids, oldest first. Raises DataError for an id that is not known."""
        if k < 1:
            raise ConfigError(f"k = {k}: must be at least 1")
        numbers = [self._number(item_id) for item_id in history]
        if not numbers:
            raise DataError("the history is empty; give at least one item id")
        scores = self.agent.scores(np.array([numbers]), np.array([len(numbers)]))[0].copy()
        if self.mask_seen:
            scores[numbers] = -np.inf
        best = np.argsort(-scores, kind="stable")[:k]
        return [
            Recommendation(self.catalog.ids[number], self.catalog.titles[number], float(scores[number]))
            for number in best
            if np.isfinite(scores[number])
        ]

    def _number(self, item_id: str) -> int:
        number = self.catalog.numbers.get(item_id)
        if number is None:
            close = difflib.get_close_matches(item_id, self.catalog.numbers, n=1)
            hint = f"did you mean {close[0]}?" if close else f"ids look like {self.catalog.ids[1]}"
            raise DataError(
                f"unknown item id {item_id!r} in the history: not among the catalog's {self.catalog.n_items} items; {hint}"
            )
        if number > self.agent.n_items:
            raise DataError(f"item {item_id!r} joined the log after this agent was trained; run `learec train RECIPE`")
        return number


def choose_agent(run_folder: Path, name: str | None) -> Path:
    """Folder of the agent asked for (NAME, NAME/SEED), or of the best on validation."""
    found = sorted(path.parent for path in (run_folder / "agents").glob("*/seed-*/manifest.json"))
    if not found:
        raise ArtifactError(f"{run_folder}: no trained agent here; make a run with `learec run RECIPE --folder {run_folder}`")
    by_name = {f"{path.parent.name}/{path.name.removeprefix('seed-')}": path for path in found}
    if name is not None:
        match = by_name.get(name) or next((path for key, path in by_name.items() if key.startswith(f"{name}/")), None)
        if match is None:
            raise ConfigError(f"--agent {name}: no such agent in {run_folder}; it has {', '.join(by_name)}")
        return match
    return by_name[max(by_name, key=lambda key: _validation_score(by_name[key]))]


def _validation_score(agent_folder: Path) -> float:
    """The validation NDCG@10 that chose the agent's epoch."""
    manifest = json.loads((agent_folder / "manifest.json").read_text(encoding="utf-8"))
    return float(manifest["notes"]["curves"]["best"])
