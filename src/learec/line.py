"""The straight line: which stage makes which folder from which others, when it is up to date, and how a run walks it.

simulate -> raw/ and truth/ (only for a simulated log); evaluate alone reads truth/
prepare  -> log/           from the raw log and the item table
adapt    -> environment/   from log/
annotate -> annotations/   from log/ and environment/ (text-annotations/ from log/ alone, if an agent has placebo = "text")
train    -> agents/NAME/seed-S/   from log/ and, where the agent reads them, annotations/
evaluate -> results/       from log/, annotations/ and all agents; of a simulated log also from truth/
report   -> report/        from results/ and what every stage noted

A stage imports what it needs when it runs, so that `learec --help` is quick and serving needs no language model library.
"""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from learec.artifacts import (
    MANIFEST,
    Request,
    building,
    finish_interrupted,
    is_current,
    read_manifest,
    request_for,
    require,
    stored_request,
)  # fmt: skip
from learec.contest import contestants_of, known_of, results_request_of
from learec.errors import ArtifactError
from learec.run import (
    Run,
    annotation_digests,
    open_log,
    report_data,
    require_environment,
    require_log,
    simulation_request,
)  # fmt: skip


def simulate_stage(run: Run) -> bool:
    """Write the simulated log and the truth behind it, if the recipe asks for one."""
    if run.recipe.simulate is None:
        return False
    import numpy as np

    from learec.data.simulate import simulate
    from learec.data.truth import save_truth

    wanted = {name: simulation_request(name, run.recipe.simulate, run.recipe.seed) for name in ("raw", "truth")}
    has_raw = _up_to_date(run, run.folder("raw"), wanted["raw"], "simulate")
    finish_interrupted(run.folder("truth"))
    if has_raw and is_current(run.folder("truth"), wanted["truth"]):
        return False
    made = simulate(run.recipe.simulate, run.recipe.seed)
    if not has_raw:
        with building(run.folder("raw"), wanted["raw"], {}) as partial:
            made.events.write_parquet(partial / "interactions.parquet")
            made.items.write_parquet(partial / "items.parquet")
            np.save(partial / "preferences.npy", made.preferences, allow_pickle=False)
    with building(run.folder("truth"), wanted["truth"], {}) as partial:
        save_truth(made.truth, partial)
    return True


def prepare_stage(run: Run) -> bool:
    """From files to a log."""
    from learec.data.prepare import log_request, prepare

    recipe, folder = run.recipe, run.folder("log")
    if run.has("log") and not (run.data_folder / recipe.data.events).exists():
        require_log(run)
        run.reporter.say(f"  prepare: the raw log {recipe.data.events} is not here; going on with the log made from it")
        return False
    request = log_request(recipe.data, recipe.seed, run.data_folder)
    if run.has("log") and not is_current(folder, request):
        _refuse_to_lose_events(run)
    if _up_to_date(run, folder, request, "prepare"):
        return False
    tell_log(run, prepare(recipe.data, recipe.seed, run.data_folder, folder))
    return True


def append_stage(run: Run, events: Path, items: Path | None) -> None:
    """Extend the log by a file of new events; without an item table of their own, new items are sought in the recipe's."""
    from learec.data.append import append

    require_log(run)
    own = run.recipe.data.items
    table = items or (run.data_folder / own if own else None)
    tell_log(run, append(run.recipe.data, run.recipe.seed, events, table, run.folder("log")))


def _refuse_to_lose_events(run: Run) -> None:
    """A log that was extended is not made again from the first files alone."""
    folder = run.folder("log")
    appended = read_manifest(folder, "log", run.make_with("prepare")).notes.get("appended") if run.has("log") else None
    if appended:
        files = ", ".join(entry["file"] for entry in appended)
        raise ArtifactError(
            f"{folder}: holds events appended from {files}, which making it again would lose; add them to [data] events "
            f"and delete {folder}, or set [data] back as it was"
        )


def tell_log(run: Run, notes: dict[str, Any]) -> None:
    """The funnel, the parts of the split, and what a reader should know of them."""
    width = max(len(row["step"]) for row in notes["funnel"])
    run.reporter.say(f"  {'':{width}} {'events':>13} {'users':>11} {'items':>11}")
    for row in notes["funnel"]:
        run.reporter.say(f"  {row['step']:{width}} {row['events']:13,} {row['users']:11,} {row['items']:11,}")
    train, validation, test = notes["steps_by_part"]
    run.reporter.say(f"  split {notes['split']}: {train:,} steps for training, {validation:,} for validation, {test:,} for test")
    with_text = 1 - notes["items_without_text"] / notes["items"]
    run.reporter.say(f"  {with_text:.1%} of {notes['items']:,} items have text ({notes['items_without_text']:,} have none)")
    for caveat in notes["caveats"]:
        run.reporter.say(f"  note: {caveat}")
    run.reporter.say(f"  `learec audit {run.options.folder}` tells the split and looks for leaks")


def adapt_stage(run: Run) -> bool:
    """From a log to an environment: the only stage that trains a language model."""
    from learec.environment.adapt import adapt, environment_request
    from learec.evaluation.evaluate import mean_metrics

    recipe, folder = run.recipe, run.folder("environment")
    request = environment_request(recipe.environment, recipe.seed, require_log(run))
    if _up_to_date(run, folder, request, "adapt"):
        return False
    log = open_log(run)
    adapt(recipe.environment, recipe.seed, log, folder, device=run.workers(), reporter=run.reporter, measure=mean_metrics)
    return True


