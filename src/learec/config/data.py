"""What a recipe may say of the log: a simulated one, or files and how they are read, filtered and split."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from learec.config.records import Count, Positive, Record


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

    came_later: ClassVar[frozenset[str]] = frozenset({"category_column", "validation_sessions"})

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
    category_column: str | None = Field(
        None, description="a column of the item table by which serving can narrow what it recommends (within=...)"
    )
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
    validation_sessions: Count | None = Field(
        None, description="of leave_one_out: sessions, at random, that have a validation step; by default all that can"
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
        if self.validation_sessions is not None and self.split != "leave_one_out":
            raise ValueError('validation_sessions is for split "leave_one_out"; set that split or drop the setting')
        if self.columns.user == self.columns.item:
            raise ValueError(f"[data.columns] names {self.columns.user!r} as user and as item; they are two columns")
        if self.min_rating is not None and self.columns.rating is None and self.format == "table":
            raise ValueError("min_rating needs the rating's column as rating in [data.columns]")
        return self
