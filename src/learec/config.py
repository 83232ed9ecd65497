"""What a recipe may say: small frozen records, one per stage, and the loader that checks them.

Everything here decides *what is made* and is written into the artifacts' manifests. How it is run (device, folders)
is in `RunOptions`, which no manifest holds: the same recipe gives the same artifact wherever it is made.
"""

import difflib
import hashlib
import tomllib
from collections.abc import Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from learec.errors import ConfigError

Share = Annotated[float, Field(gt=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0)]
Name = Annotated[str, Field(pattern=r"^[^./\\][^/\\]*$")]  # also the name of a folder
LeaColumn = Literal["state", "reward", "augmented"]


class Record(BaseModel):
    """A frozen record that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Columns(Record):
    """Which column of the log means what; for `format = "table"`."""

    user: str = Field("user_id", description="whose events belong together: a user, or a session if there is no user")
    item: str = Field("item_id", description="the item's outside name, in the log and in the item table")
    time: str | None = Field("timestamp", description="order of events; without it the rows' order is taken")
    event: str | None = Field(None, description="kind of event (view, purchase, ...)")
    rating: str | None = Field(None, description="what the user thought of the item; see min_rating")
    session: str | None = Field(None, description="cuts a user's events into visits; see also session_gap")
    split: str | None = Field(None, description='a given split (train, valid, test); see split = "column"')


class SimulateConfig(Record):
    """A simulated music log (data/simulate.py) instead of files."""

    listeners: Count = 2000
    tracks: Annotated[int, Field(ge=20)] = 1000
    mean_plays: Annotated[int, Field(ge=5)] = 12


class DataConfig(Record):
    """From files to a log: prepare. Filters work in the order of their fields here."""

    format: Literal["table", "recbole", "movielens", "amazon", "lastfm", "retailrocket", "yoochoose"] = Field(
        "table", description="table: any CSV or Parquet; the others are known data sets as they are downloaded"
    )
    events: str = Field(description="the log: a file, or a folder of Parquet files, relative to the data folder")
    items: str | None = Field(None, description="the item table; without it items have no text")
    columns: Columns = Columns()
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] = Field(",", description="between the columns of a CSV file")
    time_format: str | None = Field(
        None, description='how times are written if they are neither numbers nor ISO dates, such as "%d.%m.%Y %H:%M"'
    )
    title: str = Field("{title}", description="how an item is named to people; a template over the item table's columns")
    text: str = Field("{title}", description="what the language model reads about an item; empty fields drop out")
    rewards: dict[str, float] = Field({}, description="what each kind of event is worth; empty: every event 1.0")
    kinds: tuple[str, ...] = Field((), description="kinds of events kept; empty: all")
    min_rating: float | None = Field(None, description="events with a lower rating are left out")
    ties: Literal["file_order", "item_id"] = Field(
        "file_order", description="order of a user's events of one time: as in the file, or by item, whatever the rows' order"
    )
    repeats: Literal["keep", "drop", "drop_neighbours"] = Field(
        "keep", description="drop: only the first event of a user with an item; drop_neighbours: only if nothing came between"
    )
    session_gap: Positive | None = Field(None, description="seconds without an event after which a new session starts")
    max_session_events: Annotated[int, Field(ge=2)] | None = Field(None, description="newest events kept of a longer session")
    min_item_events: Count = Field(5, description="core: items with fewer events are left out")
    min_session_events: Annotated[int, Field(ge=2)] = Field(3, description="core: shorter sessions are left out")
    core: Literal["iterated", "once"] = Field("iterated", description="filter items and sessions until nothing changes, or once")
    split: Literal["global_time", "leave_one_out", "by_session", "column"] | None = Field(
        None, description="which steps are for training; by default global_time where times are real, else leave_one_out"
    )
    held_out: Annotated[float, Field(gt=0, lt=0.5)] = Field(
        0.1, description="share of the events (global_time) or sessions (by_session) for validation, and as much for test"
    )
    cold_items: Literal["keep", "drop"] = Field(
        "keep", description="held-out events with items that no training step has: ranked like all others, or left out"
    )

    @model_validator(mode="after")
    def _settings_have_their_column(self) -> "DataConfig":
        if self.format != "table" and self.columns != Columns():
            raise ValueError(f"[data.columns] is for format table; format {self.format} knows its columns, drop the mapping")
        if self.split == "column" and self.columns.split is None and self.format == "table":
            raise ValueError('split = "column" needs the column\'s name as split in [data.columns]')
        if self.columns.user == self.columns.item:
            raise ValueError(f"[data.columns] names {self.columns.user!r} as user and as item; they are two columns")
        if self.min_rating is not None and self.columns.rating is None and self.format == "table":
            raise ValueError("min_rating needs the rating's column as rating in [data.columns]")
        return self


class EnvironmentConfig(Record):
    """The adapted language model: adapt."""

    llm: str = Field("smollm2", description="smollm2, a local Hugging Face folder, or a hub id")
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    prompt: Annotated[str, Field(min_length=1)] = Field(
        "One customer's choices, in order:", description="read before every history"
    )
    max_text_tokens: Count = Field(64, description="an item's text is cut to so many tokens")
    item_tokens: Literal["mean", "trained"] = Field(
        "mean", description="mean of the text's token embeddings, or trained from there to generate the text"
    )
    item_token_epochs: Count = 2
    whitened_size: Count = Field(256, description="principal directions kept when item tokens are whitened")
    history: Annotated[int, Field(ge=2)] = Field(50, description="a state sees this many items at most, half at least")
    users: Share = Field(0.2, description="share of the users that the environment is trained on")
    lora_rank: Count = 8
    lora_layers: Count = Field(10, description="how many of the last layers are adapted; fewer are faster")
    lora_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    learning_rate: Positive = Field(2e-4, description="of the LoRA adapters")
    head_learning_rate: Positive = Field(2e-3, description="of the state projection and the reward head")
    temperature_learning_rate: Positive = Field(1e-2, description="of temperature, popularity weight and reward scale")
    n_negatives: Count = Field(1, description="sampled actions against each logged one, for the reward loss")
    negatives: Literal["uniform", "popular"] = Field("popular", description="how they are sampled")
    reward_weight: Positive = Field(1.0, description="reward loss beside the state loss")
    decay: Share = Field(0.8, description="weight of an item in the skip connection falls by this per step of age")
    epochs: Count = 4
    patience: Count = 1
    held_out_users: Count = Field(1000, description="users at most that the epoch is chosen on; never trained on")
    batch_tokens: Annotated[int, Field(ge=64)] = Field(512, description="tokens in one training step")
    token_budget: Annotated[int, Field(ge=64)] = Field(2048, description="tokens in one pass without gradients; sets the memory")


class AnnotationsConfig(Record):
    """One row per training step: annotate."""

    candidates: Literal["rule", "state", "item_tokens", "item_knn"] = Field(
        "rule", description="who proposes actions; rule = item text x item-kNN"
    )
    n_augmented: Count = Field(3, description="K, actions proposed per step")
    margin: float = Field(
        1.0, description="kept if the reward is at most this (in standard deviations) below the logged action's"
    )
    knn_decay: Share = 0.8
    knn_shrinkage: Annotated[float, Field(ge=0)] = Field(20.0, description="under item-kNN's cosine: few counts, little trust")
    text_weight: Positive = 4.0
    shard_sessions: Count = Field(1000, description="sessions per shard; a stopped run loses one shard at most")


PRESETS: dict[str, dict[str, Any]] = {
    # The defaults below: tied embeddings, full or sampled softmax, dropout and patience tuned on validation.
    "strong": {},
    # The set-up of the SQN, SNQN and SA2C authors. What differs still: a batch holds sessions, not 256 transitions (64 sessions
    # are about as many); a state sees 5 to 10 items of a long session, theirs 10; gradients are clipped at a norm of 5; the
    # copy that gives values reads without dropout; training stops by validation NDCG@10 and the best epoch is kept; the
    # bootstrap never picks padding or a cold item; encoders differ as their docstrings say; one learning rate for all logs
    # (theirs: .005 on RetailRocket, .01 on RC15). Rewards (0.2 for a click, 1.0 for a purchase) are [data.rewards].
    "published": {
        "hidden_size": 64, "n_layers": 1, "n_heads": 1, "dropout": 0.1, "max_length": 10, "batch_size": 64, "tied": False,
        "learning_rate": 0.005, "gamma": 0.5, "n_negatives": 10, "q_weight": 1.0, "double_q": "copies",
        "switch_after": 15_000, "second_learning_rate": 0.001,
    },
}  # fmt: skip


class AgentConfig(Record):
    """One recommender: train. `[agent]` in a recipe holds what all of its agents share."""

    preset: Literal["strong", "published"] = Field("strong", description="values of the settings that are not named")
    encoder: Literal["sasrec", "gru4rec", "caser", "nextitnet"] = "sasrec"
    objective: Literal["supervised", "sqn", "sac", "snqn", "sa2c", "eval"] = Field(
        "supervised", description="agents/objectives.py has the equations; eval is the control without a maximum"
    )
    lea: tuple[LeaColumn, ...] = Field((), description="annotation columns used: state, reward, augmented")
    placebo: bool = Field(False, description="shuffle the annotation columns first: a control of the same size")
    seeds: Annotated[tuple[int, ...], Field(min_length=1)] = (0,)
    hidden_size: Count = 64
    n_layers: Count = 2
    n_heads: Count = 1
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5
    max_length: Annotated[int, Field(ge=2)] = 50
    batch_size: Count = Field(128, description="sessions in a batch")
    precision: Literal["float32", "bfloat16"] = Field(
        "float32", description="of matrix products in training; weights, softmax and ranking stay float32"
    )
    tied: bool = Field(True, description="the actor multiplies with the encoder's item embeddings, or has a table of its own")
    learning_rate: Positive = 1e-3
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    epochs: Count = 200
    patience: Count = Field(6, description="epochs without a better validation NDCG@10 before training stops")
    gamma: Annotated[float, Field(ge=0, lt=1)] = 0.5
    n_negatives: Count = 10
    negative_reward: float = 0.0
    q_weight: Positive = Field(0.1, description="weight of all Q losses; at 1 they drown the cross-entropy for many epochs")
    double_q: Literal["target", "copies"] = Field(
        "target", description="values from a target network, or from a second copy; a coin chooses which of two is trained"
    )
    target_rate: Share = Field(0.01, description="how far the target network moves towards the trained one at each update")
    switch_after: Count = Field(1000, description="batches after which the critic weighs the cross-entropy (sac, sa2c)")
    second_learning_rate: Positive = Field(1e-3, description="from the switch on")
    advantage_clip: Positive = Field(10.0, description="largest weight that sa2c gives a step")
    ips_smooth: Annotated[float, Field(ge=0)] = Field(0.0, description="sa2c: exponent of the inverse propensity; 0 is off")
    full_softmax_items: Count = Field(100_000, description="with more items, softmax and maximum are over a sample")
    n_sampled: Count = Field(2048, description="items drawn per batch then")
    reward_mix: Annotated[float, Field(ge=0, le=1)] = Field(0.5, description="LE reward against the event's own reward")
    augmented_weight: Positive = Field(1.0, description="weight of the losses on augmented actions")

    @model_validator(mode="before")
    @classmethod
    def _laid_over_the_preset(cls, settings: Any) -> Any:
        preset = settings.get("preset") if isinstance(settings, dict) else None
        return {**PRESETS.get(preset, {}), **settings} if isinstance(preset, str) else settings

    @model_validator(mode="after")
    def _parts_have_a_use(self) -> "AgentConfig":
        if self.objective == "supervised" and set(self.lea) - {"augmented"}:
            raise ValueError('lea state and reward reach the critic only; with objective supervised use lea = ["augmented"]')
        if self.placebo and not self.lea:
            raise ValueError("placebo shuffles the columns that lea names, and lea is empty; name them or drop placebo")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds {list(self.seeds)} name one seed twice")
        if self.hidden_size % self.n_heads:
            raise ValueError(f"hidden_size {self.hidden_size} is not a multiple of n_heads {self.n_heads}")
        return self

    def replaced(self, settings: Mapping[str, Any]) -> "AgentConfig":
        """The same agent with other settings, checked as a recipe is. Raises ConfigError."""
        try:
            return AgentConfig(**{**self.model_dump(exclude_unset=True), **settings})
        except ValidationError as error:
            raise ConfigError(_message(error)) from None


class Search(Record):
    """Where one setting is sought: `[0.2, 0.5]` are choices, `{ low = 1e-4, high = 1e-2, log = true }` is a range."""

    choices: Annotated[tuple[Any, ...], Field(min_length=1)] | None = None
    low: Annotated[float, Field(strict=True)] | None = None
    high: Annotated[float, Field(strict=True)] | None = None
    log: bool = Field(False, description="every factor is as likely as every other, not every difference")

    @property
    def values(self) -> tuple[Any, ...]:
        """All choices, or both ends; whole numbers as such."""
        ends = [int(end) if end.is_integer() else end for end in (self.low, self.high) if end is not None]
        return tuple(ends) if self.choices is None else self.choices

    @model_validator(mode="before")
    @classmethod
    def _a_list_is_choices(cls, seen: Any) -> Any:
        if not isinstance(seen, (list, tuple, dict)):
            raise ValueError("wanted a list of choices or a range such as { low = 1, high = 3 }")
        return {"choices": seen} if isinstance(seen, (list, tuple)) else seen

    @model_validator(mode="after")
    def _is_one_or_the_other(self) -> "Search":
        if self.choices is not None and self.model_fields_set != {"choices"}:
            raise ValueError("holds choices and a range; wanted one of them")
        if twice := [value for place, value in enumerate(self.choices or ()) if value in (self.choices or ())[:place]]:
            raise ValueError(f"{twice[0]!r} stands twice among the choices")
        if self.choices is None and (self.low is None or self.high is None):
            raise ValueError("a range needs low and high")
        if self.low is not None and self.high is not None and self.low >= self.high:
            raise ValueError(f"low {self.low:g} is not below high {self.high:g}")
        if self.log and (self.low or 0) <= 0:
            raise ValueError(f"log = true needs low above 0, and it is {self.low:g}")
        return self

    @model_serializer
    def _as_written(self) -> Any:
        if self.choices is not None:
            return list(self.choices)
        return {**dict(zip(("low", "high"), self.values, strict=True)), **({"log": True} if self.log else {})}


class TuneConfig(Record):
    """Which settings of an agent are sought, and how long: tune. In a recipe they stand beside `trials`, without `search`."""

    trials: Count = 30
    seeds: Annotated[tuple[int, ...], Field(min_length=1)] | None = Field(
        None, description="a trial trains one agent each and counts their mean; by default the agent's first seed alone"
    )
    startup_trials: Count = Field(10, description="trials drawn at random and trained to their end; the others learn from them")
    warmup_epochs: Annotated[int, Field(ge=0)] = Field(5, description="epochs of a trial that are not yet compared with others")
    search: dict[str, Search] = Field({}, description="by setting of the agent")

    @model_validator(mode="before")
    @classmethod
    def _settings_of_agents_are_searched(cls, seen: Any) -> Any:
        if not isinstance(seen, dict) or "search" in seen:
            return seen
        own = {key: value for key, value in seen.items() if key not in SEARCHABLE}
        return {**own, "search": {key: value for key, value in seen.items() if key in SEARCHABLE}}

    @model_validator(mode="after")
    def _something_is_sought(self) -> "TuneConfig":
        if not self.search:
            raise ValueError("no setting is sought; add one of the agent's, such as dropout = [0.2, 0.5]")
        return self

    @model_serializer(mode="wrap")
    def _as_written(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        settings: dict[str, Any] = dump(self)
        search = settings.pop("search")
        return {**settings, **search}


SEARCHABLE = frozenset(AgentConfig.model_fields.keys() - {"preset", "seeds"})


@dataclass(frozen=True)
class AgentEntry:
    """One agent with one seed."""

    name: str
    seed: int
    config: AgentConfig
    mask_seen: bool = True  # whether the validation that stops training ranks items of the history

    @property
    def column(self) -> str:
        """Its name among ranks and on the command line."""
        return f"{self.name}/{self.seed}"


class EvaluationConfig(Record):
    """How agents and floors are measured: evaluate."""

    mask_seen: bool = Field(True, description="items of the history cannot be recommended")
    cutoffs: Annotated[tuple[Count, ...], Field(min_length=1)] = (5, 10, 20)
    compare: tuple[tuple[str, str], ...] = Field((), description="pairs (new, base) whose difference gets an interval")
    knn_decay: Share = 0.8
    knn_shrinkage: Annotated[float, Field(ge=0)] = Field(20.0, description="under item-kNN's cosine: few counts, little trust")
    text_weight: Positive = 4.0
    sknn_neighbours: Count = Field(100, description="v_sknn: sessions most like the history whose items are counted")
    sknn_sample: Count = Field(1000, description="v_sknn: they are among so many newest sessions that share an item with it")
    ease_regularisation: Positive = Field(50.0, description="ease: under the squares of its weights; few counts, little trust")
    ease_decay: Share = Field(1.0, description="ease: weight of the history's items falls by this per step of age; 1 is off")
    ease_items: Count = Field(20_000, description="ease is left out with more items: its matrix takes 4 * items^2 bytes")
    resamples: Count = 2000


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
    def _compared_agents_exist(self) -> "Recipe":
        known = {*self.agents, *FLOORS}
        for name in (name for pair in self.evaluation.compare for name in pair):
            if name not in known:
                raise ValueError(
                    f"evaluation.compare names {name!r}, which is neither an agent nor a floor; {suggest(name, known)}"
                )
        if clash := FLOORS & self.agents.keys():
            raise ValueError(f"agent {min(clash)!r} has the name of a floor; choose another name")
        return self

    @model_validator(mode="after")
    def _tuned_agents_can_be_what_is_sought(self) -> "Recipe":
        for name, tune in self.tune.items():
            if name not in self.agents:
                raise ValueError(f"[tune.{name}] is for an agent that is not there; {suggest(name, set(self.agents))}")
            for field, search in tune.search.items():
                _check_values(self.agents[name], field, search, f"tune.{name}.{field}")
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


FLOORS = frozenset({"popularity", "last_item", "item_knn", "v_sknn", "ease", "content_knn", "rule"})


@dataclass(frozen=True)
class RunOptions:
    """How a recipe is run: nothing here changes what is made, and no manifest holds it."""

    folder: Path
    data_folder: Path
    device: str = "cpu"
    loggers: tuple[str, ...] = ()


def load_recipe(path: Path) -> Recipe:
    """Read and check a recipe; `[agent]` is laid under every `[agents.NAME]`. Raises ConfigError with one sentence."""
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such recipe; pass the path of a .toml file, such as recipes/industrial.toml") from None
    except IsADirectoryError:
        raise ConfigError(f"{path}: is a folder; pass the path of a .toml file, such as recipes/industrial.toml") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not a TOML file ({error}); mend that place and run again") from None
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
        raise ConfigError(f"{path}: {_first_sentence(error, own)}") from None


def _first_sentence(error: ValidationError, own: Set[tuple[str, str]]) -> str:
    """The first thing wrong with a recipe whose agents set, apart from [agent], the (agent, key) pairs `own`."""
    first = error.errors()[0]
    place = [str(part) for part in first["loc"] if part != "[key]"]
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
    return f"{where + ' = ' if where else ''}{seen}{_message(error)}; change it in the recipe"


def _message(error: ValidationError) -> str:
    """What pydantic says of the first thing wrong, as part of a sentence."""
    message = error.errors()[0]["msg"].removeprefix("Value error, ")
    return f"{message[0].lower()}{message[1:]}"


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


def suggest(seen: str, known: set[str] | frozenset[str]) -> str:
    """The known name that is meant, or all of them."""
    close = difflib.get_close_matches(seen, known, n=1)
    return f"did you mean {close[0]}?" if close else f"known: {', '.join(sorted(known))}"


def derived_seed(*parts: object) -> int:
    """A seed for one purpose: the same parts give the same number on every machine, other parts an unrelated one."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1
