"""What a recipe may say: small frozen records, a file per stage, and the loader that checks them.

Everything here decides *what is made* and is written into the artifacts' manifests. How it is run (device, folders)
is in `RunOptions`, which no manifest holds: the same recipe gives the same artifact wherever it is made.
"""

from learec.config.agents import PRESETS, AgentConfig, AgentEntry, LeaColumn
from learec.config.annotations import AnnotationsConfig
from learec.config.data import Columns, DataConfig, SimulateConfig
from learec.config.environment import EnvironmentConfig
from learec.config.evaluation import FLOORS, EvaluationConfig
from learec.config.load import load_recipe
from learec.config.recipe import Recipe, RunOptions
from learec.config.records import Count, Name, Positive, Record, Share, suggest
from learec.config.seeds import derived_seed
from learec.config.tune import SEARCHABLE, Search, TuneConfig

__all__ = [
    "FLOORS", "PRESETS", "SEARCHABLE", "AgentConfig", "AgentEntry", "AnnotationsConfig", "Columns", "Count", "DataConfig",
    "EnvironmentConfig", "EvaluationConfig", "LeaColumn", "Name", "Positive", "Recipe", "Record", "RunOptions", "Search",
    "Share", "SimulateConfig", "TuneConfig", "derived_seed", "load_recipe", "suggest",
]  # fmt: skip
