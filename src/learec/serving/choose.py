"""The agents of a run: which there are, where each was trained and exported, and which one is meant."""

import json
from dataclasses import dataclass
from pathlib import Path

from learec.artifacts import MANIFEST
from learec.errors import ArtifactError, ConfigError

EXPORTS = "export"  # folder of a run


@dataclass(frozen=True)
class Chosen:
    """One agent of a run. It need not have been exported; an exported one need not be here as it was trained."""

    run_folder: Path
    name: str
    seed: str

    def __str__(self) -> str:
        """As --agent names it: sasrec/0."""
        return f"{self.name}/{self.seed}"

    @property
    def trained(self) -> Path:
        """Its folder as train makes it."""
        return self.run_folder / "agents" / self.name / f"seed-{self.seed}"

    @property
    def exported(self) -> Path:
        """Its folder as export makes it."""
        return self.run_folder / EXPORTS / self.name / f"seed-{self.seed}"

    @property
    def validation(self) -> float:
        """The validation NDCG@10 that chose the agent's epoch."""
        for folder, keys in ((self.trained, ("curves", "best")), (self.exported, ("validation",))):
            if (folder / MANIFEST).exists():
                return _note(folder / MANIFEST, keys)
        raise ArtifactError(f"{self.trained}: no agent here any more; run `learec train RECIPE`")


def _note(path: Path, keys: tuple[str, ...]) -> float:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["notes"]
        for key in keys:
            found = found[key]
        return float(found)
    except (ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"{path}: damaged ({error!r}); delete the folder and run `learec train RECIPE`") from None


def agents_of(run_folder: Path) -> dict[str, Chosen]:
    """Every agent of a run, trained or exported, by NAME/SEED in the order of their names."""
    made = [path.parent for place in ("agents", EXPORTS) for path in (run_folder / place).glob(f"*/seed-*/{MANIFEST}")]
    found = {Chosen(run_folder, folder.parent.name, folder.name.removeprefix("seed-")) for folder in made}
    return {str(chosen): chosen for chosen in sorted(found, key=lambda chosen: (chosen.name, len(chosen.seed), chosen.seed))}


def choose_agent(run_folder: Path, name: str | None) -> Chosen:
    """The agent asked for (NAME, NAME/SEED), or the best on validation."""
    agents = agents_of(run_folder)
    if not agents:
        raise ArtifactError(f"{run_folder}: no trained agent here; make a run with `learec run RECIPE --folder {run_folder}`")
    if name is None:
        return max(agents.values(), key=lambda chosen: chosen.validation)
    match = agents.get(name) or next((chosen for chosen in agents.values() if chosen.name == name), None)
    if match is None:
        raise ConfigError(f"--agent {name}: no such agent in {run_folder}; it has {', '.join(agents)}")
    return match
