"""Reading a recipe from its file, and the one sentence for what is wrong with it."""

from collections.abc import Set
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from learec.config.recipe import Recipe
from learec.config.records import first_message, suggest, written_place
from learec.config.toml_file import read_toml
from learec.config.tune import SEARCHABLE, TuneConfig
from learec.errors import ConfigError


def load_recipe(path: Path) -> Recipe:
    """Read and check a recipe; `[agent]` is laid under every `[agents.NAME]`. Raises ConfigError with one sentence."""
    raw = read_toml(path, "recipe", "recipes/industrial.toml")
    if raw.keys() & {"experiment", "logs"}:
        raise ConfigError(f"{path}: is an experiment, a grid of recipes; run `learec experiment {path}`")
    shared, agents = raw.pop("agent", {}), raw.get("agents")
    if not isinstance(shared, dict):
        raise ConfigError(f"{path}: agent = {shared!r}: wanted a table [agent] of what all agents share; change it in the recipe")
    if isinstance(agents, dict):
        raw["agents"] = {name: {**shared, **own} if isinstance(own, dict) else own for name, own in agents.items()}
    raw.setdefault("name", path.stem)
    try:
        return Recipe.model_validate(raw)
    except ValidationError as error:
        own = {(name, key) for name, table in (agents or {}).items() if isinstance(table, dict) for key in table}
        raise ConfigError(f"{path}: {_first_sentence(error, raw, own)}") from None


def _first_sentence(error: ValidationError, raw: dict[str, Any], own: Set[tuple[str, str]]) -> str:
    """The first thing wrong with a recipe whose agents set, apart from [agent], the (agent, key) pairs `own`."""
    first = error.errors()[0]
    place = written_place(first["loc"], raw)
    if place[0:1] == ["agents"] and len(place) > 2 and (place[1], place[2]) not in own:
        place[0:2] = ["agent"]
    if place[0:1] == ["tune"] and place[2:3] == ["search"]:
        del place[2]  # recipes do not write it
    where = ".".join(place)
    if first["type"] == "extra_forbidden":
        key = str(first["loc"][-1])
        return f"unknown key {where}; {suggest(key, _known_keys(first['loc'][:-1]))}"
    if first["type"] == "missing":
        return f"{where} is missing; add it to the recipe"
    seen = "" if isinstance(first["input"], dict) else f"{first['input']!r}: "
    return f"{where + ' = ' if where else ''}{seen}{first_message(error)}; change it in the recipe"


def _known_keys(location: tuple[int | str, ...]) -> set[str]:
    """Keys of the record that a pydantic location leads to."""
    model: Any = Recipe
    for part in _without_names(location):
        field = getattr(model, "model_fields", {}).get(part)
        if field is not None:
            kinds = [field.annotation, *getattr(field.annotation, "__args__", ())]
            model = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)
    keys = set(getattr(model, "model_fields", {}))
    if model is TuneConfig:
        return keys - {"search"} | SEARCHABLE
    return keys | {"agent"} if model is Recipe else keys


def _without_names(location: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """A location without the agent's name, which may be that of a setting."""
    return (location[0], *location[2:]) if location[0:1] in (("agents",), ("tune",)) else location