def add_items_stage(run: Run, table: Path) -> None:
    """Give the new items of an extended log their tokens; what was learnt stays as it is."""
    from learec.environment.add_items import NewItems, add_items

    require_log(run)
    recipe, new = run.recipe, NewItems(table, run.recipe.data)
    added = add_items(
        recipe.environment, recipe.seed, open_log(run), new, run.folder("environment"),
        device=run.options.device, reporter=run.reporter,
    )  # fmt: skip
    run.reporter.say(f"  {added['items']:,} items got a token and a vector; the others, adapters and models are as they were")
    if added["items_not_in_the_log"]:
        run.reporter.say(f"  note: {added['items_not_in_the_log']:,} items of {table} have no event in log/ and were left out")


def annotate_stage(run: Run) -> bool:
    """From an environment to one row per training step."""
    from learec.annotations.annotate import annotate, annotations_request
    from learec.environment.environment import load_environment

    recipe, folder = run.recipe, run.folder("annotations")
    log_digest = require_log(run)
    made = _annotate_without_language_model(run, log_digest) if run.needs_text_annotations() else False
    digest = require_environment(run, log_digest)
    if _up_to_date(run, folder, annotations_request(recipe.annotations, log_digest, digest), "annotate"):
        return made
    environment = load_environment(run.folder("environment"), run.options.device)
    notes = annotate(recipe.annotations, open_log(run), environment, digest, folder, reporter=run.reporter)
    if recipe.annotations.steps:
        run.reporter.say(f"  {notes['annotated_steps']:,} steps, {notes['augmented_per_step']:.1f} augmented actions each")
    else:
        run.reporter.say("  item vectors alone: annotations.steps = false")
    return True


def _annotate_without_language_model(run: Run, log_digest: str) -> bool:
    from learec.annotations.annotate import annotate, annotations_request
    from learec.annotations.text_environment import TextEnvironment

    config, folder = run.recipe.annotations, run.folder("text-annotations")
    name = config.text_environment
    if _up_to_date(run, folder, annotations_request(config, log_digest, name), "annotate with TF-IDF"):
        return False
    log = open_log(run)
    annotate(config, log, TextEnvironment.of(log, config), name, folder, reporter=run.reporter)
    return True


def train_stage(run: Run, only: str | None = None) -> bool:
    """Every agent of the recipe, every seed; or only the seeds of one agent. Several processes train each agent together."""
    from learec.agents.train import agent_request, check_catalog, train
    from learec.annotations.table import load_annotations

    workers, log_digest = run.workers(), require_log(run)
    digests = annotation_digests(run, log_digest, run.needs_annotations(only), only)
    log, mask_seen = open_log(run), run.recipe.evaluation.mask_seen
    missing = []
    for entry in run.recipe.entries:
        folder, request = run.agent_folder(entry), agent_request(entry, log_digest, *digests)
        if only in (None, entry.name) and not workers.from_main(_up_to_date, run, folder, request, entry.column):
            check_catalog(entry, log.catalog.n_items, workers)  # not after the agents before it have taken an hour
            missing.append((entry, folder))
    for entry, folder in missing:
        text = run.folder("text-annotations") if entry.config.placebo == "text" else None
        annotations = load_annotations(run.folder("annotations"), text) if entry.config.lea else None
        train(
            entry, log, annotations, folder, device=workers, reporter=run.reporter,
            validate=validation_of(log, mask_seen),
        )  # fmt: skip
    return bool(missing)


def validation_of(log: Any, mask_seen: bool) -> Callable[[Any], dict[str, float]]:
    """What training stops on: an agent's means over the validation part."""
    from learec.data.log import Part
    from learec.evaluation.evaluate import mean_metrics, measured_ranks

    return lambda agent: mean_metrics(measured_ranks(agent, log, Part.VALIDATION, mask_seen))


def evaluate_stage(run: Run) -> bool:
    """Ranks, tables and examples of all agents and floors."""
    from learec.annotations.table import load_annotations
    from learec.evaluation.evaluate import evaluate

    folder, request = run.folder("results"), results_request_of(run)
    if _up_to_date(run, folder, request, "evaluate"):
        return False
    log = open_log(run)
    annotations = load_annotations(run.folder("annotations")) if "annotations" in request.parents else None
    contestants = partial(contestants_of, run, log, annotations)
    evaluate(request, log, annotations, contestants, folder, reporter=run.reporter, known=known_of(run, log, request))
    return True


def report_stage(run: Run) -> bool:
    """The page that shows it all."""
    from learec.evaluation.report import write_report

    folder = run.folder("report")
    results = require(run.folder("results"), results_request_of(run), run.make_with("evaluate")).digest
    request = request_for("report", run.recipe.model_dump(mode="json", exclude={"tune"}), {"results": results})
    if _up_to_date(run, folder, request, "report"):
        return False
    with building(folder, request, {}) as partial:
        write_report(report_data(run), partial / "report.html")
    return True


STAGES: Mapping[str, Callable[[Run], bool]] = {
    "simulate": simulate_stage,
    "prepare": prepare_stage,
    "adapt": adapt_stage,
    "annotate": annotate_stage,
    "train": train_stage,
    "evaluate": evaluate_stage,
    "report": report_stage,
}


def walk(run: Run) -> bool:
    """All stages in order; each makes what is missing or stale and leaves the rest. Returns whether any made anything."""
    stages = {name: stage for name, stage in STAGES.items() if name != "simulate" or run.recipe.simulate}
    made = False
    for number, (name, stage) in enumerate(stages.items(), 1):
        run.reporter.say(f"[{number} of {len(stages)}] {name}")
        made |= stage(run)
    return made


def _up_to_date(run: Run, folder: Path, request: Request, stage: str) -> bool:
    finish_interrupted(folder)
    if is_current(folder, request):
        run.reporter.say(f"  {stage}: up to date")
        return True
    if (folder / MANIFEST).exists():
        run.reporter.say(f"  {stage}: made again, because {request.difference(stored_request(folder))}")
    return False
